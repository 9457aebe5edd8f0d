// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a frame's memory must hold.

use landfall_device::devices::capture::pattern::{self, FrameSpec};
use landfall_reserve::canary;

/// Fills `out` with what must lie at `offset` of a frame that begins at physical address `phys`.
pub(super) fn fill(out: &mut [u8], offset: u64, phys: u64, spec: &FrameSpec, clip: Option<&[u8]>) {
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
fn untouched(out: &mut [u8], offset: u64, phys: u64, range: std::ops::Range<u64>) {
    let end = offset + out.len() as u64;
    for at in range.start.max(offset)..range.end.min(end) {
        let index = usize::try_from(at - offset).unwrap_or(usize::MAX);
        if let Some(byte) = out.get_mut(index) {
            *byte = canary::byte(phys.wrapping_add(at));
        }
    }
}

/// Calls `each` with the bytes of each pixel of a line that the mask takes out, from the line's start.
fn clipped(line: u64, mask: &[u8], spec: &FrameSpec, mut each: impl FnMut(std::ops::Range<u64>)) {
    let per_line = u64::from(spec.width.div_ceil(8));
    let pixel = u64::from(spec.pixel.bytes());
    for x in 0..u64::from(spec.width) {
        let byte = usize::try_from(line * per_line + x / 8)
            .ok()
            .and_then(|at| mask.get(at));
        if byte.is_some_and(|byte| byte >> (x % 8) & 1 == 0) {
            each(x * pixel..(x + 1) * pixel);
        }
    }
}
