// SPDX-License-Identifier: MIT OR Apache-2.0

//! An XTRX, a software-defined radio, as far as its driver (`xtrx`, in Debian's `xtrx-dkms`) uses it, which is not in the
//! kernel and which nobody here wrote. This page is its data sheet; it was written from what that driver does, and from the
//! names in its header. What programs do with the registers that it lets them map is our own reading of those names.
//!
//! `10ee:7012`, class `0x0d8000`, BAR 0 of 4 KiB with big-endian registers, BAR 1 of 64 KiB with nothing in it; MSI with four
//! vectors: 0 a pulse each second (this card has no antenna: never), 1 a buffer was sent, 2 a buffer was filled, 3 the rest.
//! Where a driver has fewer, all come by vector 0, and `INTERRUPTS` tells which it was. It drives 32 bits of address.
//!
//! While `DMA.rx_format` is not 0, a buffer is filled each [`XtrxOptions::period`], from buffer 0 on and around, as long as
//! one is the card's: 32 are when it starts, and each write to `RX_CONFIRM` gives one back. Word n of the buffer that is the
//! k-th since the start is k << 16 | n, little-endian. It runs until it is stopped: neither closing the device nor
//! switching interrupts off does that, and where it may not master the bus it waits until it may again,
//! and then goes on in that very moment.
//!
//! A write to `TX_TIME` sends the next buffer, from 0 on and around.
//!
//! A buffer is a job.

#[expect(
    non_camel_case_types,
    reason = "the table is whole, and its names are the data sheet's"
)]
mod regs;
#[cfg(test)]
mod tests;

use std::time::Duration;

use landfall_device::contract::*;
use landfall_device::parts::Timer;
use regs::*;

/// Buffers of each direction.
const BUFFERS: u32 = 32;
/// Bytes in one step.
const PIECE: u32 = 32 << 10;
/// Longest buffer, bytes: what the driver takes.
const LONGEST: u32 = 4 << 20;
/// The receivers' answer: nothing came, nothing is to be sent.
const NOTHING: u32 = 1 << 15 | 1 << 21;

const TX: Vector = Vector(1);
const RX: Vector = Vector(2);
const RX_QUEUE: QueueId = QueueId(0);
const TX_QUEUE: QueueId = QueueId(1);

/// How the card is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XtrxOptions {
    /// From one received buffer to the next.
    pub period: Duration,
}

impl Default for XtrxOptions {
    fn default() -> Self {
        Self {
            period: Duration::from_millis(1),
        }
    }
}

/// The card.
#[derive(Clone, Debug, Default)]
pub struct Xtrx {
    options: XtrxOptions,
    /// Registers that keep what is written.
    power: u32,
    sim: u32,
    rx_buffers: [u32; BUFFERS as usize],
    tx_buffers: [u32; BUFFERS as usize],
    rx_length: u32,
    enabled: u16,
    pending: u16,
    rx: Receiver,
    tx: Sender,
    /// Number of the next job; no reset begins it anew.
    jobs: u64,
}

#[derive(Clone, Debug, Default)]
struct Receiver {
    timer: Timer,
    filled: u32,
    /// Buffers that are the card's.
    free: u32,
    now: Option<Filling>,
}

/// A buffer in work.
#[derive(Clone, Copy, Debug)]
struct Filling {
    job: JobId,
    address: u64,
    length: u32,
    at: u32,
}

#[derive(Clone, Debug, Default)]
struct Sender {
    length: u32,
    runs: bool,
    /// Buffers that are to be sent.
    waiting: u32,
    sent: u32,
    check: u32,
}

/// A buffer's first address and length, from its register.
fn buffer(word: u32) -> (u64, u32) {
    ((word & !0xfff).into(), ((word & 0xfff) + 1) * 16)
}

/// As much of a length as there are addresses from one on, which have 32 bits.
fn reachable(address: u64, length: u32) -> u32 {
    let left = (1 << 32_u64) - address;
    u32::try_from(left).map_or(length, |left| left.min(length))
}

impl Xtrx {
    /// Makes a card, as after power-on.
    pub fn new(options: XtrxOptions) -> Self {
        Self {
            options,
            ..Self::default()
        }
    }

    fn cause(&mut self, vector: Vector, host: &dyn Host) -> Option<Owed> {
        self.pending |= 1 << vector.0;
        let enabled = self.enabled & 1 << vector.0 != 0;
        enabled.then(|| Owed::now(self.given(vector, host)))
    }

    /// The vector that a cause comes by.
    fn given(&self, vector: Vector, host: &dyn Host) -> Vector {
        match vector.0 < host.vectors() {
            true => vector,
            false => Vector(0),
        }
    }

    fn next_job(&mut self) -> JobId {
        self.jobs += 1;
        JobId(self.jobs - 1)
    }

    fn receive(&mut self, host: &mut dyn Host) -> Result<Next, DmaError> {
        let Some(mut filling) = self.rx.now else {
            return Ok(self.begin(host));
        };
        let word = |n: u32| (self.rx.filled << 16 | n & 0xffff).to_le_bytes();
        let end = filling.length.min(filling.at + PIECE);
        let bytes: Vec<u8> = (filling.at / 4..end / 4).flat_map(word).collect();
        let address = filling.address + u64::from(filling.at);
        host.dma_write(address, &bytes, Tag::job(filling.job))?;
        filling.at = end;
        self.rx.now = Some(filling);
        if end == filling.length {
            self.rx.now = None;
            self.rx.filled = self.rx.filled.wrapping_add(1);
            self.done(RX, filling.job, filling.length, host);
        }
        Ok(Next::Again)
    }

    /// Begins a buffer, or writes a piece of the one in work.
    fn go_on(&mut self, host: &mut dyn Host) -> Next {
        match self.receive(host) {
            Ok(next) => next,
            Err(_) => {
                // A buffer that cannot be written is lost, and the next one has its turn.
                if let Some(filling) = self.rx.now.take() {
                    self.rx.filled = self.rx.filled.wrapping_add(1);
                    host.declare(Declaration::failed(filling.job, "the bus refused it", None));
                }
                self.rx.timer.next()
            }
        }
    }

    /// Begins a buffer if it is time, and one is the card's.
    fn begin(&mut self, host: &mut dyn Host) -> Next {
        if host.may_master().is_err() || self.rx.free == 0 || self.rx.timer.due(host.now()) == 0 {
            return self.rx.timer.next();
        }
        let index = self.rx.filled % BUFFERS;
        let word = self.rx_buffers.get(index as usize).copied().unwrap_or(0);
        let (address, mut length) = buffer(word);
        let all = RX_LENGTH::from_raw(self.rx_length);
        if all.valid() {
            length = all
                .units()
                .saturating_add(1)
                .saturating_mul(16)
                .min(LONGEST);
        }
        length = reachable(address, length);
        self.rx.free -= 1;
        let job = self.next_job();
        host.declare(Declaration::Begun {
            job,
            queue: RX_QUEUE,
            label: Label::slot(index),
            pieces: vec![Piece::write(address, length.into())],
        });
        self.rx.now = Some(Filling {
            job,
            address,
            length,
            at: 0,
        });
        Next::Again
    }

    fn send(&mut self, host: &mut dyn Host) -> Result<(), DmaError> {
        let index = self.tx.sent % BUFFERS;
        let word = self.tx_buffers.get(index as usize).copied().unwrap_or(0);
        let (address, _) = buffer(word);
        let length = reachable(address, self.tx.length);
        let job = self.next_job();
        host.declare(Declaration::Begun {
            job,
            queue: TX_QUEUE,
            label: Label::slot(index),
            pieces: vec![Piece::read(address, length.into())],
        });
        let mut bytes = vec![0; length as usize];
        host.dma_read(address, &mut bytes, Tag::job(job))?;
        self.tx.check = bytes.iter().fold(0x811c_9dc5, |check, byte| {
            (check ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        });
        self.tx.waiting -= 1;
        self.tx.sent = self.tx.sent.wrapping_add(1);
        self.done(TX, job, length, host);
        Ok(())
    }

    fn done(&mut self, vector: Vector, job: JobId, length: u32, host: &mut dyn Host) {
        let owed = self.cause(vector, host);
        host.declare(Declaration::done(job, length.into(), owed));
        if let Some(owed) = owed {
            host.raise(owed.vector);
        }
    }

    fn control(&mut self, to: DMA, host: &mut dyn Host) {
        if to.rx_valid() {
            if let Some(filling) = self.rx.now.take() {
                host.declare(Declaration::failed(filling.job, "stopped", None));
            }
            self.rx = Receiver::default();
            match to.rx_format() {
                0 => idle(RX_QUEUE, host),
                _ => {
                    self.rx.free = BUFFERS;
                    self.rx.timer.every(host.now(), self.options.period);
                }
            }
        }
        if to.tx_valid() {
            self.tx = Sender {
                runs: to.tx_format() != 0,
                ..Sender::default()
            };
            if !self.tx.runs {
                idle(TX_QUEUE, host);
            }
        }
    }

    fn word(&self, offset: usize) -> u32 {
        let buffers = |buffers: &[u32], first: usize| {
            let word = buffers.get((offset - first) / 4);
            word.copied().unwrap_or(UNCLAIMED)
        };
        match offset {
            INTERRUPTS::OFFSET => self.pending.into(),
            POWER::OFFSET => self.power,
            UART::OFFSET | SIM::OFFSET => NOTHING,
            SIM_CTRL::OFFSET => self.sim,
            TX_LENGTH::OFFSET => self.tx.sent,
            TX_TIME::OFFSET => self.tx.check,
            RX_CONFIRM::OFFSET => self.rx.filled,
            HWCFG::OFFSET => HWCFG::compose(1).into_raw(),
            RX_LENGTH::OFFSET => self.rx_length,
            RX_BUFFER::OFFSET..RX_LENGTH::OFFSET => buffers(&self.rx_buffers, RX_BUFFER::OFFSET),
            TX_BUFFER::OFFSET.. => buffers(&self.tx_buffers, TX_BUFFER::OFFSET),
            _ => 0,
        }
    }
}

/// Both are told as one: the write that stops a direction drops what was in work.
fn idle(queue: QueueId, host: &mut dyn Host) {
    let queue = Some(queue);
    host.declare(Declaration::Stopping { queue });
    host.declare(Declaration::Idle { queue });
}

impl Device for Xtrx {
    fn identity(&self) -> Identity {
        Identity {
            vendor: 0x10ee,
            device: 0x7012,
            class: 0x0d_80_00,
            bars: vec![Bar::registers(0, 0x1000), Bar::registers(1, 0x1_0000)],
            ..Identity::default()
        }
        .interrupting(InterruptKind::Msi, 4)
    }

    fn declares(&self) -> Declares {
        Declares {
            limits: Limits {
                address_bits: 32,
                alignment: 4096,
                ..Limits::default()
            },
            jobs: true,
            interrupts: true,
            idle: IdleScope::Queue,
            ..Declares::default()
        }
    }

    fn notice(&mut self, notice: Notice, host: &mut dyn Host) {
        if notice == Notice::BusMaster && self.rx.now.is_none() {
            // What waited for the bus begins, and with its first piece.
            for _ in 0..2 {
                self.go_on(host);
            }
        }
    }

    fn reset(&mut self, _kind: Reset) {
        *self = Self {
            jobs: self.jobs,
            ..Self::new(self.options.clone())
        };
    }

    fn step(&mut self, host: &mut dyn Host) -> Next {
        if self.tx.runs && self.tx.waiting > 0 && host.may_master().is_ok() {
            // What cannot be read is not sent.
            if self.send(host).is_err() {
                self.tx.waiting = 0;
                host.declare(Declaration::failed(
                    JobId(self.jobs - 1),
                    "the bus refused it",
                    None,
                ));
            }
            return Next::Again;
        }
        self.go_on(host)
    }

    fn line(&self) -> bool {
        self.pending & self.enabled != 0
    }
}

impl Registers for Xtrx {
    fn register(&self, bar: u8, offset: u64) -> Option<RegisterName> {
        lookup(REGISTERS, offset).filter(|_| bar == 0)
    }

    fn read(&self, _bar: u8, offset: u64) -> u32 {
        self.word(offset as usize).swap_bytes()
    }

    fn after_read(&mut self, _bar: u8, offset: u64, _host: &mut dyn Host) {
        if offset as usize == INTERRUPTS::OFFSET {
            self.pending = 0;
        }
    }

    fn held(&self, bar: u8, offset: u64) -> u32 {
        match offset as usize {
            // Their ones act.
            INTERRUPTS::OFFSET | DMA::OFFSET => 0,
            _ => self.read(bar, offset),
        }
    }

    fn write(&mut self, _bar: u8, offset: u64, value: u32, host: &mut dyn Host) {
        let value = value.swap_bytes();
        let offset = offset as usize;
        match offset {
            INTERRUPTS::OFFSET => {
                let to = INTERRUPTS::from_raw(value);
                if to.set() {
                    self.enabled = to.causes();
                }
            }
            POWER::OFFSET => self.power = value,
            SIM_CTRL::OFFSET => self.sim = value,
            TX_LENGTH::OFFSET => {
                let units = TX_LENGTH::from_raw(value).units();
                self.tx.length = (u32::from(units) + 1) * 16;
            }
            TX_TIME::OFFSET if self.tx.runs && self.tx.length > 0 => {
                self.tx.waiting = (self.tx.waiting + 1).min(BUFFERS);
            }
            RX_CONFIRM::OFFSET if self.rx.timer.is_set() => {
                self.rx.free = (self.rx.free + 1).min(BUFFERS);
            }
            DMA::OFFSET => self.control(DMA::from_raw(value), host),
            RX_LENGTH::OFFSET => self.rx_length = value,
            RX_BUFFER::OFFSET..RX_LENGTH::OFFSET => {
                set(&mut self.rx_buffers, offset - RX_BUFFER::OFFSET, value);
            }
            TX_BUFFER::OFFSET.. => set(&mut self.tx_buffers, offset - TX_BUFFER::OFFSET, value),
            _ => {}
        }
    }
}

fn set(buffers: &mut [u32], offset: usize, value: u32) {
    if let Some(word) = buffers.get_mut(offset / 4) {
        *word = value;
    }
}
