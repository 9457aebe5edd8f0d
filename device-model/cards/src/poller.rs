// SPDX-License-Identifier: MIT OR Apache-2.0

//! The poller: a card that looks at memory by itself, as cards with descriptor rings do, and does nothing else. Tests
//! of the witness drive it. This page is its data sheet.
//!
//! `1b36:4c48`, class `0xff0000`, BAR 0 of 4 KiB:
//!
//! | offset | register |
//! |---|---|
//! | 0x00 | `ID`, reads `0x504f4c4c` |
//! | 0x04 | `SCRATCH`, keeps what is written |
//! | 0x08 | `RING`: bus address of two numbers of 8 bytes |
//! | 0x0c | `POLL`: while bit 0 is set, the numbers are read over and over |
//!
//! A number that has changed is written back, behind the two, in an access whose slot is its place and whose job is
//! the number: the journal has what was seen, and when. One that is made full has BARs 1, 3, 4 and 5 too, with nothing
//! in them.

use std::time::Duration;

use landfall_device::contract::*;

const NAMES: [&str; 4] = ["ID", "SCRATCH", "RING", "POLL"];
const ID: u32 = 0x504f_4c4c;
/// How long it waits between two looks.
const PERIOD: Duration = Duration::from_micros(20);

/// The poller.
#[derive(Debug, Default)]
pub struct Poller {
    full: bool,
    scratch: u32,
    ring: u32,
    polls: bool,
    seen: [u64; 2],
}

impl Poller {
    /// Makes one that leaves no BAR free, or one that has only BAR 0.
    pub fn new(full: bool) -> Self {
        Self {
            full,
            ..Self::default()
        }
    }

    fn look(&mut self, host: &mut dyn Host) -> Result<(), DmaError> {
        let mut bytes = [[0; 8]; 2];
        host.dma_read(
            self.ring.into(),
            bytes.as_flattened_mut(),
            Tag::default().role(Role::Descriptor),
        )?;
        for ((seen, bytes), slot) in self.seen.iter_mut().zip(bytes).zip(0u32..) {
            let now = u64::from_le_bytes(bytes);
            if std::mem::replace(seen, now) != now {
                let place = u64::from(self.ring) + 16 + 8 * u64::from(slot);
                let tag = Tag {
                    job: Some(JobId(now)),
                    slot: Some(slot),
                    role: Role::Status,
                };
                host.dma_write(place, &bytes, tag)?;
            }
        }
        Ok(())
    }
}

impl Device for Poller {
    fn identity(&self) -> Identity {
        let indices = if self.full {
            &[0, 1, 3, 4, 5][..]
        } else {
            &[0]
        };
        let bars = indices.iter().map(|&index| Bar::registers(index, 0x1000));
        Identity {
            vendor: 0x1b36,
            device: 0x4c48,
            class: 0xff_00_00,
            revision: 0,
            bars: bars.collect(),
            ..Identity::default()
        }
        .interrupting(InterruptKind::Msi, 1)
    }

    fn reset(&mut self, _kind: Reset) {
        *self = Self::new(self.full);
    }

    fn step(&mut self, host: &mut dyn Host) -> Next {
        if !self.polls {
            return Next::Idle;
        }
        // Where it may not look it sees nothing; the journal has why.
        if self.look(host).is_err() {
            self.polls = false;
            return Next::Idle;
        }
        Next::At(host.now() + PERIOD)
    }

    fn line(&self) -> bool {
        false
    }
}

impl Registers for Poller {
    fn register(&self, bar: u8, offset: u64) -> Option<RegisterName> {
        let index = usize::try_from(offset / 4).ok()?;
        let name = NAMES
            .get(index)
            .filter(|_| bar == 0 && offset.is_multiple_of(4))?;
        Some(RegisterName {
            name: (*name).into(),
            index: None,
        })
    }

    fn read(&self, _bar: u8, offset: u64) -> u32 {
        match offset {
            0x0 => ID,
            0x4 => self.scratch,
            0x8 => self.ring,
            0xc => self.polls.into(),
            _ => UNCLAIMED,
        }
    }

    fn write(&mut self, _bar: u8, offset: u64, value: u32, _host: &mut dyn Host) {
        match offset {
            0x4 => self.scratch = value,
            0x8 => self.ring = value & !7,
            0xc => self.polls = value & 1 != 0,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_device::journal::Kind;
    use landfall_device::serve::LocalCard;

    /// It sees only while it may, and a full one has no BAR left.
    #[test]
    fn what_it_may_not_read_it_does_not_look_at_again() {
        let mut card = LocalCard::new(Box::new(Poller::new(true)));
        card.write(0, 0x8, 0x1000);
        card.write(0, 0xc, 1);
        assert_eq!(card.step(), Next::Idle);
        assert_eq!(card.read(0, 0xc), 0);
        let entries = card.journal().entries_from(0);
        let looks = entries
            .iter()
            .filter(|entry| matches!(entry.kind, Kind::Access { .. }));
        assert_eq!(looks.count(), 1);
    }
}
