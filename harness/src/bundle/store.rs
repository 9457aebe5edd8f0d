// SPDX-License-Identifier: MIT OR Apache-2.0

//! Writes a bundle: beside its place, the manifest last, and then renamed.

use std::fs::{self, DirBuilder, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use landfall_device::journal::Journal;
use landfall_device::ledger::Judgement;
use serde::Serialize;

use super::manifest::{LARGEST_MANIFEST, NAME};
use super::pack::pack;
use super::place::{is_archive, parent};
use super::{BundleError, FORMAT, Manifest, Member, Place, Request, Run, drawing, map, names};
use crate::debug_info::Lines;
use crate::evidence::{Logs, Observed, Pages, Recorder};
use crate::guest::run_directory::RunDirectory;
use crate::report::map::{Canvas, draw};
use crate::report::schema::Report;

/// Beginning of the name of a bundle in the evidence place.
pub(super) const PREFIX: &str = "landfall-bundle-";
/// Columns of the map.
const COLUMNS: usize = 100;
/// Most bytes of a log that are kept: its end.
const LARGEST_LOG: usize = 1 << 20;

/// What goes into a bundle.
pub struct Parts<'a> {
    /// What was asked for.
    pub request: &'a Request,
    /// What was run, and what came of it.
    pub run: Run,
    /// What the ledger was fed with, and what it said; `None` if there was nothing to watch yet.
    pub stream: Option<(&'a Recorder, &'a Journal)>,
    /// What the ledger said.
    pub judged: &'a Judgement,
    /// Where the calls that the witness told stand in the driver's source.
    pub lines: &'a Lines,
    /// The report, if the run came to one.
    pub report: Option<&'a Report>,
    /// Of a trial, in place of a report.
    pub observed: Option<&'a Observed>,
    /// Memory around the violations.
    pub pages: &'a Pages,
    /// What guest and QEMU said.
    pub logs: &'a Logs,
    /// Whether there is to be a page in it.
    pub page: bool,
}

/// Writes a bundle; `evidence` is where evidence goes. Gives its place.
pub fn store(parts: &Parts<'_>, evidence: &Path) -> Result<PathBuf, BundleError> {
    let (path, parent, mode, word) = match &parts.request.place {
        // Less the umask, as of any directory; but one that was private stays so.
        Place::At(path) => (Some(path), parent(path), mode(path).unwrap_or(0o777), ""),
        Place::Evidence => (None, evidence, 0o700, ""),
        Place::Named(word) => (None, evidence, 0o700, word.as_str()),
    };
    let word = match word {
        "" => String::new(),
        word => format!("{word}-"),
    };
    let failed = |source| BundleError::Write {
        path: path.map_or(parent, PathBuf::as_path).to_owned(),
        source,
    };
    parts.request.place.check()?;
    fs::create_dir_all(parent).map_err(failed)?;
    let temporary = RunDirectory::within(parent).map_err(failed)?;
    let unnamed = temporary.file("bundle");
    DirBuilder::new()
        .mode(mode)
        .create(&unnamed)
        .map_err(failed)?;
    let manifest = fill(parts, &unnamed).map_err(failed)?;
    let Some(path) = path else {
        let place = parent.join(format!("{PREFIX}{word}{}", temporary.unique()));
        fs::rename(&unnamed, &place).map_err(failed)?;
        return Ok(place);
    };
    match is_archive(path) {
        true => pack(&manifest, &unnamed, path),
        false => replace(&unnamed, path, &temporary.file("old")),
    }
    .map_err(failed)?;
    Ok(path.clone())
}

/// The rights of a directory that is there.
fn mode(path: &Path) -> Option<u32> {
    let status = fs::symlink_metadata(path).ok()?;
    status.is_dir().then(|| status.permissions().mode() & 0o777)
}

/// Gives a directory its name. A bundle that has it becomes `old`.
fn replace(new: &Path, path: &Path, old: &Path) -> io::Result<()> {
    if path.exists() {
        fs::rename(path, old)?;
    }
    fs::rename(new, path)
}

/// Writes the files, and the manifest last.
fn fill(parts: &Parts<'_>, directory: &Path) -> io::Result<Manifest> {
    let mut files = Files {
        directory,
        members: Vec::new(),
    };
    files.json(names::RUN, &parts.run)?;
    if let Some(scenario) = &parts.request.scenario {
        files.bytes(names::SCENARIO, scenario.as_bytes())?;
    }
    if let Some((recorder, journal)) = parts.stream {
        files.with(names::STREAM, |out| recorder.write(journal, out))?;
        files.json(names::JUDGEMENT, parts.judged)?;
    }
    if !parts.lines.is_empty() {
        files.json(names::LINES, parts.lines)?;
    }
    if let Some(observed) = parts.observed {
        files.json(names::OBSERVED, observed)?;
    }
    if let Some(report) = parts.report {
        files.json(names::REPORT, report)?;
        let map = map(report);
        let canvas = Canvas {
            width: COLUMNS,
            colour: false,
        };
        files.bytes(names::MAP_TXT, draw(&map, canvas).as_bytes())?;
        files.bytes(names::MAP_SVG, drawing(&map).svg().as_bytes())?;
    }
    if !parts.pages.is_empty() {
        let (index, bytes, expected) = parts.pages.split();
        files.json(names::PAGES, &index)?;
        files.bytes(names::PAGES_BIN, &bytes)?;
        files.bytes(names::EXPECTED_BIN, &expected)?;
    }
    for (name, text) in parts.logs {
        files.bytes(name, end(text).as_bytes())?;
    }
    if parts.page {
        files.bytes(names::PAGE, super::views::page(parts).as_bytes())?;
    }
    let manifest = Manifest {
        format: FORMAT,
        landfall: env!("CARGO_PKG_VERSION").to_owned(),
        files: files.members,
    };
    let mut text = serde_json::to_vec_pretty(&manifest)?;
    text.push(b'\n');
    debug_assert!(text.len() as u64 <= LARGEST_MANIFEST);
    fs::write(directory.join(NAME), text)?;
    Ok(manifest)
}

/// The end of a log, from the beginning of a line.
fn end(text: &str) -> &str {
    let Some(from) = text.len().checked_sub(LARGEST_LOG) else {
        return text;
    };
    let newline = text.bytes().skip(from).position(|byte| byte == b'\n');
    let from = newline.map_or(text.len(), |at| from + at + 1);
    text.get(from..).unwrap_or_default()
}

/// The files that were written.
struct Files<'a> {
    directory: &'a Path,
    members: Vec<Member>,
}

impl Files<'_> {
    /// Writes a file, unless it would be empty.
    fn bytes(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        match bytes.is_empty() {
            true => Ok(()),
            false => self.with(name, |out| out.write_all(bytes)),
        }
    }

    fn json(&mut self, name: &str, value: &impl Serialize) -> io::Result<()> {
        self.with(name, |out| {
            serde_json::to_writer_pretty(&mut *out, value)?;
            out.write_all(b"\n")
        })
    }

    fn with(
        &mut self,
        name: &str,
        write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> io::Result<()> {
        let path = self.directory.join(name);
        let mut out = BufWriter::new(File::create_new(&path)?);
        write(&mut out)?;
        let file = out.into_inner().map_err(|error| error.into_error())?;
        self.members.push(Member {
            name: name.to_owned(),
            size: file.metadata()?.len(),
            sha256: landfall_guest::file_sha256(&path)?,
        });
        Ok(())
    }
}
