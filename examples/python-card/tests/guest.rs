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

/// It is started for each guest.
fn server(words: &str) -> Server {
    let (script, more) = words.split_once(' ').unwrap_or((words, ""));
    let script = here().join(script).display().to_string();
    Server::command(["python3", &script, "{socket}", more]).registers(here().join("registers.toml"))
}

fn card(words: &str) -> Card {
    Card::served("python-card", server(words))
}

fn driver() -> Driver {
    Driver::build(here().join("driver"))
}

#[test]
fn the_driver_is_right() -> Result {
    let verdict = Trial::new()
        .named("python-card")
        .plug(card("card.py"))
        .driver(driver())
        .on([Leg::Plain, Leg::Iommu])
        .verdict()?;
    verdict.assert_clean();
    Ok(())
}

#[test]
fn the_line_and_a_table_of_vectors_do_as_well() -> Result {
    for kind in ["line", "table"] {
        Trial::new()
            .named(format!("python-card-{kind}"))
            .plug(card(&format!("tests/variants.py {kind}")))
            .driver(driver())
            .verdict()?
            .assert_clean();
    }
    Ok(())
}

#[test]
fn a_buffer_that_is_unmapped_too_early_is_named() -> Result {
    let verdict = Trial::new()
        .named("python-card-early")
        .plug(card("card.py"))
        .driver(driver().with("early=1"))
        .verdict()?;
    verdict.assert_named(Class::StaleAddress);
    assert!(verdict.to_string().contains("card_probe+0x"), "{verdict}");
    verdict.discard().expect("its bundle");
    Ok(())
}

#[test]
fn a_card_that_dies_is_told_with_its_last_words_and_is_no_bug_of_the_drivers() -> Result {
    let verdict = Trial::new()
        .named("python-card-dies")
        .plug(card("tests/dies.py"))
        .driver(driver().with("patience=1"))
        .verdict()?;
    assert!(!verdict.is_clean(), "{verdict}");
    let [(_, seen)] = &verdict.legs[0].cards[..] else {
        panic!("one card: {verdict}");
    };
    assert!(seen.violations.is_empty(), "{verdict}");
    let why = seen.not_judged.join("; ");
    assert!(
        why.contains("the card's server is gone: it closed the connection"),
        "{why}"
    );
    assert!(
        why.contains("RuntimeError: no such cell in the netlist"),
        "{why}"
    );
    verdict.discard().expect("its bundle");
    Ok(())
}

#[test]
fn a_card_that_runs_unjudged_works_and_is_not_called_clean() -> Result {
    let verdict = Trial::new()
        .named("python-card-unjudged")
        .plug(Card::served("python-card", server("card.py").unjudged()))
        .driver(driver())
        .run(["/bin/busybox", "sh", "-c", "dmesg | grep -q '4 buffers, 0'"])
        .verdict()?;
    assert!(!verdict.is_clean(), "{verdict}");
    let why = verdict.wrong().join("; ");
    assert!(why.contains("runs unjudged"), "{why}");
    let (_, ran) = &verdict.legs[0].programs[0];
    assert_eq!(
        ran.status, 0,
        "the driver had its buffers filled: {verdict}"
    );
    verdict.discard().expect("its bundle");
    Ok(())
}
