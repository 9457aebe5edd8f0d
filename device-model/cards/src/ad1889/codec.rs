// SPDX-License-Identifier: MIT OR Apache-2.0

//! The codec on the other side of the link (Audio Codec '97 2.3, 5.7): registers that a mixer sets, without any sound. It says
//! that it is an AD1819, the codec that the chip has.

/// Number of a register: its offset, which is even, halved.
const fn number(offset: usize) -> usize {
    offset / 2
}

const RESET: usize = number(0x00);
const POWER: usize = number(0x26);
const VENDOR: usize = number(0x7c);
/// Of the power register: the reference, the mixer, the DAC and the ADC are ready. Read-only.
const READY: u16 = 0xf;

/// Registers that are not 0 after a reset: the volumes, which are muted, and the sample rates.
const AFTER_RESET: [(usize, u16); 15] = [
    (0x02, 0x8000),
    (0x06, 0x8000),
    (0x0c, 0x8008),
    (0x0e, 0x8008),
    (0x10, 0x8808),
    (0x12, 0x8808),
    (0x14, 0x8808),
    (0x16, 0x8808),
    (0x18, 0x8808),
    (0x1c, 0x8000),
    (0x26, READY),
    (0x78, 48_000),
    (0x7a, 48_000),
    (0x7c, 0x4144),
    (0x7e, 0x5303),
];

/// The codec.
#[derive(Debug)]
pub(super) struct Codec {
    registers: [u16; 64],
}

impl Codec {
    /// A codec after a reset.
    pub(super) fn new() -> Self {
        let mut registers = [0; 64];
        for (offset, value) in AFTER_RESET {
            if let Some(register) = registers.get_mut(number(offset)) {
                *register = value;
            }
        }
        Self { registers }
    }

    /// What a register reads as, by its number.
    pub(super) fn read(&self, number: usize) -> u16 {
        self.registers.get(number).copied().unwrap_or_default()
    }

    /// Writes a register; whatever is written to the first is a reset.
    pub(super) fn write(&mut self, number: usize, value: u16) {
        match number {
            RESET => *self = Self::new(),
            VENDOR.. => {}
            POWER => self.registers[POWER] = value & !READY | READY,
            _ => {
                if let Some(register) = self.registers.get_mut(number) {
                    *register = value;
                }
            }
        }
    }
}
