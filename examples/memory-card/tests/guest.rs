// SPDX-License-Identifier: MIT OR Apache-2.0

//! The card in a guest, with its driver.

use landfall::guest::{Card, Driver};
use landfall::judge::{Leg, Trial, TrialFailed};
use memory_card::Window;

#[test]
fn the_driver_is_right() -> Result<(), TrialFailed> {
    Trial::new()
        .named("memory-card")
        .plug(Card::new("memory-card", || Window::new().expect("memory")))
        .driver(Driver::build(concat!(env!("CARGO_MANIFEST_DIR"), "/driver")))
        .on([Leg::Plain, Leg::Iommu])
        .verdict()?
        .assert_clean();
    Ok(())
}
