// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a frame's memory and the pool's must hold.

use std::ops::Range;

use landfall_cards::capture::pattern::{self, FrameSpec, Pattern};
use landfall_reserve::canary;

/// Words compared before it is asked whether one differed: enough for vectors, little enough to stop early.
const WORDS: usize = 64;
/// Bytes of them.
const BLOCK: usize = 8 * WORDS;

/// A frame of the test pattern without a gap between its lines or a clip mask: nothing has to be written down
/// to compare with it.
pub(super) struct Plain<'a> {
    spec: &'a FrameSpec,
    /// What all words of the frame have in common.
    common: u64,
}

impl<'a> Plain<'a> {
    /// `None` if the frame is of another kind.
    pub(super) fn of(spec: &'a FrameSpec, clip: Option<&[u8]>) -> Option<Self> {
        let plain = spec.pattern == Pattern::Test
            && clip.is_none()
            && (spec.stride == 0 || u64::from(spec.stride) == spec.line_bytes());
        let mut first = [0; 8];
        pattern::fill(&mut first, 0, spec);
        plain.then(|| Self {
            spec,
            common: u64::from_le_bytes(first),
        })
    }

    /// Whether `have` is what must lie at `offset`. It may say no where [`fill`] says yes, never the reverse.
    pub(super) fn is(&self, have: &[u8], offset: u64) -> bool {
        if !offset.is_multiple_of(8) {
            return false;
        }
        let (blocks, rest) = have.as_chunks::<BLOCK>();
        let mut first = offset / 8;
        for block in blocks {
            if !agree(block, |at| self.common | ((first + at) & 0xffff_ffff)) {
                return false;
            }
            first += WORDS as u64;
        }
        let mut want = [0; BLOCK];
        let want = want.get_mut(..rest.len()).unwrap_or_default();
        pattern::fill(want, 8 * first, self.spec);
        rest == want
    }
}

/// Whether `have`, which lies at physical address `phys`, is the canary.
pub(super) fn is_canary(have: &[u8], phys: u64) -> bool {
    let head = usize::try_from(phys.wrapping_neg() % canary::WORD).unwrap_or(0);
    let (head, body) = have.split_at(head.min(have.len()));
    let (blocks, rest) = body.as_chunks::<BLOCK>();
    let mut at = phys.wrapping_add(head.len() as u64);
    if canary::first_difference(head, phys).is_some() {
        return false;
    }
    for block in blocks {
        if !agree(block, |word| {
            canary::word(at.wrapping_add(canary::WORD * word))
        }) {
            return false;
        }
        at = at.wrapping_add(BLOCK as u64);
    }
    canary::first_difference(rest, at).is_none()
}

/// Whether each of a block's words is the one that `want` gives for its number.
#[inline]
fn agree(block: &[u8; BLOCK], want: impl Fn(u64) -> u64) -> bool {
    let (words, _) = block.as_chunks::<8>();
    let mut wrong = 0;
    for (at, have) in (0..).zip(words) {
        wrong |= u64::from_le_bytes(*have) ^ want(at);
    }
    wrong == 0
}

/// Fills `out` with what must lie at `offset` of a frame that begins at physical address `phys`.
pub(crate) fn fill(out: &mut [u8], offset: u64, phys: u64, spec: &FrameSpec, clip: Option<&[u8]>) {
    pattern::fill(out, offset, spec);
    let stride = u64::from(spec.stride);
    if stride == 0 || (stride == spec.line_bytes() && clip.is_none()) {
        return;
    }
    let end = offset + out.len() as u64;
    for line in offset / stride..=end / stride {
        let start = line * stride;
        if let Some(mask) = clip {
            clipped(line, mask, spec, |range| {
                untouched(out, offset, phys, start + range.start..start + range.end);
            });
        }
        untouched(out, offset, phys, start + spec.line_bytes()..start + stride);
    }
}

/// Puts the canary into the part of `out` that shows `range` of the frame.
fn untouched(out: &mut [u8], offset: u64, phys: u64, range: Range<u64>) {
    let end = offset + out.len() as u64;
    let (from, to) = (range.start.max(offset), range.end.min(end));
    let index = |at: u64| usize::try_from(at.saturating_sub(offset)).unwrap_or(usize::MAX);
    if let Some(shown) = out.get_mut(index(from)..index(to)) {
        for (at, byte) in (phys.wrapping_add(from)..).zip(shown) {
            *byte = canary::byte(at);
        }
    }
}

/// Calls `each` with the bytes of each run of pixels of a line that the mask takes out, from the line's start.
fn clipped(line: u64, mask: &[u8], spec: &FrameSpec, mut each: impl FnMut(Range<u64>)) {
    let (width, pixel) = (u64::from(spec.width), u64::from(spec.pixel.bytes()));
    let per_line = width.div_ceil(8);
    let from = usize::try_from(line * per_line).unwrap_or(usize::MAX);
    let bytes = mask.get(from..).unwrap_or_default();
    for (first, byte) in (0..width).step_by(8).zip(bytes) {
        let out = match byte {
            0xff => continue,
            0 => 8,
            _ => 1,
        };
        for x in (first..width.min(first + 8)).step_by(out) {
            if byte >> (x % 8) & 1 == 0 {
                each(x * pixel..width.min(x + out as u64) * pixel);
            }
        }
    }
}
