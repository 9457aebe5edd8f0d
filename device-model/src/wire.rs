// SPDX-License-Identifier: MIT OR Apache-2.0

//! Messages of vfio-user 0.1, parsed once and totally, as a server gets them from a machine and a client from a foreign
//! server. Little endian, as every machine we run on.

use std::borrow::Cow;

/// Bytes of a message header.
pub(crate) const HEADER: usize = 16;
/// Most bytes of data in one region access; what we promise as `max_data_xfer_size`.
pub(crate) const MAX_DATA: usize = 1 << 20;
/// Most bytes of a message's payload.
pub(crate) const MAX_PAYLOAD: usize = MAX_DATA + 64;
/// Most descriptors with one message; what we promise as `max_msg_fds`.
pub(crate) const MAX_FDS: usize = 8;

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
    /// Neither a command nor a reply.
    #[error("message is neither a command nor a reply (flags {0:#x})")]
    NoType(u32),
}

/// The commands' numbers.
pub(crate) mod command {
    pub(crate) const VERSION: u16 = 1;
    pub(crate) const DMA_MAP: u16 = 2;
    pub(crate) const DMA_UNMAP: u16 = 3;
    pub(crate) const DEVICE_INFO: u16 = 4;
    pub(crate) const REGION_INFO: u16 = 5;
    pub(crate) const IRQ_INFO: u16 = 7;
    pub(crate) const SET_IRQS: u16 = 8;
    pub(crate) const REGION_READ: u16 = 9;
    pub(crate) const REGION_WRITE: u16 = 10;
    pub(crate) const DMA_READ: u16 = 11;
    pub(crate) const DMA_WRITE: u16 = 12;
    pub(crate) const RESET: u16 = 13;
}

/// The header of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The same in a command and in its reply.
    pub(crate) id: u16,
    /// The command's number.
    pub(crate) command: u16,
    flags: u32,
    error: u32,
    /// Bytes that follow the header.
    pub(crate) payload: usize,
}

impl Header {
    /// Parses a command's header.
    pub(crate) fn parse(bytes: [u8; HEADER]) -> Result<Self, ProtocolError> {
        let header = Self::of_either(bytes)?;
        match header.is_reply() {
            true => Err(ProtocolError::NotACommand(header.flags)),
            false => Ok(header),
        }
    }

    /// Parses the header of a command or of a reply.
    pub(crate) fn of_either(bytes: [u8; HEADER]) -> Result<Self, ProtocolError> {
        let [
            i0,
            i1,
            c0,
            c1,
            s0,
            s1,
            s2,
            s3,
            f0,
            f1,
            f2,
            f3,
            e0,
            e1,
            e2,
            e3,
        ] = bytes;
        let size = u32::from_le_bytes([s0, s1, s2, s3]);
        let flags = u32::from_le_bytes([f0, f1, f2, f3]);
        let payload = usize::try_from(size)
            .ok()
            .and_then(|size| size.checked_sub(HEADER))
            .filter(|payload| *payload <= MAX_PAYLOAD)
            .ok_or(ProtocolError::Size(size))?;
        if flags & FLAG_TYPE > FLAG_REPLY {
            return Err(ProtocolError::NoType(flags));
        }
        Ok(Self {
            id: u16::from_le_bytes([i0, i1]),
            command: u16::from_le_bytes([c0, c1]),
            flags,
            error: u32::from_le_bytes([e0, e1, e2, e3]),
            payload,
        })
    }

    /// Whether it is of a reply.
    pub(crate) fn is_reply(self) -> bool {
        self.flags & FLAG_TYPE == FLAG_REPLY
    }

    /// The error number of a reply that has one.
    pub(crate) fn refused(self) -> Option<u32> {
        (self.flags & FLAG_ERROR != 0).then_some(self.error)
    }

    /// A whole command.
    pub(crate) fn command(id: u16, command: u16, payload: &[u8]) -> Vec<u8> {
        let of = Self {
            id,
            command,
            flags: 0,
            error: 0,
            payload: payload.len(),
        };
        of.put(payload)
    }

    /// The header, and the first bytes of its payload.
    fn put(self, first: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + first.len());
        out.extend(self.id.to_le_bytes());
        out.extend(self.command.to_le_bytes());
        let size = (HEADER + self.payload) as u32;
        out.extend(words(&[size, self.flags, self.error]));
        out.extend(first);
        out
    }

    /// Whether the peer waits for an answer.
    pub(crate) fn wants_reply(self) -> bool {
        self.flags & FLAG_NO_REPLY == 0
    }

    /// The whole answer: a header, then `payload`; or an error number alone.
    pub(crate) fn reply(self, result: Result<&[u8], i32>) -> Vec<u8> {
        self.reply_before(result, 0)
    }

    /// The same where `more` bytes of the payload follow by themselves.
    pub(crate) fn reply_before(self, result: Result<&[u8], i32>, more: usize) -> Vec<u8> {
        let (payload, flags, error) = match result {
            Ok(payload) => (payload, FLAG_REPLY, 0),
            Err(error) => (&[][..], FLAG_REPLY | FLAG_ERROR, error.unsigned_abs()),
        };
        let of = Self {
            flags,
            error,
            payload: payload.len() + more,
            ..self
        };
        of.put(payload)
    }
}

/// A command, understood.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request<'a> {
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
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }
}

/// Why a well-framed command gets an error reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misunderstood {
    /// No such command, or none that we have.
    Command,
    /// Its payload is too short or contradicts itself.
    Payload,
}

impl<'a> Request<'a> {
    /// Parses a command's payload.
    pub(crate) fn parse(command: u16, payload: &'a [u8]) -> Result<Self, Misunderstood> {
        let mut fields = Fields(payload);
        let f = &mut fields;
        let request = match command {
            command::VERSION => Self::version(f),
            command::DMA_MAP => Self::dma_map(f),
            command::DMA_UNMAP => Self::dma_unmap(f),
            command::DEVICE_INFO => f.take::<16>().map(|_| Self::DeviceInfo),
            command::REGION_INFO => Self::region_info(f),
            command::IRQ_INFO => Self::irq_info(f),
            command::SET_IRQS => Self::set_irqs(f),
            command::REGION_READ => Self::access(f).map(|(offset, region, count)| Self::Read {
                region,
                offset,
                count,
            }),
            command::REGION_WRITE => Self::write(f),
            command::RESET => Some(Self::Reset),
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
pub(crate) fn version_reply(minor: u16) -> Vec<u8> {
    version(minor.min(1), "")
}

/// What a client begins with. A server that can sends what it asks for over a socket of its own, so that two commands never
/// meet.
pub(crate) fn version_request() -> Vec<u8> {
    version(1, r#","twin_socket":{"supported":true}"#)
}

fn version(minor: u16, more: &str) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(0u16.to_le_bytes());
    out.extend(minor.to_le_bytes());
    let capabilities = format!(
        r#"{{"capabilities":{{"max_msg_fds":{MAX_FDS},"max_data_xfer_size":{MAX_DATA},"migration":{{"pgsize":4096}}{more}}}}}"#
    );
    out.extend(capabilities.as_bytes());
    out.push(0);
    out
}

/// What a client needs of a server's answer to its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) major: u16,
    pub(crate) minor: u16,
    /// Most descriptors that it takes with one message.
    pub(crate) fds: usize,
    /// Which descriptor of its answer is the socket for its own commands.
    pub(crate) twin: Option<usize>,
}

impl Version {
    /// Parses it; what it does not say is as the protocol has it.
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        let (major, minor) = (fields.u16()?, fields.u16()?);
        let text = fields.rest();
        let text = text.strip_suffix(&[0]).unwrap_or(text);
        let said: serde_json::Value = match text {
            [] => serde_json::Value::Null,
            text => serde_json::from_slice(text).ok()?,
        };
        let number = |value: &serde_json::Value| value.as_u64().and_then(|n| n.try_into().ok());
        let capabilities = &said["capabilities"];
        let twin = &capabilities["twin_socket"];
        Some(Self {
            major,
            minor,
            fds: number(&capabilities["max_msg_fds"]).unwrap_or(1),
            twin: twin["supported"]
                .as_bool()
                .and_then(|supported| supported.then(|| number(&twin["fd_index"]).unwrap_or(0))),
        })
    }
}

/// An access to memory that a server asks its client for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dma<'a> {
    pub(crate) address: u64,
    /// Bytes; not more than [`MAX_DATA`].
    pub(crate) count: usize,
    /// What is to be written; of a read none.
    pub(crate) data: &'a [u8],
}

impl<'a> Dma<'a> {
    /// Bytes before the data, of the request and of the reply.
    pub(crate) const HEAD: usize = 16;

    /// Parses what [`command::DMA_READ`] or [`command::DMA_WRITE`] asks.
    pub(crate) fn parse(number: u16, payload: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(payload);
        let (address, count) = (fields.u64()?, fields.u64()?);
        let count = usize::try_from(count).ok();
        let count = count.filter(|count| *count <= MAX_DATA)?;
        let data = fields.rest();
        let expected = if number == command::DMA_WRITE {
            count
        } else {
            0
        };
        (data.len() == expected).then_some(Self {
            address,
            count,
            data,
        })
    }
}

/// Joins 32-bit fields into a payload.
pub(crate) fn words(fields: &[u32]) -> Vec<u8> {
    fields
        .iter()
        .flat_map(|field| field.to_le_bytes())
        .collect()
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
