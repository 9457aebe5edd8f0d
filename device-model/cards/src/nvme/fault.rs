// SPDX-License-Identifier: MIT OR Apache-2.0

//! The ways in which the controller can be made to misbehave, one at a time.

/// A misbehaviour; each strikes once, at read [`super::NvmeOptions::fault_read`] or after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// One bit in the middle of what is read arrives otherwise than it is stored.
    Corrupt,
    /// Writes one byte behind what is read.
    Overrun,
    /// The interrupt of the read is never sent.
    LostInterrupt,
    /// Writes 64 bytes to where the last read went, 200 ms after the driver switched the controller off.
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
