// SPDX-License-Identifier: MIT OR Apache-2.0

//! A view as a trace of Perfetto's (`perfetto.protos.Trace`): a track for each lane, slices for lends and jobs, flows from what
//! led to it to what came of it.
//!
//! Times are nanoseconds since the first entry. An instant is what happened at once; its arguments are the journal's numbers.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use landfall_device::ledger;

use super::protobuf::Message;
use super::{Row, Subject, View, shown};
use crate::report::chapter::{title, violations};
use crate::report::words::{Sort, Words};

/// Fields of `TracePacket`.
mod packet {
    pub(super) const TIMESTAMP: u32 = 8;
    pub(super) const SEQUENCE: u32 = 10;
    pub(super) const TRACK_EVENT: u32 = 11;
    pub(super) const SEQUENCE_FLAGS: u32 = 13;
    pub(super) const TRACK_DESCRIPTOR: u32 = 60;
}

/// Fields of `TrackDescriptor`.
mod track {
    pub(super) const UUID: u32 = 1;
    pub(super) const NAME: u32 = 2;
    pub(super) const PARENT: u32 = 5;
    pub(super) const CHILD_ORDERING: u32 = 11;
    pub(super) const RANK: u32 = 12;
    /// `ChildTracksOrdering.EXPLICIT`.
    pub(super) const EXPLICIT: u64 = 3;
}

/// Fields of `TrackEvent`.
mod event {
    pub(super) const ARGUMENT: u32 = 4;
    pub(super) const TYPE: u32 = 9;
    pub(super) const TRACK: u32 = 11;
    pub(super) const NAME: u32 = 23;
    pub(super) const FLOW: u32 = 47;
    pub(super) const FLOW_ENDS: u32 = 48;
    pub(super) const BEGINS: u64 = 1;
    pub(super) const ENDS: u64 = 2;
    pub(super) const INSTANT: u64 = 3;
}

/// Fields of `DebugAnnotation`.
mod argument {
    pub(super) const NUMBER: u32 = 3;
    pub(super) const POINTER: u32 = 7;
    pub(super) const NAME: u32 = 10;
}

/// All packets are of one sequence, which begins with nothing known.
const SEQUENCE: u64 = 1;
/// `SEQ_INCREMENTAL_STATE_CLEARED`.
const CLEARED: u64 = 1;
/// The track that has all others.
const ROOT: u64 = 1;
/// Its lanes come after it, in this order.
const LANES: [&str; 8] = [
    "violations",
    "driver and device",
    "DMA calls",
    "register writes",
    "what the card tells",
    "accesses of the card",
    "interrupts",
    "accesses of the CPU",
];
/// Tracks of lends begin here, those of jobs beyond them; they come in this order, which has 31 bits.
const LENDS: u64 = 1 << 8;
const JOBS: u64 = 1 << 28;

/// The lane of a kind of entry, by its place in [`LANES`].
const fn lane(sort: Sort) -> u64 {
    match sort {
        Sort::Life => 1,
        Sort::Lends | Sort::TakesBack | Sort::ForCpu | Sort::ForDevice => 2,
        Sort::Register | Sort::NoRegister => 3,
        Sort::Accepted | Sort::Begun | Sort::Done | Sort::Released | Sort::Told => 4,
        Sort::Writes | Sort::Reads | Sort::Refused => 5,
        Sort::Interrupt | Sort::Held => 6,
        Sort::Loads | Sort::Stores => 7,
    }
}

/// The whole trace.
pub(super) fn trace(view: &View, subject: &Subject<'_>) -> Vec<u8> {
    let mut trace = Trace::default();
    let root = track_named(ROOT, "Landfall").number(track::CHILD_ORDERING, track::EXPLICIT);
    trace.describe(root, true);
    for (rank, name) in (0..).zip(LANES) {
        trace.child(ROOT + 1 + rank, name, rank);
    }
    // A flow goes from one to one: whatever came of an entry has one of its own.
    let mut effects: HashMap<u32, Vec<u32>> = HashMap::new();
    for (index, row) in (0..).zip(&view.rows) {
        if let Some(cause) = row.linked.cause {
            effects.entry(cause).or_default().push(index);
        }
    }
    for (index, row) in (0..).zip(&view.rows) {
        let leads = effects.get(&index).map_or(&[][..], Vec::as_slice);
        trace.event(row.time_ns, &view.event(index, row, leads));
    }
    trace.violations(view, subject);
    trace.slices(view, LENDS, "lends", Sort::Lends, Sort::TakesBack);
    trace.slices(view, JOBS, "jobs", Sort::Accepted, Sort::Released);
    trace.bytes
}

impl View {
    fn event(&self, index: u32, row: &Row, leads: &[u32]) -> Message {
        let numbers = &row.numbers;
        let mut message = Message::default()
            .number(event::TYPE, event::INSTANT)
            .number(event::TRACK, ROOT + 1 + lane(row.sort))
            .text(event::NAME, &self.told(row))
            .message(event::ARGUMENT, &number("entry", row.sequence));
        if let Some(job) = numbers.job {
            message = message.message(event::ARGUMENT, &number("job", job));
        }
        if numbers.length != 0 {
            let address = Message::default()
                .text(argument::NAME, "address")
                .number(argument::POINTER, numbers.address);
            message = message
                .message(event::ARGUMENT, &address)
                .message(event::ARGUMENT, &number("bytes", numbers.length));
        }
        for effect in leads {
            message = message.fixed(event::FLOW, flow(*effect));
        }
        match row.linked.cause {
            Some(_) => message.fixed(event::FLOW_ENDS, flow(index)),
            None => message,
        }
    }

    /// What an entry says, with its numbers.
    pub(super) fn told(&self, row: &Row) -> String {
        let at = usize::try_from(row.text).unwrap_or(usize::MAX);
        let (who, text) = self.texts.get(at).cloned().unwrap_or_default();
        let words = Words {
            who,
            sort: row.sort,
            text,
            numbers: row.numbers,
        };
        words.told()
    }
}

/// The number of the flow that ends at an entry; none is 0.
fn flow(index: u32) -> u64 {
    u64::from(index) + 1
}

fn number(name: &str, value: u64) -> Message {
    Message::default()
        .text(argument::NAME, name)
        .number(argument::NUMBER, value)
}

fn track_named(uuid: u64, name: &str) -> Message {
    Message::default()
        .number(track::UUID, uuid)
        .text(track::NAME, name)
}

#[derive(Default)]
struct Trace {
    bytes: Vec<u8>,
}

impl Trace {
    fn packet(&mut self, packet: &Message) {
        let packet = Message::default().message(1, packet);
        self.bytes.extend(packet.into_bytes());
    }

    fn describe(&mut self, track: Message, first: bool) {
        let mut head = Message::default().number(packet::SEQUENCE, SEQUENCE);
        if first {
            head = head.number(packet::SEQUENCE_FLAGS, CLEARED);
        }
        self.packet(&head.message(packet::TRACK_DESCRIPTOR, &track));
    }

    fn child(&mut self, uuid: u64, name: &str, rank: u64) {
        let track = track_named(uuid, name)
            .number(track::PARENT, ROOT)
            .number(track::RANK, rank);
        self.describe(track, false);
    }

    fn event(&mut self, time_ns: u64, event: &Message) {
        let packet = Message::default()
            .number(packet::TIMESTAMP, time_ns)
            .number(packet::SEQUENCE, SEQUENCE)
            .message(packet::TRACK_EVENT, event);
        self.packet(&packet);
    }

    fn violations(&mut self, view: &View, subject: &Subject<'_>) {
        let said: &[ledger::Violation] = &subject.said.violations;
        for (at, violation) in violations(subject.report, said).iter().enumerate() {
            let entry = said.get(at).and_then(|said| view.place(said.sequence));
            let row = entry.and_then(|entry| view.rows.get(usize::try_from(entry).ok()?));
            let name = format!("{}: {}", title(violation), violation.text);
            let happened = Message::default()
                .number(event::TYPE, event::INSTANT)
                .number(event::TRACK, ROOT + 1)
                .text(event::NAME, &shown(&name));
            // What is known only at the end is told at the end.
            let last = view.rows.last();
            let time = row.or(last).map_or(0, |row| row.time_ns);
            self.event(time, &happened);
        }
    }

    /// What lasts from an entry that begins it to one that ends it, on as many tracks as there are at once.
    fn slices(&mut self, view: &View, base: u64, name: &str, begins: Sort, ends: Sort) {
        let end = view.rows.last().map_or(0, |row| row.time_ns);
        let mut over = HashMap::new();
        for (index, row) in (0_u32..).zip(&view.rows) {
            let of_end = row.sort == ends || (begins == Sort::Accepted && row.sort == Sort::Done);
            if let Some(owner) = row.linked.owner.filter(|_| of_end) {
                over.insert(owner, (row.time_ns, index));
            }
        }
        // Tracks that are free again, by the time at which they are.
        let mut busy = BinaryHeap::new();
        let mut free = BinaryHeap::new();
        let mut tracks = 0_u64;
        for (index, row) in (0_u32..).zip(&view.rows) {
            let first_of_job =
                begins == Sort::Accepted && row.sort == Sort::Begun && row.linked.owner.is_none();
            if row.sort != begins && !first_of_job {
                continue;
            }
            while let Some(Reverse((time, track))) = busy.peek().copied() {
                if time > row.time_ns {
                    break;
                }
                busy.pop();
                free.push(Reverse(track));
            }
            let track = free.pop().map_or_else(
                || {
                    self.child(base + tracks, name, base + tracks);
                    tracks += 1;
                    tracks - 1
                },
                |Reverse(track)| track,
            );
            let until = over.get(&index).map_or(end, |(time, _)| *time);
            let begun = Message::default()
                .number(event::TYPE, event::BEGINS)
                .number(event::TRACK, base + track)
                .text(event::NAME, &view.told(row))
                .message(event::ARGUMENT, &number("entry", row.sequence));
            self.event(row.time_ns, &begun);
            let ended = Message::default()
                .number(event::TYPE, event::ENDS)
                .number(event::TRACK, base + track);
            self.event(until, &ended);
            busy.push(Reverse((until, track)));
        }
    }
}
