// SPDX-License-Identifier: MIT OR Apache-2.0

//! What an entry of a journal says, in words.
//!
//! Of a million entries most say the same of other numbers. So the words have a character of [`mark`] wherever a number goes,
//! and the numbers are beside them: words are few, and can be kept once each.

use std::fmt::Write;

use landfall_device::contract::{Declaration, Direction, Label, Promise, Reset};
use landfall_device::journal::{Call, DriverState, Entry, Kind, LendDirection, Outcome};

use super::map::address;

/// Characters that stand for numbers: Unicode has them for private use, and whatever somebody else says is shown without.
pub mod mark {
    /// The range, by its first and last address; of one byte the address alone.
    pub const RANGE: char = '\u{e000}';
    /// The length, with its unit.
    pub const BYTES: char = '\u{e001}';
    /// The first address.
    pub const ADDRESS: char = '\u{e002}';
    /// The job's number.
    pub const JOB: char = '\u{e003}';
    /// The other numbers, decimal.
    pub const DECIMAL: [char; 3] = ['\u{e010}', '\u{e011}', '\u{e012}'];
    /// The other numbers, hexadecimal.
    pub const HEX: [char; 3] = ['\u{e020}', '\u{e021}', '\u{e022}'];
    /// The first and last of those that are set aside.
    pub(super) const ALL: std::ops::RangeInclusive<char> = '\u{e000}'..='\u{e02f}';
}

use mark::{ADDRESS, BYTES, DECIMAL, HEX, JOB, RANGE};

/// Most characters of what somebody else says.
const LONGEST: usize = 400;

/// What happened, as far as it is drawn by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Sort {
    /// The life of driver, card and machine.
    Life = 0,
    /// The driver lends memory.
    Lends = 1,
    /// It takes memory back.
    TakesBack = 2,
    /// It syncs memory for the CPU.
    ForCpu = 3,
    /// It syncs memory for the card.
    ForDevice = 4,
    /// It writes a register.
    Register = 5,
    /// It touches what is no register, or waits for one.
    NoRegister = 6,
    /// It hands a job over.
    Accepted = 7,
    /// The card begins a job.
    Begun = 8,
    /// The card reports a job as over.
    Done = 9,
    /// The driver takes a job back.
    Released = 10,
    /// The card tells something else of its work.
    Told = 11,
    /// The card writes memory.
    Writes = 12,
    /// The card reads memory.
    Reads = 13,
    /// An access of the card's that was refused.
    Refused = 14,
    /// The card interrupts.
    Interrupt = 15,
    /// The card's interrupt is held back.
    Held = 16,
    /// A CPU loads from memory that is the card's.
    Loads = 17,
    /// A CPU stores to it.
    Stores = 18,
}

/// Numbers of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// First bus address.
    pub address: u64,
    /// Bytes.
    pub length: u64,
    /// The job.
    pub job: Option<u64>,
    /// Others.
    pub others: [u64; 3],
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// Who did it.
    pub who: &'static str,
    /// What kind of thing it is.
    pub sort: Sort,
    /// What happened, with marks in place of numbers.
    pub text: String,
    /// The numbers.
    pub numbers: Numbers,
}

impl Words {
    /// The text with its numbers.
    pub fn told(&self) -> String {
        let Numbers {
            address: at,
            length,
            job,
            others,
        } = self.numbers;
        let mut told = String::new();
        for char in self.text.chars() {
            let index = |marks: [char; 3]| marks.iter().position(|mark| *mark == char);
            let number = |index: usize| others.get(index).copied().unwrap_or_default();
            let _ = match char {
                RANGE if length <= 1 => write!(told, "{}", address(at)),
                RANGE => write!(told, "{}", range(at, length)),
                BYTES if length == 1 => write!(told, "1 byte"),
                BYTES => write!(told, "{length} bytes"),
                ADDRESS => write!(told, "{}", address(at)),
                JOB => write!(told, "{}", job.unwrap_or_default()),
                other => match (index(DECIMAL), index(HEX)) {
                    (Some(at), _) => write!(told, "{}", number(at)),
                    (None, Some(at)) => write!(told, "{:#x}", number(at)),
                    (None, None) => write!(told, "{other}"),
                },
            };
        }
        told
    }
}

/// A range by its first and last address.
pub fn range(start: u64, length: u64) -> String {
    let last = start.saturating_add(length.saturating_sub(1));
    format!("{} - {}", address(start), address(last))
}

/// Which way a lend may be used.
pub fn way(direction: LendDirection) -> &'static str {
    match direction {
        LendDirection::FromDevice => "for the card to write",
        LendDirection::ToDevice => "for the card to read",
        LendDirection::Both => "for the card to read and write",
    }
}

/// What somebody else said, bounded, and without characters that steer a terminal or stand for numbers.
pub fn foreign(text: &str) -> String {
    let shown = |char: char| match char.is_control() || mark::ALL.contains(&char) {
        true => '\u{fffd}',
        false => char,
    };
    text.chars().take(LONGEST).map(shown).collect()
}

/// What an entry says; `None` for what is told elsewhere. `caller` tells what an address in the guest's kernel is called.
pub fn words(entry: &Entry, caller: &dyn Fn(u64) -> Option<String>) -> Option<Words> {
    let say = |who, sort, text: String, numbers| {
        Some(Words {
            who,
            sort,
            text,
            numbers,
        })
    };
    let life = |who, text: &str| say(who, Sort::Life, text.to_owned(), Numbers::default());
    let switched = |on: bool| if on { "on" } else { "off" };
    let place = |at: u64, length: u64| Numbers {
        address: at,
        length,
        ..Numbers::default()
    };
    let others = |others| Numbers {
        others,
        ..Numbers::default()
    };
    match &entry.kind {
        Kind::Access {
            direction,
            address: at,
            length,
            job,
            outcome,
            ..
        } => {
            let (sort, verb) = match (outcome, direction) {
                (Outcome::Ok, Direction::Write) => (Sort::Writes, "writes"),
                (Outcome::Ok, Direction::Read) => (Sort::Reads, "reads"),
                (Outcome::Refused(_), Direction::Write) => (Sort::Refused, "tries to write"),
                (Outcome::Refused(_), Direction::Read) => (Sort::Refused, "tries to read"),
            };
            let refused = match outcome {
                Outcome::Ok => String::new(),
                Outcome::Refused(why) => format!(", refused: {why}"),
            };
            let numbers = Numbers {
                job: job.map(|job| job.0),
                ..place(*at, *length)
            };
            let text = format!("{verb} {BYTES} at {RANGE}{refused}");
            say("card", sort, text, numbers)
        }
        Kind::FirstRead { bar, offset } => say(
            "driver",
            Sort::NoRegister,
            format!(
                "reads a register for the first time: BAR {bar} + {}",
                HEX[0]
            ),
            others([*offset, 0, 0]),
        ),
        Kind::Register { name, value, .. } => say(
            "driver",
            Sort::Register,
            format!("{} = {}", foreign(&name.to_string()), HEX[0]),
            others([*value, 0, 0]),
        ),
        // What stands for an entry from before the session; a card has its first register there.
        Kind::Unclaimed {
            bar: 0,
            offset: 0,
            write: false,
            ..
        } => None,
        Kind::Unclaimed {
            bar, offset, write, ..
        } => {
            let verb = if *write { "writes" } else { "reads" };
            let text = format!("{verb} BAR {bar} + {}, where there is no register", HEX[0]);
            say("driver", Sort::NoRegister, text, others([*offset, 0, 0]))
        }
        Kind::Spinning {
            bar,
            offset,
            name,
            value,
            reads,
            ..
        } => {
            let name = match name {
                Some(name) => foreign(&name.to_string()),
                None => format!("BAR {bar} + {}", HEX[2]),
            };
            let text = format!(
                "does nothing but read {name}, {} times, always {}",
                DECIMAL[1], HEX[0]
            );
            let numbers = others([*value, *reads, *offset]);
            say("driver", Sort::NoRegister, text, numbers)
        }
        Kind::Declared {
            register_write,
            what,
        } => declared(what, *register_write),
        Kind::Interrupt { vector } => say(
            "card",
            Sort::Interrupt,
            format!("interrupts, vector {}", DECIMAL[0]),
            others([(*vector).into(), 0, 0]),
        ),
        Kind::InterruptHeld { vector } => say(
            "card",
            Sort::Held,
            format!(
                "holds its interrupt back: no bus mastering, vector {}",
                DECIMAL[0]
            ),
            others([(*vector).into(), 0, 0]),
        ),
        Kind::Reset { reset } => {
            let how = match reset {
                Reset::Device => "the whole device",
                Reset::FunctionLevel => "function-level",
                Reset::Register => "by its register",
            };
            life("driver", &format!("the card is reset ({how})"))
        }
        Kind::BusMaster { on } => life("driver", &format!("bus mastering {}", switched(*on))),
        Kind::Decoding { on } => life("driver", &format!("memory decoding {}", switched(*on))),
        Kind::PowerState { state } => life("driver", &format!("power state D{state}")),
        Kind::Connected => life("qemu", "connects to the card"),
        Kind::Disconnected => life("qemu", "its connection to the card ends"),
        Kind::Refused { what } => life("qemu", &format!("is refused: {}", foreign(what))),
        Kind::Call(call) => {
            let from = match caller(call.caller) {
                Some(name) => format!(", from {}", foreign(&name)),
                None => String::new(),
            };
            let text = format!(
                "{}: {RANGE}, {BYTES}, {}{from}",
                call.call.name(),
                way(call.direction)
            );
            let numbers = place(call.address, call.length);
            say("driver", called(call.call), text, numbers)
        }
        Kind::Attached { .. } => life("driver", "the witness begins"),
        Kind::WitnessGap { expected, got } => say(
            "driver",
            Sort::Life,
            format!(
                "events {} to {} of the witness are lost",
                DECIMAL[0], DECIMAL[1]
            ),
            others([*expected, *got, 0]),
        ),
        Kind::Unheard { what, .. } => {
            let text = format!("the witness does not hear: {}", foreign(what));
            life("driver", &text)
        }
        Kind::Elsewhere {
            device,
            address: at,
            length,
            ended,
            ..
        } => {
            let when = if *ended { "was" } else { "is" };
            let text = format!("{RANGE} {when} lent to {}", foreign(device));
            say("driver", Sort::Life, text, place(*at, *length))
        }
        Kind::Cpu(access) => {
            let (sort, verb) = match access.store {
                true => (Sort::Stores, "stores to"),
                false => (Sort::Loads, "loads from"),
            };
            let by = match caller(access.pc) {
                Some(name) => format!("{} ({})", HEX[1], foreign(&name)),
                None => HEX[1].to_string(),
            };
            let text = format!("{verb} {RANGE}, {} times, pc {by}", DECIMAL[0]);
            let numbers = Numbers {
                others: [access.count, access.pc, 0],
                ..place(access.address, access.length)
            };
            say("cpu", sort, text, numbers)
        }
        Kind::Unordered(two) => {
            let (sort, verb) = match two.store {
                true => (Sort::Stores, "stores to"),
                false => (Sort::Loads, "loads from"),
            };
            let text = format!("{verb} {RANGE}, pc {}, in no order with {}", HEX[0], HEX[1]);
            let numbers = Numbers {
                others: [two.pc, two.other_pc, 0],
                ..place(two.address, two.length)
            };
            say("cpu", sort, text, numbers)
        }
        Kind::Declares(_)
        | Kind::CpuWatched
        | Kind::CpuLost { .. }
        | Kind::Symbol { .. }
        | Kind::BusMapped { .. }
        | Kind::BusUnmapped { .. } => None,
        Kind::Driver { driver, state } => {
            let state = match state {
                DriverState::Binding => "is about to bind",
                DriverState::Bound => "has bound",
                DriverState::NotBound => "has not bound",
                DriverState::Unbinding => "is about to unbind",
                DriverState::Unbound => "has unbound",
            };
            life("driver", &format!("{} {state}", foreign(driver)))
        }
        Kind::KernelDown => life("driver", "the kernel goes down"),
    }
}

fn called(call: Call) -> Sort {
    match call {
        Call::Map
        | Call::MapList
        | Call::MapFailed
        | Call::Alloc
        | Call::BlockAlloc
        | Call::Link
        | Call::Queue
        | Call::PoolLend => Sort::Lends,
        Call::Unmap
        | Call::UnmapList
        | Call::Free
        | Call::BlockFree
        | Call::Unlink
        | Call::Done
        | Call::PoolReturn => Sort::TakesBack,
        Call::SyncForCpu => Sort::ForCpu,
        Call::SyncForDevice => Sort::ForDevice,
    }
}

/// What the card tells of its own work, and who did it.
fn declared(what: &Declaration, write: Option<u64>) -> Option<Words> {
    let known = |label: &Label| match (label.slot, label.frame) {
        (Some(_), Some(_)) => format!(" (slot {}, frame {})", DECIMAL[0], DECIMAL[1]),
        (Some(_), None) => format!(" (slot {})", DECIMAL[0]),
        (None, Some(_)) => format!(" (frame {})", DECIMAL[1]),
        (None, None) => String::new(),
    };
    let of_label = |label: &Label| {
        let number = |number: Option<u32>| number.unwrap_or_default().into();
        [number(label.slot), number(label.frame), 0]
    };
    let mut numbers = Numbers::default();
    let (who, sort, text) = match what {
        Declaration::Accepted { job, label, .. } => {
            numbers.job = Some(job.0);
            numbers.others = of_label(label);
            let text = format!("job {JOB}{} is the card's", known(label));
            ("driver", Sort::Accepted, text)
        }
        Declaration::Begun {
            job, label, pieces, ..
        } => {
            let lengths = pieces.iter().map(|piece| piece.length);
            numbers.job = Some(job.0);
            numbers.length = lengths.fold(0, u64::saturating_add);
            numbers.address = pieces.first().map_or(0, |piece| piece.address);
            let [slot, frame, _] = of_label(label);
            numbers.others = [slot, frame, pieces.len() as u64];
            let more = match pieces.len() {
                0 | 1 => String::new(),
                _ => format!(", in {} pieces", DECIMAL[2]),
            };
            let text = format!(
                "begins job {JOB}{}: {BYTES} at {ADDRESS}{more}",
                known(label)
            );
            ("card", Sort::Begun, text)
        }
        Declaration::Done {
            job,
            error,
            moved,
            owed,
        } => {
            numbers.job = Some(job.0);
            numbers.length = *moved;
            let how = match error {
                None => format!("complete, {BYTES}"),
                Some(error) => format!("failed: {}", foreign(error)),
            };
            let then = match owed.map(|owed| owed.promise) {
                Some(Promise::Now) => "; an interrupt must follow",
                Some(Promise::Within(_)) => "; an interrupt must follow some time later",
                Some(Promise::Never) | None => "",
            };
            let text = format!("reports job {JOB} as {how}{then}");
            ("card", Sort::Done, text)
        }
        Declaration::Released { job } => {
            numbers.job = Some(job.0);
            ("driver", Sort::Released, format!("takes job {JOB} back"))
        }
        Declaration::Stopping { .. } => ("driver", Sort::Told, "the card is to stop".to_owned()),
        Declaration::Idle { .. } => (
            "card",
            Sort::Told,
            "says that it is idle: no byte may follow".to_owned(),
        ),
        Declaration::Cause { why, .. } => {
            let text = format!("has a cause to interrupt: {}", foreign(why));
            ("card", Sort::Told, text)
        }
        Declaration::Masked { masked, .. } => {
            let how = if *masked { "masks" } else { "unmasks" };
            let text = format!("{how} the card's interrupts");
            ("driver", Sort::Told, text)
        }
        Declaration::NotNow { why } => {
            let text = format!("must not: {}", foreign(why));
            ("driver", Sort::Told, text)
        }
        Declaration::Changed { job, address: at } => {
            numbers.job = Some(job.0);
            numbers.address = *at;
            let text = format!("what it fetches for job {JOB} has changed at {ADDRESS}");
            ("card", Sort::Told, text)
        }
        Declaration::Gone { why } => {
            let text = format!("is gone: {}", foreign(why));
            ("card", Sort::Told, text)
        }
        Declaration::Delayed => {
            numbers.others[0] = write?;
            let text = format!("the write of #{} is still on its way", DECIMAL[0]);
            ("card", Sort::Told, text)
        }
        Declaration::Arrived { flushed } => {
            numbers.others[0] = write?;
            let how = if *flushed { ", flushed by a read" } else { "" };
            let text = format!("the write of #{} arrives{how}", DECIMAL[0]);
            ("card", Sort::Told, text)
        }
        Declaration::Reset => {
            let text = "the card is reset by its register".to_owned();
            ("driver", Sort::Told, text)
        }
    };
    Some(Words {
        who,
        sort,
        text,
        numbers,
    })
}

#[cfg(test)]
mod tests {
    use landfall_device::contract::{JobId, QueueId, Role};
    use landfall_device::journal::Bytes;

    use super::*;

    fn told(kind: Kind) -> String {
        let entry = Entry {
            sequence: 7,
            time_ns: 0,
            kind,
        };
        let caller = |at| (at == 9).then(|| "lend+0x1/0x2 [mine]".to_owned());
        words(&entry, &caller).expect("it says something").told()
    }

    fn access(length: u64) -> Kind {
        Kind::Access {
            direction: Direction::Write,
            address: 0x1000,
            length,
            job: Some(JobId(1)),
            slot: None,
            role: Role::Payload,
            outcome: Outcome::Ok,
            bytes: Bytes::default(),
        }
    }

    #[test]
    fn numbers_take_the_places_of_their_marks() {
        assert_eq!(
            told(access(16)),
            "writes 16 bytes at 0x0000_1000 - 0x0000_100f"
        );
        assert_eq!(told(access(1)), "writes 1 byte at 0x0000_1000");
        let begun = Declaration::Begun {
            job: JobId(3),
            queue: QueueId::default(),
            label: Label::slot(4).frame(5),
            pieces: vec![landfall_device::contract::Piece::write(0x2000, 64); 2],
        };
        let kind = Kind::Declared {
            register_write: None,
            what: begun,
        };
        assert_eq!(
            told(kind),
            "begins job 3 (slot 4, frame 5): 128 bytes at 0x0000_2000, in 2 pieces"
        );
    }

    #[test]
    fn what_others_say_has_no_marks_and_no_control_characters() {
        let kind = Kind::Refused {
            what: format!("a{RANGE}b\u{1b}c{}", "x".repeat(2 * LONGEST)),
        };
        let said = told(kind);
        assert!(
            said.starts_with("is refused: a\u{fffd}b\u{fffd}cx"),
            "{said}"
        );
        assert!(said.chars().count() < LONGEST + 20, "{}", said.len());
    }
}
