// SPDX-License-Identifier: MIT OR Apache-2.0

//! Cards that are not ours, and right: rings, queues, vectors, coalescing, write-backs. Each with what would be wrong.

use std::time::Duration;

use super::stream::*;
use crate::contract::{
    Declaration, Direction, DmaError, IdleScope, JobId, Owed, Piece, QueueId, Role, Vector,
};
use crate::journal::{Call, DriverCall, DriverState, Kind};

const RING: u64 = 0x8000_0000;
const STATUS: u64 = 0x8001_0000;
const WRITE: Direction = Direction::Write;
const READ: Direction = Direction::Read;

/// Two queues, each with its frame: a ring and a status block are lent, too.
fn rings() -> Stream {
    Stream::bound().alloc(RING, 4096).alloc(STATUS, 64)
}

fn idle(queue: Option<u16>) -> Declaration {
    let queue = queue.map(QueueId);
    Declaration::Idle { queue }
}

/// A job of a queue, with its vector, up to its completion.
fn works(stream: Stream, job: u64, queue: u16) -> Stream {
    let at = FRAME[usize::from(queue)];
    stream
        .tells(begun(job, queue, vec![Piece::write(at, SIZE)]))
        .kind(for_job(job, WRITE, at, SIZE, Role::Payload))
}

fn completes(stream: Stream, job: u64, queue: u16) -> Stream {
    let stream = works(stream, job, queue);
    stream.tells(done(job, SIZE, now(queue))).raises(queue)
}

#[test]
fn names_of_registers_mean_nothing() {
    let names = [
        "MASK",
        "IMR",
        "ENDPOINT_CTL",
        "IRQ_ENABLE_CLEAR",
        "INT_MASK",
        "IRQ_STATUS",
        "STRIDE",
        "SLOT_BASE_LO",
        "SLOT_SIZE",
    ];
    for name in names {
        for value in [0, 1, 128] {
            let written = || Stream::bound().register(name, value);
            written().captures(0).captures(0).unbinds().is_clean();
            written().interrupts().is(46);
            Stream::binding().register(name, value).interrupts().is(44);
            // It does not enable what the driver had disabled.
            let ending = written().state(DriverState::Unbinding).stops().unmaps();
            ending
                .register(name, value)
                .kind(Kind::BusMaster { on: false })
                .kind(Kind::InterruptHeld { vector: 0 })
                .state(DriverState::Unbound)
                .is_clean();
        }
    }
}

/// A timer that runs, runs, also while another interrupt is held back until the bus may be mastered.
#[test]
fn an_interrupt_that_is_held_takes_no_later_one_away() {
    let later = Owed::within(Vector(0), std::time::Duration::from_secs(1));
    let held = || {
        let stream = Stream::bound().starts(0).writes(FRAME[0], SIZE);
        let stream = stream.reports_owing(SIZE, Some(later));
        let stream = stream.tells(Declaration::cause(Vector(0), "the link changed"));
        stream.kind(Kind::InterruptHeld { vector: 0 })
    };
    assert_eq!(held().interrupts().interrupts().classes(), []);
    held().interrupts().interrupts().interrupts().is(46);
}

#[test]
fn an_interrupt_has_other_causes_than_completions() {
    let link = || Declaration::cause(Vector(0), "the link changed");
    let idle = || Stream::bound();
    let working = || Stream::bound().starts(0).writes(FRAME[0], SIZE / 2);
    let rest = |stream: Stream| stream.writes(FRAME[0] + SIZE / 2, SIZE / 2).completes();
    idle().tells(link()).interrupts().is_clean();
    idle().interrupts().is(46);
    rest(working().tells(link()).interrupts()).is_clean();
    rest(working().interrupts()).is(42);
    idle().tells(link()).interrupts().interrupts().is(46);
    // One that was to come and did not.
    idle().tells(link()).captures(0).is(43);
    idle().tells(link()).stops().is(43);
    idle().tells(link()).is(43);
}

#[test]
fn completions_may_share_an_interrupt() {
    let owed = || Some(Owed::within(Vector(0), Duration::from_micros(100)));
    let one = |stream: Stream| {
        let stream = stream.starts(0).writes(FRAME[0], SIZE);
        stream.reports_owing(SIZE, owed()).taken_back(0)
    };
    // Every fourth, and a timer for what is left.
    let four = |stream| one(one(one(one(stream)))).interrupts();
    four(four(Stream::bound())).stops().is_clean();
    let six = one(one(four(Stream::bound())));
    six.clone().interrupts().stops().unbinds().is_clean();
    let second = Duration::from_secs(2);
    six.clone().waits(second).stops().is(43);
    six.clone().waits(second).unbinds().is(43);
    six.clone().waits(second).captures(0).stops().is_clean(); // that interrupt was for all
    six.clone().waits(second).kind(Kind::Connected).is(43);
    // Nobody knows whether it would have come.
    six.clone().stops().waits(second).unbinds().is_clean();
    let masked = six.clone().register("MASK", 1).masks(Some(0), true);
    masked.waits(second).stops().unbinds().is_clean();
    let other = six.register("MASK", 2).masks(Some(1), true);
    other.waits(second).stops().is(43);
}

#[test]
fn a_timer_runs_on_when_another_cause_interrupts() {
    let done_owing = |stream: Stream, owed| {
        let stream = stream.starts(0).writes(FRAME[0], SIZE);
        stream.reports_owing(SIZE, Some(owed)).taken_back(0)
    };
    let cause = || Declaration::cause(Vector(0), "an old cause was unmasked");
    for later in [
        Owed::within(Vector(0), Duration::from_micros(100)),
        Owed::perhaps(Vector(0)),
    ] {
        let both = || done_owing(Stream::bound(), later).tells(cause()).raises(0);
        both().stops().is_clean();
        both().raises(0).stops().is_clean();
        both().raises(0).raises(0).is(46);
        // One at once of the same queue tells of it, too.
        done_owing(both(), Owed::now(Vector(0)))
            .raises(0)
            .raises(0)
            .is(46);
    }
}

#[test]
fn a_card_may_interrupt_only_when_no_cause_is_pending() {
    let told = |stream: Stream, owed| {
        let stream = stream.starts(0).writes(FRAME[0], SIZE);
        stream.reports_owing(SIZE, Some(owed))
    };
    let first = || told(Stream::bound(), Owed::now(Vector(0))).interrupts();
    let second = || told(first(), Owed::perhaps(Vector(0)));
    second().taken_back(0).stops().is_clean();
    second().interrupts().stops().is_clean();
    second().interrupts().interrupts().is(46);
    told(first(), Owed::now(Vector(0))).stops().is(43);
}

#[test]
fn queues_work_by_themselves_and_each_has_its_vector() {
    // Their jobs overlap in time; completions of one do not tell of the other.
    let both = || works(works(rings(), 0, 0), 1, 1);
    let stream = both().tells(done(1, SIZE, now(1))).raises(1);
    let first = |stream: Stream| stream.tells(done(0, SIZE, now(0)));
    first(stream.clone()).raises(0).is_clean();
    assert_eq!(
        first(stream.clone()).raises(1).classes(),
        [Some(46), Some(43)]
    );
    // Both are told before either is raised.
    let stream = first(both()).tells(done(1, SIZE, now(1)));
    stream.clone().raises(1).raises(0).is_clean();
    let found = stream.clone().raises(1).is(43);
    assert!(found.text.contains("vector 0"), "{}", found.text);
    assert_eq!(found.job, Some(JobId(0)));
    // A queue that goes on does not make another's late.
    let ahead = completes(first(works(rings(), 0, 0)), 1, 1);
    ahead.raises(0).is_clean();
    let twice = completes(completes(rings(), 0, 0), 1, 1);
    twice.clone().is_clean();
    twice.raises(1).is(46);
}

#[test]
fn a_queue_stops_while_another_works() {
    let stopped = || {
        let both = works(completes(rings(), 0, 0), 1, 1);
        both.tells(idle(Some(0)))
    };
    let goes_on = |stream: Stream| {
        stream
            .kind(for_job(1, WRITE, FRAME[1], 64, Role::Payload))
            .tells(done(1, SIZE, now(1)))
            .raises(1)
    };
    goes_on(stopped()).is_clean();
    let late = for_job(0, WRITE, FRAME[0], 64, Role::Payload);
    goes_on(stopped().kind(late.clone())).is(20);
    goes_on(stopped())
        .tells(idle(None))
        .kind(for_job(1, WRITE, FRAME[1], 64, Role::Payload))
        .is(20);
    // It begins anew.
    completes(stopped(), 2, 0).kind(late).is(20);
    completes(goes_on(stopped()), 2, 0).is_clean();
}

#[test]
fn a_job_may_read_what_it_sends() {
    let sends = |read, told| {
        let pieces = vec![Piece::read(0x5000, 54), Piece::read(0x6000, 1000)];
        rings()
            .map(0x5000, 54, ToDevice)
            .map(0x6000, 1000, ToDevice)
            .tells(begun(0, 0, pieces))
            .kind(for_job(0, READ, 0x5000, 54, Role::Payload))
            .kind(for_job(0, READ, 0x6000, read, Role::Payload))
            .tells(done(0, told, now(0)))
            .raises(0)
    };
    sends(1000, 1054).is_clean();
    let short = sends(900, 1054).is(56);
    assert!(short.text.contains("954 were read"), "{}", short.text);
    // What is still read was reported too early, whoever took the memory back since.
    let late = || sends(900, 1054).unmap(0x6000, 1000, ToDevice);
    late()
        .kind(for_job(0, READ, 0x6000 + 900, 100, Role::Payload))
        .is(41);
    let others = || sends(1000, 1054).unmap(0x6000, 1000, ToDevice);
    others().is_clean();
    others().untagged(READ, 0x6000, 100).is(7);
    let writes = sends(1000, 1054).kind(for_job(0, WRITE, 0x5000, 8, Role::Payload));
    writes.is(41); // after it was done
}

#[test]
fn what_is_written_back_is_no_data_of_the_job() {
    let roles = [(RING + 64, Role::Descriptor), (STATUS, Role::Status)];
    for (at, role) in roles {
        let before = || works(rings(), 0, 0).kind(for_job(0, WRITE, at, 8, role));
        let ends = |stream: Stream| stream.tells(done(0, SIZE, now(0))).raises(0);
        ends(before()).is_clean();
        // A head pointer may follow the completion, and is written again and again.
        let after = || ends(before()).kind(for_job(0, WRITE, at, 8, role));
        after().is_clean();
        let fetch = for_job(0, READ, RING, 16, Role::Descriptor);
        ends(before().kind(fetch)).is_clean();
        // It must be lent as anything else, and the card must not be idle.
        ends(before())
            .kind(for_job(0, WRITE, 0x9000_0000, 8, role))
            .classes();
        let stray = ends(before()).kind(for_job(0, WRITE, 0x9000_0000, 8, role));
        assert_eq!(stray.classes(), [None]);
        after()
            .tells(idle(None))
            .kind(for_job(0, WRITE, at, 8, role))
            .is(20);
        // Data there is another lend's.
        let data = for_job(0, WRITE, at, 8, Role::Payload);
        let found = ends(works(rings(), 0, 0).kind(data)).verdict();
        assert_eq!(found.violations.len(), 1);
        assert_eq!(found.violations[0].name, "another lend's memory");
    }
}

#[test]
fn a_job_may_be_scattered_over_any_lends() {
    let lends = [(0x5000, 512), (0x6200, 100), (0x7_0000, 4096)];
    let job = |extra| {
        let mut stream = rings();
        let mut pieces = Vec::new();
        for (at, length) in lends {
            stream = stream.map(at, length, FromDevice);
            pieces.push(Piece::write(at, length));
        }
        stream = stream.tells(begun(0, 0, pieces));
        for (at, length) in lends {
            stream = stream.kind(for_job(0, WRITE, at, length, Role::Payload));
        }
        let moved = 512 + 100 + 4096;
        if extra != 0 {
            stream = stream.kind(for_job(0, WRITE, extra, 4, Role::Payload));
        }
        stream.tells(done(0, moved, now(0))).raises(0)
    };
    job(0).is_clean();
    job(0x5000 + 512).is(1);
    let found = job(FRAME[1]).verdict().violations;
    assert_eq!(found[0].name, "another lend's memory");
    // In any order, and as few as the driver likes.
    let shorter = rings().map(0x5000, 512, FromDevice);
    shorter
        .tells(begun(0, 0, vec![Piece::write(0x5000, 512)]))
        .kind(for_job(0, WRITE, 0x5000 + 256, 256, Role::Payload))
        .kind(for_job(0, WRITE, 0x5000, 128, Role::Payload))
        .tells(done(0, 384, now(0)))
        .raises(0)
        .is_clean();
}

#[test]
fn lends_that_touch_may_be_programmed_as_one() {
    let pages = |count: u64| {
        let mut stream = rings();
        for page in 0..count {
            stream = stream.map(0x50_0000 + page * 4096, 4096, FromDevice);
        }
        let piece = Piece::write(0x50_0000, 4 * 4096);
        stream.tells(begun(0, 0, vec![piece]))
    };
    let writes = for_job(0, WRITE, 0x50_0000, 4 * 4096, Role::Payload);
    let ends = |stream: Stream| stream.tells(done(0, 4 * 4096, now(0))).raises(0);
    ends(pages(4).kind(writes.clone())).is_clean();
    ends(pages(3).kind(writes)).is(13);
}

#[test]
fn what_was_taken_back_and_lent_anew_is_another_matter() {
    let again = |stream: Stream| {
        let stream = stream.captures(0).unmap(FRAME[0], SIZE, FromDevice);
        stream.alloc(FRAME[0], SIZE)
    };
    again(Stream::bound()).untagged_write(FRAME[0]).is_clean();
    let same = Stream::bound().captures(0);
    same.untagged_write(FRAME[0]).is(7);
}

#[test]
fn a_card_that_is_gone_is_nobodys_bug_and_not_clean() {
    let captured = || Stream::bound().captures(0);
    captured().unbinds().is_clean();
    let why = "the card's server is gone: it closed the connection";
    let gone = || captured().tells(Declaration::Gone { why: why.into() });
    gone().unbinds().is_not_judged();
    // What the driver did by itself is still its own.
    gone().untagged_write(FRAME[0] + SIZE).is(1);
}

#[test]
fn without_the_witness_nothing_is_wrong_and_nothing_is_clean() {
    let alone = |stream: Stream| {
        let mut alone = Stream::plugged();
        for entry in stream.entries() {
            let kind = entry.kind.clone();
            if !matches!(
                kind,
                Kind::Attached { .. } | Kind::Call(_) | Kind::Declares(_)
            ) {
                alone = alone.kind(kind);
            }
        }
        alone
    };
    let captured = || Stream::bound().captures(0).captures(1).unbinds();
    captured().is_clean();
    alone(captured()).is_not_judged();
    // The module came late: what was lent before is not known.
    let late = alone(captured().kind(Kind::Connected));
    late.is_not_judged();
    // That the bus may not be mastered nobody has to say.
    alone(Stream::bound().refused(FRAME[0], DmaError::NotMaster)).is(22);
}

#[test]
fn a_card_that_is_asleep_moves_nothing() {
    let working = || Stream::bound().starts(0).writes(FRAME[0], 64);
    let asleep = working().kind(Kind::PowerState { state: 3 });
    asleep.unmaps().is_clean();
    working().unmaps().is(30);
}

#[test]
fn each_queue_has_its_own_short_transfer() {
    let short = |stream: Stream, job, queue: u16| {
        let at = FRAME[usize::from(queue)];
        stream
            .tells(begun(job, queue, vec![Piece::write(at, SIZE)]))
            .kind(for_job(job, WRITE, at, 64, Role::Payload))
            .tells(done(job, SIZE, now(queue)))
            .raises(queue)
    };
    let both = short(short(rings(), 0, 0), 1, 1);
    assert_eq!(both.classes(), [Some(56), Some(56)]);
    let late = both.kind(for_job(0, WRITE, FRAME[0] + 64, SIZE - 64, Role::Payload));
    assert_eq!(late.classes(), [Some(41), Some(56)]);
}

#[test]
fn numbers_of_jobs_need_not_ascend() {
    // The queue is in the upper bits, as a card of many queues may have it.
    let number = |queue: u16, count: u64| u64::from(queue) << 48 | count;
    let mut stream = rings();
    for count in 0..66_000 {
        let job = number(1, count);
        stream = stream
            .tells(begun(job, 1, vec![Piece::write(FRAME[1], SIZE)]))
            .tells(Declaration::failed(JobId(job), "no data", None));
    }
    let told = completes(stream, number(0, 7), 0);
    told.clone().is_clean();
    told.kind(for_job(number(0, 7), WRITE, FRAME[0], 64, Role::Payload))
        .is(41);
}

#[test]
fn a_part_may_be_synced() {
    let mapped = || {
        let buffer = DriverCall {
            bounced: true,
            ..call(Call::Map, 0x5000, 2048, FromDevice)
        };
        rings().call(buffer)
    };
    let receives = |stream: Stream, job| {
        stream
            .tells(begun(job, 0, vec![Piece::write(0x5000, 2048)]))
            .kind(for_job(job, WRITE, 0x5000, 1500, Role::Payload))
            .tells(done(job, 1500, now(0)))
            .raises(0)
            .tells(Declaration::Released { job: JobId(job) })
    };
    let sync = |at, length| call(Call::SyncForCpu, at, length, FromDevice);
    let got = || receives(mapped(), 0);
    receives(got().call(sync(0x5000, 1500)), 1).is_clean();
    let halves = got().call(sync(0x5000, 64)).call(sync(0x5040, 1436));
    receives(halves, 1).is_clean();
    receives(got().call(sync(0x5000, 64)), 1).hints(37);
    receives(got(), 1).hints(37);
}

#[test]
fn what_is_not_declared_is_not_judged() {
    // Nothing is owed where nobody says what interrupts are for.
    let lost = || {
        Stream::bound()
            .starts(0)
            .writes(FRAME[0], SIZE)
            .reports(SIZE)
    };
    lost().stops().is(43);
    let silent = lost()
        .stops()
        .declaring(|declares| declares.interrupts = false);
    silent.is_clean();
    // Nor is one spurious, or from before it was enabled.
    let early = || Stream::binding().interrupts();
    early().is(44);
    early().declaring(|declares| declares.masks = false).is(46);
    // What is said is believed.
    for scope in [IdleScope::Never, IdleScope::Device, IdleScope::Queue] {
        let stopped = Stream::bound().captures(0).stops();
        stopped
            .declaring(|declares| declares.idle = scope)
            .is_clean();
    }
}
