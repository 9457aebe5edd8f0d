// SPDX-License-Identifier: MIT OR Apache-2.0

//! The catalogue of DMA bug classes, executable.
//!
//! Each of the 63 classes ([`landfall_device::ledger::class`]) has a planted bug (a mutant of a driver, a fault of the
//! card, or an environment), a clean twin that differs in nothing else, and the platform ([`Leg`]) on which it must be
//! named. A [`Case`] runs one of the two in a guest of its own and gives what was [`Observed`], from the journal and
//! the guest's conduct alone: nothing that judges knows what was planted.

mod case;
mod clean;
mod conduct;
mod entries;
mod gallery;
mod jobs;
mod kernels;
mod leave;
mod matrix;
mod page;
mod plot;
mod schema;
mod special;
mod twins;

pub use case::{Case, CaseFailed};
pub use clean::clean;
pub use entries::{Action, ENTRIES, Entry, Job, Recipe, Way};
pub use gallery::{BUGS, Bug, Gallery, PATTERNS, Pattern, Plan, Shown, gallery, show_bug};
pub use jobs::{CatalogFailed, Event, Platforms, legs, run};
pub use kernels::{KernelCell, KernelColumn, KernelMatrix, KernelRow, KernelRuns, On};
pub use landfall::judge::Leg;
pub use matrix::matrix;
pub use page::{page, table};
pub use plot::{plot, plot_kernels};
pub use schema::{
    Cell, ClassRun, CleanRuns, Column, LegRun, List, ListedClass, Matrix, Row, Runs, Seen, Skipped,
    VERSION, list,
};
pub use twins::Twins;
