// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Several regions as one, and the two steps of a free.

use landfall_reserve::allocator::{AllocateError, FreeError, Request, Reserve, Slot, PAGE};
use landfall_reserve::regions::{
    AddError, Counters, Listed, Loan, Range, Regions, RemoveError, Zone, MAX_REGIONS,
};

type Storage = Vec<Slot<Loan<u32>>>;
type Pool = Regions<Storage, &'static str>;

const GIB4: u64 = 1 << 32;
const MIB16: u64 = 1 << 24;

fn region(base: u64, pages: u64) -> Reserve<Storage> {
    Reserve::new(base, pages * PAGE, 0, vec![Slot::default(); 8]).expect("a good region")
}

/// A region in each zone, the lowest added first.
fn three_zones() -> Pool {
    let mut pool = Pool::new();
    for (base, name) in [(PAGE, "isa"), (MIB16, "pci"), (GIB4, "any")] {
        pool.add(region(base, 4), name).expect("there is a place");
    }
    pool
}

fn used(pool: &Pool) -> Vec<Listed<u32>> {
    let mut all = [Listed::default(); 64];
    let count = pool.copy_used(0, &mut all);
    all[..count].to_vec()
}

/// S3.3: what can lie anywhere does not take the memory that few cards reach.
#[test]
fn the_highest_zone_is_asked_first() {
    let mut pool = three_zones();
    let request = Request::anywhere(4 * PAGE);

    let order: Vec<_> = (0..4)
        .map(|owner| pool.allocate(request, owner, |name| *name))
        .map(|lent| lent.map(|lent| lent.view))
        .collect();

    let full = Err(AllocateError::NoRoom);
    assert_eq!(order, [Ok("any"), Ok("pci"), Ok("isa"), full]);
    let zones: Vec<_> = pool.regions().map(|region| region.zone).collect();
    assert_eq!(zones, [Zone::Dma, Zone::Dma32, Zone::Normal]);
    assert!(pool.check());
}

#[test]
fn zones_end_where_24_and_32_address_bits_end() {
    let zones = [0, MIB16 - 1, MIB16, GIB4 - 1, GIB4, u64::MAX].map(Zone::of);

    assert_eq!(
        zones.map(Zone::name),
        ["dma", "dma", "dma32", "dma32", "normal", "normal"]
    );
}

#[test]
fn in_one_zone_the_region_that_came_first_is_asked_first() {
    let mut pool = Pool::new();
    for base in [8 * MIB16, 2 * MIB16, 4 * MIB16] {
        pool.add(region(base, 2), "").expect("there is a place");
    }

    let bases: Vec<_> = (0..3)
        .map(|owner| pool.allocate(Request::anywhere(2 * PAGE), owner, |_| ()))
        .map(|lent| lent.map(|lent| lent.extent.base))
        .collect();

    assert_eq!(bases, [Ok(8 * MIB16), Ok(2 * MIB16), Ok(4 * MIB16)]);
}

#[test]
fn an_address_limit_passes_the_regions_above_it() {
    let mut pool = three_zones();
    let isa = Request {
        address_bits: 24,
        ..Request::anywhere(3 * PAGE)
    };

    let first = pool.allocate(isa, 1, |name| *name).map(|lent| lent.view);
    let second = pool.allocate(isa, 2, |name| *name).map(|lent| lent.view);

    assert_eq!(first, Ok("isa"));
    assert_eq!(
        second,
        Err(AllocateError::NoRoomBelowLimit),
        "the reason of the regions that have room"
    );
}

#[test]
fn an_exact_place_is_looked_for_in_the_region_that_has_it() {
    let mut pool = three_zones();
    let at = |at| Request {
        at: Some(at),
        ..Request::anywhere(2 * PAGE)
    };

    let lent = pool.allocate(at(MIB16 + PAGE), 1, |name| *name);
    let again = pool.allocate(at(MIB16 + 2 * PAGE), 2, |name| *name);
    let outside = pool.allocate(at(2 * GIB4), 3, |name| *name);

    assert_eq!(
        lent.map(|lent| (lent.extent.base, lent.view)),
        Ok((MIB16 + PAGE, "pci"))
    );
    assert_eq!(again.map(drop), Err(AllocateError::Taken));
    assert_eq!(outside.map(drop), Err(AllocateError::Taken));
}

#[test]
fn a_buffer_that_returns_is_nobodys_and_its_place_not_free() {
    let mut pool = Pool::new();
    pool.add(region(GIB4, 2), "").expect("there is a place");
    let request = Request::anywhere(2 * PAGE);
    let lent = pool.allocate(request, 7, |_| ()).expect("room");

    let returning = pool
        .begin_free(GIB4, 2 * PAGE, |_| ())
        .expect("it was lent");

    assert_eq!(*returning.lent(), lent);
    assert_eq!(pool.find(GIB4, |_| ()), None);
    assert_eq!(used(&pool), []);
    assert_eq!(
        pool.begin_free(GIB4, 2 * PAGE, |_| ()).map(drop),
        Err(FreeError::NotABuffer),
        "a second time"
    );
    assert_eq!(
        pool.allocate(request, 8, |_| ()),
        Err(AllocateError::NoRoom)
    );
    assert_eq!(
        pool.remove(0).map(drop),
        Err(RemoveError::Busy { buffers: 1 })
    );
    let info = pool.regions().next().expect("one region");
    assert_eq!((info.buffers, info.returning, info.free_bytes), (0, 1, 0));
    assert!(pool.check());

    assert_eq!(pool.finish_free(returning), Ok(()));

    assert!(pool.check());
    assert!(pool.allocate(request, 8, |_| ()).is_ok());
}

#[test]
fn a_place_of_other_regions_is_not_made_free() {
    let pool = || {
        let mut pool = Pool::new();
        pool.add(region(GIB4, 2), "").expect("there is a place");
        pool.allocate(Request::anywhere(PAGE), 1, |_| ())
            .expect("room");
        pool
    };
    let (mut one, mut other) = (pool(), pool());

    let returning = one.begin_free(GIB4, PAGE, |_| ()).expect("it was lent");

    assert_eq!(other.finish_free(returning), Err(FreeError::NotABuffer));
    assert_eq!(used(&other).len(), 1);
    assert!(one.check() && other.check());
}

#[test]
fn wrong_frees_are_refused_with_the_reason_and_counted() {
    let mut pool = three_zones();
    pool.allocate(Request::anywhere(PAGE), 1, |_| ())
        .expect("room");
    let mut refused = |base, bytes| pool.begin_free(base, bytes, |_| ()).map(drop);

    assert_eq!(
        [
            refused(GIB4, 1),
            refused(GIB4 + PAGE, PAGE),
            refused(GIB4 - PAGE, PAGE),
            refused(MIB16, PAGE),
        ],
        [
            Err(FreeError::WrongSize { bytes: PAGE }),
            Err(FreeError::NotABuffer),
            Err(FreeError::Outside),
            Err(FreeError::NotABuffer),
        ]
    );
    assert_eq!(pool.counters().refused_frees, 4);
    assert_eq!(used(&pool).len(), 1);
}

#[test]
fn a_region_comes_and_goes_with_what_belongs_to_it() {
    let mut pool = three_zones();
    pool.allocate(Request::anywhere(PAGE), 1, |_| ())
        .expect("room");

    assert_eq!(
        pool.remove(2).map(drop),
        Err(RemoveError::Busy { buffers: 1 })
    );
    assert_eq!(pool.remove(9).map(drop), Err(RemoveError::Unknown));
    let (reserve, name) = pool.remove(0).expect("nothing is lent of it");
    assert_eq!((reserve.base(), name), (PAGE, "isa"));
    let again = pool.add(reserve, "again").expect("there is a place");

    assert_eq!(again, 3, "an id is never used twice");
    let ids: Vec<_> = pool.regions().map(|region| region.id).collect();
    assert_eq!(ids, [1, 2, 3]);
    assert_eq!(pool.view(3, |name| *name), Some("again"));
    assert_eq!(pool.view(0, |name| *name), None);
    assert!(pool.check());
}

#[test]
fn a_region_that_is_refused_comes_back() {
    let mut pool = Pool::new();
    pool.add(region(GIB4, 4), "").expect("there is a place");
    let mut lent = region(2 * GIB4, 4);
    lent.allocate(Request::anywhere(1), Loan::default())
        .expect("room");

    let overlap = pool.add(region(GIB4 + 3 * PAGE, 4), "overlap").unwrap_err();
    let in_use = pool.add(lent, "lent").unwrap_err();
    for n in 1..MAX_REGIONS as u64 {
        pool.add(region(GIB4 + 4 * n * PAGE, 4), "")
            .expect("there is a place");
    }
    let full = pool.add(region(2 * GIB4, 4), "full").unwrap_err();

    assert_eq!(
        [overlap.why, in_use.why, full.why],
        [AddError::Overlap { id: 0 }, AddError::Lent, AddError::Full]
    );
    assert_eq!(
        [overlap.meta, in_use.meta, full.meta],
        ["overlap", "lent", "full"]
    );
    assert_eq!(full.reserve.base(), 2 * GIB4);
    assert!(pool.check());
}

/// Two sources that took scattered pages lie in each other's holes.
#[test]
fn spans_may_cross_where_one_has_holes() {
    let mut pool = Pool::new();
    let mut even = region(GIB4, 8);
    let mut odd = region(GIB4, 8);
    for page in 0..4 {
        even.exclude(GIB4 + (2 * page + 1) * PAGE, PAGE)
            .expect("free");
        odd.exclude(GIB4 + 2 * page * PAGE, PAGE).expect("free");
    }

    pool.add(even, "even").expect("no page is in two regions");
    pool.add(odd, "odd").expect("no page is in two regions");
    let clash = pool.add(region(GIB4 + PAGE, 1), "clash").unwrap_err();
    let owners: Vec<_> = (0..8)
        .map(|owner| pool.allocate(Request::anywhere(PAGE), owner, |_| ()))
        .map(|lent| lent.map(|lent| lent.region))
        .collect();

    assert_eq!(clash.why, AddError::Overlap { id: 1 });
    assert_eq!(owners, [0, 0, 0, 0, 1, 1, 1, 1].map(Ok));
    let bases: Vec<_> = used(&pool)
        .iter()
        .map(|listed| listed.extent.base)
        .collect();
    assert!(bases.is_sorted(), "one list, ascending: {bases:x?}");
    assert_eq!(
        pool.find(GIB4 + 3 * PAGE, |name| *name)
            .map(|lent| lent.view),
        Some("odd")
    );
    assert_eq!(
        pool.regions()
            .map(|region| (region.pages, region.pieces))
            .collect::<Vec<_>>(),
        [(4, 4), (4, 4)]
    );
    assert!(pool.check());
}

#[test]
fn lists_come_in_batches() {
    let mut pool = three_zones();
    for owner in 0..12 {
        pool.allocate(Request::anywhere(PAGE), owner, |_| ())
            .expect("room");
    }
    pool.begin_free(MIB16 + PAGE, PAGE, |_| ())
        .map(drop)
        .expect("lent");
    let mut batches = Vec::new();
    let mut batch = [Listed::default(); 5];
    let mut from = 0;

    loop {
        let count = pool.copy_used(from, &mut batch);
        batches.push(count);
        match batch[..count].last() {
            Some(last) => from = last.extent.base + 1,
            None => break,
        }
    }

    assert_eq!(batches, [5, 5, 1, 0]);
}

#[test]
fn gaps_and_holes_are_listed_with_region_and_zone() {
    let mut pool = Pool::new();
    let mut holed = region(MIB16, 8);
    holed.exclude(MIB16 + 4 * PAGE, PAGE).expect("free");
    pool.add(holed, "").expect("there is a place");
    pool.add(region(PAGE, 2), "").expect("there is a place");
    pool.allocate(Request::anywhere(2 * PAGE), 1, |_| ())
        .expect("room");
    let range = |region, zone, start, end| Range {
        region,
        zone,
        start,
        end,
    };

    let mut gaps = [Range::default(); 8];
    let count = pool.copy_gaps(0, &mut gaps);
    let mut holes = [Range::default(); 8];
    let hole_count = pool.copy_holes(0, &mut holes);

    let at = |page| MIB16 + page * PAGE;
    assert_eq!(
        gaps[..count],
        [
            range(1, Zone::Dma, PAGE, 3 * PAGE),
            range(0, Zone::Dma32, at(2), at(4)),
            range(0, Zone::Dma32, at(5), at(8)),
        ]
    );
    assert_eq!(holes[..hole_count], [range(0, Zone::Dma32, at(4), at(5))]);
}

#[test]
fn counters_count() {
    let mut pool = three_zones();
    let two = pool
        .allocate(Request::anywhere(2 * PAGE), 1, |_| ())
        .expect("room");
    let one = pool
        .allocate(Request::anywhere(1), 2, |_| ())
        .expect("room");
    pool.allocate(Request::anywhere(100 * PAGE), 3, |_| ())
        .unwrap_err();
    let returning = pool
        .begin_free(two.extent.base, 2 * PAGE, |_| ())
        .expect("lent");
    pool.finish_free(returning).expect("its own");
    pool.begin_free(one.extent.base, 2, |_| ())
        .map(drop)
        .unwrap_err();

    assert_eq!(
        pool.counters(),
        Counters {
            allocations: 2,
            failed_allocations: 1,
            frees: 1,
            refused_frees: 1,
            lent_bytes: PAGE,
            peak_bytes: 3 * PAGE,
        }
    );
}
