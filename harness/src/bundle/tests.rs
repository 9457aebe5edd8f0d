// SPDX-License-Identifier: MIT OR Apache-2.0

//! Bundles of a card that never was: written, opened, judged; damaged and hostile ones refused.

use std::fs;
use std::io::Cursor;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use landfall_device::contract::{
    Declaration, Declares, JobId, Label, Owed, Piece, QueueId, Role, Vector,
};
use landfall_device::journal::{Bytes, Call, DriverCall as Called, LendDirection, Memory};
use landfall_device::journal::{Direction, Journal, Kind, Outcome};
use landfall_device::ledger::{Judgement, Lend, LendKind, Platform};
use tempfile::TempDir;

use super::*;
use crate::debug_info::{Lines, Source};
use crate::evidence::{MAX_PAGES, Pages, Recorder};
use crate::guest::memory::GuestMemory;
use crate::report::schema::{DriverCall, Violation};

mod hostile;

fn lend(slot: u32) -> Lend {
    Lend {
        address: 0x10_0000 + u64::from(slot) * 0x1_0000,
        length: 0x1000,
        direction: LendDirection::FromDevice,
        kind: LendKind::Frame,
        slot: Some(slot),
        label: format!("frame buffer {slot}"),
    }
}

/// A card that serves two frames, `beyond` bytes too far in the second.
fn watched(beyond: u64) -> (Recorder, Journal) {
    let journal = Journal::default();
    journal.push(Kind::Declares(Declares {
        jobs: true,
        handover: true,
        interrupts: true,
        ..Declares::default()
    }));
    let mut recorder = Recorder::new(Platform::default(), journal.len());
    recorder.lend(lend(0));
    recorder.lend(lend(1));
    for slot in 0..2_u32 {
        let base = lend(slot).address;
        let job = JobId(slot.into());
        let queue = QueueId::default();
        let write = journal.push(Kind::BusMaster { on: true });
        let declare = |what| {
            journal.push(Kind::Declared {
                register_write: Some(write),
                what,
            });
        };
        declare(Declaration::Accepted {
            job,
            queue,
            label: Label::slot(slot),
            pieces: Vec::new(),
        });
        declare(Declaration::Begun {
            job,
            queue,
            label: Label::slot(slot).frame(slot),
            pieces: vec![Piece::write(base, 0x1000)],
        });
        journal.push(Kind::Access {
            direction: Direction::Write,
            address: base,
            length: 0x1000 + if slot == 1 { beyond } else { 0 },
            job: Some(job),
            slot: None,
            role: Role::Payload,
            outcome: Outcome::Ok,
            bytes: Bytes::default(),
        });
        let owed = Some(Owed::now(Vector(0)));
        declare(Declaration::done(job, 0x1000, owed));
        recorder.feed(&journal);
        journal.push(Kind::Interrupt { vector: 0 });
    }
    recorder.reclaim();
    recorder.feed(&journal);
    (recorder, journal)
}

/// Writes the bundle of such a card to a place.
fn stored(place: Place, evidence: &Path) -> Result<(PathBuf, Judgement), BundleError> {
    let (mut recorder, journal) = watched(8);
    let violations = recorder.finish();
    let memory = GuestMemory::flat(1 << 22).expect("memory");
    let mut pages = Pages::default();
    pages.keep(&memory, &(0x11_1000..0x11_1008), &|page, at| {
        page.know(at, &(0x11_0000..0x11_1000), "frame 1", |bytes, _| {
            bytes.fill(1);
        });
    });
    let parts = Parts {
        request: &Request {
            place,
            ..Request::default()
        },
        run: Run {
            command: vec!["run".to_owned(), "it's".to_owned()],
            summary: "1 violation: \u{1b}[31moverrun".to_owned(),
            ..Run::default()
        },
        stream: Some((&recorder, &journal)),
        judged: &violations,
        lines: &Lines::new(),
        report: None,
        observed: None,
        pages: &pages,
        logs: &vec![("console.log", "hello\n".to_owned())],
        page: true,
    };
    Ok((store(&parts, evidence)?, violations))
}

fn in_directory() -> (TempDir, PathBuf, Judgement) {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, violations) = stored(Place::Evidence, directory.path()).expect("it is written");
    (directory, path, violations)
}

/// The same verdict from the recorded stream as while the card ran, out of a directory and out of an archive.
#[test]
fn what_was_recorded_is_judged_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("bundle.tar.zst");
    for place in [Place::Evidence, Place::At(archive)] {
        let (path, violations) = stored(place, directory.path()).unwrap();
        assert_eq!(violations.violations.len(), 1, "{violations:#?}");
        let bundle = Bundle::open(&path).unwrap();

        let judged = bundle.judge(|_, _| ()).unwrap();

        assert_eq!(judged.said, violations);
        assert_eq!(bundle.judgement().unwrap(), violations);
        // The platform, two lends, what was before the session, what was in it, and the reclaim.
        assert_eq!(judged.lines, 1 + 2 + 1 + 12 + 1);
        assert!(compare(&violations, &judged.said).is_same());
    }
    let left = fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(left, 2, "nothing else is left");
}

/// Each of several runs has a place of its own, of the same kind.
#[test]
fn the_place_of_one_of_several_runs_has_its_word_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| Place::At(directory.path().join(name));
    assert_eq!(at("b").of("iommu"), at("b-iommu"));
    assert_eq!(at("b.tar.zst").of("iommu"), at("b-iommu.tar.zst"));

    let (path, _) = stored(Place::Evidence.of("iommu"), directory.path()).unwrap();

    let name = path.file_name().unwrap().to_string_lossy();
    assert!(name.starts_with("landfall-bundle-iommu-"), "{name}");
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o700);
    stored(Place::At(path.clone()), directory.path()).unwrap();
    assert_eq!(mode(), 0o700, "what was private stays so");
}

/// The negative control: a stream in which something else happened is judged otherwise, and it is said how.
#[test]
fn another_stream_is_told_apart() {
    let (mut recorder, _) = watched(8);
    let recorded = recorder.finish();
    let (mut longer, _) = watched(16);
    let (mut clean, _) = watched(0);

    let longer = compare(&recorded, &longer.finish());
    assert_eq!(longer.differences.len(), 1, "{longer:?}");
    assert!(
        longer.differences[0].contains("length was 8, is 16"),
        "{longer:?}"
    );
    let clean = clean.finish();
    let gone = compare(&recorded, &clean);
    assert!(
        gone.differences[0].contains("not there any more"),
        "{gone:?}"
    );
    let new = compare(&clean, &recorded);
    assert!(new.differences[0].contains("is new"), "{new:?}");
}

/// Other words for the same are no other verdict, and are counted.
#[test]
fn words_may_change() {
    let (mut recorder, _) = watched(8);
    let recorded = recorder.finish();
    let mut now = recorded.clone();
    now.violations[0].text = "in other words".to_owned();

    let comparison = compare(&recorded, &now);

    assert!(comparison.is_same());
    assert_eq!(comparison.reworded, 1);
}

#[test]
fn pages_come_back_with_what_should_lie_there() {
    let (_directory, path, _) = in_directory();
    let pages = Bundle::open(&path).unwrap().pages().unwrap();

    assert_eq!(pages.len(), 3, "the page concerned and those beside it");
    let before = pages.at(0x11_0fff).unwrap();
    assert_eq!((before.bytes[0xfff], before.expected(0xfff)), (0, Some(1)));
    assert_eq!(pages.at(0x11_1000).unwrap().expected(0), None);
    assert!(pages.at(0x20_0000).is_none());
}

#[test]
fn no_more_pages_are_kept_than_there_is_room_for() {
    let memory = GuestMemory::flat(1 << 22).unwrap();
    let mut pages = Pages::default();
    for range in (0..100_u64).map(|n| n * 0x8000..n * 0x8000 + 1) {
        pages.keep(&memory, &range, &|_, _| ());
    }
    assert_eq!(pages.len(), MAX_PAGES);
    pages.keep(&memory, &(u64::MAX - 1..u64::MAX), &|_, _| ());
    assert_eq!(pages.len(), MAX_PAGES, "what is no RAM is left out");
}

#[test]
fn the_story_is_told_without_control_characters() {
    let (_directory, path, _) = in_directory();

    let told = story(&Bundle::open(&path).unwrap(), "B").unwrap();

    assert!(told.contains("<== VIOLATION 1: overrun"), "{told}");
    assert!(told.contains("landfall run 'it'\\''s'"), "{told}");
    assert!(!told.contains('\u{1b}'), "{told}");
}

/// A bundle takes the place of one that is there, and of nothing else.
#[test]
fn only_a_bundle_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir(at("empty")).unwrap();
    for name in ["new", "new", "empty", "one.tar.zst", "one.tar.zst"] {
        let (path, _) = stored(Place::At(at(name)), directory.path()).unwrap();
        Bundle::open(&path).unwrap();
    }
    let names = fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(names, 3, "nothing else is left");

    fs::create_dir(at("other")).unwrap();
    fs::write(at("other/file"), "precious").unwrap();
    fs::write(at("file"), "precious").unwrap();
    fs::create_dir(at("two.tar.zst")).unwrap();
    for name in ["other", "file", "two.tar.zst"] {
        let refused = stored(Place::At(at(name)), directory.path()).unwrap_err();
        assert!(matches!(refused, BundleError::Taken { .. }), "{refused}");
    }
    let nowhere = Place::At(at("no/such/bundle"));
    assert!(matches!(nowhere.check(), Err(BundleError::Write { .. })));
    assert_eq!(fs::read_to_string(at("other/file")).unwrap(), "precious");
}

/// A driver that lends a page by one call and takes it back by another, and a card that writes there after that; with the
/// lines of both calls, or without.
fn told_with(lines: &Lines) -> (TempDir, PathBuf) {
    let journal = Journal::default();
    journal.push(Kind::Attached {
        text_start: 0,
        text_end: 0,
        syncs: true,
    });
    journal.push(Kind::BusMaster { on: true });
    for (number, call, caller, name) in [
        (1, Call::Map, 0x1009, LENDS),
        (2, Call::Unmap, 0x2009, TAKES_BACK),
    ] {
        journal.push(Kind::Symbol {
            address: caller,
            name: name.to_owned(),
        });
        journal.push(Kind::Call(Called {
            number,
            call,
            caller,
            address: 0x10_0000,
            phys: 0x10_0000,
            length: 0x1000,
            direction: LendDirection::FromDevice,
            entries: 0,
            part: 0,
            list: None,
            memory: Memory::Plain,
            bounced: false,
            skip_sync: false,
            backing: false,
            cpu: 0,
            guest_ns: 0,
        }));
    }
    journal.push(Kind::Access {
        direction: Direction::Write,
        address: 0x10_0000,
        length: 64,
        job: None,
        slot: None,
        role: Role::Payload,
        outcome: Outcome::Ok,
        bytes: Bytes::default(),
    });
    let mut recorder = Recorder::new(Platform::default(), 0);
    recorder.feed(&journal);
    recorder.close(&journal);
    let judged = recorder.finish();
    assert_eq!(judged.violations.len(), 1, "{judged:#?}");
    let directory = tempfile::tempdir().unwrap();
    let parts = Parts {
        request: &Request::default(),
        run: Run::default(),
        stream: Some((&recorder, &journal)),
        judged: &judged,
        lines,
        report: None,
        observed: None,
        pages: &Pages::default(),
        logs: &Vec::new(),
        page: true,
    };
    let path = store(&parts, directory.path()).unwrap();
    (directory, path)
}

const LENDS: &str = "lend+0x9/0x20 [mine]";
const TAKES_BACK: &str = "stop+0x9/0x20 [mine]";

/// What was found where the modules were is told where they are not.
#[test]
fn lines_of_the_source_are_in_the_bundle_and_its_story() {
    let source = |file: &str, line| Source {
        file: file.to_owned(),
        line,
        inlined: None,
        at: None,
    };
    let lines = Lines::from([
        (LENDS.to_owned(), source("mine.c", 7)),
        (TAKES_BACK.to_owned(), source("stop.c", 9)),
    ]);

    let (_directory, path) = told_with(&lines);

    let bundle = Bundle::open(&path).unwrap();
    assert_eq!(bundle.lines().unwrap(), lines);
    let told = story(&bundle, "B").unwrap();
    for (call, line) in [(LENDS, "mine.c:7"), (TAKES_BACK, "stop.c:9")] {
        assert!(told.contains(&format!("from {call}, {line}")), "{told}");
    }
    let judged = bundle.judge(|_, _| ()).unwrap().said;
    assert!(compare(&bundle.judgement().unwrap(), &judged).is_same());
    let mut violation = Violation::of_ledger(judged.violations[0].clone(), &|_| None, &|_| 0);
    violation.locate(&lines);
    let lend = violation.nearest.unwrap();
    let line = |call: Option<DriverCall>| call.and_then(|call| call.source).unwrap().line;
    assert_eq!((line(lend.lent_by), line(lend.taken_back_by)), (7, 9));
}

#[test]
fn without_lines_a_bundle_says_what_the_witness_said() {
    let (_directory, path) = told_with(&Lines::new());

    let bundle = Bundle::open(&path).unwrap();
    assert_eq!(bundle.lines().unwrap(), Lines::new());
    assert_eq!(bundle.path("lines.json"), None);
    let told = story(&bundle, "B").unwrap();
    assert!(told.contains(&format!("from {LENDS}\n")), "{told}");
}
