// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! [`Regions`] behind a lock: what may be called from several contexts at once.
//!
//! Under the lock nothing sleeps, allocates, scrubs or calls back. Each call holds the lock once; `free`
//! holds it twice, and in between the caller's closure has the buffer's bytes to itself, guard pages included:
//! they are nobody's before it is done. Listings are copied in batches, each of one moment.

use super::allocator::{AllocateError, FreeError, Request, Reserve, Slot};
use super::regions::{
    Counters, Lent, Listed, Loan, Range, Refused, RegionInfo, Regions, RemoveError, MAX_REGIONS,
};
use core::ops::DerefMut;

/// A lock around a `T`. Whoever calls [`Shared`] from interrupts needs one that can be taken there.
pub trait Lock<T> {
    /// Does `work` with nobody else inside. `work` does not come back to this lock.
    fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R;
}

/// Regions that several contexts use at once, through the lock `L`. `T` is an owner, `B` a region's storage,
/// `M` what belongs to a region, `V` the part of it that a caller wants, taken out by `view` under the lock.
#[derive(Debug, Default)]
pub struct Shared<L> {
    lock: L,
}

impl<L> Shared<L> {
    /// Uses `lock`.
    pub const fn new(lock: L) -> Self {
        Shared { lock }
    }

    /// The lock, for what no call here does.
    pub const fn lock(&self) -> &L {
        &self.lock
    }

    /// Adds a region, as [`Regions::add`] does.
    #[expect(
        clippy::result_large_err,
        reason = "a refused region goes back by value, since nothing is dropped under the lock"
    )]
    pub fn add<T, B, M>(&self, reserve: Reserve<B>, meta: M) -> Result<u32, Refused<B, M>>
    where
        L: Lock<Regions<B, M>>,
        T: Copy + Default + 'static,
        B: DerefMut<Target = [Slot<Loan<T>>]>,
    {
        self.lock.with(|regions| regions.add(reserve, meta))
    }

    /// Removes a region of which nothing is lent or returning. What it consisted of is the caller's.
    pub fn remove<T, B, M>(&self, id: u32) -> Result<(Reserve<B>, M), RemoveError>
    where
        L: Lock<Regions<B, M>>,
        T: Copy + Default + 'static,
        B: DerefMut<Target = [Slot<Loan<T>>]>,
    {
        self.lock.with(|regions| regions.remove(id))
    }

    /// Lends a buffer, as [`Regions::allocate`] does.
    pub fn allocate<T, B, M, V>(
        &self,
        request: Request,
        owner: T,
        view: impl FnOnce(&M) -> V,
    ) -> Result<Lent<T, V>, AllocateError>
    where
        L: Lock<Regions<B, M>>,
        T: Copy + Default + 'static,
        B: DerefMut<Target = [Slot<Loan<T>>]>,
    {
        self.lock
            .with(|regions| regions.allocate(request, owner, view))
    }

    /// Takes back the buffer of `bytes` (as asked for) at `base`. Between the moment from which it is not
    /// lent and that from which its place is free, `scrub` has its pages and guard pages to itself; it may
    /// take long, and sleep where the caller may.
    ///
    /// Of two that free the same buffer at once, the second is refused, whether `scrub` is done or not.
    pub fn free<T, B, M, V>(
        &self,
        base: u64,
        bytes: u64,
        view: impl FnOnce(&M) -> V,
        scrub: impl FnOnce(&Lent<T, V>),
    ) -> Result<(), FreeError>
    where
        L: Lock<Regions<B, M>>,
        T: Copy + Default + 'static,
        B: DerefMut<Target = [Slot<Loan<T>>]>,
    {
        let returning = self
            .lock
            .with(|regions| regions.begin_free(base, bytes, view))?;
        scrub(returning.lent());
        self.lock.with(|regions| regions.finish_free(returning))
    }

    /// The buffer in whose pages `address` lies.
    pub fn find<T, B, M, V>(&self, address: u64, view: impl FnOnce(&M) -> V) -> Option<Lent<T, V>>
    where
        L: Lock<Regions<B, M>>,
        T: Copy + Default + 'static,
        B: DerefMut<Target = [Slot<Loan<T>>]>,
    {
        self.lock.with(|regions| regions.find(address, view))
    }

    /// What the caller wants to know of the region `id`.
    pub fn view<T, B, M, V>(&self, id: u32, view: impl FnOnce(&M) -> V) -> Option<V>
    where
        L: Lock<Regions<B, M>>,
        T: Copy + Default + 'static,
        B: DerefMut<Target = [Slot<Loan<T>>]>,
    {
        self.lock.with(|regions| regions.view(id, view))
    }

    /// What happened so far.
    pub fn counters<T, B, M>(&self) -> Counters
    where
        L: Lock<Regions<B, M>>,
        T: Copy + Default + 'static,
        B: DerefMut<Target = [Slot<Loan<T>>]>,
    {
        self.lock.with(|regions| regions.counters())
    }

    /// The regions in the order of adding: how many, and so many entries of `into`.
    pub fn copy_regions<T, B, M>(&self, into: &mut [RegionInfo; MAX_REGIONS]) -> usize
    where
        L: Lock<Regions<B, M>>,
        T: Copy + Default + 'static,
        B: DerefMut<Target = [Slot<Loan<T>>]>,
    {
        self.lock.with(|regions| {
            let entries = into.iter_mut().zip(regions.regions());
            entries.map(|(entry, info)| *entry = info).count()
        })
    }

    /// Lists buffers, as [`Regions::copy_used`] does. What is lent all the while is listed once, whatever
    /// comes and goes between two batches.
    pub fn copy_used<T, B, M>(&self, from: u64, into: &mut [Listed<T>]) -> usize
    where
        L: Lock<Regions<B, M>>,
        T: Copy + Default + 'static,
        B: DerefMut<Target = [Slot<Loan<T>>]>,
    {
        self.lock.with(|regions| regions.copy_used(from, into))
    }

    /// Lists free ranges, as [`Regions::copy_gaps`] does.
    pub fn copy_gaps<T, B, M>(&self, from: u64, into: &mut [Range]) -> usize
    where
        L: Lock<Regions<B, M>>,
        T: Copy + Default + 'static,
        B: DerefMut<Target = [Slot<Loan<T>>]>,
    {
        self.lock.with(|regions| regions.copy_gaps(from, into))
    }

    /// Lists holes, as [`Regions::copy_holes`] does.
    pub fn copy_holes<T, B, M>(&self, from: u64, into: &mut [Range]) -> usize
    where
        L: Lock<Regions<B, M>>,
        T: Copy + Default + 'static,
        B: DerefMut<Target = [Slot<Loan<T>>]>,
    {
        self.lock.with(|regions| regions.copy_holes(from, into))
    }
}
