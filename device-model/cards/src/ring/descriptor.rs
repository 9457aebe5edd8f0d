// SPDX-License-Identifier: MIT OR Apache-2.0

//! Descriptors, lists and the bytes that the card makes.

use landfall_device::contract::{Piece, Role};

use super::regs::{DESCRIPTOR, ENTRY, OP_COPY, OP_RECEIVE, OP_TRANSMIT};

/// Bit 31: the card's, or the round.
pub(super) const VALID: u32 = 1 << 31;
/// Written back: it is over.
pub(super) const DONE: u32 = 1 << 30;
/// Written back: it came to nothing.
pub(super) const ERROR: u32 = 1 << 29;
/// The job goes on in the next descriptor.
const MORE: u32 = 1 << 28;
/// `address` is that of a list, `length` its entries.
const LIST: u32 = 1 << 27;

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Receive,
    Transmit,
    Copy,
}

/// A descriptor as it was fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub(super) address: u64,
    pub(super) length: u32,
    pub(super) control: u32,
    pub(super) second: u64,
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found.copied().unwrap_or([0; N])
}

impl Descriptor {
    pub(super) fn parse(bytes: &[u8; DESCRIPTOR]) -> Self {
        Self {
            address: u64::from_le_bytes(word(bytes, 0)),
            length: u32::from_le_bytes(word(bytes, 8)),
            control: u32::from_le_bytes(word(bytes, 12)),
            second: u64::from_le_bytes(word(bytes, 16)),
        }
    }

    pub(super) fn goes_on(&self) -> bool {
        self.control & MORE != 0
    }

    pub(super) fn is_list(&self) -> bool {
        self.control & LIST != 0
    }

    /// The memory that it names itself.
    pub(super) fn pieces(&self) -> Vec<Piece> {
        let (address, length) = (self.address, u64::from(self.length));
        match self.operation() {
            _ if self.is_list() => {
                let list = Piece::read(address, length * ENTRY as u64);
                vec![list.role(Role::Descriptor)]
            }
            Some(Operation::Receive) | None => vec![Piece::write(address, length)],
            Some(Operation::Transmit) => vec![Piece::read(address, length)],
            Some(Operation::Copy) => {
                let second = Piece::write(self.second, length);
                vec![Piece::read(address, length), second]
            }
        }
    }

    pub(super) fn operation(&self) -> Option<Operation> {
        match (self.control >> 24 & 3) as u8 {
            OP_RECEIVE => Some(Operation::Receive),
            OP_TRANSMIT => Some(Operation::Transmit),
            OP_COPY if !self.is_list() => Some(Operation::Copy),
            _ => None,
        }
    }
}

/// The entries of a list: address and bytes of each.
pub(super) fn entries(bytes: &[u8]) -> impl Iterator<Item = (u64, u32)> {
    bytes.chunks_exact(ENTRY).map(|entry| {
        let address = u64::from_le_bytes(word(entry, 0));
        (address, u32::from_le_bytes(word(entry, 8)))
    })
}

/// FNV-1a over bytes that the card read, going on from `check`.
pub(super) fn checked(check: u32, bytes: &[u8]) -> u32 {
    let step = |check: u32, byte: &u8| (check ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    bytes.iter().fold(check, step)
}

/// What [`checked`] begins with.
pub(super) const UNCHECKED: u32 = 0x811c_9dc5;

/// What the card writes for job `number` of a queue, from byte `from` of the job on.
pub(super) fn paint(queue: usize, number: u32, from: usize, into: &mut [u8]) {
    let seed = (0xc0 | queue as u64) << 56 | u64::from(number & 0xff_ffff) << 32;
    for (byte, at) in into.iter_mut().zip(from..) {
        let word = (seed | (at as u64 / 8) & 0xffff_ffff).to_le_bytes();
        *byte = word.get(at % 8).copied().unwrap_or_default();
    }
}
