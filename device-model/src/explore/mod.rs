// SPDX-License-Identifier: MIT OR Apache-2.0

//! All orders of a card's actions among the steps of its driver, one after the other.
//!
//! The driver's steps are what a card can see of it: reads and writes of registers, writes to configuration space, and what the
//! witness tells (maps, unmaps, syncs, its life). By itself the card is slow: it acts when the guest has nothing to do, or polls, and
//! then until it has interrupted. An [`Order`] says at which steps it acts before, and how often: that is a deviation. A
//! [`Log`] is what came of one, and what a [`Search`] makes the next orders of: first those with one deviation, then with two.
//!
//! All of it is pure. What carries an order out is [`crate::serve::CardServer::explore`]; who drives the driver is not known here.

mod log;
mod order;
mod search;

pub use log::{Did, Log, MOST_POINTS, Point, What};
pub use order::{BadOrder, MOST_PARTS, MOST_STEPS, Order};
pub use search::{Bounds, Search, Task};
