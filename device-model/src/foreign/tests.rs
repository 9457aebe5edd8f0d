// SPDX-License-Identifier: MIT OR Apache-2.0

//! Servers that keep to the protocol, and servers that do not. None is waited for longer than said.

mod hostile;
mod server;

use std::io::Write;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Instant;

use proptest::prelude::*;

use self::server::{Got, Server, message, send, server};
use super::*;
use crate::contract::{Bar, Capability, Direction, DmaError, Link, Width};
use crate::journal::{Kind, Outcome};
use crate::serve::{CardServer, LocalCard};
use crate::testing::FakeHost;

/// How long the card waits for a server that does not answer.
const SHORT: Duration = Duration::from_millis(300);

fn short() -> Options {
    Options {
        patience: SHORT,
        ..Options::default()
    }
}

/// One that does as it should, but for what `each` does itself: it says whether it did.
fn foreign(
    change: impl FnOnce(&mut Server) + Send + 'static,
    mut each: impl FnMut(&mut Server, &mut Got) -> bool + Send + 'static,
) -> (Foreign, JoinHandle<()>) {
    let (stream, thread) = server(change, move |server, got| {
        if !each(server, got) {
            server.answer(got);
        }
        true
    });
    (Foreign::over(stream, short()).unwrap(), thread)
}

fn at(offset: u64) -> Access {
    Access::word(0, offset)
}

fn lent() -> Setup {
    Setup {
        memory: true,
        master: true,
        ..Setup::default()
    }
}

/// What the card told of its end.
fn gone(host: &FakeHost) -> Vec<String> {
    let told = host.declared().filter_map(|(what, _)| match what {
        Declaration::Gone { why } => Some(why.to_string()),
        _ => None,
    });
    told.collect()
}

/// Waits until something comes to the card from outside.
fn hear(card: &Foreign) {
    let deadline = Instant::now() + Duration::from_secs(10);
    let outside = [card.outside().expect("always")];
    assert!(
        channel::wait(&outside, rustix::event::PollFlags::IN, deadline),
        "nothing came from outside within 10 s"
    );
}

#[test]
fn a_server_is_the_card_that_its_configuration_space_says() {
    let (card, thread) = foreign(|_| (), |_, _| false);
    let identity = card.identity();
    assert_eq!((identity.vendor, identity.device), (0x1b36, 0x5001));
    assert_eq!(identity.subsystem, Some((0x0201, 0x0403)));
    assert_eq!((identity.class, identity.revision), (0x04_80_00, 7));
    assert_eq!(
        (identity.msi, identity.msix, identity.link),
        (4, None, Link::Pci)
    );
    assert_eq!(identity.bars, [Bar::registers(0, 0x1000)]);
    assert_eq!(
        identity.capabilities,
        [Capability::vendor(&[0xa, 0xb, 0xc])]
    );
    assert_eq!(
        card.left_out(),
        ["BAR 2, which is of I/O ports", "its capability 0x13"]
    );
    drop(card);
    thread.join().unwrap();
}

#[test]
fn registers_are_read_and_written_whole_and_in_part() {
    let (written, came) = mpsc::channel();
    let (mut card, _thread) = foreign(
        |_| (),
        move |_, got| {
            if got.command == 10 && got.payload[8] == 0 {
                written.send(got.payload.clone()).unwrap();
            }
            false
        },
    );
    let mut host = FakeHost::default();
    assert_eq!(card.load(at(0x10), &mut host), 0xffff_ffff_1234_5678);
    let byte = Access {
        width: Width::One,
        ..at(0x13)
    };
    assert_eq!(card.load(byte, &mut host) & 0xff, 0x78);
    card.store(byte, 0xab, &mut host);
    let payload = came.recv().unwrap();
    assert_eq!(
        payload,
        [0x13, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0xab]
    );
    assert_eq!(card.name(at(0xffc)).unwrap().to_string(), "0xffc");
    assert_eq!(card.name(at(0xffe)), None);
    assert_eq!(gone(&host), [] as [&str; 0]);
}

/// Within its answer, over the same socket or over its own, and by itself.
#[test]
fn what_a_server_asks_of_memory_is_an_access_of_the_cards() {
    for twin in [false, true] {
        let (mut card, _thread) = foreign(
            move |server| server.twin = twin,
            |server, got| {
                if got.command != 10 || got.payload[8] != 0 {
                    return false;
                }
                let late = got.payload[0] == 4;
                if late {
                    server.answer(got);
                }
                let read = server.dma(11, 0x1004, &[], 4).unwrap();
                assert_eq!((read.0, &read.1[16..]), (0, &[1, 2, 3, 4][..]));
                let written = server.dma(12, 0x2000, &read.1[16..], 4).unwrap();
                assert_eq!((written.0, written.1.len()), (0, 16));
                let wild = server.dma(12, u64::MAX - 1, &[5; 8], 8).unwrap();
                assert_eq!((wild.0, wild.1.len()), (14, 0));
                late
            },
        );
        let mut host = FakeHost::default();
        host.map(0x1000, 0x2000);
        host.put(0x1004, &[1, 2, 3, 4]);
        card.notice(Notice::Setup(lent()), &mut host);
        let expected = [
            (Direction::Read, 0x1004, 4),
            (Direction::Write, 0x2000, 4),
            (Direction::Write, u64::MAX - 1, 8),
        ];

        card.store(at(0), 1, &mut host);

        assert_eq!(host.accesses(), expected, "before its answer");
        assert_eq!(host.bytes(0x2000, 4), [1, 2, 3, 4]);

        host.notes.clear();
        card.store(at(4), 1, &mut host);
        while host.accesses().len() < 3 {
            hear(&card);
            card.step(&mut host);
        }

        assert_eq!(host.accesses(), expected, "by itself");
        assert_eq!(gone(&host), [] as [&str; 0]);
    }
}

#[test]
fn interrupts_follow_the_memory_that_came_before_them() {
    let (mut card, _thread) = foreign(
        |_| (),
        |server, got| {
            if got.command == 10 && got.payload[8] == 0 {
                server.answer(got);
                // Posted: no answer to wait for.
                let payload = [&0x1000u64.to_le_bytes(), &4u64.to_le_bytes(), &[9; 4][..]].concat();
                send(&server.stream, 1, 12, 1 << 4, 0, &payload);
                server.signal(3);
                return true;
            }
            false
        },
    );
    let mut host = FakeHost::default();
    host.map(0x1000, 0x1000);
    let messages = Some((InterruptKind::Msi, 4));
    card.notice(Notice::Setup(Setup { messages, ..lent() }), &mut host);
    card.store(at(0), 1, &mut host);
    while host.interrupts == 0 {
        hear(&card);
        card.step(&mut host);
    }
    let last = &host.notes[host.notes.len() - 2..];
    assert!(
        matches!(last, [Kind::Access { .. }, Kind::Interrupt { vector: 3 }]),
        "{last:?}"
    );
    assert!(!card.line());
}

#[test]
fn the_line_is_asserted_until_the_server_says_no_more() {
    let (mut card, _thread) = foreign(
        |server| server.register = 2,
        |server, got| {
            // It has a cause for as long as its register says so; unmasked before that, it signals again.
            let unmask = got.command == 8 && got.payload[4] & 0x10 != 0;
            let of_bar = got.payload.get(8) == Some(&0);
            if unmask && server.register > 0 || got.command == 10 && of_bar {
                server.signal(0);
            }
            if got.command == 9 && of_bar {
                server.register -= 1;
            }
            false
        },
    );
    let mut host = FakeHost::default();
    card.store(at(0), 1, &mut host);
    assert!(card.line(), "it came before the answer");
    assert_eq!(card.load(at(0), &mut host) as u32, 1);
    assert!(card.line(), "it is asserted still");
    assert_eq!(card.load(at(0), &mut host) as u32, 0);
    assert!(!card.line());
    card.store(at(0), 1, &mut host);
    assert!(card.line());
    card.reset(Reset::Device);
    assert!(!card.line(), "a reset takes it away");
    assert_eq!(gone(&host), [] as [&str; 0]);
}

#[test]
fn what_software_sets_up_is_passed_on_and_each_vector_has_its_wire() {
    let (told, came) = mpsc::channel();
    let (mut card, _thread) = foreign(
        |_| (),
        move |_, got| {
            if got.command == 10 || got.command == 8 || got.command == 13 {
                told.send((got.command, got.payload.clone(), got.fds.len()))
                    .unwrap();
            }
            false
        },
    );
    let mut host = FakeHost::default();
    let messages = Some((InterruptKind::Msi, 4));
    card.notice(
        Notice::Setup(Setup {
            messages,
            line_off: true,
            ..lent()
        }),
        &mut host,
    );
    card.reset(Reset::FunctionLevel);
    drop(card);
    let all: Vec<_> = came.iter().collect();
    let fields = |payload: &[u8]| -> Vec<u32> {
        let words = payload.chunks_exact(4);
        words
            .map(|word| u32::from_le_bytes(word.try_into().unwrap()))
            .collect()
    };
    let expected = [
        (8, vec![20, 0x24, 0, 0, 1], 1),
        (8, vec![20, 0x21, 0, 0, 0], 0),
        (8, vec![20, 0x24, 1, 0, 2], 2),
        (8, vec![20, 0x24, 1, 2, 2], 2),
    ];
    let wires = all.iter().filter(|(command, ..)| *command == 8);
    let wires: Vec<_> = wires
        .map(|(command, payload, fds)| (*command, fields(payload), *fds))
        .collect();
    assert_eq!(wires, expected);
    let config = all.iter().filter(|(command, ..)| *command == 10);
    let config: Vec<_> = config
        .map(|(_, payload, _)| (payload[0], payload[16..].to_vec()))
        .collect();
    assert_eq!(config, [(4, vec![6, 4]), (0x42, vec![0xa5, 0])]);
    assert_eq!(all.last().map(|(command, ..)| *command), Some(13));
}

#[test]
fn before_a_reset_is_answered_no_memory_is_had() {
    let (mut card, _thread) = foreign(
        |_| (),
        |server, got| {
            if got.command == 13 {
                assert_eq!(server.dma(12, 0x1000, &[1; 4], 4).unwrap().0, 1);
            }
            false
        },
    );
    let mut host = FakeHost::default();
    host.map(0x1000, 0x1000);
    card.notice(Notice::Setup(lent()), &mut host);
    card.reset(Reset::Device);
    assert_eq!(host.accesses(), []);
    card.step(&mut host);
    assert_eq!(gone(&host), [] as [&str; 0]);
}

#[test]
fn a_server_that_insists_on_mapped_memory_is_told_why_not() {
    let (stream, _thread) = server(
        |server| server.insists = true,
        |server, got| {
            server.answer(got);
            true
        },
    );
    let error = Foreign::over(stream, short()).unwrap_err();
    assert!(
        matches!(error, ForeignError::Insists { errno: 22 }),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("none of its accesses could be judged"),
        "{error}"
    );
}

/// Each way to fail while a register is read is told once, and the card reads as all-ones from there on.
#[test]
fn a_server_that_fails_is_told_and_reads_as_all_ones() {
    type Fail = fn(&mut Server, &mut Got);
    let ways: [(&str, Fail); 7] = [
        ("it closed the connection", |server, _| {
            let _ = server.stream.shutdown(std::net::Shutdown::Both);
        }),
        ("no answer came within 0.3 s", |_, _| ()),
        ("3 bytes came where 4 were asked for", |server, got| {
            let payload = [&got.payload[..], &[1, 2, 3]].concat();
            server.send(got.id, 9, 1, 0, &payload);
        }),
        ("which is not the one it owes", |server, got| {
            server.send(got.id ^ 1, 9, 1, 0, &got.payload);
        }),
        ("message size 3 is out of range", |server, _| {
            let _ = server
                .stream
                .write_all(&[0, 0, 9, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        }),
        ("neither a command nor a reply", |server, got| {
            server.send(got.id, 9, 7, 0, &[]);
        }),
        (
            "an access to memory that contradicts itself",
            |server, _| {
                let payload = [0x1000u64.to_le_bytes(), (2u64 << 20).to_le_bytes()].concat();
                server.send(1, 11, 0, 0, &payload);
            },
        ),
    ];
    for (expected, fail) in ways {
        let (mut card, _thread) = foreign(
            |_| (),
            move |server, got| {
                let fails = got.command == 9 && got.payload[8] == 0;
                if fails {
                    fail(server, got);
                }
                fails
            },
        );
        let mut host = FakeHost::default();
        let began = Instant::now();

        assert_eq!(card.load(at(8), &mut host), u64::MAX);

        assert!(began.elapsed() < 10 * SHORT, "{expected}");
        let told = gone(&host);
        let [told] = &told[..] else {
            panic!("{expected}: {told:?}");
        };
        assert!(told.starts_with("the card's server is gone: "), "{told}");
        assert!(told.contains(expected), "{expected}: {told}");
        assert!(told.contains("a read of 4 bytes of BAR 0 at 0x8"), "{told}");
        assert_eq!(card.load(at(8), &mut host), u64::MAX);
        card.store(at(8), 1, &mut host);
        card.notice(Notice::Setup(lent()), &mut host);
        card.reset(Reset::Device);
        assert_eq!(card.step(&mut host), Next::Idle);
        assert_eq!(gone(&host).len(), 1, "told once");
    }
}

/// A server that asks for memory without end does not hold a register access for ever.
#[test]
fn endless_memory_is_no_answer() {
    let (mut card, _thread) = foreign(
        |_| (),
        |server, got| {
            if got.command == 9 && got.payload[8] == 0 {
                while server.dma(12, 0x1000, &[7; 64], 64).is_some() {}
                return true;
            }
            false
        },
    );
    let mut host = FakeHost::default();
    host.map(0x1000, 0x1000);
    card.notice(Notice::Setup(lent()), &mut host);
    let began = Instant::now();
    assert_eq!(card.load(at(0), &mut host), u64::MAX);
    assert!(began.elapsed() < 10 * SHORT);
    let told = gone(&host);
    assert!(
        told[0].contains("no answer came") && told[0].contains("it asked for memory"),
        "{told:?}"
    );
}

/// One that streams by itself gives way after a step's worth.
#[test]
fn a_step_is_bounded() {
    let (mut card, _thread) = foreign(
        |_| (),
        |server, got| {
            if got.command == 10 && got.payload[8] == 0 {
                server.answer(got);
                let payload = [
                    &0x1000u64.to_le_bytes(),
                    &4096u64.to_le_bytes(),
                    &[7; 4096][..],
                ]
                .concat();
                let message = message(1, 12, 1 << 4, 0, &payload);
                // More than a step, and posted, so that it is all there at once.
                let all = message.repeat(4 * STEP_BYTES / 4096);
                let _ = server.stream.write_all(&all);
                return true;
            }
            false
        },
    );
    let mut host = FakeHost::default();
    host.map(0x1000, 0x1000);
    card.notice(Notice::Setup(lent()), &mut host);
    card.store(at(0), 1, &mut host);
    let all = 4 * STEP_BYTES / 4096;
    while host.accesses().len() < all {
        hear(&card);
        let before = host.accesses().len();
        card.step(&mut host);
        let moved = (host.accesses().len() - before) * 4096;
        assert!(moved <= 2 * STEP_BYTES, "{moved} bytes in one step");
    }
}

/// Behind the access layer: the journal has the access, and what led to it.
#[test]
fn the_journal_has_what_a_server_does() {
    let (card, _thread) = foreign(
        |_| (),
        |server, got| {
            if got.command == 10 && got.payload[8] == 0 {
                assert_eq!(server.dma(12, 0x5000, &[1; 16], 16).unwrap().0, 14);
            }
            false
        },
    );
    let mut card = LocalCard::new(Box::new(card));
    assert_eq!(card.read(0, 0), 0x1234_5678);
    card.write(0, 0x20, 5);
    let entries = card.journal().entries_from(0);
    let of = |wanted: &str| {
        let mut kinds = entries.iter().map(|entry| format!("{:?}", entry.kind));
        kinds.position(|kind| kind.starts_with(wanted))
    };
    let (write, access) = (of("Register").unwrap(), of("Access").unwrap());
    assert!(write < access, "{entries:?}");
}

/// Of a server that is served, without any access of the machine's.
#[test]
fn what_comes_from_outside_is_heard_while_nobody_touches_the_card() {
    let (answered, answer) = mpsc::channel();
    let (card, _thread) = foreign(
        |_| (),
        move |server, got| {
            let last = got.command == 8;
            if last {
                server.answer(got);
                let (error, _) = server.dma(12, 0x5000, &[1; 16], 16).unwrap();
                let _ = answered.send(error);
            }
            last
        },
    );
    let directory = tempfile::tempdir().unwrap();
    let server = CardServer::bind(&directory.path().join("socket"), Box::new(card)).unwrap();
    let error = answer.recv_timeout(Duration::from_secs(10));
    assert_eq!(error, Ok(14), "memory without a machine is refused");
    server.sync();
    let refused = server.journal().entries_from(0).into_iter().any(|entry| {
        let outcome = match entry.kind {
            Kind::Access { outcome, .. } => Some(outcome),
            _ => None,
        };
        outcome == Some(Outcome::Refused(DmaError::NotMaster))
    });
    assert!(refused);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes in place of an answer: no panic, and no wait beyond what was said.
    #[test]
    fn any_bytes_are_survived(
        when in 0usize..24,
        bytes in proptest::collection::vec(any::<u8>(), 0..64),
        framed: bool,
        ends: bool,
    ) {
        let mut count = 0;
        let (stream, _thread) = server(|_| (), move |server, got| {
            count += 1;
            if count <= when {
                server.answer(got);
                return true;
            }
            if framed {
                let flags = bytes.first().map_or(1, |byte| u32::from(*byte));
                server.send(got.id, got.command, flags, 0, &bytes);
            } else {
                let _ = server.stream.write_all(&bytes);
            }
            !ends
        });
        let began = Instant::now();
        let options = Options { patience: Duration::from_millis(30), ..Options::default() };
        if let Ok(mut card) = Foreign::over(stream, options) {
            let mut host = FakeHost::default();
            card.notice(Notice::Setup(lent()), &mut host);
            card.load(at(0), &mut host);
            card.store(at(4), 1, &mut host);
            card.step(&mut host);
            card.reset(Reset::Device);
            prop_assert!(gone(&host).len() <= 1);
        }
        prop_assert!(began.elapsed() < Duration::from_secs(5));
    }

    /// Whatever configuration space has: an identity, or a refusal in words.
    #[test]
    fn any_configuration_space_is_survived(
        config in proptest::collection::vec(any::<u8>(), 256..=256),
        sizes in any::<[u64; 6]>(),
    ) {
        let mut probed = Probed {
            identity: Identity::default(),
            bars: sizes,
            resets: true,
            vectors: [1, 32, 2048],
            places: probe::Places::default(),
            controls: [0; 2],
            left_out: Vec::new(),
        };
        probed.identify(&config);
        let _ = probed.identity.check();
    }
}
