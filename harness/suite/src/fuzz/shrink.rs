// SPDX-License-Identifier: MIT OR Apache-2.0

//! From a scenario that fails to the smallest that still does.

use landfall_cards::capture::{Fault, Planted, When};

use crate::scenario::Scenario;

/// What shrinking came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shrunk {
    /// The smallest scenario that was seen to fail.
    pub scenario: Scenario,
    /// How many were tried.
    pub runs: u32,
    /// Nothing smaller fails; else there were not enough runs to tell.
    pub minimal: bool,
}

/// Looks for the smallest scenario that still fails, greedily: without a fault, without a condition of one, with
/// simpler numbers. `scenario` is known to fail; `fails` tries another, at most `most` times.
///
/// # Errors
/// If `fails` comes to no answer.
pub fn shrink<E>(
    scenario: &Scenario,
    most: u32,
    mut fails: impl FnMut(&Scenario) -> Result<bool, E>,
) -> Result<Shrunk, E> {
    let mut shrunk = Shrunk {
        scenario: scenario.clone(),
        runs: 0,
        minimal: false,
    };
    'smaller: loop {
        for candidate in smaller(&shrunk.scenario) {
            if shrunk.runs == most {
                return Ok(shrunk);
            }
            shrunk.runs += 1;
            if fails(&candidate)? {
                shrunk.scenario = candidate;
                continue 'smaller;
            }
        }
        shrunk.minimal = true;
        return Ok(shrunk);
    }
}

/// Scenarios that are one step smaller, the boldest step first. Every step makes [`size`] less, so there is an end.
fn smaller(scenario: &Scenario) -> Vec<Scenario> {
    let mut candidates = Vec::new();
    for index in 0..scenario.faults.len() {
        let mut without = scenario.clone();
        without.faults.remove(index);
        candidates.push(without);
    }
    for (index, planted) in scenario.faults.iter().enumerate() {
        for simpler in simpler(planted) {
            let mut with = scenario.clone();
            if let Some(place) = with.faults.get_mut(index) {
                *place = simpler;
            }
            candidates.push(with);
        }
    }
    let drawn = scenario.faults.iter();
    if scenario.seed != 0 && drawn.clone().all(|fault| fault.when.probability.is_none()) {
        candidates.push(Scenario {
            seed: 0,
            ..scenario.clone()
        });
    }
    candidates
}

/// The fault with one thing simpler.
fn simpler(planted: &Planted) -> Vec<Planted> {
    let when = &planted.when;
    let mut simpler = Vec::new();
    let mut with = |change: &dyn Fn(&mut Planted)| {
        let mut changed = *planted;
        change(&mut changed);
        if changed != *planted {
            simpler.push(changed);
        }
    };
    with(&|planted| planted.when = When::default());
    with(&|planted| planted.when.probability = None);
    with(&|planted| planted.when.after_us = None);
    with(&|planted| planted.when.write = None);
    with(&|planted| planted.when.byte = None);
    with(&|planted| planted.when.frame = None);
    with(&|planted| planted.times = 1);
    let (frame, byte) = (when.frame.unwrap_or(0), when.byte.unwrap_or(0));
    if frame > 0 {
        with(&|planted| planted.when.frame = Some(0));
        with(&|planted| planted.when.frame = Some(frame / 2));
    }
    if byte > 0 {
        with(&|planted| planted.when.byte = Some(0));
        with(&|planted| planted.when.byte = Some(byte / 2));
    }
    if let Fault::Posted { delay_us } = planted.what
        && delay_us > 1
    {
        let delay_us = delay_us / 2;
        with(&|planted| planted.what = Fault::Posted { delay_us });
    }
    simpler
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use landfall_cards::capture::NthWrite;
    use proptest::prelude::*;

    use super::*;
    use crate::fuzz::draw;

    /// How large a scenario is: what every step of shrinking must make less.
    fn size(scenario: &Scenario) -> u128 {
        let number = |value: u64| u128::from(value.checked_ilog2().map_or(0, |bits| bits + 1));
        let of = |planted: &Planted| {
            let When {
                frame,
                byte,
                write,
                after_us,
                probability,
            } = planted.when;
            let given = [
                frame.is_some(),
                byte.is_some(),
                write.is_some(),
                after_us.is_some(),
                probability.is_some(),
            ];
            let given = given.iter().filter(|given| **given).count() as u128;
            let delay = match planted.what {
                Fault::Posted { delay_us } => number(delay_us.into()),
                _ => 0,
            };
            10_000
                + 500 * given
                + number(frame.unwrap_or(0).into())
                + number(byte.unwrap_or(0))
                + number(planted.times.into())
                + delay
        };
        scenario.faults.iter().map(of).sum::<u128>() + u128::from(scenario.seed != 0)
    }

    fn has(scenario: &Scenario, what: Fault) -> bool {
        scenario.faults.iter().any(|fault| fault.what == what)
    }

    fn shrunk(scenario: &Scenario, most: u32, fails: impl Fn(&Scenario) -> bool) -> Shrunk {
        let result = shrink(scenario, most, |tried| Ok::<_, Infallible>(fails(tried)));
        let Ok(shrunk) = result;
        shrunk
    }

    fn large() -> Scenario {
        let when = When {
            frame: Some(5),
            byte: Some(1000),
            write: Some(NthWrite::of("QUEUE", 3).expect("a register")),
            after_us: Some(10),
            probability: Some(500_000),
        };
        let fault = |what| Planted {
            what,
            when,
            times: 3,
        };
        Scenario {
            seed: 9,
            faults: vec![
                fault(Fault::Shift),
                fault(Fault::Short),
                fault(Fault::Stale),
            ],
        }
    }

    #[test]
    fn one_fault_that_is_to_blame_is_all_that_is_left() {
        let small = shrunk(&large(), 100, |tried| has(tried, Fault::Short));

        let only = Scenario {
            seed: 0,
            faults: vec![Planted::once(Fault::Short)],
        };
        assert_eq!(small.scenario, only);
        assert!(small.minimal && small.runs < 20, "{small:?}");
    }

    #[test]
    fn two_that_fail_together_stay_together_with_what_they_need() {
        let small = shrunk(&large(), 100, |tried| {
            let late = |fault: &Planted| fault.what == Fault::Stale && fault.when.frame >= Some(3);
            has(tried, Fault::Shift) && tried.faults.iter().any(late)
        });

        assert_eq!(small.scenario.faults.len(), 2);
        assert_eq!(small.scenario.faults[0], Planted::once(Fault::Shift));
        assert!(matches!(small.scenario.faults[1].when.frame, Some(3..=5)));
    }

    #[test]
    fn what_fails_without_any_fault_becomes_empty() {
        let small = shrunk(&large(), 100, |_| true);
        assert_eq!(small.scenario, Scenario::default());
    }

    #[test]
    fn it_stops_when_the_runs_are_used_up() {
        let small = shrunk(&large(), 3, |_| false);
        assert_eq!((small.runs, small.minimal), (3, false));
        assert_eq!(small.scenario, large());
        let all = shrunk(&large(), 1000, |_| false);
        assert!(all.minimal, "nothing smaller fails");
    }

    #[test]
    fn no_answer_is_passed_on() {
        assert_eq!(shrink(&large(), 9, |_| Err("no guest")), Err("no guest"));
    }

    proptest! {
        /// Every step is smaller, and a scenario that makes sense.
        #[test]
        fn every_step_is_smaller(seed in any::<u64>(), number in 0u64..1000) {
            let scenario = draw(seed, number);
            for step in smaller(&scenario) {
                prop_assert!(size(&step) < size(&scenario), "{step:?} {scenario:?}");
                for fault in &step.faults {
                    prop_assert_eq!(fault.check(), Ok(()));
                }
            }
        }
    }
}
