// SPDX-License-Identifier: MIT OR Apache-2.0

//! One access to a BAR, and which bytes of a register it touches.

/// How many bytes an access has; what a CPU makes of one instruction, and a PCI Express transaction of one or two
/// doublewords with their byte enables (PCI Express Base Specification 6.0, 2.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Width {
    /// 1 byte.
    One,
    /// 2 bytes.
    Two,
    /// 4 bytes.
    Four,
    /// 8 bytes.
    Eight,
}

impl Width {
    /// All of them, ascending.
    pub const ALL: [Self; 4] = [Self::One, Self::Two, Self::Four, Self::Eight];

    /// Bytes: 1, 2, 4 or 8.
    pub const fn bytes(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
            Self::Eight => 8,
        }
    }

    /// The bits of so many bytes, all set.
    pub const fn mask(self) -> u64 {
        u64::MAX >> (64 - 8 * self.bytes() as u32)
    }
}

/// One access to registers: at a multiple of its own width, so that it never crosses a register of its width or a wider
/// one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Access {
    /// Which BAR, 0 to 5. Of a 64-bit BAR it is the lower of its two.
    pub bar: u8,
    /// Bytes from the start of the BAR; a multiple of the width.
    pub offset: u64,
    /// How many bytes.
    pub width: Width,
}

impl Access {
    /// An access of 4 bytes.
    pub const fn word(bar: u8, offset: u64) -> Self {
        let width = Width::Four;
        Self { bar, offset, width }
    }

    /// Where the register of `register` bytes lies that this access touches, or the first one if it is wider.
    pub const fn register(self, register: Width) -> u64 {
        self.offset & !(register.bytes() as u64 - 1)
    }

    /// Which bits of the register at `offset` it touches; nothing if it ends before it or begins 8 bytes after it.
    pub const fn lanes(self, offset: u64) -> Lanes {
        let bits = self.width.mask();
        match self.offset.checked_sub(offset) {
            Some(distance @ 0..8) => Lanes {
                mask: bits << (8 * distance),
                left: 8 * distance as u32,
                right: 0,
            },
            Some(_) => Lanes::NONE,
            None => match offset - self.offset {
                distance @ 0..8 => Lanes {
                    mask: bits >> (8 * distance),
                    left: 0,
                    right: 8 * distance as u32,
                },
                _ => Lanes::NONE,
            },
        }
    }
}

/// The bits of a register that an access touches, and how far apart the two are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lanes {
    mask: u64,
    left: u32,
    right: u32,
}

impl Lanes {
    const NONE: Self = Self {
        mask: 0,
        left: 0,
        right: 0,
    };

    /// The bits of the register, in place. Cut to the register's width by whoever knows it.
    pub const fn mask(self) -> u64 {
        self.mask
    }

    /// What the register becomes: `held`, with what the access writes in its lanes.
    ///
    /// ```
    /// use landfall_device::contract::{Access, Width};
    /// let access = Access { bar: 0, offset: 0x41, width: Width::One };
    /// assert_eq!(access.lanes(0x40).insert(0x1122_3344, 0xaa), 0x1122_aa44);
    /// assert_eq!(access.lanes(0x40).extract(0x1122_3344), 0x33);
    /// ```
    pub const fn insert(self, held: u64, value: u64) -> u64 {
        held & !self.mask | value << self.left >> self.right & self.mask
    }

    /// What the access reads of a register; 0 in the bytes that are not the register's.
    pub const fn extract(self, register: u64) -> u64 {
        (register & self.mask) >> self.left << self.right
    }
}

/// Splits an access of any length and place into ones at multiples of their width and no wider than `widest`, in
/// ascending order. What would pass the end of the address space is left out.
pub fn split(bar: u8, offset: u64, length: usize, widest: Width) -> impl Iterator<Item = Access> {
    let mut done = 0usize;
    std::iter::from_fn(move || {
        let at = offset.checked_add(done as u64)?;
        let fits = |width: &&Width| {
            let bytes = u64::from(width.bytes());
            **width <= widest && at.is_multiple_of(bytes) && bytes <= (length - done) as u64
        };
        let width = *Width::ALL.iter().rev().find(fits)?;
        done += usize::from(width.bytes());
        Some(Access {
            bar,
            offset: at,
            width,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn width() -> impl Strategy<Value = Width> {
        proptest::sample::select(&Width::ALL[..])
    }

    #[test]
    fn eight_bytes_are_two_registers_or_one() {
        let all = |widest| split(0, 8, 8, widest).map(|a| (a.offset, a.width.bytes()));
        assert_eq!(all(Width::Four).collect::<Vec<_>>(), [(8, 4), (12, 4)]);
        assert_eq!(all(Width::Eight).collect::<Vec<_>>(), [(8, 8)]);
    }

    proptest! {
        #[test]
        fn pieces_cover_every_byte_once(offset in 0u64..64, length in 0usize..40, widest in width()) {
            let pieces: Vec<_> = split(3, offset, length, widest).collect();
            let bytes: Vec<u64> = pieces.iter()
                .flat_map(|piece| (0..u64::from(piece.width.bytes())).map(move |i| piece.offset + i))
                .collect();
            prop_assert_eq!(bytes, (offset..offset + length as u64).collect::<Vec<_>>());
            for piece in pieces {
                prop_assert!(piece.width <= widest && piece.offset % u64::from(piece.width.bytes()) == 0);
            }
        }

        #[test]
        fn end_of_the_address_space_is_no_panic(offset in u64::MAX - 16.., length in 0usize..40) {
            prop_assert!(split(0, offset, length, Width::Eight).count() <= 17);
        }

        /// Lanes agree with bytes laid side by side, wherever the register is.
        #[test]
        fn lanes_are_bytes(offset in 0u64..32, width in width(), register in 0u64..40, held: u64, value: u64) {
            let access = Access { bar: 0, offset: offset * u64::from(width.bytes()), width };
            let lanes = access.lanes(register);
            let (mut wanted, mut read) = (held.to_le_bytes(), [0; 8]);
            for i in 0..u64::from(width.bytes()) {
                if let Some(at @ 0..8) = (access.offset + i).checked_sub(register) {
                    read[i as usize] = held.to_le_bytes()[at as usize];
                    wanted[at as usize] = value.to_le_bytes()[i as usize];
                }
            }
            prop_assert_eq!(lanes.insert(held, value), u64::from_le_bytes(wanted));
            prop_assert_eq!(lanes.extract(held), u64::from_le_bytes(read));
        }
    }
}
