// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Which slots the card has, and which it has given back.
//!
//! Pure: no kernel, no allocation. The order is the driver's own, that of queueing: the card says only
//! *which* slots are done, and a slot that it does not have is not believed.
//!
//! # Invariants
//!
//! A slot is in at most one of the two lists, and in it once. Slots are below [`SLOTS`].

/// Slots in the card's table.
pub(crate) const SLOTS: usize = 32;

/// Slots in order, each at most once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Line {
    slots: [u8; SLOTS],
    count: usize,
}

impl Line {
    fn iter(&self) -> impl Iterator<Item = u8> + '_ {
        self.slots.iter().take(self.count).copied()
    }

    fn contains(&self, slot: u8) -> bool {
        self.iter().any(|other| other == slot)
    }

    /// Appends; there is room, since a slot is there once at most.
    fn push(&mut self, slot: u8) {
        if let Some(place) = self.slots.get_mut(self.count) {
            *place = slot;
            self.count = self.count.saturating_add(1);
        }
    }
}

/// The slots' whereabouts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ring {
    lent: Line,
    completed: Line,
}

impl Ring {
    /// Says that `slot` goes to the card. False, and nothing changes, if it is there already or is no slot.
    pub(crate) fn lend(&mut self, slot: u8) -> bool {
        let possible = usize::from(slot) < SLOTS && !self.is_out(slot);
        if possible {
            self.lent.push(slot);
        }
        possible
    }

    /// Whether `slot` is with the card, or completed and not yet taken.
    pub(crate) fn is_out(&self, slot: u8) -> bool {
        self.lent.contains(slot) || self.completed.contains(slot)
    }

    /// Takes note that the slots in `mask` are done. Returns how many of them the card really had.
    pub(crate) fn complete(&mut self, mask: u32) -> usize {
        let before = self.completed.count;
        let was = core::mem::take(&mut self.lent);
        for slot in was.iter() {
            let done = mask
                .checked_shr(slot.into())
                .is_some_and(|bits| bits & 1 == 1);
            if done {
                self.completed.push(slot);
            } else {
                self.lent.push(slot);
            }
        }
        self.completed.count.saturating_sub(before)
    }

    /// What [`Ring::take`] would give.
    pub(crate) fn first_completed(&self) -> Option<u8> {
        self.completed.iter().next()
    }

    /// Gives the completion that was queued first.
    pub(crate) fn take(&mut self) -> Option<u8> {
        let was = core::mem::take(&mut self.completed);
        let mut slots = was.iter();
        let first = slots.next();
        slots.for_each(|slot| self.completed.push(slot));
        first
    }

    /// The slots that the card has, in the order in which they were lent.
    pub(crate) fn lent(&self) -> impl Iterator<Item = u8> + '_ {
        self.lent.iter()
    }

    /// Takes everything back.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
