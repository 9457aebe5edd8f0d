// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;
use landfall_device::contract::DmaError;
use landfall_device::testing::FakeHost;

fn write(device: &mut Scratch, host: &mut FakeHost, register: usize, value: u32) {
    device.write(0, register as u64, value, host);
}

#[test]
fn go_writes_the_scratch_register_to_memory_and_interrupts() {
    let (mut device, mut host) = (Scratch::default(), FakeHost::default());
    host.map(0x1000, 0x1000);
    write(&mut device, &mut host, SCRATCH::OFFSET, 0x1234_5678);
    write(&mut device, &mut host, ADDRESS::OFFSET, 0x1ffc);
    write(&mut device, &mut host, GO::OFFSET, 1);
    assert_eq!(device.read(0, GO::OFFSET as u64), 1, "not before its step");
    host.settle(&mut device);
    assert_eq!(host.bytes(0x1ffb, 5), [0xee, 0x78, 0x56, 0x34, 0x12]);
    assert_eq!((device.read(0, GO::OFFSET as u64), host.interrupts), (0, 1));
    assert!(device.line());
    write(&mut device, &mut host, PENDING::OFFSET, 1);
    assert!(!device.line());
}

#[test]
fn an_address_has_no_lowest_bits_and_a_write_ends_below_4_gib() {
    let (mut device, mut host) = (Scratch::default(), FakeHost::default());
    host.map((1 << 32) - 0x1000, 0x2000);
    write(&mut device, &mut host, ADDRESS::OFFSET, u32::MAX);
    assert_eq!(device.read(0, ADDRESS::OFFSET as u64), 0xffff_fffc);
    write(&mut device, &mut host, GO::OFFSET, 1);
    host.settle(&mut device);
    assert_eq!(host.accesses(), [(Direction::Write, 0xffff_fffc, 4)]);
}

#[test]
fn refused_write_is_told_and_reset_forgets_it() {
    let (mut device, mut host) = (Scratch::default(), FakeHost::default());
    host.refuses = Some(DmaError::NotMaster);
    write(&mut device, &mut host, GO::OFFSET, 1);
    host.settle(&mut device);
    assert_eq!(device.read(0, GO::OFFSET as u64), 2);
    assert!(host.accesses().is_empty());
    device.reset(Reset::Device);
    assert_eq!(device.read(0, GO::OFFSET as u64), 0);
}
