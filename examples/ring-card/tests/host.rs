// SPDX-License-Identifier: MIT OR Apache-2.0

//! The card by itself: no guest, milliseconds.

use landfall_device::contract::*;
use landfall_device::testing::{self, FakeHost};
use ring_card::RingCard;

#[test]
fn it_is_what_every_device_must_be() {
    testing::conforms(&|| Box::<RingCard>::default()).unwrap();
}

#[test]
fn it_fills_two_buffers_and_not_a_byte_beside() {
    let (mut host, mut card) = (FakeHost::default(), RingCard::default());
    host.map(0x1000, 0x4000);
    for (entry, address) in [(0u64, 0x2010u64), (1, 0x3000)] {
        host.put(0x1000 + 16 * entry, &address.to_le_bytes());
        host.put(0x1008 + 16 * entry, &100u32.to_le_bytes());
    }
    for (offset, value) in [(0x08, 0x1000), (0x10, 4), (0x14, 2)] {
        card.store(Access::word(0, offset), value, &mut host);
    }

    assert_eq!(host.settle(&mut card), Next::Idle);

    let mut expected = vec![0xee; 0x10];
    expected.extend([1; 100]);
    expected.extend([0xee; 12]);
    assert_eq!(host.bytes(0x2000, 128), expected);
    assert_eq!(host.bytes(0x3000, 101), [[2; 100].as_slice(), &[0xee]].concat());
    assert_eq!(host.interrupts, 2);
    assert_eq!(card.load(Access::word(0, 0x18), &mut host), 2);
}
