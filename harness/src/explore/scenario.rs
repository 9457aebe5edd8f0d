// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is done with a driver while the orders are enumerated, in words that anybody's driver knows.

use std::fmt;
use std::str::FromStr;

/// Most words of a scenario.
const MOST: usize = 64;

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The driver takes the card.
    Bind,
    /// It gives it back.
    Unbind,
    /// The card is taken off the bus.
    Remove,
    /// It is found again; a driver that is there takes it.
    Rescan,
    /// The card is reset, by whatever means it has.
    Reset,
    /// A program runs to its end.
    Run(Vec<String>),
    /// A program begins.
    Start(Vec<String>),
    /// It is told to end, and does.
    Stop,
}

/// An action, and when the next comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// What is done.
    pub action: Action,
    /// The next comes before the card does anything by itself.
    pub at_once: bool,
}

/// Words, one after the other. The card is on the bus and nobody has it, before and after.
///
/// As text, separated by commas or lines; what begins with `#` is none. A `!` behind a word has the next come at once:
///
/// ```
/// use landfall::explore::Scenario;
///
/// let scenario: Scenario = "bind, start! v4l2-ctl --stream-mmap, stop, unbind".parse().unwrap();
/// assert_eq!(scenario.words.len(), 4);
/// assert!(scenario.words[1].at_once);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// The words.
    pub words: Vec<Word>,
}

impl Default for Scenario {
    /// The driver takes the card and gives it back.
    fn default() -> Self {
        let word = |action| Word {
            action,
            at_once: false,
        };
        Self {
            words: vec![word(Action::Bind), word(Action::Unbind)],
        }
    }
}

impl Scenario {
    /// Checks that each word can follow the one before.
    fn check(&self) -> Result<(), String> {
        let (mut there, mut bound, mut runs) = (true, false, false);
        for word in &self.words {
            let fits = match &word.action {
                Action::Bind => there && !bound,
                Action::Unbind => bound,
                Action::Remove | Action::Reset => there,
                Action::Rescan => !there,
                Action::Run(_) => true,
                Action::Start(_) => !runs,
                Action::Stop => runs,
            };
            if !fits {
                return Err(format!("`{word}` does not fit what was before it"));
            }
            match &word.action {
                Action::Bind => bound = true,
                Action::Unbind => bound = false,
                Action::Remove => (there, bound) = (false, false),
                Action::Rescan => (there, bound) = (true, true),
                Action::Start(_) => runs = true,
                Action::Stop => runs = false,
                Action::Reset | Action::Run(_) => {}
            }
        }
        match (there && !bound, runs) {
            (true, false) => Ok(()),
            (false, _) => Err(
                "in the end the card must be on the bus, and no driver's: end with `unbind`"
                    .to_owned(),
            ),
            (true, true) => Err("a program that was begun runs in the end: say `stop`".to_owned()),
        }
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, String> {
        let lines = given
            .lines()
            .map(|line| line.split('#').next().unwrap_or(""));
        let parts = lines.flat_map(|line| line.split(',')).map(str::trim);
        let words: Vec<_> = (parts.filter(|part| !part.is_empty()))
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        if words.is_empty() || words.len() > MOST {
            return Err(format!("a scenario has 1 to {MOST} words"));
        }
        let scenario = Self { words };
        scenario.check()?;
        Ok(scenario)
    }
}

impl FromStr for Word {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, String> {
        let mut words = given.split_whitespace();
        let verb = words.next().unwrap_or_default();
        let (name, at_once) = match verb.strip_suffix('!') {
            Some(name) => (name, true),
            None => (verb, false),
        };
        let program: Vec<_> = words.map(str::to_owned).collect();
        let action = match (name, program.is_empty()) {
            ("bind", true) => Action::Bind,
            ("unbind", true) => Action::Unbind,
            ("remove", true) => Action::Remove,
            ("rescan", true) => Action::Rescan,
            ("reset", true) => Action::Reset,
            ("stop", true) => Action::Stop,
            ("run", false) => Action::Run(program),
            ("start", false) => Action::Start(program),
            _ => {
                return Err(format!(
                    "{given:?} is no word of a scenario: say bind, unbind, remove, rescan, reset, run PROGRAM, start PROGRAM or stop; with \
                     `!` behind the word the next comes at once"
                ));
            }
        };
        Ok(Self { action, at_once })
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, program) = match &self.action {
            Action::Bind => ("bind", None),
            Action::Unbind => ("unbind", None),
            Action::Remove => ("remove", None),
            Action::Rescan => ("rescan", None),
            Action::Reset => ("reset", None),
            Action::Run(program) => ("run", Some(program)),
            Action::Start(program) => ("start", Some(program)),
            Action::Stop => ("stop", None),
        };
        write!(f, "{name}{}", if self.at_once { "!" } else { "" })?;
        program.map_or(Ok(()), |program| write!(f, " {}", program.join(" ")))
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.words.iter().map(ToString::to_string).collect();
        f.write_str(&words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_comes_back_as_it_was_written() {
        for text in [
            "bind, unbind",
            "bind, start! v4l2-ctl --stream-mmap, stop, unbind",
            "bind!, reset, remove, rescan, run a b, unbind",
        ] {
            assert_eq!(text.parse::<Scenario>().unwrap().to_string(), text);
        }
        let lines = "bind # takes it\n\n# nothing\nunbind\n";
        assert_eq!(lines.parse::<Scenario>(), Ok(Scenario::default()));
    }

    #[test]
    fn what_cannot_follow_or_end_so_is_refused() {
        for (text, why) in [
            ("", "1 to 64"),
            ("bind", "end with `unbind`"),
            ("unbind", "does not fit"),
            ("bind, bind, unbind", "does not fit"),
            ("remove", "no driver's"),
            ("remove, bind, unbind", "does not fit"),
            ("start a", "say `stop`"),
            ("stop", "does not fit"),
            ("jump", "no word"),
            ("run", "no word"),
            ("bind twice, unbind", "no word"),
        ] {
            let said = text.parse::<Scenario>().unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
        let many = ["bind, unbind"; 40].join(",");
        assert!(many.parse::<Scenario>().is_err());
    }
}
