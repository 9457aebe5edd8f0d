// SPDX-License-Identifier: MIT OR Apache-2.0

use std::collections::BTreeMap;

use super::*;

#[derive(Default)]
struct Written {
    clock: u32,
    interrupted: u32,
    words: BTreeMap<u64, Stamp>,
}

impl Stamps for Written {
    fn now(&self) -> u32 {
        self.clock
    }

    fn interrupted(&self, _card: u32) -> u32 {
        self.interrupted
    }

    fn of(&self, phys: u64) -> Stamp {
        self.words.get(&(phys / WORD)).copied().unwrap_or_default()
    }
}

/// Coherent memory: a word that says how far a job is, and what it is about.
const STATUS: u64 = 0x1000;
const PAYLOAD: u64 = 0x2000;
/// Instructions: one that polls, two that read.
const POLLS: u64 = 0xffff_ffff_c000_0000;
const READS: u64 = POLLS + 0x40;
const ALSO: u64 = POLLS + 0x80;
const STACK_AT: u64 = 0xffff_c900_0010_3000;

struct World(Order<Written>);

impl World {
    fn new() -> Self {
        Self(Order::new(Written::default()))
    }

    /// The card writes for a job: words of one access.
    fn writes(&mut self, job: u32, words: &[u64]) {
        let stamps = &mut self.0.stamps;
        stamps.clock += 1;
        let stamp = Stamp {
            clock: stamps.clock,
            card: 0,
            job,
        };
        for word in words {
            stamps.words.insert(word / WORD, stamp);
        }
    }

    fn load(&mut self, cpu: u32, pc: u64, phys: u64) -> Load {
        Load {
            cpu,
            pc,
            phys,
            size: 8,
            stack: STACK_AT + u64::from(cpu) * 0x8000,
            polls: true,
            acquires: false,
            now_ns: 1,
        }
    }

    fn reads(&mut self, pc: u64, phys: u64) -> Option<Unordered> {
        let load = self.load(0, pc, phys);
        self.0.load(&load)
    }

    /// CPU 0 looks, the card does a job, CPU 0 sees that.
    fn finds_out(job: u32) -> Self {
        let mut world = Self::new();
        assert_eq!(world.reads(POLLS, STATUS), None);
        world.writes(job, &[PAYLOAD, PAYLOAD + 8]);
        world.writes(job, &[STATUS]);
        assert_eq!(world.reads(POLLS, STATUS), None);
        assert!(world.0.is_open(0));
        world
    }
}

#[test]
fn a_payload_that_nothing_keeps_behind_its_status_is_early() {
    let mut world = World::finds_out(7);
    let unordered = world.reads(READS, PAYLOAD).unwrap();
    assert_eq!(
        (unordered.job, unordered.pc, unordered.phys),
        (7, READS, PAYLOAD)
    );
    assert_eq!((unordered.other_pc, unordered.other), (POLLS, STATUS));
    assert!(!unordered.by_register && !unordered.for_cpus);
}

#[test]
fn a_read_barrier_for_devices_keeps_it() {
    let mut world = World::finds_out(7);
    world.0.barrier(0, Barrier::Loads);
    assert!(!world.0.is_open(0));
    assert_eq!(world.reads(READS, PAYLOAD), None);
}

#[test]
fn one_for_cpus_does_not() {
    let mut world = World::finds_out(7);
    world.0.barrier(0, Barrier::Cpus);
    assert!(world.reads(READS, PAYLOAD).unwrap().for_cpus);
}

#[test]
fn a_load_that_acquires_keeps_what_is_behind_it() {
    let mut world = World::new();
    world.reads(POLLS, STATUS);
    world.writes(7, &[PAYLOAD]);
    world.writes(7, &[STATUS]);
    let mut load = world.load(0, POLLS, STATUS);
    load.acquires = true;
    assert_eq!(world.0.load(&load), None);
    assert_eq!(world.reads(READS, PAYLOAD), None);
}

#[test]
fn one_word_before_the_barrier_is_early_alone() {
    let mut world = World::finds_out(7);
    assert!(world.reads(READS, PAYLOAD).is_some());
    world.0.barrier(0, Barrier::Loads);
    assert_eq!(world.reads(READS, PAYLOAD + 8), None);
}

#[test]
fn a_descriptor_that_the_card_writes_at_once_has_an_order_too() {
    let mut world = World::new();
    world.reads(POLLS, STATUS);
    world.writes(7, &[STATUS, STATUS + 8]);
    assert_eq!(world.reads(POLLS, STATUS), None);
    assert!(world.reads(READS, STATUS + 8).is_some());
    // The word itself may be read as often as one likes.
    assert_eq!(world.reads(ALSO, STATUS), None);
}

#[test]
fn a_barrier_before_the_status_keeps_nothing() {
    let mut world = World::new();
    world.reads(POLLS, STATUS);
    world.writes(7, &[PAYLOAD]);
    world.writes(7, &[STATUS]);
    world.0.barrier(0, Barrier::Loads);
    world.reads(POLLS, STATUS);
    assert!(world.reads(READS, PAYLOAD).is_some());
}

#[test]
fn an_interrupt_puts_what_came_before_it_in_order() {
    let mut world = World::finds_out(7);
    world.0.interrupt(0);
    assert_eq!(world.reads(READS, PAYLOAD), None);

    // One that another CPU took, too.
    let mut world = World::finds_out(7);
    world.0.stamps.interrupted = world.0.stamps.clock;
    assert_eq!(world.reads(READS, PAYLOAD), None);
}

#[test]
fn a_register_that_is_read_without_order_finds_out_as_well() {
    let mut world = World::new();
    world.writes(7, &[PAYLOAD]);
    let register = world.load(0, POLLS, 0xfe00_0034);
    world.0.register(&register);
    let unordered = world.reads(READS, PAYLOAD).unwrap();
    assert!(unordered.by_register);
    // What the card writes later it did not tell of.
    world.writes(8, &[PAYLOAD + 64]);
    assert_eq!(world.reads(ALSO, PAYLOAD + 64), None);

    world.0.register(&register);
    world.0.barrier(0, Barrier::Loads);
    assert_eq!(world.reads(READS, PAYLOAD + 64), None);
}

#[test]
fn another_job_is_another_matter() {
    let mut world = World::finds_out(7);
    world.writes(8, &[PAYLOAD + 64]);
    assert_eq!(world.reads(READS, PAYLOAD + 64), None);
}

#[test]
fn a_payload_read_in_any_order_by_whoever_did_not_poll_is_none() {
    let mut world = World::new();
    world.writes(7, &[PAYLOAD]);
    world.writes(7, &[PAYLOAD + 8]);
    for word in [PAYLOAD + 8, PAYLOAD] {
        assert_eq!(world.reads(READS, word), None);
    }
}

#[test]
fn who_goes_on_with_what_another_found_out_is_not_blamed() {
    let mut world = World::finds_out(7);
    // Another thread on this CPU, and one on another.
    let mut load = world.load(0, READS, PAYLOAD);
    load.stack = STACK_AT + (9 << STACK_BITS);
    assert_eq!(world.0.load(&load), None);
    let load = world.load(1, READS, PAYLOAD);
    assert_eq!(world.0.load(&load), None);

    // What one CPU has put in order, another may read twice.
    world.0.barrier(0, Barrier::Loads);
    for _ in 0..2 {
        let load = world.load(1, READS, PAYLOAD);
        assert_eq!(world.0.load(&load), None);
        let load = world.load(1, ALSO, PAYLOAD + 8);
        assert_eq!(world.0.load(&load), None);
    }
}

#[test]
fn a_buffer_that_is_read_after_each_job_is_not_taken_for_a_status() {
    let mut world = World::new();
    for job in 1..20 {
        world.writes(job, &[PAYLOAD, PAYLOAD + 8]);
        world.writes(job, &[STATUS]);
        // Told by an interrupt that another CPU took.
        world.0.stamps.interrupted = world.0.stamps.clock;
        assert_eq!(world.reads(READS, PAYLOAD + 8), None);
        assert_eq!(world.reads(ALSO, PAYLOAD), None);
    }
}

#[test]
fn each_pair_of_instructions_is_told_a_few_times() {
    let mut world = World::finds_out(7);
    let told = (0..1000).filter(|_| world.reads(READS, PAYLOAD).is_some());
    assert_eq!(told.count(), TELLS as usize);
    assert!(world.reads(ALSO, PAYLOAD).is_some());
    let mut later = world.load(0, READS, PAYLOAD);
    later.now_ns = 2 * AGAIN_NS;
    assert!(world.0.load(&later).is_some());
}

#[test]
fn any_cpu_and_any_address_is_survived() {
    let mut world = World::finds_out(7);
    for cpu in [0, 63, 64, u32::MAX] {
        world.0.barrier(cpu, Barrier::Cpus);
        world.0.interrupt(cpu);
        let mut load = world.load(0, READS, u64::MAX - 3);
        (load.cpu, load.size) = (cpu, u64::MAX);
        assert_eq!(world.0.load(&load), None);
        assert!(!world.0.is_open(cpu));
    }
}
