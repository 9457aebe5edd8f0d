// SPDX-License-Identifier: MIT OR Apache-2.0

//! Progress: bars on a terminal, plain lines otherwise. All of it goes to standard error.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::io::{IsTerminal, stderr};
use std::time::Duration;

use indicatif::{HumanBytes, HumanDuration, MultiProgress, ProgressBar, ProgressStyle};
use landfall_device::ledger::Violation;
use landfall_guest::{Event, Step};
use landfall_suite::run;

/// So many violations, less one, are shown while the guest runs.
const MOST_FOUND: u32 = 10;

/// What is shown now.
pub(crate) struct Progress {
    screen: Option<MultiProgress>,
    steps: HashMap<Step, ProgressBar>,
    current: Option<ProgressBar>,
    /// Tenths of a plain step that were told already.
    told: HashMap<Step, u64>,
    /// Violations that were found while the guest runs.
    found: u32,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            screen: stderr().is_terminal().then(MultiProgress::new),
            steps: HashMap::new(),
            current: None,
            told: HashMap::new(),
            found: 0,
        }
    }

    /// Says something that stays.
    pub(crate) fn note(&self, text: &str) {
        match &self.screen {
            Some(screen) => screen.suspend(|| say!(stderr, "{text}")),
            None => say!(stderr, "{text}"),
        }
    }

    /// Shows an event of the set-up.
    pub(crate) fn setup(&mut self, event: Event) {
        match event {
            Event::Waiting { holder } => {
                self.note(&format!("waiting for another set-up ({holder})"))
            }
            Event::Damaged { files } => {
                for file in files {
                    let file = file.display();
                    self.note(&format!("{file} is damaged or gone, and is made anew"));
                }
            }
            Event::Needs {
                download,
                disk,
                free,
                about,
            } => self.note(&format!(
                "first use: {} to fetch, {} on disk ({} free), about {}",
                HumanBytes(download),
                HumanBytes(disk),
                HumanBytes(free),
                HumanDuration(about)
            )),
            Event::StepStarted {
                step,
                detail,
                index,
                of,
            } => {
                self.note(&format!("[{index}/{of}] {step}: {detail}"));
                if let Some(screen) = &self.screen {
                    let bar = screen.add(spinner(&step.to_string()));
                    self.steps.insert(step, bar);
                }
            }
            Event::Bytes { step, done, total } => self.bytes(step, done, total),
            Event::Line { step, text } => {
                if let Some(bar) = self.steps.get(&step) {
                    bar.set_message(text);
                }
            }
            Event::StepDone { step, elapsed } => {
                if let Some(bar) = self.steps.remove(&step) {
                    bar.finish_and_clear();
                }
                self.note(&format!("      {step}: {:.1} s", elapsed.as_secs_f64()));
            }
            #[expect(unreachable_patterns, reason = "events may be added")]
            _ => {}
        }
    }

    fn bytes(&mut self, step: Step, done: u64, total: u64) {
        if let Some(bar) = self.steps.get(&step) {
            if bar.length() != Some(total) {
                bar.set_length(total);
                bar.set_style(bytes_style());
            }
            bar.set_position(done);
            return;
        }
        let Some(tenths) = done.saturating_mul(10).checked_div(total) else {
            return;
        };
        let told = self.told.insert(step, tenths).unwrap_or(0);
        if tenths > told {
            self.note(&format!(
                "      {step}: {} of {}",
                HumanBytes(done),
                HumanBytes(total)
            ));
        }
    }

    /// Shows an event of a run.
    pub(crate) fn run(&mut self, event: run::Event) {
        match event {
            run::Event::Started(step) => {
                if let Some(screen) = &self.screen {
                    self.current = Some(screen.add(spinner(&step)));
                }
            }
            run::Event::Done { step, elapsed } => {
                if let Some(bar) = self.current.take() {
                    bar.finish_and_clear();
                }
                self.note(&format!("  {step:<28} {:>6.2} s", elapsed.as_secs_f64()));
            }
            run::Event::Found(violation) => self.found(&violation),
        }
    }

    /// Shows what went wrong while the guest still runs.
    fn found(&mut self, violation: &Violation) {
        self.found += 1;
        match self.found.cmp(&MOST_FOUND) {
            Ordering::Less => self.note(&format!("  found: {}", violation.text)),
            Ordering::Equal => self.note("  found: more; the report has all"),
            Ordering::Greater => {}
        }
    }

    /// Shows how many orders were tried.
    pub(crate) fn explore(&mut self, tried: u64, waiting: usize) {
        let Some(screen) = &self.screen else {
            return;
        };
        let bar = self
            .current
            .get_or_insert_with(|| screen.add(spinner("orders")));
        bar.set_message(format!("{tried} tried, {waiting} wait"));
    }

    /// Clears what is not to stay.
    pub(crate) fn finish(&mut self) {
        for (_, bar) in self.steps.drain() {
            bar.finish_and_clear();
        }
        if let Some(bar) = self.current.take() {
            bar.finish_and_clear();
        }
    }
}

fn spinner(what: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) =
        ProgressStyle::with_template("  {spinner} {prefix} {elapsed} {wide_msg:.dim}")
    {
        bar.set_style(style);
    }
    bar.set_prefix(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn bytes_style() -> ProgressStyle {
    let template = "  {spinner} {prefix:<16} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} {wide_msg:.dim}";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
