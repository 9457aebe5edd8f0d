// SPDX-License-Identifier: MIT OR Apache-2.0

//! The vfio-user wire, as a machine that means harm speaks it: a whole connection.
//!
//! The first byte says which card is served, with a witness or without, and how the rest is sent: as it is, or message by
//! message with descriptors, where a header is made for each.
//!
//! Every message that wants an answer gets one, in turn, and nothing else comes; a message that is not the protocol ends the
//! connection and not the server, which takes the next.

use std::fs::File;
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use landfall_cards::SET;
use landfall_device::serve::{CardServer, Options};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::bytes::Bytes;

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(10);
const HEADER: usize = 16;
/// Most bytes after a header that our servers take: 1 MiB of data, and what says where.
const MAX_PAYLOAD: usize = (1 << 20) + 64;
const REPLY: u32 = 1;
const NO_REPLY: u32 = 1 << 4;
const ERROR: u32 = 1 << 5;
/// What fits into a socket that nobody reads yet.
const MOST: usize = 64 << 10;
const MOST_MESSAGES: usize = 64;
const MEMORY: u64 = 1 << 20;

/// Speaks to a card's server.
pub fn run(bytes: &[u8]) {
    let mut bytes = Bytes(bytes.get(..MOST).unwrap_or(bytes));
    let kind = bytes.u8();
    let (_, make) = SET[usize::from(kind & 0xf) % SET.len()];
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("card.sock");
    let options = Options {
        witness: kind & 0x10 != 0,
        ..Options::default()
    };
    let server = CardServer::bind_with(&socket, make(), options).expect("served");

    let stream = connect(&socket);
    let sent = match kind & 0x20 != 0 {
        true => as_it_is(&stream, bytes.0),
        false => messages(&stream, &mut bytes),
    };
    // Fails where the server has given the connection up.
    let _ = stream.shutdown(Shutdown::Write);
    let mut answers = Vec::new();
    let ended = (&stream).read_to_end(&mut answers);
    // With what it did not read any more, the server's end of it is cut.
    let cut = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionReset;
    assert!(
        ended.as_ref().map_or_else(cut, |_| true),
        "the server is silent, and does not end the connection: {ended:?}"
    );
    let wanted = wanted(&sent);
    match ended {
        Ok(_) => check(&wanted, &answers, true),
        Err(_) => check(&wanted, &answers, false),
    }

    let mut again = connect(&socket);
    let version = message(7, 1, 0, &[0, 0, 1, 0]);
    again.write_all(&version).expect("the next connection");
    let mut header = [0; HEADER];
    again.read_exact(&mut header).expect("it is answered, too");
    assert_eq!(header[..4], version[..4]);
    drop((again, server));
}

fn connect(socket: &std::path::Path) -> UnixStream {
    let stream = UnixStream::connect(socket).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    stream.set_write_timeout(Some(DEADLINE)).expect("a timeout");
    stream
}

fn as_it_is(mut stream: &UnixStream, bytes: &[u8]) -> Vec<u8> {
    stream.write_all(bytes).expect("there is room for it");
    bytes.to_vec()
}

/// Sends messages: a byte for the command, one for its flags and descriptors, one for its length, and that many of payload.
fn messages(stream: &UnixStream, bytes: &mut Bytes<'_>) -> Vec<u8> {
    let mut sent = Vec::new();
    for id in 0..MOST_MESSAGES as u16 {
        if bytes.is_empty() {
            break;
        }
        let (command, how, length) = (bytes.u8(), bytes.u8(), bytes.u8());
        let flags = if how & 1 != 0 { NO_REPLY } else { 0 };
        let message = message(id, command.into(), flags, bytes.take(length.into()));
        let descriptors = descriptors(how >> 1);
        if !send(stream, &message, &descriptors) {
            break; // given up already; what was sent before says whether rightly
        }
        sent.extend(message);
    }
    sent
}

fn message(id: u16, command: u16, flags: u32, payload: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER + payload.len());
    message.extend(id.to_le_bytes());
    message.extend(command.to_le_bytes());
    message.extend(((HEADER + payload.len()) as u32).to_le_bytes());
    message.extend(flags.to_le_bytes());
    message.extend([0; 4]);
    message.extend(payload);
    message
}

fn descriptors(how: u8) -> Vec<OwnedFd> {
    let memory = |length| {
        let file = memfd_create("fuzz", MemfdFlags::CLOEXEC).expect("memory");
        let file = File::from(file);
        file.set_len(length).expect("a size");
        OwnedFd::from(file)
    };
    let event = || eventfd(0, EventfdFlags::NONBLOCK).expect("an event");
    match how & 7 {
        1 => vec![memory(MEMORY)],
        2 => vec![event()],
        3 => (0..8).map(|_| event()).collect(),
        4 => vec![memory(MEMORY), event()],
        5 => vec![memory(100)],
        6 => (0..9).map(|_| event()).collect(), // one more than is taken
        7 => vec![std::io::pipe().expect("a pipe").0.into()],
        _ => Vec::new(),
    }
}

fn send(mut stream: &UnixStream, message: &[u8], descriptors: &[OwnedFd]) -> bool {
    if descriptors.is_empty() {
        return stream.write_all(message).is_ok();
    }
    let fds: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(9))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
    let parts = [IoSlice::new(message)];
    sendmsg(stream, &parts, &mut ancillary, SendFlags::NOSIGNAL).is_ok()
}

/// Numbers and commands of the messages that are to be answered.
fn wanted(mut sent: &[u8]) -> Vec<[u8; 4]> {
    let mut wanted = Vec::new();
    while let Some((header, rest)) = sent.split_at_checked(HEADER) {
        let (size, flags) = (word(header, 4) as usize, word(header, 8));
        let Some(payload) = size.checked_sub(HEADER) else {
            break;
        };
        if payload > MAX_PAYLOAD || flags & 0xf != 0 || rest.len() < payload {
            break;
        }
        if flags & NO_REPLY == 0 {
            wanted.push([header[0], header[1], header[2], header[3]]);
        }
        sent = &rest[payload..];
    }
    wanted
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// Compares answers with what was asked; all of them, if the server ended the connection in peace.
fn check(wanted: &[[u8; 4]], mut answers: &[u8], all: bool) {
    let mut answered = wanted.iter();
    while !answers.is_empty() {
        let Some((header, rest)) = answers.split_at_checked(HEADER) else {
            assert!(!all, "half a header");
            return;
        };
        let asked = answered.next().expect("no answer to nothing");
        assert_eq!(&header[..4], asked, "answers come in turn");
        let (size, flags) = (word(header, 4) as usize, word(header, 8));
        assert_eq!(flags & 0xf, REPLY, "it is an answer");
        assert!(flags & ERROR == 0 || word(header, 12) != 0, "a reason");
        let payload = size.checked_sub(HEADER).expect("a header's size");
        assert!(payload <= MAX_PAYLOAD, "{payload}");
        let Some((_, next)) = rest.split_at_checked(payload) else {
            assert!(!all, "half an answer");
            return;
        };
        answers = next;
    }
    assert!(!all || answered.next().is_none(), "a message has no answer");
}
