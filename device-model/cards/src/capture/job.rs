// SPDX-License-Identifier: MIT OR Apache-2.0

//! One frame's way into memory: what must hold before it begins, and which bytes come next.

use std::ops::Range;

use super::CaptureOptions;
use super::pattern::{FrameSpec, Painter, Pattern, Pixel};
use super::planted::Strike;
use super::regs::{self, FORMAT, GEOMETRY};
use landfall_device::contract::{JobId, Tag};

/// A slot's registers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot {
    pub(super) base: u64,
    pub(super) size: u32,
    pub(super) clip: u64,
    pub(super) clip_size: u32,
    pub(super) result: u8,
    pub(super) sequence: u32,
    pub(super) bytes: u32,
    pub(super) time_ns: u64,
    /// The job that it was queued for last.
    pub(super) job: JobId,
    /// The register write that queued it last.
    pub(super) queued_by: Option<u64>,
}

/// What is captured, as the registers say it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Picture {
    pub(super) format: FORMAT,
    pub(super) geometry: GEOMETRY,
    pub(super) stride: u32,
}

impl Picture {
    /// The frame that this makes; `None`: it makes none.
    pub(super) fn frame(self, sequence: u32, slot: u8) -> Option<FrameSpec> {
        let spec = FrameSpec {
            pattern: Pattern::from_number(self.format.pattern())?,
            pixel: Pixel::from_number(self.format.pixel())?,
            width: u32::from(self.geometry.width()),
            height: u32::from(self.geometry.height()),
            stride: self.stride,
            sequence,
            slot,
        };
        spec.is_frame().then_some(spec)
    }
}

/// Checks a job against the card's limits; the error is a `RESULT_*`.
pub(super) fn check(slot: &Slot, spec: &FrameSpec, limits: &CaptureOptions) -> Result<(), u8> {
    let bytes = spec.frame_bytes();
    let clip = u64::from(slot.clip_size);
    if clip != 0 && (clip < spec.clip_bytes() || clip > u64::from(regs::MAX_CLIP)) {
        return Err(regs::RESULT_GEOMETRY);
    }
    if bytes > u64::from(limits.max_frame) {
        return Err(regs::RESULT_TOO_LARGE);
    }
    if bytes > u64::from(slot.size) {
        return Err(regs::RESULT_TOO_SMALL);
    }
    if slot.base.trailing_zeros() < u32::from(limits.align_shift) {
        return Err(regs::RESULT_ALIGNMENT);
    }
    let last = reach(slot.base, bytes, limits.address_bits)?;
    if clip != 0 {
        reach(slot.clip, spec.clip_bytes(), limits.address_bits)?;
    }
    let crosses = |shift: u32| slot.base.checked_shr(shift) != last.checked_shr(shift);
    if limits.boundary_shift != 0 && crosses(limits.boundary_shift.into()) {
        return Err(regs::RESULT_BOUNDARY);
    }
    Ok(())
}

/// The last address of a range, if the card can drive it.
pub(super) fn reach(base: u64, bytes: u64, address_bits: u8) -> Result<u64, u8> {
    let last = base
        .checked_add(bytes.saturating_sub(1))
        .ok_or(regs::RESULT_ADDRESS)?;
    match last.checked_shr(address_bits.into()) {
        Some(beyond) if beyond != 0 => Err(regs::RESULT_ADDRESS),
        _ => Ok(last),
    }
}

/// A frame being written.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) number: JobId,
    pub(super) slot: u8,
    pub(super) spec: FrameSpec,
    pub(super) painter: Painter,
    /// Where the driver said that it goes.
    pub(super) base: u64,
    /// Where its clip mask is, if it has one.
    pub(super) clip: u64,
    /// Address and length of the mask while it is yet to be read.
    pub(super) mask_wanted: Option<(u64, usize)>,
    pub(super) mask: Option<Vec<u8>>,
    /// Offset in the frame up to which all is done.
    pub(super) position: u64,
    pub(super) written: u64,
    /// Its completion was told already.
    pub(super) completed: bool,
    /// The faults that strike it.
    pub(super) strikes: Vec<Strike>,
}

/// A frame's outcome, as its slot's record has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) job: JobId,
    pub(super) slot: u8,
    pub(super) sequence: u32,
    pub(super) result: u8,
    pub(super) bytes: u64,
}

impl Job {
    pub(super) fn tag(&self) -> Tag {
        Tag::job(self.number)
    }

    pub(super) fn record(&self, result: u8, bytes: u64) -> Record {
        Record {
            job: self.number,
            slot: self.slot,
            sequence: self.spec.sequence,
            result,
            bytes,
        }
    }

    /// The bus address that byte `position` of the frame really goes to.
    pub(super) fn address(&self, position: u64) -> u64 {
        let bends = self.strikes.iter().filter(|strike| strike.bends(position));
        let base = bends.fold(self.base, |base, strike| strike.what.bend(base));
        base.wrapping_add(position)
    }

    /// Offset in the frame at which it ends.
    fn end(&self) -> u64 {
        let ends = self.strikes.iter().filter_map(Strike::end);
        ends.fold(self.spec.frame_bytes(), u64::min)
    }

    /// The next bytes to write at once, as offsets in the frame; `None`: the frame is complete.
    pub(super) fn next_run(&self) -> Option<Range<u64>> {
        let mut run = self.next_gapless()?;
        for at in self.strikes.iter().filter_map(|strike| strike.byte) {
            if run.start < at && at < run.end {
                run.end = at;
            }
        }
        Some(run)
    }

    fn next_gapless(&self) -> Option<Range<u64>> {
        let end = self.end();
        let line = self.spec.line_bytes();
        let stride = u64::from(self.spec.stride);
        if line == stride && self.mask.is_none() {
            return (self.position < end).then_some(self.position..end);
        }
        let mut at = self.position;
        while at < end {
            let start = at - at % stride;
            let inside = at - start;
            if let Some(run) = (inside < line)
                .then(|| self.run_in_line(start, inside))
                .flatten()
            {
                let run = start + run.start..(start + run.end).min(end);
                return (run.start < run.end).then_some(run);
            }
            at = start + stride;
        }
        None
    }

    /// The next bytes to write of the line that begins at `start`, from byte `inside` of it on.
    fn run_in_line(&self, start: u64, inside: u64) -> Option<Range<u64>> {
        let line = self.spec.line_bytes();
        let Some(mask) = &self.mask else {
            return Some(inside..line);
        };
        let pixel = u64::from(self.spec.pixel.bytes());
        let width = u64::from(self.spec.width);
        let row = start / u64::from(self.spec.stride) * width.div_ceil(8);
        let shown = |x: u64| {
            let byte = usize::try_from(row + x / 8)
                .ok()
                .and_then(|at| mask.get(at));
            byte.is_some_and(|byte| byte >> (x % 8) & 1 != 0)
        };
        let first = (inside / pixel..width).find(|x| shown(*x))?;
        let after = (first..width).find(|x| !shown(*x)).unwrap_or(width);
        Some((first * pixel).max(inside)..after * pixel)
    }
}
