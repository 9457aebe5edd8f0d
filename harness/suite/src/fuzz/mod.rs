// SPDX-License-Identifier: MIT OR Apache-2.0

//! Random scenarios, each run as a small main job, and whether the verdict is what the scenario predicts.

mod shrink;

use std::path::{Path, PathBuf};

use landfall_cards::capture::{Fault, MILLION, NthWrite, Planted, When};
use landfall_device::random::Random;
use landfall_guest::{Cancel, Prepared};
use serde::Serialize;

use crate::run::{self, Impossible, Plan, RunFailed, Wishes};
use crate::scenario::Scenario;
use landfall::bundle::{self, BundleError};
use landfall::guest::GuestOptions;
use landfall::guest::accelerator::Choice;
use landfall::report::schema::{Report, Violation};

pub use shrink::{Shrunk, shrink};

/// The faults that are drawn: those whose class the ledger names, for this driver, in the guest that [`plan`] makes.
/// `truncate` keeps more bits than the addresses there have; `early-dma` and `probe-irq` strike before the run looks;
/// a card that is gone ends the run.
pub const DRAWN: [Fault; 16] = [
    Fault::Overrun,
    Fault::Shift,
    Fault::Truncate32,
    Fault::AfterStop,
    Fault::Short,
    Fault::LostIrq,
    Fault::EarlyDone,
    Fault::ReadFrame,
    Fault::WriteClip,
    Fault::Stale,
    Fault::IgnoreStop,
    Fault::Route,
    Fault::EarlyIrq,
    Fault::DuplicateIrq,
    Fault::LongLength,
    Fault::ProbePage,
];
/// What is drawn that is no misbehaviour, and must be clean by itself.
pub const ENVIRONMENTS: [Fault; 2] = [Fault::Posted { delay_us: 200 }, Fault::WatchFetch];

/// Frames of a run. Each strikes at most one fault, so that none hides another.
pub const FRAMES: u32 = 8;
/// The class of an access to what was given back while a register write was on its way.
const LATE: u8 = 36;
const WIDTH: u32 = 320;
const HEIGHT: u32 = 240;
/// Bytes of a frame.
const BYTES: u64 = WIDTH as u64 * HEIGHT as u64 * 2;
/// Time from frame to frame: enough for the driver to take one back.
const INTERVAL_US: u32 = 2000;
/// The pool lies above 4 GiB, at an address whose low half is that of no RAM: there is less of it below.
const MEMORY: u64 = 640 << 20;
const LOW_MEMORY: u64 = 256 << 20;

/// The scenario number `number` of a seed. Pure: the same on every machine.
pub fn draw(seed: u64, number: u64) -> Scenario {
    let mut random = Random::new(Random::new(seed).draw() ^ number);
    let mut faults = Vec::new();
    let mut frames: Vec<u32> = (0..FRAMES).collect();
    if random.one_in(2) {
        faults.push(environment(&mut random));
    }
    for _ in 0..random.below(4) {
        let frame = frames.remove(random.index(frames.len()));
        faults.push(misbehaviour(&mut random, frame));
    }
    Scenario {
        seed: random.draw() >> 16,
        faults,
    }
}

fn environment(random: &mut Random) -> Planted {
    let what = pick(random, &ENVIRONMENTS);
    let what = match what {
        Fault::Posted { .. } => Fault::Posted {
            // CAST: less than 3001.
            delay_us: 1 + random.below(3000) as u32,
        },
        other => other,
    };
    Planted::once(what)
}

fn misbehaviour(random: &mut Random, frame: u32) -> Planted {
    let what = pick(random, &DRAWN);
    let at_frame = Planted {
        when: When {
            frame: Some(frame),
            ..When::default()
        },
        ..Planted::once(what)
    };
    let mut planted = match at_frame.check() {
        Ok(()) => at_frame,
        Err(_) => Planted::once(what), // not of a frame
    };
    let when = &mut planted.when;
    if what.takes_byte() && random.one_in(3) {
        when.byte = Some(random.below(BYTES));
    }
    if random.one_in(4) {
        when.write = NthWrite::of("QUEUE", 1 + frame).ok();
    }
    if random.one_in(6) {
        when.after_us = Some(random.below(1000));
    }
    if random.one_in(4) {
        // CAST: less than a million.
        when.probability = Some(1 + random.below(MILLION.into()) as u32);
    }
    if random.one_in(4) {
        planted.times = 2;
    }
    planted
}

/// Whether it touches what was given back already. While a register write is on its way that is of the class [`LATE`]:
/// the card cannot know better.
const fn is_late(what: Fault) -> bool {
    matches!(what, Fault::Stale | Fault::AfterStop | Fault::IgnoreStop)
}

fn pick(random: &mut Random, from: &[Fault]) -> Fault {
    let at = random.index(from.len());
    from.get(at).copied().unwrap_or(Fault::Overrun)
}

/// What is done for a scenario: a capture of small frames with a clip mask, in a guest like `guest`.
///
/// # Errors
/// If `guest` cannot be made so.
pub fn plan(scenario: &Scenario, guest: GuestOptions) -> Result<Plan, Impossible> {
    let wishes = Wishes {
        guest: GuestOptions {
            low_memory: Some(LOW_MEMORY),
            witness: true, // without it there is no verdict on interrupts
            ..guest
        },
        memory: Some(MEMORY),
        scenario: Some(scenario.clone()),
        width: Some(WIDTH),
        height: Some(HEIGHT),
        frames: Some(FRAMES),
        interval_us: INTERVAL_US,
        ..Wishes::default()
    };
    wishes.plan()
}

/// The command line that does the same for the scenario in a file, without the program's name.
pub fn command(file: &Path) -> Vec<String> {
    let mib = |bytes: u64| format!("{}M", bytes >> 20);
    let options = [
        ("--memory", mib(MEMORY)),
        ("--low-memory", mib(LOW_MEMORY)),
        ("--width", WIDTH.to_string()),
        ("--height", HEIGHT.to_string()),
        ("--frames", FRAMES.to_string()),
        ("--interval", INTERVAL_US.to_string()),
        ("--scenario", file.to_string_lossy().into_owned()),
    ];
    let options = options.into_iter();
    let words = options.flat_map(|(option, value)| [option.to_owned(), value]);
    std::iter::once("run".to_owned()).chain(words).collect()
}

/// What came of a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// How often each of its faults struck.
    pub struck: Vec<u64>,
    /// How its verdict is not what it predicts; `None`: it is.
    pub wrong: Option<Wrong>,
    /// Where the bundle was left, if the attempt was to leave one and is wrong.
    pub bundle: Option<PathBuf>,
}

/// A scenario came to no answer.
#[derive(Debug, thiserror::Error)]
pub enum FuzzFailed {
    /// No guest of that kind can play it.
    #[error(transparent)]
    Impossible(#[from] Impossible),
    /// The host failed, or it was interrupted.
    #[error(transparent)]
    Run(#[from] RunFailed),
    /// It was wrong, and what it was to leave could not be written.
    #[error("the bundle was not written")]
    Bundle(#[from] BundleError),
}

/// Plays a scenario, in a guest like `guest`, and compares the verdict with what it predicts. If they differ, the bundle
/// that was asked for is left, with the scenario in it.
///
/// # Errors
/// If it comes to no answer; a guest that dies is one.
pub fn attempt(
    scenario: &Scenario,
    bundle: Option<bundle::Request>,
    guest: GuestOptions,
    prepared: &Prepared,
    choice: &Choice,
    cancel: &Cancel,
) -> Result<Attempt, FuzzFailed> {
    let mut plan = plan(scenario, guest)?;
    plan.guest.engine = choice.engine;
    plan.bundle = bundle.map(|request| bundle::Request {
        scenario: Some(scenario.to_toml()),
        seed: Some(scenario.seed),
        ..request
    });
    let strikes = plan.card.strikes.clone();
    let struck = || -> Vec<_> {
        let faults = 0..scenario.faults.len();
        faults.map(|index| strikes.of(index)).collect()
    };
    let wrong = |report: &Report| judge(scenario, &struck(), &report.violations);
    let told = |report: &Report| wrong(report).map(|wrong| wrong.to_string());
    let mut quiet = |_| ();
    let outcome = run::run_unless(
        &told,
        &plan,
        prepared,
        choice,
        Vec::new(),
        (cancel, &mut quiet),
    );
    let (wrong, bundle) = match outcome {
        Ok(outcome) => (wrong(&outcome.report), outcome.bundle?),
        Err(RunFailed::Guest(failed)) if failed.is_guests() => {
            (Some(Wrong::died(&failed)), failed.bundle)
        }
        Err(failed @ (RunFailed::SelfTest(_) | RunFailed::Memory(_))) => {
            (Some(Wrong::died(&failed)), None)
        }
        Err(failed) => return Err(failed.into()),
    };
    Ok(Attempt {
        struck: struck(),
        wrong,
        bundle,
    })
}

/// How a verdict is not what the scenario predicts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Wrong {
    /// A fault struck, and no violation is of its class.
    Missed {
        /// The fault.
        fault: String,
        /// The class it should have been named with.
        class: u8,
        /// The classes that were named.
        named: Vec<u8>,
    },
    /// A violation that no fault that struck explains.
    FalseAlarm {
        /// It, in words.
        text: String,
    },
    /// The guest died or hung.
    Died {
        /// What it said.
        text: String,
    },
}

impl Wrong {
    fn died(why: &dyn std::error::Error) -> Self {
        let causes = std::iter::successors(why.source(), |cause| cause.source());
        let text = causes.fold(why.to_string(), |text, cause| format!("{text}: {cause}"));
        Self::Died { text }
    }
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missed {
                fault,
                class,
                named,
            } => {
                write!(
                    f,
                    "`{fault}` struck, and nothing was named with class {class}"
                )?;
                match &named[..] {
                    [] => Ok(()),
                    named => {
                        let named: Vec<_> = named.iter().map(u8::to_string).collect();
                        write!(f, ", only with {}", named.join(", "))
                    }
                }
            }
            Self::FalseAlarm { text } => write!(f, "no fault that struck explains: {text}"),
            Self::Died { text } => write!(f, "the guest failed: {text}"),
        }
    }
}

/// Compares what was found with what a scenario predicts: each fault that struck is named with its class, and each
/// violation is of the class of one that did. `None`: it is as predicted.
pub fn judge(scenario: &Scenario, struck: &[u64], violations: &[Violation]) -> Option<Wrong> {
    let failed = |violation: &&Violation| violation.name == run::GUEST_FAILED;
    if let Some(died) = violations.iter().find(failed) {
        let text = died.text.clone();
        return Some(Wrong::Died { text });
    }
    let named: Vec<u8> = violations.iter().filter_map(|one| one.class).collect();
    let mut planted = scenario.faults.iter();
    let posted = planted.any(|planted| matches!(planted.what, Fault::Posted { .. }));
    let mut explained = vec![false; violations.len()];
    for (planted, struck) in scenario.faults.iter().zip(struck) {
        let Some(class) = planted.what.class().filter(|_| *struck > 0) else {
            continue;
        };
        let late = posted && is_late(planted.what);
        let shows = |named: &u8| planted.what.shows_as(*named) || late && *named == LATE;
        for (violation, explained) in violations.iter().zip(&mut explained) {
            *explained |= violation.class.as_ref().is_some_and(shows);
        }
        if !named.iter().any(shows) {
            let mut named = named;
            named.sort_unstable();
            named.dedup();
            return Some(Wrong::Missed {
                fault: planted.what.to_string(),
                class,
                named,
            });
        }
    }
    let mut unexplained = violations.iter().zip(explained);
    let (violation, _) = unexplained.find(|(_, explained)| !explained)?;
    let text = format!("{}: {}", violation.name, violation.text);
    Some(Wrong::FalseAlarm { text })
}

#[cfg(test)]
mod tests;
