// SPDX-License-Identifier: MIT OR Apache-2.0

//! A channel: a ring in memory, which it reads or writes as time passes.

use std::time::Duration;

use super::regs::*;
use super::sound::recorded;
use super::{BURST, Fault, Shared};
use landfall_device::contract::*;
use landfall_device::parts::RegisterFile;

/// How far it falls behind its time before it gives the rest up.
const BEHIND: Duration = Duration::from_millis(20);
/// Of a channel's control register: the end of a period is an interrupt.
const ON_COUNT: u8 = 1;

/// Where a channel's registers are, and what is its own in those that channels share.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) queue: QueueId,
    pub(super) way: Direction,
    base: usize,
    address: usize,
    base_count: usize,
    count: usize,
    base_period: usize,
    period: usize,
    /// Its bit of `DISR` and of `CHSS`.
    pub(super) bit: u32,
}

pub(super) const ADC: Place = Place {
    queue: QueueId(0),
    way: Direction::Write,
    base: ADCBA::OFFSET,
    address: ADCCA::OFFSET,
    base_count: ADCBC::OFFSET,
    count: ADCCC::OFFSET,
    base_period: ADCIB::OFFSET,
    period: ADCIC::OFFSET,
    bit: 1 << 1,
};

pub(super) const WAVE: Place = Place {
    queue: QueueId(1),
    way: Direction::Read,
    base: WAVBA::OFFSET,
    address: WAVCA::OFFSET,
    base_count: WAVBC::OFFSET,
    count: WAVCC::OFFSET,
    base_period: WAVIB::OFFSET,
    period: WAVIC::OFFSET,
    bit: 1 << 3,
};

impl Place {
    /// Whether it is to work.
    pub(super) fn is_on(&self, file: &RegisterFile) -> bool {
        match self.way {
            Direction::Read => WSMC::from_raw(file.get(WSMC::OFFSET) as u16).wave(),
            Direction::Write => RAMC::from_raw(file.get(RAMC::OFFSET) as u16).adc(),
        }
    }

    /// Whether the end of a period is an interrupt.
    pub(super) fn interrupts(&self, file: &RegisterFile) -> bool {
        let interrupt = match self.way {
            Direction::Read => DMAWAV::from_raw(file.get(DMAWAV::OFFSET) as u16).interrupt(),
            Direction::Write => DMAADC::from_raw(file.get(DMAADC::OFFSET) as u16).interrupt(),
        };
        interrupt == ON_COUNT
    }

    fn repeats(&self, file: &RegisterFile) -> bool {
        match self.way {
            Direction::Read => DMAWAV::from_raw(file.get(DMAWAV::OFFSET) as u16).repeat(),
            Direction::Write => DMAADC::from_raw(file.get(DMAADC::OFFSET) as u16).repeat(),
        }
    }

    /// Bytes a second.
    fn speed(&self, file: &RegisterFile) -> u64 {
        let (rate, stereo, wide) = match self.way {
            Direction::Read => {
                let control = WSMC::from_raw(file.get(WSMC::OFFSET) as u16);
                let rate = file.get(WAS::OFFSET).into();
                (rate, control.stereo(), control.wide())
            }
            Direction::Write => {
                let control = RAMC::from_raw(file.get(RAMC::OFFSET) as u16);
                (48_000, control.stereo(), control.wide())
            }
        };
        rate << (u32::from(stereo) + u32::from(wide))
    }

    /// Whether a register says how far the channel is.
    pub(super) const fn is_running(&self, register: usize) -> bool {
        register == self.address || register == self.count || register == self.period
    }
}

/// A run of bytes in hand: to the end of the period, or of the ring.
#[derive(Clone, Copy, Debug)]
struct Run {
    job: JobId,
    length: u64,
    moved: u64,
}

/// What a channel does.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) place: &'static Place,
    /// It was told to work, and by which register write.
    on: bool,
    write: Option<u64>,
    /// When the burst in hand began; `None`: it stands.
    began: Option<Duration>,
    run: Option<Run>,
    /// Bytes since it was told to work.
    moved: u64,
    /// Where the last burst was.
    last: Option<(u64, Tag)>,
}

impl Channel {
    pub(super) const fn new(place: &'static Place) -> Self {
        Self {
            place,
            on: false,
            write: None,
            began: None,
            run: None,
            moved: 0,
            last: None,
        }
    }

    /// A register was written: whether the channel is to work may have changed.
    pub(super) fn follow(&mut self, shared: &mut Shared, host: &mut dyn Host) {
        let on = self.place.is_on(&shared.file);
        if on == self.on {
            return;
        }
        self.on = on;
        match on {
            true => {
                (self.began, self.moved) = (Some(host.now()), 0);
                self.write = host.register_write();
            }
            false => self.stop(shared, host),
        }
    }

    fn stop(&mut self, shared: &mut Shared, host: &mut dyn Host) {
        let queue = Some(self.place.queue);
        host.declare(Declaration::Stopping { queue });
        self.drop_run("stopped", host);
        self.began = None;
        if let Some((address, tag)) = self.last
            && self.place.way == Direction::Write
            && shared.fault == Some(Fault::AfterStop)
            && shared.periods > shared.fault_period
        {
            shared.late.arm(address, tag, host);
        }
        host.declare(Declaration::Idle { queue });
    }

    /// The driver says how far the channel is. It has to stand for that.
    pub(super) fn moved_by_driver(&mut self, host: &mut dyn Host) {
        if self.began.is_some() {
            let why = "the channel was moved while it works".into();
            host.declare(Declaration::NotNow { why });
            self.drop_run("the channel was moved", host);
        }
    }

    fn drop_run(&mut self, why: &'static str, host: &mut dyn Host) {
        if let Some(run) = self.run.take() {
            host.declare(Declaration::failed(run.job, why, None));
        }
    }

    /// It stops by itself.
    fn end(&mut self, shared: &mut Shared) {
        self.began = None;
        shared.file.set(CHSS::OFFSET, self.place.bit);
    }

    /// Moves a burst, if it is time.
    pub(super) fn step(&mut self, shared: &mut Shared, host: &mut dyn Host) -> Next {
        let Some(began) = self.began else {
            return Next::Idle;
        };
        let (place, file) = (self.place, &shared.file);
        let address = file.get(place.address);
        let (count, period) = (file.get(place.count), file.get(place.period));
        if count == 0 {
            self.end(shared);
            return Next::Idle;
        }
        let to_end = match period {
            0 => count,
            period => count.min(period),
        };
        // Behind the last address comes the first.
        let to_end = u64::from(to_end).min((1 << 32) - u64::from(address));
        let length = to_end.min(BURST as u64);
        let Some(takes) = (length * 1_000_000_000).checked_div(place.speed(file)) else {
            return Next::Idle; // until there is a rate
        };
        let due = began.saturating_add(Duration::from_nanos(takes));
        let now = host.now();
        if now < due {
            return Next::At(due);
        }
        let ends = u64::from(period) == length;
        if ends && place.interrupts(file) && file.get(DISR::OFFSET) & place.bit != 0 {
            return Next::Idle; // until it is cleared
        }
        self.began = Some(due.max(now.saturating_sub(BEHIND)));
        let run = self.run.unwrap_or_else(|| {
            let job = shared.job();
            let piece = match place.way {
                Direction::Read => Piece::read(address.into(), to_end),
                Direction::Write => Piece::write(address.into(), to_end),
            };
            let begun = Declaration::Begun {
                job,
                queue: place.queue,
                label: Label::default(),
                pieces: vec![piece],
            };
            host.declare_for(self.write, begun);
            Run {
                job,
                length: to_end,
                moved: 0,
            }
        });
        self.run = Some(run);
        match self.burst(address, length as usize, ends, run.job, shared, host) {
            Ok(()) => self.advance(run, length as u32, shared, host),
            Err(_) => {
                self.end(shared);
                self.run = None;
                let owed = shared.cause(DISR_ABORT);
                let why = "the bus refused a burst";
                host.declare(Declaration::failed(run.job, why, owed));
                shared.send(owed, host);
            }
        }
        Next::Again
    }

    fn burst(
        &mut self,
        address: u32,
        length: usize,
        ends: bool,
        job: JobId,
        shared: &mut Shared,
        host: &mut dyn Host,
    ) -> Result<(), DmaError> {
        let (mut bytes, tag) = ([0; BURST], Tag::job(job));
        let bytes = &mut bytes[..length];
        let at = u64::from(address);
        if self.place.way == Direction::Read {
            host.dma_read(at, bytes, tag)?;
        } else {
            for (byte, number) in bytes.iter_mut().zip(self.moved..) {
                *byte = recorded(number);
            }
        }
        if ends && shared.strikes(Fault::Corrupt) {
            bytes[length / 2] ^= 1;
        }
        if self.place.way == Direction::Read {
            shared.speaker.play(bytes);
        } else {
            host.dma_write(at, bytes, tag)?;
            self.last = Some((at, tag));
        }
        self.moved += length as u64;
        Ok(())
    }

    /// A burst is in memory, or was read.
    fn advance(&mut self, mut run: Run, length: u32, shared: &mut Shared, host: &mut dyn Host) {
        let place = self.place;
        let file = &mut shared.file;
        let address = file.get(place.address).wrapping_add(length);
        let count = file.get(place.count).saturating_sub(length);
        let left = file.get(place.period).checked_sub(length);
        let over = left == Some(0);
        file.put(place.address, address);
        file.put(place.count, count);
        if let Some(left) = left {
            let next = if over {
                file.get(place.base_period)
            } else {
                left
            };
            file.put(place.period, next);
        }
        run.moved += u64::from(length);
        let finished = run.moved >= run.length;
        if count == 0 {
            self.turn(address, run, shared, host);
        }
        let mut owed = None;
        let mut lost = false;
        if over {
            lost = shared.strikes(Fault::LostInterrupt);
            shared.periods += 1;
            if place.interrupts(&shared.file) {
                owed = match lost {
                    true => Some(Owed::now(Vector(0))),
                    false => shared.cause(place.bit),
                };
            }
        }
        self.run = Some(run).filter(|_| !finished);
        if finished {
            host.declare(Declaration::done(run.job, run.moved, owed));
            shared.send(owed.filter(|_| !lost), host);
        }
    }

    /// The ring's end, which its beginning follows, or nothing.
    fn turn(&mut self, end: u32, run: Run, shared: &mut Shared, host: &mut dyn Host) {
        let place = self.place;
        if place.way == Direction::Write
            && shared.fault == Some(Fault::Overrun)
            && shared.periods >= shared.fault_period
            && !std::mem::replace(&mut shared.overran, true)
        {
            // A byte that may not be written is not written; nothing hangs on it.
            let _ = host.dma_write(end.into(), &crate::late::STRAY[..1], Tag::job(run.job));
        }
        if !place.repeats(&shared.file) {
            return self.end(shared);
        }
        let (base, bytes) = (
            shared.file.get(place.base),
            shared.file.get(place.base_count),
        );
        shared.file.put(place.address, base);
        shared.file.put(place.count, bytes);
    }
}

/// Of `DISR`: an access was refused.
pub(super) const DISR_ABORT: u32 = 1 << 15;
