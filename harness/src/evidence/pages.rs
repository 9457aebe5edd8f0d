// SPDX-License-Identifier: MIT OR Apache-2.0

//! Guest memory around violations: what lay there, and what should have.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::guest::memory::GuestMemory;

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Most pages that are kept.
pub const MAX_PAGES: usize = 64;
/// Most pages that one range brings along.
const MAX_OF_RANGE: u64 = 6;

/// What should lie in a part of a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// First byte, from the page's start.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// What: `canary`, or a frame.
    pub what: String,
}

/// One page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// What lay there.
    pub bytes: Vec<u8>,
    /// What should have, where it is known; else 0.
    pub expected: Vec<u8>,
    /// Where it is known.
    pub known: Vec<Known>,
}

impl Page {
    /// What should lie at an offset, if that is known.
    pub fn expected(&self, offset: usize) -> Option<u8> {
        let at = offset as u64;
        let holds = |known: &&Known| at.wrapping_sub(known.offset) < known.length;
        self.known.iter().find(holds)?;
        self.expected.get(offset).copied()
    }

    /// Says what should lie in `range`, physical addresses, of the page at `base`; `fill` gets the part of it that
    /// is in the page, and where that begins.
    pub fn know(
        &mut self,
        base: u64,
        range: &Range<u64>,
        what: &str,
        fill: impl FnOnce(&mut [u8], u64),
    ) {
        let from = range.start.max(base);
        let to = range.end.min(base + PAGE);
        if from >= to {
            return;
        }
        let index = |at: u64| usize::try_from(at - base).unwrap_or(usize::MAX);
        if let Some(part) = self.expected.get_mut(index(from)..index(to)) {
            fill(part, from);
            self.known.push(Known {
                offset: from - base,
                length: to - from,
                what: what.to_owned(),
            });
        }
    }
}

/// Pages by physical address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pages {
    pages: BTreeMap<u64, Page>,
}

/// `pages.json`. The bytes of page n are at n * 4096 in `pages.bin`, and what should be there likewise in
/// `expected.bin`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Index {
    page_bytes: u64,
    pages: Vec<IndexEntry>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct IndexEntry {
    /// Physical address.
    address: u64,
    known: Vec<Known>,
}

impl Pages {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// The page that an address is in.
    pub fn at(&self, address: u64) -> Option<&Page> {
        self.pages.get(&(address - address % PAGE))
    }

    /// Addresses, ascending, and what is known of each page.
    pub fn known(&self) -> impl Iterator<Item = (u64, &[Known])> {
        self.pages
            .iter()
            .map(|(address, page)| (*address, page.known.as_slice()))
    }

    /// Keeps the pages that a range of physical addresses begins and ends in, and those beside them, as they are
    /// now, as far as there is room and they are RAM. Those that it begins and ends in are kept anew. `knowing`
    /// is given each page and its address, to say what should be there.
    pub fn keep(
        &mut self,
        memory: &GuestMemory,
        range: &Range<u64>,
        knowing: &dyn Fn(&mut Page, u64),
    ) {
        let first = range.start - range.start % PAGE;
        let end = range.end.max(range.start.saturating_add(1)) - 1;
        let last = end - end % PAGE;
        let beside = [
            first.checked_sub(PAGE),
            first.checked_add(PAGE),
            last.checked_sub(PAGE),
            last.checked_add(PAGE),
        ];
        let mut taken = 0;
        for (at, anew) in [(first, true), (last, true)]
            .into_iter()
            .chain(beside.into_iter().flatten().map(|at| (at, false)))
        {
            let there = self.pages.contains_key(&at);
            if (there && !anew)
                || (!there && (self.pages.len() >= MAX_PAGES || taken >= MAX_OF_RANGE))
            {
                continue;
            }
            let Ok(bytes) = memory.read_range(at..at.saturating_add(PAGE)) else {
                continue;
            };
            let mut page = Page {
                expected: vec![0; bytes.len()],
                bytes,
                known: Vec::new(),
            };
            knowing(&mut page, at);
            self.pages.insert(at, page);
            taken += 1;
        }
    }

    pub(crate) fn split(&self) -> (Index, Vec<u8>, Vec<u8>) {
        let of = |bytes: fn(&Page) -> &[u8]| self.pages.values().flat_map(bytes).copied().collect();
        let index = Index {
            page_bytes: PAGE,
            pages: self
                .pages
                .iter()
                .map(|(address, page)| IndexEntry {
                    address: *address,
                    known: page.known.clone(),
                })
                .collect(),
        };
        (index, of(|page| &page.bytes), of(|page| &page.expected))
    }

    /// `None` if they do not fit together.
    pub(crate) fn join(index: Index, bytes: &[u8], expected: &[u8]) -> Option<Self> {
        let page = usize::try_from(PAGE).ok()?;
        let whole = index.pages.len().checked_mul(page)?;
        if index.page_bytes != PAGE || bytes.len() != whole || expected.len() != whole {
            return None;
        }
        let contents = bytes.chunks_exact(page).zip(expected.chunks_exact(page));
        let mut pages = BTreeMap::new();
        for (entry, (bytes, expected)) in index.pages.into_iter().zip(contents) {
            let inside = |known: &Known| known.offset.checked_add(known.length) <= Some(PAGE);
            if entry.address % PAGE != 0 || !entry.known.iter().all(inside) {
                return None;
            }
            let page = Page {
                bytes: bytes.to_vec(),
                expected: expected.to_vec(),
                known: entry.known,
            };
            pages.insert(entry.address, page);
        }
        Some(Self { pages })
    }
}
