// SPDX-License-Identifier: MIT OR Apache-2.0

//! A machine for unit tests: memory in a map of pages, time that a test moves, everything recorded.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::contract::{Declaration, Device, DmaError, Host, Next, Tag, Vector};
use crate::journal::{Bytes, Direction, Kind, Outcome};

const PAGE: u64 = 4096;
/// Steps after which a device that wants another one never rests.
pub const MOST_STEPS: usize = 100_000;
/// Bytes of a piece of [`Host::dma_fill`]; a device must get along with any.
const ODD: usize = 1021;

/// Memory, clock and interrupts of a machine that is not there.
///
/// ```
/// use landfall_device::contract::{Host, Tag, Vector};
/// use landfall_device::testing::FakeHost;
///
/// let mut host = FakeHost::default();
/// host.map(0x1000, 0x1000);
/// host.dma_write(0x1ffe, &[1, 2], Tag::default()).unwrap();
/// host.raise(Vector(0));
/// assert_eq!(host.bytes(0x1ffd, 3), [0xee, 1, 2]);
/// assert_eq!(host.interrupts, 1);
/// ```
#[derive(Debug)]
pub struct FakeHost {
    /// Pages that exist; anything else is unmapped.
    pub pages: BTreeMap<u64, Vec<u8>>,
    /// What `may_master` answers.
    pub refuses: Option<DmaError>,
    /// What its clock shows; a test moves it.
    pub time: Duration,
    /// Interrupts so far, of all vectors.
    pub interrupts: usize,
    /// Vectors that the function has.
    pub vectors: u16,
    /// Everything that the function did, in order, as its journal would have it.
    pub notes: Vec<Kind>,
    /// Number of the register write being served.
    pub write: u64,
    /// It was cut off.
    pub severed: bool,
}

impl Default for FakeHost {
    fn default() -> Self {
        Self {
            pages: BTreeMap::new(),
            refuses: None,
            time: Duration::ZERO,
            interrupts: 0,
            vectors: 1,
            notes: Vec::new(),
            write: 0,
            severed: false,
        }
    }
}

impl FakeHost {
    /// Maps pages, filled with `0xee`.
    pub fn map(&mut self, address: u64, length: u64) {
        for page in address / PAGE..(address + length).div_ceil(PAGE) {
            self.pages.insert(page, vec![0xee; PAGE as usize]);
        }
    }

    /// One byte of memory.
    ///
    /// # Panics
    /// Nothing is mapped there.
    pub fn byte(&self, address: u64) -> u8 {
        self.pages[&(address / PAGE)][(address % PAGE) as usize]
    }

    /// Bytes of memory.
    ///
    /// # Panics
    /// As [`FakeHost::byte`].
    pub fn bytes(&self, address: u64, length: u64) -> Vec<u8> {
        (address..address + length)
            .map(|at| self.byte(at))
            .collect()
    }

    /// Writes memory, as the driver does.
    ///
    /// # Panics
    /// Nothing is mapped there.
    pub fn put(&mut self, address: u64, bytes: &[u8]) {
        for (at, byte) in (address..).zip(bytes) {
            let page = self.pages.get_mut(&(at / PAGE)).expect("mapped");
            page[(at % PAGE) as usize] = *byte;
        }
    }

    /// Accesses so far: direction, address, length.
    pub fn accesses(&self) -> Vec<(Direction, u64, u64)> {
        let access = |kind: &Kind| match *kind {
            Kind::Access {
                direction,
                address,
                length,
                ..
            } => Some((direction, address, length)),
            _ => None,
        };
        self.notes.iter().filter_map(access).collect()
    }

    /// What the function told, in order.
    pub fn declared(&self) -> impl Iterator<Item = (&Declaration, Option<u64>)> {
        self.notes.iter().filter_map(Kind::declaration)
    }

    /// Steps a function until it has nothing to do now.
    ///
    /// # Panics
    /// It wants another step after each of [`MOST_STEPS`].
    pub fn settle<D: Device + ?Sized>(&mut self, device: &mut D) -> Next {
        for _ in 0..MOST_STEPS {
            match device.step(self) {
                Next::Again => {}
                next => return next,
            }
        }
        panic!("the device never rests");
    }

    fn check(&self, address: u64, length: usize) -> Result<(), DmaError> {
        self.may_master()?;
        let end = address.checked_add(length as u64).ok_or(DmaError::Wraps)?;
        let mapped =
            (address / PAGE..end.div_ceil(PAGE)).all(|page| self.pages.contains_key(&page));
        if mapped {
            Ok(())
        } else {
            Err(DmaError::Unmapped)
        }
    }

    fn record(
        &mut self,
        direction: Direction,
        address: u64,
        length: usize,
        tag: Tag,
        result: Result<(), DmaError>,
    ) {
        self.notes.push(Kind::Access {
            direction,
            address,
            length: length as u64,
            job: tag.job,
            slot: tag.slot,
            role: tag.role,
            outcome: result.map_or_else(Outcome::Refused, |()| Outcome::Ok),
            bytes: Bytes::default(),
        });
    }
}

impl Host for FakeHost {
    fn dma_read(&mut self, address: u64, into: &mut [u8], tag: Tag) -> Result<(), DmaError> {
        let result = self.check(address, into.len());
        self.record(Direction::Read, address, into.len(), tag, result);
        result?;
        for (at, byte) in (address..).zip(into) {
            *byte = self.byte(at);
        }
        Ok(())
    }

    fn dma_write(&mut self, address: u64, from: &[u8], tag: Tag) -> Result<(), DmaError> {
        let result = self.check(address, from.len());
        self.record(Direction::Write, address, from.len(), tag, result);
        result?;
        self.put(address, from);
        Ok(())
    }

    fn dma_fill(
        &mut self,
        address: u64,
        length: usize,
        make: &mut dyn FnMut(usize, &mut [u8]),
        tag: Tag,
    ) -> Result<(), DmaError> {
        let result = self.check(address, length);
        self.record(Direction::Write, address, length, tag, result);
        result?;
        let mut piece = [0; ODD];
        for done in (0..length).step_by(ODD) {
            let piece = &mut piece[..ODD.min(length - done)];
            make(done, piece);
            self.put(address + done as u64, piece);
        }
        Ok(())
    }

    fn may_master(&self) -> Result<(), DmaError> {
        self.refuses.map_or(Ok(()), Err)
    }

    fn raise(&mut self, vector: Vector) {
        self.interrupts += 1;
        self.notes.push(Kind::Interrupt { vector: vector.0 });
    }

    fn vectors(&self) -> u16 {
        self.vectors
    }

    fn now(&self) -> Duration {
        self.time
    }

    fn declare_for(&mut self, register_write: Option<u64>, what: Declaration) {
        self.notes.push(Kind::Declared {
            register_write,
            what,
        });
    }

    fn register_write(&self) -> Option<u64> {
        Some(self.write)
    }

    fn sever(&mut self) {
        self.severed = true;
    }
}
