// SPDX-License-Identifier: MIT OR Apache-2.0

//! What each fault does. The engine and the registers call these functions where a fault can bend the truth.

use std::time::Duration;

use super::engine::{CaptureCard, VECTOR, Written};
use super::fault::Fault;
use super::job::{Job, Slot};
use super::pattern;
use super::planted::{Chance, Planted, Strike};
use super::regs::{self, IRQ_STATUS, RESULT_OK};
use landfall_device::contract::{DmaError, Host, Next, Tag};

/// How much of a frame's end comes after an early completion or interrupt, bytes.
pub(super) const LAST: u64 = 64;
/// How far the fault `shift` displaces a frame.
pub(super) const SHIFT: u64 = 4096;
/// Bytes of an access that should not be, if it is not a frame's.
const PIECE: usize = 64;
/// How far from the frame the fault `probe-page` reads.
const BESIDE: u64 = 256;
/// Bytes of a page, as far as a card knows of pages.
const PAGE: u64 = 4096;
/// Where the fault `early-dma` writes.
const EARLY: u64 = 0x1_0000;
/// What is written where nothing should be.
const JUNK: [u8; PIECE] = [0xa5; PIECE];
/// Bytes that the fault `long-length` reports.
const LONG: u64 = 0x7fff_ffff;
/// How long after idle the fault `after-stop` strikes.
const LATE: Duration = Duration::from_millis(5);
/// How often, and how many times, the fault `ignore-stop` goes on.
const GO_ON: Duration = Duration::from_millis(1);
const TIMES: u32 = 100;

/// Accesses that are yet to come although the card said idle. No reset ends them, only loss of power.
#[derive(Debug, Default)]
pub(super) struct Afterlife {
    late: Option<Late>,
    stray: Option<Stray>,
}

/// One write that should not happen.
#[derive(Clone, Copy, Debug)]
struct Late {
    due: Duration,
    target: Written,
    strike: Strike,
}

/// A frame that is written on.
#[derive(Clone, Copy, Debug)]
struct Stray {
    due: Duration,
    target: Written,
    position: u64,
    left: u32,
    strike: Strike,
}

/// What came of the faults in a frame, at one place of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Struck {
    /// Nothing that concerns who writes it.
    No,
    /// The frame was completed, though not all of it is written.
    Completed,
    /// The card is gone.
    Severed,
}

impl CaptureCard {
    fn chance(&self, frame: Option<u32>, host: &dyn Host) -> Chance {
        Chance {
            frame,
            now: host.now(),
        }
    }

    /// The faults that strike the frame that is begun now, in this slot.
    pub(super) fn strikes_of_frame(
        &mut self,
        slot: &Slot,
        bytes: u64,
        host: &dyn Host,
    ) -> Vec<Strike> {
        let chance = self.chance(Some(self.registers.run_frames), host);
        let room = beside(slot.base, bytes).is_some();
        let mut strikes = self.faults.choose(chance, |planted| match planted.what {
            Fault::Shift | Fault::Truncate32 | Fault::Truncate { .. } | Fault::Route => {
                planted.what.bend(slot.base) != slot.base
            }
            Fault::WriteClip => slot.clip_size != 0,
            Fault::ProbePage => room,
            Fault::Sever => !at_a_write(planted),
            Fault::AfterStop | Fault::IgnoreStop | Fault::EarlyDma | Fault::ProbeIrq => false,
            Fault::Posted { .. } | Fault::WatchFetch => false,
            _ => true,
        });
        for strike in &mut strikes {
            strike.byte.get_or_insert(strike.what.usual_byte(bytes));
        }
        strikes
    }

    /// Lets the faults strike whose place in the frame is reached: the next byte to be written is at `position`.
    pub(super) fn strike_in_frame(
        &mut self,
        job: &mut Job,
        position: u64,
        host: &mut dyn Host,
    ) -> Struck {
        let mut struck = Struck::No;
        let mut strikes = std::mem::take(&mut job.strikes);
        for strike in strikes.iter_mut().filter(|strike| strike.is_due(position)) {
            let tag = job.tag();
            let bytes = job.spec.frame_bytes();
            // Of these accesses, refused or not, nobody is told.
            match strike.what {
                Fault::EarlyIrq => self.cause(IRQ_STATUS::compose(false, false, true), host),
                Fault::EarlyDone if !job.completed => {
                    job.completed = true;
                    self.complete(&job.record(RESULT_OK, bytes), true, host);
                    struck = Struck::Completed;
                }
                Fault::ReadFrame => {
                    let mut piece = [0; PIECE];
                    let (from, length) = inside(strike.byte, bytes);
                    let into = piece.get_mut(..length).unwrap_or_default();
                    let _ = host.dma_read(job.base.wrapping_add(from), into, tag);
                }
                Fault::WriteClip => {
                    let (_, length) = inside(None, job.spec.clip_bytes());
                    let junk = JUNK.get(..length).unwrap_or_default();
                    let _ = host.dma_write(job.clip, junk, tag);
                }
                Fault::Stale => {
                    let Some(target) = self.stale(job) else {
                        continue;
                    };
                    let (_, length) = inside(None, target.spec.frame_bytes());
                    let junk = JUNK.get(..length).unwrap_or_default();
                    let _ = host.dma_write(target.base, junk, tag);
                }
                Fault::Sever => {
                    self.sever(host);
                    struck = Struck::Severed;
                }
                _ => continue,
            }
            self.faults.struck(strike);
            if struck == Struck::Severed {
                break;
            }
        }
        job.strikes = strikes;
        struck
    }

    /// Counts the faults that displace what is written at `position` of the frame.
    pub(super) fn bent(&self, job: &mut Job, position: u64) {
        let bends = |strike: &&mut Strike| strike.bends(position);
        for strike in job.strikes.iter_mut().filter(bends) {
            self.faults.struck(strike);
        }
    }

    /// Lets the faults strike that come after the frame's last byte.
    pub(super) fn strike_at_end(
        &mut self,
        job: &mut Job,
        host: &mut dyn Host,
    ) -> Result<(), DmaError> {
        let tag = job.tag();
        let bytes = job.spec.frame_bytes();
        let (end, beside) = (job.address(bytes), beside(job.base, bytes));
        for strike in job.strikes.iter_mut().filter(|strike| !strike.done) {
            match (strike.what, beside) {
                (Fault::Overrun, _) => {
                    self.faults.struck(strike);
                    host.dma_write(end, &[0xa5], tag)?;
                }
                (Fault::ProbePage, Some(beside)) => {
                    self.faults.struck(strike);
                    let _ = host.dma_read(beside, &mut [0; PIECE], tag);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// How many bytes a job's record tells, and whether its completion is told: as `written` and yes, but for faults.
    pub(super) fn told(&self, job: &mut Job, result: u8) -> (u64, bool) {
        let (mut bytes, mut told) = (job.written, true);
        for strike in job.strikes.iter_mut() {
            match strike.what {
                Fault::Short if result == RESULT_OK => bytes = bytes.max(job.spec.frame_bytes()),
                Fault::LongLength if result == RESULT_OK => bytes = LONG,
                Fault::LostIrq => told = false,
                _ => continue,
            }
            self.faults.struck(strike);
        }
        (bytes, told)
    }

    /// After a job's completion was told, or not: raises its interrupt again if a fault says so, and gives back the
    /// strikes that came to nothing.
    pub(super) fn after_completion(&mut self, job: &mut Job, told: bool, host: &mut dyn Host) {
        let told = told && self.registers.irq_enable.done();
        let twice = |strike: &&mut Strike| told && strike.what == Fault::DuplicateIrq;
        for strike in job.strikes.iter_mut().filter(twice) {
            host.raise(VECTOR);
            self.faults.struck(strike);
        }
        for strike in &job.strikes {
            self.faults.spare(strike);
        }
    }

    /// A register was written: at once come faults that wait for that.
    pub(super) fn strike_at_write(&mut self, offset: usize, host: &mut dyn Host) {
        self.faults.written(offset);
        let chance = self.chance(None, host);
        let severs = |planted: &Planted| planted.what == Fault::Sever && at_a_write(planted);
        if let Some(mut strike) = self.faults.choose_one(chance, severs) {
            self.sever(host);
            self.faults.struck(&mut strike);
        }
    }

    /// A register is about to be read, of which the card makes nothing but mischief.
    pub(super) fn strike_at_read(&mut self, offset: usize, host: &mut dyn Host) {
        self.was_read = true;
        let nothing_enabled = self.registers.irq_enable.into_raw() == 0;
        if offset == regs::ID::OFFSET && nothing_enabled {
            let chance = self.chance(None, host);
            let probe = |planted: &Planted| planted.what == Fault::ProbeIrq;
            for mut strike in self.faults.choose(chance, probe) {
                host.raise(VECTOR);
                self.faults.struck(&mut strike);
            }
        }
        self.strike_early(host);
    }

    /// The card may have become a bus master.
    pub(super) fn strike_early(&mut self, host: &mut dyn Host) {
        if !self.was_read || self.began || host.may_master().is_err() {
            return;
        }
        let chance = self.chance(None, host);
        let early = |planted: &Planted| planted.what == Fault::EarlyDma;
        for mut strike in self.faults.choose(chance, early) {
            let _ = host.dma_write(EARLY, &JUNK, Tag::default());
            self.faults.struck(&mut strike);
        }
    }

    /// The card becomes idle after a stop; `position`: how much was written of the frame in hand, if one was.
    pub(super) fn strike_at_stop(&mut self, position: Option<u64>, host: &mut dyn Host) {
        let Some(target) = self.registers.last else {
            return;
        };
        let chance = self.chance(None, host);
        let of = |what| move |planted: &Planted| planted.what == what;
        if let Some(strike) = self.faults.choose_one(chance, of(Fault::AfterStop)) {
            self.afterlife.late = Some(Late {
                due: host.now() + LATE,
                target,
                strike,
            });
        }
        if let Some(strike) = self.faults.choose_one(chance, of(Fault::IgnoreStop)) {
            self.afterlife.stray = Some(Stray {
                due: host.now() + GO_ON,
                target,
                position: position.unwrap_or(0),
                left: TIMES,
                strike,
            });
        }
    }

    /// Whether it is yet to do what should not happen any more.
    pub(super) fn has_afterlife(&self) -> bool {
        self.afterlife.late.is_some() || self.afterlife.stray.is_some()
    }

    /// Does what is due of what should not happen any more; tells when the next of it is.
    pub(super) fn strike_late(&mut self, host: &mut dyn Host) -> Option<Duration> {
        let due = [self.late(host), self.stray(host)];
        due.into_iter().flatten().min()
    }

    fn late(&mut self, host: &mut dyn Host) -> Option<Duration> {
        let mut late = self.afterlife.late?;
        if host.now() < late.due {
            return Some(late.due);
        }
        self.afterlife.late = None;
        let (_, length) = inside(None, late.target.spec.frame_bytes());
        let mut bytes = [0; PIECE];
        let bytes = bytes.get_mut(..length).unwrap_or_default();
        pattern::fill(bytes, 0, &late.target.spec);
        for byte in bytes.iter_mut() {
            *byte = !*byte;
        }
        // Refused or not, nobody is told.
        let _ = host.dma_write(late.target.base, bytes, late.target.tag);
        self.faults.struck(&mut late.strike);
        None
    }

    fn stray(&mut self, host: &mut dyn Host) -> Option<Duration> {
        let stray = self.afterlife.stray.as_mut()?;
        if host.now() < stray.due {
            return Some(stray.due);
        }
        let Written { spec, base, tag } = stray.target;
        let bytes = spec.frame_bytes();
        let from = if stray.position < bytes {
            stray.position
        } else {
            0
        };
        let length = (bytes - from).min(PAGE);
        let mut make = |done: usize, piece: &mut [u8]| {
            pattern::fill(piece, from + done as u64, &spec);
        };
        // CAST: at most a page.
        let _ = host.dma_fill(base.wrapping_add(from), length as usize, &mut make, tag);
        self.faults.struck(&mut stray.strike);
        stray.position = from + length;
        stray.left -= 1;
        stray.due = host.now() + GO_ON;
        let due = (stray.left > 0).then_some(stray.due);
        if due.is_none() {
            self.afterlife.stray = None;
        }
        due
    }

    /// Where the fault `stale` writes: the buffer that was taken back last and has not been queued since.
    fn stale(&self, job: &Job) -> Option<Written> {
        let r = &self.registers;
        let taken = r.taken?;
        let slot = taken.spec.slot;
        (slot != job.slot && !r.queue.contains(&slot) && taken.base != job.base).then_some(taken)
    }

    fn sever(&mut self, host: &mut dyn Host) {
        self.severed = true;
        host.sever();
    }
}

impl Strike {
    /// Whether its place in the frame is reached and it has not struck.
    fn is_due(&self, position: u64) -> bool {
        !self.done && self.byte.is_none_or(|byte| byte <= position)
    }

    /// Where it ends the frame, if it does.
    pub(super) fn end(&self) -> Option<u64> {
        self.byte.filter(|_| self.what == Fault::Short)
    }

    /// Whether it displaces what is written at `position` of the frame.
    pub(super) fn bends(&self, position: u64) -> bool {
        let bends = matches!(
            self.what,
            Fault::Shift | Fault::Truncate32 | Fault::Truncate { .. } | Fault::Route
        );
        bends && self.byte.is_none_or(|byte| byte <= position)
    }
}

/// Whether a planted `sever` waits for a register write alone.
fn at_a_write(planted: &Planted) -> bool {
    let when = &planted.when;
    when.write.is_some() && when.frame.is_none() && when.byte.is_none()
}

/// A piece of a range of `bytes` bytes, at `from` or so that it lies inside: offset and length.
fn inside(from: Option<u64>, bytes: u64) -> (u64, usize) {
    let length = bytes.min(PIECE as u64);
    // CAST: at most PIECE.
    (from.unwrap_or(0).min(bytes - length), length as usize)
}

/// 64 bytes beside a frame, in its last page or its first; `None`: it fills them.
fn beside(base: u64, bytes: u64) -> Option<u64> {
    let end = base.checked_add(bytes)?;
    let after = end.checked_add(BESIDE)?;
    let room = |address: u64, page: u64| {
        let last = address.checked_add(PIECE as u64 - 1)?;
        (address / PAGE == page && last / PAGE == page).then_some(address)
    };
    let before = base.checked_sub(BESIDE + PIECE as u64);
    room(after, end.saturating_sub(1) / PAGE).or_else(|| room(before?, base / PAGE))
}

/// The earlier of what a card wants anyway and a time at which it wants to do something.
pub(super) fn sooner(next: Next, due: Option<Duration>) -> Next {
    match (next, due) {
        (Next::Idle, Some(due)) => Next::At(due),
        (Next::At(time), Some(due)) => Next::At(time.min(due)),
        (next, _) => next,
    }
}
