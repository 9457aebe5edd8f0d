// SPDX-License-Identifier: MIT OR Apache-2.0

//! The lock file: what exactly a set-up used.

use serde::{Deserialize, Serialize};

/// Exact versions and checksums of everything in a set-up; written as JSON into the cache.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Version of this format.
    pub format: u32,
    /// Kernel series the modules are known to build against, such as `7.3`; `own` for a kernel brought along.
    pub series: String,
    /// `uname -r` of the kernel.
    pub kernel_release: String,
    /// Version QEMU states.
    pub qemu_version: String,
    /// Version of the Rust compiler the modules are built with; empty if the host's was used.
    pub rustc_version: String,
    /// SHA-256, hex, of the sources the modules are built from.
    pub kmod_sha256: String,
    /// SHA-256, hex, of the agent.
    pub agent_sha256: String,
    /// Every package used, by name.
    pub packages: Vec<Package>,
}

/// One Debian package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// Name.
    pub name: String,
    /// Version, with epoch.
    pub version: String,
    /// Architecture, `amd64` or `all`.
    pub architecture: String,
    /// SHA-256 of the `.deb`, hex.
    pub sha256: String,
    /// Bytes of the `.deb`.
    pub size: u64,
    /// What it is used for: `qemu`, `kernel`, `toolchain` or `guest`.
    pub used_for: Vec<String>,
}
