// SPDX-License-Identifier: MIT OR Apache-2.0

//! A transfer: bytes read, written or copied, a piece in each step.

use super::regs::CHECKSUM;
use landfall_device::contract::*;
use landfall_device::parts::RegisterFile;
use landfall_device::random::Random;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Read,
    Write,
    Copy,
}

/// What came of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    Some,
    All,
    SourceRefused,
    DestinationRefused,
}

/// A transfer in work.
#[derive(Debug)]
pub(super) struct Transfer {
    way: Way,
    pub(super) job: JobId,
    source: u64,
    pub(super) destination: u64,
    pub(super) size: u64,
    moved: u64,
    crc: crc32fast::Hasher,
    /// What makes up the bytes that are written.
    random: Random,
}

impl Transfer {
    pub(super) fn new(way: Way, job: JobId, source: u64, destination: u64, size: u64) -> Self {
        Self {
            way,
            job,
            source,
            destination,
            size,
            moved: 0,
            crc: crc32fast::Hasher::new(),
            random: Random::new(job.0),
        }
    }

    /// Whether it writes memory.
    pub(super) fn writes(&self) -> bool {
        self.way != Way::Read
    }

    /// The bit of `STATUS` that says that it was done.
    fn done(&self) -> u32 {
        match self.way {
            Way::Read => 1 << 0,
            Way::Write => 1 << 2,
            Way::Copy => 1 << 4,
        }
    }

    /// The bit that says that it came to nothing.
    pub(super) fn failed(&self) -> u32 {
        self.done() << 1
    }

    /// The checksum of what was read or written, as the function has it.
    fn checksum(&self) -> u32 {
        !self.crc.clone().finalize()
    }

    /// All bytes were moved: the checksum is told, or compared with the driver's. Gives the bit of `STATUS`.
    pub(super) fn compare(&self, file: &mut RegisterFile) -> u32 {
        match self.way {
            Way::Read if file.get(CHECKSUM::OFFSET) != self.checksum() => self.failed(),
            Way::Write => {
                file.put(CHECKSUM::OFFSET, self.checksum());
                self.done()
            }
            Way::Read | Way::Copy => self.done(),
        }
    }

    /// The memory that it is about.
    pub(super) fn pieces(&self) -> Vec<Piece> {
        let read = Piece::read(self.source, self.size);
        let write = Piece::write(self.destination, self.size);
        match self.way {
            _ if self.size == 0 => Vec::new(),
            Way::Read => vec![read],
            Way::Write => vec![write],
            Way::Copy => vec![read, write],
        }
    }

    /// Moves the next piece. With `corrupt`, the bit in the middle of all of it arrives otherwise.
    pub(super) fn go_on(&mut self, corrupt: bool, host: &mut dyn Host) -> Moved {
        let most = match self.way {
            Way::Read | Way::Write => STEP_BYTES,
            Way::Copy => STEP_BYTES / 2,
        };
        let length = (most as u64).min(self.size - self.moved);
        if length == 0 {
            return Moved::All;
        }
        let mut bytes = vec![0; length as usize];
        let tag = Tag::job(self.job);
        match self.way {
            Way::Write => {
                for eight in bytes.chunks_mut(8) {
                    let drawn = self.random.draw().to_le_bytes();
                    eight.copy_from_slice(drawn.get(..eight.len()).unwrap_or_default());
                }
            }
            Way::Read | Way::Copy => {
                let from = self.source.wrapping_add(self.moved);
                if host.dma_read(from, &mut bytes, tag).is_err() {
                    return Moved::SourceRefused;
                }
            }
        }
        self.crc.update(&bytes);
        if self.writes() {
            let middle = (self.size / 2).checked_sub(self.moved);
            if corrupt && let Some(byte) = middle.and_then(|at| bytes.get_mut(at as usize)) {
                *byte ^= 1;
            }
            let to = self.destination.wrapping_add(self.moved);
            if host.dma_write(to, &bytes, tag).is_err() {
                return Moved::DestinationRefused;
            }
        }
        self.moved += length;
        match self.moved < self.size {
            true => Moved::Some,
            false => Moved::All,
        }
    }
}
