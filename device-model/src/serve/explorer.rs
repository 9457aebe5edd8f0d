// SPDX-License-Identifier: MIT OR Apache-2.0

//! When the function acts while an order is carried out: before which of the driver's steps, and how often.
//!
//! Nothing acts by itself then, neither a worker nor a clock. Messages and register writes are on their way until they arrive.

use std::collections::VecDeque;
use std::time::Duration;

use super::machine::Machine;
use super::witness;
use crate::contract::{Access, Contents, Declaration, Next, Vector, Width, split};
use crate::explore::{Did, Log, MOST_POINTS, MOST_STEPS, Order, Point, What};
use crate::journal::{Entry, Kind};
use crate::pci::irq::Wire;

/// What the card's time goes on by from one of the driver's steps to the next.
const TICK: Duration = Duration::from_micros(1);
/// How often a function may want to be looked at at another time until it does something.
const MOST_TIMES: usize = 16;
/// Most register writes that are on their way at once.
const MOST_WRITES: usize = 4096;
/// Most actions of one run; of one that has more nothing is concluded.
const MOST_ACTIONS: usize = 1 << 17;
/// Bytes of a BAR in which registers are compared.
const LOOKED_AT: u64 = 64 << 10;
/// Values from here on are not told: they may be addresses, which differ from run to run.
const ADDRESS: u64 = 1 << 16;

/// An order that is carried out, and what came of it so far.
#[derive(Debug, Default)]
pub(crate) struct Explorer {
    order: Order,
    log: Log,
    /// Steps of the driver so far.
    steps: u32,
    /// The last of them in the log.
    last: Option<usize>,
    messages: VecDeque<Vector>,
    /// Register writes on their way, with their numbers in the journal.
    writes: VecDeque<(Access, u64, u64)>,
    /// An interrupt was sent, and the machine may not have taken it.
    sent: bool,
    /// The function does nothing while the guest idles.
    halted: bool,
    /// Likewise, until the driver's next step.
    waits: bool,
    /// The read in hand is one of a poll.
    polled: bool,
    /// An interrupt was sent since the driver's last step.
    interrupted: bool,
    /// The registers before the read in hand, if that matters.
    before: Option<Values>,
    /// The guest has nothing to do, and the card has not either.
    rests: bool,
    /// Places of its registers.
    registers: Vec<Access>,
    /// Its actions so far.
    actions: usize,
}

/// What the registers read as.
type Values = Vec<Option<u64>>;

impl Explorer {
    /// The messages that are on their way.
    pub(super) fn messages(&mut self) -> &mut VecDeque<Vector> {
        &mut self.messages
    }
}

impl<W: Wire> Machine<W> {
    /// Whether an order is carried out.
    pub(crate) fn is_explored(&self) -> bool {
        self.explorer.is_some()
    }

    /// From here on the function acts as the order says.
    pub(crate) fn explore(&mut self, order: Order) {
        self.explored();
        self.clock = self.clock.max(self.journal.began().elapsed());
        let registers = self.identity.bars.iter();
        let registers = registers.filter(|bar| bar.contents == Contents::Registers);
        let places = registers.flat_map(|bar| {
            let offsets = (0..bar.size.min(LOOKED_AT)).step_by(4);
            offsets.map(|offset| Access::word(bar.index, offset))
        });
        let known = places.filter(|place| self.function.name(*place).is_some());
        self.explorer = Some(Box::new(Explorer {
            order,
            registers: known.collect(),
            rests: true,
            ..Explorer::default()
        }));
    }

    /// From here on it acts by itself again; gives what came of the order. What is on its way arrives.
    pub(crate) fn explored(&mut self) -> Option<Log> {
        self.arrive(false);
        let explorer = self.explorer.take()?;
        for vector in explorer.messages {
            if self.irqs.messages() {
                self.irqs.send(vector);
            }
        }
        self.settle();
        Some(explorer.log)
    }

    /// The machine goes: what was to come does not come any more.
    pub(super) fn break_off(&mut self) {
        if let Some(explorer) = &mut self.explorer {
            explorer.writes.clear();
            explorer.messages.clear();
            explorer.log.cut = true;
            explorer.rests = true;
        }
    }

    /// Whether the function does nothing while the guest idles; if not any more, it does from the driver's next step on.
    pub(crate) fn hold(&mut self, halted: bool) {
        if let Some(explorer) = &mut self.explorer {
            explorer.waits |= explorer.halted && !halted;
            explorer.halted = halted;
        }
    }

    /// Whether nothing is left to do, for the card and for the guest.
    pub(crate) fn rests(&self) -> bool {
        self.explorer.as_ref().is_none_or(|explorer| explorer.rests)
    }

    /// An interrupt was sent.
    pub(super) fn sent(&mut self) {
        if let Some(explorer) = &mut self.explorer {
            (explorer.sent, explorer.rests) = (true, false);
        }
    }

    /// Whether the machine has taken all interrupts; and whether there was one to take.
    pub(crate) fn taken(&mut self) -> (bool, bool) {
        let Some(explorer) = &mut self.explorer else {
            return (true, false);
        };
        let taken = !explorer.sent || self.irqs.taken();
        (taken, std::mem::replace(&mut explorer.sent, !taken))
    }

    /// The guest has nothing to do: the card acts until it has interrupted, or has nothing to do either.
    pub(crate) fn idle(&mut self) {
        let explorer = self.explorer.as_ref();
        let waits = explorer.is_none_or(|explorer| explorer.halted || explorer.waits);
        // One that is still on its way comes first.
        if !self.taken().0 || waits {
            return;
        }
        let mut acted = self.act_at(What::Idle);
        let sent = self.explorer.as_ref().is_some_and(|explorer| explorer.sent);
        if !self.can_act() && !sent {
            // What is on its way has had all the time there is.
            self.arrive(false);
            acted |= self.act_at(What::Idle);
        }
        let left = self.can_act();
        if let Some(explorer) = &mut self.explorer {
            // A function that wants to and does not is at rest, too.
            let stuck = left && !acted;
            explorer.rests = (!left || stuck) && explorer.writes.is_empty() && !explorer.sent;
        }
    }

    /// A point at which the driver makes no step. Whether the card did anything.
    fn act_at(&mut self, what: What) -> bool {
        if !self.can_act() {
            return false;
        }
        let label = match what {
            What::Poll => "it reads that again, until it changes",
            _ => "it has nothing to do",
        };
        self.point(what, label.to_owned(), None, None);
        let log = self.explorer.as_ref().map(|explorer| &explorer.log);
        log.and_then(|log| log.points.last())
            .is_some_and(|point| !point.did.is_empty())
    }

    /// A register is about to be read. What is on its way arrives before.
    pub(super) fn before_read(&mut self, bar: u8, offset: u64, length: usize) {
        if self.explorer.is_none() || self.is_witness(bar.into()) {
            return self.arrive(true);
        }
        let label = self.name_of(bar, offset, length);
        let available = self.can_act();
        if let Some(explorer) = &mut self.explorer
            && let Some(last) = explorer.last.and_then(|last| explorer.log.points.get(last))
            && last.what == What::Read
            && last.label == label
            && !explorer.interrupted
        {
            // It polls; behind an interrupt it would be the handler that reads. It is answered first, and then the card acts as when the guest idles: whether a driver that sleeps in
            // between gets to idle does not matter then.
            (explorer.polled, explorer.waits) = (true, false);
            return self.arrive(true);
        }
        self.point(What::Read, label, Some((bar, offset)), None);
        self.arrive(true);
        let before = available.then(|| self.values());
        if let Some(explorer) = &mut self.explorer {
            explorer.before = before;
        }
    }

    /// It was read.
    pub(super) fn after_read(&mut self) {
        let Some(explorer) = &mut self.explorer else {
            return;
        };
        let polled = std::mem::take(&mut explorer.polled);
        if let Some(before) = explorer.before.take() {
            let changes = self.values() != before;
            if let Some(explorer) = &mut self.explorer
                && let Some(point) = explorer
                    .last
                    .and_then(|last| explorer.log.points.get_mut(last))
            {
                point.changes = changes;
            }
        }
        if polled {
            self.act_at(What::Poll);
        }
    }

    /// A register is about to be written. True: that is on its way, and arrives later.
    pub(super) fn before_store(&mut self, access: Access, value: u64) -> bool {
        if self.explorer.is_none() {
            return false;
        }
        let Access { bar, offset, width } = access;
        let name = self.name_of(bar, offset, width.bytes().into());
        let label = match value {
            ..ADDRESS => format!("{name} = {value:#x}"),
            _ if value == width.mask() => format!("{name} = all ones"),
            _ => name,
        };
        let number = self.point(What::Write, label, Some((bar, offset)), None);
        let plain = self.reaches(access) && self.memory(bar).is_none();
        let own = plain && self.load_table(access).is_none();
        let name = self.function.name(access).filter(|_| own);
        let (Some(explorer), Some(name)) = (&mut self.explorer, name) else {
            self.arrive(false);
            return false;
        };
        let held = explorer.order.held.contains(&number);
        // None passes another.
        if !held && explorer.writes.is_empty() || explorer.writes.len() >= MOST_WRITES {
            return false;
        }
        if let Some(point) = explorer
            .last
            .and_then(|last| explorer.log.points.get_mut(last))
        {
            point.held = held;
        }
        let sequence = self.journal.push(Kind::Register {
            bar,
            offset,
            name,
            value,
            width: width.bytes(),
        });
        self.journal.push(Kind::Declared {
            register_write: Some(sequence),
            what: Declaration::Delayed,
        });
        explorer.writes.push_back((access, value, sequence));
        true
    }

    /// Configuration space is about to be written.
    pub(super) fn before_config(&mut self, offset: u64, length: usize) {
        if self.explorer.is_some() {
            let label = format!("configuration space, {length} bytes at {offset:#x}");
            self.point(What::Config, label, None, None);
            self.arrive(false);
        }
    }

    /// The witness is about to tell of a call.
    pub(super) fn before_call(&mut self) {
        let about = self.witness.as_ref().filter(|_| self.explorer.is_some());
        if let Some((label, memory)) = about.and_then(witness::Witness::about) {
            self.point(What::Call, label, None, memory);
        }
    }

    /// Register writes that are on their way arrive; `flushed`: a read made them.
    pub(super) fn arrive(&mut self, flushed: bool) {
        let writes = self
            .explorer
            .as_mut()
            .map(|explorer| std::mem::take(&mut explorer.writes));
        for (access, value, sequence) in writes.unwrap_or_default() {
            self.journal.push(Kind::Declared {
                register_write: Some(sequence),
                what: Declaration::Arrived { flushed },
            });
            let (function, mut port) = self.lend(Some(sequence));
            function.store(access, value, &mut port);
            self.settle();
        }
    }

    /// What an access touches, in words.
    fn name_of(&self, bar: u8, offset: u64, length: usize) -> String {
        let first = split(bar, offset, length, self.widest(bar)).next();
        let name = first.and_then(|access| self.function.name(access));
        name.map_or_else(
            || format!("BAR {bar} + {offset:#x}"),
            |name| name.to_string(),
        )
    }

    fn can_act(&self) -> bool {
        let on_way = self
            .explorer
            .as_ref()
            .is_some_and(|explorer| !explorer.messages.is_empty());
        on_way || self.function.wants() == Some(true)
    }

    fn values(&self) -> Values {
        let places = self
            .explorer
            .iter()
            .flat_map(|explorer| &explorer.registers);
        places.map(|place| self.function.peek(*place)).collect()
    }

    /// A place at which the card may act; lets it. Gives the number of the driver's step.
    fn point(
        &mut self,
        what: What,
        label: String,
        register: Option<(u8, u64)>,
        memory: Option<(u64, u64)>,
    ) -> u32 {
        let available = self.can_act();
        let Some(explorer) = &mut self.explorer else {
            return u32::MAX;
        };
        self.clock += TICK;
        let mut point = Point {
            what,
            number: explorer.steps,
            label,
            register,
            memory,
            did: Vec::new(),
            available,
            more: false,
            changes: false,
            held: false,
        };
        let drivers = point.is_drivers();
        let wanted = match drivers {
            true => {
                explorer.steps = explorer.steps.saturating_add(1);
                (explorer.waits, explorer.rests) = (false, false);
                explorer.interrupted = false;
                let wanted = explorer.order.steps.get(&point.number);
                wanted.copied().unwrap_or(0)
            }
            false => {
                point.number = point.number.saturating_sub(1);
                MOST_STEPS
            }
        };
        while point.did.len() < wanted as usize {
            let Some(did) = self.act() else { break };
            let interrupted = did.interrupt;
            point.did.push(did);
            if let Some(explorer) = &mut self.explorer {
                explorer.interrupted |= interrupted;
                // One that nobody took wakes nobody.
                if explorer.sent && !drivers {
                    break;
                }
            }
        }
        point.more = self.can_act();
        let number = point.number;
        if let Some(explorer) = &mut self.explorer {
            match explorer.log.points.len() < MOST_POINTS {
                true => explorer.log.points.push(point),
                false => explorer.log.cut = true,
            }
            if drivers {
                explorer.last = explorer.log.points.len().checked_sub(1);
            }
        }
        number
    }

    /// The card does one thing; `None`: it has nothing to do.
    pub(crate) fn act(&mut self) -> Option<Did> {
        let explorer = self.explorer.as_mut()?;
        if explorer.actions >= MOST_ACTIONS {
            explorer.log.cut = true;
            return None;
        }
        explorer.actions += 1;
        if let Some(vector) = explorer.messages.pop_front() {
            if self.irqs.messages() && self.irqs.send(vector) {
                self.sent();
            }
            return Some(Did {
                label: "interrupt".to_owned(),
                interrupt: true,
                ..Did::default()
            });
        }
        if self.function.wants() != Some(true) {
            return None;
        }
        let (before, from) = (self.values(), self.journal.len());
        let was_sent = self
            .explorer
            .as_mut()
            .map(|explorer| std::mem::take(&mut explorer.sent));
        for _ in 0..MOST_TIMES {
            let next = self.step();
            match next {
                Next::At(time) if self.journal.len() == from => self.clock = self.clock.max(time),
                _ => break,
            }
        }
        let interrupt = self.explorer.as_mut().is_some_and(|explorer| {
            let sent = explorer.sent;
            explorer.sent |= was_sent == Some(true);
            sent
        });
        let after = self.values();
        let entries = self.journal.entries_from(from);
        let pairs = before.iter().zip(&after);
        let opaque = pairs.clone().any(|(was, is)| was.is_none() || is.is_none());
        let places = self
            .explorer
            .iter()
            .flat_map(|explorer| &explorer.registers);
        let changed: Vec<_> = (places.zip(pairs))
            .filter(|(_, (was, is))| was != is)
            .map(|(place, _)| (place.bar, place.register(Width::Four)))
            .collect();
        if entries.is_empty() && changed.is_empty() && !interrupt {
            return None;
        }
        let words: Vec<_> = entries.iter().filter_map(word).collect();
        Some(Did {
            label: match words.is_empty() {
                true => "changes registers".to_owned(),
                false => words.join(", "),
            },
            touched: entries.iter().flat_map(touched).collect(),
            changed,
            opaque,
            interrupt,
        })
    }
}

/// What an entry of the card's journal is, without addresses.
fn word(entry: &Entry) -> Option<String> {
    match &entry.kind {
        Kind::Access {
            direction, length, ..
        } => Some(format!("{direction:?}s {length} bytes").to_lowercase()),
        Kind::Interrupt { .. } => Some("raises".to_owned()),
        Kind::InterruptHeld { .. } => Some("raises, and must wait".to_owned()),
        Kind::Declared { what, .. } => match what {
            Declaration::Begun { label, .. } => Some(match label.slot {
                Some(slot) => format!("begins slot {slot}"),
                None => "begins".to_owned(),
            }),
            Declaration::Done { error: None, .. } => Some("done".to_owned()),
            Declaration::Done { error, .. } => {
                Some(format!("done: {}", error.as_deref().unwrap_or_default()))
            }
            Declaration::Idle { .. } => Some("is idle".to_owned()),
            _ => None,
        },
        _ => None,
    }
}

/// Memory that an entry is about.
fn touched(entry: &Entry) -> Vec<(u64, u64)> {
    match &entry.kind {
        Kind::Access {
            address, length, ..
        } => vec![(*address, *length)],
        Kind::Declared {
            what: Declaration::Begun { pieces, .. },
            ..
        } => pieces
            .iter()
            .map(|piece| (piece.address, piece.length))
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
#[path = "explorer_tests.rs"]
mod tests;
