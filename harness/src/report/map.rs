// SPDX-License-Identifier: MIT OR Apache-2.0

//! Draws physical memory, to scale, for a terminal.
//!
//! The first bar is all of the address space up to the end of RAM. Below it, each region of the pool is
//! drawn by itself, with the buffers of each capture, what the card wrote, and where something went wrong.

use std::fmt::Write;
use std::ops::Range;

/// One buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its slot, drawn as a digit or letter.
    pub slot: u32,
    /// Its physical addresses.
    pub range: Range<u64>,
}

/// One capture into the pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layer {
    /// What it is, such as `1920x1080 YUYV`.
    pub title: String,
    /// Its buffers.
    pub buffers: Vec<Block>,
    /// What the card wrote.
    pub written: Vec<Range<u64>>,
}

/// All that is drawn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Map {
    /// Runs of RAM, ascending.
    pub ram: Vec<Range<u64>>,
    /// Regions of the pool.
    pub pool: Vec<Range<u64>>,
    /// Captures, in order.
    pub layers: Vec<Layer>,
    /// Where something went wrong.
    pub wrong: Vec<Range<u64>>,
}

/// How to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canvas {
    /// Columns of the terminal; at least 60 are used.
    pub width: usize,
    /// Whether to colour.
    pub colour: bool,
}

/// Columns before a bar.
const LABEL: usize = 15;
/// Columns behind it.
const TAIL: usize = 17;

#[derive(Clone, Copy)]
enum Ink {
    Dim,
    Pool,
    Buffer,
    Written,
    Wrong,
}

impl Ink {
    const fn code(self) -> &'static str {
        match self {
            Self::Dim => "2",
            Self::Pool => "33",
            Self::Buffer => "36",
            Self::Written => "32",
            Self::Wrong => "1;31",
        }
    }
}

/// Draws a map; every line ends with a newline.
pub fn draw(map: &Map, canvas: Canvas) -> String {
    let columns = canvas.width.clamp(60, 160) - LABEL - TAIL;
    let pen = Pen {
        columns,
        colour: canvas.colour,
    };
    let mut out = String::new();
    let end = map.ram.last().map_or(0, |ram| ram.end);
    whole(&mut out, map, &pen, 0..end);
    for region in &map.pool {
        zoomed(&mut out, map, &pen, region);
    }
    out
}

/// The bar of all memory.
fn whole(out: &mut String, map: &Map, pen: &Pen, all: Range<u64>) {
    let scale = Scale::new(all.clone(), pen.columns);
    line(
        out,
        &format!(
            "guest-physical memory, a column is {}",
            size(scale.per_column())
        ),
    );
    let cells = scale.cells(|cell| {
        if touches(&map.pool, cell) {
            ('▓', Some(Ink::Pool))
        } else if covered(&map.ram, cell) * 2 >= cell.end - cell.start {
            ('█', Some(Ink::Dim))
        } else {
            ('╌', Some(Ink::Dim))
        }
    });
    pen.bar(
        out,
        &address(all.start),
        &cells,
        &address(all.end.saturating_sub(1)),
    );
    wrong(out, map, pen, &scale);
    let ram: u64 = map.ram.iter().map(|ram| ram.end - ram.start).sum();
    let mut legend = format!("█ RAM, {}", size(ram));
    for pair in map.ram.windows(2) {
        if let [low, high] = pair {
            let _ = write!(legend, "   ╌ hole, {}", size(high.start - low.end));
        }
    }
    for region in &map.pool {
        let _ = write!(
            legend,
            "   ▓ pool, {} at {}",
            size(region.end - region.start),
            address(region.start)
        );
    }
    line(out, &format!("{:LABEL$}{legend}", ""));
}

/// The bars of one region of the pool.
fn zoomed(out: &mut String, map: &Map, pen: &Pen, region: &Range<u64>) {
    let scale = Scale::new(region.clone(), pen.columns);
    line(out, "");
    line(
        out,
        &format!("pool, a column is {}", size(scale.per_column())),
    );
    let last = address(region.end.saturating_sub(1));
    for layer in &map.layers {
        let cells = scale.cells(|cell| {
            let most = layer
                .buffers
                .iter()
                .map(|block| (overlap(&block.range, cell), block.slot))
                .max_by_key(|(bytes, _)| *bytes)
                .filter(|(bytes, _)| bytes * 2 >= cell.end - cell.start);
            match most {
                Some((_, slot)) => (glyph(slot), Some(Ink::Buffer)),
                None => ('·', Some(Ink::Dim)),
            }
        });
        pen.bar(out, &address(region.start), &cells, &last);
        let cells = scale.cells(|cell| {
            (
                eighths(covered(&layer.written, cell), cell),
                Some(Ink::Written),
            )
        });
        pen.bar(out, "written", &cells, &layer.title);
    }
    wrong(out, map, pen, &scale);
    line(
        out,
        &format!(
            "{:LABEL$}0-9 a-v buffer of that slot   · canary   ▁▄█ written by the card",
            ""
        ),
    );
}

/// A row of marks under a bar, if anything went wrong there.
fn wrong(out: &mut String, map: &Map, pen: &Pen, scale: &Scale) {
    if !touches(&map.wrong, &scale.range) {
        return;
    }
    let cells = scale.cells(|cell| match touches(&map.wrong, cell) {
        true => ('^', Some(Ink::Wrong)),
        false => (' ', None),
    });
    pen.row(out, "wrong", &cells);
}

/// Draws rows of cells.
struct Pen {
    columns: usize,
    colour: bool,
}

impl Pen {
    fn bar(&self, out: &mut String, label: &str, cells: &[(char, Option<Ink>)], tail: &str) {
        let text = format!(
            "{label:>width$} ┤{}├ {tail}",
            self.inked(cells),
            width = LABEL - 2
        );
        line(out, &text);
    }

    fn row(&self, out: &mut String, label: &str, cells: &[(char, Option<Ink>)]) {
        let text = format!("{label:>width$}  {}", self.inked(cells), width = LABEL - 2);
        line(out, text.trim_end());
    }

    /// The cells as text; runs of one ink share one escape sequence.
    fn inked(&self, cells: &[(char, Option<Ink>)]) -> String {
        let mut out = String::new();
        let mut current: Option<&str> = None;
        for (glyph, ink) in cells {
            let code = ink.map(Ink::code).filter(|_| self.colour);
            if code != current {
                if current.is_some() {
                    out.push_str("\x1b[0m");
                }
                if let Some(code) = code {
                    let _ = write!(out, "\x1b[{code}m");
                }
                current = code;
            }
            out.push(*glyph);
        }
        if current.is_some() {
            out.push_str("\x1b[0m");
        }
        out
    }
}

/// How addresses become columns.
struct Scale {
    range: Range<u64>,
    columns: usize,
}

impl Scale {
    fn new(range: Range<u64>, columns: usize) -> Self {
        Self { range, columns }
    }

    fn per_column(&self) -> u64 {
        (self.range.end - self.range.start).div_ceil(self.columns as u64)
    }

    fn cells<T>(&self, mut each: impl FnMut(&Range<u64>) -> T) -> Vec<T> {
        let length = u128::from(self.range.end - self.range.start);
        let columns = self.columns as u128;
        let edge = |column: usize| {
            let offset = length * column as u128 / columns;
            self.range.start + u64::try_from(offset).unwrap_or(u64::MAX)
        };
        (0..self.columns)
            .map(|column| each(&(edge(column)..edge(column + 1))))
            .collect()
    }
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> u64 {
    a.end.min(b.end).saturating_sub(a.start.max(b.start))
}

fn covered(ranges: &[Range<u64>], cell: &Range<u64>) -> u64 {
    ranges.iter().map(|range| overlap(range, cell)).sum()
}

fn touches(ranges: &[Range<u64>], cell: &Range<u64>) -> bool {
    ranges.iter().any(|range| overlap(range, cell) > 0)
}

/// A block as high as `bytes` of the cell are.
fn eighths(bytes: u64, cell: &Range<u64>) -> char {
    const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let length = (cell.end - cell.start).max(1);
    let level = (bytes.min(length) * 8).div_ceil(length);
    level
        .checked_sub(1)
        .and_then(|level| LEVELS.get(usize::try_from(level).unwrap_or(7)))
        .copied()
        .unwrap_or(' ')
}

fn glyph(slot: u32) -> char {
    char::from_digit(slot, 32).unwrap_or('?')
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

/// An address, in groups of four digits.
pub fn address(address: u64) -> String {
    let low = address & 0xffff;
    let middle = (address >> 16) & 0xffff;
    match address >> 32 {
        0 => format!("0x{middle:04x}_{low:04x}"),
        high => format!("0x{high:x}_{middle:04x}_{low:04x}"),
    }
}

/// A number of bytes, with the unit that suits it.
pub fn size(bytes: u64) -> String {
    const UNITS: [(&str, u32); 3] = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (unit, shift) in UNITS {
        let one = 1_u64 << shift;
        if bytes >= one {
            let tenths = (u128::from(bytes) * 10) >> shift;
            return match tenths % 10 {
                0 => format!("{} {unit}", tenths / 10),
                tenth => format!("{}.{tenth} {unit}", tenths / 10),
            };
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn one(range: Range<u64>) -> Vec<Range<u64>> {
        std::iter::once(range).collect()
    }

    fn map() -> Map {
        let pool = 0xd00_0000..0xf40_0000;
        let buffers: Vec<Block> = (0..8)
            .map(|slot| {
                let base = pool.start + 0x1000 + u64::from(slot) * 0x3f_7000;
                Block {
                    slot,
                    range: base..base + 4_147_200,
                }
            })
            .collect();
        let written = buffers.iter().map(|block| block.range.clone()).collect();
        Map {
            ram: one(0..256 * MIB),
            pool: one(pool),
            layers: vec![Layer {
                title: "1920x1080 YUYV".to_owned(),
                buffers,
                written,
            }],
            wrong: Vec::new(),
        }
    }

    fn plain(width: usize) -> Canvas {
        Canvas {
            width,
            colour: false,
        }
    }

    #[test]
    fn a_clean_run_at_100_columns() {
        insta::assert_snapshot!(draw(&map(), plain(100)));
    }

    #[test]
    fn a_pool_above_4_gib_and_a_transfer_below_it() {
        let mut map = map();
        map.ram = vec![0..2 << 30, 4 << 30..8 << 30];
        let up = (8 << 30) - 64 * MIB - 0xd00_0000;
        map.pool = map
            .pool
            .iter()
            .map(|pool| pool.start + up..pool.end + up)
            .collect();
        for layer in &mut map.layers {
            for block in &mut layer.buffers {
                block.range = block.range.start + up..block.range.end + up;
            }
            layer.written = layer
                .buffers
                .iter()
                .map(|block| block.range.clone())
                .collect();
            layer.written.remove(2);
        }
        map.wrong = one(0x4c7_f000..0x4c7_f000 + 4_147_200);
        insta::assert_snapshot!(draw(&map, plain(100)));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_each_is_to_scale() {
        for width in [60, 80, 120, 160] {
            let drawn = draw(&map(), plain(width));
            for line in drawn.lines().filter(|line| line.contains('┤')) {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
            let bar = drawn.lines().find(|line| line.contains('▓')).unwrap();
            let columns = bar.chars().filter(|glyph| "█▓".contains(*glyph)).count();
            assert_eq!(columns, width - LABEL - TAIL);
        }
    }

    #[test]
    fn colour_only_on_request() {
        let canvas = Canvas {
            width: 80,
            colour: true,
        };
        assert!(draw(&map(), canvas).contains("\x1b[36m"));
        assert!(!draw(&map(), plain(80)).contains('\x1b'));
    }

    #[test]
    fn one_wrong_byte_makes_a_mark() {
        let mut map = map();
        map.wrong = one(0xd3f_9000..0xd3f_9001);
        let marks = draw(&map, plain(80)).matches('^').count();
        assert_eq!(marks, 2, "one in each bar");
    }

    #[test]
    fn sizes_and_addresses_read_well() {
        assert_eq!(size(4_147_200), "3.9 MiB");
        assert_eq!(size(256 * MIB), "256 MiB");
        assert_eq!(size(4096), "4 KiB");
        assert_eq!(size(7), "7 B");
        assert_eq!(address(0xd00_0000), "0x0d00_0000");
        assert_eq!(address(0x1_ffff_f000), "0x1_ffff_f000");
    }
}
