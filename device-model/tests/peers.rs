// SPDX-License-Identifier: MIT OR Apache-2.0

//! Peers that stall, or take their memory away: what becomes of the connection, and of the next.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use landfall_cards::capture::{CaptureCard, CaptureOptions};
use landfall_device::contract::DmaError;
use landfall_device::journal::{Kind, Outcome};
use landfall_device::serve::{CardServer, Options};

use crate::support::{BASE, CONFIG, Machine, RAM, memory, plug};

/// How long these may leave a message unfinished.
const PATIENCE: Duration = Duration::from_millis(200);
/// How long to wait for what must come, or must not.
const LIMIT: Duration = Duration::from_secs(10);

fn served() -> (tempfile::TempDir, CardServer) {
    let directory = tempfile::tempdir().expect("directory");
    let options = Options {
        patience: PATIENCE,
        ..Options::default()
    };
    let card = Box::new(CaptureCard::new(CaptureOptions::default()));
    let path = directory.path().join("card.sock");
    let server = CardServer::bind_with(&path, card, options).expect("served");
    (directory, server)
}

/// Header of a command, with as many bytes to follow.
fn header(command: u8, payload: u32) -> Vec<u8> {
    let mut bytes = vec![1, 0, command, 0];
    bytes.extend((16 + payload).to_le_bytes());
    bytes.extend([0; 8]);
    bytes
}

/// Reads the word at 0 of configuration space.
fn asks(mut stream: &UnixStream) -> std::io::Result<[u8; 4]> {
    let mut message = header(9, 16);
    message.extend([0; 8]);
    message.extend([7, 0, 0, 0, 4, 0, 0, 0]);
    stream.write_all(&message)?;
    let mut reply = [0; 16 + 16 + 4];
    stream.read_exact(&mut reply)?;
    Ok(reply[32..].try_into().expect("four bytes"))
}

fn connect(directory: &tempfile::TempDir, limit: Duration) -> UnixStream {
    let stream = UnixStream::connect(directory.path().join("card.sock")).expect("connected");
    stream.set_read_timeout(Some(limit)).expect("a limit");
    stream
}

/// Waits for the end of a connection.
fn is_closed(stream: &mut UnixStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(came) => came == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

fn refusals(server: &CardServer) -> Vec<String> {
    let entries = server.journal().entries_from(0).into_iter();
    let refused = entries.filter_map(|entry| match entry.kind {
        Kind::Refused { what } => Some(what),
        _ => None,
    });
    refused.collect()
}

#[test]
fn half_a_message_ends_its_connection_with_words_and_the_next_is_served() {
    let whole = header(4, 16);
    for sent in [&whole[..0], &whole[..1], &whole[..15], &whole[..]] {
        let (directory, server) = served();
        let mut stalled = connect(&directory, LIMIT);
        stalled.write_all(sent).expect("sent");
        let next = connect(&directory, LIMIT);
        let id = asks(&next).expect("it is served");
        assert_eq!(id[..2], [0x36, 0x1b], "after {} bytes", sent.len());
        assert!(is_closed(&mut stalled));
        let said = refusals(&server);
        let [why] = &said[..] else {
            panic!("{said:?}");
        };
        assert!(why.contains("unfinished for 200ms"), "{why}");
    }
}

/// One byte now and then is no progress: the limit is the message's, not the byte's.
#[test]
fn a_message_that_drips_is_ended_too() {
    let (directory, server) = served();
    let mut drips = connect(&directory, PATIENCE / 4);
    drips.write_all(&header(4, 4000)).expect("sent");
    let mut sent = 0;
    let ended = loop {
        match drips.read(&mut [0]) {
            Err(error) if error.kind() == ErrorKind::WouldBlock && sent < 100 => {}
            end => break end,
        }
        sent += 1;
        if let Err(end) = drips.write_all(&[0]) {
            break Err(end);
        }
    };
    assert!(sent < 100, "{ended:?}");
    assert!(!refusals(&server).is_empty(), "{ended:?}");
}

/// The clean twin: a machine that is stopped says nothing for as long as it likes.
#[test]
fn silence_between_two_messages_is_no_stall() {
    let (directory, server) = served();
    let mut quiet = connect(&directory, PATIENCE * 3);
    asks(&quiet).expect("answered");
    let error = quiet.read(&mut [0]).expect_err("nothing comes, nor an end");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    asks(&quiet).expect("answered again");
    assert_eq!(refusals(&server), [] as [&str; 0]);
}

/// Signals, and whoever drops the server, do not wait for a peer that stalls.
#[test]
fn a_server_ends_while_a_peer_stalls() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("card.sock");
    let card = Box::new(CaptureCard::new(CaptureOptions::default()));
    let server = CardServer::bind(&path, card).expect("served");
    let mut stalled = connect(&directory, LIMIT);
    stalled.write_all(&header(4, 16)[..9]).expect("sent");
    let began = std::time::Instant::now();
    drop(server);
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    assert!(is_closed(&mut stalled));
}

/// Lets the capture card write one frame of 64 KiB to slot 0.
fn captures(machine: &mut Machine) {
    for (offset, value) in [
        (0x24, 128 << 16 | 256), // GEOMETRY
        (0x28, 512),             // STRIDE
        (0x400, BASE as u32),
        (0x404, (BASE >> 32) as u32),
        (0x408, 0x1_0000), // SLOT_SIZE
        (0x10, 1),         // CONTROL
        (0x30, 0),         // QUEUE
    ] {
        machine.set(offset, value);
    }
}

fn access(kind: &Kind) -> Option<Outcome> {
    match kind {
        Kind::Access { outcome, .. } => Some(*outcome),
        _ => None,
    }
}

/// It used to be the whole process's end, by SIGBUS.
#[test]
fn memory_that_its_peer_takes_away_is_a_refused_access() {
    let mut machine = plug(Box::new(CaptureCard::new(CaptureOptions::default())));
    machine.client.dma_unmap(BASE, RAM).expect("unmapped");
    machine.memory = memory(false);
    let fd = machine.memory.as_raw_fd();
    machine.client.dma_map(0, BASE, RAM, fd).expect("mapped");
    machine.memory.set_len(0x1000).expect("shorter");
    captures(&mut machine);
    machine.wait(|kind| access(kind) == Some(Outcome::Refused(DmaError::Lost)));
    machine.memory.set_len(RAM).expect("longer again");
    machine.set(0x34, 1); // DONE
    machine.set(0x30, 0);
    machine.wait(|kind| access(kind) == Some(Outcome::Ok));
    // The twin, which cannot be made shorter.
    let mut machine = plug(Box::new(CaptureCard::new(CaptureOptions::default())));
    machine.memory.set_len(0x1000).expect_err("it is sealed");
    captures(&mut machine);
    machine.wait(|kind| access(kind) == Some(Outcome::Ok));
    assert!(machine.client.region_read(CONFIG, 0, &mut [0; 4]).is_ok());
}
