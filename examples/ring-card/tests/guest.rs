// SPDX-License-Identifier: MIT OR Apache-2.0

//! The card in a guest, with its driver.

use landfall::guest::Driver;
use landfall::judge::{Leg, Trial, TrialFailed};
use landfall_device::ledger::Class;
use ring_card::RingCard;

type Result = std::result::Result<(), TrialFailed>;

fn driver() -> Driver {
    Driver::build(concat!(env!("CARGO_MANIFEST_DIR"), "/driver"))
}

#[test]
fn the_driver_is_right() -> Result {
    let verdict = Trial::new()
        .named("ring-card")
        .card(RingCard::default())
        .driver(driver())
        .verdict()?;
    verdict.assert_clean();
    let [(_, seen)] = &verdict.legs[0].cards[..] else {
        panic!("one card: {verdict}");
    };
    assert_eq!(seen.frames, 8, "buffers that the card filled");
    Ok(())
}

#[test]
fn so_it_is_on_every_platform() -> Result {
    Trial::new()
        .named("ring-card")
        .card(RingCard::default())
        .driver(driver())
        .on(Leg::ALL)
        .verdict()?
        .assert_clean();
    Ok(())
}

#[test]
fn a_buffer_that_is_unmapped_too_early_is_named() -> Result {
    let verdict = Trial::new()
        .named("ring-card-early")
        .card(RingCard::default())
        .driver(driver().with("early=1"))
        .verdict()?;
    verdict.assert_named(Class::StaleAddress);
    assert!(verdict.to_string().contains("ring_card_probe+0x"), "{verdict}");
    verdict.discard().expect("its bundle");
    Ok(())
}
