// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the files that guests boot from were when they were made, so that a damaged one is noticed.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::prepared::Prepared;
use crate::qemu;
use crate::setup::stamp::{load, save};
use crate::store::cache::Cache;
use crate::store::hash::file_sha256;

/// Files of a set-up, by path below the cache's entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Parts(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    path: PathBuf,
    bytes: u64,
    /// Seconds and nanoseconds since 1970.
    modified: (i64, i64),
    sha256: String,
}

impl Parts {
    pub(crate) fn path(cache: &Cache, key: &str) -> PathBuf {
        cache.setups().join(format!("parts-{key}.json"))
    }

    /// What a set-up boots from, as it is.
    fn of(cache: &Cache, prepared: &Prepared) -> io::Result<Self> {
        let entries = cache.entries();
        let emulator = qemu::emulator(&prepared.qemu);
        let files = [&emulator, &prepared.vmlinux, &prepared.initramfs];
        let more = prepared.bzimage.iter().chain(&prepared.video);
        let parts = files
            .into_iter()
            .chain(more)
            // What was brought along is its owner's to change.
            .filter_map(|path| Some((path, path.strip_prefix(&entries).ok()?)))
            .map(|(path, below)| Part::of(path, below))
            .collect::<io::Result<_>>()?;
        Ok(Self(parts))
    }
}

impl Part {
    fn of(path: &Path, below: &Path) -> io::Result<Self> {
        let status = fs::metadata(path)?;
        Ok(Self {
            path: below.to_owned(),
            bytes: status.len(),
            modified: (status.mtime(), status.mtime_nsec()),
            sha256: file_sha256(path)?,
        })
    }

    /// Whether the file is another one now: at a glance, and by its checksum if that is not enough, or if it is to be.
    fn is_damaged(&self, entries: &Path, thorough: bool) -> bool {
        let path = entries.join(&self.path);
        let Ok(status) = fs::metadata(&path) else {
            return true;
        };
        let as_it_was =
            status.len() == self.bytes && (status.mtime(), status.mtime_nsec()) == self.modified;
        let same = || file_sha256(&path).is_ok_and(|sha256| sha256 == self.sha256);
        match as_it_was && !thorough {
            true => false,
            false => !same(),
        }
    }
}

/// Files of a set-up, absolute, that are not what they were when it was made. Nothing is known of one that was not recorded.
pub(crate) fn damaged(cache: &Cache, file: &Path, thorough: bool) -> Vec<PathBuf> {
    let known: Option<Parts> = load(file);
    let entries = cache.entries();
    let parts = known.map_or_else(Vec::new, |Parts(parts)| parts);
    parts
        .iter()
        .filter(|part| part.is_damaged(&entries, thorough))
        .map(|part| entries.join(&part.path))
        .collect()
}

/// Looks at what a set-up boots from, unless that was done, and keeps it for [`damaged`]. Where nothing can be kept, nothing
/// will be compared.
pub(crate) fn record(cache: &Cache, prepared: &Prepared) {
    let file = &prepared.parts_file;
    if !file.exists() {
        let _ = Parts::of(cache, prepared).and_then(|parts| save(file, &parts));
    }
}

/// Compares by their checksums the files that guests boot from with what they were when they were made, as when no
/// guest starts. Tells which are not that any more, absolute; they are forgotten, so that the next
/// [`prepare`](crate::prepare) makes them anew, unless another set-up is at work or the cache cannot be written.
pub fn recheck(prepared: &Prepared) -> Vec<PathBuf> {
    let cache = Cache::new(&prepared.cache);
    let damaged = damaged(&cache, &prepared.parts_file, true);
    if !damaged.is_empty()
        && let Ok(Ok(_guard)) = cache.try_lock()
    {
        // What cannot be removed is found again.
        let _ = forget(&cache, &prepared.parts_file, &damaged);
    }
    damaged
}

/// Forgets a set-up's files, and removes the entries that these are in, so that they are made anew.
pub(crate) fn forget(cache: &Cache, file: &Path, damaged: &[PathBuf]) -> io::Result<()> {
    let entries = cache.entries();
    for path in damaged {
        let entry = path
            .strip_prefix(&entries)
            .ok()
            .and_then(|path| path.iter().next());
        if let Some(entry) = entry
            .map(|name| entries.join(name))
            .filter(|entry| entry.exists())
        {
            crate::store::cache::remove(&entry)?;
        }
    }
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_damaged_if_its_bytes_are_others_and_not_if_only_its_time_is()
    -> Result<(), Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("kernel/vmlinux");
        fs::create_dir(directory.path().join("kernel"))?;
        fs::write(&path, "image")?;
        let part = Part::of(&path, Path::new("kernel/vmlinux"))?;
        let is_damaged = |thorough| part.is_damaged(directory.path(), thorough);
        assert!(!is_damaged(false) && !is_damaged(true));

        let touch = |time| fs::File::open(&path).and_then(|file| file.set_modified(time));
        let then = fs::metadata(&path)?.modified()?;
        touch(then + std::time::Duration::from_secs(9))?;
        assert!(!is_damaged(false), "copied with another time");

        fs::write(&path, "imagE")?;
        assert!(is_damaged(false));
        touch(then)?;
        assert!(
            !is_damaged(false) && is_damaged(true),
            "only a checksum tells"
        );
        fs::write(&path, "im")?;
        assert!(is_damaged(false), "cut short");
        fs::remove_file(&path)?;
        assert!(is_damaged(false), "gone");
        Ok(())
    }
}
