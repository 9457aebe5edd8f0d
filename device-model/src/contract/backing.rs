// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory of a function's own, that a BAR shows.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};

/// Memory of a function's own: a file that has no name, of fixed length, all zero at first. A handle; clones are the same
/// memory, and equal. Takes no room before it is written.
///
/// The guest may write it at any time, and unseen where it is mapped ([`super::Bar::mapped`]): what is read is what
/// somebody wrote, and may differ a moment later.
#[derive(Clone, Debug)]
pub struct Backing {
    file: Arc<File>,
    length: u64,
}

impl PartialEq for Backing {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.file, &other.file)
    }
}

impl Eq for Backing {}

impl Backing {
    /// Makes memory of `length` bytes.
    ///
    /// # Errors
    /// What the system says if it gives no such file.
    pub fn new(length: u64) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(rustix::fs::memfd_create("landfall-bar", flags)?);
        file.set_len(length)?;
        // Who has mapped it must not die of it.
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        Ok(Self {
            file: Arc::new(file),
            length,
        })
    }

    /// Bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Copies bytes at `offset` out of it; what is beyond its end reads all-ones.
    pub fn read(&self, offset: u64, into: &mut [u8]) {
        into.fill(0xff);
        let inside = self.inside(offset, into.len());
        if let Some(into) = into.get_mut(..inside)
            && let Err(error) = self.file.read_exact_at(into, offset)
        {
            tracing::error!(%error, "cannot read a BAR's memory");
        }
    }

    /// Copies bytes into it at `offset`; what is beyond its end is dropped.
    pub fn write(&self, offset: u64, from: &[u8]) {
        let inside = self.inside(offset, from.len());
        if let Some(from) = from.get(..inside)
            && let Err(error) = self.file.write_all_at(from, offset)
        {
            tracing::error!(%error, "cannot write a BAR's memory");
        }
    }

    /// Makes it all zero again, and gives its room back.
    pub fn clear(&self) {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if self.length > 0
            && let Err(error) = rustix::fs::fallocate(&self.file, flags, 0, self.length)
        {
            tracing::error!(%error, "cannot clear a BAR's memory");
        }
    }

    /// The file, to be mapped.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    fn inside(&self, offset: u64, length: usize) -> usize {
        let left = self.length.saturating_sub(offset);
        length.min(usize::try_from(left).unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_kept_shared_by_clones_cleared_and_bounded() {
        let memory = Backing::new(4096).expect("made");
        let clone = memory.clone();
        assert_eq!(memory, clone);
        assert_ne!(memory, Backing::new(4096).expect("made"));
        memory.write(4094, &[1, 2, 3, 4]);
        memory.write(u64::MAX, &[1]);
        let mut bytes = [0; 4];
        clone.read(4093, &mut bytes);
        assert_eq!(bytes, [0, 1, 2, 0xff]);
        clone.read(u64::MAX, &mut bytes);
        assert_eq!(bytes, [0xff; 4]);
        clone.clear();
        memory.read(4092, &mut bytes);
        assert_eq!(bytes, [0; 4]);
    }
}
