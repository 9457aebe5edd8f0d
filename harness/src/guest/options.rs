// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a guest is to be.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use landfall_device::devices::capture::{CaptureCard, CaptureOptions};
use landfall_device::devices::template::Scratch;
use landfall_device::function::{Function, InterruptKind};

use crate::qemu::command::Engine;

/// A card to plug in.
#[derive(Clone, Debug)]
pub enum CardKind {
    /// The capture card.
    Capture(CaptureOptions),
    /// The template device: registers only.
    Template,
}

impl CardKind {
    /// Names of all kinds, as the command takes them.
    pub const NAMES: [&'static str; 2] = ["capture", "template"];

    /// Makes the card.
    pub(crate) fn function(&self) -> Box<dyn Function> {
        match self {
            Self::Capture(options) => Box::new(CaptureCard::new(options.clone())),
            Self::Template => Box::<Scratch>::default(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Capture(_) => "capture",
            Self::Template => "template",
        }
    }
}

/// Where the pool gets its memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PoolSource {
    /// Reserved at boot by `reserve_mem=`; at the top of RAM.
    #[default]
    Reserve,
    /// The kernel's `alloc_contig_pages`, when the module loads.
    Contig,
    /// The page allocator: at most 4 MiB in one piece.
    Buddy,
}

impl PoolSource {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Reserve, Self::Contig, Self::Buddy];

    /// Its name, as the module and the command take it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reserve => "reserve",
            Self::Contig => "contig",
            Self::Buddy => "buddy",
        }
    }
}

impl std::fmt::Display for PoolSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// The memory pool that capture buffers come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// Where it gets its memory.
    pub source: PoolSource,
    /// Bytes; a multiple of the page size.
    pub size: u64,
    /// Highest address it may use, as a number of bits; `None`: wherever. Not for `reserve`.
    pub address_bits: Option<u32>,
    /// More parameters for the module, as on insmod's command line.
    pub parameters: String,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            source: PoolSource::Reserve,
            size: 48 << 20,
            address_bits: None,
            parameters: String::new(),
        }
    }
}

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
    /// time ([`crate::qemu::tuning`]).
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

/// Which engine to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accelerator {
    /// KVM if a guest really boots under it, else TCG; see [`crate::accelerator::choose`].
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

/// What a guest is to be. Start from [`GuestOptions::default`], which has one capture card in 256 MiB.
#[derive(Clone, Debug)]
pub struct GuestOptions {
    /// Bytes of memory.
    pub memory: u64,
    /// Virtual CPUs.
    pub cpus: u32,
    /// What to plug in at start; card n sits in root port n.
    pub cards: Vec<CardKind>,
    /// Empty root ports behind them, for cards plugged in later.
    pub spare_ports: usize,
    /// What the capture driver is told to use; `None`: what the card has.
    pub driver_interrupt: Option<InterruptKind>,
    /// More parameters for the capture driver.
    pub driver_parameters: String,
    /// The pool.
    pub pool: PoolOptions,
    /// Leaves the guest's page allocator no free block of more than `2^fragment` pages, before the pool is loaded:
    /// 0 to 9, by the module [`super::FRAGMENT_MODULE`]. `None`: as the boot left it.
    pub fragment: Option<u32>,
    /// An Intel IOMMU in front of the cards, used strictly.
    pub iommu: bool,
    /// Appended to the kernel's command line.
    pub append: String,
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
            memory: 256 << 20,
            cpus: 2,
            cards: vec![CardKind::Capture(CaptureOptions::default())],
            spare_ports: 0,
            driver_interrupt: None,
            driver_parameters: String::new(),
            pool: PoolOptions::default(),
            fragment: None,
            iommu: false,
            append: String::new(),
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
    /// The default with a capture card made as `card` says.
    pub fn with_card(card: CaptureOptions) -> Self {
        Self {
            cards: vec![CardKind::Capture(card)],
            ..Self::default()
        }
    }

    /// What goes on the kernel's command line besides the tuning.
    pub(crate) fn kernel_arguments(&self) -> String {
        let mut words = Vec::new();
        if self.pool.source == PoolSource::Reserve && self.pool.size > 0 {
            words.push(format!(
                "reserve_mem={}:4096:{RESERVE_NAME}",
                self.pool.size
            ));
        }
        if !self.append.is_empty() {
            words.push(self.append.clone());
        }
        words.join(" ")
    }

    /// Fragmenter, pool and capture driver, with the parameters that these options come to; in the order of loading.
    pub(crate) fn modules(&self) -> Vec<Module> {
        let module = |name: &str, parameters| Module {
            name: name.to_owned(),
            parameters,
        };
        let fragment = self
            .fragment
            .map(|order| module(super::FRAGMENT_MODULE, format!("order={order}")));
        let always = [
            module(super::POOL_MODULE, self.pool_parameters()),
            module(super::CAPTURE_MODULE, self.driver_parameters()),
        ];
        fragment.into_iter().chain(always).collect()
    }

    /// Parameters for the pool module.
    pub(crate) fn pool_parameters(&self) -> String {
        let mut words = vec![format!("source={}", self.pool.source)];
        if self.pool.source != PoolSource::Reserve {
            words.push(format!("pages={}", self.pool.size.div_ceil(4096)));
            if let Some(bits) = self.pool.address_bits {
                words.push(format!("address_bits={bits}"));
            }
        }
        if !self.pool.parameters.is_empty() {
            words.push(self.pool.parameters.clone());
        }
        words.join(" ")
    }

    /// Parameters for the capture driver.
    pub(crate) fn driver_parameters(&self) -> String {
        let mut words = Vec::new();
        let of_card = self.cards.iter().find_map(|card| match card {
            CardKind::Capture(options) => Some(options.interrupt),
            CardKind::Template => None,
        });
        if let Some(kind) = self.driver_interrupt.or(of_card) {
            let number = match kind {
                InterruptKind::Intx => 0,
                InterruptKind::Msi => 1,
                InterruptKind::Msix => 2,
            };
            words.push(format!("interrupt={number}"));
        }
        if !self.driver_parameters.is_empty() {
            words.push(self.driver_parameters.clone());
        }
        words.join(" ")
    }
}

/// Name under which the pool finds its reserved memory.
const RESERVE_NAME: &str = "landfall";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_sized_on_the_kernels_command_line_and_others_by_the_module() {
        let mut options = GuestOptions {
            append: "debug".to_owned(),
            ..GuestOptions::default()
        };
        assert_eq!(
            options.kernel_arguments(),
            "reserve_mem=50331648:4096:landfall debug"
        );
        assert_eq!(options.pool_parameters(), "source=reserve");

        options.pool.source = PoolSource::Contig;
        options.pool.address_bits = Some(32);
        assert_eq!(options.kernel_arguments(), "debug");
        assert_eq!(
            options.pool_parameters(),
            "source=contig pages=12288 address_bits=32"
        );
    }

    #[test]
    fn the_driver_uses_the_cards_interrupt_unless_told_otherwise() {
        let card = CaptureOptions {
            interrupt: InterruptKind::Msix,
            ..CaptureOptions::default()
        };
        let mut options = GuestOptions::with_card(card);
        assert_eq!(options.driver_parameters(), "interrupt=2");

        options.driver_interrupt = Some(InterruptKind::Intx);
        assert_eq!(options.driver_parameters(), "interrupt=0");
    }
}
