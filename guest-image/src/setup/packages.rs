// SPDX-License-Identifier: MIT OR Apache-2.0

//! Anybody's Debian packages: for guests, and for the sources that some of them hold.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::architecture::Architecture;
use crate::debian::apt::{Apt, Chosen, RELEASE};
use crate::debian::packages::{self, PackagesError, VIDEO};
use crate::debian::unpack::unpack;
use crate::event::{Event, Step};
use crate::host::cancel::Cancel;
use crate::host::process::Runner;
use crate::image::tree;
use crate::prepared::Prepared;
use crate::setup::error::SetupError;
use crate::setup::options::SetupOptions;
use crate::setup::work::{Making, Work};
use crate::setup::{GONE, hold, work};
use crate::store::cache::{Cache, Entry};
use crate::store::hash::Key;

/// Kind of the entries that hold packages.
const KIND: &str = "packages";
/// How many of them are kept.
const KEPT: usize = 16;
/// Name of the archives in an entry.
const ARCHIVE: &str = "archive";
/// Most bytes of files that a guest gets: they lie in its memory.
const MOST: u64 = 2 << 30;
/// What says how a module is built.
const MAKEFILES: [&str; 2] = ["Kbuild", "Makefile"];
/// Bytes on disk for each byte that is fetched: package, files and archives.
const DISK: u64 = 10;
/// Bytes a second that packages come and are unpacked with, for an estimate.
const SPEED: u64 = 4 << 20;

/// Files for guests: Debian packages that were fetched and unpacked, or selftests of the kernel's that were built. No script of
/// a package's was run: nothing is configured, no service is set up, and no alternatives (such as `editor`) are chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packages {
    /// Name and version of each package, those included that others need; of selftests the kernel's source.
    pub versions: Vec<(String, String)>,
    /// What guests need of them: newc cpio archives, for [`Prepared`]'s guests to unpack in this order.
    pub archives: Vec<PathBuf>,
    /// Bytes of memory that those take in a guest.
    pub unpacked: u64,
}

impl Packages {
    /// These and others.
    #[must_use]
    pub fn with(mut self, others: Self) -> Self {
        self.versions.extend(others.versions);
        self.archives.extend(others.archives);
        self.unpacked += others.unpacked;
        self
    }
}

/// What of packages is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// Programs that run: a package with all that it depends on.
    Programs,
    /// A package's own files alone.
    Files,
}

/// What an entry tells of itself.
#[derive(Debug, Serialize, Deserialize)]
struct List {
    versions: Vec<(String, String)>,
    unpacked: u64,
}

/// Fetches these packages of Debian's with all that they need, and unpacks them for guests: from the mirror and with the
/// signatures of a set-up's own. What was fetched before for the same set-up is there at once, without network; so is
/// what the set-up itself brought, v4l-utils.
///
/// # Errors
/// See [`SetupError`]; [`PackagesError::Unknown`] if there is none of that name.
pub fn packages(
    options: &SetupOptions,
    prepared: &Prepared,
    names: &[String],
    cancel: &Cancel,
    on_event: &mut dyn FnMut(Event),
) -> Result<Packages, SetupError> {
    let of_setup = !prepared.video.is_empty() && names.iter().all(|name| name == VIDEO);
    if names.is_empty() {
        return Ok(Packages::default());
    }
    if of_setup {
        let bytes = prepared.video.iter().map(fs::metadata);
        let bytes = bytes.map(|status| status.map_or(0, |status| status.len()));
        let of_video = prepared.lock.packages.iter();
        let of_video =
            of_video.filter(|package| package.used_for.iter().any(|use_| use_ == "video"));
        return Ok(Packages {
            versions: of_video
                .map(|package| (package.name.clone(), package.version.clone()))
                .collect(),
            archives: prepared.video.clone(),
            unpacked: bytes.sum(),
        });
    }
    let entry = fetched(options, prepared, names, Wanted::Programs, cancel, on_event)?;
    read(&entry).ok_or_else(|| gone(prepared))
}

/// Where a package has the source of a module: a directory below `/usr/src` with a Kbuild or a Makefile, as packages for
/// DKMS have it. Fetched likewise, the package alone; nobody may write there.
///
/// # Errors
/// Likewise; [`PackagesError::NoSource`] if it has not one such directory.
pub fn module_source(
    options: &SetupOptions,
    prepared: &Prepared,
    name: &str,
    cancel: &Cancel,
    on_event: &mut dyn FnMut(Event),
) -> Result<PathBuf, SetupError> {
    let names = [name.to_owned()];
    let entry = fetched(options, prepared, &names, Wanted::Files, cancel, on_event)?;
    let sources = fs::read_dir(entry.path.join("tree/usr/src"));
    let mut found: Vec<_> = sources
        .into_iter()
        .flatten()
        .flatten()
        .map(|source| source.path())
        .filter(|path| MAKEFILES.iter().any(|file| path.join(file).is_file()))
        .collect();
    match (found.pop(), found.len()) {
        (Some(source), 0) => Ok(source),
        (last, others) => Err(PackagesError::NoSource {
            package: name.to_owned(),
            found: others + usize::from(last.is_some()),
        }
        .into()),
    }
}

pub(super) fn gone(prepared: &Prepared) -> SetupError {
    SetupError::Cache {
        path: prepared.cache.clone(),
        source: std::io::Error::other(GONE),
    }
}

/// The entry of these packages, made unless it is there.
fn fetched(
    options: &SetupOptions,
    prepared: &Prepared,
    names: &[String],
    wanted: Wanted,
    cancel: &Cancel,
    on_event: &mut dyn FnMut(Event),
) -> Result<Entry, SetupError> {
    let mut names = names.to_vec();
    names.sort();
    names.dedup();
    if let Some(name) = names.iter().find(|name| !is_name(name)) {
        return Err(PackagesError::Unknown(vec![name.clone()]).into());
    }
    let (whole, cache) = (Cache::new(&prepared.cache), Cache::new(&prepared.writable));
    let of_cache = |source| SetupError::Cache {
        path: cache.root().to_owned(),
        source,
    };
    let made = entry(&whole, prepared, &names, wanted);
    let entry = entry(&cache, prepared, &names, wanted);
    if let Some(there) = [&entry, &made]
        .into_iter()
        .find(|there| read(there).is_some())
    {
        there.touch();
        return Ok(there.clone());
    }
    cache.create().map_err(of_cache)?;
    let guard = hold(&cache, cancel, on_event)?;
    // The other one may have fetched just these.
    if entry.exists() {
        return Ok(entry);
    }
    cache.sweep(&guard).map_err(of_cache)?;
    cache.forget_old(KIND, KEPT).map_err(of_cache)?;
    let runner = Runner::new(cancel, &cache.logs());
    work(&cache, &runner, 3, cancel, on_event, |work| {
        let names = names.iter().map(|name| prepared.architecture.package(name));
        let names: Vec<String> = names.collect();
        work.packages(
            &entry,
            &names,
            prepared.architecture,
            wanted,
            options.mirror.as_deref(),
        )
    })?;
    Ok(entry)
}

/// Whether Debian could have a package of that name (policy, 5.6.1); apt would take anything else for something else.
fn is_name(name: &str) -> bool {
    let mut letters = name.bytes();
    let plain = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit();
    letters.next().is_some_and(plain)
        && letters.all(|letter| plain(letter) || b"+-.".contains(&letter))
}

/// The entry of these packages, of the versions of this set-up's time.
fn entry(cache: &Cache, prepared: &Prepared, names: &[String], wanted: Wanted) -> Entry {
    let key = Key::new(KIND)
        .text(tree::RECIPE)
        .text(&format!("{wanted:?}"));
    let key = names.iter().fold(key, |key, name| key.text(name));
    let of_setup = prepared.lock.packages.iter();
    let key = of_setup.fold(key, |key, package| key.text(&package.sha256));
    cache.entry(KIND, &key.finish())
}

pub(super) fn read(entry: &Entry) -> Option<Packages> {
    let list = fs::read(entry.path.join("list")).ok()?;
    let List { versions, unpacked } = serde_json::from_slice(&list).ok()?;
    Some(Packages {
        versions,
        archives: tree::archives(&entry.path, ARCHIVE),
        unpacked,
    })
}

impl Work<'_> {
    fn packages(
        &self,
        entry: &Entry,
        names: &[String],
        architecture: &Architecture,
        wanted: Wanted,
        mirror: Option<&str>,
    ) -> Result<(), SetupError> {
        let (uri, apt, chosen) =
            self.with_indexes(mirror, architecture, None, |apt| choose(apt, names, wanted))?;
        let download = apt.missing(&chosen);
        let total = chosen.iter().map(|package| package.size).sum::<u64>();
        self.check_disk(download, total * DISK, total - download, total / SPEED)?;
        let detail = format!("{} packages from {uri}", chosen.len());
        self.reporter.step(Step::Download, detail, || {
            let mut tick = || {
                self.reporter
                    .bytes(Step::Download, apt.fetched(&chosen), total)
            };
            apt.fetch(&chosen, &mut tick)
                .map_err(|source| SetupError::Download {
                    mirror: uri.clone(),
                    source,
                })
        })?;
        self.reporter
            .step(Step::Packages, names.join(", "), || {
                entry.make(|path| {
                    let tick = |done| self.reporter.bytes(Step::Packages, done, total);
                    let files = path.join("tree");
                    fs::create_dir(&files)?;
                    unpack(&chosen, &apt.archives(), &files, self.runner, &tick)?;
                    finish(path, &files, &chosen, wanted == Wanted::Programs)
                })
            })
            .map_err(SetupError::from)?;
        // What was fetched is published, and indexes grow old.
        let _ = crate::store::cache::remove(&self.cache.apt());
        Ok(())
    }
}

/// Writes what an entry tells of itself, and archives for guests if it is for them.
pub(super) fn finish(
    entry: &Path,
    files: &Path,
    chosen: &[Chosen],
    archived: bool,
) -> Result<(), Making> {
    let unpacked = match archived {
        false => 0,
        true => tree::write(entry, ARCHIVE, files).map_err(|error| Making(error.into()))?,
    };
    if unpacked > MOST {
        return Err(Making(
            PackagesError::TooLarge {
                bytes: unpacked,
                most: MOST,
            }
            .into(),
        ));
    }
    let versions = chosen
        .iter()
        .map(|package| (package.name.clone(), package.version.clone()));
    let list = List {
        versions: versions.collect(),
        unpacked,
    };
    let list = serde_json::to_vec(&list).map_err(std::io::Error::from)?;
    Ok(fs::write(entry.join("list"), list)?)
}

fn choose(apt: &Apt, names: &[String], wanted: Wanted) -> Result<Vec<Chosen>, PackagesError> {
    let there = apt.versions(names)?;
    let unknown: Vec<String> = names
        .iter()
        .map(|name| name.split(':').next().unwrap_or(name))
        .filter(|name| !there.contains_key(*name))
        .map(str::to_owned)
        .collect();
    if !unknown.is_empty() {
        return Err(PackagesError::Unknown(unknown));
    }
    match wanted {
        Wanted::Files => packages::look_up(apt, names),
        Wanted::Programs => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            packages::closure(apt, RELEASE, &names)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_packages_name_never_gets_to_apt() {
        for good in ["v4l-utils", "libc6", "g++", "linux-source-7.3"] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "", "-o", "--help", "V4L", "a b", "a=1", "a/stable", "+x", "a\n",
        ] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
