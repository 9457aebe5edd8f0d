// SPDX-License-Identifier: MIT OR Apache-2.0

//! What every device must do, whichever it is.

use landfall_cards::capture::{CaptureCard, CaptureOptions};
use landfall_device::contract::{Function, InterruptKind};
use landfall_device::testing::{conformance, conforms};

use crate::support::{CONFIG, plug};

/// Every make of every device.
fn makes() -> Vec<(String, Box<dyn Function>)> {
    let capture = InterruptKind::ALL.into_iter().map(|interrupt| {
        let options = CaptureOptions {
            interrupt,
            ..CaptureOptions::default()
        };
        let card: Box<dyn Function> = Box::new(CaptureCard::new(options));
        (format!("capture, {interrupt}"), card)
    });
    let all = landfall_cards::SET.into_iter();
    all.map(|(name, make)| (name.to_owned(), make()))
        .chain(capture)
        .collect()
}

/// Offsets of all registers that a function has in BAR 0.
fn registers(function: &dyn Function) -> Vec<u64> {
    let all = conformance::registers(function).into_iter();
    all.filter(|access| access.bar == 0)
        .map(|access| access.offset)
        .collect()
}

#[test]
fn every_device_conforms() {
    // A make of a device is found again by its place in the list.
    for (number, (name, _)) in makes().into_iter().enumerate() {
        let make = || makes().swap_remove(number).1;
        assert_eq!(conforms(&make), Ok(()), "{name}");
    }
}

#[test]
fn every_device_is_found_sized_and_reset_over_the_protocol() {
    for (name, function) in makes() {
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
            let has = match irq {
                0 => 1,
                1 => identity.msi.into(),
                2 => identity.msix.map_or(0, |msix| msix.vectors.into()),
                _ => 0,
            };
            assert_eq!(info.count, has, "{name}: irq {irq}");
        }
        let before: Vec<_> = registers.iter().map(|at| machine.get(*at)).collect();
        for at in &registers {
            machine.set(*at, 0xffff_fffe);
            let _ = machine.get(*at);
        }
        machine.client.reset().expect("reset");
        machine
            .client
            .region_write(CONFIG, 4, &[6, 0])
            .expect("enabled");
        let after: Vec<_> = registers.iter().map(|at| machine.get(*at)).collect();
        assert_eq!(before, after, "{name}: reset forgets everything");
    }
}
