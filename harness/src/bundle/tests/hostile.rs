// SPDX-License-Identifier: MIT OR Apache-2.0

//! Bundles that are damaged, or made to do harm.

use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use tar::{Builder, EntryType, Header};

use super::*;

fn refused(path: &Path) -> String {
    Bundle::open(path).expect_err("it is refused").to_string()
}

/// Changes the manifest of a bundle.
fn rewrite(path: &Path, change: impl FnOnce(&mut Manifest)) {
    let file = path.join("manifest.json");
    let mut manifest = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    change(&mut manifest);
    fs::write(&file, serde_json::to_vec(&manifest).unwrap()).unwrap();
}

#[test]
fn what_was_changed_since_it_was_written_is_refused() {
    let (_directory, path, _) = in_directory();
    let file = path.join("stream.jsonl");
    let whole = fs::read(&file).unwrap();

    let mut changed = whole.clone();
    changed[20] ^= 1;
    fs::write(&file, &changed).unwrap();
    assert!(refused(&path).contains("\"stream.jsonl\" has not the SHA-256"));
    fs::write(&file, &whole[1..]).unwrap();
    assert!(refused(&path).contains("has not the size"));
    fs::remove_file(&file).unwrap();
    assert!(refused(&path).contains("is missing"));
    symlink("/dev/zero", &file).unwrap();
    assert!(refused(&path).contains("is no plain file"));

    fs::remove_file(&file).unwrap();
    fs::write(&file, &whole).unwrap();
    assert!(Bundle::open(&path).is_ok(), "put right again");
    fs::remove_file(path.join("manifest.json")).unwrap();
    assert!(refused(&path).contains("it is no bundle: its manifest.json is missing"));
}

#[test]
fn names_lead_nowhere_and_sizes_have_limits() {
    for name in [
        "../stream.jsonl",
        "/etc/passwd",
        "a/b",
        ".hidden",
        "manifest.json",
        "",
    ] {
        let (_directory, path, _) = in_directory();
        rewrite(&path, |manifest| {
            name.clone_into(&mut manifest.files[0].name)
        });
        assert!(
            refused(&path).contains("a name that no file of a bundle has"),
            "{name}"
        );
    }
    let (_directory, path, _) = in_directory();
    rewrite(&path, |manifest| manifest.files[0].size = u64::MAX);
    assert!(refused(&path).contains("at most 1073741824 are read"));
    rewrite(&path, |manifest| manifest.format = 99);
    assert!(refused(&path).contains("format 99"));
    fs::write(path.join("manifest.json"), "{").unwrap();
    assert!(refused(&path).contains("no bundle"));
}

/// An archive of members: name, kind, contents.
fn archive(directory: &Path, members: &[(&str, EntryType, &[u8])]) -> PathBuf {
    let mut tar = Builder::new(Vec::new());
    for (name, kind, bytes) in members {
        let mut header = Header::new_ustar();
        // Not `set_path`, which refuses what is to be refused here.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        tar.append(&header, *bytes).unwrap();
    }
    let path = directory.join("hostile.tar.zst");
    let tar = Cursor::new(tar.into_inner().unwrap());
    fs::write(&path, compress_to_vec(tar, CompressionLevel::Fastest)).unwrap();
    path
}

#[test]
fn an_archive_holds_just_what_its_manifest_says() {
    let directory = tempfile::tempdir().unwrap();
    let manifest = |name: &str, size| {
        let file = Member {
            name: name.to_owned(),
            size,
            sha256: String::new(),
        };
        let manifest = Manifest {
            format: FORMAT,
            landfall: String::new(),
            files: vec![file],
        };
        serde_json::to_vec(&manifest).unwrap()
    };
    let head = manifest("run.json", 3);
    let first = ("manifest.json", EntryType::Regular, head.as_slice());
    let plain = EntryType::Regular;
    for (members, why) in [
        (
            &[("../manifest.json", plain, head.as_slice())][..],
            "was not expected",
        ),
        (&[first, ("../run.json", plain, b"abc")], "was not expected"),
        (
            &[first, ("run.json", EntryType::Symlink, b"")],
            "no plain file",
        ),
        (&[first, ("run.json", plain, b"abcd")], "has not the size"),
        (&[first], "is missing"),
        (&[first, ("run.json", plain, b"abc")], "has not the SHA-256"),
        (&[], "is missing"),
    ] {
        let said = refused(&archive(directory.path(), members));
        assert!(said.contains(why), "{said}");
    }
    let outside = manifest("../run.json", 3);
    let members = [
        ("manifest.json", plain, outside.as_slice()),
        ("../run.json", plain, b"abc"),
    ];
    assert!(refused(&archive(directory.path(), &members)).contains("a name that no file"));
    assert!(!directory.path().join("../run.json").exists());

    fs::write(directory.path().join("x"), "text").unwrap();
    assert!(refused(&directory.path().join("x")).contains("neither a directory nor"));
    assert!(refused(&directory.path().join("none")).contains("cannot be read"));
}

/// Cut anywhere, an archive is refused in words.
#[test]
fn an_archive_that_was_cut_short_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::At(directory.path().join("whole.tar.zst"));
    let (path, _) = stored(place, directory.path()).unwrap();
    let whole = fs::read(&path).unwrap();
    // The last bytes are a checksum and the padding of the archive, which nobody needs.
    let needed = whole.len() - 64;
    for length in (0..needed).step_by(97) {
        fs::write(&path, &whole[..length]).unwrap();
        refused(&path);
    }
}

/// Damaged anywhere, it is refused, and all that is said of it is words: no form of Rust's for the values of a program.
#[test]
fn an_archive_that_is_damaged_is_refused_in_words() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::At(directory.path().join("whole.tar.zst"));
    let (path, _) = stored(place, directory.path()).unwrap();
    let whole = fs::read(&path).unwrap();
    let mut refused = 0;
    for at in (0..whole.len()).step_by(31) {
        let mut damaged = whole.clone();
        damaged[at] = !damaged[at];
        fs::write(&path, damaged).unwrap();
        let Err(error) = Bundle::open(&path) else {
            continue; // padding
        };
        refused += 1;
        let mut next: Option<&dyn std::error::Error> = Some(&error);
        while let Some(error) = next {
            let said = error.to_string();
            // serde's own words may have a brace in quotes.
            let forms = [" { ", "Error(", "Some("];
            assert!(!forms.iter().any(|form| said.contains(form)), "{said}");
            next = error.source();
        }
    }
    assert!(refused > 20, "{refused}");
}

fn wrong(stream: &str) -> String {
    judge(Cursor::new(stream), |_, _| ())
        .expect_err("it is refused")
        .to_string()
}

#[test]
fn a_stream_that_makes_no_sense_is_refused_by_its_line() {
    let platform = "{\"platform\":{}}\n";
    let entry = |sequence: u64| {
        format!("{{\"entry\":{{\"sequence\":{sequence},\"time_ns\":0,\"kind\":\"connected\"}}}}\n")
    };
    let of = |parts: &[&str]| parts.concat();
    for (stream, why) in [
        (String::new(), "stream.jsonl, line 1: the stream is empty"),
        (entry(0), "line 1: the platform must come first"),
        (of(&[platform, platform]), "line 2: a second platform"),
        (
            of(&[platform, "{\"reclaim\":false}\n"]),
            "line 2: `reclaim` is always true",
        ),
        (
            of(&[platform, "{\"other\":1}\n"]),
            "line 2: unknown variant `other`",
        ),
        (
            of(&[platform, &entry(1), "{\"entry\":\n"]),
            "line 3: EOF while parsing",
        ),
        (
            of(&[platform, "{\"reclaim\":true}"]),
            "line 2: it is cut short",
        ),
        (
            of(&[platform, &entry(u64::MAX)]),
            "line 2: a number or time",
        ),
    ] {
        let said = wrong(&stream);
        assert!(said.contains(why), "{said}");
    }
    assert!(wrong(&"x".repeat(2 << 20)).contains("longer than any line is"));
}
