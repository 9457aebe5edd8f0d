// SPDX-License-Identifier: MIT OR Apache-2.0

//! The pool's allocator under random use, in user space: the same source that the kernel module compiles.
//!
//! After every step it is compared with a model that keeps a state for each page and looks at all of them:
//! the answer, the lists of what is lent and what is free, the sums; and its own invariants are checked.

use landfall_device::random::Random;
use landfall_reserve::allocator::{AllocateError, Fit, FreeError, PAGE, Request, Reserve, Slot};
use landfall_reserve::naive::{Naive, Page};
use serde::Serialize;

/// Pages of the region.
const PAGES: u64 = 2048;
/// Where it begins: so that it straddles 4 GiB.
const BASE: u64 = (1 << 32) - PAGES / 2 * PAGE;
/// Pages kept free on each side of a buffer.
const GUARD_PAGES: u32 = 1;
/// Holes in the region, each of a page.
const HOLES: usize = 4;
/// Buffers that can be lent at a time: fewer than there is room for.
const BUFFERS: usize = 192;
/// Who asks for buffers.
const OWNERS: [&str; 6] = ["bttv", "meye", "planb", "saa7134", "stradis", "zoran"];

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The same seed gives the same steps.
    pub seed: u64,
    /// How many.
    pub steps: u64,
    /// Which gap a buffer goes into.
    pub fit: Fit,
    /// Before this step, counted from 0, a buffer is taken back behind the model's back.
    pub fault_at: Option<u64>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// As it was asked for.
    pub seed: u64,
    /// Steps that were done, the one that showed a difference included.
    pub steps: u64,
    /// `first` or `best`.
    pub fit: &'static str,
    /// Physical address of the region.
    pub base: u64,
    /// Bytes of the region.
    pub bytes: u64,
    /// Pages on each side of each buffer.
    pub guard_pages: u32,
    /// Buffers that were lent.
    pub allocations: u64,
    /// Requests that got none.
    pub failed_allocations: u64,
    /// Buffers that were taken back.
    pub frees: u64,
    /// Frees of what was not lent.
    pub refused_frees: u64,
    /// Most buffers that were lent at a time.
    pub peak_buffers: usize,
    /// Most bytes, in whole pages, that were lent at a time.
    pub peak_bytes: u64,
    /// Bytes that are free at the end.
    pub free_bytes: u64,
    /// Bytes of the largest buffer that could be lent at the end.
    pub largest_free: u64,
    /// What is lent at the end, ascending by address.
    pub used: Vec<Used>,
    /// Where allocator and model differ. Nothing is done after that.
    pub difference: Option<Difference>,
}

/// A buffer that is lent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Used {
    /// Physical address.
    pub base: u64,
    /// Bytes asked for.
    pub bytes: u64,
    /// Pages that hold them.
    pub pages: u64,
    /// Who has it.
    pub owner: &'static str,
}

/// A step after which allocator and model are not the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Which, counted from 0.
    pub step: u64,
    /// What was done.
    pub call: String,
    /// What differs, and how.
    pub what: String,
}

/// Does the steps, one after the other, until they are done, show a difference, or `stop` says so.
pub fn run(options: &Options, stop: impl Fn() -> bool) -> Report {
    let mut exerciser = Exerciser::new(options);
    for step in (0..options.steps).take_while(|_| !stop()) {
        if options.fault_at == Some(step) {
            exerciser.fault();
        }
        let call = exerciser.choose();
        let what = exerciser.act(&call).or_else(|| exerciser.compare());
        exerciser.report.steps += 1;
        if let Some(what) = what {
            let call = format!("{call:?}");
            exerciser.report.difference = Some(Difference { step, call, what });
            break;
        }
    }
    exerciser.finish()
}

/// One step.
#[derive(Clone, Copy, Debug)]
enum Call {
    Allocate(Request),
    Free { base: u64, bytes: u64 },
}

struct Exerciser {
    random: Random,
    fit: Fit,
    pool: Reserve<Vec<Slot<&'static str>>>,
    model: Naive<Vec<Page>>,
    /// What is lent, in no order.
    lent: Vec<(u64, u64)>,
    /// What was taken back last.
    last_freed: (u64, u64),
    bytes: u64,
    report: Report,
}

impl Exerciser {
    fn new(options: &Options) -> Self {
        let mut random = Random::new(options.seed);
        let storage = vec![Slot::default(); BUFFERS + HOLES];
        let mut pool = Reserve::new(BASE, PAGES * PAGE, GUARD_PAGES, storage)
            .expect("the constants make a good region");
        let mut model = Naive::new(BASE, GUARD_PAGES, vec![Page::Free; PAGES as usize]);
        let mut holes = 0;
        while holes < HOLES {
            let hole = BASE + random.below(PAGES) * PAGE;
            // The same hole twice is refused by both.
            let made = pool.exclude(hole, PAGE).is_ok();
            assert_eq!(made, model.exclude(hole, PAGE), "an empty region's holes");
            holes += usize::from(made);
        }
        let fit = match options.fit {
            Fit::First => "first",
            Fit::Best => "best",
        };
        Self {
            random,
            fit: options.fit,
            pool,
            model,
            lent: Vec::new(),
            last_freed: (BASE, PAGE),
            bytes: 0,
            report: Report {
                seed: options.seed,
                steps: 0,
                fit,
                base: BASE,
                bytes: PAGES * PAGE,
                guard_pages: GUARD_PAGES,
                allocations: 0,
                failed_allocations: 0,
                frees: 0,
                refused_frees: 0,
                peak_buffers: 0,
                peak_bytes: 0,
                free_bytes: 0,
                largest_free: 0,
                used: Vec::new(),
                difference: None,
            },
        }
    }

    /// Half of the steps ask for a buffer, most others give one back, the rest free what is not lent.
    fn choose(&mut self) -> Call {
        let random = &mut self.random;
        let free = |(base, bytes)| Call::Free { base, bytes };
        if self.lent.is_empty() || random.below(100) < 52 {
            return Call::Allocate(request(random, self.fit));
        }
        let (base, bytes) = self.lent[random.index(self.lent.len())];
        free(match random.below(20) {
            0 => (base, bytes + 1),
            1 => (base + PAGE, bytes),
            2 => (BASE + PAGES * PAGE + base % PAGES, bytes),
            3 => (base + 1, bytes),
            4 => self.last_freed,
            _ => (base, bytes),
        })
    }

    /// Does it to both. Returns how the answers differ.
    fn act(&mut self, call: &Call) -> Option<String> {
        match *call {
            Call::Allocate(request) => self.allocate(request),
            Call::Free { base, bytes } => self.free(base, bytes),
        }
    }

    fn allocate(&mut self, request: Request) -> Option<String> {
        let owner = OWNERS[self.random.index(OWNERS.len())];
        let full = self.pool.count() >= BUFFERS;
        let got = self.pool.allocate(request, owner);
        let base = got.map(|extent| extent.base);
        // The model has no limit.
        let expected = match base {
            Err(AllocateError::TooManyBuffers) if full => base,
            _ => self.model.allocate(&request),
        };
        let report = &mut self.report;
        match got {
            Ok(extent) => {
                self.lent.push((extent.base, extent.bytes));
                self.bytes += extent.allocated();
                report.allocations += 1;
                report.peak_buffers = report.peak_buffers.max(self.lent.len());
                report.peak_bytes = report.peak_bytes.max(self.bytes);
            }
            Err(_) => report.failed_allocations += 1,
        }
        differ("the answer", &base, &expected)
    }

    fn free(&mut self, base: u64, bytes: u64) -> Option<String> {
        let got: Result<_, FreeError> = self.pool.free(base, bytes);
        match got {
            Ok(extent) => {
                self.lent.retain(|lent| *lent != (base, bytes));
                self.last_freed = (base, bytes);
                self.bytes = self.bytes.saturating_sub(extent.allocated());
                self.report.frees += 1;
            }
            Err(_) => self.report.refused_frees += 1,
        }
        differ("the answer", &got.map(drop), &self.model.free(base, bytes))
    }

    /// Returns how what can be seen of both differs.
    fn compare(&self) -> Option<String> {
        let (pool, model) = (&self.pool, &self.model);
        let used: Vec<_> = pool.used().map(|lent| (lent.base, lent.bytes)).collect();
        let gaps: Vec<_> = pool.gaps_from(0).collect();
        differ("used", &used, &model.used().collect())
            .or_else(|| differ("gaps", &gaps, &model.runs(Page::Free).collect()))
            .or_else(|| differ("free bytes", &pool.free_bytes(), &model.free_bytes()))
            .or_else(|| differ("largest", &pool.largest_free(), &model.largest_free()))
            .or_else(|| differ("the invariants", &pool.check(), &true))
    }

    /// Takes back a buffer that the model thinks is lent.
    fn fault(&mut self) {
        if let Some((base, bytes)) = self.lent.first().copied() {
            self.pool.free(base, bytes).expect("it is lent");
        } else {
            let fault = self.pool.allocate(Request::anywhere(PAGE), "fault");
            fault.expect("nothing is lent");
        }
    }

    fn finish(self) -> Report {
        let used = self.pool.used().map(|extent| Used {
            base: extent.base,
            bytes: extent.bytes,
            pages: extent.pages,
            owner: extent.tag,
        });
        Report {
            used: used.collect(),
            free_bytes: self.pool.free_bytes(),
            largest_free: self.pool.largest_free(),
            ..self.report
        }
    }
}

/// Mostly a few pages anywhere; now and then many, aligned, below 4 GiB, within a boundary, or at a place.
fn request(random: &mut Random, fit: Fit) -> Request {
    let most = if random.one_in(12) { 256 } else { 24 };
    let bytes = 1 + random.below(most * PAGE);
    let below_4_gib = random.one_in(4);
    let aligned = random.one_in(4);
    let bounded = random.one_in(8);
    let placed = random.one_in(12);
    Request {
        bytes,
        address_bits: if below_4_gib { 32 } else { 64 },
        alignment: PAGE << if aligned { random.below(6) } else { 0 },
        boundary: if bounded {
            bytes.next_power_of_two().max(PAGE) << random.below(3)
        } else {
            0
        },
        at: placed.then(|| BASE + random.below(PAGES + 1) * PAGE),
        fit,
    }
}

/// How `got` differs from `expected`; of long lists, only their beginning is told.
fn differ<T: PartialEq + std::fmt::Debug>(what: &str, got: &T, expected: &T) -> Option<String> {
    let told = |value: &T| {
        let text = format!("{value:x?}");
        match text.char_indices().nth(120) {
            Some((end, _)) => format!("{}...", &text[..end]),
            None => text,
        }
    };
    (got != expected).then(|| format!("{what}: {}, expected {}", told(got), told(expected)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(seed: u64, fit: Fit) -> Options {
        Options {
            seed,
            steps: 1_500,
            fit,
            fault_at: None,
        }
    }

    /// S1.7: random use shows no difference, and gets everywhere.
    #[test]
    fn the_allocator_agrees_with_the_model() {
        for (seed, fit) in [(1, Fit::First), (2, Fit::Best)] {
            let report = run(&options(seed, fit), || false);

            assert_eq!(report.difference, None);
            assert_eq!(report.steps, 1_500);
            let counts = [
                report.allocations,
                report.failed_allocations,
                report.frees,
                report.refused_frees,
            ];
            assert!(counts.iter().all(|count| *count > 30), "{report:?}");
            assert_eq!(counts.iter().sum::<u64>(), 1_500);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_steps_and_another_others() {
        let report = |seed| run(&options(seed, Fit::First), || false);

        assert_eq!(report(7), report(7));
        assert_ne!(report(7).used, report(8).used);
    }

    #[test]
    fn it_stops_when_it_is_told_to() {
        let steps = std::cell::Cell::new(0);
        let stop = || steps.replace(steps.get() + 1) == 10;

        assert_eq!(run(&options(1, Fit::First), stop).steps, 10);
    }

    /// The negative control: whenever it is planted, a difference is found in the same step.
    #[test]
    fn a_planted_difference_is_found_at_once() {
        for step in [0, 1, 100, 1_499] {
            let faulty = Options {
                fault_at: Some(step),
                ..options(3, Fit::First)
            };
            let report = run(&faulty, || false);

            let found = report.difference.expect("a difference");
            assert_eq!((found.step, report.steps), (step, step + 1), "{found:?}");
        }
    }
}
