// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! First fit over one physical region, in whole pages, with guard pages around every buffer.
//!
//! Only what is lent is recorded: a sorted array of extents in storage that the caller supplies. What is
//! free is the space between them, so nothing needs to be coalesced, and there is no second list that
//! could disagree with the first.
//!
//! # Invariants
//!
//! With `used` the first `count` entries of the storage, in order:
//!
//! 1. The region is page aligned, not empty, and its end does not overflow 64 bits.
//! 2. Every extent is page aligned, has at least one page, and `1 <= bytes <= pages * PAGE`.
//! 3. An extent's footprint is its pages and `guard_pages` on each side. Every footprint lies inside the
//!    region, and footprints are disjoint and ascending.
//! 4. A refused request or a refused free changes nothing.
//!
//! [`Reserve::check`] tests 1 to 3.

use core::fmt;
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
    /// An entry of the storage that is not in use.
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

/// What a buffer must be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Bytes, at least 1; whole pages are taken.
    pub bytes: u64,
    /// How many address bits the card drives, 1 to 64: the last page must end at or below `2^address_bits`.
    pub address_bits: u32,
    /// The base is a multiple of this: a power of two, bytes. Less than a page means a page.
    pub alignment: u64,
    /// The bytes do not cross a multiple of this: a power of two, bytes; 0: no such limit.
    pub boundary: u64,
}

impl Request {
    /// Asks for `bytes` anywhere.
    pub const fn anywhere(bytes: u64) -> Self {
        Request {
            bytes,
            address_bits: 64,
            alignment: PAGE,
            boundary: 0,
        }
    }
}

/// Why a region was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionError {
    /// It has no page.
    Empty,
    /// Its base or its size is not a multiple of a page.
    Unaligned,
    /// Its end is beyond 64 bits.
    Overflow,
}

impl RegionError {
    /// The reason, in words.
    pub const fn text(&self) -> &'static str {
        match self {
            RegionError::Empty => "the region has no page",
            RegionError::Unaligned => "the region is not page aligned",
            RegionError::Overflow => "the region ends beyond 64 bits",
        }
    }
}

impl fmt::Display for RegionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Why no buffer was lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AllocateError {
    /// A request for 0 bytes.
    Empty,
    /// `address_bits` is not 1 to 64.
    AddressBits,
    /// `alignment` is not a power of two.
    Alignment,
    /// `boundary` is neither 0 nor a power of two, or smaller than the buffer.
    Boundary,
    /// The storage has no free entry.
    TooManyBuffers,
    /// No gap is long enough.
    NoRoom,
    /// There is a gap, but none that ends below the address limit.
    NoRoomBelowLimit,
}

impl AllocateError {
    /// The reason, in words.
    pub const fn text(&self) -> &'static str {
        match self {
            AllocateError::Empty => "0 bytes were asked for",
            AllocateError::AddressBits => "the address width is not 1 to 64 bits",
            AllocateError::Alignment => "the alignment is not a power of two",
            AllocateError::Boundary => "the boundary is no power of two that holds the buffer",
            AllocateError::TooManyBuffers => "too many buffers are lent",
            AllocateError::NoRoom => "no gap is long enough",
            AllocateError::NoRoomBelowLimit => "no gap is low enough for the card's address width",
        }
    }
}

impl fmt::Display for AllocateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Why a free was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FreeError {
    /// The address lies outside the region.
    Outside,
    /// No buffer begins there; it may lie inside one.
    NotABuffer,
    /// A buffer begins there, but of `bytes` bytes.
    WrongSize {
        /// What was asked for when it was lent.
        bytes: u64,
    },
}

impl FreeError {
    /// The reason, in words.
    pub const fn text(&self) -> &'static str {
        match self {
            FreeError::Outside => "the address lies outside the pool",
            FreeError::NotABuffer => "no buffer begins there",
            FreeError::WrongSize { .. } => "the buffer there has another size",
        }
    }
}

impl fmt::Display for FreeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// One region and what is lent of it. `B` is the storage: a slice, an array in a box, a kernel vector.
#[derive(Debug)]
pub struct Reserve<B> {
    base: u64,
    pages: u64,
    guard_pages: u64,
    count: usize,
    storage: B,
}

impl<T, B> Reserve<B>
where
    T: Copy + Default + 'static,
    B: DerefMut<Target = [Extent<T>]>,
{
    /// Takes over a region of `bytes` at `base`. At most `storage.len()` buffers can be lent at a time.
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
            storage,
        })
    }

    /// Physical address of the region.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Bytes of the region.
    pub fn bytes(&self) -> u64 {
        self.pages.saturating_mul(PAGE)
    }

    /// Pages kept free on each side of a buffer.
    pub fn guard_pages(&self) -> u64 {
        self.guard_pages
    }

    /// What is lent, ascending by address.
    pub fn used(&self) -> &[Extent<T>] {
        self.storage.get(..self.count).unwrap_or(&[])
    }

    /// Bytes that belong to no buffer's footprint.
    pub fn free_bytes(&self) -> u64 {
        self.gaps().fold(0, |sum, (_, start, end)| {
            sum.saturating_add(end.saturating_sub(start))
        })
    }

    /// Bytes of the largest buffer that could be lent now without any other wish, guards left off.
    pub fn largest_free(&self) -> u64 {
        let guards = self.guard_bytes().saturating_mul(2);
        self.gaps().fold(0, |best, (_, start, end)| {
            best.max(end.saturating_sub(start).saturating_sub(guards))
        })
    }

    /// Lends the lowest place that fits.
    pub fn allocate(&mut self, request: Request, tag: T) -> Result<Extent<T>, AllocateError> {
        let wish = Wish::new(request, self.guard_bytes())?;
        if self.count >= self.storage.len() {
            return Err(AllocateError::TooManyBuffers);
        }
        let found = self
            .gaps()
            .find_map(|(index, start, end)| Some((index, wish.place(start, end)?)));
        let Some((index, base)) = found else {
            let unlimited = Wish {
                limit: u64::MAX,
                ..wish
            };
            let room = self
                .gaps()
                .any(|(_, start, end)| unlimited.place(start, end).is_some());
            return Err(if room {
                AllocateError::NoRoomBelowLimit
            } else {
                AllocateError::NoRoom
            });
        };
        let extent = Extent {
            base,
            bytes: request.bytes,
            pages: wish.pages,
            tag,
        };
        let Some(shifted) = self.storage.get_mut(index..=self.count) else {
            return Err(AllocateError::TooManyBuffers);
        };
        shifted.rotate_right(1);
        if let Some(slot) = shifted.first_mut() {
            *slot = extent;
        }
        self.count = self.count.saturating_add(1);
        Ok(extent)
    }

    /// Takes back the buffer of `bytes` (as asked for) at `base`.
    pub fn free(&mut self, base: u64, bytes: u64) -> Result<Extent<T>, FreeError> {
        if base < self.base || base >= self.end() {
            return Err(FreeError::Outside);
        }
        let index = self
            .used()
            .binary_search_by_key(&base, |extent| extent.base)
            .map_err(|_| FreeError::NotABuffer)?;
        let extent = *self.used().get(index).ok_or(FreeError::NotABuffer)?;
        if extent.bytes != bytes {
            return Err(FreeError::WrongSize {
                bytes: extent.bytes,
            });
        }
        if let Some(shifted) = self.storage.get_mut(index..self.count) {
            shifted.rotate_left(1);
            if let Some(slot) = shifted.last_mut() {
                *slot = Extent::default();
            }
        }
        self.count = self.count.saturating_sub(1);
        Ok(extent)
    }

    /// Tells whether invariants 1 to 3 hold.
    pub fn check(&self) -> bool {
        let region = self.pages > 0
            && is_page_aligned(self.base)
            && self
                .pages
                .checked_mul(PAGE)
                .and_then(|bytes| self.base.checked_add(bytes))
                .is_some()
            && self.count <= self.storage.len();
        let guard = self.guard_bytes();
        let mut free_from = self.base;
        region
            && self.used().iter().all(|extent| {
                let footprint = extent
                    .base
                    .checked_sub(guard)
                    .zip(extent.end().checked_add(guard));
                let Some((start, end)) = footprint else {
                    return false;
                };
                let fits = start >= free_from && end <= self.end();
                free_from = end;
                fits && is_page_aligned(extent.base)
                    && extent.bytes >= 1
                    && extent.pages == extent.bytes.div_ceil(PAGE)
            })
    }

    /// The free ranges as (index of the extent that follows, start, end), ascending; some are empty.
    fn gaps(&self) -> impl Iterator<Item = (usize, u64, u64)> + '_ {
        let guard = self.guard_bytes();
        let starts = core::iter::once(self.base).chain(
            self.used()
                .iter()
                .map(move |extent| extent.end().saturating_add(guard)),
        );
        let ends = self
            .used()
            .iter()
            .map(move |extent| extent.base.saturating_sub(guard))
            .chain(core::iter::once(self.end()));
        starts
            .zip(ends)
            .enumerate()
            .map(|(index, (start, end))| (index, start, end))
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

/// A request that makes sense, in the form that the search uses.
struct Wish {
    bytes: u64,
    pages: u64,
    /// Bytes of `pages`.
    length: u64,
    guard: u64,
    alignment: u64,
    boundary: u64,
    /// The last byte of the last page lies at or below this.
    limit: u64,
}

impl Wish {
    fn new(request: Request, guard: u64) -> Result<Self, AllocateError> {
        let Request {
            bytes,
            address_bits,
            alignment,
            boundary,
        } = request;
        if bytes == 0 {
            return Err(AllocateError::Empty);
        }
        let spare = 64u32
            .checked_sub(address_bits)
            .ok_or(AllocateError::AddressBits)?;
        let limit = u64::MAX
            .checked_shr(spare)
            .ok_or(AllocateError::AddressBits)?;
        if !alignment.is_power_of_two() {
            return Err(AllocateError::Alignment);
        }
        if boundary != 0 && (!boundary.is_power_of_two() || boundary < bytes) {
            return Err(AllocateError::Boundary);
        }
        let pages = bytes.div_ceil(PAGE);
        let length = pages.checked_mul(PAGE).ok_or(AllocateError::NoRoom)?;
        let alignment = alignment.max(PAGE);
        Ok(Wish {
            bytes,
            pages,
            length,
            guard,
            alignment,
            boundary,
            limit,
        })
    }

    /// The lowest base in the gap from `start` to `end` that fits, guards included.
    fn place(&self, start: u64, end: u64) -> Option<u64> {
        let mut base = start
            .checked_add(self.guard)?
            .checked_next_multiple_of(self.alignment)?;
        if self.crosses(base)? {
            // Both are powers of two, so the greater is a multiple of the lesser; and from a multiple of
            // the boundary the bytes cannot cross the next one.
            base = base.checked_next_multiple_of(self.boundary.max(self.alignment))?;
        }
        let last = base.checked_add(self.length.checked_sub(1)?)?;
        let fits = last.checked_add(1)?.checked_add(self.guard)? <= end && last <= self.limit;
        fits.then_some(base)
    }

    /// Whether the bytes at `base` cross a multiple of the boundary.
    fn crosses(&self, base: u64) -> Option<bool> {
        let last = base.checked_add(self.bytes.checked_sub(1)?)?;
        let block = |address: u64| address.checked_div(self.boundary);
        Some(block(base) != block(last))
    }
}
