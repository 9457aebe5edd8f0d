// SPDX-License-Identifier: MIT OR Apache-2.0

use proptest::prelude::*;

use super::*;

fn spec(pattern: Pattern, pixel: Pixel) -> FrameSpec {
    FrameSpec {
        pattern,
        pixel,
        width: 640,
        height: 120,
        stride: 640 * pixel.bytes(),
        sequence: 7,
        slot: 3,
    }
}

fn whole(spec: &FrameSpec) -> Vec<u8> {
    let mut bytes = vec![0; spec.frame_bytes() as usize];
    fill(&mut bytes, 0, spec);
    bytes
}

#[test]
fn every_word_of_the_test_pattern_tells_slot_frame_and_offset() {
    let bytes = whole(&spec(Pattern::Test, Pixel::Yuyv));
    for (index, word) in bytes.chunks_exact(8).enumerate() {
        let word = u64::from_le_bytes(word.try_into().expect("8 bytes"));
        assert_eq!(decode(word), Some((3, 7, index as u64 * 8)));
    }
    assert_eq!(decode(0), None);
    assert_eq!(decode(u64::MAX), None);
    assert_eq!(bytes[..8], [0, 0, 0, 0, 7, 0, 0, 0xa3]);
}

/// Any other frame, slot or position must show.
#[test]
fn all_patterns_depend_on_frame_slot_and_position() {
    for pattern in Pattern::ALL {
        let base = spec(pattern, Pixel::Grey);
        let frame = whole(&base);
        for other in [
            FrameSpec {
                sequence: 8,
                ..base
            },
            FrameSpec { slot: 4, ..base },
        ] {
            let same = frame
                .chunks(64)
                .zip(whole(&other).chunks(64))
                .filter(|(a, b)| a == b)
                .count();
            assert_eq!(
                same, 0,
                "{pattern}: a 64-byte run is the same in another frame"
            );
        }
        let shifted = frame.windows(64).skip(4096).step_by(64);
        let same = frame
            .windows(64)
            .step_by(64)
            .zip(shifted)
            .filter(|(a, b)| a == b)
            .count();
        assert_eq!(
            same, 0,
            "{pattern}: a 64-byte run is the same a page further"
        );
    }
}

#[test]
fn bars_are_white_to_blue_and_show_the_counter() {
    let frame = whole(&spec(Pattern::Bars, Pixel::Rgb24));
    let pixel = |x: usize, y: usize| [0, 1, 2].map(|c| frame[(y * 640 + x) * 3 + c] >> 2);
    assert_eq!(pixel(5, 2), [191 >> 2; 3]);
    assert_eq!(pixel(635, 2), [0, 0, 191 >> 2]);
    let counter = (75..96).any(|y| (0..640).any(|x| pixel(x, y) == [63; 3]));
    assert!(counter, "white digits below the middle");
    assert!(!(0..640).any(|x| pixel(x, 40) == [63; 3]), "and not above");
}

#[test]
fn counter_fits_frames_of_any_size() {
    for (width, height) in [(2, 1), (4, 400), (30, 30), (65534, 1)] {
        let small = FrameSpec {
            width,
            height,
            stride: 2 * width,
            ..spec(Pattern::Bars, Pixel::Yuyv)
        };
        assert_eq!(whole(&small).len() as u64, small.frame_bytes());
    }
}

#[test]
fn numbers_and_names_go_both_ways() {
    for pattern in Pattern::ALL {
        assert_eq!(Pattern::from_number(pattern.number()), Some(pattern));
        assert_eq!(pattern.name().parse(), Ok(pattern));
    }
    for pixel in Pixel::ALL {
        assert_eq!(Pixel::from_number(pixel.number()), Some(pixel));
        assert_eq!(pixel.name().parse(), Ok(pixel));
    }
    assert_eq!(
        (Pattern::from_number(4), Pixel::from_number(3)),
        (None, None)
    );
}

/// Word `index` of a frame, as the module's documentation says it, from `drawn` without a watermark.
fn documented(spec: &FrameSpec, index: u64, drawn: u64) -> u64 {
    let seed = (0xa0 | u64::from(spec.slot)) << 56 | u64::from(spec.sequence) << 32;
    if spec.pattern == Pattern::Test {
        return seed | (index & 0xffff_ffff);
    }
    let hash = mix(seed ^ (index / 4)).to_le_bytes();
    let mut bytes = drawn.to_le_bytes();
    for (byte, hash) in bytes.iter_mut().zip(hash) {
        *byte = *byte & !3 | hash >> (2 * (index % 4)) & 3;
    }
    u64::from_le_bytes(bytes)
}

#[test]
fn index_of_the_test_pattern_is_the_low_half_of_the_word_count() {
    let spec = spec(Pattern::Test, Pixel::Grey);
    for first in [0, 1 << 28, (1 << 32) - 40, (1 << 32) - 1, 1 << 32, 5 << 33] {
        let mut bytes = [0; 80 * 8];
        fill(&mut bytes, first * 8, &spec);
        for (index, word) in (first..).zip(bytes.as_chunks().0) {
            assert_eq!(u64::from_le_bytes(*word), documented(&spec, index, 0));
        }
    }
}

#[test]
fn sizes_follow_the_data_sheet() {
    let spec = FrameSpec {
        width: 1920,
        height: 1080,
        stride: 4096,
        ..spec(Pattern::Test, Pixel::Yuyv)
    };
    assert_eq!(spec.frame_bytes(), 4096 * 1079 + 3840);
    assert_eq!(spec.clip_bytes(), 240 * 1080);
    assert!(spec.is_frame());
    assert!(
        !FrameSpec {
            width: 1919,
            ..spec
        }
        .is_frame()
    );
    assert!(
        !FrameSpec {
            stride: 3839,
            ..spec
        }
        .is_frame()
    );
    assert_eq!(FrameSpec { height: 0, ..spec }.frame_bytes(), 0);
}

proptest! {
    /// A frame filled in pieces, cut anywhere, is the frame filled at once.
    #[test]
    fn pieces_make_the_whole(
        pattern in 0u8..4, pixel in 0u8..3, gap in 0u32..9,
        cuts in proptest::collection::vec(0usize..4000, 0..6),
    ) {
        let pixel = Pixel::from_number(pixel).expect("in range");
        let spec = FrameSpec {
            pattern: Pattern::from_number(pattern).expect("in range"),
            width: 62,
            height: 20,
            stride: 62 * pixel.bytes() + gap,
            ..spec(Pattern::Test, pixel)
        };
        let frame = whole(&spec);
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(frame.len())).collect();
        cuts.extend([0, frame.len()]);
        cuts.sort_unstable();
        let mut pieced = vec![0xff; frame.len()];
        let mut painted = vec![0xff; frame.len()];
        let mut painter = Painter::new(spec);
        for ends in cuts.windows(2).rev() {
            fill(&mut pieced[ends[0]..ends[1]], ends[0] as u64, &spec);
            painter.fill(&mut painted[ends[0]..ends[1]], ends[0] as u64);
        }
        prop_assert!(pieced == frame);
        prop_assert!(painted == frame);
    }

    /// Every word is the documented one, wherever a piece begins and ends.
    #[test]
    fn words_follow_the_documentation(
        pattern in 0u8..4, sequence in 0u32..1 << 24, slot in 0u8..32, start in 0usize..200, length in 0usize..400,
    ) {
        let spec = FrameSpec {
            pattern: Pattern::from_number(pattern).expect("in range"),
            sequence,
            slot,
            ..spec(Pattern::Test, Pixel::Yuyv)
        };
        let mut drawn = vec![0; 600];
        if pattern != 0 {
            Drawing::new(spec).draw(&mut drawn, 0);
        }
        let words = (0..).zip(drawn.as_chunks().0);
        let want: Vec<u8> = words
            .flat_map(|(index, word)| documented(&spec, index, u64::from_le_bytes(*word)).to_le_bytes())
            .collect();
        let mut piece = vec![0xff; length];
        fill(&mut piece, start as u64, &spec);
        prop_assert_eq!(&piece[..], &want[start..start + length]);
    }
}
