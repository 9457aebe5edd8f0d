// SPDX-License-Identifier: MIT OR Apache-2.0

//! Requests about `/dev/landfall-pool`, the pool as user space of the guest sees it; `kmod/pool/uapi.rs` says what
//! each does.
//!
//! Files and mappings have numbers that the agent chooses. A dma-buf's number is its file descriptor in the agent,
//! so that the parameter of a module that the agent loads can name it.

use serde::{Deserialize, Serialize};

/// What the harness can ask of the pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PoolRequest {
    /// Opens the device file once more. Answers [`PoolReply::File`].
    Open,
    /// Closes one of these files. Mappings and dma-bufs made through it stay.
    Close {
        /// Which file.
        file: u32,
    },
    /// Takes a buffer. Answers [`PoolReply::Buffer`].
    Allocate {
        /// Through which file.
        file: u32,
        /// What it must be like.
        wanted: PoolWanted,
    },
    /// Lets go of a buffer.
    Free {
        /// Of which file.
        file: u32,
        /// Which buffer.
        handle: u32,
    },
    /// Makes a dma-buf. Answers [`PoolReply::DmaBuf`].
    Export {
        /// Of which file.
        file: u32,
        /// Which buffer.
        handle: u32,
    },
    /// Closes a dma-buf's file descriptor. Mappings of it stay.
    CloseDmaBuf {
        /// Its number.
        fd: i32,
    },
    /// Maps a buffer or a dma-buf, readable and writable. Answers [`PoolReply::Mapping`].
    Map {
        /// Which.
        of: Mappable,
    },
    /// Unmaps.
    Unmap {
        /// Which mapping.
        mapping: u32,
    },
    /// Reads from a mapping, to its end at most. Answers [`super::Reply::Data`].
    Read {
        /// Which mapping.
        mapping: u32,
        /// First byte.
        offset: u64,
        /// Bytes; at most [`super::MAX_DATA`].
        length: u32,
    },
    /// Writes to a mapping; `EINVAL`, and nothing is written, if it does not fit.
    Write {
        /// Which mapping.
        mapping: u32,
        /// First byte.
        offset: u64,
        /// What to write.
        data: Vec<u8>,
    },
    /// Copies the whole of one mapping to another of the same size, over and over. Answers [`super::Reply::Times`],
    /// one for each copy.
    Copy {
        /// Read from.
        from: u32,
        /// Written to.
        to: u32,
        /// How often; at most [`super::MAX_TIMES`].
        count: u32,
    },
    /// Adds a region. Answers [`PoolReply::Region`].
    Grow {
        /// Through which file.
        file: u32,
        /// The source's name, at most 16 bytes.
        source: String,
        /// Pages; 0: the source's default.
        pages: u64,
        /// Address limit, as in `uapi.rs`.
        address_bits: u32,
    },
    /// Gives a region back. Answers [`PoolReply::GivenBack`].
    Shrink {
        /// Through which file.
        file: u32,
        /// Which region.
        region: u32,
    },
    /// Makes a region of huge pages: of all that are free, the lowest that lie in a row. `ENOMEM` if there are not as
    /// many, `ERANGE` if they are not in one piece. Answers [`PoolReply::Region`].
    Adopt {
        /// Through which file.
        file: u32,
        /// Bytes; whole huge pages.
        bytes: u64,
        /// Size of a huge page, as a power of two: 21 or 30.
        page_shift: u32,
    },
    /// Times a source. Answers [`PoolReply::Measured`].
    Measure {
        /// Through which file.
        file: u32,
        /// The source's name, at most 16 bytes.
        source: String,
        /// Pages.
        pages: u64,
        /// Address limit, as in `uapi.rs`.
        address_bits: u32,
        /// How often; `uapi.rs` says how often at most.
        rounds: u32,
    },
    /// Starts a process that takes a buffer, maps it, fills it with [`held_word`], and waits. Answers
    /// [`PoolReply::Held`] when it has done so.
    Hold {
        /// Bytes, a multiple of 8.
        bytes: u64,
        /// Of uncached memory.
        uncached: bool,
    },
    /// Kills such a process (`SIGKILL`) and waits until it is gone. Answers [`PoolReply::Ended`].
    KillHolder {
        /// Its process number.
        process: i32,
    },
}

/// What can be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mappable {
    /// A buffer, through the file that took it.
    Buffer {
        /// Of which file.
        file: u32,
        /// Which buffer.
        handle: u32,
    },
    /// A dma-buf, by its number.
    DmaBuf {
        /// Its number.
        fd: i32,
    },
}

/// What a buffer must be like; see `Allocate` in `uapi.rs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "the fields are those of uapi.rs, documented there"
)]
pub struct PoolWanted {
    pub bytes: u64,
    pub alignment: u64,
    pub boundary: u64,
    pub at: u64,
    pub address_bits: u32,
    pub uncached: bool,
    pub best_fit: bool,
}

/// A buffer of the pool that user space has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolBuffer {
    /// Its number, of its file only.
    pub handle: u32,
    /// Physical address.
    pub phys: u64,
    /// Bytes of its pages.
    pub allocated: u64,
}

/// What a source gave; see `Taken` in `uapi.rs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "the fields are those of uapi.rs, documented there"
)]
pub struct Taken {
    pub base: u64,
    pub span: u64,
    pub pages: u64,
    pub waste: u64,
    pub pieces: u64,
    pub longest: u64,
    pub touched: u64,
    pub take_ns: u64,
}

/// What the pool answers, besides [`super::Reply::Done`], `Data` and `Times`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PoolReply {
    /// A file was opened; its number.
    File(u32),
    /// A buffer was taken.
    Buffer(PoolBuffer),
    /// A dma-buf was made; its number.
    DmaBuf(i32),
    /// Something was mapped.
    Mapping {
        /// Its number.
        mapping: u32,
        /// Bytes.
        bytes: u64,
    },
    /// A region was added.
    Region {
        /// Its number.
        region: u32,
        /// How that went.
        taken: Taken,
    },
    /// A region was given back.
    GivenBack {
        /// The kernel has its memory again.
        returned: bool,
        /// Nanoseconds that it took.
        give_ns: u64,
    },
    /// A source was timed.
    Measured {
        /// Nanoseconds of taking and of giving back, for each round.
        times: Vec<(u64, u64)>,
        /// What the last round gave.
        taken: Taken,
    },
    /// A process has a buffer.
    Held {
        /// Its process number.
        process: i32,
        /// Physical address.
        phys: u64,
        /// Bytes of its pages.
        allocated: u64,
    },
    /// A process is gone: its exit status, 128 + n if signal n ended it.
    Ended(i32),
}

/// The word, little endian, that a holder writes at `index` (in words of eight bytes) of a buffer at `phys`: no two
/// places have the same.
pub const fn held_word(phys: u64, index: u64) -> u64 {
    (phys ^ index.wrapping_mul(8)).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x6c61_6e64_6661_6c6c
}
