// SPDX-License-Identifier: MIT OR Apache-2.0

//! The pool, as user space sees it: open files of `/dev/landfall-pool`, dma-bufs made of their buffers, and mappings.

mod adopt;
pub(crate) mod holder;

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Instant;

use landfall_agent::protocol::pool::{
    Mappable, PoolBuffer, PoolReply, PoolRequest, PoolWanted, Taken,
};
use landfall_agent::protocol::{MAX_DATA, MAX_TIMES, Reply};
use nix::errno::Errno;
use nix::unistd::{Whence, lseek};

use crate::ioctl::{ioctl, ioctl_with_address};
use crate::mapping::Mapping;
use crate::pool_uapi as uapi;
use crate::reaper::Reaper;
use crate::{Outcome, failed};

/// The pool's device file.
const DEVICE: &str = "/dev/landfall-pool";

/// What is open, mapped and held.
#[derive(Default)]
pub(crate) struct Pools {
    files: HashMap<u32, Open>,
    dma_bufs: HashMap<i32, File>,
    mappings: HashMap<u32, Mapping>,
    holders: holder::Holders,
    /// The next number of a file or a mapping.
    next: u32,
}

/// An open file, and where its buffers are mapped.
struct Open {
    file: File,
    buffers: HashMap<u32, Place>,
}

/// Where a buffer is mapped.
struct Place {
    offset: u64,
    bytes: u64,
}

impl Pools {
    /// Does one request.
    pub(crate) fn answer(&mut self, request: PoolRequest, reaper: &Reaper) -> Outcome<Reply> {
        let operation = || format!("pool: {}", brief(&request));
        let wrong = |error: io::Error| failed(operation(), error);
        match &request {
            PoolRequest::Hold { bytes, uncached } => self
                .holders
                .start(*bytes, *uncached, reaper)
                .map(Reply::Pool),
            PoolRequest::KillHolder { process } => self.holders.kill(*process).map(Reply::Pool),
            other => self.perform(other).map_err(wrong),
        }
    }

    fn perform(&mut self, request: &PoolRequest) -> io::Result<Reply> {
        let reply = match request {
            PoolRequest::Open => {
                let file = open()?;
                let number = self.number();
                let buffers = HashMap::new();
                self.files.insert(number, Open { file, buffers });
                PoolReply::File(number)
            }
            PoolRequest::Close { file } => {
                self.files.remove(file).ok_or(Errno::EBADF)?;
                return Ok(Reply::Done);
            }
            PoolRequest::Allocate { file, wanted } => {
                let open = self.files.get_mut(file).ok_or(Errno::EBADF)?;
                PoolReply::Buffer(open.allocate(wanted)?)
            }
            PoolRequest::Free { file, handle } => {
                let open = self.files.get_mut(file).ok_or(Errno::EBADF)?;
                let mut argument = uapi::Handle {
                    handle: *handle,
                    reserved: 0,
                };
                ioctl(&open.file, uapi::FREE, &mut argument)?;
                open.buffers.remove(handle);
                return Ok(Reply::Done);
            }
            PoolRequest::Export { file, handle } => {
                let mut argument = uapi::Export {
                    handle: *handle,
                    fd: -1,
                };
                ioctl(&self.open(*file)?.file, uapi::EXPORT, &mut argument)?;
                // SAFETY: the pool made this descriptor for us just now; nobody else knows of it.
                let fd = unsafe { OwnedFd::from_raw_fd(argument.fd) };
                self.dma_bufs.insert(argument.fd, File::from(fd));
                PoolReply::DmaBuf(argument.fd)
            }
            PoolRequest::CloseDmaBuf { fd } => {
                self.dma_bufs.remove(fd).ok_or(Errno::EBADF)?;
                return Ok(Reply::Done);
            }
            PoolRequest::Map { of } => {
                let mapping = self.map(*of)?;
                let bytes = mapping.len() as u64;
                let number = self.number();
                self.mappings.insert(number, mapping);
                PoolReply::Mapping {
                    mapping: number,
                    bytes,
                }
            }
            PoolRequest::Unmap { mapping } => {
                self.mappings.remove(mapping).ok_or(Errno::EBADF)?;
                return Ok(Reply::Done);
            }
            PoolRequest::Read {
                mapping,
                offset,
                length,
            } => {
                let mapping = self.mappings.get(mapping).ok_or(Errno::EBADF)?;
                let mut data = vec![0; (*length as usize).min(MAX_DATA).min(mapping.len())];
                let read = mapping.read(usize::try_from(*offset).unwrap_or(usize::MAX), &mut data);
                data.truncate(read);
                return Ok(Reply::Data(data));
            }
            PoolRequest::Write {
                mapping,
                offset,
                data,
            } => {
                let mapping = self.mappings.get_mut(mapping).ok_or(Errno::EBADF)?;
                mapping.write(usize::try_from(*offset).unwrap_or(usize::MAX), data)?;
                return Ok(Reply::Done);
            }
            PoolRequest::Copy { from, to, count } => return self.copy(*from, *to, *count),
            PoolRequest::Grow {
                file,
                source,
                pages,
                address_bits,
            } => {
                let mut argument = uapi::Grow {
                    source: name(source)?,
                    pages: *pages,
                    address_bits: *address_bits,
                    ..uapi::Grow::default()
                };
                ioctl(&self.open(*file)?.file, uapi::GROW, &mut argument)?;
                PoolReply::Region {
                    region: argument.region,
                    taken: taken(&argument.taken),
                }
            }
            PoolRequest::Shrink { file, region } => {
                let mut argument = uapi::Shrink {
                    region: *region,
                    ..uapi::Shrink::default()
                };
                ioctl(&self.open(*file)?.file, uapi::SHRINK, &mut argument)?;
                PoolReply::GivenBack {
                    returned: argument.given_back != 0,
                    give_ns: argument.give_ns,
                }
            }
            PoolRequest::Adopt {
                file,
                bytes,
                page_shift,
            } => {
                let (region, given) = adopt::adopt(&self.open(*file)?.file, *bytes, *page_shift)?;
                PoolReply::Region {
                    region,
                    taken: taken(&given),
                }
            }
            PoolRequest::Measure {
                file,
                source,
                pages,
                address_bits,
                rounds,
            } => {
                let wanted = uapi::Measure {
                    source: name(source)?,
                    pages: *pages,
                    address_bits: *address_bits,
                    rounds: *rounds,
                    ..uapi::Measure::default()
                };
                measure(&self.open(*file)?.file, wanted)?
            }
            PoolRequest::Hold { .. } | PoolRequest::KillHolder { .. } => {
                return Err(Errno::ENOSYS.into());
            }
        };
        Ok(Reply::Pool(reply))
    }

    fn open(&self, file: u32) -> Result<&Open, Errno> {
        self.files.get(&file).ok_or(Errno::EBADF)
    }

    fn number(&mut self) -> u32 {
        self.next = self.next.wrapping_add(1);
        self.next
    }

    fn map(&self, of: Mappable) -> Result<Mapping, Errno> {
        match of {
            Mappable::Buffer { file, handle } => {
                let open = self.open(file)?;
                let place = open.buffers.get(&handle).ok_or(Errno::ENOENT)?;
                Mapping::new(&open.file, place.offset, place.bytes, true)
            }
            Mappable::DmaBuf { fd } => {
                let file = self.dma_bufs.get(&fd).ok_or(Errno::EBADF)?;
                let bytes = lseek(file, 0, Whence::SeekEnd)?;
                let bytes = u64::try_from(bytes).map_err(|_| Errno::EOVERFLOW)?;
                Mapping::new(file, 0, bytes, true)
            }
        }
    }

    /// Copies one mapping to another, `count` times; nanoseconds of each.
    fn copy(&mut self, from: u32, to: u32, count: u32) -> io::Result<Reply> {
        if count as usize > MAX_TIMES {
            return Err(Errno::EINVAL.into());
        }
        // Taken out, so that one can be read and the other written, also when they are the same.
        let mut target = self.mappings.remove(&to).ok_or(Errno::EBADF)?;
        let copied = self
            .mappings
            .get(&from)
            .ok_or(Errno::EBADF)
            .and_then(|source| {
                (0..count)
                    .map(|_| {
                        let began = Instant::now();
                        target.copy_from(source)?;
                        Ok(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX))
                    })
                    .collect::<Result<Vec<_>, Errno>>()
            });
        self.mappings.insert(to, target);
        Ok(Reply::Times(copied?))
    }
}

impl Open {
    fn allocate(&mut self, wanted: &PoolWanted) -> Result<PoolBuffer, Errno> {
        let (buffer, place) = allocate(&self.file, wanted)?;
        self.buffers.insert(buffer.handle, place);
        Ok(buffer)
    }
}

fn open() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(DEVICE)
}

/// Takes a buffer; gives it and where it is mapped.
fn allocate(file: &File, wanted: &PoolWanted) -> Result<(PoolBuffer, Place), Errno> {
    let flag = |set: bool, flag: u32| if set { flag } else { 0 };
    let mut argument = uapi::Allocate {
        bytes: wanted.bytes,
        alignment: wanted.alignment,
        boundary: wanted.boundary,
        at: wanted.at,
        address_bits: wanted.address_bits,
        flags: flag(wanted.uncached, uapi::UNCACHED) | flag(wanted.best_fit, uapi::BEST_FIT),
        ..uapi::Allocate::default()
    };
    ioctl(file, uapi::ALLOCATE, &mut argument)?;
    let buffer = PoolBuffer {
        handle: argument.handle,
        phys: argument.phys,
        allocated: argument.allocated,
    };
    let place = Place {
        offset: argument.mmap_offset,
        bytes: argument.allocated,
    };
    Ok((buffer, place))
}

fn measure(file: &File, mut wanted: uapi::Measure) -> io::Result<PoolReply> {
    if wanted.rounds > uapi::MAX_ROUNDS {
        return Err(Errno::EINVAL.into());
    }
    let mut times = vec![[0_u64; 2]; wanted.rounds as usize];
    wanted.times = times.as_mut_ptr().expose_provenance() as u64;
    // SAFETY: at `times` there are `rounds` pairs of u64, which the pool writes before the call ends.
    unsafe { ioctl_with_address(file, uapi::MEASURE, &mut wanted) }?;
    Ok(PoolReply::Measured {
        times: times.iter().map(|&[take, give]| (take, give)).collect(),
        taken: taken(&wanted.taken),
    })
}

/// A source's name as the pool takes it: zero-padded.
fn name(given: &str) -> Result<[u8; 16], Errno> {
    let mut name = [0; 16];
    let to = name.get_mut(..given.len()).ok_or(Errno::EINVAL)?;
    to.copy_from_slice(given.as_bytes());
    Ok(name)
}

fn taken(taken: &uapi::Taken) -> Taken {
    Taken {
        base: taken.base,
        span: taken.span,
        pages: taken.pages,
        waste: taken.waste,
        pieces: taken.pieces,
        longest: taken.longest,
        touched: taken.touched,
        take_ns: taken.take_ns,
    }
}

/// The request without data that it carries.
fn brief(request: &PoolRequest) -> String {
    match request {
        PoolRequest::Write {
            mapping,
            offset,
            data,
        } => format!(
            "Write {{ mapping: {mapping}, offset: {offset}, {} bytes }}",
            data.len()
        ),
        other => format!("{other:?}"),
    }
}
