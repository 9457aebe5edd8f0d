// SPDX-License-Identifier: MIT OR Apache-2.0

//! The drivers' own system calls, by the numbers of their `uapi.rs`.

use std::fs::File;
use std::os::fd::AsRawFd;

use landfall_agent::protocol::Reply;
use nix::errno::Errno;
use nix::libc;

/// Does an ioctl of a `uapi.rs` that takes a `T` in which there is no address.
pub(crate) fn ioctl<T>(file: &File, number: u32, argument: &mut T) -> Result<(), Errno> {
    // SAFETY: the argument has no address, so the driver touches no other memory.
    unsafe { ioctl_with_address(file, number, argument) }
}

/// Does an ioctl of a `uapi.rs` that takes a `T`.
///
/// # Safety
/// What lies at the addresses in `argument` is memory that the driver may use as its `uapi.rs` says.
pub(crate) unsafe fn ioctl_with_address<T>(
    file: &File,
    number: u32,
    argument: &mut T,
) -> Result<(), Errno> {
    // SAFETY: `number` carries the size of `T` (`uapi::iowr`), so the driver reads and writes that many bytes
    // and no more; every `T` of a `uapi.rs` is plain integers, valid with any bits. The caller answers for the rest.
    let result = unsafe {
        libc::ioctl(
            file.as_raw_fd(),
            libc::Ioctl::from(number),
            std::ptr::from_mut(argument),
        )
    };
    Errno::result(result).map(drop)
}

/// Does an ioctl of a `uapi.rs` that takes nothing.
pub(crate) fn plain(file: &File, number: u32) -> Result<Reply, Errno> {
    // SAFETY: these commands take no argument, so the driver touches no memory of ours.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::Ioctl::from(number), 0) };
    Errno::result(result).map(|_| Reply::Done)
}
