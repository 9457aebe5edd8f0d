// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Who has the card, and what an open file does with it.

use super::{
    card::{Extent, SlotTable},
    geometry::{Geometry, Limits},
    irq::Line,
    landfall_pool::Mapped,
    memory, raw,
    ring::SLOTS,
    stream::Stream,
    uapi,
};
use kernel::{
    device,
    dma::DataDirection,
    new_mutex, pci,
    prelude::*,
    str::CString,
    sync::{aref::ARef, atomic::Atomic, Arc, Mutex},
};

/// One card that the driver has bound, or had. Open files and the binding hold it. It has one user at a time.
///
/// Lock order: `state`, then `line.shared`, then nothing. No user memory is touched with either held.
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
    pub(crate) user: User,
    /// `CONTROL.run` is set.
    pub(crate) running: bool,
    /// How many want to know when a frame begins.
    pub(crate) watchers: u32,
    /// That the card was reset behind our back has been said, for this run.
    pub(crate) reset_reported: bool,
    /// The card stayed busy, so its bus mastering was taken away; the next start gives it back.
    pub(crate) master_cleared: bool,
    /// The self-test's area, lent as long as the driver is bound.
    pub(crate) self_test: Option<SelfTest>,
}

/// Who has the card.
#[derive(Default)]
pub(crate) enum User {
    #[default]
    Nobody,
    /// A file of `/dev/landfall-captureN`, and what `CONFIGURE` set up; `None` before.
    File(Option<Capture>),
    /// `/dev/videoN`.
    Stream(KBox<Stream>),
}

/// What is captured.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) geometry: Geometry,
    pub(crate) pattern: u8,
    pub(crate) interval_us: u32,
}

/// A capture that was configured.
pub(crate) struct Capture {
    setup: Setup,
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
            frames: Atomic::new(0),
            failed_frames: Atomic::new(0),
            state <- new_mutex!(State {
                bound: true,
                self_test: Some(self_test),
                ..State::default()
            }),
        })
    }

    /// The one user comes. `EBUSY` if another is there.
    pub(crate) fn claim(&self, user: User) -> Result {
        let mut state = self.state.lock();
        state.bound()?;
        let User::Nobody = state.user else {
            return Err(EBUSY);
        };
        state.user = user;
        Ok(())
    }

    /// The one user goes: the card is stopped, and the buffers of a file are freed.
    pub(crate) fn let_go(&self) {
        let mut state = self.state.lock();
        let _ = self.halt(&mut state, false);
        state.user = User::Nobody;
    }

    /// The driver is unbound: files stay open, but there is no card any more.
    pub(crate) fn unbind(&self) {
        let mut state = self.state.lock();
        let _ = self.halt(&mut state, true);
        // If the card does not answer or does not become idle, this keeps it off the memory.
        raw::clear_master(&self.pdev);
        state.free();
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
        state.free();
        self.line.shared.lock().ring.clear();
        let buffers = self.buffers(&geometry, &wish)?;
        wish.stride = geometry.stride;
        wish.clip = u32::try_from(geometry.clip_size)?;
        wish.frame_size = geometry.frame_size;
        let setup = Setup {
            geometry,
            pattern,
            interval_us: wish.interval_us,
        };
        state.user = User::File(Some(Capture { setup, buffers }));
        self.program(state).inspect_err(|_| state.free())?;
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
    pub(crate) unsafe fn bound_device(&self) -> &device::Device<device::Bound> {
        let device: &device::Device = self.pdev.as_ref();
        // SAFETY: the type differs in a marker only, and the caller promises what the marker says.
        unsafe { &*core::ptr::from_ref(device).cast() }
    }

    pub(crate) fn queue(&self, index: u32) -> Result {
        let mut state = self.state.lock();
        state.bound()?;
        let buffer = state.buffer(index)?;
        let slot = slot(index)?;
        if self.line.shared.lock().ring.is_out(slot) {
            return Err(EBUSY);
        }
        buffer.queued = buffer.queued.wrapping_add(1);
        buffer.frame.to_card();
        if let Some(clip) = &buffer.clip {
            clip.to_card();
        }
        self.lend(&mut state, slot)
    }

    /// Hands a slot to the card. Before the start the card is not told: a reset in between would make it forget.
    pub(crate) fn lend(&self, state: &mut State, slot: u8) -> Result {
        if !self.line.shared.lock().ring.lend(slot) {
            return Err(EBUSY);
        }
        if !state.running {
            return Ok(());
        }
        if let User::Stream(stream) = &mut state.user {
            if let Some(table) = stream.tell(slot) {
                self.line.registers.program_slot(slot, &table)?;
            }
        }
        self.line.registers.queue(slot)
    }

    pub(crate) fn start(&self) -> Result {
        let mut state = self.state.lock();
        state.bound()?;
        self.begin(&mut state)
    }

    /// Programs the card, gives it what is queued and has it run.
    pub(crate) fn begin(&self, state: &mut State) -> Result {
        if state.running {
            return Err(EBUSY);
        }
        if state.master_cleared {
            raw::set_master(&self.pdev);
            state.master_cleared = false;
        }
        self.program(state)?;
        let mut shared = self.line.shared.lock();
        shared.streams = matches!(state.user, User::Stream(_));
        let ring = shared.ring;
        drop(shared);
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
        let setup = state.setup().ok_or(EINVAL)?;
        let registers = &self.line.registers;
        registers.program(&setup.geometry, setup.pattern, setup.interval_us)?;
        registers.enable(state.is_watched())?;
        if let User::Stream(stream) = &mut state.user {
            stream.forget();
        }
        for slot in (0u8..).take(SLOTS) {
            if let Some(table) = state.user.table(slot) {
                registers.program_slot(slot, &table)?;
            }
        }
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
        state.free();
        self.line.shared.lock().ring.clear();
        Ok(())
    }

    /// Stops the card if it runs, or `surely`, and takes every buffer back. Afterwards the card writes nothing more,
    /// whatever is returned.
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
        state.running = false;
        let mut shared = self.line.shared.lock();
        shared.ring.clear();
        shared.streams = false;
        shared.begun = false;
        drop(shared);
        for buffer in state.buffers() {
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

    /// Whether it is to be told when a frame begins.
    pub(crate) fn is_watched(&self) -> bool {
        self.watchers > 0 && matches!(self.user, User::Stream(_))
    }

    /// What is to be captured.
    fn setup(&self) -> Option<Setup> {
        match &self.user {
            User::File(capture) => capture.as_ref().map(|capture| capture.setup),
            User::Stream(stream) => Some(stream.setup),
            User::Nobody => None,
        }
    }

    /// A file's buffers.
    pub(crate) fn buffers(&self) -> impl Iterator<Item = &Buffer> {
        let capture = match &self.user {
            User::File(capture) => capture.as_ref(),
            _ => None,
        };
        capture
            .into_iter()
            .flat_map(|capture| capture.buffers.iter())
    }

    /// Frees them.
    fn free(&mut self) {
        if let User::File(capture) = &mut self.user {
            *capture = None;
        }
    }

    /// Buffer `index` of a file, by the user's word.
    pub(crate) fn buffer(&mut self, index: u32) -> Result<&mut Buffer> {
        let User::File(Some(capture)) = &mut self.user else {
            return Err(EINVAL);
        };
        let index = usize::try_from(index)?;
        capture.buffers.get_mut(index).ok_or(EINVAL)
    }
}

impl User {
    /// What the card is to be told of a slot.
    fn table(&mut self, slot: u8) -> Option<SlotTable> {
        match self {
            User::File(capture) => {
                let buffer = capture.as_ref()?.buffers.get(usize::from(slot))?;
                Some(SlotTable {
                    frame: (&buffer.frame).into(),
                    clip: buffer
                        .clip
                        .as_ref()
                        .map_or_else(Extent::default, Extent::from),
                })
            }
            User::Stream(stream) => stream.tell(slot),
            User::Nobody => None,
        }
    }
}

/// The slot of buffer `index`.
pub(crate) fn slot(index: u32) -> Result<u8> {
    Ok(u8::try_from(index)?)
}
