// SPDX-License-Identifier: MIT OR Apache-2.0

//! The ways in which the grabber can be made to misbehave, one at a time.

/// A misbehaviour; each strikes once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// Writes one byte more than frame [`super::Dt3155Options::fault_frame`] has.
    Overrun,
    /// Writes 64 bytes into the last frame's buffer 200 ms after its driver stopped it: that waits 45 ms, and
    /// then gives the buffers back.
    AfterStop,
    /// Writes 64 bytes into the last frame's buffer 200 ms after it may not master the bus any more, as far as it is
    /// let: it was unbound from its driver.
    AfterUnbind,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Overrun, Self::AfterStop, Self::AfterUnbind];
}

landfall_device::contract::named! {
    Fault, "fault" {
        Overrun => "overrun",
        AfterStop => "after-stop",
        AfterUnbind => "after-unbind",
    }
}
