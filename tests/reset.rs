// SPDX-License-Identifier: MIT OR Apache-2.0

//! Resets and bus mastering, in the middle of a capture: not a byte lands afterwards.

use landfall::guest::{Guest, Loaded};
use landfall_device::journal::Kind;
use landfall_suite::capture::Device;
use landfall_suite::run::CapturePlan;
use landfall_tests::{
    Result, SHORT, accesses_after, boot_loaded, capture_clean, pci_address, start_capture,
    with_capture_card,
};

/// Starts a capture and waits for its first frame; the others are still to come.
fn start_and_wait(card: &Device<'_>) -> Result {
    start_capture(card)?;
    assert!(card.wait(SHORT)?.is_some(), "the capture runs");
    Ok(())
}

fn assert_recovers(guest: &Guest<Loaded>, card: Device<'_>) -> Result {
    // The driver may find the card idle or reset; what matters is that it works again.
    let _ = card.stop();
    card.close()?;
    let card = Device::open(guest, 0)?;
    Ok(capture_clean(guest, &card, &CapturePlan::default())?)
}

/// Function-level reset by way of PCI: the card stops at once, and the driver recovers it.
#[test]
fn function_level_reset_stops_the_card_at_once() -> Result {
    let guest = boot_loaded(with_capture_card())?;
    let card = Device::open(&guest, 0)?;
    let device = format!("/sys/bus/pci/devices/{}", pci_address(&card.info()?));
    start_and_wait(&card)?;

    guest.write_file(&format!("{device}/reset_method"), "flr")?;
    guest.write_file(&format!("{device}/reset"), "1")?;

    assert_eq!(
        accesses_after(&guest, |kind| matches!(
            kind,
            Kind::Reset {
                reset: landfall_device::contract::Reset::FunctionLevel,
                ..
            }
        )),
        0
    );
    assert_recovers(&guest, card)?;
    Ok(guest.power_off()?)
}

/// Bus mastering taken away in the middle of a capture: no byte lands afterwards, and the driver recovers.
#[test]
fn without_bus_mastering_the_card_is_silent() -> Result {
    let guest = boot_loaded(with_capture_card())?;
    let card = Device::open(&guest, 0)?;
    let config = format!("/sys/bus/pci/devices/{}/config", pci_address(&card.info()?));
    start_and_wait(&card)?;

    let command = guest.read_file_at(&config, 4, 2)?;
    guest.write_file_at(&config, 4, [command[0] & !0x04, command[1]])?;

    assert_eq!(
        accesses_after(&guest, |kind| matches!(kind, Kind::BusMaster { on: false })),
        0
    );
    guest.write_file_at(&config, 4, command)?;
    assert_recovers(&guest, card)?;
    Ok(guest.power_off()?)
}

/// Outside D0 the card is silent, and it works again in D0.
#[test]
fn in_d3_the_card_is_silent() -> Result {
    let guest = boot_loaded(with_capture_card())?;
    let card = Device::open(&guest, 0)?;
    let config = format!("/sys/bus/pci/devices/{}/config", pci_address(&card.info()?));
    start_and_wait(&card)?;

    let pmcsr = power_management(&guest, &config)? + 4;
    guest.write_file_at(&config, pmcsr, [0x03, 0x00])?;

    assert_eq!(
        accesses_after(&guest, |kind| matches!(
            kind,
            Kind::PowerState { state: 3, .. }
        )),
        0
    );
    guest.write_file_at(&config, pmcsr, [0x00, 0x00])?;
    assert_recovers(&guest, card)?;
    Ok(guest.power_off()?)
}

/// Offset of the power management capability, found as PCI 3.0, section 6.7, says.
fn power_management(guest: &Guest<Loaded>, config: &str) -> Result<u64> {
    let space = guest.read_file_at(config, 0, 256)?;
    let mut at = usize::from(space[0x34]);
    while at != 0 {
        if space[at] == 0x01 {
            return Ok(at as u64);
        }
        at = usize::from(space[at + 1]);
    }
    Err("the card has no power management capability".into())
}
