// SPDX-License-Identifier: MIT OR Apache-2.0

//! The cache directory: entries named by what made them, published whole, guarded by one lock.
//!
//! ```text
//! CACHE/lock               held by the one set-up at work; its process number is in it
//! CACHE/apt/               the private apt root: indexes and packages, until a set-up is done
//! CACHE/entries/KIND-KEY/  what is finished; never changed
//! CACHE/entries/.new-*     what is being made; removed by the next set-up
//! CACHE/setups/*.json      which entries a set-up consists of
//! CACHE/logs/*.log         what the programs said
//! CACHE/snapshots/         guests that were booted once; see [`crate::Snapshots`]
//! CACHE/guests/            places of the guests that run now; the harness's
//! ```
//!
//! Of these, entries and the file of one set-up travel to other machines; see [`export`](crate::export).

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{AccessFlags, access, geteuid};
use serde::Serialize;

use crate::store::hash::short;

/// How often a lock that someone else holds is tried again.
const LOOK: Duration = Duration::from_millis(100);

/// How long to try to remove what was left half-made.
const SWEEP: Duration = Duration::from_secs(5);

/// What the cache takes on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CacheSize {
    /// Bytes in all.
    pub total: u64,
    /// Bytes of each entry, largest first.
    pub entries: Vec<(String, u64)>,
}

/// Measures the cache; 0 if there is none.
///
/// # Errors
/// What the file system gave.
pub fn size(cache: &Path) -> io::Result<CacheSize> {
    let mut size = CacheSize::default();
    for directory in ["apt", "logs", "setups", "snapshots"] {
        let bytes = measure(&cache.join(directory))?;
        size.entries.push((directory.to_owned(), bytes));
    }
    let entries = match fs::read_dir(cache.join("entries")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        entries => Some(entries?),
    };
    for entry in entries.into_iter().flatten() {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        size.entries.push((name, measure(&entry.path())?));
    }
    size.entries.retain(|(_, bytes)| *bytes > 0);
    size.entries
        .sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
    size.total = size.entries.iter().map(|(_, bytes)| bytes).sum();
    Ok(size)
}

/// Bytes that a file or directory takes on disk; 0 if it is not there.
pub(crate) fn measure(path: &Path) -> io::Result<u64> {
    let status = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        status => status?,
    };
    let mut bytes = status.blocks() * 512;
    if status.is_dir() {
        for entry in fs::read_dir(path)? {
            bytes += measure(&entry?.path())?;
        }
    }
    Ok(bytes)
}

/// Bytes that an ordinary user may still write to the disk that `path` is on, or will be.
pub(crate) fn free(mut path: &Path) -> io::Result<u64> {
    while !path.exists() {
        path = path.parent().ok_or(io::ErrorKind::NotFound)?;
    }
    let status = nix::sys::statvfs::statvfs(path)?;
    Ok(status.blocks_available() * status.fragment_size())
}

/// A cache directory.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    root: PathBuf,
}

/// The right to change the cache; ends when dropped, also when the process dies.
pub(crate) struct Guard {
    _file: Flock<File>,
}

impl Cache {
    pub(crate) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// Makes the directories. Only the user can look into the cache: programs in it may carry setuid bits.
    pub(crate) fn create(&self) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.root)?;
        for directory in [self.entries(), self.setups(), self.logs()] {
            fs::create_dir_all(&directory).map_err(at(&directory))?;
        }
        Ok(())
    }

    /// Where what is not part of a set-up can be written: here, or, if that cannot be, in `elsewhere`, which is made
    /// for this user alone and must be so if it is there: others may write where it is.
    pub(crate) fn writable(&self, elsewhere: Option<&Path>) -> io::Result<PathBuf> {
        let here = !self.root.exists() || access(&self.root, AccessFlags::W_OK).is_ok();
        let Some(elsewhere) = elsewhere.filter(|_| !here) else {
            return Ok(self.root.clone());
        };
        match DirBuilder::new().mode(0o700).create(elsewhere) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let status = fs::symlink_metadata(elsewhere)?;
        let ours = status.is_dir() && status.uid() == geteuid().as_raw();
        match ours && status.mode() & 0o077 == 0 {
            true => Ok(elsewhere.to_owned()),
            false => Err(io::Error::other(
                "it is not a directory of this user's alone",
            )),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn entries(&self) -> PathBuf {
        self.root.join("entries")
    }

    pub(crate) fn setups(&self) -> PathBuf {
        self.root.join("setups")
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    pub(crate) fn apt(&self) -> PathBuf {
        self.root.join("apt")
    }

    /// Takes the lock at once, or tells who holds it.
    pub(crate) fn try_lock(&self) -> io::Result<Result<Guard, String>> {
        let path = self.root.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(at(&path))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                file.set_len(0)?;
                file.seek(SeekFrom::Start(0))?;
                write!(file, "process {}", std::process::id())?;
                Ok(Ok(Guard { _file: file }))
            }
            Err((mut file, Errno::EWOULDBLOCK)) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder)?;
                Ok(Err(holder))
            }
            Err((_, error)) => Err(error.into()),
        }
    }

    /// Takes the lock, waiting at most `limit` for another set-up; `None` if told to stop or too late.
    pub(crate) fn lock(
        &self,
        limit: Duration,
        stop: impl Fn() -> bool,
        waiting: impl FnOnce(String),
    ) -> io::Result<Option<Guard>> {
        let end = Instant::now() + limit;
        let mut waiting = Some(waiting);
        loop {
            match self.try_lock()? {
                Ok(guard) => return Ok(Some(guard)),
                Err(holder) => {
                    if let Some(waiting) = waiting.take() {
                        waiting(holder);
                    }
                }
            }
            if stop() || Instant::now() >= end {
                return Ok(None);
            }
            thread::sleep(LOOK);
        }
    }

    /// Removes what earlier set-ups left half-made.
    ///
    /// Programs of a set-up that was killed may still be writing for a moment. What cannot be removed in
    /// [`SWEEP`] stays for the next time: it is in nobody's way, since no two set-ups use one temporary name.
    pub(crate) fn sweep(&self, _guard: &Guard) -> io::Result<()> {
        let end = Instant::now() + SWEEP;
        for entry in fs::read_dir(self.entries())? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with('.') {
                while remove(&entry.path()).is_err() && Instant::now() < end {
                    thread::sleep(LOOK);
                }
            }
        }
        Ok(())
    }

    /// Removes those of all entries of a kind that were not used for longest, but for the newest.
    pub(crate) fn forget_old(&self, kind: &str, kept: usize) -> io::Result<()> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(self.entries())? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_string_lossy().starts_with(&format!("{kind}-")) {
                entries.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        entries.sort();
        let old = entries.len().saturating_sub(kept);
        entries
            .iter()
            .take(old)
            .try_for_each(|(_, path)| remove(path))
    }

    /// The entry of that kind and key, whether it is there or not.
    pub(crate) fn entry(&self, kind: &str, key: &str) -> Entry {
        let name = format!("{kind}-{}", short(key));
        Entry {
            path: self.entries().join(&name),
            name,
        }
    }
}

/// One entry of the cache: a directory that is there whole or not at all.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

impl Entry {
    pub(crate) fn exists(&self) -> bool {
        self.path.is_dir()
    }

    /// Says that it was used now.
    pub(crate) fn touch(&self) {
        // Without it the entry only counts as older than it is.
        let _ = File::open(&self.path).and_then(|entry| entry.set_modified(SystemTime::now()));
    }

    /// Makes the entry, unless it is there: `fill` fills a temporary sibling, which is then renamed.
    pub(crate) fn make<E: From<io::Error>>(
        &self,
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.exists() {
            return Ok(());
        }
        let parent = self.path.parent().unwrap_or(Path::new("."));
        let temporary = parent.join(format!(".new-{}-{}", self.name, std::process::id()));
        if temporary.exists() {
            remove(&temporary)?;
        }
        fs::create_dir(&temporary)?;
        let made = fill(&temporary).and_then(|()| Ok(fs::rename(&temporary, &self.path)?));
        if made.is_err() {
            // The next set-up sweeps what cannot be removed now.
            let _ = remove(&temporary);
        }
        made
    }
}

/// Removes a directory or file, also a directory that its owner may not write to.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let status = fs::symlink_metadata(path)?;
    if !status.is_dir() {
        return fs::remove_file(path);
    }
    let mut permissions = status.permissions();
    if std::os::unix::fs::PermissionsExt::mode(&permissions) & 0o700 != 0o700 {
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o700);
        fs::set_permissions(path, permissions)?;
    }
    for entry in fs::read_dir(path)? {
        remove(&entry?.path())?;
    }
    fs::remove_dir(path)
}

/// Writes a file whole or not at all; a directory of its name is in nobody's place and goes.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes).map_err(at(path))?;
    if path.is_dir() {
        remove(path)?;
    }
    file.persist(path)
        .map_err(|failed| at(path)(failed.error))?;
    Ok(())
}

/// An error with the path that it is about.
pub(crate) fn at(path: &Path) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> io::Result<(tempfile::TempDir, Cache)> {
        let directory = tempfile::tempdir()?;
        let cache = Cache::new(&directory.path().join("cache"));
        cache.create()?;
        Ok((directory, cache))
    }

    #[test]
    fn an_entry_is_there_whole_or_not_at_all() -> io::Result<()> {
        let (_directory, cache) = cache()?;
        let entry = cache.entry("thing", "0123456789abcdef0123");

        let failed = entry.make(|path| {
            fs::write(path.join("half"), "x")?;
            Err(io::Error::other("no"))
        });
        assert!(failed.is_err());
        assert!(!entry.exists());
        assert_eq!(
            fs::read_dir(cache.entries())?.count(),
            0,
            "nothing half-made stays"
        );

        entry.make(|path| fs::write(path.join("whole"), "x"))?;
        assert_eq!(fs::read_to_string(entry.path.join("whole"))?, "x");
        entry.make(|_| Err(io::Error::other("made twice")))
    }

    #[test]
    fn what_a_killed_set_up_left_is_swept() -> io::Result<()> {
        let (_directory, cache) = cache()?;
        fs::create_dir_all(cache.entries().join(".new-thing-1/deep"))?;
        fs::create_dir_all(cache.entries().join("thing-1"))?;
        let Ok(guard) = cache.try_lock()? else {
            return Err(io::Error::other("the lock is taken"));
        };

        cache.sweep(&guard)?;

        assert!(!cache.entries().join(".new-thing-1").exists());
        assert!(cache.entries().join("thing-1").exists());
        Ok(())
    }

    #[test]
    fn the_second_set_up_is_told_who_holds_the_lock() -> io::Result<()> {
        let (_directory, cache) = cache()?;
        let first = cache.try_lock()?;
        assert!(first.is_ok());

        let mut told = None;
        let second = cache.lock(Duration::ZERO, || false, |holder| told = Some(holder))?;

        assert!(second.is_none());
        assert_eq!(told, Some(format!("process {}", std::process::id())));
        drop(first);
        assert!(cache.try_lock()?.is_ok());
        Ok(())
    }

    #[test]
    fn a_directory_in_a_files_place_goes_or_is_named() -> io::Result<()> {
        let (_directory, cache) = cache()?;
        let file = cache.setups().join("setup-1.json");
        fs::create_dir_all(file.join("deep"))?;
        write_whole(&file, b"{}")?;
        assert_eq!(fs::read(&file)?, b"{}");

        fs::create_dir(cache.root.join("lock"))?;
        let said = cache
            .try_lock()
            .map(drop)
            .map_err(|error| error.to_string());
        let path = cache.root.join("lock");
        assert!(said.is_err_and(|said| said.contains(&*path.to_string_lossy())));
        Ok(())
    }

    #[test]
    fn what_stands_in_for_a_cache_is_this_users_alone() -> io::Result<()> {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let (directory, cache) = cache()?;
        let elsewhere = directory.path().join("elsewhere");
        assert_eq!(cache.writable(Some(&elsewhere))?, cache.root);
        assert!(!elsewhere.exists());

        // /proc can be written by nobody, root included.
        let cache = Cache::new(Path::new("/proc/self"));
        assert_eq!(cache.writable(None)?, cache.root);
        assert_eq!(cache.writable(Some(&elsewhere))?, elsewhere);
        assert_eq!(
            fs::metadata(&elsewhere)?.permissions().mode() & 0o777,
            0o700
        );
        assert_eq!(cache.writable(Some(&elsewhere))?, elsewhere, "again");

        let link = directory.path().join("link");
        symlink(&elsewhere, &link)?;
        assert!(cache.writable(Some(&link)).is_err());
        fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o770))?;
        assert!(cache.writable(Some(&elsewhere)).is_err());
        Ok(())
    }

    #[test]
    fn a_cache_that_is_not_there_takes_nothing() -> io::Result<()> {
        let directory = tempfile::tempdir()?;

        assert_eq!(size(&directory.path().join("no"))?, CacheSize::default());
        Ok(())
    }
}
