// SPDX-License-Identifier: MIT OR Apache-2.0

//! What every device must do, whichever it is.

use landfall_device::contract::{Function, InterruptKind};
use landfall_device::devices;

use crate::support::{CONFIG, plug};

/// Offsets of all registers that a function has in its BARs.
fn registers(function: &dyn Function) -> Vec<(u8, u64)> {
    let bars = function.identity().bars;
    let all = bars.iter().flat_map(|bar| {
        (0..u64::from(bar.size))
            .step_by(4)
            .map(|at| (bar.index, at))
    });
    all.filter(|(bar, at)| function.register(*bar, *at).is_some())
        .collect()
}

#[test]
fn every_device_describes_itself_well() {
    for (name, function) in devices::all() {
        let identity = function.identity();
        assert_eq!(identity, function.identity(), "{name}");
        assert!(identity.class < 1 << 24, "{name}");
        for bar in &identity.bars {
            assert!(bar.index < 6 && bar.index != 2, "{name}: BAR {}", bar.index);
            assert!(bar.size.is_power_of_two() && bar.size >= 16, "{name}");
        }
        let registers = registers(function.as_ref());
        assert!(!registers.is_empty(), "{name}");
        for (bar, at) in registers {
            assert!(function.register(bar, at + 1).is_none(), "{name}: {at:#x}");
            assert!(function.register(bar + 1, at).is_none(), "{name}: {at:#x}");
        }
        assert!(!function.line(), "{name}: no interrupt after power-on");
    }
}

#[test]
fn every_device_is_found_sized_and_reset_over_the_protocol() {
    for (name, function) in devices::all() {
        let identity = function.identity();
        let registers = registers(function.as_ref());
        let mut machine = plug(function);
        let mut id = [0; 4];
        machine
            .client
            .region_read(CONFIG, 0, &mut id)
            .expect("read");
        let expected = u32::from(identity.device) << 16 | u32::from(identity.vendor);
        assert_eq!(u32::from_le_bytes(id), expected, "{name}");
        for region in 0..9 {
            assert!(
                machine.client.region(region).is_some(),
                "{name}: region {region}"
            );
        }
        for irq in 0..5 {
            let info = machine.client.get_irq_info(irq).expect("described");
            let has = match (irq, identity.interrupt) {
                (0, _) | (1, InterruptKind::Msi) => 1,
                (2, InterruptKind::Msix) => identity.vectors.into(),
                _ => 0,
            };
            assert_eq!(info.count, has, "{name}: irq {irq}");
        }
        let before: Vec<_> = registers.iter().map(|(_, at)| machine.get(*at)).collect();
        for (_, at) in &registers {
            machine.set(*at, 0xffff_fffe);
            let _ = machine.get(*at);
        }
        machine.client.reset().expect("reset");
        machine
            .client
            .region_write(CONFIG, 4, &[6, 0])
            .expect("enabled");
        let after: Vec<_> = registers.iter().map(|(_, at)| machine.get(*at)).collect();
        assert_eq!(before, after, "{name}: reset forgets everything");
    }
}

#[test]
fn no_device_answers_where_it_has_nothing_or_with_decoding_off() {
    for (name, function) in devices::all() {
        let (_, first) = registers(function.as_ref())[0];
        let unclaimed = (0..0x1000)
            .step_by(4)
            .find(|at| function.register(0, *at).is_none())
            .expect("a hole");
        let mut machine = plug(function);
        assert_eq!(machine.get(unclaimed), u32::MAX, "{name}");
        machine.set(unclaimed, 0);
        assert_ne!(machine.get(first), u32::MAX, "{name}");
        machine
            .client
            .region_write(CONFIG, 4, &[4, 0])
            .expect("decoding off");
        assert_eq!(machine.get(first), u32::MAX, "{name}");
    }
}
