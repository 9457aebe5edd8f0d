// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the witness hears, where it is hard to hear: cards that poll memory, interrupts, lists, blocks, cards that
//! sleep or have no BAR to spare, drivers that come and go, other devices. What it cannot hear, it says.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use landfall::guest::{
    Booted, Card, Deadlines, Guest, GuestOptions, How, Iommu, Module, WITNESS_MODULE,
};
use landfall_cards::poller::Poller;
use landfall_device::journal::LendDirection;
use landfall_device::journal::{Call, Direction, DriverCall, DriverState, Entry, Kind};
use landfall_tests::errno::EINVAL;
use landfall_tests::{Result, assert_refused, boot};

use crate::witness::{
    Step, assert_whole, calls, entries, out_of_order, pairs, results, steps, watched,
};

const USER: &str = "landfall_witness_user";
const DEVICE: &str = "0000:01:00.0";
/// Time for a loop in the guest's shell, on a busy host.
const PROGRAM: Duration = Duration::from_secs(300);

fn polled(full: bool, journal: usize, iommu: Iommu, preload: Vec<Module>) -> Result<Guest<Booted>> {
    let default = GuestOptions::default();
    Ok(boot(GuestOptions {
        cards: vec![(Card::new("poller", move || Poller::new(full)))],
        journal,
        iommu,
        preload,
        deadlines: Deadlines {
            request: Duration::from_secs(600),
            ..default.deadlines
        },
        ..watched()
    })?)
}

/// A guest in which the driver, of these parameters, was watched, and all that was told of it.
fn worked(full: bool, witness: &str, user: &str) -> Result<(Guest<Booted>, Vec<Entry>)> {
    worked_behind(Iommu::None, full, witness, user)
}

fn worked_behind(
    iommu: Iommu,
    full: bool,
    witness: &str,
    user: &str,
) -> Result<(Guest<Booted>, Vec<Entry>)> {
    let preload = match witness {
        "" => vec![Module::named(WITNESS_MODULE)],
        _ => Vec::new(),
    };
    let guest = polled(full, GuestOptions::default().journal, iommu, preload)?;
    if !witness.is_empty() {
        guest.load_module(WITNESS_MODULE, witness)?;
    }
    guest.load_module(USER, user)?;
    let seen = entries(&guest)?;
    Ok((guest, seen))
}

fn found(guest: &Guest<Booted>, what: &str) -> Result<u64> {
    let path = format!("/sys/module/{USER}/parameters/{what}");
    Ok(guest.read_text(&path)?.trim().parse()?)
}

fn by(calls: &[DriverCall], which: &[Call]) -> Vec<DriverCall> {
    let by = calls.iter().filter(|call| which.contains(&call.call));
    by.cloned().collect()
}

/// Numbers that the card saw in memory before the event of that number was in its journal; and how many it saw.
fn seen_too_early(entries: &[Entry]) -> (u64, u64) {
    let mut told = [0; 2];
    let (mut early, mut saw) = (0, 0);
    for entry in entries {
        match &entry.kind {
            Kind::Call(call) if call.call == Call::Map => {
                let thread = usize::try_from(call.address >> 32).expect("a thread");
                told[thread] = call.address & 0xffff_ffff;
            }
            Kind::Access {
                direction: Direction::Write,
                slot: Some(slot),
                job: Some(number),
                ..
            } => {
                saw += 1;
                early += u64::from(number.0 > told[*slot as usize]);
            }
            _ => {}
        }
    }
    (early, saw)
}

/// Two CPUs lend and write the lend's number to memory at once; the card polls it. It never sees a number whose lend is
/// not in its journal. Where lends are posted, as what takes back is, it does.
#[test]
fn a_card_that_polls_memory_never_sees_a_lend_too_early() -> Result {
    /// A million takes minutes: `LANDFALL_LENDS=1000000`.
    const LENDS: u64 = 12_000;
    let asked = std::env::var("LANDFALL_LENDS").ok();
    let lends = asked.map_or(Ok(LENDS), |asked| asked.parse::<u64>())?;
    let guest = polled(false, usize::try_from(16 * lends)?, Iommu::None, Vec::new())?;
    let how = guest.started().how;
    assert!(matches!(how, How::Restored { .. }), "two CPUs run: {how:?}");

    guest.load_module(WITNESS_MODULE, &format!("polled={lends}"))?;
    let measured = results(&guest)?;
    assert_eq!(measured["cpus"], 2);
    let seen = entries(&guest)?;
    assert_whole(&seen);
    assert_eq!(by(&calls(&seen), &[Call::Map]).len() as u64, lends);
    let (early, saw) = seen_too_early(&seen);
    eprintln!(
        "{lends} lends in {} ns, {saw} seen, {early} too early",
        measured["polled_ns"]
    );
    assert!(saw > lends / 100, "the card looked: {saw} of {lends}");
    assert_eq!(early, 0, "of {saw}");
    guest.unload_module(WITNESS_MODULE)?;

    let before = guest.journal(0).ok_or("a card")?.len();
    guest.load_module(WITNESS_MODULE, "posted=1 polled=10000")?;
    let seen = guest.journal(0).ok_or("a card")?.entries_from(before);
    let (early, saw) = seen_too_early(&seen);
    eprintln!("posted: {early} of {saw} too early");
    assert!(early > 0, "the check can fail: {saw} seen");
    Ok(guest.power_off()?)
}

/// Lends that did not come back, and returns of nothing, by address and length.
fn unbalanced(calls: &[DriverCall]) -> Vec<(u64, u64)> {
    let mut lent = BTreeMap::<_, i64>::new();
    for call in calls {
        let step = match call.call {
            Call::Map | Call::MapList => 1,
            Call::Unmap | Call::UnmapList => -1,
            _ => continue,
        };
        *lent.entry((call.address, call.length)).or_default() += step;
    }
    lent.retain(|_, count| *count != 0);
    lent.into_keys().collect()
}

/// A timer's interrupt maps and unmaps, amid a process's maps and unmaps on the same CPU. All of it is told. A probe
/// that is skipped while another one runs there loses unmaps; that is seen, and told.
#[test]
fn no_unmap_in_an_interrupt_is_missed() -> Result {
    let (guest, seen) = worked(false, "", "work=timer count=8000")?;
    assert_whole(&seen);
    let told = calls(&seen);
    let ticks = found(&guest, "found")?;
    assert!(ticks > 100, "the timer ran: {ticks}");
    let of = |length| {
        let maps = by(&told, &[Call::Map]);
        maps.iter().filter(|call| call.length == length).count() as u64
    };
    assert_eq!((of(1024), of(512)), (8_000, ticks));
    assert_eq!(unbalanced(&told), []);
    guest.power_off()?;

    let (guest, seen) = worked(false, "skips=1", "work=timer count=8000")?;
    let lost = unbalanced(&calls(&seen)).len();
    let unheard = |entry: &&Entry| matches!(entry.kind, Kind::Unheard { .. });
    let unheard = seen.iter().filter(unheard).count();
    assert_eq!(
        (lost, unheard),
        (1, 1),
        "the timer's page, and a word of it"
    );
    let status = guest.read_text(crate::witness::STATUS)?;
    assert!(!status.contains("missed=0\n"), "{status}");
    Ok(guest.power_off()?)
}

/// A process and a timer's interrupt map lists on one CPU; segments of both are told in between each other, and each
/// says of which list it is.
#[test]
fn lists_in_interrupts_are_told_whole() -> Result {
    let (guest, seen) = worked(false, "", "work=lists count=1000")?;
    assert_whole(&seen);
    let told = calls(&seen);
    assert_eq!(unbalanced(&told), []);
    let mut lists = BTreeMap::<_, Vec<DriverCall>>::new();
    for call in by(&told, &[Call::MapList, Call::UnmapList]) {
        let list = call.list.ok_or("a list has a number")?;
        lists.entry(list).or_default().push(call);
    }
    let mut torn = 0;
    for (number, list) in &lists {
        let parts: Vec<_> = list.iter().map(|call| call.part).collect();
        let entries = list[0].entries;
        assert_eq!(parts, (0..entries).collect::<Vec<_>>(), "list {number}");
        let same = |call: &DriverCall| {
            (call.entries, call.length, call.call) == (entries, list[0].length, list[0].call)
        };
        assert!(list.iter().all(same), "{list:?}");
        assert_eq!(list[0].number, *number);
        let numbers: BTreeSet<_> = list.iter().map(|call| call.number).collect();
        torn += usize::from(numbers.last() != Some(&(number + u64::from(entries) - 1)));
    }
    let lengths: BTreeSet<_> = lists.values().map(|list| list.len()).collect();
    assert_eq!(lengths, [5, 8].into(), "the timer's and the process's");
    assert!(torn > 0, "no list was interrupted, of {}", lists.len());
    Ok(guest.power_off()?)
}

/// Blocks of a pool are lends within memory that is marked as theirs; other ways to allocate are heard; what gives
/// nothing back is no event; syncs are heard on plain memory, and what asks for none says so.
#[test]
fn all_ways_to_lend_are_heard_and_nothing_is_nothing() -> Result {
    assert_all_ways_are_heard(Iommu::None)
}

#[test]
fn behind_an_iommu_all_ways_to_lend_are_heard() -> Result {
    assert_all_ways_are_heard(Iommu::Strict)
}

/// Memory that is linked to addresses of the driver's own is lent until it comes back, by however many calls; where the kernel
/// has no such thing nothing is.
#[test]
fn what_is_linked_is_heard() -> Result {
    for (iommu, has) in [(Iommu::None, false), (Iommu::Strict, true)] {
        let (guest, seen) = worked_behind(iommu, false, "", "work=iova")?;
        assert_whole(&seen);
        assert_eq!(found(&guest, "found")?, u64::from(has), "{iommu:?}");
        let told = by(&calls(&seen), &[Call::Link, Call::Unlink]);
        let base = told.first().map_or(0, |call| call.address);
        let brief = |call: &DriverCall| (call.call, call.address - base, call.length, call.list);
        let [first, second] = [0, 4096].map(|at| (Call::Link, at, 4096, Some(base)));
        let both = (Call::Unlink, 0, 8192, None);
        let again = [first, (Call::Unlink, 0, 4096, None)];
        let expected = [&[first, second, both][..], &again].concat();
        let mut brief: Vec<_> = told.iter().map(brief).collect();
        // One of the kernel's functions may call the other.
        brief.dedup();
        assert_eq!(brief, if has { expected } else { Vec::new() }, "{iommu:?}");
        let pages: BTreeSet<_> = told.iter().map(|call| call.phys).collect();
        assert_eq!(pages.len(), 3 * usize::from(has), "two, and not told");
        let caller = |call: &DriverCall| call.caller != 0;
        assert!(told.iter().all(caller), "{told:#x?}");
        guest.power_off()?;
    }
    Ok(())
}

fn assert_all_ways_are_heard(iommu: Iommu) -> Result {
    let (guest, seen) = worked_behind(iommu, false, "", "work=blocks")?;
    assert_whole(&seen);
    let told = calls(&seen);
    let brief = |calls: Vec<DriverCall>| -> Vec<_> {
        let brief = |call: &DriverCall| (call.call, call.length, call.backing, call.skip_sync);
        calls.iter().map(brief).collect()
    };
    let blocks = by(&told, &[Call::BlockAlloc, Call::BlockFree]);
    let kinds = [Call::BlockAlloc, Call::BlockFree].map(|call| [(call, 100, false, false); 3]);
    assert_eq!(brief(blocks.clone()), kinds.concat());
    let backing = by(&told, &[Call::Alloc, Call::Free]);
    let backing: Vec<_> = backing.iter().filter(|call| call.backing).collect();
    let [page, freed] = backing[..] else {
        panic!("{backing:?}");
    };
    assert_eq!((page.call, freed.call), (Call::Alloc, Call::Free));
    assert_eq!((page.address, page.length), (freed.address, freed.length));
    let inside = |block: &DriverCall| {
        (page.address..page.address + page.length - 99).contains(&block.address)
    };
    assert!(blocks.iter().all(inside), "{blocks:?} in {page:?}");

    let own = by(&told, &[Call::Alloc, Call::Free]);
    let own: Vec<_> = own.iter().filter(|call| !call.backing).collect();
    let own: Vec<_> = own.iter().map(|call| (call.call, call.length)).collect();
    let pair = |length| [(Call::Alloc, length), (Call::Free, length)];
    let ring = [(Call::Alloc, 4096)];
    assert_eq!(own, [&ring[..], &pair(3 * 4096), &pair(5000)].concat());

    let rest = by(
        &told,
        &[
            Call::Map,
            Call::Unmap,
            Call::SyncForCpu,
            Call::SyncForDevice,
        ],
    );
    let rest = brief(rest);
    assert_eq!(
        rest,
        [
            (Call::Map, 200, false, true),
            (Call::SyncForCpu, 100, false, false),
            (Call::SyncForDevice, 100, false, false),
            (Call::Unmap, 200, false, true),
        ]
    );
    Ok(guest.power_off()?)
}

/// Right after it has set its mask a driver hears that syncs and unmaps are needed, of a card that is watched.
#[test]
fn a_driver_is_told_that_syncs_and_unmaps_are_needed() -> Result {
    let (guest, _) = worked(false, "", "work=masks")?;
    assert_eq!(found(&guest, "found")?, 3);
    guest.power_off()?;
    let (guest, _) = worked(false, "device=0000:02:00.0", "work=masks")?;
    assert_eq!(found(&guest, "found")?, 0, "it sets nothing of others");
    Ok(guest.power_off()?)
}

/// What happened, in the words of the test below.
fn words(entries: &[Entry]) -> Vec<String> {
    let word = |entry: &Entry| match &entry.kind {
        Kind::Call(call) if call.length <= 256 => Some(format!("{:?} {}", call.call, call.length)),
        Kind::PowerState { state } => Some(format!("D{state}")),
        Kind::Register { value, .. } => Some(format!("write {value}")),
        _ => None,
    };
    entries.iter().filter_map(word).collect()
}

/// A card's memory comes and goes while it sleeps, whether the kernel knows that or not, and whether it has a BAR for
/// the witness or none. All is told, in order.
#[test]
fn a_card_that_sleeps_is_told_all_in_order() -> Result {
    const TIMES: u32 = 20;
    for full in [false, true] {
        for work in ["power", "raw-power"] {
            let (guest, seen) = worked(full, "", &format!("work={work} count={TIMES}"))?;
            assert_whole(&seen);
            let expected = (0..TIMES).flat_map(|round| {
                let (first, second) = (2 * round, 2 * round + 1);
                [
                    "Map 64".to_owned(),
                    "Alloc 256".to_owned(),
                    format!("write {first}"),
                    "D3".to_owned(),
                    "Unmap 64".to_owned(),
                    "Free 256".to_owned(),
                    "Map 128".to_owned(),
                    "D0".to_owned(),
                    format!("write {second}"),
                    "Unmap 128".to_owned(),
                ]
            });
            assert_eq!(words(&seen), expected.collect::<Vec<_>>(), "{work} {full}");
            guest.power_off()?;
        }
    }
    Ok(())
}

/// A driver that leaves the card asleep is unbound and bound again; the witness hears all of it.
#[test]
fn a_card_left_asleep_is_heard_when_it_is_bound_again() -> Result {
    for full in [false, true] {
        let (guest, _) = worked(full, "", "asleep=1")?;
        let driver = format!("/sys/bus/pci/drivers/{USER}");
        for _ in 0..3 {
            guest.write_file(&format!("{driver}/unbind"), DEVICE)?;
            guest.write_file(&format!("{driver}/bind"), DEVICE)?;
        }
        let seen = entries(&guest)?;
        assert_whole(&seen);
        let asleep = |entry: &&Entry| entry.kind == Kind::PowerState { state: 3 };
        assert_eq!(seen.iter().filter(asleep).count(), 3);
        let told = calls(&seen);
        let count = |call| by(&told, &[call]).len();
        assert_eq!((count(Call::Alloc), count(Call::Free)), (4, 3));
        guest.power_off()?;
    }
    Ok(())
}

/// Also by the mailbox, the order of events and register writes is exact.
#[test]
fn its_order_by_the_mailbox_is_exact() -> Result {
    let pairs = pairs()? / 8;
    let guest = polled(
        true,
        GuestOptions::default().journal,
        Iommu::None,
        Vec::new(),
    )?;
    guest.load_module(WITNESS_MODULE, &format!("pairs={pairs}"))?;
    eprintln!("a pair: {} ns", results(&guest)?["pairs_ns"] / pairs);
    let seen = entries(&guest)?;
    assert_whole(&seen);
    for thread in 0..2 {
        let steps = steps(&seen, thread);
        assert_eq!(steps.len() as u64, pairs, "CPU {thread}");
        assert_eq!(out_of_order(&steps, pairs / 2), 0, "CPU {thread}");
        assert_eq!(steps.first(), Some(&Step::Told(0)));
    }
    Ok(guest.power_off()?)
}

/// A driver that is unbound and bound over and over blinds nobody: all is told to the last time.
#[test]
fn rebinding_blinds_nothing() -> Result {
    /// Each is four events of a driver: more than the names that are kept.
    const TIMES: u64 = 1_100;
    let (guest, _) = worked(false, "", "")?;
    let driver = format!("/sys/bus/pci/drivers/{USER}");
    let script = format!(
        "cd {driver} && for i in $(seq {TIMES}); do echo {DEVICE} >unbind && echo {DEVICE} >bind || exit 1; done"
    );
    let ran = guest.run(&["/bin/busybox", "sh", "-c", &script], PROGRAM)?;
    assert_eq!((ran.status, ran.timed_out), (0, false), "{ran:?}");
    let seen = entries(&guest)?;
    assert_whole(&seen);
    let told = calls(&seen);
    let count = |call| by(&told, &[call]).len() as u64;
    assert_eq!((count(Call::Alloc), count(Call::Free)), (TIMES + 1, TIMES));
    let bound = |entry: &&Entry| match &entry.kind {
        Kind::Driver { driver, state } => *state == DriverState::Bound && driver == USER,
        _ => false,
    };
    assert_eq!(seen.iter().filter(bound).count() as u64, TIMES + 1);
    Ok(guest.power_off()?)
}

/// What another device is lent is told when it is asked for, once, with its name; and that there was more of it than
/// the table holds.
#[test]
fn lends_of_other_devices_are_told_when_asked_for() -> Result {
    const ASK: &str = "/sys/kernel/debug/landfall_witness/others";
    let (guest, seen) = worked(false, "", "work=others count=2000")?;
    let elsewhere = |entries: &[Entry]| -> Vec<_> {
        let elsewhere = entries.iter().filter_map(|entry| match &entry.kind {
            Kind::Elsewhere {
                device,
                length,
                direction,
                ended,
                begun_ns,
                ended_ns,
                ..
            } if device == "landfall_other" => {
                assert_eq!(*ended, ended_ns > begun_ns, "{entry:?}");
                Some((*length, *direction, *ended))
            }
            _ => None,
        });
        elsewhere.collect()
    };
    assert_eq!(elsewhere(&seen), [], "nobody asked");
    guest.write_file(ASK, "1")?;
    guest.write_file(ASK, "1")?;
    let seen = entries(&guest)?;
    assert_whole(&seen);
    let told = elsewhere(&seen);
    let lasting = (512, LendDirection::FromDevice, false);
    let past = (256, LendDirection::ToDevice, true);
    let count = |wanted| told.iter().filter(|told| **told == wanted).count();
    assert_eq!(count(lasting), 8, "{told:?}");
    assert!((900..=1024).contains(&count(past)), "{}", count(past));
    assert_eq!(count(lasting) + count(past), told.len());
    eprintln!("a call for another device: {} ns", found(&guest, "ns")?);

    guest.unload_module(USER)?;
    guest.load_module(USER, "work=many-others count=9000")?;
    guest.write_file(ASK, "1")?;
    let seen = entries(&guest)?;
    let unheard = seen.iter().filter_map(|entry| match &entry.kind {
        Kind::Unheard { what, .. } => Some(what.as_str()),
        _ => None,
    });
    let unheard: Vec<_> = unheard.collect();
    assert_eq!(unheard.len(), 1, "{unheard:?}");
    assert!(unheard[0].contains("other devices"), "{unheard:?}");
    Ok(guest.power_off()?)
}

/// Whose a byte of memory is.
#[test]
fn it_tells_whose_memory_is() -> Result {
    const OWNER: &str = "/sys/kernel/debug/landfall_witness/owner";
    let (guest, seen) = worked(false, "", "work=power")?;
    let owner = |phys: u64| -> Result<String> {
        guest.write_file(OWNER, format!("{phys:x}"))?;
        Ok(guest.read_text(OWNER)?.trim().to_owned())
    };
    let text = seen.iter().find_map(|entry| match entry.kind {
        Kind::Attached { text_start, .. } => Some(text_start),
        _ => None,
    });
    assert_eq!(owner(text.ok_or("the kernel's text")?)?, "kernel text");
    assert_eq!(owner(1 << 45)?, "none");
    assert_eq!(owner(u64::MAX)?, "none");
    let mapped = by(&calls(&seen), &[Call::Map])[0].phys;
    assert_eq!(owner(mapped)?, "kernel order=0 refs=1");
    // All of memory is something, and of the common kinds there is some.
    let pages = guest.options().memory >> 16;
    let script = format!(
        "for i in $(seq 0 {}); do printf %x0000 $i >{OWNER} && read -r whose <{OWNER} && echo \"$whose\" || exit 1; done",
        pages - 1
    );
    let ran = guest.run(&["/bin/busybox", "sh", "-c", &script], PROGRAM)?;
    assert_eq!((ran.status, ran.timed_out), (0, false), "{}", ran.stderr);
    assert_eq!(ran.stdout.lines().count() as u64, pages);
    let kinds = ran
        .stdout
        .lines()
        .filter_map(|whose| whose.split(" order").next());
    let kinds: BTreeSet<_> = kinds.map(str::to_owned).collect();
    for kind in ["free", "anonymous", "page cache", "page table", "reserved"] {
        assert!(kinds.contains(kind), "{kind} of {kinds:?}");
    }
    let slabs = kinds.iter().filter(|kind| kind.starts_with("slab "));
    assert!(slabs.count() > 3, "{kinds:?}");
    for nonsense in ["", "x", "1ffffffffffffffff", "-1"] {
        assert_refused(guest.write_file(OWNER, nonsense), EINVAL);
    }
    Ok(guest.power_off()?)
}
