// SPDX-License-Identifier: MIT OR Apache-2.0

//! The third view: what lies in guest memory, byte for byte, against what should.
//!
//! Every byte of a frame must be the pattern's for its position, frame and slot; every byte of the pool that
//! is not lent (guard pages, the tail of a last page, what was never given out) must be its canary. Whole
//! chunks are compared at once; only where they differ is a byte looked at by itself. Frames and pieces of the
//! pool are independent of each other: [`all`] gives them to as many threads as it is told.

mod collect;
mod expected;
pub mod merge;
mod pieces;

use std::num::NonZero;
use std::ops::Range;

use landfall_cards::capture::pattern::FrameSpec;
use landfall_reserve::canary;
use xxhash_rust::xxh64::Xxh64;

pub(crate) use collect::origin;
pub use collect::{Difference, Differences, Found, Origin};
pub(crate) use expected::fill;

use landfall::guest::memory::{GuestMemory, ReadError};

/// Bytes compared at a time: with what they are compared with, half of a small second-level cache.
const CHUNK: usize = 256 * 1024;

/// What came of comparing one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameCheck {
    /// Bytes compared: all of the frame.
    pub bytes: u64,
    /// XXH64 (seed 0) of what was found.
    pub hash: u64,
    /// Where it is not as it should be.
    pub differences: Differences,
}

/// A frame that is to be compared.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Physical address of its first byte.
    pub phys: u64,
    /// What it must look like.
    pub spec: FrameSpec,
    /// Its clip mask (one bit a pixel, lines from whole bytes; what is missing counts as 1). Where it is 0, and
    /// between lines, the card writes nothing: there the canary must still lie.
    pub clip: Option<&'a [u8]>,
}

/// What came of comparing one region of the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolCheck {
    /// Bytes compared: all that are not lent.
    pub bytes: u64,
    /// Where they are not their canary.
    pub differences: Differences,
}

/// What came of comparing frames and regions, in the order in which they were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    /// Of the frames.
    pub frames: Vec<FrameCheck>,
    /// Of the regions.
    pub pool: Vec<PoolCheck>,
}

/// Compares frames, and all of `regions` but the `lent` ranges with the canary, on at most `threads` threads,
/// this one included.
///
/// # Errors
/// If some of it is not RAM.
pub fn all(
    memory: &GuestMemory,
    frames: &[Wanted<'_>],
    regions: &[Range<u64>],
    lent: &[Range<u64>],
    threads: NonZero<usize>,
) -> Result<Checks, ReadError> {
    pieces::all(memory, frames, regions, lent, threads)
}

/// The buffers of one thread: they stay in its cache from chunk to chunk.
#[derive(Default)]
struct Scratch {
    have: Vec<u8>,
    want: Vec<u8>,
}

fn frame_with(
    scratch: &mut Scratch,
    memory: &GuestMemory,
    wanted: &Wanted<'_>,
) -> Result<FrameCheck, ReadError> {
    let Wanted { phys, spec, clip } = wanted;
    let bytes = spec.frame_bytes();
    let mut hash = Xxh64::new(0);
    let mut differences = Differences::new(Some(*phys));
    let plain = expected::Plain::of(spec, *clip);
    let Scratch { have, want } = scratch;
    chunks(
        memory,
        *phys..phys.saturating_add(bytes),
        have,
        |at, have| {
            hash.update(have);
            let offset = at - phys;
            if plain.as_ref().is_some_and(|plain| plain.is(have, offset)) {
                return;
            }
            want.resize(CHUNK, 0);
            let want = want.get_mut(..have.len()).unwrap_or_default();
            expected::fill(want, offset, *phys, spec, *clip);
            if have != want {
                differences.compare(at, have, want);
            }
        },
    )?;
    differences.explain(memory);
    Ok(FrameCheck {
        bytes,
        hash: hash.digest(),
        differences,
    })
}

/// Compares a range with the canary; explains nothing yet.
fn canary_with(
    scratch: &mut Scratch,
    memory: &GuestMemory,
    range: Range<u64>,
    differences: &mut Differences,
) -> Result<(), ReadError> {
    let Scratch { have, want } = scratch;
    chunks(memory, range, have, |at, have| {
        if !expected::is_canary(have, at) {
            want.clear();
            want.extend((at..).take(have.len()).map(canary::byte));
            differences.compare(at, have, want);
        }
    })
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

/// Reads a range in chunks, by way of `buffer`.
fn chunks(
    memory: &GuestMemory,
    range: Range<u64>,
    buffer: &mut Vec<u8>,
    mut each: impl FnMut(u64, &[u8]),
) -> Result<(), ReadError> {
    buffer.resize(CHUNK, 0);
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
mod properties;
#[cfg(test)]
mod tests;
