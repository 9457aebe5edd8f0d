// SPDX-License-Identifier: MIT OR Apache-2.0

//! All lends of all cards, and what the CPUs did with what was a card's.
//!
//! - A load is wrong that begins in bytes which the card owns and may write. One that begins before them and reads over their
//!   beginning is how words of a string are read, and is not.
//! - A store is wrong that touches bytes which the card owns; whether it does harm is settled by what comes next.
//!
//! Accesses of one instruction to one lend are one finding; of stores, each of which matters by itself, those that touch each other and were made
//! at once, as long as there is room for that. It grows until those bytes change hands, and is then handed on.

use alloc::collections::BTreeMap;
use alloc::collections::btree_set::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::echo::{Event, Op, PAGE, PLACES};
use crate::lend::{Lend, Part};
use crate::pages::{NO_READ, NO_WRITE, Pages};
use crate::wire::{Found, OPEN, STACK, Settled};

/// Most lends at once, and most pages that they have.
const MOST_LENDS: usize = 1 << 16;
const MOST_PAGES: usize = 1 << 21;

/// With so many findings that may grow, stores of one instruction that do not touch each other are one.
const MOST_APART: usize = OPEN / 2;

/// Nanoseconds between two stores after which they are no longer one: the card may have got at those bytes in between.
const APART_NS: u64 = 10_000;

/// Where findings go.
pub trait Sink {
    /// Place `at` of those that may grow is now this; `None`: nothing.
    fn open(&mut self, at: usize, found: Option<&Found>);
    /// One is settled.
    fn settled(&mut self, found: &Found);
    /// A finding found no room, or a lend did not.
    fn lost(&mut self);
    /// `CLOCK_MONOTONIC`, nanoseconds.
    fn now(&self) -> u64;
}

/// An access to memory, within one page.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// The guest's CPU.
    pub cpu: u32,
    /// A store; else a load.
    pub store: bool,
    /// Address of the instruction.
    pub pc: u64,
    /// First physical address.
    pub phys: u64,
    /// Bytes.
    pub size: u64,
}

impl Access {
    /// Of code that runs in user space: the kernel has the upper half of all addresses.
    pub const fn is_users(&self) -> bool {
        self.pc >> 63 == 0
    }
}

/// What is known of a card.
#[derive(Clone, Copy, Debug, Default)]
struct Card {
    /// Its events are heard.
    attached: bool,
    /// Number of the next.
    next: u64,
}

/// A finding that may grow.
#[derive(Clone, Debug)]
struct Open {
    lend: u32,
    part: Part,
    found: Found,
}

/// See the module.
pub struct Watch<S> {
    /// See [`Pages`]; others look into it meanwhile.
    pub pages: Arc<Pages>,
    /// An IOMMU may have made one range of several.
    scattered: bool,
    lends: BTreeMap<u32, Lend>,
    next_lend: u32,
    next_id: u64,
    /// Lends by page, and how many such entries there are.
    by_page: BTreeSet<(u64, u32)>,
    /// Lends by card and bus address.
    by_bus: BTreeSet<(u32, u64, u32)>,
    cards: [Card; PLACES],
    open: Vec<Option<Open>>,
    sink: S,
}

impl<S: Sink> Watch<S> {
    /// Nothing is lent. No RAM lies at or above `limit`.
    pub fn new(limit: u64, scattered: bool, sink: S) -> Self {
        Self {
            pages: Arc::new(Pages::below(limit)),
            scattered,
            lends: BTreeMap::new(),
            next_lend: 0,
            next_id: 1,
            by_page: BTreeSet::new(),
            by_bus: BTreeSet::new(),
            cards: [Card::default(); PLACES],
            open: Vec::new(),
            sink,
        }
    }

    /// Where findings go.
    pub fn sink(&self) -> &S {
        &self.sink
    }

    /// The lend that has memory of this physical address.
    pub fn lend_at(&self, phys: u64) -> Option<&Lend> {
        let page = phys / PAGE;
        let here = self.by_page.range((page, 0)..=(page, u32::MAX));
        let mut here = here.filter_map(|(_, name)| self.lends.get(name));
        here.find(|lend| lend.phys.from <= phys && phys < lend.phys.to)
    }

    /// Hears an event. False: the witness goes, and tells nothing more.
    pub fn event(&mut self, event: &Event) -> bool {
        if event.op == Op::Ends {
            for card in 0..PLACES as u32 {
                self.forget(card);
            }
            return false;
        }
        let Some(card) = self.cards.get_mut(event.card as usize) else {
            return true;
        };
        let first = event.op == Op::Attached && event.number == 0;
        if first || event.op == Op::Detached {
            *card = Card {
                attached: first,
                next: 1,
            };
            self.forget(event.card);
            return true;
        }
        if !card.attached {
            return true;
        }
        let ahead = event.number.wrapping_sub(card.next as u32);
        match ahead {
            0 => card.next += 1,
            // One was lost: what is lent is not known any more.
            1..0x8000_0000 => {
                card.attached = false;
                self.forget(event.card);
                return true;
            }
            // It was told already, on another way.
            _ => return true,
        }
        let number = card.next - 1;
        self.call(event, number);
        true
    }

    fn call(&mut self, event: &Event, number: u64) {
        match event.op {
            Op::Map | Op::Link | Op::Alloc => self.begin(event, number),
            Op::End => {
                // By whatever length: it ends.
                if let Some(lend) = self.find(event.card, event.address, event.length) {
                    let begins = self.lends.get(&lend).map(|lend| lend.bus);
                    if begins == Some(event.address) {
                        self.end(lend, Settled::Ended, number);
                    }
                }
            }
            Op::Unlink => {
                let range = Part::of(event.address, event.length);
                let first = (event.card, range.from, 0);
                let linked = self.by_bus.range(first..(event.card, range.to, 0));
                for lend in linked.map(|&(.., lend)| lend).collect::<Vec<_>>() {
                    self.end(lend, Settled::Ended, number);
                }
            }
            Op::ForCpu => self.hand(event, number, Settled::ForCpu),
            Op::ForDevice => self.hand(event, number, Settled::ForDevice),
            Op::Queue | Op::Done => self.turn(event, number),
            Op::Attached | Op::Detached | Op::Ends | Op::Other => {}
        }
    }

    fn begin(&mut self, event: &Event, number: u64) {
        let Some(from) = event.phys.filter(|_| event.length > 0) else {
            return;
        };
        let mut phys = Part::of(from, event.length);
        if self.scattered && (event.part || event.op == Op::Alloc) && event.op != Op::Link {
            // Where its second page is, nobody told.
            phys.to = phys.to.min(from.saturating_add(PAGE - from % PAGE));
        }
        let pages =
            usize::try_from(pages_of(phys).end - pages_of(phys).start).unwrap_or(usize::MAX);
        if self.lends.len() >= MOST_LENDS || self.by_page.len().saturating_add(pages) > MOST_PAGES {
            self.sink.lost();
            return;
        }
        let mut lend = Lend::new(
            event.card,
            number,
            event.address,
            event.length,
            phys,
            event.way,
        );
        lend.coherent = event.op == Op::Alloc;
        lend.bounced = event.bounced;
        if event.skip_sync {
            lend.give_all();
        }
        let name = self.next_lend;
        self.next_lend = self.next_lend.wrapping_add(1);
        self.by_bus.insert((event.card, event.address, name));
        self.by_page.extend(pages_of(phys).map(|page| (page, name)));
        self.lends.insert(name, lend);
        self.repaint(phys);
    }

    /// The newest lend that begins at a bus address with this length, or the one that holds all of it.
    fn find(&self, card: u32, bus: u64, length: u64) -> Option<u32> {
        let here = self.by_bus.range((card, bus, 0)..=(card, bus, u32::MAX));
        let mut here = here.rev().map(|&(.., name)| name);
        let exact = here.clone().find(|name| {
            self.lends
                .get(name)
                .is_some_and(|lend| lend.length == length)
        });
        if let Some(exact) = exact.or_else(|| here.next()) {
            return Some(exact);
        }
        let before = self.by_bus.range((card, 0, 0)..(card, bus, 0)).rev();
        let wanted = Part::of(bus, length);
        before.take(64).map(|&(.., name)| name).find(|name| {
            self.lends.get(name).is_some_and(|lend| {
                let whole = Part::of(lend.bus, lend.length);
                whole.from <= wanted.from && wanted.to <= whole.to
            })
        })
    }

    fn end(&mut self, name: u32, how: Settled, number: u64) {
        let Some(lend) = self.lends.remove(&name) else {
            return;
        };
        self.by_bus.remove(&(lend.card, lend.bus, name));
        for page in pages_of(lend.phys) {
            self.by_page.remove(&(page, name));
        }
        self.settle(name, None, how, number);
        self.repaint(lend.phys);
    }

    fn hand(&mut self, event: &Event, number: u64, how: Settled) {
        let Some(name) = self.find(event.card, event.address, event.length) else {
            return;
        };
        let Some(lend) = self.lends.get_mut(&name) else {
            return;
        };
        let part = lend.at_bus(event.address, event.length);
        lend.hand(part, how == Settled::ForCpu);
        let phys = lend.phys;
        self.settle(name, Some(part), how, number);
        self.repaint(phys);
    }

    /// A video buffer is the driver's, or its user's again.
    fn turn(&mut self, event: &Event, number: u64) {
        let Some(name) = self.find(event.card, event.address, event.length) else {
            return;
        };
        let Some(lend) = self.lends.get_mut(&name) else {
            return;
        };
        lend.queued = event.op == Op::Queue;
        if !lend.coherent {
            return;
        }
        let phys = lend.phys;
        self.settle(name, None, Settled::Done, number);
        self.repaint(phys);
    }

    /// Nothing is known of a card's lends any more.
    fn forget(&mut self, card: u32) {
        let all = self.by_bus.range((card, 0, 0)..=(card, u64::MAX, u32::MAX));
        for name in all.map(|&(.., name)| name).collect::<Vec<_>>() {
            self.end(name, Settled::Unknown, 0);
        }
    }

    fn repaint(&mut self, range: Part) {
        for page in pages_of(range) {
            let whole = Part::of(page * PAGE, PAGE);
            let here = self.by_page.range((page, 0)..=(page, u32::MAX));
            let bits = here.fold(0, |bits, (_, name)| match self.lends.get(name) {
                Some(lend) if lend.first_of_card(whole).is_some() => bits | lend.bits(),
                _ => bits,
            });
            self.pages.set(whole.from, bits);
        }
    }

    /// Those findings in a part of a lend, or in all of it, that grow no more.
    fn settle(&mut self, name: u32, part: Option<Part>, how: Settled, number: u64) {
        for at in 0..self.open.len() {
            let its = self
                .open
                .get(at)
                .and_then(Option::as_ref)
                .is_some_and(|open| {
                    open.lend == name && part.is_none_or(|part| part.overlaps(open.part))
                });
            if !its {
                continue;
            }
            let Some(open) = self.open.get_mut(at).and_then(Option::take) else {
                continue;
            };
            let found = Found {
                settled: how,
                settled_by: number,
                ..open.found
            };
            self.sink.settled(&found);
            self.sink.open(at, None);
        }
    }

    /// Looks at an access to a page of which [`Pages`] says that something of that kind must not be done there. `stack` gives the
    /// words of the stack, and is asked for the first of its kind alone.
    pub fn access(&mut self, access: &Access, stack: impl FnOnce() -> [u64; STACK]) {
        let range = Part::of(access.phys, access.size);
        let what = if access.store { NO_WRITE } else { NO_READ };
        let page = access.phys / PAGE;
        let here = self.by_page.range((page, 0)..=(page, u32::MAX));
        let hit = here.map(|&(_, name)| name).find_map(|name| {
            let lend = self.lends.get(&name)?;
            let wrong = lend.forbidden() & what != 0
                && match access.store {
                    true => lend.first_of_card(range).is_some(),
                    false => lend.is_cards(range.from),
                };
            wrong.then_some(name)
        });
        if let Some(name) = hit {
            self.found(name, access, stack);
        }
    }

    fn found(&mut self, name: u32, access: &Access, stack: impl FnOnce() -> [u64; STACK]) {
        let Some(lend) = self.lends.get(&name) else {
            return;
        };
        let range = Part::of(access.phys, access.size);
        let part = Part {
            from: lend.first_of_card(range).unwrap_or(range.from),
            to: range.to.min(lend.phys.to),
        };
        let now = self.sink.now();
        let same = |open: &Open| {
            open.lend == name && open.found.pc == access.pc && open.found.store == access.store
        };
        let touches = |open: &Open| {
            let recent = now.saturating_sub(open.found.last_ns) < APART_NS;
            recent && part.from <= open.part.to && open.part.from <= part.to
        };
        let places = || self.open.iter().enumerate();
        let its = |wanted: &dyn Fn(&Open) -> bool| {
            places().find_map(|(at, open)| {
                Some((at, open.as_ref().filter(|open| wanted(open))?)).map(|(at, _)| at)
            })
        };
        let few = self.open.iter().flatten().count() < MOST_APART;
        let known = match access.store {
            true => its(&|open| same(open) && touches(open)).or_else(|| match few {
                true => None,
                false => its(&same),
            }),
            false => its(&same),
        };
        if let Some((at, open)) = known.and_then(|at| Some((at, self.open.get_mut(at)?.as_mut()?)))
        {
            open.found.gaps |= !touches(open);
            open.part.from = open.part.from.min(part.from);
            open.part.to = open.part.to.max(part.to);
            open.found.address = lend.bus_of(open.part.from);
            open.found.length = open.part.to - open.part.from;
            open.found.count += 1;
            open.found.last_ns = now;
            self.sink.open(at, Some(&open.found));
            return;
        }
        let free = self.open.iter().position(Option::is_none);
        let at = match free {
            Some(at) => at,
            None if self.open.len() < OPEN => {
                self.open.push(None);
                self.open.len() - 1
            }
            None => return self.sink.lost(),
        };
        let card = self.cards.get(lend.card as usize);
        let found = Found {
            id: self.next_id,
            card: lend.card,
            cpu: access.cpu,
            store: access.store,
            user: access.is_users(),
            coherent: lend.coherent,
            queued: lend.queued,
            gaps: false,
            settled: Settled::Not,
            pc: access.pc,
            address: lend.bus_of(part.from),
            length: part.to - part.from,
            count: 1,
            first_ns: now,
            last_ns: now,
            lend: lend.bus,
            lend_number: lend.number,
            after: card.map_or(0, |card| card.next.saturating_sub(1)),
            settled_by: 0,
            stack: if access.is_users() {
                [0; STACK]
            } else {
                stack()
            },
        };
        self.next_id += 1;
        self.sink.open(at, Some(&found));
        if let Some(place) = self.open.get_mut(at) {
            *place = Some(Open {
                lend: name,
                part,
                found,
            });
        }
    }
}

/// Numbers of the pages that a range has a part of.
fn pages_of(range: Part) -> core::ops::Range<u64> {
    let end = range.to.div_ceil(PAGE);
    // More than any guest has is no page.
    let first = range.from / PAGE;
    first..end.min(first.saturating_add(MOST_PAGES as u64 + 1))
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
