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

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use landfall_agent::protocol::{ENTROPY, Reply, Request, VERSION};
use landfall_guest::{Cancel, Claim, ClaimError, Prepared, Snapshot};
use xxhash_rust::xxh3::Xxh3;

use self::manifest::{Damaged, Manifest, RAM, STATE, file_hash};
use self::ram::RamError;
use super::failure::{GuestFailed, What};
use super::machine::{BOOT_LOG, CONSOLE_LOG, Machine};
use super::options::{GuestOptions, Module, Start, Transport};
use super::start::{self, Launch};
use super::started::Clock;
use super::unexpected;
use crate::memory::GuestMemory;
use crate::qemu::qmp::{Capability, Command, Event};

/// Changes whenever snapshots of an earlier Landfall must not be used.
const FORMAT: &str = "1";
/// How long to wait for another process that makes the same snapshot; it boots a guest.
const OTHER: Duration = Duration::from_secs(300);
/// How long QEMU may take to write or read a state.
const MIGRATION: Duration = Duration::from_secs(120);
/// Which clock the kernel uses, and the one of its early boot.
const CLOCK_SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
const EARLY_CLOCK: &str = "tsc-early";
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

/// Why a guest of these options cannot come from a snapshot; `None` if it can.
fn excluded(options: &GuestOptions) -> Option<String> {
    match options.start {
        Start::Cold | Start::Stock => Some("as asked for".to_owned()),
        Start::Restored if !options.qemu_arguments.is_empty() => {
            let why = "arguments of your own for QEMU may name files and devices that a snapshot cannot know";
            Some(why.to_owned())
        }
        Start::Restored if options.watch_from_boot || !options.watch.is_empty() => {
            Some("its memory is watched from boot".to_owned())
        }
        Start::Restored => None,
    }
}

/// What a distinct guest is: everything that decides how it is after its boot.
pub(super) struct Recipe {
    /// Names the snapshot.
    key: String,
    /// The guest without its cards.
    options: GuestOptions,
    modules: Vec<Module>,
}

impl Recipe {
    /// The guest of these options with these modules loaded before any card is plugged in.
    ///
    /// # Errors
    /// Why it cannot come from a snapshot.
    pub(super) fn new(
        options: &GuestOptions,
        modules: &[Module],
        prepared: &Prepared,
    ) -> Result<Self, String> {
        if let Some(why) = excluded(options) {
            return Err(why);
        }
        let without_cards = GuestOptions {
            cards: Vec::new(),
            spare_ports: options.cards.len() + options.spare_ports,
            shell: false,
            start: Start::Cold,
            ..options.clone()
        };
        let key = key(&without_cards, modules, prepared)
            .map_err(|error| format!("what it is made of cannot be told: {error}"))?;
        Ok(Self {
            key,
            options: without_cards,
            modules: modules.to_vec(),
        })
    }

    /// Whether the snapshot is there already.
    pub(super) fn is_there(&self, prepared: &Prepared) -> bool {
        prepared.snapshots.has(&self.key)
    }

    /// Makes the snapshot unless it is there.
    pub(super) fn ensure(
        &self,
        prepared: &Prepared,
        cancel: &Cancel,
    ) -> Result<Snapshot, NotRestored> {
        let making = match prepared.snapshots.claim(&self.key, OTHER, cancel) {
            Ok(Claim::Ready(snapshot)) => return Ok(snapshot),
            Ok(Claim::Mine(making)) => making,
            Err(ClaimError::Cancelled) => {
                return Err(GuestFailed::early(What::Interrupted).into());
            }
            Err(error) => return Err(NotRestored::Cold(chain(&error))),
        };
        let launch = Launch::cold(&self.options, prepared, cancel);
        let mut machine = launch.boot(&mut Clock::start())?;
        machine.load_modules(&self.modules)?;
        save(&mut machine, making.directory())?;
        machine.quit()?;
        making
            .publish()
            .map_err(|error| NotRestored::Cold(format!("it cannot be kept: {error}")))
    }

    /// Restores the guest, after making its snapshot if it is not there; no card is plugged in yet.
    pub(super) fn restore(
        &self,
        options: &GuestOptions,
        prepared: &Prepared,
        cancel: &Cancel,
        clock: &mut Clock,
    ) -> Result<Machine, NotRestored> {
        let mut why = String::new();
        for _ in 0..2 {
            if !self.is_there(prepared) {
                clock.made_snapshot();
            }
            let snapshot = self.ensure(prepared, cancel)?;
            clock.lap("snapshot");
            match restore(&snapshot, options, prepared, cancel, clock) {
                Ok(machine) => return Ok(machine),
                Err(RestoreFailed::Guest(failed)) => return Err(failed.into()),
                Err(RestoreFailed::Snapshot(found)) => {
                    tracing::warn!(key = self.key, found, "snapshot discarded");
                    prepared.snapshots.discard(snapshot);
                    why = found;
                }
            }
        }
        Err(NotRestored::Cold(format!(
            "a snapshot that was made anew could not be restored: {why}"
        )))
    }
}

/// The name of a guest's snapshot.
///
/// The boot of the host is a part of it: under emulation the guest's clock is the host's, and what was measured of
/// it before the snapshot must hold after.
fn key(options: &GuestOptions, modules: &[Module], prepared: &Prepared) -> std::io::Result<String> {
    let mut hash = Xxh3::new();
    let mut add = |text: &str| {
        hash.update(&(text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    };
    add(FORMAT);
    add(&VERSION.to_string());
    add(&fs::read_to_string("/proc/sys/kernel/random/boot_id")?);
    add(&prepared.qemu.version);
    add(&format!("{:?}", options.transport));
    let description = start::describe(options, prepared);
    let arguments = [prepared.qemu.arguments.clone(), description.arguments()].concat();
    for argument in arguments {
        add(&argument.to_string_lossy());
    }
    for file in [
        &prepared.qemu.program,
        &description.kernel,
        &description.initramfs,
    ] {
        let status = fs::metadata(file)?;
        add(&format!(
            "{} {} {} {}.{}",
            file.display(),
            status.ino(),
            status.len(),
            status.mtime(),
            status.mtime_nsec()
        ));
    }
    for module in modules {
        add(&module.name);
        add(&module.parameters);
    }
    Ok(format!("{:032x}", hash.digest128()))
}

/// Saves a booted guest.
fn save(machine: &mut Machine, directory: &Path) -> Result<(), NotRestored> {
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
    machine
        .monitor(&Command::Save(state.clone()))
        .map_err(refused)?;
    if let Some(why) = migrated(machine, "the machine's state to be saved")? {
        return Err(NotRestored::Cold(format!("QEMU does not save it: {why}")));
    }
    let ram = match transport {
        Transport::Shared => {
            let packed = File::create(directory.join(RAM)).map_err(kept)?;
            ram::save(machine.memory.file(), &packed).map_err(kept)?
        }
        Transport::Mapped => Vec::new(),
    };
    let manifest = Manifest {
        transport,
        memory: machine.options.memory,
        state: file_hash(&state).map_err(kept)?,
        ram,
    };
    fs::write(directory.join(CONSOLE_LOG), machine.console_log()).map_err(kept)?;
    manifest.write(directory).map_err(kept)
}

/// Waits until the kernel has replaced the clock of its early boot, about a second after its start. It patches its code
/// for that, which must not happen in a restored guest; see
/// `translator` in `qemu/command.rs`.
fn settle(machine: &mut Machine) -> Result<(), NotRestored> {
    let request = Request::WaitWhile {
        path: CLOCK_SOURCE.to_owned(),
        text: EARLY_CLOCK.to_owned(),
        timeout_ms: 5000,
    };
    match machine.request(request, Duration::from_secs(5)) {
        Ok(_) => Ok(()),
        Err(failed) if matches!(*failed.what, What::Refused(_)) => Err(NotRestored::Cold(format!(
            "its kernel keeps the clock of its early boot ({EARLY_CLOCK})"
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
) -> Result<Machine, RestoreFailed> {
    let manifest = Manifest::read(&snapshot.file(manifest::MANIFEST))?;
    if manifest.memory != options.memory {
        return Err(RestoreFailed::Snapshot("it is of another guest".to_owned()));
    }
    let guest = |what| RestoreFailed::Guest(GuestFailed::early(what));
    let memory = GuestMemory::split(options.memory, options.low_memory);
    let memory = Arc::new(memory.map_err(|error| guest(What::Memory(error)))?);
    // Memory is written and everything is checked while QEMU starts.
    let (filled, launched) = std::thread::scope(|scope| {
        let filling = scope.spawn(|| fill(snapshot, &manifest, &memory));
        let launch = Launch::incoming(options, prepared, cancel, Arc::clone(&memory));
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
) -> Result<(), RestoreFailed> {
    manifest.check_state(&snapshot.file(STATE))?;
    if manifest.transport == Transport::Mapped {
        return Ok(());
    }
    let packed = File::open(snapshot.file(RAM))
        .map_err(|error| RestoreFailed::Snapshot(error.to_string()))?;
    match ram::restore(&packed, &manifest.ram, memory.file()) {
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
    machine
        .monitor(&Command::Restore(snapshot.file(STATE)))
        .map_err(blame)?;
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
    use landfall_guest::{Kernel, Lock, Qemu, SNAPSHOT_LIMIT, Snapshots};
    use serde_json::json;

    use super::super::options::{CardKind, Iommu};
    use super::super::sources::PoolOptions;
    use super::*;

    fn prepared(directory: &Path) -> Prepared {
        let file = |name: &str| {
            let path = directory.join(name);
            fs::write(&path, name).unwrap();
            path
        };
        Prepared {
            kernel: Kernel::Stock,
            qemu: Qemu {
                program: file("qemu"),
                arguments: Vec::new(),
                version: "11.1.3".to_owned(),
            },
            vmlinux: file("vmlinux"),
            bzimage: None,
            kernel_release: "7.3.4".to_owned(),
            initramfs: file("initramfs"),
            video: None,
            modules: Vec::new(),
            module_warnings: Vec::new(),
            lock: Lock::default(),
            lock_file: directory.join("lock"),
            timings: Vec::new(),
            cache_size: 0,
            warm: true,
            cache: directory.to_owned(),
            snapshots: Snapshots::new(directory, SNAPSHOT_LIMIT, "setup"),
        }
    }

    fn recipe_key(options: &GuestOptions, prepared: &Prepared) -> String {
        Recipe::new(options, &options.modules(), prepared)
            .map(|recipe| recipe.key)
            .unwrap()
    }

    #[test]
    fn whatever_changes_the_guest_changes_the_snapshot() {
        let directory = tempfile::tempdir().unwrap();
        let prepared = prepared(directory.path());
        let plain = GuestOptions::default();
        let mut keys = vec![recipe_key(&plain, &prepared)];
        let mut differs = |change: &dyn Fn(&mut GuestOptions)| {
            let mut options = plain.clone();
            change(&mut options);
            let key = recipe_key(&options, &prepared);
            assert!(!keys.contains(&key), "{options:?}");
            keys.push(key);
        };

        differs(&|options| options.memory *= 2);
        differs(&|options| options.low_memory = Some(128 << 20));
        differs(&|options| options.cpus = 1);
        differs(&|options| options.iommu = Iommu::Intel);
        differs(&|options| options.append = "debug".to_owned());
        differs(&|options| options.fragment = Some(3));
        differs(&|options| options.spare_ports = 1);
        differs(&|options| options.pool.size *= 2);
        differs(&|options| options.pool.parameters = "guard_pages=2".to_owned());
        differs(&|options| options.driver_parameters = "interrupt=0".to_owned());
        differs(&|options| options.engine = crate::qemu::command::Engine::Kvm);
        differs(&|options| options.transport = Some(Transport::Mapped));
        fs::write(&prepared.initramfs, "another").unwrap();
        differs(&|_| ());
    }

    #[test]
    fn cards_and_what_they_do_are_no_part_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let prepared = prepared(directory.path());
        let plain = GuestOptions::default();

        let other = GuestOptions {
            cards: vec![CardKind::Template],
            shell: true,
            driver_interrupt: Some(landfall_device::contract::InterruptKind::Msi),
            ..plain.clone()
        };
        assert_eq!(recipe_key(&plain, &prepared), recipe_key(&other, &prepared));
        let ports = GuestOptions {
            cards: Vec::new(),
            driver_interrupt: Some(landfall_device::contract::InterruptKind::Msi),
            spare_ports: 1,
            pool: PoolOptions::default(),
            ..plain.clone()
        };
        assert_eq!(recipe_key(&plain, &prepared), recipe_key(&ports, &prepared));
    }

    #[test]
    fn what_a_snapshot_cannot_know_boots_cold_with_a_reason() {
        let with = |change: fn(&mut GuestOptions)| {
            let mut options = GuestOptions::default();
            change(&mut options);
            excluded(&options)
        };

        assert_eq!(with(|_| ()), None);
        assert!(with(|options| options.start = Start::Cold).is_some());
        assert!(with(|options| options.start = Start::Stock).is_some());
        let own = with(|options| options.qemu_arguments = vec!["-snapshot".into()]);
        assert!(own.unwrap().contains("arguments of your own"));
        assert!(with(|options| options.watch_from_boot = true).is_some());
        assert!(with(|options| options.watch.push(0..4096)).is_some());
    }

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
