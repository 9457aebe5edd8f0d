// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a caller may choose.

use std::path::PathBuf;

/// What to set up and where. Everything but the cache is optional.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetupOptions {
    /// Directory that holds everything; created if missing.
    pub cache: PathBuf,
    /// Where what guests and builds leave goes if `cache` is whole and cannot be written, as in an image of a container;
    /// created if missing, for this user alone. `None`: nothing works then.
    pub elsewhere: Option<PathBuf>,
    /// Debian mirror to use instead of the host's own; needed on hosts whose packages are not Debian's.
    pub mirror: Option<String>,
    /// QEMU to use instead of Debian's; its version is checked.
    pub qemu: Option<PathBuf>,
    /// What guests are, by Debian's name, such as `arm64`; see [`Architecture::names`](crate::Architecture::names). `None`: the
    /// first of those.
    pub architecture: Option<String>,
    /// Series of Debian's kernels, such as `6.12`; see [`kernel_series`](crate::kernel_series). `None`: the architecture's
    /// first.
    pub series: Option<String>,
    /// Kernel to boot instead of Debian's: a bzImage or an uncompressed `vmlinux` with a PVH entry.
    pub kernel: Option<PathBuf>,
    /// Build tree of that kernel; the modules are built against it with the host's `make`.
    pub kdir: Option<PathBuf>,
    /// Modules to put into the guest as they are. With `kernel` and without `kdir` they replace
    /// Landfall's own; otherwise they come on top.
    pub modules: Vec<PathBuf>,
    /// Modules that are built of anybody's sources leave marks where they have read barriers
    /// (`kmod/include/landfall_marks.h`): so it can be told which loads these keep in order, where the processor does so by itself.
    pub marks: bool,
    /// Most bytes on disk of snapshots of guests; beyond that the least recently used go. `None`:
    /// [`SNAPSHOT_LIMIT`](crate::SNAPSHOT_LIMIT).
    pub snapshot_limit: Option<u64>,
    /// Compare the files that guests boot from with their checksums, and not only with their sizes and times.
    pub verify: bool,
    /// Ask the mirror again even if a set-up is there, and take newer versions if it has them.
    pub refresh: bool,
}

impl SetupOptions {
    /// Debian's QEMU and kernel from the host's own mirror, kept in `cache`.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        Self {
            cache: cache.into(),
            ..Self::default()
        }
    }
}
