// SPDX-License-Identifier: MIT OR Apache-2.0

//! Scenarios: how the card misbehaves, as a text that a person can write and a machine can shrink.
//!
//! A scenario is a TOML file:
//!
//! ```toml
//! seed = 7                 # for `probability`; default 0
//!
//! [[fault]]
//! what = "shift"           # which; each has a name
//! frame = 2                # when: all that is given must hold
//! byte = 4096
//!
//! [[fault]]
//! what = "after-stop"
//! register = "CONTROL"     # from the second write of that register on
//! nth = 2
//!
//! [[fault]]
//! what = "overrun"
//! probability = 0.25       # at each frame
//! times = 3                # how often at most; default 1
//! ```
//!
//! The other words are `after_us`, a time since the card was powered, and the parameters of single faults: `bits` of
//! `truncate`, `delay_us` of `posted`. A word that does not exist, or that the fault in question has no use for, is
//! an error; see [`Planted`] for what each means. The same scenario and the same driver give the same run, but for
//! `after_us` and `posted`, which the clock decides.

mod toml_file;

use landfall_cards::capture::Planted;

pub use toml_file::ScenarioError;

/// Most faults in one scenario.
pub const MOST_FAULTS: usize = 64;

/// How a card misbehaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scenario {
    /// For what is drawn at random; at most [`i64::MAX`], which is all that TOML has.
    pub seed: u64,
    /// The faults, each by itself.
    pub faults: Vec<Planted>,
}

impl Scenario {
    /// Reads a scenario.
    ///
    /// # Errors
    /// If the text is none, with the line, what is wrong there, and what could be instead.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        toml_file::parse(text)
    }

    /// The text of the scenario: [`Scenario::parse`] makes the same of it again.
    pub fn to_toml(&self) -> String {
        toml_file::write(self)
    }
}
