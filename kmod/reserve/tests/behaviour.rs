// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The allocator's rules, one test each.

use landfall_reserve::allocator::{
    AllocateError, ExcludeError, Fit, FreeError, RegionError, Request, Reserve, Slot, PAGE,
};

type Pool = Reserve<Vec<Slot<u32>>>;

const BASE: u64 = 0x0a20_0000;

fn pool_at(base: u64, pages: u64, guard_pages: u32) -> Pool {
    Reserve::new(base, pages * PAGE, guard_pages, vec![Slot::default(); 8]).expect("a good region")
}

fn bases(pool: &Pool) -> Vec<u64> {
    pool.used().map(|extent| extent.base).collect()
}

#[test]
fn sizes_are_rounded_up_to_pages_and_the_first_gap_is_taken() {
    let mut pool = pool_at(BASE, 16, 0);

    let one = pool.allocate(Request::anywhere(1), 1).expect("room");
    let two = pool.allocate(Request::anywhere(PAGE + 1), 2).expect("room");
    let three = pool.allocate(Request::anywhere(PAGE), 3).expect("room");
    pool.free(one.base, 1).expect("lent");
    pool.free(two.base, PAGE + 1).expect("lent");
    let again = pool
        .allocate(Request::anywhere(3 * PAGE), 4)
        .expect("the three pages of the first two");

    assert_eq!((one.base, one.pages), (BASE, 1));
    assert_eq!(
        (two.base, two.pages, two.allocated()),
        (BASE + PAGE, 2, 2 * PAGE)
    );
    assert_eq!(three.base, BASE + 3 * PAGE);
    assert_eq!(again.base, BASE, "freed neighbours are one gap");
    assert!(pool.check());
}

#[test]
fn guard_pages_lie_on_both_sides_of_every_buffer() {
    let mut pool = pool_at(BASE, 6, 1);

    let one = pool.allocate(Request::anywhere(PAGE), 1).expect("room");
    let two = pool.allocate(Request::anywhere(PAGE), 2).expect("room");

    assert_eq!([one.base, two.base], [BASE + PAGE, BASE + 4 * PAGE]);
    assert_eq!(
        pool.allocate(Request::anywhere(1), 3),
        Err(AllocateError::NoRoom)
    );
    assert_eq!((pool.free_bytes(), pool.largest_free()), (0, 0));
}

#[test]
fn a_count_that_is_no_power_of_two_wastes_nothing() {
    let mut pool = pool_at(BASE, 750, 0);

    pool.allocate(Request::anywhere(750 * PAGE), 1)
        .expect("the whole region");

    assert_eq!(pool.free_bytes(), 0);
}

#[test]
fn a_buffer_lies_below_the_address_limit_or_the_request_fails_clearly() {
    let limit = 1 << 24;
    let mut pool = pool_at(limit - 2 * PAGE, 8, 0);
    let isa = Request {
        address_bits: 24,
        ..Request::anywhere(PAGE)
    };

    let first = pool.allocate(isa, 1).expect("below the limit");
    let last = pool.allocate(isa, 2).expect("ends exactly at the limit");
    let refused = pool.allocate(isa, 3);

    assert_eq!([first.base, last.end()], [limit - 2 * PAGE, limit]);
    assert_eq!(refused, Err(AllocateError::NoRoomBelowLimit));
    assert!(
        pool.allocate(Request::anywhere(6 * PAGE), 4).is_ok(),
        "the refusal changed nothing"
    );
    assert_eq!(
        pool.allocate(isa, 5),
        Err(AllocateError::NoRoom),
        "now there is no room at all"
    );
}

#[test]
fn alignment_counts_from_address_zero_not_from_the_region() {
    let mut pool = pool_at(BASE + PAGE, 64, 1);
    let wish = Request {
        alignment: 16 * PAGE,
        ..Request::anywhere(PAGE)
    };

    let buffer = pool.allocate(wish, 1).expect("room");

    assert_eq!(buffer.base, BASE + 16 * PAGE);
}

#[test]
fn no_buffer_crosses_the_boundary() {
    let boundary = 8 * PAGE;
    let mut pool = pool_at(BASE + 3 * PAGE, 32, 0);
    let wish = |bytes| Request {
        boundary,
        ..Request::anywhere(bytes)
    };

    let fits = pool
        .allocate(wish(5 * PAGE), 1)
        .expect("ends at the boundary");
    pool.free(fits.base, 5 * PAGE).expect("lent");
    let moved = pool
        .allocate(wish(5 * PAGE + 1), 2)
        .expect("begins at the boundary");

    assert_eq!(fits.base, BASE + 3 * PAGE);
    assert_eq!(moved.base, BASE + 8 * PAGE);
    assert_eq!(
        pool.allocate(wish(boundary + 1), 3),
        Err(AllocateError::Boundary)
    );
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let mut pool = pool_at(BASE, 8, 1);
    let sane = Request::anywhere(PAGE);
    let cases = [
        (Request::anywhere(0), AllocateError::Empty),
        (
            Request {
                address_bits: 0,
                ..sane
            },
            AllocateError::AddressBits,
        ),
        (
            Request {
                address_bits: 65,
                ..sane
            },
            AllocateError::AddressBits,
        ),
        (
            Request {
                alignment: 0,
                ..sane
            },
            AllocateError::Alignment,
        ),
        (
            Request {
                alignment: 3 * PAGE,
                ..sane
            },
            AllocateError::Alignment,
        ),
        (
            Request {
                boundary: 3 * PAGE,
                ..sane
            },
            AllocateError::Boundary,
        ),
        (Request::anywhere(u64::MAX), AllocateError::NoRoom),
        (
            Request {
                alignment: 1 << 63,
                ..sane
            },
            AllocateError::NoRoom,
        ),
    ];

    for (request, error) in cases {
        assert_eq!(pool.allocate(request, 1), Err(error), "{request:?}");
    }
    assert!(pool.count() == 0);
}

#[test]
fn a_wrong_free_is_refused_and_changes_nothing() {
    let mut pool = pool_at(BASE, 32, 1);
    let buffer = pool.allocate(Request::anywhere(2 * PAGE), 7).expect("room");
    let before = pool.used().copied().collect::<Vec<_>>();
    let cases = [
        (buffer.base + PAGE, 2 * PAGE, FreeError::NotABuffer),
        (BASE, 2 * PAGE, FreeError::NotABuffer),
        (buffer.base, PAGE, FreeError::WrongSize { bytes: 2 * PAGE }),
        (BASE - PAGE, PAGE, FreeError::Outside),
        (BASE + 32 * PAGE, PAGE, FreeError::Outside),
        (u64::MAX, 1, FreeError::Outside),
    ];

    for (base, bytes, error) in cases {
        assert_eq!(pool.free(base, bytes), Err(error), "{base:#x} {bytes}");
    }
    assert_eq!(pool.used().copied().collect::<Vec<_>>(), before);
    assert!(pool.free(buffer.base, 2 * PAGE).is_ok());
    assert_eq!(
        pool.free(buffer.base, 2 * PAGE),
        Err(FreeError::NotABuffer),
        "a second time"
    );
}

#[test]
fn no_more_buffers_are_lent_than_the_storage_holds() {
    let mut pool = pool_at(BASE, 64, 0);

    for tag in 0..8 {
        pool.allocate(Request::anywhere(PAGE), tag).expect("room");
    }

    assert_eq!(
        pool.allocate(Request::anywhere(PAGE), 8),
        Err(AllocateError::TooManyBuffers)
    );
    assert!(pool.check());
}

#[test]
fn a_region_must_be_whole_pages_inside_the_address_space() {
    let region = |base, bytes| {
        Reserve::new(base, bytes, 0, Vec::<Slot<u32>>::new()).map(|pool| pool.bytes())
    };

    assert_eq!(region(BASE, 0), Err(RegionError::Empty));
    assert_eq!(region(BASE + 1, PAGE), Err(RegionError::Unaligned));
    assert_eq!(region(BASE, PAGE + 1), Err(RegionError::Unaligned));
    assert_eq!(
        region(PAGE.wrapping_neg(), PAGE),
        Err(RegionError::Overflow)
    );
    assert_eq!(region(BASE, PAGE), Ok(PAGE));
}

#[test]
fn the_used_list_is_ascending_whatever_the_order_of_allocation() {
    let mut pool = pool_at(BASE, 32, 1);
    let first = pool.allocate(Request::anywhere(PAGE), 1).expect("room");
    pool.allocate(
        Request {
            alignment: 16 * PAGE,
            ..Request::anywhere(PAGE)
        },
        2,
    )
    .expect("room");
    pool.free(first.base, PAGE).expect("lent");

    pool.allocate(Request::anywhere(2 * PAGE), 3).expect("room");

    assert_eq!(bases(&pool), [BASE + PAGE, BASE + 16 * PAGE]);
    assert_eq!(pool.used().next().map(|first| first.tag), Some(3));
}

#[test]
fn best_fit_takes_the_shortest_gap_and_of_equals_the_lowest() {
    let mut pool = pool_at(BASE, 32, 0);
    let lengths = [5, 1, 2, 1, 3, 1, 2, 1];
    let lent = lengths.map(|pages| {
        let request = Request::anywhere(pages * PAGE);
        pool.allocate(request, 1).expect("room")
    });
    for gap in [0, 2, 4, 6] {
        pool.free(lent[gap].base, lent[gap].bytes).expect("lent");
    }
    let best = |pages| Request {
        fit: Fit::Best,
        ..Request::anywhere(pages * PAGE)
    };

    let bases = [best(2), best(2), best(2), best(2)]
        .map(|request| pool.allocate(request, 2).expect("room").base);

    let expected = [lent[2].base, lent[6].base, lent[4].base, BASE];
    assert_eq!(bases, expected);
    assert!(pool.check());
}

#[test]
fn an_exact_place_is_given_or_refused_with_the_reason() {
    let mut pool = pool_at(BASE, 16, 1);
    let at = |page: u64| Request {
        at: Some(BASE + page * PAGE),
        ..Request::anywhere(2 * PAGE)
    };

    let lent = pool.allocate(at(5), 1).expect("nothing is there");

    assert_eq!(lent.base, BASE + 5 * PAGE);
    for taken in [0, 3, 4, 5, 6, 7, 14, 15, 16, 100] {
        // Guard pages too must be free and inside; those of two buffers do not overlap.
        assert_eq!(
            pool.allocate(at(taken), 2),
            Err(AllocateError::Taken),
            "page {taken}"
        );
    }
    assert!(pool.allocate(at(9), 2).is_ok(), "right after the guards");
    let base = BASE + 12 * PAGE;
    let contradictions = [
        Request {
            at: Some(base + 1),
            ..at(0)
        },
        Request {
            at: Some(base + PAGE),
            alignment: 2 * PAGE,
            ..at(0)
        },
        Request {
            at: Some(base + 3 * PAGE),
            boundary: 4 * PAGE,
            ..at(0)
        },
        Request {
            at: Some(base),
            address_bits: 24,
            ..at(0)
        },
    ];
    for request in contradictions {
        assert_eq!(
            pool.allocate(request, 3),
            Err(AllocateError::At),
            "{request:?}"
        );
    }
    assert!(pool.check());
}

#[test]
fn a_hole_is_never_lent_and_needs_no_guards_of_its_own() {
    let mut pool = pool_at(BASE, 9, 1);
    let page = |page: u64| BASE + page * PAGE;

    pool.exclude(page(3), 2 * PAGE).expect("free");
    let below = pool.allocate(Request::anywhere(PAGE), 1).expect("room");
    let above = pool.allocate(Request::anywhere(PAGE), 2).expect("room");

    assert_eq!(
        [below.base, above.base],
        [page(1), page(6)],
        "the guards lie inside usable memory"
    );
    assert_eq!(pool.holes().collect::<Vec<_>>(), [(page(3), page(5))]);
    assert_eq!(
        pool.pieces().collect::<Vec<_>>(),
        [(BASE, page(3)), (page(5), page(9))]
    );
    assert_eq!(pool.usable_pages(), 7);
    assert_eq!(pool.find(page(3)), None);
    assert_eq!(pool.free(page(3), 2 * PAGE), Err(FreeError::Outside));
    assert_eq!(pool.used().count(), 2, "holes are not listed");
    assert!(pool.check());
}

#[test]
fn a_hole_that_cannot_be_is_refused_and_changes_nothing() {
    let mut pool = pool_at(BASE, 16, 1);
    pool.exclude(BASE, PAGE).expect("free");
    let lent = pool.allocate(Request::anywhere(PAGE), 1).expect("room");
    let cases = [
        (BASE + 8 * PAGE, 0, ExcludeError::Empty),
        (BASE + 8 * PAGE, 1, ExcludeError::Unaligned),
        (BASE + 8 * PAGE + 1, PAGE, ExcludeError::Unaligned),
        (BASE - PAGE, 2 * PAGE, ExcludeError::Outside),
        (BASE + 15 * PAGE, 2 * PAGE, ExcludeError::Outside),
        (PAGE.wrapping_neg(), PAGE, ExcludeError::Outside),
        (BASE, PAGE, ExcludeError::Taken),
        (lent.base, PAGE, ExcludeError::Taken),
        (lent.end(), PAGE, ExcludeError::Taken),
    ];

    for (base, bytes, error) in cases {
        assert_eq!(pool.exclude(base, bytes), Err(error), "{base:#x} {bytes}");
    }
    assert_eq!(pool.holes().count(), 1);
    assert_eq!(pool.exclude(lent.end() + PAGE, PAGE), Ok(()));
    assert!(pool.check());
}

#[test]
fn a_region_may_consist_of_holes() {
    let mut pool = pool_at(BASE, 4, 0);
    for page in 0..4 {
        pool.exclude(BASE + page * PAGE, PAGE).expect("free");
    }

    assert_eq!(
        pool.allocate(Request::anywhere(1), 1),
        Err(AllocateError::NoRoom)
    );
    assert_eq!((pool.free_bytes(), pool.pieces().count()), (0, 0));
    assert!(!pool.has_page_in(0, u64::MAX));
    assert!(pool.check());
}

#[test]
fn the_whole_of_64_bits_can_be_a_region() {
    let bytes = u64::MAX - (PAGE - 1);
    let mut pool = Reserve::new(0, bytes, 1, vec![Slot::<u32>::default(); 2]).expect("good");

    let first = pool.allocate(Request::anywhere(1), 1).expect("room");
    let rest = bytes - 5 * PAGE;
    let last = pool.allocate(Request::anywhere(rest), 2).expect("room");

    assert_eq!((first.base, last.base), (PAGE, 4 * PAGE));
    assert_eq!(pool.free_bytes(), 0);
    assert!(pool.check());
}

/// Many more buffers than the model tests have, so that the trees are high.
#[test]
fn a_large_pool_stays_sound() {
    const BUFFERS: usize = 4096;
    let storage = vec![Slot::default(); BUFFERS];
    let mut pool: Pool = Reserve::new(BASE, 1 << 32, 1, storage).expect("a good region");
    let mut lent = Vec::new();
    let mut random = 1u64;
    for step in 0..40_000 {
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let number = random >> 33;
        // Mostly up, then mostly down.
        let grow = number % 16 < if step < 20_000 { 10 } else { 6 };
        if grow || lent.is_empty() {
            let fit = if number & 64 == 0 {
                Fit::First
            } else {
                Fit::Best
            };
            let request = Request {
                fit,
                ..Request::anywhere((number >> 8) % (8 * PAGE) + 1)
            };
            lent.extend(pool.allocate(request, 0));
        } else {
            let buffer = lent.swap_remove(number as usize / 16 % lent.len());
            pool.free(buffer.base, buffer.bytes).expect("lent");
        }
        assert_eq!(pool.count(), lent.len());
        assert!(step % 2_000 != 0 || pool.check(), "step {step}");
    }
    assert!(pool.check());
}
