// SPDX-License-Identifier: MIT OR Apache-2.0

//! The conversation with a foreign server: our commands and its answers, and the memory it asks for in between.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;

use super::channel::{Channel, Message, wait};
use super::gone::{Asked, Gone};
use crate::contract::{Host, InterruptKind, Tag};
use crate::wire::{Dma, Header, MAX_DATA, MAX_FDS, Version, command, version_request, words};

/// What a server answered: the payload, or its error number.
pub(super) type Answer = Result<Vec<u8>, u32>;

const SET_NONE: u32 = 1;
const SET_EVENT: u32 = 1 << 2;
const SET_UNMASK: u32 = 1 << 4;
const SET_TRIGGER: u32 = 1 << 5;

/// A server that is there.
#[derive(Debug)]
pub(super) struct Peer {
    /// For our commands, and for its own unless there is a second.
    main: Channel,
    /// For its own commands.
    twin: Option<Channel>,
    next: u16,
    /// How long it may take to answer.
    patience: Duration,
    /// Most descriptors with one message.
    most_fds: usize,
    /// Accesses to memory that it asked for while it owed an answer.
    asked_meanwhile: u64,
}

impl Peer {
    /// Agrees on the version.
    pub(super) fn new(
        stream: UnixStream,
        patience: Duration,
    ) -> Result<(Self, Result<Version, u32>), (Gone, Asked)> {
        let mut peer = Self {
            main: Channel::new(stream),
            twin: None,
            next: 0,
            patience,
            most_fds: 1,
            asked_meanwhile: 0,
        };
        let asked = Asked::Version;
        let agreed = peer.agree().map_err(|gone| (gone, asked))?;
        Ok((peer, agreed))
    }

    fn agree(&mut self) -> Result<Result<Version, u32>, Gone> {
        let (answer, mut fds) = self.talk(command::VERSION, &version_request(), &[], None)?;
        let version = match answer {
            Ok(payload) => Version::parse(&payload)
                .ok_or_else(|| Gone::Protocol("its version is none".to_owned()))?,
            Err(errno) => return Ok(Err(errno)),
        };
        self.most_fds = version.fds.clamp(1, MAX_FDS);
        if let Some(index) = version.twin {
            if index >= fds.len() {
                let what = "it promised a socket for its own commands, and sent none";
                return Err(Gone::Protocol(what.to_owned()));
            }
            let stream = UnixStream::from(fds.swap_remove(index));
            self.twin = Some(Channel::new(stream));
        }
        Ok(Ok(version))
    }

    /// Its sockets.
    pub(super) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        std::iter::once(&self.main)
            .chain(&self.twin)
            .map(AsFd::as_fd)
    }

    /// How often it asked for memory while it owed the answer that is owed now.
    pub(super) fn asked_meanwhile(&self) -> u64 {
        self.asked_meanwhile
    }

    /// Asks for something that is answered with a payload.
    pub(super) fn ask(
        &mut self,
        number: u16,
        payload: &[u8],
        host: Option<&mut dyn Host>,
    ) -> Result<Answer, Gone> {
        self.talk(number, payload, &[], host)
            .map(|(answer, _)| answer)
    }

    /// Reads a region. Of what it refuses, its error number.
    pub(super) fn read(
        &mut self,
        region: u32,
        offset: u64,
        count: u32,
        host: Option<&mut dyn Host>,
    ) -> Result<Answer, Gone> {
        let mut payload = offset.to_le_bytes().to_vec();
        payload.extend(words(&[region, count]));
        let answer = self.ask(command::REGION_READ, &payload, host)?;
        Ok(match answer {
            Err(errno) => Err(errno),
            Ok(mut all) if all.len() == payload.len() + count as usize => {
                Ok(all.split_off(payload.len()))
            }
            Ok(all) => {
                let got = all.len().saturating_sub(payload.len());
                let what = format!("{got} bytes came where {count} were asked for");
                return Err(Gone::Protocol(what));
            }
        })
    }

    /// Writes a region. False: it refused.
    pub(super) fn write(
        &mut self,
        region: u32,
        offset: u64,
        data: &[u8],
        host: Option<&mut dyn Host>,
    ) -> Result<bool, Gone> {
        let mut payload = offset.to_le_bytes().to_vec();
        payload.extend(words(&[region, data.len() as u32]));
        payload.extend(data);
        let answer = self.ask(command::REGION_WRITE, &payload, host)?;
        Ok(answer.is_ok())
    }

    /// Gives wires to all vectors of a kind, from 0 on; none: takes them away.
    pub(super) fn connect(
        &mut self,
        kind: InterruptKind,
        wires: &[OwnedFd],
        mut host: Option<&mut dyn Host>,
    ) -> Result<Result<(), u32>, Gone> {
        let index = kind as u32;
        if wires.is_empty() {
            let payload = words(&[20, SET_NONE | SET_TRIGGER, index, 0, 0]);
            return self
                .ask(command::SET_IRQS, &payload, host)
                .map(|answer| answer.map(drop));
        }
        for (part, wires) in wires.chunks(self.most_fds).enumerate() {
            let start = part * self.most_fds;
            let fields = [
                20,
                SET_EVENT | SET_TRIGGER,
                index,
                start as u32,
                wires.len() as u32,
            ];
            let fds: Vec<_> = wires.iter().map(AsFd::as_fd).collect();
            let host = again(&mut host);
            let (answer, _) = self.talk(command::SET_IRQS, &words(&fields), &fds, host)?;
            if let Err(errno) = answer {
                return Ok(Err(errno));
            }
        }
        Ok(Ok(()))
    }

    /// Tells it that its line was heard.
    pub(super) fn unmask(&mut self, host: Option<&mut dyn Host>) -> Result<Answer, Gone> {
        let payload = words(&[20, SET_NONE | SET_UNMASK, 0, 0, 1]);
        self.ask(command::SET_IRQS, &payload, host)
    }

    /// Does what it asks for by itself, until there is nothing or about `most` bytes were moved. True: there may be more.
    pub(super) fn serve(&mut self, most: usize, host: &mut dyn Host) -> Result<bool, Gone> {
        let mut moved = 0;
        while let Some((twin, message)) = self.receive()? {
            if message.header.is_reply() {
                return Err(Gone::Protocol("an answer came to nothing".to_owned()));
            }
            // What has no data costs a little, too.
            moved += message.payload.len().max(4096);
            moved += self.carry_out(twin, message, Some(host))?;
            if moved >= most {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Refuses what it asked for by itself so far.
    pub(super) fn refuse(&mut self) -> Result<(), Gone> {
        let deadline = Instant::now() + self.patience;
        while let Some((twin, message)) = self.receive()? {
            if message.header.is_reply() {
                return Err(Gone::Protocol("an answer came to nothing".to_owned()));
            }
            self.carry_out(twin, message, None)?;
            if Instant::now() >= deadline {
                return Err(Gone::Silent {
                    waited: self.patience,
                });
            }
        }
        Ok(())
    }

    /// The next message, and whether it came by the second socket.
    fn receive(&mut self) -> Result<Option<(bool, Message)>, Gone> {
        if let Some(twin) = &mut self.twin
            && let Some(message) = twin.receive()?
        {
            return Ok(Some((true, message)));
        }
        Ok(self.main.receive()?.map(|message| (false, message)))
    }

    /// Sends a command and waits for its answer; carries out what the server asks for until then. Without a host it is
    /// refused.
    fn talk(
        &mut self,
        number: u16,
        payload: &[u8],
        fds: &[BorrowedFd<'_>],
        mut host: Option<&mut dyn Host>,
    ) -> Result<(Answer, Vec<OwnedFd>), Gone> {
        self.next = self.next.wrapping_add(1);
        self.asked_meanwhile = 0;
        let deadline = Instant::now() + self.patience;
        let message = Header::command(self.next, number, payload);
        self.main.send([&message, &[]], fds, deadline)?;
        loop {
            let Some((twin, message)) = self.receive()? else {
                let sockets: Vec<_> = self.sockets().collect();
                if wait(&sockets, PollFlags::IN, deadline) {
                    continue;
                }
                return Err(self.silent());
            };
            let header = message.header;
            if !header.is_reply() {
                self.asked_meanwhile = self.asked_meanwhile.saturating_add(1);
                self.carry_out(twin, message, again(&mut host))?;
                if Instant::now() >= deadline {
                    return Err(self.silent());
                }
                continue;
            }
            if twin || (header.id, header.command) != (self.next, number) {
                let (id, command) = (header.id, header.command);
                let what = format!(
                    "an answer to command {command}, number {id}, which is not the one it owes"
                );
                return Err(Gone::Protocol(what));
            }
            let answer = match header.refused() {
                Some(errno) => Err(errno),
                None => Ok(message.payload),
            };
            return Ok((answer, message.fds));
        }
    }

    fn silent(&self) -> Gone {
        Gone::Silent {
            waited: self.patience,
        }
    }

    /// Does what the server asks for; how many bytes it read.
    fn carry_out(
        &mut self,
        twin: bool,
        message: Message,
        host: Option<&mut dyn Host>,
    ) -> Result<usize, Gone> {
        let Message {
            header, payload, ..
        } = message;
        let deadline = Instant::now() + self.patience;
        let channel = match &mut self.twin {
            Some(channel) if twin => channel,
            _ => &mut self.main,
        };
        let wanted = match header.command {
            command::DMA_READ | command::DMA_WRITE => {
                Some(Dma::parse(header.command, &payload).ok_or_else(|| {
                    Gone::Protocol(format!(
                        "an access to memory that contradicts itself, or is of more than {MAX_DATA} bytes"
                    ))
                })?)
            }
            _ => None,
        };
        let read = header.command == command::DMA_READ;
        let mut data = vec![
            0;
            wanted
                .as_ref()
                .map_or(0, |dma| if read { dma.count } else { 0 })
        ];
        let result = match (&wanted, host) {
            (None, _) => Err(Errno::OPNOTSUPP),
            (Some(_), None) => Err(Errno::PERM),
            (Some(dma), Some(_)) if dma.count == 0 => Ok(()),
            (Some(dma), Some(host)) => match read {
                true => host.dma_read(dma.address, &mut data, Tag::default()),
                false => host.dma_write(dma.address, dma.data, Tag::default()),
            }
            .map_err(|_| Errno::FAULT),
        };
        if header.wants_reply() {
            let head = match &result {
                Ok(()) => Ok(payload.get(..Dma::HEAD).unwrap_or_default()),
                Err(errno) => Err(errno.raw_os_error()),
            };
            let behind = match result {
                Ok(()) => &data[..],
                Err(_) => &[],
            };
            let reply = header.reply_before(head, behind.len());
            channel.send([&reply, behind], &[], deadline)?;
        }
        channel.recycle(payload);
        Ok(data.len())
    }
}

/// Lends the host, if there is one, once more.
pub(super) fn again<'a>(host: &'a mut Option<&mut dyn Host>) -> Option<&'a mut dyn Host> {
    host.as_mut().map(|host| &mut **host as &mut dyn Host)
}
