// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether loads of what a card wrote are kept behind the load that found out that it is there.
//!
//! A CPU may load a payload before the word that says it is complete, if nothing stands in between: a read barrier for devices, a
//! load that acquires, a register's read in order, an interrupt (`Documentation/memory-barriers.txt`, "DMA barriers"). So, for each CPU:
//!
//! - An instruction that loads the same word of coherent memory again and again, and finds it written by the card at last, has *found
//!   out* what that job is about; so has a read of a card's register, about every job.
//! - Until something puts that in order, a load of another word which the card had written by then for that job comes too early.
//! - What the card wrote before something that was put in order is in order as well, for whoever it is handed to, and so is what it
//!   wrote before its last interrupt.
//!
//! A thread that goes on with what another found out does so behind a lock or a wake-up: of one stack alone it is judged.

use alloc::vec::Vec;

use crate::barrier::Barrier;
use crate::stamps::{Stamp, WORD};
use crate::wire::{STACK, Unordered};

/// Loads of coherent memory among which one that comes again is found.
const RECENT: usize = 16;
/// Most jobs of which a CPU has found out, and that are not put in order.
const MOST_FOUND: usize = 8;
/// Pairs of instructions that are remembered, so that each is told a few times.
const PAIRS: usize = 64;
/// How often each is told at once, and after which time again.
const TELLS: u32 = 8;
const AGAIN_NS: u64 = 100_000_000;
/// Bits of a stack pointer that differ within one stack.
const STACK_BITS: u32 = 14;
/// Most CPUs.
pub const CPUS: usize = 64;

/// When cards wrote what.
pub trait Stamps {
    /// What the clock is.
    fn now(&self) -> u32;
    /// What it was when a card last interrupted.
    fn interrupted(&self, card: u32) -> u32;
    /// When a word of memory was written last; it has this physical address.
    fn of(&self, phys: u64) -> Stamp;
}

/// A load of memory.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The guest's CPU.
    pub cpu: u32,
    /// Address of the instruction.
    pub pc: u64,
    /// First physical address.
    pub phys: u64,
    /// Bytes.
    pub size: u64,
    /// The stack pointer.
    pub stack: u64,
    /// It is of coherent memory, by code whose barriers are known.
    pub polls: bool,
    /// What is behind it comes after it.
    pub acquires: bool,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub now_ns: u64,
}

/// What a CPU has found out and not put in order.
#[derive(Clone, Copy, Debug)]
struct FoundOut {
    /// The job's stamp; of a register's read what the clock was, and no job.
    stamp: Stamp,
    by_register: bool,
    pc: u64,
    phys: u64,
    stack: u64,
    /// It is in order for what other CPUs write.
    for_cpus: bool,
}

#[derive(Clone, Debug, Default)]
struct Cpu {
    recent: [(u64, u64); RECENT],
    next: usize,
    found: Vec<FoundOut>,
    /// All that was written until then is in order.
    ordered: u32,
}

/// A pair of instructions that was told of.
#[derive(Clone, Copy, Debug, Default)]
struct Pair {
    pc: u64,
    after: u64,
    count: u32,
    last_ns: u64,
}

/// See the module.
pub struct Order<S> {
    stamps: S,
    cpus: Vec<Cpu>,
    /// What any CPU has put in order.
    ordered: u32,
    pairs: [Pair; PAIRS],
    next_pair: usize,
    next_id: u64,
}

impl<S: Stamps> Order<S> {
    /// Nobody has found out anything.
    pub fn new(stamps: S) -> Self {
        let mut cpus = Vec::new();
        cpus.resize_with(CPUS, Cpu::default);
        Self {
            stamps,
            cpus,
            ordered: 0,
            pairs: [Pair::default(); PAIRS],
            next_pair: 0,
            next_id: 1,
        }
    }

    /// Whether a CPU has found out something that is not in order: only then its loads of other memory matter.
    pub fn is_open(&self, cpu: u32) -> bool {
        let cpu = self.cpus.get(cpu as usize);
        cpu.is_some_and(|cpu| !cpu.found.is_empty())
    }

    /// A CPU ran a barrier.
    pub fn barrier(&mut self, cpu: u32, barrier: Barrier) {
        let Some(cpu) = self.cpus.get_mut(cpu as usize) else {
            return;
        };
        if !barrier.orders_loads() {
            return;
        }
        if barrier == Barrier::Cpus {
            for found in &mut cpu.found {
                found.for_cpus = true;
            }
            return;
        }
        for found in cpu.found.drain(..) {
            cpu.ordered = cpu.ordered.max(found.stamp.clock);
        }
        self.ordered = self.ordered.max(cpu.ordered);
    }

    /// A CPU took an interrupt: whatever was written before that was sent is there.
    pub fn interrupt(&mut self, cpu: u32) {
        let now = self.stamps.now();
        if let Some(cpu) = self.cpus.get_mut(cpu as usize) {
            cpu.ordered = now;
            cpu.found.clear();
        }
    }

    /// A CPU read a register of a card's, and no order goes with that.
    pub fn register(&mut self, load: &Load) {
        let clock = self.stamps.now();
        let stamp = Stamp {
            clock,
            ..Stamp::default()
        };
        self.find_out(load, stamp, true);
    }

    fn find_out(&mut self, load: &Load, stamp: Stamp, by_register: bool) {
        let Some(cpu) = self.cpus.get_mut(load.cpu as usize) else {
            return;
        };
        if stamp.clock <= cpu.ordered {
            return;
        }
        let same = |found: &FoundOut| {
            found.by_register == by_register
                && (found.stamp.card, found.stamp.job) == (stamp.card, stamp.job)
        };
        cpu.found.retain(|found| !same(found));
        if cpu.found.len() >= MOST_FOUND {
            cpu.found.remove(0);
        }
        cpu.found.push(FoundOut {
            stamp,
            by_register,
            pc: load.pc,
            phys: load.phys,
            stack: load.stack >> STACK_BITS,
            for_cpus: false,
        });
    }

    /// A CPU loaded memory. Gives what is wrong with that; its stack is for the caller to fill in.
    pub fn load(&mut self, load: &Load) -> Option<Unordered> {
        let first = load.phys / WORD * WORD;
        let end = load.phys.saturating_add(load.size.min(64));
        let mut unordered = None;
        let words = (0..9).map(|n| first.saturating_add(n * WORD));
        for word in words.take_while(|word| *word < end) {
            unordered = unordered.or(self.load_word(load, word));
        }
        unordered
    }

    fn load_word(&mut self, load: &Load, word: u64) -> Option<Unordered> {
        let stamp = self.stamps.of(word);
        let cpu = self.cpus.get_mut(load.cpu as usize)?;
        let again = load.polls && cpu.recent.contains(&(word, load.pc));
        if load.polls && !again {
            if let Some(place) = cpu.recent.get_mut(cpu.next) {
                *place = (word, load.pc);
            }
            cpu.next = (cpu.next + 1) % RECENT;
        }
        let interrupted = self.stamps.interrupted(stamp.card);
        if stamp.clock <= cpu.ordered.max(self.ordered).max(interrupted) {
            return None;
        }
        let of_job = |found: &&FoundOut| {
            (found.by_register || (found.stamp.card, found.stamp.job) == (stamp.card, stamp.job))
                && stamp.clock <= found.stamp.clock
                && found.stack == load.stack >> STACK_BITS
        };
        let found = cpu.found.iter().find(of_job).copied();
        match found {
            // The word itself, again.
            Some(found) if found.phys / WORD * WORD == word => {}
            Some(found) => {
                if load.acquires {
                    self.acquire(load.cpu, stamp.clock);
                }
                return self.tell(load, stamp, &found);
            }
            None if again => self.find_out(
                &Load {
                    phys: word,
                    ..*load
                },
                stamp,
                false,
            ),
            None => {}
        }
        if load.acquires {
            self.acquire(load.cpu, stamp.clock);
        }
        None
    }

    /// A load acquired: what was written until then is in order.
    fn acquire(&mut self, cpu: u32, clock: u32) {
        if let Some(cpu) = self.cpus.get_mut(cpu as usize) {
            cpu.ordered = cpu.ordered.max(clock);
            cpu.found.retain(|found| found.stamp.clock > clock);
            self.ordered = self.ordered.max(clock);
        }
    }

    fn tell(&mut self, load: &Load, stamp: Stamp, found: &FoundOut) -> Option<Unordered> {
        let known = |pair: &Pair| (pair.pc, pair.after) == (load.pc, found.pc);
        let at = match self.pairs.iter().position(known) {
            Some(at) => at,
            None => {
                let at = self.next_pair;
                self.next_pair = (at + 1) % PAIRS;
                *self.pairs.get_mut(at)? = Pair {
                    pc: load.pc,
                    after: found.pc,
                    ..Pair::default()
                };
                at
            }
        };
        let pair = self.pairs.get_mut(at)?;
        if load.now_ns.saturating_sub(pair.last_ns) > AGAIN_NS {
            pair.count = 0;
        }
        if pair.count >= TELLS {
            return None;
        }
        pair.count += 1;
        pair.last_ns = load.now_ns;
        let id = self.next_id;
        self.next_id += 1;
        Some(Unordered {
            id,
            card: stamp.card,
            job: stamp.job,
            cpu: load.cpu,
            store: false,
            by_register: found.by_register,
            for_cpus: found.for_cpus,
            pc: load.pc,
            phys: load.phys,
            length: load.size,
            address: 0,
            lend: 0,
            lend_number: 0,
            other_pc: found.pc,
            other: found.phys,
            at_ns: load.now_ns,
            stack: [0; STACK],
        })
    }
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
