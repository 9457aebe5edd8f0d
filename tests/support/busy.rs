// SPDX-License-Identifier: MIT OR Apache-2.0

//! A card that never was and never rests: streams of any length.

use landfall::evidence::Item;
use landfall_device::contract::{
    Declaration, Direction, JobId, Label, Owed, Piece, QueueId, RegisterName, Role, Vector,
};
use landfall_device::journal::{
    Bytes, Call, DriverCall, Entry, Kind, LendDirection, Memory, Outcome,
};
use landfall_device::ledger::{Class, Platform, Range, RegisterWrite, Violation};
use landfall_device::random::Random;

/// Bytes of a buffer.
const BUFFER: u64 = 256 << 10;
/// How many buffers are in use by turns.
const BUFFERS: u64 = 64;
/// Where they begin.
const BASE: u64 = 0x0d30_0000;
/// Where the driver calls from.
const CALLER: u64 = 0xffff_ffff_c080_1000;

/// Tells a stream of so many entries: a driver that lends buffers at random and a card that fills them, in pieces. The same seed
/// gives the same.
pub fn busy(entries: u64, seed: u64, each: &mut dyn FnMut(&Item)) {
    let mut random = Random::new(seed);
    let ram = Range {
        start: 0,
        length: 256 << 20,
    };
    each(&Item::Platform(Platform {
        ram: vec![ram],
        ..Platform::default()
    }));
    let (mut sequence, mut time_ns) = (0, 0);
    let mut push = |random: &mut Random, kind: Kind| {
        // Some things take a while.
        time_ns += match random.one_in(40) {
            true => 20_000 + random.below(400_000),
            false => 90 + random.below(9000),
        };
        if sequence < entries {
            let entry = Entry {
                sequence,
                time_ns,
                kind,
            };
            each(&Item::Entry(entry));
        }
        sequence += 1;
        sequence < entries
    };
    let symbol = Kind::Symbol {
        address: CALLER,
        name: "busy_queue+0x9/0x20 [busy]".to_owned(),
    };
    let mut goes_on = push(&mut random, symbol);
    let mut number = 0;
    let mut jobs = 0;
    while goes_on {
        let address = BASE + random.below(BUFFERS) * 2 * BUFFER;
        let job = JobId(jobs);
        let slot = u32::try_from(jobs % 8).unwrap_or_default();
        let label = Label::slot(slot).frame(u32::try_from(jobs).unwrap_or_default());
        jobs += 1;
        let mut call = |call| {
            number += 1;
            Kind::Call(DriverCall {
                call,
                number,
                address,
                phys: address,
                length: BUFFER,
                direction: LendDirection::FromDevice,
                entries: 0,
                part: 0,
                list: None,
                memory: Memory::Plain,
                bounced: false,
                skip_sync: false,
                backing: false,
                caller: CALLER,
                cpu: 0,
                guest_ns: 3_000_000_000,
            })
        };
        let register = |name: &'static str, value| Kind::Register {
            bar: 0,
            offset: 0x30,
            name: RegisterName::plain(name),
            value,
            width: 4,
        };
        let told = |what| Kind::Declared {
            register_write: None,
            what,
        };
        let pieces = 2 + random.below(7);
        let mut kinds = vec![
            call(Call::Map),
            register("SLOT_BASE", address),
            register("QUEUE", jobs % 8),
            told(Declaration::Accepted {
                job,
                queue: QueueId::default(),
                label,
                pieces: Vec::new(),
            }),
            told(Declaration::Begun {
                job,
                queue: QueueId::default(),
                label,
                pieces: vec![Piece::write(address, BUFFER)],
            }),
        ];
        kinds.extend((0..pieces).map(|piece| Kind::Access {
            direction: Direction::Write,
            address: address + piece * (BUFFER / pieces),
            length: BUFFER / pieces,
            job: Some(job),
            slot: None,
            role: Role::Payload,
            outcome: Outcome::Ok,
            bytes: Bytes::default(),
        }));
        kinds.extend([
            told(Declaration::done(job, BUFFER, Some(Owed::now(Vector(0))))),
            Kind::Interrupt { vector: 0 },
            register("IRQ_STATUS", 1),
            told(Declaration::Released { job }),
            call(Call::SyncForCpu),
            call(Call::Unmap),
        ]);
        for kind in kinds {
            goes_on = push(&mut random, kind);
        }
    }
}

/// Something that is wrong with such a stream: at this entry.
pub fn wrong(sequence: u64) -> Violation {
    Violation {
        class: Some(Class::Overrun),
        name: Class::Overrun.words().into(),
        address: BASE + BUFFER,
        length: 8,
        accesses: 1,
        frame: Some(7),
        slot: Some(1),
        job: None,
        lend: None,
        register_write: Some(RegisterWrite {
            sequence: sequence.saturating_sub(4),
            offset: 0x30,
            name: "QUEUE".to_owned(),
            value: 1,
        }),
        call: None,
        instruction: None,
        sequence,
        time_ns: 0,
        text: "the card wrote 8 bytes past the end of a buffer".to_owned(),
    }
}

/// What is known of such a run besides.
pub struct Known {
    /// What is wrong.
    pub said: landfall_device::ledger::Judgement,
    summary: String,
    command: Vec<String>,
    versions: std::collections::BTreeMap<String, String>,
    lines: landfall::debug_info::Lines,
    pages: landfall::evidence::Pages,
    logs: landfall::evidence::Logs,
}

impl Known {
    /// Something is wrong at these entries, and this is said.
    pub fn new(summary: &str, wrong_at: &[u64]) -> Self {
        let said = landfall_device::ledger::Judgement {
            violations: wrong_at.iter().copied().map(wrong).collect(),
            ..Default::default()
        };
        Self {
            said,
            summary: summary.to_owned(),
            command: vec!["run".to_owned(), summary.to_owned()],
            versions: Default::default(),
            lines: Default::default(),
            pages: Default::default(),
            logs: vec![("console.log", format!("[    3.000001] {summary}\n"))],
        }
    }

    /// As a viewer takes it.
    pub fn subject(&self) -> landfall::viewer::Subject<'_> {
        landfall::viewer::Subject {
            summary: &self.summary,
            command: &self.command,
            seed: None,
            versions: &self.versions,
            report: None,
            said: &self.said,
            besides: &[],
            lines: &self.lines,
            pages: &self.pages,
            logs: &self.logs,
        }
    }
}
