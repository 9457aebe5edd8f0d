// SPDX-License-Identifier: MIT OR Apache-2.0

//! The journal: everything a function did, in order.
//!
//! Append-only and shared: a [`Journal`] is a handle, its clones write and read the same entries. Bounded:
//! after [`CAPACITY`] entries further ones are counted and dropped, and a verdict must then say that it is
//! incomplete. Whoever takes entries out makes room: a journal goes on as long as its reader keeps up, and what was
//! dropped is a gap in the numbers. No two accesses are ever merged.

mod bytes;
mod cpu;
mod driver;
mod entry;
mod missing;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

pub use crate::contract::Direction;
pub use bytes::{Bytes, MOST_BYTES};
pub use cpu::{CpuAccess, Settled, Unordered};
pub use driver::{Call, DriverCall, DriverState, LendDirection, Memory};
pub use entry::{Entry, Kind, Outcome};
pub use missing::{Missing, Spinning, Unknown};

/// Most entries that a journal keeps; about 100 MiB.
pub const CAPACITY: usize = 1 << 20;

#[derive(Debug)]
struct Inner {
    began: Instant,
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Those that are kept, by ascending number.
    entries: VecDeque<Entry>,
    /// The number of the next.
    next: u64,
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

    /// When the journal began: the zero of `time_ns` and of [`crate::contract::Host::now`].
    pub fn began(&self) -> Instant {
        self.inner.began
    }

    /// Appends an entry and returns its sequence number.
    pub fn push(&self, kind: Kind) -> u64 {
        let mut state = self.inner.state.lock();
        // Under the lock, so that times ascend with the numbers.
        let elapsed = self.inner.began.elapsed().as_nanos();
        let sequence = state.next;
        state.next += 1;
        if state.entries.len() < self.inner.capacity {
            state.entries.push_back(Entry {
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
        let from = state.entries.partition_point(|entry| entry.sequence < from);
        state.entries.range(from..).cloned().collect()
    }

    /// Takes the first entries that are kept out, `most` of them; there is room for as many others then.
    pub fn take(&self, most: usize) -> Vec<Entry> {
        let mut state = self.inner.state.lock();
        let most = most.min(state.entries.len());
        state.entries.drain(..most).collect()
    }

    /// How many entries there were, those dropped and taken included: the number that the next one will get.
    pub fn len(&self) -> u64 {
        self.inner.state.lock().next
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
    use crate::contract::{
        Declaration, Declares, Direction, DmaError, JobId, Label, Limits, Owed, Piece, QueueId,
        RegisterName, Reset, Role, Vector,
    };

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
    fn what_is_taken_makes_room_and_what_was_dropped_is_a_gap() {
        let journal = Journal::with_capacity(3);
        let numbers = |entries: &[Entry]| -> Vec<u64> {
            entries.iter().map(|entry| entry.sequence).collect()
        };
        let push = |count| {
            for _ in 0..count {
                journal.push(Kind::Connected);
            }
        };
        push(5);
        assert_eq!(numbers(&journal.take(2)), [0, 1]);
        push(1);
        assert_eq!(numbers(&journal.entries_from(0)), [2, 5]);
        assert_eq!(numbers(&journal.entries_from(3)), [5]);
        assert_eq!(numbers(&journal.take(9)), [2, 5]);
        assert_eq!(numbers(&journal.take(9)), [0; 0]);
        push(1);
        assert_eq!(numbers(&journal.take(9)), [6]);
        assert_eq!((journal.len(), journal.dropped()), (7, 2));
    }

    #[test]
    fn entry_serializes_flat() {
        let journal = Journal::default();
        journal.push(Kind::Access {
            direction: Direction::Write,
            address: 4096,
            length: 8,
            slot: Some(3),
            job: Some(JobId(7)),
            role: Role::Status,
            outcome: Outcome::Refused(DmaError::NotMaster),
            bytes: Bytes::of(&[0x0a, 0xff]),
        });
        let mut value = serde_json::to_value(&journal.entries_from(0)[0]).expect("serializes");
        value["time_ns"] = 0.into();
        assert_eq!(
            value,
            serde_json::json!({
                "sequence": 0, "time_ns": 0, "kind": "access", "direction": "write", "address": 4096,
                "length": 8, "slot": 3, "job": 7, "role": "status",
                "outcome": {"refused": "not_master"}, "bytes": "0aff"
            })
        );
    }

    /// What was recorded when all accesses were of four bytes.
    #[test]
    fn an_entry_without_a_width_is_of_four_bytes() {
        let text =
            r#"{"sequence":1,"time_ns":2,"kind":"unclaimed","bar":0,"offset":4,"write":true}"#;
        let entry: Entry = serde_json::from_str(text).expect(text);
        assert!(matches!(
            entry.kind,
            Kind::Unclaimed {
                width: 4,
                count: 0,
                ..
            }
        ));
        assert_eq!(serde_json::to_string(&entry).expect("serializes"), text);
    }

    #[test]
    fn an_entry_comes_back_from_json_as_it_was() {
        let name = |name: &'static str, index| RegisterName {
            name: name.into(),
            index,
        };
        let register = |name| Kind::Register {
            bar: 0,
            offset: 4,
            name,
            value: 7,
            width: 4,
        };
        let told = |what| Kind::Declared {
            register_write: Some(6),
            what,
        };
        let kinds = [
            register(name("QUEUE", None)),
            register(name("SLOT_SIZE", Some(31))),
            Kind::Declares(Declares {
                limits: Limits {
                    address_bits: 32,
                    pieces: 7,
                    ..Limits::default()
                },
                handover: true,
                ..Declares::default()
            }),
            told(Declaration::Begun {
                job: JobId(1),
                queue: QueueId(2),
                label: Label::slot(3).frame(4),
                pieces: vec![
                    Piece::write(u64::MAX, 5).of(64),
                    Piece::read(0, 6).role(Role::Side),
                ],
            }),
            told(Declaration::done(JobId(1), 5, Some(Owed::now(Vector(3))))),
            told(Declaration::failed(JobId(1), "no bus", None)),
            told(Declaration::cause(Vector(1), "the link changed")),
            told(Declaration::Reset),
            Kind::Reset {
                reset: Reset::FunctionLevel,
            },
            Kind::Register {
                bar: 5,
                offset: 8,
                name: name("WIDE", None),
                value: u64::MAX,
                width: 8,
            },
            Kind::Unclaimed {
                bar: 1,
                offset: 3,
                write: true,
                width: 1,
                count: 128,
            },
            Kind::Spinning {
                bar: 0,
                offset: 4,
                name: None,
                value: u64::MAX,
                reads: 3,
                lasted_ns: 2,
            },
            Kind::Connected,
            Kind::Call(DriverCall {
                call: Call::Map,
                number: 1,
                address: 0x1000,
                phys: u64::MAX,
                length: 64,
                direction: crate::journal::LendDirection::Both,
                entries: 0,
                part: 0,
                list: Some(1),
                memory: Memory::Plain,
                bounced: true,
                skip_sync: true,
                backing: true,
                caller: u64::MAX - 1,
                cpu: 1,
                guest_ns: 12,
            }),
        ];
        for kind in kinds {
            let entry = Entry {
                sequence: 9,
                time_ns: 8,
                kind,
            };
            let text = serde_json::to_string(&entry).expect("serializes");
            let back: Entry = serde_json::from_str(&text).expect(&text);
            assert_eq!(back, entry);
        }
    }
}
