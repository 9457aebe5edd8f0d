// SPDX-License-Identifier: MIT OR Apache-2.0

//! Messages of vfio-user 0.1, parsed once and totally. Little endian, as every machine we run on.

use std::borrow::Cow;

/// Bytes of a message header.
pub(super) const HEADER: usize = 16;
/// Most bytes of data in one region access; what we promise as `max_data_xfer_size`.
pub(super) const MAX_DATA: usize = 1 << 20;
/// Most bytes of a message's payload.
pub(super) const MAX_PAYLOAD: usize = MAX_DATA + 64;
/// Most descriptors with one message; what we promise as `max_msg_fds`.
pub(super) const MAX_FDS: usize = 8;

const FLAG_TYPE: u32 = 0xf;
const FLAG_REPLY: u32 = 1;
const FLAG_NO_REPLY: u32 = 1 << 4;
const FLAG_ERROR: u32 = 1 << 5;

/// What a peer sent that is not the protocol.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProtocolError {
    /// The header's size is less than a header's or more than we take.
    #[error("message size {0} is out of range")]
    Size(u32),
    /// A reply came where only commands are expected.
    #[error("message is not a command (flags {0:#x})")]
    NotACommand(u32),
}

/// The header of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    id: u16,
    /// The command's number.
    pub(super) command: u16,
    flags: u32,
    /// Bytes that follow the header.
    pub(super) payload: usize,
}

impl Header {
    /// Parses a command's header.
    pub(super) fn parse(bytes: [u8; HEADER]) -> Result<Self, ProtocolError> {
        let [i0, i1, c0, c1, s0, s1, s2, s3, f0, f1, f2, f3, ..] = bytes;
        let size = u32::from_le_bytes([s0, s1, s2, s3]);
        let flags = u32::from_le_bytes([f0, f1, f2, f3]);
        let payload = usize::try_from(size)
            .ok()
            .and_then(|size| size.checked_sub(HEADER))
            .filter(|payload| *payload <= MAX_PAYLOAD)
            .ok_or(ProtocolError::Size(size))?;
        if flags & FLAG_TYPE != 0 {
            return Err(ProtocolError::NotACommand(flags));
        }
        Ok(Self {
            id: u16::from_le_bytes([i0, i1]),
            command: u16::from_le_bytes([c0, c1]),
            flags,
            payload,
        })
    }

    /// Whether the peer waits for an answer.
    pub(super) fn wants_reply(self) -> bool {
        self.flags & FLAG_NO_REPLY == 0
    }

    /// The whole answer: a header, then `payload`; or an error number alone.
    pub(super) fn reply(self, result: Result<&[u8], i32>) -> Vec<u8> {
        let (payload, flags, error) = match result {
            Ok(payload) => (payload, FLAG_REPLY, 0),
            Err(error) => (&[][..], FLAG_REPLY | FLAG_ERROR, error.unsigned_abs()),
        };
        let size = (HEADER + payload.len()) as u32;
        let mut out = Vec::with_capacity(HEADER + payload.len());
        out.extend(self.id.to_le_bytes());
        out.extend(self.command.to_le_bytes());
        out.extend(size.to_le_bytes());
        out.extend(flags.to_le_bytes());
        out.extend(error.to_le_bytes());
        out.extend(payload);
        out
    }
}

/// A command, understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Request<'a> {
    /// Agree on a version.
    Version { major: u16, minor: u16 },
    /// Map memory.
    DmaMap {
        flags: u32,
        offset: u64,
        address: u64,
        size: u64,
    },
    /// Unmap memory.
    DmaUnmap { flags: u32, address: u64, size: u64 },
    /// How many regions and interrupts are there?
    DeviceInfo,
    /// What is a region?
    RegionInfo { index: u32 },
    /// What is an interrupt?
    IrqInfo { index: u32 },
    /// Connect, disconnect, mask, unmask or trigger interrupts.
    SetIrqs {
        flags: u32,
        index: u32,
        start: u32,
        count: u32,
    },
    /// Read a region.
    Read {
        region: u32,
        offset: u64,
        count: usize,
    },
    /// Write a region.
    Write {
        region: u32,
        offset: u64,
        data: Cow<'a, [u8]>,
    },
    /// Reset the device.
    Reset,
}

/// Takes little-endian fields off the front of a payload.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn rest(&self) -> &'a [u8] {
        self.0
    }
}

/// Why a well-framed command gets an error reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misunderstood {
    /// No such command, or none that we have.
    Command,
    /// Its payload is too short or contradicts itself.
    Payload,
}

impl<'a> Request<'a> {
    /// Parses a command's payload.
    pub(super) fn parse(command: u16, payload: &'a [u8]) -> Result<Self, Misunderstood> {
        let mut fields = Fields(payload);
        let f = &mut fields;
        let request = match command {
            1 => Self::version(f),
            2 => Self::dma_map(f),
            3 => Self::dma_unmap(f),
            4 => f.take::<16>().map(|_| Self::DeviceInfo),
            5 => Self::region_info(f),
            7 => Self::irq_info(f),
            8 => Self::set_irqs(f),
            9 => Self::access(f).map(|(offset, region, count)| Self::Read {
                region,
                offset,
                count,
            }),
            10 => Self::write(f),
            13 => Some(Self::Reset),
            _ => return Err(Misunderstood::Command),
        };
        request.ok_or(Misunderstood::Payload)
    }

    fn version(f: &mut Fields<'_>) -> Option<Self> {
        // The capabilities that follow bind nobody: ours are in the reply, and theirs we do not use.
        let (major, minor) = (f.u16()?, f.u16()?);
        Some(Self::Version { major, minor })
    }

    fn dma_map(f: &mut Fields<'_>) -> Option<Self> {
        let (_argsz, flags) = (f.u32()?, f.u32()?);
        let (offset, address, size) = (f.u64()?, f.u64()?, f.u64()?);
        Some(Self::DmaMap {
            flags,
            offset,
            address,
            size,
        })
    }

    fn dma_unmap(f: &mut Fields<'_>) -> Option<Self> {
        let (_argsz, flags, address, size) = (f.u32()?, f.u32()?, f.u64()?, f.u64()?);
        Some(Self::DmaUnmap {
            flags,
            address,
            size,
        })
    }

    fn region_info(f: &mut Fields<'_>) -> Option<Self> {
        let (_argsz, _flags, index) = (f.u32()?, f.u32()?, f.u32()?);
        Some(Self::RegionInfo { index })
    }

    fn irq_info(f: &mut Fields<'_>) -> Option<Self> {
        let (_argsz, _flags, index) = (f.u32()?, f.u32()?, f.u32()?);
        Some(Self::IrqInfo { index })
    }

    fn set_irqs(f: &mut Fields<'_>) -> Option<Self> {
        let (_argsz, flags) = (f.u32()?, f.u32()?);
        let (index, start, count) = (f.u32()?, f.u32()?, f.u32()?);
        Some(Self::SetIrqs {
            flags,
            index,
            start,
            count,
        })
    }

    fn access(f: &mut Fields<'_>) -> Option<(u64, u32, usize)> {
        let (offset, region, count) = (f.u64()?, f.u32()?, f.u32()?);
        let count = usize::try_from(count)
            .ok()
            .filter(|count| *count <= MAX_DATA)?;
        Some((offset, region, count))
    }

    fn write(f: &mut Fields<'a>) -> Option<Self> {
        let (offset, region, count) = Self::access(f)?;
        let data = Cow::Borrowed(f.rest().get(..count)?);
        Some(Self::Write {
            region,
            offset,
            data,
        })
    }
}

/// The answer to [`Request::Version`]: ours is 0.1.
pub(super) fn version_reply(minor: u16) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(0u16.to_le_bytes());
    out.extend(minor.min(1).to_le_bytes());
    let capabilities = format!(
        r#"{{"capabilities":{{"max_msg_fds":{MAX_FDS},"max_data_xfer_size":{MAX_DATA},"migration":{{"pgsize":4096}}}}}}"#
    );
    out.extend(capabilities.as_bytes());
    out.push(0);
    out
}

/// Joins 32-bit fields into a payload.
pub(super) fn words(fields: &[u32]) -> Vec<u8> {
    fields
        .iter()
        .flat_map(|field| field.to_le_bytes())
        .collect()
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
