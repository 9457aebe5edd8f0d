// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a guest is to be.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use landfall_device::journal::CAPACITY;

use super::Card;
use super::board::Board;
use super::sources::{Carveout, PoolOptions, PoolSource, start, top};
use crate::guest::memory::Ram;
use crate::guest::qemu::command::Engine;

/// How a guest comes to life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// From a snapshot, which is made if it is not there. What cannot be restored boots cold by itself; see
    /// [`Started`](super::Started).
    #[default]
    Restored,
    /// The kernel boots, with the cards plugged in from the start.
    Cold,
    /// Likewise, as the distribution would boot it: its compressed image, and none of the options that only save
    /// time ([`crate::guest::qemu::tuning`]).
    Stock,
}

/// How a guest's memory gets into a snapshot and out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// The harness moves what the guest has used; QEMU leaves it alone, since it is shared (`x-ignore-shared`).
    Shared,
    /// QEMU moves it (`mapped-ram` with `multifd`); saving allocates all of the guest's memory.
    Mapped,
}

/// A module to load, without `.ko`, and its parameters as on insmod's command line.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize)]
pub struct Module {
    /// Its name.
    pub name: String,
    /// Its parameters.
    pub parameters: String,
}

impl Module {
    /// One with its defaults.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            parameters: String::new(),
        }
    }
}

/// An IOMMU in front of the cards.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Iommu {
    /// None: bus addresses are physical ones.
    #[default]
    None,
    /// What is unmapped is out of the card's reach before the call returns.
    #[serde(alias = "intel")]
    Strict,
    /// Used lazily: what is unmapped stays within the card's reach until the kernel flushes, some ten
    /// milliseconds later. A kernel that sees that its IOMMU is emulated is strict, so each card's group is switched
    /// (`iommu_group/type`, `DMA-FQ`) when the card is on the bus.
    #[serde(alias = "intel-lazy")]
    Lazy,
}

impl Iommu {
    /// Names of all kinds, as the command takes them.
    pub const NAMES: [(&'static str, Self); 2] = [("strict", Self::Strict), ("lazy", Self::Lazy)];

    /// Whether there is one.
    pub fn is_there(self) -> bool {
        self != Self::None
    }
}

impl std::str::FromStr for Iommu {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, String> {
        // What they were called when there was Intel's alone; bundles and scripts say so.
        let of_old = match given {
            "intel" => "strict",
            "intel-lazy" => "lazy",
            given => given,
        };
        let known = Self::NAMES.iter().find(|(name, _)| *name == of_old);
        known
            .map(|(_, kind)| *kind)
            .ok_or_else(|| "choose strict or lazy".to_owned())
    }
}

/// Which engine to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accelerator {
    /// KVM if a guest really boots under it, else TCG; see [`crate::guest::accelerator::choose`].
    #[default]
    Auto,
    /// This one.
    Only(Engine),
}

/// How long things may take. Under TCG on a busy host a boot takes ten times as long as on an idle one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// From starting QEMU to the agent's first word.
    pub boot: Duration,
    /// Any request to the agent, besides the time that the request itself allows.
    pub request: Duration,
    /// A command to QEMU's monitor.
    pub monitor: Duration,
    /// From the request to QEMU's end.
    pub power_off: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            boot: Duration::from_secs(90),
            request: Duration::from_secs(60),
            monitor: Duration::from_secs(15),
            power_off: Duration::from_secs(30),
        }
    }
}

/// Where the traces of a run go, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EvidenceOptions {
    /// The directory; by default a new one beside the run's own, named in the error.
    pub directory: Option<PathBuf>,
    /// Keep the evidence also if nothing failed.
    pub keep: bool,
}

/// What a guest is to be. Start from [`GuestOptions::default`], which has 256 MiB and no card.
#[derive(Clone, Debug)]
pub struct GuestOptions {
    /// What it runs on. A guest that boots has that of its set-up's architecture, whatever is said here; what is computed
    /// before from these options, such as [`GuestOptions::ram`], goes by this.
    pub board: &'static Board,
    /// Bytes of memory.
    pub memory: u64,
    /// Most of them that lie below 4 GiB, the rest above it; `None`: 2 GiB, or all if they are less than 2816 MiB.
    pub low_memory: Option<u64>,
    /// Virtual CPUs.
    pub cpus: u32,
    /// What to plug in at start; card n sits in root port n.
    pub cards: Vec<Card>,
    /// Empty root ports behind them, for cards plugged in later.
    pub spare_ports: usize,
    /// Modules that are in the guest before any card is, from a snapshot at once; [`super::Guest::boot`] loads no other.
    pub preload: Vec<Module>,
    /// Archives that are unpacked over its files at its start, from a snapshot at once; see [`super::Guest::unpack`].
    pub archives: Vec<PathBuf>,
    /// The cards' drivers: what [`super::Guest::load`] loads last, in this order.
    pub drivers: Vec<Module>,
    /// The pool.
    pub pool: PoolOptions,
    /// Leaves the guest's page allocator no free block of more than `2^fragment` pages, before the pool is loaded:
    /// 0 to 9, by the module [`super::FRAGMENT_MODULE`]. `None`: as the boot left it.
    pub fragment: Option<u32>,
    /// Ranges of RAM that nobody may write from the start of QEMU until the pool is loaded, besides the pool's
    /// carve-out, which is always watched. With one of these the guest boots cold.
    pub watch: Vec<Range<u64>>,
    /// Likewise for memory of `reserve_mem=`, whose place is known only when it is there: all of RAM is prepared
    /// for it, and what firmware writes to below 4 GiB is not the kernel's to use. The guest boots cold.
    pub watch_from_boot: bool,
    /// An IOMMU in front of the cards.
    pub iommu: Iommu,
    /// The module [`super::WITNESS_MODULE`], loaded before all others, tells each card's journal what its driver lends
    /// and takes back. Without it the cards have no BAR for that.
    pub witness: bool,
    /// The CPU's own accesses to memory that is a card's are told each card's journal, too: the guest is restored, under TCG, and
    /// has the witness. See [`super::cpu`].
    pub watch_cpu: bool,
    /// Its one card acts in an order that is told ([`super::Guest::explore`]): the guest is restored, under TCG, and has one CPU.
    pub explored: bool,
    /// Most entries that a card's journal keeps; about 150 bytes each.
    pub journal: usize,
    /// Appended to the kernel's command line.
    pub append: String,
    /// All that the kernel says is on its console once it has booted, not errors alone.
    pub loud: bool,
    /// A warning of the kernel's does not end it: it goes on, and whoever judges it finds that on its console, if it is loud. A kernel
    /// that is built to check itself goes on after all that it reports.
    pub warnings: bool,
    /// What executes the guest.
    pub engine: Engine,
    /// How it comes to life.
    pub start: Start,
    /// How its memory gets into a snapshot; `None`: the first [`Transport`] that this QEMU has.
    pub transport: Option<Transport>,
    /// Most guests at once on this machine, of all processes that use the cache; further ones wait. `None`: as many
    /// as it has CPUs.
    pub jobs: Option<NonZeroUsize>,
    /// Appended to QEMU's command line.
    pub qemu_arguments: Vec<OsString>,
    /// An interactive shell on the serial console, which [`super::Guest::take_console`] hands over.
    pub shell: bool,
    /// How long things may take.
    pub deadlines: Deadlines,
    /// Where the traces go.
    pub evidence: EvidenceOptions,
}

impl Default for GuestOptions {
    fn default() -> Self {
        Self {
            board: Default::default(),
            memory: 256 << 20,
            low_memory: None,
            cpus: 2,
            cards: Vec::new(),
            spare_ports: 0,
            preload: Vec::new(),
            archives: Vec::new(),
            drivers: Vec::new(),
            pool: PoolOptions::default(),
            fragment: None,
            watch: Vec::new(),
            watch_from_boot: false,
            iommu: Iommu::default(),
            witness: false,
            watch_cpu: false,
            explored: false,
            journal: CAPACITY,
            append: String::new(),
            loud: false,
            warnings: false,
            engine: Engine::Tcg,
            start: Start::default(),
            transport: None,
            jobs: None,
            qemu_arguments: Vec::new(),
            shell: false,
            deadlines: Deadlines::default(),
            evidence: EvidenceOptions::default(),
        }
    }
}

impl GuestOptions {
    /// What card `index` of its has beyond its function.
    pub(crate) fn card_options(&self, index: usize) -> landfall_device::serve::Options {
        landfall_device::serve::Options {
            place: u32::try_from(index).unwrap_or(u32::MAX),
            witness: self.witness,
            journal: self.journal,
            ..landfall_device::serve::Options::default()
        }
    }

    /// Checks what can be checked before anything boots.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn check(&self) -> Result<(), String> {
        if self.low_memory.is_some() && !self.board.can_split() {
            return Err(format!(
                "guests of {} have their memory in one piece: none of it can be moved above 4 GiB (--low-memory)",
                self.board.architecture
            ));
        }
        if matches!(self.pool.carveout, Carveout::Hole(_)) && !self.board.has_holes {
            return Err(format!(
                "kernels for {} leave no hole in memory: they have no `memmap=`; a carve-out at its end can be had",
                self.board.architecture
            ));
        }
        self.pool.check(&self.ram())?;
        if self.watch_cpu && !self.witness {
            return Err("what is lent to a card, and so which accesses of the CPU's matter, the witness tells, and there is to be none".to_owned());
        }
        if self.explored && (self.cpus, self.cards.len()) != (1, 1) {
            return Err("orders are those of one card and one CPU".to_owned());
        }
        if self.fragment.is_some_and(|order| order > MAX_FRAGMENT) {
            return Err(format!(
                "memory is fragmented to an order of 0 to {MAX_FRAGMENT}"
            ));
        }
        if self.watch_from_boot && !self.pool.source.is_kept_at_boot() {
            return Err(format!(
                "memory of the source {} is the kernel's until the pool is loaded: only reserve and carveout can be watched from boot",
                self.pool.source
            ));
        }
        let ram = self.ram();
        let outside = |range: &&Range<u64>| {
            !ram.iter()
                .any(|ram| ram.phys <= range.start && range.end <= ram.phys + ram.length)
        };
        match self.watch.iter().find(outside) {
            Some(range) => Err(format!(
                "{:#x} to {:#x} is not all RAM, and cannot be watched",
                range.start, range.end
            )),
            None => Ok(()),
        }
    }

    /// Where its RAM lies, ascending.
    pub fn ram(&self) -> Vec<Ram> {
        self.board.ram(self.memory, self.low_memory)
    }

    /// What is watched from boot and known before.
    pub(crate) fn watched(&self) -> Vec<Range<u64>> {
        let carved = self.pool.carved(&self.ram());
        carved.into_iter().chain(self.watch.clone()).collect()
    }

    /// What goes on the kernel's command line besides the tuning.
    pub(crate) fn kernel_arguments(&self) -> String {
        let pool = self.pool.boot_option(self.board, &self.ram());
        // `reserve_mem=` takes the top of what there is, and firmware may have written there before the kernel began.
        let reserve = self.watch_from_boot && self.pool.source == PoolSource::Reserve;
        let limit =
            reserve.then(|| format!("mem={}K", (top(&self.ram()) - start(&self.ram())) >> 10));
        let own = (!self.append.is_empty()).then(|| self.append.clone());
        let words: Vec<_> = pool.into_iter().chain(limit).chain(own).collect();
        words.join(" ")
    }

    /// The pool, with its parameters.
    pub(crate) fn pool_module(&self) -> Module {
        Module {
            name: super::POOL_MODULE.to_owned(),
            parameters: self.pool.module_parameters(&self.ram()),
        }
    }

    /// Witness, fragmenter, pool and drivers, with the parameters that these options come to; in the order of loading.
    pub(crate) fn modules(&self) -> Vec<Module> {
        let module = |name: &str, parameters| Module {
            name: name.to_owned(),
            parameters,
        };
        let witness = self
            .witness
            .then(|| module(super::WITNESS_MODULE, String::new()));
        let fragment = self
            .fragment
            .map(|order| module(super::FRAGMENT_MODULE, format!("order={order}")));
        let before = witness.into_iter().chain(fragment);
        let before = before.chain([self.pool_module()]);
        before.chain(self.drivers.iter().cloned()).collect()
    }
}

/// Largest order that leaves something to take: the page allocator's largest is 10.
const MAX_FRAGMENT: u32 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_witness_comes_first_and_the_fragmenter_before_the_pool() {
        let options = GuestOptions {
            witness: true,
            fragment: Some(3),
            drivers: vec![Module {
                name: "a_driver".to_owned(),
                parameters: String::new(),
            }],
            ..GuestOptions::default()
        };
        let modules: Vec<_> = options
            .modules()
            .into_iter()
            .map(|module| module.name)
            .collect();
        assert_eq!(
            modules,
            [
                "landfall_witness",
                "landfall_fragment",
                "landfall_pool",
                "a_driver"
            ]
        );
    }

    #[test]
    fn what_cannot_be_watched_or_fragmented_is_refused() {
        let refused = |change: &dyn Fn(&mut GuestOptions)| {
            let mut options = GuestOptions::default();
            change(&mut options);
            options.check().unwrap_err()
        };

        assert_eq!(GuestOptions::default().check(), Ok(()));
        assert!(refused(&|options| options.fragment = Some(10)).contains("0 to 9"));
        assert!(refused(&|options| options.watch_cpu = true).contains("the witness tells"));
        assert!(refused(&|options| options.explored = true).contains("one card and one CPU"));
        assert!(refused(&|options| options.watch.push(0..1 << 40)).contains("not all RAM"));
        let contig = |options: &mut GuestOptions| {
            options.watch_from_boot = true;
            options.pool.source = PoolSource::Contig;
        };
        assert!(refused(&contig).contains("reserve and carveout"));
    }
}
