// SPDX-License-Identifier: MIT OR Apache-2.0

//! The ledger: what a driver lent, and the verdict on everything a card did with it. Pure.
//!
//! It is fed with the card's journal, entry by entry ([`Ledger::entry`]), and says the same whether that is done
//! while the guest runs or later. What is lent it knows from two sources:
//!
//! - The witness in the guest, whose entries are in the journal: every call of the DMA API, of vb2 and of the
//!   pool. It counts from [`Kind::Attached`] on; without that entry nothing of it does.
//! - The agent, that is our own driver's word ([`Ledger::lend`], [`Ledger::reclaim`]): ranges with slots. From when to
//!   when a frame's range is the card's follows from the journal: from the write to `QUEUE` until the driver takes
//!   the slot back, the card says idle, or it is reset. A self-test area is always lent.
//!
//! With both, an access must be right by both. A violation is classed by what happened alone; the ledger does not
//! know which fault was planted. The classes are those of [`class`]; each rule, with what it needs, is a function
//! in `rules`.

mod book;
mod bounded;
pub mod class;
mod classify;
mod rules;
mod shelf;
mod types;
mod verdict;
mod witness;

use crate::dma::journal::{Direction, Entry, Kind};
use crate::function::RegisterName;
use bounded::Bounded;
use rules::engine::Engine;
use shelf::Shelf;
pub use types::{Lend, LendDirection, LendKind, Platform, Range};
pub use verdict::{Caller, NearLend, RegisterWrite, Violation};
use witness::{Brief, Witness};

/// Most violations that are kept one by one; further ones are only counted.
pub const MAX_VIOLATIONS: usize = 1000;
/// Most jobs, and most register writes, that are remembered.
const MOST_REMEMBERED: usize = 1 << 16;

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

/// What is known of a slot.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    owner: Owner,
    /// Where its frame is, as it was queued; more exactly from when its job begins.
    frame: Range,
    /// It was queued, and its job has not begun.
    waits: bool,
    /// What the driver wrote to its registers.
    programmed: Range,
    /// The frame was taken back although the slot is the card's: a class, and which violation says so.
    blamed: Option<(u8, usize)>,
}

/// What is known of a job.
#[derive(Clone, Copy, Debug, Default)]
struct Job {
    frame: Option<u32>,
    slot: Option<u8>,
    base: u64,
    /// Bytes that it was programmed to write; 0: not known.
    size: u64,
    register_write: Option<u64>,
    first_write: Option<u64>,
    /// First address after its last write.
    next: Option<u64>,
    /// Its last write went on where the one before had ended.
    continues: bool,
    written: u64,
    /// Journal sequence number of its beginning.
    begun: Option<u64>,
    /// Journal sequence number of its completion.
    done: Option<u64>,
    /// Its interrupt came before its end.
    early: bool,
    /// What was wrong with it as a whole: a class, and which violation said so.
    blamed: Option<(u8, usize)>,
}

impl Job {
    /// The bytes that it was programmed to write.
    const fn range(&self) -> Range {
        Range {
            start: self.base,
            length: self.size,
        }
    }
}

/// A register write that may have to be shown.
#[derive(Clone, Debug)]
struct Written {
    offset: u64,
    name: RegisterName,
    value: u32,
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
    shelf: Shelf,
    slots: [Slot; 32],
    jobs: Bounded<u64, Job, MOST_REMEMBERED>,
    registers: Bounded<u64, Written, MOST_REMEMBERED>,
    last_silence: Option<Silence>,
    awaited: Option<Awaited>,
    /// A completion that reports more than was written: the job, and what to say if nothing follows.
    short: Option<(u64, Violation)>,
    engine: Engine,
    witness: Witness,
    next_entry: Option<u64>,
    /// Number of the entry in hand.
    sequence: u64,
    /// Time of the entry in hand.
    time_ns: u64,
    told_full: bool,
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
        if !self.shelf.put(lend) {
            self.full();
        }
    }

    /// The driver unmapped all frames and masks, as it does before it configures others. They count as
    /// taken back from here on.
    pub fn reclaim(&mut self) {
        self.shelf.reclaim();
    }

    /// Enters the next entry of the card's journal.
    pub fn entry(&mut self, entry: &Entry) {
        if self.next_entry.is_some_and(|next| next != entry.sequence) {
            self.report(verdict::incomplete(entry.sequence));
            self.witness.blind = true;
        }
        self.next_entry = Some(entry.sequence.wrapping_add(1));
        self.sequence = entry.sequence;
        self.time_ns = entry.time_ns;
        self.told(entry);
        self.engine.saw(&entry.kind);
    }

    fn told(&mut self, entry: &Entry) {
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
                self.judge_access(&access);
                self.engine.moved(access.range().end());
            }
            Kind::Register {
                offset,
                ref name,
                value,
                ..
            } => {
                let written = Written {
                    offset,
                    name: name.clone(),
                    value,
                };
                self.registers.insert(sequence, written);
                self.engine.written(name, value);
                self.programmed(name, value);
                self.judge_written(sequence, name);
            }
            Kind::Queued {
                slot,
                register_write,
            } => {
                self.queued(slot);
                self.judge_queued(slot, register_write);
                self.own(1u32.checked_shl(slot.into()), Owner::Card);
            }
            Kind::TakenBack { slots, .. } => self.own(Some(slots), Owner::Driver),
            Kind::JobBegun {
                job,
                slot,
                sequence: frame,
                base,
                size,
                register_write,
            } => {
                self.no_more_awaited();
                let begun = Job {
                    frame: Some(frame),
                    slot: Some(slot),
                    base,
                    size,
                    register_write,
                    begun: Some(sequence),
                    ..Job::default()
                };
                self.jobs.insert(job, begun);
                self.engine.begin(job);
                if let Some(slot) = self.slots.get_mut(usize::from(slot)) {
                    slot.frame = begun.range();
                    slot.waits = false;
                    if let (Some(blamed), Some(job)) = (slot.blamed.take(), self.jobs.get_mut(job))
                    {
                        job.blamed = Some(blamed);
                    }
                }
                self.judge_begun(job);
            }
            Kind::JobDone {
                job,
                slot,
                result,
                bytes,
                interrupt_enabled,
            } => {
                self.no_more_awaited();
                self.done(job, slot, result, bytes);
                let awaited = Awaited {
                    job,
                    slot,
                    sequence,
                    time_ns: entry.time_ns,
                };
                let early = self.jobs.get(job).is_some_and(|job| job.early);
                self.awaited = (interrupt_enabled && !early).then_some(awaited);
                self.engine.end(job);
            }
            Kind::Interrupt { vector } => {
                self.awaited = None;
                self.judge_interrupt(vector);
            }
            Kind::InterruptHeld { vector } => {
                self.awaited = None;
                self.judge_held(vector);
            }
            Kind::Idle { register_write } => self.silence(sequence, register_write, "stop"),
            Kind::Reset { reset } => {
                self.silence(sequence, None, "reset");
                self.struck(reset);
            }
            Kind::Disconnected => {
                self.silence(sequence, None, "disconnection");
                self.disconnected();
            }
            Kind::BusMaster { on } => self.witness.life.mastered |= on,
            Kind::Decoding { on } => self.judge_decoding(on),
            Kind::Unclaimed { bar, offset, write } => self.judge_unclaimed(bar, offset, write),
            Kind::Call(ref call) => self.call(call),
            Kind::Attached {
                text_start,
                text_end,
            } => {
                let length = text_end.saturating_sub(text_start);
                let start = text_start;
                self.witness
                    .attach(Range { start, length }, self.platform.iommu);
            }
            Kind::WitnessGap { expected, got } => self.gap(expected, got),
            Kind::Symbol { address, ref name } => self.witness.name(address, name),
            Kind::Driver { ref driver, state } => self.driver(driver, state),
            Kind::Illegal {
                register_write,
                ref what,
            } => self.judge_illegal(register_write, what),
            Kind::FetchChanged {
                slot,
                address,
                register_write,
            } => self.judge_fetch(slot, address, register_write),
            Kind::Refused { ref what } => self.refused(what),
            Kind::Stopping { .. }
            | Kind::PowerState { .. }
            | Kind::FirstRead { .. }
            | Kind::Connected
            | Kind::KernelDown
            | Kind::Unheard { .. }
            | Kind::Elsewhere { .. }
            | Kind::BusMapped { .. }
            | Kind::BusUnmapped { .. }
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
        self.not_recovered();
        self.leaks_due();
        self.pool_leaks();
        if self.uncounted > 0 {
            self.violations.push(verdict::uncounted(self.uncounted));
        }
        self.violations
    }

    fn own(&mut self, slots: Option<u32>, owner: Owner) {
        let slots = slots.unwrap_or(0);
        for (number, slot) in self.slots.iter_mut().enumerate() {
            if slots >> number & 1 != 0 {
                slot.owner = owner;
            }
        }
    }

    /// The driver wrote a register; some say where a slot's frame is.
    fn programmed(&mut self, name: &RegisterName, value: u32) {
        let slot = name.index.and_then(|index| self.slots.get_mut(index));
        let Some(Range { start, length }) = slot.map(|slot| &mut slot.programmed) else {
            return;
        };
        match name.name.as_ref() {
            "SLOT_BASE_LO" => *start = *start >> 32 << 32 | u64::from(value),
            "SLOT_BASE_HI" => *start = *start & 0xffff_ffff | u64::from(value) << 32,
            "SLOT_SIZE" => *length = value.into(),
            _ => {}
        }
    }

    /// A slot was handed to the card, with what was programmed, if something was.
    fn queued(&mut self, slot: u8) {
        if let Some(slot) = self.slots.get_mut(usize::from(slot)) {
            slot.blamed = None;
            slot.waits = true;
            if slot.programmed != Range::default() {
                slot.frame = slot.programmed;
            }
        }
    }

    fn owner(&self, slot: Option<u8>) -> Owner {
        let slot = slot.and_then(|slot| self.slots.get(usize::from(slot)));
        slot.map_or(Owner::Nobody, |slot| slot.owner)
    }

    fn silence(&mut self, since: u64, register_write: Option<u64>, why: &'static str) {
        self.no_more_awaited();
        for slot in &mut self.slots {
            slot.blamed = None;
            slot.waits = false;
            if slot.owner == Owner::Card {
                slot.owner = Owner::Driver;
            }
        }
        self.engine.silent();
        self.last_silence = Some(Silence {
            since,
            register_write,
            why,
        });
    }

    /// Adds an access to what is known of its job.
    fn account(&mut self, access: &classify::Access) {
        let job = access.job.and_then(|job| self.jobs.get_mut(job));
        if let Some(job) = job
            && access.direction == Direction::Write
        {
            job.first_write.get_or_insert(access.address);
            job.continues = job.next == Some(access.address);
            job.next = Some(access.range().end());
            if access.outcome.is_ok() {
                job.written = job.written.saturating_add(access.length);
            }
        }
    }

    fn done(&mut self, number: u64, slot: u8, result: u8, bytes: u64) {
        let sequence = self.sequence;
        if self.jobs.get(number).is_none() {
            self.jobs.insert(number, Job::default());
        }
        let Some(job) = self.jobs.get_mut(number) else {
            return; // there are many, and all are newer
        };
        job.done = Some(sequence);
        let job = *job;
        if result != 0 {
            return;
        }
        self.dirtied(&job, slot);
        if bytes <= job.written {
            return;
        }
        if let Some(violation) = self.too_long(number, &job, slot, bytes) {
            self.report(violation);
            return;
        }
        let mut violation = verdict::short(sequence, number, &job, slot, bytes);
        violation.time_ns = self.time_ns;
        let violation = self.with_write(violation, job.register_write);
        // The card may yet write the rest; then it said so too early.
        self.short = Some((number, violation));
    }

    /// Whoever was to be interrupted has not been, and something else happens already; nor were the bytes that
    /// are missing written.
    fn no_more_awaited(&mut self) {
        if let Some((_, violation)) = self.short.take() {
            self.report(violation);
        }
        let Some(awaited) = self.awaited.take() else {
            return;
        };
        let job = self.jobs.get(awaited.job).copied().unwrap_or_default();
        let mut violation =
            verdict::lost_interrupt(awaited.sequence, awaited.job, &job, awaited.slot);
        violation.time_ns = awaited.time_ns;
        let violation = self.with_write(violation, job.register_write);
        self.report(violation);
    }

    fn with_write(&self, mut violation: Violation, sequence: Option<u64>) -> Violation {
        violation.register_write = sequence.and_then(|sequence| {
            let written = self.registers.get(sequence)?;
            Some(RegisterWrite {
                sequence,
                offset: written.offset,
                name: written.name.to_string(),
                value: written.value,
            })
        });
        violation
    }

    /// A violation that the entry in hand shows.
    fn violation(&self, class: u8, name: &'static str, text: String) -> Violation {
        let mut violation = verdict::bare(self.sequence, Some(class), name, text);
        violation.time_ns = self.time_ns;
        violation
    }

    /// The same, by a call of the driver's.
    fn of_call(&self, class: u8, name: &'static str, by: Brief, text: String) -> Violation {
        let mut violation = self.violation(class, name, text);
        violation.call = Some(self.witness.caller(by));
        violation
    }

    /// More is lent than the ledger can hold: what is lent is not known any more.
    fn full(&mut self) {
        self.witness.blind = true;
        if !std::mem::replace(&mut self.told_full, true) {
            let text = "more is lent than the ledger can hold: no verdict on it".to_owned();
            let mut violation = verdict::bare(self.sequence, None, "too many lends", text);
            violation.time_ns = self.time_ns;
            self.report(violation);
        }
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
