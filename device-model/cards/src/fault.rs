// SPDX-License-Identifier: MIT OR Apache-2.0

//! The ways in which several cards can be made to misbehave, one at a time. What each card moves, and when a fault strikes, its
//! options say.

/// A misbehaviour; each strikes once, or later if what it needs comes later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// One bit of what the card moves to memory arrives otherwise than it is.
    Corrupt,
    /// Writes one byte behind what it was to move, or behind the ring that it has filled.
    Overrun,
    /// The interrupt that tells of it never comes.
    LostInterrupt,
    /// Writes 64 bytes to where it last moved something, 200 ms after the driver stopped it.
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
