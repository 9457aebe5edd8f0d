// SPDX-License-Identifier: MIT OR Apache-2.0

//! `landfall explore`: a driver and a card in all orders.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use landfall::bundle::{self, Place, Views};
use landfall::evidence::Named;
use landfall::explore::{self, Bounds, End, Explored, Failed, Order, Wanted};
use landfall::guest::Accelerator;
use landfall::guest::qemu::command::Engine;
use landfall_guest::Cancel;
use landfall_suite::project::Subject;

use super::exec::{Bench, bundles, subject};
use super::{Done, command_line};
use crate::cli::{ExploreArguments, MachineArguments, PartArguments};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output;
use crate::progress::Progress;
use crate::report;

/// Tries all orders.
pub(super) fn explore(arguments: &ExploreArguments, cancel: &Cancel) -> Done {
    let place = bundles(arguments.bundle.as_deref())?;
    let explored = tried(arguments, &arguments.parts, Some(&place), cancel)?;
    output::text(&bundle::printable(&told(&explored)));
    if let Some(path) = &arguments.json {
        report::write_json(path, &explored)?;
    }
    Ok(match (&explored.failed, explored.is_judged()) {
        (Some(_), _) => ExitCode::Violations,
        (None, true) => ExitCode::Clean,
        (None, false) => ExitCode::NotJudged,
    })
}

/// Does again what a bundle recorded of one whose subject is Landfall's or the distribution's; gives what was named.
pub(super) fn again(
    arguments: &ExploreArguments,
    parts: &PartArguments,
    cancel: &Cancel,
) -> Result<Vec<Named>, Failure> {
    let explored = tried(arguments, parts, None, cancel)?;
    let failed = explored.failed.map(|failed| failed.observed.violations);
    Ok(failed.unwrap_or_default())
}

fn tried(
    arguments: &ExploreArguments,
    parts: &PartArguments,
    place: Option<&Place>,
    cancel: &Cancel,
) -> Result<Explored, Failure> {
    let subject: Subject = subject(&arguments.subject).with_usual();
    subject.check().map_err(|error| Failure::usage_of(&error))?;
    let mut progress = Progress::new();
    let machine = MachineArguments {
        memory: arguments.memory,
        cpus: 1,
        append: String::new(),
        qemu_arguments: Vec::new(),
        accel: Accelerator::Only(Engine::Tcg),
        jobs: None,
        watch_cpu: false,
    };
    let bench = Bench::prepare(parts, &machine, &[], cancel, &mut progress)?;
    let trial = bench.trial("explore", &subject, Path::new(""), &mut progress)?;
    let wanted = Wanted {
        scenario: arguments.scenario.clone(),
        bounds: Bounds {
            deviations: arguments.deviations,
            held_writes: arguments.held_writes,
            reduce: !arguments.unreduced,
            ..Bounds::default()
        },
        orders: arguments.schedules.unwrap_or(u64::MAX),
        time: Duration::from_secs(arguments.seconds),
        order: arguments.order.clone(),
        times: arguments.repeat,
    };
    let scenario = arguments.scenario.to_string();
    let command = |order: &Order| with_order(command_line(), &scenario, order);
    let explored = explore::explore(
        &trial,
        &wanted,
        &bench.context(place, &Views::default()),
        &command,
        &mut |so_far| {
            progress.explore(so_far.tried, so_far.waiting);
        },
    );
    progress.finish();
    explored.map_err(|failed| Failure::of_trial(&failed))
}

/// The words of `explore` for one order alone, with the scenario's words in place of a file's name.
fn with_order(words: Vec<String>, scenario: &str, order: &Order) -> Vec<String> {
    let mut kept = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let name = word.split('=').next().unwrap_or_default();
        match name {
            "--order" | "--scenario" | "--repeat" | "--json" if name == word => drop(words.next()),
            "--order" | "--scenario" | "--repeat" | "--json" => {}
            _ => kept.push(word),
        }
    }
    kept.extend(["--scenario".to_owned(), scenario.to_owned()]);
    kept.extend(["--order".to_owned(), order.to_string()]);
    kept
}

fn told(explored: &Explored) -> String {
    let mut text = String::new();
    let (steps, actions) = explored.steps;
    let took = explored.took.as_secs_f64();
    let orders = explored.orders;
    let _ = writeln!(
        text,
        "{orders} orders in {took:.1} s ({:.1} a second, {} guests); by default {steps} steps of the driver and {actions} actions of the \
         card; by deviations {:?}; {} journals differ",
        orders as f64 / took.max(0.001),
        explored.guests,
        explored.by_deviations,
        explored.journals,
    );
    if let Some(failed) = &explored.failed {
        failure(&mut text, failed);
    }
    for why in &explored.not_judged {
        let _ = writeln!(text, "not judged: {why}");
    }
    if let Some(why) = explored
        .why_not
        .as_ref()
        .filter(|_| explored.not_carried_out > 0)
    {
        let _ = writeln!(
            text,
            "{} orders could not be carried out, and tell nothing; the first: {why}",
            explored.not_carried_out
        );
    }
    let _ = writeln!(text, "\nverdict: {}", verdict(explored));
    text
}

fn failure(text: &mut String, failed: &Failed) {
    let _ = writeln!(
        text,
        "\norder {} is the first that fails: {}",
        failed.number, failed.order
    );
    for named in &failed.wrong {
        let class = named
            .class
            .map_or_else(String::new, |class| format!(" (class {class})"));
        let _ = writeln!(text, "  {}{class}: {}", named.name, named.text);
    }
    let same = |named: &Named| failed.wrong.iter().any(|was| was.name == named.name);
    let again = match failed.again.as_slice() {
        [] => "in a guest of its own it did not fail again",
        some if some.iter().all(same) => "the same in a guest of its own",
        _ => "in a guest of its own something else is wrong, too",
    };
    let _ = writeln!(text, "  {again}\n\n{}", failed.columns.join("\n"));
    let _ = writeln!(
        text,
        "\n  again: the same command with --order {}",
        failed.order
    );
    if let Some(path) = &failed.observed.bundle {
        let _ = writeln!(text, "  bundle: {}", path.display());
    }
}

/// The verdict in a line.
fn verdict(explored: &Explored) -> String {
    let held = match explored.held_writes {
        0 => String::new(),
        count => format!(", up to {count} register writes held back"),
    };
    let orders = explored.orders;
    match (explored.end, explored.is_judged()) {
        (End::Failed, _) => "violations: an order fails".to_owned(),
        (_, false) => "not judged: not all of it was carried out and judged".to_owned(),
        (End::All, true) => format!("clean in all orders that there are ({orders}{held})"),
        (End::Bounds, true) => {
            let most = explored.deviations;
            format!("clean in all orders with at most {most} deviations ({orders}{held})")
        }
        (End::Limit, true) => format!("clean in {orders} orders, and there are more{held}"),
        (End::One, true) => "clean in this order".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_has_the_one_order_and_the_scenarios_words() {
        let words =
            "explore --card capture --order 1:1 --scenario=file --repeat 3 --json=x --deviations 1";
        let words = words.split(' ').map(str::to_owned).collect();
        let order: Order = "36:4".parse().unwrap();
        assert_eq!(
            with_order(words, "bind, unbind", &order),
            [
                "explore",
                "--card",
                "capture",
                "--deviations",
                "1",
                "--scenario",
                "bind, unbind",
                "--order",
                "36:4"
            ]
        );
    }
}
