// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Free pages as bits, and the contiguous runs among them.
//!
//! Pages may come and go in any order; neighbours need no joining. A search passes over the words, so it
//! takes O(words + runs), 64 pages a step where all or none of them are free.
//!
//! # Invariants
//!
//! 1. Bit `n` of the words, counted from the lowest of the first, is the page at `base + n * PAGE`; the span
//!    is page aligned and does not overflow 64 bits.
//! 2. Bits beyond the span are 0.
//! 3. `count` is the number of bits that are 1.
//!
//! [`Bitmap::check`] tests them.

use super::allocator::{Fit, Request, PAGE};
use core::ops::{DerefMut, Range};

/// Pages of one word.
const BITS: u64 = 64;

/// Which pages of a span are free. `B` holds the words.
#[derive(Debug)]
pub struct Bitmap<B> {
    base: u64,
    pages: u64,
    count: u64,
    words: B,
}

impl<B: DerefMut<Target = [u64]>> Bitmap<B> {
    /// Spans `pages` pages from `base` on, none of them free. `None` if `base` is not page aligned, if the
    /// span overflows, or if `words` are less than a bit for each page.
    pub fn new(base: u64, pages: u64, mut words: B) -> Option<Self> {
        base.checked_add(pages.checked_mul(PAGE)?)?;
        if base & (PAGE - 1) != 0 || Self::words_of(pages)? > words.len() {
            return None;
        }
        words.fill(0);
        Some(Bitmap {
            base,
            pages,
            count: 0,
            words,
        })
    }

    /// How many words a span of `pages` pages needs; `None` if a slice cannot have so many.
    pub fn words_of(pages: u64) -> Option<usize> {
        usize::try_from(pages.div_ceil(BITS)).ok()
    }

    /// How many pages are free.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether the page at `address` is free; no page outside the span is.
    pub fn contains(&self, address: u64) -> bool {
        let page = address.checked_sub(self.base).map(|bytes| bytes / PAGE);
        page.and_then(|page| self.word(page / BITS).map(|word| word >> (page % BITS) & 1))
            == Some(1)
    }

    /// Makes `pages` pages from `address` on free. `false`, and nothing done, unless all of them lie in the
    /// span and none was free.
    pub fn set(&mut self, address: u64, pages: u64) -> bool {
        self.change(address, pages, true)
    }

    /// Takes `pages` pages from `address` on. `false`, and nothing done, unless all of them were free.
    pub fn clear(&mut self, address: u64, pages: u64) -> bool {
        self.change(address, pages, false)
    }

    /// The runs of free pages as (first byte, byte after), ascending; each is as long as can be.
    pub fn runs(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.runs_from(0)
    }

    /// The runs that begin at `address` or above, and what of an earlier one lies there.
    pub fn runs_from(&self, address: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let first = address.saturating_sub(self.base).div_ceil(PAGE);
        let next = |from: u64| {
            let start = self.next(from, true)?;
            let end = self.next(start, false).unwrap_or(self.pages);
            Some(start..end)
        };
        let run = |pages: Range<u64>| (self.address(pages.start), self.address(pages.end));
        core::iter::successors(next(first), move |run| next(run.end)).map(run)
    }

    /// The longest run, of several the first.
    pub fn longest(&self) -> Option<(u64, u64)> {
        let length = |(start, end): &(u64, u64)| end.saturating_sub(*start);
        // The first of the greatest: `max_by_key` gives the last.
        self.runs().reduce(|best, run| {
            if length(&run) > length(&best) {
                run
            } else {
                best
            }
        })
    }

    /// A place for `request` among the free pages: its base. Nothing is taken yet.
    pub fn find(&self, request: &Request) -> Option<u64> {
        let mut places = self.runs().filter_map(|(start, end)| {
            Some((end.saturating_sub(start), request.place(start, end)?))
        });
        let place = match request.fit {
            Fit::First => places.next(),
            Fit::Best => places.min(),
        };
        place.map(|(_, base)| base)
    }

    /// Tells whether the invariants hold. Slow.
    pub fn check(&self) -> bool {
        let spanned = self
            .pages
            .checked_mul(PAGE)
            .and_then(|bytes| self.base.checked_add(bytes));
        let ones = |word: &u64| u64::from(word.count_ones());
        let count: u64 = self.words.iter().map(ones).sum();
        let inside = (0..).step_by(64).zip(self.words.iter());
        let outside = inside
            .map(|(first, word)| word & !mask(first, 0..self.pages))
            .any(|bits| bits != 0);
        spanned.is_some() && self.base & (PAGE - 1) == 0 && !outside && count == self.count
    }

    fn change(&mut self, address: u64, pages: u64, free: bool) -> bool {
        let Some(range) = self.range(address, pages) else {
            return false;
        };
        if self
            .next(range.start, free)
            .is_some_and(|page| page < range.end)
        {
            return false;
        }
        let mut word = range.start / BITS;
        while word.saturating_mul(BITS) < range.end {
            let bits = mask(word.saturating_mul(BITS), range.clone());
            if let Some(word) = self.word_mut(word) {
                *word ^= bits;
            }
            word = word.saturating_add(1);
        }
        self.count = if free {
            self.count.saturating_add(pages)
        } else {
            self.count.saturating_sub(pages)
        };
        true
    }

    /// The first page at or after `from` that is free, or is not.
    fn next(&self, from: u64, free: bool) -> Option<u64> {
        let mut at = from;
        while at < self.pages {
            let word = self.word(at / BITS)?;
            let word = if free { word } else { !word };
            let rest = word >> (at % BITS);
            if rest != 0 {
                at = at.saturating_add(u64::from(rest.trailing_zeros()));
                return (at < self.pages).then_some(at);
            }
            at = (at / BITS).saturating_add(1).saturating_mul(BITS);
        }
        None
    }

    /// The pages, by number, from `address` on, if they are inside the span.
    fn range(&self, address: u64, pages: u64) -> Option<Range<u64>> {
        let bytes = address.checked_sub(self.base)?;
        let (start, end) = (bytes / PAGE, (bytes / PAGE).checked_add(pages)?);
        (bytes & (PAGE - 1) == 0 && end <= self.pages).then_some(start..end)
    }

    fn address(&self, page: u64) -> u64 {
        self.base.saturating_add(page.saturating_mul(PAGE))
    }

    fn word(&self, index: u64) -> Option<u64> {
        self.words.get(usize::try_from(index).ok()?).copied()
    }

    fn word_mut(&mut self, index: u64) -> Option<&mut u64> {
        self.words.get_mut(usize::try_from(index).ok()?)
    }
}

/// The bits, in the word whose first page is `first`, of the pages in `range`.
fn mask(first: u64, range: Range<u64>) -> u64 {
    let from = range.start.saturating_sub(first);
    let to = range.end.saturating_sub(first).min(BITS);
    let below = |bits: u64| match bits {
        0..=63 => (1u64 << bits) - 1,
        _ => u64::MAX,
    };
    below(to) & !below(from)
}
