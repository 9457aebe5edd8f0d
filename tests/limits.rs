// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the card cannot do is told by its registers, and the driver keeps to it.

use landfall::guest::{Configure, GuestOptions, PoolOptions, PoolSource};
use landfall_device::devices::capture::CaptureOptions;
use landfall_tests::{EINVAL, ENOMEM, SMALL, boot, boot_loaded, capture};

/// A frame that must not cross a 64 KiB boundary, and must begin on 16 KiB, does neither.
#[test]
fn alignment_and_boundary_are_kept() -> landfall::guest::Result<()> {
    let card = CaptureOptions { align_shift: 14, boundary_shift: 16, ..CaptureOptions::default() };
    let guest = boot_loaded(GuestOptions::with_card(card))?;

    // 40,000 bytes each: packed tightly, every second one would cross.
    let wanted = Configure { width: 200, height: 100, buffers: 8, ..SMALL };
    let captured = capture(&guest, guest.open_card(0)?, &wanted)?;

    captured.assert_clean();
    for buffer in &captured.buffers {
        assert_eq!(buffer.dma % (16 << 10), 0, "aligned: {buffer:x?}");
        assert_eq!(buffer.dma >> 16, (buffer.dma + buffer.length - 1) >> 16, "crosses: {buffer:x?}");
    }
    guest.power_off()
}

/// A card with 24 address bits captures into memory below 16 MiB.
#[test]
fn a_24_bit_card_captures_below_16_mib() -> landfall::guest::Result<()> {
    let card = CaptureOptions { address_bits: 24, ..CaptureOptions::default() };
    let pool = PoolOptions {
        source: PoolSource::Buddy,
        size: 1 << 20,
        address_bits: Some(24),
        ..PoolOptions::default()
    };
    let guest = boot_loaded(GuestOptions { pool, ..GuestOptions::with_card(card) })?;

    let captured = capture(&guest, guest.open_card(0)?, &SMALL)?;

    captured.assert_clean();
    assert!(captured.buffers.iter().all(|buffer| buffer.phys + buffer.length <= 16 << 20));
    guest.power_off()
}

/// A pool that a card cannot reach is refused when the driver binds, in words, and nothing is lent.
#[test]
fn a_pool_out_of_reach_is_refused() -> landfall::guest::Result<()> {
    let card = CaptureOptions { address_bits: 24, ..CaptureOptions::default() };
    let guest = boot(GuestOptions::with_card(card))?;
    guest.load_module("landfall_pool", "source=reserve")?;
    guest.load_module("landfall_capture", "")?;

    assert!(!guest.list("/dev")?.contains(&"landfall-capture0".to_owned()), "not bound");
    assert!(guest.kernel_log()?.contains("has no memory for a card with 24 address bits"));
    guest.power_off()
}

/// A frame larger than the card takes, or than the pool has, is refused before the card hears of it.
#[test]
fn frames_too_large_are_refused() -> landfall::guest::Result<()> {
    let card = CaptureOptions { max_frame: 1 << 20, ..CaptureOptions::default() };
    let guest = boot_loaded(GuestOptions::with_card(card))?;
    let card = guest.open_card(0)?;

    let too_large = Configure { width: 1024, height: 1024, ..SMALL };
    assert_eq!(card.configure(&too_large).unwrap_err().errno(), Some(EINVAL));
    let too_many = Configure { width: 1024, height: 511, buffers: 32, ..SMALL };
    card.configure(&too_many)?;
    card.release()?;
    let more_than_the_pool = Configure { buffers: 32, ..too_many.clone() };
    let second = Configure { width: 1024, height: 512, ..more_than_the_pool };
    assert!(matches!(card.configure(&second).map_err(|error| error.errno()), Ok(_) | Err(Some(ENOMEM))));
    drop(card);

    capture(&guest, guest.open_card(0)?, &SMALL)?.assert_clean();
    guest.power_off()
}
