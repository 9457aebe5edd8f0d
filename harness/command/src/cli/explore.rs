// SPDX-License-Identifier: MIT OR Apache-2.0

//! Arguments of `explore`.

use std::path::PathBuf;

use clap::Args;
use landfall::explore::{Bounds, Order, Scenario};

use super::{PartArguments, SubjectArguments};

#[derive(Args, Clone, Debug)]
pub(crate) struct ExploreArguments {
    #[command(flatten)]
    pub(crate) subject: SubjectArguments,
    /// What is done with the driver, again and again: words, separated by commas (bind, unbind, remove, rescan, reset, run PROGRAM,
    /// start PROGRAM, stop; with ! behind it the next comes at once), or a file of them
    #[arg(long, value_name = "WORDS|FILE", default_value = "bind, unbind", value_parser = scenario)]
    pub(crate) scenario: Scenario,
    /// Most places of an order at which the card acts earlier than it would by itself
    #[arg(long, value_name = "N", default_value_t = Bounds::default().deviations)]
    pub(crate) deviations: usize,
    /// Most register writes of an order that are on their way for a while; each is a deviation
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) held_writes: usize,
    /// Most orders
    #[arg(long, value_name = "N")]
    pub(crate) schedules: Option<u64>,
    /// Begin no order after so many seconds
    #[arg(long, value_name = "S", default_value_t = 600)]
    pub(crate) seconds: u64,
    /// This order alone, as a report or a bundle tells it, such as 36:4
    #[arg(long, value_name = "TEXT")]
    pub(crate) order: Option<Order>,
    /// Carry each order out so often, and demand that it comes to the same each time
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) repeat: u32,
    /// Also orders that are sure to show what others showed
    #[arg(long)]
    pub(crate) unreduced: bool,
    /// Guest memory, besides what packages take [default: 256M]
    #[arg(long, value_name = "SIZE", value_parser = super::parse_size)]
    pub(crate) memory: Option<u64>,
    /// Write what came of it as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Where the bundle of an order that fails goes: beside PATH, with a word at the end of the name; one file if that ends in
    /// .tar.zst [default: a new directory where logs go]
    #[arg(long, value_name = "PATH")]
    pub(crate) bundle: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) parts: PartArguments,
}

/// Words, or a file that has them.
fn scenario(given: &str) -> Result<Scenario, String> {
    match std::fs::read_to_string(given) {
        Ok(text) => text.parse(),
        Err(_) => given.parse(),
    }
}
