// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is captured: pixel formats, pictures, strides, clip masks, intervals.

use landfall_cards::capture::pattern::{Pattern, Pixel};
use landfall_suite::capture::Device;
use landfall_suite::run::{CapturePlan, Session};
use landfall_tests::{Result, boot_loaded, capture_clean, with_capture_card};

/// Every pixel format with every picture lands byte for byte, also where lines end inside a page.
#[test]
fn every_format_and_picture_lands_byte_for_byte() -> Result {
    let guest = boot_loaded(with_capture_card())?;
    let card = Device::open(&guest, 0)?;

    for pixel in Pixel::ALL {
        for pattern in Pattern::ALL {
            let plan = CapturePlan {
                width: 322,
                height: 41,
                pixel,
                pattern,
                ..CapturePlan::default()
            };
            capture_clean(&guest, &card, &plan)?;
        }
    }
    drop(card);
    Ok(guest.power_off()?)
}

/// The bytes between two lines are the driver's: the card leaves them alone, and so are clipped pixels, whose
/// mask the card reads from memory for each frame.
#[test]
fn line_gaps_and_clipped_pixels_stay_untouched() -> Result {
    let guest = boot_loaded(with_capture_card())?;
    let card = Device::open(&guest, 0)?;

    let padded = CapturePlan {
        width: 318,
        stride: 1000,
        ..CapturePlan::default()
    };
    capture_clean(&guest, &card, &padded)?;
    let mask = (0..320 / 8 * 240_u32)
        .map(|byte| (byte * 37 % 251) as u8)
        .collect();
    let clipped = CapturePlan {
        clip: Some(mask),
        ..CapturePlan::default()
    };
    capture_clean(&guest, &card, &clipped)?;

    drop(card);
    Ok(guest.power_off()?)
}

/// With an interval, frames come no faster than asked for, and their numbers rise.
#[test]
fn an_interval_spaces_frames() -> Result {
    let guest = boot_loaded(with_capture_card())?;
    let card = Device::open(&guest, 0)?;
    let slow = CapturePlan {
        interval_us: 20_000,
        ..CapturePlan::default()
    };

    let mut session = Session::begin(&guest, &card)?;
    let frames: Vec<_> = session
        .capture(&slow, &guest, &card)?
        .completions()
        .cloned()
        .collect();

    assert_eq!(session.finish(&guest, &card)?, []);
    let (first, last) = (&frames[0], &frames[3]);
    let numbers = u64::from(last.sequence - first.sequence);
    assert!(numbers >= 3, "{frames:?}");
    // Each frame time is a multiple of the interval after the start; a late host may shift one end by some.
    assert!(
        last.card_time_ns - first.card_time_ns > (numbers - 1) * 20_000_000,
        "{frames:?}"
    );
    drop(card);
    Ok(guest.power_off()?)
}

/// More frames than buffers: every buffer goes round, and each frame is right before it is queued again.
#[test]
fn buffers_go_round() -> Result {
    let guest = boot_loaded(with_capture_card())?;
    let card = Device::open(&guest, 0)?;

    let rounds = CapturePlan {
        frames: 50,
        buffers: 3,
        ..CapturePlan::default()
    };
    capture_clean(&guest, &card, &rounds)?;

    drop(card);
    Ok(guest.power_off()?)
}
