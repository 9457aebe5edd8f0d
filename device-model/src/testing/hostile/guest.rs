// SPDX-License-Identifier: MIT OR Apache-2.0

//! A guest, and the machine under it, that do whatever they like.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

use super::machine::{Answer, Machine};
use super::memory::{BYTES, Store, said};
use super::{Plan, RAM, Tally};
use crate::contract::Access;
use crate::random::Random;
use crate::wire::{MAX_FDS, command, words};

/// Region of configuration space.
const CONFIG: u32 = 7;
const PAGE: u64 = 4096;
/// Bus addresses below which most maps lie.
pub(super) const BUS: u64 = 1 << 18;
/// Most event descriptors that are kept.
const MOST_EVENTS: usize = 64;
const READ: u32 = 1;
const WRITE: u32 = 2;
const UNMAP_ALL: u32 = 4;
/// Places of configuration space that do something.
const PLACES: [u64; 14] = [
    0x04, 0x05, 0x06, 0x10, 0x14, 0x24, 0x44, 0x52, 0x54, 0x72, 0x80, 0x88, 0x89, 0xc0,
];

/// A map that the machine made.
#[derive(Clone, Copy, Debug)]
struct Live {
    length: u64,
    /// Which memory, from which byte on, if it may be written.
    lends: Option<(usize, usize)>,
}

/// With which descriptor memory comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum With {
    Own,
    ReadOnly,
    /// Two.
    Two,
    Nothing,
    /// One of no memory.
    Junk,
}

/// A map that is asked for.
#[derive(Debug)]
struct Map {
    iova: u64,
    size: u64,
    offset: u64,
    flags: u32,
    which: usize,
    with: With,
}

pub(super) struct Guest<'a> {
    plan: &'a Plan<'a>,
    machine: Machine,
    live: BTreeMap<u64, Live>,
    pub(super) stores: [Store; 2],
    events: VecDeque<OwnedFd>,
    /// Where the card has registers.
    known: Vec<Access>,
    bars: Vec<(u8, u64)>,
    random: Random,
    pub(super) shrank: bool,
    junk: File,
}

impl<'a> Guest<'a> {
    pub(super) fn new(
        plan: &'a Plan<'a>,
        stores: [Store; 2],
        known: Vec<Access>,
        bars: Vec<(u8, u64)>,
        random: Random,
    ) -> Result<Self, String> {
        Ok(Self {
            machine: Machine::connect(plan.socket, plan.limit, plan.severs)?,
            plan,
            live: BTreeMap::new(),
            stores,
            events: VecDeque::new(),
            known,
            bars,
            random,
            shrank: false,
            junk: File::open("/dev/null").map_err(said)?,
        })
    }

    /// Does one thing, whichever, and looks at the memory.
    pub(super) fn act(&mut self, tally: &mut Tally) -> Result<(), String> {
        tally.operations += 1;
        let answer = match self.random.below(200) {
            0..70 => self.write_register(),
            70..100 => self.read_register(),
            100..112 => self.write_config(),
            112..118 => self.read_config(),
            118..128 => self.enable(),
            128..130 => self.lend_all(),
            130..148 => self.map(),
            148..156 => self.unmap(),
            156..166 => self.interrupts(),
            166..172 => self.write_memory(),
            172..176 => self.resize(),
            176 => self.machine.ask(command::RESET, &[], &[]),
            177..179 => self.machine.write(CONFIG, 0x88, &[0, 0x80], false),
            179 => self.unmap_range(0, u64::MAX, UNMAP_ALL),
            180..186 => self.malformed(),
            186..199 => self.play(),
            _ if self.random.one_in(2) => self.reconnect(tally).map(|()| Answer::Done(Vec::new())),
            _ => self.lend_all(),
        };
        match answer? {
            Answer::Done(_) => {}
            Answer::Refused => tally.refused += 1,
            Answer::Closed if self.plan.severs => self.reconnect(tally)?,
            Answer::Closed => return Err("the connection ended".to_owned()),
        }
        let [mapped, called] = &mut self.stores;
        match tally.operations % 2 {
            0 => mapped.check(),
            _ => called.check(),
        }
    }

    /// Goes, and comes again as another machine.
    pub(super) fn reconnect(&mut self, tally: &mut Tally) -> Result<(), String> {
        self.machine.hang_up();
        self.machine = Machine::connect(self.plan.socket, self.plan.limit, self.plan.severs)?;
        tally.machines += 1;
        self.live.clear();
        self.stores.iter_mut().try_for_each(Store::take_all)
    }

    /// What every register reads as, with nothing done but that memory is decoded.
    pub(super) fn registers(&mut self) -> Result<Vec<Vec<u8>>, String> {
        self.machine.write(CONFIG, 4, &[6, 0], false)?;
        let mut values = Vec::new();
        for access in &self.known {
            let count = access.width.bytes().into();
            match self.machine.read(access.bar.into(), access.offset, count)? {
                Answer::Done(bytes) => values.push(bytes),
                other => return Err(format!("{access:?} is answered by {other:?}")),
            }
        }
        Ok(values)
    }

    fn value(&mut self) -> u64 {
        let random = &mut self.random;
        match random.below(8) {
            0 => random.draw(),
            1 => 1 << random.below(64),
            2..4 => random.below(BUS / PAGE) * PAGE,
            4 => 0,
            5 => u64::MAX,
            _ => random.below(8),
        }
    }

    /// A place of some BAR, and how many bytes.
    fn place(&mut self) -> (u32, u64, usize) {
        let random = &mut self.random;
        let known = self.known.get(random.index(self.known.len()));
        let bar = self.bars.get(random.index(self.bars.len()));
        let (region, offset) = match (random.below(16), known, bar) {
            (0..10, Some(known), _) => (known.bar, known.offset),
            (10..12, Some(known), _) => {
                let near = known.offset.wrapping_add(random.below(16)).wrapping_sub(8);
                (known.bar, near)
            }
            (12, _, Some((bar, size))) => (*bar, size.wrapping_sub(random.below(16))),
            (13, _, Some((bar, _))) => (*bar, u64::MAX - random.below(16)),
            (14, _, _) => (random.below(12) as u8, random.draw()),
            _ => (random.below(10) as u8, random.below(1 << 16)),
        };
        let count = match random.below(64) {
            0 => random.index(8192),
            1..4 => random.index(64),
            4..8 => [3, 5, 6, 7].get(random.index(4)).copied().unwrap_or(0),
            8..12 => 8,
            12..20 => [1, 2].get(random.index(2)).copied().unwrap_or(0),
            _ => 4,
        };
        (region.into(), offset, count)
    }

    fn write_register(&mut self) -> Result<Answer, String> {
        let (region, offset, count) = self.place();
        let value = self.value().to_le_bytes();
        let bytes: Vec<u8> = value.iter().copied().cycle().take(count).collect();
        let posted = self.random.one_in(2);
        self.machine.write(region, offset, &bytes, posted)
    }

    fn read_register(&mut self) -> Result<Answer, String> {
        let (region, offset, count) = self.place();
        self.machine.read(region, offset, count as u32)
    }

    fn config(&mut self) -> (u64, usize) {
        let random = &mut self.random;
        let offset = match random.below(8) {
            0 => random.draw(),
            1 => random.below(4200),
            _ => PLACES.get(random.index(PLACES.len())).copied().unwrap_or(0),
        };
        let count = match random.below(16) {
            0 => random.index(5000),
            1 => random.index(64),
            _ => 1 << random.below(4),
        };
        (offset, count)
    }

    fn write_config(&mut self) -> Result<Answer, String> {
        let (offset, count) = self.config();
        let value = self.value().to_le_bytes();
        let bytes: Vec<u8> = value.iter().copied().cycle().take(count).collect();
        let posted = self.random.one_in(2);
        self.machine.write(CONFIG, offset, &bytes, posted)
    }

    fn read_config(&mut self) -> Result<Answer, String> {
        let (offset, count) = self.config();
        self.machine.read(CONFIG, offset, count as u32)
    }

    /// Full power, memory decoded, and mostly bus mastering.
    fn enable(&mut self) -> Result<Answer, String> {
        self.machine.write(CONFIG, 0x44, &[0, 0], true)?;
        let command = if self.random.one_in(8) { 2 } else { 6 };
        self.machine.write(CONFIG, 4, &[command, 0], false)
    }

    /// Does what makes the card work.
    fn play(&mut self) -> Result<Answer, String> {
        let Some(all) = self.plan.uses.get(self.random.index(self.plan.uses.len())) else {
            return self.write_register();
        };
        match self.random.one_in(2) {
            true => self.enable()?,
            false => self.lend_all()?,
        };
        for (bar, offset, value) in *all {
            // Now and then something else.
            let value = match self.random.one_in(64) {
                true => self.value() as u32,
                false => *value,
            };
            let bytes = value.to_le_bytes();
            match (*bar, usize::try_from(*offset), &mut self.stores) {
                (RAM, Ok(at), [store, _]) => store.put(at, &bytes)?,
                _ => drop(self.machine.write((*bar).into(), *offset, &bytes, true)?),
            }
        }
        self.machine.read(0, 0, 4)
    }

    /// All memory, from bus address 0 on: what a card of whatever driver finds.
    fn lend_all(&mut self) -> Result<Answer, String> {
        self.unmap_range(0, u64::MAX, UNMAP_ALL)?;
        for (which, iova) in [(0, 0), (1, BYTES as u64)] {
            self.map_as(&Map {
                iova,
                size: BYTES as u64,
                offset: 0,
                flags: READ | WRITE,
                which,
                with: With::Own,
            })?;
        }
        self.enable()
    }

    fn map(&mut self) -> Result<Answer, String> {
        let random = &mut self.random;
        let iova = match random.below(16) {
            0 => random.draw(),
            1 => 0_u64.wrapping_sub(random.below(4) * PAGE),
            2 => random.below(BUS),
            _ => random.below(BUS / PAGE) * PAGE,
        };
        let size = match random.below(16) {
            0 => random.draw(),
            1 => 0,
            2 => random.below(2 * PAGE),
            _ => (1 + random.below(16)) * PAGE,
        };
        let offset = match random.below(16) {
            0 => random.draw(),
            1 => random.below(BYTES as u64),
            _ => random.below(8) * PAGE,
        };
        let flags = match random.below(16) {
            0 => random.draw() as u32,
            1 => 0,
            2 | 3 => READ,
            4 => WRITE,
            _ => READ | WRITE,
        };
        let with = match random.below(24) {
            0 => With::Junk,
            1 => With::Two,
            2 | 3 => With::Nothing,
            4..7 => With::ReadOnly,
            _ => With::Own,
        };
        let which = random.index(2);
        self.map_as(&Map {
            iova,
            size,
            offset,
            flags,
            which,
            with,
        })
    }

    fn map_as(&mut self, map: &Map) -> Result<Answer, String> {
        let Map {
            iova,
            size,
            offset,
            flags,
            which,
            with,
        } = *map;
        let Some(store) = self.stores.get_mut(which) else {
            return Err("there are two".to_owned());
        };
        let needed = offset.saturating_add(size);
        let file = match with {
            With::Junk | With::Two => Some(false),
            With::Nothing => Some(true),
            With::ReadOnly | With::Own => None,
        };
        let writes = with == With::Own;
        // What lies behind the end may be there again: a write that was under way makes the file longer.
        let file = file.or(
            match (needed <= store.length as u64, needed <= BYTES as u64) {
                (true, _) => Some(true),
                (false, true) => None,
                (false, false) => Some(false),
            },
        );
        let free = size > 0
            && iova.checked_add(size - 1).is_some_and(|last| {
                let overlaps =
                    |(at, live): (&u64, &Live)| *at <= last && at + (live.length - 1) >= iova;
                !self.live.iter().any(overlaps)
            });
        let may = if free { file } else { Some(false) };
        let lends = (flags & WRITE != 0 && writes && may != Some(false))
            .then_some((which, offset as usize));
        if let Some((_, offset)) = lends {
            store.check()?;
            store.lend(offset..offset + size as usize);
        }
        let mut payload = words(&[32, flags]);
        for field in [offset, iova, size] {
            payload.extend(field.to_le_bytes());
        }
        let fds: Vec<BorrowedFd<'_>> = match with {
            With::Junk => vec![self.junk.as_fd()],
            With::Two => vec![store.file.as_fd(); 2],
            With::Nothing => vec![],
            With::ReadOnly => vec![store.read_only.as_fd()],
            With::Own => vec![store.file.as_fd()],
        };
        let answer = self.machine.ask(command::DMA_MAP, &payload, &fds)?;
        let made = matches!(answer, Answer::Done(_));
        if answer != Answer::Closed && may.is_some_and(|may| may != made) {
            let what = if made { "made" } else { "refused" };
            return Err(format!(
                "a map of {size:#x} bytes at {iova:#x}, from {offset:#x} of its file, is {what}"
            ));
        }
        if made {
            let length = size;
            self.live.insert(iova, Live { length, lends });
        } else if let (Some((_, offset)), Answer::Refused) = (lends, &answer) {
            store.take_back(offset..offset + size as usize)?;
        }
        Ok(answer)
    }

    fn unmap(&mut self) -> Result<Answer, String> {
        let random = &mut self.random;
        let some = self.live.iter().nth(random.index(self.live.len()));
        let (address, size) = match (random.below(16), some) {
            (0, _) => (random.draw(), random.draw()),
            (1, _) => (0, u64::MAX),
            (2, Some((at, live))) => (at + random.below(live.length), random.below(live.length)),
            (3, _) => (random.below(BUS), random.below(BUS)),
            (_, Some((at, live))) => (*at, live.length),
            (_, None) => (0, BUS),
        };
        let flags = match random.below(32) {
            0 => UNMAP_ALL,
            1 => random.draw() as u32,
            _ => 0,
        };
        self.unmap_range(address, size, flags)
    }

    fn unmap_range(&mut self, address: u64, size: u64, flags: u32) -> Result<Answer, String> {
        let mut payload = words(&[24, flags]);
        payload.extend(address.to_le_bytes());
        payload.extend(size.to_le_bytes());
        let answer = self.machine.ask(command::DMA_UNMAP, &payload, &[])?;
        let last = address.saturating_add(size.saturating_sub(1));
        let all = flags & UNMAP_ALL != 0;
        let touched =
            |at: &u64, live: &Live| all || *at <= last && at + (live.length - 1) >= address;
        let cut = self.live.iter().any(|(at, live)| {
            !all && touched(at, live) && (*at < address || at + (live.length - 1) > last)
        });
        match &answer {
            Answer::Closed => {}
            Answer::Refused if cut => {}
            Answer::Done(_) if !cut => {
                let mut gone = Vec::new();
                self.live.retain(|at, live| {
                    let goes = touched(at, live);
                    gone.extend(goes.then_some(*live));
                    !goes
                });
                for live in gone {
                    if let Some((which, offset)) = live.lends
                        && let Some(store) = self.stores.get_mut(which)
                    {
                        store.take_back(offset..offset + live.length as usize)?;
                    }
                }
            }
            other => {
                return Err(format!(
                    "an unmap of {size:#x} bytes at {address:#x}, flags {flags:#x}, is answered by {other:?}"
                ));
            }
        }
        Ok(answer)
    }

    fn interrupts(&mut self) -> Result<Answer, String> {
        let random = &mut self.random;
        let count = match random.below(8) {
            0 => random.draw() as u32,
            1 => 0,
            _ => 1 + random.below(MAX_FDS as u64) as u32,
        };
        let start = match random.below(8) {
            0 => random.draw() as u32,
            1 => random.below(64) as u32,
            _ => 0,
        };
        let data = match random.below(4) {
            0 => 1 << random.below(3),
            1 => 1,
            _ => 4,
        };
        let action = 8 << random.below(4);
        let action = if data == 4 && !random.one_in(4) {
            32
        } else {
            action
        };
        let index = match random.below(16) {
            0 => random.draw() as u32,
            _ => random.below(5) as u32,
        };
        let given = if data == 4 {
            random.index(MAX_FDS + 1).min(count as usize)
        } else {
            0
        };
        for _ in 0..given {
            let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
            self.events.push_back(event.map_err(said)?);
        }
        while self.events.len() > MOST_EVENTS {
            self.events.pop_front();
        }
        let from = self.events.len() - given;
        let fds: Vec<_> = self.events.range(from..).map(AsFd::as_fd).collect();
        let payload = words(&[20, data | action, index, start, count]);
        self.machine.ask(command::SET_IRQS, &payload, &fds)
    }

    /// The guest's CPU writes what a card may read: addresses, small numbers, anything.
    fn write_memory(&mut self) -> Result<Answer, String> {
        let at = self.random.index(BYTES / 8) * 8;
        let words = 1 + self.random.index(8);
        let bytes: Vec<u8> = (0..words)
            .flat_map(|_| self.value().to_le_bytes())
            .collect();
        let which = self.random.index(2);
        if let Some(store) = self.stores.get_mut(which) {
            store.put(at, &bytes)?;
        }
        Ok(Answer::Done(Vec::new()))
    }

    /// The machine makes memory shorter under the card, where it can, or as long as it was.
    fn resize(&mut self) -> Result<Answer, String> {
        let length = match self.random.below(3) {
            0 => self.random.index(BYTES),
            _ => BYTES,
        };
        for store in self.stores.iter_mut().filter(|store| store.shrinks) {
            store.check()?;
            store.resize(length)?;
        }
        self.shrank = true;
        Ok(Answer::Done(Vec::new()))
    }

    /// Commands that there are not, or that are too short, with descriptors that nobody asked for.
    fn malformed(&mut self) -> Result<Answer, String> {
        let random = &mut self.random;
        let number = match random.below(4) {
            0 => random.draw() as u16,
            _ => random.below(18) as u16,
        };
        let payload = match number {
            command::DMA_MAP => random.index(32),
            command::DMA_UNMAP => random.index(24),
            _ => random.index(80),
        };
        let payload: Vec<u8> = (0..payload).map(|_| random.below(16) as u8).collect();
        let fds = vec![self.junk.as_fd(); random.index(MAX_FDS + 1)];
        match self.machine.ask(number, &payload, &fds)? {
            Answer::Done(_) if matches!(number, command::DMA_MAP | command::DMA_UNMAP) => Err(
                format!("command {number} of {} bytes is carried out", payload.len()),
            ),
            answer => Ok(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, Plain};
    use super::*;

    const ALL: Map = Map {
        iova: 0x1000,
        size: 0x1000,
        offset: 0,
        flags: READ | WRITE,
        which: 0,
        with: With::Own,
    };

    /// What a machine knows of its maps the server knows too: where they disagree, it is told.
    #[test]
    fn a_map_that_is_made_or_refused_for_no_reason_is_told() {
        let bench = Bench::new();
        let _server = bench.serve(Box::new(Plain::default()));
        let plan = bench.plan(true);
        let mut guest = bench.guest(&plan);
        assert!(matches!(guest.map_as(&ALL), Ok(Answer::Done(_))));
        assert!(matches!(guest.map_as(&ALL), Ok(Answer::Refused)));
        let known = std::mem::take(&mut guest.live);
        assert!(guest.map_as(&ALL).unwrap_err().ends_with("is refused"));
        guest.live = known;
        let live = guest.live[&0x1000];
        let below = Map { iova: 0, ..ALL };
        guest.live.insert(0, live);
        assert!(guest.map_as(&below).unwrap_err().ends_with("is made"));
        guest.live.insert(0x3000, live);
        let cut = guest.unmap_range(0x3800, 0x1000, 0).unwrap_err();
        assert!(cut.ends_with("is answered by Done([24, 0, 0, 0, 0, 0, 0, 0, 0, 56, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0])"), "{cut}");
    }
}
