// SPDX-License-Identifier: MIT OR Apache-2.0

//! Ranges with what they mean: lent now, or lent once.

use std::collections::{BTreeMap, HashMap};

use super::book::{Book, Way};
use super::bounded::Bounded;
use super::{Lend, LendKind, Range};
use crate::journal::LendDirection;

/// Most lends that are alive at a time; further ones are not known.
pub(super) const MOST_LIVE: usize = 1 << 18;
/// Most lends that are remembered after they ended.
const MOST_PAST: usize = 1 << 16;
/// Of ranges that overlap, how many are looked at.
const LOOKED_AT: usize = 16;
/// Widths to which addresses are seen to be truncated; 32 first.
pub(super) const WIDTHS: [u32; 6] = [32, 24, 36, 40, 48, 58];

/// Ranges that can be found by their addresses, and by what is left of these after truncation.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranges {
    pub(super) book: Book,
    low: [Book; WIDTHS.len()],
}

impl Ranges {
    pub(super) fn insert(&mut self, range: Range, number: u64, direction: LendDirection) {
        let read = direction != LendDirection::FromDevice;
        let write = direction != LendDirection::ToDevice;
        self.book.insert(range, number, read, write);
        for (low, start) in self.low_starts(range.start) {
            let length = range.length;
            self.low[low].insert(Range { start, length }, number, read, write);
        }
    }

    pub(super) fn remove(&mut self, range: Range, number: u64) {
        self.book.remove(range.start, number);
        for (low, start) in self.low_starts(range.start) {
            self.low[low].remove(start, number);
        }
    }

    /// Tells which range `range` would touch if the upper bits of its address had been lost, and how many bits
    /// were left.
    pub(super) fn truncated(&self, range: Range) -> Option<(u32, u64)> {
        let widths = WIDTHS.into_iter().zip(&self.low);
        widths.into_iter().find_map(|(width, book)| {
            let found = book.touching(range, Way::Any)?;
            Some((width, found.number))
        })
    }

    /// Tells which range `address` lies in but for its upper bits, which are others or should not be there;
    /// and how many bits are right.
    pub(super) fn routed(&self, address: u64) -> Option<(u32, u64)> {
        [58, 48, 40, 36, 32].into_iter().find_map(|width| {
            let low = address & ((1 << width) - 1);
            if low == address {
                return None;
            }
            let start = low;
            let byte = Range { start, length: 1 };
            let plain = self.book.touching(byte, Way::Any);
            let at = WIDTHS.iter().position(|&known| known == width)?;
            let found = plain.or_else(|| self.low[at].touching(byte, Way::Any))?;
            Some((width, found.number))
        })
    }

    fn low_starts(&self, start: u64) -> impl Iterator<Item = (usize, u64)> + use<> {
        let masks = WIDTHS.iter().map(|&width| (1u64 << width) - 1).enumerate();
        masks.filter_map(move |(low, mask)| (start > mask).then_some((low, start & mask)))
    }
}

/// What ended, the newest of it.
#[derive(Clone, Debug)]
pub(super) struct Past<T> {
    entries: Bounded<u64, (Range, T), MOST_PAST>,
    book: Book,
}

impl<T> Default for Past<T> {
    fn default() -> Self {
        Self {
            entries: Bounded::default(),
            book: Book::default(),
        }
    }
}

impl<T> Past<T> {
    /// Remembers a range; older ones that lie in it are forgotten.
    pub(super) fn put(&mut self, number: u64, range: Range, value: T) {
        for old in self.some(range) {
            let inside = self.entries.get(old);
            if inside.is_some_and(|(old, _)| range.contains(old.start, old.length)) {
                self.forget(old);
            }
        }
        self.book.insert(range, number, true, true);
        if let Some((number, (range, _))) = self.entries.insert(number, (range, value)) {
            self.book.remove(range.start, number);
        }
    }

    /// The newest that shares a byte with `range`.
    pub(super) fn newest(&self, range: Range) -> Option<&T> {
        let newest = self.some(range).into_iter().max()?;
        self.entries.get(newest).map(|(_, value)| value)
    }

    pub(super) fn nearest(&self, range: Range) -> Option<&T> {
        let found = self.book.nearest(range)?;
        self.entries.get(found.number).map(|(_, value)| value)
    }

    fn some(&self, range: Range) -> Vec<u64> {
        let mut numbers = Vec::new();
        self.book.overlapping(range, Way::Any, |found| {
            numbers.push(found.number);
            numbers.len() < LOOKED_AT
        });
        numbers
    }

    fn forget(&mut self, number: u64) {
        if let Some((range, _)) = self.entries.remove(number) {
            self.book.remove(range.start, number);
        }
    }
}

/// Ranges of which each begins at an address of its own, with what is known of them.
#[derive(Clone, Debug)]
pub(super) struct Places<T> {
    by_start: HashMap<u64, (u64, T)>,
    book: Book,
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self {
            by_start: HashMap::new(),
            book: Book::default(),
        }
    }
}

impl<T> Places<T> {
    /// Enters a range, in place of what began there; if there are too many, it is left out.
    pub(super) fn insert(&mut self, range: Range, value: T) {
        self.remove(range.start);
        if self.by_start.len() < MOST_PAST {
            self.by_start.insert(range.start, (range.length, value));
            self.book.insert(range, 0, true, true);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_start.len()
    }

    pub(super) fn remove(&mut self, start: u64) -> Option<T> {
        let (_, value) = self.by_start.remove(&start)?;
        self.book.remove(start, 0);
        Some(value)
    }

    pub(super) fn get_mut(&mut self, start: u64) -> Option<&mut T> {
        self.by_start.get_mut(&start).map(|(_, value)| value)
    }

    /// Those that share a byte with `range`, the first few.
    pub(super) fn touching(&self, range: Range) -> impl Iterator<Item = (Range, &T)> {
        let mut starts = Vec::new();
        self.book.overlapping(range, Way::Any, |found| {
            starts.push(found.range.start);
            starts.len() < LOOKED_AT
        });
        starts.into_iter().filter_map(|start| {
            let (length, value) = self.by_start.get(&start)?;
            let length = *length;
            Some((Range { start, length }, value))
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Range, &T)> {
        self.by_start.iter().map(|(&start, (length, value))| {
            let length = *length;
            (Range { start, length }, value)
        })
    }
}

/// The agent's word: what our own driver says that it lent, by slot.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    lends: BTreeMap<u64, Lend>,
    /// By slot, and whether it is a self-test area.
    slots: BTreeMap<(Option<u32>, bool), Ranges>,
    all: Book,
    past: Past<Lend>,
    next: u64,
}

impl Shelf {
    /// Whether nothing was ever entered.
    pub(super) fn is_unused(&self) -> bool {
        self.next == 0
    }

    /// Enters a lend. False: there are too many.
    pub(super) fn put(&mut self, lend: Lend) -> bool {
        if self.lends.len() >= MOST_LIVE {
            return false;
        }
        let number = self.next;
        self.next += 1;
        self.all.insert(lend.range(), number, true, true);
        let slot = self.slots.entry(Self::key(&lend)).or_default();
        slot.insert(lend.range(), number, lend.direction);
        self.lends.insert(number, lend);
        true
    }

    /// Ends all lends but those for a self-test.
    pub(super) fn reclaim(&mut self) {
        for (number, lend) in std::mem::take(&mut self.lends) {
            if lend.kind == LendKind::SelfTest {
                self.lends.insert(number, lend);
                continue;
            }
            self.all.remove(lend.address, number);
            if let Some(slot) = self.slots.get_mut(&Self::key(&lend)) {
                slot.remove(lend.range(), number);
            }
            self.past.put(number, lend.range(), lend);
        }
    }

    /// The ranges of a slot that the card may use: a self-test area always, others if it `owns` the slot.
    pub(super) fn live(&self, slot: Option<u32>, owns: bool) -> impl Iterator<Item = &Ranges> {
        let owned = self.slots.get(&(slot, false)).filter(|_| owns);
        self.slots.get(&(slot, true)).into_iter().chain(owned)
    }

    pub(super) fn get(&self, number: u64) -> Option<&Lend> {
        self.lends.get(&number)
    }

    /// A lend of the slot that shares a byte with `range`, or else one that ended.
    pub(super) fn own(&self, slot: Option<u32>, range: Range) -> Option<&Lend> {
        let mut now = self.live(slot, true);
        let found = now.find_map(|ranges| ranges.book.touching(range, Way::Any));
        let now = found.and_then(|found| self.get(found.number));
        now.or_else(|| self.past.newest(range).filter(|lend| lend.slot == slot))
    }

    /// A lend that shares a byte with `range`, of whatever slot.
    pub(super) fn touching(&self, range: Range) -> Option<&Lend> {
        let found = self.all.touching(range, Way::Any)?;
        self.get(found.number)
    }

    /// The last lend that ended and shares a byte with `range`.
    pub(super) fn past(&self, range: Range) -> Option<&Lend> {
        self.past.newest(range)
    }

    /// The lend, alive or not, that lies nearest.
    pub(super) fn nearest(&self, range: Range) -> Option<&Lend> {
        let now = self.all.nearest(range);
        let now = now.and_then(|found| self.get(found.number));
        let distance = |lend: &&Lend| lend.range().distance(range.start, range.length);
        now.into_iter()
            .chain(self.past.nearest(range))
            .min_by_key(distance)
    }

    fn key(lend: &Lend) -> (Option<u32>, bool) {
        (lend.slot, lend.kind == LendKind::SelfTest)
    }
}
