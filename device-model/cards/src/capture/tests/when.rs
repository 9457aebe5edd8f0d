// SPDX-License-Identifier: MIT OR Apache-2.0

//! When faults strike, and how often.

use super::*;

fn with(faults: &[Planted], seed: u64) -> Bench {
    Bench::new(CaptureOptions {
        faults: faults.to_vec(),
        seed,
        ..CaptureOptions::default()
    })
}

/// Which of so many frames, in slots 0 to 3, were shifted or whatever else moves a frame.
fn moved(bench: &mut Bench, frames: u32) -> Vec<u32> {
    let mut moved = Vec::new();
    for frame in 0..frames {
        let slot = (frame % 4) as u8;
        let before = bench.host.accesses().len();
        bench.capture(slot);
        bench.set(DONE::OFFSET, 1 << slot);
        if bench.host.accesses()[before].1 != BASE + 0x1000 * u64::from(slot) {
            moved.push(frame);
        }
    }
    moved
}

fn shift(when: When, times: u32) -> Planted {
    Planted {
        what: Fault::Shift,
        when,
        times,
    }
}

#[test]
fn a_fault_strikes_as_often_as_it_is_told() {
    for times in 0..4 {
        let mut bench = with(&[shift(When::default(), times)], 0);
        assert_eq!(moved(&mut bench, 6), (0..times).collect::<Vec<_>>());
        assert_eq!(bench.strikes(), u64::from(times));
    }
    let mut always = with(&[shift(When::default(), ALWAYS)], 0);
    assert_eq!(moved(&mut always, 6), [0, 1, 2, 3, 4, 5]);
}

/// Every fault of a frame, twice in six frames.
#[test]
fn every_fault_of_a_frame_strikes_exactly_twice() {
    for what in Fault::ALL {
        if matches!(
            what,
            Fault::AfterStop | Fault::IgnoreStop | Fault::EarlyDma | Fault::ProbeIrq | Fault::Sever
        ) || what.class().is_none()
        {
            continue; // not of a frame, or the last thing that the card does
        }
        let planted = Planted {
            times: 2,
            ..Planted::once(what)
        };
        let mut bench = with(&[planted], 0);
        bench.host.map(0, 0x1000);
        bench.host.map(BASE & 0xff_ffff_ffff, 0x4000);
        bench.set(SLOT_CLIP_LO::OFFSET, (BASE + 0x3000) as u32);
        for slot in 0..4 {
            // Above the 40 bits that `truncate` leaves, which then go to the low pages.
            let high = if matches!(what, Fault::Truncate { .. }) {
                1 << 40
            } else {
                0
            };
            bench.slot(slot, high | (BASE + 0x800 * u64::from(slot)), BYTES as u32);
            bench.set_slot(SLOT_CLIP_LO::OFFSET, slot, (BASE + 0x3000) as u32);
            bench.set_slot(SLOT_CLIP_HI::OFFSET, slot, (BASE >> 32) as u32);
            let masked = what == Fault::WriteClip;
            bench.set_slot(SLOT_CLIP_SIZE::OFFSET, slot, if masked { 128 } else { 0 });
        }
        bench.set(IRQ_ENABLE::OFFSET, 3);
        for frame in 0..6 {
            let slot = frame % 4;
            bench.capture(slot);
            bench.set(DONE::OFFSET, 1 << slot);
        }
        assert_eq!(bench.strikes(), 2, "{what}");
    }
}

#[test]
fn a_frame_is_counted_from_when_run_was_set() {
    let at = |frame| When {
        frame: Some(frame),
        ..When::default()
    };
    let mut bench = with(&[shift(at(2), 2)], 0);
    assert_eq!(moved(&mut bench, 4), [2]);
    bench.run(false);
    bench.settle();
    assert_eq!(moved(&mut bench, 4), [2], "the second time");
    bench.run(false);
    bench.settle();
    assert_eq!(moved(&mut bench, 4), [0; 0]);
}

#[test]
fn what_was_written_before_the_byte_is_right() {
    let at = When {
        byte: Some(1000),
        ..When::default()
    };
    let mut bench = with(&[shift(at, 1)], 0);
    bench.capture(0);
    let write = |address, length| (Direction::Write, address, length);
    assert_eq!(
        bench.host.accesses(),
        [write(BASE, 1000), write(BASE + 4096 + 1000, BYTES - 1000)]
    );
    let short = Planted {
        when: at,
        ..Planted::once(Fault::Short)
    };
    let mut bench = with(&[short], 0);
    bench.capture(0);
    assert_eq!(bench.host.accesses(), [write(BASE, 1000)]);
}

#[test]
fn a_register_write_arms_a_fault() {
    let queued = When {
        write: Some(NthWrite::of("QUEUE", 3).expect("a register")),
        ..When::default()
    };
    assert_eq!(moved(&mut with(&[shift(queued, 1)], 0), 5), [2]);
    let element = When {
        write: Some(NthWrite::of("SLOT_BASE_LO[2]", 2).expect("a register")),
        ..When::default()
    };
    let mut bench = with(&[shift(element, 1)], 0);
    assert_eq!(
        moved(&mut bench, 4),
        [0; 0],
        "written once, as the others were"
    );
    bench.slot(2, BASE + 0x2000, BYTES as u32);
    assert_eq!(moved(&mut bench, 1), [0]);
}

#[test]
fn registers_are_known_by_name() {
    for wrong in ["QUEUE[0]", "SLOT_SIZE[32]", "SLOT_SIZE[x]", "queue", ""] {
        let error = NthWrite::of(wrong, 1).expect_err(wrong).to_string();
        assert!(error.contains("CONTROL, STATUS"), "{error}");
    }
    let element = NthWrite::of("SLOT_SIZE[31]", 1).expect("the last");
    assert_eq!(element.name(), "SLOT_SIZE[31]");
}

#[test]
fn a_time_arms_a_fault() {
    let after = When {
        after_us: Some(50),
        ..When::default()
    };
    let mut bench = with(&[shift(after, 1)], 0);
    assert_eq!(moved(&mut bench, 2), [0; 0]);
    bench.host.time = Duration::from_micros(50);
    assert_eq!(moved(&mut bench, 2), [0]);
}

#[test]
fn the_same_seed_draws_the_same_frames() {
    let half = When {
        probability: Some(MILLION / 2),
        ..When::default()
    };
    let drawn = |seed| moved(&mut with(&[shift(half, ALWAYS)], seed), 32);
    assert_eq!(drawn(7), drawn(7));
    assert_ne!(drawn(7), drawn(8));
    let count = drawn(7).len();
    assert!((8..=24).contains(&count), "{count} of 32");
}

/// A strike that came to nothing, as the frame was given up before, is not used up.
#[test]
fn a_strike_that_came_to_nothing_is_spared() {
    let mut bench = with(&[Planted::once(Fault::Overrun)], 0);
    big_frame(&mut bench);
    bench.run(false);
    bench.settle();
    assert_eq!(bench.strikes(), 0);
    bench.size(WIDTH, HEIGHT, WIDTH * 2);
    bench.capture(0);
    assert_eq!(bench.strikes(), 1);
}

#[test]
fn what_makes_no_sense_is_refused_in_words() {
    let once = Planted::once;
    let when = |when| Planted {
        when,
        ..once(Fault::AfterStop)
    };
    let nth = NthWrite::of("QUEUE", 0).expect("a register");
    for (wrong, word) in [
        (once(Fault::Truncate { bits: 64 }), "12 to 63"),
        (once(Fault::Posted { delay_us: 0 }), "1 to 1000000"),
        (
            Planted {
                times: 0,
                ..once(Fault::Shift)
            },
            "`times` 0",
        ),
        (
            Planted {
                times: 2,
                ..once(Fault::WatchFetch)
            },
            "stays",
        ),
        (
            when(When {
                frame: Some(0),
                ..When::default()
            }),
            "of no frame",
        ),
        (
            when(When {
                byte: Some(0),
                ..When::default()
            }),
            "no byte",
        ),
        (
            when(When {
                probability: Some(0),
                ..When::default()
            }),
            "above 0",
        ),
        (
            when(When {
                write: Some(nth),
                ..When::default()
            }),
            "from 1",
        ),
    ] {
        let told = wrong.check().expect_err(word);
        assert!(told.contains(word), "{told}");
    }
}
