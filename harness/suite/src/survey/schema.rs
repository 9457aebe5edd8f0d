// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a survey finds, and with it the schema of `--json`.
//!
//! The file holds one [`Survey`] as JSON. `schema` is [`VERSION`]; it grows when a field is removed or changes its
//! meaning, not when one is added. Sizes are in bytes or in pages of 4096 bytes, times in nanoseconds of the guest's
//! clock, as the name says. What was not measured is `null`.

use serde::Serialize;

use super::{Method, When};

/// Version of the schema.
pub const VERSION: u32 = 1;

/// All that a survey found.
#[derive(Clone, Debug, Serialize)]
pub struct Survey {
    /// [`VERSION`].
    pub schema: u32,
    /// Bytes of memory of each guest.
    pub memory: u64,
    /// The kernel's release.
    pub kernel: String,
    /// QEMU's version.
    pub qemu: String,
    /// What executed the guests: `tcg` or `kvm`.
    pub accelerator: String,
    /// The fragmented guests had no free block of more than `2^fragment` pages.
    pub fragment: Option<u32>,
    /// A line for each way.
    pub lines: Vec<Line>,
    /// How long it took, seconds.
    pub seconds: f64,
}

/// One way to get memory.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// Which.
    pub method: Method,
    /// The call, or the boot option.
    pub call: &'static str,
    /// When it is open.
    pub when: When,
    /// How it is freed.
    pub freed_by: &'static str,
    /// What the guest was booted with for it.
    pub boot_option: Option<String>,
    /// Whether the kernel had its memory again when it was given back.
    pub returned: bool,
    /// What a card could do there, by its address bits, descending.
    pub reach: Vec<Reach>,
    /// A copy of 4 MiB from one such memory to another, by the CPU through mmap; `null` if it comes in too many
    /// pieces.
    pub copy: Option<Copy>,
    /// On a guest that has just booted.
    pub fresh: State,
    /// On a fragmented one.
    pub fragmented: Option<State>,
}

/// What a way gave on one guest.
#[derive(Clone, Debug, Serialize)]
pub struct State {
    /// The most that could be had.
    pub largest: Largest,
    /// In what steps it gives.
    pub granularity: Granularity,
    /// Whether all that it gave was in one piece.
    pub contiguous: bool,
    /// What it gave for different numbers of pages.
    pub given: Vec<Given>,
    /// How long that takes.
    pub latency: Vec<Latency>,
}

/// The most that could be had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Largest {
    /// Pages of the largest request that was fulfilled.
    pub request_pages: u64,
    /// Bytes of the largest piece in it that is physically in one.
    pub piece_bytes: u64,
    /// Requests that it took to find out.
    pub requests: u32,
}

/// In what steps memory is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Granularity {
    /// Any multiple of so many pages.
    Multiple {
        /// Pages.
        pages: u64,
    },
    /// Powers of two.
    PowerOfTwo,
    /// Nothing was given.
    Unknown,
}

/// What came of asking for a number of pages.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Given {
    /// Pages asked for.
    pub pages: u64,
    /// What was given; `null` if it was refused.
    pub got: Option<Got>,
    /// Why it was refused.
    pub refused: Option<Refused>,
}

/// What a source gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Got {
    /// Pages that were taken and cannot be used.
    pub waste: u64,
    /// Pieces that are each physically in one.
    pub pieces: u64,
    /// Pages of the longest.
    pub longest: u64,
    /// Pages that were taken while it looked.
    pub touched: u64,
}

/// A refusal of the guest's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The errno.
    pub errno: i32,
    /// In words.
    pub message: String,
}

/// How long taking and giving back takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// Pages.
    pub pages: u64,
    /// Taking.
    pub take: Times,
    /// Giving back.
    pub give: Times,
}

/// Times of one operation, none left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Times {
    /// How many.
    pub rounds: u64,
    /// The shortest.
    pub min_ns: u64,
    /// Half are shorter.
    pub median_ns: u64,
    /// 99 of 100 are shorter.
    pub p99_ns: u64,
    /// The longest.
    pub max_ns: u64,
}

/// A copy by the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Copy {
    /// Bytes.
    pub bytes: u64,
    /// Pieces that each side had, as the pool lent them.
    pub pieces: u64,
    /// The shortest, nanoseconds.
    pub min_ns: u64,
    /// The median.
    pub median_ns: u64,
}

/// What a card could do in such memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// Address bits of the card.
    pub bits: u8,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of a card with so many address bits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It wrote frames of one page each, and the harness found every byte where it should be and none elsewhere.
    Written {
        /// Where the frames lay.
        addresses: Vec<u64>,
        /// Bytes that were compared.
        bytes: u64,
    },
    /// It wrote, and not all was right.
    Wrong {
        /// What went wrong.
        violations: Vec<String>,
    },
    /// There is no such memory below the limit.
    OutOfReach {
        /// What the source said when it was asked for it.
        refused: Refused,
    },
}

impl Survey {
    /// Whether every card that could write at all wrote rightly.
    pub fn is_clean(&self) -> bool {
        let reached = self.lines.iter().flat_map(|line| &line.reach);
        reached
            .into_iter()
            .all(|reach| !matches!(reach.outcome, Outcome::Wrong { .. }))
    }
}

impl State {
    /// What was given for that many pages.
    pub fn given(&self, pages: u64) -> Option<Got> {
        let given = self.given.iter().find(|given| given.pages == pages);
        given.and_then(|given| given.got)
    }

    /// How long that many pages took.
    pub fn latency(&self, pages: u64) -> Option<&Latency> {
        self.latency.iter().find(|latency| latency.pages == pages)
    }
}

impl Times {
    /// Of single times; `None` if there are none.
    pub(super) fn of(times: &[std::time::Duration]) -> Option<Self> {
        let mut sorted: Vec<u64> = times
            .iter()
            .map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
            .collect();
        sorted.sort_unstable();
        let at = |index: usize| sorted.get(index.min(sorted.len() - 1)).copied();
        Some(Self {
            rounds: sorted.len() as u64,
            min_ns: *sorted.first()?,
            median_ns: at(sorted.len() / 2)?,
            p99_ns: at(sorted.len() * 99 / 100)?,
            max_ns: *sorted.last()?,
        })
    }
}

impl Granularity {
    /// From pages asked for and pages taken for them.
    pub(super) fn of(given: &[Given]) -> Self {
        let total = |given: &Given| Some(given.pages + given.got?.waste);
        let totals: Vec<u64> = given.iter().filter_map(total).collect();
        let of = |pages| {
            given
                .iter()
                .find(|given| given.pages == pages)
                .and_then(total)
        };
        match totals.is_empty() {
            true => Self::Unknown,
            false if of(3) == Some(4) && of(5) == Some(8) => Self::PowerOfTwo,
            false => Self::Multiple {
                pages: totals.into_iter().fold(0, greatest_common_divisor),
            },
        }
    }
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    match b {
        0 => a,
        b => greatest_common_divisor(b, a % b),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn given(pairs: &[(u64, u64)]) -> Vec<Given> {
        let given = |&(pages, waste)| Given {
            pages,
            got: Some(Got {
                waste,
                pieces: 1,
                longest: pages,
                touched: pages,
            }),
            refused: None,
        };
        pairs.iter().map(given).collect()
    }

    #[test]
    fn steps_are_read_from_what_was_given() {
        let of = |pairs: &[(u64, u64)]| Granularity::of(&given(pairs));
        assert_eq!(
            of(&[(1, 0), (3, 0), (750, 0)]),
            Granularity::Multiple { pages: 1 }
        );
        assert_eq!(of(&[(1, 0), (3, 1), (5, 3)]), Granularity::PowerOfTwo);
        assert_eq!(
            of(&[(1, 15), (3, 13), (750, 2)]),
            Granularity::Multiple { pages: 16 }
        );
        assert_eq!(
            of(&[(1, 511), (3, 509), (5, 507), (750, 274)]),
            Granularity::Multiple { pages: 512 }
        );
        assert_eq!(of(&[]), Granularity::Unknown);
    }

    #[test]
    fn no_time_is_left_out() {
        let times: Vec<_> = (1..=100).rev().map(Duration::from_nanos).collect();
        let of = Times::of(&times).unwrap();
        assert_eq!(
            (of.min_ns, of.median_ns, of.p99_ns, of.max_ns),
            (1, 51, 100, 100)
        );
        assert_eq!(Times::of(&[]), None);
    }
}
