// SPDX-License-Identifier: MIT OR Apache-2.0

//! Stores to coherent memory that nothing puts in order with the write of a register that follows: the card may be told before what it
//! is told of is there (`Documentation/memory-barriers.txt`, "KERNEL I/O BARRIER EFFECTS": `writel()` keeps that order, and
//! `writel_relaxed()` does not).

use alloc::vec::Vec;

use crate::order::CPUS;
use crate::wire::{STACK, Unordered};

/// Most ranges of one CPU that are kept; the oldest goes.
const MOST: usize = 16;
/// How many of them are told at a register's write.
const TOLD: usize = 4;
/// How often each pair of instructions is told.
const TELLS: u32 = 8;
/// Pairs that are remembered.
const PAIRS: usize = 64;

/// A store.
#[derive(Clone, Copy, Debug)]
pub struct Store {
    /// The guest's CPU.
    pub cpu: u32,
    /// Address of the instruction.
    pub pc: u64,
    /// First physical address.
    pub phys: u64,
    /// Bytes.
    pub size: u64,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub now_ns: u64,
}

/// What each CPU has stored since its last barrier.
pub struct Doorbell {
    cpus: Vec<Vec<Store>>,
    pairs: [(u64, u64, u32); PAIRS],
    next_pair: usize,
    next_id: u64,
}

impl Default for Doorbell {
    fn default() -> Self {
        let mut cpus = Vec::new();
        cpus.resize_with(CPUS, Vec::new);
        Self {
            cpus,
            pairs: [(0, 0, 0); PAIRS],
            next_pair: 0,
            next_id: 1,
        }
    }
}

impl Doorbell {
    /// Whether a CPU has stored something that is not in order.
    pub fn is_open(&self, cpu: u32) -> bool {
        let cpu = self.cpus.get(cpu as usize);
        cpu.is_some_and(|stores| !stores.is_empty())
    }

    /// A CPU stored to coherent memory.
    pub fn stored(&mut self, store: Store) {
        let Some(stores) = self.cpus.get_mut(store.cpu as usize) else {
            return;
        };
        let touches = |before: &&mut Store| {
            before.pc == store.pc && before.phys.checked_add(before.size) == Some(store.phys)
        };
        if let Some(before) = stores.iter_mut().find(touches) {
            before.size += store.size;
            return;
        }
        if stores.len() >= MOST {
            stores.remove(0);
        }
        stores.push(store);
    }

    /// A CPU's stores are in order.
    pub fn barrier(&mut self, cpu: u32) {
        if let Some(stores) = self.cpus.get_mut(cpu as usize) {
            stores.clear();
        }
    }

    /// A CPU wrote a register of a card's, at `phys`, without order. Gives what the card may not see yet.
    pub fn rung(&mut self, cpu: u32, pc: u64, phys: u64) -> Vec<Unordered> {
        let stores = self.cpus.get(cpu as usize).cloned().unwrap_or_default();
        let mut told = Vec::new();
        for store in stores.iter().rev() {
            if told.len() < TOLD && self.is_to_be_told(store.pc, pc) {
                told.push(Unordered {
                    id: self.next_id,
                    card: 0,
                    job: 0,
                    cpu,
                    store: true,
                    by_register: true,
                    for_cpus: false,
                    pc: store.pc,
                    phys: store.phys,
                    length: store.size,
                    address: 0,
                    lend: 0,
                    lend_number: 0,
                    other_pc: pc,
                    other: phys,
                    at_ns: store.now_ns,
                    stack: [0; STACK],
                });
                self.next_id += 1;
            }
        }
        told
    }

    fn is_to_be_told(&mut self, pc: u64, other: u64) -> bool {
        let known = self
            .pairs
            .iter()
            .position(|pair| (pair.0, pair.1) == (pc, other));
        let at = known.unwrap_or_else(|| {
            self.next_pair = (self.next_pair + 1) % PAIRS;
            self.next_pair
        });
        let Some(pair) = self.pairs.get_mut(at) else {
            return false;
        };
        if known.is_none() {
            *pair = (pc, other, 0);
        }
        pair.2 = pair.2.saturating_add(1);
        pair.2 <= TELLS
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    const FILLS: u64 = 0xffff_ffff_c000_0000;
    const RINGS: u64 = FILLS + 0x40;
    const REGISTER: u64 = 0xfe40_0104;

    fn store(phys: u64) -> Store {
        Store {
            cpu: 1,
            pc: FILLS,
            phys,
            size: 8,
            now_ns: 5,
        }
    }

    #[test]
    fn what_was_stored_since_the_last_barrier_is_told_at_the_doorbell() {
        let mut doorbell = Doorbell::default();
        doorbell.stored(store(0x1000));
        doorbell.stored(store(0x1008));
        assert!(doorbell.is_open(1) && !doorbell.is_open(0));
        let told = doorbell.rung(1, RINGS, REGISTER);
        let [told] = &told[..] else {
            panic!("{told:?}");
        };
        assert_eq!((told.phys, told.length, told.pc), (0x1000, 16, FILLS));
        assert_eq!((told.other_pc, told.other), (RINGS, REGISTER));
        assert!(doorbell.rung(0, RINGS, REGISTER).is_empty());

        doorbell.barrier(1);
        assert!(doorbell.rung(1, RINGS, REGISTER).is_empty());
    }

    #[test]
    fn it_is_bounded() {
        let mut doorbell = Doorbell::default();
        for n in 0..1000 {
            doorbell.stored(store(0x1000 + 64 * n));
        }
        assert_eq!(doorbell.cpus[1].len(), MOST);
        let told: Vec<_> = (0..100)
            .map(|_| doorbell.rung(1, RINGS, REGISTER).len())
            .collect();
        assert_eq!(told.iter().sum::<usize>(), TELLS as usize);
        let beyond = Store {
            cpu: u32::MAX,
            ..store(u64::MAX)
        };
        doorbell.stored(beyond);
        doorbell.barrier(u32::MAX);
        assert!(doorbell.rung(u32::MAX, 0, 0).is_empty());
        doorbell.stored(store(u64::MAX - 3));
        doorbell.stored(store(0));
    }
}
