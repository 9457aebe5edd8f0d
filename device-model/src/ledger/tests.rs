// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;
use crate::contract::{DmaError, IdleScope, Label, Limits, Owed, Piece, QueueId, Reset, Vector};
use crate::journal::{Bytes, LendDirection, Outcome};

const BASE: u64 = 0x1_4000_0000;
const SIZE: u64 = 0x10_0000;

fn frame(slot: u32, address: u64) -> Lend {
    Lend {
        address,
        length: SIZE,
        direction: LendDirection::FromDevice,
        kind: LendKind::Frame,
        slot: Some(slot),
        label: format!("buffer {slot}"),
    }
}

/// Feeds a ledger with entries, numbered as a journal would.
struct Story {
    ledger: Ledger,
    sequence: u64,
}

impl Story {
    fn new() -> Self {
        let mut ledger = Ledger::new(Platform {
            ram: vec![Range {
                start: 0,
                length: 8 << 30,
            }],
            pool: vec![Range {
                start: BASE,
                length: 64 * SIZE,
            }],
            ..Platform::default()
        });
        ledger.lend(frame(0, BASE));
        ledger.lend(frame(1, BASE + 2 * SIZE));
        let story = Self {
            ledger,
            sequence: 0,
        };
        story.then(Kind::Declares(Declares {
            limits: Limits {
                address_bits: 64,
                ..Limits::default()
            },
            jobs: true,
            handover: true,
            interrupts: true,
            masks: true,
            idle: IdleScope::Device,
        }))
    }

    fn tells(self, what: Declaration) -> Self {
        let register_write = None;
        self.then(Kind::Declared {
            register_write,
            what,
        })
    }

    /// The driver hands a slot over, and the card takes it as a job.
    fn accepted(self, slot: u32, job: u64) -> Self {
        let name = RegisterName {
            name: "QUEUE".into(),
            index: None,
        };
        let register_write = Some(self.sequence);
        self.then(Kind::Register {
            bar: 0,
            offset: 0x30,
            name,
            value: slot.into(),
            width: 4,
        })
        .then(Kind::Declared {
            register_write,
            what: Declaration::Accepted {
                job: JobId(job),
                queue: QueueId::default(),
                label: Label::slot(slot),
                pieces: vec![Piece::write(BASE + u64::from(slot) * 2 * SIZE, SIZE)],
            },
        })
    }

    fn idle(self) -> Self {
        self.tells(Declaration::Idle { queue: None })
    }

    fn then(mut self, kind: Kind) -> Self {
        let (sequence, time_ns) = (self.sequence, self.sequence * 1000);
        self.ledger.entry(&Entry {
            sequence,
            time_ns,
            kind,
        });
        self.sequence += 1;
        self
    }

    /// The driver queues slot 0 and the card begins job 0.
    fn begun(self) -> Self {
        self.accepted(0, 0).tells(Declaration::Begun {
            job: JobId(0),
            queue: QueueId::default(),
            label: Label::slot(0).frame(40),
            pieces: vec![Piece::write(BASE, SIZE)],
        })
    }

    fn access(self, direction: Direction, address: u64, length: u64, outcome: Outcome) -> Self {
        self.then(Kind::Access {
            direction,
            address,
            length,
            slot: None,
            job: Some(JobId(0)),
            role: Role::Payload,
            outcome,
            bytes: Bytes::default(),
        })
    }

    /// A write for slot 0, and for no job of it.
    fn stray(self, address: u64, length: u64) -> Self {
        self.then(Kind::Access {
            direction: Direction::Write,
            address,
            length,
            slot: Some(0),
            job: None,
            role: Role::Payload,
            outcome: Outcome::Ok,
            bytes: Bytes::default(),
        })
    }

    fn writes(self, address: u64, length: u64) -> Self {
        self.access(Direction::Write, address, length, Outcome::Ok)
    }

    fn done(self) -> Self {
        self.reports(SIZE).then(Kind::Interrupt { vector: 0 })
    }

    fn reports(self, bytes: u64) -> Self {
        let owed = Some(Owed::now(Vector(0)));
        self.tells(Declaration::done(JobId(0), bytes, owed))
    }

    fn taken_back(self) -> Self {
        self.tells(Declaration::Released { job: JobId(0) })
    }

    fn classes(self) -> Vec<(Option<u8>, String)> {
        let judged = self.ledger.finish();
        assert_eq!(judged.not_judged, [] as [&str; 0]);
        let found = judged.violations.iter();
        let named = |found: &Violation| (found.class.map(Class::number), found.name.to_string());
        found.map(named).collect()
    }

    fn only(self) -> Violation {
        let mut violations = self.ledger.finish().violations;
        assert_eq!(violations.len(), 1, "{violations:#?}");
        violations.remove(0)
    }

    fn is(self, class: u8) {
        let found = self.only();
        assert_eq!(found.class.map(Class::number), Some(class), "{found:#?}");
    }
}

#[test]
fn clean_run_is_clean() {
    let story = Story::new()
        .begun()
        .writes(BASE, SIZE / 2)
        .writes(BASE + SIZE / 2, SIZE / 2);
    assert_eq!(story.done().taken_back().idle().classes(), []);
}

#[test]
fn one_byte_too_many_is_an_overrun() {
    let found = Story::new()
        .begun()
        .writes(BASE, SIZE)
        .writes(BASE + SIZE, 1)
        .done()
        .only();
    assert_eq!(
        (found.class, found.address, found.length),
        (Class::of(1), BASE + SIZE, 1)
    );
    assert_eq!(
        (found.frame, found.slot, found.job),
        (Some(40), Some(0), Some(JobId(0)))
    );
    let write = found.register_write.expect("the write to QUEUE");
    assert_eq!(
        (write.sequence, write.offset, write.name.as_str()),
        (1, 0x30, "QUEUE")
    );
    assert_eq!(found.lend.map(|lend| lend.distance), Some(0));
}

#[test]
fn displaced_transfer_names_its_displacement() {
    let half = SIZE / 2;
    let story = Story::new()
        .begun()
        .writes(BASE + 4096, half)
        .writes(BASE + 4096 + half, half);
    let found = story.done().only();
    assert_eq!(
        (found.class, found.address, found.length),
        (Class::of(1), BASE + SIZE, 4096)
    );
    assert!(found.text.contains("+4096"), "{}", found.text);
}

#[test]
fn low_half_of_an_address_is_a_truncation_whether_refused_or_not() {
    for outcome in [Outcome::Ok, Outcome::Refused(DmaError::Unmapped)] {
        let low = BASE & 0xffff_ffff;
        let mut story = Story::new().begun();
        for piece in 0..4 {
            story = story.access(Direction::Write, low + piece * SIZE / 4, SIZE / 4, outcome);
        }
        let result = if outcome.is_ok() { story.done() } else { story };
        let found = result.only();
        assert_eq!(
            (found.class, found.address, found.length),
            (Class::of(2), low, SIZE)
        );
        assert_eq!(found.accesses, 4);
    }
}

#[test]
fn other_widths_are_class_3() {
    let found = Story::new().begun().writes(BASE & 0xff_ffff, 64).only();
    assert_eq!(found.class, Class::of(3));
    let mut story = Story::new();
    story.ledger.declares.limits.address_bits = 32;
    let found = story.begun().writes(BASE, 64).only();
    assert_eq!(
        (found.class, found.name.as_ref()),
        (Class::of(3), "truncated address")
    );
}

#[test]
fn write_after_stop_is_class_20_also_into_a_slot_queued_again() {
    let stopped = || {
        let story = Story::new().begun().writes(BASE, SIZE).done().taken_back();
        story.idle()
    };
    stopped().writes(BASE, 64).is(20);
    let again = stopped().accepted(0, 1);
    again.writes(BASE, 64).is(20);
    let mut reclaimed = stopped();
    reclaimed.ledger.reclaim();
    let found = reclaimed.writes(BASE, 64).only();
    assert_eq!(
        (found.class, found.lend.map(|l| l.address)),
        (Class::of(20), Some(BASE))
    );
}

#[test]
fn write_after_reset_is_class_20() {
    let reset = Kind::Reset {
        reset: Reset::FunctionLevel,
    };
    let story = Story::new().begun().writes(BASE, SIZE).done().then(reset);
    story.writes(BASE, 64).is(20);
}

#[test]
fn write_to_a_slot_taken_back_is_stale() {
    let taken = || Story::new().begun().writes(BASE, SIZE).done().taken_back();
    taken().stray(BASE + 8, 8).is(7);
    taken().writes(BASE + 8, 8).is(41); // the card itself says for which job
}

#[test]
fn write_after_done_is_class_41_while_the_slot_is_still_the_cards() {
    let story = Story::new().begun().writes(BASE, SIZE).done();
    story.writes(BASE + 8, 8).is(41);
}

#[test]
fn fewer_bytes_than_reported_is_a_short_transfer() {
    let story = Story::new().begun().writes(BASE, SIZE / 2).done();
    let found = story.only();
    assert_eq!(
        (found.class, found.address, found.length),
        (Class::of(56), BASE + SIZE / 2, SIZE / 2)
    );
}

#[test]
fn completion_without_its_interrupt_is_lost() {
    let lost = || Story::new().begun().writes(BASE, SIZE).reports(SIZE);
    lost().is(43);
    assert_eq!(lost().then(Kind::InterruptHeld { vector: 0 }).classes(), []);
    let later = lost().idle().then(Kind::Interrupt { vector: 0 });
    assert_eq!(
        later.only().class,
        Class::of(43),
        "the interrupt of idle is another's"
    );
}

#[test]
fn read_of_a_frame_is_the_wrong_direction() {
    let story = Story::new()
        .begun()
        .access(Direction::Read, BASE, 64, Outcome::Ok);
    story.is(39);
}

#[test]
fn access_without_bus_mastering_is_class_22() {
    let refused = Outcome::Refused(DmaError::NotMaster);
    let story = Story::new()
        .begun()
        .access(Direction::Write, BASE, 64, refused);
    story.is(22);
}

#[test]
fn anything_else_is_named_in_words() {
    let wild = Story::new().begun().writes(0x2000_5000, 64);
    assert_eq!(wild.classes(), [(None, "wild access".to_owned())]);
    let other = Story::new().begun().writes(BASE + 2 * SIZE, 64);
    assert_eq!(other.classes(), [(None, "not queued".to_owned())]);
    let refused = Outcome::Refused(DmaError::Unmapped);
    let unmapped = Story::new()
        .begun()
        .access(Direction::Write, BASE, 64, refused);
    assert_eq!(unmapped.classes(), [(None, "lend not mapped".to_owned())]);
}

#[test]
fn self_test_is_always_lent_and_both_ways_are_checked() {
    let mut story = Story::new();
    story.ledger.lend(Lend {
        address: 0x9000,
        length: 16,
        direction: LendDirection::Both,
        kind: LendKind::SelfTest,
        slot: None,
        label: "self-test".to_owned(),
    });
    story.ledger.reclaim();
    let (slot, job, outcome) = (None, None, Outcome::Ok);
    let access = |direction, address, length| Kind::Access {
        direction,
        address,
        length,
        slot,
        job,
        role: Role::Payload,
        outcome,
        bytes: Bytes::default(),
    };
    let story =
        story
            .then(access(Direction::Read, 0x9000, 8))
            .then(access(Direction::Write, 0x9008, 8));
    let found = story.then(access(Direction::Write, 0x900c, 8)).only();
    assert_eq!(
        (found.class, found.address, found.length),
        (Class::of(1), 0x9010, 4)
    );
}

#[test]
fn lend_outside_the_pool_or_ram_and_a_gap_in_the_journal_are_told() {
    let mut story = Story::new();
    story.ledger.lend(frame(2, 0x1000));
    story.ledger.lend(frame(3, 16 << 30));
    story.sequence = 5;
    let story = story.then(Kind::Connected);
    let mut story = Story {
        sequence: 9,
        ..story
    };
    story = story.then(Kind::Connected);
    let judged = story.ledger.finish();
    let names: Vec<_> = judged.violations.iter().map(|found| &found.name).collect();
    assert_eq!(names, ["lent outside the pool", "lent outside RAM"]);
    let gaps = [5, 9].map(|number| format!("the journal lacks entries before number {number}"));
    assert_eq!(judged.not_judged, gaps);
}

/// Its accesses may be among the entries that are missing.
#[test]
fn what_a_job_moved_in_a_gap_is_not_judged() {
    let reports = |missing: u64| {
        let begun = Story::new().begun();
        let sequence = begun.sequence + missing;
        let story = Story { sequence, ..begun }.reports(SIZE);
        story.ledger.finish().violations.len()
    };
    assert_ne!(reports(0), 0);
    assert_eq!(reports(7), 0);
}

proptest::proptest! {
    /// Whatever a card writes for slot 0 is clean exactly if it lies inside slot 0's range.
    #[test]
    fn exactly_the_accesses_inside_are_clean(offset in -0x3000i64..0x10_3000, length in 1u64..0x3000) {
        let address = BASE.wrapping_add_signed(offset);
        let story = Story::new().begun().writes(address, length);
        let inside = offset >= 0 && offset as u64 + length <= SIZE;
        proptest::prop_assert_eq!(story.classes().is_empty(), inside);
    }
}
