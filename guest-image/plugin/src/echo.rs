// SPDX-License-Identifier: MIT OR Apache-2.0

//! An event of the witness, as it writes it to memory: `LW_ECHO_*` in `kmod/include/landfall_witness.h`, which a test of the
//! guest's set-up compares.

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

    #[test]
    fn whatever_is_written_is_some_event() {
        for op in 0..=255 {
            let words = [u64::MAX, 0, u64::MAX, 0, 0, u64::MAX, 0, op << 32];
            let event = Event::of(&words);
            assert_eq!(event.phys, Some(0), "{op}");
        }
    }
}
