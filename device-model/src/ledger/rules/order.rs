// SPDX-License-Identifier: MIT OR Apache-2.0

//! The order of a CPU's loads: a payload that was read before the word that says it is there
//! (`Documentation/memory-barriers.txt`, "DMA barriers"; class 35). That it was is told; here it gets the job, the memory, the
//! frame and the register write.

use super::super::class::Class;
use super::super::verdict::{Instruction, Named};
use super::super::{Ledger, Range, Violation};
use crate::journal::EarlyLoad;

impl Ledger {
    /// A load came before it could be known that what it read is there.
    pub(in super::super) fn early_load(&mut self, early: &EarlyLoad) {
        let knew = match early.by_register {
            true => "a register of the card's".to_owned(),
            false => format!("what it had read at {:#x}", early.after),
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
        let mut violation = self.at_phys(early.phys, text);
        violation.accesses = 1;
        violation.job = Some(early.job);
        violation.time_ns = early.at_ns;
        if let Some(job) = self.jobs.get(early.job) {
            (violation.frame, violation.slot) = (job.label.frame, job.label.slot);
            violation = self.with_write(violation, job.register_write);
        }
        violation.instruction = Some(Instruction {
            address: early.pc,
            symbol: None,
            caller: None,
            after: Some(Named {
                address: early.after_pc,
                symbol: None,
            }),
            stack: early.stack.clone(),
        });
        self.report(violation);
    }

    /// A violation at a word of memory: in the lend that is there, or, if that has ended, at its physical address.
    fn at_phys(&self, phys: u64, text: impl Fn(String) -> String) -> Violation {
        let word = Range {
            start: phys,
            length: 1,
        };
        let same = || self.witness.held(*self.witness.touching(word).first()?);
        let held = self.witness.in_memory(word).or_else(same);
        let found = held.and_then(|held| {
            let offset = phys.checked_sub(held.phys?)?;
            let start = held.range.start.checked_add(offset)?;
            (offset < held.range.length).then_some((held, Range { start, length: 1 }))
        });
        let class = Class::MissingReadBarrier;
        match found {
            Some((held, part)) => self.of_held(class, held, part, text(held.label())),
            None => self.of_range(class, word, text(format!("memory at {phys:#x}"))),
        }
    }
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
