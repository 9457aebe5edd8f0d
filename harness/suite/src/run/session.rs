// SPDX-License-Identifier: MIT OR Apache-2.0

//! Watching one card of a guest that runs: captures, and what went wrong in them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use landfall_agent::protocol::capture::CardInfo;
use landfall_device::journal::Journal;
use landfall_device::ledger;
use landfall_guest::ModuleFiles;

use super::capture::{Captured, OK};
use super::jobs::jobs;
use super::{CapturePlan, Clock, Event, RunFailed, Tell};
use crate::capture::Device;
use crate::run::selftest;
use landfall::evidence::{Pages, Recorder};
use landfall::guest::memory::GuestMemory;
use landfall::guest::{Guest, Hole, Loaded, Region};
use landfall::judge;
use landfall::report::schema::{SelfTest, Violation};

/// One card under watch, from [`Session::begin`] to the verdict.
///
/// ```no_run
/// # fn example(guest: &landfall::guest::Guest<landfall::guest::Loaded>) -> Result<(), landfall_suite::run::RunFailed> {
/// use landfall_suite::capture::Device;
/// use landfall_suite::run::{CapturePlan, Session};
///
/// let card = Device::open(guest, 0)?;
/// let mut session = Session::begin(guest, &card)?;
/// session.capture(&CapturePlan { width: 640, height: 480, ..CapturePlan::default() }, guest, &card)?;
/// assert_eq!(session.finish(guest, &card)?, []);
/// # Ok(())
/// # }
/// ```
///
/// What other cards took from the pool is theirs: their sessions look at it.
pub struct Session {
    /// The ledger, and what it was given: all that a bundle needs to judge again.
    pub(super) recorder: Recorder,
    /// What the ledger said when it ended.
    pub(super) judged: ledger::Judgement,
    /// Memory around what went wrong, for a bundle.
    pub(super) pages: Pages,
    /// How many of the ledger's violations were looked at for `pages`.
    pub(super) seen: usize,
    /// Whose the memory at those places is by now, by address.
    pub(super) owners: BTreeMap<u64, String>,
    /// How many of them were told while the guest ran.
    told: usize,
    /// First journal entry that is this session's.
    pub(super) first: u64,
    pub(super) journal: Journal,
    /// The modules that the guest loads.
    pub(super) modules: ModuleFiles,
    pub(super) info: CardInfo,
    pub(super) selftest: SelfTest,
    pub(super) regions: Vec<Region>,
    /// What lies between their first and last bytes and is not the pool's.
    pub(super) holes: Vec<Range<u64>>,
    pub(super) captured: Vec<Captured>,
}

impl Session {
    /// Begins to watch an open card that is idle; what it did before is not looked at, but for its self-test,
    /// which is checked here. What its driver had lent by then, the ledger learns.
    ///
    /// # Errors
    /// If the guest refuses, or the three views of the self-test do not agree.
    pub fn begin(guest: &Guest<Loaded>, card: &Device<'_>) -> Result<Self, RunFailed> {
        let journal = guest.journal(card.index().into()).unwrap_or_default();
        let info = card.info()?;
        let before = journal.entries_from(0);
        let selftest = selftest::check(&guest.memory(), &info, &before)?;
        let regions = guest.regions()?;
        let holes = guest.holes()?.iter().map(Hole::range).collect();
        let first = before.len() as u64;
        let mut recorder = Recorder::new(platform(guest, &regions), first);
        recorder.feed(&journal);
        Ok(Self {
            recorder,
            judged: ledger::Judgement::default(),
            pages: Pages::default(),
            seen: 0,
            owners: BTreeMap::new(),
            told: 0,
            first,
            journal,
            modules: guest.module_files(),
            info,
            selftest,
            regions,
            holes,
            captured: Vec::new(),
        })
    }

    /// Captures, and compares every byte of every frame and all of the pool that nobody was lent.
    ///
    /// # Errors
    /// If the guest fails; what is wrong with a frame is no error, see [`Session::finish`].
    pub fn capture(
        &mut self,
        wanted: &CapturePlan,
        guest: &Guest<Loaded>,
        card: &Device<'_>,
    ) -> Result<&Captured, RunFailed> {
        let mut clock = Clock {
            timings: Vec::new(),
            on_event: &mut |_| (),
        };
        self.timed_capture(wanted, guest, card, &mut clock)?;
        match self.captured.last() {
            Some(captured) => Ok(captured),
            None => unreachable!("a capture that was done is kept"),
        }
    }

    /// Watches the card a moment longer, and gives everything that went wrong.
    ///
    /// # Errors
    /// If the guest fails.
    pub fn finish(
        mut self,
        guest: &Guest<Loaded>,
        card: &Device<'_>,
    ) -> Result<Vec<Violation>, RunFailed> {
        self.end(guest, card)
    }

    /// [`Session::finish`], after which there is nothing to watch any more.
    pub(super) fn end(
        &mut self,
        guest: &Guest<Loaded>,
        card: &Device<'_>,
    ) -> Result<Vec<Violation>, RunFailed> {
        self.settle(guest, card)?;
        let entries = self.journal.entries_from(self.first);
        let findings = self.findings(&jobs(&entries));
        Ok(super::assemble::confirmed(findings, &guest.memory()))
    }

    /// Waits for what a stopped card might still do.
    pub(super) fn settle(
        &mut self,
        guest: &Guest<Loaded>,
        card: &Device<'_>,
    ) -> Result<(), RunFailed> {
        std::thread::sleep(judge::SETTLE);
        guest.sync_card(card.index().into());
        self.look_again(guest, card)?;
        self.info = card.info()?;
        self.ask(guest, card);
        Ok(())
    }

    /// Asks the guest what only that knows of what went wrong.
    fn ask(&mut self, guest: &Guest<Loaded>, card: &Device<'_>) {
        self.feed();
        let violations = self.recorder.violations();
        // Behind an IOMMU, bus addresses are not where the memory is.
        let options = guest.options();
        if violations.is_empty() || !options.witness || options.iommu.is_there() {
            return;
        }
        self.owners = judge::owners(guest, violations);
        if violations.iter().any(|violation| violation.class.is_none()) {
            judge::ask_others(guest, card.index().into());
            self.feed();
        }
    }

    /// Saves the frames of the last capture as pictures.
    pub(super) fn save(
        &self,
        directory: &Path,
        memory: &GuestMemory,
        saved: &mut Vec<PathBuf>,
    ) -> Result<(), RunFailed> {
        let Some(captured) = self.captured.last() else {
            return Ok(());
        };
        for completion in captured.completions().filter(|frame| frame.result == OK) {
            let spec = captured.spec(completion);
            let Some(buffer) = captured.buffer(completion.index) else {
                continue;
            };
            let bytes =
                memory.read_range(buffer.phys..buffer.phys.saturating_add(buffer.length))?;
            saved.push(crate::run::frames::save(
                directory,
                self.captured.len(),
                &bytes,
                &spec,
            )?);
        }
        Ok(())
    }

    /// Gives the ledger what the journal has that it has not seen.
    pub(super) fn feed(&mut self) {
        self.recorder.feed(&self.journal);
    }

    /// Does that, and tells what the ledger found since the last time.
    pub(super) fn tell(&mut self, on_event: Tell<'_>) {
        self.feed();
        let found = self.recorder.violations();
        for new in found.iter().skip(self.told) {
            on_event(Event::Found(Box::new(new.clone())));
        }
        self.told = found.len();
    }
}

/// What the ledger is told of the machine. Behind an IOMMU bus addresses are not physical ones, and it
/// cannot know which of them are RAM.
fn platform(guest: &Guest<Loaded>, regions: &[Region]) -> ledger::Platform {
    let range = |start, length| ledger::Range { start, length };
    if guest.options().iommu.is_there() {
        return ledger::Platform {
            iommu: true,
            ..ledger::Platform::default()
        };
    }
    let ram = guest.memory();
    let ram = ram.ram().iter().map(|ram| range(ram.phys, ram.length));
    let pool = regions
        .iter()
        .map(|region| range(region.base, region.bytes));
    ledger::Platform {
        ram: ram.collect(),
        pool: pool.collect(),
        ..ledger::Platform::default()
    }
}
