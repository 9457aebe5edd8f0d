// SPDX-License-Identifier: MIT OR Apache-2.0

//! Binding, unbinding, loading and unloading, idle and under use.

use landfall::guest::{CAPTURE_MODULE, GuestOptions, POOL_MODULE};
use landfall_tests::{ENDLESS, ENODEV, EWOULDBLOCK, SMALL, boot_loaded, capture, pci_address};

/// A card can be taken from its driver and given back, and captures as before.
#[test]
fn a_card_works_again_after_unbind_and_bind() -> landfall::guest::Result<()> {
    let guest = boot_loaded(GuestOptions::default())?;
    let card = guest.open_card(0)?;
    let address = pci_address(&card.info()?);
    capture(&guest, card, &SMALL)?.assert_clean();

    for _ in 0..3 {
        guest.write_file("/sys/bus/pci/drivers/landfall_capture/unbind", &address)?;
        assert_eq!(guest.used()?, [], "unbound: everything is back in the pool");
        guest.write_file("/sys/bus/pci/drivers/landfall_capture/bind", &address)?;
        capture(&guest, guest.open_card(0)?, &SMALL)?.assert_clean();
    }
    guest.power_off()
}

/// The driver lets go of a card in the middle of a capture: the card stops first, no byte lands later, and
/// the open file knows that its card is gone.
#[test]
fn unbinding_during_a_capture_stops_the_card_first() -> landfall::guest::Result<()> {
    let guest = boot_loaded(GuestOptions::default())?;
    let card = guest.open_card(0)?;
    let address = pci_address(&card.info()?);
    card.configure(&ENDLESS)?;
    for index in 0..ENDLESS.buffers {
        card.queue(index)?;
    }
    card.start()?;

    guest.write_file("/sys/bus/pci/drivers/landfall_capture/unbind", &address)?;

    assert_eq!(card.start().unwrap_err().errno(), Some(ENODEV));
    card.close()?;
    assert_eq!(guest.used()?, [], "everything is back in the pool");
    landfall_tests::assert_pool_untouched(&guest)?;
    guest.power_off()
}

/// Modules can be unloaded and loaded again, in the right order only.
#[test]
fn modules_unload_and_reload_and_refuse_while_in_use() -> landfall::guest::Result<()> {
    let guest = boot_loaded(GuestOptions::default())?;

    assert_eq!(guest.unload_module(POOL_MODULE).unwrap_err().errno(), Some(EWOULDBLOCK));
    let card = guest.open_card(0)?;
    assert_eq!(guest.unload_module(CAPTURE_MODULE).unwrap_err().errno(), Some(EWOULDBLOCK));
    card.close()?;

    for _ in 0..3 {
        guest.unload_module(CAPTURE_MODULE)?;
        guest.unload_module(POOL_MODULE)?;
        guest.load_module(POOL_MODULE, "source=reserve")?;
        guest.load_module(CAPTURE_MODULE, "")?;
    }
    capture(&guest, guest.open_card(0)?, &SMALL)?.assert_clean();
    guest.power_off()
}

/// A frame that user space still has mapped is not given to anybody else: not when its file is closed, not
/// when the card is unbound, only when the mapping goes.
#[test]
fn a_mapped_frame_outlives_its_file_and_its_driver() -> landfall::guest::Result<()> {
    let guest = boot_loaded(GuestOptions::default())?;
    let card = guest.open_card(0)?;
    let address = pci_address(&card.info()?);
    card.configure(&SMALL)?;
    let frame = card.buffer(0)?;
    card.hold_mapping(0)?;
    card.close()?;
    let held = |used: &[landfall::guest::Used]| used.iter().any(|buffer| buffer.base == frame.phys);

    assert!(held(&guest.used()?), "mapped: still taken after close");
    guest.write_file("/sys/bus/pci/drivers/landfall_capture/unbind", &address)?;
    assert!(held(&guest.used()?), "mapped: still taken after unbind");

    guest.drop_mappings()?;
    assert!(!held(&guest.used()?), "the last mapping gave it back");
    guest.power_off()
}
