// SPDX-License-Identifier: MIT OR Apache-2.0

//! Hand-written streams of entries, for the tests of the rules.

use std::collections::BTreeMap;

use super::super::{Class, Judgement, Ledger, Platform, Violation};
use crate::contract::{
    Declaration, Declares, Direction, DmaError, IdleScope, JobId, Label, Limits, Owed, Piece,
    QueueId, RegisterName, Role, Vector,
};
use crate::journal::{
    Bytes, Call, DriverCall, DriverState, Entry, Kind, LendDirection, Memory, Outcome,
};

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
    /// The job that began last.
    last: Option<JobId>,
    /// The last job of each slot, and whether it has begun.
    slots: BTreeMap<u32, (JobId, bool)>,
    /// Added to the time of all further entries.
    later_ns: u64,
}

/// A card that tells all that there is to be told.
pub(in super::super) fn everything() -> Declares {
    Declares {
        limits: Limits::default(),
        jobs: true,
        handover: true,
        interrupts: true,
        masks: true,
        idle: IdleScope::Queue,
    }
}

/// What a slot's frame is.
pub(super) fn frame(slot: u32) -> Vec<Piece> {
    vec![Piece::write(FRAME[slot as usize], SIZE)]
}

pub(in super::super) fn call(
    call: Call,
    address: u64,
    length: u64,
    direction: LendDirection,
) -> DriverCall {
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
    /// A card is plugged in that tells all.
    pub(super) fn plugged() -> Self {
        Self::default().kind(Kind::Declares(everything()))
    }

    /// The witness is attached and a driver binds: the card decodes and may master the bus.
    pub(super) fn binding() -> Self {
        Self::plugged()
            .kind(Kind::Attached {
                text_start: 0x100_0000,
                text_end: 0x200_0000,
                syncs: false,
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
            .enables()
    }

    /// The same stream of a card that declares something else.
    pub(super) fn declaring(mut self, change: impl Fn(&mut Declares)) -> Self {
        for entry in &mut self.entries {
            if let Kind::Declares(declares) = &mut entry.kind {
                change(declares);
            }
        }
        self
    }

    /// The same stream of a card that tells nothing of its own work.
    pub(super) fn untold(&self) -> Self {
        let mut silent = self.clone();
        for entry in &mut silent.entries {
            let (address, length) = (0, 0);
            match &mut entry.kind {
                Kind::Declares(declares) => *declares = Declares::default(),
                // Its number stays taken; of what the machine maps the ledger concludes nothing.
                kind @ Kind::Declared { .. } => *kind = Kind::BusUnmapped { address, length },
                _ => {}
            }
        }
        silent
    }

    /// The witness hears syncs of all memory.
    pub(super) fn hearing_syncs(mut self) -> Self {
        for entry in &mut self.entries {
            if let Kind::Attached { syncs, .. } = &mut entry.kind {
                *syncs = true;
            }
        }
        self
    }

    /// Nothing happens for so long.
    pub(super) fn waits(mut self, time: std::time::Duration) -> Self {
        self.later_ns += time.as_nanos() as u64;
        self
    }

    pub(super) fn kind(mut self, kind: Kind) -> Self {
        let sequence = self.entries.len() as u64;
        self.entries.push(Entry {
            sequence,
            time_ns: sequence * 1000 + self.later_ns,
            kind,
        });
        self
    }

    /// The card tells of its own work, and no register write led to it.
    pub(super) fn tells(self, what: Declaration) -> Self {
        let register_write = None;
        self.kind(Kind::Declared {
            register_write,
            what,
        })
    }

    /// The same, and the last entry is the register write that led to it.
    pub(super) fn answers(self, what: Declaration) -> Self {
        let register_write = (self.entries.len() as u64).checked_sub(1);
        self.kind(Kind::Declared {
            register_write,
            what,
        })
    }

    pub(in super::super) fn call(mut self, mut call: DriverCall) -> Self {
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
        let first = self.number;
        for (part, &(address, length)) in (0..).zip(segments) {
            self = self.call(DriverCall {
                entries,
                part,
                list: (which == Call::MapList).then_some(first),
                ..call(which, address, length, FromDevice)
            });
        }
        self
    }

    pub(super) fn register(self, name: &'static str, value: u32) -> Self {
        let name = RegisterName {
            name: name.into(),
            index: None,
        };
        let (bar, offset) = (0, 0x30);
        self.kind(Kind::Register {
            bar,
            offset,
            name,
            value: value.into(),
            width: 4,
        })
    }

    /// The driver enables interrupts.
    pub(super) fn enables(self) -> Self {
        self.register("IRQ_ENABLE", 1).masks(None, false)
    }

    /// The register write before it masked vectors, or unmasked them.
    pub(super) fn masks(self, vector: Option<u16>, masked: bool) -> Self {
        let vector = vector.map(Vector);
        self.answers(Declaration::Masked { vector, masked })
    }

    /// A frame is handed over.
    pub(super) fn queue(self, slot: u32) -> Self {
        self.accepts(slot, frame(slot))
    }

    /// A job is handed over in a slot.
    pub(super) fn accepts(mut self, slot: u32, pieces: Vec<Piece>) -> Self {
        let job = self.next_job();
        self.slots.insert(slot, (job, false));
        let label = Label::slot(slot);
        let queue = QueueId::default();
        self.register("QUEUE", slot).answers(Declaration::Accepted {
            job,
            queue,
            label,
            pieces,
        })
    }

    fn next_job(&mut self) -> JobId {
        let job = JobId(self.jobs);
        self.jobs += 1;
        job
    }

    /// The next job begins, with these bytes to write.
    pub(super) fn begins(self, slot: u32, base: u64, size: u64) -> Self {
        self.begins_with(slot, vec![Piece::write(base, size).of(128)])
    }

    /// The next job begins: what was handed over last in this slot, or one that was not told of before.
    pub(super) fn begins_with(mut self, slot: u32, pieces: Vec<Piece>) -> Self {
        let waiting = self.slots.get(&slot).filter(|(_, begun)| !begun);
        let job = match waiting {
            Some(&(job, _)) => job,
            None => self.next_job(),
        };
        self.slots.insert(slot, (job, true));
        self.last = Some(job);
        self.tells(Declaration::Begun {
            job,
            queue: QueueId::default(),
            label: Label::slot(slot).frame(job.0 as u32),
            pieces,
        })
    }

    /// A slot is queued, and its job begins.
    pub(super) fn starts(self, slot: u32) -> Self {
        self.queue(slot).begins(slot, FRAME[slot as usize], SIZE)
    }

    /// An access for the last job that began.
    pub(in super::super) fn access(
        self,
        direction: Direction,
        address: u64,
        length: u64,
        outcome: Outcome,
    ) -> Self {
        let job = self.last;
        self.kind(Kind::Access {
            direction,
            address,
            length,
            job,
            slot: None,
            role: Role::Payload,
            outcome,
            bytes: Bytes::default(),
        })
    }

    /// An access on nobody's behalf.
    pub(super) fn untagged(self, direction: Direction, address: u64, length: u64) -> Self {
        self.kind(access(direction, address, length, Role::Payload, &[]))
    }

    pub(super) fn writes(self, address: u64, length: u64) -> Self {
        self.access(Direction::Write, address, length, Outcome::Ok)
    }

    /// A write of 64 bytes on nobody's behalf.
    pub(super) fn untagged_write(self, address: u64) -> Self {
        self.untagged(Direction::Write, address, 64)
    }

    pub(super) fn reads(self, address: u64, length: u64) -> Self {
        self.access(Direction::Read, address, length, Outcome::Ok)
    }

    pub(super) fn refused(self, address: u64, why: DmaError) -> Self {
        self.access(Direction::Write, address, 64, Outcome::Refused(why))
    }

    /// The last job is reported as complete, with an interrupt to follow.
    pub(super) fn reports(self, bytes: u64) -> Self {
        self.reports_owing(bytes, Some(Owed::now(Vector(0))))
    }

    /// The last job is reported as complete.
    pub(super) fn reports_owing(self, moved: u64, owed: Option<Owed>) -> Self {
        let job = self.last.unwrap_or_default();
        self.tells(Declaration::done(job, moved, owed))
    }

    pub(super) fn interrupts(self) -> Self {
        self.raises(0)
    }

    pub(super) fn raises(self, vector: u16) -> Self {
        self.kind(Kind::Interrupt { vector })
    }

    /// The last job is complete.
    pub(super) fn completes(self) -> Self {
        self.reports(SIZE).interrupts()
    }

    /// The driver takes back the last job of a slot.
    pub(super) fn taken_back(self, slot: u32) -> Self {
        let (job, _) = self.slots.get(&slot).copied().unwrap_or_default();
        self.register("DONE", 1 << slot)
            .answers(Declaration::Released { job })
    }

    /// One frame into a slot, from the beginning to the end.
    pub(super) fn captures(self, slot: u32) -> Self {
        self.starts(slot)
            .writes(FRAME[slot as usize], SIZE)
            .completes()
            .taken_back(slot)
    }

    pub(super) fn stops(self) -> Self {
        let queue = None;
        self.register("CONTROL", 0)
            .answers(Declaration::Stopping { queue })
            .tells(Declaration::Idle { queue })
            .register("IRQ_ENABLE", 0)
            .masks(None, true)
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

    /// What the ledger says; the same if the journal was written to a file in between. Of a card that tells nothing of its
    /// own work it never says more, and nothing where it was content.
    pub(super) fn verdict(&self) -> Judgement {
        let told = self.judged();
        let untold = self.untold().judged();
        let accesses = |judged: &Judgement| {
            let violations = judged.violations.iter();
            violations.map(|found| found.accesses.max(1)).sum::<u64>()
        };
        assert!(
            accesses(&untold) <= accesses(&told) && untold.hints.len() <= told.hints.len(),
            "with less declared more is wrong: {untold:#?}, and not {told:#?}"
        );
        told
    }

    /// The same, whatever it tells.
    pub(super) fn judged(&self) -> Judgement {
        let mut online = Ledger::new(self.platform.clone());
        let mut offline = Ledger::new(self.platform.clone());
        for entry in &self.entries {
            online.entry(entry);
            let text = serde_json::to_string(entry).expect("an entry serializes");
            offline.entry(&serde_json::from_str(&text).expect("and comes back"));
        }
        let (online, offline) = (online.finish(), offline.finish());
        assert_eq!(online, offline);
        let text = serde_json::to_string(&online).expect("a judgement serializes");
        let back: Judgement = serde_json::from_str(&text).expect("and comes back");
        assert_eq!(back, online);
        online
    }

    pub(super) fn classes(&self) -> Vec<Option<u8>> {
        let found = self.verdict().violations;
        let number = |found: &Violation| found.class.map(Class::number);
        found.iter().map(number).collect()
    }

    /// Asserts that nothing is wrong, nor may be, and that all was judged.
    #[track_caller]
    pub(super) fn is_clean(&self) {
        let judged = self.verdict();
        assert_eq!(judged.violations, []);
        assert_eq!(judged.hints, []);
        assert_eq!(judged.not_judged, [] as [&str; 0]);
    }

    /// Asserts that the class is named, once and alone.
    #[track_caller]
    pub(super) fn is(&self, class: u8) -> Violation {
        let mut judged = self.verdict();
        assert_eq!(judged.violations.len(), 1, "{judged:#?}");
        assert_eq!(judged.hints, []);
        let found = judged.violations.remove(0);
        assert_eq!(found.class.map(Class::number), Some(class), "{found:#?}");
        found
    }

    /// Asserts that the class is a hint, alone, and that nothing is wrong.
    #[track_caller]
    pub(super) fn hints(&self, class: u8) -> Violation {
        let mut judged = self.verdict();
        assert_eq!(judged.violations, []);
        assert_eq!(judged.hints.len(), 1, "{judged:#?}");
        let hint = judged.hints.remove(0);
        assert_eq!(hint.class.map(Class::number), Some(class), "{hint:#?}");
        hint
    }

    /// Asserts that nothing is wrong because nobody could say what is right.
    #[track_caller]
    pub(super) fn is_not_judged(&self) {
        let judged = self.verdict();
        assert_eq!(judged.violations, []);
        assert!(!judged.not_judged.is_empty(), "{judged:#?}");
    }
}

/// A job begins, in a queue.
pub(in super::super) fn begun(job: u64, queue: u16, pieces: Vec<Piece>) -> Declaration {
    Declaration::Begun {
        job: JobId(job),
        queue: QueueId(queue),
        label: Label::default(),
        pieces,
    }
}

pub(in super::super) fn done(job: u64, moved: u64, owed: Option<Owed>) -> Declaration {
    Declaration::done(JobId(job), moved, owed)
}

/// A vector's interrupt that comes at once.
pub(in super::super) fn now(vector: u16) -> Option<Owed> {
    Some(Owed::now(Vector(vector)))
}

/// An access that takes place, for a job.
pub(in super::super) fn for_job(
    number: u64,
    direction: Direction,
    address: u64,
    length: u64,
    role: Role,
) -> Kind {
    let mut kind = access(direction, address, length, role, &[]);
    if let Kind::Access { job, .. } = &mut kind {
        *job = Some(JobId(number));
    }
    kind
}

/// An access that takes place, on nobody's behalf.
pub(in super::super) fn access(
    direction: Direction,
    address: u64,
    length: u64,
    role: Role,
    bytes: &[u8],
) -> Kind {
    Kind::Access {
        direction,
        address,
        length,
        job: None,
        slot: None,
        role,
        outcome: Outcome::Ok,
        bytes: Bytes::of(bytes),
    }
}
