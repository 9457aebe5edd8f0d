// SPDX-License-Identifier: MIT OR Apache-2.0

//! Register writes that are on their way: a posted write may reach the card late, and a read of any register
//! pushes those before it ahead.

use std::collections::VecDeque;
use std::time::Duration;

use super::engine::CaptureCard;
use super::fault::Fault;
use landfall_device::contract::{Declaration, Host};

/// Most writes on their way; a further one makes the first arrive.
const MOST: usize = 1024;

/// Writes in the order in which they were made.
#[derive(Debug, Default)]
pub(super) struct Posted(VecDeque<Write>);

#[derive(Clone, Copy, Debug)]
struct Write {
    offset: usize,
    value: u32,
    register_write: Option<u64>,
    due: Duration,
}

impl CaptureCard {
    /// A register is written: now, or with the fault `posted` when the write arrives.
    pub(super) fn post(&mut self, offset: usize, value: u32, host: &mut dyn Host) {
        let register_write = host.register_write();
        let now = host.now();
        let delay = self.faults.holds(now, |fault| match fault {
            Fault::Posted { delay_us } => Some(Duration::from_micros(delay_us.into())),
            _ => None,
        });
        let (Some((index, delay)), Some(number)) = (delay, register_write) else {
            self.apply(offset, value, register_write, host);
            return;
        };
        if self.posted.0.len() >= MOST {
            self.arrive(false, host);
        }
        host.declare_for(Some(number), Declaration::Delayed);
        self.faults.count(index);
        self.posted.0.push_back(Write {
            offset,
            value,
            register_write,
            due: now + delay,
        });
    }

    /// Whether some are on their way.
    pub(super) fn has_posted(&self) -> bool {
        !self.posted.0.is_empty()
    }

    /// Lets those arrive whose time has come; tells when the next is due.
    pub(super) fn arrive_due(&mut self, host: &mut dyn Host) -> Option<Duration> {
        while let Some(first) = self.posted.0.front() {
            if first.due > host.now() {
                return Some(first.due);
            }
            self.arrive(false, host);
        }
        None
    }

    /// A read of a register: all arrive before it.
    pub(super) fn flush(&mut self, host: &mut dyn Host) {
        while self.arrive(true, host) {}
    }

    /// No write that was made before a reset has any effect after it.
    pub(super) fn drop_posted(&mut self) {
        self.posted = Posted::default();
    }

    /// Lets the first arrive, if there is one.
    fn arrive(&mut self, flushed: bool, host: &mut dyn Host) -> bool {
        let Some(write) = self.posted.0.pop_front() else {
            return false;
        };
        host.declare_for(write.register_write, Declaration::Arrived { flushed });
        self.apply(write.offset, write.value, write.register_write, host);
        true
    }
}
