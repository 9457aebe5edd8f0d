// SPDX-License-Identifier: MIT OR Apache-2.0

//! A guest's memory in a file: the pages that are not zero, packed, in pieces that are checked one by one.
//!
//! Memory is read where it was ever touched only, so that saving and restoring cost what the guest used, not what
//! it has. Each piece's hash covers where its pages belong as well as what they hold.

use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use landfall_guest::parallel;
use nix::errno::Errno;
use nix::unistd::{Whence, lseek};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

const PAGE: usize = 4096;
/// Bytes of a piece at most: it stays in a core's cache between being read, checked and written.
const PIECE: usize = 1 << 20;
/// Most threads that restore: more do not make memory faster.
const THREADS: usize = 4;

/// A part of the packed file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Piece {
    /// First byte in the packed file.
    at: u64,
    /// Where its pages belong in memory, in order: first byte and number of pages.
    runs: Vec<(u64, u32)>,
    /// XXH3-64 of `runs` and of the bytes.
    hash: u64,
}

/// What restoring ran into.
#[derive(Debug, thiserror::Error)]
pub(super) enum RamError {
    /// A piece is not what was saved.
    #[error("the memory saved at byte {at} of its file is damaged")]
    Damaged {
        /// Where in the packed file.
        at: u64,
    },
    /// A file could not be read or written.
    #[error("memory cannot be restored")]
    File(#[from] io::Error),
}

/// Packs what `memory` holds into `packed`: what is not zero, or, if it held `base` once, what is not as there.
pub(super) fn save(memory: &File, base: Option<&File>, packed: &File) -> io::Result<Vec<Piece>> {
    let mut packer = Packer::new(packed);
    let (mut buffer, mut before) = (vec![0; PIECE], vec![0; PIECE]);
    let length = memory.metadata()?.len();
    let mut from = 0;
    while let Some(extent) = next_extent(memory, from, length)? {
        let mut at = extent.start;
        while at < extent.end {
            let bytes = usize::try_from(extent.end - at).unwrap_or(PIECE).min(PIECE);
            let chunk = buffer.get_mut(..bytes).unwrap_or_default();
            memory.read_exact_at(chunk, at)?;
            let before = before.get_mut(..bytes).unwrap_or_default();
            if let Some(base) = base {
                base.read_exact_at(before, at)?;
            }
            for (page, before) in chunk.chunks(PAGE).zip(before.chunks(PAGE)) {
                if page != before {
                    packer.page(at, page)?;
                }
                at += page.len() as u64;
            }
        }
        from = extent.end;
    }
    packer.finish()
}

/// Writes every page where it belongs; `memory` must be untouched, or hold what these pages change. On return every byte was checked.
pub(super) fn restore(packed: &File, pieces: &[Piece], memory: &File) -> Result<(), RamError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let buffer = || vec![0; PIECE];
    parallel::all_with(
        pieces,
        NonZeroUsize::new(threads.min(THREADS)),
        buffer,
        |buffer, piece| piece.restore(packed, memory, buffer),
    )
    .map(drop)
}

impl Piece {
    fn bytes(&self) -> usize {
        let pages = self.runs.iter().map(|(_, pages)| *pages as usize);
        pages.fold(0, |sum, pages| {
            sum.saturating_add(pages.saturating_mul(PAGE))
        })
    }

    fn restore(&self, packed: &File, memory: &File, buffer: &mut [u8]) -> Result<(), RamError> {
        let damaged = RamError::Damaged { at: self.at };
        let Some(bytes) = buffer.get_mut(..self.bytes()) else {
            return Err(damaged);
        };
        match packed.read_exact_at(bytes, self.at) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(damaged),
            read => read?,
        }
        if hash(&self.runs, bytes) != self.hash {
            return Err(damaged);
        }
        let mut rest = &*bytes;
        for (at, pages) in &self.runs {
            let (run, after) = rest
                .split_at_checked(*pages as usize * PAGE)
                .unwrap_or_default();
            memory.write_all_at(run, *at)?;
            rest = after;
        }
        Ok(())
    }
}

fn hash(runs: &[(u64, u32)], bytes: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    for (at, pages) in runs {
        hash.update(&at.to_le_bytes());
        hash.update(&pages.to_le_bytes());
    }
    hash.update(bytes);
    hash.digest()
}

/// The next run of bytes from `from` on that take memory; holes are zeros.
fn next_extent(memory: &File, from: u64, length: u64) -> io::Result<Option<Range<u64>>> {
    let seek = |from: u64, whence| {
        let from = i64::try_from(from).unwrap_or(i64::MAX);
        lseek(memory, from, whence).map(|at| u64::try_from(at).unwrap_or(0))
    };
    match seek(from, Whence::SeekData) {
        Ok(start) => Ok(Some(start..seek(start, Whence::SeekHole)?.min(length))),
        Err(Errno::ENXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Gathers pages into pieces.
struct Packer<'a> {
    file: &'a File,
    pieces: Vec<Piece>,
    at: u64,
    runs: Vec<(u64, u32)>,
    bytes: Vec<u8>,
}

impl<'a> Packer<'a> {
    fn new(file: &'a File) -> Self {
        Self {
            file,
            pieces: Vec::new(),
            at: 0,
            runs: Vec::new(),
            bytes: Vec::with_capacity(PIECE),
        }
    }

    fn page(&mut self, at: u64, page: &[u8]) -> io::Result<()> {
        if self.bytes.len() + PAGE > PIECE {
            self.flush()?;
        }
        match self.runs.last_mut() {
            Some((start, pages)) if *start + u64::from(*pages) * PAGE as u64 == at => *pages += 1,
            _ => self.runs.push((at, 1)),
        }
        self.bytes.extend_from_slice(page);
        // Memory ends at a page's end.
        self.bytes
            .resize(self.bytes.len().next_multiple_of(PAGE), 0);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.runs.is_empty() {
            return Ok(());
        }
        self.file.write_all(&self.bytes)?;
        let runs = std::mem::take(&mut self.runs);
        self.pieces.push(Piece {
            at: self.at,
            hash: hash(&runs, &self.bytes),
            runs,
        });
        self.at += self.bytes.len() as u64;
        self.bytes.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<Vec<Piece>> {
        self.flush()?;
        Ok(self.pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: u64 = 16 << 20;

    fn memory() -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(MEMORY).unwrap();
        file
    }

    fn bytes(file: &File) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(MEMORY).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    /// Memory with a page here and there, a run that is longer than a piece, and its very last byte.
    fn used() -> File {
        let memory = memory();
        let run: Vec<u8> = (0..3 * PIECE / 2).map(|at| (at / 7 % 251) as u8).collect();
        memory.write_all_at(&run, 5 << 20).unwrap();
        for at in [0, 4097, 12 << 20, MEMORY - 1] {
            memory.write_all_at(&[0xa5], at).unwrap();
        }
        memory
    }

    #[test]
    fn what_is_saved_is_restored_and_nothing_else_is_touched() {
        let (from, packed, to) = (used(), tempfile::tempfile().unwrap(), memory());

        let pieces = save(&from, None, &packed).unwrap();
        restore(&packed, &pieces, &to).unwrap();

        assert!(bytes(&from) == bytes(&to));
        let pages = 3 * PIECE / 2 / PAGE + 4;
        assert_eq!(packed.metadata().unwrap().len(), (pages * PAGE) as u64);
        assert!(pieces.len() > 1, "the long run is in two pieces");
    }

    #[test]
    fn what_changed_is_saved_alone_zeros_included() {
        let (base, now, to) = (used(), used(), memory());
        let (packed, changes) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        // A page that is zero now, one that was, and one of many that differs in a byte.
        now.write_all_at(&[0; PAGE], 12 << 20).unwrap();
        now.write_all_at(&[1], 13 << 20).unwrap();
        now.write_all_at(&[0xff], (5 << 20) + 9000).unwrap();

        let all = save(&base, None, &packed).unwrap();
        let few = save(&now, Some(&base), &changes).unwrap();
        restore(&packed, &all, &to).unwrap();
        restore(&changes, &few, &to).unwrap();

        assert!(bytes(&now) == bytes(&to));
        assert_eq!(changes.metadata().unwrap().len(), 3 * PAGE as u64);
    }

    #[test]
    fn untouched_memory_takes_nothing() {
        let packed = tempfile::tempfile().unwrap();

        assert_eq!(save(&memory(), None, &packed).unwrap(), []);
        assert_eq!(packed.metadata().unwrap().len(), 0);
    }

    #[test]
    fn a_wrong_bit_a_missing_end_and_a_moved_page_are_found() {
        let (from, packed) = (used(), tempfile::tempfile().unwrap());
        let pieces = save(&from, None, &packed).unwrap();
        let damaged = |packed: &File, pieces: &[Piece]| {
            let restored = restore(packed, pieces, &memory());
            assert!(
                matches!(restored, Err(RamError::Damaged { .. })),
                "{restored:?}"
            );
        };

        for at in [0, 4096, packed.metadata().unwrap().len() - 1] {
            let mut byte = [0];
            packed.read_exact_at(&mut byte, at).unwrap();
            packed.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
            damaged(&packed, &pieces);
            packed.write_all_at(&byte, at).unwrap();
        }
        let mut moved = pieces.clone();
        moved[0].runs[0].0 += PAGE as u64;
        damaged(&packed, &moved);
        let mut huge = pieces.clone();
        huge[0].runs[0].1 = u32::MAX;
        damaged(&packed, &huge);
        restore(&packed, &pieces, &memory()).unwrap();

        packed
            .set_len(packed.metadata().unwrap().len() - 1)
            .unwrap();
        damaged(&packed, &pieces);
    }
}
