// SPDX-License-Identifier: MIT OR Apache-2.0

use std::time::Duration;

use super::engine::{CONTROL, READ, SIZE, WRITE};
use super::*;
use landfall_device::journal::{Direction, Kind};
use landfall_device::testing::{FakeHost, check_declarations};

const RING: u64 = 0x10_0000;
const COMPLETION: u64 = 0x20_0000;
const DATA: u64 = 0x1_0000_0000;
const COPY: u32 = 1 | 1 << 3;
const NULL: u32 = COPY | 1 << 5;

struct Bench {
    card: Ioat,
    host: FakeHost,
}

/// A card as its driver has set it up: interrupts on, completion words, 16 linked descriptors for each channel.
fn bench(options: IoatOptions) -> Bench {
    let host = FakeHost {
        vectors: 4,
        ..FakeHost::default()
    };
    let mut bench = Bench {
        card: Ioat::new(options),
        host,
    };
    bench.host.map(RING, 0x1_0000);
    bench.host.map(COMPLETION, 0x1000);
    bench.host.map(DATA, 0x40_0000);
    bench.write(INTRCTRL::OFFSET, Width::One, 9);
    for channel in 0..bench.card.channels.len() {
        bench.prepare(channel);
    }
    bench
}

fn usual() -> Bench {
    bench(IoatOptions::default())
}

impl Bench {
    fn write(&mut self, offset: usize, width: Width, value: u64) {
        let access = Access {
            bar: 0,
            offset: offset as u64,
            width,
        };
        self.host.write += 1;
        self.card.store(access, value, &mut self.host);
    }

    fn read(&mut self, offset: usize, width: Width) -> u64 {
        let access = Access {
            bar: 0,
            offset: offset as u64,
            width,
        };
        self.card.load(access, &mut self.host)
    }

    fn at(channel: usize, register: usize) -> usize {
        register + 0x80 * channel
    }

    const fn descriptor(channel: usize, index: u64) -> u64 {
        RING + 0x1000 * channel as u64 + 64 * (index % 16)
    }

    /// Resets a channel and gives it its chain, as the driver does.
    fn prepare(&mut self, channel: usize) {
        self.write(Self::at(channel, CHANCMD::OFFSET), Width::One, 0x20);
        self.write(Self::at(channel, CHANCTRL::OFFSET), Width::Two, 0x1d);
        let word = COMPLETION + 64 * channel as u64;
        self.write(Self::at(channel, CHANCMP_LOW::OFFSET), Width::Eight, word);
        for (half, register) in [CHAINADDR_LOW::OFFSET, CHAINADDR_HIGH::OFFSET]
            .into_iter()
            .enumerate()
        {
            let address = Self::descriptor(channel, 0) >> (32 * half) & 0xffff_ffff;
            self.write(Self::at(channel, register), Width::Four, address);
        }
    }

    fn arm(&mut self, channel: usize, index: u64, control: u32, bytes: u32, from: u64, to: u64) {
        let at = Self::descriptor(channel, index);
        self.host.put(at, &bytes.to_le_bytes());
        self.host.put(at + 4, &control.to_le_bytes());
        let addresses = [from, to, Self::descriptor(channel, index + 1)];
        for (at, address) in (at + 8..).step_by(8).zip(addresses) {
            self.host.put(at, &address.to_le_bytes());
        }
    }

    /// A copy of `bytes` from [`DATA`] to 1 MiB behind it, as descriptor `index`.
    fn copy(&mut self, channel: usize, index: u64, bytes: u32) {
        self.arm(channel, index, COPY, bytes, DATA + 3, TO);
    }

    /// So many descriptors are given by now; the card works until it has nothing to do.
    fn give(&mut self, channel: usize, count: u64) -> Next {
        self.write(Self::at(channel, DMACOUNT::OFFSET), Width::Two, count);
        self.host.settle(&mut self.card)
    }

    fn status(&mut self, channel: usize) -> u64 {
        self.read(Self::at(channel, CHANSTS_LOW::OFFSET), Width::Eight)
    }

    fn word(&self, channel: u64) -> u64 {
        let bytes = self.host.bytes(COMPLETION + 64 * channel, 8);
        u64::from_le_bytes(bytes.try_into().expect("8"))
    }

    fn vectors(&self) -> Vec<u16> {
        let vector = |kind: &Kind| match kind {
            Kind::Interrupt { vector } => Some(*vector),
            _ => None,
        };
        self.host.notes.iter().filter_map(vector).collect()
    }

    fn rearm(&mut self) {
        self.write(CHANCTRL::OFFSET, Width::Two, 0x1d);
    }

    fn told(&self) -> Vec<&Declaration> {
        self.host.declared().map(|(what, _)| what).collect()
    }

    fn keeps_its_word(&self) -> Result<(), String> {
        check_declarations(&self.card.declares(), &self.host.notes)
    }

    fn writes(&self) -> Vec<(u64, u64)> {
        let all = self.host.accesses().into_iter();
        let write = |(way, at, length)| (way == Direction::Write).then_some((at, length));
        all.filter_map(write).collect()
    }
}

const TO: u64 = DATA + 0x10_0000 + 1;

#[test]
fn the_driver_finds_one_channel_that_copies() {
    let mut bench = usual();
    let read = [
        CHANCNT::OFFSET,
        XFERCAP::OFFSET,
        VERSION::OFFSET,
        COMPATIBILITY::OFFSET,
    ];
    assert_eq!(read.map(|at| bench.read(at, Width::One)), [1, 20, 0x32, 2]);
    assert_eq!(bench.read(0, Width::Four), 9 << 24 | 20 << 8 | 1);
    assert_eq!(bench.read(CHANCMD::OFFSET, Width::One), 0);
    assert_eq!(bench.status(0), 3, "it was reset");
    let beyond = Access::word(0, 0x100);
    assert_eq!(bench.card.name(beyond), None, "there is no second channel");
}

#[test]
fn a_null_descriptor_starts_a_channel_and_is_told() {
    let mut bench = usual();
    bench.arm(0, 0, NULL, 1, 0, 0);
    bench.write(DMACOUNT::OFFSET, Width::Two, 1);
    assert_eq!(bench.status(0), 0, "before its first step");
    assert_eq!(bench.host.settle(&mut bench.card), Next::Idle);
    assert_eq!((bench.status(0), bench.word(0)), (RING | 1, RING | 1));
    assert_eq!(bench.vectors(), [0]);
    assert_eq!(bench.writes(), [(COMPLETION, 8)]);
    assert_eq!(bench.keeps_its_word(), Ok(()));
}

#[test]
fn a_copy_lands_with_every_byte_and_no_other() {
    let mut bench = usual();
    let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    bench.host.put(DATA + 3, &bytes);
    bench.copy(0, 0, 300_000);
    bench.give(0, 1);
    assert!(bench.host.bytes(TO, 300_000) == bytes);
    let beside = [TO - 1, TO + 300_000].map(|at| bench.host.byte(at));
    assert_eq!(beside, [0xee; 2]);
    let chunk = u64::from(CHUNK);
    let lengths: Vec<_> = bench
        .writes()
        .into_iter()
        .map(|(_, length)| length)
        .collect();
    assert_eq!(lengths, [chunk, chunk, 300_000 - 2 * chunk, 8]);
    assert_eq!(bench.keeps_its_word(), Ok(()));
    let pieces = vec![Piece::read(DATA + 3, 300_000), Piece::write(TO, 300_000)];
    let begun = |what: &&Declaration| matches!(what, Declaration::Begun { pieces: told, .. } if *told == pieces);
    assert!(bench.told().iter().any(begun));
}

#[test]
fn the_count_runs_on_and_wraps() {
    let mut bench = usual();
    for index in 0..16 {
        bench.arm(0, index, 1 << 5, 1, 0, 0);
    }
    bench.give(0, 0xffff);
    bench.give(0, 2);
    assert_eq!(bench.host.accesses().len(), 0x1_0002);
    assert_eq!(bench.status(0), Bench::descriptor(0, 0x1_0001) | 1);
    assert!(bench.vectors().is_empty() && bench.writes().is_empty());
}

#[test]
fn an_interrupt_comes_once_and_the_next_waits_for_being_armed() {
    let mut bench = usual();
    for index in 0..3 {
        bench.copy(0, index, 8);
        bench.give(0, index + 1);
    }
    assert_eq!(bench.vectors(), [0]);
    assert_eq!(bench.read(CHANCTRL::OFFSET, Width::Two), 0x1d);
    bench.rearm();
    assert_eq!(bench.vectors(), [0, 0]);
    bench.rearm();
    assert_eq!(bench.vectors(), [0, 0], "nothing waits");
    assert_eq!(bench.keeps_its_word(), Ok(()));
}

#[test]
fn what_is_masked_waits_until_interrupts_are_on() {
    let mut bench = usual();
    bench.write(INTRCTRL::OFFSET, Width::One, 0);
    bench.copy(0, 0, 8);
    bench.give(0, 1);
    assert!(bench.vectors().is_empty());
    bench.write(INTRCTRL::OFFSET, Width::One, 9);
    assert_eq!(bench.vectors(), [0]);
    assert_eq!(bench.keeps_its_word(), Ok(()));
}

#[test]
fn with_one_vector_or_the_line_the_driver_asks_which_channel_it_was() {
    let mut bench = bench(IoatOptions {
        channels: 2,
        ..IoatOptions::default()
    });
    bench.host.vectors = 1;
    bench.write(INTRCTRL::OFFSET, Width::One, 1);
    bench.copy(1, 0, 8);
    bench.give(1, 1);
    assert_eq!((bench.vectors(), bench.card.line()), (vec![0], true));
    assert_eq!(bench.read(INTRCTRL::OFFSET, Width::One), 7);
    assert_eq!(bench.read(ATTNSTATUS::OFFSET, Width::Four), 2);
    assert_eq!(bench.read(ATTNSTATUS::OFFSET, Width::Four), 0);
    assert!(!bench.card.line());
}

/// As libvfio of the kernel's selftests has it, which leaves the other bit alone.
#[test]
fn messages_of_the_channels_own_need_no_other_switch() {
    let mut bench = usual();
    bench.write(INTRCTRL::OFFSET, Width::One, 0);
    bench.copy(0, 0, 8);
    bench.give(0, 1);
    assert_eq!(bench.vectors(), [0; 0]);
    bench.write(INTRCTRL::OFFSET, Width::One, 8);
    assert_eq!(bench.vectors(), [0], "the one that waited");
    bench.rearm();
    bench.copy(0, 1, 8);
    bench.give(0, 2);
    assert_eq!(bench.vectors(), [0, 0]);
    bench.write(INTRCTRL::OFFSET, Width::One, 9);
    bench.write(INTRCTRL::OFFSET, Width::One, 1);
    let masks = |what: &&Declaration| matches!(what, Declaration::Masked { .. });
    assert_eq!(bench.told().into_iter().filter(masks).count(), 3);
    assert_eq!(bench.keeps_its_word(), Ok(()));
}

#[test]
fn channels_take_turns_and_have_vectors_of_their_own() {
    let mut bench = bench(IoatOptions {
        channels: 2,
        ..IoatOptions::default()
    });
    for channel in 0..2 {
        bench.copy(channel, 0, 2 * CHUNK);
        bench.write(Bench::at(channel, DMACOUNT::OFFSET), Width::Two, 1);
    }
    bench.host.settle(&mut bench.card);
    assert_eq!(bench.vectors(), [0, 1]);
    let reads: Vec<_> = bench
        .told()
        .into_iter()
        .filter_map(|what| match what {
            Declaration::Begun { queue, .. } => Some(queue.0),
            _ => None,
        })
        .collect();
    assert_eq!(reads, [0, 1]);
    assert_eq!(bench.keeps_its_word(), Ok(()));
}

#[test]
fn a_stop_acts_at_once_and_a_suspended_channel_goes_on() {
    let mut bench = usual();
    bench.copy(0, 0, 4 * CHUNK);
    bench.write(DMACOUNT::OFFSET, Width::Two, 1);
    for _ in 0..3 {
        bench.card.step(&mut bench.host);
    }
    let moved = bench.writes().len();
    assert_eq!(moved, 2);
    bench.write(CHANCMD::OFFSET, Width::One, 4);
    assert_eq!(bench.status(0), 2);
    assert_eq!(bench.host.settle(&mut bench.card), Next::Idle);
    assert_eq!(bench.writes().len(), moved);
    let queue = Some(QueueId(0));
    assert_eq!(bench.told().last(), Some(&&Declaration::Idle { queue }));

    bench.give(0, 1);
    assert_eq!(bench.status(0), RING | 1);
    assert_eq!(bench.keeps_its_word(), Ok(()));

    bench.write(CHANCMD::OFFSET, Width::One, 0x20);
    assert_eq!(bench.status(0), 3);
    assert_eq!(bench.read(CHAINADDR_LOW::OFFSET, Width::Eight), 0);
}

#[test]
fn a_chain_that_is_moved_while_its_channel_works_is_told() {
    let mut bench = usual();
    bench.copy(0, 0, 8);
    bench.write(DMACOUNT::OFFSET, Width::Two, 1);
    bench.write(CHAINADDR_LOW::OFFSET, Width::Four, RING);
    let last = bench.host.declared().last();
    assert!(matches!(last, Some((Declaration::NotNow { .. }, _))));
    assert_eq!(bench.host.settle(&mut bench.card), Next::Idle);
    assert_eq!(bench.writes(), []);
}

#[test]
fn what_is_refused_halts_with_its_reason_and_the_word_names_no_other_descriptor() {
    const AWAY: u64 = 0x9_0000_0000;
    let cases = [
        (COPY, 8, AWAY, TO, READ),
        (COPY, 8, DATA, AWAY, WRITE),
        (COPY, 0, DATA, TO, SIZE),
        (COPY, (1 << 20) + 1, DATA, TO, SIZE),
        (COPY | 7 << 24, 8, DATA, TO, CONTROL),
    ];
    for (control, bytes, from, to, error) in cases {
        let mut bench = usual();
        bench.copy(0, 0, 8);
        bench.arm(0, 1, control, bytes, from, to);
        bench.give(0, 1);
        bench.rearm();
        bench.give(0, 2);
        assert_eq!(bench.read(CHANERR::OFFSET, Width::Four), u64::from(error));
        assert_eq!((bench.status(0), bench.word(0)), (RING | 3, RING | 3));
        assert_eq!(bench.vectors(), [0, 0], "{error:#x}");
        assert_eq!(bench.keeps_its_word(), Ok(()));
        // Nothing starts it but a reset, or that it is cleared.
        bench.give(0, 3);
        assert_eq!(bench.status(0), RING | 3);
        bench.write(CHANERR::OFFSET, Width::Four, error.into());
        bench.prepare(0);
        bench.give(0, 1);
        assert_eq!(bench.status(0), RING | 1);
    }
    let mut bench = usual();
    bench.write(CHANCMP_LOW::OFFSET, Width::Eight, AWAY);
    bench.copy(0, 0, 8);
    bench.give(0, 1);
    assert_eq!(bench.read(CHANERR::OFFSET, Width::Four), 1 << 12);
    bench.write(CHANCMD::OFFSET, Width::One, 0x20);
    bench.write(CHANERR::OFFSET, Width::Four, u32::MAX.into());
    bench.write(CHAINADDR_LOW::OFFSET, Width::Eight, AWAY);
    bench.give(0, 1);
    assert_eq!(bench.read(CHANERR::OFFSET, Width::Four), 1 << 2);
    assert_eq!(bench.keeps_its_word(), Ok(()));
}

#[test]
fn it_waits_while_it_may_not_master_the_bus() {
    let mut bench = usual();
    bench.host.refuses = Some(DmaError::NotMaster);
    bench.copy(0, 0, 8);
    assert_eq!(bench.give(0, 1), Next::Idle);
    assert_eq!(bench.host.accesses(), []);
    bench.host.refuses = None;
    bench.host.settle(&mut bench.card);
    assert_eq!(bench.status(0), RING | 1);
}

#[test]
fn a_write_in_part_changes_that_part_alone() {
    let mut bench = usual();
    bench.write(CHANERR_MASK::OFFSET, Width::Four, 0x1122_3344);
    bench.write(CHANERR_MASK::OFFSET + 1, Width::One, 0xaa);
    assert_eq!(bench.read(CHANERR_MASK::OFFSET, Width::Four), 0x1122_aa44);
    assert_eq!(bench.read(CHANERR_MASK::OFFSET + 2, Width::Two), 0x1122);
    // One access to command and count is one to each.
    bench.copy(0, 0, 8);
    bench.write(CHANCMD::OFFSET, Width::Four, 1 << 16);
    bench.host.settle(&mut bench.card);
    assert_eq!(bench.status(0), RING | 1);
}

/// Each fault strikes the copy that it is told, once, and is seen to break what the card declares, or the data.
#[test]
fn faults_strike() {
    let faulty = |fault, fault_copy| {
        let mut bench = bench(IoatOptions {
            fault,
            fault_copy,
            ..IoatOptions::default()
        });
        bench.host.put(DATA + 3, &[7; 9]);
        for index in 0..3 {
            bench.host.put(TO, &[0; 10]);
            bench.copy(0, index, 9);
            bench.give(0, index + 1);
            bench.rearm();
            let struck = fault_copy == index;
            let bytes = bench.host.bytes(TO, 10);
            let wrong = bytes != [7, 7, 7, 7, 7, 7, 7, 7, 7, 0];
            let shows = matches!(fault, Some(Fault::Corrupt | Fault::Overrun));
            assert_eq!(wrong, shows && struck, "{fault:?} {index}: {bytes:?}");
        }
        bench.host.time = Duration::from_secs(1);
        bench.write(CHANCMD::OFFSET, Width::One, 0x20);
        bench.host.settle(&mut bench.card);
        bench.host.time = Duration::from_secs(2);
        bench.host.settle(&mut bench.card);
        bench
    };
    assert_eq!(faulty(None, 1).keeps_its_word(), Ok(()));
    assert_eq!(faulty(None, 1).vectors().len(), 3);
    assert_eq!(faulty(Some(Fault::Corrupt), 1).keeps_its_word(), Ok(()));

    let said = |fault| {
        let said = faulty(Some(fault), 1).keeps_its_word();
        said.expect_err("it does not keep its word")
    };
    assert!(said(Fault::Overrun).contains("outside of its job"));
    assert!(said(Fault::LostInterrupt).contains("vector 0 is missing"));
    assert_eq!(faulty(Some(Fault::LostInterrupt), 1).vectors().len(), 2);
    assert!(said(Fault::AfterStop).contains("is over"));
    let late = faulty(Some(Fault::AfterStop), 1).writes();
    assert_eq!(late.last(), Some(&(TO, 64)));
}

/// Of the last copy's end nobody knows after a reset; what a broken card is about to do only losing power ends.
#[test]
fn a_reset_forgets_all_but_the_numbers_of_jobs() {
    for (kind, strikes) in [(Reset::Device, false), (Reset::FunctionLevel, true)] {
        let mut bench = bench(IoatOptions {
            fault: Some(Fault::AfterStop),
            ..IoatOptions::default()
        });
        bench.copy(0, 0, 9);
        bench.give(0, 1);
        bench.write(CHANCMD::OFFSET, Width::One, 0x20);
        bench.card.reset(kind);
        assert_eq!(bench.status(0), 1);
        let before = bench.writes().len();
        bench.host.time = Duration::from_secs(1);
        bench.host.settle(&mut bench.card);
        assert_eq!(bench.writes().len() > before, strikes, "{kind:?}");
        assert_eq!(bench.card.engine.jobs, 1);
    }
}
