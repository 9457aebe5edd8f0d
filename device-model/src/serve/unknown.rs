// SPDX-License-Identifier: MIT OR Apache-2.0

//! What tells a model's author what is missing: registers that the driver touched and the model lacks, and one that a guest
//! reads again and again, of which nothing comes. Bounded, whatever the guest does.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::contract::Access;
use crate::journal::Unknown;

/// Most registers that are told apart.
const MOST: usize = 1024;
/// So many accesses to one are journalled, and then those whose number is a power of two.
const JOURNALLED: u64 = 64;
/// How long nothing but one read must happen to be told.
pub const SPINNING: Duration = Duration::from_secs(2);
/// Reads that are further apart are no spinning: somebody looks now and then.
const APART: Duration = Duration::from_millis(100);

/// Those accesses, counted.
#[derive(Debug, Default)]
pub(crate) struct Touched {
    counts: BTreeMap<(u8, u64, u8, bool), u64>,
    /// Accesses to further places.
    beyond: u64,
}

impl Touched {
    /// Counts an access; how many there were, if it is to be journalled.
    pub(crate) fn count(&mut self, access: Access, write: bool) -> Option<u64> {
        let key = (access.bar, access.offset, access.width.bytes(), write);
        let room = self.counts.len() < MOST;
        let count = match self.counts.get_mut(&key) {
            Some(count) => count,
            None if room => self.counts.entry(key).or_default(),
            None => &mut self.beyond,
        };
        *count = count.saturating_add(1);
        (*count <= JOURNALLED || count.is_power_of_two()).then_some(*count)
    }

    /// All that were told apart, by BAR and offset.
    pub(crate) fn list(&self) -> Vec<Unknown> {
        let each = self.counts.iter();
        each.map(|(&(bar, offset, width, write), &count)| Unknown {
            bar,
            offset,
            width,
            write,
            count,
        })
        .collect()
    }
}

/// A register that is read again and again with the same value, while nothing else happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spin {
    pub(crate) access: Access,
    pub(crate) value: u64,
    pub(crate) reads: u64,
}

/// Watches for one.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    now: Option<Run>,
}

#[derive(Debug)]
struct Run {
    spin: Spin,
    began: Duration,
    last: Duration,
    /// What else the card's journal had.
    entries: u64,
    told: bool,
}

impl Watch {
    /// A register was read; `before`: how many entries the journal had, and `own`: how many the read itself made. What is
    /// spinning is told once.
    pub(crate) fn read(
        &mut self,
        access: Access,
        value: u64,
        now: Duration,
        (before, own): (u64, u64),
    ) -> Option<(Spin, Duration)> {
        let entries = before.saturating_add(own);
        let run = self.now.as_mut().filter(|run| {
            (run.spin.access, run.spin.value, run.entries) == (access, value, before)
                && now.saturating_sub(run.last) <= APART
        });
        let Some(run) = run else {
            let reads = 1;
            let spin = Spin {
                access,
                value,
                reads,
            };
            self.now = Some(Run {
                spin,
                began: now,
                last: now,
                entries,
                told: false,
            });
            return None;
        };
        run.last = now;
        run.entries = entries;
        run.spin.reads = run.spin.reads.saturating_add(1);
        let lasted = now.saturating_sub(run.began);
        if lasted < SPINNING || std::mem::replace(&mut run.told, true) {
            return None;
        }
        // What is told is an entry, too.
        run.entries = entries.saturating_add(1);
        Some((run.spin.clone(), lasted))
    }

    /// Something else happened.
    pub(crate) fn stop(&mut self) {
        self.now = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Width;
    use proptest::prelude::*;

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn every_place_is_counted_and_few_accesses_to_it_are_told() {
        let mut touched = Touched::default();
        let told = (0..1000).filter_map(|_| touched.count(Access::word(1, 8), true));
        assert_eq!(told.skip(64).collect::<Vec<_>>(), [128, 256, 512]);
        touched.count(Access::word(1, 8), false);
        let list = touched.list();
        assert_eq!(
            list.iter().map(|each| each.count).collect::<Vec<_>>(),
            [1, 1000]
        );
        assert_eq!(
            (list[1].bar, list[1].offset, list[1].width, list[1].write),
            (1, 8, 4, true)
        );
    }

    #[test]
    fn a_guest_that_touches_everything_costs_no_more() {
        let mut touched = Touched::default();
        let all = (0..100_000).map(|n| Access::word(0, n * 4));
        let told = all.filter_map(|access| touched.count(access, true)).count();
        assert_eq!(touched.list().len(), MOST);
        assert!(told < MOST + 64 + 64, "{told}");
    }

    #[test]
    fn the_same_read_for_two_seconds_is_told_once() {
        let mut watch = Watch::default();
        let access = Access::word(0, 4);
        let told = (0..5000).filter_map(|ms| {
            let entries = if ms > 2000 { 8 } else { 7 };
            watch.read(access, 1, at(ms), (entries, 0))
        });
        let spin = Spin {
            access,
            value: 1,
            reads: 2001,
        };
        assert_eq!(told.collect::<Vec<_>>(), [(spin, SPINNING)]);
    }

    #[test]
    fn whatever_else_happens_is_no_spinning() {
        let (here, there) = (Access::word(0, 4), Access::word(0, 8));
        let mut watch = Watch::default();
        for ms in 0..5000 {
            assert_eq!(
                watch.read(here, ms / 1500, at(ms), (0, 0)),
                None,
                "another value"
            );
        }
        for ms in 0..5000 {
            assert_eq!(
                watch.read(here, 0, at(ms), (ms / 1500, 0)),
                None,
                "an entry"
            );
        }
        for ms in 0..5000 {
            let access = if ms % 1500 == 0 { there } else { here };
            assert_eq!(
                watch.read(access, 0, at(ms), (0, 0)),
                None,
                "another register"
            );
        }
        for second in 0..100 {
            assert_eq!(
                watch.read(here, 0, at(second * 1000), (0, 0)),
                None,
                "now and then"
            );
        }
        for ms in 0..5000 {
            assert_eq!(watch.read(here, 9, at(ms), (0, 0)), None, "a write between");
            if ms % 1500 == 0 {
                watch.stop();
            }
        }
    }

    proptest! {
        /// Nothing is told before two seconds of one thing.
        #[test]
        fn told_is_only_what_lasted(reads in proptest::collection::vec((0u64..2, 0u64..2, 0u64..150), 1..200)) {
            let (mut watch, mut now, mut since, mut last) = (Watch::default(), 0, 0, None);
            for (offset, value, after) in reads {
                now += after;
                if last != Some((offset, value)) || after > 100 {
                    since = now;
                }
                last = Some((offset, value));
                let access = Access { bar: 0, offset, width: Width::One };
                let told = watch.read(access, value, at(now), (0, 0));
                prop_assert!(told.is_none() || now - since >= 2000);
            }
        }
    }
}
