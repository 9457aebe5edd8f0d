// SPDX-License-Identifier: MIT OR Apache-2.0

//! A run to look at: as one page, and as a trace for Perfetto.
//!
//! | file | what it is |
//! |---|---|
//! | `mod.rs` | what is shown: the stream's items, in order ([`View`]), and what else is known ([`Subject`]) |
//! | `links.rs` | what belongs to what, and what led to what |
//! | `ranges.rs` | addresses that were accessed |
//! | `columns.rs`, `meta.rs` | both as bytes |
//! | `page.rs`, `page/` | the page: those bytes, and what draws them |
//! | `perfetto.rs`, `protobuf.rs` | the trace |
//!
//! Pure: of the same items and the same subject the same bytes. What somebody else said (a guest's console, a bundle's names)
//! gets into the page as packed data alone, which its script shows as text.

mod columns;
mod links;
mod meta;
mod page;
mod perfetto;
mod protobuf;
mod ranges;

use std::collections::{BTreeMap, HashMap};

use landfall_device::journal::{Bytes, Direction, Entry, Kind};
use landfall_device::ledger::{self, Lend, Platform};

use crate::debug_info::Lines;
use crate::evidence::{Item, LARGEST_NUMBER, Logs, Pages};
use crate::report::schema::Report;
use crate::report::symbol::located;
use crate::report::words::{Numbers, Sort, Words, foreign, words};
use links::{Linked, Links, lends};
use ranges::Ranges;

/// Most different words.
const MOST_TEXTS: usize = 1 << 16;
/// What further entries say.
const FULL: &str = "says what no room was left for";
/// Most names of callers that are kept.
const MOST_SYMBOLS: usize = 4096;
/// Most lends that the driver's agent named.
const MOST_NAMED: usize = 4096;
/// Most small accesses whose bytes are kept.
const MOST_SMALL: usize = 1 << 16;
/// Most different ranges that were lent.
const MOST_LENT: usize = 1 << 14;

/// What is known of a run besides its entries.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The verdict in one line, or how the run failed.
    pub summary: &'a str,
    /// The command line, without the program's name.
    pub command: &'a [String],
    /// The seed of whatever was drawn at random.
    pub seed: Option<u64>,
    /// What took part, by name.
    pub versions: &'a BTreeMap<String, String>,
    /// The report, if there is one.
    pub report: Option<&'a Report>,
    /// What the ledger said.
    pub said: &'a ledger::Judgement,
    /// What was seen besides, a line each.
    pub besides: &'a [String],
    /// Where the driver's calls stand in its source.
    pub lines: &'a Lines,
    /// Memory around what is wrong.
    pub pages: &'a Pages,
    /// What guest and QEMU said.
    pub logs: &'a Logs,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    /// Since the first; never falls.
    time_ns: u64,
    /// Its number in the journal.
    sequence: u64,
    /// Which words.
    text: u32,
    sort: Sort,
    numbers: Numbers,
    linked: Linked,
}

/// A range that the driver's agent named, while it was lent: places of entries.
#[derive(Clone, Debug)]
struct Named {
    lend: Lend,
    from: u32,
    to: Option<u32>,
}

/// All entries of a run, as they are shown.
#[derive(Debug, Default)]
pub struct View {
    rows: Vec<Row>,
    /// Words, each once, with who says them.
    texts: Vec<(&'static str, String)>,
    known: HashMap<(&'static str, String), u32>,
    symbols: HashMap<u64, String>,
    links: Links,
    platform: Platform,
    named: Vec<Named>,
    /// Ranges that the driver lent, with the first entry that did so.
    lent: BTreeMap<(u64, u64), u32>,
    written: Ranges,
    read: Ranges,
    /// Contents of small accesses, with the places of their entries.
    small: Vec<(u32, Bytes)>,
    start_ns: Option<u64>,
    /// What to add to a time here for the guest's monotonic clock, nanoseconds.
    guest_ns: Option<i64>,
    lines: Lines,
}

impl View {
    /// Begins a view. Callers are told with the lines of their source.
    pub fn new(lines: Lines) -> Self {
        Self {
            lines,
            ..Self::default()
        }
    }

    /// Adds the next item of a stream.
    pub fn item(&mut self, item: &Item) {
        match item {
            Item::Platform(platform) => self.platform = platform.clone(),
            Item::Lend(lend) if self.named.len() < MOST_NAMED => self.named.push(Named {
                lend: lend.clone(),
                from: self.next(),
                to: None,
            }),
            Item::Lend(_) => {}
            Item::Reclaim(_) => {
                let next = self.next();
                for named in &mut self.named {
                    if named.lend.slot.is_some() {
                        named.to.get_or_insert(next);
                    }
                }
            }
            Item::Entry(entry) => self.entry(entry),
        }
    }

    /// How many entries are shown.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The page: one file of HTML, which needs nothing else.
    pub fn page(&self, subject: &Subject<'_>) -> String {
        page::page(subject, &meta::packed(self, subject))
    }

    /// The trace, in Perfetto's format.
    pub fn perfetto(&self, subject: &Subject<'_>) -> Vec<u8> {
        perfetto::trace(self, subject)
    }

    fn next(&self) -> u32 {
        u32::try_from(self.rows.len()).unwrap_or(u32::MAX)
    }

    fn entry(&mut self, entry: &Entry) {
        if let Kind::Symbol { address, name } = &entry.kind
            && self.symbols.len() < MOST_SYMBOLS
        {
            self.symbols.insert(*address, located(name, &self.lines));
        }
        let symbols = &self.symbols;
        let Some(words) = words(entry, &|at| symbols.get(&at).cloned()) else {
            return;
        };
        let index = self.next();
        if index == u32::MAX {
            return;
        }
        let before = self.rows.last().map_or(0, |row| row.time_ns);
        // One that says that the journal was full comes after all time.
        let time_ns = match entry.time_ns >= LARGEST_NUMBER - 1 {
            true => before,
            false => {
                let start = *self.start_ns.get_or_insert(entry.time_ns);
                entry.time_ns.saturating_sub(start).max(before)
            }
        };
        self.note(index, time_ns, &entry.kind);
        let row = Row {
            time_ns,
            sequence: entry.sequence,
            sort: words.sort,
            numbers: words.numbers,
            linked: self.links.entry(index, entry),
            text: self.text(words),
        };
        self.rows.push(row);
    }

    /// Keeps what is drawn of memory, and how the guest's clock stands.
    fn note(&mut self, index: u32, time_ns: u64, kind: &Kind) {
        match kind {
            Kind::Access {
                direction,
                address,
                length,
                outcome,
                bytes,
                ..
            } if outcome.is_ok() => {
                match direction {
                    Direction::Write => self.written.add(*address, *length),
                    Direction::Read => self.read.add(*address, *length),
                }
                if !bytes.is_empty() && self.small.len() < MOST_SMALL {
                    self.small.push((index, bytes.clone()));
                }
            }
            Kind::Call(call) => {
                if lends(call.call) && self.lent.len() < MOST_LENT {
                    let range = (call.address, call.length);
                    self.lent.entry(range).or_insert(index);
                }
                // The telling takes time: the least difference is the nearest.
                if let (Ok(here), Ok(guest)) =
                    (i64::try_from(time_ns), i64::try_from(call.guest_ns))
                    && guest != 0
                {
                    let ahead = guest.saturating_sub(here);
                    let most = self.guest_ns.map_or(ahead, |known| known.max(ahead));
                    self.guest_ns = Some(most);
                }
            }
            _ => {}
        }
    }

    /// The number of an entry's words.
    fn text(&mut self, words: Words) -> u32 {
        let mut key = (words.who, words.text);
        if self.texts.len() >= MOST_TEXTS && !self.known.contains_key(&key) {
            key.1 = FULL.to_owned();
        }
        let next = u32::try_from(self.texts.len()).unwrap_or(u32::MAX);
        let texts = &mut self.texts;
        *self.known.entry(key).or_insert_with_key(|key| {
            texts.push(key.clone());
            next
        })
    }

    /// The place of the first entry from a number of the journal's on.
    fn place(&self, sequence: u64) -> Option<u32> {
        let at = self.rows.partition_point(|row| row.sequence < sequence);
        u32::try_from(at).ok().filter(|_| at < self.rows.len())
    }
}

/// A line that somebody else said, as it may be shown.
fn shown(line: &str) -> String {
    foreign(line)
}

#[cfg(test)]
mod tests;
