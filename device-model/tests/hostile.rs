// SPDX-License-Identifier: MIT OR Apache-2.0

//! A hostile guest against every card, and against a hostile one, through the server.

use landfall_device::contract::{Access, Function, Next};
use landfall_device::testing::FakeHost;
use landfall_device::testing::hostile::{Campaign, RAM, Tally, Use};

use crate::hasty::Hasty;

/// Operations of each campaign, all cards together. A million of each is `LANDFALL_HOSTILE=1000000`, which takes minutes, and
/// another million `LANDFALL_HOSTILE_SEED=2`.
const OPERATIONS: u64 = 20_000;

fn asked(variable: &str, usual: u64) -> u64 {
    let asked = std::env::var(variable).ok();
    asked.map_or(usual, |asked| asked.parse().expect("a number"))
}

/// How the drivers of our cards make them work, as far as memory of 128 KiB from 0 on allows.
fn uses(card: &str) -> &'static [Use<'static>] {
    /// A frame of 32 KiB, twice, by slot 0.
    const CAPTURE: Use<'_> = &[
        (0, 0x24, 64 << 16 | 256), // GEOMETRY
        (0, 0x28, 512),            // STRIDE
        (0, 0x400, 0x8000),        // SLOT_BASE_LO
        (0, 0x404, 0),
        (0, 0x408, 0x8000), // SLOT_SIZE
        (0, 0x1c, 3),       // IRQ_ENABLE
        (0, 0x10, 1),       // CONTROL
        (0, 0x30, 0),       // QUEUE
        (0, 0x34, 1),       // DONE
        (0, 0x30, 0),
    ];
    const STOP: Use<'_> = &[(0, 0x10, 0)];
    /// A recording into a ring of 4 KiB at 0x4000, with periods of 1 KiB.
    const AD1889: Use<'_> = &[
        (0, 0xc0, 3 << 16), // DISR
        (0, 0x50, 0x4000),  // ADCBA
        (0, 0x54, 0x4000),
        (0, 0x58, 4096), // ADCBC
        (0, 0x5c, 4096),
        (0, 0x88, 1024), // ADCIC
        (0, 0x8c, 1024),
        (0, 0xa8, 6),       // DMAADC
        (0, 0x00, 7 << 16), // RAMC
        (0, 0xc0, 3 << 16 | 2),
    ];
    const DT3155: Use<'_> = &[
        (0, 0x00, 0x1000),
        (0, 0x0c, 0x1000 + 640),
        (0, 0x18, 640),
        (0, 0x24, 640),
        (0, 0x48, 0x607),
        (0, 0x40, 0x3f3),
        (0, 0x64, 1 << 24 | 0x10 << 17 | 0x30), // CSR2: acquire both fields
    ];
    /// A copy of 256 bytes from 0x3000 to 0x4000, and then the same written.
    const ENDPOINT: Use<'_> = &[
        (0, 0x0c, 0x3000), // SRC
        (0, 0x10, 0),
        (0, 0x14, 0x4000), // DST
        (0, 0x18, 0),
        (0, 0x1c, 256),  // SIZE
        (0, 0x24, 1),    // IRQ_TYPE
        (0, 0x28, 1),    // IRQ_NUMBER
        (0, 0x04, 0x20), // COMMAND
        (0, 0x04, 0x10),
    ];
    /// A BAR's halves swapped, its doorbell enabled and rung.
    const BARS: Use<'_> = &[
        (0, 0x1c, 2),
        (0, 0x24, 0),
        (0, 0x04, 0x100),
        (0, 0x04, 0x200),
        (0, 0x04, 0x40),
        (0, 0x40, 0x0d00_4be1),
        (0, 0x04, 0x80),
    ];
    /// A copy of 256 bytes from 0x3000 to 0x4000, by a descriptor at 0x1000 that links to itself.
    const IOATDMA: Use<'_> = &[
        (RAM, 0x1000, 256),
        (RAM, 0x1004, 9),
        (RAM, 0x1008, 0x3000),
        (RAM, 0x100c, 0),
        (RAM, 0x1010, 0x4000),
        (RAM, 0x1014, 0),
        (RAM, 0x1018, 0x1000),
        (RAM, 0x101c, 0),
        (0, 0x00, 9 << 24), // INTRCTRL
        (0, 0x84, 0x20),    // CHANCMD
        (0, 0x98, 0x2000),  // CHANCMP
        (0, 0x9c, 0),
        (0, 0x80, 0x1d),   // CHANCTRL
        (0, 0x90, 0x1000), // CHAINADDR
        (0, 0x94, 0),
        (0, 0x84, 4 << 16), // DMACOUNT
    ];
    /// Its controller says what it is, to memory at 0x3000.
    const NVME: Use<'_> = &[
        (RAM, 0x1000, 6),
        (RAM, 0x1018, 0x3000),
        (RAM, 0x101c, 0),
        (RAM, 0x1028, 1),
        (0, 0x14, 0),           // CC
        (0, 0x24, 3 << 16 | 3), // AQA
        (0, 0x28, 0x1000),      // ASQ
        (0, 0x2c, 0),
        (0, 0x30, 0x2000), // ACQ
        (0, 0x34, 0),
        (0, 0x14, 0x46_0001),
        (0, 0x1000, 1), // SQTDBL[0]
    ];
    const POLLER: Use<'_> = &[
        (0, 8, 0x2000),
        (0, 12, 1),
        (RAM, 0x2000, 1),
        (RAM, 0x2000, 2),
    ];
    /// A descriptor of 256 bytes at 0x3000, in a ring at 0x1000.
    const RING: Use<'_> = &[
        (RAM, 0x1000, 0x3000),
        (RAM, 0x1004, 0),
        (RAM, 0x1008, 256),
        (RAM, 0x100c, 1 << 31),
        (0, 0x10, 0),
        (0, 0x128, 0),
        (0, 0x10c, 0),
        (0, 0x100, 0x1000),
        (0, 0x104, 0),
        (0, 0x108, 4),
        (0, 0x10c, 1),
        (0, 0x114, 1),
    ];
    const TEMPLATE: Use<'_> = &[(0, 4, 0x1234_5678), (0, 8, 0x4000), (0, 12, 1)];
    /// 64 lines of 640 bytes, into 0x1000 and 0xc000.
    const TW686X: Use<'_> = &[
        (0, 0x204, 32 << 22 | 640 << 11 | 640),
        (0, 0x200, 0x1000),
        (0, 0x208, 0xc000),
        (0, 0xb8, 0xaaaa_1518),
        (0, 0x28, 1),
        (0, 0x08, 1 << 31 | 1),
    ];
    const XTRX: Use<'_> = &[
        (0, 0x04, (1_u32 << 15 | 0xfff).swap_bytes()),
        (0, 0x800, (0x4000_u32 | 255).swap_bytes()),
        (0, 0x804, (0x8000_u32 | 255).swap_bytes()),
        (0, 0x34, (1_u32 << 30 | 3 << 20).swap_bytes()),
    ];
    /// 64 lines of 640 bytes, as a decoder's field asks for them.
    const ZORAN: Use<'_> = &[
        (0, 0x28, 1 << 24),           // SPGPPCR
        (0, 0x40, 1 << 30 | 1 << 24), // ICR
        (0, 0x0c, 0x1000),
        (0, 0x10, 0x1000 + 640),
        (0, 0x14, 640 << 16 | 3),            // VSSFGR
        (0, 0x18, 1 << 31 | 32 << 12 | 320), // VDCR
        (0, 0x3c, 1 << 30),                  // ISR
    ];
    match card {
        "ad1889" => &[AD1889],
        "capture" => &[CAPTURE, CAPTURE, STOP],
        "dt3155" => &[DT3155],
        "endpoint" => &[ENDPOINT, BARS],
        "ioatdma" => &[IOATDMA],
        "nvme" => &[NVME],
        "poller" => &[POLLER],
        "ring" => &[RING],
        "template" => &[TEMPLATE],
        "tw686x" => &[TW686X],
        "xtrx" => &[XTRX],
        "zoran" => &[ZORAN],
        _ => &[],
    }
}

/// Runs a campaign, and says what it came to.
#[expect(clippy::print_stdout, reason = "a campaign says what it came to")]
fn run(
    name: &str,
    campaign: &Campaign<'_>,
    run: impl FnOnce(&Campaign<'_>) -> Result<Tally, String>,
) -> Tally {
    let began = std::time::Instant::now();
    let tally = run(campaign).unwrap_or_else(|why| panic!("{name}: {why}"));
    println!("{name}, {:.1} s: {tally:?}", began.elapsed().as_secs_f32());
    tally
}

#[test]
fn no_guest_gets_past_any_card() {
    let directory = tempfile::tempdir().expect("directory");
    let cards = landfall_cards::SET;
    let each = asked("LANDFALL_HOSTILE", OPERATIONS).div_ceil(cards.len() as u64);
    let (mut moved, mut denied) = (0, 0);
    for (name, make) in cards {
        let campaign = Campaign {
            seed: asked("LANDFALL_HOSTILE_SEED", 1),
            operations: each,
            socket: &directory.path().join(name),
            uses: uses(name),
        };
        let make = || -> Box<dyn Function> { Box::new(Hasty(make())) };
        let tally = run(name, &campaign, |campaign| campaign.guest(&make));
        assert!(tally.refused > 0 && tally.dropped > 0, "{name}: {tally:?}");
        moved += tally.moved;
        denied += tally.denied;
    }
    // How much time a card gets is the scheduler's business: that each can work, the next test shows.
    assert!(moved > 0 && denied > 0, "{moved} {denied}");
}

/// What is said of the cards' use does make each of them reach memory.
#[test]
fn every_card_works_when_it_is_used() {
    for (name, make) in landfall_cards::SET {
        let (mut card, mut host) = (make(), FakeHost::default());
        host.map(0, 128 << 10);
        for &(bar, offset, value) in uses(name).first().copied().unwrap_or_default() {
            match bar {
                RAM => host.put(offset, &value.to_le_bytes()),
                _ => card.store(Access::word(bar, offset), value.into(), &mut host),
            }
        }
        for _ in 0..100_000 {
            if !host.accesses().is_empty() {
                break;
            }
            match card.step(&mut host) {
                Next::At(then) => host.time = then,
                Next::Again => {}
                Next::Idle => break,
            }
        }
        assert!(!host.accesses().is_empty(), "{name} reached nothing");
    }
}

#[test]
fn no_card_gets_past_the_server() {
    let directory = tempfile::tempdir().expect("directory");
    let campaign = Campaign {
        seed: asked("LANDFALL_HOSTILE_SEED", 1),
        operations: asked("LANDFALL_HOSTILE", OPERATIONS),
        socket: &directory.path().join("card"),
        uses: &[],
    };
    let tally = run("wild", &campaign, |campaign| campaign.card());
    assert!(tally.strays > 0 && tally.violations > 0, "{tally:?}");
}
