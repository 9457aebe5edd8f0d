// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is on the board beside the ZR36067: the decoder of the camera's signal and the encoder for a monitor, on the two-wire bus,
//! and the JPEG codec on the guest bus. They are found, and keep what they are told; none changes a picture.

use landfall_device::parts::i2c::Target;

/// Where the decoder, an SAA7110, answers.
const DECODER: u8 = 0x4e;
/// What it says: there is a signal, of 50 Hz.
const LOCKED: u8 = 0x00;
/// Where the encoder, an ADV7175, answers.
const ENCODER: u8 = 0x2b;

/// Both chips on the two-wire bus. They have nothing to read but the decoder's status.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chips {
    address: u8,
}

impl Target for Chips {
    fn select(&mut self, address: u8, _read: bool) -> bool {
        self.address = address;
        matches!(address, DECODER | ENCODER)
    }

    fn write(&mut self, _byte: u8) -> bool {
        true
    }

    fn read(&mut self) -> u8 {
        match self.address {
            DECODER => LOCKED,
            _ => 0xff,
        }
    }
}

/// Its status: idle.
const CFSR: usize = 0x01;
/// Who it is, and of which make.
const IDR: [(usize, u8); 2] = [(0x22, 0x33), (0x23, 0x01)];
/// How many registers it has.
const SIZE: usize = 0x400;

/// The codec, a ZR36060: registers of a byte each, behind a register for each half of their address.
#[derive(Clone, Debug)]
pub(super) struct Codec {
    at: [u8; 2],
    bytes: Vec<u8>,
}

impl Codec {
    /// As after power-on.
    pub(super) fn new() -> Self {
        let mut bytes = vec![0; SIZE];
        for (at, byte) in IDR {
            bytes[at] = byte;
        }
        Self { at: [0; 2], bytes }
    }

    fn at(&self) -> usize {
        usize::from(u16::from_be_bytes(self.at)) % SIZE
    }

    /// A byte arrives at one of its four places on the guest bus.
    pub(super) fn write(&mut self, place: u8, byte: u8) {
        let at = self.at();
        let fixed = at == CFSR || IDR.iter().any(|(known, _)| *known == at);
        match place {
            1 => self.at[0] = byte,
            2 => self.at[1] = byte,
            3 if !fixed => self.bytes[at] = byte,
            _ => {}
        }
    }

    /// What one of its places reads as.
    pub(super) fn read(&self, place: u8) -> u8 {
        match place {
            3 => self.bytes[self.at()],
            _ => 0,
        }
    }
}
