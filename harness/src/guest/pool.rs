// SPDX-License-Identifier: MIT OR Apache-2.0

//! The pool, as user space of the guest sees it: `/dev/landfall-pool`.
//!
//! A buffer goes back to the pool when the last of these is gone: the file that took it, unless it was freed there
//! ([`Pool::free`]); its mappings; its dma-bufs. Each of them here is a handle that lets go when it is dropped.

use std::time::Duration;

use landfall_agent::protocol::pool::{Mappable, PoolReply, PoolRequest};
pub use landfall_agent::protocol::pool::{PoolBuffer, PoolWanted, Taken, held_word};
use landfall_agent::protocol::{Reply, Request};

use super::failure::Result;
use super::{Guest, Running, unexpected};

/// How long the pool may look for memory, or time a source, besides what any request may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A region that was added to the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grown {
    /// Its number, for [`Pool::shrink`] and [`super::Region::id`].
    pub region: u32,
    /// How taking it went.
    pub taken: Taken,
}

/// A region that was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenBack {
    /// The kernel has its memory again; `false` for what was kept at boot.
    pub returned: bool,
    /// How long it took.
    pub took: Duration,
}

/// A source that was timed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Taking, round after round.
    pub take: Vec<Duration>,
    /// Giving back, likewise.
    pub give: Vec<Duration>,
    /// What the last round gave.
    pub taken: Taken,
}

/// Size of a huge page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HugePage {
    /// 2 MiB.
    Mib2,
    /// 1 GiB.
    Gib1,
}

impl<Stage: Running> Guest<Stage> {
    /// Opens the pool's device file, as often as asked for.
    ///
    /// # Errors
    /// If the guest refuses, with `ENOENT` if the pool is not loaded.
    pub fn pool(&self) -> Result<Pool<'_, Stage>> {
        match self.pool_request(PoolRequest::Open)? {
            Reply::Pool(PoolReply::File(file)) => Ok(Pool {
                guest: self,
                file,
                open: true,
            }),
            other => Err(unexpected(&other)),
        }
    }

    /// Starts a process that takes a buffer of `bytes` (a multiple of 8), maps it, and fills it with [`held_word`].
    ///
    /// # Errors
    /// If the guest refuses, or the pool does.
    pub fn hold_pool_buffer(&self, bytes: u64, uncached: bool) -> Result<Holder<'_, Stage>> {
        match self.pool_request(PoolRequest::Hold { bytes, uncached })? {
            Reply::Pool(PoolReply::Held {
                process,
                phys,
                allocated,
            }) => Ok(Holder {
                guest: self,
                process,
                phys,
                allocated,
            }),
            other => Err(unexpected(&other)),
        }
    }

    fn pool_request(&self, request: PoolRequest) -> Result<Reply> {
        self.ask_within(Request::Pool(request), PATIENCE)
    }

    /// Lets go of something; a guest that is gone has let go too.
    fn pool_drop(&self, open: bool, request: PoolRequest) {
        if open && !std::thread::panicking() {
            let _ = self.pool_request(request);
        }
    }
}

/// One open file of the pool.
#[derive(Debug)]
pub struct Pool<'guest, Stage: Running> {
    guest: &'guest Guest<Stage>,
    file: u32,
    open: bool,
}

impl<'guest, Stage: Running> Pool<'guest, Stage> {
    /// Takes a buffer.
    ///
    /// # Errors
    /// If the guest refuses: `EINVAL`, `ENOMEM`, `ENOSPC`, `EOPNOTSUPP`, as `kmod/pool/uapi.rs` says.
    pub fn allocate(&self, wanted: &PoolWanted) -> Result<PoolBuffer> {
        let wanted = wanted.clone();
        match self.ask(PoolRequest::Allocate {
            file: self.file,
            wanted,
        })? {
            Reply::Pool(PoolReply::Buffer(buffer)) => Ok(buffer),
            other => Err(unexpected(&other)),
        }
    }

    /// Lets go of a buffer, by its handle.
    ///
    /// # Errors
    /// If the guest refuses: `ENOENT` if this file has no such buffer.
    pub fn free(&self, handle: u32) -> Result<()> {
        self.ask(PoolRequest::Free {
            file: self.file,
            handle,
        })
        .map(drop)
    }

    /// Makes a dma-buf of a buffer, by its handle.
    ///
    /// # Errors
    /// If the guest refuses: `ENOENT` if this file has no such buffer.
    pub fn export(&self, handle: u32) -> Result<DmaBuf<'guest, Stage>> {
        match self.ask(PoolRequest::Export {
            file: self.file,
            handle,
        })? {
            Reply::Pool(PoolReply::DmaBuf(fd)) => Ok(DmaBuf {
                guest: self.guest,
                fd,
                open: true,
            }),
            other => Err(unexpected(&other)),
        }
    }

    /// Maps a buffer, by its handle.
    ///
    /// # Errors
    /// If the guest refuses: `ENOENT` if this file has no such buffer.
    pub fn map(&self, handle: u32) -> Result<PoolMapping<'guest, Stage>> {
        let file = self.file;
        PoolMapping::new(self.guest, Mappable::Buffer { file, handle })
    }

    /// Adds a region: `pages` (0: the source's default) from `source`, below `2^address_bits` (0: anywhere).
    ///
    /// # Errors
    /// If the guest refuses, as at loading; then the pool is as before.
    pub fn grow(&self, source: &str, pages: u64, address_bits: u32) -> Result<Grown> {
        self.region(PoolRequest::Grow {
            file: self.file,
            source: source.to_owned(),
            pages,
            address_bits,
        })
    }

    /// Gives a region back.
    ///
    /// # Errors
    /// If the guest refuses: `EBUSY` while a buffer of it is lent, `ENOENT` if there is none.
    pub fn shrink(&self, region: u32) -> Result<GivenBack> {
        match self.ask(PoolRequest::Shrink {
            file: self.file,
            region,
        })? {
            Reply::Pool(PoolReply::GivenBack { returned, give_ns }) => Ok(GivenBack {
                returned,
                took: Duration::from_nanos(give_ns),
            }),
            other => Err(unexpected(&other)),
        }
    }

    /// Makes a region of `bytes` of huge pages.
    ///
    /// # Errors
    /// If the guest refuses: `ENOMEM` if there are not as many, `ERANGE` if they are not in one piece.
    pub fn adopt(&self, bytes: u64, page: HugePage) -> Result<Grown> {
        self.region(PoolRequest::Adopt {
            file: self.file,
            bytes,
            page_shift: match page {
                HugePage::Mib2 => 21,
                HugePage::Gib1 => 30,
            },
        })
    }

    /// Takes `pages` from `source` and gives them back, `rounds` times; the pool stays as it is.
    ///
    /// # Errors
    /// As [`Pool::grow`].
    pub fn measure(
        &self,
        source: &str,
        pages: u64,
        address_bits: u32,
        rounds: u32,
    ) -> Result<Measured> {
        match self.ask(PoolRequest::Measure {
            file: self.file,
            source: source.to_owned(),
            pages,
            address_bits,
            rounds,
        })? {
            Reply::Pool(PoolReply::Measured { times, taken }) => {
                let (take, give) = times
                    .into_iter()
                    .map(|(take, give)| (Duration::from_nanos(take), Duration::from_nanos(give)))
                    .unzip();
                Ok(Measured { take, give, taken })
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Closes the file; its buffers that are neither mapped nor a dma-buf go back.
    ///
    /// # Errors
    /// If the guest refuses.
    pub fn close(mut self) -> Result<()> {
        self.open = false;
        self.ask(PoolRequest::Close { file: self.file }).map(drop)
    }

    fn region(&self, request: PoolRequest) -> Result<Grown> {
        match self.ask(request)? {
            Reply::Pool(PoolReply::Region { region, taken }) => Ok(Grown { region, taken }),
            other => Err(unexpected(&other)),
        }
    }

    fn ask(&self, request: PoolRequest) -> Result<Reply> {
        self.guest.pool_request(request)
    }
}

impl<Stage: Running> Drop for Pool<'_, Stage> {
    fn drop(&mut self) {
        let request = PoolRequest::Close { file: self.file };
        self.guest.pool_drop(self.open, request);
    }
}

/// A dma-buf's file descriptor, in the agent.
#[derive(Debug)]
pub struct DmaBuf<'guest, Stage: Running> {
    guest: &'guest Guest<Stage>,
    fd: i32,
    open: bool,
}

impl<'guest, Stage: Running> DmaBuf<'guest, Stage> {
    /// Its number in the agent, which is who loads modules: a module's parameter can name it.
    pub fn fd(&self) -> i32 {
        self.fd
    }

    /// Maps it.
    ///
    /// # Errors
    /// If the guest refuses.
    pub fn map(&self) -> Result<PoolMapping<'guest, Stage>> {
        PoolMapping::new(self.guest, Mappable::DmaBuf { fd: self.fd })
    }

    /// Closes it.
    ///
    /// # Errors
    /// If the guest refuses.
    pub fn close(mut self) -> Result<()> {
        self.open = false;
        let request = PoolRequest::CloseDmaBuf { fd: self.fd };
        self.guest.pool_request(request).map(drop)
    }
}

impl<Stage: Running> Drop for DmaBuf<'_, Stage> {
    fn drop(&mut self) {
        let request = PoolRequest::CloseDmaBuf { fd: self.fd };
        self.guest.pool_drop(self.open, request);
    }
}

/// A buffer, or a dma-buf, mapped in the agent.
#[derive(Debug)]
pub struct PoolMapping<'guest, Stage: Running> {
    guest: &'guest Guest<Stage>,
    mapping: u32,
    bytes: u64,
    open: bool,
}

impl<'guest, Stage: Running> PoolMapping<'guest, Stage> {
    fn new(guest: &'guest Guest<Stage>, of: Mappable) -> Result<Self> {
        match guest.pool_request(PoolRequest::Map { of })? {
            Reply::Pool(PoolReply::Mapping { mapping, bytes }) => Ok(Self {
                guest,
                mapping,
                bytes,
                open: true,
            }),
            other => Err(unexpected(&other)),
        }
    }

    /// Bytes: whole pages.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Reads, to the end at most; at most [`landfall_agent::protocol::MAX_DATA`] bytes.
    ///
    /// # Errors
    /// If the guest refuses.
    pub fn read(&self, offset: u64, length: u32) -> Result<Vec<u8>> {
        match self.guest.pool_request(PoolRequest::Read {
            mapping: self.mapping,
            offset,
            length,
        })? {
            Reply::Data(data) => Ok(data),
            other => Err(unexpected(&other)),
        }
    }

    /// Writes.
    ///
    /// # Errors
    /// If the guest refuses: `EINVAL` if it does not fit.
    pub fn write(&self, offset: u64, data: impl AsRef<[u8]>) -> Result<()> {
        let request = PoolRequest::Write {
            mapping: self.mapping,
            offset,
            data: data.as_ref().to_vec(),
        };
        self.guest.pool_request(request).map(drop)
    }

    /// Copies all of it to another one of the same size, `count` times, by the guest's CPU; how long each took.
    ///
    /// # Errors
    /// If the guest refuses: `EINVAL` if they are not of the same size, `EBADF` if they are one.
    pub fn copy_to(&self, other: &Self, count: u32) -> Result<Vec<Duration>> {
        match self.guest.pool_request(PoolRequest::Copy {
            from: self.mapping,
            to: other.mapping,
            count,
        })? {
            Reply::Times(times) => Ok(times.into_iter().map(Duration::from_nanos).collect()),
            other => Err(unexpected(&other)),
        }
    }

    /// Unmaps it.
    ///
    /// # Errors
    /// If the guest refuses.
    pub fn unmap(mut self) -> Result<()> {
        self.open = false;
        let mapping = self.mapping;
        self.guest
            .pool_request(PoolRequest::Unmap { mapping })
            .map(drop)
    }
}

impl<Stage: Running> Drop for PoolMapping<'_, Stage> {
    fn drop(&mut self) {
        let mapping = self.mapping;
        self.guest
            .pool_drop(self.open, PoolRequest::Unmap { mapping });
    }
}

/// A process in the guest that has a buffer. It ends with the guest, or when it is killed.
#[derive(Debug)]
pub struct Holder<'guest, Stage: Running> {
    guest: &'guest Guest<Stage>,
    process: i32,
    /// Physical address of its buffer.
    pub phys: u64,
    /// Bytes of its pages.
    pub allocated: u64,
}

impl<Stage: Running> Holder<'_, Stage> {
    /// Kills it as `kill -9` does, waits until it is gone, and gives its exit status: 137, unless it ended before.
    ///
    /// # Errors
    /// If the guest refuses.
    pub fn kill(self) -> Result<i32> {
        let process = self.process;
        match self
            .guest
            .pool_request(PoolRequest::KillHolder { process })?
        {
            Reply::Pool(PoolReply::Ended(status)) => Ok(status),
            other => Err(unexpected(&other)),
        }
    }
}
