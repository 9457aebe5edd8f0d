// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where the machine's processor waits while an order is carried out.
//!
//! A machine takes an interrupt when it gets to it, while its processor runs on. So after each access to a device, before its next
//! instruction, the processor asks here and waits until the machine has taken what was sent: an interrupt comes at the access at
//! which the card sent it. When it has nothing to do it says so, and waits until the card has done what it wants to do then.
//! A byte asks ([`AFTER_ACCESS`], [`IDLE`]) and a byte answers ([`GO`]). That takes a machine with one processor.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;

use super::{CardServer, ServeError, Shared};
use crate::contract::Contents;
use crate::explore::{Log, Order};

/// The processor made an access to a device.
pub const AFTER_ACCESS: u8 = b'A';
/// It has nothing to do.
pub const IDLE: u8 = b'I';
/// It may go on.
pub const GO: u8 = b'G';

/// How long the machine may take to take an interrupt.
const TAKING: Duration = Duration::from_secs(5);

/// Why the orders of a card's actions cannot be enumerated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotExplorable {
    /// Its model does not promise.
    #[error(
        "the card's model does not say whether it wants to act (`Device::wants`), and so not that a step of it does one visible thing"
    )]
    NoPromise,
    /// Something comes to it from outside.
    #[error("things come to the card's model from outside, and nobody knows when")]
    Outside,
    /// The machine may map memory of the card's.
    #[error("the machine may map memory of the card's, and what it does there is not seen")]
    Mapped,
    /// The machine's processor asks nobody.
    #[error("the machine's processor does not wait for this card")]
    NoGate,
}

impl CardServer {
    /// From now on the machine's processor asks on `stream`. `settled` waits until the machine has dealt with all that it was
    /// told, and says whether it did.
    ///
    /// # Errors
    /// If the thread that answers cannot be started.
    pub fn gate(
        &mut self,
        stream: UnixStream,
        settled: impl FnMut() -> bool + Send + 'static,
    ) -> Result<(), ServeError> {
        let kept = stream.try_clone().map_err(ServeError::Thread)?;
        *self.shared.gate.lock() = Some(kept);
        self.spawn("card-gate", move |shared| answer(shared, &stream, settled))
    }

    /// From now on the card acts as the order says, until [`CardServer::explored`].
    ///
    /// # Errors
    /// See [`NotExplorable`].
    pub fn explore(&self, order: Order) -> Result<(), NotExplorable> {
        if self.shared.gate.lock().is_none() {
            return Err(NotExplorable::NoGate);
        }
        self.shared.with_machine(|machine| {
            if machine.function.wants().is_none() {
                return Err(NotExplorable::NoPromise);
            }
            if machine.function.outside().is_some() {
                return Err(NotExplorable::Outside);
            }
            let mapped =
                |contents: &Contents| matches!(contents, Contents::Memory { mapped: true, .. });
            if machine
                .identity
                .bars
                .iter()
                .any(|bar| mapped(&bar.contents))
            {
                return Err(NotExplorable::Mapped);
            }
            machine.explore(order);
            Ok(())
        })
    }

    /// From now on it acts by itself again. Gives what came of the order; `None`: there was none.
    pub fn explored(&self) -> Option<Log> {
        self.shared.with_machine(super::Machine::explored)
    }

    /// Whether the card does nothing while the guest idles: it is the user who is slow, and not the driver who waits. If not any
    /// more, it does again from the driver's next step on.
    pub fn hold(&self, halted: bool) {
        self.shared.with_machine(|machine| machine.hold(halted));
    }

    /// Waits until neither the card nor the guest has anything left to do. False: that was not within `limit`.
    pub fn rest(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut machine = self.shared.machine.lock();
        while !machine.rests() {
            if self.shared.stopped() || self.shared.gate.lock().is_none() {
                return false;
            }
            if self
                .shared
                .rested
                .wait_until(&mut machine, until)
                .timed_out()
            {
                return machine.rests();
            }
        }
        true
    }
}

/// Answers the machine's processor until it is gone.
fn answer(shared: &Shared, mut stream: &UnixStream, mut settled: impl FnMut() -> bool) {
    let mut byte = [0];
    while !shared.stopped() {
        match stream.read(&mut byte) {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Ok(0) | Err(_) => break,
        }
        match byte {
            [IDLE] => {
                let mut machine = shared.machine.lock();
                machine.idle();
                shared.cut_if_severed(&mut machine);
                shared.rested.notify_all();
                MutexGuard::unlock_fair(machine);
            }
            _ => taken(shared, &mut settled),
        }
        if stream.write_all(&[GO]).is_err() {
            break;
        }
    }
    *shared.gate.lock() = None;
    let machine = shared.machine.lock();
    shared.rested.notify_all();
    drop(machine);
}

/// Waits until the machine has taken the interrupts that were sent.
fn taken(shared: &Shared, settled: &mut impl FnMut() -> bool) {
    let until = Instant::now() + TAKING;
    let mut sent = false;
    while !shared.stopped() && Instant::now() < until {
        let (taken, was) = shared.machine.lock().taken();
        sent |= was;
        // That the signal was read is not yet that the processor has the interrupt: whoever read it comes to the end of that first.
        if !sent || !settled() || taken {
            return;
        }
    }
}
