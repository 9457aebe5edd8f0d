// SPDX-License-Identifier: MIT OR Apache-2.0

//! One guest, one driver, one card, one bug or none; and what was seen of it from outside.
//!
//! Witness and driver are loaded into a guest whose card nobody has bound. The driver captures while it is loaded and
//! tears down when it is unloaded, so that a trial is: load, perhaps do something to the guest, unload, look.

use std::time::{Duration, Instant};

use landfall_cards::capture::CaptureOptions;
use landfall_device::contract::{Declaration, DmaError};
use landfall_device::journal::{Entry, Kind, Outcome};
use landfall_device::ledger::{Platform, Violation};
use landfall_guest::{Cancel, Prepared};

use super::conduct;
use super::{Action, Leg};
use crate::capture;
use landfall::evidence::{MAX_PAGES, Pages, Trace};
use landfall::evidence::{Named, Observed};
use landfall::guest::console_findings::{self};
use landfall::guest::memory::{GuestMemory, Ram};
use landfall::guest::{Booted, Guest, GuestFailed, What};
use landfall::judge::{ask_others, drain, record};

/// The module with the mutants.
const MUTANT: &str = "landfall_mutant";
/// How long a card is watched after everything, for what it might still do.
pub(super) const SETTLE: Duration = Duration::from_millis(50);
/// How long a restart of the kernel may take until QEMU ends.
const RESTART: Duration = Duration::from_secs(20);

/// What to run.
#[derive(Clone, Debug)]
pub struct Trial {
    /// On which platform.
    pub leg: Leg,
    /// Parameters of the driver, its mutant among them.
    pub parameters: String,
    /// The card, with its faults.
    pub card: CaptureOptions,
    /// What is done to the guest while the driver is bound.
    pub action: Action,
    /// Bytes of a cache line, to be judged as on a machine whose devices do not see the CPU's caches; 0: as it is.
    pub cache_line: u64,
}

/// A trial came to nothing.
#[derive(Debug, thiserror::Error)]
#[error("the trial on {leg} with `{parameters}` failed")]
pub struct TrialFailed {
    /// On which platform.
    pub leg: Leg,
    /// The driver's parameters.
    pub parameters: String,
    /// Why.
    #[source]
    pub source: GuestFailed,
}

impl Trial {
    /// Runs it.
    ///
    /// # Errors
    /// If the guest does not come, or fails where no bug of driver or card can be the reason.
    pub fn run(&self, prepared: &Prepared, cancel: &Cancel) -> Result<Observed, TrialFailed> {
        self.attempt(prepared, cancel)
            .map_err(|source| TrialFailed {
                leg: self.leg,
                parameters: self.parameters.clone(),
                source,
            })
    }

    fn attempt(&self, prepared: &Prepared, cancel: &Cancel) -> Result<Observed, GuestFailed> {
        let options = self.leg.guest(capture::card(self.card.clone()));
        let guest = Guest::configure(options).boot(prepared, cancel)?;
        let journal = guest.journal(0).unwrap_or_default();
        let began = Instant::now();
        let ended = match self.drive(&guest) {
            Ok(()) => None,
            Err(failed) if is_drivers(&failed) => Some(failed),
            Err(failed) => return Err(failed),
        };
        let took = began.elapsed();
        std::thread::sleep(SETTLE);
        if ended.is_none() {
            drain(&guest, 0);
        }
        guest.sync_card(0);
        let memory = guest.memory();
        let ask = || ask_others(&guest, 0);
        let (recorder, judged) = record(&journal, self.platform(memory.ram()), &ask);
        let entries = journal.entries_from(0);
        let console = guest.console_log();
        let expected_end = self.action == Action::Restart;
        let evidence = ended.as_ref().and_then(|failed| failed.evidence.clone());
        let died = ended
            .filter(|failed| !(expected_end && matches!(*failed.what, What::QemuEnded { .. })))
            .map(|failed| {
                failed
                    .kernel_line
                    .clone()
                    .unwrap_or_else(|| failed.to_string())
            });
        let mut observed = Observed {
            violations: named(&judged.violations),
            hints: named(&judged.hints),
            not_judged: judged.not_judged.clone(),
            findings: console_findings::read(&console),
            died,
            took,
            struck: (0..)
                .zip(&self.card.faults)
                .all(|(index, _)| self.card.strikes.of(index) > 0),
            trace: Trace {
                stream: Some((recorder, journal)),
                pages: self.pages(&judged.violations, &memory),
                judged,
                logs: guest.logs(),
                evidence,
            },
            ..count(&entries)
        };
        conduct::judge(&mut observed, &entries, self, &console);
        Ok(observed)
    }

    /// Loads the driver, which captures; does what is to be done; unloads it.
    fn drive(&self, guest: &Guest<Booted>) -> Result<(), GuestFailed> {
        guest.load_module(MUTANT, &self.parameters)?;
        match self.action {
            Action::Nothing => {}
            Action::FailLink => guest.fail_link(0)?,
            Action::Restart => {
                // It does not answer: the kernel goes down, and QEMU with it.
                let restarted = guest.run(&["/bin/busybox", "reboot", "-f"], RESTART);
                return restarted.map(drop);
            }
        }
        guest.unload_module(MUTANT)
    }

    /// Memory around what went wrong. Behind an IOMMU it is not known where that is.
    fn pages(&self, judged: &[Violation], memory: &GuestMemory) -> Pages {
        let mut pages = Pages::default();
        if matches!(self.leg, Leg::Iommu | Leg::IommuLazy) {
            return pages;
        }
        let placed = judged.iter().filter(|violation| violation.length != 0);
        for violation in placed.take(MAX_PAGES) {
            let from = violation.address;
            let range = from..from.saturating_add(violation.length);
            pages.keep(memory, &range, &|_, _| ());
        }
        pages
    }

    /// What the ledger is told of the machine.
    fn platform(&self, ram: &[Ram]) -> Platform {
        Platform {
            cache_line: self.cache_line,
            ..self.leg.platform(ram)
        }
    }
}

/// Whether a guest can have failed so because of its driver or its card.
pub(super) fn is_drivers(failed: &GuestFailed) -> bool {
    failed.is_guests()
        || matches!(
            *failed.what,
            What::Refused(_) | What::QemuEnded { .. } | What::TimedOut { .. }
        )
}

/// What was said, as the catalogue needs it.
pub(super) fn named(said: &[Violation]) -> Vec<Named> {
    said.iter().cloned().map(Named::from).collect()
}

/// Counts what there is in a journal.
pub(super) fn count<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Observed {
    let mut observed = Observed::default();
    for entry in entries {
        match &entry.kind {
            Kind::Access { outcome, .. } => {
                observed.accesses += 1;
                let refused = matches!(
                    outcome,
                    Outcome::Refused(DmaError::Unmapped | DmaError::Unbacked | DmaError::Direction)
                );
                observed.refused += u64::from(refused);
            }
            Kind::Call(_) => observed.calls += 1,
            Kind::Declared {
                what: Declaration::Done { error: None, .. },
                ..
            } => observed.frames += 1,
            _ => {}
        }
    }
    observed
}
