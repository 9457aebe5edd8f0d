// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Every interleaving of a few contexts on the shell around the lock, as loom finds them.
//!
//! A buffer's bytes are a cell that loom watches: two contexts that have it at once, or one after the other
//! without the lock in between, are a failure, whatever they wrote.

use landfall_reserve::allocator::{FreeError, Request, Reserve, Slot, PAGE};
use landfall_reserve::regions::{Listed, Loan, Regions, RemoveError};
use landfall_reserve::shared::{Lock, Shared};
use loom::cell::UnsafeCell;
use loom::sync::{Arc, Mutex};
use loom::thread;
use std::sync::atomic::{AtomicUsize, Ordering};

const BASE: u64 = 1 << 32;

/// What has no owner holds this.
const CANARY: u32 = u32::MAX;

type Storage = Vec<Slot<Loan<u32>>>;
type Table = Regions<Storage, ()>;

/// loom's mutex; the kernel's is a spinlock.
struct Locked(Mutex<Table>);

impl Lock<Table> for Locked {
    fn with<R>(&self, work: impl FnOnce(&mut Table) -> R) -> R {
        work(&mut self.0.lock().expect("no holder panics"))
    }
}

/// A pool of a few pages and the memory behind it, a cell for each page.
struct World {
    pool: Shared<Locked>,
    memory: Vec<UnsafeCell<u32>>,
}

impl World {
    fn new(pages: u64) -> Arc<Self> {
        let storage = vec![Slot::default(); 4];
        let reserve = Reserve::new(BASE, pages * PAGE, 0, storage).expect("a good region");
        let pool = Shared::new(Locked(Mutex::new(Regions::new())));
        pool.add(reserve, ()).expect("there is a place");
        let memory = (0..pages).map(|_| UnsafeCell::new(CANARY)).collect();
        Arc::new(World { pool, memory })
    }

    fn cell(&self, base: u64) -> &UnsafeCell<u32> {
        &self.memory[((base - BASE) / PAGE) as usize]
    }

    /// Exchanges what the page at `base` holds.
    fn put(&self, base: u64, value: u32) -> u32 {
        self.cell(base).with_mut(|cell| {
            // SAFETY: the protocol under test says that nobody else has the page now; loom checks it.
            unsafe { std::ptr::replace(cell, value) }
        })
    }

    fn allocate(&self, owner: u32) -> Option<u64> {
        let lent = self.pool.allocate(Request::anywhere(PAGE), owner, |()| ());
        lent.ok().map(|lent| lent.extent.base)
    }

    /// What a driver does: takes a page, has it to itself, gives it back.
    fn use_a_page(&self, owner: u32, free: fn(&World, u64)) {
        if let Some(base) = self.allocate(owner) {
            assert_eq!(self.put(base, owner), CANARY, "what is lent was scrubbed");
            assert_eq!(self.put(base, owner), owner, "nobody else wrote");
            free(self, base);
        }
    }

    fn check(&self) {
        self.pool.lock().with(|regions| assert!(regions.check()));
    }
}

/// As it is to be done.
fn free(world: &World, base: u64) {
    let scrub = |_: &_| {
        world.put(base, CANARY);
    };
    let freed = world.pool.free(base, PAGE, |()| (), scrub);
    assert_eq!(freed, Ok(()));
}

/// As it is not to be done: the place is free before it is scrubbed.
fn free_then_scrub(world: &World, base: u64) {
    let freed = world.pool.free(base, PAGE, |()| (), |_| ());
    assert_eq!(freed, Ok(()));
    world.put(base, CANARY);
}

/// As it is not to be done: scrubbed while it is still lent, so that of two that free it both scrub.
fn scrub_then_free(world: &World, base: u64) {
    world.put(base, CANARY);
    let _ = world.pool.free(base, PAGE, |()| (), |_| ());
}

/// Runs `test` on every interleaving, of which there are at least `count`.
fn model(count: usize, test: impl Fn() + Send + Sync + 'static) {
    let ran = std::sync::Arc::new(AtomicUsize::new(0));
    let counter = std::sync::Arc::clone(&ran);
    loom::model(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        test();
    });
    let ran = ran.load(Ordering::Relaxed);
    assert!(ran >= count, "only {ran} interleavings");
}

/// Contexts that each take a page some times, out of so many pages.
fn drivers(contexts: u32, times: u32, pages: u64, count: usize, free: fn(&World, u64)) {
    model(count, move || {
        let world = World::new(pages);
        let driver = move |world: &World, owner: u32| {
            for _ in 0..times {
                world.use_a_page(owner, free);
            }
        };
        let others: Vec<_> = (1..contexts)
            .map(|owner| (owner, Arc::clone(&world)))
            .map(|(owner, world)| thread::spawn(move || driver(&world, owner)))
            .collect();
        driver(&world, 0);
        for other in others {
            other.join().expect("it ends");
        }
        world.check();
        assert_eq!(world.pool.counters().lent_bytes, 0);
    });
}

fn two_that_free_the_same(free: fn(&World, u64)) {
    model(5, move || {
        let world = World::new(1);
        let base = world.allocate(1).expect("room");
        let other = Arc::clone(&world);
        let second = thread::spawn(move || free(&other, base));
        free(&world, base);
        second.join().expect("it ends");
        world.check();
    });
}

/// Whether loom finds a fault in it. What loom prints is of interest only if it does not.
fn is_caught(test: impl FnOnce() + std::panic::UnwindSafe) -> bool {
    std::panic::catch_unwind(test).is_err()
}

/// S1.3, S1.10: safe against simultaneous callers.
#[test]
fn a_page_has_one_user_at_a_time_and_is_scrubbed_in_between() {
    drivers(2, 2, 1, 100, free);
}

#[test]
fn users_of_two_pages_do_not_meet() {
    drivers(2, 2, 2, 1000, free);
    drivers(3, 1, 2, 10_000, free);
}

/// S1.4: of two that free the same buffer, one is refused and does not touch it.
#[test]
fn of_two_that_free_the_same_one_is_refused() {
    two_that_free_the_same(|world, base| {
        let mut scrubbed = false;
        let scrub = |_: &_| {
            world.put(base, CANARY);
            scrubbed = true;
        };
        let freed = world.pool.free(base, PAGE, |()| (), scrub);
        match freed {
            Ok(()) => assert!(scrubbed),
            Err(why) => assert_eq!((why, scrubbed), (FreeError::NotABuffer, false)),
        }
    });
}

/// A region is removed when it is empty or not at all: never from under a buffer or a scrub.
#[test]
fn a_region_is_not_removed_from_under_a_user() {
    model(5, || {
        let world = World::new(1);
        let other = Arc::clone(&world);
        let driver = thread::spawn(move || other.use_a_page(1, free));
        match world.pool.remove(0) {
            Ok((_reserve, ())) => assert_eq!(world.put(BASE, 0), CANARY, "all is back"),
            Err(why) => assert_eq!(why, RemoveError::Busy { buffers: 1 }),
        }
        driver.join().expect("it ends");
        world.check();
    });
}

/// What is lent all the while is listed once, whatever comes and goes between two batches.
#[test]
fn a_list_in_batches_has_what_stays() {
    model(5, || {
        let world = World::new(3);
        let bases = [1, 2].map(|owner| world.allocate(owner).expect("room"));
        let other = Arc::clone(&world);
        let driver = thread::spawn(move || {
            free(&other, bases[0]);
            other.use_a_page(3, free);
        });
        let mut batch = [Listed::default(); 1];
        let (mut from, mut seen) = (0, vec![]);
        while world.pool.copy_used(from, &mut batch) > 0 {
            from = batch[0].extent.base + 1;
            seen.push(batch[0].extent.base);
        }
        driver.join().expect("it ends");
        assert!(seen.is_sorted(), "{seen:x?}");
        assert_eq!(seen.iter().filter(|base| **base == bases[1]).count(), 1);
    });
}

/// The negative controls: protocols that are wrong are caught.
#[test]
fn a_scrub_after_the_place_is_free_is_caught() {
    assert!(is_caught(|| drivers(2, 1, 1, 1, free_then_scrub)));
}

#[test]
fn a_scrub_before_the_buffer_is_taken_is_caught() {
    assert!(is_caught(|| two_that_free_the_same(scrub_then_free)));
}
