// SPDX-License-Identifier: MIT OR Apache-2.0

//! The file that plugin and harness share: what to listen to, and what was found.
//!
//! | at | what | whose |
//! |---|---|---|
//! | [`MAGIC_AT`] | [`MAGIC`]; the plugin leaves a file without it alone | the harness's |
//! | [`ECHO_AT`] | physical address of the witness's echo; 0: not known yet, nothing is watched | the harness's |
//! | [`LIMIT_AT`] | first physical address that no RAM has | the harness's |
//! | [`FLAGS_AT`] | [`SCATTERED`], [`ALONE`](crate::gate::ALONE) | the harness's |
//! | [`CODE_AT`] | [`CODES`] ranges of virtual addresses that code of the kernel's has, two words each | the harness's |
//! | [`TAKEN_AT`] | how many findings the harness took out of the ring | the harness's |
//! | [`TOLD_AT`] | how many the plugin put there | the plugin's |
//! | [`LOST_AT`] | how many found no room, and lends that did not | the plugin's |
//! | [`OPEN_AT`] | [`OPEN`] findings that may still grow | the plugin's |
//! | [`RING_AT`] | [`RING`] that are settled, in turn | the plugin's |
//! | [`UNORDERED_TAKEN_AT`], [`UNORDERED_TOLD_AT`], [`UNORDERED_LOST_AT`] | the same three numbers of accesses that nothing puts in order | as above |
//! | [`UNORDERED_AT`] | [`UNORDERED`] of these, in turn | the plugin's |
//!
//! A finding that grows is marked by its two ends ([`Found::to_bytes`]): one that differs in them is being written.

/// First word of the file.
pub const MAGIC: u64 = u64::from_le_bytes(*b"LFCPU\0\0\x01");
/// See the table.
pub const MAGIC_AT: usize = 0;
/// See the table.
pub const ECHO_AT: usize = 8;
/// See the table.
pub const LIMIT_AT: usize = 16;
/// See the table.
pub const FLAGS_AT: usize = 24;
/// See the table.
pub const TAKEN_AT: usize = 32;
/// See the table.
pub const TOLD_AT: usize = 40;
/// See the table.
pub const LOST_AT: usize = 48;
/// See the table.
pub const CODE_AT: usize = 64;
/// See the table.
pub const CODES: usize = 4;
/// See the table.
pub const UNORDERED_TAKEN_AT: usize = 128;
/// See the table.
pub const UNORDERED_TOLD_AT: usize = 136;
/// See the table.
pub const UNORDERED_LOST_AT: usize = 144;
/// See the table.
pub const OPEN_AT: usize = 4096;
/// See the table.
pub const OPEN: usize = 1024;
/// See the table.
pub const RING_AT: usize = OPEN_AT + OPEN * FOUND;
/// See the table.
pub const RING: usize = 4096;
/// See the table.
pub const UNORDERED_AT: usize = RING_AT + RING * FOUND;
/// See the table.
pub const UNORDERED: usize = 256;
/// Bytes of the file.
pub const SIZE: usize = UNORDERED_AT + UNORDERED * FOUND;

/// Of several pages of a list or of coherent memory nobody knows whether they follow each other: an IOMMU is there.
pub const SCATTERED: u64 = 1;

/// Bytes of a finding.
pub const FOUND: usize = 320;
/// Most words of the stack.
pub const STACK: usize = 24;

/// How a finding was settled: what became of the bytes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Nothing yet.
    Not,
    /// They were synced for the CPU.
    ForCpu,
    /// They were synced for the card.
    ForDevice,
    /// They were lent no more.
    Ended,
    /// Their video buffer went back to its user.
    Done,
    /// The card, or the witness, is gone, or lost an event.
    Unknown,
}

const SETTLED: [Settled; 6] = [
    Settled::Not,
    Settled::ForCpu,
    Settled::ForDevice,
    Settled::Ended,
    Settled::Done,
    Settled::Unknown,
];

/// Accesses of one instruction to what was a card's, of one lend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its number among all that were found; from 1.
    pub id: u64,
    /// The card.
    pub card: u32,
    /// The guest's CPU that was the first.
    pub cpu: u32,
    /// Stores; else loads.
    pub store: bool,
    /// By user space.
    pub user: bool,
    /// The lend is coherent memory.
    pub coherent: bool,
    /// The lend was a video buffer that the driver had.
    pub queued: bool,
    /// Not every byte of the range was accessed.
    pub gaps: bool,
    /// What became of the bytes.
    pub settled: Settled,
    /// Address of the instruction.
    pub pc: u64,
    /// First bus address of the lowest byte.
    pub address: u64,
    /// Bytes from there to the highest.
    pub length: u64,
    /// How many accesses.
    pub count: u64,
    /// `CLOCK_MONOTONIC` of the first, nanoseconds.
    pub first_ns: u64,
    /// And of the last.
    pub last_ns: u64,
    /// First bus address of the lend.
    pub lend: u64,
    /// Number of the event that began it.
    pub lend_number: u64,
    /// The last event of the card's that was heard before the first access.
    pub after: u64,
    /// The event that settled it, if it is.
    pub settled_by: u64,
    /// Words of the stack at the first access that may be return addresses, the nearest first; 0 behind the last.
    pub stack: [u64; STACK],
}

/// Words of a finding before its stack.
const WORDS: usize = 13;

/// Words as they lie in the file: between two ends that are the same, of which the first is the `id` and a `mark` that a
/// writer raises.
fn framed(id: u64, mark: u32, words: &[u64], stack: &[u64; STACK]) -> [u8; FOUND] {
    let ends = id << 32 | u64::from(mark);
    let mut bytes = [0; FOUND];
    let all = [ends, id].into_iter().chain(words.iter().copied());
    let at = (0..).zip(all.chain(stack.iter().copied()));
    for (index, word) in at.chain([(FOUND / 8 - 1, ends)]) {
        if let Some(into) = bytes.get_mut(8 * index..8 * index + 8) {
            into.copy_from_slice(&word.to_le_bytes());
        }
    }
    bytes
}

/// The words that lie there; `None`: nothing, or it is being written. Any bytes may be there.
fn whole(bytes: &[u8; FOUND]) -> Option<[u64; FOUND / 8]> {
    let mut words = [0; FOUND / 8];
    for (word, from) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*from);
    }
    let [first, id, .., last] = words;
    (id != 0 && first == last && first >> 32 == id & 0xffff_ffff).then_some(words)
}

/// Words of the stack, where they begin.
fn stack_of(words: &[u64; FOUND / 8], from: usize) -> [u64; STACK] {
    let mut stack = [0; STACK];
    for (into, word) in stack.iter_mut().zip(words.iter().skip(from)) {
        *into = *word;
    }
    stack
}

impl Found {
    /// As it lies in the file.
    pub fn to_bytes(&self, mark: u32) -> [u8; FOUND] {
        let bit = |is: bool, shift: u32| u64::from(is) << shift;
        let settled = SETTLED.iter().position(|known| *known == self.settled);
        let flags = u64::from(self.card)
            | u64::from(self.cpu & 0xffff) << 32
            | bit(self.store, 48)
            | bit(self.user, 49)
            | bit(self.coherent, 50)
            | bit(self.queued, 51)
            | bit(self.gaps, 52)
            | (settled.unwrap_or(0) as u64) << 56;
        let words = [
            flags,
            self.pc,
            self.address,
            self.length,
            self.count,
            self.first_ns,
            self.last_ns,
            self.lend,
            self.lend_number,
            self.after,
            self.settled_by,
        ];
        framed(self.id, mark, &words, &self.stack)
    }

    /// What lies there; `None`: nothing, or it is being written. Any bytes may be there.
    pub fn of_bytes(bytes: &[u8; FOUND]) -> Option<Self> {
        let words = whole(bytes)?;
        let [_, id, flags, ..] = words;
        let bit = |shift: u32| flags >> shift & 1 != 0;
        Some(Self {
            id,
            card: flags as u32,
            cpu: (flags >> 32 & 0xffff) as u32,
            store: bit(48),
            user: bit(49),
            coherent: bit(50),
            queued: bit(51),
            gaps: bit(52),
            settled: *SETTLED.get((flags >> 56) as usize)?,
            pc: words[3],
            address: words[4],
            length: words[5],
            count: words[6],
            first_ns: words[7],
            last_ns: words[8],
            lend: words[9],
            lend_number: words[10],
            after: words[11],
            settled_by: words[12],
            stack: stack_of(&words, WORDS),
        })
    }
}

/// Two accesses of one CPU that nothing puts in order. A load of what a card wrote for a job, which should have come behind another, by
/// which the CPU found out that it is there; or a store, which should have come before a write of a register, by which the card is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unordered {
    /// Its number among all that were told; from 1.
    pub id: u64,
    /// The card.
    pub card: u32,
    /// Of a load the job, as it is stamped.
    pub job: u32,
    /// The guest's CPU.
    pub cpu: u32,
    /// A store; else a load.
    pub store: bool,
    /// The other access is a register's.
    pub by_register: bool,
    /// A barrier stood in between that is one for CPUs alone.
    pub for_cpus: bool,
    /// Address of the instruction.
    pub pc: u64,
    /// First physical address.
    pub phys: u64,
    /// Bytes from there.
    pub length: u64,
    /// First bus address, if it is lent.
    pub address: u64,
    /// First bus address of that lend.
    pub lend: u64,
    /// Number of the event that began it; 0: it is not lent.
    pub lend_number: u64,
    /// Address of the other instruction.
    pub other_pc: u64,
    /// Physical address of what that one accessed.
    pub other: u64,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub at_ns: u64,
    /// Words of the stack that may be return addresses, the nearest first; 0 behind the last.
    pub stack: [u64; STACK],
}

/// Words of that before its stack.
const UNORDERED_WORDS: usize = 13;

impl Unordered {
    /// As it lies in the file.
    pub fn to_bytes(&self) -> [u8; FOUND] {
        let flags = u64::from(self.card)
            | u64::from(self.cpu & 0xffff) << 32
            | u64::from(self.store) << 48
            | u64::from(self.by_register) << 49
            | u64::from(self.for_cpus) << 50;
        let words = [
            flags,
            u64::from(self.job),
            self.pc,
            self.phys,
            self.length,
            self.address,
            self.lend,
            self.lend_number,
            self.other_pc,
            self.other,
            self.at_ns,
        ];
        framed(self.id, 0, &words, &self.stack)
    }

    /// What lies there; `None`: nothing, or it is being written. Any bytes may be there.
    pub fn of_bytes(bytes: &[u8; FOUND]) -> Option<Self> {
        let words = whole(bytes)?;
        let [_, id, flags, ..] = words;
        let bit = |shift: u32| flags >> shift & 1 != 0;
        Some(Self {
            id,
            card: flags as u32,
            job: words[3] as u32,
            cpu: (flags >> 32 & 0xffff) as u32,
            store: bit(48),
            by_register: bit(49),
            for_cpus: bit(50),
            pc: words[4],
            phys: words[5],
            length: words[6],
            address: words[7],
            lend: words[8],
            lend_number: words[9],
            other_pc: words[10],
            other: words[11],
            at_ns: words[12],
            stack: stack_of(&words, UNORDERED_WORDS),
        })
    }
}

const _: () = assert!(8 * (WORDS + STACK + 1) <= FOUND && FOUND.is_multiple_of(8));

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const FOUND_ONE: Found = Found {
        id: 9,
        card: 63,
        cpu: 1,
        store: true,
        user: false,
        coherent: true,
        queued: true,
        gaps: true,
        settled: Settled::Unknown,
        pc: u64::MAX - 4,
        address: 0x1000,
        length: 8,
        count: 3,
        first_ns: 5,
        last_ns: 6,
        lend: 0x800,
        lend_number: 77,
        after: 79,
        settled_by: 80,
        stack: [0xffff_ffff_8100_0000; STACK],
    };

    #[test]
    fn a_finding_comes_back_as_it_was() {
        assert_eq!(Found::of_bytes(&FOUND_ONE.to_bytes(4)), Some(FOUND_ONE));
        assert_eq!(Found::of_bytes(&[0; FOUND]), None);
    }

    #[test]
    fn two_accesses_come_back_as_they_were() {
        let unordered = Unordered {
            id: 3,
            card: 5,
            job: 77,
            cpu: 1,
            store: true,
            by_register: true,
            for_cpus: true,
            pc: u64::MAX - 8,
            phys: 0x1000,
            length: 24,
            address: 0x9000,
            lend: 0x8000,
            lend_number: 12,
            other_pc: u64::MAX - 16,
            other: 0x2000,
            at_ns: 9,
            stack: [7; STACK],
        };
        assert_eq!(Unordered::of_bytes(&unordered.to_bytes()), Some(unordered));
        assert_eq!(Unordered::of_bytes(&[0; FOUND]), None);
    }

    #[test]
    fn one_that_is_being_written_is_none() {
        let (before, after) = (FOUND_ONE.to_bytes(4), FOUND_ONE.to_bytes(5));
        for cut in 1..FOUND {
            let mut torn = after;
            torn[cut..].copy_from_slice(&before[cut..]);
            let last = torn[FOUND - 8..] == after[FOUND - 8..];
            assert_eq!(Found::of_bytes(&torn).is_some(), last, "{cut}");
        }
    }

    #[test]
    fn any_bytes_are_a_finding_or_none() {
        for fill in 0..=255 {
            let _ = (
                Found::of_bytes(&[fill; FOUND]),
                Unordered::of_bytes(&[fill; FOUND]),
            );
        }
    }
}
