// SPDX-License-Identifier: MIT OR Apache-2.0

//! A card that does whatever the contract lets it.

use std::borrow::Cow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

use super::guest::BUS;
use crate::contract::{
    Access, Bar, Declaration, Declares, Device, Function, Host, Identity, IdleScope, JobId, Label,
    Limits, Msix, Next, Notice, Owed, Piece, Place, Promise, QueueId, RegisterName, Reset, Role,
    STEP_BYTES, Tag, Vector, Width,
};
use crate::ledger::Range;
use crate::random::{Random, mix};

/// Where a card that is tame goes, and where a wild one may.
pub(super) const LENT: Range = Range {
    start: 0x1_0000,
    length: 0x4000,
};

pub(super) struct Wild {
    seed: u64,
    random: Random,
    /// What it did, all cards of a campaign together.
    acts: Arc<AtomicU64>,
    /// It goes only where it may, and says nothing.
    tame: bool,
    buffer: Vec<u8>,
    /// Always readable.
    outside: Option<OwnedFd>,
}

impl Wild {
    pub(super) fn new(seed: u64, acts: Arc<AtomicU64>, tame: bool) -> Self {
        let mut random = Random::new(seed);
        let outside = (!tame && random.one_in(8)).then(|| eventfd(1, EventfdFlags::CLOEXEC));
        Self {
            seed,
            random,
            acts,
            tame,
            buffer: vec![0; 2 * STEP_BYTES],
            outside: outside.and_then(Result::ok),
        }
    }

    fn address(&mut self) -> u64 {
        let random = &mut self.random;
        match random.below(8) {
            0 => random.draw(),
            1 => u64::MAX - random.below(1 << 16),
            2 | 3 => LENT.start + random.below(LENT.length),
            _ => random.below(BUS),
        }
    }

    fn length(&mut self) -> usize {
        let random = &mut self.random;
        match random.below(32) {
            0 => random.index(2 * STEP_BYTES),
            1 => 0,
            2..8 => random.index(1 << 14),
            _ => random.index(128),
        }
    }

    fn tag(&mut self) -> Tag {
        Tag {
            job: self.random.one_in(2).then(|| JobId(self.random.below(16))),
            slot: self.random.one_in(4).then(|| self.random.draw() as u32),
            role: [Role::Payload, Role::Descriptor, Role::Status, Role::Side]
                .get(self.random.index(4))
                .copied()
                .unwrap_or_default(),
        }
    }

    fn act(&mut self, host: &mut dyn Host) {
        for _ in 0..self.random.below(4) {
            self.acts.fetch_add(1, Ordering::Relaxed);
            self.act_once(host);
        }
    }

    fn act_once(&mut self, host: &mut dyn Host) {
        if self.tame && host.may_master().is_err() {
            return;
        }
        let kinds = if self.tame { 12 } else { 32 };
        let kind = self.random.below(kinds);
        let (mut address, mut length) = (self.address(), self.length());
        if self.tame {
            address = LENT.start + self.random.below(LENT.length);
            length = length.min((LENT.end() - address) as usize);
        }
        let tag = if self.tame {
            Tag::default()
        } else {
            self.tag()
        };
        let seed = self.random.draw();
        let buffer = self.buffer.get_mut(..length).unwrap_or_default();
        // What it is told matters to it as little as anything.
        let _ = match kind {
            0..4 => host.dma_read(address, buffer, tag),
            4..8 => host.dma_write(address, buffer, tag),
            8..12 => {
                let mut make = |at, piece: &mut [u8]| piece.fill(mix(seed ^ at as u64) as u8);
                host.dma_fill(address, length, &mut make, tag)
            }
            12..18 => {
                host.raise(Vector(self.random.draw() as u16));
                Ok(())
            }
            18 => {
                host.raise(Vector(self.random.below(8) as u16));
                host.may_master()
            }
            19 if self.random.one_in(64) => {
                host.sever();
                Ok(())
            }
            _ => {
                let what = self.declaration();
                let write = self.random.one_in(2).then(|| self.random.below(1 << 12));
                match self.random.one_in(2) {
                    true => host.declare(what),
                    false => host.declare_for(write, what),
                }
                Ok(())
            }
        };
    }

    fn pieces(&mut self) -> Vec<Piece> {
        let most = if self.random.one_in(256) { 6000 } else { 6 };
        let count = self.random.below(most);
        let piece = |_| {
            let (address, length) = (self.address(), self.length() as u64);
            let length = if self.random.one_in(8) {
                self.random.draw()
            } else {
                length
            };
            match self.random.one_in(2) {
                true => Piece::write(address, length).of(self.random.below(5)),
                false => Piece::read(address, length),
            }
        };
        (0..count).map(piece).collect()
    }

    fn owed(&mut self) -> Option<Owed> {
        let vector = Vector(self.random.draw() as u16);
        Some(match self.random.below(5) {
            0 => return None,
            1 => Owed::now(vector),
            2 => Owed::perhaps(vector),
            3 => Owed::within(vector, Duration::MAX),
            _ => Owed {
                vector,
                promise: Promise::Now,
            },
        })
    }

    fn words(&mut self) -> Cow<'static, str> {
        match self.random.below(4) {
            0 => Cow::Borrowed(""),
            1 => Cow::Owned("\u{1b}[2J\n\0\u{202e}".repeat(1 + self.random.index(20))),
            _ => Cow::Borrowed("so it is"),
        }
    }

    fn declaration(&mut self) -> Declaration {
        let job = JobId(match self.random.one_in(8) {
            true => self.random.draw(),
            false => self.random.below(16),
        });
        let queue = QueueId(self.random.below(3) as u16 * 0x7fff);
        let label = Label {
            slot: self.random.one_in(2).then(|| self.random.below(9) as u32),
            frame: self.random.one_in(2).then(|| self.random.draw() as u32),
        };
        let some = self.random.one_in(2).then_some(queue);
        match self.random.below(16) {
            0..3 => Declaration::Begun {
                job,
                queue,
                label,
                pieces: self.pieces(),
            },
            3..5 => Declaration::Accepted {
                job,
                queue,
                label,
                pieces: self.pieces(),
            },
            5..8 => Declaration::Done {
                job,
                error: self.random.one_in(4).then(|| self.words()),
                moved: self.random.draw() >> self.random.below(64),
                owed: self.owed(),
            },
            8 => Declaration::Released { job },
            9 => Declaration::Stopping { queue: some },
            10 => Declaration::Idle { queue: some },
            11 => match self.owed() {
                Some(owed) => Declaration::Cause {
                    owed,
                    why: self.words(),
                },
                None => Declaration::Delayed,
            },
            12 => Declaration::Masked {
                vector: self
                    .random
                    .one_in(2)
                    .then(|| Vector(self.random.draw() as u16)),
                masked: self.random.one_in(2),
            },
            13 => Declaration::NotNow { why: self.words() },
            14 => Declaration::Changed {
                job,
                address: self.address(),
            },
            _ => Declaration::Reset,
        }
    }
}

impl Device for Wild {
    fn identity(&self) -> Identity {
        let place = |offset| Place { bar: 2, offset };
        Identity {
            vendor: 0x1b36,
            device: 0x4c7f,
            bars: vec![
                Bar::registers(0, 0x1000).wide(),
                Bar::registers(2, 0x1_0000),
            ],
            msi: 8,
            msix: Some(Msix::new(33).at(place(0x2000), place(0x3000))),
            ..Identity::default()
        }
    }

    fn declares(&self) -> Declares {
        let bits = mix(self.seed);
        let bit = |number: u32| !self.tame && bits >> number & 1 == 1;
        Declares {
            limits: Limits {
                address_bits: if bit(0) { bits as u8 } else { 0 },
                alignment: if bit(1) { bits } else { 0 },
                granule: if bit(2) { bits >> 3 } else { 0 },
                boundary: if bit(3) { bits >> 60 } else { 0 },
                longest: if bit(4) { bits >> 50 } else { 0 },
                pieces: if bit(5) { (bits >> 30) as u32 } else { 0 },
                fetch_boundary: if bit(6) { 1 } else { 0 },
            },
            jobs: bit(7),
            handover: bit(8),
            interrupts: bit(9),
            masks: bit(10),
            idle: match (bit(11), bit(12)) {
                (true, true) => IdleScope::Queue,
                (true, false) => IdleScope::Device,
                (false, _) => IdleScope::Never,
            },
        }
    }

    fn notice(&mut self, _notice: Notice, host: &mut dyn Host) {
        self.act(host);
    }

    fn reset(&mut self, _kind: Reset) {}

    fn outside(&self) -> Option<BorrowedFd<'_>> {
        self.outside.as_ref().map(AsFd::as_fd)
    }

    fn step(&mut self, host: &mut dyn Host) -> Next {
        self.act(host);
        match self.random.below(16) {
            0 => Next::At(Duration::ZERO),
            1 => Next::At(Duration::MAX),
            2 => Next::At(host.now().saturating_add(Duration::from_micros(10))),
            3..6 => Next::Again,
            _ => Next::Idle,
        }
    }

    fn line(&self) -> bool {
        self.acts.load(Ordering::Relaxed).is_multiple_of(3)
    }
}

impl Function for Wild {
    fn widest(&self, bar: u8) -> Width {
        let which = mix(self.acts.load(Ordering::Relaxed) ^ u64::from(bar)) % 4;
        Width::ALL
            .get(which as usize)
            .copied()
            .unwrap_or(Width::One)
    }

    fn name(&self, access: Access) -> Option<RegisterName> {
        let bits = mix(self.seed ^ access.offset);
        let name = match bits % 4 {
            0 if !self.tame => return None,
            1 => Cow::Owned("[\u{0}]".repeat((bits >> 8) as usize % 40)),
            _ => Cow::Borrowed("WILD"),
        };
        let index = (bits & 16 == 0).then_some(usize::MAX);
        Some(RegisterName { name, index })
    }

    fn load(&mut self, _access: Access, host: &mut dyn Host) -> u64 {
        self.act(host);
        self.random.draw()
    }

    fn store(&mut self, _access: Access, _value: u64, host: &mut dyn Host) {
        self.act(host);
    }
}
