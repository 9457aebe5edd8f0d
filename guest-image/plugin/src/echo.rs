// SPDX-License-Identifier: MIT OR Apache-2.0

//! An event of the witness, as it writes it to memory: `LW_ECHO_*` in `kmod/include/landfall_witness.h`, with which a test below
//! compares.

/// Bytes of a place, of which each watched card has one; the page has room for [`PLACES`].
pub const PLACE: u64 = 64;
/// Most cards.
pub const PLACES: usize = 64;
/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// Words of a place, by their number; eight bytes each.
const ADDRESS: usize = 0;
const PHYS: usize = 1;
const LENGTH: usize = 2;
const CALLER: usize = 3;
const GROUP: usize = 4;
const CARD: usize = 5;
/// Of the first place: where code of a module with marks begins. Of the second: where it ends, written last; 0: it has gone.
pub const MODULE: usize = 6;
/// The last that is written: with it the event is whole.
pub const COMMIT: usize = 7;

/// A place, as far as it was written.
pub type Words = [u64; 8];

/// What the witness tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Memory was mapped, or a segment of a list.
    Map,
    /// Memory was linked to bus addresses that the driver has of its own.
    Link,
    /// Coherent memory was allocated.
    Alloc,
    /// What was mapped or allocated comes back.
    End,
    /// All that was linked in a range comes back.
    Unlink,
    /// The CPU's from now on.
    ForCpu,
    /// The card's again.
    ForDevice,
    /// A video buffer is the driver's.
    Queue,
    /// It is its user's again.
    Done,
    /// The card is watched from now on: nothing is lent.
    Attached,
    /// It is watched no more.
    Detached,
    /// The witness goes, and the page with it.
    Ends,
    /// Nothing that changes whose memory is.
    Other,
}

/// Which way a lend may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Both ways.
    Both,
    /// The card may read it.
    ToDevice,
    /// The card may write it.
    FromDevice,
}

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// What it is.
    pub op: Op,
    /// Its number, modulo 2^32; none has an event that is not told the card.
    pub number: u32,
    /// The card, as the harness numbers them.
    pub card: u32,
    /// First bus address.
    pub address: u64,
    /// First physical address; `None`: not told.
    pub phys: Option<u64>,
    /// Bytes.
    pub length: u64,
    /// Where it was called.
    pub caller: u64,
    /// Which way.
    pub way: Way,
    /// There is a bounce buffer.
    pub bounced: bool,
    /// It was mapped without a sync.
    pub skip_sync: bool,
    /// It is one of several segments, or memory behind a pool.
    pub part: bool,
}

impl Event {
    /// What a place says when its last word was written.
    pub fn of(words: &Words) -> Self {
        let word = words[COMMIT];
        let op = match word >> 32 & 0xff {
            1 | 2 => Op::Map,
            16 => Op::Link,
            6 => Op::Alloc,
            4 | 5 | 7 => Op::End,
            17 => Op::Unlink,
            8 => Op::ForCpu,
            9 => Op::ForDevice,
            10 => Op::Queue,
            11 => Op::Done,
            32 => Op::Attached,
            38 => Op::Detached,
            39 => Op::Ends,
            _ => Op::Other,
        };
        Self {
            op,
            number: word as u32,
            card: words[CARD] as u32,
            address: words[ADDRESS],
            phys: (words[PHYS] != u64::MAX).then_some(words[PHYS]),
            length: words[LENGTH],
            caller: words[CALLER],
            way: match word >> 40 & 0xf {
                1 => Way::ToDevice,
                2 => Way::FromDevice,
                _ => Way::Both,
            },
            bounced: word >> 48 & 1 != 0,
            skip_sync: word >> 62 & 1 != 0,
            part: words[GROUP] != u64::MAX || word >> 63 & 1 != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_what_its_words_say() {
        let word = 7 | 2 << 32 | 2 << 40 | 1 << 62;
        let words = [
            0x1000,
            u64::MAX,
            64,
            0xffff_ffff_c000_0010,
            u64::MAX,
            3,
            0,
            word,
        ];

        let event = Event::of(&words);

        assert_eq!((event.op, event.number, event.card), (Op::Map, 7, 3));
        assert_eq!((event.phys, event.length), (None, 64));
        assert_eq!(event.way, Way::FromDevice);
        assert!(event.skip_sync && !event.bounced && !event.part);
    }

    /// What the guest's module compiles.
    fn defined(name: &str) -> u64 {
        let header = include_str!("../../../kmod/include/landfall_witness.h");
        let line = header
            .lines()
            .find(|line| line.split_whitespace().nth(1) == Some(name));
        let value = line.and_then(|line| line.split_whitespace().nth(2));
        let value = value.unwrap_or_else(|| panic!("{name} is not defined"));
        match value.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).expect(name),
            None => value.parse().expect(name),
        }
    }

    #[test]
    fn offsets_and_operations_are_the_headers() {
        assert_eq!(defined("LW_ECHO_PLACE"), PLACE);
        for (name, word) in [
            ("LW_ECHO_ADDRESS", ADDRESS),
            ("LW_ECHO_PHYS", PHYS),
            ("LW_ECHO_LENGTH", LENGTH),
            ("LW_ECHO_CALLER", CALLER),
            ("LW_ECHO_GROUP", GROUP),
            ("LW_ECHO_CARD", CARD),
            ("LW_ECHO_MODULE", MODULE),
            ("LW_ECHO_COMMIT", COMMIT),
        ] {
            assert_eq!(defined(name), 8 * word as u64, "{name}");
        }
        for (name, op) in [
            ("LW_OP_MAP", Op::Map),
            ("LW_OP_MAP_LIST", Op::Map),
            ("LW_OP_MAP_FAILED", Op::Other),
            ("LW_OP_UNMAP", Op::End),
            ("LW_OP_UNMAP_LIST", Op::End),
            ("LW_OP_ALLOC", Op::Alloc),
            ("LW_OP_FREE", Op::End),
            ("LW_OP_SYNC_FOR_CPU", Op::ForCpu),
            ("LW_OP_SYNC_FOR_DEVICE", Op::ForDevice),
            ("LW_OP_QUEUE", Op::Queue),
            ("LW_OP_DONE", Op::Done),
            ("LW_OP_LINK", Op::Link),
            ("LW_OP_UNLINK", Op::Unlink),
            ("LW_OP_ATTACHED", Op::Attached),
            ("LW_OP_SYMBOL", Op::Other),
            ("LW_OP_DETACHED", Op::Detached),
            ("LW_OP_ECHO_ENDS", Op::Ends),
        ] {
            let word = defined(name) << defined("LW_OP_SHIFT");
            assert_eq!(Event::of(&[0, 0, 0, 0, 0, 0, 0, word]).op, op, "{name}");
        }
        for (name, way) in [
            ("LW_DIRECTION_BOTH", Way::Both),
            ("LW_DIRECTION_TO_DEVICE", Way::ToDevice),
            ("LW_DIRECTION_FROM_DEVICE", Way::FromDevice),
        ] {
            let word = defined(name) << defined("LW_DIRECTION_SHIFT");
            assert_eq!(Event::of(&[0, 0, 0, 0, 0, 0, 0, word]).way, way, "{name}");
        }
        let bit = |name| 1 << defined(name);
        let event = Event::of(&[0, 0, 0, 0, u64::MAX, 0, 0, bit("LW_BOUNCED_SHIFT")]);
        assert!(event.bounced && !event.skip_sync && !event.part);
        let event = Event::of(&[0, 0, 0, 0, u64::MAX, 0, 0, bit("LW_SKIP_SYNC_SHIFT")]);
        assert!(event.skip_sync && !event.bounced && !event.part);
        let event = Event::of(&[0, 0, 0, 0, u64::MAX, 0, 0, bit("LW_BACKING_SHIFT")]);
        assert!(event.part);
    }

    #[test]
    fn whatever_is_written_is_some_event() {
        for op in 0..=255 {
            let words = [u64::MAX, 0, u64::MAX, 0, 0, u64::MAX, 0, op << 32];
            let event = Event::of(&words);
            assert_eq!(event.phys, Some(0), "{op}");
        }
    }
}
