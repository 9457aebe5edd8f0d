// SPDX-License-Identifier: MIT OR Apache-2.0

//! A card in another language: the server's side of the conversation is somebody else's.
//!
//! The first bytes say what the card does, the others how the server answers: each command as it should, or in one of many
//! other ways, and what it asks for by itself. No call takes longer than the server's patience allows; what is not answered
//! reads as all-ones, and that the server is gone is told once.

mod server;

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use landfall_device::contract::{
    Access, Declaration, Device, DmaError, Function, InterruptKind, Notice, Reset, Setup, Width,
};
use landfall_device::foreign::{Foreign, Options};
use landfall_device::journal::Kind;
use landfall_device::serve::LocalCard;
use landfall_device::testing::FakeHost;

use crate::bytes::Bytes;
use crate::limit;
use crate::text::words;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_millis(20);
/// How long a call may take: a machine may be busy.
const DEADLINE: Duration = Duration::from_secs(10);
/// Two messages of the largest size, each way.
const MEMORY: usize = 16 << 20;
const PAGE: u64 = 4096;
const PAGES: u64 = 16;

/// Connects to a server, and drives the card that it is.
pub fn run(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let driven = bytes.short();
    let (ours, theirs) = UnixStream::pair().expect("sockets");
    std::thread::scope(|scope| {
        scope.spawn(|| server::Server::new(theirs, bytes).serve());
        limit::within(MEMORY, || connect(ours, &mut Bytes(driven)));
    });
}

fn timed<R>(what: impl FnOnce() -> R) -> R {
    let began = Instant::now();
    let result = what();
    let took = began.elapsed();
    assert!(took < DEADLINE, "it took {took:?}");
    result
}

fn connect(stream: UnixStream, bytes: &mut Bytes<'_>) {
    let options = Options {
        patience: PATIENCE,
        ..Options::default()
    };
    let card = match timed(|| Foreign::over(stream, options)) {
        Ok(card) => card,
        Err(why) => return words(&why),
    };
    let identity = card.identity();
    assert_eq!(identity.check(), Ok(()), "no card can be so");
    assert!(card.left_out().iter().all(|what| !what.is_empty()));
    if bytes.u8() & 1 != 0 {
        return plugged(card, bytes);
    }
    let mut card = card;
    let mut host = FakeHost::default();
    host.map(0, PAGES * PAGE);
    while !bytes.is_empty() {
        timed(|| act(&mut card, &mut host, bytes));
    }
    let gone = host
        .declared()
        .filter(|(what, _)| matches!(what, Declaration::Gone { .. }));
    assert!(gone.count() <= 1, "it is told twice that it is gone");
}

fn act(card: &mut Foreign, host: &mut FakeHost, bytes: &mut Bytes<'_>) {
    let what = bytes.u8();
    let mut access = || {
        let width = Width::ALL[usize::from(what >> 6)];
        Access {
            bar: bytes.u8() % 6,
            offset: u64::from(bytes.u16()) & !(u64::from(width.bytes()) - 1),
            width,
        }
    };
    match what & 7 {
        0 => {
            let access = access();
            if card.name(access).is_some() {
                card.load(access, host);
            }
        }
        1 => {
            let access = access();
            let value = bytes.u64() & access.width.mask();
            if card.name(access).is_some() {
                card.store(access, value, host);
            }
        }
        2 | 3 => drop(card.step(host)),
        4 => {
            let how = bytes.u8();
            let kinds = [InterruptKind::Msi, InterruptKind::Msix, InterruptKind::Intx];
            let setup = Setup {
                memory: how & 1 != 0,
                master: how & 2 != 0,
                line_off: how & 4 != 0,
                power: if how & 8 != 0 { 3 } else { 0 },
                messages: kinds
                    .get(usize::from(how >> 4 & 3))
                    .map(|kind| (*kind, bytes.u16())),
            };
            host.refuses = (!setup.master).then_some(DmaError::NotMaster);
            card.notice(Notice::Setup(setup), host);
        }
        5 => {
            let kinds = [Reset::Device, Reset::FunctionLevel];
            card.reset(kinds[usize::from(bytes.u8() & 1)]);
        }
        6 => drop(card.line()),
        _ => card.notice(Notice::Read { bar: 0, offset: 0 }, host),
    }
}

/// The same card, all that surrounds it included.
fn plugged(card: Foreign, bytes: &mut Bytes<'_>) {
    let options = landfall_device::serve::Options::default();
    let mut card = match LocalCard::plug(Box::new(card), options) {
        Ok(card) => card,
        Err(why) => return words(&why),
    };
    while !bytes.is_empty() {
        timed(|| match bytes.u8() & 7 {
            0 => drop(card.read(bytes.u8() % 6, bytes.u16().into())),
            1 => card.write(bytes.u8() % 6, bytes.u16().into(), bytes.u32()),
            2 => card.write_config(bytes.u8().into(), bytes.take(2)),
            3 => card.reset(),
            4 => drop(card.hear(Duration::ZERO)),
            _ => drop(card.step()),
        });
    }
    let journal = card.journal().entries_from(0);
    let is_gone = |kind: &Kind| matches!(kind.declaration(), Some((Declaration::Gone { .. }, _)));
    let gone = journal.iter().filter(|entry| is_gone(&entry.kind)).count();
    assert!(gone <= 1, "it is told twice that it is gone");
}
