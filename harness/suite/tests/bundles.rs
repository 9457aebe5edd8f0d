// SPDX-License-Identifier: MIT OR Apache-2.0

//! Bundles of bugs that were shown once, judged again on the host, in milliseconds.
//!
//! When the journal, a driver or a rule of the ledger changes so that they no longer say what they said, and rightly,
//! record them anew, with guests; review what differs, then commit it:
//!
//!     cargo run -- replay --live --record harness/suite/tests/bundles/*-*
//!
//! In `catalog/` are the streams of the whole catalogue, each class and its clean twin on each platform where it must be
//! named, so that the ledger's part of the matrix is judged in seconds and without a guest:
//!
//!     cargo run --release -- catalog run --record harness/suite/tests/bundles/catalog

use std::collections::BTreeSet;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use landfall::bundle::{Bundle, compare, judge, story};
use landfall::evidence::Item;
use landfall_device::journal::Kind;
use landfall_device::ledger::{Class, Judgement, Violation};
use landfall_suite::catalog::ENTRIES;

fn directory() -> PathBuf {
    // Where it is now: an archive of tests may have been built elsewhere.
    let now = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    now.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")))
        .join("tests/bundles")
}

/// Where the catalogue's streams are.
const CATALOG: &str = "catalog";

/// What lies in a directory, in order.
fn paths(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(directory)
        .expect("there are bundles")
        .map(|entry| entry.expect("a readable entry").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "the check would check nothing");
    paths
}

fn open(path: &Path) -> Bundle {
    Bundle::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The items of a bundle's stream.
fn items(bundle: &Bundle) -> Vec<Item> {
    let mut items = Vec::new();
    let judged = bundle.judge(|_, item| items.push(item.clone()));
    judged.expect("the stream is read");
    items
}

/// What the ledger says to items.
fn judged(items: &[Item]) -> Judgement {
    let lines: Vec<_> = items
        .iter()
        .map(|item| serde_json::to_string(item).expect("JSON") + "\n")
        .collect();
    let judged = judge(Cursor::new(lines.concat()), |_, _| ());
    judged.expect("the stream is read").said
}

/// Every bundle there gives the verdict that was recorded, and its story is told.
#[test]
fn bundles_give_the_verdict_that_was_recorded() {
    for path in paths(&directory()) {
        if path.ends_with(CATALOG) {
            continue;
        }
        let bundle = open(&path);
        let recorded = bundle.judgement().expect("a verdict");
        let now = bundle.judge(|_, _| ()).expect("a stream").said;

        let comparison = compare(&recorded, &now);
        assert!(comparison.is_same(), "{}: {comparison:#?}", path.display());
        assert!(
            !recorded.violations.is_empty(),
            "{}: it is clean",
            path.display()
        );
        let told = story(&bundle, "it").expect("a story");
        assert!(told.contains("<== VIOLATION 1"), "{told}");
    }
}

/// Classes that are told by the driver's conduct or memory itself, of which the ledger says nothing; 8 and 33 leave no stream.
const NOT_BY_THE_LEDGER: [u8; 7] = [6, 8, 21, 26, 33, 45, 54];

/// Every class of the catalogue is named from its recorded stream, alone, and its clean twin is silent.
#[test]
fn the_catalogue_is_judged_without_a_guest() {
    let mut named = BTreeSet::new();
    for path in paths(&directory().join(CATALOG)) {
        let name = path.file_name().expect("a name").to_string_lossy();
        let (number, rest) = name.split_once('-').expect("NUMBER-LEG");
        let number: u8 = number.parse().expect("a number");
        let bundle = open(&path);
        let recorded = bundle.judgement().expect("a verdict");
        let said = bundle.judge(|_, _| ()).expect("a stream").said;
        let comparison = compare(&recorded, &said);
        assert!(comparison.is_same(), "{name}: {comparison:#?}");

        let classes = |said: &[Violation]| -> BTreeSet<_> {
            said.iter()
                .map(|one| one.class.map(Class::number))
                .collect()
        };
        let words = (classes(&said.violations), classes(&said.hints));
        let of = |numbers: &[u8]| numbers.iter().copied().map(Some).collect::<BTreeSet<_>>();
        let twin = rest.contains("-twin");
        let expected = match number {
            _ if twin || NOT_BY_THE_LEDGER.contains(&number) => (of(&[]), of(&[])),
            // Whether the CPU reads it is seen on one platform alone.
            37 if rest.starts_with("cpu") => (of(&[37]), of(&[37])),
            37 => (of(&[]), of(&[37])),
            // Its last frame is complete, and the driver, which goes, does not take it.
            25 | 31 => (of(&[number]), of(&[43])),
            _ => (of(&[number]), of(&[])),
        };
        assert_eq!(words, expected, "{name}: {said:#?}");
        assert_eq!(said.not_judged, [""; 0], "{name}");
        if !twin && !NOT_BY_THE_LEDGER.contains(&number) {
            named.insert(number);
        }
    }
    let wanted = ENTRIES.iter().filter(|entry| !entry.legs.is_empty());
    let wanted = wanted.map(|entry| entry.number);
    let wanted: BTreeSet<_> = wanted
        .filter(|number| !NOT_BY_THE_LEDGER.contains(number))
        .collect();
    assert_eq!(named, wanted, "each class has its stream");
}

/// Those that there must be, by the class of what they show.
#[test]
fn what_they_show_is_of_its_class() {
    for (name, class) in [("overrun", 1), ("after-stop", 20), ("lost-irq", 43)] {
        let violations = open(&directory().join(name))
            .judgement()
            .expect("a verdict")
            .violations;
        let classes: Vec<_> = violations.iter().map(|violation| violation.class).collect();
        assert_eq!(classes, [Class::of(class)], "{name}");
    }
}

/// The negative control: a stream in which one access is elsewhere, or is lacking, is judged otherwise.
#[test]
fn one_access_that_was_moved_or_removed_changes_the_verdict() {
    let bundle = open(&directory().join("overrun"));
    let recorded = bundle.judgement().expect("a verdict");
    let items = items(&bundle);
    assert!(compare(&recorded, &judged(&items)).is_same());
    let overrun = recorded.violations[0].sequence;
    let is_it = |item: &Item| matches!(item, Item::Entry(entry) if entry.sequence == overrun);
    let at = items.iter().position(is_it).expect("it is in the stream");

    let mut moved = items.clone();
    if let Item::Entry(entry) = &mut moved[at]
        && let Kind::Access { address, .. } = &mut entry.kind
    {
        *address += 64;
    }
    assert!(!compare(&recorded, &judged(&moved)).is_same(), "moved");

    let mut removed = items;
    removed.remove(at);
    for item in &mut removed[at..] {
        if let Item::Entry(entry) = item {
            entry.sequence -= 1;
        }
    }
    assert!(!compare(&recorded, &judged(&removed)).is_same(), "removed");
}

/// A stream is somebody's word: whatever numbers stand in it, it is judged or refused, and nothing panics.
#[test]
fn numbers_of_any_size_are_judged() {
    let bundle = open(&directory().join("overrun"));
    let lines: Vec<_> = items(&bundle)
        .iter()
        .map(|item| serde_json::to_string(item).expect("JSON") + "\n")
        .collect();
    let mut judged = 0;
    for (index, line) in lines.iter().enumerate() {
        for run in digits(line) {
            for number in [
                "0",
                "31",
                "255",
                "4294967295",
                "4611686018427387903",
                "18446744073709551615",
            ] {
                let (before, after) = (&line[..run.start], &line[run.end..]);
                let mut changed = lines.clone();
                changed[index] = format!("{before}{number}{after}");
                judged += usize::from(judge(Cursor::new(changed.concat()), |_, _| ()).is_ok());
            }
        }
    }
    assert!(judged > 100, "{judged}: the check would check little");
}

/// Where the numbers of a line are.
fn digits(line: &str) -> Vec<std::ops::Range<usize>> {
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    for (at, _) in line.match_indices(|char: char| char.is_ascii_digit()) {
        match runs.last_mut() {
            Some(run) if run.end == at => run.end += 1,
            _ => runs.push(at..at + 1),
        }
    }
    runs
}
