// SPDX-License-Identifier: MIT OR Apache-2.0

//! A lend of the DMA API, while it lasts and after.

use std::collections::VecDeque;

use super::class::Class;
use super::verdict::Caller;
use super::{LendKind, NearLend, Range};
use crate::contract::{Direction, JobId};
use crate::journal::{Call, DriverCall, LendDirection};

/// Bytes of a page.
pub(super) const PAGE: u64 = 4096;
/// Most parts of a lend that are known to be the CPU's, and most that it has not seen.
const MOST_PARTS: usize = 32;

/// A call, as much of it as a violation says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Brief {
    pub(super) call: Call,
    pub(super) number: u64,
    pub(super) caller: u64,
    pub(super) guest_ns: u64,
}

impl Brief {
    pub(super) const fn of(call: &DriverCall) -> Self {
        Self {
            call: call.call,
            number: call.number,
            caller: call.caller,
            guest_ns: call.guest_ns,
        }
    }

    /// As a violation shows it, before it gets its name.
    pub(super) const fn nameless(self) -> Caller {
        Caller {
            call: self.call,
            number: self.number,
            address: self.caller,
            symbol: None,
            guest_ns: self.guest_ns,
        }
    }
}

/// By what kind of call a lend began, and so has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sort {
    Single,
    List,
    Link,
    Coherent,
    Block,
}

impl Sort {
    /// The call that begins it.
    pub(super) const fn begins(self) -> &'static str {
        match self {
            Self::Single => "dma_map_single",
            Self::List => "dma_map_sg",
            Self::Link => "dma_iova_link",
            Self::Coherent => "dma_alloc_coherent",
            Self::Block => "dma_pool_alloc",
        }
    }

    /// The call that ends it.
    pub(super) const fn ends(self) -> &'static str {
        match self {
            Self::Single => "dma_unmap_single",
            Self::List => "dma_unmap_sg",
            Self::Link => "dma_iova_unlink",
            Self::Coherent => "dma_free_coherent",
            Self::Block => "dma_pool_free",
        }
    }

    /// It is of memory that the driver had already, with a direction.
    pub(super) const fn is_streaming(self) -> bool {
        matches!(self, Self::Single | Self::List | Self::Link)
    }

    /// Several of them may be one to the card.
    pub(super) const fn is_part(self) -> bool {
        matches!(self, Self::List | Self::Link)
    }
}

/// A part of a lend that the card wrote for a job and the CPU cannot have seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unseen {
    pub(super) range: Range,
    pub(super) job: JobId,
    /// The slot that it was for.
    pub(super) slot: Option<u32>,
}

/// Most of the card's accesses to a lend that are remembered, the newest, and most times that it changed hands.
const MOST_MOVED: usize = 1024;
const MOST_TURNS: usize = 64;

/// An access of the card to a lend.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moved {
    pub(super) range: Range,
    pub(super) direction: Direction,
    pub(super) job: Option<JobId>,
    pub(super) sequence: u64,
    pub(super) time_ns: u64,
}

/// A part of a lend changed hands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub(super) range: Range,
    /// It is the card's; else the CPU's.
    pub(super) to_card: bool,
    /// Number of the event.
    pub(super) event: u64,
    pub(super) sequence: u64,
}

/// A lend, while it lasts.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) range: Range,
    /// CPU physical address of the first byte, if it was told.
    pub(super) phys: Option<u64>,
    pub(super) direction: LendDirection,
    pub(super) sort: Sort,
    pub(super) by: Brief,
    /// Entries of the scatterlist, as the caller gave them.
    pub(super) entries: u32,
    /// Number of the list that it is a part of.
    pub(super) list: u64,
    /// It should not have been lent: a class.
    pub(super) wrong: Option<Class>,
    /// Only blocks of it are lent.
    pub(super) backing: bool,
    /// Its syncs are heard.
    pub(super) syncs: bool,
    /// It is a bounce buffer: card and CPU have different bytes between two syncs.
    pub(super) bounced: bool,
    /// What the card wrote and the CPU has not synced.
    pub(super) unseen: Vec<Unseen>,
    /// Parts that the CPU synced for itself, and not for the device since.
    pub(super) cpu: Vec<Range>,
    /// Where the CPU's accesses are told: what the card did with it.
    pub(super) moved: VecDeque<Moved>,
    /// And when it, or a part of it, changed hands.
    pub(super) turns: VecDeque<Turn>,
}

impl Held {
    pub(super) fn label(&self) -> String {
        let what = match self.sort {
            Sort::Coherent => "coherent memory",
            Sort::Block => "block",
            Sort::Single | Sort::List | Sort::Link => "mapping",
        };
        format!("{what} {} ({})", self.by.number, self.sort.begins())
    }

    pub(super) fn near(&self, part: Range) -> NearLend {
        NearLend {
            label: self.label(),
            address: self.range.start,
            length: self.range.length,
            kind: match self.sort {
                Sort::Coherent => LendKind::Coherent,
                Sort::Block => LendKind::Block,
                Sort::Single | Sort::List | Sort::Link => LendKind::Streaming,
            },
            slot: None,
            distance: self.range.distance(part.start, part.length),
            lent_by: Some(self.by.nameless()),
            taken_back_by: None,
        }
    }

    /// The CPU's part of it is known no more, or grows.
    pub(super) fn synced(&mut self, range: Range, for_cpu: bool) {
        self.cpu = without(&self.cpu, range);
        if for_cpu {
            self.cpu.push(range);
            let rest = self.unseen.iter().flat_map(|unseen| {
                let left = without(&[unseen.range], range).into_iter();
                left.map(|range| Unseen { range, ..*unseen })
            });
            self.unseen = rest.take(MOST_PARTS).collect();
        }
        if self.cpu.len() > MOST_PARTS {
            self.cpu.clear(); // whose they are is not known any more
        }
    }

    /// The card wrote a part of it, for a job.
    pub(super) fn wrote(&mut self, unseen: Unseen) {
        if self.unseen.len() < MOST_PARTS {
            self.unseen.push(unseen);
        }
    }

    /// The card got at a part of it.
    pub(super) fn moves(&mut self, moved: Moved) {
        if self.moved.len() >= MOST_MOVED {
            self.moved.pop_front();
        }
        self.moved.push_back(moved);
    }

    /// A part of it changed hands.
    pub(super) fn turns(&mut self, turn: Turn) {
        if self.turns.len() >= MOST_TURNS {
            self.turns.pop_front();
        }
        self.turns.push_back(turn);
    }

    /// The entry of an event by which it changed hands; `None`: it is not known any more.
    pub(super) fn turned(&self, event: u64) -> Option<u64> {
        let turn = self.turns.iter().find(|turn| turn.event == event);
        turn.map(|turn| turn.sequence)
    }

    /// The entry since which some bytes are the card's, when event `after` was the last; 0: from the beginning.
    pub(super) fn cards_since(&self, range: Range, after: u64) -> u64 {
        let given = self.turns.iter().rev().find(|turn| {
            turn.to_card && turn.event <= after && turn.range.overlaps(range.start, range.length)
        });
        given.map_or(0, |turn| turn.sequence)
    }

    /// Its bytes in memory, as far as they are known to lie behind each other; `scattered`: an IOMMU may have
    /// made one range of several.
    pub(super) fn memory(&self, scattered: bool) -> Option<Range> {
        let start = self.phys?;
        let length = if scattered && !matches!(self.sort, Sort::Single | Sort::Link) {
            self.range.length.min(PAGE - start % PAGE)
        } else {
            self.range.length
        };
        Some(Range { start, length })
    }

    /// The cache lines, of so many bytes, that it has a part of; 0: caches do not matter.
    pub(super) fn lines(&self, scattered: bool, line: u64) -> Option<Range> {
        let memory = self.memory(scattered).unwrap_or(self.range);
        let start = memory.start.checked_div(line)? * line;
        let end = memory.end().checked_next_multiple_of(line)?;
        let length = end - start;
        self.sort.is_streaming().then_some(Range { start, length })
    }
}

/// Ranges, without `part` of them.
fn without(ranges: &[Range], part: Range) -> Vec<Range> {
    let parts = ranges.iter().flat_map(|range| {
        let before = part.start.saturating_sub(range.start).min(range.length);
        let after = range.end().saturating_sub(part.end()).min(range.length);
        if !range.overlaps(part.start, part.length) {
            return [*range, Range::default()];
        }
        let first = Range {
            start: range.start,
            length: before,
        };
        let last = Range {
            start: range.end() - after,
            length: after,
        };
        [first, last]
    });
    parts.filter(|range| range.length > 0).collect()
}

/// A lend that ended.
#[derive(Clone, Debug)]
pub(super) struct Returned {
    pub(super) held: Held,
    pub(super) by: Brief,
}

impl Returned {
    pub(super) fn near(&self, part: Range) -> NearLend {
        NearLend {
            taken_back_by: Some(self.by.nameless()),
            ..self.held.near(part)
        }
    }
}
