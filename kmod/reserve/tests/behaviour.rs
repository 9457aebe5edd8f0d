// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The allocator's rules, one test each.

use landfall_reserve::allocator::{
    AllocateError, FreeError, RegionError, Request, Reserve, Slot, PAGE,
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
