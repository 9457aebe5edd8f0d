// SPDX-License-Identifier: MIT OR Apache-2.0

//! Arguments of whatever has a guest: what that is made of.

use std::path::PathBuf;

use clap::Args;

use super::parse_size;

/// Where a guest's parts come from.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Parts of the guest")]
pub(crate) struct PartArguments {
    /// Directory for packages, kernel and modules [default: $XDG_CACHE_HOME/landfall, else ~/.cache/landfall]
    #[arg(
        long,
        value_name = "DIR",
        env = "LANDFALL_CACHE",
        hide_env_values = true
    )]
    pub(crate) cache: Option<PathBuf>,
    /// Most bytes of guests' snapshots that are kept; the least recently used go [default: 8G]
    #[arg(
        long,
        value_name = "SIZE",
        env = "LANDFALL_SNAPSHOT_LIMIT",
        hide_env_values = true,
        value_parser = parse_size
    )]
    pub(crate) snapshot_limit: Option<u64>,
    /// Debian mirror to use instead of the host's own
    #[arg(
        long,
        value_name = "URL",
        env = "LANDFALL_MIRROR",
        hide_env_values = true
    )]
    pub(crate) mirror: Option<String>,
    /// Your own QEMU, 10.1 or later
    #[arg(long, value_name = "PATH")]
    pub(crate) qemu: Option<PathBuf>,
    /// What guests are: their processor's architecture, as Debian calls it [default: the first]
    #[arg(
        long,
        value_name = "ARCHITECTURE",
        value_parser = clap::builder::PossibleValuesParser::new(landfall_guest::Architecture::names())
    )]
    pub(crate) arch: Option<String>,
    /// Series of Debian's kernels to boot [default: the first]
    #[arg(
        long,
        value_name = "SERIES",
        value_parser = clap::builder::PossibleValuesParser::new(landfall_guest::kernel_series()),
        conflicts_with = "kernel"
    )]
    pub(crate) kernel_series: Option<String>,
    /// Your own kernel: a bzImage or an uncompressed vmlinux with a PVH entry
    #[arg(long, value_name = "FILE")]
    pub(crate) kernel: Option<PathBuf>,
    /// Build tree of your kernel, to build the modules against
    #[arg(long, value_name = "DIR", requires = "kernel")]
    pub(crate) kdir: Option<PathBuf>,
    /// Your own module for the guest (repeatable)
    #[arg(long = "module", value_name = "FILE.ko")]
    pub(crate) modules: Vec<PathBuf>,
    /// Build drivers so that their read barriers can be told: with --watch-cpu a missing one is named; needed where the processor
    /// itself keeps loads in order, as on amd64
    #[arg(long)]
    pub(crate) marks: bool,
}
