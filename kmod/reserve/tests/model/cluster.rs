// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! Blocks joined to runs: its rules, and against a region whose pages are free one by one.

use super::steps::{request, BASE, PAGES};
use landfall_reserve::allocator::{Fit, Request, PAGE};
use landfall_reserve::cluster::{ClusterError, Clusters, Joined, Run};
use landfall_reserve::naive::{Naive, Page};
use proptest::prelude::*;

fn at(page: u64) -> u64 {
    BASE + page * PAGE
}

fn run(start: u64, end: u64) -> Run {
    Run {
        start: at(start),
        end: at(end),
    }
}

/// S2.1: merged front, back and in the middle.
#[test]
fn a_block_joins_the_runs_that_it_borders() {
    let mut clusters = Clusters::new(vec![Run::default(); 4]);
    let mut insert = |start, end| clusters.insert(at(start), at(end));

    assert_eq!(insert(10, 12), Ok((run(10, 12), Joined::None)));
    assert_eq!(insert(20, 22), Ok((run(20, 22), Joined::None)));
    assert_eq!(insert(8, 10), Ok((run(8, 12), Joined::Front)));
    assert_eq!(insert(12, 14), Ok((run(8, 14), Joined::Back)));
    assert_eq!(insert(14, 20), Ok((run(8, 22), Joined::Middle)));
    assert_eq!(insert(0, 1), Ok((run(0, 1), Joined::None)));

    assert_eq!(clusters.runs(), [run(0, 1), run(8, 22)]);
    assert_eq!(clusters.longest(), Some(run(8, 22)));
    assert_eq!(clusters.bytes(), 15 * PAGE);
}

#[test]
fn a_block_that_is_there_or_is_none_is_refused() {
    let mut clusters = Clusters::new(vec![Run::default(); 2]);
    clusters.insert(at(4), at(8)).expect("nothing is there");
    clusters.insert(at(10), at(11)).expect("nothing is there");
    let before = clusters.runs().to_vec();

    for (start, end) in [(4, 8), (3, 5), (7, 9), (5, 6), (0, 20), (8, 11), (9, 11)] {
        let refused = clusters.insert(at(start), at(end));
        assert_eq!(refused, Err(ClusterError::Overlap), "{start} to {end}");
    }
    assert_eq!(clusters.insert(at(9), at(9)), Err(ClusterError::Empty));
    assert_eq!(clusters.insert(at(9), at(8)), Err(ClusterError::Empty));
    assert_eq!(
        clusters.insert(at(20), at(21)),
        Err(ClusterError::TooManyRuns)
    );
    assert_eq!(clusters.runs(), before);
    assert!(
        clusters.insert(at(8), at(10)).is_ok(),
        "one that joins needs no entry"
    );
}

#[test]
fn what_is_removed_leaves_the_rest() {
    let mut clusters = Clusters::new(vec![Run::default(); 2]);
    clusters.insert(at(0), at(10)).expect("nothing is there");

    assert_eq!(clusters.remove(at(4), at(6)), Ok(()));
    assert_eq!(clusters.runs(), [run(0, 4), run(6, 10)]);
    assert_eq!(
        clusters.remove(at(1), at(2)),
        Err(ClusterError::TooManyRuns)
    );
    for (start, end) in [(3, 5), (4, 6), (5, 7), (9, 11), (0, 10)] {
        let refused = clusters.remove(at(start), at(end));
        assert_eq!(refused, Err(ClusterError::Overlap), "{start} to {end}");
    }
    assert_eq!(clusters.remove(at(2), at(2)), Err(ClusterError::Empty));
    assert_eq!(clusters.remove(at(0), at(1)), Ok(()));
    assert_eq!(clusters.remove(at(9), at(10)), Ok(()));
    assert_eq!(clusters.remove(at(1), at(4)), Ok(()));
    assert_eq!(clusters.runs(), [run(6, 9)]);
}

#[test]
fn a_place_is_aligned_below_the_limit_and_in_the_run_asked_for() {
    let mut clusters = Clusters::new(vec![Run::default(); 4]);
    // 16 MiB is at page 24.
    for (start, end) in [(3, 6), (20, 40), (50, 52)] {
        clusters
            .insert(at(start), at(end))
            .expect("nothing is there");
    }
    let two = Request::anywhere(2 * PAGE);
    let find = |request| clusters.find(&request);

    assert_eq!(find(two), Some(at(3)));
    assert_eq!(
        find(Request {
            fit: Fit::Best,
            ..two
        }),
        Some(at(50))
    );
    assert_eq!(
        find(Request {
            alignment: 8 * PAGE,
            ..two
        }),
        Some(at(24))
    );
    let isa = Request {
        address_bits: 24,
        ..Request::anywhere(4 * PAGE)
    };
    assert_eq!(find(isa), Some(at(20)));
    assert_eq!(
        find(Request {
            bytes: 5 * PAGE,
            ..isa
        }),
        None
    );
}

proptest! {
    #[test]
    fn clusters_agree_with_pages(
        steps in prop::collection::vec((0..PAGES as u64, 1..6u64, any::<bool>()), 1..80),
        requests in prop::collection::vec(request(), 10),
    ) {
        let mut clusters = Clusters::new(vec![Run::default(); PAGES]);
        let mut model = [false; PAGES];

        for (page, pages, insert) in steps {
            let Some(range) = model.get_mut(page as usize..(page + pages) as usize) else {
                continue;
            };
            let fits = range.iter().all(|there| *there != insert);
            if fits {
                range.fill(insert);
            }
            let (start, end) = (at(page), at(page + pages));
            let got = if insert {
                clusters.insert(start, end).map(|(run, _)| run)
            } else {
                clusters.remove(start, end).map(|()| Run::default())
            };
            prop_assert_eq!(got.is_ok(), fits);
            if let (Ok(run), true) = (got, insert) {
                prop_assert!(run.start <= start && end <= run.end && clusters.runs().contains(&run));
            }
            prop_assert!(clusters.check());
            let count = model.iter().filter(|there| **there).count() as u64;
            prop_assert_eq!(clusters.bytes(), count * PAGE);
        }

        let mut naive = Naive::new(BASE, 0, vec![Page::Free; PAGES]);
        for (page, there) in model.iter().enumerate() {
            prop_assert!(*there || naive.exclude(at(page as u64), PAGE));
        }
        let runs: Vec<_> = clusters.runs().iter().map(|run| (run.start, run.end)).collect();
        prop_assert_eq!(runs, naive.runs(Page::Free).collect::<Vec<_>>());
        prop_assert_eq!(clusters.longest().map_or(0, |run| run.bytes()), naive.largest_free());
        for request in requests {
            let found = naive.clone().allocate(&request).ok();
            prop_assert_eq!(clusters.find(&request), found, "{:?}", request);
        }
    }
}
