// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whatever a guest or a card may tell.

use proptest::prelude::*;

use super::super::{Ledger, MAX_VIOLATIONS, Platform};
use super::stream::*;
use crate::contract::{
    Declaration, Declares, Direction, DmaError, IdleScope, JobId, Label, Limits, Owed, Piece,
    Promise, QueueId, Reset, Role, Vector,
};
use crate::journal::{Bytes, Call, DriverCall, DriverState, Entry, Kind, Memory, Outcome};

fn hostile_call() -> impl Strategy<Value = Kind> {
    let calls = [
        Call::Map,
        Call::MapList,
        Call::MapFailed,
        Call::Unmap,
        Call::UnmapList,
        Call::Alloc,
        Call::Free,
        Call::BlockAlloc,
        Call::BlockFree,
        Call::SyncForCpu,
        Call::SyncForDevice,
        Call::Queue,
        Call::Done,
        Call::PoolLend,
        Call::PoolReturn,
        Call::Link,
        Call::Unlink,
    ];
    let memory = [Memory::Plain, Memory::Text, Memory::Stack, Memory::Invalid];
    let fields = (number(), number(), number(), 0usize..17, 0usize..3, 0u32..4);
    let marks = (any::<bool>(), any::<bool>(), any::<bool>(), 0u64..4);
    (fields, 0usize..4, marks, 0u16..2).prop_map(
        move |((address, phys, length, which, direction, part), kind, marks, cpu)| {
            let (bounced, backing, skip_sync, list) = marks;
            Kind::Call(DriverCall {
                phys,
                entries: part,
                part,
                list: (list > 0).then_some(list),
                memory: memory[kind],
                bounced,
                backing,
                skip_sync,
                cpu,
                ..call(
                    calls[which],
                    address,
                    length,
                    [FromDevice, ToDevice, Both][direction],
                )
            })
        },
    )
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![
        Just(Role::Payload),
        Just(Role::Descriptor),
        Just(Role::Status),
        Just(Role::Side)
    ]
}

fn direction() -> impl Strategy<Value = Direction> {
    prop_oneof![Just(Direction::Read), Just(Direction::Write)]
}

fn hostile_piece() -> impl Strategy<Value = Piece> {
    (number(), number(), direction(), role(), number()).prop_map(
        |(address, length, way, role, unit)| Piece {
            address,
            length,
            way,
            role,
            unit,
        },
    )
}

fn hostile_owed() -> impl Strategy<Value = Option<Owed>> {
    let promise = prop_oneof![
        Just(Promise::Now),
        number().prop_map(Promise::Within),
        Just(Promise::Never)
    ];
    let owed = (0u16..3, promise).prop_map(|(vector, promise)| Owed {
        vector: Vector(vector),
        promise,
    });
    prop::option::of(owed)
}

/// Whatever a card may tell, and in whatever order.
fn hostile_declaration() -> impl Strategy<Value = Declaration> {
    let pieces = prop::collection::vec(hostile_piece(), 0..5);
    let some = (
        0u8..14,
        number(),
        0u16..3,
        prop::option::of(0u32..3),
        any::<bool>(),
    );
    (some, pieces, hostile_owed(), number()).prop_map(
        |((which, job, queue, slot, on), pieces, owed, moved)| {
            let (job, queue, vector) = (JobId(job), QueueId(queue), Vector(queue));
            let label = Label { slot, frame: slot };
            let (every, one) = (on.then_some(queue), on.then_some(vector));
            match which {
                0 => Declaration::Accepted {
                    job,
                    queue,
                    label,
                    pieces,
                },
                1 | 2 => Declaration::Begun {
                    job,
                    queue,
                    label,
                    pieces,
                },
                3 | 4 => Declaration::Done {
                    job,
                    error: on.then(|| "no luck".into()),
                    moved,
                    owed,
                },
                5 => Declaration::Released { job },
                6 => Declaration::Stopping { queue: every },
                7 => Declaration::Idle { queue: every },
                8 => Declaration::Cause {
                    owed: owed.unwrap_or(Owed::perhaps(vector)),
                    why: "é".repeat(200).into(),
                },
                9 => Declaration::Masked {
                    vector: one,
                    masked: moved % 2 == 0,
                },
                10 => Declaration::NotNow {
                    why: "é".repeat(500).into(),
                },
                11 => Declaration::Changed {
                    job,
                    address: moved,
                },
                12 => Declaration::Gone {
                    why: "é".repeat(500).into(),
                },
                _ if on => Declaration::Delayed,
                _ if moved % 2 == 0 => Declaration::Arrived { flushed: on },
                _ => Declaration::Reset,
            }
        },
    )
}

fn hostile_declares() -> impl Strategy<Value = Declares> {
    let limits = (any::<u8>(), number(), number(), number(), number(), 0u32..4);
    (limits, any::<[bool; 4]>(), 0usize..3, number()).prop_map(|(limits, on, idle, fetch)| {
        let (address_bits, alignment, granule, boundary, longest, pieces) = limits;
        let [jobs, handover, interrupts, masks] = on;
        Declares {
            limits: Limits {
                address_bits,
                alignment,
                granule,
                boundary,
                longest,
                pieces,
                fetch_boundary: fetch,
            },
            jobs,
            handover,
            interrupts,
            masks,
            idle: [IdleScope::Never, IdleScope::Device, IdleScope::Queue][idle],
        }
    })
}

fn hostile_access() -> impl Strategy<Value = Kind> {
    let bytes = prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..20);
    let of = (prop::option::of(number()), prop::option::of(0u32..3));
    let what = (direction(), role(), 0u8..5);
    (number(), number(), what, of, bytes).prop_map(
        |(address, length, (direction, role, outcome), (job, slot), bytes)| Kind::Access {
            direction,
            address,
            length,
            job: job.map(JobId),
            slot,
            role,
            outcome: match outcome {
                0 => Outcome::Refused(DmaError::Unmapped),
                1 => Outcome::Refused(DmaError::NotMaster),
                _ => Outcome::Ok,
            },
            bytes: Bytes::of(&bytes),
        },
    )
}

/// Mostly few values, so that they meet; and the ends of the address space.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0u64..16).prop_map(|page| page * 512),
        1 => (0u64..4).prop_map(|back| u64::MAX - back),
        1 => any::<u64>(),
    ]
}

fn hostile() -> impl Strategy<Value = Kind> {
    let states = [
        DriverState::Binding,
        DriverState::Bound,
        DriverState::NotBound,
        DriverState::Unbinding,
        DriverState::Unbound,
    ];
    let small = (number(), number(), 0u8..17, any::<u8>(), any::<bool>());
    let other = small.prop_map(move |(a, b, which, slot, on)| match which {
        0 => Kind::Attached {
            text_start: a,
            text_end: b,
            syncs: on,
        },
        1 => Kind::WitnessGap {
            expected: a,
            got: b,
        },
        2 | 3 => Kind::Driver {
            driver: "x".to_owned(),
            state: states[usize::from(slot) % 5],
        },
        4 => Kind::KernelDown,
        5 => Kind::BusMaster { on },
        6 => Kind::Decoding { on },
        7 | 8 => Kind::Interrupt {
            vector: u16::from(slot) % 3,
        },
        9 => Kind::InterruptHeld {
            vector: u16::from(slot) % 3,
        },
        10 => Kind::Disconnected,
        11 => Kind::Unclaimed {
            bar: slot,
            offset: a,
            write: on,
            width: slot,
            count: b,
        },
        12 => Kind::Symbol {
            address: a,
            name: "é".repeat(200),
        },
        13 => Kind::Reset {
            reset: [Reset::Device, Reset::FunctionLevel, Reset::Register][usize::from(slot) % 3],
        },
        14 => Kind::Elsewhere {
            begun_ns: 0,
            ended_ns: 0,
            device: "é".repeat(200),
            driver: "é".repeat(200),
            address: a,
            length: b,
            direction: Both,
            ended: on,
        },
        15 => Kind::Unheard {
            others: on,
            what: "é".repeat(500),
        },
        _ => Kind::Refused {
            what: "witness: x".to_owned(),
        },
    });
    let write = prop::option::of(number());
    let told = (write, hostile_declaration()).prop_map(|(register_write, what)| Kind::Declared {
        register_write,
        what,
    });
    prop_oneof![
        3 => hostile_call(),
        4 => told,
        3 => hostile_access(),
        2 => other,
        1 => hostile_declares().prop_map(Kind::Declares),
    ]
}

proptest! {
    /// No order of entries makes the ledger panic, or say more than it may, or depends on how it was fed.
    #[test]
    fn any_stream_is_taken(
        kinds in prop::collection::vec(hostile(), 0..200), attached in any::<bool>(),
        iommu in any::<bool>(), cache_line in number(), declares in hostile_declares(),
    ) {
        let mut stream = if attached { Stream::bound() } else { Stream::default() };
        stream.platform = Platform { iommu, cache_line, ..Platform::default() };
        stream = stream.declaring(|now| *now = declares.clone());
        for kind in kinds {
            stream = stream.kind(kind);
        }
        let judged = stream.judged();
        prop_assert!(judged.violations.len() <= MAX_VIOLATIONS + 1);
        prop_assert!(judged.hints.len() <= MAX_VIOLATIONS + 1);
    }
}

#[test]
fn more_lends_than_the_ledger_holds_are_told_once() {
    let mut ledger = Ledger::new(Platform::default());
    let mut sequence = 0;
    let mut entry = |kind| {
        sequence += 1;
        ledger.entry(&Entry {
            sequence,
            time_ns: 0,
            kind,
        });
    };
    entry(Kind::Attached {
        text_start: 0,
        text_end: 0,
        syncs: false,
    });
    for number in 0..(super::super::shelf::MOST_LIVE as u64 + 10) {
        entry(Kind::Call(call(
            Call::Map,
            (1 << 40) + number * 4096,
            4096,
            FromDevice,
        )));
    }
    let judged = ledger.finish();
    assert_eq!(judged.violations, []);
    assert_eq!(judged.not_judged, ["more is lent than the ledger can hold"]);
}
