// SPDX-License-Identifier: MIT OR Apache-2.0

use super::stream::*;
use crate::contract::{Direction, DmaError};
use crate::journal::{Call, DriverCall, DriverState, Kind, Memory, Outcome};

const LIST: [(u64, u64); 3] = [(0x7000_0000, 4096), (0x7000_1000, 4096), (0x7100_0000, 512)];

#[test]
fn balanced_driver_is_clean() {
    Stream::bound().captures(0).captures(1).unbinds().is_clean();
    let twice = Stream::bound()
        .map(FRAME[0], SIZE, FromDevice)
        .unmap(FRAME[0], SIZE, FromDevice);
    twice.captures(0).unbinds().is_clean();
}

#[test]
fn lists_end_as_a_whole_whatever_was_merged() {
    let listed = |entries| Stream::bound().list(Call::MapList, &LIST, entries);
    listed(3)
        .list(Call::UnmapList, &LIST, 3)
        .unbinds()
        .is_clean();
    listed(9)
        .list(Call::UnmapList, &LIST, 9)
        .unbinds()
        .is_clean();
    // A transfer over two segments without a gap between them is right; over two lends it is not.
    let over = |first, length| {
        let stream = listed(3).map(0x7100_0200, 4096, FromDevice);
        stream.untagged(Direction::Write, first, length)
    };
    over(0x7000_0800, 4096).is_clean();
    over(0x7100_0000, 1024).is(1);
}

/// Two pieces of memory at the beginning of a range of the driver's, and another range behind.
fn linked() -> Stream {
    let link = |range, address, length| DriverCall {
        list: Some(range),
        phys: address << 4,
        ..call(Call::Link, address, length, FromDevice)
    };
    Stream::bound()
        .call(link(0x7000_0000, 0x7000_0000, 4096))
        .call(link(0x7000_0000, 0x7000_1000, 4096))
        .call(link(0x7000_2000, 0x7000_2000, 4096))
}

fn unlinks(stream: Stream, address: u64, length: u64) -> Stream {
    stream.call(call(Call::Unlink, address, length, FromDevice))
}

#[test]
fn what_is_linked_is_lent_until_its_range_comes_back() {
    let all = |stream| unlinks(unlinks(stream, 0x7000_0000, 8192), 0x7000_2000, 4096);
    let writes = |stream: Stream, at, length| stream.untagged(Direction::Write, at, length);
    all(writes(linked(), 0x7000_0800, 4096))
        .unbinds()
        .is_clean();
    // Into another range is another lend, and past the last is none.
    writes(linked(), 0x7000_1800, 4096).is(1);
    writes(linked(), 0x7000_2800, 4096).is(1);
    writes(all(linked()), 0x7000_1000, 64).is(7);
    linked().unbinds().is(53);
    // One by one is right, too, and to hear of it twice.
    let first = || unlinks(linked(), 0x7000_0000, 4096);
    writes(first(), 0x7000_1000, 64).is_clean();
    writes(first(), 0x7000_0000, 64).is(7);
    let rest = |stream| unlinks(unlinks(stream, 0x7000_1000, 4096), 0x7000_2000, 4096);
    rest(first()).unbinds().is_clean();
    rest(unlinks(first(), 0x7000_0000, 4096))
        .unbinds()
        .is_clean();
    let reads = call(Call::Unlink, 0x7000_0000, 8192, ToDevice);
    linked().call(reads).is(39);
    linked().unmap(0x7000_0000, 4096, FromDevice).is(50);
}

/// A part of what was linked at once: what of it is left is not known.
#[test]
fn of_a_link_that_was_cut_nothing_is_concluded() {
    let writes = |stream: Stream, at| stream.untagged(Direction::Write, at, 64);
    for (address, left) in [(0x7000_0000, 0x7000_1800), (0x7000_0800, 0x7000_0400)] {
        let cut = || unlinks(linked(), address, 6144);
        writes(cut(), left).is_clean();
        assert!(!cut().judged().unheard.is_empty());
        writes(cut(), 0x9000_0000).is_not_judged();
        let why = writes(cut(), 0x9000_0000).judged().not_judged;
        let end = "1 times: the witness does not hear dma_iova_unlink of a part of what was linked";
        assert!(why.iter().any(|why| why.ends_with(end)), "{why:?}");
    }
}

#[test]
fn class_4_is_a_lend_beyond_the_width_of_the_card() {
    let with = |bits| Stream::bound().declaring(|declares| declares.limits.address_bits = bits);
    with(64).is_clean();
    with(33).is_clean();
    assert_eq!(with(32).classes(), [Some(4), Some(4)], "each frame");
    let found = with(32).verdict().violations;
    let call = found[0].call.as_ref().expect("a call");
    assert_eq!((call.call, call.number, call.guest_ns), (Call::Map, 0, 0));
    assert_eq!(call.symbol.as_deref(), Some("drv_probe+0x12/0x34 [drv]"));
}

#[test]
fn classes_15_16_and_17_are_memory_that_must_not_be_lent() {
    let kinds = [
        (Memory::Text, 15),
        (Memory::Stack, 16),
        (Memory::Invalid, 17),
    ];
    for (memory, class) in kinds {
        let lend = |way| {
            let memory = DriverCall {
                memory,
                ..call(Call::Map, 0x5000, 64, way)
            };
            Stream::bound().call(memory)
        };
        lend(FromDevice).is(class);
        let reads = lend(Both).access(
            Direction::Read,
            0x5000,
            64,
            Outcome::Refused(DmaError::Unmapped),
        );
        assert_eq!(reads.classes(), [Some(class), Some(class)]);
        // The zero page, or a table of constants, may be read.
        match memory {
            Memory::Text => lend(ToDevice).reads(0x5000, 64).is_clean(),
            _ => {
                lend(ToDevice).is(class);
            }
        }
    }
    Stream::bound().map(0x5000, 64, ToDevice).is_clean();
}

/// A carve-out is no RAM to the kernel, and the pool's to lend.
#[test]
fn memory_that_the_pool_lends_is_memory() {
    let carved = |pool| DriverCall {
        memory: Memory::Invalid,
        phys: 0x5000,
        ..call(Call::Map, 0x5000, pool, ToDevice)
    };
    let of_pool = call(Call::PoolLend, 0x5000, 0x1000, Both);

    Stream::bound()
        .call(of_pool.clone())
        .call(carved(64))
        .is_clean();
    Stream::bound().call(of_pool).call(carved(0x2000)).is(17);
}

#[test]
fn class_18_is_two_lends_in_one_cache_line() {
    let two = |line, second, a, b| {
        let mut stream = Stream::bound().map(0x5000, 32, a).map(second, 32, b);
        stream.platform.cache_line = line;
        stream
    };
    two(64, 0x5020, FromDevice, FromDevice).is(18);
    two(64, 0x5020, ToDevice, FromDevice).is(18);
    two(64, 0x5020, Both, ToDevice).is(18);
    two(64, 0x5020, ToDevice, ToDevice).is_clean();
    two(64, 0x5040, FromDevice, FromDevice).is_clean();
    two(128, 0x5040, FromDevice, FromDevice).is(18);
    two(64, 0x5000, FromDevice, FromDevice).is_clean(); // the same bytes twice
    // Where caches are coherent the kernel allows it.
    two(0, 0x5020, FromDevice, FromDevice).is_clean();
    let mut coherent = Stream::bound().map(0x5000, 32, FromDevice);
    coherent.platform.cache_line = 64;
    coherent.alloc(0x5020, 32).is_clean();
    // It is the memory that counts, not the bus address.
    let bounced = |phys| DriverCall {
        phys,
        ..call(Call::Map, 0x9000 + phys, 32, FromDevice)
    };
    let mut two = Stream::bound().call(bounced(0x5000)).call(bounced(0x5020));
    two.is_clean();
    two.platform.cache_line = 64;
    two.is(18);
}

#[test]
fn class_39_is_also_an_unmap_with_another_direction() {
    Stream::bound().unmap(FRAME[0], SIZE, ToDevice).is(39);
}

#[test]
fn class_40_is_a_sync_outside_of_what_is_mapped() {
    let sync =
        |address, length| Stream::bound().call(call(Call::SyncForCpu, address, length, FromDevice));
    sync(FRAME[0], SIZE).is_clean();
    sync(FRAME[0] + 64, 64).is_clean();
    sync(FRAME[0], SIZE + 1).is(40);
    sync(0x5000, 64).is(40);
    Stream::bound()
        .unmaps()
        .call(call(Call::SyncForDevice, FRAME[1], 8, FromDevice))
        .is(40);
}

#[test]
fn class_47_is_another_length() {
    let found = Stream::bound().unmap(FRAME[0], SIZE / 2, FromDevice).is(47);
    assert!(found.text.contains("2048"), "{}", found.text);
    Stream::bound()
        .alloc(0x5000, 8192)
        .free(0x5000, 4096)
        .is(47);
    Stream::bound()
        .alloc(0x5000, 8192)
        .free(0x5000, 8192)
        .is_clean();
    // Of two lends at one address the one of that length ends.
    let two = Stream::bound()
        .map(0x5000, 64, ToDevice)
        .map(0x5000, 128, ToDevice);
    two.unmap(0x5000, 128, ToDevice)
        .unmap(0x5000, 64, ToDevice)
        .is_clean();
}

#[test]
fn class_48_is_an_unmap_of_nothing() {
    let found = Stream::bound()
        .unmap(FRAME[0], SIZE, FromDevice)
        .unmap(FRAME[0], SIZE, FromDevice)
        .is(48);
    assert!(found.text.contains("ended already"), "{}", found.text);
    Stream::bound().unmap(0x5000, 64, FromDevice).is(48);
    let found = Stream::bound().unmap(FRAME[0] + 64, 64, FromDevice).is(48);
    assert!(found.text.contains("64 bytes into"), "{}", found.text);
    Stream::bound().free(0x5000, 64).is(48);
    // A list is told in pieces, and is one mistake.
    Stream::bound().list(Call::UnmapList, &LIST, 3).is(48);
}

#[test]
fn class_49_is_the_use_of_a_failed_mapping() {
    let failed = || Stream::bound().call(call(Call::MapFailed, u64::MAX, 64, FromDevice));
    failed().is_clean();
    failed().unmap(u64::MAX, 64, FromDevice).is(49);
    failed().begins(0, u64::MAX, 64).is(49);
    failed().untagged_write(u64::MAX).is(49);
    assert_eq!(Stream::bound().untagged_write(u64::MAX).classes(), [None]);
}

#[test]
fn class_50_is_the_wrong_way_to_give_back() {
    Stream::bound().free(FRAME[0], SIZE).is(50);
    Stream::bound()
        .alloc(0x5000, 64)
        .unmap(0x5000, 64, Both)
        .is(50);
    Stream::bound()
        .list(Call::MapList, &LIST, 3)
        .unmap(LIST[0].0, 4096, FromDevice)
        .is(50);
    Stream::bound()
        .list(Call::UnmapList, &[(FRAME[0], SIZE)], 1)
        .is(50);
}

#[test]
fn class_51_is_a_list_of_other_entries() {
    let stream = Stream::bound().list(Call::MapList, &LIST, 5);
    stream.list(Call::UnmapList, &LIST, 3).unbinds().is(51);
}

#[test]
fn lists_that_are_told_on_two_cpus_at_once_are_kept_apart() {
    let part = |which, part, at: u64, cpu| {
        let call = DriverCall {
            entries: 2,
            part,
            cpu,
            ..call(which, 0x7000_0000 + at * 4096, 4096, FromDevice)
        };
        Kind::Call(call)
    };
    let mut stream = Stream::bound();
    // The first moves from CPU 0 to CPU 2 in the middle, on the way back too.
    for which in [Call::MapList, Call::UnmapList] {
        stream = stream
            .kind(part(which, 0, 0, 0))
            .kind(part(which, 0, 4, 1))
            .kind(part(which, 1, 1, 2))
            .kind(part(which, 1, 5, 1));
    }
    stream.unbinds().is_clean();
}

#[test]
fn classes_52_and_53_are_what_is_left_behind() {
    Stream::bound().alloc(0x5000, 64).unbinds().is(53);
    let failed = Stream::bound().call(call(Call::MapFailed, u64::MAX, 64, FromDevice));
    failed.clone().alloc(0x5000, 64).unbinds().is(52);
    failed.unbinds().is_clean();
    // Another driver's failure is not this one's.
    let next = |stream: Stream| {
        stream
            .state(DriverState::Binding)
            .alloc(0x5000, 64)
            .state(DriverState::Bound)
    };
    let first = Stream::bound()
        .call(call(Call::MapFailed, u64::MAX, 64, FromDevice))
        .unbinds();
    next(first).state(DriverState::Unbound).is(53);
}

#[test]
fn what_the_kernel_frees_after_a_refused_probe_is_no_leak() {
    let refused = Stream::binding()
        .alloc(0x5000, 64)
        .state(DriverState::NotBound);
    refused.clone().free(0x5000, 64).is_clean();
    refused.clone().state(DriverState::Binding).is(53);
    refused.is(53);
}

#[test]
fn what_was_left_behind_is_told_once_and_what_is_left_later_again() {
    let again = || {
        let unbound = Stream::bound().alloc(0x5000, 64).unbinds();
        let bound = unbound.state(DriverState::Binding).alloc(0x6000, 32);
        bound.kind(Kind::BusMaster { on: true })
    };
    let left = || again().kind(Kind::BusMaster { on: false });
    left().free(0x6000, 32).state(DriverState::Unbound).is(53);
    let both = left().state(DriverState::Unbound);
    assert_eq!(both.classes(), [Some(53), Some(53)]);
}

#[test]
fn buffer_that_a_user_still_holds_at_unbind_is_no_leak_once_it_is_freed() {
    let held = Stream::bound()
        .alloc(0x5000, 4096)
        .call(call(Call::Queue, 0x5000, 4096, FromDevice))
        .call(call(Call::Done, 0x5000, 4096, FromDevice))
        .unbinds();
    held.clone().free(0x5000, 4096).is_clean();
    // He may hold it when the next driver comes, and not for ever.
    let next = held.clone().state(DriverState::Binding);
    next.clone().free(0x5000, 4096).is_clean();
    let bound = next.state(DriverState::Bound);
    let unbound = |stream: Stream| stream.state(DriverState::Unbound);
    unbound(bound.clone().free(0x5000, 4096)).is_clean();
    unbound(bound).is(53);
    held.is(53);
}

#[test]
fn pool_memory_that_was_mapped_here_and_is_not_returned_is_a_leak() {
    let lend = |address| call(Call::PoolLend, address, SIZE, Both);
    let back = call(Call::PoolReturn, FRAME[0], SIZE, Both);
    // The pool lends to others too, and before it is mapped.
    let stream = || {
        Stream::binding()
            .call(lend(FRAME[0]))
            .call(lend(0x8000_0000))
    };
    let frame = |slot: usize| call(Call::Map, FRAME[slot], SIZE, FromDevice);
    let bound = || stream().with_frames([frame(0), frame(1)]);
    bound().captures(0).unbinds().call(back).is_clean();
    bound().captures(0).unbinds().is(53);
    bound().captures(0).is_clean();
}

#[test]
fn after_a_gap_what_is_not_known_is_not_judged() {
    let gap = Kind::WitnessGap {
        expected: 2,
        got: 7,
    };
    let refused = Kind::Refused {
        what: "witness: half a commit".to_owned(),
    };
    for lost in [refused, gap] {
        let stream = Stream::bound()
            .kind(lost)
            .unmap(0x5000, 64, FromDevice)
            .writes(0x9_0000, 8);
        let judged = stream.alloc(0x6000, 64).unbinds().verdict();
        assert_eq!(judged.violations, []);
        assert_eq!(judged.not_judged.len(), 1, "{judged:#?}");
    }
}
