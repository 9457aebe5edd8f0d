// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The card as `/dev/videoN`: what a stream is made of, and where its buffers are. `thunks.rs` is what calls this.

use super::{
    card::{Extent, Record, SlotTable},
    format::{self, Picture},
    memory::{Memory, Place},
    raw::{Outcome, VideoBuffer},
    regs,
    ring::SLOTS,
    session::{slot, Lent, Session, Setup, State},
    uapi,
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{Arc, Mutex},
};

/// A card's video device, as long as a file of it is open.
#[pin_data]
pub(crate) struct Video {
    pub(crate) session: Arc<Session>,
    /// Nothing is locked while it is held.
    #[pin]
    wish: Mutex<Wish>,
}

/// What user space has set.
#[derive(Clone, Copy)]
struct Wish {
    picture: Picture,
    /// Microseconds from frame to frame; 0: as soon as there is a buffer.
    interval: u32,
    pattern: u8,
    /// Every buffer has a clip mask.
    clip: bool,
    /// Of buffer 0, when buffers are asked for next.
    place: Place,
}

/// A stream, from its claim on the card on.
pub(crate) struct Stream {
    pub(crate) setup: Setup,
    /// Bytes of a picture.
    size: u32,
    /// The number of the card's next frame when it was started: that is frame 0 of the stream.
    first: u32,
    /// By slot: what the queue has given us.
    queued: [Option<Queued>; SLOTS],
    /// By slot: what the card was told last.
    told: [Option<SlotTable>; SLOTS],
}

/// A buffer that the queue has given us.
struct Queued {
    buffer: VideoBuffer,
    table: SlotTable,
}

impl Stream {
    /// What is in a slot, if the card has to be told.
    pub(crate) fn tell(&mut self, slot: u8) -> Option<SlotTable> {
        let at = usize::from(slot);
        let table = self.queued.get(at)?.as_ref()?.table;
        let told = self.told.get_mut(at)?.replace(table);
        (told != Some(table)).then_some(table)
    }

    /// The card may have forgotten everything.
    pub(crate) fn forget(&mut self) {
        self.told = [None; SLOTS];
    }

    fn take(&mut self, slot: u8) -> Option<VideoBuffer> {
        let place = self.queued.get_mut(usize::from(slot))?;
        place.take().map(|queued| queued.buffer)
    }

    /// Gives the buffer of a slot back, of which the card says that it is done.
    fn deliver(&mut self, slot: u8, record: &Record) {
        let sequence = record.sequence.wrapping_sub(self.first);
        let bytes = match record.result {
            regs::RESULT_OK => self.size,
            _ => 0,
        };
        if let Some(buffer) = self.take(slot) {
            buffer.done(&Outcome::Frame { bytes, sequence });
        }
    }

    /// Gives every buffer back.
    fn give_back(&mut self, outcome: &Outcome) {
        for queued in self.queued.iter_mut().filter_map(Option::take) {
            queued.buffer.done(outcome);
        }
    }

    /// Tells that the frame before number `next` has begun.
    fn begun(&self, next: u32) {
        let sequence = next.wrapping_sub(self.first).wrapping_sub(1);
        if let Some(queued) = self.queued.iter().flatten().next() {
            queued.buffer.begun(sequence);
        }
    }

    /// The card does not answer: nobody is to wait for it.
    fn fail(&self) {
        if let Some(queued) = self.queued.iter().flatten().next() {
            queued.buffer.fail_queue();
        }
    }
}

impl Session {
    /// One more, or one less, wants to know when frames begin.
    pub(crate) fn watch(&self, more: bool) {
        let mut state = self.state.lock();
        let was = state.is_watched();
        state.watchers = if more {
            state.watchers.saturating_add(1)
        } else {
            state.watchers.saturating_sub(1)
        };
        let is = state.is_watched();
        if state.running && is != was {
            // Fails only if the driver is unbound.
            let _ = self.line.registers.enable(is);
        }
    }

    /// Gives the stream what is completed, and tells of what has begun.
    pub(crate) fn deliver(&self) {
        let mut state = self.state.lock();
        let begun = core::mem::take(&mut self.line.shared.lock().begun);
        if let (true, Some(stream)) = (begun, &state.stream) {
            if let Ok(next) = self.line.registers.next_sequence() {
                stream.begun(next);
            }
        }
        while state.stream.is_some() {
            let next = self.next_completed(&mut state);
            let Some(stream) = &mut state.stream else {
                return;
            };
            match next {
                Ok(Some((slot, record))) => stream.deliver(slot, &record),
                Ok(None) => return,
                Err(_) => return stream.fail(),
            }
        }
    }
}

impl Video {
    pub(crate) fn new(session: Arc<Session>) -> impl PinInit<Self> {
        let wish = Wish {
            picture: format::first(&session.limits),
            interval: 0,
            pattern: 0,
            clip: false,
            place: Place::default(),
        };
        pin_init!(Video {
            session,
            wish <- new_mutex!(wish),
        })
    }

    pub(crate) fn picture(&self) -> Picture {
        self.wish.lock().picture
    }

    pub(crate) fn set_picture(&self, picture: &Picture) {
        let mut wish = self.wish.lock();
        wish.picture = format::fit(&self.session.limits, *picture);
        wish.clip = false;
        wish.place = Place::default();
    }

    /// As `uapi::SETUP` says.
    pub(crate) fn set_up(&self, mut asked: uapi::Setup) -> Result<uapi::Setup> {
        let session = &*self.session;
        session.state.lock().bound()?;
        let picture = Picture {
            fourcc: asked.format,
            width: asked.width,
            height: asked.height,
            stride: asked.stride,
            size: 0,
        };
        let clip = asked.clip != 0;
        let geometry = format::geometry(&session.limits, &picture, clip).map_err(|why| {
            dev_warn!(session.pdev, "setup refused: {}\n", why.text());
            EINVAL
        })?;
        asked.stride = geometry.stride;
        asked.clip = u32::try_from(geometry.clip_size)?;
        asked.frame_size = geometry.frame_size;
        let mut wish = self.wish.lock();
        wish.picture = format::exactly(&picture, &geometry);
        wish.interval = asked.interval_us;
        wish.clip = clip;
        wish.place = Place {
            phys: asked.at,
            iova: asked.iova,
        };
        Ok(asked)
    }

    pub(crate) fn interval(&self) -> u32 {
        self.wish.lock().interval
    }

    pub(crate) fn set_interval(&self, interval: u32) {
        self.wish.lock().interval = interval;
    }

    /// For the next stream.
    pub(crate) fn set_pattern(&self, pattern: u8) {
        self.wish.lock().pattern = pattern;
    }

    /// Buffers will be asked for. If the first of them has its place, it is taken now: videobuf2 does not tell why it gets
    /// none later.
    pub(crate) fn prepare(&self) -> Result {
        let wish = *self.wish.lock();
        self.wish.lock().place = Place::default();
        let mut state = self.session.state.lock();
        state.placed = None;
        if wish.place != Place::default() {
            let bytes = wish.picture.size.into();
            state.placed = Some(self.memory(&state, &wish, 0, bytes, wish.place)?);
        }
        Ok(())
    }

    /// Memory for a buffer, which is the caller's until [`Video::free`].
    pub(crate) fn allocate(&self, index: u32, bytes: u64) -> Result<Arc<Memory>> {
        let wish = *self.wish.lock();
        let mut state = self.session.state.lock();
        let slot = usize::try_from(index)?;
        if slot >= SLOTS {
            return Err(EINVAL);
        }
        let placed = match index {
            0 => state.placed.take(),
            _ => None,
        };
        let memory = match placed {
            Some(placed) if placed.frame.length() == bytes => placed,
            _ => self.memory(&state, &wish, index, bytes, Place::default())?,
        };
        let memory = Arc::new(memory, GFP_KERNEL)?;
        if let Some(lent) = state.lent.get_mut(slot) {
            *lent = Some(Lent {
                memory: memory.clone(),
                queued: 0,
                last: None,
            });
        }
        Ok(memory)
    }

    fn memory(
        &self,
        state: &State,
        wish: &Wish,
        index: u32,
        bytes: u64,
        place: Place,
    ) -> Result<Memory> {
        state.bound()?;
        let limits = &self.session.limits;
        let geometry = format::geometry(limits, &wish.picture, wish.clip).map_err(|_| EINVAL)?;
        // SAFETY: the state is locked and the driver bound: `unbind` has not passed yet.
        let device = unsafe { self.session.bound_device() };
        Memory::lend(device, index, bytes, geometry.clip_size, place, limits)
    }

    /// The card does not have it, and nobody asks for it any more. What shows it holds it.
    pub(crate) fn free(&self, memory: Arc<Memory>) {
        let mut state = self.session.state.lock();
        let gone = match state.lent.get_mut(memory.index as usize) {
            Some(lent)
                if lent
                    .as_ref()
                    .is_some_and(|lent| Arc::ptr_eq(&lent.memory, &memory)) =>
            {
                lent.take()
            }
            _ => None,
        };
        drop((gone, memory));
    }

    /// The card is the stream's, as it is wished now.
    pub(crate) fn claim(&self) -> Result {
        let wish = *self.wish.lock();
        let session = &*self.session;
        let limits = &session.limits;
        let geometry = format::geometry(limits, &wish.picture, wish.clip).map_err(|_| EINVAL)?;
        let setup = Setup {
            geometry,
            pattern: wish.pattern,
            interval_us: wish.interval,
        };
        let stream = Stream {
            setup,
            size: wish.picture.size,
            first: 0,
            queued: [const { None }; SLOTS],
            told: [None; SLOTS],
        };
        let stream = KBox::new(stream, GFP_KERNEL)?;
        let mut state = session.state.lock();
        state.bound()?;
        state.stream = Some(stream);
        Ok(())
    }

    /// The stream has ended.
    pub(crate) fn let_go(&self) {
        self.session.state.lock().stream = None;
    }

    /// Takes a buffer, for the card as soon as it runs.
    pub(crate) fn queue(&self, buffer: VideoBuffer, index: u32, frame: Extent) {
        let session = &*self.session;
        let mut state = session.state.lock();
        let lent = state.lent(index).ok();
        let clip = lent.and_then(|lent| lent.memory.clip.as_ref());
        let table = SlotTable {
            frame,
            clip: clip.map_or_else(Extent::default, Extent::from),
        };
        let stream = state.stream.as_mut();
        let place = stream.and_then(|stream| stream.queued.get_mut(index as usize));
        let Some((place, slot)) = place.zip(slot(index).ok()) else {
            return buffer.done(&Outcome::Failed);
        };
        *place = Some(Queued { buffer, table });
        if session.lend(&mut state, slot).is_err() {
            if let Some(stream) = &mut state.stream {
                if let Some(buffer) = stream.take(slot) {
                    buffer.done(&Outcome::Failed);
                }
            }
        }
    }

    pub(crate) fn start(&self) -> Result {
        let session = &*self.session;
        let mut state = session.state.lock();
        let begun = session.line.registers.next_sequence().and_then(|next| {
            if let Some(stream) = &mut state.stream {
                stream.first = next;
            }
            session.begin(&mut state)
        });
        if begun.is_err() {
            session.line.shared.lock().ring.clear();
            if let Some(stream) = &mut state.stream {
                stream.give_back(&Outcome::NotStarted);
            }
        }
        begun
    }

    /// Stops the card and gives every buffer back.
    pub(crate) fn stop(&self) {
        let mut state = self.session.state.lock();
        // Said in the log already, and the card writes no more.
        let _ = self.session.halt(&mut state, false);
        if let Some(stream) = &mut state.stream {
            stream.give_back(&Outcome::Failed);
        }
    }
}
