// SPDX-License-Identifier: MIT OR Apache-2.0

//! The cards of a guest under watch, from their first entry to their last.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use landfall_device::contract::{Declaration, DmaError};
use landfall_device::journal::{Entry, Journal, Kind, Outcome};
use landfall_device::ledger::{Platform, Violation};

use super::{Asked, ask_names, ask_others, causes, drain, record};
use crate::evidence::{MAX_PAGES, Named, Observed, Pages, Trace};
use crate::guest::console_findings;
use crate::guest::memory::GuestMemory;
use crate::guest::{Guest, GuestFailed, Running, What};

/// How long a card is watched after everything, for what it might still do.
pub const SETTLE: Duration = Duration::from_millis(50);

/// A guest whose cards are under watch while something is done to it.
#[derive(Debug)]
pub struct Watch<'guest, Stage: Running> {
    guest: &'guest Guest<Stage>,
    platform: Platform,
    began: Instant,
}

/// How a guest ended before its work did.
#[derive(Debug, Default)]
pub struct Death {
    /// In the kernel's words, or QEMU's, or ours; `None`: it was to end so.
    pub words: Option<String>,
    /// Where the guest's own evidence was left.
    pub evidence: Option<PathBuf>,
}

impl Death {
    /// What came of work that failed: a death that driver or card may be the reason of.
    ///
    /// # Errors
    /// The failure, if neither can be.
    pub fn of(failed: GuestFailed) -> Result<Self, GuestFailed> {
        let words = match (&*failed.what, &failed.kernel_line) {
            // Whoever was waited for, and how long, no line of the kernel's says.
            (What::TimedOut { .. }, Some(line)) => {
                format!(
                    "{}; the last of the kernel's lines: {line}",
                    causes(&failed)
                )
            }
            (_, Some(line)) => line.clone(),
            (_, None) => causes(&failed),
        };
        match may_be_drivers(&failed) {
            true => Ok(Self {
                words: Some(words),
                evidence: failed.evidence,
            }),
            false => Err(failed),
        }
    }
}

/// Whether a guest can have failed so because of its driver or its card.
pub fn may_be_drivers(failed: &GuestFailed) -> bool {
    failed.is_guests()
        || matches!(
            *failed.what,
            What::Refused(_) | What::QemuEnded { .. } | What::TimedOut { .. }
        )
}

impl<'guest, Stage: Running> Watch<'guest, Stage> {
    /// Begins. The machine is as `platform` says.
    pub fn begin(guest: &'guest Guest<Stage>, platform: Platform) -> Self {
        Self {
            guest,
            platform,
            began: Instant::now(),
        }
    }

    /// Ends it: waits until the cards have done what they might still do, and judges each. `death`: the guest did not
    /// live to the end of what was done to it.
    pub fn end(self, death: Option<&Death>) -> Vec<Observed> {
        let took = self.began.elapsed();
        std::thread::sleep(SETTLE);
        let console = self.guest.console_log();
        let findings = console_findings::read(&console);
        (0..self.guest.cards())
            .map(|card| Observed {
                findings: findings.clone(),
                died: death.and_then(|death| death.words.clone()),
                took,
                ..self.judge(card, death)
            })
            .collect()
    }

    fn judge(&self, card: usize, death: Option<&Death>) -> Observed {
        match death {
            None => drain(self.guest, card),
            Some(_) => self.guest.sync_card(card),
        }
        let journal = self.guest.journal(card).unwrap_or_default();
        let ask = Asked {
            others: &|| ask_others(self.guest, card),
            names: &|addresses| ask_names(self.guest, &journal, addresses),
        };
        let (recorder, judged) = record(&journal, self.platform.clone(), &ask);
        Observed {
            violations: named(&judged.violations),
            hints: named(&judged.hints),
            not_judged: judged.not_judged.clone(),
            struck: true,
            missing: self.guest.missing(card).unwrap_or_default().lines(),
            trace: Trace {
                pages: self.pages(&judged.violations, &self.guest.memory()),
                stream: Some((recorder, journal.clone())),
                judged,
                logs: self.guest.logs(),
                modules: Some(self.guest.module_files()),
                evidence: death.and_then(|death| death.evidence.clone()),
            },
            ..count_of(&journal)
        }
    }

    /// Memory around what went wrong. Behind an IOMMU it is not known where that is.
    fn pages(&self, judged: &[Violation], memory: &GuestMemory) -> Pages {
        let mut pages = Pages::default();
        if self.platform.iommu {
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
}

/// What was said, in short.
pub fn named(said: &[Violation]) -> Vec<Named> {
    said.iter().cloned().map(Named::from).collect()
}

fn count_of(journal: &Journal) -> Observed {
    count(&journal.entries_from(0))
}

/// Counts what there is among entries of a journal.
pub fn count<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Observed {
    let mut observed = Observed::default();
    for entry in entries {
        match &entry.kind {
            Kind::Access { outcome, .. } => {
                observed.accesses += 1;
                let refused = matches!(
                    outcome,
                    Outcome::Refused(
                        DmaError::Unmapped
                            | DmaError::Unbacked
                            | DmaError::Lost
                            | DmaError::Direction
                    )
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
