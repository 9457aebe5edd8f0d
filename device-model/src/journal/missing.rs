// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a journal has of what a card's model lacks.

use std::collections::BTreeMap;
use std::fmt;

use super::{Entry, Kind};

/// Accesses of one kind to one place where the model has no register, while it decodes its BARs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Unknown {
    /// Which BAR.
    pub bar: u8,
    /// Bytes from the start of the BAR.
    pub offset: u64,
    /// Bytes of each access.
    pub width: u8,
    /// They are writes.
    pub write: bool,
    /// How many there were.
    pub count: u64,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (times, verb) = match (self.count, self.write) {
            (1, true) => ("time", "written"),
            (1, false) => ("time", "read"),
            (_, true) => ("times", "written"),
            (_, false) => ("times", "read"),
        };
        let (bar, offset, count, width) = (self.bar, self.offset, self.count, self.width);
        write!(
            f,
            "BAR {bar} + {offset:#x} was {verb} {count} {times}, {width} bytes wide"
        )
    }
}

/// A guest that did nothing but read one register, which never changed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Spinning {
    /// Number of the entry that tells of it.
    pub sequence: u64,
    /// Which BAR.
    pub bar: u8,
    /// Bytes from the start of the BAR.
    pub offset: u64,
    /// The register's name; none: there is no register.
    pub name: Option<String>,
    /// What it reads as.
    pub value: u64,
    /// How often it had been read when it was told.
    pub reads: u64,
    /// And for how long, nanoseconds of the host's clock.
    pub lasted_ns: u64,
}

impl fmt::Display for Spinning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name}, ")?;
        }
        let (bar, offset, value, reads) = (self.bar, self.offset, self.value, self.reads);
        let tenths = self.lasted_ns / 100_000_000;
        write!(
            f,
            "BAR {bar} + {offset:#x}, was read {reads} times in {}.{} s, always {value:#x}, and nothing else happened",
            tenths / 10,
            tenths % 10
        )
    }
}

/// What tells a model's author what is missing: registers that the driver touched and the model lacks, and what a guest
/// waited for in vain. No violation of anybody's.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Missing {
    /// Registers that the model lacks, by BAR and offset.
    pub unknown: Vec<Unknown>,
    /// Registers that a guest did nothing but read, in order.
    pub spinning: Vec<Spinning>,
}

impl Missing {
    /// What entries of a journal tell. Of many accesses to one place not all are journalled: a count may be short by half.
    /// Exact ones has the server ([`crate::serve::CardServer::missing`]).
    pub fn of(entries: &[Entry]) -> Self {
        let mut unknown = BTreeMap::new();
        let mut spinning = Vec::new();
        for entry in entries {
            match &entry.kind {
                Kind::Unclaimed {
                    bar,
                    offset,
                    write,
                    width,
                    count,
                } if *count > 0 => {
                    let known = unknown.entry((*bar, *offset, *width, *write)).or_insert(0);
                    *known = (*count).max(*known);
                }
                Kind::Spinning {
                    bar,
                    offset,
                    name,
                    value,
                    reads,
                    lasted_ns,
                } => spinning.push(Spinning {
                    sequence: entry.sequence,
                    bar: *bar,
                    offset: *offset,
                    name: name.as_ref().map(ToString::to_string),
                    value: *value,
                    reads: *reads,
                    lasted_ns: *lasted_ns,
                }),
                _ => {}
            }
        }
        let unknown = unknown.into_iter();
        let unknown = unknown.map(|((bar, offset, width, write), count)| Unknown {
            bar,
            offset,
            width,
            write,
            count,
        });
        Self {
            unknown: unknown.collect(),
            spinning,
        }
    }

    /// Each in words.
    pub fn lines(&self) -> Vec<String> {
        let unknown = self.unknown.iter();
        let unknown = unknown.map(|unknown| format!("no register: {unknown}"));
        let spinning = self.spinning.iter();
        let spinning = spinning.map(|spinning| format!("waiting: {spinning}"));
        unknown.chain(spinning).collect()
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.unknown.is_empty() && self.spinning.is_empty()
    }
}

/// A line for each, and nothing if there is nothing.
impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.lines() {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::RegisterName;

    #[test]
    fn what_is_missing_is_told_in_words_and_what_reached_nobody_is_not() {
        let unclaimed = |write, count| Kind::Unclaimed {
            bar: 2,
            offset: 0x44,
            write,
            width: 4,
            count,
        };
        let spinning = Kind::Spinning {
            bar: 0,
            offset: 0x14,
            name: Some(RegisterName::plain("STATUS")),
            value: 1,
            reads: 70_000,
            lasted_ns: 2_049_000_000,
        };
        let kinds = [
            unclaimed(true, 0),
            unclaimed(false, 1),
            unclaimed(false, 2),
            unclaimed(true, 1),
            spinning,
        ];
        let entries: Vec<_> = (0..)
            .zip(kinds)
            .map(|(sequence, kind)| Entry {
                sequence,
                time_ns: 0,
                kind,
            })
            .collect();
        assert!(Missing::of(&entries[..1]).is_empty());
        assert_eq!(
            Missing::of(&entries).to_string(),
            "no register: BAR 2 + 0x44 was read 2 times, 4 bytes wide\n\
             no register: BAR 2 + 0x44 was written 1 time, 4 bytes wide\n\
             waiting: STATUS, BAR 0 + 0x14, was read 70000 times in 2.0 s, always 0x1, and nothing else happened\n"
        );
    }
}
