// SPDX-License-Identifier: MIT OR Apache-2.0

//! A device that nobody wrote: random queues, vectors, coalescing, rings with write-backs, scatter lists, reads and
//! writes, under a random driver. Honest and right by construction, so that nothing may be said of it; and with one
//! thing made wrong, so that something must.

mod world;

use proptest::prelude::*;

use self::world::World;
use super::rules::stream::*;
use super::*;
use crate::contract::{IdleScope, Label, Owed, Piece, Promise, Vector};
use crate::journal::{Call, DriverCall, DriverState, LendDirection};

/// Queues that there may be.
const QUEUES: u16 = 4;
/// Memory of a queue: its ring, then its status block, then its buffers.
const fn area(queue: u16) -> u64 {
    0x1_0000_0000 + (queue as u64) * 0x1000_0000
}
/// A second of waiting is longer than any timer here.
const TIMER_NS: u64 = 100_000;

/// How a queue is made.
#[derive(Clone, Debug)]
struct Make {
    vector: u16,
    /// So many completions interrupt; 0: only an edge on empty does.
    coalesce: u8,
    /// The card reads a ring and writes it back.
    ring: bool,
    /// It writes its head to a status block.
    status: bool,
    labels: bool,
    /// Jobs that it has at most.
    depth: u8,
}

/// How a job is made.
#[derive(Clone, Debug)]
struct Plan {
    queue: u8,
    read: bool,
    /// Bytes of its pieces, and of the gaps between them; 0: they touch.
    pieces: Vec<(u16, u16)>,
    /// Mapped by one list, each by itself, or as blocks of a pool.
    sort: u8,
    /// Of a write, so many eighths arrive.
    filled: u8,
    /// Bytes of an access.
    burst: u16,
    bounced: bool,
}

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    Queue(Plan),
    Begin(u8),
    /// The oldest job in work moves so many accesses on.
    Move(u8, u8),
    Finish(u8),
    /// It comes to nothing.
    Fail(u8),
    /// The driver handles its completions.
    Take(u8),
    Mask(u8, bool),
    Link(u8),
    Wait(u32),
    Stop(u8),
    StopAll,
    Reset,
    Rebind,
}

/// What is made wrong, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    /// A write outside of the job's pieces and of all lends.
    Outside,
    /// A write of a job that is over.
    AfterDone,
    /// A write to what was unmapped, for nobody.
    AfterUnmap,
    LostInterrupt,
    Spurious,
    Short,
    OtherWay,
    /// The driver unmaps what the card works on.
    UnmapEarly,
    /// The driver keeps a lend.
    Leak,
    /// It unmaps twice.
    Twice,
}

const WRONG: [Wrong; 10] = [
    Wrong::Outside,
    Wrong::AfterDone,
    Wrong::AfterUnmap,
    Wrong::LostInterrupt,
    Wrong::Spurious,
    Wrong::Short,
    Wrong::OtherWay,
    Wrong::UnmapEarly,
    Wrong::Leak,
    Wrong::Twice,
];

impl Wrong {
    /// What it may be called; 0: by no class.
    const fn classes(self) -> &'static [u8] {
        match self {
            Self::Outside => &[0, 1, 2, 3, 7, 19, 57],
            Self::AfterDone => &[41, 20],
            Self::AfterUnmap => &[7],
            Self::LostInterrupt => &[43],
            Self::Spurious => &[42, 44, 46],
            Self::Short => &[56],
            Self::OtherWay => &[39],
            Self::UnmapEarly => &[30, 31, 48],
            Self::Leak => &[53],
            Self::Twice => &[48],
        }
    }
}

/// How `total` bytes go into pieces, at most `burst` at once.
fn accesses(pieces: &[(u64, u64)], total: u64, burst: u64) -> Vec<(u64, u64)> {
    let (mut list, mut left) = (Vec::new(), total);
    for &(at, length) in pieces {
        let end = at + length.min(left);
        left -= length.min(left);
        // At most eight a piece, so that a case is short.
        let burst = burst.max(length.div_ceil(8));
        let mut at = at;
        while at < end {
            let length = burst.min(end - at);
            list.push((at, length));
            at += length;
        }
    }
    list
}

fn make() -> impl Strategy<Value = Make> {
    let flags = any::<[bool; 3]>();
    (0..4u16, 0..5u8, flags, 1..6u8).prop_map(|(vector, coalesce, flags, depth)| {
        let [ring, status, labels] = flags;
        Make {
            vector,
            coalesce,
            ring,
            status,
            labels,
            depth,
        }
    })
}

fn plan() -> impl Strategy<Value = Plan> {
    let pieces = prop::collection::vec((0..5000u16, 0..3u16), 1..5);
    let some = (any::<u8>(), any::<bool>(), 0..3u8, 0..8u8);
    (some, pieces, 0..5000u16, any::<bool>()).prop_map(|(some, pieces, burst, bounced)| {
        let (queue, read, sort, filled) = some;
        Plan {
            queue,
            read,
            pieces,
            sort,
            filled,
            burst,
            bounced,
        }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let queue = any::<u8>;
    prop_oneof![
        8 => plan().prop_map(Step::Queue),
        8 => queue().prop_map(Step::Begin),
        6 => (queue(), 1..9u8).prop_map(|(queue, count)| Step::Move(queue, count)),
        8 => queue().prop_map(Step::Finish),
        1 => queue().prop_map(Step::Fail),
        6 => queue().prop_map(Step::Take),
        2 => (queue(), any::<bool>()).prop_map(|(queue, masked)| Step::Mask(queue, masked)),
        1 => queue().prop_map(Step::Link),
        1 => (0..3_000_000u32).prop_map(Step::Wait),
        1 => queue().prop_map(Step::Stop),
        1 => Just(Step::StopAll),
        1 => Just(Step::Reset),
        1 => Just(Step::Rebind),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Of what is right nothing is said.
    #[test]
    fn an_honest_device_under_a_correct_driver_is_clean(
        makes in prop::collection::vec(make(), 1..=QUEUES as usize),
        steps in prop::collection::vec(step(), 0..80),
    ) {
        let mut world = World::new(makes, None, 0);
        for step in &steps {
            world.step(step);
        }
        let (_, judged) = world.judged();
        prop_assert_eq!(judged.violations, vec![]);
        prop_assert_eq!(judged.hints, vec![]);
        prop_assert_eq!(judged.not_judged, Vec::<String>::new());
    }

    /// With one thing made wrong something is said, and the right thing.
    #[test]
    fn whatever_is_made_wrong_is_named(
        makes in prop::collection::vec(make(), 1..=QUEUES as usize),
        steps in prop::collection::vec(step(), 20..80),
        wrong in prop::sample::select(&WRONG[..]),
        fuse in 0..20u8,
    ) {
        let mut world = World::new(makes, Some(wrong), fuse);
        for step in &steps {
            world.step(step);
        }
        let (struck, judged) = world.judged();
        let number = |found: &Violation| found.class.map_or(0, Class::number);
        let found: Vec<_> = judged.violations.iter().map(number).collect();
        if struck {
            let expected = wrong.classes();
            prop_assert!(found.iter().any(|class| expected.contains(class)), "{wrong:?}: {judged:#?}");
        } else {
            prop_assert_eq!(judged.violations, vec![]);
        }
    }
}

/// Each wrong can strike; so the test above can fail.
#[test]
fn each_wrong_strikes() {
    let make = Make {
        vector: 0,
        coalesce: 1,
        ring: true,
        status: true,
        labels: false,
        depth: 4,
    };
    let plan = Plan {
        queue: 0,
        read: false,
        pieces: vec![(1000, 1), (500, 0)],
        sort: 1,
        filled: 7,
        burst: 64,
        bounced: false,
    };
    for wrong in WRONG {
        let mut world = World::new(vec![make.clone()], Some(wrong), 0);
        let steps = [
            Step::Queue(plan.clone()),
            Step::Begin(0),
            Step::Move(0, 1),
            Step::Finish(0),
            Step::Take(0),
        ];
        for step in &steps {
            world.step(step);
        }
        let (struck, judged) = world.judged();
        assert!(struck, "{wrong:?}");
        let classes = judged.violations.iter().map(|found| found.class);
        let classes: Vec<_> = classes
            .map(|class| class.map_or(0, Class::number))
            .collect();
        let expected = |class| wrong.classes().contains(class);
        assert!(classes.iter().any(expected), "{wrong:?}: {classes:?}");
    }
}
