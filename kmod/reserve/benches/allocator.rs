// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What lending costs: one buffer taken back and one lent, with 10 to 100,000 others lent and as many gaps
//! between them, beside published range allocators in the same process and on the same steps.
//!
//! `cargo bench -p landfall-reserve --bench allocator`; the number behind a name is of buffers. The fits are
//! compared like with like: `vm-allocator` takes the first that fits, `range-alloc` the best.

use std::hint::black_box;
use std::ops::Range;
use std::time::Duration;

use criterion::{criterion_group, criterion_main, BenchmarkId, Criterion};
use landfall_reserve::allocator::{Fit, Request, Reserve, Slot, PAGE};
use range_alloc::RangeAllocator;
use vm_allocator::{AddressAllocator, AllocPolicy, RangeInclusive};

const BUFFERS: [usize; 5] = [10, 100, 1_000, 10_000, 100_000];
/// Pages of the largest buffer; all sizes up to it are as frequent. Few sizes are kind to a list of gaps: a gap of
/// the very size is soon found, and ends the search.
const LARGEST: [u64; 2] = [8, 64];

/// A range allocator of so many pages, with room for `buffers` buffers.
trait Allocator {
    type Lent;
    fn new(buffers: usize, pages: u64) -> Self;
    fn lend(&mut self, pages: u64) -> Self::Lent;
    fn take_back(&mut self, lent: Self::Lent);
    /// Lends the place that starts at `page`, which is the lowest that is free, in the cheapest way.
    fn append(&mut self, _page: u64, pages: u64) -> Self::Lent {
        self.lend(pages)
    }
}

struct Core<const BEST: bool>(Reserve<Vec<Slot<u32>>>);

impl<const BEST: bool> Allocator for Core<BEST> {
    type Lent = (u64, u64);

    fn new(buffers: usize, pages: u64) -> Self {
        let storage = vec![Slot::default(); buffers];
        Core(Reserve::new(0, pages * PAGE, 0, storage).expect("a good region"))
    }

    fn lend(&mut self, pages: u64) -> Self::Lent {
        let request = Request {
            fit: if BEST { Fit::Best } else { Fit::First },
            ..Request::anywhere(pages * PAGE)
        };
        let lent = self.0.allocate(request, 0).expect("room");
        (lent.base, lent.bytes)
    }

    fn take_back(&mut self, (base, bytes): Self::Lent) {
        self.0.free(base, bytes).expect("lent");
    }
}

struct VmAllocator(AddressAllocator);

impl Allocator for VmAllocator {
    type Lent = RangeInclusive;

    fn new(_buffers: usize, pages: u64) -> Self {
        VmAllocator(AddressAllocator::new(0, pages * PAGE).expect("a good region"))
    }

    fn lend(&mut self, pages: u64) -> Self::Lent {
        let lent = self.0.allocate(pages * PAGE, PAGE, AllocPolicy::FirstMatch);
        lent.expect("room")
    }

    fn take_back(&mut self, lent: Self::Lent) {
        self.0.free(&lent).expect("lent");
    }

    fn append(&mut self, page: u64, pages: u64) -> Self::Lent {
        let place = AllocPolicy::ExactMatch(page * PAGE);
        let lent = self.0.allocate(pages * PAGE, PAGE, place);
        lent.expect("room")
    }
}

struct RangeAlloc(RangeAllocator<u64>);

impl Allocator for RangeAlloc {
    type Lent = Range<u64>;

    fn new(_buffers: usize, pages: u64) -> Self {
        RangeAlloc(RangeAllocator::new(0..pages * PAGE))
    }

    fn lend(&mut self, pages: u64) -> Self::Lent {
        self.0.allocate_range(pages * PAGE).expect("room")
    }

    fn take_back(&mut self, lent: Self::Lent) {
        self.0.free_range(lent);
    }
}

/// Numbers that are the same for every allocator.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        (self.0 >> 33) as usize % bound
    }

    fn pages(&mut self, largest: u64) -> u64 {
        self.below(largest as usize) as u64 + 1
    }
}

/// An allocator of which every second buffer was taken back, and what is still lent.
fn fragmented<A: Allocator>(
    buffers: usize,
    largest: u64,
    random: &mut Random,
) -> (A, Vec<A::Lent>) {
    let mut allocator = A::new(4 * buffers, 4 * buffers as u64 * largest);
    let mut page = 0;
    let mut all = Vec::with_capacity(2 * buffers);
    for _ in 0..2 * buffers {
        let pages = random.pages(largest);
        all.push(allocator.append(page, pages));
        page += pages;
    }
    let mut kept = Vec::with_capacity(buffers);
    // From the end, which is cheapest for a sorted list of gaps.
    for (n, lent) in all.into_iter().enumerate().rev() {
        if n % 2 == 0 {
            kept.push(lent);
        } else {
            allocator.take_back(lent);
        }
    }
    (allocator, kept)
}

fn measure<A: Allocator>(criterion: &mut Criterion, largest: u64, name: &str) {
    let mut group = criterion.benchmark_group(format!("lend-1-to-{largest}-pages"));
    group
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    for buffers in BUFFERS {
        let mut random = Random(1);
        let (mut allocator, mut lent) = fragmented::<A>(buffers, largest, &mut random);
        group.bench_function(BenchmarkId::new(name, buffers), |bench| {
            bench.iter(|| {
                let old = lent.swap_remove(random.below(lent.len()));
                allocator.take_back(old);
                lent.push(black_box(allocator.lend(random.pages(largest))));
            });
        });
    }
    group.finish();
}

fn all(criterion: &mut Criterion) {
    for largest in LARGEST {
        measure::<Core<false>>(criterion, largest, "first-fit/landfall");
        measure::<VmAllocator>(criterion, largest, "first-fit/vm-allocator");
        measure::<Core<true>>(criterion, largest, "best-fit/landfall");
        measure::<RangeAlloc>(criterion, largest, "best-fit/range-alloc");
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
