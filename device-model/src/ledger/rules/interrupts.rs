// SPDX-License-Identifier: MIT OR Apache-2.0

//! Interrupts: each is owed to a cause, and each cause that is owed one gets it. By vector.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::super::class::Class;
use super::super::job::Job;
use super::super::{Ledger, Violation};
use crate::contract::{JobId, Owed, Promise, QueueId, Vector};
use crate::journal::DriverState;

/// Most vectors that a function has.
const MOST_VECTORS: usize = 2048;
/// Most queues of a vector that are told apart.
const MOST_QUEUES: usize = 256;
/// How much longer than promised an interrupt may take: the card's own clock waits for a busy host.
const GRACE_NS: u64 = 1_000_000_000;
/// How long a completion was told and not taken before anybody may wonder.
const NOT_TAKEN_NS: u64 = 1_000_000_000;

/// An interrupt that has to come.
#[derive(Clone, Debug)]
struct Due {
    job: Option<JobId>,
    queue: Option<QueueId>,
    sequence: u64,
    time_ns: u64,
    /// When it is too late; `None`: as soon as something else happens in its queue.
    deadline_ns: Option<u64>,
    why: Cow<'static, str>,
}

/// What is known of a vector.
#[derive(Clone, Debug, Default)]
struct Line {
    /// It has a cause that no interrupt told of.
    cause: bool,
    /// Queues of which one may come, sooner or later; `None`: of no queue, or of one of too many. Another cause's
    /// interrupt does not take that away: a timer that runs, runs.
    may: BTreeSet<Option<QueueId>>,
    /// Its interrupt is held until the bus may be mastered.
    held: bool,
    now: Option<Due>,
    later: Option<Due>,
}

impl Line {
    /// Its interrupt came. True: it had to, or might. One that is held comes besides.
    fn pay(&mut self) -> bool {
        let Self {
            cause,
            held,
            mut may,
            ..
        } = std::mem::take(self);
        let expected = cause || held || may.pop_first().is_some();
        (self.may, self.held) = (may, held && cause);
        expected
    }

    /// Its interrupt is held. What may come later comes besides, unless it was that.
    fn hold(&mut self) {
        self.pay();
        self.held = true;
    }
}

/// What is known of interrupts.
#[derive(Debug, Default)]
pub(in super::super) struct Interrupts {
    lines: BTreeMap<Vector, Line>,
    /// Vectors of which an interrupt is due at once.
    due: BTreeSet<Vector>,
    /// Whether all are unmasked, and those that differ.
    unmasked: bool,
    differ: BTreeMap<Vector, bool>,
    /// Some vector was unmasked since the reset.
    ever: bool,
}

impl Interrupts {
    /// The function was reset: nothing is owed, and all is masked.
    pub(in super::super) fn reset(&mut self) {
        *self = Self::default();
    }

    pub(in super::super) fn mask(&mut self, vector: Option<Vector>, masked: bool) {
        self.ever |= !masked;
        let of_it = |own: &Vector| vector.is_none_or(|vector| vector == *own);
        for (_, line) in self
            .lines
            .iter_mut()
            .filter(|(own, _)| masked && of_it(own))
        {
            line.later = None; // it comes, if at all, when it is unmasked, and is told then
        }
        match vector {
            None => {
                self.unmasked = !masked;
                self.differ.clear();
            }
            Some(vector)
                if self.differ.len() < MOST_VECTORS || self.differ.contains_key(&vector) =>
            {
                self.differ.insert(vector, !masked);
            }
            Some(_) => {}
        }
        if masked {
            self.waive(|of, _| vector.is_none_or(|vector| vector == of));
        }
    }

    /// What was to come some time later need not come any more: it was masked, or its queue stopped. It still may.
    fn waive(&mut self, which: impl Fn(Vector, &Due) -> bool) {
        for (&vector, line) in &mut self.lines {
            line.later.take_if(|due| which(vector, due));
        }
    }

    /// A queue is idle, or all are.
    pub(in super::super) fn idle(&mut self, queue: Option<QueueId>) {
        self.waive(|_, due| queue.is_none() || due.queue == queue);
    }

    fn is_unmasked(&self, vector: Vector) -> bool {
        self.differ.get(&vector).copied().unwrap_or(self.unmasked)
    }

    fn line(&mut self, vector: Vector) -> Option<&mut Line> {
        let room = self.lines.len() < MOST_VECTORS || self.lines.contains_key(&vector);
        room.then(|| self.lines.entry(vector).or_default())
    }
}

impl Ledger {
    /// A vector has a cause.
    pub(in super::super) fn owe(
        &mut self,
        owed: Owed,
        job: Option<JobId>,
        queue: Option<QueueId>,
        early: bool,
        why: &str,
    ) {
        if !self.declares.interrupts {
            return;
        }
        let due = |deadline_ns| Due {
            job,
            queue,
            sequence: self.sequence,
            time_ns: self.time_ns,
            deadline_ns,
            why: why.chars().take(200).collect::<String>().into(),
        };
        let now = (owed.promise == Promise::Now && !early).then(|| due(None));
        let later = match owed.promise {
            Promise::Within(time) => {
                let deadline = self.time_ns.saturating_add(time).saturating_add(GRACE_NS);
                Some(due(Some(deadline)))
            }
            Promise::Now | Promise::Never => None,
        };
        if let Some(line) = self.interrupts.line(owed.vector) {
            match owed.promise {
                Promise::Now => {
                    line.cause = true;
                    line.may.remove(&queue); // this one tells of those, too
                }
                Promise::Within(_) | Promise::Never => {
                    let room = line.may.len() < MOST_QUEUES;
                    line.may.insert(queue.filter(|_| room));
                }
            }
            line.now = line.now.take().or(now);
            line.later = line.later.take().or(later);
            if line.now.is_some() {
                self.interrupts.due.insert(owed.vector);
            }
        }
    }

    /// Class 43: of a queue, or of all, something else happens, and an interrupt that was to come at once has not.
    pub(in super::super) fn not_interrupted(&mut self, queue: Option<QueueId>) {
        let ends = |due: &Due| queue.is_none() || due.queue.is_none() || due.queue == queue;
        let Interrupts { lines, due, .. } = &mut self.interrupts;
        let mut lost = Vec::new();
        due.retain(|vector| {
            let Some(line) = lines.get_mut(vector) else {
                return false;
            };
            match line.now.take_if(|due| ends(due)) {
                Some(due) => lost.push((*vector, due)),
                None => return line.now.is_some(),
            }
            false
        });
        for (vector, due) in lost {
            let violation = self.lost(vector, &due);
            self.report(violation);
        }
    }

    /// Class 43: an interrupt that was to come within some time has not.
    pub(in super::super) fn overdue(&mut self) {
        let now = self.time_ns;
        let late = |due: &Due| due.deadline_ns.is_some_and(|deadline| deadline < now);
        let lines = self.interrupts.lines.iter_mut();
        let lost: Vec<_> = lines
            .filter(|(_, line)| line.later.as_ref().is_some_and(late))
            .filter_map(|(vector, line)| Some((*vector, line.later.take()?)))
            .collect();
        for (vector, due) in lost {
            let violation = self.lost(vector, &due);
            self.report(violation);
        }
    }

    fn lost(&self, vector: Vector, due: &Due) -> Violation {
        let job = due
            .job
            .and_then(|number| Some((number, self.jobs.get(number)?)));
        let what = match job {
            Some((_, job)) => format!("{job} was completed"),
            None => format!("there was a cause ({})", due.why),
        };
        let when = match due.deadline_ns {
            Some(_) => "its interrupt was to come some time later",
            None => "its interrupt is enabled",
        };
        let text = format!("{what}, {when}, and vector {} was never raised", vector.0);
        let mut violation = match job {
            Some((number, job)) => self.of_job(Class::LostInterrupt, number, job, text),
            None => self.violation(Class::LostInterrupt, text),
        };
        (violation.sequence, violation.time_ns) = (due.sequence, due.time_ns);
        violation
    }

    /// An interrupt was raised, or added to the line: it pays what the vector owes. Classes 25, 42, 44 and 46.
    pub(in super::super) fn interrupt(&mut self, vector: u16) {
        let vector = Vector(vector);
        let expected = self.interrupts.line(vector).is_none_or(Line::pay);
        let late = self.witness.attached && self.after_disable(vector);
        let told = self.witness.attached && self.declares.interrupts;
        if late || !told || expected {
            return;
        }
        let bound = self.witness.life.state == Some(DriverState::Bound);
        if self.declares.masks && !self.interrupts.ever && !bound {
            let text = format!(
                "vector {} was raised before the driver enabled any interrupt",
                vector.0
            );
            let violation = self.violation(Class::ProbeInterrupt, text);
            return self.report(violation);
        }
        let working = self.jobs.working().next();
        if let Some((number, job)) = working.map(|(number, job)| (number, job.clone())) {
            let text = format!(
                "vector {} was raised while job {number} was in work, and nothing was to be told",
                vector.0
            );
            let violation = self.of_job(Class::InterruptBeforeData, number, &job, text);
            if let Some(job) = self.jobs.get_mut(number) {
                job.early = true;
            }
            return self.report(violation);
        }
        let text = format!(
            "vector {} was raised, and nothing had happened since the last time",
            vector.0
        );
        let violation = self.violation(Class::SpuriousInterrupt, text);
        self.report(violation);
    }

    /// An interrupt is held back until the bus may be mastered.
    pub(in super::super) fn interrupt_held(&mut self, vector: u16) {
        let vector = Vector(vector);
        if let Some(line) = self.interrupts.line(vector) {
            line.hold();
        }
        if self.witness.attached {
            self.after_disable(vector);
        }
    }

    /// Class 25. True: it is.
    fn after_disable(&mut self, vector: Vector) -> bool {
        let enabled = self.declares.masks && self.interrupts.is_unmasked(vector);
        let off = self.card.master() == Some(false);
        let late = self.witness.life.is_ending() && off && enabled;
        if late {
            let text = format!(
                "vector {} has a cause after the driver took bus mastering away, and it had not disabled the interrupt",
                vector.0
            );
            let violation = self.violation(Class::InterruptAfterDisable, text);
            self.report(violation);
        }
        late
    }

    /// A hint of class 43: a completion was told, and nobody took it. A driver that hangs waits for it; one that stops
    /// early has no use for it.
    pub(in super::super) fn not_taken(&mut self) {
        if !self.declares.handover || self.blind {
            return;
        }
        let time = self.time_ns;
        let waits = |job: &Job| time.saturating_sub(job.done_ns) > NOT_TAKEN_NS;
        let Some((number, job)) = self.jobs.untaken().filter(|(_, job)| waits(job)) else {
            return;
        };
        let seconds = time.saturating_sub(job.done_ns) / 1_000_000_000;
        let text = format!(
            "{job} was completed {seconds} s before, and the driver never took it: if it waits, it missed this"
        );
        let hint = self.of_job(Class::LostInterrupt, number, &job.clone(), text);
        self.hint(hint);
    }
}
