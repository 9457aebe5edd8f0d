// SPDX-License-Identifier: MIT OR Apache-2.0

//! One function with all that surrounds it: configuration space, interrupts, memory, journal.
//!
//! This is the access layer: it turns accesses of any size and place into whole registers of the
//! function, and lends the machine to it. Reads of what does not exist, or while memory decoding is off or
//! the function is not in D0, give all-ones; such writes are dropped. Both go into the journal.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::contract::{
    Bar, Declaration, DmaError, Function, Host, Identity, InterruptKind, Next, Notice, Reset, Tag,
    UNCLAIMED, Vector,
};
use crate::dma::map::{Map, PIECE};
use crate::journal::{Bytes, Direction, Journal, Kind, Outcome};
use crate::pci::bar::{Lanes, split};
use crate::pci::config::{ConfigSpace, Effect};
use crate::pci::irq::{Irqs, Wire};
use crate::pci::msi::{MSIX_BAR, MsixTable};

use super::Options;
use super::witness::{self, Witness};

/// A function, plugged in.
pub(crate) struct Machine<W> {
    function: Box<dyn Function>,
    config: ConfigSpace,
    msix: Option<MsixTable>,
    /// Behind the mailbox in configuration space, if a witness is wanted.
    witness: Option<Witness>,
    /// And behind BAR 5, which the function leaves free.
    witness_bar: bool,
    irqs: Irqs<W>,
    held: BTreeSet<Vector>,
    map: Arc<Map>,
    journal: Journal,
    piece: Box<[u8; PIECE]>,
    /// A register was read since the machine connected.
    was_read: bool,
    /// The function asked to be cut off.
    severed: bool,
}

/// What a function is lent for one call.
struct Port<'a, W> {
    config: &'a ConfigSpace,
    irqs: &'a Irqs<W>,
    held: &'a mut BTreeSet<Vector>,
    map: &'a Map,
    journal: &'a Journal,
    piece: &'a mut [u8; PIECE],
    register_write: Option<u64>,
    severed: &'a mut bool,
}

impl<W: Wire> Machine<W> {
    /// Plugs a function in, as after power-on.
    pub(crate) fn new(
        function: Box<dyn Function>,
        options: Options,
        map: Arc<Map>,
        journal: Journal,
    ) -> Self {
        journal.push(Kind::Declares(function.declares()));
        let mut identity = function.identity();
        let free = identity.bars.iter().all(|bar| bar.index != witness::BAR);
        let witness = options.witness.then(Witness::default);
        let witness_bar = options.witness && free;
        if witness_bar {
            identity.bars.push(Bar {
                index: witness::BAR,
                size: witness::SIZE,
            });
        }
        let mailbox = (witness::MAILBOX as usize, witness::mailbox(witness_bar));
        Self {
            config: ConfigSpace::with_vendor(&identity, options.witness.then_some(mailbox)),
            witness,
            witness_bar,
            msix: (identity.interrupt == InterruptKind::Msix)
                .then(|| MsixTable::new(identity.vectors)),
            function,
            irqs: Irqs::default(),
            held: BTreeSet::new(),
            map,
            journal,
            piece: Box::new([0; PIECE]),
            was_read: false,
            severed: false,
        }
    }

    /// Bytes that each BAR decodes; 0: no such BAR.
    pub(crate) fn bar_sizes(&self) -> [u32; 6] {
        self.config.bar_sizes()
    }

    /// What the function is.
    pub(crate) fn identity(&self) -> Identity {
        self.function.identity()
    }

    /// Whether a BAR is the witness's: what is written there concerns the journal, and no function.
    pub(crate) fn is_witness(&self, bar: u32) -> bool {
        bar == u32::from(witness::BAR) && self.witness_bar
    }

    /// Takes what the witness in the guest tells. Whether the function decodes its registers does not matter:
    /// the witness only looks on.
    pub(crate) fn tell(&mut self, offset: u64, from: &[u8]) {
        if let Some(witness) = &mut self.witness {
            witness.write(offset, from, &self.journal);
        }
    }

    /// Reads a BAR, at any offset and length.
    pub(crate) fn read(&mut self, bar: u8, offset: u64, into: &mut [u8]) {
        into.fill(0xff);
        let mut done = 0;
        for lanes in split(offset, into.len()) {
            let bytes = self.read_register(bar, lanes.register).to_le_bytes();
            let part = bytes.get(lanes.first..lanes.first + lanes.count);
            if let (Some(to), Some(part)) = (into.get_mut(done..done + lanes.count), part) {
                to.copy_from_slice(part);
            }
            done += lanes.count;
        }
        self.settle();
    }

    /// Writes a BAR, at any offset and length.
    pub(crate) fn write(&mut self, bar: u8, offset: u64, from: &[u8]) {
        if self.is_witness(bar.into()) {
            return self.tell(offset, from);
        }
        let mut done = 0;
        for lanes in split(offset, from.len()) {
            if let Some(part) = from.get(done..done + lanes.count) {
                self.write_register(bar, lanes, part);
            }
            done += lanes.count;
        }
        self.settle();
    }

    /// Reads configuration space.
    pub(crate) fn read_config(&mut self, offset: u64, into: &mut [u8]) {
        self.config.read(offset, into);
        if let (Some(at), Some(witness)) = (mailbox(offset), &self.witness) {
            let bytes = witness.read_mailbox(at).to_le_bytes();
            if into.len() == bytes.len() {
                into.copy_from_slice(&bytes);
            }
        }
    }

    /// Writes configuration space.
    pub(crate) fn write_config(&mut self, offset: u64, from: &[u8]) {
        if let (Some(at), Some(witness)) = (mailbox(offset), &mut self.witness) {
            return witness.write_mailbox(at, from, &self.journal);
        }
        for effect in self.config.write(offset, from) {
            match effect {
                Effect::FunctionLevelReset => self.reset_function(Reset::FunctionLevel),
                Effect::BusMaster(on) => {
                    self.journal.push(Kind::BusMaster { on });
                    if on {
                        self.notice(Notice::BusMaster);
                    }
                }
                Effect::Power(state) => {
                    self.journal.push(Kind::PowerState { state });
                }
                Effect::Decoding(on) => {
                    self.journal.push(Kind::Decoding { on });
                }
            }
        }
        self.release_held();
        self.settle();
    }

    /// Resets the whole device, configuration space included.
    pub(crate) fn reset_device(&mut self) {
        self.config.reset();
        self.reset_function(Reset::Device);
        self.settle();
    }

    /// The machine is gone: the function is as after power-on, without wires or mappings.
    pub(crate) fn unplug(&mut self) {
        self.reset_device();
        self.irqs = Irqs::default();
        self.was_read = false;
        if let Some(witness) = &mut self.witness {
            witness.unplug();
        }
        self.map.clear();
    }

    /// Lets the function do one piece of work.
    pub(crate) fn step(&mut self) -> Next {
        let (function, mut port) = self.lend(None);
        let next = function.step(&mut port);
        self.settle();
        next
    }

    /// Changes the wires; the line is looked at again afterwards.
    pub(crate) fn with_irqs(&mut self, change: impl FnOnce(&mut Irqs<W>)) {
        change(&mut self.irqs);
        self.settle();
    }

    fn reset_function(&mut self, reset: Reset) {
        self.function.reset(reset);
        self.held.clear();
        if let Some(table) = &mut self.msix {
            table.reset();
        }
        self.journal.push(Kind::Reset { reset });
    }

    /// Whether the function asked to be cut off since this was asked last.
    pub(crate) fn take_severed(&mut self) -> bool {
        std::mem::take(&mut self.severed)
    }

    fn notice(&mut self, notice: Notice) {
        let (function, mut port) = self.lend(None);
        function.notice(notice, &mut port);
    }

    fn decodes(&self) -> bool {
        self.config.memory_enabled() && self.config.power_state() == 0
    }

    fn read_register(&mut self, bar: u8, offset: u64) -> u32 {
        let is_witness = self.is_witness(bar.into());
        if let Some(witness) = self.witness.as_ref().filter(|_| is_witness) {
            return witness.read(offset);
        }
        if self.decodes() {
            match &self.msix {
                Some(table) if bar == MSIX_BAR => return table.read(offset),
                _ if self.function.register(bar, offset).is_some() => {
                    if !std::mem::replace(&mut self.was_read, true) {
                        self.journal.push(Kind::FirstRead { bar, offset });
                    }
                    self.notice(Notice::Read { bar, offset });
                    return self.function.read(bar, offset);
                }
                _ => {}
            }
        }
        let write = false;
        self.journal.push(Kind::Unclaimed { bar, offset, write });
        UNCLAIMED
    }

    fn write_register(&mut self, bar: u8, lanes: Lanes, part: &[u8]) {
        let offset = lanes.register;
        let write = true;
        if !self.decodes() {
            self.journal.push(Kind::Unclaimed { bar, offset, write });
            return;
        }
        if bar == MSIX_BAR
            && let Some(table) = &mut self.msix
        {
            table.write(offset, merge(table.read(offset), lanes, part));
            return;
        }
        let Some(name) = self.function.register(bar, offset) else {
            self.journal.push(Kind::Unclaimed { bar, offset, write });
            return;
        };
        let held = if lanes.whole() {
            0
        } else {
            self.function.held(bar, offset)
        };
        let value = merge(held, lanes, part);
        let sequence = self.journal.push(Kind::Register {
            bar,
            offset,
            name,
            value,
        });
        let (function, mut port) = self.lend(Some(sequence));
        function.write(bar, offset, value, &mut port);
    }

    fn lend(&mut self, register_write: Option<u64>) -> (&mut dyn Function, Port<'_, W>) {
        let port = Port {
            config: &self.config,
            irqs: &self.irqs,
            held: &mut self.held,
            map: &self.map,
            journal: &self.journal,
            piece: &mut self.piece,
            register_write,
            severed: &mut self.severed,
        };
        (self.function.as_mut(), port)
    }

    /// Sends what was held back while the function could not master the bus.
    fn release_held(&mut self) {
        let (_, mut port) = self.lend(None);
        if port.may_master().is_ok() {
            for vector in std::mem::take(port.held) {
                port.raise(vector);
            }
        }
    }

    fn settle(&mut self) {
        let asserted = self.function.line() && self.config.power_state() == 0;
        self.config.set_line_status(asserted);
        self.irqs.evaluate(asserted && self.config.line_enabled());
    }
}

/// How far in the mailbox's registers an offset of configuration space is.
fn mailbox(offset: u64) -> Option<u64> {
    let at = offset.checked_sub(witness::MAILBOX)?;
    (witness::MAILBOX_ACTS..witness::MAILBOX_SIZE)
        .contains(&at)
        .then_some(at)
}

/// Puts `part` into the lanes of `held` that an access touches.
fn merge(held: u32, lanes: Lanes, part: &[u8]) -> u32 {
    let mut bytes = held.to_le_bytes();
    if let Some(to) = bytes.get_mut(lanes.first..lanes.first + lanes.count)
        && to.len() == part.len()
    {
        to.copy_from_slice(part);
    }
    u32::from_le_bytes(bytes)
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
        let result = self.may_master().and_then(|()| held.write(address, from));
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
        let result = self
            .may_master()
            .and_then(|()| held.fill(address, length, self.piece, make));
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
        if self.irqs.messages() {
            self.irqs.send(vector);
        }
    }

    fn now(&self) -> Duration {
        self.journal.began().elapsed()
    }

    fn declare_for(&mut self, register_write: Option<u64>, what: Declaration) {
        self.journal.push(Kind::Declared {
            register_write,
            what,
        });
    }

    fn register_write(&self) -> Option<u64> {
        self.register_write
    }

    fn sever(&mut self) {
        *self.severed = true;
    }
}
