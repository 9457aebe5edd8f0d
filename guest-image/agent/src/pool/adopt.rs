// SPDX-License-Identifier: MIT OR Apache-2.0

//! Huge pages that become a region of the pool.

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;

use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use crate::ioctl::ioctl_with_address;
use crate::pool_uapi as uapi;

/// Maps `bytes` of huge pages, has the pool adopt them, and unmaps them: the pool keeps them pinned. Gives the
/// region's number and what the pool says of it.
pub(super) fn adopt(file: &File, bytes: u64, page_shift: u32) -> io::Result<(u32, uapi::Taken)> {
    let size = 1_u64
        .checked_shl(page_shift)
        .filter(|size| bytes.is_multiple_of(*size))
        .ok_or(Errno::EINVAL)?;
    let length = usize::try_from(bytes).map_err(|_| Errno::EOVERFLOW)?;
    let length = NonZeroUsize::new(length).ok_or(Errno::EINVAL)?;
    let shift = i32::try_from(page_shift).map_err(|_| Errno::EINVAL)? << libc::MAP_HUGE_SHIFT;
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_HUGETLB | MapFlags::from_bits_retain(shift);
    // SAFETY: a new mapping at an address of the kernel's choice; it overlays nothing.
    let base = unsafe {
        mmap_anonymous(
            None,
            length,
            ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
            flags,
        )
    }?;
    for page in (0..bytes / size).rev() {
        let offset = usize::try_from(page * size).unwrap_or(0);
        // SAFETY: `offset` lies in the mapping, which is writable and ours alone.
        unsafe { base.as_ptr().cast::<u8>().add(offset).write_volatile(1) };
    }
    let mut argument = uapi::Adopt {
        address: base.as_ptr().expose_provenance() as u64,
        bytes,
        ..uapi::Adopt::default()
    };
    // SAFETY: the pool pins what is mapped there and may write to it; nothing of ours is in it, and nothing here
    // uses it again.
    let adopted = unsafe { ioctl_with_address(file, uapi::ADOPT, &mut argument) };
    // SAFETY: exactly what was mapped above, and nothing refers to it.
    let unmapped = unsafe { munmap(base, length.get()) };
    adopted?;
    unmapped?;
    Ok((argument.region, argument.taken))
}
