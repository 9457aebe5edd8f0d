// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The calls that other modules make. The contract is `include/landfall_pool.h`; the types here are laid
//! out as those there.

use super::allocator::{self, AllocateError};
use super::{listing, Owner, POOL};
use kernel::prelude::*;

/// `struct landfall_pool_request`.
#[repr(C)]
pub(crate) struct PoolRequest {
    owner: *const c_char,
    bytes: u64,
    alignment: u64,
    boundary: u64,
    address_bits: u32,
    reserved: u32,
}

/// `struct landfall_pool_buffer`.
#[repr(C)]
pub(crate) struct PoolBuffer {
    phys: u64,
    bytes: u64,
    allocated: u64,
    virt: *mut c_void,
}

/// Lends a buffer.
///
/// # Safety
///
/// `request` points to a request whose `owner` is null or a terminated string, and `buffer` to memory for
/// the answer.
#[no_mangle]
pub(crate) unsafe extern "C" fn landfall_pool_allocate(
    request: *const PoolRequest,
    buffer: *mut PoolBuffer,
) -> c_int {
    // SAFETY: the caller promises a valid request.
    let request = unsafe { &*request };
    if request.reserved != 0 {
        return EINVAL.to_errno();
    }
    // SAFETY: the caller promises null or a terminated string.
    let owner = unsafe { owner(request.owner) };
    match allocate(request, owner) {
        Ok(lent) => {
            // SAFETY: the caller promises that the answer can be written.
            unsafe { buffer.write(lent) };
            0
        }
        Err(error) => error.to_errno(),
    }
}

/// Takes a buffer back.
///
/// # Safety
///
/// `buffer` points to a buffer's description. Nobody uses its memory any more.
#[no_mangle]
pub(crate) unsafe extern "C" fn landfall_pool_free(buffer: *const PoolBuffer) -> c_int {
    // SAFETY: the caller promises a valid description.
    let (phys, bytes) = unsafe { ((*buffer).phys, (*buffer).bytes) };
    let mut guard = POOL.lock();
    let Some(pool) = guard.as_mut() else {
        return ENODEV.to_errno();
    };
    match pool.free(phys, bytes) {
        Ok(()) => 0,
        Err(why) => {
            pr_err!(
                "refused to free {:#x}, {} bytes: {}\n",
                phys,
                bytes,
                why.text()
            );
            EINVAL.to_errno()
        }
    }
}

fn allocate(request: &PoolRequest, owner: Owner) -> Result<PoolBuffer> {
    let wish = allocator::Request {
        bytes: request.bytes,
        address_bits: request.address_bits,
        alignment: request.alignment,
        boundary: request.boundary,
    };
    let mut guard = POOL.lock();
    let pool = guard.as_mut().ok_or(ENODEV)?;
    let extent = pool.allocate(wish, owner).map_err(|why| {
        pr_err!(
            "no buffer of {} bytes for {} (address_bits={} alignment={:#x} boundary={:#x}): {}; {}\n",
            wish.bytes,
            listing::OwnerName(&owner),
            wish.address_bits,
            wish.alignment,
            wish.boundary,
            why.text(),
            listing::Summary(pool),
        );
        match why {
            AllocateError::NoRoom | AllocateError::NoRoomBelowLimit => ENOMEM,
            AllocateError::TooManyBuffers => ENOSPC,
            _ => EINVAL,
        }
    })?;
    Ok(PoolBuffer {
        phys: extent.base,
        bytes: extent.bytes,
        allocated: extent.allocated(),
        virt: pool.virt(extent.base),
    })
}

/// Copies the owner's name, cut to fit.
///
/// # Safety
///
/// `name` is null or points to a terminated string.
unsafe fn owner(name: *const c_char) -> Owner {
    let mut owner = [0; 32];
    if !name.is_null() {
        // SAFETY: the caller promises a terminated string.
        let name = unsafe { CStr::from_char_ptr(name) }.to_bytes();
        // The last byte stays 0.
        for (to, from) in owner.iter_mut().take(31).zip(name) {
            *to = *from;
        }
    }
    owner
}
