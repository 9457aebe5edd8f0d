// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Safe names for `shim.c`, and the pages that are kept.

use core::ptr::{self, NonNull};
use kernel::{bindings, error::to_result, prelude::*};

extern "C" {
    fn landfall_fragment_shim_take(zone: c_uint, order: c_uint) -> *mut c_void;
    fn landfall_fragment_shim_page(first: *mut c_void, index: c_uint) -> *mut c_void;
    fn landfall_fragment_shim_next(page: *mut c_void) -> *mut c_void;
    fn landfall_fragment_shim_link(page: *mut c_void, next: *mut c_void);
    fn landfall_fragment_shim_release(page: *mut c_void);
    fn landfall_fragment_shim_block(page: *mut c_void, spacing: c_uint) -> u64;
    fn landfall_fragment_shim_blocks(spacing: c_uint) -> u64;
    fn landfall_fragment_shim_take_within(block: u64, spacing: c_uint) -> *mut c_void;
    fn landfall_fragment_shim_flush(zone: c_uint);
    fn landfall_fragment_shim_left(order: c_uint) -> u64;
    fn landfall_fragment_shim_ram_pages() -> u64;
    fn landfall_fragment_shim_pause() -> bool;
    fn landfall_fragment_shim_heed() -> c_int;
    fn landfall_fragment_shim_unheed();
}

/// Zones by number, lowest first: DMA, DMA32, and the rest.
pub(crate) const ZONES: u32 = 3;
/// The order of the largest block there is.
pub(crate) const MAX_ORDER: u32 = bindings::MAX_PAGE_ORDER;

/// Pages that nobody else gets, chained through their own descriptors: keeping one takes no memory.
pub(crate) struct Kept {
    first: *mut c_void,
    count: u64,
}

// SAFETY: pages belong to no thread, and the chain is reached through this alone.
unsafe impl Send for Kept {}

impl Kept {
    /// None yet.
    pub(crate) const fn new() -> Self {
        Kept {
            first: ptr::null_mut(),
            count: 0,
        }
    }

    /// How many.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Takes a free block of `2^order` pages, keeps the first page of every `2^spacing` and frees the others.
    /// `None` if the zone, and those below it, have no such block. Does not sleep.
    pub(crate) fn riddle(&mut self, zone: u32, order: u32, spacing: u32) -> Option<()> {
        // SAFETY: any zone and order may be asked for; it only takes what is free.
        let block = NonNull::new(unsafe { landfall_fragment_shim_take(zone, order) })?;
        for index in 0..1u32 << order {
            // SAFETY: the block has so many pages, each of its own since it was split, and all are ours. One
            // that is released is not touched again, and one that is linked stays ours.
            unsafe {
                let page = landfall_fragment_shim_page(block.as_ptr(), index);
                if index % (1 << spacing) == 0 {
                    self.keep(page);
                } else {
                    landfall_fragment_shim_release(page);
                }
            }
        }
        Some(())
    }

    /// Keeps a page of a block of `2^spacing` pages, of which others use some now: one that is free, or that what is in
    /// it can be moved away from. `None` if it has no such page. May sleep.
    pub(crate) fn keep_within(&mut self, block: u64, spacing: u32) -> Option<()> {
        // SAFETY: any block may be asked for, and this is process context.
        let page = unsafe { landfall_fragment_shim_take_within(block, spacing) };
        let page = NonNull::new(page)?;
        // SAFETY: it is ours, and in no chain.
        unsafe { self.keep(page.as_ptr()) };
        Some(())
    }

    /// # Safety
    ///
    /// The page is ours, and in no chain.
    unsafe fn keep(&mut self, page: *mut c_void) {
        // SAFETY: as demanded.
        unsafe { landfall_fragment_shim_link(page, self.first) };
        self.first = page;
        self.count += 1;
    }

    /// Of all blocks of `2^spacing` pages, bit by bit, whether a page of it is kept. Does not wait for memory.
    pub(crate) fn blocks(&self, spacing: u32) -> Result<KVec<u64>> {
        // SAFETY: it reads what does not change.
        let blocks = unsafe { landfall_fragment_shim_blocks(spacing) };
        let mut bits = KVec::from_elem(0u64, (blocks as usize).div_ceil(64), GFP_NOWAIT)?;
        let mut page = self.first;
        while !page.is_null() {
            // SAFETY: a page in the chain is ours, with the next one in it.
            let (block, next) = unsafe {
                (
                    landfall_fragment_shim_block(page, spacing),
                    landfall_fragment_shim_next(page),
                )
            };
            if let Some(word) = bits.get_mut((block / 64) as usize) {
                *word |= 1 << (block % 64);
            }
            page = next;
        }
        Ok(bits)
    }

    /// Gives back up to `most` pages, those that were taken last, which lie beside each other; tells how many. May
    /// sleep.
    pub(crate) fn release(&mut self, most: u64) -> u64 {
        let mut released = 0;
        while released < most && !self.first.is_null() {
            let page = self.first;
            // SAFETY: a page in the chain is ours, with the next one in it, until it is released.
            unsafe {
                self.first = landfall_fragment_shim_next(page);
                landfall_fragment_shim_release(page);
            }
            self.count -= 1;
            released += 1;
            if released % 1024 == 0 {
                // Whoever unloads the module cannot stop this half-way.
                let _ = pause();
            }
        }
        // A page that a CPU keeps at hand would go on parting its neighbours.
        flush();
        released
    }
}

impl Drop for Kept {
    /// Gives every page back. May sleep.
    fn drop(&mut self) {
        self.release(u64::MAX);
    }
}

/// For as long as this lives, the kernel asks `landfall_fragment_relieve` for memory before it kills anybody.
pub(crate) struct Heed(());

impl Heed {
    /// From here on.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: one at a time: the module has one, and it is undone in `drop`.
        to_result(unsafe { landfall_fragment_shim_heed() })?;
        Ok(Heed(()))
    }
}

impl Drop for Heed {
    fn drop(&mut self) {
        // SAFETY: it was done in `new`; waits until a call in hand has ended.
        unsafe { landfall_fragment_shim_unheed() };
    }
}

/// Makes the CPUs give back what they keep at hand, so that it merges. May sleep.
pub(crate) fn flush() {
    for zone in 0..ZONES {
        // SAFETY: process context; a page is taken and given back.
        unsafe { landfall_fragment_shim_flush(zone) };
    }
}

/// Free blocks of more than `2^order` pages, those in CMA areas included.
pub(crate) fn left(order: u32) -> u64 {
    // SAFETY: it reads counters.
    unsafe { landfall_fragment_shim_left(order) }
}

/// Pages of RAM that the kernel manages.
pub(crate) fn ram_pages() -> u64 {
    // SAFETY: it reads a counter.
    unsafe { landfall_fragment_shim_ram_pages() }
}

/// Lets others run; `EINTR` if the process that asked is being killed. Sleeps.
pub(crate) fn pause() -> Result {
    // SAFETY: called in process context with no spinlock held.
    match unsafe { landfall_fragment_shim_pause() } {
        true => Err(EINTR),
        false => Ok(()),
    }
}
