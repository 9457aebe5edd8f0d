// SPDX-License-Identifier: MIT OR Apache-2.0

//! Boots a real guest around emulated cards and proves where every byte landed.
//!
//! [`guest`] boots and steers a guest: configured, booted, loaded. [`judge`] watches its cards and says what they did wrong.
//! [`debug_info`] finds the lines of a driver's calls. [`report`] has the words and pictures of a verdict, and [`bundle`]
//! keeps all of it for later; [`viewer`] shows it. Of particular cards, drivers and commands nothing here knows.
//!
//! Nothing here prints, exits or reads the environment; that is left to the command. [`testing`] stands for the command in
//! tests, and does.

#![forbid(unsafe_op_in_unsafe_fn)]

pub mod bundle;
pub mod debug_info;
pub mod evidence;
pub mod explore;
pub mod guest;
pub mod judge;
pub mod report;
pub mod testing;
pub mod viewer;

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
