// SPDX-License-Identifier: MIT OR Apache-2.0

//! What happened around the violations, in order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;
use std::ops::RangeInclusive;

use landfall_device::contract::{Declaration, JobId, Label, Promise, Reset};
use landfall_device::journal::{Direction, DriverState, Entry, Kind, Outcome};
use landfall_device::ledger::Violation;

use super::{Callers, cpu, range};
use crate::report::map::address;

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
        let Some((who, text, what)) = self.describe(&entry.kind) else {
            return;
        };
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

    /// Who did what; `None` for what is told elsewhere.
    fn describe(&self, kind: &Kind) -> Option<(&'static str, String, What)> {
        let other = |who, text: String| Some((who, text, What::Other));
        let count = |length: u64| match length {
            1 => "1 byte".to_owned(),
            length => format!("{length} bytes"),
        };
        match kind {
            Kind::Access {
                direction,
                address: at,
                length,
                job,
                outcome,
                ..
            } => {
                let verb = match (outcome, direction) {
                    (Outcome::Ok, Direction::Write) => "writes",
                    (Outcome::Ok, Direction::Read) => "reads",
                    (Outcome::Refused(_), Direction::Write) => "tries to write",
                    (Outcome::Refused(_), Direction::Read) => "tries to read",
                };
                let refused = match outcome {
                    Outcome::Ok => String::new(),
                    Outcome::Refused(why) => format!(", refused: {why}"),
                };
                let place = match length {
                    0 | 1 => address(*at),
                    _ => range(*at, *length),
                };
                let text = format!("{verb} {} at {place}{refused}", count(*length));
                let what = match outcome {
                    Outcome::Ok => What::Access {
                        job: *job,
                        write: *direction == Direction::Write,
                        start: *at,
                        end: at.saturating_add(*length),
                        count: 1,
                    },
                    Outcome::Refused(_) => What::Other,
                };
                Some(("card", text, what))
            }
            Kind::FirstRead { bar, offset } => other(
                "driver",
                format!("reads a register for the first time: BAR {bar} + {offset:#x}"),
            ),
            Kind::Register { name, value, .. } => {
                let name = name.to_string();
                let text = format!("{name} = {value:#x}");
                Some(("driver", text, What::Register(name)))
            }
            // What stands for an entry from before the session; a card has its first register there.
            Kind::Unclaimed {
                bar: 0,
                offset: 0,
                write: false,
                ..
            } => None,
            Kind::Unclaimed {
                bar, offset, write, ..
            } => {
                let verb = if *write { "writes" } else { "reads" };
                other(
                    "driver",
                    format!("{verb} BAR {bar} + {offset:#x}, where there is no register"),
                )
            }
            Kind::Spinning {
                bar,
                offset,
                name,
                value,
                reads,
                ..
            } => {
                let name = match name {
                    Some(name) => name.to_string(),
                    None => format!("BAR {bar} + {offset:#x}"),
                };
                other(
                    "driver",
                    format!("does nothing but read {name}, {reads} times, always {value:#x}"),
                )
            }
            Kind::Declares(_) => None,
            Kind::Declared {
                register_write,
                what,
            } => declared(what, *register_write).map(|(who, text)| (who, text, What::Other)),
            Kind::Interrupt { vector } => other("card", format!("interrupts, vector {vector}")),
            Kind::InterruptHeld { vector } => other(
                "card",
                format!("holds its interrupt back: no bus mastering, vector {vector}"),
            ),
            Kind::Reset { reset } => {
                let how = match reset {
                    Reset::Device => "the whole device",
                    Reset::FunctionLevel => "function-level",
                    Reset::Register => "by its register",
                };
                other("driver", format!("the card is reset ({how})"))
            }
            Kind::BusMaster { on } => other("driver", format!("bus mastering {}", switched(*on))),
            Kind::Decoding { on } => other("driver", format!("memory decoding {}", switched(*on))),
            Kind::PowerState { state } => other("driver", format!("power state D{state}")),
            Kind::Connected => other("qemu", "connects to the card".to_owned()),
            Kind::Disconnected => other("qemu", "its connection to the card ends".to_owned()),
            Kind::Refused { what } => other("qemu", format!("is refused: {what}")),
            Kind::Call(call) => {
                let from = match self.symbols.get(&call.caller) {
                    Some(name) => format!(", from {name}"),
                    None => String::new(),
                };
                other(
                    "driver",
                    format!(
                        "{}: {}, {} bytes, {}{from}",
                        call.call.name(),
                        range(call.address, call.length),
                        call.length,
                        super::lends::way(call.direction)
                    ),
                )
            }
            Kind::Attached { .. } => other("driver", "the witness begins".to_owned()),
            Kind::WitnessGap { expected, got } => other(
                "driver",
                format!("events {expected} to {got} of the witness are lost"),
            ),
            Kind::Unheard { what, .. } => {
                other("driver", format!("the witness does not hear: {what}"))
            }
            Kind::Elsewhere {
                device,
                address: at,
                length,
                ended,
                ..
            } => {
                let when = if *ended { "was" } else { "is" };
                let at = range(*at, *length);
                other("driver", format!("{at} {when} lent to {device}"))
            }
            Kind::Cpu(access) => other("cpu", cpu::accessed(access)),
            Kind::Unordered(two) => other("cpu", cpu::unordered(two)),
            Kind::CpuWatched | Kind::CpuLost { .. } | Kind::Symbol { .. } => None,
            Kind::BusMapped { .. } | Kind::BusUnmapped { .. } => None,
            Kind::Driver { driver, state } => {
                let state = match state {
                    DriverState::Binding => "is about to bind",
                    DriverState::Bound => "has bound",
                    DriverState::NotBound => "has not bound",
                    DriverState::Unbinding => "is about to unbind",
                    DriverState::Unbound => "has unbound",
                };
                other("driver", format!("{driver} {state}"))
            }
            Kind::KernelDown => other("driver", "the kernel goes down".to_owned()),
        }
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

/// What the card tells of its own work, and who did it.
fn declared(what: &Declaration, write: Option<u64>) -> Option<(&'static str, String)> {
    let known = |label: &Label| match (label.slot, label.frame) {
        (Some(slot), Some(frame)) => format!(" (slot {slot}, frame {frame})"),
        (Some(slot), None) => format!(" (slot {slot})"),
        (None, Some(frame)) => format!(" (frame {frame})"),
        (None, None) => String::new(),
    };
    Some(match what {
        Declaration::Accepted { job, label, .. } => {
            ("driver", format!("job {job}{} is the card's", known(label)))
        }
        Declaration::Begun {
            job, label, pieces, ..
        } => {
            let bytes: u64 = pieces
                .iter()
                .map(|piece| piece.length)
                .fold(0, u64::saturating_add);
            let place = pieces.first().map_or(0, |piece| piece.address);
            let more = match pieces.len() {
                0 | 1 => String::new(),
                count => format!(", in {count} pieces"),
            };
            let text = format!(
                "begins job {job}{}: {bytes} bytes at {}{more}",
                known(label),
                address(place)
            );
            ("card", text)
        }
        Declaration::Done {
            job,
            error,
            moved,
            owed,
        } => {
            let how = match error {
                None => format!("complete, {moved} bytes"),
                Some(error) => format!("failed: {error}"),
            };
            let then = match owed.map(|owed| owed.promise) {
                Some(Promise::Now) => "; an interrupt must follow",
                Some(Promise::Within(_)) => "; an interrupt must follow some time later",
                Some(Promise::Never) | None => "",
            };
            ("card", format!("reports job {job} as {how}{then}"))
        }
        Declaration::Released { job } => ("driver", format!("takes job {job} back")),
        Declaration::Stopping { .. } => ("driver", "the card is to stop".to_owned()),
        Declaration::Idle { .. } => (
            "card",
            "says that it is idle: no byte may follow".to_owned(),
        ),
        Declaration::Cause { why, .. } => ("card", format!("has a cause to interrupt: {why}")),
        Declaration::Masked { masked, .. } => {
            let how = if *masked { "masks" } else { "unmasks" };
            ("driver", format!("{how} the card's interrupts"))
        }
        Declaration::NotNow { why } => ("driver", format!("must not: {why}")),
        Declaration::Changed { job, address: at } => {
            let text = format!(
                "what it fetches for job {job} has changed at {}",
                address(*at)
            );
            ("card", text)
        }
        Declaration::Gone { why } => ("card", format!("is gone: {why}")),
        Declaration::Delayed => (
            "card",
            format!("the write of #{} is still on its way", write?),
        ),
        Declaration::Arrived { flushed } => {
            let how = if *flushed { ", flushed by a read" } else { "" };
            ("card", format!("the write of #{} arrives{how}", write?))
        }
        Declaration::Reset => ("driver", "the card is reset by its register".to_owned()),
    })
}

fn switched(on: bool) -> &'static str {
    if on { "on" } else { "off" }
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
