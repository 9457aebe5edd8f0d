// SPDX-License-Identifier: MIT OR Apache-2.0

//! What it costs that the witness tells: a page mapped and unmapped, told and not, on the same card of the same guest.

use std::time::Duration;

use landfall::guest::{Card, GuestOptions, WITNESS_MODULE};
use landfall_cards::template::Scratch;
use landfall_tests::{Result, boot, with_capture_card};

use super::table::{Table, ratio, time};

/// Pages mapped and unmapped in one round.
const MAPS: u32 = 5000;

pub(crate) fn measure() -> Result<Table> {
    let guest = boot(GuestOptions {
        cards: vec![Card::new("template", Scratch::default)],
        witness: true,
        ..with_capture_card()
    })?;
    let mut table = Table::new(
        "The witness in the guest",
        "By the guest's clock, mean of 5000, the best of 3 rounds. Posting is what the CPU does for an event without looking for its caller; drained: until the card's model has it, all at the end; arrived: until it has this one.",
        &["an event", "time", "of a call not told"],
    );
    let names = [
        ("a call of the DMA API, not told", "untold_ns"),
        ("a call of the DMA API, told", "told_ns"),
        ("posted", "posted_ns"),
        ("posted, and drained", "drained_ns"),
        ("arrived, as what lends", "arrived_ns"),
    ];
    let mut best = [Duration::MAX; 5];
    for _ in 0..3 {
        guest.load_module(WITNESS_MODULE, &format!("maps={MAPS}"))?;
        let text = guest.read_text("/sys/kernel/debug/landfall_witness/results")?;
        for ((_, key), best) in names.iter().zip(&mut best) {
            let told = text
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            let told = Duration::from_nanos(told.ok_or("a figure")?.parse()?);
            *best = told.min(*best);
        }
        guest.unload_module(WITNESS_MODULE)?;
    }
    for ((name, _), figure) in names.iter().zip(best) {
        table.row([(*name).to_owned(), time(figure), ratio(figure, best[0])]);
    }
    guest.power_off()?;
    Ok(table)
}
