// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `landfall_fragment`: memory fragmented to order. While it is loaded, the page allocator has no free block of
//! more than `2^order` pages.
//!
//! Every larger block that is free is taken, one unmovable page of each `2^(order + 1)` is kept, and the rest is
//! freed: a kept page's neighbours can merge up to `2^order` pages and no further. So one page of each
//! `2^(order + 1)` is gone, half of all memory with `order=0`. Nothing is reclaimed or killed for it.
//!
//! What it cannot do:
//! - Memory that others use now and free later merges again; a write to `again` riddles that too. From `order=3` on a page
//!   is kept of each `2^(order + 1)` that others use in part, too, if one is free or what is in it can be moved: only what the
//!   kernel has as a whole, and gives back as a whole, merges there.
//! - Below that, pages in use that can be moved, such as those of files, are not riddled: compaction and
//!   `alloc_contig_pages` may still make a larger block of them.
//! - Free blocks in CMA areas are for movable pages only. They stay; `left` counts them.
//!
//! A guest must be able to say what became of it. A kernel stack, or a message of more than a page, is in one piece, and
//! whoever asks for such a piece waits until it can be had, or until somebody was killed for it, and in a guest there is
//! nobody to kill: it would panic. So the kernel asks here first, and gets a part of what was taken.
//!
//! In debugfs, `landfall_fragment/state` is one line of `key=value`: `order`, `kept_pages` (what is gone), `passes`
//! (how often all zones were gone through), `left` (larger blocks that are free) and `relieved_pages` (what went back
//! because the kernel asked). Unloading gives all of it back.

mod shim;

use kernel::{debugfs, fmt, prelude::*, uaccess::UserSliceReader};
use shim::{Heed, Kept, MAX_ORDER, ZONES};

module! {
    type: FragmentModule,
    name: "landfall_fragment",
    authors: ["The Landfall contributors"],
    description: "Leaves the page allocator without a free block above an order",
    license: "Dual MIT/GPL",
    params: {
        order: i64 {
            default: -1,
            description: "Blocks of up to 2^order pages stay, 0 to 9; has to be given",
        },
    },
}

/// Most passes in one go: each takes what became free meanwhile, and a busy guest always frees something.
const MAX_PASSES: u32 = 16;
/// The least order from which on a page is kept of blocks that others use in part, too. Of smaller ones there are so many that
/// it would take what is left of memory.
const WITHIN: u32 = 3;
/// Pages that go back when the kernel asks: many times what it asks for, which is at most eight in one piece.
const RELIEF: u64 = 512;

kernel::sync::global_lock! {
    // SAFETY: initialised in the module's `init`, before a file in debugfs can be read.
    unsafe(uninit) static FRAGMENTS: Mutex<Option<Fragments>> = None;
}

/// What the module holds. Only reached with [`FRAGMENTS`] locked.
struct Fragments {
    order: u32,
    kept: Kept,
    passes: u32,
    relieved: u64,
}

impl Fragments {
    fn new(order: i64) -> Result<Self> {
        match u32::try_from(order) {
            Ok(order) if order < MAX_ORDER => Ok(Fragments {
                order,
                kept: Kept::new(),
                passes: 0,
                relieved: 0,
            }),
            _ => {
                pr_err!(
                    "order={} is not 0 to {}: pass the order of the largest blocks that shall stay, such as order=3\n",
                    order,
                    MAX_ORDER - 1
                );
                Err(EINVAL)
            }
        }
    }

    /// Goes through all zones until nothing larger is left, or nothing of what is left can be had. May sleep.
    fn work(&mut self) -> Result {
        let spacing = self.order + 1;
        // More there cannot be, and so no more is taken, whatever is freed meanwhile.
        let mut budget = (shim::ram_pages() >> spacing) + 1;
        let mut left = u64::MAX;
        for _ in 0..MAX_PASSES {
            let before = (budget, left);
            self.passes += 1;
            for zone in 0..ZONES {
                for order in (spacing..=MAX_ORDER).rev() {
                    while budget > 0 && self.kept.riddle(zone, order, spacing).is_some() {
                        budget -= 1;
                        shim::pause()?;
                    }
                }
            }
            shim::flush();
            left = shim::left(self.order);
            if left == 0 || (budget, left) == before {
                break;
            }
        }
        if self.order >= WITHIN {
            self.keep_within(spacing)?;
            left = shim::left(self.order);
        }
        if left > 0 {
            pr_warn!(
                "{} free blocks of more than 2^{} pages are left: in CMA areas, or freed just now\n",
                left,
                self.order
            );
        }
        Ok(())
    }

    /// Keeps a page of each block of `2^spacing` pages that has none yet, where one can be had. May sleep.
    fn keep_within(&mut self, spacing: u32) -> Result {
        for (index, word) in (0..).zip(self.kept.blocks(spacing)?) {
            for bit in (0..64).filter(|bit| word >> bit & 1 == 0) {
                if self.kept.keep_within(index * 64 + bit, spacing).is_some() {
                    shim::pause()?;
                }
            }
        }
        Ok(())
    }
}

impl fmt::Display for Fragments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_fmt(fmt!(
            "order={} kept_pages={} passes={} left={} relieved_pages={}",
            self.order,
            self.kept.count(),
            self.passes,
            shim::left(self.order),
            self.relieved,
        ))
    }
}

/// What the kernel gets back before it kills for memory. It waits while zones are gone through: nothing that is done
/// under the lock waits for memory.
#[no_mangle]
extern "C" fn landfall_fragment_relieve() -> c_ulong {
    match &mut *FRAGMENTS.lock() {
        Some(fragments) => {
            let released = fragments.kept.release(RELIEF);
            fragments.relieved += released;
            released as c_ulong
        }
        None => 0,
    }
}

/// `state`: one line.
fn state(_: &(), f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match &*FRAGMENTS.lock() {
        Some(fragments) => f.write_fmt(fmt!("{}\n", fragments)),
        None => Ok(()),
    }
}

/// `again`: whatever is written, all zones are gone through once more.
fn again(_: &(), _: &mut UserSliceReader) -> Result {
    match &mut *FRAGMENTS.lock() {
        Some(fragments) => fragments.work(),
        None => Err(ENODEV),
    }
}

#[pin_data(PinnedDrop)]
struct FragmentModule {
    #[pin]
    state: debugfs::File<()>,
    #[pin]
    again: debugfs::File<()>,
    directory: debugfs::Dir,
    heed: Heed,
}

impl kernel::InPlaceModule for FragmentModule {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        // SAFETY: called exactly once, as modules are initialised once.
        unsafe { FRAGMENTS.init() };
        let directory = debugfs::Dir::new(c"landfall_fragment");
        try_pin_init!(Self {
            state <- directory.read_callback_file(c"state", (), &state),
            again <- directory.write_callback_file(c"again", (), &again),
            directory,
            heed: Heed::new()?,
            // Last, since a static is not dropped if something after it fails.
            _: {
                let mut fragments = Fragments::new(module_parameters::order.value())?;
                // Whoever asks for memory meanwhile waits, and then gets some.
                let mut shared = FRAGMENTS.lock();
                fragments.work()?;
                pr_info!("{}\n", fragments);
                *shared = Some(fragments);
            },
        })
    }
}

#[pinned_drop]
impl PinnedDrop for FragmentModule {
    fn drop(self: Pin<&mut Self>) {
        let fragments = FRAGMENTS.lock().take();
        drop(fragments);
    }
}
