// SPDX-License-Identifier: MIT OR Apache-2.0

//! Writes a set-up as one file.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};

use super::manifest::{FORMAT, Manifest, Member, NAME, What, stays_inside};
use super::{ArchiveError, CHUNK, ENTRIES};
use crate::event::{Event, Step};
use crate::host::cancel::Cancel;
use crate::setup::error::SetupError;
use crate::setup::hold;
use crate::setup::options::SetupOptions;
use crate::setup::plan::Plan;
use crate::setup::prepare;
use crate::setup::stamp::{Stamp, Travelling};
use crate::store::cache::Cache;
use crate::store::hash::file_sha256;

/// What [`export`] wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes of what is in it.
    pub unpacked: u64,
    /// How many files that is; directories and links do not count.
    pub files: usize,
}

/// Makes sure that the set-up of these options is there, and writes what running guests needs of it to `file`.
///
/// The file is there whole or not at all; one that was there is replaced. The same set-up gives the same bytes.
///
/// # Errors
/// As [`prepare`]; [`SetupError::Export`] if the set-up has parts of one's own, or the file cannot be written.
pub fn export(
    options: &SetupOptions,
    file: &Path,
    cancel: &Cancel,
    on_event: &mut dyn FnMut(Event),
) -> Result<Exported, SetupError> {
    let failed = |source| SetupError::Export {
        file: file.to_owned(),
        source,
    };
    let plan = Plan::new(options)?;
    if plan.has_own_parts() {
        return Err(failed(ArchiveError::OwnParts));
    }
    prepare(options, cancel, on_event)?;
    let root = std::path::absolute(&options.cache).unwrap_or_else(|_| options.cache.clone());
    let cache = Cache::new(&root);
    // Nobody prunes what is being read.
    let _guard = hold(&cache, cancel, on_event)?;
    let portable = Stamp::load(&cache, &plan.key).and_then(|stamp| stamp.portable(&cache));
    let (setup, sources) = portable.ok_or_else(|| failed(ArchiveError::OwnParts))?;

    let began = Instant::now();
    on_event(Event::StepStarted {
        step: Step::Export,
        detail: file.display().to_string(),
        index: 1,
        of: 1,
    });
    let exported = write(file, &plan.key, setup, &sources, cancel, on_event);
    let exported = exported.map_err(|stopped| match stopped {
        Stopped::Cancelled => SetupError::Cancelled,
        Stopped::Failed(source) => failed(source),
    })?;
    on_event(Event::StepDone {
        step: Step::Export,
        elapsed: began.elapsed(),
    });
    Ok(exported)
}

enum Stopped {
    Cancelled,
    Failed(ArchiveError),
}

impl From<ArchiveError> for Stopped {
    fn from(error: ArchiveError) -> Self {
        Self::Failed(error)
    }
}

fn write(
    file: &Path,
    key: &str,
    setup: Stamp,
    sources: &[Travelling],
    cancel: &Cancel,
    on_event: &mut dyn FnMut(Event),
) -> Result<Exported, Stopped> {
    let mut found = Found {
        members: Vec::new(),
        paths: Vec::new(),
        cancel,
    };
    for Travelling { name, files } in sources {
        found.push(format!("{ENTRIES}/{name}"), What::Directory, Path::new(""));
        for part in files {
            let name_of_part = part.file_name().and_then(|name| name.to_str());
            let name_of_part = name_of_part.unwrap_or_default();
            found.walk(name, name_of_part, part)?;
        }
    }
    let Found { members, paths, .. } = found;
    let manifest = Manifest {
        format: FORMAT,
        landfall: env!("CARGO_PKG_VERSION").to_owned(),
        key: key.to_owned(),
        setup,
        members,
    };
    let head =
        serde_json::to_vec_pretty(&manifest).map_err(|error| ArchiveError::Write(error.into()))?;

    let cannot = ArchiveError::Write;
    let directory = match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let temporary = tempfile::Builder::new()
        .prefix(".landfall-export-")
        .permissions(fs::Permissions::from_mode(0o666)) // less the umask, as of any file
        .tempfile_in(directory)
        .map_err(cannot)?;
    let packed = GzEncoder::new(BufWriter::new(temporary), Compression::default());
    let mut tar = Builder::new(packed);
    let mut header = header(EntryType::Regular, 0o644, head.len() as u64);
    tar.append_data(&mut header, NAME, head.as_slice())
        .map_err(cannot)?;
    let (mut done, total) = (0, manifest.total());
    for (member, path) in manifest.members.iter().zip(&paths) {
        append(&mut tar, member, path, cancel, &mut |bytes| {
            done += bytes;
            on_event(Event::Bytes {
                step: Step::Export,
                done,
                total,
            });
        })?;
    }
    let finish = || -> io::Result<u64> {
        let packed = tar.into_inner()?;
        let temporary = packed
            .finish()?
            .into_inner()
            .map_err(|error| error.into_error())?;
        let bytes = temporary.as_file().metadata()?.len();
        temporary.persist(file)?;
        Ok(bytes)
    };
    Ok(Exported {
        bytes: finish().map_err(cannot)?,
        unpacked: total,
        files: manifest.files(),
    })
}

/// What goes into the archive, and where it is in the cache.
struct Found<'a> {
    members: Vec<Member>,
    paths: Vec<PathBuf>,
    cancel: &'a Cancel,
}

impl Found<'_> {
    fn push(&mut self, path: String, what: What, source: &Path) {
        self.members.push(Member { path, what });
        self.paths.push(source.to_owned());
    }

    /// Adds a file or a tree, by name. Links that lead out of the entry stay behind: they would lead into the host.
    fn walk(&mut self, entry: &str, within: &str, source: &Path) -> Result<(), Stopped> {
        if self.cancel.is_cancelled() {
            return Err(Stopped::Cancelled);
        }
        let unfit = |error| ArchiveError::Unfit {
            path: source.to_owned(),
            source: error,
        };
        let name = format!("{ENTRIES}/{entry}/{within}");
        let status = fs::symlink_metadata(source).map_err(unfit)?;
        if status.is_file() {
            let what = What::File {
                size: status.len(),
                sha256: file_sha256(source).map_err(unfit)?,
                executable: status.permissions().mode() & 0o100 != 0,
            };
            self.push(name, what, source);
        } else if status.is_symlink() {
            let target = fs::read_link(source).map_err(unfit)?;
            let target = target.to_str().ok_or_else(|| unfit(not_text()))?.to_owned();
            if stays_inside(within, &target) {
                self.push(name, What::Link { target }, source);
            }
        } else if status.is_dir() {
            self.push(name, What::Directory, source);
            let listed: io::Result<Vec<_>> = fs::read_dir(source)
                .map_err(unfit)?
                .map(|entry| Ok(entry?.file_name()))
                .collect();
            let mut names = listed.map_err(unfit)?;
            names.sort();
            for name in names {
                let text = name.to_str().ok_or_else(|| unfit(not_text()))?;
                self.walk(entry, &format!("{within}/{text}"), &source.join(text))?;
            }
        } else {
            return Err(unfit(io::Error::other("neither file, directory nor link")).into());
        }
        Ok(())
    }
}

fn not_text() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "its name is not UTF-8")
}

fn append(
    tar: &mut Builder<impl Write>,
    member: &Member,
    source: &Path,
    cancel: &Cancel,
    wrote: &mut dyn FnMut(u64),
) -> Result<(), Stopped> {
    let unfit = |error| ArchiveError::Unfit {
        path: PathBuf::from(&member.path),
        source: error,
    };
    match &member.what {
        What::Directory => {
            let mut header = header(EntryType::Directory, 0o755, 0);
            header
                .set_path(format!("{}/", member.path))
                .map_err(unfit)?;
            header.set_cksum();
            tar.append(&header, io::empty())
                .map_err(ArchiveError::Write)?;
        }
        What::Link { target } => {
            let mut header = header(EntryType::Symlink, 0o777, 0);
            header.set_path(&member.path).map_err(unfit)?;
            header.set_link_name(target).map_err(unfit)?;
            header.set_cksum();
            tar.append(&header, io::empty())
                .map_err(ArchiveError::Write)?;
        }
        What::File {
            size, executable, ..
        } => {
            let mode = if *executable { 0o755 } else { 0o644 };
            let mut header = header(EntryType::Regular, mode, *size);
            header.set_path(&member.path).map_err(unfit)?;
            header.set_cksum();
            let mut watched = Watched {
                file: File::open(source).map_err(unfit)?.take(*size),
                cancel,
                read: wrote,
            };
            let appended = tar.append(&header, &mut watched);
            if cancel.is_cancelled() {
                return Err(Stopped::Cancelled);
            }
            appended.map_err(ArchiveError::Write)?;
            if watched.file.limit() > 0 {
                return Err(unfit(io::ErrorKind::UnexpectedEof.into()).into());
            }
        }
    }
    Ok(())
}

/// A header with nothing of this machine in it.
fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

/// A file that tells how much was read, and can be stopped.
struct Watched<'a> {
    file: io::Take<File>,
    cancel: &'a Cancel,
    read: &'a mut dyn FnMut(u64),
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        let length = buffer.len().min(CHUNK);
        let length = self
            .file
            .read(buffer.get_mut(..length).unwrap_or_default())?;
        (self.read)(length as u64);
        Ok(length)
    }
}
