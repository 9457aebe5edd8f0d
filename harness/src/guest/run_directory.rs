// SPDX-License-Identifier: MIT OR Apache-2.0

//! The directory of a run, and what of it is kept.
//!
//! A run has one directory of its own, for sockets and logs, which goes with it. If the run failed, its logs
//! are copied to an evidence directory first. A run that was killed cannot remove its directory; the next
//! one finds it unlocked and does, at whatever moment of its life the run was killed: the lock is the
//! directory's own, so that there is none without.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use tempfile::TempDir;

/// What the directories of runs are called. Not `landfall-run-`: those of an older Landfall, which locks a file in them, are its own.
const PREFIX: &str = "landfall-run.";
/// Longest path of a run's directory: a socket's path has 107 bytes, and its name needs some.
const MAX_PATH: usize = 80;

/// The directory of a run.
#[derive(Debug)]
pub struct RunDirectory {
    // Removed first, and unlocked then.
    directory: TempDir,
    _lock: File,
}

impl RunDirectory {
    /// Makes it in [`parent`]; removes those of runs that were killed.
    ///
    /// # Errors
    /// What the file system gave.
    pub fn new() -> io::Result<Self> {
        Self::within(&parent())
    }

    /// Likewise, somewhere else, as for what is to get its name there when it is whole.
    ///
    /// # Errors
    /// Likewise.
    pub fn within(parent: &Path) -> io::Result<Self> {
        sweep(parent);
        Self::new_in(parent)
    }

    fn new_in(parent: &Path) -> io::Result<Self> {
        loop {
            let directory = private().prefix(PREFIX).tempdir_in(parent)?;
            // A sweep that found it unlocked has it, or had it: then another is made.
            match open(directory.path()) {
                Ok(lock) if take(&lock) != Holder::Somebody && is(directory.path(), &lock) => {
                    return Ok(Self {
                        directory,
                        _lock: lock,
                    });
                }
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// What tells it from all others, for a name.
    pub fn unique(&self) -> String {
        let name = self.path().file_name().unwrap_or_default();
        name.to_string_lossy().replacen(PREFIX, "", 1)
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Copies its logs to `to`, or to a new directory beside this one, and returns which.
    ///
    /// # Errors
    /// What the file system gave.
    pub fn keep(&self, to: Option<&Path>) -> io::Result<PathBuf> {
        let to = match to {
            Some(to) => {
                fs::create_dir_all(to)?;
                to.to_owned()
            }
            None => {
                let parent = self.directory.path().parent().unwrap_or(Path::new("/tmp"));
                private()
                    .prefix("landfall-evidence-")
                    .tempdir_in(parent)?
                    .keep()
            }
        };
        for entry in fs::read_dir(self.path())? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                fs::copy(entry.path(), to.join(entry.file_name()))?;
            }
        }
        Ok(to)
    }
}

/// Makes directories that nobody else can look into.
fn private<'a>() -> tempfile::Builder<'a, 'a> {
    let mut builder = tempfile::Builder::new();
    builder.permissions(fs::Permissions::from_mode(0o700));
    builder
}

/// Where the directories of runs are, and what is left of them: the system's directory for temporary files, or
/// `/tmp` if that path is too long for sockets, or none that QEMU can be told.
pub fn parent() -> PathBuf {
    let parent = std::env::temp_dir();
    match is_good(&parent) {
        true => parent,
        false => PathBuf::from("/tmp"),
    }
}

/// What stands in for a cache that cannot be written: a directory of this user's beside those of runs.
pub fn elsewhere() -> PathBuf {
    parent().join(format!("landfall-{}", nix::unistd::geteuid()))
}

/// Whether sockets can be there: their paths are short, and go to QEMU as text, in options with commas between.
fn is_good(parent: &Path) -> bool {
    let short = parent.as_os_str().len() + PREFIX.len() + 6 <= MAX_PATH;
    let text = parent.to_str();
    short && text.is_some_and(|text| !text.contains([',', '\n']))
}

/// Removes the directories of runs that are no more. What cannot be removed stays.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    let us = nix::unistd::geteuid().as_raw();
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with(PREFIX)
            && let Ok(lock) = open(&path)
            && lock.metadata().is_ok_and(|status| status.uid() == us)
            && take(&lock) == Holder::Us
            && is(&path, &lock)
        {
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// Opens a directory, and nothing else, without waiting for anybody and without following a link.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_DIRECTORY | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
    let mut options = File::options();
    options.read(true).custom_flags(flags.bits()).open(path)
}

/// Who has a directory now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Us,
    Somebody,
    /// Directories cannot be locked there, as on some network file systems: nobody sweeps.
    Nobody,
}

fn take(directory: &File) -> Holder {
    match directory.try_lock() {
        Ok(()) => Holder::Us,
        Err(TryLockError::WouldBlock) => Holder::Somebody,
        Err(TryLockError::Error(_)) => Holder::Nobody,
    }
}

/// Whether that is still the directory's path.
fn is(path: &Path, directory: &File) -> bool {
    let identity = |status: fs::Metadata| (status.dev(), status.ino());
    let named = fs::symlink_metadata(path).map(identity);
    let opened = directory.metadata().map(identity);
    matches!((named, opened), (Ok(named), Ok(opened)) if named == opened)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn logs_are_kept_and_the_directory_goes() {
        let parent = tempfile::tempdir().unwrap();
        let run = RunDirectory::new_in(parent.path()).unwrap();
        fs::write(run.file("console.log"), "hello").unwrap();

        let kept = run.keep(None).unwrap();
        let place = run.path().to_owned();
        drop(run);

        assert_eq!(
            fs::read_to_string(kept.join("console.log")).unwrap(),
            "hello"
        );
        assert!(!place.exists());
    }

    /// Also what one left that was killed at its very first step, or while it was removing.
    #[test]
    fn a_sweep_removes_what_the_dead_left_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let alive = RunDirectory::new_in(parent.path()).unwrap();
        let dead = parent.path().join(format!("{PREFIX}dead"));
        let empty = parent.path().join(format!("{PREFIX}empty"));
        let other = parent.path().join("other");
        for directory in [&dead, &empty, &other] {
            fs::create_dir(directory).unwrap();
        }
        fs::write(dead.join("console.log"), "").unwrap();

        sweep(parent.path());

        assert!(!dead.exists() && !empty.exists());
        assert!(alive.path().exists() && other.exists());
    }

    /// Whoever can write there can put anything there: what is no directory of ours is neither waited for nor followed.
    #[test]
    fn a_sweep_waits_for_nobody_and_follows_nothing() {
        let parent = tempfile::tempdir().unwrap();
        let named = |name: &str| parent.path().join(format!("{PREFIX}{name}"));
        let (pipe, file, link) = (named("pipe"), named("file"), named("link"));
        let elsewhere = parent.path().join("elsewhere");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        fs::write(&file, "").unwrap();
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("theirs"), "").unwrap();
        std::os::unix::fs::symlink(&elsewhere, &link).unwrap();

        sweep(parent.path()); // comes back

        assert!(pipe.exists() && file.exists() && link.is_symlink());
        assert!(elsewhere.join("theirs").exists());
    }

    /// Between its making and its locking a sweep may have a new directory: its maker makes another.
    #[test]
    fn nobody_gets_a_directory_that_a_sweep_takes_away() {
        let parent = tempfile::tempdir().unwrap();
        let (path, done) = (parent.path(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        sweep(path);
                    }
                });
            }
            for _ in 0..2000 {
                let run = RunDirectory::new_in(path).unwrap();
                fs::write(run.file("console.log"), "").unwrap();
                sweep(path);
                assert!(run.file("console.log").exists());
            }
            done.store(true, Ordering::Relaxed);
        });
        sweep(path);
        assert_eq!(fs::read_dir(path).unwrap().count(), 0);
    }

    #[test]
    fn where_qemu_cannot_be_told_of_is_not_used() {
        use std::os::unix::ffi::OsStrExt;
        assert!(is_good(Path::new("/tmp/some where")));
        let long = format!("/{}", "x".repeat(MAX_PATH));
        let bytes = std::ffi::OsStr::from_bytes(b"/tmp/\xff");
        for bad in [Path::new(&long), Path::new("/tmp/a,b"), Path::new(bytes)] {
            assert!(!is_good(bad), "{bad:?}");
        }
    }
}
