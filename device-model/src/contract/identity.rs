// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a function is, so that the machine can give it its configuration space.

use super::backing::Backing;
use super::bus::InterruptKind;
use super::refused::{BarError, CapabilityError, IdentityError, MsixError};

/// Most bytes that a BAR decodes: 1 GiB.
pub const MOST_BAR_BYTES: u64 = 1 << 30;
/// Fewest bytes that a memory BAR decodes (PCI Local Bus Specification 3.0, 6.2.5.1).
pub const FEWEST_BAR_BYTES: u64 = 16;
/// Most vectors of MSI (PCI Local Bus Specification 3.0, 6.8.1.3).
pub const MOST_MSI: u8 = 32;
/// Most vectors of MSI-X (PCI Local Bus Specification 3.0, 6.8.2.3).
pub const MOST_MSIX: u16 = 2048;
/// BAR of an MSI-X table that has one of its own.
pub const MSIX_BAR: u8 = 2;

/// What the function hangs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Link {
    /// PCI Express: an endpoint, with the capability of that name and function-level reset.
    #[default]
    Express,
    /// Conventional PCI: no such capability, and 256 bytes of configuration space that mean anything.
    Pci,
}

/// What lies behind a BAR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Registers: every access goes to the function.
    Registers,
    /// Memory: the function hears of no access.
    Memory {
        /// The memory; as long as the BAR.
        backing: Backing,
        /// It is mapped into the guest, which then reaches it at the speed of memory, and unseen. Writes to that BAR
        /// that are trapped all the same wait for an answer.
        mapped: bool,
    },
}

/// A memory BAR that a function decodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Which: 0 to 5; of a 64-bit BAR the lower of the two that it takes, 0 to 4.
    pub index: u8,
    /// Bytes: a power of two, [`FEWEST_BAR_BYTES`] to [`MOST_BAR_BYTES`].
    pub size: u64,
    /// It takes an address of 64 bits, and the next BAR with it.
    pub wide: bool,
    /// Reading has no effect, and writes may be merged.
    pub prefetchable: bool,
    /// What lies behind it.
    pub contents: Contents,
}

impl Bar {
    /// Registers: 32-bit, not prefetchable.
    pub const fn registers(index: u8, size: u64) -> Self {
        Self {
            index,
            size,
            wide: false,
            prefetchable: false,
            contents: Contents::Registers,
        }
    }

    /// Memory, of the backing's length; 32-bit, not prefetchable, not mapped.
    pub fn memory(index: u8, backing: &Backing) -> Self {
        let contents = Contents::Memory {
            backing: backing.clone(),
            mapped: false,
        };
        Self {
            contents,
            ..Self::registers(index, backing.length())
        }
    }

    /// The same, of 64 bits.
    pub fn wide(self) -> Self {
        Self { wide: true, ..self }
    }

    /// The same, prefetchable.
    pub fn prefetchable(self) -> Self {
        Self {
            prefetchable: true,
            ..self
        }
    }

    /// The same memory, mapped into the guest. Registers stay as they are.
    pub fn mapped(mut self) -> Self {
        if let Contents::Memory { mapped, .. } = &mut self.contents {
            *mapped = true;
        }
        self
    }
}

/// A place in a BAR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which BAR; of a 64-bit one the lower of the two.
    pub bar: u8,
    /// Bytes from its start; a multiple of 8.
    pub offset: u32,
}

/// Interrupts that are signalled through a table (MSI-X).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msix {
    /// Vectors: 1 to [`MOST_MSIX`].
    pub vectors: u16,
    /// Where the table is, and where its pending bits are, in BARs that the function has. The function hears of no access
    /// to them. `None`: in [`MSIX_BAR`], which the function must leave free then.
    pub places: Option<(Place, Place)>,
}

impl Msix {
    /// So many vectors, with the table in a BAR of its own.
    pub const fn new(vectors: u16) -> Self {
        let places = None;
        Self { vectors, places }
    }

    /// The same, with the table and its pending bits in BARs of the function's.
    pub const fn at(self, table: Place, pending: Place) -> Self {
        Self {
            places: Some((table, pending)),
            ..self
        }
    }

    /// Bytes of the table.
    pub(crate) fn table_bytes(self) -> u64 {
        u64::from(self.vectors) * 16
    }

    /// Bytes of the pending bits.
    pub(crate) fn pending_bytes(self) -> u64 {
        u64::from(self.vectors).div_ceil(64) * 8
    }

    /// Where the table is, and where its pending bits are.
    pub(crate) fn found(self) -> (Place, Place) {
        self.places.unwrap_or_else(|| {
            let place = |offset| Place {
                bar: MSIX_BAR,
                offset,
            };
            // In the second half of a BAR of at least a page, which both fit into.
            (place(0), place((self.own_bar().size / 2) as u32))
        })
    }

    /// The BAR that it takes if it is told no other place.
    pub(crate) fn own_bar(self) -> Bar {
        let half = self.table_bytes().next_power_of_two().max(0x800);
        Bar::registers(MSIX_BAR, 2 * half)
    }
}

/// Which list a capability is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CapabilitySpace {
    /// The first 256 bytes: an identifier of 8 bits, and the offset of the next.
    Standard,
    /// From byte 256 on, of PCI Express alone: an identifier of 16 bits, a version of 4.
    Extended {
        /// The structure's version, 1 to 15.
        version: u8,
    },
}

/// A capability of the function's own, placed in the list behind those that the machine knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Which list.
    pub space: CapabilitySpace,
    /// Its identifier: of the standard list 1 to 0xff, and none that the machine itself makes.
    pub id: u16,
    /// What follows identifier and link (2 bytes of the standard list, 4 of the extended one).
    pub bytes: Vec<u8>,
    /// Which bits of these software may write; what is left out is read-only.
    pub writable: Vec<u8>,
}

impl Capability {
    /// A capability of the standard list, read-only.
    pub fn standard(id: u8, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            space: CapabilitySpace::Standard,
            id: id.into(),
            bytes: bytes.into(),
            writable: Vec::new(),
        }
    }

    /// A vendor-specific capability (0x09) with `bytes` after its length, read-only.
    pub fn vendor(bytes: &[u8]) -> Self {
        let length = u8::try_from(bytes.len().saturating_add(3)).unwrap_or(u8::MAX);
        let mut all = vec![length];
        all.extend(bytes);
        Self::standard(0x09, all)
    }

    /// A capability of the extended list, version 1, read-only.
    pub fn extended(id: u16, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            space: CapabilitySpace::Extended { version: 1 },
            id,
            bytes: bytes.into(),
            writable: Vec::new(),
        }
    }

    /// The same, of which software may write the bits that are set in `bits`.
    pub fn writable(self, bits: impl Into<Vec<u8>>) -> Self {
        Self {
            writable: bits.into(),
            ..self
        }
    }

    /// Bytes that it takes, with its head.
    pub(crate) fn length(&self) -> usize {
        let head = match self.space {
            CapabilitySpace::Standard => 2,
            CapabilitySpace::Extended { .. } => 4,
        };
        self.bytes.len().saturating_add(head)
    }
}

/// What the machine must know to give a function its configuration space. The line (INTx, pin A) every function has.
///
/// ```
/// use landfall_device::contract::{Bar, Identity, InterruptKind};
///
/// let identity = Identity {
///     vendor: 0x1b36,
///     device: 0x4c47,
///     class: 0x04_00_00,
///     bars: vec![Bar::registers(0, 0x1000)],
///     ..Identity::default()
/// };
/// assert_eq!(identity.interrupting(InterruptKind::Msi, 4).check(), Ok(()));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// PCI vendor. By default none, and then the identity is refused.
    pub vendor: u16,
    /// PCI device.
    pub device: u16,
    /// Vendor and device of the subsystem; `None`: the same as the function's own.
    pub subsystem: Option<(u16, u16)>,
    /// Base class << 16 | subclass << 8 | programming interface: 24 bits.
    pub class: u32,
    /// PCI revision.
    pub revision: u8,
    /// What it hangs on.
    pub link: Link,
    /// Vectors of message interrupts (MSI, 64-bit address, no masks): 0, which is none, to [`MOST_MSI`]. The function asks
    /// for the next power of two.
    pub msi: u8,
    /// Message interrupts through a table (MSI-X). Software uses these if it has both.
    pub msix: Option<Msix>,
    /// Its BARs, in any order.
    pub bars: Vec<Bar>,
    /// Further capabilities, in the order of their lists.
    pub capabilities: Vec<Capability>,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            vendor: 0xffff,
            device: 0xffff,
            subsystem: None,
            class: 0xff_00_00,
            revision: 0,
            link: Link::Express,
            msi: 0,
            msix: None,
            bars: Vec::new(),
            capabilities: Vec::new(),
        }
    }
}

impl Identity {
    /// The same, with `vectors` of one kind of interrupt and none of the others; the line needs no word.
    pub fn interrupting(self, kind: InterruptKind, vectors: u16) -> Self {
        let (msi, msix) = match kind {
            InterruptKind::Intx => (0, None),
            InterruptKind::Msi => (u8::try_from(vectors).unwrap_or(u8::MAX), None),
            InterruptKind::Msix => (0, Some(Msix::new(vectors))),
        };
        Self { msi, msix, ..self }
    }

    /// Whether such a function can be had.
    ///
    /// # Errors
    /// The first thing that cannot, and why. Room for the capabilities is looked at when the card is made.
    pub fn check(&self) -> Result<(), IdentityError> {
        if self.vendor == 0xffff || (self.vendor, self.device) == (0, 0) {
            let (vendor, device) = (self.vendor, self.device);
            return Err(IdentityError::Vendor { vendor, device });
        }
        if self.class >> 24 != 0 {
            return Err(IdentityError::Class { class: self.class });
        }
        if self.msi > MOST_MSI {
            let vectors = self.msi;
            return Err(IdentityError::Msi { vectors });
        }
        self.check_bars()?;
        self.msix.map_or(Ok(()), |msix| self.check_msix(msix))?;
        self.capabilities
            .iter()
            .try_for_each(|capability| self.check_capability(capability))
    }

    fn check_bars(&self) -> Result<(), IdentityError> {
        let mut taken = [false; 6];
        for bar in &self.bars {
            let index = bar.index;
            let wrong = |why| Err(IdentityError::Bar { index, why });
            if !bar.size.is_power_of_two() {
                return wrong(BarError::NoPowerOfTwo { size: bar.size });
            }
            if !(FEWEST_BAR_BYTES..=MOST_BAR_BYTES).contains(&bar.size) {
                return wrong(BarError::Size { size: bar.size });
            }
            let last = usize::from(index) + usize::from(bar.wide);
            let Some(slots) = taken.get_mut(usize::from(index)..=last) else {
                return wrong(match bar.wide {
                    true => BarError::NoUpperHalf,
                    false => BarError::NoSuchBar,
                });
            };
            if slots.contains(&true) {
                return wrong(BarError::Taken);
            }
            slots.fill(true);
            if let Contents::Memory { backing, mapped } = &bar.contents {
                if backing.length() != bar.size {
                    let length = backing.length();
                    return wrong(BarError::Backing { length });
                }
                if *mapped && bar.size < 4096 {
                    return wrong(BarError::NoPage { size: bar.size });
                }
            }
        }
        Ok(())
    }

    fn check_msix(&self, msix: Msix) -> Result<(), IdentityError> {
        let wrong = |why| Err(IdentityError::Msix { why });
        if !(1..=MOST_MSIX).contains(&msix.vectors) {
            let vectors = msix.vectors;
            return wrong(MsixError::Vectors { vectors });
        }
        let Some((table, pending)) = msix.places else {
            let takes = |bar: &Bar| {
                bar.index == MSIX_BAR || bar.wide && bar.index.saturating_add(1) == MSIX_BAR
            };
            return match self.bars.iter().any(takes) {
                true => wrong(MsixError::Taken),
                false => Ok(()),
            };
        };
        for (what, place, bytes) in [
            ("table", table, msix.table_bytes()),
            ("pending bits", pending, msix.pending_bytes()),
        ] {
            let (bar, offset) = (place.bar, place.offset);
            if !offset.is_multiple_of(8) {
                return wrong(MsixError::Unaligned { what, offset });
            }
            let Some(found) = self.bars.iter().find(|found| found.index == bar) else {
                return wrong(MsixError::NoBar { what, bar });
            };
            if u64::from(offset) + bytes > found.size {
                return wrong(MsixError::PastEnd { what, bar, offset });
            }
        }
        let ends = |place: Place, bytes: u64| u64::from(place.offset) + bytes;
        let overlap = table.bar == pending.bar
            && u64::from(table.offset) < ends(pending, msix.pending_bytes())
            && u64::from(pending.offset) < ends(table, msix.table_bytes());
        match overlap {
            true => wrong(MsixError::Overlap),
            false => Ok(()),
        }
    }

    fn check_capability(&self, capability: &Capability) -> Result<(), IdentityError> {
        let id = capability.id;
        let wrong = |why| Err(IdentityError::Capability { id, why });
        match capability.space {
            CapabilitySpace::Standard if !(1..=0xff).contains(&id) => {
                wrong(CapabilityError::Identifier)
            }
            // Power management, MSI, PCI Express, MSI-X.
            CapabilitySpace::Standard if matches!(id, 0x01 | 0x05 | 0x10 | 0x11) => {
                wrong(CapabilityError::Ours)
            }
            CapabilitySpace::Extended { .. } if self.link == Link::Pci => {
                wrong(CapabilityError::NotExpress)
            }
            CapabilitySpace::Extended { .. } if id == 0 || id == 0xffff => {
                wrong(CapabilityError::Identifier)
            }
            CapabilitySpace::Extended { version } if !(1..=15).contains(&version) => {
                wrong(CapabilityError::Version { version })
            }
            _ if capability.writable.len() > capability.bytes.len() => {
                wrong(CapabilityError::Writable)
            }
            // Whoever walks the list goes by the length that a vendor-specific one says.
            CapabilitySpace::Standard
                if id == 0x09
                    && capability.bytes.first().map(|length| usize::from(*length))
                        != Some(capability.length()) =>
            {
                wrong(CapabilityError::VendorLength {
                    length: capability.length(),
                })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "identity_tests.rs"]
mod tests;
