// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Safe names for `shim.c`.

use core::ptr::NonNull;
use kernel::{bindings, prelude::*};

extern "C" {
    fn landfall_pool_shim_source() -> *const c_char;
    fn landfall_pool_shim_reserve_name() -> *const c_char;
    fn landfall_pool_shim_page_to_phys(page: *mut c_void) -> u64;
    fn landfall_pool_shim_direct_map(phys: u64, bytes: u64) -> *mut c_void;
    fn landfall_pool_shim_contig(pages: c_ulong, address_bits: c_uint) -> *mut c_void;
    fn landfall_pool_shim_buddy(order: c_uint, address_bits: c_uint) -> *mut c_void;
}

/// The parameter `source`.
pub(crate) fn source() -> &'static CStr {
    // SAFETY: a `charp` parameter is a terminated string, and with mode 0444 never changes after loading.
    unsafe { CStr::from_char_ptr(landfall_pool_shim_source()) }
}

/// The parameter `reserve_name`.
pub(crate) fn reserve_name() -> &'static CStr {
    // SAFETY: as in `source`.
    unsafe { CStr::from_char_ptr(landfall_pool_shim_reserve_name()) }
}

/// Where the kernel sees `bytes` at `phys`, if they are all RAM in the direct map.
pub(crate) fn direct_map(phys: u64, bytes: u64) -> Option<NonNull<u64>> {
    // SAFETY: the function only looks; it checks the range itself.
    NonNull::new(unsafe { landfall_pool_shim_direct_map(phys, bytes) }.cast())
}

/// Pages that were taken from the page allocator.
pub(crate) struct Pages {
    page: NonNull<bindings::page>,
    count: Count,
}

/// How many, and so how they go back.
enum Count {
    Contig(c_ulong),
    Order(c_uint),
}

// SAFETY: pages belong to no thread.
unsafe impl Send for Pages {}

impl Pages {
    /// Takes any number of pages in one piece, moving others out of the way. May take long.
    pub(crate) fn contig(pages: u64, address_bits: u32) -> Option<Self> {
        let count = c_ulong::try_from(pages).ok()?;
        // SAFETY: called in process context, from module initialisation.
        let page = unsafe { landfall_pool_shim_contig(count, address_bits) };
        Some(Pages {
            page: NonNull::new(page.cast())?,
            count: Count::Contig(count),
        })
    }

    /// Takes one block of `2^order` pages.
    pub(crate) fn buddy(order: u32, address_bits: u32) -> Option<Self> {
        // SAFETY: called in process context, from module initialisation; `order` was checked.
        let page = unsafe { landfall_pool_shim_buddy(order, address_bits) };
        Some(Pages {
            page: NonNull::new(page.cast())?,
            count: Count::Order(order),
        })
    }

    /// Physical address of the first.
    pub(crate) fn phys(&self) -> u64 {
        // SAFETY: `page` came from the page allocator and is ours.
        unsafe { landfall_pool_shim_page_to_phys(self.page.as_ptr().cast()) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        match self.count {
            Count::Contig(pages) => {
                let pfn = self.phys() >> bindings::PAGE_SHIFT;
                // SAFETY: exactly these pages were taken by `alloc_contig_pages`.
                unsafe { bindings::free_contig_range(pfn as c_ulong, pages) };
            }
            Count::Order(order) => {
                // SAFETY: exactly this block was taken by `alloc_pages`.
                unsafe { bindings::__free_pages(self.page.as_ptr(), order) };
            }
        }
    }
}
