// SPDX-License-Identifier: MIT OR Apache-2.0

//! A driver's life with its device: what it takes back while the card works, and what it leaves behind.

use super::super::verdict::{self, of_job};
use super::super::witness::{Brief, Due, Held, Life};
use super::super::{Ledger, Range, Slot, Violation};
use crate::journal::DriverState;
use crate::contract::Reset;

impl Ledger {
    /// The driver's life goes on.
    pub(in super::super) fn driver(&mut self, driver: &str, state: DriverState) {
        match state {
            DriverState::Binding => {
                self.leaks_due();
                self.witness.life = Life {
                    driver: driver.chars().take(64).collect(),
                    ..Life::default()
                };
            }
            DriverState::Unbound => {
                self.removed_while_running();
                self.left_mastering();
                self.leaks_at_unbound();
            }
            // What the kernel itself takes back for the driver comes right after this.
            DriverState::NotBound => self.expect_no_lends(),
            DriverState::Bound | DriverState::Unbinding => {}
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
        let text = why + ": no verdict on what was lent since";
        let mut violation = verdict::bare(self.sequence, None, "witness incomplete", text);
        violation.time_ns = self.time_ns;
        self.report(violation);
        self.witness.blind = true;
    }

    /// The machine is gone, and with it the witness.
    pub(in super::super) fn disconnected(&mut self) {
        self.leaks_due();
        self.pool_leaks();
        if self.witness.attached {
            self.witness = Default::default();
        }
    }

    /// Classes 30, 31 and 36: a lend ended while a job into it is in work. `by` ended it.
    pub(super) fn judge_return(&mut self, range: Range, held: Option<&Held>, by: Brief) {
        if !self.witness.sees() || self.engine.master() == Some(false) {
            return;
        }
        let working = self.engine.working().iter().copied();
        let jobs: Vec<_> = working
            .filter(|&number| {
                let job = self.jobs.get(number).filter(|job| job.blamed.is_none());
                job.is_some_and(|job| self.is_cut_off(job.range(), range))
            })
            .collect();
        let queued =
            |slot: &Slot| slot.waits && self.engine.ran() && self.is_cut_off(slot.frame, range);
        let slots = self.slots.iter().enumerate();
        let slots: Vec<_> = slots.filter(|(_, slot)| queued(slot)).collect();
        let slots: Vec<_> = slots.into_iter().map(|(number, _)| number).collect();
        if jobs.is_empty() && slots.is_empty() {
            return;
        }
        let Some(blame) = self.taken_too_early(range, held, by, jobs.first().copied()) else {
            return;
        };
        for number in jobs {
            if let Some(job) = self.jobs.get_mut(number) {
                job.blamed = Some(blame);
            }
        }
        for slot in slots {
            if let Some(slot) = self.slots.get_mut(slot) {
                slot.blamed = Some(blame);
            }
        }
    }

    /// Reports that a lend ended that the card works on; once until it is idle.
    fn taken_too_early(
        &mut self,
        range: Range,
        held: Option<&Held>,
        by: Brief,
        job: Option<u64>,
    ) -> Option<(u8, usize)> {
        let label = held.map_or("a buffer".to_owned(), Held::label);
        let delayed = self.engine.delayed();
        let (class, name, why) = match delayed {
            Some(_) => (
                36,
                "unflushed write",
                "and a register write of the driver's was still on its way",
            ),
            None if self.witness.life.is_ending() => (
                31,
                "removed while running",
                "while the driver was being removed",
            ),
            None => (
                30,
                "taken back during a job",
                "and the driver had not stopped it",
            ),
        };
        if let Some(cut) = self.engine.cut.filter(|(cut, _)| *cut == class) {
            return Some(cut);
        }
        let what = match job {
            Some(job) => format!("job {job} was in work"),
            None => "the card ran, with this queued".to_owned(),
        };
        let text = format!("{label} was taken back while {what}, {why}");
        let mut violation = self.of_call(class, name, by, text);
        let known = job.and_then(|number| Some((number, self.jobs.get(number)?)));
        if let Some((number, job)) = known {
            violation = of_job(violation, number, job, job.slot.unwrap_or(0));
        }
        let write = known.and_then(|(_, job)| job.register_write);
        (violation.address, violation.length) = (range.start, range.length);
        violation.lend = held.map(|held| held.near(range));
        let violation = self.with_write(violation, delayed.or(write));
        self.report(violation);
        self.engine.cut = self
            .violations
            .len()
            .checked_sub(1)
            .map(|last| (class, last));
        self.engine.cut
    }

    /// Whether a frame was in `range`, which is not lent any more, and is in no other lend.
    fn is_cut_off(&self, frame: Range, range: Range) -> bool {
        let start = frame.start;
        let length = frame.length.max(1);
        range.overlaps(start, length) && !self.usable(Range { start, length })
    }

    /// Class 31, too: the engine runs into what is lent, and remove is over.
    fn removed_while_running(&mut self) {
        if !self.witness.sees() || self.engine.master() == Some(false) {
            return;
        }
        let running = self.engine.working().iter().copied().find(|&number| {
            let job = self.jobs.get(number).filter(|job| job.blamed.is_none());
            job.is_some_and(|job| self.witness.at(job.base).is_some())
        });
        if let Some(number) = running
            && let Some(job) = self.jobs.get(number).copied()
        {
            let text = format!("the driver was removed, and job {number} is in work");
            let violation = self.violation(31, "removed while running", text);
            let violation = of_job(violation, number, &job, job.slot.unwrap_or(0));
            let violation = self.with_write(violation, job.register_write);
            self.blame(number, violation);
        }
    }

    /// Class 29 begins: the machine resets the whole card, as it does after an error on its link, while a driver is
    /// bound that has something lent. Whoever resets a card on purpose gives it its configuration space back.
    pub(in super::super) fn struck(&mut self, reset: Reset) {
        let life = &self.witness.life;
        let bound = life.state == Some(DriverState::Bound) && !self.engine.kernel_down();
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
        let violation = self.of_held(29, "not recovered", held, held.range, text);
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
        if self.witness.attached && self.witness.life.mastered && self.engine.master() == Some(true)
        {
            let driver = &self.witness.life.driver;
            let text = format!("the driver {driver} was removed, and bus mastering is still on");
            let violation = self.violation(22, "bus mastering left on", text);
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
        let held_by_user = |held: &Held| self.witness.buffers.touching(held.range).next().is_some();
        let due = self.witness.life.due;
        let violation = due.and_then(|due| self.leak(due, |held| !held_by_user(held)));
        if let Some(violation) = violation {
            self.witness.life.due = None;
            self.report(violation);
        }
    }

    /// Classes 52 and 53 for what somebody else could still have given back.
    pub(in super::super) fn leaks_due(&mut self) {
        if let Some(due) = self.witness.life.due.take()
            && let Some(violation) = self.leak(due, |_| true)
        {
            self.report(violation);
        }
    }

    fn leak(&self, due: Due, counts: impl Fn(&Held) -> bool) -> Option<Violation> {
        if !self.witness.sees() || self.witness.is_empty() {
            return None;
        }
        let mut left = (0u64, 0u64);
        let mut first: Option<(u64, &Held)> = None;
        for (number, held) in self.witness.alive() {
            if number < due.before && counts(held) {
                left = (left.0 + 1, left.1.saturating_add(held.range.length));
                if first.is_none_or(|(first, _)| number < first) {
                    first = Some((number, held));
                }
            }
        }
        let (_, held) = first?;
        let (class, name, after) = match due.failed {
            true => (52, "partial map leak", ", after a mapping had failed"),
            false => (53, "leak", ""),
        };
        let text = format!(
            "the driver {} left {} lends of {} bytes behind{after}; the first is {}",
            self.witness.life.driver,
            left.0,
            left.1,
            held.label()
        );
        let mut violation = self.of_held(class, name, held, held.range, text);
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
            let mut violation = self.of_call(53, "leak", pooled.by, text);
            (violation.address, violation.length) = (range.start, range.length);
            self.report(violation);
        }
    }
}
