// SPDX-License-Identifier: MIT OR Apache-2.0

//! The ledger with 100,000 live lends, on one core: `cargo bench -p landfall-device --bench ledger`.
//!
//! | id | one element is |
//! |---|---|
//! | `ledger/access` | an access inside one of the lends, another one each time |
//! | `ledger/line` | an access of a frame's next line, as cards make them: the same lend many times |
//! | `ledger/stray` | an access that no lend allows, with all that it takes to name it |
//! | `ledger/lend` | a lend that ends and another that begins in its place: two events |

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use landfall_device::dma::journal::{
    Call, Direction, DriverCall, DriverState, Entry, Kind, Memory, Outcome,
};
use landfall_device::ledger::{Ledger, LendDirection, Platform};

const LENDS: u64 = 100_000;
const PAGE: u64 = 4096;
const BASE: u64 = 0x1_0000_0000;
/// Accesses, or pairs of events, in one measured batch.
const BATCH: u64 = 10_000;

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

fn access(address: u64) -> Kind {
    Kind::Access {
        direction: Direction::Write,
        address,
        length: 64,
        slot: None,
        job: None,
        outcome: Outcome::Ok,
    }
}

/// A ledger in which all is lent that there is.
fn full() -> (Ledger, Teller) {
    let (mut ledger, mut teller) = (Ledger::new(Platform::default()), Teller::default());
    let attached = Kind::Attached {
        text_start: 0,
        text_end: 0,
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

fn ledger(c: &mut Criterion) {
    let mut group = c.benchmark_group("ledger");
    group.throughput(Throughput::Elements(BATCH));
    group.sample_size(20);
    // A stride that meets every lend, far from the one before.
    let scattered = |turn: u64| place(turn.wrapping_mul(61_803)) + turn % 63 * 64;
    let line = |turn: u64| place(turn / 64) + turn % 64 * 64;
    let stray = |turn: u64| place(turn.wrapping_mul(61_803)) + PAGE + 1024;
    for (name, address, clean) in [
        ("access", &scattered as &dyn Fn(u64) -> u64, true),
        ("line", &line, true),
        ("stray", &stray, false),
    ] {
        let (mut ledger, mut teller) = full();
        let mut turn = 0;
        group.bench_function(name, |b| {
            let batch = |teller: &mut Teller, turn: &mut u64| {
                let next = |_| {
                    *turn += 1;
                    teller.entry(access(address(*turn)))
                };
                (0..BATCH).map(next).collect::<Vec<_>>()
            };
            b.iter_batched(
                || batch(&mut teller, &mut turn),
                |entries| {
                    for entry in &entries {
                        ledger.entry(black_box(entry));
                    }
                },
                BatchSize::PerIteration,
            );
        });
        assert_eq!(ledger.finish().is_empty(), clean, "{name}");
    }
    let (mut ledger, mut teller) = full();
    let mut number = LENDS;
    group.bench_function("lend", |b| {
        let batch = |teller: &mut Teller, number: &mut u64| {
            let pair = |_| {
                *number += 1;
                let old = teller.entry(call(Call::Unmap, *number));
                [old, teller.entry(call(Call::Map, *number))]
            };
            (0..BATCH).flat_map(pair).collect::<Vec<_>>()
        };
        b.iter_batched(
            || batch(&mut teller, &mut number),
            |entries| {
                for entry in &entries {
                    ledger.entry(black_box(entry));
                }
            },
            BatchSize::PerIteration,
        );
    });
    assert_eq!(ledger.finish(), []);
    group.finish();
}

criterion_group!(benches, ledger);
criterion_main!(benches);
