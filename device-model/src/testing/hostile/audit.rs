// SPDX-License-Identifier: MIT OR Apache-2.0

//! The journal, looked at from outside: what it says was done must be what was allowed, by what it says was mapped.

use std::collections::BTreeMap;

use crate::contract::{Declaration, Direction, DmaError, Reset};
use crate::journal::{Entry, Kind, Outcome};
use crate::ledger::Range;

/// A map, as the journal has it.
#[derive(Clone, Copy, Debug)]
struct Mapped {
    length: u64,
    readable: bool,
    writable: bool,
}

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    next: u64,
    /// Entries that are not there.
    pub(crate) missing: u64,
    /// What is mapped is not known until the next machine comes.
    blind: bool,
    maps: BTreeMap<u64, Mapped>,
    master: bool,
    power: u8,
    /// Memory may become shorter under the card.
    pub(crate) may_lose: bool,
    /// Where the card may go; nothing: nobody says.
    pub(crate) lent: Option<Range>,
    /// Accesses that took place.
    pub(crate) moved: u64,
    /// Accesses that did not.
    pub(crate) denied: u64,
    /// Accesses beside what is lent.
    pub(crate) strays: u64,
    pub(crate) interrupts: u64,
    pub(crate) resets: u64,
}

impl Audit {
    /// So many entries were taken, after which the bus was mastered.
    #[cfg(test)]
    pub(crate) fn skip(&mut self, entries: usize) {
        self.next += entries as u64;
        self.master = true;
    }

    /// A map that the journal does not tell of, for reading and writing.
    #[cfg(test)]
    pub(crate) fn lend(&mut self, address: u64, length: u64) {
        let mapped = Mapped {
            length,
            readable: true,
            writable: true,
        };
        self.maps.insert(address, mapped);
    }

    /// The number after the last that was seen.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// # Errors
    /// What the journal says and cannot be, in words.
    pub(crate) fn entry(&mut self, entry: &Entry) -> Result<(), String> {
        let Some(gap) = entry.sequence.checked_sub(self.next) else {
            let (number, next) = (entry.sequence, self.next);
            return Err(format!("the journal goes back from {next} to {number}"));
        };
        self.next = entry.sequence + 1;
        self.missing += gap;
        self.blind |= gap > 0;
        self.kind(&entry.kind)
            .map_err(|why| format!("{why}: entry {}, {:?}", entry.sequence, entry.kind))
    }

    fn kind(&mut self, kind: &Kind) -> Result<(), String> {
        match *kind {
            Kind::Connected | Kind::Disconnected => {
                self.blind &= *kind != Kind::Connected;
                self.maps.clear();
                (self.master, self.power) = (false, 0);
            }
            Kind::BusMapped {
                address,
                length,
                readable,
                writable,
            } => {
                let mapped = Mapped {
                    length,
                    readable,
                    writable,
                };
                self.maps.insert(address, mapped);
            }
            Kind::BusUnmapped {
                address: 0,
                length: u64::MAX,
            } => self.maps.clear(),
            Kind::BusUnmapped { address, .. } => {
                self.maps.remove(&address);
            }
            Kind::BusMaster { on } => self.master = on,
            Kind::PowerState { state } => self.power = state,
            Kind::Reset { reset } => {
                self.resets += 1;
                if reset != Reset::Register {
                    (self.master, self.power) = (false, 0);
                }
            }
            Kind::Interrupt { .. } => self.interrupts += 1,
            Kind::Declared {
                what: Declaration::Gone { ref why },
                ..
            } if why.contains("panicked") => return Err(why.clone().into_owned()),
            Kind::Access {
                direction,
                address,
                length,
                outcome,
                ..
            } => return self.access(direction, address, length, outcome),
            _ => {}
        }
        Ok(())
    }

    fn access(
        &mut self,
        way: Direction,
        address: u64,
        length: u64,
        outcome: Outcome,
    ) -> Result<(), String> {
        match outcome {
            Outcome::Ok => self.moved += 1,
            Outcome::Refused(_) => self.denied += 1,
        }
        let beside = self
            .lent
            .is_some_and(|lent| !lent.contains(address, length));
        self.strays += u64::from(beside && outcome.is_ok() && length > 0);
        if self.blind {
            return Ok(());
        }
        let wraps = length > 0 && address.checked_add(length - 1).is_none();
        let masters = self.master && self.power == 0;
        let (whole, allowed) = self.covered(way, address, length);
        let right = match outcome {
            Outcome::Ok => masters && !wraps && whole && allowed,
            Outcome::Refused(DmaError::NotPowered) => self.power != 0,
            Outcome::Refused(DmaError::NotMaster) => !self.master && self.power == 0,
            Outcome::Refused(DmaError::Wraps) => wraps && masters,
            Outcome::Refused(DmaError::Unmapped) => !whole && masters,
            Outcome::Refused(DmaError::Direction) => !allowed && masters,
            Outcome::Refused(DmaError::Unbacked) => masters,
            Outcome::Refused(DmaError::Lost) => self.may_lose && masters && whole && allowed,
        };
        match right {
            true => Ok(()),
            false => Err(format!(
                "an access that is not what the maps allow (master {}, D{}, whole {whole}, allowed {allowed})",
                self.master, self.power
            )),
        }
    }

    /// Whether a range is mapped as a whole, and whether what is mapped of it allows the direction.
    fn covered(&self, way: Direction, address: u64, length: u64) -> (bool, bool) {
        let Some(distance) = length.checked_sub(1) else {
            return (true, true);
        };
        let last = address.saturating_add(distance);
        let (mut next, mut allowed) = (Some(address), true);
        let before = self.maps.range(..=address).next_back();
        let from = before.map_or(address, |(start, _)| *start);
        for (start, map) in self.maps.range(from..=last) {
            let end = start.saturating_add(map.length - 1);
            if end < address {
                continue;
            }
            if next.is_none_or(|next| *start > next) {
                return (false, allowed);
            }
            allowed &= match way {
                Direction::Read => map.readable,
                Direction::Write => map.writable,
            };
            next = end.checked_add(1);
        }
        (next.is_none_or(|next| next > last), allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Role;
    use crate::journal::{Bytes, Journal};

    fn access(direction: Direction, address: u64, length: u64, outcome: Outcome) -> Kind {
        Kind::Access {
            direction,
            address,
            length,
            job: None,
            slot: None,
            role: Role::Payload,
            outcome,
            bytes: Bytes::default(),
        }
    }

    fn writes(address: u64, length: u64, outcome: Outcome) -> Kind {
        access(Direction::Write, address, length, outcome)
    }

    fn mapped(address: u64, length: u64, writable: bool) -> Kind {
        Kind::BusMapped {
            address,
            length,
            readable: true,
            writable,
        }
    }

    /// What is said of the last of these.
    fn last(kinds: &[Kind]) -> Result<(), String> {
        let journal = Journal::default();
        let begin = [Kind::Connected, Kind::BusMaster { on: true }];
        for kind in begin.iter().chain(kinds) {
            journal.push(kind.clone());
        }
        let mut audit = Audit::default();
        let entries = journal.entries_from(0);
        let (last, before) = entries.split_last().expect("some");
        for entry in before {
            audit.entry(entry).unwrap();
        }
        audit.entry(last)
    }

    const OK: Outcome = Outcome::Ok;

    #[test]
    fn what_is_allowed_is_right() {
        let two = [mapped(0x1000, 0x1000, true), mapped(0x2000, 0x10, true)];
        let right = |kind| last(&[two[0].clone(), two[1].clone(), kind]).unwrap();
        right(writes(0x1fff, 0x11, OK));
        right(writes(u64::MAX, 0, OK));
        right(access(Direction::Read, 0x2000, 1, OK));
        right(writes(0x2001, 0x10, Outcome::Refused(DmaError::Unmapped)));
        right(writes(u64::MAX, 2, Outcome::Refused(DmaError::Wraps)));
        let top = mapped(u64::MAX - 0xf, 0x10, false);
        last(&[top.clone(), access(Direction::Read, u64::MAX, 1, OK)]).unwrap();
        last(&[
            top,
            writes(u64::MAX, 1, Outcome::Refused(DmaError::Direction)),
        ])
        .unwrap();
    }

    /// Each access that the maps, or bus mastering, do not allow, and each refusal without a reason.
    #[test]
    fn what_is_not_is_told() {
        let map = || mapped(0x1000, 0x1000, true);
        let unmapped = Kind::BusUnmapped {
            address: 0x1000,
            length: 0x1000,
        };
        let refused = Outcome::Refused;
        let off = Kind::BusMaster { on: false };
        let asleep = Kind::PowerState { state: 3 };
        let flr = Kind::Reset {
            reset: Reset::FunctionLevel,
        };
        let cases: &[&[Kind]] = &[
            &[writes(0x1000, 1, OK)],
            &[map(), writes(0x1fff, 2, OK)],
            &[map(), writes(0xfff, 2, OK)],
            &[map(), unmapped, writes(0x1000, 1, OK)],
            &[mapped(0x1000, 0x1000, false), writes(0x1000, 1, OK)],
            &[map(), off, writes(0x1000, 1, OK)],
            &[map(), asleep, writes(0x1000, 1, OK)],
            &[map(), flr, writes(0x1000, 1, OK)],
            &[map(), Kind::Disconnected, writes(0x1000, 1, OK)],
            &[map(), writes(0x1000, 1, refused(DmaError::Unmapped))],
            &[map(), writes(0x1000, 1, refused(DmaError::Direction))],
            &[map(), writes(0x1000, 1, refused(DmaError::NotMaster))],
            &[map(), writes(0x1000, 1, refused(DmaError::NotPowered))],
            &[map(), writes(0x1000, 1, refused(DmaError::Wraps))],
            &[map(), writes(0x1000, 1, refused(DmaError::Lost))],
            &[Kind::Declared {
                register_write: None,
                what: Declaration::Gone {
                    why: "the card's model panicked: x".into(),
                },
            }],
        ];
        for kinds in cases {
            last(kinds).expect_err(&format!("{kinds:?}"));
        }
    }

    #[test]
    fn entries_that_are_missing_are_counted_and_blind_until_the_next_machine() {
        let mut audit = Audit::default();
        let entry = |sequence, kind| Entry {
            sequence,
            time_ns: 0,
            kind,
        };
        audit.entry(&entry(0, Kind::Connected)).unwrap();
        audit.entry(&entry(4, writes(0, 1, OK))).unwrap();
        assert_eq!(audit.missing, 3);
        audit.entry(&entry(5, Kind::Connected)).unwrap();
        audit.entry(&entry(6, writes(0, 1, OK))).unwrap_err();
        audit.entry(&entry(6, Kind::Connected)).unwrap_err();
    }
}
