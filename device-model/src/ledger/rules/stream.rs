// SPDX-License-Identifier: MIT OR Apache-2.0

//! Hand-written streams of entries, for the tests of the rules.

use super::super::{Ledger, LendDirection, Platform, Violation};
use crate::dma::DmaError;
use crate::dma::journal::{Call, Direction, DriverCall, DriverState, Entry, Kind, Memory, Outcome};
use crate::function::RegisterName;

pub(super) use LendDirection::{Both, FromDevice, ToDevice};

/// A frame of 64x32 pixels, YUYV.
pub(super) const SIZE: u64 = 4096;
/// Where the frames of slots 0 and 1 are, above 4 GiB, with a page between them.
pub(super) const FRAME: [u64; 2] = [0x1_4000_0000, 0x1_4000_2000];

/// A journal that is being told; every step appends to it.
#[derive(Clone, Default)]
pub(super) struct Stream {
    pub(super) platform: Platform,
    entries: Vec<Entry>,
    number: u64,
    jobs: u64,
}

pub(super) fn call(call: Call, address: u64, length: u64, direction: LendDirection) -> DriverCall {
    DriverCall {
        call,
        number: 0,
        address,
        phys: address,
        length,
        direction,
        entries: 0,
        part: 0,
        list: None,
        memory: Memory::Plain,
        bounced: false,
        skip_sync: false,
        backing: false,
        caller: 0xffff_ffff_c000_1000,
        cpu: 0,
        guest_ns: 0,
    }
}

impl Stream {
    /// The witness is attached and a driver binds: the card decodes and may master the bus.
    pub(super) fn binding() -> Self {
        Self::default()
            .kind(Kind::Attached {
                text_start: 0x100_0000,
                text_end: 0x200_0000,
            })
            .kind(Kind::Symbol {
                address: 0xffff_ffff_c000_1000,
                name: "drv_probe+0x12/0x34 [drv]".to_owned(),
            })
            .state(DriverState::Binding)
            .kind(Kind::Decoding { on: true })
            .kind(Kind::BusMaster { on: true })
            .kind(Kind::FirstRead { bar: 0, offset: 0 })
    }

    /// It is bound, has lent two frames, and enabled its interrupt.
    pub(super) fn bound() -> Self {
        let frame = |slot: usize| call(Call::Map, FRAME[slot], SIZE, FromDevice);
        Self::binding().with_frames([frame(0), frame(1)])
    }

    /// The same with these lends.
    pub(super) fn with_frames(self, frames: [DriverCall; 2]) -> Self {
        let [first, second] = frames;
        self.call(first)
            .call(second)
            .state(DriverState::Bound)
            .register("STRIDE", 128)
            .register("IRQ_ENABLE", 1)
    }

    pub(super) fn kind(mut self, kind: Kind) -> Self {
        let sequence = self.entries.len() as u64;
        self.entries.push(Entry {
            sequence,
            time_ns: sequence * 1000,
            kind,
        });
        self
    }

    pub(super) fn call(mut self, mut call: DriverCall) -> Self {
        call.number = self.number;
        call.guest_ns = self.number * 100;
        self.number += 1;
        self.kind(Kind::Call(call))
    }

    pub(super) fn state(self, state: DriverState) -> Self {
        let driver = "drv".to_owned();
        self.kind(Kind::Driver { driver, state })
    }

    pub(super) fn map(self, address: u64, length: u64, direction: LendDirection) -> Self {
        self.call(call(Call::Map, address, length, direction))
    }

    pub(super) fn unmap(self, address: u64, length: u64, direction: LendDirection) -> Self {
        self.call(call(Call::Unmap, address, length, direction))
    }

    pub(super) fn alloc(self, address: u64, length: u64) -> Self {
        self.call(call(Call::Alloc, address, length, Both))
    }

    pub(super) fn free(self, address: u64, length: u64) -> Self {
        self.call(call(Call::Free, address, length, Both))
    }

    /// A call for each segment of a list of so many entries.
    pub(super) fn list(mut self, which: Call, segments: &[(u64, u64)], entries: u32) -> Self {
        for (part, &(address, length)) in (0..).zip(segments) {
            self = self.call(DriverCall {
                entries,
                part,
                ..call(which, address, length, FromDevice)
            });
        }
        self
    }

    pub(super) fn register(self, name: &'static str, value: u32) -> Self {
        self.named(name, None, value)
    }

    /// A write to one of an array of registers.
    pub(super) fn indexed(self, name: &'static str, index: usize, value: u32) -> Self {
        self.named(name, Some(index), value)
    }

    fn named(self, name: &'static str, index: Option<usize>, value: u32) -> Self {
        let name = RegisterName {
            name: name.into(),
            index,
        };
        let (bar, offset) = (0, 0x30);
        self.kind(Kind::Register {
            bar,
            offset,
            name,
            value,
        })
    }

    pub(super) fn queue(self, slot: u8) -> Self {
        let register_write = Some(self.entries.len() as u64);
        self.register("QUEUE", slot.into()).kind(Kind::Queued {
            slot,
            register_write,
        })
    }

    /// The next job begins.
    pub(super) fn begins(mut self, slot: u8, base: u64, size: u64) -> Self {
        let job = self.jobs;
        self.jobs += 1;
        self.kind(Kind::JobBegun {
            job,
            slot,
            sequence: job as u32,
            base,
            size,
            register_write: None,
        })
    }

    /// A slot is queued, and its job begins.
    pub(super) fn starts(self, slot: u8) -> Self {
        self.queue(slot)
            .begins(slot, FRAME[usize::from(slot)], SIZE)
    }

    /// An access for the last job that began.
    pub(super) fn access(
        self,
        direction: Direction,
        address: u64,
        length: u64,
        outcome: Outcome,
    ) -> Self {
        let job = self.jobs.checked_sub(1);
        self.untagged(direction, address, length, outcome, job)
    }

    pub(super) fn untagged(
        self,
        direction: Direction,
        address: u64,
        length: u64,
        outcome: Outcome,
        job: Option<u64>,
    ) -> Self {
        self.kind(Kind::Access {
            direction,
            address,
            length,
            slot: None,
            job,
            outcome,
        })
    }

    pub(super) fn writes(self, address: u64, length: u64) -> Self {
        self.access(Direction::Write, address, length, Outcome::Ok)
    }

    /// A write of 64 bytes on nobody's behalf.
    pub(super) fn untagged_write(self, address: u64) -> Self {
        self.untagged(Direction::Write, address, 64, Outcome::Ok, None)
    }

    pub(super) fn reads(self, address: u64, length: u64) -> Self {
        self.access(Direction::Read, address, length, Outcome::Ok)
    }

    pub(super) fn refused(self, address: u64, why: DmaError) -> Self {
        self.access(Direction::Write, address, 64, Outcome::Refused(why))
    }

    /// The last job is reported as complete, with an interrupt to follow.
    pub(super) fn reports(self, slot: u8, bytes: u64) -> Self {
        let job = self.jobs.saturating_sub(1);
        self.kind(Kind::JobDone {
            job,
            slot,
            result: 0,
            bytes,
            interrupt_enabled: true,
        })
    }

    pub(super) fn interrupts(self) -> Self {
        self.kind(Kind::Interrupt { vector: 0 })
    }

    /// The last job is complete.
    pub(super) fn completes(self, slot: u8) -> Self {
        self.reports(slot, SIZE).interrupts()
    }

    pub(super) fn taken_back(self, slot: u8) -> Self {
        let (slots, register_write) = (1 << slot, None);
        self.register("DONE", slots).kind(Kind::TakenBack {
            slots,
            register_write,
        })
    }

    /// One frame into a slot, from the beginning to the end.
    pub(super) fn captures(self, slot: u8) -> Self {
        self.starts(slot)
            .writes(FRAME[usize::from(slot)], SIZE)
            .completes(slot)
            .taken_back(slot)
    }

    pub(super) fn stops(self) -> Self {
        let register_write = Some(self.entries.len() as u64);
        self.register("CONTROL", 0)
            .kind(Kind::Stopping { register_write })
            .kind(Kind::Idle { register_write })
            .register("IRQ_ENABLE", 0)
    }

    /// Both frames are unmapped.
    pub(super) fn unmaps(self) -> Self {
        self.unmap(FRAME[0], SIZE, FromDevice)
            .unmap(FRAME[1], SIZE, FromDevice)
    }

    /// The driver is removed, and does it right.
    pub(super) fn unbinds(self) -> Self {
        self.state(DriverState::Unbinding)
            .stops()
            .unmaps()
            .kind(Kind::BusMaster { on: false })
            .state(DriverState::Unbound)
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What the ledger says; the same if the journal was written to a file in between.
    pub(super) fn verdict(&self) -> Vec<Violation> {
        let mut online = Ledger::new(self.platform.clone());
        let mut offline = Ledger::new(self.platform.clone());
        for entry in &self.entries {
            online.entry(entry);
            let text = serde_json::to_string(entry).expect("an entry serializes");
            offline.entry(&serde_json::from_str(&text).expect("and comes back"));
        }
        let (online, offline) = (online.finish(), offline.finish());
        assert_eq!(online, offline);
        let text = serde_json::to_string(&online).expect("violations serialize");
        let back: Vec<Violation> = serde_json::from_str(&text).expect("and come back");
        assert_eq!(back, online);
        online
    }

    pub(super) fn classes(&self) -> Vec<Option<u8>> {
        self.verdict().iter().map(|found| found.class).collect()
    }

    /// Asserts that nothing is wrong.
    #[track_caller]
    pub(super) fn is_clean(&self) {
        assert_eq!(self.verdict(), []);
    }

    /// Asserts that the class is named, once and alone.
    #[track_caller]
    pub(super) fn is(&self, class: u8) -> Violation {
        let mut found = self.verdict();
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_eq!(found[0].class, Some(class), "{found:#?}");
        found.remove(0)
    }
}
