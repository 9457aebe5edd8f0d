// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `landfall_pool`: a reserved region of physically contiguous memory, lent to drivers in buffers.
//!
//! The decisions are made in the allocator core, which the host's tests run too. Here are the parameters,
//! the lock, the canary, the listings in debugfs, and the two calls that other modules make
//! (`include/landfall_pool.h`).

mod abi;
#[path = "../reserve/src/allocator.rs"]
pub mod allocator;
#[path = "../reserve/src/canary.rs"]
pub mod canary;
mod listing;
mod shim;
mod source;

use allocator::{AllocateError, Extent, FreeError, Request, Reserve};
use kernel::{debugfs, prelude::*};
use source::{Region, Wanted};

module! {
    type: PoolModule,
    name: "landfall_pool",
    authors: ["The Landfall contributors"],
    description: "Lends physically contiguous buffers out of one reserved region",
    license: "Dual MIT/GPL",
    params: {
        pages: i64 {
            default: -1,
            description: "Pages of 4096 bytes in the region; default: all of reserve_mem=, 4096 for contig, 1024 for buddy",
        },
        guard_pages: u32 {
            default: 1,
            description: "Pages kept free on each side of every buffer, 0 to 1024 (default 1)",
        },
        address_bits: u32 {
            default: 64,
            description: "The region must lie below 2^address_bits, 12 to 64: 24 for ISA-like cards, 32 (default 64)",
        },
    },
}

/// Buffers that can be lent at a time.
const MAX_BUFFERS: usize = 1024;
/// Most guard pages on a side.
const MAX_GUARD: u32 = 1024;

/// Who has a buffer: a terminated, zero-padded string.
pub(crate) type Owner = [u8; 32];

kernel::sync::global_lock! {
    // SAFETY: initialised in the module's `init`, before the calls below can be reached.
    unsafe(uninit) static POOL: Mutex<Option<Pool>> = None;
}

/// The region and what is lent of it. Only reached with [`POOL`] locked.
pub(crate) struct Pool {
    region: Region,
    reserve: Reserve<VVec<Extent<Owner>>>,
}

impl Pool {
    fn new() -> Result<Self> {
        let guard_pages = module_parameters::guard_pages.value();
        if guard_pages > MAX_GUARD {
            pr_err!("guard_pages={} is more than {}\n", guard_pages, MAX_GUARD);
            return Err(EINVAL);
        }
        let pages = module_parameters::pages.value();
        let wanted = Wanted {
            pages: if pages == -1 {
                None
            } else {
                Some(u64::try_from(pages).unwrap_or(0))
            },
            address_bits: module_parameters::address_bits.value(),
        };
        let region = Region::get(&wanted)?;
        let storage = VVec::from_elem(Extent::default(), MAX_BUFFERS, GFP_KERNEL)?;
        let reserve =
            Reserve::new(region.base, region.bytes, guard_pages, storage).map_err(|why| {
                pr_err!(
                    "{:#x}, {} bytes: {}\n",
                    region.base,
                    region.bytes,
                    why.text()
                );
                EINVAL
            })?;
        let mut pool = Pool { region, reserve };
        pool.fill(pool.region.base, pool.region.bytes);
        Ok(pool)
    }

    /// The 8-byte words of `bytes` at physical address `phys`, if they lie inside the region.
    fn words(&mut self, phys: u64, bytes: u64) -> Option<&mut [u64]> {
        let offset = phys.checked_sub(self.region.base)?;
        if offset.checked_add(bytes)? > self.region.bytes || offset % canary::WORD != 0 {
            return None;
        }
        let (first, count) = (offset / canary::WORD, bytes / canary::WORD);
        // SAFETY: the range lies inside the region, which is mapped at `virt` and ours as long as `self`
        // lives. The caller has made sure that it is lent to nobody, so nobody else has a reference.
        Some(unsafe {
            core::slice::from_raw_parts_mut(
                self.region.virt.as_ptr().add(usize::try_from(first).ok()?),
                usize::try_from(count).ok()?,
            )
        })
    }

    /// Fills pages that are lent to nobody with the canary.
    fn fill(&mut self, phys: u64, bytes: u64) {
        if let Some(words) = self.words(phys, bytes) {
            canary::fill(words, phys);
        }
    }

    /// Where the kernel sees `phys`, an address inside the region.
    pub(crate) fn virt(&self, phys: u64) -> *mut c_void {
        let offset = phys.saturating_sub(self.region.base);
        // CAST: the region is mapped, so that its size fits the address space.
        self.region
            .virt
            .as_ptr()
            .wrapping_byte_add(offset as usize)
            .cast()
    }

    fn allocate(&mut self, request: Request, owner: Owner) -> Result<Extent<Owner>, AllocateError> {
        self.reserve.allocate(request, owner)
    }

    /// Takes a buffer back. Its pages get the canary again; its guard pages are only looked at, so that
    /// what was written there stays as evidence.
    fn free(&mut self, phys: u64, bytes: u64) -> Result<(), FreeError> {
        let extent = self.reserve.free(phys, bytes)?;
        let guard = self.reserve.guard_pages().saturating_mul(allocator::PAGE);
        self.report_damage("before", extent.base.saturating_sub(guard), guard, &extent);
        self.report_damage("after", extent.end(), guard, &extent);
        self.fill(extent.base, extent.allocated());
        Ok(())
    }

    fn report_damage(&mut self, side: &str, phys: u64, bytes: u64, extent: &Extent<Owner>) {
        let Some(words) = self.words(phys, bytes) else {
            return;
        };
        let addresses = (phys..).step_by(8);
        let damaged = words
            .iter()
            .zip(addresses)
            .find(|(word, at)| u64::from_le(**word) != canary::word(*at));
        if let Some((_, at)) = damaged {
            pr_err!(
                "the guard {} the buffer {:#x} ({} bytes, owner {}) was written in the 8 bytes at {:#x}\n",
                side,
                extent.base,
                extent.bytes,
                listing::OwnerName(&extent.tag),
                at
            );
        }
    }
}

impl Drop for Pool {
    /// Reached when the module goes. A buffer that is still lent may still be written by a card, so then
    /// the region is never given back.
    fn drop(&mut self) {
        let used = self.reserve.used();
        if used.is_empty() {
            return;
        }
        for extent in used {
            pr_err!("still lent: {}\n", listing::Line(extent));
        }
        pr_err!(
            "buffers still lent: {}; the region is not given back\n",
            used.len()
        );
        self.region.leak();
    }
}

#[pin_data(PinnedDrop)]
struct PoolModule {
    #[pin]
    regions: debugfs::File<()>,
    #[pin]
    used: debugfs::File<()>,
    directory: debugfs::Dir,
}

impl kernel::InPlaceModule for PoolModule {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        // SAFETY: called exactly once, as modules are initialised once.
        unsafe { POOL.init() };
        let directory = debugfs::Dir::new(c"landfall_pool");
        try_pin_init!(Self {
            regions <- directory.read_callback_file(c"regions", (), &listing::regions),
            used <- directory.read_callback_file(c"used", (), &listing::used),
            directory,
            // Last, since a static is not dropped if something after it fails.
            _: {
                let pool = Pool::new()?;
                pr_info!("{}\n", listing::Summary(&pool));
                *POOL.lock() = Some(pool);
            },
        })
    }
}

#[pinned_drop]
impl PinnedDrop for PoolModule {
    fn drop(self: Pin<&mut Self>) {
        let pool = POOL.lock().take();
        drop(pool);
    }
}
