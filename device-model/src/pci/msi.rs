// SPDX-License-Identifier: MIT OR Apache-2.0

//! The message interrupt capabilities, and the table of MSI-X.

/// BAR that holds the MSI-X table and its pending bits, and nothing else.
pub const MSIX_BAR: u8 = 2;
/// Bytes of that BAR.
pub const MSIX_BAR_SIZE: u32 = 0x1000;
/// Offset of the pending bits in it; the table is at 0.
pub const MSIX_PENDING: u32 = 0x800;
/// Most vectors in the table.
pub const MOST_VECTORS: u16 = 32;

/// Vectors that a table for so many has.
pub fn vectors(wanted: u16) -> u16 {
    wanted.clamp(1, MOST_VECTORS)
}

/// The MSI-X table. QEMU keeps its own and never asks for this one; other machines may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MsixTable {
    entries: Vec<u32>,
}

impl MsixTable {
    /// A table of that many vectors, all masked.
    pub fn new(count: u16) -> Self {
        let masked = [0, 0, 0, 1];
        Self {
            entries: masked.repeat(usize::from(vectors(count))),
        }
    }

    /// Returns to the state after power-on.
    pub fn reset(&mut self) {
        for (index, entry) in self.entries.iter_mut().enumerate() {
            *entry = u32::from(index % 4 == 3); // masked
        }
    }

    /// Reads a whole register of the BAR; the pending bits read 0, all else all-ones.
    pub fn read(&self, offset: u64) -> u32 {
        match usize::try_from(offset / 4)
            .ok()
            .and_then(|n| self.entries.get(n))
        {
            Some(entry) => *entry,
            None if offset == u64::from(MSIX_PENDING) => 0,
            None if offset == u64::from(MSIX_PENDING) + 4 => 0,
            None => u32::MAX,
        }
    }

    /// Writes a whole register of the BAR; the pending bits are read-only.
    pub fn write(&mut self, offset: u64, value: u32) {
        let index = usize::try_from(offset / 4).ok();
        if let Some(entry) = index.and_then(|n| self.entries.get_mut(n)) {
            *entry = match offset % 16 {
                0 => value & !3,
                12 => value & 1,
                _ => value,
            };
        }
    }
}

/// The bytes of the MSI capability: one vector, 64-bit address, no masking. The next pointer is 0.
pub(super) fn msi_capability() -> ([u8; 14], [u8; 14]) {
    let mut bytes = [0; 14];
    let mut writable = [0; 14];
    bytes[0] = 0x05;
    bytes[2] = 0x80; // 64-bit; one message
    writable[2] = 0x71; // enable; multiple message enable
    writable[4] = 0xfc; // address, dword aligned
    writable[5..14].fill(0xff); // address, upper address, data
    (bytes, writable)
}

/// The bytes of the MSI-X capability for a table of `count` vectors. The next pointer is 0.
pub(super) fn msix_capability(count: u16) -> ([u8; 12], [u8; 12]) {
    let mut bytes = [0; 12];
    let mut writable = [0; 12];
    bytes[0] = 0x11;
    bytes[2..4].copy_from_slice(&(vectors(count) - 1).to_le_bytes());
    bytes[4..8].copy_from_slice(&u32::from(MSIX_BAR).to_le_bytes());
    bytes[8..12].copy_from_slice(&(MSIX_PENDING | u32::from(MSIX_BAR)).to_le_bytes());
    writable[3] = 0xc0; // enable, mask all
    (bytes, writable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_starts_masked_and_keeps_what_is_written() {
        let mut table = MsixTable::new(1);
        assert_eq!(table.read(12), 1);
        table.write(0, 0xfee0_0003);
        table.write(8, 0x4021);
        table.write(12, 0xffff_fffe);
        assert_eq!(
            [0, 4, 8, 12].map(|at| table.read(at)),
            [0xfee0_0000, 0, 0x4021, 0]
        );
        table.reset();
        assert_eq!(table, MsixTable::new(1));
    }

    #[test]
    fn a_table_has_as_many_vectors_as_the_function_and_the_capability_says_so() {
        for (wanted, has) in [(0, 1), (1, 1), (5, 5), (32, 32), (u16::MAX, 32)] {
            let table = MsixTable::new(wanted);
            let last = u64::from(has) * 16 - 4;
            assert_eq!((table.read(last), table.read(last + 4)), (1, u32::MAX));
            let (bytes, _) = msix_capability(wanted);
            assert_eq!(u16::from_le_bytes([bytes[2], bytes[3]]), has - 1);
        }
    }

    #[test]
    fn pending_bits_are_read_only_and_the_rest_unclaimed() {
        let mut table = MsixTable::new(1);
        table.write(u64::from(MSIX_PENDING), 1);
        assert_eq!(table.read(u64::from(MSIX_PENDING)), 0);
        assert_eq!(table.read(0x10), u32::MAX);
        assert_eq!(table.read(!3), u32::MAX);
    }
}
