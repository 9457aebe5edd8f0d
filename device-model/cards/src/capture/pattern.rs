// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the card puts into a frame: a pure function of frame, slot and position.
//!
//! The card and whoever verifies it call the same [`fill`].
//!
//! **Test pattern.** The 8 bytes at offset `8 i` of a frame are one little-endian word: bits 63:56
//! `0xa0 | slot`, 55:32 the sequence number's low 24 bits, 31:0 `i`. So every 8 bytes tell slot, frame and
//! offset; [`decode`] takes them apart.
//!
//! **Pictures.** Bars with a moving counter, a moving ramp, a moving checkerboard. The two low bits of
//! every byte are a watermark: 16 bits for each 8 bytes. Four words share the 64 bits of a hash of sequence
//! number, slot and `i / 4`; word `i` has the two bits of each of its bytes from the bits `i % 4` pairs
//! higher in the same byte of the hash. So a picture's bytes, too, depend on frame and position, at a cost
//! of less than 1.6 % of brightness.

use super::picture::Drawing;
use landfall_device::random::mix;

/// The picture, as in `FORMAT.pattern`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pattern {
    /// Every 8 bytes tell slot, frame and offset.
    #[default]
    Test,
    /// SMPTE colour bars at 75 %, with the sequence number moving over them.
    Bars,
    /// Dark to bright, moving.
    Ramp,
    /// Squares of 64 pixels, moving.
    Checker,
}

impl Pattern {
    /// All of them; the index is the number in `FORMAT.pattern`.
    pub const ALL: [Self; 4] = [Self::Test, Self::Bars, Self::Ramp, Self::Checker];

    /// Finds the pattern with this number in `FORMAT.pattern`.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Its number in `FORMAT.pattern`.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

landfall_device::contract::named! {
    Pattern, "pattern" {
        Test => "test",
        Bars => "bars",
        Ramp => "ramp",
        Checker => "checker",
    }
}

/// The pixel format, as in `FORMAT.pixel`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pixel {
    /// Two pixels in four bytes: Y0 U Y1 V. The width must be even.
    #[default]
    Yuyv,
    /// One byte of brightness.
    Grey,
    /// Red, green, blue.
    Rgb24,
}

impl Pixel {
    /// All of them; the index is the number in `FORMAT.pixel`.
    pub const ALL: [Self; 3] = [Self::Yuyv, Self::Grey, Self::Rgb24];

    /// Finds the format with this number in `FORMAT.pixel`.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Its number in `FORMAT.pixel`.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// V4L2's number for it, `V4L2_PIX_FMT_*`.
    pub const fn fourcc(self) -> u32 {
        u32::from_le_bytes(match self {
            Self::Yuyv => *b"YUYV",
            Self::Grey => *b"GREY",
            Self::Rgb24 => *b"RGB3",
        })
    }

    /// Bytes of one pixel.
    pub const fn bytes(self) -> u32 {
        match self {
            Self::Yuyv => 2,
            Self::Grey => 1,
            Self::Rgb24 => 3,
        }
    }
}

landfall_device::contract::named! {
    Pixel, "pixel format" {
        Yuyv => "yuyv",
        Grey => "grey",
        Rgb24 => "rgb24",
    }
}

/// Everything that the bytes of one frame depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct FrameSpec {
    /// The picture.
    pub pattern: Pattern,
    /// The pixel format.
    pub pixel: Pixel,
    /// Pixels of a line.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// Bytes from line to line.
    pub stride: u32,
    /// The frame's sequence number.
    pub sequence: u32,
    /// The slot that it was captured into.
    pub slot: u8,
}

impl FrameSpec {
    /// Bytes of a line's pixels.
    pub const fn line_bytes(&self) -> u64 {
        self.width as u64 * self.pixel.bytes() as u64
    }

    /// Bytes from the frame's first to its last; 0 if it has no lines.
    pub const fn frame_bytes(&self) -> u64 {
        match self.height.checked_sub(1) {
            Some(gaps) => self.stride as u64 * gaps as u64 + self.line_bytes(),
            None => 0,
        }
    }

    /// Bytes of a clip mask for it: one bit a pixel, every line from a whole byte.
    pub const fn clip_bytes(&self) -> u64 {
        self.width.div_ceil(8) as u64 * self.height as u64
    }

    /// Whether it makes a frame: lines, even width for YUYV, lines that do not overlap.
    pub const fn is_frame(&self) -> bool {
        let paired = !matches!(self.pixel, Pixel::Yuyv) || self.width.is_multiple_of(2);
        self.width > 0 && self.height > 0 && paired && self.stride as u64 >= self.line_bytes()
    }

    const fn seed(&self) -> u64 {
        (0xa0 | (self.slot as u64 & 0x1f)) << 56 | (self.sequence as u64 & 0xff_ffff) << 32
    }
}

/// Fills `out` with the frame's bytes from `frame_offset` on.
///
/// Bytes between the lines get what the pattern would give; the card does not write them.
pub fn fill(out: &mut [u8], frame_offset: u64, spec: &FrameSpec) {
    Painter::new(*spec).fill(out, frame_offset);
}

/// Makes one frame in many small pieces. What it gives is what [`fill`] gives; it only keeps what a
/// picture's lines have in common from piece to piece.
#[derive(Debug)]
pub struct Painter {
    seed: u64,
    drawing: Option<Drawing>,
}

impl Painter {
    /// Begins with a frame.
    pub fn new(spec: FrameSpec) -> Self {
        Self {
            seed: spec.seed(),
            drawing: (spec.pattern != Pattern::Test).then(|| Drawing::new(spec)),
        }
    }

    /// Fills `out` with the frame's bytes from `frame_offset` on, in any order of offsets.
    pub fn fill(&mut self, out: &mut [u8], frame_offset: u64) {
        match &mut self.drawing {
            None => test(out, frame_offset, self.seed),
            Some(drawing) => {
                drawing.draw(out, frame_offset);
                watermark(out, frame_offset, self.seed);
            }
        }
    }
}

fn test(out: &mut [u8], offset: u64, seed: u64) {
    const INDEX: u64 = u32::MAX as u64;
    let word = |index: u64, _| seed | (index & INDEX);
    let (head, words, tail) = aligned(out, offset);
    let first = offset.div_ceil(8);
    let after = first + words.len() as u64;
    each_word(head, offset, word);
    if after <= INDEX {
        count(words, seed | first);
    } else {
        each_word(words.as_flattened_mut(), first * 8, word);
    }
    each_word(tail, after * 8, word);
}

/// Numbers words from `first` on; so plain that it becomes vector code.
fn count(words: &mut [[u8; 8]], first: u64) {
    for (number, word) in (first..).zip(words) {
        *word = number.to_le_bytes();
    }
}

fn watermark(out: &mut [u8], offset: u64, seed: u64) {
    const LOW: u64 = 0x0303_0303_0303_0303;
    const GROUP: usize = 32;
    let mark = |hash: u64, word: u64, drawn: u64| (drawn & !LOW) | (hash >> (word * 2) & LOW);
    let single = |index: u64, drawn: u64| mark(mix(seed ^ (index / 4)), index % 4, drawn);
    let (head, groups, tail) = aligned::<GROUP>(out, offset);
    each_word(head, offset, single);
    let first = offset.div_ceil(GROUP as u64);
    let after = first + groups.len() as u64;
    for (group, bytes) in (first..).zip(groups) {
        let hash = mix(seed ^ group);
        for (word, bytes) in (0..).zip(bytes.as_chunks_mut().0) {
            *bytes = mark(hash, word, u64::from_le_bytes(*bytes)).to_le_bytes();
        }
    }
    each_word(tail, after * GROUP as u64, single);
}

/// Takes a word of the test pattern apart: slot, low 24 bits of the sequence number, byte offset in the
/// frame. `None`: it is none, by its top bits.
pub const fn decode(word: u64) -> Option<(u8, u32, u64)> {
    if word >> 61 != 0b101 {
        return None;
    }
    let slot = (word >> 56) as u8 & 0x1f;
    Some((
        slot,
        (word >> 32) as u32 & 0xff_ffff,
        (word & 0xffff_ffff) * 8,
    ))
}

/// Replaces each 8-byte word of a frame, of which `out` shows the bytes from `offset` on; words at either
/// end may show in part.
#[inline]
fn each_word(out: &mut [u8], offset: u64, word: impl Fn(u64, u64) -> u64) {
    let (head, words, tail) = aligned(out, offset);
    partial(head, (offset % 8) as usize, |old| word(offset / 8, old));
    let first = offset.div_ceil(8);
    let last = first + words.len() as u64;
    for (index, bytes) in (first..).zip(words) {
        *bytes = word(index, u64::from_le_bytes(*bytes)).to_le_bytes();
    }
    partial(tail, 0, |old| word(last, old));
}

/// Splits the bytes of a frame from `offset` on into chunks that begin at a multiple of their length, and
/// what is before and after.
fn aligned<const N: usize>(out: &mut [u8], offset: u64) -> (&mut [u8], &mut [[u8; N]], &mut [u8]) {
    let misfit = (offset % N as u64) as usize;
    let head = (N - misfit) % N;
    let (head, body) = out.split_at_mut(head.min(out.len()));
    let (chunks, tail) = body.as_chunks_mut();
    (head, chunks, tail)
}

/// Replaces the bytes of a word of which only those from byte `from` on show.
fn partial(shown: &mut [u8], from: usize, word: impl Fn(u64) -> u64) {
    let mut bytes = [0; 8];
    for (byte, old) in bytes.iter_mut().skip(from).zip(shown.iter()) {
        *byte = *old;
    }
    let new = word(u64::from_le_bytes(bytes)).to_le_bytes();
    for (old, byte) in shown.iter_mut().zip(new.iter().skip(from)) {
        *old = *byte;
    }
}

#[cfg(test)]
#[path = "pattern_tests.rs"]
mod tests;
