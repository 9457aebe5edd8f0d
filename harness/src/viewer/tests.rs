// SPDX-License-Identifier: MIT OR Apache-2.0

//! Pages and traces of recorded bundles and of hostile streams, read again by readers of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use flate2::read::ZlibDecoder;
use landfall_device::contract::RegisterName;
use landfall_device::journal::{Call, DriverCall, DriverState, LendDirection, Memory};
use landfall_device::ledger::{Judgement, LendKind};
use serde_json::Value;

use super::*;
use crate::bundle::{Bundle, Views};
use crate::report::words::Sort;

/// What would be markup if it got into a page as it is.
const HOSTILE: &str = "</script><img src=x onerror=alert(1)>{{data}}<!--";

fn recorded(name: &str) -> Bundle {
    let bundles = Path::new(env!("CARGO_MANIFEST_DIR")).join("suite/tests/bundles");
    Bundle::open(&bundles.join(name)).expect("a bundle")
}

/// The page and the trace of a bundle.
fn made(bundle: &Bundle) -> (String, Vec<u8>) {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| -> PathBuf { directory.path().join(name) };
    let views = Views {
        page: Some(at("page.html")),
        perfetto: Some(at("trace")),
    };
    views.of_bundle(bundle).expect("it is made");
    let page = std::fs::read_to_string(at("page.html")).expect("a page");
    (page, std::fs::read(at("trace")).expect("a trace"))
}

/// What a page's script reads: the JSON text, and each column's numbers.
struct Unpacked {
    meta: Value,
    kinds: Vec<u8>,
    columns: Vec<Vec<u64>>,
}

fn unpack(page: &str) -> Unpacked {
    let (_, data) = page.split_once("id=\"data\">").expect("data");
    let (data, _) = data.split_once('<').expect("its end");
    let mut bytes = Vec::new();
    let packed = from_base64(data);
    ZlibDecoder::new(&*packed)
        .read_to_end(&mut bytes)
        .expect("it is packed");
    let (length, rest) = bytes.split_first_chunk::<4>().expect("a length");
    let (text, mut rest) = rest.split_at(u32::from_le_bytes(*length) as usize);
    let meta: Value = serde_json::from_slice(text).expect("JSON");
    let mut columns = Vec::new();
    for size in meta["columns"].as_array().expect("columns") {
        let (column, others) = rest.split_at(size.as_u64().expect("a size") as usize);
        columns.push(column.to_vec());
        rest = others;
    }
    let pages = meta["pages"].as_array().expect("pages").len();
    assert_eq!(rest.len(), pages * 2 * 4096, "found and expected");
    let kinds = columns.remove(0);
    Unpacked {
        meta,
        kinds,
        columns: columns.iter().map(|column| varints(column)).collect(),
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    let value = |digit: u8| match digit {
        b'A'..=b'Z' => u32::from(digit - b'A'),
        b'a'..=b'z' => u32::from(digit - b'a') + 26,
        b'0'..=b'9' => u32::from(digit - b'0') + 52,
        b'+' => 62,
        b'/' => 63,
        other => panic!("{other} is no digit"),
    };
    let mut bytes = Vec::new();
    for four in text.trim_end_matches('=').as_bytes().chunks(4) {
        let digits = four.iter().zip([18, 12, 6, 0]);
        let bits = digits.fold(0, |bits, (digit, shift)| bits | value(*digit) << shift);
        bytes.extend(&bits.to_be_bytes()[1..four.len()]);
    }
    bytes
}

fn varints(bytes: &[u8]) -> Vec<u64> {
    let (mut values, mut value, mut shift) = (Vec::new(), 0, 0);
    for byte in bytes {
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            values.push(value);
            (value, shift) = (0, 0);
        }
    }
    values
}

fn signed(value: u64) -> u64 {
    (value >> 1) ^ (value & 1).wrapping_neg()
}

/// The same bundle gives the same page, in which every entry of its journal is that says something, with its number and time.
#[test]
fn a_page_of_a_recorded_bundle_has_its_entries_and_its_violation() {
    let bundle = recorded("overrun");
    let (page, trace) = made(&bundle);
    assert_eq!((page.clone(), trace), made(&bundle));
    let Unpacked {
        meta,
        kinds,
        columns,
    } = unpack(&page);

    let mut wanted = Vec::new();
    bundle
        .judge(|_, item| {
            if let Item::Entry(entry) = item
                && let Some(words) = words(entry, &|_| None)
            {
                wanted.push((entry.sequence, entry.time_ns, words));
            }
        })
        .expect("a stream");
    assert!(wanted.len() > 80, "{}", wanted.len());
    assert_eq!(meta["entries"], wanted.len());
    assert!(columns.iter().all(|column| column.len() == wanted.len()));
    let (mut time, mut sequence) = (wanted[0].1, 0_u64);
    for (index, (number, time_ns, words)) in wanted.iter().enumerate() {
        time += columns[0][index];
        sequence = sequence.wrapping_add(signed(columns[1][index]));
        assert_eq!((sequence, time), (*number, *time_ns));
        assert_eq!(kinds[index] & 0x7f, words.sort as u8);
        assert_eq!(kinds[index] & 0x80 != 0, words.numbers.job.is_some());
        assert_eq!(columns[4][index], words.numbers.length);
        let text = &meta["texts"][columns[2][index] as usize];
        assert_eq!(text[0], words.who);
        let text = text[1].as_str().expect("a text");
        // Callers are named there.
        assert!(text.starts_with(&words.text), "{text}: {}", words.text);
    }

    let judgement = bundle.judgement().expect("a verdict");
    let violation = &meta["violations"][0];
    assert_eq!(violation["title"], "overrun, class 1, frame 1, slot 1");
    let entry = violation["entry"].as_u64().expect("an entry") as usize;
    assert_eq!(wanted[entry].0, judgement.violations[0].sequence);
    let small = meta["small"].to_string();
    assert!(small.contains(&format!("[{entry},\"a5\"]")), "{small}");
    let lines = violation["lines"].to_string();
    for said in [
        "the card wrote 1 byte past",
        "QUEUE = 0x1",
        "0 bytes between",
    ] {
        assert!(lines.contains(said), "{said}: {lines}");
    }
    assert_eq!(meta["captures"][0]["width"], 64);
    assert_eq!(meta["pages"].as_array().expect("pages").len(), 3);
    assert!(meta["logs"].to_string().contains("landfall_capture"));
}

/// Doorbell, job, access, completion, interrupt, sync: of each it is known what led to it.
#[test]
fn an_overrun_is_linked_to_its_doorbell_and_to_the_sync_after_it() {
    let bundle = recorded("overrun");
    let mut view = View::default();
    let judged = bundle.judge(|_, item| view.item(item)).expect("a stream");
    let wrong = judged.said.violations[0].sequence;
    let mut at = view.place(wrong).expect("it is shown");
    let row = |at: u32| &view.rows[at as usize];

    let mut led = vec![row(at).sort];
    while let Some(cause) = row(at).linked.cause {
        assert!(cause < at);
        at = cause;
        led.push(row(at).sort);
    }
    assert_eq!(led, [Sort::Writes, Sort::Begun, Sort::Register]);
    assert!(view.told(row(at)).starts_with("QUEUE = 0x1"));

    let mut at = view.place(wrong).expect("it is shown");
    let mut came = Vec::new();
    while let Some(next) = (at..view.next()).find(|next| row(*next).linked.cause == Some(at)) {
        at = next;
        came.push(row(at).sort);
    }
    assert_eq!(came, [Sort::Done, Sort::Interrupt, Sort::ForCpu]);
    let lend = row(at).linked.owner.expect("a lend");
    assert_eq!(row(lend).sort, Sort::Lends);
    let ended = |row: &Row| row.linked.owner == Some(lend) && row.sort == Sort::TakesBack;
    assert_eq!(view.rows.iter().filter(|row| ended(row)).count(), 1);
}

/// Every bundle of the catalogue can be shown, and what one entry belongs to or comes of lies before it.
#[test]
fn streams_of_the_whole_catalogue_are_shown() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("suite/tests/bundles/catalog");
    let mut seen = BTreeSet::new();
    for entry in std::fs::read_dir(directory).expect("bundles") {
        let bundle = Bundle::open(&entry.expect("an entry").path()).expect("a bundle");
        let mut view = View::default();
        bundle.judge(|_, item| view.item(item)).expect("a stream");
        assert!(!view.is_empty());
        for (index, row) in (0..).zip(&view.rows) {
            seen.insert(row.sort as u8);
            let Linked { owner, cause } = row.linked;
            assert!(owner.max(cause) < Some(index));
        }
    }
    let lacking: Vec<_> = (0..=Sort::Stores as u8)
        .filter(|sort| !seen.contains(sort))
        .collect();
    assert_eq!(lacking, [0; 0], "kinds that nothing shows");
}

fn entry(sequence: u64, kind: Kind) -> Item {
    Item::Entry(Entry {
        sequence,
        time_ns: sequence.saturating_mul(1000),
        kind,
    })
}

fn call(number: u64, call: Call, caller: u64) -> Kind {
    Kind::Call(DriverCall {
        number,
        call,
        caller,
        address: 0x1000,
        phys: 0x1000,
        length: 64,
        direction: LendDirection::Both,
        entries: 0,
        part: 0,
        list: None,
        memory: Memory::Plain,
        bounced: false,
        skip_sync: false,
        backing: false,
        cpu: 0,
        guest_ns: 5_000_000,
    })
}

/// A view in which all that somebody else says is hostile.
fn hostile() -> View {
    let text = || HOSTILE.to_owned();
    let mut view = View::default();
    let lend = Lend {
        address: 0,
        length: u64::MAX,
        direction: LendDirection::Both,
        kind: LendKind::Frame,
        slot: Some(u32::MAX),
        label: text(),
    };
    let name = RegisterName {
        name: HOSTILE.into(),
        index: Some(usize::MAX),
    };
    let register = Kind::Register {
        bar: 255,
        offset: u64::MAX,
        name,
        value: u64::MAX,
        width: 255,
    };
    let symbol = Kind::Symbol {
        address: 9,
        name: text(),
    };
    let driver = Kind::Driver {
        driver: text(),
        state: DriverState::Bound,
    };
    view.item(&Item::Lend(lend));
    for (sequence, kind) in [
        (7, register),
        (3, symbol),
        (3, call(1, Call::Map, 9)),
        (4, call(2, Call::Unmap, 9)),
        (0, driver),
        (1 << 61, Kind::Refused { what: text() }),
    ] {
        view.item(&entry(sequence, kind));
    }
    view.item(&Item::Reclaim(true));
    view
}

/// Whatever a guest or a bundle says is text: it gets out of no part of the page.
#[test]
fn hostile_words_are_no_markup() {
    let view = hostile();
    let text = HOSTILE.to_owned();
    let empty = View::default();
    let page = |view: &View, text: &String| {
        let logs = vec![("console.log", text.clone())];
        let said = Judgement {
            not_judged: vec![text.clone()],
            ..Judgement::default()
        };
        view.page(&Subject {
            summary: text,
            command: &[text.clone(), text.clone()],
            seed: Some(u64::MAX),
            versions: &BTreeMap::from([(text.clone(), text.clone())]),
            report: None,
            said: &said,
            besides: std::slice::from_ref(text),
            lines: &Lines::new(),
            pages: &Pages::default(),
            logs: &logs,
        })
    };
    let hostile = page(&view, &text);
    let harmless = page(&empty, &String::new());

    let tags = |page: &str| page.matches('<').count();
    assert_eq!(tags(&hostile), tags(&harmless));
    assert!(!hostile.contains("<img"));
    let data = hostile.matches("id=\"data\"").count();
    assert_eq!(data, 1, "what stands for data stands for nothing");
    let Unpacked { meta, .. } = unpack(&hostile);
    assert_eq!(meta["summary"], text, "it is there, as text");
    assert!(meta["texts"].to_string().contains("onerror"));
}

#[test]
fn a_view_of_nothing_is_a_page_and_a_trace() {
    let view = View::default();
    let subject = Subject {
        summary: "the guest died",
        command: &[],
        seed: None,
        versions: &BTreeMap::new(),
        report: None,
        said: &Judgement::default(),
        besides: &[],
        lines: &Lines::new(),
        pages: &Pages::default(),
        logs: &Logs::new(),
    };
    assert_eq!(unpack(&view.page(&subject)).meta["entries"], 0);
    assert_eq!(packets(&view.perfetto(&subject)).len(), 9, "its tracks");
}

/// A field of a message of Protocol Buffers: its number, and what it is.
#[derive(Clone, Debug, PartialEq)]
enum Field {
    Number(u64),
    Bytes(Vec<u8>),
}

type Fields = Vec<(u64, Field)>;

fn fields(mut bytes: &[u8]) -> Fields {
    let mut found = Vec::new();
    let number = |bytes: &mut &[u8]| {
        let end = bytes.iter().position(|byte| byte & 0x80 == 0);
        let (this, rest) = bytes.split_at(end.expect("an end") + 1);
        *bytes = rest;
        varints(this)[0]
    };
    while !bytes.is_empty() {
        let key = number(&mut bytes);
        let field = match key & 7 {
            0 => Field::Number(number(&mut bytes)),
            1 => {
                let (value, rest) = bytes.split_first_chunk().expect("eight bytes");
                bytes = rest;
                Field::Number(u64::from_le_bytes(*value))
            }
            2 => {
                let length = number(&mut bytes) as usize;
                let (value, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(value.to_vec())
            }
            other => panic!("no such kind of field: {other}"),
        };
        found.push((key >> 3, field));
    }
    found
}

fn within(message: &Fields, field: u64) -> Option<Fields> {
    message.iter().find_map(|(number, value)| match value {
        Field::Bytes(bytes) if *number == field => Some(fields(bytes)),
        _ => None,
    })
}

fn number(message: &Fields, field: u64) -> Option<u64> {
    message.iter().find_map(|(number, value)| match value {
        Field::Number(value) if *number == field => Some(*value),
        _ => None,
    })
}

fn text(message: &Fields, field: u64) -> String {
    let found = message.iter().find_map(|(number, value)| match value {
        Field::Bytes(bytes) if *number == field => Some(bytes.clone()),
        _ => None,
    });
    String::from_utf8(found.unwrap_or_default()).expect("text")
}

fn packets(trace: &[u8]) -> Vec<Fields> {
    let packets = fields(trace).into_iter().map(|(number, packet)| {
        assert_eq!(number, 1, "a trace is made of packets");
        match packet {
            Field::Bytes(bytes) => fields(&bytes),
            Field::Number(_) => panic!("a packet is a message"),
        }
    });
    packets.collect()
}

/// All entries are on tracks that are described, slices begin and end in turn, and each flow that ends somewhere has begun.
#[test]
fn a_trace_of_a_recorded_bundle_is_whole() {
    let bundle = recorded("overrun");
    let (page, trace) = made(&bundle);
    let packets = packets(&trace);
    let entries = unpack(&page).meta["entries"].as_u64();

    let mut tracks = BTreeMap::new();
    let (mut open, mut began, mut ended) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
    let (mut instants, mut slices, mut said) = (0, 0, Vec::new());
    for packet in &packets {
        assert_eq!(number(packet, 10), Some(1), "of one sequence");
        if let Some(track) = within(packet, 60) {
            tracks.insert(number(&track, 1).expect("a uuid"), text(&track, 2));
            continue;
        }
        let event = within(packet, 11).expect("an event");
        let track = number(&event, 11).expect("a track");
        assert!(tracks.contains_key(&track), "{track} was described before");
        assert!(number(packet, 8).is_some(), "it has a time");
        let depth: &mut i32 = open.entry(track).or_default();
        match number(&event, 9) {
            Some(1) => (*depth, slices) = (*depth + 1, slices + 1),
            Some(2) => *depth -= 1,
            Some(3) => instants += 1,
            other => panic!("no such event: {other:?}"),
        }
        assert!((0..=1).contains(depth), "slices of a track do not overlap");
        began.extend(event.iter().filter(|(field, _)| *field == 47).cloned());
        ended.extend(number(&event, 48));
        said.push((tracks[&track].clone(), text(&event, 23)));
    }
    assert!(open.values().all(|depth| *depth == 0), "{open:?}");
    // The violation is one more.
    assert_eq!(Some(instants), entries.map(|entries| entries + 1));
    assert_eq!(slices, 3 + 3 + 2, "what was lent and mapped, and two jobs");
    let began: Vec<_> = began.iter().map(|(_, flow)| flow.clone()).collect();
    assert_eq!(began.len(), ended.len(), "each flow begins and ends once");
    assert!(ended.len() > 10, "{ended:?}");
    assert!(
        ended
            .iter()
            .all(|flow| began.contains(&Field::Number(*flow)))
    );
    let has = |track: &str, words: &str| {
        let mut said = said.iter();
        said.any(|(of, name)| of == track && name.contains(words))
    };
    assert!(has("violations", "the card wrote 1 byte past"));
    assert!(has("register writes", "QUEUE = 0x1"));
    assert!(has("interrupts", "vector 0"));
    assert!(has("lends", "dma_map"));
}

#[test]
fn each_of_several_runs_has_its_word_in_the_name() {
    let views = Views {
        page: Some("a/b.html".into()),
        perfetto: Some("trace".into()),
    };
    let of = views.of("iommu");
    assert_eq!(of.page, Some("a/b-iommu.html".into()));
    assert_eq!(of.perfetto, Some("trace-iommu".into()));
    assert!(Views::default().of("x").is_empty());
}
