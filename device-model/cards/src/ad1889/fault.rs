// SPDX-License-Identifier: MIT OR Apache-2.0

//! The ways in which the card can be made to misbehave, one at a time.

/// A misbehaviour; each strikes once, at period [`super::Ad1889Options::fault_period`] or after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// One bit of the period's last burst arrives otherwise than it was sent.
    Corrupt,
    /// Writes one byte behind the ring, when recording has filled it.
    Overrun,
    /// The interrupt of the period never comes.
    LostInterrupt,
    /// Writes 64 bytes to where the last burst went, 200 ms after the driver stopped a recording.
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
