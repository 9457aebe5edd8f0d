// SPDX-License-Identifier: MIT OR Apache-2.0

use super::super::stream::{FromDevice, Stream, ToDevice, call};
use crate::contract::Direction;
use crate::journal::{Call, CpuAccess, Kind, Outcome, Settled};

const AT: u64 = 0x5000;
const LENGTH: u64 = 512;
const PC: u64 = 0xffff_ffff_c000_2000;
/// Number of the event that mapped it.
const MAPPED: u64 = 2;

/// A driver has mapped a buffer besides its frames; event 2. An entry's time is a microsecond for each entry before it.
fn mapped(way: crate::journal::LendDirection) -> Stream {
    Stream::bound()
        .hearing_syncs()
        .named(PC, "memcpy+0x10/0x20")
        .named(PC + 0x100, "look+0x4/0x20 [drv]")
        .kind(Kind::CpuWatched)
        .map(AT, LENGTH, way)
}

fn load(us: u64) -> CpuAccess {
    CpuAccess {
        store: false,
        user: false,
        queued: false,
        gaps: false,
        pc: PC,
        address: AT + 16,
        length: 8,
        count: 3,
        cpu: 1,
        first_ns: us * 1000,
        last_ns: us * 1000,
        lend: AT,
        lend_number: MAPPED,
        after: MAPPED,
        settled: None,
        stack: vec![PC + 0x100],
    }
}

fn store(us: u64) -> CpuAccess {
    CpuAccess {
        store: true,
        ..load(us)
    }
}

impl Stream {
    fn cpu(self, access: CpuAccess) -> Self {
        self.kind(Kind::Cpu(access))
    }

    /// The time of the next entry, microseconds.
    fn now(&self) -> u64 {
        self.clone().entries().len() as u64
    }

    fn card(self, direction: Direction) -> Self {
        self.access(direction, AT, LENGTH, Outcome::Ok)
    }

    fn sync(self, which: Call, way: crate::journal::LendDirection) -> Self {
        self.call(call(which, AT, LENGTH, way))
    }

    fn named(self, address: u64, name: &str) -> Self {
        let name = name.to_owned();
        self.kind(Kind::Symbol { address, name })
    }
}

#[test]
fn a_load_before_the_card_wrote_is_61_and_one_after_that_37() {
    let early = mapped(FromDevice);
    let now = early.now();
    let found = early.cpu(load(now)).is(61);
    assert_eq!(found.accesses, 3);

    let wrote = mapped(FromDevice).card(Direction::Write);
    let now = wrote.now();
    let clone = wrote.clone();
    wrote.cpu(load(now)).is(37);
    // It was made before the card wrote, and told after.
    clone.cpu(load(now - 3)).is(61);
}

#[test]
fn what_was_not_synced_is_37_though_another_part_was() {
    let part = |which| call(which, AT, 16, FromDevice);
    let stream = mapped(FromDevice).card(Direction::Write);
    let now = stream.now();
    let beyond = CpuAccess {
        after: MAPPED + 1,
        ..load(now + 1)
    };
    stream
        .clone()
        .call(part(Call::SyncForCpu))
        .cpu(beyond.clone())
        .is(37);
    // It was given to the card again, which has not written it since.
    let again = stream.sync(Call::SyncForDevice, FromDevice);
    again.cpu(beyond).is(61);
}

#[test]
fn its_names_are_the_drivers_even_if_they_come_late() {
    let stream = mapped(FromDevice);
    let now = stream.now();
    let late = CpuAccess {
        stack: vec![PC + 0x200],
        ..load(now)
    };
    let late = stream.cpu(late).named(PC + 0x200, "look+0x4/0x20 [drv]");
    let found = late.is(61);
    assert!(
        found
            .text
            .ends_with(": memcpy+0x10/0x20, called from look+0x4/0x20 [drv]"),
        "{}",
        found.text
    );
    assert_eq!(
        found.title(),
        "cpu-reads by look [drv] at a streaming mapping"
    );
}

#[test]
fn a_store_matters_only_if_the_card_gets_at_the_bytes_before_they_change_hands() {
    let filled = mapped(ToDevice);
    let now = filled.now();
    let settled = |by| CpuAccess {
        settled: Some((Settled::ForDevice, by)),
        ..store(now)
    };
    // Filled, synced, read by the card; told before the sync and after it.
    let synced = |stream: Stream| stream.sync(Call::SyncForDevice, ToDevice);
    let after = synced(filled.clone()).cpu(settled(3)).card(Direction::Read);
    after.is_clean();
    let before = synced(filled.clone().cpu(settled(3))).card(Direction::Read);
    before.is_clean();
    synced(filled.clone())
        .card(Direction::Read)
        .cpu(settled(3))
        .is_clean();

    let reached = synced(filled.clone().card(Direction::Read));
    let found = reached.cpu(settled(3)).is(62);
    assert!(
        found.text.contains("which read those bytes"),
        "{}",
        found.text
    );
    let ended = CpuAccess {
        settled: Some((Settled::Ended, 3)),
        ..store(now)
    };
    let unmapped = filled
        .clone()
        .card(Direction::Read)
        .unmap(AT, LENGTH, ToDevice);
    unmapped.cpu(ended.clone()).is(62);
    filled
        .clone()
        .unmap(AT, LENGTH, ToDevice)
        .cpu(ended)
        .is_clean();
    // The card had read them before.
    let read = filled.card(Direction::Read);
    let later = store(read.now());
    read.cpu(later).is_clean();
}

#[test]
fn a_store_elsewhere_in_the_lend_is_nobodys_concern() {
    let stream = mapped(ToDevice);
    let aside = CpuAccess {
        address: AT + 256,
        ..store(stream.now())
    };
    let stream = stream.access(Direction::Read, AT, 256, Outcome::Ok);
    stream.clone().cpu(aside.clone()).is_clean();
    stream
        .access(Direction::Read, AT + 256, 8, Outcome::Ok)
        .cpu(aside)
        .is(62);
}

#[test]
fn user_space_is_to_blame_only_in_a_buffer_that_it_queued() {
    let stream = mapped(FromDevice);
    let user = CpuAccess {
        user: true,
        pc: 0x40_1000,
        ..load(stream.now())
    };
    let queued = CpuAccess {
        queued: true,
        ..user.clone()
    };
    stream.clone().cpu(user).hints(61);
    stream.cpu(queued).is(63);
}

#[test]
fn many_accesses_of_one_instruction_are_one_violation() {
    let stream = mapped(FromDevice).map(AT + 0x1000, LENGTH, FromDevice);
    let now = stream.now();
    let other = CpuAccess {
        lend: AT + 0x1000,
        address: AT + 0x1000,
        lend_number: MAPPED + 1,
        ..load(now)
    };
    let found = stream.cpu(load(now)).cpu(other).is(61);
    assert_eq!(found.accesses, 6);
}

#[test]
fn what_is_not_known_is_not_judged() {
    let stream = mapped(FromDevice);
    let now = stream.now();
    // No such lend; one of another address; and one whose turn was forgotten.
    let strange = CpuAccess {
        lend_number: 99,
        ..load(now)
    };
    stream.clone().cpu(strange).is_clean();
    let moved = CpuAccess {
        lend: AT + 8,
        ..load(now)
    };
    stream.clone().cpu(moved).is_clean();
    let forgotten = CpuAccess {
        settled: Some((Settled::ForDevice, 1)),
        ..store(now)
    };
    let read = mapped(ToDevice).card(Direction::Read);
    read.cpu(forgotten).is_clean();
}

#[test]
fn findings_that_were_lost_are_no_clean_verdict() {
    let lost = mapped(FromDevice).kind(Kind::CpuLost { count: 2 }).judged();
    assert_eq!(lost.violations, []);
    assert_eq!(lost.not_judged.len(), 1);
}

#[test]
fn a_store_after_the_doorbell_that_the_card_then_reads_is_34() {
    let pieces = || vec![crate::contract::Piece::read(AT, LENGTH)];
    let queued = mapped(ToDevice).accepts(0, pieces());
    let late = store(queued.now());
    let read = queued.begins_with(0, pieces()).card(Direction::Read);
    let found = read.cpu(late).judged().violations;
    let classes: Vec<_> = found
        .iter()
        .map(|found| found.class.map(|class| class.number()))
        .collect();
    assert_eq!(classes, [Some(34)]);
}

#[test]
fn what_the_kernel_does_for_no_driver_is_a_hint() {
    let stream = mapped(ToDevice);
    let now = stream.now();
    let far = |words: usize| CpuAccess {
        stack: [vec![PC; words], vec![PC + 0x100]].concat(),
        ..store(now)
    };
    let read = stream.card(Direction::Read);
    read.clone().cpu(far(5)).is(62);
    // An old return address of the driver's further up the stack is none of its.
    read.clone().cpu(far(6)).hints(62);
    // Nobody told what is there.
    let nameless = CpuAccess {
        pc: PC + 0x400,
        stack: Vec::new(),
        ..store(now)
    };
    read.cpu(nameless).hints(62);
}

/// The driver fills one slot, the card reads the next one, the driver fills that; it was told as one.
#[test]
fn stores_that_may_have_come_after_the_card_are_a_hint() {
    let stream = mapped(ToDevice);
    let now = stream.now();
    let read = stream.card(Direction::Read);
    let around = CpuAccess {
        last_ns: (now + 5) * 1000,
        ..store(now)
    };
    read.clone().cpu(around).hints(62);
    let beside = CpuAccess {
        gaps: true,
        ..store(now)
    };
    read.cpu(beside).hints(62);
}

/// One instruction that writes before one doorbell and after another is one violation, of the class that says more.
#[test]
fn a_store_before_one_doorbell_and_after_another_is_one_violation() {
    let pieces = || vec![crate::contract::Piece::read(AT, LENGTH)];
    let early = mapped(ToDevice);
    let before = store(early.now());
    let queued = early.accepts(0, pieces());
    let after = store(queued.now());
    let read = queued.begins_with(0, pieces()).card(Direction::Read);
    for order in [[before.clone(), after.clone()], [after, before]] {
        let told = order.into_iter().fold(read.clone(), Stream::cpu);
        let found = told.judged().violations;
        let classes: Vec<_> = found
            .iter()
            .map(|found| (found.class.map(|class| class.number()), found.accesses))
            .collect();
        assert_eq!(classes, [(Some(34), 6)]);
    }
}
