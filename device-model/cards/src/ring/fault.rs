// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the card can do wrong: each is a fault of the card's that a driver cannot help.

use std::time::Duration;

/// What the card does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Completions that wait for more of them are never told: the timer of `COALESCE` does not run.
    LostCoalesced,
    /// A transmit job of several pieces is told as over before its last piece is read.
    EarlyDone,
    /// An interrupt without a cause, a millisecond after a queue was stopped for the second time.
    Spurious,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::LostCoalesced, Self::EarlyDone, Self::Spurious];
}

/// How far a fault is. No reset begins it anew.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct State {
    /// Queues that were stopped.
    pub(super) stops: u32,
}

/// How long after the stop.
pub(super) const AFTER_STOP: Duration = Duration::from_millis(1);
