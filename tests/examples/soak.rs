// SPDX-License-Identifier: MIT OR Apache-2.0

//! Does anything grow? One guest that streams for long, with its driver bound anew and its card reset now and then; many
//! guests in turn; and many at once. Looks at memory, descriptors, threads and disk, prints a table in Markdown, and
//! ends with 1 if one of them is not flat.
//!
//!     cargo run --release -p landfall-tests --example soak -- MINUTES GUESTS AT-ONCE TIMES
//!
//! What is 0 of it is left out.

#![expect(clippy::print_stdout, reason = "it tells what it found")]

use std::fs;
use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use landfall::guest::{Guest, GuestOptions, Loaded};
use landfall_suite::capture::Device;
use landfall_suite::run::CapturePlan;
use landfall_tests::{
    Result, SHORT, boot_loaded, capture_clean, pci_address, prepared, with_capture_card,
};

const DRIVER: &str = "/sys/bus/pci/drivers/landfall_capture";
/// Captures between two times that the driver is bound anew, and the card reset.
const REBIND: u64 = 25;
const RESET: u64 = 40;
/// Entries that the card's journal keeps: the soak must fill it early, after which it is not to grow.
const JOURNAL: usize = 20_000;
/// What may be more at the end than at the beginning: a part of it, and KiB.
const SLACK: (u64, u64) = (10, 4096);

/// What is there at a moment. Memory in KiB, without what is shared: the guest's own is.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    memory: u64,
    descriptors: u64,
    threads: u64,
    qemu_memory: u64,
    qemu_descriptors: u64,
    qemu_threads: u64,
    /// KiB of temporary files and of the cache, snapshots left out.
    disk: u64,
}

impl Sample {
    const NAMES: [&str; 7] = [
        "memory, KiB",
        "descriptors",
        "threads",
        "QEMU's memory, KiB",
        "QEMU's descriptors",
        "QEMU's threads",
        "disk, KiB",
    ];

    fn take(qemu: Option<u32>) -> Result<Self> {
        let (memory, descriptors, threads) = of(std::process::id())?;
        let (qemu_memory, qemu_descriptors, qemu_threads) = match qemu {
            Some(qemu) => of(qemu)?,
            None => (0, 0, 0),
        };
        let cache = landfall_guest::size(&prepared().cache)?;
        let snapshots = cache.entries.iter().find(|(name, _)| name == "snapshots");
        let runs = fs::read_dir(std::env::temp_dir())?.flatten();
        let runs =
            runs.filter(|entry| entry.file_name().to_string_lossy().starts_with("landfall-"));
        let kept = cache.total - snapshots.map_or(0, |(_, bytes)| *bytes);
        Ok(Self {
            memory,
            descriptors,
            threads,
            qemu_memory,
            qemu_descriptors,
            qemu_threads,
            disk: (kept + runs.map(|run| bytes(&run.path())).sum::<u64>()) >> 10,
        })
    }

    fn fields(self) -> [u64; 7] {
        [
            self.memory,
            self.descriptors,
            self.threads,
            self.qemu_memory,
            self.qemu_descriptors,
            self.qemu_threads,
            self.disk,
        ]
    }
}

/// Memory, descriptors and threads of a process.
fn of(process: u32) -> Result<(u64, u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok())
    };
    let descriptors = fs::read_dir(format!("/proc/{process}/fd"))?.count() as u64;
    let gone = "a field of its status is gone";
    Ok((
        field("RssAnon:").ok_or(gone)?,
        descriptors,
        field("Threads:").ok_or(gone)?,
    ))
}

/// Bytes in a directory.
fn bytes(path: &std::path::Path) -> u64 {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(status) if status.is_dir() => bytes(&entry.path()),
        Ok(status) => status.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

/// A phase of the soak: what was done, and what there was meanwhile.
struct Phase {
    what: String,
    samples: Vec<Sample>,
}

impl Phase {
    /// Prints its lines of the table; tells whether all is flat.
    fn tell(&self) -> bool {
        // The first tenth fills caches and journals.
        let settled = self
            .samples
            .get(self.samples.len() / 10..)
            .unwrap_or_default();
        let (early, late) = settled.split_at(settled.len() / 2);
        let mut flat = true;
        for (at, name) in Sample::NAMES.iter().enumerate() {
            let most = |samples: &[Sample]| {
                let values = samples
                    .iter()
                    .filter_map(|sample| sample.fields().get(at).copied());
                values.max().unwrap_or(0)
            };
            let (first, last) = (most(early), most(late));
            if first == 0 && last == 0 {
                continue;
            }
            let slack = match name.contains("KiB") {
                true => first / SLACK.0 + SLACK.1,
                false => 0,
            };
            let is_flat = last <= first + slack;
            flat &= is_flat;
            let verdict = if is_flat { "flat" } else { "**grows**" };
            println!("| {} | {name} | {first} | {last} | {verdict} |", self.what);
        }
        flat
    }
}

fn options() -> GuestOptions {
    GuestOptions {
        journal: JOURNAL,
        ..with_capture_card()
    }
}

/// Captures until the time is over.
fn stream(minutes: u64) -> Result<Phase> {
    let until = Instant::now() + Duration::from_secs(60 * minutes);
    let guest = boot_loaded(options())?;
    let address = pci_address(&Device::open(&guest, 0)?.info()?);
    let plan = CapturePlan::default();
    let (mut captures, mut rebinds, mut resets) = (0, 0, 0);
    let mut samples = Vec::new();
    let mut next = Instant::now();
    while Instant::now() < until {
        capture(&guest, &plan)?;
        captures += 1;
        if captures % REBIND == 0 {
            guest.write_file(&format!("{DRIVER}/unbind"), &address)?;
            guest.write_file(&format!("{DRIVER}/bind"), &address)?;
            guest.wait_for_path("/dev/video0", SHORT)?;
            rebinds += 1;
        }
        if captures % RESET == 0 {
            guest.write_file(&format!("/sys/bus/pci/devices/{address}/reset"), "1")?;
            resets += 1;
        }
        if Instant::now() >= next {
            samples.push(Sample::take(Some(guest.qemu_id()))?);
            next = Instant::now() + Duration::from_secs(10);
        }
    }
    guest.power_off()?;
    let what = format!(
        "one guest for {minutes} min: {captures} captures, {rebinds} rebinds, {resets} resets"
    );
    Ok(Phase { what, samples })
}

fn capture(guest: &Guest<Loaded>, plan: &CapturePlan) -> Result {
    let card = Device::open(guest, 0)?;
    capture_clean(guest, &card, plan)?;
    Ok(card.close()?)
}

/// Guests one after the other, `at_once` of them at a time.
fn guests(count: u64, at_once: usize) -> Result<Phase> {
    let jobs = NonZeroUsize::new(at_once);
    let one = || -> std::result::Result<(), String> {
        let run = || -> Result {
            let guest = boot_loaded(GuestOptions { jobs, ..options() })?;
            capture(&guest, &CapturePlan::default())?;
            Ok(guest.power_off()?)
        };
        run().map_err(|error| error.to_string())
    };
    let rounds = count.div_ceil(at_once as u64);
    let mut samples = Vec::new();
    for _ in 0..rounds {
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..at_once).map(|_| scope.spawn(one)).collect();
            let ended = all
                .into_iter()
                .map(|one| one.join().map_err(|_| "a panic".to_owned())?);
            ended.collect::<std::result::Result<(), String>>()
        })?;
        samples.push(Sample::take(None)?);
    }
    let what = match at_once {
        1 => format!("{count} guests in turn"),
        _ => format!("{at_once} guests at once, {rounds} times"),
    };
    Ok(Phase { what, samples })
}

fn main() -> Result<ExitCode> {
    let words: Vec<u64> = (std::env::args().skip(1))
        .map(|word| word.parse())
        .collect::<std::result::Result<_, _>>()?;
    let [minutes, count, at_once, times] = words.as_slice() else {
        return Err("say MINUTES GUESTS AT-ONCE TIMES".into());
    };
    println!("| what | of it | most, first half | most, second half | |");
    println!("|---|---|---:|---:|---|");
    let mut flat = true;
    if *minutes > 0 {
        flat &= stream(*minutes)?.tell();
    }
    for (count, at_once) in [(*count, 1), (times * at_once, *at_once)] {
        if count > 0 {
            flat &= guests(count, usize::try_from(at_once)?)?.tell();
        }
    }
    Ok(if flat {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
