// SPDX-License-Identifier: MIT OR Apache-2.0

//! Bounce buffers: CPU and device see each other's bytes only through syncs.

use super::super::witness::Brief;
use super::super::{Job, Ledger, LendDirection, Owner, Range};
use crate::journal::DriverCall;

impl Ledger {
    /// The card wrote a whole frame of a slot: the CPU sees it only after a sync.
    pub(in super::super) fn dirtied(&mut self, job: &Job, slot: u8) {
        let frame = Range {
            start: job.base,
            length: job.size.max(1),
        };
        for number in self.witness.touching(frame) {
            if let Some(held) = self.witness.held_mut(number)
                && held.bounced
                && held.direction != LendDirection::ToDevice
            {
                held.dirty |= bit(slot);
            }
        }
    }

    /// A sync; its range is known to be mapped.
    pub(super) fn synced(&mut self, call: &DriverCall, for_cpu: bool) {
        let range = Range {
            start: call.address,
            length: call.length,
        };
        for number in self.witness.touching(range) {
            if let Some(held) = self.witness.held_mut(number) {
                held.cpu = for_cpu;
                if for_cpu {
                    held.dirty = 0;
                }
            }
        }
    }

    /// Classes 37 and 38: a slot is queued again. Slots may share a buffer: what the card wrote there for another one is
    /// that one's to sync.
    pub(in super::super) fn judge_queued(&mut self, slot: u8, write: Option<u64>) {
        let known = self.slots.get(usize::from(slot)).copied();
        let Some(known) = known.filter(|slot| slot.owner == Owner::Driver) else {
            return;
        };
        let Some((number, held)) = self.witness.at(known.frame.start) else {
            return;
        };
        if !held.bounced || known.frame.length == 0 {
            return;
        }
        let held = *held;
        let (class, name, text) = if held.dirty & bit(slot) != 0 {
            let text = format!(
                "slot {slot} was taken back and queued again, and {} was not synced for the CPU",
                held.label()
            );
            (37, "missing sync for the CPU", text)
        } else if held.cpu {
            let text = format!(
                "slot {slot} was queued again after {} was synced for the CPU, and not for the device",
                held.label()
            );
            (38, "missing sync for the device", text)
        } else {
            return;
        };
        let mut violation = self.of_held(class, name, &held, known.frame, text);
        violation.slot = Some(slot);
        let violation = self.with_write(violation, write);
        self.report(violation);
        if let Some(held) = self.witness.held_mut(number) {
            (held.dirty, held.cpu) = (held.dirty & !bit(slot), false);
        }
    }

    /// Class 37: a vb2 buffer went back to its user.
    pub(super) fn judge_done(&mut self, address: u64, by: Brief) {
        let Some((number, held)) = self.witness.at(address) else {
            return;
        };
        if !held.bounced || held.dirty == 0 {
            return;
        }
        let held = *held;
        let text = format!(
            "a buffer went back to its user, and {} was not synced for the CPU",
            held.label()
        );
        let mut violation = self.of_held(37, "missing sync for the CPU", &held, held.range, text);
        violation.call = Some(self.witness.caller(by));
        self.report(violation);
        if let Some(held) = self.witness.held_mut(number) {
            held.dirty = 0;
        }
    }
}

/// The bit of a slot.
fn bit(slot: u8) -> u64 {
    1 << (slot % 64)
}
