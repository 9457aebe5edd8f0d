// SPDX-License-Identifier: MIT OR Apache-2.0

//! A machine of raw messages: what it asks for is answered, or refused, within a time.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use super::memory::said;
use crate::foreign::{Channel, wait};
use crate::wire::{Header, command, version_request, words};

/// Byte of a header, and the bit of it, that say that no reply is wanted.
const NO_REPLY: (usize, u8) = (8, 0x10);

/// What came of a command.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Done(Vec<u8>),
    Refused,
    /// The connection is closed.
    Closed,
}

#[derive(Debug)]
pub(super) struct Machine {
    channel: Channel,
    /// The same socket.
    stream: UnixStream,
    id: u16,
    limit: Duration,
}

impl Machine {
    /// Connects; the one before, if there was one and it hung up, is gone for the card when this returns. A card that
    /// `severs` may do so before the first answer, and is asked again.
    pub(super) fn connect(socket: &Path, limit: Duration, severs: bool) -> Result<Self, String> {
        let until = Instant::now() + limit;
        loop {
            let stream = UnixStream::connect(socket).map_err(said)?;
            match Self::over(stream, limit)? {
                Some(machine) => return Ok(machine),
                None if severs && Instant::now() < until => {}
                None => return Err("the connection ended at its first message".to_owned()),
            }
        }
    }

    /// Agrees on the version; `None`: the connection ended.
    fn over(stream: UnixStream, limit: Duration) -> Result<Option<Self>, String> {
        let mut machine = Self {
            channel: Channel::new(stream.try_clone().map_err(said)?),
            stream,
            id: 0,
            limit,
        };
        match machine.ask(command::VERSION, &version_request(), &[])? {
            Answer::Done(_) => Ok(Some(machine)),
            Answer::Closed => Ok(None),
            other => Err(format!("the version is answered by {other:?}")),
        }
    }

    /// Goes.
    pub(super) fn hang_up(&self) {
        // An error means that the other end was faster.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    /// Asks and waits for the answer.
    pub(super) fn ask(
        &mut self,
        number: u16,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Result<Answer, String> {
        self.id = self.id.wrapping_add(1);
        let message = Header::command(self.id, number, payload);
        let until = Instant::now() + self.limit;
        if self.channel.send([&message, &[]], fds, until).is_err() {
            return Ok(Answer::Closed);
        }
        loop {
            match self.channel.receive() {
                Ok(Some(reply)) => {
                    let header = reply.header;
                    if !header.is_reply() || (header.id, header.command) != (self.id, number) {
                        let id = self.id;
                        return Err(format!(
                            "command {number}, number {id}, is answered by {header:?}"
                        ));
                    }
                    return Ok(match header.refused() {
                        Some(0) => return Err(format!("command {number} is refused by error 0")),
                        Some(_) => Answer::Refused,
                        None => Answer::Done(reply.payload),
                    });
                }
                Ok(None) if wait(&[self.channel.as_fd()], PollFlags::IN, until) => {}
                Ok(None) => {
                    let limit = self.limit;
                    return Err(format!("command {number} is not answered within {limit:?}"));
                }
                Err(_) => return Ok(Answer::Closed),
            }
        }
    }

    /// Asks for something and wants no answer.
    pub(super) fn post(&mut self, number: u16, payload: &[u8]) -> Result<Answer, String> {
        self.id = self.id.wrapping_add(1);
        let mut message = Header::command(self.id, number, payload);
        if let Some(flags) = message.get_mut(NO_REPLY.0) {
            *flags |= NO_REPLY.1;
        }
        let until = Instant::now() + self.limit;
        match self.channel.send([&message, &[]], &[], until) {
            Ok(()) => Ok(Answer::Done(Vec::new())),
            Err(_) => Ok(Answer::Closed),
        }
    }

    /// Reads a region. What is answered has the bytes that were asked for.
    pub(super) fn read(&mut self, region: u32, offset: u64, count: u32) -> Result<Answer, String> {
        let mut payload = offset.to_le_bytes().to_vec();
        payload.extend(words(&[region, count]));
        match self.ask(command::REGION_READ, &payload, &[])? {
            Answer::Done(mut all) if all.starts_with(&payload) => {
                let bytes = all.split_off(payload.len());
                match bytes.len() == count as usize {
                    true => Ok(Answer::Done(bytes)),
                    false => Err(format!("{} bytes are read, not {count}", bytes.len())),
                }
            }
            Answer::Done(_) => Err("a read is answered by another".to_owned()),
            other => Ok(other),
        }
    }

    /// Writes a region.
    pub(super) fn write(
        &mut self,
        region: u32,
        offset: u64,
        bytes: &[u8],
        posted: bool,
    ) -> Result<Answer, String> {
        let mut payload = offset.to_le_bytes().to_vec();
        payload.extend(words(&[region, bytes.len() as u32]));
        payload.extend(bytes);
        match posted {
            true => self.post(command::REGION_WRITE, &payload),
            false => self.ask(command::REGION_WRITE, &payload, &[]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::wire::HEADER;

    /// What is said of a server that answers the first command with these bytes.
    fn answered(bytes: &[u8]) -> String {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(bytes).unwrap();
        Machine::over(ours, Duration::from_millis(50)).expect_err("no version is so")
    }

    #[test]
    fn an_answer_that_is_none_is_told() {
        let reply = |id: u8, command, flags, error| -> [u8; HEADER] {
            [
                id, 0, command, 0, 16, 0, 0, 0, flags, 0, 0, 0, error, 0, 0, 0,
            ]
        };
        assert!(answered(&[]).contains("not answered within 50ms"));
        assert!(answered(&reply(1, 1, 1, 0)[..15]).contains("not answered within"));
        assert!(answered(&reply(2, 1, 1, 0)).contains("number 1, is answered by"));
        assert!(answered(&reply(1, 2, 1, 0)).contains("is answered by"));
        assert!(answered(&reply(1, 1, 0, 0)).contains("is answered by"));
        assert!(answered(&reply(1, 1, 0x21, 0)).contains("by error 0"));
        assert!(answered(&reply(1, 1, 0x21, 1)).contains("Refused"));
    }
}
