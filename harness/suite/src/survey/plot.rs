// SPDX-License-Identifier: MIT OR Apache-2.0

//! The survey as a picture: a row for each way, panels beside each other that share the rows.

use super::page::{nanoseconds, size};
use super::{Anchor, Colour, Drawing, Face, Item, Line, Outcome, State, Survey, Times, When};

const INK: Colour = Colour(0x22, 0x26, 0x2b);
const FAINT: Colour = Colour(0x6b, 0x72, 0x7b);
const GRID: Colour = Colour(0xe4, 0xe7, 0xeb);
const STRIPE: Colour = Colour(0xf7, 0xf8, 0xfa);
const FRESH: Colour = Colour(0x1f, 0x6f, 0xb5);
const SCATTERED: Colour = Colour(0x9d, 0xc3, 0xe3);
const FRAGMENTED: Colour = Colour(0xe0, 0x82, 0x2b);
const TAKE: Colour = Colour(0x3b, 0x8c, 0x6e);
const GIVE: Colour = Colour(0xa9, 0xd3, 0xc2);
const YES: Colour = Colour(0x3b, 0x8c, 0x6e);
const NO: Colour = Colour(0xd9, 0xdc, 0xe0);
const WRONG: Colour = Colour(0xc0, 0x2f, 0x2f);

const WIDTH: i32 = 1240;
const ROW: i32 = 34;
/// Where the first row begins.
const TOP: i32 = 112;
const FOOT: i32 = 58;
/// Left end and width of each panel.
const NAMES: i32 = 16;
const LARGEST: (i32, i32) = (104, 360);
const WASTE: (i32, i32) = (560, 162);
const LATENCY: (i32, i32) = (762, 252);
const REACH: (i32, i32) = (1048, 128);
const BACK: (i32, i32) = (1186, 38);

/// Draws it.
pub fn plot(survey: &Survey) -> Drawing {
    let rows = i32::try_from(survey.lines.len()).unwrap_or(0);
    let bottom = TOP + rows * ROW;
    let mut plot = Plot {
        items: Vec::new(),
        bottom,
    };
    plot.title(survey);
    for (row, line) in (0..).zip(&survey.lines) {
        let top = TOP + row * ROW;
        if row % 2 == 1 {
            plot.fill([8, top, WIDTH - 16, ROW], STRIPE);
        }
        let colour = match line.when {
            When::AnyTime => INK,
            When::Boot => FRESH,
        };
        plot.text(
            [NAMES, top + ROW / 2],
            Anchor::Left,
            Face::Bold,
            colour,
            line.method.name(),
        );
    }
    let bytes = Scale::new(LARGEST, 4096.0, survey.memory as f64);
    let ticks = (12..64).step_by(4).map(|power| 1_u64 << power);
    plot.axis(
        &bytes,
        "largest piece",
        ticks.map(|bytes| (bytes as f64, size(bytes))),
    );
    let times = Scale::new(LATENCY, 100.0, 1e9);
    let ticks = (2..10).map(|power| 10_u64.pow(power));
    plot.axis(
        &times,
        "take and give 750 pages",
        ticks
            .step_by(2)
            .map(|ns| (ns as f64, short(&nanoseconds(ns)))),
    );
    plot.columns(WASTE, "wasted pages, of", &["1", "750", "2000"]);
    plot.columns(REACH, "a card writes", &["64", "36", "32", "24"]);
    plot.columns(BACK, "back", &[""]);
    for (row, line) in (0..).zip(&survey.lines) {
        let top = TOP + row * ROW;
        plot.largest(&bytes, top, line);
        plot.waste(top, &line.fresh);
        plot.latency(&times, top, line);
        plot.reach(top, line);
    }
    plot.legend(survey);
    Drawing {
        width: WIDTH.unsigned_abs(),
        height: (bottom + FOOT).unsigned_abs(),
        items: plot.items,
    }
}

/// A logarithmic axis, from pixel to pixel.
struct Scale {
    left: i32,
    width: i32,
    from: f64,
    to: f64,
}

impl Scale {
    fn new((left, width): (i32, i32), from: f64, to: f64) -> Self {
        Self {
            left,
            width,
            from,
            to,
        }
    }

    /// Pixels from the left end; what is below the scale is at it.
    fn offset(&self, value: f64) -> i32 {
        let part = (value.max(self.from) / self.from).ln() / (self.to / self.from).ln();
        #[expect(clippy::cast_possible_truncation, reason = "a part of a width")]
        let pixels = (part.clamp(0.0, 1.0) * f64::from(self.width)).round() as i32;
        pixels
    }
}

struct Plot {
    items: Vec<Item>,
    bottom: i32,
}

impl Plot {
    fn fill(&mut self, at: [i32; 4], colour: Colour) {
        self.items.push(Item::Box { at, colour });
    }

    fn rule(&mut self, from_to: [i32; 4], colour: Colour) {
        self.items.push(Item::Rule { from_to, colour });
    }

    fn text(&mut self, at: [i32; 2], anchor: Anchor, face: Face, colour: Colour, text: &str) {
        self.items.push(Item::Text {
            at,
            anchor,
            face,
            colour,
            text: text.to_owned(),
        });
    }

    fn title(&mut self, survey: &Survey) {
        let title = "Every way to get contiguous memory in the kernel, measured";
        self.text([NAMES, 24], Anchor::Left, Face::Title, INK, title);
        let line = format!(
            "Linux {} under {}, {} of memory; blue names need a boot option",
            survey.kernel,
            survey.accelerator.to_uppercase(),
            size(survey.memory)
        );
        self.text([NAMES, 50], Anchor::Left, Face::Plain, FAINT, &line);
    }

    /// The grid of a logarithmic panel, with its title.
    fn axis(&mut self, scale: &Scale, title: &str, ticks: impl Iterator<Item = (f64, String)>) {
        self.text([scale.left, TOP - 36], Anchor::Left, Face::Bold, INK, title);
        for (value, name) in ticks.filter(|(value, _)| *value >= scale.from && *value <= scale.to) {
            let x = scale.left + scale.offset(value);
            self.rule([x, TOP - 6, x, self.bottom], GRID);
            self.text([x, TOP - 15], Anchor::Middle, Face::Plain, FAINT, &name);
        }
    }

    /// The heads of a panel of cells.
    fn columns(&mut self, (left, width): (i32, i32), title: &str, names: &[&str]) {
        self.text([left, TOP - 36], Anchor::Left, Face::Bold, INK, title);
        let cell = width / i32::try_from(names.len()).unwrap_or(1);
        for (column, name) in (0..).zip(names) {
            let x = left + column * cell + cell / 2;
            self.text([x, TOP - 15], Anchor::Middle, Face::Plain, FAINT, name);
        }
    }

    fn largest(&mut self, scale: &Scale, top: i32, line: &Line) {
        let fresh = match line.fresh.contiguous {
            true => FRESH,
            false => SCATTERED,
        };
        let states = [
            (Some(&line.fresh), fresh),
            (line.fragmented.as_ref(), FRAGMENTED),
        ];
        let height = if line.fragmented.is_some() { 12 } else { 18 };
        let mut y = top + (ROW - height) / 2 - if line.fragmented.is_some() { 7 } else { 0 };
        for (state, colour) in states {
            let Some(state) = state else { continue };
            let bytes = state.largest.piece_bytes;
            let width = match bytes {
                0 => 0,
                // One page is at the left end of the scale, and is something.
                bytes => scale.offset(bytes as f64).max(3),
            };
            self.fill([scale.left, y, width, height], colour);
            let at = [scale.left + width + 5, y + height / 2];
            self.text(at, Anchor::Left, Face::Plain, INK, &size(bytes));
            y += 14;
        }
    }

    /// A cell for each number of pages, the redder the more is wasted.
    fn waste(&mut self, top: i32, state: &State) {
        let (left, width) = WASTE;
        let cell = width / 3;
        for (column, pages) in (0..).zip([1, 750, 2000]) {
            let x = left + column * cell;
            let (name, colour) = match state.given(pages) {
                Some(got) => (got.waste.to_string(), shade(got.waste, pages)),
                None => ("no".to_owned(), NO),
            };
            self.fill([x + 2, top + 5, cell - 4, ROW - 10], colour);
            let at = [x + cell / 2, top + ROW / 2];
            self.text(at, Anchor::Middle, Face::Plain, INK, &name);
        }
    }

    /// From the left end to the median, and a line on to where 99 of 100 are.
    fn latency(&mut self, scale: &Scale, top: i32, line: &Line) {
        let Some(latency) = line.fresh.latency(750) else {
            return;
        };
        let mut bar = |y: i32, times: &Times, colour| {
            let (median, p99) = (
                scale.offset(times.median_ns as f64).max(2),
                scale.offset(times.p99_ns as f64).max(2),
            );
            self.fill([scale.left, y, median, 11], colour);
            let (from, to) = (scale.left + median, scale.left + p99);
            self.rule([from, y + 5, to, y + 5], INK);
            self.rule([to, y + 2, to, y + 8], INK);
        };
        bar(top + 5, &latency.take, TAKE);
        bar(top + 18, &latency.give, GIVE);
    }

    fn reach(&mut self, top: i32, line: &Line) {
        let (left, width) = REACH;
        let cell = width / 4;
        for (column, bits) in (0..).zip([64, 36, 32, 24]) {
            let reach = line.reach.iter().find(|reach| reach.bits == bits);
            let (colour, word) = match reach.map(|reach| &reach.outcome) {
                Some(Outcome::Written { .. }) => (YES, "yes"),
                Some(Outcome::Wrong { .. }) => (WRONG, "bad"),
                _ => (NO, "no"),
            };
            self.cell(left + column * cell, top, cell, colour, word);
        }
        let (colour, word) = match line.returned {
            true => (YES, "yes"),
            false => (NO, "no"),
        };
        self.cell(BACK.0, top, BACK.1, colour, word);
    }

    fn cell(&mut self, x: i32, top: i32, width: i32, colour: Colour, word: &str) {
        self.fill([x + 1, top + 5, width - 2, ROW - 10], colour);
        let ink = if colour == NO {
            FAINT
        } else {
            Colour(255, 255, 255)
        };
        let at = [x + width / 2, top + ROW / 2];
        self.text(at, Anchor::Middle, Face::Plain, ink, word);
    }

    fn legend(&mut self, survey: &Survey) {
        let fragmented = survey.fragment.map(|order| {
            let name = format!("fragmented: no free block above {}", size(4096 << order));
            (FRAGMENTED, name)
        });
        let first = [
            Some((FRESH, "fresh guest, in one piece".to_owned())),
            Some((
                SCATTERED,
                "scattered: the largest piece, by luck".to_owned(),
            )),
            fragmented,
        ];
        let y = self.bottom + 22;
        let mut x = NAMES;
        for (colour, name) in first.into_iter().flatten() {
            x = self.key([x, y], colour, &name);
        }
        let y = self.bottom + 42;
        let x = self.key([NAMES, y], TAKE, "taking, median");
        let x = self.key([x, y], GIVE, "giving back, median");
        self.rule([x, y, x + 14, y], INK);
        self.rule([x + 14, y - 3, x + 14, y + 3], INK);
        let note = "to p99.  A card writes: of that many address bits, every byte compared.  Back: the kernel has it again.";
        self.text([x + 22, y], Anchor::Left, Face::Plain, FAINT, note);
    }

    /// One entry; gives where the next begins.
    fn key(&mut self, [x, y]: [i32; 2], colour: Colour, name: &str) -> i32 {
        self.fill([x, y - 6, 12, 12], colour);
        self.text([x + 18, y], Anchor::Left, Face::Plain, FAINT, name);
        x + 18 + 8 * i32::try_from(name.len()).unwrap_or(0) + 20
    }
}

/// From white, nothing wasted, to red, all but nothing used.
fn shade(waste: u64, pages: u64) -> Colour {
    let percent = waste * 100 / (waste + pages).max(1);
    let part = u8::try_from(percent).unwrap_or(100);
    let less = |most: u8| 255 - u8::try_from(u32::from(part) * u32::from(most) / 100).unwrap_or(0);
    match waste {
        0 => Colour(0xe9, 0xf4, 0xef),
        _ => Colour(less(15).max(0xf0), less(120), less(130)),
    }
}

/// A round number without its zeros behind the point.
fn short(time: &str) -> String {
    time.replace(".00", "").replace(".0", "")
}
