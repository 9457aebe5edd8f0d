// SPDX-License-Identifier: MIT OR Apache-2.0

//! The ways in which the card can be made to misbehave, one at a time.

/// A misbehaviour; each strikes once, at copy [`super::IoatOptions::fault_copy`] or after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// One bit in the middle of the copy arrives otherwise than it was read.
    Corrupt,
    /// Writes one byte behind the copy.
    Overrun,
    /// The interrupt of the copy is never sent.
    LostInterrupt,
    /// Writes 64 bytes to where the last copy went, 200 ms after the driver stopped the channel.
    AfterStop,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Corrupt,
        Self::Overrun,
        Self::LostInterrupt,
        Self::AfterStop,
    ];
}

landfall_device::contract::named! {
    Fault, "fault" {
        Corrupt => "corrupt",
        Overrun => "overrun",
        LostInterrupt => "lost-interrupt",
        AfterStop => "after-stop",
    }
}
