// SPDX-License-Identifier: MIT OR Apache-2.0

//! From one access and what was lent at that moment to a class.

use super::verdict::{NearLend, Violation};
use super::{Job, Ledger, Lend, LendKind, Owner, Range, Silence};
use crate::dma::DmaError;
use crate::dma::journal::{Direction, Outcome};

/// How far past the end of its lend an access still counts as an overrun of it.
const NEAR: u64 = 64 * 1024;
/// Widths to which addresses are seen to be truncated; 32 first.
const WIDTHS: [u32; 6] = [32, 24, 36, 40, 48, 58];

/// One access, as the journal has it.
pub(super) struct Access {
    pub(super) sequence: u64,
    pub(super) direction: Direction,
    pub(super) address: u64,
    pub(super) length: u64,
    pub(super) slot: Option<u8>,
    pub(super) job: Option<u64>,
    pub(super) outcome: Outcome,
}

impl Access {
    const fn range(&self) -> Range {
        Range {
            start: self.address,
            length: self.length,
        }
    }

    const fn verb(&self) -> &'static str {
        match self.direction {
            Direction::Write => "wrote",
            Direction::Read => "read",
        }
    }
}

/// A class, before the circumstances are added.
struct Finding<'a> {
    class: Option<u8>,
    name: &'static str,
    /// The part of the access that is wrong.
    part: Range,
    lend: Option<&'a Lend>,
    text: String,
    /// The register write to show; `None`: the one that queued the job.
    write: Option<u64>,
}

impl Ledger {
    /// Judges an access. `None`: it is as it should be.
    pub(super) fn judge(&self, access: &Access) -> Option<Violation> {
        let finding = self.find(access)?;
        let job = access.job.and_then(|job| self.jobs.get(&job));
        let refused = match access.outcome {
            Outcome::Ok => String::new(),
            Outcome::Refused(why) => format!("; refused: {why}"),
        };
        let nearest = finding.lend.or_else(|| self.nearest(access));
        let violation = Violation {
            class: finding.class,
            name: finding.name.into(),
            address: finding.part.start,
            length: finding.part.length,
            accesses: 1,
            frame: job.and_then(|job| job.frame),
            slot: access.slot,
            job: access.job,
            lend: nearest.map(|lend| NearLend::of(lend, finding.part)),
            register_write: None,
            call: None,
            sequence: access.sequence,
            time_ns: self.time_ns,
            text: finding.text + &refused,
        };
        let write = finding.write.or(job.and_then(|job| job.register_write));
        Some(self.with_write(violation, write))
    }

    fn find(&self, access: &Access) -> Option<Finding<'_>> {
        let verb = access.verb();
        let plain = |class, name, text| Finding {
            class,
            name,
            part: access.range(),
            lend: None,
            text,
            write: None,
        };
        if let Outcome::Refused(why @ (DmaError::NotMaster | DmaError::NotPowered)) = access.outcome
        {
            let text = format!("the card tried to access memory although {why}");
            return Some(plain(Some(22), "bus mastering off", text));
        }
        if let Some(late) = self.late(access) {
            return Some(late);
        }
        let covering = self.live(access).find(|lend| {
            let inside = lend.range().contains(access.address, access.length);
            inside && lend.direction.allows(access.direction)
        });
        if covering.is_some() {
            return self.inside(access);
        }
        if let Some(lend) = self
            .live(access)
            .find(|lend| lend.range().contains(access.address, access.length))
        {
            let text = format!(
                "the card {verb} {}, which is lent the other way",
                lend.label
            );
            return Some(Finding {
                lend: Some(lend),
                ..plain(Some(39), "wrong direction", text)
            });
        }
        self.truncated(access)
            .or_else(|| self.beyond_width(access))
            .or_else(|| self.overrun(access))
            .or_else(|| self.stale(access))
            .or_else(|| {
                let text = format!("the card {verb} memory that nobody lent");
                Some(plain(None, "wild access", text))
            })
    }

    /// Lends that the card may use now on behalf of this access.
    fn live(&self, access: &Access) -> impl Iterator<Item = &Lend> + use<'_> {
        let slot = access.slot;
        self.lends
            .iter()
            .filter(move |lend| lend.slot == slot && self.is_live(lend))
    }

    fn owner(&self, lend: &Lend) -> Owner {
        let owner = |slot: u8| self.owners.get(usize::from(slot)).copied();
        lend.slot.and_then(owner).unwrap_or_default()
    }

    fn is_live(&self, lend: &Lend) -> bool {
        lend.kind == LendKind::SelfTest || self.owner(lend) == Owner::Card
    }

    fn nearest(&self, access: &Access) -> Option<&Lend> {
        let near = |lend: &&Lend| lend.range().distance(access.address, access.length);
        self.lends.iter().chain(&self.past).min_by_key(near)
    }

    /// An access for a job that was reported as complete.
    fn late(&self, access: &Access) -> Option<Finding<'_>> {
        let done = access.job.and_then(|job| self.jobs.get(&job))?.done?;
        let silence = self.last_silence.filter(|silence| silence.since > done);
        let touches = |lend: &&Lend| lend.range().overlaps(access.address, access.length);
        let own = |lend: &&Lend| touches(lend) && lend.slot == access.slot;
        let lend = self
            .lends
            .iter()
            .find(own)
            .or_else(|| self.past.iter().find(own));
        let live = lend.is_some_and(|lend| self.is_live(lend));
        match silence {
            Some(silence) => Some(self.silent(access, lend, silence)),
            None if live => Some(Finding {
                class: Some(41),
                name: "done too early",
                part: access.range(),
                lend,
                text: format!("the card {} for a job that it had completed", access.verb()),
                write: None,
            }),
            None => None, // stale, or somewhere else
        }
    }

    fn silent<'a>(&self, access: &Access, lend: Option<&'a Lend>, silence: Silence) -> Finding<'a> {
        let Silence { why, .. } = silence;
        let verb = access.verb();
        let label = lend.map_or("memory", |lend| lend.label.as_str());
        Finding {
            class: Some(20),
            name: "access after stop",
            part: access.range(),
            lend,
            text: format!("the card {verb} {label} after a {why} that it had reported as complete"),
            write: silence.register_write,
        }
    }

    /// An access inside a lend is right, unless it was refused or lies where nothing should be lent.
    fn inside(&self, access: &Access) -> Option<Finding<'_>> {
        let (name, text) = if !access.outcome.is_ok() {
            (
                "lend not mapped",
                "the card was refused memory that the driver lent it",
            )
        } else if self.beyond_width(access).is_some() {
            return self.beyond_width(access);
        } else {
            return None;
        };
        Some(Finding {
            class: None,
            name,
            part: access.range(),
            lend: None,
            text: text.to_owned(),
            write: None,
        })
    }

    /// An address that is a lend's without its upper bits.
    fn truncated(&self, access: &Access) -> Option<Finding<'_>> {
        WIDTHS.iter().find_map(|&width| {
            let mask = (1u64 << width) - 1;
            let lend = self.live(access).find(|lend| {
                let low = Range {
                    start: lend.address & mask,
                    length: lend.length,
                };
                lend.address > mask && low.overlaps(access.address, access.length)
            })?;
            let (class, name) = match width {
                32 => (2, "truncated to 32 bits"),
                _ => (3, "truncated address"),
            };
            let text = format!(
                "the card {} the low {width} bits of the address of {} ({:#x})",
                if access.direction == Direction::Write {
                    "wrote to"
                } else {
                    "read from"
                },
                lend.label,
                lend.address
            );
            Some(Finding {
                class: Some(class),
                name,
                part: access.range(),
                lend: Some(lend),
                text,
                write: None,
            })
        })
    }

    fn beyond_width(&self, access: &Access) -> Option<Finding<'_>> {
        let bits = self.platform.address_bits;
        let last = access
            .address
            .saturating_add(access.length.saturating_sub(1));
        let beyond = bits > 0 && last.checked_shr(bits.into()).is_some_and(|rest| rest != 0);
        beyond.then(|| Finding {
            class: Some(3),
            name: "beyond the address width",
            part: access.range(),
            lend: None,
            text: format!("the card used an address beyond its {bits} bits"),
            write: None,
        })
    }

    /// An access that passes the end of a lend of its slot, or lies just past it.
    fn overrun(&self, access: &Access) -> Option<Finding<'_>> {
        let end = access.range().end();
        let lend = self.live(access).find(|lend| {
            let range = lend.range();
            access.address >= range.start
                && access.address - range.start < range.length.saturating_add(NEAR)
                && end > range.end()
        })?;
        let start = access.address.max(lend.range().end());
        let part = Range {
            start,
            length: end - start,
        };
        let past = end - lend.range().end();
        let job = access.job.and_then(|job| self.jobs.get(&job));
        let moved = job.map_or(0, Job::displacement);
        let text = if moved == 0 {
            format!(
                "the card {} {past} bytes past the end of {}",
                access.verb(),
                lend.label
            )
        } else {
            let label = &lend.label;
            format!(
                "the whole transfer is displaced by {moved:+} bytes, so it passes the end of {label} by {past}"
            )
        };
        Some(Finding {
            class: Some(1),
            name: "overrun",
            part,
            lend: Some(lend),
            text,
            write: None,
        })
    }

    /// An access to something that is not lent now, but was, or will be.
    fn stale(&self, access: &Access) -> Option<Finding<'_>> {
        let touches = |lend: &&Lend| lend.range().overlaps(access.address, access.length);
        let now = self.lends.iter().find(touches);
        let lend = now.or_else(|| self.past.iter().find(touches))?;
        let (verb, label) = (access.verb(), &lend.label);
        let finding = |class, name, text| Finding {
            class,
            name,
            part: access.range(),
            lend: Some(lend),
            text,
            write: None,
        };
        let owner = if now.is_some() {
            self.owner(lend)
        } else {
            Owner::Driver
        };
        Some(match owner {
            Owner::Card => {
                let text = format!("the card {verb} {label} on behalf of another slot");
                finding(None, "another slot's memory", text)
            }
            Owner::Driver => {
                let text = format!("the card {verb} {label}, which the driver had taken back");
                finding(Some(7), "stale address", text)
            }
            Owner::Nobody => {
                let text = format!("the card {verb} {label}, which was never queued");
                finding(None, "not queued", text)
            }
        })
    }
}

impl Job {
    /// How far its first write lies above the base that the driver programmed.
    fn displacement(&self) -> i128 {
        let first = self.first_write.unwrap_or(self.base);
        i128::from(first) - i128::from(self.base)
    }
}
