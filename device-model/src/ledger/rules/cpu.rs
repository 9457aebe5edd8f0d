// SPDX-License-Identifier: MIT OR Apache-2.0

//! The CPU's side: loads and stores of bytes that were the card's (`Documentation/core-api/dma-api-howto.rst`: a buffer that is mapped
//! belongs to the device until it is unmapped or synced).
//!
//! - A *load* of bytes that the card may write is wrong at once: a CPU that keeps them in its cache sees old ones. If the card wrote
//!   them since they became its own, the sync for the CPU is what is missing (37), else the driver looked too early (61).
//! - A *store* is wrong only if the card gets at those bytes before they change hands: drivers fill a mapped buffer and then sync it. One
//!   after the doorbell that the card then reads is class 34, any other 62. Stores that were told as one, and of which it is not known
//!   whether those bytes were among the ones before, are a hint.
//! - What the kernel does by itself, or for a program, and not for a driver (no module made the access, nor called what did) is a hint.
//! - User space has buffers of its own only where somebody tells it when they are its: a video buffer that is queued (63). What else
//!   it does is a hint: a program may scribble in memory that the kernel has lent on its behalf.
//!
//! An access is told late, when its bytes have changed hands; what it is held against is what the card did in between, by the
//! host's one clock.

use super::super::class::Class;
use super::super::classify::Access;
use super::super::held::{Held, Moved, Turn};
use super::super::verdict::Instruction;
use super::super::{Ledger, Range, Violation};
use crate::contract::{Direction, JobId};
use crate::journal::{Call, CpuAccess, DriverCall, Settled};

/// Most accesses that wait for the event that settled them.
const MOST_PENDING: usize = 4096;

/// What is said of an access.
struct Told {
    class: Class,
    text: String,
    /// The job that the card was at.
    job: Option<JobId>,
    /// It is a violation; else it may be.
    certain: bool,
}

impl Ledger {
    /// The CPU's accesses are told from here on.
    pub(in super::super) fn cpu_watched(&mut self) {
        self.witness.watches_cpu = true;
    }

    /// An access was told. The witness's own word of the same moment may still be on its way.
    pub(in super::super) fn cpu(&mut self, access: &CpuAccess) {
        let settled = access.settled.is_none_or(|(how, by)| {
            how == Settled::Unknown || self.witness.heard.is_some_and(|heard| heard >= by)
        });
        if settled {
            self.judge_cpu(access);
        } else if self.pending.len() < MOST_PENDING {
            self.pending.push(access.clone());
        } else {
            self.not_judged("more accesses of the CPU than can be kept".to_owned());
        }
    }

    /// The card got at memory.
    pub(in super::super) fn cpu_moved(&mut self, access: &Access) {
        if !self.witness.watches_cpu || !access.outcome.is_ok() {
            return;
        }
        let moved = Moved {
            range: access.range(),
            direction: access.direction,
            job: access.job,
            sequence: self.sequence,
            time_ns: self.time_ns,
        };
        for lend in self.witness.touching(moved.range) {
            if let Some(held) = self.witness.held_mut(lend) {
                held.moves(moved);
            }
        }
    }

    /// An event of the witness was heard, and is entered: what changed hands by it, and what it settled, can be judged.
    pub(in super::super) fn cpu_heard(&mut self, call: &DriverCall) {
        if !self.witness.watches_cpu {
            return;
        }
        self.witness.heard = Some(call.number);
        if matches!(
            call.call,
            Call::SyncForCpu | Call::SyncForDevice | Call::Queue | Call::Done
        ) {
            let range = Range {
                start: call.address,
                length: call.length,
            };
            for lend in self.witness.touching(range) {
                if let Some(held) = self.witness.held_mut(lend) {
                    held.turns(Turn {
                        range,
                        to_card: matches!(call.call, Call::SyncForDevice | Call::Queue),
                        event: call.number,
                        sequence: self.sequence,
                    });
                }
            }
        }
        for access in std::mem::take(&mut self.pending) {
            self.cpu(&access);
        }
    }

    /// What was not settled when the journal ended is judged by what is there.
    pub(in super::super) fn cpu_ends(&mut self) {
        for access in std::mem::take(&mut self.pending) {
            self.judge_cpu(&access);
        }
        self.unordered_again();
    }

    /// Gives instructions their names, which may have been asked for late. What no driver is known to have done is a hint: the kernel may
    /// write to a page that it has lent (a page of a file, while the disk reads it), since that is its own.
    pub(in super::super) fn name_instructions(&mut self) {
        self.name_each();
        let kernels = |violation: &Violation| {
            let instruction = violation.instruction.as_ref();
            instruction.is_some_and(|own| own.address >> 63 != 0 && !own.is_of_module())
        };
        let violations = std::mem::take(&mut self.found.violations);
        let (kernels, drivers): (Vec<_>, Vec<_>) = violations.into_iter().partition(kernels);
        self.found.violations = drivers;
        let room = super::super::MAX_VIOLATIONS.saturating_sub(self.found.hints.len());
        self.found.hints.extend(kernels.into_iter().take(room));
    }

    fn name_each(&mut self) {
        let found = &mut self.found;
        for violation in found.violations.iter_mut().chain(&mut found.hints) {
            let Some(instruction) = &mut violation.instruction else {
                continue;
            };
            instruction.name(|address| self.witness.symbol(address));
            if let Some(symbol) = &instruction.symbol {
                violation.text += &format!(": {symbol}");
            }
            if let Some(caller) = &instruction.caller {
                violation.text += &format!(", called from {caller}");
            }
            if let Some(symbol) = instruction
                .other
                .as_ref()
                .and_then(|other| other.symbol.as_ref())
            {
                violation.text += &format!("; the other: {symbol}");
            }
            instruction.stack.clear();
        }
    }

    fn judge_cpu(&mut self, access: &CpuAccess) {
        if !self.witness.sees() {
            return; // what is not lent any more may not have been told
        }
        let Some(held) = self.witness.by_event(access.lend, access.lend_number) else {
            return;
        };
        let held = held.clone();
        let range = Range {
            start: access.address,
            length: access.length,
        };
        let told = match access.store {
            true => self.stored(access, &held, range),
            false => self.loaded(access, &held, range),
        };
        let Some(Told {
            class,
            text,
            job,
            certain,
        }) = told
        else {
            return;
        };
        let mut violation = self.of_held(class, &held, range, text);
        violation.accesses = access.count;
        violation.job = job;
        violation.time_ns = access.first_ns;
        if let Some(job) = job.and_then(|number| self.jobs.get(number)) {
            (violation.frame, violation.slot) = (job.label.frame, job.label.slot);
            violation = self.with_write(violation, job.register_write);
        }
        violation.instruction = Some(Instruction {
            address: access.pc,
            symbol: None,
            caller: None,
            other: None,
            stack: access.stack.clone(),
        });
        match certain && (access.queued || !access.user) {
            true => self.report(violation),
            false => self.hint(violation),
        }
    }

    fn loaded(&self, access: &CpuAccess, held: &Held, range: Range) -> Option<Told> {
        let since = held.cards_since(range, access.after);
        let wrote = held.moved.iter().find(|moved| {
            moved.direction == Direction::Write
                && moved.sequence > since
                && moved.time_ns <= access.last_ns
                && moved.range.overlaps(range.start, range.length)
        });
        let who = by(access);
        let label = held.label();
        let (class, text) = match (access.user && access.queued, wrote) {
            (true, _) => (
                Class::UserSpaceInBuffer,
                format!("{who} read {label} while it was queued"),
            ),
            (false, Some(_)) => (
                Class::MissingSyncForCpu,
                format!(
                    "{who} read in {label} what the card had written, and no sync for the CPU came between"
                ),
            ),
            (false, None) => (
                Class::CpuReads,
                format!("{who} read {label} while it was the card's to write"),
            ),
        };
        Some(Told {
            class,
            text,
            job: wrote.and_then(|moved| moved.job),
            certain: true,
        })
    }

    fn stored(&self, access: &CpuAccess, held: &Held, range: Range) -> Option<Told> {
        let until = match access.settled {
            // If it is not known any more when that was, nobody is blamed.
            Some((Settled::ForCpu | Settled::ForDevice | Settled::Done, by)) => {
                Some(held.turned(by)?)
            }
            _ => None,
        };
        let reached = |moved: &&Moved| {
            moved.time_ns >= access.first_ns
                && until.is_none_or(|until| moved.sequence < until)
                && moved.range.overlaps(range.start, range.length)
        };
        let handed = |moved: &&Moved| self.was_handed_over(moved, access.first_ns);
        // Which of the bytes were stored when, between the first and the last, nobody told.
        let surely = |moved: &&Moved| moved.time_ns >= access.last_ns && !access.gaps;
        let reached = held.moved.iter().filter(reached);
        let certain = reached.clone().any(|moved| surely(&moved));
        let mut reached = reached.filter(|moved| !certain || surely(moved));
        let moved = (reached.clone().find(handed)).or_else(|| reached.next())?;
        let verb = match moved.direction {
            Direction::Read => "read",
            Direction::Write => "wrote",
        };
        let (who, label) = (by(access), held.label());
        let later = moved.time_ns.saturating_sub(access.first_ns) / 1000;
        let text = format!(
            "{who} wrote to {label} while it was the card's, which {verb} those bytes {later} us later"
        );
        let class = match (access.user && access.queued, moved.direction) {
            (true, _) => Class::UserSpaceInBuffer,
            (false, Direction::Read) if handed(&moved) => Class::MissingWriteBarrier,
            (false, _) => Class::CpuWrites,
        };
        Some(Told {
            class,
            text,
            job: moved.job,
            certain,
        })
    }

    /// Whether the job that an access was for had been handed over by then.
    fn was_handed_over(&self, moved: &Moved, time_ns: u64) -> bool {
        let job = moved.job.and_then(|job| self.jobs.get(job));
        job.is_some_and(|job| job.told_ns <= time_ns)
    }
}

fn by(access: &CpuAccess) -> &'static str {
    match access.user {
        true => "user space",
        false => "the CPU",
    }
}

impl Violation {
    /// Instructions that it is about: that which made the access, and what may have called it, the nearest first.
    pub fn instructions(&self) -> impl Iterator<Item = u64> + '_ {
        let own = self.instruction.iter();
        own.flat_map(|own| {
            let other = own.other.iter().map(|other| other.address);
            let all = [own.address].into_iter().chain(other);
            all.chain(own.stack.iter().copied())
        })
    }
}

#[cfg(test)]
#[path = "cpu_tests.rs"]
mod tests;
