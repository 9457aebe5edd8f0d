// SPDX-License-Identifier: MIT OR Apache-2.0

//! Configuration space: 4096 bytes, of which a mask says what software may write.
//!
//! | offset | what |
//! |---|---|
//! | 0x00 | header, type 0; pin A |
//! | 0x40 | power management: D0 and D3hot, state kept in D3hot |
//! | 0x50 | MSI, if the function has it |
//! | 0x70 | MSI-X, if the function has it |
//! | 0x80 | PCI Express, endpoint, with function-level reset; unless it is of conventional PCI |
//! | 0xc0 | vendor-specific, if anybody outside the function has registers there; free for nobody else |
//! | the gaps | capabilities of the function's own, each in the first gap that it fits into |
//! | 0x100 | extended capabilities of the function's own |
//!
//! PCI Local Bus Specification 3.0, 6; PCI Express Base Specification 6.0, 7.5 and 7.6.

use super::bar::BarRegister;
use super::msi;
use crate::contract::{
    Capability, CapabilityError, CapabilitySpace, Identity, IdentityError, Link,
};

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
const FOREIGN: usize = 0xc0;
const EXTENDED: usize = 0x100;

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
    /// BARs that are the upper half of the one below.
    upper: [bool; 6],
    /// Software may begin a function-level reset.
    express: bool,
    /// As it was after power-on.
    fresh: Option<Box<Self>>,
}

/// A capability that is none of the function's: what stays of it. Whoever put it there acts on the rest.
pub type Vendor = [u8; 8];

impl ConfigSpace {
    /// Makes the configuration space as after power-on.
    ///
    /// # Errors
    /// See [`Identity::check`]; or there is no room for a capability.
    pub fn new(identity: &Identity) -> Result<Self, IdentityError> {
        Self::with_vendor(identity, None)
    }

    /// The same with one capability more, which comes last, at 0xc0.
    ///
    /// # Errors
    /// As [`ConfigSpace::new`].
    pub fn with_vendor(identity: &Identity, vendor: Option<Vendor>) -> Result<Self, IdentityError> {
        identity.check()?;
        let own = identity.msix.filter(|msix| msix.places.is_none());
        let own = own.map(crate::contract::Msix::own_bar);
        let (mut bars, mut upper) = ([None; 6], [false; 6]);
        for bar in identity.bars.iter().chain(&own) {
            let index = usize::from(bar.index);
            if let Some(slot) = bars.get_mut(index) {
                *slot = Some(BarRegister::new(bar));
            }
            if let Some(slot) = upper.get_mut(index + 1) {
                *slot = bar.wide;
            }
        }
        let mut space = Self {
            bytes: Box::new([0; SIZE]),
            writable: Box::new([0; SIZE]),
            clears: Box::new([0; SIZE]),
            bars,
            upper,
            express: identity.link == Link::Express,
            fresh: None,
        };
        space.header(identity);
        space.capabilities(identity, vendor)?;
        space.fresh = Some(Box::new(space.clone()));
        Ok(space)
    }

    /// Returns to the state after power-on.
    pub fn reset(&mut self) {
        if let Some(fresh) = self.fresh.take() {
            *self = (*fresh).clone();
            self.fresh = Some(fresh);
        }
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
            reset |= self.express && at == EXPRESS + 9 && value & 0x80 != 0;
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
    pub fn bar_sizes(&self) -> [u64; 6] {
        self.bars.map(|bar| bar.map_or(0, BarRegister::size))
    }

    fn command(&self) -> u16 {
        u16::from_le_bytes([self.byte(COMMAND), self.byte(COMMAND + 1)])
    }

    fn byte(&self, at: usize) -> u8 {
        match Self::bar_lane(at) {
            Some((slot, lane)) => {
                let (bar, upper) = self.bar(slot);
                self.bars[bar].map_or(0, |bar| bar.read(upper).to_le_bytes()[lane])
            }
            None => self.bytes.get(at).copied().unwrap_or(0xff),
        }
    }

    /// Which BAR a register is of, and whether it is the upper one of its two.
    fn bar(&self, slot: usize) -> (usize, bool) {
        match self.upper[slot] {
            true => (slot - 1, true),
            false => (slot, false),
        }
    }

    fn bar_lane(at: usize) -> Option<(usize, usize)> {
        let inside = at.checked_sub(BARS).filter(|inside| *inside < 24)?;
        Some((inside / 4, inside % 4))
    }

    fn write_byte(&mut self, at: usize, value: u8) {
        if let Some((slot, lane)) = Self::bar_lane(at) {
            let (bar, upper) = self.bar(slot);
            if let Some(bar) = &mut self.bars[bar] {
                let mut bytes = bar.read(upper).to_le_bytes();
                bytes[lane] = value;
                bar.write(upper, u32::from_le_bytes(bytes));
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

    fn header(&mut self, identity: &Identity) {
        let class = identity.class.to_le_bytes();
        let own = (identity.vendor, identity.device);
        let subsystem = identity.subsystem.unwrap_or(own);
        self.put(0x00, &own.0.to_le_bytes(), &[]);
        self.put(0x02, &own.1.to_le_bytes(), &[]);
        // Memory, master, parity response, SERR, line off.
        self.put(COMMAND, &[0; 2], &0x0546u16.to_le_bytes());
        self.put(STATUS, &0x0010u16.to_le_bytes(), &[]); // capability list
        self.clears[STATUS + 1] = 0xf9;
        let revision = identity.revision;
        self.put(0x08, &[revision, class[0], class[1], class[2]], &[]);
        self.put(0x0c, &[0; 2], &[0xff, 0]); // cache line size
        self.put(0x2c, &subsystem.0.to_le_bytes(), &[]);
        self.put(0x2e, &subsystem.1.to_le_bytes(), &[]);
        self.put(0x3c, &[0, 1], &[0xff, 0]); // line; pin A
    }

    fn capabilities(
        &mut self,
        identity: &Identity,
        vendor: Option<Vendor>,
    ) -> Result<(), IdentityError> {
        let mut link = CAPABILITIES;
        let mut taken = vec![(FOREIGN, FOREIGN + 0x10)];
        let mut place = |space: &mut Self, at: usize, bytes: &[u8], writable: &[u8]| {
            space.put(at, bytes, writable);
            space.link(&mut link, at);
            taken.push((at, at + bytes.len().next_multiple_of(4)));
        };
        place(
            self,
            POWER,
            &[0x01, 0, 0x03, 0, 0x08, 0, 0, 0],
            &[0, 0, 0, 0, 0x03],
        );
        if identity.msi > 0 {
            let (bytes, writable) = msi::msi_capability(identity.msi);
            place(self, MSI, &bytes, &writable);
        }
        if let Some(msix) = identity.msix {
            let (bytes, writable) = msi::msix_capability(msix);
            place(self, MSIX, &bytes, &writable);
        }
        if self.express {
            place(self, EXPRESS, &express(), &[]);
            self.writable[EXPRESS + 8] = 0xff; // device control; bit 15 acts and reads 0
            self.writable[EXPRESS + 9] = 0x7f;
            self.clears[EXPRESS + 10] = 0x0f; // device status
            self.writable[EXPRESS + 16] = 0xc8; // link control
        }
        let mut last = None;
        let mut next = EXTENDED;
        for capability in &identity.capabilities {
            match capability.space {
                CapabilitySpace::Standard => {
                    let at = gap(&taken, capability)?;
                    let head = [capability.id as u8, 0];
                    self.own(at, &head, capability);
                    self.link(&mut link, at);
                    taken.push((at, at + capability.length().next_multiple_of(4)));
                }
                CapabilitySpace::Extended { version } => {
                    let left = SIZE - next;
                    if capability.length() > left {
                        return Err(no_room(capability, left));
                    }
                    let head = u32::from(capability.id) | u32::from(version) << 16;
                    self.own(next, &head.to_le_bytes(), capability);
                    if let Some(last) = last.replace(next) {
                        let link = (next as u16) << 4;
                        self.bytes[last + 2] |= link.to_le_bytes()[0];
                        self.bytes[last + 3] = link.to_le_bytes()[1];
                    }
                    next += capability.length().next_multiple_of(4);
                }
            }
        }
        if let Some(bytes) = vendor {
            self.put(FOREIGN, &bytes, &[]);
            self.link(&mut link, FOREIGN);
        }
        Ok(())
    }

    /// Puts a capability of the function's own where there is room for it.
    fn own(&mut self, at: usize, head: &[u8], capability: &Capability) {
        self.put(at, head, &[]);
        let at = at + head.len();
        self.put(at, &capability.bytes, &capability.writable);
    }

    /// Points the last link of the list at `to`, and makes `to` the last.
    fn link(&mut self, last: &mut usize, to: usize) {
        self.bytes[*last] = to as u8;
        *last = to + 1;
    }
}

/// The bytes of the PCI Express capability. The next pointer is 0.
fn express() -> [u8; 0x3c] {
    let mut express = [0; 0x3c];
    express[0] = 0x10;
    express[2] = 0x02; // version 2, endpoint
    express[4..8].copy_from_slice(&(1u32 << 28 | 1 << 15).to_le_bytes()); // FLR, role-based errors
    express[12..16].copy_from_slice(&0x11u32.to_le_bytes()); // 2.5 GT/s, x1
    express[18..20].copy_from_slice(&0x11u16.to_le_bytes()); // the same, now
    express
}

/// The first gap between what is taken of the standard list's room, from where to where, that a capability fits into.
fn gap(taken: &[(usize, usize)], capability: &Capability) -> Result<usize, IdentityError> {
    let mut taken = taken.to_vec();
    taken.push((EXTENDED, EXTENDED));
    taken.sort_unstable();
    let (mut at, mut most) = (POWER, 0);
    for (start, end) in taken {
        let left = start.saturating_sub(at);
        if capability.length() <= left {
            return Ok(at);
        }
        most = most.max(left);
        at = at.max(end);
    }
    Err(no_room(capability, most))
}

fn no_room(capability: &Capability, left: usize) -> IdentityError {
    let (id, length) = (capability.id, capability.length());
    let why = CapabilityError::NoRoom { length, left };
    IdentityError::Capability { id, why }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
