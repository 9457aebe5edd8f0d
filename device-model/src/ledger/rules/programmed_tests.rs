// SPDX-License-Identifier: MIT OR Apache-2.0

use super::stream::*;
use crate::contract::{Declaration, JobId, Limits, Piece, Vector};
use crate::journal::{Call, DriverCall, DriverState, Kind};

fn with(change: impl Fn(&mut Limits)) -> Stream {
    Stream::bound().declaring(|declares| change(&mut declares.limits))
}

#[test]
fn class_9_is_a_fetch_across_a_boundary() {
    let fetch = |address, length| {
        let stream = with(|limits| limits.fetch_boundary = 4096);
        stream.map(0x5000, 8192, ToDevice).reads(address, length)
    };
    fetch(0x5000, 4096).is_clean();
    fetch(0x5f00, 512).is(9);
    Stream::bound()
        .map(0x5000, 8192, ToDevice)
        .reads(0x5f00, 512)
        .is_clean();
}

#[test]
fn classes_10_11_and_12_are_the_limits_of_the_card() {
    let job =
        |stream: Stream, base, size| stream.map(0x5000, 0x4000, FromDevice).begins(0, base, size);
    job(with(|limits| limits.boundary = 0x2000), 0x5000, 4096).is_clean();
    job(with(|limits| limits.boundary = 0x2000), 0x5000, 4097).is(10);
    job(with(|limits| limits.longest = 4096), 0x5000, 4096).is_clean();
    job(with(|limits| limits.longest = 4096), 0x5000, 4097).is(11);
    job(with(|limits| limits.alignment = 64), 0x5040, 64).is_clean();
    job(with(|limits| limits.alignment = 64), 0x5020, 64).is(12);
}

#[test]
fn classes_13_and_14_are_more_programmed_than_lent() {
    let job = |excess| Stream::bound().queue(0).begins(0, FRAME[0], SIZE + excess);
    job(0).is_clean();
    // What the card then does is what it was told.
    let found = job(64)
        .writes(FRAME[0], SIZE)
        .writes(FRAME[0] + SIZE, 64)
        .is(13);
    assert_eq!((found.address, found.length), (FRAME[0] + SIZE, 64));
    assert_eq!(found.accesses, 1);
    job(128).writes(FRAME[0], SIZE + 128).is(14);
}

#[test]
fn class_25_is_an_interrupt_after_the_bus_is_taken_away() {
    let ending = || Stream::bound().starts(0).state(DriverState::Unbinding);
    let off = Kind::BusMaster { on: false };
    let held = Kind::InterruptHeld { vector: 0 };
    ending().kind(off.clone()).kind(held.clone()).is(25);
    ending()
        .register("IRQ_ENABLE", 0)
        .masks(None, true)
        .kind(off.clone())
        .kind(held.clone())
        .is_clean();
    ending().kind(held).is_clean();
    Stream::bound()
        .kind(off)
        .kind(Kind::InterruptHeld { vector: 0 })
        .is_clean();
}

#[test]
fn classes_32_and_34_are_what_the_card_says_itself() {
    let why = "STRIDE was written while a job is in work".into();
    let written = Stream::bound().register("STRIDE", 256);
    let found = written.answers(Declaration::NotNow { why }).is(32);
    assert_eq!(
        found.register_write.map(|write| write.name),
        Some("STRIDE".to_owned())
    );
    let changed = |job| Declaration::Changed {
        job: JobId(job),
        address: 0x5000,
    };
    let found = Stream::bound().queue(1).tells(changed(0)).is(34);
    assert_eq!((found.slot, found.address), (Some(1), 0x5000));
    Stream::bound().tells(changed(7)).is(34); // of a job that is not known
}

#[test]
fn class_42_is_an_interrupt_while_the_job_is_in_work() {
    let begun = || Stream::bound().starts(0).writes(FRAME[0], SIZE - 64);
    let rest = |stream: Stream| stream.writes(FRAME[0] + SIZE - 64, 64);
    rest(begun()).completes().is_clean();
    rest(begun().interrupts()).completes().is(42);
    rest(begun().interrupts()).reports(SIZE).is(42); // that was its interrupt
}

#[test]
fn class_44_is_an_interrupt_that_nobody_enabled() {
    Stream::binding().interrupts().is(44);
    let link = || Declaration::cause(Vector(0), "the link changed");
    let enabled = || Stream::binding().enables();
    enabled().tells(link()).interrupts().is_clean();
    enabled().interrupts().is(46);
    // One that has no such register cannot be kept from interrupting.
    let bare = Stream::binding().declaring(|declares| declares.masks = false);
    bare.tells(link()).interrupts().is_clean();
}

#[test]
fn class_46_is_an_interrupt_without_a_cause() {
    let once = || Stream::bound().starts(0).writes(FRAME[0], SIZE).completes();
    once().is_clean();
    once().interrupts().is(46);
    let idle = "the card became idle";
    let stopped = || once().taken_back(0).stops();
    stopped().interrupts().is(46);
    let told = || stopped().tells(Declaration::cause(Vector(0), idle));
    told().interrupts().is_clean();
    told().interrupts().interrupts().is(46);
    // Held, and sent when the bus may be mastered again.
    let held = Stream::bound()
        .starts(0)
        .writes(FRAME[0], SIZE)
        .reports(SIZE);
    let held = held
        .kind(Kind::InterruptHeld { vector: 0 })
        .kind(Kind::BusMaster { on: false });
    held.kind(Kind::BusMaster { on: true })
        .interrupts()
        .is_clean();
    // A card that does not say what its interrupts are for cannot be judged.
    let untold = Stream::bound().declaring(|declares| declares.interrupts = false);
    untold.interrupts().interrupts().is_clean();
}

#[test]
fn class_55_is_a_report_of_more_than_was_lent() {
    let found = Stream::bound()
        .starts(0)
        .writes(FRAME[0], SIZE)
        .reports(0x7fff_ffff)
        .interrupts()
        .is(55);
    assert_eq!(found.length, 0x7fff_ffff - SIZE);
    Stream::bound()
        .starts(0)
        .writes(FRAME[0], SIZE / 2)
        .completes()
        .is(56);
}

#[test]
fn class_58_is_a_write_where_there_is_no_register() {
    let write = |write| Kind::Unclaimed {
        bar: 0,
        offset: 0x800,
        write,
        width: 4,
        count: 1,
    };
    Stream::bound().kind(write(true)).is(58);
    Stream::bound().kind(write(false)).is_clean();
    // While the card does not decode, the write reaches nobody.
    Stream::bound()
        .kind(Kind::Decoding { on: false })
        .kind(write(true))
        .is_clean();
    Stream::default().kind(write(true)).is_clean();
    let asleep = Stream::bound().kind(Kind::PowerState { state: 3 });
    asleep.kind(write(true)).is_clean();
}

#[test]
fn class_27_is_a_register_that_is_written_after_remove() {
    let removed = || Stream::bound().captures(0).unbinds();
    let twice = removed().register("CONTROL", 256).register("CONTROL", 256);
    let write = twice.is(27).register_write.expect("the write");
    assert_eq!((write.name.as_str(), write.value), ("CONTROL", 256));
    let again = removed().state(DriverState::Binding);
    again.register("CONTROL", 256).is_clean();
}

#[test]
fn class_28_is_a_bar_that_goes_while_remove_runs() {
    let off = || Kind::Decoding { on: false };
    let ending = || Stream::bound().state(DriverState::Unbinding);
    ending().kind(off()).is(28);
    ending()
        .kind(off())
        .kind(Kind::Decoding { on: true })
        .kind(off())
        .is(28);
    Stream::bound().kind(off()).is_clean();
    Stream::bound().captures(0).unbinds().kind(off()).is_clean();
}

fn bounced() -> Stream {
    let frame = |slot: usize| DriverCall {
        bounced: true,
        phys: 0x7000_0000,
        ..call(Call::Map, FRAME[slot], SIZE, FromDevice)
    };
    let mut second = frame(1);
    second.phys += SIZE;
    Stream::binding().with_frames([frame(0), second])
}

#[test]
fn classes_37_and_38_are_syncs_that_are_missing() {
    let cpu = || call(Call::SyncForCpu, FRAME[0], SIZE, FromDevice);
    let device = || call(Call::SyncForDevice, FRAME[0], SIZE, FromDevice);
    let got = || bounced().captures(0);
    got()
        .call(cpu())
        .call(device())
        .captures(0)
        .call(cpu())
        .is_clean();
    // Nobody may have read it; what the card only writes need not be given back to it.
    got().queue(0).hints(37);
    got().call(cpu()).captures(0).call(cpu()).is_clean();
    // Too early: the card wrote after it.
    bounced()
        .call(cpu())
        .call(device())
        .captures(0)
        .queue(0)
        .hints(37);
    got().unbinds().is_clean(); // an unmap is a sync
    // Another buffer takes the slot.
    got().accepts(0, frame(1)).is_clean();
    Stream::bound().captures(0).captures(0).is_clean(); // nothing is between the two
    // Two slots have one buffer, and the second's frame comes while the first's is being handed back.
    let shared = |first: Stream| {
        let both = first.accepts(1, frame(0)).begins(1, FRAME[0], SIZE);
        both.writes(FRAME[0], SIZE).completes().queue(0)
    };
    shared(got().call(cpu()).call(device())).is_clean();
    shared(got()).hints(37);
}

/// Whether a driver looked before it unmapped, only its own accesses would tell; that it then refused the card may be why.
#[test]
fn class_37_is_also_a_self_test_that_compares_too_early() {
    let mapped = |bounced| {
        let buffer = DriverCall {
            bounced,
            ..call(Call::Map, 0x5000, 512, FromDevice)
        };
        let mapped = Stream::binding().call(buffer);
        mapped.begins_with(0, vec![Piece::write(0x5000, 512)])
    };
    let wrote = |bounced| {
        let wrote = mapped(bounced).writes(0x5000, 512);
        wrote.reports(512).interrupts()
    };
    let unmapped = |stream: Stream| stream.call(call(Call::Unmap, 0x5000, 512, FromDevice));
    let refuses = |stream| unmapped(stream).state(DriverState::NotBound);
    refuses(wrote(true)).hints(37);
    let cpu = call(Call::SyncForCpu, 0x5000, 512, FromDevice);
    refuses(wrote(true).call(cpu)).is_clean();
    refuses(wrote(false)).is_clean(); // nothing is between the two
    unmapped(wrote(true)).state(DriverState::Bound).is_clean();
    // Who is content with a first one, and goes on, gives the card up for another reason.
    let second = DriverCall {
        bounced: true,
        ..call(Call::Map, 0x7000, 512, FromDevice)
    };
    let again = unmapped(wrote(true)).call(second);
    let again = again.begins_with(1, vec![Piece::write(0x7000, 512)]);
    let again = again.writes(0x7000, 512).reports(512).interrupts();
    let again = again.call(call(Call::Unmap, 0x7000, 512, FromDevice));
    again.state(DriverState::NotBound).is_clean();
}

#[test]
fn class_38_is_what_the_cpu_wrote_and_did_not_give_to_the_card() {
    let sends = |way| {
        let buffer = DriverCall {
            bounced: true,
            ..call(Call::Map, 0x5000, 512, way)
        };
        let send = move |stream: Stream| {
            let stream = stream.begins_with(0, vec![Piece::read(0x5000, 512)]);
            stream.reads(0x5000, 512).reports(512).interrupts()
        };
        (Stream::bound().call(buffer), send)
    };
    let cpu = |way| call(Call::SyncForCpu, 0x5000, 512, way);
    let device = |way| call(Call::SyncForDevice, 0x5000, 512, way);
    let (mapped, send) = sends(ToDevice);
    let sent = send(mapped);
    let written = || sent.clone().call(cpu(ToDevice));
    send(sent.clone()).is_clean();
    send(written().call(device(ToDevice))).is_clean();
    send(written()).is(38);
    // Of both directions it may not have been written.
    let (mapped, send) = sends(Both);
    send(send(mapped).call(cpu(Both))).hints(38);
}

#[test]
fn class_37_is_also_a_buffer_that_goes_back_unsynced() {
    let done = || call(Call::Done, FRAME[0], SIZE, FromDevice);
    let queued = || bounced().call(call(Call::Queue, FRAME[0], SIZE, FromDevice));
    let got = || queued().starts(0).writes(FRAME[0], SIZE).completes();
    got().call(done()).is(37);
    got()
        .call(call(Call::SyncForCpu, FRAME[0], SIZE, FromDevice))
        .call(done())
        .is_clean();
}
