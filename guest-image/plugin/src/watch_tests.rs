// SPDX-License-Identifier: MIT OR Apache-2.0

use std::vec;
use std::vec::Vec;

use super::*;
use crate::echo::Words;

/// Keeps what it is given.
#[derive(Default)]
struct Kept {
    open: BTreeMap<usize, Found>,
    settled: Vec<Found>,
    lost: u64,
    now: u64,
}

impl Sink for Kept {
    fn open(&mut self, at: usize, found: Option<&Found>) {
        match found {
            Some(found) => drop(self.open.insert(at, *found)),
            None => drop(self.open.remove(&at)),
        }
    }

    fn settled(&mut self, found: &Found) {
        self.settled.push(*found);
    }

    fn lost(&mut self) {
        self.lost += 1;
    }

    fn now(&self) -> u64 {
        self.now
    }
}

const RAM: u64 = 16 << 20;
const KERNEL: u64 = 0xffff_ffff_c000_0000;
const USER: u64 = 0x40_0000;

/// What the witness writes for an event.
fn words(op: u64, number: u32, way: u64, bus: u64, phys: u64, length: u64) -> Words {
    let commit = u64::from(number) | op << 32 | way << 40;
    [bus, phys, length, 0, u64::MAX, 0, 0, commit]
}

struct World {
    watch: Watch<Kept>,
    number: u32,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            watch: Watch::new(RAM, false, Kept::default()),
            number: 0,
        };
        world.tell(32, 0, 0, 0, 0);
        world
    }

    fn tell(&mut self, op: u64, way: u64, bus: u64, phys: u64, length: u64) {
        let event = Event::of(&words(op, self.number, way, bus, phys, length));
        assert!(self.watch.event(&event));
        self.number += 1;
    }

    /// As the plugin does it: only where the page says so.
    fn access(&mut self, store: bool, pc: u64, phys: u64, size: u64) {
        let access = Access {
            cpu: 1,
            store,
            pc,
            phys,
            size,
        };
        let what = if store { NO_WRITE } else { NO_READ };
        if self.watch.pages.get(phys) & what != 0 {
            self.watch.access(&access, || [KERNEL; STACK]);
        }
    }

    /// Findings that are open, and those that are settled: whether stores, how many accesses, where and how long.
    fn open(&self) -> Vec<(bool, u64, u64, u64)> {
        let brief = |found: &Found| (found.store, found.count, found.address, found.length);
        self.watch.sink().open.values().map(brief).collect()
    }

    fn settled(&self) -> Vec<(Settled, u64)> {
        let settled = self.watch.sink().settled.iter();
        settled.map(|found| (found.settled, found.count)).collect()
    }
}

const MAP: u64 = 1;
const UNMAP: u64 = 4;
const ALLOC: u64 = 6;
const FOR_CPU: u64 = 8;
const FOR_DEVICE: u64 = 9;
const QUEUE: u64 = 10;
const DONE: u64 = 11;
const TO: u64 = 1;
const FROM: u64 = 2;

#[test]
fn loads_of_what_the_card_may_write_are_found_from_the_map_to_the_sync() {
    let mut world = World::new();
    world.access(false, KERNEL, 0x2010, 8);
    world.tell(MAP, FROM, 0x8000, 0x2000, 256);
    world.access(false, KERNEL, 0x2010, 8);
    world.access(false, KERNEL, 0x2018, 8);
    assert_eq!(world.open(), [(false, 2, 0x8010, 16)]);

    world.tell(FOR_CPU, FROM, 0x8000, u64::MAX, 256);
    world.access(false, KERNEL, 0x2010, 8);
    assert_eq!(world.settled(), [(Settled::ForCpu, 2)]);

    world.tell(FOR_DEVICE, FROM, 0x8000, u64::MAX, 256);
    world.access(false, KERNEL, 0x2010, 8);
    world.tell(UNMAP, FROM, 0x8000, u64::MAX, 256);
    world.access(false, KERNEL, 0x2010, 8);
    assert_eq!(world.settled()[1..], [(Settled::Ended, 1)]);
    assert_eq!(world.open(), []);
}

#[test]
fn what_lies_beside_a_lend_in_its_page_is_nobodys_concern() {
    let mut world = World::new();
    world.tell(MAP, FROM, 0x8100, 0x2100, 0x100);
    for phys in [0x2000, 0x20f8, 0x2200, 0x2ff8] {
        world.access(false, KERNEL, phys, 8);
        world.access(true, KERNEL, phys, 8);
    }
    assert_eq!(world.open(), []);
    // A word of a string that is read over its end; a store over it is one.
    world.access(false, KERNEL, 0x20fc, 8);
    assert_eq!(world.open(), []);
    world.access(true, KERNEL, 0x20fc, 8);
    assert_eq!(world.open(), [(true, 1, 0x8100, 4)]);
}

#[test]
fn memory_that_the_card_only_reads_may_be_read() {
    let mut world = World::new();
    world.tell(MAP, TO, 0x8000, 0x2000, 0x1000);
    world.access(false, KERNEL, 0x2000, 8);
    assert_eq!(world.open(), []);
    world.access(true, KERNEL, 0x2000, 8);
    world.tell(FOR_DEVICE, TO, 0x8000, u64::MAX, 0x1000);
    assert_eq!(world.settled(), [(Settled::ForDevice, 1)]);
}

#[test]
fn a_part_that_is_synced_is_the_cpus_to_the_byte() {
    let mut world = World::new();
    world.tell(MAP, FROM, 0x8000, 0x2000, 0x1000);
    world.tell(FOR_CPU, FROM, 0x8000, u64::MAX, 256);
    world.access(false, KERNEL, 0x20f8, 8);
    world.access(false, KERNEL, 0x20fc, 8);
    assert_eq!(world.open(), []);
    world.access(false, KERNEL, 0x2100, 8);
    assert_eq!(world.open(), [(false, 1, 0x8100, 8)]);
}

#[test]
fn coherent_memory_is_watched_while_a_video_buffer_is_queued() {
    let mut world = World::new();
    world.tell(ALLOC, 0, 0x8000, 0x2000, 0x1000);
    world.access(false, USER, 0x2000, 8);
    world.tell(QUEUE, FROM, 0x8000, u64::MAX, 0x1000);
    world.access(false, USER, 0x2000, 8);
    world.tell(DONE, FROM, 0x8000, u64::MAX, 0x1000);
    world.access(false, USER, 0x2000, 8);
    assert_eq!(world.settled(), [(Settled::Done, 1)]);
    let found = world.watch.sink().settled[0];
    assert!(found.user && found.queued && found.coherent);
    assert_eq!(found.stack, [0; STACK]);
}

#[test]
fn after_an_event_that_was_lost_nothing_of_that_card_is_found() {
    let mut world = World::new();
    world.tell(MAP, FROM, 0x8000, 0x2000, 0x1000);
    world.access(false, KERNEL, 0x2000, 8);
    world.number += 1;
    world.tell(MAP, FROM, 0x9000, 0x3000, 0x1000);
    world.access(false, KERNEL, 0x2000, 8);
    world.access(false, KERNEL, 0x3000, 8);
    assert_eq!(world.settled(), [(Settled::Unknown, 1)]);
    assert_eq!(world.open(), []);

    world.number = 0;
    world.tell(32, 0, 0, 0, 0);
    world.tell(MAP, FROM, 0x9000, 0x3000, 0x1000);
    world.access(false, KERNEL, 0x3000, 8);
    assert_eq!(world.open(), [(false, 1, 0x9000, 8)]);
}

#[test]
fn an_event_that_is_told_twice_counts_once() {
    let mut world = World::new();
    world.tell(MAP, FROM, 0x8000, 0x2000, 0x1000);
    world.tell(UNMAP, FROM, 0x8000, u64::MAX, 0x1000);
    world.number = 1;
    world.tell(MAP, FROM, 0x8000, 0x2000, 0x1000);
    world.access(false, KERNEL, 0x2000, 8);
    assert_eq!(world.open(), []);
}

#[test]
fn behind_an_iommu_only_the_first_page_of_a_segment_is_known() {
    let mut world = World::new();
    world.watch.scattered = true;
    let mut event = Event::of(&words(2, 1, FROM, 0x8000, 0x2800, 0x2000));
    event.part = true;
    assert!(world.watch.event(&event));
    world.access(false, KERNEL, 0x2ff8, 8);
    world.access(false, KERNEL, 0x3000, 8);
    assert_eq!(world.open(), [(false, 1, 0x87f8, 8)]);
}

/// Bytes between two stores may be the card's to read meanwhile.
#[test]
fn stores_that_do_not_touch_are_apart_as_long_as_there_is_room() {
    let mut world = World::new();
    world.tell(MAP, TO, 0x8000, 0x2000, 0x8000);
    for byte in [0, 8, 64] {
        world.access(true, KERNEL, 0x2000 + byte, 8);
    }
    assert_eq!(world.open(), [(true, 2, 0x8000, 16), (true, 1, 0x8040, 8)]);
    world.watch.sink.now += APART_NS;
    world.access(true, KERNEL, 0x2000, 8);
    assert_eq!(world.open()[2..], [(true, 1, 0x8000, 8)]);

    for place in 0..OPEN as u64 {
        world.access(true, KERNEL, 0x2100 + 16 * place, 8);
    }
    let open = world.watch.sink().open.values();
    assert!(open.clone().any(|found| found.gaps));
    assert!(open.count() <= MOST_APART);
    assert_eq!(world.watch.sink().lost, 0);
}

#[test]
fn findings_without_room_are_counted() {
    let mut world = World::new();
    world.tell(MAP, FROM, 0x8000, 0x2000, 0x1000);
    for instruction in 0..=OPEN as u64 {
        world.access(false, KERNEL + 4 * instruction, 0x2000, 4);
    }
    assert_eq!(world.open().len(), OPEN);
    assert_eq!(world.watch.sink().lost, 1);
}

/// Whatever is told, nothing panics, and what ends leaves nothing.
#[test]
fn a_hostile_guest_is_bounded() {
    let mut watch = Watch::new(RAM, false, Kept::default());
    let edges = [0, 1, 0xfff, 0x1000, RAM - 1, RAM, u64::MAX - 1, u64::MAX];
    let mut number = 0;
    for op in (0..=40).chain([255]) {
        for bus in edges {
            for phys in edges {
                for length in edges {
                    let mut words = words(op, number, bus & 3, bus, phys, length);
                    words[5] = length & 0xff;
                    watch.event(&Event::of(&words));
                    number += 1;
                }
            }
        }
    }
    for phys in edges {
        let access = Access {
            cpu: u32::MAX,
            store: phys & 1 == 0,
            pc: phys,
            phys,
            size: 1 << (phys & 15),
        };
        watch.access(&access, || [0; STACK]);
    }
    assert!(watch.by_page.len() <= MOST_PAGES);
    assert!(!watch.event(&Event::of(&words(39, 0, 0, 0, 0, 0))));
    assert_eq!((watch.lends.len(), watch.by_page.len()), (0, 0));
    let paints = (0..RAM / PAGE).map(|page| watch.pages.get(page * PAGE));
    assert_eq!(paints.collect::<Vec<_>>(), vec![0; (RAM / PAGE) as usize]);
}
