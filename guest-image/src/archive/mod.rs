// SPDX-License-Identifier: MIT OR Apache-2.0

//! A set-up as one file, for machines that run guests and build nothing: [`export`] and [`import`].
//!
//! The file is a gzip-compressed ustar archive. Its first member is the manifest: which set-up it is, and every other
//! member in order, with the SHA-256 of each file. The others are entries of the cache: QEMU's tree, the images of the kernel
//! alone, and the initramfs. What only building needs stays behind, and so do snapshots of guests, which depend on
//! the machine that took them.
//!
//! The checksums guard against damage and the checks against an archive that writes elsewhere; neither makes a
//! stranger's QEMU safe to run.

mod error;
mod export;
mod import;
mod manifest;
#[cfg(test)]
mod tests;

pub use error::{ArchiveError, Refused};
pub use export::{Exported, export};
pub use import::{Imported, import, what_is_imported};

/// How much is copied between two looks at whether to stop.
const CHUNK: usize = 256 << 10;
/// Bits of a mode that nothing in a set-up needs: setuid, setgid, sticky.
const SPECIAL: u32 = 0o7000;
/// Where the entries are in the archive, as in the cache.
const ENTRIES: &str = "entries";
