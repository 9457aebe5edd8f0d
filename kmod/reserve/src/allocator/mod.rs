// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Lends buffers out of one physical region, in whole pages, with guard pages around every buffer.
//!
//! What is taken is recorded: buffers that are lent, and holes, which are never lent. What is free are the
//! gaps between these blocks; each belongs to the block before it, so nothing needs to be coalesced, and
//! there is no second list that could disagree with the first. Blocks are entries of storage that the
//! caller supplies, in two balanced trees: by address, where each entry knows the largest gap of its
//! subtree, and, if there is one, by length of the gap.
//!
//! # Bounds
//!
//! With `n` blocks, [`free`](Reserve::free), [`find`](Reserve::find), [`exclude`](Reserve::exclude), an
//! exact place, and any request without alignment beyond a page, boundary and limit take O(log n) steps;
//! [`free_bytes`](Reserve::free_bytes) and [`largest_free`](Reserve::largest_free) are known. With other
//! wishes, each gap that is long enough but does not suit costs O(log n) more, so the worst case is
//! O(n log n). First fit looks at no gap beyond the address limit and so is O(log n) with a limit alone. No
//! call recurses, allocates or sleeps.
//!
//! # Invariants
//!
//! 1. The region is page aligned, not empty, and its end does not overflow 64 bits.
//! 2. Every block is page aligned, has at least one page, and `pages` are as many as `bytes` need.
//! 3. A buffer's footprint is its pages and `guard_pages` on each side, a hole's its pages. Footprints and
//!    the gaps after them, the first gap included, fill the region in ascending order without overlap; the
//!    counts and sums kept beside them are right.
//! 4. Each tree is one: a child's parent is the entry whose child it is. Heights are right, and those of two
//!    siblings differ by at most 1.
//! 5. By address, every entry's `largest` is the largest gap in its subtree.
//! 6. By gap, entries ascend by length, then by address, and are those of the other tree that have one.
//! 7. Every other entry of the storage is either in the list of unused ones or was never used.
//! 8. A refused request, hole or free changes nothing.
//!
//! [`Reserve::check`] tests 1 to 7.

mod check;
mod errors;
mod request;
mod slots;
#[cfg(test)]
mod tests;
mod tree;

pub use self::errors::{AllocateError, ExcludeError, FreeError, RegionError};
pub use self::request::{Fit, Request};
pub use self::slots::Slot;

use self::request::Wish;
use self::slots::{Kind, Node, Slots};
use self::tree::{ByAddress, ByGap, NIL};
use core::ops::DerefMut;

/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// One buffer that is lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent<T> {
    /// Physical address of its first byte; guard pages lie before it.
    pub base: u64,
    /// Bytes asked for, at least 1.
    pub bytes: u64,
    /// Whole pages that hold them, without guard pages.
    pub pages: u64,
    /// Whatever the caller wants to know about it.
    pub tag: T,
}

impl<T: Default> Default for Extent<T> {
    /// No buffer.
    fn default() -> Self {
        Extent {
            base: 0,
            bytes: 0,
            pages: 0,
            tag: T::default(),
        }
    }
}

impl<T> Extent<T> {
    /// Bytes of its pages, without guard pages.
    pub fn allocated(&self) -> u64 {
        // By invariant 3 an extent lies inside the region, whose size in bytes fits.
        self.pages.saturating_mul(PAGE)
    }

    /// Address after its last page.
    pub fn end(&self) -> u64 {
        self.base.saturating_add(self.allocated())
    }
}

/// One region and what is lent of it. `B` is the storage: a slice, an array in a box, a kernel vector.
#[derive(Debug)]
pub struct Reserve<B> {
    base: u64,
    pages: u64,
    guard_pages: u64,
    /// Buffers that are lent.
    count: usize,
    hole_pages: u64,
    free_bytes: u64,
    slots: Slots<B>,
}

impl<T, B> Reserve<B>
where
    T: Copy + Default + 'static,
    B: DerefMut<Target = [Slot<T>]>,
{
    /// Takes over a region of `bytes` at `base`. Each buffer that is lent and each hole takes one entry of
    /// `storage`, whose contents do not matter.
    pub fn new(base: u64, bytes: u64, guard_pages: u32, storage: B) -> Result<Self, RegionError> {
        if bytes == 0 {
            return Err(RegionError::Empty);
        }
        if !is_page_aligned(base) || !is_page_aligned(bytes) {
            return Err(RegionError::Unaligned);
        }
        if base.checked_add(bytes).is_none() {
            return Err(RegionError::Overflow);
        }
        Ok(Reserve {
            base,
            pages: bytes / PAGE,
            guard_pages: guard_pages.into(),
            count: 0,
            hole_pages: 0,
            free_bytes: bytes,
            slots: Slots::new(base, bytes, storage),
        })
    }

    /// Makes a hole of `bytes` at `base`, for good: its pages are never lent. A hole has no guard pages; a
    /// buffer beside it keeps its own.
    pub fn exclude(&mut self, base: u64, bytes: u64) -> Result<(), ExcludeError> {
        if bytes == 0 {
            return Err(ExcludeError::Empty);
        }
        if !is_page_aligned(base) || !is_page_aligned(bytes) {
            return Err(ExcludeError::Unaligned);
        }
        let end = base.checked_add(bytes).ok_or(ExcludeError::Outside)?;
        if base < self.base || end > self.end() {
            return Err(ExcludeError::Outside);
        }
        let before = self.gap_around(base, end).ok_or(ExcludeError::Taken)?;
        let pages = bytes / PAGE;
        let hole = Extent {
            base,
            bytes,
            pages,
            tag: T::default(),
        };
        self.enter(before, Kind::Hole, (base, end), hole)
            .ok_or(ExcludeError::TooMany)?;
        self.hole_pages = self.hole_pages.saturating_add(pages);
        Ok(())
    }

    /// Physical address of the region.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Bytes of the region, holes included.
    pub fn bytes(&self) -> u64 {
        self.pages.saturating_mul(PAGE)
    }

    /// Pages of the region, holes left out.
    pub fn usable_pages(&self) -> u64 {
        self.pages.saturating_sub(self.hole_pages)
    }

    /// Pages kept free on each side of a buffer.
    pub fn guard_pages(&self) -> u64 {
        self.guard_pages
    }

    /// How many buffers are lent.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes that belong to no buffer's footprint and to no hole.
    pub fn free_bytes(&self) -> u64 {
        self.free_bytes
    }

    /// Bytes of the largest buffer that could be lent now without any other wish, guards left off.
    pub fn largest_free(&self) -> u64 {
        let guards = self.guard_bytes().saturating_mul(2);
        let largest = self.slots.largest(self.slots.address_root);
        largest.saturating_sub(guards)
    }

    /// What is lent, ascending by address.
    pub fn used(&self) -> impl Iterator<Item = &'_ Extent<T>> + '_ {
        self.used_from(0)
    }

    /// What is lent at `address` and above, ascending.
    pub fn used_from(&self, address: u64) -> impl Iterator<Item = &'_ Extent<T>> + '_ {
        self.blocks_from(address, Kind::Lent)
    }

    /// The holes as (first byte, byte after), ascending.
    pub fn holes(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.holes_from(0)
    }

    /// The holes that begin at `address` or above.
    pub fn holes_from(&self, address: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.blocks_from(address, Kind::Hole)
            .map(|hole| (hole.base, hole.end()))
    }

    /// The free ranges that begin at `address` or above as (first byte, byte after), ascending. None is
    /// empty; each is as long as can be.
    pub fn gaps_from(&self, address: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let slots = &self.slots;
        let first = match address.checked_sub(1) {
            Some(before) => slots.first_after(before),
            None => Some(slots.leftmost::<ByAddress>(slots.address_root)),
        };
        let is_empty = |index: &u32| slots.node(*index).map_or(0, |node| node.gap) == 0;
        let first = match first {
            Some(index) if is_empty(&index) => slots.next_gap(index, 1),
            other => other,
        };
        core::iter::successors(first, |index| slots.next_gap(*index, 1))
            .map(|index| slots.gap(index))
    }

    /// The pieces of the region between its holes as (first byte, byte after), ascending; none is empty.
    pub fn pieces(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let end = self.end();
        self.holes()
            .chain(core::iter::once((end, end)))
            .scan(self.base, |reached, (start, after)| {
                Some((core::mem::replace(reached, after), start))
            })
            .filter(|(start, end)| start < end)
    }

    /// Whether a byte from `start` up to `end` lies inside the region and in no hole.
    pub fn has_page_in(&self, start: u64, end: u64) -> bool {
        let (mut at, end) = (start.max(self.base), end.min(self.end()));
        while at < end {
            match self.block_at(at) {
                Some((_, slot)) if slot.node.kind == Kind::Hole => at = slot.node.after,
                _ => return true,
            }
        }
        false
    }

    /// The buffer in whose pages `address` lies, guard pages not counted.
    pub fn find(&self, address: u64) -> Option<&Extent<T>> {
        let (_, slot) = self.block_at(address)?;
        let inside = (slot.extent.base..slot.extent.end()).contains(&address);
        (slot.node.kind == Kind::Lent && inside).then_some(&slot.extent)
    }

    /// The buffer of `bytes` (as asked for) at `base`, or why [`free`](Self::free) would not take it.
    pub fn lent(&self, base: u64, bytes: u64) -> Result<&Extent<T>, FreeError> {
        let slot = self.slots.slot(self.index_of(base, bytes)?);
        slot.map(|slot| &slot.extent).ok_or(FreeError::NotABuffer)
    }

    /// The tag of the buffer of `bytes` (as asked for) at `base`, to be changed.
    pub fn tag_mut(&mut self, base: u64, bytes: u64) -> Result<&mut T, FreeError> {
        let index = self.index_of(base, bytes)?;
        let slot = self.slots.slot_mut(index);
        slot.map(|slot| &mut slot.extent.tag)
            .ok_or(FreeError::NotABuffer)
    }

    /// Lends the place that `request` asks for, or the first or best that fits.
    pub fn allocate(&mut self, request: Request, tag: T) -> Result<Extent<T>, AllocateError> {
        let wish = Wish::new(&request, self.guard_bytes())?;
        if request.at.is_some_and(|at| !wish.allows(at)) {
            return Err(AllocateError::At);
        }
        if !self.slots.has_unused() {
            return Err(AllocateError::TooManyBuffers);
        }
        let (before, base) = match request.at {
            Some(at) => {
                let gap = wish
                    .footprint(at)
                    .and_then(|(start, end)| self.gap_around(start, end));
                (gap.ok_or(AllocateError::Taken)?, at)
            }
            None => match self.search(request.fit, &wish) {
                Some(found) => found,
                None if self.search(Fit::First, &wish.unlimited()).is_some() => {
                    return Err(AllocateError::NoRoomBelowLimit);
                }
                None => return Err(AllocateError::NoRoom),
            },
        };
        let extent = Extent {
            base,
            bytes: wish.bytes,
            pages: wish.pages,
            tag,
        };
        let footprint = wish.footprint(base).ok_or(AllocateError::NoRoom)?;
        self.enter(before, Kind::Lent, footprint, extent)
            .ok_or(AllocateError::TooManyBuffers)?;
        self.count = self.count.saturating_add(1);
        Ok(extent)
    }

    /// Takes back the buffer of `bytes` (as asked for) at `base`.
    pub fn free(&mut self, base: u64, bytes: u64) -> Result<Extent<T>, FreeError> {
        let index = self.index_of(base, bytes)?;
        let slot = *self.slots.slot(index).ok_or(FreeError::NotABuffer)?;
        // There is one: the head, if nothing else.
        let before = self.slots.previous::<ByAddress>(index);
        let before = before.ok_or(FreeError::NotABuffer)?;
        let (start, _) = self.slots.gap(before);
        let (_, end) = self.slots.gap(index);
        self.slots.forget_gap(index);
        self.slots.forget_gap(before);
        self.slots.remove::<ByAddress>(index);
        self.slots.leave(index);
        self.slots.set_gap(before, end.saturating_sub(start));
        self.slots.retrace::<ByAddress>(before, NIL);
        let (first, after) = self.footprint(&slot);
        self.free_bytes = self.free_bytes.saturating_add(after.saturating_sub(first));
        self.count = self.count.saturating_sub(1);
        Ok(slot.extent)
    }

    /// Records a block in the gap that follows `before`. `None`, and nothing done, if no entry is left.
    fn enter(
        &mut self,
        before: u32,
        kind: Kind,
        (start, end): (u64, u64),
        extent: Extent<T>,
    ) -> Option<()> {
        let (gap_start, gap_end) = self.slots.gap(before);
        let node = Node::new(kind, end, 0);
        let index = self.slots.enter(Slot { node, extent })?;
        self.slots.forget_gap(before);
        self.slots.set_gap(before, start.saturating_sub(gap_start));
        self.slots.set_gap(index, gap_end.saturating_sub(end));
        self.slots.insert_after(before, index);
        self.free_bytes = self.free_bytes.saturating_sub(end.saturating_sub(start));
        Some(())
    }

    /// The block before the gap that holds `start` up to `end`.
    fn gap_around(&self, start: u64, end: u64) -> Option<u32> {
        let before = self.slots.last_until(start)?;
        let (_, gap_end) = self.slots.gap(before);
        (end <= gap_end).then_some(before)
    }

    /// The first or best gap in which `wish` has a place: the block before it, and the place.
    fn search(&self, fit: Fit, wish: &Wish) -> Option<(u32, u64)> {
        let slots = &self.slots;
        let mut at = match fit {
            Fit::First => slots.first_gap(wish.need),
            Fit::Best => slots.shortest_gap(wish.need),
        };
        while let Some(before) = at {
            let (start, end) = slots.gap(before);
            if let Some(base) = wish.place(start, end) {
                return Some((before, base));
            }
            at = match fit {
                Fit::First if start > wish.limit => None,
                Fit::First => slots.next_gap(before, wish.need),
                Fit::Best => slots.next::<ByGap>(before),
            };
        }
        None
    }

    /// The extents of one kind that begin at `address` or above.
    fn blocks_from(&self, address: u64, kind: Kind) -> Blocks<'_, B> {
        Blocks {
            slots: &self.slots,
            at: self.slots.first_after(address),
            from: address,
            kind,
        }
    }

    /// The block in whose footprint `address` lies.
    fn block_at(&self, address: u64) -> Option<(u32, &Slot<T>)> {
        let index = self.slots.first_after(address)?;
        let slot = self.slots.slot(index)?;
        let (start, _) = self.footprint(slot);
        (start <= address).then_some((index, slot))
    }

    /// What a block takes, guard pages included: first byte and the byte after.
    fn footprint(&self, slot: &Slot<T>) -> (u64, u64) {
        let guard = match slot.node.kind {
            Kind::Lent => self.guard_bytes(),
            Kind::Unused | Kind::Head | Kind::Hole => 0,
        };
        (slot.extent.base.saturating_sub(guard), slot.node.after)
    }

    fn index_of(&self, base: u64, bytes: u64) -> Result<u32, FreeError> {
        if base < self.base || base >= self.end() {
            return Err(FreeError::Outside);
        }
        let (index, slot) = self.block_at(base).ok_or(FreeError::NotABuffer)?;
        match slot.node.kind {
            Kind::Lent if slot.extent.base != base => Err(FreeError::NotABuffer),
            Kind::Lent if slot.extent.bytes != bytes => Err(FreeError::WrongSize {
                bytes: slot.extent.bytes,
            }),
            Kind::Lent => Ok(index),
            Kind::Unused | Kind::Head | Kind::Hole => Err(FreeError::Outside),
        }
    }

    fn end(&self) -> u64 {
        self.base.saturating_add(self.bytes())
    }

    fn guard_bytes(&self) -> u64 {
        self.guard_pages.saturating_mul(PAGE)
    }
}

/// Whether `value` is a multiple of [`PAGE`], a power of two.
fn is_page_aligned(value: u64) -> bool {
    value & (PAGE - 1) == 0
}

/// A walk over blocks, ascending by address. A type of its own: the kernel's tools have a limit on the length of
/// symbols, and a chain of adapters passes it.
struct Blocks<'a, B> {
    slots: &'a Slots<B>,
    /// The next block to look at.
    at: Option<u32>,
    /// Blocks that begin below this are passed over.
    from: u64,
    /// So are those of another kind.
    kind: Kind,
}

impl<'a, T, B> Iterator for Blocks<'a, B>
where
    T: Copy + Default + 'static,
    B: DerefMut<Target = [Slot<T>]>,
{
    type Item = &'a Extent<T>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let index = self.at?;
            self.at = self.slots.next::<ByAddress>(index);
            let slot = self.slots.slot(index);
            let wanted =
                |slot: &&Slot<T>| slot.node.kind == self.kind && slot.extent.base >= self.from;
            // The head, which is in no slot, is none.
            if let Some(slot) = slot.filter(wanted) {
                return Some(&slot.extent);
            }
        }
    }
}
