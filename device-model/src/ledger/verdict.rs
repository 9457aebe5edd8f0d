// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the ledger says about what went wrong.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Job, Lend, LendKind, Range};
use crate::journal::Call;

/// A register write that led to a violation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterWrite {
    /// Its number in the journal.
    pub sequence: u64,
    /// Offset in the BAR.
    pub offset: u64,
    /// The register's name.
    pub name: String,
    /// What was written.
    pub value: u32,
}

/// A call of the driver's that led to a violation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Which call.
    pub call: Call,
    /// Number of the witness's event.
    pub number: u64,
    /// Where in the guest's kernel it was called; 0: not known.
    pub address: u64,
    /// What is there, `function+0x12/0x34 [module]`, if the witness said so.
    pub symbol: Option<String>,
    /// The guest's monotonic clock, nanoseconds.
    pub guest_ns: u64,
}

/// The lend that lies nearest to a violation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NearLend {
    /// How it is called.
    pub label: String,
    /// First bus address.
    pub address: u64,
    /// Bytes.
    pub length: u64,
    /// What it is for.
    pub kind: LendKind,
    /// Slot that it belongs to.
    pub slot: Option<u8>,
    /// Bytes between the two; 0: they touch or overlap.
    pub distance: u64,
}

impl NearLend {
    pub(super) fn of(lend: &Lend, range: Range) -> Self {
        Self {
            label: lend.label.clone(),
            address: lend.address,
            length: lend.length,
            kind: lend.kind,
            slot: lend.slot,
            distance: lend.range().distance(range.start, range.length),
        }
    }
}

/// Something that must not happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Number in the catalogue of DMA bugs, if it is of a class in there.
    pub class: Option<u8>,
    /// Its name in two or three words.
    pub name: Cow<'static, str>,
    /// First bus address outside what was allowed; of a completion, the frame's base.
    pub address: u64,
    /// Bytes outside what was allowed, or missing.
    pub length: u64,
    /// How many accesses it is made of.
    pub accesses: u64,
    /// Sequence number of the frame.
    pub frame: Option<u32>,
    /// The slot.
    pub slot: Option<u8>,
    /// The job.
    pub job: Option<u64>,
    /// The nearest lend.
    pub lend: Option<NearLend>,
    /// The register write that led to it.
    pub register_write: Option<RegisterWrite>,
    /// The driver's call behind it, if a witness told of one.
    pub call: Option<Caller>,
    /// Number of its first entry in the journal.
    pub sequence: u64,
    /// When that was: nanoseconds since the journal began.
    pub time_ns: u64,
    /// What happened, in one sentence.
    pub text: String,
}

impl Violation {
    /// Whether `next` goes on where this one ends.
    pub(super) fn continues_with(&self, next: &Self) -> bool {
        let same = self.job == next.job && self.class == next.class && self.name == next.name;
        let joined = self.address.checked_add(self.length) == Some(next.address);
        same && self.job.is_some() && self.accesses > 0 && joined
    }
}

pub(super) fn bare(
    sequence: u64,
    class: Option<u8>,
    name: &'static str,
    text: String,
) -> Violation {
    Violation {
        class,
        name: Cow::Borrowed(name),
        address: 0,
        length: 0,
        accesses: 0,
        frame: None,
        slot: None,
        job: None,
        lend: None,
        register_write: None,
        call: None,
        sequence,
        time_ns: 0,
        text,
    }
}

pub(super) fn of_job(mut violation: Violation, number: u64, job: &Job, slot: u8) -> Violation {
    violation.address = job.base;
    violation.frame = job.frame;
    violation.slot = Some(slot);
    violation.job = Some(number);
    violation
}

pub(super) fn short(sequence: u64, number: u64, job: &Job, slot: u8, told: u64) -> Violation {
    let written = job.written;
    let text = format!("slot {slot} was completed as {told} bytes, {written} were written");
    let mut violation = of_job(
        bare(sequence, Some(56), "short transfer", text),
        number,
        job,
        slot,
    );
    violation.address = job.base.wrapping_add(written);
    violation.length = told - written;
    violation
}

pub(super) fn lost_interrupt(sequence: u64, number: u64, job: &Job, slot: u8) -> Violation {
    let text = format!("slot {slot} was completed with its interrupt enabled, and none was raised");
    of_job(
        bare(sequence, Some(43), "lost interrupt", text),
        number,
        job,
        slot,
    )
}

pub(super) fn incomplete(sequence: u64) -> Violation {
    let text = format!("the journal lacks entries before number {sequence}: no verdict on them");
    bare(sequence, None, "journal incomplete", text)
}

pub(super) fn uncounted(count: u64) -> Violation {
    let text = format!("{count} more violations, not listed");
    bare(u64::MAX, None, "more violations", text)
}

pub(super) fn of_lend(lend: &Lend, name: &'static str) -> Violation {
    let text = format!(
        "{} ({} bytes at {:#x}) is {name}",
        lend.label, lend.length, lend.address
    );
    let mut violation = bare(0, None, name, text);
    violation.address = lend.address;
    violation.length = lend.length;
    violation.slot = lend.slot;
    violation.lend = Some(NearLend::of(lend, lend.range()));
    violation
}
