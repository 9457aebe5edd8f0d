// SPDX-License-Identifier: MIT OR Apache-2.0

//! A lend, and whose each of its bytes is.
//!
//! A lend is the card's as a whole from its map on; a sync moves its range to the CPU or back; one that was mapped without a
//! sync stays the CPU's until one is made. Coherent memory is both's, but for a video buffer between `vb2_buf_queue` and
//! `vb2_buf_done`. What is bounced is not watched: there the bounce buffer itself shows the bug.

use alloc::vec::Vec;

use crate::echo::Way;
use crate::pages::{COHERENT, NO_READ, NO_WRITE};

/// Most parts of a lend that are known to be the CPU's; with more all of it is taken for the CPU's.
const MOST_PARTS: usize = 64;

/// Addresses, the end not included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// First.
    pub from: u64,
    /// First after it.
    pub to: u64,
}

impl Part {
    /// `length` bytes; one that would wrap ends at the last address.
    pub const fn of(from: u64, length: u64) -> Self {
        let to = from.saturating_add(length);
        Self { from, to }
    }

    /// Whether they share a byte.
    pub const fn overlaps(self, other: Self) -> bool {
        self.from < other.to && other.from < self.to
    }

    const fn is_empty(self) -> bool {
        self.from >= self.to
    }
}

/// A lend, while it lasts.
#[derive(Clone, Debug)]
pub struct Lend {
    /// The card that it is of.
    pub card: u32,
    /// Number of the event that began it.
    pub number: u64,
    /// First bus address.
    pub bus: u64,
    /// Bytes, as the driver gave them.
    pub length: u64,
    /// Its physical addresses, as far as they are known to follow each other.
    pub phys: Part,
    /// Which way.
    pub way: Way,
    /// CPU and card both use it, at any time.
    pub coherent: bool,
    /// There is a bounce buffer.
    pub bounced: bool,
    /// It is a video buffer that the driver has.
    pub queued: bool,
    /// What a sync gave to the CPU, by physical address; nothing overlaps.
    cpu: Vec<Part>,
}

impl Lend {
    /// One of which every byte is the card's.
    pub fn new(card: u32, number: u64, bus: u64, length: u64, phys: Part, way: Way) -> Self {
        Self {
            card,
            number,
            bus,
            length,
            phys,
            way,
            coherent: false,
            bounced: false,
            queued: false,
            cpu: Vec::new(),
        }
    }

    /// What the CPU must not do with the card's part of it.
    pub fn forbidden(&self) -> u8 {
        if self.bounced || (self.coherent && !self.queued) {
            return 0;
        }
        match self.way {
            Way::ToDevice => NO_WRITE,
            Way::FromDevice | Way::Both => NO_READ | NO_WRITE,
        }
    }

    /// What its pages are.
    pub fn bits(&self) -> u8 {
        match self.coherent && !self.bounced {
            true => self.forbidden() | COHERENT,
            false => self.forbidden(),
        }
    }

    /// The first byte of a range that is the card's.
    pub fn first_of_card(&self, range: Part) -> Option<u64> {
        let mut at = range.from.max(self.phys.from);
        let to = range.to.min(self.phys.to);
        while at < to {
            match self.cpu.iter().find(|part| part.from <= at && at < part.to) {
                Some(part) => at = part.to,
                None => return Some(at),
            }
        }
        None
    }

    /// Whether a byte is the card's.
    pub fn is_cards(&self, at: u64) -> bool {
        self.first_of_card(Part::of(at, 1)).is_some()
    }

    /// Physical addresses of a range of bus addresses.
    pub fn at_bus(&self, bus: u64, length: u64) -> Part {
        let offset = bus.saturating_sub(self.bus);
        Part::of(self.phys.from.saturating_add(offset), length)
    }

    /// The bus address of a physical one.
    pub const fn bus_of(&self, phys: u64) -> u64 {
        self.bus.wrapping_add(phys.wrapping_sub(self.phys.from))
    }

    /// Gives all of it to the CPU, as one that is mapped without a sync is at first.
    pub fn give_all(&mut self) {
        self.cpu = Vec::from([self.phys]);
    }

    /// Gives a part of it to the CPU, or to the card.
    pub fn hand(&mut self, part: Part, to_cpu: bool) {
        let mut kept = Vec::new();
        for old in core::mem::take(&mut self.cpu) {
            let before = Part {
                from: old.from,
                to: old.to.min(part.from),
            };
            let after = Part {
                from: old.from.max(part.to),
                to: old.to,
            };
            kept.extend([before, after].into_iter().filter(|part| !part.is_empty()));
        }
        if to_cpu && !part.is_empty() {
            kept.push(part);
        }
        if kept.len() > MOST_PARTS {
            // Rather too much of the CPU's than an alarm that is none.
            kept = Vec::from([self.phys]);
        }
        self.cpu = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lend(way: Way) -> Lend {
        Lend::new(0, 1, 0x8000, 0x1000, Part::of(0x1000, 0x1000), way)
    }

    #[test]
    fn a_sync_moves_its_bytes_and_no_other() {
        let mut lend = lend(Way::FromDevice);
        assert_eq!(lend.first_of_card(Part::of(0x1000, 8)), Some(0x1000));

        lend.hand(lend.at_bus(0x8000, 256), true);
        assert!(!lend.is_cards(0x1000) && !lend.is_cards(0x10ff));
        assert!(lend.is_cards(0x1100));
        assert_eq!(lend.first_of_card(Part::of(0x10fc, 8)), Some(0x1100));

        lend.hand(lend.at_bus(0x8010, 16), false);
        assert!(!lend.is_cards(0x100f) && lend.is_cards(0x1010));
        assert!(lend.is_cards(0x101f) && !lend.is_cards(0x1020));
    }

    #[test]
    fn what_is_synced_in_too_many_pieces_is_the_cpus() {
        let mut lend = lend(Way::FromDevice);
        for piece in 0..MOST_PARTS as u64 {
            lend.hand(Part::of(0x1000 + 16 * piece, 8), true);
        }
        assert!(lend.is_cards(0x1008));
        lend.hand(Part::of(0x1f00, 8), true);
        assert!(!lend.is_cards(0x1008) && !lend.is_cards(0x1fff));
    }

    #[test]
    fn the_way_says_what_is_forbidden() {
        assert_eq!(lend(Way::ToDevice).forbidden(), NO_WRITE);
        assert_eq!(lend(Way::FromDevice).forbidden(), NO_READ | NO_WRITE);
        let mut coherent = Lend {
            coherent: true,
            ..lend(Way::Both)
        };
        assert_eq!((coherent.forbidden(), coherent.bits()), (0, COHERENT));
        coherent.queued = true;
        assert_eq!(coherent.forbidden(), NO_READ | NO_WRITE);
        let bounced = Lend {
            bounced: true,
            ..lend(Way::Both)
        };
        assert_eq!(bounced.forbidden(), 0);
    }

    #[test]
    fn a_range_at_the_end_of_all_addresses_does_not_wrap() {
        let mut lend = Lend::new(0, 0, 0, 64, Part::of(u64::MAX - 7, 64), Way::Both);
        assert_eq!(lend.phys.to, u64::MAX);
        lend.hand(lend.at_bus(u64::MAX, u64::MAX), true);
        assert_eq!(
            lend.first_of_card(Part::of(0, u64::MAX)),
            Some(u64::MAX - 7)
        );
    }
}
