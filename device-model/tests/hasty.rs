// SPDX-License-Identifier: MIT OR Apache-2.0

//! A card whose clock runs faster: what it does in a second, it does in an eighth of one.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use landfall_device::contract::*;

/// How much faster.
const FASTER: u32 = 8;

pub(crate) struct Hasty(pub(crate) Box<dyn Function>);

/// The machine, as such a card sees it.
struct Fast<'a>(&'a mut dyn Host);

impl Host for Fast<'_> {
    fn dma_read(&mut self, address: u64, into: &mut [u8], tag: Tag) -> Result<(), DmaError> {
        self.0.dma_read(address, into, tag)
    }

    fn dma_write(&mut self, address: u64, from: &[u8], tag: Tag) -> Result<(), DmaError> {
        self.0.dma_write(address, from, tag)
    }

    fn dma_fill(
        &mut self,
        address: u64,
        length: usize,
        make: &mut dyn FnMut(usize, &mut [u8]),
        tag: Tag,
    ) -> Result<(), DmaError> {
        self.0.dma_fill(address, length, make, tag)
    }

    fn may_master(&self) -> Result<(), DmaError> {
        self.0.may_master()
    }

    fn raise(&mut self, vector: Vector) {
        self.0.raise(vector);
    }

    fn vectors(&self) -> u16 {
        self.0.vectors()
    }

    fn now(&self) -> Duration {
        self.0.now() * FASTER
    }

    fn declare_for(&mut self, register_write: Option<u64>, what: Declaration) {
        self.0.declare_for(register_write, what);
    }

    fn register_write(&self) -> Option<u64> {
        self.0.register_write()
    }

    fn sever(&mut self) {
        self.0.sever();
    }
}

impl Device for Hasty {
    fn identity(&self) -> Identity {
        self.0.identity()
    }

    fn declares(&self) -> Declares {
        self.0.declares()
    }

    fn notice(&mut self, notice: Notice, host: &mut dyn Host) {
        self.0.notice(notice, &mut Fast(host));
    }

    fn reset(&mut self, kind: Reset) {
        self.0.reset(kind);
    }

    fn outside(&self) -> Option<BorrowedFd<'_>> {
        self.0.outside()
    }

    fn step(&mut self, host: &mut dyn Host) -> Next {
        match self.0.step(&mut Fast(host)) {
            Next::At(time) => Next::At(time / FASTER),
            next => next,
        }
    }

    fn line(&self) -> bool {
        self.0.line()
    }
}

impl Function for Hasty {
    fn widest(&self, bar: u8) -> Width {
        self.0.widest(bar)
    }

    fn name(&self, access: Access) -> Option<RegisterName> {
        self.0.name(access)
    }

    fn load(&mut self, access: Access, host: &mut dyn Host) -> u64 {
        self.0.load(access, &mut Fast(host))
    }

    fn store(&mut self, access: Access, value: u64, host: &mut dyn Host) {
        self.0.store(access, value, &mut Fast(host));
    }
}
