// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the catalogue's commands tell, and with it the schemas of their `--json`.
//!
//! Each file holds one [`List`], [`Runs`] or [`Matrix`] as JSON. `schema` is [`VERSION`]; it grows when a field is
//! removed or changes its meaning, not when one is added.

use landfall_device::ledger::Class;
use std::path::PathBuf;

use serde::Serialize;

use super::entries::{ENTRIES, Entry};
use landfall::evidence::Named;
use landfall::judge::Leg;

/// Version of the schemas.
pub const VERSION: u32 = 2;

/// What there is.
#[derive(Clone, Debug, Serialize)]
pub struct List {
    /// [`VERSION`].
    pub schema: u32,
    /// All 60.
    pub classes: Vec<ListedClass>,
}

/// A class, and how it is planted.
#[derive(Clone, Debug, Serialize)]
pub struct ListedClass {
    /// Its number.
    pub number: u8,
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub title: &'static str,
    /// What is planted.
    pub planted: &'static str,
    /// Where it must be named.
    pub legs: &'static [Leg],
}

/// Lists the catalogue.
pub fn list() -> List {
    List {
        schema: VERSION,
        classes: ENTRIES.iter().map(ListedClass::of).collect(),
    }
}

impl ListedClass {
    fn of(entry: &Entry) -> Self {
        let (name, title) = names(entry.number);
        Self {
            number: entry.number,
            name,
            title,
            planted: entry.what,
            legs: entry.legs,
        }
    }
}

pub(super) fn names(number: u8) -> (&'static str, &'static str) {
    let class = Class::of(number);
    class.map_or(("", ""), |class| (class.name(), class.title()))
}

/// How well a planted bug was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// Not at all.
    Missed,
    /// That something is wrong, but not what.
    Seen,
    /// As what it is.
    Named,
}

impl Seen {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missed => "missed",
            Self::Seen => "seen",
            Self::Named => "named",
        }
    }
}

/// What came of running some of the catalogue.
#[derive(Clone, Debug, Serialize)]
pub struct Runs {
    /// [`VERSION`].
    pub schema: u32,
    /// One for each class and platform.
    pub classes: Vec<ClassRun>,
    /// Those that were not run.
    pub skipped: Vec<Skipped>,
    /// How long it took, seconds.
    pub seconds: f64,
}

/// A class that was not run on a platform.
#[derive(Clone, Debug, Serialize)]
pub struct Skipped {
    /// Number of the class.
    pub number: u8,
    /// On which platform.
    pub leg: Leg,
    /// Why not.
    pub why: String,
}

impl Runs {
    /// Whether every class gave its expected verdict, and every clean twin was silent.
    pub fn passed(&self) -> bool {
        self.classes.iter().all(|run| run.passed)
    }
}

/// A class on one platform, planted and clean.
#[derive(Clone, Debug, Serialize)]
pub struct ClassRun {
    /// Number of the class.
    pub number: u8,
    /// Its name.
    pub name: &'static str,
    /// On which platform.
    pub leg: Leg,
    /// How well the planted bug was seen.
    pub seen: Seen,
    /// What was said of it, the first first; at most eight.
    pub said: Vec<Named>,
    /// What was said of the clean twin.
    pub clean: Vec<Named>,
    /// It was named, and the twin, of which enough was seen, was silent.
    pub passed: bool,
    /// Why it did not pass.
    pub why: Option<String>,
    /// The bundles of what did not give what was expected: of the planted bug, of the twin.
    pub bundles: Vec<PathBuf>,
    /// How long both took, seconds.
    pub seconds: f64,
}

/// The same scenario on several platforms.
#[derive(Clone, Debug, Serialize)]
pub struct LegRun {
    /// On which.
    pub leg: Leg,
    /// What went wrong there.
    pub violations: Vec<Named>,
    /// What may have.
    pub hints: Vec<Named>,
    /// Why something was not judged.
    pub not_judged: Vec<String>,
    /// What the kernel said there.
    pub findings: Vec<String>,
    /// How the guest died, if it did.
    pub died: Option<String>,
    /// Frames that the card completed.
    pub frames: u64,
    /// Accesses that the bus refused.
    pub refused: u64,
    /// The bundle of what went wrong.
    pub bundle: Option<PathBuf>,
}

impl LegRun {
    /// Whether nothing went wrong there.
    pub fn is_clean(&self) -> bool {
        let judged = self.violations.is_empty() && self.not_judged.is_empty();
        judged && self.findings.is_empty() && self.died.is_none()
    }
}

/// Clean runs, spread over platforms, drivers and sources.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CleanRuns {
    /// [`VERSION`].
    pub schema: u32,
    /// How many there were of each kind.
    pub kinds: std::collections::BTreeMap<String, u32>,
    /// How many in all.
    pub runs: u32,
    /// What was said of them: false alarms.
    pub alarms: Vec<String>,
    /// Their bundles.
    pub bundles: Vec<PathBuf>,
    /// How long they took, seconds.
    pub seconds: f64,
}

/// What tells of a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Column {
    /// Landfall, on the platform that the class needs.
    Ledger,
    /// A strict IOMMU: it refused an access of the card.
    Iommu,
    /// dma-debug, in the debug kernel.
    DmaDebug,
    /// KASAN, in the debug kernel.
    Kasan,
    /// Landfall, with bounce buffers.
    Swiotlb,
}

impl Column {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 5] = [
        Self::Ledger,
        Self::Iommu,
        Self::DmaDebug,
        Self::Kasan,
        Self::Swiotlb,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ledger => "ledger",
            Self::Iommu => "IOMMU",
            Self::DmaDebug => "dma-debug",
            Self::Kasan => "KASAN",
            Self::Swiotlb => "swiotlb",
        }
    }
}

/// One cell of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// Who tells.
    pub column: Column,
    /// How well; `null` if it was not run.
    pub seen: Option<Seen>,
    /// In how many of the runs.
    pub times: u32,
    /// What was said.
    pub said: Option<String>,
}

/// One row of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Number of the class.
    pub number: u8,
    /// Its name.
    pub name: &'static str,
    /// What was planted.
    pub planted: &'static str,
    /// Where Landfall has to name it.
    pub legs: &'static [Leg],
    /// Who saw it.
    pub cells: Vec<Cell>,
    /// Clean twins that were not silent.
    pub alarms: Vec<String>,
}

/// The measured table.
#[derive(Clone, Debug, Serialize)]
pub struct Matrix {
    /// [`VERSION`].
    pub schema: u32,
    /// The kernel's release.
    pub kernel: String,
    /// QEMU's version.
    pub qemu: String,
    /// How often each was run.
    pub repeats: u32,
    /// Whether there was a debug kernel.
    pub debug_kernel: bool,
    /// A row for each class.
    pub rows: Vec<Row>,
    /// Classes that Landfall named in every run.
    pub named: usize,
    /// Clean twins that were run.
    pub clean_runs: u32,
    /// How long it took, seconds.
    pub seconds: f64,
}

impl Row {
    pub(super) fn of(entry: &Entry) -> Self {
        Self {
            number: entry.number,
            name: names(entry.number).0,
            planted: entry.what,
            legs: entry.legs,
            cells: Vec::new(),
            alarms: Vec::new(),
        }
    }

    /// The cell of a column.
    pub fn cell(&self, column: Column) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.column == column)
    }
}
