// SPDX-License-Identifier: MIT OR Apache-2.0

//! Physical memory of a run, as a picture.

use std::ops::Range;

use crate::report::drawing::{Anchor, Colour, Drawing, Face, Item};
use crate::report::map::{self, Block, Layer, Map, size};
use crate::report::schema::Report;

const WIDTH: i32 = 960;
const LEFT: i32 = 110;
const RIGHT: i32 = 110;
const BAR: i32 = 18;
const INK: Colour = Colour(40, 40, 40);
const RAM: Colour = Colour(205, 208, 212);
const POOL: Colour = Colour(240, 190, 90);
const BUFFER: [Colour; 2] = [Colour(120, 170, 220), Colour(155, 195, 235)];
const WRITTEN: Colour = Colour(80, 165, 95);
const WRONG: Colour = Colour(205, 30, 40);
/// Most regions and layers that are drawn.
const MOST: usize = 8;

/// What [`crate::report::map::draw`] draws of a report.
pub fn map(report: &Report) -> Map {
    let range = |address: u64, length: u64| address..address.saturating_add(length);
    let layers = report.captures.iter().map(|capture| Layer {
        title: format!("{}x{}", capture.width, capture.height),
        buffers: (0..)
            .zip(&capture.buffers)
            .map(|(slot, span)| Block {
                slot,
                range: range(span.address, span.length),
            })
            .collect(),
        written: capture
            .written
            .iter()
            .map(|span| range(span.address, span.length))
            .collect(),
    });
    Map {
        ram: report
            .ram
            .iter()
            .map(|span| range(span.address, span.length))
            .collect(),
        pool: report
            .pool
            .iter()
            .map(|region| range(region.address, region.length))
            .collect(),
        layers: layers.collect(),
        wrong: report
            .violations
            .iter()
            .filter(|violation| violation.address != 0 || violation.length != 0)
            .map(|violation| range(violation.address, violation.length.max(1)))
            .collect(),
    }
}

/// The same map as a picture: all of memory, each region of the pool, and what lies around the first thing wrong.
pub fn drawing(map: &Map) -> Drawing {
    let mut pen = Pen {
        items: Vec::new(),
        y: 16,
    };
    let end = map.ram.last().map_or(0, |ram| ram.end);
    let whole = 0..end;
    pen.title("guest-physical memory", &whole);
    let scale = Scale(whole);
    pen.bar(&scale, &map.ram, |_| RAM);
    pen.over(&scale, &map.pool, |_| POOL);
    pen.marks(&scale, &map.wrong);
    for region in map.pool.iter().take(MOST) {
        pen.zoomed("pool", region.clone(), map);
    }
    if let Some(wrong) = map.wrong.first() {
        pen.zoomed("around the first violation", around(wrong), map);
    }
    pen.legend();
    Drawing {
        width: WIDTH.unsigned_abs(),
        height: pen.y.unsigned_abs(),
        items: pen.items,
    }
}

/// Four times what is wrong, at least four pages, from the beginning of a page.
fn around(wrong: &Range<u64>) -> Range<u64> {
    let length = (wrong.end - wrong.start).clamp(1 << 13, 1 << 40);
    let from = wrong.start.saturating_sub(length);
    from - from % 4096..wrong.start.saturating_add(length)
}

struct Scale(Range<u64>);

impl Scale {
    /// Left edge and width of a range, in pixels; `None` if it is not in sight. What is there is seen: one pixel at
    /// least.
    fn pixels(&self, range: &Range<u64>) -> Option<(i32, i32)> {
        let (from, to) = (range.start.max(self.0.start), range.end.min(self.0.end));
        let all = u128::from(self.0.end - self.0.start);
        if from >= to || all == 0 {
            return None;
        }
        let room = u128::from((WIDTH - LEFT - RIGHT).unsigned_abs());
        let at = |address: u64| {
            let pixel = u128::from(address - self.0.start) * room / all;
            i32::try_from(pixel).unwrap_or(0)
        };
        Some((LEFT + at(from), (at(to) - at(from)).max(1)))
    }
}

struct Pen {
    items: Vec<Item>,
    y: i32,
}

impl Pen {
    fn text(&mut self, x: i32, anchor: Anchor, face: Face, text: String) {
        self.items.push(Item::Text {
            at: [x, self.y],
            anchor,
            face,
            colour: INK,
            text,
        });
    }

    fn title(&mut self, what: &str, range: &Range<u64>) {
        let length = size(range.end - range.start);
        self.text(LEFT, Anchor::Left, Face::Bold, format!("{what}, {length}"));
        self.y += 12;
    }

    /// A bar with its first and last address beside it.
    fn bar(&mut self, scale: &Scale, ranges: &[Range<u64>], colour: impl Fn(usize) -> Colour) {
        let Range { start, end } = scale.0;
        self.y += BAR / 2;
        self.text(LEFT - 6, Anchor::Right, Face::Plain, map::address(start));
        let last = map::address(end.saturating_sub(1));
        self.text(WIDTH - RIGHT + 6, Anchor::Left, Face::Plain, last);
        self.y -= BAR / 2;
        let (left, right) = (LEFT, WIDTH - RIGHT);
        for y in [self.y - 1, self.y + BAR] {
            self.items.push(Item::Rule {
                from_to: [left, y, right, y],
                colour: RAM,
            });
        }
        self.y += BAR;
        self.over(scale, ranges, colour);
    }

    /// More ranges in the last bar.
    fn over(&mut self, scale: &Scale, ranges: &[Range<u64>], colour: impl Fn(usize) -> Colour) {
        for (number, range) in ranges.iter().enumerate() {
            if let Some((x, width)) = scale.pixels(range) {
                self.items.push(Item::Box {
                    at: [x, self.y - BAR, width, BAR],
                    colour: colour(number),
                });
            }
        }
    }

    /// What is wrong, below the last bar.
    fn marks(&mut self, scale: &Scale, wrong: &[Range<u64>]) {
        for range in wrong {
            if let Some((x, width)) = scale.pixels(range) {
                self.items.push(Item::Box {
                    at: [x - 1, self.y + 2, width.max(3), 7],
                    colour: WRONG,
                });
            }
        }
        self.y += 28;
    }

    /// The buffers of each capture in a part of memory, and what the card wrote there.
    fn zoomed(&mut self, what: &str, part: Range<u64>, map: &Map) {
        let scale = Scale(part);
        for layer in map.layers.iter().take(MOST) {
            self.title(&format!("{what}, {}", layer.title), &scale.0);
            let buffers: Vec<_> = layer
                .buffers
                .iter()
                .map(|block| block.range.clone())
                .collect();
            self.bar(&scale, &buffers, |number| {
                BUFFER.get(number % 2).copied().unwrap_or(RAM)
            });
            for block in &layer.buffers {
                if let Some((x, width)) =
                    scale.pixels(&block.range).filter(|(_, width)| *width > 24)
                {
                    self.y -= BAR / 2;
                    self.text(
                        x + width / 2,
                        Anchor::Middle,
                        Face::Plain,
                        block.slot.to_string(),
                    );
                    self.y += BAR / 2;
                }
            }
            self.y += 1;
            for range in &layer.written {
                if let Some((x, width)) = scale.pixels(range) {
                    self.items.push(Item::Box {
                        at: [x, self.y, width, 6],
                        colour: WRITTEN,
                    });
                }
            }
            self.y += 6;
            self.marks(&scale, &map.wrong);
        }
    }

    fn legend(&mut self) {
        let mut x = LEFT;
        for (colour, text) in [
            (RAM, "RAM"),
            (POOL, "pool"),
            (BUFFER[0], "buffer of that slot"),
            (WRITTEN, "written by the card"),
            (WRONG, "wrong"),
        ] {
            self.items.push(Item::Box {
                at: [x, self.y - 6, 12, 12],
                colour,
            });
            self.text(x + 18, Anchor::Left, Face::Plain, text.to_owned());
            x += 40 + 8 * i32::try_from(text.len()).unwrap_or(0);
        }
        self.y += 18;
    }
}
