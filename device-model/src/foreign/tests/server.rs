// SPDX-License-Identifier: MIT OR Apache-2.0

//! A server to try the client with, and the bytes of what it sends.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::wire::{HEADER, words};

/// A command as the server got it.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) id: u16,
    pub(super) command: u16,
    pub(super) payload: Vec<u8>,
    pub(super) fds: Vec<OwnedFd>,
}

/// The server's end of a connection.
pub(super) struct Server {
    pub(super) stream: UnixStream,
    /// What it answers to reads of BAR 0.
    pub(super) register: u32,
    pub(super) resets: bool,
    pub(super) twin: bool,
    pub(super) insists: bool,
    /// Commands that came while it waited for memory.
    pub(super) waiting: Vec<Got>,
    pub(super) wires: Vec<OwnedFd>,
    /// For its own commands, if it was asked for.
    pub(super) own: Option<UnixStream>,
}

/// 256 bytes of configuration space: MSI with four vectors, a vendor's capability, and BAR 2 of I/O ports.
pub(super) fn config() -> Vec<u8> {
    let mut config = vec![0; 256];
    config[..4].copy_from_slice(&[0x36, 0x1b, 0x01, 0x50]);
    config[6] = 0x10;
    config[8..12].copy_from_slice(&[7, 0, 0x80, 0x04]);
    config[0x18] = 1;
    config[0x2c..0x30].copy_from_slice(&[1, 2, 3, 4]);
    config[0x34] = 0x40;
    config[0x40..0x44].copy_from_slice(&[0x05, 0x50, 0x84, 0]);
    config[0x50..0x56].copy_from_slice(&[0x09, 0x60, 6, 0xa, 0xb, 0xc]);
    config[0x60] = 0x13;
    config
}

impl Server {
    pub(super) fn receive(&mut self) -> Option<Got> {
        receive(&self.stream)
    }

    pub(super) fn send(&mut self, id: u16, command: u16, flags: u32, error: u32, payload: &[u8]) {
        send(&self.stream, id, command, flags, error, payload);
    }

    /// Answers one command as it should; false: not one that everybody knows.
    pub(super) fn answer(&mut self, got: &mut Got) {
        let index = |at: usize| u32::from_le_bytes(got.payload[at..at + 4].try_into().unwrap());
        let reply = match got.command {
            1 => {
                let twin = r#","twin_socket":{"supported":true,"fd_index":0}"#;
                let twin = if self.twin { twin } else { "" };
                let text = format!("{{\"capabilities\":{{\"max_msg_fds\":2{twin}}}}}\0");
                let reply = [&[0, 0, 1, 0], text.as_bytes()].concat();
                if self.twin {
                    let (own, theirs) = UnixStream::pair().unwrap();
                    self.own = Some(own);
                    return send_with(&self.stream, got.id, 1, &reply, &theirs);
                }
                reply
            }
            2 if self.insists => return self.send(got.id, 2, 0x21, 22, &[]),
            4 => words(&[16, if self.resets { 3 } else { 2 }, 9, 5]),
            5 => {
                let size = [0x1000, 0, 0x100, 0, 0, 0, 0, 256, 0][index(8) as usize];
                words(&[32, 3, index(8), 0, size, 0, 0, 0])
            }
            7 => words(&[16, 1, index(8), [1, 4, 0, 0, 0][index(8) as usize]]),
            8 => {
                if index(4) & 0x20 != 0 && index(12) == 0 {
                    self.wires.clear();
                }
                self.wires.append(&mut got.fds);
                Vec::new()
            }
            9 => {
                let (offset, region) = (index(0) as usize, index(8));
                let count = index(12) as usize;
                let mut reply = got.payload.clone();
                match region {
                    7 => reply.extend(config().iter().skip(offset).take(count)),
                    _ => reply.extend(self.register.to_le_bytes().iter().cycle().take(count)),
                }
                reply
            }
            10 => got.payload[..16].to_vec(),
            _ => Vec::new(),
        };
        self.send(got.id, got.command, 1, 0, &reply);
    }

    /// Answers until the connection ends; what came is told.
    pub(super) fn serve(mut self, mut each: impl FnMut(&mut Self, &mut Got) -> bool) {
        loop {
            let next = (!self.waiting.is_empty()).then(|| self.waiting.remove(0));
            let Some(mut got) = next.or_else(|| self.receive()) else {
                return;
            };
            if !each(&mut self, &mut got) {
                return;
            }
        }
    }

    /// Asks for memory; gives the error number and the answer.
    pub(super) fn dma(
        &mut self,
        command: u16,
        address: u64,
        data: &[u8],
        count: u64,
    ) -> Option<(u32, Vec<u8>)> {
        let payload = [&address.to_le_bytes(), &count.to_le_bytes(), data].concat();
        let stream = self
            .own
            .as_ref()
            .unwrap_or(&self.stream)
            .try_clone()
            .unwrap();
        send(&stream, 0x7777, command, 0, 0, &payload);
        loop {
            let (head, got) = receive_either(&stream)?;
            if head[8] & 1 == 1 {
                let error = u32::from_le_bytes(head[12..16].try_into().unwrap());
                return Some((error, got.payload));
            }
            self.waiting.push(got);
        }
    }

    pub(super) fn signal(&self, vector: usize) {
        rustix::io::write(&self.wires[vector], &1u64.to_ne_bytes()).unwrap();
    }
}

pub(super) fn receive(stream: &UnixStream) -> Option<Got> {
    receive_either(stream).map(|(_, got)| got)
}

pub(super) fn receive_either(mut stream: &UnixStream) -> Option<([u8; HEADER], Got)> {
    let mut head = [0; HEADER];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut head)];
    let flags = RecvFlags::WAITALL;
    let bytes = recvmsg(stream, &mut parts, &mut ancillary, flags).ok()?;
    if bytes.bytes < HEADER {
        return None;
    }
    let mut fds = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    let size = u32::from_le_bytes(head[4..8].try_into().unwrap()) as usize;
    let mut payload = vec![0; size - HEADER];
    stream.read_exact(&mut payload).ok()?;
    let got = Got {
        id: u16::from_le_bytes([head[0], head[1]]),
        command: u16::from_le_bytes([head[2], head[3]]),
        payload,
        fds,
    };
    Some((head, got))
}

pub(super) fn message(id: u16, command: u16, flags: u32, error: u32, payload: &[u8]) -> Vec<u8> {
    let mut all = [id.to_le_bytes(), command.to_le_bytes()].concat();
    all.extend(words(&[(HEADER + payload.len()) as u32, flags, error]));
    all.extend(payload);
    all
}

pub(super) fn send(
    mut stream: &UnixStream,
    id: u16,
    command: u16,
    flags: u32,
    error: u32,
    payload: &[u8],
) {
    // The card may have given up already.
    let _ = stream.write_all(&message(id, command, flags, error, payload));
}

pub(super) fn send_with(
    stream: &UnixStream,
    id: u16,
    command: u16,
    payload: &[u8],
    fd: &UnixStream,
) {
    let all = message(id, command, 1, 0, payload);
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let fds = [fd.as_fd()];
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    let parts = [IoSlice::new(&all)];
    let flags = SendFlags::NOSIGNAL;
    // The card may have given up already.
    let _ = sendmsg(stream, &parts, &mut ancillary, flags);
}

/// A server in a thread, and the client's end.
pub(super) fn server(
    change: impl FnOnce(&mut Server) + Send + 'static,
    each: impl FnMut(&mut Server, &mut Got) -> bool + Send + 'static,
) -> (UnixStream, JoinHandle<()>) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let thread = std::thread::spawn(move || {
        let mut server = Server {
            stream: theirs,
            register: 0x1234_5678,
            resets: true,
            twin: false,
            insists: false,
            waiting: Vec::new(),
            wires: Vec::new(),
            own: None,
        };
        change(&mut server);
        server.serve(each);
    });
    (ours, thread)
}
