// SPDX-License-Identifier: MIT OR Apache-2.0

//! Each kind of interrupt, one for each frame at least.

use landfall::guest::{Configure, GuestOptions};
use landfall_device::{devices::capture::CaptureOptions, function::InterruptKind};
use landfall_tests::{SMALL, boot_loaded, capture};

fn captures_with(interrupt: InterruptKind, number: u32) -> landfall::guest::Result<()> {
    let options = CaptureOptions { interrupt, ..CaptureOptions::default() };
    let guest = boot_loaded(GuestOptions::with_card(options))?;
    let card = guest.open_card(0)?;
    let before = card.info()?;
    assert_eq!(before.interrupt, number, "the driver got the kind that the card has");

    let captured = capture(&guest, card, &Configure { buffers: 8, ..SMALL })?;
    captured.assert_clean();

    let after = guest.open_card(0)?.info()?;
    assert!(after.interrupts > before.interrupts, "interrupts were taken");
    assert!(guest.read_text("/proc/interrupts")?.contains("landfall_capture"));
    guest.power_off()
}

/// The legacy line: level-triggered, masked and unmasked by QEMU around every interrupt.
#[test]
fn intx_completes_every_frame() -> landfall::guest::Result<()> {
    captures_with(InterruptKind::Intx, 0)
}

/// One message.
#[test]
fn msi_completes_every_frame() -> landfall::guest::Result<()> {
    captures_with(InterruptKind::Msi, 1)
}

/// One message from a table in BAR 2.
#[test]
fn msix_completes_every_frame() -> landfall::guest::Result<()> {
    captures_with(InterruptKind::Msix, 2)
}
