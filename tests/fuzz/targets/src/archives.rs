// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is unpacked and looked into while a guest is made: an initramfs, a module's file in any packing, ELF files with their
//! debug information, a set-up that was exported.
//!
//! The first byte says which. All is refused in words or read; of a set-up that is refused nothing is in the cache, and none
//! leads out of it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use landfall::debug_info;
use landfall_guest::{
    Cancel, Dynamic, ModuleFiles, ModuleInfo, SetupOptions, import, read_module, what_is_imported,
};
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

use crate::bytes::{Bytes, file};
use crate::limit;
use crate::text::{plain_words, words};

/// Largest module that is unpacked, twice: a vector doubles as it grows.
const MEMORY: usize = 600 << 20;
/// A call, as the witness tells it.
const CALLS: [&str; 3] = [
    "probe+0x10/0x20 [module]",
    "f+0x0/0x1 [module]",
    "init_module+0x5/0x40 [module]",
];

/// Reads an archive.
pub fn run(bytes: &[u8]) {
    limit::within(MEMORY, || read(bytes));
}

fn read(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    match bytes.u8() % 5 {
        0 => {
            let (_kept, path) = file(bytes.0);
            let found = ModuleFiles::new(&path).loaded("module");
            match found {
                Ok(found) => assert!(found.is_none_or(|found| found.len() < bytes.0.len())),
                Err(why) => words(&why),
            }
        }
        1 => {
            let (_kept, path) = file(bytes.0);
            if let Err(why) = read_module(&path) {
                plain_words(&why);
            }
        }
        2 => {
            if let Some(dynamic) = Dynamic::read(bytes.0) {
                assert!(dynamic.libraries.len() <= 512 && dynamic.search.len() <= 512);
            }
            match ModuleInfo::read(bytes.0) {
                Ok(info) => assert!(!info.name.is_empty() && !info.name.contains('/')),
                Err(why) => words(&why),
            }
        }
        3 => match debug_info::of_module(bytes.0, &CALLS) {
            Ok(lines) => assert!(lines.len() <= CALLS.len()),
            Err(why) => plain_words(&why),
        },
        _ => set_up(&mut bytes),
    }
}

/// Imports an archive: its manifest first, and then members, each of a kind, a name and contents.
fn set_up(bytes: &mut Bytes<'_>) {
    let directory = tempfile::tempdir().expect("a directory");
    let options = SetupOptions::new(directory.path().join("cache"));
    let manifest = bytes.long();
    let mut members = Vec::new();
    let mut sums = BTreeMap::new();
    while !bytes.is_empty() {
        let (kind, name) = (bytes.u8(), bytes.short());
        let contents = bytes.short();
        let sum = Sha256::digest(contents);
        let sum: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
        sums.insert(format!("@{}@", members.len()), sum);
        members.push((kind, name, contents));
    }
    sums.extend(what_is_imported(&options).expect("no options, and none that is wrong"));
    let mut manifest = String::from_utf8_lossy(manifest).into_owned();
    for (word, stands_for) in &sums {
        manifest = manifest.replace(word, stands_for);
    }
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::none()));
    let mut append = |kind, name: &[u8], contents: &[u8]| {
        let mut header = Header::new_ustar();
        let place = &mut header.as_mut_bytes()[..100];
        let length = name.len().min(100);
        place[..length].copy_from_slice(&name[..length]);
        header.set_mode(if kind & 0x10 != 0 { 0o4755 } else { 0o644 });
        let kinds = [
            EntryType::Regular,
            EntryType::Directory,
            EntryType::Symlink,
            EntryType::Link,
            EntryType::GNULongName,
            EntryType::GNUSparse,
        ];
        header.set_entry_type(kinds[usize::from(kind & 0xf) % kinds.len()]);
        let contents = match kind & 0xf {
            1 => &[],
            2 | 3 => {
                let at = 157..157 + contents.len().min(100);
                let length = at.len();
                header.as_mut_bytes()[at].copy_from_slice(&contents[..length]);
                &[]
            }
            _ => contents,
        };
        header.set_size(contents.len() as u64);
        header.set_cksum();
        tar.append(&header, contents).expect("there is room");
    };
    append(0, b"manifest.json", manifest.as_bytes());
    for (kind, name, contents) in members {
        append(kind, name, contents);
    }
    let packed = tar.into_inner().and_then(GzEncoder::finish);
    let path = directory.path().join("setup.tar.gz");
    let mut out = fs::File::create(&path).expect("a file");
    out.write_all(&packed.expect("packed"))
        .expect("there is room");

    let imported = import(&options, &path, &Cancel::default(), &mut |_| ());
    let names: Vec<_> = listed(directory.path());
    assert!(
        names
            .iter()
            .all(|name| name == "cache" || name == "setup.tar.gz"),
        "{names:?}"
    );
    let entries = options.cache.join("entries");
    match imported {
        Ok(imported) => {
            assert_eq!(
                imported.entries.len(),
                listed(&entries).len(),
                "{imported:?}"
            );
            stays(&entries, &fs::canonicalize(&entries).expect("it is there"));
        }
        Err(why) => {
            assert_eq!(
                listed(&entries),
                Vec::<String>::new(),
                "something of it is there: {why}"
            );
            words(&why);
        }
    }
}

/// Names in a directory, if it is there.
fn listed(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

/// No link leads out.
fn stays(directory: &Path, root: &Path) {
    for name in listed(directory) {
        let path = directory.join(name);
        let status = fs::symlink_metadata(&path).expect("it is there");
        if status.is_dir() {
            stays(&path, root);
        } else if let Ok(leads) = fs::canonicalize(&path) {
            assert!(
                leads.starts_with(root),
                "{} leads to {}",
                path.display(),
                leads.display()
            );
        }
    }
}
