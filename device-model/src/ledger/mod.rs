// SPDX-License-Identifier: MIT OR Apache-2.0

//! The ledger: what a driver lent, and the verdict on everything a card did with it. Pure.
//!
//! It is fed with two things: the ranges that the driver mapped for the card ([`Ledger::lend`],
//! [`Ledger::reclaim`]) and the card's journal, entry by entry ([`Ledger::entry`]). From when to when a
//! frame's range is the card's follows from the journal: from the write to `QUEUE` until the driver takes
//! the slot back, the card says idle, or it is reset. A self-test area is always lent.
//!
//! A violation is classed by what happened alone; the ledger does not know which fault a card was given.
//! Classes are numbers of the project's catalogue of DMA bugs:
//!
//! | class | name | when |
//! |---|---|---|
//! | 1 | overrun | begins in a lend or just past it, and passes its end |
//! | 2 | truncated to 32 bits | outside every lend, at the low 32 bits of one above 4 GiB |
//! | 3 | truncated address | the same at another width; or beyond the card's address width |
//! | 7 | stale address | in a range that the driver has taken back |
//! | 20 | access after stop | the same, after the card said idle or was reset |
//! | 22 | bus mastering off | attempted with bus mastering off or outside D0 |
//! | 39 | wrong direction | write of memory lent for reading, or the reverse |
//! | 41 | done too early | for a job that was already reported as complete |
//! | 43 | lost interrupt | a completion with its interrupt enabled and none raised |
//! | 56 | short transfer | a completion that reports more bytes than were written |
//! | none | | anything else, named in words |

pub mod class;
mod classify;
mod verdict;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::dma::journal::{Direction, Entry, Kind};
pub use verdict::{Caller, NearLend, RegisterWrite, Violation};

/// Most violations that are kept one by one; further ones are only counted.
pub const MAX_VIOLATIONS: usize = 1000;

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Range {
    /// First address.
    pub start: u64,
    /// Bytes.
    pub length: u64,
}

impl Range {
    /// The first address after it; saturates.
    pub const fn end(&self) -> u64 {
        self.start.saturating_add(self.length)
    }

    /// Whether every byte of `length` bytes at `address` lies in it.
    pub const fn contains(&self, address: u64, length: u64) -> bool {
        address >= self.start && address.saturating_add(length) <= self.end()
    }

    /// Whether some byte of `length` bytes at `address` lies in it.
    pub const fn overlaps(&self, address: u64, length: u64) -> bool {
        address < self.end() && self.start < address.saturating_add(length)
    }

    /// Bytes between it and `length` bytes at `address`; 0 if they touch or overlap.
    pub const fn distance(&self, address: u64, length: u64) -> u64 {
        if address >= self.end() {
            address - self.end()
        } else {
            self.start.saturating_sub(address.saturating_add(length))
        }
    }
}

/// What the machine is like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Platform {
    /// Bus addresses at which there is RAM. Empty: not known, not checked.
    pub ram: Vec<Range>,
    /// Bus addresses of the pools that frames must come from. Empty: not known, not checked.
    pub pool: Vec<Range>,
    /// Address bits that the card drives; 0: not checked.
    pub address_bits: u8,
    /// A job's base must be a multiple of it, bytes; 0: not checked.
    pub alignment: u64,
    /// A job must not cross a multiple of it, bytes; 0: not checked.
    pub boundary: u64,
    /// Longest job, bytes; 0: not checked.
    pub max_frame: u64,
    /// A read of the card must not cross a multiple of it, bytes; 0: not checked.
    pub fetch_boundary: u64,
    /// The card is behind an IOMMU, so that what the machine maps for it is what the guest's IOMMU lets it
    /// reach.
    pub iommu: bool,
}

/// Which way a lend may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LendDirection {
    /// The card may write it.
    FromDevice,
    /// The card may read it.
    ToDevice,
    /// Both.
    Both,
}

impl LendDirection {
    const fn allows(self, direction: Direction) -> bool {
        match (self, direction) {
            (Self::Both, _) => true,
            (Self::FromDevice, direction) => matches!(direction, Direction::Write),
            (Self::ToDevice, direction) => matches!(direction, Direction::Read),
        }
    }
}

/// What a lend is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LendKind {
    /// A frame.
    Frame,
    /// A clip mask.
    Clip,
    /// The self-test area: lent for as long as the driver is bound.
    SelfTest,
    /// A streaming mapping of the DMA API, as the witness saw it.
    Streaming,
    /// Coherent memory of the DMA API, as the witness saw it.
    Coherent,
    /// A vb2 buffer in the hands of the driver.
    Buffer,
    /// Memory of the pool.
    Pool,
}

/// A range that the driver mapped for the card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lend {
    /// First bus address.
    pub address: u64,
    /// Bytes.
    pub length: u64,
    /// Which way it may be used.
    pub direction: LendDirection,
    /// What it is for.
    pub kind: LendKind,
    /// Slot that it belongs to; `None` for the self-test.
    pub slot: Option<u8>,
    /// How to call it in a report.
    pub label: String,
}

impl Lend {
    /// Its addresses.
    pub const fn range(&self) -> Range {
        Range {
            start: self.address,
            length: self.length,
        }
    }
}

/// Whose a slot is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Owner {
    /// It was never queued.
    #[default]
    Nobody,
    /// The card's.
    Card,
    /// The driver's again.
    Driver,
}

/// What is known of a job.
#[derive(Clone, Copy, Debug, Default)]
struct Job {
    frame: Option<u32>,
    base: u64,
    register_write: Option<u64>,
    first_write: Option<u64>,
    written: u64,
    /// Journal sequence number of its completion.
    done: Option<u64>,
}

/// The card said that no byte follows.
#[derive(Clone, Copy, Debug)]
struct Silence {
    /// Journal sequence number at which it did.
    since: u64,
    register_write: Option<u64>,
    /// "stop" or "reset".
    why: &'static str,
}

/// A completion whose interrupt has not come yet.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    job: u64,
    slot: u8,
    sequence: u64,
    time_ns: u64,
}

/// The ledger; see the module.
#[derive(Debug, Default)]
pub struct Ledger {
    platform: Platform,
    lends: Vec<Lend>,
    past: Vec<Lend>,
    owners: [Owner; 32],
    jobs: HashMap<u64, Job>,
    registers: HashMap<u64, RegisterWrite>,
    last_silence: Option<Silence>,
    awaited: Option<Awaited>,
    next_entry: Option<u64>,
    /// Time of the entry in hand.
    time_ns: u64,
    violations: Vec<Violation>,
    uncounted: u64,
}

impl Ledger {
    /// Begins a ledger in which nothing is lent.
    pub fn new(platform: Platform) -> Self {
        Self {
            platform,
            ..Self::default()
        }
    }

    /// Enters a range that the driver mapped for the card. Its order among the journal's entries does not
    /// matter, as long as it comes before the first entry that concerns it and after [`Ledger::reclaim`]
    /// of what was at the same place before.
    pub fn lend(&mut self, lend: Lend) {
        let inside = |ranges: &[Range]| {
            let all = |range: &Range| range.contains(lend.address, lend.length);
            ranges.is_empty() || ranges.iter().any(all)
        };
        if !inside(&self.platform.ram) {
            self.report(verdict::of_lend(&lend, "lent outside RAM"));
        } else if lend.kind != LendKind::SelfTest && !inside(&self.platform.pool) {
            self.report(verdict::of_lend(&lend, "lent outside the pool"));
        }
        self.lends.push(lend);
    }

    /// The driver unmapped all frames and masks, as it does before it configures others. They count as
    /// taken back from here on.
    pub fn reclaim(&mut self) {
        let (kept, gone) = std::mem::take(&mut self.lends)
            .into_iter()
            .partition(|lend| lend.kind == LendKind::SelfTest);
        self.lends = kept;
        self.past.extend::<Vec<_>>(gone);
    }

    /// Enters the next entry of the card's journal.
    pub fn entry(&mut self, entry: &Entry) {
        if self.next_entry.is_some_and(|next| next != entry.sequence) {
            self.report(verdict::incomplete(entry.sequence));
        }
        self.next_entry = Some(entry.sequence.wrapping_add(1));
        self.time_ns = entry.time_ns;
        let sequence = entry.sequence;
        match entry.kind {
            Kind::Access {
                direction,
                address,
                length,
                slot,
                job,
                outcome,
            } => {
                let access = classify::Access {
                    sequence,
                    direction,
                    address,
                    length,
                    slot,
                    job,
                    outcome,
                };
                self.account(&access);
                if let Some(violation) = self.judge(&access) {
                    self.report(violation);
                }
            }
            Kind::Register {
                offset,
                ref name,
                value,
                ..
            } => {
                let write = RegisterWrite {
                    sequence,
                    offset,
                    name: name.to_string(),
                    value,
                };
                self.registers.insert(sequence, write);
            }
            Kind::Queued { slot, .. } => self.own(1u32.checked_shl(slot.into()), Owner::Card),
            Kind::TakenBack { slots, .. } => self.own(Some(slots), Owner::Driver),
            Kind::JobBegun {
                job,
                sequence: frame,
                base,
                register_write,
                ..
            } => {
                self.no_more_awaited();
                let begun = Job {
                    frame: Some(frame),
                    base,
                    register_write,
                    ..Job::default()
                };
                self.jobs.insert(job, begun);
            }
            Kind::JobDone {
                job,
                slot,
                result,
                bytes,
                interrupt_enabled,
            } => {
                self.no_more_awaited();
                self.done(sequence, job, slot, result, bytes);
                let awaited = Awaited {
                    job,
                    slot,
                    sequence,
                    time_ns: entry.time_ns,
                };
                self.awaited = interrupt_enabled.then_some(awaited);
            }
            Kind::Interrupt { .. } | Kind::InterruptHeld { .. } => self.awaited = None,
            Kind::Idle { register_write } => self.silence(sequence, register_write, "stop"),
            Kind::Reset { .. } => self.silence(sequence, None, "reset"),
            Kind::Disconnected => self.silence(sequence, None, "disconnection"),
            Kind::Unclaimed { .. }
            | Kind::Stopping { .. }
            | Kind::BusMaster { .. }
            | Kind::PowerState { .. }
            | Kind::FirstRead { .. }
            | Kind::Connected
            | Kind::Refused { .. }
            | Kind::Call(_)
            | Kind::Attached { .. }
            | Kind::WitnessGap { .. }
            | Kind::Symbol { .. }
            | Kind::Driver { .. }
            | Kind::KernelDown
            | Kind::BusMapped { .. }
            | Kind::BusUnmapped { .. }
            | Kind::Decoding { .. }
            | Kind::Illegal { .. }
            | Kind::FetchChanged { .. }
            | Kind::Delayed { .. }
            | Kind::Arrived { .. } => {}
        }
    }

    /// What went wrong so far, in the order found.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Ends the ledger: every violation, in the order found.
    pub fn finish(mut self) -> Vec<Violation> {
        self.no_more_awaited();
        if self.uncounted > 0 {
            self.violations.push(verdict::uncounted(self.uncounted));
        }
        self.violations
    }

    fn own(&mut self, slots: Option<u32>, owner: Owner) {
        let slots = slots.unwrap_or(0);
        for (number, slot) in self.owners.iter_mut().enumerate() {
            if slots >> number & 1 != 0 {
                *slot = owner;
            }
        }
    }

    fn silence(&mut self, since: u64, register_write: Option<u64>, why: &'static str) {
        self.no_more_awaited();
        for slot in &mut self.owners {
            if *slot == Owner::Card {
                *slot = Owner::Driver;
            }
        }
        self.last_silence = Some(Silence {
            since,
            register_write,
            why,
        });
    }

    /// Adds an access to what is known of its job.
    fn account(&mut self, access: &classify::Access) {
        let job = access.job.and_then(|job| self.jobs.get_mut(&job));
        if let Some(job) = job
            && access.direction == Direction::Write
        {
            job.first_write.get_or_insert(access.address);
            if access.outcome.is_ok() {
                job.written = job.written.saturating_add(access.length);
            }
        }
    }

    fn done(&mut self, sequence: u64, number: u64, slot: u8, result: u8, bytes: u64) {
        let job = self.jobs.entry(number).or_default();
        job.done = Some(sequence);
        let job = *job;
        if result == 0 && bytes > job.written {
            let mut violation = verdict::short(sequence, number, &job, slot, bytes);
            violation.time_ns = self.time_ns;
            let violation = self.with_write(violation, job.register_write);
            self.report(violation);
        }
    }

    /// Whoever was to be interrupted has not been, and something else happens already.
    fn no_more_awaited(&mut self) {
        let Some(awaited) = self.awaited.take() else {
            return;
        };
        let job = self.jobs.get(&awaited.job).copied().unwrap_or_default();
        let mut violation =
            verdict::lost_interrupt(awaited.sequence, awaited.job, &job, awaited.slot);
        violation.time_ns = awaited.time_ns;
        let violation = self.with_write(violation, job.register_write);
        self.report(violation);
    }

    fn with_write(&self, mut violation: Violation, sequence: Option<u64>) -> Violation {
        violation.register_write = sequence.and_then(|s| self.registers.get(&s).cloned());
        violation
    }

    /// Keeps a violation; one that goes on where the last of the same job and class ended is added to it.
    fn report(&mut self, violation: Violation) {
        if let Some(last) = self.violations.last_mut()
            && last.continues_with(&violation)
        {
            last.length = last.length.saturating_add(violation.length);
            last.accesses += violation.accesses;
        } else if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(violation);
        } else {
            self.uncounted += 1;
        }
    }
}

#[cfg(test)]
mod tests;
