// SPDX-License-Identifier: MIT OR Apache-2.0

//! Guests from snapshots: one boot per distinct guest, and every further one in a fraction of a second.
//!
//! A snapshot is made of a guest that has booted and loaded its modules, with no card in it. Restoring one starts a
//! QEMU, puts memory into the file that harness, cards and QEMU share, hands QEMU the state, lets the guest go on,
//! sets what must differ from its twins, and only then plugs the cards in: no driver sees a card with the entropy of
//! another guest.
//!
//! Memory does not pass through QEMU where QEMU lets it be (`x-ignore-shared`): the harness writes it, page by page,
//! while QEMU starts, and touches nothing that the guest had not used. A QEMU without that gets mapped-ram and
//! multifd, which reads, and so allocates, all of the memory when it saves.

mod manifest;
mod ram;
mod recipe;

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use landfall_agent::protocol::{ENTROPY, Reply, Request};
use landfall_guest::{Cancel, Claim, Prepared, Snapshot};

use self::manifest::{Base, Damaged, MANIFEST, Manifest, RAM, STATE, file_hash};
use self::ram::RamError;
pub(super) use self::recipe::Recipe;
use super::failure::{GuestFailed, What};
use super::logs::{BOOT_LOG, CONSOLE_LOG};
use super::machine::Machine;
use super::options::{GuestOptions, Transport};
use super::start::Launch;
use super::started::Clock;
use super::unexpected;
use crate::guest::memory::GuestMemory;
use crate::guest::qemu::qmp::{Capability, Command, Event};

/// How long QEMU may take to write or read a state.
const MIGRATION: Duration = Duration::from_secs(120);
/// Which clock the kernel uses.
const CLOCK_SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
/// Threads of QEMU that move memory, where it moves it.
const CHANNELS: u8 = 2;

impl Transport {
    /// The wanted one, or the better one, if a QEMU with these capabilities has it.
    fn choose(wanted: Option<Self>, answer: &serde_json::Value) -> Option<Self> {
        let all = [Self::Shared, Self::Mapped].into_iter();
        all.filter(|transport| wanted.is_none_or(|wanted| wanted == *transport))
            .find(|transport| {
                let needed = transport.capabilities();
                needed.iter().all(|capability| capability.is_in(answer))
            })
    }

    fn capabilities(self) -> Vec<Capability> {
        match self {
            Self::Shared => vec![Capability::Events, Capability::IgnoreShared],
            Self::Mapped => vec![
                Capability::Events,
                Capability::MappedRam,
                Capability::Multifd,
            ],
        }
    }

    /// Makes QEMU ready for it.
    fn set_up(self, machine: &mut Machine) -> super::Result<()> {
        machine.monitor(&Command::SetCapabilities(self.capabilities()))?;
        if self == Self::Mapped {
            machine.monitor(&Command::SetChannels(CHANNELS))?;
        }
        Ok(())
    }
}

/// Why there is no restored guest.
#[derive(Debug)]
pub(super) enum NotRestored {
    /// Nothing else would do better: the guest does not boot, or the run was cancelled.
    Failed(GuestFailed),
    /// A cold boot may do.
    Cold(String),
}

impl From<GuestFailed> for NotRestored {
    fn from(failed: GuestFailed) -> Self {
        Self::Failed(failed)
    }
}

/// Restoring one snapshot failed.
enum RestoreFailed {
    /// The snapshot is to blame, by all that is known.
    Snapshot(String),
    /// Something else is.
    Guest(GuestFailed),
}

impl From<Damaged> for RestoreFailed {
    fn from(damaged: Damaged) -> Self {
        Self::Snapshot(chain(&damaged))
    }
}

/// Saves a booted guest; if it came from another snapshot, what differs from that.
fn save(
    machine: &mut Machine,
    base: Option<&(String, Snapshot)>,
    directory: &Path,
) -> Result<(), NotRestored> {
    let kept = |error: std::io::Error| NotRestored::Cold(format!("it cannot be written: {error}"));
    let refused = |failed: GuestFailed| match &*failed.what {
        What::Monitor { .. } => NotRestored::Cold(failed.to_string()),
        _ => NotRestored::Failed(failed),
    };
    settle(machine)?;
    machine.monitor(&Command::Stop)?;
    let known = machine.monitor(&Command::QueryCapabilities)?;
    let transport = Transport::choose(machine.options.transport, &known).ok_or_else(|| {
        NotRestored::Cold("this QEMU has neither x-ignore-shared nor mapped-ram".to_owned())
    })?;
    transport.set_up(machine).map_err(refused)?;
    let state = directory.join(STATE);
    let lent = machine.lend(&File::create(&state).map_err(kept)?)?;
    machine.monitor(&Command::Save(lent)).map_err(refused)?;
    if let Some(why) = migrated(machine, "the machine's state to be saved")? {
        return Err(NotRestored::Cold(format!("QEMU does not save it: {why}")));
    }
    let (mut ram, mut changed) = (Vec::new(), None);
    if transport == Transport::Shared {
        let packed = File::create(directory.join(RAM)).map_err(kept)?;
        let mut before = None;
        if let Some((key, snapshot)) = base {
            before = Some(memory_of(snapshot, machine.options.memory).map_err(kept)?);
            changed = Some(Base {
                key: key.clone(),
                manifest: file_hash(&snapshot.file(MANIFEST)).map_err(kept)?,
            });
        }
        let before = before.as_ref().map(GuestMemory::file);
        ram = ram::save(machine.memory.file(), before, &packed).map_err(kept)?;
    }
    let manifest = Manifest {
        transport,
        memory: machine.options.memory,
        state: file_hash(&state).map_err(kept)?,
        ram,
        base: changed,
    };
    let said = machine.logs().into_iter();
    let said: String = said
        .filter(|(name, _)| [BOOT_LOG, CONSOLE_LOG].contains(name))
        .map(|(_, text)| text)
        .collect();
    fs::write(directory.join(CONSOLE_LOG), said).map_err(kept)?;
    manifest.write(directory).map_err(kept)
}

/// The memory that a snapshot holds.
fn memory_of(snapshot: &Snapshot, bytes: u64) -> std::io::Result<GuestMemory> {
    let memory = GuestMemory::flat(bytes).map_err(std::io::Error::other)?;
    let manifest = Manifest::read(&snapshot.file(MANIFEST)).map_err(std::io::Error::other)?;
    let packed = File::open(snapshot.file(RAM))?;
    ram::restore(&packed, &manifest.ram, memory.file()).map_err(std::io::Error::other)?;
    Ok(memory)
}

/// Waits until the kernel has replaced the clock of its early boot, about a second after its start, if it has one. It patches
/// its code for that, which must not happen in a restored guest; see
/// `translator` in `qemu/command.rs`.
fn settle(machine: &mut Machine) -> Result<(), NotRestored> {
    let Some(early) = machine.options.board.early_clock else {
        return Ok(());
    };
    let request = Request::WaitWhile {
        path: CLOCK_SOURCE.to_owned(),
        text: early.to_owned(),
        timeout_ms: 5000,
    };
    match machine.request(request, Duration::from_secs(5)) {
        Ok(_) => Ok(()),
        Err(failed) if matches!(*failed.what, What::Refused(_)) => Err(NotRestored::Cold(format!(
            "its kernel keeps the clock of its early boot ({early})"
        ))),
        Err(failed) => Err(failed.into()),
    }
}

/// Restores a guest, up to its first word.
fn restore(
    snapshot: &Snapshot,
    options: &GuestOptions,
    prepared: &Prepared,
    cancel: &Cancel,
    clock: &mut Clock,
    in_turns: bool,
) -> Result<Machine, RestoreFailed> {
    let manifest = Manifest::read(&snapshot.file(MANIFEST))?;
    if manifest.memory != options.memory {
        return Err(RestoreFailed::Snapshot("it is of another guest".to_owned()));
    }
    let guest = |what| RestoreFailed::Guest(GuestFailed::early(what));
    let memory = GuestMemory::new(options.ram());
    let memory = Arc::new(memory.map_err(|error| guest(What::Memory(error)))?);
    // Memory is written and everything is checked while QEMU starts.
    let (filled, launched) = std::thread::scope(|scope| {
        let filling = scope.spawn(|| fill(snapshot, &manifest, &memory, prepared, cancel));
        let launch = Launch::incoming(options, prepared, cancel, Arc::clone(&memory), in_turns);
        let launched = launch.start();
        clock.lap("start QEMU");
        let filled = filling.join();
        clock.lap("memory");
        (filled, launched)
    });
    match filled {
        Ok(filled) => filled?,
        Err(panic) => std::panic::resume_unwind(panic),
    }
    let mut machine = launched.map_err(RestoreFailed::Guest)?;
    // Its evidence has the whole console; that the boot's part is lacking is no reason to fail.
    let _ = fs::copy(snapshot.file(CONSOLE_LOG), machine.directory.file(BOOT_LOG));
    machine.on_trial = true;
    let answered = revive(&mut machine, &manifest, snapshot, clock);
    machine.on_trial = false;
    answered.map(|()| machine)
}

/// Writes memory, and checks state and memory.
fn fill(
    snapshot: &Snapshot,
    manifest: &Manifest,
    memory: &GuestMemory,
    prepared: &Prepared,
    cancel: &Cancel,
) -> Result<(), RestoreFailed> {
    manifest.check_state(&snapshot.file(STATE))?;
    if manifest.transport == Transport::Mapped {
        return Ok(());
    }
    if let Some(base) = &manifest.base {
        let damaged = |what| RestoreFailed::Snapshot(format!("the one that it changes {what}"));
        // Whoever makes that one anew makes another one.
        let claimed = prepared.snapshots.claim(&base.key, Duration::ZERO, cancel);
        let Ok(Claim::Ready(below)) = claimed else {
            return Err(damaged("is gone"));
        };
        let below_manifest = below.file(MANIFEST);
        if file_hash(&below_manifest).ok() != Some(base.manifest) {
            return Err(damaged("is another now"));
        }
        let pieces = Manifest::read(&below_manifest)?.ram;
        if let Err(failed) = write(&below, &pieces, memory) {
            // It would be found damaged by whoever needs it next; whoever needs it now is the first to know.
            if matches!(failed, RestoreFailed::Snapshot(_)) {
                prepared.snapshots.discard(below);
            }
            return Err(failed);
        }
    }
    write(snapshot, &manifest.ram, memory)
}

/// Writes a snapshot's pieces of memory.
fn write(
    snapshot: &Snapshot,
    pieces: &[ram::Piece],
    memory: &GuestMemory,
) -> Result<(), RestoreFailed> {
    let packed = File::open(snapshot.file(RAM))
        .map_err(|error| RestoreFailed::Snapshot(error.to_string()))?;
    match ram::restore(&packed, pieces, memory.file()) {
        Ok(()) => Ok(()),
        Err(RamError::File(source)) => {
            let doing = "write the guest's memory";
            let what = What::Host { doing, source };
            Err(RestoreFailed::Guest(GuestFailed::early(what)))
        }
        Err(damaged) => Err(RestoreFailed::Snapshot(chain(&damaged))),
    }
}

/// Hands QEMU the state, lets the guest go on, and sets what must differ from its twins.
fn revive(
    machine: &mut Machine,
    manifest: &Manifest,
    snapshot: &Snapshot,
    clock: &mut Clock,
) -> Result<(), RestoreFailed> {
    // QEMU's word on the state is the snapshot's fault; a run that was cancelled is not.
    let blame = |failed: GuestFailed| match &*failed.what {
        What::Interrupted => RestoreFailed::Guest(failed),
        _ => RestoreFailed::Snapshot(failed.to_string()),
    };
    manifest.transport.set_up(machine).map_err(blame)?;
    let state = File::open(snapshot.file(STATE))
        .map_err(|error| RestoreFailed::Snapshot(error.to_string()))?;
    let lent = machine.lend(&state).map_err(blame)?;
    machine.monitor(&Command::Restore(lent)).map_err(blame)?;
    if let Some(why) = migrated(machine, "the machine's state to be restored").map_err(blame)? {
        return Err(RestoreFailed::Snapshot(format!("QEMU refuses it: {why}")));
    }
    clock.lap("state");
    machine.monitor(&Command::Continue).map_err(blame)?;
    let request = Request::Resume {
        unix_ns: unix_ns(),
        entropy: entropy().map_err(|source| {
            let doing = "read /dev/urandom";
            RestoreFailed::Guest(GuestFailed::early(What::Host { doing, source }))
        })?,
    };
    match machine.request(request, Duration::ZERO).map_err(blame)? {
        Reply::Hello(hello) => machine.hello = hello,
        other => return Err(blame(unexpected(&other))),
    }
    clock.lap("resume");
    Ok(())
}

/// Waits until a migration has ended; gives QEMU's reason if it failed.
fn migrated(machine: &mut Machine, what: &str) -> super::Result<Option<String>> {
    let ended = |event: &Event| match event {
        Event::Migration { status } => status == "completed" || status == "failed",
        _ => false,
    };
    match machine.event(what, MIGRATION, ended)? {
        Event::Migration { status } if status == "completed" => Ok(None),
        _ => {
            let answer = machine.monitor(&Command::QueryMigration)?;
            let reason = answer.get("error-desc").and_then(|reason| reason.as_str());
            Ok(Some(reason.unwrap_or("it gives no reason").to_owned()))
        }
    }
}

/// The wall clock.
fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let ns = since.unwrap_or_default().as_nanos();
    u64::try_from(ns).unwrap_or(u64::MAX)
}

fn entropy() -> std::io::Result<[u8; ENTROPY]> {
    let mut bytes = [0; ENTROPY];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// An error with its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn memory_goes_the_best_way_that_qemu_has() {
        let has = |names: &[&str]| -> serde_json::Value {
            let known = names
                .iter()
                .map(|name| json!({ "capability": name, "state": false }));
            known.collect()
        };
        let all = has(&["events", "x-ignore-shared", "mapped-ram", "multifd"]);
        let mapped = Some(Transport::Mapped);

        assert_eq!(Transport::choose(None, &all), Some(Transport::Shared));
        assert_eq!(Transport::choose(mapped, &all), mapped);
        let old = has(&["events", "mapped-ram", "multifd"]);
        assert_eq!(Transport::choose(None, &old), mapped);
        assert_eq!(Transport::choose(None, &has(&["events", "multifd"])), None);
    }
}
