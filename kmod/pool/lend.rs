// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Lending buffers and taking them back: the core's decisions, and what has to be done to the memory itself.

use super::{
    allocator::{AllocateError, Fit, Request},
    canary,
    landfall_pool::RawBuffer,
    listing,
    regions::Lent,
    shim,
    source::Memory,
    stats, Owner, PAGE, POOL,
};
use core::ptr::NonNull;
use kernel::{
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
};

/// Where the kernel sees a region, and how.
#[derive(Clone, Copy)]
pub(crate) struct Access {
    /// Physical address of the region.
    pub(crate) base: u64,
    /// Where the kernel sees that.
    pub(crate) virt: NonNull<u64>,
    /// It is RAM that the kernel knows.
    pub(crate) known: bool,
}

// SAFETY: an address belongs to no thread.
unsafe impl Send for Access {}

impl Access {
    /// Where the kernel sees `phys`, an address inside the region.
    fn at(&self, phys: u64) -> *mut c_void {
        // CAST: the region is mapped, so that its size fits the address space.
        let offset = phys.wrapping_sub(self.base) as usize;
        self.virt.as_ptr().wrapping_byte_add(offset).cast()
    }

    /// The 8-byte words at `phys`.
    ///
    /// # Safety
    ///
    /// The bytes lie in the region, are lent to nobody, and stay so as long as the reference is used.
    unsafe fn words(&self, phys: u64, bytes: u64) -> &mut [u64] {
        // CAST: mapped memory fits the address space.
        let count = (bytes / canary::WORD) as usize;
        // SAFETY: the caller's promise.
        unsafe { core::slice::from_raw_parts_mut(self.at(phys).cast(), count) }
    }
}

/// Whether the parameter `fit` says `best`.
static BEST: Atomic<bool> = Atomic::new(false);

/// Reads the parameter `fit`.
pub(crate) fn set_default_fit() -> Result {
    match shim::fit().to_bytes() {
        b"first" => BEST.store(false, Relaxed),
        b"best" => BEST.store(true, Relaxed),
        _ => {
            pr_err!("fit={} is not known: pass first or best\n", shim::fit());
            return Err(EINVAL);
        }
    }
    Ok(())
}

/// How gaps are chosen unless a request says.
pub(crate) fn default_fit() -> Fit {
    if BEST.load(Relaxed) {
        Fit::Best
    } else {
        Fit::First
    }
}

/// Lends a buffer. Sleeps only if it is to be uncached.
pub(crate) fn allocate(wish: Request, owner: Owner, uncached: bool) -> Result<RawBuffer> {
    let owner = Owner { uncached, ..owner };
    let (lent, _) = stats::ALLOCATE.time(|| POOL.allocate(wish, owner, Memory::access));
    let lent = lent.map_err(|why| {
        pr_err!(
            "no buffer of {} bytes for {} (address_bits={} alignment={:#x} boundary={:#x} at={:#x}): {}\n",
            wish.bytes,
            listing::OwnerName(&owner),
            wish.address_bits,
            wish.alignment,
            wish.boundary,
            wish.at.unwrap_or(0),
            why.text(),
        );
        match why {
            AllocateError::TooManyBuffers => ENOSPC,
            AllocateError::NoRoom | AllocateError::NoRoomBelowLimit | AllocateError::Taken => {
                ENOMEM
            }
            _ => EINVAL,
        }
    })?;
    let buffer = RawBuffer {
        phys: lent.extent.base,
        bytes: lent.extent.bytes,
        allocated: lent.extent.allocated(),
        virt: lent.view.at(lent.extent.base),
    };
    if uncached {
        let done = if lent.view.known {
            // SAFETY: the pages are this buffer's, and nobody has it yet.
            unsafe { shim::set_uncached(buffer.virt, lent.extent.pages, true) }
        } else {
            Err(EOPNOTSUPP)
        };
        if let Err(error) = done {
            POOL.free(buffer.phys, buffer.bytes, |_| (), |_| ())
                .map_err(|_| EINVAL)?;
            return Err(error);
        }
    }
    shim::tell(true, buffer.phys, buffer.bytes);
    Ok(buffer)
}

/// Takes a buffer back, for as long as its canary takes. May sleep.
pub(crate) fn free(phys: u64, bytes: u64) -> Result {
    let (freed, _) = stats::FREE.time(|| POOL.free(phys, bytes, Memory::access, scrub));
    freed.map_err(|why| {
        pr_err!(
            "refused to free {:#x}, {} bytes: {}\n",
            phys,
            bytes,
            why.text()
        );
        EINVAL
    })
}

/// What is done to a buffer's memory while nobody has it: its pages get the canary again; its guard pages are
/// only looked at, so that what was written there stays as evidence.
fn scrub(lent: &Lent<Owner, Access>) {
    let (extent, access) = (&lent.extent, &lent.view);
    shim::tell(false, extent.base, extent.bytes);
    if extent.tag.uncached {
        // SAFETY: the buffer was made uncached when it was lent, and nobody has it any more.
        let cached = unsafe { shim::set_uncached(access.at(extent.base), extent.pages, false) };
        if cached.is_err() {
            pr_err!(
                "{:#x}, {} bytes, stays uncached\n",
                extent.base,
                extent.allocated()
            );
        }
    }
    let guard = lent.guard_pages.saturating_mul(PAGE);
    report_damage(lent, "before", extent.base.saturating_sub(guard), guard);
    report_damage(lent, "after", extent.end(), guard);
    // SAFETY: the pages are nobody's until this returns.
    unsafe { fill(access, extent.base, extent.allocated()) };
}

fn report_damage(lent: &Lent<Owner, Access>, side: &str, phys: u64, bytes: u64) {
    // SAFETY: a buffer's guard pages lie in its region and are its own.
    let words = unsafe { lent.view.words(phys, bytes) };
    let damaged = words
        .iter()
        .zip((phys..).step_by(8))
        .find(|(word, at)| u64::from_le(**word) != canary::word(*at));
    if let Some((_, at)) = damaged {
        pr_err!(
            "the guard {} the buffer {:#x} ({} bytes, owner {}) was written in the 8 bytes at {:#x}\n",
            side,
            lent.extent.base,
            lent.extent.bytes,
            listing::OwnerName(&lent.extent.tag),
            at
        );
    }
}

/// Fills pages with the canary.
///
/// # Safety
///
/// They lie in the region, and are lent to nobody as long as this takes.
pub(crate) unsafe fn fill(access: &Access, phys: u64, bytes: u64) {
    // SAFETY: the caller's promise.
    canary::fill(unsafe { access.words(phys, bytes) }, phys);
}

/// The physical address behind a kernel address, if that is in a region.
pub(crate) fn phys_of(address: *const c_void) -> Option<u64> {
    super::infos().find_map(|info| {
        let access = POOL.view(info.id, Memory::access)?;
        let offset = (address as u64).checked_sub(access.virt.as_ptr() as u64)?;
        (offset < info.bytes).then(|| access.base + offset)
    })
}
