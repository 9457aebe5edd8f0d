// SPDX-License-Identifier: MIT OR Apache-2.0

//! The ways in which the card can be made to misbehave, one at a time.

/// A misbehaviour; each strikes once, on channel 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Writes one byte more than frame [`super::Tw686xOptions::fault_frame`] has.
    Overrun,
    /// Writes 64 bytes to where the last frame began, 200 ms after the driver stopped the channel.
    AfterStop,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Overrun, Self::AfterStop];
}

landfall_device::contract::named! {
    Fault, "fault" {
        Overrun => "overrun",
        AfterStop => "after-stop",
    }
}
