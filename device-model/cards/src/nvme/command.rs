// SPDX-License-Identifier: MIT OR Apache-2.0

//! Commands, what is said of them, and where their data lies.

use landfall_device::contract::*;

/// Bytes of a command.
pub(super) const COMMAND: usize = 64;
/// Bytes of a completion.
pub(super) const COMPLETION: usize = 16;
/// Bytes of a page of data.
pub(super) const PAGE: u64 = 4096;
/// Most bytes of data of a command, as a power of two times a page.
pub(super) const MOST_PAGES: u8 = 5;
/// Most bytes of data of a command.
pub(super) const MOST_BYTES: u64 = PAGE << MOST_PAGES;

/// How a command ended: type (bits 10 to 8) and code (bits 7 to 0), as the specification has them (4.6.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status(pub(super) u16, pub(super) &'static str);

pub(super) const OPCODE: Status = Status(0x01, "no such command");
pub(super) const FIELD: Status = Status(0x02, "a field of the command makes no sense");
pub(super) const TRANSFER: Status = Status(0x04, "the bus refused its data");
pub(super) const INTERNAL: Status = Status(0x06, "what is stored could not be reached");
pub(super) const NAMESPACE: Status = Status(0x0b, "no such namespace");
pub(super) const OFFSET: Status = Status(0x13, "a page of its data begins where none may");
pub(super) const RANGE: Status = Status(0x80, "beyond the last block");
pub(super) const NO_COMPLETION_QUEUE: Status = Status(0x100, "no such completion queue");
pub(super) const QUEUE: Status = Status(0x101, "no such queue, or it is there already");
pub(super) const SIZE: Status = Status(0x102, "a queue has no such size");
pub(super) const EVENTS: Status = Status(0x105, "too many requests for events");
pub(super) const VECTOR: Status = Status(0x108, "no such interrupt vector");
pub(super) const LOG: Status = Status(0x109, "no such log");
pub(super) const FORMAT: Status = Status(0x10a, "no such format");
pub(super) const IN_USE: Status = Status(0x10c, "submission queues use it");

/// A command, as it lies in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Command([u32; COMMAND / 4]);

impl Command {
    pub(super) fn parse(bytes: &[u8; COMMAND]) -> Self {
        let (words, _) = bytes.as_chunks();
        let mut command = [0; COMMAND / 4];
        for (to, word) in command.iter_mut().zip(words) {
            *to = u32::from_le_bytes(*word);
        }
        Self(command)
    }

    /// One of its 16 words.
    pub(super) fn word(&self, at: usize) -> u32 {
        self.0.get(at).copied().unwrap_or_default()
    }

    fn wide(&self, at: usize) -> u64 {
        u64::from(self.word(at)) | u64::from(self.word(at + 1)) << 32
    }

    pub(super) fn opcode(&self) -> u8 {
        self.word(0) as u8
    }

    /// Its number, which the driver gives.
    pub(super) fn id(&self) -> u16 {
        (self.word(0) >> 16) as u16
    }

    pub(super) fn namespace(&self) -> u32 {
        self.word(1)
    }

    pub(super) fn first(&self) -> u64 {
        self.wide(6)
    }

    /// Block that a read or write begins at.
    pub(super) fn block(&self) -> u64 {
        self.wide(10)
    }

    /// Where its data lies: of a page's rest and of whole pages, the last in part (4.3).
    pub(super) fn pages(
        &self,
        length: u64,
        way: Direction,
        host: &mut dyn Host,
    ) -> Result<Vec<Piece>, Status> {
        let page_of = |address, length| Piece {
            way,
            ..Piece::write(address, length)
        };
        let (first, second) = (self.first(), self.wide(8));
        if self.word(0) >> 14 & 3 != 0 {
            return Err(FIELD); // no scatter-gather lists
        }
        if first % 4 != 0 {
            return Err(OFFSET);
        }
        let part = length.min(PAGE - first % PAGE);
        let mut pages = vec![page_of(first, part)];
        let mut rest = length - part;
        if rest == 0 {
            return Ok(pages);
        }
        if rest <= PAGE {
            pages.push(page_of(page(second)?, rest));
            return Ok(pages);
        }
        let mut list = second;
        if list % 8 != 0 {
            return Err(OFFSET);
        }
        while rest > 0 {
            let room = (PAGE - list % PAGE) / 8;
            let count = rest.div_ceil(PAGE);
            let mut bytes = vec![0; 8 * room.min(count) as usize];
            let tag = Tag::default().role(Role::Descriptor);
            host.dma_read(list, &mut bytes, tag).map_err(|_| TRANSFER)?;
            let (entries, _) = bytes.as_chunks();
            for (index, entry) in (0..).zip(entries) {
                let entry = page(u64::from_le_bytes(*entry))?;
                // The last of a page of the list is where it goes on, if it does.
                if index + 1 == room && count > room {
                    list = entry;
                    break;
                }
                pages.push(page_of(entry, rest.min(PAGE)));
                rest -= rest.min(PAGE);
            }
        }
        Ok(pages)
    }
}

/// The address of a whole page.
const fn page(address: u64) -> Result<u64, Status> {
    match address % PAGE {
        0 => Ok(address),
        _ => Err(OFFSET),
    }
}
