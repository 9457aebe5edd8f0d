// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the card was programmed to, its interrupts, and what it says itself.

use super::super::verdict::of_job;
use super::super::witness::Held;
use super::super::{Job, Ledger, Owner, Range, Violation};
use crate::journal::{DriverState, Kind};
use crate::contract::{RegisterName, Reset};

/// Most jobs that are in work at a time.
const MOST_WORKING: usize = 64;

/// What kind of entry came last, as far as an interrupt may follow from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Last {
    /// The driver did something: whatever was pending may now come.
    Driver,
    #[default]
    Other,
}

/// What is known of the card's state.
#[derive(Debug, Default)]
pub(in super::super) struct Engine {
    /// Whether it may master the bus, if that was told.
    master: Option<bool>,
    /// It decodes its BARs.
    decodes: bool,
    /// It is not in D0.
    asleep: bool,
    /// Where the last access ended.
    moved: Option<u64>,
    /// It began a job since it was idle.
    ran: bool,
    /// What was taken back since: a class, and which violation says so.
    pub(in super::super) cut: Option<(u8, usize)>,
    /// There is a cause that no interrupt told of.
    cause: bool,
    /// An interrupt is held until the bus may be mastered.
    held: bool,
    /// The driver's last word on which interrupts are enabled: some.
    enabled: bool,
    /// The driver wrote to a register of interrupts since the reset.
    touched: bool,
    /// Bytes of a line, as the driver wrote them.
    stride: u64,
    /// The last register write that has not arrived.
    delayed: Option<u64>,
    kernel_down: bool,
    /// Jobs that were begun and are not over.
    working: Vec<u64>,
    /// It tells of completions.
    completes: bool,
    last: Last,
}

impl Engine {
    /// What follows from an entry for those after it.
    pub(in super::super) fn saw(&mut self, kind: &Kind) {
        self.last = match kind {
            Kind::Register { .. } | Kind::Arrived { .. } => Last::Driver,
            // What its register write made of slots.
            Kind::Queued { .. } | Kind::TakenBack { .. } | Kind::Stopping { .. } => self.last,
            Kind::BusMaster { on: true } | Kind::PowerState { state: 0 } if self.held => {
                Last::Driver
            }
            _ => Last::Other,
        };
        match *kind {
            Kind::JobDone { .. } => (self.cause, self.completes) = (true, true),
            Kind::Idle { .. } => self.cause = true,
            Kind::Interrupt { .. } => (self.cause, self.held) = (false, false),
            Kind::InterruptHeld { .. } => (self.cause, self.held) = (false, true),
            Kind::BusMaster { on } => self.master = Some(on),
            Kind::Decoding { on } => self.decodes = on,
            Kind::PowerState { state } => self.asleep = state != 0,
            Kind::FirstRead { .. } => self.decodes = true,
            Kind::Reset { reset } => self.reset(reset),
            Kind::Disconnected => self.reset(Reset::Device),
            Kind::Connected | Kind::Attached { .. } => self.kernel_down = false,
            Kind::KernelDown => self.kernel_down = true,
            Kind::Driver {
                state: DriverState::Binding,
                ..
            } => self.kernel_down = false,
            Kind::Delayed { register_write } => self.delayed = Some(register_write),
            Kind::Arrived { register_write, .. } => {
                self.delayed = self.delayed.filter(|&last| last > register_write);
            }
            _ => {}
        }
    }

    fn reset(&mut self, reset: Reset) {
        (self.cause, self.held) = (false, false);
        self.enabled = false;
        self.touched = false;
        self.delayed = None;
        self.stride = 0;
        if reset != Reset::Register {
            (self.master, self.decodes) = (Some(false), false);
            self.asleep = false;
        }
        if reset == Reset::Device {
            self.kernel_down = false;
        }
    }

    pub(in super::super) fn written(&mut self, name: &RegisterName, value: u32) {
        self.decodes = true;
        let is = |part: &str| name.name.contains(part);
        if name.name == "STRIDE" {
            self.stride = value.into();
        }
        let interrupts = is("IRQ") || is("INT_") || is("INTR");
        if interrupts && !is("STATUS") && value != 0 {
            self.touched = true;
        }
        if is("IRQ_ENABLE") {
            self.enabled = value != 0;
        }
    }

    /// An access ended there.
    pub(in super::super) fn moved(&mut self, end: u64) {
        self.moved = Some(end);
    }

    /// Whether an access goes on where the last one ended.
    pub(in super::super) fn goes_on(&self, address: u64) -> bool {
        self.moved == Some(address)
    }

    /// Whether it began a job since it was idle.
    pub(in super::super) const fn ran(&self) -> bool {
        self.ran
    }

    pub(in super::super) fn begin(&mut self, job: u64) {
        self.ran = true;
        if self.working.len() < MOST_WORKING && !self.working.contains(&job) {
            self.working.push(job);
        }
    }

    pub(in super::super) fn end(&mut self, job: u64) {
        self.working.retain(|&working| working != job);
    }

    /// No job is in work any more.
    pub(in super::super) fn silent(&mut self) {
        self.working.clear();
        (self.ran, self.cut) = (false, None);
    }

    pub(in super::super) fn working(&self) -> &[u64] {
        &self.working
    }

    /// The last register write that is still on its way.
    pub(in super::super) const fn delayed(&self) -> Option<u64> {
        self.delayed
    }

    pub(in super::super) const fn kernel_down(&self) -> bool {
        self.kernel_down
    }

    pub(in super::super) const fn master(&self) -> Option<bool> {
        self.master
    }
}

impl Ledger {
    /// Judges what the card was programmed to, as it begins.
    pub(in super::super) fn judge_begun(&mut self, number: u64) {
        let Some(job) = self.jobs.get(number).copied() else {
            return;
        };
        let first = self.unchecked_error(job.base, job.register_write);
        let first = first
            .or_else(|| self.misaligned(&job))
            .or_else(|| self.longer_than_allowed(&job))
            .or_else(|| self.crossing(&job));
        let wrong = match first {
            Some(violation) => Some(violation),
            None => self.longer_than_lent(&job),
        };
        if let Some(violation) = wrong {
            let address = violation.address;
            let mut violation = of_job(violation, number, &job, job.slot.unwrap_or(0));
            violation.address = address;
            let violation = self.with_write(violation, job.register_write);
            self.blame(number, violation);
        }
    }

    /// Reports what is wrong with a job as a whole; what it does outside of what is lent follows from that.
    pub(super) fn blame(&mut self, number: u64, violation: Violation) {
        let class = violation.class;
        self.report(violation);
        let last = self.violations.len().checked_sub(1);
        if let (Some(job), Some(class), Some(last)) = (self.jobs.get_mut(number), class, last) {
            job.blamed = Some((class, last));
        }
    }

    /// Class 12.
    fn misaligned(&self, job: &Job) -> Option<Violation> {
        let alignment = self.platform.alignment;
        if alignment == 0 || job.base.is_multiple_of(alignment) {
            return None;
        }
        let text = format!(
            "a job begins at {:#x}, which is no multiple of {alignment}",
            job.base
        );
        Some(self.of_range(12, "misaligned", job.range(), text))
    }

    /// Class 11.
    fn longer_than_allowed(&self, job: &Job) -> Option<Violation> {
        let most = self.platform.max_frame;
        if most == 0 || job.size <= most {
            return None;
        }
        let text = format!(
            "a job is {} bytes long, and the card takes {most}",
            job.size
        );
        Some(self.of_range(11, "job too long", job.range(), text))
    }

    /// Class 10.
    fn crossing(&self, job: &Job) -> Option<Violation> {
        let boundary = self.platform.boundary;
        if job.size == 0 || !crosses(job.range(), boundary) {
            return None;
        }
        let text = format!(
            "a job of {} bytes at {:#x} crosses a multiple of {boundary:#x}",
            job.size, job.base
        );
        Some(self.of_range(10, "job crosses a boundary", job.range(), text))
    }

    /// Classes 13 and 14: the driver programmed more than it lent.
    fn longer_than_lent(&self, job: &Job) -> Option<Violation> {
        let (_, held) = self.witness.at(job.base).filter(|_| self.witness.sees())?;
        let lent = self.witness.reach(held, job.range().end());
        let excess = job.range().end().saturating_sub(lent);
        if excess == 0 || job.size == 0 {
            return None;
        }
        let (class, name) = if excess == self.engine.stride {
            (14, "one line too long")
        } else {
            (13, "job longer than its lend")
        };
        let text = format!(
            "a job of {} bytes was programmed where {} bytes of {} are lent: {excess} too many",
            job.size,
            lent - job.base,
            held.label()
        );
        let part = Range {
            start: lent,
            length: excess,
        };
        Some(self.of_held(class, name, held, part, text))
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
        let violation = self.of_range(49, "mapping error unchecked", range, text);
        Some(self.with_write(violation, write))
    }

    /// Class 55: the card reports more bytes than were lent.
    pub(in super::super) fn too_long(
        &self,
        number: u64,
        job: &Job,
        slot: u8,
        bytes: u64,
    ) -> Option<Violation> {
        let range = Range {
            start: job.base,
            length: 1,
        };
        let agent = self
            .shelf
            .own(Some(slot), range)
            .map(super::super::Lend::range);
        let witness = || {
            let (_, held) = self.witness.at(job.base)?;
            Some(self.witness.reach(held, u64::MAX))
        };
        let lent = agent.map(|range| range.end()).or_else(witness)?;
        let lent = lent.saturating_sub(job.base);
        if bytes <= lent.max(job.size) {
            return None;
        }
        let text = format!("slot {slot} was completed as {bytes} bytes, {lent} were lent");
        let violation = self.violation(55, "length of the device", text);
        let mut violation = of_job(violation, number, job, slot);
        violation.length = bytes - lent;
        Some(self.with_write(violation, job.register_write))
    }

    /// Judges an interrupt that was raised: classes 25, 42, 44 and 46.
    pub(in super::super) fn judge_interrupt(&mut self, vector: u16) {
        if !self.witness.attached || self.after_disable(vector) {
            return;
        }
        let engine = &self.engine;
        if engine.cause || engine.last == Last::Driver {
            return;
        }
        let bound = self.witness.life.state == Some(DriverState::Bound);
        if !engine.touched && !bound {
            let text =
                format!("vector {vector} was raised before the driver enabled any interrupt");
            let violation = self.violation(44, "probe interrupt", text);
            return self.report(violation);
        }
        if let Some(&number) = engine.working.first() {
            let text = format!(
                "vector {vector} was raised while job {number} was in work, and no completion was to be told"
            );
            let mut violation = self.violation(42, "interrupt before data", text);
            if let Some(job) = self.jobs.get_mut(number) {
                job.early = true;
                violation = of_job(violation, number, job, job.slot.unwrap_or(0));
                let write = job.register_write;
                violation = self.with_write(violation, write);
            }
            return self.report(violation);
        }
        if engine.completes || !engine.touched {
            let text =
                format!("vector {vector} was raised, and nothing had happened since the last time");
            let violation = self.violation(46, "spurious interrupt", text);
            self.report(violation);
        }
    }

    /// Judges an interrupt that is held back.
    pub(in super::super) fn judge_held(&mut self, vector: u16) {
        if self.witness.attached {
            self.after_disable(vector);
        }
    }

    /// Class 25. True: it is.
    fn after_disable(&mut self, vector: u16) -> bool {
        let engine = &self.engine;
        let late = self.witness.life.is_ending() && engine.master == Some(false) && engine.enabled;
        if late {
            let text = format!(
                "vector {vector} has a cause after the driver took bus mastering away, and it had not disabled the interrupt"
            );
            let violation = self.violation(25, "interrupt after disable", text);
            self.report(violation);
        }
        late
    }

    /// Class 32.
    pub(in super::super) fn judge_illegal(&mut self, write: Option<u64>, what: &str) {
        let violation = self.violation(32, "reprogrammed while running", what.to_owned());
        let violation = self.with_write(violation, write);
        self.report(violation);
    }

    /// Class 34.
    pub(in super::super) fn judge_fetch(&mut self, slot: u8, address: u64, write: Option<u64>) {
        let text = format!("what slot {slot} fetches at {address:#x} changed after the doorbell");
        let length = 0;
        let start = address;
        let mut violation = self.of_range(
            34,
            "changed after the doorbell",
            Range { start, length },
            text,
        );
        violation.slot = Some(slot);
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
        let reached = self.engine.decodes && !self.engine.asleep;
        if !write || !self.witness.attached || !driven || !reached {
            return;
        }
        let text =
            format!("the driver wrote to BAR {bar} at {offset:#x}, where there is no register");
        let mut violation = self.violation(58, "no such register", text);
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
        let violation = self.violation(28, "BAR gone", text);
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
        let violation = self.violation(27, "register written after remove", text);
        let violation = self.with_write(violation, Some(sequence));
        self.report(violation);
    }

    /// A violation at a range of bus addresses.
    pub(super) fn of_range(
        &self,
        class: u8,
        name: &'static str,
        range: Range,
        text: String,
    ) -> Violation {
        let mut violation = self.violation(class, name, text);
        (violation.address, violation.length) = (range.start, range.length);
        violation
    }

    /// A violation at a part of a lend, or beside it.
    pub(super) fn of_held(
        &self,
        class: u8,
        name: &'static str,
        held: &Held,
        part: Range,
        text: String,
    ) -> Violation {
        let mut violation = self.of_range(class, name, part, text);
        violation.lend = Some(held.near(part));
        violation.call = Some(self.witness.caller(held.by));
        violation
    }

    /// A slot that the driver took back and whose last frame shares a byte with `range`, if no frame of the
    /// card's does.
    pub(super) fn taken_back(&self, range: Range) -> Option<usize> {
        let touches = |frame: Range| frame.overlaps(range.start, range.length);
        let cards = |slot: &super::super::Slot| slot.owner == Owner::Card && touches(slot.frame);
        if self.slots.iter().any(cards) {
            return None;
        }
        let drivers =
            |slot: &super::super::Slot| slot.owner == Owner::Driver && touches(slot.frame);
        self.slots.iter().position(drivers)
    }
}

/// Whether a range crosses a multiple of `boundary`; 0: there is none.
pub(super) const fn crosses(range: Range, boundary: u64) -> bool {
    boundary != 0 && range.length != 0 && range.start / boundary != (range.end() - 1) / boundary
}
