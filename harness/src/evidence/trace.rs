// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a run keeps until it is known whether it leaves a bundle.

use std::path::PathBuf;

use landfall_device::journal::{Entry, Journal};
use landfall_device::ledger::Judgement;
use landfall_guest::ModuleFiles;

use super::{Pages, Recorder};
use crate::debug_info::{self, Lines};

/// Text of logs, by the name that each has in a run's directory.
pub type Logs = Vec<(&'static str, String)>;

/// What a run keeps; empty if there was nothing to watch.
#[derive(Debug, Default)]
pub struct Trace {
    /// What the ledger was fed with.
    pub stream: Option<(Recorder, Journal)>,
    /// What it said.
    pub judged: Judgement,
    /// Memory around that.
    pub pages: Pages,
    /// What guest and QEMU said.
    pub logs: Logs,
    /// The modules that the guest loaded.
    pub modules: Option<ModuleFiles>,
    /// Where the guest's own evidence was left, if it died.
    pub evidence: Option<PathBuf>,
}

impl Trace {
    /// Where the calls that the witness told stand in the driver's source.
    pub fn lines(&self) -> Lines {
        match (&self.modules, &self.stream) {
            (Some(modules), Some((_, journal))) => debug_info::of_journal(modules, journal),
            _ => Lines::new(),
        }
    }

    /// What is in the card's journal.
    pub fn entries(&self) -> Vec<Entry> {
        let journal = self.stream.as_ref().map(|(_, journal)| journal);
        journal
            .map(|journal| journal.entries_from(0))
            .unwrap_or_default()
    }
}
