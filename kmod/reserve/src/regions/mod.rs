// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Several regions that buffers are lent from as if they were one.
//!
//! Zones are kept apart by the order in which regions are asked: those in the highest zone first, in one zone
//! in the order of adding, so that low memory stays for cards that reach no other. A buffer is taken back in
//! two steps, so that its bytes can be looked at and overwritten in between by nobody else:
//! [`Regions::begin_free`] makes it nobody's, [`Regions::finish_free`] makes its place free.
//!
//! # Invariants
//!
//! 1. Regions are in the order of their ids, which are never used twice.
//! 2. No page is usable in two regions. Spans may overlap where one has a hole.
//! 3. A region's `returning` counts its buffers between the two steps. Such a buffer has its place, and is
//!    in no other way there: it is not found, not listed, and a second free is refused as if it were gone.
//! 4. `lent_bytes` is the sum over the buffers that are lent and not returning.
//!
//! [`Regions::check`] tests 1 to 4, and each region's own.

mod records;

pub use self::records::{
    AddError, Counters, Listed, Range, Refused, RegionInfo, RemoveError, Zone,
};

use super::allocator::{AllocateError, Extent, FreeError, Request, Reserve, Slot};
use core::ops::DerefMut;

/// Regions that there can be at a time.
pub const MAX_REGIONS: usize = 16;

/// The tag that a region's allocator keeps with a buffer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Loan<T> {
    owner: T,
    returning: bool,
}

/// A buffer, with what the caller wants to know of its region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lent<T, V> {
    /// Which region it lies in.
    pub region: u32,
    /// Pages on each side of it that are its own.
    pub guard_pages: u64,
    /// Where it lies; the tag is its owner.
    pub extent: Extent<T>,
    /// What the caller's closure told of the region.
    pub view: V,
}

/// A buffer between the two steps of a free. Its pages and guard pages are nobody's but the holder's; dropped,
/// they stay out of use.
#[derive(Debug)]
#[must_use = "the place stays taken until `finish_free`"]
pub struct Returning<T, V>(Lent<T, V>);

impl<T, V> Returning<T, V> {
    /// What was lent.
    pub fn lent(&self) -> &Lent<T, V> {
        &self.0
    }
}

#[derive(Debug)]
struct Region<B, M> {
    id: u32,
    zone: Zone,
    pieces: u64,
    returning: usize,
    reserve: Reserve<B>,
    meta: M,
}

/// Regions and what is lent of them. `B` is each region's storage, slots of [`Loan`]s; `M` is whatever
/// belongs to a region. No call allocates, sleeps or drops a `B` or an `M`.
#[derive(Debug)]
pub struct Regions<B, M> {
    /// Without empty entries in between.
    table: [Option<Region<B, M>>; MAX_REGIONS],
    next_id: u32,
    counters: Counters,
}

impl<B, M> Regions<B, M> {
    /// No region.
    pub const fn new() -> Self {
        Regions {
            table: [const { None }; MAX_REGIONS],
            next_id: 0,
            counters: Counters {
                allocations: 0,
                failed_allocations: 0,
                frees: 0,
                refused_frees: 0,
                lent_bytes: 0,
                peak_bytes: 0,
            },
        }
    }
}

impl<B, M> Default for Regions<B, M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, B, M> Regions<B, M>
where
    T: Copy + Default + 'static,
    B: DerefMut<Target = [Slot<Loan<T>>]>,
{
    /// Adds a region, holes made and nothing lent. Returns its id.
    #[expect(
        clippy::result_large_err,
        reason = "a refused region goes back by value, since nothing is dropped under the caller's lock"
    )]
    pub fn add(&mut self, reserve: Reserve<B>, meta: M) -> Result<u32, Refused<B, M>> {
        let why = if reserve.count() > 0 {
            Some(AddError::Lent)
        } else {
            let other = self.iter().find(|other| overlap(&reserve, &other.reserve));
            other.map(|other| AddError::Overlap { id: other.id })
        };
        let place = self.table.iter_mut().find(|place| place.is_none());
        let (id, next) = (self.next_id, self.next_id.checked_add(1));
        match (why, place, next) {
            (None, Some(place), Some(next)) => {
                let last = reserve
                    .base()
                    .saturating_add(reserve.bytes().saturating_sub(1));
                let pieces = reserve.pieces().fold(0u64, |n, _| n.saturating_add(1));
                *place = Some(Region {
                    id,
                    zone: Zone::of(last),
                    pieces,
                    returning: 0,
                    reserve,
                    meta,
                });
                self.next_id = next;
                Ok(id)
            }
            (why, ..) => Err(Refused {
                why: why.unwrap_or(AddError::Full),
                reserve,
                meta,
            }),
        }
    }

    /// Removes a region of which nothing is lent or returning.
    pub fn remove(&mut self, id: u32) -> Result<(Reserve<B>, M), RemoveError> {
        let at = self.iter().position(|region| region.id == id);
        let later = at.and_then(|at| self.table.get_mut(at..));
        let later = later.ok_or(RemoveError::Unknown)?;
        let first = later.first_mut().ok_or(RemoveError::Unknown)?;
        let buffers = first.as_ref().map_or(0, |region| region.reserve.count());
        if buffers > 0 {
            return Err(RemoveError::Busy { buffers });
        }
        let region = first.take().ok_or(RemoveError::Unknown)?;
        later.rotate_left(1);
        Ok((region.reserve, region.meta))
    }

    /// Lends a buffer to `owner`; `view` tells what the caller wants to know of the region it is in.
    ///
    /// Of several regions' reasons to refuse, the one that says most is given.
    pub fn allocate<V>(
        &mut self,
        request: Request,
        owner: T,
        view: impl FnOnce(&M) -> V,
    ) -> Result<Lent<T, V>, AllocateError> {
        let placed = self.place(request, owner, view);
        let counters = &mut self.counters;
        match &placed {
            Ok(lent) => {
                let allocated = lent.extent.allocated();
                counters.allocations = counters.allocations.saturating_add(1);
                counters.lent_bytes = counters.lent_bytes.saturating_add(allocated);
                counters.peak_bytes = counters.peak_bytes.max(counters.lent_bytes);
            }
            Err(_) => {
                counters.failed_allocations = counters.failed_allocations.saturating_add(1);
            }
        }
        placed
    }

    /// Takes the buffer of `bytes` (as asked for) at `base` from its owner. From now on it is not lent; its
    /// place becomes free with [`finish_free`](Self::finish_free).
    pub fn begin_free<V>(
        &mut self,
        base: u64,
        bytes: u64,
        view: impl FnOnce(&M) -> V,
    ) -> Result<Returning<T, V>, FreeError> {
        let begun = self.region_of_mut(base).and_then(|region| {
            let extent = *region.reserve.lent(base, bytes)?;
            let loan = region.reserve.tag_mut(base, bytes)?;
            if loan.returning {
                return Err(FreeError::NotABuffer);
            }
            loan.returning = true;
            region.returning = region.returning.saturating_add(1);
            Ok((region.lent(&extent, view), extent.allocated()))
        });
        let counters = &mut self.counters;
        match begun {
            Ok((lent, allocated)) => {
                counters.frees = counters.frees.saturating_add(1);
                counters.lent_bytes = counters.lent_bytes.saturating_sub(allocated);
                Ok(Returning(lent))
            }
            Err(why) => {
                counters.refused_frees = counters.refused_frees.saturating_add(1);
                Err(why)
            }
        }
    }

    /// Makes the place of a buffer free. Refused only if it is not one of these regions'.
    pub fn finish_free<V>(&mut self, returning: Returning<T, V>) -> Result<(), FreeError> {
        let Lent { region, extent, .. } = returning.0;
        let places = self.table.iter_mut().flatten();
        let region = places.into_iter().find(|place| place.id == region);
        let region = region.ok_or(FreeError::Outside)?;
        if !region
            .reserve
            .lent(extent.base, extent.bytes)?
            .tag
            .returning
        {
            return Err(FreeError::NotABuffer);
        }
        region.reserve.free(extent.base, extent.bytes)?;
        region.returning = region.returning.saturating_sub(1);
        Ok(())
    }

    /// The buffer in whose pages `address` lies.
    pub fn find<V>(&self, address: u64, view: impl FnOnce(&M) -> V) -> Option<Lent<T, V>> {
        let region = self.iter().find(|region| region.owns(address))?;
        let extent = region.reserve.find(address)?;
        (!extent.tag.returning).then(|| region.lent(extent, view))
    }

    /// What the caller wants to know of the region `id`.
    pub fn view<V>(&self, id: u32, view: impl FnOnce(&M) -> V) -> Option<V> {
        let region = self.iter().find(|region| region.id == id)?;
        Some(view(&region.meta))
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// The regions, in the order of adding.
    pub fn regions(&self) -> impl Iterator<Item = RegionInfo> + '_ {
        self.iter().map(Region::info)
    }

    /// Fills `into` with the buffers that are lent at `from` and above, ascending, and tells how many there
    /// are in it. If it is full, the rest begins after the last one's base.
    pub fn copy_used(&self, from: u64, into: &mut [Listed<T>]) -> usize {
        self.copy_ascending(
            from,
            |region, from| {
                let mut used = region.reserve.used_from(from);
                let extent = used.find(|extent| !extent.tag.returning)?;
                Some(Listed {
                    region: region.id,
                    extent: untagged(extent),
                })
            },
            |listed| listed.extent.base,
            into,
        )
    }

    /// The same with the free ranges that begin at `from` and above.
    pub fn copy_gaps(&self, from: u64, into: &mut [Range]) -> usize {
        self.copy_ascending(
            from,
            |region, from| {
                let range = region.reserve.gaps_from(from).next()?;
                Some(region.range(range))
            },
            |range| range.start,
            into,
        )
    }

    /// The same with the holes.
    pub fn copy_holes(&self, from: u64, into: &mut [Range]) -> usize {
        self.copy_ascending(
            from,
            |region, from| {
                let range = region.reserve.holes_from(from).next()?;
                Some(region.range(range))
            },
            |range| range.start,
            into,
        )
    }

    /// Tells whether the invariants hold, each region's own included. Slow.
    pub fn check(&self) -> bool {
        let mut lent_bytes = 0u64;
        let each = self.iter().all(|region| {
            let mut returning = 0usize;
            for extent in region.reserve.used() {
                if extent.tag.returning {
                    returning = returning.saturating_add(1);
                } else {
                    lent_bytes = lent_bytes.saturating_add(extent.allocated());
                }
            }
            let apart = self
                .iter()
                .take_while(|other| other.id < region.id)
                .all(|other| !overlap(&region.reserve, &other.reserve));
            region.reserve.check()
                && returning == region.returning
                && region.id < self.next_id
                && apart
        });
        let dense = self.table.iter().skip_while(|place| place.is_some());
        each && self.iter().map(|region| region.id).is_sorted()
            && dense.into_iter().all(Option::is_none)
            && lent_bytes == self.counters.lent_bytes
            && lent_bytes <= self.counters.peak_bytes
    }

    /// The first place in the order of zones and regions.
    fn place<V>(
        &mut self,
        request: Request,
        owner: T,
        view: impl FnOnce(&M) -> V,
    ) -> Result<Lent<T, V>, AllocateError> {
        let loan = Loan {
            owner,
            returning: false,
        };
        let mut refused = match request.at {
            Some(_) => AllocateError::Taken,
            None => AllocateError::NoRoom,
        };
        for zone in Zone::ALL {
            let of_zone = |region: &&mut Region<B, M>| region.zone == zone;
            for region in self.table.iter_mut().flatten().filter(of_zone) {
                if request.at.is_some_and(|at| !region.owns(at)) {
                    continue;
                }
                match region.reserve.allocate(request, loan) {
                    Ok(extent) => return Ok(region.lent(&extent, view)),
                    Err(why) if weight(why) > weight(refused) => refused = why,
                    Err(_) => {}
                }
            }
        }
        Err(refused)
    }

    fn region_of_mut(&mut self, address: u64) -> Result<&mut Region<B, M>, FreeError> {
        let mut regions = self.table.iter_mut().flatten();
        let region = regions.find(|region| region.owns(address));
        region.ok_or(FreeError::Outside)
    }

    fn iter(&self) -> impl Iterator<Item = &'_ Region<B, M>> + '_ {
        self.table.iter().flatten()
    }

    /// Merges what regions have at `from` and above, ascending by `key`, into `into`; `first` gives a region's
    /// first at an address and above. Every entry is looked up anew: the kernel's stack has no room for a walk of
    /// every region.
    fn copy_ascending<O>(
        &self,
        mut from: u64,
        first: impl Fn(&Region<B, M>, u64) -> Option<O>,
        key: impl Fn(&O) -> u64,
        into: &mut [O],
    ) -> usize {
        let mut count = 0usize;
        for entry in into {
            let firsts = self.iter().filter_map(|region| first(region, from));
            let Some(next) = firsts.min_by_key(&key) else {
                break;
            };
            from = key(&next).saturating_add(1);
            *entry = next;
            count = count.saturating_add(1);
        }
        count
    }
}

impl<T, B, M> Region<B, M>
where
    T: Copy + Default + 'static,
    B: DerefMut<Target = [Slot<Loan<T>>]>,
{
    fn owns(&self, address: u64) -> bool {
        self.reserve.has_page_in(address, address.saturating_add(1))
    }

    fn lent<V>(&self, extent: &Extent<Loan<T>>, view: impl FnOnce(&M) -> V) -> Lent<T, V> {
        Lent {
            region: self.id,
            guard_pages: self.reserve.guard_pages(),
            extent: untagged(extent),
            view: view(&self.meta),
        }
    }

    fn range(&self, (start, end): (u64, u64)) -> Range {
        Range {
            region: self.id,
            zone: self.zone,
            start,
            end,
        }
    }

    fn info(&self) -> RegionInfo {
        let reserve = &self.reserve;
        RegionInfo {
            id: self.id,
            zone: self.zone,
            base: reserve.base(),
            bytes: reserve.bytes(),
            guard_pages: reserve.guard_pages(),
            free_bytes: reserve.free_bytes(),
            largest_free: reserve.largest_free(),
            pages: reserve.usable_pages(),
            pieces: self.pieces,
            buffers: reserve.count().saturating_sub(self.returning),
            returning: self.returning,
        }
    }
}

/// How much a reason to refuse says, when regions give different ones.
fn weight(why: AllocateError) -> u8 {
    match why {
        AllocateError::NoRoom | AllocateError::Taken => 0,
        AllocateError::TooManyBuffers => 1,
        AllocateError::NoRoomBelowLimit => 2,
        AllocateError::Empty
        | AllocateError::AddressBits
        | AllocateError::Alignment
        | AllocateError::Boundary
        | AllocateError::At => 3,
    }
}

/// Whether some page is usable in both.
fn overlap<T, B>(one: &Reserve<B>, other: &Reserve<B>) -> bool
where
    T: Copy + Default + 'static,
    B: DerefMut<Target = [Slot<T>]>,
{
    one.pieces()
        .any(|(start, end)| other.has_page_in(start, end))
}

fn untagged<T: Copy>(extent: &Extent<Loan<T>>) -> Extent<T> {
    Extent {
        base: extent.base,
        bytes: extent.bytes,
        pages: extent.pages,
        tag: extent.tag.owner,
    }
}
