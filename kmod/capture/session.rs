// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What is mapped for the card, and its start and stop.

use super::{
    card::{Record, SlotTable},
    geometry::{Geometry, Limits},
    irq::Line,
    landfall_pool::Mapped,
    memory::Memory,
    raw, regs,
    ring::SLOTS,
    stream::Stream,
};
use kernel::{
    device, new_mutex, pci,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{Atomic, Relaxed},
        Arc, Mutex,
    },
};

/// One card that the driver has bound, or had. Its video device and the binding hold it.
///
/// Lock order: videobuf2's locks, then `state`, then `line.shared`, then nothing. No user memory is touched with the last
/// two held.
#[pin_data]
pub(crate) struct Session {
    pub(crate) pdev: ARef<pci::Device>,
    pub(crate) line: Arc<Line>,
    pub(crate) limits: Limits,
    /// As `uapi::Info::interrupt`.
    pub(crate) interrupt: u32,
    /// Frames that arrived whole.
    pub(crate) frames: Atomic<u64>,
    /// Those that did not.
    pub(crate) failed_frames: Atomic<u64>,
    #[pin]
    pub(crate) state: Mutex<State>,
}

/// What changes, in process context only.
#[derive(Default)]
pub(crate) struct State {
    /// The driver is bound: the card may be touched.
    pub(crate) bound: bool,
    /// The stream that has the card.
    pub(crate) stream: Option<KBox<Stream>>,
    /// By slot: memory of the pool that is mapped for the card.
    pub(crate) lent: [Option<Lent>; SLOTS],
    /// Memory at a place that was asked for, until it becomes buffer 0.
    pub(crate) placed: Option<Memory>,
    /// `CONTROL.run` is set.
    pub(crate) running: bool,
    /// How many want to know when a frame begins.
    pub(crate) watchers: u32,
    /// That the card was reset behind our back has been said, for this run.
    reset_reported: bool,
    /// The card stayed busy, so its bus mastering was taken away; the next start gives it back.
    master_cleared: bool,
    /// What was wrong with the last stop, until somebody asks.
    stop_failed: Option<Error>,
    /// The self-test's area, lent as long as the driver is bound.
    pub(crate) self_test: Option<SelfTest>,
}

/// Memory of the pool that is mapped for the card.
pub(crate) struct Lent {
    pub(crate) memory: Arc<Memory>,
    /// How often it was queued.
    pub(crate) queued: u32,
    /// What the card said when it was done with it last.
    pub(crate) last: Option<Done>,
}

/// A frame that the card was done with.
#[derive(Clone, Copy)]
pub(crate) struct Done {
    pub(crate) record: Record,
    /// The monotonic clock when it was taken back.
    pub(crate) guest_time_ns: u64,
}

/// What is captured.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) geometry: Geometry,
    pub(crate) pattern: u8,
    pub(crate) interval_us: u32,
}

/// The area of the self-test, and what was written there.
pub(crate) struct SelfTest {
    pub(crate) area: Mapped,
    pub(crate) nonce: u64,
}

impl Session {
    pub(crate) fn new(
        pdev: ARef<pci::Device>,
        line: Arc<Line>,
        limits: Limits,
        interrupt: u32,
        self_test: SelfTest,
    ) -> impl PinInit<Self> {
        pin_init!(Session {
            pdev,
            line,
            limits,
            interrupt,
            frames: Atomic::new(0),
            failed_frames: Atomic::new(0),
            state <- new_mutex!(State {
                bound: true,
                self_test: Some(self_test),
                ..State::default()
            }),
        })
    }

    /// The driver is unbound: files stay open, but there is no card any more.
    pub(crate) fn unbind(&self) {
        let mut state = self.state.lock();
        let _ = self.halt(&mut state, true);
        // If the card does not answer or does not become idle, this keeps it off the memory.
        raw::clear_master(&self.pdev);
        state.placed = None;
        state.self_test = None;
        state.bound = false;
    }

    /// # Safety
    ///
    /// The driver is bound, and stays so as long as the reference is used.
    pub(crate) unsafe fn bound_device(&self) -> &device::Device<device::Bound> {
        let device: &device::Device = self.pdev.as_ref();
        // SAFETY: the type differs in a marker only, and the caller promises what the marker says.
        unsafe { &*core::ptr::from_ref(device).cast() }
    }

    /// Hands a slot to the card. Before the start the card is not told: a reset in between would make it forget.
    pub(crate) fn lend(&self, state: &mut State, slot: u8) -> Result {
        if !self.line.shared.lock().ring.lend(slot) {
            return Err(EBUSY);
        }
        if let Some(lent) = state
            .lent
            .get_mut(usize::from(slot))
            .and_then(Option::as_mut)
        {
            lent.queued = lent.queued.wrapping_add(1);
        }
        if !state.running {
            return Ok(());
        }
        if let Some(table) = state.tell(slot) {
            self.line.registers.program_slot(slot, &table)?;
        }
        self.line.registers.queue(slot)
    }

    /// Programs the card, gives it what is queued and has it run.
    pub(crate) fn begin(&self, state: &mut State) -> Result {
        state.bound()?;
        if state.master_cleared {
            raw::set_master(&self.pdev);
            state.master_cleared = false;
        }
        state.stop_failed = None;
        self.program(state)?;
        let ring = self.line.shared.lock().ring;
        for slot in ring.lent() {
            self.line.registers.queue(slot)?;
        }
        self.line.registers.run()?;
        state.running = true;
        state.reset_reported = false;
        Ok(())
    }

    /// Programs the card completely.
    fn program(&self, state: &mut State) -> Result {
        let watched = state.is_watched();
        let stream = state.stream.as_mut().ok_or(EINVAL)?;
        stream.forget();
        let setup = stream.setup;
        let registers = &self.line.registers;
        registers.program(&setup.geometry, setup.pattern, setup.interval_us)?;
        registers.enable(watched)?;
        for slot in (0u8..).take(SLOTS) {
            if let Some(table) = state.tell(slot) {
                registers.program_slot(slot, &table)?;
            }
        }
        Ok(())
    }

    /// Stops the card if it runs, or `surely`. Afterwards the card writes nothing more, whatever is returned.
    pub(crate) fn halt(&self, state: &mut State, surely: bool) -> Result {
        if !state.bound {
            return Ok(());
        }
        let stopped = if state.running || surely {
            self.line.registers.stop()
        } else {
            Ok(())
        };
        if stopped == Err(EIO) {
            dev_err!(
                self.pdev,
                "the card does not answer or stays busy: its bus mastering is taken away\n"
            );
            raw::clear_master(&self.pdev);
            state.master_cleared = true;
        } else if stopped == Err(ETIMEDOUT) {
            dev_err!(self.pdev, "the card stayed busy after stop and was reset\n");
        }
        state.stop_failed = stopped.err();
        state.running = false;
        let mut shared = self.line.shared.lock();
        shared.ring.clear();
        shared.begun = false;
        stopped
    }

    /// Takes the oldest completion from the card. With the state locked, so that no stop comes between.
    pub(crate) fn next_completed(&self, state: &mut State) -> Result<Option<(u8, Record)>> {
        // The slot stays in the ring until the card has let go of it.
        let Some(slot) = self.line.shared.lock().ring.first_completed() else {
            return Ok(None);
        };
        let record = self.line.registers.take_back(slot)?;
        self.line.shared.lock().ring.take();
        let count = match record.result {
            regs::RESULT_OK => &self.frames,
            _ => &self.failed_frames,
        };
        count.fetch_add(1, Relaxed);
        if let Some(lent) = state
            .lent
            .get_mut(usize::from(slot))
            .and_then(Option::as_mut)
        {
            lent.last = Some(Done {
                record,
                guest_time_ns: raw::monotonic_ns(),
            });
        }
        Ok(Some((slot, record)))
    }

    /// As `uapi::CHECK` says.
    pub(crate) fn check(&self) -> Result {
        let mut state = self.state.lock();
        state.bound()?;
        if !state.running {
            return state.stop_failed.take().map_or(Ok(()), Err);
        }
        if !self.line.registers.is_armed()? && !state.reset_reported {
            dev_warn!(
                self.pdev,
                "the card was reset while it captured: stop it and start it again\n"
            );
            state.reset_reported = true;
        }
        Ok(())
    }
}

impl State {
    pub(crate) fn bound(&self) -> Result {
        if self.bound {
            Ok(())
        } else {
            Err(ENODEV)
        }
    }

    /// Whether a stream is to be told when a frame begins.
    pub(crate) fn is_watched(&self) -> bool {
        self.watchers > 0 && self.stream.is_some()
    }

    /// What is in a slot, if the card has to be told.
    fn tell(&mut self, slot: u8) -> Option<SlotTable> {
        self.stream.as_mut()?.tell(slot)
    }

    /// A buffer that lies in the pool, by the user's word.
    pub(crate) fn lent(&self, index: u32) -> Result<&Lent> {
        let index = usize::try_from(index)?;
        self.lent.get(index).and_then(Option::as_ref).ok_or(EINVAL)
    }
}

/// The slot of buffer `index`.
pub(crate) fn slot(index: u32) -> Result<u8> {
    Ok(u8::try_from(index)?)
}
