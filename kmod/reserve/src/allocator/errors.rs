// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Why the allocator refused: one type for each thing that can be asked of it.

use core::fmt;

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

/// Why a hole was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExcludeError {
    /// It has no page.
    Empty,
    /// Its base or its size is not a multiple of a page.
    Unaligned,
    /// It is not all inside the region.
    Outside,
    /// A buffer, its guard pages or another hole lies there.
    Taken,
    /// The storage has no free entry.
    TooMany,
}

impl ExcludeError {
    /// The reason, in words.
    pub const fn text(&self) -> &'static str {
        match self {
            ExcludeError::Empty => "the hole has no page",
            ExcludeError::Unaligned => "the hole is not page aligned",
            ExcludeError::Outside => "the hole is not inside the region",
            ExcludeError::Taken => "a buffer or another hole lies there",
            ExcludeError::TooMany => "there are too many holes",
        }
    }
}

impl fmt::Display for ExcludeError {
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
    /// `at` is not aligned as asked, or bytes from there cross the boundary or pass the address limit.
    At,
    /// The storage has no free entry.
    TooManyBuffers,
    /// No gap is long enough.
    NoRoom,
    /// There is a gap, but none that ends below the address limit.
    NoRoomBelowLimit,
    /// The place that `at` names is taken, in part or whole, or it is not all inside the region; guard
    /// pages count.
    Taken,
}

impl AllocateError {
    /// The reason, in words.
    pub const fn text(&self) -> &'static str {
        match self {
            AllocateError::Empty => "0 bytes were asked for",
            AllocateError::AddressBits => "the address width is not 1 to 64 bits",
            AllocateError::Alignment => "the alignment is not a power of two",
            AllocateError::Boundary => "the boundary is no power of two that holds the buffer",
            AllocateError::At => "the address asked for does not fit the other wishes",
            AllocateError::TooManyBuffers => "too many buffers are lent",
            AllocateError::NoRoom => "no gap is long enough",
            AllocateError::NoRoomBelowLimit => "no gap is low enough for the card's address width",
            AllocateError::Taken => "the place asked for is taken or outside the pool",
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
    /// The address lies outside the region, or in a hole.
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
