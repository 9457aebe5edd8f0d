// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The calls that other modules make. The contract is `include/landfall_pool.h`.

use super::{
    allocator,
    landfall_pool::{RawBuffer, RawRequest},
    lend, shim, Owner,
};
use kernel::prelude::*;

/// `LANDFALL_POOL_UNCACHED`.
const UNCACHED: u32 = super::uapi::UNCACHED;
/// `LANDFALL_POOL_BEST_FIT`.
const BEST_FIT: u32 = super::uapi::BEST_FIT;

/// Lends a buffer.
///
/// # Safety
///
/// `request` points to a request whose `owner` is null or a terminated string, and `buffer` to memory for
/// the answer.
#[no_mangle]
pub(crate) unsafe extern "C" fn landfall_pool_allocate(
    request: *const RawRequest,
    buffer: *mut RawBuffer,
) -> c_int {
    // SAFETY: the caller promises a valid request.
    let request = unsafe { &*request };
    if request.flags & !(UNCACHED | BEST_FIT) != 0 {
        return EINVAL.to_errno();
    }
    let wish = allocator::Request {
        bytes: request.bytes,
        address_bits: request.address_bits,
        alignment: request.alignment.max(1),
        boundary: request.boundary,
        at: (request.at != 0).then_some(request.at),
        fit: if request.flags & BEST_FIT != 0 {
            allocator::Fit::Best
        } else {
            lend::default_fit()
        },
    };
    // SAFETY: the caller promises null or a terminated string.
    let owner = unsafe { owner(request.owner) };
    match lend::allocate(wish, owner, request.flags & UNCACHED != 0) {
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
pub(crate) unsafe extern "C" fn landfall_pool_free(buffer: *const RawBuffer) -> c_int {
    // SAFETY: the caller promises a valid description.
    let (phys, bytes) = unsafe { ((*buffer).phys, (*buffer).bytes) };
    errno(lend::free(phys, bytes))
}

/// The second half of `bmalloc`.
#[no_mangle]
pub(crate) extern "C" fn landfall_pool_bmalloc(size: c_ulong, caller: c_ulong) -> *mut c_void {
    let mut wish = allocator::Request::anywhere(size as u64);
    wish.fit = lend::default_fit();
    match lend::allocate(wish, caller_name(caller), false) {
        Ok(lent) => lent.virt,
        Err(_) => core::ptr::null_mut(),
    }
}

/// Takes back what `bmalloc` gave.
#[no_mangle]
pub(crate) extern "C" fn bfree(address: *const c_void, size: c_ulong) -> c_int {
    let Some(phys) = lend::phys_of(address) else {
        pr_err!(
            "refused to free {:#x}, {} bytes: no memory of the pool lies at that kernel address\n",
            address as usize,
            size
        );
        return EINVAL.to_errno();
    };
    errno(lend::free(phys, size as u64))
}

/// Adds a region.
///
/// # Safety
///
/// `source` is a terminated string.
#[no_mangle]
pub(crate) unsafe extern "C" fn landfall_pool_grow(source: *const c_char) -> c_int {
    // SAFETY: the caller's promise.
    let words = unsafe { CStr::from_char_ptr(source) }.to_bytes();
    match super::grow(words) {
        // CAST: regions are few.
        Ok(region) => region as c_int,
        Err(error) => error.to_errno(),
    }
}

/// Gives a region back.
#[no_mangle]
pub(crate) extern "C" fn landfall_pool_shrink(region: c_uint) -> c_int {
    errno(super::remove(region).map(super::give_back).map(|_| ()))
}

fn errno(result: Result) -> c_int {
    match result {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}

/// Copies the owner's name, cut to fit.
///
/// # Safety
///
/// `name` is null or points to a terminated string.
unsafe fn owner(name: *const c_char) -> Owner {
    if name.is_null() {
        return Owner::default();
    }
    // SAFETY: the caller promises a terminated string.
    Owner::new(
        unsafe { CStr::from_char_ptr(name) }
            .to_bytes()
            .iter()
            .copied(),
    )
}

/// The calling function as an owner: `function@module`.
fn caller_name(address: c_ulong) -> Owner {
    let name = shim::caller(address);
    let words = name
        .iter()
        .copied()
        .take_while(|byte| *byte != 0 && *byte != b']');
    Owner::new(
        words
            .filter(|byte| *byte != b' ')
            .map(|byte| if byte == b'[' { b'@' } else { byte }),
    )
}
