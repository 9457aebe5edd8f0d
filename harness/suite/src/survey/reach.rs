// SPDX-License-Identifier: MIT OR Apache-2.0

//! Cards of different widths write into memory that one way gave, and every byte is checked.

use std::time::Duration;

use landfall_cards::capture::CaptureOptions;

use super::measure::{Source, answer};
use super::method::{LOW_HOLE, LOW_HOLE_BYTES};
use super::schema::{Outcome, Reach, Refused};
use super::{Failed, Method, pool_parameters};
use crate::capture::{self, CAPTURE_MODULE, Device};
use crate::run::{CapturePlan, RunFailed, Session};
use landfall::guest::{Booted, Guest, Loaded, POOL_MODULE, Region, Result};

/// Address bits of the cards, widest first: one that finds no memory has no number, and then those behind it, which
/// are narrower, find none either.
pub(super) const BITS: [u8; 4] = [64, 36, 32, 24];
/// Pages that the pool has of each reach: room for all cards' frames and self-tests.
const PAGES: u64 = 64;
/// Huge pages that the guest keeps for them.
pub(super) const HUGE_PAGES: u64 = 8;
/// How long the guest may take to find a card.
const FIND: Duration = Duration::from_secs(10);

/// A frame of one page, so that memory of any kind can hold it.
fn plan() -> CapturePlan {
    CapturePlan {
        width: 64,
        height: 32,
        frames: 8,
        buffers: 8,
        ..CapturePlan::default()
    }
}

/// Has every card write where this way's memory lies, which is at `carveout_base` if it is the top of RAM. The pool that
/// is loaded is replaced.
pub(super) fn reach(
    guest: Guest<Booted>,
    method: Method,
    carveout_base: u64,
) -> std::result::Result<(Vec<Reach>, Guest<Loaded>), Failed> {
    let refusals = fill_pool(&guest, method, carveout_base)?;
    for bits in BITS {
        let card = CaptureOptions {
            address_bits: bits,
            ..CaptureOptions::default()
        };
        let index = guest.plug(capture::card(card))?;
        // Each root port has the bus of its own number.
        let path = format!("/sys/bus/pci/devices/0000:{:02x}:00.0", index + 1);
        guest.wait_for_path(&path, FIND)?;
    }
    // A card that is listed may not be ready for a driver yet. Looking for more waits for the one that adds it.
    guest.write_file("/sys/bus/pci/rescan", "1")?;
    guest.load_module(CAPTURE_MODULE, "interrupt=1")?;
    let guest = guest.loaded_by_hand();
    let devices = guest.list("/dev")?;
    let mut reach = Vec::new();
    for ((index, bits), refused) in (0..).zip(BITS).zip(refusals) {
        let bound = devices.contains(&format!("video{index}"));
        let outcome = match bound {
            true => capture(&guest, index)?,
            false => Outcome::OutOfReach {
                refused: refused.unwrap_or_else(|| Refused {
                    errno: 0,
                    message: "the driver found no memory that the card reaches".to_owned(),
                }),
            },
        };
        reach.push(Reach { bits, outcome });
    }
    Ok((reach, guest))
}

/// Loads the pool with memory of this way alone, some of it for each card, and gives what was refused for which.
fn fill_pool(
    guest: &Guest<Booted>,
    method: Method,
    carveout_base: u64,
) -> Result<Vec<Option<Refused>>> {
    guest.unload_module(POOL_MODULE)?;
    let low = method == Method::Memmap;
    let base = if low { LOW_HOLE } else { carveout_base };
    // Something has to be there at first; a way that is no source of the module replaces it.
    let source = method.source().map_or_else(
        || "pages:1".to_owned(),
        |source| match low {
            true => format!("{source}:{}", LOW_HOLE_BYTES / 4096),
            false => format!("{source}:{PAGES}"),
        },
    );
    guest.load_module(POOL_MODULE, &pool_parameters(&source, base))?;
    let pool = guest.pool()?;
    let way = Source {
        guest,
        pool: &pool,
        method,
        most_pages: PAGES,
    };
    if method.source().is_none() {
        answer(way.grow(PAGES, 0))?.ok();
        if let Some(placeholder) = guest
            .regions()?
            .iter()
            .find(|region| region.source == "pages")
        {
            pool.shrink(placeholder.id)?;
        }
    }
    BITS.iter()
        .map(|&bits| {
            let below = |region: &Region| {
                bits >= 64 || region.base.saturating_add(region.bytes) <= 1 << bits
            };
            if guest.regions()?.iter().any(below) {
                return Ok(None);
            }
            if matches!(method, Method::Reserve | Method::Mem | Method::Memmap) {
                return Ok(Some(Refused {
                    errno: 0,
                    message: "it lies where it lies".to_owned(),
                }));
            }
            Ok(answer(way.grow(PAGES, bits.into()))?.err())
        })
        .collect()
}

fn capture(guest: &Guest<Loaded>, index: u8) -> std::result::Result<Outcome, RunFailed> {
    let card = Device::open(guest, index)?;
    let mut session = Session::begin(guest, &card)?;
    let captured = session.capture(&plan(), guest, &card)?;
    let addresses = captured
        .buffers()
        .iter()
        .map(|buffer| buffer.phys)
        .collect();
    let bytes = captured.completions().map(|frame| frame.bytes).sum();
    let frames = captured.completions().count();
    let mut violations: Vec<String> = session
        .finish(guest, &card)?
        .iter()
        .map(|violation| violation.text.clone())
        .collect();
    if frames != 8 {
        violations.push(format!("{frames} of 8 frames came"));
    }
    card.close()?;
    Ok(match violations.is_empty() {
        true => Outcome::Written { addresses, bytes },
        false => Outcome::Wrong { violations },
    })
}
