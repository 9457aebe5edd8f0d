// SPDX-License-Identifier: MIT OR Apache-2.0

//! The registers of every card, driven as no driver does: accesses of every width, time that passes or does not, memory that
//! comes, goes and holds anything, bus mastering that is taken away amid all of it.
//!
//! A card without a fault keeps what it declares (limits and jobs), begins no access that it may not, works piece by piece,
//! and forgets everything at a reset. One with faults does not panic and rests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use landfall_cards::capture::{CaptureCard, CaptureOptions, Fault, Planted, When};
use landfall_cards::{SET, ad1889, dt3155, endpoint, ioatdma, nvme, poller, ring, tw686x, zoran};
use landfall_device::contract::{
    Access, Declaration, DmaError, Function, InterruptKind, Next, Notice, Reset, STEP_BYTES, Setup,
    Width, split,
};
use landfall_device::journal::{Kind, Outcome};
use landfall_device::testing::conformance::registers;
use landfall_device::testing::{FakeHost, check_declarations};

use crate::bytes::Bytes;
use crate::limit;

const MOST: usize = 200;
const PAGE: u64 = 4096;
/// Pages of memory from 0 on.
const PAGES: u64 = 64;
/// Most steps in a row.
const STEPS: usize = 32;
/// Most that a card tells of one step.
const NOTES: usize = 4096;
/// What a card takes, of memory of the host's.
const MEMORY: usize = 64 << 20;

/// The card that looks whether it may by looking.
const POLLER: &str = "poller";

/// Where each card has registers, which takes a while to find out.
fn known(which: usize, card: &dyn Function) -> Vec<Access> {
    static KNOWN: Mutex<BTreeMap<usize, Vec<Access>>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().expect("nobody panics with it");
    known
        .entry(which)
        .or_insert_with(|| registers(card))
        .clone()
}

/// What is tried.
struct Tried {
    make: Box<dyn Fn() -> Box<dyn Function>>,
    /// It is to be right.
    right: bool,
    /// It asks whether it may master the bus.
    asks: bool,
}

impl Tried {
    fn new(right: bool, make: impl Fn() -> Box<dyn Function> + 'static) -> Self {
        Self {
            make: Box::new(make),
            right,
            asks: true,
        }
    }

    /// A card that may have one of these faults.
    fn faulty<F: Copy + 'static, C: Function + 'static>(
        fault: u8,
        all: &[F],
        make: impl Fn(Option<F>) -> C + 'static,
    ) -> Self {
        let fault = all.get(usize::from(fault)).copied();
        Self::new(fault.is_none(), move || Box::new(make(fault)))
    }
}

/// How many cards there are besides the set: with faults, or of another make.
const OTHERS: usize = 10;

/// Which card a byte means: one of the set by its lower half, one of the others by both.
fn which(byte: u8) -> usize {
    let (upper, lower) = (usize::from(byte / 16), usize::from(byte % 16));
    match lower.checked_sub(SET.len()) {
        None => lower,
        Some(other) => SET.len() + (upper + other) % OTHERS,
    }
}

fn tried(bytes: &mut Bytes<'_>) -> Tried {
    let which = which(bytes.u8());
    if let Some((name, make)) = SET.get(which) {
        let asks = *name != POLLER;
        return Tried {
            asks,
            ..Tried::new(true, make)
        };
    }
    let fault = bytes.u8();
    match which - SET.len() {
        0 => Tried::faulty(fault, &dt3155::Fault::ALL, |fault| {
            dt3155::Dt3155::new(dt3155::Dt3155Options {
                fault,
                ..Default::default()
            })
        }),
        1 => Tried::faulty(fault, &tw686x::Fault::ALL, |fault| {
            tw686x::Tw686x::new(tw686x::Tw686xOptions {
                fault,
                ..Default::default()
            })
        }),
        2 => Tried::faulty(fault, &ring::Fault::ALL, |fault| {
            ring::Ring::new(ring::RingOptions {
                fault,
                ..Default::default()
            })
        }),
        3 => Tried {
            asks: false,
            ..Tried::new(true, || Box::new(poller::Poller::new(true)))
        },
        4 => Tried::faulty(fault, &ioatdma::Fault::ALL, |fault| {
            ioatdma::Ioat::new(ioatdma::IoatOptions {
                fault,
                channels: 3,
                ..Default::default()
            })
        }),
        5 => Tried::faulty(fault, &endpoint::Fault::ALL, |fault| {
            endpoint::Endpoint::new(endpoint::EndpointOptions {
                fault,
                ..Default::default()
            })
        }),
        6 => Tried::faulty(fault, &nvme::Fault::ALL, |fault| {
            nvme::Nvme::new(nvme::NvmeOptions {
                fault,
                ..Default::default()
            })
        }),
        7 => Tried::faulty(fault, &ad1889::Fault::ALL, |fault| {
            ad1889::Ad1889::new(ad1889::Ad1889Options {
                fault,
                ..Default::default()
            })
        }),
        8 => Tried::faulty(fault, &zoran::Fault::ALL, |fault| {
            zoran::Zoran::new(zoran::ZoranOptions {
                fault,
                ..Default::default()
            })
        }),
        _ => capture(bytes, fault),
    }
}

/// A capture card of any make, with any faults.
fn capture(bytes: &mut Bytes<'_>, faults: u8) -> Tried {
    let mut options = CaptureOptions {
        address_bits: [24, 32, 36, 40, 64][usize::from(bytes.u8() % 5)],
        align_shift: bytes.u8() % 13,
        boundary_shift: [0, 12, 16, 24, 32][usize::from(bytes.u8() % 5)],
        interrupt: [InterruptKind::Intx, InterruptKind::Msi, InterruptKind::Msix]
            [usize::from(bytes.u8() % 3)],
        rest: Duration::from_micros(bytes.u8().into()),
        ..CaptureOptions::default()
    };
    for _ in 0..faults % 4 {
        let what = *bytes.choose(&Fault::ALL).expect("there are some");
        let how = bytes.u8();
        let planted = Planted {
            what,
            when: When {
                frame: (how & 1 != 0).then(|| bytes.u8().into()),
                byte: (how & 2 != 0).then(|| bytes.u16().into()),
                after_us: (how & 4 != 0).then(|| bytes.u16().into()),
                probability: (how & 8 != 0).then_some(500_000),
                write: None,
            },
            times: 1 + u32::from(how >> 4),
        };
        if planted.check().is_ok() {
            options.faults.push(planted);
        }
    }
    let right = options.faults.is_empty();
    Tried::new(right, move || Box::new(CaptureCard::new(options.clone())))
}

/// A card in a machine that is not there.
struct Bench {
    card: Box<dyn Function>,
    host: FakeHost,
    known: Vec<Access>,
    right: bool,
    /// It asks whether it may master the bus.
    asks: bool,
}

/// Drives a card.
pub fn run(bytes: &[u8]) {
    limit::within(MEMORY, || drive(bytes));
}

fn drive(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let which = bytes.0.first().map_or(0, |byte| which(*byte));
    let Tried { make, right, asks } = tried(&mut bytes);
    let card = make();
    let mut bench = Bench {
        known: known(which, card.as_ref()),
        asks,
        card,
        host: FakeHost::default(),
        right,
    };
    bench.host.map(0, PAGES * PAGE);
    bench.host.map((1 << 32) - PAGE, 2 * PAGE);
    for _ in 0..MOST {
        if bytes.is_empty() {
            break;
        }
        bench.act(&mut bytes);
    }
    if right {
        let declares = bench.card.declares();
        if let Err(why) = check_declarations(&declares, &bench.host.notes) {
            panic!("it does not keep what it declares: {why}");
        }
        bench.keeps_limits();
    }
    bench.forgets(make.as_ref());
}

impl Bench {
    fn act(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.u8() % 14 {
            0 | 1 => self.write_known(bytes, |bytes| bytes.u32().into()),
            2 | 3 => self.write_known(bytes, |bytes| u64::from(bytes.u8()) * 0x400),
            4 => self.write_known(bytes, |bytes| bytes.u8().into()),
            5 => {
                if let Some(at) = bytes.choose(&self.known).copied() {
                    self.read(at.bar, at.offset, at.width.bytes().into());
                }
            }
            6 => {
                let (bar, offset) = (bytes.u8(), bytes.u16());
                let length = Width::ALL[usize::from(bar >> 6)].bytes().into();
                match bar & 0x20 {
                    0 => self.read(bar & 7, offset.into(), length),
                    _ => self.write(bar & 7, offset.into(), &bytes.u64().to_le_bytes()[..length]),
                }
            }
            7 => {
                for _ in 0..=bytes.u8() % STEPS as u8 {
                    if self.step() != Next::Again {
                        break;
                    }
                }
            }
            8 => {
                let (by, times) = (bytes.u16(), bytes.u8());
                self.host.time += Duration::from_micros(by.into()) * (1 << (times & 15));
            }
            9 => {
                let (at, length) = (u64::from(bytes.u16()) * 4, bytes.u8());
                let data = bytes.take(length.into());
                let pages = at / PAGE..=(at + data.len() as u64) / PAGE;
                if pages
                    .clone()
                    .all(|page| self.host.pages.contains_key(&page))
                {
                    self.host.put(at, data);
                }
            }
            10 => self.set_up(bytes.u8()),
            11 => {
                let kinds = [Reset::Device, Reset::FunctionLevel];
                let kind = kinds[usize::from(bytes.u8() & 1)];
                self.card.reset(kind);
                self.host.notes.push(Kind::Reset { reset: kind });
                assert!(!self.card.line(), "a line after a reset");
            }
            12 => {
                let page = u64::from(bytes.u8()) % PAGES;
                if self.host.pages.remove(&page).is_none() {
                    self.host.map(page * PAGE, PAGE);
                }
            }
            _ => self.host.vectors = u16::from(bytes.u8() % 33).max(1),
        }
    }

    fn write_known(&mut self, bytes: &mut Bytes<'_>, value: impl FnOnce(&mut Bytes<'_>) -> u64) {
        if let Some(at) = bytes.choose(&self.known).copied() {
            let value = value(bytes).to_le_bytes();
            self.write(at.bar, at.offset, &value[..at.width.bytes().into()]);
        }
    }

    fn read(&mut self, bar: u8, offset: u64, length: usize) {
        for access in split(bar, offset, length, self.card.widest(bar)) {
            if self.card.name(access).is_some() {
                let (bar, offset) = (access.bar, access.offset);
                self.card
                    .notice(Notice::Read { bar, offset }, &mut self.host);
                self.card.load(access, &mut self.host);
            }
        }
    }

    fn write(&mut self, bar: u8, offset: u64, data: &[u8]) {
        let mut rest = data;
        for access in split(bar, offset, data.len(), self.card.widest(bar)) {
            let (part, after) = rest.split_at(access.width.bytes().into());
            rest = after;
            let mut value = [0; 8];
            value[..part.len()].copy_from_slice(part);
            if self.card.name(access).is_some() {
                self.host.write += 1;
                let before = self.host.notes.len();
                self.card
                    .store(access, u64::from_le_bytes(value), &mut self.host);
                self.is_little(before);
            }
        }
    }

    fn step(&mut self) -> Next {
        let before = self.host.notes.len();
        let next = self.card.step(&mut self.host);
        self.is_little(before);
        next
    }

    /// What was done since is a piece of work, and no more.
    fn is_little(&self, before: usize) {
        let notes = &self.host.notes[before..];
        assert!(notes.len() <= NOTES, "{} things at once", notes.len());
        let moved = notes.iter().map(|note| match note {
            Kind::Access {
                length,
                outcome: Outcome::Ok,
                ..
            } => *length,
            _ => 0,
        });
        let moved: u64 = moved.sum();
        assert!(moved <= 2 * STEP_BYTES as u64, "{moved} bytes at once");
    }

    fn set_up(&mut self, how: u8) {
        let (master, power) = (how & 1 != 0, if how & 2 != 0 { 3 } else { 0 });
        self.host.refuses = match (master, power) {
            (_, 3) => Some(DmaError::NotPowered),
            (false, _) => Some(DmaError::NotMaster),
            (true, _) => None,
        };
        self.host.notes.push(Kind::BusMaster {
            on: self.host.refuses.is_none(),
        });
        if master {
            self.card.notice(Notice::BusMaster, &mut self.host);
        }
        let setup = Setup {
            memory: how & 4 != 0,
            master,
            line_off: how & 8 != 0,
            power,
            messages: (how & 16 != 0).then_some((InterruptKind::Msi, self.host.vectors)),
        };
        self.card.notice(Notice::Setup(setup), &mut self.host);
    }

    /// No address that it cannot drive, and no transfer begun while it may not.
    fn keeps_limits(&self) {
        let limits = self.card.declares().limits;
        let (mut may, mut begun) = (true, BTreeSet::new());
        for note in &self.host.notes {
            match note {
                Kind::BusMaster { on } => may = *on,
                Kind::Declared {
                    what: Declaration::Begun { job, .. },
                    ..
                } if may => {
                    begun.insert(*job);
                }
                Kind::Access {
                    address,
                    length,
                    job,
                    outcome,
                    ..
                } => {
                    if let bits @ 1..64 = limits.address_bits {
                        let end = address.checked_add(*length);
                        assert!(end.is_some_and(|end| end <= 1 << bits), "{note:?}");
                    }
                    let refused = *outcome == Outcome::Refused(DmaError::NotMaster);
                    let goes_on = job.is_some_and(|job| begun.contains(&job));
                    let asked = !refused || goes_on || !self.asks;
                    assert!(asked, "it did not ask whether it may: {note:?}");
                }
                _ => {}
            }
        }
    }

    /// After a reset it is as one that was just made.
    fn forgets(&mut self, make: &dyn Fn() -> Box<dyn Function>) {
        self.card.reset(Reset::Device);
        assert!(!self.card.line(), "a line after a reset");
        if !self.right {
            return;
        }
        let mut fresh = make();
        for access in self.known.clone() {
            let host = || FakeHost {
                time: self.host.time,
                ..FakeHost::default()
            };
            let (is, was) = (
                self.card.load(access, &mut host()),
                fresh.load(access, &mut host()),
            );
            assert_eq!(is, was, "{:?} after a reset", self.card.name(access));
        }
    }
}
