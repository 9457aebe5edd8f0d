// SPDX-License-Identifier: MIT OR Apache-2.0

//! A driver's life with its device: what it takes back while the card works, and what it leaves behind.

use super::super::class::Class;
use super::super::held::{Brief, Held};
use super::super::job::{Job, State};
use super::super::verdict;
use super::super::witness::{Due, Elsewhere, Life};
use super::super::{Ledger, MOST_REASONS, Range, Violation};
use super::access::WILD;
use crate::contract::{JobId, QueueId, Reset};
use crate::journal::{DriverState, Kind};

impl Ledger {
    /// The driver's life goes on.
    pub(in super::super) fn driver(&mut self, driver: &str, state: DriverState) {
        match state {
            DriverState::Binding => {
                // What a user still holds of vb2's buffers is freed when he lets go of it, perhaps in the next driver's time.
                self.leaks_but_of_users();
                self.witness.life = Life {
                    driver: driver.chars().take(64).collect(),
                    ..Life::default()
                };
            }
            DriverState::Unbound => {
                self.overdue();
                self.not_taken();
                self.removed_while_running();
                self.left_mastering();
                self.leaks_at_unbound();
            }
            // What the kernel itself takes back for the driver comes right after this.
            DriverState::NotBound => {
                self.given_up();
                self.expect_no_lends();
            }
            DriverState::Bound => self.witness.life.unlooked.clear(),
            DriverState::Unbinding => {}
        }
        self.witness.life.told_gone = false;
        self.witness.life.state = Some(state);
    }

    /// Events of the witness are missing.
    pub(in super::super) fn gap(&mut self, expected: u64, got: u64) {
        let last = got.wrapping_sub(1);
        self.incomplete(format!(
            "the witness's events from number {expected} to {last} are missing"
        ));
    }

    /// The machine asked for something that was refused; of the witness, that is an event that is not known.
    pub(in super::super) fn refused(&mut self, what: &str) {
        if let Some(what) = what.strip_prefix("witness: ")
            && self.witness.sees()
        {
            self.incomplete(format!("an event of the witness was refused, {what}"));
        }
    }

    fn incomplete(&mut self, why: String) {
        self.not_judged(why + ": what was lent since is not known");
        self.witness.blind = true;
    }

    /// A call was made that the witness does not hear: from now on nothing is concluded from what is not lent, unless it
    /// concerns only `others`.
    pub(in super::super) fn unheard(&mut self, what: &str, others: bool) {
        self.witness.partial |= !others;
        let unheard = &mut self.found.unheard;
        let what: String = what.chars().take(200).collect();
        if unheard.len() < MOST_REASONS && !unheard.contains(&what) {
            unheard.push(what);
        }
    }

    /// What another device has lent to it.
    pub(in super::super) fn elsewhere(&mut self, kind: &Kind) {
        if let Kind::Elsewhere {
            device,
            driver,
            address,
            length,
            ended,
            ..
        } = kind
        {
            let name = |name: &str| name.chars().take(64).collect();
            let range = Range {
                start: *address,
                length: *length,
            };
            let to = Elsewhere {
                device: name(device),
                driver: name(driver),
                ended: *ended,
            };
            self.witness.lent_elsewhere(range, to);
        }
    }

    /// Class 60: what nothing explained was lent, but to another device.
    pub(in super::super) fn found_elsewhere(&mut self) {
        for violation in &mut self.found.violations {
            if violation.class.is_some() || violation.name != WILD {
                continue;
            }
            let range = Range {
                start: violation.address,
                length: violation.length.max(1),
            };
            let lent = self.witness.elsewhere.touching(range);
            // What is lent now explains it better than what was.
            let Some((lend, to)) = lent.min_by_key(|(_, to)| to.ended) else {
                continue;
            };
            let driver = match to.driver.as_str() {
                "" => String::new(),
                driver => format!(" ({driver})"),
            };
            let had = if to.ended { "was" } else { "is" };
            violation.class = Some(Class::LentToAnother);
            violation.name = Class::LentToAnother.words().into();
            violation.text += &format!(
                ": it {had} lent, {} bytes at {:#x}, but to {}{driver}",
                lend.length, lend.start, to.device
            );
        }
    }

    /// The machine is gone, and with it the witness.
    pub(in super::super) fn disconnected(&mut self) {
        self.leaks_due();
        self.pool_leaks();
        if self.witness.attached {
            self.witness = Default::default();
        }
    }

    /// Classes 30, 31 and 36: a lend ended of a job that is not over; how far the card is with it does not matter. `by`
    /// ended it.
    pub(super) fn judge_return(&mut self, range: Range, held: Option<&Held>, by: Brief) {
        if !self.witness.sees() || self.card.is_quiet() {
            return;
        }
        let cut = self.jobs.touching(range).into_iter().filter_map(|number| {
            let job = self.jobs.get(number).filter(|job| job.blamed.is_none())?;
            let runs = match job.state {
                State::Begun => true,
                // It begins sooner or later, if its queue runs.
                State::Accepted => self.jobs.ran(job.queue),
                State::Done | State::Released => false,
            };
            (runs && self.is_cut_off(job, range)).then_some((number, job.state, job.queue))
        });
        let mut cut: Vec<_> = cut.collect();
        cut.sort_by_key(|&(number, state, _)| (state == State::Accepted, number));
        let Some(&(first, state, queue)) = cut.first() else {
            return;
        };
        let working = (state == State::Begun).then_some(first);
        let Some(blame) = self.taken_too_early(range, held, by, (working, queue)) else {
            return;
        };
        for (number, ..) in cut {
            if let Some(job) = self.jobs.get_mut(number) {
                job.blamed = Some(blame);
            }
        }
    }

    /// Reports that a lend ended that the card works on; once until that queue is idle.
    fn taken_too_early(
        &mut self,
        range: Range,
        held: Option<&Held>,
        by: Brief,
        (job, queue): (Option<JobId>, QueueId),
    ) -> Option<(Class, usize)> {
        let label = held.map_or("a buffer".to_owned(), Held::label);
        let delayed = self.card.delayed();
        let (class, why) = match delayed {
            Some(_) => (
                Class::UnflushedWrite,
                "and a register write of the driver's was still on its way",
            ),
            None if self.witness.life.is_ending() => (
                Class::RemovedWhileRunning,
                "while the driver was being removed",
            ),
            None => (
                Class::CancelMidTransfer,
                "and the driver had not stopped it",
            ),
        };
        let cut = self.jobs.queue(queue).cut;
        if let Some(cut) = cut.filter(|(cut, _)| *cut == class) {
            return Some(cut);
        }
        let what = match job {
            Some(job) => format!("job {job} was in work"),
            None => "the card ran, with this handed over".to_owned(),
        };
        let text = format!("{label} was taken back while {what}, {why}");
        let mut violation = self.of_call(class, by, text);
        let known = job.and_then(|number| Some((number, self.jobs.get(number)?)));
        if let Some((number, job)) = known {
            violation = verdict::of_job(violation, number, job);
        }
        let write = known.and_then(|(_, job)| job.register_write);
        (violation.address, violation.length) = (range.start, range.length);
        violation.lend = held.map(|held| held.near(range));
        let violation = self.with_write(violation, delayed.or(write));
        self.report(violation);
        let last = self.found.violations.len().checked_sub(1);
        let cut = last.map(|last| (class, last));
        self.jobs.queue(queue).cut = cut;
        cut
    }

    /// Whether a job's memory was in `range`, which is not lent any more, and is in no other lend.
    fn is_cut_off(&self, job: &Job, range: Range) -> bool {
        let mut pieces = job.pieces.iter().map(super::super::job::range);
        pieces.any(|piece| {
            let (start, length) = (piece.start, piece.length.max(1));
            let touches = range.overlaps(start, length);
            touches && !self.usable(Range { start, length })
        })
    }

    /// Class 31, too: the engine runs into what is lent, and remove is over.
    fn removed_while_running(&mut self) {
        if !self.witness.sees() || self.card.is_quiet() {
            return;
        }
        let lent = |job: &Job| self.witness.at(job.main().start).is_some();
        let mut working = self.jobs.working();
        let running = working.find(|(_, job)| job.blamed.is_none() && lent(job));
        let running = running.map(|(number, job)| (number, job.clone()));
        drop(working);
        if let Some((number, job)) = running {
            let text = format!("the driver was removed, and job {number} is in work");
            let violation = self.of_job(Class::RemovedWhileRunning, number, &job, text);
            self.blame(number, violation);
        }
    }

    /// Class 29 begins: the machine resets the whole card, as it does after an error on its link, while a driver is
    /// bound that has something lent. Whoever resets a card on purpose gives it its configuration space back.
    pub(in super::super) fn struck(&mut self, reset: Reset) {
        let life = &self.witness.life;
        let bound = life.state == Some(DriverState::Bound) && !self.card.kernel_down();
        if reset != Reset::Device || !bound || !self.witness.sees() {
            return;
        }
        let first = self.witness.alive().min_by_key(|&(number, _)| number);
        let Some((_, held)) = first else {
            return;
        };
        let text = format!(
            "the card was reset under the driver {}, which had {} lends, and it was never set up again",
            life.driver,
            self.witness.alive().count()
        );
        let violation = self.of_held(Class::NoErrorHandlers, held, held.range, text);
        self.witness.life.struck = Some(Box::new(violation));
    }

    /// Class 29: nobody set up again what was reset.
    pub(in super::super) fn not_recovered(&mut self) {
        if let Some(violation) = self.witness.life.struck.take() {
            self.report(*violation);
        }
    }

    /// Class 22: this driver switched bus mastering on and left it so.
    fn left_mastering(&mut self) {
        if self.witness.attached && self.witness.life.mastered && self.card.master() == Some(true) {
            let driver = &self.witness.life.driver;
            let text = format!("the driver {driver} was removed, and bus mastering is still on");
            let violation = self.violation(Class::LeftMastering, text);
            self.report(violation);
        }
    }

    /// What is alive now must not be when it is looked at next.
    fn expect_no_lends(&mut self) {
        self.witness.life.due = Some(Due {
            before: self.witness.next(),
            sequence: self.sequence,
            time_ns: self.time_ns,
            failed: self.witness.life.failed,
        });
    }

    /// Classes 52 and 53 when remove is over. A vb2 buffer may live on for as long as a user holds it.
    fn leaks_at_unbound(&mut self) {
        self.expect_no_lends();
        self.leaks_but_of_users();
    }

    fn leaks_but_of_users(&mut self) {
        let held_by_user = |held: &Held| self.witness.buffers.touching(held.range).next().is_some();
        let due = self.witness.life.due;
        let violation = due.and_then(|due| self.leak(due, |held| !held_by_user(held)));
        if let Some(violation) = violation {
            self.witness.life.due = None;
            self.leaked(due, violation);
        }
    }

    /// What was left behind is told once, however often the driver goes after that.
    fn leaked(&mut self, due: Option<Due>, violation: Violation) {
        self.witness.left = due.map_or(self.witness.left, |due| due.before);
        self.report(violation);
    }

    /// Classes 52 and 53 for what somebody else could still have given back.
    pub(in super::super) fn leaks_due(&mut self) {
        if let Some(due) = self.witness.life.due.take()
            && let Some(violation) = self.leak(due, |_| true)
        {
            self.leaked(Some(due), violation);
        }
    }

    fn leak(&self, due: Due, counts: impl Fn(&Held) -> bool) -> Option<Violation> {
        if !self.witness.sees() || self.witness.is_empty() {
            return None;
        }
        let mut left = (0u64, 0u64);
        let mut first: Option<(u64, &Held)> = None;
        for (number, held) in self.witness.alive() {
            if (self.witness.left..due.before).contains(&number) && counts(held) {
                left = (left.0 + 1, left.1.saturating_add(held.range.length));
                if first.is_none_or(|(first, _)| number < first) {
                    first = Some((number, held));
                }
            }
        }
        let (_, held) = first?;
        let (class, after) = match due.failed {
            true => (Class::PartialMapLeak, ", after a mapping had failed"),
            false => (Class::Leak, ""),
        };
        let text = format!(
            "the driver {} left {} lends of {} bytes behind{after}; the first is {}",
            self.witness.life.driver,
            left.0,
            left.1,
            held.label()
        );
        let mut violation = self.of_held(class, held, held.range, text);
        (violation.sequence, violation.time_ns) = (due.sequence, due.time_ns);
        Some(violation)
    }

    /// Class 53 for the pool's memory that was mapped for this card.
    pub(in super::super) fn pool_leaks(&mut self) {
        if !self.witness.sees() || self.witness.life.state != Some(DriverState::Unbound) {
            return;
        }
        let ours = || self.witness.pool.iter().filter(|(_, pooled)| pooled.ours);
        let left = ours().count();
        let first = ours().min_by_key(|(range, pooled)| (pooled.by.number, range.start));
        if let Some((range, pooled)) = first {
            let text = format!(
                "the driver {} left {left} pieces of the pool's memory behind; the first has {} bytes at {:#x}",
                self.witness.life.driver, range.length, range.start
            );
            let mut violation = self.of_call(Class::Leak, pooled.by, text);
            (violation.address, violation.length) = (range.start, range.length);
            self.report(violation);
        }
    }
}
