// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is kept of a run while it is not known whether anybody will ask: what the ledger was fed with, the memory around
//! what it found, what else was seen.

mod pages;
mod recorder;
mod seen;
mod trace;

pub use pages::{Known, MAX_PAGES, PAGE, Page, Pages};
pub(crate) use recorder::LARGEST_NUMBER;
pub use recorder::{Item, Recorder};
pub use seen::{Named, Observed};
pub use trace::{Logs, Trace};
