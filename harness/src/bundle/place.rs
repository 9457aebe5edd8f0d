// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where a bundle goes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{BundleError, manifest};

/// What the name of an archive ends with.
const ARCHIVE: &str = ".tar.zst";

/// Where a bundle goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// A new directory where evidence goes: the directory asked for, or else the system's for temporary files.
    #[default]
    Evidence,
    /// Likewise, with that word in its name: one of several runs.
    Named(String),
    /// There: an archive if the name ends in `.tar.zst`, else a directory. A bundle that is there is replaced.
    At(PathBuf),
}

impl Place {
    /// The place of one of several runs: its name is this one's with a word more.
    pub fn of(&self, word: &str) -> Self {
        let Self::At(path) = self else {
            return Self::Named(word.to_owned());
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = match name.strip_suffix(ARCHIVE) {
            Some(stem) => format!("{stem}-{word}{ARCHIVE}"),
            None => format!("{name}-{word}"),
        };
        Self::At(path.with_file_name(name))
    }

    /// Refuses a place that holds something else than a bundle, or whose directory is not there.
    ///
    /// # Errors
    /// In words.
    pub fn check(&self) -> Result<(), BundleError> {
        let Self::At(path) = self else {
            return Ok(());
        };
        let parent = parent(path);
        if !parent.is_dir() {
            return Err(BundleError::Write {
                path: path.clone(),
                source: io::Error::new(
                    io::ErrorKind::NotFound,
                    format!("{} is no directory", parent.display()),
                ),
            });
        }
        let Ok(status) = fs::symlink_metadata(path) else {
            return Ok(());
        };
        let replaceable = match is_archive(path) {
            true => status.is_file(),
            false => status.is_dir() && (path.join(manifest::NAME).is_file() || is_empty(path)),
        };
        match replaceable {
            true => Ok(()),
            false => Err(BundleError::Taken { path: path.clone() }),
        }
    }
}

pub(super) fn is_archive(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().ends_with(ARCHIVE))
}

/// The directory that a path is in.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none())
}
