// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is told of a violation: a line for each thing that is known.

use landfall_device::ledger::{self, Class};

use super::map::address;
use super::schema::{DriverCall, Report, Violation};
use super::symbol::located;
use super::words::range;
use crate::debug_info::Lines;

/// What went wrong: by the report, or, where there is none, by the ledger.
pub fn violations(report: Option<&Report>, said: &[ledger::Violation]) -> Vec<Violation> {
    match report {
        Some(report) => report.violations.clone(),
        None => said.iter().cloned().map(of_ledger).collect(),
    }
}

/// What a ledger said: of no capture, and where it is for the card.
pub fn of_ledger(violation: ledger::Violation) -> Violation {
    Violation::of_ledger(violation, &|_| None, &|_| 0)
}

/// What it is called, with its class and whose it is.
pub fn title(violation: &Violation) -> String {
    let class = match violation.class.and_then(Class::of) {
        Some(class) => format!(", class {class}"),
        None => ", of no known class".to_owned(),
    };
    let frame = violation.frame.map(|frame| format!(", frame {frame}"));
    let slot = violation.slot.map(|slot| format!(", slot {slot}"));
    violation.name.clone() + &class + &frame.unwrap_or_default() + &slot.unwrap_or_default()
}

/// All that is known of it, each with its name. `when` tells a time of the journal's.
pub fn chapter(
    violation: &Violation,
    of_ledger: Option<&ledger::Violation>,
    when: &dyn Fn(u64) -> String,
    lines: &Lines,
) -> Vec<(&'static str, String)> {
    let mut told = Vec::new();
    if let Some(class) = violation.class.and_then(Class::of) {
        told.push(("class", class.title().to_owned()));
    }
    told.push(("what", violation.text.clone()));
    if violation.address != 0 || violation.length != 0 {
        let length = match violation.length {
            0 => String::new(),
            1 => ", 1 byte".to_owned(),
            length => format!(", {length} bytes"),
        };
        told.push(("where", format!("{}{length}", address(violation.address))));
    }
    if let Some(of_ledger) = of_ledger {
        let job = of_ledger
            .job
            .map_or_else(String::new, |job| format!(", job {job} of the card"));
        let at = when(of_ledger.time_ns);
        told.push(("when", format!("{at}, entry #{}{job}", of_ledger.sequence)));
    }
    if let Some(nearest) = &violation.nearest {
        let lend = &nearest.lend;
        let place = range(lend.address, lend.length);
        told.push((
            "nearest lend",
            format!("{}, {place}, {} bytes", nearest.label, lend.length),
        ));
        told.push((
            "",
            format!(
                "{} bytes between them; it begins {:+} bytes from the lend's start",
                nearest.distance, nearest.offset
            ),
        ));
        let lent = call(nearest.lent_by.as_ref(), lines);
        told.extend(lent.map(|call| ("lent by", call)));
        let taken = call(nearest.taken_back_by.as_ref(), lines);
        told.extend(taken.map(|call| ("taken back by", call)));
    }
    if let Some(owner) = &violation.owner {
        told.push(("whose it is", owner.clone()));
    }
    if let Some(write) = &violation.register_write {
        told.push((
            "set going by",
            format!(
                "{} = {:#x}, BAR 0 + {:#x}, entry #{}",
                write.name, write.value, write.offset, write.sequence
            ),
        ));
    }
    if let Some(call) = of_ledger.and_then(|of_ledger| of_ledger.call.as_ref()) {
        let from = match &call.symbol {
            Some(name) => located(name, lines),
            None => format!("{:#x}", call.address),
        };
        told.push((
            "driver's call",
            format!(
                "{}, event {} of the witness, from {from}",
                call.call.name(),
                call.number
            ),
        ));
    }
    let instruction = of_ledger.and_then(|of_ledger| of_ledger.instruction.as_ref());
    if let Some(instruction) = instruction {
        let symbol = instruction.symbol.as_deref();
        let place = symbol.map_or_else(
            || format!("{:#x}", instruction.address),
            |name| located(name, lines),
        );
        let caller = instruction.caller.as_deref();
        let caller = caller.map(|name| format!(", called from {}", located(name, lines)));
        told.push(("instruction", place + &caller.unwrap_or_default()));
    }
    let views: Vec<&str> = violation.views.iter().map(|view| view.name()).collect();
    told.push(("seen in", views.join(", ")));
    told
}

fn call(call: Option<&DriverCall>, lines: &Lines) -> Option<String> {
    let call = call?;
    let from = call.caller.as_deref().map(|name| located(name, lines));
    let from = from.map(|from| format!(" from {from}"));
    Some(call.call.name().to_owned() + &from.unwrap_or_default())
}
