// SPDX-License-Identifier: MIT OR Apache-2.0

//! The CPU's own accesses to memory that is a card's, which a plugin of QEMU's translator sees (`landfall-plugin`).
//!
//! The plugin is loaded only into a guest that is restored, so no snapshot knows of it. It shares a file with the harness
//! (`landfall_plugin::wire`): there it learns where in the guest's memory the witness writes what it tells, and there it leaves what it
//! finds. Whoever waits for the guest takes that out and puts it into the journals. Another file has the stamps of what the
//! cards write (`stamps.rs`).

mod stamps;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use landfall_agent::protocol::{Reply, Request};
use landfall_device::contract::JobId;
use landfall_device::journal::{CpuAccess, Journal, Kind, Settled, Unordered};
use landfall_device::serve::CardServer;
use landfall_guest::{Kernel, PLUGIN, Prepared};
use landfall_plugin::gate;
use landfall_plugin::stamps::Kind as Barriers;
use landfall_plugin::wire::{self, Found};
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::accelerator::remember;
use super::failure::{GuestFailed, Result, What};
use super::machine::Machine;
use super::options::GuestOptions;
use super::snapshot::Recipe;
use super::unexpected;
use crate::guest::memory::{GuestMemory, sealed};
use crate::guest::qemu::command::Engine;
use crate::guest::qemu::process::{Process, Rights};
use stamps::Stamps;

/// Where the witness tells where its echo is.
const ECHO: &str = "/sys/kernel/debug/landfall_witness/echo";
/// How long QEMU may take to say whether it takes the plugin.
const PROBE: Duration = Duration::from_secs(30);
/// Name of the remembered answer in the cache directory.
const REMEMBERED: &str = "cpu-watch.json";

/// The file that is shared with the plugin, and what was taken out of it.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) file: File,
    /// How many findings were taken out of the ring.
    taken: u64,
    /// How many were told as lost.
    lost: u64,
    /// Findings that were told while they could still grow: how many accesses they had then.
    told: HashMap<u64, u64>,
    /// How many accesses in no order were taken out of their ring.
    unordered: u64,
    stamps: Arc<Stamps>,
}

/// The plugin as a file that QEMU can load.
fn plugin() -> io::Result<File> {
    sealed("landfall-plugin", |file| file.write_all(PLUGIN))
}

impl Shared {
    /// Makes it for a guest. With it, what goes on QEMU's command line, and what QEMU must inherit.
    pub(super) fn new(
        options: &GuestOptions,
        memory: &GuestMemory,
    ) -> io::Result<(Self, [String; 2], [OwnedFd; 3])> {
        let file = sealed("landfall-cpu", |file| file.set_len(wire::SIZE as u64))?;
        let limit = options.ram().iter().map(|ram| ram.range().end).max();
        let flag = |is: bool, flag: u64| if is { flag } else { 0 };
        let flags =
            flag(options.iommu.is_there(), wire::SCATTERED) | flag(!options.watch_cpu, gate::ALONE);
        let put = |at: usize, word: u64| file.write_all_at(&word.to_le_bytes(), at as u64);
        put(wire::LIMIT_AT, limit.unwrap_or(0))?;
        put(wire::FLAGS_AT, flags)?;
        for (index, code) in options.board.code.iter().take(wire::CODES).enumerate() {
            put(wire::CODE_AT + 16 * index, code.start)?;
            put(wire::CODE_AT + 16 * index + 8, code.end)?;
        }
        put(wire::MAGIC_AT, wire::MAGIC)?;
        let (plugin, theirs) = (plugin()?, file.try_clone()?);
        let barriers = match options.watch_cpu {
            true => options.board.barriers,
            false => Barriers::None,
        };
        let (stamps, stamped) = Stamps::new(memory, barriers)?;
        let arguments = [
            "-plugin".to_owned(),
            format!(
                "file=/proc/self/fd/{},fd={},stamps={}",
                plugin.as_raw_fd(),
                theirs.as_raw_fd(),
                stamped.as_raw_fd()
            ),
        ];
        let shared = Self {
            file,
            taken: 0,
            lost: 0,
            told: HashMap::new(),
            unordered: 0,
            stamps: Arc::new(stamps),
        };
        Ok((shared, arguments, [plugin.into(), theirs.into(), stamped]))
    }

    pub(super) fn word(&self, at: usize) -> io::Result<u64> {
        let mut word = [0; 8];
        self.file.read_exact_at(&mut word, at as u64)?;
        Ok(u64::from_le_bytes(word))
    }

    pub(super) fn put(&self, at: usize, word: u64) -> io::Result<()> {
        self.file.write_all_at(&word.to_le_bytes(), at as u64)
    }

    fn found(&self, at: usize) -> io::Result<Option<Found>> {
        let mut bytes = [0; wire::FOUND];
        self.file.read_exact_at(&mut bytes, at as u64)?;
        Ok(Found::of_bytes(&bytes))
    }

    /// A card that is served from now on: what it is about to do is stamped, and its journal says that CPUs are watched.
    pub(super) fn watch(&self, index: usize, card: &CardServer) {
        card.foretell(self.stamps.of_card(index));
        card.journal().push(Kind::CpuWatched);
    }

    /// The witness's echo is at this physical address: from now on all is heard.
    pub(super) fn listen(&self, echo: u64) -> io::Result<()> {
        self.put(wire::ECHO_AT, echo)
    }

    /// Puts what was found into the cards' journals; with `open` also what may still grow, as far as it is.
    pub(super) fn drain(&mut self, journals: &[Journal], open: bool) -> io::Result<()> {
        let told = self.word(wire::TOLD_AT)?;
        // A QEMU that the guest has taken over may write anything.
        let ready = told.wrapping_sub(self.taken).min(wire::RING as u64);
        for _ in 0..ready {
            let place = (self.taken % wire::RING as u64) as usize;
            let found = self.found(wire::RING_AT + place * wire::FOUND)?;
            self.taken += 1;
            if let Some(found) = found {
                let before = self.told.remove(&found.id);
                if before != Some(found.count) {
                    tell(journals, &found);
                }
            }
        }
        self.put(wire::TAKEN_AT, self.taken)?;
        let lost = self.word(wire::LOST_AT)?;
        let lost = lost.wrapping_add(self.word(wire::UNORDERED_LOST_AT)?);
        if lost != self.lost {
            let count = lost.wrapping_sub(self.lost);
            self.lost = lost;
            for journal in journals {
                journal.push(Kind::CpuLost { count });
            }
        }
        self.drain_unordered(journals)?;
        for place in (0..wire::OPEN).filter(|_| open) {
            let Some(found) = self.found(wire::OPEN_AT + place * wire::FOUND)? else {
                continue;
            };
            let before = self.told.insert(found.id, found.count);
            if before != Some(found.count) {
                tell(journals, &found);
            }
        }
        Ok(())
    }
}

impl Shared {
    fn drain_unordered(&mut self, journals: &[Journal]) -> io::Result<()> {
        let told = self.word(wire::UNORDERED_TOLD_AT)?;
        let ready = told
            .wrapping_sub(self.unordered)
            .min(wire::UNORDERED as u64);
        for _ in 0..ready {
            let mut bytes = [0; wire::FOUND];
            let place = (self.unordered % wire::UNORDERED as u64) as usize;
            let at = wire::UNORDERED_AT + place * wire::FOUND;
            self.file.read_exact_at(&mut bytes, at as u64)?;
            self.unordered = self.unordered.wrapping_add(1);
            if let Some(unordered) = wire::Unordered::of_bytes(&bytes) {
                tell_unordered(journals, &unordered);
            }
        }
        self.put(wire::UNORDERED_TAKEN_AT, self.unordered)
    }
}

impl Machine {
    /// Has the CPU's accesses told, if the options ask for that: the plugin learns where the witness tells what it hears.
    pub(super) fn hear_cpu(&mut self) -> Result<()> {
        if self.cpu.is_none() || !self.options.watch_cpu {
            return Ok(());
        }
        let read = Request::ReadFile {
            path: ECHO.to_owned(),
            offset: 0,
            max: 4096,
        };
        let text = match self.request(read, Duration::ZERO)? {
            Reply::Data(text) => String::from_utf8_lossy(&text).into_owned(),
            other => return Err(unexpected(&other)),
        };
        let Some((echo, modules)) = echo_of(&text) else {
            let detail = format!("its echo is at {text:?}");
            return Err(self.fail(What::Protocol {
                who: "the witness",
                detail,
            }));
        };
        let Some(cpu) = &self.cpu else {
            return Ok(());
        };
        cpu.stamps.modules(&modules);
        for (index, card) in self.cards.iter().enumerate() {
            cpu.watch(index, card);
        }
        cpu.listen(echo).map_err(|source| self.cpu_failed(source))
    }

    /// Takes over what was found of the CPU's accesses; with `open` also what may still grow.
    pub(super) fn drain_cpu(&mut self, open: bool) -> io::Result<()> {
        let Some(cpu) = &mut self.cpu else {
            return Ok(());
        };
        let journals: Vec<_> = self.cards.iter().map(CardServer::journal).collect();
        cpu.drain(&journals, open)
    }

    pub(super) fn cpu_failed(&mut self, source: io::Error) -> GuestFailed {
        let doing = "read what the CPUs did";
        self.fail(What::Host { doing, source })
    }
}

/// What the witness says of its echo: its physical address, and a line for each module with marks, where its code begins and ends.
fn echo_of(text: &str) -> Option<(u64, Vec<Range<u64>>)> {
    let number = |word: &str| u64::from_str_radix(word, 16).ok();
    let mut lines = text.lines();
    let echo = number(lines.next()?.trim())?;
    let module = |line: &str| {
        let (from, to) = line.split_once(' ')?;
        Some(number(from)?..number(to.trim())?)
    };
    Some((echo, lines.filter_map(module).collect()))
}

/// Puts accesses that nothing puts in order into the journal of its card.
fn tell_unordered(journals: &[Journal], two: &wire::Unordered) {
    let card = usize::try_from(two.card).ok();
    let Some(journal) = card.and_then(|card| journals.get(card)) else {
        return;
    };
    let lent = two.lend_number != 0;
    let stack = two.stack.iter().copied().take_while(|word| *word != 0);
    journal.push(Kind::Unordered(Unordered {
        store: two.store,
        job: (!two.store).then(|| JobId(two.job.into())),
        pc: two.pc,
        address: if lent { two.address } else { two.phys },
        length: two.length,
        lend: lent.then_some((two.lend, two.lend_number)),
        other_pc: two.other_pc,
        other: two.other,
        by_register: two.by_register,
        for_cpus: two.for_cpus,
        cpu: two.cpu,
        at_ns: two.at_ns.saturating_sub(began(journal)),
        stack: stack.collect(),
    }));
}

/// When a journal began, by the host's `CLOCK_MONOTONIC`, nanoseconds.
fn began(journal: &Journal) -> u64 {
    monotonic().saturating_sub(elapsed(journal.began()))
}

/// Puts a finding into the journal of its card.
fn tell(journals: &[Journal], found: &Found) {
    let card = usize::try_from(found.card).ok();
    let Some(journal) = card.and_then(|card| journals.get(card)) else {
        return;
    };
    // Both clocks are the host's.
    let began = began(journal);
    let settled = match found.settled {
        wire::Settled::Not => None,
        wire::Settled::ForCpu => Some(Settled::ForCpu),
        wire::Settled::ForDevice => Some(Settled::ForDevice),
        wire::Settled::Ended => Some(Settled::Ended),
        wire::Settled::Done => Some(Settled::Done),
        wire::Settled::Unknown => Some(Settled::Unknown),
    };
    let stack = found.stack.iter().copied().take_while(|word| *word != 0);
    journal.push(Kind::Cpu(CpuAccess {
        store: found.store,
        user: found.user,
        queued: found.queued,
        gaps: found.gaps,
        pc: found.pc,
        address: found.address,
        length: found.length,
        count: found.count,
        cpu: found.cpu,
        first_ns: found.first_ns.saturating_sub(began),
        last_ns: found.last_ns.saturating_sub(began),
        lend: found.lend,
        lend_number: found.lend_number,
        after: found.after,
        settled: settled.map(|how| (how, found.settled_by)),
        stack: stack.collect(),
    }));
}

fn elapsed(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// Whether the CPU's accesses can be seen in guests of these options.
///
/// # Errors
/// Why not, in words.
pub fn can_watch(options: &GuestOptions, prepared: &Prepared) -> std::result::Result<(), String> {
    if options.engine != Engine::Tcg {
        return Err(format!(
            "the CPU's accesses are seen only where QEMU translates the guest's code, and not under {}",
            options.engine
        ));
    }
    if prepared.kernel == Kernel::Debug {
        return Err(
            "the CPU's accesses are not told of the debug kernel, which looks through all memory itself"
                .to_owned(),
        );
    }
    if let Err(why) = Recipe::new(options, &options.preload, prepared) {
        return Err(format!(
            "the CPU's accesses are seen only in a guest that is restored, and this one boots: {why}"
        ));
    }
    takes_plugin(prepared)
        .map_err(|why| format!("the CPU's accesses cannot be seen with this QEMU: {why}"))
}

/// What was found out, and of what.
#[derive(Serialize, Deserialize)]
struct Answer {
    qemu: String,
    program: String,
    plugin: String,
    /// Why not; none: it takes it.
    why: Option<String>,
}

/// Whether this QEMU loads the plugin, which only it can say: its version of the interface is not ours to guess.
fn takes_plugin(prepared: &Prepared) -> std::result::Result<(), String> {
    let program = &prepared.qemu.program;
    let mut answer = Answer {
        qemu: prepared.qemu.version.clone(),
        program: format!("{} {:?}", program.display(), prepared.qemu.arguments),
        plugin: format!("{:016x}", xxhash_rust::xxh3::xxh3_64(PLUGIN)),
        why: None,
    };
    let path = prepared.writable.join(REMEMBERED);
    let known: Option<Vec<Answer>> =
        (fs::read(&path).ok()).and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let mut known = known.unwrap_or_default();
    let same = |known: &&Answer| {
        (&known.qemu, &known.program, &known.plugin)
            == (&answer.qemu, &answer.program, &answer.plugin)
    };
    if let Some(known) = known.iter().find(same) {
        return known.why.clone().map_or(Ok(()), Err);
    }
    answer.why = probe(prepared).map_err(|error| format!("it could not be asked: {error}"))?;
    let why = answer.why.clone();
    known.insert(0, answer);
    known.truncate(16);
    // If it cannot be kept, it is asked again, which costs a tenth of a second.
    let _ = remember(&path, &known);
    why.map_or(Ok(()), Err)
}

/// Has QEMU load it and nothing else; gives its reason if it does not.
fn probe(prepared: &Prepared) -> io::Result<Option<String>> {
    let plugin = plugin()?;
    let mut qemu = Command::new(&prepared.qemu.program);
    qemu.args(&prepared.qemu.arguments)
        .args(["-machine", "none", "-nodefaults", "-display", "none"])
        .arg("-plugin")
        .arg(format!("file=/proc/self/fd/{},probe=1", plugin.as_raw_fd()))
        .stdin(Stdio::null());
    let log = tempfile::NamedTempFile::new()?;
    let mut process = Process::spawn(qemu, vec![plugin.into()], log.as_file(), Rights::NoMore)?;
    let ended = process.wait_until(Instant::now() + PROBE)?;
    let said = fs::read_to_string(log.path()).unwrap_or_default();
    if said.contains("landfall: taken") {
        return Ok(None);
    }
    let last = said.lines().last().unwrap_or_default();
    Ok(Some(match ended {
        None => format!("it did not say within {} s", PROBE.as_secs()),
        Some(_) if last.is_empty() => "it gives no reason".to_owned(),
        Some(_) => last.rsplit(": ").next().unwrap_or(last).to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared() -> Shared {
        let memory = GuestMemory::flat(1 << 20).unwrap();
        Shared::new(&GuestOptions::default(), &memory).unwrap().0
    }

    const FOUND: Found = Found {
        id: 1,
        card: 1,
        cpu: 0,
        store: false,
        user: false,
        coherent: false,
        queued: false,
        gaps: false,
        settled: wire::Settled::ForCpu,
        pc: u64::MAX,
        address: 0x1000,
        length: 8,
        count: 1,
        first_ns: 0,
        last_ns: 0,
        lend: 0x1000,
        lend_number: 1,
        after: 1,
        settled_by: 2,
        stack: [0; wire::STACK],
    };

    fn settle(shared: &Shared, found: &Found) {
        let told = shared.word(wire::TOLD_AT).unwrap();
        let at = wire::RING_AT + (told as usize % wire::RING) * wire::FOUND;
        let bytes = found.to_bytes(0);
        shared.file.write_all_at(&bytes, at as u64).unwrap();
        shared.put(wire::TOLD_AT, told + 1).unwrap();
    }

    fn accesses(journal: &Journal) -> Vec<u64> {
        let entries = journal.entries_from(0).into_iter();
        let count = |entry: landfall_device::journal::Entry| match entry.kind {
            Kind::Cpu(access) => Some(access.count),
            _ => None,
        };
        entries.filter_map(count).collect()
    }

    #[test]
    fn what_was_found_is_told_its_own_card_once() {
        let mut shared = shared();
        let journals = [Journal::default(), Journal::default()];
        settle(&shared, &FOUND);
        settle(&shared, &Found { card: 9, ..FOUND });
        shared.drain(&journals, false).unwrap();
        shared.drain(&journals, true).unwrap();

        assert_eq!(accesses(&journals[0]), [0; 0]);
        assert_eq!(accesses(&journals[1]), [1]);
    }

    #[test]
    fn what_grows_is_told_again_only_if_it_grew() {
        let mut shared = shared();
        let journals = [Journal::default(), Journal::default()];
        let bytes = FOUND.to_bytes(1);
        shared
            .file
            .write_all_at(&bytes, wire::OPEN_AT as u64)
            .unwrap();
        shared.drain(&journals, false).unwrap();
        assert_eq!(accesses(&journals[1]), [0; 0]);
        shared.drain(&journals, true).unwrap();
        shared.drain(&journals, true).unwrap();
        settle(&shared, &FOUND);
        shared.drain(&journals, false).unwrap();
        assert_eq!(accesses(&journals[1]), [1]);

        settle(&shared, &Found { count: 3, ..FOUND });
        shared.drain(&journals, false).unwrap();
        assert_eq!(accesses(&journals[1]), [1, 3]);
    }

    #[test]
    fn accesses_in_no_order_are_told_their_own_card_once() {
        let mut shared = shared();
        let journals = [Journal::default(), Journal::default()];
        let unordered = wire::Unordered {
            id: 1,
            card: 1,
            job: 7,
            cpu: 0,
            store: false,
            by_register: false,
            for_cpus: false,
            pc: 1,
            phys: 2,
            length: 8,
            address: 0,
            lend: 0,
            lend_number: 0,
            other_pc: 3,
            other: 4,
            at_ns: u64::MAX,
            stack: [0; wire::STACK],
        };
        let at = wire::UNORDERED_AT as u64;
        shared.file.write_all_at(&unordered.to_bytes(), at).unwrap();
        shared.put(wire::UNORDERED_TOLD_AT, 1).unwrap();
        for _ in 0..2 {
            shared.drain(&journals, true).unwrap();
        }
        assert!(journals[0].entries_from(0).is_empty());
        let [told] = &journals[1].entries_from(0)[..] else {
            panic!("{:?}", journals[1].entries_from(0));
        };
        assert!(matches!(&told.kind, Kind::Unordered(told) if told.job == Some(JobId(7))));
    }

    #[test]
    fn the_witness_says_where_its_echo_is_and_which_modules_have_marks() {
        assert_eq!(echo_of("1f000\n"), Some((0x1f000, vec![])));
        let (echo, modules) = echo_of("1f000\nc000 d000\n?\n").expect("an echo");
        assert_eq!((echo, modules.len()), (0x1f000, 1));
        assert_eq!(modules.first(), Some(&(0xc000..0xd000)));
        assert_eq!(echo_of(""), None);
        assert_eq!(echo_of("x"), None);
    }

    #[test]
    fn whatever_is_in_the_file_ends() {
        let mut shared = shared();
        let journals = [Journal::default()];
        let garbage = vec![0xa5; wire::SIZE];
        shared.file.write_all_at(&garbage, 0).unwrap();
        for _ in 0..3 {
            shared.drain(&journals, true).unwrap();
        }
        let lost =
            |entry: &landfall_device::journal::Entry| matches!(entry.kind, Kind::CpuLost { .. });
        assert_eq!(
            journals[0]
                .entries_from(0)
                .iter()
                .filter(|entry| lost(entry))
                .count(),
            1
        );
    }
}
