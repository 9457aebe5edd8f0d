// SPDX-License-Identifier: MIT OR Apache-2.0

//! The journal: everything a function did, in order.
//!
//! Append-only and shared: a [`Journal`] is a handle, its clones write and read the same entries. Bounded:
//! after [`CAPACITY`] entries further ones are counted and dropped, and a verdict must then say that it is
//! incomplete. No two accesses are ever merged.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use serde::Serialize;

use super::DmaError;
use crate::function::{RegisterName, Reset};

/// Most entries that a journal keeps; about 100 MiB.
pub const CAPACITY: usize = 1 << 20;

/// Direction of an access, from the card's view of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The card wrote memory.
    Write,
    /// The card read memory.
    Read,
}

/// What came of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All bytes moved.
    Ok,
    /// No byte moved.
    Refused(DmaError),
}

impl Outcome {
    /// Whether the bytes moved.
    pub fn is_ok(self) -> bool {
        self == Self::Ok
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// One access to memory.
    Access {
        /// Read or write.
        direction: Direction,
        /// First bus address.
        address: u64,
        /// Bytes.
        length: u64,
        /// Slot it was for.
        slot: Option<u8>,
        /// Job it was for.
        job: Option<u64>,
        /// Whether it took place.
        outcome: Outcome,
    },
    /// A register was read for the first time since the machine connected: a driver has found the card.
    FirstRead {
        /// Which BAR.
        bar: u8,
        /// Bytes from the start of the BAR.
        offset: u64,
    },
    /// The driver wrote a register.
    Register {
        /// Which BAR.
        bar: u8,
        /// Bytes from the start of the BAR.
        offset: u64,
        /// Its name.
        name: RegisterName,
        /// The whole register's new bits.
        value: u32,
    },
    /// The driver wrote or read where there is no register.
    Unclaimed {
        /// Which BAR.
        bar: u8,
        /// Bytes from the start of the BAR.
        offset: u64,
        /// Whether it was a write.
        write: bool,
    },
    /// The driver handed a slot to the card.
    Queued {
        /// Which.
        slot: u8,
        /// The register write that did.
        register_write: Option<u64>,
    },
    /// The driver took completed slots back.
    TakenBack {
        /// Bit n: slot n.
        slots: u32,
        /// The register write that did.
        register_write: Option<u64>,
    },
    /// The card began to serve a slot.
    JobBegun {
        /// Number of the job, from 0 since power-on.
        job: u64,
        /// Which slot.
        slot: u8,
        /// Sequence number of its frame.
        sequence: u32,
        /// The frame's base as the driver programmed it.
        base: u64,
        /// Bytes from the frame's first to its last; 0 if its parameters make no frame.
        size: u64,
        /// The register write that queued it.
        register_write: Option<u64>,
    },
    /// The card reported a slot as completed.
    JobDone {
        /// Number of the job.
        job: u64,
        /// Which slot.
        slot: u8,
        /// As `SLOT_STATUS.result`.
        result: u8,
        /// As `SLOT_BYTES`.
        bytes: u64,
        /// Whether the driver had enabled the interrupt that must follow.
        interrupt_enabled: bool,
    },
    /// An interrupt was raised: its message sent or, for INTx, its cause added to the line.
    Interrupt {
        /// Which vector.
        vector: u16,
    },
    /// A message interrupt is held until the function may master the bus again.
    InterruptHeld {
        /// Which vector.
        vector: u16,
    },
    /// The driver asked the card to stop.
    Stopping {
        /// The register write that did.
        register_write: Option<u64>,
    },
    /// The card reported that it is idle: no byte may follow.
    Idle {
        /// The register write that asked for it.
        register_write: Option<u64>,
    },
    /// The function was reset: no byte may follow.
    Reset {
        /// Whence.
        reset: Reset,
    },
    /// Bus mastering was switched.
    BusMaster {
        /// On or off.
        on: bool,
    },
    /// The power state changed.
    PowerState {
        /// 0 is D0, 3 is D3hot.
        state: u8,
    },
    /// The machine connected to the card.
    Connected,
    /// The machine's connection ended; its mappings are gone.
    Disconnected,
    /// The machine asked for something that was refused.
    Refused {
        /// What, and why.
        what: String,
    },
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its number, from 0 without gaps.
    pub sequence: u64,
    /// Nanoseconds since the journal began.
    pub time_ns: u64,
    /// What happened.
    #[serde(flatten)]
    pub kind: Kind,
}

#[derive(Debug)]
struct Inner {
    began: Instant,
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<Entry>,
    dropped: u64,
}

/// A handle on a journal.
#[derive(Clone, Debug)]
pub struct Journal {
    inner: Arc<Inner>,
}

impl Default for Journal {
    fn default() -> Self {
        Self::with_capacity(CAPACITY)
    }
}

impl Journal {
    /// Begins a journal that keeps at most `capacity` entries.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                began: Instant::now(),
                capacity,
                state: Mutex::default(),
            }),
        }
    }

    /// When the journal began: the zero of `time_ns` and of [`crate::function::Host::now`].
    pub fn began(&self) -> Instant {
        self.inner.began
    }

    /// Appends an entry and returns its sequence number.
    pub fn push(&self, kind: Kind) -> u64 {
        let mut state = self.inner.state.lock();
        // Under the lock, so that times ascend with the numbers.
        let elapsed = self.inner.began.elapsed().as_nanos();
        let sequence = state.entries.len() as u64 + state.dropped;
        if state.entries.len() < self.inner.capacity {
            state.entries.push(Entry {
                sequence,
                time_ns: u64::try_from(elapsed).unwrap_or(u64::MAX),
                kind,
            });
        } else {
            state.dropped += 1;
        }
        sequence
    }

    /// Copies the entries from number `from` on.
    pub fn entries_from(&self, from: u64) -> Vec<Entry> {
        let state = self.inner.state.lock();
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        state.entries.get(from..).unwrap_or_default().to_vec()
    }

    /// How many entries there are, those dropped included: the number that the next one will get.
    pub fn len(&self) -> u64 {
        let state = self.inner.state.lock();
        state.entries.len() as u64 + state.dropped
    }

    /// Whether nothing happened yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many entries were dropped because the journal was full.
    pub fn dropped(&self) -> u64 {
        self.inner.state.lock().dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_numbered_without_gaps_and_shared_by_clones() {
        let journal = Journal::default();
        let clone = journal.clone();
        assert!(journal.is_empty());
        assert_eq!(clone.push(Kind::Connected), 0);
        assert_eq!(journal.push(Kind::BusMaster { on: true }), 1);
        let entries = clone.entries_from(1);
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].kind, Kind::BusMaster { on: true });
        assert!(entries[0].time_ns >= journal.entries_from(0)[0].time_ns);
        assert!(journal.entries_from(7).is_empty());
    }

    #[test]
    fn full_journal_counts_what_it_drops() {
        let journal = Journal::with_capacity(2);
        for _ in 0..5 {
            journal.push(Kind::Connected);
        }
        assert_eq!(journal.entries_from(0).len(), 2);
        assert_eq!(journal.dropped(), 3);
        assert_eq!(journal.len(), 5);
    }

    #[test]
    fn entry_serializes_flat() {
        let journal = Journal::default();
        journal.push(Kind::Access {
            direction: Direction::Write,
            address: 4096,
            length: 8,
            slot: Some(3),
            job: Some(7),
            outcome: Outcome::Refused(DmaError::NotMaster),
        });
        let mut value = serde_json::to_value(&journal.entries_from(0)[0]).expect("serializes");
        value["time_ns"] = 0.into();
        assert_eq!(
            value,
            serde_json::json!({
                "sequence": 0, "time_ns": 0, "kind": "access", "direction": "write", "address": 4096,
                "length": 8, "slot": 3, "job": 7, "outcome": {"refused": "not_master"}
            })
        );
    }
}
