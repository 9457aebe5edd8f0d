// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The allocator core of Landfall's reserved pool.
//!
//! [`allocator`] lends buffers out of one region, [`regions`] out of several, [`shared`] to several contexts
//! at once. [`bitmap`] and [`cluster`] find contiguous memory among scattered pages, for sources that take
//! pages one by one or block by block. [`spec`] reads the words of the module's parameter `source`.
//! [`canary`] is what lies in memory that nobody has. [`naive`] is what tests compare the allocator with, and
//! the one file that the kernel does not compile.
//!
//! `tests/model` compares at random and `tests/exhaustive.rs` every short sequence of calls;
//! `tests/concurrent.rs` tries every interleaving of a few contexts.
//!
//! Pure: no `alloc`, no dependencies, no I/O, no `unsafe`. One source is compiled twice: as this crate for
//! the host's tests and the harness, and, mounted by `#[path]`, into `landfall_pool.ko`. So it keeps to
//! edition 2021 and to the compiler that built the distribution's kernel, and its files name each other only
//! as `super` and `self`.

#![no_std]
#![forbid(unsafe_code)]

pub mod allocator;
pub mod bitmap;
pub mod canary;
pub mod cluster;
pub mod naive;
pub mod regions;
pub mod shared;
pub mod spec;
