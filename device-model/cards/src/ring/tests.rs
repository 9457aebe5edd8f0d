// SPDX-License-Identifier: MIT OR Apache-2.0

use super::descriptor::{DONE, ERROR, UNCHECKED, VALID, checked, paint};
use super::*;
use landfall_device::contract::DmaError;
use landfall_device::journal::{Direction, Kind};
use landfall_device::testing::FakeHost;

const RING: u64 = 0x1_0000_0000;
const DATA: u64 = 0x2_0000_0000;
const MORE: u32 = 1 << 28;
const LIST: u32 = 1 << 27;
const TRANSMIT: u32 = 1 << 24;
const COPY: u32 = 2 << 24;

/// A card in a machine, with a ring at [`RING`] for queue 0 and memory for data.
struct Bench {
    card: Ring,
    host: FakeHost,
}

impl Bench {
    fn new(options: RingOptions) -> Self {
        let mut host = FakeHost::default();
        host.map(RING, 0x4000);
        host.put(RING, &[0; 0x4000]);
        host.map(DATA, 0x4_0000);
        let mut bench = Self {
            card: Ring::new(options),
            host,
        };
        for queue in 0..QUEUES as u32 {
            bench.set(VECTOR::OFFSET, queue as usize, queue);
        }
        bench.write(OTHER::OFFSET, QUEUES as u32);
        bench.write(MASK::OFFSET, 0);
        bench
    }

    fn write(&mut self, offset: usize, value: u32) {
        self.host.write += 1;
        self.card.write(0, offset as u64, value, &mut self.host);
    }

    fn set(&mut self, register: usize, queue: usize, value: u32) {
        self.write(register + 0x40 * queue, value);
    }

    fn read(&self, register: usize, queue: usize) -> u32 {
        self.card.read(0, (register + 0x40 * queue) as u64)
    }

    /// Queue `queue` runs, its ring `0x1000` bytes behind the one before.
    fn run(&mut self, queue: usize, mode: u8, count: u16) {
        let ring = RING + 0x1000 * queue as u64;
        self.set(RING_LO::OFFSET, queue, ring as u32);
        self.set(RING_HI::OFFSET, queue, (ring >> 32) as u32);
        let shape = SHAPE::compose(mode, count);
        self.set(SHAPE::OFFSET, queue, shape.into_raw());
        self.set(RUN::OFFSET, queue, 1);
    }

    fn arm(&mut self, queue: usize, at: u64, control: u32, address: u64, length: u32) {
        let ring = RING + 0x1000 * queue as u64 + 32 * at;
        self.host.put(ring, &address.to_le_bytes());
        self.host.put(ring + 8, &length.to_le_bytes());
        self.host.put(ring + 12, &control.to_le_bytes());
    }

    fn word(&self, address: u64) -> u32 {
        let bytes = self.host.bytes(address, 4);
        u32::from_le_bytes(bytes.try_into().expect("four"))
    }

    /// A descriptor's number, check, bytes and control word.
    fn back(&self, queue: usize, at: u64) -> [u32; 4] {
        let ring = RING + 0x1000 * queue as u64 + 32 * at;
        [0, 4, 8, 12].map(|offset| self.word(ring + offset))
    }

    fn ring(&mut self, queue: usize, tail: u32) -> Next {
        self.set(DOORBELL::OFFSET, queue, tail);
        self.host.settle(&mut self.card)
    }

    /// Vectors of the interrupts so far.
    fn vectors(&self) -> Vec<u16> {
        let vector = |kind: &Kind| match *kind {
            Kind::Interrupt { vector } => Some(vector),
            _ => None,
        };
        self.host.notes.iter().filter_map(vector).collect()
    }

    fn told(&self) -> Vec<&Declaration> {
        self.host.declared().map(|(what, _)| what).collect()
    }

    /// What was owed for each job that is over.
    fn owed(&self) -> Vec<Owed> {
        let owed = |what: &&Declaration| match what {
            Declaration::Done { owed, .. } => *owed,
            _ => None,
        };
        self.told().iter().filter_map(owed).collect()
    }
}

fn usual() -> Bench {
    Bench::new(RingOptions::default())
}

#[test]
fn a_descriptor_is_received_into_and_written_back() {
    let mut bench = usual();
    bench.run(0, MODE_OWN, 4);
    bench.arm(0, 0, VALID, DATA + 5, 100);
    bench.ring(0, 1);

    let mut wanted = [0; 100];
    paint(0, 0, 0, &mut wanted);
    assert_eq!(bench.host.bytes(DATA + 5, 100), wanted);
    assert_eq!(bench.host.byte(DATA + 105), 0xee);
    assert_eq!(bench.back(0, 0), [0, UNCHECKED, 100, DONE]);
    assert_eq!(bench.vectors(), [0]);
    let begun = |what: &&&Declaration| matches!(what, Declaration::Begun { pieces, .. } if pieces[..] == [Piece::write(DATA + 5, 100)]);
    assert_eq!(bench.told().iter().filter(begun).count(), 1);
    assert_eq!(bench.owed(), [Owed::now(Vector(0))]);
    assert_eq!(STATE::from_raw(bench.read(STATE::OFFSET, 0)).head(), 1);
}

#[test]
fn each_word_depends_on_queue_number_and_place() {
    let mut bytes = [0; 24];
    paint(2, 0x0102_0304, 3, &mut bytes);
    assert_eq!(bytes[..5], [0, 4, 3, 2, 0xc2], "the rest of word 0");
    assert_eq!(bytes[5..13], [1, 0, 0, 0, 4, 3, 2, 0xc2]);
}

#[test]
fn what_is_transmitted_is_checked_over_all_pieces_of_a_list() {
    let mut bench = usual();
    bench.run(0, MODE_OWN, 4);
    for (at, (address, length)) in (0..).zip([(DATA + 0x1001, 3u32), (DATA + 0x2000, 5)]) {
        bench.host.put(DATA + 16 * at, &address.to_le_bytes());
        bench.host.put(DATA + 16 * at + 8, &length.to_le_bytes());
    }
    bench.host.put(DATA + 0x1001, b"abc");
    bench.host.put(DATA + 0x2000, b"defgh");
    bench.arm(0, 0, VALID | LIST | TRANSMIT, DATA, 2);
    bench.ring(0, 1);
    let check = checked(UNCHECKED, b"abcdefgh");
    assert_eq!(bench.back(0, 0), [0, check, 8, DONE | LIST | TRANSMIT]);
    assert_ne!(check, checked(UNCHECKED, b"abcdefhg"));
}

#[test]
fn a_copy_reads_and_writes_the_same_bytes() {
    let mut bench = usual();
    bench.run(0, MODE_OWN, 4);
    bench.host.put(DATA, b"landfall");
    bench.arm(0, 0, VALID | COPY, DATA, 8);
    bench.host.put(RING + 16, &(DATA + 0x3003).to_le_bytes());
    bench.ring(0, 1);
    assert_eq!(bench.host.bytes(DATA + 0x3003, 8), b"landfall");
    assert_eq!(bench.back(0, 0)[2], 8);
}

#[test]
fn a_phase_bit_changes_its_meaning_with_each_round() {
    let mut bench = usual();
    bench.run(0, MODE_PHASE, 2);
    for (round, phase) in [(0, VALID), (1, 0), (2, VALID)] {
        for at in 0..2 {
            bench.arm(0, at, phase, DATA, 8);
            bench.ring(0, 0);
            let [number, _, _, control] = bench.back(0, at);
            assert_eq!((number, control), (round * 2 + at as u32, phase | DONE));
        }
    }
    assert_eq!(bench.vectors().len(), 6);
}

#[test]
fn a_tail_ends_what_is_the_cards_and_a_queue_that_polls_needs_none() {
    let mut bench = usual();
    bench.run(1, MODE_TAIL, 4);
    bench.arm(1, 0, 0, DATA, 8);
    bench.arm(1, 1, 0, DATA, 8);
    assert_eq!(bench.ring(1, 1), Next::Idle);
    assert_eq!([0, 1].map(|at| bench.back(1, at)[3]), [DONE, 0]);

    bench.run(0, MODE_OWN, 4);
    bench.set(RUN::OFFSET, 0, 3);
    let next = bench.host.settle(&mut bench.card);
    assert_eq!(next, Next::At(LOOK));
    bench.arm(0, 0, VALID, DATA, 8);
    bench.host.time = LOOK;
    bench.host.settle(&mut bench.card);
    assert_eq!(bench.back(0, 0)[3], DONE);
}

#[test]
fn a_chain_is_one_job_that_begins_when_all_of_it_is_there() {
    let mut bench = usual();
    bench.run(0, MODE_OWN, 4);
    bench.arm(0, 0, VALID | MORE, DATA, 10);
    bench.ring(0, 0);
    assert!(bench.vectors().is_empty());
    bench.arm(0, 1, VALID, DATA + 0x1000, 6);
    bench.ring(0, 0);
    assert_eq!([0, 1].map(|at| bench.back(0, at)[2]), [10, 6]);
    assert_eq!(bench.vectors(), [0]);
    let mut wanted = [0; 6];
    paint(0, 0, 10, &mut wanted);
    assert_eq!(bench.host.bytes(DATA + 0x1000, 6), wanted);
    let done = |what: &&&Declaration| matches!(what, Declaration::Done { moved: 16, .. });
    assert_eq!(bench.told().iter().filter(done).count(), 1);
}

#[test]
fn a_status_block_counts_descriptors() {
    let mut bench = usual();
    bench.set(BLOCK_LO::OFFSET, 0, (DATA + 0x800) as u32);
    bench.set(BLOCK_HI::OFFSET, 0, (DATA >> 32) as u32);
    bench.run(0, MODE_OWN, 4);
    for at in 0..3 {
        bench.arm(0, at, VALID, DATA, 8);
    }
    bench.ring(0, 0);
    assert_eq!([0, 4].map(|at| bench.word(DATA + 0x800 + at)), [2, 3]);
}

#[test]
fn every_third_completion_interrupts_and_then_the_timer() {
    let mut bench = usual();
    bench.set(COALESCE::OFFSET, 0, COALESCE::compose(500, 3).into_raw());
    bench.run(0, MODE_OWN, 8);
    for at in 0..4 {
        bench.arm(0, at, VALID, DATA, 8);
    }
    let time = Duration::from_micros(500);
    assert_eq!(bench.ring(0, 0), Next::At(time));
    assert_eq!(bench.vectors(), [0]);
    let within = Owed::within(Vector(0), time);
    let now = Owed::now(Vector(0));
    assert_eq!(bench.owed(), [within, within, now, within]);
    bench.host.time = time;
    bench.host.settle(&mut bench.card);
    assert_eq!(bench.vectors(), [0, 0]);
}

#[test]
fn what_is_masked_waits_and_edge_asks_for_a_clear_cause() {
    let mut bench = usual();
    bench.write(CONTROL::OFFSET, CONTROL::compose(false, true).into_raw());
    bench.write(MASK::OFFSET, 1);
    bench.run(0, MODE_OWN, 8);
    bench.arm(0, 0, VALID, DATA, 8);
    bench.ring(0, 0);
    assert_eq!((bench.vectors().len(), bench.card.line()), (0, false));
    assert_eq!(bench.owed(), [Owed::perhaps(Vector(0))]);
    bench.write(MASK::OFFSET, 0);
    assert_eq!(bench.vectors(), [0]);
    assert!(bench.card.line());

    bench.arm(0, 1, VALID, DATA, 8);
    bench.ring(0, 0);
    assert_eq!(bench.vectors(), [0], "its cause is pending");
    bench.write(CAUSE::OFFSET, 1);
    bench.arm(0, 2, VALID, DATA, 8);
    bench.ring(0, 0);
    assert_eq!(bench.vectors(), [0, 0]);
}

#[test]
fn other_causes_have_a_vector_of_their_own_and_are_told() {
    let mut bench = usual();
    bench.write(TIMER::OFFSET, 100);
    bench.write(HAPPEN::OFFSET, u32::MAX);
    bench.host.settle(&mut bench.card);
    bench.host.time = Duration::from_micros(100);
    bench.host.settle(&mut bench.card);
    assert_eq!(bench.vectors(), [4, 4, 4]);
    let cause = |what: &&&Declaration| matches!(what, Declaration::Cause { owed, .. } if owed.vector == Vector(4));
    assert_eq!(bench.told().iter().filter(cause).count(), 3);
    assert_eq!(bench.card.read(0, CAUSE::OFFSET as u64), 0x7_0000);
}

#[test]
fn what_the_driver_takes_is_released_round_and_round() {
    let mut bench = usual();
    bench.run(0, MODE_OWN, 4);
    let released = |bench: &Bench| {
        let released = |what: &&Declaration| match what {
            Declaration::Released { job } => Some(job.0),
            _ => None,
        };
        bench.told().iter().filter_map(released).collect::<Vec<_>>()
    };
    for at in 0..3 {
        bench.arm(0, at, VALID, DATA, 8);
    }
    bench.ring(0, 0);
    bench.set(TAKEN::OFFSET, 0, 2);
    assert_eq!(released(&bench), [0, 1]);
    for at in [3, 0, 1] {
        bench.arm(0, at, VALID, DATA, 8);
    }
    bench.ring(0, 0);
    bench.set(TAKEN::OFFSET, 0, 2);
    assert_eq!(released(&bench), [0, 1, 2, 3, 4, 5], "a whole round");
}

#[test]
fn a_stop_drops_the_job_in_work_and_other_queues_go_on() {
    let mut bench = usual();
    bench.set(PACE::OFFSET, 0, 1000);
    bench.run(0, MODE_OWN, 4);
    bench.run(1, MODE_OWN, 4);
    bench.arm(0, 0, VALID, DATA, 8);
    bench.ring(0, 0);
    bench.set(RUN::OFFSET, 0, 0);
    assert_eq!(bench.read(STATE::OFFSET, 0) & 1, 1, "not before its step");
    bench.host.settle(&mut bench.card);
    assert_eq!(bench.read(STATE::OFFSET, 0) & 1, 0);
    bench.host.time = Duration::from_secs(1);
    bench.host.settle(&mut bench.card);
    assert_eq!(bench.host.byte(DATA), 0xee);
    let idle = Declaration::Idle {
        queue: Some(QueueId(0)),
    };
    assert_eq!(bench.told().last(), Some(&&idle));
    bench.arm(1, 0, VALID, DATA, 8);
    bench.ring(1, 0);
    assert_eq!(bench.back(1, 0)[3], DONE);
}

#[test]
fn what_may_not_be_reached_is_an_error_and_waits_while_the_bus_is_off() {
    let mut bench = usual();
    bench.run(0, MODE_OWN, 4);
    bench.arm(0, 0, VALID, 0x9_0000_0000, 8);
    bench.host.refuses = Some(DmaError::NotPowered);
    assert_eq!(bench.ring(0, 0), Next::Idle);
    assert!(bench.host.accesses().is_empty());
    bench.host.refuses = None;
    bench.host.settle(&mut bench.card);
    assert_eq!(bench.back(0, 0)[3], DONE | ERROR);
    assert_eq!(bench.vectors(), [0]);

    // A list of too many entries, a piece of no bytes, one that is too long.
    for (at, (control, length)) in [(LIST, 65), (0, 0), (0, LONGEST + 1)]
        .into_iter()
        .enumerate()
    {
        bench.arm(0, at as u64 + 1, VALID | control, DATA, length);
        bench.ring(0, 0);
        assert_eq!(bench.back(0, at as u64 + 1)[3], DONE | ERROR | control);
    }
    let writes = |&(way, at, _): &(Direction, u64, u64)| {
        way == Direction::Write && (DATA..0x9_0000_0000).contains(&at)
    };
    assert!(!bench.host.accesses().iter().any(writes));
}

#[test]
fn a_ring_that_is_nowhere_is_an_error_of_the_cards_and_a_reset_forgets() {
    let mut bench = usual();
    bench.set(RUN::OFFSET, 2, 3);
    bench.host.settle(&mut bench.card);
    assert_eq!(bench.vectors(), [4]);
    bench.write(CONTROL::OFFSET, CONTROL::compose(true, false).into_raw());
    assert!(matches!(bench.told().last(), Some(Declaration::Reset)));
    assert_eq!(bench.host.settle(&mut bench.card), Next::Idle);
    assert_eq!(bench.card.read(0, MASK::OFFSET as u64), CAUSES);
}

#[test]
fn a_ring_that_is_moved_while_its_queue_works_is_told() {
    let mut bench = usual();
    bench.run(0, MODE_OWN, 4);
    bench.set(RING_LO::OFFSET, 0, 0);
    assert!(matches!(
        bench.told().last(),
        Some(Declaration::NotNow { .. })
    ));
}

#[test]
fn a_card_that_declares_nothing_says_nothing_and_does_the_same() {
    let mut bench = Bench::new(RingOptions {
        declares: false,
        ..RingOptions::default()
    });
    assert_eq!(bench.card.declares(), Declares::default());
    bench.run(0, MODE_OWN, 4);
    bench.arm(0, 0, VALID, DATA, 8);
    bench.ring(0, 0);
    assert_eq!((bench.told().len(), bench.vectors().len()), (0, 1));
}

#[test]
fn faults_strike() {
    let faulty = |fault| {
        Bench::new(RingOptions {
            fault: Some(fault),
            ..RingOptions::default()
        })
    };
    let mut bench = faulty(Fault::LostCoalesced);
    bench.set(COALESCE::OFFSET, 0, COALESCE::compose(500, 3).into_raw());
    bench.run(0, MODE_OWN, 4);
    bench.arm(0, 0, VALID, DATA, 8);
    bench.ring(0, 0);
    bench.host.time = Duration::from_secs(1);
    bench.set(RUN::OFFSET, 0, 0);
    bench.host.settle(&mut bench.card);
    assert_eq!((bench.owed().len(), bench.vectors().len()), (1, 0));

    let mut bench = faulty(Fault::EarlyDone);
    bench.run(0, MODE_OWN, 4);
    bench.arm(0, 0, VALID | MORE | TRANSMIT, DATA, 8);
    bench.arm(0, 1, VALID | TRANSMIT, DATA + 8, 8);
    bench.ring(0, 0);
    let accesses = bench.host.accesses();
    let read = accesses.iter().position(|&(_, at, _)| at == DATA + 8);
    let told = accesses
        .iter()
        .rposition(|&(direction, ..)| direction == Direction::Write);
    assert!(told.is_some() && told < read, "{accesses:?}");
    assert_eq!(bench.vectors().len(), 1);

    let mut bench = faulty(Fault::Spurious);
    for _ in 0..2 {
        assert!(bench.vectors().is_empty());
        bench.run(0, MODE_OWN, 4);
        bench.set(RUN::OFFSET, 0, 0);
        bench.host.settle(&mut bench.card);
    }
    bench.host.time = Duration::from_millis(1);
    bench.host.settle(&mut bench.card);
    assert_eq!(bench.vectors(), [0]);
}

#[test]
fn nothing_that_a_guest_writes_is_a_panic() {
    let mut bench = usual();
    for value in [0, 1, u32::MAX, 0x8000_0001] {
        for offset in (0..BAR0_SIZE).step_by(4) {
            bench.write(offset, value);
        }
        bench.host.time += Duration::from_secs(1);
        for _ in 0..100 {
            bench.card.step(&mut bench.host);
        }
    }
}
