// SPDX-License-Identifier: MIT OR Apache-2.0

//! Reads a set-up from a file into the cache. Not a byte of the file is believed before it is checked.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Instant;

use flate2::bufread::GzDecoder;
use sha2::{Digest, Sha256};
use tar::{Archive, Entries, Entry, EntryType};

use super::manifest::{LARGEST_MANIFEST, Manifest, Member, NAME, What};
use super::{ArchiveError, CHUNK, Refused, SPECIAL};
use crate::architecture::Architecture;
use crate::event::{Event, Step};
use crate::host::cancel::Cancel;
use crate::image::embedded::{SOURCES_SHA256, agent_sha256};
use crate::qemu;
use crate::setup::error::SetupError;
use crate::setup::hold;
use crate::setup::options::SetupOptions;
use crate::setup::plan::Plan;
use crate::setup::stamp::{Emulator, Stamp};
use crate::store::cache::{self, Cache, free, measure};
use crate::store::hash::hex;

/// Most bytes behind the last member: the two empty blocks, and what pads them.
const LARGEST_END: u64 = 1 << 20;

/// What [`import`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Entries that are in the cache now and were not before.
    pub entries: Vec<String>,
    /// Entries that were there, and were left alone.
    pub kept: Vec<String>,
    /// The whole set-up was there: nothing was done, and only the manifest was read.
    pub was_there: bool,
}

/// Brings the set-up in `file` into the cache, so that [`prepare`](crate::prepare) with the same options is warm.
///
/// Everything is unpacked beside the entries and checked to the last byte before any of it gets its name; the set-up
/// itself comes last. An entry that is there is not touched. A set-up that this program would not use, because it was
/// exported by one of other sources, is refused.
///
/// # Errors
/// [`SetupError::Import`] if the archive is refused; or the cache cannot be used, is too small, or busy.
pub fn import(
    options: &SetupOptions,
    file: &Path,
    cancel: &Cancel,
    on_event: &mut dyn FnMut(Event),
) -> Result<Imported, SetupError> {
    let refused = |source| SetupError::Import {
        file: file.to_owned(),
        source,
    };
    let plan = Plan::new(options)?;
    if plan.has_own_parts() {
        return Err(refused(ArchiveError::OwnParts));
    }
    let mut archive = open(file).map_err(|error| refused(ArchiveError::Read(error)))?;
    let entries = archive
        .entries()
        .map_err(|error| refused(ArchiveError::Foreign(error)))?;
    let mut entries = entries.raw(true);
    let head = read_manifest(&mut entries).map_err(refused)?;
    let manifest = Manifest::parse(&head, &plan.key).map_err(refused)?;

    let root = std::path::absolute(&options.cache).unwrap_or_else(|_| options.cache.clone());
    let failed = |source| SetupError::Cache {
        path: root.clone(),
        source,
    };
    let cache = Cache::new(&root);
    cache.create().map_err(failed)?;
    let guard = hold(&cache, cancel, on_event)?;
    let ready =
        Stamp::load(&cache, &plan.key).and_then(|stamp| stamp.prepared(&cache, &plan.key, true));
    if ready.is_some() {
        return Ok(Imported {
            was_there: true,
            ..Imported::default()
        });
    }
    cache.sweep(&guard).map_err(failed)?;
    let (need, free) = (manifest.total(), free(cache.root()).map_err(failed)?);
    if free < need {
        return Err(SetupError::Disk {
            need,
            free,
            path: root.clone(),
        });
    }

    let began = Instant::now();
    on_event(Event::StepStarted {
        step: Step::Import,
        detail: file.display().to_string(),
        index: 1,
        of: 1,
    });
    let temporary = cache
        .entries()
        .join(format!(".new-import-{}", std::process::id()));
    let mut importing = Importing {
        cache: &cache,
        manifest: &manifest,
        temporary: &temporary,
        cancel,
        on_event,
        done: 0,
    };
    let imported = importing.all(entries).and_then(|()| {
        end(archive)?;
        importing.publish()
    });
    // Empty by now if all went well; the next set-up sweeps what cannot be removed.
    let _ = cache::remove(&temporary);
    let imported = imported.map_err(|stopped| match stopped {
        Stopped::Cancelled => SetupError::Cancelled,
        Stopped::Cache(error) => failed(error),
        Stopped::Refused(error) => refused(error),
    })?;
    on_event(Event::StepDone {
        step: Step::Import,
        elapsed: began.elapsed(),
    });
    Ok(imported)
}

/// What an archive must say of itself to be imported with these options, by the words that stand for it where one is made up to
/// be tried: `@key@`, `@kmod@`, `@agent@`.
///
/// # Errors
/// If the options make no sense.
#[doc(hidden)]
pub fn what_is_imported(options: &SetupOptions) -> Result<[(String, String); 3], SetupError> {
    let plan = Plan::new(options)?;
    Ok([
        ("@key@".to_owned(), plan.key),
        ("@kmod@".to_owned(), SOURCES_SHA256.to_owned()),
        (
            "@agent@".to_owned(),
            agent_sha256(plan.architecture).to_owned(),
        ),
    ])
}

type Source = GzDecoder<BufReader<File>>;

fn open(file: &Path) -> io::Result<Archive<Source>> {
    let file = File::open(file)?;
    Ok(Archive::new(GzDecoder::new(BufReader::with_capacity(
        CHUNK, file,
    ))))
}

enum Stopped {
    Cancelled,
    Cache(io::Error),
    Refused(ArchiveError),
}

impl From<ArchiveError> for Stopped {
    fn from(error: ArchiveError) -> Self {
        Self::Refused(error)
    }
}

/// Reads what the first member holds.
fn read_manifest(entries: &mut Entries<'_, Source>) -> Result<Vec<u8>, ArchiveError> {
    let foreign = |why: &str| ArchiveError::Foreign(io::Error::other(why.to_owned()));
    let first = entries.next().ok_or_else(|| foreign("it is empty"))?;
    let mut first = first.map_err(ArchiveError::Foreign)?;
    if *first.path_bytes() != *NAME.as_bytes() || first.header().entry_type() != EntryType::Regular
    {
        return Err(foreign("its first member is no manifest"));
    }
    if first.size() > LARGEST_MANIFEST {
        return Err(ArchiveError::TooLarge {
            found: first.size(),
            of: "bytes of manifest",
            limit: LARGEST_MANIFEST,
        });
    }
    let mut bytes = Vec::new();
    let size = first.size();
    first
        .read_to_end(&mut bytes)
        .map_err(|source| damaged(NAME, source))?;
    if bytes.len() as u64 != size {
        return Err(damaged(NAME, io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(bytes)
}

fn damaged(after: &str, source: io::Error) -> ArchiveError {
    ArchiveError::Damaged {
        after: after.to_owned(),
        source,
    }
}

/// Reads what is behind the last member, which has the checksum over everything; refuses anything more.
fn end(archive: Archive<Source>) -> Result<(), Stopped> {
    let at_end = |source| damaged("the last member", source);
    let more = |why: &str| at_end(io::Error::new(io::ErrorKind::InvalidData, why.to_owned()));
    let mut packed = archive.into_inner();
    let mut rest = Vec::new();
    packed
        .by_ref()
        .take(LARGEST_END + 1)
        .read_to_end(&mut rest)
        .map_err(at_end)?;
    if rest.len() as u64 > LARGEST_END || rest.iter().any(|byte| *byte != 0) {
        return Err(more("it does not end there").into());
    }
    match packed.into_inner().read(&mut [0]).map_err(at_end)? {
        0 => Ok(()),
        _ => Err(more("something was appended to it").into()),
    }
}

/// An import under way.
struct Importing<'a> {
    cache: &'a Cache,
    manifest: &'a Manifest,
    temporary: &'a Path,
    cancel: &'a Cancel,
    on_event: &'a mut dyn FnMut(Event),
    done: u64,
}

impl Importing<'_> {
    /// Unpacks every member; they must be those of the manifest, in its order.
    fn all(&mut self, mut entries: Entries<'_, Source>) -> Result<(), Stopped> {
        fs::create_dir(self.temporary).map_err(Stopped::Cache)?;
        let mut last = NAME;
        for member in &self.manifest.members {
            let next = entries
                .next()
                .ok_or_else(|| ArchiveError::member(&member.path, Refused::Missing))?;
            let entry = next.map_err(|source| damaged(last, source))?;
            last = &member.path;
            self.member(member, entry)?;
        }
        match entries.next() {
            None => Ok(()),
            Some(Ok(_)) => Err(ArchiveError::member(last, Refused::NotLast).into()),
            Some(Err(source)) => Err(damaged(last, source).into()),
        }
    }

    fn member(&mut self, member: &Member, mut entry: Entry<'_, Source>) -> Result<(), Stopped> {
        check_header(member, &entry)?;
        let path = self.place(member);
        let write = |made: io::Result<()>| made.map_err(Stopped::Cache);
        match &member.what {
            What::Directory => match path {
                Some(path) => write(fs::create_dir(path)),
                None => Ok(()),
            },
            What::Link { target } => match path {
                Some(path) => write(symlink(target, path)),
                None => Ok(()),
            },
            What::File {
                size,
                sha256,
                executable,
            } => {
                let mode = if *executable { 0o755 } else { 0o644 };
                let mut options = OpenOptions::new();
                options.write(true).create_new(true).mode(mode);
                let mut file = path
                    .map(|path| options.open(path))
                    .transpose()
                    .map_err(Stopped::Cache)?;
                let found = self.copy(member, *size, &mut entry, file.as_mut())?;
                if found != *sha256 {
                    return Err(ArchiveError::member(&member.path, Refused::Checksum).into());
                }
                Ok(())
            }
        }
    }

    /// Copies a file's bytes; gives their SHA-256.
    fn copy(
        &mut self,
        member: &Member,
        size: u64,
        from: &mut impl Read,
        mut to: Option<&mut File>,
    ) -> Result<String, Stopped> {
        let mut hash = Sha256::new();
        let mut chunk = vec![0; CHUNK];
        let mut left = size;
        while left > 0 {
            if self.cancel.is_cancelled() {
                return Err(Stopped::Cancelled);
            }
            let length = from
                .read(&mut chunk)
                .map_err(|source| damaged(&member.path, source))?;
            let bytes = chunk.get(..length).unwrap_or_default();
            if bytes.is_empty() {
                return Err(damaged(&member.path, io::ErrorKind::UnexpectedEof.into()).into());
            }
            hash.update(bytes);
            if let Some(file) = to.as_mut() {
                file.write_all(bytes).map_err(Stopped::Cache)?;
            }
            left = left.saturating_sub(length as u64);
            self.done += length as u64;
            (self.on_event)(Event::Bytes {
                step: Step::Import,
                done: self.done,
                total: self.manifest.total(),
            });
        }
        Ok(hex(&hash.finalize()))
    }

    /// Where a member is written; `None` if its entry is in the cache, finished.
    fn place(&self, member: &Member) -> Option<PathBuf> {
        let (name, within) = member.entry()?;
        if self.cache.entries().join(name).is_dir() {
            return None;
        }
        let entry = self.temporary.join(name);
        Some(if within.is_empty() {
            entry
        } else {
            entry.join(within)
        })
    }

    /// Gives the entries their names, and then the set-up.
    fn publish(&mut self) -> Result<Imported, Stopped> {
        let mut imported = Imported::default();
        for name in self.manifest.entries() {
            let there = self.cache.entries().join(name).is_dir();
            let list = if there {
                &mut imported.kept
            } else {
                &mut imported.entries
            };
            list.push(name.to_owned());
        }
        self.check_whole(&imported)?;
        if self.cancel.is_cancelled() {
            return Err(Stopped::Cancelled);
        }
        let publish = || -> io::Result<()> {
            for name in &imported.entries {
                fs::rename(self.temporary.join(name), self.cache.entries().join(name))?;
            }
            let mut setup = self.manifest.setup.clone();
            setup.cache_size = measure(self.cache.root())?;
            setup.save(self.cache, &self.manifest.key)
        };
        publish().map_err(Stopped::Cache)?;
        Ok(imported)
    }

    /// What a guest is started from must be there before anything gets its name.
    fn check_whole(&self, imported: &Imported) -> Result<(), Stopped> {
        let setup = &self.manifest.setup;
        let Emulator::Entry(emulator) = &setup.emulator else {
            return Err(ArchiveError::Incomplete("its emulator").into());
        };
        let Some(architecture) = Architecture::of(&setup.architecture) else {
            return Err(ArchiveError::Incomplete("what its guests are").into());
        };
        let program = qemu::in_tree(Path::new(emulator), architecture).program;
        for (what, path) in [
            ("its emulator", &program),
            ("its kernel", &setup.vmlinux),
            ("its initramfs", &setup.initramfs),
        ] {
            let name = path.iter().next().unwrap_or_default().to_string_lossy();
            if imported.kept.iter().any(|kept| *kept == name) {
                let path = self.cache.entries().join(path);
                if !path.is_file() {
                    let why = format!("{} has gone from it", path.display());
                    return Err(Stopped::Cache(io::Error::other(why)));
                }
            } else if !self.temporary.join(path).is_file() {
                return Err(ArchiveError::Incomplete(what).into());
            }
        }
        Ok(())
    }
}

/// Refuses a member whose header is not what the manifest says.
fn check_header(member: &Member, entry: &Entry<'_, Source>) -> Result<(), ArchiveError> {
    let header = entry.header();
    let found = entry.path_bytes();
    let found = String::from_utf8_lossy(&found).into_owned();
    let refuse = |why| Err(ArchiveError::member(found.as_str(), why));
    let kind = match header.entry_type() {
        EntryType::Regular => 'f',
        EntryType::Directory => 'd',
        EntryType::Symlink => 'l',
        _ => return refuse(Refused::Kind),
    };
    let mode = header.mode().map_err(|source| damaged(&found, source))?;
    if mode & SPECIAL != 0 {
        return refuse(Refused::Mode(mode));
    }
    if found.strip_suffix('/').unwrap_or(&found) != member.path {
        return refuse(Refused::Unexpected(member.path.clone()));
    }
    let agrees = match &member.what {
        What::Directory => kind == 'd' && entry.size() == 0,
        What::File { size, .. } => kind == 'f' && entry.size() == *size,
        What::Link { target } => {
            let leads = entry.link_name_bytes();
            kind == 'l' && entry.size() == 0 && leads.as_deref() == Some(target.as_bytes())
        }
    };
    if agrees {
        Ok(())
    } else {
        refuse(Refused::Differs)
    }
}
