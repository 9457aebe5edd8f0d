// SPDX-License-Identifier: MIT OR Apache-2.0

//! A hostile guest against every card, and against a hostile card.

use landfall_device::testing::hostile::{Campaign, Tally};

/// Operations of each campaign, all cards together. `LANDFALL_HOSTILE=1000000` takes minutes.
const OPERATIONS: u64 = 20_000;

fn operations() -> u64 {
    let asked = std::env::var("LANDFALL_HOSTILE").ok();
    asked.map_or(OPERATIONS, |asked| asked.parse().expect("a number"))
}

#[test]
fn no_guest_gets_past_a_card_of_ours() {
    let directory = tempfile::tempdir().expect("directory");
    let socket = directory.path().join("card.sock");
    for (name, make) in landfall_cards::SET {
        let campaign = Campaign {
            seed: 1,
            operations: operations() / 7,
            socket: &socket,
            uses: &[],
        };
        let tally = campaign.guest(&make);
        println!("{name}: {tally:?}");
        tally.expect(name);
    }
}

#[test]
fn no_card_gets_past_the_server() {
    let directory = tempfile::tempdir().expect("directory");
    let socket = directory.path().join("card.sock");
    let campaign = Campaign {
        seed: 1,
        operations: operations(),
        socket: &socket,
        uses: &[],
    };
    let tally: Tally = campaign.card().unwrap();
    println!("{tally:?}");
}
