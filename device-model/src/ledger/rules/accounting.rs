// SPDX-License-Identifier: MIT OR Apache-2.0

//! The DMA API's rules of accounting: what is lent must be given back, once, as it was lent.

use super::super::book::Way;
use super::super::class::Class;
use super::super::classify::is_near;
use super::super::held::{Brief, Held, Sort};
use super::super::witness::Pooled;
use super::super::{Ledger, Range};
use crate::journal::{Call, DriverCall, LendDirection, Memory};

impl Ledger {
    /// A call of the driver's. Without the witness's beginning nothing of it counts.
    pub(in super::super) fn call(&mut self, call: &DriverCall) {
        if !self.witness.attached {
            return;
        }
        let range = Range {
            start: call.address,
            length: call.length,
        };
        let by = Brief::of(call);
        match call.call {
            Call::Map => self.lent(call, Sort::Single),
            Call::MapList => self.lent(call, Sort::List),
            Call::Alloc => self.lent(call, Sort::Coherent),
            Call::BlockAlloc => self.lent(call, Sort::Block),
            Call::Link => self.lent(call, Sort::Link),
            Call::Unlink => self.unlinked(call),
            Call::MapFailed => self.witness.life.failed = true,
            Call::Unmap => self.returned(call, Sort::Single),
            Call::UnmapList => self.returned(call, Sort::List),
            Call::Free => self.returned(call, Sort::Coherent),
            Call::BlockFree => self.returned(call, Sort::Block),
            Call::SyncForCpu => self.sync(call, true),
            Call::SyncForDevice => self.sync(call, false),
            Call::Queue => {
                let ours = self.witness.at(call.address).is_some();
                if ours && call.length > 0 {
                    self.witness.queue(range, by);
                }
            }
            Call::Done => {
                let known = self.witness.buffers.touching(Range { length: 1, ..range });
                let known = known.map(|(range, _)| range);
                let known = known.filter(|known| known.start == range.start).last();
                if self.witness.done(call.address, by)
                    && let Some(known) = known
                {
                    self.judge_done(call.address, by);
                    self.judge_return(known, None, by);
                }
            }
            Call::PoolLend => {
                let ours = false;
                self.witness.pool.insert(range, Pooled { by, ours });
            }
            Call::PoolReturn => {
                self.witness.pool.remove(call.address);
            }
        }
    }

    /// A lend begins: classes 4, 15, 16, 17 and 18.
    fn lent(&mut self, call: &DriverCall, sort: Sort) {
        let Some(number) = self.witness.lend(call, sort) else {
            return self.full();
        };
        self.jobs.lent_anew(Range {
            start: call.address,
            length: call.length,
        });
        self.wrong_memory(number, call, sort);
        self.wrong_mask(call, sort);
        self.shared_line(number);
    }

    /// Classes 15, 16 and 17.
    fn wrong_memory(&mut self, number: u64, call: &DriverCall, sort: Sort) {
        let (class, what) = match call.memory {
            Memory::Plain => return,
            // What a boot option keeps is no RAM to the kernel; the pool knows better.
            Memory::Invalid if self.is_the_pools(call.phys, call.length) => return,
            // The zero page, a table of constants: reading them harms nobody.
            Memory::Text if call.direction == LendDirection::ToDevice => return,
            Memory::Text => (Class::KernelText, "the kernel's text or read-only data"),
            Memory::Stack => (Class::Stack, "a stack"),
            Memory::Invalid => (Class::InvalidMemory, "memory that is no RAM"),
        };
        if let Some(held) = self.witness.held_mut(number) {
            held.wrong = Some(class);
        }
        let text = format!(
            "the driver gave {} {} bytes of {what}, at {:#x}",
            sort.begins(),
            call.length,
            call.address
        );
        self.report_call(class, call, text);
    }

    /// Whether memory, by its physical address, is somebody's who has it from the pool.
    fn is_the_pools(&self, start: u64, length: u64) -> bool {
        let mut pool = self.witness.pool.touching(Range { start, length });
        pool.any(|(lent, _)| lent.contains(start, length))
    }

    /// Class 4.
    fn wrong_mask(&mut self, call: &DriverCall, sort: Sort) {
        let range = Range {
            start: call.address,
            length: call.length,
        };
        if self.is_beyond(range) {
            let text = format!(
                "{} gave {:#x} to {:#x}, and the card drives {} address bits: the driver's mask is too wide",
                sort.begins(),
                range.start,
                range.end().saturating_sub(1),
                self.declares.limits.address_bits
            );
            self.report_call(Class::WrongMask, call, text);
        }
    }

    /// Class 18.
    fn shared_line(&mut self, number: u64) {
        if !self.witness.sees() {
            return;
        }
        let (Some(held), Some(other)) = (self.witness.held(number), self.witness.sharing(number))
        else {
            return;
        };
        let text = format!(
            "{} ({} bytes at {:#x}) and {} ({} bytes at {:#x}) share a cache line",
            held.label(),
            held.range.length,
            held.range.start,
            other.label(),
            other.range.length,
            other.range.start
        );
        let mut violation = self.of_held(Class::SharedCacheLine, other, held.range, text);
        violation.call = Some(self.witness.caller(held.by));
        self.report(violation);
    }

    /// A lend ends, or should: classes 39, 47, 48, 49, 50 and 51.
    fn returned(&mut self, call: &DriverCall, sort: Sort) {
        if call.address == u64::MAX {
            let text = format!("{} was given what a failed mapping gives", sort.ends());
            return self.report_call(Class::MappingErrorUnchecked, call, text);
        }
        match self.pick(call, sort) {
            Some((number, held)) => {
                let first = sort != Sort::List || call.part == 0;
                let wrong = first && self.judge_end(call, sort, &held);
                let whole = wrong && held.sort == Sort::List;
                self.ended(number, &held, Brief::of(call), whole);
            }
            // A list that was wrong is told once.
            None if sort == Sort::List && call.part > 0 => {}
            None => self.not_lent(call, sort),
        }
    }

    /// All that was linked to some bus addresses comes back: class 39. Nothing may be linked there: some kernels' functions
    /// call each other, and one that ends a range is heard twice.
    fn unlinked(&mut self, call: &DriverCall) {
        let range = Range {
            start: call.address,
            length: call.length,
        };
        let links = self.witness.linked(range);
        let first = self.witness.at(range.start).map(|(_, held)| held);
        let before =
            first.is_some_and(|held| held.sort == Sort::Link && held.range.start < range.start);
        let beyond = |held: &Held| held.range.end() > range.end();
        if before || links.iter().any(|(_, held)| beyond(held)) {
            self.unheard("dma_iova_unlink of a part of what was linked", false);
        }
        let by = Brief::of(call);
        let mut told = false;
        for (number, held) in links.into_iter().filter(|(_, held)| !beyond(held)) {
            if !told && held.direction != call.direction {
                told = true;
                let text = format!(
                    "{} ended with another direction than it began with",
                    held.label()
                );
                let mut violation = self.of_held(Class::WrongDirection, &held, held.range, text);
                violation.call = Some(self.witness.caller(by));
                self.report(violation);
            }
            self.ended(number, &held, by, false);
        }
    }

    /// A lend is over: what was still going on with it.
    fn ended(&mut self, number: u64, held: &Held, by: Brief, whole: bool) {
        self.witness.give_back(number, by, whole);
        self.unlooked(held, by);
        self.judge_return(held.range, Some(held), by);
    }

    /// Which lend a call ends: of those that begin at its address one of its kind and length, else one of its kind,
    /// else any.
    fn pick(&self, call: &DriverCall, sort: Sort) -> Option<(u64, Held)> {
        let right = |those: Vec<(u64, Held)>| {
            let fits = |held: &Held| {
                let direction = !sort.is_streaming() || held.direction == call.direction;
                direction && (sort != Sort::List || held.entries == call.entries)
            };
            let best = those.iter().position(|(_, held)| fits(held)).unwrap_or(0);
            those.into_iter().nth(best)
        };
        let kinds = [
            sort,
            Sort::Single,
            Sort::List,
            Sort::Link,
            Sort::Coherent,
            Sort::Block,
        ];
        right(self.witness.exactly(call.address, sort, call.length)).or_else(|| {
            kinds
                .into_iter()
                .find_map(|kind| right(self.witness.starting(call.address, kind)))
        })
    }

    /// How a lend ends, against how it began. True: it is wrong.
    fn judge_end(&mut self, call: &DriverCall, sort: Sort, held: &Held) -> bool {
        let label = held.label();
        let (class, text) = if held.sort != sort {
            let (ends, right) = (sort.ends(), held.sort.ends());
            let text = format!("{label} was given to {ends}, and {right} had to end it");
            (Class::WrongFree, text)
        } else if sort == Sort::List && held.entries != call.entries {
            let text = format!(
                "{label} had {} entries, and {} of {} were given to dma_unmap_sg",
                held.entries, call.entries, held.entries
            );
            (Class::WrongNents, text)
        } else if sort != Sort::List && held.range.length != call.length {
            let text = format!(
                "{label} has {} bytes, and {} were given to {}",
                held.range.length,
                call.length,
                sort.ends()
            );
            (Class::UnmapSize, text)
        } else if sort.is_streaming() && held.direction != call.direction {
            let text = format!("{label} ended with another direction than it began with");
            (Class::WrongDirection, text)
        } else {
            return false;
        };
        let mut violation = self.of_held(class, held, held.range, text);
        violation.call = Some(self.witness.caller(Brief::of(call)));
        self.report(violation);
        true
    }

    /// Class 48: nothing that is lent begins there.
    fn not_lent(&mut self, call: &DriverCall, sort: Sort) {
        if !self.witness.sees() {
            return;
        }
        let range = Range {
            start: call.address,
            length: call.length.max(1),
        };
        let ends = sort.ends();
        let at = call.address;
        let inside = self.witness.at(at).map(|(_, held)| held.clone());
        let past = self.witness.past(range).cloned();
        let past = past.filter(|past| past.held.range.start == at);
        let (text, near) = if let Some(held) = inside {
            let offset = at - held.range.start;
            let text = format!(
                "{ends} was given {at:#x}, {offset} bytes into {}",
                held.label()
            );
            (text, Some(held.near(range)))
        } else if let Some(past) = past {
            let text = format!(
                "{ends} was given {at:#x}, and {} there had ended already",
                past.held.label()
            );
            (text, Some(past.near(range)))
        } else {
            let near = self.witness.nearest(range).map(|held| held.near(range));
            (
                format!("{ends} was given {at:#x}, where nothing is lent"),
                near.filter(is_near),
            )
        };
        let mut violation = self.of_call(Class::UnmapNotMapped, Brief::of(call), text);
        (violation.address, violation.length) = (at, call.length);
        violation.lend = near;
        self.report(violation);
    }

    /// A sync: class 40.
    fn sync(&mut self, call: &DriverCall, for_cpu: bool) {
        let range = Range {
            start: call.address,
            length: call.length,
        };
        let covered = self.witness.covering(range, Way::Any).is_some();
        if covered || call.length == 0 {
            return self.synced(call, for_cpu);
        }
        if !self.witness.sees() {
            return;
        }
        let (text, near) = match self.witness.at(call.address) {
            Some((_, held)) => {
                let past = range.end().saturating_sub(held.range.end());
                let text = format!("a sync passes the end of {} by {past} bytes", held.label());
                (text, Some(held.near(range)))
            }
            None => {
                let near = self.witness.nearest(range).map(|held| held.near(range));
                let near = near.filter(is_near);
                let text = format!(
                    "a sync of {} bytes at {:#x}, which is not mapped",
                    range.length, range.start
                );
                (text, near)
            }
        };
        let mut violation = self.of_call(Class::SyncNotMapped, Brief::of(call), text);
        (violation.address, violation.length) = (range.start, range.length);
        violation.lend = near;
        self.report(violation);
    }

    fn report_call(&mut self, class: Class, call: &DriverCall, text: String) {
        let mut violation = self.of_call(class, Brief::of(call), text);
        (violation.address, violation.length) = (call.address, call.length);
        self.report(violation);
    }
}
