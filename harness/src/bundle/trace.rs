// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a run keeps until it is known whether it leaves a bundle.

use std::path::PathBuf;

use landfall_device::journal::Journal;
use landfall_device::ledger::Judgement;

use super::store::Logs;
use super::{Pages, Recorder};

/// What a run keeps; empty if there was nothing to watch.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// What the ledger was fed with.
    pub(crate) stream: Option<(Recorder, Journal)>,
    /// What it said.
    pub(crate) judged: Judgement,
    /// Memory around that.
    pub(crate) pages: Pages,
    /// What guest and QEMU said.
    pub(crate) logs: Logs,
    /// Where the guest's own evidence was left, if it died.
    pub(crate) evidence: Option<PathBuf>,
}
