// SPDX-License-Identifier: MIT OR Apache-2.0

use proptest::prelude::*;

use super::*;
use crate::contract::{Backing, Bar, InterruptKind, Msix, Place};

fn identity() -> Identity {
    Identity {
        vendor: 0x1b36,
        device: 0x4c46,
        class: 0x04_00_00,
        revision: 1,
        bars: vec![Bar::registers(0, 0x1000)],
        ..Identity::default()
    }
}

fn space(interrupt: InterruptKind) -> ConfigSpace {
    ConfigSpace::new(&identity().interrupting(interrupt, 1)).expect("can be had")
}

fn get<const N: usize>(space: &ConfigSpace, offset: u64) -> [u8; N] {
    let mut bytes = [0; N];
    space.read(offset, &mut bytes);
    bytes
}

fn get32(space: &ConfigSpace, offset: u64) -> u32 {
    u32::from_le_bytes(get(space, offset))
}

/// The capabilities, in order: identifier and offset.
fn list(space: &ConfigSpace) -> Vec<(u8, u8)> {
    let mut found = Vec::new();
    let [mut at] = get(space, 0x34);
    while at != 0 && found.len() < 48 {
        let [id, next] = get(space, at.into());
        found.push((id, at));
        at = next;
    }
    found
}

#[test]
fn header_is_what_the_function_says() {
    let space = space(InterruptKind::Msi);
    assert_eq!(get32(&space, 0), 0x4c46_1b36);
    assert_eq!(get32(&space, 8), 0x0400_0001);
    assert_eq!(get32(&space, 0x2c), 0x4c46_1b36);
    assert_eq!(get(&space, 0x3d), [1]);
    assert_eq!(get(&space, 0x0e), [0]);
    assert_eq!(get32(&space, 0x100), 0);
}

#[test]
fn each_interrupt_kind_has_its_capability() {
    let kinds = |interrupt| {
        list(&space(interrupt))
            .iter()
            .map(|(id, _)| *id)
            .collect::<Vec<_>>()
    };
    assert_eq!(kinds(InterruptKind::Intx), [0x01, 0x10]);
    assert_eq!(kinds(InterruptKind::Msi), [0x01, 0x05, 0x10]);
    assert_eq!(kinds(InterruptKind::Msix), [0x01, 0x11, 0x10]);
    assert_eq!(
        space(InterruptKind::Msi).bar_sizes(),
        [0x1000, 0, 0, 0, 0, 0]
    );
    assert_eq!(
        space(InterruptKind::Msix).bar_sizes(),
        [0x1000, 0, 0x1000, 0, 0, 0]
    );
}

#[test]
fn msi_is_64_bit_with_one_vector_and_msix_is_in_bar_2() {
    let msi = space(InterruptKind::Msi);
    assert_eq!(get(&msi, 0x52), [0x80, 0]);
    let msix = space(InterruptKind::Msix);
    assert_eq!((get32(&msix, 0x74), get32(&msix, 0x78)), (2, 0x802));
}

#[test]
fn bar_is_sized_by_writing_ones_in_any_width() {
    let mut space = space(InterruptKind::Msi);
    space.write(0x10, &[0xff; 4]);
    assert_eq!(get32(&space, 0x10), 0xffff_f000);
    for (at, byte) in [(0x10, 0x34), (0x11, 0x12), (0x12, 0x60), (0x13, 0xfe)] {
        space.write(at, &[byte]);
    }
    assert_eq!(get32(&space, 0x10), 0xfe60_1000);
    space.write(0x14, &[0xff; 8]);
    assert_eq!(get32(&space, 0x14), 0);
}

#[test]
fn command_and_power_tell_what_changed_once() {
    let mut space = space(InterruptKind::Msi);
    let both = |on| [Effect::Decoding(on), Effect::BusMaster(on)];
    assert_eq!(space.write(4, &[6, 4]), both(true));
    assert!(space.memory_enabled() && space.master_enabled() && !space.line_enabled());
    assert_eq!(space.write(4, &[6, 0]), []);
    assert_eq!(space.write(0x44, &[3, 0]), [Effect::Power(3)]);
    assert_eq!(space.write(0x44, &[1, 0]), [], "there is no D1");
    assert_eq!(space.power_state(), 3);
    assert_eq!(space.write(0x44, &[0, 0]), [Effect::Power(0)]);
    assert_eq!(space.write(4, &[0, 0]), both(false));
}

#[test]
fn function_level_reset_is_bit_15_of_device_control_and_reads_0() {
    let mut space = space(InterruptKind::Msi);
    assert_eq!(get32(&space, 0x84) >> 28 & 1, 1, "FLR is offered");
    space.write(4, &[6, 0]);
    space.write(0x10, &[0, 0, 0x60, 0xfe]);
    assert_eq!(
        space.write(0x88, &[0x10, 0x28]),
        [],
        "other bits do not reset"
    );
    assert_eq!(
        space.write(0x88, &[0x10, 0xa8]),
        [Effect::FunctionLevelReset]
    );
    assert_eq!(
        (
            get32(&space, 4) & 0xffff,
            get32(&space, 0x10),
            get32(&space, 0x88)
        ),
        (0, 0, 0)
    );
}

#[test]
fn line_status_follows_and_is_read_only() {
    let mut space = space(InterruptKind::Intx);
    space.set_line_status(true);
    space.write(6, &[0, 0]);
    assert_eq!(get(&space, 6), [0x18]);
    space.set_line_status(false);
    assert_eq!(get(&space, 6), [0x10]);
}

#[test]
fn the_subsystem_and_the_whole_class_are_the_functions_own() {
    let space = ConfigSpace::new(&Identity {
        subsystem: Some((0xabcd, 0x1234)),
        class: 0x01_08_02,
        ..identity()
    });
    let space = space.expect("can be had");
    assert_eq!(get32(&space, 0x2c), 0x1234_abcd);
    assert_eq!(get32(&space, 8), 0x0108_0201);
}

#[test]
fn a_wide_bar_is_two_registers_of_which_the_upper_takes_any_address() {
    let bars = vec![
        Bar::registers(0, 0x1000),
        Bar::registers(2, 1 << 30).wide().prefetchable(),
        Bar::memory(5, &Backing::new(16).expect("made")),
    ];
    let mut space = ConfigSpace::new(&Identity { bars, ..identity() }).expect("can be had");
    assert_eq!(space.bar_sizes(), [0x1000, 0, 1 << 30, 0, 0, 16]);
    space.write(0x10, &[0xff; 24]);
    let read = [0x10, 0x14, 0x18, 0x1c, 0x20, 0x24].map(|at| get32(&space, at));
    assert_eq!(read, [0xffff_f000, 0, 0xc000_000c, !0, 0, 0xffff_fff0]);
    space.write(0x1e, &[0x34]);
    assert_eq!(get32(&space, 0x1c), 0xff34_ffff);
    space.reset();
    assert_eq!([0x18, 0x1c].map(|at| get32(&space, at)), [0xc, 0]);
}

#[test]
fn a_table_is_where_the_function_wants_it_and_both_kinds_can_be_had() {
    let place = |bar, offset| Place { bar, offset };
    let space = ConfigSpace::new(&Identity {
        msi: 32,
        msix: Some(Msix::new(64).at(place(0, 0x800), place(0, 0xc00))),
        ..identity()
    });
    let space = space.expect("can be had");
    assert_eq!(space.bar_sizes(), [0x1000, 0, 0, 0, 0, 0]);
    let ids: Vec<_> = list(&space).iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, [0x01, 0x05, 0x11, 0x10]);
    assert_eq!(get(&space, 0x52), [0x8a, 0]);
    assert_eq!(get32(&space, 0x70) >> 16, 63);
    assert_eq!([0x74, 0x78].map(|at| get32(&space, at)), [0x800, 0xc00]);
}

#[test]
fn a_function_of_conventional_pci_has_no_reset_of_its_own() {
    let mut space = ConfigSpace::new(&Identity {
        link: Link::Pci,
        ..identity()
    })
    .expect("can be had");
    assert_eq!(list(&space), [(0x01, 0x40)]);
    space.write(4, &[6, 0]);
    assert_eq!(space.write(0x88, &[0, 0x80]), []);
    assert!(space.master_enabled());
}

#[test]
fn capabilities_of_its_own_are_in_the_list_and_what_is_writable_is() {
    let own = Capability::vendor(b"mine").writable([0, 0xf0]);
    let more = Capability::extended(0x000b, [1, 2, 3, 4]);
    let serial = Capability::extended(0x0003, [9; 8]);
    let capabilities = vec![own, more, serial];
    let mut space = ConfigSpace::new(&Identity {
        capabilities,
        ..identity()
    })
    .expect("can be had");
    assert_eq!(list(&space), [(0x01, 0x40), (0x10, 0x80), (0x09, 0x48)]);
    assert_eq!(get(&space, 0x4a), *b"\x07mine");
    space.write(0x4a, &[0xff; 5]);
    assert_eq!(get(&space, 0x4a), *b"\x07\xfdine");
    assert_eq!(
        [0x100, 0x104].map(|at| get32(&space, at)),
        [0x1081_000b, 0x0403_0201]
    );
    assert_eq!(
        [0x108, 0x110].map(|at| get32(&space, at)),
        [0x0001_0003, 0x0909_0909]
    );
}

#[test]
fn what_has_no_room_is_refused_and_says_how_much_there_is() {
    let with = |capabilities| {
        ConfigSpace::new(&Identity {
            capabilities,
            ..identity()
        })
    };
    // From MSI's place to PCI Express's.
    assert!(with(vec![Capability::vendor(&[0; 53])]).is_ok());
    let refused = with(vec![Capability::vendor(&[0; 54])]).map_err(|why| why.to_string());
    assert_eq!(
        refused.err().as_deref(),
        Some("capability 0x9: there is no room for its 57 bytes; 56 bytes in a row are left")
    );
    let many = vec![Capability::standard(0x03, [0; 6]); 30];
    assert!(with(many).is_err());
    let long = |length: usize| with(vec![Capability::extended(0x0b, vec![0; length])]);
    assert!(long(SIZE - 0x104).is_ok() && long(SIZE - 0x103).is_err());
}

proptest! {
    /// Whatever is written, identity and capability list stand, and reading has no effect.
    #[test]
    fn no_write_breaks_the_layout(
        writes in proptest::collection::vec((0u64..0x120, proptest::collection::vec(any::<u8>(), 1..9)), 0..60),
    ) {
        for interrupt in InterruptKind::ALL {
            let mut space = space(interrupt);
            let capabilities = list(&space);
            for (offset, bytes) in &writes {
                space.write(*offset, bytes);
                prop_assert_eq!(get32(&space, 0), 0x4c46_1b36);
                prop_assert_eq!(list(&space), capabilities.clone());
                prop_assert_eq!(get32(&space, 0x10) & 0xfff, 0);
                prop_assert!(matches!(space.power_state(), 0 | 3));
                prop_assert_eq!(get32(&space, 0x88) & 0x8000, 0);
            }
            space.reset();
            let fresh = self::space(interrupt);
            prop_assert_eq!(get::<SIZE>(&space, 0), get::<SIZE>(&fresh, 0));
        }
    }

    /// Any width at any place, also beyond the end, agrees with reading byte by byte.
    #[test]
    fn reads_agree_in_every_width(offset in prop_oneof![0u64..5000, Just(u64::MAX - 3)], length in 0usize..20) {
        let space = space(InterruptKind::Msix);
        let mut wide = vec![0; length];
        space.read(offset, &mut wide);
        for (index, byte) in (0u64..).zip(wide) {
            let at = offset.checked_add(index);
            prop_assert_eq!(byte, at.map_or(0xff, |at| get::<1>(&space, at)[0]));
        }
    }
}
