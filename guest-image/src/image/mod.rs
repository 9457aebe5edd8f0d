// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the guest boots into: its first files, packed.

pub(crate) mod cpio;
pub(crate) mod elf;
pub(crate) mod embedded;
pub(crate) mod files;
pub(crate) mod initramfs;
pub(crate) mod modinfo;
pub(crate) mod stock;
pub(crate) mod tree;
pub(crate) mod zstd;
