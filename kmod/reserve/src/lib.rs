// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The allocator core of Landfall's reserved pool.
//!
//! Pure: no `alloc`, no dependencies, no I/O, no `unsafe`. One source is compiled twice: as this crate for
//! the host's tests and the harness, and, mounted by `#[path]`, into `landfall_pool.ko`. So it keeps to
//! edition 2021 and to the compiler that built the distribution's kernel, and its files do not name each
//! other.

#![no_std]
#![forbid(unsafe_code)]

pub mod allocator;
pub mod canary;
pub mod spec;
