// SPDX-License-Identifier: MIT OR Apache-2.0

//! Analog Devices' AD1889, the sound card of some workstations, as far as its driver in Linux (`snd-ad1889`) uses it. This page
//! is its data sheet; it was written from what that driver does, which nobody here wrote.
//!
//! `11d4:1889`, class `0x040100`, BAR 0 of 512 bytes, the interrupt line and no messages. Behind it is a codec (AC'97), whose
//! registers are in the same BAR: it has volumes, and no sound.
//!
//! # Channels
//!
//! The wave channel plays: it reads memory, at the rate of `WAS`. The ADC channel records: it writes memory, 48,000 samples a
//! second, the bytes of [`recorded`] from the first on. A sample has 8 or 16 bits, for one side or two; what they mean is nothing
//! to the card, and what it plays a [`Speaker`] remembers. Both channels know nothing of each other.
//!
//! | registers | what |
//! |---|---|
//! | base address and count | the ring, any number of bytes at any 32-bit address |
//! | current address and count | where the channel is in it; at the end they become the base, or the channel stops (`CHSS`) |
//! | base and current period | bytes to the next interrupt; 0: none comes |
//!
//! A channel works from the write that sets its bit in `WSMC` or `RAMC` to the one that clears it: no byte follows that. In between
//! it moves bursts of up to [`BURST`] bytes, each when the last sample of it is due; current address and counts go on by that. One
//! that is late, on a busy host, catches up with 20 ms; the rest of the time is lost to it.
//!
//! With the last burst of a period its bit in `DISR` is set, and the line asserted until that is cleared. The next period's last
//! burst waits for that, so that a slow machine hears a longer sound and not a broken one; a real card waits for nobody. A burst
//! that the bus refuses stops its channel, too, and is another cause (`target_abort`).
//!
//! What is played or recorded to the end of a period, or of the ring if that comes first, is a job; each channel is a queue.

mod channel;
mod codec;
mod regs;
mod sound;
#[cfg(test)]
mod tests;

pub use self::sound::{Speaker, recorded};
pub use crate::fault::Fault;

use self::channel::{ADC, Channel, WAVE};
use self::codec::Codec;
use crate::late::Late;
use landfall_device::contract::register::touched;
use landfall_device::contract::*;
use landfall_device::parts::{Bits, RegisterFile};
use regs::*;

/// Most bytes that are moved at once.
pub const BURST: usize = 512;

/// How the card is made.
#[derive(Clone, Debug, Default)]
pub struct Ad1889Options {
    /// What hangs on it.
    pub speaker: Speaker,
    /// What it does wrong.
    pub fault: Option<Fault>,
    /// Which period since power-on that strikes, from 0, those of both channels counted.
    pub fault_period: u64,
}

/// The card.
#[derive(Debug)]
pub struct Ad1889 {
    shared: Shared,
    codec: Codec,
    channels: [Channel; 2],
}

/// What both channels share: registers, numbers of jobs, the line, the fault.
#[derive(Debug)]
struct Shared {
    file: RegisterFile,
    speaker: Speaker,
    fault: Option<Fault>,
    fault_period: u64,
    /// Number of the next job; no reset begins it anew, nor the rest.
    jobs: u64,
    /// Periods that are over.
    periods: u64,
    late: Late,
    /// The fault of that name struck.
    overran: bool,
}

/// Bits of `DISR` that are causes, and those that enable two of them.
const CAUSES: u32 = 1 << 15 | 1 << 14 | 1 << 3 | 1 << 1;
const ENABLES: u32 = 3 << 16;

impl Shared {
    fn new(options: Ad1889Options) -> Self {
        let causes = Bits {
            kept: ENABLES,
            ..Bits::clear_by_one(CAUSES)
        };
        let kept = |kept| Bits {
            kept,
            ..Bits::FIXED
        };
        let file = RegisterFile::new(REGISTERS)
            .with(WSMC::OFFSET, kept(0x3734))
            .with(RAMC::OFFSET, kept(0x3437))
            .with(CCS::OFFSET, kept(0x8500))
            .with(ADCIC::OFFSET, kept(0xff_ffff))
            .with(ADCIB::OFFSET, kept(0xff_ffff))
            .with(WAVIC::OFFSET, kept(0xff_ffff))
            .with(WAVIB::OFFSET, kept(0xff_ffff))
            .with(DMAADC::OFFSET, kept(0xf))
            .with(DMAWAV::OFFSET, kept(0xf))
            .with(DISR::OFFSET, causes)
            .with(CHSS::OFFSET, Bits::clear_by_one(1 << 3 | 1 << 1))
            .with(ACIC::OFFSET, kept(0x030f));
        Self {
            file,
            speaker: options.speaker,
            fault: options.fault,
            fault_period: options.fault_period,
            jobs: 0,
            periods: 0,
            late: Late::Never,
            overran: false,
        }
    }

    fn job(&mut self) -> JobId {
        self.jobs += 1;
        JobId(self.jobs - 1)
    }

    fn strikes(&self, fault: Fault) -> bool {
        self.fault == Some(fault) && self.periods == self.fault_period
    }

    /// Causes that would be an interrupt.
    fn enabled(&self) -> u32 {
        let channels = [&ADC, &WAVE].into_iter();
        let channels = channels.filter(|place| place.interrupts(&self.file));
        let aborts = (self.file.get(DISR::OFFSET) & ENABLES) >> 2;
        // Bit 16 enables bit 15, and bit 17 bit 14.
        let aborts = (aborts & 1 << 14) << 1 | (aborts & 1 << 15) >> 1;
        channels.fold(aborts, |all, place| all | place.bit)
    }

    fn line(&self) -> bool {
        self.file.get(DISR::OFFSET) & self.enabled() != 0
    }

    /// There is a cause; what is owed for it.
    fn cause(&mut self, bit: u32) -> Option<Owed> {
        self.file.set(DISR::OFFSET, bit);
        (self.enabled() & bit != 0).then_some(Owed::now(Vector(0)))
    }

    fn send(&self, owed: Option<Owed>, host: &mut dyn Host) {
        if let Some(owed) = owed {
            host.raise(owed.vector);
        }
    }
}

impl Default for Ad1889 {
    fn default() -> Self {
        Self::new(Ad1889Options::default())
    }
}

impl Ad1889 {
    /// Makes a card, as after power-on.
    pub fn new(options: Ad1889Options) -> Self {
        Self {
            shared: Shared::new(options),
            codec: Codec::new(),
            channels: [Channel::new(&ADC), Channel::new(&WAVE)],
        }
    }

    fn read(&self, offset: usize, index: usize) -> u32 {
        match offset {
            AC97::OFFSET => self.codec.read(index).into(),
            ACIC::OFFSET => {
                let link = ACIC::from_raw(self.shared.file.get(offset) as u16);
                let ready = link.on() && link.out_of_reset();
                u32::from(link.into_raw()) | u32::from(ready) << 15
            }
            _ => self.shared.file.get(offset),
        }
    }

    fn write(&mut self, offset: usize, index: usize, value: u32, host: &mut dyn Host) {
        if offset == AC97::OFFSET {
            return self.codec.write(index, value as u16);
        }
        let (enabled, line) = (self.shared.enabled(), self.shared.line());
        for channel in &mut self.channels {
            if channel.place.is_running(offset) {
                channel.moved_by_driver(host);
            }
        }
        self.shared.file.write(offset as u64, value);
        let now = self.shared.enabled();
        if (enabled != 0) != (now != 0) {
            let (vector, masked) = (None, now == 0);
            host.declare(Declaration::Masked { vector, masked });
        }
        if self.shared.line() && !line {
            let why = "a cause that was not enabled";
            host.declare(Declaration::cause(Vector(0), why));
            host.raise(Vector(0));
        }
        for channel in &mut self.channels {
            channel.follow(&mut self.shared, host);
        }
    }
}

impl Device for Ad1889 {
    fn identity(&self) -> Identity {
        Identity {
            vendor: 0x11d4,
            device: 0x1889,
            class: 0x04_01_00,
            link: Link::Pci,
            bars: vec![Bar::registers(0, 0x200)],
            ..Identity::default()
        }
    }

    fn declares(&self) -> Declares {
        Declares {
            limits: Limits {
                address_bits: 32,
                pieces: 1,
                ..Limits::default()
            },
            jobs: true,
            handover: false, // the ring is both sides' all the time
            interrupts: true,
            masks: true,
            idle: IdleScope::Queue,
        }
    }

    fn reset(&mut self, kind: Reset) {
        let old = &self.shared;
        let options = Ad1889Options {
            speaker: old.speaker.clone(),
            fault: old.fault,
            fault_period: old.fault_period,
        };
        let shared = Shared {
            jobs: old.jobs,
            periods: old.periods,
            late: old.late.after(kind),
            overran: old.overran,
            ..Shared::new(options)
        };
        *self = Self {
            shared,
            ..Self::default()
        };
    }

    fn step(&mut self, host: &mut dyn Host) -> Next {
        let mut next = self.shared.late.strike(host);
        if host.may_master().is_ok() {
            for channel in &mut self.channels {
                next = next.sooner(channel.step(&mut self.shared, host));
            }
        }
        next
    }

    fn line(&self) -> bool {
        self.shared.line()
    }
}

impl Function for Ad1889 {
    fn name(&self, access: Access) -> Option<RegisterName> {
        let (entry, index, _) = touched(REGISTERS, access).next()?;
        (access.bar == 0).then(|| RegisterName {
            name: entry.name.into(),
            index: entry.array.then_some(index),
        })
    }

    fn load(&mut self, access: Access, _host: &mut dyn Host) -> u64 {
        touched(REGISTERS, access).fold(0, |value, (entry, index, at)| {
            let register = self.read(entry.offset, index);
            value | access.lanes(at).extract(register.into())
        })
    }

    fn store(&mut self, access: Access, value: u64, host: &mut dyn Host) {
        for (entry, index, at) in touched(REGISTERS, access) {
            let held = match entry.offset {
                AC97::OFFSET => self.codec.read(index).into(),
                _ => self.shared.file.held(at),
            };
            let whole = access.lanes(at).insert(held.into(), value) & entry.mask();
            self.write(entry.offset, index, whole as u32, host);
        }
    }
}
