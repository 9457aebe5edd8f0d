// SPDX-License-Identifier: MIT OR Apache-2.0

//! One job: what it is made of, and how it is moved.

use std::time::Duration;

use super::Port;
use super::descriptor::{Descriptor, Operation, checked, entries, paint};
use super::regs::{ENTRY, LONGEST, MOST_ENTRIES};
use landfall_device::contract::{Declaration, JobId, Label, Piece, QueueId, Role, Tag};

/// A part of a job that is moved in one step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// The descriptor that it belongs to, by its place in the job.
    pub(super) link: usize,
    pub(super) piece: Piece,
    /// Where a copy goes.
    pub(super) second: u64,
}

/// A job.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) job: JobId,
    pub(super) number: u32,
    pub(super) links: Vec<Descriptor>,
    pub(super) operation: Operation,
    /// What is to be moved; known when it begins.
    pub(super) parts: Vec<Part>,
    /// The next part.
    pub(super) part: usize,
    /// Descriptors that were written back.
    pub(super) over: usize,
    pub(super) begun: bool,
    /// When it goes on.
    pub(super) due: Duration,
    pub(super) check: u32,
    /// Bytes moved, of the job and of the descriptor in hand.
    pub(super) moved: u32,
    pub(super) of_link: u32,
    /// It was told as over already.
    pub(super) told: bool,
}

impl Work {
    /// What is to be moved; `None`: a list was refused, or makes no sense.
    pub(super) fn plan(&self, port: &mut Port<'_>) -> Option<Vec<Part>> {
        let piece = |address, length: u32| match self.operation {
            Operation::Receive => Piece::write(address, length.into()),
            Operation::Transmit | Operation::Copy => Piece::read(address, length.into()),
        };
        let mut parts = Vec::new();
        for (link, descriptor) in self.links.iter().enumerate() {
            let mut add = |address, length| {
                parts.push(Part {
                    link,
                    piece: piece(address, length),
                    second: descriptor.second,
                });
            };
            if descriptor.operation() != Some(self.operation) {
                return None;
            }
            if !descriptor.is_list() {
                add(descriptor.address, descriptor.length);
                continue;
            }
            let count = descriptor.length as usize;
            let mut bytes = [0; MOST_ENTRIES * ENTRY];
            let list = bytes.get_mut(..count.checked_mul(ENTRY)?)?;
            let tag = Tag::job(self.job).role(Role::Descriptor);
            port.host.dma_read(descriptor.address, list, tag).ok()?;
            for (address, length) in entries(list) {
                add(address, length);
            }
        }
        let whole = |part: &Part| (1..=u64::from(LONGEST)).contains(&part.piece.length);
        let sense = parts.len() <= MOST_ENTRIES && parts.iter().all(whole);
        sense.then_some(parts)
    }

    pub(super) fn begins(&self, queue: QueueId) -> Declaration {
        let mut pieces: Vec<_> = self.parts.iter().map(|part| part.piece).collect();
        if self.operation == Operation::Copy {
            let second = |part: &Part| Piece::write(part.second, part.piece.length);
            pieces.extend(self.parts.iter().map(second));
        }
        Declaration::Begun {
            job: self.job,
            queue,
            label: Label {
                slot: None,
                frame: Some(self.number),
            },
            pieces,
        }
    }

    /// Moves a part. False: the bus refused it.
    pub(super) fn move_part(&mut self, part: &Part, queue: usize, port: &mut Port<'_>) -> bool {
        let tag = Tag::job(self.job);
        let length = part.piece.length as usize;
        let mut bytes = vec![0; length];
        let host = &mut *port.host;
        let moved = match self.operation {
            Operation::Receive => {
                paint(queue, self.number, self.moved as usize, &mut bytes);
                host.dma_write(part.piece.address, &bytes, tag)
            }
            Operation::Transmit => host.dma_read(part.piece.address, &mut bytes, tag),
            Operation::Copy => host
                .dma_read(part.piece.address, &mut bytes, tag)
                .and_then(|()| host.dma_write(part.second, &bytes, tag)),
        };
        if moved.is_err() {
            return false;
        }
        if self.operation != Operation::Receive {
            self.check = checked(self.check, &bytes);
        }
        let count = match self.operation {
            Operation::Copy => 2 * length as u32,
            _ => length as u32,
        };
        self.moved += count;
        self.of_link += count;
        true
    }
}
