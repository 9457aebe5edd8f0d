// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which groups of rules were on, and why others were not.

use std::borrow::Cow;

use super::super::verdict::Group;
use super::super::{Ledger, Violation};
use crate::contract::IdleScope;

impl Ledger {
    /// What was judged by, group by group.
    pub(in super::super) fn groups(&self) -> Vec<Group> {
        let declares = &self.declares;
        let blind = match (self.watched, self.blind) {
            (false, _) => Some("no witness was in the guest"),
            (true, true) => Some("events of the witness were lost"),
            (true, false) => None,
        };
        let access = blind.filter(|_| self.shelf.is_unused());
        let needs = |declared: bool, what: &'static str| (!declared).then_some(what);
        let group = |name: &'static str, judges: &'static str, off: Option<&'static str>| Group {
            name: name.into(),
            judges: judges.into(),
            off: off.map(Cow::Borrowed),
        };
        vec![
            group("access", "where and when the card accessed memory", access),
            group("calls", "what the driver lent and took back", blind),
            group(
                "limits",
                "what the card cannot do",
                needs(
                    declares.limits != Default::default(),
                    "the card declares no limits",
                ),
            ),
            group(
                "jobs",
                "what jobs were programmed to, and what became of them",
                needs(declares.jobs, "the card declares no jobs"),
            ),
            group(
                "hand-over",
                "whose a job is",
                needs(declares.handover, "the card declares no hand-over"),
            ),
            group(
                "interrupts",
                "that each cause is told, and each interrupt has one",
                needs(
                    declares.interrupts,
                    "the card declares no causes of interrupts",
                ),
            ),
            group(
                "masks",
                "interrupts that the driver did not enable",
                needs(declares.masks, "the card declares no mask"),
            ),
            group(
                "idle",
                "silence after a stop",
                needs(
                    declares.idle != IdleScope::Never,
                    "the card never says that it is idle",
                ),
            ),
        ]
    }

    /// Gives those their names that lent and took back.
    pub(in super::super) fn named(&self, mut violation: Violation) -> Violation {
        if let Some(lend) = &mut violation.lend {
            let callers = [&mut lend.lent_by, &mut lend.taken_back_by];
            for caller in callers.into_iter().flatten() {
                self.witness.name_caller(caller);
            }
        }
        violation
    }
}
