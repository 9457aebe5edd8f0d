// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The calls of `uapi.rs`.

use super::{stream::Video, uapi};
use kernel::prelude::*;

/// Does one. `busy`: there are buffers. `ENOTTY` if there is no such call.
///
/// # Safety
///
/// `argument` is what V4L2 gives to `vidioc_default`: as many bytes of the kernel's as `command` says, none of them of
/// unknown value.
pub(crate) unsafe fn call(
    video: &Video,
    command: u32,
    argument: *mut c_void,
    busy: bool,
) -> Result {
    let session = &*video.session;
    // SAFETY: in each of these, `command` has the size of the structure, which holds any bits; and the caller's promise.
    unsafe {
        match command {
            uapi::INFO => put(argument, session.info()?),
            uapi::SETUP => {
                let wish: uapi::Setup = get(argument);
                if busy {
                    return Err(EBUSY);
                }
                put(argument, video.set_up(wish)?);
            }
            uapi::BUFFER => {
                let wish: uapi::Buffer = get(argument);
                put(argument, session.buffer(wish.index)?);
            }
            uapi::RECORD => {
                let wish: uapi::Record = get(argument);
                put(argument, session.record(wish.index)?);
            }
            uapi::CHECK => session.check()?,
            uapi::LENDS => put_lends(argument.cast(), &session.lends()?)?,
            _ => return Err(ENOTTY),
        }
    }
    Ok(())
}

/// # Safety
///
/// A `T` is there, whose bytes may be any. V4L2 does not align it.
unsafe fn get<T: Copy>(argument: *const c_void) -> T {
    // SAFETY: the caller's promise.
    unsafe { argument.cast::<T>().read_unaligned() }
}

/// # Safety
///
/// There is room for a `T`.
unsafe fn put<T: Copy>(argument: *mut c_void, value: T) {
    // SAFETY: the caller's promise.
    unsafe { argument.cast::<T>().write_unaligned(value) }
}

/// The entries past `count` are left as they are.
///
/// # Safety
///
/// There is room for a `uapi::Lends`.
unsafe fn put_lends(argument: *mut uapi::Lends, lends: &[uapi::Lend]) -> Result {
    let lends = lends.get(..lends.len().min(uapi::MAX_LENDS)).unwrap_or(&[]);
    let count = u32::try_from(lends.len())?;
    // SAFETY: the caller's promise; there are no more than there is room for.
    unsafe {
        (&raw mut (*argument).count).write_unaligned(count);
        (&raw mut (*argument).reserved).write_unaligned(0);
        let first = (&raw mut (*argument).lends).cast::<uapi::Lend>();
        for (at, lend) in lends.iter().enumerate() {
            first.add(at).write_unaligned(*lend);
        }
    }
    Ok(())
}
