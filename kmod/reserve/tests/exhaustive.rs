// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Every sequence of calls on a tiny region, up to a length: each answer is compared with the model's, and
//! the invariants hold after each. Sequences that lead to the same data, link for link, are continued once.

use landfall_reserve::allocator::{AllocateError, ExcludeError, Fit, Request, Reserve, Slot, PAGE};
use landfall_reserve::naive::{Naive, Page};
use std::collections::HashSet;

const BASE: u64 = 1 << 20;

/// What is done to the allocator.
#[derive(Clone, Copy, Debug)]
enum Call {
    Allocate(Request),
    Free(u64, u64),
    Exclude(u64),
}

/// The allocator and the model, side by side.
struct World {
    pool: Reserve<Vec<Slot<()>>>,
    model: Naive<Vec<Page>>,
    entries: usize,
}

impl World {
    fn is_full(&self) -> bool {
        self.pool.count() + self.pool.holes().count() == self.entries
    }

    /// Does `call` to both. Tells whether the answers are the same.
    fn act(&mut self, call: Call) -> bool {
        let full = self.is_full();
        let Self { pool, model, .. } = self;
        match call {
            Call::Allocate(request) if full => {
                pool.allocate(request, ()) == Err(AllocateError::TooManyBuffers)
            }
            Call::Exclude(base) if full => matches!(
                pool.exclude(base, PAGE),
                Err(ExcludeError::TooMany | ExcludeError::Taken)
            ),
            Call::Allocate(request) => {
                pool.allocate(request, ()).map(|extent| extent.base) == model.allocate(&request)
            }
            Call::Free(base, bytes) => pool.free(base, bytes).map(drop) == model.free(base, bytes),
            Call::Exclude(base) => pool.exclude(base, PAGE).is_ok() == model.exclude(base, PAGE),
        }
    }

    /// Whether the invariants hold and both show the same.
    fn agrees(&self) -> bool {
        let Self { pool, model, .. } = self;
        let used = pool.used().map(|extent| (extent.base, extent.bytes));
        pool.check()
            && used.eq(model.used())
            && pool.gaps_from(0).eq(model.runs(Page::Free))
            && pool.free_bytes() == model.free_bytes()
            && pool.largest_free() == model.largest_free()
    }
}

/// A region small enough for all of it to be seen.
struct Scope {
    pages: u64,
    guard: u32,
    entries: usize,
    length: usize,
    calls: Vec<Call>,
}

impl Scope {
    fn start(&self) -> World {
        let storage = vec![Slot::default(); self.entries];
        let pool = Reserve::new(BASE, self.pages * PAGE, self.guard, storage);
        World {
            pool: pool.expect("a good region"),
            model: Naive::new(BASE, self.guard, vec![Page::Free; self.pages as usize]),
            entries: self.entries,
        }
    }

    /// Tries every sequence. Returns how many different states there are, or a sequence that shows a
    /// difference.
    fn explore(&self, act: impl Fn(&mut World, Call) -> bool) -> Result<usize, Vec<Call>> {
        let mut seen = HashSet::new();
        let mut paths: Vec<Vec<Call>> = vec![vec![]];
        for _ in 0..self.length {
            let mut longer = vec![];
            for path in &paths {
                for call in &self.calls {
                    let mut world = self.start();
                    for earlier in path {
                        act(&mut world, *earlier);
                    }
                    let agreed = act(&mut world, *call) && world.agrees();
                    let whole = || path.iter().chain([call]).copied().collect();
                    if !agreed {
                        return Err(whole());
                    }
                    if seen.insert(format!("{:?}", world.pool)) {
                        longer.push(whole());
                    }
                }
            }
            paths = longer;
        }
        Ok(seen.len())
    }
}

fn at(page: u64) -> u64 {
    BASE + page * PAGE
}

/// Buffers of one to three pages, first and best fit, aligned, at a place; every free, right and wrong; a hole.
fn calls(pages: u64) -> Vec<Call> {
    let any = |pages| Request::anywhere(pages * PAGE);
    let fit = Fit::Best;
    let requests = [
        any(1),
        any(2),
        any(3),
        Request { fit, ..any(1) },
        Request { fit, ..any(2) },
        Request {
            alignment: 2 * PAGE,
            ..any(1)
        },
        Request {
            at: Some(at(pages / 2)),
            ..any(1)
        },
    ];
    let frees = (0..pages).flat_map(|page| (1..4).map(move |n| Call::Free(at(page), n * PAGE)));
    let mut calls: Vec<_> = requests.into_iter().map(Call::Allocate).collect();
    calls.extend(frees);
    calls.push(Call::Exclude(at(pages / 2 + 1)));
    calls
}

fn scope(pages: u64, guard: u32, entries: usize, length: usize) -> Scope {
    Scope {
        pages,
        guard,
        entries,
        length,
        calls: calls(pages),
    }
}

#[test]
fn every_sequence_on_a_tiny_region_agrees_with_the_model() {
    let states = scope(7, 0, 7, 5)
        .explore(World::act)
        .expect("no difference");
    assert!(states > 1000, "only {states} states were reached");
}

#[test]
fn every_sequence_with_guard_pages_and_few_entries_agrees_with_the_model() {
    let states = scope(13, 1, 3, 7)
        .explore(World::act)
        .expect("no difference");
    assert!(states > 1000, "only {states} states were reached");
}

/// The negative control: that a model forgets holes is found, and by a shortest sequence.
#[test]
fn a_difference_is_found_by_a_shortest_sequence() {
    let found = scope(5, 0, 5, 8).explore(|world, call| match call {
        Call::Exclude(base) => world.pool.exclude(base, PAGE).is_ok() || world.is_full(),
        other => world.act(other),
    });

    let sequence = found.expect_err("a difference");
    assert!(matches!(sequence[..], [Call::Exclude(_)]), "{sequence:?}");
}
