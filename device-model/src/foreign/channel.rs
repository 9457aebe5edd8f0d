// SPDX-License-Identifier: MIT OR Apache-2.0

//! A socket to a foreign server: whole messages out of it, whole messages into it, and never a wait without an end.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use super::gone::Gone;
use crate::wire::{HEADER, Header, MAX_FDS};

/// A message that came whole.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) header: Header,
    pub(crate) payload: Vec<u8>,
    /// Descriptors that came with it, or with a piece of it.
    pub(crate) fds: Vec<OwnedFd>,
}

/// One socket.
#[derive(Debug)]
pub(crate) struct Channel {
    stream: UnixStream,
    head: [u8; HEADER],
    header: Option<Header>,
    payload: Vec<u8>,
    /// Bytes that came of the header, or of the payload if there is a header.
    came: usize,
    fds: Vec<OwnedFd>,
}

impl Channel {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            head: [0; HEADER],
            header: None,
            payload: Vec::new(),
            came: 0,
            fds: Vec::new(),
        }
    }

    /// The next message, if it is there as a whole; never waits.
    pub(crate) fn receive(&mut self) -> Result<Option<Message>, Gone> {
        loop {
            let whole = match &self.header {
                None => HEADER,
                Some(header) => header.payload,
            };
            if self.came == whole {
                match self.header.take() {
                    None => {
                        let header = Header::of_either(self.head).map_err(Gone::protocol)?;
                        self.payload.resize(header.payload, 0);
                        self.header = Some(header);
                        self.came = 0;
                    }
                    Some(header) => {
                        self.came = 0;
                        return Ok(Some(Message {
                            header,
                            payload: std::mem::take(&mut self.payload),
                            fds: std::mem::take(&mut self.fds),
                        }));
                    }
                }
                continue;
            }
            match self.take()? {
                0 => return Ok(None),
                taken => self.came += taken,
            }
        }
    }

    /// Gives a payload's memory back, for the next.
    pub(crate) fn recycle(&mut self, payload: Vec<u8>) {
        if self.header.is_none() {
            self.payload = payload;
        }
    }

    /// Takes some of what is missing; 0: nothing is there.
    fn take(&mut self) -> Result<usize, Gone> {
        let missing = match self.header {
            None => self.head.get_mut(self.came..),
            Some(_) => self.payload.get_mut(self.came..),
        };
        let missing = missing.unwrap_or_default();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received = loop {
            let mut parts = [IoSliceMut::new(missing)];
            match recvmsg(&self.stream, &mut parts, &mut ancillary, flags) {
                Ok(message) => break message.bytes,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(0),
                Err(errno) => return Err(Gone::Socket(errno.into())),
            }
        };
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                // Those beyond what we promised to take are closed.
                let room = MAX_FDS.saturating_sub(self.fds.len());
                self.fds.extend(rights.take(room));
            }
        }
        match received {
            0 => Err(Gone::Closed),
            received => Ok(received),
        }
    }

    /// Sends a whole message, with descriptors.
    ///
    /// # Errors
    /// The other end does not take it until `deadline`, or is gone.
    pub(crate) fn send(
        &self,
        parts: [&[u8]; 2],
        fds: &[BorrowedFd<'_>],
        deadline: Instant,
    ) -> Result<(), Gone> {
        let (mut sent, all) = (0, parts.iter().map(|part| part.len()).sum());
        while sent < all {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if sent == 0 && !fds.is_empty() {
                ancillary.push(SendAncillaryMessage::ScmRights(fds));
            }
            let first = parts[0].get(sent..).unwrap_or_default();
            let beyond = sent.saturating_sub(parts[0].len());
            let second = parts[1].get(beyond..).unwrap_or_default();
            let slices = [IoSlice::new(first), IoSlice::new(second)];
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match sendmsg(&self.stream, &slices, &mut ancillary, flags) {
                Ok(bytes) => sent += bytes,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    if !wait(&[self.stream.as_fd()], PollFlags::OUT, deadline) {
                        return Err(Gone::Deaf);
                    }
                }
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(Gone::Closed),
                Err(errno) => return Err(Gone::Socket(errno.into())),
            }
        }
        Ok(())
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Waits until one of them is ready, or closed; false: none was until `deadline`.
pub(crate) fn wait(fds: &[BorrowedFd<'_>], flags: PollFlags, deadline: Instant) -> bool {
    let mut fds: Vec<_> = fds
        .iter()
        .map(|fd| PollFd::from_borrowed_fd(*fd, flags))
        .collect();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // A duration of some seconds always fits; what did not would be no wait.
        let timeout = Timespec::try_from(left).unwrap_or_default();
        match poll(&mut fds, Some(&timeout)) {
            Ok(ready) if ready > 0 => return true,
            Ok(_) | Err(Errno::INTR) if left > Duration::ZERO => {}
            _ => return false,
        }
    }
}
