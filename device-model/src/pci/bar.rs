// SPDX-License-Identifier: MIT OR Apache-2.0

//! Base address registers (PCI Local Bus Specification 3.0, 6.2.5.1).

use crate::contract::Bar;

/// The bits of a memory BAR that are no address.
const KIND: u32 = 0xf;

/// A memory BAR: one register, or two if its address has 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarRegister {
    size: u64,
    kind: u32,
    base: u64,
}

impl BarRegister {
    /// What decodes a BAR that was checked; it has no address yet.
    pub fn new(bar: &Bar) -> Self {
        Self {
            size: bar.size,
            kind: u32::from(bar.wide) << 2 | u32::from(bar.prefetchable) << 3,
            base: 0,
        }
    }

    /// Bytes that it decodes.
    pub fn size(self) -> u64 {
        self.size
    }

    /// What its register, or the upper one of its two, reads as: the address, and in the lower one its kind.
    pub fn read(self, upper: bool) -> u32 {
        match upper {
            false => self.base as u32 | self.kind,
            true => (self.base >> 32) as u32,
        }
    }

    /// Writes a register; the bits below the size stay 0, which is how software finds the size.
    pub fn write(&mut self, upper: bool, value: u32) {
        let value = u64::from(value);
        let base = match upper {
            false => self.base >> 32 << 32 | value & !u64::from(KIND),
            true => self.base & u64::from(u32::MAX) | value << 32,
        };
        self.base = base & !(self.size - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizing_shows_the_size() {
        let mut bar = BarRegister::new(&Bar::registers(0, 0x1000));
        bar.write(false, u32::MAX);
        assert_eq!(bar.read(false), 0xffff_f000);
        bar.write(false, 0xfeb0_0123);
        assert_eq!(bar.read(false), 0xfeb0_0000);
    }

    #[test]
    fn a_wide_bar_has_an_upper_half_and_says_its_kind() {
        let mut bar = BarRegister::new(&Bar::registers(0, 1 << 30).wide().prefetchable());
        assert_eq!((bar.read(false), bar.read(true)), (0xc, 0));
        bar.write(false, u32::MAX);
        bar.write(true, u32::MAX);
        assert_eq!((bar.read(false), bar.read(true)), (0xc000_000c, u32::MAX));
        bar.write(true, 0x38);
        assert_eq!((bar.read(false), bar.read(true)), (0xc000_000c, 0x38));
    }

    #[test]
    fn the_smallest_keeps_no_address_bit_below_its_size() {
        let mut bar = BarRegister::new(&Bar::registers(0, 16));
        bar.write(false, u32::MAX);
        assert_eq!(bar.read(false), 0xffff_fff0);
    }
}
