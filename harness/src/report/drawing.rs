// SPDX-License-Identifier: MIT OR Apache-2.0

//! A picture as a list of rectangles, lines and texts, from which both the SVG and the PNG are made.

use std::fmt::Write as _;

use embedded_graphics::Drawable;
use embedded_graphics::Pixel;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{OriginDimensions, Point, Size};
use embedded_graphics::mono_font::iso_8859_1::{FONT_8X13, FONT_8X13_BOLD, FONT_10X20};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::{Rgb888, RgbColor};
use embedded_graphics::primitives::{Line, Primitive, PrimitiveStyle, Rectangle};
use embedded_graphics::text::{Alignment, Baseline, Text, TextStyleBuilder};

/// Red, green, blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour(pub u8, pub u8, pub u8);

/// Which point of a text its place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// The left end.
    Left,
    /// The middle.
    Middle,
    /// The right end.
    Right,
}

/// How a text is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// Plain.
    Plain,
    /// Bold.
    Bold,
    /// Large.
    Title,
}

/// One thing in a picture, in pixels from the left upper corner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A filled rectangle.
    Box {
        /// Left, top, width, height.
        at: [i32; 4],
        /// Its colour.
        colour: Colour,
    },
    /// A line of one pixel.
    Rule {
        /// From (x, y) to (x, y).
        from_to: [i32; 4],
        /// Its colour.
        colour: Colour,
    },
    /// One line of text, centred on its height.
    Text {
        /// Where.
        at: [i32; 2],
        /// Which point of it that is.
        anchor: Anchor,
        /// How it is set.
        face: Face,
        /// Its colour.
        colour: Colour,
        /// What it says.
        text: String,
    },
}

/// A picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawing {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// What is in it, the hindmost first.
    pub items: Vec<Item>,
}

const PAPER: Colour = Colour(255, 255, 255);

impl Drawing {
    /// As SVG.
    pub fn svg(&self) -> String {
        let Self { width, height, .. } = self;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, monospace\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"{}\"/>\n",
            hex(PAPER)
        );
        for item in &self.items {
            let _ = match item {
                Item::Box {
                    at: [x, y, width, height],
                    colour,
                } => writeln!(
                    svg,
                    "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{}\"/>",
                    hex(*colour)
                ),
                Item::Rule {
                    from_to: [x1, y1, x2, y2],
                    colour,
                } => writeln!(
                    svg,
                    "<line x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" stroke=\"{}\"/>",
                    hex(*colour)
                ),
                Item::Text {
                    at: [x, y],
                    anchor,
                    face,
                    colour,
                    text,
                } => writeln!(
                    svg,
                    "<text x=\"{x}\" y=\"{y}\" dy=\"0.35em\" text-anchor=\"{}\" font-size=\"{}\"{} fill=\"{}\">{}</text>",
                    match anchor {
                        Anchor::Left => "start",
                        Anchor::Middle => "middle",
                        Anchor::Right => "end",
                    },
                    match face {
                        Face::Plain | Face::Bold => "13",
                        Face::Title => "16.5",
                    },
                    if *face == Face::Bold {
                        " font-weight=\"bold\""
                    } else {
                        ""
                    },
                    hex(*colour),
                    escaped(text)
                ),
            };
        }
        svg.push_str("</svg>\n");
        svg
    }

    /// As PNG.
    ///
    /// # Errors
    /// If it has no size.
    pub fn png(&self) -> Result<Vec<u8>, png::EncodingError> {
        let mut canvas = Canvas::new(self.width, self.height);
        for item in &self.items {
            canvas.item(item);
        }
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, self.width, self.height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::High);
        encoder.write_header()?.write_image_data(&canvas.pixels)?;
        Ok(bytes)
    }
}

fn hex(Colour(red, green, blue): Colour) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Pixels, three bytes each.
struct Canvas {
    size: Size,
    pixels: Vec<u8>,
}

impl Canvas {
    fn new(width: u32, height: u32) -> Self {
        let size = Size::new(width, height);
        let count = usize::try_from(u64::from(width) * u64::from(height)).unwrap_or(0);
        Self {
            size,
            pixels: [PAPER.0, PAPER.1, PAPER.2].repeat(count),
        }
    }

    fn item(&mut self, item: &Item) {
        let Ok(()) = match item {
            Item::Box {
                at: [x, y, width, height],
                colour,
            } => {
                let size = Size::new(width.unsigned_abs(), height.unsigned_abs());
                Rectangle::new(Point::new(*x, *y), size)
                    .into_styled(PrimitiveStyle::with_fill(rgb(*colour)))
                    .draw(self)
            }
            Item::Rule {
                from_to: [x1, y1, x2, y2],
                colour,
            } => Line::new(Point::new(*x1, *y1), Point::new(*x2, *y2))
                .into_styled(PrimitiveStyle::with_stroke(rgb(*colour), 1))
                .draw(self),
            Item::Text {
                at: [x, y],
                anchor,
                face,
                colour,
                text,
            } => {
                let font: &MonoFont<'_> = match face {
                    Face::Plain => &FONT_8X13,
                    Face::Bold => &FONT_8X13_BOLD,
                    Face::Title => &FONT_10X20,
                };
                let style = TextStyleBuilder::new()
                    .baseline(Baseline::Middle)
                    .alignment(match anchor {
                        Anchor::Left => Alignment::Left,
                        Anchor::Middle => Alignment::Center,
                        Anchor::Right => Alignment::Right,
                    })
                    .build();
                let character = MonoTextStyle::new(font, rgb(*colour));
                Text::with_text_style(text, Point::new(*x, *y), character, style)
                    .draw(self)
                    .map(drop)
            }
        };
    }
}

fn rgb(Colour(red, green, blue): Colour) -> Rgb888 {
    Rgb888::new(red, green, blue)
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        self.size
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = std::convert::Infallible;

    fn draw_iter<I>(&mut self, pixels: I) -> Result<(), Self::Error>
    where
        I: IntoIterator<Item = Pixel<Rgb888>>,
    {
        for Pixel(at, colour) in pixels {
            let inside = u32::try_from(at.x)
                .ok()
                .filter(|x| *x < self.size.width)
                .zip(u32::try_from(at.y).ok());
            let Some((x, y)) = inside else { continue };
            let index = (u64::from(y) * u64::from(self.size.width) + u64::from(x)) * 3;
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            if let Some(bytes) = self.pixels.get_mut(index..index.saturating_add(3)) {
                bytes.copy_from_slice(&[colour.r(), colour.g(), colour.b()]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawing() -> Drawing {
        Drawing {
            width: 40,
            height: 20,
            items: vec![
                Item::Box {
                    at: [5, 5, 10, 4],
                    colour: Colour(1, 2, 3),
                },
                Item::Text {
                    at: [20, 10],
                    anchor: Anchor::Left,
                    face: Face::Plain,
                    colour: Colour(200, 0, 0),
                    text: "<&".to_owned(),
                },
                Item::Rule {
                    from_to: [-5, 19, 100, 19],
                    colour: Colour(0, 0, 9),
                },
            ],
        }
    }

    #[test]
    fn svg_and_png_show_the_same_things() {
        let svg = drawing().svg();
        assert!(svg.contains("<rect x=\"5\" y=\"5\" width=\"10\" height=\"4\" fill=\"#010203\"/>"));
        assert!(svg.contains("&lt;&amp;"), "{svg}");

        let png = drawing().png().unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(png))
            .read_info()
            .unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        let at = |x: usize, y: usize| [0, 1, 2].map(|part| pixels[(y * 40 + x) * 3 + part]);
        assert_eq!((at(5, 5), at(14, 8)), ([1, 2, 3], [1, 2, 3]));
        assert_eq!(
            (at(4, 5), at(15, 8)),
            ([255; 3], [255; 3]),
            "beside the box"
        );
        assert_eq!(at(39, 19), [0, 0, 9], "a line is cut at the edge");
        let red = (20..40).any(|x| (3..17).any(|y| at(x, y) == [200, 0, 0]));
        assert!(red, "the text is there");
    }
}
