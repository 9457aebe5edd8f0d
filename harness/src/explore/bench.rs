// SPDX-License-Identifier: MIT OR Apache-2.0

//! A guest in which one order after the other is carried out.

use std::time::{Duration, Instant};

use landfall_device::explore::{Log, Order};
use landfall_device::journal::Journal;
use landfall_guest::Built;

use super::HANG;
use super::digest::digest;
use super::scenario::{Action, Scenario, Word};
use crate::evidence::{Named, Observed, Recorder};
use crate::guest::{
    Booted, Guest, GuestError, GuestFailed, GuestOptions, Ran, What, console_findings,
};
use crate::judge::{Context, Death, Ended, Leg, Trial, TrialFailed, Watch, lives, named};

/// On what the orders are tried.
pub(super) const LEG: Leg = Leg::Plain;
/// Where the guest has its card.
const DEVICE: &str = "/sys/bus/pci/devices/0000:01:00.0";
/// Its address there.
const ADDRESS: &str = "0000:01:00.0";
/// Where the number of the program that was begun is kept.
const PROGRAM: &str = "/run/landfall-program";
/// By how much longer than usual a scenario may take: the card's time does not run meanwhile, so a driver that waits for something
/// that has come already, or never comes, waits for its own time limit.
const HANGS: Duration = Duration::from_millis(1500);
/// And by how much longer for each step of the driver's, which the card is asked about then.
const STEP: Duration = Duration::from_millis(2);
/// How long card and guest may take to come to rest between two words.
const REST: Duration = Duration::from_secs(10);
/// How long a program may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Orders after which there is a new guest, and the part of its journal after which there is.
const MOST: u64 = 1000;
const FULL: usize = 2;

/// What came of one order.
#[derive(Debug)]
pub(super) struct Carried {
    pub(super) log: Log,
    /// Stands for what the journal says.
    pub(super) digest: u64,
    /// What is wrong, the first first.
    pub(super) wrong: Vec<Named>,
    /// The guest died of it.
    pub(super) death: Option<Death>,
    /// The driver's part.
    pub(super) took: Duration,
}

impl Carried {
    /// What is wrong, in words.
    pub(super) fn says(&self) -> Option<String> {
        let first = self.wrong.first()?;
        Some(match first.class {
            Some(class) => format!("{} (class {class}): {}", first.name, first.text),
            None => format!("{}: {}", first.name, first.text),
        })
    }

    /// Whether nothing is wrong but that the driver waited too long.
    pub(super) fn only_hung(&self) -> bool {
        !self.wrong.is_empty() && self.wrong.iter().all(|named| named.name == HANG)
    }
}

/// What makes guests for a scenario.
#[derive(Clone, Copy)]
pub(super) struct Maker<'a> {
    pub(super) trial: &'a Trial,
    pub(super) scenario: &'a Scenario,
    pub(super) context: &'a Context<'a>,
    pub(super) built: &'a [Option<Built>],
}

/// A guest with the driver loaded, and its card nobody's.
pub(super) struct Bench<'a> {
    maker: Maker<'a>,
    guest: Guest<Booted>,
    driver: String,
    journal: Journal,
    recorder: Recorder,
    findings: usize,
    usual: Duration,
    carried: u64,
}

fn of_guest(source: GuestFailed) -> TrialFailed {
    TrialFailed::Guest { leg: LEG, source }
}

impl<'a> Maker<'a> {
    /// Brings a guest up, has the driver take the card once and give it back, and does the scenario as it comes: what the guest
    /// does for the first time takes longer.
    pub(super) fn bench(self) -> Result<Bench<'a>, TrialFailed> {
        let Self { trial, context, .. } = self;
        let prepared = context.prepared;
        let options = GuestOptions {
            explored: true,
            cpus: 1,
            ..trial.guest_options(LEG, prepared)
        };
        let journal_size = options.journal;
        let guest = trial.bring_up(LEG, options, prepared, context)?;
        let loaded = trial.load(&guest, LEG, self.built);
        loaded.map_err(|ended| match ended {
            Ended::Failed(failed) => failed,
            Ended::Guest(source) => of_guest(source),
        })?;
        let link = format!("{DEVICE}/driver");
        let found = guest
            .run(&["/bin/busybox", "readlink", "-f", &link], PATIENCE)
            .map_err(of_guest)?;
        let driver = found.stdout.trim().to_owned();
        let journal = guest
            .journal(0)
            .unwrap_or_else(|| Journal::with_capacity(journal_size));
        let platform = LEG.platform(guest.memory().ram());
        let mut bench = Bench {
            maker: self,
            guest,
            driver,
            journal,
            recorder: Recorder::new(platform, 0),
            findings: 0,
            usual: Duration::MAX,
            carried: 0,
        };
        if bench.driver.is_empty() {
            return Err(bench.word_failed("bind", "no driver took the card"));
        }
        bench.act(&Action::Unbind)?;
        for _ in 0..2 {
            let began = Instant::now();
            for word in &self.scenario.words {
                bench.act(&word.action)?;
            }
            bench.usual = bench.usual.min(began.elapsed());
        }
        Ok(bench)
    }
}

impl Bench<'_> {
    fn word_failed(&self, word: &str, why: &str) -> TrialFailed {
        let refused = GuestError {
            operation: word.to_owned(),
            errno: 0,
            message: why.to_owned(),
        };
        TrialFailed::Program {
            program: word.to_owned(),
            leg: LEG,
            source: GuestFailed::early(What::Refused(refused)),
        }
    }

    /// Does what a word says.
    fn act(&self, action: &Action) -> Result<(), TrialFailed> {
        let done = self.try_act(action);
        let word = || {
            let at_once = false;
            Word {
                action: action.clone(),
                at_once,
            }
        };
        match done {
            Ok(Some(ran)) if ran.timed_out => {
                Err(self.word_failed(&word().to_string(), "it did not end in time"))
            }
            Ok(_) => Ok(()),
            Err(source) if lives(&source) => Err(TrialFailed::Program {
                program: word().to_string(),
                leg: LEG,
                source,
            }),
            Err(source) => Err(of_guest(source)),
        }
    }

    fn try_act(&self, action: &Action) -> crate::guest::Result<Option<Ran>> {
        let guest = &self.guest;
        let shell = |script: &str, words: &[String]| {
            let fixed = ["/bin/busybox", "sh", "-c", script, "sh"];
            let words = words.iter().map(String::as_str);
            let argv: Vec<_> = fixed.into_iter().chain(words).collect();
            guest.run(&argv, PATIENCE).map(Some)
        };
        match action {
            Action::Bind => guest.write_file(&format!("{}/bind", self.driver), ADDRESS)?,
            Action::Unbind => guest.write_file(&format!("{}/unbind", self.driver), ADDRESS)?,
            Action::Remove => guest.write_file(&format!("{DEVICE}/remove"), "1")?,
            Action::Rescan => guest.write_file("/sys/bus/pci/rescan", "1")?,
            Action::Reset => guest.write_file(&format!("{DEVICE}/reset"), "1")?,
            Action::Run(program) => {
                let argv: Vec<_> = program.iter().map(String::as_str).collect();
                return guest.run(&argv, PATIENCE).map(Some);
            }
            Action::Start(program) => {
                let script = format!("\"$@\" >/dev/null 2>&1 & echo $! >{PROGRAM}");
                return shell(&script, program);
            }
            Action::Stop => {
                let script = format!(
                    "p=$(cat {PROGRAM}); kill -INT $p; while kill -0 $p 2>/dev/null; do usleep 1000; done"
                );
                return shell(&script, &[]);
            }
        }
        Ok(None)
    }

    /// Whether another order can be carried out in this guest.
    pub(super) fn is_fresh(&self) -> bool {
        let full = self.guest.options().journal / FULL;
        self.carried < MOST && self.journal.len() < full as u64
    }

    /// Carries an order out and judges what came of it.
    pub(super) fn carry_out(&mut self, order: &Order) -> Result<Carried, TrialFailed> {
        self.recorder.feed(&self.journal);
        let (from, known) = (self.journal.len(), self.recorder.violations().len());
        self.guest.explore(order.clone()).map_err(of_guest)?;
        let began = Instant::now();
        let (mut failed, mut restless) = (None, None);
        for word in &self.maker.scenario.words {
            self.guest.at_once(word.at_once);
            if let Err(error) = self.act(&word.action) {
                failed = Some(error);
                break;
            }
            if !word.at_once && !self.guest.rests(REST) {
                restless = Some(word);
                break;
            }
        }
        let took = began.elapsed();
        let log = match failed {
            None => self.guest.explored().map_err(of_guest)?,
            // The guest may be gone.
            Some(_) => self.guest.explored().unwrap_or_default(),
        };
        self.guest.sync_card(0);
        self.recorder.feed(&self.journal);
        self.carried += 1;
        let entries = self.journal.entries_from(from);
        let mut wrong = named(self.recorder.violations().get(known..).unwrap_or_default());
        let other = |name: &str, text: String| Named {
            class: None,
            name: name.to_owned(),
            text,
        };
        if let Some(word) = restless {
            let text = format!(
                "{} s after `{word}` the card or the guest still had something to do; with `!` behind the word the next comes at once",
                REST.as_secs()
            );
            wrong.push(other("restless", text));
        } else if took
            > self
                .usual
                .saturating_add(HANGS + STEP * u32::try_from(log.steps()).unwrap_or(u32::MAX))
        {
            let (took, usual) = (took.as_secs_f64(), self.usual.as_secs_f64());
            let text = format!(
                "it took {took:.1} s, and {usual:.2} s otherwise: the driver waited for what had come already, or never came"
            );
            wrong.push(other(HANG, text));
        }
        let findings = console_findings::read(&self.guest.console_log());
        for finding in findings.iter().skip(self.findings) {
            wrong.push(other("kernel", finding.line.clone()));
        }
        self.findings = findings.len();
        let death = match failed {
            None => None,
            Some(TrialFailed::Guest { source, .. }) => {
                let death = Death::of(source).map_err(of_guest)?;
                let words = death.words.clone().unwrap_or_default();
                wrong.push(other("guest failed", words));
                Some(death)
            }
            Some(failed) => {
                wrong.push(other("refused", failed.to_string()));
                None
            }
        };
        Ok(Carried {
            log,
            digest: digest(&entries),
            wrong,
            death,
            took,
        })
    }

    /// Carries one order out as the only one of this guest, and gives all that was seen.
    pub(super) fn show(mut self, order: &Order) -> Result<(Carried, Observed), TrialFailed> {
        let platform = LEG.platform(self.guest.memory().ram());
        let carried = self.carry_out(order)?;
        let watch = Watch::begin(&self.guest, platform);
        let [mut observed] =
            <[Observed; 1]>::try_from(watch.end(carried.death.as_ref())).unwrap_or_default();
        observed.took = carried.took;
        Ok((carried, observed))
    }

    /// What was not judged, of all orders of this guest.
    pub(super) fn not_judged(mut self) -> Vec<String> {
        self.recorder.feed(&self.journal);
        self.recorder.close(&self.journal);
        self.recorder.finish().not_judged
    }
}
