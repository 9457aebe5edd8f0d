// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the cameras see: a picture of which each byte depends on its channel, frame, line and column. The pattern is the
//! DT3155's, with channel and frame in one number.

use crate::dt3155::picture as pattern;

/// Where the bits of the channel begin in a stamp.
const CHANNEL: u32 = 24;

/// Channel and frame, as the first four bytes of a picture say them, little-endian.
pub const fn stamp(channel: u32, frame: u32) -> u32 {
    channel << CHANNEL | frame & ((1 << CHANNEL) - 1)
}

/// Channel and frame of which these bytes claim to be; `None` if there are too few.
pub fn origin(bytes: &[u8]) -> Option<(u32, u32)> {
    let stamp = pattern::frame_number(bytes)?;
    Some((stamp >> CHANNEL, stamp & ((1 << CHANNEL) - 1)))
}

/// The line of the picture that comes as number `row`: first one field, then the other.
pub(super) const fn line(row: u32, rows: u32) -> u32 {
    let field = rows.div_ceil(2);
    match row < field {
        true => 2 * row,
        false => 2 * (row - field) + 1,
    }
}

/// A line, into a buffer of its length.
pub(super) fn paint(stamp: u32, line: u32, into: &mut [u8]) {
    pattern::paint(stamp, line, into);
}

/// A picture as it must be in memory: its lines in turns, or, `by_field`, one field behind the other.
pub fn picture(stamp: u32, width: usize, lines: u32, by_field: bool) -> Vec<u8> {
    let mut bytes = vec![0; width * lines as usize];
    for (row, into) in (0..).zip(bytes.chunks_mut(width.max(1))) {
        let line = if by_field { line(row, lines) } else { row };
        paint(stamp, line, into);
    }
    bytes
}

/// The picture that these bytes claim to be, see [`Camera`](crate::Camera): lines in turns.
pub fn sent(bytes: &[u8], line: u32, lines: u32) -> Option<(u32, Vec<u8>)> {
    let (channel, number) = origin(bytes)?;
    let whole = u64::from(line) * u64::from(lines);
    (u64::try_from(bytes.len()) == Ok(whole)).then(|| {
        let picture = picture(stamp(channel, number), line as usize, lines, false);
        (number, picture)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_says_whose_it_is_and_two_channels_see_different_things() {
        let [one, other] = [stamp(0, 7), stamp(3, 7)].map(|stamp| picture(stamp, 64, 8, false));
        assert_eq!((origin(&one), origin(&other)), (Some((0, 7)), Some((3, 7))));
        let same = one.iter().zip(&other).filter(|(one, other)| one == other);
        assert!(same.count() < 16);
    }

    #[test]
    fn by_field_the_even_lines_come_first() {
        let rows: Vec<_> = (0..6).map(|row| line(row, 6)).collect();
        assert_eq!(rows, [0, 2, 4, 1, 3, 5]);
        let [turns, fields] = [false, true].map(|by_field| picture(9, 16, 6, by_field));
        assert_eq!(turns[32..48], fields[16..32], "line 2");
        assert_eq!(turns[16..32], fields[48..64], "line 1");
    }
}
