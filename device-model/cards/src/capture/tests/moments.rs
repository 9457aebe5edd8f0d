// SPDX-License-Identifier: MIT OR Apache-2.0

//! Misbehaviours about when and where else: what each does to memory, journal and interrupts, exactly, and that without
//! it nothing of the kind happens.

use super::*;
use landfall_device::contract::Notice;
use landfall_device::journal::Outcome;

const CLIP: u64 = BASE + 0x3000;
const CLIP_BYTES: u64 = 64 / 8 * 16;

/// What a card with these faults, and what one without, did in a capture of one frame.
fn frame(fault: Fault) -> (Bench, Bench) {
    let (mut bad, mut good) = (once(fault), Bench::good());
    for bench in [&mut bad, &mut good] {
        assert_eq!(bench.capture(0), RESULT_OK);
    }
    (bad, good)
}

fn once(fault: Fault) -> Bench {
    Bench::new(CaptureOptions {
        faults: vec![Planted::once(fault)],
        ..CaptureOptions::default()
    })
}

fn write(address: u64, length: u64) -> (Direction, u64, u64) {
    (Direction::Write, address, length)
}

fn read(address: u64, length: u64) -> (Direction, u64, u64) {
    (Direction::Read, address, length)
}

/// Accesses, completions and interrupts, in order.
fn order(bench: &Bench) -> String {
    let letter = |kind: &Kind| match kind {
        Kind::Access { .. } => Some('a'),
        Kind::Interrupt { .. } => Some('i'),
        kind => match kind.declaration()?.0 {
            Declaration::Done { .. } => Some('d'),
            Declaration::Idle { .. } => Some('s'),
            _ => None,
        },
    };
    bench.host.notes.iter().filter_map(letter).collect()
}

fn mask(bench: &mut Bench) {
    bench.host.put(CLIP, &[0xff; CLIP_BYTES as usize]);
    bench.set(SLOT_CLIP_LO::OFFSET, CLIP as u32);
    bench.set(SLOT_CLIP_HI::OFFSET, (CLIP >> 32) as u32);
    bench.set(SLOT_CLIP_SIZE::OFFSET, CLIP_BYTES as u32);
}

#[test]
fn truncate_keeps_the_low_bits() {
    let mut bench = once(Fault::Truncate { bits: 20 });
    bench.host.map(0, 0x1000);
    bench.slot(0, BASE + 0x10_0000, BYTES as u32);
    bench.capture(0);
    assert_eq!(bench.host.accesses(), [write(0, BYTES)]);
    assert_eq!(bench.host.bytes(0, BYTES), bench.expected(0, 0));
    let mut wide = once(Fault::Truncate { bits: 63 });
    wide.capture(0);
    assert_eq!(wide.host.accesses(), [write(BASE, BYTES)]);
    assert_eq!(wide.strikes(), 0, "nothing was cut off");
}

#[test]
fn route_sets_a_high_bit() {
    let mut bench = once(Fault::Route);
    assert_eq!(bench.capture(0), RESULT_BUS);
    assert_eq!(bench.host.accesses(), [write(BASE | 1 << 57, BYTES)]);
    assert_eq!(bench.host.byte(BASE), 0xee);
}

#[test]
fn early_dma_writes_once_it_is_master_and_was_read() {
    let mut bench = once(Fault::EarlyDma);
    bench.host.map(0x1_0000, 0x1000);
    bench.notice(Notice::BusMaster);
    assert_eq!(bench.host.accesses(), [], "nobody has found it yet");
    bench.host.refuses = Some(DmaError::NotMaster);
    bench.look(ID::OFFSET);
    assert_eq!(bench.host.accesses(), [], "no bus master");
    bench.host.refuses = None;
    bench.notice(Notice::BusMaster);
    assert_eq!(bench.host.accesses(), [write(0x1_0000, 64)]);
    assert_eq!(bench.host.bytes(0x1_0000, 65)[63..], [0xa5, 0xee]);
    bench.look(ID::OFFSET);
    assert_eq!(bench.host.accesses().len(), 1, "once");

    let mut late = once(Fault::EarlyDma);
    late.capture(0);
    late.look(ID::OFFSET);
    assert_eq!(
        late.host.accesses(),
        [write(BASE, BYTES)],
        "a job came first"
    );
    let mut good = Bench::good();
    good.look(ID::OFFSET);
    good.notice(Notice::BusMaster);
    assert_eq!(good.host.accesses(), []);
}

#[test]
fn early_done_completes_before_the_last_bytes() {
    let (bad, good) = frame(Fault::EarlyDone);
    assert_eq!((order(&bad), order(&good)), ("adia".into(), "adi".into()));
    let end = BASE + BYTES;
    assert_eq!(
        bad.host.accesses(),
        [write(BASE, BYTES - 64), write(end - 64, 64)]
    );
    assert_eq!(bad.host.bytes(BASE, BYTES), bad.expected(0, 0));
    assert_eq!(bad.of_slot(SLOT_BYTES::OFFSET, 0), BYTES as u32);
}

#[test]
fn early_irq_interrupts_before_the_last_bytes_and_after() {
    let (bad, good) = frame(Fault::EarlyIrq);
    assert_eq!((order(&bad), order(&good)), ("aiadi".into(), "adi".into()));
    assert_eq!(bad.host.bytes(BASE, BYTES), bad.expected(0, 0));
}

#[test]
fn duplicate_irq_interrupts_twice() {
    let (bad, good) = frame(Fault::DuplicateIrq);
    assert_eq!((order(&bad), order(&good)), ("adii".into(), "adi".into()));
    let mut disabled = once(Fault::DuplicateIrq);
    disabled.set(IRQ_ENABLE::OFFSET, 0);
    disabled.capture(0);
    assert_eq!((order(&disabled), disabled.strikes()), ("ad".into(), 0));
}

#[test]
fn probe_irq_interrupts_although_nothing_is_enabled() {
    let mut bench = once(Fault::ProbeIrq);
    bench.look(ID::OFFSET);
    assert_eq!(bench.host.interrupts, 0, "something is enabled");
    bench.set(IRQ_ENABLE::OFFSET, 0);
    bench.look(LIMITS::OFFSET);
    assert_eq!(bench.host.interrupts, 0, "not the ID");
    bench.look(ID::OFFSET);
    bench.look(ID::OFFSET);
    assert_eq!((bench.host.interrupts, bench.strikes()), (1, 1));
}

#[test]
fn long_length_reports_more_than_there_is() {
    let (bad, good) = frame(Fault::LongLength);
    assert_eq!(bad.of_slot(SLOT_BYTES::OFFSET, 0), 0x7fff_ffff);
    let long = |what: &Declaration| {
        matches!(
            what,
            Declaration::Done {
                moved: 0x7fff_ffff,
                ..
            }
        )
    };
    assert!(bad.host.declared().any(|(what, _)| long(what)));
    assert_eq!(bad.host.accesses(), good.host.accesses());
}

#[test]
fn probe_page_reads_beside_the_frame_in_its_page() {
    let (bad, good) = frame(Fault::ProbePage);
    assert_eq!(
        bad.host.accesses(),
        [write(BASE, BYTES), read(BASE + BYTES + 256, 64)]
    );
    assert_eq!(good.host.accesses(), [write(BASE, BYTES)]);

    let mut before = once(Fault::ProbePage);
    before.slot(0, BASE + 0x1000 - BYTES, BYTES as u32);
    before.capture(0);
    let beside = BASE + 0x1000 - BYTES - 256 - 64;
    assert_eq!(before.host.accesses()[1], read(beside, 64));

    let mut full = once(Fault::ProbePage);
    full.size(WIDTH, HEIGHT * 2, WIDTH * 2);
    full.slot(0, BASE, 0x1000);
    full.capture(0);
    assert_eq!(full.host.accesses(), [write(BASE, 0x1000)]);
    assert_eq!(full.strikes(), 0, "no room in the page");
}

#[test]
fn read_frame_reads_what_is_lent_for_writing() {
    let (bad, _) = frame(Fault::ReadFrame);
    assert_eq!(bad.host.accesses(), [read(BASE, 64), write(BASE, BYTES)]);
    assert_eq!(bad.host.bytes(BASE, BYTES), bad.expected(0, 0));
}

#[test]
fn write_clip_writes_the_mask() {
    let mut bench = once(Fault::WriteClip);
    bench.capture(1);
    assert_eq!(bench.strikes(), 0, "a frame without a mask");
    mask(&mut bench);
    bench.capture(0);
    assert_eq!(
        bench.host.accesses()[1..3],
        [read(CLIP, CLIP_BYTES), write(CLIP, 64)]
    );
    assert_eq!(bench.host.bytes(CLIP, 65)[63..], [0xa5, 0xff]);
    assert_eq!(bench.strikes(), 1);
}

#[test]
fn stale_writes_the_buffer_that_was_taken_back() {
    let mut bench = once(Fault::Stale);
    bench.capture(0);
    bench.capture(1);
    assert_eq!(bench.strikes(), 0, "nothing was taken back");
    bench.set(DONE::OFFSET, 0b01);
    bench.capture(2);
    let stale = [write(BASE, 64), write(BASE + 0x2000, BYTES)];
    assert_eq!(bench.host.accesses()[2..], stale);
    assert_eq!((bench.host.byte(BASE), bench.strikes()), (0xa5, 1));

    let mut queued = once(Fault::Stale);
    queued.capture(0);
    queued.set(DONE::OFFSET, 1);
    queued.queue(1);
    queued.queue(0);
    queued.settle();
    assert_eq!(queued.strikes(), 0, "it is the card's again");
}

/// Lets a card go on for a while after it said idle: what it did, a millisecond at a time.
fn afterwards(bench: &mut Bench) -> Vec<(Direction, u64, u64)> {
    let before = bench.host.accesses().len();
    for _ in 0..200 {
        bench.host.time += Duration::from_millis(1);
        bench.settle();
    }
    bench.host.accesses().split_off(before)
}

#[test]
fn ignore_stop_goes_on_over_resets_and_without_bus_mastering() {
    let mut bench = once(Fault::IgnoreStop);
    big_frame(&mut bench);
    bench.run(false);
    bench.settle();
    assert_eq!(bench.get(STATUS::OFFSET), 0, "it says idle");
    assert!(order(&bench).ends_with('i'), "{}", order(&bench));
    bench.card.reset(Reset::FunctionLevel);
    bench.host.time += Duration::from_millis(1);
    bench.settle();
    bench.host.refuses = Some(DmaError::NotMaster);
    let after = afterwards(&mut bench);
    assert_eq!(after.len(), 99);
    assert_eq!(after[0], write(BASE + STEP + 4096, 4096));
    assert!(after.contains(&write(BASE, 4096)), "over and over");
    let refused = bench.host.notes.iter().filter(|kind| {
        let refused = Outcome::Refused(DmaError::NotMaster);
        matches!(kind, Kind::Access { outcome, .. } if *outcome == refused)
    });
    assert_eq!((refused.count(), bench.strikes()), (99, 1));

    let mut off = once(Fault::IgnoreStop);
    off.capture(0);
    off.run(false);
    off.settle();
    off.card.reset(Reset::Device);
    assert_eq!(afterwards(&mut off), [], "not over a loss of power");
    let mut good = Bench::good();
    big_frame(&mut good);
    good.run(false);
    good.settle();
    assert_eq!(afterwards(&mut good), []);
}

#[test]
fn sever_cuts_the_connection_and_ends_all_work() {
    let mut bench = Bench::new(CaptureOptions {
        faults: vec![Planted {
            when: When {
                byte: Some(1024),
                ..When::default()
            },
            ..Planted::once(Fault::Sever)
        }],
        ..CaptureOptions::default()
    });
    bench.run(true);
    bench.queue(0);
    assert_eq!(bench.settle(), Next::Idle);
    assert!(bench.host.severed);
    assert_eq!(bench.host.accesses(), [write(BASE, 1024)]);
    bench.card.reset(Reset::Device);
    bench.host.severed = false;
    bench.size(WIDTH, HEIGHT, WIDTH * 2);
    bench.slot(0, BASE, BYTES as u32);
    assert_eq!(bench.capture(0), RESULT_OK, "power brings it back");
    assert!(!bench.host.severed);
}

#[test]
fn sever_can_wait_for_a_register_write() {
    let mut bench = Bench::new(CaptureOptions {
        faults: vec![Planted {
            when: When {
                write: Some(NthWrite::of("QUEUE", 2).expect("a register")),
                ..When::default()
            },
            ..Planted::once(Fault::Sever)
        }],
        ..CaptureOptions::default()
    });
    bench.queue(0);
    assert!(!bench.host.severed);
    bench.queue(1);
    assert!(bench.host.severed);
}
