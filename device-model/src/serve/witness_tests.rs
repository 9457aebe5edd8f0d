// SPDX-License-Identifier: MIT OR Apache-2.0

use proptest::prelude::*;

use super::*;

const HEADER: &str = include_str!("../../../kmod/include/landfall_witness.h");

/// The value of a `#define` of the header.
fn defined(name: &str) -> u64 {
    let value = HEADER.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let is_it = words.next() == Some("#define") && words.next() == Some(name);
        words.next().filter(|_| is_it)
    });
    let value = value.unwrap_or_else(|| panic!("{name} is not in the header"));
    match value.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).expect("hexadecimal"),
        None => value.parse().expect("decimal"),
    }
}

/// The commit of an event of that number, with the fields named.
fn word(number: u32, op: &str, rest: &[(&str, u64)]) -> u64 {
    let op = defined(op) << defined("LW_OP_SHIFT");
    let rest = rest.iter().map(|(field, value)| value << defined(field));
    u64::from(number) | op | rest.sum::<u64>()
}

#[derive(Default)]
struct Bench {
    witness: Witness,
    journal: Journal,
}

impl Bench {
    fn put(&mut self, register: &str, value: u64) {
        let offset = defined(register);
        self.write(offset, &value.to_le_bytes());
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        if self.witness.stage(offset, bytes, &self.journal) {
            self.witness.tell(&self.journal);
        }
    }

    fn text(&mut self, text: &str) {
        for part in text.as_bytes().chunks(8) {
            let mut bytes = [0; 8];
            bytes[..part.len()].copy_from_slice(part);
            self.put("LW_TEXT", u64::from_le_bytes(bytes));
        }
    }

    fn kinds(&self) -> Vec<Kind> {
        let entries = self.journal.entries_from(0);
        entries.into_iter().map(|entry| entry.kind).collect()
    }

    fn map(&mut self, number: u32) {
        self.put("LW_ADDRESS", 0x1000);
        self.put("LW_SHORT", 4096);
        self.put("LW_COMMIT", word(number, "LW_OP_MAP", &[]));
    }

    fn refused(&self) -> usize {
        let refused = |kind: &Kind| matches!(kind, Kind::Refused { .. });
        self.kinds().iter().filter(|kind| refused(kind)).count()
    }
}

/// Everything that the header defines and the model has under another name.
#[test]
fn header_and_model_agree() {
    for (name, value) in [
        ("LW_BAR", u64::from(BAR)),
        ("LW_BAR_SIZE", SIZE),
        ("LW_MAILBOX_MAGIC", 4),
        ("LW_MAILBOX_SELECT", MAILBOX_SELECT),
        ("LW_MAILBOX_DATA", MAILBOX_DATA),
        ("LW_MAILBOX_SIZE", MAILBOX_SIZE),
        ("LW_MAGIC", MAGIC),
        ("LW_VERSION", VERSION),
        ("LW_EVENTS", EVENTS),
        ("LW_REFUSED", REFUSED),
        ("LW_PLACE", PLACE),
        ("LW_MAGIC_VALUE", MAGIC_VALUE.into()),
        ("LW_VERSION_VALUE", VERSION_VALUE.into()),
        ("LW_MAX_TEXT", MAX_TEXT as u64),
        ("LW_OP_ATTACHED", OP_ATTACHED.into()),
        ("LW_OP_SYMBOL", OP_SYMBOL.into()),
        ("LW_OP_DRIVER", OP_DRIVER.into()),
        ("LW_OP_KERNEL_DOWN", OP_KERNEL_DOWN.into()),
        ("LW_OP_UNHEARD", OP_UNHEARD.into()),
        ("LW_OP_ELSEWHERE", OP_ELSEWHERE.into()),
    ] {
        assert_eq!(defined(name), value, "{name}");
    }
    let fields = [
        ("LW_ADDRESS", Field::Address),
        ("LW_PHYS", Field::Phys),
        ("LW_LENGTH", Field::Length),
        ("LW_CALLER", Field::Caller),
        ("LW_TIME", Field::Time),
        ("LW_LIST", Field::List),
        ("LW_TEXT", Field::Text),
        ("LW_SHORT", Field::Short),
        ("LW_GROUP", Field::Group),
        ("LW_COMMIT", Field::Commit),
    ];
    for (name, place) in fields {
        assert_eq!(field(defined(name)), Some(place as usize), "{name}");
    }
    assert_eq!(field(defined("LW_COMMIT") + 8), None);
    for (name, last) in [
        ("LW_DIRECTION_FROM_DEVICE", 2),
        ("LW_MEMORY_INVALID", MEMORIES.len() - 1),
        ("LW_DRIVER_UNBOUND", STATES.len() - 1),
        ("LW_OP_UNLINK", CALLS.len()),
    ] {
        assert_eq!(defined(name), last as u64, "{name}");
    }
}

#[test]
fn each_operation_is_the_call_of_its_name() {
    let names = [
        ("LW_OP_MAP", Call::Map),
        ("LW_OP_MAP_LIST", Call::MapList),
        ("LW_OP_MAP_FAILED", Call::MapFailed),
        ("LW_OP_UNMAP", Call::Unmap),
        ("LW_OP_UNMAP_LIST", Call::UnmapList),
        ("LW_OP_ALLOC", Call::Alloc),
        ("LW_OP_FREE", Call::Free),
        ("LW_OP_SYNC_FOR_CPU", Call::SyncForCpu),
        ("LW_OP_SYNC_FOR_DEVICE", Call::SyncForDevice),
        ("LW_OP_QUEUE", Call::Queue),
        ("LW_OP_DONE", Call::Done),
        ("LW_OP_POOL_LEND", Call::PoolLend),
        ("LW_OP_POOL_RETURN", Call::PoolReturn),
        ("LW_OP_BLOCK_ALLOC", Call::BlockAlloc),
        ("LW_OP_BLOCK_FREE", Call::BlockFree),
        ("LW_OP_LINK", Call::Link),
        ("LW_OP_UNLINK", Call::Unlink),
    ];
    for (name, call) in names {
        let mut bench = Bench::default();
        bench.put("LW_ADDRESS", 1);
        bench.put("LW_LENGTH", 2);
        bench.put("LW_COMMIT", word(0, name, &[]));
        let [Kind::Call(told)] = &bench.kinds()[..] else {
            panic!("{name}: {:?}", bench.kinds());
        };
        assert_eq!(told.call, call);
    }
}

#[test]
fn call_carries_all_that_was_told() {
    let mut bench = Bench::default();
    bench.put("LW_ADDRESS", 0x1_0000_2000);
    bench.put("LW_PHYS", 0x7000);
    bench.put("LW_LENGTH", 5 << 32);
    bench.put("LW_CALLER", 0xffff_ffff_c000_0010);
    bench.put("LW_TIME", 77);
    bench.put("LW_LIST", 3 | 2 << 32);
    bench.put("LW_GROUP", 1 << 33);
    let rest = [
        ("LW_DIRECTION_SHIFT", defined("LW_DIRECTION_FROM_DEVICE")),
        ("LW_MEMORY_SHIFT", defined("LW_MEMORY_STACK")),
        ("LW_BOUNCED_SHIFT", 1),
        ("LW_CPU_SHIFT", 0xfff),
        ("LW_SKIP_SYNC_SHIFT", 1),
        ("LW_BACKING_SHIFT", 1),
    ];
    bench.put("LW_COMMIT", word(0, "LW_OP_MAP_LIST", &rest));
    let told = DriverCall {
        call: Call::MapList,
        number: 0,
        address: 0x1_0000_2000,
        phys: 0x7000,
        length: 5 << 32,
        direction: LendDirection::FromDevice,
        entries: 3,
        part: 2,
        list: Some(1 << 33),
        memory: Memory::Stack,
        bounced: true,
        skip_sync: true,
        backing: true,
        caller: 0xffff_ffff_c000_0010,
        cpu: 0xfff,
        guest_ns: 77,
    };
    assert_eq!(bench.kinds(), [Kind::Call(told)]);
}

/// The short form that most events have, and that the next event has nothing of it.
#[test]
fn short_form_means_the_same_and_is_forgotten() {
    let mut bench = Bench::default();
    bench.put("LW_ADDRESS", 0x2000);
    bench.put("LW_SHORT", 0xc000_0010 << 32 | 512);
    bench.put("LW_COMMIT", word(0, "LW_OP_MAP", &[("LW_DIRECT_SHIFT", 1)]));
    bench.put("LW_ADDRESS", 0x3000);
    bench.put("LW_COMMIT", word(1, "LW_OP_UNMAP", &[]));
    let kinds = bench.kinds();
    let [Kind::Call(call), Kind::Refused { what }] = &kinds[..] else {
        panic!("{kinds:?}");
    };
    assert_eq!(
        (call.phys, call.length, call.caller),
        (0x2000, 512, 0xffff_ffff_c000_0010)
    );
    assert!(what.contains("without a length"), "{what}");
}

#[test]
fn halves_make_the_same_event() {
    let mut bench = Bench::default();
    for (register, value) in [
        ("LW_ADDRESS", 0x1_0000_2000),
        ("LW_LENGTH", 64),
        ("LW_COMMIT", word(0, "LW_OP_ALLOC", &[])),
    ] {
        for half in [0, 4] {
            let bytes = ((value >> (8 * half)) as u32).to_le_bytes();
            let offset = defined(register) + half;
            bench.write(offset, &bytes);
        }
    }
    let kinds = bench.kinds();
    assert!(
        matches!(&kinds[..], [Kind::Call(call)] if call.address == 0x1_0000_2000 && call.length == 64),
        "{kinds:?}"
    );
}

#[test]
fn names_life_and_end_are_told() {
    let mut bench = Bench::default();
    bench.put("LW_ADDRESS", 0x100_0000);
    bench.put("LW_PHYS", 0x300_0000);
    bench.put("LW_COMMIT", word(0, "LW_OP_ATTACHED", &[]));
    bench.put("LW_ADDRESS", 0xffff_ffff_c000_0010);
    bench.text("probe+0x10/0x20 [mod\n]");
    bench.put("LW_COMMIT", word(1, "LW_OP_SYMBOL", &[]));
    bench.text("landfall_capture");
    let bound = [("LW_DIRECTION_SHIFT", defined("LW_DRIVER_BOUND"))];
    bench.put("LW_COMMIT", word(2, "LW_OP_DRIVER", &bound));
    bench.put("LW_COMMIT", word(3, "LW_OP_KERNEL_DOWN", &[]));
    assert_eq!(
        bench.kinds(),
        [
            Kind::Attached {
                text_start: 0x100_0000,
                text_end: 0x300_0000,
                syncs: true,
            },
            Kind::Symbol {
                address: 0xffff_ffff_c000_0010,
                name: "probe+0x10/0x20 [mod?]".to_owned()
            },
            Kind::Driver {
                driver: "landfall_capture".to_owned(),
                state: DriverState::Bound
            },
            Kind::KernelDown,
        ]
    );
    assert_eq!(bench.witness.read(EVENTS), 4);
}

#[test]
fn lost_events_make_a_gap() {
    let mut bench = Bench::default();
    bench.map(0);
    bench.map(3);
    bench.map(4);
    let gaps = |bench: &Bench| -> Vec<Kind> {
        let mut kinds = bench.kinds();
        kinds.retain(|kind| matches!(kind, Kind::WitnessGap { .. }));
        kinds
    };
    let (expected, got) = (1, 3);
    assert_eq!(gaps(&bench), [Kind::WitnessGap { expected, got }]);
    // The module is loaded anew, which is no loss.
    bench.put("LW_ADDRESS", 0);
    bench.put("LW_COMMIT", word(0, "LW_OP_ATTACHED", &[]));
    bench.map(1);
    assert_eq!(gaps(&bench).len(), 1);
}

#[test]
fn numbers_go_on_past_32_bits() {
    let mut bench = Bench::default();
    bench.witness.expected = u32::MAX.into();
    bench.map(u32::MAX);
    bench.map(0);
    let kinds = bench.kinds();
    assert!(
        matches!(&kinds[..], [Kind::Call(_), Kind::Call(call)] if call.number == 1 << 32),
        "{kinds:?}"
    );
}

#[test]
fn nonsense_is_refused_counted_and_bounded() {
    let mut bench = Bench::default();
    for number in 0..1000 {
        bench.put("LW_COMMIT", word(number, "LW_OP_MAP", &[]));
        bench.write(0x10, &[1, 2, 3]);
        bench.write(0xffc, &[0; 8]);
    }
    assert_eq!(bench.refused(), MAX_REFUSED as usize);
    assert_eq!(bench.witness.read(REFUSED), 3000);
    assert_eq!(bench.witness.read(EVENTS), 0);
}

/// What came already is passed over, also if much of it comes again; only a new beginning goes back.
#[test]
fn an_event_that_is_told_twice_counts_once() {
    let mut bench = Bench::default();
    for number in [0, 1, 1, 0, 2] {
        bench.map(number);
    }
    let calls = bench.kinds();
    assert!(calls.iter().all(|kind| matches!(kind, Kind::Call(_))));
    assert_eq!(calls.len(), 3, "{calls:?}");
    assert_eq!(bench.witness.read(EVENTS), 3);
    assert_eq!(bench.witness.read(REFUSED), 0);
}

/// A caller has its name once, unless another module has its place now.
#[test]
fn a_name_is_told_once() {
    let mut bench = Bench::default();
    for (number, name) in (0..).zip(["probe+1", "probe+1", "other+1", "other+1"]) {
        bench.put("LW_ADDRESS", 1);
        bench.text(name);
        bench.put("LW_COMMIT", word(number, "LW_OP_SYMBOL", &[]));
    }
    let names: Vec<_> = bench
        .kinds()
        .iter()
        .map(|kind| match kind {
            Kind::Symbol { name, .. } => name.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["probe+1", "other+1"]);
}

/// However many names there are, they stay within their bytes, and nothing else is refused for it.
#[test]
fn endless_names_end() {
    let mut bench = Bench::default();
    let most = (MAX_NAME_BYTES / MAX_TEXT) as u32;
    for number in 0..most + 10 {
        bench.put("LW_ADDRESS", number.into());
        bench.text(&"a".repeat(300));
        bench.put("LW_COMMIT", word(number, "LW_OP_SYMBOL", &[]));
    }
    let lengths = bench.kinds();
    let lengths = lengths.iter().map(|kind| match kind {
        Kind::Symbol { name, .. } => name.len(),
        other => panic!("{other:?}"),
    });
    assert_eq!(lengths.clone().max(), Some(MAX_TEXT));
    assert_eq!(lengths.sum::<usize>(), MAX_NAME_BYTES);
    assert!(bench.witness.names.len() <= MAX_NAMES);
    assert_eq!(bench.refused(), 0);
}

/// A driver that is bound and unbound over and over is heard to its last time, and so is whoever comes then.
#[test]
fn rebinding_blinds_nothing() {
    let mut bench = Bench::default();
    let states = ["LW_DRIVER_BINDING", "LW_DRIVER_UNBOUND"];
    let times = (MAX_NAME_BYTES / 64) as u32;
    for number in 0..times {
        let state = states[number as usize % 2];
        bench.text(&"driver".repeat(20));
        let state = [("LW_DIRECTION_SHIFT", defined(state))];
        bench.put("LW_COMMIT", word(number, "LW_OP_DRIVER", &state));
    }
    bench.map(times);
    let kinds = bench.kinds();
    let named = |kind: &&Kind| matches!(kind, Kind::Driver { driver, .. } if !driver.is_empty());
    assert!(kinds.iter().filter(named).count() > 10_000);
    assert_eq!(kinds.len(), times as usize + 1);
    assert!(matches!(kinds.last(), Some(Kind::Call(_))));
}

#[test]
fn what_is_not_heard_is_told_once_and_bounded() {
    let mut bench = Bench::default();
    let mut number = 0;
    for round in 0..2 {
        for which in 0..200 {
            bench.text(&format!("call {}", which + round));
            bench.put("LW_COMMIT", word(number, "LW_OP_UNHEARD", &[]));
            number += 1;
        }
    }
    let kinds = bench.kinds();
    assert_eq!(kinds.len(), MAX_UNHEARD);
    let what = |kind: &Kind| match kind {
        Kind::Unheard { what, .. } => what.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(what(&kinds[0]), "call 0");
    assert_eq!(what(&kinds[MAX_UNHEARD - 1]), "more than can be told");
    assert_eq!(bench.refused(), 0);
}

#[test]
fn lends_of_other_devices_are_told_once_and_bounded() {
    let mut bench = Bench::default();
    let mut tell = |number: u32, address: u64, ended: u64| {
        bench.put("LW_ADDRESS", address);
        bench.put("LW_LENGTH", 64);
        bench.put("LW_TIME", 5);
        bench.put("LW_PHYS", ended);
        bench.text("0000:00:03.0\nsnd_hda");
        let rest = [
            ("LW_DIRECTION_SHIFT", defined("LW_DIRECTION_TO_DEVICE")),
            ("LW_BOUNCED_SHIFT", u64::from(ended > 0)),
        ];
        bench.put("LW_COMMIT", word(number, "LW_OP_ELSEWHERE", &rest));
        bench.kinds()
    };
    tell(0, 0x1000, 0);
    tell(1, 0x1000, 0);
    let kinds = tell(2, 0x1000, 9);
    let lend = |ended, ended_ns| Kind::Elsewhere {
        device: "0000:00:03.0".to_owned(),
        driver: "snd_hda".to_owned(),
        address: 0x1000,
        length: 64,
        direction: LendDirection::ToDevice,
        ended,
        begun_ns: 5,
        ended_ns,
    };
    assert_eq!(kinds, [lend(false, 0), lend(true, 9)]);
    let most = MAX_ELSEWHERE as u32;
    for number in 3..most + 10 {
        tell(number, number.into(), 0);
    }
    let kinds = tell(most + 10, 0, 0);
    assert_eq!(kinds.len(), MAX_ELSEWHERE + 1);
    assert!(
        matches!(kinds.last(), Some(Kind::Unheard { what, others: true }) if what.contains("other devices")),
        "{:?}",
        kinds.last()
    );
}

proptest! {
    /// Any writes at all: no panic, and the state stays within its bounds.
    #[test]
    fn any_writes_are_taken(
        writes in prop::collection::vec(
            (0u64..0x70, prop::collection::vec(any::<u8>(), 0..12)), 0..200)
    ) {
        let mut bench = Bench::default();
        for (offset, bytes) in writes {
            bench.write(offset, &bytes);
            if bench.witness.stage_mailbox(offset % 0x14, &bytes, &bench.journal) {
                bench.witness.tell(&bench.journal);
            }
            prop_assert!(bench.witness.staging.text.len() <= MAX_TEXT);
        }
        let told = bench.kinds().len();
        prop_assert!(told <= 6 * 200);
    }
}

/// The access layer adds the BAR, and no function sees it.
#[path = "witness_card_tests.rs"]
mod in_a_card;
