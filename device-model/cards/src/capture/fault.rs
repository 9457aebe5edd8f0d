// SPDX-License-Identifier: MIT OR Apache-2.0

//! The ways in which the card can be made to misbehave. When each strikes is [`super::Planted`]'s to say.

use landfall_device::contract::UnknownName;

/// A misbehaviour, with its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Writes one byte more than the frame has.
    Overrun,
    /// Writes the frame one page, 4096 bytes, further up.
    Shift,
    /// Drops the upper half of the frame's address.
    Truncate32,
    /// Writes 64 bytes into the last frame's buffer 5 ms after it said idle. Survives a reset by register
    /// and a function-level reset in between.
    AfterStop,
    /// Writes the first half of the frame and reports all of it.
    Short,
    /// Completes a frame without setting `IRQ_STATUS.done` and without an interrupt.
    LostIrq,
    /// Keeps only the low bits of the frame's address.
    Truncate {
        /// How many: 12 to 63.
        bits: u8,
    },
    /// Sets bit 57 of the frame's address, as a card does that takes upper bits for a way through its fabric.
    Route,
    /// Writes 64 bytes to address 0x10000 as soon as bus mastering is on and a register was read, if it has
    /// begun no frame by then.
    EarlyDma,
    /// Completes the frame, with its bit in `DONE` and its interrupt, before the last 64 bytes; those follow.
    EarlyDone,
    /// Raises the interrupt before the last 64 bytes; completes the frame as it should.
    EarlyIrq,
    /// Raises the interrupt of a completion twice.
    DuplicateIrq,
    /// Raises its vector when `ID` is read and no interrupt is enabled.
    ProbeIrq,
    /// Reports the frame with 0x7fff_ffff bytes.
    LongLength,
    /// Reads 64 bytes that were never lent, 256 bytes behind the frame in its last page; if that page has not so
    /// many, 256 bytes before the frame in its first.
    ProbePage,
    /// Reads 64 bytes of the frame's buffer, which is lent for writing.
    ReadFrame,
    /// Writes 64 bytes into the frame's clip mask, which is lent for reading.
    WriteClip,
    /// Writes 64 bytes into the buffer of the slot that the driver took back last.
    Stale,
    /// Goes on writing the frame in hand, or if there is none the last, for 100 ms after it said idle: a page
    /// each millisecond, over and over, also without bus mastering, which is refused. Survives resets as
    /// [`Fault::AfterStop`] does.
    IgnoreStop,
    /// Cuts its connection to the machine, as a card does that is pulled out; it does nothing from then on.
    Sever,
    /// Register writes arrive that much later, or before the next read of a register. No misbehaviour: the
    /// bus may do so.
    Posted {
        /// How much later, microseconds: 1 to 1,000,000.
        delay_us: u32,
    },
    /// Fetches a slot's clip mask when it is queued and again when its frame begins, and notes if the two
    /// differ. No misbehaviour.
    WatchFetch,
}

/// What gives a fault the opportunity to strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// A frame is begun.
    Frame,
    /// The card becomes idle after it was stopped.
    Stop,
    /// A driver finds the card.
    Probe,
    /// None: it is how things are.
    Always,
}

impl Fault {
    /// All of them, with usual parameters.
    pub const ALL: [Self; 22] = [
        Self::Overrun,
        Self::Shift,
        Self::Truncate32,
        Self::AfterStop,
        Self::Short,
        Self::LostIrq,
        Self::Truncate { bits: 40 },
        Self::Route,
        Self::EarlyDma,
        Self::EarlyDone,
        Self::EarlyIrq,
        Self::DuplicateIrq,
        Self::ProbeIrq,
        Self::LongLength,
        Self::ProbePage,
        Self::ReadFrame,
        Self::WriteClip,
        Self::Stale,
        Self::IgnoreStop,
        Self::Sever,
        Self::Posted { delay_us: 200 },
        Self::WatchFetch,
    ];

    /// Its name on command lines, in scenarios and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Overrun => "overrun",
            Self::Shift => "shift",
            Self::Truncate32 => "truncate32",
            Self::AfterStop => "after-stop",
            Self::Short => "short",
            Self::LostIrq => "lost-irq",
            Self::Truncate { .. } => "truncate",
            Self::Route => "route",
            Self::EarlyDma => "early-dma",
            Self::EarlyDone => "early-done",
            Self::EarlyIrq => "early-irq",
            Self::DuplicateIrq => "duplicate-irq",
            Self::ProbeIrq => "probe-irq",
            Self::LongLength => "long-length",
            Self::ProbePage => "probe-page",
            Self::ReadFrame => "read-frame",
            Self::WriteClip => "write-clip",
            Self::Stale => "stale",
            Self::IgnoreStop => "ignore-stop",
            Self::Sever => "sever",
            Self::Posted { .. } => "posted",
            Self::WatchFetch => "watch-fetch",
        }
    }

    /// The class of bug, in the project's catalogue, that it plants; `None`: no bug by itself, but an
    /// environment that shows those of a driver.
    pub const fn class(self) -> Option<u8> {
        Some(match self {
            Self::Overrun | Self::Shift => 1,
            Self::Truncate32 | Self::Truncate { bits: 32 } => 2,
            Self::Truncate { .. } => 3,
            Self::Stale => 7,
            Self::Route => 19,
            Self::AfterStop => 20,
            Self::IgnoreStop => 22,
            Self::EarlyDma => 23,
            Self::Sever => 26,
            Self::ReadFrame | Self::WriteClip => 39,
            Self::EarlyDone => 41,
            Self::EarlyIrq => 42,
            Self::LostIrq => 43,
            Self::ProbeIrq => 44,
            Self::DuplicateIrq => 46,
            Self::LongLength => 55,
            Self::Short => 56,
            Self::ProbePage => 57,
            Self::Posted { .. } | Self::WatchFetch => return None,
        })
    }

    /// Whether a violation of that class is what it shows as: its own class, and for [`Fault::IgnoreStop`] also
    /// 20, access after stop, which it is as long as bus mastering is on.
    pub fn shows_as(self, class: u8) -> bool {
        self.class() == Some(class) || self == Self::IgnoreStop && class == 20
    }

    /// What it does, in one line.
    pub const fn description(self) -> &'static str {
        match self {
            Self::Overrun => "writes one byte past the frame",
            Self::Shift => "writes the frame 4096 bytes further up",
            Self::Truncate32 => "drops the upper half of the frame's address",
            Self::AfterStop => "writes 64 bytes 5 ms after it said idle",
            Self::Short => "writes half a frame and reports all of it",
            Self::LostIrq => "completes a frame without an interrupt",
            Self::Truncate { .. } => "keeps the low `bits` bits of the frame's address",
            Self::Route => "sets bit 57 of the frame's address",
            Self::EarlyDma => "writes 64 bytes to 0x10000 as soon as it is a bus master",
            Self::EarlyDone => "completes a frame before its last 64 bytes",
            Self::EarlyIrq => "interrupts before the frame's last 64 bytes",
            Self::DuplicateIrq => "interrupts twice for one frame",
            Self::ProbeIrq => "interrupts when its ID is read and nothing is enabled",
            Self::LongLength => "reports a frame of 0x7fffffff bytes",
            Self::ProbePage => "reads 64 bytes beside the frame in the same page",
            Self::ReadFrame => "reads 64 bytes of a buffer lent for writing",
            Self::WriteClip => "writes 64 bytes of a clip mask lent for reading",
            Self::Stale => "writes 64 bytes of a buffer that was taken back",
            Self::IgnoreStop => "goes on writing after it said idle",
            Self::Sever => "is gone from the bus",
            Self::Posted { .. } => {
                "register writes arrive `delay_us` later unless a read flushes them"
            }
            Self::WatchFetch => "fetches clip masks at the doorbell and at the frame, and compares",
        }
    }

    pub(super) const fn moment(self) -> Moment {
        match self {
            Self::AfterStop | Self::IgnoreStop => Moment::Stop,
            Self::EarlyDma | Self::ProbeIrq => Moment::Probe,
            Self::Posted { .. } | Self::WatchFetch => Moment::Always,
            _ => Moment::Frame,
        }
    }

    /// Whether it can strike at a byte of the frame of one's choice.
    pub const fn takes_byte(self) -> bool {
        matches!(
            self,
            Self::Shift
                | Self::Truncate32
                | Self::Truncate { .. }
                | Self::Route
                | Self::Short
                | Self::EarlyDone
                | Self::EarlyIrq
                | Self::ReadFrame
                | Self::WriteClip
                | Self::Stale
                | Self::Sever
        )
    }

    /// The byte of a frame of `bytes` bytes at which it strikes if nobody chose one.
    pub(super) const fn usual_byte(self, bytes: u64) -> u64 {
        match self {
            Self::EarlyDone | Self::EarlyIrq => bytes.saturating_sub(super::misbehave::LAST),
            Self::Short => bytes / 2,
            _ => 0,
        }
    }

    /// Where the frame goes instead of to `base`.
    pub(super) const fn bend(self, base: u64) -> u64 {
        match self {
            Self::Shift => base.wrapping_add(super::misbehave::SHIFT),
            Self::Truncate32 => base & 0xffff_ffff,
            Self::Truncate { bits } => match 1u64.checked_shl(bits as u32) {
                Some(bit) => base & bit.wrapping_sub(1),
                None => base,
            },
            Self::Route => base | 1 << 57,
            _ => base,
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for Fault {
    type Err = UnknownName;

    /// The fault of that name, with its usual parameters.
    fn from_str(given: &str) -> Result<Self, UnknownName> {
        let found = Self::ALL.into_iter().find(|fault| fault.name() == given);
        found.ok_or_else(|| UnknownName {
            given: given.to_owned(),
            what: "fault",
            choices: Self::ALL.map(Self::name).join(", "),
        })
    }
}
