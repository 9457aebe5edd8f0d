// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;
use crate::contract::DmaError;
use crate::contract::{RegisterName, Reset};
use crate::journal::Outcome;

const BASE: u64 = 0x1_4000_0000;
const SIZE: u64 = 0x10_0000;

fn frame(slot: u8, address: u64) -> Lend {
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
            address_bits: 64,
            ..Platform::default()
        });
        ledger.lend(frame(0, BASE));
        ledger.lend(frame(1, BASE + 2 * SIZE));
        Self {
            ledger,
            sequence: 0,
        }
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
        let name = RegisterName {
            name: "QUEUE".into(),
            index: None,
        };
        let register_write = Some(self.sequence);
        self.then(Kind::Register {
            bar: 0,
            offset: 0x30,
            name,
            value: 0,
        })
        .then(Kind::Queued {
            slot: 0,
            register_write,
        })
        .then(Kind::JobBegun {
            job: 0,
            slot: 0,
            sequence: 40,
            base: BASE,
            size: SIZE,
            register_write,
        })
    }

    fn access(self, direction: Direction, address: u64, length: u64, outcome: Outcome) -> Self {
        let (slot, job) = (Some(0), Some(0));
        self.then(Kind::Access {
            direction,
            address,
            length,
            slot,
            job,
            outcome,
        })
    }

    fn writes(self, address: u64, length: u64) -> Self {
        self.access(Direction::Write, address, length, Outcome::Ok)
    }

    fn done(self) -> Self {
        self.reports(SIZE).then(Kind::Interrupt { vector: 0 })
    }

    fn reports(self, bytes: u64) -> Self {
        self.then(Kind::JobDone {
            job: 0,
            slot: 0,
            result: 0,
            bytes,
            interrupt_enabled: true,
        })
    }

    fn taken_back(self) -> Self {
        self.then(Kind::TakenBack {
            slots: 1,
            register_write: None,
        })
    }

    fn classes(self) -> Vec<(Option<u8>, String)> {
        self.ledger
            .finish()
            .iter()
            .map(|v| (v.class, v.name.to_string()))
            .collect()
    }

    fn only(self) -> Violation {
        let mut violations = self.ledger.finish();
        assert_eq!(violations.len(), 1, "{violations:#?}");
        violations.remove(0)
    }
}

#[test]
fn clean_run_is_clean() {
    let story = Story::new()
        .begun()
        .writes(BASE, SIZE / 2)
        .writes(BASE + SIZE / 2, SIZE / 2);
    assert_eq!(
        story
            .done()
            .taken_back()
            .then(Kind::Idle {
                register_write: None
            })
            .classes(),
        []
    );
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
        (Some(1), BASE + SIZE, 1)
    );
    assert_eq!(
        (found.frame, found.slot, found.job),
        (Some(40), Some(0), Some(0))
    );
    let write = found.register_write.expect("the write to QUEUE");
    assert_eq!(
        (write.sequence, write.offset, write.name.as_str()),
        (0, 0x30, "QUEUE")
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
        (Some(1), BASE + SIZE, 4096)
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
            (Some(2), low, SIZE)
        );
        assert_eq!(found.accesses, 4);
    }
}

#[test]
fn other_widths_are_class_3() {
    let found = Story::new().begun().writes(BASE & 0xff_ffff, 64).only();
    assert_eq!(found.class, Some(3));
    let mut story = Story::new();
    story.ledger.platform.address_bits = 32;
    let found = story.begun().writes(BASE, 64).only();
    assert_eq!(
        (found.class, found.name.as_ref()),
        (Some(3), "beyond the address width")
    );
}

#[test]
fn write_after_stop_is_class_20_also_into_a_slot_queued_again() {
    let stopped = || {
        let story = Story::new().begun().writes(BASE, SIZE).done().taken_back();
        story.then(Kind::Idle {
            register_write: None,
        })
    };
    assert_eq!(stopped().writes(BASE, 64).only().class, Some(20));
    let again = stopped().then(Kind::Queued {
        slot: 0,
        register_write: None,
    });
    assert_eq!(again.writes(BASE, 64).only().class, Some(20));
    let mut reclaimed = stopped();
    reclaimed.ledger.reclaim();
    let found = reclaimed.writes(BASE, 64).only();
    assert_eq!(
        (found.class, found.lend.map(|l| l.address)),
        (Some(20), Some(BASE))
    );
}

#[test]
fn write_after_reset_is_class_20() {
    let reset = Kind::Reset {
        reset: Reset::FunctionLevel,
    };
    let story = Story::new().begun().writes(BASE, SIZE).done().then(reset);
    assert_eq!(story.writes(BASE, 64).only().class, Some(20));
}

#[test]
fn write_to_a_slot_taken_back_is_stale() {
    let story = Story::new().begun().writes(BASE, SIZE).done().taken_back();
    assert_eq!(story.writes(BASE + 8, 8).only().class, Some(7));
}

#[test]
fn write_after_done_is_class_41_while_the_slot_is_still_the_cards() {
    let story = Story::new().begun().writes(BASE, SIZE).done();
    assert_eq!(story.writes(BASE + 8, 8).only().class, Some(41));
}

#[test]
fn fewer_bytes_than_reported_is_a_short_transfer() {
    let story = Story::new().begun().writes(BASE, SIZE / 2).done();
    let found = story.only();
    assert_eq!(
        (found.class, found.address, found.length),
        (Some(56), BASE + SIZE / 2, SIZE / 2)
    );
}

#[test]
fn completion_without_its_interrupt_is_lost() {
    let lost = || Story::new().begun().writes(BASE, SIZE).reports(SIZE);
    assert_eq!(lost().only().class, Some(43));
    assert_eq!(lost().then(Kind::InterruptHeld { vector: 0 }).classes(), []);
    let later = lost()
        .then(Kind::Idle {
            register_write: None,
        })
        .then(Kind::Interrupt { vector: 0 });
    assert_eq!(
        later.only().class,
        Some(43),
        "the interrupt of idle is another's"
    );
}

#[test]
fn read_of_a_frame_is_the_wrong_direction() {
    let story = Story::new()
        .begun()
        .access(Direction::Read, BASE, 64, Outcome::Ok);
    assert_eq!(story.only().class, Some(39));
}

#[test]
fn access_without_bus_mastering_is_class_22() {
    let refused = Outcome::Refused(DmaError::NotMaster);
    let story = Story::new()
        .begun()
        .access(Direction::Write, BASE, 64, refused);
    assert_eq!(story.only().class, Some(22));
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
        outcome,
    };
    let story =
        story
            .then(access(Direction::Read, 0x9000, 8))
            .then(access(Direction::Write, 0x9008, 8));
    let found = story.then(access(Direction::Write, 0x900c, 8)).only();
    assert_eq!(
        (found.class, found.address, found.length),
        (Some(1), 0x9010, 4)
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
    let names: Vec<_> = story.classes().into_iter().map(|(_, name)| name).collect();
    assert_eq!(
        names,
        [
            "lent outside the pool",
            "lent outside RAM",
            "journal incomplete"
        ]
    );
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

    /// No order of entries makes the ledger panic.
    #[test]
    fn any_journal_is_taken(
        steps in proptest::collection::vec((0u8..9, proptest::num::u64::ANY, proptest::num::u64::ANY), 0..60),
    ) {
        let mut story = Story::new();
        for (what, a, b) in steps {
            let (job, slot) = (a % 4, (a >> 8) as u8);
            story = story.then(match what {
                0 => Kind::Queued { slot, register_write: Some(b) },
                1 => Kind::TakenBack { slots: b as u32, register_write: None },
                2 => Kind::JobBegun { job, slot, sequence: 0, base: b, size: a, register_write: None },
                3 => Kind::JobDone { job, slot, result: 0, bytes: b, interrupt_enabled: true },
                4 => Kind::Idle { register_write: None },
                5 => Kind::Interrupt { vector: 0 },
                _ => Kind::Access {
                    direction: if what == 6 { Direction::Read } else { Direction::Write },
                    address: a, length: b, slot: Some(slot % 2), job: Some(job), outcome: Outcome::Ok,
                },
            });
        }
        let _ = story.ledger.finish();
    }
}
