// SPDX-License-Identifier: MIT OR Apache-2.0

//! Differences, gathered into ranges and explained.

use landfall_cards::capture::pattern;
use landfall_reserve::canary;

use landfall::guest::memory::GuestMemory;

/// Wrong bytes closer together than this are one range: what was moved can agree here and there by chance.
const JOIN: u64 = 64;
/// Most ranges kept; further ones are only counted.
const MAX_RANGES: usize = 64;
/// Bytes looked at to say what was found.
const LOOK: usize = 64;

/// Where a run of the test pattern came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Origin {
    /// The slot.
    pub slot: u8,
    /// The frame's sequence number, low 24 bits.
    pub sequence: u32,
    /// Offset in that frame.
    pub offset: u64,
}

/// What lies where something else should.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// The canary: nobody wrote here.
    Canary,
    /// Zeros.
    Zero,
    /// A part of a frame that does not belong here.
    Frame(Origin),
    /// Something else.
    Other,
}

/// One range whose bytes are not as they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Physical address of the first wrong byte.
    pub address: u64,
    /// Bytes from the first wrong to the last wrong one.
    pub length: u64,
    /// Offset in the frame of its first byte, if it is in one.
    pub offset: Option<u64>,
    /// What lies at its start.
    pub found: Found,
}

/// All differences of one comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Differences {
    /// The first of them, ascending.
    pub ranges: Vec<Difference>,
    /// Wrong bytes in all, also outside `ranges`.
    pub bytes: u64,
    base: Option<u64>,
}

impl Differences {
    /// None yet; `base` is the frame's physical address.
    pub(super) fn new(base: Option<u64>) -> Self {
        Self {
            ranges: Vec::new(),
            bytes: 0,
            base,
        }
    }

    /// Whether all was as it should be.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Adds the differences of two slices of one length that lie at `address`.
    pub(super) fn compare(&mut self, address: u64, have: &[u8], want: &[u8]) {
        for ((at, have), want) in (address..).zip(have).zip(want) {
            if have != want {
                self.add(at);
            }
        }
    }

    fn add(&mut self, address: u64) {
        self.bytes += 1;
        if let Some(last) = self.ranges.last_mut()
            && address - (last.address + last.length) < JOIN
        {
            last.length = address - last.address + 1;
        } else if self.ranges.len() < MAX_RANGES {
            self.ranges.push(Difference {
                address,
                length: 1,
                offset: self.base.map(|base| address - base),
                found: Found::Other,
            });
        }
    }

    /// Adds those of the memory that follows, collected by itself: what comes of it is what one walk over both
    /// would have given.
    pub(super) fn append(&mut self, following: Self) {
        self.bytes += following.bytes;
        for range in following.ranges {
            if let Some(last) = self.ranges.last_mut()
                && range.address - (last.address + last.length) < JOIN
            {
                last.length = range.address + range.length - last.address;
            } else if self.ranges.len() < MAX_RANGES {
                self.ranges.push(range);
            } else {
                // Nothing further joins the last one that is kept.
                return;
            }
        }
    }

    /// Says of each range what was found there.
    pub(super) fn explain(&mut self, memory: &GuestMemory) {
        for range in &mut self.ranges {
            let length = usize::try_from(range.length).unwrap_or(LOOK).min(LOOK);
            let mut bytes = vec![0; length];
            if memory.read(range.address, &mut bytes).is_ok() {
                range.found = found(&bytes, range.address);
            }
        }
    }
}

/// Says what `bytes`, which lie at physical address `phys`, are.
fn found(bytes: &[u8], phys: u64) -> Found {
    if canary::first_difference(bytes, phys).is_none() {
        return Found::Canary;
    }
    if bytes.iter().all(|byte| *byte == 0) {
        return Found::Zero;
    }
    origin(bytes).map_or(Found::Other, Found::Frame)
}

/// Finds where a run of the test pattern came from: two words in a row, at any alignment, that agree.
pub(crate) fn origin(bytes: &[u8]) -> Option<Origin> {
    let word = |at: usize| {
        let bytes: [u8; 8] = bytes.get(at..at + 8)?.try_into().ok()?;
        pattern::decode(u64::from_le_bytes(bytes))
    };
    (0..8).find_map(|at| {
        let (slot, sequence, offset) = word(at)?;
        (word(at + 8)? == (slot, sequence, offset + 8)).then(|| Origin {
            slot,
            sequence,
            offset: offset.saturating_sub(at as u64),
        })
    })
}
