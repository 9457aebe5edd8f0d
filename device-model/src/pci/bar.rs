// SPDX-License-Identifier: MIT OR Apache-2.0

//! Base address registers, and how accesses of any size become accesses to whole registers.

/// A memory BAR, 32-bit, not prefetchable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarRegister {
    size: u32,
    base: u32,
}

impl BarRegister {
    /// A BAR that decodes `size` bytes: the next power of two from 16 up.
    pub fn new(size: u32) -> Self {
        let size = size.clamp(16, 1 << 31).next_power_of_two();
        Self { size, base: 0 }
    }

    /// Bytes that it decodes.
    pub fn size(self) -> u32 {
        self.size
    }

    /// What the register reads as: the address, with the low bits 0 (memory, 32-bit).
    pub fn read(self) -> u32 {
        self.base
    }

    /// Writes the register; the bits below the size stay 0, which is how software finds the size.
    pub fn write(&mut self, value: u32) {
        self.base = value & !(self.size - 1);
    }
}

/// The part of a whole register that an access touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lanes {
    /// Offset of the register: a multiple of 4.
    pub register: u64,
    /// First byte of the register that the access touches, 0 to 3.
    pub first: usize,
    /// How many bytes of it, 1 to 4.
    pub count: usize,
}

impl Lanes {
    /// Whether the access touches the whole register.
    pub fn whole(self) -> bool {
        self.count == 4
    }
}

/// Splits an access of `length` bytes at `offset` into whole or partial registers, in ascending order.
/// What would pass the end of the address space is left out.
pub fn split(offset: u64, length: usize) -> impl Iterator<Item = Lanes> {
    let mut done = 0usize;
    std::iter::from_fn(move || {
        let at = offset.checked_add(done as u64)?;
        let first = (at & 3) as usize;
        let count = (4 - first).min(length - done);
        done += count;
        (count > 0).then_some(Lanes {
            register: at & !3,
            first,
            count,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizing_shows_the_size() {
        let mut bar = BarRegister::new(0x1000);
        bar.write(u32::MAX);
        assert_eq!(bar.read(), 0xffff_f000);
        bar.write(0xfeb0_0123);
        assert_eq!(bar.read(), 0xfeb0_0000);
    }

    #[test]
    fn odd_sizes_round_up() {
        assert_eq!(BarRegister::new(0).size(), 16);
        assert_eq!(BarRegister::new(4097).size(), 8192);
        assert_eq!(BarRegister::new(u32::MAX).size(), 1 << 31);
    }

    #[test]
    fn eight_bytes_are_two_registers() {
        let all: Vec<_> = split(8, 8).collect();
        assert!(all.iter().all(|lanes| lanes.whole()));
        assert_eq!(all.iter().map(|l| l.register).collect::<Vec<_>>(), [8, 12]);
    }

    proptest! {
        #[test]
        fn lanes_cover_every_byte_once(offset in 0u64..64, length in 0usize..40) {
            let bytes: Vec<u64> = split(offset, length)
                .flat_map(|l| (0..l.count as u64).map(move |i| l.register + l.first as u64 + i))
                .collect();
            prop_assert_eq!(bytes, (offset..offset + length as u64).collect::<Vec<_>>());
            prop_assert!(split(offset, length).all(|l| l.register % 4 == 0 && l.first + l.count <= 4));
        }

        #[test]
        fn end_of_the_address_space_is_no_panic(offset in u64::MAX - 16.., length in 0usize..40) {
            prop_assert!(split(offset, length).count() <= 11);
        }
    }
}
