// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;
use landfall_device::testing::FakeHost;

const BASE: u32 = 0x10_0000;
/// Pixels of a line, two bytes each, and lines of a field.
const SIZE: (u32, u32) = (96, 40);
const LINE: u32 = 2 * SIZE.0;
const BYTES: u64 = LINE as u64 * 2 * SIZE.1 as u64;

struct Bench {
    card: Zoran,
    host: FakeHost,
}

impl Bench {
    /// A card with memory for one picture and a page behind it.
    fn new(fault: Option<Fault>) -> Self {
        let options = ZoranOptions {
            fault,
            fault_frame: 0,
            ..ZoranOptions::default()
        };
        let mut host = FakeHost::default();
        host.map(BASE.into(), BYTES + 4096);
        Self {
            card: Zoran::new(options),
            host,
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        self.card.write(0, offset as u64, value, &mut self.host);
    }

    fn read(&self, offset: usize) -> u32 {
        self.card.read(0, offset as u64)
    }

    /// As the driver does it in the interrupt of a field that finds no picture in hand.
    fn ask(&mut self) {
        self.write(VDTR::OFFSET, BASE);
        self.write(VDBR::OFFSET, BASE + LINE);
        let grab = VSSFGR::compose(LINE as u16, true, true, true);
        self.write(VSSFGR::OFFSET, grab.into_raw());
        let window = VDCR::compose(true, 0, SIZE.1 as u16, SIZE.0 as u16);
        self.write(VDCR::OFFSET, window.into_raw());
    }

    /// As the driver starts it, with the first interrupt.
    fn start(&mut self) {
        self.write(SPGPPCR::OFFSET, 0);
        self.write(SPGPPCR::OFFSET, 1 << 24);
        self.write(ISR::OFFSET, 0x7800_0000);
        self.write(ICR::OFFSET, 1 << 30 | 1 << 24);
        assert_eq!(self.field(), 1);
        self.ask();
    }

    /// As the driver stops it.
    fn stop(&mut self) {
        self.write(ICR::OFFSET, 1 << 30);
        self.write(ICR::OFFSET, 0);
        self.write(VDCR::OFFSET, 0);
        self.write(VSSFGR::OFFSET, self.read(VSSFGR::OFFSET) & !2);
    }

    fn settle(&mut self) -> Next {
        self.host.settle(&mut self.card)
    }

    /// One field passes, and its cause is cleared; tells how many interrupts came.
    fn field(&mut self) -> u64 {
        let before = self.host.interrupts;
        self.host.time += self.card.options.field;
        self.settle();
        let came = self.host.interrupts - before;
        self.write(ISR::OFFSET, 0x7800_0000);
        came as u64
    }

    fn fields(&mut self, count: u32) {
        for _ in 0..count {
            self.field();
        }
    }

    fn grabs(&self) -> bool {
        VSSFGR::from_raw(self.read(VSSFGR::OFFSET)).grab()
    }

    fn picture(&self) -> Vec<u8> {
        self.host.bytes(BASE.into(), BYTES)
    }

    fn accesses(&self) -> usize {
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

fn whole(frame: u32) -> Vec<u8> {
    picture::picture(frame, LINE, 2 * SIZE.1)
}

#[test]
fn the_driver_finds_its_chips_and_its_codec() {
    let mut bench = Bench::new(None);
    let post = |bench: &mut Bench, writes, guest, register, data| {
        let cycle = POR::compose(false, true, writes, guest, register, data);
        bench.write(POR::OFFSET, cycle.into_raw());
        POR::from_raw(bench.read(POR::OFFSET))
    };
    let mut codec = |at: u16, write: Option<u8>| {
        let [high, low] = at.to_be_bytes();
        post(&mut bench, true, 0, 1, high);
        post(&mut bench, true, 0, 2, low);
        let done = post(&mut bench, write.is_some(), 0, 3, write.unwrap_or(0));
        assert!(!done.pending() && !done.timeout());
        done.data()
    };
    assert_eq!([codec(0x22, None), codec(0x23, None)], [0x33, 0x01]);
    codec(0x3fe, Some(0x5a));
    codec(0x22, Some(0x5a));
    assert_eq!([codec(0x3fe, None), codec(0x22, None)], [0x5a, 0x33]);
    assert!(post(&mut bench, false, 3, 0, 0).timeout(), "nobody else");

    // One byte, and whether it was taken.
    let mut talk = |byte: u8| {
        let mut line = |clock, data| {
            bench.write(I2CBR::OFFSET, I2CBR::compose(data, clock).into_raw());
            I2CBR::from_raw(bench.read(I2CBR::OFFSET)).data()
        };
        line(true, true);
        line(true, false);
        line(false, false);
        let bits = (0..8).rev().map(|bit| byte >> bit & 1 != 0);
        let answers: Vec<bool> = bits
            .chain([true])
            .map(|bit| {
                line(false, bit);
                let answer = line(true, bit);
                line(false, bit);
                answer
            })
            .collect();
        line(true, false);
        line(true, true);
        !answers[8]
    };
    let taken = [0x4e, 0x2b, 0x2a, 0x4f].map(|address: u8| talk(address << 1));
    assert_eq!(taken, [true, true, false, false]);
}

#[test]
fn a_picture_is_two_fields_and_ends_with_the_third() {
    let mut bench = Bench::new(None);
    bench.start();
    assert_eq!(bench.accesses(), 0, "with the next field");
    assert_eq!((bench.field(), bench.accesses()), (1, 40), "the top field");
    assert!(bench.grabs());
    assert_eq!((bench.field(), bench.accesses()), (1, 80), "the bottom one");
    assert!(bench.grabs() && bench.completions().is_empty());
    assert_eq!(bench.field(), 1);

    assert!(!bench.grabs());
    assert_eq!(bench.completions(), [(0, None, BYTES, true)]);
    assert!(bench.picture() == whole(0));
    assert_eq!(bench.host.byte(u64::from(BASE) + BYTES), 0xee, "no more");
    assert_eq!((bench.field(), bench.accesses()), (1, 80), "not asked for");

    bench.ask();
    (0..3).for_each(|_| assert_eq!(bench.field(), 1));
    assert_eq!(bench.completions().len(), 2);
    assert!(bench.picture() == whole(1));
}

#[test]
fn where_one_field_is_enough_it_is_the_whole_picture() {
    let mut bench = Bench::new(None);
    bench.start();
    // Three bytes a pixel; nothing between the lines.
    let format = VFESPFR::compose(0, true, 1, false, true, false);
    bench.write(VFESPFR::OFFSET, format.into_raw());
    bench.write(
        VSSFGR::OFFSET,
        VSSFGR::compose(0, true, true, true).into_raw(),
    );
    bench.field();
    bench.field();

    let bytes = u64::from(3 * SIZE.0 * SIZE.1);
    assert_eq!(bench.completions(), [(0, None, bytes, true)]);
    assert!(bench.host.bytes(BASE.into(), bytes) == picture::picture(0, 3 * SIZE.0, SIZE.1));
}

#[test]
fn addresses_and_size_are_latched_when_a_picture_begins() {
    let mut bench = Bench::new(None);
    bench.start();
    bench.field();
    bench.write(VDBR::OFFSET, 0);
    bench.write(VFESPFR::OFFSET, 1 << 3);
    bench.field();
    assert!(bench.picture() == whole(0));
}

#[test]
fn a_field_whose_predecessor_is_not_cleared_is_left_out() {
    let mut bench = Bench::new(None);
    bench.start();
    bench.field();
    bench.host.time += bench.card.options.field;
    bench.settle();
    for _ in 0..5 {
        bench.host.time += bench.card.options.field;
        bench.settle();
    }
    assert!(bench.completions().is_empty() && bench.card.line());
    assert_eq!(bench.host.interrupts, 3);
    bench.write(ISR::OFFSET, 0x7800_0000);
    assert_eq!(bench.field(), 1);
    assert_eq!(bench.completions().len(), 1);
}

#[test]
fn a_stop_ends_the_picture_in_the_write_that_asks_for_it() {
    let mut bench = Bench::new(None);
    bench.start();
    bench.field();
    bench.stop();
    for _ in 0..4 {
        assert_eq!(bench.field(), 0);
    }
    assert_eq!(bench.accesses(), 40);
    assert_eq!(bench.settle(), Next::Idle);
    let half = BYTES / 2;
    assert_eq!(bench.completions(), [(0, Some("stopped"), half, false)]);
    assert!(bench.grabs(), "as on the chip");
}

#[test]
fn a_reset_by_its_own_register_stops_all_and_numbers_go_on() {
    let mut bench = Bench::new(None);
    bench.start();
    bench.field();
    bench.write(SPGPPCR::OFFSET, 0);
    assert_eq!(bench.settle(), Next::Idle);
    assert_eq!((bench.accesses(), bench.read(ICR::OFFSET)), (40, 0));
    assert_eq!(bench.read(I2CBR::OFFSET), 3, "nobody pulls");
    let declared = bench.host.declared();
    assert_eq!(
        declared
            .filter(|(what, _)| **what == Declaration::Reset)
            .count(),
        2
    );

    bench.start();
    bench.fields(3);
    assert_eq!(bench.completions().last().map(|done| done.0), Some(1));
}

#[test]
fn without_the_bus_no_picture_begins_and_a_refused_line_abandons_it() {
    let mut bench = Bench::new(None);
    bench.start();
    bench.host.refuses = Some(DmaError::NotMaster);
    bench.fields(3);
    assert!(bench.completions().is_empty() && bench.accesses() == 0);
    bench.host.refuses = None;
    bench.write(VDBR::OFFSET, 0x4000_0000);
    bench.fields(2);

    let half = BYTES / 2;
    assert_eq!(
        bench.completions(),
        [(0, Some("the bus refused a line"), half, false)]
    );
    assert!(bench.grabs());
}

#[test]
fn each_fault_strikes_once() {
    let run = |fault| {
        let mut bench = Bench::new(Some(fault));
        bench.start();
        let came = (0..3).map(|_| bench.field()).sum::<u64>();
        (bench, came)
    };
    let (bench, _) = run(Fault::Corrupt);
    let differ = bench.picture().into_iter().zip(whole(0));
    let differ: Vec<_> = differ
        .enumerate()
        .filter(|(_, (is, was))| is != was)
        .collect();
    assert!(matches!(differ[..], [(191, (is, was))] if is == was ^ 1));

    let (bench, _) = run(Fault::Overrun);
    let end = u64::from(BASE) + BYTES;
    assert_eq!(bench.last(), (Direction::Write, end, 1));
    assert!(bench.picture() == whole(0));

    let (mut bench, came) = run(Fault::LostInterrupt);
    assert_eq!(
        (came, bench.completions()),
        (2, vec![(0, None, BYTES, true)])
    );
    assert!(!bench.grabs());
    assert_eq!(bench.field(), 0, "nor does the next field tell of it");
    bench.start();
    assert_eq!(bench.field(), 1, "after a reset");

    let (mut bench, _) = run(Fault::AfterStop);
    bench.stop();
    let before = bench.accesses();
    for _ in 0..2 {
        bench.host.time += Duration::from_millis(201);
        bench.settle();
    }
    assert_eq!(bench.accesses(), before + 1);
    assert_eq!(bench.last(), (Direction::Write, BASE.into(), 64));
}
