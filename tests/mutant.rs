// SPDX-License-Identifier: MIT OR Apache-2.0

//! The driver with bugs to order: its clean twin, on several platforms.

use landfall::guest::{Booted, Guest, GuestOptions, Iommu, Module, WITNESS_MODULE};
use landfall::judge::judge;
use landfall_cards::capture::CaptureOptions;
use landfall_device::contract::Declaration;
use landfall_device::contract::InterruptKind;
use landfall_device::contract::Reset::{Device, FunctionLevel};
use landfall_device::journal::DriverState::{Bound, Unbinding};
use landfall_device::journal::Kind;
use landfall_device::ledger::Class;
use landfall_device::ledger::Platform;
use landfall_suite::capture;
use landfall_tests::{Result, boot, with_capture_card};

const MUTANT: &str = "landfall_mutant";
/// What the driver says of itself.
const PARAMETERS: &str = "/sys/module/landfall_mutant/parameters";
/// Frames of a capture, if nothing else is asked for.
const FRAMES: u64 = 8;

/// A number that the driver tells.
fn told(guest: &Guest<Booted>, name: &str) -> Result<u64> {
    let text = guest.read_text(&format!("{PARAMETERS}/{name}"))?;
    Ok(text.trim().parse()?)
}

/// Without a bug all frames come, with the right bytes, and the journal shows a driver as it should be: each job done
/// well and taken back, the card stopped, and bus mastering off at the end.
fn clean_twin(options: GuestOptions, parameters: &str) -> Result {
    let guest = boot(options)?;

    guest.load_module(MUTANT, parameters)?;

    assert_eq!(told(&guest, "completed")?, FRAMES);
    assert_eq!(told(&guest, "right")?, FRAMES);
    guest.unload_module(MUTANT)?;
    let journal = guest.journal(0).expect("a card").entries_from(0);
    let count = |is: &dyn Fn(&Kind) -> bool| journal.iter().filter(|entry| is(&entry.kind)).count();
    let declared = |wanted: &dyn Fn(&Declaration) -> bool| {
        count(&|kind| kind.declaration().is_some_and(|(what, _)| wanted(what)))
    };
    let done = declared(&|what| matches!(what, Declaration::Done { error: None, .. }));
    assert_eq!(done as u64, FRAMES);
    let back = declared(&|what| matches!(what, Declaration::Released { .. }));
    assert!(back >= done);
    assert_eq!(
        count(&|kind| matches!(kind, Kind::Access { outcome, .. } if !outcome.is_ok())),
        0,
        "no access was refused"
    );
    let last_access = journal
        .iter()
        .rposition(|entry| matches!(entry.kind, Kind::Access { .. }));
    let idle = journal.iter().position(|entry| {
        let declared = entry.kind.declaration();
        matches!(declared, Some((Declaration::Idle { .. }, _)))
    });
    assert!(last_access < idle && idle.is_some(), "stopped at the end");
    let master = journal.iter().rev().find_map(|entry| match entry.kind {
        Kind::BusMaster { on } => Some(on),
        _ => None,
    });
    assert_eq!(master, Some(false));
    Ok(guest.power_off()?)
}

/// On plain memory, with each kind of interrupt.
#[test]
fn the_clean_twin_captures_every_frame() -> Result {
    for interrupt in InterruptKind::ALL {
        let card = CaptureOptions {
            interrupt,
            ..CaptureOptions::default()
        };
        clean_twin(capture::guest(card), "")?;
    }
    Ok(())
}

/// Behind a strict IOMMU, with a list for each frame.
#[test]
fn the_clean_twin_captures_behind_an_iommu() -> Result {
    let options = GuestOptions {
        iommu: Iommu::Strict,
        ..with_capture_card()
    };
    clean_twin(options, "memory=3")
}

/// Through bounce buffers: without its syncs no frame would be right.
#[test]
fn the_clean_twin_captures_through_bounce_buffers() -> Result {
    let options = || GuestOptions {
        append: "swiotlb=force".to_owned(),
        ..with_capture_card()
    };
    clean_twin(options(), "")?;

    let guest = boot(options())?;
    guest.load_module(MUTANT, "bug=37")?;
    assert_eq!(told(&guest, "completed")?, FRAMES);
    assert_eq!(told(&guest, "right")?, 0);
    guest.unload_module(MUTANT)?;
    Ok(guest.power_off()?)
}

/// A card that goes on capturing, watched by the witness.
fn capturing(parameters: &str) -> Result<Guest<Booted>> {
    let guest = boot(GuestOptions {
        witness: true,
        preload: vec![Module::named(WITNESS_MODULE)],
        ..with_capture_card()
    })?;
    guest.load_module(MUTANT, &format!("lasting=1 {parameters}"))?;
    Ok(guest)
}

/// The classes that the card's journal shows.
fn classes(guest: &Guest<Booted>) -> Vec<Option<u8>> {
    let found = judge(&guest.journal(0).expect("a card"), Platform::default());
    assert_eq!(found.not_judged, [""; 0]);
    let named = found.violations.iter();
    named.map(|found| found.class.map(Class::number)).collect()
}

/// The clean twin answers each error on the card's link: it captures again after the reset, with the right bytes, and
/// can be unloaded; nothing is wrong with it. The twin without handlers keeps a card that was reset under it.
#[test]
fn after_an_error_on_the_link_the_clean_twin_captures_again() -> Result {
    for (parameters, errors, frames, expected) in [
        ("", 2, 3 * FRAMES, vec![]),
        ("bug=29", 1, FRAMES, vec![Some(29)]),
    ] {
        let guest = capturing(parameters)?;
        assert_eq!(classes(&guest), [], "before");

        for _ in 0..errors {
            guest.fail_link(0)?;
        }

        assert_eq!(told(&guest, "completed")?, frames, "{parameters}");
        assert_eq!(told(&guest, "right")?, frames, "{parameters}");
        guest.unload_module(MUTANT)?;
        assert_eq!(classes(&guest), expected, "{parameters}");
        guest.power_off()?;
    }
    Ok(())
}

/// A driver without error handlers is not blamed for a reset that somebody wanted, nor for a card that is pulled.
#[test]
fn a_reset_on_purpose_is_no_error_of_the_link() -> Result {
    let guest = capturing("bug=29")?;
    let device = "/sys/bus/pci/devices/0000:01:00.0";

    for method in ["flr", "bus"] {
        guest.write_file(&format!("{device}/reset_method"), method)?;
        guest.write_file(&format!("{device}/reset"), "1")?;
        assert_eq!(classes(&guest), [], "{method}");
    }

    guest.unplug(0)?;
    assert_eq!(classes(&guest), [], "unplugged");
    let journal = guest.journal(0).expect("a card").entries_from(0);
    let resets = journal.iter().filter_map(|entry| match entry.kind {
        Kind::Driver { state, .. } => Some(Err(state)),
        Kind::Reset { reset } => Some(Ok(reset)),
        _ => None,
    });
    let resets: Vec<_> = resets.skip_while(|seen| *seen != Err(Bound)).collect();
    let expected = [Err(Bound), Ok(FunctionLevel), Ok(Device), Err(Unbinding)];
    assert_eq!(resets[..4], expected, "both struck a driver that was bound");
    Ok(guest.power_off()?)
}
