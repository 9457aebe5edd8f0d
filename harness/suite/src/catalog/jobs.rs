// SPDX-License-Identifier: MIT OR Apache-2.0

//! Running the catalogue, side by side on the machine's CPUs.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::{Duration, Instant};

use landfall_cards::capture::CaptureOptions;
use landfall_guest::{Cancel, Prepared};

use super::case::{Case, CaseFailed};
use super::entries::{Entry, Job, Recipe, Way};
use super::gallery::{Bug, show_bug};
use super::leave::{leave, words};
use super::schema::{ClassRun, LegRun, Runs, Seen, Skipped, VERSION, names};
use super::twins::{Twin, Twins};
use crate::run::RunFailed;
use crate::scenario::Scenario;
use landfall::bundle::{self, BundleError, Place};
use landfall::evidence::Observed;
use landfall::guest::{FRAGMENT_MODULE, GuestFailed, POOL_MODULE, cpu};
use landfall::judge::Leg;
use landfall::judge::versions;
use landfall::judge::{Expected, record_to};
use landfall_guest::parallel;

/// Something worth showing while the catalogue runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A run is over.
    Done {
        /// What it was.
        what: String,
        /// What came of it.
        result: String,
        /// How long it took.
        elapsed: Duration,
    },
}

/// The catalogue came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CatalogFailed {
    /// A trial did.
    #[error(transparent)]
    Case(#[from] CaseFailed),
    /// A class that needs the pool.
    #[error("class {number} could not be run")]
    Run {
        /// Number of the class.
        number: u8,
        /// Why.
        #[source]
        source: RunFailed,
    },
    /// A clean run.
    #[error("the clean run with {what} came to nothing")]
    Clean {
        /// What ran.
        what: String,
        /// Why.
        #[source]
        source: RunFailed,
    },
    /// A guest of the gallery.
    #[error("the gallery's guest on {leg} came to nothing")]
    Gallery {
        /// On which platform.
        leg: Leg,
        /// Why.
        #[source]
        source: GuestFailed,
    },
    /// What a run was to leave could not be written.
    #[error("the bundle was not written")]
    Bundle(#[source] BundleError),
    /// There is no debug kernel.
    #[error("the platform debug needs its kernel, which was not prepared")]
    NoDebugKernel,
}

/// What the platforms boot.
#[derive(Clone, Copy, Debug)]
pub struct Platforms<'a> {
    /// All but one.
    pub stock: &'a Prepared,
    /// [`Leg::Debug`].
    pub debug: Option<&'a Prepared>,
    /// Runs at a time; `None`: one on each of the machine's CPUs.
    pub jobs: Option<NonZeroUsize>,
    /// Where those runs leave their bundles that do not give what was expected, each with a word of its own in the name;
    /// `None`: they leave none.
    pub bundles: Option<&'a Place>,
    /// A directory in which every trial leaves its stream and verdict as well, one file each, whatever came of it.
    pub record: Option<&'a Path>,
    /// Clean twins that were run already, for all runs that are given the same; `None`: each class runs its own.
    pub twins: Option<&'a Twins>,
    /// The CPU's accesses are judged on every platform where they can be seen.
    pub watch_cpu: bool,
}

impl Platforms<'_> {
    pub(super) fn of(&self, leg: Leg) -> Result<&Prepared, CatalogFailed> {
        leg.prepared(self.stock, self.debug)
            .ok_or(CatalogFailed::NoDebugKernel)
    }

    /// Does `work` on each of `items`, side by side, and gives what came of it in their order. After a failure no
    /// further ones are begun.
    pub(super) fn all<T: Sync, R: Send>(
        &self,
        items: &[T],
        work: impl Fn(&T) -> Result<R, CatalogFailed> + Sync,
    ) -> Result<Vec<R>, CatalogFailed> {
        parallel::all(items, self.jobs, work)
    }
}

impl Recipe {
    /// The trial on a platform, planted or clean.
    pub(super) fn trial(&self, number: u8, leg: Leg, planted: bool) -> Case {
        let mut card = CaptureOptions::default();
        (self.card)(&mut card);
        card.faults.extend(self.environment);
        card.faults.extend(self.fault.filter(|_| planted));
        let mutant = (planted && self.mutant).then(|| format!("bug={number}"));
        let parameters = (!self.parameters.is_empty()).then(|| self.parameters.to_owned());
        let words: Vec<_> = mutant.into_iter().chain(parameters).collect();
        Case {
            leg,
            parameters: words.join(" "),
            card,
            action: self.action,
            cache_line: self.cache_line,
            watch_cpu: false,
        }
    }
}

impl Entry {
    /// Runs it once, planted or clean. `wrong` says what is wrong with what was seen.
    pub(super) fn observe(
        &self,
        leg: Leg,
        planted: bool,
        platforms: &Platforms<'_>,
        cancel: &Cancel,
        wrong: &dyn Fn(&Observed) -> Option<String>,
    ) -> Result<Observed, CatalogFailed> {
        let prepared = platforms.of(leg)?;
        let number = self.number;
        let done = match &self.planted {
            Way::Case(recipe) => {
                let trial = recipe.trial(number, leg, planted);
                let trial = Case {
                    watch_cpu: platforms.watch_cpu,
                    ..trial
                };
                trial.run(prepared, cancel).map_err(CatalogFailed::from)
            }
            Way::Job(job) => job
                .run(planted, prepared, cancel)
                .map_err(|source| CatalogFailed::Run { number, source }),
            Way::Ring(name) => match Bug::of(name) {
                Some(bug) => show_bug(bug, planted, leg, platforms, cancel).map(|(seen, _)| seen),
                None => return Ok(Observed::default()),
            },
        };
        let twin = if planted { "" } else { "-twin" };
        let expected = Expected {
            versions: versions(prepared),
            word: format!("{number:02}-{leg}{twin}"),
            what: format!("class {number}{twin} on {leg}"),
            command: command_words(prepared, ["catalog", "run", &number.to_string()]),
            scenario: None,
            wrong,
        };
        if let (Some(directory), Ok(observed)) = (platforms.record, &done) {
            record_to(directory, &expected, observed).map_err(CatalogFailed::Bundle)?;
        }
        leave(platforms.bundles, &expected, done)
    }

    /// Runs its clean twin, unless one of another class that differs in nothing was run.
    fn twin(
        &self,
        leg: Leg,
        platforms: &Platforms<'_>,
        cancel: &Cancel,
    ) -> Result<Twin, CatalogFailed> {
        let run = || {
            let clean = self.observe(leg, false, platforms, cancel, &Observed::alarm)?;
            Ok(Twin {
                said: clean.said(),
                alarm: clean.alarm(),
                bundle: clean.bundle,
            })
        };
        match (&self.planted, platforms.twins) {
            (Way::Case(recipe), Some(twins)) => {
                twins.one(recipe.trial(self.number, leg, false), run)
            }
            _ => run(),
        }
    }

    /// Why it cannot be run on this platform: the kernel lacks what it is made of.
    fn lacks(&self, leg: Leg, prepared: &Prepared) -> Option<String> {
        if leg == Leg::Cpu
            && let Err(why) = cpu::can_watch(&leg.guest(prepared, Vec::new()), prepared)
        {
            return Some(why);
        }
        let module = match (&self.planted, leg.fragment()) {
            (Way::Job(Job::ReadWhileQueued), _) => return None,
            (Way::Job(_), _) => POOL_MODULE,
            (_, Some(_)) => FRAGMENT_MODULE,
            _ => return None,
        };
        let there = prepared.modules.iter().any(|name| name == module);
        (!there).then(|| format!("there is no {module} for Linux {}", prepared.kernel_release))
    }

    /// What is wrong with what was seen of the planted bug, in words.
    fn wrong(&self, planted: &Observed) -> Option<String> {
        match self.seen(planted) {
            _ if !planted.struck => Some("the card's fault did not strike".to_owned()),
            Seen::Named => None,
            Seen::Seen => Some(format!(
                "seen, but not as this class alone: {}",
                planted.all()
            )),
            Seen::Missed => Some("missed".to_owned()),
        }
    }

    /// How well it was seen.
    pub(super) fn seen(&self, observed: &Observed) -> Seen {
        if observed.names(self.number) {
            Seen::Named
        } else if observed.is_silent() {
            Seen::Missed
        } else {
            Seen::Seen
        }
    }
}

/// Runs classes where they must be named, each with its clean twin.
///
/// # Errors
/// If a guest fails where no bug of driver or card can be the reason.
pub fn run(
    entries: &[&'static Entry],
    platforms: &Platforms<'_>,
    cancel: &Cancel,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<Runs, CatalogFailed> {
    let began = Instant::now();
    let wanted: Vec<_> = entries
        .iter()
        .flat_map(|entry| entry.legs.iter().map(move |leg| (*entry, *leg)))
        .collect();
    let (mut runnable, mut skipped) = (Vec::new(), Vec::new());
    for (entry, leg) in wanted {
        match entry.lacks(leg, platforms.of(leg)?) {
            None => runnable.push((entry, leg)),
            Some(why) => {
                let number = entry.number;
                on_event(Event::Done {
                    what: format!("{number:>2} {} on {leg}", names(number).0),
                    result: format!("not run: {why}"),
                    elapsed: Duration::ZERO,
                });
                skipped.push(Skipped { number, leg, why });
            }
        }
    }
    let classes = platforms.all(&runnable, |&(entry, leg)| {
        let run = class_run(entry, leg, platforms, cancel)?;
        on_event(Event::Done {
            what: format!("{:>2} {} on {leg}", run.number, run.name),
            result: match &run.why {
                None => "named; its twin is silent".to_owned(),
                Some(why) => why.clone(),
            },
            elapsed: Duration::from_secs_f64(run.seconds),
        });
        Ok(run)
    })?;
    Ok(Runs {
        schema: VERSION,
        classes,
        skipped,
        seconds: began.elapsed().as_secs_f64(),
    })
}

fn class_run(
    entry: &Entry,
    leg: Leg,
    platforms: &Platforms<'_>,
    cancel: &Cancel,
) -> Result<ClassRun, CatalogFailed> {
    let began = Instant::now();
    let wrong = |planted: &Observed| entry.wrong(planted);
    let planted = entry.observe(leg, true, platforms, cancel, &wrong)?;
    let clean = entry.twin(leg, platforms, cancel)?;
    let of_twin = || Some(format!("its twin: {}", clean.alarm.as_ref()?));
    let why = entry.wrong(&planted).or_else(of_twin);
    Ok(ClassRun {
        number: entry.number,
        name: names(entry.number).0,
        leg,
        seen: entry.seen(&planted),
        said: planted.said(),
        clean: clean.said,
        passed: why.is_none(),
        why,
        bundles: planted.bundle.into_iter().chain(clean.bundle).collect(),
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// Runs the same scenario on several platforms.
///
/// # Errors
/// As [`run`].
pub fn legs(
    bug: u32,
    scenario: &Scenario,
    legs: &[Leg],
    platforms: &Platforms<'_>,
    cancel: &Cancel,
) -> Result<Vec<LegRun>, CatalogFailed> {
    platforms.all(legs, |&leg| {
        let card = CaptureOptions {
            faults: scenario.faults.clone(),
            seed: scenario.seed,
            ..CaptureOptions::default()
        };
        let trial = Case {
            leg,
            parameters: format!("bug={bug}"),
            card,
            action: super::Action::Nothing,
            cache_line: 0,
            watch_cpu: platforms.watch_cpu,
        };
        let prepared = platforms.of(leg)?;
        let played = !scenario.faults.is_empty();
        let expected = Expected {
            versions: versions(prepared),
            word: leg.name().to_owned(),
            what: format!("on {leg}"),
            command: leg_command(prepared, bug, leg, played),
            scenario: played.then(|| words(scenario)),
            wrong: &|observed| (!observed.is_sound()).then(|| observed.first()),
        };
        let done = trial.run(prepared, cancel).map_err(CatalogFailed::from);
        let observed = leave(platforms.bundles, &expected, done)?;
        Ok(LegRun {
            leg,
            violations: observed.violations,
            hints: observed.hints,
            not_judged: observed.not_judged,
            findings: observed
                .findings
                .iter()
                .map(|finding| finding.line.clone())
                .collect(),
            died: observed.died,
            frames: observed.frames,
            refused: observed.refused,
            bundle: observed.bundle,
        })
    })
}

/// The command line of one of [`legs`], whose scenario lies in the bundle.
fn leg_command(prepared: &Prepared, bug: u32, leg: Leg, played: bool) -> Vec<String> {
    let bug = bug.to_string();
    let of_scenario = ["--scenario", bundle::SCENARIO];
    let of_scenario = of_scenario.into_iter().filter(|_| played);
    let own = ["legs", "--bug", &bug, "--legs", leg.name()].into_iter();
    command_words(prepared, own.chain(of_scenario))
}

/// A command line that does the same on guests like these.
pub(super) fn command_words<'a>(
    prepared: &Prepared,
    own: impl IntoIterator<Item = &'a str>,
) -> Vec<String> {
    let own = own.into_iter().map(str::to_owned);
    own.chain(prepared.asked_for()).collect()
}
