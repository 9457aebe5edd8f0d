// SPDX-License-Identifier: MIT OR Apache-2.0

//! Reads a bundle. Not a byte of it is believed before it is checked.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use landfall_device::ledger::Judgement;
use landfall_guest::Zstd;
use serde::de::DeserializeOwned;
use tar::{Archive, Entry, EntryType};

use super::manifest::{LARGEST_MANIFEST, NAME};
use super::{BundleError, Judged, Manifest, Member, Refused, Run, judge, names};
use crate::debug_info::Lines;
use crate::evidence::{Item, MAX_PAGES, Observed, PAGE, Pages};
use crate::guest::run_directory::RunDirectory;
use crate::report::schema::Report;

/// Most bytes of a file that is read whole.
const LARGEST_FILE: u64 = 64 << 20;

/// A bundle whose files are all there and are what its manifest says.
#[derive(Debug)]
pub struct Bundle {
    directory: PathBuf,
    manifest: Manifest,
    /// Where it was unpacked, if it is an archive.
    _unpacked: Option<RunDirectory>,
}

impl Bundle {
    /// Opens a directory or an archive, and compares every checksum.
    ///
    /// # Errors
    /// If it is no bundle, of another format, or damaged.
    pub fn open(path: &Path) -> Result<Self, BundleError> {
        let unpacked = match path.is_dir() {
            true => None,
            false => Some(unpack(path)?),
        };
        let directory = match &unpacked {
            Some(unpacked) => unpacked.file(UNPACKED),
            None => path.to_owned(),
        };
        let file = directory.join(NAME);
        let head = plain(&file, NAME)
            .and_then(|_| read(&file, NAME, LARGEST_MANIFEST))
            .map_err(|error| match error {
                BundleError::File { why, .. } => BundleError::Foreign(format!("its {NAME} {why}")),
                other => other,
            })?;
        let manifest = Manifest::parse(&head)?;
        for member in &manifest.files {
            check(&directory, member)?;
        }
        Ok(Self {
            directory,
            manifest,
            _unpacked: unpacked,
        })
    }

    /// The list of its files.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where one of its files is, while this lives; `None` if it has none of that name.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.manifest.file(name)?;
        Some(self.directory.join(name))
    }

    /// Where its scenario is, while this lives, if it has one.
    pub fn scenario(&self) -> Option<PathBuf> {
        self.path(names::SCENARIO)
    }

    /// The text of a file, as far as it is UTF-8; `None` if there is none of that name.
    ///
    /// # Errors
    /// If it cannot be read, or is too large.
    pub fn text(&self, name: &str) -> Result<Option<String>, BundleError> {
        let bytes = self.bytes(name)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// What was run.
    ///
    /// # Errors
    /// If it is missing or makes no sense.
    pub fn run(&self) -> Result<Run, BundleError> {
        self.json(names::RUN)?
            .ok_or_else(|| BundleError::file(names::RUN, Refused::Missing))
    }

    /// The report, if the run came to a verdict.
    ///
    /// # Errors
    /// If it makes no sense.
    pub fn report(&self) -> Result<Option<Report>, BundleError> {
        self.json(names::REPORT)
    }

    /// What was seen, if it was a trial.
    ///
    /// # Errors
    /// If it makes no sense.
    pub fn observed(&self) -> Result<Option<Observed>, BundleError> {
        self.json(names::OBSERVED)
    }

    /// What the ledger said when the run was.
    ///
    /// # Errors
    /// If it is missing or makes no sense.
    pub fn judgement(&self) -> Result<Judgement, BundleError> {
        self.json(names::JUDGEMENT)?
            .ok_or_else(|| BundleError::file(names::JUDGEMENT, Refused::Missing))
    }

    /// Where the calls that the witness told stand in the driver's source; nothing of a bundle that has no lines.
    ///
    /// # Errors
    /// If it makes no sense.
    pub fn lines(&self) -> Result<Lines, BundleError> {
        Ok(self.json(names::LINES)?.unwrap_or_default())
    }

    /// Feeds the recorded stream to a ledger; see [`judge`].
    ///
    /// # Errors
    /// If it is missing or makes no sense.
    pub fn judge(&self, each: impl FnMut(u64, &Item)) -> Result<Judged, BundleError> {
        let path = self
            .path(names::STREAM)
            .ok_or_else(|| BundleError::file(names::STREAM, Refused::Missing))?;
        let file = File::open(&path).map_err(|source| BundleError::Read { path, source })?;
        judge(BufReader::new(file), each)
    }

    /// Whether there is a stream: the guest lived until there was something to watch.
    pub fn has_stream(&self) -> bool {
        self.manifest.file(names::STREAM).is_some()
    }

    /// The pages around the violations; none if nothing of them was kept.
    ///
    /// # Errors
    /// If they do not fit together.
    pub fn pages(&self) -> Result<Pages, BundleError> {
        let wrong = |why: &str| BundleError::file(names::PAGES, Refused::Content(why.to_owned()));
        let Some(index) = self.json(names::PAGES)? else {
            return Ok(Pages::default());
        };
        let limit = MAX_PAGES as u64 * PAGE;
        let blob = |name| match self.manifest.file(name) {
            Some(member) if member.size > limit => {
                Err(BundleError::file(name, Refused::Large(limit)))
            }
            _ => Ok(self.bytes(name)?.unwrap_or_default()),
        };
        Pages::join(index, &blob(names::PAGES_BIN)?, &blob(names::EXPECTED_BIN)?)
            .ok_or_else(|| wrong("index and bytes do not fit together"))
    }

    fn json<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, BundleError> {
        let Some(bytes) = self.bytes(name)? else {
            return Ok(None);
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| BundleError::file(name, Refused::Content(error.to_string())))
    }

    fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, BundleError> {
        self.path(name)
            .map(|path| read(&path, name, LARGEST_FILE))
            .transpose()
    }
}

/// Refuses what is no plain file; gives its size. A link is not followed: it may lead anywhere.
fn plain(path: &Path, name: &str) -> Result<u64, BundleError> {
    match fs::symlink_metadata(path) {
        Ok(status) if status.is_file() => Ok(status.len()),
        Ok(_) => Err(BundleError::file(name, Refused::Kind)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(BundleError::file(name, Refused::Missing))
        }
        Err(source) => Err(BundleError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

fn read(path: &Path, name: &str, most: u64) -> Result<Vec<u8>, BundleError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(most + 1).read_to_end(&mut bytes))
        .map_err(|source| BundleError::Read {
            path: path.to_owned(),
            source,
        })?;
    match bytes.len() as u64 > most {
        true => Err(BundleError::file(name, Refused::Large(most))),
        false => Ok(bytes),
    }
}

fn check(directory: &Path, member: &Member) -> Result<(), BundleError> {
    let path = directory.join(&member.name);
    if plain(&path, &member.name)? != member.size {
        return Err(BundleError::file(&member.name, Refused::Size));
    }
    let found =
        landfall_guest::file_sha256(&path).map_err(|source| BundleError::Read { path, source })?;
    match found == member.sha256 {
        true => Ok(()),
        false => Err(BundleError::file(&member.name, Refused::Checksum)),
    }
}

/// Name of the directory, in one of a run, that an archive is unpacked in.
const UNPACKED: &str = "bundle";

/// Unpacks an archive: the manifest, and then just the files that it names, in its order.
fn unpack(path: &Path) -> Result<RunDirectory, BundleError> {
    let failed = |source| BundleError::Read {
        path: path.to_owned(),
        source,
    };
    let foreign = |why: String| BundleError::Foreign(why);
    let file = File::open(path).map_err(failed)?;
    let unpacked = Zstd::new(BufReader::new(file))
        .map_err(|error| foreign(format!("neither a directory nor a .tar.zst ({error})")))?;
    let run = RunDirectory::new().map_err(failed)?;
    let directory = run.file(UNPACKED);
    std::fs::create_dir(&directory).map_err(failed)?;
    let mut archive = Archive::new(unpacked);
    // Raw: no long names, no sparse files, nothing that takes memory by the archive's word.
    let mut entries = archive.entries().map_err(failed)?.raw(true);
    let mut next = |name: &str| match entries.next() {
        None => Err(BundleError::file(name, Refused::Missing)),
        Some(entry) => entry.map_err(|error| foreign(error.to_string())),
    };

    let mut first = next(NAME)?;
    expect(&first, NAME, None)?;
    if first.size() > LARGEST_MANIFEST {
        return Err(BundleError::file(NAME, Refused::Large(LARGEST_MANIFEST)));
    }
    write(&mut first, NAME, &directory)?;
    drop(first);
    let head = read(&directory.join(NAME), NAME, LARGEST_MANIFEST)?;
    for member in Manifest::parse(&head)?.files {
        let mut entry = next(&member.name)?;
        expect(&entry, &member.name, Some(member.size))?;
        write(&mut entry, &member.name, &directory)?;
    }
    Ok(run)
}

/// Refuses a member that is not the one that is to come.
fn expect(entry: &Entry<'_, impl Read>, name: &str, size: Option<u64>) -> Result<(), BundleError> {
    let found = entry.path_bytes();
    let found = String::from_utf8_lossy(&found);
    if found != name {
        return Err(BundleError::file(
            found.as_ref(),
            Refused::Unexpected(name.to_owned()),
        ));
    }
    if entry.header().entry_type() != EntryType::Regular {
        return Err(BundleError::file(name, Refused::Kind));
    }
    match size.is_some_and(|size| size != entry.size()) {
        true => Err(BundleError::file(name, Refused::Size)),
        false => Ok(()),
    }
}

/// Writes a member, whose size was checked, under a name that was.
fn write(entry: &mut impl Read, name: &str, directory: &Path) -> Result<(), BundleError> {
    let path = directory.join(name);
    let copied = File::create_new(&path).and_then(|mut file| io::copy(entry, &mut file));
    match copied {
        Ok(_) => Ok(()),
        Err(source) => Err(BundleError::Read { path, source }),
    }
}
