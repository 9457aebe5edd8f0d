// SPDX-License-Identifier: MIT OR Apache-2.0

//! The ledger: what a driver lent, and the verdict on everything a card did with it. Pure.
//!
//! It is fed with the card's journal, entry by entry ([`Ledger::entry`]), and says the same whether that is done
//! while the guest runs or later. What is lent it knows from two sources:
//!
//! - The witness in the guest, whose entries are in the journal: every call of the DMA API, of vb2 and of the
//!   pool. It counts from [`Kind::Attached`] on; without that entry nothing of it does.
//! - The agent, that is our own driver's word ([`Ledger::lend`], [`Ledger::reclaim`]): ranges with slots. From when to
//!   when a slot's ranges are the card's follows from what the card declares: from when it accepts a job for that slot
//!   until the driver takes that back, the card says idle, or it is reset. A self-test area is always lent.
//!
//! With both, an access must be right by both; with neither, where it lands is not judged, which is no clean verdict. A
//! violation is classed by what happened alone; the ledger does not know which fault was planted, nor any card: what it
//! knows of one is what that declares ([`crate::contract::declare`]), and where a rule needs what is not declared it is
//! silent. The classes are those of [`class`]; each rule, with what it needs, is a function in `rules`.

mod book;
mod bounded;
mod card;
pub mod class;
mod classify;
mod held;
mod job;
mod rules;
mod shelf;
mod types;
mod verdict;
mod witness;

use std::collections::{BTreeMap, HashMap};

use crate::contract::{
    Declaration, Declares, Direction, DmaError, JobId, QueueId, RegisterName, Role,
};
use crate::journal::{CpuAccess, Entry, Kind, Outcome, Unordered};
use bounded::Bounded;
use card::Card;
pub use class::Class;
use held::Brief;
use job::{Job, Jobs, Silence, State};
use rules::interrupts::Interrupts;
use rules::words::Words;
use shelf::Shelf;
pub use types::{Lend, LendKind, Platform, Range};
pub use verdict::{Caller, Group, Instruction, Judgement, NearLend, RegisterWrite, Violation};
use witness::Witness;

/// Most violations that are kept one by one; further ones are only counted.
pub const MAX_VIOLATIONS: usize = 1000;
/// Most queues of which a short transfer is waited for.
const MOST_SHORT: usize = 4096;
/// Most jobs, and most register writes, that are remembered.
const MOST_REMEMBERED: usize = 1 << 16;
/// What the machine took away under the card.
const LOST: &str =
    "the memory behind a mapping is gone: whose file it is made that shorter, or it takes no bytes";
/// Most accesses of the CPU of which names are asked.
const MOST_NAMED: usize = 64;
/// Most reasons why something was not judged, and most calls that nobody hears.
const MOST_REASONS: usize = 64;

/// Whose a slot is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Owner {
    /// It was never handed over.
    #[default]
    Nobody,
    /// The card's.
    Card,
    /// The driver's again.
    Driver,
}

/// A register write that may have to be shown.
#[derive(Clone, Debug)]
struct Written {
    offset: u64,
    name: RegisterName,
    value: u64,
    time_ns: u64,
}

/// The ledger; see the module.
#[derive(Debug, Default)]
pub struct Ledger {
    platform: Platform,
    declares: Declares,
    shelf: Shelf,
    jobs: Jobs,
    registers: Bounded<u64, Written, MOST_REMEMBERED>,
    interrupts: Interrupts,
    /// Completions that report more than was written, by queue: the job, and what to say if nothing follows.
    short: BTreeMap<QueueId, (JobId, Violation)>,
    card: Card,
    witness: Witness,
    words: Words,
    next_entry: Option<u64>,
    /// The first entry after the last that are missing; 0: none is.
    gap: u64,
    /// Number of the entry in hand.
    sequence: u64,
    /// Time of the entry in hand.
    time_ns: u64,
    /// Accesses of the CPU's, told before what settled them.
    pending: Vec<CpuAccess>,
    /// Stores in no order with a register's write that the card has not read for it, so far.
    unordered: Vec<Unordered>,
    /// Accesses of which nobody said whether that memory was lent.
    unknown: u64,
    told_full: bool,
    /// A witness was there, whether it still is or not.
    watched: bool,
    /// It lost something, at some time.
    blind: bool,
    found: Found,
}

/// What was found.
#[derive(Debug, Default)]
struct Found {
    violations: Vec<Violation>,
    hints: Vec<Violation>,
    /// Violations by their cause.
    causes: HashMap<verdict::Cause, usize>,
    uncounted: u64,
    not_judged: Vec<String>,
    unheard: Vec<String>,
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
            let number = entry.sequence;
            self.not_judged(format!("the journal lacks entries before number {number}"));
            self.witness.blind = true;
            // What jobs in work moved, and what is owed or masked, is not known any more.
            self.gap = number;
            self.short.clear();
            self.interrupts.reset();
            (self.declares.interrupts, self.declares.masks) = (false, false);
        }
        self.next_entry = Some(entry.sequence.wrapping_add(1));
        self.sequence = entry.sequence;
        self.time_ns = entry.time_ns;
        self.told(&entry.kind);
        self.card.saw(&entry.kind);
    }

    fn told(&mut self, kind: &Kind) {
        let sequence = self.sequence;
        match *kind {
            Kind::Access {
                direction,
                address,
                length,
                job,
                slot,
                role,
                outcome,
                ref bytes,
            } => {
                let of_job = || self.jobs.get(job?)?.label.slot;
                let mut access = classify::Access {
                    sequence,
                    direction,
                    address,
                    length,
                    slot: slot.or_else(of_job),
                    job,
                    role,
                    outcome,
                };
                self.account(&access);
                if outcome == Outcome::Refused(DmaError::Lost) {
                    // No fault of its own: where it went to is judged as ever.
                    access.outcome = Outcome::Ok;
                    self.not_judged(LOST.to_owned());
                }
                self.cpu_moved(&access);
                self.judge_access(&access);
                self.words.saw(direction, address, bytes);
                self.card.moved(access.range().end());
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
                    time_ns: self.time_ns,
                };
                self.registers.insert(sequence, written);
                self.judge_written(sequence, name);
            }
            Kind::Declares(ref declares) => self.declares = declares.clone(),
            Kind::Declared {
                register_write,
                ref what,
            } => self.declared(register_write, what),
            Kind::Interrupt { vector } => self.interrupt(vector),
            Kind::InterruptHeld { vector } => self.interrupt_held(vector),
            Kind::Reset { reset } => {
                self.silence(None, None, "reset");
                self.interrupts.reset();
                self.struck(reset);
            }
            Kind::Disconnected => {
                self.silence(None, None, "disconnection");
                self.interrupts.reset();
                self.disconnected();
            }
            Kind::BusMaster { on } => self.witness.life.mastered |= on,
            Kind::Decoding { on } => self.judge_decoding(on),
            Kind::Unclaimed {
                bar, offset, write, ..
            } => self.judge_unclaimed(bar, offset, write),
            Kind::Call(ref call) => {
                self.call(call);
                self.cpu_heard(call);
            }
            Kind::CpuWatched => self.cpu_watched(),
            Kind::Cpu(ref access) => self.cpu(access),
            Kind::Unordered(ref two) => self.unordered(two),
            Kind::CpuLost { count } => self.not_judged(format!(
                "{count} accesses of the CPU's, or lends, were more than could be kept"
            )),
            Kind::Attached {
                text_start,
                text_end,
                syncs,
            } => {
                let length = text_end.saturating_sub(text_start);
                let start = text_start;
                let text = Range { start, length };
                let line = self.platform.cache_line;
                self.watched = true;
                self.witness.attach(text, self.platform.iommu, line, syncs);
            }
            Kind::WitnessGap { expected, got } => self.gap(expected, got),
            Kind::Unheard { ref what, others } => self.unheard(what, others),
            Kind::Elsewhere { .. } => self.elsewhere(kind),
            Kind::Symbol { address, ref name } => self.witness.name(address, name),
            Kind::Driver { ref driver, state } => self.driver(driver, state),
            Kind::Refused { ref what } => self.refused(what),
            Kind::PowerState { .. }
            | Kind::Spinning { .. }
            | Kind::FirstRead { .. }
            | Kind::Connected
            | Kind::KernelDown
            | Kind::BusMapped { .. }
            | Kind::BusUnmapped { .. } => {}
        }
    }

    /// The card tells of its own work.
    fn declared(&mut self, write: Option<u64>, what: &Declaration) {
        match what {
            Declaration::Accepted {
                job,
                queue,
                label,
                pieces,
            } => {
                let accepted = Job {
                    register_write: write,
                    told_ns: self.time_ns,
                    touched: self.sequence,
                    ..Job::new(*queue, *label, pieces)
                };
                self.judge_handed_over(*job, &accepted, true);
                self.jobs.enter(*job, accepted);
            }
            Declaration::Begun {
                job,
                queue,
                label,
                pieces,
            } => {
                self.settle_queue(Some(*queue));
                let accepted = self.jobs.get(*job);
                let begun = Job {
                    register_write: write.or(accepted.and_then(|job| job.register_write)),
                    blamed: accepted.and_then(|job| job.blamed),
                    told_ns: accepted.map_or(self.time_ns, |job| job.told_ns),
                    state: State::Begun,
                    touched: self.sequence,
                    ..Job::new(*queue, *label, pieces)
                };
                let fresh = accepted.is_none();
                self.judge_handed_over(*job, &begun, fresh);
                self.jobs.enter(*job, begun);
                self.jobs.queue(*queue).ran = true;
                self.judge_begun(*job);
            }
            Declaration::Done {
                job,
                error,
                moved,
                owed,
            } => {
                let queue = self.jobs.get(*job).map(|job| job.queue);
                if queue.is_some() {
                    self.settle_queue(queue);
                }
                self.done(*job, error.is_none(), *moved);
                let early = self.jobs.get(*job).is_some_and(|job| job.early);
                if let Some(owed) = owed {
                    self.owe(*owed, Some(*job), queue, early, "its completion");
                }
            }
            Declaration::Released { job } => self.jobs.release(*job),
            Declaration::Stopping { .. } => self.overdue(),
            Declaration::Idle { queue } => self.silence(*queue, write, "stop"),
            Declaration::Cause { owed, why } => self.owe(*owed, None, None, false, why),
            Declaration::Masked { vector, masked } => {
                self.overdue();
                self.interrupts.mask(*vector, *masked);
            }
            Declaration::NotNow { why } => self.judge_illegal(write, why),
            Declaration::Changed { job, address } => self.judge_fetch(*job, *address, write),
            Declaration::Reset => {
                self.silence(None, write, "reset");
                self.interrupts.reset();
            }
            Declaration::Gone { why } => self.not_judged(why.clone().into_owned()),
            Declaration::Delayed | Declaration::Arrived { .. } => {}
        }
    }

    /// What went wrong so far, in the order found.
    pub fn violations(&self) -> &[Violation] {
        &self.found.violations
    }

    /// Addresses in the guest's kernel that have no name yet and are about to be told: instructions, and who called them.
    pub fn nameless(&self) -> Vec<u64> {
        let told = self.found.violations.iter().chain(&self.found.hints);
        let told = told.take(MOST_NAMED).flat_map(Violation::instructions);
        let pending = self.pending.iter().take(MOST_NAMED);
        let pending =
            pending.flat_map(|access| [access.pc].into_iter().chain(access.stack.clone()));
        let stores = self.unordered.iter().take(MOST_NAMED);
        let stores =
            stores.flat_map(|two| [two.pc, two.other_pc].into_iter().chain(two.stack.clone()));
        let kernels = (told.chain(pending).chain(stores)).filter(|address| address >> 63 != 0);
        let nameless = kernels.filter(|address| self.witness.symbol(*address).is_none());
        let mut nameless: Vec<_> = nameless.collect();
        nameless.sort_unstable();
        nameless.dedup();
        nameless
    }

    /// Ends the ledger: all that it has to say.
    pub fn finish(mut self) -> Judgement {
        self.settle_queue(None);
        self.overdue();
        self.not_taken();
        self.not_recovered();
        self.leaks_due();
        self.pool_leaks();
        self.found_elsewhere();
        self.cpu_ends();
        self.name_instructions();
        if self.unknown > 0 {
            let (count, unheard) = (self.unknown, &self.found.unheard);
            let why = match unheard.is_empty() {
                true => String::new(),
                false => format!(": the witness does not hear {}", unheard.join(", ")),
            };
            self.not_judged(format!(
                "nobody told what was lent when the card accessed memory, {count} times{why}"
            ));
        }
        if self.found.uncounted > 0 {
            let count = self.found.uncounted;
            let text = format!("{count} more violations, not listed");
            let more = verdict::bare(u64::MAX, None, "more violations", text);
            self.found.violations.push(more);
        }
        Judgement {
            groups: self.groups(),
            violations: self.found.violations,
            hints: self.found.hints,
            not_judged: self.found.not_judged,
            unheard: self.found.unheard,
        }
    }

    fn owner(&self, slot: Option<u32>) -> Owner {
        let job = slot.and_then(|slot| self.jobs.of_slot(slot));
        job.map_or(Owner::Nobody, |job| match job.state {
            State::Accepted | State::Begun | State::Done => Owner::Card,
            State::Released => Owner::Driver,
        })
    }

    fn silence(&mut self, queue: Option<QueueId>, register_write: Option<u64>, why: &'static str) {
        self.settle_queue(queue);
        self.overdue();
        self.not_taken();
        let silence = Silence {
            since: self.sequence,
            register_write,
            why,
        };
        self.interrupts.idle(queue);
        self.jobs.silent(queue, silence);
    }

    /// Adds an access to what is known of its job.
    fn account(&mut self, access: &classify::Access) {
        let job = access.job.and_then(|job| self.jobs.get_mut(job));
        let Some(job) = job.filter(|_| access.role == Role::Payload) else {
            return;
        };
        let moved = match access.outcome.is_ok() {
            true => access.length,
            false => 0,
        };
        match access.direction {
            Direction::Write => {
                job.first_write.get_or_insert(access.address);
                job.continues = job.next == Some(access.address);
                job.next = Some(access.range().end());
                job.written = job.written.saturating_add(moved);
            }
            Direction::Read => job.read = job.read.saturating_add(moved),
        }
    }

    fn done(&mut self, number: JobId, complete: bool, told: u64) {
        let at = (self.sequence, self.time_ns);
        self.jobs.done(number, at, self.declares.handover);
        let Some(job) = self.jobs.get(number).cloned() else {
            return; // it was not told of, or is forgotten
        };
        if !complete || job.touched < self.gap {
            return;
        }
        self.dirtied(number, &job, told);
        let moved = match job.writes() {
            true => job.written,
            false => job.read,
        };
        if told <= moved || !job.is_placed() {
            return;
        }
        if let Some(violation) = self.too_long(number, &job, told) {
            self.report(violation);
            return;
        }
        let verb = if job.writes() { "written" } else { "read" };
        let text = format!("{job} was completed as {told} bytes, {moved} were {verb}");
        let mut violation = self.of_job(Class::ShortTransfer, number, &job, text);
        violation.address = job.main().start.wrapping_add(moved);
        violation.length = told - moved;
        // The card may yet write the rest; then it said so too early.
        if self.short.len() < MOST_SHORT || self.short.contains_key(&job.queue) {
            self.short.insert(job.queue, (number, violation));
        }
    }

    /// Something else happens in a queue, or in all: whoever was to be interrupted at once has not been, nor were the
    /// bytes that are missing written.
    fn settle_queue(&mut self, queue: Option<QueueId>) {
        let short = match queue {
            Some(queue) => self.short.remove(&queue).into_iter().collect(),
            None => Vec::from_iter(std::mem::take(&mut self.short).into_values()),
        };
        for (_, violation) in short {
            self.report(violation);
        }
        self.not_interrupted(queue);
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
    fn violation(&self, class: Class, text: String) -> Violation {
        let mut violation = verdict::bare(self.sequence, Some(class), "", text);
        violation.time_ns = self.time_ns;
        violation
    }

    /// The same, by a call of the driver's.
    fn of_call(&self, class: Class, by: Brief, text: String) -> Violation {
        let mut violation = self.violation(class, text);
        violation.call = Some(self.witness.caller(by));
        violation
    }

    /// The same, of a job, with the register write that handed it over.
    fn of_job(&self, class: Class, number: JobId, job: &Job, text: String) -> Violation {
        let violation = verdict::of_job(self.violation(class, text), number, job);
        self.with_write(violation, job.register_write)
    }

    /// More is lent than the ledger can hold: what is lent is not known any more.
    fn full(&mut self) {
        self.witness.blind = true;
        if !std::mem::replace(&mut self.told_full, true) {
            self.not_judged("more is lent than the ledger can hold".to_owned());
        }
    }

    /// Something is not known any more: a clean verdict would be worth nothing.
    fn not_judged(&mut self, why: String) {
        self.blind = true;
        if self.found.not_judged.len() < MOST_REASONS && !self.found.not_judged.contains(&why) {
            self.found.not_judged.push(why);
        }
    }

    /// Keeps a violation; one of the same cause as another is added to that.
    fn report(&mut self, violation: Violation) {
        let violation = self.named(violation);
        let found = &mut self.found;
        let cause = violation.cause();
        let known = cause.and_then(|cause| found.causes.get(&cause).copied());
        if let Some(known) = known.and_then(|known| found.violations.get_mut(known))
            && known.join(&violation)
        {
            return;
        }
        if found.violations.len() >= MAX_VIOLATIONS {
            found.uncounted += 1;
            return;
        }
        if let Some(cause) = cause {
            found.causes.insert(cause, found.violations.len());
        }
        found.violations.push(violation);
    }

    /// Keeps what may be wrong, and may not.
    fn hint(&mut self, hint: Violation) {
        let hint = self.named(hint);
        if self.found.hints.len() < MAX_VIOLATIONS {
            self.found.hints.push(hint);
        }
    }
}

#[cfg(test)]
mod generated_tests;
#[cfg(test)]
mod tests;
