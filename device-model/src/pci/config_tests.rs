// SPDX-License-Identifier: MIT OR Apache-2.0

use proptest::prelude::*;

use super::*;
use crate::contract::Bar;

fn space(interrupt: InterruptKind) -> ConfigSpace {
    ConfigSpace::new(&Identity {
        vendor: 0x1b36,
        device: 0x4c46,
        class: 0x04_00_00,
        revision: 1,
        interrupt,
        vectors: 1,
        bars: vec![Bar {
            index: 0,
            size: 0x1000,
        }],
    })
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
