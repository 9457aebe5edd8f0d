// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! How long the pool's calls took.

use kernel::{
    sync::atomic::{Atomic, Relaxed},
    time::{Instant, Monotonic},
};

/// Buckets of a histogram: bucket n counts what took less than `2^n` nanoseconds and no less than half of that;
/// the last one, what took longer, too.
pub(crate) const BUCKETS: usize = 36;

/// Latencies of one call. Counts wrap.
pub(crate) struct Histogram {
    /// The call's name.
    pub(crate) name: &'static str,
    buckets: [Atomic<u64>; BUCKETS],
}

/// `allocate`: lending a buffer.
pub(crate) static ALLOCATE: Histogram = Histogram::new("allocate");
/// `free`: taking it back, the canary included.
pub(crate) static FREE: Histogram = Histogram::new("free");
/// `take`: getting a region of a source.
pub(crate) static TAKE: Histogram = Histogram::new("take");
/// `give`: giving it back.
pub(crate) static GIVE: Histogram = Histogram::new("give");

/// All of them.
pub(crate) fn all() -> [&'static Histogram; 4] {
    [&ALLOCATE, &FREE, &TAKE, &GIVE]
}

impl Histogram {
    const fn new(name: &'static str) -> Self {
        Histogram {
            name,
            buckets: [const { Atomic::new(0) }; BUCKETS],
        }
    }

    /// Counts one call that took so many nanoseconds.
    pub(crate) fn count(&self, ns: u64) {
        let bucket = (u64::BITS - ns.leading_zeros()) as usize;
        if let Some(bucket) = self.buckets.get(bucket.min(BUCKETS - 1)) {
            bucket.fetch_add(1, Relaxed);
        }
    }

    /// Does something and counts how long that took; from any context. Gives that, too, in nanoseconds.
    pub(crate) fn time<R>(&self, work: impl FnOnce() -> R) -> (R, u64) {
        let begun = Instant::<Monotonic>::now();
        let result = work();
        let ns = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(0);
        self.count(ns);
        (result, ns)
    }

    /// What was counted: (nanoseconds that these took less than, how many), those without any left out.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let bounds = (0..).map(|bucket: u32| 1u64 << bucket);
        bounds
            .zip(&self.buckets)
            .map(|(below, count)| (below, count.load(Relaxed)))
            .filter(|(_, count)| *count > 0)
    }
}
