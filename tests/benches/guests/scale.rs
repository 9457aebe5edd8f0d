// SPDX-License-Identifier: MIT OR Apache-2.0

//! How cost grows: with guests at once, memory, cards, transfers.

use std::fs;
use std::time::{Duration, Instant};

use landfall::guest::{Guest, GuestOptions, Loaded};
use landfall_cards::capture::CaptureOptions;
use landfall_suite::capture::{self, Device};
use landfall_suite::run::CapturePlan;
use landfall_tests::{Result, boot_loaded, capture_clean, with_capture_card};

use super::median;
use super::table::{Table, ratio, time};

const MIB: u64 = 1 << 20;

pub(crate) fn measure() -> Result<Vec<Table>> {
    Ok(vec![guests()?, memory()?, cards()?, transfers()?])
}

/// Bytes of guest memory that are there, and of QEMU's own that no other process has.
fn resident<Stage: landfall::guest::Running>(guest: &Guest<Stage>) -> Result<(u64, u64)> {
    let rollup = fs::read_to_string(format!("/proc/{}/smaps_rollup", guest.qemu_id()))?;
    let own = rollup.lines().find_map(|line| {
        let kib = line.strip_prefix("Pss_Anon:")?.trim().strip_suffix(" kB")?;
        kib.parse::<u64>().ok()
    });
    Ok((guest.memory().resident()?, own.unwrap_or(0) << 10))
}

fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes / MIB)
}

/// Many guests of one snapshot at once, each with a capture of its own.
fn guests() -> Result<Table> {
    let options = |jobs: usize| GuestOptions {
        jobs: jobs.try_into().ok(),
        ..with_capture_card()
    };
    let one = |jobs| -> std::result::Result<(u64, u64), String> {
        let captured = || -> Result<_> {
            let guest = boot_loaded(options(jobs))?;
            capture(&guest)?;
            let resident = resident(&guest)?;
            guest.power_off()?;
            Ok(resident)
        };
        captured().map_err(|error| error.to_string())
    };
    let mut table = Table::new(
        "Guests at once",
        "Each restored, one capture of four frames of 320x240 compared, powered off. Memory is per guest: what of the \
         guest's 256 MiB is there, and what QEMU has for itself.",
        &[
            "guests",
            "all done",
            "per guest",
            "of one",
            "memory",
            "QEMU",
        ],
    );
    one(1)?;
    let mut single = Duration::ZERO;
    for count in [1, 2, 4, 8] {
        let rounds = if count == 1 { 5 } else { 2 };
        let mut times = Vec::new();
        let mut sizes = (0, 0);
        for _ in 0..rounds {
            let began = Instant::now();
            let outcomes: Vec<_> = std::thread::scope(|scope| {
                let guests: Vec<_> = (0..count).map(|_| scope.spawn(|| one(count))).collect();
                guests.into_iter().map(|guest| guest.join()).collect()
            });
            times.push(began.elapsed());
            for outcome in outcomes {
                sizes = outcome.map_err(|_| "a guest's thread panicked")??;
            }
        }
        let all = median(&times);
        let each = all / u32::try_from(count)?;
        if count == 1 {
            single = each;
        }
        table.row([
            count.to_string(),
            time(all),
            time(each),
            ratio(each, single),
            mib(sizes.0),
            mib(sizes.1),
        ]);
    }
    Ok(table)
}

fn capture(guest: &Guest<Loaded>) -> Result {
    let card = Device::open(guest, 0)?;
    Ok(capture_clean(guest, &card, &CapturePlan::default())?)
}

/// Restored guests of several sizes.
fn memory() -> Result<Table> {
    let mut table = Table::new(
        "Memory of the guest",
        "From start to a bound card, restored; medians of 5.",
        &["memory", "restored", "of 256 MiB", "there"],
    );
    let mut smallest = Duration::ZERO;
    for memory in [256, 1024, 4096, 8192].map(|size| size * MIB) {
        let options = GuestOptions {
            memory,
            ..with_capture_card()
        };
        drop(boot_loaded(options.clone())?);
        let mut times = Vec::new();
        let mut there = 0;
        for _ in 0..5 {
            let began = Instant::now();
            let guest = boot_loaded(options.clone())?;
            times.push(began.elapsed());
            there = resident(&guest)?.0;
            guest.power_off()?;
        }
        let restored = median(&times);
        if smallest.is_zero() {
            smallest = restored;
        }
        table.row([
            mib(memory),
            time(restored),
            ratio(restored, smallest),
            mib(there),
        ]);
    }
    Ok(table)
}

/// Guests with more cards.
fn cards() -> Result<Table> {
    let mut table = Table::new(
        "Cards in a guest",
        "From start to all cards bound, restored; medians of 5. Cards are plugged in one after the other.",
        &["cards", "restored", "of one"],
    );
    let mut one = Duration::ZERO;
    for count in [1, 2, 4] {
        let options = GuestOptions {
            cards: vec![capture::card(CaptureOptions::default()); count],
            ..with_capture_card()
        };
        drop(boot_loaded(options.clone())?);
        let mut times = Vec::new();
        for _ in 0..5 {
            let began = Instant::now();
            let guest = boot_loaded(options.clone())?;
            times.push(began.elapsed());
            guest.power_off()?;
        }
        let restored = median(&times);
        if one.is_zero() {
            one = restored;
        }
        table.row([count.to_string(), time(restored), ratio(restored, one)]);
    }
    Ok(table)
}

/// Captures of more frames than buffers, in one guest.
fn transfers() -> Result<Table> {
    let guest = boot_loaded(with_capture_card())?;
    let card = Device::open(&guest, 0)?;
    let mut table = Table::new(
        "Frames of one capture",
        "640x480 into 8 buffers, captured and compared; in one guest, medians of 3.",
        &["frames", "time", "per frame", "of 8 frames"],
    );
    let mut few = Duration::ZERO;
    for frames in [8, 80, 800] {
        let plan = CapturePlan {
            width: 640,
            height: 480,
            frames,
            buffers: 8,
            ..CapturePlan::default()
        };
        let mut times = Vec::new();
        for _ in 0..3 {
            let began = Instant::now();
            capture_clean(&guest, &card, &plan)?;
            times.push(began.elapsed());
        }
        let all = median(&times);
        let each = all / frames;
        if few.is_zero() {
            few = each;
        }
        table.row([frames.to_string(), time(all), time(each), ratio(each, few)]);
    }
    drop(card);
    guest.power_off()?;
    Ok(table)
}
