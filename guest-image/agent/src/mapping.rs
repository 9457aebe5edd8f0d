// SPDX-License-Identifier: MIT OR Apache-2.0

//! Memory of a driver, mapped: frames, clip masks, buffers of the pool.

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
    ///
    /// By words, not by `memcpy`: that is a `rep movsb`, which TCG does byte after byte, ten times slower.
    pub(crate) fn read(&self, offset: usize, out: &mut [u8]) -> usize {
        let length = self.length.saturating_sub(offset).min(out.len());
        let out = out.get_mut(..length).unwrap_or_default();
        let unaligned = (offset.wrapping_neg() % 8).min(length);
        let (head, rest) = out.split_at_mut(unaligned);
        let (words, tail) = rest.as_chunks_mut::<8>();
        let mut at = offset;
        for byte in head {
            // SAFETY: `at` is one of `length` bytes from `offset` on, which the mapping has.
            *byte = unsafe { self.load::<u8>(at) };
            at += 1;
        }
        for word in words {
            // SAFETY: as above, for all eight; `head` ended at a multiple of 8, or nothing follows it.
            *word = unsafe { self.load::<u64>(at) }.to_ne_bytes();
            at += 8;
        }
        for byte in tail {
            // SAFETY: as for `head`.
            *byte = unsafe { self.load::<u8>(at) };
            at += 1;
        }
        length
    }

    /// Loads what lies at `at`. No reference to the mapping is made, since the card may be writing to it; a torn
    /// word then has wrong bytes, which is what a capture test has to see.
    ///
    /// # Safety
    /// `at + size_of::<T>() <= self.length`, `at` is a multiple of `T`'s alignment, and any bits are a `T`.
    unsafe fn load<T>(&self, at: usize) -> T {
        // SAFETY: the caller's word; the mapping begins at a page, and all of it is readable.
        unsafe {
            self.base
                .as_ptr()
                .cast::<u8>()
                .add(at)
                .cast::<T>()
                .read_volatile()
        }
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

    /// Copies the whole of another one of the same size here, by words, as [`Mapping::read`] does, and a cache line of
    /// them at a time: under TCG two pages of the same place in its TLB get in each other's way at every change. The
    /// mapping must be writable.
    pub(crate) fn copy_from(&mut self, other: &Self) -> Result<(), Errno> {
        const LINE: usize = 64;
        if self.length != other.length || !self.length.is_multiple_of(LINE) {
            return Err(Errno::EINVAL);
        }
        let to = self.base.as_ptr().cast::<[u64; LINE / 8]>();
        for line in 0..self.length / LINE {
            // SAFETY: `line` lies in both, which are equally long and begin at pages; the caller asked for a writable
            // one.
            unsafe { to.add(line).write_volatile(other.load(line * LINE)) };
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
