// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which snapshot a guest comes from, and how that is made.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use landfall_agent::protocol::VERSION;
use landfall_guest::{Cancel, Claim, ClaimError, Prepared, Snapshot};
use xxhash_rust::xxh3::Xxh3;

use super::{NotRestored, RestoreFailed, chain, restore, save};
use crate::guest::Card;
use crate::guest::failure::{GuestFailed, What};
use crate::guest::machine::Machine;
use crate::guest::options::{GuestOptions, Module, Start};
use crate::guest::qemu::command::Room;
use crate::guest::start::{self, Launch};
use crate::guest::started::Clock;

/// Changes whenever snapshots of an earlier Landfall must not be used.
const FORMAT: &str = "2";
/// How long to wait for another process that makes the same snapshot; it boots a guest.
const OTHER: Duration = Duration::from_secs(300);

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
        Start::Restored => {
            // One that cannot be made is told where it is to be served.
            let large = |card: &&Card| card.room().is_ok_and(|room| room != Room::default());
            let card = options.cards.iter().find(large)?.name();
            Some(format!(
                "the BARs of {card} need room that no bridge gets after the boot"
            ))
        }
    }
}

/// What a distinct guest is: everything that decides how it is after its boot.
pub(in crate::guest) struct Recipe {
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
    pub(in crate::guest) fn new(
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
        Ok(Self {
            key: name(&without_cards, modules, prepared)?,
            options: without_cards,
            modules: modules.to_vec(),
        })
    }

    /// Whether the snapshot is there already.
    pub(in crate::guest) fn is_there(&self, prepared: &Prepared) -> bool {
        prepared.snapshots.has(&self.key)
    }

    /// Makes the snapshot unless it is there.
    pub(in crate::guest) fn ensure(
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
        let (mut machine, base) = self.make(prepared, cancel)?;
        save(&mut machine, base.as_ref(), making.directory())?;
        machine.quit()?;
        making
            .publish()
            .map_err(|error| NotRestored::Cold(format!("it cannot be kept: {error}")))
    }

    /// The guest that the snapshot is made of. One with modules or more files comes from the snapshot of the one without, and
    /// its own keeps what differs: guests that differ in those alone boot once. Its CPUs run in turns, since modules have
    /// the kernel patch its code.
    fn make(
        &self,
        prepared: &Prepared,
        cancel: &Cancel,
    ) -> Result<(Machine, Option<(String, Snapshot)>), NotRestored> {
        let clock = &mut Clock::start();
        if self.modules.is_empty() && self.options.archives.is_empty() {
            let launch = Launch::cold(&self.options, prepared, cancel);
            return Ok((launch.boot(clock)?, None));
        }
        let options = GuestOptions {
            archives: Vec::new(),
            ..self.options.clone()
        };
        let bare = Self {
            key: name(&options, &[], prepared).map_err(NotRestored::Cold)?,
            options,
            modules: Vec::new(),
        };
        let (mut machine, base) = bare.restored(&self.options, prepared, cancel, clock, true)?;
        machine.unpack(&self.options.archives)?;
        machine.load_modules(&self.modules)?;
        Ok((machine, Some((bare.key, base))))
    }

    /// Restores the guest, after making its snapshot if it is not there; no card is plugged in yet.
    pub(in crate::guest) fn restore(
        &self,
        options: &GuestOptions,
        prepared: &Prepared,
        cancel: &Cancel,
        clock: &mut Clock,
    ) -> Result<Machine, NotRestored> {
        self.restored(options, prepared, cancel, clock, false)
            .map(|(machine, _)| machine)
    }

    /// Likewise, with its CPUs run in turns or each by a thread of its own.
    fn restored(
        &self,
        options: &GuestOptions,
        prepared: &Prepared,
        cancel: &Cancel,
        clock: &mut Clock,
        in_turns: bool,
    ) -> Result<(Machine, Snapshot), NotRestored> {
        let mut why = String::new();
        for _ in 0..2 {
            if !self.is_there(prepared) {
                clock.made_snapshot();
            }
            let snapshot = self.ensure(prepared, cancel)?;
            clock.lap("snapshot");
            match restore(&snapshot, options, prepared, cancel, clock, in_turns) {
                Ok(machine) => return Ok((machine, snapshot)),
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

/// The name of a guest's snapshot, or why there is none.
///
/// The boot of the host is a part of it: under emulation the guest's clock is the host's, and what was measured of
/// it before the snapshot must hold after.
fn name(options: &GuestOptions, modules: &[Module], prepared: &Prepared) -> Result<String, String> {
    key(options, modules, prepared)
        .map_err(|error| format!("what it is made of cannot be told: {error}"))
}

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
    let booted = [
        &prepared.qemu.program,
        &description.kernel,
        &description.initramfs,
    ];
    for file in booted.into_iter().chain(&options.archives) {
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use landfall_cards::template::Scratch;
    use landfall_guest::{Architecture, Kernel, Lock, Qemu, SNAPSHOT_LIMIT, Snapshots};

    use super::*;
    use crate::guest::options::{Iommu, Transport};
    use crate::guest::sources::PoolOptions;

    fn prepared(directory: &Path) -> Prepared {
        let file = |name: &str| {
            let path = directory.join(name);
            fs::write(&path, name).unwrap();
            path
        };
        Prepared {
            architecture: Architecture::of("amd64").unwrap(),
            kernel: Kernel::Stock,
            qemu: Qemu {
                program: file("qemu"),
                arguments: Vec::new(),
                version: "11.1.3".to_owned(),
                sandbox: false,
            },
            vmlinux: file("vmlinux"),
            bzimage: None,
            kernel_release: "7.3.4".to_owned(),
            initramfs: file("initramfs"),
            video: Vec::new(),
            stock: None,
            modules: Vec::new(),
            module_warnings: Vec::new(),
            lock: Lock::default(),
            lock_file: directory.join("lock"),
            parts_file: directory.join("parts"),
            timings: Vec::new(),
            cache_size: 0,
            warm: true,
            cache: directory.to_owned(),
            writable: directory.to_owned(),
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
        differs(&|options| options.iommu = Iommu::Strict);
        differs(&|options| options.append = "debug".to_owned());
        differs(&|options| options.fragment = Some(3));
        differs(&|options| options.spare_ports = 1);
        differs(&|options| options.pool.size *= 2);
        differs(&|options| options.pool.parameters = "guard_pages=2".to_owned());
        differs(&|options| {
            options.drivers.push(Module {
                name: "driver".to_owned(),
                parameters: String::new(),
            });
        });
        differs(&|options| options.engine = crate::guest::qemu::command::Engine::Kvm);
        differs(&|options| options.transport = Some(Transport::Mapped));
        fs::write(&prepared.initramfs, "another").unwrap();
        differs(&|_| ());
    }

    #[test]
    fn cards_and_what_they_do_are_no_part_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let prepared = prepared(directory.path());
        let card = |name: &str| Card::new(name, Scratch::default);
        let plain = GuestOptions {
            cards: vec![card("one")],
            ..GuestOptions::default()
        };

        let other = GuestOptions {
            cards: vec![card("another")],
            shell: true,
            ..plain.clone()
        };
        assert_eq!(recipe_key(&plain, &prepared), recipe_key(&other, &prepared));
        let ports = GuestOptions {
            cards: Vec::new(),
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
}
