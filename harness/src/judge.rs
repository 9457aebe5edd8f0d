// SPDX-License-Identifier: MIT OR Apache-2.0

//! The verdict on a card from its journal alone: for drivers that are not ours, and so tell nobody what they lent but
//! the witness in the guest, whose word is in the same journal.

use landfall_device::journal::Journal;
use landfall_device::ledger::{Judgement, Platform};

use crate::bundle::Recorder;

/// Judges all that is in a card's journal so far. Wait for the card's work in hand before
/// ([`crate::guest::Guest::sync_card`]), or its last piece may be missing. Without a witness nobody knows what is lent, and the verdict is that it
/// was not judged.
pub fn judge(journal: &Journal, platform: Platform) -> Judgement {
    record(journal, platform).1
}

/// Likewise, with what the ledger was given.
pub(crate) fn record(journal: &Journal, platform: Platform) -> (Recorder, Judgement) {
    let mut recorder = Recorder::new(platform, 0);
    recorder.feed(journal);
    recorder.close(journal);
    let judgement = recorder.finish();
    (recorder, judgement)
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_device::contract::Role;
    use landfall_device::journal::{Bytes, Direction, Kind, Outcome};

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
