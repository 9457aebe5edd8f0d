// SPDX-License-Identifier: MIT OR Apache-2.0

//! What came of a trial.

use std::fmt;

use landfall_device::ledger::Class;

use super::{Leg, trial};
use crate::bundle::{Bundle, story};
use crate::evidence::Observed;
use crate::guest::Ran;

/// The verdict on a trial.
#[derive(Debug, serde::Serialize)]
pub struct Verdict {
    /// What the trial is called.
    pub name: String,
    /// Each platform, in the order of the trial.
    pub legs: Vec<Judged>,
}

/// What was seen on one platform.
#[derive(Debug, serde::Serialize)]
pub struct Judged {
    /// Which.
    pub leg: Leg,
    /// Why it was left out.
    pub skipped: Option<String>,
    /// Each card, by name.
    pub cards: Vec<(String, Observed)>,
    /// Each program, with its command line.
    pub programs: Vec<(String, Ran)>,
    /// What views of the trial's own found wrong.
    pub looks: Vec<String>,
}

impl Judged {
    pub(super) fn skipped(leg: Leg, why: &str) -> Self {
        Self {
            leg,
            skipped: Some(why.to_owned()),
            cards: Vec::new(),
            programs: Vec::new(),
            looks: Vec::new(),
        }
    }

    /// All that is wrong, and why it is not known whether something is; a line each.
    fn wrong(&self) -> Vec<String> {
        let cards = self.cards.iter();
        let cards = cards.filter_map(|(name, seen)| {
            let says = says(seen)?;
            Some(format!("{name}: {says}"))
        });
        cards
            .chain(self.programs.iter().filter_map(trial::failed))
            .chain(self.looks.iter().cloned())
            .collect()
    }
}

/// What is wrong with what was seen of a card, in words; or why nothing is known of it.
pub(super) fn says(seen: &Observed) -> Option<String> {
    let judged = || seen.not_judged.first();
    if !seen.is_sound() {
        let why = judged().map(|why| format!("not judged: {why}"));
        return Some(
            why.filter(|_| !seen.is_wrong())
                .unwrap_or_else(|| seen.first()),
        );
    }
    (seen.accesses == 0).then(|| {
        "not judged: the card made no access to memory, so nothing was shown (did a driver bind?)"
            .to_owned()
    })
}

/// A verdict in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Nothing went wrong, and everything was judged.
    Clean,
    /// Something went wrong.
    Violations,
    /// Nothing went wrong that could be seen, and something was not judged.
    NotJudged,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Clean => "clean",
            Self::Violations => "not clean",
            Self::NotJudged => "not judged",
        })
    }
}

impl Verdict {
    /// The verdict in one word.
    pub fn outcome(&self) -> Outcome {
        let failed = |leg: &Judged| {
            !leg.looks.is_empty()
                || leg.programs.iter().any(|ran| trial::failed(ran).is_some())
                || leg.cards.iter().any(|(_, seen)| seen.is_wrong())
        };
        if self.legs.iter().any(failed) {
            return Outcome::Violations;
        }
        match self.is_clean() {
            true => Outcome::Clean,
            false => Outcome::NotJudged,
        }
    }

    /// Nothing went wrong on any platform, and everything was judged; a hint is nothing wrong, nor is a platform that was
    /// left out, unless all were.
    pub fn is_clean(&self) -> bool {
        self.wrong().is_empty()
    }

    /// All that was said of violations is of that class, and something was, on each platform that was not left out.
    pub fn is_named(&self, class: Class) -> bool {
        self.on_each(|seen| seen.names(class.number()))
    }

    /// Something that was said of violations is of that class, on each platform that was not left out.
    pub fn names(&self, class: Class) -> bool {
        let number = Some(class.number());
        let named = |seen: &Observed| seen.violations.iter().any(|said| said.class == number);
        self.on_each(named)
    }

    fn on_each(&self, of_a_card: impl Fn(&Observed) -> bool) -> bool {
        let mut judged = self
            .legs
            .iter()
            .filter(|leg| leg.skipped.is_none())
            .peekable();
        judged.peek().is_some()
            && judged.all(|leg| leg.cards.iter().any(|(_, seen)| of_a_card(seen)))
    }

    /// All that is wrong, a line each, with its platform.
    pub fn wrong(&self) -> Vec<String> {
        if self.legs.iter().all(|leg| leg.skipped.is_some()) {
            let why = self.legs.iter().filter_map(|leg| leg.skipped.as_deref());
            let legs = self.legs.iter().map(|leg| leg.leg).zip(why);
            return legs
                .map(|(leg, why)| format!("{leg}: not judged: left out: {why}"))
                .collect();
        }
        let of_leg = |leg: &Judged| {
            let name = leg.leg;
            let wrong = leg.wrong().into_iter();
            wrong.map(move |line| format!("{name}: {line}"))
        };
        self.legs.iter().flat_map(of_leg).collect()
    }

    /// Panics with the whole story unless it is clean.
    ///
    /// # Panics
    /// So.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert!(self.is_clean(), "{self}");
    }

    /// Panics with the whole story unless it is just this bug, on each platform.
    ///
    /// # Panics
    /// So.
    #[track_caller]
    pub fn assert_named(&self, class: Class) {
        assert!(
            self.is_named(class),
            "class {class} ({}) was to be named: {self}",
            class.name()
        );
    }

    /// Removes the bundles that it left: for a test that passes because of what they tell.
    ///
    /// # Errors
    /// If one cannot be removed.
    pub fn discard(self) -> std::io::Result<()> {
        let seen = self.legs.iter().flat_map(|leg| &leg.cards);
        for bundle in seen.filter_map(|(_, seen)| seen.bundle.as_ref()) {
            match bundle.is_dir() {
                true => std::fs::remove_dir_all(bundle)?,
                false => std::fs::remove_file(bundle)?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.name, self.outcome())?;
        for line in self.wrong() {
            writeln!(f, "  {line}")?;
        }
        for leg in &self.legs {
            for (card, seen) in &leg.cards {
                for line in &seen.missing {
                    writeln!(f, "  {}: {card} lacks: {line}", leg.leg)?;
                }
            }
            if let Some(why) = &leg.skipped {
                writeln!(f, "  {}: left out: {why}", leg.leg)?;
            }
        }
        let bundles = self.legs.iter().flat_map(|leg| &leg.cards);
        let told = self.outcome() == Outcome::Violations;
        for path in bundles.filter_map(|(_, seen)| seen.bundle.as_ref()) {
            if !told {
                // There is no story: nothing is known to be wrong.
                writeln!(f, "  bundle: {}", path.display())?;
                continue;
            }
            let name = path.display().to_string();
            let told = Bundle::open(path).and_then(|bundle| story(&bundle, &name));
            match told {
                Ok(told) => write!(f, "\n{told}")?,
                Err(error) => writeln!(f, "\n{name}: {error}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(legs: Vec<Judged>) -> Verdict {
        let name = "t".to_owned();
        Verdict { name, legs }
    }

    fn seen(accesses: u64) -> Judged {
        let observed = Observed {
            accesses,
            ..Observed::default()
        };
        Judged {
            leg: Leg::Plain,
            skipped: None,
            cards: vec![("card".to_owned(), observed)],
            programs: Vec::new(),
            looks: Vec::new(),
        }
    }

    #[test]
    fn where_all_platforms_were_left_out_nothing_was_shown() {
        let left = || Judged::skipped(Leg::Debug, "there is none");
        assert_eq!(verdict(vec![seen(1), left()]).outcome(), Outcome::Clean);
        let nothing = verdict(vec![left()]);
        assert!(!nothing.is_clean());
        assert_eq!(nothing.outcome(), Outcome::NotJudged);
        assert_eq!(
            nothing.wrong(),
            ["debug: not judged: left out: there is none"]
        );
    }

    #[test]
    fn a_card_that_did_nothing_is_not_judged_and_a_view_that_finds_something_is_a_violation() {
        assert_eq!(verdict(vec![seen(0)]).outcome(), Outcome::NotJudged);
        let found = Judged {
            looks: vec!["a byte".to_owned()],
            ..seen(0)
        };
        assert_eq!(verdict(vec![found]).outcome(), Outcome::Violations);
    }
}
