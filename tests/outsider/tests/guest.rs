// SPDX-License-Identifier: MIT OR Apache-2.0

//! The cards in a guest, with their drivers: clean wherever they are tried, and a bug is named.

use std::path::Path;

use landfall::guest::{Card, Driver};
use landfall::judge::{Leg, Trial, TrialFailed};
use landfall_device::ledger::Class;
use outsider::copier::Copier;
use outsider::window::Window;

type Result = std::result::Result<(), TrialFailed>;

fn driver(name: &str) -> Driver {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    Driver::build(here.join("driver").join(name))
}

#[test]
fn the_copiers_driver_is_right() -> Result {
    let verdict = Trial::new()
        .named("copier")
        .card(Copier::default())
        .driver(driver("copier"))
        .on([Leg::Plain, Leg::Iommu, Leg::Swiotlb, Leg::High])
        .verdict()?;
    verdict.assert_clean();
    let [(_, seen)] = &verdict.legs[0].cards[..] else {
        panic!("one card: {verdict}");
    };
    assert_eq!(seen.frames, 8, "buffers that the card filled");
    Ok(())
}

#[test]
fn a_buffer_that_is_unmapped_too_early_is_named() -> Result {
    let verdict = Trial::new()
        .named("copier-early")
        .card(Copier::default())
        .driver(driver("copier").with("early=1"))
        .verdict()?;
    verdict.assert_named(Class::StaleAddress);
    assert!(verdict.to_string().contains("copier_probe+0x"), "{verdict}");
    verdict.discard().expect("its bundle");
    Ok(())
}

#[test]
fn the_windows_driver_is_right() -> Result {
    Trial::new()
        .named("window")
        .plug(Card::new("window", || Window::new().expect("memory")))
        .driver(driver("window"))
        .on([Leg::Plain, Leg::Iommu])
        .verdict()?
        .assert_clean();
    Ok(())
}
