// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a set-up tells while it works; the caller draws it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One part of a set-up that is timed and reported by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Package indexes are fetched, their signatures checked, and versions chosen.
    Indexes,
    /// Packages are fetched.
    Download,
    /// Toolchain and kernel source are unpacked.
    Unpack,
    /// The kernel's Rust metadata is built.
    Metadata,
    /// QEMU is unpacked and asked for its version.
    Qemu,
    /// The kernel is unpacked and `vmlinux` taken out of it.
    Kernel,
    /// Landfall's modules are built.
    Modules,
    /// The agent is built.
    Agent,
    /// The initramfs is written.
    Initramfs,
    /// Packages for guests are unpacked.
    Packages,
    /// The debug kernel is built.
    DebugKernel,
    /// A selftest of the kernel's is built.
    Selftest,
    /// The set-up is written to a file.
    Export,
    /// A set-up is read from a file and checked.
    Import,
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Indexes => "package indexes",
            Self::Download => "download",
            Self::Unpack => "toolchain",
            Self::Metadata => "kernel metadata",
            Self::Qemu => "QEMU",
            Self::Kernel => "kernel",
            Self::Modules => "modules",
            Self::Agent => "agent",
            Self::Initramfs => "initramfs",
            Self::Packages => "packages",
            Self::DebugKernel => "debug kernel",
            Self::Selftest => "selftest",
            Self::Export => "export",
            Self::Import => "import",
        })
    }
}

/// Something happened in a set-up. Several steps may be under way at once.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Another set-up of this cache is at work; this one waits for it.
    Waiting {
        /// What is known of the other one, such as its process number.
        holder: String,
    },
    /// Files of the set-up are not what they were when it was made; they are made anew.
    Damaged {
        /// Which.
        files: Vec<PathBuf>,
    },
    /// Said once, before anything large is fetched or written.
    Needs {
        /// Bytes still to be fetched.
        download: u64,
        /// Bytes that the cache will take on disk at most.
        disk: u64,
        /// Bytes that are free there now.
        free: u64,
        /// How long it takes on a machine like this one with a mirror that gives 5 MB/s.
        about: Duration,
    },
    /// A step began.
    StepStarted {
        /// Which.
        step: Step,
        /// Versions, paths: what exactly is done.
        detail: String,
        /// Its number, from 1, in the order of starting.
        index: usize,
        /// How many steps this set-up has.
        of: usize,
    },
    /// How far a step is; only from steps that can tell.
    Bytes {
        /// Which.
        step: Step,
        /// Bytes done.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// A line worth showing beside the step, such as what `make` is building.
    Line {
        /// Which.
        step: Step,
        /// The line, without its end.
        text: String,
    },
    /// A step ended well.
    StepDone {
        /// Which.
        step: Step,
        /// How long it took.
        elapsed: Duration,
    },
}
