// SPDX-License-Identifier: MIT OR Apache-2.0

//! The journal: everything a function did, in order.
//!
//! Append-only and shared: a [`Journal`] is a handle, its clones write and read the same entries. Bounded:
//! after [`CAPACITY`] entries further ones are counted and dropped, and a verdict must then say that it is
//! incomplete. No two accesses are ever merged.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::DmaError;
use crate::function::{RegisterName, Reset};

/// Most entries that a journal keeps; about 100 MiB.
pub const CAPACITY: usize = 1 << 20;

/// Direction of an access, from the card's view of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The card wrote memory.
    Write,
    /// The card read memory.
    Read,
}

/// What came of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
        /// Sequence number of its frame; `frame` in JSON, where the entry's own number is called so.
        #[serde(rename = "frame")]
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
    /// The witness in the guest tells of a call that the driver made to lend memory or to take it back.
    Call(DriverCall),
    /// The witness begins: what follows is all that the driver lends.
    Attached {
        /// Bus addresses of the kernel's text and read-only data: first byte.
        text_start: u64,
        /// First byte after them.
        text_end: u64,
    },
    /// Events of the witness were lost: what is lent is not known any more.
    WitnessGap {
        /// Number that the next event should have had.
        expected: u64,
        /// Number that it had.
        got: u64,
    },
    /// Something that the witness does not hear, or did not this time: what is lent by it is not known. Each is told
    /// once.
    Unheard {
        /// What, for people: a call, or what was lost.
        what: String,
    },
    /// Another device was lent this; told when it is asked for.
    Elsewhere {
        /// The device, as the guest's kernel names it.
        device: String,
        /// Its driver; empty if it has none.
        driver: String,
        /// First bus address, as that device sees it.
        address: u64,
        /// Bytes.
        length: u64,
        /// Which way.
        direction: crate::ledger::LendDirection,
        /// It came back already.
        ended: bool,
        /// The guest's monotonic clock when it was lent, nanoseconds.
        begun_ns: u64,
        /// And when it came back; 0: it did not.
        ended_ns: u64,
    },
    /// What a caller's address in the guest's kernel is called; told once, before the first call that has it.
    Symbol {
        /// The address.
        address: u64,
        /// `function+0x12/0x34 [module]`.
        name: String,
    },
    /// The driver's life with this device goes on, as the witness saw it.
    Driver {
        /// The driver's name; empty if the guest did not say.
        driver: String,
        /// Where it is now.
        state: DriverState,
    },
    /// The guest's kernel goes down, for a restart or another kernel: all drivers have shut their devices down.
    KernelDown,
    /// The machine mapped bus addresses for the card. Behind an IOMMU this is what the guest's IOMMU lets it reach.
    BusMapped {
        /// First bus address.
        address: u64,
        /// Bytes.
        length: u64,
        /// The card may read.
        readable: bool,
        /// The card may write.
        writable: bool,
    },
    /// The machine took bus addresses away from the card.
    BusUnmapped {
        /// First bus address.
        address: u64,
        /// Bytes.
        length: u64,
    },
    /// Memory decoding, `COMMAND` bit 1, was switched.
    Decoding {
        /// On or off.
        on: bool,
    },
    /// The driver wrote a register that it must not write now; the card ignored it or not.
    Illegal {
        /// The register write.
        register_write: Option<u64>,
        /// What is wrong with it.
        what: String,
    },
    /// What the card was given to fetch had changed after the doorbell.
    FetchChanged {
        /// Which slot.
        slot: u8,
        /// Bus address of the first byte that changed.
        address: u64,
        /// The register write that rang.
        register_write: Option<u64>,
    },
    /// A posted register write is still on its way: it is journalled, and has no effect yet.
    Delayed {
        /// The register write.
        register_write: u64,
    },
    /// A delayed register write, and all before it, arrived at the card.
    Arrived {
        /// The register write.
        register_write: u64,
        /// A read of the driver made it arrive, which is how it should be.
        flushed: bool,
    },
}

/// Which call the driver made. What lends comes before it takes effect for the driver, what takes back before
/// the memory can be anyone else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// `dma_map_single`, `dma_map_page`: streaming.
    Map,
    /// `dma_map_sg`: one event for each mapped segment.
    MapList,
    /// A mapping that failed; `address` is all-ones, as the driver sees it.
    MapFailed,
    /// `dma_unmap_single`, `dma_unmap_page`.
    Unmap,
    /// `dma_unmap_sg`: one event for each mapped segment.
    UnmapList,
    /// `dma_alloc_coherent` and its like.
    Alloc,
    /// `dma_free_coherent` and its like.
    Free,
    /// `dma_sync_single_for_cpu`, `dma_sync_sg_for_cpu`: the CPU's for now.
    SyncForCpu,
    /// `dma_sync_single_for_device`, `dma_sync_sg_for_device`: the device's again.
    SyncForDevice,
    /// A vb2 buffer was handed to the driver (`vb2_buf_queue`).
    Queue,
    /// A vb2 buffer went back to its user (`vb2_buf_done`).
    Done,
    /// The pool lent memory, which may never pass the DMA API; `address` is physical.
    PoolLend,
    /// The pool got it back.
    PoolReturn,
    /// `dma_pool_alloc`: a block of coherent memory.
    BlockAlloc,
    /// `dma_pool_free`.
    BlockFree,
}

impl Call {
    /// The kernel's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Map => "dma_map_single or page",
            Self::MapList => "dma_map_sg",
            Self::MapFailed => "a mapping that failed",
            Self::Unmap => "dma_unmap_single or page",
            Self::UnmapList => "dma_unmap_sg",
            Self::Alloc => "dma_alloc_coherent",
            Self::Free => "dma_free_coherent",
            Self::SyncForCpu => "dma_sync for the CPU",
            Self::SyncForDevice => "dma_sync for the device",
            Self::Queue => "vb2_buf_queue",
            Self::Done => "vb2_buf_done",
            Self::PoolLend => "the pool lends",
            Self::PoolReturn => "the pool gets back",
            Self::BlockAlloc => "dma_pool_alloc",
            Self::BlockFree => "dma_pool_free",
        }
    }
}

/// What kind of memory was lent, as far as it must not be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Memory {
    /// Ordinary.
    #[default]
    Plain,
    /// The kernel's text or read-only data.
    Text,
    /// A stack.
    Stack,
    /// No RAM behind it: vmalloc space, or nothing at all.
    Invalid,
}

/// A call of the driver's, as the witness saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverCall {
    /// Which.
    pub call: Call,
    /// Number of the event, from 0 without gaps.
    pub number: u64,
    /// First bus address.
    pub address: u64,
    /// CPU physical address of the first byte; all-ones: not told.
    pub phys: u64,
    /// Bytes, as the caller gave them.
    pub length: u64,
    /// Which way, as the caller gave it; both for coherent memory.
    pub direction: crate::ledger::LendDirection,
    /// Entries of the scatterlist, as the caller gave them; 0: none.
    pub entries: u32,
    /// Which segment of the list this is, from 0.
    pub part: u32,
    /// Which list: number of the event that told its first segment.
    #[serde(default)]
    pub list: Option<u64>,
    /// What kind of memory.
    pub memory: Memory,
    /// CPU and device see each other's bytes only through syncs: a bounce buffer is between them.
    pub bounced: bool,
    /// The caller asked for no sync with this call (`DMA_ATTR_SKIP_CPU_SYNC`).
    #[serde(default)]
    pub skip_sync: bool,
    /// It is the memory behind a `dma_pool`: only the blocks in it are lent.
    #[serde(default)]
    pub backing: bool,
    /// Where in the guest's kernel it was called, see [`Kind::Symbol`]; 0: not known.
    pub caller: u64,
    /// The guest's CPU.
    pub cpu: u16,
    /// The guest's monotonic clock, nanoseconds.
    pub guest_ns: u64,
}

/// Where a driver is in its life with a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriverState {
    /// Its probe is about to run.
    Binding,
    /// Its probe was content.
    Bound,
    /// Its probe refused.
    NotBound,
    /// Its remove is about to run.
    Unbinding,
    /// Its remove is over: nothing may be lent any more.
    Unbound,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
        };
        let kinds = [
            register(name("QUEUE", None)),
            register(name("SLOT_SIZE", Some(31))),
            Kind::JobBegun {
                job: 1,
                slot: 2,
                sequence: 3,
                base: u64::MAX,
                size: 5,
                register_write: None,
            },
            Kind::Reset {
                reset: Reset::FunctionLevel,
            },
            Kind::Connected,
            Kind::Call(DriverCall {
                call: Call::Map,
                number: 1,
                address: 0x1000,
                phys: u64::MAX,
                length: 64,
                direction: crate::ledger::LendDirection::Both,
                entries: 0,
                part: 0,
                list: Some(1),
                memory: Memory::Plain,
                bounced: true,
                skip_sync: true,
                backing: false,
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
