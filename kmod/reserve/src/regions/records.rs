// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What regions tell: zones, reasons to refuse, counters, listings.

use super::super::allocator::{Extent, Reserve};
use core::fmt;

/// What a region's place means for cards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Zone {
    /// All below 16 MiB: 24 address bits.
    #[default]
    Dma,
    /// All below 4 GiB: 32 address bits.
    Dma32,
    /// The rest.
    Normal,
}

impl Zone {
    /// Every zone, the highest first.
    pub const ALL: [Zone; 3] = [Zone::Normal, Zone::Dma32, Zone::Dma];

    /// The zone of a region that ends with the byte at `last`.
    pub const fn of(last: u64) -> Self {
        match last >> 24 {
            0 => Zone::Dma,
            1..=0xff => Zone::Dma32,
            _ => Zone::Normal,
        }
    }

    /// Its name in listings.
    pub const fn name(self) -> &'static str {
        match self {
            Zone::Dma => "dma",
            Zone::Dma32 => "dma32",
            Zone::Normal => "normal",
        }
    }
}

/// A region that was refused, given back.
#[derive(Debug)]
pub struct Refused<B, M> {
    /// The reason.
    pub why: AddError,
    /// The region.
    pub reserve: Reserve<B>,
    /// What belongs to it.
    pub meta: M,
}

/// Why a region was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddError {
    /// There are [`MAX_REGIONS`](super::MAX_REGIONS), or all ids are used up.
    Full,
    /// Buffers are lent of it already.
    Lent,
    /// A page of it is a page of the region `id`.
    Overlap {
        /// Which.
        id: u32,
    },
}

impl AddError {
    /// The reason, in words.
    pub const fn text(&self) -> &'static str {
        match self {
            AddError::Full => "there are too many regions",
            AddError::Lent => "buffers are lent of it already",
            AddError::Overlap { .. } => "it overlaps another region",
        }
    }
}

impl fmt::Display for AddError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Why a region was not removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoveError {
    /// There is none with this id.
    Unknown,
    /// Buffers of it are lent or returning.
    Busy {
        /// How many.
        buffers: usize,
    },
}

impl RemoveError {
    /// The reason, in words.
    pub const fn text(&self) -> &'static str {
        match self {
            RemoveError::Unknown => "there is no such region",
            RemoveError::Busy { .. } => "buffers of it are lent",
        }
    }
}

impl fmt::Display for RemoveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// What happened since the start. Numbers stop at their greatest value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Buffers that were lent.
    pub allocations: u64,
    /// Requests that got none.
    pub failed_allocations: u64,
    /// Buffers that were taken back, or are being.
    pub frees: u64,
    /// Frees of what was not lent.
    pub refused_frees: u64,
    /// Bytes of the pages of what is lent now.
    pub lent_bytes: u64,
    /// The most that `lent_bytes` ever was.
    pub peak_bytes: u64,
}

/// A region, described.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegionInfo {
    /// Its number.
    pub id: u32,
    /// By its last byte.
    pub zone: Zone,
    /// Physical address of its first byte.
    pub base: u64,
    /// Bytes of its span, holes included.
    pub bytes: u64,
    /// Pages on each side of each buffer.
    pub guard_pages: u64,
    /// Bytes that are neither taken nor holes.
    pub free_bytes: u64,
    /// Bytes of the largest buffer that could be lent now.
    pub largest_free: u64,
    /// Pages that are not holes.
    pub pages: u64,
    /// Pieces between the holes.
    pub pieces: u64,
    /// Buffers that are lent.
    pub buffers: usize,
    /// Buffers that are being taken back.
    pub returning: usize,
}

/// A buffer in a listing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listed<T> {
    /// Which region it lies in.
    pub region: u32,
    /// Where; the tag is its owner.
    pub extent: Extent<T>,
}

/// A free range or a hole in a listing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// Which region it lies in.
    pub region: u32,
    /// That region's zone.
    pub zone: Zone,
    /// Physical address of its first byte.
    pub start: u64,
    /// Address after its last byte.
    pub end: u64,
}
