// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the grabber's camera sees: a picture of which each byte depends on its frame, line and column.

use std::time::Duration;

/// The television standard: size and rate of the pictures, 8 bits of grey each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standard {
    /// 768 by 576, 25 a second.
    Hz50,
    /// 640 by 480, 30 a second (less a thousandth).
    Hz60,
}

impl Standard {
    /// Bytes of a line.
    pub const fn width(self) -> u32 {
        match self {
            Self::Hz50 => 768,
            Self::Hz60 => 640,
        }
    }

    /// Lines of a picture, both fields together; even.
    pub const fn height(self) -> u32 {
        match self {
            Self::Hz50 => 576,
            Self::Hz60 => 480,
        }
    }

    /// Bytes of a picture.
    pub const fn bytes(self) -> usize {
        self.width() as usize * self.height() as usize
    }

    /// From one picture to the next.
    pub const fn period(self) -> Duration {
        match self {
            Self::Hz50 => Duration::from_millis(40),
            Self::Hz60 => Duration::from_micros(33_367),
        }
    }
}

/// Bytes at the start of line 0 that hold the frame's number, little-endian.
const NUMBER: u32 = 4;

/// The byte at a place of frame `frame`.
pub fn pixel(frame: u32, line: u32, column: u32) -> u8 {
    if line == 0 && column < NUMBER {
        return frame.to_le_bytes()[column as usize];
    }
    let mixed = frame
        .wrapping_mul(0x9e37_79b1)
        .wrapping_add(line.wrapping_mul(0x85eb_ca77))
        .wrapping_add(column.wrapping_mul(0xc2b2_ae3d));
    let mixed = (mixed ^ mixed >> 15).wrapping_mul(0x2c1b_3c6d);
    (mixed ^ mixed >> 13).to_le_bytes()[3]
}

/// Line `line` of frame `frame`, into a buffer of its length.
pub(crate) fn paint(frame: u32, line: u32, into: &mut [u8]) {
    for (column, byte) in (0..).zip(into) {
        *byte = pixel(frame, line, column);
    }
}

/// Frame `frame`, whole, as it must be in memory.
pub fn picture(frame: u32, standard: Standard) -> Vec<u8> {
    of_size(frame, standard.width(), standard.height())
}

/// Likewise of so many bytes a line, and so many lines.
pub(crate) fn of_size(frame: u32, line: u32, lines: u32) -> Vec<u8> {
    let mut bytes = vec![0; line as usize * lines as usize];
    for (number, into) in (0..).zip(bytes.chunks_mut((line as usize).max(1))) {
        paint(frame, number, into);
    }
    bytes
}

/// The number of the frame that these bytes claim to be; `None` if there are too few.
pub fn frame_number(bytes: &[u8]) -> Option<u32> {
    let number = bytes.first_chunk::<{ NUMBER as usize }>()?;
    Some(u32::from_le_bytes(*number))
}

/// The picture that these bytes claim to be, see [`Camera`](crate::Camera).
pub fn sent(bytes: &[u8], line: u32, lines: u32) -> Option<(u32, Vec<u8>)> {
    let standards = [Standard::Hz50, Standard::Hz60];
    let mut of_size = standards
        .into_iter()
        .filter(|standard| (standard.width(), standard.height()) == (line, lines));
    let (standard, number) = (of_size.next()?, frame_number(bytes)?);
    Some((number, picture(number, standard)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes of two slices are equal, in thousandths.
    fn equal(one: &[u8], other: &[u8]) -> usize {
        let same = one.iter().zip(other).filter(|(one, other)| one == other);
        same.count() * 1000 / one.len().min(other.len())
    }

    #[test]
    fn a_picture_is_like_no_other_and_like_none_that_is_moved() {
        let frame = picture(7, Standard::Hz60);
        let width = Standard::Hz60.width() as usize;
        assert_eq!(frame_number(&frame), Some(7));
        assert_eq!(frame_number(&frame[..3]), None);
        assert_eq!(frame, picture(7, Standard::Hz60));

        for other in [0, 6, 8, 7 + 256, 7 + (1 << 16)] {
            let shared = equal(&frame, &picture(other, Standard::Hz60));
            assert!(shared < 10, "frame {other} shares {shared} of 1000");
        }
        for by in [1, 2, 4, 64, width, 2 * width, 4096] {
            let shared = equal(&frame[by..], &frame);
            assert!(shared < 10, "moved by {by}: {shared} of 1000");
        }
    }
}
