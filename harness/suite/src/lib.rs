// SPDX-License-Identifier: MIT OR Apache-2.0

//! What Landfall does with its own cards and drivers. [`run`] is the main job, which the command `landfall run` shows:
//! capture, compare three views of each transfer, and give a verdict as a [`landfall::report::schema::Report`].
//! [`catalog`] plants every bug of the catalogue and shows the gallery of drivers that are right; [`scenario`] plants
//! faults in the card, and [`fuzz`] draws them; [`survey`] measures every way to get memory.
//! [`project`] is for cards and drivers of anybody's: what a command line or a `landfall.toml` says of them, as a trial.
//! [`video`] streams from a video card whoever wrote its driver. [`verify`] compares memory with what a card should have written.
//!
//! Nothing here prints, exits or reads the environment.

#![forbid(unsafe_op_in_unsafe_fn)]

pub mod capture;
pub mod catalog;
pub mod exercise;
pub mod fuzz;
pub mod project;
pub mod run;
pub mod scenario;
pub mod survey;
pub mod verify;
pub mod video;
