// SPDX-License-Identifier: MIT OR Apache-2.0

//! What every device must do, whichever it is.

use landfall_cards::capture::{CaptureCard, CaptureOptions};
use landfall_device::contract::{Function, InterruptKind, Next};
use landfall_device::dma::map::Request;
use landfall_device::journal::Kind;
use landfall_device::random::Random;
use landfall_device::serve::LocalCard;
use landfall_device::testing::check_declarations;

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
    for (name, function) in makes() {
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
    for (name, function) in makes() {
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

#[test]
fn every_journal_begins_with_what_the_device_declares() {
    for (name, function) in makes() {
        let declares = function.declares();
        assert_eq!(declares, function.declares(), "{name}");
        let card = LocalCard::new(function);
        let first = card.journal().entries_from(0).swap_remove(0);
        assert_eq!(
            (first.sequence, first.kind),
            (0, Kind::Declares(declares)),
            "{name}"
        );
    }
}

/// Whatever a driver writes, a device without a fault does as it declares.
#[test]
fn every_device_keeps_what_it_declares_under_any_writes() {
    const RAM: u64 = 4 << 20;
    const ROUNDS: u64 = 12;
    let mut raised = 0;
    for seed in 0..ROUNDS {
        for (name, function) in makes() {
            let declares = function.declares();
            let registers = registers(function.as_ref());
            let mut card = LocalCard::new(function);
            let memory = tempfile::tempfile().expect("memory");
            memory.set_len(RAM).expect("size");
            let request = Request {
                iova: 0,
                length: RAM,
                file_offset: 0,
                readable: true,
                writable: true,
                file: Some(memory),
            };
            card.map().add(request).expect("mapped");
            let mut random = Random::new(seed);
            for _ in 0..600 {
                let pick = random.index(registers.len());
                let (bar, at) = registers[pick];
                let value = match random.below(6) {
                    0 => random.draw() as u32,
                    1 => 1 << random.below(32),
                    2 => random.below(64) as u32 * 4096,
                    3 => 0,
                    _ => random.below(4) as u32,
                };
                card.write(bar, at, value);
                for _ in 0..random.below(8) {
                    if card.step() != Next::Again {
                        break;
                    }
                }
            }
            let entries = card.journal().entries_from(0);
            let kinds: Vec<_> = entries.into_iter().map(|entry| entry.kind).collect();
            let kept = check_declarations(&declares, &kinds);
            assert_eq!(kept, Ok(()), "{name}, seed {seed}");
            let interrupts = kinds
                .iter()
                .filter(|kind| matches!(kind, Kind::Interrupt { .. }));
            raised += interrupts.count();
        }
    }
    assert!(raised > 0, "nothing ever happened");
}
