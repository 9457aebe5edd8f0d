// SPDX-License-Identifier: MIT OR Apache-2.0

//! Scenarios, as anybody writes them: refused in words, or understood, and then written and read again the same.

use landfall_cards::capture::{CaptureCard, CaptureOptions};
use landfall_device::contract::Device;
use landfall_device::testing::FakeHost;
use landfall_suite::scenario::{MOST_FAULTS, Scenario};

use crate::limit;
use crate::text::words;

/// Most bytes of memory for each byte of a file.
const FOR_EACH: usize = 1024;

/// Reads a scenario.
pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let most = (1 << 20) + FOR_EACH * text.len();
    let scenario = match limit::within(most, || Scenario::parse(&text)) {
        Ok(scenario) => scenario,
        Err(why) => return words(&why),
    };
    assert!(scenario.faults.len() <= MOST_FAULTS);
    let written = scenario.to_toml();
    assert_eq!(
        Scenario::parse(&written).as_ref(),
        Ok(&scenario),
        "{written}"
    );
    let mut card = CaptureCard::new(CaptureOptions {
        faults: scenario.faults,
        seed: scenario.seed,
        ..CaptureOptions::default()
    });
    card.step(&mut FakeHost::default());
}
