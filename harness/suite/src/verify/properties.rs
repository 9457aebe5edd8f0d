// SPDX-License-Identifier: MIT OR Apache-2.0

//! The fast comparison against a simple one: one byte after the other, over all of a range at once.

use landfall_cards::capture::pattern::{self, Pattern, Pixel};
use proptest::prelude::*;

use super::*;

const REGION: Range<u64> = 0x8_0000..0x20_0000;
const BYTES: u64 = 4 << 20;

/// What must lie at each byte of a frame.
fn expected(wanted: &Wanted<'_>) -> Vec<u8> {
    let Wanted { phys, spec, clip } = wanted;
    let mut bytes = vec![0; spec.frame_bytes() as usize];
    pattern::fill(&mut bytes, 0, spec);
    for (offset, byte) in (0..).zip(&mut bytes) {
        let (line, inside) = (
            offset / u64::from(spec.stride),
            offset % u64::from(spec.stride),
        );
        let x = inside / u64::from(spec.pixel.bytes());
        let bit = line * u64::from(spec.width.div_ceil(8)) * 8 + x;
        let shown = |mask: &[u8]| {
            mask.get(bit as usize / 8)
                .is_none_or(|byte| byte >> (x % 8) & 1 == 1)
        };
        if inside >= spec.line_bytes() || !clip.is_none_or(shown) {
            *byte = canary::byte(phys + offset);
        }
    }
    bytes
}

/// The simple comparison.
fn simple(memory: &GuestMemory, wanted: &[Wanted<'_>], lent: &[Range<u64>]) -> Checks {
    let frames = wanted.iter().map(|wanted| {
        let want = expected(wanted);
        let end = wanted.phys + want.len() as u64;
        let have = memory.read_range(wanted.phys..end).unwrap();
        let mut differences = Differences::new(Some(wanted.phys));
        differences.compare(wanted.phys, &have, &want);
        differences.explain(memory);
        FrameCheck {
            bytes: want.len() as u64,
            hash: xxhash_rust::xxh64::xxh64(&have, 0),
            differences,
        }
    });
    let frames = frames.collect();
    let have = memory.read_range(REGION).unwrap();
    let mut differences = Differences::new(None);
    let mut bytes = 0;
    for (at, have) in REGION.zip(&have) {
        if !lent.iter().any(|lent| lent.contains(&at)) {
            bytes += 1;
            differences.compare(at, &[*have], &[canary::byte(at)]);
        }
    }
    differences.explain(memory);
    let pool = vec![PoolCheck { bytes, differences }];
    Checks { frames, pool }
}

fn fast(
    memory: &GuestMemory,
    wanted: &[Wanted<'_>],
    lent: &[Range<u64>],
    threads: usize,
) -> Checks {
    let threads = NonZero::new(threads).unwrap();
    all(memory, wanted, &[REGION], lent, threads).unwrap()
}

/// Memory as it must be.
fn clean(wanted: &[Wanted<'_>]) -> GuestMemory {
    let memory = GuestMemory::flat(BYTES).unwrap();
    let canaries: Vec<u8> = REGION.map(canary::byte).collect();
    memory.write(REGION.start, &canaries).unwrap();
    for wanted in wanted {
        memory.write(wanted.phys, &expected(wanted)).unwrap();
    }
    memory
}

fn flip(memory: &GuestMemory, at: u64, bits: u8) {
    let old = memory.read_range(at..at + 1).unwrap();
    memory.write(at, &[old[0] ^ bits]).unwrap();
}

fn lent(wanted: &[Wanted<'_>]) -> Vec<Range<u64>> {
    let lend = |wanted: &Wanted<'_>| wanted.phys..wanted.phys + wanted.spec.frame_bytes();
    wanted.iter().map(lend).collect()
}

fn spec(pattern: Pattern, pixel: Pixel, width: u32, height: u32, gap: u32, slot: u8) -> FrameSpec {
    FrameSpec {
        pattern,
        pixel,
        width,
        height,
        stride: width * pixel.bytes() + gap,
        sequence: 70_000 + u32::from(slot),
        slot,
    }
}

/// Two frames of one kind in the region, guard and tail around each, as the pool gives them out.
fn two<'a>(pattern: Pattern, pixel: Pixel, gap: u32, clip: Option<&'a [u8]>) -> Vec<Wanted<'a>> {
    let at = |phys, slot| Wanted {
        phys,
        spec: spec(pattern, pixel, 632, 250, gap, slot),
        clip,
    };
    vec![at(0x9_0000, 0), at(0x12_0000, 1)]
}

/// A clip mask of those frames with runs, single pixels and whole bytes taken out.
fn mask() -> Vec<u8> {
    let bytes = [0xff, 0xfe, 0, 0xff, 0x7f, 0xc3, 0, 0, 0xff, 0xff, 0x55];
    bytes.into_iter().cycle().take(79 * 250).collect()
}

/// One wrong byte at each kind of place is found, alone, where it is, and nothing where there is none.
#[test]
fn one_wrong_byte_at_every_kind_of_place_is_found() {
    let mask = mask();
    for pattern in Pattern::ALL {
        for pixel in Pixel::ALL {
            for (gap, clip) in [(0, None), (72, None), (0, Some(&*mask)), (13, Some(&*mask))] {
                every_kind_of_place(&two(pattern, pixel, gap, clip));
            }
        }
    }
}

fn every_kind_of_place(wanted: &[Wanted<'_>]) {
    let lent = lent(wanted);
    let memory = clean(wanted);
    let silent = fast(&memory, wanted, &lent, 2);
    assert!(
        silent
            .frames
            .iter()
            .all(|check| check.differences.is_empty()),
        "{wanted:?}"
    );
    assert!(silent.pool[0].differences.is_empty());
    assert_eq!(silent, simple(&memory, wanted, &lent));

    let (first, length) = (wanted[0].phys, wanted[0].spec.frame_bytes());
    let (stride, line) = (
        u64::from(wanted[0].spec.stride),
        wanted[0].spec.line_bytes(),
    );
    let chunk = CHUNK as u64;
    let block = 512;
    let in_frame = [
        0,
        1,
        7,
        8,
        block - 1,
        block,
        chunk - 1,
        chunk,
        chunk + 7,
        length - 9,
        length - 1,
        line - 1,
        line,
        stride - 1,
        stride,
        3 * stride + line - 1, // ends of lines, and between them
        stride + 7 * 2,
        stride + 16 * 3,
        stride + 17, // clipped in some formats
    ];
    let end = first + length;
    let page = end.next_multiple_of(4096);
    let (second, piece) = (lent[1].end, 512 << 10);
    let in_pool = [
        REGION.start,
        REGION.start + 511,
        REGION.start + 512,
        first - 4096,
        first - 1, // guard page
        end,
        end + 1,
        page - 1,
        page,
        page + 4095, // tail, guard page
        second + piece - 1,
        second + piece, // where one thread ends and another begins
        wanted[1].phys - 1,
        REGION.end - chunk,
        REGION.end - 9,
        REGION.end - 1,
    ];
    let places = in_frame.into_iter().filter(|offset| *offset < length);
    for at in places
        .map(|offset| first + offset)
        .chain(in_pool.into_iter().filter(|at| REGION.contains(at)))
    {
        flip(&memory, at, 0x10);
        let checks = fast(&memory, wanted, &lent, 2);
        flip(&memory, at, 0x10);
        let inside = lent[0].contains(&at);
        let differences = match inside {
            true => &checks.frames[0].differences,
            false => &checks.pool[0].differences,
        };
        assert_eq!(differences.bytes, 1, "{at:#x} of {wanted:?}");
        assert_eq!(
            (differences.ranges[0].address, differences.ranges[0].length),
            (at, 1)
        );
        assert_eq!(differences.ranges[0].offset, inside.then(|| at - first));
        assert!(checks.frames[1].differences.is_empty());
        assert_eq!(checks.pool[0].differences.is_empty(), inside);
        assert_eq!(checks.frames[0].hash == silent.frames[0].hash, !inside);
    }
    assert_eq!(
        fast(&memory, wanted, &lent, 1),
        silent,
        "every place was put right again"
    );
}

/// A frame of each kind at any address, and what is done to memory: where, how many bytes, which bits.
fn frames() -> impl Strategy<Value = (FrameSpec, u64, Option<Vec<u8>>)> {
    let kind = (0..4_usize, 0..3_usize, 0..2_u32);
    let size = (1..200_u32, 1..400_u32, prop_oneof![Just(0_u32), 1..70_u32]);
    let mask = prop::option::of(prop::collection::vec(
        prop_oneof![Just(0xff_u8), any::<u8>()],
        0..4000,
    ));
    (kind, size, 0..20_u64, mask).prop_map(
        |((pattern, pixel, odd), (width, height, gap), shift, mask)| {
            let pixel = Pixel::ALL[pixel];
            let width = if pixel == Pixel::Yuyv {
                2 * width
            } else {
                2 * width + odd
            };
            let spec = spec(Pattern::ALL[pattern], pixel, width, height, gap, 3);
            (spec, 0x9_0000 + shift, mask)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever lies in memory, on one thread or on three, the fast comparison finds what the simple one does.
    #[test]
    fn the_fast_comparison_finds_what_the_simple_one_does(
        (spec, phys, mask) in frames(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), 1..200_u64, 1..=255_u8), 0..90),
        moved in any::<bool>(),
    ) {
        let wanted = [Wanted { phys, spec, clip: mask.as_deref() }];
        let lent = lent(&wanted);
        let memory = clean(&wanted);
        if moved {
            memory.write(phys + 4096, &expected(&wanted[0])).unwrap();
        }
        let whole = (REGION.end - REGION.start) as usize;
        for (at, length, bits) in damage {
            let from = REGION.start + at.index(whole) as u64;
            // One byte as often as a run.
            let length = if length < 100 { 1 } else { length };
            (from..REGION.end.min(from + length)).for_each(|at| flip(&memory, at, bits));
        }

        let expected = simple(&memory, &wanted, &lent);
        prop_assert_eq!(&fast(&memory, &wanted, &lent, 1), &expected);
        prop_assert_eq!(&fast(&memory, &wanted, &lent, 3), &expected);
    }

    /// Differences collected in two parts and put together are those of one walk.
    #[test]
    fn differences_put_together_are_those_of_one_walk(
        gaps in prop::collection::vec(1..140_u64, 0..300),
        at in any::<prop::sample::Index>(),
        base in prop::option::of(Just(0_u64)),
    ) {
        let wrong: Vec<u64> = gaps.iter().scan(0, |at, gap| { *at += gap; Some(*at) }).collect();
        let walk = |wrong: &[u64]| {
            let mut differences = Differences::new(base);
            wrong.iter().for_each(|at| differences.compare(*at, &[0], &[1]));
            differences
        };
        let (head, tail) = wrong.split_at(at.index(wrong.len() + 1));
        let mut together = walk(head);
        together.append(walk(tail));
        prop_assert_eq!(together, walk(&wrong));
    }
}
