// SPDX-License-Identifier: MIT OR Apache-2.0

//! Our capture driver as what everybody's tools know, `/dev/videoN`, under Debian's v4l-utils and with the witness.

use std::time::Duration;

use landfall::guest::{Guest, GuestOptions, Loaded, POOL_MODULE};
use landfall::judge::{Leg, judge};
use landfall_cards::capture::pattern::{FrameSpec, Pattern, Pixel, fill};
use landfall_cards::capture::{CaptureOptions, Fault, Planted};
use landfall_device::journal::Kind;
use landfall_device::ledger::Judgement;
use landfall_suite::capture::{self, CAPTURE_MODULE, Configure, Device};
use landfall_tests::errno::{EBUSY, EINVAL, EWOULDBLOCK};
use landfall_tests::{Result, SHORT, assert_refused, boot_loaded, prepared};

/// Time for a program that uses a card for some seconds, on a busy host.
const PROGRAM: Duration = Duration::from_secs(240);
/// One that rests so long is not done with a frame before a test is over.
const FOREVER: Duration = Duration::from_secs(3600);
const UNBIND: &str = "/sys/bus/pci/drivers/landfall_capture/unbind";
const USED: &str = "/sys/kernel/debug/landfall_pool/used";

/// A guest with two such cards, bound.
fn guest(leg: Leg, rest: Duration) -> Result<Guest<Loaded>> {
    let card = CaptureOptions {
        rest,
        ..CaptureOptions::default()
    };
    guest_of(leg, [card.clone(), card])
}

/// A guest with these cards, bound.
fn guest_of(leg: Leg, cards: [CaptureOptions; 2]) -> Result<Guest<Loaded>> {
    let guest = boot_loaded(leg.of(GuestOptions {
        archives: prepared().video.clone(),
        cards: cards.map(capture::card).into(),
        ..capture::guest(CaptureOptions::default())
    }))?;
    for card in 0..2 {
        guest.wait_for_path(&format!("/dev/video{card}"), SHORT)?;
    }
    Ok(guest)
}

/// Runs a program that must succeed.
fn run(guest: &Guest<Loaded>, argv: &[&str]) -> Result<String> {
    let ran = guest.run(argv, PROGRAM)?;
    assert_eq!((ran.status, ran.timed_out), (0, false), "{ran:?}");
    Ok(ran.stdout)
}

/// A script that must succeed.
fn script(guest: &Guest<Loaded>, text: &str) -> Result<String> {
    run(guest, &["/bin/sh", "-ec", text])
}

/// The verdict on a card, from its journal alone.
fn verdict(guest: &Guest<Loaded>, card: usize, leg: Leg) -> Judgement {
    guest.sync_card(card);
    let journal = guest.journal(card).expect("a card");
    judge(&journal, leg.platform(guest.memory().ram()))
}

/// Asserts that nothing is said of a card, and that everything was judged.
fn assert_card_silent(guest: &Guest<Loaded>, card: usize, leg: Leg) {
    let said = verdict(guest, card, leg);
    assert!(said.is_clean() && said.hints.is_empty(), "{said:#?}");
    let accesses = said.groups.iter().find(|group| group.name == "access");
    assert!(accesses.is_some_and(|group| group.off.is_none()));
}

/// Likewise of both.
fn assert_silent(guest: &Guest<Loaded>, leg: Leg) {
    for card in 0..2 {
        assert_card_silent(guest, card, leg);
    }
}

/// Unloads the driver and asserts that the pool has everything back.
fn assert_nothing_is_left(guest: &Guest<Loaded>) -> Result {
    guest.unload_module(CAPTURE_MODULE)?;
    let used = guest.read_text(USED)?;
    assert!(
        !used.contains("frame") && !used.contains("selftest"),
        "{used}"
    );
    Ok(guest.unload_module(POOL_MODULE)?)
}

fn compliance(leg: Leg, size: &str) -> Result {
    // The test reads twice without waiting, right after the start, and demands the same answer both times: the first frame
    // comes so late that even on a busy host no such read finds one.
    let guest = guest(leg, Duration::from_millis(300))?;
    let format = format!("--set-fmt-video={size}");
    for device in ["/dev/video0", "/dev/video1"] {
        run(&guest, &["/usr/bin/v4l2-ctl", "-d", device, &format])?;
    }
    let argv = "/usr/bin/v4l2-compliance -d /dev/video0 -e /dev/video1 -s10";
    let ran = guest.run(&argv.split(' ').collect::<Vec<_>>(), PROGRAM)?;

    let total = ran
        .stdout
        .lines()
        .find(|line| line.starts_with("Total for"));
    assert_eq!(
        total,
        Some("Total for landfall device /dev/video0: 59, Succeeded: 59, Failed: 0, Warnings: 0"),
        "{ran:?}"
    );
    for way in [
        "read/write",
        "MMAP (no poll, REQBUFS)",
        "MMAP (epoll, CREATE_BUFS)",
        "DMABUF (no poll)",
        "DMABUF (select)",
    ] {
        let passed = format!("test {way}: OK\n");
        assert!(ran.stdout.contains(&passed), "{way}: {}", ran.stdout);
    }
    assert_nothing_is_left(&guest)?;
    assert_silent(&guest, leg);
    Ok(guest.power_off()?)
}

/// V4L2's own conformance test passes whole, by MMAP, by reads and with another card's memory, without a warning; no access
/// of the card in all of it is amiss, and no memory is left behind.
#[test]
fn v4l2_compliance_passes_on_our_driver() -> Result {
    compliance(Leg::Plain, "width=320,height=240,pixelformat=YUYV")
}

/// Likewise behind an IOMMU.
#[test]
fn v4l2_compliance_passes_on_our_driver_behind_an_iommu() -> Result {
    compliance(Leg::Iommu, "width=320,height=240,pixelformat=RGB3")
}

/// Likewise through bounce buffers, of which none is larger than 256 KiB.
#[test]
fn v4l2_compliance_passes_on_our_driver_through_bounce_buffers() -> Result {
    compliance(Leg::Swiotlb, "width=240,height=160,pixelformat=YUYV")
}

/// Likewise with memory on both sides of 4 GiB.
#[test]
fn v4l2_compliance_passes_on_our_driver_above_4_gib() -> Result {
    compliance(Leg::High, "width=320,height=240,pixelformat=GREY")
}

/// What v4l2-ctl stores is what the card sent, byte for byte, in every format and two pictures, frame after frame, at the pace that
/// was asked for.
#[test]
fn frames_that_v4l2_ctl_stores_are_the_cards() -> Result {
    const FRAMES: usize = 12;
    let (width, height) = (322, 242);
    let guest = guest(Leg::Plain, Duration::ZERO)?;
    // The card counts on from stream to stream, and what it does when the program stops counting is for nobody.
    let mut least = 0;
    for (pixel, fourcc, pattern) in [
        (Pixel::Yuyv, "YUYV", Pattern::Test),
        (Pixel::Grey, "GREY", Pattern::Bars),
        (Pixel::Rgb24, "RGB3", Pattern::Checker),
    ] {
        script(
            &guest,
            &format!(
                "v4l2-ctl -d /dev/video0 --set-fmt-video=width={width},height={height},pixelformat={fourcc} \
                 --set-parm=200 --set-ctrl=test_pattern={} --stream-mmap=4 --stream-count={FRAMES} --stream-to=/tmp/frames",
                pattern.number()
            ),
        )?;
        let spec = |slot: usize, sequence| FrameSpec {
            pattern,
            pixel,
            width,
            height,
            stride: width * pixel.bytes(),
            sequence,
            slot: slot as u8,
        };
        let bytes = spec(0, 0).frame_bytes() as usize;
        let mut sent = vec![0; bytes];
        for index in 0..FRAMES {
            let stored = guest.read_file_at("/tmp/frames", (index * bytes) as u64, bytes as u32)?;
            // A frame time without a buffer is passed over; buffers go round.
            let found = (least..least + 1000).find(|sequence| {
                fill(&mut sent, 0, &spec(index % 4, *sequence));
                stored == sent
            });
            let Some(sequence) = found else {
                panic!("{fourcc}: frame {index} is not what the card sent");
            };
            least = sequence + 1;
        }
        let more = guest.read_file_at("/tmp/frames", (FRAMES * bytes) as u64, 1)?;
        assert_eq!(more, [0; 0]);
    }
    assert_eq!(intervals(&guest), [5000; 3]);
    assert_nothing_is_left(&guest)?;
    assert_silent(&guest, Leg::Plain);
    Ok(guest.power_off()?)
}

/// The intervals that the first card was programmed with, microseconds.
fn intervals(guest: &Guest<Loaded>) -> Vec<u64> {
    let entries = guest.journal(0).expect("a card").entries_from(0);
    let interval = |kind: &Kind| match kind {
        Kind::Register { name, value, .. } => (name.name == "INTERVAL").then_some(*value),
        _ => None,
    };
    let intervals = entries.iter().filter_map(|entry| interval(&entry.kind));
    intervals.collect()
}

/// The twin of all that is silent here: of two cards the one that writes a byte too far, and half of a frame, is named for the
/// byte, and the half is seen to be missing.
#[test]
fn a_card_that_misbehaves_in_a_stream_is_named_and_its_twin_is_not() -> Result {
    let bad = CaptureOptions {
        faults: vec![Planted::at(Fault::Overrun, 1), Planted::at(Fault::Short, 3)],
        ..CaptureOptions::default()
    };
    let guest = guest_of(Leg::Plain, [CaptureOptions::default(), bad])?;
    for (card, whole) in [(0, [true; 5]), (1, [true, true, true, false, true])] {
        script(
            &guest,
            &format!(
                "v4l2-ctl -d /dev/video{card} --set-fmt-video=width=64,height=64,pixelformat=GREY --stream-mmap=5 \
                 --stream-count=5 --stream-to=/tmp/frames"
            ),
        )?;
        for (index, whole) in (0..5u8).zip(whole) {
            let spec = FrameSpec {
                pattern: Pattern::Test,
                pixel: Pixel::Grey,
                width: 64,
                height: 64,
                stride: 64,
                sequence: index.into(),
                slot: index,
            };
            let mut sent = [0; 4096];
            fill(&mut sent, 0, &spec);
            let stored = guest.read_file_at("/tmp/frames", u64::from(index) * 4096, 4096)?;
            assert_eq!(stored == sent, whole, "card {card}, frame {index}");
        }
    }
    assert_card_silent(&guest, 0, Leg::Plain);
    let violations = verdict(&guest, 1, Leg::Plain).violations;
    let first = violations.first().expect("a violation");
    assert_eq!(
        first.class.map(|class| class.number()),
        Some(1),
        "{first:#?}"
    );
    assert_eq!((first.frame, first.length), (Some(1), 1), "{first:#?}");
    Ok(guest.power_off()?)
}

/// The largest picture that is offered arrives whole.
#[test]
fn a_frame_of_3840_by_2160_arrives_whole() -> Result {
    const PIECE: usize = 1 << 20;
    let guest = guest(Leg::Iommu, Duration::ZERO)?;
    let sizes = script(&guest, "v4l2-ctl -d /dev/video0 --list-framesizes=GREY")?;
    assert!(sizes.contains("3840x2160"), "{sizes}");
    script(
        &guest,
        "v4l2-ctl -d /dev/video0 --set-fmt-video=width=3840,height=2160,pixelformat=GREY --stream-mmap=2 \
         --stream-count=1 --stream-to=/tmp/frame",
    )?;
    let spec = FrameSpec {
        pattern: Pattern::Test,
        pixel: Pixel::Grey,
        width: 3840,
        height: 2160,
        stride: 3840,
        sequence: 0,
        slot: 0,
    };
    let bytes = spec.frame_bytes() as usize;
    let mut sent = vec![0; bytes];
    fill(&mut sent, 0, &spec);
    for (at, sent) in (0..).step_by(PIECE).zip(sent.chunks(PIECE)) {
        let stored = guest.read_file_at("/tmp/frame", at, PIECE as u32)?;
        assert!(
            stored == sent,
            "what begins at {at} is not what the card sent"
        );
    }
    assert_nothing_is_left(&guest)?;
    assert_silent(&guest, Leg::Iommu);
    Ok(guest.power_off()?)
}

/// Of thousands of frames, small ones and as fast as buffers come, none is lost and no interrupt is missed, whether the program
/// waits or polls. The driver's statistics are controls, and count them.
#[test]
fn thousands_of_frames_are_all_delivered_and_counted() -> Result {
    const FRAMES: usize = 500;
    let guest = guest(Leg::Plain, Duration::ZERO)?;
    for way in ["", "--stream-poll"] {
        for buffers in [1, 2, 5] {
            script(
                &guest,
                &format!(
                    "v4l2-ctl -d /dev/video0 --set-fmt-video=width=32,height=16 --stream-mmap={buffers} {way} \
                     --stream-count={FRAMES} 2>/tmp/said"
                ),
            )?;
        }
    }
    let told = script(
        &guest,
        "v4l2-ctl -d /dev/video0 -C frames,failed_frames,interrupts,interrupt",
    )?;
    let value = |name: &str| {
        let line = told.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.split_whitespace().next()?.parse::<usize>().ok())
    };
    // What the card has done when the program stops counting is for nobody.
    let frames = value("frames: ").expect(&told);
    assert!((6 * FRAMES..6 * FRAMES + 100).contains(&frames), "{told}");
    assert_eq!(value("failed_frames: "), Some(0), "{told}");
    assert!(
        value("interrupts: ").is_some_and(|taken| taken > 0),
        "{told}"
    );
    assert_eq!(value("interrupt: "), Some(1), "{told}");
    assert_nothing_is_left(&guest)?;
    assert_silent(&guest, Leg::Plain);
    Ok(guest.power_off()?)
}

/// Starts a stream that sleeps in DQBUF, of a card that is not done with a frame before the test is over.
fn sleep_in_dqbuf(guest: &Guest<Loaded>) -> Result {
    script(
        guest,
        "v4l2-ctl -d /dev/video0 --stream-mmap=3 --stream-count=1 >/tmp/out 2>&1 & echo $! >/tmp/pid; \
         until grep -q vb2_core_dqbuf /proc/$!/stack; do [ -d /proc/$! ]; done",
    )
    .map(drop)
}

/// A process that sleeps in DQBUF holds the module, and is woken by an unbind, after which nothing is lent and nothing is lost.
#[test]
fn an_unbind_wakes_who_sleeps_in_dqbuf() -> Result {
    for leg in [Leg::Plain, Leg::Iommu, Leg::Swiotlb] {
        let guest = guest(leg, FOREVER)?;
        script(
            &guest,
            "v4l2-ctl -d /dev/video0 --set-fmt-video=width=240,height=160",
        )?;
        sleep_in_dqbuf(&guest)?;

        assert_refused(guest.unload_module(CAPTURE_MODULE), EWOULDBLOCK);
        guest.write_file(UNBIND, "0000:01:00.0")?;
        script(&guest, "while [ -d /proc/$(cat /tmp/pid) ]; do :; done")?;

        assert_nothing_is_left(&guest)?;
        assert_silent(&guest, leg);
        guest.power_off()?;
    }
    Ok(())
}

/// Starts waiting for an event, to be told in a file.
fn wait_for_event(guest: &Guest<Loaded>, event: &str) -> Result {
    script(
        guest,
        &format!(
            "v4l2-ctl -d /dev/video0 --wait-for-event={event} >/tmp/event 2>&1 & echo $! >/tmp/waiter; \
             until grep -q v4l2_event_dequeue /proc/$!/stack; do [ -d /proc/$! ]; done"
        ),
    )
    .map(drop)
}

/// What was told of the event.
fn told_of_event(guest: &Guest<Loaded>) -> Result<String> {
    script(
        guest,
        "while [ -d /proc/$(cat /tmp/waiter) ]; do :; done; cat /tmp/event",
    )
}

/// Who asks is told that a frame begins, while the card is still at work on it, and that a stream ends with its card.
#[test]
fn the_beginning_of_a_frame_and_the_end_of_a_stream_are_events() -> Result {
    let guest = guest(Leg::Plain, FOREVER)?;
    wait_for_event(&guest, "frame_sync")?;
    sleep_in_dqbuf(&guest)?;
    let told = told_of_event(&guest)?;
    assert!(told.contains("frame_sync 0"), "{told}");

    wait_for_event(&guest, "eos")?;
    guest.write_file(UNBIND, "0000:01:00.0")?;
    let told = told_of_event(&guest)?;
    assert!(told.contains("eos"), "{told}");
    assert_nothing_is_left(&guest)?;
    assert_silent(&guest, Leg::Plain);
    Ok(guest.power_off()?)
}

/// Likewise a card that is pulled, whether it goes in order or is dead before.
#[test]
fn a_card_that_is_pulled_wakes_who_sleeps_in_dqbuf() -> Result {
    for (leg, dead) in [
        (Leg::Plain, false),
        (Leg::Iommu, true),
        (Leg::Swiotlb, true),
    ] {
        let guest = guest(leg, FOREVER)?;
        script(
            &guest,
            "v4l2-ctl -d /dev/video0 --set-fmt-video=width=240,height=160",
        )?;
        sleep_in_dqbuf(&guest)?;
        if dead {
            guest.kill_card(0);
        }
        guest.unplug(0)?;
        script(&guest, "while [ -d /proc/$(cat /tmp/pid) ]; do :; done")?;
        assert_nothing_is_left(&guest)?;
        guest.power_off()?;
    }
    Ok(())
}

/// A reset behind the driver's back ends the frames of a stream; the next one gets its own.
#[test]
fn after_a_reset_the_next_stream_gets_its_frames() -> Result {
    let guest = guest(Leg::Iommu, Duration::ZERO)?;
    let device = "/sys/bus/pci/devices/0000:01:00.0";
    script(
        &guest,
        "v4l2-ctl -d /dev/video0 --stream-mmap=3 >/tmp/out 2>&1 & echo $! >/tmp/pid; \
         until [ $(v4l2-ctl -d /dev/video0 -C frames | cut -d' ' -f2) -gt 10 ]; do [ -d /proc/$! ]; done",
    )?;
    guest.write_file(&format!("{device}/reset_method"), "flr")?;
    guest.write_file(&format!("{device}/reset"), "1")?;
    // It may have ended by itself, with EIO: amid the reset the card does not answer.
    script(
        &guest,
        "kill -9 $(cat /tmp/pid) || :; while [ -d /proc/$(cat /tmp/pid) ]; do :; done",
    )?;

    script(
        &guest,
        "v4l2-ctl -d /dev/video0 --stream-mmap=3 --stream-count=5 2>/tmp/out",
    )?;
    assert_nothing_is_left(&guest)?;
    assert_silent(&guest, Leg::Iommu);
    Ok(guest.power_off()?)
}

/// A process that is killed in DQBUF leaves nothing lent, and the next stream gets its frames.
#[test]
fn a_killed_stream_leaves_nothing_lent() -> Result {
    let guest = guest(Leg::Iommu, FOREVER)?;
    sleep_in_dqbuf(&guest)?;
    script(
        &guest,
        "kill -9 $(cat /tmp/pid); while [ -d /proc/$(cat /tmp/pid) ]; do :; done",
    )?;

    let used = guest.read_text(USED)?;
    assert!(!used.contains("frame"), "{used}");
    assert_nothing_is_left(&guest)?;
    assert_silent(&guest, Leg::Iommu);
    Ok(guest.power_off()?)
}

/// The harness's agent is a user like any other: whoever has buffers keeps the other out, in either order, and lets go of it.
#[test]
fn a_card_has_one_user_and_the_agent_is_one() -> Result {
    let guest = guest(Leg::Plain, FOREVER)?;
    let small = Configure {
        width: 64,
        height: 32,
        buffers: 2,
        ..Configure::default()
    };
    let ours = Device::open(&guest, 0)?;
    ours.configure(&small)?;
    let stream = "v4l2-ctl -d /dev/video0 --stream-mmap=3 --stream-count=1";
    let refused = script(&guest, &format!("{stream} 2>&1"))?;
    assert!(
        refused.contains("VIDIOC_REQBUFS returned -1 (Device or resource busy)"),
        "{refused}"
    );
    ours.close()?;

    sleep_in_dqbuf(&guest)?;
    let ours = Device::open(&guest, 0)?;
    assert_refused(ours.configure(&small), EBUSY);
    script(
        &guest,
        "kill $(cat /tmp/pid); while [ -d /proc/$(cat /tmp/pid) ]; do :; done",
    )?;
    ours.configure(&small)?;
    ours.close()?;
    Ok(guest.power_off()?)
}

/// What V4L2 would adjust, the agent gets to the letter or not at all; what is said in vain changes nothing, and is said why.
#[test]
fn what_the_agent_wants_is_had_to_the_letter_or_refused() -> Result {
    let guest = guest(Leg::Plain, Duration::ZERO)?;
    let card = Device::open(&guest, 0)?;
    let odd = Configure {
        format: Pixel::Grey.fourcc(),
        width: 7,
        height: 5000,
        interval_us: 10,
        buffers: 2,
        ..Configure::default()
    };
    assert_eq!(card.configure(&odd)?.frame_size, 7 * 5000);
    let said = script(&guest, "v4l2-ctl -d /dev/video0 -V")?;
    assert!(said.contains("7/5000") && said.contains("GREY"), "{said}");

    assert_refused(card.wait(Duration::ZERO), EINVAL);
    card.start()?;
    assert_refused(card.wait(Duration::ZERO), EWOULDBLOCK);
    assert_refused(card.configure(&odd), EBUSY);
    assert_refused(card.release(), EBUSY);
    card.queue(1)?;
    let done = card.wait(SHORT)?.expect("a frame");
    assert_eq!((done.index, done.result, done.bytes), (1, 0, 7 * 5000));
    card.stop()?;
    card.queue(0)?;
    assert_refused(card.queue(0), EINVAL);
    assert_refused(card.queue(2), EINVAL);
    for interval_us in [1000, 2_000_000, 20_000, 0] {
        card.configure(&Configure {
            interval_us,
            ..odd.clone()
        })?;
        card.start()?;
        card.stop()?;
    }
    assert_eq!(intervals(&guest), [10, 1000, 2_000_000, 20_000, 0]);

    for (format, width, buffers) in [(0x4747_4747, 64, 1), (0, 0, 1), (0, 64, 0)] {
        let wrong = Configure {
            format,
            width,
            height: 32,
            buffers,
            ..Configure::default()
        };
        assert_refused(card.configure(&wrong), EINVAL);
    }
    card.close()?;
    assert_nothing_is_left(&guest)?;
    assert_card_silent(&guest, 0, Leg::Plain);
    Ok(guest.power_off()?)
}
