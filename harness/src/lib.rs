// SPDX-License-Identifier: MIT OR Apache-2.0

//! Boots a real guest around emulated cards and proves where every byte landed.
//!
//! [`guest`] boots and steers a guest: configured, booted, loaded. [`memory`] is guest memory as the host
//! sees it. [`verify`] compares it with what a card should have written, and all of the pool with what it
//! should hold. [`run`] is the main job, which the command `landfall run` shows: capture, compare three views
//! of each transfer, and give a verdict as a [`schema::Report`].
//!
//! Nothing here prints, exits or reads the environment; that is left to the command.

#![forbid(unsafe_op_in_unsafe_fn)]

pub mod accelerator;
pub mod bundle;
pub mod catalog;
pub mod console_findings;
pub mod debug_info;
pub mod drawing;
pub mod evidence;
pub mod exercise;
pub mod frames;
pub mod guest;
pub mod judge;
pub mod map;
pub mod memory;
pub mod qemu;
pub mod run;
pub mod scenario;
pub mod schema;
pub mod selftest;
pub mod survey;
pub mod verify;

use std::ffi::OsString;
use std::path::PathBuf;

pub use landfall_guest::Cancel;

/// Where the parts of a guest are kept: `$LANDFALL_CACHE`, else `$XDG_CACHE_HOME/landfall`, else
/// `~/.cache/landfall`. `variable` reads the environment. `None` if none of them is set; a relative
/// `XDG_CACHE_HOME` counts as not set, as its specification asks.
pub fn default_cache(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let path = |name: &str| {
        variable(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let absolute = |name: &str| path(name).filter(|path| path.is_absolute());
    path("LANDFALL_CACHE").or_else(|| {
        absolute("XDG_CACHE_HOME")
            .or_else(|| Some(absolute("HOME")?.join(".cache")))
            .map(|cache| cache.join("landfall"))
    })
}
