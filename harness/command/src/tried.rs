// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a person is told of trials.

use std::fmt::Write as _;
use std::io::{Write, stderr, stdout};

use landfall::bundle::{self, Views};
use landfall::guest::accelerator::Choice;
use landfall::judge::{Outcome, Verdict};
use landfall_guest::Prepared;
use serde::Serialize;

use crate::output;
use crate::report::{self, Paint};

/// What is booted for a shell.
pub(crate) fn shell(prepared: &Prepared, choice: &Choice) -> String {
    let guests = guests(prepared, choice);
    format!("{guests}; leave with Ctrl-], `exit` or `poweroff`, and the verdict follows")
}

/// What guests there will be.
pub(crate) fn guests(prepared: &Prepared, choice: &Choice) -> String {
    format!(
        "Linux {} in QEMU {} under {}",
        prepared.kernel_release, prepared.qemu.version, choice.engine
    )
}

/// Shows what programs printed: as it was printed, with the platform's name before it if there are several.
pub(crate) fn programs(verdict: &Verdict) {
    let several = verdict.legs.len() > 1;
    for leg in &verdict.legs {
        for (program, ran) in &leg.programs {
            if several {
                output::text(&format!("-- {}: {program}\n", leg.leg));
            }
            output::text(&bundle::printable(&ran.stdout));
            let _ = stderr().write_all(bundle::printable(&ran.stderr).as_bytes());
        }
    }
}

/// Tells where what there is to be looked at is: of several each by its platform and card.
pub(crate) fn viewed(views: &Views, verdict: &Verdict) {
    let legs = &verdict.legs;
    let several = legs.len() > 1 || legs.iter().any(|leg| leg.cards.len() > 1);
    for leg in legs {
        for (card, _) in &leg.cards {
            let views = match several {
                true => views.of(&format!("{}-{}-{card}", verdict.name, leg.leg)),
                false => views.clone(),
            };
            output::text(&report::viewed(&views));
        }
    }
}

/// Tells a verdict: on each platform in a line, and all that was wrong with its story.
pub(crate) fn verdict(verdict: &Verdict) {
    let paint = Paint::new(&stdout());
    let mut lines = String::new();
    for leg in verdict.legs.iter().filter(|leg| leg.skipped.is_none()) {
        for (card, seen) in &leg.cards {
            let _ = writeln!(
                lines,
                "{:<11} {card}: {} accesses of the card, {} calls of its driver, {} violations",
                leg.leg,
                seen.accesses,
                seen.calls,
                seen.violations.len()
            );
            for hint in &seen.hints {
                let text = bundle::printable(&hint.text);
                let _ = write!(lines, "{:<11} {card}: hint: {}: {text}", "", hint.name);
            }
        }
    }
    output::text(&format!("{lines}{verdict}"));
    // Behind a long story once more.
    if verdict.outcome() == Outcome::Violations {
        let word = format!("{}: {}", verdict.name, verdict.outcome());
        output::text(&format!("\n{}\n", paint.bold_red(&word)));
    }
}

/// A verdict as data.
#[derive(Serialize)]
pub(crate) struct Json<'a> {
    /// Version of this format.
    format: u32,
    outcome: Outcome,
    #[serde(flatten)]
    verdict: &'a Verdict,
}

impl<'a> From<&'a Verdict> for Json<'a> {
    fn from(verdict: &'a Verdict) -> Self {
        Self {
            format: 1,
            outcome: verdict.outcome(),
            verdict,
        }
    }
}

/// Tells what compilers warned of.
pub(crate) fn warnings(warnings: &[String]) {
    for warning in warnings {
        say!(stderr, "{warning}");
    }
}
