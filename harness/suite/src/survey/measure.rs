// SPDX-License-Identifier: MIT OR Apache-2.0

//! What one way gives on one guest: how much, in what pieces, how fast.

use std::time::{Duration, Instant};

use super::Method;
use super::schema::{Copy, Given, Got, Granularity, Largest, Latency, Refused, State, Times};
use landfall::guest::{
    Grown, Guest, HugePage, Measured, Pool, PoolBuffer, PoolMapping, PoolWanted, Result, Running,
    What,
};

/// Bytes of a page.
const PAGE: u64 = 4096;
/// Pages of a huge page.
const HUGE: u64 = 512;
/// Numbers of pages that every way is asked for; those of the sources' questions are among them.
const ASKED: [u64; 6] = [1, 2, 3, 5, 750, 2000];
/// What is timed: pages, and how often.
const TIMED: [(u64, u32); 2] = [(1, 500), (750, 200)];
/// Likewise for huge pages, where each time is a request to the agent.
const TIMED_HUGE: [(u64, u32); 2] = [(1, 20), (750, 20)];
/// How long the search for the largest piece may go on; then the largest that was found counts.
const SEARCH: Duration = Duration::from_secs(20);
/// Bytes that are copied.
const COPIED: u64 = 4 << 20;
/// The smallest pieces of them; less makes it a measurement of something else.
const SMALLEST: u64 = 64 << 10;
/// How often they are copied.
const COPIES: u32 = 15;

/// One way, on one guest whose pool is loaded.
pub(super) struct Source<'a, Stage: Running> {
    pub(super) guest: &'a Guest<Stage>,
    pub(super) pool: &'a Pool<'a, Stage>,
    pub(super) method: Method,
    /// No request for more pages makes sense.
    pub(super) most_pages: u64,
}

/// What the guest refused is an answer; anything else is a failure.
pub(super) fn answer<T>(asked: Result<T>) -> Result<std::result::Result<T, Refused>> {
    match asked {
        Ok(given) => Ok(Ok(given)),
        Err(failed) => match &*failed.what {
            What::Refused(error) => Ok(Err(Refused {
                errno: error.errno,
                message: error.message.clone(),
            })),
            _ => Err(failed),
        },
    }
}

impl<Stage: Running> Source<'_, Stage> {
    /// All of it.
    pub(super) fn state(&self) -> Result<State> {
        // First, before anything else has moved the guest's memory about.
        let largest = self.largest()?;
        let given = ASKED
            .iter()
            .map(|&pages| self.given(pages))
            .collect::<Result<Vec<_>>>()?;
        let timed = match self.method {
            Method::Hugetlb => TIMED_HUGE,
            _ => TIMED,
        };
        let mut latency = Vec::new();
        for (pages, rounds) in timed {
            latency.extend(self.latency(pages, rounds)?);
        }
        let got = || given.iter().filter_map(|given| given.got);
        Ok(State {
            largest,
            granularity: Granularity::of(&given),
            contiguous: got().count() > 0 && got().all(|got| got.pieces == 1),
            given,
            latency,
        })
    }

    /// Searches for the most that can be had: doubling, then halving the step.
    fn largest(&self) -> Result<Largest> {
        let began = Instant::now();
        let mut largest = Largest::default();
        let (mut good, mut bad) = (0, None);
        // What was kept at boot is there as a whole, or not; what was not is more likely to be small.
        let mut ask = match self.method.when() {
            super::When::Boot => self.most_pages,
            super::When::AnyTime => 1,
        };
        loop {
            largest.requests += 1;
            match answer(self.take(ask, 1))? {
                Ok(measured) => {
                    good = ask;
                    let piece = measured.taken.longest * PAGE;
                    largest.piece_bytes = largest.piece_bytes.max(piece);
                    largest.request_pages = largest.request_pages.max(good);
                }
                Err(_) => bad = Some(ask),
            }
            let next = match bad {
                None => (good * 2).min(self.most_pages),
                Some(bad) if bad - good > 1 + good / 128 => good + (bad - good) / 2,
                Some(_) => break,
            };
            if next == good || next == 0 || began.elapsed() > SEARCH {
                break;
            }
            ask = next;
        }
        Ok(largest)
    }

    fn given(&self, pages: u64) -> Result<Given> {
        let (got, refused) = match answer(self.take(pages, 1))? {
            Ok(measured) => {
                let taken = measured.taken;
                let got = Got {
                    waste: taken.waste,
                    pieces: taken.pieces,
                    longest: taken.longest,
                    touched: taken.touched,
                };
                (Some(got), None)
            }
            Err(refused) => (None, Some(refused)),
        };
        Ok(Given {
            pages,
            got,
            refused,
        })
    }

    fn latency(&self, pages: u64, rounds: u32) -> Result<Option<Latency>> {
        let Ok(measured) = answer(self.take(pages, rounds))? else {
            return Ok(None);
        };
        let times = Times::of(&measured.take).zip(Times::of(&measured.give));
        Ok(times.map(|(take, give)| Latency { pages, take, give }))
    }

    /// Takes pages and gives them back, `rounds` times.
    fn take(&self, pages: u64, rounds: u32) -> Result<Measured> {
        let Some(source) = self.method.source() else {
            return self.take_huge(pages, rounds);
        };
        self.pool.measure(source, pages, 0, rounds)
    }

    fn take_huge(&self, pages: u64, rounds: u32) -> Result<Measured> {
        let mut measured = Measured {
            take: Vec::new(),
            give: Vec::new(),
            taken: landfall::guest::Taken::default(),
        };
        for _ in 0..rounds {
            let grown = self.grow(pages, 0)?;
            measured
                .take
                .push(Duration::from_nanos(grown.taken.take_ns));
            measured.give.push(self.pool.shrink(grown.region)?.took);
            measured.taken = grown.taken;
        }
        // The pool has the whole of them; what was not asked for is waste.
        measured.taken.waste = measured.taken.pages.saturating_sub(pages);
        Ok(measured)
    }

    /// Adds a region of this way to the pool.
    pub(super) fn grow(&self, pages: u64, address_bits: u32) -> Result<Grown> {
        match self.method.source() {
            Some(source) => self.pool.grow(source, pages, address_bits),
            None => {
                let bytes = pages.div_ceil(HUGE) * HUGE * PAGE;
                self.pool.adopt(bytes, HugePage::Mib2)
            }
        }
    }

    /// Whether the kernel has its memory again after it was given back.
    pub(super) fn returned(&self) -> Result<bool> {
        let Ok(grown) = answer(self.grow(16, 0))? else {
            return Ok(false);
        };
        Ok(self.pool.shrink(grown.region)?.returned)
    }

    /// Copies 4 MiB from one such memory to another. Only regions of this way are in the pool meanwhile.
    pub(super) fn copy(&self) -> Result<Option<Copy>> {
        let before = self.guest.regions()?;
        let mut grown = Vec::new();
        // Twice, since some give no more than that in one piece. Of the scattered ones more, to find pieces in.
        let pages = match self.method {
            Method::Slab | Method::Pages | Method::Order | Method::Vmalloc => 3 * COPIED / PAGE,
            _ => COPIED / PAGE,
        };
        for _ in 0..2 {
            match answer(self.grow(pages, 0))? {
                Ok(region) => grown.push(region.region),
                // A carve-out or a reserve is one region.
                Err(_) => break,
            }
        }
        if grown.len() < 2 {
            grown = self.one_region(&grown)?;
        }
        let copied = match grown.is_empty() {
            true => Ok(None),
            false => self.copy_pieces(),
        };
        for region in grown {
            self.pool.shrink(region)?;
        }
        debug_assert_eq!(before.len(), self.guest.regions()?.len());
        copied
    }

    /// Instead of two regions, one of twice the size.
    fn one_region(&self, instead_of: &[u32]) -> Result<Vec<u32>> {
        for region in instead_of {
            self.pool.shrink(*region)?;
        }
        let grown = answer(self.grow(2 * COPIED / PAGE, 0))?;
        Ok(grown.map(|grown| grown.region).into_iter().collect())
    }

    /// In pieces as large as there are, each as large as the one before or half as large.
    fn copy_pieces(&self) -> Result<Option<Copy>> {
        let (mut size, mut left) = (COPIED, COPIED);
        let mut pairs = Vec::new();
        while left > 0 {
            match (self.piece(size)?, self.piece(size)?) {
                (Some(from), Some(to)) => {
                    pairs.push((from.map()?, to.map()?, from, to));
                    left -= size;
                    size = size.min(left);
                }
                _ if size > SMALLEST => size /= 2,
                _ => return Ok(None),
            }
        }
        let mut rounds = Vec::new();
        for _ in 0..COPIES {
            // Piece after piece, as one that copies 4 MiB would: one piece over and over would stay in the caches.
            let mut round = Duration::ZERO;
            for (from, to, ..) in &pairs {
                round += from.copy_to(to, 1)?.into_iter().sum::<Duration>();
            }
            rounds.push(round);
        }
        Ok(Times::of(&rounds).map(|times| Copy {
            bytes: COPIED,
            pieces: pairs.len() as u64,
            min_ns: times.min_ns,
            median_ns: times.median_ns,
        }))
    }

    fn piece(&self, bytes: u64) -> Result<Option<Piece<'_, Stage>>> {
        let wanted = PoolWanted {
            bytes,
            ..PoolWanted::default()
        };
        let buffer = answer(self.pool.allocate(&wanted))?.ok();
        let pool = self.pool;
        Ok(buffer.map(|buffer| Piece { pool, buffer }))
    }
}

/// A buffer that goes back when dropped.
struct Piece<'a, Stage: Running> {
    pool: &'a Pool<'a, Stage>,
    buffer: PoolBuffer,
}

impl<'a, Stage: Running> Piece<'a, Stage> {
    fn map(&self) -> Result<PoolMapping<'a, Stage>> {
        self.pool.map(self.buffer.handle)
    }
}

impl<Stage: Running> Drop for Piece<'_, Stage> {
    fn drop(&mut self) {
        // If it does not go now, it goes with the file.
        let _ = self.pool.free(self.buffer.handle);
    }
}
