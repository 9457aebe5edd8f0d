// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether two verdicts are the same.

use landfall_device::ledger::{Judgement, Violation};
use serde_json::Value;

/// What a violation says in words, which may change from version to version.
const WORDS: &str = "text";
/// Most differences that are told.
const MOST: usize = 20;

/// What came of comparing two verdicts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// What differs, a line each, the first of them. Empty: the verdicts are the same.
    pub differences: Vec<String>,
    /// How many violations are the same but for their words.
    pub reworded: usize,
}

impl Comparison {
    /// Whether the verdicts are the same.
    pub fn is_same(&self) -> bool {
        self.differences.is_empty()
    }
}

/// Compares what was said with what is said now: everything but the words.
pub fn compare(recorded: &Judgement, now: &Judgement) -> Comparison {
    let mut comparison = Comparison::default();
    comparison.of("violation", &recorded.violations, &now.violations);
    comparison.of("hint", &recorded.hints, &now.hints);
    if recorded.not_judged != now.not_judged {
        let (was, is) = (recorded.not_judged.join("; "), now.not_judged.join("; "));
        comparison.tell(format!("not judged was: {was:?}, and is: {is:?}"));
    }
    comparison
}

impl Comparison {
    fn of(&mut self, what: &str, recorded: &[Violation], now: &[Violation]) {
        let comparison = self;
        let mut missing: Vec<(usize, &Violation)> = Vec::new();
        let mut new: Vec<(usize, &Violation)> = (1..).zip(now).collect();
        for (number, violation) in (1..).zip(recorded) {
            let same = |(_, other): &(usize, &Violation)| fields(violation, other).is_empty();
            match new.iter().position(same) {
                Some(at) => {
                    let (_, other) = new.remove(at);
                    comparison.reworded += usize::from(other.text != violation.text);
                }
                None => missing.push((number, violation)),
            }
        }
        // What is left is the same one, changed, if it is of the same class and job; else one went and another came.
        for (number, violation) in missing {
            let kin = |(_, other): &(usize, &Violation)| {
                (other.class, &other.name, other.job)
                    == (violation.class, &violation.name, violation.job)
            };
            match new.iter().position(kin) {
                Some(at) => {
                    let (_, other) = new.remove(at);
                    let changed = fields(violation, other).join(", ");
                    comparison.tell(format!("{what} {number}, {}: {changed}", brief(violation)));
                }
                None => comparison.tell(format!(
                    "{what} {number}, {}, is not there any more",
                    brief(violation)
                )),
            }
        }
        for (number, violation) in new {
            comparison.tell(format!("{what} {number} now, {}, is new", brief(violation)));
        }
    }

    fn tell(&mut self, difference: String) {
        if self.differences.len() < MOST {
            self.differences.push(difference);
        } else if self.differences.len() == MOST {
            self.differences.push("and more".to_owned());
        }
    }
}

/// The fields that differ, but for the words.
fn fields(recorded: &Violation, now: &Violation) -> Vec<String> {
    let value = |violation| serde_json::to_value(violation).unwrap_or_default();
    let (Value::Object(recorded), Value::Object(now)) = (value(recorded), value(now)) else {
        return Vec::new();
    };
    let null = Value::Null;
    recorded
        .iter()
        .filter(|(name, _)| *name != WORDS)
        .filter_map(|(name, was)| {
            let is = now.get(name).unwrap_or(&null);
            (was != is).then(|| format!("{name} was {was}, is {is}"))
        })
        .collect()
}

fn brief(violation: &Violation) -> String {
    let class = violation
        .class
        .map_or_else(String::new, |class| format!(" (class {class})"));
    format!("{}{class} at {:#x}", violation.name, violation.address)
}
