// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Several regions against several models, asked in the order of zones.

use super::steps::{request, Step, BASE, PAGES};
use landfall_reserve::allocator::{AllocateError, FreeError, Request, Reserve, Slot, PAGE};
use landfall_reserve::naive::{Naive, Page};
use landfall_reserve::regions::{Listed, Loan, Regions, Returning, Zone};
use proptest::prelude::*;

type Storage = Vec<Slot<Loan<u32>>>;

/// Lies so that requests of [`request`] can be met in each: across 16 MiB, below and above.
const BASES: [u64; 4] = [BASE, BASE - 64 * PAGE, BASE + 64 * PAGE, BASE + 200 * PAGE];

/// A region in the model.
struct Part {
    id: u32,
    zone: Zone,
    naive: Naive<Vec<Page>>,
}

#[derive(Default)]
struct Model {
    parts: Vec<Part>,
}

impl Model {
    fn allocate(&mut self, request: &Request) -> Result<(u32, u64), AllocateError> {
        let mut order: Vec<_> = self.parts.iter_mut().collect();
        order.sort_by_key(|part| (std::cmp::Reverse(part.zone), part.id));
        let mut reasons = vec![];
        for part in order {
            match part.naive.allocate(request) {
                Ok(base) => return Ok((part.id, base)),
                Err(why) => reasons.push(why),
            }
        }
        let says_most = [
            AllocateError::At,
            AllocateError::NoRoomBelowLimit,
            AllocateError::Taken,
        ];
        let says_most = says_most.into_iter().find(|why| reasons.contains(why));
        Err(match says_most {
            Some(AllocateError::At) if !self.owns(request.at) => AllocateError::Taken,
            Some(why) => why,
            None if request.at.is_some() => AllocateError::Taken,
            None => AllocateError::NoRoom,
        })
    }

    fn owns(&self, at: Option<u64>) -> bool {
        at.is_some_and(|at| self.parts.iter().any(|part| part.naive.owns(at)))
    }

    fn free(&mut self, base: u64, bytes: u64) -> Result<(), FreeError> {
        let part = self.parts.iter_mut().find(|part| part.naive.owns(base));
        part.map_or(Err(FreeError::Outside), |part| part.naive.free(base, bytes))
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => request().prop_map(Step::Allocate),
        6 => any::<prop::sample::Index>().prop_map(Step::Free),
        2 => (0..300u64, 1..12 * PAGE).prop_map(|(page, bytes)| Step::FreeWrongly(BASE + page * PAGE, bytes)),
        2 => (0..300u64, 1..5u64).prop_map(|(page, pages)| Step::Exclude(BASE + page * PAGE, pages * PAGE)),
    ]
}

proptest! {
    /// Buffers come and go in two steps, regions come and go when they are empty.
    #[test]
    fn regions_agree_with_the_models(
        guard in 0u32..2,
        steps in prop::collection::vec(step(), 1..100),
        two_steps in any::<u64>(),
    ) {
        let mut pool: Regions<Storage, u64> = Regions::new();
        let mut model = Model::default();
        let mut returning: Vec<Returning<u32, u64>> = vec![];
        let mut added = 0;

        for (n, step) in steps.into_iter().enumerate() {
            match step {
                Step::Allocate(request) => {
                    let got = pool.allocate(request, n as u32, |meta| *meta);
                    if let Ok(lent) = &got {
                        prop_assert_eq!(lent.view, u64::from(lent.region));
                        prop_assert_eq!(lent.extent.tag, n as u32);
                    }
                    let got = got.map(|lent| (lent.region, lent.extent.base));
                    prop_assert_eq!(got, model.allocate(&request), "{:?}", request);
                }
                Step::Free(index) => {
                    let lent = listed(&pool);
                    if lent.is_empty() {
                        continue;
                    }
                    let extent = lent[index.index(lent.len())].extent;
                    let begun = pool.begin_free(extent.base, extent.bytes, |meta| *meta);
                    let begun = begun.expect("it is lent");
                    prop_assert_eq!(begun.lent().extent, extent);
                    let again = pool.begin_free(extent.base, extent.bytes, |_| ()).map(drop);
                    prop_assert_eq!(again, Err(FreeError::NotABuffer));
                    if two_steps >> (n % 64) & 1 == 1 {
                        returning.push(begun);
                    } else {
                        pool.finish_free(begun).expect("its own");
                        model.free(extent.base, extent.bytes).expect("the model lent it");
                    }
                }
                Step::FreeWrongly(base, bytes) => {
                    // Now and then: what was begun is finished.
                    for begun in returning.drain(..) {
                        let extent = begun.lent().extent;
                        pool.finish_free(begun).expect("its own");
                        model.free(extent.base, extent.bytes).expect("the model lent it");
                    }
                    let lent = listed(&pool).iter().any(|lent| (lent.extent.base, lent.extent.bytes) == (base, bytes));
                    if !lent {
                        let got = pool.begin_free(base, bytes, |_| ()).map(drop);
                        prop_assert_eq!(got, model.free(base, bytes));
                    }
                }
                Step::Exclude(at, bytes) => {
                    // A region comes, with a hole, or goes.
                    let base = BASES[n % BASES.len()];
                    let there = pool.regions().find(|region| region.base == base);
                    if let Some(region) = there {
                        let removed = pool.remove(region.id).is_ok();
                        prop_assert_eq!(removed, region.buffers + region.returning == 0);
                        model.parts.retain(|part| !removed || part.id != region.id);
                    } else {
                        let storage = vec![Slot::default(); PAGES];
                        let mut reserve = Reserve::new(base, PAGES as u64 * PAGE, guard, storage).expect("good");
                        let at = base + (at - BASE) % (PAGES as u64 * PAGE);
                        let mut naive = Naive::new(base, guard, vec![Page::Free; PAGES]);
                        prop_assert_eq!(reserve.exclude(at, bytes).is_ok(), naive.exclude(at, bytes));
                        let id = pool.add(reserve, added).expect("they are apart");
                        added += 1;
                        let zone = Zone::of(base + PAGES as u64 * PAGE - 1);
                        model.parts.push(Part { id, zone, naive });
                        prop_assert_eq!(pool.view(id, |meta| *meta), Some(u64::from(id)), "ids count up");
                    }
                }
            }
            prop_assert!(pool.check());
            let mut used: Vec<_> = model.parts.iter().flat_map(|part| part.naive.used()).collect();
            let gone = |base: u64| returning.iter().any(|begun| begun.lent().extent.base == base);
            used.retain(|(base, _)| !gone(*base));
            used.sort_unstable();
            let listed: Vec<_> = listed(&pool).iter().map(|lent| (lent.extent.base, lent.extent.bytes)).collect();
            prop_assert_eq!(listed, used);
        }
    }
}

fn listed(pool: &Regions<Storage, u64>) -> Vec<Listed<u32>> {
    let mut all = [Listed::default(); 4 * PAGES];
    let count = pool.copy_used(0, &mut all);
    all[..count].to_vec()
}
