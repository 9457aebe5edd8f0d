// SPDX-License-Identifier: MIT OR Apache-2.0

//! What `setup` and `doctor` are told.

use std::path::PathBuf;

use clap::Args;

use super::PartArguments;

#[derive(Clone, Debug, Args)]
pub(crate) struct SetupArguments {
    /// Remove from the cache what this set-up does not need
    #[arg(long)]
    pub(crate) prune: bool,
    /// Compare what guests boot from with its checksums; what is damaged is made anew
    #[arg(long)]
    pub(crate) verify: bool,
    /// Take newer versions if the mirror has them
    #[arg(long)]
    pub(crate) refresh: bool,
    /// Set up the kernels of all series
    #[arg(long, conflicts_with_all = ["kernel", "kernel_series", "export", "import"])]
    pub(crate) kernels: bool,
    /// Build the debug kernel too, with KASAN, dma-debug, lockdep and KFENCE: some minutes, once
    #[arg(long)]
    pub(crate) debug_kernel: bool,
    /// Write what running guests needs to one file, a .tar.gz, for a machine with the same Landfall
    #[arg(long, value_name = "FILE")]
    pub(crate) export: Option<PathBuf>,
    /// Take the set-up from such a file; it is checked, and then no network is needed
    #[arg(long, value_name = "FILE", conflicts_with_all = ["export", "refresh"])]
    pub(crate) import: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) parts: PartArguments,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DoctorArguments {
    #[command(flatten)]
    pub(crate) parts: PartArguments,
}
