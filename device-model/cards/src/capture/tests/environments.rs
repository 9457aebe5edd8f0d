// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is no misbehaviour but shows those of drivers: writes that arrive late, masks that change, registers written at
//! the wrong time.

use super::*;
use landfall_device::contract::Notice;

const CLIP: u64 = BASE + 0x3000;

/// A card whose writes take 100 us, and whose driver's writes are numbered.
fn posted() -> Bench {
    let mut bench = Bench::new(CaptureOptions {
        faults: vec![Planted {
            when: When {
                write: Some(NthWrite::of("SLOT_SIZE[3]", 1).expect("a register")),
                ..When::default()
            },
            ..Planted::once(Fault::Posted { delay_us: 100 })
        }],
        ..CaptureOptions::default()
    });
    // The write that begins it is the first one on its way.
    bench.look(ID::OFFSET);
    bench.host.notes.clear();
    bench
}

fn write(bench: &mut Bench, register: usize, value: u32) -> u64 {
    bench.host.write += 1;
    bench.set(register, value);
    bench.host.write
}

#[test]
fn posted_writes_arrive_late_and_in_order() {
    let mut bench = posted();
    let first = write(&mut bench, CONTROL::OFFSET, 1);
    bench.host.time = Duration::from_micros(60);
    let second = write(&mut bench, QUEUE::OFFSET, 0);
    assert_eq!(bench.settle(), Next::At(Duration::from_micros(100)));
    assert_eq!(bench.host.accesses(), []);
    bench.host.time = Duration::from_micros(100);
    assert_eq!(bench.settle(), Next::At(Duration::from_micros(160)));
    assert_eq!(bench.host.accesses(), [], "it runs, and nothing is queued");
    bench.host.time = Duration::from_micros(160);
    assert_eq!(bench.settle(), Next::Idle);
    assert_eq!(bench.host.accesses().len(), 1);
    let delayed = |write| (Declaration::Delayed, Some(write));
    let arrived = |write| (Declaration::Arrived { flushed: false }, Some(write));
    let told: Vec<_> = bench.host.declared().take(5).collect();
    let expected = [
        delayed(first),
        delayed(second),
        arrived(first),
        arrived(second),
    ];
    let expected: Vec<_> = expected
        .iter()
        .map(|(what, write)| (what, *write))
        .collect();
    assert_eq!(told[..4], expected);
    assert!(
        matches!(told[4], (Declaration::Accepted { .. }, write) if write == Some(second)),
        "{told:?}"
    );
}

#[test]
fn a_read_flushes_posted_writes() {
    let mut bench = posted();
    let run = write(&mut bench, CONTROL::OFFSET, 1);
    assert_eq!(bench.get(CONTROL::OFFSET), 0);
    assert_eq!(bench.look(CONTROL::OFFSET), 1);
    let arrived = Declaration::Arrived { flushed: true };
    assert_eq!(bench.host.declared().last(), Some((&arrived, Some(run))));
    let told = bench.host.notes.len();
    bench.host.time = Duration::from_secs(1);
    bench.settle();
    assert_eq!(bench.host.notes.len(), told, "it does not arrive twice");

    let mut good = Bench::good();
    good.host.notes.clear();
    write(&mut good, CONTROL::OFFSET, 1);
    assert_eq!(good.get(CONTROL::OFFSET), 1);
    good.look(CONTROL::OFFSET);
    assert_eq!(good.host.notes, []);
}

#[test]
fn posted_writes_before_a_reset_have_no_effect_after_it() {
    let mut bench = posted();
    write(&mut bench, STRIDE::OFFSET, 1);
    bench.card.reset(Reset::FunctionLevel);
    assert_eq!(bench.look(STRIDE::OFFSET), 0);
}

/// A card that looks at masks, with one in slot 0.
fn masked(faults: Vec<Planted>) -> Bench {
    let mut bench = Bench::new(CaptureOptions {
        faults,
        ..CaptureOptions::default()
    });
    bench.host.put(CLIP, &[0xff; 128]);
    bench.set(SLOT_CLIP_LO::OFFSET, CLIP as u32);
    bench.set(SLOT_CLIP_HI::OFFSET, (CLIP >> 32) as u32);
    bench.set(SLOT_CLIP_SIZE::OFFSET, 128);
    bench.queue(0);
    bench
}

#[test]
fn watch_fetch_tells_of_a_mask_that_changed_after_the_doorbell() {
    let watch = vec![Planted::once(Fault::WatchFetch)];
    let changed = |faults: &[Planted], change: bool| {
        let mut bench = masked(faults.to_vec());
        if change {
            bench.host.put(CLIP + 5, &[0]);
        }
        bench.run(true);
        bench.settle();
        let reads = bench.host.accesses();
        let reads = reads.iter().filter(|access| access.0 == Direction::Read);
        let told = bench.host.declared().find_map(|(what, _)| match what {
            Declaration::Changed { job, address } => Some((job.0, *address)),
            _ => None,
        });
        (reads.count(), told)
    };
    assert_eq!(changed(&watch, true), (2, Some((0, CLIP + 5))));
    assert_eq!(changed(&watch, false), (2, None));
    assert_eq!(
        changed(&[], true),
        (1, None),
        "who does not look sees nothing"
    );
}

#[test]
fn writes_at_the_wrong_time_are_noted() {
    let illegal = |bench: &mut Bench, register: usize, value| {
        let before = bench.host.notes.len();
        bench.set(register, value);
        match bench.host.notes.get(before)?.declaration()?.0 {
            Declaration::NotNow { why } => Some(why.to_string()),
            _ => None,
        }
    };
    let mut bench = Bench::good();
    for register in [FORMAT::OFFSET, STRIDE::OFFSET, SLOT_SIZE::OFFSET] {
        let value = bench.get(register);
        assert_eq!(illegal(&mut bench, register, value), None, "nothing runs");
    }
    big_frame(&mut bench);
    for (register, name) in [
        (FORMAT::OFFSET, "FORMAT"),
        (GEOMETRY::OFFSET, "GEOMETRY"),
        (STRIDE::OFFSET, "STRIDE"),
    ] {
        let expected = format!("{name} was written while job 0 was in work");
        assert_eq!(illegal(&mut bench, register, 0), Some(expected));
    }
    assert_eq!(illegal(&mut bench, INTERVAL::OFFSET, 0), None);
    let told = illegal(&mut bench, SLOT_BASE_LO::OFFSET, 0).expect("in work");
    assert!(told.contains("SLOT_BASE_LO[0]"), "{told}");
    let told = illegal(&mut bench, SLOT_CLIP_SIZE::OFFSET + 0x40, 0).expect("queued");
    assert_eq!(
        told,
        "SLOT_CLIP_SIZE[1] was written while slot 1 was queued"
    );
    assert_eq!(illegal(&mut bench, SLOT_SIZE::OFFSET + 0x80, 0), None);
    let record = illegal(&mut bench, SLOT_STATUS::OFFSET + 0x40, 0);
    assert_eq!(record, None, "it is read-only");
}

#[test]
fn a_bus_master_that_was_read_is_no_reason_to_do_anything() {
    let mut bench = Bench::good();
    bench.host.notes.clear();
    bench.notice(Notice::BusMaster);
    bench.look(ID::OFFSET);
    assert_eq!(bench.host.notes, []);
}
