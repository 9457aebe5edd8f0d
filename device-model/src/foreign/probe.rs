// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a foreign server has: asked for once, and made an [`Identity`] of.

use super::gone::{Asked, ForeignError, Gone};
use super::peer::{Answer, Peer};
use crate::contract::{Bar, Capability, Identity, InterruptKind, Link, Msix, Place};
use crate::wire::{Fields, command, words};

/// The region of configuration space; 0 to 5 are BARs, 6 the ROM.
pub(super) const CONFIG: u32 = 7;
const ROM: u32 = 6;

const REGION_READ: u32 = 1;
const REGION_WRITE: u32 = 2;
const DEVICE_RESET: u32 = 1;
const DEVICE_PCI: u32 = 2;

/// Bytes of configuration space that a function of conventional PCI has.
const STANDARD: usize = 256;
/// And one of PCI Express.
const ALL: usize = 4096;
/// Most capabilities that are looked at: more do not fit into the list's room.
const MOST_CAPABILITIES: usize = 48;
/// Bytes of address space that a server is told of.
const SPACE: u64 = 1 << 48;
/// The most that libvfio-user takes as one range.
const PIECE: u64 = 8 << 40;
/// Where such ranges begin, for a server that takes no more, and has perhaps room for few of them: at memory itself, and below
/// each border where a kernel begins to give addresses of an IOMMU to a card of so many bits.
const PIECES: [u64; 6] = [
    0,
    (1 << 44) - PIECE,
    (1 << 45) - PIECE,
    (1 << 46) - PIECE,
    (1 << 47) - PIECE,
    SPACE - PIECE,
];

/// A place of configuration space where what the machine set up is passed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) power: Option<u8>,
    pub(super) msi: Option<u8>,
    pub(super) msix: Option<u8>,
}

/// What a server has.
#[derive(Clone, Debug)]
pub(super) struct Probed {
    pub(super) identity: Identity,
    /// Bytes of each region, as the server has it; 0: none.
    pub(super) bars: [u64; 6],
    /// It has a reset.
    pub(super) resets: bool,
    /// Vectors of the line, MSI and MSI-X that it signals.
    pub(super) vectors: [u16; 3],
    pub(super) places: Places,
    /// Message control of MSI and MSI-X, not enabled.
    pub(super) controls: [u16; 2],
    /// What the card lacks of what the server has, a sentence each.
    pub(super) left_out: Vec<String>,
}

/// Asks for all of it.
pub(super) fn probe(peer: &mut Peer) -> Result<Probed, ForeignError> {
    let device = told(peer, Asked::Device, command::DEVICE_INFO, &[16, 0, 0, 0])?;
    let [_, flags, regions, irqs] = fields(&device).ok_or_else(|| short(Asked::Device))?;
    if flags & DEVICE_PCI == 0 {
        return Err(ForeignError::NotPci("it says so itself".to_owned()));
    }
    if regions <= CONFIG {
        let what = format!("it has {regions} regions, and none for configuration space");
        return Err(ForeignError::NotPci(what));
    }
    let mut left_out = Vec::new();
    let mut bars = [0; 6];
    for (bar, index) in bars.iter_mut().zip(0..) {
        let (size, flags) = region(peer, index)?;
        if size > 0 && flags & (REGION_READ | REGION_WRITE) != REGION_READ | REGION_WRITE {
            left_out.push(format!("BAR {index}, which can only be mapped"));
            continue;
        }
        *bar = size;
    }
    if region(peer, ROM)?.0 > 0 {
        left_out.push("its expansion ROM".to_owned());
    }
    let (size, _) = region(peer, CONFIG)?;
    let config = config(peer, size)?;
    let mut vectors = [0; 3];
    for (vectors, index) in vectors.iter_mut().zip(0..irqs.min(3)) {
        *vectors = irq(peer, index)?;
    }
    let mut probed = Probed {
        identity: Identity::default(),
        bars,
        resets: flags & DEVICE_RESET != 0,
        vectors,
        places: Places::default(),
        controls: [0; 2],
        left_out,
    };
    probed.identify(&config);
    probed.identity.check()?;
    map(peer)?;
    if !probed.resets {
        let what = "a reset: what it did before, it knows after it";
        probed.left_out.push(what.to_owned());
    }
    Ok(probed)
}

impl Probed {
    /// Reads configuration space.
    pub(super) fn identify(&mut self, config: &[u8]) {
        let bytes = Bytes(config);
        let mut identity = Identity {
            vendor: bytes.u16(0),
            device: bytes.u16(2),
            subsystem: Some((bytes.u16(0x2c), bytes.u16(0x2e))),
            class: bytes.u32(8) >> 8,
            revision: bytes.u8(8),
            link: Link::Pci,
            ..Identity::default()
        };
        let mut upper = false;
        for (index, size) in (0u8..).zip(&mut self.bars) {
            let register = bytes.u32(0x10 + 4 * usize::from(index));
            if std::mem::take(&mut upper) || *size == 0 {
                *size = 0;
                continue;
            }
            if register & 1 != 0 {
                self.left_out
                    .push(format!("BAR {index}, which is of I/O ports"));
                *size = 0;
                continue;
            }
            upper = register & 6 == 4;
            let decoded = size.checked_next_power_of_two().unwrap_or(u64::MAX);
            identity.bars.push(Bar {
                wide: upper,
                prefetchable: register & 8 != 0,
                ..Bar::registers(index, decoded.max(crate::contract::FEWEST_BAR_BYTES))
            });
        }
        for (at, id) in standard(bytes) {
            self.capability(&mut identity, bytes, at, id);
        }
        if identity.link == Link::Express && config.len() == ALL {
            let extended = extended(bytes).map(|(id, _)| format!("{id:#x}"));
            let extended: Vec<_> = extended.collect();
            if !extended.is_empty() {
                let what = format!("its extended capabilities {}", extended.join(", "));
                self.left_out.push(what);
            }
        }
        self.identity = identity;
    }

    /// Takes one of the standard list's capabilities.
    fn capability(&mut self, identity: &mut Identity, bytes: Bytes<'_>, at: u8, id: u8) {
        let offset = usize::from(at);
        let [_, line_msi, line_msix] = self.vectors;
        match id {
            0x01 => self.places.power = Some(at),
            0x05 => {
                let control = bytes.u16(offset + 2);
                let asks = 1u16 << (control >> 1 & 7).min(5);
                self.places.msi = Some(at);
                self.controls[0] = control & !0x71;
                identity.msi = asks.min(line_msi) as u8;
            }
            0x11 => {
                let control = bytes.u16(offset + 2);
                let vectors = (control & 0x7ff) + 1;
                let place = |at| {
                    let word = bytes.u32(at);
                    Place {
                        bar: (word & 7) as u8,
                        offset: word & !7,
                    }
                };
                if line_msix == 0 {
                    let what = "MSI-X, of which it signals no vector";
                    return self.left_out.push(what.to_owned());
                }
                self.places.msix = Some(at);
                self.controls[1] = control & !0xc000;
                identity.msix = Some(Msix::new(vectors).at(place(offset + 4), place(offset + 8)));
                let heard = vectors.min(line_msix).min(super::wires::MOST);
                if heard < vectors {
                    let what = format!("its vectors from {heard} on, which are not signalled");
                    self.left_out.push(what);
                }
            }
            0x10 => identity.link = Link::Express,
            0x09 => {
                let length = bytes.u8(offset + 2);
                let own = bytes.0.get(offset + 2..offset + usize::from(length));
                match own.filter(|own| !own.is_empty()) {
                    Some(own) => identity.capabilities.push(Capability::standard(id, own)),
                    None => self
                        .left_out
                        .push("a capability that has no length".to_owned()),
                }
            }
            id => self.left_out.push(format!("its capability {id:#x}")),
        }
    }

    /// Vectors of a kind that are to be connected.
    pub(super) fn wired(&self, kind: InterruptKind) -> u16 {
        let [line, msi, msix] = self.vectors;
        match kind {
            InterruptKind::Intx => line.min(1),
            InterruptKind::Msi => msi,
            InterruptKind::Msix => msix,
        }
    }
}

/// Configuration space, beyond the end of which all is 0.
#[derive(Clone, Copy)]
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn u8(self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or(0)
    }

    fn u16(self, at: usize) -> u16 {
        u16::from_le_bytes([self.u8(at), self.u8(at.saturating_add(1))])
    }

    fn u32(self, at: usize) -> u32 {
        u32::from(self.u16(at)) | u32::from(self.u16(at.saturating_add(2))) << 16
    }
}

/// Places and identifiers of the standard list, as far as it goes without end.
fn standard(bytes: Bytes<'_>) -> impl Iterator<Item = (u8, u8)> {
    let has_list = bytes.u16(6) & 0x10 != 0;
    let first = if has_list { bytes.u8(0x34) & !3 } else { 0 };
    let next = move |at: &u8| Some(bytes.u8(usize::from(*at) + 1) & !3);
    std::iter::successors(Some(first), next)
        .take(MOST_CAPABILITIES)
        .take_while(|at| *at >= 0x40)
        .map(move |at| (at, bytes.u8(at.into())))
}

/// Identifiers and places of the extended list.
fn extended(bytes: Bytes<'_>) -> impl Iterator<Item = (u16, usize)> {
    let next = move |at: &usize| Some((bytes.u32(*at) >> 20) as usize & !3);
    std::iter::successors(Some(STANDARD), next)
        .take(MOST_CAPABILITIES)
        .take_while(|at| *at >= STANDARD)
        .map(move |at| (bytes.u16(at), at))
        .take_while(|(id, _)| *id != 0)
}

fn gone(gone: Gone, asked: Asked) -> ForeignError {
    ForeignError::Gone(format!("{gone}, when it was asked for {asked}"))
}

fn short(asked: Asked) -> ForeignError {
    let what = "the answer is too short".to_owned();
    gone(Gone::Protocol(what), asked)
}

fn told(peer: &mut Peer, asked: Asked, number: u16, ask: &[u32]) -> Result<Vec<u8>, ForeignError> {
    let answer = peer.ask(number, &words(ask), None);
    let answer = answer.map_err(|why| gone(why, asked))?;
    answer.map_err(|errno| ForeignError::Refused {
        what: asked.to_string(),
        errno,
    })
}

fn fields<const N: usize>(payload: &[u8]) -> Option<[u32; N]> {
    let mut fields = Fields(payload);
    let mut all = [0; N];
    for field in &mut all {
        *field = fields.u32()?;
    }
    Some(all)
}

/// Bytes and flags of a region.
fn region(peer: &mut Peer, index: u32) -> Result<(u64, u32), ForeignError> {
    let asked = Asked::Region { index };
    let ask = [32, 0, index, 0, 0, 0, 0, 0];
    let answer = told(peer, asked, command::REGION_INFO, &ask)?;
    let parsed = fields::<6>(&answer).ok_or_else(|| short(asked))?;
    let [_, flags, _, _, low, high] = parsed;
    Ok((u64::from(low) | u64::from(high) << 32, flags))
}

/// Vectors of an interrupt.
fn irq(peer: &mut Peer, index: u32) -> Result<u16, ForeignError> {
    let asked = Asked::Irq { index };
    let answer = told(peer, asked, command::IRQ_INFO, &[16, 0, index, 0])?;
    let [_, _, _, count] = fields(&answer).ok_or_else(|| short(asked))?;
    Ok(u16::try_from(count).unwrap_or(u16::MAX))
}

/// All of configuration space.
fn config(peer: &mut Peer, size: u64) -> Result<Vec<u8>, ForeignError> {
    let length = match usize::try_from(size) {
        Ok(length) if length >= ALL => ALL,
        Ok(length) if length >= STANDARD => STANDARD,
        _ => {
            let what = format!("its configuration space has {size} bytes");
            return Err(ForeignError::NotPci(what));
        }
    };
    let mut all = Vec::new();
    while all.len() < length {
        let (offset, count) = (all.len() as u64, STANDARD as u32);
        let asked = Asked::Read {
            region: CONFIG,
            offset,
            count,
        };
        let answer = peer.read(CONFIG, offset, count, None);
        let answer = answer.map_err(|why| gone(why, asked))?;
        all.extend(answer.map_err(|errno| ForeignError::Refused {
            what: asked.to_string(),
            errno,
        })?);
    }
    Ok(all)
}

/// Tells of the address space, without a descriptor: every access comes to us.
fn map(peer: &mut Peer) -> Result<(), ForeignError> {
    if map_range(peer, 0, SPACE)?.is_ok() {
        return Ok(());
    }
    for (index, address) in PIECES.into_iter().enumerate() {
        match map_range(peer, address, PIECE)? {
            Ok(_) => {}
            Err(errno) if index == 0 => return Err(ForeignError::Insists { errno }),
            // It has no room for more.
            Err(_) => break,
        }
    }
    Ok(())
}

fn map_range(peer: &mut Peer, address: u64, size: u64) -> Result<Answer, ForeignError> {
    let mut ask = words(&[32, 3]);
    for field in [0, address, size] {
        ask.extend(field.to_le_bytes());
    }
    let answer = peer.ask(command::DMA_MAP, &ask, None);
    answer.map_err(|why| gone(why, Asked::Map))
}
