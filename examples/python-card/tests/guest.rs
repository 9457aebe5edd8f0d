// SPDX-License-Identifier: MIT OR Apache-2.0

//! The card in a guest, with its driver: clean wherever it is tried, a bug is named, and a card that dies is no bug of the driver's.

use std::path::Path;

use landfall::guest::{Card, Driver, Server};
use landfall::judge::{Leg, Trial, TrialFailed};
use landfall_device::ledger::Class;

type Result = std::result::Result<(), TrialFailed>;

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A server for each guest.
fn card() -> Card {
    let script = here().join("card.py").display().to_string();
    let server = Server::command(["python3", &script, "{socket}"]);
    Card::served("python-card", server.registers(here().join("registers.toml")))
}

fn driver() -> Driver {
    Driver::build(here().join("driver"))
}

#[test]
fn the_driver_is_right() -> Result {
    let verdict = Trial::new()
        .named("python-card")
        .plug(card())
        .driver(driver())
        .on([Leg::Plain, Leg::Iommu])
        .verdict()?;
    verdict.assert_clean();
    Ok(())
}

#[test]
fn a_buffer_that_is_unmapped_too_early_is_named() -> Result {
    let verdict = Trial::new()
        .named("python-card-early")
        .plug(card())
        .driver(driver().with("early=1"))
        .verdict()?;
    verdict.assert_named(Class::StaleAddress);
    assert!(verdict.to_string().contains("card_probe+0x"), "{verdict}");
    verdict.discard().expect("its bundle");
    Ok(())
}
