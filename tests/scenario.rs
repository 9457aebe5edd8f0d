// SPDX-License-Identifier: MIT OR Apache-2.0

//! Scenarios of several faults: each is named, and the same scenario gives the same verdict.

use landfall::report::schema::{Report, Verdict};
use landfall_suite::fuzz;
use landfall_suite::fuzz::shrink;
use landfall_suite::run::Wishes;
use landfall_suite::scenario::Scenario;
use landfall_tests::{Result, prepared, reported, root, tcg, with_capture_card};

/// A small capture with a scenario.
fn report(text: &str) -> Result<Report> {
    reported(Wishes {
        scenario: Some(Scenario::parse(text)?),
        width: Some(320),
        height: Some(240),
        frames: Some(8),
        ..Wishes::default()
    })
}

type Told = (Option<u8>, Option<u32>, u64, u64, String);

/// Class, frame, place and words of every violation: all but times, and numbers in a journal that has them in it.
fn told(report: &Report) -> Vec<Told> {
    let violations = report.violations.iter();
    violations
        .map(|one| {
            (
                one.class,
                one.frame,
                one.address,
                one.length,
                one.name.clone(),
            )
        })
        .collect()
}

/// The example of the documentation: two faults, both named at their frames, and counted by the card.
#[test]
fn two_faults_are_both_named() -> Result {
    let text = std::fs::read_to_string(root().join("docs/scenarios/two-faults.toml"))?;

    let report = report(&text)?;

    assert_eq!(report.verdict, Verdict::Violations);
    let named = |class, frame| {
        let mut violations = report.violations.iter();
        violations.any(|one| (one.class, one.frame) == (Some(class), Some(frame)))
    };
    assert!(named(1, 2) && named(43, 5), "{:#?}", report.violations);
    let played = report.scenario.expect("it played one");
    assert_eq!(played.seed, 7);
    assert_eq!(Scenario::parse(&played.text)?, Scenario::parse(&text)?);
    let struck: Vec<_> = played.faults.iter().map(|fault| fault.struck).collect();
    assert_eq!(struck, [1, 1]);
    Ok(())
}

/// What is drawn at random is drawn from the seed: the same violations twice, and others with another seed.
#[test]
fn the_same_seed_gives_the_same_violations() -> Result {
    let drawn = |seed: u64| {
        report(&format!(
            "seed = {seed}\n[[fault]]\nwhat = \"overrun\"\nprobability = 0.5\ntimes = 8\n"
        ))
    };
    let (one, again, other) = (drawn(11)?, drawn(11)?, drawn(12)?);

    assert!(!one.violations.is_empty());
    assert_eq!(told(&one), told(&again));
    assert_ne!(told(&one), told(&other));
    Ok(())
}

/// Of three faults the one to blame is left, in its simplest form. To blame is, for once, one that is named as it
/// should be, as there is none that is not.
#[test]
fn a_scenario_is_shrunk_to_the_fault_that_is_to_blame() -> Result {
    let scenario = Scenario::parse(
        "[[fault]]\nwhat = \"short\"\nframe = 1\n[[fault]]\nwhat = \"overrun\"\nframe = 3\ntimes = 2\n\
         [[fault]]\nwhat = \"lost-irq\"\nframe = 5\n",
    )?;
    let overruns = |tried: &Scenario| -> Result<bool> {
        let report = report(&tried.to_toml())?;
        Ok(report.violations.iter().any(|one| one.class == Some(1)))
    };

    let shrunk = shrink(&scenario, 20, overruns)?;

    assert_eq!(
        shrunk.scenario.to_toml(),
        "seed = 0\n\n[[fault]]\nwhat = \"overrun\"\n"
    );
    assert!(shrunk.minimal && shrunk.runs < 10, "{shrunk:?}");
    Ok(())
}

/// Writes that arrive late and masks that are looked at twice are no fault of the card's, and this driver is right under
/// both.
#[test]
fn environments_are_clean() -> Result {
    let text = "[[fault]]\nwhat = \"posted\"\ndelay_us = 2000\n[[fault]]\nwhat = \"watch-fetch\"\n";
    let scenario = Scenario::parse(text)?;

    let played = fuzz::attempt(
        &scenario,
        None,
        with_capture_card(),
        prepared(),
        &tcg(),
        &landfall::Cancel::default(),
    )?;

    assert_eq!(played.wrong, None);
    assert!(played.struck.iter().all(|struck| *struck > 0), "{played:?}");
    Ok(())
}
