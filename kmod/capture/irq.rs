// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The interrupt: finds out which slots are done, and has them delivered.
//!
//! A register read takes long, so only what decides is read here: the causes and the done bits. A slot's
//! record is read by the interrupt's thread.

use super::{card::Registers, ring::Ring, session::Session};
use kernel::{
    irq::{IrqReturn, ThreadedHandler, ThreadedIrqReturn},
    new_spinlock_irq,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, SpinLockIrq,
    },
};

/// What the interrupt shares with everyone else.
#[pin_data]
pub(crate) struct Line {
    pub(crate) registers: Registers,
    /// Innermost lock: nothing is locked while it is held.
    #[pin]
    pub(crate) shared: SpinLockIrq<Shared>,
    /// Interrupts that were ours.
    pub(crate) taken: Atomic<u64>,
}

/// What is changed by interrupts.
#[derive(Default)]
pub(crate) struct Shared {
    /// Which slots the card has.
    pub(crate) ring: Ring,
    /// A frame has begun, and the stream has not been told.
    pub(crate) begun: bool,
}

impl Line {
    pub(crate) fn new(registers: Registers) -> impl PinInit<Self> {
        pin_init!(Line {
            registers,
            shared <- new_spinlock_irq!(Shared::default()),
            taken: Atomic::new(0),
        })
    }
}

/// The handler of one card. A stream's buffers are given back by its thread: that takes register reads.
pub(crate) struct Interrupt(pub(crate) Arc<Session>);

impl ThreadedHandler for Interrupt {
    fn handle(&self) -> ThreadedIrqReturn {
        let line = &*self.0.line;
        // First the causes are cleared, then the done bits read: what completes in between raises anew.
        let Some(causes) = line
            .registers
            .acknowledge()
            .filter(|causes| causes.into_raw() != 0)
        else {
            return ThreadedIrqReturn::None;
        };
        line.taken.fetch_add(1, Relaxed);
        let mut shared = line.shared.lock();
        shared.begun |= causes.begun();
        if causes.done() {
            // The bits are read with the lock held: else a slot could be taken back and lent again
            // between the read and here, and an old bit be taken for a new completion.
            let done = line.registers.done();
            shared.ring.complete(done);
        }
        drop(shared);
        ThreadedIrqReturn::WakeThread
    }

    fn handle_threaded(&self) -> IrqReturn {
        self.0.deliver();
        IrqReturn::Handled
    }
}
