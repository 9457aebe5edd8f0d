// SPDX-License-Identifier: MIT OR Apache-2.0

//! The witness in the guest: what it tells of a driver is what the driver did, in the order in which it did.

use std::collections::BTreeMap;
use std::time::Duration;

use landfall::guest::{
    Booted, Card, Deadlines, Direction, Guest, GuestOptions, How, Iommu, POOL_MODULE, Running,
    WITNESS_MODULE,
};
use landfall_cards::capture::CaptureOptions;
use landfall_cards::template::Scratch;
use landfall_device::journal::LendDirection;
use landfall_device::journal::{Call, DriverCall, DriverState, Entry, Kind};
use landfall_suite::capture::{self, CAPTURE_MODULE, Device};
use landfall_suite::run::{CapturePlan, Wishes};
use landfall_tests::errno::EBUSY;
use landfall_tests::{
    Result, SHORT, assert_refused, boot, boot_loaded, capture_clean, reported, with_capture_card,
};

pub(crate) const STATUS: &str = "/sys/kernel/debug/landfall_witness/status";

pub(crate) fn watched() -> GuestOptions {
    GuestOptions {
        witness: true,
        ..with_capture_card()
    }
}

/// The journal, with all that the guest has told by now: its status is read from the card, and the answer comes behind
/// what was posted before.
pub(crate) fn entries<Stage: Running>(guest: &Guest<Stage>) -> Result<Vec<Entry>> {
    guest.read_text(STATUS)?;
    guest.sync_card(0);
    Ok(guest.journal(0).ok_or("a card")?.entries_from(0))
}

pub(crate) fn calls(entries: &[Entry]) -> Vec<DriverCall> {
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

fn is_loss(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::WitnessGap { .. } | Kind::Unheard { .. } | Kind::Refused { .. }
    )
}

/// Not one event is missing, and none made no sense.
pub(crate) fn assert_whole(entries: &[Entry]) {
    let bad: Vec<_> = entries
        .iter()
        .filter(|entry| is_loss(&entry.kind))
        .collect();
    assert!(bad.is_empty(), "{bad:?}");
}

/// Each call has a caller, whose name, of that module, was told before.
fn assert_callers_named(entries: &[Entry], module: &str) {
    let mut names = BTreeMap::new();
    for entry in entries {
        match &entry.kind {
            Kind::Symbol { address, name } => {
                names.insert(*address, name.as_str());
            }
            Kind::Call(call) if call.call != Call::PoolLend && call.call != Call::PoolReturn => {
                let name = names.get(&call.caller).copied().unwrap_or_default();
                assert!(name.contains(module), "{call:?} by {name:?} of {names:?}");
            }
            _ => {}
        }
    }
    assert!(!names.is_empty(), "callers have names");
}

/// What the driver says that it lent, by way of the agent, is what the witness saw it lend, to the byte; and when the
/// driver is gone, all of it came back.
fn assert_lends_balance(options: GuestOptions) -> Result {
    let guest = boot_loaded(options)?;
    let card = Device::open(&guest, 0)?;
    landfall_tests::start_capture(&card)?;
    let told = card.lends()?;
    assert!(!told.is_empty(), "a capture lends");

    let seen = entries(&guest)?;
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
    let seen = entries(&guest)?;
    assert_whole(&seen);
    assert_eq!(alive(&calls(&seen)), BTreeMap::new(), "all of it came back");
    assert_callers_named(&seen, "[landfall_capture]");
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
    assert_pool_balances(&calls(&seen));

    let journal = guest.journal(0).ok_or("a card")?;
    guest.power_off()?;
    let down = journal.entries_from(0);
    let down = down.iter().filter(|entry| entry.kind == Kind::KernelDown);
    assert_eq!(down.count(), 1, "the kernel's end is told");
    Ok(())
}

/// What the pool lent came back to it.
fn assert_pool_balances(calls: &[DriverCall]) {
    let of = |wanted| {
        let of = calls.iter().filter(move |call| call.call == wanted);
        let mut of: Vec<_> = of.map(|call| (call.address, call.length)).collect();
        of.sort_unstable();
        of
    };
    let lent = of(Call::PoolLend);
    assert!(!lent.is_empty(), "frames come from the pool");
    assert_eq!(lent, of(Call::PoolReturn));
}

/// A function-level reset takes the BAR's address from the card, and gives it back: nothing is lost on the way, and
/// the same holds for a card that is pulled and one that is plugged in.
#[test]
fn it_lives_through_resets_and_hot_plugs() -> Result {
    let guest = boot_loaded(GuestOptions {
        spare_ports: 1,
        ..watched()
    })?;
    let device = "/sys/bus/pci/devices/0000:01:00.0";
    guest.write_file(&format!("{device}/reset_method"), "flr")?;
    guest.write_file(&format!("{device}/reset"), "1")?;
    let card = Device::open(&guest, 0)?;
    capture_clean(&guest, &card, &CapturePlan::default())?;
    card.close()?;
    assert_whole(&entries(&guest)?);

    let second = guest.plug(capture::card(CaptureOptions::default()))?;
    guest.wait_for_path("/dev/video1", SHORT)?;
    let card = Device::open(&guest, u8::try_from(second)?)?;
    capture_clean(&guest, &card, &CapturePlan::default())?;
    card.close()?;
    let status = guest.read_text(STATUS)?;
    assert!(status.contains("0000:02:00.0 events="), "{status}");
    let seen = guest.journal(second).ok_or("a card")?.entries_from(0);
    assert_whole(&seen);
    assert!(
        calls(&seen)
            .iter()
            .any(|call| call.call == Call::Alloc || call.call == Call::Map)
    );
    guest.unplug(second)?;
    let status = guest.read_text(STATUS)?;
    assert!(!status.contains("0000:02:00.0"), "{status}");
    Ok(guest.power_off()?)
}

#[test]
fn what_it_tells_is_what_the_driver_lent() -> Result {
    assert_lends_balance(watched())
}

/// Behind an IOMMU bus addresses are not physical ones.
#[test]
fn behind_an_iommu_it_tells_bus_addresses() -> Result {
    assert_lends_balance(GuestOptions {
        iommu: Iommu::Strict,
        ..watched()
    })
}

/// A card of which the module has all to itself: no driver is for it.
fn driverless(journal: usize) -> Result<Guest<Booted>> {
    let default = with_capture_card();
    Ok(boot(GuestOptions {
        cards: vec![Card::new("template", Scratch::default)],
        journal,
        deadlines: Deadlines {
            request: Duration::from_secs(600),
            ..default.deadlines
        },
        ..watched()
    })?)
}

/// What a test aid of the module tells.
pub(crate) fn results(guest: &Guest<Booted>) -> Result<BTreeMap<String, u64>> {
    let text = guest.read_text("/sys/kernel/debug/landfall_witness/results")?;
    let mut results = BTreeMap::new();
    for line in text.lines() {
        let (key, value) = line.split_once('=').ok_or("key=value")?;
        results.insert(key.to_owned(), value.parse()?);
    }
    Ok(results)
}

/// How a CPU's step was seen: the event, or the register write, of that number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Told(u64),
    Written(u64),
}

/// What each of the aid's threads did, in the order of the journal.
pub(crate) fn steps(entries: &[Entry], thread: u64) -> Vec<Step> {
    let step = |entry: &Entry| match &entry.kind {
        Kind::Call(call) if call.address >> 32 == thread => {
            Some(Step::Told(call.address & 0xffff_ffff))
        }
        Kind::Register { value, .. } if value >> 31 == thread & 1 => {
            Some(Step::Written(value & 0x7fff_ffff))
        }
        _ => None,
    };
    entries.iter().filter_map(step).collect()
}

/// Pairs in which the write does not come right after what was told before it, or that are not the next.
pub(crate) fn out_of_order(steps: &[Step], count: u64) -> u64 {
    let mut pairs = steps.chunks(2);
    let wrong = (0..count)
        .filter(|&number| pairs.next() != Some(&[Step::Told(number), Step::Written(number)]));
    let wrong = wrong.count() as u64;
    wrong + pairs.count() as u64
}

/// How many pairs to make: `LANDFALL_PAIRS`.
pub(crate) fn pairs() -> Result<u64> {
    let asked = std::env::var("LANDFALL_PAIRS").ok();
    Ok(asked.map_or(Ok(20_000), |asked| asked.parse::<u64>())?)
}

/// Two CPUs tell and write, over and over: of all pairs not one is out of order. Then one tells, and the other, which saw
/// that it has, writes. A pair that is swapped afterwards is seen. `LANDFALL_PAIRS=120000` is what was shown once: each
/// CPU waits for the other, which where both are one takes as long as the host's scheduler likes.
#[test]
fn its_order_among_register_writes_is_exact() -> Result {
    let (pairs, handoffs) = (pairs()?, pairs()? / 4);
    let guest = driverless(usize::try_from(4 * pairs)?.max(GuestOptions::default().journal))?;
    let how = guest.started().how;
    // A guest that boots under TCG has one thread for both.
    assert!(matches!(how, How::Restored { .. }), "two CPUs run: {how:?}");

    guest.load_module(WITNESS_MODULE, &format!("pairs={pairs}"))?;
    let found = results(&guest)?;
    assert_eq!(found["cpus"], 2);
    let seen = entries(&guest)?;
    assert_whole(&seen);
    for thread in 0..2 {
        let mut steps = steps(&seen, thread);
        assert_eq!(steps.len() as u64, pairs, "CPU {thread} made them all");
        assert_eq!(out_of_order(&steps, pairs / 2), 0, "CPU {thread}");
        steps.swap(1000, 1001);
        assert_eq!(out_of_order(&steps, pairs / 2), 1, "a swapped pair shows");
    }
    let numbers = calls(&seen);
    let mut numbers = numbers.iter().map(|call| call.number);
    assert!(numbers.by_ref().eq(1..=pairs), "numbers without a gap");
    guest.unload_module(WITNESS_MODULE)?;

    let before = seen.len() as u64;
    drop(seen);
    guest.load_module(WITNESS_MODULE, &format!("handoffs={handoffs}"))?;
    let journal = guest.journal(0).ok_or("a card")?;
    assert_eq!(journal.dropped(), 0);
    let seen = journal.entries_from(before);
    assert_eq!(
        out_of_order(&steps(&seen, 2), handoffs),
        0,
        "from CPU to CPU"
    );
    Ok(guest.power_off()?)
}

/// The aid that times calls: those of a card that is mute are not told, all others are.
#[test]
fn a_mute_card_is_told_nothing() -> Result {
    let guest = driverless(GuestOptions::default().journal)?;
    guest.load_module(WITNESS_MODULE, "maps=500")?;

    let seen = entries(&guest)?;
    assert_whole(&seen);
    let count = |wanted| {
        let calls = calls(&seen);
        calls.iter().filter(|call| call.call == wanted).count()
    };
    assert_eq!(
        [Call::Map, Call::Unmap, Call::Done, Call::Queue].map(count),
        [500, 500, 500, 500]
    );
    let found = results(&guest)?;
    assert!(found["told_ns"] > 0 && found["posted_ns"] > 0, "{found:?}");
    eprintln!("{found:?}");
    guest.unload_module(WITNESS_MODULE)?;
    Ok(guest.power_off()?)
}

/// An event that is lost leaves a gap, which is named; the module's own counters show it too.
#[test]
fn a_lost_event_is_a_gap() -> Result {
    let guest = driverless(GuestOptions::default().journal)?;
    guest.load_module(WITNESS_MODULE, "pairs=20 drop=7")?;

    let seen = entries(&guest)?;
    let gaps: Vec<_> = seen
        .iter()
        .filter(|entry| matches!(entry.kind, Kind::WitnessGap { .. }))
        .map(|entry| entry.kind.clone())
        .collect();
    let (expected, got) = (7, 8);
    assert_eq!(gaps, [Kind::WitnessGap { expected, got }]);
    let status = guest.read_text(STATUS)?;
    assert!(
        status.contains("0000:01:00.0 events=21 taken=20 refused=0"),
        "{status}"
    );
    guest.unload_module(WITNESS_MODULE)?;
    Ok(guest.power_off()?)
}

/// Once a driver has the card, what it lent is not known: the module says so and does not load. Without its BAR it
/// watches nothing.
#[test]
fn it_is_loaded_before_the_driver_or_not_at_all() -> Result {
    let guest = boot(watched())?;
    guest.load_module(POOL_MODULE, "source=contig pages=64")?;
    guest.load_module(CAPTURE_MODULE, "")?;
    assert_refused(guest.load_module(WITNESS_MODULE, ""), EBUSY);
    guest.unload_module(CAPTURE_MODULE)?;

    guest.load_module(WITNESS_MODULE, "device=0000:02:00.0")?;
    assert_eq!(guest.read_text(STATUS)?, "missed=0\n");
    guest.unload_module(WITNESS_MODULE)?;

    guest.load_module(WITNESS_MODULE, "device=0000:02:00.0,0000:01:00.0")?;
    assert!(guest.read_text(STATUS)?.contains("0000:01:00.0 events="));
    Ok(guest.power_off()?)
}

/// Memory that a boot option keeps is no RAM to the kernel, and is lent like any other.
#[test]
fn a_carve_out_is_lent_like_other_memory() -> Result {
    let report = reported(Wishes {
        carveout: Some((8 << 20, 128 << 20)),
        width: Some(320),
        height: Some(240),
        frames: Some(2),
        ..Wishes::default()
    })?;

    assert_eq!(report.violations, []);
    assert!(report.checked.driver_calls.is_some_and(|calls| calls > 4));
    Ok(())
}
