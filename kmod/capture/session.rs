// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! What an open file does with the card.

use super::{
    card::SlotTable,
    geometry::{Geometry, Limits},
    irq::Line,
    landfall_pool::Mapped,
    memory, raw, uapi,
};
use kernel::{
    device,
    dma::DataDirection,
    new_mutex, pci,
    prelude::*,
    str::CString,
    sync::{aref::ARef, Arc, Mutex},
};

/// One card that the driver has bound, or had. Open files and the binding hold it.
///
/// Lock order: `state`, then `line.shared`, then nothing. No user memory is touched with either held.
#[pin_data]
pub(crate) struct Session {
    pub(crate) pdev: ARef<pci::Device>,
    pub(crate) line: Arc<Line>,
    pub(crate) limits: Limits,
    /// As `uapi::Info::interrupt`.
    pub(crate) interrupt: u32,
    #[pin]
    pub(crate) state: Mutex<State>,
}

/// What changes, in process context only.
#[derive(Default)]
pub(crate) struct State {
    /// The driver is bound: the card may be touched.
    pub(crate) bound: bool,
    /// A file is open.
    pub(crate) open: bool,
    /// `CONTROL.run` is set.
    pub(crate) running: bool,
    /// That the card was reset behind our back has been said, for this run.
    pub(crate) reset_reported: bool,
    /// The card stayed busy, so its bus mastering was taken away; the next start gives it back.
    pub(crate) master_cleared: bool,
    /// What `CONFIGURE` set up; `None` before.
    pub(crate) capture: Option<Capture>,
    /// The self-test's area, lent as long as the driver is bound.
    pub(crate) self_test: Option<SelfTest>,
}

/// A capture that was configured.
pub(crate) struct Capture {
    pub(crate) geometry: Geometry,
    pub(crate) pattern: u8,
    pub(crate) interval_us: u32,
    pub(crate) buffers: KVec<Buffer>,
}

/// Buffer n, which uses slot n.
pub(crate) struct Buffer {
    pub(crate) frame: Mapped,
    pub(crate) clip: Option<Mapped>,
    /// How often it was queued.
    pub(crate) queued: u32,
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
            state <- new_mutex!(State {
                bound: true,
                self_test: Some(self_test),
                ..State::default()
            }),
        })
    }

    /// The one user comes.
    pub(crate) fn open(&self) -> Result {
        let mut state = self.state.lock();
        state.bound()?;
        if state.open {
            return Err(EBUSY);
        }
        state.open = true;
        Ok(())
    }

    /// The one user goes: the card is stopped, and its buffers are freed.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        let _ = self.halt(&mut state, false);
        state.capture = None;
        state.open = false;
    }

    /// The driver is unbound: files stay open, but there is no card any more.
    pub(crate) fn unbind(&self) {
        let mut state = self.state.lock();
        let _ = self.halt(&mut state, true);
        // If the card does not answer or does not become idle, this keeps it off the memory.
        raw::clear_master(&self.pdev);
        state.capture = None;
        state.self_test = None;
        state.bound = false;
        self.line.shared.lock().gone = true;
        self.line.changed.notify_all();
    }

    pub(crate) fn configure(&self, mut wish: uapi::Configure) -> Result<uapi::Configure> {
        let mut state = self.state.lock();
        let state = &mut *state;
        state.bound()?;
        if state.running {
            return Err(EBUSY);
        }
        let geometry = Geometry::new(
            &self.limits,
            (wish.width, wish.height),
            wish.stride,
            wish.pixel,
            wish.clip != 0,
            wish.buffers,
        )
        .map_err(|why| {
            dev_warn!(self.pdev, "configure refused: {}\n", why.text());
            EINVAL
        })?;
        let pattern = u8::try_from(wish.pattern)?;
        state.capture = None;
        self.line.shared.lock().ring.clear();
        let buffers = self.buffers(&geometry, &wish)?;
        wish.stride = geometry.stride;
        wish.clip = u32::try_from(geometry.clip_size)?;
        wish.frame_size = geometry.frame_size;
        let capture = Capture {
            geometry,
            pattern,
            interval_us: wish.interval_us,
            buffers,
        };
        capture.program(&self.line)?;
        state.capture = Some(capture);
        Ok(wish)
    }

    /// As many buffers as wished, the first of them where it is wished.
    fn buffers(&self, geometry: &Geometry, wish: &uapi::Configure) -> Result<KVec<Buffer>> {
        // SAFETY: called with the state locked and `bound` set: `unbind` has not passed yet.
        let device = unsafe { self.bound_device() };
        let name = device.name();
        let mut buffers = KVec::new();
        for index in 0..wish.buffers {
            let owner = CString::try_from_fmt(fmt!("{}/frame{}", name, index))?;
            let place = match index {
                0 => memory::Place {
                    phys: wish.at,
                    iova: wish.iova,
                },
                _ => memory::Place::default(),
            };
            let frame = memory::lend(
                device,
                &owner,
                geometry.frame_size,
                place,
                &self.limits,
                DataDirection::FromDevice,
            )?;
            let clip = if geometry.clip_size == 0 {
                None
            } else {
                let owner = CString::try_from_fmt(fmt!("{}/clip{}", name, index))?;
                let clip = memory::lend(
                    device,
                    &owner,
                    geometry.clip_size,
                    memory::Place::default(),
                    &self.limits,
                    DataDirection::ToDevice,
                )?;
                clip.buffer().fill(geometry.clip_size, 0xff)?;
                Some(clip)
            };
            buffers.push(
                Buffer {
                    frame,
                    clip,
                    queued: 0,
                },
                GFP_KERNEL,
            )?;
        }
        Ok(buffers)
    }

    /// # Safety
    ///
    /// The driver is bound, and stays so as long as the reference is used.
    unsafe fn bound_device(&self) -> &device::Device<device::Bound> {
        let device: &device::Device = self.pdev.as_ref();
        // SAFETY: the type differs in a marker only, and the caller promises what the marker says.
        unsafe { &*core::ptr::from_ref(device).cast() }
    }

    pub(crate) fn queue(&self, index: u32) -> Result {
        let mut state = self.state.lock();
        state.bound()?;
        let running = state.running;
        let buffer = state.buffer(index)?;
        let slot = slot(index)?;
        if !self.line.shared.lock().ring.lend(slot) {
            return Err(EBUSY);
        }
        buffer.queued = buffer.queued.wrapping_add(1);
        buffer.frame.to_card();
        if let Some(clip) = &buffer.clip {
            clip.to_card();
        }
        // Before the start the card is not told: a reset in between would make it forget.
        if running {
            self.line.registers.queue(slot)?;
        }
        Ok(())
    }

    pub(crate) fn start(&self) -> Result {
        let mut state = self.state.lock();
        state.bound()?;
        if state.running {
            return Err(EBUSY);
        }
        if state.master_cleared {
            raw::set_master(&self.pdev);
            state.master_cleared = false;
        }
        let capture = state.capture.as_ref().ok_or(EINVAL)?;
        capture.program(&self.line)?;
        let ring = self.line.shared.lock().ring;
        for slot in ring.lent() {
            self.line.registers.queue(slot)?;
        }
        self.line.registers.run()?;
        state.running = true;
        state.reset_reported = false;
        Ok(())
    }

    pub(crate) fn stop(&self) -> Result {
        let mut state = self.state.lock();
        state.bound()?;
        self.halt(&mut state, false)
    }

    pub(crate) fn release(&self) -> Result {
        let mut state = self.state.lock();
        state.bound()?;
        if state.running {
            return Err(EBUSY);
        }
        state.capture = None;
        self.line.shared.lock().ring.clear();
        Ok(())
    }

    /// Stops the card if it runs, or `surely`, and takes every buffer back. Afterwards the card writes nothing more,
    /// whatever is returned.
    fn halt(&self, state: &mut State, surely: bool) -> Result {
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
        state.running = false;
        self.line.shared.lock().ring.clear();
        for buffer in state
            .capture
            .iter()
            .flat_map(|capture| capture.buffers.iter())
        {
            buffer.frame.to_cpu();
        }
        stopped
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

    /// Buffer `index`, by the user's word.
    pub(crate) fn buffer(&mut self, index: u32) -> Result<&mut Buffer> {
        let buffers = &mut self.capture.as_mut().ok_or(EINVAL)?.buffers;
        buffers.get_mut(usize::try_from(index)?).ok_or(EINVAL)
    }
}

impl Capture {
    /// Programs the card completely.
    fn program(&self, line: &Line) -> Result {
        line.registers
            .program(&self.geometry, self.pattern, self.interval_us)?;
        for (slot, buffer) in (0u8..).zip(self.buffers.iter()) {
            let table = SlotTable {
                frame: &buffer.frame,
                clip: buffer.clip.as_ref(),
            };
            line.registers.program_slot(slot, &table)?;
        }
        Ok(())
    }
}

/// The slot of buffer `index`.
pub(crate) fn slot(index: u32) -> Result<u8> {
    Ok(u8::try_from(index)?)
}
