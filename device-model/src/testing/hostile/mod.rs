// SPDX-License-Identifier: MIT OR Apache-2.0

//! A hostile guest, and a hostile card, through the server that serves any machine, seeded.
//!
//! [`Campaign::guest`] plays a guest, and a machine under it, that do whatever they like to a card: accesses of any size and
//! place, maps made, changed and taken back amid transfers, read-only, overlapping, wrapping, without a descriptor, with
//! somebody else's; memory that becomes shorter; interrupts connected, masked and triggered as it comes; resets amid all
//! of it; commands that there are not; machines that go and come. [`Campaign::card`] has the same guest and a card that does
//! whatever the contract lets it.
//!
//! After each of these it is looked whether
//!
//! - each command is answered, or refused with a number, within [`LIMIT`], and as it has to be;
//! - a byte changed that is not lent for writing, or a file's length;
//! - the journal says of an access that it took place where nothing was mapped for it, while the card was not to master the
//!   bus, or was refused without that reason; what it lacks is as much as it says was dropped;
//! - the model panicked;
//!
//! and after each [`EPOCH`], whether the ledger comes to an end and blames a card that strayed, the card does as it declares,
//! reads as a new one, and ends in time.

mod audit;
mod guest;
mod machine;
mod memory;
mod wild;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub(crate) use self::audit::Audit;
use self::guest::Guest;
pub(crate) use self::memory::Store;
use self::memory::said;
use self::wild::{LENT, Wild};
use super::check_declarations;
use super::conformance::{Maker, registers};
use crate::contract::Function;
use crate::journal::{CAPACITY, Journal, Kind, LendDirection};
use crate::ledger::{Judgement, Ledger, Lend, LendKind, Platform};
use crate::random::Random;
use crate::serve::{CardServer, LocalCard, Options};

/// How long anything may take.
pub const LIMIT: Duration = Duration::from_secs(10);
/// How long a card may take to end.
const ENDING: Duration = Duration::from_secs(3);
/// Operations of a guest after which there is another card.
pub const EPOCH: u64 = 1000;
/// Entries that a journal keeps while nobody reads it.
const DEAF: usize = 512;
/// Entries that it keeps otherwise, and most that are looked at after an operation: a card may do more than any ledger follows.
const KEPT: usize = 1 << 16;
const MOST: usize = 1 << 12;

/// In place of a BAR in a [`Use`]: memory, of which the guest lends the first 64 KiB at bus address 0.
pub const RAM: u8 = 0xff;

/// What a driver writes to make a card work: BAR, offset and value of each register.
pub type Use<'a> = &'a [(u8, u64, u32)];

/// So much hostility.
#[derive(Clone, Copy, Debug)]
pub struct Campaign<'a> {
    /// What it follows from. Not the order in which two threads come to a lock.
    pub seed: u64,
    /// How many operations, at least: the guest's, or the card's.
    pub operations: u64,
    /// Where the card is to listen; nothing must be there.
    pub socket: &'a Path,
    /// What the guest does now and then to make the card work.
    pub uses: &'a [Use<'a>],
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// What the guest did.
    pub operations: u64,
    /// What was refused of that.
    pub refused: u64,
    /// What the card did, if it is a hostile one.
    pub acts: u64,
    /// Machines that came after the first of each card.
    pub machines: u64,
    /// Accesses that took place.
    pub moved: u64,
    /// Accesses that were refused.
    pub denied: u64,
    /// Accesses beside what was lent, where anything was.
    pub strays: u64,
    /// Interrupts that were raised.
    pub interrupts: u64,
    /// Resets.
    pub resets: u64,
    /// Entries of journals.
    pub entries: u64,
    /// Those that were dropped of them.
    pub dropped: u64,
    /// Violations that the ledger found.
    pub violations: u64,
}

/// How a campaign goes.
struct Plan<'a> {
    socket: &'a Path,
    uses: &'a [Use<'a>],
    limit: Duration,
    /// How long it may take to end.
    ending: Duration,
    /// The card may cut its connection.
    severs: bool,
    /// The card is right: it keeps what it declares, and is as new after a reset.
    right: bool,
}

/// Makes the card that is tried, given the memory of its guest.
type Make<'a> = &'a dyn Fn([&File; 2]) -> Box<dyn Function>;

impl Campaign<'_> {
    /// A hostile guest against a card that is right.
    ///
    /// # Errors
    /// What is not as it must be, in words.
    pub fn guest(&self, make: Maker<'_>) -> Result<Tally, String> {
        let right = true;
        self.run(&|_| make(), &AtomicU64::new(0), right, |tally| {
            tally.operations
        })
    }

    /// A hostile guest against a hostile card.
    ///
    /// # Errors
    /// What is not as it must be, in words.
    pub fn card(&self) -> Result<Tally, String> {
        let (acts, cards) = (Arc::new(AtomicU64::new(0)), AtomicU64::new(0));
        let make = |_: [&File; 2]| -> Box<dyn Function> {
            let number = cards.fetch_add(1, Ordering::Relaxed);
            Box::new(Wild::new(
                self.seed ^ number << 32,
                Arc::clone(&acts),
                false,
            ))
        };
        self.run(&make, &acts, false, |tally| tally.acts)
    }

    fn run(
        &self,
        make: Make<'_>,
        acts: &AtomicU64,
        right: bool,
        done: impl Fn(&Tally) -> u64,
    ) -> Result<Tally, String> {
        let plan = Plan {
            socket: self.socket,
            uses: self.uses,
            limit: LIMIT,
            ending: ENDING,
            severs: !right,
            right,
        };
        let mut random = Random::new(self.seed);
        let mut tally = Tally::default();
        for number in 0_u64.. {
            if done(&tally) >= self.operations {
                break;
            }
            let deaf = number % 8 == 1;
            let epoch = plan.epoch(make, Random::new(random.draw()), deaf, &mut tally);
            tally.acts = acts.load(Ordering::Relaxed);
            epoch.map_err(|why| {
                let (seed, operations) = (self.seed, tally.operations);
                format!("with seed {seed}, operation {operations}: {why}")
            })?;
        }
        Ok(tally)
    }
}

impl Plan<'_> {
    /// One card, from its making to its end. Nobody reads the journal of one that is `deaf`.
    fn epoch(
        &self,
        make: Make<'_>,
        random: Random,
        deaf: bool,
        tally: &mut Tally,
    ) -> Result<(), String> {
        if std::fs::symlink_metadata(self.socket).is_ok() {
            return Err(format!("{} is not free", self.socket.display()));
        }
        let stores = [
            Store::new(false).map_err(said)?,
            Store::new(true).map_err(said)?,
        ];
        let function = make([&stores[0].file, &stores[1].file]);
        let fresh = || make([&stores[0].file, &stores[1].file]);
        let news = if self.right {
            [Some(fresh()), Some(fresh())]
        } else {
            [None, None]
        };
        let (identity, declares) = (function.identity(), function.declares());
        let known = registers(function.as_ref());
        let bars = identity.bars.iter().map(|bar| (bar.index, bar.size));
        let options = Options {
            journal: if deaf { DEAF } else { KEPT },
            ..Options::default()
        };
        let server = CardServer::bind_with(self.socket, function, options).map_err(said)?;
        let journal = server.journal();
        let mut guest = Guest::new(self, stores, known.clone(), bars.collect(), random)?;
        let mut seen = Seen::new(self);
        for _ in 0..EPOCH {
            let done = guest.act(tally);
            if done.is_err() || !deaf {
                // Why a connection ended it may say.
                seen.look(&journal, guest.shrank)?;
            }
            done?;
        }
        if self.right {
            guest.reconnect(tally)?;
            let now = guest.registers()?;
            let news = news.into_iter().flatten();
            let news: Vec<_> = news.map(|card| as_new(card, &known)).collect();
            as_new_is(&known, &now, &news)?;
        }
        guest.stores.iter_mut().try_for_each(Store::check)?;
        let began = Instant::now();
        drop(server);
        if began.elapsed() > self.ending {
            return Err(format!("its threads took {:?} to end", began.elapsed()));
        }
        guest.stores.iter_mut().try_for_each(Store::check)?;
        for _ in 0..=KEPT / MOST {
            seen.look(&journal, guest.shrank)?;
        }
        seen.end(&journal, tally)?;
        match seen.keeps && journal.dropped() == 0 {
            true => check_declarations(&declares, &seen.kinds),
            false => Ok(()),
        }
    }
}

/// What was seen of a journal.
struct Seen {
    audit: Audit,
    ledger: Ledger,
    /// All of them, of a card that is right and does not do too much.
    kinds: Vec<Kind>,
    keeps: bool,
}

impl Seen {
    fn new(plan: &Plan<'_>) -> Self {
        let mut ledger = Ledger::new(Platform::default());
        let mut audit = Audit::default();
        if !plan.right {
            audit.lent = Some(LENT);
            ledger.lend(Lend {
                address: LENT.start,
                length: LENT.length,
                direction: LendDirection::Both,
                kind: LendKind::SelfTest,
                slot: None,
                label: "what is lent".to_owned(),
            });
        }
        Self {
            audit,
            ledger,
            kinds: Vec::new(),
            keeps: plan.right,
        }
    }

    /// Looks at what came since, or at the first of it.
    fn look(&mut self, journal: &Journal, may_lose: bool) -> Result<(), String> {
        self.audit.may_lose |= may_lose;
        for entry in journal.take(MOST) {
            self.ledger.entry(&entry);
            self.audit.entry(&entry)?;
            self.keeps &= self.kinds.len() < CAPACITY;
            if self.keeps {
                self.kinds.push(entry.kind);
            }
        }
        Ok(())
    }

    /// All came.
    fn end(&mut self, journal: &Journal, tally: &mut Tally) -> Result<(), String> {
        let audit = &self.audit;
        self.counted(journal)?;
        let judgement = std::mem::take(&mut self.ledger).finish();
        blames(&judgement, audit.strays)?;
        tally.moved += audit.moved;
        tally.denied += audit.denied;
        tally.strays += audit.strays;
        tally.interrupts += audit.interrupts;
        tally.resets += audit.resets;
        tally.entries += journal.len();
        tally.dropped += journal.dropped();
        tally.violations += judgement.violations.len() as u64;
        Ok(())
    }

    /// What the journal lacks is what it says to have dropped: in the middle, which its numbers show, or behind its end.
    fn counted(&self, journal: &Journal) -> Result<(), String> {
        let lacks = self.audit.missing + (journal.len() - self.audit.next());
        match lacks == journal.dropped() {
            true => Ok(()),
            false => Err(format!(
                "the journal lacks {lacks} entries, and says that it dropped {}",
                journal.dropped()
            )),
        }
    }
}

/// A card that went where nothing was lent is blamed for it.
fn blames(judgement: &Judgement, strays: u64) -> Result<(), String> {
    match strays > 0 && judgement.violations.is_empty() {
        true => Err(format!(
            "of {strays} accesses beside what was lent none is a violation"
        )),
        false => Ok(()),
    }
}

/// What each register of a new card reads as.
fn as_new(card: Box<dyn Function>, known: &[crate::contract::Access]) -> Vec<Vec<u8>> {
    let mut card = LocalCard::new(card);
    let read = known.iter().map(|access| {
        let mut bytes = vec![0; access.width.bytes().into()];
        card.read_bytes(access.bar, access.offset, &mut bytes);
        bytes
    });
    read.collect()
}

/// Whether what is read now is what new cards read, where these agree.
fn as_new_is(
    known: &[crate::contract::Access],
    now: &[Vec<u8>],
    news: &[Vec<Vec<u8>>],
) -> Result<(), String> {
    let [one, other] = news else {
        return Ok(());
    };
    for (((access, now), one), other) in known.iter().zip(now).zip(one).zip(other) {
        if one == other && now != one {
            return Err(format!(
                "{access:?} reads {now:x?}, and {one:x?} on a new card"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

/// Seed and operations of a campaign in a test: `LANDFALL_HOSTILE_SEED` and `LANDFALL_HOSTILE`.
#[cfg(test)]
pub(crate) fn operations() -> (u64, u64) {
    let asked = |variable, usual| {
        let asked = std::env::var(variable).ok();
        asked.map_or(usual, |asked| asked.parse().expect("a number"))
    };
    (
        asked("LANDFALL_HOSTILE_SEED", 1),
        asked("LANDFALL_HOSTILE", 20_000),
    )
}
