// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Buffers of the pool, and their mapping for the card.
//!
//! A buffer goes back to the pool when its last holder lets go: the mapping for the card ([`Lent`]) is
//! one, every mmap of user space another.

use super::{geometry::Limits, raw};
use core::ptr::NonNull;
use kernel::{
    bindings, device,
    dma::DataDirection,
    prelude::*,
    str::CString,
    sync::{aref::ARef, Arc},
};

/// `struct landfall_pool_request` of `include/landfall_pool.h`.
#[repr(C)]
struct PoolRequest {
    owner: *const c_char,
    bytes: u64,
    alignment: u64,
    boundary: u64,
    address_bits: u32,
    reserved: u32,
}

/// `struct landfall_pool_buffer` of `include/landfall_pool.h`.
#[repr(C)]
struct PoolBuffer {
    phys: u64,
    bytes: u64,
    allocated: u64,
    virt: *mut c_void,
}

extern "C" {
    fn landfall_pool_allocate(request: *const PoolRequest, buffer: *mut PoolBuffer) -> c_int;
    fn landfall_pool_free(buffer: *const PoolBuffer) -> c_int;
}

/// A buffer of the pool; it goes back when this is dropped, which may sleep.
pub(crate) struct Memory(PoolBuffer);

// SAFETY: the buffer belongs to no thread; its bytes are only reached through raw pointers.
unsafe impl Send for Memory {}
// SAFETY: as above; nothing changes through `&Memory`.
unsafe impl Sync for Memory {}

impl Memory {
    /// Takes `bytes` that the card with these limits can reach. May sleep.
    pub(crate) fn new(owner: &CString, bytes: u64, limits: &Limits) -> Result<Self> {
        let request = PoolRequest {
            owner: owner.as_char_ptr(),
            bytes,
            alignment: limits.alignment,
            boundary: limits.boundary,
            address_bits: limits.address_bits,
            reserved: 0,
        };
        let mut buffer = PoolBuffer {
            phys: 0,
            bytes: 0,
            allocated: 0,
            virt: core::ptr::null_mut(),
        };
        // SAFETY: both point to what the header asks for, and the owner is a terminated string.
        kernel::error::to_result(unsafe { landfall_pool_allocate(&request, &mut buffer) })?;
        Ok(Memory(buffer))
    }

    /// CPU physical address.
    pub(crate) fn phys(&self) -> u64 {
        self.0.phys
    }

    /// Bytes of its pages.
    pub(crate) fn allocated(&self) -> u64 {
        self.0.allocated
    }

    /// Where the kernel sees it, as 8-byte words; valid as long as this. A card or a user may write there
    /// at any time, so no reference to it may be made.
    pub(crate) fn words(&self) -> Result<NonNull<u64>> {
        NonNull::new(self.0.virt.cast()).ok_or(EFAULT)
    }
}

impl Memory {
    /// Sets the first `bytes` to `value`. Before it is handed to anyone.
    pub(crate) fn fill(&self, bytes: u64, value: u8) -> Result {
        let bytes = usize::try_from(bytes.min(self.0.allocated))?;
        // SAFETY: so many bytes are mapped there.
        unsafe {
            self.words()?
                .cast::<u8>()
                .as_ptr()
                .write_bytes(value, bytes)
        };
        Ok(())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the pool gave us this buffer; nobody uses it any more, as this was the last holder. A
        // refusal was reported by the pool.
        unsafe { landfall_pool_free(&self.0) };
    }
}

/// Pool memory that is mapped for the card; the mapping ends when this is dropped, the card being idle.
pub(crate) struct Lent {
    memory: Arc<Memory>,
    device: ARef<device::Device>,
    direction: DataDirection,
    dma: u64,
    bytes: usize,
}

impl Lent {
    /// Takes `bytes` from the pool and maps them. May sleep.
    pub(crate) fn new(
        device: &device::Device<device::Bound>,
        owner: &CString,
        bytes: u64,
        limits: &Limits,
        direction: DataDirection,
    ) -> Result<Self> {
        let memory = Arc::new(Memory::new(owner, bytes, limits)?, GFP_KERNEL)?;
        let bytes = usize::try_from(bytes)?;
        // SAFETY: the device is bound, and the range is RAM that `memory` keeps.
        let dma = unsafe {
            bindings::dma_map_phys(
                raw::device(device),
                memory.phys(),
                bytes,
                direction.into(),
                0,
            )
        };
        // What `dma_mapping_error` tests: `DMA_MAPPING_ERROR`.
        if dma == u64::MAX {
            dev_err!(
                device,
                "the DMA API cannot map {:#x}, {} bytes\n",
                memory.phys(),
                bytes
            );
            return Err(EIO);
        }
        let lent = Lent {
            memory,
            device: device.into(),
            direction,
            dma,
            bytes,
        };
        if !limits.accepts(dma, lent.length()) {
            dev_err!(
                device,
                "bus address {:#x}, {} bytes, is not for this card\n",
                dma,
                bytes
            );
            return Err(ERANGE);
        }
        Ok(lent)
    }

    /// Bus address.
    pub(crate) fn dma(&self) -> u64 {
        self.dma
    }

    /// Bytes that are lent.
    pub(crate) fn length(&self) -> u64 {
        self.bytes as u64
    }

    /// The memory; hold it to keep it from going back to the pool.
    pub(crate) fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// To call before the card gets it: the CPU's writes are done.
    pub(crate) fn to_card(&self) {
        // SAFETY: the mapping is live: it ends when `self` is dropped.
        unsafe {
            bindings::__dma_sync_single_for_device(
                raw::device(&self.device),
                self.dma,
                self.bytes,
                self.direction.into(),
            )
        };
    }

    /// To call before the CPU reads what the card wrote.
    pub(crate) fn to_cpu(&self) {
        // SAFETY: as in `to_card`.
        unsafe {
            bindings::__dma_sync_single_for_cpu(
                raw::device(&self.device),
                self.dma,
                self.bytes,
                self.direction.into(),
            )
        };
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with the same arguments. The driver drops this before it is unbound,
        // with the card idle.
        unsafe {
            bindings::dma_unmap_phys(
                raw::device(&self.device),
                self.dma,
                self.bytes,
                self.direction.into(),
                0,
            )
        };
    }
}
