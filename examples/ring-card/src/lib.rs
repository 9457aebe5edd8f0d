// SPDX-License-Identifier: MIT OR Apache-2.0

//! A card that fills buffers. `1b36:4f31`, BAR 0 of 4 KiB, two MSI-X vectors: 0 when a buffer is full, 1 when one could
//! not be filled. Its ring has descriptors of 16 bytes: address (8), bytes (4), and a word that the card writes back: bit
//! 0 done, bit 1 failed. The driver writes the index behind the last one to `TAIL`.

use landfall_device::contract::*;
use landfall_device::parts::Ring;

const DESCRIPTOR: u32 = 16;
/// Most bytes of a buffer.
const LONGEST: u32 = 64 << 10;

/// Registers of the card.
mod regs {
    use landfall_device::contract::register;

    register! {
        /// Reads `0x4f31_0001`.
        pub(crate) Id(u32) @ 0x00 { 31:0 value => u32; }
        /// Bus address of the ring.
        pub(crate) RingLo(u32) @ 0x08 { 31:0 value => u32; }
        pub(crate) RingHi(u32) @ 0x0c { 31:0 value => u32; }
        /// Entries of the ring. Writing it begins the ring anew; 0 stops the card.
        pub(crate) Count(u32) @ 0x10 { 15:0 value => u16; }
        /// Index behind the last entry that is the card's.
        pub(crate) Tail(u32) @ 0x14 { 15:0 value => u16; }
        /// Index that the card looks at next. Read-only.
        pub(crate) Head(u32) @ 0x18 { 15:0 value => u16; }
    }
}
use regs::*;

/// The card.
#[derive(Clone, Debug, Default)]
pub struct RingCard {
    base: u64,
    count: u32,
    tail: u32,
    ring: Option<Ring>,
    /// Buffers since it was made; no reset begins them anew.
    jobs: u64,
}

impl RingCard {
    /// Fills the buffer of the next entry with its number.
    fn fill(&mut self, ring: &mut Ring, host: &mut dyn Host) -> Result<(), DmaError> {
        let tag = Tag::default().role(Role::Descriptor);
        let mut entry = [0; DESCRIPTOR as usize];
        ring.fetch(host, &mut entry, tag)?;
        let [a0, a1, a2, a3, a4, a5, a6, a7, l0, l1, l2, l3, ..] = entry;
        let address = u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7]);
        let length = u32::from_le_bytes([l0, l1, l2, l3]).min(LONGEST);

        let job = JobId(self.jobs);
        self.jobs += 1;
        let piece = Piece::write(address, length.into());
        host.declare(Declaration::begun(job, vec![piece]));
        let bytes = vec![self.jobs as u8; length as usize];
        let done = host.dma_write(address, &bytes, Tag::job(job));
        let (word, vector) = match done {
            Ok(()) => (1u32, Vector(0)),
            Err(_) => (2, Vector(1)),
        };
        let tag = Tag::job(job).role(Role::Descriptor);
        ring.write_back(host, 12, &word.to_le_bytes(), tag)?;
        ring.advance();
        let owed = Some(Owed::now(vector));
        host.declare(match done {
            Ok(()) => Declaration::done(job, length.into(), owed),
            Err(_) => Declaration::failed(job, "the bus refused it", owed),
        });
        host.raise(vector);
        Ok(())
    }
}

impl Device for RingCard {
    fn identity(&self) -> Identity {
        Identity {
            vendor: 0x1b36,
            device: 0x4f31,
            class: 0xff_00_00,
            bars: vec![Bar::registers(0, 0x1000)],
            ..Identity::default()
        }
        .interrupting(InterruptKind::Msix, 2)
    }

    fn declares(&self) -> Declares {
        Declares {
            jobs: true,
            interrupts: true,
            ..Declares::default()
        }
    }

    fn reset(&mut self, _kind: Reset) {
        *self = Self {
            jobs: self.jobs,
            ..Self::default()
        };
    }

    fn step(&mut self, host: &mut dyn Host) -> Next {
        let Some(mut ring) = self.ring.take() else {
            return Next::Idle;
        };
        if host.may_master().is_err() || !ring.pending(self.tail).is_some_and(|left| left > 0) {
            self.ring = Some(ring);
            return Next::Idle;
        }
        // A ring that cannot be read is given up, as if it were stopped.
        if self.fill(&mut ring, host).is_ok() {
            self.ring = Some(ring);
        }
        Next::Again
    }

    fn line(&self) -> bool {
        false
    }
}

impl Registers for RingCard {
    fn register(&self, bar: u8, offset: u64) -> Option<RegisterName> {
        lookup(REGISTERS, offset).filter(|_| bar == 0)
    }

    fn read(&self, _bar: u8, offset: u64) -> u32 {
        match offset as usize {
            Id::OFFSET => 0x4f31_0001,
            RingLo::OFFSET => self.base as u32,
            RingHi::OFFSET => (self.base >> 32) as u32,
            Count::OFFSET => self.count,
            Tail::OFFSET => self.tail,
            Head::OFFSET => self.ring.map_or(0, |ring| ring.index()),
            _ => UNCLAIMED,
        }
    }

    fn write(&mut self, _bar: u8, offset: u64, value: u32, _host: &mut dyn Host) {
        match offset as usize {
            RingLo::OFFSET => self.base = self.base >> 32 << 32 | u64::from(value),
            RingHi::OFFSET => self.base = u64::from(value) << 32 | self.base & 0xffff_ffff,
            Count::OFFSET => {
                self.count = value & 0xffff;
                self.tail = 0;
                self.ring = Ring::new(self.base, self.count, DESCRIPTOR).ok();
            }
            Tail::OFFSET => self.tail = value & 0xffff,
            _ => {}
        }
    }
}
