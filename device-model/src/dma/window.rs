// SPDX-License-Identifier: MIT OR Apache-2.0

//! The window: one file of guest memory, mapped whole and once.
//!
//! This is the only place of the crate that touches memory it shares with somebody else. The pointers are
//! vm-memory's: its volatile slices make no reference to the shared bytes, so a guest that writes them at
//! the same time costs us a torn value, never soundness. The crate itself forbids unsafe code.
//!
//! A peer that shrinks the file under the window makes the process die of SIGBUS. QEMU seals its own
//! memory files against that; nothing else protects us.

use std::fs::File;

use vm_memory::bitmap::BitmapSlice;
use vm_memory::mmap::MmapRegionError;
use vm_memory::{
    Bytes, FileOffset, MmapRegion, VolatileMemory, VolatileMemoryError, VolatileSlice,
};

/// Why a file could not be mapped.
#[derive(Debug, thiserror::Error)]
pub enum WindowError {
    /// Its identity or length could not be asked.
    #[error("cannot examine the memory file")]
    Examine(#[source] std::io::Error),
    /// The mapping asks for bytes past the end of the file.
    #[error("mapping of {needed} bytes passes the end of the file, {length} bytes")]
    PastEnd {
        /// Bytes of the file that the mapping needs.
        needed: u64,
        /// Bytes that the file has.
        length: u64,
    },
    /// The system refused the mapping.
    #[error("cannot map the memory file")]
    Map(#[source] MmapRegionError),
}

/// A file of memory, mapped from its start to its end.
#[derive(Debug)]
pub(super) struct Window {
    region: MmapRegion,
    writable: bool,
}

impl Window {
    /// Maps the whole of `file`, for reading and if it can be had for writing too.
    pub(super) fn new(file: File, length: u64) -> Result<Self, WindowError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let file = FileOffset::new(file, 0);
        let both = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_NORESERVE;
        match MmapRegion::build(Some(file.clone()), length, both, flags) {
            Ok(region) => Ok(Self {
                region,
                writable: true,
            }),
            Err(_) => MmapRegion::build(Some(file), length, libc::PROT_READ, flags)
                .map(|region| Self {
                    region,
                    writable: false,
                })
                .map_err(WindowError::Map),
        }
    }

    /// Bytes from the start of the file that can be reached.
    pub(super) fn length(&self) -> u64 {
        self.region.size() as u64
    }

    /// Whether the file let itself be mapped for writing.
    pub(super) fn writable(&self) -> bool {
        self.writable
    }

    /// Copies `into.len()` bytes at `offset` of the file out of it.
    pub(super) fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), VolatileMemoryError> {
        self.slice(offset, into.len())?.read_slice(into, 0)
    }

    /// Copies `from` into the file at `offset`. The window must be writable.
    pub(super) fn write(&self, offset: u64, from: &[u8]) -> Result<(), VolatileMemoryError> {
        debug_assert!(self.writable, "the map checks this");
        self.slice(offset, from.len())?.write_slice(from, 0)
    }

    fn slice(
        &self,
        offset: u64,
        length: usize,
    ) -> Result<VolatileSlice<'_, impl BitmapSlice>, VolatileMemoryError> {
        let addr = usize::try_from(offset)
            .map_err(|_| VolatileMemoryError::OutOfBounds { addr: usize::MAX })?;
        self.region.get_slice(addr, length)
    }
}
