// SPDX-License-Identifier: MIT OR Apache-2.0

use super::command::*;
use super::*;
use crate::late::LATE;
use landfall_device::journal::{Direction, Kind};
use landfall_device::testing::{FakeHost, check_declarations};
use proptest::prelude::*;

const ASQ: u64 = 0x10_0000;
const ACQ: u64 = 0x11_0000;
const SQ: u64 = 0x12_0000;
const CQ: u64 = 0x13_0000;
const LISTS: u64 = 0x14_0000;
const DATA: u64 = 0x1_0000_0000;
const ENTRIES: u16 = 32;

/// A queue as its driver knows it.
#[derive(Clone, Copy)]
struct Pair {
    id: u16,
    commands: u64,
    completions: u64,
    tail: u16,
    head: u16,
    phase: bool,
}

impl Pair {
    const fn new(id: u16, commands: u64, completions: u64) -> Self {
        Self {
            id,
            commands,
            completions,
            tail: 0,
            head: 0,
            phase: true,
        }
    }
}

/// What came of a command: first word, status.
type Came = (u32, u16);

struct Bench {
    card: Nvme,
    host: FakeHost,
    admin: Pair,
    io: Pair,
    number: u16,
}

/// A controller that is switched on, without I/O queues.
fn on(options: NvmeOptions) -> Bench {
    let mut bench = Bench {
        card: Nvme::new(options),
        host: FakeHost {
            vectors: 4,
            ..FakeHost::default()
        },
        admin: Pair::new(0, ASQ, ACQ),
        io: Pair::new(1, SQ, CQ),
        number: 100,
    };
    bench.host.map(ASQ, 0x10_0000);
    bench.host.map(DATA, 0x40_0000);
    let most = u32::from(ENTRIES) - 1;
    bench.write(AQA::OFFSET, most << 16 | most);
    bench.write(ASQ_LOW::OFFSET, ASQ as u32);
    bench.write(ACQ_LOW::OFFSET, ACQ as u32);
    bench.write(CC::OFFSET, CC::compose(4, 6, 0, 0, 0, 0, true).into_raw());
    assert_eq!(bench.read(CSTS::OFFSET), 1);
    bench
}

/// And with a pair of I/O queues, by vector 1.
fn bench(options: NvmeOptions) -> Bench {
    let mut bench = on(options);
    let size = u32::from(ENTRIES - 1) << 16;
    let made = bench.admin([0x05, 0, CQ as u32, 0, size | 1, 1 << 16 | 3]);
    assert_eq!(made, (0, 0));
    let made = bench.admin([0x01, 0, SQ as u32, 0, size | 1, 1 << 16 | 1]);
    assert_eq!(made, (0, 0));
    bench
}

fn usual() -> Bench {
    bench(NvmeOptions::default())
}

impl Bench {
    fn write(&mut self, offset: usize, value: u32) {
        self.host.write += 1;
        self.card
            .store(Access::word(0, offset as u64), value.into(), &mut self.host);
    }

    fn read(&mut self, offset: usize) -> u32 {
        self.card
            .load(Access::word(0, offset as u64), &mut self.host) as u32
    }

    /// Puts a command into a queue; the words are 0, 1, 6, 8, 10 and 11, the last three may be left to `more`.
    fn put(&mut self, pair: fn(&mut Self) -> &mut Pair, command: [u32; 16]) {
        let Pair { commands, tail, .. } = *pair(self);
        for (at, word) in (commands + u64::from(tail) * 64..).step_by(4).zip(command) {
            self.host.put(at, &word.to_le_bytes());
        }
        pair(self).tail = (tail + 1) % ENTRIES;
    }

    fn ring(&mut self, pair: fn(&mut Self) -> &mut Pair) {
        let Pair { id, tail, .. } = *pair(self);
        self.write(SQTDBL::OFFSET + 8 * usize::from(id), tail.into());
    }

    /// Takes a completion, if there is one: number of its command, first word, status.
    fn take(&mut self, pair: fn(&mut Self) -> &mut Pair) -> Option<(u16, Came)> {
        let now = *pair(self);
        let at = now.completions + u64::from(now.head) * 16;
        let word = |at| {
            let bytes = self.host.bytes(at, 4);
            u32::from_le_bytes(bytes.try_into().expect("4"))
        };
        let (first, last) = (word(at), word(at + 12));
        if (last >> 16 & 1 != 0) != now.phase {
            return None;
        }
        let head = (now.head + 1) % ENTRIES;
        let to = pair(self);
        (to.head, to.phase) = (head, to.phase ^ (head == 0));
        self.write(CQHDBL::OFFSET + 8 * usize::from(now.id), head.into());
        Some((last as u16, (first, (last >> 17) as u16 & 0x7ff)))
    }

    fn done(&mut self, pair: fn(&mut Self) -> &mut Pair, command: [u32; 16]) -> Came {
        self.number += 1;
        let mut command = command;
        command[0] |= u32::from(self.number) << 16;
        self.put(pair, command);
        self.ring(pair);
        self.host.settle(&mut self.card);
        let (number, came) = self.take(pair).expect("a completion");
        assert_eq!(number, self.number);
        came
    }

    /// Opcode, namespace, first page's lower half, second's, words 10 and 11.
    fn admin(&mut self, words: [u32; 6]) -> Came {
        self.done(|bench| &mut bench.admin, command(words, 0))
    }

    fn io(&mut self, opcode: u32, block: u32, blocks: u32, pages: (u64, u64)) -> Came {
        let command = io(opcode, block, blocks, pages);
        self.done(|bench| &mut bench.io, command)
    }

    /// A list of pages, which begins at `at`.
    fn list(&mut self, at: u64, pages: &[u64]) {
        for (at, page) in (at..).step_by(8).zip(pages) {
            self.host.put(at, &page.to_le_bytes());
        }
    }

    fn vectors(&self) -> Vec<u16> {
        let vector = |kind: &Kind| match kind {
            Kind::Interrupt { vector } => Some(*vector),
            _ => None,
        };
        self.host.notes.iter().filter_map(vector).collect()
    }

    fn keeps(&self) {
        check_declarations(&self.card.declares(), &self.host.notes).unwrap();
    }
}

fn command([opcode, namespace, first, second, ten, eleven]: [u32; 6], twelve: u32) -> [u32; 16] {
    let mut command = [0; 16];
    (command[0], command[1], command[6], command[8]) = (opcode, namespace, first, second);
    (command[10], command[11], command[12]) = (ten, eleven, twelve);
    command
}

fn io(opcode: u32, block: u32, blocks: u32, (first, second): (u64, u64)) -> [u32; 16] {
    let mut command = command(
        [opcode, 1, first as u32, second as u32, block, 0],
        blocks - 1,
    );
    (command[7], command[9]) = ((first >> 32) as u32, (second >> 32) as u32);
    command
}

const WRITE: u32 = 1;
const READ: u32 = 2;

/// Bytes that differ from place to place.
fn pattern(length: usize, seed: u8) -> Vec<u8> {
    let byte = |at: usize| (at as u8).wrapping_mul(7) ^ (at >> 8) as u8 ^ seed;
    (0..length).map(byte).collect()
}

#[test]
fn it_says_what_it_is() {
    let mut bench = on(NvmeOptions::default());
    assert_eq!(bench.admin([0x06, 0, DATA as u32, 0, 1, 0]).1, 0x04);
    let page = LISTS as u32;
    assert_eq!(bench.admin([0x06, 0, page, 0, 1, 0]), (0, 0));
    assert_eq!(bench.host.bytes(LISTS + 24, 13), b"Landfall NVMe");
    assert_eq!(bench.host.bytes(LISTS + 77, 1), [5]);
    let own = |bench: &Bench| bench.host.bytes(LISTS + 768, 256);
    let name = own(&bench);
    bench.card.reset(Reset::Device);
    assert_eq!(
        bench.card.serial.to_string().as_bytes(),
        bench.host.bytes(LISTS + 4, 20).trim_ascii_end()
    );
    let mut bench = on(NvmeOptions::default());
    assert_eq!(bench.admin([0x06, 0, page, 0, 1, 0]), (0, 0));
    assert_ne!(own(&bench), name, "another controller");
    assert_eq!(bench.admin([0x06, 1, page, 0, 0, 0]), (0, 0));
    assert_eq!(bench.host.bytes(LISTS, 8), (64_u64 << 11).to_le_bytes());
    assert_eq!(bench.host.bytes(LISTS + 4095, 2), [0, 0xee]);
    assert_eq!(bench.admin([0x06, 0, page, 0, 2, 0]), (0, 0));
    assert_eq!(bench.host.bytes(LISTS, 8), 1_u64.to_le_bytes());
    assert_eq!(bench.admin([0x06, 2, page, 0, 0, 0]).1, NAMESPACE.0);
    assert_eq!(
        bench.admin([0x09, 0, 0, 0, 7, 0xffff_ffff]),
        (0x000f_000f, 0)
    );
    bench.keeps();
}

/// What is written is what is read, in pages wherever they lie, and nothing beside it changes.
#[test]
fn what_is_written_is_read_by_entries_and_by_lists() {
    let mut bench = usual();
    let pages: Vec<u64> = (0..32).map(|at| DATA + (31 - at) * 2 * PAGE).collect();
    let (first, rest) = pages.split_first().expect("32");
    bench.list(LISTS, rest);
    for (blocks, second) in [(1, 0), (8, 0), (16, pages[1]), (17, LISTS), (256, LISTS)] {
        let bytes = pattern(512 * blocks as usize, blocks as u8);
        for (page, part) in pages.iter().zip(bytes.chunks(PAGE as usize)) {
            bench.host.put(*page, part);
        }
        assert_eq!(bench.io(WRITE, 100, blocks, (*first, second)), (0, 0));
        bench.host.map(DATA, 0x40_0000);
        assert_eq!(bench.io(READ, 100, blocks, (*first, second)), (0, 0));
        let mut read = Vec::new();
        for page in &pages {
            read.extend(bench.host.bytes(*page, PAGE));
            let beside = bench.host.bytes(*page + PAGE, PAGE);
            assert!(beside.iter().all(|byte| *byte == 0xee));
        }
        assert_eq!(read[..bytes.len()], bytes);
        assert!(read[bytes.len()..].iter().all(|byte| *byte == 0xee));
    }
    let vectors = bench.vectors();
    assert_eq!(vectors.iter().filter(|vector| **vector == 1).count(), 10);
    bench.keeps();
}

/// A list goes on in another page from the last entry of one.
#[test]
fn a_list_goes_on_in_another_page() {
    let mut bench = usual();
    let bytes = pattern(5 * 4096, 3);
    bench.host.put(DATA + 512, &bytes);
    // Two entries fit into the page: the first, and where it goes on.
    bench.list(LISTS + 0xff0, &[DATA + PAGE, LISTS + 2 * PAGE]);
    let on = [2, 3, 4, 5].map(|at| DATA + at * PAGE);
    bench.list(LISTS + 2 * PAGE, &on);
    let pages = (DATA + 512, LISTS + 0xff0);
    assert_eq!(bench.io(WRITE, 0, 40, pages), (0, 0));
    bench.host.map(DATA, 0x40_0000);
    assert_eq!(bench.io(READ, 0, 40, pages), (0, 0));
    assert_eq!(bench.host.bytes(DATA + 512, bytes.len() as u64), bytes);
    assert_eq!(bench.host.byte(DATA + 511), 0xee);
    assert_eq!(bench.host.byte(DATA + 512 + bytes.len() as u64), 0xee);
    bench.keeps();
}

#[test]
fn what_makes_no_sense_is_refused_with_the_specifications_code() {
    let mut bench = usual();
    let last = (64 << 11) - 1;
    for (came, status) in [
        (bench.io(READ, last + 1, 1, (DATA, 0)), RANGE),
        (bench.io(READ, last, 2, (DATA, 0)), RANGE),
        (bench.io(READ, 0, 257, (DATA, LISTS)), FIELD),
        (bench.io(READ, 0, 1, (DATA + 2, 0)), OFFSET),
        (bench.io(READ, 0, 16, (DATA, DATA + 4)), OFFSET),
        (bench.io(READ, 0, 24, (DATA, LISTS + 4)), OFFSET),
        (bench.io(READ, 0, 1, (1, 0)), OFFSET),
        (bench.io(READ, 0, 1, (0, 0)), TRANSFER),
        (bench.io(WRITE, 0, 1, (0, 0)), TRANSFER),
        (bench.io(0x55, 0, 1, (DATA, 0)), OPCODE),
        (bench.admin([0x55, 0, 0, 0, 0, 0]), OPCODE),
        (bench.admin([0x05, 0, 0x1000, 0, 17 | 15 << 16, 1]), QUEUE),
        (bench.admin([0x05, 0, CQ as u32, 0, 1 | 15 << 16, 1]), QUEUE),
        (bench.admin([0x05, 0, CQ as u32, 0, 2, 1]), SIZE),
        (
            bench.admin([0x05, 0, CQ as u32, 0, 2 | 1024 << 16, 1]),
            SIZE,
        ),
        (
            bench.admin([0x05, 0, CQ as u32, 0, 2 | 15 << 16, 4 << 16 | 3]),
            VECTOR,
        ),
        (
            bench.admin([0x01, 0, SQ as u32, 0, 2 | 15 << 16, 5 << 16 | 1]),
            NO_COMPLETION_QUEUE,
        ),
        (bench.admin([0x04, 0, 0, 0, 1, 0]), IN_USE),
        (bench.admin([0x00, 0, 0, 0, 2, 0]), QUEUE),
        (bench.admin([0x02, 0, LISTS as u32, 0, 0x7f00_0009, 0]), LOG),
        (bench.admin([0x80, 1, 0, 0, 2, 0]), FORMAT),
        (bench.admin([0x80, 7, 0, 0, 0, 0]), NAMESPACE),
    ] {
        assert_eq!(came, (0, status.0), "{status:?}");
    }
    assert_eq!(bench.admin([0x08, 0, 0, 0, 1, 0]), (1, 0), "too late");
    bench.keeps();
}

#[test]
fn a_format_clears_and_changes_the_blocks() {
    let mut bench = usual();
    bench.host.put(DATA, &[7; 512]);
    assert_eq!(bench.io(WRITE, 8, 1, (DATA, 0)), (0, 0));
    assert_eq!(bench.admin([0x80, 1, 0, 0, 1, 0]), (0, 0));
    assert_eq!(bench.io(READ, 1, 1, (DATA, 0)), (0, 0));
    assert_eq!(
        bench.host.bytes(DATA, 4097)[..],
        [&[0; 4096][..], &[0xee]].concat()
    );
    assert_eq!(bench.io(READ, 64 << 8, 1, (DATA, 0)).1, RANGE.0);
    bench.keeps();
}

/// The queue is full until the driver takes some: the controller waits, and loses nothing.
#[test]
fn a_full_queue_of_completions_holds_the_controller_up() {
    let mut bench = usual();
    bench.host.map(0x30_0000, 0x2000);
    let small = 3 << 16;
    let (sq, cq) = (0x30_0000, 0x30_1000);
    assert_eq!(bench.admin([0x05, 0, cq, 0, small | 2, 3]), (0, 0));
    let size = u32::from(ENTRIES - 1) << 16;
    assert_eq!(bench.admin([0x01, 0, sq, 0, size | 2, 2 << 16 | 1]), (0, 0));
    bench.io = Pair::new(2, sq.into(), cq.into());
    for number in 0..10 {
        let mut flush = command([0, 1, 0, 0, 0, 0], 0);
        flush[0] = number << 16;
        bench.put(|bench| &mut bench.io, flush);
    }
    bench.ring(|bench| &mut bench.io);
    let mut taken = Vec::new();
    for _ in 0..10 {
        bench.host.settle(&mut bench.card);
        // It has four entries, and this driver believes in more.
        bench.io.head %= 4;
        while let Some((number, came)) = bench.take(|bench| &mut bench.io) {
            assert_eq!(came, (0, 0));
            taken.push(number);
            if bench.io.head == 4 {
                bench.io.head = 0;
                bench.io.phase ^= true;
                bench.write(CQHDBL::OFFSET + 16, 0);
            }
        }
    }
    assert_eq!(taken, (0..10).collect::<Vec<_>>());
    bench.keeps();
}

#[test]
fn the_line_is_asserted_until_completions_are_taken() {
    let mut bench = on(NvmeOptions::default());
    let identify = command([0x06, 0, LISTS as u32, 0, 1, 0], 0);
    bench.put(|bench| &mut bench.admin, identify);
    bench.ring(|bench| &mut bench.admin);
    bench.host.settle(&mut bench.card);
    assert!(bench.card.line());
    bench.write(INTMS::OFFSET, 1);
    assert!(!bench.card.line());
    bench.write(INTMC::OFFSET, 1);
    assert!(bench.card.line());
    bench.take(|bench| &mut bench.admin).expect("one");
    assert!(!bench.card.line());
    bench.keeps();
}

#[test]
fn nothing_follows_a_stop_and_what_is_stored_stays() {
    for stop in [0, 1 << 14 | 1] {
        let mut bench = usual();
        bench.host.put(DATA, &[9; 512]);
        assert_eq!(bench.io(WRITE, 0, 1, (DATA, 0)), (0, 0));
        bench.put(|bench| &mut bench.io, io(READ, 0, 1, (DATA, 0)));
        bench.ring(|bench| &mut bench.io);
        let before = bench.host.accesses().len();
        bench.write(CC::OFFSET, 4 << 20 | 6 << 16 | stop);
        bench.host.settle(&mut bench.card);
        assert_eq!(bench.host.accesses().len(), before);
        assert_eq!(bench.read(CSTS::OFFSET), if stop == 0 { 0 } else { 9 });
        bench.keeps();
        let Bench { mut card, .. } = bench;
        card.reset(Reset::FunctionLevel);
        let mut stored = [0; 512];
        card.disk.read(0, &mut stored).unwrap();
        assert_eq!(stored, [9; 512]);
    }
}

#[test]
fn it_stops_where_it_cannot_fetch_or_answer() {
    for gone in [SQ, CQ] {
        let mut bench = usual();
        bench.host.pages.remove(&(gone / PAGE));
        bench.put_unseen(gone);
        bench.ring(|bench| &mut bench.io);
        bench.host.settle(&mut bench.card);
        assert_eq!(bench.read(CSTS::OFFSET), 3, "{gone:#x}");
        bench.keeps();
    }
    let mut bench = usual();
    bench.host.refuses = Some(DmaError::NotMaster);
    bench.put(|bench| &mut bench.io, io(READ, 0, 1, (DATA, 0)));
    bench.ring(|bench| &mut bench.io);
    let before = bench.host.accesses().len();
    bench.host.settle(&mut bench.card);
    assert_eq!(bench.host.accesses().len(), before, "it waits");
    bench.host.refuses = None;
    bench.host.settle(&mut bench.card);
    assert!(bench.take(|bench| &mut bench.io).is_some());
}

impl Bench {
    /// A flush, if there is memory for one.
    fn put_unseen(&mut self, gone: u64) {
        match gone == SQ {
            true => self.io.tail = 1,
            false => self.put(|bench| &mut bench.io, command([0, 1, 0, 0, 0, 0], 0)),
        }
    }
}

fn wrong(fault: Fault) -> Bench {
    let mut bench = bench(NvmeOptions {
        fault: Some(fault),
        fault_read: 1,
        ..NvmeOptions::default()
    });
    bench.host.put(DATA, &pattern(1024, 1));
    assert_eq!(bench.io(WRITE, 0, 2, (DATA, 0)), (0, 0));
    for _ in 0..3 {
        bench.host.map(DATA, 0x2000);
        assert_eq!(bench.io(READ, 0, 2, (DATA, 0)), (0, 0));
        if bench.card.reads == 2 {
            break;
        }
    }
    bench
}

#[test]
fn each_fault_strikes_once_as_it_says() {
    let expected = pattern(1024, 1);
    let bench = wrong(Fault::Corrupt);
    let differs: Vec<_> = (0..1024)
        .filter(|at| bench.host.byte(DATA + at) != expected[*at as usize])
        .collect();
    assert_eq!(differs, [512]);

    let bench = wrong(Fault::Overrun);
    assert_eq!(bench.host.bytes(DATA + 1024, 2), [0xdb, 0xee]);

    let bench = wrong(Fault::LostInterrupt);
    let of_io = bench.vectors().into_iter().filter(|vector| *vector == 1);
    assert_eq!(of_io.count(), 2, "of a write and two reads");

    let mut bench = wrong(Fault::AfterStop);
    bench.write(CC::OFFSET, 0);
    let before = bench.host.accesses().len();
    bench.host.settle(&mut bench.card);
    assert_eq!(bench.host.accesses().len(), before);
    bench.host.time += LATE;
    bench.host.settle(&mut bench.card);
    assert_eq!(
        bench.host.accesses().split_off(before),
        [(Direction::Write, DATA, 64)]
    );
}

#[test]
fn a_file_is_served_as_it_is() {
    let file = tempfile::tempfile().unwrap();
    Disk::file(file.try_clone().unwrap()).expect_err("empty");
    file.set_len(8192 + 7).unwrap();
    let disk = Disk::file(file.try_clone().unwrap()).unwrap();
    let mut bench = bench(NvmeOptions {
        disk,
        ..NvmeOptions::default()
    });
    bench.host.put(DATA, &pattern(512, 5));
    assert_eq!(bench.io(WRITE, 15, 1, (DATA, 0)), (0, 0));
    assert_eq!(bench.io(WRITE, 16, 1, (DATA, 0)).1, RANGE.0);
    assert_eq!(bench.io(0, 0, 1, (0, 0)), (0, 0));
    let mut stored = [0; 512];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut stored, 15 * 512).unwrap();
    assert_eq!(stored[..], pattern(512, 5));
    file.set_len(0).unwrap();
    assert_eq!(bench.io(READ, 15, 1, (DATA, 0)).1, INTERNAL.0);
}

proptest! {
    /// Whatever is written where, in memory: a disk is an array of bytes.
    #[test]
    fn a_disk_is_an_array(writes in prop::collection::vec((0_u64..40_000, 0_usize..9000, any::<u8>()), 0..12)) {
        let mut disk = Disk::memory(1);
        let mut array = vec![0; 60_000];
        for (at, length, seed) in writes {
            let bytes = pattern(length, seed);
            disk.write(at, &bytes).unwrap();
            array[at as usize..at as usize + length].copy_from_slice(&bytes);
        }
        let mut read = vec![1; array.len()];
        disk.read(0, &mut read).unwrap();
        prop_assert_eq!(read, array);
    }
}
