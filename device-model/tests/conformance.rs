// SPDX-License-Identifier: MIT OR Apache-2.0

//! What every device must do, whichever it is.

use landfall_cards::capture::{CaptureCard, CaptureOptions};
use landfall_device::contract::{
    Bar, Device, Function, Host, Identity, InterruptKind, Next, RegisterName, Registers, Reset,
    Tag, Vector,
};
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

/// How a device breaks what it promised about its actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Not,
    TwoAccesses,
    InterruptsToo,
    WantsNothing,
    DoesNothing,
}

/// Writes a word when its only register is written, and interrupts then.
struct Promising(Broken, u8);

impl Device for Promising {
    fn identity(&self) -> Identity {
        Identity {
            vendor: 0x1b36,
            device: 1,
            bars: vec![Bar::registers(0, 16)],
            ..Identity::default()
        }
    }

    fn reset(&mut self, _kind: Reset) {
        self.1 = 0;
    }

    fn step(&mut self, host: &mut dyn Host) -> Next {
        let broken = self.0;
        match self.1 {
            2 if broken == Broken::DoesNothing => return Next::Again,
            2 => {
                let _ = host.dma_write(0x1000, &[1; 8], Tag::default());
                if broken == Broken::TwoAccesses {
                    let _ = host.dma_write(0x2000, &[1; 8], Tag::default());
                }
                if broken == Broken::InterruptsToo {
                    host.raise(Vector(0));
                }
            }
            1 => host.raise(Vector(0)),
            _ => return Next::Idle,
        }
        self.1 -= 1;
        Next::Again
    }

    fn wants(&self) -> Option<bool> {
        Some(self.1 > 0 && self.0 != Broken::WantsNothing)
    }

    fn line(&self) -> bool {
        false
    }
}

impl Registers for Promising {
    fn register(&self, _bar: u8, offset: u64) -> Option<RegisterName> {
        (offset == 0).then(|| RegisterName::plain("GO"))
    }

    fn read(&self, _bar: u8, _offset: u64) -> u32 {
        0
    }

    fn write(&mut self, _bar: u8, _offset: u64, _value: u32, _host: &mut dyn Host) {
        self.1 = 2;
    }
}

#[test]
fn a_device_that_breaks_its_promise_is_told_of() {
    for (broken, wanted) in [
        (Broken::Not, None),
        (Broken::TwoAccesses, Some("2 accesses")),
        (Broken::InterruptsToo, Some("or interrupted")),
        (Broken::WantsNothing, Some("does not want to act")),
        (Broken::DoesNothing, Some("and does nothing")),
    ] {
        let make = || Box::new(Promising(broken, 0)) as Box<dyn Function>;
        let said = conformance::keeps_its_promise(&make, 1).err();
        let fits = match (&said, wanted) {
            (None, None) => true,
            (Some(said), Some(wanted)) => said.contains(wanted),
            _ => false,
        };
        assert!(fits, "{broken:?}: {said:?}");
    }
}
