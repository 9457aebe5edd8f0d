// SPDX-License-Identifier: MIT OR Apache-2.0

//! The platforms on which the same scenario is run.

use landfall_device::ledger::{Platform, Range};
use landfall_guest::Prepared;

use crate::guest::memory::Ram;
use crate::guest::{Board, Card, FRAGMENT_MODULE, GuestOptions, Iommu, Module, WITNESS_MODULE};

const MIB: u64 = 1 << 20;

/// A platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Leg {
    /// Nothing between card and memory.
    Plain,
    /// An IOMMU that is used strictly.
    Iommu,
    /// An IOMMU that is used lazily.
    IommuLazy,
    /// Every streaming mapping goes through a bounce buffer (`swiotlb=force`).
    Swiotlb,
    /// Most memory lies above 4 GiB.
    High,
    /// No free block of more than 16 pages is left.
    Fragmented,
    /// A kernel with dma-debug, KASAN, lockdep and KFENCE.
    Debug,
    /// Nothing between card and memory, and what the CPUs do with memory that is a card's is judged, too.
    Cpu,
}

impl Leg {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Plain,
        Self::Iommu,
        Self::IommuLazy,
        Self::Swiotlb,
        Self::High,
        Self::Fragmented,
        Self::Debug,
        Self::Cpu,
    ];

    /// Its name on command lines and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Iommu => "iommu",
            Self::IommuLazy => "iommu-lazy",
            Self::Swiotlb => "swiotlb",
            Self::High => "high",
            Self::Fragmented => "fragmented",
            Self::Debug => "debug",
            Self::Cpu => "cpu",
        }
    }

    /// What its guests are made of; `None`: there is no debug kernel.
    pub fn prepared<'a>(
        self,
        stock: &'a Prepared,
        debug: Option<&'a Prepared>,
    ) -> Option<&'a Prepared> {
        match self {
            Self::Debug => debug,
            _ => Some(stock),
        }
    }

    /// A guest of that set-up on this platform, with these cards and the witness.
    pub fn guest(self, prepared: &Prepared, cards: Vec<Card>) -> GuestOptions {
        self.of(GuestOptions {
            board: Board::of_set_up(prepared),
            cards,
            ..GuestOptions::default()
        })
    }

    /// Likewise, a guest that is otherwise so, and on the board that these options name; what it preloads comes after the witness.
    pub fn of(self, mut options: GuestOptions) -> GuestOptions {
        options.witness = true;
        // The console is evidence: what the kernel warns of must be on it.
        options.loud = true;
        options.preload.insert(0, Module::named(WITNESS_MODULE));
        let mut append = |word: &str| {
            options.append = format!("{word} {}", options.append).trim().to_owned();
        };
        match self {
            Self::Plain | Self::Fragmented => {}
            Self::Iommu => {
                options.iommu = Iommu::Strict;
                // Bus addresses with upper bits, which a card can get wrong.
                append("iommu.forcedac=1");
            }
            Self::IommuLazy => options.iommu = Iommu::Lazy,
            Self::Swiotlb => append("swiotlb=force"),
            Self::High => {
                (options.memory, options.low_memory) =
                    options.board.high(options.memory.max(320 * MIB));
            }
            // Its kernel is another one; KASAN takes an eighth of the memory.
            Self::Debug => options.memory = options.memory.max(512 * MIB),
            Self::Cpu => options.watch_cpu = true,
        }
        if let Some(order) = self.fragment() {
            let parameters = format!("order={order}");
            let name = FRAGMENT_MODULE.to_owned();
            options.preload.insert(0, Module { name, parameters });
        }
        options
    }

    /// What the ledger is told of it. Behind an IOMMU bus addresses are not those of memory.
    pub fn platform(self, ram: &[Ram]) -> Platform {
        let iommu = matches!(self, Self::Iommu | Self::IommuLazy);
        let ram = ram.iter().map(|ram| Range {
            start: ram.phys,
            length: ram.length,
        });
        Platform {
            ram: if iommu { Vec::new() } else { ram.collect() },
            iommu,
            ..Platform::default()
        }
    }

    /// The order of the largest free blocks, where memory is fragmented first.
    pub const fn fragment(self) -> Option<u32> {
        match self {
            Self::Fragmented => Some(4),
            _ => None,
        }
    }
}

impl std::fmt::Display for Leg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for Leg {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|leg| leg.name() == given);
        known.ok_or_else(|| format!("choose one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}
