// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory that is watched from before the guest's first instruction: whoever writes to it is seen.
//!
//! The harness fills it with the pool's canary while there is no QEMU yet, and compares every byte right before the
//! pool's module is loaded. What firmware and kernel wrote meanwhile to memory that a boot option keeps from them shows
//! then. The module puts the same words there, so that from then on the verifier goes on with the same comparison.

use std::ops::Range;

use landfall_reserve::canary;

use crate::guest::memory::{GuestMemory, ReadError};

const PAGE: usize = 4096;
/// Bytes that are filled or compared at a time.
const PIECE: u64 = 1 << 20;

/// A range that somebody wrote to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the guest's kernel or firmware wrote into memory that is kept from it: at {address:#x}, and to {pages} pages of {:#x} to {:#x} in all",
    range.start,
    range.end
)]
pub struct Touched {
    /// The first byte that differs.
    pub address: u64,
    /// Pages with such bytes.
    pub pages: u64,
    /// What was watched.
    pub range: Range<u64>,
}

/// Writes the canary to a range of RAM.
///
/// # Errors
/// If it is not all RAM, or cannot be written.
pub(super) fn fill(memory: &GuestMemory, range: &Range<u64>) -> Result<(), ReadError> {
    let mut bytes = Vec::new();
    for piece in pieces(range) {
        bytes.clear();
        let whole = piece.start & !(canary::WORD - 1);
        let words = (whole..piece.end).step_by(8).map(canary::word);
        bytes.extend(words.flat_map(u64::to_le_bytes));
        let from = usize::try_from(piece.start - whole).unwrap_or(0);
        let length = usize::try_from(piece.end - piece.start).unwrap_or(0);
        let part = bytes.get(from..from + length).unwrap_or_default();
        memory.write(piece.start, part)?;
    }
    Ok(())
}

/// Compares a range with the canary; `None`: nobody wrote there.
///
/// # Errors
/// If it is not all RAM, or cannot be read.
pub(super) fn touched(
    memory: &GuestMemory,
    range: &Range<u64>,
) -> Result<Option<Touched>, ReadError> {
    let mut found: Option<Touched> = None;
    each_page(memory, range, |at, page| {
        if let Some(offset) = canary::first_difference(page, at) {
            let first = found.get_or_insert(Touched {
                address: at + offset as u64,
                pages: 0,
                range: range.clone(),
            });
            first.pages += 1;
        }
    })?;
    Ok(found)
}

/// The pages of a range that nobody wrote to, ascending, neighbours joined.
///
/// # Errors
/// If it is not all RAM, or cannot be read.
pub(super) fn untouched(
    memory: &GuestMemory,
    range: &Range<u64>,
) -> Result<Vec<Range<u64>>, ReadError> {
    let mut found: Vec<Range<u64>> = Vec::new();
    each_page(memory, range, |at, page| {
        if canary::first_difference(page, at).is_none() {
            let end = at + page.len() as u64;
            match found.last_mut() {
                Some(last) if last.end == at => last.end = end,
                _ => found.push(at..end),
            }
        }
    })?;
    Ok(found)
}

/// What of a range does not lie in `untouched`, as [`Touched`] tells it.
pub(super) fn missing(untouched: &[Range<u64>], range: &Range<u64>) -> Option<Touched> {
    let mut at = range.start;
    let mut first = None;
    let mut bytes = 0;
    let ends = untouched
        .iter()
        .cloned()
        .chain(std::iter::once(range.end..range.end));
    for whole in ends.filter(|whole| whole.end >= range.start) {
        let gap = at..whole.start.min(range.end);
        if !gap.is_empty() {
            first.get_or_insert(gap.start);
            bytes += gap.end - gap.start;
        }
        at = at.max(whole.end.min(range.end));
    }
    first.map(|address| Touched {
        address,
        pages: bytes.div_ceil(PAGE as u64),
        range: range.clone(),
    })
}

/// Calls `look` with each page of a range, and its address; the first and last may be parts.
fn each_page(
    memory: &GuestMemory,
    range: &Range<u64>,
    mut look: impl FnMut(u64, &[u8]),
) -> Result<(), ReadError> {
    for piece in pieces(range) {
        let bytes = memory.read_range(piece.clone())?;
        let first = PAGE - usize::try_from(piece.start).unwrap_or(0) % PAGE;
        let (head, rest) = bytes.split_at(first.min(bytes.len()));
        look(piece.start, head);
        let mut at = piece.start + head.len() as u64;
        for page in rest.chunks(PAGE) {
            look(at, page);
            at += page.len() as u64;
        }
    }
    Ok(())
}

/// A range in pieces that end at multiples of [`PIECE`].
fn pieces(range: &Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let end = range.end;
    let next = move |at: u64| (at / PIECE + 1).saturating_mul(PIECE).min(end);
    let first = (range.start < end).then(|| range.start..next(range.start));
    std::iter::successors(first, move |piece| {
        (piece.end < end).then(|| piece.end..next(piece.end))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn memory() -> GuestMemory {
        GuestMemory::flat(8 * MIB).unwrap()
    }

    #[test]
    fn one_flipped_bit_is_found_at_its_address_and_nothing_else_is() {
        let memory = memory();
        let range = MIB + 4096..5 * MIB - 8192;
        fill(&memory, &range).unwrap();
        assert_eq!(touched(&memory, &range).unwrap(), None);

        for address in [range.start, range.end - 1, 3 * MIB + 17] {
            let byte = memory.read_range(address..address + 1).unwrap()[0];
            memory.write(address, &[byte ^ 0x40]).unwrap();
            let found = touched(&memory, &range).unwrap().unwrap();
            assert_eq!((found.address, found.pages), (address, 1));
            assert_eq!(found.range, range);
            memory.write(address, &[byte]).unwrap();
        }
        assert_eq!(touched(&memory, &range).unwrap(), None);
        assert_eq!(
            memory.read_range(range.end..range.end + 8).unwrap(),
            [0; 8],
            "nothing beside it was written"
        );
    }

    #[test]
    fn memory_that_was_never_filled_is_touched() {
        let found = touched(&memory(), &(MIB..2 * MIB)).unwrap().unwrap();
        assert_eq!((found.address, found.pages), (MIB, 256));
    }

    #[test]
    fn a_range_need_not_begin_or_end_at_a_page() {
        let memory = memory();
        let range = MIB + 3..MIB + 9001;
        fill(&memory, &range).unwrap();
        assert_eq!(touched(&memory, &range).unwrap(), None);
        assert_eq!(memory.read_range(MIB..MIB + 3).unwrap(), [0; 3]);
    }

    #[test]
    fn what_is_known_untouched_tells_of_any_range_in_it() {
        let memory = memory();
        let all = 0..8 * MIB;
        fill(&memory, &all).unwrap();
        memory.write(2 * MIB + 5, b"x").unwrap();
        memory.write(6 * MIB, b"x").unwrap();

        let whole = untouched(&memory, &all).unwrap();

        assert_eq!(
            whole,
            [0..2 * MIB, 2 * MIB + 4096..6 * MIB, 6 * MIB + 4096..8 * MIB]
        );
        assert_eq!(missing(&whole, &(3 * MIB..6 * MIB)), None);
        let found = missing(&whole, &(MIB..7 * MIB)).unwrap();
        assert_eq!((found.address, found.pages), (2 * MIB, 2));
        let found = missing(&[], &(MIB..2 * MIB)).unwrap();
        assert_eq!((found.address, found.pages), (MIB, 256));
    }
}
