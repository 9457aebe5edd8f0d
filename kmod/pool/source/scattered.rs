// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Pages that lie where they lie, as a contrast: a region with holes, of which the pool lends only what is
//! physically in one piece.

use super::super::{allocator::Request, bitmap::Bitmap, module_parameters, shim};
use super::{Backing, Memory, Piece, Slab, Taken, Vmalloc, Wanted, DEFAULT_PAGES, MAX_ORDER, PAGE};
use kernel::prelude::*;

/// Pages of one area of vmalloc.
const QUANTUM: u64 = 16;

/// Blocks of `2^order` pages, the order being a parameter of the module.
pub(super) fn order(wanted: &Wanted) -> Result<Memory> {
    let order = module_parameters::order.value();
    if order > MAX_ORDER {
        pr_err!("order={} is more than {}\n", order, MAX_ORDER);
        return Err(EINVAL);
    }
    blocks(wanted, "order", order)
}

/// As many blocks of `2^order` pages as hold the pages wanted.
pub(super) fn blocks(wanted: &Wanted, source: &'static str, order: u32) -> Result<Memory> {
    let pages = affordable(source, wanted)?;
    let count = pages.div_ceil(1 << order);
    let mut blocks = VVec::with_capacity(usize::try_from(count)?, GFP_KERNEL)?;
    for _ in 0..count {
        let block = Piece::block(order, wanted.address_bits)
            .ok_or_else(|| super::whole::none(source, 1 << order, wanted))?;
        blocks.push(block, GFP_KERNEL)?;
    }
    let all = blocks
        .iter()
        .flat_map(|block: &Piece| (0..1 << order).map(|page: u64| block.phys() + page * PAGE));
    let map = Map::new(all)?;
    map.into_memory(source, pages, Backing::Pieces(blocks))
}

/// Objects of a page, of a slab cache.
pub(super) fn slab(wanted: &Wanted) -> Result<Memory> {
    let pages = affordable("slab", wanted)?;
    let slab = Slab::new(pages, wanted.address_bits)?;
    let map = Map::new(slab.objects().iter().copied())?;
    map.into_memory("slab", pages, Backing::Slab(slab))
}

/// Areas of vmalloc, of [`QUANTUM`] pages each.
pub(super) fn vmalloc(wanted: &Wanted) -> Result<Memory> {
    let pages = affordable("vmalloc", wanted)?;
    let count = pages.div_ceil(QUANTUM);
    let mut areas = VVec::with_capacity(usize::try_from(count)?, GFP_KERNEL)?;
    for _ in 0..count {
        let area = Vmalloc::new(QUANTUM, wanted.address_bits)
            .ok_or_else(|| super::whole::none("vmalloc", QUANTUM, wanted))?;
        areas.push(area, GFP_KERNEL)?;
    }
    let map = Map::new(areas.iter().flat_map(Vmalloc::pages))?;
    map.into_memory("vmalloc", pages, Backing::Vmalloc(areas))
}

/// The pages wanted, if the kernel can spare them.
fn affordable(source: &str, wanted: &Wanted) -> Result<u64> {
    let pages = wanted.pages_or(DEFAULT_PAGES);
    let most = super::gather::spare_pages();
    if pages > most {
        pr_err!(
            "source={}: pages={} asked for, but only {} can be spared\n",
            source,
            pages,
            most
        );
        return Err(ENOMEM);
    }
    Ok(pages)
}

/// Which pages are there, between the lowest and the highest.
pub(super) struct Map(Bitmap<VVec<u64>>);

impl Map {
    /// Of pages in any order. Asks for them three times.
    pub(super) fn new(pages: impl Iterator<Item = u64> + Clone) -> Result<Self> {
        let base = pages.clone().min().ok_or(EINVAL)?;
        let last = pages.clone().max().ok_or(EINVAL)?;
        let span = (last - base) / PAGE + 1;
        let count = Bitmap::<VVec<u64>>::words_of(span).ok_or(EINVAL)?;
        let words = VVec::from_elem(0, count, GFP_KERNEL)?;
        let mut bits = Bitmap::new(base, span, words).ok_or(EINVAL)?;
        for phys in pages {
            bits.set(phys, 1);
        }
        Ok(Map(bits))
    }

    /// A run that suits.
    pub(super) fn find(&self, request: &Request) -> Option<u64> {
        self.0.find(request)
    }

    /// A region with holes, where the pages are not.
    fn into_memory(self, source: &'static str, wanted: u64, backing: Backing) -> Result<Memory> {
        let mut holes = VVec::new();
        let (mut pieces, mut longest) = (0, 0);
        let (base, mut end) = self.0.runs().next().ok_or(EINVAL)?;
        for (first, after) in self.0.runs() {
            if first > end {
                holes.push((end, first - end), GFP_KERNEL)?;
            }
            pieces += 1;
            longest = longest.max((after - first) / PAGE);
            end = after;
        }
        let pages = self.0.count();
        Ok(Memory {
            source,
            taken: Taken {
                base,
                span: end - base,
                pages,
                waste: pages.saturating_sub(wanted),
                pieces,
                longest,
                touched: pages,
                take_ns: 0,
            },
            holes,
            virt: shim::direct_map(base, PAGE).ok_or(ENXIO)?,
            backing,
        })
    }
}
