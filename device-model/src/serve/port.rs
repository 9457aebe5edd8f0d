// SPDX-License-Identifier: MIT OR Apache-2.0

//! The machine, as a function is lent it for one call.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use crate::contract::{Declaration, DmaError, Host, JobId, Tag, Vector};
use crate::dma::map::{Held, Map, PIECE};
use crate::journal::{Bytes, Direction, Journal, Kind, Outcome};
use crate::pci::config::ConfigSpace;
use crate::pci::irq::{Irqs, Wire};

/// Most messages that are on their way at once.
const MOST_ON_WAY: usize = 4096;

/// What a function is lent for one call.
pub(super) struct Port<'a, W> {
    pub(super) config: &'a ConfigSpace,
    pub(super) irqs: &'a Irqs<W>,
    pub(super) held: &'a mut BTreeSet<Vector>,
    pub(super) map: &'a Map,
    pub(super) journal: &'a Journal,
    pub(super) piece: &'a mut [u8; PIECE],
    pub(super) register_write: Option<u64>,
    /// Vectors of the MSI-X table; 0: there is none.
    pub(super) table: u16,
    pub(super) severed: &'a mut bool,
    /// Where the orders of its actions are enumerated: messages that are on their way.
    pub(super) on_way: Option<&'a mut VecDeque<Vector>>,
    /// Its time is this, there; elsewhere it is no earlier.
    pub(super) clock: Duration,
}

impl<W: Wire> Port<'_, W> {
    fn record(
        &self,
        direction: Direction,
        address: u64,
        length: usize,
        tag: Tag,
        result: Result<&[u8], DmaError>,
    ) -> Result<(), DmaError> {
        self.journal.push(Kind::Access {
            direction,
            address,
            length: length as u64,
            job: tag.job,
            slot: tag.slot,
            role: tag.role,
            outcome: result.map_or_else(Outcome::Refused, |_| Outcome::Ok),
            bytes: result.map_or_else(|_| Bytes::default(), Bytes::of),
        });
        result.map(drop)
    }

    /// Whoever wants to know hears of a write before it is made.
    fn foretell(&self, held: &Held<'_>, address: u64, length: usize, job: Option<JobId>) {
        if let Some(to) = self.map.foretold() {
            held.foretell(to, address, length, job);
        }
    }
}

/// Accesses are journalled while the mappings are held: whether a mapping came or went before or after one is
/// what the journal says.
impl<W: Wire> Host for Port<'_, W> {
    fn dma_read(&mut self, address: u64, into: &mut [u8], tag: Tag) -> Result<(), DmaError> {
        let length = into.len();
        let held = self.map.hold();
        let result = self.may_master().and_then(|()| held.read(address, into));
        let bytes = result.map(|()| &*into);
        self.record(Direction::Read, address, length, tag, bytes)
    }

    fn dma_write(&mut self, address: u64, from: &[u8], tag: Tag) -> Result<(), DmaError> {
        let held = self.map.hold();
        let result = self.may_master().and_then(|()| {
            self.foretell(&held, address, from.len(), tag.job);
            held.write(address, from)
        });
        let bytes = result.map(|()| from);
        self.record(Direction::Write, address, from.len(), tag, bytes)
    }

    fn dma_fill(
        &mut self,
        address: u64,
        length: usize,
        make: &mut dyn FnMut(usize, &mut [u8]),
        tag: Tag,
    ) -> Result<(), DmaError> {
        let held = self.map.hold();
        let result = self.may_master().and_then(|()| {
            self.foretell(&held, address, length, tag.job);
            held.fill(address, length, self.piece, make)
        });
        // One that is small is one piece, which is still there.
        let bytes = result.map(|()| self.piece.get(..length).unwrap_or_default());
        self.record(Direction::Write, address, length, tag, bytes)
    }

    fn may_master(&self) -> Result<(), DmaError> {
        if self.config.power_state() != 0 {
            return Err(DmaError::NotPowered);
        }
        if !self.config.master_enabled() {
            return Err(DmaError::NotMaster);
        }
        Ok(())
    }

    fn raise(&mut self, vector: Vector) {
        if self.irqs.messages() && self.may_master().is_err() {
            self.held.insert(vector);
            self.journal.push(Kind::InterruptHeld { vector: vector.0 });
            return;
        }
        self.journal.push(Kind::Interrupt { vector: vector.0 });
        if let Some(to) = self.map.foretold() {
            to.interrupts();
        }
        match &mut self.on_way {
            _ if !self.irqs.messages() => {}
            Some(on_way) if on_way.len() < MOST_ON_WAY => on_way.push_back(vector),
            _ => drop(self.irqs.send(vector)),
        }
    }

    fn now(&self) -> Duration {
        match self.fine() {
            true => self.clock,
            false => self.journal.began().elapsed().max(self.clock),
        }
    }

    fn fine(&self) -> bool {
        self.on_way.is_some()
    }

    fn declare_for(&mut self, register_write: Option<u64>, what: Declaration) {
        if what == Declaration::Reset {
            // What it had not sent, it does not send any more.
            self.held.clear();
        }
        self.journal.push(Kind::Declared {
            register_write,
            what,
        });
    }

    fn register_write(&self) -> Option<u64> {
        self.register_write
    }

    fn vectors(&self) -> u16 {
        self.irqs.given(self.table)
    }

    fn sever(&mut self) {
        *self.severed = true;
    }
}
