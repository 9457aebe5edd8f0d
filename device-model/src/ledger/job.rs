// SPDX-License-Identifier: MIT OR Apache-2.0

//! Jobs, as the card declares them: which memory each is about, whose it is, and how far it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::book::{Book, Way};
use super::bounded::{Bounded, Recent};
use super::class::Class;
use super::{MOST_REMEMBERED, Range};
use crate::contract::declare::MOST_PIECES;
use crate::contract::{Direction, JobId, Label, Piece, QueueId, Role};

/// Most queues that are known apart.
const MOST_QUEUES: usize = 4096;
/// Most pieces of all jobs that are remembered together.
const MOST_PIECES_IN_ALL: usize = 1 << 20;
/// Of jobs that touch a range, how many are looked at.
const LOOKED_AT: usize = 64;

/// How far a job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// It was handed over, and has not begun.
    #[default]
    Accepted,
    /// It is in work.
    Begun,
    /// It was reported as over.
    Done,
    /// It is the driver's again: taken back, stopped or reset.
    Released,
}

/// What is known of a job.
#[derive(Clone, Debug, Default)]
pub(super) struct Job {
    pub(super) queue: QueueId,
    pub(super) label: Label,
    pub(super) pieces: Arc<[Piece]>,
    /// Their memory, ascending, whatever it is for and whichever way it goes; pieces that touch are one.
    pub(super) spans: Arc<[Range]>,
    pub(super) state: State,
    pub(super) register_write: Option<u64>,
    /// When it was told of first: since then what it is made of is the card's.
    pub(super) told_ns: u64,
    /// Journal sequence number of the last that was told of it before it was done.
    pub(super) touched: u64,
    pub(super) first_write: Option<u64>,
    /// First address after its last write.
    pub(super) next: Option<u64>,
    /// Its last write went on where the one before had ended.
    pub(super) continues: bool,
    pub(super) written: u64,
    pub(super) read: u64,
    /// Journal sequence number of its completion.
    pub(super) done: Option<u64>,
    /// When that was.
    pub(super) done_ns: u64,
    /// Its interrupt came before its end.
    pub(super) early: bool,
    /// What was wrong with it as a whole: a class, and which violation said so.
    pub(super) blamed: Option<(Class, usize)>,
}

impl Job {
    pub(super) fn new(queue: QueueId, label: Label, pieces: &[Piece]) -> Self {
        let sense = pieces.iter().all(|piece| piece.length > 0) && pieces.len() <= MOST_PIECES;
        let spans = match sense {
            true => spans(pieces),
            false => Vec::new(), // nothing is known of where it goes
        };
        Self {
            queue,
            label,
            pieces: pieces.iter().copied().take(MOST_PIECES).collect(),
            spans: spans.into(),
            ..Self::default()
        }
    }

    /// Its payload, in order.
    pub(super) fn payload(&self) -> impl Iterator<Item = &Piece> {
        self.pieces
            .iter()
            .filter(|piece| piece.role == Role::Payload)
    }

    /// Whether it writes payload.
    pub(super) fn writes(&self) -> bool {
        self.payload().any(|piece| piece.way == Direction::Write)
    }

    /// The first piece of what it is about: the payload that it writes, or else that it reads.
    pub(super) fn main(&self) -> Range {
        let written = self.payload().find(|piece| piece.way == Direction::Write);
        written
            .or(self.payload().next())
            .or(self.pieces.first())
            .map_or_else(Range::default, range)
    }

    /// Bytes of payload that it was programmed to move the way that it is about.
    pub(super) fn size(&self) -> u64 {
        let way = match self.writes() {
            true => Direction::Write,
            false => Direction::Read,
        };
        let pieces = self.payload().filter(|piece| piece.way == way);
        pieces.fold(0, |sum, piece| sum.saturating_add(piece.length))
    }

    /// Whether it is known where it goes.
    pub(super) fn is_placed(&self) -> bool {
        !self.spans.is_empty()
    }

    /// Whether all of a range is in its memory.
    pub(super) fn contains(&self, address: u64, length: u64) -> bool {
        let after = self.spans.partition_point(|span| span.start <= address);
        let span = after.checked_sub(1).and_then(|at| self.spans.get(at));
        span.is_some_and(|span| span.contains(address, length))
    }

    /// The piece of payload that it writes and that lies nearest to a range.
    pub(super) fn nearest(&self, to: Range) -> Range {
        let written = self.payload().filter(|piece| piece.way == Direction::Write);
        let nearest = written
            .map(range)
            .min_by_key(|piece| piece.distance(to.start, to.length));
        nearest.unwrap_or_else(|| self.main())
    }

    /// How far its first write lies above the first byte that it was programmed to write.
    pub(super) fn displacement(&self) -> i128 {
        let base = self.main().start;
        i128::from(self.first_write.unwrap_or(base)) - i128::from(base)
    }
}

pub(super) const fn range(piece: &Piece) -> Range {
    Range {
        start: piece.address,
        length: piece.length,
    }
}

/// The memory of pieces, ascending; those that touch are one.
fn spans(pieces: &[Piece]) -> Vec<Range> {
    let mut ranges: Vec<_> = pieces.iter().map(range).collect();
    ranges.sort_unstable_by_key(|range| range.start);
    let mut spans: Vec<Range> = Vec::new();
    for range in ranges {
        match spans.last_mut() {
            Some(last) if last.end() >= range.start => {
                last.length = last.end().max(range.end()) - last.start;
            }
            _ => spans.push(range),
        }
    }
    spans
}

/// The card said that no byte follows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silence {
    /// Journal sequence number at which it did.
    pub(super) since: u64,
    pub(super) register_write: Option<u64>,
    /// "stop" or "reset".
    pub(super) why: &'static str,
}

/// What is known of a queue.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    pub(super) silence: Option<Silence>,
    /// It began a job since it was idle.
    pub(super) ran: bool,
    /// What was taken back since: a class, and which violation says so.
    pub(super) cut: Option<(Class, usize)>,
}

/// All jobs; see the module. Bounded, whatever a card tells.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    map: Recent<JobId, Job, MOST_REMEMBERED>,
    /// Pieces of all of them.
    pieces: usize,
    /// The last job of each slot.
    slots: Bounded<u32, JobId, MOST_REMEMBERED>,
    /// Jobs that are the card's.
    open: BTreeSet<(QueueId, JobId)>,
    /// Those of them that are in work.
    begun: BTreeSet<JobId>,
    /// Those that were reported as over, by when that was.
    done: BTreeSet<(u64, JobId)>,
    /// Their memory.
    cards: Book,
    /// Memory of the jobs that the driver took back, until their slot is used again.
    drivers: Book,
    queues: BTreeMap<QueueId, Queue>,
    /// What was said of all queues.
    silence: Option<Silence>,
}

impl Jobs {
    pub(super) fn get(&self, number: JobId) -> Option<&Job> {
        self.map.get(number)
    }

    pub(super) fn get_mut(&mut self, number: JobId) -> Option<&mut Job> {
        self.map.get_mut(number)
    }

    /// Enters a job, or what more is known of it.
    pub(super) fn enter(&mut self, number: JobId, job: Job) {
        self.forget(number);
        if let Some(slot) = job.label.slot {
            self.reuse(slot, number);
        }
        for span in job.spans.iter() {
            self.cards.insert(*span, number.0, true, true);
        }
        self.open.insert((job.queue, number));
        if job.state == State::Begun {
            self.begun.insert(number);
        }
        self.pieces += job.pieces.len();
        if let Some((gone, job)) = self.map.insert(number, job) {
            self.strike(gone, &job);
        }
        while self.pieces > MOST_PIECES_IN_ALL
            && let Some((gone, job)) = self.map.pop()
        {
            self.strike(gone, &job);
        }
    }

    /// A slot serves another job: where the last one went does not matter any more.
    fn reuse(&mut self, slot: u32, number: JobId) {
        let before = self
            .slots
            .get(slot)
            .copied()
            .filter(|before| *before != number);
        self.slots.insert(slot, number);
        if let Some(job) = before.and_then(|before| self.map.get(before).cloned().zip(Some(before)))
        {
            let (job, before) = job;
            for span in job.spans.iter() {
                self.drivers.remove(span.start, before.0);
            }
        }
    }

    fn forget(&mut self, number: JobId) {
        if let Some(job) = self.map.remove(number) {
            self.strike(number, &job);
        }
    }

    fn strike(&mut self, number: JobId, job: &Job) {
        self.close(number, job.queue, job.done_ns);
        self.pieces -= job.pieces.len();
        for span in job.spans.iter() {
            self.cards.remove(span.start, number.0);
            self.drivers.remove(span.start, number.0);
        }
    }

    fn close(&mut self, number: JobId, queue: QueueId, done_ns: u64) {
        self.open.remove(&(queue, number));
        self.begun.remove(&number);
        self.done.remove(&(done_ns, number));
    }

    /// A job is the driver's again.
    pub(super) fn release(&mut self, number: JobId) {
        if let Some((queue, done_ns)) = self.map.get(number).map(|job| (job.queue, job.done_ns)) {
            self.close(number, queue, done_ns);
        }
        let slot = self.map.get(number).and_then(|job| job.label.slot);
        let current = slot.is_some_and(|slot| self.slots.get(slot) == Some(&number));
        let Some(job) = self.map.get_mut(number) else {
            return;
        };
        job.state = State::Released;
        for span in job.spans.iter() {
            self.cards.remove(span.start, number.0);
            if current {
                self.drivers.remove(span.start, number.0);
                self.drivers.insert(*span, number.0, true, true);
            }
        }
    }

    /// A job was reported as over. Where nobody takes jobs back, it is the driver's.
    pub(super) fn done(&mut self, number: JobId, at: (u64, u64), handover: bool) {
        let Some(job) = self.map.get_mut(number) else {
            return;
        };
        let (sequence, time_ns) = at;
        self.done.remove(&(job.done_ns, number));
        (job.done, job.done_ns) = (Some(sequence), time_ns);
        self.begun.remove(&number);
        if self.open.contains(&(job.queue, number)) {
            self.done.insert((time_ns, number));
            job.state = State::Done;
        }
        if !handover {
            self.release(number);
            if let Some(job) = self.map.get_mut(number) {
                job.state = State::Done;
            }
        }
    }

    /// No byte follows, of a queue or of all: what is not over is the driver's.
    pub(super) fn silent(&mut self, queue: Option<QueueId>, silence: Silence) {
        let first = queue.unwrap_or(QueueId(0));
        let last = queue.unwrap_or(QueueId(u16::MAX));
        let open = (first, JobId(0))..=(last, JobId(u64::MAX));
        let open: Vec<_> = self.open.range(open).map(|&(_, number)| number).collect();
        for number in open {
            self.release(number);
        }
        match queue {
            Some(queue) => {
                let queue = self.queue(queue);
                (queue.silence, queue.ran, queue.cut) = (Some(silence), false, None);
            }
            None => {
                self.silence = Some(silence);
                for queue in self.queues.values_mut() {
                    (queue.ran, queue.cut) = (false, None);
                }
            }
        }
    }

    /// What is known of a queue; one too many shares another's place.
    pub(super) fn queue(&mut self, queue: QueueId) -> &mut Queue {
        let known = self.queues.contains_key(&queue) || self.queues.len() < MOST_QUEUES;
        let queue = if known { queue } else { QueueId::default() };
        self.queues.entry(queue).or_default()
    }

    /// Whether a queue began a job since it was idle.
    pub(super) fn ran(&self, queue: QueueId) -> bool {
        self.queues.get(&queue).is_some_and(|queue| queue.ran)
    }

    /// When a queue was last said to be idle.
    pub(super) fn silence(&self, queue: QueueId) -> Option<Silence> {
        let own = self.queues.get(&queue).and_then(|queue| queue.silence);
        own.into_iter()
            .chain(self.silence)
            .max_by_key(|silence| silence.since)
    }

    /// The last job of a slot.
    pub(super) fn of_slot(&self, slot: u32) -> Option<&Job> {
        self.map.get(*self.slots.get(slot)?)
    }

    /// Jobs in work, and those handed over, that touch a range: the first few.
    pub(super) fn touching(&self, range: Range) -> Vec<JobId> {
        let mut numbers = Vec::new();
        self.cards.overlapping(range, Way::Any, |found| {
            let number = JobId(found.number);
            if numbers.last() != Some(&number) {
                numbers.push(number);
            }
            numbers.len() < LOOKED_AT
        });
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    /// Jobs that are in work.
    pub(super) fn working(&self) -> impl Iterator<Item = (JobId, &Job)> {
        let jobs = self.begun.iter();
        jobs.filter_map(|&number| Some((number, self.map.get(number)?)))
    }

    /// Of the jobs that were reported as over, and that the driver did not take back, the one that waits longest.
    pub(super) fn untaken(&self) -> Option<(JobId, &Job)> {
        let &(_, number) = self.done.first()?;
        Some((number, self.map.get(number)?))
    }

    /// Memory was lent anew: where it went before does not matter any more.
    pub(super) fn lent_anew(&mut self, range: Range) {
        for _ in 0..LOOKED_AT {
            let Some(found) = self.drivers.touching(range, Way::Any) else {
                return;
            };
            self.drivers.remove(found.range.start, found.number);
        }
    }

    /// The last job that the driver took back and whose memory shares a byte with `range`, if no job of the card's does.
    pub(super) fn taken_back(&self, range: Range) -> Option<&Job> {
        if self.cards.touching(range, Way::Any).is_some() {
            return None;
        }
        let found = self.drivers.touching(range, Way::Any)?;
        self.map.get(JobId(found.number))
    }
}

impl std::fmt::Display for Job {
    /// What it is called in a sentence.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.label.slot, self.label.frame) {
            (Some(slot), _) => write!(f, "slot {slot}"),
            (None, Some(frame)) => write!(f, "frame {frame}"),
            (None, None) => write!(
                f,
                "a job of {} bytes at {:#x}",
                self.size(),
                self.main().start
            ),
        }
    }
}
