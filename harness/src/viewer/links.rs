// SPDX-License-Identifier: MIT OR Apache-2.0

//! What an entry belongs to, and what led to it: doorbell, job, access, interrupt, sync.

use std::collections::{BTreeMap, HashMap};

use landfall_device::contract::{Declaration, Owed, Promise};
use landfall_device::journal::{Call, CpuAccess, DriverCall, Entry, Kind};

/// Most lends of one address that are open at once.
const MOST_AT: usize = 64;
/// Most lends below an address that are looked at for one that it lies in.
const MOST_BELOW: usize = 32;
/// Most lends that a job is known to have touched.
const MOST_TOUCHED: usize = 16;
/// Most jobs that one interrupt is told to be for.
const MOST_OWED: usize = 64;

/// Other entries of the same view, by their place in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Linked {
    /// What it belongs to: of what a driver calls and the card accesses the lend, of what is told of a job its first entry.
    pub(super) owner: Option<u32>,
    /// What led to it.
    pub(super) cause: Option<u32>,
}

/// A lend that was not taken back yet.
#[derive(Clone, Copy, Debug)]
struct Open {
    group: u8,
    index: u32,
    length: u64,
    /// The last interrupt that told of what the card did there.
    arrived: Option<u32>,
}

#[derive(Clone, Debug, Default)]
struct Job {
    first: u32,
    begun: Option<u32>,
    last_access: Option<u32>,
    /// Addresses of lends that its accesses lie in.
    touched: Vec<u64>,
}

/// Finds links, entry by entry.
#[derive(Debug, Default)]
pub(super) struct Links {
    lends: BTreeMap<u64, Vec<Open>>,
    /// Lends by the number of the witness's event.
    numbers: HashMap<u64, u32>,
    jobs: HashMap<u64, Job>,
    /// Completions, with their jobs, that each vector is to tell of.
    owed: HashMap<u16, Vec<(u32, Option<u64>)>>,
    /// Register writes: number of the entry, and place.
    writes: Vec<(u64, u32)>,
}

impl Links {
    /// The links of an entry, whose place is `index`.
    pub(super) fn entry(&mut self, index: u32, entry: &Entry) -> Linked {
        match &entry.kind {
            Kind::Register { .. } => {
                self.writes.push((entry.sequence, index));
                Linked::default()
            }
            Kind::Call(call) => self.call(index, call),
            Kind::Declared {
                register_write,
                what,
            } => {
                let write = register_write.and_then(|number| self.write(number));
                self.declared(index, what, write)
            }
            Kind::Access { address, job, .. } => self.access(index, *address, job.map(|job| job.0)),
            Kind::Interrupt { vector } | Kind::InterruptHeld { vector } => {
                self.interrupt(index, *vector)
            }
            Kind::Cpu(access) => self.cpu(access),
            _ => Linked::default(),
        }
    }

    /// The place of a register write, by the number of its entry.
    pub(super) fn write(&self, sequence: u64) -> Option<u32> {
        let at = self
            .writes
            .partition_point(|(number, _)| *number < sequence);
        let (number, index) = self.writes.get(at)?;
        (*number == sequence).then_some(*index)
    }

    fn call(&mut self, index: u32, call: &DriverCall) -> Linked {
        let Some(group) = group(call.call) else {
            let Some(open) = self.within(call.address) else {
                return Linked::default();
            };
            let for_cpu = call.call == Call::SyncForCpu;
            return Linked {
                owner: Some(open.index),
                cause: open.arrived.take_if(|_| for_cpu),
            };
        };
        let at = self.lends.entry(call.address).or_default();
        if lends(call.call) {
            if at.len() >= MOST_AT {
                at.remove(0);
            }
            at.push(Open {
                group,
                index,
                length: call.length,
                arrived: None,
            });
            self.numbers.insert(call.number, index);
            return Linked::default();
        }
        let found = at.iter().rposition(|open| open.group == group);
        let open = found.map(|found| at.remove(found));
        if at.is_empty() {
            self.lends.remove(&call.address);
        }
        Linked {
            owner: open.map(|open| open.index),
            cause: open.and_then(|open| open.arrived),
        }
    }

    fn declared(&mut self, index: u32, what: &Declaration, write: Option<u32>) -> Linked {
        let of_write = Linked {
            owner: None,
            cause: write,
        };
        match what {
            Declaration::Accepted { job, .. } => {
                let fresh = Job {
                    first: index,
                    ..Job::default()
                };
                self.jobs.insert(job.0, fresh);
                of_write
            }
            Declaration::Begun { job, .. } => {
                let fresh = || Job {
                    first: index,
                    ..Job::default()
                };
                let job = self.jobs.entry(job.0).or_insert_with(fresh);
                job.begun = Some(index);
                Linked {
                    owner: Some(job.first).filter(|first| *first != index),
                    cause: write.or(Some(job.first).filter(|first| *first != index)),
                }
            }
            Declaration::Done { job, owed, .. } => {
                self.owe(index, *owed, Some(job.0));
                let known = self.jobs.get(&job.0);
                Linked {
                    owner: known.map(|job| job.first),
                    cause: known.and_then(|job| job.last_access.or(job.begun)),
                }
            }
            Declaration::Released { job } => Linked {
                owner: self.jobs.remove(&job.0).map(|job| job.first),
                cause: write,
            },
            Declaration::Cause { owed, .. } => {
                self.owe(index, Some(*owed), None);
                of_write
            }
            Declaration::Changed { job, .. } => Linked {
                owner: self.jobs.get(&job.0).map(|job| job.first),
                cause: write,
            },
            _ => of_write,
        }
    }

    fn owe(&mut self, index: u32, owed: Option<Owed>, job: Option<u64>) {
        let Some(owed) = owed.filter(|owed| owed.promise != Promise::Never) else {
            return;
        };
        let of_vector = self.owed.entry(owed.vector.0).or_default();
        if of_vector.len() >= MOST_OWED {
            of_vector.remove(0);
        }
        of_vector.push((index, job));
    }

    fn access(&mut self, index: u32, address: u64, job: Option<u64>) -> Linked {
        let owner = self.within(address).map(|open| open.index);
        let start = owner.and_then(|_| self.start(address));
        let mut cause = None;
        if let Some(job) = job.and_then(|job| self.jobs.get_mut(&job)) {
            cause = job.begun.or(Some(job.first));
            job.last_access = Some(index);
            if let Some(start) = start
                && job.touched.last() != Some(&start)
                && job.touched.len() < MOST_TOUCHED
            {
                job.touched.push(start);
            }
        }
        Linked { owner, cause }
    }

    fn interrupt(&mut self, index: u32, vector: u16) -> Linked {
        let paid = self.owed.remove(&vector).unwrap_or_default();
        let jobs = paid.iter().filter_map(|(_, job)| *job);
        for job in jobs.filter_map(|job| self.jobs.get(&job)) {
            for address in &job.touched {
                for open in self.lends.get_mut(address).into_iter().flatten() {
                    open.arrived = Some(index);
                }
            }
        }
        Linked {
            owner: None,
            cause: paid.last().map(|(done, _)| *done),
        }
    }

    fn cpu(&mut self, access: &CpuAccess) -> Linked {
        Linked {
            owner: self.numbers.get(&access.lend_number).copied(),
            cause: None,
        }
    }

    /// Where the innermost open lend that an address lies in begins.
    fn start(&self, address: u64) -> Option<u64> {
        let mut below = self.lends.range(..=address).rev().take(MOST_BELOW);
        let holds = |at: u64, open: &Open| address - at < open.length;
        let found = below.find(|(at, open)| open.iter().any(|open| holds(**at, open)));
        found.map(|(at, _)| *at)
    }

    /// That lend.
    fn within(&mut self, address: u64) -> Option<&mut Open> {
        let start = self.start(address)?;
        let at = self.lends.get_mut(&start)?;
        let mut innermost = at.iter_mut().rev();
        innermost.find(|open| address - start < open.length)
    }
}

/// What lends, and what takes the same back; none: a sync, or a mapping that failed.
fn group(call: Call) -> Option<u8> {
    match call {
        Call::Map | Call::Unmap => Some(0),
        Call::MapList | Call::UnmapList => Some(1),
        Call::Alloc | Call::Free => Some(2),
        Call::BlockAlloc | Call::BlockFree => Some(3),
        Call::Link | Call::Unlink => Some(4),
        Call::Queue | Call::Done => Some(5),
        Call::PoolLend | Call::PoolReturn => Some(6),
        Call::SyncForCpu | Call::SyncForDevice | Call::MapFailed => None,
    }
}

/// Whether a call lends.
pub(super) fn lends(call: Call) -> bool {
    matches!(
        call,
        Call::Map
            | Call::MapList
            | Call::Alloc
            | Call::BlockAlloc
            | Call::Link
            | Call::Queue
            | Call::PoolLend
    )
}
