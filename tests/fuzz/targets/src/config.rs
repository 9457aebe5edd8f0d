// SPDX-License-Identifier: MIT OR Apache-2.0

//! Configuration space of functions of any make, as software that means harm reads and writes it.
//!
//! First what the function is, then accesses: where, how many bytes, and what is written. What the function is, software does
//! not change; a write changes what it covers and nothing else, the lists of capabilities end, and a reset undoes all.

use landfall_device::contract::{
    Bar, Capability, Device, Function, Host, Identity, Link, Msix, Next, Place, RegisterName, Reset,
};
use landfall_device::serve::{LocalCard, Options};

use crate::bytes::Bytes;
use crate::text::words;

const MOST: usize = 256;
/// What is compared before and after: the header, the standard list, and the first of what is extended.
const LOOKED_AT: usize = 0x200;
/// Of the witness: a read gives what it tells.
const MAILBOX: std::ops::Range<usize> = 0xc0..0xd0;
/// Status, which tells of the line.
const STATUS: usize = 6;

/// A function without a register.
struct Blank(Identity);

impl Device for Blank {
    fn identity(&self) -> Identity {
        self.0.clone()
    }
    fn reset(&mut self, _kind: Reset) {}
    fn step(&mut self, _host: &mut dyn Host) -> Next {
        Next::Idle
    }
    fn line(&self) -> bool {
        false
    }
}

impl Function for Blank {
    fn name(&self, _access: landfall_device::contract::Access) -> Option<RegisterName> {
        None
    }
    fn load(&mut self, _access: landfall_device::contract::Access, _host: &mut dyn Host) -> u64 {
        0
    }
    fn store(
        &mut self,
        _access: landfall_device::contract::Access,
        _value: u64,
        _host: &mut dyn Host,
    ) {
    }
}

fn identity(bytes: &mut Bytes<'_>) -> Identity {
    let shape = bytes.u8();
    let mut identity = Identity {
        vendor: bytes.u16(),
        device: bytes.u16(),
        subsystem: (shape & 1 != 0).then(|| (bytes.u16(), bytes.u16())),
        class: bytes.u32() & 0x1ff_ffff,
        link: if shape & 2 != 0 {
            Link::Pci
        } else {
            Link::Express
        },
        msi: if shape & 4 != 0 { bytes.u8() } else { 0 },
        ..Identity::default()
    };
    if shape & 8 != 0 {
        let msix = Msix::new(bytes.u16());
        let mut place = || Place {
            bar: bytes.u8(),
            offset: bytes.u32(),
        };
        identity.msix = Some(match shape & 16 {
            0 => msix,
            _ => msix.at(place(), place()),
        });
    }
    for _ in 0..shape >> 5 {
        let (index, size) = (bytes.u8(), bytes.u8());
        let mut bar = Bar::registers(index & 7, 1 << (size & 63));
        bar.size -= u64::from(size >> 7);
        bar.wide = index & 0x10 != 0;
        bar.prefetchable = index & 0x20 != 0;
        identity.bars.push(bar);
    }
    for _ in 0..bytes.u8() & 7 {
        let how = bytes.u8();
        let id = bytes.u16();
        let capability = match how & 1 {
            0 => Capability::standard(id as u8, bytes.short()),
            _ => Capability::extended(id, bytes.short()),
        };
        let capability = match how & 2 {
            0 => capability,
            _ => capability.writable(bytes.short()),
        };
        identity.capabilities.push(capability);
    }
    identity
}

/// Plugs a function in and accesses its configuration space.
pub fn run(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let witness = bytes.u8() & 1 != 0;
    let identity = identity(&mut bytes);
    let options = Options {
        witness,
        ..Options::default()
    };
    let plugged = LocalCard::plug(Box::new(Blank(identity.clone())), options);
    let mut card = match plugged {
        Ok(card) => card,
        Err(why) => return words(&why),
    };
    assert_eq!(identity.check(), Ok(()), "and is plugged in all the same");
    card.reset();
    card.write_config(4, &[0, 0]);
    let fresh = look(&mut card);
    let lists = lists(&mut card);
    assert!(lists.len() <= 48 + 960, "no more fit");

    for _ in 0..MOST {
        if bytes.is_empty() {
            break;
        }
        let (how, offset) = (bytes.u8(), bytes.u16());
        let offset = match how & 0x30 {
            0 => u64::from(offset) & 0xff,
            0x10 => u64::from(offset) & 0xfff,
            0x20 => u64::from(offset),
            _ => u64::MAX - u64::from(offset & 0xf),
        };
        if how & 0x80 != 0 {
            read(&mut card, offset, 1 << (how & 7), witness);
            continue;
        }
        if how & 0x40 != 0 {
            card.reset();
            card.write_config(4, &[0, 0]);
            assert_eq!(look(&mut card), fresh, "a reset leaves something");
            continue;
        }
        let data = bytes.take(usize::from(how & 7) + 1);
        let before = look(&mut card);
        card.write_config(offset, data);
        changed_there(&identity, offset, data, &before, &look(&mut card), &fresh);
    }
    assert_eq!(self::lists(&mut card), lists, "software changed a list");
    card.reset();
    card.write_config(4, &[0, 0]);
    assert_eq!(look(&mut card), fresh, "a reset leaves something");
}

fn look(card: &mut LocalCard) -> Vec<u8> {
    let mut all = vec![0; LOOKED_AT];
    card.read_config(0, &mut all);
    all
}

/// Reads in one access what is read byte by byte.
fn read(card: &mut LocalCard, offset: u64, length: usize, witness: bool) {
    let mut all = vec![0; length];
    card.read_config(offset, &mut all);
    let mailbox = MAILBOX.start as u64..MAILBOX.end as u64;
    for (byte, at) in all.iter().zip(0..) {
        let Some(at) = offset.checked_add(at) else {
            assert_eq!(*byte, 0xff);
            continue;
        };
        if witness && mailbox.contains(&at) {
            continue;
        }
        let mut one = [0];
        card.read_config(at, &mut one);
        assert_eq!(one[0], *byte, "at {at:#x}");
        assert!(at < 4096 || *byte == 0xff, "beyond its end");
    }
}

/// A write changes nothing but what it covers, and of that nothing that says what the function is. A reset that it begins
/// undoes all.
fn changed_there(
    identity: &Identity,
    offset: u64,
    data: &[u8],
    before: &[u8],
    after: &[u8],
    fresh: &[u8],
) {
    let covered = |at: usize| (at as u64).wrapping_sub(offset) < data.len() as u64;
    // Bit 15 of device control, in the capability of PCI Express.
    let resets = data
        .iter()
        .zip(offset..u64::MAX)
        .any(|(byte, at)| at == 0x89 && byte & 0x80 != 0 && identity.link == Link::Express);
    if resets {
        assert_eq!(after, fresh, "a function-level reset leaves something");
        return;
    }
    for (at, (was, is)) in before.iter().zip(after).enumerate() {
        let fixed = matches!(at, 0..4 | 8..12 | 14 | 0x2c..0x30 | 0x34 | 0x3d);
        assert!(was == is || covered(at), "{at:#x} was {was:#x}, is {is:#x}");
        assert!(was == is || !fixed, "{at:#x} is no longer {was:#x}");
        let clears_only = at == STATUS || at == STATUS + 1;
        assert!(
            !clears_only || is & !was == 0,
            "a status is set by software"
        );
    }
    for (number, bar) in identity.bars.iter().enumerate() {
        let at = 0x10 + 4 * usize::from(bar.index);
        let low = u32::from_le_bytes(after[at..at + 4].try_into().expect("four bytes"));
        let high = match bar.wide {
            true => u32::from_le_bytes(after[at + 4..at + 8].try_into().expect("four bytes")),
            false => 0,
        };
        let address = u64::from(low & !0xf) | u64::from(high) << 32;
        assert_eq!(address & (bar.size - 1), 0, "BAR {number} is not aligned");
        let kind = u32::from(bar.wide) << 2 | u32::from(bar.prefetchable) << 3;
        assert_eq!(low & 0xf, kind, "BAR {number} is of another kind");
    }
}

/// Where the capabilities are, and which.
fn lists(card: &mut LocalCard) -> Vec<(usize, u16)> {
    let mut all = vec![0; 4096];
    card.read_config(0, &mut all);
    let mut found = Vec::new();
    let mut at = usize::from(all[0x34]);
    while at != 0 {
        assert!(
            (0x40..0x100).contains(&at) && at.is_multiple_of(4),
            "{at:#x}"
        );
        assert!(found.iter().all(|(other, _)| *other != at), "a loop");
        found.push((at, all[at].into()));
        at = usize::from(all[at + 1]);
    }
    let mut at = 0x100;
    loop {
        let head = u32::from_le_bytes(all[at..at + 4].try_into().expect("four bytes"));
        if head != 0 {
            found.push((at, head as u16));
        }
        let next = (head >> 20) as usize;
        if next == 0 {
            return found;
        }
        assert!(
            next > at && next <= 4092 && next.is_multiple_of(4),
            "{next:#x}"
        );
        at = next;
    }
}
