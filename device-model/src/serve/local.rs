// SPDX-License-Identifier: MIT OR Apache-2.0

//! A card without a socket, for tests and benchmarks.

use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Machine, Options};
use crate::contract::{Function, IdentityError, Next};
use crate::dma::map::Map;
use crate::explore::{Did, Log, Order};
use crate::journal::{Journal, Missing};
use crate::serve::vfio_user::EventWire;

/// A function plugged into this process: whoever holds it is both the machine, which accesses its
/// registers, and the worker, which lets it work. Everything between the two and guest memory is what
/// [`super::CardServer`] runs: access layer, limits, journal, mappings, window. No socket and no thread;
/// interrupts are journalled and signal nobody.
pub struct LocalCard {
    machine: Machine<EventWire>,
    map: Arc<Map>,
    journal: Journal,
}

impl std::fmt::Debug for LocalCard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalCard").finish_non_exhaustive()
    }
}

impl LocalCard {
    /// Plugs a function in, as after power-on, and switches memory decoding and bus mastering on.
    ///
    /// # Panics
    /// There can be no such function; [`LocalCard::plug`] says it instead.
    pub fn new(function: Box<dyn Function>) -> Self {
        Self::with(function, Options::default())
    }

    /// As [`LocalCard::new`], with options.
    ///
    /// # Panics
    /// As [`LocalCard::new`].
    pub fn with(function: Box<dyn Function>, options: Options) -> Self {
        Self::plug(function, options).unwrap_or_else(|why| panic!("{why}"))
    }

    /// As [`LocalCard::new`], with options.
    ///
    /// # Errors
    /// There can be no such function.
    pub fn plug(function: Box<dyn Function>, options: Options) -> Result<Self, IdentityError> {
        let journal = Journal::with_capacity(options.journal);
        let map = Arc::new(Map::default());
        let mut machine = Machine::new(function, options, Arc::clone(&map), journal.clone())?;
        machine.write_config(4, &[6, 0]);
        Ok(Self {
            machine,
            map,
            journal,
        })
    }

    /// Its mappings, none at first.
    pub fn map(&self) -> &Map {
        &self.map
    }

    /// Its journal.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Reads a register.
    pub fn read(&mut self, bar: u8, offset: u64) -> u32 {
        let mut bytes = [0; 4];
        self.machine.read(bar, offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// Writes a register.
    pub fn write(&mut self, bar: u8, offset: u64, value: u32) {
        self.machine.write(bar, offset, &value.to_le_bytes());
    }

    /// Writes eight bytes at once.
    pub fn write_long(&mut self, bar: u8, offset: u64, value: u64) {
        self.machine.write(bar, offset, &value.to_le_bytes());
    }

    /// Reads any bytes of a BAR, as the machine would in one access.
    pub fn read_bytes(&mut self, bar: u8, offset: u64, into: &mut [u8]) {
        self.machine.read(bar, offset, into);
    }

    /// Writes any bytes of a BAR, as the machine would in one access.
    pub fn write_bytes(&mut self, bar: u8, offset: u64, from: &[u8]) {
        self.machine.write(bar, offset, from);
    }

    /// What the function lacks, as far as it was asked for.
    pub fn missing(&self) -> Missing {
        self.machine.missing()
    }

    /// Reads configuration space.
    pub fn read_config(&mut self, offset: u64, into: &mut [u8]) {
        self.machine.read_config(offset, into);
    }

    /// Writes configuration space.
    pub fn write_config(&mut self, offset: u64, from: &[u8]) {
        self.machine.write_config(offset, from);
    }

    /// Resets the whole device, as the machine does, and switches memory decoding and bus mastering on again.
    pub fn reset(&mut self) {
        self.machine.reset_device();
        self.machine.write_config(4, &[6, 0]);
    }

    /// Lets it do one piece of work.
    pub fn step(&mut self) -> Next {
        self.machine.step()
    }

    /// Whether a step would do anything ([`crate::contract::Device::wants`]).
    pub fn wants(&self) -> Option<bool> {
        self.machine.function.wants()
    }

    /// From now on it acts as the order says, until [`LocalCard::explored`]; whether it promises what that takes is not asked.
    pub fn explore(&mut self, order: Order) {
        self.machine.explore(order);
    }

    /// While an order is carried out: the guest has nothing to do, and so the card acts. False: there is more to come.
    pub fn idle(&mut self) -> bool {
        self.machine.idle();
        self.machine.rests()
    }

    /// While an order is carried out: one action, whatever the order says; `None`: it has nothing to do.
    pub fn act(&mut self) -> Option<Did> {
        self.machine.act()
    }

    /// From now on it acts by itself again. Gives what came of the order.
    pub fn explored(&mut self) -> Option<Log> {
        self.machine.explored()
    }

    /// Its time, while an order is carried out.
    #[cfg(test)]
    pub(super) fn machine_clock(&self) -> Duration {
        self.machine.clock
    }

    /// The machine goes.
    #[cfg(test)]
    pub(super) fn unplug(&mut self) {
        self.machine.unplug();
    }

    /// Waits until something comes to it from outside ([`crate::contract::Device::outside`]), and lets it do one piece of work
    /// then. False: nothing came within `limit`, or can come.
    pub fn hear(&mut self, limit: Duration) -> bool {
        let Ok(Some(outside)) = self.machine.outside() else {
            return false;
        };
        let mut fds = [PollFd::new(&outside, PollFlags::IN)];
        let limit = Timespec::try_from(limit).ok();
        let came = poll(&mut fds, limit.as_ref()).is_ok_and(|ready| ready > 0);
        if came {
            self.step();
        }
        came
    }
}
