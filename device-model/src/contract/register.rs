// SPDX-License-Identifier: MIT OR Apache-2.0

//! The host's own [`register!`](crate::register), of the same grammar as the Linux kernel's: a driver in Rust compiles the
//! same table.
//!
//! Supported: `VISIBILITY NAME(WIDTH)[COUNT, stride = BYTES] @ OFFSET { HIGH:LOW field => TYPE; }` with doc
//! comments everywhere, the array part being optional, `WIDTH` one of `u8`, `u16`, `u32`, and `TYPE` one of these or `bool`. Each
//! register becomes a type with `OFFSET`, `from_raw`, `into_raw`, `compose` (all fields at once, in the order
//! of the table) and a getter for each field; all of them together become the table `REGISTERS`, in which [`lookup`] finds
//! names.
//!
//! ```
//! use landfall_device::contract::{RegisterName, lookup};
//!
//! landfall_device::register! {
//!     /// What to do.
//!     pub(crate) CONTROL(u32) @ 0x10 {
//!         /// How many.
//!         15:8 count => u8;
//!         0:0 enabled => bool;
//!     }
//!     /// Eight of them, 16 bytes apart.
//!     pub(crate) SLOT(u32)[8, stride = 0x10] @ 0x100 {
//!         31:0 address => u32;
//!     }
//! }
//!
//! assert_eq!(CONTROL::compose(3, true).into_raw(), 0x301);
//! assert_eq!(CONTROL::from_raw(0x301).count(), 3);
//! assert_eq!(lookup(REGISTERS, 0x120).unwrap().to_string(), "SLOT[2]");
//! assert_eq!(lookup(REGISTERS, 0x14), None);
//! ```

use super::access::Access;

/// What the table says about one register or array of registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its name as the data sheet has it.
    pub name: &'static str,
    /// Offset of the first, bytes from the start of the BAR.
    pub offset: usize,
    /// Bytes of each: 1, 2 or 4.
    pub width: usize,
    /// How many there are; 1 unless it is an array.
    pub count: usize,
    /// Bytes from one to the next.
    pub stride: usize,
    /// Whether the table declares it as an array.
    pub array: bool,
}

impl Description {
    /// Tells which element lies at `offset`, if one does.
    pub fn index(&self, offset: usize) -> Option<usize> {
        let distance = offset.checked_sub(self.offset)?;
        let index = distance.checked_div(self.stride)?;
        (distance % self.stride == 0 && index < self.count).then_some(index)
    }

    /// All its bits, each in its place.
    pub const fn mask(&self) -> u64 {
        (1 << (8 * self.width)) - 1
    }
}

/// The registers that an access touches, of a table that `register!` made, in its order: each with which element it is and where
/// that begins. For those of other widths than 32 bits; see [`Access::lanes`].
///
/// ```
/// use landfall_device::contract::register::touched;
/// use landfall_device::contract::{Access, Width};
///
/// landfall_device::register! {
///     pub(crate) CONTROL(u16) @ 0x10 { 0:0 go => bool; }
///     pub(crate) STATE(u8) @ 0x13 { 7:0 state => u8; }
///     pub(crate) LEVEL(u16)[4, stride = 2] @ 0x14 { 15:0 level => u16; }
/// }
///
/// let names = |offset, width| {
///     let access = Access { bar: 0, offset, width };
///     let touched = touched(REGISTERS, access);
///     touched.map(|(register, index, at)| (register.name, index, at)).collect::<Vec<_>>()
/// };
/// assert_eq!(names(0x11, Width::One), [("CONTROL", 0, 0x10)]);
/// assert_eq!(names(0x10, Width::Four), [("CONTROL", 0, 0x10), ("STATE", 0, 0x13)]);
/// assert_eq!(names(0x18, Width::Four), [("LEVEL", 2, 0x18), ("LEVEL", 3, 0x1a)]);
/// assert_eq!(names(0x12, Width::One), []);
/// assert_eq!(names(0x1c, Width::Eight), []);
/// ```
pub fn touched(
    table: &'static [Description],
    access: Access,
) -> impl Iterator<Item = (&'static Description, usize, u64)> {
    let end = access.offset.saturating_add(access.width.bytes().into());
    table.iter().flat_map(move |entry| {
        let behind = entry.offset as u64 + entry.width as u64;
        let beyond = access.offset.saturating_add(1).saturating_sub(behind);
        let first = beyond.div_ceil(entry.stride as u64);
        let elements = (first..entry.count as u64).map(move |index| {
            let at = entry.offset as u64 + index * entry.stride as u64;
            (entry, index as usize, at)
        });
        elements.take_while(move |(.., at)| *at < end)
    })
}

/// Finds the register that begins at `offset`, bytes from the start of the BAR, in a table that `register!` made.
pub fn lookup(table: &[Description], offset: u64) -> Option<super::RegisterName> {
    let offset = usize::try_from(offset).ok()?;
    table.iter().find_map(|entry| {
        let index = entry.index(offset)?;
        Some(super::RegisterName {
            name: entry.name.into(),
            index: entry.array.then_some(index),
        })
    })
}

/// A value that fits into a field of a register.
pub trait Field: Copy {
    /// Takes the value from the low bits of `raw`.
    fn from_bits(raw: u32) -> Self;
    /// Gives the value as low bits.
    fn into_bits(self) -> u32;
}

impl Field for bool {
    fn from_bits(raw: u32) -> Self {
        raw & 1 != 0
    }
    fn into_bits(self) -> u32 {
        u32::from(self)
    }
}

impl Field for u8 {
    fn from_bits(raw: u32) -> Self {
        (raw & 0xff) as Self
    }
    fn into_bits(self) -> u32 {
        u32::from(self)
    }
}

impl Field for u16 {
    fn from_bits(raw: u32) -> Self {
        (raw & 0xffff) as Self
    }
    fn into_bits(self) -> u32 {
        u32::from(self)
    }
}

impl Field for u32 {
    fn from_bits(raw: u32) -> Self {
        raw
    }
    fn into_bits(self) -> u32 {
        self
    }
}

/// The bits `high:low`, as a mask in place.
pub const fn mask(high: u32, low: u32) -> u32 {
    (u32::MAX >> (31 - high)) & (u32::MAX << low)
}

/// Defines registers; see [`contract::register`](crate::contract::register).
#[macro_export]
macro_rules! register {
    ($(
        $(#[$attribute:meta])*
        $visibility:vis $name:ident($storage:ty) $([$count:expr, stride = $stride:expr])? @ $offset:literal {
            $( $(#[$field_attribute:meta])* $high:literal : $low:literal $field:ident => $type:ty; )*
        }
    )*) => {
        /// Every register of this table, in its order.
        pub(crate) const REGISTERS: &[$crate::contract::register::Description] = &[
            $( $crate::register!(@describe $name, $storage, $offset $(, $count, $stride)?) ),*
        ];

        $(
            $(#[$attribute])*
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
            $visibility struct $name($storage);

            impl $name {
                /// Offset of the (first) register, bytes from the start of the BAR.
                $visibility const OFFSET: usize = $offset;

                /// Takes the whole register's bits.
                $visibility const fn from_raw(raw: $storage) -> Self {
                    Self(raw)
                }

                /// Gives the whole register's bits.
                $visibility const fn into_raw(self) -> $storage {
                    self.0
                }

                /// Builds the register from its fields, in the order of the table.
                $visibility fn compose($($field: $type),*) -> Self {
                    let raw = 0 $( | ($crate::contract::register::Field::into_bits($field) << $low
                        & $crate::contract::register::mask($high, $low)) )*;
                    Self($crate::contract::register::Field::from_bits(raw))
                }

                $(
                    $(#[$field_attribute])*
                    $visibility fn $field(self) -> $type {
                        let mask = $crate::contract::register::mask($high, $low);
                        let raw = $crate::contract::register::Field::into_bits(self.0);
                        <$type as $crate::contract::register::Field>::from_bits((raw & mask) >> $low)
                    }
                )*
            }
        )*
    };
    (@describe $name:ident, $storage:ty, $offset:literal) => {
        $crate::contract::register::Description {
            name: stringify!($name), offset: $offset, width: size_of::<$storage>(), count: 1, stride: 4, array: false,
        }
    };
    (@describe $name:ident, $storage:ty, $offset:literal, $count:expr, $stride:expr) => {
        $crate::contract::register::Description {
            name: stringify!($name), offset: $offset, width: size_of::<$storage>(), count: $count, stride: $stride,
            array: true,
        }
    };
}
