// SPDX-License-Identifier: MIT OR Apache-2.0

//! The verdict on a card from its journal alone: for drivers that are not ours, and so tell nobody what they lent but
//! the witness in the guest, whose word is in the same journal.

mod leave;
mod leg;
mod trial;
mod verdict;
mod watch;

use std::collections::BTreeMap;

use landfall_device::journal::{Journal, Kind};
use landfall_device::ledger::{Judgement, Platform, Violation};
use landfall_guest::Prepared;

use crate::evidence::Recorder;
use crate::guest::{Guest, Running};

pub use leave::{Expected, leave, leave_dead, record_to, show};
pub use leg::Leg;
pub use trial::{Context, Trial, TrialFailed, causes};
pub(crate) use trial::{Ended, lives};
pub use verdict::{Judged, Outcome, Verdict};
pub use watch::{Death, SETTLE, Watch, count, may_be_drivers, named};

/// Where the witness tells what other devices have lent, when somebody writes there.
const OTHERS: &str = "/sys/kernel/debug/landfall_witness/others";
/// What it counts, read from the cards themselves.
const STATUS: &str = "/sys/kernel/debug/landfall_witness/status";
/// Where it tells whose a byte of memory is.
const OWNER: &str = "/sys/kernel/debug/landfall_witness/owner";
/// Where it tells what instructions are called.
const NAMES: &str = "/sys/kernel/debug/landfall_witness/names";
/// How many it is asked at once: what it says of them is one answer.
const NAMES_AT_ONCE: usize = 48;
/// Longest name that is kept.
const MOST_OF_A_NAME: usize = 200;
/// Most places of which that is asked.
const MOST_ASKED: usize = 16;

/// Judges all that is in a card's journal so far. Wait for the card's work in hand before
/// ([`crate::guest::Guest::sync_card`]), or its last piece may be missing. Without a witness nobody knows what is lent,
/// and the verdict is that it was not judged.
pub fn judge(journal: &Journal, platform: Platform) -> Judgement {
    record(journal, platform, &Asked::NOBODY).1
}

/// Likewise of a card of a guest that runs, number `card`: waits for its work in hand, and asks the guest what only that
/// knows.
pub fn judge_card<Stage: Running>(
    guest: &Guest<Stage>,
    card: usize,
    platform: Platform,
) -> Judgement {
    drain(guest, card);
    let journal = guest.journal(card).unwrap_or_default();
    let ask = Asked {
        others: &|| ask_others(guest, card),
        names: &|addresses| ask_names(guest, &journal, addresses),
    };
    record(&journal, platform, &ask).1
}

/// What a guest can be asked when all else is known. Each puts its answer into the journal.
pub struct Asked<'a> {
    /// What other devices have.
    pub others: &'a dyn Fn(),
    /// What instructions are called.
    pub names: &'a dyn Fn(&[u64]),
}

impl Asked<'_> {
    /// There is nobody to ask.
    pub const NOBODY: Self = Self {
        others: &|| (),
        names: &|_| (),
    };
}

/// Likewise, with what the ledger was given. `others` of `ask` is called if an access lay where nothing was lent to the card, and has
/// what other devices have put into the journal.
pub fn record(journal: &Journal, platform: Platform, ask: &Asked<'_>) -> (Recorder, Judgement) {
    let mut recorder = Recorder::new(platform, 0);
    recorder.feed(journal);
    let wild = |violation: &Violation| violation.class.is_none() && violation.accesses > 0;
    if recorder.violations().iter().any(wild) {
        (ask.others)();
        recorder.feed(journal);
    }
    let nameless = recorder.nameless();
    if !nameless.is_empty() {
        (ask.names)(&nameless);
        recorder.feed(journal);
    }
    recorder.close(journal);
    let judgement = recorder.finish();
    (recorder, judgement)
}

/// Has the witness tell the card's journal what other devices of the guest have lent. A guest that cannot answer any more
/// tells nothing.
pub fn ask_others<Stage: Running>(guest: &Guest<Stage>, card: usize) {
    if guest.write_file(OTHERS, "1").is_ok() {
        drain(guest, card);
    }
}

/// Asks the guest's kernel what is at some addresses of its code, and puts the answers into a journal. A guest that cannot answer
/// any more tells nothing.
pub fn ask_names<Stage: Running>(guest: &Guest<Stage>, journal: &Journal, addresses: &[u64]) {
    for some in addresses.chunks(NAMES_AT_ONCE) {
        let words: Vec<_> = some.iter().map(|address| format!("{address:x}")).collect();
        if guest.write_file(NAMES, words.join(" ")).is_err() {
            return;
        }
        let answers = guest.read_text(NAMES).unwrap_or_default();
        for answer in answers.lines() {
            let (address, name) = answer.split_once(' ').unwrap_or_default();
            if let Ok(address) = u64::from_str_radix(address, 16)
                && !name.is_empty()
            {
                let name = name.chars().take(MOST_OF_A_NAME).collect();
                journal.push(Kind::Symbol { address, name });
            }
        }
    }
}

/// Waits until all that the witness told is in the card's journal, and the card's work in hand is over. What is posted is
/// on its way until somebody reads; a guest that cannot answer any more tells nothing else.
pub fn drain<Stage: Running>(guest: &Guest<Stage>, card: usize) {
    let _ = guest.read_text(STATUS);
    guest.sync_card(card);
}

/// Whose the memory at the places of some violations is by now, as the guest's kernel tells: by first address. Nothing of
/// a guest that cannot answer any more.
pub fn owners<Stage: Running>(
    guest: &Guest<Stage>,
    violations: &[Violation],
) -> BTreeMap<u64, String> {
    let placed = violations.iter().filter(|violation| violation.length > 0);
    let asked = placed.take(MOST_ASKED).map_while(|violation| {
        guest
            .write_file(OWNER, format!("{:#x}", violation.address))
            .ok()?;
        let told = guest.read_text(OWNER).ok()?;
        Some((violation.address, told.trim().to_owned()))
    });
    asked.collect()
}

/// What guests are made of, by name and version, for a report.
pub fn versions(prepared: &Prepared) -> BTreeMap<String, String> {
    let mut versions = BTreeMap::from([
        ("landfall".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
        ("qemu".to_owned(), prepared.qemu.version.clone()),
        ("kernel".to_owned(), prepared.kernel_release.clone()),
    ]);
    let lock = &prepared.lock;
    for (name, version) in [
        ("rustc", &lock.rustc_version),
        ("kmod_sha256", &lock.kmod_sha256),
        ("agent_sha256", &lock.agent_sha256),
    ] {
        if !version.is_empty() {
            versions.insert(name.to_owned(), version.clone());
        }
    }
    versions
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_device::contract::Role;
    use landfall_device::journal::{Bytes, Direction, Outcome};

    fn access() -> Kind {
        Kind::Access {
            direction: Direction::Write,
            address: 0x1000,
            length: 64,
            slot: None,
            job: None,
            role: Role::Payload,
            outcome: Outcome::Ok,
            bytes: Bytes::default(),
        }
    }

    const ATTACHED: Kind = Kind::Attached {
        text_start: 0,
        text_end: 0,
        syncs: true,
    };

    #[test]
    fn an_access_to_what_nobody_lent_is_a_violation_and_a_register_is_not() {
        let journal = Journal::default();
        journal.push(Kind::Connected);
        journal.push(ATTACHED);
        journal.push(Kind::BusMaster { on: true });
        assert!(judge(&journal, Platform::default()).is_clean());

        journal.push(access());
        assert_eq!(judge(&journal, Platform::default()).violations.len(), 1);
    }

    #[test]
    fn without_a_witness_nobody_knows_what_was_lent() {
        let journal = Journal::default();
        journal.push(access());

        let judgement = judge(&journal, Platform::default());
        assert_eq!(judgement.violations, []);
        assert_eq!(judgement.not_judged.len(), 1, "{judgement:?}");
    }

    #[test]
    fn a_journal_that_was_full_is_no_clean_one() {
        let journal = Journal::with_capacity(1);
        journal.push(Kind::Connected);
        journal.push(Kind::Connected);

        let judgement = judge(&journal, Platform::default());
        assert!(!judgement.is_clean());
        assert_eq!(judgement.not_judged.len(), 1, "{judgement:?}");
    }
}
