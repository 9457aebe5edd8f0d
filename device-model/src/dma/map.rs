// SPDX-License-Identifier: MIT OR Apache-2.0

//! The mappings that the machine has made for a function: bus address to memory.
//!
//! Without an IOMMU there are a handful, with one there is one per page of it. Each may come with a
//! descriptor of its own, so a file is recognised by device, inode and whether its descriptor is for writing, is opened
//! once, and further descriptors of it are closed. Whether it is mapped, or reached by calls, [`super::window`] decides.
//!
//! A transfer holds the lock for reading for as long as it copies; a change of the mappings waits for it.
//! No pointer outlives a transfer.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::{RwLock, RwLockReadGuard};

use super::window::{self, Window, WindowError};
use crate::contract::{DmaError, JobId};

/// Most mappings that a function keeps; what the protocol's `max_dma_maps` promises by default.
pub const MAX_MAPPINGS: usize = 65_535;

/// Bytes that [`Map::fill`] has made and written at a time: a part of the fastest cache that a core has.
pub const PIECE: usize = 16 * 1024;

/// One range of bus addresses, as shown to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Mapping {
    /// First bus address.
    pub iova: u64,
    /// Bytes.
    pub length: u64,
    /// Where in its file the first byte lies; 0 if it has none.
    pub file_offset: u64,
    /// Whether the function may write it.
    pub writable: bool,
    /// Whether there is memory behind it that the function can reach.
    pub backed: bool,
}

/// What the machine asks for.
#[derive(Debug)]
pub struct Request {
    /// First bus address.
    pub iova: u64,
    /// Bytes.
    pub length: u64,
    /// Where in the file the first byte lies.
    pub file_offset: u64,
    /// Whether the function may read it.
    pub readable: bool,
    /// Whether the function may write it.
    pub writable: bool,
    /// The memory, if it can be shared.
    pub file: Option<File>,
}

/// What the function may do with a mapping that was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Added {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

/// Why a mapping was not made.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// It is empty or passes the end of the address space.
    #[error("mapping of {length:#x} bytes at {iova:#x} is empty or wraps")]
    Range {
        /// First bus address asked for.
        iova: u64,
        /// Bytes asked for.
        length: u64,
    },
    /// A part of it is mapped already.
    #[error("mapping of {length:#x} bytes at {iova:#x} overlaps another")]
    Overlap {
        /// First bus address asked for.
        iova: u64,
        /// Bytes asked for.
        length: u64,
    },
    /// There are [`MAX_MAPPINGS`] already.
    #[error("too many mappings")]
    TooMany,
    /// Its file is of no use.
    #[error("cannot reach the memory behind the mapping")]
    Window(#[from] WindowError),
}

/// Why nothing was unmapped.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnmapError {
    /// A mapping lies partly inside and partly outside the range.
    #[error("range {iova:#x}, {length:#x} bytes, cuts a mapping")]
    Cuts {
        /// First bus address asked for.
        iova: u64,
        /// Bytes asked for.
        length: u64,
    },
    /// No mapping lies there.
    #[error("nothing is mapped at {iova:#x}")]
    Nothing {
        /// First bus address asked for.
        iova: u64,
    },
}

#[derive(Debug)]
struct Segment {
    length: u64,
    file_offset: u64,
    readable: bool,
    writable: bool,
    window: Option<Arc<Window>>,
}

#[derive(Debug, Default)]
struct Inner {
    segments: BTreeMap<u64, Segment>,
    files: HashMap<(u64, u64, bool), Weak<Window>>,
}

/// Who is told what a card is about to do to the guest, before it does it. None of it may wait: mappings are held.
pub trait Foretold: std::fmt::Debug + Send + Sync {
    /// An access that writes is about to be made, for this job. Gives what it is to be known by.
    fn access(&self, job: Option<JobId>) -> u64;

    /// It writes so many bytes of a file (its device and inode), from this offset on.
    fn writes(&self, access: u64, file: (u64, u64), offset: u64, length: u64);

    /// An interrupt is about to be sent.
    fn interrupts(&self);
}

/// The mappings of one function. Shared between the thread that changes them and the one that uses them.
#[derive(Debug, Default)]
pub struct Map {
    inner: RwLock<Inner>,
    foretold: OnceLock<Arc<dyn Foretold>>,
}

impl Map {
    /// Adds a mapping.
    ///
    /// # Errors
    /// See [`MapError`]; the mappings are then as before.
    pub fn add(&self, request: Request) -> Result<(), MapError> {
        self.add_and(request, |_| ())
    }

    /// Adds a mapping and tells of it before anybody can use it.
    ///
    /// # Errors
    /// See [`MapError`]; the mappings are then as before, and nothing was told.
    pub(crate) fn add_and(
        &self,
        request: Request,
        tell: impl FnOnce(Added),
    ) -> Result<(), MapError> {
        let Request { iova, length, .. } = request;
        if length == 0 || iova.checked_add(length - 1).is_none() {
            return Err(MapError::Range { iova, length });
        }
        let mut inner = self.inner.write();
        let last = iova + (length - 1);
        if inner.overlapping(iova, last).next().is_some() {
            return Err(MapError::Overlap { iova, length });
        }
        if inner.segments.len() >= MAX_MAPPINGS {
            return Err(MapError::TooMany);
        }
        let window = match request.file {
            Some(file) => Some(inner.window(file, request.file_offset, length)?),
            None => None,
        };
        let segment = Segment {
            length,
            file_offset: if window.is_some() {
                request.file_offset
            } else {
                0
            },
            readable: request.readable,
            writable: request.writable && window.as_ref().is_none_or(|w| w.writable()),
            window,
        };
        tell(Added {
            readable: segment.readable,
            writable: segment.writable,
        });
        inner.segments.insert(iova, segment);
        Ok(())
    }

    /// Removes every mapping that lies in the range; waits for a transfer in hand.
    ///
    /// # Errors
    /// See [`UnmapError`]; the mappings are then as before.
    pub fn remove(&self, iova: u64, length: u64) -> Result<usize, UnmapError> {
        self.remove_and(iova, length, |_, _| ())
    }

    /// As [`Map::remove`], and tells address and length of each, in order, before anybody can find it gone.
    ///
    /// # Errors
    /// See [`UnmapError`]; the mappings are then as before, and nothing was told.
    pub(crate) fn remove_and(
        &self,
        iova: u64,
        length: u64,
        mut tell: impl FnMut(u64, u64),
    ) -> Result<usize, UnmapError> {
        let mut inner = self.inner.write();
        let last = iova.saturating_add(length.saturating_sub(1));
        let mut doomed = Vec::new();
        for (&start, segment) in inner.overlapping(iova, last) {
            if start < iova || start + (segment.length - 1) > last {
                return Err(UnmapError::Cuts { iova, length });
            }
            doomed.push(start);
        }
        if doomed.is_empty() {
            return Err(UnmapError::Nothing { iova });
        }
        for start in &doomed {
            if let Some(segment) = inner.segments.remove(start) {
                tell(*start, segment.length);
            }
        }
        inner.files.retain(|_, window| window.strong_count() > 0);
        Ok(doomed.len())
    }

    /// Removes every mapping; waits for a transfer in hand.
    pub fn clear(&self) {
        self.clear_and(|| ());
    }

    /// As [`Map::clear`], and tells of it before anybody can find them gone.
    pub(crate) fn clear_and(&self, tell: impl FnOnce()) {
        let mut inner = self.inner.write();
        tell();
        inner.segments.clear();
        inner.files.clear();
    }

    /// The mappings now, by ascending address.
    pub fn mappings(&self) -> Vec<Mapping> {
        let inner = self.inner.read();
        inner
            .segments
            .iter()
            .map(|(&iova, segment)| Mapping {
                iova,
                length: segment.length,
                file_offset: segment.file_offset,
                writable: segment.writable,
                backed: segment.window.is_some(),
            })
            .collect()
    }

    /// Keeps the mappings as they are for as long as it is held. Nothing that changes them may be called by the
    /// holder meanwhile: it would wait for itself.
    pub fn hold(&self) -> Held<'_> {
        Held(self.inner.read())
    }

    /// Has somebody told of what is about to be written; the first who asks is.
    pub(crate) fn foretell(&self, to: Arc<dyn Foretold>) {
        // A second one has no use, and is nobody's.
        let _ = self.foretold.set(to);
    }

    /// Who is told, if anybody is.
    pub(crate) fn foretold(&self) -> Option<&dyn Foretold> {
        self.foretold.get().map(|to| &**to)
    }

    /// As [`Held::read`].
    ///
    /// # Errors
    /// See [`DmaError`].
    pub fn read(&self, address: u64, into: &mut [u8]) -> Result<(), DmaError> {
        self.hold().read(address, into)
    }

    /// As [`Held::write`].
    ///
    /// # Errors
    /// See [`DmaError`].
    pub fn write(&self, address: u64, from: &[u8]) -> Result<(), DmaError> {
        self.hold().write(address, from)
    }

    /// As [`Held::fill`].
    ///
    /// # Errors
    /// See [`DmaError`].
    pub fn fill(
        &self,
        address: u64,
        length: usize,
        piece: &mut [u8; PIECE],
        make: &mut dyn FnMut(usize, &mut [u8]),
    ) -> Result<(), DmaError> {
        self.hold().fill(address, length, piece, make)
    }
}

/// The mappings, unchanged as long as this lives.
#[derive(Debug)]
pub struct Held<'a>(RwLockReadGuard<'a, Inner>);

impl Held<'_> {
    /// Tells of a write that is about to be made, if it can be.
    pub(crate) fn foretell(
        &self,
        to: &dyn Foretold,
        address: u64,
        length: usize,
        job: Option<JobId>,
    ) {
        let inner = &self.0;
        if (inner.check(address, length, |segment| segment.writable)).is_err() {
            return;
        }
        let access = to.access(job);
        // What is checked has no piece that fails.
        let _ = inner.pieces(address, length, |window, offset, length| {
            to.writes(access, window.file(), offset, length as u64);
            Ok(())
        });
    }

    /// Reads memory; all or nothing. May span adjacent mappings.
    ///
    /// # Errors
    /// See [`DmaError`].
    pub fn read(&self, address: u64, into: &mut [u8]) -> Result<(), DmaError> {
        let inner = &self.0;
        inner.check(address, into.len(), |segment| segment.readable)?;
        let mut done = 0;
        inner.pieces(address, into.len(), |window, offset, length| {
            let piece = into.get_mut(done..done + length).ok_or(DmaError::Wraps)?;
            done += length;
            window.read(offset, piece).map_err(|_| DmaError::Lost)
        })
    }

    /// Writes memory; all or nothing. May span adjacent mappings.
    ///
    /// # Errors
    /// See [`DmaError`].
    pub fn write(&self, address: u64, from: &[u8]) -> Result<(), DmaError> {
        let inner = &self.0;
        inner.check(address, from.len(), |segment| segment.writable)?;
        let mut done = 0;
        inner.pieces(address, from.len(), |window, offset, length| {
            let piece = from.get(done..done + length).ok_or(DmaError::Wraps)?;
            done += length;
            window.write(offset, piece).map_err(|_| DmaError::Lost)
        })
    }

    /// Writes memory as [`Held::write`] does, with bytes that `make` puts into `piece`, one part of it after
    /// the other; it is told how many bytes came before. On an error it was not called.
    ///
    /// # Errors
    /// See [`DmaError`].
    pub fn fill(
        &self,
        address: u64,
        length: usize,
        piece: &mut [u8; PIECE],
        make: &mut dyn FnMut(usize, &mut [u8]),
    ) -> Result<(), DmaError> {
        let inner = &self.0;
        inner.check(address, length, |segment| segment.writable)?;
        let mut done = 0;
        inner.pieces(address, length, |window, offset, length| {
            let before = done;
            done += length;
            window
                .fill(offset, length, piece, |at, piece| make(before + at, piece))
                .map_err(|_| DmaError::Lost)
        })
    }
}

impl Inner {
    /// The segments that have a byte in `first..=last`.
    fn overlapping(&self, first: u64, last: u64) -> impl Iterator<Item = (&u64, &Segment)> {
        let before = self
            .segments
            .range(..first)
            .next_back()
            .filter(move |(start, segment)| **start + (segment.length - 1) >= first);
        before.into_iter().chain(self.segments.range(first..=last))
    }

    /// Finds the window of a file, or makes it.
    fn window(&mut self, file: File, offset: u64, length: u64) -> Result<Arc<Window>, WindowError> {
        let metadata = file.metadata().map_err(WindowError::Examine)?;
        let needed = offset.saturating_add(length);
        if needed > metadata.len() {
            return Err(WindowError::PastEnd {
                needed,
                length: metadata.len(),
            });
        }
        let key = (metadata.dev(), metadata.ino(), window::writes(&file)?);
        let known = self.files.get(&key).and_then(Weak::upgrade);
        if let Some(window) = known.filter(|window| window.length() >= needed) {
            return Ok(window);
        }
        let window = Arc::new(Window::new(file, metadata.len())?);
        self.files.insert(key, Arc::downgrade(&window));
        Ok(window)
    }

    /// Checks that every byte is mapped, backed and `allowed`.
    fn check(
        &self,
        address: u64,
        length: usize,
        allowed: impl Fn(&Segment) -> bool,
    ) -> Result<(), DmaError> {
        let Some(distance) = (length as u64).checked_sub(1) else {
            return Ok(());
        };
        let last = address.checked_add(distance).ok_or(DmaError::Wraps)?;
        let mut next = Some(address);
        for (&start, segment) in self.overlapping(address, last) {
            if next.is_none_or(|next| start > next) {
                return Err(DmaError::Unmapped);
            }
            if segment.window.is_none() {
                return Err(DmaError::Unbacked);
            }
            if !allowed(segment) {
                return Err(DmaError::Direction);
            }
            next = start.checked_add(segment.length);
        }
        match next {
            Some(next) if next <= last => Err(DmaError::Unmapped),
            _ => Ok(()),
        }
    }

    /// Calls `each` with window, offset in its file and bytes, for each mapping of a checked range.
    fn pieces(
        &self,
        address: u64,
        length: usize,
        mut each: impl FnMut(&Window, u64, usize) -> Result<(), DmaError>,
    ) -> Result<(), DmaError> {
        let mut done = 0;
        while done < length {
            let at = address + done as u64;
            let (start, segment) = self
                .segments
                .range(..=at)
                .next_back()
                .ok_or(DmaError::Unmapped)?;
            let inside = at - start;
            let left = usize::try_from(segment.length - inside).unwrap_or(usize::MAX);
            let piece = left.min(length - done);
            let window = segment.window.as_ref().ok_or(DmaError::Unbacked)?;
            each(window, segment.file_offset + inside, piece)?;
            done += piece;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "map_tests.rs"]
mod tests;
