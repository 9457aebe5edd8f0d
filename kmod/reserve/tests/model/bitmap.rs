// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Free pages as bits: its rules, and against a list of booleans.

use super::steps::{request, BASE};
use landfall_reserve::allocator::{Fit, Request, PAGE};
use landfall_reserve::bitmap::Bitmap;
use landfall_reserve::naive::{Naive, Page};
use proptest::prelude::*;

/// No multiple of a word.
const PAGES: usize = 200;

fn bitmap(pages: usize) -> Bitmap<Vec<u64>> {
    let words = Bitmap::<Vec<u64>>::words_of(pages as u64).expect("few");
    Bitmap::new(BASE, pages as u64, vec![u64::MAX; words]).expect("a good span")
}

fn at(page: usize) -> u64 {
    BASE + page as u64 * PAGE
}

#[test]
fn runs_are_joined_on_both_sides_and_across_words() {
    let mut bitmap = bitmap(PAGES);

    assert!(bitmap.set(at(0), 1) && bitmap.set(at(60), 3) && bitmap.set(at(64), 100));
    assert_eq!(
        bitmap.runs().collect::<Vec<_>>(),
        [(at(0), at(1)), (at(60), at(63)), (at(64), at(164))]
    );
    assert!(bitmap.set(at(63), 1));

    assert_eq!(
        bitmap.runs().collect::<Vec<_>>(),
        [(at(0), at(1)), (at(60), at(164))]
    );
    assert_eq!(bitmap.longest(), Some((at(60), at(164))));
    assert_eq!(bitmap.count(), 105);
    assert!(bitmap.check());
}

#[test]
fn of_equal_runs_the_first_is_the_longest() {
    let mut bitmap = bitmap(PAGES);
    assert_eq!(bitmap.longest(), None);

    assert!(bitmap.set(at(1), 2) && bitmap.set(at(5), 2) && bitmap.set(at(9), 1));

    assert_eq!(bitmap.longest(), Some((at(1), at(3))));
}

#[test]
fn what_is_not_as_said_is_refused_and_changes_nothing() {
    let mut bitmap = bitmap(PAGES);
    assert!(bitmap.set(at(10), 10));
    let refused = [
        bitmap.set(at(5), 6),
        bitmap.set(at(19), 1),
        bitmap.set(at(199), 2),
        bitmap.set(at(100) + 1, 1),
        bitmap.set(BASE - PAGE, 1),
        bitmap.set(at(100), u64::MAX),
        bitmap.clear(at(9), 2),
        bitmap.clear(at(19), 2),
    ];

    assert_eq!(refused, [false; 8]);
    assert_eq!(bitmap.runs().collect::<Vec<_>>(), [(at(10), at(20))]);
    assert!(bitmap.check());
}

#[test]
fn a_span_has_words_enough_and_an_end() {
    let span = |base, pages, words| Bitmap::new(base, pages, vec![0u64; words]).is_some();

    assert!(span(BASE, 64, 1) && span(BASE, 65, 2) && span(BASE, 0, 0));
    assert!(!span(BASE, 65, 1), "too few words");
    assert!(!span(BASE + 1, 1, 1), "not aligned");
    assert!(!span(0u64.wrapping_sub(PAGE), 1, 1), "ends beyond 64 bits");
    assert!(!span(0, u64::MAX, 1), "has too many bytes");
}

/// S3.3: a contiguous run among scattered pages, below a limit, aligned, within a boundary.
#[test]
fn a_run_is_found_where_the_request_allows() {
    let mut bitmap = bitmap(PAGES);
    assert!(bitmap.set(at(3), 5) && bitmap.set(at(20), 40) && bitmap.set(at(100), 2));
    let two = Request::anywhere(2 * PAGE);
    let find = |request| bitmap.find(&request);

    assert_eq!(find(two), Some(at(3)));
    assert_eq!(
        find(Request {
            fit: Fit::Best,
            ..two
        }),
        Some(at(100))
    );
    assert_eq!(
        find(Request {
            alignment: 8 * PAGE,
            ..two
        }),
        Some(at(24))
    );
    assert_eq!(
        find(Request {
            at: Some(at(30)),
            ..two
        }),
        Some(at(30))
    );
    assert_eq!(
        find(Request {
            at: Some(at(59)),
            ..two
        }),
        None
    );
    assert_eq!(find(Request::anywhere(41 * PAGE)), None);
    // The span straddles 16 MiB at page 24.
    assert_eq!(
        find(Request {
            address_bits: 24,
            ..Request::anywhere(6 * PAGE)
        }),
        None
    );
}

proptest! {
    #[test]
    fn the_bitmap_agrees_with_a_list_of_booleans(
        steps in prop::collection::vec((0..PAGES + 2, 1..70usize, any::<bool>()), 1..60),
        requests in prop::collection::vec(request(), 10),
        from in 0..PAGES + 2,
    ) {
        let mut bitmap = bitmap(PAGES);
        let mut model = [false; PAGES];

        for (page, pages, free) in steps {
            let range = model.get_mut(page..page + pages);
            let expected = range.is_some_and(|range| {
                let fits = range.iter().all(|bit| *bit != free);
                if fits {
                    range.fill(free);
                }
                fits
            });
            let got = if free { bitmap.set(at(page), pages as u64) } else { bitmap.clear(at(page), pages as u64) };
            prop_assert_eq!(got, expected);
            prop_assert!(bitmap.check());
            prop_assert_eq!(bitmap.count(), model.iter().filter(|bit| **bit).count() as u64);
        }

        // The same pages as a region with everything else a hole.
        let mut naive = Naive::new(BASE, 0, vec![Page::Free; PAGES]);
        for (page, free) in model.iter().enumerate() {
            prop_assert_eq!(bitmap.contains(at(page)), *free);
            prop_assert!(*free || naive.exclude(at(page), PAGE));
        }
        prop_assert!(!bitmap.contains(at(PAGES)) && !bitmap.contains(BASE - 1));
        let runs: Vec<_> = naive.runs(Page::Free).collect();
        prop_assert_eq!(bitmap.runs().collect::<Vec<_>>(), runs.clone());
        let later: Vec<_> = runs.iter().filter(|run| run.1 > at(from)).map(|run| (run.0.max(at(from)), run.1)).collect();
        prop_assert_eq!(bitmap.runs_from(at(from)).collect::<Vec<_>>(), later);
        let longest = bitmap.longest().map_or(0, |(start, end)| end - start);
        prop_assert_eq!(longest, naive.largest_free());
        for request in requests {
            let found = naive.clone().allocate(&request).ok();
            prop_assert_eq!(bitmap.find(&request), found, "{:?}", request);
        }
    }
}
