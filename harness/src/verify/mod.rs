// SPDX-License-Identifier: MIT OR Apache-2.0

//! The third view: what lies in guest memory, byte for byte, against what should.
//!
//! Every byte of a frame must be the pattern's for its position, frame and slot; every byte of the pool that
//! is not lent (guard pages, the tail of a last page, what was never given out) must be its canary. Whole
//! chunks are compared at once; only where they differ is a byte looked at by itself.

mod collect;
mod expected;
pub mod merge;

use std::ops::Range;

use landfall_device::devices::capture::pattern::FrameSpec;
use landfall_reserve::canary;
use xxhash_rust::xxh3::Xxh3;

pub(crate) use collect::origin;
pub use collect::{Difference, Differences, Found, Origin};

use crate::memory::{GuestMemory, ReadError};

/// Bytes compared at a time.
const CHUNK: usize = 256 * 1024;

/// What came of comparing one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameCheck {
    /// Bytes compared: all of the frame.
    pub bytes: u64,
    /// XXH3-64 of what was found.
    pub hash: u64,
    /// Where it is not as it should be.
    pub differences: Differences,
}

/// Compares a frame that begins at physical address `phys`.
///
/// With a clip mask (one bit a pixel, lines from whole bytes; what is missing counts as 1), and between
/// lines, the card writes nothing: there the canary must still lie.
///
/// # Errors
/// If some of it is not RAM.
pub fn frame(
    memory: &GuestMemory,
    phys: u64,
    spec: &FrameSpec,
    clip: Option<&[u8]>,
) -> Result<FrameCheck, ReadError> {
    let bytes = spec.frame_bytes();
    let mut hash = Xxh3::new();
    let mut differences = Differences::new(Some(phys));
    let mut want = vec![0; CHUNK];
    chunks(memory, phys..phys.saturating_add(bytes), |address, have| {
        hash.update(have);
        let want = want.get_mut(..have.len()).unwrap_or_default();
        expected::fill(want, address - phys, phys, spec, clip);
        if have != want {
            differences.compare(address, have, want);
        }
    })?;
    differences.explain(memory);
    Ok(FrameCheck {
        bytes,
        hash: hash.digest(),
        differences,
    })
}

/// Compares all of `region` but the `lent` ranges with the canary; returns how many bytes that were, too.
///
/// # Errors
/// If some of it is not RAM.
pub fn pool(
    memory: &GuestMemory,
    region: Range<u64>,
    lent: &[Range<u64>],
) -> Result<(u64, Differences), ReadError> {
    let mut differences = Differences::new(None);
    let mut bytes = 0;
    let mut want = Vec::new();
    for free in gaps(region, lent) {
        bytes += free.end - free.start;
        chunks(memory, free, |address, have| {
            if canary::first_difference(have, address).is_some() {
                want.clear();
                want.extend((address..).take(have.len()).map(canary::byte));
                differences.compare(address, have, &want);
            }
        })?;
    }
    differences.explain(memory);
    Ok((bytes, differences))
}

/// The parts of `region` that are in none of `taken`, ascending.
pub fn gaps(region: Range<u64>, taken: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut taken: Vec<_> = taken
        .iter()
        .filter(|range| range.start < range.end)
        .cloned()
        .collect();
    taken.sort_by_key(|range| range.start);
    let mut gaps = Vec::new();
    let mut from = region.start;
    for range in taken {
        let end = range.start.min(region.end);
        if from < end {
            gaps.push(from..end);
        }
        from = from.max(range.end);
    }
    if from < region.end {
        gaps.push(from..region.end);
    }
    gaps
}

/// Reads a range in chunks.
fn chunks(
    memory: &GuestMemory,
    range: Range<u64>,
    mut each: impl FnMut(u64, &[u8]),
) -> Result<(), ReadError> {
    let mut buffer = vec![0; CHUNK];
    let mut at = range.start;
    while at < range.end {
        let length = usize::try_from(range.end - at).unwrap_or(CHUNK).min(CHUNK);
        let piece = buffer.get_mut(..length).unwrap_or_default();
        memory.read(at, piece)?;
        each(at, piece);
        at += length as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
