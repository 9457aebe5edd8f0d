// SPDX-License-Identifier: MIT OR Apache-2.0

//! Plants every kind of difference and sees it named; clean memory is silent.

use landfall_cards::capture::pattern::{self, FrameSpec, Pattern, Pixel};

use super::*;

const BASE: u64 = 0x10_0000;
const REGION: Range<u64> = BASE - 0x1_0000..BASE + 0x10_0000;

fn spec() -> FrameSpec {
    FrameSpec {
        pattern: Pattern::Test,
        pixel: Pixel::Yuyv,
        width: 640,
        height: 480,
        stride: 1280,
        sequence: 5,
        slot: 3,
    }
}

/// Memory whose pool is all canary.
fn fresh() -> GuestMemory {
    let memory = GuestMemory::flat(4 << 20).unwrap();
    let bytes: Vec<u8> = REGION.map(canary::byte).collect();
    memory.write(REGION.start, &bytes).unwrap();
    memory
}

/// What the card writes for a frame.
fn pixels(spec: &FrameSpec) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(spec.frame_bytes()).unwrap()];
    pattern::fill(&mut bytes, 0, spec);
    bytes
}

/// Memory with that frame in it.
fn captured(spec: &FrameSpec) -> GuestMemory {
    let memory = fresh();
    memory.write(BASE, &pixels(spec)).unwrap();
    memory
}

/// Compares one frame, on one thread.
fn frame(
    memory: &GuestMemory,
    phys: u64,
    spec: &FrameSpec,
    clip: Option<&[u8]>,
) -> Result<FrameCheck, ReadError> {
    let wanted = Wanted {
        phys,
        spec: *spec,
        clip,
    };
    let mut checks = all(memory, &[wanted], &[], &[], NonZero::<usize>::MIN)?;
    Ok(checks.frames.remove(0))
}

/// Compares what is not lent of a region, on one thread.
fn pool(
    memory: &GuestMemory,
    region: Range<u64>,
    lent: &[Range<u64>],
) -> Result<(u64, Differences), ReadError> {
    let mut checks = all(memory, &[], &[region], lent, NonZero::<usize>::MIN)?;
    let check = checks.pool.remove(0);
    Ok((check.bytes, check.differences))
}

fn only(differences: &Differences) -> &Difference {
    assert_eq!(differences.ranges.len(), 1, "{differences:?}");
    &differences.ranges[0]
}

#[test]
fn a_clean_frame_and_pool_are_silent() {
    for pattern in Pattern::ALL {
        let spec = FrameSpec { pattern, ..spec() };
        let memory = captured(&spec);

        let frame = frame(&memory, BASE, &spec, None).unwrap();
        assert!(
            frame.differences.is_empty(),
            "{pattern}: {:?}",
            frame.differences
        );
        assert_eq!(frame.bytes, 640 * 480 * 2);
        assert_eq!(frame.hash, xxhash_rust::xxh64::xxh64(&pixels(&spec), 0));

        let lent = BASE..BASE + frame.bytes;
        let (bytes, differences) = pool(&memory, REGION, std::slice::from_ref(&lent)).unwrap();
        assert!(differences.is_empty(), "{differences:?}");
        assert_eq!(bytes, 0x11_0000 - frame.bytes);
    }
}

#[test]
fn one_wrong_byte_anywhere_is_found() {
    let spec = spec();
    let length = spec.frame_bytes();
    for offset in [0, 1, 262_143, 262_144, length - 1] {
        let memory = captured(&spec);
        let old = memory.read_range(BASE + offset..BASE + offset + 1).unwrap()[0];
        memory.write(BASE + offset, &[!old]).unwrap();

        let check = frame(&memory, BASE, &spec, None).unwrap();

        let difference = only(&check.differences);
        assert_eq!((difference.address, difference.length), (BASE + offset, 1));
        assert_eq!(difference.offset, Some(offset));
    }
}

#[test]
fn half_a_frame_shows_the_canary_behind_it() {
    let spec = spec();
    let memory = fresh();
    let half = spec.frame_bytes() / 2;
    memory
        .write(BASE, &pixels(&spec)[..usize::try_from(half).unwrap()])
        .unwrap();

    let check = frame(&memory, BASE, &spec, None).unwrap();

    let difference = only(&check.differences);
    assert_eq!(difference.offset, Some(half));
    assert_eq!(difference.found, Found::Canary);
}

#[test]
fn a_frame_one_page_off_is_traced_to_its_own_bytes() {
    let spec = spec();
    let memory = fresh();
    memory.write(BASE + 4096, &pixels(&spec)).unwrap();

    let check = frame(&memory, BASE, &spec, None).unwrap();

    let ranges = &check.differences.ranges;
    assert_eq!(
        ranges[0].found,
        Found::Canary,
        "the first page was not written"
    );
    let moved = ranges.iter().find_map(|range| match range.found {
        Found::Frame(origin) => Some((range.offset.unwrap(), origin)),
        _ => None,
    });
    // The first page's canary and the moved bytes may be one range; look behind it then.
    if let Some((offset, origin)) = moved {
        assert_eq!((origin.slot, origin.sequence), (3, 5));
        assert_eq!(offset - origin.offset, 4096);
    }
    let lent = BASE..BASE + check.bytes;
    let (_, differences) = pool(&memory, REGION, std::slice::from_ref(&lent)).unwrap();
    let behind = only(&differences);
    assert_eq!(behind.address, BASE + check.bytes);
    let offset = check.bytes - 4096;
    assert_eq!(
        behind.found,
        Found::Frame(Origin {
            slot: 3,
            sequence: 5,
            offset
        })
    );
}

#[test]
fn another_frames_bytes_are_traced_to_that_frame() {
    let spec = spec();
    let earlier = FrameSpec {
        sequence: 4,
        slot: 2,
        ..spec
    };
    let memory = captured(&earlier);

    let check = frame(&memory, BASE, &spec, None).unwrap();

    let origin = Origin {
        slot: 2,
        sequence: 4,
        offset: 3,
    };
    let Found::Frame(found) = check.differences.ranges[0].found else {
        panic!("{:?}", check.differences.ranges[0]);
    };
    assert_eq!((found.slot, found.sequence), (origin.slot, origin.sequence));
}

#[test]
fn one_byte_behind_a_frame_is_found_in_the_pool() {
    let spec = spec();
    let memory = captured(&spec);
    let end = BASE + spec.frame_bytes();
    memory.write(end, &[canary::byte(end) ^ 1]).unwrap();

    let lent = BASE..end;
    let (_, differences) = pool(&memory, REGION, std::slice::from_ref(&lent)).unwrap();

    assert_eq!(
        (only(&differences).address, only(&differences).length),
        (end, 1)
    );
}

#[test]
fn bytes_between_lines_and_clipped_pixels_must_be_untouched() {
    let spec = FrameSpec {
        stride: 1344,
        height: 100,
        ..spec()
    };
    let mut mask = vec![0xff_u8; usize::try_from(spec.clip_bytes()).unwrap()];
    mask[80] = 0b1111_1101; // line 1, pixel 1
    let memory = fresh();
    for line in 0..100 {
        let start = usize::try_from(line * 1344_u64).unwrap();
        memory
            .write(BASE + line * 1344, &pixels(&spec)[start..start + 1280])
            .unwrap();
    }
    let pixel = BASE + 1344 + 2;
    memory
        .write(pixel, &[canary::byte(pixel), canary::byte(pixel + 1)])
        .unwrap();

    let clipped = frame(&memory, BASE, &spec, Some(&mask)).unwrap();
    assert!(clipped.differences.is_empty(), "{:?}", clipped.differences);

    let unclipped = frame(&memory, BASE, &spec, None).unwrap();
    assert_eq!(only(&unclipped.differences).address, pixel);

    memory.write(BASE + 1280, &[0]).unwrap();
    let gap = frame(&memory, BASE, &spec, Some(&mask)).unwrap();
    assert_eq!(only(&gap.differences).offset, Some(1280));
}

#[test]
fn gaps_are_what_is_left() {
    let left = |taken: &[Range<u64>]| {
        let gaps = gaps(2..10, taken).into_iter();
        gaps.map(|gap| (gap.start, gap.end)).collect::<Vec<_>>()
    };
    assert_eq!(left(&[]), [(2, 10)]);
    assert_eq!(left(&[6..8, 3..4]), [(2, 3), (4, 6), (8, 10)]);
    assert_eq!(left(&[0..3, 9..20, 5..5]), [(3, 9)]);
    assert_eq!(left(&[3..6, 4..5]), [(2, 3), (6, 10)]);
    assert_eq!(left(&[1..8, 8..12]), []);
}
