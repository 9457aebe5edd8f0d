// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Blocks of memory, joined to the longest runs they make.
//!
//! Blocks (the kernel's largest, "chapters") come in any order. One that borders a run lengthens it; one that
//! closes the space between two runs makes them one. Runs are a sorted array, so that a block's neighbours are
//! found in O(log runs), and a run that is new moves those above it.
//!
//! # Invariants
//!
//! 1. With `runs` the first `count` entries of the storage: each has at least one byte, they ascend, and
//!    between two of them there is at least one byte.
//! 2. A block that is refused changes nothing.
//!
//! [`Clusters::check`] tests the first.

use super::allocator::{Fit, Request};
use core::fmt;
use core::ops::DerefMut;

/// Memory without a gap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// Physical address of its first byte.
    pub start: u64,
    /// Address after its last byte.
    pub end: u64,
}

impl Run {
    /// Its length.
    pub fn bytes(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

/// What a block did to the runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joined {
    /// It borders none and is a run of its own.
    None,
    /// It lengthened a run at its front.
    Front,
    /// It lengthened a run at its back.
    Back,
    /// It made two runs one.
    Middle,
}

/// Why a block was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterError {
    /// It has no byte.
    Empty,
    /// Inserted: a byte of it is in a run already. Removed: a byte of it is in none.
    Overlap,
    /// The storage has no place for one more run.
    TooManyRuns,
}

impl ClusterError {
    /// The reason, in words.
    pub const fn text(&self) -> &'static str {
        match self {
            ClusterError::Empty => "the block has no byte",
            ClusterError::Overlap => "the block was already there, or is not",
            ClusterError::TooManyRuns => "there are too many runs",
        }
    }
}

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// A sorted set of runs in the storage `B`.
#[derive(Debug)]
pub struct Clusters<B> {
    count: usize,
    storage: B,
}

impl<B: DerefMut<Target = [Run]>> Clusters<B> {
    /// No run. At most `storage.len()` can be there at a time.
    pub fn new(storage: B) -> Self {
        Clusters { count: 0, storage }
    }

    /// The runs, ascending.
    pub fn runs(&self) -> &[Run] {
        self.storage.get(..self.count).unwrap_or(&[])
    }

    /// Adds the block from `start` up to `end`. Returns the run that it is in now.
    pub fn insert(&mut self, start: u64, end: u64) -> Result<(Run, Joined), ClusterError> {
        if start >= end {
            return Err(ClusterError::Empty);
        }
        let at = self.runs().partition_point(|run| run.end < start);
        // The first run that ends at or after `start`, and the one after it.
        let here = self.runs().get(at).copied();
        let later = self.runs().get(at.saturating_add(1)).copied();
        let overlaps = |run: Option<Run>| run.is_some_and(|run| run.start < end && run.end > start);
        if overlaps(here) || overlaps(later) {
            return Err(ClusterError::Overlap);
        }
        let (joined, run) = match (here, later) {
            (Some(here), Some(later)) if here.end == start && later.start == end => {
                let run = Run {
                    start: here.start,
                    end: later.end,
                };
                self.close(at.saturating_add(1));
                (Joined::Middle, run)
            }
            (Some(here), _) if here.end == start => (Joined::Back, Run { end, ..here }),
            (Some(here), _) if here.start == end => (Joined::Front, Run { start, ..here }),
            _ => {
                self.open(at)?;
                (Joined::None, Run { start, end })
            }
        };
        self.put(at, run);
        Ok((run, joined))
    }

    /// Takes the bytes from `start` up to `end` out of the run that has them all; what is left of it stays.
    pub fn remove(&mut self, start: u64, end: u64) -> Result<(), ClusterError> {
        if start >= end {
            return Err(ClusterError::Empty);
        }
        let at = self.runs().partition_point(|run| run.end <= start);
        let run = self.runs().get(at).copied();
        let run = run.filter(|run| run.start <= start && end <= run.end);
        let run = run.ok_or(ClusterError::Overlap)?;
        let before = Run { end: start, ..run };
        let after = Run { start: end, ..run };
        match (before.bytes(), after.bytes()) {
            (0, 0) => self.close(at),
            (0, _) => self.put(at, after),
            (_, 0) => self.put(at, before),
            _ => {
                self.open(at)?;
                self.put(at, before);
                self.put(at.saturating_add(1), after);
            }
        }
        Ok(())
    }

    /// The longest run, of several the first.
    pub fn longest(&self) -> Option<Run> {
        let runs = self.runs().iter().copied();
        // The first of the greatest: `max_by_key` gives the last.
        runs.reduce(|best, run| {
            if run.bytes() > best.bytes() {
                run
            } else {
                best
            }
        })
    }

    /// A place for `request` in one of the runs: its base. Nothing is taken yet. O(runs).
    pub fn find(&self, request: &Request) -> Option<u64> {
        let mut places = self
            .runs()
            .iter()
            .filter_map(|run| Some((run.bytes(), request.place(run.start, run.end)?)));
        let place = match request.fit {
            Fit::First => places.next(),
            Fit::Best => places.min(),
        };
        place.map(|(_, base)| base)
    }

    /// Bytes of all runs.
    pub fn bytes(&self) -> u64 {
        let runs = self.runs().iter();
        runs.fold(0, |sum, run| sum.saturating_add(run.bytes()))
    }

    /// Tells whether the first invariant holds.
    pub fn check(&self) -> bool {
        let runs = self.runs();
        let pairs = runs.iter().zip(runs.iter().skip(1));
        self.count <= self.storage.len()
            && runs.iter().all(|run| run.start < run.end)
            && pairs.into_iter().all(|(run, next)| run.end < next.start)
    }

    fn put(&mut self, at: usize, run: Run) {
        if let Some(entry) = self.storage.get_mut(at) {
            *entry = run;
        }
    }

    /// Makes room for one more run at `at`.
    fn open(&mut self, at: usize) -> Result<(), ClusterError> {
        let later = self.storage.get_mut(at..=self.count);
        later.ok_or(ClusterError::TooManyRuns)?.rotate_right(1);
        self.count = self.count.saturating_add(1);
        Ok(())
    }

    /// Takes away the run at `at`.
    fn close(&mut self, at: usize) {
        if let Some(later) = self.storage.get_mut(at..self.count) {
            later.rotate_left(1);
            self.count = self.count.saturating_sub(1);
        }
    }
}
