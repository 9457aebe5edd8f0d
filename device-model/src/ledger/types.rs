// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the ledger is told: the machine, and what is lent.

use serde::{Deserialize, Serialize};

use crate::journal::LendDirection;

/// A range of addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Range {
    /// First address.
    pub start: u64,
    /// Bytes.
    pub length: u64,
}

impl Range {
    /// The first address after it; saturates.
    pub const fn end(&self) -> u64 {
        self.start.saturating_add(self.length)
    }

    /// Whether every byte of `length` bytes at `address` lies in it.
    pub const fn contains(&self, address: u64, length: u64) -> bool {
        address >= self.start && address.saturating_add(length) <= self.end()
    }

    /// Whether some byte of `length` bytes at `address` lies in it.
    pub const fn overlaps(&self, address: u64, length: u64) -> bool {
        address < self.end() && self.start < address.saturating_add(length)
    }

    /// Bytes between it and `length` bytes at `address`; 0 if they touch or overlap.
    pub const fn distance(&self, address: u64, length: u64) -> u64 {
        if address >= self.end() {
            address - self.end()
        } else {
            self.start.saturating_sub(address.saturating_add(length))
        }
    }
}

/// What the machine is like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Platform {
    /// Bus addresses at which there is RAM. Empty: not known, not checked.
    pub ram: Vec<Range>,
    /// Bus addresses of the pools that frames must come from. Empty: not known, not checked.
    pub pool: Vec<Range>,
    /// The card is behind an IOMMU, so that what the machine maps for it is what the guest's IOMMU lets it
    /// reach.
    pub iommu: bool,
    /// Bytes of a cache line, where CPU and devices do not see each other's writes by themselves; 0: they do, as on x86, or
    /// nobody is to judge as if they did not.
    pub cache_line: u64,
}

/// What a lend is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LendKind {
    /// A frame.
    Frame,
    /// A clip mask.
    Clip,
    /// The self-test area: lent for as long as the driver is bound.
    SelfTest,
    /// A streaming mapping of the DMA API, as the witness saw it.
    Streaming,
    /// Coherent memory of the DMA API, as the witness saw it.
    Coherent,
    /// A block of a `dma_pool`, as the witness saw it.
    Block,
    /// A vb2 buffer in the hands of the driver.
    Buffer,
    /// Memory of the pool.
    Pool,
}

/// A range that the driver mapped for the card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lend {
    /// First bus address.
    pub address: u64,
    /// Bytes.
    pub length: u64,
    /// Which way it may be used.
    pub direction: LendDirection,
    /// What it is for.
    pub kind: LendKind,
    /// Slot that it belongs to; `None` for the self-test.
    pub slot: Option<u32>,
    /// How to call it in a report.
    pub label: String,
}

impl Lend {
    /// Its addresses.
    pub const fn range(&self) -> Range {
        Range {
            start: self.address,
            length: self.length,
        }
    }
}
