// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What makes a frame, and what a card can take. Pure: no kernel.

/// Why a frame was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A size is 0 or above 65535.
    Size,
    /// No such pixel format, or the card lacks it.
    Pixel,
    /// Shorter than a line.
    Stride,
    /// The frame is larger than the card takes.
    TooLarge,
    /// The clip mask is larger than the card takes, or the card takes none.
    Clip,
}

impl Refusal {
    /// The reason, in words.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Refusal::Size => "width and height must be 1 to 65535",
            Refusal::Pixel => "the card does not have this pixel format",
            Refusal::Stride => "the stride is shorter than a line",
            Refusal::TooLarge => "the frame is larger than the card takes",
            Refusal::Clip => "the card takes no clip mask of this size",
        }
    }
}

/// What a card can take, as it says itself, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Slots in the table, 1 to 32.
    pub(crate) slots: u32,
    /// Address bits it drives, 24 to 64.
    pub(crate) address_bits: u32,
    /// Frames begin at multiples of this, bytes.
    pub(crate) alignment: u64,
    /// Frames do not cross multiples of this, bytes; 0: no such limit.
    pub(crate) boundary: u64,
    /// Largest frame, bytes.
    pub(crate) max_frame: u64,
    /// Bit n: pixel format n.
    pub(crate) formats: u16,
    /// Largest clip mask, bytes; 0: none.
    pub(crate) max_clip: u64,
}

impl Limits {
    /// Checks what the card's registers say; `None` if it makes no sense.
    pub(crate) fn new(raw: RawLimits) -> Option<Self> {
        let RawLimits {
            slots,
            address_bits,
            align_shift,
            boundary_shift,
            max_frame,
            formats,
            max_clip,
        } = raw;
        let sane = (1..=32).contains(&slots)
            && (24..=64).contains(&address_bits)
            && align_shift <= 30
            && (boundary_shift == 0 || (12..=63).contains(&boundary_shift))
            && max_frame > 0;
        sane.then(|| Limits {
            slots: slots.into(),
            address_bits: address_bits.into(),
            alignment: 1 << align_shift,
            boundary: if boundary_shift == 0 {
                0
            } else {
                1 << boundary_shift
            },
            max_frame: max_frame.into(),
            formats,
            max_clip: max_clip.into(),
        })
    }

    /// Whether the card can reach `length` bytes at bus address `dma` as a frame.
    pub(crate) fn accepts(&self, dma: u64, length: u64) -> bool {
        let Some(last) = length.checked_sub(1).and_then(|rest| dma.checked_add(rest)) else {
            return false;
        };
        let reachable = last.checked_shr(self.address_bits).unwrap_or(0) == 0;
        let aligned = dma.checked_rem(self.alignment) == Some(0);
        let block = |address: u64| address.checked_div(self.boundary);
        reachable && aligned && block(dma) == block(last)
    }
}

/// The fields of the card's registers, as read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawLimits {
    /// `LIMITS.slots`.
    pub(crate) slots: u8,
    /// `LIMITS.address_bits`.
    pub(crate) address_bits: u8,
    /// `LIMITS.align_shift`.
    pub(crate) align_shift: u8,
    /// `LIMITS.boundary_shift`.
    pub(crate) boundary_shift: u8,
    /// `MAX_FRAME`.
    pub(crate) max_frame: u32,
    /// `FEATURES.formats`.
    pub(crate) formats: u16,
    /// The largest mask if `FEATURES.clip`, else 0.
    pub(crate) max_clip: u32,
}

/// Of a format, by its number in `FORMAT.pixel`.
pub(crate) const fn bytes_per_pixel(pixel: u8) -> Option<u32> {
    match pixel {
        0 => Some(2),
        1 => Some(1),
        2 => Some(3),
        _ => None,
    }
}

/// A frame that the card can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Pixels.
    pub(crate) width: u16,
    /// Lines.
    pub(crate) height: u16,
    /// Bytes from line to line.
    pub(crate) stride: u32,
    /// As `FORMAT.pixel`.
    pub(crate) pixel: u8,
    /// Bytes that are lent for it: the last line has no tail.
    pub(crate) frame_size: u64,
    /// Bytes of its clip mask; 0: none. One bit a pixel, each line begins at a byte.
    pub(crate) clip_size: u64,
}

impl Geometry {
    /// Checks a frame of `width` by `height` pixels. `stride` 0: as tight as can be.
    pub(crate) fn new(
        limits: &Limits,
        (width, height): (u32, u32),
        stride: u32,
        pixel: u32,
        clip: bool,
    ) -> Result<Self, Refusal> {
        let width = u16::try_from(width)
            .ok()
            .filter(|w| *w > 0)
            .ok_or(Refusal::Size)?;
        let height = u16::try_from(height)
            .ok()
            .filter(|h| *h > 0)
            .ok_or(Refusal::Size)?;
        let pixel = u8::try_from(pixel).map_err(|_| Refusal::Pixel)?;
        let offered = limits.formats.checked_shr(pixel.into()).unwrap_or(0) & 1 == 1;
        let bytes = bytes_per_pixel(pixel).ok_or(Refusal::Pixel)?;
        if !offered {
            return Err(Refusal::Pixel);
        }
        // At most 3 * 65535, and then 32 bits times 16 bits: nothing below can overflow.
        let line = bytes.saturating_mul(width.into());
        let stride = if stride == 0 { line } else { stride };
        if stride < line {
            return Err(Refusal::Stride);
        }
        let before = u64::from(stride).saturating_mul(u64::from(height).saturating_sub(1));
        let frame_size = before.saturating_add(line.into());
        if frame_size > limits.max_frame {
            return Err(Refusal::TooLarge);
        }
        let mask = u64::from(width.div_ceil(8)).saturating_mul(height.into());
        let clip_size = if clip { mask } else { 0 };
        if clip_size > limits.max_clip {
            return Err(Refusal::Clip);
        }
        Ok(Geometry {
            width,
            height,
            stride,
            pixel,
            frame_size,
            clip_size,
        })
    }
}
