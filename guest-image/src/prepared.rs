// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a set-up leads to.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::architecture::Architecture;
use crate::event::Step;
use crate::image::files::ModuleFiles;
use crate::store::lock::Lock;
use crate::store::snapshots::Snapshots;

/// Which kernel a guest boots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kernel {
    /// The distribution's, as it is, or the one that the caller brought along.
    #[default]
    Stock,
    /// The debug kernel, which finds faults by itself: see [`prepare_debug`](crate::prepare_debug).
    Debug,
}

/// Everything needed to boot a guest.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// What its guests are.
    pub architecture: &'static Architecture,
    /// The emulator.
    pub qemu: Qemu,
    /// Which kernel it is.
    pub kernel: Kernel,
    /// Uncompressed kernel for `-kernel`: on a PC one with a PVH entry.
    pub vmlinux: PathBuf,
    /// The kernel as its distribution or its build made it, for a boot through firmware and decompressor; `None` if
    /// only an uncompressed one was given.
    pub bzimage: Option<PathBuf>,
    /// `uname -r` in the guest.
    pub kernel_release: String,
    /// Newc cpio archive with the agent as `/init`, busybox and the modules, for `-initrd`.
    pub initramfs: PathBuf,
    /// Likewise archives, for guests that use video devices: v4l-utils. None if the kernel is not Debian's.
    pub video: Vec<PathBuf>,
    /// Directory of the kernel's own modules, for [`StockModules`](crate::StockModules). `None` if the kernel was brought
    /// along.
    pub stock: Option<PathBuf>,
    /// Names (without `.ko`) of the modules in the initramfs, those they depend on included.
    pub modules: Vec<String>,
    /// What the compilers warned of when Landfall's modules were built; empty is as it should be.
    pub module_warnings: Vec<String>,
    /// Exact versions and checksums.
    pub lock: Lock,
    /// The file that holds `lock` as JSON.
    pub lock_file: PathBuf,
    /// The file that holds what the files that guests boot from were when they were made, for
    /// [`recheck`](crate::recheck).
    pub parts_file: PathBuf,
    /// How long each step took when this was set up, in the order of ending; empty on a warm run.
    pub timings: Vec<(Step, Duration)>,
    /// Bytes the cache took on disk when this was set up.
    pub cache_size: u64,
    /// Nothing had to be done: all was there.
    pub warm: bool,
    /// The cache that all of it is in.
    pub cache: PathBuf,
    /// Where what guests and builds leave goes: the cache, or [`SetupOptions::elsewhere`](crate::SetupOptions::elsewhere)
    /// if the cache cannot be written.
    pub writable: PathBuf,
    /// Snapshots of guests that were made from it.
    pub snapshots: Snapshots,
}

impl Prepared {
    /// The options of the command that choose guests like these, as far as they are not the usual ones.
    pub fn asked_for(&self) -> Vec<String> {
        let mut words = Vec::new();
        if self.architecture.is_foreign() {
            words.push(format!("--arch={}", self.architecture));
        }
        // One's own is none of them.
        let series = self.architecture.series();
        if series
            .iter()
            .skip(1)
            .any(|series| *series == self.lock.series)
        {
            words.push(format!("--kernel-series={}", self.lock.series));
        }
        words
    }

    /// The modules that its guests load.
    pub fn module_files(&self) -> ModuleFiles {
        ModuleFiles::new(&self.initramfs)
    }
}

/// How to run QEMU: `program`, then `arguments`, then the caller's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Qemu {
    /// The file to execute; the loader of the unpacked tree, or a QEMU brought along.
    pub program: PathBuf,
    /// What comes before the caller's arguments: the loader's own, the emulator and its data directories.
    pub arguments: Vec<OsString>,
    /// Version it states, such as `11.1.3`.
    pub version: String,
    /// It can be kept from starting processes and the like (`-sandbox`, with libseccomp).
    pub sandbox: bool,
}
