// SPDX-License-Identifier: MIT OR Apache-2.0

//! The pictures that a person can look at.

use super::pattern::{FrameSpec, Pattern, Pixel};

/// A colour, ready for every pixel format.
#[derive(Clone, Copy, Debug)]
struct Colour {
    yuv: [u8; 3],
    rgb: [u8; 3],
}

const fn colour(yuv: [u8; 3], rgb: [u8; 3]) -> Colour {
    Colour { yuv, rgb }
}

const BLACK: Colour = colour([16, 128, 128], [0, 0, 0]);
const WHITE: Colour = colour([235, 128, 128], [255, 255, 255]);

/// 75 % white, yellow, cyan, green, magenta, red, blue.
const BARS: [Colour; 7] = [
    colour([180, 128, 128], [191, 191, 191]),
    colour([162, 44, 142], [191, 191, 0]),
    colour([131, 156, 44], [0, 191, 191]),
    colour([112, 72, 58], [0, 191, 0]),
    colour([84, 184, 198], [191, 0, 191]),
    colour([65, 100, 212], [191, 0, 0]),
    colour([35, 212, 114], [0, 0, 191]),
];

/// Side of a square of the checkerboard, pixels.
const SQUARE: u32 = 64;
/// Pixels that the ramp and the checkerboard move with every frame.
const MOTION: u32 = 8;

/// Digits of 3 by 5 cells; bit 2 of a row is the leftmost.
const DIGITS: [[u8; 5]; 10] = [
    [7, 5, 5, 5, 7],
    [2, 6, 2, 2, 7],
    [7, 1, 7, 4, 7],
    [7, 1, 7, 1, 7],
    [5, 5, 7, 1, 1],
    [7, 4, 7, 1, 7],
    [7, 4, 7, 5, 7],
    [7, 1, 1, 2, 2],
    [7, 5, 7, 5, 7],
    [7, 5, 7, 1, 7],
];

/// A frame's picture, and the line of it that was drawn last.
#[derive(Debug)]
pub(super) struct Drawing {
    spec: FrameSpec,
    counter: Counter,
    row: Vec<u8>,
    /// Kind of the line in `row`.
    drawn: Option<u32>,
}

/// The sequence number, six digits in a black box that moves to the right with every frame.
#[derive(Debug)]
struct Counter {
    digits: [u8; 6],
    scale: u32,
    left: u32,
    top: u32,
}

impl Counter {
    const CELLS_WIDE: u32 = 6 * 4 + 1;
    const CELLS_HIGH: u32 = 7;

    fn new(spec: &FrameSpec) -> Self {
        let mut digits = [0; 6];
        let mut rest = spec.sequence;
        for digit in digits.iter_mut().rev() {
            *digit = (rest % 10) as u8;
            rest /= 10;
        }
        let scale = (spec.height / 40).max(1);
        let room = spec.width.saturating_sub(Self::CELLS_WIDE * scale);
        Self {
            digits,
            scale,
            left: spec.sequence.wrapping_mul(4 * scale) % (room + 1),
            top: spec.height / 8 * 5,
        }
    }

    /// Which row of cells line `y` is in, if it is in the box.
    fn row(&self, y: u32) -> Option<u32> {
        let row = y.checked_sub(self.top)? / self.scale;
        (row < Self::CELLS_HIGH).then_some(row)
    }

    /// The colour at `x` in a row of cells, if it is in the box.
    fn colour(&self, x: u32, row: u32) -> Option<Colour> {
        let column = x.checked_sub(self.left)? / self.scale;
        if column >= Self::CELLS_WIDE {
            return None;
        }
        let lit = || {
            let column = column.checked_sub(1)?;
            let glyph = DIGITS.get(usize::from(*self.digits.get(column as usize / 4)?))?;
            let bits = glyph.get(row.checked_sub(1)? as usize)?;
            Some(column % 4 < 3 && bits >> (2 - column % 4) & 1 != 0)
        };
        Some(if lit().unwrap_or(false) { WHITE } else { BLACK })
    }
}

impl Drawing {
    pub(super) fn new(spec: FrameSpec) -> Self {
        Self {
            counter: Counter::new(&spec),
            spec,
            row: Vec::new(),
            drawn: None,
        }
    }

    /// Draws the part of the frame that `out` shows, from byte `offset` on.
    pub(super) fn draw(&mut self, out: &mut [u8], offset: u64) {
        let stride = u64::from(self.spec.stride.max(1));
        let mut done = 0;
        while done < out.len() {
            let at = offset + done as u64;
            let (y, inside) = ((at / stride) as u32, (at % stride) as usize);
            let left = (stride as usize - inside).min(out.len() - done);
            let kind = row_kind(&self.spec, &self.counter, y);
            if self.drawn != Some(kind) {
                draw_row(&mut self.row, &self.spec, &self.counter, kind);
                self.drawn = Some(kind);
            }
            if let Some(line) = out.get_mut(done..done + left) {
                let shown = self.row.get(inside..).unwrap_or_default();
                let shown = shown.get(..left).unwrap_or(shown);
                let (pixels, gap) = line.split_at_mut(shown.len());
                pixels.copy_from_slice(shown);
                gap.fill(0);
            }
            done += left;
        }
    }
}

/// Lines of the same kind look the same.
fn row_kind(spec: &FrameSpec, counter: &Counter, y: u32) -> u32 {
    match spec.pattern {
        Pattern::Bars => counter.row(y).map_or(0, |row| row + 1),
        Pattern::Checker => y / SQUARE % 2,
        Pattern::Ramp | Pattern::Test => 0,
    }
}

fn draw_row(row: &mut Vec<u8>, spec: &FrameSpec, counter: &Counter, kind: u32) {
    row.clear();
    let at = |x: u32| colour_at(spec, counter, kind, x);
    match spec.pixel {
        Pixel::Grey => row.extend((0..spec.width).map(|x| at(x).yuv[0])),
        Pixel::Rgb24 => row.extend((0..spec.width).flat_map(|x| at(x).rgb)),
        Pixel::Yuyv => row.extend((0..spec.width / 2).flat_map(|pair| {
            let [y0, u, v] = at(2 * pair).yuv;
            [y0, u, at(2 * pair + 1).yuv[0], v]
        })),
    }
}

fn colour_at(spec: &FrameSpec, counter: &Counter, kind: u32, x: u32) -> Colour {
    let moved = u64::from(x) + u64::from(spec.sequence) * u64::from(MOTION);
    let width = u64::from(spec.width.max(1));
    match spec.pattern {
        Pattern::Bars => {
            let over = kind.checked_sub(1).and_then(|row| counter.colour(x, row));
            let bar = (u64::from(x) * 7 / width) as usize;
            over.unwrap_or_else(|| BARS.get(bar).copied().unwrap_or(BLACK))
        }
        Pattern::Ramp => {
            let level = moved % width * 256 / width;
            let brightness = (16 + level * 219 / 255) as u8;
            colour([brightness, 128, 128], [level as u8; 3])
        }
        Pattern::Checker | Pattern::Test => {
            if (moved / u64::from(SQUARE) + u64::from(kind)).is_multiple_of(2) {
                WHITE
            } else {
                BLACK
            }
        }
    }
}
