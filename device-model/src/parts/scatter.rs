// SPDX-License-Identifier: MIT OR Apache-2.0

//! Lists of pieces of memory.

use crate::contract::{Direction, DmaError, Host, Piece, Role, Tag};

/// Most pieces of a list, and most elements that are fetched for one.
pub const MOST_PIECES: usize = crate::contract::declare::MOST_PIECES;

/// What an element of a list in memory says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// A piece, and the list goes on behind the element.
    Piece {
        /// First bus address.
        address: u64,
        /// Bytes.
        length: u64,
    },
    /// A piece, and the last element.
    Last {
        /// First bus address.
        address: u64,
        /// Bytes.
        length: u64,
    },
    /// The list goes on elsewhere.
    Link {
        /// Bus address of the next element.
        address: u64,
    },
    /// No piece: the list ended before.
    End,
}

/// How a list lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Bytes of an element, at most 64.
    pub element: usize,
    /// The list ends after so many pieces, whatever its elements say.
    pub pieces: usize,
}

/// Why a list could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScatterError {
    /// An element could not be read.
    #[error("element {element} at {address:#x} cannot be read")]
    Fetch {
        /// Which element.
        element: usize,
        /// Its bus address.
        address: u64,
        /// Why.
        source: DmaError,
    },
    /// It has more than [`MOST_PIECES`] pieces or elements: it may lead in a circle.
    #[error("the list has more than {MOST_PIECES} elements")]
    Endless,
    /// A piece passes the end of the address space, or all together have more bytes than can be counted.
    #[error("a piece of {length} bytes at {address:#x} passes the end of the address space")]
    Wraps {
        /// First bus address.
        address: u64,
        /// Bytes.
        length: u64,
    },
}

/// Pieces of memory that are read or written as one, and how far that is.
///
/// ```
/// use landfall_device::contract::Tag;
/// use landfall_device::parts::{Element, Format, Scatter};
/// use landfall_device::testing::FakeHost;
///
/// let mut host = FakeHost::default();
/// host.map(0x1000, 0x3000);
/// // Two elements of 8 bytes: address and length, with a bit that says that it is the last.
/// host.put(0x1000, &[0xfe, 0x1f, 0, 0, 2, 0, 0, 0, 0x10, 0x30, 0, 0, 3, 0, 0, 0x80]);
///
/// let parse = |bytes: &[u8]| {
///     let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
///     let (address, length) = (word(0).into(), (word(4) & 0xffff).into());
///     match word(4) >> 31 {
///         0 => Element::Piece { address, length },
///         _ => Element::Last { address, length },
///     }
/// };
/// let format = Format { element: 8, pieces: 16 };
/// let mut list = Scatter::fetch(&mut host, 0x1000, format, Tag::default(), parse).unwrap();
/// assert_eq!(list.left(), 5);
/// list.write(&mut host, b"hello", Tag::default()).unwrap();
/// assert_eq!((host.bytes(0x1ffe, 2), host.bytes(0x3010, 3)), (b"he".to_vec(), b"llo".to_vec()));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scatter {
    pieces: Vec<(u64, u64)>,
    /// The piece in hand, how far it is, and what is left of all.
    piece: usize,
    inside: u64,
    left: u64,
}

impl Scatter {
    /// Fetches a list from memory, element by element, from bus address `at` on. `parse` is given the bytes of one.
    ///
    /// # Errors
    /// An element cannot be read, there are too many, or a piece makes no sense. Nothing else was touched.
    pub fn fetch(
        host: &mut dyn Host,
        at: u64,
        format: Format,
        tag: Tag,
        mut parse: impl FnMut(&[u8]) -> Element,
    ) -> Result<Self, ScatterError> {
        let mut list = Self::default();
        let mut at = Some(at);
        for element in 0..MOST_PIECES {
            if list.pieces.len() >= format.pieces {
                return Ok(list);
            }
            let mut bytes = [0; 64];
            let bytes = bytes.get_mut(..format.element.min(64)).unwrap_or_default();
            // Behind the end of the address space nothing follows.
            let address = at.unwrap_or(u64::MAX);
            let read = at.ok_or(DmaError::Wraps);
            read.and_then(|at| host.dma_read(at, bytes, tag))
                .map_err(|source| ScatterError::Fetch {
                    element,
                    address,
                    source,
                })?;
            at = address.checked_add(bytes.len() as u64);
            match parse(bytes) {
                Element::Piece { address, length } => list.push(address, length)?,
                Element::Last { address, length } => {
                    list.push(address, length)?;
                    return Ok(list);
                }
                Element::Link { address } => at = Some(address),
                Element::End => return Ok(list),
            }
        }
        match list.pieces.len() >= format.pieces {
            true => Ok(list),
            false => Err(ScatterError::Endless),
        }
    }

    /// Adds a piece; one without bytes is none.
    ///
    /// # Errors
    /// There are [`MOST_PIECES`] already, or it passes the end of the address space.
    pub fn push(&mut self, address: u64, length: u64) -> Result<(), ScatterError> {
        let Some(last) = length.checked_sub(1) else {
            return Ok(());
        };
        if self.pieces.len() >= MOST_PIECES {
            return Err(ScatterError::Endless);
        }
        let total = self.left.checked_add(length);
        let (Some(left), Some(_)) = (total, address.checked_add(last)) else {
            return Err(ScatterError::Wraps { address, length });
        };
        self.left = left;
        self.pieces.push((address, length));
        Ok(())
    }

    /// Bytes that were neither read nor written yet.
    pub const fn left(&self) -> u64 {
        self.left
    }

    /// Its pieces, as they are declared ([`crate::contract::Declaration::Begun`]).
    pub fn pieces(&self, way: Direction, role: Role) -> Vec<Piece> {
        let each = self.pieces.iter().map(|&(address, length)| {
            let piece = match way {
                Direction::Read => Piece::read(address, length),
                Direction::Write => Piece::write(address, length),
            };
            piece.role(role)
        });
        each.collect()
    }

    /// Writes the next bytes, one access for each piece; more than are left are dropped. How many were written.
    ///
    /// # Errors
    /// See [`DmaError`]. Pieces before the one that was refused are written, and no more follow.
    pub fn write(&mut self, host: &mut dyn Host, from: &[u8], tag: Tag) -> Result<u64, DmaError> {
        self.run(from.len(), |address, done, length| {
            let part = from.get(done..done.saturating_add(length));
            host.dma_write(address, part.unwrap_or_default(), tag)
        })
    }

    /// Reads the next bytes, one access for each piece; more than are left are not touched. How many were read.
    ///
    /// # Errors
    /// See [`DmaError`]. Pieces before the one that was refused are read, and no more follow.
    pub fn read(
        &mut self,
        host: &mut dyn Host,
        into: &mut [u8],
        tag: Tag,
    ) -> Result<u64, DmaError> {
        self.run(into.len(), |address, done, length| {
            let part = into.get_mut(done..done.saturating_add(length));
            host.dma_read(address, part.unwrap_or_default(), tag)
        })
    }

    /// Writes the next `length` bytes, made on the way: `make` is told how many came before, in this call, and fills a part.
    /// How many were written.
    ///
    /// # Errors
    /// As [`Scatter::write`].
    pub fn fill(
        &mut self,
        host: &mut dyn Host,
        length: usize,
        make: &mut dyn FnMut(usize, &mut [u8]),
        tag: Tag,
    ) -> Result<u64, DmaError> {
        self.run(length, |address, done, length| {
            host.dma_fill(address, length, &mut |at, part| make(done + at, part), tag)
        })
    }

    /// Does something with each piece of the next `length` bytes: its address, how many bytes came before, and its own.
    fn run(
        &mut self,
        length: usize,
        mut each: impl FnMut(u64, usize, usize) -> Result<(), DmaError>,
    ) -> Result<u64, DmaError> {
        let mut done = 0;
        while done < length
            && let Some(&(address, bytes)) = self.pieces.get(self.piece)
        {
            let here = usize::try_from(bytes - self.inside).unwrap_or(usize::MAX);
            let part = here.min(length - done);
            each(address + self.inside, done, part)?;
            done += part;
            self.inside += part as u64;
            self.left -= part as u64;
            if self.inside == bytes {
                self.piece += 1;
                self.inside = 0;
            }
        }
        Ok(done as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeHost;
    use proptest::prelude::*;

    const FORMAT: Format = Format {
        element: 8,
        pieces: MOST_PIECES,
    };

    #[test]
    fn a_list_in_a_circle_ends() {
        let mut host = FakeHost::default();
        host.map(0x1000, 0x1000);
        let circle = |_: &[u8]| Element::Link { address: 0x1000 };
        let found = Scatter::fetch(&mut host, 0x1000, FORMAT, Tag::default(), circle);
        assert_eq!(found, Err(ScatterError::Endless));
        assert_eq!(host.accesses().len(), MOST_PIECES);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let mut host = FakeHost::default();
        host.map(0x1000, 0x1000);
        let piece = |_: &[u8]| Element::Piece {
            address: 0,
            length: 1,
        };
        let found = Scatter::fetch(&mut host, 0x1ff8, FORMAT, Tag::default(), piece);
        let (element, address, source) = (1, 0x2000, DmaError::Unmapped);
        let said = ScatterError::Fetch {
            element,
            address,
            source,
        };
        assert_eq!(found, Err(said));
        let two = Format {
            pieces: 1,
            ..FORMAT
        };
        let found = Scatter::fetch(&mut host, 0x1ff8, two, Tag::default(), piece);
        assert_eq!(found.map(|list| list.left()), Ok(1));
        let end = |_: &[u8]| Element::End;
        let found = Scatter::fetch(&mut host, 0x1ff8, two, Tag::default(), end);
        assert_eq!(found, Ok(Scatter::default()));
    }

    #[test]
    fn pieces_that_make_no_sense_are_refused() {
        let mut list = Scatter::default();
        assert_eq!(list.push(u64::MAX, 0), Ok(()));
        assert_eq!(list.push(u64::MAX, 1), Ok(()));
        assert!(list.push(u64::MAX, 2).is_err());
        assert!(list.push(0, u64::MAX).is_err());
        assert_eq!((list.left(), list.pieces.len()), (1, 1));
    }

    proptest! {
        /// Written in pieces of any length, it is what lies there, each byte once and in order.
        #[test]
        fn bytes_are_where_the_pieces_are(
            lengths in proptest::collection::vec(0u64..300, 0..12), writes in proptest::collection::vec(0usize..400, 0..12),
        ) {
            let mut host = FakeHost::default();
            host.map(0, 0x1_0000);
            let mut list = Scatter::default();
            let mut places = Vec::new();
            for (index, length) in (0u64..).zip(&lengths) {
                let address = 0x1000 * index + 7 * index;
                list.push(address, *length).expect("a piece");
                places.extend(address..address + length);
            }
            let mut written: Vec<u8> = Vec::new();
            for length in writes {
                let bytes: Vec<u8> = (0..length).map(|at| (written.len() + at) as u8).collect();
                let done = list.write(&mut host, &bytes, Tag::default()).expect("written");
                prop_assert_eq!(done as usize, length.min(places.len() - written.len()));
                written.extend(&bytes[..done as usize]);
                prop_assert_eq!(list.left() as usize, places.len() - written.len());
            }
            for (at, byte) in places.iter().zip(&written) {
                prop_assert_eq!(host.byte(*at), *byte);
            }
            let pieces = list.pieces(Direction::Write, Role::Payload);
            prop_assert_eq!(pieces.iter().map(|piece| piece.length).sum::<u64>(), places.len() as u64);
        }
    }
}
