// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the driver did, as the witness in the guest tells it.

use serde::{Deserialize, Serialize};

/// Which way a lend may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LendDirection {
    /// The card may write it.
    FromDevice,
    /// The card may read it.
    ToDevice,
    /// Both.
    Both,
}

/// Which call the driver made. What lends comes before it takes effect for the driver, what takes back before
/// the memory can be anyone else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// `dma_map_single`, `dma_map_page`: streaming.
    Map,
    /// `dma_map_sg`: one event for each mapped segment.
    MapList,
    /// A mapping that failed; `address` is all-ones, as the driver sees it.
    MapFailed,
    /// `dma_unmap_single`, `dma_unmap_page`.
    Unmap,
    /// `dma_unmap_sg`: one event for each mapped segment.
    UnmapList,
    /// `dma_alloc_coherent` and its like.
    Alloc,
    /// `dma_free_coherent` and its like.
    Free,
    /// `dma_pool_alloc`: a block of memory that was allocated for the pool.
    BlockAlloc,
    /// `dma_pool_free`.
    BlockFree,
    /// `dma_iova_link`: memory at some of the bus addresses that the driver has of its own.
    Link,
    /// `dma_iova_unlink`, `dma_iova_destroy`: all that was linked there comes back.
    Unlink,
    /// `dma_sync_single_for_cpu`, `dma_sync_sg_for_cpu`: the CPU's for now.
    SyncForCpu,
    /// `dma_sync_single_for_device`, `dma_sync_sg_for_device`: the device's again.
    SyncForDevice,
    /// A vb2 buffer was handed to the driver (`vb2_buf_queue`).
    Queue,
    /// A vb2 buffer went back to its user (`vb2_buf_done`).
    Done,
    /// The pool lent memory, which may never pass the DMA API; `address` is physical.
    PoolLend,
    /// The pool got it back.
    PoolReturn,
}

impl Call {
    /// The kernel's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Map => "dma_map_single or page",
            Self::MapList => "dma_map_sg",
            Self::MapFailed => "a mapping that failed",
            Self::Unmap => "dma_unmap_single or page",
            Self::UnmapList => "dma_unmap_sg",
            Self::Alloc => "dma_alloc_coherent",
            Self::Free => "dma_free_coherent",
            Self::BlockAlloc => "dma_pool_alloc",
            Self::BlockFree => "dma_pool_free",
            Self::Link => "dma_iova_link",
            Self::Unlink => "dma_iova_unlink or destroy",
            Self::SyncForCpu => "dma_sync for the CPU",
            Self::SyncForDevice => "dma_sync for the device",
            Self::Queue => "vb2_buf_queue",
            Self::Done => "vb2_buf_done",
            Self::PoolLend => "the pool lends",
            Self::PoolReturn => "the pool gets back",
        }
    }
}

/// What kind of memory was lent, as far as it must not be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Memory {
    /// Ordinary.
    #[default]
    Plain,
    /// The kernel's text or read-only data.
    Text,
    /// A stack.
    Stack,
    /// No RAM behind it: vmalloc space, or nothing at all.
    Invalid,
}

/// A call of the driver's, as the witness saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverCall {
    /// Which.
    pub call: Call,
    /// Number of the event, from 0 without gaps.
    pub number: u64,
    /// First bus address.
    pub address: u64,
    /// CPU physical address of the first byte; all-ones: not told.
    pub phys: u64,
    /// Bytes, as the caller gave them.
    pub length: u64,
    /// Which way, as the caller gave it; both for coherent memory.
    pub direction: LendDirection,
    /// Entries of the scatterlist, as the caller gave them; 0: none.
    pub entries: u32,
    /// Which segment of the list this is, from 0.
    pub part: u32,
    /// The list that this is a segment of: the number of its first event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<u64>,
    /// What kind of memory.
    pub memory: Memory,
    /// CPU and device see each other's bytes only through syncs: a bounce buffer is between them.
    pub bounced: bool,
    /// It was mapped without a sync (`DMA_ATTR_SKIP_CPU_SYNC`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub skip_sync: bool,
    /// It was allocated for a `dma_pool`: only blocks of it are lent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backing: bool,
    /// Where in the guest's kernel it was called, see [`super::Kind::Symbol`]; 0: not known.
    pub caller: u64,
    /// The guest's CPU.
    pub cpu: u16,
    /// The guest's monotonic clock, nanoseconds.
    pub guest_ns: u64,
}

/// Where a driver is in its life with a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriverState {
    /// Its probe is about to run.
    Binding,
    /// Its probe was content.
    Bound,
    /// Its probe refused.
    NotBound,
    /// Its remove is about to run.
    Unbinding,
    /// Its remove is over: nothing may be lent any more.
    Unbound,
}
