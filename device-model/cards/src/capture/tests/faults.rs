// SPDX-License-Identifier: MIT OR Apache-2.0

//! Each misbehaviour does what it says, and only to the frame that it strikes.

use super::*;

#[test]
fn overrun_writes_one_byte_more() {
    let mut bench = Bench::bad(Fault::Overrun);
    assert_eq!(bench.capture(0), RESULT_OK);
    assert_eq!(
        bench.host.accesses().last(),
        Some(&(Direction::Write, BASE + BYTES, 1))
    );
    assert_ne!(bench.host.byte(BASE + BYTES), 0xee);
    assert_eq!(bench.capture(1), RESULT_OK, "only that frame is bad");
    assert_eq!(bench.host.byte(BASE + 0x1000 + BYTES), 0xee);
}

#[test]
fn shift_moves_the_frame_by_a_page() {
    let mut bench = Bench::bad(Fault::Shift);
    assert_eq!(bench.capture(0), RESULT_OK);
    assert_eq!(bench.host.bytes(BASE + 0x1000, BYTES), bench.expected(0, 0));
    assert_eq!(bench.host.byte(BASE), 0xee);
}

#[test]
fn truncate32_drops_the_upper_half() {
    let mut bench = Bench::bad(Fault::Truncate32);
    bench.host.map(BASE & 0xffff_ffff, 0x1000);
    assert_eq!(bench.capture(0), RESULT_OK);
    assert_eq!(
        bench.host.bytes(BASE & 0xffff_ffff, BYTES),
        bench.expected(0, 0)
    );
    assert_eq!(bench.host.byte(BASE), 0xee);
}

#[test]
fn short_writes_half_and_reports_all() {
    let mut bench = Bench::bad(Fault::Short);
    assert_eq!(bench.capture(0), RESULT_OK);
    assert_eq!(bench.of_slot(SLOT_BYTES::OFFSET, 0), BYTES as u32);
    assert_ne!(bench.host.byte(BASE + BYTES / 2 - 1), 0xee);
    assert_eq!(bench.host.bytes(BASE + BYTES / 2, 8), [0xee; 8]);
}

#[test]
fn lost_irq_completes_in_silence() {
    let mut bench = Bench::bad(Fault::LostIrq);
    assert_eq!(bench.capture(0), RESULT_OK);
    assert_eq!(
        (bench.host.interrupts, bench.get(IRQ_STATUS::OFFSET)),
        (0, 0)
    );
    assert!(!bench.card.line());
    bench.capture(1);
    assert_eq!(bench.host.interrupts, 1);
}

#[test]
fn after_stop_writes_later_also_over_a_reset() {
    let mut bench = Bench::bad(Fault::AfterStop);
    bench.capture(0);
    bench.run(false);
    let Next::At(due) = bench.settle() else {
        panic!("something is due");
    };
    assert_eq!(bench.get(STATUS::OFFSET), 0, "it says idle");
    bench.card.reset(Reset::FunctionLevel);
    bench.host.time = due;
    assert_eq!(bench.settle(), Next::Idle);
    assert_eq!(
        bench.host.accesses().last(),
        Some(&(Direction::Write, BASE, 64))
    );
    assert_ne!(bench.host.bytes(BASE, 64), bench.expected(0, 0)[..64]);
    let mut off = Bench::bad(Fault::AfterStop);
    off.capture(0);
    off.run(false);
    off.settle();
    off.card.reset(Reset::Device);
    off.host.time = due;
    assert_eq!(off.settle(), Next::Idle);
    assert_eq!(off.host.accesses().len(), 1, "not over a loss of power");
}

#[test]
fn names_of_faults_go_both_ways() {
    for fault in Fault::ALL {
        assert_eq!(fault.to_string().parse(), Ok(fault));
        assert_eq!(Planted::once(fault).check(), Ok(()));
        assert!(fault.description().len() < 80);
    }
    let error = "shift2".parse::<Fault>().expect_err("no such fault");
    assert!(
        error.to_string().contains("truncate32, after-stop"),
        "{error}"
    );
}
