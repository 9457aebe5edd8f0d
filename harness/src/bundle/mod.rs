// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a failing run leaves: one directory, or one `.tar.zst`, from which its verdict can be told and repeated.
//!
//! | file | what it is |
//! |---|---|
//! | `manifest.json` | the format's version, and name, size and SHA-256 of every other file ([`Manifest`]) |
//! | `run.json` | command line, seed, versions, verdict in one line ([`Run`]) |
//! | `scenario.toml` | the scenario, if the run had one |
//! | `stream.jsonl` | what the ledger was fed with, in exactly that order, an [`Item`](crate::evidence::Item) a line |
//! | `judgement.json` | what the ledger said to it |
//! | `lines.json` | where the driver's calls that the stream names stand in its source, by what the witness called them ([`Lines`](crate::debug_info::Lines)) |
//! | `observed.json` | of a trial, in place of a report: all that was seen of it ([`crate::evidence::Observed`]) |
//! | `report.json` | the whole report: all three views ([`crate::report::schema::Report`]) |
//! | `pages.json`, `pages.bin`, `expected.bin` | guest memory around each violation, and what should lie there ([`crate::evidence::Pages`]) |
//! | `map.txt`, `map.svg` | physical memory, drawn |
//! | `report.html` | all of it as a page, for a browser ([`crate::viewer`]) |
//! | `console.log`, `console-boot.log`, `qemu.log` | what the guest and QEMU said |
//!
//! A trial is a run of `landfall legs` or `landfall catalog`: no capture driver states there what it lent, and all that
//! was compared is the journal. A run that came to no verdict, because its guest died first, has no `report.json` and no pictures. A file that
//! would be empty is not there.
//!
//! A bundle appears under its name whole or not at all, with the manifest written last. Whoever reads one believes
//! nothing: sizes are bounded, names lead nowhere, every checksum is compared before a file is read.

mod compare;
mod error;
mod manifest;
mod open;
mod pack;
mod picture;
mod place;
mod store;
mod story;
mod stream;
mod views;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use compare::{Comparison, compare};
pub use error::{BundleError, Refused};
pub use manifest::{FORMAT, Manifest, Member};
pub use open::Bundle;
pub use picture::{drawing, map};
pub use place::Place;
pub use store::{Parts, store};
pub use story::{printable, story};
pub use stream::{Judged, judge};
pub use views::Views;

/// The bundle that a run leaves if it fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Where.
    pub place: Place,
    /// The command line that asked for the run, without the program's name.
    pub command: Vec<String>,
    /// The scenario's text.
    pub scenario: Option<String>,
    /// The seed of whatever was drawn at random.
    pub seed: Option<u64>,
    /// What else is made of the run, whether it fails or not.
    pub views: Views,
}

/// What was run, and what came of it: `run.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The command line, without the program's name.
    pub command: Vec<String>,
    /// The seed of whatever was drawn at random.
    pub seed: Option<u64>,
    /// What took part, by name.
    pub versions: BTreeMap<String, String>,
    /// The verdict in one line, or how the run failed.
    pub summary: String,
    /// The kernel's line that tells most, if the guest died.
    pub kernel_line: Option<String>,
}

/// Name of the file that holds the scenario.
pub const SCENARIO: &str = names::SCENARIO;

/// Names of the files.
mod names {
    pub(super) const RUN: &str = "run.json";
    pub(super) const SCENARIO: &str = "scenario.toml";
    pub(super) const STREAM: &str = "stream.jsonl";
    pub(super) const JUDGEMENT: &str = "judgement.json";
    pub(super) const LINES: &str = "lines.json";
    pub(super) const OBSERVED: &str = "observed.json";
    pub(super) const REPORT: &str = "report.json";
    pub(super) const PAGES: &str = "pages.json";
    pub(super) const PAGES_BIN: &str = "pages.bin";
    pub(super) const EXPECTED_BIN: &str = "expected.bin";
    pub(super) const MAP_TXT: &str = "map.txt";
    pub(super) const MAP_SVG: &str = "map.svg";
    pub(super) const PAGE: &str = "report.html";
}

#[cfg(test)]
mod tests;
