// SPDX-License-Identifier: MIT OR Apache-2.0

//! From nothing to the driver's first register read, in each way to start a guest.

use std::time::{Duration, Instant};

use landfall::guest::{GuestOptions, Start, Transport};
use landfall_device::journal::Kind;
use landfall_tests::{Result, boot_loaded, with_capture_card};

use super::median;
use super::table::{Table, ratio, time};

/// One way to start, with the medians of its parts.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    pub(crate) parts: Vec<(String, Duration)>,
}

/// What one start took.
struct Sample {
    first_read: Duration,
    loaded: Duration,
    parts: Vec<(String, Duration)>,
}

fn sample(options: &GuestOptions) -> Result<Sample> {
    let began = Instant::now();
    let guest = boot_loaded(options.clone())?;
    let loaded = began.elapsed();
    let journal = guest.journal(0).ok_or("a guest has its card")?;
    let entries = journal.entries_from(0);
    let read = entries
        .iter()
        .find(|entry| matches!(entry.kind, Kind::FirstRead { .. }))
        .ok_or("a driver that is bound has read a register")?;
    let at = journal.began() + Duration::from_nanos(read.time_ns);
    let mut parts = guest.started().parts;
    let rest = loaded.saturating_sub(parts.iter().map(|(_, time)| *time).sum());
    parts.push(("load modules".to_owned(), rest));
    guest.power_off()?;
    Ok(Sample {
        first_read: at.duration_since(began),
        loaded,
        parts,
    })
}

pub(crate) fn measure(ways: &mut Vec<Way>) -> Result<Table> {
    let with = |start, transport| GuestOptions {
        start,
        transport,
        ..with_capture_card()
    };
    let mapped = Some(Transport::Mapped);
    let kinds = [
        ("cold, stock", with(Start::Stock, None), 2),
        ("cold, trimmed", with(Start::Cold, None), 3),
        ("restored, mapped-ram", with(Start::Restored, mapped), 9),
        ("restored", with(Start::Restored, None), 9),
    ];
    for (_, options, _) in &kinds[2..] {
        drop(boot_loaded(options.clone())?); // makes the snapshot
    }
    let mut samples: Vec<Vec<Sample>> = kinds.iter().map(|_| Vec::new()).collect();
    for round in 0..9 {
        for ((_, options, rounds), samples) in kinds.iter().zip(&mut samples) {
            if round < *rounds {
                samples.push(sample(options)?);
            }
        }
    }
    let mut table = Table::new(
        "Start to the driver's first register read",
        "The default guest (256 MiB, one card), pool and driver loaded. Medians, the ways in turn.",
        &[
            "way",
            "starts",
            "first read",
            "of cold, stock",
            "card bound",
            "least",
        ],
    );
    let reads = |samples: &[Sample]| samples.iter().map(|s| s.first_read).collect::<Vec<_>>();
    let stock = median(&reads(&samples[0]));
    for ((name, ..), samples) in kinds.iter().zip(&samples) {
        let read = median(&reads(samples));
        let loaded: Vec<_> = samples.iter().map(|sample| sample.loaded).collect();
        table.row([
            (*name).to_owned(),
            samples.len().to_string(),
            time(read),
            ratio(read, stock),
            time(median(&loaded)),
            time(loaded.iter().min().copied().unwrap_or_default()),
        ]);
        ways.push(Way {
            name,
            parts: medians(samples),
        });
    }
    Ok(table)
}

/// The median of each part that took a millisecond or more.
fn medians(samples: &[Sample]) -> Vec<(String, Duration)> {
    let names = samples.first().map(|sample| &sample.parts);
    let names = names.into_iter().flatten().map(|(name, _)| name);
    names
        .map(|name| {
            let of = samples.iter().flat_map(|sample| &sample.parts);
            let of = of.filter(|(part, _)| part == name).map(|(_, time)| *time);
            (name.clone(), median(&of.collect::<Vec<_>>()))
        })
        .filter(|(_, time)| time.as_millis() > 0)
        .collect()
}
