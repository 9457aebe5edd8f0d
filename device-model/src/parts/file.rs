// SPDX-License-Identifier: MIT OR Apache-2.0

//! Registers that need no code of their own.

use std::collections::BTreeMap;

use crate::contract::register::Description;
use crate::contract::{RegisterName, UNCLAIMED, lookup};

/// What the bits of a register do. A bit is in one of the masks, or read-only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bits {
    /// What the register is after power-on.
    pub reset: u32,
    /// These keep what is written.
    pub kept: u32,
    /// A one that is written clears them: write 1 to clear.
    pub clear_by_one: u32,
    /// Reading clears them: read to clear.
    pub clear_by_read: u32,
    /// A one that is written acts, and they read 0: doorbells, resets.
    pub acting: u32,
}

impl Bits {
    /// All are kept; 0 after power-on.
    pub const KEPT: Self = Self {
        kept: u32::MAX,
        ..Self::FIXED
    };
    /// All are read-only; 0 after power-on.
    pub const FIXED: Self = Self {
        reset: 0,
        kept: 0,
        clear_by_one: 0,
        clear_by_read: 0,
        acting: 0,
    };

    /// All are read-only, and always `value` unless the device itself sets them.
    pub const fn fixed(value: u32) -> Self {
        Self {
            reset: value,
            ..Self::FIXED
        }
    }

    /// A one that is written clears these; the others are read-only.
    pub const fn clear_by_one(bits: u32) -> Self {
        Self {
            clear_by_one: bits,
            ..Self::FIXED
        }
    }

    /// Reading clears these; the others are read-only.
    pub const fn clear_by_read(bits: u32) -> Self {
        Self {
            clear_by_read: bits,
            ..Self::FIXED
        }
    }

    /// A one that is written to these acts; the others are kept.
    pub const fn acting(bits: u32) -> Self {
        Self {
            acting: bits,
            kept: !bits,
            ..Self::FIXED
        }
    }
}

/// What a write did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The register before.
    pub before: u32,
    /// The register now.
    pub after: u32,
    /// The acting bits that were written as one.
    pub acts: u32,
}

/// A file of 32-bit registers, made of a table of [`register!`](crate::register). All bits are kept, and 0 after power-on,
/// unless a register is told other [`Bits`]. What a device does with them is its own: it sets what they read as, and acts on
/// what was [`Written`].
///
/// A whole device's registers, one of them read to clear:
///
/// ```
/// use landfall_device::contract::*;
/// use landfall_device::parts::{Bits, RegisterFile};
///
/// landfall_device::register! {
///     pub(crate) CONTROL(u32) @ 0x0 {
///         8:8 go => bool;
///         0:0 enabled => bool;
///     }
///     /// Read to clear.
///     pub(crate) EVENTS(u32) @ 0x4 {
///         1:0 events => u8;
///     }
/// }
///
/// struct Card { file: RegisterFile }
///
/// impl Card {
///     fn new() -> Self {
///         let file = RegisterFile::new(REGISTERS)
///             .with(CONTROL::OFFSET, Bits::acting(1 << 8))
///             .with(EVENTS::OFFSET, Bits::clear_by_read(3));
///         Self { file }
///     }
/// }
///
/// # impl Device for Card {
/// #     fn identity(&self) -> Identity { Identity::default() }
/// #     fn reset(&mut self, _kind: Reset) { self.file.reset(); }
/// #     fn step(&mut self, _host: &mut dyn Host) -> Next { Next::Idle }
/// #     fn line(&self) -> bool { false }
/// # }
/// impl Registers for Card {
///     fn register(&self, bar: u8, offset: u64) -> Option<RegisterName> {
///         self.file.name(offset).filter(|_| bar == 0)
///     }
///     fn read(&self, _bar: u8, offset: u64) -> u32 {
///         self.file.read(offset)
///     }
///     fn held(&self, _bar: u8, offset: u64) -> u32 {
///         self.file.held(offset)
///     }
///     fn after_read(&mut self, _bar: u8, offset: u64, _host: &mut dyn Host) {
///         self.file.after_read(offset);
///     }
///     fn write(&mut self, _bar: u8, offset: u64, value: u32, _host: &mut dyn Host) {
///         let written = self.file.write(offset, value);
///         if offset == CONTROL::OFFSET as u64 && CONTROL::from_raw(written.acts).go() {
///             self.file.set(EVENTS::OFFSET, 1); // it went
///         }
///     }
/// }
///
/// let mut host = landfall_device::testing::FakeHost::default();
/// let mut card = Card::new();
/// card.write(0, 0, 0x101, &mut host);
/// assert_eq!((card.read(0, 0), card.read(0, 4)), (1, 1));
/// card.after_read(0, 4, &mut host);
/// assert_eq!(card.read(0, 4), 0);
/// ```
#[derive(Clone, Debug)]
pub struct RegisterFile {
    table: &'static [Description],
    words: BTreeMap<u64, (u32, Bits)>,
}

impl RegisterFile {
    /// The registers of a table, as after power-on.
    pub fn new(table: &'static [Description]) -> Self {
        let each = table.iter().flat_map(|entry| {
            (0..entry.count).map(|index| (entry.offset + index * entry.stride) as u64)
        });
        Self {
            table,
            words: each.map(|offset| (offset, (0, Bits::KEPT))).collect(),
        }
    }

    /// The same, where a register's bits are other ones; of an array all its elements. Nothing happens if there is no
    /// register.
    pub fn with(mut self, offset: usize, bits: Bits) -> Self {
        let of = self
            .table
            .iter()
            .find(|entry| entry.index(offset).is_some());
        let all = of.into_iter().flat_map(|entry| {
            (0..entry.count).map(|index| (entry.offset + index * entry.stride) as u64)
        });
        for offset in all {
            self.words.insert(offset, (bits.reset, bits));
        }
        self
    }

    /// What a register is called; `None`: there is none.
    pub fn name(&self, offset: u64) -> Option<RegisterName> {
        lookup(self.table, offset)
    }

    /// What a register reads as; all-ones where there is none.
    pub fn read(&self, offset: u64) -> u32 {
        self.words
            .get(&offset)
            .map_or(UNCLAIMED, |(value, _)| *value)
    }

    /// What a register keeps of itself when only some of its bytes are written: no bit of it acts.
    pub fn held(&self, offset: u64) -> u32 {
        let held = self.words.get(&offset);
        held.map_or(0, |(value, bits)| value & !bits.clear_by_one & !bits.acting)
    }

    /// Clears what a read clears, and gives the bits that it cleared.
    pub fn after_read(&mut self, offset: u64) -> u32 {
        self.words.get_mut(&offset).map_or(0, |(value, bits)| {
            let cleared = *value & bits.clear_by_read;
            *value &= !cleared;
            cleared
        })
    }

    /// Writes a register as the driver does.
    pub fn write(&mut self, offset: u64, written: u32) -> Written {
        let Some((value, bits)) = self.words.get_mut(&offset) else {
            return Written::default();
        };
        let before = *value;
        let kept = before & !bits.kept | written & bits.kept;
        *value = kept & !(written & bits.clear_by_one);
        Written {
            before,
            after: *value,
            acts: written & bits.acting,
        }
    }

    /// What a register is, by its offset in the table: for the device itself.
    pub fn get(&self, offset: usize) -> u32 {
        self.read(offset as u64)
    }

    /// Puts a whole register, as the device itself does, whatever a driver may write.
    pub fn put(&mut self, offset: usize, value: u32) {
        if let Some((held, _)) = self.words.get_mut(&(offset as u64)) {
            *held = value;
        }
    }

    /// Sets bits, as the device itself does.
    pub fn set(&mut self, offset: usize, bits: u32) {
        self.put(offset, self.get(offset) | bits);
    }

    /// Clears bits, as the device itself does.
    pub fn clear(&mut self, offset: usize, bits: u32) {
        self.put(offset, self.get(offset) & !bits);
    }

    /// Returns to the state after power-on.
    pub fn reset(&mut self) {
        for (value, bits) in self.words.values_mut() {
            *value = bits.reset;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    mod table {
        #![expect(
            dead_code,
            clippy::upper_case_acronyms,
            reason = "the table is whole, and its names are a data sheet's"
        )]
        use crate::register;
        register! {
            pub(crate) PLAIN(u32) @ 0x0 {
                31:0 value => u32;
            }
            pub(crate) MIXED(u32) @ 0x4 {
                31:0 value => u32;
            }
            pub(crate) MANY(u32)[3, stride = 0x10] @ 0x100 {
                31:0 value => u32;
            }
        }
    }
    use table::{MANY, MIXED, PLAIN, REGISTERS};

    #[test]
    fn what_is_in_no_table_is_nothing() {
        let mut file = RegisterFile::new(REGISTERS).with(0x44, Bits::KEPT);
        file.put(0x44, 1);
        assert_eq!(file.write(0x44, 1), Written::default());
        assert_eq!(
            (file.read(0x44), file.held(0x44), file.after_read(0x44)),
            (UNCLAIMED, 0, 0)
        );
        assert_eq!(file.name(0x44), None);
    }

    #[test]
    fn an_array_is_told_once_and_has_words_of_its_own() {
        let mut file = RegisterFile::new(REGISTERS).with(MANY::OFFSET, Bits::fixed(7));
        assert_eq!(
            file.name(0x110).map(|name| name.to_string()).as_deref(),
            Some("MANY[1]")
        );
        file.put(0x110, 9);
        assert_eq!([0x100, 0x110, 0x120].map(|at| file.read(at)), [7, 9, 7]);
        assert_eq!(file.write(0x120, 1).after, 7);
        file.set(PLAIN::OFFSET, 6);
        file.clear(PLAIN::OFFSET, 2);
        assert_eq!(file.get(PLAIN::OFFSET), 4);
        file.reset();
        assert_eq!([0x0, 0x110].map(|at| file.read(at)), [0, 7]);
    }

    #[derive(Clone, Debug)]
    enum Act {
        Write(u32),
        WriteByte(u8, u8),
        Read,
        Set(u32),
        Reset,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            any::<u32>().prop_map(Act::Write),
            (0u8..4, any::<u8>()).prop_map(|(lane, byte)| Act::WriteByte(lane, byte)),
            Just(Act::Read),
            any::<u32>().prop_map(Act::Set),
            Just(Act::Reset),
        ]
    }

    proptest! {
        /// Each bit by itself does what it is said to do, in whole writes and in those of one byte.
        #[test]
        fn every_bit_does_what_it_is_said_to(
            kinds in proptest::array::uniform32(0u8..5), reset: u32,
            acts in proptest::collection::vec(act(), 0..40),
        ) {
            let mask = |kind: u8| (0..32).filter(|bit| kinds[*bit] == kind).fold(0, |all, bit| all | 1 << bit);
            let (kept, by_one, by_read, acting) = (mask(1), mask(2), mask(3), mask(4));
            let bits = Bits {
                reset: reset & !acting,
                kept,
                clear_by_one: by_one,
                clear_by_read: by_read,
                acting,
            };
            let mut file = RegisterFile::new(REGISTERS).with(MIXED::OFFSET, bits);
            let mut model = bits.reset;
            for act in acts {
                match act {
                    Act::Write(value) => {
                        let written = file.write(4, value);
                        prop_assert_eq!((written.before, written.acts), (model, value & acting));
                        model = (model & !kept | value & kept) & !(value & by_one);
                        prop_assert_eq!(written.after, model);
                    }
                    // As the access layer does it.
                    Act::WriteByte(lane, byte) => {
                        let lanes = 0xff << (8 * lane);
                        let byte = u32::from(byte) << (8 * lane);
                        file.write(4, file.held(4) & !lanes | byte);
                        let ones = kept & lanes;
                        model = (model & !ones | byte & ones) & !(byte & by_one);
                    }
                    Act::Read => {
                        prop_assert_eq!(file.after_read(4), model & by_read);
                        model &= !by_read;
                    }
                    Act::Set(bits) => {
                        file.set(MIXED::OFFSET, bits & !acting);
                        model |= bits & !acting;
                    }
                    Act::Reset => {
                        file.reset();
                        model = reset & !acting;
                    }
                }
                prop_assert_eq!(file.read(4), model);
            }
        }
    }
}
