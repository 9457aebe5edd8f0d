// SPDX-License-Identifier: MIT OR Apache-2.0

use super::super::{Class, Ledger, Lend, LendKind, Platform};
use super::stream::*;
use crate::contract::{Direction, DmaError, IdleScope, Role};
use crate::journal::{Call, DriverCall, DriverState, Kind};

#[test]
fn class_1_is_more_than_was_programmed() {
    let written = || Stream::bound().starts(0).writes(FRAME[0], SIZE);
    let found = written().writes(FRAME[0] + SIZE, 1).completes().is(1);
    assert_eq!((found.address, found.length), (FRAME[0] + SIZE, 1));
    let lend = found.lend.expect("a lend");
    assert_eq!((lend.distance, lend.kind), (0, LendKind::Streaming));
    // Also where more than that is lent, and where the next buffer lies.
    let room = Stream::binding()
        .alloc(FRAME[0], 2 * SIZE)
        .state(DriverState::Bound);
    let room = room.enables();
    room.starts(0)
        .writes(FRAME[0], SIZE)
        .writes(FRAME[0] + SIZE, 64)
        .completes()
        .is(1);
    let next = Stream::bound()
        .map(FRAME[0] + SIZE, SIZE, FromDevice)
        .starts(0);
    next.writes(FRAME[0], SIZE)
        .writes(FRAME[0] + SIZE, 64)
        .completes()
        .is(1);
    // The whole of it displaced.
    let found = Stream::bound()
        .starts(0)
        .writes(FRAME[0] + SIZE, SIZE)
        .completes()
        .is(1);
    assert!(found.text.contains("+4096"), "{}", found.text);
    // Without jobs, past the end of a lend.
    Stream::bound().untagged_write(FRAME[0] + SIZE - 32).is(1);
}

#[test]
fn classes_2_3_and_19_are_the_upper_bits() {
    let at = |address| Stream::bound().starts(0).writes(address, SIZE).completes();
    at(FRAME[0]).is_clean();
    at(FRAME[0] & 0xffff_ffff).is(2);
    at(FRAME[0] & 0xff_ffff).is(3);
    at(FRAME[0] | 1 << 57).is(19);
    let without_job = |address| Stream::bound().untagged_write(address);
    without_job(FRAME[0] & 0xffff_ffff).is(2);
    without_job(FRAME[0] | 1 << 57).is(19);
}

#[test]
fn class_5_is_the_physical_address() {
    let frame = |slot: usize| DriverCall {
        phys: 0x2_0000_0000 + slot as u64 * SIZE,
        ..call(Call::Map, FRAME[slot], SIZE, FromDevice)
    };
    let bound = || Stream::binding().with_frames([frame(0), frame(1)]);
    bound().captures(0).is_clean();
    let mut stream = bound().queue(0).begins(0, 0x2_0000_0000, SIZE);
    stream.platform.iommu = true;
    let found = stream.refused(0x2_0000_0000, DmaError::Unmapped).is(5);
    assert!(
        found.text.contains("the IOMMU refused it"),
        "{}",
        found.text
    );
    // Where both are the same it cannot be told, nor is it wrong.
    Stream::bound().captures(0).is_clean();
}

#[test]
fn class_7_is_what_was_taken_back() {
    // A slot, while its mapping lives on.
    let taken = || Stream::bound().captures(0);
    taken().untagged_write(FRAME[0]).is(7);
    taken().writes(FRAME[0], 64).is(41); // the card itself says for which job
    let other = taken()
        .starts(1)
        .writes(FRAME[0], 64)
        .writes(FRAME[1], SIZE);
    other.completes().is(7);
    taken().captures(0).captures(1).captures(0).is_clean();
    // A mapping.
    let found = Stream::bound()
        .captures(0)
        .unmaps()
        .untagged_write(FRAME[0])
        .is(7);
    assert_eq!(found.call.map(|call| call.call), Some(Call::Unmap));
    // After unbind, too.
    Stream::bound()
        .captures(0)
        .unbinds()
        .untagged_write(FRAME[0])
        .is(7);
}

#[test]
fn job_into_what_was_unmapped_is_stale_also_right_behind_another_frame() {
    let next = FRAME[0] + SIZE;
    let lends = [FRAME[0], next].map(|at| call(Call::Map, at, SIZE, FromDevice));
    let stream = || {
        let stream = Stream::binding().with_frames(lends.clone());
        stream.captures(0).unmap(next, SIZE, FromDevice)
    };
    let stale = stream().queue(1).begins(1, next, SIZE);
    stale.writes(next, SIZE).completes().is(7);
    // On from the end of a frame it is an overrun, whatever was there once.
    let over = stream().starts(0).writes(FRAME[0], SIZE).writes(next, 64);
    over.completes().is(1);
    let unused = Stream::binding().with_frames(lends.clone());
    let unmapped = unused.unmap(next, SIZE, FromDevice);
    let over = unmapped.clone().untagged_write(next - 64);
    over.untagged_write(next).is(1);
    unmapped.untagged_write(next).is(7);
}

/// A driver of vb2's, as dt3155 is: two coherent buffers, no slots and no idle.
fn grabber() -> Stream {
    let queue = |slot: usize| call(Call::Queue, FRAME[slot], SIZE, FromDevice);
    Stream::binding()
        .alloc(FRAME[0], SIZE)
        .alloc(FRAME[1], SIZE)
        .state(DriverState::Bound)
        .register("INT_CSR", 0x607)
        .masks(None, false)
        .call(queue(0))
        .call(queue(1))
}

fn back(slot: usize) -> DriverCall {
    call(Call::Done, FRAME[slot], SIZE, FromDevice)
}

#[test]
fn vb2_buffers_are_the_cards_while_they_are_queued() {
    let line = |stream: Stream, slot: usize| stream.untagged_write(FRAME[slot] + 64);
    line(grabber(), 0).call(back(0)).is_clean();
    // The same buffer is filled again for as long as nothing else is queued.
    line(line(grabber(), 1), 1).is_clean();
    line(grabber().call(back(0)), 0).is(7);
    let off = || grabber().call(back(0)).call(back(1));
    line(off(), 1).is(20);
    // A card that says when it is idle, and works, was not stopped: the driver left it an address.
    let works = |stream: Stream| stream.begins(0, FRAME[0], SIZE).writes(FRAME[0], 64);
    works(off()).is(7);
    works(grabber().call(back(0))).is(7);
    works(off().declaring(|declares| declares.idle = IdleScope::Never)).is(20);
    // A free buffer is nobody's.
    let freed = off().free(FRAME[0], SIZE).free(FRAME[1], SIZE);
    line(freed.clone(), 1).is(7);
    // Its memory may be lent for something else.
    line(freed.alloc(FRAME[1], SIZE), 1).is_clean();
    // Without vb2's word the lend is all there is.
    line(Stream::binding().alloc(FRAME[0], SIZE), 0).is_clean();
}

#[test]
fn class_39_is_the_wrong_direction() {
    Stream::bound().starts(0).reads(FRAME[0], 64).is(39);
    let clip = || {
        Stream::bound()
            .map(FRAME[0] + SIZE, 256, ToDevice)
            .starts(0)
    };
    clip()
        .reads(FRAME[0] + SIZE, 256)
        .writes(FRAME[0], SIZE)
        .completes()
        .is_clean();
    clip().writes(FRAME[0] + SIZE, 64).is(39);
}

#[test]
fn class_41_is_data_after_its_completion() {
    let early = Stream::bound()
        .starts(0)
        .writes(FRAME[0], SIZE - 64)
        .completes();
    let found = early
        .clone()
        .writes(FRAME[0] + SIZE - 64, 64)
        .taken_back(0)
        .is(41);
    assert_eq!((found.address, found.length), (FRAME[0] + SIZE - 64, 64));
    early
        .clone()
        .taken_back(0)
        .writes(FRAME[0] + SIZE - 64, 64)
        .is(41);
    early.is(56); // if nothing follows
}

#[test]
fn class_57_is_a_read_beside_a_lend() {
    let small = || Stream::bound().map(0x5000, 1024, FromDevice).starts(0);
    small().reads(0x5000 + 1024 + 256, 64).is(57);
    small()
        .map(0x5800, 64, ToDevice)
        .reads(0x5800, 64)
        .is_clean();
    small().map(0x5800, 64, ToDevice).reads(0x5800, 128).is(1);
    assert_eq!(small().reads(0x8000, 64).classes(), [None]);
}

#[test]
fn iommu_that_lets_through_what_is_not_lent_is_told() {
    let mut stream = Stream::bound().unmaps();
    stream.platform.iommu = true;
    let found = stream.untagged_write(FRAME[0]).is(7);
    assert!(
        found.text.contains("still let it through"),
        "{}",
        found.text
    );
    let mut stream = Stream::bound();
    stream.platform.iommu = true;
    let found = stream
        .refused(FRAME[0], DmaError::Unmapped)
        .verdict()
        .violations;
    assert_eq!(found[0].name, "lend not mapped");
}

#[test]
fn pool_memory_need_not_pass_the_dma_api() {
    let pool = call(Call::PoolLend, 0x7000_0000, SIZE, Both);
    let stream = || Stream::bound().call(pool.clone());
    stream().untagged_write(0x7000_0000).is_clean();
    let mut iommu = stream();
    iommu.platform.iommu = true;
    assert_eq!(iommu.untagged_write(0x7000_0000).classes(), [None]);
    let returned = call(Call::PoolReturn, 0x7000_0000, SIZE, Both);
    assert_eq!(
        stream()
            .call(returned)
            .untagged_write(0x7000_0000)
            .classes(),
        [None]
    );
}

#[test]
fn an_access_must_be_right_by_the_agent_and_by_the_witness() {
    let lend = |address| Lend {
        address,
        length: SIZE,
        direction: FromDevice,
        kind: LendKind::Frame,
        slot: Some(0),
        label: "buffer 0".to_owned(),
    };
    let judge = |stream: Stream, address| {
        let mut ledger = Ledger::new(Platform::default());
        ledger.lend(lend(address));
        for entry in stream.entries() {
            ledger.entry(entry);
        }
        let found = ledger.finish().violations.into_iter();
        let classes = found.map(|found| found.class.map(Class::number));
        classes.collect::<Vec<_>>()
    };
    let writes = |at| {
        let mut kind = access(Direction::Write, at, 64, Role::Payload, &[]);
        if let Kind::Access { slot, .. } = &mut kind {
            *slot = Some(0);
        }
        kind
    };
    let queued = || Stream::bound().queue(0);
    assert_eq!(judge(queued().kind(writes(FRAME[0])), FRAME[0]), []);
    // The agent knows which slot, the witness when it was unmapped.
    assert_eq!(
        judge(Stream::bound().kind(writes(FRAME[0])), FRAME[0]),
        [None]
    );
    let unmapped = queued().unmap(FRAME[0], SIZE, FromDevice);
    assert_eq!(judge(unmapped.kind(writes(FRAME[0])), FRAME[0]), [Some(7)]);
    // What does not pass the DMA API only the agent knows.
    assert_eq!(judge(queued().kind(writes(0x7000_0000)), 0x7000_0000), []);
}

#[test]
fn without_the_witnesss_beginning_nothing_of_it_counts() {
    let clean = Stream::default()
        .unmap(0x5000, 64, FromDevice)
        .state(DriverState::Unbound)
        .interrupts()
        .interrupts();
    clean.is_clean();
    let wild = Stream::default()
        .map(0x5000, 64, FromDevice)
        .untagged_write(0x5000);
    wild.is_not_judged();
}

/// A peer that shortens its memory file is no fault of the card's; where the card went is judged all the same.
#[test]
fn memory_that_is_gone_is_not_judged_and_no_violation() {
    let lost = |address| Stream::bound().refused(address, DmaError::Lost).verdict();
    let right = lost(FRAME[0]);
    assert_eq!(right.violations, []);
    let [why] = &right.not_judged[..] else {
        panic!("{:?}", right.not_judged);
    };
    assert!(why.contains("the memory behind a mapping is gone"), "{why}");
    assert_eq!(lost(0x2_0000_0000).violations.len(), 1);
}
