// SPDX-License-Identifier: MIT OR Apache-2.0

//! What memory shows around a violation.

use std::fmt::Write;

use crate::evidence::Pages;
use crate::report::map::address;
use crate::report::schema::Violation;

/// Bytes of a row.
const ROW: u64 = 16;
/// Rows before the first byte concerned, and from it on.
const ROWS: (u64, u64) = (2, 4);

/// Rows around the beginning of what is wrong, and around its end if that is elsewhere. Bytes that are not what they
/// should be are bracketed, with what they should be below.
pub(super) fn excerpt(pages: &Pages, violation: &Violation) -> String {
    if violation.address == 0 && violation.length == 0 {
        return String::new();
    }
    let mut text = String::new();
    let first = violation.address - violation.address % ROW;
    let after = first.saturating_add(ROWS.1 * ROW);
    let from = first.saturating_sub(ROWS.0 * ROW);
    let mut shown = rows(&mut text, pages, from, after);
    let last = violation
        .address
        .saturating_add(violation.length.saturating_sub(1));
    let last = last - last % ROW;
    if last >= after {
        let from = after.max(last.saturating_sub(ROW));
        let mut end = String::new();
        if rows(&mut end, pages, from, last.saturating_add(3 * ROW)) {
            text.push_str("    ...\n");
            text.push_str(&end);
            shown = true;
        }
    }
    match shown {
        true => {
            format!("  memory, as it was when this was seen; [ ] is not what it should be\n{text}")
        }
        false => String::new(),
    }
}

/// Writes rows from one address to another; tells whether any of them was kept.
fn rows(text: &mut String, pages: &Pages, from: u64, to: u64) -> bool {
    let mut shown = false;
    let mut label = None;
    let mut at = from;
    while at < to {
        if let Some(row) = Row::read(pages, at) {
            row.write(text, at, &mut label);
            shown = true;
        }
        let Some(next) = at.checked_add(ROW) else {
            break;
        };
        at = next;
    }
    shown
}

/// Bytes, and what they should be as far as that is known.
struct Row {
    bytes: Vec<(u8, Option<u8>)>,
    what: String,
}

impl Row {
    fn read(pages: &Pages, at: u64) -> Option<Self> {
        let page = pages.at(at)?;
        let offset = at % crate::evidence::PAGE;
        let index = usize::try_from(offset).ok()?;
        let bytes = page.bytes.get(index..)?.iter().take(16);
        let bytes = (index..).zip(bytes);
        let known = page.known.iter();
        let mut here = known.filter(|known| {
            known.offset < offset + ROW && offset < known.offset.saturating_add(known.length)
        });
        Some(Self {
            bytes: bytes.map(|(at, byte)| (*byte, page.expected(at))).collect(),
            what: here
                .next()
                .map_or_else(|| "not known".to_owned(), |known| known.what.clone()),
        })
    }

    fn write(&self, text: &mut String, at: u64, label: &mut Option<String>) {
        let wrong =
            |(byte, expected): &(u8, Option<u8>)| expected.is_some_and(|want| want != *byte);
        let mut line = format!("    {:>13} ", address(at));
        let mut below = " ".repeat(line.len());
        let mut before = false;
        let mut any = false;
        for cell in &self.bytes {
            let now = wrong(cell);
            line.push(match (before, now) {
                (false, true) => '[',
                (true, false) => ']',
                _ => ' ',
            });
            let _ = write!(line, "{:02x}", cell.0);
            match cell.1.filter(|_| now) {
                Some(want) => {
                    let _ = write!(below, " {want:02x}");
                }
                None => below.push_str("   "),
            }
            any |= now;
            before = now;
        }
        line.push(if before { ']' } else { ' ' });
        if label.as_ref() != Some(&self.what) {
            let _ = write!(line, "  {}", self.what);
            *label = Some(self.what.clone());
        }
        text.push_str(line.trim_end());
        text.push('\n');
        if any {
            let _ = writeln!(text, "{below}   should be");
        }
    }
}
