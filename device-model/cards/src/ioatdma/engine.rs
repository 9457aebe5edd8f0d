// SPDX-License-Identifier: MIT OR Apache-2.0

//! Channels, and what they share: interrupts, numbers of jobs, the fault.

use super::regs::*;
use super::{Fault, IoatOptions};
use crate::late::{Late, STRAY};
use landfall_device::contract::*;

/// Bytes of a descriptor.
const DESCRIPTOR: usize = 64;
/// Most bytes that are copied before the next channel has its turn: each is read and written.
pub const CHUNK: u32 = (STEP_BYTES / 2) as u32;

/// Bits of a descriptor's control word.
const INTERRUPT: u32 = 1 << 0;
const COMPLETE: u32 = 1 << 3;
const NULL: u32 = 1 << 5;

/// How a channel is, as `CHANSTS` has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    Works = 0,
    #[default]
    Done = 1,
    Suspended = 2,
    Halted = 3,
}

/// What all channels share.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) options: IoatOptions,
    enabled: bool,
    messages: bool,
    /// Channels that sent an interrupt since `ATTNSTATUS` was read.
    pub(super) attention: u32,
    /// Number of the next job; no reset begins it anew, nor the rest.
    pub(super) jobs: u64,
    /// Copies that are over.
    copies: u64,
    pub(super) late: Late,
}

impl Engine {
    pub(super) const fn new(options: IoatOptions) -> Self {
        Self {
            options,
            enabled: false,
            messages: false,
            attention: 0,
            jobs: 0,
            copies: 0,
            late: Late::Never,
        }
    }

    /// Takes what no reset begins anew.
    pub(super) fn keep(&mut self, old: &Self, kind: Reset) {
        (self.jobs, self.copies) = (old.jobs, old.copies);
        self.late = old.late.after(kind);
    }

    pub(super) fn control(&self) -> INTRCTRL {
        let attention = self.attention != 0;
        let asserted = attention && self.enabled && !self.messages;
        INTRCTRL::compose(self.messages, asserted, attention, self.enabled)
    }

    /// The driver writes `INTRCTRL`: what waited for that is sent.
    pub(super) fn enable(&mut self, to: INTRCTRL, channels: &mut [Channel], host: &mut dyn Host) {
        let sent = self.sends();
        (self.enabled, self.messages) = (to.enabled(), to.messages());
        if self.sends() != sent {
            let (vector, masked) = (None, sent);
            host.declare(Declaration::Masked { vector, masked });
        }
        for channel in channels {
            channel.send_what_waits(self, host);
        }
    }

    /// Whether interrupts are sent. Messages of the channels' own hang on the line's switch no more.
    const fn sends(&self) -> bool {
        self.enabled || self.messages
    }

    /// Whether a fault strikes this copy.
    fn strikes(&self, fault: Fault) -> bool {
        self.options.fault == Some(fault) && self.copies == self.options.fault_copy
    }
}

/// A descriptor in work.
#[derive(Clone, Copy, Debug)]
struct Work {
    job: JobId,
    /// Where the descriptor is.
    at: u64,
    size: u32,
    control: u32,
    source: u64,
    destination: u64,
    next: u64,
    /// Bytes that were copied.
    copied: u32,
}

impl Work {
    fn parse(bytes: &[u8; DESCRIPTOR], at: u64) -> Self {
        let word = |at: usize| {
            let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
            u32::from_le_bytes(word.copied().unwrap_or_default())
        };
        let address = |at| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        Self {
            job: JobId(0),
            at,
            size: word(0),
            control: word(4),
            source: address(8),
            destination: address(16),
            next: address(24),
            copied: 0,
        }
    }

    const fn copies(&self) -> bool {
        self.control & NULL == 0
    }

    /// What is wrong with it.
    fn wrong(&self, longest: u8) -> Option<(u32, &'static str)> {
        if self.size == 0 || self.size > 1 << longest {
            Some((SIZE, "no such size"))
        } else if self.copies() && self.control >> 24 != 0 {
            Some((CONTROL, "no such operation"))
        } else {
            None
        }
    }

    fn pieces(&self) -> Vec<Piece> {
        let size = self.size.into();
        match self.copies() {
            true => vec![
                Piece::read(self.source, size),
                Piece::write(self.destination, size),
            ],
            false => Vec::new(),
        }
    }
}

/// Bits of `CHANERR`.
const NEXT: u32 = 1 << 2;
pub(super) const READ: u32 = 1 << 8;
pub(super) const WRITE: u32 = 1 << 9;
pub(super) const CONTROL: u32 = 1 << 10;
pub(super) const SIZE: u32 = 1 << 11;
const COMPLETION: u32 = 1 << 12;

/// A channel.
#[derive(Debug, Default)]
pub(super) struct Channel {
    number: u16,
    control: u16,
    state: State,
    given: u16,
    over: u16,
    chain: u64,
    /// The descriptor that is taken next.
    next: u64,
    /// The last that is over.
    last: u64,
    completion: u64,
    errors: u32,
    error_mask: u32,
    cache: u32,
    /// An interrupt was sent, and not re-armed.
    sent: bool,
    /// One waits.
    waits: bool,
    work: Option<Work>,
    /// The register write that gave it its last descriptors.
    doorbell: Option<u64>,
    /// Where the last copy went.
    copied: Option<(u64, Tag)>,
}

impl Channel {
    pub(super) fn new(number: u16) -> Self {
        Self {
            number,
            ..Self::default()
        }
    }

    fn queue(&self) -> QueueId {
        QueueId(self.number)
    }

    fn vector(&self, host: &dyn Host) -> Vector {
        Vector(match self.number < host.vectors() {
            true => self.number,
            false => 0,
        })
    }

    /// `CHANSTS`.
    const fn status(&self) -> u64 {
        self.last & !0x3f | self.state as u64
    }

    pub(super) fn works(&self) -> bool {
        self.state == State::Works
    }

    pub(super) fn read(&self, offset: usize) -> u32 {
        match offset {
            CHANCTRL::OFFSET => u32::from(self.control & !1) | u32::from(self.sent),
            COMPATIBILITY::OFFSET => 2,
            DMACOUNT::OFFSET => self.given.into(),
            CHANSTS_LOW::OFFSET => self.status() as u32,
            CHANSTS_HIGH::OFFSET => (self.status() >> 32) as u32,
            CHAINADDR_LOW::OFFSET => self.chain as u32,
            CHAINADDR_HIGH::OFFSET => (self.chain >> 32) as u32,
            CHANCMP_LOW::OFFSET => self.completion as u32,
            CHANCMP_HIGH::OFFSET => (self.completion >> 32) as u32,
            CHANERR::OFFSET => self.errors,
            CHANERR_MASK::OFFSET => self.error_mask,
            DCACTRL::OFFSET => self.cache,
            _ => 0,
        }
    }

    pub(super) fn write(
        &mut self,
        offset: usize,
        value: u32,
        engine: &mut Engine,
        host: &mut dyn Host,
    ) {
        match offset {
            CHANCTRL::OFFSET => {
                self.control = value as u16;
                if CHANCTRL::from_raw(self.control).rearm() {
                    self.sent = false;
                    self.send_what_waits(engine, host);
                }
            }
            CHANCMD::OFFSET => self.command(CHANCMD::from_raw(value as u8), engine, host),
            DMACOUNT::OFFSET => {
                self.given = value as u16;
                if self.given != self.over && self.errors == 0 {
                    self.doorbell = host.register_write();
                    self.state = State::Works;
                }
            }
            CHAINADDR_LOW::OFFSET => self.begin(low(self.chain, value), host),
            CHAINADDR_HIGH::OFFSET => self.begin(high(self.chain, value), host),
            CHANCMP_LOW::OFFSET => self.completion = low(self.completion, value),
            CHANCMP_HIGH::OFFSET => self.completion = high(self.completion, value),
            CHANERR::OFFSET => self.errors &= !value,
            CHANERR_MASK::OFFSET => self.error_mask = value,
            DCACTRL::OFFSET => self.cache = value,
            _ => {}
        }
    }

    /// A chain begins.
    fn begin(&mut self, chain: u64, host: &mut dyn Host) {
        if self.works() {
            let why = "the chain was moved while the channel works".into();
            host.declare(Declaration::NotNow { why });
            self.state = State::Done;
        }
        self.drop_work("its chain was moved", host);
        (self.chain, self.next, self.last) = (chain, chain, 0);
        (self.given, self.over) = (0, 0);
    }

    fn drop_work(&mut self, why: &'static str, host: &mut dyn Host) {
        if let Some(work) = self.work.take() {
            host.declare(Declaration::failed(work.job, why, None));
        }
    }

    fn command(&mut self, command: CHANCMD, engine: &mut Engine, host: &mut dyn Host) {
        let (reset, suspend) = (command.reset(), command.suspend());
        let runs = matches!(self.state, State::Works | State::Done);
        if !(reset || suspend && runs) {
            return;
        }
        let queue = Some(self.queue());
        host.declare(Declaration::Stopping { queue });
        self.drop_work("stopped", host);
        if let Some((address, tag)) = self.copied
            && engine.options.fault == Some(Fault::AfterStop)
            && engine.copies > engine.options.fault_copy
        {
            engine.late.arm(address, tag, host);
        }
        match reset {
            true => {
                let copied = self.copied;
                *self = Self {
                    state: State::Halted,
                    copied,
                    ..Self::new(self.number)
                };
            }
            false => self.state = State::Suspended,
        }
        host.declare(Declaration::Idle { queue });
    }

    /// The channel has a cause for an interrupt. What is owed; it is to be sent if it is owed at once.
    fn interrupt(&mut self, engine: &mut Engine, host: &dyn Host) -> Owed {
        let vector = self.vector(host);
        match engine.sends() && !self.sent {
            true => Owed::now(vector),
            false => {
                self.waits = true;
                Owed::perhaps(vector)
            }
        }
    }

    fn send(&mut self, owed: Owed, engine: &mut Engine, host: &mut dyn Host) {
        if owed.promise == Promise::Now {
            (self.sent, self.waits) = (true, false);
            engine.attention |= 1 << self.number;
            host.raise(owed.vector);
        }
    }

    fn send_what_waits(&mut self, engine: &mut Engine, host: &mut dyn Host) {
        if self.waits && engine.sends() && !self.sent {
            let vector = self.vector(host);
            host.declare(Declaration::cause(vector, "an interrupt that waited"));
            self.send(Owed::now(vector), engine, host);
        }
    }

    /// Takes a descriptor, or copies a chunk of the one in work.
    pub(super) fn step(&mut self, engine: &mut Engine, host: &mut dyn Host) {
        let Some(mut work) = self.work.take() else {
            return self.fetch(engine, host);
        };
        match work.copy(engine, host) {
            Err((error, why)) => self.halt(Some(work.job), error, why, engine, host),
            Ok(()) if work.copied < work.size => self.work = Some(work),
            Ok(()) => self.complete(&work, engine, host),
        }
    }

    fn fetch(&mut self, engine: &mut Engine, host: &mut dyn Host) {
        let mut bytes = [0; DESCRIPTOR];
        let tag = Tag::default().role(Role::Descriptor);
        if host.dma_read(self.next, &mut bytes, tag).is_err() {
            return self.halt(None, NEXT, "a descriptor could not be read", engine, host);
        }
        let mut work = Work::parse(&bytes, self.next);
        if let Some((error, why)) = work.wrong(engine.options.longest) {
            return self.halt(None, error, why, engine, host);
        }
        work.job = JobId(engine.jobs);
        engine.jobs += 1;
        let begun = Declaration::Begun {
            job: work.job,
            queue: self.queue(),
            label: Label::default(),
            pieces: work.pieces(),
        };
        host.declare_for(self.doorbell, begun);
        match work.copies() {
            true => self.work = Some(work),
            false => self.complete(&work, engine, host),
        }
    }

    /// The last byte is in memory.
    fn complete(&mut self, work: &Work, engine: &mut Engine, host: &mut dyn Host) {
        let tag = Tag::job(work.job);
        let (mut moved, mut lost) = (0, false);
        if work.copies() {
            moved = work.size.into();
            if engine.strikes(Fault::Overrun) {
                // A byte that may not be written is not written; nothing hangs on it.
                let end = work.destination.wrapping_add(moved);
                let _ = host.dma_write(end, &STRAY[..1], tag);
            }
            lost = engine.strikes(Fault::LostInterrupt);
            engine.copies += 1;
            self.copied = Some((work.destination, tag));
        }
        (self.last, self.next) = (work.at, work.next);
        self.over = self.over.wrapping_add(1);
        if self.over == self.given {
            self.state = State::Done;
        }
        if work.control & COMPLETE != 0 && self.tell(tag, host).is_err() {
            let why = "the completion word was refused";
            return self.halt(Some(work.job), COMPLETION, why, engine, host);
        }
        let owed = (work.control & INTERRUPT != 0).then(|| self.interrupt(engine, host));
        host.declare(Declaration::done(work.job, moved, owed));
        if let Some(owed) = owed.filter(|_| !lost) {
            self.send(owed, engine, host);
        }
    }

    /// Writes the completion word.
    fn tell(&self, tag: Tag, host: &mut dyn Host) -> Result<(), DmaError> {
        let word = self.status().to_le_bytes();
        host.dma_write(self.completion, &word, tag.role(Role::Status))
    }

    fn halt(
        &mut self,
        job: Option<JobId>,
        error: u32,
        why: &'static str,
        engine: &mut Engine,
        host: &mut dyn Host,
    ) {
        self.state = State::Halted;
        self.errors |= error;
        let control = CHANCTRL::from_raw(self.control);
        if control.error_completes() && error != COMPLETION {
            // Where that is refused, too, `CHANERR` tells all the same.
            let _ = self.tell(job.map_or(Tag::default(), Tag::job), host);
        }
        let owed = control
            .error_interrupt()
            .then(|| self.interrupt(engine, host));
        match (job, owed) {
            (Some(job), owed) => host.declare(Declaration::failed(job, why, owed)),
            (None, Some(owed)) => host.declare(Declaration::Cause {
                owed,
                why: why.into(),
            }),
            (None, None) => {}
        }
        if let Some(owed) = owed {
            self.send(owed, engine, host);
        }
    }
}

impl Work {
    /// Copies a chunk.
    fn copy(&mut self, engine: &Engine, host: &mut dyn Host) -> Result<(), (u32, &'static str)> {
        let length = CHUNK.min(self.size - self.copied);
        let mut bytes = vec![0; length as usize];
        let tag = Tag::job(self.job);
        let from = self.source.wrapping_add(self.copied.into());
        host.dma_read(from, &mut bytes, tag)
            .map_err(|_| (READ, "the source was refused"))?;
        let middle = (self.size / 2).checked_sub(self.copied);
        if let Some(byte) = middle.and_then(|at| bytes.get_mut(at as usize))
            && engine.strikes(Fault::Corrupt)
        {
            *byte ^= 1;
        }
        let to = self.destination.wrapping_add(self.copied.into());
        host.dma_write(to, &bytes, tag)
            .map_err(|_| (WRITE, "the destination was refused"))?;
        self.copied += length;
        Ok(())
    }
}

const fn low(held: u64, value: u32) -> u64 {
    held >> 32 << 32 | value as u64
}

const fn high(held: u64, value: u32) -> u64 {
    held & 0xffff_ffff | (value as u64) << 32
}
