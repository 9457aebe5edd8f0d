// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the witness in the guest told: what is lent through the DMA API, and where the driver is in its life.
//!
//! Each segment of a list (`dma_map_sg`) is a lend; those that follow each other without a gap may be used like one.
//! Everything in here is bounded: a guest may say what it likes.

use std::collections::{BTreeSet, HashMap};

use super::book::{Book, Way};
use super::bounded::Bounded;
use super::held::{Brief, Held, Returned, Sort};
use super::shelf::{MOST_LIVE, Past, Places, Ranges};
use super::verdict::Caller;
use super::{Range, Violation};
use crate::journal::{DriverCall, DriverState, LendDirection};

/// Most names of callers that are known.
const MOST_SYMBOLS: usize = 4096;
/// Most lends of other devices that are known.
const MOST_ELSEWHERE: usize = 1 << 16;
/// Set in the number of a list, which is an event's and no lend's.
const OF_A_LIST: u64 = 1 << 63;
/// Of the numbers of ranges that memory is linked to, which are where they begin: these two.
const OF_A_RANGE: u64 = 3 << 62;
/// Most lends that ended and are still held against what the CPU did.
const MOST_ENDED: usize = 1 << 14;
/// Most segments that one access is followed over.
const MOST_SEGMENTS: usize = 4096;
/// Longest name of a caller that is kept, bytes.
const LONGEST_SYMBOL: usize = 256;

/// What another device has, or had, lent to it.
#[derive(Clone, Debug)]
pub(super) struct Elsewhere {
    pub(super) device: String,
    pub(super) driver: String,
    pub(super) ended: bool,
}

/// A vb2 buffer that the driver was given once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buffer {
    /// It is the driver's; else it went back to its user.
    pub(super) queued: bool,
    pub(super) by: Brief,
}

/// Memory that the pool lent to somebody.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pooled {
    pub(super) by: Brief,
    /// It was mapped for this card.
    pub(super) ours: bool,
}

/// What must not be alive any more when somebody looks next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    /// Lends from this number on are another driver's.
    pub(super) before: u64,
    pub(super) sequence: u64,
    pub(super) time_ns: u64,
    pub(super) failed: bool,
}

/// A driver's life with the device.
#[derive(Clone, Debug, Default)]
pub(super) struct Life {
    pub(super) driver: String,
    pub(super) state: Option<DriverState>,
    /// It lent something.
    pub(super) lent: bool,
    /// A mapping of its own failed.
    pub(super) failed: bool,
    /// It switched bus mastering on.
    pub(super) mastered: bool,
    /// It was told that it reaches for registers that are not there any more.
    pub(super) told_gone: bool,
    pub(super) due: Option<Due>,
    /// While it binds, the card wrote what the driver never synced before it unmapped it: what to say if it gives the card up.
    pub(super) unlooked: Vec<Violation>,
    /// The card was reset under it, and does not decode since: what to say if that stays so.
    pub(super) struck: Option<Box<Violation>>,
}

impl Life {
    /// Whether its remove runs or is over.
    pub(super) fn is_ending(&self) -> bool {
        matches!(
            self.state,
            Some(DriverState::Unbinding | DriverState::Unbound)
        )
    }
}

/// The witness's word; see the module.
#[derive(Debug, Default)]
pub(super) struct Witness {
    /// All that was lent since is known.
    pub(super) attached: bool,
    /// It is not: something was lost.
    pub(super) blind: bool,
    /// Some lends are not heard, and what is not known to be lent may be.
    pub(super) partial: bool,
    /// Bus addresses of the kernel's text and read-only data.
    pub(super) text: Range,
    /// An IOMMU may make one range of several.
    pub(super) scattered: bool,
    /// Bytes of a cache line, if that matters.
    line: u64,
    /// Syncs are heard of all memory.
    syncs: bool,
    live: HashMap<u64, Held>,
    next: u64,
    pub(super) ranges: Ranges,
    /// Where their memory is, if it is not at the bus address.
    memory: Book,
    /// Cache lines of streaming lends.
    lines: Book,
    starts: BTreeSet<(u64, Sort, u64, u64)>,
    lists: HashMap<u64, BTreeSet<u64>>,
    past: Past<Returned>,
    pub(super) buffers: Places<Buffer>,
    /// How many of them are queued.
    pub(super) queued: usize,
    pub(super) pool: Places<Pooled>,
    pub(super) elsewhere: Places<Elsewhere>,
    pub(super) life: Life,
    /// Lends with smaller numbers that are alive were told as left behind.
    pub(super) left: u64,
    symbols: Bounded<u64, String, MOST_SYMBOLS>,
    /// The CPU's accesses are told, too.
    pub(super) watches_cpu: bool,
    /// Number of the last event that was heard of what is lent.
    pub(super) heard: Option<u64>,
    /// If they are: lends by the event that began them, and those that ended lately.
    by_event: HashMap<u64, u64>,
    ended: Bounded<u64, Held, MOST_ENDED>,
}

impl Witness {
    /// It begins anew: nothing is lent.
    pub(super) fn attach(&mut self, text: Range, scattered: bool, line: u64, syncs: bool) {
        *self = Self {
            attached: true,
            text,
            scattered,
            line,
            syncs,
            life: std::mem::take(&mut self.life),
            symbols: std::mem::take(&mut self.symbols),
            watches_cpu: self.watches_cpu,
            ..Self::default()
        };
        self.life.due = None;
    }

    /// A lend by the event that began it, and its first address; it may have ended.
    pub(super) fn by_event(&self, start: u64, event: u64) -> Option<&Held> {
        let live = self.by_event.get(&event).and_then(|lend| self.held(*lend));
        let held = live.or_else(|| self.ended.get(event));
        held.filter(|held| held.range.start == start)
    }

    /// Whether what is not known to be lent is not lent.
    pub(super) fn sees(&self) -> bool {
        self.attached && !self.blind && !self.partial
    }

    pub(super) fn name(&mut self, address: u64, name: &str) {
        let mut end = name.len().min(LONGEST_SYMBOL);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        let name = name.get(..end).unwrap_or_default().to_owned();
        self.symbols.insert(address, name);
    }

    /// What is at an address of the guest's, if it was told.
    pub(super) fn symbol(&self, address: u64) -> Option<String> {
        self.symbols.get(address).cloned()
    }

    /// A call as a violation shows it.
    pub(super) fn caller(&self, brief: Brief) -> Caller {
        let mut caller = brief.nameless();
        self.name_caller(&mut caller);
        caller
    }

    /// Gives a caller its name, if that was told.
    pub(super) fn name_caller(&self, caller: &mut Caller) {
        if caller.symbol.is_none() {
            caller.symbol = self.symbols.get(caller.address).cloned();
        }
    }

    /// Enters a lend and gives its number; `None`: there are too many.
    pub(super) fn lend(&mut self, call: &DriverCall, sort: Sort) -> Option<u64> {
        self.life.lent = true;
        if self.live.len() >= MOST_LIVE {
            return None;
        }
        let number = self.next;
        self.next += 1;
        let range = Range {
            start: call.address,
            length: call.length,
        };
        let mut held = Held {
            range,
            phys: (call.phys != u64::MAX).then_some(call.phys),
            direction: call.direction,
            sort,
            by: Brief::of(call),
            entries: call.entries,
            list: number,
            wrong: None,
            backing: call.backing,
            syncs: sort != Sort::Coherent && (call.bounced || self.syncs),
            bounced: call.bounced,
            unseen: Vec::new(),
            cpu: Vec::new(),
            moved: Default::default(),
            turns: Default::default(),
        };
        if let Some(memory) = held.memory(self.scattered) {
            self.mark_pooled(memory);
        }
        if let Some(list) = call
            .list
            .filter(|_| sort.is_part() || sort == Sort::Coherent)
        {
            held.list = match sort {
                Sort::Link => list | OF_A_RANGE,
                _ => list | OF_A_LIST,
            };
            self.lists.entry(held.list).or_default().insert(number);
        }
        self.enter(number, held);
        Some(number)
    }

    /// Ends a lend, or with `whole` all of the list that it belongs to.
    pub(super) fn give_back(&mut self, number: u64, by: Brief, whole: bool) {
        let Some(list) = self.live.get(&number).map(|held| held.list) else {
            return;
        };
        let parts = match whole {
            true => self.lists.remove(&list).unwrap_or_default(),
            false => BTreeSet::new(),
        };
        for part in parts.into_iter().chain([number]) {
            let Some(held) = self.leave(part) else {
                continue; // the one that was named is among them
            };
            let range = held.range;
            let returned = Returned { held, by };
            self.past.put(part, range, returned);
            self.forget_buffers(range);
            if let Some(left) = self.lists.get_mut(&list) {
                left.remove(&part);
                if left.is_empty() {
                    self.lists.remove(&list);
                }
            }
        }
    }

    /// Lends that begin at `address` and began with a call of `sort`, the first few.
    pub(super) fn starting(&self, address: u64, sort: Sort) -> Vec<(u64, Held)> {
        let (first, last) = ((address, sort, 0, 0), (address, sort, u64::MAX, u64::MAX));
        self.those(first, last)
    }

    /// Those of them that are `length` bytes long.
    pub(super) fn exactly(&self, address: u64, sort: Sort, length: u64) -> Vec<(u64, Held)> {
        let (first, last) = (
            (address, sort, length, 0),
            (address, sort, length, u64::MAX),
        );
        self.those(first, last)
    }

    /// Lends of memory that was linked and begins in `range`, as many as come back at once.
    pub(super) fn linked(&self, range: Range) -> Vec<(u64, Held)> {
        let starts = self.starts.range((range.start, Sort::Single, 0, 0)..);
        let within = starts.take_while(|(start, ..)| *start < range.end());
        let links = within.filter(|(_, sort, ..)| *sort == Sort::Link);
        links
            .filter_map(|&(.., number)| Some((number, self.live.get(&number)?.clone())))
            .collect()
    }

    fn those(&self, first: (u64, Sort, u64, u64), last: (u64, Sort, u64, u64)) -> Vec<(u64, Held)> {
        let those = self.starts.range(first..=last).take(16);
        those
            .filter_map(|&(.., number)| Some((number, self.live.get(&number)?.clone())))
            .collect()
    }

    pub(super) fn held(&self, number: u64) -> Option<&Held> {
        self.live.get(&number)
    }

    pub(super) fn held_mut(&mut self, number: u64) -> Option<&mut Held> {
        self.live.get_mut(&number)
    }

    /// The lend that holds all of `range`, or the first of a list's segments that do.
    pub(super) fn covering(&self, range: Range, way: Way) -> Option<&Held> {
        let found = self.ranges.book.furthest(range.start, way)?;
        if found.range.end() >= range.end() {
            return self.held(found.number);
        }
        let held = self.held(found.number)?;
        let inside = held.sort.is_part() && held.range.end() > range.start;
        (inside && self.reach(held, range.end()) >= range.end()).then_some(held)
    }

    /// Whether each byte of `range` is lent that way, by however many lends.
    pub(super) fn is_covered(&self, range: Range, way: Way) -> bool {
        let mut at = range.start;
        for _ in 0..MOST_SEGMENTS {
            if at >= range.end() {
                return true;
            }
            match self.ranges.book.furthest(at, way) {
                Some(found) if found.range.end() > at => at = found.range.end(),
                _ => return false,
            }
        }
        false
    }

    /// How far a lend goes, the segments of its list included that follow without a gap and are lent the same way; not
    /// looked at further than `wanted`.
    pub(super) fn reach(&self, held: &Held, wanted: u64) -> u64 {
        let mut end = held.range.end();
        for _ in 0..MOST_SEGMENTS {
            if !held.sort.is_part() || end >= wanted {
                break;
            }
            let next = self.starting(end, held.sort);
            let follows = |next: &Held| {
                next.list == held.list && next.direction == held.direction && next.range.length > 0
            };
            match next.iter().find(|(_, next)| follows(next)) {
                Some((_, next)) => end = next.range.end(),
                None => break,
            }
        }
        end
    }

    /// The lend that holds the byte at `address` and goes furthest.
    pub(super) fn at(&self, address: u64) -> Option<(u64, &Held)> {
        let found = self.ranges.book.furthest(address, Way::Any)?;
        let held = self.held(found.number)?;
        (found.range.end() > address).then_some((found.number, held))
    }

    /// Lends that share a byte with `range`, the first few.
    pub(super) fn touching(&self, range: Range) -> Vec<u64> {
        first_few(&self.ranges.book, range, Way::Any)
    }

    /// Lends whose memory is at `range` and whose bus address is another.
    pub(super) fn in_memory(&self, range: Range) -> Option<&Held> {
        self.held(self.memory.touching(range, Way::Any)?.number)
    }

    /// A streaming lend that shares a cache line with lend `number`, if one of them may be written by the card,
    /// and they are not the same bytes.
    pub(super) fn sharing(&self, number: u64) -> Option<&Held> {
        let held = self.held(number)?;
        let way = match held.direction {
            LendDirection::ToDevice => Way::Write,
            LendDirection::FromDevice | LendDirection::Both => Way::Any,
        };
        let lines = held.lines(self.scattered, self.line)?;
        let others = first_few(&self.lines, lines, way);
        let mut others = others.into_iter().filter_map(|other| self.held(other));
        let memory = held.memory(self.scattered).unwrap_or(held.range);
        others.find(|other| {
            let same = other.memory(self.scattered).unwrap_or(other.range) == memory;
            other.list != held.list && !same
        })
    }

    pub(super) fn nearest(&self, range: Range) -> Option<&Held> {
        self.held(self.ranges.book.nearest(range)?.number)
    }

    pub(super) fn past(&self, range: Range) -> Option<&Returned> {
        self.past.newest(range)
    }

    pub(super) fn nearest_past(&self, range: Range) -> Option<&Returned> {
        self.past.nearest(range)
    }

    /// Number that the next lend will have.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// What is alive, by number.
    pub(super) fn alive(&self) -> impl Iterator<Item = (u64, &Held)> {
        self.live.iter().map(|(&number, held)| (number, held))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.live.is_empty()
    }

    pub(super) fn queue(&mut self, range: Range, by: Brief) {
        let queued = true;
        let before = self.buffers.remove(range.start);
        self.queued -= usize::from(before.is_some_and(|buffer: Buffer| buffer.queued));
        self.buffers.insert(range, Buffer { queued, by });
        let entered = self.buffers.get_mut(range.start).is_some();
        self.queued += usize::from(entered);
    }

    /// False: it is not known, or was not queued.
    pub(super) fn done(&mut self, address: u64, by: Brief) -> bool {
        let Some(buffer) = self.buffers.get_mut(address) else {
            return false;
        };
        let was = std::mem::replace(&mut buffer.queued, false);
        buffer.by = by;
        self.queued -= usize::from(was);
        was
    }

    fn forget_buffers(&mut self, range: Range) {
        loop {
            let some: Vec<_> = self
                .buffers
                .touching(range)
                .map(|(at, _)| at.start)
                .collect();
            if some.is_empty() {
                return;
            }
            for start in some {
                let gone = self.buffers.remove(start);
                self.queued -= usize::from(gone.is_some_and(|buffer| buffer.queued));
            }
        }
    }

    /// Another device has something lent to it, or had.
    pub(super) fn lent_elsewhere(&mut self, range: Range, to: Elsewhere) {
        if self.elsewhere.len() < MOST_ELSEWHERE {
            self.elsewhere.insert(range, to);
        }
    }

    fn mark_pooled(&mut self, memory: Range) {
        let pooled = self.pool.touching(memory).map(|(at, _)| at.start);
        for start in pooled.collect::<Vec<_>>() {
            if let Some(pooled) = self.pool.get_mut(start) {
                pooled.ours = true;
            }
        }
    }

    fn enter(&mut self, number: u64, held: Held) {
        let range = held.range;
        if !held.backing {
            self.ranges.insert(range, number, held.direction);
        }
        let memory = held.memory(self.scattered);
        if let Some(memory) = memory.filter(|memory| memory.start != range.start) {
            self.memory.insert(memory, number, true, true);
        }
        if let Some(lines) = held.lines(self.scattered, self.line) {
            let write = held.direction != LendDirection::ToDevice;
            self.lines.insert(lines, number, true, write);
        }
        self.starts
            .insert((range.start, held.sort, range.length, number));
        if self.watches_cpu {
            self.by_event.insert(held.by.number, number);
        }
        self.live.insert(number, held);
    }

    fn leave(&mut self, number: u64) -> Option<Held> {
        let held = self.live.remove(&number)?;
        let range = held.range;
        if !held.backing {
            self.ranges.remove(range, number);
        }
        if let Some(memory) = held.memory(self.scattered) {
            self.memory.remove(memory.start, number);
        }
        if let Some(lines) = held.lines(self.scattered, self.line) {
            self.lines.remove(lines.start, number);
        }
        self.starts
            .remove(&(range.start, held.sort, range.length, number));
        if self.by_event.remove(&held.by.number).is_some() {
            self.ended.insert(held.by.number, held.clone());
        }
        Some(held)
    }
}

fn first_few(book: &Book, range: Range, way: Way) -> Vec<u64> {
    let mut numbers = Vec::new();
    book.overlapping(range, way, |found| {
        numbers.push(found.number);
        numbers.len() < 16
    });
    numbers
}
