// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What the allocator should do, done in the simplest way: a state for every page, and every page is looked
//! at from the first on. Slow, and too simple to be wrong. Not compiled into the kernel: the tests and the
//! exerciser compare [`allocator`](super::allocator) with it.

use super::allocator::{AllocateError, Fit, FreeError, Request, PAGE};
use core::ops::{DerefMut, Range};

/// What a page is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Page {
    /// Nobody's.
    #[default]
    Free,
    /// The first of a buffer of so many bytes.
    First(u64),
    /// A later one of a buffer.
    Rest,
    /// Beside a buffer.
    Guard,
    /// Never lent.
    Hole,
}

/// A region that can lend any number of buffers. `B` holds a state for each page.
#[derive(Clone, Debug)]
pub struct Naive<B> {
    base: u64,
    guard: usize,
    pages: B,
}

impl<B: DerefMut<Target = [Page]>> Naive<B> {
    /// A region at `base`, of as many pages as there are states; all become free.
    pub fn new(base: u64, guard_pages: u32, mut pages: B) -> Self {
        pages.fill(Page::Free);
        Naive {
            base,
            guard: guard_pages as usize,
            pages,
        }
    }

    /// The pages, as they are.
    pub fn pages(&self) -> &[Page] {
        &self.pages
    }

    /// Whether the byte at `address` lies inside and in no hole.
    pub fn owns(&self, address: u64) -> bool {
        let page = self.page_of(address);
        page.is_some_and(|page| self.pages[page] != Page::Hole)
    }

    /// Makes a hole. `false` unless all its pages are inside and free.
    pub fn exclude(&mut self, base: u64, bytes: u64) -> bool {
        let pages =
            base.wrapping_sub(self.base) / PAGE..base.wrapping_sub(self.base) / PAGE + bytes / PAGE;
        let inside = pages.start < pages.end && pages.end <= self.pages.len() as u64;
        let range = pages.start as usize..pages.end as usize;
        let free = inside && self.is_free(range.clone());
        if free {
            self.pages[range].fill(Page::Hole);
        }
        free
    }

    /// Lends a buffer: its base.
    pub fn allocate(&mut self, request: &Request) -> Result<u64, AllocateError> {
        let pages = 0..self.pages.len();
        let suits = |page: &usize| self.suits(*page, request, request.address_bits);
        let found = match (request.at, request.fit) {
            (Some(at), _) if !Self::suits_at_all(at, request, request.address_bits) => {
                return Err(AllocateError::At);
            }
            (Some(at), _) => {
                let page = self.page_of(at).filter(suits);
                page.ok_or(AllocateError::Taken)?
            }
            (None, Fit::First) => match pages.clone().find(suits) {
                Some(page) => page,
                None => return Err(self.why(request)),
            },
            (None, Fit::Best) => {
                let best = pages.clone().filter(suits);
                match best.min_by_key(|page| (self.gap_around(*page).len(), *page)) {
                    Some(page) => page,
                    None => return Err(self.why(request)),
                }
            }
        };
        let buffer = found..found + pages_of(request);
        self.pages[buffer.start - self.guard..buffer.end + self.guard].fill(Page::Guard);
        self.pages[buffer.clone()].fill(Page::Rest);
        self.pages[buffer.start] = Page::First(request.bytes);
        Ok(self.address(found))
    }

    /// Takes a buffer back.
    pub fn free(&mut self, base: u64, bytes: u64) -> Result<(), FreeError> {
        let page = self.page_of(base).ok_or(FreeError::Outside)?;
        match self.pages[page] {
            Page::Hole => Err(FreeError::Outside),
            Page::First(lent) if self.address(page) == base && lent == bytes => {
                let end = page + bytes.div_ceil(PAGE) as usize;
                self.pages[page - self.guard..end + self.guard].fill(Page::Free);
                Ok(())
            }
            Page::First(lent) if self.address(page) == base => {
                Err(FreeError::WrongSize { bytes: lent })
            }
            _ => Err(FreeError::NotABuffer),
        }
    }

    /// What is lent as (base, bytes), ascending.
    pub fn used(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let pages = self.pages.iter().enumerate();
        pages.filter_map(|(page, state)| match state {
            Page::First(bytes) => Some((self.address(page), *bytes)),
            _ => None,
        })
    }

    /// The runs of pages in one state as (first byte, byte after), ascending.
    pub fn runs(&self, state: Page) -> impl Iterator<Item = (u64, u64)> + '_ {
        let is = move |page: usize| self.pages.get(page) == Some(&state);
        let starts =
            (0..self.pages.len()).filter(move |page| is(*page) && (*page == 0 || !is(*page - 1)));
        starts.map(move |start| {
            let end = (start..).find(|page| !is(*page)).unwrap_or(start);
            (self.address(start), self.address(end))
        })
    }

    /// Bytes of free pages.
    pub fn free_bytes(&self) -> u64 {
        let free = self.pages.iter().filter(|page| **page == Page::Free);
        free.count() as u64 * PAGE
    }

    /// Bytes of the longest run of free pages, less two guards.
    pub fn largest_free(&self) -> u64 {
        let longest = self.runs(Page::Free).map(|(start, end)| end - start).max();
        longest
            .unwrap_or(0)
            .saturating_sub(2 * self.guard as u64 * PAGE)
    }

    fn why(&self, request: &Request) -> AllocateError {
        if (0..self.pages.len()).any(|page| self.suits(page, request, 64)) {
            AllocateError::NoRoomBelowLimit
        } else {
            AllocateError::NoRoom
        }
    }

    /// Whether a buffer can begin at `page`.
    fn suits(&self, page: usize, request: &Request, address_bits: u32) -> bool {
        let Some(start) = page.checked_sub(self.guard) else {
            return false;
        };
        let end = page + pages_of(request) + self.guard;
        Self::suits_at_all(self.address(page), request, address_bits)
            && end <= self.pages.len()
            && self.is_free(start..end)
    }

    /// Whether a buffer may begin at `base`, whoever has it.
    fn suits_at_all(base: u64, request: &Request, address_bits: u32) -> bool {
        let (bytes, pages) = (u128::from(request.bytes), pages_of(request) as u128);
        let (base, boundary) = (u128::from(base), u128::from(request.boundary));
        let end = base + pages * u128::from(PAGE);
        base % u128::from(request.alignment.max(PAGE)) == 0
            && (boundary == 0 || base / boundary == (base + bytes - 1) / boundary)
            && end <= 1 << address_bits
    }

    fn is_free(&self, range: Range<usize>) -> bool {
        self.pages[range].iter().all(|page| *page == Page::Free)
    }

    /// The free pages around one.
    fn gap_around(&self, page: usize) -> Range<usize> {
        let is_free = |page: &usize| self.pages[*page] == Page::Free;
        let start = (0..page).rev().take_while(is_free).last().unwrap_or(page);
        let end = (page..self.pages.len()).find(|page| !is_free(page));
        start..end.unwrap_or(self.pages.len())
    }

    fn page_of(&self, address: u64) -> Option<usize> {
        let page = usize::try_from(address.checked_sub(self.base)? / PAGE).ok()?;
        (page < self.pages.len()).then_some(page)
    }

    fn address(&self, page: usize) -> u64 {
        self.base + page as u64 * PAGE
    }
}

fn pages_of(request: &Request) -> usize {
    request.bytes.div_ceil(PAGE) as usize
}
