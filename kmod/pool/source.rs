// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Where the region comes from.

use super::shim::{self, Pages};
use core::ptr::NonNull;
use kernel::{bindings, page::PAGE_SIZE, prelude::*};

/// Bytes of a page.
const PAGE: u64 = PAGE_SIZE as u64;

/// Pages that `contig` takes if none are asked for: 16 MiB.
const DEFAULT_CONTIG: u64 = 4096;
/// The order of the largest block there is.
const MAX_ORDER: u32 = bindings::MAX_PAGE_ORDER;

/// What the module parameters ask for.
pub(crate) struct Wanted {
    /// Pages; `None`: as the source gives.
    pub(crate) pages: Option<u64>,
    /// Every byte lies below `2^address_bits`.
    pub(crate) address_bits: u32,
}

/// A region in one piece, mapped, that belongs to the pool until this is dropped.
pub(crate) struct Region {
    /// The source's name.
    pub(crate) source: &'static str,
    /// Physical address.
    pub(crate) base: u64,
    /// Bytes.
    pub(crate) bytes: u64,
    /// Where the kernel sees it.
    pub(crate) virt: NonNull<u64>,
    /// What has to go back; `None` for memory that was kept at boot.
    pages: Option<Pages>,
}

// SAFETY: memory belongs to no thread; access to it is the pool's matter.
unsafe impl Send for Region {}

impl Region {
    /// Gets the region that the parameters name, or says why not, and what to pass instead.
    pub(crate) fn get(wanted: &Wanted) -> Result<Self> {
        if wanted.pages == Some(0) {
            pr_err!("pages must be 1 or more: pass a number of pages, or none for the source's default\n");
            return Err(EINVAL);
        }
        if !(12..=64).contains(&wanted.address_bits) {
            pr_err!("address_bits={} is not 12 to 64\n", wanted.address_bits);
            return Err(EINVAL);
        }
        let region = match shim::source().to_bytes() {
            b"reserve" => Self::reserve(wanted)?,
            b"contig" => Self::contig(wanted)?,
            b"buddy" => Self::buddy(wanted)?,
            _ => {
                pr_err!(
                    "source={} is not known: pass reserve, contig or buddy\n",
                    shim::source()
                );
                return Err(EINVAL);
            }
        };
        region.below(wanted.address_bits)
    }

    /// Memory that the boot option `reserve_mem=` kept back.
    fn reserve(wanted: &Wanted) -> Result<Self> {
        let name = shim::reserve_name();
        let (mut base, mut bytes) = (0, 0);
        // SAFETY: the name is a terminated string, and the other two are ours to write.
        let found = unsafe {
            bindings::reserve_mem_find_by_name(name.as_char_ptr(), &mut base, &mut bytes)
        };
        if found == 0 {
            pr_err!(
                "no memory was reserved at boot under the name {}: boot with reserve_mem=<size>:4096:{}, or pass source=contig\n",
                name,
                name
            );
            return Err(ENODEV);
        }
        if base % PAGE != 0 || bytes % PAGE != 0 || bytes == 0 {
            pr_err!(
                "reserve_mem region {} ({:#x}, {} bytes) is not page aligned: boot with reserve_mem=<size>:4096:{}\n",
                name, base, bytes, name
            );
            return Err(EINVAL);
        }
        let all = bytes / PAGE;
        let pages = wanted.pages.unwrap_or(all);
        if pages > all {
            pr_err!(
                "pages={} asked for, but reserve_mem region {} has {}\n",
                pages,
                name,
                all
            );
            return Err(EINVAL);
        }
        Self::map("reserve", base, pages, None)
    }

    /// Any number of pages, in one piece, found now.
    fn contig(wanted: &Wanted) -> Result<Self> {
        let pages = wanted.pages.unwrap_or(DEFAULT_CONTIG);
        let Some(taken) = Pages::contig(pages, wanted.address_bits) else {
            pr_err!(
                "source=contig found no {} pages in one piece (address_bits={}): pass fewer, or load the module earlier\n",
                pages, wanted.address_bits
            );
            return Err(ENOMEM);
        };
        Self::map("contig", taken.phys(), pages, Some(taken))
    }

    /// One block of the page allocator.
    fn buddy(wanted: &Wanted) -> Result<Self> {
        let pages = wanted.pages.unwrap_or(1 << MAX_ORDER);
        if pages > 1 << MAX_ORDER {
            pr_err!(
                "source=buddy gives at most {} pages in one piece, pages={} asked for: pass source=contig\n",
                1u64 << MAX_ORDER, pages
            );
            return Err(EINVAL);
        }
        let order = pages.next_power_of_two().trailing_zeros();
        let Some(taken) = Pages::buddy(order, wanted.address_bits) else {
            pr_err!(
                "source=buddy found no block of order {} (address_bits={}): pass fewer pages, or load the module earlier\n",
                order, wanted.address_bits
            );
            return Err(ENOMEM);
        };
        let waste = (1u64 << order) - pages;
        if waste > 0 {
            pr_info!(
                "source=buddy: {} of 2^{} pages are not used\n",
                waste,
                order
            );
        }
        Self::map("buddy", taken.phys(), pages, Some(taken))
    }

    /// Never gives the memory back.
    pub(crate) fn leak(&mut self) {
        core::mem::forget(self.pages.take());
    }

    fn map(source: &'static str, base: u64, pages: u64, taken: Option<Pages>) -> Result<Self> {
        let bytes = pages.checked_mul(PAGE).ok_or(EOVERFLOW)?;
        let Some(virt) = shim::direct_map(base, bytes) else {
            pr_err!(
                "{:#x}, {} bytes from source={} is not all mapped RAM\n",
                base,
                bytes,
                source
            );
            return Err(ENXIO);
        };
        Ok(Region {
            source,
            base,
            bytes,
            virt,
            pages: taken,
        })
    }

    /// Refuses a region that passes the address limit: never another one than was asked for.
    fn below(self, address_bits: u32) -> Result<Self> {
        let last = self.base + (self.bytes - 1);
        if last >> (address_bits - 1) > 1 {
            pr_err!(
                "source={} gave {:#x}..{:#x}, which passes address_bits={}\n",
                self.source,
                self.base,
                last,
                address_bits
            );
            return Err(ERANGE);
        }
        Ok(self)
    }
}
