// SPDX-License-Identifier: MIT OR Apache-2.0

//! The witness in a card: its BAR and its mailbox.

use crate::contract::*;
use crate::journal::Kind;
use crate::serve::{LocalCard, Options};

/// A card without a register.
struct Blank(InterruptKind);

impl Device for Blank {
    fn identity(&self) -> Identity {
        Identity {
            vendor: 0x1b36,
            device: 0x4c46,
            bars: vec![Bar::registers(0, 0x1000)],
            ..Identity::default()
        }
        .interrupting(self.0, 1)
    }
    fn reset(&mut self, _kind: Reset) {}
    fn step(&mut self, _host: &mut dyn Host) -> Next {
        Next::Idle
    }
    fn line(&self) -> bool {
        false
    }
}

impl Registers for Blank {
    fn register(&self, _bar: u8, _offset: u64) -> Option<RegisterName> {
        None
    }
    fn read(&self, _bar: u8, _offset: u64) -> u32 {
        UNCLAIMED
    }
    fn write(&mut self, _bar: u8, _offset: u64, _value: u32, _host: &mut dyn Host) {}
}

fn card(interrupt: InterruptKind, witness: bool) -> LocalCard {
    let with = Options {
        witness,
        ..Options::default()
    };
    LocalCard::with(Box::new(Blank(interrupt)), with)
}

fn told(card: &LocalCard) -> Vec<Kind> {
    let entries = card.journal().entries_from(0);
    let rest = entries.into_iter().map(|entry| entry.kind);
    let of_the_card = |kind: &Kind| {
        matches!(
            kind,
            Kind::Declares(_) | Kind::Decoding { .. } | Kind::BusMaster { .. }
        )
    };
    rest.filter(|kind| !of_the_card(kind)).collect()
}

#[test]
fn its_registers_are_no_register_of_the_card() {
    for interrupt in InterruptKind::ALL {
        let mut card = card(interrupt, true);
        assert_eq!(card.read(5, 0), super::MAGIC_VALUE);
        assert_eq!(card.read(5, 0x800), 0);
        // Decoding off: what the witness tells is heard all the same.
        card.write_config(4, &[0, 0]);
        card.write_long(5, 0x10, 0x1000);
        card.write_long(5, 0x20, 64);
        card.write_long(5, 0x58, super::word(0, "LW_OP_MAP", &[]));
        let told = told(&card);
        assert!(matches!(&told[..], [Kind::Call(_)]), "{told:?}");
    }
}

/// Writes a register by the mailbox, as the module does.
fn put(card: &mut LocalCard, register: u64, value: u64) {
    card.write_config(0xc8, &(register as u32).to_le_bytes());
    card.write_config(0xcc, &(value as u32).to_le_bytes());
    card.write_config(0xcc, &((value >> 32) as u32).to_le_bytes());
}

fn get(card: &mut LocalCard, register: u32) -> u32 {
    card.write_config(0xc8, &register.to_le_bytes());
    let mut bytes = [0; 4];
    card.read_config(0xcc, &mut bytes);
    u32::from_le_bytes(bytes)
}

/// In D3hot, without decoding, and after resets: the mailbox is there, and leads to the same registers as the BAR.
#[test]
fn its_mailbox_is_always_there() {
    for interrupt in InterruptKind::ALL {
        let mut card = card(interrupt, true);
        let mut bytes = [0; 8];
        card.read_config(0xc0, &mut bytes);
        assert_eq!(bytes, *b"\x09\0\x10\x01LFWT");
        card.write_config(0x44, &[3]);
        card.write_config(4, &[0, 0]);
        put(&mut card, 0x10, 0x1_0000_1000);
        put(&mut card, 0x20, 64);
        put(&mut card, 0x58, super::word(0, "LW_OP_MAP", &[]));
        card.write_config(0x88, &[0, 0x80]); // function-level reset
        put(&mut card, 0x10, 0x1_0000_1000);
        put(&mut card, 0x20, 64);
        put(&mut card, 0x58, super::word(1, "LW_OP_UNMAP", &[]));
        assert_eq!(get(&mut card, 8), 2);
        assert_eq!(get(&mut card, 0), super::MAGIC_VALUE);
        let entries = card.journal().entries_from(0);
        let calls = entries.iter().filter_map(|entry| match &entry.kind {
            Kind::Call(call) => Some(call.address),
            Kind::Refused { what } => panic!("{what}"),
            _ => None,
        });
        assert_eq!(calls.collect::<Vec<_>>(), [0x1_0000_1000; 2]);
    }
}

#[test]
fn odd_writes_to_the_mailbox_are_refused_and_odd_reads_are_none() {
    let mut card = card(InterruptKind::Msi, true);
    card.write_config(0xc9, &[1]);
    card.write_config(0xcc, &[1, 2]);
    card.write_config(0xc8, &u32::MAX.to_le_bytes());
    card.write_config(0xcc, &[0; 4]);
    assert_eq!(told(&card).len(), 3, "{:?}", told(&card));
    for at in 0xb8..0xd4 {
        for length in 0..9 {
            card.read_config(at, &mut vec![0; length]);
        }
    }
}

#[test]
fn there_is_none_unless_asked_for() {
    let mut card = card(InterruptKind::Msi, false);
    card.write_config(0xcc, &[1, 2, 3, 4]);
    let mut bytes = [0; 16];
    card.read_config(0xc0, &mut bytes);
    assert_eq!(bytes, [0; 16]);
    assert_eq!(card.read(5, 0), u32::MAX);
    assert!(matches!(told(&card)[..], [Kind::Unclaimed { bar: 5, .. }]));
}

#[test]
fn decoding_is_journalled() {
    let mut card = card(InterruptKind::Msi, false);
    card.write_config(4, &[4, 0]);
    let entries = card.journal().entries_from(0);
    let decoding = entries.iter().filter_map(|entry| match entry.kind {
        Kind::Decoding { on } => Some(on),
        _ => None,
    });
    let decoding: Vec<_> = decoding.collect();
    assert_eq!(decoding, [true, false]);
}
