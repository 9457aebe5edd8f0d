// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory of a guest that lends it, takes it back, and looks whether a byte changed that was not lent.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, SealFlags};

use crate::random::mix;

/// Bytes of each file.
pub(crate) const BYTES: usize = 64 << 10;
/// Bytes that are compared at once before it is looked at each.
const CHUNK: usize = 256;

/// A file of memory.
#[derive(Debug)]
pub(crate) struct Store {
    /// For reading and writing.
    pub(crate) file: File,
    /// For reading.
    pub(crate) read_only: File,
    /// It can become shorter.
    pub(crate) shrinks: bool,
    /// How long the guest made it.
    pub(crate) length: usize,
    /// What each byte is, unless it is lent.
    expected: Vec<u8>,
    /// In how many maps that may be written each byte is.
    lent: Vec<u16>,
    found: Vec<u8>,
}

impl Store {
    pub(crate) fn new(shrinks: bool) -> io::Result<Self> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(rustix::fs::memfd_create("hostile", flags)?);
        let expected: Vec<u8> = (0..BYTES as u64).map(|at| mix(at) as u8).collect();
        file.write_all_at(&expected, 0)?;
        if !shrinks {
            rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW)?;
        }
        let read_only = File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        Ok(Self {
            file,
            read_only,
            shrinks,
            length: BYTES,
            expected,
            lent: vec![0; BYTES],
            found: vec![0; BYTES],
        })
    }

    /// Looks at every byte that is not lent.
    ///
    /// # Errors
    /// Which changed, in words.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        let length = self.grown()?;
        let found = self.found.get_mut(..length).unwrap_or_default();
        self.file.read_exact_at(found, 0).map_err(said)?;
        let chunks = found
            .chunks(CHUNK)
            .zip(self.expected.chunks(CHUNK))
            .zip(self.lent.chunks(CHUNK));
        for (number, ((found, expected), lent)) in chunks.enumerate() {
            if found == expected.get(..found.len()).unwrap_or_default() {
                continue;
            }
            let bytes = found.iter().zip(expected).zip(lent);
            for (at, ((found, expected), lent)) in bytes.enumerate() {
                if *lent == 0 && found != expected {
                    let at = number * CHUNK + at;
                    return Err(format!(
                        "byte {at:#x} of memory is not lent for writing, was {expected:#x} and is {found:#x}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// How long it is now. A write that was under way when it became shorter makes it longer again, if that was lent.
    fn grown(&mut self) -> Result<usize, String> {
        let length = usize::try_from(self.file.metadata().map_err(said)?.len()).map_err(said)?;
        let last_lent = self.lent.iter().rposition(|lent| *lent > 0);
        let most = self.length.max(last_lent.map_or(0, |last| last + 1));
        if length < self.length || length > most {
            let left = self.length;
            return Err(format!(
                "a memory file has {length:#x} bytes, and was left with {left:#x}"
            ));
        }
        self.length = length;
        Ok(length)
    }

    /// These bytes may be written from here on.
    pub(crate) fn lend(&mut self, range: Range<usize>) {
        for lent in self.lent.get_mut(range).unwrap_or_default() {
            *lent += 1;
        }
    }

    /// They may not any more, unless another map has them.
    pub(crate) fn take_back(&mut self, range: Range<usize>) -> Result<(), String> {
        self.settle(range, 1)
    }

    /// Nothing is lent any more.
    pub(crate) fn take_all(&mut self) -> Result<(), String> {
        self.settle(0..BYTES, u16::MAX)
    }

    /// Bytes are in so many maps less; those that are in none any more stay what they are.
    fn settle(&mut self, range: Range<usize>, maps: u16) -> Result<(), String> {
        let now = self.grown()?;
        let found = self.found.get_mut(..now).unwrap_or_default();
        self.file.read_exact_at(found, 0).map_err(said)?;
        self.found.get_mut(now..).unwrap_or_default().fill(0);
        let lent = self.lent.get_mut(range.clone()).unwrap_or_default();
        let expected = self.expected.get_mut(range.clone()).unwrap_or_default();
        let found = self.found.get(range).unwrap_or_default();
        let bytes = lent.iter_mut().zip(expected).zip(found);
        for ((lent, expected), found) in bytes.filter(|((lent, _), _)| **lent > 0) {
            *lent = lent.saturating_sub(maps);
            if *lent == 0 {
                *expected = *found;
            }
        }
        Ok(())
    }

    /// The guest itself writes.
    pub(crate) fn put(&mut self, at: usize, bytes: &[u8]) -> Result<(), String> {
        if at.saturating_add(bytes.len()) > self.length {
            return Ok(());
        }
        self.file.write_all_at(bytes, at as u64).map_err(said)?;
        let expected = self.expected.get_mut(at..at + bytes.len());
        expected.unwrap_or_default().copy_from_slice(bytes);
        Ok(())
    }

    /// The guest makes it shorter, or as long as it was.
    pub(crate) fn resize(&mut self, length: usize) -> Result<(), String> {
        self.file.set_len(length as u64).map_err(said)?;
        self.length = length;
        self.expected.get_mut(length..).unwrap_or_default().fill(0);
        Ok(())
    }
}

pub(crate) fn said(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_that_is_not_lent_is_seen_and_one_that_is_is_not() {
        let mut store = Store::new(false).unwrap();
        store.check().unwrap();
        store.lend(0x100..0x200);
        store.file.write_all_at(&[0; 0x100], 0x100).unwrap();
        store.check().unwrap();
        store.take_back(0x100..0x180).unwrap();
        store.check().unwrap();
        store.file.write_all_at(&[1], 0x180).unwrap();
        store.check().unwrap();
        store.file.write_all_at(&[1], 0x17f).unwrap();
        assert!(
            store
                .check()
                .unwrap_err()
                .starts_with("byte 0x17f of memory is not lent")
        );
        store.file.write_all_at(&[0], 0x17f).unwrap();
        store.take_all().unwrap();
        store.check().unwrap();
        store.put(0xff, &[9]).unwrap();
        store.check().unwrap();
        store.file.write_all_at(&[2], 0x180).unwrap();
        assert!(store.check().unwrap_err().contains("0x180"));
    }

    #[test]
    fn what_is_lent_twice_is_lent_until_both_are_taken_back() {
        let mut store = Store::new(true).unwrap();
        store.lend(0..16);
        store.lend(8..24);
        store.take_back(0..16).unwrap();
        store.file.write_all_at(&[0xaa], 8).unwrap();
        store.check().unwrap();
        store.file.write_all_at(&[0xaa], 7).unwrap();
        store.check().unwrap_err();
    }

    #[test]
    fn a_file_that_becomes_longer_by_itself_is_seen() {
        let mut store = Store::new(true).unwrap();
        store.resize(0x1000).unwrap();
        store.check().unwrap();
        store.file.set_len(0x1001).unwrap();
        assert!(store.check().unwrap_err().contains("0x1001 bytes"));
        store.lend(0x1000..0x1001);
        store.take_back(0x1000..0x1001).unwrap();
        store.check().unwrap();
        store.resize(BYTES).unwrap();
        store.check().unwrap();
    }
}
