// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a function tells of its own work, so that more can be judged than where it accesses memory.
//!
//! No name of a register, no value in one, means anything to the ledger. What it is to know, a function says: once, by
//! [`Declares`], what it is going to tell and what it cannot do; and then, as it works, by [`Host::declare`]. All of it is
//! optional. **What is not declared is not judged**: a function that declares nothing is judged on where and when it
//! accesses memory, and on nothing else, which is less, and never wrong. What is declared is believed; a function that
//! is to misbehave on purpose declares what it should do, and does something else.
//!
//! # What each declaration buys
//!
//! | in [`Declares`] | what is told | what is judged then (class) |
//! |---|---|---|
//! | nothing | | where an access lands, when, and by whom it was lent: 1 to 9, 15 to 17, 19, 22 to 24, 39, 57, 59, 60; and the driver's calls: 40, 47 to 53 |
//! | [`limits`](Declares::limits) | | masks and alignment: 3, 4, 9 to 12 |
//! | [`jobs`](Declares::jobs) | [`Begun`](Declaration::Begun), [`Done`](Declaration::Done) | what a job was programmed to, and what became of it: 10 to 14, 30, 31, 41, 55, 56 |
//! | [`handover`](Declares::handover) | [`Accepted`](Declaration::Accepted), [`Released`](Declaration::Released) | whose a job is before and after: 7, 30, 31, 37, 38 |
//! | [`interrupts`](Declares::interrupts) | [`Owed`] in `Done`; [`Cause`](Declaration::Cause) | 42, 43, 46 |
//! | [`masks`](Declares::masks) | [`Masked`](Declaration::Masked) | 25, 44 |
//! | [`idle`](Declares::idle) | [`Stopping`](Declaration::Stopping), [`Idle`](Declaration::Idle) | 20 |
//!
//! [`Declaration::NotNow`] (32), [`Declaration::Changed`] (34), [`Declaration::Delayed`] and [`Declaration::Arrived`] (36) need no word in
//! advance: they are judged when they come.
//!
//! # Examples
//!
//! A function that writes one buffer when told to, and then interrupts:
//!
//! ```
//! use landfall_device::contract::*;
//!
//! struct Card { address: u64, jobs: u64, enabled: bool }
//!
//! impl Card {
//!     fn declares() -> Declares {
//!         Declares { jobs: true, interrupts: true, ..Declares::default() }
//!     }
//!
//!     fn transfer(&mut self, host: &mut dyn Host) {
//!         let job = JobId(self.jobs);
//!         self.jobs += 1;
//!         host.declare(Declaration::begun(job, vec![Piece::write(self.address, 64)]));
//!         let moved = host.dma_write(self.address, &[0; 64], Tag::job(job)).is_ok();
//!         // The interrupt is owed if the driver wants it, and comes before the next job does.
//!         let owed = self.enabled.then_some(Owed::now(Vector(0)));
//!         host.declare(match moved {
//!             true => Declaration::done(job, 64, owed),
//!             false => Declaration::failed(job, "bus error", owed),
//!         });
//!         if self.enabled {
//!             host.raise(Vector(0));
//!         }
//!     }
//! }
//! ```
//!
//! A ring of descriptors in memory: what is fetched and written back is control memory, and no data of the job's. The
//! job is what the driver may take back as a whole; where it may take back each descriptor by itself, each is a job.
//!
//! ```
//! # use landfall_device::contract::*;
//! # fn serve(host: &mut dyn Host, ring: u64, head: u64, job: JobId, queue: QueueId) -> Result<(), DmaError> {
//! let at = ring + 16 * head;
//! let mut descriptor = [0; 16];
//! host.dma_read(at, &mut descriptor, Tag::default().role(Role::Descriptor))?;
//! let address = u64::from_le_bytes(descriptor[..8].try_into().unwrap());
//! host.declare(Declaration::Begun {
//!     job,
//!     queue,
//!     label: Label::slot(head as u32),
//!     pieces: vec![Piece::write(address, 2048)],
//! });
//! host.dma_write(address, &[0; 1500], Tag::job(job))?;
//! host.dma_write(at + 8, &[1], Tag::job(job).role(Role::Descriptor))?; // DONE
//! // Every fourth completion interrupts, or the timer does, 100 us later at the latest.
//! let owed = Owed::within(Vector(queue.0), std::time::Duration::from_micros(100));
//! host.declare(Declaration::done(job, 1500, Some(owed)));
//! # Ok(())
//! # }
//! ```
//!
//! A job that reads memory has pieces that are read; one that gathers and scatters has many:
//!
//! ```
//! # use landfall_device::contract::*;
//! # fn send(host: &mut dyn Host, job: JobId) {
//! host.declare(Declaration::begun(job, vec![
//!     Piece::read(0x1000, 54),
//!     Piece::read(0x8_0000, 1448),
//! ]));
//! # }
//! ```
//!
//! An interrupt for another reason than a completion, and a register that hides it:
//!
//! ```
//! # use landfall_device::contract::*;
//! # fn link_change(host: &mut dyn Host, enabled: bool) {
//! if enabled {
//!     host.declare(Declaration::cause(Vector(2), "the link changed"));
//!     host.raise(Vector(2));
//! }
//! # }
//! # fn write_mask(host: &mut dyn Host, value: u32) {
//! host.declare(Declaration::Masked { vector: None, masked: value == 0 });
//! # }
//! ```
//!
//! The function stops, as it was told to: when it says [`Declaration::Idle`], no byte follows, of that queue or of all.
//!
//! ```
//! # use landfall_device::contract::*;
//! # fn stop(host: &mut dyn Host, queue: QueueId) {
//! host.declare(Declaration::Stopping { queue: Some(queue) });
//! host.declare(Declaration::Idle { queue: Some(queue) });
//! # }
//! ```
//!
//! [`Host::declare`]: super::Host::declare

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bus::{Direction, JobId, QueueId, Role, Vector};

/// Most pieces of a job that are looked at; a job that has more is judged without them.
pub const MOST_PIECES: usize = 4096;

/// What a function is going to tell of its own work, and what it cannot do. Fixed for as long as it is plugged in, and the
/// first entry of its journal: so that "was not told" differs from "did not happen".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Declares {
    /// What it cannot do.
    pub limits: Limits,
    /// It tells of every job: [`Declaration::Begun`] before its first access, and [`Declaration::Done`].
    pub jobs: bool,
    /// It tells when a job becomes its own and when the driver's again: [`Declaration::Accepted`],
    /// [`Declaration::Released`].
    pub handover: bool,
    /// Whatever an interrupt is for, it tells before: in [`Declaration::Done`], or by [`Declaration::Cause`].
    pub interrupts: bool,
    /// It has a register by which the driver keeps it from interrupting, and tells how it stands:
    /// [`Declaration::Masked`]. After a reset all vectors are masked.
    pub masks: bool,
    /// What it says to be idle.
    pub idle: IdleScope,
}

/// What says [`Declaration::Idle`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdleScope {
    /// Nothing ever does.
    #[default]
    Never,
    /// The function as a whole.
    Device,
    /// Each queue by itself, and perhaps the function as a whole.
    Queue,
}

/// What a function cannot do; 0: no such limit, or none that is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Address bits that it drives, 1 to 64.
    pub address_bits: u8,
    /// A piece of payload begins at a multiple of it, bytes.
    pub alignment: u64,
    /// The length of a piece of payload is a multiple of it, bytes.
    pub granule: u64,
    /// A piece of payload does not cross a multiple of it, bytes.
    pub boundary: u64,
    /// A piece of payload has at most that many bytes.
    pub longest: u64,
    /// A job has at most that many pieces of payload.
    pub pieces: u32,
    /// A read does not cross a multiple of it, bytes.
    pub fetch_boundary: u64,
}

/// A range of memory that a job is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// First bus address, as the driver programmed it.
    pub address: u64,
    /// Bytes, as the driver programmed them; 0: what it programmed makes no sense.
    pub length: u64,
    /// Which way it goes.
    pub way: Direction,
    /// What it is for.
    #[serde(default)]
    pub role: Role,
    /// Bytes of the lines or elements that it is made of; 0: it is not made of any.
    #[serde(default)]
    pub unit: u64,
}

impl Piece {
    /// Payload that the card is to write.
    pub const fn write(address: u64, length: u64) -> Self {
        Self {
            address,
            length,
            way: Direction::Write,
            role: Role::Payload,
            unit: 0,
        }
    }

    /// Payload that the card is to read.
    pub const fn read(address: u64, length: u64) -> Self {
        Self {
            way: Direction::Read,
            ..Self::write(address, length)
        }
    }

    /// The same for memory of another role.
    pub const fn role(self, role: Role) -> Self {
        Self { role, ..self }
    }

    /// The same, made of lines or elements of `unit` bytes.
    pub const fn of(self, unit: u64) -> Self {
        Self { unit, ..self }
    }
}

/// How a person knows a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Label {
    /// The slot, descriptor or buffer that it serves, as the data sheet numbers them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<u32>,
    /// The number of the frame, block or packet that it moves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame: Option<u32>,
}

impl Label {
    /// A job for a slot.
    pub const fn slot(slot: u32) -> Self {
        Self {
            slot: Some(slot),
            frame: None,
        }
    }

    /// The same with the number of its frame.
    pub const fn frame(self, frame: u32) -> Self {
        Self {
            frame: Some(frame),
            ..self
        }
    }
}

/// By when an interrupt that is owed comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Promise {
    /// Before the function tells of anything else of that queue.
    Now,
    /// Within that many nanoseconds, however many completions it then tells of.
    Within(u64),
    /// None has to come: the vector has a cause, and its interrupt was sent, or is masked, or waits for more
    /// completions without a limit of time. One may come.
    Never,
}

/// An interrupt of which a completion, or another event, is the cause. The next interrupt of that vector pays for all that
/// had to come at once. One that may come later may come besides, once for each queue, until that queue has one at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owed {
    /// By which vector.
    pub vector: Vector,
    /// By when.
    pub promise: Promise,
}

impl Owed {
    /// It comes at once.
    pub const fn now(vector: Vector) -> Self {
        Self {
            vector,
            promise: Promise::Now,
        }
    }

    /// It comes within that time, by the function's own timer.
    pub fn within(vector: Vector, time: Duration) -> Self {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self {
            vector,
            promise: Promise::Within(nanoseconds),
        }
    }

    /// It may come, and need not.
    pub const fn perhaps(vector: Vector) -> Self {
        Self {
            vector,
            promise: Promise::Never,
        }
    }
}

/// What a function tells as it works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Declaration {
    /// The driver handed a job over: it is the function's until [`Declaration::Released`], a stop or a reset.
    Accepted {
        /// Which.
        job: JobId,
        /// Where.
        #[serde(default)]
        queue: QueueId,
        /// How a person knows it.
        #[serde(default)]
        label: Label,
        /// The memory that it is about, as far as that is known already; [`Declaration::Begun`] says it all.
        #[serde(default)]
        pieces: Vec<Piece>,
    },
    /// The function begins a job, and has latched what it is to do.
    Begun {
        /// Which: one that was accepted, or one that was not told of before.
        job: JobId,
        /// Where.
        #[serde(default)]
        queue: QueueId,
        /// How a person knows it.
        #[serde(default)]
        label: Label,
        /// All memory that it is about but for control memory, in the order in which it is moved.
        pieces: Vec<Piece>,
    },
    /// The function tells the driver that a job is over: no access for it follows.
    Done {
        /// Which.
        job: JobId,
        /// Why it came to nothing, in words; `None`: it is complete.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<Cow<'static, str>>,
        /// Bytes of payload that the driver is told of: written, or, of a job that writes none, read.
        moved: u64,
        /// The interrupt that it causes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owed: Option<Owed>,
    },
    /// The driver took a job back, having seen that it is over: its memory is the driver's.
    Released {
        /// Which.
        job: JobId,
    },
    /// The driver asked the function, or a queue, to stop.
    Stopping {
        /// Which queue; `None`: all of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue: Option<QueueId>,
    },
    /// The function, or a queue, is idle, and told the driver so: no byte follows, and all jobs are the driver's.
    Idle {
        /// Which queue; `None`: all of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue: Option<QueueId>,
    },
    /// An interrupt has another cause than a completion: a link, a timer, an error, or an old cause that was unmasked.
    Cause {
        /// The interrupt.
        owed: Owed,
        /// What it is, in words.
        why: Cow<'static, str>,
    },
    /// The driver masked or unmasked interrupts in a register of the function's own.
    Masked {
        /// Which vector; `None`: all of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        vector: Option<Vector>,
        /// Whether it is masked now.
        masked: bool,
    },
    /// The register write must not come now, whatever the function makes of it.
    NotNow {
        /// What is wrong with it, in words.
        why: Cow<'static, str>,
    },
    /// What the function was given to fetch differs from what it was at the doorbell.
    Changed {
        /// Job that it is for.
        job: JobId,
        /// Bus address of the first byte that differs.
        address: u64,
    },
    /// A register write is on its way: it is journalled, and has no effect yet.
    Delayed,
    /// A delayed register write, and all before it, arrived at the function.
    Arrived {
        /// A read of the driver made it arrive, which is how it should be.
        flushed: bool,
    },
    /// The function was reset by a register of its own: no byte follows, and all jobs are the driver's.
    Reset,
    /// What stands behind the function is gone, a simulator for one: it reads as all-ones from here on, and neither is
    /// that the driver's doing, nor can anything be concluded from it.
    Gone {
        /// What happened, in words.
        why: Cow<'static, str>,
    },
}

impl Declaration {
    /// The only queue begins a job that has no label.
    pub fn begun(job: JobId, pieces: Vec<Piece>) -> Self {
        Self::Begun {
            job,
            queue: QueueId::default(),
            label: Label::default(),
            pieces,
        }
    }

    /// A job is complete.
    pub const fn done(job: JobId, moved: u64, owed: Option<Owed>) -> Self {
        Self::Done {
            job,
            error: None,
            moved,
            owed,
        }
    }

    /// A job came to nothing.
    pub const fn failed(job: JobId, why: &'static str, owed: Option<Owed>) -> Self {
        Self::Done {
            job,
            error: Some(Cow::Borrowed(why)),
            moved: 0,
            owed,
        }
    }

    /// An interrupt comes at once, for that reason.
    pub const fn cause(vector: Vector, why: &'static str) -> Self {
        Self::Cause {
            owed: Owed::now(vector),
            why: Cow::Borrowed(why),
        }
    }
}

/// Joins pieces that follow each other in memory, go the same way and are for the same: what interlaced lines, or a list
/// over pages in a row, come to. They are in ascending order then.
pub fn joined(mut pieces: Vec<Piece>) -> Vec<Piece> {
    pieces.sort_by_key(|piece| (piece.way == Direction::Read, piece.role, piece.address));
    let mut list: Vec<Piece> = Vec::new();
    for piece in pieces {
        match list.last_mut() {
            Some(last)
                if (last.way, last.role) == (piece.way, piece.role)
                    && last.address.checked_add(last.length) == Some(piece.address) =>
            {
                last.length += piece.length;
            }
            _ => list.push(piece),
        }
    }
    list
}
