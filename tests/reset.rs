// SPDX-License-Identifier: MIT OR Apache-2.0

//! Resets, bus mastering and power states, in the middle of a capture: not a byte lands afterwards.

use landfall::guest::{Card, Guest, GuestOptions, Loaded};
use landfall_device::dma::journal::Kind;
use landfall_tests::{
    ENDLESS, SHORT, SMALL, accesses_after, assert_pool_untouched, boot_loaded, capture, pci_address,
};

/// Starts a capture that does not end by itself, and waits for its first frame.
fn start_endless(card: &Card<'_>) -> landfall::guest::Result<()> {
    card.configure(&ENDLESS)?;
    for index in 0..ENDLESS.buffers {
        card.queue(index)?;
    }
    card.start()?;
    assert!(card.wait(SHORT)?.is_some(), "the capture runs");
    Ok(())
}

fn recovers(guest: &Guest<Loaded>, card: Card<'_>) -> landfall::guest::Result<()> {
    // The driver may find the card idle already; what matters is that it works again.
    let _ = card.stop();
    card.close()?;
    assert_pool_untouched(guest)?;
    capture(guest, guest.open_card(0)?, &SMALL)?.assert_clean();
    Ok(())
}

/// Function-level reset by way of PCI: the card stops at once, and the driver recovers it.
#[test]
fn function_level_reset_stops_the_card_at_once() -> landfall::guest::Result<()> {
    let guest = boot_loaded(GuestOptions::default())?;
    let card = guest.open_card(0)?;
    let address = pci_address(&card.info()?);
    start_endless(&card)?;

    guest.write_file(&format!("/sys/bus/pci/devices/{address}/reset_method"), "flr")?;
    guest.write_file(&format!("/sys/bus/pci/devices/{address}/reset"), "1")?;

    assert_eq!(accesses_after(&guest, |kind| matches!(kind, Kind::Reset { .. })), 0);
    recovers(&guest, card)?;
    guest.power_off()
}

/// Bus mastering taken away in mid-frame: no access afterwards, and the card reports the loss.
#[test]
fn without_bus_mastering_the_card_is_silent() -> landfall::guest::Result<()> {
    let guest = boot_loaded(GuestOptions::default())?;
    let card = guest.open_card(0)?;
    let address = pci_address(&card.info()?);
    start_endless(&card)?;

    guest.write_config(&address, 0x04, &[0x02, 0x00])?;

    assert_eq!(accesses_after(&guest, |kind| matches!(kind, Kind::BusMaster { on: false })), 0);
    guest.write_config(&address, 0x04, &[0x06, 0x04])?;
    recovers(&guest, card)?;
    guest.power_off()
}
