// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The allocator against a bitmap that is too simple to be wrong.

use landfall_reserve::allocator::{Fit, Request, Reserve, Slot, PAGE};
use proptest::prelude::*;

const BASE: u64 = (1 << 24) - 24 * PAGE;
const PAGES: usize = 64;

/// One bit a page, taken or not; looks at every page, from the first.
struct Bitmap {
    taken: [bool; PAGES],
    guard: usize,
}

impl Bitmap {
    fn footprint(&self, page: usize, pages: usize) -> std::ops::Range<usize> {
        page - self.guard..page + pages + self.guard
    }

    fn fits(&self, page: usize, request: &Request) -> bool {
        let pages = request.bytes.div_ceil(PAGE) as usize;
        let base = BASE + page as u64 * PAGE;
        let last = base + request.bytes - 1;
        let limit = if request.address_bits == 64 {
            u64::MAX
        } else {
            (1 << request.address_bits) - 1
        };
        page >= self.guard
            && page + pages + self.guard <= PAGES
            && self.footprint(page, pages).all(|page| !self.taken[page])
            && base.is_multiple_of(request.alignment)
            && (request.boundary == 0 || base / request.boundary == last / request.boundary)
            && base + pages as u64 * PAGE - 1 <= limit
    }

    fn allocate(&mut self, request: &Request) -> Option<u64> {
        let page = (0..PAGES).find(|page| self.fits(*page, request))?;
        self.set(page, request.bytes, true);
        Some(BASE + page as u64 * PAGE)
    }

    fn free(&mut self, base: u64, bytes: u64) {
        self.set(((base - BASE) / PAGE) as usize, bytes, false);
    }

    fn set(&mut self, page: usize, bytes: u64, taken: bool) {
        for page in self.footprint(page, bytes.div_ceil(PAGE) as usize) {
            self.taken[page] = taken;
        }
    }

    /// The longest run of free pages, less the guards.
    fn largest_free(&self) -> u64 {
        let runs = self.taken.split(|taken| *taken).map(<[bool]>::len);
        let longest = runs.max().unwrap_or(0);
        longest.saturating_sub(2 * self.guard) as u64 * PAGE
    }
}

#[derive(Clone, Debug)]
enum Step {
    Allocate(Request),
    /// Frees the n-th buffer that is lent.
    Free(prop::sample::Index),
    /// A wrong free: some address and size that nobody was given.
    FreeWrongly(u64, u64),
}

fn request() -> impl Strategy<Value = Request> {
    let bytes = 1..10 * PAGE;
    let bits = prop_oneof![Just(24u32), Just(25), Just(64)];
    (
        bytes,
        bits,
        0u32..5,
        prop_oneof![Just(None), (0u32..4).prop_map(Some)],
    )
        .prop_map(|(bytes, address_bits, align, boundary)| Request {
            bytes,
            address_bits,
            alignment: PAGE << align,
            boundary: boundary.map_or(0, |shift| bytes.next_power_of_two().max(PAGE) << shift),
            at: None,
            fit: Fit::First,
        })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => request().prop_map(Step::Allocate),
        3 => any::<prop::sample::Index>().prop_map(Step::Free),
        1 => (0..80u64, 1..12 * PAGE).prop_map(|(page, bytes)| Step::FreeWrongly(BASE + page * PAGE, bytes)),
    ]
}

proptest! {
    /// Same answers, same addresses, same free space, and the invariants hold after every step.
    #[test]
    fn the_allocator_agrees_with_a_bitmap(
        guard in 0u32..3,
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let storage = vec![Slot::<()>::default(); PAGES];
        let mut pool = Reserve::new(BASE, PAGES as u64 * PAGE, guard, storage).expect("a good region");
        let mut model = Bitmap { taken: [false; PAGES], guard: guard as usize };
        let mut lent: Vec<(u64, u64)> = Vec::new();

        for step in steps {
            match step {
                Step::Allocate(request) => {
                    let got = pool.allocate(request, ()).ok().map(|extent| extent.base);
                    prop_assert_eq!(got, model.allocate(&request), "{:?}", request);
                    lent.extend(got.map(|base| (base, request.bytes)));
                }
                Step::Free(index) if !lent.is_empty() => {
                    let (base, bytes) = lent.swap_remove(index.index(lent.len()));
                    prop_assert!(pool.free(base, bytes).is_ok());
                    model.free(base, bytes);
                }
                Step::FreeWrongly(base, bytes) if !lent.contains(&(base, bytes)) => {
                    prop_assert!(pool.free(base, bytes).is_err());
                }
                Step::Free(_) | Step::FreeWrongly(..) => {}
            }
            prop_assert!(pool.check());
            prop_assert_eq!(pool.count(), lent.len());
            let free = model.taken.iter().filter(|taken| !**taken).count() as u64 * PAGE;
            prop_assert_eq!(pool.free_bytes(), free);
            prop_assert_eq!(pool.largest_free(), model.largest_free());
        }
    }

    /// Hostile numbers: no panic, and an answer only if it keeps its word.
    #[test]
    fn any_request_is_answered_or_refused(
        bytes: u64, address_bits: u32, alignment: u64, boundary: u64, base: u64, size: u64,
    ) {
        let storage = vec![Slot::<()>::default(); 4];
        let mut pool = Reserve::new(BASE, PAGES as u64 * PAGE, 1, storage).expect("a good region");
        let before = pool.used().copied().collect::<Vec<_>>();

        let got = pool.allocate(Request { bytes, address_bits, alignment, boundary, at: None, fit: Fit::First }, ());
        prop_assert!(pool.check());
        if let Ok(extent) = got {
            prop_assert_eq!(extent.bytes, bytes);
            pool.free(extent.base, bytes).expect("what was lent");
        }
        let _ = pool.free(base, size);
        prop_assert_eq!(pool.used().copied().collect::<Vec<_>>(), before);
    }
}

/// The negative control: a model that forgets guard pages is told apart.
#[test]
fn the_comparison_can_fail() {
    let storage = vec![Slot::<()>::default(); PAGES];
    let mut pool = Reserve::new(BASE, PAGES as u64 * PAGE, 1, storage).expect("a good region");
    let mut wrong = Bitmap {
        taken: [false; PAGES],
        guard: 0,
    };
    let request = Request::anywhere(PAGE);

    let real = pool.allocate(request, ()).ok().map(|extent| extent.base);

    assert_ne!(real, wrong.allocate(&request));
}
