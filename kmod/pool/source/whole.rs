// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! One call of the kernel that gives one piece.

use super::super::shim;
use super::{Memory, Piece, Wanted, DEFAULT_PAGES, MAX_ORDER};
use kernel::prelude::*;

/// Any number of pages, found now.
pub(super) fn contig(wanted: &Wanted) -> Result<Memory> {
    let pages = at_most_all("contig", wanted)?;
    let piece =
        Piece::contig(pages, wanted.address_bits).ok_or_else(|| none("contig", pages, wanted))?;
    Memory::piece("contig", piece, pages)
}

/// Pages of the area that the boot option `cma=` made.
pub(super) fn cma(wanted: &Wanted) -> Result<Memory> {
    if !shim::has_cma() {
        pr_err!("the kernel has no CMA area: boot with cma=<size>, or pass source=contig\n");
        return Err(ENODEV);
    }
    let pages = at_most_all("cma", wanted)?;
    let piece = Piece::cma(pages).ok_or_else(|| none("cma", pages, wanted))?;
    Memory::piece("cma", piece, pages)
}

/// One block of the page allocator, its tail returned.
pub(super) fn exact(wanted: &Wanted) -> Result<Memory> {
    let pages = at_most_a_block("exact", wanted)?;
    let piece =
        Piece::exact(pages, wanted.address_bits).ok_or_else(|| none("exact", pages, wanted))?;
    Memory::piece("exact", piece, pages)
}

/// One block of the page allocator.
pub(super) fn buddy(wanted: &Wanted) -> Result<Memory> {
    let pages = at_most_a_block("buddy", wanted)?;
    let order = pages.next_power_of_two().trailing_zeros();
    let piece =
        Piece::block(order, wanted.address_bits).ok_or_else(|| none("buddy", pages, wanted))?;
    Memory::piece("buddy", piece, pages)
}

/// What kmalloc gives.
pub(super) fn kmalloc(wanted: &Wanted) -> Result<Memory> {
    let pages = at_most_a_block("kmalloc", wanted)?;
    let bytes = pages.saturating_mul(super::PAGE);
    let piece =
        Piece::kmalloc(bytes, wanted.address_bits).ok_or_else(|| none("kmalloc", pages, wanted))?;
    Memory::piece("kmalloc", piece, pages)
}

/// The pages wanted, if the kernel has so many: some of its sums do not bear more.
fn at_most_all(source: &str, wanted: &Wanted) -> Result<u64> {
    let pages = wanted.pages_or(DEFAULT_PAGES);
    if pages > shim::total_pages() {
        return Err(none(source, pages, wanted));
    }
    Ok(pages)
}

/// The pages wanted, if one block can hold them.
fn at_most_a_block(source: &str, wanted: &Wanted) -> Result<u64> {
    let most = 1 << MAX_ORDER;
    let pages = wanted.pages_or(most);
    if pages > most {
        pr_err!(
            "source={} gives at most {} pages in one piece, pages={} asked for: pass source=contig\n",
            source,
            most,
            pages
        );
        return Err(EINVAL);
    }
    Ok(pages)
}

/// Says that a source has no such memory now.
pub(super) fn none(source: &str, pages: u64, wanted: &Wanted) -> Error {
    pr_err!(
        "source={} found no {} pages in one piece (address_bits={}): pass fewer, or load the module earlier\n",
        source,
        pages,
        wanted.address_bits
    );
    ENOMEM
}
