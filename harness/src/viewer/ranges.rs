// SPDX-License-Identifier: MIT OR Apache-2.0

//! Ranges of addresses, those that touch joined.

use std::collections::BTreeMap;

/// Most ranges.
const MOST: usize = 1 << 14;

/// A set of addresses.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranges {
    /// Ends, by starts; no two touch.
    ranges: BTreeMap<u64, u64>,
    /// Some found no room.
    full: bool,
}

impl Ranges {
    /// Adds a range. One that finds no room is left out.
    pub(super) fn add(&mut self, start: u64, length: u64) {
        let (mut start, mut end) = (start, start.saturating_add(length));
        if start >= end {
            return;
        }
        // One before it that reaches it, and those that begin in it.
        while let Some((&first, &last)) = self.ranges.range(..=end).next_back() {
            if last < start {
                break;
            }
            self.ranges.remove(&first);
            start = start.min(first);
            end = end.max(last);
        }
        match self.ranges.len() < MOST {
            true => drop(self.ranges.insert(start, end)),
            false => self.full = true,
        }
    }

    /// Starts and lengths, ascending.
    pub(super) fn list(&self) -> Vec<[u64; 2]> {
        let list = self.ranges.iter();
        list.map(|(start, end)| [*start, end - start]).collect()
    }

    /// Whether some were left out.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_are_one() {
        let mut ranges = Ranges::default();
        for (start, length) in [(10, 5), (20, 5), (15, 1), (0, 0), (30, 2), (16, 4), (8, 1)] {
            ranges.add(start, length);
        }
        assert_eq!(ranges.list(), [[8, 1], [10, 15], [30, 2]]);
        ranges.add(u64::MAX - 1, 9);
        ranges.add(0, 31);
        assert_eq!(ranges.list(), [[0, 32], [u64::MAX - 1, 1]]);
    }

    #[test]
    fn there_is_an_end_to_it() {
        let mut ranges = Ranges::default();
        for start in 0..=MOST as u64 {
            assert!(!ranges.is_full());
            ranges.add(start * 2, 1);
        }
        assert!(ranges.is_full());
        assert_eq!(ranges.list().len(), MOST);
    }
}
