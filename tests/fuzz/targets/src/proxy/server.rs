// SPDX-License-Identifier: MIT OR Apache-2.0

//! A server that does as it should, except where it is told otherwise.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::bytes::Bytes;

const HEADER: usize = 16;
/// Most bytes of a message that it listens to.
const LARGEST: usize = 2 << 20;
/// For as long it waits for an answer: no longer than the other end, which must not wait for it in vain.
const PATIENCE: Duration = Duration::from_secs(5);

const VERSION: u16 = 1;
const DEVICE: u16 = 4;
const REGION: u16 = 5;
const IRQ: u16 = 7;
const SET_IRQS: u16 = 8;
const READ: u16 = 9;
const WRITE: u16 = 10;
const DMA_READ: u16 = 11;

/// Its end of a connection.
pub(super) struct Server<'a> {
    stream: UnixStream,
    /// For its own commands, if it was asked for.
    own: Option<UnixStream>,
    script: Bytes<'a>,
    wires: Vec<OwnedFd>,
    config: Vec<u8>,
    /// Commands that came while it waited for memory.
    waiting: Vec<Command>,
}

struct Command {
    head: [u8; 4],
    reply: bool,
    payload: Vec<u8>,
}

impl Command {
    fn number(&self) -> u16 {
        u16::from_le_bytes([self.head[2], self.head[3]])
    }

    fn word(&self, at: usize) -> u32 {
        let bytes = self
            .payload
            .get(at..at + 4)
            .and_then(|bytes| bytes.try_into().ok());
        u32::from_le_bytes(bytes.unwrap_or_default())
    }
}

impl<'a> Server<'a> {
    pub(super) fn new(stream: UnixStream, mut script: Bytes<'a>) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        let mut config = vec![0; 4096];
        config[..4].copy_from_slice(&[0x36, 0x1b, 0x01, 0x50]);
        config[6] = 0x10;
        config[8..12].copy_from_slice(&[7, 0, 0x80, 0x04]);
        config[0x34] = 0x40;
        config[0x40..0x44].copy_from_slice(&[0x05, 0x50, 0x84, 0]);
        config[0x50..0x5c].copy_from_slice(&[0x11, 0x60, 3, 0, 2, 0, 0, 0, 2, 8, 0, 0]);
        config[0x60..0x66].copy_from_slice(&[0x09, 0x70, 6, 0xa, 0xb, 0xc]);
        config[0x70..0x74].copy_from_slice(&[0x01, 0x80, 3, 0]);
        config[0x80] = 0x10;
        // What is otherwise.
        for _ in 0..script.u8() & 0x1f {
            let (at, value) = (script.u16(), script.u8());
            if let Some(byte) = config.get_mut(usize::from(at)) {
                *byte = value;
            }
        }
        Self {
            stream,
            own: None,
            script,
            wires: Vec::new(),
            config,
            waiting: Vec::new(),
        }
    }

    /// Answers until the connection ends.
    pub(super) fn serve(mut self) {
        loop {
            let next = (!self.waiting.is_empty()).then(|| self.waiting.remove(0));
            let Some(command) = next.or_else(|| self.receive(None)) else {
                return;
            };
            if !command.reply && !self.react(&command) {
                return;
            }
        }
    }

    /// Does what is to be done at a command; false: it is gone.
    fn react(&mut self, command: &Command) -> bool {
        let mut answer = self.answer(command);
        match self.script.u8() {
            1 => {
                for _ in 0..self.script.u8() & 7 {
                    let (at, value) = (self.script.u8(), self.script.u8());
                    if let Some(byte) = answer.get_mut(usize::from(at)) {
                        *byte = value;
                    }
                }
            }
            2 => answer = self.script.short().to_vec(),
            3 => {
                let error = self.script.u8();
                return self.send(command.head, 1 | 1 << 5, error.into(), &[]);
            }
            4 => {
                let head = self.script.u32().to_le_bytes();
                let flags = self.script.u8();
                return self.send(head, flags.into(), 0, &answer);
            }
            5 | 6 => self.dma(),
            7 => return self.raw(),
            8 => return false,
            // Silence is long.
            9 if self.script.u8() == 0x99 => return true,
            10 => self.signal(),
            11 => {
                self.send(command.head, 1, 0, &answer);
            }
            12 => {
                self.dma();
                self.signal();
                self.dma();
            }
            13 => answer.resize(usize::from(self.script.u16()) * 4, 0xa5),
            _ => {}
        }
        if command.number() == VERSION && self.script.u8() & 1 != 0 {
            return self.version(command.head);
        }
        self.send(command.head, 1, 0, &answer)
    }

    /// What it should answer.
    fn answer(&self, command: &Command) -> Vec<u8> {
        let index = command.word(8);
        match command.number() {
            VERSION => [
                &[0, 0, 1, 0],
                &br#"{"capabilities":{"max_msg_fds":2}}"#[..],
                &[0],
            ]
            .concat(),
            DEVICE => words(&[16, 3, 9, 5]),
            REGION => {
                let sizes = [0x1000, 0, 0x1000, 0, 0x10000, 0, 0, 4096, 0];
                let size = sizes.get(index as usize).copied().unwrap_or(0);
                words(&[32, 3, index, 0, size, 0, 0, 0])
            }
            IRQ => {
                let count = [1, 4, 4, 0, 0].get(index as usize).copied().unwrap_or(0);
                words(&[16, 1, index, count])
            }
            READ => {
                let (at, count) = (command.word(0) as usize, command.word(12) as usize);
                let mut answer = command.payload.clone();
                let all: &[u8] = if index == 7 { &self.config } else { &[0x5a; 8] };
                let there = all.get(at..).unwrap_or_default();
                let mut there = there.get(..count).unwrap_or(there).to_vec();
                there.resize(count.min(4096), 0);
                answer.extend(there);
                answer
            }
            WRITE => command.payload.get(..16).unwrap_or_default().to_vec(),
            _ => Vec::new(),
        }
    }

    /// Agrees on a version with a socket of its own for what it asks.
    fn version(&mut self, head: [u8; 4]) -> bool {
        let (own, theirs) = UnixStream::pair().expect("sockets");
        own.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        own.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        self.own = Some(own);
        let text = br#"{"capabilities":{"twin_socket":{"supported":true,"fd_index":0}}}"#;
        let payload = [&[0, 0, 1, 0], &text[..], &[0]].concat();
        let message = message(head, 1, 0, &payload);
        let fds = [theirs.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
        let parts = [IoSlice::new(&message)];
        sendmsg(&self.stream, &parts, &mut ancillary, SendFlags::NOSIGNAL).is_ok()
    }

    /// Asks for memory, and waits for it if it is told to.
    fn dma(&mut self) {
        let (how, address, count) = (self.script.u8(), self.script.u16(), self.script.u16());
        let address = match how & 4 {
            0 => u64::from(address) * 4,
            _ => self.script.u64(),
        };
        let (command, data) = match how & 1 {
            0 => (DMA_READ, Vec::new()),
            _ => (DMA_READ + 1, vec![0xd3; usize::from(count) & 0x1fff]),
        };
        let said = match how & 0x18 {
            0x18 => self.script.u64(),
            0x10 => u64::from(count) << 5,
            _ if data.is_empty() => count.into(),
            _ => data.len() as u64,
        };
        let payload = [&address.to_le_bytes()[..], &said.to_le_bytes(), &data].concat();
        let [low, high] = command.to_le_bytes();
        let flags = if how & 2 != 0 { 1 << 4 } else { 0 };
        let message = message([0x77, 0x77, low, high], flags, 0, &payload);
        let by_own = self.own.is_some() && how & 0x20 == 0;
        let stream = if by_own { self.own.as_mut() } else { None };
        let sent = stream.unwrap_or(&mut self.stream).write_all(&message);
        while sent.is_ok() && how & 0x42 == 0 {
            let own = self.own.as_ref().filter(|_| by_own);
            let own = own.map(|own| own.try_clone().expect("a descriptor"));
            match self.receive(own.as_ref()) {
                Some(command) if !command.reply => self.waiting.push(command),
                _ => return,
            }
        }
    }

    fn raw(&mut self) -> bool {
        let bytes = self.script.short();
        self.stream.write_all(bytes).is_ok()
    }

    fn signal(&mut self) {
        if let Some(wire) = self.script.choose(&self.wires) {
            // One that is full was signalled often enough.
            let _ = rustix::io::write(wire, &1u64.to_ne_bytes());
        }
    }

    fn send(&mut self, head: [u8; 4], flags: u32, error: u32, payload: &[u8]) -> bool {
        let message = message(head, flags, error, payload);
        self.stream.write_all(&message).is_ok()
    }

    /// The next message of the other end, of one socket or the other.
    fn receive(&mut self, own: Option<&UnixStream>) -> Option<Command> {
        let mut stream = own.unwrap_or(&self.stream);
        let mut head = [0; HEADER];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut head)];
        let received = recvmsg(stream, &mut parts, &mut ancillary, RecvFlags::WAITALL).ok()?;
        if received.bytes < HEADER {
            return None;
        }
        let mut fds = Vec::new();
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        let size = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let length = size.checked_sub(HEADER).filter(|length| *length <= LARGEST);
        let mut payload = vec![0; length.expect("our own client keeps to the protocol")];
        stream.read_exact(&mut payload).ok()?;
        let command = Command {
            head: [head[0], head[1], head[2], head[3]],
            reply: head[8] & 1 != 0,
            payload,
        };
        if !command.reply && command.number() == SET_IRQS {
            if command.word(4) & 0x20 != 0 && command.word(12) == 0 {
                self.wires.clear();
            }
            self.wires.append(&mut fds);
        }
        Some(command)
    }
}

fn message(head: [u8; 4], flags: u32, error: u32, payload: &[u8]) -> Vec<u8> {
    let mut message = head.to_vec();
    message.extend(words(&[(HEADER + payload.len()) as u32, flags, error]));
    message.extend(payload);
    message
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
