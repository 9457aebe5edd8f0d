// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where a Landfall guest comes from: QEMU, a stock kernel, modules built for it, and an initramfs.
//!
//! [`prepare`] brings all of it into a cache directory, without privilege and without touching the host:
//! packages come through a private apt root from the host's own mirror, signatures checked; the kernel's
//! Rust metadata and the modules are built in a user-namespace chroot. A second call finds everything
//! there and neither uses the network nor starts a process. [`export`] writes what running guests needs of it to
//! one file, and [`import`] brings that into the cache of another machine.
//!
//! The library never prints, exits or reads the environment: it returns [`Event`]s, [`Finding`]s and errors.

mod apt;
mod archive;
mod cache;
mod cpio;
mod debian;
mod debug_kernel;
mod doctor;
mod embedded;
mod error;
mod event;
mod hash;
mod initramfs;
mod kernel;
mod lock;
mod metadata;
mod mirror;
mod modules;
mod namespace;
mod options;
mod packages;
mod plan;
mod prepared;
mod process;
mod prune;
mod qemu;
mod reporter;
mod setup;
mod snapshots;
mod stamp;
mod unpack;
mod video;
mod vmlinux;

pub use archive::{Exported, Imported, export, import};
pub use cache::{CacheSize, size};
pub use debug_kernel::{debug_kernel_is_there, prepare_debug};
pub use doctor::{Finding, Status, doctor};
pub use error::SetupError;
pub use event::{Event, Step};
pub use hash::file_sha256;
pub use lock::{Lock, Package};
pub use options::{Cancel, SetupOptions};
pub use prepared::{Kernel, Prepared, Qemu};
pub use prune::{Pruned, prune};
pub use setup::prepare;
pub use snapshots::{Claim, ClaimError, Making, SNAPSHOT_LIMIT, Snapshot, Snapshots};

/// What each part of a set-up may fail with; the sources of [`SetupError`].
pub mod failures {
    pub use crate::archive::{ArchiveError, Refused};
    pub use crate::debug_kernel::DebugKernelError;
    pub use crate::initramfs::InitramfsError;
    pub use crate::kernel::KernelError;
    pub use crate::metadata::MetadataError;
    pub use crate::mirror::MirrorError;
    pub use crate::modules::ModulesError;
    pub use crate::namespace::NamespaceError;
    pub use crate::packages::PackagesError;
    pub use crate::plan::OptionsError;
    pub use crate::process::{CommandError, FailedRun};
    pub use crate::qemu::QemuError;
    pub use crate::unpack::UnpackError;
    pub use crate::vmlinux::VmlinuxError;
}
