// SPDX-License-Identifier: MIT OR Apache-2.0

//! Intel's I/OAT DMA engine (QuickData, CBDMA) of a Skylake server, version 3.2, as far as its driver in Linux (`ioatdma`) uses
//! it: it copies memory to memory. This page is its data sheet; it was written from what that driver does, which nobody here
//! wrote.
//!
//! `8086:2021`, class `0x088000`, BAR 0 of 16 KiB, 64-bit; MSI-X with a vector for each channel, its table at 0x2000 and the
//! pending bits at 0x3000; MSI with one. Channels know nothing of each other, and have turns of [`CHUNK`] bytes.
//!
//! # Descriptors
//!
//! A channel follows a chain of descriptors of 64 bytes, little-endian, from `CHAINADDR` on. It takes as many as `DMACOUNT` says
//! that there are, however they are linked.
//!
//! | bytes | what |
//! |---|---|
//! | 0 to 3 | bytes to copy: 1 to two to the power of `XFERCAP`, also where nothing is copied |
//! | 4 to 7 | bit 0: interrupt; 3: write the completion word; 4: fence, which holds anyway; 5: null, nothing is copied; 31 to 24: operation, of which this card has 0, copy |
//! | 8 to 15 | bus address of the source |
//! | 16 to 23 | bus address of the destination |
//! | 24 to 31 | bus address of the next descriptor |
//! | 32 to 63 | the driver's own |
//!
//! One is over when its last byte is in memory; then the completion word is written, what `CHANSTS` reads; then comes the
//! interrupt. A channel interrupts once, and no more until `CHANCTRL.rearm` is written. One that may not master the bus waits.
//!
//! `CHANCMD.suspend` and `reset` act in the write itself: a descriptor in work is dropped, and no byte follows. (A real card
//! finishes it.) A suspended channel goes on, with that descriptor, when `DMACOUNT` is written; one that was reset has forgotten
//! its chain, and is halted until it is given another. An error halts it, too, until it is reset or `CHANERR` is cleared.
//!
//! Each descriptor is a job, a null one has no memory; each channel is a queue. When the driver takes memory back the card does
//! not see: it reads the completion word.

mod engine;
#[expect(
    non_camel_case_types,
    reason = "the table is whole, and its names are the data sheet's"
)]
mod regs;
#[cfg(test)]
mod tests;

pub use self::engine::CHUNK;
use self::engine::{Channel, Engine};
pub use crate::fault::Fault;
use landfall_device::contract::register::Description;
use landfall_device::contract::*;
use regs::*;

/// Most channels.
const CHANNELS: u8 = 16;

/// How the card is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IoatOptions {
    /// How many channels it has: 1 to 16.
    pub channels: u8,
    /// Most bytes of a descriptor, as a power of two: 12 to 20.
    pub longest: u8,
    /// What it does wrong.
    pub fault: Option<Fault>,
    /// Which copy since power-on that strikes, from 0; null descriptors are none.
    pub fault_copy: u64,
}

impl Default for IoatOptions {
    fn default() -> Self {
        Self {
            channels: 1,
            longest: 20,
            fault: None,
            fault_copy: 0,
        }
    }
}

/// The card.
#[derive(Debug)]
pub struct Ioat {
    engine: Engine,
    channels: Vec<Channel>,
    delay: u16,
    /// Whose turn it is.
    turn: usize,
}

impl Default for Ioat {
    fn default() -> Self {
        Self::new(IoatOptions::default())
    }
}

impl Ioat {
    /// Makes a card, as after power-on.
    pub fn new(options: IoatOptions) -> Self {
        let options = IoatOptions {
            channels: options.channels.clamp(1, CHANNELS),
            longest: options.longest.clamp(12, 20),
            ..options
        };
        let channels = (0..options.channels.into()).map(Channel::new);
        Self {
            channels: channels.collect(),
            engine: Engine::new(options),
            delay: 0,
            turn: 0,
        }
    }

    /// The registers that an access touches, ascending, with which element each is and where it begins.
    fn touched(
        &self,
        access: Access,
    ) -> impl Iterator<Item = (&'static Description, usize, u64)> + use<> {
        let channels = self.channels.len();
        let there = move |index| access.bar == 0 && index < channels;
        register::touched(REGISTERS, access).filter(move |(_, index, _)| there(*index))
    }

    fn read(&self, entry: &Description, index: usize) -> u64 {
        let global = match entry.offset {
            CHANCNT::OFFSET => Some(self.engine.options.channels.into()),
            XFERCAP::OFFSET => Some(self.engine.options.longest.into()),
            INTRCTRL::OFFSET => Some(self.engine.control().into_raw().into()),
            ATTNSTATUS::OFFSET => Some(self.engine.attention),
            VERSION::OFFSET => Some(VERSION::compose(3, 2).into_raw().into()),
            INTRDELAY::OFFSET => Some(self.delay.into()),
            _ => None,
        };
        let channel = || Some(self.channels.get(index)?.read(entry.offset));
        match entry.array {
            true => channel(),
            false => global,
        }
        .unwrap_or(0)
        .into()
    }

    fn write(&mut self, entry: &Description, index: usize, value: u32, host: &mut dyn Host) {
        match entry.offset {
            INTRCTRL::OFFSET => {
                self.engine
                    .enable(INTRCTRL::from_raw(value as u8), &mut self.channels, host);
            }
            INTRDELAY::OFFSET => self.delay = INTRDELAY::from_raw(value as u16).delay(),
            offset if entry.array => {
                if let Some(channel) = self.channels.get_mut(index) {
                    channel.write(offset, value, &mut self.engine, host);
                }
            }
            _ => {}
        }
    }
}

impl Device for Ioat {
    fn identity(&self) -> Identity {
        let place = |offset| Place { bar: 0, offset };
        let msix = Msix::new(self.engine.options.channels.into());
        Identity {
            vendor: 0x8086,
            device: 0x2021,
            class: 0x08_80_00,
            revision: 4,
            bars: vec![Bar::registers(0, 0x4000).wide()],
            msi: 1,
            msix: Some(msix.at(place(0x2000), place(0x3000))),
            ..Identity::default()
        }
    }

    fn declares(&self) -> Declares {
        Declares {
            limits: Limits {
                address_bits: 64,
                longest: 1 << self.engine.options.longest,
                pieces: 2,
                ..Limits::default()
            },
            jobs: true,
            handover: false, // the driver reads the completion word, which the card does not see
            interrupts: true,
            masks: true,
            idle: IdleScope::Queue,
        }
    }

    fn reset(&mut self, kind: Reset) {
        let fresh = Self::new(self.engine.options.clone());
        let old = std::mem::replace(self, fresh);
        self.engine.keep(&old.engine, kind);
    }

    fn step(&mut self, host: &mut dyn Host) -> Next {
        let late = self.engine.late.strike(host);
        if host.may_master().is_err() {
            return late;
        }
        let many = self.channels.len();
        let mut turns = (self.turn..self.turn + many).map(|turn| turn % many);
        let next = turns.find(|turn| self.channels.get(*turn).is_some_and(Channel::works));
        if let Some(channel) = next.and_then(|turn| self.channels.get_mut(turn)) {
            channel.step(&mut self.engine, host);
            self.turn = next.map_or(0, |turn| turn + 1);
            return Next::Again;
        }
        late
    }

    fn line(&self) -> bool {
        self.engine.control().asserted()
    }
}

impl Function for Ioat {
    fn name(&self, access: Access) -> Option<RegisterName> {
        let (entry, index, _) = self.touched(access).next()?;
        Some(RegisterName {
            name: entry.name.into(),
            index: entry.array.then_some(index),
        })
    }

    fn load(&mut self, access: Access, _host: &mut dyn Host) -> u64 {
        let mut value = 0;
        for (entry, index, at) in self.touched(access) {
            value |= access.lanes(at).extract(self.read(entry, index));
            if entry.offset == ATTNSTATUS::OFFSET {
                self.engine.attention = 0;
            }
        }
        value
    }

    fn store(&mut self, access: Access, value: u64, host: &mut dyn Host) {
        for (entry, index, at) in self.touched(access) {
            let held = match entry.offset {
                // Ones act.
                CHANERR::OFFSET => 0,
                CHANCTRL::OFFSET => self.read(entry, index) & !1,
                _ => self.read(entry, index),
            };
            let whole = access.lanes(at).insert(held, value) & entry.mask();
            self.write(entry, index, whole as u32, host);
        }
    }
}
