// SPDX-License-Identifier: MIT OR Apache-2.0

//! The measured tables as pictures: a row for each class, a field for who saw it, or where.

use super::kernels::{KernelMatrix, KernelRow};
use super::schema::{Column, Matrix, Row, Seen};
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
/// Left ends of number, name, first field; width of a field, and of the text behind them.
const NUMBER: i32 = 44;
const NAME: i32 = 56;
const FIELDS: i32 = 272;
const FIELD: i32 = 84;
const BEHIND: i32 = 598;

/// A table to be drawn.
struct Table<'a> {
    title: &'a str,
    below: String,
    columns: Vec<String>,
    /// What is said behind each row's fields.
    behind: &'a str,
    rows: Vec<Line<'a>>,
}

/// One of its rows.
struct Line<'a> {
    number: u8,
    name: &'a str,
    alarm: bool,
    cells: Vec<Option<Seen>>,
    behind: &'a str,
}

/// Draws who sees which class.
pub fn plot(matrix: &Matrix) -> Drawing {
    let line = |row: &'_ Row| Line {
        number: row.number,
        name: row.name,
        alarm: !row.alarms.is_empty(),
        cells: Column::ALL
            .iter()
            .map(|column| row.cell(*column).and_then(|cell| cell.seen))
            .collect(),
        behind: row.planted,
    };
    draw(&Table {
        title: "Who sees which DMA bug",
        below: format!(
            "{} of {} named by Landfall, {} clean twins; kernel {}, QEMU {}",
            matrix.named,
            matrix.rows.len(),
            matrix.clean_runs,
            matrix.kernel,
            matrix.qemu
        ),
        columns: Column::ALL.map(|column| column.name().to_owned()).into(),
        behind: "planted",
        rows: matrix.rows.iter().map(line).collect(),
    })
}

/// Draws which class is named on which kernel.
pub fn plot_kernels(kernels: &KernelMatrix) -> Drawing {
    let line = |row: &'_ KernelRow| Line {
        number: row.number,
        name: row.name,
        alarm: row.cells.iter().any(|cell| cell.alarm),
        cells: row.cells.iter().map(|cell| cell.seen).collect(),
        behind: row.planted,
    };
    draw(&Table {
        title: "Which DMA bug is named on which kernel",
        below: format!("QEMU {}; empty: not run there", kernels.qemu),
        columns: kernels.kernels.iter().map(|on| on.name()).collect(),
        behind: "planted",
        rows: kernels.rows.iter().map(line).collect(),
    })
}

fn draw(table: &Table<'_>) -> Drawing {
    let rows = i32::try_from(table.rows.len()).unwrap_or(0);
    let columns = i32::try_from(table.columns.len()).unwrap_or(0);
    let planted = FIELDS + columns * FIELD + 20;
    let width = planted + BEHIND;
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
    text([16, 26], Anchor::Left, Face::Title, INK, table.title);
    text([16, 50], Anchor::Left, Face::Plain, FAINT, &table.below);
    for (index, column) in (0..).zip(&table.columns) {
        let middle = FIELDS + index * FIELD + FIELD / 2;
        let at = [middle, TOP - 14];
        text(at, Anchor::Middle, Face::Bold, INK, column);
    }
    let at = [planted, TOP - 14];
    text(at, Anchor::Left, Face::Bold, INK, table.behind);
    let keys = [("named", NAMED), ("seen", SEEN), ("missed", MISSED)];
    for (index, (name, _)) in (0..).zip(keys) {
        let left = planted + 300 + index * 90;
        text([left + 20, 50], Anchor::Left, Face::Plain, INK, name);
    }
    for (row, line) in (0..).zip(&table.rows) {
        let middle = TOP + row * ROW + ROW / 2;
        let colour = if line.alarm { ALARM } else { INK };
        let number = line.number.to_string();
        text([NUMBER, middle], Anchor::Right, Face::Plain, FAINT, &number);
        text([NAME, middle], Anchor::Left, Face::Plain, colour, line.name);
        let at = [planted, middle];
        text(at, Anchor::Left, Face::Plain, FAINT, line.behind);
    }
    let mut boxes = Vec::new();
    for (index, (_, colour)) in (0..).zip(keys) {
        boxes.push(filled([planted + 300 + index * 90, 43, 14, 14], colour));
    }
    for (row, line) in (0..).zip(&table.rows) {
        let top = TOP + row * ROW;
        if row % 2 == 1 {
            boxes.push(filled([8, top, width - 16, ROW], STRIPE));
        }
        for (index, seen) in (0..).zip(&line.cells) {
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
        width: width.unsigned_abs(),
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
        let letters = usize::try_from(BEHIND / 8).unwrap();
        for entry in &ENTRIES {
            assert!(entry.what.len() <= letters, "{} is cut", entry.what);
        }
    }
}
