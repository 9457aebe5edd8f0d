// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the card was programmed to, and what it says itself.

use super::super::book::Way;
use super::super::class::Class;
use super::super::job::{Job, range};
use super::super::witness::Held;
use super::super::{Ledger, Range, Violation};
use crate::contract::{Direction, JobId, Piece, RegisterName};
use crate::journal::DriverState;

impl Ledger {
    /// Judges what the card was programmed to, as it begins: of its payload the first that is wrong.
    pub(in super::super) fn judge_begun(&mut self, number: JobId) {
        let Some(job) = self.jobs.get(number).cloned() else {
            return;
        };
        let wrong = self.too_many(&job).or_else(|| {
            let rules = [
                Self::unchecked_piece,
                Self::misaligned,
                Self::longer_than_allowed,
                Self::crossing,
                Self::longer_than_lent,
            ];
            let mut rules = rules.iter();
            rules.find_map(|rule| job.payload().find_map(|piece| rule(self, piece)))
        });
        if let Some(violation) = wrong {
            let (address, lend) = (violation.address, violation.lend.clone());
            let mut violation = super::super::verdict::of_job(violation, number, &job);
            (violation.address, violation.lend) = (address, lend);
            let violation = self.with_write(violation, job.register_write);
            self.blame(number, violation);
        }
    }

    /// Reports what is wrong with a job as a whole; what it does outside of what is lent follows from that.
    pub(super) fn blame(&mut self, number: JobId, violation: Violation) {
        let class = violation.class;
        self.report(violation);
        let last = self.found.violations.len().checked_sub(1);
        if let (Some(job), Some(class), Some(last)) = (self.jobs.get_mut(number), class, last) {
            job.blamed = Some((class, last));
        }
    }

    /// Class 12.
    fn misaligned(&self, piece: &Piece) -> Option<Violation> {
        let limits = &self.declares.limits;
        let off = |value: u64, unit: u64| unit != 0 && !value.is_multiple_of(unit);
        let text = if off(piece.address, limits.alignment) {
            let alignment = limits.alignment;
            format!(
                "a job begins at {:#x}, which is no multiple of {alignment}",
                piece.address
            )
        } else if off(piece.length, limits.granule) {
            let granule = limits.granule;
            format!(
                "a job has {} bytes, which is no multiple of {granule}",
                piece.length
            )
        } else {
            return None;
        };
        Some(self.of_range(Class::Misaligned, range(piece), text))
    }

    /// Class 11.
    fn longer_than_allowed(&self, piece: &Piece) -> Option<Violation> {
        let most = self.declares.limits.longest;
        if most == 0 || piece.length <= most {
            return None;
        }
        let text = format!(
            "a job is {} bytes long, and the card takes {most}",
            piece.length
        );
        Some(self.of_range(Class::SegmentTooLong, range(piece), text))
    }

    /// Class 11, too.
    fn too_many(&self, job: &Job) -> Option<Violation> {
        let most = self.declares.limits.pieces as usize;
        let count = job.payload().count();
        if most == 0 || count <= most {
            return None;
        }
        let text = format!("a job has {count} pieces, and the card takes {most}");
        Some(self.of_range(Class::SegmentTooLong, job.main(), text))
    }

    /// Class 10.
    fn crossing(&self, piece: &Piece) -> Option<Violation> {
        let boundary = self.declares.limits.boundary;
        if piece.length == 0 || !crosses(range(piece), boundary) {
            return None;
        }
        let text = format!(
            "a job of {} bytes at {:#x} crosses a multiple of {boundary:#x}",
            piece.length, piece.address
        );
        Some(self.of_range(Class::CrossesBoundary, range(piece), text))
    }

    /// Classes 13 and 14: the driver programmed more than it lent.
    fn longer_than_lent(&self, piece: &Piece) -> Option<Violation> {
        let programmed = range(piece);
        let (_, held) = self
            .witness
            .at(programmed.start)
            .filter(|_| self.witness.sees())?;
        let lent = self.witness.reach(held, programmed.end());
        let excess = programmed.end().saturating_sub(lent);
        if excess == 0 || programmed.length == 0 {
            return None;
        }
        // Lends that touch may be used as one, if the driver says so.
        let rest = Range {
            start: lent,
            length: excess,
        };
        if self.witness.is_covered(rest, piece_way(piece)) {
            return None;
        }
        let class = match excess == piece.unit {
            true => Class::OffByOne,
            false => Class::LengthHardWired,
        };
        let text = format!(
            "a job of {} bytes was programmed where {} bytes of {} are lent: {excess} too many",
            programmed.length,
            lent - programmed.start,
            held.label()
        );
        Some(self.of_held(class, held, rest, text))
    }

    fn unchecked_piece(&self, piece: &Piece) -> Option<Violation> {
        self.unchecked_error(piece.address, None)
    }

    /// Class 49: an address that says that a mapping failed.
    pub(super) fn unchecked_error(&self, address: u64, write: Option<u64>) -> Option<Violation> {
        let error = address == u64::MAX || address == u64::from(u32::MAX);
        if !error || !self.witness.attached || !self.witness.life.failed {
            return None;
        }
        let text = format!("the card was given {address:#x}, which is what a failed mapping gives");
        let range = Range {
            start: address,
            length: 0,
        };
        let violation = self.of_range(Class::MappingErrorUnchecked, range, text);
        Some(self.with_write(violation, write))
    }

    /// Class 55: the card reports more bytes than were lent.
    pub(in super::super) fn too_long(
        &self,
        number: JobId,
        job: &Job,
        bytes: u64,
    ) -> Option<Violation> {
        let main = job.main();
        let first = Range {
            start: main.start,
            length: 1,
        };
        let agent = self.shelf.own(job.label.slot, first);
        let agent = agent.map(|lend| lend.range().end());
        let witness = || {
            let (_, held) = self.witness.at(main.start)?;
            Some(self.witness.reach(held, u64::MAX))
        };
        let lent = agent.or_else(witness)?.saturating_sub(main.start);
        // Of several pieces it is not known which lend each is in.
        let lent = match job.payload().nth(1) {
            Some(_) => lent.max(job.size()),
            None => lent,
        };
        if bytes <= lent.max(job.size()) {
            return None;
        }
        let text = format!("{job} was completed as {bytes} bytes, {lent} were lent");
        let mut violation = self.of_job(Class::DeviceLengthTrusted, number, job, text);
        violation.length = bytes - lent;
        Some(violation)
    }

    /// Class 32.
    pub(in super::super) fn judge_illegal(&mut self, write: Option<u64>, what: &str) {
        let what = what.chars().take(400).collect();
        let violation = self.violation(Class::ReprogrammedWhileRunning, what);
        let violation = self.with_write(violation, write);
        self.report(violation);
    }

    /// Class 34.
    pub(in super::super) fn judge_fetch(&mut self, job: JobId, address: u64, write: Option<u64>) {
        let known = self.jobs.get(job);
        let whose = known.map_or_else(|| format!("job {job}"), ToString::to_string);
        let text = format!("what {whose} fetches at {address:#x} changed after the doorbell");
        let length = 0;
        let start = address;
        let mut violation =
            self.of_range(Class::MissingWriteBarrier, Range { start, length }, text);
        violation.slot = known.and_then(|job| job.label.slot);
        let violation = self.with_write(violation, write);
        self.report(violation);
    }

    /// Class 58: a write where the BAR has no register.
    pub(in super::super) fn judge_unclaimed(&mut self, bar: u8, offset: u64, write: bool) {
        let state = self.witness.life.state;
        let driven = matches!(
            state,
            Some(DriverState::Binding | DriverState::Bound | DriverState::Unbinding)
        );
        let reached = self.card.decodes && !self.card.asleep;
        if !write || !self.witness.attached || !driven || !reached {
            return;
        }
        let text =
            format!("the driver wrote to BAR {bar} at {offset:#x}, where there is no register");
        let mut violation = self.violation(Class::ForeignRegisters, text);
        violation.address = offset;
        self.report(violation);
    }

    /// Class 28: the BARs go while remove runs. What it still does with them reaches no card, so nothing tells.
    pub(in super::super) fn judge_decoding(&mut self, on: bool) {
        let life = &mut self.witness.life;
        // Whoever sets a card up after a reset begins with this.
        life.struck = life.struck.take().filter(|_| !on);
        let unbinding = life.state == Some(DriverState::Unbinding);
        if on || !self.witness.attached || !unbinding || life.told_gone {
            return;
        }
        life.told_gone = true;
        let driver = &life.driver;
        let text = format!("memory decoding went off while the driver {driver} was being removed");
        let violation = self.violation(Class::BarGone, text);
        self.report(violation);
    }

    /// Class 27: remove is over, and somebody still writes to the card's registers.
    pub(in super::super) fn judge_written(&mut self, sequence: u64, name: &RegisterName) {
        let over = self.witness.life.state == Some(DriverState::Unbound);
        if !over || !self.witness.attached || self.witness.life.told_gone {
            return;
        }
        self.witness.life.told_gone = true;
        let driver = &self.witness.life.driver;
        let text = format!("{name} was written after the driver {driver} had been removed");
        let violation = self.violation(Class::ResetRacesHotplug, text);
        let violation = self.with_write(violation, Some(sequence));
        self.report(violation);
    }

    /// A violation at a range of bus addresses.
    pub(super) fn of_range(&self, class: Class, range: Range, text: String) -> Violation {
        let mut violation = self.violation(class, text);
        (violation.address, violation.length) = (range.start, range.length);
        violation
    }

    /// A violation at a part of a lend, or beside it.
    pub(super) fn of_held(
        &self,
        class: Class,
        held: &Held,
        part: Range,
        text: String,
    ) -> Violation {
        let mut violation = self.of_range(class, part, text);
        violation.lend = Some(held.near(part));
        violation.call = Some(self.witness.caller(held.by));
        violation
    }
}

const fn piece_way(piece: &Piece) -> Way {
    match piece.way {
        Direction::Write => Way::Write,
        Direction::Read => Way::Read,
    }
}

/// Whether a range crosses a multiple of `boundary`; 0: there is none.
pub(super) const fn crosses(range: Range, boundary: u64) -> bool {
    boundary != 0 && range.length != 0 && range.start / boundary != (range.end() - 1) / boundary
}
