// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is captured: pixel formats, pictures, strides, clip masks, intervals.

use landfall::guest::{Configure, GuestOptions};
use landfall_device::devices::capture::pattern::{Pattern, Pixel};
use landfall_tests::{SHORT, SMALL, boot_loaded, capture};

/// Every pixel format with every picture lands byte for byte, also where lines end inside a page.
#[test]
fn every_format_and_picture_lands_byte_for_byte() -> landfall::guest::Result<()> {
    let guest = boot_loaded(GuestOptions::default())?;

    for pixel in Pixel::ALL {
        for pattern in Pattern::ALL {
            let wanted = Configure {
                width: 322,
                height: 41,
                pixel: pixel.number().into(),
                pattern: pattern.number().into(),
                ..SMALL
            };
            capture(&guest, guest.open_card(0)?, &wanted)?.assert_clean();
        }
    }
    guest.power_off()
}

/// The bytes between two lines are the driver's: the card leaves them alone.
#[test]
fn the_gap_between_lines_stays_untouched() -> landfall::guest::Result<()> {
    let guest = boot_loaded(GuestOptions::default())?;

    let padded = Configure { width: 318, stride: 1000, ..SMALL };
    let captured = capture(&guest, guest.open_card(0)?, &padded)?;

    captured.assert_clean();
    assert_eq!(captured.format.stride, 1000);
    assert_eq!(captured.format.frame_size, 1000 * u64::from(padded.height - 1) + 318 * 2);
    guest.power_off()
}

/// Pixels that the clip mask takes out are not written; the card reads the mask from memory for each frame.
#[test]
fn clipped_pixels_stay_untouched() -> landfall::guest::Result<()> {
    let guest = boot_loaded(GuestOptions::default())?;
    let clipped = Configure { width: 320, height: 64, buffers: 1, clip: true, ..SMALL };
    let card = guest.open_card(0)?;
    card.configure(&clipped)?;
    let mask: Vec<u8> = (0..320 / 8 * 64).map(|byte: u32| (byte * 37 % 251) as u8).collect();

    card.write_clip(0, 0, &mask)?;
    let captured = landfall_tests::capture_configured(&guest, card, &clipped, Some(mask))?;

    captured.assert_clean();
    guest.power_off()
}

/// With an interval, frames come no faster than asked for, and their numbers rise by one.
#[test]
fn an_interval_spaces_frames() -> landfall::guest::Result<()> {
    let guest = boot_loaded(GuestOptions::default())?;
    let slow = Configure { interval_us: 20_000, buffers: 4, ..SMALL };

    let captured = capture(&guest, guest.open_card(0)?, &slow)?;

    captured.assert_clean();
    let times: Vec<u64> = captured.completions.iter().map(|frame| frame.card_time_ns).collect();
    for pair in times.windows(2) {
        assert!(pair[1] - pair[0] > 10_000_000, "20 ms apart, give or take a busy host: {times:?}");
    }
    let numbers: Vec<u32> = captured.completions.iter().map(|frame| frame.sequence).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] > pair[0]), "{numbers:?}");
    guest.power_off()
}

/// Stopping gives every buffer back, and a second capture begins cleanly.
#[test]
fn a_stopped_capture_can_be_started_again() -> landfall::guest::Result<()> {
    let guest = boot_loaded(GuestOptions::default())?;
    let card = guest.open_card(0)?;
    card.configure(&Configure { interval_us: 1_000_000, ..SMALL })?;
    card.queue(0)?;
    card.start()?;
    card.stop()?;
    assert_eq!(card.wait(SHORT)?.map(|frame| frame.result), None, "nothing was captured");

    capture(&guest, card, &SMALL)?.assert_clean();
    guest.power_off()
}
