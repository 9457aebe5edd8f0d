// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! `landfall_pool`: physically contiguous memory, lent to drivers and to user space in buffers.
//!
//! The decisions are made in the core, which the host's tests run too (`../reserve`). Here is what has to be done
//! to the memory itself:
//!
//! | file | subject |
//! |---|---|
//! | `source/` | where memory comes from, and how it goes back |
//! | `lend.rs` | lending a buffer and taking it back; the canary |
//! | `abi.rs` | the calls that other modules make (`include/landfall_pool.h`) |
//! | `device.rs` | `/dev/landfall-pool` (`uapi.rs`) |
//! | `dmabuf.c` | a buffer as a dma-buf |
//! | `listing.rs`, `json.rs`, `stats.rs` | debugfs |
//! | `shim.rs`, `shim.c` | the kernel's macros and inline functions |

mod abi;
#[path = "../reserve/src/allocator/mod.rs"]
pub mod allocator;
#[path = "../reserve/src/bitmap.rs"]
pub mod bitmap;
#[path = "../reserve/src/canary.rs"]
pub mod canary;
#[path = "../reserve/src/cluster.rs"]
pub mod cluster;
mod device;
mod json;
#[expect(
    dead_code,
    reason = "user space needs buffers, drivers their mapping too"
)]
#[path = "../include/landfall_pool.rs"]
mod landfall_pool;
mod lend;
mod listing;
#[path = "../reserve/src/regions/mod.rs"]
pub mod regions;
#[path = "../reserve/src/shared.rs"]
pub mod shared;
mod shim;
mod source;
#[path = "../reserve/src/spec.rs"]
pub mod spec;
mod stats;
mod uapi;

use allocator::{Reserve, Slot};
use device::OpenFile;
use kernel::{
    miscdevice::{MiscDeviceOptions, MiscDeviceRegistration},
    prelude::*,
};
use regions::{Loan, RegionInfo, Regions, RemoveError, MAX_REGIONS};
use shared::{Lock, Shared};
use shim::PAGE;
use source::{Memory, Wanted};

module! {
    type: PoolModule,
    name: "landfall_pool",
    authors: ["The Landfall contributors"],
    description: "Lends physically contiguous buffers",
    license: "Dual MIT/GPL",
    params: {
        pages: i64 {
            default: -1,
            description: "Pages of 4096 bytes in a region whose source does not say; default: all of reserve_mem=, 1024 for buddy, exact and kmalloc, else 4096",
        },
        address_bits: u32 {
            default: 64,
            description: "A region whose source does not say must lie below 2^address_bits, 12 to 64: 24 for ISA-like cards, 32 (default 64)",
        },
        guard_pages: u32 {
            default: 1,
            description: "Pages kept free on each side of every buffer, 0 to 1024 (default 1)",
        },
        buffers: u32 {
            default: 1024,
            description: "Most buffers of a region at a time, 1 to 1048576 (default 1024)",
        },
        order: u32 {
            default: 0,
            description: "source=order: blocks of 2^order pages, 0 to 10 (default 0)",
        },
        carveout_base: u64 {
            default: 0,
            description: "source=carveout: physical address of the range that mem= or memmap= kept; pages= tells its length",
        },
    },
}

/// Most guard pages on a side.
const MAX_GUARD: u32 = 1024;
/// Most buffers of a region.
const MAX_BUFFERS: u32 = 1 << 20;

/// Who has a buffer.
#[derive(Clone, Copy, Default)]
pub(crate) struct Owner {
    /// Zero-padded.
    name: [u8; 31],
    /// The CPU's mappings of the buffer are uncached.
    uncached: bool,
}

impl Owner {
    /// Of that name, cut to fit.
    pub(crate) fn new(name: impl Iterator<Item = u8>) -> Self {
        let mut owner = Owner::default();
        for (to, from) in owner.name.iter_mut().zip(name) {
            *to = from;
        }
        owner
    }
}

type Storage = VVec<Slot<Loan<Owner>>>;

kernel::sync::global_lock! {
    // SAFETY: initialised in the module's `init`, before the calls below can be reached.
    unsafe(uninit) static REGIONS: SpinLockIrq<Regions<Storage, Memory>> = Regions::new();
}

/// [`REGIONS`], as the core wants to have it locked.
pub(crate) struct RegionsLock;

impl Lock<Regions<Storage, Memory>> for RegionsLock {
    fn with<R>(&self, work: impl FnOnce(&mut Regions<Storage, Memory>) -> R) -> R {
        work(&mut REGIONS.lock())
    }
}

/// The pool.
pub(crate) static POOL: Shared<RegionsLock> = Shared::new(RegionsLock);

/// Every region, in the order of adding. From any context.
pub(crate) fn infos() -> impl Iterator<Item = RegionInfo> {
    let mut infos = [RegionInfo::default(); MAX_REGIONS];
    let count = POOL.copy_regions(&mut infos);
    infos.into_iter().take(count)
}

/// Takes memory as `NAME[:PAGES[:BITS]]` says and adds it. Returns the region's number. May sleep.
pub(crate) fn grow(words: &[u8]) -> Result<u32> {
    let choice = spec::choice(words).map_err(|why| nonsense(words, why))?;
    add(take(&choice)?)
}

fn nonsense(words: &[u8], why: spec::SpecError) -> Error {
    pr_err!("source={}: {}\n", listing::Word(words), why.text());
    EINVAL
}

/// Takes memory of one source; what it does not say, the parameters do.
fn take(choice: &spec::Choice<'_>) -> Result<Memory> {
    let default = match module_parameters::pages.value() {
        -1 => None,
        // Refused where it is used, as 0 is.
        pages => Some(u64::try_from(pages).unwrap_or(0)),
    };
    let wanted = Wanted {
        pages: choice.pages.or(default),
        address_bits: choice
            .address_bits
            .unwrap_or_else(|| module_parameters::address_bits.value()),
    };
    stats::TAKE.time(|| Memory::take(choice.name, &wanted)).0
}

/// Adds memory as a region: marks its holes, fills the rest with the canary. Returns its number. May sleep.
pub(crate) fn add(memory: Memory) -> Result<u32> {
    let taken = memory.taken;
    let guard_pages = module_parameters::guard_pages.value();
    let buffers = u64::from(module_parameters::buffers.value()).min(taken.pages);
    let slots = usize::try_from(buffers)? + memory.holes.len();
    let storage = VVec::from_elem(Slot::default(), slots, GFP_KERNEL)?;
    let refused = |why: &str| {
        pr_err!(
            "{:#x}, {} bytes from source={}: {}\n",
            taken.base,
            taken.span,
            memory.source,
            why
        );
        EINVAL
    };
    let mut reserve = Reserve::new(taken.base, taken.span, guard_pages, storage)
        .map_err(|why| refused(why.text()))?;
    for (base, bytes) in &memory.holes {
        reserve
            .exclude(*base, *bytes)
            .map_err(|why| refused(why.text()))?;
    }
    let access = memory.access();
    for (start, end) in reserve.pieces() {
        // SAFETY: the memory is ours, and lent to nobody before it is added.
        unsafe { lend::fill(&access, start, end - start) };
    }
    let region = POOL.add(reserve, memory).map_err(|back| {
        pr_err!(
            "{:#x}, {} bytes from source={}: {}\n",
            taken.base,
            taken.span,
            back.meta.source,
            back.why.text()
        );
        ENOSPC
    })?;
    if let Some(info) = infos().find(|info| info.id == region) {
        pr_info!("{}\n", listing::Summary(&info));
    }
    Ok(region)
}

/// Removes a region of which nothing is lent. May sleep, as the storage is freed.
pub(crate) fn remove(region: u32) -> Result<Memory> {
    match POOL.remove(region) {
        Ok((_, memory)) => Ok(memory),
        Err(RemoveError::Busy { .. }) => Err(EBUSY),
        Err(RemoveError::Unknown) => Err(ENOENT),
    }
}

/// Gives memory back to where it came from. Tells how long that took, in nanoseconds. May sleep.
pub(crate) fn give_back(memory: Memory) -> u64 {
    stats::GIVE.time(|| drop(memory)).1
}

/// Takes what the parameter `source` names: of each region the first alternative that there is.
fn take_all() -> Result {
    for words in spec::regions(shim::source().to_bytes()) {
        let mut last = Err(EINVAL);
        for choice in spec::alternatives(words) {
            let choice = choice.map_err(|why| nonsense(words, why))?;
            last = take(&choice).and_then(add);
            if last.is_ok() {
                break;
            }
        }
        last?;
    }
    Ok(())
}

fn check_parameters() -> Result {
    let guard_pages = module_parameters::guard_pages.value();
    if guard_pages > MAX_GUARD {
        pr_err!("guard_pages={} is more than {}\n", guard_pages, MAX_GUARD);
        return Err(EINVAL);
    }
    let buffers = module_parameters::buffers.value();
    if !(1..=MAX_BUFFERS).contains(&buffers) {
        pr_err!("buffers={} is not 1 to {}\n", buffers, MAX_BUFFERS);
        return Err(EINVAL);
    }
    lend::set_default_fit()
}

/// The regions of a pool that is there. Dropped, all go back, but for those of which a buffer is still lent:
/// a card may still write to it.
struct Filled;

impl Filled {
    fn new() -> Result<Self> {
        check_parameters()?;
        let filled = Filled;
        take_all()?;
        Ok(filled)
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        for info in infos() {
            match remove(info.id) {
                Ok(memory) => {
                    give_back(memory);
                }
                Err(_) => {
                    listing::each_used(|listed| {
                        if listed.region == info.id {
                            pr_err!("still lent: {}\n", listing::Line(listed));
                        }
                    });
                    pr_err!(
                        "buffers still lent: {}; the region is not given back\n",
                        info.buffers
                    );
                }
            }
        }
    }
}

#[pin_data]
struct PoolModule {
    /// Before what it shows: files are closed first.
    #[pin]
    files: listing::Files,
    #[pin]
    misc: MiscDeviceRegistration<OpenFile>,
    filled: Filled,
}

impl kernel::InPlaceModule for PoolModule {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        // SAFETY: called exactly once, as modules are initialised once.
        unsafe {
            REGIONS.init();
            source::gather::SEARCH.init();
            source::gather::TURN.init();
        }
        try_pin_init!(Self {
            filled: Filled::new()?,
            misc <- MiscDeviceRegistration::register(MiscDeviceOptions { name: c"landfall-pool" }),
            files <- listing::Files::new(),
        })
    }
}
