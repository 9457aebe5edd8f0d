// SPDX-License-Identifier: MIT OR Apache-2.0

//! Queues: rings in the driver's memory (4.1).

use super::command::{COMMAND, COMPLETION};
use landfall_device::contract::*;

/// A submission queue.
#[derive(Debug)]
pub(super) struct Submissions {
    base: u64,
    entries: u16,
    head: u16,
    tail: u16,
    /// The completion queue that answers go to.
    pub(super) to: u16,
    /// The register write that moved its tail last.
    pub(super) doorbell: Option<u64>,
}

impl Submissions {
    pub(super) const fn new(base: u64, entries: u16, to: u16) -> Self {
        Self {
            base,
            entries,
            head: 0,
            tail: 0,
            to,
            doorbell: None,
        }
    }

    pub(super) const fn head(&self) -> u16 {
        self.head
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// The driver rings: commands lie before `tail`. One that is no entry is passed over.
    pub(super) fn ring(&mut self, tail: u16, write: Option<u64>) {
        if tail < self.entries {
            (self.tail, self.doorbell) = (tail, write);
        }
    }

    /// Takes the next command.
    pub(super) fn take(&mut self, host: &mut dyn Host) -> Result<[u8; COMMAND], DmaError> {
        let mut bytes = [0; COMMAND];
        let tag = Tag::default().role(Role::Descriptor);
        let at = entry(self.base, self.head, COMMAND);
        host.dma_read(at, &mut bytes, tag)?;
        self.head = (self.head + 1) % self.entries;
        Ok(bytes)
    }
}

/// A completion queue.
#[derive(Debug)]
pub(super) struct Completions {
    base: u64,
    entries: u16,
    head: u16,
    tail: u16,
    /// What the phase bit of a new one is.
    phase: bool,
    /// Which interrupt it sends; `None`: the driver looks by itself.
    pub(super) vector: Option<u16>,
}

impl Completions {
    pub(super) const fn new(base: u64, entries: u16, vector: Option<u16>) -> Self {
        Self {
            base,
            entries,
            head: 0,
            tail: 0,
            phase: true,
            vector,
        }
    }

    pub(super) const fn is_full(&self) -> bool {
        (self.tail + 1) % self.entries == self.head
    }

    /// The driver took all.
    pub(super) const fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// The driver rings: it took what lies before `head`. One that is no entry is passed over.
    pub(super) const fn ring(&mut self, head: u16) {
        if head < self.entries {
            self.head = head;
        }
    }

    /// Adds one: what of it is known before it is known where it comes.
    pub(super) fn add(
        &mut self,
        mut words: [u32; COMPLETION / 4],
        tag: Tag,
        host: &mut dyn Host,
    ) -> Result<(), DmaError> {
        if let Some(last) = words.last_mut() {
            *last |= u32::from(self.phase) << 16;
        }
        let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        let at = entry(self.base, self.tail, COMPLETION);
        host.dma_write(at, &bytes, tag.role(Role::Status))?;
        self.tail = (self.tail + 1) % self.entries;
        self.phase ^= self.tail == 0;
        Ok(())
    }
}

/// Where an entry lies.
const fn entry(base: u64, index: u16, bytes: usize) -> u64 {
    base.wrapping_add(index as u64 * bytes as u64)
}
