// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;
use landfall_device::testing::FakeHost;

const BASE: u32 = 0x10_0000;
const BYTES: u32 = 8192;

/// A card with buffers of 8 KiB, one behind the other with a page between.
fn bench() -> (Xtrx, FakeHost) {
    let (mut card, mut host) = (Xtrx::default(), FakeHost::default());
    host.map(BASE.into(), 40 * (u64::from(BYTES) + 4096));
    let mut write = |offset: usize, value: u32| poke(&mut card, &mut host, offset, value);
    write(INTERRUPTS::OFFSET, 1 << 15 | 0xfff);
    for n in 0..BUFFERS {
        let at = BASE + n * (BYTES + 4096);
        write(
            RX_BUFFER::OFFSET + 4 * n as usize,
            at | (BYTES / 16 - 1) & 0xfff,
        );
        write(
            TX_BUFFER::OFFSET + 4 * n as usize,
            at | (BYTES / 16 - 1) & 0xfff,
        );
    }
    (card, host)
}

fn poke(card: &mut Xtrx, host: &mut FakeHost, offset: usize, value: u32) {
    card.write(0, offset as u64, value.swap_bytes(), host);
}

fn peek(card: &mut Xtrx, host: &mut FakeHost, offset: usize) -> u32 {
    let value = card.read(0, offset as u64).swap_bytes();
    card.after_read(0, offset as u64, host);
    value
}

fn start() -> u32 {
    DMA::compose(false, true, 3, 0).into_raw()
}

#[test]
fn buffers_are_filled_in_turn_until_all_are_the_drivers() {
    let (mut card, mut host) = bench();
    poke(&mut card, &mut host, DMA::OFFSET, start());
    for _ in 0..40 {
        host.time += Duration::from_millis(1);
        host.settle(&mut card);
    }
    assert_eq!(peek(&mut card, &mut host, RX_CONFIRM::OFFSET), 32);
    assert_eq!(host.interrupts, 32);
    let third = u64::from(BASE + 2 * (BYTES + 4096));
    assert_eq!(host.bytes(third, 8), [0, 0, 2, 0, 1, 0, 2, 0]);
    assert_eq!(
        host.bytes(third + u64::from(BYTES) - 4, 5),
        [0xff, 7, 2, 0, 0xee]
    );
    assert_eq!(peek(&mut card, &mut host, INTERRUPTS::OFFSET), 1 << 2);
    assert_eq!(peek(&mut card, &mut host, INTERRUPTS::OFFSET), 0);

    poke(&mut card, &mut host, RX_CONFIRM::OFFSET, 0);
    host.time += Duration::from_millis(1);
    host.settle(&mut card);
    assert_eq!(peek(&mut card, &mut host, RX_CONFIRM::OFFSET), 33);
    assert_eq!(host.bytes(BASE.into(), 4), [0, 0, 32, 0], "around");

    poke(&mut card, &mut host, DMA::OFFSET, 1 << 30);
    poke(&mut card, &mut host, RX_CONFIRM::OFFSET, 0);
    host.time += Duration::from_millis(9);
    assert_eq!(host.settle(&mut card), Next::Idle);
}

#[test]
fn one_length_for_all_comes_before_each_buffers_own() {
    let (mut card, mut host) = bench();
    poke(&mut card, &mut host, RX_LENGTH::OFFSET, 1 << 31 | 63);
    poke(&mut card, &mut host, DMA::OFFSET, start());
    host.time += Duration::from_millis(1);
    host.settle(&mut card);
    assert_eq!(host.bytes(u64::from(BASE) + 1020, 5), [255, 0, 0, 0, 0xee]);
}

#[test]
fn what_is_sent_is_read_and_nothing_written() {
    let (mut card, mut host) = bench();
    host.put(BASE.into(), &[1, 2, 3]);
    poke(
        &mut card,
        &mut host,
        DMA::OFFSET,
        DMA::compose(true, false, 0, 3).into_raw(),
    );
    poke(&mut card, &mut host, TX_LENGTH::OFFSET, 0);
    poke(&mut card, &mut host, TX_TIME::OFFSET, 0);
    host.settle(&mut card);
    assert_eq!(peek(&mut card, &mut host, TX_LENGTH::OFFSET), 1);
    let mut expected = vec![1, 2, 3];
    expected.extend([0xee; 13]);
    let check = expected.iter().fold(0x811c_9dc5, |check: u32, byte: &u8| {
        (check ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    assert_eq!(peek(&mut card, &mut host, TX_TIME::OFFSET), check);
    assert_eq!(host.bytes(BASE.into(), 16), expected);
    assert_eq!(host.interrupts, 1);
}

#[test]
fn what_waited_for_the_bus_goes_on_in_the_moment_that_it_may() {
    let (mut card, mut host) = bench();
    poke(&mut card, &mut host, DMA::OFFSET, start());
    host.refuses = Some(DmaError::NotMaster);
    host.time += Duration::from_millis(9);
    host.settle(&mut card);
    assert_eq!(host.accesses(), []);

    host.refuses = None;
    card.notice(Notice::BusMaster, &mut host);
    assert_eq!(
        host.accesses().len(),
        1,
        "before the driver's next instruction"
    );

    poke(&mut card, &mut host, DMA::OFFSET, 1 << 30);
    host.time += Duration::from_millis(9);
    card.notice(Notice::BusMaster, &mut host);
    assert_eq!(host.accesses().len(), 1, "it was stopped");
}
