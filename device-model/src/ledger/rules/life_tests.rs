// SPDX-License-Identifier: MIT OR Apache-2.0

use super::stream::*;
use crate::contract::{Declaration, DmaError, JobId, Owed, Reset, Vector};
use crate::journal::{Call, DriverState, Kind};

#[test]
fn class_20_is_an_access_after_idle() {
    let stopped = || Stream::bound().captures(0).stops();
    stopped().is_clean();
    stopped().writes(FRAME[0], 64).is(20);
    stopped().unmaps().writes(FRAME[0], 64).is(20);
    // The next job is another matter.
    stopped().captures(1).is_clean();
    // One that was never reported as complete, too.
    Stream::bound()
        .starts(0)
        .stops()
        .writes(FRAME[0], 64)
        .is(20);
}

#[test]
fn class_22_is_a_bus_master_where_there_must_be_none() {
    let off = Kind::BusMaster { on: false };
    let stream = Stream::bound().captures(0).kind(off);
    stream.refused(FRAME[0], DmaError::NotMaster).is(22);
    let left = || {
        let stream = Stream::bound().captures(0).state(DriverState::Unbinding);
        stream.stops().unmaps()
    };
    left().state(DriverState::Unbound).is(22);
    left()
        .kind(Kind::BusMaster { on: false })
        .state(DriverState::Unbound)
        .is_clean();
    let reset = Kind::Reset {
        reset: Reset::FunctionLevel,
    };
    left().kind(reset).state(DriverState::Unbound).is_clean();
    // A driver that never switched it on cannot have left it on.
    let mut other = Stream::default().kind(Kind::BusMaster { on: true });
    other = other.kind(Kind::Attached {
        text_start: 0,
        text_end: 0,
        syncs: false,
    });
    other
        .state(DriverState::Binding)
        .state(DriverState::Unbound)
        .is_clean();
}

#[test]
fn class_23_is_an_access_before_anything_is_lent() {
    Stream::binding().untagged_write(0x1_0000).is(23);
    assert_eq!(Stream::bound().untagged_write(0x1_0000).classes(), [None]);
}

#[test]
fn class_24_is_an_access_after_the_kernel_went_down() {
    let down = || Stream::bound().starts(0).kind(Kind::KernelDown);
    down().is_clean();
    down().writes(FRAME[0], 64).is(24);
    down().refused(FRAME[0], DmaError::NotMaster).is(24);
    let reset = Kind::Reset {
        reset: Reset::Device,
    };
    assert_eq!(
        down().kind(reset).writes(FRAME[0], 64).classes(),
        [Some(20)]
    );
}

#[test]
fn class_29_is_a_card_that_nobody_set_up_again_after_a_reset_under_its_driver() {
    let reset = |reset| Kind::Reset { reset };
    let decoding = |on| Kind::Decoding { on };
    let fails = |stream: Stream| {
        let stream = stream.kind(decoding(false));
        let stream = stream.kind(Kind::BusMaster { on: false });
        stream.kind(reset(Reset::Device))
    };
    let found = fails(Stream::bound().starts(0)).is(29);
    assert_eq!((found.address, found.length), (FRAME[0], SIZE));
    assert!(found.text.contains("the driver drv, which had 2 lends"));
    // One that is asked takes everything back before, and sets the card up after.
    let asked = fails(Stream::bound().starts(0).stops().unmaps());
    asked.is_clean();
    let asked = asked.kind(decoding(true));
    let again = asked
        .kind(Kind::BusMaster { on: true })
        .map(FRAME[0], SIZE, FromDevice);
    again.captures(0).is_clean();
    // Whoever resets a card on purpose, the kernel or its driver, gives it back what it had.
    fails(Stream::bound()).kind(decoding(true)).is_clean();
    let flr = Stream::bound().kind(reset(Reset::FunctionLevel));
    flr.is_clean();
    Stream::bound().kind(reset(Reset::Register)).is_clean();
    // A card that is pulled is reset, too; so is one when the machine restarts, or when its driver is gone.
    fails(Stream::bound()).kind(Kind::Disconnected).is_clean();
    fails(Stream::bound().kind(Kind::KernelDown)).is_clean();
    fails(Stream::bound().unbinds()).is_clean();
    // Without the witness nobody says what is lent.
    let gap = Kind::WitnessGap {
        expected: 1,
        got: 2,
    };
    fails(Stream::bound().kind(gap)).is_not_judged();
}

#[test]
fn classes_30_and_31_are_a_lend_that_ends_during_its_job() {
    let working = || Stream::bound().starts(0).writes(FRAME[0], 1024);
    let cut = |stream: Stream| {
        let stream = stream.unmap(FRAME[0], SIZE, FromDevice);
        stream.writes(FRAME[0] + 1024, 1024)
    };
    let found = cut(working()).is(30);
    assert_eq!((found.accesses, found.job), (1, Some(JobId(0))));
    assert_eq!(found.call.map(|call| call.call), Some(Call::Unmap));
    cut(working().state(DriverState::Unbinding)).is(31);
    // Another lend, or one that is mapped twice, may end.
    working().unmap(FRAME[1], SIZE, FromDevice).is_clean();
    let twice = Stream::bound().map(FRAME[0], SIZE, FromDevice).starts(0);
    twice
        .unmap(FRAME[0], SIZE, FromDevice)
        .writes(FRAME[0], SIZE)
        .completes()
        .is_clean();
    // Without the bus nothing follows.
    let off = working().kind(Kind::BusMaster { on: false });
    off.unmap(FRAME[0], SIZE, FromDevice).is_clean();
    working().stops().unmaps().is_clean();
}

#[test]
fn slots_that_are_queued_count_while_the_card_runs() {
    let both = || Stream::bound().starts(0).queue(1);
    let found = both()
        .unmaps()
        .writes(FRAME[0], SIZE)
        .completes()
        .begins(1, FRAME[1], SIZE)
        .writes(FRAME[1], SIZE)
        .is(30);
    assert_eq!(found.accesses, 2, "all that follows");
    both().stops().unmaps().is_clean();
    // It has begun nothing yet.
    Stream::bound().queue(0).queue(1).unmaps().is_clean();
    // Between two frames.
    let between = Stream::bound().captures(0).queue(0).unmaps();
    between
        .begins(0, FRAME[0], SIZE)
        .writes(FRAME[0], SIZE)
        .is(30);
}

#[test]
fn class_31_is_also_an_engine_that_runs_after_remove() {
    let working = Stream::bound().starts(0).state(DriverState::Unbinding);
    let found = working.state(DriverState::Unbound).classes();
    assert_eq!(found.first(), Some(&Some(31)), "{found:?}");
}

#[test]
fn class_36_is_a_register_write_that_was_not_flushed() {
    let arrives = |stream: Stream, flushed| stream.answers(Declaration::Arrived { flushed });
    let delayed = |stream: Stream| stream.register("CONTROL", 0).answers(Declaration::Delayed);
    let working = || Stream::bound().starts(0).writes(FRAME[0], 1024);
    let found = delayed(working())
        .unmap(FRAME[0], SIZE, FromDevice)
        .writes(FRAME[0] + 1024, 1024)
        .is(36);
    let write = found.register_write.expect("the write");
    assert_eq!(write.name, "CONTROL");
    let flushed = arrives(delayed(working()), true).stops();
    flushed.unmaps().is_clean();
    // Late, into what was taken back before the card began.
    let late = delayed(Stream::bound().unmaps());
    late.untagged_write(FRAME[0]).is(36);
}

#[test]
fn lends_of_a_machine_that_is_gone_are_no_leak() {
    Stream::bound()
        .starts(0)
        .kind(Kind::Disconnected)
        .is_clean();
    Stream::bound()
        .kind(Kind::Disconnected)
        .state(DriverState::Unbound)
        .is_clean();
}

#[test]
fn a_coalesced_interrupt_that_is_masked_before_its_time_is_not_lost() {
    let time = std::time::Duration::from_millis(1);
    let owed = Some(Owed::within(Vector(0), time));
    let done = || {
        let begun = Stream::bound().starts(0).writes(FRAME[0], SIZE);
        begun.reports_owing(SIZE, owed)
    };
    let late = std::time::Duration::from_secs(2);
    done().waits(late).taken_back(0).stops().is(43);
    let masked = done().masks(Some(0), true).waits(late);
    masked.taken_back(0).stops().is_clean();
    // It was late already.
    let masked = done().waits(late).masks(Some(0), true);
    masked.taken_back(0).stops().is(43);
    // Another vector's mask has nothing to do with it.
    let masked = done().masks(Some(1), true).waits(late);
    masked.taken_back(0).stops().is(43);
}
