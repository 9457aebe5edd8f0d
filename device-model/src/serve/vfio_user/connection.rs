// SPDX-License-Identifier: MIT OR Apache-2.0

//! The loop that reads commands from the socket and writes their replies.
//!
//! Every message is read whole before it is looked at, so a refused command never loses the stream's step.
//! Commands that say so get no reply, not even an error.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use ::vfio_user::{DmaMapFlags, DmaUnmapFlags, IrqInfo, ServerBackend};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::foreign::wait;
use crate::wire::{self, HEADER, Header, MAX_FDS, Misunderstood, ProtocolError, Request};

/// How long a peer may leave its replies unread.
const WRITE_DEADLINE: Duration = Duration::from_secs(5);

/// Device flags of the answer to "device info": resettable, PCI.
const DEVICE_FLAGS: u32 = 1 | 2;

/// Why a connection was given up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    /// The socket failed, or closed within a message.
    #[error("cannot read from the machine")]
    Read(#[source] std::io::Error),
    /// The machine began a message, or connected, and that was all.
    #[error("the machine left {0} unfinished for {1:?}")]
    Late(&'static str, Duration),
    /// Descriptors came that this process has no room for.
    #[error("too many descriptors are open to take the machine's")]
    Descriptors,
    /// The machine did not take a reply.
    #[error("cannot answer the machine")]
    Write(#[source] std::io::Error),
    /// There is no descriptor left for the memory of a BAR.
    #[error("cannot hand out the memory of a BAR")]
    Region(#[source] std::io::Error),
    /// The machine does not speak the protocol.
    #[error("machine breaks the protocol")]
    Protocol(#[from] ProtocolError),
}

/// A region, as described to the machine.
#[derive(Debug)]
pub(super) struct Region {
    /// Bytes; 0: it is not there.
    pub(super) size: u64,
    /// The machine may map it: this file, from its start.
    pub(super) mapped: Option<File>,
}

impl Region {
    const READABLE: u32 = 1;
    const WRITABLE: u32 = 2;
    const MAPPABLE: u32 = 4;

    fn flags(&self) -> u32 {
        match (self.size, &self.mapped) {
            (0, _) => 0,
            (_, None) => Self::READABLE | Self::WRITABLE,
            (_, Some(_)) => Self::READABLE | Self::WRITABLE | Self::MAPPABLE,
        }
    }
}

/// A header's bytes, the descriptors that came with them, and until when the rest must have come.
type Received = ([u8; HEADER], Vec<OwnedFd>, Instant);

/// Serves a connection until the peer closes it between two messages. Between them it may be as silent as it likes, but
/// not before its first and not within one: for that it has `patience`.
pub(super) fn run(
    mut stream: &UnixStream,
    backend: &mut dyn ServerBackend,
    regions: &[Region],
    irqs: &[IrqInfo],
    patience: Duration,
) -> Result<(), ConnectionError> {
    stream
        .set_write_timeout(Some(WRITE_DEADLINE))
        .map_err(ConnectionError::Write)?;
    let mut payload = Vec::new();
    let until = Instant::now() + patience;
    if !wait(&[stream.as_fd()], PollFlags::IN, until) {
        return Err(ConnectionError::Late("its first message", patience));
    }
    while let Some((header, fds, until)) = read_header(stream, patience)? {
        let header = Header::parse(header)?;
        payload.resize(header.payload, 0);
        read_whole(stream, &mut payload, until, patience)?;
        let request = Request::parse(header.command, &payload);
        // Only what describes a region carries a descriptor back.
        let file = match &request {
            Ok(Request::RegionInfo { index }) => regions.get(*index as usize),
            _ => None,
        };
        let file = file.and_then(|region| region.mapped.as_ref());
        let result = match request {
            Ok(request) => answer(request, fds, backend, regions, irqs),
            Err(Misunderstood::Command) => Err(Errno::OPNOTSUPP),
            Err(Misunderstood::Payload) => Err(Errno::INVAL),
        };
        if let Err(errno) = &result {
            tracing::debug!(command = header.command, %errno, "refused a command");
        }
        if header.wants_reply() {
            let reply = header.reply(result.as_deref().map_err(|errno| errno.raw_os_error()));
            let file = file.filter(|_| result.is_ok());
            let sent = send_with(stream, &reply, file)?;
            let rest = reply.get(sent..).unwrap_or_default();
            stream.write_all(rest).map_err(ConnectionError::Write)?;
        }
    }
    Ok(())
}

/// Sends the first bytes of a reply together with a descriptor, if there is one; how many were sent.
fn send_with(
    stream: &UnixStream,
    reply: &[u8],
    file: Option<&File>,
) -> Result<usize, ConnectionError> {
    let Some(file) = file else {
        return Ok(0);
    };
    let fds = [file.as_fd()];
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        // There is room for one.
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        let parts = [IoSlice::new(reply)];
        match sendmsg(stream, &parts, &mut ancillary, SendFlags::NOSIGNAL) {
            Ok(sent) => return Ok(sent),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(ConnectionError::Write(errno.into())),
        }
    }
}

/// Reads a header and the descriptors that came with it; `None`: the peer closed the connection.
fn read_header(
    stream: &UnixStream,
    patience: Duration,
) -> Result<Option<Received>, ConnectionError> {
    let mut header = [0; HEADER];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let mut buffers = [IoSliceMut::new(&mut header)];
        match recvmsg(
            stream,
            &mut buffers,
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            // Whoever lends memory without a descriptor means something else than whoever's was lost.
            Ok(message) if message.flags.contains(ReturnFlags::CTRUNC) => {
                return Err(ConnectionError::Descriptors);
            }
            Ok(message) => break message.bytes,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(ConnectionError::Read(errno.into())),
        }
    };
    let until = Instant::now() + patience;
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if received == 0 {
        return Ok(None);
    }
    let rest = header.get_mut(received..).unwrap_or_default();
    read_whole(stream, rest, until, patience)?;
    Ok(Some((header, fds, until)))
}

/// Reads all that is missing of a message.
fn read_whole(
    stream: &UnixStream,
    mut missing: &mut [u8],
    until: Instant,
    patience: Duration,
) -> Result<(), ConnectionError> {
    while !missing.is_empty() {
        match rustix::net::recv(stream, &mut *missing, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => {
                let closed = std::io::ErrorKind::UnexpectedEof;
                return Err(ConnectionError::Read(closed.into()));
            }
            Ok((_, came)) => missing = missing.get_mut(came..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if wait(&[stream.as_fd()], PollFlags::IN, until) => {}
            Err(Errno::AGAIN) => return Err(ConnectionError::Late("a message", patience)),
            Err(errno) => return Err(ConnectionError::Read(errno.into())),
        }
    }
    Ok(())
}

/// Does what a command asks and gives the reply's payload.
fn answer(
    request: Request<'_>,
    fds: Vec<OwnedFd>,
    backend: &mut dyn ServerBackend,
    regions: &[Region],
    irqs: &[IrqInfo],
) -> Result<Vec<u8>, Errno> {
    let mut fds: Vec<File> = fds.into_iter().map(File::from).collect();
    match request {
        Request::Version { major: 0, minor } => Ok(wire::version_reply(minor)),
        Request::Version { .. } => Err(Errno::OPNOTSUPP),
        Request::DmaMap {
            flags,
            offset,
            address,
            size,
        } => {
            if fds.len() > 1 {
                return Err(Errno::INVAL);
            }
            let flags = DmaMapFlags::from_bits_retain(flags);
            done(backend.dma_map(flags, offset, address, size, fds.pop()))
        }
        Request::DmaUnmap {
            flags,
            address,
            size,
        } => {
            let unmap = DmaUnmapFlags::from_bits_retain(flags);
            done(backend.dma_unmap(unmap, address, size))?;
            let mut reply = wire::words(&[24, flags]);
            reply.extend(address.to_le_bytes());
            reply.extend(size.to_le_bytes());
            Ok(reply)
        }
        Request::DeviceInfo => {
            let counts = [regions.len() as u32, irqs.len() as u32];
            Ok(wire::words(&[16, DEVICE_FLAGS, counts[0], counts[1]]))
        }
        Request::RegionInfo { index } => {
            let region = regions.get(index as usize).ok_or(Errno::INVAL)?;
            let mut reply = wire::words(&[32, region.flags(), index, 0]);
            reply.extend(region.size.to_le_bytes());
            // In the region's own file, if it has one.
            let offset = match region.mapped {
                Some(_) => 0,
                None => u64::from(index) << 40,
            };
            reply.extend(offset.to_le_bytes());
            Ok(reply)
        }
        Request::IrqInfo { index } => {
            let irq = irqs.get(index as usize).ok_or(Errno::INVAL)?;
            Ok(wire::words(&[16, irq.flags, index, irq.count]))
        }
        Request::SetIrqs {
            flags,
            index,
            start,
            count,
        } => done(backend.set_irqs(index, flags, start, count, fds)),
        Request::Read {
            region,
            offset,
            count,
        } => {
            let mut reply = Vec::with_capacity(16 + count);
            reply.extend(offset.to_le_bytes());
            reply.extend(wire::words(&[region, count as u32]));
            reply.resize(16 + count, 0xff);
            let data = reply.get_mut(16..).unwrap_or_default();
            done(backend.region_read(region, offset, data))?;
            Ok(reply)
        }
        Request::Write {
            region,
            offset,
            data,
        } => {
            done(backend.region_write(region, offset, &data))?;
            let mut reply = offset.to_le_bytes().to_vec();
            reply.extend(wire::words(&[region, data.len() as u32]));
            Ok(reply)
        }
        Request::Reset => done(backend.reset()),
    }
}

/// Turns what the backend says into an empty payload or an error number, never 0.
fn done(result: Result<(), std::io::Error>) -> Result<Vec<u8>, Errno> {
    match result {
        Ok(()) => Ok(Vec::new()),
        Err(error) => Err(Errno::from_io_error(&error).unwrap_or(Errno::INVAL)),
    }
}
