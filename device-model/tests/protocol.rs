// SPDX-License-Identifier: MIT OR Apache-2.0

//! The capture card over a real socket, with a memory file as the guest's memory.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use landfall_cards::capture::pattern::{FrameSpec, Pattern, Pixel, fill};
use landfall_cards::capture::{CaptureCard, CaptureOptions, Fault, Planted};
use landfall_device::contract::{Declaration, InterruptKind, Reset};
use landfall_device::journal::{Entry, Kind, LendDirection};
use landfall_device::ledger::{Class, Ledger, Lend, LendKind, Platform, Range};
use landfall_device::serve::{CardServer, ServeError};

use crate::support::{BASE, CONFIG, Machine, RAM, plug, signalled};

const ID: u64 = 0x00;
const CONTROL: u64 = 0x10;
const STATUS: u64 = 0x14;
const IRQ_STATUS: u64 = 0x18;
const IRQ_ENABLE: u64 = 0x1c;
const GEOMETRY: u64 = 0x24;
const STRIDE: u64 = 0x28;
const QUEUE: u64 = 0x30;
const DONE: u64 = 0x34;
const SLOT_BASE_LO: u64 = 0x400;
const SLOT_BASE_HI: u64 = 0x404;
const SLOT_SIZE: u64 = 0x408;
const SLOT_STATUS: u64 = 0x418;

const RESULT_NO_MASTER: u32 = 8;
const HD: FrameSpec = FrameSpec {
    pattern: Pattern::Test,
    pixel: Pixel::Yuyv,
    width: 1920,
    height: 1080,
    stride: 3840,
    sequence: 0,
    slot: 0,
};

fn capture(options: CaptureOptions) -> Machine {
    let mut machine = plug(Box::new(CaptureCard::new(options)));
    machine.set(GEOMETRY, 1080 << 16 | 1920);
    machine.set(STRIDE, 3840);
    machine.set(SLOT_BASE_LO, BASE as u32);
    machine.set(SLOT_BASE_HI, (BASE >> 32) as u32);
    machine.set(SLOT_SIZE, HD.frame_bytes() as u32);
    machine.set(IRQ_ENABLE, 3);
    machine
}

/// A job is over that came to what it should.
fn complete(kind: &Kind) -> bool {
    let told = kind.declaration();
    matches!(told, Some((Declaration::Done { error: None, .. }, _)))
}

fn done(kind: &Kind) -> bool {
    let told = kind.declaration();
    matches!(told, Some((Declaration::Done { .. }, _)))
}

/// What the ledger says about the whole journal, slot 0 having been lent.
fn verdict(machine: &Machine) -> Vec<Option<Class>> {
    let all = Range {
        start: BASE,
        length: RAM,
    };
    let mut ledger = Ledger::new(Platform {
        ram: vec![all],
        pool: vec![all],
        ..Platform::default()
    });
    ledger.lend(Lend {
        address: BASE,
        length: HD.frame_bytes(),
        direction: LendDirection::FromDevice,
        kind: LendKind::Frame,
        slot: Some(0),
        label: "buffer 0".to_owned(),
    });
    machine.server.sync();
    for entry in machine.entries() {
        ledger.entry(&entry);
    }
    let judged = ledger.finish();
    assert_eq!(judged.not_judged, [] as [&str; 0]);
    let classes = judged.violations.iter().map(|found| found.class);
    classes.collect()
}

#[test]
fn frame_arrives_whole_with_each_kind_of_interrupt() {
    for (index, interrupt) in (0..).zip(InterruptKind::ALL) {
        let mut machine = capture(CaptureOptions {
            interrupt,
            ..CaptureOptions::default()
        });
        let event = machine.wires(index);
        machine.set(CONTROL, 1);
        machine.set(QUEUE, 0);
        assert!(signalled(&event), "{interrupt}");
        assert_eq!(machine.get(DONE), 1);
        let mut expected = vec![0; HD.frame_bytes() as usize];
        fill(&mut expected, 0, &HD);
        assert!(
            machine.bytes(0, expected.len()) == expected,
            "{interrupt}: all bytes"
        );
        assert_eq!(machine.bytes(expected.len() as u64, 8), [0; 8]);
        assert_eq!(verdict(&machine), []);
    }
}

#[test]
fn line_is_signalled_again_when_unmasked_and_only_while_asserted() {
    let options = CaptureOptions {
        interrupt: InterruptKind::Intx,
        ..CaptureOptions::default()
    };
    let mut machine = capture(options);
    let event = machine.wires(0);
    machine.set(CONTROL, 1);
    machine.set(QUEUE, 0);
    assert!(signalled(&event));
    machine
        .client
        .set_irqs(0, 1 | 16, 0, 1, &[])
        .expect("unmasked");
    assert!(event.read().is_ok(), "still asserted");
    machine.set(IRQ_STATUS, 3);
    machine
        .client
        .set_irqs(0, 1 | 16, 0, 1, &[])
        .expect("unmasked");
    assert!(event.read().is_err(), "not asserted any more");
}

#[test]
fn faults_are_told_from_the_journal_alone() {
    for (fault, class) in [
        (Fault::Overrun, 1),
        (Fault::Shift, 1),
        (Fault::Truncate32, 2),
        (Fault::Short, 56),
        (Fault::LostIrq, 43),
        (Fault::Route, 19),
        (Fault::EarlyDone, 41),
        (Fault::LongLength, 55),
        (Fault::ProbePage, 57),
        (Fault::ReadFrame, 39),
    ] {
        assert_eq!(fault.class(), Some(class));
        let options = CaptureOptions {
            faults: vec![Planted::at(fault, 0)],
            ..CaptureOptions::default()
        };
        let mut machine = capture(options);
        machine.set(CONTROL, 1);
        machine.set(QUEUE, 0);
        machine.wait(done);
        assert!(verdict(&machine).contains(&Class::of(class)), "{fault}");
    }
}

#[test]
fn a_card_that_is_pulled_out_is_gone_for_the_machine() {
    let mut machine = capture(CaptureOptions {
        faults: vec![Planted::once(Fault::Sever)],
        ..CaptureOptions::default()
    });
    machine.set(CONTROL, 1);
    // It may be gone before it can answer.
    let _ = machine.client.region_write(0, QUEUE, &[0; 4]);
    machine.wait(|kind| matches!(kind, Kind::Disconnected));
    let mut bytes = [0; 4];
    assert!(machine.client.region_read(0, ID, &mut bytes).is_err());
    let accesses = machine.entries().into_iter();
    let accesses = accesses.filter(|entry| matches!(entry.kind, Kind::Access { .. }));
    assert_eq!(accesses.count(), 0, "before the first byte");
}

#[test]
fn write_after_stop_is_told_from_the_journal_alone() {
    let mut machine = capture(CaptureOptions {
        faults: vec![Planted::at(Fault::AfterStop, 0)],
        ..CaptureOptions::default()
    });
    machine.set(CONTROL, 1);
    machine.set(QUEUE, 0);
    machine.wait(done);
    machine.set(CONTROL, 0);
    machine.wait(|kind| matches!(kind, Kind::Access { length: 64, .. }));
    assert_eq!(verdict(&machine), [Some(Class::AfterStop)]);
}

#[test]
fn message_waits_for_bus_mastering() {
    let mut machine = capture(CaptureOptions::default());
    let event = machine.wires(1);
    machine
        .client
        .region_write(CONFIG, 4, &[2, 0])
        .expect("off");
    machine.set(CONTROL, 1);
    machine.set(QUEUE, 0);
    machine.wait(|kind| matches!(kind, Kind::InterruptHeld { .. }));
    assert_eq!(machine.get(SLOT_STATUS), RESULT_NO_MASTER);
    assert!(event.read().is_err());
    assert!(
        !machine
            .entries()
            .iter()
            .any(|entry| matches!(entry.kind, Kind::Access { .. }))
    );
    machine.client.region_write(CONFIG, 4, &[6, 0]).expect("on");
    assert!(event.read().is_ok());
}

#[test]
fn function_level_reset_and_d3_stop_it() {
    let mut machine = capture(CaptureOptions::default());
    machine
        .client
        .region_write(CONFIG, 0x44, &[3, 0])
        .expect("D3hot");
    assert_eq!(machine.get(ID), u32::MAX);
    machine
        .client
        .region_write(CONFIG, 0x44, &[0, 0])
        .expect("D0");
    assert_eq!(
        machine.get(SLOT_SIZE),
        HD.frame_bytes() as u32,
        "state is kept in D3hot"
    );
    machine
        .client
        .region_write(CONFIG, 0x89, &[0x80])
        .expect("FLR");
    machine
        .client
        .region_write(CONFIG, 4, &[6, 0])
        .expect("enabled");
    assert_eq!((machine.get(SLOT_SIZE), machine.get(STATUS)), (0, 0));
    let reset = Kind::Reset {
        reset: Reset::FunctionLevel,
    };
    assert!(machine.entries().iter().any(|entry| entry.kind == reset));
}

#[test]
fn registers_take_every_width() {
    let mut machine = capture(CaptureOptions::default());
    let mut eight = [0; 8];
    machine
        .client
        .region_read(0, SLOT_BASE_LO, &mut eight)
        .expect("read");
    assert_eq!(u64::from_le_bytes(eight), BASE);
    machine
        .client
        .region_write(0, SLOT_BASE_LO, &0x1_2345_6780u64.to_le_bytes())
        .expect("written");
    assert_eq!(
        (machine.get(SLOT_BASE_LO), machine.get(SLOT_BASE_HI)),
        (0x2345_6780, 1)
    );
    machine
        .client
        .region_write(0, SLOT_BASE_LO + 1, &[0xaa])
        .expect("written");
    assert_eq!(machine.get(SLOT_BASE_LO), 0x2345_aa80);
    let mut two = [0; 2];
    machine
        .client
        .region_read(0, ID + 2, &mut two)
        .expect("read");
    assert_eq!(&two, b"FL");
    // A byte written to a write-1-to-clear register clears nothing beside it.
    machine.set(CONTROL, 1);
    machine.set(QUEUE, 0);
    machine.wait(done);
    machine
        .client
        .region_write(0, DONE + 1, &[0xff])
        .expect("written");
    assert_eq!(machine.get(DONE), 1);
}

#[test]
fn unmapped_memory_is_not_touched_any_more() {
    let mut machine = capture(CaptureOptions::default());
    assert_eq!(machine.server.mappings().len(), 1);
    machine.client.dma_unmap(BASE, RAM).expect("unmapped");
    assert!(machine.server.mappings().is_empty());
    machine.set(CONTROL, 1);
    machine.set(QUEUE, 0);
    machine.wait(done);
    assert_eq!(machine.get(SLOT_STATUS), 7);
    assert_eq!(machine.bytes(0, 8), [0; 8]);
    let memory = machine.memory.as_raw_fd();
    machine
        .client
        .dma_map(0, BASE, RAM, memory)
        .expect("mapped again");
    machine.set(DONE, 1);
    machine.set(QUEUE, 0);
    machine.wait(complete);
    assert_ne!(machine.bytes(0, 8), [0; 8]);
    let changes = machine.server.journal().entries_from(0);
    let changes: Vec<_> = changes
        .into_iter()
        .map(|entry| entry.kind)
        .filter(|kind| matches!(kind, Kind::BusMapped { .. } | Kind::BusUnmapped { .. }))
        .collect();
    let (address, length) = (BASE, RAM);
    let mapped = Kind::BusMapped {
        address,
        length,
        readable: true,
        writable: true,
    };
    let unmapped = Kind::BusUnmapped { address, length };
    assert_eq!(changes, [mapped.clone(), unmapped, mapped]);
}

#[test]
fn severed_connection_ends_in_mid_frame() {
    let mut machine = capture(CaptureOptions::default());
    machine.set(CONTROL, 1);
    machine.set(QUEUE, 0);
    machine.server.sever();
    assert!(!machine.socket.exists());
    assert!(machine.client.region_read(0, 0, &mut [0; 4]).is_err());
    machine.wait(|kind| *kind == Kind::Disconnected);
    let length = machine.server.journal().len();
    let journal = machine.server.journal();
    drop(machine.server);
    assert_eq!(journal.len(), length, "nothing follows");
}

#[test]
fn next_machine_finds_the_card_as_new() {
    let mut machine = capture(CaptureOptions::default());
    machine.client.shutdown().expect("closed");
    machine.wait(|kind| *kind == Kind::Disconnected);
    assert!(machine.server.mappings().is_empty());
    // Else a driver whose machine died would be blamed for not having set up again what was reset (class 29).
    let reset = |entry: &Entry| matches!(entry.kind, Kind::Reset { .. });
    assert!(!machine.entries().iter().any(reset), "nobody reset it");
    machine.client = vfio_user::Client::new(&machine.socket).expect("connected again");
    machine
        .client
        .region_write(CONFIG, 4, &[6, 0])
        .expect("enabled");
    assert_eq!((machine.get(ID), machine.get(SLOT_SIZE)), (0x4c46_0001, 0));
}

#[test]
fn socket_that_exists_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("taken");
    std::fs::write(&path, b"x").expect("file");
    let card = Box::new(CaptureCard::new(CaptureOptions::default()));
    let error = CardServer::bind(&path, card).expect_err("refused");
    assert!(matches!(error, ServeError::Exists { .. }), "{error}");
    assert!(path.exists());
}

#[test]
fn another_ones_socket_at_the_same_path_stays() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("card.sock");
    let card = || Box::new(CaptureCard::new(CaptureOptions::default()));
    let first = CardServer::bind(&path, card()).expect("served");
    std::fs::rename(&path, directory.path().join("old")).expect("moved");
    let _second = CardServer::bind(&path, card()).expect("served");
    drop(first);
    assert!(path.exists());
}

/// Talks to a card in raw bytes and gives what comes back before the connection ends or `want` bytes came.
fn raw(bytes: &[u8], want: usize) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("card.sock");
    let card = Box::new(CaptureCard::new(CaptureOptions::default()));
    let _server = CardServer::bind(&path, card).expect("served");
    let mut stream = UnixStream::connect(&path).expect("connected");
    stream.write_all(bytes).expect("sent");
    let mut reply = Vec::new();
    stream
        .take(want as u64)
        .read_to_end(&mut reply)
        .expect("read");
    reply
}

fn message(command: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let size = (16 + payload.len()) as u32;
    let mut bytes = vec![1, 0, command, 0];
    bytes.extend(size.to_le_bytes());
    bytes.extend([flags, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(payload);
    bytes
}

#[test]
fn refused_commands_keep_the_stream_in_step_and_get_an_error_number() {
    // A DMA_MAP past all sense, an unknown command, a version message without its NUL; then a good one.
    let mut bytes = message(2, 0, &[0xff; 32]);
    bytes.extend(message(99, 0, &[1; 7]));
    bytes.extend(message(1, 0, &[1]));
    bytes.extend(message(4, 0, &[0; 16]));
    let reply = raw(&bytes, 3 * 16 + 32);
    for error in reply.chunks(16).take(3) {
        assert_eq!(error[8], 0x21, "an error reply");
        assert_ne!(error[12], 0, "with a number");
    }
    assert_eq!(
        reply[48 + 16 + 8..48 + 32],
        [9, 0, 0, 0, 5, 0, 0, 0],
        "nine regions, five interrupts"
    );
}

#[test]
fn posted_commands_get_no_reply_not_even_an_error() {
    let mut bytes = message(
        10,
        0x10,
        &[
            0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0,
        ],
    );
    bytes.extend(message(10, 0x10, &[1, 2, 3]));
    bytes.extend(message(99, 0x10, &[]));
    bytes.extend(message(13, 0, &[]));
    let reply = raw(&bytes, 16);
    assert_eq!(reply[2], 13, "only the last is answered");
}

#[test]
fn nonsense_ends_the_connection_and_nothing_more() {
    assert!(raw(&[0xff; 16], 1).is_empty());
}
