// SPDX-License-Identifier: MIT OR Apache-2.0

//! The ways to get memory in the kernel, and what is known of each without measuring.

use serde::{Serialize, Serializer};

use landfall::guest::memory::Ram;
use landfall::guest::{Carveout, MEM_UNIT, PoolOptions};

const MIB: u64 = 1 << 20;
/// Where the hole lies that a card with 24 address bits reaches: below 16 MiB, above what the kernel needs there.
pub(super) const LOW_HOLE: u64 = 8 * MIB;
/// Its size.
pub(super) const LOW_HOLE_BYTES: u64 = 8 * MIB;
/// Order of the blocks of [`Method::Order`].
pub(super) const ORDER: u32 = 4;

/// A way to get memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "`Method::call` says what each is")]
pub enum Method {
    Kmalloc,
    Slab,
    Pages,
    Order,
    Vmalloc,
    Buddy,
    Exact,
    Contig,
    Cluster,
    Bitmap,
    Hugetlb,
    Cma,
    Reserve,
    Mem,
    Memmap,
}

/// When a way is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// The machine has to be booted for it.
    Boot,
    /// Whenever.
    AnyTime,
}

impl Method {
    /// All, those of the running kernel first.
    pub const ALL: [Self; 15] = [
        Self::Kmalloc,
        Self::Slab,
        Self::Pages,
        Self::Order,
        Self::Vmalloc,
        Self::Buddy,
        Self::Exact,
        Self::Contig,
        Self::Cluster,
        Self::Bitmap,
        Self::Hugetlb,
        Self::Cma,
        Self::Reserve,
        Self::Mem,
        Self::Memmap,
    ];

    /// Its name, as the command takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kmalloc => "kmalloc",
            Self::Slab => "slab",
            Self::Pages => "pages",
            Self::Order => "order",
            Self::Vmalloc => "vmalloc",
            Self::Buddy => "buddy",
            Self::Exact => "exact",
            Self::Contig => "contig",
            Self::Cluster => "cluster",
            Self::Bitmap => "bitmap",
            Self::Hugetlb => "hugetlb",
            Self::Cma => "cma",
            Self::Reserve => "reserve",
            Self::Mem => "mem",
            Self::Memmap => "memmap",
        }
    }

    /// The pool's source for it; `None` for what only a process can have.
    pub const fn source(self) -> Option<&'static str> {
        match self {
            Self::Mem | Self::Memmap => Some("carveout"),
            Self::Hugetlb => None,
            other => Some(other.name()),
        }
    }

    /// The call, or the boot option, that it is.
    pub const fn call(self) -> &'static str {
        match self {
            Self::Kmalloc => "kmalloc",
            Self::Slab => "kmem_cache_alloc, objects of a page",
            Self::Pages => "alloc_page, page by page",
            Self::Order => "alloc_pages of order 4, block by block",
            Self::Vmalloc => "vmalloc, 16 pages at a time",
            Self::Buddy => "alloc_pages, one block",
            Self::Exact => "alloc_pages, one block, its tail returned",
            Self::Contig => "alloc_contig_pages",
            Self::Cluster => "alloc_pages of the largest order, merged",
            Self::Bitmap => "alloc_page, a run found by bitmap",
            Self::Hugetlb => "mmap MAP_HUGETLB, pinned",
            Self::Cma => "cma= and cma_alloc",
            Self::Reserve => "reserve_mem=",
            Self::Mem => "mem=, the top of RAM",
            Self::Memmap => "memmap=size$address, a hole",
        }
    }

    /// When it is open.
    pub const fn when(self) -> When {
        match self {
            Self::Cma | Self::Reserve | Self::Mem | Self::Memmap => When::Boot,
            _ => When::AnyTime,
        }
    }

    /// How it is freed.
    pub const fn freed_by(self) -> &'static str {
        match self {
            Self::Kmalloc => "kfree",
            Self::Slab => "kmem_cache_free",
            Self::Pages | Self::Order | Self::Buddy => "__free_pages",
            Self::Vmalloc => "vfree",
            Self::Exact => "free_pages_exact",
            Self::Contig | Self::Cluster | Self::Bitmap => "free_contig_range",
            Self::Hugetlb => "unpin_user_pages, munmap",
            Self::Cma => "cma_release",
            Self::Reserve | Self::Mem | Self::Memmap => "not at all",
        }
    }

    /// What to boot with, so that it can give `bytes` on a machine with that RAM.
    pub(super) fn boot_option(self, ram: &[Ram], bytes: u64) -> String {
        let base = Self::carve_out(ram, bytes);
        match self {
            Self::Cma => format!("cma={bytes}"),
            Self::Reserve => format!("reserve_mem={bytes}:4096:landfall"),
            Self::Mem => {
                let start = ram.first().map_or(0, |ram| ram.phys);
                format!("mem={}", base.saturating_sub(start))
            }
            Self::Memmap => {
                format!("memmap={bytes}${base:#x} memmap={LOW_HOLE_BYTES}${LOW_HOLE:#x}")
            }
            _ => String::new(),
        }
    }

    /// Where `bytes` at the top of RAM begin.
    pub(super) fn carve_out(ram: &[Ram], bytes: u64) -> u64 {
        PoolOptions::carved_out(bytes, Carveout::Top)
            .carved(ram)
            .map_or(0, |range| range.start)
    }

    /// At most `bytes`, so many that they can be kept.
    pub(super) fn keepable(self, ram: &[Ram], bytes: u64) -> u64 {
        match self {
            Self::Mem => {
                let base = Self::carve_out(ram, bytes);
                bytes.saturating_sub(base.next_multiple_of(MEM_UNIT) - base)
            }
            _ => bytes / (4 * MIB) * (4 * MIB),
        }
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for Method {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|method| method.name() == given);
        found.ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|method| method.name()).collect();
            format!("{given:?} is no method; there are: {}", names.join(", "))
        })
    }
}

impl Serialize for Method {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use landfall::guest::Board;

    use super::*;

    fn ram(memory: u64) -> Vec<Ram> {
        <&Board>::default().ram(memory, None)
    }

    #[test]
    fn names_are_read_back() {
        for method in Method::ALL {
            assert_eq!(method.name().parse(), Ok(method));
        }
        assert!(
            "malloc"
                .parse::<Method>()
                .unwrap_err()
                .contains("kmalloc, slab")
        );
    }

    #[test]
    fn a_carve_out_ends_where_the_ram_does() {
        assert_eq!(Method::carve_out(&ram(256 * MIB), 124 * MIB), 100 * MIB);
        assert_eq!(Method::carve_out(&ram(4 << 30), 1 << 30), 5 << 30);
        assert_eq!(
            Method::Memmap.boot_option(&ram(256 * MIB), 128 * MIB),
            "memmap=134217728$0x6000000 memmap=8388608$0x800000"
        );
        assert_eq!(Method::Mem.keepable(&ram(256 * MIB), 124 * MIB), 96 * MIB);
        assert_eq!(
            Method::Reserve.keepable(&ram(256 * MIB), 125 * MIB),
            124 * MIB
        );
    }
}
