// SPDX-License-Identifier: MIT OR Apache-2.0

//! `cargo bench`, its last part: guests. Then all figures, those of the other parts too, go into `docs/`.
//!
//! A benchmark of criterion's kind does one small thing many times; a guest is started a few times, and what counts
//! is what its parts take, next to other ways to start one in the same run. Every figure here has such a neighbour.

mod collect;
mod cpu;
mod plot;
mod pool;
mod registers;
mod run;
mod scale;
mod start;
mod table;
mod witness;

use std::time::Duration;

use landfall_tests::Result;

use table::Table;

fn main() -> Result {
    if std::env::args().any(|word| word == "--list" || word == "--test") {
        return Ok(());
    }
    let mut tables = Vec::new();
    let mut parts = Vec::new();
    let mut add = |table: Table| {
        table.print();
        tables.push(table);
    };
    add(start::measure(&mut parts)?);
    add(run::measure()?);
    if let Some(table) = registers::measure()? {
        add(table);
    }
    add(witness::measure()?);
    add(cpu::measure()?);
    add(pool::measure()?);
    for table in scale::measure()? {
        add(table);
    }
    let docs = landfall_tests::root().join("docs");
    let collected = collect::criterion();
    collected.tables().into_iter().for_each(&mut add);
    std::fs::write(docs.join("benchmarks.md"), table::page(&tables))?;
    plot::start(&docs.join("start.svg"), &parts)?;
    plot::card(&docs.join("card.svg"), &collected)?;
    Ok(())
}

/// Shows a table or a note; this is a command, and its output is for people.
#[expect(clippy::print_stdout, reason = "a benchmark tells its figures")]
fn say(text: &str) {
    println!("{text}");
}

/// The middle one.
fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// The one below which 99 of 100 are.
fn p99(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    let at = (times.len() * 99 / 100).min(times.len().saturating_sub(1));
    times.get(at).copied().unwrap_or_default()
}
