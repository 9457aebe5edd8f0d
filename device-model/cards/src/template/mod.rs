// SPDX-License-Identifier: MIT OR Apache-2.0

//! The template: the smallest whole device, to copy when adding one. This page is its data sheet.
//!
//! `1b36:4c47`, class `0xff0000`, BAR 0 of 4 KiB. It writes four bytes to memory when told to, in its step
//! as every device must, and then interrupts (MSI, or the line while `PENDING` is set).
//!
//! It declares the least that is useful: its width, its transfers, and that each is told by an interrupt. What that buys, and
//! what more there is to declare: [`landfall_device::contract::declare`].

mod regs;
#[cfg(test)]
mod tests;

use landfall_device::contract::*;
use regs::{ADDRESS, GO, ID, PENDING, SCRATCH};

/// The template device.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    scratch: u32,
    address: u32,
    /// Transfers since it was made; no reset begins them anew.
    transfers: u64,
    go: GO,
    pending: PENDING,
}

impl Device for Scratch {
    fn identity(&self) -> Identity {
        Identity {
            vendor: 0x1b36,
            device: 0x4c47,
            class: 0xff_00_00,
            revision: 0,
            bars: vec![Bar::registers(0, 0x1000)],
            ..Identity::default()
        }
        .interrupting(InterruptKind::Msi, 1)
    }

    fn declares(&self) -> Declares {
        Declares {
            limits: Limits {
                address_bits: 32,
                ..Limits::default()
            },
            jobs: true,
            interrupts: true,
            ..Declares::default()
        }
    }

    fn reset(&mut self, _kind: Reset) {
        *self = Self {
            transfers: self.transfers,
            ..Self::default()
        };
    }

    fn step(&mut self, host: &mut dyn Host) -> Next {
        if self.go.busy() {
            let job = JobId(self.transfers);
            self.transfers += 1;
            let piece = Piece::write(self.address.into(), 4);
            host.declare(Declaration::begun(job, vec![piece]));
            let bytes = self.scratch.to_le_bytes();
            let written = host
                .may_master()
                .and_then(|()| host.dma_write(piece.address, &bytes, Tag::job(job)));
            self.go = GO::compose(written.is_err(), false);
            self.pending = PENDING::compose(true);
            let owed = Some(Owed::now(Vector(0)));
            host.declare(match written {
                Ok(()) => Declaration::done(job, piece.length, owed),
                Err(_) => Declaration::failed(job, "the bus refused it", owed),
            });
            host.raise(Vector(0));
        }
        Next::Idle
    }

    fn line(&self) -> bool {
        self.pending.pending()
    }
}

impl Registers for Scratch {
    fn register(&self, bar: u8, offset: u64) -> Option<RegisterName> {
        landfall_device::contract::lookup(regs::REGISTERS, offset).filter(|_| bar == 0)
    }

    fn read(&self, _bar: u8, offset: u64) -> u32 {
        match offset as usize {
            ID::OFFSET => ID::compose(0x7e3a, 1).into_raw(),
            SCRATCH::OFFSET => self.scratch,
            ADDRESS::OFFSET => self.address,
            GO::OFFSET => self.go.into_raw(),
            PENDING::OFFSET => self.pending.into_raw(),
            _ => UNCLAIMED,
        }
    }

    fn held(&self, bar: u8, offset: u64) -> u32 {
        match offset as usize {
            GO::OFFSET | PENDING::OFFSET => 0, // ones act
            _ => self.read(bar, offset),
        }
    }

    fn write(&mut self, _bar: u8, offset: u64, value: u32, _host: &mut dyn Host) {
        match offset as usize {
            SCRATCH::OFFSET => self.scratch = value,
            ADDRESS::OFFSET => self.address = value & !3,
            GO::OFFSET if GO::from_raw(value).busy() => self.go = GO::compose(false, true),
            PENDING::OFFSET => self.pending = PENDING::from_raw(self.pending.into_raw() & !value),
            _ => {}
        }
    }
}
