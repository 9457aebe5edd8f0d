// SPDX-License-Identifier: MIT OR Apache-2.0

//! Comparing on several threads: which pieces there are, who takes which, and how they become one again.

use std::num::NonZero;
use std::ops::Range;

use super::{
    Checks, Differences, FrameCheck, PoolCheck, Scratch, Wanted, canary_with, frame_with, gaps,
};
use landfall::guest::memory::{GuestMemory, ReadError};
use landfall_guest::parallel;

/// Most bytes of the pool that are one piece.
const PIECE: u64 = 512 << 10;

/// Something to compare by itself.
enum Piece<'a> {
    Frame(&'a Wanted<'a>),
    Canary { region: usize, range: Range<u64> },
}

/// What came of it.
enum Done {
    Frame(FrameCheck),
    Canary {
        region: usize,
        bytes: u64,
        differences: Differences,
    },
}

/// See [`super::all`].
pub(super) fn all(
    memory: &GuestMemory,
    frames: &[Wanted<'_>],
    regions: &[Range<u64>],
    lent: &[Range<u64>],
    threads: NonZero<usize>,
) -> Result<Checks, ReadError> {
    let mut pieces: Vec<_> = frames.iter().map(Piece::Frame).collect();
    for (index, region) in regions.iter().enumerate() {
        let free = gaps(region.clone(), lent).into_iter().flat_map(cut);
        pieces.extend(free.map(|range| Piece::Canary {
            region: index,
            range,
        }));
    }
    let mut checks = Checks {
        frames: Vec::with_capacity(frames.len()),
        pool: vec![
            PoolCheck {
                bytes: 0,
                differences: Differences::new(None),
            };
            regions.len()
        ],
    };
    // In the pieces' order: what touches over the end of one goes on in the next.
    for done in on_threads(memory, &pieces, threads)? {
        match done {
            Done::Frame(check) => checks.frames.push(check),
            Done::Canary {
                region,
                bytes,
                differences,
            } => {
                if let Some(check) = checks.pool.get_mut(region) {
                    check.bytes += bytes;
                    check.differences.append(differences);
                }
            }
        }
    }
    for check in &mut checks.pool {
        check.differences.explain(memory);
    }
    Ok(checks)
}

/// Cuts a range into pieces.
fn cut(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        let from = at;
        at = range.end.min(from.saturating_add(PIECE));
        (from < at).then_some(from..at)
    })
}

/// Compares every piece; what came of each, in the pieces' order.
fn on_threads(
    memory: &GuestMemory,
    pieces: &[Piece<'_>],
    threads: NonZero<usize>,
) -> Result<Vec<Done>, ReadError> {
    parallel::all_with(pieces, Some(threads), Scratch::default, |scratch, piece| {
        one(scratch, memory, piece)
    })
}

fn one(scratch: &mut Scratch, memory: &GuestMemory, piece: &Piece<'_>) -> Result<Done, ReadError> {
    match piece {
        Piece::Frame(wanted) => frame_with(scratch, memory, wanted).map(Done::Frame),
        Piece::Canary { region, range } => {
            let mut differences = Differences::new(None);
            canary_with(scratch, memory, range.clone(), &mut differences)?;
            Ok(Done::Canary {
                region: *region,
                bytes: range.end - range.start,
                differences,
            })
        }
    }
}
