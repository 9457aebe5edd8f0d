// SPDX-License-Identifier: MIT OR Apache-2.0

use super::super::stream::{FromDevice, Stream};
use crate::contract::JobId;
use crate::journal::{EarlyLoad, Kind};

const PC: u64 = 0xffff_ffff_c000_2000;

fn early(job: u64) -> EarlyLoad {
    EarlyLoad {
        job: JobId(job),
        pc: PC,
        phys: 0x5000,
        after_pc: PC + 0x40,
        after: 0x6000,
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

fn told(early: EarlyLoad) -> Stream {
    Stream::bound()
        .kind(Kind::CpuWatched)
        .kind(Kind::EarlyLoad(early))
}

fn named_driver(stream: Stream) -> Stream {
    stream
        .kind(named(PC, "take+0x20/0x80 [drv]"))
        .kind(named(PC + 0x40, "poll+0x8/0x40 [drv]"))
}

#[test]
fn it_is_35_with_both_instructions() {
    let found = named_driver(told(early(7))).is(35);
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
            .ends_with(": take+0x20/0x80 [drv]; it knew by poll+0x8/0x40 [drv]"),
        "{}",
        found.text
    );
}

#[test]
fn a_copy_that_the_kernel_makes_for_a_driver_is_the_drivers() {
    let stream = told(early(7))
        .kind(named(PC, "memcpy+0x4/0x20"))
        .kind(named(PC + 0x40, "poll+0x8/0x40 [drv]"));
    stream.is(35);
    // What the kernel does by itself is a hint.
    let stream = told(early(7))
        .kind(named(PC, "memcpy+0x4/0x20"))
        .kind(named(PC + 0x40, "copy_page+0x8/0x40"));
    stream.hints(35);
}

#[test]
fn a_barrier_for_cpus_and_a_register_are_told() {
    let stream = told(EarlyLoad {
        by_register: true,
        for_cpus: true,
        ..early(7)
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
        .kind(Kind::EarlyLoad(EarlyLoad {
            phys: 0x5010,
            ..early(7)
        }));
    let found = named_driver(stream).is(35);
    assert_eq!(found.address, 0x5010);
    let lend = found.lend.expect("a lend");
    assert_eq!((lend.address, lend.length), (0x5000, 512));
}

#[test]
fn the_same_two_instructions_are_one_violation() {
    let stream = told(early(7)).kind(Kind::EarlyLoad(early(8)));
    assert_eq!(named_driver(stream).is(35).accesses, 2);
}
