// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Safe names for `shim.c`: each piece of memory is a value that gives itself back when it is dropped.
//!
//! All of this may sleep: process context only.

use core::ptr::NonNull;
use kernel::{bindings, error::to_result, page::PAGE_SIZE, prelude::*};

/// Bytes of a page.
pub(crate) const PAGE: u64 = PAGE_SIZE as u64;

extern "C" {
    fn landfall_pool_shim_source() -> *const c_char;
    fn landfall_pool_shim_reserve_name() -> *const c_char;
    fn landfall_pool_shim_fit() -> *const c_char;
    fn landfall_pool_shim_caller(address: c_ulong, name: *mut c_char, size: c_ulong);
    fn landfall_pool_shim_available_pages() -> c_ulong;
    fn landfall_pool_shim_total_pages() -> c_ulong;
    fn landfall_pool_shim_direct_map(phys: u64, bytes: u64) -> *mut c_void;
    fn landfall_pool_shim_contig(pages: c_ulong, address_bits: c_uint) -> u64;
    fn landfall_pool_shim_block(order: c_uint, address_bits: c_uint) -> u64;
    fn landfall_pool_shim_free_block(phys: u64, order: c_uint);
    fn landfall_pool_shim_split(phys: u64, order: c_uint);
    fn landfall_pool_shim_free_range(phys: u64, pages: c_ulong);
    fn landfall_pool_shim_exact(bytes: c_ulong, address_bits: c_uint) -> u64;
    fn landfall_pool_shim_free_exact(phys: u64, bytes: c_ulong);
    fn landfall_pool_shim_has_cma() -> bool;
    fn landfall_pool_shim_cma(pages: c_ulong) -> u64;
    fn landfall_pool_shim_free_cma(phys: u64, pages: c_ulong);
    fn landfall_pool_shim_kmalloc(bytes: c_ulong, address_bits: c_uint) -> u64;
    fn landfall_pool_shim_kmalloc_size(phys: u64) -> c_ulong;
    fn landfall_pool_shim_kfree(phys: u64);
    fn landfall_pool_shim_slab(address_bits: c_uint) -> *mut c_void;
    fn landfall_pool_shim_free_slab(cache: *mut c_void);
    fn landfall_pool_shim_slab_page(cache: *mut c_void) -> u64;
    fn landfall_pool_shim_free_slab_page(cache: *mut c_void, phys: u64);
    fn landfall_pool_shim_vmalloc(bytes: c_ulong, address_bits: c_uint) -> *mut c_void;
    fn landfall_pool_shim_vfree(address: *mut c_void);
    fn landfall_pool_shim_vmalloc_phys(address: *mut c_void) -> u64;
    fn landfall_pool_shim_map_carveout(phys: u64, bytes: u64, address: *mut *mut c_void) -> c_int;
    fn landfall_pool_shim_unmap_carveout(phys: u64, bytes: u64, address: *mut c_void);
    fn landfall_pool_shim_pin(address: c_ulong, pages: c_ulong, list: *mut *mut c_void) -> c_int;
    fn landfall_pool_shim_unpin(list: *mut *mut c_void, pages: c_ulong);
    fn landfall_pool_shim_tell(lends: bool, phys: u64, bytes: u64);
    fn landfall_pool_shim_page_phys(page: *mut c_void) -> u64;
    fn landfall_pool_shim_uncached(address: *mut c_void, pages: c_ulong, uncached: bool) -> c_int;
    fn landfall_pool_shim_uncached_protection(protection: bindings::pgprot_t)
        -> bindings::pgprot_t;
}

/// A `charp` parameter.
///
/// # Safety
///
/// `parameter` is a terminated string that never changes: the parameters here have mode 0444.
unsafe fn text(parameter: *const c_char) -> &'static CStr {
    // SAFETY: the caller's promise.
    unsafe { CStr::from_char_ptr(parameter) }
}

/// The parameter `source`.
pub(crate) fn source() -> &'static CStr {
    // SAFETY: a parameter's string.
    unsafe { text(landfall_pool_shim_source()) }
}

/// The parameter `reserve_name`.
pub(crate) fn reserve_name() -> &'static CStr {
    // SAFETY: a parameter's string.
    unsafe { text(landfall_pool_shim_reserve_name()) }
}

/// The parameter `fit`.
pub(crate) fn fit() -> &'static CStr {
    // SAFETY: a parameter's string.
    unsafe { text(landfall_pool_shim_fit()) }
}

/// The function that a return address lies in, and its module in brackets, as `%ps` prints it; terminated.
pub(crate) fn caller(address: c_ulong) -> [u8; 64] {
    let mut name = [0u8; 64];
    // SAFETY: so many bytes may be written there; any address can be looked up.
    unsafe { landfall_pool_shim_caller(address, name.as_mut_ptr().cast(), 64) };
    name
}

/// Pages that could be had without swapping, by the kernel's estimate.
pub(crate) fn available_pages() -> u64 {
    // SAFETY: may be called anywhere.
    unsafe { landfall_pool_shim_available_pages() as u64 }
}

/// Pages that the kernel manages.
pub(crate) fn total_pages() -> u64 {
    // SAFETY: may be called anywhere.
    unsafe { landfall_pool_shim_total_pages() as u64 }
}

/// Where the kernel sees `bytes` at `phys`, if they are all RAM in the direct map.
pub(crate) fn direct_map(phys: u64, bytes: u64) -> Option<NonNull<u64>> {
    // SAFETY: the function only looks; it checks the range itself.
    NonNull::new(unsafe { landfall_pool_shim_direct_map(phys, bytes) }.cast())
}

/// Tells whoever watches that a buffer is lent, or given back. From any context.
pub(crate) fn tell(lends: bool, phys: u64, bytes: u64) {
    // SAFETY: may be called anywhere, with any values.
    unsafe { landfall_pool_shim_tell(lends, phys, bytes) };
}

/// Makes the kernel's mapping of whole pages in the direct map uncached, or cached again; `EOPNOTSUPP` where it cannot.
///
/// # Safety
///
/// The pages are the caller's, and nobody has them mapped otherwise.
pub(crate) unsafe fn set_uncached(virt: *mut c_void, pages: u64, uncached: bool) -> Result {
    // SAFETY: the caller's promise.
    to_result(unsafe { landfall_pool_shim_uncached(virt, pages as c_ulong, uncached) })
}

/// A file descriptor of a dma-buf, which it takes over.
///
/// # Safety
///
/// The dma-buf was just made, and nobody else has it.
pub(crate) unsafe fn descriptor(dmabuf: NonNull<bindings::dma_buf>) -> Result<c_int> {
    // SAFETY: the caller's promise.
    let fd = unsafe { bindings::dma_buf_fd(dmabuf.as_ptr(), bindings::O_CLOEXEC as c_int) };
    if fd < 0 {
        // SAFETY: it is still ours.
        unsafe { bindings::dma_buf_put(dmabuf.as_ptr()) };
        return Err(Error::from_errno(fd));
    }
    Ok(fd)
}

/// One piece of memory, and the call that takes it back.
pub(crate) enum Piece {
    /// Single pages in a row.
    Range { phys: u64, pages: u64 },
    /// One block of `2^order` pages.
    Block { phys: u64, order: u32 },
    /// Of `alloc_pages_exact`.
    Exact { phys: u64, bytes: u64 },
    /// Of the default CMA area.
    Cma { phys: u64, pages: u64 },
    /// Of kmalloc.
    Kmalloc { phys: u64 },
}

impl Piece {
    /// Any number of pages, moving others out of the way. May take long.
    pub(crate) fn contig(pages: u64, address_bits: u32) -> Option<Self> {
        // SAFETY: process context.
        let phys = unsafe { landfall_pool_shim_contig(pages as c_ulong, address_bits) };
        // Not `then_some`: a piece that is made and not wanted would free page 0.
        (phys != 0).then(|| Piece::Range { phys, pages })
    }

    /// One block of `2^order` pages; `order` is at most `MAX_PAGE_ORDER`.
    pub(crate) fn block(order: u32, address_bits: u32) -> Option<Self> {
        // SAFETY: process context; the page allocator checks the order.
        let phys = unsafe { landfall_pool_shim_block(order, address_bits) };
        (phys != 0).then(|| Piece::Block { phys, order })
    }

    /// Whole pages, the rest of the block returned at once.
    pub(crate) fn exact(pages: u64, address_bits: u32) -> Option<Self> {
        let bytes = pages.checked_mul(PAGE)?;
        // SAFETY: process context.
        let phys = unsafe { landfall_pool_shim_exact(bytes as c_ulong, address_bits) };
        (phys != 0).then(|| Piece::Exact { phys, bytes })
    }

    /// Pages of the default CMA area.
    pub(crate) fn cma(pages: u64) -> Option<Self> {
        // SAFETY: process context.
        let phys = unsafe { landfall_pool_shim_cma(pages as c_ulong) };
        (phys != 0).then(|| Piece::Cma { phys, pages })
    }

    /// Bytes of kmalloc; page aligned for whole pages that are a power of two, or for more than two.
    pub(crate) fn kmalloc(bytes: u64, address_bits: u32) -> Option<Self> {
        // SAFETY: process context.
        let phys = unsafe { landfall_pool_shim_kmalloc(bytes as c_ulong, address_bits) };
        (phys != 0).then(|| Piece::Kmalloc { phys })
    }

    /// Physical address.
    pub(crate) fn phys(&self) -> u64 {
        match *self {
            Piece::Range { phys, .. }
            | Piece::Block { phys, .. }
            | Piece::Exact { phys, .. }
            | Piece::Cma { phys, .. }
            | Piece::Kmalloc { phys } => phys,
        }
    }

    /// Pages of it, those that were not asked for included.
    pub(crate) fn pages(&self) -> u64 {
        match *self {
            Piece::Range { pages, .. } | Piece::Cma { pages, .. } => pages,
            Piece::Block { order, .. } => 1 << order,
            Piece::Exact { bytes, .. } => bytes / PAGE,
            // SAFETY: the memory is ours.
            Piece::Kmalloc { phys } => unsafe {
                landfall_pool_shim_kmalloc_size(phys) as u64 / PAGE
            },
        }
    }

    /// Turns a block into single pages, each of which can go back by itself.
    pub(crate) fn split(self) -> Self {
        match self {
            Piece::Block { phys, order } => {
                core::mem::forget(self);
                // SAFETY: the block is ours, and no compound page.
                unsafe { landfall_pool_shim_split(phys, order) };
                Piece::Range {
                    phys,
                    pages: 1 << order,
                }
            }
            other => other,
        }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        // SAFETY: each was taken by the call that belongs to the one here, and is given back once.
        unsafe {
            match *self {
                Piece::Range { phys, pages } => {
                    landfall_pool_shim_free_range(phys, pages as c_ulong)
                }
                Piece::Block { phys, order } => landfall_pool_shim_free_block(phys, order),
                Piece::Exact { phys, bytes } => {
                    landfall_pool_shim_free_exact(phys, bytes as c_ulong)
                }
                Piece::Cma { phys, pages } => landfall_pool_shim_free_cma(phys, pages as c_ulong),
                Piece::Kmalloc { phys } => landfall_pool_shim_kfree(phys),
            }
        }
    }
}

/// Whether the kernel has a default CMA area.
pub(crate) fn has_cma() -> bool {
    // SAFETY: only looks.
    unsafe { landfall_pool_shim_has_cma() }
}

/// Objects of one page, of a slab cache of their own.
pub(crate) struct Slab {
    cache: NonNull<c_void>,
    objects: VVec<u64>,
}

// SAFETY: memory belongs to no thread.
unsafe impl Send for Slab {}

impl Slab {
    /// Takes `pages` objects.
    pub(crate) fn new(pages: u64, address_bits: u32) -> Result<Self> {
        let objects = VVec::with_capacity(usize::try_from(pages)?, GFP_KERNEL)?;
        // SAFETY: process context.
        let cache = unsafe { landfall_pool_shim_slab(address_bits) };
        let mut slab = Slab {
            cache: NonNull::new(cache).ok_or(ENOMEM)?,
            objects,
        };
        for _ in 0..pages {
            // SAFETY: the cache is ours.
            let phys = unsafe { landfall_pool_shim_slab_page(slab.cache.as_ptr()) };
            if phys == 0 {
                return Err(ENOMEM);
            }
            slab.objects.push(phys, GFP_KERNEL)?;
        }
        Ok(slab)
    }

    /// The objects' physical addresses.
    pub(crate) fn objects(&self) -> &[u64] {
        &self.objects
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        // SAFETY: all objects came from this cache, and go back before it does.
        unsafe {
            for phys in &self.objects {
                landfall_pool_shim_free_slab_page(self.cache.as_ptr(), *phys);
            }
            landfall_pool_shim_free_slab(self.cache.as_ptr());
        }
    }
}

/// An area of vmalloc.
pub(crate) struct Vmalloc {
    address: NonNull<c_void>,
    pages: u64,
}

// SAFETY: memory belongs to no thread.
unsafe impl Send for Vmalloc {}

impl Vmalloc {
    /// Takes so many pages.
    pub(crate) fn new(pages: u64, address_bits: u32) -> Option<Self> {
        let bytes = pages.checked_mul(PAGE)?;
        // SAFETY: process context.
        let address = unsafe { landfall_pool_shim_vmalloc(bytes as c_ulong, address_bits) };
        Some(Vmalloc {
            address: NonNull::new(address)?,
            pages,
        })
    }

    /// Physical address of each page.
    pub(crate) fn pages(&self) -> impl Iterator<Item = u64> + Clone + '_ {
        (0..self.pages).map(|page| {
            let at = self
                .address
                .as_ptr()
                .wrapping_byte_add((page * PAGE) as usize);
            // SAFETY: `at` lies in this area.
            unsafe { landfall_pool_shim_vmalloc_phys(at) }
        })
    }
}

impl Drop for Vmalloc {
    fn drop(&mut self) {
        // SAFETY: taken in `new`.
        unsafe { landfall_pool_shim_vfree(self.address.as_ptr()) };
    }
}

/// A range that was kept from the kernel, mapped.
pub(crate) struct Carveout {
    phys: u64,
    bytes: u64,
    address: NonNull<u64>,
}

// SAFETY: memory belongs to no thread.
unsafe impl Send for Carveout {}

impl Carveout {
    /// Maps it. `EEXIST`: the kernel uses it; `EBUSY`: a device or a driver does; `ENXIO`: it is no RAM.
    pub(crate) fn map(phys: u64, bytes: u64) -> Result<Self> {
        let mut address = core::ptr::null_mut();
        // SAFETY: the function checks the range itself.
        to_result(unsafe { landfall_pool_shim_map_carveout(phys, bytes, &mut address) })?;
        Ok(Carveout {
            phys,
            bytes,
            address: NonNull::new(address.cast()).ok_or(ENOMEM)?,
        })
    }

    /// Where the kernel sees it.
    pub(crate) fn address(&self) -> NonNull<u64> {
        self.address
    }
}

impl Drop for Carveout {
    fn drop(&mut self) {
        // SAFETY: mapped in `map` with these arguments.
        unsafe {
            landfall_pool_shim_unmap_carveout(self.phys, self.bytes, self.address.as_ptr().cast())
        };
    }
}

/// Pages of a process that stay where they are.
pub(crate) struct Pinned(VVec<*mut c_void>);

// SAFETY: pages belong to no thread.
unsafe impl Send for Pinned {}

impl Pinned {
    /// Pins `pages` pages of the calling process from `address` on.
    pub(crate) fn new(address: u64, pages: u64) -> Result<Self> {
        let count = usize::try_from(pages)?;
        let mut list = VVec::from_elem(core::ptr::null_mut(), count, GFP_KERNEL)?;
        let address = c_ulong::try_from(address)?;
        // SAFETY: the list has room for all; the function checks the address.
        to_result(unsafe { landfall_pool_shim_pin(address, pages as c_ulong, list.as_mut_ptr()) })?;
        Ok(Pinned(list))
    }

    /// Physical address of each.
    pub(crate) fn pages(&self) -> impl Iterator<Item = u64> + '_ {
        // SAFETY: the pages are pinned.
        self.0
            .iter()
            .map(|page| unsafe { landfall_pool_shim_page_phys(*page) })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let pages = self.0.len() as c_ulong;
        // SAFETY: all of them were pinned in `new`.
        unsafe { landfall_pool_shim_unpin(self.0.as_mut_ptr(), pages) };
    }
}

/// The same protection, uncached.
pub(crate) fn uncached_protection(protection: bindings::pgprot_t) -> bindings::pgprot_t {
    // SAFETY: computes only.
    unsafe { landfall_pool_shim_uncached_protection(protection) }
}
