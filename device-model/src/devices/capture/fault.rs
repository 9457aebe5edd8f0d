// SPDX-License-Identifier: MIT OR Apache-2.0

//! The ways in which the card can be made to misbehave, one at a time.

/// A misbehaviour. Which frame it strikes is [`super::CaptureOptions::fault_frame`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Writes one byte more than the frame has.
    Overrun,
    /// Writes the whole frame one page, 4096 bytes, further up.
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
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Overrun,
        Self::Shift,
        Self::Truncate32,
        Self::AfterStop,
        Self::Short,
        Self::LostIrq,
    ];
}

crate::devices::named! {
    Fault, "fault" {
        Overrun => "overrun",
        Shift => "shift",
        Truncate32 => "truncate32",
        AfterStop => "after-stop",
        Short => "short",
        LostIrq => "lost-irq",
    }
}
