// SPDX-License-Identifier: MIT OR Apache-2.0

//! A picture on its way to memory: one field, then the other.

use std::borrow::Cow;

use landfall_device::contract::declare::joined;
use landfall_device::contract::*;

use super::picture;
use super::regs::{VDCR, VFESPFR, VSSFGR};

/// Lines written in one step.
const LINES: u32 = 64;

/// A picture, with all that was latched when it began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grab {
    pub(super) number: u32,
    /// Of the top and the bottom field: where they begin.
    fields: [u32; 2],
    /// Bytes from line to line.
    pitch: u64,
    /// Bytes of a line.
    width: u32,
    /// Lines of a field.
    height: u32,
    one_field: bool,
    /// The next line, in the order in which they come.
    row: u32,
    /// As many lines have come.
    came: u32,
}

impl Grab {
    /// What the registers say now.
    pub(super) fn latch(
        number: u32,
        fields: [u32; 2],
        format: VFESPFR,
        grab: VSSFGR,
        window: VDCR,
    ) -> Self {
        let pixel = match (format.format(), format.packed()) {
            (1, true) => 3,
            (1, false) => 4,
            _ => 2,
        };
        let width = u32::from(window.width()) * pixel;
        Self {
            number,
            fields,
            pitch: u64::from(width) + u64::from(grab.stride()),
            width,
            height: window.height().into(),
            one_field: format.one_field(),
            row: 0,
            came: 0,
        }
    }

    const fn rows(&self) -> u32 {
        match self.one_field {
            true => self.height,
            false => 2 * self.height,
        }
    }

    /// The line of the picture that comes as number `row`.
    const fn line(&self, row: u32) -> u32 {
        match self.one_field {
            true => row,
            false if row < self.height => 2 * row,
            false => 2 * (row - self.height) + 1,
        }
    }

    /// Bus address of the line that comes as number `row`; wraps as the card's adder does, at 4 GiB.
    fn address(&self, row: u32) -> u64 {
        let bottom = row >= self.height;
        let down = if bottom { row - self.height } else { row };
        let start = u64::from(self.fields[usize::from(bottom)]);
        let address = start.wrapping_add(u64::from(down).wrapping_mul(self.pitch));
        address & u64::from(u32::MAX)
    }

    /// Bus address of its first byte.
    pub(super) fn first(&self) -> u64 {
        self.address(0)
    }

    /// Bus address of the byte behind its last line.
    pub(super) fn end(&self) -> u64 {
        self.address(self.rows().saturating_sub(1)) + u64::from(self.width)
    }

    fn job(&self) -> JobId {
        JobId(self.number.into())
    }

    /// What its accesses are for.
    pub(super) fn tag(&self) -> Tag {
        Tag::job(self.job())
    }

    /// It begins.
    pub(super) fn begun(&self) -> Declaration {
        let rows = 0..self.rows();
        let line = |row| Piece::write(self.address(row), self.width.into());
        Declaration::Begun {
            job: self.job(),
            queue: QueueId::default(),
            label: Label {
                slot: None,
                frame: Some(self.number),
            },
            pieces: joined(rows.map(line).collect()),
        }
    }

    /// It is over.
    pub(super) fn done(&self, error: Option<&'static str>, owed: Option<Owed>) -> Declaration {
        Declaration::Done {
            job: self.job(),
            error: error.map(Cow::Borrowed),
            moved: u64::from(self.row) * u64::from(self.width),
            owed,
        }
    }

    /// The lines of the next field come.
    pub(super) fn field(&mut self) {
        self.came = self.rows().min(self.came + self.height);
    }

    /// All that came is in memory.
    pub(super) const fn waits(&self) -> bool {
        self.row == self.came
    }

    /// All of it is in memory.
    pub(super) const fn is_whole(&self) -> bool {
        self.row == self.rows()
    }

    /// Writes the next lines of those that came; `corrupt`: a bit of the first is another one.
    pub(super) fn advance(&mut self, corrupt: bool, host: &mut dyn Host) -> Result<(), DmaError> {
        let end = self.came.min(self.row + LINES);
        let mut line = vec![0; self.width as usize];
        while self.row < end {
            picture::paint(self.number, self.line(self.row), &mut line);
            if let Some(byte) = line.last_mut().filter(|_| corrupt && self.row == 0) {
                *byte ^= 1;
            }
            host.dma_write(self.address(self.row), &line, self.tag())?;
            self.row += 1;
        }
        Ok(())
    }
}
