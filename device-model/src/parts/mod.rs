// SPDX-License-Identifier: MIT OR Apache-2.0

//! Parts that most cards are made of, so that nobody writes them again: each small, bounded whatever the driver does, and
//! usable without the others.
//!
//! | part | what it is |
//! |---|---|
//! | [`Ring`] | a ring of descriptors in memory: head and tail, a phase bit or an owner bit |
//! | [`Scatter`] | a list of pieces of memory, fetched, and then read or written as one |
//! | [`RegisterFile`] | registers whose bits are kept, are cleared by a one or by a read, or act |
//! | [`Timer`] | something that is due, once or again and again |
//! | [`i2c`] | a target on a two-wire bus that the driver drives bit by bit |

mod file;
pub mod i2c;
mod ring;
mod scatter;
mod timer;

pub use file::{Bits, RegisterFile, Written};
pub use ring::{Ring, RingError};
pub use scatter::{Element, Format, MOST_PIECES, Scatter, ScatterError};
pub use timer::Timer;
