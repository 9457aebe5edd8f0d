// SPDX-License-Identifier: MIT OR Apache-2.0

//! Looking at what a capture left in memory: the host compares it while the guest hashes it by itself.
//!
//! A frame is looked at before its buffer is given back to the card. All others, and the pool, are looked at
//! when the card has been stopped; no frame is looked at early and then left to a card that still runs. What a
//! card does to memory after that is wrong, and the journal tells that it did: then memory is compared again,
//! so that it does not matter which came first, the late write or the comparison.

use std::num::NonZero;
use std::ops::Range;
use std::thread;

use landfall_agent::protocol::capture::Lend;
use landfall_device::contract::Declaration;
use landfall_device::journal::{Direction, Journal, Kind};

use super::capture::{Captured, OK};
use super::{RunFailed, Session};
use crate::capture::Device;
use crate::verify::{self, Checks, Wanted};
use landfall::guest::memory::{GuestMemory, ReadError};
use landfall::guest::{Guest, Loaded, Region};

/// What is looked at in one go.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    /// Frames, by their place in [`Captured::frames`].
    frames: Vec<usize>,
    /// Parts of the pool.
    regions: Vec<Range<u64>>,
    /// What of them is lent, or not the pool's.
    lent: Vec<Range<u64>>,
    /// Journal entries that there were before.
    since: u64,
}

impl Look {
    /// One frame, of a card that runs.
    pub(super) fn at_frame(index: usize) -> Self {
        Self {
            frames: vec![index],
            ..Self::default()
        }
    }
}

impl Session {
    /// Compares the last capture's memory again if the card wrote to memory since. What the driver or another
    /// card has changed by right is left alone.
    pub(super) fn look_again(
        &mut self,
        guest: &Guest<Loaded>,
        card: &Device<'_>,
    ) -> Result<(), RunFailed> {
        let Some(captured) = self.captured.last_mut() else {
            return Ok(());
        };
        let Some(look) = captured.last_look.take() else {
            return Ok(());
        };
        if since(&self.journal, look.since) != Since::Written {
            return Ok(());
        }
        let same = same_lends(&captured.lends, &card.lends()?) && captured.used == guest.used()?;
        if same {
            captured.compare(&look, &guest.memory())?.keep(captured);
        }
        Ok(())
    }
}

impl Captured {
    /// Looks at the frames that were not looked at yet, and at all of the pool that was not lent. The card has
    /// been stopped.
    pub(super) fn verify(
        &mut self,
        memory: &GuestMemory,
        card: &Device<'_>,
        (regions, holes): (&[Region], &[Range<u64>]),
        journal: &Journal,
    ) -> Result<(), RunFailed> {
        let lent = |lend: &Lend| lend.phys..lend.phys.saturating_add(lend.length);
        let unchecked = self.frames.iter().enumerate();
        let look = Look {
            frames: unchecked
                .filter(|(_, frame)| frame.check.is_none())
                .map(|(index, _)| index)
                .collect(),
            regions: regions.iter().map(Region::range).collect(),
            lent: self
                .lends
                .iter()
                .map(lent)
                .chain(self.of_others())
                .chain(holes.iter().cloned())
                .collect(),
            since: journal.len(),
        };
        self.look(&look, memory, card)?;
        let now = journal.len();
        if since(journal, look.since) != Since::Nothing {
            self.compare(&look, memory)?.keep(self);
        }
        self.last_look = Some(Look { since: now, ..look });
        Ok(())
    }

    /// Compares on all of the host's CPUs, while the guest hashes the frames.
    pub(super) fn look(
        &mut self,
        look: &Look,
        memory: &GuestMemory,
        card: &Device<'_>,
    ) -> Result<(), RunFailed> {
        let (slots, indices): (Vec<_>, Vec<_>) = self
            .wanted(look)
            .map(|(index, wanted)| (u32::from(wanted.spec.slot), index))
            .unzip();
        let (compared, hashes) = thread::scope(|scope| {
            let host = scope.spawn(|| self.compare(look, memory));
            let hashes = match slots.is_empty() {
                true => Ok(Vec::new()),
                false => card.hashes(&slots),
            };
            (host.join(), hashes)
        });
        match compared {
            Ok(compared) => compared?.keep(self),
            Err(panic) => std::panic::resume_unwind(panic),
        }
        for (index, hash) in indices.into_iter().zip(hashes?) {
            if let Some(frame) = self.frames.get_mut(index) {
                frame.guest_hash = Some(hash);
            }
        }
        Ok(())
    }

    /// The frames that there are to look at, with their places in [`Captured::frames`]: what the card reported
    /// as a frame, in a buffer that the driver has.
    fn wanted<'a>(&'a self, look: &'a Look) -> impl Iterator<Item = (usize, Wanted<'a>)> {
        look.frames.iter().filter_map(|&index| {
            let completion = &self.frames.get(index)?.completion;
            let buffer = self.buffer(completion.index)?;
            let wanted = Wanted {
                phys: buffer.phys,
                spec: self.spec(completion),
                clip: self.plan.clip.as_deref(),
            };
            (completion.result == OK).then_some((index, wanted))
        })
    }

    fn compare(&self, look: &Look, memory: &GuestMemory) -> Result<Compared, ReadError> {
        let (indices, wanted): (Vec<_>, Vec<_>) = self.wanted(look).unzip();
        let threads = thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        let checks = verify::all(memory, &wanted, &look.regions, &look.lent, threads)?;
        Ok(Compared { indices, checks })
    }
}

/// What came of one comparison.
struct Compared {
    indices: Vec<usize>,
    checks: Checks,
}

impl Compared {
    /// Enters it. What was found wrong before stays as it was.
    fn keep(self, captured: &mut Captured) {
        for (index, check) in self.indices.into_iter().zip(self.checks.frames) {
            if let Some(frame) = captured.frames.get_mut(index)
                && frame
                    .check
                    .as_ref()
                    .is_none_or(|known| known.differences.is_empty())
            {
                frame.check = Some(check);
            }
        }
        if self.checks.pool.is_empty() {
            return;
        }
        captured.canary_bytes = self.checks.pool.iter().map(|check| check.bytes).sum();
        let found = self.checks.pool.into_iter().map(|check| check.differences);
        if captured.strays.is_empty() {
            captured.strays = found.collect();
            return;
        }
        for (known, found) in captured.strays.iter_mut().zip(found) {
            if known.is_empty() {
                *known = found;
            }
        }
    }
}

/// What a card did to memory since it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    /// Nothing.
    Nothing,
    /// It wrote, or tried to, with no job begun: all is as it was, but for that.
    Written,
    /// It was given work again, or the journal is full and does not tell.
    Unknown,
}

fn since(journal: &Journal, entry: u64) -> Since {
    let entries = journal.entries_from(entry);
    let begun = |kind: &Kind| {
        let declared = kind.declaration();
        matches!(declared, Some((Declaration::Begun { .. }, _)))
    };
    let written = |kind: &Kind| {
        matches!(
            kind,
            Kind::Access {
                direction: Direction::Write,
                ..
            }
        )
    };
    if journal.dropped() > 0 || entries.iter().any(|entry| begun(&entry.kind)) {
        Since::Unknown
    } else if entries.iter().any(|entry| written(&entry.kind)) {
        Since::Written
    } else {
        Since::Nothing
    }
}

/// Whether the driver lends the same memory.
fn same_lends(before: &[Lend], now: &[Lend]) -> bool {
    let place = |lend: &Lend| (lend.index, lend.phys, lend.length);
    before.iter().map(place).eq(now.iter().map(place))
}

#[cfg(test)]
mod tests {
    use landfall_agent::protocol::capture::Configured;
    use landfall_device::contract::{JobId, Piece, Role};
    use landfall_device::journal::{Bytes, Outcome};

    use super::*;
    use crate::run::CapturePlan;

    fn begun() -> Kind {
        Kind::Declared {
            register_write: None,
            what: Declaration::begun(JobId(1), vec![Piece::write(0x1000, 64)]),
        }
    }

    fn access(direction: Direction) -> Kind {
        Kind::Access {
            direction,
            address: 0x1000,
            length: 64,
            slot: None,
            job: None,
            role: Role::Payload,
            outcome: Outcome::Ok,
            bytes: Bytes::default(),
        }
    }

    fn nothing() -> Captured {
        Captured {
            plan: CapturePlan::default(),
            format: Configured {
                format: 0,
                width: 0,
                height: 0,
                stride: 0,
                clip_size: 0,
                frame_size: 0,
                buffers: 0,
            },
            buffers: Vec::new(),
            lends: Vec::new(),
            used: Vec::new(),
            entries: 0..0,
            frames: Vec::new(),
            stalled: None,
            strays: Vec::new(),
            canary_bytes: 0,
            last_look: None,
        }
    }

    fn after(kinds: impl IntoIterator<Item = Kind>) -> Since {
        let journal = Journal::default();
        journal.push(begun());
        journal.push(access(Direction::Write));
        let looked = journal.len();
        kinds.into_iter().for_each(|kind| {
            journal.push(kind);
        });
        since(&journal, looked)
    }

    #[test]
    fn a_card_that_only_reads_changed_nothing() {
        assert_eq!(after([]), Since::Nothing);
        assert_eq!(after([access(Direction::Read)]), Since::Nothing);
    }

    #[test]
    fn a_late_write_is_seen_and_a_new_job_makes_memory_another() {
        assert_eq!(after([access(Direction::Write)]), Since::Written);
        assert_eq!(after([begun(), access(Direction::Write)]), Since::Unknown);
    }

    #[test]
    fn a_full_journal_tells_nothing() {
        let journal = Journal::with_capacity(1);
        journal.push(begun());
        assert_eq!(since(&journal, 1), Since::Nothing);
        journal.push(access(Direction::Write));
        assert_eq!(since(&journal, 1), Since::Unknown);
    }

    #[test]
    fn what_was_found_wrong_stays_and_what_was_clean_is_replaced() {
        let region = 0x1000..0x2000;
        let memory = GuestMemory::flat(1 << 20).unwrap();
        let compare = || {
            let regions = std::slice::from_ref(&region);
            let checks = verify::all(&memory, &[], regions, &[], NonZero::<usize>::MIN).unwrap();
            Compared {
                indices: Vec::new(),
                checks,
            }
        };
        let right: Vec<u8> = region.clone().map(landfall_reserve::canary::byte).collect();
        memory.write(region.start, &right).unwrap();
        let mut captured = nothing();

        compare().keep(&mut captured);
        assert!(captured.strays[0].is_empty());
        memory.write(0x1800, &[0]).unwrap();
        compare().keep(&mut captured);
        assert_eq!(captured.strays[0].bytes, 1);
        memory.write(region.start, &right).unwrap();
        compare().keep(&mut captured);
        assert_eq!(
            captured.strays[0].bytes, 1,
            "a byte that was put right was wrong"
        );
        assert_eq!(captured.canary_bytes, 0x1000);
    }
}
