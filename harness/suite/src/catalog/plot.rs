// SPDX-License-Identifier: MIT OR Apache-2.0

//! The measured table as a picture: a row for each class, a field for who saw it.

use super::schema::{Column, Matrix, Seen};
use landfall::report::drawing::{Anchor, Colour, Drawing, Face, Item};

const INK: Colour = Colour(0x22, 0x26, 0x2b);
const FAINT: Colour = Colour(0x6b, 0x72, 0x7b);
const STRIPE: Colour = Colour(0xf7, 0xf8, 0xfa);
const NAMED: Colour = Colour(0x3b, 0x8c, 0x6e);
const SEEN: Colour = Colour(0xe3, 0xb3, 0x4c);
const MISSED: Colour = Colour(0xd9, 0xdc, 0xe0);
const ALARM: Colour = Colour(0xc0, 0x2f, 0x2f);

const ROW: i32 = 20;
const TOP: i32 = 104;
const FOOT: i32 = 24;
/// Left ends of number, name, first field; width of a field; where the text behind them begins.
const NUMBER: i32 = 44;
const NAME: i32 = 56;
const FIELDS: i32 = 272;
const FIELD: i32 = 84;
const PLANTED: i32 = 712;
const WIDTH: i32 = 1310;

/// Draws it.
pub fn plot(matrix: &Matrix) -> Drawing {
    let rows = i32::try_from(matrix.rows.len()).unwrap_or(0);
    let mut items = Vec::new();
    let mut text = |at, anchor, face, colour, text: &str| {
        items.push(Item::Text {
            at,
            anchor,
            face,
            colour,
            text: text.to_owned(),
        });
    };
    text(
        [16, 26],
        Anchor::Left,
        Face::Title,
        INK,
        "Who sees which DMA bug",
    );
    let below = format!(
        "{} of {} named by Landfall, {} clean twins; kernel {}, QEMU {}",
        matrix.named,
        matrix.rows.len(),
        matrix.clean_runs,
        matrix.kernel,
        matrix.qemu
    );
    text([16, 50], Anchor::Left, Face::Plain, FAINT, &below);
    for (index, column) in (0..).zip(Column::ALL) {
        let middle = FIELDS + index * FIELD + FIELD / 2;
        text(
            [middle, TOP - 14],
            Anchor::Middle,
            Face::Bold,
            INK,
            column.name(),
        );
    }
    text(
        [PLANTED, TOP - 14],
        Anchor::Left,
        Face::Bold,
        INK,
        "planted",
    );
    let keys = [("named", NAMED), ("seen", SEEN), ("missed", MISSED)];
    for (index, (name, _)) in (0..).zip(keys) {
        let left = PLANTED + 300 + index * 90;
        text([left + 20, 50], Anchor::Left, Face::Plain, INK, name);
    }
    for (row, line) in (0..).zip(&matrix.rows) {
        let middle = TOP + row * ROW + ROW / 2;
        let colour = if line.alarms.is_empty() { INK } else { ALARM };
        let number = line.number.to_string();
        text([NUMBER, middle], Anchor::Right, Face::Plain, FAINT, &number);
        text([NAME, middle], Anchor::Left, Face::Plain, colour, line.name);
        let planted = line
            .why_not
            .map_or(line.planted, |_| "cannot be shown here; counts as missed");
        text([PLANTED, middle], Anchor::Left, Face::Plain, FAINT, planted);
    }
    let mut boxes = Vec::new();
    for (index, (_, colour)) in (0..).zip(keys) {
        boxes.push(filled([PLANTED + 300 + index * 90, 43, 14, 14], colour));
    }
    for (row, line) in (0..).zip(&matrix.rows) {
        let top = TOP + row * ROW;
        if row % 2 == 1 {
            boxes.push(filled([8, top, WIDTH - 16, ROW], STRIPE));
        }
        for (index, column) in (0..).zip(Column::ALL) {
            let seen = line.cell(column).and_then(|cell| cell.seen);
            let colour = match seen {
                Some(Seen::Named) => NAMED,
                Some(Seen::Seen) => SEEN,
                Some(Seen::Missed) => MISSED,
                None => continue,
            };
            let left = FIELDS + index * FIELD;
            boxes.push(filled([left + 4, top + 3, FIELD - 8, ROW - 6], colour));
        }
    }
    boxes.append(&mut items);
    Drawing {
        width: WIDTH.unsigned_abs(),
        height: (TOP + rows * ROW + FOOT).unsigned_abs(),
        items: boxes,
    }
}

fn filled(at: [i32; 4], colour: Colour) -> Item {
    Item::Box { at, colour }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::ENTRIES;

    #[test]
    fn what_is_planted_fits_into_its_column() {
        // A letter of the plain face is 8 wide.
        let letters = usize::try_from((WIDTH - PLANTED) / 8).unwrap();
        for entry in &ENTRIES {
            assert!(entry.what.len() <= letters, "{} is cut", entry.what);
        }
    }
}
