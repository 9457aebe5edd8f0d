// SPDX-License-Identifier: MIT OR Apache-2.0

//! A two-wire bus (I2C; NXP UM10204, 3.1) that the driver drives bit by bit, as Linux's `i2c-algo-bit` does, and what hangs
//! on it. Many cards have one: to an EEPROM with their address, a tuner, a sensor, a monitor.
//!
//! The card has a register with the two lines. At each write the device hands both to [`BitBang::drive`], and shows the
//! driver the data line that it gets back:
//!
//! ```
//! use landfall_device::parts::i2c::{BitBang, Eeprom};
//!
//! let mut bus = BitBang::new(Eeprom::new(0x50, b"landfall".to_vec()));
//! // Both lines are high: nobody talks.
//! assert!(bus.drive(true, true));
//! ```

/// What hangs on the bus: bytes, without the lines.
pub trait Target: Send {
    /// Whether it answers to this 7-bit address. A transfer begins with that: the driver is going to read, or to write.
    fn select(&mut self, address: u8, read: bool) -> bool;

    /// Takes a byte. False: it takes no more (NACK).
    fn write(&mut self, byte: u8) -> bool;

    /// Gives the next byte.
    fn read(&mut self) -> u8;

    /// The transfer is over.
    fn stop(&mut self) {}
}

/// The lines of a bus with one target. Does not stretch the clock.
#[derive(Clone, Debug)]
pub struct BitBang<T> {
    target: T,
    state: State,
    clock: bool,
    data: bool,
    /// The target lets the data line go; else it pulls it down.
    lets_go: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Nothing was begun, or not with us.
    #[default]
    Idle,
    /// Bits come in: the address first, then what is written.
    Taking { address: bool, bits: u8, count: u8 },
    /// Our answer to a byte is on the line, and this comes after it.
    Answering { then: Then },
    /// Bits go out, the highest first.
    Giving { bits: u8, count: u8 },
    /// The driver answers to our byte.
    Answered { more: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Take,
    Give,
    Nothing,
}

impl<T: Target> BitBang<T> {
    /// A bus on which nobody talks.
    pub const fn new(target: T) -> Self {
        Self {
            target,
            state: State::Idle,
            clock: true,
            data: true,
            lets_go: true,
        }
    }

    /// What hangs on it.
    pub const fn target(&mut self) -> &mut T {
        &mut self.target
    }

    /// The driver lets each line go (true) or pulls it down. What the data line is then: low if either side pulls.
    ///
    /// Where both change at once, the data line is taken to change while the clock is low, as on a bus that works.
    pub fn drive(&mut self, clock: bool, data: bool) -> bool {
        let falls = self.clock && !clock;
        let rises = !self.clock && clock;
        if self.clock && clock && data != self.data {
            match data {
                true => self.stop(),
                false => self.start(),
            }
        }
        (self.clock, self.data) = (clock, data);
        if rises {
            self.sample(data && self.lets_go);
        } else if falls {
            self.turn();
        }
        data && self.lets_go
    }

    /// All lines are let go, and the transfer in hand is forgotten, as after a loss of power.
    pub fn reset(&mut self) {
        (self.state, self.lets_go) = (State::Idle, true);
        (self.clock, self.data) = (true, true);
        self.target.stop();
    }

    fn start(&mut self) {
        self.lets_go = true;
        self.state = State::Taking {
            address: true,
            bits: 0,
            count: 0,
        };
    }

    fn stop(&mut self) {
        self.lets_go = true;
        self.state = State::Idle;
        self.target.stop();
    }

    /// The clock rises: the data line is valid.
    fn sample(&mut self, data: bool) {
        match &mut self.state {
            State::Taking { bits, count, .. } if *count < 8 => {
                *bits = *bits << 1 | u8::from(data);
                *count += 1;
            }
            State::Answered { more } => *more = !data,
            _ => {}
        }
    }

    /// The clock falls: the data line may change.
    fn turn(&mut self) {
        match self.state {
            State::Taking {
                address,
                bits,
                count: 8,
            } => {
                let read = bits & 1 != 0;
                let (taken, then) = match address {
                    true => (
                        self.target.select(bits >> 1, read),
                        if read { Then::Give } else { Then::Take },
                    ),
                    false => (self.target.write(bits), Then::Take),
                };
                self.lets_go = !taken;
                let then = if taken { then } else { Then::Nothing };
                self.state = State::Answering { then };
            }
            State::Answering { then: Then::Take } => {
                self.lets_go = true;
                self.state = State::Taking {
                    address: false,
                    bits: 0,
                    count: 0,
                };
            }
            State::Answering { then: Then::Give } | State::Answered { more: true } => self.give(),
            State::Answering {
                then: Then::Nothing,
            }
            | State::Answered { more: false } => {
                self.lets_go = true;
                self.state = State::Idle;
            }
            State::Giving { count: 8, .. } => {
                self.lets_go = true;
                self.state = State::Answered { more: false };
            }
            State::Giving { bits, count } => {
                self.lets_go = bits & 0x80 != 0;
                self.state = State::Giving {
                    bits: bits << 1,
                    count: count + 1,
                };
            }
            State::Idle | State::Taking { .. } => {}
        }
    }

    fn give(&mut self) {
        let bits = self.target.read();
        self.lets_go = bits & 0x80 != 0;
        self.state = State::Giving {
            bits: bits << 1,
            count: 1,
        };
    }
}

/// A serial EEPROM of up to 256 bytes, as an AT24C02: the first byte that is written is where to go on, further ones are
/// stored, and reading goes on from there and around.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eeprom {
    address: u8,
    bytes: Vec<u8>,
    at: u8,
    /// The next byte that is written says where.
    places: bool,
}

impl Eeprom {
    /// One that answers to a 7-bit address, with these bytes; those beyond are 0xff.
    pub fn new(address: u8, mut bytes: Vec<u8>) -> Self {
        bytes.resize(256, 0xff);
        Self {
            address,
            bytes,
            at: 0,
            places: false,
        }
    }

    /// What is stored.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Target for Eeprom {
    fn select(&mut self, address: u8, read: bool) -> bool {
        self.places = !read;
        address == self.address
    }

    fn write(&mut self, byte: u8) -> bool {
        if std::mem::take(&mut self.places) {
            self.at = byte;
        } else {
            if let Some(held) = self.bytes.get_mut(usize::from(self.at)) {
                *held = byte;
            }
            self.at = self.at.wrapping_add(1);
        }
        true
    }

    fn read(&mut self) -> u8 {
        let byte = self.bytes.get(usize::from(self.at)).copied();
        self.at = self.at.wrapping_add(1);
        byte.unwrap_or(0xff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A driver, line by line.
    struct Driver(BitBang<Eeprom>);

    impl Driver {
        fn new(bytes: &[u8]) -> Self {
            Self(BitBang::new(Eeprom::new(0x50, bytes.to_vec())))
        }

        fn start(&mut self) {
            self.0.drive(false, true);
            self.0.drive(true, true);
            self.0.drive(true, false);
            self.0.drive(false, false);
        }

        fn stop(&mut self) {
            self.0.drive(false, false);
            self.0.drive(true, false);
            assert!(self.0.drive(true, true), "the line is let go");
        }

        fn bit(&mut self, bit: bool) -> bool {
            self.0.drive(false, bit);
            let line = self.0.drive(true, bit);
            self.0.drive(false, bit);
            line
        }

        /// True: it was taken.
        fn put(&mut self, byte: u8) -> bool {
            for bit in (0..8).rev() {
                self.bit(byte >> bit & 1 != 0);
            }
            !self.bit(true)
        }

        fn get(&mut self, more: bool) -> u8 {
            let byte = (0..8).fold(0, |byte, _| byte << 1 | u8::from(self.bit(true)));
            self.bit(!more);
            byte
        }

        fn write(&mut self, at: u8, bytes: &[u8]) {
            self.start();
            assert!(self.put(0xa0) && self.put(at));
            assert!(bytes.iter().all(|byte| self.put(*byte)));
            self.stop();
        }

        fn read(&mut self, at: u8, length: usize) -> Vec<u8> {
            self.start();
            assert!(self.put(0xa0) && self.put(at));
            self.start();
            assert!(self.put(0xa1));
            let bytes = (1..=length).map(|n| self.get(n < length)).collect();
            self.stop();
            bytes
        }
    }

    #[test]
    fn nobody_answers_to_another_address_and_the_bus_goes_on() {
        let mut driver = Driver::new(b"x");
        driver.start();
        assert!(!driver.put(0xa2));
        driver.stop();
        assert_eq!(driver.read(0, 1), b"x");
    }

    #[test]
    fn a_transfer_that_is_given_up_leaves_the_line_free() {
        let mut driver = Driver::new(&[0; 4]);
        driver.start();
        assert!(driver.put(0xa1));
        driver.bit(true); // a zero comes, and seven bits do not
        driver.0.reset();
        assert!(driver.0.drive(true, true));
        assert_eq!(driver.read(2, 2), [0; 2]);
    }

    proptest! {
        /// What a driver reads is what it wrote.
        #[test]
        fn bytes_come_back(
            writes in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..9)), 0..6),
            at: u8, length in 1usize..20,
        ) {
            let mut driver = Driver::new(b"landfall");
            let mut model = Eeprom::new(0, b"landfall".to_vec()).bytes;
            for (at, bytes) in writes {
                driver.write(at, &bytes);
                for (offset, byte) in (0u8..).zip(bytes) {
                    model[usize::from(at.wrapping_add(offset))] = byte;
                }
            }
            let wanted: Vec<u8> = model.iter().cycle().skip(at.into()).take(length).copied().collect();
            prop_assert_eq!(driver.read(at, length), wanted);
            prop_assert_eq!(driver.0.target().bytes(), &model[..]);
        }

        /// Lines that do anything are no panic, and a stop frees the bus.
        #[test]
        fn any_lines_are_no_panic(lines in proptest::collection::vec((any::<bool>(), any::<bool>()), 0..400)) {
            let mut driver = Driver::new(b"landfall");
            for (clock, data) in lines {
                let line = driver.0.drive(clock, data);
                prop_assert!(data || !line);
            }
            driver.0.drive(false, false);
            driver.stop();
            prop_assert_eq!(driver.read(0, 8).len(), 8);
        }
    }
}
