// SPDX-License-Identifier: MIT OR Apache-2.0

//! Servers that do whatever they like, seeded: none hurts the machine, and each that fails is told of, once.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::super::{Foreign, Options};
use super::server::{Got, Server, message, server};
use crate::contract::Declaration;
use crate::dma::map::Request;
use crate::journal::Kind;
use crate::random::Random;
use crate::serve::LocalCard;
use crate::testing::hostile::{Audit, Store, operations};

/// How long things may take.
#[derive(Clone, Copy)]
struct Times {
    /// How long the card waits for such a server.
    patience: Duration,
    /// How long a call may take on a machine that has much else to do; each may ask for several things.
    limit: Duration,
}

const TIMES: Times = Times {
    patience: Duration::from_millis(20),
    limit: Duration::from_secs(5),
};
/// Accesses of a machine to one card.
const CALLS: u64 = 60;
/// Where the card finds memory, and how much of it.
const LENT: (u64, u64) = (0x2000, 0x4000);

/// Does what it likes at a command; false: and is gone.
fn answers(server: &mut Server, got: &mut Got, random: &mut Random, honest: u64) -> bool {
    if random.one_in(4) {
        for _ in 0..random.below(4) {
            asks(server, random, honest);
        }
    }
    if random.one_in(8) {
        // The card may not have it any more.
        if let Some(wire) = server.wires.get(random.index(server.wires.len())) {
            let _ = rustix::io::write(wire, &random.below(4).to_ne_bytes());
        }
    }
    if !random.one_in(honest) {
        server.answer(got);
        return true;
    }
    let junk: Vec<u8> = (0..random.index(96)).map(|_| random.draw() as u8).collect();
    let (id, number) = (got.id, got.command);
    let stream = &server.stream;
    let send = |id, number, flags, error, payload: &[u8]| {
        let mut stream = stream;
        let _ = stream.write_all(&message(id, number, flags, error, payload));
    };
    match random.below(10) {
        0 => send(id, number, 1, 0, &junk),
        1 => send(id.wrapping_add(1), number, 1, 0, &junk),
        2 => send(id, random.below(16) as u16, 1, 0, &junk),
        3 | 4 => send(id, number, 0x21, random.draw() as u32, &[]),
        5 => send(id, number, random.draw() as u32, 0, &junk),
        6 => {
            let mut stream = stream;
            let _ = stream.write_all(&junk);
        }
        // Half an answer; the rest never comes.
        7 => {
            let mut stream = stream;
            let _ = stream.write_all(&message(id, number, 1, 0, &[0; 64])[..random.index(80)]);
        }
        8 => {}
        _ => return false,
    }
    true
}

/// Asks for something by itself.
fn asks(server: &mut Server, random: &mut Random, honest: u64) {
    let wrong = random.one_in(honest);
    let number = match random.below(8) {
        0 => random.below(20) as u16,
        1..4 => 11,
        _ => 12,
    };
    let address = match random.below(4) {
        0 => random.draw(),
        1 => u64::MAX - random.below(64),
        _ => random.below(0x8000),
    };
    let count = match random.below(16) {
        _ if wrong => random.draw(),
        0 => 0,
        1 => 1 << random.below(17),
        _ => random.below(512),
    };
    let mut payload = [address.to_le_bytes(), count.to_le_bytes()].concat();
    if number == 12 {
        let data = if random.one_in(16) {
            random.below(64)
        } else {
            count.min(4096)
        };
        payload.extend(vec![random.draw() as u8; data as usize]);
    }
    let flags = if random.one_in(2) { 0x10 } else { 0 };
    let stream = server.own.as_ref().unwrap_or(&server.stream);
    let mut stream = stream;
    // Answers are left unread by a server that is not waited for: they come among its next commands, and are passed over.
    let _ = stream.write_all(&message(0x7777, number, flags, 0, &payload));
}

/// What became of one server.
#[derive(Default)]
struct Outcome {
    refused: bool,
    gone: bool,
    moved: u64,
}

/// One card of such a server, in a machine that uses it as anybody would.
fn one(seed: u64, times: Times, commands: &Arc<AtomicU64>) -> Result<Outcome, String> {
    let mut random = Random::new(seed);
    let counted = Arc::clone(commands);
    let honest = [10, 100, 1000, u64::MAX][random.index(4)];
    let twin = random.one_in(3);
    let mut theirs = Random::new(random.draw());
    let each = move |server: &mut Server, got: &mut Got| {
        counted.fetch_add(1, Ordering::Relaxed);
        // What looks like a command and is too short for one is an answer to what it asked for itself.
        let is_answer = matches!(got.command, 5..=10) && got.payload.len() < 12;
        got.id == 0x7777 || is_answer || answers(server, got, &mut theirs, honest)
    };
    let (stream, thread) = server(move |server| server.twin = twin, each);
    let options = Options {
        patience: times.patience,
        ..Options::default()
    };
    let within = |began: Instant, what: &str| match began.elapsed() {
        took if took > times.limit => Err(format!("{what} took {took:?}")),
        _ => Ok(()),
    };
    let began = Instant::now();
    let made = Foreign::over(stream, options);
    within(began, "connecting")?;
    let Ok(card) = made else {
        let _ = thread.join();
        return Ok(Outcome {
            refused: true,
            ..Outcome::default()
        });
    };
    let Ok(mut card) = LocalCard::plug(Box::new(card), crate::serve::Options::default()) else {
        let _ = thread.join();
        return Ok(Outcome {
            refused: true,
            ..Outcome::default()
        });
    };
    let mut store = Store::new(false).map_err(|why| why.to_string())?;
    store.lend(LENT.0 as usize..(LENT.0 + LENT.1) as usize);
    let request = Request {
        iova: LENT.0,
        length: LENT.1,
        file_offset: LENT.0,
        readable: true,
        writable: true,
        file: store.file.try_clone().ok(),
    };
    // What it asked for before there was any.
    let mut audit = Audit::default();
    let before = card.journal().len();
    audit.skip(before as usize);
    card.map().add(request).map_err(|why| why.to_string())?;
    audit.lend(LENT.0, LENT.1);
    for _ in 0..CALLS {
        let began = Instant::now();
        let mut bytes = vec![0; 1 << random.below(4)];
        let at = random.below(0x1000 / 8) * 8;
        let gone = is_gone(&card) > 0;
        let bar = if random.one_in(8) { 1 } else { 0 };
        match random.below(16) {
            0..6 => card.read_bytes(bar, at, &mut bytes),
            6..11 => card.write_bytes(bar, at, &bytes),
            11 => drop(card.step()),
            12 => drop(card.hear(Duration::from_micros(50))),
            13 => card.write_config(4, &[random.below(8) as u8, 0]),
            14 => card.write_config(4, &[6, 0]),
            _ => card.reset(),
        }
        if gone && bar == 0 {
            card.write_config(4, &[6, 0]);
            card.read_bytes(0, at, &mut bytes);
            if bytes.iter().any(|byte| *byte != 0xff) {
                return Err(format!("a card that is gone reads {bytes:x?}"));
            }
        }
        within(began, "a call")?;
        store.check()?;
    }
    let gone = is_gone(&card);
    let after = card.journal().entries_from(before);
    after.iter().try_for_each(|entry| audit.entry(entry))?;
    drop(card);
    let _ = thread.join();
    store.check()?;
    match gone {
        0 | 1 => Ok(Outcome {
            refused: false,
            gone: gone == 1,
            moved: audit.moved,
        }),
        _ => Err(format!("it is told {gone} times that the card is gone")),
    }
}

/// How often it was told that the card is gone.
fn is_gone(card: &LocalCard) -> usize {
    let told = |kind: &Kind| {
        let what = kind.declaration();
        matches!(what, Some((Declaration::Gone { .. }, _)))
    };
    let entries = card.journal().entries_from(0).into_iter();
    entries.filter(|entry| told(&entry.kind)).count()
}

/// A card that waits for longer than a call may take is told of.
#[test]
fn a_call_that_takes_too_long_is_told() {
    let times = Times {
        patience: Duration::from_millis(200),
        limit: Duration::from_millis(100),
    };
    let mut said = (0..50).filter_map(|seed| one(seed, times, &Arc::default()).err());
    let said = said.next().expect("one of them falls silent");
    assert!(said.contains(" took "), "{said}");
}

#[test]
fn no_server_gets_past_the_card_that_it_is() {
    let (seed, most) = operations();
    let commands = Arc::new(AtomicU64::new(0));
    let mut outcomes = Vec::new();
    while commands.load(Ordering::Relaxed) < most {
        let number = outcomes.len() as u64;
        let outcome = one(seed << 32 | number, TIMES, &commands);
        outcomes.push(outcome.unwrap_or_else(|why| panic!("seed {seed}, server {number}: {why}")));
    }
    let count = |what: fn(&Outcome) -> bool| outcomes.iter().filter(|one| what(one)).count();
    let [refused, gone, right] = [
        count(|one| one.refused),
        count(|one| one.gone),
        count(|one| !one.refused && !one.gone),
    ];
    let moved: u64 = outcomes.iter().map(|one| one.moved).sum();
    println!(
        "{} commands of {} servers: {refused} refused, {gone} gone, {right} stayed; {moved} accesses",
        commands.load(Ordering::Relaxed),
        outcomes.len()
    );
    assert!(
        refused > 0 && gone > 0 && right > 0 && moved > 0,
        "each kind must be there"
    );
}
