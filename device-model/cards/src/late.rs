// SPDX-License-Identifier: MIT OR Apache-2.0

//! The write that should not happen, which is the fault of several cards: after the driver stopped them, or was told that they
//! were done.

use std::time::Duration;

use landfall_device::contract::{Host, Next, Reset, Tag};

/// How long after its cause it comes.
pub(crate) const LATE: Duration = Duration::from_millis(200);
/// What is written where nothing should be.
pub(crate) const STRAY: [u8; 64] = [0xdb; 64];

/// Whether such a write is to come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Late {
    /// None is.
    #[default]
    Never,
    /// Then, at that bus address.
    At(Duration, u64, Tag),
    /// It came.
    Over,
}

impl Late {
    /// Has it come, 200 ms from now, at a bus address; once in a card's life.
    pub(crate) fn arm(&mut self, address: u64, tag: Tag, host: &dyn Host) {
        if matches!(self, Self::Never) {
            *self = Self::At(host.now() + LATE, address, tag);
        }
    }

    /// Writes, if it is time; tells when to look again.
    pub(crate) fn strike(&mut self, host: &mut dyn Host) -> Next {
        match *self {
            Self::At(due, ..) if host.now() < due => Next::At(due),
            Self::At(_, address, tag) => {
                *self = Self::Over;
                // It is journalled, and that is all that the fault is for.
                let _ = host.dma_write(address, &STRAY, tag);
                Next::Idle
            }
            Self::Never | Self::Over => Next::Idle,
        }
    }

    /// What a reset leaves of it: only losing power ends what a broken card is about to do.
    pub(crate) const fn after(self, kind: Reset) -> Self {
        match (kind, self) {
            (Reset::Device, Self::At(..)) => Self::Never,
            (_, late) => late,
        }
    }
}
