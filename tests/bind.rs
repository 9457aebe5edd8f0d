// SPDX-License-Identifier: MIT OR Apache-2.0

//! Binding, unbinding, loading and unloading, idle and under use.

use landfall::guest::POOL_MODULE;
use landfall_device::contract::Declaration;
use landfall_suite::capture::Configure;
use landfall_suite::capture::{CAPTURE_MODULE, Device};
use landfall_suite::run::CapturePlan;
use landfall_tests::errno::{ENODEV, EWOULDBLOCK};
use landfall_tests::{
    Result, SHORT, accesses_after, assert_refused, boot_loaded, capture_clean, pci_address,
    start_capture, with_capture_card,
};

const BIND: &str = "/sys/bus/pci/drivers/landfall_capture/bind";
const UNBIND: &str = "/sys/bus/pci/drivers/landfall_capture/unbind";

/// A card can be taken from its driver and given back, and captures as before.
#[test]
fn a_card_works_again_after_unbind_and_bind() -> Result {
    let guest = boot_loaded(with_capture_card())?;
    let card = Device::open(&guest, 0)?;
    let address = pci_address(&card.info()?);
    capture_clean(&guest, &card, &CapturePlan::default())?;
    card.close()?;

    for _ in 0..3 {
        guest.write_file(UNBIND, &address)?;
        assert_eq!(guest.used()?, [], "unbound: everything is back in the pool");
        guest.write_file(BIND, &address)?;
        guest.wait_for_path("/dev/video0", SHORT)?;
        let card = Device::open(&guest, 0)?;
        capture_clean(&guest, &card, &CapturePlan::default())?;
    }
    Ok(guest.power_off()?)
}

/// The driver lets go of a card in the middle of a capture: the card stops first, no byte lands later, and
/// the open file knows that its card is gone.
#[test]
fn unbinding_during_a_capture_stops_the_card_first() -> Result {
    let guest = boot_loaded(with_capture_card())?;
    let card = Device::open(&guest, 0)?;
    let address = pci_address(&card.info()?);
    start_capture(&card)?;

    guest.write_file(UNBIND, &address)?;

    assert_eq!(
        accesses_after(&guest, |kind| matches!(
            kind.declaration(),
            Some((Declaration::Idle { .. }, _))
        )),
        0
    );
    assert_refused(card.start(), ENODEV);
    card.close()?;
    assert_eq!(guest.used()?, [], "everything is back in the pool");
    Ok(guest.power_off()?)
}

/// Modules can be unloaded and loaded again, in the right order only, and not while a file is open.
#[test]
fn modules_reload_and_refuse_while_in_use() -> Result {
    let guest = boot_loaded(with_capture_card())?;

    assert_refused(guest.unload_module(POOL_MODULE), EWOULDBLOCK);
    let card = Device::open(&guest, 0)?;
    assert_refused(guest.unload_module(CAPTURE_MODULE), EWOULDBLOCK);
    card.close()?;

    for _ in 0..3 {
        guest.unload_module(CAPTURE_MODULE)?;
        guest.unload_module(POOL_MODULE)?;
        guest.load_module(POOL_MODULE, "source=reserve")?;
        guest.load_module(CAPTURE_MODULE, "")?;
    }
    guest.wait_for_path("/dev/video0", SHORT)?;
    capture_clean(&guest, &Device::open(&guest, 0)?, &CapturePlan::default())?;
    Ok(guest.power_off()?)
}

/// A frame that user space still has mapped is not given to anybody else: not when another capture is
/// configured, not when the card is unbound, only when the mapping goes.
#[test]
fn a_mapped_frame_outlives_its_capture_and_its_driver() -> Result {
    let guest = boot_loaded(with_capture_card())?;
    let card = Device::open(&guest, 0)?;
    let address = pci_address(&card.info()?);
    card.configure(&Configure {
        width: 320,
        height: 240,
        buffers: 1,
        ..Configure::default()
    })?;
    let frame = card.buffer(0)?;
    card.hold_mapping(0)?;
    let held = || {
        guest
            .used()
            .map(|used| used.iter().any(|buffer| buffer.base == frame.phys))
    };

    card.release()?;
    assert!(held()?, "mapped: still taken after release");
    capture_clean(&guest, &card, &CapturePlan::default())?;
    guest.write_file(UNBIND, &address)?;
    assert!(held()?, "mapped: still taken after unbind");

    landfall_suite::capture::drop_mappings(&guest)?;
    card.close()?;
    assert!(!held()?, "the last mapping gave it back");
    Ok(guest.power_off()?)
}
