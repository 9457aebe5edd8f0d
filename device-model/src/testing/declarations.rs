// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whether a device that is to be right keeps what it declares.

use std::collections::{BTreeMap, BTreeSet};

use crate::contract::{
    Declaration, Declares, Direction, IdleScope, JobId, Piece, Promise, QueueId, Role, Vector,
};
use crate::journal::Kind;

/// Checks what a device without a fault told and did, in order, against what it declares; on the journal of any test that
/// drives it. What it must keep, word by word, says [`crate::contract::declare`].
///
/// # Errors
/// The first thing that is not as declared, in words.
pub fn check_declarations<'a>(
    declares: &Declares,
    entries: impl IntoIterator<Item = &'a Kind>,
) -> Result<(), String> {
    let mut seen = Seen::default();
    for (number, kind) in entries.into_iter().enumerate() {
        let step = seen.step(declares, kind);
        step.map_err(|why| format!("entry {number}, {kind:?}: {why}"))?;
    }
    seen.at_once(None)
}

/// A job, as far as it was told.
#[derive(Debug, Default)]
struct Job {
    queue: QueueId,
    pieces: Vec<Piece>,
    begun: bool,
    over: bool,
    written: u64,
    read: u64,
}

impl Job {
    fn contains(&self, address: u64, length: u64, way: Direction) -> bool {
        let mut at = address;
        let end = address.saturating_add(length);
        // Pieces may touch.
        while at < end {
            let piece = self.pieces.iter().find(|piece| {
                piece.way == way && at >= piece.address && at - piece.address < piece.length
            });
            match piece {
                Some(piece) => at = piece.address.saturating_add(piece.length),
                None => return false,
            }
        }
        true
    }
}

#[derive(Debug, Default)]
struct Seen {
    jobs: BTreeMap<JobId, Job>,
    /// Vectors with a cause that no interrupt told of, and those whose interrupt must come at once.
    causes: BTreeSet<Vector>,
    /// Queues of which one may come later, besides, once each.
    may: BTreeMap<Vector, BTreeSet<Option<QueueId>>>,
    due: BTreeMap<Vector, Option<QueueId>>,
    /// Vectors that the machine holds back: it sends them once the bus may be mastered, and the device has no part in that.
    held: BTreeSet<Vector>,
    unmasked: bool,
    differ: BTreeMap<Vector, bool>,
}

impl Seen {
    fn step(&mut self, declares: &Declares, kind: &Kind) -> Result<(), String> {
        match kind {
            Kind::Access {
                direction,
                address,
                length,
                job: Some(job),
                role,
                outcome,
                ..
            } if declares.jobs => {
                let moved = if outcome.is_ok() { *length } else { 0 };
                self.accessed(*job, *direction, (*address, *length), *role, moved)
            }
            Kind::Declared { what, .. } => self.told(declares, what),
            Kind::Interrupt { vector } if self.is_sent(Vector(*vector)) => Ok(()),
            Kind::Interrupt { vector } => self.raised(declares, Vector(*vector)),
            Kind::InterruptHeld { vector } => {
                self.raised(declares, Vector(*vector))?;
                self.held.insert(Vector(*vector));
                Ok(())
            }
            Kind::Reset { .. } | Kind::Disconnected => {
                self.reset();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn accessed(
        &mut self,
        number: JobId,
        way: Direction,
        (address, length): (u64, u64),
        role: Role,
        moved: u64,
    ) -> Result<(), String> {
        let job = self.jobs.get_mut(&number);
        let Some(job) = job.filter(|job| job.begun || role.is_control()) else {
            return no("an access for a job that has not begun");
        };
        // Of one that was only accepted, it fetches what it is about.
        if role.is_control() {
            return Ok(());
        }
        if job.over {
            return no("an access for a job that is over");
        }
        if !job.contains(address, length, way) {
            return no("an access outside of its job's pieces");
        }
        match (role, way) {
            (Role::Payload, Direction::Write) => job.written += moved,
            (Role::Payload, Direction::Read) => job.read += moved,
            _ => {}
        }
        Ok(())
    }

    fn told(&mut self, declares: &Declares, what: &Declaration) -> Result<(), String> {
        match what {
            Declaration::Accepted { job, queue, .. } => {
                undeclared(declares.handover, "hand-over")?;
                if self.jobs.contains_key(job) {
                    return no("a job of that number was there before");
                }
                let queue = *queue;
                let accepted = Job {
                    queue,
                    ..Job::default()
                };
                self.jobs.insert(*job, accepted);
                Ok(())
            }
            Declaration::Begun {
                job, queue, pieces, ..
            } => {
                undeclared(declares.jobs, "jobs")?;
                self.at_once(Some(*queue))?;
                let known = self.jobs.get(job);
                if known.is_some_and(|job| job.begun || job.over) {
                    return no("it has begun before");
                }
                if known.is_none() && declares.handover {
                    return no("it was not accepted");
                }
                let begun = Job {
                    queue: *queue,
                    pieces: pieces.clone(),
                    begun: true,
                    ..Job::default()
                };
                self.jobs.insert(*job, begun);
                Ok(())
            }
            Declaration::Done {
                job,
                error,
                moved,
                owed,
            } => {
                undeclared(declares.jobs, "jobs")?;
                let Some(known) = self.jobs.get_mut(job).filter(|job| !job.over) else {
                    return no("it is over, or was never there");
                };
                let queue = known.queue;
                let writes = known
                    .pieces
                    .iter()
                    .any(|piece| piece.way == Direction::Write && piece.role == Role::Payload);
                let really = if writes { known.written } else { known.read };
                if error.is_none() && *moved > really {
                    return Err(format!("{moved} bytes are told, {really} were moved"));
                }
                known.over = true;
                self.at_once(Some(queue))?;
                if let Some(owed) = owed {
                    undeclared(declares.interrupts, "interrupts")?;
                    self.owed(owed.vector, owed.promise, Some(queue));
                }
                Ok(())
            }
            Declaration::Released { job } => {
                undeclared(declares.handover, "hand-over")?;
                match self.jobs.get(job) {
                    Some(job) if job.over => Ok(()),
                    _ => no("it was not over"),
                }
            }
            Declaration::Idle { queue } => {
                let may = match declares.idle {
                    IdleScope::Never => false,
                    IdleScope::Device => queue.is_none(),
                    IdleScope::Queue => true,
                };
                undeclared(may, "idle, or not of a queue")?;
                self.at_once(*queue)?;
                self.end(*queue);
                Ok(())
            }
            Declaration::Cause { owed, .. } => {
                undeclared(declares.interrupts, "interrupts")?;
                self.owed(owed.vector, owed.promise, None);
                Ok(())
            }
            Declaration::Masked { vector, masked } => {
                undeclared(declares.masks, "masks")?;
                match vector {
                    Some(vector) => {
                        self.differ.insert(*vector, !masked);
                    }
                    None => {
                        self.unmasked = !masked;
                        self.differ.clear();
                    }
                }
                Ok(())
            }
            Declaration::Reset => {
                self.reset();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn raised(&mut self, declares: &Declares, vector: Vector) -> Result<(), String> {
        self.due.remove(&vector);
        let unmasked = self.differ.get(&vector).copied().unwrap_or(self.unmasked);
        if declares.masks && !unmasked {
            return no("the vector is masked");
        }
        let mut later = || self.may.get_mut(&vector)?.pop_first();
        match !declares.interrupts || self.causes.remove(&vector) || later().is_some() {
            true => Ok(()),
            false => no("it has no cause"),
        }
    }

    /// What was held back is sent, unless the device has another cause by now.
    fn is_sent(&mut self, vector: Vector) -> bool {
        !self.causes.contains(&vector) && self.held.remove(&vector)
    }

    fn owed(&mut self, vector: Vector, promise: Promise, queue: Option<QueueId>) {
        let may = self.may.entry(vector).or_default();
        match promise {
            Promise::Now => {
                may.remove(&queue); // this one tells of those, too
                self.causes.insert(vector);
                self.due.insert(vector, queue);
            }
            Promise::Within(_) | Promise::Never => {
                may.insert(queue);
            }
        }
    }

    /// Something else is told of a queue, or of all: what was to come at once has come.
    fn at_once(&self, queue: Option<QueueId>) -> Result<(), String> {
        let ends = |of: &Option<QueueId>| queue.is_none() || of.is_none() || *of == queue;
        match self.due.iter().find(|(_, of)| ends(of)) {
            Some((vector, _)) => Err(format!("the interrupt of vector {} is missing", vector.0)),
            None => Ok(()),
        }
    }

    /// No byte of a queue, or of all, follows.
    fn end(&mut self, queue: Option<QueueId>) {
        let of_it = |job: &&mut Job| queue.is_none_or(|queue| queue == job.queue);
        for job in self.jobs.values_mut().filter(of_it) {
            (job.begun, job.over) = (true, true);
        }
    }

    fn reset(&mut self) {
        self.end(None);
        self.causes.clear();
        self.due.clear();
        self.may.clear();
        self.held.clear();
        self.unmasked = false;
        self.differ.clear();
    }
}

fn undeclared(declared: bool, what: &str) -> Result<(), String> {
    match declared {
        true => Ok(()),
        false => Err(format!("it does not declare {what}")),
    }
}

fn no(why: &str) -> Result<(), String> {
    Err(why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{Label, Owed};
    use crate::journal::{Bytes, Outcome};

    fn all() -> Declares {
        Declares {
            jobs: true,
            interrupts: true,
            masks: true,
            idle: IdleScope::Device,
            ..Declares::default()
        }
    }

    fn told(what: Declaration) -> Kind {
        let register_write = None;
        Kind::Declared {
            register_write,
            what,
        }
    }

    fn begun(job: u64) -> Kind {
        told(Declaration::Begun {
            job: JobId(job),
            queue: QueueId(0),
            label: Label::default(),
            pieces: vec![Piece::write(0x1000, 64), Piece::write(0x1040, 64)],
        })
    }

    fn writes(address: u64, length: u64) -> Kind {
        Kind::Access {
            direction: Direction::Write,
            address,
            length,
            job: Some(JobId(0)),
            slot: None,
            role: Role::Payload,
            outcome: Outcome::Ok,
            bytes: Bytes::default(),
        }
    }

    fn done(moved: u64) -> Kind {
        told(Declaration::done(
            JobId(0),
            moved,
            Some(Owed::now(Vector(0))),
        ))
    }

    fn unmasked() -> Kind {
        let (vector, masked) = (None, false);
        told(Declaration::Masked { vector, masked })
    }

    const RAISED: Kind = Kind::Interrupt { vector: 0 };

    #[test]
    fn a_device_that_keeps_its_word_is_content() {
        let idle = told(Declaration::Idle { queue: None });
        let kinds = [
            unmasked(),
            begun(0),
            writes(0x1000, 128),
            done(128),
            RAISED,
            idle,
        ];
        assert_eq!(check_declarations(&all(), &kinds), Ok(()));
    }

    /// Once each: what comes of it then is the machine's doing, and the next is the device's again.
    #[test]
    fn a_job_that_was_accepted_is_fetched_before_it_begins() {
        let declares = Declares {
            handover: true,
            ..all()
        };
        let (job, label) = (JobId(0), Label::default());
        let accepted = || {
            told(Declaration::Accepted {
                job,
                queue: QueueId(0),
                label,
                pieces: vec![Piece::read(0x4000, 64).role(Role::Descriptor)],
            })
        };
        let fetched = |role| Kind::Access {
            direction: Direction::Read,
            address: 0x4000,
            length: 64,
            job: Some(job),
            slot: None,
            role,
            outcome: Outcome::Ok,
            bytes: Bytes::default(),
        };
        let fetches = [accepted(), fetched(Role::Descriptor), begun(0)];
        assert_eq!(check_declarations(&declares, &fetches), Ok(()));
        let said = check_declarations(&declares, &[accepted(), fetched(Role::Payload)]);
        assert!(said.expect_err("too early").contains("has not begun"));
        let said = check_declarations(&declares, &[fetched(Role::Descriptor)]);
        assert!(said.expect_err("of none").contains("has not begun"));
    }

    #[test]
    fn one_that_may_come_later_comes_besides_once_for_each_queue() {
        let later = |job| {
            let owed = Owed::within(Vector(0), std::time::Duration::from_secs(1));
            told(Declaration::done(JobId(job), 0, Some(owed)))
        };
        let now = || told(Declaration::cause(Vector(0), "the link changed"));
        let mut kinds = vec![unmasked(), begun(0), later(0), begun(1), later(1), now()];
        kinds.extend([RAISED, RAISED]);
        assert_eq!(check_declarations(&all(), &kinds), Ok(()));
        kinds.push(RAISED);
        let said = check_declarations(&all(), &kinds).expect_err("once more");
        assert!(said.contains("no cause"), "{said}");
    }

    #[test]
    fn an_interrupt_that_was_held_back_comes_once_more() {
        const HELD: Kind = Kind::InterruptHeld { vector: 0 };
        let mut kinds = vec![unmasked(), begun(0), done(0), HELD];
        let (vector, masked) = (None, true);
        kinds.push(told(Declaration::Masked { vector, masked }));
        kinds.push(RAISED);
        assert_eq!(check_declarations(&all(), &kinds), Ok(()));
        kinds.extend([unmasked(), RAISED]);
        let said = check_declarations(&all(), &kinds).expect_err("twice");
        assert!(said.contains("no cause"), "{said}");
        let reset = told(Declaration::Reset);
        let kinds = [
            unmasked(),
            begun(0),
            done(0),
            HELD,
            reset,
            unmasked(),
            RAISED,
        ];
        let said = check_declarations(&all(), &kinds).expect_err("it was reset");
        assert!(said.contains("no cause"), "{said}");
    }

    /// What may come later of one queue comes besides what another cause sends by the same vector, and once.
    #[test]
    fn what_waits_is_not_paid_for_by_another_cause() {
        let vector = Vector(0);
        let waits = told(Declaration::done(JobId(0), 0, Some(Owed::perhaps(vector))));
        let cause = told(Declaration::cause(vector, "the link changed"));
        let mut kinds = vec![unmasked(), begun(0), waits, cause, RAISED, RAISED];
        assert_eq!(check_declarations(&all(), &kinds), Ok(()));
        kinds.push(RAISED);
        let said = check_declarations(&all(), &kinds).expect_err("one too many");
        assert!(said.contains("no cause"), "{said}");
    }

    #[test]
    fn whatever_it_does_not_keep_is_said() {
        let idle = || {
            told(Declaration::Idle {
                queue: Some(QueueId(0)),
            })
        };
        let cases: [(&[Kind], &str); 11] = [
            (&[writes(0x1000, 8)], "has not begun"),
            (&[begun(0), begun(0)], "has begun before"),
            (&[begun(0), writes(0x1000, 129)], "outside"),
            (&[begun(0), writes(0x1000, 64), done(128)], "64 were moved"),
            (&[begun(0), done(0)], "vector 0 is missing"),
            (&[begun(0), done(0), begun(1)], "vector 0 is missing"),
            (&[begun(0), done(0), RAISED], "masked"),
            (&[unmasked(), RAISED], "no cause"),
            (&[unmasked(), begun(0), done(0), RAISED, RAISED], "no cause"),
            (
                &[unmasked(), begun(0), done(0), RAISED, writes(0x1000, 8)],
                "is over",
            ),
            (&[idle()], "not of a queue"),
        ];
        for (kinds, why) in cases {
            let said = check_declarations(&all(), kinds).expect_err(why);
            assert!(said.contains(why), "{said}, and not {why}");
        }
        let said = check_declarations(&Declares::default(), &[begun(0)]);
        assert!(said.is_err(), "it does not declare jobs");
    }
}
