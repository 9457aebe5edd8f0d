// SPDX-License-Identifier: MIT OR Apache-2.0

//! The witness in the guest: what it tells of a driver is what the driver did, in the order in which it did.

use std::collections::BTreeMap;

use landfall::guest::{
    Booted, CAPTURE_MODULE, CardKind, Direction, Guest, GuestOptions, Running, WITNESS_MODULE,
};
use landfall::run::CapturePlan;
use landfall_device::devices::capture::CaptureOptions;
use landfall_device::dma::journal::{Call, DriverCall, DriverState, Entry, Kind};
use landfall_device::ledger::LendDirection;
use landfall_tests::{Result, boot, boot_loaded, capture_clean};

fn watched() -> GuestOptions {
    GuestOptions {
        witness: true,
        ..GuestOptions::default()
    }
}

fn entries<Stage: Running>(guest: &Guest<Stage>) -> Vec<Entry> {
    guest.sync_card(0);
    guest
        .journal(0)
        .map(|journal| journal.entries_from(0))
        .unwrap_or_default()
}

fn calls(entries: &[Entry]) -> Vec<DriverCall> {
    let calls = entries.iter().filter_map(|entry| match &entry.kind {
        Kind::Call(call) => Some(call.clone()),
        _ => None,
    });
    calls.collect()
}

/// What is lent at the end, by bus address: bytes and direction. Whatever is returned must have been lent so.
fn alive(calls: &[DriverCall]) -> BTreeMap<u64, (u64, LendDirection)> {
    let mut alive = BTreeMap::new();
    for call in calls {
        let lend = (call.length, call.direction);
        match call.call {
            Call::Map | Call::MapList | Call::Alloc => {
                assert_eq!(alive.insert(call.address, lend), None, "{call:?}");
            }
            Call::Unmap | Call::UnmapList | Call::Free => {
                assert_eq!(alive.remove(&call.address), Some(lend), "{call:?}");
            }
            _ => {}
        }
    }
    alive
}

/// Not one event is missing, and none made no sense.
fn assert_whole(entries: &[Entry]) {
    let bad: Vec<_> = entries
        .iter()
        .filter(|entry| matches!(entry.kind, Kind::WitnessGap { .. } | Kind::Refused { .. }))
        .collect();
    assert!(bad.is_empty(), "{bad:?}");
}

/// What the driver says that it lent, by way of the agent, is what the witness saw it lend, to the byte; and when the
/// driver is gone, all of it came back.
fn assert_lends_balance(options: GuestOptions) -> Result {
    let guest = boot_loaded(options)?;
    let card = guest.open_card(0)?;
    landfall_tests::start_capture(&card)?;
    let told = card.lends()?;
    assert!(!told.is_empty(), "a capture lends");

    let seen = entries(&guest);
    let lent = alive(&calls(&seen));
    for lend in &told {
        let direction = match lend.direction {
            Direction::FromDevice => LendDirection::FromDevice,
            Direction::ToDevice => LendDirection::ToDevice,
            Direction::Both => LendDirection::Both,
        };
        let found = lent
            .get(&lend.dma)
            .map(|(length, direction)| (*length, *direction));
        assert_eq!(
            found,
            Some((lend.length, direction)),
            "{lend:?} of {lent:?}"
        );
    }

    card.stop()?;
    card.close()?;
    guest.unload_module(CAPTURE_MODULE)?;
    let seen = entries(&guest);
    assert_whole(&seen);
    assert_eq!(alive(&calls(&seen)), BTreeMap::new(), "all of it came back");
    let states: Vec<_> = seen
        .iter()
        .filter_map(|entry| match &entry.kind {
            Kind::Driver { driver, state } if driver == CAPTURE_MODULE => Some(*state),
            _ => None,
        })
        .collect();
    assert_eq!(
        states,
        [
            DriverState::Binding,
            DriverState::Bound,
            DriverState::Unbinding,
            DriverState::Unbound
        ]
    );
    Ok(guest.power_off()?)
}

#[test]
fn what_it_tells_is_what_the_driver_lent() -> Result {
    assert_lends_balance(watched())
}
