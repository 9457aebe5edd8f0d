// SPDX-License-Identifier: MIT OR Apache-2.0

//! The measured table: who sees which class.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use landfall_guest::Cancel;

use super::entries::{Action, ENTRIES, Entry, Way};
use super::jobs::{CatalogFailed, Event, Platforms};
use super::schema::{Cell, Column, Matrix, Row, Seen, VERSION};
use landfall::evidence::Observed;
use landfall::guest::console_findings::Kind;
use landfall::judge::Leg;

/// What dma-debug says of a class when it names it (`kernel/dma/debug.c`).
const DMA_DEBUG: [(u8, &str); 15] = [
    (10, "across boundary"),
    (11, "longer than device claims"),
    (15, "kernel text or rodata"),
    (16, "memory from stack"),
    (17, "vmalloc area"),
    (18, "cacheline tracking"),
    (39, "different direction"),
    (40, "tries to sync DMA memory"),
    (47, "different size"),
    (48, "tries to free DMA memory it has not allocated"),
    (49, "failed to check map error"),
    (50, "wrong function"),
    (51, "different entry count"),
    (52, "pending DMA allocations"),
    (53, "pending DMA allocations"),
];

impl Column {
    /// Where a class must be run for this column; for the ledger, on the first of its platforms.
    fn leg(self, entry: &Entry) -> Option<Leg> {
        match (self, entry.planted) {
            (Self::Ledger, _) => entry.legs.first().copied(),
            (_, Way::Job(_)) => None,
            // The debug kernel has no error reporting (AER).
            (Self::DmaDebug | Self::Kasan, Way::Case(recipe))
                if recipe.action == Action::FailLink =>
            {
                None
            }
            (Self::Iommu, _) => Some(Leg::Iommu),
            (Self::DmaDebug | Self::Kasan, _) => Some(Leg::Debug),
            (Self::Swiotlb, _) => Some(Leg::Swiotlb),
        }
    }

    /// How well it saw what was planted, and its words.
    fn judge(self, entry: &Entry, planted: &Observed, clean: &Observed) -> (Seen, Option<String>) {
        let of_kernel = |kind: Kind, sign: Option<&str>| {
            let said = planted
                .findings
                .iter()
                .filter(|finding| finding.kind == kind);
            let named = said
                .clone()
                .find(|finding| sign.is_some_and(|sign| finding.line.contains(sign)));
            match (named, said.clone().next()) {
                (Some(named), _) => (Seen::Named, Some(named.line.clone())),
                (None, Some(first)) => (Seen::Seen, Some(first.line.clone())),
                (None, None) => (Seen::Missed, None),
            }
        };
        match self {
            Self::Ledger | Self::Swiotlb => {
                let said = (!planted.is_silent()).then(|| planted.first());
                (entry.seen(planted), said)
            }
            Self::Iommu if planted.refused > clean.refused => {
                let said = format!("refused {} accesses", planted.refused);
                (Seen::Seen, Some(said))
            }
            Self::Iommu => (Seen::Missed, None),
            Self::DmaDebug => {
                let sign = DMA_DEBUG.iter().find(|(number, _)| *number == entry.number);
                of_kernel(Kind::DmaDebug, sign.map(|(_, sign)| *sign))
            }
            Self::Kasan => of_kernel(Kind::Kasan, None),
        }
    }
}

/// A class on one platform, some times.
struct Runs {
    number: u8,
    leg: Leg,
    planted: Vec<Observed>,
    clean: Vec<Observed>,
}

/// Measures the whole table. What Landfall must name is run `repeats` times, what others see once, each with its clean
/// twin.
///
/// # Errors
/// If a guest fails where no bug of driver or card can be the reason.
pub fn matrix(
    repeats: u32,
    platforms: &Platforms<'_>,
    cancel: &Cancel,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<Matrix, CatalogFailed> {
    let began = Instant::now();
    let mut wanted: Vec<(&'static Entry, Leg, u32)> = Vec::new();
    for entry in &ENTRIES {
        for column in Column::ALL {
            let Some(leg) = column.leg(entry) else {
                continue;
            };
            let absent = leg == Leg::Debug && platforms.debug.is_none();
            let known = wanted
                .iter()
                .any(|(other, there, _)| other.number == entry.number && *there == leg);
            if !absent && !known {
                let own = column == Column::Ledger;
                wanted.push((entry, leg, if own { repeats } else { 1 }));
            }
        }
    }
    // What boots the same comes together: its snapshot stays in the host's cache of files.
    wanted.sort_by_key(|(entry, leg, _)| (*leg, entry.number));
    let clean_runs = AtomicU32::new(0);
    let runs = platforms.all(&wanted, |&(entry, leg, times)| {
        let began = Instant::now();
        let observe = |planted: bool| {
            // What is planted is to be missed by some.
            let wrong = |observed: &Observed| (!planted).then(|| observed.alarm()).flatten();
            entry.observe(leg, planted, platforms, cancel, &wrong)
        };
        let mut runs = Runs {
            number: entry.number,
            leg,
            planted: Vec::new(),
            clean: Vec::new(),
        };
        for _ in 0..times {
            runs.planted.push(observe(true)?);
            runs.clean.push(observe(false)?);
            clean_runs.fetch_add(1, Ordering::Relaxed);
        }
        on_event(Event::Done {
            what: format!("{:>2} on {leg}", entry.number),
            result: runs
                .planted
                .first()
                .map(Observed::first)
                .unwrap_or_default(),
            elapsed: began.elapsed(),
        });
        Ok(runs)
    })?;
    let rows: Vec<_> = ENTRIES.iter().map(|entry| row(entry, &runs)).collect();
    let named = rows.iter().filter(|row| row.is_named(repeats)).count();
    Ok(Matrix {
        schema: VERSION,
        kernel: platforms.stock.kernel_release.clone(),
        qemu: platforms.stock.qemu.version.clone(),
        repeats,
        debug_kernel: platforms.debug.is_some(),
        rows,
        named,
        clean_runs: clean_runs.into_inner(),
        seconds: Duration::as_secs_f64(&began.elapsed()),
    })
}

impl Row {
    /// Whether Landfall named it in all of that many runs, on the platform that it needs.
    pub fn is_named(&self, repeats: u32) -> bool {
        self.cell(Column::Ledger)
            .is_some_and(|cell| cell.seen == Some(Seen::Named) && cell.times == repeats)
    }
}

fn row(entry: &Entry, runs: &[Runs]) -> Row {
    let mut row = Row::of(entry);
    for column in Column::ALL {
        let found = column.leg(entry).and_then(|leg| {
            runs.iter()
                .find(|runs| runs.number == entry.number && runs.leg == leg)
        });
        let Some(found) = found else {
            row.cells.push(Cell {
                column,
                seen: None,
                times: 0,
                said: None,
            });
            continue;
        };
        let judged: Vec<_> = found
            .planted
            .iter()
            .zip(&found.clean)
            .map(|(planted, clean)| column.judge(entry, planted, clean))
            .collect();
        // What was not seen so well every time counts as the worst of them.
        let worst = judged.iter().min_by_key(|(seen, _)| *seen).cloned();
        let (seen, said) = worst.unwrap_or((Seen::Missed, None));
        let times = judged.iter().filter(|(other, _)| *other >= seen).count();
        row.cells.push(Cell {
            column,
            seen: Some(seen),
            times: u32::try_from(times).unwrap_or(u32::MAX),
            said,
        });
    }
    for found in runs.iter().filter(|runs| runs.number == entry.number) {
        for clean in &found.clean {
            let Some(alarm) = clean.alarm() else {
                continue;
            };
            let bundle = clean.bundle.as_ref().map_or_else(String::new, |bundle| {
                format!(" (bundle: {})", bundle.display())
            });
            row.alarms
                .push(format!("on {}: {alarm}{bundle}", found.leg));
        }
    }
    row
}
