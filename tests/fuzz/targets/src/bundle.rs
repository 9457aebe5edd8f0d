// SPDX-License-Identifier: MIT OR Apache-2.0

//! Bundles that anybody may have sent: opened, replayed, explained.
//!
//! The first byte says what the rest is: an archive as it is, an archive before it is packed, a manifest, or files, for which a
//! manifest is made that is right. A bundle is refused in words, or all of it is read; its story has nothing with which a
//! terminal is steered.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use landfall::bundle::{Bundle, BundleError, FORMAT, Manifest, Member, compare, story};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use sha2::{Digest, Sha256};

use crate::bytes::{Bytes, file};
use crate::limit;
use crate::text::words;

/// Files that there may be, by number; behind the last any other name.
const NAMES: [&str; 15] = [
    "run.json",
    "scenario.toml",
    "stream.jsonl",
    "judgement.json",
    "lines.json",
    "observed.json",
    "report.json",
    "pages.json",
    "pages.bin",
    "expected.bin",
    "map.txt",
    "map.svg",
    "console.log",
    "kernel.log",
    "qemu.log",
];
/// What is unpacked may be larger than what came; no file may be larger than this.
const MEMORY: usize = 256 << 20;

/// Opens a bundle and reads all of it.
pub fn run(bytes: &[u8]) {
    limit::within(MEMORY, || open(bytes));
}

fn open(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let opened = match bytes.u8() % 4 {
        0 => archive(bytes.0),
        1 => archive(&compress_to_vec(
            Cursor::new(bytes.0),
            CompressionLevel::Fastest,
        )),
        2 => directory(|path| fs::write(path.join("manifest.json"), bytes.0)),
        _ => directory(|path| files(path, &mut bytes)),
    };
    if let Err(why) = opened {
        words(&why);
    }
}

fn archive(bytes: &[u8]) -> Result<(), BundleError> {
    let (_kept, path) = file(bytes);
    inspect(&path)
}

fn directory(fill: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<(), BundleError> {
    let directory = tempfile::tempdir().expect("a directory");
    fill(directory.path()).expect("there is room");
    inspect(directory.path())
}

/// Writes files, each of a number, a length and contents, and their manifest.
fn files(directory: &Path, bytes: &mut Bytes<'_>) -> std::io::Result<()> {
    let mut files: Vec<Member> = Vec::new();
    while !bytes.is_empty() {
        let name = NAMES
            .get(usize::from(bytes.u8()))
            .copied()
            .unwrap_or("other.bin");
        let contents = bytes.long();
        if files.iter().any(|file| file.name == name) {
            continue;
        }
        fs::write(directory.join(name), contents)?;
        let hash = Sha256::digest(contents);
        files.push(Member {
            name: name.to_owned(),
            size: contents.len() as u64,
            sha256: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
        });
    }
    let manifest = Manifest {
        format: FORMAT,
        landfall: String::new(),
        files,
    };
    fs::write(
        directory.join("manifest.json"),
        serde_json::to_vec(&manifest)?,
    )
}

/// Reads whatever is in a bundle, each by itself: what is wrong with one says nothing of the next.
fn inspect(path: &Path) -> Result<(), BundleError> {
    let bundle = Bundle::open(path)?;
    let mut refused = Vec::new();
    let mut read = |what: Result<(), BundleError>| refused.extend(what.err());
    read(bundle.run().map(drop));
    read(bundle.report().map(drop));
    read(bundle.observed().map(drop));
    read(bundle.lines().map(drop));
    read(bundle.pages().map(drop));
    for member in &bundle.manifest().files {
        assert!(bundle.path(&member.name).is_some_and(|path| path.is_file()));
        read(bundle.text(&member.name).map(drop));
    }
    let (recorded, judged) = (bundle.judgement(), bundle.judge(|_, _| ()));
    if let (Ok(recorded), Ok(judged)) = (&recorded, &judged) {
        let changes = compare(recorded, &judged.said);
        assert!(compare(recorded, recorded).is_same());
        assert_eq!(changes.is_same(), compare(&judged.said, recorded).is_same());
    }
    read(recorded.map(drop));
    read(judged.map(drop));
    let told = story(&bundle, "it");
    if let Ok(told) = &told {
        let steers = |char: char| char.is_control() && char != '\n';
        assert!(!told.contains(steers), "{told:?}");
        assert!(told.starts_with("it: "), "{told:?}");
    }
    read(told.map(drop));
    for why in refused {
        words(&why);
    }
    Ok(())
}
