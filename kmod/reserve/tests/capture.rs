// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The pure parts of `landfall_capture`, compiled here for the host.

#[path = "../../capture/format.rs"]
mod format;
#[path = "../../capture/geometry.rs"]
mod geometry;
#[path = "../../capture/ring.rs"]
mod ring;

use format::Picture;
use geometry::{Geometry, Limits, RawLimits, Refusal};
use ring::Ring;

const RAW: RawLimits = RawLimits {
    slots: 32,
    address_bits: 32,
    align_shift: 6,
    boundary_shift: 0,
    max_frame: 64 << 20,
    formats: 0b111,
    max_clip: 128 * 1024,
};

fn limits() -> Limits {
    Limits::new(RAW).expect("a good card")
}

fn frame(width: u32, height: u32, stride: u32, pixel: u32) -> Result<Geometry, Refusal> {
    Geometry::new(&limits(), (width, height), stride, pixel, false)
}

#[test]
fn completions_come_in_the_order_of_queueing() {
    let mut ring = Ring::default();
    for slot in [3, 0, 31] {
        assert!(ring.lend(slot));
    }

    assert_eq!(ring.complete(1 << 31 | 1 << 3), 2);

    assert_eq!(
        [ring.take(), ring.take(), ring.take()],
        [Some(3), Some(31), None]
    );
    assert_eq!(ring.lent().collect::<Vec<_>>(), [0]);
}

#[test]
fn a_slot_that_the_card_does_not_have_is_not_believed() {
    let mut ring = Ring::default();
    ring.lend(1);

    assert_eq!(
        ring.complete(0xffff_fffd),
        0,
        "every slot but the one it has"
    );
    assert_eq!(ring.complete(2), 1);
    assert_eq!(ring.complete(2), 0, "the same again");
}

#[test]
fn a_slot_is_lent_once_until_it_is_taken() {
    let mut ring = Ring::default();

    assert!(ring.lend(5));
    assert!(!ring.lend(5));
    ring.complete(1 << 5);
    assert!(!ring.lend(5), "completed, not yet taken");
    assert_eq!(ring.first_completed(), Some(5));
    assert_eq!(ring.take(), Some(5));
    assert!(ring.lend(5));
    assert!(!ring.lend(32), "no such slot");
}

#[test]
fn all_slots_can_be_out_at_once() {
    let mut ring = Ring::default();
    assert!((0..32).all(|slot| ring.lend(slot)));

    assert_eq!(ring.complete(u32::MAX), 32);
    assert_eq!(ring.first_completed(), Some(0));
    ring.clear();

    assert_eq!(ring, Ring::default());
}

#[test]
fn a_frame_is_as_long_as_its_last_line() {
    let tight = frame(1920, 1080, 0, 0).expect("1080p YUYV");
    let loose = frame(1920, 1080, 4096, 0).expect("1080p YUYV with a stride");

    assert_eq!((tight.stride, tight.frame_size), (3840, 4_147_200));
    assert_eq!(loose.frame_size, 4096 * 1079 + 3840);
}

#[test]
fn frames_that_the_card_cannot_take_are_refused() {
    assert_eq!(
        frame(0, 1, 0, 0).map_err(Refusal::text),
        Err(Refusal::Size.text())
    );
    assert_eq!(frame(1, 65_536, 0, 0), Err(Refusal::Size));
    assert_eq!(frame(1, 1, 0, 3), Err(Refusal::Pixel));
    assert_eq!(frame(1, 1, 0, 256), Err(Refusal::Pixel));
    assert_eq!(frame(16, 16, 31, 0), Err(Refusal::Stride));
    assert_eq!(frame(65_535, 65_535, u32::MAX, 2), Err(Refusal::TooLarge));
    let grey_only = Limits {
        formats: 0b010,
        ..limits()
    };
    assert_eq!(
        Geometry::new(&grey_only, (1, 1), 0, 0, false),
        Err(Refusal::Pixel)
    );
}

#[test]
fn a_clip_mask_has_a_bit_for_each_pixel_in_whole_bytes_a_line() {
    let with_mask = |width, height| Geometry::new(&limits(), (width, height), 0, 1, true);

    assert_eq!(with_mask(9, 10).map(|g| g.clip_size), Ok(20));
    assert_eq!(with_mask(1024, 1024).map(|g| g.clip_size), Ok(128 * 1024));
    assert_eq!(with_mask(1024, 1025), Err(Refusal::Clip));
}

#[test]
fn bus_addresses_are_checked_against_the_limits() {
    let card = Limits {
        boundary: 1 << 20,
        ..limits()
    };

    assert!(
        card.accepts(0xffff_f000, 0x1000),
        "up to the last byte below 4 GiB"
    );
    assert!(!card.accepts(0xffff_f000, 0x1001), "one byte above");
    assert!(!card.accepts(0x1020, 64), "not aligned");
    assert!(!card.accepts(0x000f_ffc0, 65), "across the boundary");
    assert!(!card.accepts(0x1000, 0), "nothing");
    assert!(!card.accepts(!63, 65), "beyond 64 bits");
    let wide = Limits {
        address_bits: 64,
        ..limits()
    };
    assert!(
        wide.accepts(0xffff_ffff_ffff_f000, 0x1000),
        "the top of 64 bits"
    );
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    let bad = [
        RawLimits { slots: 0, ..RAW },
        RawLimits { slots: 33, ..RAW },
        RawLimits {
            address_bits: 23,
            ..RAW
        },
        RawLimits {
            address_bits: 65,
            ..RAW
        },
        RawLimits {
            align_shift: 31,
            ..RAW
        },
        RawLimits {
            boundary_shift: 64,
            ..RAW
        },
        RawLimits {
            boundary_shift: 3,
            ..RAW
        },
        RawLimits {
            max_frame: 0,
            ..RAW
        },
    ];

    assert!(bad.iter().all(|raw| Limits::new(*raw).is_none()));
    let all_ones = RawLimits {
        slots: 255,
        address_bits: 255,
        align_shift: 255,
        boundary_shift: 255,
        ..RAW
    };
    assert_eq!(Limits::new(all_ones), None, "what a dead card reads");
}

const YUYV: u32 = u32::from_le_bytes(*b"YUYV");
const GREY: u32 = u32::from_le_bytes(*b"GREY");
const RGB24: u32 = u32::from_le_bytes(*b"RGB3");

/// A card whose largest frame and formats are these.
fn card(max_frame: u32, formats: u16) -> Limits {
    Limits::new(RawLimits {
        max_frame,
        formats,
        ..RAW
    })
    .expect("a good card")
}

#[test]
fn the_formats_are_those_that_the_card_has() {
    let all: Vec<_> = (0..4)
        .map(|index| format::format(&limits(), index))
        .collect();
    assert_eq!(all, [Some(YUYV), Some(GREY), Some(RGB24), None]);

    let colour = card(1 << 20, 0b1101);
    assert_eq!(format::format(&colour, 1), Some(RGB24));
    assert_eq!(format::format(&colour, 2), None);
    assert_eq!(format::sizes(&colour, GREY), None);
    assert_eq!(format::fit(&colour, picture(GREY, 64, 48, 0)).fourcc, YUYV);
}

fn picture(fourcc: u32, width: u32, height: u32, stride: u32) -> Picture {
    Picture {
        fourcc,
        width,
        height,
        stride,
        size: 0,
    }
}

/// Whatever is wished, by whatever card: what it is brought to is a frame that this card takes, and stays as it is.
#[test]
fn what_is_nearest_to_a_wish_is_a_frame_and_stays() {
    let edges = [
        0,
        1,
        2,
        3,
        63,
        64,
        65,
        640,
        3839,
        3840,
        3841,
        65535,
        65536,
        u32::MAX,
    ];
    for max_frame in [8, 4096, 1 << 20, 64 << 20, u32::MAX] {
        let card = card(max_frame, 0b111);
        for (fourcc, width) in [YUYV, GREY, RGB24, 0]
            .iter()
            .flat_map(|f| edges.map(|w| (*f, w)))
        {
            for (height, stride) in edges.iter().flat_map(|h| edges.map(|s| (*h, s))) {
                let wish = picture(fourcc, width, height, stride);
                let fits = format::fit(&card, wish);
                if fits == Picture::default() {
                    assert_eq!(format::sizes(&card, YUYV), None, "{wish:?}");
                    continue;
                }
                let geometry = format::geometry(&card, &fits, false)
                    .unwrap_or_else(|why| panic!("{wish:?}: {why:?}"));
                assert_eq!(fits.size, fits.stride * fits.height);
                assert!(geometry.frame_size <= fits.size.into());
                assert_eq!(format::fit(&card, fits), fits, "{wish:?}");
            }
        }
    }
}

#[test]
fn a_size_that_is_offered_is_taken_as_it_is_and_a_stride_that_is_possible_too() {
    let card = limits();
    for fourcc in [YUYV, GREY, RGB24] {
        let sizes = format::sizes(&card, fourcc).expect("a format of the card's");
        assert_eq!((sizes.max_width, sizes.max_height), (3840, 2160));
        for (width, height) in [
            (sizes.min_width, sizes.min_height),
            (3840, 2160),
            (322, 241),
        ] {
            let fits = format::fit(&card, picture(fourcc, width, height, 0));
            assert_eq!(
                (fits.fourcc, fits.width, fits.height),
                (fourcc, width, height)
            );
        }
    }
    assert_eq!(format::fit(&card, picture(GREY, 64, 48, 100)).stride, 100);
    assert_eq!(format::fit(&card, picture(GREY, 64, 48, 63)).stride, 64);
    assert_eq!(
        format::first(&card),
        Picture {
            size: 640 * 480 * 2,
            ..picture(YUYV, 640, 480, 1280)
        }
    );
}

#[test]
fn an_interval_is_what_is_nearest_and_the_shortest_is_as_soon_as_can_be() {
    assert_eq!(format::interval(1, 25), 40_000);
    for soon in [(0, 0), (0, 1), (1, 0), (1, u32::MAX), (1, 1000)] {
        assert_eq!(format::interval(soon.0, soon.1), 0);
    }
    assert_eq!(format::interval(1001, 1_000_000), 1001);
    assert_eq!(format::interval(u32::MAX, 1), format::LONGEST);
    assert_eq!([0, 40_000].map(format::told), [format::SHORTEST, 40_000]);
}

/// What V4L2's own calls would adjust is taken as it is, or refused, and no byte is lent behind the last line.
#[test]
fn a_picture_is_taken_to_the_letter_or_not_at_all() {
    let odd = picture(YUYV, 7, 5000, 1000);
    let geometry = format::geometry(&limits(), &odd, true).expect("the card takes it");
    let exact = format::exactly(&odd, &geometry);
    assert_eq!(exact.size, 1000 * 4999 + 14);
    assert_eq!(Picture { size: 0, ..exact }, odd);
    assert_eq!(geometry.clip_size, 5000);

    let tight = picture(GREY, 9, 3, 0);
    let geometry = format::geometry(&limits(), &tight, false).expect("the card takes it");
    let exact = format::exactly(&tight, &geometry);
    assert_eq!((exact.stride, exact.size), (9, 27));

    let wishes = [
        picture(0, 64, 48, 0),
        picture(YUYV, 0, 48, 0),
        picture(YUYV, 64, 48, 127),
    ];
    let refused = wishes.map(|wish| format::geometry(&limits(), &wish, false).err());
    assert_eq!(
        refused,
        [
            Some(Refusal::Pixel),
            Some(Refusal::Size),
            Some(Refusal::Stride)
        ]
    );
}
