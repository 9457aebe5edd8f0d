// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is stored: in memory, as far as it was written, or in a file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

const PAGE: u64 = 4096;

/// The medium of a namespace. What a copy of it is given, all have.
#[derive(Clone, Debug)]
pub struct Disk(Contents);

#[derive(Clone, Debug)]
enum Contents {
    Memory {
        pages: BTreeMap<u64, Box<[u8]>>,
        bytes: u64,
    },
    File {
        file: Arc<File>,
        bytes: u64,
    },
}

impl Disk {
    /// In memory, of so many MiB, all zeros; only what is written takes any. A copy goes its own way.
    pub const fn memory(mib: u16) -> Self {
        Self(Contents::Memory {
            pages: BTreeMap::new(),
            bytes: (mib as u64) << 20,
        })
    }

    /// In a file that can be read and written, as long as that is now.
    ///
    /// # Errors
    /// Its length cannot be had, or is none.
    pub fn file(file: File) -> io::Result<Self> {
        let bytes = file.metadata()?.len() / PAGE * PAGE;
        if bytes == 0 {
            let why = "a namespace has at least 4096 bytes";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let file = Arc::new(file);
        Ok(Self(Contents::File { file, bytes }))
    }

    /// Bytes: a multiple of 4096.
    pub(super) const fn bytes(&self) -> u64 {
        match &self.0 {
            Contents::Memory { bytes, .. } | Contents::File { bytes, .. } => *bytes,
        }
    }

    /// Reads what lies within it.
    pub(super) fn read(&self, at: u64, into: &mut [u8]) -> io::Result<()> {
        match &self.0 {
            Contents::File { file, .. } => file.read_exact_at(into, at),
            Contents::Memory { pages, .. } => {
                for (at, part) in split(at, into.len()) {
                    let page = pages.get(&(at / PAGE));
                    let from = (at % PAGE) as usize;
                    let stored = page.and_then(|page| page.get(from..from + part.len()));
                    let to = into.get_mut(part).unwrap_or_default();
                    match stored {
                        Some(stored) => to.copy_from_slice(stored),
                        None => to.fill(0),
                    }
                }
                Ok(())
            }
        }
    }

    /// Writes what lies within it.
    pub(super) fn write(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        match &mut self.0 {
            Contents::File { file, .. } => file.write_all_at(bytes, at),
            Contents::Memory { pages, .. } => {
                for (at, part) in split(at, bytes.len()) {
                    let page = pages.entry(at / PAGE);
                    let page = page.or_insert_with(|| vec![0; PAGE as usize].into());
                    let from = (at % PAGE) as usize;
                    let to = page.get_mut(from..from + part.len());
                    if let (Some(to), Some(bytes)) = (to, bytes.get(part)) {
                        to.copy_from_slice(bytes);
                    }
                }
                Ok(())
            }
        }
    }

    /// What was written is kept, whatever becomes of the host.
    pub(super) fn flush(&self) -> io::Result<()> {
        match &self.0 {
            Contents::File { file, .. } => file.sync_data(),
            Contents::Memory { .. } => Ok(()),
        }
    }

    /// All zeros.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Contents::File { file, bytes } => {
                file.set_len(0)?;
                file.set_len(*bytes)
            }
            Contents::Memory { pages, .. } => {
                pages.clear();
                Ok(())
            }
        }
    }
}

/// Parts that each lie within a page: where, and which of the bytes.
fn split(at: u64, length: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = at + done as u64;
        let part = (length - done).min((PAGE - at % PAGE) as usize);
        let range = done..done + part;
        done += part;
        (part > 0).then_some((at, range))
    })
}
