// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;
use landfall_device::contract::DmaError;
use landfall_device::journal::{Direction, Kind, Outcome};
use landfall_device::testing::FakeHost;

/// Where channel 0 has its buffers, and 1 MiB further on each other channel.
const BASE: u64 = 0x100_0000;
const STEP: u64 = 0x10_0000;
/// A small picture: bytes of a line, and lines.
const WIDTH: u32 = 640;
const LINES: u32 = 64;
const BYTES: u64 = WIDTH as u64 * LINES as u64;
const PERIOD: Duration = Duration::from_millis(32);
const ENABLE: u32 = 1 << 31;

struct Bench {
    card: Tw686x,
    host: FakeHost,
}

impl Bench {
    fn new(options: Tw686xOptions) -> Self {
        Self {
            card: Tw686x::new(Tw686xOptions {
                period: Some(PERIOD),
                ..options
            }),
            host: FakeHost::default(),
        }
    }

    fn write(&mut self, offset: usize, value: u32) {
        self.host.write += 1;
        self.card.write(0, offset as u64, value, &mut self.host);
    }

    fn read(&mut self, offset: usize) -> u32 {
        let offset = offset as u64;
        self.card
            .notice(Notice::Read { bar: 0, offset }, &mut self.host);
        self.card.read(0, offset)
    }

    /// Gives a channel memory and its two buffers' addresses, in frame mode, as the driver does.
    fn prepare(&mut self, number: usize) {
        let base = BASE + STEP * number as u64;
        self.host.map(base, 2 * (BYTES + 4096));
        let size = VDMA_WHP::compose((LINES / 2) as u16, WIDTH as u16, WIDTH as u16);
        self.write(VDMA_WHP::OFFSET + 32 * number, size.into_raw());
        for (register, buffer) in [(VDMA_P_ADDR::OFFSET, 0), (VDMA_B_ADDR::OFFSET, 1)] {
            self.write(register + 32 * number, Self::buffer(number, buffer) as u32);
        }
        self.write(PHASE_REF::OFFSET, 0xaaaa_1518);
    }

    const fn buffer(number: usize, buffer: u64) -> u64 {
        BASE + STEP * number as u64 + buffer * (BYTES + 4096)
    }

    /// Lets these channels run, as the driver's timer does.
    fn enable(&mut self, channels: u32) {
        self.write(DMA_CHANNEL_ENABLE::OFFSET, channels);
        self.write(DMA_CMD::OFFSET, ENABLE | channels);
    }

    /// Time passes in small steps, so that nothing is late.
    fn pass(&mut self, time: Duration) -> Next {
        let end = self.host.time + time;
        loop {
            let next = self.host.settle(&mut self.card);
            if self.host.time >= end {
                return next;
            }
            self.host.time += Duration::from_millis(1);
        }
    }

    fn memory(&self, number: usize, buffer: u64) -> Vec<u8> {
        self.host.bytes(Self::buffer(number, buffer), BYTES)
    }

    fn picture(number: u32, frame: u32) -> Vec<u8> {
        picture::picture(picture::stamp(number, frame), WIDTH as usize, LINES, false)
    }

    /// What jobs came to: job, why it came to nothing, bytes moved.
    fn done(&self) -> Vec<(u64, Option<&str>, u64)> {
        let done = |what: (&'_ Declaration, _)| match what.0 {
            Declaration::Done {
                job, error, moved, ..
            } => Some((job.0, error.clone(), *moved)),
            _ => None,
        };
        let done = self.host.declared().filter_map(done);
        let known = ["stopped", "the bus refused it", "the list is too short"];
        done.map(|(job, error, moved)| {
            let error = error.map(|error| {
                let known = known.into_iter().find(|known| *known == error);
                known.expect("a reason that the data sheet has")
            });
            (job, error, moved)
        })
        .collect()
    }

    fn pieces(&self, job: u64) -> Vec<Piece> {
        let begun = |what: (&Declaration, _)| match what.0 {
            Declaration::Begun {
                job: begun, pieces, ..
            } if begun.0 == job => Some(pieces.clone()),
            _ => None,
        };
        let begun = self.host.declared().find_map(begun);
        begun.expect("it began")
    }

    fn writes(&self) -> usize {
        let write = |access: &&(Direction, u64, u64)| access.0 == Direction::Write;
        self.host.accesses().iter().filter(write).count()
    }
}

#[test]
fn the_driver_finds_cameras_that_are_locked_and_see_ntsc() {
    let mut bench = Bench::new(Tw686xOptions::default());
    for first in [0x400, 0x800] {
        for number in 0..4 {
            let at = first + 64 * number;
            assert_eq!(bench.read(at), 0x40);
            bench.write(at + 0x38, 7);
            assert_eq!(bench.read(at + 0x38), 7, "found at once");
            bench.write(at + 4, 0x5a);
            assert_eq!(bench.read(at + 4), 0x5a, "brightness");
        }
    }
    assert_eq!(bench.read(VIDEO_FIFO_STATUS::OFFSET), 0);
    assert_eq!(bench.read(0x600), 0, "kept");
}

#[test]
fn buffers_are_filled_in_turns_and_the_status_says_which() {
    let mut bench = Bench::new(Tw686xOptions::default());
    bench.prepare(0);
    bench.enable(1);
    assert!(matches!(
        bench.pass(PERIOD - Duration::from_millis(1)),
        Next::At(_)
    ));
    assert_eq!(bench.writes(), 0, "no whole picture is there yet");
    bench.pass(PERIOD + Duration::from_millis(1));

    assert!(bench.memory(0, 0) == Bench::picture(0, 0));
    assert_eq!(
        bench.host.byte(Bench::buffer(0, 0) + BYTES),
        0xee,
        "no more"
    );
    assert_eq!((bench.card.line(), bench.host.interrupts), (true, 1));
    assert_eq!(bench.done(), [(0, None, BYTES)]);
    assert_eq!(bench.pieces(0), [Piece::write(Bench::buffer(0, 0), BYTES)]);

    assert_eq!(bench.read(INT_STATUS::OFFSET), 1);
    assert!(!bench.card.line(), "cleared by reading");
    assert_eq!(bench.read(PB_STATUS::OFFSET), 0);
    assert_eq!(bench.read(INT_STATUS::OFFSET), 0);

    bench.pass(PERIOD + Duration::from_millis(2));
    assert!(bench.memory(0, 1) == Bench::picture(0, 1));
    assert_eq!(bench.read(INT_STATUS::OFFSET), 1);
    assert_eq!(bench.read(PB_STATUS::OFFSET), 1);
}

#[test]
fn the_next_picture_waits_until_the_interrupt_was_read() {
    let mut bench = Bench::new(Tw686xOptions::default());
    bench.prepare(0);
    bench.enable(1);
    bench.pass(PERIOD * 5);
    assert_eq!(bench.done().len(), 1);
    let before = bench.writes();

    bench.read(INT_STATUS::OFFSET);
    bench.pass(PERIOD * 5);
    assert_eq!(bench.done().len(), 2);
    assert_eq!(bench.writes(), 2 * before);
}

#[test]
fn channels_run_by_themselves_and_see_different_things() {
    let mut bench = Bench::new(Tw686xOptions::default());
    bench.prepare(2);
    bench.prepare(7);
    bench.enable(1 << 2 | 1 << 7);
    bench.pass(PERIOD * 2 + Duration::from_millis(1));

    assert!(bench.memory(2, 0) == Bench::picture(2, 0));
    assert!(bench.memory(7, 0) == Bench::picture(7, 0));
    assert_eq!(bench.read(INT_STATUS::OFFSET), 1 << 2 | 1 << 7);
    let before = bench.writes();
    bench.enable(1 << 7);
    bench.pass(PERIOD * 2);
    assert!(bench.memory(7, 1) == Bench::picture(7, 1));
    assert_eq!(bench.writes(), before + LINES as usize, "channel 2 stopped");
    let idle = |(what, _): (&Declaration, _)| match what {
        Declaration::Idle { queue } => Some(*queue),
        _ => None,
    };
    let idle: Vec<_> = bench.host.declared().filter_map(idle).collect();
    assert_eq!(idle, [Some(QueueId(2))]);
}

#[test]
fn a_channel_needs_its_bits_in_both_registers_and_the_whole_enabled() {
    for (channels, command) in [(1, 1), (0, ENABLE | 1), (1, ENABLE), (1, ENABLE | 2)] {
        let mut bench = Bench::new(Tw686xOptions::default());
        bench.prepare(0);
        bench.write(DMA_CHANNEL_ENABLE::OFFSET, channels);
        bench.write(DMA_CMD::OFFSET, command);
        assert_eq!(bench.pass(PERIOD * 3), Next::Idle);
        assert_eq!(bench.writes(), 0);
    }
    let mut bench = Bench::new(Tw686xOptions {
        chip: Chip::Tw6864,
        ..Tw686xOptions::default()
    });
    bench.prepare(4);
    bench.enable(1 << 4);
    assert_eq!(bench.pass(PERIOD * 3), Next::Idle, "it has four");
}

#[test]
fn a_stop_ends_the_transfer_in_the_write_that_asks_for_it() {
    let mut bench = Bench::new(Tw686xOptions::default());
    bench.prepare(0);
    bench.enable(1);
    bench.pass(PERIOD + PERIOD / 2);
    let before = bench.writes();
    assert!(before > 0 && before < LINES as usize);
    bench.write(DMA_CHANNEL_ENABLE::OFFSET, 0);

    assert_eq!(bench.pass(PERIOD * 4), Next::Idle);
    assert_eq!(bench.writes(), before);
    let moved = before as u64 * u64::from(WIDTH);
    assert_eq!(bench.done(), [(0, Some("stopped"), moved)]);
    assert_eq!((bench.host.interrupts, bench.card.line()), (0, false));

    bench.enable(1);
    bench.pass(PERIOD * 2 + Duration::from_millis(1));
    assert!(bench.memory(0, 0) == Bench::picture(0, 1), "P first again");
}

/// Writes a list for a channel: pieces of these lengths, one page after the other.
fn list(bench: &mut Bench, table: u64, first: u64, pages: &[(u64, u32)]) {
    bench.host.map(table, 8192);
    bench.host.put(table, &[0; 8192]);
    for (index, &(address, length)) in (first..).zip(pages) {
        let entry = [ENTRY_USED | length, address as u32];
        let bytes = entry.map(u32::to_le_bytes).concat();
        bench.host.put(table + ENTRY * index, &bytes);
    }
}

/// A picture in pieces, from the end of a channel's memory to its start, odd lengths among them.
fn scattered(number: usize) -> Vec<(u64, u32)> {
    let page = |index: u64| Bench::buffer(number, 0) + 4096 * (10 - index);
    let mut pieces: Vec<_> = (0..9).map(|index| (page(index), 4096)).collect();
    pieces[3].1 = 96;
    pieces.push((page(9), 4000));
    pieces.push((page(10), BYTES as u32 - 8 * 4096 - 96 - 4000));
    pieces
}

#[test]
fn a_list_takes_the_picture_by_field_wherever_its_pieces_lie() {
    // Channel 5 with a list of its own, and channel 3 with its part of the one that all share.
    for (chip, number, register, first) in [
        (Chip::Tw6869, 5, DMA_PAGE_TABLES0::OFFSET + 4 * 8, 0),
        (Chip::Tw6864, 3, DMA_PAGE_TABLE0::OFFSET, 3 * 256),
    ] {
        let mut bench = Bench::new(Tw686xOptions {
            chip,
            ..Tw686xOptions::default()
        });
        bench.prepare(number);
        let pieces = scattered(number);
        list(&mut bench, 0x20_0000, first, &pieces);
        bench.write(PHASE_REF::OFFSET, 0x1518);
        bench.write(register, 0x20_0000);
        let config = VDMA_CHANNEL_CONFIG::compose(0, 0, 0, first as u16 + 255, first as u16);
        bench.write(VDMA_CHANNEL_CONFIG::OFFSET + 4 * number, config.into_raw());
        bench.enable(1 << number);
        bench.pass(PERIOD * 2 + Duration::from_millis(1));

        let memory: Vec<u8> = pieces
            .iter()
            .flat_map(|&(address, length)| bench.host.bytes(address, length.into()))
            .collect();
        let stamp = picture::stamp(number as u32, 0);
        assert!(memory == picture::picture(stamp, WIDTH as usize, LINES, true));
        assert_eq!(bench.done(), [(0, None, BYTES)]);
        let total: u64 = bench.pieces(0).iter().map(|piece| piece.length).sum();
        assert_eq!(total, BYTES);
        let fetches = bench.host.notes.iter().filter(|note| {
            matches!(
                note,
                Kind::Access {
                    direction: Direction::Read,
                    role: Role::Descriptor,
                    length: 64,
                    ..
                }
            )
        });
        assert_eq!(fetches.count(), 2, "eleven entries");
    }
}

#[test]
fn a_list_that_is_too_short_or_not_there_is_no_picture() {
    let mut bench = Bench::new(Tw686xOptions::default());
    bench.prepare(0);
    list(&mut bench, 0x20_0000, 0, &scattered(0)[..4]);
    bench.write(PHASE_REF::OFFSET, 0x1518);
    bench.write(DMA_PAGE_TABLE0::OFFSET, 0x20_0000);
    let config = VDMA_CHANNEL_CONFIG::compose(0, 0, 0, 255, 0);
    bench.write(VDMA_CHANNEL_CONFIG::OFFSET, config.into_raw());
    bench.enable(1);
    bench.pass(PERIOD * 2);
    let short = 3 * 4096 + 96;
    assert_eq!(bench.done(), [(0, Some("the list is too short"), short)]);
    assert_eq!(bench.host.interrupts, 0);

    bench.write(DMA_PAGE_TABLE0::OFFSET, 0xffff_f000);
    bench.pass(PERIOD * 5);
    assert!(bench.done().len() <= 2, "nothing begins without a list");
    let last = bench.host.notes.iter().rev().find_map(|note| match note {
        Kind::Access { outcome, .. } => Some(*outcome),
        _ => None,
    });
    assert_eq!(last, Some(Outcome::Refused(DmaError::Unmapped)));
}

#[test]
fn sound_comes_at_its_rate_and_size_by_two_buffers() {
    let mut bench = Bench::new(Tw686xOptions::default());
    let (number, bytes) = (3, 1024_u32);
    bench.host.map(BASE, 2 * 4096);
    bench.write(ADMA_P_ADDR::OFFSET + 8 * number, BASE as u32);
    bench.write(ADMA_B_ADDR::OFFSET + 8 * number, BASE as u32 + 4096);
    let control = AUDIO_CONTROL1::compose(bytes as u16, true);
    bench.write(AUDIO_CONTROL1::OFFSET, control.into_raw());
    bench.write(AUDIO_CONTROL2::OFFSET, (125_000_000 / 8000) << 16);
    bench.enable(1 << (SOUND + number));
    // 512 samples at 8 kHz.
    let period = Duration::from_millis(64);
    bench.pass(2 * period - Duration::from_millis(1));
    assert_eq!(bench.writes(), 0);
    bench.pass(Duration::from_millis(1));

    assert_eq!(bench.done(), [(0, None, bytes.into())]);
    assert_eq!(bench.read(INT_STATUS::OFFSET), 1 << 11);
    assert_eq!(bench.read(PB_STATUS::OFFSET), 0);
    let stamp = picture::stamp((SOUND + number) as u32, 0);
    let expected = picture::picture(stamp, bytes as usize, 1, false);
    assert!(bench.host.bytes(BASE, bytes.into()) == expected);
    bench.pass(period + Duration::from_millis(2));
    assert_eq!(bench.read(INT_STATUS::OFFSET), 1 << 11);
    assert_eq!(bench.read(PB_STATUS::OFFSET), 1 << 11);
    assert_eq!(bench.host.byte(BASE + 4096 + u64::from(bytes)), 0xee);
}

#[test]
fn what_the_bus_refuses_is_abandoned_and_no_master_begins_nothing() {
    let mut bench = Bench::new(Tw686xOptions::default());
    bench.prepare(0);
    bench.write(VDMA_P_ADDR::OFFSET, 0x4000_0000);
    bench.enable(1);
    bench.pass(PERIOD * 2);
    assert_eq!(bench.done(), [(0, Some("the bus refused it"), 0)]);
    assert!(!bench.card.line());

    bench.host.refuses = Some(DmaError::NotMaster);
    let before = bench.writes();
    assert!(
        matches!(bench.pass(PERIOD * 5), Next::At(_)),
        "it tries again"
    );
    assert_eq!(bench.writes(), before);
}

#[test]
fn a_reset_forgets_everything_and_numbers_go_on() {
    for soft in [true, false] {
        let mut bench = Bench::new(Tw686xOptions::default());
        bench.prepare(0);
        bench.enable(1);
        bench.pass(PERIOD * 2 + Duration::from_millis(1));
        match soft {
            true => bench.write(SYS_SOFT_RST::OFFSET, 0xf),
            false => bench.card.reset(Reset::FunctionLevel),
        }
        assert_eq!(bench.pass(PERIOD * 3), Next::Idle);
        assert_eq!(
            (bench.read(INT_STATUS::OFFSET), bench.card.line()),
            (0, false)
        );
        assert_eq!(bench.read(DMA_CMD::OFFSET), 0);

        bench.prepare(0);
        bench.enable(1);
        bench.pass(PERIOD * 2 + Duration::from_millis(1));
        assert_eq!(bench.done().last().map(|done| done.0), Some(1));
        assert!(bench.memory(0, 0) == Bench::picture(0, 1));
    }
}

#[test]
fn nothing_that_a_driver_writes_brings_it_down() {
    let mut bench = Bench::new(Tw686xOptions::default());
    for offset in (0..0x1000).step_by(4) {
        if bench.card.register(0, offset).is_some() && offset != SYS_SOFT_RST::OFFSET as u64 {
            bench.write(offset as usize, u32::MAX);
        }
    }
    bench.host.map(0xffff_0000, 0x1_0000);
    for modes in [0, 0x5555_0000, 0xaaaa_0000, u32::MAX] {
        bench.write(PHASE_REF::OFFSET, modes);
        bench.pass(PERIOD * 2);
    }
}

#[test]
fn overrun_writes_one_byte_behind_its_frame() {
    let mut bench = Bench::new(Tw686xOptions {
        fault: Some(Fault::Overrun),
        ..Tw686xOptions::default()
    });
    bench.prepare(0);
    bench.enable(1);
    bench.pass(PERIOD * 2 + Duration::from_millis(1));

    let end = Bench::buffer(0, 0) + BYTES;
    let last = bench.host.accesses().last().copied();
    assert_eq!(last, Some((Direction::Write, end, 1)));
    assert!(bench.memory(0, 0) == Bench::picture(0, 0));
}

#[test]
fn after_stop_writes_once_where_the_last_frame_began() {
    let mut bench = Bench::new(Tw686xOptions {
        fault: Some(Fault::AfterStop),
        ..Tw686xOptions::default()
    });
    bench.prepare(0);
    bench.enable(1);
    bench.pass(PERIOD * 2 + Duration::from_millis(1));
    bench.enable(0);
    let before = bench.writes();
    bench.pass(LATE - Duration::from_millis(1));
    assert_eq!(bench.writes(), before);
    bench.pass(Duration::from_millis(1));
    let last = bench.host.accesses().last().copied();
    assert_eq!(last, Some((Direction::Write, Bench::buffer(0, 0), 64)));
    assert_eq!(bench.pass(PERIOD * 30), Next::Idle);
    assert_eq!(bench.writes(), before + 1, "once");
}
