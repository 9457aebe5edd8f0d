// SPDX-License-Identifier: MIT OR Apache-2.0

//! Card and driver, and what they tell.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// A job, as card and driver know it.
#[derive(Clone, Debug)]
struct Work {
    number: u64,
    queue: u16,
    read: bool,
    pieces: Vec<(u64, u64)>,
    sort: u8,
    accesses: Vec<(u64, u64)>,
    moved: usize,
    told: u64,
    bounced: bool,
    slot: Option<u32>,
}

/// Card, driver and what they tell.
pub(super) struct World {
    makes: Vec<Make>,
    entries: Vec<Entry>,
    sequence: u64,
    time_ns: u64,
    events: u64,
    jobs: u64,
    slots: u32,
    places: BTreeMap<u16, u64>,
    accepted: Vec<Work>,
    working: Vec<Work>,
    over: Vec<Work>,
    /// Completions of a vector that no interrupt told, and when the first was.
    pending: BTreeMap<u16, (u8, u64)>,
    /// Vectors of which one may come later than another cause's, since the last reset.
    deferred: BTreeSet<u16>,
    masked: BTreeMap<u16, bool>,
    wrong: Option<Wrong>,
    /// Steps before it is made wrong.
    fuse: u8,
    struck: bool,
    last_freed: Option<(u64, u64)>,
}

impl World {
    pub(super) fn new(makes: Vec<Make>, wrong: Option<Wrong>, fuse: u8) -> Self {
        let declares = Declares {
            idle: IdleScope::Queue,
            ..everything()
        };
        let mut world = Self {
            makes,
            entries: Vec::new(),
            sequence: 0,
            time_ns: 0,
            events: 0,
            jobs: 0,
            slots: 0,
            places: BTreeMap::new(),
            accepted: Vec::new(),
            working: Vec::new(),
            over: Vec::new(),
            pending: BTreeMap::new(),
            deferred: BTreeSet::new(),
            masked: BTreeMap::new(),
            wrong,
            fuse,
            struck: false,
            last_freed: None,
        };
        world.tell(Kind::Declares(declares));
        world.tell(Kind::Attached {
            text_start: 0x1000,
            text_end: 0x2000,
            syncs: false,
        });
        world.bind();
        world
    }

    fn tell(&mut self, kind: Kind) {
        let (sequence, time_ns) = (self.sequence, self.time_ns);
        self.sequence += 1;
        self.time_ns += 1000;
        self.entries.push(Entry {
            sequence,
            time_ns,
            kind,
        });
    }

    fn declare(&mut self, what: Declaration) {
        let register_write = None;
        self.tell(Kind::Declared {
            register_write,
            what,
        });
    }

    fn call(&mut self, mut call: DriverCall) {
        call.number = self.events;
        self.events += 1;
        self.tell(Kind::Call(call));
    }

    fn access(&mut self, job: Option<u64>, way: Direction, at: u64, length: u64, role: Role) {
        self.tell(match job {
            Some(job) => for_job(job, way, at, length, role),
            None => access(way, at, length, role, &[]),
        });
    }

    fn state(&mut self, state: DriverState) {
        let driver = "drv".to_owned();
        self.tell(Kind::Driver { driver, state });
    }

    fn bind(&mut self) {
        self.state(DriverState::Binding);
        self.tell(Kind::Decoding { on: true });
        self.tell(Kind::BusMaster { on: true });
        for queue in 0..self.makes.len() as u16 {
            self.call(call(Call::Alloc, area(queue), 4096, LendDirection::Both));
            self.call(call(
                Call::Alloc,
                area(queue) + 0x2000,
                64,
                LendDirection::Both,
            ));
            self.places.insert(queue, area(queue) + 0x10_0000);
        }
        self.masked.clear();
        self.unmask_all();
        self.state(DriverState::Bound);
    }

    fn unmask_all(&mut self) {
        let (vector, masked) = (None, false);
        self.masked.clear();
        self.declare(Declaration::Masked { vector, masked });
        // What came in the meantime interrupts now.
        for vector in Vec::from_iter(self.pending.keys().copied()) {
            self.declare(Declaration::cause(Vector(vector), "unmasked"));
            self.raise(vector);
        }
    }

    /// Whether it is time to make something wrong of that kind.
    fn strikes(&mut self, wrong: Wrong) -> bool {
        let now = self.wrong == Some(wrong) && !self.struck && self.fuse == 0;
        self.struck |= now;
        now
    }

    pub(super) fn step(&mut self, step: &Step) {
        self.fuse = self.fuse.saturating_sub(1);
        self.timers();
        let count = self.makes.len() as u8;
        match *step {
            Step::Queue(ref plan) => self.queue(plan, u16::from(plan.queue % count)),
            Step::Begin(queue) => self.begin(u16::from(queue % count)),
            Step::Move(queue, accesses) => self.advance(u16::from(queue % count), accesses),
            Step::Finish(queue) => self.finish(u16::from(queue % count), false),
            Step::Fail(queue) => self.finish(u16::from(queue % count), true),
            Step::Take(queue) => self.take(u16::from(queue % count)),
            Step::Mask(queue, masked) => self.mask(u16::from(queue % count), masked),
            Step::Link(queue) => self.link(u16::from(queue % count)),
            Step::Wait(time) => self.wait(time.into()),
            Step::Stop(queue) => self.stop(Some(u16::from(queue % count))),
            Step::StopAll => self.stop(None),
            Step::Reset => self.reset(),
            Step::Rebind => {
                self.unbind();
                self.bind();
            }
        }
        if self.strikes_spurious() {
            self.tell(Kind::Interrupt { vector: 0 });
        }
    }

    fn strikes_spurious(&mut self) -> bool {
        let vector = self.makes[0].vector;
        let quiet = vector == 0 && !self.deferred.contains(&0);
        quiet && self.strikes(Wrong::Spurious)
    }

    /// Interrupts whose timer is over.
    fn timers(&mut self) {
        let due = self.pending.iter();
        let due = due.filter(|(_, (_, since))| self.time_ns - since >= TIMER_NS);
        let due: Vec<_> = due.map(|(vector, _)| *vector).collect();
        for vector in due {
            self.raise(vector);
        }
    }

    fn raise(&mut self, vector: u16) {
        if self.is_masked(vector) {
            return;
        }
        self.pending.remove(&vector);
        self.tell(Kind::Interrupt { vector });
    }

    fn is_masked(&self, vector: u16) -> bool {
        self.masked.get(&vector).copied().unwrap_or(false)
    }

    /// Maps what a plan needs, and hands it over.
    fn queue(&mut self, plan: &Plan, queue: u16) {
        let make = self.makes[usize::from(queue)].clone();
        let known = self.accepted.iter().chain(&self.working).chain(&self.over);
        if known.filter(|work| work.queue == queue).count() >= usize::from(make.depth) {
            return;
        }
        let mut at = self.places[&queue];
        let mut pieces = Vec::new();
        for &(length, gap) in &plan.pieces {
            let length = u64::from(length) + 1;
            pieces.push((at, length));
            at += length + u64::from(gap) * 64;
        }
        // Another page between two jobs.
        self.places.insert(queue, (at | 0xfff) + 0x1001);
        let way = match plan.read {
            true => LendDirection::ToDevice,
            false => LendDirection::FromDevice,
        };
        let first = self.events;
        for (part, &(at, length)) in (0..).zip(&pieces) {
            let (which, way) = match plan.sort {
                0 => (Call::MapList, way),
                1 => (Call::Map, way),
                _ => (Call::BlockAlloc, LendDirection::Both),
            };
            let listed = which == Call::MapList;
            self.call(DriverCall {
                list: listed.then_some(first),
                entries: if listed { pieces.len() as u32 } else { 0 },
                part: if listed { part } else { 0 },
                bounced: plan.bounced && plan.sort < 2,
                ..call(which, at, length, way)
            });
        }
        let burst = u64::from(plan.burst) + 1;
        let total: u64 = pieces.iter().map(|(_, length)| length).sum();
        let told = match plan.read {
            true => total,
            false => (total * u64::from(plan.filled % 8 + 1)).div_ceil(8),
        };
        let work = Work {
            number: self.jobs,
            queue,
            read: plan.read,
            accesses: accesses(&pieces, told, burst),
            pieces,
            sort: plan.sort,
            moved: 0,
            told,
            bounced: plan.bounced && plan.sort < 2,
            slot: make.labels.then_some(self.slots),
        };
        self.jobs += 1;
        self.slots = (self.slots + 1) % 64;
        self.declare(Declaration::Accepted {
            job: JobId(work.number),
            queue: QueueId(queue),
            label: label(&work),
            pieces: pieces_of(&work),
        });
        self.accepted.push(work);
    }

    fn begin(&mut self, queue: u16) {
        let next = self.accepted.iter().position(|work| work.queue == queue);
        let Some(work) = next.map(|next| self.accepted.remove(next)) else {
            return;
        };
        if self.makes[usize::from(queue)].ring {
            let at = area(queue) + work.number % 64 * 16;
            self.access(None, Direction::Read, at, 16, Role::Descriptor);
        }
        self.declare(Declaration::Begun {
            job: JobId(work.number),
            queue: QueueId(queue),
            label: label(&work),
            pieces: pieces_of(&work),
        });
        self.working.push(work);
    }

    fn first(&self, queue: u16) -> Option<usize> {
        self.working.iter().position(|work| work.queue == queue)
    }

    fn advance(&mut self, queue: u16, accesses: u8) {
        let Some(first) = self.first(queue) else {
            return;
        };
        for _ in 0..accesses {
            let work = self.working[first].clone();
            let Some(&(at, length)) = work.accesses.get(work.moved) else {
                return;
            };
            let way = way(&work);
            let job = Some(work.number);
            self.access(job, way, at, length, Role::Payload);
            self.working[first].moved += 1;
            if self.strikes(Wrong::Outside) {
                self.access(
                    job,
                    Direction::Write,
                    area(QUEUES) + 0x500,
                    64,
                    Role::Payload,
                );
            }
            if work.sort < 2 && self.strikes(Wrong::OtherWay) {
                let other = match way {
                    Direction::Read => Direction::Write,
                    Direction::Write => Direction::Read,
                };
                self.access(job, other, at, length, Role::Payload);
            }
            if self.strikes(Wrong::UnmapEarly) {
                self.unmap(&work);
                return;
            }
        }
    }

    fn finish(&mut self, queue: u16, fails: bool) {
        let Some(first) = self.first(queue) else {
            return;
        };
        if !fails {
            let left = self.working[first].accesses.len() - self.working[first].moved;
            let short = !self.working[first].read && left > 0 && self.strikes(Wrong::Short);
            if !short {
                for _ in 0..left {
                    self.advance(queue, 1);
                }
            }
        }
        let Some(first) = self.first(queue) else {
            return;
        };
        let mut work = self.working.remove(first);
        let make = self.makes[usize::from(queue)].clone();
        if make.ring {
            let at = area(queue) + work.number % 64 * 16 + 8;
            self.access(Some(work.number), Direction::Write, at, 8, Role::Descriptor);
        }
        let vector = make.vector;
        let told = match fails {
            true => 0,
            false => work.told,
        };
        let (count, since) = *self.pending.get(&vector).unwrap_or(&(0, self.time_ns));
        let full = make.coalesce > 0 && count + 1 >= make.coalesce;
        let edge = make.coalesce == 0 && count == 0;
        let masked = self.is_masked(vector);
        let promise = match (masked, full || edge) {
            (true, _) => Promise::Never,
            (false, true) => Promise::Now,
            (false, false) => Promise::Within(TIMER_NS),
        };
        let owed = Some(Owed {
            vector: Vector(vector),
            promise,
        });
        self.pending.insert(vector, (count + 1, since));
        if promise != Promise::Now {
            self.deferred.insert(vector);
        }
        self.declare(Declaration::Done {
            job: JobId(work.number),
            error: fails.then(|| "no luck".into()),
            moved: told,
            owed,
        });
        if promise == Promise::Now {
            if self.strikes(Wrong::LostInterrupt) {
                // It is as if it had been sent; nothing is due any more.
                self.pending.remove(&vector);
                self.stop(Some(queue));
                work.told = told;
                self.over.push(work);
                return;
            }
            self.raise(vector);
        }
        if make.status {
            let at = area(queue) + 0x2000;
            self.access(None, Direction::Write, at, 4, Role::Status);
        }
        if !work.read && self.strikes(Wrong::AfterDone) {
            let (at, length) = work.pieces[0];
            self.access(
                Some(work.number),
                Direction::Write,
                at,
                length,
                Role::Payload,
            );
        }
        work.told = told;
        self.over.push(work);
    }

    /// The driver takes back what is over: it syncs, or unmaps, what it wants to read.
    fn take(&mut self, queue: u16) {
        let (mine, others) = std::mem::take(&mut self.over)
            .into_iter()
            .partition::<Vec<_>, _>(|work| work.queue == queue);
        self.over = others;
        for work in mine {
            let job = JobId(work.number);
            let mut left = work.told;
            if !work.read && work.bounced {
                for &(at, length) in &work.pieces {
                    let length = length.min(left);
                    left -= length;
                    if length > 0 {
                        let direction = LendDirection::FromDevice;
                        self.call(call(Call::SyncForCpu, at, length, direction));
                    }
                }
            }
            self.declare(Declaration::Released { job });
            self.unmap(&work);
            if self.strikes(Wrong::Twice) {
                self.unmap(&work);
            }
            if self.strikes(Wrong::AfterUnmap) {
                let (at, _) = work.pieces[0];
                self.access(None, Direction::Write, at, 1, Role::Payload);
            }
        }
    }

    fn unmap(&mut self, work: &Work) {
        if self.strikes(Wrong::Leak) {
            return;
        }
        let direction = match work.read {
            true => LendDirection::ToDevice,
            false => LendDirection::FromDevice,
        };
        for (part, &(at, length)) in (0..).zip(&work.pieces) {
            let (which, direction) = match work.sort {
                0 => (Call::UnmapList, direction),
                1 => (Call::Unmap, direction),
                _ => (Call::BlockFree, LendDirection::Both),
            };
            let listed = which == Call::UnmapList;
            self.call(DriverCall {
                entries: if listed { work.pieces.len() as u32 } else { 0 },
                part: if listed { part } else { 0 },
                ..call(which, at, length, direction)
            });
        }
        self.last_freed = work.pieces.first().copied();
    }

    fn mask(&mut self, queue: u16, masked: bool) {
        let vector = self.makes[usize::from(queue)].vector;
        if self.is_masked(vector) == masked {
            return;
        }
        self.masked.insert(vector, masked);
        let some = Some(Vector(vector));
        self.declare(Declaration::Masked {
            vector: some,
            masked,
        });
        // What came in the meantime interrupts now.
        if !masked && self.pending.contains_key(&vector) {
            let what = Declaration::cause(Vector(vector), "unmasked");
            self.declare(what);
            self.raise(vector);
        }
    }

    fn link(&mut self, queue: u16) {
        let vector = self.makes[usize::from(queue)].vector;
        if !self.is_masked(vector) {
            self.declare(Declaration::cause(Vector(vector), "the link changed"));
            // The timer of what is pending runs on.
            self.tell(Kind::Interrupt { vector });
        }
    }

    fn wait(&mut self, time: u64) {
        // Whatever is due comes in time.
        self.time_ns += TIMER_NS;
        self.timers();
        for queue in 0..self.makes.len() as u16 {
            self.take(queue);
        }
        self.time_ns += time * 1000;
    }

    /// A queue stops, or all do: what is not over comes to nothing, and the driver takes it back.
    fn stop(&mut self, queue: Option<u16>) {
        let some = queue.map(QueueId);
        self.declare(Declaration::Stopping { queue: some });
        self.declare(Declaration::Idle { queue: some });
        let of_it = |work: &Work| queue.is_none_or(|queue| queue == work.queue);
        let stopped = |list: &mut Vec<Work>| {
            let (gone, kept) = std::mem::take(list).into_iter().partition(of_it);
            *list = kept;
            let gone: Vec<Work> = gone;
            gone
        };
        let mut gone = stopped(&mut self.accepted);
        gone.extend(stopped(&mut self.working));
        gone.extend(stopped(&mut self.over));
        for work in gone {
            self.unmap(&work);
        }
    }

    fn reset(&mut self) {
        self.declare(Declaration::Reset);
        self.pending.clear();
        self.deferred.clear();
        let gone = self.accepted.drain(..).chain(self.working.drain(..));
        let gone: Vec<_> = gone.chain(self.over.drain(..)).collect();
        for work in gone {
            self.unmap(&work);
        }
        self.unmask_all();
    }

    fn unbind(&mut self) {
        self.state(DriverState::Unbinding);
        self.stop(None);
        let (vector, masked) = (None, true);
        self.declare(Declaration::Masked { vector, masked });
        for queue in 0..self.makes.len() as u16 {
            self.call(call(Call::Free, area(queue), 4096, LendDirection::Both));
            let status = area(queue) + 0x2000;
            self.call(call(Call::Free, status, 64, LendDirection::Both));
        }
        self.tell(Kind::BusMaster { on: false });
        self.state(DriverState::Unbound);
    }

    pub(super) fn judged(mut self) -> (bool, Judgement) {
        self.timers();
        self.unbind();
        let mut ledger = Ledger::new(Platform::default());
        for entry in &self.entries {
            ledger.entry(entry);
        }
        (self.struck, ledger.finish())
    }
}

fn way(work: &Work) -> Direction {
    match work.read {
        true => Direction::Read,
        false => Direction::Write,
    }
}

fn label(work: &Work) -> Label {
    Label {
        slot: work.slot,
        frame: None,
    }
}

fn pieces_of(work: &Work) -> Vec<Piece> {
    let piece = |&(at, length): &(u64, u64)| Piece {
        way: way(work),
        ..Piece::write(at, length)
    };
    work.pieces.iter().map(piece).collect()
}
