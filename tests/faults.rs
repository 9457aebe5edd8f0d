// SPDX-License-Identifier: MIT OR Apache-2.0

//! Every fault of the card is named by its class, at its frame; the same run without it is silent.

use landfall::report::schema::{Report, Verdict, View};
use landfall_cards::capture::Fault;
use landfall_device::ledger::Class;
use landfall_suite::run::{Event, Wishes};
use landfall_tests::{Result, reported, reported_and_told};

/// The main job with a fault, at half the frames.
fn report(fault: Option<Fault>, memory: Option<u64>) -> Result<Report> {
    reported(Wishes {
        fault: fault.map(|fault| (fault, None)),
        memory,
        frames: Some(4),
        ..Wishes::default()
    })
}

fn assert_clean(report: &Report) {
    assert_eq!(report.violations, [], "the clean twin");
    assert_eq!(report.verdict, Verdict::Clean);
    assert!(
        report.checked.frame_bytes > 16 << 20
            && report.checked.canary_bytes > 1 << 20
            && report.checked.accesses > 60
    );
}

/// Every violation is of that class, and the first names the frame that the fault struck.
fn assert_named(report: &Report, class: u8, frame: Option<u32>) {
    assert_eq!(report.verdict, Verdict::Violations);
    for violation in &report.violations {
        assert_eq!(violation.class, Some(class), "{violation:#?}");
        assert!(violation.register_write.is_some(), "{violation:#?}");
    }
    let first = report.violations.first().expect("a violation");
    if frame.is_some() {
        assert_eq!(first.frame, frame, "{first:#?}");
    }
}

/// Without a fault there is nothing to tell, in low memory and above 4 GiB.
#[test]
fn a_clean_run_is_silent() -> Result {
    assert_clean(&report(None, None)?);
    assert_clean(&report(None, Some(6 << 30))?);
    Ok(())
}

/// One byte too many: class 1, one byte past the end, seen by journal and memory.
#[test]
fn overrun_is_named() -> Result {
    let report = report(Some(Fault::Overrun), None)?;

    assert_named(&report, 1, Some(2));
    let violation = &report.violations[0];
    let transfer = &report.transfers[2];
    assert_eq!(
        (violation.address, violation.length),
        (transfer.address + transfer.length, 1)
    );
    assert_eq!(violation.views.len(), 2, "{violation:#?}");
    Ok(())
}

/// What the ledger finds is told while the capture goes on, and is the report's; of a clean run nothing is told.
#[test]
fn a_violation_is_told_while_the_guest_runs() -> Result {
    let told = |fault: Option<Fault>| -> Result<(Report, Vec<Event>)> {
        let mut events = Vec::new();
        let wishes = Wishes {
            fault: fault.map(|fault| (fault, Some(0))),
            ..Wishes::default()
        };
        let report = reported_and_told(wishes, &mut |event| events.push(event))?;
        Ok((report, events))
    };
    let is_found = |event: &Event| matches!(event, Event::Found(_));

    let (report, events) = told(Some(Fault::Overrun))?;
    let found = events.iter().find_map(|event| match event {
        Event::Found(violation) => Some(violation),
        _ => None,
    });
    let at = events.iter().position(is_found);
    let end = events.iter().position(
        |event| matches!(event, Event::Done { step, .. } if step.starts_with("capture 1")),
    );
    let named = found.map(|violation| (violation.class, violation.address));
    assert_eq!(
        named,
        Some((Some(Class::Overrun), report.violations[0].address))
    );
    assert!(at < end, "told after the capture: {events:?}");

    let (report, events) = told(None)?;
    assert_eq!(report.verdict, Verdict::Clean);
    assert!(!events.iter().any(is_found), "{events:?}");
    Ok(())
}

/// One page off: class 1, and the displacement is named.
#[test]
fn shift_is_named() -> Result {
    let report = report(Some(Fault::Shift), None)?;

    assert_named(&report, 1, Some(2));
    assert!(
        report.violations[0].text.contains("+4096"),
        "{:#?}",
        report.violations
    );
    Ok(())
}

/// The upper half of the address dropped, with the pool above 4 GiB: class 2.
#[test]
fn truncate32_is_named() -> Result {
    let report = report(Some(Fault::Truncate32), Some(6 << 30))?;

    assert_named(&report, 2, Some(2));
    assert_eq!(
        report.violations[0].address,
        report.transfers[2].dma & 0xffff_ffff
    );
    Ok(())
}

/// A write after the card said idle: class 20, and memory shows it, whether it was compared before or after.
#[test]
fn after_stop_is_named() -> Result {
    let report = report(Some(Fault::AfterStop), None)?;

    assert_named(&report, 20, None);
    let last = report.violations.last().expect("a violation");
    assert!(last.views.contains(&View::Memory), "{last:#?}");
    Ok(())
}

/// Half a frame, reported in full: class 56.
#[test]
fn short_is_named() -> Result {
    let report = report(Some(Fault::Short), None)?;

    assert_named(&report, 56, Some(2));
    assert_eq!(report.violations[0].length, report.transfers[2].length / 2);
    Ok(())
}

/// A frame without its interrupt: class 43.
#[test]
fn lost_irq_is_named() -> Result {
    assert_named(&report(Some(Fault::LostIrq), None)?, 43, Some(2));
    Ok(())
}
