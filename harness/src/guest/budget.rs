// SPDX-License-Identifier: MIT OR Apache-2.0

//! How many guests may run at once on one machine, and how much memory they may have together.
//!
//! Every guest holds a place: a locked file in the cache, with the guest's memory in it. All processes that use the
//! cache see each other's places, so a test suite, its threads and a `landfall run` beside it share the machine.
//! A place is free again when its process ends, however it ends.
//!
//! Who waits longest is next: each who waits has a locked file, too, whose name says since when, with the number of places in
//! it that he may have one of. Who may have others need not wait for him.
//!
//! A thread that has a guest already gets another at once: nobody else could end what it waits for.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant, SystemTime};

use landfall_guest::Cancel;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// How often a wait looks whether a place is free.
const LOOK: Duration = Duration::from_millis(20);
/// How long to wait for other guests to end: a suite on a slow machine keeps them for minutes, not for hours.
const LIMIT: Duration = Duration::from_secs(60 * 60);
/// Beginning of the names of those who wait.
const TURN: &str = "wait-";
/// How long one may be there before its owner has it locked.
const UNLOCKED: Duration = Duration::from_secs(2);
/// Most places that are looked at.
const MOST: usize = 1024;

/// A guest's place; it is free again when dropped.
#[derive(Debug)]
pub(super) struct Place {
    _file: Option<Flock<File>>,
    holder: ThreadId,
}

/// What guests of one machine may have together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// Guests at once.
    pub(super) guests: usize,
    /// Bytes of memory of all guests together; one alone may have more.
    pub(super) memory: u64,
}

impl Budget {
    /// As many guests as asked for, or as there are CPUs, and nine tenths of the machine's memory.
    pub(super) fn of_machine(jobs: Option<NonZeroUsize>) -> Self {
        let cpus = thread::available_parallelism();
        Self {
            guests: jobs.or(cpus.ok()).map_or(1, NonZeroUsize::get).min(MOST),
            memory: machine_memory().map_or(u64::MAX, |bytes| bytes / 10 * 9),
        }
    }
}

/// No place came free.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoPlace {
    /// It took too long.
    #[error("a place among {guests} guests at once")]
    Late {
        /// How many may run.
        guests: usize,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The caller was told to stop.
    #[error("interrupted")]
    Cancelled,
    /// The places cannot be used.
    #[error(transparent)]
    Places(#[from] io::Error),
}

/// Waits for a place for a guest with `memory` bytes.
pub(super) fn take(
    cache: &Path,
    budget: Budget,
    memory: u64,
    cancel: &Cancel,
) -> Result<Place, NoPlace> {
    let holder = thread::current().id();
    if holders().contains_key(&holder) {
        return Ok(Place::of(None, holder));
    }
    let directory = cache.join("guests");
    fs::create_dir_all(&directory)?;
    let began = Instant::now();
    let mut turn = None;
    loop {
        let from = waited_for(&directory, turn.as_ref())?;
        if from < budget.guests
            && let Some(file) = try_take(&directory, budget, memory, from)?
        {
            return Ok(Place::of(Some(file), holder));
        }
        if turn.is_none() {
            turn = Some(Turn::new(&directory, budget.guests)?);
        }
        if cancel.is_cancelled() {
            return Err(NoPlace::Cancelled);
        }
        if began.elapsed() >= LIMIT {
            return Err(NoPlace::Late {
                guests: budget.guests,
                waited: LIMIT,
            });
        }
        thread::sleep(LOOK);
    }
}

impl Place {
    fn of(file: Option<Flock<File>>, holder: ThreadId) -> Self {
        *holders().entry(holder).or_insert(0) += 1;
        Self {
            _file: file,
            holder,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut holders = holders();
        if let Some(count) = holders.get_mut(&self.holder) {
            *count -= 1;
            if *count == 0 {
                holders.remove(&self.holder);
            }
        }
    }
}

/// Threads of this process that have guests, and how many.
fn holders() -> MutexGuard<'static, HashMap<ThreadId, usize>> {
    static HOLDERS: LazyLock<Mutex<HashMap<ThreadId, usize>>> = LazyLock::new(Mutex::default);
    HOLDERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Somebody who waits, first come, first served; ends when dropped, or when the process does.
struct Turn {
    path: PathBuf,
    _file: Flock<File>,
}

impl Turn {
    fn new(directory: &Path, guests: usize) -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let name = format!(
            "{TURN}{:024}-{}-{}",
            since.unwrap_or_default().as_nanos(),
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = directory.join(name);
        // Who looks whether it is a dead one's has it for a moment.
        let file = Flock::lock(open(&path)?, FlockArg::LockExclusive);
        let mut file = file.map_err(|(_, error)| error)?;
        write!(file, "{guests}")?;
        Ok(Self { path, _file: file })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // One that stays is taken for a dead one's.
        let _ = fs::remove_file(&self.path);
    }
}

/// How many places, from the first on, those may have one of who have waited for longer. What those left who died waiting is
/// removed.
fn waited_for(directory: &Path, mine: Option<&Turn>) -> io::Result<usize> {
    let mut places = 0;
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with(TURN) || mine.is_some_and(|mine| path >= mine.path) {
            continue;
        }
        // Its owner may have had its turn since.
        let Ok(file) = File::open(&path) else {
            continue;
        };
        let age = file.metadata()?.modified()?.elapsed().unwrap_or_default();
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(_free) if age > UNLOCKED => drop(fs::remove_file(&path)),
            Ok(_) => return Ok(MOST),
            Err((mut file, _)) => {
                let mut text = String::new();
                file.read_to_string(&mut text)?;
                // One who has just come has not said it yet.
                places = places.max(text.trim().parse().unwrap_or(MOST));
            }
        }
    }
    Ok(places)
}

/// Takes a place, not one of the first `from`, if there is one. One process looks at a time, so that two do not take the last memory; for the
/// others there is none at this moment.
fn try_take(
    directory: &Path,
    budget: Budget,
    memory: u64,
    from: usize,
) -> io::Result<Option<Flock<File>>> {
    let turn = open(&directory.join("turn"))?;
    let _turn = match Flock::lock(turn, FlockArg::LockExclusiveNonblock) {
        Ok(turn) => turn,
        Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
        Err((_, error)) => return Err(error.into()),
    };
    let mut mine = None;
    let mut taken: u64 = 0;
    for number in 0..MOST {
        let path = directory.join(number.to_string());
        if number >= budget.guests && !path.exists() {
            break;
        }
        match Flock::lock(open(&path)?, FlockArg::LockExclusiveNonblock) {
            Ok(place) if (from..budget.guests).contains(&number) && mine.is_none() => {
                mine = Some(place);
            }
            Ok(_free) => {}
            Err((mut other, Errno::EWOULDBLOCK)) => {
                let mut text = String::new();
                other.read_to_string(&mut text)?;
                taken = taken.saturating_add(text.trim().parse().unwrap_or(0));
            }
            Err((_, error)) => return Err(error.into()),
        }
    }
    let fits = taken == 0 || taken.saturating_add(memory) <= budget.memory;
    let Some(mut place) = mine.filter(|_| fits) else {
        return Ok(None);
    };
    place.set_len(0)?;
    place.seek(SeekFrom::Start(0))?;
    write!(place, "{memory}")?;
    Ok(Some(place))
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// Bytes that this machine, or the control group it is confined to, has.
fn machine_memory() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let total = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = total.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    let confined = fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|limit| limit.trim().parse().ok());
    Some((kib << 10).min(confined.unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn budget(guests: usize, memory: u64) -> Budget {
        Budget { guests, memory }
    }

    /// Takes a place without waiting, as another process would.
    fn other(cache: &Path, budget: Budget, memory: u64) -> Option<Flock<File>> {
        let directory = cache.join("guests");
        fs::create_dir_all(&directory).unwrap();
        try_take(&directory, budget, memory, 0).unwrap()
    }

    #[test]
    fn no_more_guests_than_places_and_a_place_comes_back() {
        let cache = tempfile::tempdir().unwrap();
        let two = budget(2, u64::MAX);

        let first = other(cache.path(), two, MIB).unwrap();
        let _second = other(cache.path(), two, MIB).unwrap();
        assert!(other(cache.path(), two, MIB).is_none());

        drop(first);
        assert!(other(cache.path(), two, MIB).is_some());
    }

    #[test]
    fn whoever_looks_while_another_does_is_told_to_look_again() {
        let cache = tempfile::tempdir().unwrap();
        let one = budget(1, u64::MAX);
        drop(other(cache.path(), one, MIB).unwrap());
        let turn = open(&cache.path().join("guests/turn")).unwrap();
        let turn = Flock::lock(turn, FlockArg::LockExclusive).unwrap();

        assert!(other(cache.path(), one, MIB).is_none());

        drop(turn);
        assert!(other(cache.path(), one, MIB).is_some());
    }

    #[test]
    fn memory_is_shared_and_one_alone_may_have_more() {
        let cache = tempfile::tempdir().unwrap();
        let small = budget(8, 100 * MIB);

        let alone = other(cache.path(), small, 200 * MIB).unwrap();
        assert!(other(cache.path(), small, MIB).is_none());
        drop(alone);

        let _first = other(cache.path(), small, 60 * MIB).unwrap();
        assert!(other(cache.path(), small, 60 * MIB).is_none());
        assert!(other(cache.path(), small, 40 * MIB).is_some());
    }

    #[test]
    fn places_of_others_with_a_larger_budget_count() {
        let cache = tempfile::tempdir().unwrap();
        let _others: Vec<_> = (0..3)
            .map(|_| other(cache.path(), budget(3, u64::MAX), 50 * MIB).unwrap())
            .collect();

        assert!(other(cache.path(), budget(4, 160 * MIB), 20 * MIB).is_none());
        assert!(other(cache.path(), budget(4, 170 * MIB), 20 * MIB).is_some());
    }

    #[test]
    fn a_thread_that_has_a_guest_does_not_wait_for_itself() {
        let cache = tempfile::tempdir().unwrap();
        let one = budget(1, u64::MAX);
        let cancel = Cancel::default();

        let first = take(cache.path(), one, MIB, &cancel).unwrap();
        let second = take(cache.path(), one, MIB, &cancel).unwrap();
        assert!(other(cache.path(), one, MIB).is_none(), "others do");

        drop((first, second));
        assert!(other(cache.path(), one, MIB).is_some());
    }

    /// A newer Landfall may keep more here.
    #[test]
    fn what_another_version_keeps_there_is_left_alone() {
        let cache = tempfile::tempdir().unwrap();
        let directory = cache.path().join("guests");
        fs::create_dir_all(directory.join("leases-2")).unwrap();
        fs::write(directory.join("lease-1"), "guest=1 memory=9").unwrap();
        fs::write(directory.join("0"), "memory=9").unwrap();

        assert_eq!(waited_for(&directory, None).unwrap(), 0);
        let first = other(cache.path(), budget(1, MIB), 4 * MIB).unwrap();
        assert!(other(cache.path(), budget(1, MIB), MIB).is_none());
        drop(first);
        let kept = fs::read_to_string(directory.join("lease-1")).unwrap();
        assert_eq!(kept, "guest=1 memory=9");
    }

    #[test]
    fn who_waits_longest_is_next_and_the_dead_hold_nobody_up() {
        let cache = tempfile::tempdir().unwrap();
        let directory = cache.path();
        let turns = [1, 2].map(|guests| Turn::new(directory, guests).unwrap());
        let [first, second] = &turns;
        fn ahead(directory: &Path, mine: Option<&Turn>) -> usize {
            waited_for(directory, mine).unwrap()
        }
        assert_eq!(ahead(directory, Some(first)), 0);
        assert_eq!(ahead(directory, Some(second)), 1);
        assert_eq!(ahead(directory, None), 2, "nor who just came");

        let dead = directory.join(format!("{TURN}0-1-1"));
        fs::write(&dead, "").unwrap();
        let now = ahead(directory, Some(first));
        assert_eq!(now, MOST, "its owner may be about to lock it");
        let then = SystemTime::now() - 2 * UNLOCKED;
        open(&dead).unwrap().set_modified(then).unwrap();
        assert_eq!(ahead(directory, Some(first)), 0);
        assert!(!dead.exists());

        let [first, second] = turns;
        drop(first);
        assert_eq!(ahead(directory, Some(&second)), 0);
        drop(second);
        assert_eq!(fs::read_dir(directory).unwrap().count(), 0);
    }

    #[test]
    fn who_may_have_another_place_does_not_wait_for_one_who_may_not() {
        let cache = tempfile::tempdir().unwrap();
        let directory = cache.path().join("guests");
        let _first = other(cache.path(), budget(1, u64::MAX), MIB).unwrap();
        let _waits = Turn::new(&directory, 1).unwrap();
        let cancel = Cancel::default();
        cancel.cancel();

        let one = take(cache.path(), budget(1, u64::MAX), MIB, &cancel);
        assert!(matches!(one, Err(NoPlace::Cancelled)), "{one:?}");
        let another = take(cache.path(), budget(2, u64::MAX), MIB, &cancel);
        assert!(another.is_ok(), "{another:?}");
    }

    #[test]
    fn a_cancelled_wait_ends() {
        let cache = tempfile::tempdir().unwrap();
        let one = budget(1, u64::MAX);
        let _other = other(cache.path(), one, MIB).unwrap();
        let cancel = Cancel::default();
        cancel.cancel();

        let waited = take(cache.path(), one, MIB, &cancel);

        assert!(matches!(waited, Err(NoPlace::Cancelled)), "{waited:?}");
    }
}
