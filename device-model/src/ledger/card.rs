// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is known of the card as a PCI function.

use crate::contract::{Declaration, Reset};
use crate::journal::{DriverState, Kind};

/// The card's state, as its entries tell it.
#[derive(Debug, Default)]
pub(super) struct Card {
    /// Whether it may master the bus, if that was told.
    master: Option<bool>,
    /// It decodes its BARs.
    pub(super) decodes: bool,
    /// It is not in D0.
    pub(super) asleep: bool,
    /// Where the last access ended.
    moved: Option<u64>,
    /// The last register write that has not arrived.
    delayed: Option<u64>,
    kernel_down: bool,
}

impl Card {
    /// What follows from an entry for those after it.
    pub(super) fn saw(&mut self, kind: &Kind) {
        match *kind {
            Kind::BusMaster { on } => self.master = Some(on),
            Kind::Decoding { on } => self.decodes = on,
            Kind::PowerState { state } => self.asleep = state != 0,
            Kind::FirstRead { .. } | Kind::Register { .. } => self.decodes = true,
            Kind::Reset { reset } => self.reset(reset),
            Kind::Disconnected => self.reset(Reset::Device),
            Kind::Connected | Kind::Attached { .. } => self.kernel_down = false,
            Kind::KernelDown => self.kernel_down = true,
            Kind::Driver {
                state: DriverState::Binding,
                ..
            } => self.kernel_down = false,
            Kind::Declared {
                register_write,
                ref what,
            } => match what {
                Declaration::Delayed => self.delayed = register_write.or(self.delayed),
                Declaration::Arrived { .. } => {
                    self.delayed = self.delayed.filter(|&last| Some(last) > register_write);
                }
                Declaration::Reset => self.delayed = None,
                _ => {}
            },
            _ => {}
        }
    }

    fn reset(&mut self, reset: Reset) {
        self.delayed = None;
        (self.master, self.decodes) = (Some(false), false);
        self.asleep = false;
        if reset == Reset::Device {
            self.kernel_down = false;
        }
    }

    /// An access ended there.
    pub(super) fn moved(&mut self, end: u64) {
        self.moved = Some(end);
    }

    /// Whether an access goes on where the last one ended.
    pub(super) fn goes_on(&self, address: u64) -> bool {
        self.moved == Some(address)
    }

    /// The last register write that is still on its way.
    pub(super) const fn delayed(&self) -> Option<u64> {
        self.delayed
    }

    pub(super) const fn kernel_down(&self) -> bool {
        self.kernel_down
    }

    /// Whether it cannot master the bus, whatever it would.
    pub(super) fn is_quiet(&self) -> bool {
        self.master == Some(false) || self.asleep
    }

    pub(super) const fn master(&self) -> Option<bool> {
        self.master
    }
}
