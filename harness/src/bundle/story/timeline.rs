// SPDX-License-Identifier: MIT OR Apache-2.0

//! What happened around the violations, in order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;
use std::ops::RangeInclusive;

use landfall_device::contract::{Declaration, JobId};
use landfall_device::journal::{Direction, Entry, Kind, Outcome};
use landfall_device::ledger::Violation;

use super::Callers;
use crate::report::words::{range, words};

/// Entries before and after a violation that are looked at.
const NEAR: (u64, u64) = (400, 60);
/// Lines before and after one that are shown.
const LINES: (usize, usize) = (12, 8);
/// Most lines in all.
const MOST: usize = 120;
/// Register writes in a row that are told as one line.
const ROW: usize = 3;

/// Most names of callers that are kept.
const MOST_SYMBOLS: usize = 4096;

/// One line.
#[derive(Clone)]
struct Line {
    first: u64,
    last: u64,
    time_ns: u64,
    who: &'static str,
    text: String,
    what: What,
}

/// What kind of line it is, as far as lines are joined.
#[derive(Clone)]
enum What {
    /// A register write without an effect of its own; the register's name.
    Register(String),
    /// Accesses that follow each other.
    Access {
        job: Option<JobId>,
        write: bool,
        start: u64,
        end: u64,
        count: u64,
    },
    Other,
}

impl What {
    fn of(kind: &Kind) -> Self {
        match kind {
            Kind::Register { name, .. } => Self::Register(name.to_string()),
            Kind::Access {
                direction,
                address,
                length,
                job,
                outcome: Outcome::Ok,
                ..
            } => Self::Access {
                job: *job,
                write: *direction == Direction::Write,
                start: *address,
                end: address.saturating_add(*length),
                count: 1,
            },
            _ => Self::Other,
        }
    }
}

/// What happened around some violations.
pub(super) struct Timeline {
    lines: Vec<Line>,
    /// Violations by the entry that each began with: number and name.
    marks: BTreeMap<u64, Vec<(usize, String)>>,
    /// Entries that are told wherever they are.
    told: BTreeSet<u64>,
    /// Violations by the register write that set them going.
    causes: BTreeMap<u64, Vec<usize>>,
    jobs: BTreeSet<JobId>,
    symbols: HashMap<u64, String>,
    start_ns: Option<u64>,
}

impl Timeline {
    pub(super) fn new(violations: &[Violation]) -> Self {
        let mut marks: BTreeMap<u64, Vec<_>> = BTreeMap::new();
        let mut causes: BTreeMap<u64, Vec<_>> = BTreeMap::new();
        for (number, violation) in (1..).zip(violations) {
            if let Some(write) = &violation.register_write {
                causes.entry(write.sequence).or_default().push(number);
            }
            let mark = (number, violation.name.to_string());
            marks.entry(violation.sequence).or_default().push(mark);
        }
        Self {
            lines: Vec::new(),
            marks,
            told: causes.keys().copied().collect(),
            causes,
            jobs: violations
                .iter()
                .filter_map(|violation| violation.job)
                .collect(),
            symbols: HashMap::new(),
            start_ns: None,
        }
    }

    /// A time, from the first entry on.
    pub(super) fn when(&self, time_ns: u64) -> String {
        let since = time_ns.saturating_sub(self.start_ns.unwrap_or(time_ns));
        format!("{}.{:03} ms", since / 1_000_000, since / 1000 % 1000)
    }

    pub(super) fn entry(&mut self, entry: &Entry, callers: &Callers) {
        self.start_ns.get_or_insert(entry.time_ns);
        let sequence = entry.sequence;
        if let Kind::Symbol { address, name } = &entry.kind
            && self.symbols.len() < MOST_SYMBOLS
        {
            self.symbols.insert(*address, callers.told(name));
        }
        let from = sequence.saturating_sub(NEAR.1);
        let near = self
            .marks
            .range(from..=sequence.saturating_add(NEAR.0))
            .next()
            .is_some();
        let begins = matches!(
            entry.kind.declaration(),
            Some((Declaration::Begun { job, .. }, _)) if self.jobs.contains(job)
        );
        if begins {
            self.told.insert(sequence);
        }
        if near || self.told.contains(&sequence) {
            self.add(entry);
        }
    }

    fn add(&mut self, entry: &Entry) {
        let caller = |at| self.symbols.get(&at).cloned();
        let Some(words) = words(entry, &caller) else {
            return;
        };
        let (who, text, what) = (words.who, words.told(), What::of(&entry.kind));
        if let Some(last) = self.lines.last_mut()
            && !self.marks.contains_key(&entry.sequence)
            && last.joins(entry, &text)
        {
            return;
        }
        self.lines.push(Line {
            first: entry.sequence,
            last: entry.sequence,
            time_ns: entry.time_ns,
            who,
            text,
            what,
        });
    }

    /// The lines around the violations.
    pub(super) fn text(&self) -> String {
        let lines = self.joined();
        let marked = |line: &Line| self.marks.range(line.entries()).next().is_some();
        let mut shown = BTreeSet::new();
        for (index, line) in lines.iter().enumerate() {
            if marked(line) {
                shown.extend(index.saturating_sub(LINES.0)..=index + LINES.1);
            } else if self.told.range(line.entries()).next().is_some() {
                shown.insert(index);
            }
        }
        let mut text = String::new();
        let mut next = None;
        for (index, line) in lines
            .iter()
            .enumerate()
            .filter(|(index, _)| shown.contains(index))
            .take(MOST)
        {
            if next.is_some_and(|next| next != index) {
                text.push_str("      ...\n");
            }
            next = Some(index + 1);
            let _ = write!(
                text,
                "{:>7} {:>14}  {:<7}{}",
                format!("#{}", line.first),
                self.when(line.time_ns),
                line.who,
                line.text
            );
            let causes = self.causes.range(line.entries());
            for number in causes.flat_map(|(_, numbers)| numbers) {
                let _ = write!(text, "   <-- sets {number} going");
            }
            for (number, name) in self
                .marks
                .range(line.entries())
                .flat_map(|(_, marks)| marks)
            {
                let _ = write!(text, "   <== VIOLATION {number}: {name}");
            }
            text.push('\n');
        }
        match text.is_empty() {
            true => text,
            false => {
                format!("\nWhat happened (entry of the journal, time since its first)\n{text}")
            }
        }
    }

    /// The lines, rows of register writes joined.
    fn joined(&self) -> Vec<Line> {
        let mut joined: Vec<Line> = Vec::new();
        let plain = |line: &Line| {
            let named = self.told.contains(&line.first) || self.marks.contains_key(&line.first);
            matches!(&line.what, What::Register(_)) && !named
        };
        let mut row: Vec<&Line> = Vec::new();
        let end = |row: &mut Vec<&Line>, joined: &mut Vec<Line>| {
            match row.as_slice() {
                [first, .., last] if row.len() > ROW => {
                    let name = |line: &Line| match &line.what {
                        What::Register(name) => name.clone(),
                        _ => String::new(),
                    };
                    joined.push(Line {
                        first: first.first,
                        last: last.last,
                        time_ns: first.time_ns,
                        who: first.who,
                        text: format!("{} registers, {} to {}", row.len(), name(first), name(last)),
                        what: What::Other,
                    });
                }
                few => joined.extend(few.iter().map(|line| (*line).clone())),
            }
            row.clear();
        };
        for line in &self.lines {
            match plain(line) {
                true => row.push(line),
                false => {
                    end(&mut row, &mut joined);
                    joined.push(line.clone());
                }
            }
        }
        end(&mut row, &mut joined);
        joined
    }
}

impl Line {
    /// Its entries. A stream that nobody made in earnest may have them in any order.
    fn entries(&self) -> RangeInclusive<u64> {
        self.first..=self.last.max(self.first)
    }

    /// Adds an entry that goes on where this line ends, or is the effect of its register write.
    fn joins(&mut self, entry: &Entry, text: &str) -> bool {
        let effect = match &entry.kind {
            Kind::Declared {
                register_write,
                what:
                    Declaration::Accepted { .. }
                    | Declaration::Released { .. }
                    | Declaration::Stopping { .. }
                    | Declaration::NotNow { .. },
            } => *register_write == Some(self.last),
            _ => false,
        };
        if effect && matches!(self.what, What::Register(_)) {
            let _ = write!(self.text, ": {text}");
            self.what = What::Other;
            self.last = entry.sequence;
            return true;
        }
        let (
            What::Access {
                job,
                write,
                start,
                end,
                count,
            },
            Kind::Access {
                direction,
                address: at,
                length,
                job: of,
                outcome: Outcome::Ok,
                ..
            },
        ) = (&mut self.what, &entry.kind)
        else {
            return false;
        };
        if *job != *of || *write != (*direction == Direction::Write) || *end != *at {
            return false;
        }
        *end = at.saturating_add(*length);
        *count += 1;
        let verb = if *write { "writes" } else { "reads" };
        let bytes = *end - *start;
        self.text = format!(
            "{verb} {bytes} bytes at {}, in {count} pieces",
            range(*start, bytes)
        );
        self.last = entry.sequence;
        true
    }
}

#[cfg(test)]
mod tests {
    use landfall_device::contract::RegisterName;

    use super::*;

    /// What no journal gives: numbers that fall, or are all the same.
    #[test]
    fn entries_in_any_order_are_told() {
        let callers = Callers(crate::debug_info::Lines::new());
        for step in [0, 1] {
            let mut timeline = Timeline::new(&[]);
            timeline.marks.insert(50, vec![(1, "x".to_owned())]);
            let mut tell = |entry: Entry| timeline.entry(&entry, &callers);
            for sequence in (0..100).map(|at| 100 - step * at) {
                tell(Entry {
                    sequence,
                    time_ns: sequence,
                    kind: Kind::Register {
                        width: 4,
                        bar: 0,
                        offset: 0,
                        name: RegisterName {
                            name: "QUEUE".into(),
                            index: None,
                        },
                        value: 0,
                    },
                });
                tell(Entry {
                    sequence,
                    time_ns: 0,
                    kind: Kind::Declared {
                        register_write: Some(sequence),
                        what: Declaration::Stopping { queue: None },
                    },
                });
            }
            assert_eq!(timeline.text().contains("VIOLATION 1"), step == 1);
        }
    }
}
