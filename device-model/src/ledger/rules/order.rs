// SPDX-License-Identifier: MIT OR Apache-2.0

//! The order of a CPU's accesses. A payload that was read before the word that says it is there
//! (`Documentation/memory-barriers.txt`, "DMA barriers"; class 35); a descriptor that the card was told of by a register's write which keeps
//! no order with it (there, "KERNEL I/O BARRIER EFFECTS"; class 34). That nothing put the two in order is told; here it gets the job, the
//! memory, the frame and the register write. The second is one only if the card read those bytes after
//! that write.

use super::super::class::Class;
use super::super::held::Held;
use super::super::verdict::{Instruction, Named};
use super::super::{Ledger, Range, Violation};
use crate::contract::{Direction, JobId};
use crate::journal::Unordered;

/// Most stores that wait for the card to read them.
const MOST_PENDING: usize = 1024;
/// Of the register writes before the card's read, how many are looked at.
const LOOKED_AT: usize = 64;
/// A register's offset is known by its physical address within a page of this size.
const PAGE: u64 = 4096;

impl Ledger {
    /// Two accesses were told that nothing puts in order.
    pub(in super::super) fn unordered(&mut self, two: &Unordered) {
        match two.store {
            false => self.early_load(two),
            true if self.rung_too_early(two) => {}
            // The card may read it yet.
            true if self.unordered.len() < MOST_PENDING => self.unordered.push(two.clone()),
            true => self.not_judged("more stores in no order than can be kept".to_owned()),
        }
    }

    /// Looks again at stores that the card had not read when they were told.
    pub(in super::super) fn unordered_again(&mut self) {
        for two in std::mem::take(&mut self.unordered) {
            self.unordered(&two);
        }
    }

    fn early_load(&mut self, early: &Unordered) {
        let knew = match early.by_register {
            true => "a register of the card's".to_owned(),
            false => format!("what it had read at {:#x}", early.other),
        };
        let barrier = match early.for_cpus {
            true => "a barrier for CPUs alone, which is none for a device,",
            false => "nothing",
        };
        let text = |what: String| {
            format!(
                "the CPU read {what}, which the card had written: it knew that by {knew}, and {barrier} kept the two in order"
            )
        };
        let class = Class::MissingReadBarrier;
        let word = Range {
            start: early.address,
            length: early.length,
        };
        let violation = match self.lend_of(early) {
            Some(held) => self.of_held(class, held, word, text(held.label())),
            None => {
                let memory = format!("memory at {:#x}", early.address);
                self.of_range(class, word, text(memory))
            }
        };
        self.report_unordered(violation, early, early.job);
    }

    /// A store that the card read after the write with which it is in no order. False: the card did not, so far.
    fn rung_too_early(&mut self, late: &Unordered) -> bool {
        let part = Range {
            start: late.address,
            length: late.length,
        };
        let Some(held) = self.lend_of(late) else {
            return false;
        };
        let rang = |before: u64| {
            let written = self.registers.below(before).take(LOOKED_AT);
            let mut its = written.filter(|(_, written)| written.offset % PAGE == late.other % PAGE);
            its.find(|(_, written)| written.time_ns >= late.at_ns)
        };
        let read = held.moved.iter().find(|moved| {
            moved.direction == Direction::Read
                && moved.time_ns >= late.at_ns
                && moved.range.overlaps(part.start, part.length)
        });
        let Some((job, (write, written))) =
            read.and_then(|read| Some((read.job, rang(read.sequence)?)))
        else {
            return false;
        };
        let text = format!(
            "the CPU stored to {}, and wrote {} to tell the card of it, which read those bytes: nothing kept the two in order",
            held.label(),
            written.name
        );
        let violation = self.of_held(Class::MissingWriteBarrier, held, part, text);
        let violation = self.with_write(violation, Some(write));
        self.report_unordered(violation, late, job);
        true
    }

    fn lend_of(&self, two: &Unordered) -> Option<&Held> {
        let (start, number) = two.lend?;
        self.witness.by_event(start, number)
    }

    fn report_unordered(&mut self, mut violation: Violation, two: &Unordered, job: Option<JobId>) {
        violation.accesses = 1;
        violation.job = job;
        violation.time_ns = two.at_ns;
        if let Some(job) = job.and_then(|job| self.jobs.get(job)) {
            (violation.frame, violation.slot) = (job.label.frame, job.label.slot);
            if violation.register_write.is_none() {
                violation = self.with_write(violation, job.register_write);
            }
        }
        violation.instruction = Some(Instruction {
            address: two.pc,
            symbol: None,
            caller: None,
            other: Some(Named {
                address: two.other_pc,
                symbol: None,
            }),
            stack: two.stack.clone(),
        });
        self.report(violation);
    }
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
