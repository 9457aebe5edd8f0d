// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the driver lent: when, by which call, from where.

use std::collections::HashMap;
use std::fmt::Write;

use landfall_device::journal::{Call, DriverCall, Entry, Kind};
use landfall_device::ledger::{Lend, Violation};

use super::Callers;
use super::timeline::Timeline;
use crate::evidence::Item;
use crate::report::words::{range, way};

/// Most lends that are shown.
const MOST: usize = 12;
/// Most that are kept of either kind.
const KEPT: usize = 4096;

/// A range that the driver's agent named.
struct Named {
    lend: Lend,
    /// The first entry after it; `None`: none came.
    before: Option<u64>,
    /// The first entry after it was taken back.
    taken: Option<u64>,
}

/// What the driver lent.
#[derive(Default)]
pub(super) struct Lends {
    named: Vec<Named>,
    calls: Vec<(u64, u64, DriverCall)>,
    symbols: HashMap<u64, String>,
    reclaimed: bool,
    /// The number of the next entry, once one has come.
    next: Option<u64>,
}

impl Lends {
    pub(super) fn item(&mut self, item: &Item, callers: &Callers) {
        match item {
            Item::Platform(_) => {}
            Item::Lend(lend) => {
                if self.named.len() < KEPT {
                    self.named.push(Named {
                        lend: lend.clone(),
                        before: None,
                        taken: None,
                    });
                }
            }
            Item::Reclaim(_) => self.reclaimed = true,
            Item::Entry(entry) => self.entry(entry, callers),
        }
    }

    fn entry(&mut self, entry: &Entry, callers: &Callers) {
        let fresh = self.named.iter_mut().rev();
        for named in fresh.take_while(|named| named.before.is_none()) {
            named.before = Some(entry.sequence);
        }
        if std::mem::take(&mut self.reclaimed) {
            for named in &mut self.named {
                let after = named.before.is_some_and(|before| before < entry.sequence);
                if after && named.lend.slot.is_some() {
                    named.taken.get_or_insert(entry.sequence);
                }
            }
        }
        self.next = Some(entry.sequence + 1);
        match &entry.kind {
            Kind::Symbol { address, name } if self.symbols.len() < KEPT => {
                self.symbols.insert(*address, callers.told(name));
            }
            Kind::Call(call) if lends(call.call) && self.calls.len() < KEPT => {
                self.calls
                    .push((entry.sequence, entry.time_ns, call.clone()));
            }
            _ => {}
        }
    }

    /// The table: lends that violations lie next to come first.
    pub(super) fn table(&self, violations: &[Violation], timeline: &Timeline) -> String {
        let mut text = String::new();
        let near = |address: u64| {
            let mut lends = violations
                .iter()
                .filter_map(|violation| violation.lend.as_ref());
            lends.any(|lend| lend.address == address)
        };
        let (close, far): (Vec<_>, Vec<_>) = self
            .named
            .iter()
            .partition(|named| near(named.lend.address));
        if !self.named.is_empty() {
            let _ = writeln!(
                text,
                "\nWhat the driver lent, by its own word (bus addresses)"
            );
        }
        for named in close.iter().chain(&far).take(MOST) {
            let lend = &named.lend;
            let sign = if near(lend.address) { '*' } else { ' ' };
            let mut when = named
                .before
                .map_or_else(String::new, |before| format!("before #{before}"));
            if let Some(taken) = named.taken {
                let _ = write!(when, ", until #{taken}");
            }
            let _ = writeln!(
                text,
                " {sign}{:<16} {:<29} {:>9} bytes, {}, {when}",
                lend.label,
                range(lend.address, lend.length),
                lend.length,
                way(lend.direction)
            );
            if let Some((sequence, time, call)) = self.call(lend.address) {
                let _ = writeln!(text, "    {}", self.told(*sequence, *time, call, timeline));
            }
        }
        more(&mut text, self.named.len());

        // Those that no word of the driver's names: a driver that is not ours has none.
        let unnamed = |call: &DriverCall| {
            !self
                .named
                .iter()
                .any(|named| named.lend.address == call.address)
        };
        let calls: Vec<_> = self
            .calls
            .iter()
            .filter(|(_, _, call)| unnamed(call))
            .collect();
        if !calls.is_empty() {
            let _ = writeln!(
                text,
                "\nWhat the driver lent, as the witness in the guest saw it"
            );
        }
        let (close, far): (Vec<_>, Vec<_>) = calls
            .iter()
            .copied()
            .partition(|(_, _, call)| near(call.address));
        for (sequence, time, call) in close.iter().chain(&far).take(MOST) {
            let sign = if near(call.address) { '*' } else { ' ' };
            let _ = writeln!(
                text,
                " {sign}{:<29} {:>9} bytes, {}\n    {}",
                range(call.address, call.length),
                call.length,
                way(call.direction),
                self.told(*sequence, *time, call, timeline)
            );
        }
        more(&mut text, calls.len());
        if text.contains("\n *") {
            text.push_str("  * a violation lies next to it\n");
        }
        text
    }

    fn call(&self, address: u64) -> Option<&(u64, u64, DriverCall)> {
        let mut calls = self.calls.iter();
        calls.find(|(_, _, call)| call.address == address)
    }

    fn told(&self, sequence: u64, time: u64, call: &DriverCall, timeline: &Timeline) -> String {
        let from = match self.symbols.get(&call.caller) {
            Some(name) => format!(", from {name}"),
            None if call.caller != 0 => format!(", from {:#x}", call.caller),
            None => String::new(),
        };
        let when = timeline.when(time);
        format!("{} at {when}, #{sequence}{from}", call.call.name())
    }
}

fn more(text: &mut String, count: usize) {
    if count > MOST {
        let _ = writeln!(text, "  and {} more", count - MOST);
    }
}

fn lends(call: Call) -> bool {
    matches!(
        call,
        Call::Map | Call::MapList | Call::Link | Call::Alloc | Call::PoolLend | Call::Queue
    )
}
