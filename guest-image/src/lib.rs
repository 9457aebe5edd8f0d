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

mod architecture;
mod archive;
mod debian;
mod event;
mod host;
mod image;
mod kernel;
mod prepared;
mod qemu;
mod reporter;
mod setup;
mod store;

pub use architecture::Architecture;
#[doc(hidden)]
pub use archive::what_is_imported;
pub use archive::{Exported, Imported, export, import};
pub use event::{Event, Step};
pub use host::cancel::Cancel;
pub use host::parallel;
pub use host::privilege::RunAs;
pub use image::elf::Dynamic;
pub use image::embedded::PLUGIN;
pub use image::files::ModuleFiles;
pub use image::modinfo::{ModuleInfo, NotAModule};
pub use image::stock::{StockModules, read_module};
pub use image::zstd::Zstd;
pub use kernel::driver::Built;
pub use prepared::{Kernel, Prepared, Qemu};
pub use setup::debug_kernel::{debug_kernel_is_there, prepare_debug};
pub use setup::doctor::{Finding, Status, doctor};
pub use setup::driver::{BuildFailed, build_module};
pub use setup::error::SetupError;
pub use setup::kernel_source::{Choice, kernel_source};
pub use setup::options::SetupOptions;
pub use setup::packages::{Packages, module_source, packages};
pub use setup::parts::recheck;
pub use setup::plan::kernel_series;
pub use setup::prepare;
pub use setup::prune::{Pruned, prune};
pub use setup::selftest::{SELFTESTS, selftests};
pub use store::cache::{CacheSize, size};
pub use store::hash::file_sha256;
pub use store::lock::{Lock, Package};
pub use store::snapshots::{Claim, ClaimError, Making, SNAPSHOT_LIMIT, Snapshot, Snapshots};

/// What each part of a set-up may fail with; the sources of [`SetupError`].
pub mod failures {
    pub use crate::archive::{ArchiveError, Refused};
    pub use crate::debian::packages::PackagesError;
    pub use crate::debian::unpack::UnpackError;
    pub use crate::host::mirror::MirrorError;
    pub use crate::host::namespace::NamespaceError;
    pub use crate::host::process::{CommandError, FailedRun};
    pub use crate::image::initramfs::InitramfsError;
    pub use crate::kernel::KernelError;
    pub use crate::kernel::driver::{DriverError, SourcesError};
    pub use crate::kernel::metadata::MetadataError;
    pub use crate::kernel::modules::ModulesError;
    pub use crate::kernel::vmlinux::VmlinuxError;
    pub use crate::qemu::QemuError;
    pub use crate::setup::debug_kernel::DebugKernelError;
    pub use crate::setup::plan::OptionsError;
    pub use crate::setup::selftest::SelftestError;
}
