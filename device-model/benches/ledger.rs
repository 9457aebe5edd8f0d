// SPDX-License-Identifier: MIT OR Apache-2.0

//! The ledger with 100,000 live lends, on one core: `cargo bench -p landfall-device --bench ledger`.
//!
//! | id | one element is |
//! |---|---|
//! | `ledger/access` | an access inside one of the lends, another one each time |
//! | `ledger/line` | an access of a frame's next line, as cards make them: the same lend many times |
//! | `ledger/stray` | an access that no lend allows, with all that it takes to name it: one cause for each lend |
//! | `ledger/cause` | an access to what one driver freed once: all of them have one cause |
//! | `ledger/in_flight` | an access for one of 2,048 jobs in work, another one each time |
//! | `ledger/job` | a job while 2,048 are in work: accepted, begun, one access, done, its interrupt, taken back |
//! | `ledger/lend` | a lend that ends and another that begins in its place: two events |
//!
//! Each must stay above a million elements a second but `stray`, which names what it finds, and `job`, which is six
//! entries. So a ledger keeps up with any card while the guest runs: under KVM an access costs a card several microseconds.

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{
    BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main,
};
use landfall_device::contract::{
    Declaration, Declares, Direction, IdleScope, JobId, Label, Owed, Piece, QueueId, Role, Vector,
};
use landfall_device::journal::{
    Bytes, Call, DriverCall, DriverState, Entry, Kind, LendDirection, Memory, Outcome,
};
use landfall_device::ledger::{Ledger, Platform};

const LENDS: u64 = 100_000;
const PAGE: u64 = 4096;
const BASE: u64 = 0x1_0000_0000;
/// Accesses, or pairs of events, in one measured batch.
const BATCH: u64 = 10_000;
/// Jobs in work at once, in `in_flight` and `job`.
const JOBS: u64 = 2048;

/// Numbers entries as a journal would.
#[derive(Default)]
struct Teller {
    sequence: u64,
}

impl Teller {
    fn tell(&mut self, ledger: &mut Ledger, kind: Kind) {
        ledger.entry(&self.entry(kind));
    }

    fn entry(&mut self, kind: Kind) -> Entry {
        let sequence = self.sequence;
        self.sequence += 1;
        let time_ns = sequence;
        Entry {
            sequence,
            time_ns,
            kind,
        }
    }
}

/// The address of a lend. Between two of them a page is free.
const fn place(number: u64) -> u64 {
    BASE + number % LENDS * 2 * PAGE
}

fn call(call: Call, number: u64) -> Kind {
    Kind::Call(DriverCall {
        call,
        number,
        address: place(number),
        phys: place(number),
        length: PAGE,
        direction: LendDirection::FromDevice,
        entries: 0,
        part: 0,
        list: None,
        memory: Memory::Plain,
        bounced: false,
        skip_sync: false,
        backing: false,
        caller: 0,
        cpu: 0,
        guest_ns: number,
    })
}

fn access(address: u64, job: Option<JobId>) -> Kind {
    Kind::Access {
        direction: Direction::Write,
        address,
        length: 64,
        slot: None,
        job,
        role: Role::Payload,
        outcome: Outcome::Ok,
        bytes: Bytes::default(),
    }
}

fn declared(what: Declaration) -> Kind {
    let register_write = None;
    Kind::Declared {
        register_write,
        what,
    }
}

/// A job into one lend.
fn pieces(job: u64) -> Vec<Piece> {
    vec![Piece::write(place(job), PAGE)]
}

fn begun(job: u64) -> Kind {
    declared(Declaration::Begun {
        job: JobId(job),
        queue: QueueId(0),
        label: Label::default(),
        pieces: pieces(job),
    })
}

/// The whole life of a job.
fn life(job: u64) -> [Kind; 6] {
    let number = JobId(job);
    let accepted = Declaration::Accepted {
        job: number,
        queue: QueueId(0),
        label: Label::default(),
        pieces: pieces(job),
    };
    let owed = Some(Owed::now(Vector(0)));
    [
        declared(accepted),
        begun(job),
        access(place(job), Some(number)),
        declared(Declaration::done(number, 64, owed)),
        Kind::Interrupt { vector: 0 },
        declared(Declaration::Released { job: number }),
    ]
}

/// A ledger in which all is lent that there is.
fn full() -> (Ledger, Teller) {
    let (mut ledger, mut teller) = (Ledger::new(Platform::default()), Teller::default());
    let declares = Declares {
        jobs: true,
        handover: true,
        interrupts: true,
        masks: true,
        idle: IdleScope::Queue,
        ..Declares::default()
    };
    teller.tell(&mut ledger, Kind::Declares(declares));
    let attached = Kind::Attached {
        text_start: 0,
        text_end: 0,
        syncs: false,
    };
    teller.tell(&mut ledger, attached);
    let driver = "driver".to_owned();
    let state = DriverState::Binding;
    teller.tell(&mut ledger, Kind::Driver { driver, state });
    for number in 0..LENDS {
        teller.tell(&mut ledger, call(Call::Map, number));
    }
    (ledger, teller)
}

/// The same with jobs in work.
fn working() -> (Ledger, Teller) {
    let (mut ledger, mut teller) = full();
    for job in 0..JOBS {
        teller.tell(&mut ledger, begun(job));
    }
    (ledger, teller)
}

/// Measures how fast a ledger takes batches of what `make` makes of a turn's number, and gives the ledger.
fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    (mut ledger, mut teller): (Ledger, Teller),
    make: &dyn Fn(u64) -> Vec<Kind>,
) -> Ledger {
    let mut turn = 0;
    group.bench_function(name, |b| {
        let mut batch = || {
            let mut entries = Vec::new();
            for _ in 0..BATCH {
                turn += 1;
                let kinds = make(turn).into_iter();
                entries.extend(kinds.map(|kind| teller.entry(kind)));
            }
            entries
        };
        b.iter_batched(
            &mut batch,
            |entries| {
                for entry in &entries {
                    ledger.entry(black_box(entry));
                }
                entries
            },
            BatchSize::PerIteration,
        );
    });
    ledger
}

fn ledger(c: &mut Criterion) {
    let mut group = c.benchmark_group("ledger");
    group.throughput(Throughput::Elements(BATCH));
    group.sample_size(20);
    // A stride that meets every lend, or job, far from the one before.
    let scattered = |turn: u64| turn.wrapping_mul(61_803);
    let one = |address| vec![access(address, None)];

    let inside = |turn| one(place(scattered(turn)) + turn % 63 * 64);
    let line = |turn| one(place(turn / 64) + turn % 64 * 64);
    let lend = |turn| {
        let number = LENDS + turn;
        vec![call(Call::Unmap, number), call(Call::Map, number)]
    };
    let in_flight = |turn| {
        let job = scattered(turn) % JOBS;
        vec![access(place(job) + turn % 63 * 64, Some(JobId(job)))]
    };
    let job = |turn| life(JOBS + turn).into();
    let clean: [(_, _, &dyn Fn(u64) -> Vec<Kind>); 5] = [
        ("access", full(), &inside),
        ("line", full(), &line),
        ("lend", full(), &lend),
        ("in_flight", working(), &in_flight),
        ("job", working(), &job),
    ];
    for (name, full, make) in clean {
        let judged = measure(&mut group, name, full, make).finish();
        assert!(judged.is_clean(), "{name}: {judged:#?}");
    }

    let stray = |turn| one(place(scattered(turn)) + PAGE + 1024);
    let judged = measure(&mut group, "stray", full(), &stray).finish();
    assert!(judged.violations.len() > 1);

    let (mut ledger, mut teller) = full();
    teller.tell(&mut ledger, call(Call::Unmap, 7));
    let freed = |turn| one(place(7) + turn % 63 * 64);
    let judged = measure(&mut group, "cause", (ledger, teller), &freed).finish();
    assert_eq!(judged.violations.len(), 1);
    group.finish();
}

criterion_group!(benches, ledger);
criterion_main!(benches);
