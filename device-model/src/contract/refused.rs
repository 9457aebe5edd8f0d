// SPDX-License-Identifier: MIT OR Apache-2.0

//! Why a function of some identity cannot be had.

use super::identity::{FEWEST_BAR_BYTES, MOST_MSI, MOST_MSIX, MSIX_BAR};

/// Why a function of some identity cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Vendor and device mean that nothing is there.
    #[error("vendor {vendor:#06x} with device {device:#06x} means that no function is there")]
    Vendor {
        /// The vendor.
        vendor: u16,
        /// The device.
        device: u16,
    },
    /// The class has more than 24 bits.
    #[error("class {class:#x} has more than 24 bits")]
    Class {
        /// The class.
        class: u32,
    },
    /// More vectors than MSI has.
    #[error("MSI has at most {MOST_MSI} vectors, not {vectors}")]
    Msi {
        /// How many were wanted.
        vectors: u8,
    },
    /// The MSI-X table cannot be so.
    #[error("MSI-X: {why}")]
    Msix {
        /// Why.
        why: MsixError,
    },
    /// A BAR cannot be so.
    #[error("BAR {index}: {why}")]
    Bar {
        /// Which.
        index: u8,
        /// Why.
        why: BarError,
    },
    /// A capability cannot be so.
    #[error("capability {id:#x}: {why}")]
    Capability {
        /// Its identifier.
        id: u16,
        /// Why.
        why: CapabilityError,
    },
}

/// Why a BAR cannot be so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BarError {
    /// There are six.
    #[error("there are BARs 0 to 5")]
    NoSuchBar,
    /// A 64-bit BAR takes two.
    #[error("a 64-bit BAR takes the next one too, so it is 0 to 4")]
    NoUpperHalf,
    /// It is described twice, or it is the upper half of another.
    #[error("it is taken already, by itself or by a 64-bit BAR below it")]
    Taken,
    /// A BAR decodes a power of two.
    #[error("{size} bytes are no power of two")]
    NoPowerOfTwo {
        /// Bytes that were wanted.
        size: u64,
    },
    /// It is too small or too large.
    #[error("{size} bytes are not within {FEWEST_BAR_BYTES} bytes and 1 GiB")]
    Size {
        /// Bytes that were wanted.
        size: u64,
    },
    /// The memory is of another length.
    #[error("its memory has {length} bytes, which is not what it decodes")]
    Backing {
        /// Bytes of the memory.
        length: u64,
    },
    /// What is mapped is whole pages.
    #[error("{size} bytes cannot be mapped: a page has 4096")]
    NoPage {
        /// Bytes that were wanted.
        size: u64,
    },
}

/// Why an MSI-X table cannot be so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MsixError {
    /// Too few or too many.
    #[error("it has 1 to {MOST_MSIX} vectors, not {vectors}")]
    Vectors {
        /// How many were wanted.
        vectors: u16,
    },
    /// No place was told, and the BAR that it would have is the function's.
    #[error(
        "BAR {MSIX_BAR} is the table's unless another place is told for it, and the function has it"
    )]
    Taken,
    /// Bits 2:0 of the place say which BAR.
    #[error("{offset:#x} is no place for its {what}: it is no multiple of 8")]
    Unaligned {
        /// The table or the pending bits.
        what: &'static str,
        /// Where it was to be.
        offset: u32,
    },
    /// The function has no such BAR.
    #[error("the function has no BAR {bar} for its {what}")]
    NoBar {
        /// The table or the pending bits.
        what: &'static str,
        /// Which BAR.
        bar: u8,
    },
    /// It does not fit.
    #[error("BAR {bar} has no room for its {what} at {offset:#x}")]
    PastEnd {
        /// The table or the pending bits.
        what: &'static str,
        /// Which BAR.
        bar: u8,
        /// Where it was to be.
        offset: u32,
    },
    /// They lie on each other.
    #[error("its table and its pending bits overlap")]
    Overlap,
}

/// Why a capability cannot be so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CapabilityError {
    /// It does not fit into the list's field, or means that there is none.
    #[error("that is no identifier of its list")]
    Identifier,
    /// The machine makes it from the rest of the identity.
    #[error("this one is made from the rest of the identity")]
    Ours,
    /// There is no extended list.
    #[error("a function of conventional PCI has no extended capabilities")]
    NotExpress,
    /// The field has 4 bits, and 0 is none.
    #[error("version {version} is not within 1 and 15")]
    Version {
        /// The version.
        version: u8,
    },
    /// More writable bits than bits.
    #[error("it says of more bytes what is writable than it has")]
    Writable,
    /// The first byte of a vendor-specific capability says another length than it has.
    #[error("the first byte of a vendor-specific one is its length, here {length}")]
    VendorLength {
        /// Bytes that it has, head included.
        length: usize,
    },
    /// The space is full.
    #[error("there is no room for its {length} bytes; {left} bytes in a row are left")]
    NoRoom {
        /// Bytes that it has, head included.
        length: usize,
        /// Most bytes that could be had.
        left: usize,
    },
}
