// SPDX-License-Identifier: MIT OR Apache-2.0

//! From one access and what the agent said was lent at that moment to a class.

use super::book::Way;
use super::class::Class;
use super::held::{Brief, PAGE};
use super::job::{Job, Silence, State};
use super::shelf::Ranges;
use super::verdict::{NearLend, Violation};
use super::{Ledger, Lend, Owner, Range};
use crate::contract::{Direction, DmaError, JobId, Role};
use crate::journal::Outcome;

/// How far past the end of its lend an access still counts as an overrun of it.
pub(super) const NEAR: u64 = 64 * 1024;

/// One access, as the journal has it.
pub(super) struct Access {
    pub(super) sequence: u64,
    pub(super) direction: Direction,
    pub(super) address: u64,
    pub(super) length: u64,
    pub(super) slot: Option<u32>,
    pub(super) job: Option<JobId>,
    pub(super) role: Role,
    pub(super) outcome: Outcome,
}

impl Access {
    pub(super) const fn range(&self) -> Range {
        Range {
            start: self.address,
            length: self.length,
        }
    }

    pub(super) const fn verb(&self) -> &'static str {
        match self.direction {
            Direction::Write => "wrote",
            Direction::Read => "read",
        }
    }

    /// The ways of a range that allow it.
    pub(super) const fn way(&self) -> Way {
        match self.direction {
            Direction::Write => Way::Write,
            Direction::Read => Way::Read,
        }
    }
}

/// A class, before the circumstances are added.
pub(super) struct Finding {
    pub(super) class: Option<Class>,
    /// Its name, if it has no class.
    pub(super) name: &'static str,
    /// The part of the access that is wrong.
    pub(super) part: Range,
    /// The lend that was missed; `None`: the nearest.
    pub(super) near: Option<NearLend>,
    pub(super) text: String,
    /// The register write to show; `None`: the one that queued the job.
    pub(super) write: Option<u64>,
    /// The call behind it.
    pub(super) call: Option<Brief>,
}

impl Finding {
    /// One of a class.
    pub(super) fn of(access: &Access, class: Class, text: String) -> Self {
        Self {
            class: Some(class),
            ..Self::other(access, "", text)
        }
    }

    /// One of no class.
    pub(super) fn other(access: &Access, name: &'static str, text: String) -> Self {
        Self {
            class: None,
            name,
            part: access.range(),
            near: None,
            text,
            write: None,
            call: None,
        }
    }

    fn near(mut self, lend: &Lend) -> Self {
        self.near = Some(NearLend::of(lend, self.part));
        self
    }
}

impl Ledger {
    /// Judges an access by the agent's word. `None`: it is as it should be.
    pub(super) fn judge(&self, access: &Access) -> Option<Violation> {
        let finding = self.find(access)?;
        let near = || {
            let lend = self.shelf.nearest(access.range())?;
            Some(NearLend::of(lend, finding.part)).filter(is_near)
        };
        let near = finding.near.clone().or_else(near);
        Some(self.of_access(access, finding, near))
    }

    /// Adds the circumstances to a class.
    pub(super) fn of_access(
        &self,
        access: &Access,
        finding: Finding,
        near: Option<NearLend>,
    ) -> Violation {
        let job = access.job.and_then(|job| self.jobs.get(job));
        let refused = match access.outcome {
            Outcome::Ok => String::new(),
            Outcome::Refused(why) => format!("; refused: {why}"),
        };
        // Whoever lent what lies nearest, if it still is.
        let lender = || {
            let lend = near.as_ref()?;
            let range = Range {
                start: lend.address,
                length: lend.length,
            };
            Some(self.witness.covering(range, Way::Any)?.by)
        };
        let call = finding.call.or_else(lender);
        let violation = Violation {
            class: finding.class,
            name: finding.class.map_or(finding.name, Class::words).into(),
            address: finding.part.start,
            length: finding.part.length,
            accesses: 1,
            frame: job.and_then(|job| job.label.frame),
            slot: access.slot,
            job: access.job,
            lend: near,
            register_write: None,
            call: call.map(|call| self.witness.caller(call)),
            instruction: None,
            sequence: access.sequence,
            time_ns: self.time_ns,
            text: finding.text + &refused,
        };
        let write = finding.write.or(job.and_then(|job| job.register_write));
        self.with_write(violation, write)
    }

    fn find(&self, access: &Access) -> Option<Finding> {
        let verb = access.verb();
        let range = access.range();
        if let Some(off) = self.not_master(access) {
            return Some(off);
        }
        let own = || {
            let own = self.shelf.own(access.slot, range)?;
            Some(NearLend::of(own, range))
        };
        if let Some(late) = self.late(access, own) {
            return Some(late);
        }
        let covering = |way| {
            let mut live = self.live(access.slot);
            live.find_map(|ranges| ranges.book.covering(range, way))
        };
        if covering(access.way()).is_some() {
            return self.inside(access);
        }
        let other = covering(Way::Any).and_then(|found| self.shelf.get(found.number));
        if let Some(lend) = other {
            let label = &lend.label;
            let text = format!("the card {verb} {label}, which is lent the other way");
            return Some(Finding::of(access, Class::WrongDirection, text).near(lend));
        }
        self.truncated(access)
            .or_else(|| self.routed(access))
            .or_else(|| self.beyond_width(access))
            .or_else(|| self.beside(access))
            .or_else(|| self.overrun(access))
            .or_else(|| self.stale(access))
            .or_else(|| {
                let text = format!("the card {verb} memory that nobody lent");
                Some(Finding::other(access, "wild access", text))
            })
    }

    /// An access while bus mastering is off.
    pub(super) fn not_master(&self, access: &Access) -> Option<Finding> {
        let Outcome::Refused(why @ (DmaError::NotMaster | DmaError::NotPowered)) = access.outcome
        else {
            return None;
        };
        let text = format!("the card tried to access memory although {why}");
        Some(Finding::of(access, Class::LeftMastering, text))
    }

    /// Lends that the card may use now on behalf of a slot.
    fn live(&self, slot: Option<u32>) -> impl Iterator<Item = &Ranges> {
        self.shelf.live(slot, self.owner(slot) == Owner::Card)
    }

    /// An access for a job that is over: classes 20 and 41. A card that is silent has no excuse, nor has one that reported
    /// the job as complete and still works on it, whatever the driver did with the memory since.
    pub(super) fn late(
        &self,
        access: &Access,
        near: impl FnOnce() -> Option<NearLend>,
    ) -> Option<Finding> {
        let job = access.job.and_then(|job| self.jobs.get(job))?;
        let over = match job.state {
            State::Accepted => return None,
            _ => job.done.unwrap_or(job.touched),
        };
        let silence = self.jobs.silence(job.queue);
        if let Some(silence) = silence.filter(|silence| silence.since > over) {
            return Some(self.silent(access, near(), silence));
        }
        job.done?;
        let its = job.contains(access.address, access.length) || self.is_missing(access);
        its.then(|| Finding {
            near: near(),
            ..self.early(access)
        })
    }

    /// Whether the access moves what its job reported as moved and had not been.
    pub(super) fn is_missing(&self, access: &Access) -> bool {
        let job = access.job.and_then(|job| self.jobs.get(job));
        let short = job.and_then(|job| self.short.get(&job.queue));
        let its = short.is_some_and(|(job, _)| Some(*job) == access.job);
        let way = match job.is_some_and(Job::writes) {
            true => Direction::Write,
            false => Direction::Read,
        };
        its && access.direction == way
    }

    fn early(&self, access: &Access) -> Finding {
        let text = format!("the card {} for a job that it had completed", access.verb());
        Finding::of(access, Class::DoneTooEarly, text)
    }

    fn silent(&self, access: &Access, near: Option<NearLend>, silence: Silence) -> Finding {
        let Silence { why, .. } = silence;
        let verb = access.verb();
        let label = near.as_ref().map_or("memory", |near| near.label.as_str());
        let text =
            format!("the card {verb} {label} after a {why} that it had reported as complete");
        Finding {
            near,
            write: silence.register_write,
            ..Finding::of(access, Class::AfterStop, text)
        }
    }

    /// An access inside a lend is right, unless it was refused or lies where nothing should be lent.
    pub(super) fn inside(&self, access: &Access) -> Option<Finding> {
        if access.outcome.is_ok() {
            return self.beyond_width(access);
        }
        let text = "the card was refused memory that the driver lent it".to_owned();
        Some(Finding::other(access, "lend not mapped", text))
    }

    /// An address that is a lend's without its upper bits.
    fn truncated(&self, access: &Access) -> Option<Finding> {
        let mut live = self.live(access.slot);
        let (width, number) = live.find_map(|ranges| ranges.truncated(access.range()))?;
        let lend = self.shelf.get(number)?;
        Some(cut(access, width, &lend.label, lend.address).near(lend))
    }

    /// An address that is a lend's with other upper bits.
    fn routed(&self, access: &Access) -> Option<Finding> {
        let mut live = self.live(access.slot);
        let (width, number) = live.find_map(|ranges| ranges.routed(access.address))?;
        let lend = self.shelf.get(number)?;
        let others = lend.address >> width != access.address >> width;
        others.then(|| bent(access, width, &lend.label, lend.address).near(lend))
    }

    pub(super) fn beyond_width(&self, access: &Access) -> Option<Finding> {
        let bits = self.declares.limits.address_bits;
        if !self.is_beyond(access.range()) {
            return None;
        }
        let text = format!("the card used an address beyond its {bits} bits");
        Some(Finding::of(access, Class::TruncatedOdd, text))
    }

    /// Whether a range ends beyond the card's address width.
    pub(super) fn is_beyond(&self, range: Range) -> bool {
        let bits = self.declares.limits.address_bits;
        let last = range.start.saturating_add(range.length.saturating_sub(1));
        bits > 0 && last.checked_shr(bits.into()).is_some_and(|rest| rest != 0)
    }

    /// A read in the page of a lend, beside all of them, that does not go on from where one ends.
    fn beside(&self, access: &Access) -> Option<Finding> {
        if access.direction != Direction::Read {
            return None;
        }
        let found = self.live(access.slot).find_map(|ranges| {
            let found = ranges.book.nearest(access.range())?;
            is_beside(access, found.range).then_some(found.number)
        });
        let lend = self.shelf.get(found?)?;
        Some(exposed(access, &lend.label).near(lend))
    }

    /// An access that passes the end of a lend of its slot, or lies just past it.
    fn overrun(&self, access: &Access) -> Option<Finding> {
        let end = access.range().end();
        let found = self.live(access.slot).find_map(|ranges| {
            let found = ranges.book.furthest(access.address, Way::Any)?;
            let last = found.range.end();
            (access.address < last.saturating_add(NEAR) && end > last).then_some(found.number)
        });
        let lend = self.shelf.get(found?)?;
        Some(self.passing(access, lend.range(), &lend.label).near(lend))
    }

    /// The finding of an access that passes the end of `range`.
    pub(super) fn passing(&self, access: &Access, range: Range, label: &str) -> Finding {
        let end = access.range().end();
        let start = access.address.max(range.end());
        let past = end.saturating_sub(range.end());
        let job = access.job.and_then(|job| self.jobs.get(job));
        let moved = job.map_or(0, Job::displacement);
        let text = if moved == 0 {
            let bytes = if past == 1 { "byte" } else { "bytes" };
            format!(
                "the card {} {past} {bytes} past the end of {label}",
                access.verb()
            )
        } else {
            format!(
                "the whole transfer is displaced by {moved:+} bytes, so it passes the end of {label} by {past}"
            )
        };
        let length = end.saturating_sub(start);
        Finding {
            part: Range { start, length },
            ..Finding::of(access, Class::Overrun, text)
        }
    }

    /// An access to something that is not lent now, but was, or will be.
    fn stale(&self, access: &Access) -> Option<Finding> {
        let range = access.range();
        let now = self.shelf.touching(range);
        let lend = now.or_else(|| self.shelf.past(range))?;
        let (verb, label) = (access.verb(), &lend.label);
        let owner = match now {
            Some(lend) => self.owner(lend.slot),
            None => Owner::Driver,
        };
        let finding = match owner {
            Owner::Card => {
                let text = format!("the card {verb} {label} on behalf of another slot");
                Finding::other(access, "another slot's memory", text)
            }
            Owner::Driver => self.gone(access, label),
            Owner::Nobody => {
                let text = format!("the card {verb} {label}, which was never queued");
                Finding::other(access, "not queued", text)
            }
        };
        Some(finding.near(lend))
    }

    /// The finding of an access to what the driver took back: its own fault if a register write of the driver's is
    /// still on its way.
    pub(super) fn gone(&self, access: &Access, label: &str) -> Finding {
        let verb = access.verb();
        match self.card.delayed() {
            Some(write) => {
                let text = format!(
                    "the card {verb} {label}, which the driver took back while its register write was still on its way"
                );
                Finding {
                    write: Some(write),
                    ..Finding::of(access, Class::UnflushedWrite, text)
                }
            }
            None => {
                let text = format!("the card {verb} {label}, which the driver had taken back");
                Finding::of(access, Class::StaleAddress, text)
            }
        }
    }
}

/// Whether a lend lies near enough to what happened for it to be shown.
pub(super) fn is_near(lend: &NearLend) -> bool {
    lend.distance <= NEAR
}

/// The finding of an access at the low `width` bits of a lend's address.
pub(super) fn cut(access: &Access, width: u32, label: &str, address: u64) -> Finding {
    let class = match width {
        32 => Class::Truncated32,
        _ => Class::TruncatedOdd,
    };
    let verb = match access.direction {
        Direction::Write => "wrote to",
        Direction::Read => "read from",
    };
    let text =
        format!("the card {verb} the low {width} bits of the address of {label} ({address:#x})");
    Finding::of(access, class, text)
}

/// The finding of an access at a lend's address but for the bits from `width` on.
pub(super) fn bent(access: &Access, width: u32, label: &str, address: u64) -> Finding {
    let verb = access.verb();
    let text = format!(
        "the card {verb} at {:#x}: the low {width} bits are those of {label} ({address:#x}), the upper ones are others",
        access.address
    );
    Finding::of(access, Class::RoutingBits, text)
}

/// Whether a read lies in a page that a lend has a part of, and neither in it nor right behind it.
pub(super) fn is_beside(access: &Access, lend: Range) -> bool {
    let range = access.range();
    let page = |address: u64| address / PAGE;
    let pages = page(lend.start)..=page(lend.end().saturating_sub(1));
    let last = page(range.end().saturating_sub(1));
    let shared = pages.contains(&page(range.start)) || pages.contains(&last);
    shared && !lend.overlaps(range.start, range.length) && range.start != lend.end()
}

pub(super) fn exposed(access: &Access, label: &str) -> Finding {
    let text = format!(
        "the card read {} bytes in a page of {label} that are not lent",
        access.length
    );
    Finding::of(access, Class::SubPageExposure, text)
}
