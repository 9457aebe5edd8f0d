// SPDX-License-Identifier: MIT OR Apache-2.0

//! Bugs from public reports, each with the driver or card that does it right.

use std::time::Duration;

use super::super::LendKind;
use super::stream::*;
use crate::contract::{Declaration, Direction, JobId, Piece, Role, Vector};
use crate::journal::{Call, DriverCall, Kind};

const RING: u64 = 0x8000_0000;
const WRITE: Direction = Direction::Write;
const READ: Direction = Direction::Read;

#[test]
fn class_59_is_an_address_that_the_card_wrote_itself() {
    let word = 0x0012_3456_0000_0640_u64;
    let fetches = |fetched: u64, uses: u64| {
        let ring = |direction, value: u64| {
            access(direction, RING, 8, Role::Descriptor, &value.to_le_bytes())
        };
        Stream::bound()
            .alloc(RING, 4096)
            .kind(ring(READ, FRAME[0]))
            .untagged_write(FRAME[0])
            .kind(ring(WRITE, word))
            .kind(ring(READ, fetched))
            .untagged_write(uses)
    };
    fetches(FRAME[0], FRAME[0]).is_clean();
    let found = fetches(word, word).is(59);
    assert!(found.text.contains(&format!("{RING:#x}")), "{}", found.text);
    // It is used as an address, and the driver wrote it.
    assert_eq!(fetches(word + 8, word + 8).classes(), [None]);
    assert_eq!(fetches(FRAME[0], word).classes(), [None], "never fetched");
}

#[test]
fn class_60_is_memory_that_another_device_has() {
    let elsewhere = |address, ended| Kind::Elsewhere {
        device: "0000:00:02.0".to_owned(),
        driver: "other".to_owned(),
        address,
        length: 4096,
        direction: FromDevice,
        ended,
        begun_ns: 0,
        ended_ns: 0,
    };
    let wild = || Stream::bound().untagged_write(0x9000_0000);
    assert_eq!(wild().classes(), [None]);
    let found = wild().kind(elsewhere(0x9000_0000, false)).is(60);
    assert!(
        found.text.contains("0000:00:02.0 (other)"),
        "{}",
        found.text
    );
    let found = wild().kind(elsewhere(0x9000_0000, true)).is(60);
    assert!(found.text.contains("was lent"), "{}", found.text);
    assert_eq!(wild().kind(elsewhere(0x9000_1000, false)).classes(), [None]);
    // Lent to both it is right.
    let both = Stream::bound().map(0x9000_0000, 4096, FromDevice);
    both.untagged_write(0x9000_0000)
        .kind(elsewhere(0x9000_0000, false))
        .is_clean();
}

#[test]
fn class_41_is_a_job_that_was_done_before_it_was_over_whoever_unmapped_since() {
    let read = |at, length| for_job(0, READ, at, length, Role::Payload);
    let fetching = || {
        let stream = Stream::bound().map(0x5000, 4096, ToDevice);
        stream
            .tells(begun(0, 0, vec![Piece::read(0x5000, 4096)]))
            .kind(read(0x5000, 1024))
    };
    let done = |stream: Stream| stream.tells(done(0, 4096, now(0))).raises(0);
    let unmaps = |stream: Stream| stream.unmap(0x5000, 4096, ToDevice);
    unmaps(done(fetching().kind(read(0x5400, 3072)))).is_clean();
    let found = unmaps(done(fetching())).kind(read(0x5400, 3072)).is(41);
    assert_eq!(found.job, Some(JobId(0)));
    // The other way round it is the driver's fault.
    let found = unmaps(fetching()).kind(read(0x5400, 3072)).is(30);
    assert_eq!(found.call.map(|call| call.call), Some(Call::Unmap));
}

/// A pool's page, and a block of it.
fn pool() -> Stream {
    let backing = DriverCall {
        backing: true,
        ..call(Call::Alloc, RING, 4096, Both)
    };
    let block = call(Call::BlockAlloc, RING + 256, 64, Both);
    Stream::bound().call(backing).call(block)
}

fn block_free(stream: Stream) -> Stream {
    stream.call(call(Call::BlockFree, RING + 256, 64, Both))
}

#[test]
fn blocks_of_a_dma_pool_are_lends_and_their_page_is_not() {
    let at = |address| pool().untagged(WRITE, address, 64);
    at(RING + 256).is_clean();
    let found = at(RING + 256 + 32).is(1);
    assert_eq!(found.lend.map(|lend| lend.kind), Some(LendKind::Block));
    assert!(!at(RING + 2048).classes().is_empty());
    block_free(pool()).untagged(WRITE, RING + 256, 64).is(7);
    // Freed while the card has it.
    let has = || pool().tells(begun(0, 0, vec![Piece::read(RING + 256, 64)]));
    let reads = |stream: Stream| stream.kind(for_job(0, READ, RING + 256, 64, Role::Payload));
    let over = |stream: Stream| stream.tells(done(0, 64, now(0))).raises(0);
    let found = over(reads(block_free(has()))).is(30);
    assert_eq!(found.call.map(|call| call.call), Some(Call::BlockFree));
    let right = block_free(over(reads(has())));
    right.free(RING, 4096).unbinds().is_clean();
    // The next command gets it.
    let again = block_free(pool()).call(call(Call::BlockAlloc, RING + 256, 64, Both));
    over(reads(again.tells(begun(
        0,
        0,
        vec![Piece::read(RING + 256, 64)],
    ))))
    .is_clean();
    // It ends as it began.
    pool().free(RING + 256, 64).is(50);
    pool().unbinds().is(53);
}

#[test]
fn one_bug_has_one_name_wherever_the_card_happens_to_be() {
    const PIECES: u64 = 4;
    let at = |piece: u64| 0x50_0000 + piece * 0x2000;
    let pieces = || (0..PIECES).map(|piece| Piece::write(at(piece), 4096));
    let mapped = || {
        let lends = 0..PIECES;
        lends.fold(Stream::bound(), |stream, piece| {
            stream.map(at(piece), 4096, FromDevice)
        })
    };
    let unmapped = |stream: Stream| {
        let lends = 0..PIECES;
        lends.fold(stream, |stream, piece| {
            stream.unmap(at(piece), 4096, FromDevice)
        })
    };
    let moves = |stream: Stream, pieces: std::ops::Range<u64>| {
        pieces.fold(stream, |stream, piece| {
            stream.kind(for_job(0, WRITE, at(piece), 4096, Role::Payload))
        })
    };
    let over = |stream: Stream| stream.tells(done(0, PIECES * 4096, now(0))).raises(0);
    let job = || mapped().tells(begun(0, 0, pieces().collect()));
    for moved in 0..=PIECES {
        let found = over(moves(unmapped(moves(job(), 0..moved)), moved..PIECES)).is(30);
        assert_eq!(found.job, Some(JobId(0)), "after {moved} pieces");
        assert_eq!(found.accesses, PIECES - moved);
    }
    unmapped(over(moves(job(), 0..PIECES))).is_clean();
}

#[test]
fn one_cause_is_one_violation_however_many_accesses_came_of_it() {
    let lent = || Stream::bound().alloc(RING, 4096).alloc(RING + 0x2000, 4096);
    let writes = |stream: Stream, at: u64, count: u64| {
        let accesses = 0..count;
        accesses.fold(stream, |stream, turn| {
            stream.untagged(WRITE, at + turn % 64 * 64, 64)
        })
    };
    writes(lent(), RING, 10).is_clean();
    let found = writes(lent().free(RING, 4096), RING, 10).is(7);
    assert_eq!(found.accesses, 10);
    let found = writes(lent().free(RING, 4096), RING, 500).is(7);
    assert_eq!(found.accesses, 500);
    // Two causes are two.
    let both = lent().free(RING, 4096).free(RING + 0x2000, 4096);
    let both = writes(writes(both, RING, 100), RING + 0x2000, 100);
    let found = both.verdict().violations;
    let accesses: Vec<_> = found.iter().map(|found| found.accesses).collect();
    assert_eq!(accesses, [100, 100]);
    // Of a job that was wrong as a whole the accesses are counted.
    let cut = Stream::bound().starts(0).unmap(FRAME[0], SIZE, FromDevice);
    let cut = (0..64).fold(cut, |stream, turn| stream.writes(FRAME[0] + turn * 64, 64));
    assert_eq!(cut.completes().is(30).accesses, 64);
}

#[test]
fn the_nearest_lend_is_shown_if_it_is_near() {
    let unmaps = |at| {
        Stream::bound()
            .map(0x5000, 512, FromDevice)
            .unmap(at, 64, FromDevice)
    };
    let found = unmaps(0x5000 + 512 + 200).is(48);
    assert_eq!(found.lend.map(|lend| lend.distance), Some(200));
    assert_eq!(unmaps(0x3000_0000).is(48).lend, None);
    let sync = |at| {
        let sync = call(Call::SyncForCpu, at, 64, FromDevice);
        Stream::bound().map(0x5000, 512, FromDevice).call(sync)
    };
    let found = sync(0x5000 + 512 + 200).is(40);
    assert_eq!(found.lend.map(|lend| lend.distance), Some(200));
    assert_eq!(sync(0x3000_0000).is(40).lend, None);
    let wild = Stream::bound().untagged_write(0x3000_0000).verdict();
    assert_eq!(wild.violations[0].lend, None);
}

#[test]
fn an_interrupt_without_a_cause_is_named_in_every_run() {
    let run = |stream: Stream| {
        let stream = stream.enables().captures(0).captures(0).stops();
        // Whoever is told that the card is idle, is told why.
        stream
            .enables()
            .tells(Declaration::cause(Vector(0), "idle"))
            .interrupts()
    };
    let many = |runs| (0..runs).fold(Stream::bound(), |stream, _| run(stream));
    for runs in 1..4 {
        many(runs).is_clean();
        many(runs).interrupts().is(46);
        let working = || many(runs).enables().starts(0).writes(FRAME[0], 64);
        working()
            .interrupts()
            .writes(FRAME[0] + 64, SIZE - 64)
            .reports(SIZE)
            .is(42);
        let again = many(runs).unbinds();
        again.is_clean();
    }
}

#[test]
fn a_completion_that_nobody_takes_is_a_hint() {
    let waits = |seconds| {
        let stream = Stream::bound().starts(0).writes(FRAME[0], SIZE).completes();
        stream.waits(Duration::from_secs(seconds))
    };
    waits(3).stops().hints(43);
    waits(3).unbinds().hints(43);
    waits(3).kind(Kind::Connected).hints(43); // the end
    waits(3).taken_back(0).stops().is_clean();
    waits(0).stops().is_clean(); // whoever stops early has no use for it
    let unknown = waits(3).declaring(|declares| declares.handover = false);
    unknown.stops().is_clean();
}

#[test]
fn syncs_are_judged_of_cards_without_slots_too() {
    let ring = || Stream::bound().hearing_syncs().map(0x5000, 512, FromDevice);
    let receives = |stream: Stream, job| {
        stream
            .tells(begun(job, 0, vec![Piece::write(0x5000, 512)]))
            .kind(for_job(job, WRITE, 0x5000, 512, Role::Payload))
            .tells(done(job, 512, now(0)))
            .raises(0)
            .tells(Declaration::Released { job: JobId(job) })
    };
    let sync = |way| call(way, 0x5000, 512, FromDevice);
    let got = || receives(ring(), 0);
    receives(got().call(sync(Call::SyncForCpu)), 1).is_clean();
    receives(got(), 1).hints(37);
}
