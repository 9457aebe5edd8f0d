// SPDX-License-Identifier: MIT OR Apache-2.0

//! One function with all that surrounds it: configuration space, interrupts, memory, journal.
//!
//! This is the access layer: it turns accesses of any size and place into ones that the function takes, keeps from it
//! what is none of its business (its memory, the MSI-X table, the witness), and lends the machine to it. Reads of what does
//! not exist, or while memory decoding is off or the function is not in D0, give all-ones; such writes are dropped. Both go
//! into the journal.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use crate::contract::{
    Access, Backing, Bar, Contents, Function, Host, Identity, IdentityError, Next, Notice,
    RegisterName, Reset, Setup, Vector, Width, split,
};
use crate::dma::map::{Map, PIECE};
use crate::journal::{Journal, Kind, Missing, Spinning};
use crate::pci::config::{ConfigSpace, Effect};
use crate::pci::irq::{Irqs, Wire};
use crate::pci::msi::MsixTable;

use super::Options;
use super::explorer::Explorer;
use super::port::Port;
use super::unknown::{Spin, Touched, Watch};
use super::witness::{self, Witness};

/// Most times that a guest which spins is listed.
const MOST_SPINNING: usize = 64;

/// A function, plugged in.
pub(crate) struct Machine<W> {
    pub(super) function: Box<dyn Function>,
    pub(super) identity: Identity,
    config: ConfigSpace,
    msix: Option<MsixTable>,
    /// Behind the mailbox in configuration space, if a witness is wanted.
    pub(super) witness: Option<Witness>,
    /// And behind BAR 5, which the function leaves free.
    witness_bar: bool,
    pub(super) irqs: Irqs<W>,
    held: BTreeSet<Vector>,
    map: Arc<Map>,
    pub(super) journal: Journal,
    piece: Box<[u8; PIECE]>,
    /// What the function was told of last.
    setup: Setup,
    /// A register was read since the machine connected.
    was_read: bool,
    /// The function asked to be cut off.
    severed: bool,
    touched: Touched,
    watch: Watch,
    /// What it told of.
    spinning: Vec<Spinning>,
    /// Who decides when the function acts, while the orders of its actions are enumerated.
    pub(super) explorer: Option<Box<Explorer>>,
    /// Its time then; never earlier again.
    pub(super) clock: Duration,
}

impl<W: Wire> Machine<W> {
    /// Plugs a function in, as after power-on.
    ///
    /// # Errors
    /// There can be no such function.
    pub(crate) fn new(
        function: Box<dyn Function>,
        options: Options,
        map: Arc<Map>,
        journal: Journal,
    ) -> Result<Self, IdentityError> {
        let identity = function.identity();
        let witness = options.witness.then(|| Witness::of(options.place));
        let witness_bar = options.witness && is_free(&identity, witness::BAR);
        let mut with_witness = identity.clone();
        if witness_bar {
            let bar = Bar::registers(witness::BAR, witness::SIZE);
            with_witness.bars.push(bar);
        }
        let mailbox = options.witness.then(|| witness::mailbox(witness_bar));
        let config = ConfigSpace::with_vendor(&with_witness, mailbox)?;
        journal.push(Kind::Declares(function.declares()));
        Ok(Self {
            config,
            witness,
            witness_bar,
            msix: identity.msix.map(MsixTable::new),
            function,
            identity,
            irqs: Irqs::default(),
            held: BTreeSet::new(),
            map,
            journal,
            piece: Box::new([0; PIECE]),
            setup: Setup::default(),
            was_read: false,
            severed: false,
            touched: Touched::default(),
            watch: Watch::default(),
            spinning: Vec::new(),
            explorer: None,
            clock: Duration::ZERO,
        })
    }

    /// Bytes that each BAR decodes; 0: no such BAR.
    pub(crate) fn bar_sizes(&self) -> [u64; 6] {
        self.config.bar_sizes()
    }

    /// What the function is.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// What the function lacks, as far as the driver asked for it.
    pub(crate) fn missing(&self) -> Missing {
        Missing {
            unknown: self.touched.list(),
            spinning: self.spinning.clone(),
        }
    }

    /// Whether a BAR is the witness's: what is written there concerns the journal, and no function.
    pub(crate) fn is_witness(&self, bar: u32) -> bool {
        bar == u32::from(witness::BAR) && self.witness_bar
    }

    /// Takes what the witness in the guest tells. Whether the function decodes its registers does not matter:
    /// the witness only looks on.
    pub(crate) fn tell(&mut self, offset: u64, from: &[u8]) {
        if let Some(witness) = &mut self.witness
            && witness.stage(offset, from, &self.journal)
        {
            self.told();
        }
    }

    /// An event of the witness's is whole.
    fn told(&mut self) {
        self.before_call();
        if let Some(witness) = &mut self.witness {
            witness.tell(&self.journal);
        }
    }

    /// Reads a BAR, at any offset and length.
    pub(crate) fn read(&mut self, bar: u8, offset: u64, into: &mut [u8]) {
        if let Some(memory) = self.plain_memory(bar) {
            return memory.read(offset, into);
        }
        self.before_read(bar, offset, into.len());
        let mut rest = &mut *into;
        for access in split(bar, offset, rest.len(), self.widest(bar)) {
            let bytes = self.load(access).to_le_bytes();
            let (part, after) =
                rest.split_at_mut(usize::from(access.width.bytes()).min(rest.len()));
            part.copy_from_slice(bytes.get(..part.len()).unwrap_or_default());
            rest = after;
        }
        rest.fill(0xff);
        self.settle();
        self.after_read();
    }

    /// Writes a BAR, at any offset and length.
    pub(crate) fn write(&mut self, bar: u8, offset: u64, from: &[u8]) {
        if self.is_witness(bar.into()) {
            return self.tell(offset, from);
        }
        self.watch.stop();
        if let Some(memory) = self.plain_memory(bar) {
            return memory.write(offset, from);
        }
        let mut rest = from;
        for access in split(bar, offset, rest.len(), self.widest(bar)) {
            let (part, after) = rest.split_at(usize::from(access.width.bytes()).min(rest.len()));
            let mut bytes = [0; 8];
            if let Some(to) = bytes.get_mut(..part.len()) {
                to.copy_from_slice(part);
            }
            let value = u64::from_le_bytes(bytes);
            if !self.before_store(access, value) {
                self.store(access, value);
            }
            rest = after;
        }
        self.settle();
    }

    /// Reads configuration space.
    pub(crate) fn read_config(&mut self, offset: u64, into: &mut [u8]) {
        self.arrive(true);
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
            if witness.stage_mailbox(at, from, &self.journal) {
                self.told();
            }
            return;
        }
        self.watch.stop();
        self.before_config(offset, from.len());
        let mut masters = false;
        for effect in self.config.write(offset, from) {
            match effect {
                Effect::FunctionLevelReset => {
                    let reset = Reset::FunctionLevel;
                    self.reset_function(reset);
                    self.journal.push(Kind::Reset { reset });
                }
                Effect::BusMaster(on) => {
                    self.journal.push(Kind::BusMaster { on });
                    masters = on;
                }
                Effect::Power(state) => {
                    self.journal.push(Kind::PowerState { state });
                }
                Effect::Decoding(on) => {
                    self.journal.push(Kind::Decoding { on });
                }
            }
        }
        // One write may do several of them, and the function acts when all are told.
        if masters {
            self.notice(Notice::BusMaster);
        }
        self.release_held();
        self.tell_setup();
        self.settle();
    }

    /// Resets the whole device, configuration space included.
    pub(crate) fn reset_device(&mut self) {
        self.power_on();
        self.journal.push(Kind::Reset {
            reset: Reset::Device,
        });
        self.tell_setup();
        self.settle();
    }

    /// The machine is gone: the function is as after power-on, without wires or mappings. Nobody reset it: the journal says that
    /// the connection ended, and no more.
    pub(crate) fn unplug(&mut self) {
        self.irqs = Irqs::default();
        self.map.clear();
        self.break_off();
        self.power_on();
        // Before the function hears of it, which may act then: that it cannot reach anything any more is known by this.
        self.journal.push(Kind::Disconnected);
        self.tell_setup();
        self.settle();
        self.was_read = false;
        if let Some(witness) = &mut self.witness {
            witness.unplug();
        }
    }

    /// All is as it is when power comes.
    fn power_on(&mut self) {
        self.config.reset();
        self.watch.stop();
        self.reset_function(Reset::Device);
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
        self.tell_setup();
        self.settle();
    }

    /// What comes to the function from outside.
    pub(crate) fn outside(&self) -> io::Result<Option<OwnedFd>> {
        let outside = self.function.outside();
        outside.map(|fd| fd.try_clone_to_owned()).transpose()
    }

    fn reset_function(&mut self, reset: Reset) {
        self.function.reset(reset);
        self.held.clear();
        if let Some(table) = &mut self.msix {
            table.reset();
        }
    }

    /// Whether the function asked to be cut off since this was asked last.
    pub(crate) fn take_severed(&mut self) -> bool {
        std::mem::take(&mut self.severed)
    }

    /// Tells the function what software set up, if that changed.
    fn tell_setup(&mut self) {
        let table = self.identity.msix.map_or(0, |msix| msix.vectors);
        let setup = Setup {
            memory: self.config.memory_enabled(),
            master: self.config.master_enabled(),
            line_off: !self.config.line_enabled(),
            power: self.config.power_state(),
            messages: self.irqs.kind().map(|kind| (kind, self.irqs.given(table))),
        };
        if std::mem::replace(&mut self.setup, setup) != setup {
            self.notice(Notice::Setup(setup));
        }
    }

    fn notice(&mut self, notice: Notice) {
        let (function, mut port) = self.lend(None);
        function.notice(notice, &mut port);
    }

    fn decodes(&self) -> bool {
        self.config.memory_enabled() && self.config.power_state() == 0
    }

    /// The memory behind a BAR.
    pub(super) fn memory(&self, bar: u8) -> Option<&Backing> {
        let mut bars = self.identity.bars.iter();
        match &bars.find(|each| each.index == bar)?.contents {
            Contents::Memory { backing, .. } => Some(backing),
            Contents::Registers => None,
        }
    }

    /// The same, while it is decoded, if there is nothing else in it.
    fn plain_memory(&self, bar: u8) -> Option<&Backing> {
        let table = self.msix.as_ref();
        let plain = table.is_none_or(|table| !table.is_in(bar));
        self.memory(bar).filter(|_| plain && self.decodes())
    }

    /// Whether an access is to what the function decodes.
    pub(super) fn reaches(&self, access: Access) -> bool {
        let mut bars = self.identity.bars.iter();
        let size = bars
            .find(|each| each.index == access.bar)
            .map_or(0, |bar| bar.size);
        let end = access.offset.checked_add(access.width.bytes().into());
        self.decodes() && end.is_some_and(|end| end <= size)
    }

    /// The widest access that is taken as one.
    pub(super) fn widest(&self, bar: u8) -> Width {
        match self.is_witness(bar.into()) {
            true => Width::Four,
            false => self.function.widest(bar),
        }
    }

    fn load(&mut self, access: Access) -> u64 {
        let Access { bar, offset, .. } = access;
        let is_witness = self.is_witness(bar.into());
        if let Some(witness) = self.witness.as_ref().filter(|_| is_witness) {
            let word = witness.read(access.register(Width::Four));
            return access
                .lanes(access.register(Width::Four))
                .extract(word.into());
        }
        if self.decodes()
            && let Some(value) = self.load_table(access)
        {
            return value;
        }
        if !self.reaches(access) {
            self.unclaimed(access, false);
            return u64::MAX;
        }
        if let Some(memory) = self.memory(bar) {
            let mut bytes = [0; 8];
            memory.read(offset, &mut bytes);
            return u64::from_le_bytes(bytes);
        }
        let before = self.journal.len();
        let name = self.function.name(access);
        let (value, own) = match name {
            Some(_) => {
                if !std::mem::replace(&mut self.was_read, true) {
                    self.journal.push(Kind::FirstRead { bar, offset });
                }
                // The register's own place, where registers are not wider than what is read.
                let offset = match self.function.widest(bar) {
                    Width::Eight => offset,
                    width => access.register(width),
                };
                self.notice(Notice::Read { bar, offset });
                let (function, mut port) = self.lend(None);
                (function.load(access, &mut port) & access.width.mask(), 0)
            }
            None => {
                let told = self.unknown_touched(access, false);
                (access.width.mask(), u64::from(told))
            }
        };
        let now = self.journal.began().elapsed();
        if let Some((spin, lasted)) = self.watch.read(access, value, now, (before, own)) {
            self.tell_spinning(&spin, name, lasted);
        }
        value
    }

    fn tell_spinning(&mut self, spin: &Spin, name: Option<RegisterName>, lasted: Duration) {
        let Access { bar, offset, .. } = spin.access;
        let lasted_ns = u64::try_from(lasted.as_nanos()).unwrap_or(u64::MAX);
        let (value, reads) = (spin.value, spin.reads);
        let said = name.as_ref().map(ToString::to_string);
        let sequence = self.journal.push(Kind::Spinning {
            bar,
            offset,
            name,
            value,
            reads,
            lasted_ns,
        });
        if self.spinning.len() < MOST_SPINNING {
            self.spinning.push(Spinning {
                sequence,
                bar,
                offset,
                name: said,
                value,
                reads,
                lasted_ns,
            });
        }
    }

    fn store(&mut self, access: Access, value: u64) {
        let Access { bar, offset, .. } = access;
        if self.decodes() && self.store_table(access, value) {
            return;
        }
        if !self.reaches(access) {
            return self.unclaimed(access, true);
        }
        if let Some(memory) = self.memory(bar) {
            let bytes = value.to_le_bytes();
            let part = bytes.get(..access.width.bytes().into());
            return memory.write(offset, part.unwrap_or_default());
        }
        let Some(name) = self.function.name(access) else {
            self.unknown_touched(access, true);
            return;
        };
        let sequence = self.journal.push(Kind::Register {
            bar,
            offset,
            name,
            value,
            width: access.width.bytes(),
        });
        let (function, mut port) = self.lend(Some(sequence));
        function.store(access, value, &mut port);
    }

    /// Reads what an access has of the MSI-X table; `None`: nothing.
    pub(super) fn load_table(&self, access: Access) -> Option<u64> {
        let table = self.msix.as_ref()?;
        let words = split(access.bar, access.register(Width::Four), 8, Width::Four);
        let mut found = None;
        for word in words.filter(|word| access.lanes(word.offset).mask() != 0) {
            if let Some(value) = table.read(word.bar, word.offset) {
                *found.get_or_insert(0) |= access.lanes(word.offset).extract(value.into());
            }
        }
        found
    }

    /// Writes what an access has of the MSI-X table; false: nothing.
    fn store_table(&mut self, access: Access, value: u64) -> bool {
        let Some(table) = &mut self.msix else {
            return false;
        };
        let words = split(access.bar, access.register(Width::Four), 8, Width::Four);
        let mut found = false;
        for word in words {
            let lanes = access.lanes(word.offset);
            if let Some(held) = table
                .read(word.bar, word.offset)
                .filter(|_| lanes.mask() != 0)
            {
                let value = lanes.insert(held.into(), value) as u32;
                found |= table.write(word.bar, word.offset, value);
            }
        }
        found
    }

    /// Nothing is decoded: neither known nor unknown.
    fn unclaimed(&self, access: Access, write: bool) {
        self.journal.push(Kind::Unclaimed {
            bar: access.bar,
            offset: access.offset,
            write,
            width: access.width.bytes(),
            count: 0,
        });
    }

    /// The function has no register there. Whether that was journalled.
    fn unknown_touched(&mut self, access: Access, write: bool) -> bool {
        let count = self.touched.count(access, write);
        if let Some(count) = count {
            self.journal.push(Kind::Unclaimed {
                bar: access.bar,
                offset: access.offset,
                write,
                width: access.width.bytes(),
                count,
            });
        }
        count.is_some()
    }

    pub(super) fn lend(&mut self, register_write: Option<u64>) -> (&mut dyn Function, Port<'_, W>) {
        let port = Port {
            config: &self.config,
            irqs: &self.irqs,
            held: &mut self.held,
            map: &self.map,
            journal: &self.journal,
            piece: &mut self.piece,
            register_write,
            table: self.identity.msix.map_or(0, |msix| msix.vectors),
            severed: &mut self.severed,
            on_way: self.explorer.as_mut().map(|explorer| explorer.messages()),
            clock: self.clock,
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

    pub(super) fn settle(&mut self) {
        let asserted = self.function.line() && self.config.power_state() == 0;
        self.config.set_line_status(asserted);
        if self.irqs.evaluate(asserted && self.config.line_enabled()) {
            self.sent();
        }
    }
}

/// How far in the mailbox's registers an offset of configuration space is.
fn mailbox(offset: u64) -> Option<u64> {
    let at = offset.checked_sub(witness::MAILBOX)?;
    (witness::MAILBOX_ACTS..witness::MAILBOX_SIZE)
        .contains(&at)
        .then_some(at)
}

/// Whether a function leaves a BAR free.
fn is_free(identity: &Identity, bar: u8) -> bool {
    let takes =
        |each: &Bar| each.index == bar || each.wide && each.index.checked_add(1) == Some(bar);
    !identity.bars.iter().any(takes)
}
