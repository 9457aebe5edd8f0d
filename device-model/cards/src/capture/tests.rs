// SPDX-License-Identifier: MIT OR Apache-2.0

mod environments;
mod faults;
mod moments;
mod when;

use std::time::Duration;

use proptest::prelude::*;

use super::pattern::{FrameSpec, Pattern, Pixel, fill};
use super::regs::*;
use super::*;
use landfall_device::contract::{Declaration, Device, Direction, Next, Notice, Reset, STEP_BYTES};
use landfall_device::contract::{DmaError, Registers as _};
use landfall_device::journal::Kind;
use landfall_device::testing::{FakeHost, check_declarations};

const BASE: u64 = 0x1_0010_0000;
const WIDTH: u32 = 64;
const HEIGHT: u32 = 16;
const BYTES: u64 = 64 * 2 * 16;
const STEP: u64 = STEP_BYTES as u64;

/// A card with a driver's hand on it.
struct Bench {
    card: CaptureCard,
    host: FakeHost,
}

impl Bench {
    fn new(options: CaptureOptions) -> Self {
        let mut host = FakeHost::default();
        host.map(BASE, 0x4000);
        let mut bench = Self {
            card: CaptureCard::new(options),
            host,
        };
        bench.size(WIDTH, HEIGHT, WIDTH * 2);
        bench.set(IRQ_ENABLE::OFFSET, 3);
        for slot in 0..4 {
            bench.slot(slot, BASE + 0x1000 * u64::from(slot), BYTES as u32);
        }
        bench
    }

    fn good() -> Self {
        Self::new(CaptureOptions::default())
    }

    fn bad(fault: Fault) -> Self {
        Self::new(CaptureOptions {
            faults: vec![Planted::at(fault, 0)],
            ..CaptureOptions::default()
        })
    }

    fn get(&self, register: usize) -> u32 {
        self.card.read(0, register as u64)
    }

    /// Reads a register as a machine does.
    fn look(&mut self, register: usize) -> u32 {
        let (bar, offset) = (0, register as u64);
        self.notice(Notice::Read { bar, offset });
        self.get(register)
    }

    fn notice(&mut self, notice: Notice) {
        self.card.notice(notice, &mut self.host);
    }

    /// How often the first planted fault struck.
    fn strikes(&self) -> u64 {
        self.card.options.strikes.of(0)
    }

    fn set(&mut self, register: usize, value: u32) {
        self.card.write(0, register as u64, value, &mut self.host);
    }

    fn of_slot(&self, register: usize, slot: u8) -> u32 {
        self.get(register + 0x40 * usize::from(slot))
    }

    fn set_slot(&mut self, register: usize, slot: u8, value: u32) {
        self.set(register + 0x40 * usize::from(slot), value);
    }

    fn size(&mut self, width: u32, height: u32, stride: u32) {
        self.set(GEOMETRY::OFFSET, height << 16 | width);
        self.set(STRIDE::OFFSET, stride);
    }

    fn slot(&mut self, slot: u8, base: u64, size: u32) {
        self.set_slot(SLOT_BASE_LO::OFFSET, slot, base as u32);
        self.set_slot(SLOT_BASE_HI::OFFSET, slot, (base >> 32) as u32);
        self.set_slot(SLOT_SIZE::OFFSET, slot, size);
    }

    fn queue(&mut self, slot: u8) {
        self.set(QUEUE::OFFSET, u32::from(slot));
    }

    fn run(&mut self, run: bool) {
        self.set(CONTROL::OFFSET, u32::from(run));
    }

    fn settle(&mut self) -> Next {
        self.host.settle(&mut self.card)
    }

    fn capture(&mut self, slot: u8) -> u8 {
        self.run(true);
        self.queue(slot);
        self.settle();
        assert_eq!(self.get(DONE::OFFSET) >> slot & 1, 1, "slot {slot} is done");
        self.of_slot(SLOT_STATUS::OFFSET, slot) as u8
    }

    fn expected(&self, sequence: u32, slot: u8) -> Vec<u8> {
        let mut bytes = vec![0; BYTES as usize];
        fill(&mut bytes, 0, &spec(sequence, slot));
        bytes
    }
}

fn spec(sequence: u32, slot: u8) -> FrameSpec {
    FrameSpec {
        pattern: Pattern::Test,
        pixel: Pixel::Yuyv,
        width: WIDTH,
        height: HEIGHT,
        stride: WIDTH * 2,
        sequence,
        slot,
    }
}

#[test]
fn frames_land_whole_in_order_and_nowhere_else() {
    let mut bench = Bench::good();
    bench.queue(2);
    bench.queue(0);
    assert_eq!(bench.get(STATUS::OFFSET), 2 << 8, "queued, not running");
    bench.run(true);
    assert_eq!(bench.get(STATUS::OFFSET), 2 << 8 | 1);
    bench.host.time = Duration::from_nanos(0x1_0000_0002);
    bench.settle();
    assert_eq!(bench.get(DONE::OFFSET), 0b101);
    assert_eq!(bench.host.bytes(BASE + 0x2000, BYTES), bench.expected(0, 2));
    assert_eq!(bench.host.bytes(BASE, BYTES), bench.expected(1, 0));
    assert_eq!(bench.host.byte(BASE + BYTES), 0xee);
    assert_eq!(bench.of_slot(SLOT_SEQUENCE::OFFSET, 0), 1);
    assert_eq!(bench.of_slot(SLOT_BYTES::OFFSET, 0), BYTES as u32);
    assert_eq!(bench.of_slot(SLOT_TIME_LO::OFFSET, 0), 2);
    assert_eq!(bench.of_slot(SLOT_TIME_HI::OFFSET, 0), 1);
    assert_eq!((bench.get(SEQUENCE::OFFSET), bench.host.interrupts), (2, 2));
    assert!(bench.card.line());
    bench.set(IRQ_STATUS::OFFSET, 1);
    bench.set(DONE::OFFSET, 0b001);
    assert!(!bench.card.line());
    assert_eq!(
        (bench.get(DONE::OFFSET), bench.get(STATUS::OFFSET)),
        (0b100, 0)
    );
}

#[test]
fn limits_read_as_made() {
    let bench = Bench::new(CaptureOptions {
        address_bits: 36,
        align_shift: 12,
        boundary_shift: 28,
        max_frame: 0x12_3456,
        ..CaptureOptions::default()
    });
    let limits = LIMITS::from_raw(bench.get(LIMITS::OFFSET));
    assert_eq!((limits.address_bits(), limits.align_shift()), (36, 12));
    assert_eq!((limits.boundary_shift(), limits.slots()), (28, 32));
    assert_eq!(bench.get(MAX_FRAME::OFFSET), 0x12_3456);
    assert_eq!(bench.get(ID::OFFSET), 0x4c46_0001);
    assert_eq!(bench.get(FEATURES::OFFSET), 0x1_0007);
}

/// Breaks one rule each; the card must say which and do nothing else.
#[test]
fn job_that_breaks_a_limit_is_refused_and_nothing_else_happens() {
    type Break = fn(&mut Bench);
    let cases: [(u8, Break); 12] = [
        (RESULT_GEOMETRY, |b| b.set(FORMAT::OFFSET, 3)),
        (RESULT_GEOMETRY, |b| b.set(FORMAT::OFFSET, 4 << 8)),
        (RESULT_GEOMETRY, |b| b.size(0, HEIGHT, WIDTH * 2)),
        (RESULT_GEOMETRY, |b| b.size(WIDTH, HEIGHT, WIDTH * 2 - 1)),
        (RESULT_GEOMETRY, |b| b.size(WIDTH - 1, HEIGHT, WIDTH * 2)),
        (RESULT_GEOMETRY, |b| {
            b.set(SLOT_CLIP_SIZE::OFFSET, 64 / 8 * 16 - 1)
        }),
        (RESULT_GEOMETRY, |b| {
            b.set(SLOT_CLIP_SIZE::OFFSET, MAX_CLIP + 1)
        }),
        (RESULT_TOO_LARGE, |b| b.size(WIDTH, HEIGHT, 0x10_0000)),
        (RESULT_TOO_SMALL, |b| {
            b.set(SLOT_SIZE::OFFSET, BYTES as u32 - 1)
        }),
        (RESULT_ALIGNMENT, |b| b.slot(0, BASE + 0x800, BYTES as u32)),
        (RESULT_ADDRESS, |b| b.slot(0, (1 << 36) - 0x1000, 0x1_0000)),
        (RESULT_BOUNDARY, |b| b.slot(0, BASE + 0xf_f000, 0x1_0000)),
    ];
    for (number, (result, broken)) in cases.into_iter().enumerate() {
        let mut bench = Bench::new(CaptureOptions {
            address_bits: 36,
            align_shift: 12,
            boundary_shift: 20,
            max_frame: 0x10_0000,
            ..CaptureOptions::default()
        });
        if matches!(result, RESULT_ADDRESS | RESULT_BOUNDARY) {
            bench.size(WIDTH, HEIGHT * 3, WIDTH * 2);
        }
        broken(&mut bench);
        assert_eq!(bench.capture(0), result, "case {number}");
        assert_eq!(bench.host.accesses(), [], "case {number}");
        assert_eq!(
            (bench.host.interrupts, bench.get(SEQUENCE::OFFSET)),
            (1, 0),
            "case {number}"
        );
        assert_eq!(bench.of_slot(SLOT_BYTES::OFFSET, 0), 0, "case {number}");
        // The twin: another slot that keeps to the rules is served, unless the rule was the frame's.
        if !matches!(result, RESULT_GEOMETRY | RESULT_TOO_LARGE) {
            bench.slot(1, BASE, 0x4000);
            assert_eq!(bench.capture(1), RESULT_OK, "case {number}");
        }
    }
}

#[test]
fn clip_address_beyond_the_width_is_refused() {
    let mut bench = Bench::new(CaptureOptions {
        address_bits: 36,
        ..CaptureOptions::default()
    });
    bench.set(SLOT_CLIP_HI::OFFSET, 0x10);
    bench.set(SLOT_CLIP_SIZE::OFFSET, 128);
    assert_eq!(bench.capture(0), RESULT_ADDRESS);
    assert_eq!(bench.host.accesses(), []);
}

#[test]
fn clip_mask_decides_which_pixels_are_written() {
    let mut bench = Bench::good();
    let mask = BASE + 0x3000;
    let row = [0u8, 0b0000_0110, 0xff, 0, 0, 0, 0, 0x80];
    bench.host.put(mask, &row.repeat(HEIGHT as usize));
    bench.set(SLOT_CLIP_LO::OFFSET, mask as u32);
    bench.set(SLOT_CLIP_HI::OFFSET, (mask >> 32) as u32);
    bench.set(SLOT_CLIP_SIZE::OFFSET, 128);
    assert_eq!(bench.capture(0), RESULT_OK);
    assert_eq!(bench.host.accesses()[0], (Direction::Read, mask, 128));
    let frame = bench.expected(0, 0);
    for (at, byte) in frame.iter().enumerate() {
        let pixel = at / 2 % 64;
        let shown = row[pixel / 8] >> (pixel % 8) & 1 != 0;
        let want = if shown { *byte } else { 0xee };
        assert_eq!(bench.host.byte(BASE + at as u64), want, "byte {at}");
    }
    assert_eq!(bench.of_slot(SLOT_BYTES::OFFSET, 0), (2 + 8 + 1) * 2 * 16);
}

#[test]
fn bytes_between_lines_are_left_alone() {
    let mut bench = Bench::good();
    bench.size(60, 4, 128);
    assert_eq!(bench.capture(0), RESULT_OK);
    let mut frame = vec![0; 512];
    fill(
        &mut frame,
        0,
        &FrameSpec {
            width: 60,
            height: 4,
            ..spec(0, 0)
        },
    );
    for (at, byte) in frame.into_iter().enumerate() {
        let want = if at % 128 < 120 { byte } else { 0xee };
        assert_eq!(bench.host.byte(BASE + at as u64), want, "byte {at}");
    }
    assert_eq!(bench.of_slot(SLOT_BYTES::OFFSET, 0), 480);
}

#[test]
fn refused_piece_ends_the_job_and_tells_what_was_written() {
    let mut bench = Bench::good();
    bench.size(1024, 256, 2048);
    bench.slot(0, BASE, 0x8_0000);
    bench.host.map(BASE, STEP);
    assert_eq!(bench.capture(0), RESULT_BUS);
    assert_eq!(bench.of_slot(SLOT_BYTES::OFFSET, 0), STEP as u32);
}

/// However small the pieces are in which a frame is made: a step is one access, of what was written.
#[test]
fn each_step_of_a_frame_without_gaps_is_one_access() {
    let mut bench = Bench::good();
    bench.size(1024, 300, 2048);
    bench.slot(0, BASE, 0xa_0000);
    bench.host.map(BASE, 0xa_0000);
    assert_eq!(bench.capture(0), RESULT_OK);
    let write = |address, length| (Direction::Write, address, length);
    assert_eq!(
        bench.host.accesses(),
        [
            write(BASE, STEP),
            write(BASE + STEP, STEP),
            write(BASE + 2 * STEP, 300 * 2048 - 2 * STEP)
        ]
    );
}

#[test]
fn without_bus_mastering_nothing_is_accessed() {
    for why in [DmaError::NotMaster, DmaError::NotPowered] {
        let mut bench = Bench::good();
        bench.host.refuses = Some(why);
        assert_eq!(bench.capture(0), RESULT_NO_MASTER);
        assert_eq!(bench.host.accesses(), []);
    }
    // In mid-frame: not one access more.
    let mut bench = Bench::good();
    big_frame(&mut bench);
    bench.host.refuses = Some(DmaError::NotMaster);
    bench.settle();
    assert_eq!(
        bench.of_slot(SLOT_STATUS::OFFSET, 0),
        u32::from(RESULT_NO_MASTER)
    );
    assert_eq!(bench.host.accesses().len(), 1);
}

#[test]
fn a_card_that_rests_has_a_frame_in_work_for_as_long_and_stops_at_once() {
    let rest = Duration::from_millis(20);
    let mut bench = Bench::new(CaptureOptions {
        rest,
        ..CaptureOptions::default()
    });
    bench.size(1024, 256, 2048);
    bench.slot(0, BASE, 0x8_0000);
    bench.host.map(BASE, 0x8_0000);
    bench.run(true);
    bench.queue(0);
    for pieces in 1..=2 {
        assert_eq!(bench.settle(), Next::At(bench.host.time + rest));
        bench.host.time += rest;
        assert_eq!(bench.card.step(&mut bench.host), Next::Again);
        let accesses = bench.host.accesses();
        let written: u64 = accesses.iter().map(|(_, _, length)| length).sum();
        assert_eq!(written, pieces * 0x4_0000);
    }
    // It rests once more, and finds that there is nothing left to write.
    assert_eq!(bench.settle(), Next::At(bench.host.time + rest));
    bench.host.time += rest;
    assert_eq!(bench.settle(), Next::Idle);

    bench.queue(0);
    assert_eq!(bench.settle(), Next::At(bench.host.time + rest));
    bench.run(false);
    assert_eq!(bench.settle(), Next::Idle);
}

/// Begins a frame of two pieces and writes the first.
fn big_frame(bench: &mut Bench) {
    bench.size(1024, 256, 2048);
    bench.slot(0, BASE, 0x8_0000);
    bench.host.map(BASE, 0x8_0000);
    bench.run(true);
    bench.queue(0);
    bench.queue(1);
    while bench.host.accesses().is_empty() {
        assert_eq!(bench.card.step(&mut bench.host), Next::Again);
    }
}

#[test]
fn stop_gives_the_frame_up_and_is_idle_only_after_the_last_byte() {
    let mut bench = Bench::good();
    big_frame(&mut bench);
    bench.run(false);
    assert_eq!(
        bench.get(STATUS::OFFSET),
        1,
        "queue is returned, card is busy"
    );
    assert_eq!(bench.get(IRQ_STATUS::OFFSET), 0);
    assert_eq!(bench.settle(), Next::Idle);
    assert_eq!(
        (bench.get(STATUS::OFFSET), bench.get(IRQ_STATUS::OFFSET)),
        (0, 3)
    );
    assert_eq!(
        (
            bench.get(DONE::OFFSET),
            bench.of_slot(SLOT_STATUS::OFFSET, 0)
        ),
        (1, RESULT_ABORTED.into())
    );
    let written = bench.host.accesses().len();
    bench.host.time += Duration::from_secs(1);
    assert_eq!(bench.settle(), Next::Idle);
    assert_eq!(bench.host.accesses().len(), written, "idle is idle");
    let stops = bench
        .host
        .declared()
        .filter(|(what, _)| matches!(what, Declaration::Idle { .. }));
    assert_eq!(stops.count(), 1);
}

/// What is queued after the start is none of what was to stop.
#[test]
fn a_card_that_is_started_while_it_stops_is_idle_first() {
    for queued_first in [false, true] {
        let mut bench = Bench::good();
        big_frame(&mut bench);
        bench.run(false);
        if queued_first {
            bench.set(QUEUE::OFFSET, 0);
        }
        bench.run(true);
        assert_eq!(bench.get(DONE::OFFSET), u32::from(!queued_first));
        bench.set(QUEUE::OFFSET, 0);
        assert_eq!(bench.settle(), Next::Idle);
        assert_eq!(bench.of_slot(SLOT_STATUS::OFFSET, 0), 0);
        let (declares, notes) = (bench.card.declares(), &bench.host.notes);
        assert_eq!(check_declarations(&declares, notes), Ok(()));
    }
}

#[test]
fn resets_stop_at_once_and_forget_all() {
    for reset in [Reset::Device, Reset::FunctionLevel, Reset::Register] {
        let mut bench = Bench::good();
        big_frame(&mut bench);
        match reset {
            Reset::Register => bench.set(CONTROL::OFFSET, 0x100),
            kind => bench.card.reset(kind),
        }
        assert_eq!(bench.settle(), Next::Idle);
        assert_eq!(bench.host.accesses().len(), 1, "{reset:?}");
        for (register, value) in [
            (STATUS::OFFSET, 0),
            (CONTROL::OFFSET, 0),
            (SEQUENCE::OFFSET, 0),
            (DONE::OFFSET, 0),
            (IRQ_ENABLE::OFFSET, 0),
            (GEOMETRY::OFFSET, 0),
            (SLOT_SIZE::OFFSET, 0),
        ] {
            assert_eq!(bench.get(register), value, "{reset:?} {register:#x}");
        }
    }
}

#[test]
fn interval_spaces_frames_and_skips_the_numbers_of_those_it_drops() {
    let mut bench = Bench::good();
    bench.set(INTERVAL::OFFSET, 10_000);
    let ms = Duration::from_millis;
    bench.run(true);
    bench.queue(0);
    bench.queue(1);
    assert_eq!(bench.settle(), Next::At(ms(10)));
    assert_eq!(
        bench.get(DONE::OFFSET),
        0b01,
        "the second waits for its time"
    );
    bench.host.time = ms(10);
    assert_eq!(bench.settle(), Next::At(ms(20)));
    assert_eq!(bench.get(DONE::OFFSET), 0b11);
    // Nothing is queued at 20, 30 and 40 ms.
    bench.host.time = ms(45);
    bench.settle();
    bench.queue(2);
    assert_eq!(bench.settle(), Next::At(ms(50)));
    bench.host.time = ms(50);
    bench.settle();
    assert_eq!(bench.of_slot(SLOT_SEQUENCE::OFFSET, 2), 5);
}

#[test]
fn queueing_twice_or_beyond_the_table_does_nothing() {
    let mut bench = Bench::good();
    for slot in [3, 3, 32, 255] {
        bench.queue(slot);
    }
    assert_eq!(bench.get(STATUS::OFFSET) >> 8, 1);
}

#[test]
fn enabling_a_pending_cause_raises_it() {
    let mut bench = Bench::good();
    bench.set(IRQ_ENABLE::OFFSET, 0);
    bench.capture(0);
    assert_eq!((bench.host.interrupts, bench.card.line()), (0, false));
    bench.set(IRQ_ENABLE::OFFSET, 1);
    assert_eq!((bench.host.interrupts, bench.card.line()), (1, true));
}

/// A frame's beginning is a cause for whoever asks, and leaves no trace for others.
#[test]
fn a_frame_that_begins_is_told_to_who_asks() {
    for (enabled, causes, interrupts) in [(1, 1, 1), (5, 5, 2)] {
        let mut bench = Bench::good();
        bench.set(IRQ_ENABLE::OFFSET, enabled);
        bench.capture(0);
        assert_eq!(bench.get(IRQ_STATUS::OFFSET), causes);
        assert_eq!(bench.host.interrupts, interrupts);
    }
}

#[test]
fn self_test_complements_eight_bytes() {
    let mut bench = Bench::good();
    bench.host.put(BASE, &[1, 2, 3, 4, 5, 6, 7, 0xff]);
    bench.set(SELFTEST_LO::OFFSET, BASE as u32);
    bench.set(SELFTEST_HI::OFFSET, 1);
    bench.set(SELFTEST::OFFSET, 1);
    assert_eq!(bench.get(SELFTEST::OFFSET) & 1, 1);
    bench.settle();
    assert_eq!(bench.get(SELFTEST::OFFSET), 0);
    assert_eq!(
        bench.host.bytes(BASE + 8, 9),
        [254, 253, 252, 251, 250, 249, 248, 0, 0xee]
    );
    bench.set(SELFTEST_LO::OFFSET, 0x8000_0000);
    bench.set(SELFTEST::OFFSET, 1);
    bench.settle();
    assert_eq!(bench.get(SELFTEST::OFFSET) >> 8, u32::from(RESULT_BUS));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is written where, a card without a fault writes only inside ranges that were in a slot's
    /// registers, and never while it says that it is not busy.
    #[test]
    fn any_driver_is_survived(
        steps in proptest::collection::vec((0u16..0x340, any::<u32>(), 0u8..4), 1..200),
    ) {
        let mut bench = Bench::good();
        bench.host.map(0, 0x2000);
        for (word, value, shape) in steps {
            // Mostly small values, so that some of it makes sense.
            let value = match shape { 0 => value, 1 => value & 0xf, 2 => value & 0x3f_ffff, _ => 1 };
            bench.set(usize::from(word) * 4, value);
            let busy = bench.card.busy();
            let before = bench.host.accesses().len();
            let sizes = 0..64;
            for _ in sizes {
                if bench.card.step(&mut bench.host) != Next::Again {
                    break;
                }
            }
            prop_assert!(busy || bench.host.accesses().len() == before);
            bench.host.time += Duration::from_micros(100);
            prop_assert_eq!(bench.get(SEQUENCE::OFFSET), bench.card.registers.sequence);
        }
    }

    /// Every register that keeps what is written reads back as written, whatever was there before.
    #[test]
    fn plain_registers_read_back(a in any::<u32>(), b in any::<u32>(), slot in 0u8..32) {
        let mut bench = Bench::good();
        for register in [STRIDE::OFFSET, INTERVAL::OFFSET, GEOMETRY::OFFSET, SELFTEST_LO::OFFSET, SELFTEST_HI::OFFSET] {
            bench.set(register, a);
            bench.set(register, b);
            prop_assert_eq!(bench.get(register), b);
        }
        for register in [SLOT_BASE_LO::OFFSET, SLOT_BASE_HI::OFFSET, SLOT_SIZE::OFFSET,
                         SLOT_CLIP_LO::OFFSET, SLOT_CLIP_HI::OFFSET, SLOT_CLIP_SIZE::OFFSET] {
            bench.set_slot(register, slot, a);
            prop_assert_eq!(bench.of_slot(register, slot), a);
        }
        for register in [SLOT_STATUS::OFFSET, SLOT_BYTES::OFFSET, SLOT_SEQUENCE::OFFSET, SLOT_TIME_LO::OFFSET] {
            bench.set_slot(register, slot, a);
            prop_assert_eq!(bench.of_slot(register, slot), 0);
        }
    }
}
