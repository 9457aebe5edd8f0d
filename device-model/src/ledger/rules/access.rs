// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where an access landed, by the witness's word.

use super::super::book::Way;
use super::super::class::Class;
use super::super::classify::{Access, Finding, NEAR, bent, cut, exposed, is_beside, is_near};
use super::super::job::{Job, State};
use super::super::shelf::WIDTHS;
use super::super::witness::{Buffer, Held, PAGE};
use super::super::{Ledger, NearLend, Range};
use super::programmed::crosses;
use crate::contract::{Direction, JobId};
use crate::journal::{DriverState, Outcome};

/// What an access is called that nothing explains.
pub(super) const WILD: &str = "wild access";

impl Ledger {
    /// Judges an access by all that is known.
    pub(in super::super) fn judge_access(&mut self, access: &Access) {
        if self.card.kernel_down() {
            let verb = access.verb();
            let text = format!("the card {verb} memory after the kernel had gone down");
            let finding = Finding::of(access, Class::AcrossKexec, text);
            return self.found(access, finding);
        }
        let attached = self.witness.attached;
        if attached && self.follows_from_its_job(access) {
            return;
        }
        let told = !self.shelf.is_unused();
        if !told && !attached {
            // Nobody says what is lent: only that the card may not master the bus is known.
            match self.not_master(access) {
                Some(off) => self.found(access, off),
                None => self.unknown += 1,
            }
            return;
        }
        if told && let Some(violation) = self.judge(access) {
            self.settle(access, violation.class);
            return self.report(violation);
        }
        let partial = self.witness.partial && !self.witness.blind;
        if partial
            && !told
            && self
                .witness
                .covering(access.range(), access.way())
                .is_none()
        {
            // It may lie in a lend that nobody heard of.
            match self.not_master(access) {
                Some(off) => self.found(access, off),
                None => self.unknown += 1,
            }
            return;
        }
        if attached && let Some(finding) = self.misplaced(access, told) {
            self.settle(access, finding.class);
            return self.found(access, finding);
        }
        if let Some(finding) = self.fetch_crossing(access) {
            self.found(access, finding);
        }
    }

    /// A job's late bytes are no short transfer.
    fn settle(&mut self, access: &Access, class: Option<Class>) {
        if class == Some(Class::DoneTooEarly) && self.is_missing(access) {
            self.short.retain(|_, (job, _)| Some(*job) != access.job);
        }
    }

    fn found(&mut self, access: &Access, finding: Finding) {
        let near = finding.near.clone().or_else(|| self.near(access.range()));
        let violation = self.of_access(access, finding, near);
        self.report(violation);
    }

    /// The nearest lend that the witness knows, alive or not.
    fn near(&self, range: Range) -> Option<NearLend> {
        let now = self.witness.nearest(range).map(|held| held.near(range));
        let past = self
            .witness
            .nearest_past(range)
            .map(|past| past.near(range));
        let nearest = now.into_iter().chain(past).min_by_key(|lend| lend.distance);
        nearest.filter(is_near)
    }

    /// Whether the access is what had to come of a job that was wrong as a whole; it is added to that violation.
    fn follows_from_its_job(&mut self, access: &Access) -> bool {
        let job = access.job.and_then(|job| self.jobs.get(job));
        let Some((_, violation)) = job.and_then(|job| job.blamed) else {
            return false;
        };
        let placed = job.filter(|job| job.is_placed());
        let inside = placed.is_none_or(|job| job.contains(access.address, access.length));
        let covered = self.witness.covering(access.range(), access.way());
        if !inside || covered.is_some() {
            return false;
        }
        if let Some(violation) = self.found.violations.get_mut(violation) {
            violation.accesses += 1;
        }
        true
    }

    /// What is wrong with where an access is, if something is. `told`: the agent's word allows it.
    fn misplaced(&self, access: &Access, told: bool) -> Option<Finding> {
        if let Some(off) = self.not_master(access) {
            return Some(off);
        }
        if !self.witness.sees() {
            return None;
        }
        if let Some(late) = self.late(access, || self.near(access.range())) {
            return Some(late);
        }
        let job = access.job.and_then(|job| self.jobs.get(job));
        if let Some(job) = job
            && access.direction == Direction::Write
            && !access.role.is_control()
            && let Some(astray) = self.astray(access, job)
        {
            return Some(astray);
        }
        let found = self.by_lends(access);
        // What our own driver mapped by other ways than the DMA API only the agent knows.
        let unknown = told && self.witness.touching(access.range()).is_empty();
        let unknown = unknown && self.witness.past(access.range()).is_none();
        found
            .filter(|_| !unknown)
            .map(|finding| self.with_iommu(access, finding))
    }

    /// A write outside of what its job was programmed to: classes 1, 2, 3, 5, 7 and 19.
    fn astray(&self, access: &Access, job: &Job) -> Option<Finding> {
        let range = access.range();
        if job.state != State::Begun
            || !job.is_placed()
            || job.contains(access.address, access.length)
        {
            return None;
        }
        let programmed = job.nearest(range);
        let label = format!(
            "the {} bytes at {:#x} of {job}",
            programmed.length, programmed.start
        );
        let from = access.address >= programmed.start;
        let passes = from && access.address < programmed.end();
        let behind = from && access.address < programmed.end().saturating_add(NEAR);
        // All of it at once, or on from its end: not somewhere else by intent.
        let goes_on = access.address == programmed.end() && job.continues;
        let displaced = behind && job.displacement() != 0 && access.length >= programmed.length;
        let overrun = || self.passing(access, programmed, &label);
        self.other_way(access)
            .or_else(|| self.by_memory(access))
            .or_else(|| (passes || goes_on || displaced).then(overrun))
            .or_else(|| cut_of(access, programmed, &label))
            .or_else(|| bent_of(access, programmed, &label))
            .or_else(|| {
                let stale = self.jobs.taken_back(range)?;
                Some(self.gone(access, &format!("the memory of {stale}")))
            })
            .or_else(|| {
                let text = format!("the card {} outside of {label}", access.verb());
                let lent = self.usable(range);
                lent.then(|| Finding::other(access, "another lend's memory", text))
            })
            .or_else(|| self.returned_to(access))
            .or_else(|| behind.then(overrun))
    }

    /// Whether all of a range is lent, and the driver's as far as vb2 knows it.
    pub(super) fn usable(&self, range: Range) -> bool {
        let covered = self.witness.covering(range, Way::Any).is_some();
        covered && self.given_back(range).is_none()
    }

    /// Where the vb2 buffers of a range went back to their user.
    fn given_back(&self, range: Range) -> Option<Buffer> {
        let mut given = None;
        for (_, buffer) in self.witness.buffers.touching(range) {
            if buffer.queued {
                return None;
            }
            given = Some(*buffer);
        }
        given
    }

    /// What the lends say.
    fn by_lends(&self, access: &Access) -> Option<Finding> {
        let range = access.range();
        let Some(held) = self.witness.covering(range, access.way()) else {
            // Over several lends that touch: as the driver programmed it, or as it may have.
            let job = access.job.and_then(|job| self.jobs.get(job));
            let meant = job.is_some_and(|job| job.contains(access.address, access.length));
            if (meant || !self.declares.jobs) && self.witness.is_covered(range, access.way()) {
                return None;
            }
            return self.not_covered(access);
        };
        if let Some(buffer) = self.given_back(range) {
            let mut finding = if self.witness.queued == 0 {
                let text = format!(
                    "the card {} a buffer after the driver had given all buffers back to their user",
                    access.verb()
                );
                Finding::of(access, Class::AfterStop, text)
            } else {
                self.gone(access, &held.label())
            };
            finding.call = Some(buffer.by);
            finding.near = Some(held.near(range));
            return Some(finding);
        }
        if access.job.is_none_or(|job| self.is_over(job))
            && !access.role.is_control()
            && let Some(job) = self.jobs.taken_back(range)
        {
            return Some(self.gone(access, &format!("the memory of {job}")));
        }
        let mut finding = self.inside(access)?;
        if let (false, Some(class)) = (access.outcome.is_ok(), held.wrong) {
            let text = format!(
                "the card was refused {}, which is no memory to lend",
                held.label()
            );
            finding = Finding::of(access, class, text);
        }
        finding.near = Some(held.near(range));
        finding.call = Some(held.by);
        Some(finding)
    }

    fn is_over(&self, job: JobId) -> bool {
        self.jobs.get(job).is_none_or(|job| job.done.is_some())
    }

    /// An access that no lend allows.
    fn not_covered(&self, access: &Access) -> Option<Finding> {
        // Where a job was programmed to, what lies before it is another's.
        let job = access.job.and_then(|job| self.jobs.get(job));
        let meant = job.is_some_and(|job| job.contains(access.address, access.length));
        let on = !meant && self.card.goes_on(access.address);
        let behind = |near| self.over_the_end(access, near).filter(|_| !meant);
        self.other_way(access)
            .or_else(|| self.by_error(access))
            .or_else(|| self.by_memory(access))
            .or_else(|| self.by_the_card(access))
            .or_else(|| self.over_the_end(access, u64::from(on)))
            .or_else(|| self.beside_lend(access))
            .or_else(|| self.returned_to(access))
            .or_else(|| behind(1))
            .or_else(|| self.by_low_bits(access))
            .or_else(|| self.beyond_width(access))
            .or_else(|| behind(PAGE))
            .or_else(|| self.before_any(access))
            .or_else(|| self.wild(access))
    }

    /// Class 39.
    fn other_way(&self, access: &Access) -> Option<Finding> {
        let range = access.range();
        let held = self.witness.covering(range, Way::Any)?;
        if self.witness.covering(range, access.way()).is_some() {
            return None;
        }
        let (verb, label) = (access.verb(), held.label());
        let text = format!("the card {verb} {label}, which is lent the other way");
        Some(with(held, Finding::of(access, Class::WrongDirection, text)))
    }

    /// Class 49: at the address that a failed mapping gives.
    fn by_error(&self, access: &Access) -> Option<Finding> {
        let violation = self.unchecked_error(access.address, None)?;
        Some(Finding::of(
            access,
            Class::MappingErrorUnchecked,
            violation.text,
        ))
    }

    /// Class 59: the card was told an address that it had written itself.
    fn by_the_card(&self, access: &Access) -> Option<Finding> {
        let job = access.job.and_then(|job| self.jobs.get(job));
        let base = job.map_or(access.address, |job| job.nearest(access.range()).start);
        let at = self
            .words
            .origin(base)
            .or_else(|| self.words.origin(access.address))?;
        let text = format!(
            "the card {} at {base:#x}: it had written that address itself, to {at:#x}, and was given it back",
            access.verb()
        );
        Some(Finding::of(access, Class::AddressFromCard, text))
    }

    /// Class 5: where a lend's memory is, and its bus address is another.
    fn by_memory(&self, access: &Access) -> Option<Finding> {
        let held = self.witness.in_memory(access.range())?;
        if self.witness.covering(access.range(), Way::Any).is_some() {
            return None;
        }
        let text = format!(
            "the card {} at the physical address of {}, whose bus address is {:#x}",
            access.verb(),
            held.label(),
            held.range.start
        );
        Some(with(
            held,
            Finding::of(access, Class::PhysicalAddress, text),
        ))
    }

    /// Class 1: it passes the end of a lend, or begins less than `near` bytes behind it.
    fn over_the_end(&self, access: &Access, near: u64) -> Option<Finding> {
        let (range, at) = (access.range(), access.address);
        let found = self.witness.ranges.book.furthest(at, Way::Any)?;
        let held = self.witness.held(found.number)?;
        let last = self.witness.reach(held, range.end());
        if at >= last.saturating_add(near) || range.end() <= last {
            return None;
        }
        let start = held.range.start;
        let length = last - start;
        let finding = self.passing(access, Range { start, length }, &held.label());
        Some(with(held, finding))
    }

    /// Classes 7 and 36: in what is not lent any more.
    fn returned_to(&self, access: &Access) -> Option<Finding> {
        let past = self.witness.past(access.range())?;
        let mut finding = self.gone(access, &past.held.label());
        finding.near = Some(past.near(access.range()));
        finding.call = Some(past.by);
        Some(finding)
    }

    /// Class 57.
    fn beside_lend(&self, access: &Access) -> Option<Finding> {
        let held = self.witness.nearest(access.range())?;
        let beside = access.direction == Direction::Read && is_beside(access, held.range);
        beside.then(|| with(held, exposed(access, &held.label())))
    }

    /// Classes 2, 3 and 19.
    fn by_low_bits(&self, access: &Access) -> Option<Finding> {
        let ranges = &self.witness.ranges;
        if let Some((width, number)) = ranges.truncated(access.range()) {
            let held = self.witness.held(number)?;
            let finding = cut(access, width, &held.label(), held.range.start);
            return Some(with(held, finding));
        }
        let (width, number) = ranges.routed(access.address)?;
        let held = self.witness.held(number)?;
        if held.range.start >> width == access.address >> width {
            return None;
        }
        let finding = bent(access, width, &held.label(), held.range.start);
        Some(with(held, finding))
    }

    /// Class 23.
    fn before_any(&self, access: &Access) -> Option<Finding> {
        let life = &self.witness.life;
        let gone = life.state == Some(DriverState::Unbound);
        if life.lent || gone || self.in_pool(access.range()) {
            return None;
        }
        let text = format!(
            "the card {} memory before its driver had lent any",
            access.verb()
        );
        Some(Finding::of(access, Class::EarlyMastering, text))
    }

    /// Anything else, unless it is in memory that somebody has from the pool, which need not pass the DMA API.
    fn wild(&self, access: &Access) -> Option<Finding> {
        if self.in_pool(access.range()) {
            return None;
        }
        let text_of_kernel = self.witness.text;
        let verb = access.verb();
        let text = if text_of_kernel.overlaps(access.address, access.length) {
            format!("the card {verb} the kernel's text or read-only data")
        } else {
            format!("the card {verb} memory that nobody lent")
        };
        Some(Finding::other(access, WILD, text))
    }

    fn in_pool(&self, range: Range) -> bool {
        let mut pool = self.witness.pool.touching(range);
        !self.platform.iommu && pool.any(|(at, _)| at.contains(range.start, range.length))
    }

    /// What the IOMMU said to an access that the witness does not allow.
    fn with_iommu(&self, access: &Access, mut finding: Finding) -> Finding {
        if self.platform.iommu && finding.name != "lend not mapped" {
            finding.text += match access.outcome {
                Outcome::Ok => "; the IOMMU still let it through",
                Outcome::Refused(_) => "; the IOMMU refused it",
            };
        }
        finding
    }

    /// Class 9.
    fn fetch_crossing(&self, access: &Access) -> Option<Finding> {
        let boundary = self.declares.limits.fetch_boundary;
        if access.direction != Direction::Read || !crosses(access.range(), boundary) {
            return None;
        }
        let text = format!(
            "the card fetched {} bytes at {:#x}, across a multiple of {boundary}",
            access.length, access.address
        );
        Some(Finding::of(access, Class::FetchCrossesPage, text))
    }
}

/// Adds the lend that was missed, and who lent it.
fn with(held: &Held, mut finding: Finding) -> Finding {
    finding.near = Some(held.near(finding.part));
    finding.call = Some(held.by);
    finding
}

/// Whether an access is where the programmed frame would be without its upper bits.
fn cut_of(access: &Access, programmed: Range, label: &str) -> Option<Finding> {
    let widths = WIDTHS.into_iter().chain((12..64).rev());
    let mut widths = widths.filter(|&width| {
        let start = programmed.start & ((1u64 << width) - 1);
        let length = programmed.length;
        start != programmed.start && Range { start, length }.overlaps(access.address, access.length)
    });
    let width = widths.next()?;
    Some(cut(access, width, label, programmed.start))
}

/// Whether an access is where the programmed frame would be with other upper bits.
fn bent_of(access: &Access, programmed: Range, label: &str) -> Option<Finding> {
    let width = (32..64).rev().find(|&width| {
        let mask = (1u64 << width) - 1;
        let start = programmed.start & mask;
        let length = programmed.length;
        let low = Range { start, length }.overlaps(access.address & mask, access.length);
        low && access.address > mask && access.address & !mask != programmed.start & !mask
    })?;
    Some(bent(access, width, label, programmed.start))
}
