// SPDX-License-Identifier: MIT OR Apache-2.0

//! The self-test at start, seen from outside.
//!
//! When the driver binds, it lends the card 16 bytes with a nonce in the first 8, and the card writes the
//! complement into the others. That the driver bound says that guest and card agree; here it is compared with
//! guest memory as the host sees it, and with the card's journal. If QEMU's memory is not shared with the
//! card, all DMA is lost without a word: this is what tells.

use landfall_agent::protocol::capture::CardInfo;
use landfall_device::journal::{Direction, Entry, Kind};

use landfall::guest::memory::{GuestMemory, ReadError};
use landfall::report::schema::SelfTest;

/// The three views of the self-test do not agree.
#[derive(Debug, thiserror::Error)]
pub enum SelfTestFailed {
    /// Its area is not in guest memory.
    #[error("the card's self-test area is not in guest memory")]
    NotRam(#[source] ReadError),
    /// The driver's nonce is not there.
    #[error(
        "guest memory holds {found:#018x} at {address:#x} where the driver put {nonce:#018x}: the host does not see the guest's memory (is it mapped with share=on?)"
    )]
    NoNonce {
        /// Physical address of the area.
        address: u64,
        /// What the driver put there.
        nonce: u64,
        /// What is there.
        found: u64,
    },
    /// The card's complement is not there.
    #[error(
        "guest memory holds {found:#018x} at {address:#x} where the card should have put {wanted:#018x}: the card does not write the guest's memory"
    )]
    NoComplement {
        /// Physical address of it.
        address: u64,
        /// What should be there.
        wanted: u64,
        /// What is there.
        found: u64,
    },
    /// The card did not do it, or not there.
    #[error(
        "the card's journal has no {direction} of 8 bytes at {address:#x}, which the self-test is made of"
    )]
    NotInJournal {
        /// Read or write.
        direction: &'static str,
        /// Bus address.
        address: u64,
    },
}

/// Compares the three views.
///
/// # Errors
/// See [`SelfTestFailed`].
pub(super) fn check(
    memory: &GuestMemory,
    info: &CardInfo,
    journal: &[Entry],
) -> Result<SelfTest, SelfTestFailed> {
    let (address, nonce) = (info.selftest_phys, info.selftest_nonce);
    let mut area = [0; 16];
    memory
        .read(address, &mut area)
        .map_err(SelfTestFailed::NotRam)?;
    let [found_nonce, found] = words(area);
    if found_nonce != nonce {
        return Err(SelfTestFailed::NoNonce {
            address,
            nonce,
            found: found_nonce,
        });
    }
    if found != !nonce {
        let address = address.wrapping_add(8);
        return Err(SelfTestFailed::NoComplement {
            address,
            wanted: !nonce,
            found,
        });
    }
    let dma = info.selftest_dma;
    for (direction, name, at) in [
        (Direction::Read, "read", dma),
        (Direction::Write, "write", dma.wrapping_add(8)),
    ] {
        let happened = journal.iter().any(|entry| match entry.kind {
            Kind::Access {
                direction: did,
                address,
                length: 8,
                outcome,
                ..
            } => did == direction && address == at && outcome.is_ok(),
            _ => false,
        });
        if !happened {
            return Err(SelfTestFailed::NotInJournal {
                direction: name,
                address: at,
            });
        }
    }
    Ok(SelfTest { address, nonce })
}

/// Two little-endian words.
fn words(bytes: [u8; 16]) -> [u64; 2] {
    let both = u128::from_le_bytes(bytes);
    [(both & u128::from(u64::MAX)) as u64, (both >> 64) as u64]
}

#[cfg(test)]
mod tests {
    use landfall_device::contract::Role;
    use landfall_device::journal::{Bytes, Journal, Outcome};

    use super::*;

    const AREA: u64 = 0x1000;
    const NONCE: u64 = 0x1122_3344_5566_7788;

    fn info() -> CardInfo {
        CardInfo {
            layout: 1,
            interrupt: 1,
            address_bits: 64,
            alignment: 64,
            boundary: 0,
            max_frame: 0,
            selftest_dma: AREA,
            selftest_phys: AREA,
            selftest_nonce: NONCE,
            interrupts: 0,
            pci_address: 0,
        }
    }

    fn journal(directions: &[Direction]) -> Vec<Entry> {
        let journal = Journal::default();
        for &direction in directions {
            let address = if direction == Direction::Read {
                AREA
            } else {
                AREA + 8
            };
            let outcome = Outcome::Ok;
            journal.push(Kind::Access {
                direction,
                address,
                length: 8,
                slot: None,
                job: None,
                role: Role::Payload,
                outcome,
                bytes: Bytes::default(),
            });
        }
        journal.entries_from(0)
    }

    fn memory(nonce: u64, complement: u64) -> GuestMemory {
        let memory = GuestMemory::flat(1 << 20).unwrap();
        memory.write(AREA, &nonce.to_le_bytes()).unwrap();
        memory.write(AREA + 8, &complement.to_le_bytes()).unwrap();
        memory
    }

    #[test]
    fn three_views_that_agree_pass() {
        let both = journal(&[Direction::Read, Direction::Write]);
        let selftest = check(&memory(NONCE, !NONCE), &info(), &both).unwrap();
        assert_eq!(
            selftest,
            SelfTest {
                address: AREA,
                nonce: NONCE
            }
        );
    }

    #[test]
    fn each_view_that_disagrees_is_named() {
        let both = journal(&[Direction::Read, Direction::Write]);
        let private = check(&memory(0, 0), &info(), &both).unwrap_err();
        assert!(private.to_string().contains("share=on"), "{private}");

        let lost = check(&memory(NONCE, 0), &info(), &both).unwrap_err();
        assert!(matches!(
            lost,
            SelfTestFailed::NoComplement { found: 0, .. }
        ));

        let silent = check(
            &memory(NONCE, !NONCE),
            &info(),
            &journal(&[Direction::Read]),
        )
        .unwrap_err();
        assert!(matches!(
            silent,
            SelfTestFailed::NotInJournal {
                direction: "write",
                ..
            }
        ));
    }
}
