// SPDX-License-Identifier: MIT OR Apache-2.0

//! The window: one file of guest memory, mapped whole and once.
//!
//! This is the only place of the crate that touches memory it shares with somebody else. The pointers are
//! vm-memory's: its volatile slices make no reference to the shared bytes, so a guest that writes them at
//! the same time costs us a torn value, never soundness. The crate itself forbids unsafe code.
//!
//! A peer that shrinks a file under a mapping makes the process die of SIGBUS. So only a file is mapped that is sealed
//! against that, as QEMU's own and the harness's are, and has no pages that can run out (huge ones). Any other is reached
//! by system calls, byte for byte the same and slower: where its end is meanwhile nearer, the access fails, and nothing else.
//!
//! # The first write to a page
//!
//! A store to a page that this process has not reached yet costs a fault, several times what copying the
//! page costs. So the window remembers which pages it has reached, and goes to the others in a better way:
//!
//! - A page that the file has is read from first. The system answers such a fault by making the pages
//!   around it reachable too, as far as the file has them, which it does not for a fault of a store.
//! - A page that the file has not, a hole, is written through a descriptor instead: it then comes into being
//!   with these bytes, and is not cleared before. The window does not count it as reached.
//!
//! Both concern the pages written and no other, and both are only about time: where a descriptor is of no
//! use, or a page that was reached is taken away again, a store does everything by itself.

use std::fs::File;
use std::num::NonZeroUsize;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};

use rustix::fs::{OFlags, SealFlags, SeekFrom};
use vm_memory::bitmap::{AtomicBitmap, BitmapSlice};
use vm_memory::mmap::MmapRegionError;
use vm_memory::{
    Bytes, FileOffset, MmapRegion, VolatileMemory, VolatileMemoryError, VolatileSlice,
};

use super::map::PIECE;

/// Why the memory of a file cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum WindowError {
    /// Its identity or length could not be asked.
    #[error("cannot examine the memory file")]
    Examine(#[source] std::io::Error),
    /// The mapping asks for bytes past the end of the file.
    #[error("mapping of {needed} bytes passes the end of the file, {length} bytes")]
    PastEnd {
        /// Bytes of the file that the mapping needs.
        needed: u64,
        /// Bytes that the file has.
        length: u64,
    },
    /// It has huge pages: whoever reaches for one that is not there any more is killed, sealed or not.
    #[error("memory of huge pages can go away under the card")]
    Huge,
    /// Its descriptor is for writing alone.
    #[error("the memory file is not open for reading")]
    Unreadable,
    /// The system refused the mapping.
    #[error("cannot map the memory file")]
    Map(#[source] MmapRegionError),
}

/// Bytes of a page, at least; where pages are larger, some are looked at more than once.
const PAGE: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");
/// How far into a file pages are remembered; one bit a page. Those beyond are always looked at anew.
const REMEMBERED: usize = 1 << 40;

/// Why bytes were not moved: the file is not as long as it was, or takes none.
#[derive(Debug)]
pub(super) struct Lost;

impl From<VolatileMemoryError> for Lost {
    fn from(_: VolatileMemoryError) -> Self {
        Self
    }
}

impl From<std::io::Error> for Lost {
    fn from(_: std::io::Error) -> Self {
        Self
    }
}

/// A file of memory, from its start to where its end was.
#[derive(Debug)]
pub(super) struct Window {
    /// Device and inode of the file.
    file: (u64, u64),
    length: u64,
    writable: bool,
    reach: Reach,
}

/// How its bytes are reached.
#[derive(Debug)]
enum Reach {
    /// It cannot become shorter, and is mapped.
    Mapped(Mapped),
    /// It can.
    Calls(File),
}

#[derive(Debug)]
struct Mapped {
    region: MmapRegion,
    /// The file, opened anew: the position and the flags of this descriptor are nobody else's.
    own: Option<File>,
    /// Pages that a store reaches without a fault.
    reached: AtomicBitmap,
}

/// How bytes go into a part of mapped memory.
#[derive(Clone, Copy, Debug)]
enum Way<'a> {
    /// By stores.
    Stores,
    /// By system calls, to a file that has a hole there.
    Calls(&'a File),
}

/// Whether a descriptor is for writing, too.
pub(super) fn writes(file: &File) -> Result<bool, WindowError> {
    let flags =
        rustix::fs::fcntl_getfl(file).map_err(|errno| WindowError::Examine(errno.into()))?;
    match flags & OFlags::ACCMODE {
        OFlags::WRONLY => Err(WindowError::Unreadable),
        mode => Ok(mode == OFlags::RDWR),
    }
}

impl Window {
    /// Takes the whole of `file`, for reading, and for writing if its descriptor is for that.
    pub(super) fn new(file: File, length: u64) -> Result<Self, WindowError> {
        let writable = writes(&file)?;
        let metadata = file.metadata().map_err(WindowError::Examine)?;
        let identity = (metadata.dev(), metadata.ino());
        let own = reopen(&file).filter(|_| writable);
        let seals = match is_huge(&file)? {
            true => return Err(WindowError::Huge),
            // What cannot be sealed has none.
            false => rustix::fs::fcntl_get_seals(&file).unwrap_or(SealFlags::empty()),
        };
        if seals.contains(SealFlags::SHRINK) {
            let (mapped, writable) = Mapped::new(file, own, length)?;
            let reach = Reach::Mapped(mapped);
            return Ok(Self {
                file: identity,
                length,
                writable,
                reach,
            });
        }
        // Of the peer's own descriptor the peer may say at any time that it appends: it would lead astray in its own file.
        let sealed = seals.intersects(SealFlags::WRITE | SealFlags::FUTURE_WRITE);
        Ok(Self {
            file: identity,
            length,
            writable: writable && !sealed,
            reach: Reach::Calls(own.unwrap_or(file)),
        })
    }

    /// Device and inode of the file.
    pub(super) fn file(&self) -> (u64, u64) {
        self.file
    }

    /// Bytes from the start of the file that can be reached.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Whether it can be written.
    pub(super) fn writable(&self) -> bool {
        self.writable
    }

    /// Copies `into.len()` bytes at `offset` of the file out of it.
    pub(super) fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), Lost> {
        match &self.reach {
            Reach::Mapped(mapped) => mapped.slice(offset, into.len())?.read_slice(into, 0)?,
            Reach::Calls(file) => file.read_exact_at(into, offset)?,
        }
        Ok(())
    }

    /// Copies `from` into the file at `offset`. The window must be writable.
    pub(super) fn write(&self, offset: u64, from: &[u8]) -> Result<(), Lost> {
        let way = self.way(offset, from.len())?;
        self.put(way, offset, from)
    }

    /// Writes `length` bytes at `offset` of the file, as [`Window::write`] does, which `make` puts into
    /// `piece`, one part of it after the other; it is told how many bytes came before.
    pub(super) fn fill(
        &self,
        offset: u64,
        length: usize,
        piece: &mut [u8; PIECE],
        mut make: impl FnMut(usize, &mut [u8]),
    ) -> Result<(), Lost> {
        let way = self.way(offset, length)?;
        for done in (0..length).step_by(PIECE) {
            let (piece, _) = piece.split_at_mut(PIECE.min(length - done));
            make(done, piece);
            self.put(way, offset + done as u64, piece)?;
        }
        Ok(())
    }

    /// Decides how to write a part of the window.
    fn way(&self, offset: u64, length: usize) -> Result<Way<'_>, Lost> {
        match &self.reach {
            Reach::Mapped(mapped) => mapped.way(offset, length),
            // A write behind the end would make the file longer again.
            Reach::Calls(file) => match offset.checked_add(length as u64) {
                Some(end) if end <= file.metadata()?.len() => Ok(Way::Calls(file)),
                _ => Err(Lost),
            },
        }
    }

    fn put(&self, way: Way<'_>, offset: u64, from: &[u8]) -> Result<(), Lost> {
        debug_assert!(self.writable, "the map checks this");
        match (way, &self.reach) {
            (Way::Calls(file), Reach::Calls(_)) => file.write_all_at(from, offset)?,
            (Way::Calls(file), Reach::Mapped(_)) if file.write_all_at(from, offset).is_ok() => {}
            (_, Reach::Mapped(mapped)) => {
                mapped.slice(offset, from.len())?.write_slice(from, 0)?;
            }
            (Way::Stores, Reach::Calls(_)) => return Err(Lost),
        }
        Ok(())
    }
}

impl Mapped {
    /// Maps the whole of `file`, for reading and if it can be had for writing too; whether it could.
    fn new(file: File, own: Option<File>, length: u64) -> Result<(Self, bool), WindowError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let file = FileOffset::new(file, 0);
        let both = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_NORESERVE;
        let (region, writable) = match MmapRegion::build(Some(file.clone()), length, both, flags) {
            Ok(region) => (region, true),
            Err(_) => MmapRegion::build(Some(file), length, libc::PROT_READ, flags)
                .map(|region| (region, false))
                .map_err(WindowError::Map)?,
        };
        let reached = AtomicBitmap::new(length.min(REMEMBERED), PAGE);
        let mapped = Self {
            region,
            own,
            reached,
        };
        Ok((mapped, writable))
    }

    /// As [`Window::way`], and for stores makes its pages reachable.
    fn way(&self, offset: u64, length: usize) -> Result<Way<'_>, Lost> {
        let slice = self.slice(offset, length)?;
        let (start, end) = (offset as usize, offset as usize + length);
        let pages = || start / PAGE..end.div_ceil(PAGE.get());
        if pages().all(|page| self.reached.is_bit_set(page)) {
            return Ok(Way::Stores);
        }
        // Where the next data is: found at once, unlike the next hole, for which all data is walked.
        if let Some(file) = &self.own
            && rustix::fs::seek(file, SeekFrom::Data(offset)) != Ok(offset)
        {
            return Ok(Way::Calls(file));
        }
        for page in pages().filter(|page| !self.reached.is_bit_set(*page)) {
            let inside = (page * PAGE.get()).saturating_sub(start);
            slice.read_obj::<u8>(inside)?;
        }
        self.reached.set_addr_range(start, length);
        Ok(Way::Stores)
    }

    fn slice(
        &self,
        offset: u64,
        length: usize,
    ) -> Result<VolatileSlice<'_, impl BitmapSlice>, VolatileMemoryError> {
        let addr = usize::try_from(offset)
            .map_err(|_| VolatileMemoryError::OutOfBounds { addr: usize::MAX })?;
        self.region.get_slice(addr, length)
    }
}

/// Whether a file is of huge pages.
fn is_huge(file: &File) -> Result<bool, WindowError> {
    const HUGETLBFS: u32 = 0x9584_58f6;
    let system = rustix::fs::fstatfs(file).map_err(|errno| WindowError::Examine(errno.into()))?;
    // CAST: its width is the platform's; the number has 32 bits.
    Ok(system.f_type as u32 == HUGETLBFS)
}

/// Opens a file anew for reading and writing, if that can be had.
fn reopen(file: &File) -> Option<File> {
    // What is no plain file might do something when it is opened.
    file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    File::options().read(true).write(true).open(path).ok()
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
