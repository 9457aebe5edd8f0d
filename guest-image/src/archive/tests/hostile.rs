// SPDX-License-Identifier: MIT OR Apache-2.0

//! Archives that somebody made to do harm, each a clean one with a single thing changed.

use std::fs::{self, File};
use std::io::{self, Read};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use tar::{Archive, Builder, EntryType, Header};

use super::super::manifest::{Manifest, Member, What, stays_inside};
use super::*;

/// An archive taken apart.
struct Parts {
    manifest: Manifest,
    members: Vec<(Header, Vec<u8>)>,
}

fn take_apart(file: &Path) -> Result<Parts> {
    let mut archive = Archive::new(GzDecoder::new(File::open(file)?));
    let mut members = Vec::new();
    for entry in archive.entries()?.raw(true) {
        let mut entry = entry?;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        members.push((entry.header().clone(), bytes));
    }
    let (_, manifest) = members.remove(0);
    Ok(Parts {
        manifest: serde_json::from_slice(&manifest)?,
        members,
    })
}

impl Parts {
    fn write(&self, file: &Path) -> Result {
        self.write_with(file, &serde_json::to_vec(&self.manifest)?)
    }

    fn write_with(&self, file: &Path, manifest: &[u8]) -> Result {
        let mut tar = Builder::new(GzEncoder::new(File::create(file)?, Compression::fast()));
        let mut header = Header::new_ustar();
        header.set_size(manifest.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, "manifest.json", manifest)?;
        for (header, bytes) in &self.members {
            let mut header = header.clone();
            header.set_cksum();
            tar.append(&header, bytes.as_slice())?;
        }
        tar.into_inner()?.finish()?;
        Ok(())
    }

    /// Where the member of that name is.
    fn at(&self, end: &str) -> Result<usize> {
        let found = self
            .manifest
            .members
            .iter()
            .position(|member| member.path.ends_with(end));
        Ok(found.ok_or("no such member")?)
    }

    /// Appends a member, to manifest and archive alike.
    fn push(&mut self, path: &str, what: What) -> Result {
        let mut header = Header::new_ustar();
        header.set_size(0);
        header.set_mode(0o755);
        match &what {
            What::Directory => header.set_entry_type(EntryType::Directory),
            What::File { .. } => header.set_entry_type(EntryType::Regular),
            What::Link { target } => {
                header.set_entry_type(EntryType::Symlink);
                header.set_link_name_literal(target)?;
            }
        }
        name(&mut header, path);
        self.members.push((header, Vec::new()));
        self.manifest.members.push(Member {
            path: path.to_owned(),
            what,
        });
        Ok(())
    }
}

/// Sets a name that the library would refuse to set.
fn name(header: &mut Header, path: &str) {
    let field = &mut header.as_old_mut().name;
    field.fill(0);
    field[..path.len()].copy_from_slice(path.as_bytes());
}

fn empty_file() -> What {
    What::File {
        size: 0,
        sha256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".to_owned(),
        executable: false,
    }
}

/// Changes a clean archive and gives why it is refused.
fn changed(change: impl FnOnce(&mut Parts) -> Result) -> Result<ArchiveError> {
    let (_directory, file) = exported()?;
    let mut parts = take_apart(&file)?;
    change(&mut parts)?;
    parts.write(&file)?;
    refusal(&file)
}

fn why(error: ArchiveError) -> Result<(String, Refused)> {
    match error {
        ArchiveError::Member { member, why } => Ok((member, why)),
        other => Err(format!("{other:?}").into()),
    }
}

#[test]
fn an_archive_put_together_again_is_taken() -> Result {
    let (_directory, file) = exported()?;
    let mut parts = take_apart(&file)?;
    parts.push("entries/qemu-1a/more", empty_file())?;
    parts.push(
        "entries/qemu-1a/link",
        What::Link {
            target: "usr/bin".to_owned(),
        },
    )?;
    parts.write(&file)?;
    let other = tempfile::tempdir()?;

    import_into(other.path(), &file)?;

    assert!(other.path().join("entries/qemu-1a/more").is_file());
    assert!(other.path().join("entries/qemu-1a/link/passwd").is_file());
    Ok(())
}

#[test]
fn names_outside_the_entries_are_refused() -> Result {
    for path in [
        "/etc/passwd",
        "entries/../../up",
        "entries/qemu-1a/../../../up",
        "entries/qemu-1a/./here",
        "entries/qemu-1a//twice",
        "entries/.new-import-1/file",
        "entries/../setups",
        "entries/file",
        "setups/setup-1.json",
        "accelerator.json",
        "entries",
        "entries/",
        "",
    ] {
        let refused = why(changed(|parts| parts.push(path, empty_file()))?)?;
        assert_eq!(refused, (path.to_owned(), Refused::Outside));
    }
    Ok(())
}

#[test]
fn names_that_only_the_archive_has_are_refused() -> Result {
    let (member, refused) = why(changed(|parts| {
        let at = parts.at("/passwd")?;
        name(&mut parts.members[at].0, "entries/qemu-1a/../../../up");
        Ok(())
    })?)?;

    assert_eq!(member, "entries/qemu-1a/../../../up");
    assert_eq!(
        refused,
        Refused::Unexpected("entries/qemu-1a/usr/bin/passwd".to_owned())
    );
    Ok(())
}

#[test]
fn nothing_is_written_through_a_link_or_into_a_file() -> Result {
    for parent in ["lib64", "usr/bin/passwd", "nowhere"] {
        let path = format!("entries/qemu-1a/{parent}/file");
        let refused = why(changed(|parts| parts.push(&path, empty_file()))?)?;
        assert_eq!(refused, (path, Refused::NoDirectory));
    }
    let again = "entries/qemu-1a/usr/bin/passwd";
    let refused = why(changed(|parts| parts.push(again, empty_file()))?)?;
    assert_eq!(refused, (again.to_owned(), Refused::Twice));
    Ok(())
}

#[test]
fn links_that_lead_out_of_their_entry_are_refused() -> Result {
    for target in ["/etc/passwd", "../kernel-2b", "usr/../../up", "", "usr/.."] {
        let link = What::Link {
            target: target.to_owned(),
        };
        let refused = why(changed(|parts| parts.push("entries/qemu-1a/link", link))?)?;
        assert_eq!(refused.1, Refused::Link(target.to_owned()));
    }
    assert!(stays_inside("a/b/link", "../../c"));
    assert!(stays_inside("link", "./a/b"));
    assert!(!stays_inside("a/b/link", "../../../c"));
    // With `here -> .` this leads two directories up.
    assert!(!stays_inside("link", "here/here/../.."));
    Ok(())
}

#[test]
fn only_files_directories_and_links_are_taken() -> Result {
    for kind in [
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
        EntryType::Link,
        EntryType::Continuous,
        EntryType::GNULongName,
        EntryType::GNUSparse,
        EntryType::XHeader,
        EntryType::XGlobalHeader,
        EntryType::new(b'?'),
    ] {
        let (member, refused) = why(changed(|parts| {
            let at = parts.at("/passwd")?;
            parts.members[at].0.set_entry_type(kind);
            Ok(())
        })?)?;
        assert_eq!(refused, Refused::Kind, "{kind:?}");
        assert_eq!(member, "entries/qemu-1a/usr/bin/passwd");
    }
    Ok(())
}

#[test]
fn bits_that_lend_rights_are_refused() -> Result {
    for mode in [0o4755, 0o2755, 0o1755] {
        let (_, refused) = why(changed(|parts| {
            let at = parts.at("/passwd")?;
            parts.members[at].0.set_mode(mode);
            Ok(())
        })?)?;
        assert_eq!(refused, Refused::Mode(mode));
    }
    Ok(())
}

#[test]
fn sizes_are_believed_nowhere() -> Result {
    let huge = changed(|parts| {
        let at = parts.at("/passwd")?;
        if let What::File { size, .. } = &mut parts.manifest.members[at].what {
            *size = u64::MAX;
        }
        Ok(())
    })?;
    assert!(
        matches!(
            huge,
            ArchiveError::TooLarge {
                found: u64::MAX,
                ..
            }
        ),
        "{huge:?}"
    );

    let header_only = changed(|parts| {
        let at = parts.at("/passwd")?;
        parts.members[at].0.set_size(1 << 40);
        Ok(())
    })?;
    assert_eq!(why(header_only)?.1, Refused::Differs);

    // A manifest larger than any is not read.
    let (_directory, file) = exported()?;
    let mut tar = Builder::new(GzEncoder::new(File::create(&file)?, Compression::fast()));
    let mut header = Header::new_ustar();
    header.set_size(1 << 30);
    header.set_mode(0o644);
    tar.append_data(&mut header, "manifest.json", io::repeat(b' ').take(1 << 16))?;
    tar.into_inner()?.finish()?;
    let manifest = refusal(&file)?;
    assert!(matches!(
        manifest,
        ArchiveError::TooLarge {
            of: "bytes of manifest",
            ..
        }
    ));
    Ok(())
}

#[test]
fn bytes_that_are_not_those_of_the_manifest_are_refused() -> Result {
    let (member, refused) = why(changed(|parts| {
        let at = parts.at("/vmlinux")?;
        parts.members[at].1 = b"kernes".to_vec();
        Ok(())
    })?)?;

    assert_eq!(refused, Refused::Checksum);
    assert!(member.ends_with("/vmlinux"));
    Ok(())
}

#[test]
fn members_too_many_or_too_few_are_refused() -> Result {
    let fewer = changed(|parts| {
        parts.members.pop();
        Ok(())
    })?;
    assert_eq!(
        why(fewer)?,
        ("entries/initramfs-3c/video-0".to_owned(), Refused::Missing)
    );

    let more = changed(|parts| {
        parts.push("entries/qemu-1a/more", empty_file())?;
        parts.manifest.members.pop();
        Ok(())
    })?;
    assert_eq!(why(more)?.1, Refused::NotLast);
    Ok(())
}

#[test]
fn a_set_up_that_names_what_is_not_in_the_archive_is_refused() -> Result {
    type Change = fn(&mut Stamp);
    let changes: [Change; 6] = [
        |stamp| {
            stamp.emulator = Emulator::Own {
                program: PathBuf::from("/bin/sh"),
                sandbox: false,
            }
        },
        |stamp| stamp.emulator = Emulator::Entry("../../x".to_owned()),
        |stamp| stamp.vmlinux = PathBuf::from("/boot/vmlinux"),
        |stamp| stamp.initramfs = PathBuf::from("initramfs-3c/../../x"),
        |stamp| stamp.entries.push("toolchain-4d".to_owned()),
        |stamp| stamp.entries.clear(),
    ];
    for change in changes {
        let refused = changed(|parts| {
            change(&mut parts.manifest.setup);
            Ok(())
        })?;
        assert!(
            matches!(refused, ArchiveError::Incomplete(_)),
            "{refused:?}"
        );
    }
    Ok(())
}

#[test]
fn an_emulator_without_its_loader_is_refused() -> Result {
    let refused = changed(|parts| {
        let at = parts.at("/usr/lib64/ld-linux-x86-64.so.2")?;
        parts.members.remove(at);
        parts.manifest.members.remove(at);
        Ok(())
    })?;

    assert!(
        matches!(refused, ArchiveError::Incomplete("its emulator")),
        "{refused:?}"
    );
    Ok(())
}

#[test]
fn another_format_is_told_with_who_wrote_it() -> Result {
    let (_directory, file) = exported()?;
    let later = br#"{"format": 2, "landfall": "9.0.0", "other": "fields"}"#;
    take_apart(&file)?.write_with(&file, later)?;

    let refused = refusal(&file)?;

    assert_eq!(
        refused.to_string(),
        "it has format 2, written by Landfall \"9.0.0\"; this Landfall reads format 1"
    );
    assert!(refused.hint().is_some());
    Ok(())
}

#[test]
fn a_set_up_of_other_sources_is_told_and_not_taken() -> Result {
    type Change = fn(&mut Manifest);
    let changes: [Change; 3] = [
        |manifest| manifest.key = "0".repeat(64),
        |manifest| manifest.setup.lock.kmod_sha256 = "0".repeat(64),
        |manifest| manifest.setup.lock.agent_sha256 = "0".repeat(64),
    ];
    for change in changes {
        let refused = changed(|parts| {
            change(&mut parts.manifest);
            Ok(())
        })?;
        assert!(
            matches!(refused, ArchiveError::OtherSources { .. }),
            "{refused:?}"
        );
    }
    Ok(())
}

#[test]
fn what_is_no_archive_is_told() -> Result {
    let (_directory, file) = exported()?;
    let mut other = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    let mut header = Header::new_ustar();
    header.set_size(0);
    other.append_data(&mut header, "readme", io::empty())?;
    let other = other.into_inner()?.finish()?;
    for bytes in [b"".as_slice(), b"not gzip, not tar", &other] {
        fs::write(&file, bytes)?;
        assert!(matches!(refusal(&file)?, ArchiveError::Foreign(_)));
    }
    Ok(())
}
