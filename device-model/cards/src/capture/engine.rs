// SPDX-License-Identifier: MIT OR Apache-2.0

//! The card's work: one piece of a frame at a time.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Duration;

use super::fetch::Fetched;
use super::job::{self, Job, Picture, Record, Slot};
use super::misbehave::{Afterlife, Struck, sooner};
use super::pattern::{FrameSpec, Painter};
use super::planted::Faults;
use super::posted::Posted;
use super::regs::{
    self, CONTROL, IRQ_ENABLE, IRQ_STATUS, RESULT_ABORTED, RESULT_BUS, RESULT_GEOMETRY,
    RESULT_NO_MASTER, RESULT_OK,
};
use super::{CaptureOptions, result_name};
use landfall_device::contract::{
    Declaration, DmaError, Host, JobId, Label, Next, Owed, Piece, QueueId, Role, STEP_BYTES, Tag,
    Vector,
};

/// Most accesses in one step, however small they are.
const ACCESSES: usize = 256;
/// The only one.
pub(super) const VECTOR: Vector = Vector(0);
/// How often a card with nothing queued looks at its frame clock, at most.
const IDLE_TICK: Duration = Duration::from_millis(1);

/// The capture card; see the data sheet in [`super`].
#[derive(Debug)]
pub struct CaptureCard {
    pub(super) options: CaptureOptions,
    pub(super) registers: Registers,
    /// Jobs queued since it was made; resets do not begin it anew, so that a number means one job.
    pub(super) jobs: u64,
    pub(super) faults: Faults,
    pub(super) afterlife: Afterlife,
    /// Register writes on their way.
    pub(super) posted: Posted,
    /// Clip masks as they were when their slots were queued.
    pub(super) fetched: Fetched,
    /// A register was read since it was powered.
    pub(super) was_read: bool,
    /// A job was begun since it was powered.
    pub(super) began: bool,
    /// It cut its connection, and waits for loss of power.
    pub(super) severed: bool,
}

/// Everything that a reset clears.
#[derive(Debug, Default)]
pub(super) struct Registers {
    pub(super) control: CONTROL,
    pub(super) irq_status: IRQ_STATUS,
    pub(super) irq_enable: IRQ_ENABLE,
    pub(super) picture: Picture,
    pub(super) interval_us: u32,
    pub(super) done: u32,
    pub(super) sequence: u32,
    pub(super) slots: [Slot; regs::SLOTS],
    pub(super) queue: VecDeque<u8>,
    pub(super) job: Option<Job>,
    pub(super) selftest_address: u64,
    pub(super) selftest_busy: bool,
    /// What it read, where each access is a step.
    pub(super) selftest_word: Option<[u8; 8]>,
    pub(super) selftest_result: u8,
    /// `run` was cleared, by this register write, and the card is not idle yet.
    pub(super) stopping: Option<Option<u64>>,
    /// Until when it rests in the middle of a frame.
    pub(super) rests: Option<Duration>,
    /// When the next frame is due, if there is an interval.
    pub(super) next_frame: Option<Duration>,
    /// Frames begun since `run` was set.
    pub(super) run_frames: u32,
    pub(super) last: Option<Written>,
    /// Where the frame went whose slot the driver took back last.
    pub(super) taken: Option<Written>,
    /// Where the last frame of each slot went.
    pub(super) of_slot: [Option<Written>; regs::SLOTS],
}

/// Where a frame was to go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    pub(super) spec: FrameSpec,
    pub(super) base: u64,
    pub(super) tag: Tag,
}

impl Default for CaptureCard {
    fn default() -> Self {
        Self::new(CaptureOptions::default())
    }
}

impl CaptureCard {
    /// Makes a card, as after power-on.
    pub fn new(options: CaptureOptions) -> Self {
        Self {
            faults: Faults::new(&options.faults, options.seed, options.strikes.clone()),
            options,
            registers: Registers::default(),
            jobs: 0,
            afterlife: Afterlife::default(),
            posted: Posted::default(),
            fetched: Fetched::default(),
            was_read: false,
            began: false,
            severed: false,
        }
    }

    /// Forgets everything but how it was made and which faults have struck; what a fault does after a stop
    /// survives unless the card loses power.
    pub(super) fn clear(&mut self, power: bool) {
        if let Some(job) = self.registers.job.take() {
            for strike in &job.strikes {
                self.faults.spare(strike);
            }
        }
        self.registers = Registers::default();
        self.fetched = Fetched::default();
        if power {
            self.afterlife = Afterlife::default();
            (self.was_read, self.began, self.severed) = (false, false, false);
        }
    }

    /// Whether it may access memory.
    pub(super) fn busy(&self) -> bool {
        let r = &self.registers;
        let queued = r.control.run() && !r.queue.is_empty();
        r.job.is_some() || r.stopping.is_some() || r.selftest_busy || queued
    }

    /// Does the next piece of work.
    pub(super) fn work(&mut self, host: &mut dyn Host) -> Next {
        if self.severed {
            return Next::Idle;
        }
        let due = self.arrive_due(host);
        sooner(self.serve(host), due)
    }

    fn serve(&mut self, host: &mut dyn Host) -> Next {
        if self.registers.selftest_busy {
            self.selftest(host);
            return Next::Again;
        }
        if let Some(register_write) = self.registers.stopping {
            self.stop(register_write, host);
            return Next::Again;
        }
        if self.registers.job.is_some() {
            if let Some(until) = self.rests(host) {
                return Next::At(until);
            }
            self.advance(host);
            return Next::Again;
        }
        let late = self.strike_late(host);
        sooner(self.begin_due(host), late)
    }

    /// Until when it does nothing more of the frame in work.
    fn rests(&mut self, host: &dyn Host) -> Option<Duration> {
        if self.options.rest.is_zero() {
            return None;
        }
        let now = host.now();
        let until = *self.registers.rests.get_or_insert(now + self.options.rest);
        if now >= until {
            self.registers.rests = None;
        }
        self.registers.rests
    }

    /// Sets a cause, and raises the interrupt if it is enabled.
    pub(super) fn cause(&mut self, cause: IRQ_STATUS, host: &mut dyn Host) {
        let r = &mut self.registers;
        r.irq_status = IRQ_STATUS::from_raw(r.irq_status.into_raw() | cause.into_raw());
        if r.irq_enable.into_raw() & cause.into_raw() != 0 {
            host.raise(VECTOR);
        }
    }

    pub(super) fn stop(&mut self, register_write: Option<u64>, host: &mut dyn Host) {
        let mut position = None;
        self.registers.rests = None;
        if let Some(mut job) = self.registers.job.take() {
            position = Some(job.position);
            self.finish(&mut job, RESULT_ABORTED, host);
        }
        self.registers.stopping = None;
        self.strike_at_stop(position, host);
        let queue = None;
        host.declare_for(register_write, Declaration::Idle { queue });
        if self.registers.irq_enable.idle() {
            host.declare(Declaration::cause(VECTOR, "the card became idle"));
        }
        self.cause(IRQ_STATUS::compose(false, true, false), host);
    }

    /// Begins the next job if it is time.
    fn begin_due(&mut self, host: &mut dyn Host) -> Next {
        if !self.registers.control.run() {
            return Next::Idle;
        }
        let interval = Duration::from_micros(self.registers.interval_us.into());
        if interval.is_zero() {
            let Some(slot) = self.registers.queue.pop_front() else {
                return Next::Idle;
            };
            self.begin(slot, host);
            return Next::Again;
        }
        let now = host.now();
        let r = &mut self.registers;
        let mut due = r.next_frame.unwrap_or(now);
        if now >= due {
            let missed = (now - due).as_nanos() / interval.as_nanos();
            let missed = u32::try_from(missed).unwrap_or(u32::MAX);
            r.sequence = r.sequence.wrapping_add(missed);
            due += interval * missed.saturating_add(1);
            r.next_frame = Some(due);
            if let Some(slot) = r.queue.pop_front() {
                self.begin(slot, host);
                return Next::Again;
            }
            r.sequence = r.sequence.wrapping_add(1);
        }
        r.next_frame = Some(due);
        let unneeded = r.queue.is_empty();
        Next::At(if unneeded {
            due.max(now + IDLE_TICK)
        } else {
            due
        })
    }

    fn begin(&mut self, number: u8, host: &mut dyn Host) {
        let r = &mut self.registers;
        let slot = r
            .slots
            .get(usize::from(number))
            .copied()
            .unwrap_or_default();
        r.done &= !(1u32.checked_shl(number.into()).unwrap_or(0));
        let spec = r.picture.frame(r.sequence, number);
        let job = slot.job;
        self.began = true;
        let size = spec.map_or(0, |spec| spec.frame_bytes());
        let mask = spec.filter(|_| slot.clip_size != 0);
        let mask = mask.map(|spec| Piece::read(slot.clip, spec.clip_bytes()).role(Role::Side));
        let frame = Piece::write(slot.base, size).of(r.picture.stride.into());
        let begun = Declaration::Begun {
            job,
            queue: QueueId::default(),
            label: Label::slot(number.into()).frame(r.sequence),
            pieces: std::iter::once(frame).chain(mask).collect(),
        };
        host.declare_for(slot.queued_by, begun);
        let next = r.sequence;
        let checked = spec.ok_or(RESULT_GEOMETRY).and_then(|spec| {
            job::check(&slot, &spec, &self.options)?;
            host.may_master().map_err(result_of)?;
            Ok(spec)
        });
        match checked {
            Ok(spec) => {
                self.accept(job, &slot, spec, host);
                if self.registers.irq_enable.begun() {
                    host.declare(Declaration::cause(VECTOR, "a frame began"));
                    self.cause(IRQ_STATUS::compose(true, false, false), host);
                }
            }
            Err(result) => {
                let record = Record {
                    job,
                    slot: number,
                    sequence: next,
                    result,
                    bytes: 0,
                };
                self.complete(&record, true, host);
            }
        }
    }

    fn accept(&mut self, number: JobId, slot: &Slot, spec: FrameSpec, host: &dyn Host) {
        let bytes = spec.frame_bytes();
        let strikes = self.strikes_of_frame(slot, bytes, host);
        let r = &mut self.registers;
        r.sequence = r.sequence.wrapping_add(1);
        r.run_frames = r.run_frames.saturating_add(1);
        let clip = (slot.clip, spec.clip_bytes() as usize);
        let job = Job {
            number,
            slot: spec.slot,
            spec,
            painter: Painter::new(spec),
            base: slot.base,
            clip: slot.clip,
            mask_wanted: (slot.clip_size != 0).then_some(clip),
            mask: None,
            position: 0,
            written: 0,
            completed: false,
            strikes,
        };
        let written = Written {
            spec,
            base: slot.base,
            tag: job.tag(),
        };
        r.last = Some(written);
        if let Some(last) = r.of_slot.get_mut(usize::from(spec.slot)) {
            *last = Some(written);
        }
        r.job = Some(job);
    }

    /// Writes the next pieces of the job in hand, and completes it after the last.
    fn advance(&mut self, host: &mut dyn Host) {
        let Some(mut job) = self.registers.job.take() else {
            return;
        };
        match self.write_pieces(&mut job, host) {
            Ok(false) => self.registers.job = Some(job),
            Ok(true) => self.finish(&mut job, RESULT_OK, host),
            Err(error) => self.finish(&mut job, result_of(error), host),
        }
    }

    /// Writes up to one step's bytes. True: the frame is complete.
    fn write_pieces(&mut self, job: &mut Job, host: &mut dyn Host) -> Result<bool, DmaError> {
        let tag = job.tag();
        host.may_master()?;
        if let Some((address, length)) = job.mask_wanted.take() {
            let mut mask = vec![0; length];
            host.dma_read(address, &mut mask, tag)?;
            self.compare_fetched(job.slot, address, &mask, host);
            job.mask = Some(mask);
            return Ok(false);
        }
        // A frame is two visible pieces where each counts.
        let (most, accesses) = match host.fine() {
            true => ((job.spec.frame_bytes() as usize).div_ceil(2), 1),
            false => (STEP_BYTES, ACCESSES),
        };
        let mut budget = most.min(STEP_BYTES);
        for _ in 0..accesses {
            let run = job.next_run();
            let position = run.as_ref().map_or(u64::MAX, |run| run.start);
            match self.strike_in_frame(job, position, host) {
                Struck::No => {}
                Struck::Severed => return Ok(false),
                Struck::Completed if host.fine() => return Ok(false),
                // What follows comes before the driver can have taken the frame back.
                Struck::Completed => budget = STEP_BYTES,
            }
            let Some(run) = run else {
                self.strike_at_end(job, host)?;
                return Ok(true);
            };
            self.bent(job, run.start);
            let length = usize::try_from(run.end - run.start)
                .unwrap_or(STEP_BYTES)
                .min(budget);
            let address = job.address(run.start);
            let painter = &mut job.painter;
            let mut make = |done: usize, piece: &mut [u8]| {
                painter.fill(piece, run.start + done as u64);
            };
            host.dma_fill(address, length, &mut make, tag)?;
            job.position = run.start + length as u64;
            job.written += length as u64;
            budget -= length;
            if budget == 0 {
                break;
            }
        }
        Ok(false)
    }

    fn finish(&mut self, job: &mut Job, result: u8, host: &mut dyn Host) {
        let (bytes, told) = self.told(job, result);
        if !job.completed {
            self.complete(&job.record(result, bytes), told, host);
        }
        self.after_completion(job, told, host);
    }

    /// Writes a slot's record, sets its bit in `DONE` and, if `told`, the cause.
    pub(super) fn complete(&mut self, record: &Record, told: bool, host: &mut dyn Host) {
        let Record {
            job,
            slot: number,
            sequence,
            result,
            bytes,
        } = *record;
        let r = &mut self.registers;
        if let Some(slot) = r.slots.get_mut(usize::from(number)) {
            slot.result = result;
            slot.sequence = sequence;
            slot.bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
            slot.time_ns = u64::try_from(host.now().as_nanos()).unwrap_or(u64::MAX);
        }
        r.done |= 1u32.checked_shl(number.into()).unwrap_or(0);
        let owed = r.irq_enable.done().then_some(Owed::now(VECTOR));
        let error = (result != RESULT_OK).then_some(result_name(result));
        host.declare(Declaration::Done {
            job,
            error: error.map(Cow::Borrowed),
            moved: bytes,
            owed,
        });
        if told {
            self.cause(IRQ_STATUS::compose(false, false, true), host);
        }
    }

    /// Reads the word of the self-test, or writes it back; both in one step unless each is to be seen.
    fn selftest(&mut self, host: &mut dyn Host) {
        let address = self.registers.selftest_address;
        let result = match job::reach(address, 16, self.options.address_bits) {
            _ if !address.is_multiple_of(8) => Err(regs::RESULT_ALIGNMENT),
            Ok(_) => self.selftest_at(address, host).map_err(result_of),
            Err(result) => Err(result),
        };
        let r = &mut self.registers;
        (r.selftest_busy, r.selftest_result) = match result {
            Ok(true) => (false, RESULT_OK),
            Ok(false) => return,
            Err(result) => (false, result),
        };
        r.selftest_word = None;
    }

    /// True: it is over.
    fn selftest_at(&mut self, address: u64, host: &mut dyn Host) -> Result<bool, DmaError> {
        host.may_master()?;
        let word = match self.registers.selftest_word {
            Some(word) => word,
            None => {
                let mut word = [0; 8];
                host.dma_read(address, &mut word, Tag::default())?;
                self.registers.selftest_word = Some(word);
                if host.fine() {
                    return Ok(false);
                }
                word
            }
        };
        host.dma_write(address + 8, &word.map(|byte| !byte), Tag::default())?;
        Ok(true)
    }
}

/// The `RESULT_*` of an access that was refused.
fn result_of(error: DmaError) -> u8 {
    match error {
        DmaError::NotMaster | DmaError::NotPowered => RESULT_NO_MASTER,
        DmaError::Unmapped
        | DmaError::Unbacked
        | DmaError::Lost
        | DmaError::Direction
        | DmaError::Wraps => RESULT_BUS,
    }
}
