// SPDX-License-Identifier: MIT OR Apache-2.0

//! One queue: its ring, the job in work, and what it writes back.

use std::time::Duration;

use super::descriptor::{DONE, Descriptor, ERROR, Operation, UNCHECKED, VALID};
use super::fault::{self, Fault};
use super::regs::*;
use super::work::Work;
use super::{LOOK, Port, Rest};
use landfall_device::contract::*;

/// A queue.
#[derive(Debug)]
pub(super) struct Queue {
    index: usize,
    ring: u64,
    shape: SHAPE,
    run: RUN,
    busy: bool,
    stopping: bool,
    /// It is to look into the ring.
    look: bool,
    /// When it looks by itself.
    poll: Duration,
    head: u16,
    phase: bool,
    tail: u16,
    /// How far the driver took back, and the jobs that it did not yet: the descriptor behind each.
    taken: u16,
    out: std::collections::VecDeque<(JobId, u16)>,
    block: u64,
    written_back: u32,
    coalesce: COALESCE,
    waiting: u8,
    timer: Option<Duration>,
    vector: u8,
    pace: u32,
    work: Option<Work>,
    /// When a fault strikes.
    spurious: Option<Duration>,
}

/// Puts a value into one half of an address.
fn half(address: &mut u64, value: u32, high: bool) {
    let shift = if high { 32 } else { 0 };
    *address = *address & !(0xffff_ffff << shift) | u64::from(value) << shift;
}

impl Queue {
    pub(super) fn new(index: usize) -> Self {
        Self {
            index,
            ring: 0,
            shape: SHAPE::compose(0, 0),
            run: RUN::compose(false, false),
            busy: false,
            stopping: false,
            look: false,
            poll: Duration::ZERO,
            head: 0,
            phase: true,
            tail: 0,
            taken: 0,
            out: std::collections::VecDeque::new(),
            block: 0,
            written_back: 0,
            coalesce: COALESCE::compose(0, 0),
            waiting: 0,
            timer: None,
            vector: 0,
            pace: 0,
            work: None,
            spurious: None,
        }
    }

    fn id(&self) -> QueueId {
        QueueId(self.index as u16)
    }

    pub(super) fn vector(&self) -> u8 {
        self.vector
    }

    pub(super) fn read(&self, register: usize) -> u32 {
        match register {
            RING_LO::OFFSET => self.ring as u32,
            RING_HI::OFFSET => (self.ring >> 32) as u32,
            SHAPE::OFFSET => self.shape.into_raw(),
            RUN::OFFSET => self.run.into_raw(),
            STATE::OFFSET => STATE::compose(self.head, self.busy).into_raw(),
            DOORBELL::OFFSET => DOORBELL::compose(self.tail).into_raw(),
            TAKEN::OFFSET => TAKEN::compose(self.taken).into_raw(),
            BLOCK_LO::OFFSET => self.block as u32,
            BLOCK_HI::OFFSET => (self.block >> 32) as u32,
            COALESCE::OFFSET => self.coalesce.into_raw(),
            VECTOR::OFFSET => VECTOR::compose(self.vector).into_raw(),
            PACE::OFFSET => self.pace,
            _ => UNCLAIMED,
        }
    }

    pub(super) fn write(
        &mut self,
        register: usize,
        value: u32,
        rest: &mut Rest<'_>,
        port: &mut Port<'_>,
    ) {
        let fixed = matches!(
            register,
            RING_LO::OFFSET | RING_HI::OFFSET | SHAPE::OFFSET | BLOCK_LO::OFFSET | BLOCK_HI::OFFSET
        );
        if fixed && self.busy {
            let why = "the place of a ring was written while its queue was busy".into();
            port.declare(Declaration::NotNow { why });
        }
        match register {
            RING_LO::OFFSET => half(&mut self.ring, value, false),
            RING_HI::OFFSET => half(&mut self.ring, value, true),
            SHAPE::OFFSET => self.shape = SHAPE::from_raw(value),
            RUN::OFFSET => self.set_run(RUN::from_raw(value), rest, port),
            DOORBELL::OFFSET => {
                self.tail = DOORBELL::from_raw(value).tail();
                self.look = true;
            }
            TAKEN::OFFSET => self.take_back(TAKEN::from_raw(value).index(), port),
            BLOCK_LO::OFFSET => half(&mut self.block, value, false),
            BLOCK_HI::OFFSET => half(&mut self.block, value, true),
            COALESCE::OFFSET => self.coalesce = COALESCE::from_raw(value),
            VECTOR::OFFSET => {
                let vector = VECTOR::from_raw(value).vector();
                if vector != self.vector && self.waiting > 0 {
                    // What was promised by a vector comes by that.
                    self.tell_now(rest, port);
                }
                self.vector = vector;
            }
            PACE::OFFSET => self.pace = value,
            _ => {}
        }
    }

    fn set_run(&mut self, run: RUN, rest: &mut Rest<'_>, port: &mut Port<'_>) {
        let was = self.run.run();
        self.run = RUN::compose(run.poll(), run.run());
        if run.run() && !was && !self.busy {
            *self = Self {
                busy: true,
                phase: true,
                head: 0,
                tail: 0,
                taken: 0,
                written_back: 0,
                out: std::collections::VecDeque::new(),
                poll: port.host.now(),
                ..std::mem::replace(self, Self::new(self.index))
            };
        } else if was && !run.run() && self.busy {
            let queue = Some(self.id());
            port.declare(Declaration::Stopping { queue });
            self.stopping = true;
            rest.fault.stops += 1;
            if rest.options.fault == Some(Fault::Spurious) && rest.fault.stops == 2 {
                self.spurious = Some(port.host.now() + fault::AFTER_STOP);
            }
        }
    }

    /// The driver took back what lies before a descriptor.
    fn take_back(&mut self, index: u16, port: &mut Port<'_>) {
        let count = u32::from(self.shape.count()).max(1);
        // All the way round is nowhere, too; who writes wants to say something.
        let ahead = |to: u16| match (u32::from(to) + count - u32::from(self.taken) % count) % count
        {
            0 => count,
            some => some,
        };
        let taken = ahead(index);
        let mut released = Vec::new();
        while let Some(&(job, behind)) = self.out.front() {
            if ahead(behind) > taken {
                break;
            }
            self.out.pop_front();
            released.push(job);
        }
        self.taken = index;
        for job in released {
            port.declare(Declaration::Released { job });
        }
    }

    pub(super) fn step(&mut self, rest: &mut Rest<'_>, port: &mut Port<'_>) -> Next {
        if let Some(due) = self.spurious {
            if due > port.host.now() {
                return self.advance(rest, port).sooner(Next::At(due));
            }
            self.spurious = None;
            let vector = rest.causes.vector(self.vector);
            port.host.raise(vector);
        }
        self.advance(rest, port)
    }

    fn advance(&mut self, rest: &mut Rest<'_>, port: &mut Port<'_>) -> Next {
        if self.stopping {
            self.stop(rest, port);
        }
        if !self.busy || port.host.may_master().is_err() {
            return Next::Idle; // until a register is written, or the bus may be mastered again
        }
        let coalesced = self.coalesced(rest, port);
        let next = match self.work.take() {
            Some(work) => self.work_on(work, rest, port),
            None => self.look(rest, port),
        };
        next.sooner(coalesced)
    }

    fn stop(&mut self, rest: &mut Rest<'_>, port: &mut Port<'_>) {
        self.stopping = false;
        self.busy = false;
        self.look = false;
        if let Some(work) = self.work.take().filter(|work| work.begun && !work.told) {
            port.declare(Declaration::failed(work.job, "stopped", None));
        }
        if self.waiting != 0 && rest.options.fault != Some(Fault::LostCoalesced) {
            self.tell_now(rest, port);
        }
        self.timer = None;
        self.out.clear();
        let queue = Some(self.id());
        port.declare(Declaration::Idle { queue });
    }

    fn at(&self, descriptor: u16) -> u64 {
        self.ring
            .wrapping_add(u64::from(descriptor) * DESCRIPTOR as u64)
    }

    /// The descriptor behind one, and whether the ring begins anew there.
    fn behind(&self, descriptor: u16) -> (u16, bool) {
        match descriptor.checked_add(1) {
            Some(next) if next < self.shape.count() => (next, false),
            _ => (0, true),
        }
    }

    /// Looks for a job in the ring.
    fn look(&mut self, rest: &mut Rest<'_>, port: &mut Port<'_>) -> Next {
        let now = port.host.now();
        let polls = self.run.poll();
        if !self.look && (!polls || now < self.poll) {
            return match polls {
                true => Next::At(self.poll),
                false => Next::Idle,
            };
        }
        self.poll = now + LOOK;
        let (mut at, mut phase) = (self.head, self.phase);
        let mut links = Vec::new();
        loop {
            if self.shape.mode() == MODE_TAIL && at == self.tail {
                break;
            }
            let mut bytes = [0; DESCRIPTOR];
            let tag = Tag::default().role(Role::Descriptor);
            if port.host.dma_read(self.at(at), &mut bytes, tag).is_err() {
                return self.broken(rest, port);
            }
            let descriptor = Descriptor::parse(&bytes);
            let is_ours = match self.shape.mode() {
                MODE_OWN => descriptor.control & VALID != 0,
                MODE_PHASE => (descriptor.control & VALID != 0) == phase,
                _ => true,
            };
            if !is_ours {
                break;
            }
            let goes_on = descriptor.goes_on();
            links.push(descriptor);
            if !goes_on {
                self.accept(links, rest, port);
                return Next::Again;
            }
            if links.len() == MOST_LINKS {
                return self.broken(rest, port);
            }
            let (next, around) = self.behind(at);
            (at, phase) = (next, phase != around);
        }
        self.look = false;
        match polls {
            true => Next::At(self.poll),
            false => Next::Idle,
        }
    }

    /// The ring makes no sense: the queue does nothing more until it is stopped.
    fn broken(&mut self, rest: &mut Rest<'_>, port: &mut Port<'_>) -> Next {
        self.look = false;
        self.run = RUN::compose(false, self.run.run());
        rest.causes.other(1 << 18, port);
        Next::Idle
    }

    fn accept(&mut self, links: Vec<Descriptor>, rest: &mut Rest<'_>, port: &mut Port<'_>) {
        let job = JobId(*rest.next);
        *rest.next += 1;
        let operation = links.first().and_then(Descriptor::operation);
        let queue = self.id();
        let pieces = links.iter().flat_map(Descriptor::pieces).collect();
        let label = Label {
            slot: None,
            frame: Some(job.0 as u32),
        };
        port.declare(Declaration::Accepted {
            job,
            queue,
            label,
            pieces,
        });
        self.work = Some(Work {
            job,
            number: job.0 as u32,
            operation: operation.unwrap_or(Operation::Receive),
            links,
            parts: Vec::new(),
            part: 0,
            over: 0,
            begun: false,
            due: port.host.now() + self.pace(),
            check: UNCHECKED,
            moved: 0,
            of_link: 0,
            told: false,
        });
    }

    fn pace(&self) -> Duration {
        Duration::from_micros(self.pace.into())
    }

    fn work_on(&mut self, mut work: Work, rest: &mut Rest<'_>, port: &mut Port<'_>) -> Next {
        if port.host.now() < work.due {
            let due = work.due;
            self.work = Some(work);
            return Next::At(due);
        }
        if !work.begun {
            let Some(parts) = work.plan(port) else {
                self.finish(work, false, rest, port);
                return Next::Again;
            };
            work.parts = parts;
            work.begun = true;
            port.declare(work.begins(self.id()));
        }
        if let Some(part) = work.parts.get(work.part).copied() {
            let last = work.part + 1 == work.parts.len();
            let early = rest.options.fault == Some(Fault::EarlyDone)
                && work.operation == Operation::Transmit
                && work.parts.len() > 1;
            if last && early && !work.told {
                work.told = true;
                self.complete(&mut work, true, rest, port);
                self.work = Some(work);
                return Next::Again;
            }
            if !work.move_part(&part, self.index, port) {
                self.finish(work, false, rest, port);
                return Next::Again;
            }
            work.part += 1;
        }
        let next = work.parts.get(work.part);
        if next.is_none() {
            self.finish(work, true, rest, port);
            return Next::Again;
        }
        if next.is_some_and(|next| next.link != work.over) {
            self.write_back(&mut work, false, port);
            work.due = port.host.now() + self.pace();
        }
        self.work = Some(work);
        Next::Again
    }

    /// The job is over, well or not.
    fn finish(&mut self, mut work: Work, well: bool, rest: &mut Rest<'_>, port: &mut Port<'_>) {
        if !work.told {
            self.complete(&mut work, well, rest, port);
        }
    }

    /// Writes back what was not yet, and tells that the job is over.
    fn complete(&mut self, work: &mut Work, well: bool, rest: &mut Rest<'_>, port: &mut Port<'_>) {
        if !work.begun {
            // Its list was refused: nothing is known of its pieces.
            work.begun = true;
            port.declare(work.begins(self.id()));
        }
        let moved = match work.operation {
            Operation::Copy => work.moved / 2,
            _ => work.moved,
        };
        while work.over < work.links.len() {
            self.write_back(work, !well, port);
        }
        self.out.push_back((work.job, self.head));
        let (owed, send) = self.interrupt(rest, port);
        port.declare(match well {
            true => Declaration::done(work.job, moved.into(), Some(owed)),
            false => Declaration::failed(work.job, "the bus refused it", Some(owed)),
        });
        if send {
            port.host.raise(owed.vector);
        }
    }

    /// Writes the next descriptor of a job back, and the status block.
    fn write_back(&mut self, work: &mut Work, error: bool, port: &mut Port<'_>) {
        let Some(descriptor) = work.links.get(work.over) else {
            return;
        };
        let kept = match self.shape.mode() {
            MODE_PHASE => descriptor.control,
            _ => descriptor.control & !VALID,
        };
        let control = kept | DONE | if error { ERROR } else { 0 };
        let moved = match work.operation {
            Operation::Copy => work.of_link / 2,
            _ => work.of_link,
        };
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&work.number.to_le_bytes());
        bytes[4..8].copy_from_slice(&work.check.to_le_bytes());
        bytes[8..].copy_from_slice(&moved.to_le_bytes());
        let (at, tag) = (self.at(self.head), Tag::job(work.job));
        let tag = tag.role(Role::Descriptor);
        // What is refused is not written: the driver sees a descriptor that is never over.
        let _ = port.host.dma_write(at, &bytes, tag);
        let _ = port
            .host
            .dma_write(at.wrapping_add(12), &control.to_le_bytes(), tag);
        let (head, around) = self.behind(self.head);
        (self.head, self.phase) = (head, self.phase != around);
        self.written_back = self.written_back.wrapping_add(1);
        work.over += 1;
        work.of_link = 0;
        if self.block != 0 {
            let mut bytes = [0; 8];
            bytes[..4].copy_from_slice(&work.number.to_le_bytes());
            bytes[4..].copy_from_slice(&self.written_back.to_le_bytes());
            let tag = Tag::job(work.job).role(Role::Status);
            let _ = port.host.dma_write(self.block, &bytes, tag);
        }
    }

    /// A job is over: what is owed for it, and whether it is to be sent now.
    fn interrupt(&mut self, rest: &mut Rest<'_>, port: &mut Port<'_>) -> (Owed, bool) {
        self.waiting = self.waiting.saturating_add(1);
        if self.waiting >= self.coalesce.count().max(1) {
            self.waiting = 0;
            self.timer = None;
            return rest.causes.happened(self.index);
        }
        let vector = rest.causes.vector(self.vector);
        let time = Duration::from_micros(self.coalesce.microseconds().into());
        if time.is_zero() {
            return (Owed::perhaps(vector), false);
        }
        let now = port.host.now();
        let due = *self.timer.get_or_insert(now + time);
        match rest.causes.is_masked(self.index) {
            true => (Owed::perhaps(vector), false),
            false => (Owed::within(vector, due.saturating_sub(now)), false),
        }
    }

    /// The time of those that wait is over; tells when it will be.
    fn coalesced(&mut self, rest: &mut Rest<'_>, port: &mut Port<'_>) -> Next {
        let Some(due) = self.timer else {
            return Next::Idle;
        };
        if rest.options.fault == Some(Fault::LostCoalesced) {
            return Next::Idle;
        }
        if port.host.now() < due {
            return Next::At(due);
        }
        self.tell_now(rest, port);
        Next::Idle
    }

    /// Interrupts for those that wait.
    fn tell_now(&mut self, rest: &mut Rest<'_>, port: &mut Port<'_>) {
        self.waiting = 0;
        self.timer = None;
        let (owed, send) = rest.causes.happened(self.index);
        if send {
            port.host.raise(owed.vector);
        }
    }
}
