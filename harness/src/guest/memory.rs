// SPDX-License-Identifier: MIT OR Apache-2.0

//! Guest memory as the host sees it: the third view, which asks neither driver nor card.
//!
//! The harness makes the memory file and QEMU maps it shared, so that what a card or the guest writes is in
//! the file at once. It is read with `pread`, never mapped here: a guest that changes memory meanwhile can
//! make the harness see old or new bytes, and nothing else. Pages that nobody touched take no memory.

use std::fs::{File, Permissions};
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// One run of RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ram {
    /// First physical address.
    pub phys: u64,
    /// Bytes.
    pub length: u64,
    /// Where it begins in the memory file.
    pub offset: u64,
}

impl Ram {
    /// Its physical addresses.
    pub fn range(&self) -> Range<u64> {
        self.phys..self.phys + self.length
    }
}

/// Guest memory could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a memory file of {} MiB for the guest", bytes >> 20)]
pub struct MemoryError {
    /// Bytes wanted.
    pub bytes: u64,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// A range that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {length} bytes of guest memory at {address:#x}")]
pub struct ReadError {
    /// Physical address of the first byte.
    pub address: u64,
    /// Bytes.
    pub length: usize,
    /// Why not; `InvalidInput` if some of it is not RAM.
    #[source]
    pub source: io::Error,
}

/// A file without a place that QEMU inherits: this user's alone, and of the size that `fill` gives it for good. Who has it mapped must
/// not die of it, whoever finds the descriptor.
pub(crate) fn sealed(
    name: &str,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<File> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let mut file = File::from(memfd_create(name, flags)?);
    file.set_permissions(Permissions::from_mode(0o600))?;
    fill(&mut file)?;
    let seals = SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file)
}

/// The memory of one guest.
#[derive(Debug)]
pub struct GuestMemory {
    file: File,
    ram: Vec<Ram>,
    bytes: u64,
}

impl GuestMemory {
    /// Makes the file of a machine with this RAM, which fills it from its start to its end; see
    /// [`Board::ram`](crate::guest::Board::ram).
    ///
    /// # Errors
    /// See [`MemoryError`].
    pub fn new(ram: Vec<Ram>) -> Result<Self, MemoryError> {
        let bytes = ram.iter().map(|ram| ram.length).sum();
        let file = sealed("landfall-guest", |file| file.set_len(bytes));
        let file = file.map_err(|source| MemoryError { bytes, source })?;
        Ok(Self { file, ram, bytes })
    }

    /// So many bytes from address 0 on.
    ///
    /// # Errors
    /// See [`MemoryError`].
    pub fn flat(bytes: u64) -> Result<Self, MemoryError> {
        Self::new(vec![Ram {
            phys: 0,
            length: bytes,
            offset: 0,
        }])
    }

    /// The file that it is in.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of it that are there: what nobody has touched yet takes no memory.
    ///
    /// # Errors
    /// What the file system gave.
    pub fn resident(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.blocks() * 512)
    }

    /// Where RAM lies, ascending.
    pub fn ram(&self) -> &[Ram] {
        &self.ram
    }

    /// Tells whether all of a range is RAM.
    pub fn contains(&self, address: u64, length: u64) -> bool {
        self.offset(address, length).is_some()
    }

    /// Reads physical memory.
    ///
    /// # Errors
    /// If some of it is not RAM, or the file cannot be read.
    pub fn read(&self, address: u64, into: &mut [u8]) -> Result<(), ReadError> {
        let length = into.len();
        self.offset(address, length as u64)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
            .and_then(|offset| self.file.read_exact_at(into, offset))
            .map_err(|source| ReadError {
                address,
                length,
                source,
            })
    }

    /// Reads a range of physical memory into a new buffer.
    ///
    /// # Errors
    /// As [`GuestMemory::read`].
    pub fn read_range(&self, range: Range<u64>) -> Result<Vec<u8>, ReadError> {
        let length = range.end.saturating_sub(range.start);
        if !self.contains(range.start, length) {
            // Before anything is allocated by the range's word.
            let source = io::Error::from(io::ErrorKind::InvalidInput);
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            return Err(ReadError {
                address: range.start,
                length,
                source,
            });
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        self.read(range.start, &mut bytes).map(|()| bytes)
    }

    /// Writes physical memory: for tests that plant a difference.
    ///
    /// # Errors
    /// As [`GuestMemory::read`].
    pub fn write(&self, address: u64, from: &[u8]) -> Result<(), ReadError> {
        let length = from.len();
        self.offset(address, length as u64)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
            .and_then(|offset| self.file.write_all_at(from, offset))
            .map_err(|source| ReadError {
                address,
                length,
                source,
            })
    }

    /// Where a range lies in the file; `None` if some of it is not RAM.
    fn offset(&self, address: u64, length: u64) -> Option<u64> {
        let end = address.checked_add(length)?;
        let ram = self
            .ram
            .iter()
            .find(|ram| ram.phys <= address && end <= ram.phys + ram.length)?;
        Some(ram.offset + (address - ram.phys))
    }
}

impl AsFd for GuestMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::board::Board;

    const GIB: u64 = 1 << 30;

    fn memory(bytes: u64) -> GuestMemory {
        GuestMemory::new(<&Board>::default().ram(bytes, None)).unwrap()
    }

    #[test]
    fn what_is_written_high_is_read_high_and_not_low() {
        let memory = memory(6 * GIB);
        memory.write(5 * GIB, b"high").unwrap();

        assert_eq!(memory.read_range(5 * GIB..5 * GIB + 4).unwrap(), b"high");
        assert_eq!(memory.read_range(GIB..GIB + 4).unwrap(), [0; 4]);
    }

    #[test]
    fn nobody_makes_it_shorter_or_longer() {
        let memory = memory(1 << 20);
        for bytes in [0, 4096, 2 << 20] {
            memory.file().set_len(bytes).unwrap_err();
        }
        assert_eq!(memory.file().metadata().unwrap().len(), 1 << 20);
        memory.file().set_len(1 << 20).unwrap();
    }

    #[test]
    fn holes_and_ends_are_refused() {
        let memory = memory(6 * GIB);

        for (address, length) in [(3 * GIB, 1), (2 * GIB - 1, 2), (8 * GIB, 1), (u64::MAX, 2)] {
            assert!(!memory.contains(address, length), "{address:#x}+{length}");
        }
        assert!(memory.read_range(3 * GIB..3 * GIB + 1).is_err());
        assert!(memory.read_range(0..u64::MAX).is_err());
    }
}
