// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the card's camera sees: the DT3155's, in pictures of any size.

pub use crate::dt3155::picture::frame_number;
use crate::dt3155::picture::of_size;
pub(super) use crate::dt3155::picture::paint;

/// Picture `frame`, whole, as it must be in memory: its lines in turns.
pub fn picture(frame: u32, line: u32, lines: u32) -> Vec<u8> {
    of_size(frame, line, lines)
}

/// The picture that these bytes claim to be, see [`Camera`](crate::Camera).
pub fn sent(bytes: &[u8], line: u32, lines: u32) -> Option<(u32, Vec<u8>)> {
    let number = frame_number(bytes)?;
    let whole = u64::from(line) * u64::from(lines);
    (u64::try_from(bytes.len()) == Ok(whole)).then(|| (number, picture(number, line, lines)))
}
