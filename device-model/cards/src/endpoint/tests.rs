// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;
use crate::late::LATE;
use landfall_device::journal::{Direction, Kind};
use landfall_device::testing::{FakeHost, check_declarations};

const FROM: u64 = 0x1_0000_0003;
const TO: u64 = 0x2_0000_0001;
/// Bytes of a transfer of several pieces.
const LONG: u32 = 1_024_001;

struct Bench {
    card: Endpoint,
    host: FakeHost,
}

/// A function with 32 vectors of MSI, of which the driver asks for the third.
fn bench(options: EndpointOptions) -> Bench {
    let mut bench = Bench {
        card: Endpoint::new(options),
        host: FakeHost::default(),
    };
    bench.host.map(FROM, 0x10_0000);
    bench.host.map(TO, 0x10_0000);
    bench.give(Some((InterruptKind::Msi, 32)));
    bench.put(IRQ_TYPE::OFFSET, 1);
    bench.put(IRQ_NUMBER::OFFSET, 3);
    bench
}

fn usual() -> Bench {
    bench(EndpointOptions::default())
}

fn broken(fault: Fault, fault_at: u64) -> Bench {
    bench(EndpointOptions {
        fault: Some(fault),
        fault_at,
    })
}

impl Bench {
    fn put(&mut self, offset: usize, value: u32) {
        self.host.write += 1;
        self.card.write(0, offset as u64, value, &mut self.host);
    }

    fn get(&self, offset: usize) -> u32 {
        self.card.read(0, offset as u64)
    }

    fn give(&mut self, messages: Option<(InterruptKind, u16)>) {
        let setup = Setup {
            messages,
            ..self.card.setup
        };
        self.card.notice(Notice::Setup(setup), &mut self.host);
    }

    /// Has a command done; gives `STATUS`.
    fn command(&mut self, number: u32) -> u32 {
        self.put(STATUS::OFFSET, 0xdead);
        self.put(COMMAND::OFFSET, number);
        assert_eq!(self.get(STATUS::OFFSET), 0, "before it is over");
        self.host.settle(&mut self.card);
        self.get(STATUS::OFFSET)
    }

    fn transfer(&mut self, number: u32, bytes: u32) -> u32 {
        for (low, high, address) in [
            (SRC_LOW::OFFSET, SRC_HIGH::OFFSET, FROM),
            (DST_LOW::OFFSET, DST_HIGH::OFFSET, TO),
        ] {
            self.put(low, address as u32);
            self.put(high, (address >> 32) as u32);
        }
        self.put(SIZE::OFFSET, bytes);
        self.command(number)
    }

    fn vectors(&self) -> Vec<u16> {
        let vector = |kind: &Kind| match kind {
            Kind::Interrupt { vector } => Some(*vector),
            _ => None,
        };
        self.host.notes.iter().filter_map(vector).collect()
    }

    fn memory(&self, bar: usize) -> Vec<u8> {
        let mut bytes = vec![0; MEMORY as usize];
        let memory = self.card.memory[bar - 1].as_ref().expect("memory");
        memory.read(0, &mut bytes);
        bytes
    }

    fn keeps_its_word(&self) {
        let kept = check_declarations(&self.card.declares(), &self.host.notes);
        assert_eq!(kept, Ok(()));
    }
}

/// As the driver computes it, bit by bit.
fn crc(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    })
}

#[test]
fn the_driver_finds_what_the_selftest_needs() {
    let bench = usual();
    assert_eq!(bench.get(CAPS::OFFSET), 0x3f);
    let identity = bench.card.identity();
    assert_eq!((identity.bars.len(), identity.check()), (6, Ok(())));
    assert_eq!(identity.msix.map(|msix| msix.vectors), Some(64));
}

#[test]
fn what_is_written_has_the_checksum_that_is_told_before_the_interrupt() {
    for bytes in [1, 1024, 1025, LONG] {
        let mut bench = usual();
        assert_eq!(bench.transfer(0x10, bytes), 1 << 2 | INTERRUPT);
        let written = bench.host.bytes(TO, bytes.into());
        assert_eq!(bench.get(CHECKSUM::OFFSET), crc(&written));
        assert_eq!(bench.host.byte(TO - 1), 0xee);
        assert_eq!(bench.host.byte(TO + u64::from(bytes)), 0xee);
        assert_eq!(bench.vectors(), [2]);
        bench.keeps_its_word();
    }
}

#[test]
fn no_two_transfers_write_the_same() {
    let mut bench = usual();
    bench.transfer(0x10, 64);
    let first = bench.host.bytes(TO, 64);
    bench.transfer(0x10, 64);
    assert_ne!(bench.host.bytes(TO, 64), first);
}

#[test]
fn what_is_read_is_compared_with_the_checksum() {
    let mut bench = usual();
    let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(LONG as usize).collect();
    bench.host.put(FROM, &bytes);
    bench.put(CHECKSUM::OFFSET, crc(&bytes));
    assert_eq!(bench.transfer(0x08, LONG), 1 << 0 | INTERRUPT);
    bench.host.put(FROM + 70_000, &[1]);
    assert_eq!(bench.transfer(0x08, LONG), 1 << 1 | INTERRUPT);
    assert_eq!(bench.vectors(), [2, 2]);
    bench.keeps_its_word();
}

#[test]
fn a_copy_goes_piece_by_piece() {
    let mut bench = usual();
    let bytes: Vec<u8> = (0..251).cycle().take(LONG as usize).collect();
    bench.host.put(FROM, &bytes);
    assert_eq!(bench.transfer(0x20, LONG), 1 << 4 | INTERRUPT);
    assert_eq!(bench.host.bytes(TO, LONG.into()), bytes);
    let accesses = bench.host.accesses();
    assert_eq!(accesses.len(), 2 * (LONG as usize).div_ceil(STEP_BYTES / 2));
    assert_eq!(
        accesses[..2],
        [
            (Direction::Read, FROM, STEP_BYTES as u64 / 2),
            (Direction::Write, TO, STEP_BYTES as u64 / 2),
        ]
    );
    bench.keeps_its_word();
}

#[test]
fn what_the_bus_refuses_fails_and_is_told() {
    let mut bench = usual();
    bench
        .host
        .pages
        .remove(&((TO + STEP_BYTES as u64) / MEMORY));
    let refused = DESTINATION_REFUSED | INTERRUPT;
    assert_eq!(bench.transfer(0x10, LONG), 1 << 3 | refused);
    assert_eq!(bench.transfer(0x20, LONG), 1 << 5 | refused);
    bench.host.pages.remove(&(FROM / MEMORY));
    let refused = SOURCE_REFUSED | INTERRUPT;
    assert_eq!(bench.transfer(0x20, LONG), 1 << 5 | refused);
    assert_eq!(bench.transfer(0x08, 1), 1 << 1 | refused);
    assert_eq!(bench.vectors(), [2; 4]);
    bench.keeps_its_word();
}

#[test]
fn nothing_of_nothing_is_moved() {
    let mut bench = usual();
    assert_eq!(bench.transfer(0x10, 0), 1 << 2 | INTERRUPT);
    assert_eq!(bench.get(CHECKSUM::OFFSET), crc(&[]));
    assert_eq!(bench.host.accesses(), []);
    bench.keeps_its_word();
}

#[test]
fn only_a_vector_that_it_was_given_is_raised() {
    let mut bench = usual();
    for (given, kind, number, raised) in [
        (Some((InterruptKind::Msi, 32)), 1, 32, Some(31)),
        (Some((InterruptKind::Msi, 1)), 1, 1, Some(0)),
        (Some((InterruptKind::Msi, 1)), 1, 2, None),
        (Some((InterruptKind::Msi, 1)), 1, 0, None),
        (Some((InterruptKind::Msi, 32)), 2, 1, None),
        (Some((InterruptKind::Msi, 32)), 0, 0, None),
        (Some((InterruptKind::Msix, 64)), 2, 64, Some(63)),
        (None, 1, 1, None),
        (None, 0, 0, Some(0)),
    ] {
        bench.host.notes.clear();
        bench.give(given);
        bench.put(IRQ_TYPE::OFFSET, kind);
        bench.put(IRQ_NUMBER::OFFSET, number);
        let command = 1 << kind;
        assert_eq!(bench.command(command), INTERRUPT, "{given:?} {number}");
        let raised: Vec<u16> = raised.into_iter().collect();
        assert_eq!(bench.vectors(), raised, "{given:?} {kind} {number}");
        bench.keeps_its_word();
    }
}

#[test]
fn the_line_is_a_pulse_unless_it_is_switched_off() {
    let mut bench = usual();
    bench.give(None);
    bench.put(IRQ_TYPE::OFFSET, 0);
    bench.put(COMMAND::OFFSET, 1);
    assert!(!bench.card.line());
    assert_eq!(bench.card.step(&mut bench.host), Next::Again);
    assert!(bench.card.line());
    assert_eq!(bench.card.step(&mut bench.host), Next::Idle);
    assert!(!bench.card.line());

    bench.card.setup.line_off = true;
    assert_eq!(bench.command(1), INTERRUPT);
    assert!(!bench.card.line() && bench.vectors() == [0]);
    bench.keeps_its_word();
}

#[test]
fn the_doorbell_rings_while_it_is_enabled_and_by_its_own_data() {
    let mut bench = usual();
    let data = RING;
    bench.put(DB_BAR::OFFSET, 0);
    bench.put(DOORBELL::OFFSET, data);
    assert_eq!(bench.vectors(), [0; 0]);
    assert_eq!(bench.command(0x80), DISABLED << 1 | INTERRUPT);
    assert_eq!(bench.get(DB_BAR::OFFSET), u32::MAX);
    assert_eq!(bench.command(0x40), ENABLED | INTERRUPT);
    assert_eq!(bench.command(0x40), ENABLED << 1 | INTERRUPT);
    assert_eq!(bench.get(DB_BAR::OFFSET), 0);
    assert_eq!(bench.get(DB_OFFSET::OFFSET) as usize, DOORBELL::OFFSET);
    assert_eq!(bench.get(DB_DATA::OFFSET), data);

    bench.put(STATUS::OFFSET, 0);
    bench.put(DOORBELL::OFFSET, data + 1);
    assert_eq!(bench.get(STATUS::OFFSET), 0);
    bench.put(DOORBELL::OFFSET, data);
    assert_eq!(bench.get(STATUS::OFFSET), RUNG | INTERRUPT);
    assert_eq!(bench.command(0x80), DISABLED | INTERRUPT);
    assert_eq!(bench.vectors(), [2; 5]);
    bench.keeps_its_word();
}

#[test]
fn halves_of_a_bar_are_swapped_marked_and_put_back() {
    let mut bench = usual();
    let half = MEMORY as usize / 2;
    bench.put(SIZE::OFFSET, 2);
    assert_eq!(bench.command(0x200), PUT_BACK << 1 | INTERRUPT);
    assert_eq!(bench.command(0x100), SWAPPED | INTERRUPT);
    let halves = |low: u8, high: u8| [vec![low; half], vec![high; half]].concat();
    assert_eq!(bench.memory(2), halves(0x60, 0x61));
    assert_eq!(bench.memory(1), halves(0, 0));
    assert_eq!(bench.command(0x200), PUT_BACK | INTERRUPT);
    assert_eq!(bench.memory(2), halves(0x61, 0x60));
    for bar in [0, 6, u32::MAX] {
        bench.put(SIZE::OFFSET, bar);
        assert_eq!(bench.command(0x100), SWAPPED << 1 | INTERRUPT);
        assert_eq!(bench.command(0x200), PUT_BACK << 1 | INTERRUPT);
    }
    bench.keeps_its_word();
}

#[test]
fn what_means_nothing_does_nothing() {
    let mut bench = usual();
    for command in [0x18, 0x400, u32::MAX] {
        assert_eq!(bench.command(command), 0);
    }
    bench.put(IRQ_TYPE::OFFSET, 3);
    assert_eq!(bench.command(0x10), 0);
    assert_eq!(bench.host.notes, []);
}

#[test]
fn a_command_in_work_is_not_disturbed_and_what_disturbs_it_is_told() {
    let mut bench = usual();
    bench.put(SIZE::OFFSET, LONG);
    bench.transfer(0x10, 1);
    let now = |bench: &Bench| {
        let told = |(what, _): (&Declaration, _)| matches!(what, Declaration::NotNow { .. });
        bench.host.declared().filter(|what| told(*what)).count()
    };
    bench.put(COMMAND::OFFSET, 0x10);
    bench.put(DB_DATA::OFFSET, 7);
    assert_eq!(now(&bench), 0);
    bench.put(SIZE::OFFSET, 5);
    bench.put(COMMAND::OFFSET, 0x20);
    assert_eq!(now(&bench), 2);
    bench.host.settle(&mut bench.card);
    assert_eq!(bench.get(STATUS::OFFSET), 1 << 2 | INTERRUPT);
    assert_eq!(bench.host.accesses().len(), 2);
}

#[test]
fn a_transfer_waits_for_the_bus_and_nothing_else_does() {
    let mut bench = usual();
    bench.host.refuses = Some(DmaError::NotMaster);
    assert_eq!(bench.transfer(0x10, 64), 0);
    assert_eq!(bench.host.accesses(), []);
    bench.host.refuses = None;
    assert_eq!(bench.host.declared().count(), 0, "it has not begun");
    bench.host.settle(&mut bench.card);
    assert_eq!(bench.get(STATUS::OFFSET), 1 << 2 | INTERRUPT);
    bench.host.refuses = Some(DmaError::NotMaster);
    assert_eq!(bench.command(0x40), ENABLED | INTERRUPT);
    bench.keeps_its_word();
}

#[test]
fn a_reset_forgets_all_but_numbers() {
    let mut bench = usual();
    bench.put(SIZE::OFFSET, 1);
    bench.command(0x100);
    bench.transfer(0x10, 64);
    bench.put(COMMAND::OFFSET, 0x10);
    bench.card.reset(Reset::FunctionLevel);
    assert_eq!(bench.host.settle(&mut bench.card), Next::Idle);
    assert_eq!(bench.host.accesses().len(), 1);
    assert_eq!(bench.memory(1), [0; MEMORY as usize]);
    assert_eq!(bench.get(DB_BAR::OFFSET), u32::MAX);
    assert_eq!((bench.card.jobs, bench.card.swapped), (3, [false; 5]));
}

/// Each fault strikes what it was told to, once; the same with another number is right.
#[test]
fn a_wrong_byte_is_one_that_no_checksum_tells_of() {
    let mut bench = broken(Fault::Corrupt, 1);
    let mut wrong = Vec::new();
    for _ in 0..3 {
        bench.transfer(0x10, LONG);
        let written = bench.host.bytes(TO, LONG.into());
        wrong.push(crc(&written) != bench.get(CHECKSUM::OFFSET));
    }
    assert_eq!(wrong, [false, true, false]);
    bench.keeps_its_word();
}

#[test]
fn one_byte_too_far_is_written_before_the_transfer_is_told() {
    let mut bench = broken(Fault::Overrun, 1);
    let end = TO + u64::from(LONG);
    bench.transfer(0x20, LONG);
    assert_eq!(bench.host.byte(end), 0xee);
    bench.transfer(0x10, LONG);
    assert_eq!(bench.host.byte(end), 0xdb);
    let last = bench.host.accesses().last().copied();
    assert_eq!(last, Some((Direction::Write, end, 1)));
    let said = check_declarations(&bench.card.declares(), &bench.host.notes);
    assert!(said.is_err_and(|why| why.contains("outside")));
}

#[test]
fn an_interrupt_is_lost_and_was_owed() {
    let mut bench = broken(Fault::LostInterrupt, 1);
    for _ in 0..3 {
        assert_eq!(bench.command(2), INTERRUPT);
    }
    assert_eq!(bench.vectors(), [2, 2]);
    let said = check_declarations(&bench.card.declares(), &bench.host.notes);
    assert!(said.is_err_and(|why| why.contains("missing")));
}

#[test]
fn a_late_write_comes_after_a_while_and_dies_with_the_power_alone() {
    for (reset, late) in [(Reset::FunctionLevel, true), (Reset::Device, false)] {
        let mut bench = broken(Fault::AfterDone, 0);
        assert_eq!(bench.transfer(0x10, 64), 1 << 2 | INTERRUPT);
        assert_eq!(bench.card.step(&mut bench.host), Next::At(LATE));
        bench.card.reset(reset);
        bench.host.time = LATE;
        assert_eq!(bench.host.settle(&mut bench.card), Next::Idle);
        let last = bench.host.accesses().last().copied();
        assert_eq!(bench.host.accesses().len(), 1 + usize::from(late));
        assert_eq!(last, Some((Direction::Write, TO, 64)));
    }
}
