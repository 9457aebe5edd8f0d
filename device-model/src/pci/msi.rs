// SPDX-License-Identifier: MIT OR Apache-2.0

//! The message interrupt capabilities, and the table of MSI-X.

use crate::contract::{Msix, Place};

/// The MSI-X table and its pending bits, wherever they are. QEMU keeps its own and never asks for this one; other machines
/// may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MsixTable {
    table: Place,
    pending: Place,
    pending_bytes: u64,
    entries: Vec<u32>,
}

impl MsixTable {
    /// A table as it was checked, all vectors masked.
    pub fn new(msix: Msix) -> Self {
        let (table, pending) = msix.found();
        let masked = [0, 0, 0, 1];
        Self {
            table,
            pending,
            pending_bytes: msix.pending_bytes(),
            entries: masked.repeat(usize::from(msix.vectors)),
        }
    }

    /// Returns to the state after power-on.
    pub fn reset(&mut self) {
        for (index, entry) in self.entries.iter_mut().enumerate() {
            *entry = u32::from(index % 4 == 3); // masked
        }
    }

    /// Reads the 4 bytes at a 4-aligned offset of a BAR, if they are of the table or of the pending bits, which read 0.
    pub fn read(&self, bar: u8, offset: u64) -> Option<u32> {
        if self.is_pending(bar, offset) {
            return Some(0);
        }
        let index = self.entry(bar, offset)?;
        self.entries.get(index).copied()
    }

    /// Writes the 4 bytes at a 4-aligned offset of a BAR; the pending bits are read-only. False: they are not the table's.
    pub fn write(&mut self, bar: u8, offset: u64, value: u32) -> bool {
        let index = self.entry(bar, offset);
        if let Some((index, entry)) =
            index.and_then(|index| Some((index, self.entries.get_mut(index)?)))
        {
            *entry = match index % 4 {
                0 => value & !3,
                3 => value & 1,
                _ => value,
            };
            return true;
        }
        self.is_pending(bar, offset)
    }

    /// Whether the table or its pending bits are in a BAR.
    pub fn is_in(&self, bar: u8) -> bool {
        bar == self.table.bar || bar == self.pending.bar
    }

    fn entry(&self, bar: u8, offset: u64) -> Option<usize> {
        let distance = offset.checked_sub(self.table.offset.into())?;
        let index = usize::try_from(distance / 4).ok()?;
        (bar == self.table.bar && index < self.entries.len()).then_some(index)
    }

    fn is_pending(&self, bar: u8, offset: u64) -> bool {
        let distance = offset.checked_sub(self.pending.offset.into());
        bar == self.pending.bar && distance.is_some_and(|distance| distance < self.pending_bytes)
    }
}

/// The bytes of the MSI capability: 64-bit address, no masking, and the power of two that `vectors` fit into (PCI Local Bus
/// Specification 3.0, 6.8.1.3). The next pointer is 0.
pub(super) fn msi_capability(vectors: u8) -> ([u8; 14], [u8; 14]) {
    let mut bytes = [0; 14];
    let mut writable = [0; 14];
    bytes[0] = 0x05;
    let shift = vectors.next_power_of_two().trailing_zeros() as u8;
    bytes[2] = 0x80 | shift << 1; // 64-bit; multiple messages
    writable[2] = 0x71; // enable; multiple message enable
    writable[4] = 0xfc; // address, dword aligned
    writable[5..14].fill(0xff); // address, upper address, data
    (bytes, writable)
}

/// The bytes of the MSI-X capability (PCI Local Bus Specification 3.0, 6.8.2). The next pointer is 0.
pub(super) fn msix_capability(msix: Msix) -> ([u8; 12], [u8; 12]) {
    let mut bytes = [0; 12];
    let mut writable = [0; 12];
    let (table, pending) = msix.found();
    let place = |place: Place| (place.offset | u32::from(place.bar)).to_le_bytes();
    bytes[0] = 0x11;
    bytes[2..4].copy_from_slice(&(msix.vectors - 1).to_le_bytes());
    bytes[4..8].copy_from_slice(&place(table));
    bytes[8..12].copy_from_slice(&place(pending));
    writable[3] = 0xc0; // enable, mask all
    (bytes, writable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_starts_masked_and_keeps_what_is_written() {
        let mut table = MsixTable::new(Msix::new(1));
        assert_eq!(table.read(2, 12), Some(1));
        assert!(table.write(2, 0, 0xfee0_0003));
        assert!(table.write(2, 8, 0x4021));
        assert!(table.write(2, 12, 0xffff_fffe));
        assert_eq!(
            [0, 4, 8, 12].map(|at| table.read(2, at)),
            [0xfee0_0000, 0, 0x4021, 0].map(Some)
        );
        table.reset();
        assert_eq!(table, MsixTable::new(Msix::new(1)));
    }

    #[test]
    fn a_table_has_as_many_vectors_as_the_function_and_the_capability_says_so() {
        for vectors in [1, 5, 32, 64, 128, 129, 2048] {
            let msix = Msix::new(vectors);
            let table = MsixTable::new(msix);
            let last = u64::from(vectors) * 16 - 4;
            assert_eq!(table.read(2, last), Some(1));
            let pending = u64::from(msix.found().1.offset);
            assert_eq!(table.read(2, last + 4).is_some(), last + 4 == pending);
            assert!(pending + msix.pending_bytes() <= msix.own_bar().size);
            let (bytes, _) = msix_capability(msix);
            assert_eq!(u16::from_le_bytes([bytes[2], bytes[3]]), vectors - 1);
        }
        assert_eq!(Msix::new(128).own_bar().size, 0x1000);
    }

    #[test]
    fn msi_asks_for_the_next_power_of_two() {
        for (vectors, field) in [(1, 0), (2, 1), (3, 2), (17, 5), (32, 5)] {
            assert_eq!(msi_capability(vectors).0[2], 0x80 | field << 1);
        }
    }

    #[test]
    fn pending_bits_are_read_only_and_the_rest_is_not_the_tables() {
        let place = |bar, offset| Place { bar, offset };
        let mut table = MsixTable::new(Msix::new(65).at(place(0, 0x800), place(3, 8)));
        for at in [8, 12, 16, 20] {
            assert!(table.write(3, at, 1));
            assert_eq!(table.read(3, at), Some(0));
        }
        let past = 0x800 + 65 * 16;
        for (bar, at) in [(3, 4), (3, 24), (0, 0x7fc), (0, past), (1, 0x800), (0, !3)] {
            assert_eq!(table.read(bar, at), None, "BAR {bar} at {at:#x}");
            assert!(!table.write(bar, at, 0));
        }
    }
}
