// SPDX-License-Identifier: MIT OR Apache-2.0

//! What every device must do, whichever it is.
//!
//! Each check takes a maker, since a device that was tried is not as it was; a whole test is
//!
//! ```
//! use landfall_device::testing;
//! # use landfall_device::contract::*;
//! # #[derive(Default)]
//! # struct MyCard;
//! # impl Device for MyCard {
//! #     fn identity(&self) -> Identity {
//! #         Identity {
//! #             vendor: 0x1b36, device: 1, bars: vec![Bar::registers(0, 16)], ..Identity::default()
//! #         }
//! #     }
//! #     fn reset(&mut self, _kind: Reset) {}
//! #     fn step(&mut self, _host: &mut dyn Host) -> Next { Next::Idle }
//! #     fn line(&self) -> bool { false }
//! # }
//! # impl Registers for MyCard {
//! #     fn register(&self, _bar: u8, offset: u64) -> Option<RegisterName> {
//! #         (offset == 0).then(|| RegisterName::plain("ID"))
//! #     }
//! #     fn read(&self, _bar: u8, _offset: u64) -> u32 { 7 }
//! #     fn write(&mut self, _bar: u8, _offset: u64, _value: u32, _host: &mut dyn Host) {}
//! # }
//!
//! testing::conforms(&|| Box::<MyCard>::default()).unwrap();
//! ```

use super::check_declarations;
use crate::contract::{Access, Contents, Declaration, Function, Next, Width};
use crate::dma::map::Request;
use crate::explore::Order;
use crate::journal::{Entry, Kind};
use crate::random::Random;
use crate::serve::LocalCard;

/// Makes the device that is tried, always the same.
pub type Maker<'a> = &'a dyn Fn() -> Box<dyn Function>;

/// Bytes of each BAR in which registers are looked for.
const LOOKED_AT: u64 = 64 << 10;
/// Bytes of memory that a device under test finds, from bus address 0 on.
const MEMORY: u64 = 4 << 20;

/// Checks all of the below, with a few seeds.
///
/// # Errors
/// The first thing that is not as it must be, in words.
pub fn conforms(make: Maker<'_>) -> Result<(), String> {
    describes_itself(make)?;
    answers_only_where_it_is(make)?;
    for seed in 0..8 {
        forgets_at_reset(make, seed)?;
        keeps_what_it_declares(make, seed)?;
        keeps_its_promise(make, seed)?;
    }
    Ok(())
}

/// Where a device has registers: every place of a BAR's first 64 KiB at which an access of 4 bytes, or of 1, touches one.
pub fn registers(function: &dyn Function) -> Vec<Access> {
    let mut found = Vec::new();
    let bars = function.identity().bars.into_iter();
    for bar in bars.filter(|bar| bar.contents == Contents::Registers) {
        for offset in (0..bar.size.min(LOOKED_AT)).step_by(4) {
            let words = std::iter::once(Access::word(bar.index, offset));
            let bytes = (offset..offset + 4).map(|offset| Access {
                bar: bar.index,
                offset,
                width: Width::One,
            });
            let mut all = words.chain(bytes);
            found.extend(all.find(|access| function.name(*access).is_some()));
        }
    }
    found
}

/// There can be such a function, it says the same each time, has something behind its BARs, and asserts no line after
/// power-on. The first entry of its journal is what it declares.
///
/// # Errors
/// What is not so, in words.
pub fn describes_itself(make: Maker<'_>) -> Result<(), String> {
    let function = make();
    let (identity, declares) = (function.identity(), function.declares());
    identity.check().map_err(|why| why.to_string())?;
    if function.identity() != identity || function.declares() != declares {
        return Err("it describes itself in two ways".to_owned());
    }
    let is_memory = |contents: &Contents| matches!(contents, Contents::Memory { .. });
    let memory = identity.bars.iter().any(|bar| is_memory(&bar.contents));
    if registers(function.as_ref()).is_empty() && !memory {
        return Err("it has neither registers nor memory".to_owned());
    }
    if function.line() {
        return Err("it asserts its line after power-on".to_owned());
    }
    let card = plug(function)?;
    match card.journal().entries_from(0).first() {
        Some(Entry {
            kind: Kind::Declares(first),
            ..
        }) if *first == declares => Ok(()),
        other => Err(format!("its journal begins with {other:?}")),
    }
}

/// All-ones are read where it has nothing and while it decodes nothing, in every width, and no write there is more than
/// listed.
///
/// # Errors
/// What is not so, in words.
pub fn answers_only_where_it_is(make: Maker<'_>) -> Result<(), String> {
    let function = make();
    let known = registers(function.as_ref());
    let bars = function.identity().bars;
    let mut holes = Vec::new();
    for bar in bars
        .iter()
        .filter(|bar| bar.contents == Contents::Registers)
    {
        for offset in (0..bar.size.min(LOOKED_AT)).step_by(8) {
            let nothing = (offset..offset + 8).all(|offset| {
                let byte = |width| Access {
                    bar: bar.index,
                    offset: offset & !(u64::from(Width::bytes(width)) - 1),
                    width,
                };
                Width::ALL
                    .iter()
                    .all(|width| function.name(byte(*width)).is_none())
            });
            holes.extend(nothing.then_some((bar.index, offset)));
        }
    }
    let mut card = plug(function)?;
    for (bar, offset) in holes.into_iter().take(64) {
        for width in Width::ALL {
            let mut bytes = vec![0; width.bytes().into()];
            card.read_bytes(bar, offset, &mut bytes);
            // The table of MSI-X may be there.
            let last = card.journal().len().saturating_sub(1);
            let last = card.journal().entries_from(last);
            let listed = matches!(
                last.first().map(|entry| &entry.kind),
                Some(Kind::Unclaimed { .. })
            );
            if listed && bytes.iter().any(|byte| *byte != 0xff) {
                return Err(format!(
                    "BAR {bar} at {offset:#x}, where it has nothing, reads {bytes:x?}"
                ));
            }
            card.write_bytes(bar, offset, &bytes);
        }
    }
    card.write_config(4, &[4, 0]);
    for access in known {
        let mut bytes = vec![0; access.width.bytes().into()];
        card.read_bytes(access.bar, access.offset, &mut bytes);
        if bytes.iter().any(|byte| *byte != 0xff) {
            let Access { bar, offset, .. } = access;
            return Err(format!(
                "BAR {bar} at {offset:#x} reads {bytes:x?} while nothing is decoded"
            ));
        }
    }
    Ok(())
}

/// Whatever was written, after a reset every register reads as on a device that was just made. Registers that differ
/// between two of these, clocks for instance, are passed over.
///
/// # Errors
/// What is not so, in words.
pub fn forgets_at_reset(make: Maker<'_>, seed: u64) -> Result<(), String> {
    let known = registers(make().as_ref());
    let values = |card: &mut LocalCard| -> Vec<Vec<u8>> {
        let read = known.iter().map(|access| {
            let mut bytes = vec![0; access.width.bytes().into()];
            card.read_bytes(access.bar, access.offset, &mut bytes);
            bytes
        });
        read.collect()
    };
    let (first, second) = (values(&mut plug(make())?), values(&mut plug(make())?));
    let mut card = plug(make())?;
    let mut random = Random::new(seed);
    drive(&mut card, &known, &mut random, 200);
    match seed % 2 {
        0 => card.reset(),
        // Function-level reset is bit 15 of device control; without PCI Express nothing is there.
        _ if make().identity().link == crate::contract::Link::Express => {
            card.write_config(0x88, &[0, 0x80]);
            card.write_config(4, &[6, 0]);
        }
        _ => card.reset(),
    }
    let after = values(&mut card);
    for (((access, first), second), after) in known.iter().zip(first).zip(second).zip(after) {
        if first == second && first != after {
            let Access { bar, offset, .. } = access;
            return Err(format!(
                "BAR {bar} at {offset:#x} reads {after:x?} after a reset, and {first:x?} after power-on"
            ));
        }
    }
    Ok(())
}

/// Whatever a driver writes, a device without a fault does as it declares, in the words of [`check_declarations`].
///
/// # Errors
/// What is not so, in words.
pub fn keeps_what_it_declares(make: Maker<'_>, seed: u64) -> Result<(), String> {
    let function = make();
    let declares = function.declares();
    let known = registers(function.as_ref());
    let mut card = plug(function)?;
    drive(&mut card, &known, &mut Random::new(seed), 600);
    let entries = card.journal().entries_from(0);
    check_declarations(&declares, entries.iter().map(|entry| &entry.kind))
        .map_err(|why| format!("with seed {seed}: {why}"))
}

/// One that says whether it wants to act ([`crate::contract::Device::wants`]) does as it says, and one visible thing a step where the
/// orders of its actions are enumerated. Of one that does not say it nothing is asked.
///
/// # Errors
/// What is not so, in words.
pub fn keeps_its_promise(make: Maker<'_>, seed: u64) -> Result<(), String> {
    let function = make();
    if function.wants().is_none() {
        return Ok(());
    }
    if function.outside().is_some() {
        return Err("it says when it wants to act, and things come to it from outside".to_owned());
    }
    let known = registers(function.as_ref());
    let mut card = plug(function)?;
    card.explore(Order::default());
    let mut random = Random::new(seed);
    for _ in 0..600 {
        if let Some(access) = known.get(random.index(known.len())) {
            poke(&mut card, *access, &mut random);
        }
        for _ in 0..random.below(12) {
            let from = card.journal().len();
            let wants = card.wants();
            let acted = match wants {
                Some(true) => card.act().is_some(),
                Some(false) => card.step() == Next::Again,
                None => return Err("it says whether it wants to act only at times".to_owned()),
            };
            let entries = card.journal().entries_from(from);
            does_one_thing(wants == Some(true), acted, &entries)
                .map_err(|why| format!("with seed {seed}: {why}: {entries:?}"))?;
        }
    }
    Ok(())
}

fn does_one_thing(wanted: bool, acted: bool, entries: &[Entry]) -> Result<(), String> {
    let is_access = |entry: &&Entry| matches!(entry.kind, Kind::Access { .. });
    let accesses = entries.iter().filter(is_access).count();
    let tells = entries.iter().any(|entry| match &entry.kind {
        Kind::Interrupt { .. } | Kind::InterruptHeld { .. } => true,
        Kind::Declared { what, .. } => {
            matches!(what, Declaration::Done { .. } | Declaration::Idle { .. })
        }
        _ => false,
    });
    // An access that the bus refuses, and what follows from that, are one.
    let refused = entries.iter().any(|entry| match &entry.kind {
        Kind::Access { outcome, .. } => !outcome.is_ok(),
        _ => false,
    });
    match (wanted, acted) {
        (false, true) => Err("it does not want to act, and its step asks for another".to_owned()),
        (false, false) if !entries.is_empty() => {
            Err("it does not want to act, and acts".to_owned())
        }
        (true, false) => Err("it wants to act, and does nothing".to_owned()),
        _ if accesses > 1 => Err(format!("a step made {accesses} accesses")),
        _ if accesses > 0 && tells && !refused => {
            Err("a step made an access and told of the end of a job, or interrupted".to_owned())
        }
        _ => Ok(()),
    }
}

fn plug(function: Box<dyn Function>) -> Result<LocalCard, String> {
    let card = LocalCard::plug(function, crate::serve::Options::default());
    let card = card.map_err(|why| why.to_string())?;
    let memory = crate::contract::Backing::new(MEMORY);
    let file = memory.and_then(|memory| memory.file().try_clone());
    let request = Request {
        iova: 0,
        length: MEMORY,
        file_offset: 0,
        readable: true,
        writable: true,
        file: Some(file.map_err(|why| why.to_string())?),
    };
    card.map().add(request).map_err(|why| why.to_string())?;
    Ok(card)
}

/// Writes and reads as no driver does, and lets the device work between.
fn drive(card: &mut LocalCard, known: &[Access], random: &mut Random, accesses: usize) {
    for _ in 0..accesses {
        let Some(access) = known.get(random.index(known.len())) else {
            return;
        };
        poke(card, *access, random);
        for _ in 0..random.below(8) {
            if card.step() != Next::Again {
                break;
            }
        }
    }
}

/// Writes to a place as no driver does, and perhaps reads there.
fn poke(card: &mut LocalCard, access: Access, random: &mut Random) {
    let value = match random.below(6) {
        0 => random.draw(),
        1 => 1 << random.below(64),
        2 => random.below(64) * 4096,
        3 => 0,
        _ => random.below(4),
    };
    let bytes = value.to_le_bytes();
    let length = match random.below(8) {
        0 => 8,
        1 => 1,
        _ => access.width.bytes().into(),
    };
    let part = bytes.get(..length).unwrap_or_default();
    card.write_bytes(access.bar, access.offset, part);
    if random.below(4) == 0 {
        card.read_bytes(access.bar, access.offset, &mut vec![0; length]);
    }
}
