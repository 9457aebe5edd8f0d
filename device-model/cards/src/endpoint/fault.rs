// SPDX-License-Identifier: MIT OR Apache-2.0

//! The ways in which the function can be made to misbehave, one at a time.

/// A misbehaviour; each strikes once, at number [`super::EndpointOptions::fault_at`] of what it can strike since power-on:
/// transfers that write memory, or interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// One bit in the middle of what a transfer writes arrives otherwise.
    Corrupt,
    /// A transfer writes one byte too far.
    Overrun,
    /// An interrupt is never sent.
    LostInterrupt,
    /// Writes 64 bytes to where a transfer went, 200 ms after it told that this was over.
    AfterDone,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Corrupt,
        Self::Overrun,
        Self::LostInterrupt,
        Self::AfterDone,
    ];
}

landfall_device::contract::named! {
    Fault, "fault" {
        Corrupt => "corrupt",
        Overrun => "overrun",
        LostInterrupt => "lost-interrupt",
        AfterDone => "after-done",
    }
}
