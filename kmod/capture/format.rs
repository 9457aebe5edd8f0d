// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Pictures as V4L2 knows them: which there are, and what is nearest to a wish. Pure: no kernel.

use super::geometry::{bytes_per_pixel, Geometry, Limits, Refusal};

/// `struct landfall_picture`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Picture {
    /// `V4L2_PIX_FMT_*`.
    pub(crate) fourcc: u32,
    /// Pixels.
    pub(crate) width: u32,
    /// Lines.
    pub(crate) height: u32,
    /// Bytes from line to line.
    pub(crate) stride: u32,
    /// Bytes of a buffer.
    pub(crate) size: u32,
}

/// `struct landfall_sizes`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) min_width: u32,
    pub(crate) max_width: u32,
    pub(crate) step_width: u32,
    pub(crate) min_height: u32,
    pub(crate) max_height: u32,
    pub(crate) step_height: u32,
}

/// Formats by their number in `FORMAT.pixel`: YUYV, GREY and RGB3.
const FOURCCS: [u32; 3] = [
    u32::from_le_bytes(*b"YUYV"),
    u32::from_le_bytes(*b"GREY"),
    u32::from_le_bytes(*b"RGB3"),
];
/// Widths are even: YUYV has two pixels in four bytes.
const STEP_WIDTH: u32 = 2;
const MIN_HEIGHT: u32 = 2;
const MAX_WIDTH: u32 = 3840;
const MAX_HEIGHT: u32 = 2160;
/// What is wished at first.
const FIRST: (u32, u32) = (640, 480);

/// The shortest interval that V4L2's calls know, microseconds; it means: as soon as there is a buffer.
pub(crate) const SHORTEST: u32 = 1000;
/// The longest.
pub(crate) const LONGEST: u32 = 1_000_000;

/// The card's formats, as numbers in `FORMAT.pixel`.
fn pixels(limits: &Limits) -> impl Iterator<Item = u8> + '_ {
    (0u8..)
        .zip(FOURCCS)
        .map(|(pixel, _)| pixel)
        .filter(|pixel| limits.formats.checked_shr((*pixel).into()).unwrap_or(0) & 1 == 1)
}

fn fourcc(pixel: u8) -> Option<u32> {
    FOURCCS.get(usize::from(pixel)).copied()
}

fn pixel(limits: &Limits, wanted: u32) -> Option<u8> {
    pixels(limits).find(|pixel| fourcc(*pixel) == Some(wanted))
}

/// The formats, by number.
pub(crate) fn format(limits: &Limits, index: u32) -> Option<u32> {
    pixels(limits)
        .nth(usize::try_from(index).ok()?)
        .and_then(fourcc)
}

/// The sizes of a format: of the largest in both directions the card takes a frame.
pub(crate) fn sizes(limits: &Limits, fourcc: u32) -> Option<Sizes> {
    let bytes = bytes_per_pixel(pixel(limits, fourcc)?)?;
    let line = |width: u32| u64::from(width.saturating_mul(bytes));
    let widest = limits
        .max_frame
        .checked_div(line(STEP_WIDTH).saturating_mul(MIN_HEIGHT.into()))?;
    let steps = u32::try_from(widest.min((MAX_WIDTH / STEP_WIDTH).into())).ok()?;
    let max_width = steps.saturating_mul(STEP_WIDTH);
    let highest = limits.max_frame.checked_div(line(max_width))?;
    Some(Sizes {
        min_width: STEP_WIDTH,
        max_width,
        step_width: STEP_WIDTH,
        min_height: MIN_HEIGHT,
        max_height: u32::try_from(highest.min(MAX_HEIGHT.into())).ok()?,
        step_height: 1,
    })
}

/// What is wished at first.
pub(crate) fn first(limits: &Limits) -> Picture {
    let (width, height) = FIRST;
    let wish = Picture {
        width,
        height,
        ..Picture::default()
    };
    fit(limits, wish)
}

/// What is nearest to a wish: of a format that the card lacks, the first that it has. A stride that is possible stays, another is
/// as tight as can be.
pub(crate) fn fit(limits: &Limits, wish: Picture) -> Picture {
    let known = sizes(limits, wish.fourcc).map(|sizes| (wish.fourcc, sizes));
    let other = || format(limits, 0).and_then(|first| Some((first, sizes(limits, first)?)));
    let Some((fourcc, sizes)) = known.or_else(other) else {
        return Picture::default();
    };
    let width = wish
        .width
        .clamp(sizes.min_width, sizes.max_width.max(sizes.min_width));
    let width = width.saturating_sub(width.checked_rem(sizes.step_width).unwrap_or(0));
    let height = wish
        .height
        .clamp(sizes.min_height, sizes.max_height.max(sizes.min_height));
    let bytes = pixel(limits, fourcc).and_then(bytes_per_pixel).unwrap_or(0);
    let line = width.saturating_mul(bytes);
    let size = |stride: u32| u64::from(stride).saturating_mul(height.into());
    let possible = wish.stride >= line && size(wish.stride) <= limits.max_frame;
    let stride = if possible { wish.stride } else { line };
    Picture {
        fourcc,
        width,
        height,
        stride,
        size: u32::try_from(size(stride)).unwrap_or(u32::MAX),
    }
}

/// What the card is told of a picture, if it takes it as it is. `stride` 0: as tight as can be.
pub(crate) fn geometry(limits: &Limits, wish: &Picture, clip: bool) -> Result<Geometry, Refusal> {
    let pixel = pixel(limits, wish.fourcc).ok_or(Refusal::Pixel)?;
    let size = (wish.width, wish.height);
    Geometry::new(limits, size, wish.stride, pixel.into(), clip)
}

/// That picture, with no byte behind its last line.
pub(crate) fn exactly(wish: &Picture, geometry: &Geometry) -> Picture {
    Picture {
        stride: geometry.stride,
        size: u32::try_from(geometry.frame_size).unwrap_or(u32::MAX),
        ..*wish
    }
}

/// Microseconds nearest to `numerator / denominator` seconds. The shortest, and nonsense, is 0: as soon as there is a buffer.
pub(crate) fn interval(numerator: u32, denominator: u32) -> u32 {
    let microseconds = u64::from(numerator)
        .saturating_mul(1_000_000)
        .checked_div(denominator.into())
        .unwrap_or(0);
    let microseconds = u32::try_from(microseconds).unwrap_or(u32::MAX);
    if microseconds > SHORTEST {
        microseconds.min(LONGEST)
    } else {
        0
    }
}

/// What V4L2 is told of an interval.
pub(crate) fn told(interval: u32) -> u32 {
    if interval == 0 {
        SHORTEST
    } else {
        interval
    }
}
