// SPDX-License-Identifier: MIT OR Apache-2.0

use std::collections::HashSet;

use super::*;
use crate::verify::merge::bare;

fn violation(class: Option<u8>) -> Violation {
    Violation {
        class,
        ..bare("some name", 1, "some text")
    }
}

fn scenario(faults: &[Fault]) -> Scenario {
    Scenario {
        seed: 0,
        faults: faults.iter().copied().map(Planted::once).collect(),
    }
}

#[test]
fn the_same_seed_and_number_draw_the_same() {
    let texts = |seed| -> Vec<_> { (0..100).map(|n| draw(seed, n).to_toml()).collect() };
    assert_eq!(texts(7), texts(7));
    let all: HashSet<_> = texts(7).into_iter().chain(texts(8)).collect();
    assert!(all.len() > 190, "{} different of 200", all.len());
}

/// Every scenario makes sense and is what its text says; all faults are drawn, none strikes where another does.
#[test]
fn everything_is_drawn_and_makes_sense() {
    let mut drawn = HashSet::new();
    let mut quiet = 0;
    for number in 0..1000 {
        let scenario = draw(3, number);
        assert_eq!(Scenario::parse(&scenario.to_toml()), Ok(scenario.clone()));
        let frames = scenario.faults.iter().filter_map(|fault| fault.when.frame);
        let frames: Vec<_> = frames.collect();
        let different: HashSet<_> = frames.iter().collect();
        assert_eq!(different.len(), frames.len());
        assert!(frames.iter().all(|frame| *frame < FRAMES));
        drawn.extend(scenario.faults.iter().map(|fault| fault.what.name()));
        let bugs = scenario.faults.iter();
        quiet += usize::from(bugs.filter_map(|fault| fault.what.class()).count() == 0);
    }
    for fault in DRAWN.iter().chain(&ENVIRONMENTS) {
        assert!(drawn.contains(fault.name()), "{fault}");
    }
    assert!((100..500).contains(&quiet), "{quiet} of 1000 without a bug");
}

#[test]
fn a_fault_that_struck_must_be_named_with_its_class() {
    let two = scenario(&[Fault::Overrun, Fault::LostIrq]);
    let (overrun, lost) = (violation(Some(1)), violation(Some(43)));
    let other = violation(Some(56));
    assert_eq!(judge(&two, &[1, 1], &[overrun.clone(), lost]), None);
    let unexplained = judge(&two, &[1, 0], &[overrun.clone(), other.clone()]);
    assert!(
        matches!(unexplained, Some(Wrong::FalseAlarm { .. })),
        "{unexplained:?}"
    );
    let missed = Wrong::Missed {
        fault: "lost-irq".to_owned(),
        class: 43,
        named: vec![1, 56],
    };
    assert_eq!(judge(&two, &[2, 1], &[other, overrun]), Some(missed));
}

/// With writes on their way, what was given back may be touched because of them.
#[test]
fn only_with_posted_writes_a_stale_access_may_be_one_for_their_sake() {
    let late = [violation(Some(36))];
    let posted = scenario(&[Fault::Posted { delay_us: 1 }, Fault::Stale]);
    assert_eq!(judge(&posted, &[9, 1], &late), None);
    assert!(judge(&scenario(&[Fault::Stale]), &[1], &late).is_some());
    let other = scenario(&[Fault::Posted { delay_us: 1 }, Fault::Overrun]);
    assert!(judge(&other, &[9, 1], &late).is_some());
}

#[test]
fn without_a_strike_there_is_nothing_to_tell() {
    let environment = scenario(&[Fault::Posted { delay_us: 1 }, Fault::Overrun]);
    assert_eq!(judge(&environment, &[30, 0], &[]), None);
    let wrong = judge(&environment, &[30, 0], &[violation(None)]);
    assert!(matches!(wrong, Some(Wrong::FalseAlarm { .. })), "{wrong:?}");
}

#[test]
fn a_guest_that_died_is_wrong_whatever_was_named() {
    let one = scenario(&[Fault::Overrun]);
    let died = bare(crate::run::GUEST_FAILED, 1, "it panicked");
    let wrong = judge(&one, &[1], &[violation(Some(1)), died]);
    assert!(matches!(wrong, Some(Wrong::Died { .. })), "{wrong:?}");
}

/// The guest of every scenario is the same, so that one snapshot serves all of them.
#[test]
fn every_scenario_has_the_same_guest() {
    let guest = |number| {
        let plan = plan(&draw(1, number), GuestOptions::default()).expect("possible");
        let captures = plan.captures.len();
        (plan.guest.memory, plan.guest.pool, captures)
    };
    assert!((1..20).all(|number| guest(number) == guest(0)));
}
