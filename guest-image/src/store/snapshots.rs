// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where snapshots of guests are kept: whole or not at all, bounded, the least recently used go first.
//!
//! ```text
//! CACHE/snapshots/KEY/       one snapshot; never changed, its time is that of its last use
//! CACHE/snapshots/.new-KEY/  one that is being made
//! ```
//!
//! The lock is on the directory itself: shared while it is used, exclusive while it is made or removed, and gone
//! with the process that holds it. What a snapshot consists of, and whether it is whole, is for its maker to say.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::host::cancel::Cancel;
use crate::store::cache::{free, measure, remove};

/// How often a snapshot that somebody else makes is looked for.
const LOOK: Duration = Duration::from_millis(50);
/// Beginning of the names of those that are being made.
const NEW: &str = ".new-";
/// The file in a snapshot that names its set-up.
const SETUP: &str = "setup";
/// Bytes of snapshots kept unless the caller says otherwise: what this repository's own tests need, and a third more.
pub const SNAPSHOT_LIMIT: u64 = 8 << 30;

/// The snapshots of one cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshots {
    root: PathBuf,
    limit: u64,
    /// Names the set-up that they are made from.
    setup: String,
}

/// A snapshot that is there. It stays for as long as this lives.
#[derive(Debug)]
pub struct Snapshot {
    path: PathBuf,
    _lock: Flock<File>,
}

impl Snapshot {
    /// The path of a file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// What [`Snapshots::claim`] found.
#[derive(Debug)]
pub enum Claim {
    /// It is there.
    Ready(Snapshot),
    /// It is not there, and nobody else makes it now.
    Mine(Making),
}

/// The right to make one snapshot. Dropping it leaves nothing.
#[derive(Debug)]
pub struct Making {
    new: PathBuf,
    path: PathBuf,
    root: Snapshots,
    lock: Option<Flock<File>>,
}

/// A wait for a snapshot that another process makes did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// It took too long.
    #[error("another process has been making this guest's snapshot for {} s", waited.as_secs())]
    Late {
        /// How long it was waited for.
        waited: Duration,
    },
    /// The caller was told to stop.
    #[error("interrupted")]
    Cancelled,
    /// The directory cannot be used.
    #[error("{} cannot be used", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Snapshots {
    /// Those of the cache at `cache`, made from the set-up `setup`; with those of other set-ups together at most
    /// `limit` bytes on disk.
    pub fn new(cache: &Path, limit: u64, setup: &str) -> Self {
        Self {
            root: directory(cache),
            limit,
            setup: setup.to_owned(),
        }
    }

    /// Whether a snapshot of this name is there now.
    pub fn has(&self, key: &str) -> bool {
        self.root.join(key).is_dir()
    }

    /// Finds the snapshot of this name, or the right to make it; waits while another process makes it, at most
    /// `limit`.
    ///
    /// # Errors
    /// See [`ClaimError`].
    pub fn claim(&self, key: &str, limit: Duration, cancel: &Cancel) -> Result<Claim, ClaimError> {
        let failed = |source| ClaimError::Directory {
            path: self.root.clone(),
            source,
        };
        fs::create_dir_all(&self.root).map_err(failed)?;
        self.sweep();
        let (path, new) = (self.root.join(key), self.root.join(format!("{NEW}{key}")));
        let began = Instant::now();
        loop {
            if let Some(lock) = lock(&path, FlockArg::LockSharedNonblock).map_err(failed)? {
                // Its time is that of its last use; that it cannot be set costs its place in the order.
                let _ = lock.set_modified(SystemTime::now());
                return Ok(Claim::Ready(Snapshot { path, _lock: lock }));
            }
            if !path.exists() {
                match fs::create_dir(&new) {
                    Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                        return Err(failed(error));
                    }
                    _ => {}
                }
                let mine = lock(&new, FlockArg::LockExclusiveNonblock).map_err(failed)?;
                if let Some(lock) = mine
                    && !path.exists()
                {
                    // What a maker that was killed left is not trusted.
                    empty(&new).map_err(failed)?;
                    let (root, lock) = (self.clone(), Some(lock));
                    return Ok(Claim::Mine(Making {
                        new,
                        path,
                        root,
                        lock,
                    }));
                }
            }
            if cancel.is_cancelled() {
                return Err(ClaimError::Cancelled);
            }
            if began.elapsed() >= limit {
                return Err(ClaimError::Late { waited: limit });
            }
            thread::sleep(LOOK);
        }
    }

    /// Removes a snapshot that turned out to be damaged, unless somebody else did or uses it.
    pub fn discard(&self, snapshot: Snapshot) {
        let path = snapshot.path.clone();
        drop(snapshot);
        discard(&path);
    }

    /// Removes what makers that were killed left.
    fn sweep(&self) {
        for left in all(&self.root).iter().filter(|path| is_new(path)) {
            discard(left);
        }
    }

    /// Removes the least recently used until the rest is within the limit, and
    /// leaves as much free on the disk as it takes; those in use stay.
    fn trim(&self) {
        let mut kept: Vec<_> = list(&self.root)
            .into_iter()
            .filter_map(|path| {
                let used = fs::metadata(&path).and_then(|status| status.modified());
                Some((used.ok()?, measure(&path).ok()?, path))
            })
            .collect();
        let mut bytes: u64 = kept.iter().map(|(_, bytes, _)| bytes).sum();
        let most = most(self.limit, bytes, free(&self.root).unwrap_or(u64::MAX));
        kept.sort();
        for (_, size, path) in kept {
            if bytes > most && discard(&path) {
                bytes -= size;
            }
        }
    }
}

impl Making {
    /// Where its files go.
    pub fn directory(&self) -> &Path {
        &self.new
    }

    /// Gives it its name, and removes others that are too many now.
    ///
    /// # Errors
    /// What the file system gave; nothing is left then.
    pub fn publish(mut self) -> io::Result<Snapshot> {
        fs::write(self.new.join(SETUP), &self.root.setup)?;
        fs::rename(&self.new, &self.path)?;
        let Some(lock) = self.lock.take() else {
            unreachable!("it is given up only here and in drop")
        };
        lock.relock(FlockArg::LockSharedNonblock)
            .map_err(io::Error::from)?;
        if !self.path.exists() {
            // Between the two locks somebody else made room.
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        let snapshot = Snapshot {
            path: self.path.clone(),
            _lock: lock,
        };
        self.root.trim();
        Ok(snapshot)
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // What cannot be removed is emptied by the next one who makes it.
            let _ = remove(&self.new);
        }
    }
}

/// Where a cache keeps its snapshots.
pub(crate) fn directory(cache: &Path) -> PathBuf {
    cache.join("snapshots")
}

/// Removes the snapshots of a cache that are not made from one of the set-ups `keep`, and whatever makers that were
/// killed left; those in use stay. Gives names and bytes.
pub(crate) fn prune(cache: &Path, keep: &[String]) -> Vec<(String, u64)> {
    let mut removed = Vec::new();
    for path in all(&directory(cache)) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let bytes = measure(&path).unwrap_or(0);
        let setup = fs::read_to_string(path.join(SETUP)).ok();
        let wanted = !is_new(&path) && setup.is_some_and(|setup| keep.contains(&setup));
        if !wanted && discard(&path) {
            removed.push((format!("snapshot {name}"), bytes));
        }
    }
    removed
}

/// Bytes that may be kept of those that are: within the limit, and no more than stays free then.
fn most(limit: u64, kept: u64, free: u64) -> u64 {
    limit.min(kept.saturating_add(free) / 2)
}

/// The directory, locked; `None` if it is not there, or locked by somebody else.
fn lock(path: &Path, how: FlockArg) -> io::Result<Option<Flock<File>>> {
    let directory = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        directory => directory?,
    };
    let lock = match Flock::lock(directory, how) {
        Ok(lock) => lock,
        Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
        Err((_, error)) => return Err(error.into()),
    };
    // It may have been renamed or removed between opening and locking.
    let (opened, named) = (lock.metadata()?, fs::metadata(path));
    let same = named.is_ok_and(|named| (named.dev(), named.ino()) == (opened.dev(), opened.ino()));
    Ok(same.then_some(lock))
}

/// Removes a directory that nobody uses; tells whether it is gone.
fn discard(path: &Path) -> bool {
    match lock(path, FlockArg::LockExclusiveNonblock) {
        Ok(Some(_lock)) => remove(path).is_ok(),
        _ => !path.exists(),
    }
}

fn empty(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        remove(&entry?.path())?;
    }
    Ok(())
}

/// All directories, those that are being made included.
fn all(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

/// The finished ones.
fn list(root: &Path) -> Vec<PathBuf> {
    let mut paths = all(root);
    paths.retain(|path| !is_new(path));
    paths
}

/// Whether it is being made, or was left by who made it.
fn is_new(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().starts_with(NEW)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn snapshots(limit: u64) -> (tempfile::TempDir, Snapshots) {
        let cache = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::new(cache.path(), limit, "this");
        (cache, snapshots)
    }

    fn claim(snapshots: &Snapshots, key: &str) -> Result<Claim, ClaimError> {
        snapshots.claim(key, NOW, &Cancel::default())
    }

    fn make(snapshots: &Snapshots, key: &str, bytes: usize) -> Snapshot {
        match claim(snapshots, key).unwrap() {
            Claim::Mine(making) => {
                fs::write(making.directory().join("ram"), vec![1; bytes]).unwrap();
                making.publish().unwrap()
            }
            Claim::Ready(_) => panic!("{key} is there already"),
        }
    }

    fn used_at(snapshots: &Snapshots, key: &str, seconds: u64) {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let directory = File::open(snapshots.root.join(key)).unwrap();
        directory.set_modified(time).unwrap();
    }

    #[test]
    fn one_that_was_made_is_there_and_one_that_was_given_up_is_not() {
        let (_cache, snapshots) = snapshots(1 << 20);

        let Claim::Mine(given_up) = claim(&snapshots, "a").unwrap() else {
            panic!("nothing is there")
        };
        fs::write(given_up.directory().join("half"), "x").unwrap();
        drop(given_up);
        assert!(!snapshots.has("a"));
        assert!(all(&snapshots.root).is_empty(), "nothing half-made stays");

        drop(make(&snapshots, "a", 1));
        let Claim::Ready(ready) = claim(&snapshots, "a").unwrap() else {
            panic!("it was made")
        };
        assert_eq!(fs::read(ready.file("ram")).unwrap(), [1]);
    }

    #[test]
    fn two_do_not_make_the_same_and_the_second_gets_what_the_first_made() {
        let (_cache, snapshots) = snapshots(1 << 20);
        let Claim::Mine(first) = claim(&snapshots, "a").unwrap() else {
            panic!("nothing is there")
        };

        assert!(matches!(
            claim(&snapshots, "a"),
            Err(ClaimError::Late { .. })
        ));
        let waiting = std::thread::spawn({
            let snapshots = snapshots.clone();
            move || snapshots.claim("a", Duration::from_secs(10), &Cancel::default())
        });
        let _published = first.publish().unwrap();

        assert!(matches!(waiting.join().unwrap(), Ok(Claim::Ready(_))));
    }

    #[test]
    fn what_a_killed_maker_left_is_not_used() {
        let (_cache, snapshots) = snapshots(1 << 20);
        let left = snapshots.root.join(".new-a");
        fs::create_dir_all(&left).unwrap();
        fs::write(left.join("ram"), "half").unwrap();

        let Claim::Mine(making) = claim(&snapshots, "a").unwrap() else {
            panic!("it was not finished")
        };

        assert_eq!(fs::read_dir(making.directory()).unwrap().count(), 0);
        drop(make(&snapshots, "b", 1));
        assert!(left.exists(), "it is being made: not swept with others");
        drop(making);
        fs::create_dir_all(&left).unwrap();
        drop(make(&snapshots, "c", 1));
        assert!(!left.exists(), "nobody makes it: swept");
    }

    #[test]
    fn a_cancelled_wait_ends() {
        let (_cache, snapshots) = snapshots(1 << 20);
        let _first = claim(&snapshots, "a").unwrap();
        let cancel = Cancel::default();
        cancel.cancel();

        let second = snapshots.claim("a", Duration::from_secs(60), &cancel);

        assert!(matches!(second, Err(ClaimError::Cancelled)));
    }

    #[test]
    fn the_least_recently_used_goes_first_but_never_one_in_use() {
        let (_cache, snapshots) = snapshots(140 << 10);
        for (key, time) in [("old", 100), ("older-in-use", 50), ("oldest", 10)] {
            drop(make(&snapshots, key, 32 << 10));
            used_at(&snapshots, key, time);
        }
        let _in_use = claim(&snapshots, "older-in-use").unwrap();
        used_at(&snapshots, "older-in-use", 50);

        drop(make(&snapshots, "new", 32 << 10));
        assert!(!snapshots.has("oldest"));
        assert!(snapshots.has("old") && snapshots.has("older-in-use") && snapshots.has("new"));

        drop(make(&snapshots, "newer", 32 << 10));
        assert!(!snapshots.has("old"));
        assert!(snapshots.has("older-in-use") && snapshots.has("newer"));
    }

    #[test]
    fn on_a_full_disk_less_is_kept() {
        assert_eq!(most(100, 90, u64::MAX), 100);
        assert_eq!(most(100, 90, 110), 100);
        assert_eq!(most(100, 90, 10), 50);
        assert_eq!(most(100, 0, 0), 0);
    }

    #[test]
    fn pruning_keeps_those_of_the_set_up_in_use() {
        let (cache, snapshots) = snapshots(1 << 20);
        let other = Snapshots::new(cache.path(), 1 << 20, "other");
        drop(make(&snapshots, "mine", 1));
        drop(make(&other, "others", 1));
        fs::create_dir(snapshots.root.join(".new-left")).unwrap();

        let mut removed = prune(cache.path(), &["this".to_owned()]);
        removed.sort();

        let names: Vec<_> = removed.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["snapshot .new-left", "snapshot others"]);
        assert!(snapshots.has("mine"));
        assert_eq!(
            prune(cache.path(), &[]).len(),
            1,
            "without a set-up, none is needed"
        );
    }

    #[test]
    fn a_damaged_one_is_discarded_and_can_be_made_again() {
        let (_cache, snapshots) = snapshots(1 << 20);
        let damaged = make(&snapshots, "a", 1);

        snapshots.discard(damaged);

        assert!(matches!(claim(&snapshots, "a"), Ok(Claim::Mine(_))));
    }
}
