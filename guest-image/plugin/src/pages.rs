// SPDX-License-Identifier: MIT OR Apache-2.0

//! What each page is, and what the CPU must not do with some byte of it, looked up at every access without a lock.

use core::sync::atomic::{AtomicU8, Ordering};

use alloc::vec::Vec;

use crate::echo::PAGE;

/// Some byte must not be read.
pub const NO_READ: u8 = 1;
/// Some byte must not be written.
pub const NO_WRITE: u8 = 2;
/// It is coherent memory of a card's: CPU and card tell each other in it how far they are.
pub const COHERENT: u8 = 4;

/// A byte for each page of the physical addresses that are watched.
pub struct Pages(Vec<AtomicU8>);

impl Pages {
    /// For physical addresses below `limit`, nothing of which is anybody's. Where there is no memory for that, nothing is found.
    pub fn below(limit: u64) -> Self {
        let count = usize::try_from(limit / PAGE).unwrap_or(0);
        let mut bytes = Vec::new();
        if bytes.try_reserve_exact(count).is_ok() {
            bytes.resize_with(count, AtomicU8::default);
        }
        Self(bytes)
    }

    /// What the page of this address is.
    pub fn get(&self, phys: u64) -> u8 {
        let page = usize::try_from(phys / PAGE).unwrap_or(usize::MAX);
        self.0
            .get(page)
            .map_or(0, |bits| bits.load(Ordering::Acquire))
    }

    /// Says so for the page of this address.
    pub fn set(&self, phys: u64, bits: u8) {
        let page = usize::try_from(phys / PAGE).unwrap_or(usize::MAX);
        if let Some(held) = self.0.get(page) {
            held.store(bits, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_as_it_was_set_and_none_lies_beyond_the_limit() {
        let pages = Pages::below(16 * PAGE);
        pages.set(3 * PAGE + 5, NO_READ);
        pages.set(99 * PAGE, NO_WRITE);

        assert_eq!(pages.get(4 * PAGE - 1), NO_READ);
        assert_eq!(pages.get(4 * PAGE), 0);
        assert_eq!(pages.get(99 * PAGE), 0);
        assert_eq!(pages.get(u64::MAX), 0);
    }
}
