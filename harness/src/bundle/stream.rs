// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a ledger was fed with, read again and fed to another.

use std::io::{BufRead, Read};

use landfall_device::ledger::{Judgement, Ledger};

use super::{BundleError, names};
use crate::evidence::{Item, LARGEST_NUMBER};

/// Most bytes of a line.
const LONGEST_LINE: u64 = 1 << 20;
/// Most lines that are read: as many entries as a journal keeps, and as many lends.
const MOST_LINES: u64 = 2 << 20;

/// What came of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// What the ledger said.
    pub said: Judgement,
    /// Lines of the stream.
    pub lines: u64,
}

/// Feeds a recorded stream to a ledger. `each` is shown every item first, with the number of its line.
///
/// # Errors
/// If a line cannot be read or makes no sense.
pub fn judge(
    stream: impl BufRead,
    mut each: impl FnMut(u64, &Item),
) -> Result<Judged, BundleError> {
    let mut ledger = Ledger::default();
    let mut lines = 0;
    items(stream, |line, item| {
        lines = line;
        each(line, &item);
        match item {
            Item::Platform(platform) => ledger = Ledger::new(platform),
            Item::Lend(lend) => ledger.lend(lend),
            Item::Reclaim(_) => ledger.reclaim(),
            Item::Entry(entry) => ledger.entry(&entry),
        }
    })?;
    Ok(Judged {
        said: ledger.finish(),
        lines,
    })
}

/// Reads the items of a stream and checks their order.
fn items(mut stream: impl BufRead, mut each: impl FnMut(u64, Item)) -> Result<(), BundleError> {
    let mut text = Vec::new();
    let mut line = 0;
    loop {
        text.clear();
        line += 1;
        let wrong = |why: &str| BundleError::Line {
            file: names::STREAM,
            line,
            why: why.to_owned(),
        };
        let read = stream
            .by_ref()
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut text);
        let length = read.map_err(|error| wrong(&error.to_string()))?;
        if length == 0 {
            return match line {
                1 => Err(wrong("the stream is empty")),
                _ => Ok(()),
            };
        }
        if line > MOST_LINES {
            return Err(wrong("the stream has more lines than any run makes"));
        }
        if text.last() != Some(&b'\n') {
            return Err(wrong("it is cut short, or longer than any line is"));
        }
        let item = serde_json::from_slice(&text).map_err(|error| {
            // Its own line number is always 1.
            let why = error
                .to_string()
                .replace(" at line 1 column", ", at column");
            wrong(&why)
        })?;
        match &item {
            Item::Platform(_) if line > 1 => return Err(wrong("a second platform")),
            Item::Platform(_) => {}
            _ if line == 1 => return Err(wrong("the platform must come first")),
            Item::Reclaim(false) => return Err(wrong("`reclaim` is always true")),
            Item::Entry(entry) if entry.sequence.max(entry.time_ns) >= LARGEST_NUMBER => {
                return Err(wrong("a number or time that no journal reaches"));
            }
            Item::Lend(_) | Item::Reclaim(_) | Item::Entry(_) => {}
        }
        each(line, item);
    }
}
