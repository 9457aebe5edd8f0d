// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What user space asks of `/dev/landfall-pool`: ioctl numbers and their structures.
//!
//! Compiled twice: by the pool and, unchanged, by the guest agent. All structures are `repr(C)`, without
//! padding holes, and hold only plain integers, so that every bit pattern is valid.
//!
//! A buffer belongs to the open file that took it. It goes back to the pool when the last of these is gone:
//! the file (closed, or its process dead by whatever signal), every mmap of it, every dma-buf made of it.

/// The ioctl type byte of all commands below.
pub(crate) const TYPE: u32 = b'P' as u32;

/// Builds the number of an ioctl that reads and writes `T` (`_IOWR` of `asm-generic/ioctl.h`).
const fn iowr<T>(number: u32) -> u32 {
    (3 << 30) | ((core::mem::size_of::<T>() as u32) << 16) | (TYPE << 8) | number
}

/// Takes a buffer. Argument: [`Allocate`]. `EINVAL` for a request that makes no sense, `ENOMEM` if no place
/// fits, `ENOSPC` if too many buffers are lent.
pub(crate) const ALLOCATE: u32 = iowr::<Allocate>(0);
/// Lets go of a buffer. Argument: [`Handle`]. `ENOENT` if this file has no such buffer.
pub(crate) const FREE: u32 = iowr::<Handle>(1);
/// Makes a dma-buf of a buffer. Argument: [`Export`].
pub(crate) const EXPORT: u32 = iowr::<Export>(2);
/// Adds a region to the pool. Argument: [`Grow`]. Errors as at loading: `EINVAL`, `ENODEV`, `ENOMEM`,
/// `ERANGE`; `ENOSPC` if there are 16 already. Needs `CAP_SYS_ADMIN`.
pub(crate) const GROW: u32 = iowr::<Grow>(3);
/// Gives a region back to where it came from. Argument: [`Shrink`]. `EBUSY` while a buffer of it is lent,
/// `ENOENT` if there is no such region. Needs `CAP_SYS_ADMIN`.
pub(crate) const SHRINK: u32 = iowr::<Shrink>(4);
/// Makes a region of memory that this process has mapped and that is physically in one piece (hugetlb).
/// The pages stay pinned until the region is given back. Argument: [`Adopt`]. `ERANGE` if it is not in one
/// piece. Needs `CAP_SYS_ADMIN`.
pub(crate) const ADOPT: u32 = iowr::<Adopt>(5);
/// Takes memory from a source and gives it back, over and over, and tells how long each took; the pool
/// itself stays as it is. Argument: [`Measure`]. Needs `CAP_SYS_ADMIN`.
pub(crate) const MEASURE: u32 = iowr::<Measure>(6);

/// Most rounds of [`MEASURE`].
pub(crate) const MAX_ROUNDS: u32 = 10_000;

/// [`Allocate::flags`]: the CPU's mappings of it, the kernel's own included, are uncached. `EOPNOTSUPP` for
/// memory that the kernel does not have in its direct map (carve-outs), and where it cannot change that map (arm64).
pub(crate) const UNCACHED: u32 = 1;
/// [`Allocate::flags`]: the smallest gap that fits instead of the lowest.
pub(crate) const BEST_FIT: u32 = 2;

/// Argument of [`ALLOCATE`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allocate {
    /// In: bytes, at least 1; whole pages are lent.
    pub(crate) bytes: u64,
    /// In: the base is a multiple of this, a power of two; 0: a page.
    pub(crate) alignment: u64,
    /// In: the bytes do not cross a multiple of this, a power of two; 0: no such limit.
    pub(crate) boundary: u64,
    /// In: exactly this physical address, page aligned; 0: anywhere.
    pub(crate) at: u64,
    /// In: every byte lies below `2^address_bits`, 1 to 64; 0: 64.
    pub(crate) address_bits: u32,
    /// In: [`UNCACHED`], [`BEST_FIT`].
    pub(crate) flags: u32,
    /// Out: physical address.
    pub(crate) phys: u64,
    /// Out: bytes of its pages.
    pub(crate) allocated: u64,
    /// Out: offset for mmap, readable and writable.
    pub(crate) mmap_offset: u64,
    /// Out: for the other commands; of this file only.
    pub(crate) handle: u32,
    /// Always 0.
    pub(crate) reserved: u32,
}

/// Argument of [`FREE`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Handle {
    /// In: which buffer.
    pub(crate) handle: u32,
    /// Always 0.
    pub(crate) reserved: u32,
}

/// Argument of [`EXPORT`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Export {
    /// In: which buffer.
    pub(crate) handle: u32,
    /// Out: a file descriptor of the dma-buf, close-on-exec; mmap works on it.
    pub(crate) fd: i32,
}

/// Argument of [`GROW`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grow {
    /// In: the source's name, zero-padded.
    pub(crate) source: [u8; 16],
    /// In: pages; 0: the source's default.
    pub(crate) pages: u64,
    /// In: every byte lies below `2^address_bits`, 12 to 64; 0: 64.
    pub(crate) address_bits: u32,
    /// Out: the region's number.
    pub(crate) region: u32,
    /// Out: how it went.
    pub(crate) taken: Taken,
}

/// What a source gave.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Lowest physical address.
    pub(crate) base: u64,
    /// Bytes from there to the end of the highest page, those between that are not the pool's included.
    pub(crate) span: u64,
    /// Pages that can be lent.
    pub(crate) pages: u64,
    /// Pages taken from the kernel and not usable: rounding up to what the source can give.
    pub(crate) waste: u64,
    /// Pieces that are each physically contiguous; 1: all in one.
    pub(crate) pieces: u64,
    /// Pages of the longest.
    pub(crate) longest: u64,
    /// Pages that the source took while it looked, those it returned included.
    pub(crate) touched: u64,
    /// Nanoseconds that taking took.
    pub(crate) take_ns: u64,
}

/// Argument of [`SHRINK`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shrink {
    /// In: which.
    pub(crate) region: u32,
    /// Out: 1: the kernel has the memory again; 0: memory kept at boot stays kept.
    pub(crate) given_back: u32,
    /// Out: nanoseconds that giving back took.
    pub(crate) give_ns: u64,
}

/// Argument of [`ADOPT`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Adopt {
    /// In: address in this process, page aligned.
    pub(crate) address: u64,
    /// In: bytes, a multiple of the page size.
    pub(crate) bytes: u64,
    /// Out: the region's number.
    pub(crate) region: u32,
    /// Always 0.
    pub(crate) reserved: u32,
    /// Out: how it went.
    pub(crate) taken: Taken,
}

/// Argument of [`MEASURE`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Measure {
    /// In: the source's name, zero-padded.
    pub(crate) source: [u8; 16],
    /// In: pages.
    pub(crate) pages: u64,
    /// In: as [`Grow::address_bits`].
    pub(crate) address_bits: u32,
    /// In: how often, 1 to [`MAX_ROUNDS`].
    pub(crate) rounds: u32,
    /// In: address of `rounds` pairs of u64 in this process; out: nanoseconds of taking and of giving back.
    pub(crate) times: u64,
    /// Out: what the last round gave.
    pub(crate) taken: Taken,
}
