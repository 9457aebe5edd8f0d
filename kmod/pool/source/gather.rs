// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Sources that take piece after piece until enough of them lie side by side, and return the others.
//!
//! Both searches are bounded: they leave the kernel a part of its memory ([`spare_pages`]), never wait for
//! another process to be killed, and return everything if they fail.

use super::super::allocator::Request;
use super::super::cluster::{Clusters, Run};
use super::super::shim;
use super::scattered::Map;
use super::whole::none;
use super::{Memory, Piece, Wanted, DEFAULT_PAGES, MAX_ORDER, PAGE};
use kernel::prelude::*;

/// The kernel keeps at least one part in so many of its memory.
const KEPT_PART: u64 = 16;
/// Single pages from one look at what can be spared to the next.
const ASKED_EVERY: usize = 64;
/// Pages of a chapter: a block of the largest order.
const CHAPTER: u64 = 1 << MAX_ORDER;

kernel::sync::global_lock! {
    // SAFETY: initialised in the module's `init`, before anything is taken.
    pub(crate) unsafe(uninit) static SEARCH: Mutex<Option<Search>> = None;
}
kernel::sync::global_lock! {
    // SAFETY: initialised in the module's `init`, before anything is taken.
    /// Held by the one search for a cluster that goes on. Taken before [`SEARCH`].
    pub(crate) unsafe(uninit) static TURN: Mutex<()> = ();
}

/// The last search for a cluster, or the one that goes on.
pub(crate) struct Search {
    /// `running`, `found` or `failed`.
    pub(crate) state: &'static str,
    /// Pages wanted.
    pub(crate) wanted: u64,
    /// Pages taken so far.
    pub(crate) touched: u64,
    /// What lies side by side.
    pub(crate) clusters: Clusters<VVec<Run>>,
}

/// Pages that may be taken before the kernel has too few. Reclaim and other users change it at any time.
pub(super) fn spare_pages() -> u64 {
    shim::available_pages().saturating_sub(shim::total_pages() / KEPT_PART)
}

/// Largest blocks of the page allocator, merged until one cluster is long enough; the rest is returned. What fits in
/// one block is one plain allocation, its tail returned.
pub(super) fn cluster(wanted: &Wanted) -> Result<Memory> {
    let pages = wanted.pages_or(DEFAULT_PAGES);
    if pages <= CHAPTER {
        let order = pages.next_power_of_two().trailing_zeros();
        let block = Piece::block(order, wanted.address_bits)
            .ok_or_else(|| none("cluster", pages, wanted))?;
        let touched = block.pages();
        return finish("cluster", trim(block.split(), pages), touched);
    }
    let _turn = TURN.lock();
    let most = usize::try_from(spare_pages() / CHAPTER)?;
    if pages.div_ceil(CHAPTER) > most as u64 {
        return Err(none("cluster", pages, wanted));
    }
    let mut chapters = VVec::with_capacity(most, GFP_KERNEL)?;
    let storage = VVec::from_elem(Run::default(), most, GFP_KERNEL)?;
    *SEARCH.lock() = Some(Search {
        state: "running",
        wanted: pages,
        touched: 0,
        clusters: Clusters::new(storage),
    });
    let found = search(&request(pages, wanted), wanted, &mut chapters, most);
    if let Some(search) = &mut *SEARCH.lock() {
        search.state = if found.is_some() { "found" } else { "failed" };
    }
    let touched = chapters.len() as u64 * CHAPTER;
    let base = found.ok_or_else(|| none("cluster", pages, wanted))?;
    let end = base + pages.next_multiple_of(CHAPTER) * PAGE;
    for chapter in chapters {
        if (base..end).contains(&chapter.phys()) {
            // The cluster's pages are one piece from here on, which is made below.
            core::mem::forget(chapter.split());
        }
    }
    let cluster = Piece::Range {
        phys: base,
        pages: (end - base) / PAGE,
    };
    finish("cluster", trim(cluster, pages), touched)
}

/// Takes chapters until a cluster is long enough; gives its base.
fn search(
    request: &Request,
    wanted: &Wanted,
    chapters: &mut VVec<Piece>,
    most: usize,
) -> Option<u64> {
    while chapters.len() < most && spare_pages() >= CHAPTER {
        let chapter = Piece::block(MAX_ORDER, wanted.address_bits)?;
        let phys = chapter.phys();
        chapters.push_within_capacity(chapter).ok()?;
        let mut guard = SEARCH.lock();
        let search = guard.as_mut()?;
        search.touched += CHAPTER;
        let (run, _) = search.clusters.insert(phys, phys + CHAPTER * PAGE).ok()?;
        if let Some(base) = request.place(run.start, run.end) {
            return Some(base);
        }
    }
    None
}

/// Single pages, until a run of them is long enough, which a bitmap tells; the rest is returned.
pub(super) fn bitmap(wanted: &Wanted) -> Result<Memory> {
    let pages = wanted.pages_or(DEFAULT_PAGES);
    let most = spare_pages();
    if pages > most {
        return Err(none("bitmap", pages, wanted));
    }
    let mut taken: VVec<Piece> = VVec::with_capacity(usize::try_from(most)?, GFP_KERNEL)?;
    let mut look_at = pages;
    let base = loop {
        while (taken.len() as u64) < look_at {
            // The kernel counts for a microsecond what a page takes a tenth of: it is asked now and then.
            let enough = taken.len() % ASKED_EVERY != 0 || spare_pages() > ASKED_EVERY as u64;
            let page = enough
                .then(|| Piece::block(0, wanted.address_bits))
                .flatten()
                .ok_or_else(|| none("bitmap", pages, wanted))?;
            taken
                .push_within_capacity(page)
                .map_err(|_| none("bitmap", pages, wanted))?;
        }
        let map = Map::new(taken.iter().map(Piece::phys))?;
        if let Some(base) = map.find(&request(pages, wanted)) {
            break base;
        }
        if look_at == most {
            return Err(none("bitmap", pages, wanted));
        }
        // Half as many again, so that all looks together cost a few times the last one.
        look_at = (look_at + look_at / 2 + 1).min(most);
    };
    let touched = taken.len() as u64;
    let end = base + pages * PAGE;
    for page in taken {
        if (base..end).contains(&page.phys()) {
            core::mem::forget(page);
        }
    }
    finish("bitmap", Piece::Range { phys: base, pages }, touched)
}

/// What a run must be like.
fn request(pages: u64, wanted: &Wanted) -> Request {
    Request {
        address_bits: wanted.address_bits,
        ..Request::anywhere(pages * PAGE)
    }
}

/// The first `pages` of a range; the tail is returned.
fn trim(range: Piece, pages: u64) -> Piece {
    let (phys, all) = (range.phys(), range.pages());
    if all > pages {
        core::mem::forget(range);
        drop(Piece::Range {
            phys: phys + pages * PAGE,
            pages: all - pages,
        });
        return Piece::Range { phys, pages };
    }
    range
}

fn finish(source: &'static str, piece: Piece, touched: u64) -> Result<Memory> {
    let pages = piece.pages();
    let mut memory = Memory::piece(source, piece, pages)?;
    memory.taken.touched = touched;
    Ok(memory)
}
