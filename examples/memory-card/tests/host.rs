// SPDX-License-Identifier: MIT OR Apache-2.0

//! The card by itself: no guest, milliseconds.

use landfall_device::contract::*;
use landfall_device::testing::{self, FakeHost};
use memory_card::Window;

#[test]
fn it_is_what_every_device_must_be() {
    testing::conforms(&|| Box::new(Window::new().unwrap())).unwrap();
}

#[test]
fn reading_the_windows_events_clears_them_and_halves_make_one_address() {
    let (mut host, mut card) = (FakeHost::default(), Window::new().unwrap());
    host.map(0x5000, 0x1000);
    card.store(Access::word(0, 0), 0x5000, &mut host);
    assert_eq!(host.settle(&mut card), Next::Idle);
    assert_eq!(host.interrupts, 0, "the upper half sets it going");
    card.store(Access::word(0, 4), 0, &mut host);

    host.settle(&mut card);

    assert_eq!(host.bytes(0x5000, 4096), [0; 4096]);
    let events = Access {
        width: Width::Eight,
        ..Access::word(0, 8)
    };
    assert_eq!(card.load(events, &mut host), 1);
    assert_eq!(card.load(events, &mut host), 0);
}
