// SPDX-License-Identifier: MIT OR Apache-2.0

//! A ring of descriptors in memory.

use crate::contract::{DmaError, Host, Tag};

/// Why there can be no such ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// A ring has entries, and these have bytes.
    #[error("a ring of {entries} entries of {bytes} bytes is none")]
    Empty {
        /// How many entries.
        entries: u32,
        /// Bytes of each.
        bytes: u32,
    },
    /// It would pass the end of the address space.
    #[error("a ring of {length} bytes at {base:#x} passes the end of the address space")]
    Wraps {
        /// Its first bus address.
        base: u64,
        /// Its bytes.
        length: u64,
    },
}

/// A ring of descriptors in memory, and the entry that the device looks at next. Says nothing of what is in an entry; what
/// tells of a new one is the device's to know:
///
/// - **head and tail**: the driver writes the index behind the last entry to a register: [`Ring::pending`];
/// - **an owner bit** in the entry: fetch, and go on if it is the device's;
/// - **a phase bit** in the entry (NVM Express Base Specification, completion queues): fetch, and compare with
///   [`Ring::phase`].
///
/// ```
/// use landfall_device::contract::{Role, Tag};
/// use landfall_device::parts::Ring;
/// use landfall_device::testing::FakeHost;
///
/// let mut host = FakeHost::default();
/// host.map(0x1000, 0x1000);
/// host.put(0x1010, &[7; 16]);
///
/// let tag = Tag::default().role(Role::Descriptor);
/// let mut ring = Ring::new(0x1000, 4, 16).unwrap();
/// ring.go_to(1);
/// // The driver has written 3 to the tail's register: 1 and 2 are the device's.
/// assert_eq!(ring.pending(3), Some(2));
/// let mut entry = [0; 16];
/// ring.fetch(&mut host, &mut entry, tag).unwrap();
/// assert_eq!(entry, [7; 16]);
/// ring.write_back(&mut host, 12, &[0x80], tag).unwrap(); // DONE
/// assert_eq!(host.byte(0x101c), 0x80);
/// ring.advance();
/// assert_eq!(ring.index(), 2);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    base: u64,
    entries: u32,
    bytes: u32,
    index: u32,
    phase: bool,
}

impl Ring {
    /// A ring of `entries` entries of `bytes` bytes each, from bus address `base` on; the device looks at entry 0 next.
    ///
    /// # Errors
    /// It has no entries, these have no bytes, or its end is beyond the address space: all of which a driver may ask for.
    pub fn new(base: u64, entries: u32, bytes: u32) -> Result<Self, RingError> {
        let length = u64::from(entries) * u64::from(bytes);
        if length == 0 {
            return Err(RingError::Empty { entries, bytes });
        }
        // Its last byte is within, so no address of an entry wraps.
        if base.checked_add(length - 1).is_none() {
            return Err(RingError::Wraps { base, length });
        }
        Ok(Self {
            base,
            entries,
            bytes,
            index: 0,
            phase: true,
        })
    }

    /// How many entries it has.
    pub const fn entries(&self) -> u32 {
        self.entries
    }

    /// Its bytes.
    pub const fn length(&self) -> u64 {
        self.entries as u64 * self.bytes as u64
    }

    /// The entry that is looked at next.
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// Bus address of the entry that is looked at next.
    pub const fn address(&self) -> u64 {
        self.base + self.index as u64 * self.bytes as u64
    }

    /// The phase of the round that it is in: true in the first, and another one in each that follows.
    pub const fn phase(&self) -> bool {
        self.phase
    }

    /// How many entries there are from the next one up to, but without, `tail`; `None`: there is no such entry, and the
    /// driver is wrong.
    pub const fn pending(&self, tail: u32) -> Option<u32> {
        match tail < self.entries {
            true if tail >= self.index => Some(tail - self.index),
            true => Some(self.entries - self.index + tail),
            false => None,
        }
    }

    /// Looks at another entry next, within the ring: what the driver writes to a head's register.
    pub const fn go_to(&mut self, index: u32) {
        self.index = index % self.entries;
    }

    /// Goes on to the next entry; behind the last to the first, with the other phase.
    pub const fn advance(&mut self) {
        self.index += 1;
        if self.index == self.entries {
            self.index = 0;
            self.phase = !self.phase;
        }
    }

    /// Reads the entry that is looked at next, or its first bytes, and goes on looking at it.
    ///
    /// # Errors
    /// See [`DmaError`].
    pub fn fetch(&self, host: &mut dyn Host, into: &mut [u8], tag: Tag) -> Result<(), DmaError> {
        let length = into.len().min(self.bytes as usize);
        let into = into.get_mut(..length).unwrap_or_default();
        host.dma_read(self.address(), into, tag)
    }

    /// Writes bytes at `offset` of the entry that is looked at next; what is not the entry's is left out.
    ///
    /// # Errors
    /// See [`DmaError`].
    pub fn write_back(
        &self,
        host: &mut dyn Host,
        offset: u32,
        from: &[u8],
        tag: Tag,
    ) -> Result<(), DmaError> {
        let left = self.bytes.saturating_sub(offset) as usize;
        let from = from.get(..from.len().min(left)).unwrap_or_default();
        if from.is_empty() {
            return Ok(());
        }
        host.dma_write(self.address() + u64::from(offset), from, tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeHost;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_ring_is_refused() {
        assert!(Ring::new(0, 0, 16).is_err());
        assert!(Ring::new(0, 16, 0).is_err());
        assert!(Ring::new(u64::MAX - 31, 2, 16).is_ok());
        let refused = Ring::new(u64::MAX - 30, 2, 16).map_err(|why| why.to_string());
        let said = "a ring of 32 bytes at 0xffffffffffffffe1 passes the end of the address space";
        assert_eq!(refused, Err(said.to_owned()));
    }

    #[test]
    fn an_entry_is_all_that_is_touched() {
        let mut host = FakeHost::default();
        host.map(0x1000, 0x1000);
        let mut ring = Ring::new(0x1000, 2, 8).expect("a ring");
        ring.advance();
        let mut long = [0; 20];
        ring.fetch(&mut host, &mut long, Tag::default())
            .expect("read");
        assert_eq!(
            long[..9],
            [0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0]
        );
        ring.write_back(&mut host, 6, &[1, 2, 3], Tag::default())
            .expect("written");
        ring.write_back(&mut host, 9, &[1], Tag::default())
            .expect("nothing");
        assert_eq!(host.bytes(0x100d, 4), [0xee, 1, 2, 0xee]);
        assert_eq!(host.accesses().len(), 2);
    }

    proptest! {
        /// Whatever the driver asks for, every address is the ring's, entries follow each other, and the phase tells rounds.
        #[test]
        fn rounds_follow_each_other(
            base: u64, entries in 1u32..9, bytes in 1u32..64, start in any::<u32>(), rounds in 0u32..40,
        ) {
            let Ok(mut ring) = Ring::new(base, entries, bytes) else {
                prop_assert!(base > u64::MAX - 8 * 63);
                return Ok(());
            };
            ring.go_to(start);
            for step in 0..rounds {
                let all = u64::from(start % entries) + u64::from(step);
                prop_assert_eq!(u64::from(ring.index()), all % u64::from(entries));
                prop_assert_eq!(ring.phase(), (all / u64::from(entries)) % 2 == 0);
                prop_assert_eq!(ring.address() - base, u64::from(ring.index()) * u64::from(bytes));
                let tail = start.wrapping_add(step) % (entries + 1);
                prop_assert_eq!(
                    ring.pending(tail),
                    (tail < entries).then(|| (tail + entries - ring.index()) % entries)
                );
                ring.advance();
            }
        }
    }
}
