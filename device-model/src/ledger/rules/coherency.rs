// SPDX-License-Identifier: MIT OR Apache-2.0

//! Syncs: CPU and device see each other's bytes only through them, on a bounce buffer at once, on a machine that is not
//! coherent sooner or later. Asked is what the DMA API asks (`Documentation/core-api/dma-api.rst`, `dma-api-howto.rst`)
//! and no more:
//!
//! - Who *reads* what the card wrote syncs for the CPU before. Whether somebody reads only the CPU's accesses could tell:
//!   memory that is handed over again unsynced is a hint, since a frame may be dropped unread. A vb2 buffer that goes
//!   back to its user complete is for somebody to read. A driver that refuses its card, having unmapped what the card wrote
//!   while it tried it, may have looked before: a hint, too.
//! - Who syncs for the CPU what the card is to *read*, wants to write it, and syncs for the device after that. What the
//!   card only writes need not be given back to it. Memory of both directions is a hint: it may not have been changed.

use super::super::class::Class;
use super::super::held::{Brief, Held, Unseen};
use super::super::job::{Job, range};
use super::super::{Ledger, Range, Violation};
use crate::contract::{Direction, JobId, Piece};
use crate::journal::{DriverCall, DriverState, LendDirection};

impl Ledger {
    /// The card wrote a job, as many bytes as it says: the CPU sees them only after a sync.
    pub(in super::super) fn dirtied(&mut self, number: JobId, job: &Job, told: u64) {
        let mut left = told;
        for piece in job.payload().filter(|piece| piece.way == Direction::Write) {
            let written = Piece {
                length: piece.length.min(left),
                ..*piece
            };
            left -= written.length;
            let piece = &written;
            if piece.length == 0 {
                break;
            }
            for lend in self.witness.touching(range(piece)) {
                if let Some(held) = self.witness.held_mut(lend)
                    && held.syncs
                    && held.direction != LendDirection::ToDevice
                {
                    held.wrote(Unseen {
                        range: common(held.range, range(piece)),
                        job: number,
                        slot: job.label.slot,
                    });
                }
            }
        }
    }

    /// A sync; its range is known to be mapped.
    pub(super) fn synced(&mut self, call: &DriverCall, for_cpu: bool) {
        let synced = Range {
            start: call.address,
            length: call.length,
        };
        for number in self.witness.touching(synced) {
            if let Some(held) = self.witness.held_mut(number) {
                held.synced(common(held.range, synced), for_cpu);
            }
        }
    }

    /// Classes 37 and 38: memory is handed over, again. Slots may share a buffer: what the card wrote there for another
    /// one is that one's to sync. A job that begins may have been handed over before; then it is not `fresh`, and only
    /// what it reads is looked at.
    pub(in super::super) fn judge_handed_over(&mut self, number: JobId, job: &Job, fresh: bool) {
        for piece in job.pieces.iter() {
            for lend in self.witness.touching(range(piece)) {
                let Some(held) = self.witness.held(lend).filter(|held| held.syncs) else {
                    continue;
                };
                match piece.way {
                    Direction::Write if !fresh => {}
                    Direction::Write => {
                        let again = |unseen: &&Unseen| {
                            let same = unseen.slot == job.label.slot;
                            same && unseen.range.overlaps(piece.address, piece.length.max(1))
                        };
                        if let Some(unseen) = held.unseen.iter().find(again).copied() {
                            let hint = self.unsynced_again(number, job, held, unseen);
                            self.hint(hint);
                            if let Some(held) = self.witness.held_mut(lend) {
                                held.unseen.retain(|other| other.job != unseen.job);
                            }
                        }
                    }
                    Direction::Read if held.direction != LendDirection::FromDevice => {
                        let owned = |part: &&Range| part.overlaps(piece.address, piece.length);
                        if let Some(part) = held.cpu.iter().find(owned).copied() {
                            let both = held.direction == LendDirection::Both;
                            let violation = self.not_given_back(number, job, held, part);
                            if let Some(held) = self.witness.held_mut(lend) {
                                held.cpu.clear();
                            }
                            match both {
                                true => self.hint(violation),
                                false => self.report(violation),
                            }
                        }
                    }
                    Direction::Read => {}
                }
            }
        }
    }

    fn unsynced_again(&self, number: JobId, job: &Job, held: &Held, unseen: Unseen) -> Violation {
        let text = format!(
            "{} was handed over again for {job}, and what the card wrote there for job {} was never synced for the CPU: whoever read it may have read old bytes",
            held.label(),
            unseen.job
        );
        let violation = self.of_held(Class::MissingSyncForCpu, held, unseen.range, text);
        self.with_job(violation, number, job)
    }

    fn not_given_back(&self, number: JobId, job: &Job, held: &Held, part: Range) -> Violation {
        let text = format!(
            "{} was handed over for {job} after it was synced for the CPU, and not for the device: the card may read old bytes",
            held.label()
        );
        let violation = self.of_held(Class::MissingSyncForDevice, held, part, text);
        self.with_job(violation, number, job)
    }

    fn with_job(&self, mut violation: Violation, number: JobId, job: &Job) -> Violation {
        (violation.frame, violation.slot) = (job.label.frame, job.label.slot);
        violation.job = Some(number);
        self.with_write(violation, job.register_write)
    }

    /// A lend ends, which is a sync: what the card wrote there the CPU could not see before.
    pub(super) fn unlooked(&mut self, held: &Held, by: Brief) {
        let life = &self.witness.life;
        let binding = life.state == Some(DriverState::Binding) && life.unlooked.len() < 2;
        let Some(unseen) = held.unseen.first().filter(|_| binding && held.bounced) else {
            return;
        };
        let text = format!(
            "the driver {} gave the card up while it was binding, and what the card wrote to {} for job {} was synced for the CPU by its unmap alone: if the driver looked before that, it saw old bytes",
            life.driver,
            held.label(),
            unseen.job
        );
        let mut violation = self.of_held(Class::MissingSyncForCpu, held, unseen.range, text);
        violation.call = Some(self.witness.caller(by));
        violation.job = Some(unseen.job);
        self.witness.life.unlooked.push(violation);
    }

    /// A hint of class 37: the driver refuses the card. One that went on after the first has something else against it.
    pub(super) fn given_up(&mut self) {
        let mut unlooked = std::mem::take(&mut self.witness.life.unlooked);
        if let (Some(hint), true) = (unlooked.pop(), unlooked.is_empty()) {
            self.hint(hint);
        }
    }

    /// Class 37: a vb2 buffer went back to its user.
    pub(super) fn judge_done(&mut self, address: u64, by: Brief) {
        let Some((number, held)) = self.witness.at(address) else {
            return;
        };
        if held.unseen.is_empty() {
            return;
        }
        let text = format!(
            "a buffer went back to its user, and {} was not synced for the CPU",
            held.label()
        );
        let mut violation = self.of_held(Class::MissingSyncForCpu, held, held.range, text);
        violation.call = Some(self.witness.caller(by));
        self.report(violation);
        if let Some(held) = self.witness.held_mut(number) {
            held.unseen.clear();
        }
    }
}

/// The bytes that two ranges share.
fn common(one: Range, other: Range) -> Range {
    let start = one.start.max(other.start);
    let length = one.end().min(other.end()).saturating_sub(start);
    Range { start, length }
}
