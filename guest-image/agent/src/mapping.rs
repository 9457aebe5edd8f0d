// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory of the driver, mapped: frames and clip masks.

use std::fs::File;
use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::libc::c_void;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// A page of the guest, bytes; `mmap` takes whole ones.
const PAGE: u64 = 4096;

/// A shared mapping of `length` bytes. The card may write to it at any time.
pub(crate) struct Mapping {
    base: NonNull<c_void>,
    length: usize,
    mapped: NonZeroUsize,
}

// SAFETY: the mapping belongs to the process, not to a thread; nothing in it is tied to who made it.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `length` bytes at `offset` of the driver's file, for writing too if asked.
    pub(crate) fn new(file: &File, offset: u64, length: u64, write: bool) -> Result<Self, Errno> {
        let whole = length
            .checked_next_multiple_of(PAGE)
            .ok_or(Errno::EOVERFLOW)?;
        let whole = usize::try_from(whole).map_err(|_| Errno::EOVERFLOW)?;
        let mapped = NonZeroUsize::new(whole).ok_or(Errno::EINVAL)?;
        let offset = i64::try_from(offset).map_err(|_| Errno::EOVERFLOW)?;
        let mut protection = ProtFlags::PROT_READ;
        if write {
            protection |= ProtFlags::PROT_WRITE;
        }
        // SAFETY: a new mapping at an address of the kernel's choice; it overlays nothing.
        let base = unsafe { mmap(None, mapped, protection, MapFlags::MAP_SHARED, file, offset) }?;
        let length = usize::try_from(length).map_err(|_| Errno::EOVERFLOW)?;
        Ok(Self {
            base,
            length,
            mapped,
        })
    }

    /// Bytes.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Copies from `offset` into `out`, to the end of the mapping at most; tells how many bytes that were.
    pub(crate) fn read(&self, offset: usize, out: &mut [u8]) -> usize {
        let length = self.length.saturating_sub(offset).min(out.len());
        if length > 0 {
            // SAFETY: `offset + length <= self.length`, all of it mapped readable; `out` is memory of ours, so
            // the two do not overlap. No reference to the mapping is made, since the card may be writing to it;
            // a torn byte is then a wrong byte, which is what a capture test has to see.
            unsafe {
                let from = self.base.as_ptr().cast::<u8>().add(offset);
                std::ptr::copy_nonoverlapping(from, out.as_mut_ptr(), length);
            }
        }
        length
    }

    /// Copies `data` to `offset`; refuses, writing nothing, if it does not fit. The mapping must be writable.
    pub(crate) fn write(&mut self, offset: usize, data: &[u8]) -> Result<(), Errno> {
        let end = offset.checked_add(data.len()).ok_or(Errno::EOVERFLOW)?;
        if end > self.length {
            return Err(Errno::EINVAL);
        }
        // SAFETY: `offset + data.len() <= self.length`, all of it mapped; the caller asked for a writable one.
        unsafe {
            let to = self.base.as_ptr().cast::<u8>().add(offset);
            std::ptr::copy_nonoverlapping(data.as_ptr(), to, data.len());
        }
        Ok(())
    }

    /// Reads a 32-bit register of a BAR.
    pub(crate) fn read_register(&self, offset: u32) -> Result<u32, Errno> {
        let register = self.register(offset)?;
        // SAFETY: `register` lies in the mapping and is aligned. Volatile, since reading has effects.
        Ok(unsafe { register.read_volatile() })
    }

    /// Writes a 32-bit register of a BAR. The mapping must be writable.
    pub(crate) fn write_register(&mut self, offset: u32, value: u32) -> Result<(), Errno> {
        let register = self.register(offset)?;
        // SAFETY: as above, and the caller asked for a writable mapping.
        unsafe { register.write_volatile(value) };
        Ok(())
    }

    /// The register at `offset`; refused if it is not aligned or not in the mapping.
    fn register(&self, offset: u32) -> Result<*mut u32, Errno> {
        let offset = offset as usize;
        if !offset.is_multiple_of(4) || offset + 4 > self.length {
            return Err(Errno::EINVAL);
        }
        // SAFETY: `offset + 4 <= self.length`, all of it mapped; a mapping begins at a page, so this is aligned.
        Ok(unsafe { self.base.as_ptr().cast::<u8>().add(offset) }.cast())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped, and nothing refers to it any more.
        let _ = unsafe { munmap(self.base, self.mapped.get()) };
    }
}
