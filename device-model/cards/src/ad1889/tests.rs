// SPDX-License-Identifier: MIT OR Apache-2.0

use std::time::Duration;

use super::*;
use crate::late::LATE;
use landfall_device::journal::Kind;
use landfall_device::testing::{FakeHost, check_declarations};

const RING: u64 = 0x10_0000;
/// Bytes of a ring, and of a period, of the tests.
const BYTES: u64 = 4096;
const PERIOD: u64 = 1024;
/// 16-bit stereo at 48 kHz.
const SPEED: u64 = 192_000;

struct Bench {
    card: Ad1889,
    host: FakeHost,
    speaker: Speaker,
}

fn bench(fault: Option<Fault>, fault_period: u64) -> Bench {
    let speaker = Speaker::default();
    let mut host = FakeHost::default();
    host.map(RING, 0x1_0000);
    let card = Ad1889::new(Ad1889Options {
        speaker: speaker.clone(),
        fault,
        fault_period,
    });
    let mut bench = Bench {
        card,
        host,
        speaker,
    };
    bench.write(DISR::OFFSET, Width::Four, ENABLES.into());
    bench
}

fn usual() -> Bench {
    bench(None, 0)
}

impl Bench {
    fn access(offset: usize, width: Width) -> Access {
        let (bar, offset) = (0, offset as u64);
        Access { bar, offset, width }
    }

    fn write(&mut self, offset: usize, width: Width, value: u64) {
        self.host.write += 1;
        let access = Self::access(offset, width);
        self.card.store(access, value, &mut self.host);
    }

    fn read(&mut self, offset: usize, width: Width) -> u64 {
        self.card.load(Self::access(offset, width), &mut self.host)
    }

    /// Gives a channel its ring, as the driver does, and switches its interrupt on.
    fn prepare(&mut self, place: &channel::Place) {
        let (address, period, control) = match place.way {
            Direction::Write => (ADCBA::OFFSET, ADCIC::OFFSET, DMAADC::OFFSET),
            Direction::Read => (WAVBA::OFFSET, WAVIC::OFFSET, DMAWAV::OFFSET),
        };
        for (offset, value) in [(0, RING), (4, RING), (8, BYTES), (12, BYTES)] {
            self.write(address + offset, Width::Four, value);
        }
        for offset in [0, 4] {
            self.write(period + offset, Width::Four, PERIOD);
        }
        self.write(control, Width::Two, 0x6);
    }

    fn record(&mut self) {
        self.prepare(&ADC);
        self.write(RAMC::OFFSET, Width::Two, 0x7);
    }

    fn play(&mut self) {
        self.prepare(&WAVE);
        self.write(WAS::OFFSET, Width::Two, 48_000);
        self.write(WSMC::OFFSET, Width::Two, 0x700);
    }

    /// Lets the time pass in which so many bytes are moved, and a little more.
    fn pass(&mut self, bytes: u64) -> Next {
        self.host.time += Duration::from_nanos(bytes * 1_000_000_000 / SPEED + 1);
        self.host.settle(&mut self.card)
    }

    /// Clears what the interrupt came for; gives that.
    fn acknowledge(&mut self) -> u64 {
        let causes = self.read(DISR::OFFSET, Width::Four);
        self.write(DISR::OFFSET, Width::Four, causes);
        causes & u64::from(CAUSES)
    }

    /// So many periods pass, and each interrupt is taken.
    fn periods(&mut self, count: u64) {
        for _ in 0..count {
            self.pass(PERIOD);
            self.acknowledge();
        }
    }

    fn keeps_its_word(&self) -> Result<(), String> {
        check_declarations(&self.card.declares(), &self.host.notes)
    }

    fn done(&self) -> Vec<(u64, u64, bool)> {
        let done = |(what, _)| match what {
            &Declaration::Done {
                job, moved, owed, ..
            } => Some((job.0, moved, owed.is_some())),
            _ => None,
        };
        self.host.declared().filter_map(done).collect()
    }
}

fn pattern(from: u64, length: u64) -> Vec<u8> {
    (from..from + length).map(recorded).collect()
}

#[test]
fn the_driver_finds_a_codec_at_once_and_its_volumes_keep_what_they_are_given() {
    let mut bench = usual();
    assert_eq!(bench.read(ACIC::OFFSET, Width::Two), 0);
    bench.write(ACIC::OFFSET, Width::Two, 2);
    assert_eq!(bench.read(ACIC::OFFSET, Width::Two), 2);
    bench.write(ACIC::OFFSET, Width::Two, 3);
    assert_eq!(bench.read(ACIC::OFFSET, Width::Two), 0x8003);
    let id = [0x17c, 0x17e].map(|at| bench.read(at, Width::Two));
    assert_eq!(id, [0x4144, 0x5303]);
    assert_eq!(bench.read(0x126, Width::Two), 0xf);
    bench.write(0x102, Width::Two, 0x1f1f);
    bench.write(0x126, Width::Two, 0x100);
    bench.write(0x17c, Width::Two, 0);
    assert_eq!(bench.read(0x100, Width::Four), 0x1f1f_0000);
    assert_eq!(bench.read(0x126, Width::Two), 0x10f);
    assert_eq!(bench.read(0x17c, Width::Four), 0x5303_4144);
    bench.write(0x100, Width::Two, 1);
    assert_eq!(bench.read(0x102, Width::Two), 0x8000, "as after a reset");
    assert_eq!(bench.card.name(Access::word(0, 0x10)), None);
    let name = bench.card.name(Bench::access(0x126, Width::Two));
    assert_eq!(name.expect("a register").to_string(), "AC97[19]");
}

#[test]
fn a_recording_fills_the_ring_period_by_period_in_its_time() {
    let mut bench = usual();
    bench.record();
    assert!(matches!(bench.host.settle(&mut bench.card), Next::At(_)));
    assert_eq!(bench.host.accesses(), [], "no sample is there yet");
    bench.pass(BURST as u64);
    assert_eq!(
        bench.host.accesses(),
        [(Direction::Write, RING, BURST as u64)]
    );
    assert_eq!(
        bench.read(ADCCA::OFFSET, Width::Eight),
        BYTES << 32 | (RING + BURST as u64)
    );
    assert_eq!(bench.read(ADCCC::OFFSET, Width::Four), BYTES - BURST as u64);
    assert!(!bench.card.line());
    bench.pass(PERIOD - BURST as u64);
    assert!(bench.card.line());
    assert_eq!(bench.acknowledge(), 1 << 1);
    assert!(!bench.card.line());
    bench.periods(3);
    assert_eq!(bench.host.bytes(RING, BYTES), pattern(0, BYTES));
    assert_eq!(bench.host.byte(RING + BYTES), 0xee, "no more");
    assert_eq!(
        bench.read(ADCCA::OFFSET, Width::Four),
        RING,
        "from its beginning"
    );
    bench.periods(2);
    assert_eq!(
        bench.host.bytes(RING, 2 * PERIOD),
        pattern(BYTES, 2 * PERIOD)
    );
    let done: Vec<_> = (0..6).map(|job| (job, PERIOD, true)).collect();
    assert_eq!(bench.done(), done);
    assert_eq!(bench.host.interrupts, 6);
    assert_eq!(bench.keeps_its_word(), Ok(()));
}

#[test]
fn what_is_played_is_heard_byte_for_byte() {
    let mut bench = usual();
    let sound: Vec<u8> = (0..BYTES).map(|byte| (byte % 251) as u8).collect();
    bench.host.put(RING, &sound);
    bench.play();
    bench.periods(BYTES / PERIOD);
    assert!(bench.speaker.heard() == sound);
    bench.host.put(RING, &[7; PERIOD as usize]);
    bench.periods(1);
    assert_eq!(
        bench.speaker.heard()[BYTES as usize..],
        [7; PERIOD as usize]
    );
    let accesses = bench.host.accesses();
    assert!(accesses.iter().all(|(way, ..)| *way == Direction::Read));
    assert_eq!(bench.keeps_its_word(), Ok(()));
}

/// Both at once, by one line.
#[test]
fn channels_know_nothing_of_each_other() {
    let mut bench = usual();
    bench.record();
    bench.play();
    bench.pass(PERIOD);
    assert_eq!(
        bench.read(DISR::OFFSET, Width::Four) & 0xffff,
        1 << 3 | 1 << 1
    );
    assert_eq!(bench.acknowledge(), 1 << 3 | 1 << 1);
    bench.write(WSMC::OFFSET, Width::Two, 0x300);
    bench.periods(2);
    assert_eq!(bench.speaker.heard(), pattern(0, PERIOD));
    assert_eq!(bench.host.bytes(RING, 3 * PERIOD), pattern(0, 3 * PERIOD));
    assert_eq!(bench.keeps_its_word(), Ok(()));
}

#[test]
fn no_byte_follows_the_stop_and_the_run_in_hand_is_told_as_stopped() {
    let mut bench = usual();
    bench.record();
    bench.pass(BURST as u64);
    bench.write(RAMC::OFFSET, Width::Two, 0x3);
    let before = bench.host.accesses().len();
    assert_eq!(bench.pass(10 * BYTES), Next::Idle);
    assert_eq!(bench.host.accesses().len(), before);
    let last: Vec<_> = bench.host.declared().map(|(what, _)| what).collect();
    let queue = Some(QueueId(0));
    assert_eq!(
        last[last.len() - 3..],
        [
            &Declaration::Stopping { queue },
            &Declaration::failed(JobId(0), "stopped", None),
            &Declaration::Idle { queue },
        ]
    );
    bench.record();
    bench.periods(1);
    assert_eq!(
        bench.host.bytes(RING, PERIOD),
        pattern(0, PERIOD),
        "a recording begins anew"
    );
    assert_eq!(bench.keeps_its_word(), Ok(()));
}

#[test]
fn the_next_period_waits_for_the_driver_and_a_busy_host_loses_time_and_no_sample() {
    let mut bench = usual();
    bench.record();
    bench.pass(PERIOD);
    assert_eq!(bench.pass(BYTES), Next::Idle);
    assert_eq!(bench.host.interrupts, 1);
    let moved = bench.read(ADCCA::OFFSET, Width::Four) - RING;
    assert_eq!(moved, 2 * PERIOD - BURST as u64);
    bench.acknowledge();
    assert_eq!(bench.pass(0), Next::Idle);
    assert_eq!(bench.host.interrupts, 2);
    bench.acknowledge();
    bench.host.time += Duration::from_secs(3600);
    bench.host.settle(&mut bench.card);
    bench.acknowledge();
    bench.host.settle(&mut bench.card);
    bench.acknowledge();
    // 20 ms are 3840 bytes.
    for _ in 0..8 {
        bench.host.settle(&mut bench.card);
        bench.acknowledge();
    }
    assert!(
        (5..8).contains(&bench.host.interrupts),
        "{}",
        bench.host.interrupts
    );
    assert_eq!(bench.keeps_its_word(), Ok(()));
}

/// Periods that do not divide the ring, and a ring at the end of what a card reaches.
#[test]
fn a_job_ends_at_the_rings_end_and_at_that_of_all_addresses() {
    let mut bench = usual();
    bench.prepare(&ADC);
    bench.write(ADCBC::OFFSET, Width::Four, 1500);
    bench.write(ADCCC::OFFSET, Width::Four, 1500);
    bench.write(RAMC::OFFSET, Width::Two, 0x7);
    bench.periods(3);
    let done = [
        (0, 1024, true),
        (1, 476, false),
        (2, 548, true),
        (3, 952, false),
        (4, 72, true),
    ];
    assert_eq!(bench.done(), done);
    assert_eq!(bench.host.bytes(RING, 72), pattern(3000, 72));
    assert_eq!(bench.keeps_its_word(), Ok(()));

    let mut bench = usual();
    bench.host.map(0, 4096);
    bench.host.map((1 << 32) - 4096, 4096);
    bench.prepare(&ADC);
    bench.write(ADCCA::OFFSET, Width::Four, (1 << 32) - 100);
    bench.write(RAMC::OFFSET, Width::Two, 0x7);
    bench.periods(1);
    assert_eq!(bench.host.bytes(0, 924), pattern(100, 924));
    assert_eq!(bench.done(), [(0, 100, false), (1, 924, true)]);
    assert_eq!(bench.keeps_its_word(), Ok(()));
}

#[test]
fn a_channel_that_does_not_repeat_stops_at_the_end() {
    let mut bench = usual();
    bench.prepare(&WAVE);
    bench.write(DMAWAV::OFFSET, Width::Two, 0x4);
    bench.write(WAS::OFFSET, Width::Two, 48_000);
    bench.write(WSMC::OFFSET, Width::Two, 0x700);
    bench.periods(5);
    assert_eq!(bench.speaker.heard().len() as u64, BYTES);
    assert_eq!(bench.read(CHSS::OFFSET, Width::Four), 1 << 3);
    bench.write(CHSS::OFFSET, Width::Four, 1 << 3);
    assert_eq!(bench.read(CHSS::OFFSET, Width::Four), 0);
    assert_eq!(bench.keeps_its_word(), Ok(()));
}

#[test]
fn a_refused_burst_stops_its_channel_and_is_an_interrupt_if_that_is_enabled() {
    for enabled in [true, false] {
        let mut bench = usual();
        if !enabled {
            bench.write(DISR::OFFSET, Width::Four, 0);
        }
        bench.record();
        bench.host.pages.clear();
        bench.pass(PERIOD);
        assert_eq!(bench.card.line(), enabled);
        assert_eq!(bench.host.interrupts, u32::from(enabled) as usize);
        assert_eq!(bench.done(), [(0, 0, enabled)]);
        assert_eq!(bench.read(CHSS::OFFSET, Width::Four), 1 << 1);
        assert_eq!(bench.pass(BYTES), Next::Idle);
        bench.write(DISR::OFFSET, Width::Four, u64::from(ENABLES));
        assert!(bench.card.line());
        assert_eq!(
            bench.host.interrupts, 1,
            "that it was not enabled is no end of it"
        );
        assert_eq!(bench.acknowledge(), 1 << 15);
        assert!(!bench.card.line());
        assert_eq!(bench.keeps_its_word(), Ok(()));
    }
}

#[test]
fn a_channel_waits_for_the_bus_and_one_without_a_rate_for_that() {
    let mut bench = usual();
    bench.prepare(&WAVE);
    bench.write(WSMC::OFFSET, Width::Two, 0x700);
    assert_eq!(bench.pass(BYTES), Next::Idle);
    bench.write(WAS::OFFSET, Width::Two, 48_000);
    bench.host.refuses = Some(DmaError::NotMaster);
    assert_eq!(bench.pass(BYTES), Next::Idle);
    assert_eq!(bench.host.accesses(), []);
    bench.host.refuses = None;
    bench.pass(0);
    assert_ne!(bench.host.accesses(), []);
}

#[test]
fn moving_a_channel_that_works_is_told_as_wrong() {
    let mut bench = usual();
    bench.record();
    bench.pass(BURST as u64);
    bench.write(ADCCA::OFFSET, Width::Four, RING + 0x2000);
    let told: Vec<_> = bench.host.declared().map(|(what, _)| what).collect();
    assert!(matches!(told[told.len() - 2], Declaration::NotNow { .. }));
    bench.pass(BURST as u64);
    assert_eq!(bench.host.byte(RING + 0x2000), recorded(BURST as u64));
    assert_eq!(bench.keeps_its_word(), Ok(()));
}

#[test]
fn each_fault_strikes_once() {
    let mut bench = bench_recording(Fault::Corrupt, 1);
    bench.periods(4);
    let mut right = pattern(0, BYTES);
    right[2 * PERIOD as usize - BURST / 2] ^= 1;
    assert!(bench.host.bytes(RING, BYTES) == right);

    let mut bench = bench_recording(Fault::Overrun, 1);
    bench.periods(9);
    let beyond = bench.host.accesses().into_iter();
    let beyond: Vec<_> = beyond.filter(|(_, at, _)| *at >= RING + BYTES).collect();
    assert_eq!(beyond, [(Direction::Write, RING + BYTES, 1)]);
    assert!(bench.keeps_its_word().is_err());

    let mut bench = bench_recording(Fault::LostInterrupt, 1);
    bench.periods(4);
    assert_eq!(bench.host.interrupts, 3);
    assert!(
        bench
            .keeps_its_word()
            .is_err_and(|why| why.contains("missing"))
    );

    for (reset, late) in [(Reset::FunctionLevel, true), (Reset::Device, false)] {
        let mut bench = bench_recording(Fault::AfterStop, 1);
        bench.periods(2);
        bench.write(RAMC::OFFSET, Width::Two, 0);
        let before = bench.host.accesses().len();
        bench.host.settle(&mut bench.card);
        bench.card.reset(reset);
        bench.host.notes.push(Kind::Reset { reset });
        bench.host.time += LATE;
        bench.host.settle(&mut bench.card);
        let after = bench.host.accesses().split_off(before);
        let last = RING + 2 * PERIOD - BURST as u64;
        let stray = [(Direction::Write, last, 64)];
        assert_eq!(after, stray[..usize::from(late)]);
    }
}

/// One that plays has its wrong byte in the card.
#[test]
fn a_corrupt_byte_is_heard() {
    let mut bench = bench(Some(Fault::Corrupt), 0);
    bench.play();
    bench.periods(2);
    let mut right = vec![0xee; 2 * PERIOD as usize];
    right[PERIOD as usize - BURST / 2] ^= 1;
    assert!(bench.speaker.heard() == right);
}

fn bench_recording(fault: Fault, period: u64) -> Bench {
    let mut bench = bench(Some(fault), period);
    bench.record();
    bench
}
