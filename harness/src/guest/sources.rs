// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where the pool gets its memory, and what boot options and module parameters that takes.

use std::ops::Range;

use super::board::Board;
use crate::guest::memory::Ram;

/// Bytes at the top of RAM below 4 GiB that firmware writes to: SeaBIOS has its tables in the last 16 MiB, where QEMU
/// puts the initial file system too, and right below them what it needs until the kernel starts.
pub const FIRMWARE: u64 = 32 << 20;
/// On a PC Linux keeps everybody out behind the end of RAM up to the next multiple of this ("RAM buffer"), so that `mem=` has
/// to name a multiple of it.
pub const MEM_UNIT: u64 = 64 << 20;
/// CMA areas begin and end at multiples of this.
const CMA_UNIT: u64 = 4 << 20;
const PAGE: u64 = 4096;
/// Name under which the pool finds its reserved memory.
const RESERVE_NAME: &str = "landfall";

/// Where the pool gets its memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PoolSource {
    /// Reserved at boot by `reserve_mem=`; at the top of RAM.
    #[default]
    Reserve,
    /// Kept from the kernel at boot by `mem=` or `memmap=`; see [`Carveout`].
    Carveout,
    /// The kernel's area for DMA, kept free of what cannot be moved by `cma=`.
    Cma,
    /// The kernel's `alloc_contig_pages`, when the module loads.
    Contig,
    /// The page allocator's largest blocks, until neighbours make a run that is long enough.
    Cluster,
    /// Single pages, among which a run is found in a bitmap.
    Bitmap,
    /// A block of the page allocator, its tail given back.
    Exact,
    /// A block of the page allocator: at most 4 MiB in one piece.
    Buddy,
    /// Single pages, wherever they lie.
    Pages,
    /// Blocks of `2^order` pages, wherever they lie; `order` is a parameter of the module.
    Order,
    /// Objects of a slab cache.
    Slab,
    /// `kmalloc`.
    Kmalloc,
    /// `vmalloc`, 16 pages at a time.
    Vmalloc,
}

impl PoolSource {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Reserve,
        Self::Carveout,
        Self::Cma,
        Self::Contig,
        Self::Cluster,
        Self::Bitmap,
        Self::Exact,
        Self::Buddy,
        Self::Pages,
        Self::Order,
        Self::Slab,
        Self::Kmalloc,
        Self::Vmalloc,
    ];

    /// Its name, as the module and the command take it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reserve => "reserve",
            Self::Carveout => "carveout",
            Self::Cma => "cma",
            Self::Contig => "contig",
            Self::Cluster => "cluster",
            Self::Bitmap => "bitmap",
            Self::Exact => "exact",
            Self::Buddy => "buddy",
            Self::Pages => "pages",
            Self::Order => "order",
            Self::Slab => "slab",
            Self::Kmalloc => "kmalloc",
            Self::Vmalloc => "vmalloc",
        }
    }

    /// Whether its memory is never the page allocator's: it was kept back when the kernel booted.
    pub const fn is_kept_at_boot(self) -> bool {
        matches!(self, Self::Reserve | Self::Carveout)
    }

    /// Whether its memory may be in several pieces. Such a pool has no guard pages: its pieces may be of one page.
    pub const fn is_scattered(self) -> bool {
        matches!(self, Self::Pages | Self::Order | Self::Slab | Self::Vmalloc)
    }

    /// Most bytes that it gives in one piece; `None`: no limit of its own.
    pub const fn most(self) -> Option<u64> {
        match self {
            Self::Buddy | Self::Exact | Self::Kmalloc => Some(4 << 20),
            _ => None,
        }
    }
}

impl std::fmt::Display for PoolSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// Which part of RAM [`PoolSource::Carveout`] keeps from the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Carveout {
    /// The top, by `mem=`, which takes a multiple of 64 MiB: what is between that and the carve-out is lost. Below 4 GiB
    /// the last 32 MiB stay out of it: firmware writes there.
    #[default]
    Top,
    /// A hole that begins at this physical address, a multiple of the page size, by `memmap=`.
    Hole(u64),
}

/// The memory pool that capture buffers come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// Where it gets its memory.
    pub source: PoolSource,
    /// Bytes; a multiple of the page size.
    pub size: u64,
    /// Where a carve-out lies; not for other sources.
    pub carveout: Carveout,
    /// Highest address it may use, as a number of bits; `None`: wherever. Not for `reserve` and `carveout`, which lie
    /// where they lie.
    pub address_bits: Option<u32>,
    /// More parameters for the module, as on insmod's command line. They win over those that these options come to:
    /// `source=contig,buddy` is a list to fall back along.
    pub parameters: String,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            source: PoolSource::Reserve,
            size: 48 << 20,
            carveout: Carveout::Top,
            address_bits: None,
            parameters: String::new(),
        }
    }
}

impl PoolOptions {
    /// A carve-out of `size` bytes.
    pub fn carved_out(size: u64, carveout: Carveout) -> Self {
        Self {
            source: PoolSource::Carveout,
            size,
            carveout,
            ..Self::default()
        }
    }

    /// The physical addresses of the carve-out in a guest with that RAM; `None` for other sources.
    pub fn carved(&self, ram: &[Ram]) -> Option<Range<u64>> {
        if self.source != PoolSource::Carveout || self.size == 0 {
            return None;
        }
        let start = match self.carveout {
            Carveout::Top => top(ram).saturating_sub(self.size),
            Carveout::Hole(start) => start,
        };
        Some(start..start.saturating_add(self.size))
    }

    /// Checks that the carve-out can be.
    ///
    /// # Errors
    /// Why not, in words.
    pub(super) fn check(&self, ram: &[Ram]) -> Result<(), String> {
        let Some(range) = self.carved(ram) else {
            return Ok(());
        };
        if range.start % PAGE != 0 || range.end % PAGE != 0 {
            return Err(format!(
                "a carve-out of whole pages is needed, and {:#x} to {:#x} is none",
                range.start, range.end
            ));
        }
        let fits = |ram: &Ram| ram.phys <= range.start && range.end <= ram.phys + ram.length;
        match ram.iter().any(fits) {
            true => Ok(()),
            false => Err(format!(
                "a carve-out of {} MiB at {:#x} does not fit into RAM, which lies at {}",
                self.size >> 20,
                range.start,
                runs(ram)
            )),
        }
    }

    /// The boot option that the source needs.
    pub(super) fn boot_option(&self, board: &Board, ram: &[Ram]) -> Option<String> {
        if self.size == 0 {
            return None;
        }
        match self.source {
            PoolSource::Reserve => Some(format!("reserve_mem={}:4096:{RESERVE_NAME}", self.size)),
            PoolSource::Cma => {
                // One unit more: others may have a page of the area when the pool asks.
                let size = self.size.next_multiple_of(CMA_UNIT) + CMA_UNIT;
                let below = match self.address_bits {
                    Some(bits @ 0..64) => format!("@0-{}M", 1_u64 << bits >> 20),
                    _ => String::new(),
                };
                Some(format!("cma={}M{below}", size >> 20))
            }
            PoolSource::Carveout => self.carved(ram).map(|range| match self.carveout {
                Carveout::Top => {
                    let kept = range.start.saturating_sub(start(ram));
                    let unit = board.mem_unit;
                    format!("mem={}M", (kept / unit * unit) >> 20)
                }
                Carveout::Hole(start) => format!("memmap={}K${}K", self.size >> 10, start >> 10),
            }),
            _ => None,
        }
    }

    /// Parameters for the pool module.
    pub(super) fn module_parameters(&self, ram: &[Ram]) -> String {
        let mut words = vec![format!("source={}", self.source)];
        if self.source != PoolSource::Reserve {
            words.push(format!("pages={}", self.size.div_ceil(PAGE)));
        }
        if let Some(range) = self.carved(ram) {
            words.push(format!("carveout_base={:#x}", range.start));
        }
        if let (Some(bits), false) = (self.address_bits, self.source.is_kept_at_boot()) {
            words.push(format!("address_bits={bits}"));
        }
        if self.source.is_scattered() {
            words.push("guard_pages=0".to_owned());
        }
        if !self.parameters.is_empty() {
            words.push(self.parameters.clone());
        }
        words.join(" ")
    }
}

/// Where RAM ends that only the kernel writes to.
pub(super) fn top(ram: &[Ram]) -> u64 {
    match ram {
        [low] => low.phys + low.length.saturating_sub(FIRMWARE),
        [.., high] => high.phys + high.length,
        [] => 0,
    }
}

/// Where RAM begins.
pub(super) fn start(ram: &[Ram]) -> u64 {
    ram.first().map_or(0, |ram| ram.phys)
}

/// Where RAM lies, for a person.
fn runs(ram: &[Ram]) -> String {
    let runs = ram.iter().map(|ram| {
        let range = ram.range();
        format!("{:#x} to {:#x}", range.start, range.end)
    });
    runs.collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    fn layout(memory: u64, low: Option<u64>) -> Vec<Ram> {
        <&Board>::default().ram(memory, low)
    }

    fn both(pool: &PoolOptions, memory: u64) -> (String, String) {
        let ram = layout(memory, None);
        let boot = pool
            .boot_option(Default::default(), &ram)
            .unwrap_or_default();
        (boot, pool.module_parameters(&ram))
    }

    #[test]
    fn the_reserve_is_sized_on_the_kernels_command_line_and_others_by_the_module() {
        let mut pool = PoolOptions::default();
        assert_eq!(
            both(&pool, 256 * MIB),
            (
                "reserve_mem=50331648:4096:landfall".to_owned(),
                "source=reserve".to_owned()
            )
        );

        pool.source = PoolSource::Contig;
        pool.address_bits = Some(32);
        assert_eq!(
            both(&pool, 256 * MIB),
            (
                String::new(),
                "source=contig pages=12288 address_bits=32".to_owned()
            )
        );
    }

    #[test]
    fn cma_gets_an_area_that_is_large_enough_and_low_enough() {
        let mut pool = PoolOptions {
            source: PoolSource::Cma,
            size: 33 * MIB,
            ..PoolOptions::default()
        };
        assert_eq!(both(&pool, GIB).0, "cma=40M");
        pool.address_bits = Some(32);
        assert_eq!(both(&pool, GIB).0, "cma=40M@0-4096M");
    }

    #[test]
    fn a_carve_out_is_told_to_kernel_and_module_alike() {
        let hole = PoolOptions::carved_out(2 * MIB, Carveout::Hole(14 * MIB));
        assert_eq!(
            both(&hole, 256 * MIB),
            (
                "memmap=2048K$14336K".to_owned(),
                "source=carveout pages=512 carveout_base=0xe00000".to_owned()
            )
        );

        let low = PoolOptions::carved_out(32 * MIB, Carveout::Top);
        assert_eq!(
            low.carved(&layout(256 * MIB, None)),
            Some(192 * MIB..224 * MIB)
        );
        assert_eq!(both(&low, 256 * MIB).0, "mem=192M");
        assert_eq!(
            low.carved(&layout(4 * GIB, None)),
            Some(6 * GIB - 32 * MIB..6 * GIB),
            "above 4 GiB nothing else is at the top"
        );
        let odd = PoolOptions::carved_out(33 * MIB, Carveout::Top);
        assert_eq!(
            odd.carved(&layout(256 * MIB, None)),
            Some(191 * MIB..224 * MIB)
        );
        assert_eq!(both(&odd, 256 * MIB).0, "mem=128M");
    }

    #[test]
    fn a_carve_out_that_is_not_ram_is_refused() {
        let at = |size, start| PoolOptions::carved_out(size, Carveout::Hole(start));

        assert_eq!(at(MIB, GIB).check(&layout(4 * GIB, None)), Ok(()));
        for (size, start) in [
            (MIB, 3 * GIB),
            (2 * MIB, 2 * GIB - MIB),
            (MIB, u64::MAX - 4095),
        ] {
            assert!(
                at(size, start).check(&layout(4 * GIB, None)).is_err(),
                "{start:#x}"
            );
        }
        assert!(
            at(MIB, 100)
                .check(&layout(4 * GIB, None))
                .unwrap_err()
                .contains("whole pages")
        );
        let top = PoolOptions::carved_out(GIB, Carveout::Top);
        assert!(
            top.check(&layout(256 * MIB, None))
                .unwrap_err()
                .contains("does not fit")
        );
    }

    #[test]
    fn scattered_memory_has_no_guard_pages() {
        let pool = PoolOptions {
            source: PoolSource::Vmalloc,
            size: MIB,
            parameters: "order=2".to_owned(),
            ..PoolOptions::default()
        };
        assert_eq!(
            pool.module_parameters(&layout(GIB, None)),
            "source=vmalloc pages=256 guard_pages=0 order=2"
        );
    }
}
