// SPDX-License-Identifier: MIT OR Apache-2.0

//! The report of a run, and with it the schema of `--json`.
//!
//! The file holds one [`Report`] as JSON. `schema` is [`VERSION`]; it grows when a field is removed or
//! changes its meaning, not when one is added. Addresses and lengths are numbers, in bytes; every address is
//! guest-physical unless its name says `dma`, and below 2^52, so that no reader of JSON loses a digit. Times are
//! numbers, in the unit that the name ends with. What is not known is `null`.

use std::collections::BTreeMap;

use landfall_device::journal::Call;
use landfall_device::ledger::{self, Group};
use serde::{Deserialize, Serialize};

use crate::debug_info::{Lines, Source};
use crate::guest::{How, Started};

/// Version of the schema.
pub const VERSION: u32 = 3;

/// Whether the run was clean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every byte landed where it should, and none elsewhere.
    Clean,
    /// See `violations`.
    Violations,
    /// Nothing wrong was found, and something was not judged: see `not_judged`.
    NotJudged,
}

/// All that is known about a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// [`VERSION`].
    pub schema: u32,
    /// Whether the run was clean.
    pub verdict: Verdict,
    /// The verdict in one line, for a person.
    pub summary: String,
    /// What went wrong, in the order of time.
    pub violations: Vec<Violation>,
    /// What may have gone wrong: only who sees the CPU's accesses could tell. No reason to fail.
    pub hints: Vec<Violation>,
    /// Why something was not judged.
    pub not_judged: Vec<String>,
    /// The groups of rules, and why some were off.
    pub groups: Vec<Group>,
    /// Calls that were made, and that the witness does not hear: blind spots.
    pub unheard: Vec<String>,
    /// Registers that the driver touched and the card's model lacks, and one that it waited for in vain.
    #[serde(default)]
    pub missing: Vec<String>,
    /// Every frame that the card was given a buffer for, in the order of completion.
    pub transfers: Vec<Transfer>,
    /// What was captured.
    pub captures: Vec<Capture>,
    /// The pool's regions.
    pub pool: Vec<PoolRegion>,
    /// Runs of RAM, ascending.
    pub ram: Vec<Span>,
    /// The card.
    pub card: Card,
    /// The scenario that it played; `null`: none.
    pub scenario: Option<Scenario>,
    /// The self-test at start.
    pub selftest: SelfTest,
    /// How much was checked.
    pub checked: Checked,
    /// What took part, by name: `landfall`, `qemu`, `kernel`, `rustc`, `card_layout`, each module, and the
    /// SHA-256 of what was built: `kmod_sha256`, `agent_sha256`.
    pub versions: BTreeMap<String, String>,
    /// What executed the guest.
    pub accelerator: Accelerator,
    /// How the guest came to life.
    pub start: Start,
    /// How long the parts of the run took, in order.
    pub timings: Vec<Timing>,
}

/// A range of physical addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// First address.
    pub address: u64,
    /// Bytes.
    pub length: u64,
}

/// Who saw a violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum View {
    /// The driver, by way of the agent.
    Driver,
    /// The card's journal, against what was lent.
    Journal,
    /// Guest memory, read by the host.
    Memory,
}

impl View {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::Journal => "journal",
            Self::Memory => "memory",
        }
    }
}

/// Something that must not happen, and did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Number of its class in Landfall's catalogue; `null`: of no known class.
    pub class: Option<u8>,
    /// Name of the class, or a short name.
    pub name: String,
    /// What it is called in every run that shows it, without addresses and times: two runs can be compared by it.
    #[serde(default)]
    pub title: String,
    /// First address concerned.
    pub address: u64,
    /// Bytes from there.
    pub length: u64,
    /// Sequence number of the frame concerned.
    pub frame: Option<u32>,
    /// Its slot.
    pub slot: Option<u32>,
    /// How many accesses of the card it is made of.
    #[serde(default)]
    pub accesses: u64,
    /// Which capture, from 1.
    pub capture: Option<usize>,
    /// Who saw it.
    pub views: Vec<View>,
    /// The lend that it lies nearest to, and how far off.
    pub nearest: Option<Nearest>,
    /// The register write that set it going.
    pub register_write: Option<RegisterWrite>,
    /// The call of the driver's behind it, if the witness told of one.
    #[serde(default)]
    pub driver_call: Option<DriverCall>,
    /// Whose the memory is by now, as far as the guest's kernel tells.
    #[serde(default)]
    pub owner: Option<String>,
    /// What happened, in words.
    pub text: String,
}

/// A call of the driver's that lends memory or takes it back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverCall {
    /// Which, such as `map` or `unmap`.
    pub call: Call,
    /// Where the driver made it, `function+0x12/0x34 [module]`; `null`: not known.
    pub caller: Option<String>,
    /// Where that stands in the driver's source; `null`: its module has no debug information.
    #[serde(default)]
    pub source: Option<Source>,
    /// The guest's monotonic clock then, nanoseconds.
    pub guest_ns: u64,
}

impl Violation {
    /// Adds where the driver's calls stand in its source.
    pub fn locate(&mut self, lines: &Lines) {
        let nearest = self.nearest.as_mut();
        let lend = nearest.map(|lend| [&mut lend.lent_by, &mut lend.taken_back_by]);
        let calls = lend.into_iter().flatten().chain([&mut self.driver_call]);
        for call in calls.flatten() {
            let caller = call.caller.as_ref();
            call.source = caller.and_then(|caller| lines.get(caller)).cloned();
        }
    }

    /// Another view saw it, too.
    pub fn see(&mut self, view: View) {
        if !self.views.contains(&view) {
            self.views.push(view);
            self.views.sort_unstable();
        }
    }

    /// Adds to its words.
    pub fn add(&mut self, text: &str) {
        if !self.text.contains(text) {
            self.text.push_str("; ");
            self.text.push_str(text);
        }
    }

    /// One that a ledger found. `capture` tells which capture a journal entry belongs to, `shift` what to add to a bus
    /// address near a lend, which is given by its bus address, for the physical one: 0 without an IOMMU.
    pub fn of_ledger(
        from: ledger::Violation,
        capture: &impl Fn(u64) -> Option<usize>,
        shift: &impl Fn(u64) -> u64,
    ) -> Self {
        let shift = from.lend.as_ref().map_or(0, |lend| shift(lend.address));
        let title = from.title();
        let nearest = from.lend.map(|lend| Nearest {
            label: lend.label,
            lend: Span {
                address: lend.address.wrapping_add(shift),
                length: lend.length,
            },
            offset: i128::from(from.address) - i128::from(lend.address),
            distance: lend.distance,
            lent_by: lend.lent_by.map(DriverCall::from),
            taken_back_by: lend.taken_back_by.map(DriverCall::from),
        });
        Self {
            class: from.class.map(ledger::Class::number),
            name: from.name.into_owned(),
            title,
            accesses: from.accesses,
            owner: None,
            address: from.address.wrapping_add(shift),
            length: from.length,
            frame: from.frame,
            slot: from.slot,
            capture: capture(from.sequence),
            views: vec![View::Journal],
            nearest,
            driver_call: from.call.map(DriverCall::from),
            register_write: from.register_write.map(|write| RegisterWrite {
                sequence: write.sequence,
                name: write.name,
                offset: write.offset,
                value: write.value,
            }),
            text: from.text,
        }
    }
}

impl From<ledger::Caller> for DriverCall {
    fn from(caller: ledger::Caller) -> Self {
        Self {
            call: caller.call,
            caller: caller.symbol,
            source: None,
            guest_ns: caller.guest_ns,
        }
    }
}

/// The lend nearest to a violation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nearest {
    /// What it is, such as `frame buffer 2`.
    pub label: String,
    /// Its range.
    pub lend: Span,
    /// Bytes from the lend's start to the violation's; negative: before it.
    pub offset: i128,
    /// Bytes between them; 0: they touch or overlap.
    pub distance: u64,
    /// Who lent it, if the witness told.
    #[serde(default)]
    pub lent_by: Option<DriverCall>,
    /// Who took it back, if somebody did.
    #[serde(default)]
    pub taken_back_by: Option<DriverCall>,
}

/// A register write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterWrite {
    /// Its number in the card's journal.
    pub sequence: u64,
    /// The register.
    pub name: String,
    /// Offset in BAR 0.
    pub offset: u64,
    /// What was written.
    pub value: u64,
}

/// One frame's way into memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transfer {
    /// Which capture, from 1.
    pub capture: usize,
    /// Sequence number of the frame; `null` if the card never served the slot.
    pub frame: Option<u32>,
    /// Its slot.
    pub slot: u8,
    /// Where it was lent memory.
    pub address: u64,
    /// Bytes lent.
    pub length: u64,
    /// The same as a bus address.
    pub dma: u64,
    /// Bytes that the card says it wrote.
    pub bytes: u64,
    /// From the first byte to the last, by the card's clock.
    pub duration_ns: Option<u64>,
    /// XXH64 (seed 0) of the frame as the host sees it, as 16 hexadecimal digits.
    pub hash_host: Option<String>,
    /// The same as the guest's user space sees it.
    pub hash_guest: Option<String>,
    /// Bytes that are not as they should be.
    pub wrong_bytes: u64,
    /// `ok`, or what is wrong.
    pub verdict: String,
}

/// What was captured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Capture {
    /// Pixels of a line.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// Bytes from line to line.
    pub stride: u32,
    /// Pixel format.
    pub format: String,
    /// Picture.
    pub pattern: String,
    /// Bytes of a frame.
    pub frame_bytes: u64,
    /// Frames asked for.
    pub frames: u32,
    /// Bytes written, over the time in which the card wrote them.
    pub bytes_per_second: Option<f64>,
    /// Buffers, by slot.
    pub buffers: Vec<Span>,
    /// What the card wrote, by its journal, in order. Accesses that touch are joined.
    pub written: Vec<Span>,
}

/// One region of the pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolRegion {
    /// Where its memory came from.
    pub source: String,
    /// First address.
    pub address: u64,
    /// Bytes.
    pub length: u64,
    /// Guard pages before and after each buffer.
    pub guard_pages: u64,
}

/// The card and its driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// PCI address in the guest.
    pub pci_address: String,
    /// How it interrupts.
    pub interrupt: String,
    /// Interrupts that the driver took.
    pub interrupts: u64,
    /// Address bits it drives.
    pub address_bits: u32,
    /// The faults that were planted, separated by commas.
    pub fault: Option<String>,
    /// Journal entries.
    pub journal_entries: u64,
}

/// A scenario, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scenario {
    /// As TOML.
    pub text: String,
    /// What is drawn at random is drawn from this; below 2^63.
    pub seed: u64,
    /// Its faults, in order.
    pub faults: Vec<PlantedFault>,
}

/// A fault of a scenario.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlantedFault {
    /// Its name.
    pub name: String,
    /// Number of the class of bug that it plants; `null`: none.
    pub class: Option<u8>,
    /// How often it has struck.
    pub struck: u64,
}

/// The self-test at start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfTest {
    /// Where it was made.
    pub address: u64,
    /// What the driver wrote.
    pub nonce: u64,
}

/// How much was checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// Bytes of frames compared.
    pub frame_bytes: u64,
    /// Bytes of the pool compared with their canary.
    pub canary_bytes: u64,
    /// Bytes of memory kept from the kernel that nobody wrote to from before QEMU started until the pool was loaded;
    /// `null`: none were watched.
    pub watched_bytes: Option<u64>,
    /// The card's accesses compared with what was lent.
    pub accesses: u64,
    /// Calls by which the driver lent memory or took it back, as the witness in the guest told them; `null`: there was
    /// none.
    pub driver_calls: Option<u64>,
}

/// What executed the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accelerator {
    /// `kvm` or `tcg`.
    pub name: String,
    /// Why.
    pub reason: String,
}

/// How the guest came to life.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// `restored` from a snapshot, or booted `cold`.
    pub how: String,
    /// The same in a few words, with the reason for a cold boot.
    pub text: String,
    /// Its parts, in order.
    pub parts: Vec<Timing>,
}

impl From<&Started> for Start {
    fn from(started: &Started) -> Self {
        let parts = started.parts.iter().map(|(step, time)| Timing {
            step: step.clone(),
            seconds: time.as_secs_f64(),
        });
        Self {
            how: match started.how {
                How::Restored { .. } => "restored",
                How::Cold { .. } => "cold",
            }
            .to_owned(),
            text: started.how.to_string(),
            parts: parts.collect(),
        }
    }
}

/// How long a part of the run took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Which.
    pub step: String,
    /// How long.
    pub seconds: f64,
}
