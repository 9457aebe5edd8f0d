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
        self.witness
            .write(offset, &value.to_le_bytes(), &self.journal);
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
        ("LW_BAR_SIZE", SIZE.into()),
        ("LW_MAGIC", MAGIC),
        ("LW_VERSION", VERSION),
        ("LW_EVENTS", EVENTS),
        ("LW_REFUSED", REFUSED),
        ("LW_MAGIC_VALUE", MAGIC_VALUE.into()),
        ("LW_VERSION_VALUE", VERSION_VALUE.into()),
        ("LW_MAX_TEXT", MAX_TEXT as u64),
        ("LW_OP_ATTACHED", OP_ATTACHED.into()),
        ("LW_OP_SYMBOL", OP_SYMBOL.into()),
        ("LW_OP_DRIVER", OP_DRIVER.into()),
        ("LW_OP_KERNEL_DOWN", OP_KERNEL_DOWN.into()),
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
        ("LW_OP_POOL_RETURN", CALLS.len()),
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
    let rest = [
        ("LW_DIRECTION_SHIFT", defined("LW_DIRECTION_FROM_DEVICE")),
        ("LW_MEMORY_SHIFT", defined("LW_MEMORY_STACK")),
        ("LW_BOUNCED_SHIFT", 1),
        ("LW_CPU_SHIFT", 3),
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
        list: None,
        memory: Memory::Stack,
        bounced: true,
        skip_sync: false,
        backing: false,
        caller: 0xffff_ffff_c000_0010,
        cpu: 3,
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
            bench.witness.write(offset, &bytes, &bench.journal);
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
                syncs: false,
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
        bench.witness.write(0x10, &[1, 2, 3], &bench.journal);
        bench.witness.write(0xffc, &[0; 8], &bench.journal);
    }
    assert_eq!(bench.refused(), MAX_REFUSED as usize);
    assert_eq!(bench.witness.read(REFUSED), 3000);
    assert_eq!(bench.witness.read(EVENTS), 0);
}

#[test]
fn endless_names_end() {
    let mut bench = Bench::default();
    for number in 0..MAX_NAMES + 10 {
        bench.put("LW_ADDRESS", 1);
        bench.text(&"a".repeat(300));
        bench.put("LW_COMMIT", word(number, "LW_OP_SYMBOL", &[]));
    }
    let kinds = bench.kinds();
    let longest = kinds.iter().map(|kind| match kind {
        Kind::Symbol { name, .. } => name.len(),
        _ => 0,
    });
    assert_eq!(longest.max(), Some(MAX_TEXT));
    assert_eq!(bench.refused(), 10);
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
            bench.witness.write(offset, &bytes, &bench.journal);
            prop_assert!(bench.witness.staging.text.len() <= MAX_TEXT);
        }
        let told = bench.kinds().len();
        prop_assert!(told <= 3 * 200);
    }
}

/// The access layer adds the BAR, and no function sees it.
mod in_a_card {
    use crate::contract::InterruptKind;
    use crate::devices::capture::{CaptureCard, CaptureOptions};
    use crate::journal::Kind;
    use crate::serve::{LocalCard, Options};

    fn card(interrupt: InterruptKind, witness: bool) -> LocalCard {
        let options = CaptureOptions {
            interrupt,
            ..CaptureOptions::default()
        };
        let with = Options {
            witness,
            ..Options::default()
        };
        LocalCard::with(Box::new(CaptureCard::new(options)), with)
    }

    fn told(card: &LocalCard) -> Vec<Kind> {
        let entries = card.journal().entries_from(0);
        let rest = entries.into_iter().map(|entry| entry.kind);
        let of_the_card = |kind: &Kind| {
            matches!(
                kind,
                Kind::Declares(_) | Kind::Decoding { .. } | Kind::BusMaster { .. }
            )
        };
        rest.filter(|kind| !of_the_card(kind)).collect()
    }

    #[test]
    fn its_registers_are_no_register_of_the_card() {
        for interrupt in InterruptKind::ALL {
            let mut card = card(interrupt, true);
            assert_eq!(card.read(5, 0), super::MAGIC_VALUE);
            assert_eq!(card.read(5, 0x800), 0);
            // Decoding off: what the witness tells is heard all the same.
            card.write_config(4, &[0, 0]);
            card.write_long(5, 0x10, 0x1000);
            card.write_long(5, 0x20, 64);
            card.write_long(5, 0x50, super::word(0, "LW_OP_MAP", &[]));
            let told = told(&card);
            assert!(matches!(&told[..], [Kind::Call(_)]), "{told:?}");
        }
    }

    #[test]
    fn there_is_none_unless_asked_for() {
        let mut card = card(InterruptKind::Msi, false);
        assert_eq!(card.read(5, 0), u32::MAX);
        assert!(matches!(told(&card)[..], [Kind::Unclaimed { bar: 5, .. }]));
    }

    #[test]
    fn decoding_is_journalled() {
        let mut card = card(InterruptKind::Msi, false);
        card.write_config(4, &[4, 0]);
        let entries = card.journal().entries_from(0);
        let decoding: Vec<_> = entries
            .iter()
            .filter_map(|entry| match entry.kind {
                Kind::Decoding { on } => Some(on),
                _ => None,
            })
            .collect();
        assert_eq!(decoding, [true, false]);
    }
}
