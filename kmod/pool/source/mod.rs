// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Where a region's memory comes from, and how it goes back.
//!
//! | source | when | what | goes back |
//! |---|---|---|---|
//! | `reserve` | boot | `reserve_mem=`: any size, where the kernel likes | never |
//! | `carveout` | boot | `mem=`, `memmap=`: any size, at an address of one's own choice | never |
//! | `cma` | boot | `cma=`: any page count of an area that movable pages use meanwhile | yes |
//! | `contig` | any time | `alloc_contig_pages`: any page count, others are moved away | yes |
//! | `cluster` | any time | largest blocks of the page allocator, merged | yes |
//! | `bitmap` | any time | single pages; the run is found in a bitmap of them | yes |
//! | `exact` | any time | one block, its tail returned: at most the largest order | yes |
//! | `buddy` | any time | one block: powers of two, at most the largest order | yes |
//! | `hugetlb` | any time | a process's huge pages, pinned (`uapi::ADOPT`): huge pages cannot be had by a module | yes |
//! | `kmalloc` | any time | as `buddy`, by way of the slab allocator | yes |
//! | `pages`, `order`, `slab`, `vmalloc` | any time | scattered pages, as a contrast | yes |

mod boot;
pub(crate) mod gather;
mod scattered;
mod whole;

use super::lend::Access;
use super::shim::{self, Carveout, Piece, Pinned, Slab, Vmalloc, PAGE};
use super::uapi::Taken;
use core::ptr::NonNull;
use kernel::{
    bindings,
    prelude::*,
    time::{Instant, Monotonic},
};

/// The order of the largest block there is.
pub(crate) const MAX_ORDER: u32 = bindings::MAX_PAGE_ORDER;
/// Pages that a source without a natural size takes if none are asked for: 16 MiB.
const DEFAULT_PAGES: u64 = 4096;

/// What is asked of a source.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    /// Pages; `None`: as the source likes.
    pub(crate) pages: Option<u64>,
    /// Every byte lies below `2^address_bits`.
    pub(crate) address_bits: u32,
}

impl Wanted {
    fn pages_or(&self, default: u64) -> u64 {
        self.pages.unwrap_or(default)
    }
}

/// Memory that belongs to the pool until this is dropped.
pub(crate) struct Memory {
    /// The source's name.
    pub(crate) source: &'static str,
    /// How it went; base and span are the region's.
    pub(crate) taken: Taken,
    /// What lies in the span and is not the pool's, as (physical address, bytes), ascending.
    pub(crate) holes: VVec<(u64, u64)>,
    /// Where the kernel sees the base; the rest of the span follows.
    virt: NonNull<u64>,
    backing: Backing,
}

// SAFETY: memory belongs to no thread; access to it is the pool's matter.
unsafe impl Send for Memory {}

/// What has to go back. Each gives itself back when it is dropped.
enum Backing {
    /// Nothing: kept at boot.
    Kept,
    Carveout(#[expect(dead_code, reason = "held to be dropped")] Carveout),
    Piece(#[expect(dead_code, reason = "held to be dropped")] Piece),
    Pieces(#[expect(dead_code, reason = "held to be dropped")] VVec<Piece>),
    Slab(#[expect(dead_code, reason = "held to be dropped")] Slab),
    Vmalloc(#[expect(dead_code, reason = "held to be dropped")] VVec<Vmalloc>),
    Pinned(#[expect(dead_code, reason = "held to be dropped")] Pinned),
}

impl Memory {
    /// Takes memory of the source of that name, or says why not, and what to pass instead. May sleep, and take
    /// long.
    pub(crate) fn take(name: &[u8], wanted: &Wanted) -> Result<Self> {
        if wanted.pages == Some(0) {
            pr_err!("pages must be 1 or more: pass a number of pages, or none for the source's default\n");
            return Err(EINVAL);
        }
        if !(12..=64).contains(&wanted.address_bits) {
            pr_err!("address_bits={} is not 12 to 64\n", wanted.address_bits);
            return Err(EINVAL);
        }
        let begun = Instant::<Monotonic>::now();
        let mut memory = match name {
            b"reserve" => boot::reserve(wanted)?,
            b"carveout" => boot::carveout(wanted)?,
            b"cma" => whole::cma(wanted)?,
            b"contig" => whole::contig(wanted)?,
            b"cluster" => gather::cluster(wanted)?,
            b"bitmap" => gather::bitmap(wanted)?,
            b"exact" => whole::exact(wanted)?,
            b"buddy" => whole::buddy(wanted)?,
            b"kmalloc" => whole::kmalloc(wanted)?,
            b"pages" => scattered::blocks(wanted, "pages", 0)?,
            b"order" => scattered::order(wanted)?,
            b"slab" => scattered::slab(wanted)?,
            b"vmalloc" => scattered::vmalloc(wanted)?,
            _ => {
                pr_err!(
                    "source={} is not known: pass reserve, carveout, cma, contig, cluster, bitmap, exact, buddy, kmalloc, pages, order, slab or vmalloc\n",
                    super::listing::Word(name)
                );
                return Err(EINVAL);
            }
        };
        memory.taken.take_ns = u64::try_from(begun.elapsed().as_nanos())?;
        memory.below(wanted.address_bits)
    }

    /// Pins memory that the calling process has mapped, if it is physically in one piece.
    pub(crate) fn adopt(address: u64, bytes: u64) -> Result<Self> {
        if bytes == 0 || bytes % PAGE != 0 || address % PAGE != 0 {
            return Err(EINVAL);
        }
        let begun = Instant::<Monotonic>::now();
        let pages = bytes / PAGE;
        let pinned = Pinned::new(address, pages)?;
        let first = pinned.pages().next().ok_or(EINVAL)?;
        let in_a_row = pinned.pages().zip((first..).step_by(PAGE as usize));
        if let Some((phys, wanted)) = in_a_row.into_iter().find(|(phys, wanted)| phys != wanted) {
            pr_err!(
                "{:#x}, {} bytes of a process, is not in one piece: after {:#x} comes {:#x}\n",
                address,
                bytes,
                wanted.wrapping_sub(PAGE),
                phys
            );
            return Err(ERANGE);
        }
        let mut memory = Self::whole("hugetlb", first, pages, 0, Backing::Pinned(pinned))?;
        memory.taken.take_ns = u64::try_from(begun.elapsed().as_nanos())?;
        Ok(memory)
    }

    /// Where the kernel sees it, and how.
    pub(crate) fn access(&self) -> Access {
        Access {
            base: self.taken.base,
            virt: self.virt,
            known: !matches!(self.backing, Backing::Carveout(_)),
        }
    }

    /// Whether the kernel gets it back when this is dropped.
    pub(crate) fn goes_back(&self) -> bool {
        !matches!(self.backing, Backing::Kept | Backing::Carveout(_))
    }

    /// `pages` in one piece at `base`, of which `waste` more were taken.
    fn whole(
        source: &'static str,
        base: u64,
        pages: u64,
        waste: u64,
        backing: Backing,
    ) -> Result<Self> {
        let bytes = pages.checked_mul(PAGE).ok_or(EOVERFLOW)?;
        base.checked_add(bytes).ok_or(EOVERFLOW)?;
        let Some(virt) = shim::direct_map(base, bytes) else {
            pr_err!(
                "{:#x}, {} bytes from source={} is not all mapped RAM\n",
                base,
                bytes,
                source
            );
            return Err(ENXIO);
        };
        let taken = Taken {
            base,
            span: bytes,
            pages,
            waste,
            pieces: 1,
            longest: pages,
            touched: pages.saturating_add(waste),
            take_ns: 0,
        };
        Ok(Memory {
            source,
            taken,
            holes: VVec::new(),
            virt,
            backing,
        })
    }

    /// One piece, of which `pages` are wanted.
    fn piece(source: &'static str, piece: Piece, pages: u64) -> Result<Self> {
        let waste = piece.pages().saturating_sub(pages);
        if waste > 0 {
            pr_info!(
                "source={}: {} of {} pages are not used\n",
                source,
                waste,
                piece.pages()
            );
        }
        Self::whole(source, piece.phys(), pages, waste, Backing::Piece(piece))
    }

    /// Refuses memory that passes the address limit: never another than was asked for.
    fn below(self, address_bits: u32) -> Result<Self> {
        let Taken { base, span, .. } = self.taken;
        let last = base.saturating_add(span.saturating_sub(1));
        if last >> (address_bits - 1) > 1 {
            pr_err!(
                "source={} gave {:#x}..{:#x}, which passes address_bits={}\n",
                self.source,
                base,
                last,
                address_bits
            );
            return Err(ERANGE);
        }
        Ok(self)
    }
}
