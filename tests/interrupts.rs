// SPDX-License-Identifier: MIT OR Apache-2.0

//! Each kind of interrupt completes every frame.

use landfall_cards::capture::CaptureOptions;
use landfall_device::contract::InterruptKind;
use landfall_suite::capture::{self, Device};
use landfall_suite::run::CapturePlan;
use landfall_tests::{Result, boot_loaded, capture_clean};

fn captures_with(interrupt: InterruptKind, number: u32) -> Result {
    let guest = boot_loaded(capture::guest(CaptureOptions {
        interrupt,
        ..CaptureOptions::default()
    }))?;
    let card = Device::open(&guest, 0)?;
    let before = card.info()?;
    assert_eq!(
        before.interrupt, number,
        "the driver got the kind that the card has"
    );

    let plan = CapturePlan {
        frames: 30,
        buffers: 8,
        ..CapturePlan::default()
    };
    capture_clean(&guest, &card, &plan)?;

    assert!(
        card.info()?.interrupts > before.interrupts,
        "interrupts were taken"
    );
    assert!(
        guest
            .read_text("/proc/interrupts")?
            .contains("landfall_capture")
    );
    drop(card);
    Ok(guest.power_off()?)
}

/// The legacy line: level-triggered, masked and unmasked by QEMU around every interrupt.
#[test]
fn intx_completes_every_frame() -> Result {
    captures_with(InterruptKind::Intx, 0)
}

/// One message.
#[test]
fn msi_completes_every_frame() -> Result {
    captures_with(InterruptKind::Msi, 1)
}

/// One message from a table in BAR 2.
#[test]
fn msix_completes_every_frame() -> Result {
    captures_with(InterruptKind::Msix, 2)
}
