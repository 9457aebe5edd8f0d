// SPDX-License-Identifier: MIT OR Apache-2.0

//! What was seen of a guest and its cards, and what is kept of it.

use std::path::PathBuf;
use std::time::Duration;

use landfall_device::ledger::{Class, Violation};

use super::Trace;
use crate::guest::console_findings::Finding;
use crate::report::schema;

/// Most that is told of one run.
const SAID: usize = 8;

/// A violation, as short as can be.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Named {
    /// Number of its class; `null`: of no known class.
    pub class: Option<u8>,
    /// Name of the class, or a short name.
    pub name: String,
    /// What happened, in words.
    pub text: String,
}

impl Named {
    /// One of a class, by its number.
    pub fn of(class: u8, text: String) -> Self {
        Self {
            class: Some(class),
            name: Class::of(class).map_or("", Class::name).to_owned(),
            text,
        }
    }
}

impl From<Violation> for Named {
    fn from(violation: Violation) -> Self {
        Self {
            class: violation.class.map(Class::number),
            name: violation.name.into_owned(),
            text: violation.text,
        }
    }
}

/// What was seen of a trial.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Observed {
    /// What went wrong, the first first.
    pub violations: Vec<Named>,
    /// What may have gone wrong, and only who sees the CPU's accesses could tell.
    #[serde(default)]
    pub hints: Vec<Named>,
    /// Why something was not judged.
    #[serde(default)]
    pub not_judged: Vec<String>,
    /// Registers that the driver touched and the card's model lacks, and one that it waited for in vain; a line each.
    #[serde(default)]
    pub missing: Vec<String>,
    /// What the kernel said on its console.
    pub findings: Vec<Finding>,
    /// How the guest died, if it did.
    pub died: Option<String>,
    /// Accesses of the card.
    pub accesses: u64,
    /// Those that the bus refused: nothing is mapped there, or not that way.
    pub refused: u64,
    /// Calls of the driver that the witness told of.
    pub calls: u64,
    /// Frames that the card completed.
    pub frames: u64,
    /// What else was looked at, where no card works: bytes of memory that was watched, calls of the pool.
    #[serde(default)]
    pub besides: u64,
    /// Every fault of the card struck.
    pub struck: bool,
    /// How long the driver took for everything.
    pub took: Duration,
    /// Where its bundle was left, if that was asked for and it did not give what was expected.
    #[serde(skip)]
    pub bundle: Option<PathBuf>,
    /// What its bundle needs, until that is decided.
    #[serde(skip)]
    pub trace: Trace,
}

impl Observed {
    /// Whether all that was said is of this class, and something was. What is only hinted at counts if nothing else was
    /// said.
    pub fn names(&self, class: u8) -> bool {
        let said = match self.violations.is_empty() {
            true => &self.hints,
            false => &self.violations,
        };
        !said.is_empty() && said.iter().all(|named| named.class == Some(class))
    }

    /// Whether something went wrong.
    pub fn is_wrong(&self) -> bool {
        !(self.violations.is_empty() && self.findings.is_empty()) || self.died.is_some()
    }

    /// Whether nothing went wrong, and everything was looked at.
    pub fn is_sound(&self) -> bool {
        self.not_judged.is_empty() && !self.is_wrong()
    }

    /// Whether nothing at all was seen: it is sound, and nothing is even hinted at.
    pub fn is_silent(&self) -> bool {
        self.is_sound() && self.hints.is_empty()
    }

    /// Whether enough happened for silence to mean anything: lends were told, and the card used them.
    pub fn is_telling(&self) -> bool {
        self.frames > 0 && self.accesses > 0 && self.calls > 1 || self.besides > 0
    }
}

impl Observed {
    /// What was said, the first first.
    pub fn said(&self) -> Vec<Named> {
        let mut said: Vec<_> = self.violations.iter().take(SAID).cloned().collect();
        let other = |name: &str, text: &str| Named {
            class: None,
            name: name.to_owned(),
            text: text.to_owned(),
        };
        said.extend(self.hints.iter().take(SAID).cloned());
        said.extend(self.not_judged.iter().map(|why| other("not judged", why)));
        said.extend(self.died.iter().map(|how| other("guest failed", how)));
        let findings = self.findings.iter().take(SAID);
        said.extend(findings.map(|finding| other("kernel", &finding.line)));
        said
    }

    /// What was said of a run in which nothing was planted; or that its silence means nothing.
    pub fn alarm(&self) -> Option<String> {
        if !self.is_silent() {
            Some(self.first())
        } else if !self.is_telling() {
            Some(format!(
                "too little happened for silence to mean anything: {} frames, {} accesses, {} calls",
                self.frames, self.accesses, self.calls
            ))
        } else {
            None
        }
    }

    /// All that was said, in words.
    pub fn all(&self) -> String {
        let said = self.said();
        let said = said.iter().map(|one| format!("{}: {}", one.name, one.text));
        said.collect::<Vec<_>>().join("; ")
    }

    /// The first that was said, in words.
    pub fn first(&self) -> String {
        let said = self.said();
        said.first().map_or_else(
            || "nothing".to_owned(),
            |first| format!("{}: {}", first.name, first.text),
        )
    }
}

impl From<schema::Violation> for Named {
    fn from(violation: schema::Violation) -> Self {
        Self {
            class: violation.class,
            name: violation.name,
            text: violation.text,
        }
    }
}
