// SPDX-License-Identifier: MIT OR Apache-2.0

//! Clean runs: nothing is planted, and nothing may be said.

use std::collections::BTreeMap;
use std::time::Instant;

use landfall_cards::capture::CaptureOptions;
use landfall_device::contract::InterruptKind;
use landfall_guest::Cancel;

use super::case::{Case, watching};
use super::entries::Action;
use super::jobs::{CatalogFailed, Event, Platforms, command_words};
use super::leave::leave;
use super::schema::{CleanRuns, VERSION};
use super::special::finish;
use crate::capture::{self, Device};
use crate::run::{CapturePlan, RunFailed, Session};
use landfall::evidence::Observed;
use landfall::guest::{Guest, GuestOptions, Iommu, PoolOptions, PoolSource};
use landfall::judge::Expected;
use landfall::judge::Leg;
use landfall::judge::versions;

/// What runs clean.
#[derive(Clone, Copy, Debug)]
enum Kind {
    /// The small driver in C, on a platform.
    Small(Leg),
    /// The capture driver in Rust, with the pool's memory from a source.
    Capture(PoolSource, Iommu),
}

const SOURCES: [PoolSource; 6] = [
    PoolSource::Reserve,
    PoolSource::Carveout,
    PoolSource::Cma,
    PoolSource::Contig,
    PoolSource::Cluster,
    PoolSource::Exact,
];
const INTERRUPTS: [InterruptKind; 3] =
    [InterruptKind::Msi, InterruptKind::Msix, InterruptKind::Intx];

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Small(leg) => write!(f, "landfall_mutant without a bug, {leg}"),
            Self::Capture(source, Iommu::None) => write!(f, "landfall_capture, {source}"),
            Self::Capture(source, _) => write!(f, "landfall_capture, {source}, iommu"),
        }
    }
}

/// Runs `runs` clean captures, in turn over platforms, drivers, sources and kinds of interrupt.
///
/// # Errors
/// If a guest fails; what is said of a run is no error.
pub fn clean(
    runs: u32,
    platforms: &Platforms<'_>,
    cancel: &Cancel,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<CleanRuns, CatalogFailed> {
    let began = Instant::now();
    let legs = Leg::ALL.into_iter();
    let legs = legs.filter(|leg| *leg != Leg::Debug || platforms.debug.is_some());
    let small = legs.map(Kind::Small);
    let captures = SOURCES
        .into_iter()
        .map(|source| Kind::Capture(source, Iommu::None));
    let behind = [Iommu::Strict, Iommu::Lazy]
        .into_iter()
        .map(|iommu| Kind::Capture(PoolSource::Reserve, iommu));
    let kinds: Vec<_> = small.chain(captures).chain(behind).collect();
    let round: Vec<_> = (0..runs)
        .zip(kinds.iter().cycle())
        .map(|(number, kind)| (number, *kind))
        .collect();
    let done = platforms.all(&round, |&(number, kind)| {
        let began = Instant::now();
        let rounds = number as usize / kinds.len();
        let interrupt = INTERRUPTS[rounds % INTERRUPTS.len()];
        let card = CaptureOptions {
            interrupt,
            ..CaptureOptions::default()
        };
        let (leg, done) = match kind {
            Kind::Small(leg) => {
                let trial = Case {
                    leg,
                    parameters: String::new(),
                    card,
                    action: Action::Nothing,
                    cache_line: 0,
                    watch_cpu: platforms.watch_cpu,
                };
                let done = trial.run(platforms.of(leg)?, cancel);
                (leg, done.map_err(CatalogFailed::from))
            }
            Kind::Capture(source, iommu) => {
                let done = capture(source, iommu, card, platforms, cancel);
                let what = kind.to_string();
                let failed = |source| CatalogFailed::Clean { what, source };
                (Leg::Plain, done.map_err(failed))
            }
        };
        let prepared = platforms.of(leg)?;
        let runs = (number + 1).to_string();
        let expected = Expected {
            versions: versions(prepared),
            word: format!("clean-{number:03}"),
            what: format!("clean run {number}, {kind}, {interrupt}"),
            command: command_words(prepared, ["catalog", "clean", "--runs", &runs]),
            scenario: None,
            wrong: &Observed::alarm,
        };
        let observed = leave(platforms.bundles, &expected, done)?;
        let alarm = observed.alarm();
        on_event(Event::Done {
            what: format!("{number:>3} {kind}, {interrupt}"),
            result: alarm.clone().unwrap_or_else(|| "silent".to_owned()),
            elapsed: began.elapsed(),
        });
        Ok((kind, alarm, observed.bundle))
    })?;
    let mut counted: BTreeMap<String, u32> = BTreeMap::new();
    for (kind, ..) in &done {
        *counted.entry(kind.to_string()).or_default() += 1;
    }
    let alarms = done.iter().filter_map(|(kind, alarm, _)| {
        let alarm = alarm.as_ref()?;
        Some(format!("{kind}: {alarm}"))
    });
    Ok(CleanRuns {
        schema: VERSION,
        kinds: counted,
        runs,
        alarms: alarms.collect(),
        bundles: done.into_iter().filter_map(|(.., bundle)| bundle).collect(),
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// Captures with the driver in Rust, watched by the witness too.
fn capture(
    source: PoolSource,
    iommu: Iommu,
    card: CaptureOptions,
    platforms: &Platforms<'_>,
    cancel: &Cancel,
) -> Result<Observed, RunFailed> {
    let options = GuestOptions {
        pool: PoolOptions {
            source,
            // What every source can give in one piece.
            size: 4 << 20,
            ..PoolOptions::default()
        },
        iommu,
        witness: true,
        ..capture::guest(card)
    };
    let options = watching(options, platforms.watch_cpu, platforms.stock);
    let guest = Guest::configure(options).boot_loaded(platforms.stock, cancel)?;
    let card = Device::open(&guest, 0)?;
    let mut session = Session::begin(&guest, &card)?;
    session.capture(&CapturePlan::default(), &guest, &card)?;
    finish(session, &guest, &card)
}
