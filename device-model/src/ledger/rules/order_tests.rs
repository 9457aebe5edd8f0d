// SPDX-License-Identifier: MIT OR Apache-2.0

use super::super::stream::{FromDevice, Stream};
use crate::contract::{JobId, Piece};
use crate::journal::{Kind, Unordered};

const PC: u64 = 0xffff_ffff_c000_2000;

fn unordered(job: u64) -> Unordered {
    Unordered {
        store: false,
        job: Some(JobId(job)),
        pc: PC,
        address: 0x5000,
        length: 8,
        lend: None,
        other_pc: PC + 0x40,
        other: 0x6000,
        by_register: false,
        for_cpus: false,
        cpu: 0,
        at_ns: 1000,
        stack: vec![PC + 0x100],
    }
}

fn named(address: u64, name: &str) -> Kind {
    let name = name.to_owned();
    Kind::Symbol { address, name }
}

fn told(unordered: Unordered) -> Stream {
    Stream::bound()
        .kind(Kind::CpuWatched)
        .kind(Kind::Unordered(unordered))
}

fn named_driver(stream: Stream) -> Stream {
    stream
        .kind(named(PC, "take+0x20/0x80 [drv]"))
        .kind(named(PC + 0x40, "poll+0x8/0x40 [drv]"))
}

#[test]
fn it_is_35_with_both_instructions() {
    let found = named_driver(told(unordered(7))).is(35);
    assert_eq!(found.job, Some(JobId(7)));
    assert!(
        found.text.starts_with("the CPU read memory at 0x5000, "),
        "{}",
        found.text
    );
    assert!(
        found.text.contains("by what it had read at 0x6000"),
        "{}",
        found.text
    );
    assert!(
        found
            .text
            .ends_with(": take+0x20/0x80 [drv]; the other: poll+0x8/0x40 [drv]"),
        "{}",
        found.text
    );
}

#[test]
fn a_copy_that_the_kernel_makes_for_a_driver_is_the_drivers() {
    let stream = told(unordered(7))
        .kind(named(PC, "memcpy+0x4/0x20"))
        .kind(named(PC + 0x40, "poll+0x8/0x40 [drv]"));
    stream.is(35);
    // What the kernel does by itself is a hint.
    let stream = told(unordered(7))
        .kind(named(PC, "memcpy+0x4/0x20"))
        .kind(named(PC + 0x40, "copy_page+0x8/0x40"));
    stream.hints(35);
}

#[test]
fn a_barrier_for_cpus_and_a_register_are_told() {
    let stream = told(Unordered {
        by_register: true,
        for_cpus: true,
        ..unordered(7)
    });
    let found = named_driver(stream).is(35);
    assert!(
        found.text.contains("by a register of the card's"),
        "{}",
        found.text
    );
    assert!(
        found.text.contains("a barrier for CPUs alone"),
        "{}",
        found.text
    );
}

#[test]
fn it_is_in_the_lend_that_is_there() {
    let stream = Stream::bound()
        .kind(Kind::CpuWatched)
        .map(0x5000, 512, FromDevice)
        .kind(Kind::Unordered(Unordered {
            address: 0x5010,
            lend: Some((0x5000, 2)),
            ..unordered(7)
        }));
    let found = named_driver(stream).is(35);
    assert_eq!(found.address, 0x5010);
    let lend = found.lend.expect("a lend");
    assert_eq!((lend.address, lend.length), (0x5000, 512));
}

#[test]
fn the_same_two_instructions_are_one_violation() {
    let stream = told(unordered(7)).kind(Kind::Unordered(unordered(8)));
    assert_eq!(named_driver(stream).is(35).accesses, 2);
}

/// A descriptor in coherent memory, and the register that tells of it.
const DESCRIPTOR: u64 = 0x7000;
const DOORBELL: u64 = 0xfe40_0030;

/// A driver rang for a job, whose descriptor the card then read. The registers of these streams are at 0x30.
fn rung(register: u64, at_ns: u64) -> Stream {
    let two = Unordered {
        store: true,
        job: None,
        address: DESCRIPTOR + 8,
        lend: Some((DESCRIPTOR, 2)),
        by_register: true,
        other: register,
        at_ns,
        ..unordered(0)
    };
    let read = Piece::read(DESCRIPTOR, 32);
    let ring = Stream::bound()
        .kind(Kind::CpuWatched)
        .alloc(DESCRIPTOR, 256)
        .accepts(0, vec![read])
        .begins_with(0, vec![read])
        .reads(DESCRIPTOR, 32);
    named_driver(ring.kind(Kind::Unordered(two)))
}

#[test]
fn a_descriptor_that_nothing_keeps_before_its_doorbell_is_34() {
    let found = rung(DOORBELL, 0).is(34);
    assert!(found.register_write.is_some());
    assert_eq!((found.address, found.length), (DESCRIPTOR + 8, 8));
    assert!(found.text.contains("and wrote QUEUE"), "{}", found.text);
}

#[test]
fn another_register_or_a_store_after_the_card_read_is_no_word() {
    rung(DOORBELL + 4, 0).is_clean();
    rung(DOORBELL, u64::MAX).is_clean();
}
