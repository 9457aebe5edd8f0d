// SPDX-License-Identifier: MIT OR Apache-2.0

//! Arguments of `try`.

use std::path::PathBuf;

use clap::Args;
use landfall::guest::Driver;
use landfall::judge::Leg;

use super::{PartArguments, ViewArguments};

#[derive(Args, Clone, Debug)]
pub(crate) struct TryArguments {
    /// The bundle of a platform of `exec`: a directory or a .tar.zst
    #[arg(value_name = "BUNDLE")]
    pub(crate) bundle: PathBuf,
    /// The changed driver, in the place of all that the run had: a directory with a Kbuild, as a path with a /, or what else
    /// `exec` takes (repeatable). One in the place of one has its parameters unless it is given others
    #[arg(
        long = "driver",
        value_name = "DIR",
        required = true,
        help_heading = "What is tried"
    )]
    pub(crate) drivers: Vec<Driver>,
    /// Platforms besides the bundle's own, where a repair may have broken something, separated by commas
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        help_heading = "What is tried"
    )]
    pub(crate) legs: Vec<Leg>,
    /// Write what came of it as JSON
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) json: Option<PathBuf>,
    /// Where a platform that fails leaves a bundle: beside PATH [default: new directories where logs go]
    #[arg(long = "bundle", value_name = "PATH", help_heading = "Output")]
    pub(crate) new_bundle: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) views: ViewArguments,
    #[command(flatten)]
    pub(crate) parts: PartArguments,
}
