// SPDX-License-Identifier: MIT OR Apache-2.0

//! Configuration space: 4096 bytes, of which a mask says what software may write.
//!
//! | offset | what |
//! |---|---|
//! | 0x00 | header, type 0; pin A |
//! | 0x40 | power management: D0 and D3hot, state kept in D3hot |
//! | 0x50 | MSI, or 0x70 MSI-X, or neither: as the function chose |
//! | 0x80 | PCI Express, endpoint, with function-level reset |
//! | 0xc0 | vendor-specific, if anybody outside the function has registers there |
//! | 0x100 | no extended capability |

use super::bar::BarRegister;
use super::msi;
use crate::contract::{Identity, InterruptKind};

/// Bytes of configuration space.
pub const SIZE: usize = 4096;

const COMMAND: usize = 0x04;
const STATUS: usize = 0x06;
const BARS: usize = 0x10;
const CAPABILITIES: usize = 0x34;
const POWER: usize = 0x40;
const MSI: usize = 0x50;
const MSIX: usize = 0x70;
const EXPRESS: usize = 0x80;

const COMMAND_MEMORY: u16 = 1 << 1;
const COMMAND_MASTER: u16 = 1 << 2;
const COMMAND_INTX_OFF: u16 = 1 << 10;

/// What a write to configuration space made happen, beyond the bits themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Software began a function-level reset. The configuration space has reset itself already.
    FunctionLevelReset,
    /// Bus mastering was switched on or off.
    BusMaster(bool),
    /// The power state changed: 0 is D0, 3 is D3hot.
    Power(u8),
    /// Memory decoding was switched on or off.
    Decoding(bool),
}

/// The configuration space of one function.
#[derive(Clone, Debug)]
pub struct ConfigSpace {
    bytes: Box<[u8; SIZE]>,
    writable: Box<[u8; SIZE]>,
    clears: Box<[u8; SIZE]>,
    bars: [Option<BarRegister>; 6],
    identity: Identity,
    vendor: Option<Vendor>,
}

/// A capability that is none of the function's: what stays of it, by offset. Whoever put it there acts on the rest.
pub type Vendor = (usize, [u8; 8]);

impl ConfigSpace {
    /// Makes the configuration space as after power-on.
    pub fn new(identity: &Identity) -> Self {
        Self::with_vendor(identity, None)
    }

    /// The same with one capability more, which comes last.
    pub fn with_vendor(identity: &Identity, vendor: Option<Vendor>) -> Self {
        let mut bars = [None; 6];
        for bar in &identity.bars {
            if let Some(slot) = bars.get_mut(usize::from(bar.index)) {
                *slot = Some(BarRegister::new(bar.size));
            }
        }
        if identity.interrupt == InterruptKind::Msix {
            bars[usize::from(msi::MSIX_BAR)] = Some(BarRegister::new(msi::MSIX_BAR_SIZE));
        }
        let mut space = Self {
            bytes: Box::new([0; SIZE]),
            writable: Box::new([0; SIZE]),
            clears: Box::new([0; SIZE]),
            bars,
            identity: identity.clone(),
            vendor,
        };
        space.header();
        space.capabilities();
        space
    }

    /// Returns to the state after power-on.
    pub fn reset(&mut self) {
        *self = Self::with_vendor(&self.identity, self.vendor);
    }

    /// Reads any bytes; beyond the end all-ones.
    pub fn read(&self, offset: u64, into: &mut [u8]) {
        let start = usize::try_from(offset).unwrap_or(SIZE);
        for (index, byte) in into.iter_mut().enumerate() {
            *byte = start.checked_add(index).map_or(0xff, |at| self.byte(at));
        }
    }

    /// Writes any bytes, as one transaction: read-only bits stay, effects come in the order below.
    pub fn write(&mut self, offset: u64, from: &[u8]) -> Vec<Effect> {
        let master = self.master_enabled();
        let power = self.power_state();
        let memory = self.memory_enabled();
        let start = usize::try_from(offset).unwrap_or(SIZE);
        let mut reset = false;
        for (index, &value) in from.iter().enumerate() {
            let Some(at) = start.checked_add(index).filter(|at| *at < SIZE) else {
                break;
            };
            reset |= at == EXPRESS + 9 && value & 0x80 != 0;
            self.write_byte(at, value);
        }
        if reset {
            self.reset();
            return vec![Effect::FunctionLevelReset];
        }
        let mut effects = Vec::new();
        if self.memory_enabled() != memory {
            effects.push(Effect::Decoding(!memory));
        }
        if self.master_enabled() != master {
            effects.push(Effect::BusMaster(!master));
        }
        if self.power_state() != power {
            effects.push(Effect::Power(self.power_state()));
        }
        effects
    }

    /// COMMAND bit 1: the function decodes its BARs.
    pub fn memory_enabled(&self) -> bool {
        self.command() & COMMAND_MEMORY != 0
    }

    /// COMMAND bit 2: the function may begin transfers of its own.
    pub fn master_enabled(&self) -> bool {
        self.command() & COMMAND_MASTER != 0
    }

    /// COMMAND bit 10 is clear: the function may assert its line.
    pub fn line_enabled(&self) -> bool {
        self.command() & COMMAND_INTX_OFF == 0
    }

    /// The power state: 0 is D0, 3 is D3hot.
    pub fn power_state(&self) -> u8 {
        self.byte(POWER + 4) & 3
    }

    /// Sets STATUS bit 3, which tells software whether the function asserts its line.
    pub fn set_line_status(&mut self, asserted: bool) {
        let status = self.bytes[STATUS] & !8;
        self.bytes[STATUS] = status | if asserted { 8 } else { 0 };
    }

    /// Bytes that each BAR decodes; 0: no such BAR.
    pub fn bar_sizes(&self) -> [u32; 6] {
        self.bars.map(|bar| bar.map_or(0, BarRegister::size))
    }

    fn command(&self) -> u16 {
        u16::from_le_bytes([self.byte(COMMAND), self.byte(COMMAND + 1)])
    }

    fn byte(&self, at: usize) -> u8 {
        match Self::bar_lane(at) {
            Some((bar, lane)) => self.bars[bar].map_or(0, |bar| bar.read().to_le_bytes()[lane]),
            None => self.bytes.get(at).copied().unwrap_or(0xff),
        }
    }

    fn bar_lane(at: usize) -> Option<(usize, usize)> {
        let inside = at.checked_sub(BARS).filter(|inside| *inside < 24)?;
        Some((inside / 4, inside % 4))
    }

    fn write_byte(&mut self, at: usize, value: u8) {
        if let Some((bar, lane)) = Self::bar_lane(at) {
            if let Some(bar) = &mut self.bars[bar] {
                let mut bytes = bar.read().to_le_bytes();
                bytes[lane] = value;
                bar.write(u32::from_le_bytes(bytes));
            }
            return;
        }
        // D1 and D2 do not exist: writing them leaves the state.
        if at == POWER + 4 && matches!(value & 3, 1 | 2) {
            return;
        }
        let writable = self.writable[at];
        let cleared = value & self.clears[at];
        self.bytes[at] = ((self.bytes[at] & !writable) | (value & writable)) & !cleared;
    }

    fn put(&mut self, at: usize, bytes: &[u8], writable: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        self.writable[at..at + writable.len()].copy_from_slice(writable);
    }

    fn header(&mut self) {
        let class = self.identity.class.to_le_bytes();
        let (vendor, device) = (self.identity.vendor, self.identity.device);
        let revision = self.identity.revision;
        self.put(0x00, &vendor.to_le_bytes(), &[]);
        self.put(0x02, &device.to_le_bytes(), &[]);
        // Memory, master, parity response, SERR, line off.
        self.put(COMMAND, &[0; 2], &0x0546u16.to_le_bytes());
        self.put(STATUS, &0x0010u16.to_le_bytes(), &[]); // capability list
        self.clears[STATUS + 1] = 0xf9;
        self.put(0x08, &[revision, class[0], class[1], class[2]], &[]);
        self.put(0x0c, &[0; 2], &[0xff, 0]); // cache line size
        self.put(0x2c, &vendor.to_le_bytes(), &[]);
        self.put(0x2e, &device.to_le_bytes(), &[]);
        self.put(0x3c, &[0, 1], &[0xff, 0]); // line; pin A
    }

    fn capabilities(&mut self) {
        let mut link = CAPABILITIES;
        self.put(
            POWER,
            &[0x01, 0, 0x03, 0, 0x08, 0, 0, 0],
            &[0, 0, 0, 0, 0x03],
        );
        self.link(&mut link, POWER);
        match self.identity.interrupt {
            InterruptKind::Intx => {}
            InterruptKind::Msi => {
                let (bytes, writable) = msi::msi_capability();
                self.put(MSI, &bytes, &writable);
                self.link(&mut link, MSI);
            }
            InterruptKind::Msix => {
                let (bytes, writable) = msi::msix_capability(self.identity.vectors);
                self.put(MSIX, &bytes, &writable);
                self.link(&mut link, MSIX);
            }
        }
        let mut express = [0u8; 0x3c];
        express[0] = 0x10;
        express[2] = 0x02; // version 2, endpoint
        express[4..8].copy_from_slice(&(1u32 << 28 | 1 << 15).to_le_bytes()); // FLR, role-based errors
        express[12..16].copy_from_slice(&0x11u32.to_le_bytes()); // 2.5 GT/s, x1
        express[18..20].copy_from_slice(&0x11u16.to_le_bytes()); // the same, now
        self.put(EXPRESS, &express, &[]);
        self.writable[EXPRESS + 8] = 0xff; // device control; bit 15 acts and reads 0
        self.writable[EXPRESS + 9] = 0x7f;
        self.clears[EXPRESS + 10] = 0x0f; // device status
        self.writable[EXPRESS + 16] = 0xc8; // link control
        self.link(&mut link, EXPRESS);
        if let Some((at, bytes)) = self.vendor {
            self.put(at, &bytes, &[]);
            self.link(&mut link, at);
        }
    }

    /// Points the last link of the list at `to`, and makes `to` the last.
    fn link(&mut self, last: &mut usize, to: usize) {
        self.bytes[*last] = to as u8;
        *last = to + 1;
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
