// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the ledger says about what went wrong.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::class::Class;
use super::job::Job;
use super::{Lend, LendKind, Range};
use crate::contract::JobId;
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
    pub value: u64,
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

/// An address of the guest's code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// Itself.
    pub address: u64,
    /// What is there, `function+0x12/0x34 [module]`, if that was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
}

/// An instruction of the guest's that made an access.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instruction {
    /// Its address in the guest.
    pub address: u64,
    /// What is there, `function+0x12/0x34 [module]`, if that was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// Likewise who called that function: the nearest in a module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<String>,
    /// The one with which nothing puts it in order, if that is what is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other: Option<Named>,
    /// Words of the stack that may be return addresses, the nearest first.
    #[serde(skip)]
    pub(super) stack: Vec<u64>,
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
    pub slot: Option<u32>,
    /// Bytes between the two; 0: they touch or overlap.
    pub distance: u64,
    /// Who lent it, if the witness told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lent_by: Option<Caller>,
    /// Who took it back, if somebody did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_back_by: Option<Caller>,
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
            lent_by: None,
            taken_back_by: None,
        }
    }
}

/// Something that must not happen: one cause, however many accesses came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Its class in the catalogue of DMA bugs, if it is of one in there.
    pub class: Option<Class>,
    /// Its name in two or three words.
    pub name: Cow<'static, str>,
    /// First bus address outside what was allowed; of a completion, the frame's base.
    pub address: u64,
    /// Bytes from there to the last that is outside what was allowed, or that are missing.
    pub length: u64,
    /// How many accesses it is made of.
    pub accesses: u64,
    /// Number of the frame, if its job has one.
    pub frame: Option<u32>,
    /// The slot, if its job has one.
    pub slot: Option<u32>,
    /// The job.
    pub job: Option<JobId>,
    /// The lend that it is about, or that lies near.
    pub lend: Option<NearLend>,
    /// The register write that led to it.
    pub register_write: Option<RegisterWrite>,
    /// The driver's call behind it, if a witness told of one.
    pub call: Option<Caller>,
    /// The instruction, of an access of the CPU's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instruction: Option<Instruction>,
    /// Number of its first entry in the journal.
    pub sequence: u64,
    /// When that was: nanoseconds since the journal began.
    pub time_ns: u64,
    /// What happened, in one sentence.
    pub text: String,
}

/// What two violations have in common that are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Cause {
    class: Option<Class>,
    name: u64,
    /// The lend, and the call at fault.
    lend: Option<(u64, Option<u64>)>,
    /// Without a lend: the job, or the register write.
    job: Option<JobId>,
    write: Option<u64>,
    /// The instruction alone, if there is one.
    instruction: Option<u64>,
}

impl Violation {
    /// What it is called in every run that shows it: class, the driver's function, what was lent, and how far beside it.
    /// Without addresses and times, so that two runs can be compared.
    pub fn title(&self) -> String {
        let name: &str = match self.class {
            Some(class) => class.name(),
            None => &self.name,
        };
        let symbol =
            |caller: &Caller| Some(format!(" by {}", function(caller.symbol.as_deref()?)?));
        let lent_by = self.lend.as_ref().and_then(|lend| lend.lent_by.as_ref());
        let who = match &self.instruction {
            Some(instruction) => instruction.drivers().map(|name| format!(" by {name}")),
            None => self.call.as_ref().or(lent_by).and_then(symbol),
        };
        let lend = self.lend.as_ref().map(|lend| match lend.distance {
            0 => format!(" at {}", lend.kind.words()),
            distance => format!(" {distance} bytes beside {}", lend.kind.words()),
        });
        name.to_owned() + &who.unwrap_or_default() + &lend.unwrap_or_default()
    }

    /// What it has in common with others of the same cause; `None`: it stands by itself.
    pub(super) fn cause(&self) -> Option<Cause> {
        if self.accesses == 0 {
            return None;
        }
        let instruction = self.instruction.as_ref();
        let lent = |lend: &NearLend| match instruction {
            Some(_) => None,
            None => Some(lend.lent_by.as_ref()?.number),
        };
        let lend = self.lend.as_ref().and_then(lent);
        let lend = lend.map(|number| (number, self.call.as_ref().map(|call| call.number)));
        let write = self.register_write.as_ref().map(|write| write.sequence);
        let (class, name) = match self.class {
            // One instruction that comes too late comes before a doorbell, too, if there are several.
            Some(Class::MissingWriteBarrier) if instruction.is_some() => {
                (Some(Class::CpuWrites), Class::CpuWrites.words())
            }
            class => (class, &*self.name),
        };
        let named = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Some(Cause {
            class,
            name: named,
            lend,
            job: self.job.filter(|_| lend.is_none() && instruction.is_none()),
            write: write.filter(|_| lend.is_none() && self.job.is_none() && instruction.is_none()),
            instruction: instruction.map(|instruction| instruction.address),
        })
    }

    /// Adds one of the same cause. False: it lies too far away, and is one of its own.
    pub(super) fn join(&mut self, next: &Self) -> bool {
        if self.instruction.is_some() {
            // Of many lends the first is shown, and of two classes the one that says more.
            let accesses = self.accesses.saturating_add(next.accesses);
            if next.class == Some(Class::MissingWriteBarrier) && self.class != next.class {
                *self = next.clone();
            }
            self.accesses = accesses;
            return true;
        }
        let (start, end) = (self.address, self.address.saturating_add(self.length));
        let gap = if next.address >= end {
            next.address - end
        } else {
            start.saturating_sub(next.address.saturating_add(next.length))
        };
        let one_lend = self.lend.is_some() && next.lend.is_some();
        if gap > NEAR && !one_lend {
            return false;
        }
        let last = end.max(next.address.saturating_add(next.length));
        self.address = start.min(next.address);
        self.length = last - self.address;
        self.accesses = self.accesses.saturating_add(next.accesses);
        true
    }
}

/// `function [module]` of `function+0x12/0x34 [module]`.
fn function(symbol: &str) -> Option<String> {
    let (function, rest) = symbol.split_once('+')?;
    let module = rest.split_once(' ').map_or("", |(_, module)| module);
    Some(format!("{function} {module}").trim_end().to_owned())
}

/// Of the words on the stack that lie in code, those that may be the callers of an access: between a driver and the kernel's function
/// that copies for it there are few. Further up older calls have left theirs.
const NEAR_WORDS: usize = 6;

impl Instruction {
    /// Whether it is known to be of a module, or called by one: else the kernel made the access by itself, or for a program.
    pub(super) fn is_of_module(&self) -> bool {
        let other = self.other.iter().filter_map(|other| other.symbol.as_ref());
        let mut known = self.symbol.iter().chain(&self.caller).chain(other);
        known.any(|symbol| symbol.ends_with(']'))
    }

    /// The driver's function, as far as it is known: that of the instruction, or who called it.
    fn drivers(&self) -> Option<String> {
        let in_module = |symbol: &&String| symbol.ends_with(']');
        let named = self.symbol.iter().chain(&self.caller).find(in_module);
        function(named.or(self.symbol.as_ref())?)
    }

    /// Gives it its names.
    pub(super) fn name(&mut self, name: impl Fn(u64) -> Option<String>) {
        self.symbol = name(self.address);
        let own = self.symbol.as_deref().and_then(function);
        let near = self.stack.iter().take(NEAR_WORDS);
        let others = near.filter_map(|word| name(*word));
        self.caller = others
            .filter(|symbol| symbol.ends_with(']'))
            .find(|symbol| function(symbol) != own);
        if let Some(other) = &mut self.other {
            other.symbol = name(other.address);
        }
    }
}

/// Accesses of one job that lie further apart, bytes, are no longer told as one range.
const NEAR: u64 = 64 * 1024;

impl LendKind {
    /// What it is called in a title.
    const fn words(self) -> &'static str {
        match self {
            Self::Frame => "a frame buffer",
            Self::Clip => "a clip mask",
            Self::SelfTest => "the self-test area",
            Self::Streaming => "a streaming mapping",
            Self::Coherent => "coherent memory",
            Self::Block => "a block of a dma_pool",
            Self::Buffer => "a vb2 buffer",
            Self::Pool => "the pool's memory",
        }
    }
}

/// One that has neither place nor job.
pub(super) fn bare(
    sequence: u64,
    class: Option<Class>,
    name: &'static str,
    text: String,
) -> Violation {
    Violation {
        class,
        name: Cow::Borrowed(class.map_or(name, Class::words)),
        address: 0,
        length: 0,
        accesses: 0,
        frame: None,
        slot: None,
        job: None,
        lend: None,
        register_write: None,
        call: None,
        instruction: None,
        sequence,
        time_ns: 0,
        text,
    }
}

/// Adds what is known of a job.
pub(super) fn of_job(mut violation: Violation, number: JobId, job: &Job) -> Violation {
    violation.address = job.main().start;
    violation.frame = job.label.frame;
    violation.slot = job.label.slot;
    violation.job = Some(number);
    violation
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

/// A group of rules, and whether it was on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: Cow<'static, str>,
    /// What it judges, in words.
    pub judges: Cow<'static, str>,
    /// Why it was off; `None`: it was on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off: Option<Cow<'static, str>>,
}

/// All that a ledger says in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Judgement {
    /// What went wrong, in the order found.
    pub violations: Vec<Violation>,
    /// What may have gone wrong, and what only somebody who sees the CPU's accesses could tell.
    pub hints: Vec<Violation>,
    /// Why something was not judged: then silence means nothing.
    pub not_judged: Vec<String>,
    /// What it judged by.
    pub groups: Vec<Group>,
    /// Calls that were made, and that the witness does not hear.
    pub unheard: Vec<String>,
}

impl Judgement {
    /// Whether all was judged, and nothing was wrong.
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty() && self.not_judged.is_empty()
    }
}
