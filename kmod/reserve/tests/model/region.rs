// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The allocator against a model that is too simple to be wrong: same answers, same reasons, same lists.

use super::steps::{request, Step, BASE, PAGES};
use landfall_reserve::allocator::{Fit, Request, Reserve, Slot, PAGE};
use landfall_reserve::naive::{Naive, Page};
use proptest::prelude::*;

type Pool = Reserve<Vec<Slot<u32>>>;
type Model = Naive<Vec<Page>>;

fn pool(guard: u32) -> Pool {
    let storage = vec![Slot::default(); PAGES];
    Reserve::new(BASE, PAGES as u64 * PAGE, guard, storage).expect("a good region")
}

fn model(guard: u32) -> Model {
    Naive::new(BASE, guard, vec![Page::Free; PAGES])
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => request().prop_map(Step::Allocate),
        6 => any::<prop::sample::Index>().prop_map(Step::Free),
        2 => (0..80u64, 1..12 * PAGE).prop_map(|(page, bytes)| Step::FreeWrongly(BASE + page * PAGE, bytes)),
        1 => (0..70u64, 1..5u64).prop_map(|(page, pages)| Step::Exclude(BASE + page * PAGE, pages * PAGE)),
    ]
}

/// What one can see of the pool and of the model, side by side.
fn compare(pool: &Pool, model: &Model) -> Result<(), TestCaseError> {
    prop_assert!(pool.check());
    let used: Vec<_> = pool.used().map(|lent| (lent.base, lent.bytes)).collect();
    prop_assert_eq!(&used, &model.used().collect::<Vec<_>>());
    prop_assert_eq!(pool.count(), used.len());
    prop_assert_eq!(pool.free_bytes(), model.free_bytes());
    prop_assert_eq!(pool.largest_free(), model.largest_free());
    let gaps: Vec<_> = pool.gaps_from(0).collect();
    prop_assert_eq!(&gaps, &model.runs(Page::Free).collect::<Vec<_>>());
    let holes: u64 = pool.holes().map(|(start, end)| end - start).sum();
    prop_assert_eq!(holes, (PAGES as u64 - pool.usable_pages()) * PAGE);
    for (page, state) in model.pages().iter().enumerate() {
        let address = BASE + page as u64 * PAGE + 7;
        let lent = matches!(state, Page::First(_) | Page::Rest);
        prop_assert_eq!(pool.find(address).is_some(), lent);
        let outside = *state == Page::Hole;
        prop_assert_eq!(pool.has_page_in(address, address + 1), !outside);
    }
    Ok(())
}

proptest! {
    #[test]
    fn the_allocator_agrees_with_the_model(
        guard in 0u32..3,
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let (mut pool, mut model) = (pool(guard), model(guard));
        let mut lent: Vec<(u64, u64)> = Vec::new();

        for step in steps {
            match step {
                Step::Allocate(request) => {
                    let got = pool.allocate(request, 0).map(|extent| extent.base);
                    prop_assert_eq!(got, model.allocate(&request), "{:?}", request);
                    lent.extend(got.map(|base| (base, request.bytes)));
                }
                Step::Free(index) if !lent.is_empty() => {
                    let (base, bytes) = lent.swap_remove(index.index(lent.len()));
                    prop_assert!(pool.free(base, bytes).is_ok());
                    model.free(base, bytes).expect("the model lent it");
                }
                Step::FreeWrongly(base, bytes) if !lent.contains(&(base, bytes)) => {
                    let got = pool.free(base, bytes).map(drop);
                    prop_assert_eq!(got, model.free(base, bytes));
                }
                Step::Exclude(base, bytes) => {
                    prop_assert_eq!(pool.exclude(base, bytes).is_ok(), model.exclude(base, bytes));
                }
                Step::Free(_) | Step::FreeWrongly(..) => {}
            }
            compare(&pool, &model)?;
        }
    }

    /// Lists from the middle on are the rest of the lists from the start.
    #[test]
    fn a_list_can_be_entered_anywhere(
        requests in prop::collection::vec(request(), 1..40),
        holes in prop::collection::vec(0..PAGES as u64, 0..4),
        from in 0..(PAGES as u64 + 2) * PAGE,
    ) {
        let mut pool = pool(1);
        for page in holes {
            let _ = pool.exclude(BASE + page * PAGE, PAGE);
        }
        for request in requests {
            let _ = pool.allocate(request, 0);
        }
        let from = BASE - PAGE + from;

        let used: Vec<_> = pool.used().filter(|lent| lent.base >= from).collect();
        let gaps: Vec<_> = pool.gaps_from(0).filter(|gap| gap.0 >= from).collect();
        let holes: Vec<_> = pool.holes().filter(|hole| hole.0 >= from).collect();

        prop_assert_eq!(pool.used_from(from).collect::<Vec<_>>(), used);
        prop_assert_eq!(pool.gaps_from(from).collect::<Vec<_>>(), gaps);
        prop_assert_eq!(pool.holes_from(from).collect::<Vec<_>>(), holes);
    }

    /// Hostile numbers: no panic, and an answer only if it keeps its word.
    #[test]
    fn any_request_is_answered_or_refused(
        (bytes, address_bits, alignment, boundary, at) in any::<(u64, u32, u64, u64, Option<u64>)>(),
        (base, size, best) in any::<(u64, u64, bool)>(),
    ) {
        let storage = vec![Slot::<()>::default(); 4];
        let mut pool = Reserve::new(BASE, PAGES as u64 * PAGE, 1, storage).expect("a good region");
        let before = format!("{:?}", pool.gaps_from(0).collect::<Vec<_>>());
        let fit = if best { Fit::Best } else { Fit::First };

        let got = pool.allocate(Request { bytes, address_bits, alignment, boundary, at, fit }, ());
        prop_assert!(pool.check());
        if let Ok(extent) = got {
            prop_assert_eq!(extent.bytes, bytes);
            pool.free(extent.base, bytes).expect("what was lent");
        }
        prop_assert!(pool.free(base, size).is_err());
        let _ = (pool.find(base), pool.has_page_in(base, size));
        prop_assert_eq!(format!("{:?}", pool.gaps_from(0).collect::<Vec<_>>()), before);
        let _ = pool.exclude(base, size);
        prop_assert!(pool.check());
    }
}

/// The negative control: models that forget guard pages, or a hole, or take the wrong fit, are told apart.
#[test]
fn the_comparison_can_fail() {
    let mut lending = pool(1);
    let mut forgets_guards = model(0);
    let request = Request::anywhere(PAGE);
    let real = lending.allocate(request, 0).map(|extent| extent.base);
    assert_ne!(real, forgets_guards.allocate(&request));
    assert!(compare(&lending, &forgets_guards).is_err());

    let mut holed = pool(0);
    let forgets_holes = model(0);
    holed.exclude(BASE, PAGE).expect("free");
    assert!(compare(&holed, &forgets_holes).is_err());

    let (mut best, mut takes_first) = (pool(0), model(0));
    let pages = |pages| Request::anywhere(pages * PAGE);
    let bases = [4, 1, 2, 1].map(|count| {
        let base = best.allocate(pages(count), 0).expect("room").base;
        assert_eq!(takes_first.allocate(&pages(count)), Ok(base));
        base
    });
    for (base, count) in [(bases[0], 4), (bases[2], 2)] {
        best.free(base, count * PAGE).expect("lent");
        takes_first.free(base, count * PAGE).expect("lent");
    }
    let fit = Fit::Best;
    let real = best.allocate(Request { fit, ..pages(2) }, 0);
    assert_eq!(real.map(|extent| extent.base), Ok(bases[2]));
    assert_eq!(takes_first.allocate(&pages(2)), Ok(bases[0]));
}
