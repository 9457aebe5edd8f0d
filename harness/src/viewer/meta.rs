// SPDX-License-Identifier: MIT OR Apache-2.0

//! All that a page shows, as bytes: the number of bytes of a JSON text (32 bits, little-endian), that text, the columns, and the
//! bytes of the pages that were kept: first what lay there, then what should have.

use std::collections::BTreeSet;
use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use landfall_device::journal::Bytes;
use landfall_device::ledger::{self, Class};
use serde::Serialize;

use super::columns::columns;
use super::{Named, Subject, View, shown};
use crate::evidence::{Known, Logs};
use crate::report::chapter::{chapter, of_ledger, title, violations};
use crate::report::map::address;
use crate::report::schema::Violation;

/// Most violations that are told.
const MOST: usize = 512;
/// Small accesses whose bytes are there in any case, and how many entries from something wrong all are.
const FIRST_SMALL: usize = 4096;
const NEAR: u32 = 1000;
/// Most bytes of a log: its end.
const LARGEST_LOG: usize = 256 << 10;

#[derive(Serialize)]
struct Meta<'a> {
    summary: String,
    command: String,
    seed: Option<u64>,
    versions: Vec<(String, String)>,
    entries: usize,
    /// Who says each of the words, and they.
    texts: &'a [(&'static str, String)],
    columns: Vec<usize>,
    /// Addresses are those behind an IOMMU, as the card has them.
    iommu: bool,
    ram: Vec<[u64; 2]>,
    pool: Vec<[u64; 2]>,
    /// What was lent: first address, bytes, and the first entry that lent it.
    lent: Vec<(u64, u64, u32)>,
    named: Vec<NamedRange>,
    written: Vec<[u64; 2]>,
    read: Vec<[u64; 2]>,
    /// Some of these ranges were left out.
    partly: bool,
    /// Contents of small accesses: the first, and those around what is wrong.
    small: Vec<&'a (u32, Bytes)>,
    violations: Vec<Told>,
    /// Violations that are not told.
    untold: usize,
    not_judged: Vec<String>,
    besides: Vec<String>,
    /// Addresses of pages, and what is known of each.
    pages: Vec<(u64, &'a [Known])>,
    captures: Vec<Picture<'a>>,
    logs: Vec<(&'static str, String)>,
    /// What to add to a time for the guest's monotonic clock.
    guest_ns: Option<i64>,
}

#[derive(Serialize)]
struct NamedRange {
    label: String,
    address: u64,
    length: u64,
    from: u32,
    to: Option<u32>,
}

#[derive(Serialize)]
struct Told {
    hint: bool,
    title: String,
    class: Option<u8>,
    lines: Vec<(&'static str, String)>,
    /// Hexadecimal; none: it is at no place.
    address: Option<String>,
    at: u64,
    length: u64,
    /// Its first entry.
    entry: Option<u32>,
    /// The register write that set it going.
    write: Option<u32>,
    slot: Option<u32>,
    capture: Option<usize>,
}

#[derive(Serialize)]
struct Picture<'a> {
    width: u32,
    height: u32,
    stride: u32,
    format: &'a str,
    buffers: Vec<[u64; 2]>,
}

/// What is known of a run and its entries, packed.
pub(super) fn packed(view: &View, subject: &Subject<'_>) -> Vec<u8> {
    let columns = columns(&view.rows);
    let meta = meta(view, subject, columns.iter().map(Vec::len).collect());
    let text = serde_json::to_vec(&meta).unwrap_or_default();
    let (_, bytes, expected) = subject.pages.split();
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes();
    let head: [&[u8]; 2] = [&length, &text];
    let columns = columns.iter().map(Vec::as_slice);
    let parts = head.into_iter().chain(columns).chain([&*bytes, &*expected]);
    let mut out = ZlibEncoder::new(Vec::new(), Compression::default());
    // A vector takes all.
    let written = parts.into_iter().try_for_each(|part| out.write_all(part));
    written.and_then(|()| out.finish()).unwrap_or_default()
}

fn meta<'a>(view: &'a View, subject: &Subject<'a>, columns: Vec<usize>) -> Meta<'a> {
    let Subject { report, said, .. } = *subject;
    let ranges = |list: &[ledger::Range]| {
        list.iter()
            .map(|range| [range.start, range.length])
            .collect()
    };
    let of_report = report.map(|report| {
        let ram = report.ram.iter().map(|span| [span.address, span.length]);
        let pool = report.pool.iter();
        let pool = pool.map(|region| [region.address, region.length]);
        (ram.collect(), pool.collect())
    });
    let of_platform = || (ranges(&view.platform.ram), ranges(&view.platform.pool));
    let (ram, pool) = of_report.unwrap_or_else(of_platform);
    let wrong = violations(report, &said.violations);
    let told = wrong.iter().enumerate().take(MOST);
    let told = told.map(|(at, one)| tell(view, subject, one, said.violations.get(at), false));
    let hints = said.hints.iter().take(MOST).map(|hint| {
        let one = of_ledger(hint.clone());
        tell(view, subject, &one, Some(hint), true)
    });
    let captures = report.map_or(&[][..], |report| &report.captures);
    Meta {
        summary: shown(subject.summary),
        command: shown(&subject.command.join(" ")),
        seed: subject.seed,
        versions: subject
            .versions
            .iter()
            .map(|(name, version)| (shown(name), shown(version)))
            .collect(),
        entries: view.rows.len(),
        texts: &view.texts,
        columns,
        iommu: view.platform.iommu,
        ram,
        pool,
        lent: view
            .lent
            .iter()
            .map(|((address, length), first)| (*address, *length, *first))
            .collect(),
        named: view.named.iter().map(named).collect(),
        written: view.written.list(),
        read: view.read.list(),
        small: small(view, said),
        partly: view.written.is_full() || view.read.is_full(),
        violations: told.chain(hints).collect(),
        untold: wrong.len().saturating_sub(MOST),
        not_judged: said.not_judged.iter().map(|why| shown(why)).collect(),
        besides: subject.besides.iter().map(|line| shown(line)).collect(),
        pages: subject.pages.known().collect(),
        captures: captures
            .iter()
            .map(|capture| Picture {
                width: capture.width,
                height: capture.height,
                stride: capture.stride,
                format: &capture.format,
                buffers: capture
                    .buffers
                    .iter()
                    .map(|span| [span.address, span.length])
                    .collect(),
            })
            .collect(),
        logs: logs(subject.logs),
        guest_ns: view.guest_ns,
    }
}

/// The first small accesses, and those around what is wrong.
fn small<'a>(view: &'a View, said: &ledger::Judgement) -> Vec<&'a (u32, Bytes)> {
    let wrong = said.violations.iter().chain(&said.hints).take(MOST);
    let wrong: BTreeSet<u32> = wrong.filter_map(|one| view.place(one.sequence)).collect();
    let near = |at: u32| {
        let around = at.saturating_sub(NEAR)..=at.saturating_add(NEAR);
        wrong.range(around).next().is_some()
    };
    let numbered = view.small.iter().enumerate();
    let kept = numbered.filter(|(number, (at, _))| *number < FIRST_SMALL || near(*at));
    kept.map(|(_, one)| one).collect()
}

fn named(named: &Named) -> NamedRange {
    NamedRange {
        label: shown(&named.lend.label),
        address: named.lend.address,
        length: named.lend.length,
        from: named.from,
        to: named.to,
    }
}

/// A violation, or a hint, with all its words.
fn tell(
    view: &View,
    subject: &Subject<'_>,
    violation: &Violation,
    of_ledger: Option<&ledger::Violation>,
    hint: bool,
) -> Told {
    let start = view.start_ns.unwrap_or_default();
    let when = |time: u64| {
        let since = time.saturating_sub(start);
        format!("{}.{:03} ms", since / 1_000_000, since / 1000 % 1000)
    };
    let lines = chapter(violation, of_ledger, &when, subject.lines);
    let placed = violation.address != 0 || violation.length != 0;
    Told {
        hint,
        title: shown(&title(violation)),
        class: violation.class.filter(|class| Class::of(*class).is_some()),
        lines: lines
            .into_iter()
            .map(|(name, what)| (name, shown(&what)))
            .collect(),
        address: placed.then(|| address(violation.address)),
        at: violation.address,
        length: violation.length,
        entry: of_ledger.and_then(|of_ledger| view.place(of_ledger.sequence)),
        write: violation
            .register_write
            .as_ref()
            .and_then(|write| view.links.write(write.sequence)),
        slot: violation.slot,
        capture: violation.capture,
    }
}

/// The ends of the logs.
fn logs(logs: &Logs) -> Vec<(&'static str, String)> {
    let end = |text: &str| -> String {
        let from = text.len().saturating_sub(LARGEST_LOG);
        let from = text.ceil_char_boundary(from);
        let lines = text.get(from..).unwrap_or_default().lines();
        lines.map(|line| shown(line) + "\n").collect()
    };
    logs.iter().map(|(name, text)| (*name, end(text))).collect()
}
