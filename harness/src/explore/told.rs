// SPDX-License-Identifier: MIT OR Apache-2.0

//! An order as a person reads it: who did what, in columns.

use landfall_device::explore::{Log, Order, Point, What};

/// Points around a deviation that are told.
const BEFORE: usize = 4;
const BEHIND: usize = 3;
/// Width of a column.
const WIDTH: usize = 34;
/// Most actions of the card at one point that are told.
const ACTIONS: usize = 24;

/// The places of an order at which it differs from the default, with what is around them; a line each.
pub fn columns(log: &Log, order: &Order) -> Vec<String> {
    let deviates = |point: &Point| {
        let number = &point.number;
        point.is_drivers() && (order.steps.contains_key(number) || order.held.contains(number))
    };
    let near = |at: usize| {
        let from = at.saturating_sub(BEHIND);
        let around = log
            .points
            .get(from..(at + BEFORE + 1).min(log.points.len()));
        around.unwrap_or_default().iter().any(deviates)
    };
    let none = order.deviations() == 0;
    let busy = |point: &Point| none && !point.did.is_empty();
    let mut lines = vec![line("driver", "card", "interrupt", false)];
    let mut left_out = false;
    for (at, point) in log.points.iter().enumerate() {
        if !near(at) && !busy(point) {
            left_out = true;
            continue;
        }
        if std::mem::take(&mut left_out) {
            lines.push("  ...".to_owned());
        }
        for (index, did) in point.did.iter().take(ACTIONS).enumerate() {
            let here = deviates(point) && index == 0;
            match did.label.as_str() {
                arrives @ "interrupt" => {
                    lines.push(line("", "", &format!("{arrives} arrives"), here))
                }
                label => lines.push(line("", label, "", here)),
            }
        }
        if let Some(more @ 1..) = point.did.len().checked_sub(ACTIONS) {
            lines.push(line("", &format!("and {more} times more"), "", false));
        }
        let held = if point.held {
            ", which is held back"
        } else {
            ""
        };
        let verb = match point.what {
            What::Read => "reads ",
            What::Write | What::Config => "writes ",
            What::Call | What::Idle | What::Poll => "",
        };
        let number = match point.is_drivers() {
            true => format!("{:>4}", point.number),
            false => "    ".to_owned(),
        };
        let step = format!("{number} {verb}{}{held}", point.label);
        lines.push(line(&step, "", "", point.held && point.did.is_empty()));
    }
    if left_out {
        lines.push("  ...".to_owned());
    }
    lines
}

fn line(driver: &str, card: &str, interrupt: &str, here: bool) -> String {
    let mark = if here { "   <- here" } else { "" };
    let text = format!("  {driver:<WIDTH$}  {card:<WIDTH$}  {interrupt}");
    format!("{}{mark}", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_device::explore::Did;

    fn point(what: What, number: u32, label: &str, did: &[&str]) -> Point {
        let did = did.iter().map(|label| Did {
            label: (*label).to_owned(),
            ..Did::default()
        });
        Point {
            what,
            number,
            label: label.to_owned(),
            register: None,
            memory: None,
            did: did.collect(),
            available: true,
            more: false,
            changes: false,
            held: false,
        }
    }

    #[test]
    fn the_one_place_is_marked_and_what_is_far_from_it_left_out() {
        let mut points: Vec<_> = (0..12)
            .map(|n| point(What::Read, n, "STATUS", &[]))
            .collect();
        points[6] = point(
            What::Write,
            6,
            "IRQ_STATUS = 0x1",
            &["done, raises", "interrupt"],
        );
        points[7] = point(What::Idle, 6, "it has nothing to do", &["begins"]);
        let log = Log { points, cut: false };
        let text = columns(&log, &"6:2".parse().unwrap()).join("\n");
        assert_eq!(
            text,
            "  driver                              card                                interrupt
  ...
     2 reads STATUS
     3 reads STATUS
     4 reads STATUS
     5 reads STATUS
                                      done, raises   <- here
                                                                          interrupt arrives
     6 writes IRQ_STATUS = 0x1
                                      begins
       it has nothing to do
     8 reads STATUS
     9 reads STATUS
  ..."
        );
    }
}
