// SPDX-License-Identifier: MIT OR Apache-2.0

//! How a guest came to life, and what took how long.

use std::time::{Duration, Instant};

use serde::Serialize;

/// How a guest came to life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Started {
    /// From a snapshot, or by booting.
    pub how: How,
    /// Its parts, in order, and how long each took.
    pub parts: Vec<(String, Duration)>,
}

/// From a snapshot, or by booting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum How {
    /// From a snapshot.
    Restored {
        /// It had to be made first.
        made: bool,
    },
    /// By booting.
    Cold {
        /// Why not from a snapshot.
        why: String,
    },
}

impl Started {
    /// From the first step to a guest that answers, with its cards in it; without the time for which another guest
    /// had to end first.
    pub fn total(&self) -> Duration {
        let all: Duration = self.parts.iter().map(|(_, time)| *time).sum();
        all - self.waited()
    }

    /// For how long another guest had to end first.
    pub fn waited(&self) -> Duration {
        let parts = self.parts.iter().filter(|(part, _)| part == WAIT);
        parts.map(|(_, time)| *time).sum()
    }
}

/// The part that is spent waiting for other guests.
pub(super) const WAIT: &str = "wait for other guests";

impl std::fmt::Display for How {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Restored { made: false } => write!(f, "restored from a snapshot"),
            Self::Restored { made: true } => write!(f, "restored from a snapshot made just now"),
            Self::Cold { why } => write!(f, "booted cold, {why}"),
        }
    }
}

/// Takes the time of one part after the other.
pub(super) struct Clock {
    last: Instant,
    parts: Vec<(String, Duration)>,
    made: bool,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self {
            last: Instant::now(),
            parts: Vec::new(),
            made: false,
        }
    }

    /// A part has ended.
    pub(super) fn lap(&mut self, part: &str) {
        let now = Instant::now();
        self.parts.push((part.to_owned(), now - self.last));
        self.last = now;
    }

    /// A snapshot is being made.
    pub(super) fn made_snapshot(&mut self) {
        self.made = true;
    }

    /// The guest is there.
    pub(super) fn finish(self, cold: Option<String>) -> Started {
        let made = self.made;
        Started {
            how: cold.map_or(How::Restored { made }, |why| How::Cold { why }),
            parts: self.parts,
        }
    }
}
