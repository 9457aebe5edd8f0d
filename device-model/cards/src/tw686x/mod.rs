// SPDX-License-Identifier: MIT OR Apache-2.0

//! A capture card with an Intersil/Techwell TW6864, 6865, 6868 or 6869, as far as its driver in Linux (`tw686x`) uses it.
//! This page is its data sheet; it was written from what that driver does, which nobody here wrote.
//!
//! `1797:6869` or as [`Chip`] says, class `0x040000`, BAR 0 of 4 KiB, the interrupt line and no messages. Eight channels of
//! video, or four, and as many of sound, write to 32-bit addresses. A channel runs while its bit is set in
//! `DMA_CHANNEL_ENABLE` and in `DMA_CMD`, and `DMA_CMD` enables DMA as a whole. It has two buffers, `P` and `B`, fills them in
//! turns, `P` first, and sets its bits in `INT_STATUS` and `PB_STATUS` when the last byte of one is in memory. Whatever ends
//! the running condition ends the transfer in the same write.
//!
//! A picture comes as the camera sees it, one field behind the other, in [`BURSTS`] bursts over the whole of its period. In
//! frame mode the lines of both fields go to one buffer, in turns; in list mode (scatter-gather) the picture goes as it comes
//! to the pieces of a list of up to 1024 entries, which is fetched when the picture begins. Sound goes at the end of its
//! period, all at once; no list is for it.
//!
//! A picture or a piece of sound begins only while the bus may be mastered, and when the channel's last interrupt was
//! read, so that a slow machine sees fewer and not torn ones; a real card waits for nobody. One of which a byte was refused,
//! or for which the list is too short, is abandoned and interrupts nobody.
//!
//! A picture is a job, and so is a piece of sound; each channel is a queue, of the number of its bit.

mod channel;
mod fault;
pub mod picture;
#[expect(
    non_camel_case_types,
    reason = "the table is whole, and its names are the data sheet's"
)]
mod regs;
#[cfg(test)]
mod tests;

use std::time::Duration;

use self::channel::{Channel, Work};
pub use self::fault::Fault;
use landfall_device::contract::*;
use regs::*;

/// Bursts in which a picture comes.
pub const BURSTS: u32 = 16;
/// Channels: of video, then of sound.
const CHANNELS: usize = 2 * SOUND;
/// How long after its cause a fault of the late kind strikes.
const LATE: Duration = Duration::from_millis(200);
/// How much it writes.
const LATE_BYTES: [u8; 64] = [0xdb; 64];
/// How often a channel looks whether its interrupt was read.
const LOOK: Duration = Duration::from_millis(1);

/// Which chip the card has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Chip {
    /// Four channels that share two lists.
    Tw6864,
    /// Four channels, each with lists of its own.
    Tw6865,
    /// Four channels that share two lists; four more need another chip, which this card has not.
    Tw6868,
    /// Eight channels, each with lists of its own.
    #[default]
    Tw6869,
}

impl Chip {
    const fn device(self) -> u16 {
        match self {
            Self::Tw6864 => 0x6864,
            Self::Tw6865 => 0x6865,
            Self::Tw6868 => 0x6868,
            Self::Tw6869 => 0x6869,
        }
    }

    /// Channels of video, and as many of sound.
    pub const fn channels(self) -> usize {
        match self {
            Self::Tw6864 | Self::Tw6865 | Self::Tw6868 => 4,
            Self::Tw6869 => 8,
        }
    }

    /// Whether each channel has lists of its own.
    const fn own_lists(self) -> bool {
        matches!(self, Self::Tw6865 | Self::Tw6869)
    }
}

/// How the card is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tw686xOptions {
    /// Which chip it has.
    pub chip: Chip,
    /// What it does wrong.
    pub fault: Option<Fault>,
    /// Which frame of channel 0 since power-on the fault `overrun` strikes, from 0.
    pub fault_frame: u32,
    /// From one picture to the next; `None`: as the standard has it.
    pub period: Option<Duration>,
}

/// The card.
#[derive(Debug)]
pub struct Tw686x {
    options: Tw686xOptions,
    /// What is in BAR 0, as it was written.
    words: Vec<u32>,
    /// Channels that filled a buffer since `INT_STATUS` was read.
    pending: u32,
    /// What that read last gave.
    read: u32,
    /// Which buffer each channel filled last; as it was when `INT_STATUS` was read.
    filled: u32,
    shown: u32,
    channels: [Channel; CHANNELS],
    /// Number of the next job; no reset begins it anew.
    jobs: u64,
    late: Late,
}

/// A write that should not happen.
#[derive(Clone, Copy, Debug, Default)]
enum Late {
    /// None is to come.
    #[default]
    Never,
    At(Duration),
    /// It came.
    Over,
}

impl Default for Tw686x {
    fn default() -> Self {
        Self::new(Tw686xOptions::default())
    }
}

impl Tw686x {
    /// Makes a card, as after power-on.
    pub fn new(options: Tw686xOptions) -> Self {
        Self {
            options,
            words: vec![0; SIZE / 4],
            pending: 0,
            read: 0,
            filled: 0,
            shown: 0,
            channels: Default::default(),
            jobs: 0,
            late: Late::Never,
        }
    }

    fn word(&self, offset: usize) -> u32 {
        self.words.get(offset / 4).copied().unwrap_or(UNCLAIMED)
    }

    /// The channels that run by what the registers say, by bit.
    fn enabled(&self) -> u32 {
        let cmd = DMA_CMD::from_raw(self.word(DMA_CMD::OFFSET));
        let there = (1 << self.options.chip.channels()) - 1;
        match cmd.enable() {
            true => {
                let both = self.word(DMA_CHANNEL_ENABLE::OFFSET) & u32::from(cmd.channels());
                both & (there | there << SOUND)
            }
            false => 0,
        }
    }

    /// Starts and stops channels by what the registers say.
    fn switch(&mut self, host: &mut dyn Host) {
        let enabled = self.enabled();
        for number in 0..CHANNELS {
            match (self.channels[number].due, enabled >> number & 1) {
                (None, 1) => {
                    // The rest of what is running; the first whole one begins then.
                    self.channels[number].due = Some(host.now() + self.period(number));
                    self.channels[number].buffer = 0;
                }
                (Some(_), 0) => self.stop(number, host),
                _ => {}
            }
        }
    }

    fn stop(&mut self, number: usize, host: &mut dyn Host) {
        let queue = Some(queue(number));
        host.declare(Declaration::Stopping { queue });
        let channel = &mut self.channels[number];
        channel.due = None;
        if let Some(work) = channel.work.take() {
            host.declare(work.done(Some("stopped"), None));
        }
        let fault = self.options.fault == Some(Fault::AfterStop) && number == 0;
        if fault && self.channels[0].last.is_some() && matches!(self.late, Late::Never) {
            self.late = Late::At(host.now() + LATE);
        }
        host.declare(Declaration::Idle { queue });
    }

    fn soft_reset(&mut self, host: &mut dyn Host) {
        self.forget();
        host.declare(Declaration::Reset);
    }

    /// As after power-on, but for what no reset begins anew.
    fn forget(&mut self) {
        let fresh = Self::new(self.options.clone());
        let old = std::mem::replace(self, fresh);
        (self.jobs, self.late) = (old.jobs, old.late);
        for (channel, old) in self.channels.iter_mut().zip(old.channels) {
            (channel.frames, channel.last) = (old.frames, old.last);
        }
    }

    /// Begins what a channel is to do, if it may.
    fn begin(&mut self, number: usize, host: &mut dyn Host) {
        let now = host.now();
        if self.pending >> number & 1 != 0 {
            self.channels[number].due = Some(now + LOOK);
            return;
        }
        let may = host.may_master().is_ok();
        let Some(work) = may.then(|| self.latch(number, host)).flatten() else {
            self.channels[number].due = Some(now + self.period(number));
            return;
        };
        self.jobs += 1;
        let channel = &mut self.channels[number];
        channel.frames = channel.frames.wrapping_add(1);
        channel.due = Some(now + work.pace());
        channel.last = work.first().map(|address| (address, work.tag()));
        host.declare_for(channel.programmed[channel.buffer], work.begun());
        channel.work = Some(work);
    }

    /// Does the next burst of a channel's work.
    fn advance(&mut self, number: usize, mut work: Work, host: &mut dyn Host) {
        if let Err(why) = work.burst(host) {
            host.declare(work.done(Some(why), None));
            self.channels[number].due = Some(host.now() + self.period(number));
            return;
        }
        if work.is_over() {
            self.channels[number].due = Some(host.now());
            return self.complete(number, &work, host);
        }
        let channel = &mut self.channels[number];
        channel.due = Some(host.now() + work.pace());
        channel.work = Some(work);
    }

    fn complete(&mut self, number: usize, work: &Work, host: &mut dyn Host) {
        let struck = number == 0 && work.frame() == self.options.fault_frame;
        if self.options.fault == Some(Fault::Overrun) && struck {
            // A byte that may not be written is not written; nothing hangs on it.
            let _ = host.dma_write(work.end(), &LATE_BYTES[..1], work.tag());
        }
        let buffer = &mut self.channels[number].buffer;
        self.filled = self.filled & !(1 << number) | (*buffer as u32) << number;
        self.pending |= 1 << number;
        *buffer = 1 - *buffer;
        host.declare(work.done(None, Some(Owed::now(Vector(0)))));
        host.raise(Vector(0));
    }

    /// Strikes if it is time; tells when to look again.
    fn strike(&mut self, host: &mut dyn Host) -> Option<Duration> {
        match self.late {
            Late::Never | Late::Over => None,
            Late::At(due) if host.now() < due => Some(due),
            Late::At(_) => {
                self.late = Late::Over;
                if let Some((address, tag)) = self.channels[0].last {
                    // It is journalled, and that is all that the fault is for.
                    let _ = host.dma_write(address, &LATE_BYTES, tag);
                }
                None
            }
        }
    }
}

/// The queue that a channel is.
fn queue(number: usize) -> QueueId {
    QueueId(u16::try_from(number).unwrap_or(u16::MAX))
}

impl Device for Tw686x {
    fn identity(&self) -> Identity {
        Identity {
            vendor: 0x1797,
            device: self.options.chip.device(),
            class: 0x04_00_00,
            revision: 0,
            bars: vec![Bar::registers(0, 0x1000)],
            ..Identity::default()
        }
    }

    fn declares(&self) -> Declares {
        Declares {
            limits: Limits {
                address_bits: 32,
                ..Limits::default()
            },
            jobs: true,
            handover: false, // a channel takes whatever addresses stand there
            interrupts: true,
            masks: false,
            idle: IdleScope::Queue,
        }
    }

    fn notice(&mut self, notice: Notice, _host: &mut dyn Host) {
        let of = INT_STATUS::OFFSET as u64;
        if matches!(notice, Notice::Read { bar: 0, offset } if offset == of) {
            self.read = std::mem::take(&mut self.pending);
            self.shown = self.filled;
        }
    }

    fn reset(&mut self, kind: Reset) {
        self.forget();
        // Only losing power ends what a broken card is about to do.
        if kind == Reset::Device {
            self.late = Late::Never;
        }
    }

    fn step(&mut self, host: &mut dyn Host) -> Next {
        let late = self.strike(host);
        let due = |(number, channel): (usize, &Channel)| Some((channel.due?, number));
        let first = self.channels.iter().enumerate().filter_map(due).min();
        let Some((due, number)) = first else {
            return late.map_or(Next::Idle, Next::At);
        };
        if host.now() < due {
            return Next::At(late.map_or(due, |late| late.min(due)));
        }
        match self.channels[number].work.take() {
            Some(work) => self.advance(number, work, host),
            None => self.begin(number, host),
        }
        Next::Again
    }

    fn line(&self) -> bool {
        self.pending != 0
    }
}

impl Registers for Tw686x {
    fn register(&self, bar: u8, offset: u64) -> Option<RegisterName> {
        landfall_device::contract::lookup(REGISTERS, offset).filter(|_| bar == 0)
    }

    fn read(&self, _bar: u8, offset: u64) -> u32 {
        let offset = offset as usize;
        let word = self.word(offset);
        let registers = [
            VIDSTAT::OFFSET,
            VIDSTAT_HIGH::OFFSET,
            SDT::OFFSET,
            SDT_HIGH::OFFSET,
        ];
        let decoder =
            registers.map(|first| (first..first + 4 * 64).step_by(64).any(|at| at == offset));
        match (offset, decoder) {
            (INT_STATUS::OFFSET, _) => self.read,
            (PB_STATUS::OFFSET, _) => self.shown,
            (_, [true, ..] | [_, true, ..]) => VIDSTAT::compose(false, true).into_raw(),
            (_, [.., true, _] | [.., true]) => {
                SDT::compose(false, 0, SDT::from_raw(word).standard()).into_raw()
            }
            _ => word,
        }
    }

    fn held(&self, bar: u8, offset: u64) -> u32 {
        match offset as usize {
            SYS_SOFT_RST::OFFSET => 0, // ones act
            _ => self.read(bar, offset),
        }
    }

    fn write(&mut self, _bar: u8, offset: u64, value: u32, host: &mut dyn Host) {
        let offset = offset as usize;
        match offset {
            INT_STATUS::OFFSET | PB_STATUS::OFFSET | VIDEO_FIFO_STATUS::OFFSET => return,
            SYS_SOFT_RST::OFFSET => {
                if SYS_SOFT_RST::from_raw(value).subsystems() != 0 {
                    self.soft_reset(host);
                }
                return;
            }
            _ => {}
        }
        if let Some(word) = self.words.get_mut(offset / 4) {
            *word = value;
        }
        for (number, buffer) in self.buffers_at(offset) {
            self.channels[number].programmed[buffer] = host.register_write();
        }
        if matches!(offset, DMA_CMD::OFFSET | DMA_CHANNEL_ENABLE::OFFSET) {
            self.switch(host);
        }
    }
}
