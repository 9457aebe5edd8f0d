// SPDX-License-Identifier: MIT OR Apache-2.0

//! Huge pages that become a region of the pool.
//!
//! The kernel hands huge pages out in an order of its own. So all that are free are taken, the lowest run of them that
//! is long enough is moved (`mremap`) into one mapping in the order of its physical addresses, and the others go back.

use std::fs::{self, File};
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::libc::{self, c_void};
use nix::sys::mman::{MRemapFlags, MapFlags, ProtFlags, mmap_anonymous, mremap, munmap};

use crate::ioctl::ioctl_with_address;
use crate::pool_uapi as uapi;

/// Bytes of a page, and of its entry in `/proc/self/pagemap`.
const PAGE: u64 = 4096;
const ENTRY: u64 = 8;
/// The bits of such an entry that are the page's number.
const NUMBER: u64 = (1 << 55) - 1;

/// Has the pool adopt `bytes` of huge pages of `2^page_shift` bytes, and unmaps them: the pool keeps them pinned. Gives
/// the region's number and what the pool says of it. `ENOMEM` if there are not as many free, `ERANGE` if they are not
/// in one piece.
pub(super) fn adopt(file: &File, bytes: u64, page_shift: u32) -> io::Result<(u32, uapi::Taken)> {
    let size = 1_u64
        .checked_shl(page_shift)
        .filter(|size| bytes > 0 && bytes.is_multiple_of(*size))
        .ok_or(Errno::EINVAL)?;
    let wanted = usize::try_from(bytes / size).map_err(|_| Errno::EOVERFLOW)?;
    let name = format!("/sys/kernel/mm/hugepages/hugepages-{}kB", size >> 10);
    let free = fs::read_to_string(format!("{name}/free_hugepages"))?;
    let free = free.trim().parse().unwrap_or(0);
    if wanted > free {
        return Err(Errno::ENOMEM.into());
    }
    let mut pages = (0..free)
        .map(|_| HugePage::new(size, page_shift))
        .collect::<io::Result<Vec<_>>>()?;
    pages.sort_by_key(|page| page.phys);
    let in_a_row = |run: &[HugePage]| {
        run.windows(2)
            .all(|pair| pair[0].phys + size == pair[1].phys)
    };
    let first = pages
        .windows(wanted)
        .position(in_a_row)
        .ok_or(Errno::ERANGE)?;
    let run: Vec<_> = pages.drain(first..first + wanted).collect();
    drop(pages);
    let row = Mapped::new(bytes, page_shift, MapFlags::MAP_NORESERVE)?;
    for (index, page) in (0..).zip(run) {
        page.move_to(&row, index * size)?;
    }
    let mut argument = uapi::Adopt {
        address: row.base.as_ptr().expose_provenance() as u64,
        bytes,
        ..uapi::Adopt::default()
    };
    // SAFETY: the pool pins what is mapped there and may write to it; nothing of ours is in it, and nothing here
    // uses it again.
    unsafe { ioctl_with_address(file, uapi::ADOPT, &mut argument) }?;
    Ok((argument.region, argument.taken))
}

/// A mapping of huge pages; unmapped when dropped.
struct Mapped {
    base: NonNull<c_void>,
    length: NonZeroUsize,
}

impl Mapped {
    fn new(bytes: u64, page_shift: u32, how: MapFlags) -> io::Result<Self> {
        let length = usize::try_from(bytes).map_err(|_| Errno::EOVERFLOW)?;
        let length = NonZeroUsize::new(length).ok_or(Errno::EINVAL)?;
        let shift = i32::try_from(page_shift).map_err(|_| Errno::EINVAL)? << libc::MAP_HUGE_SHIFT;
        let flags =
            MapFlags::MAP_PRIVATE | MapFlags::MAP_HUGETLB | MapFlags::from_bits_retain(shift) | how;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice; it overlays nothing.
        let base = unsafe { mmap_anonymous(None, length, protection, flags) }?;
        Ok(Self { base, length })
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: exactly what was mapped, and nothing refers to it.
        let _ = unsafe { munmap(self.base, self.length.get()) };
    }
}

/// One huge page, and where it lies.
struct HugePage {
    mapped: Mapped,
    phys: u64,
}

impl HugePage {
    fn new(size: u64, page_shift: u32) -> io::Result<Self> {
        let mapped = Mapped::new(size, page_shift, MapFlags::empty())?;
        // SAFETY: the first byte of a writable mapping that is ours alone.
        unsafe { mapped.base.as_ptr().cast::<u8>().write_volatile(1) };
        let address = mapped.base.as_ptr().expose_provenance() as u64;
        let mut entry = [0; 8];
        File::open("/proc/self/pagemap")?.read_exact_at(&mut entry, address / PAGE * ENTRY)?;
        let phys = (u64::from_le_bytes(entry) & NUMBER) * PAGE;
        Ok(Self { mapped, phys })
    }

    /// Moves the page to an offset of another mapping, instead of what is there.
    fn move_to(self, row: &Mapped, offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(|_| Errno::EOVERFLOW)?;
        let length = self.mapped.length.get();
        if offset + length > row.length.get() {
            return Err(Errno::EINVAL.into());
        }
        // SAFETY: all of it lies in that mapping, by the check above.
        let to = unsafe { row.base.byte_add(offset) };
        let flags = MRemapFlags::MREMAP_MAYMOVE | MRemapFlags::MREMAP_FIXED;
        // SAFETY: from a mapping that is ours alone to a part of another one that is, too, and has no page yet.
        unsafe { mremap(self.mapped.base, length, length, flags, Some(to)) }?;
        // It is part of the other mapping now.
        std::mem::forget(self.mapped);
        Ok(())
    }
}
