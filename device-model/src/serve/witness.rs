// SPDX-License-Identifier: MIT OR Apache-2.0

//! The witness's registers: what `landfall_witness`, in the guest, tells about the driver, as entries of the journal.
//!
//! They belong to no function: the access layer adds them, and no function sees them. They are in the card itself so
//! that one socket carries both the driver's register writes and these: their order in the journal is the order in
//! which the guest made them. There are two ways to the same registers: BAR 5 of a function that leaves it free,
//! which is fast, and a mailbox in configuration space, which is always there, whatever decodes and in any power
//! state. An event that came on one way may be told again on the other: what has a number that was taken already
//! is passed over.
//!
//! An event is some fields and then a commit, which takes them and forgets them. Offsets and bits:
//! `kmod/include/landfall_witness.h`, which the guest's module compiles and a test below compares. Whatever is
//! written, what is kept is one event; what makes no sense is counted, and the first [`MAX_REFUSED`] times
//! journalled as [`Kind::Refused`].

use std::collections::{HashMap, HashSet};

use crate::journal::{Call, DriverCall, DriverState, Journal, Kind, LendDirection, Memory};

/// Which BAR.
pub(crate) const BAR: u8 = 5;
/// Bytes of it.
pub(crate) const SIZE: u64 = 0x1000;

const MAGIC_VALUE: u32 = u32::from_le_bytes(*b"LFWT");
const VERSION_VALUE: u32 = 3;
/// Most bytes of a name.
const MAX_TEXT: usize = 128;
/// Most names of callers that are remembered, so that they are journalled once.
const MAX_NAMES: usize = 4096;
/// Most bytes of names that one card journals; a driver's later states have no name, and later callers none.
const MAX_NAME_BYTES: usize = 4 << 20;
/// Most lends of other devices that one card journals, and most things that the witness does not hear.
const MAX_ELSEWHERE: usize = 4096;
const MAX_UNHEARD: usize = 64;
/// Most refusals that one card journals.
const MAX_REFUSED: u32 = 64;

/// The mailbox: a vendor-specific capability in configuration space.
pub(crate) const MAILBOX: u64 = 0xc0;
/// Bytes of it.
pub(crate) const MAILBOX_SIZE: u64 = 0x10;
/// From here on it acts.
pub(crate) const MAILBOX_ACTS: u64 = MAILBOX_SELECT;
const MAILBOX_SELECT: u64 = 0x08;
const MAILBOX_DATA: u64 = 0x0c;

/// The mailbox's bytes that never change but the link, which the list's end decides; `bar`: BAR 5 leads here too.
pub(crate) fn mailbox(bar: bool) -> [u8; 8] {
    let [a, b, c, d] = MAGIC_VALUE.to_le_bytes();
    [0x09, 0, MAILBOX_SIZE as u8, bar.into(), a, b, c, d]
}

const MAGIC: u64 = 0x00;
const VERSION: u64 = 0x04;
const EVENTS: u64 = 0x08;
const REFUSED: u64 = 0x0c;
const PLACE: u64 = 0x60;
/// The fields, eight bytes each.
const FIELDS: u64 = 0x10;

/// A field's place among those of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
enum Field {
    Address,
    Phys,
    Length,
    Caller,
    Time,
    List,
    Text,
    Short,
    Group,
    Commit,
}

const FIELD_COUNT: usize = Field::Commit as usize + 1;

/// Operations of a commit that are no calls; the calls are numbered from 1 as [`CALLS`] has them.
const OP_ATTACHED: u8 = 32;
const OP_SYMBOL: u8 = 33;
const OP_DRIVER: u8 = 34;
const OP_KERNEL_DOWN: u8 = 35;
const OP_UNHEARD: u8 = 36;
const OP_ELSEWHERE: u8 = 37;

const CALLS: [Call; 17] = [
    Call::Map,
    Call::MapList,
    Call::MapFailed,
    Call::Unmap,
    Call::UnmapList,
    Call::Alloc,
    Call::Free,
    Call::SyncForCpu,
    Call::SyncForDevice,
    Call::Queue,
    Call::Done,
    Call::PoolLend,
    Call::PoolReturn,
    Call::BlockAlloc,
    Call::BlockFree,
    Call::Link,
    Call::Unlink,
];

const DIRECTIONS: [LendDirection; 3] = [
    LendDirection::Both,
    LendDirection::ToDevice,
    LendDirection::FromDevice,
];

const MEMORIES: [Memory; 4] = [Memory::Plain, Memory::Text, Memory::Stack, Memory::Invalid];

const STATES: [DriverState; 5] = [
    DriverState::Binding,
    DriverState::Bound,
    DriverState::NotBound,
    DriverState::Unbinding,
    DriverState::Unbound,
];

/// What of an event came so far.
#[derive(Debug, Default)]
struct Staging {
    values: [u64; FIELD_COUNT],
    /// Bits 2n and 2n + 1: the lower and the upper half of field n were written.
    halves: u32,
    text: Vec<u8>,
}

impl Staging {
    fn get(&self, field: Field) -> Option<u64> {
        let both = 3 << (2 * field as usize);
        (self.halves & both == both).then(|| self.values[field as usize])
    }

    /// The name, without what pads it.
    fn text(&self) -> &[u8] {
        let end = self.text.iter().position(|byte| *byte == 0);
        let bytes = self.text.get(..end.unwrap_or(self.text.len()));
        bytes.unwrap_or_default()
    }

    fn name(&self) -> String {
        printable(self.text())
    }
}

fn printable(bytes: &[u8]) -> String {
    let printable = |byte: &u8| match byte {
        0x20..=0x7e => char::from(*byte),
        _ => '?',
    };
    bytes.iter().map(printable).collect()
}

/// The commit word, taken apart.
#[derive(Clone, Copy, Debug)]
struct Commit(u64);

impl Commit {
    const fn bits(self, shift: u32, count: u32) -> u64 {
        self.0 >> shift & ((1 << count) - 1)
    }

    const fn number(self) -> u32 {
        self.0 as u32
    }

    const fn op(self) -> u8 {
        self.bits(32, 8) as u8
    }

    const fn bit(self, shift: u32) -> bool {
        self.bits(shift, 1) != 0
    }

    fn of<T: Copy>(self, shift: u32, table: &[T], what: &'static str) -> Result<T, &'static str> {
        let found = table.get(self.bits(shift, 4) as usize);
        found.copied().ok_or(what)
    }
}

/// The registers of one card's witness.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    staging: Staging,
    /// Number that the next event should have.
    expected: u64,
    events: u32,
    refused: u32,
    /// Names of callers, by address.
    names: HashMap<u64, String>,
    /// Bytes of names that were journalled.
    named: usize,
    unheard: HashSet<String>,
    /// Lends of other devices: device, address, when, and whether they ended.
    elsewhere: HashSet<(Vec<u8>, u64, u64, bool)>,
    /// Which register the mailbox leads to.
    selected: u64,
    /// Which of the machine's cards this is.
    place: u32,
}

impl Witness {
    /// Of the machine's card number `place`.
    pub(crate) fn of(place: u32) -> Self {
        Self {
            place,
            ..Self::default()
        }
    }

    /// Forgets the guest: another one may come. What was counted stays counted.
    pub(crate) fn unplug(&mut self) {
        self.staging = Staging::default();
        self.expected = 0;
        self.selected = 0;
    }

    /// Reads the mailbox, 4 bytes at `offset` of it.
    pub(crate) fn read_mailbox(&self, offset: u64) -> u32 {
        match offset {
            MAILBOX_SELECT => self.selected as u32,
            MAILBOX_DATA => self.read(self.selected),
            _ => 0,
        }
    }

    /// Takes a write to the mailbox: which register, or its 4 bytes, after which it leads to the next. As [`Witness::stage`].
    pub(crate) fn stage_mailbox(&mut self, offset: u64, from: &[u8], journal: &Journal) -> bool {
        let Some(value) = from.first_chunk::<4>().filter(|_| from.len() == 4) else {
            self.refuse("a write of an odd size to the mailbox", journal);
            return false;
        };
        match offset {
            MAILBOX_SELECT => self.selected = u64::from(u32::from_le_bytes(*value)) % SIZE,
            MAILBOX_DATA => {
                let at = self.selected;
                self.selected = (at + 4) % SIZE;
                return self.stage(at, value, journal);
            }
            _ => self.refuse("a write where the mailbox has nothing", journal),
        }
        false
    }

    /// Reads a whole register of 4 bytes.
    pub(crate) fn read(&self, offset: u64) -> u32 {
        match offset {
            MAGIC => MAGIC_VALUE,
            VERSION => VERSION_VALUE,
            EVENTS => self.events,
            REFUSED => self.refused,
            PLACE => self.place,
            _ => 0,
        }
    }

    /// Takes a write as the machine made it. True: with it an event is whole, which [`Witness::tell`] tells.
    pub(crate) fn stage(&mut self, offset: u64, from: &[u8], journal: &Journal) -> bool {
        let Some(field) = field(offset) else {
            self.refuse("a write where the witness has no field", journal);
            return false;
        };
        let whole = from.first_chunk::<8>().filter(|_| from.len() == 8);
        let half = from.first_chunk::<4>().filter(|_| from.len() == 4);
        match (offset % 8, whole, half) {
            (0, Some(bytes), _) => self.put(field, u64::from_le_bytes(*bytes), 3, from),
            (0, _, Some(bytes)) => self.put(field, u32::from_le_bytes(*bytes).into(), 1, from),
            (4, _, Some(bytes)) => {
                let value = u64::from(u32::from_le_bytes(*bytes)) << 32;
                self.put(field, value, 2, from);
            }
            _ => {
                self.refuse("a write of an odd size or place", journal);
                return false;
            }
        }
        field == Field::Commit as usize && self.staging.halves >> (2 * field) & 2 != 0
    }

    /// Tells the event that is whole, and forgets it.
    pub(crate) fn tell(&mut self, journal: &Journal) {
        let staging = std::mem::take(&mut self.staging);
        self.commit(&staging, journal);
    }

    /// What the event that is whole is about: a step of the driver's, in words, and its memory. `None`: it is none, or was told before.
    pub(crate) fn about(&self) -> Option<(String, Option<(u64, u64)>)> {
        let word = Commit(self.staging.get(Field::Commit)?);
        if word.number() != self.expected as u32 {
            return None;
        }
        match word.op() {
            OP_DRIVER => {
                let state: DriverState = word.of(40, &STATES, "").ok()?;
                Some((format!("driver {state:?}").to_lowercase(), None))
            }
            OP_KERNEL_DOWN => Some(("the kernel goes down".to_owned(), None)),
            op => {
                let call = CALLS.get(usize::from(op).checked_sub(1)?)?;
                let address = self.staging.get(Field::Address)?;
                let short = self
                    .staging
                    .get(Field::Short)
                    .map(|short| short & 0xffff_ffff);
                let length = self.staging.get(Field::Length).or(short)?;
                Some((
                    format!("{}, {length} bytes", call.name()),
                    Some((address, length)),
                ))
            }
        }
    }

    fn put(&mut self, field: usize, value: u64, halves: u32, bytes: &[u8]) {
        let staging = &mut self.staging;
        let keep = match halves {
            1 => !0 << 32,
            2 => !0 >> 32,
            _ => 0,
        };
        if let Some(held) = staging.values.get_mut(field) {
            *held = *held & keep | value;
        }
        staging.halves |= halves << (2 * field);
        if field == Field::Text as usize {
            let room = MAX_TEXT.saturating_sub(staging.text.len()).min(bytes.len());
            staging.text.extend(bytes.iter().take(room));
        }
    }

    fn refuse(&mut self, what: &str, journal: &Journal) {
        if self.refused < MAX_REFUSED {
            let what = format!("witness: {what}");
            journal.push(Kind::Refused { what });
        }
        self.refused = self.refused.wrapping_add(1);
    }

    fn commit(&mut self, staging: &Staging, journal: &Journal) {
        let Some(word) = staging.get(Field::Commit).map(Commit) else {
            return self.refuse("half a commit", journal);
        };
        let Some(number) = self.number(word, journal) else {
            return;
        };
        match self.event(word, staging, number, journal) {
            Ok(kind) => {
                self.events = self.events.wrapping_add(1);
                if let Some(kind) = kind {
                    journal.push(kind);
                }
            }
            Err(what) => self.refuse(what, journal),
        }
    }

    /// The whole number of an event, after telling of those between it and the last; `None`: it was taken already.
    fn number(&mut self, word: Commit, journal: &Journal) -> Option<u64> {
        // A module that is loaded again begins again.
        if word.op() == OP_ATTACHED && word.number() == 0 {
            self.expected = 0;
        }
        let expected = self.expected;
        let ahead = word.number().wrapping_sub(expected as u32);
        let got = match ahead {
            0 => expected,
            1..0x8000_0000 => expected.wrapping_add(ahead.into()),
            _ => return None,
        };
        if got != expected {
            journal.push(Kind::WitnessGap { expected, got });
        }
        self.expected = got.wrapping_add(1);
        Some(got)
    }

    /// What an event is; `None`: what the journal has already.
    fn event(
        &mut self,
        word: Commit,
        staging: &Staging,
        number: u64,
        journal: &Journal,
    ) -> Result<Option<Kind>, &'static str> {
        let address = staging.get(Field::Address);
        match word.op() {
            OP_ATTACHED => Ok(Some(Kind::Attached {
                text_start: address.ok_or("it begins without the kernel's place")?,
                text_end: staging.get(Field::Phys).unwrap_or(0),
                syncs: true,
            })),
            OP_SYMBOL => {
                let address = address.ok_or("a name for no address")?;
                Ok(self.symbol(address, staging.name()))
            }
            OP_DRIVER => Ok(Some(Kind::Driver {
                state: word.of(40, &STATES, "a state that no driver is in")?,
                driver: self.afford(staging.name()).unwrap_or_default(),
            })),
            OP_KERNEL_DOWN => Ok(Some(Kind::KernelDown)),
            OP_UNHEARD => Ok(self.unheard(staging.name(), word.bit(40), journal)),
            OP_ELSEWHERE => {
                let told = elsewhere(word, staging)?;
                Ok(self.elsewhere(word, staging, told, journal))
            }
            op => {
                let call = usize::from(op).checked_sub(1);
                let call = call.and_then(|index| CALLS.get(index));
                let call = *call.ok_or("an event of no known kind")?;
                driver_call(call, word, staging, number).map(|call| Some(Kind::Call(call)))
            }
        }
    }

    /// A name, unless there were too many.
    fn afford(&mut self, name: String) -> Option<String> {
        let named = self.named.saturating_add(name.len());
        (named <= MAX_NAME_BYTES).then(|| {
            self.named = named;
            name
        })
    }

    /// A caller that has no name yet, or another one: modules come and go.
    fn symbol(&mut self, address: u64, name: String) -> Option<Kind> {
        if self.names.get(&address) == Some(&name) {
            return None;
        }
        let name = self.afford(name)?;
        if self.names.len() >= MAX_NAMES {
            self.names.clear();
        }
        self.names.insert(address, name.clone());
        Some(Kind::Symbol { address, name })
    }

    fn unheard(&mut self, what: String, others: bool, journal: &Journal) -> Option<Kind> {
        match self.unheard.len() {
            MAX_UNHEARD.. => return None,
            most if most + 1 == MAX_UNHEARD => {
                journal.push(Kind::Unheard {
                    what: "more than can be told".to_owned(),
                    others: false,
                });
                self.unheard.insert(String::new());
                return None;
            }
            _ => {}
        }
        let new = self.unheard.insert(what.clone());
        new.then_some(Kind::Unheard { what, others })
    }

    fn elsewhere(
        &mut self,
        word: Commit,
        staging: &Staging,
        told: Kind,
        journal: &Journal,
    ) -> Option<Kind> {
        let field = |field| staging.get(field).unwrap_or(0);
        let (address, begun) = (field(Field::Address), field(Field::Time));
        let key = (staging.text.clone(), address, begun, word.bit(48));
        if self.elsewhere.contains(&key) {
            return None;
        }
        if self.elsewhere.len() >= MAX_ELSEWHERE {
            let what = "other devices' lends: more than can be told".to_owned();
            if let Some(unheard) = self.unheard(what, true, journal) {
                journal.push(unheard);
            }
            return None;
        }
        self.elsewhere.insert(key);
        Some(told)
    }
}

/// A lend of another device; the text is its name, a line feed, and its driver's.
fn elsewhere(word: Commit, staging: &Staging) -> Result<Kind, &'static str> {
    let mut names = staging.text().splitn(2, |byte| *byte == b'\n');
    let device = printable(names.next().unwrap_or_default());
    Ok(Kind::Elsewhere {
        device,
        driver: printable(names.next().unwrap_or_default()),
        address: staging
            .get(Field::Address)
            .ok_or("a lend without an address")?,
        length: staging
            .get(Field::Length)
            .ok_or("a lend without a length")?,
        direction: word.of(40, &DIRECTIONS, "a direction that there is not")?,
        ended: word.bit(48),
        begun_ns: staging.get(Field::Time).unwrap_or(0),
        ended_ns: staging.get(Field::Phys).unwrap_or(0),
    })
}

/// The field that an offset lies in.
fn field(offset: u64) -> Option<usize> {
    let field = usize::try_from(offset.checked_sub(FIELDS)? / 8).ok()?;
    (field < FIELD_COUNT).then_some(field)
}

fn driver_call(
    call: Call,
    word: Commit,
    staging: &Staging,
    number: u64,
) -> Result<DriverCall, &'static str> {
    let address = staging
        .get(Field::Address)
        .ok_or("a call without an address")?;
    let short = staging.get(Field::Short);
    // The kernel's own addresses have all upper bits set.
    let short_caller = short.map(|short| match short >> 32 {
        0 => 0,
        low => low | 0xffff_ffff_0000_0000,
    });
    let direct = word.bit(49);
    let list = staging.get(Field::List).unwrap_or(0);
    Ok(DriverCall {
        call,
        number,
        address,
        phys: match staging.get(Field::Phys) {
            Some(phys) => phys,
            None if direct => address,
            None => u64::MAX,
        },
        length: staging
            .get(Field::Length)
            .or(short.map(|short| short & 0xffff_ffff))
            .ok_or("a call without a length")?,
        direction: word.of(40, &DIRECTIONS, "a direction that there is not")?,
        entries: list as u32,
        part: (list >> 32) as u32,
        list: staging.get(Field::Group),
        memory: word.of(44, &MEMORIES, "a kind of memory that there is not")?,
        bounced: word.bit(48),
        skip_sync: word.bit(62),
        backing: word.bit(63),
        caller: staging
            .get(Field::Caller)
            .or(short_caller)
            .unwrap_or_default(),
        cpu: word.bits(50, 12) as u16,
        guest_ns: staging.get(Field::Time).unwrap_or_default(),
    })
}

#[cfg(test)]
#[path = "witness_tests.rs"]
mod tests;
