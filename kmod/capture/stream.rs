// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The card as `/dev/videoN`: what a stream is made of, and where its buffers are. `thunks.rs` is what calls this.

use super::{
    card::{Extent, Record, SlotTable},
    format::{self, Picture},
    landfall_pool::Mapped,
    memory,
    raw::{Outcome, VideoBuffer},
    regs,
    ring::SLOTS,
    session::{slot, Session, Setup, User},
};
use kernel::{
    dma::DataDirection,
    new_mutex,
    prelude::*,
    str::CString,
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
    interval: u32,
    pattern: u8,
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
    told: [Option<Extent>; SLOTS],
}

/// A buffer that the queue has given us.
struct Queued {
    buffer: VideoBuffer,
    frame: Extent,
}

impl Stream {
    /// What is in a slot, if the card has to be told.
    pub(crate) fn tell(&mut self, slot: u8) -> Option<SlotTable> {
        let at = usize::from(slot);
        let frame = self.queued.get(at)?.as_ref()?.frame;
        let told = self.told.get_mut(at)?.replace(frame);
        (told != Some(frame)).then(|| SlotTable {
            frame,
            clip: Extent::default(),
        })
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
        if let (true, User::Stream(stream)) = (begun, &state.user) {
            if let Ok(next) = self.line.registers.next_sequence() {
                stream.begun(next);
            }
        }
        while let User::Stream(_) = state.user {
            let next = self.next_completed(&state);
            let User::Stream(stream) = &mut state.user else {
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
            interval: format::SHORTEST,
            pattern: 0,
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
        self.wish.lock().picture = format::fit(&self.session.limits, *picture);
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

    /// Memory for a buffer.
    pub(crate) fn allocate(&self, index: u32, bytes: u64) -> Result<Mapped> {
        let session = &*self.session;
        let state = session.state.lock();
        state.bound()?;
        // SAFETY: the state is locked and the driver bound: `unbind` has not passed yet.
        let device = unsafe { session.bound_device() };
        let owner = CString::try_from_fmt(fmt!("{}/frame{}", device.name(), index))?;
        memory::lend(
            device,
            &owner,
            bytes,
            memory::Place::default(),
            &session.limits,
            DataDirection::FromDevice,
        )
    }

    /// The card is the stream's, as it is wished now.
    pub(crate) fn claim(&self) -> Result {
        let wish = *self.wish.lock();
        let session = &*self.session;
        let geometry = format::geometry(&session.limits, &wish.picture).map_err(|_| EINVAL)?;
        let setup = Setup {
            geometry,
            pattern: wish.pattern,
            interval_us: format::pace(wish.interval),
        };
        let stream = Stream {
            setup,
            size: wish.picture.size,
            first: 0,
            queued: [const { None }; SLOTS],
            told: [None; SLOTS],
        };
        session.claim(User::Stream(KBox::new(stream, GFP_KERNEL)?))
    }

    /// The stream has ended.
    pub(crate) fn let_go(&self) {
        let mut state = self.session.state.lock();
        if let User::Stream(_) = state.user {
            state.user = User::Nobody;
        }
    }

    /// Takes a buffer, for the card as soon as it runs.
    pub(crate) fn queue(&self, buffer: VideoBuffer, index: u32, frame: Extent) {
        let session = &*self.session;
        let mut state = session.state.lock();
        let place = match &mut state.user {
            User::Stream(stream) => stream.queued.get_mut(index as usize),
            _ => None,
        };
        let Some((place, slot)) = place.zip(slot(index).ok()) else {
            return buffer.done(&Outcome::Failed);
        };
        *place = Some(Queued { buffer, frame });
        if session.lend(&mut state, slot).is_err() {
            if let User::Stream(stream) = &mut state.user {
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
            if let User::Stream(stream) = &mut state.user {
                stream.first = next;
            }
            session.begin(&mut state)
        });
        if begun.is_err() {
            session.line.shared.lock().ring.clear();
            if let User::Stream(stream) = &mut state.user {
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
        if let User::Stream(stream) = &mut state.user {
            stream.give_back(&Outcome::Failed);
        }
    }
}
