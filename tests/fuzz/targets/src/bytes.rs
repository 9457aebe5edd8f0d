// SPDX-License-Identifier: MIT OR Apache-2.0

//! Bytes that are taken from the front, so that an input can be read and written by hand: numbers are little-endian, and
//! what is beyond the end is zero.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{MemfdFlags, memfd_create};

/// What is left of an input.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As many bytes as there are, and no more than `most`.
    pub(crate) fn take(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// As many bytes as one says that comes first.
    pub(crate) fn short(&mut self) -> &'a [u8] {
        let length = self.u8();
        self.take(length.into())
    }

    /// As many bytes as two say that come first.
    pub(crate) fn long(&mut self) -> &'a [u8] {
        let length = self.u16();
        self.take(length.into())
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.take(N);
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    pub(crate) fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.array())
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// One of those, by a byte.
    pub(crate) fn choose<'b, T>(&mut self, from: &'b [T]) -> Option<&'b T> {
        let at = usize::from(self.u8()).checked_rem(from.len())?;
        from.get(at)
    }
}

/// Memory as a file, of that length.
pub(crate) fn memory(length: u64) -> File {
    let file = memfd_create("fuzz", MemfdFlags::CLOEXEC).expect("memory");
    let file = File::from(file);
    file.set_len(length).expect("a size");
    file
}

/// A file with those bytes, and a path that leads to it as long as it is there.
pub(crate) fn file(bytes: &[u8]) -> (OwnedFd, PathBuf) {
    let mut file = memory(0);
    file.write_all(bytes).expect("there is room");
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    (file.into(), path)
}
