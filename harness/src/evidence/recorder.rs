// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a ledger is fed with: recorded while a guest runs, and written as lines.

use std::io::{self, Write};
use std::ops::Range;

use landfall_device::contract::Declaration;
use landfall_device::journal::{Entry, Journal, Kind};
use landfall_device::ledger::{Judgement, Ledger, Lend, Platform, Violation};
use serde::{Deserialize, Serialize};

/// Numbers and times of entries end here, so that nobody has to reckon with their overflow.
pub(crate) const LARGEST_NUMBER: u64 = 1 << 62;

/// One line of a stream. The first is the platform, and no other is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Item {
    /// What the machine is like.
    Platform(Platform),
    /// [`Ledger::lend`].
    Lend(Lend),
    /// [`Ledger::reclaim`]; always true.
    Reclaim(bool),
    /// [`Ledger::entry`].
    Entry(Entry),
}

/// What a ledger was given. Entries are in the journal, which only grows.
#[derive(Debug)]
enum Given {
    Lend(Lend),
    Reclaim,
    Entries(Range<u64>),
    /// An entry that is not in the journal.
    Full(Entry),
}

/// A ledger that remembers what it was given, so that the same can be given to another one.
#[derive(Debug)]
pub struct Recorder {
    platform: Platform,
    ledger: Ledger,
    given: Vec<Given>,
    /// Journal entries below this one were given to the ledger.
    fed: u64,
    /// Of those below this one it was given only what lasts.
    first: u64,
}

impl Recorder {
    /// Begins a ledger in which nothing is lent. It judges a journal from entry `first` on; of what came before it
    /// learns who had lent what.
    pub fn new(platform: Platform, first: u64) -> Self {
        Self {
            ledger: Ledger::new(platform.clone()),
            platform,
            given: Vec::new(),
            fed: 0,
            first,
        }
    }

    /// [`Ledger::lend`].
    pub fn lend(&mut self, lend: Lend) {
        self.given.push(Given::Lend(lend.clone()));
        self.ledger.lend(lend);
    }

    /// [`Ledger::reclaim`].
    pub fn reclaim(&mut self) {
        self.given.push(Given::Reclaim);
        self.ledger.reclaim();
    }

    /// [`Ledger::entry`], for all that the journal has and the ledger has not seen. It is the same journal each time.
    pub fn feed(&mut self, journal: &Journal) {
        for entry in journal.entries_from(self.fed) {
            let end = entry.sequence + 1;
            self.fed = end;
            self.ledger.entry(&self.told(entry.clone()));
            match self.given.last_mut() {
                Some(Given::Entries(range)) => range.end = end,
                _ => self.given.push(Given::Entries(entry.sequence..end)),
            }
        }
    }

    /// Tells the ledger that the journal ends early, if it was full: the ledger sees that by the numbers.
    pub fn close(&mut self, journal: &Journal) {
        if journal.dropped() == 0 {
            return;
        }
        let full = Entry {
            sequence: journal.len(),
            time_ns: LARGEST_NUMBER - 1,
            kind: Kind::Disconnected,
        };
        self.ledger.entry(&full);
        self.given.push(Given::Full(full));
    }

    /// An entry as the ledger is told it.
    fn told(&self, entry: Entry) -> Entry {
        match entry.sequence < self.first {
            true => remembered(entry),
            false => entry,
        }
    }

    /// What went wrong so far.
    pub fn violations(&self) -> &[Violation] {
        self.ledger.violations()
    }

    /// Addresses in the guest's kernel of which a name would say more.
    pub fn nameless(&self) -> Vec<u64> {
        self.ledger.nameless()
    }

    /// Ends the ledger, and begins an empty one in its place.
    pub fn finish(&mut self) -> Judgement {
        std::mem::take(&mut self.ledger).finish()
    }

    /// Writes what the ledger was given, a line each.
    ///
    /// # Errors
    /// What `out` gave.
    pub fn write(&self, journal: &Journal, mut out: impl Write) -> io::Result<()> {
        self.items(journal, |item| {
            serde_json::to_writer(&mut out, &item)?;
            out.write_all(b"\n")
        })
    }

    /// Tells what the ledger was given, in order.
    ///
    /// # Errors
    /// What `each` gave.
    pub fn items<E>(
        &self,
        journal: &Journal,
        mut each: impl FnMut(Item) -> Result<(), E>,
    ) -> Result<(), E> {
        each(Item::Platform(self.platform.clone()))?;
        let mut entries = journal.entries_from(0).into_iter().peekable();
        for given in &self.given {
            match given {
                Given::Lend(lend) => each(Item::Lend(lend.clone()))?,
                Given::Reclaim => each(Item::Reclaim(true))?,
                Given::Full(entry) => each(Item::Entry(entry.clone()))?,
                Given::Entries(range) => {
                    while let Some(entry) = entries.next_if(|entry| entry.sequence < range.end) {
                        if entry.sequence >= range.start {
                            each(Item::Entry(self.told(entry)))?;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// What of an entry from before a session its ledger is to know: what is lent, who is bound, what is switched on.
/// What was done then is not looked at, and a read of nothing stands for it: no number may be missing.
fn remembered(entry: Entry) -> Entry {
    let lasting = matches!(
        entry.kind,
        Kind::Declares(_)
            | Kind::Call(_)
            | Kind::Register { .. }
            | Kind::Attached { .. }
            | Kind::Declared {
                what: Declaration::Masked { .. },
                ..
            }
            | Kind::WitnessGap { .. }
            | Kind::CpuWatched
            | Kind::Unheard { .. }
            | Kind::Elsewhere { .. }
            | Kind::Symbol { .. }
            | Kind::Driver { .. }
            | Kind::BusMapped { .. }
            | Kind::BusUnmapped { .. }
            | Kind::BusMaster { .. }
            | Kind::Decoding { .. }
            | Kind::PowerState { .. }
    );
    if lasting {
        return entry;
    }
    let nothing = Kind::Unclaimed {
        bar: 0,
        offset: 0,
        write: false,
        width: 4,
        count: 0,
    };
    Entry {
        kind: nothing,
        ..entry
    }
}
