// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;
use landfall_device::journal::{Kind, Outcome};
use landfall_device::testing::FakeHost;

const BASE: u32 = 0x10_0000;
const STANDARD: Standard = Standard::Hz60;

struct Bench {
    card: Dt3155,
    host: FakeHost,
}

impl Bench {
    /// A card with memory for one picture and a page behind it.
    fn new(fault: Option<Fault>) -> Self {
        let options = Dt3155Options {
            fault,
            fault_frame: 0,
            ..Dt3155Options::default()
        };
        let mut host = FakeHost::default();
        host.map(BASE.into(), STANDARD.bytes() as u64 + 4096);
        Self {
            card: Dt3155::new(options),
            host,
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        self.card.write(0, offset as u64, value, &mut self.host);
    }

    fn read(&self, offset: usize) -> u32 {
        self.card.read(0, offset as u64)
    }

    /// Writes a byte register.
    fn set(&mut self, index: u8, value: u8) {
        let cycle = IIC_CSR2::compose(true, index, false, value);
        self.write(IIC_CSR2::OFFSET, cycle.into_raw());
    }

    /// Reads a byte register.
    fn get(&mut self, index: u8) -> u8 {
        let cycle = IIC_CSR2::compose(true, index, true, 0);
        self.write(IIC_CSR2::OFFSET, cycle.into_raw());
        IIC_CSR1::from_raw(self.read(IIC_CSR1::OFFSET)).read()
    }

    /// As the driver starts it, at 60 Hz.
    fn start(&mut self) {
        let width = STANDARD.width();
        self.write(EVEN_DMA_START::OFFSET, BASE);
        self.write(ODD_DMA_START::OFFSET, BASE + width);
        self.write(EVEN_DMA_STRIDE::OFFSET, width);
        self.write(ODD_DMA_STRIDE::OFFSET, width);
        self.write(INT_CSR::OFFSET, 0x607);
        self.write(CSR1::OFFSET, 0x3f3);
        self.set(CSR2, BUSY);
        self.host.time += STANDARD.period() * Dt3155Options::default().first;
    }

    /// As the driver stops it.
    fn stop(&mut self) {
        self.set(CSR2, 0);
        self.write(CSR1::OFFSET, 0x3f0);
        self.write(INT_CSR::OFFSET, 7);
    }

    fn settle(&mut self) -> Next {
        self.host.settle(&mut self.card)
    }

    fn pass(&mut self, time: Duration) -> Next {
        self.host.time += time;
        self.settle()
    }

    fn frame(&self) -> Vec<u8> {
        self.host.bytes(BASE.into(), STANDARD.bytes() as u64)
    }

    fn writes(&self) -> usize {
        self.host.accesses().len()
    }

    fn last(&self) -> (Direction, u64, u64) {
        *self.host.accesses().last().expect("an access")
    }

    /// Jobs that are over: which, why it came to nothing, bytes, and whether an interrupt is owed.
    fn completions(&self) -> Vec<(u64, Option<&str>, u64, bool)> {
        let done = |(what, _)| match what {
            &Declaration::Done {
                job,
                ref error,
                moved,
                owed,
            } => Some((job.0, error.as_deref(), moved, owed.is_some())),
            _ => None,
        };
        self.host.declared().filter_map(done).collect()
    }
}

#[test]
fn the_driver_finds_its_card_and_byte_registers_keep_what_they_are_given() {
    let mut bench = Bench::new(None);

    assert_eq!(bench.get(DT_ID), ID);
    bench.set(0x31, 0x5a);
    assert_eq!((bench.get(0x31), bench.get(0x30)), (0x5a, 0));
    bench.set(DT_ID, 1);
    assert_eq!(bench.get(DT_ID), ID, "read-only");
    let csr2 = IIC_CSR2::from_raw(bench.read(IIC_CSR2::OFFSET));
    assert!(!csr2.cycle(), "done at once");
}

#[test]
fn a_frame_is_two_fields_that_make_one_picture_and_then_an_interrupt() {
    let mut bench = Bench::new(None);
    bench.start();
    bench.host.time -= Duration::from_millis(1);
    assert!(matches!(bench.settle(), Next::At(_)));
    assert_eq!(bench.writes(), 0, "no picture is there yet");
    bench.pass(Duration::from_millis(1));

    assert_eq!(bench.frame(), picture::picture(0, STANDARD));
    assert_eq!(bench.host.byte(u64::from(BASE) + 307_200), 0xee, "no more");
    assert!(bench.card.line());
    assert_eq!(bench.host.interrupts, 1);
    let bytes = STANDARD.bytes() as u64;
    assert_eq!(bench.completions(), [(0, None, bytes, true)]);
    assert_eq!(bench.read(INT_CSR::OFFSET), 0x607);
    assert_eq!(bench.read(CSR1::OFFSET), 0xf3);

    bench.write(INT_CSR::OFFSET, 0x607);
    assert!(!bench.card.line(), "cleared");
    bench.write(CSR1::OFFSET, 0x3f3);
    assert_eq!(bench.read(CSR1::OFFSET), 0xc3, "cleared");
}

#[test]
fn the_next_frame_waits_for_its_time_and_for_the_driver() {
    let mut bench = Bench::new(None);
    bench.start();
    bench.settle();
    assert_eq!(bench.pass(STANDARD.period() * 3), Next::Idle);
    assert_eq!(bench.completions().len(), 1, "END_ODD is set still");

    bench.write(INT_CSR::OFFSET, 0x607);
    bench.settle();
    assert_eq!(bench.completions().len(), 2);
    assert_eq!(bench.frame(), picture::picture(1, STANDARD));

    bench.write(INT_CSR::OFFSET, 0x607);
    let Next::At(due) = bench.settle() else {
        panic!("it waits for its time");
    };
    assert_eq!(due, bench.host.time + STANDARD.period());
    assert_eq!(bench.completions().len(), 2);
}

#[test]
fn addresses_are_latched_when_a_frame_begins() {
    let mut bench = Bench::new(None);
    bench.start();
    assert_eq!(bench.card.step(&mut bench.host), Next::Again, "begun");
    bench.write(EVEN_DMA_START::OFFSET, 0);
    bench.write(ODD_DMA_STRIDE::OFFSET, 9);
    bench.settle();

    assert_eq!(bench.frame(), picture::picture(0, STANDARD));
}

#[test]
fn a_stop_ends_the_transfer_in_the_write_that_asks_for_it() {
    let mut bench = Bench::new(None);
    bench.start();
    for _ in 0..3 {
        assert_eq!(bench.card.step(&mut bench.host), Next::Again);
    }
    let before = bench.writes();
    assert!(before > 0 && before < STANDARD.height() as usize);
    bench.stop();

    assert_eq!(bench.pass(Duration::from_secs(1)), Next::Idle);
    assert_eq!(bench.writes(), before);
    let written = before as u64 * u64::from(STANDARD.width());
    assert_eq!(bench.completions(), [(0, Some("stopped"), written, false)]);
    assert!(matches!(
        bench.host.declared().last(),
        Some((
            Declaration::Idle { .. } | Declaration::Masked { masked: true, .. },
            _
        ))
    ));
    assert_eq!(bench.host.interrupts, 0);
}

#[test]
fn a_card_that_captures_one_field_only_or_may_not_master_the_bus_does_nothing() {
    let mut bench = Bench::new(None);
    bench.start();
    bench.write(CSR1::OFFSET, 0x3f1);
    assert_eq!(bench.pass(Duration::from_secs(1)), Next::Idle);

    bench.host.refuses = Some(DmaError::NotMaster);
    bench.write(CSR1::OFFSET, 0x3f3);
    let next = bench.pass(Duration::from_secs(1));
    assert!(matches!(next, Next::At(_)), "it tries again");
    assert_eq!(bench.writes(), 0);
}

#[test]
fn a_refused_line_is_an_address_error_of_its_field_and_interrupts_nobody() {
    let mut bench = Bench::new(None);
    bench.start();
    bench.write(ODD_DMA_START::OFFSET, 0x4000_0000);
    bench.settle();

    assert_eq!(bench.read(CSR1::OFFSET), 0x8c3, "of the odd field");
    assert_eq!(
        bench.completions(),
        [(0, Some("the bus refused a line"), 640, false)]
    );
    assert!(!bench.card.line());
}

#[test]
fn the_larger_standard_is_one_bit_of_a_byte_register() {
    let mut bench = Bench::new(None);
    bench.host.map(BASE.into(), Standard::Hz50.bytes() as u64);
    bench.start();
    bench.set(CSR2, BUSY | HZ_50);
    let width = Standard::Hz50.width();
    bench.write(ODD_DMA_START::OFFSET, BASE + width);
    bench.write(EVEN_DMA_STRIDE::OFFSET, width);
    bench.write(ODD_DMA_STRIDE::OFFSET, width);
    bench.settle();

    let bytes = Standard::Hz50.bytes();
    assert_eq!(bytes, 442_368);
    assert!(bench.host.bytes(BASE.into(), bytes as u64) == picture::picture(0, Standard::Hz50));
}

#[test]
fn reset_forgets_everything_and_numbers_go_on() {
    let mut bench = Bench::new(None);
    bench.start();
    bench.settle();
    bench.card.reset(Reset::FunctionLevel);
    assert_eq!(bench.pass(Duration::from_secs(1)), Next::Idle);
    assert_eq!((bench.read(CSR1::OFFSET), bench.card.line()), (0, false));

    bench.start();
    bench.settle();
    assert_eq!(bench.completions().last().map(|done| done.0), Some(1));
}

#[test]
fn overrun_writes_one_byte_behind_its_frame() {
    let mut bench = Bench::new(Some(Fault::Overrun));
    bench.start();
    bench.settle();

    let end = u64::from(BASE) + STANDARD.bytes() as u64;
    assert_eq!(bench.last(), (Direction::Write, end, 1));
    assert_eq!(bench.frame(), picture::picture(0, STANDARD));
}

#[test]
fn after_stop_writes_once_when_the_driver_has_given_the_buffers_back() {
    let mut bench = Bench::new(Some(Fault::AfterStop));
    bench.start();
    bench.settle();
    bench.stop();
    let before = bench.writes();
    bench.pass(Duration::from_millis(45));
    assert_eq!(bench.writes(), before);

    bench.pass(Duration::from_millis(155));
    assert_eq!(bench.writes(), before + 1);
    assert_eq!(bench.last(), (Direction::Write, BASE.into(), 64));
    bench.start();
    bench.settle();
    bench.stop();
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.writes(), before + 1 + 480, "once");
}

#[test]
fn after_unbind_tries_when_it_may_not_master_the_bus_and_a_power_cycle_forgets_it() {
    let attempts = |power: bool| {
        let mut bench = Bench::new(Some(Fault::AfterUnbind));
        bench.start();
        bench.settle();
        bench.stop();
        bench.pass(Duration::from_secs(1));
        assert_eq!(bench.writes(), 480, "bound still");
        bench.host.refuses = Some(DmaError::NotMaster);
        bench.pass(LOOK);
        if power {
            bench.card.reset(Reset::Device);
        }
        bench.pass(Duration::from_secs(1));
        let refused = Outcome::Refused(DmaError::NotMaster);
        let tried =
            |kind: &&Kind| matches!(kind, Kind::Access { outcome, .. } if *outcome == refused);
        bench.host.notes.iter().filter(tried).count()
    };

    assert_eq!(attempts(false), 1);
    assert_eq!(attempts(true), 0);
}
