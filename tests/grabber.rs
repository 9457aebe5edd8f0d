// SPDX-License-Identifier: MIT OR Apache-2.0

//! A driver that nobody here wrote, Debian's own dt3155, with the witness as the only word on what it lends.
//!
//! Two cards are in each guest, driven by one module: a sound one, and one with a fault. The first is the twin whose
//! silence shows that the second's verdict means something.

use std::time::{Duration, Instant};

use landfall::guest::{Booted, Card, Guest, GuestOptions, Iommu, Module, WITNESS_MODULE};
use landfall::judge::judge;
use landfall_cards::Camera;
use landfall_cards::dt3155::{Dt3155, Dt3155Options, Fault, Standard, picture};
use landfall_device::journal::{Call, Kind, Outcome};
use landfall_device::ledger::{Judgement, Platform, Violation};
use landfall_suite::video;
use landfall_tests::{Result, SHORT, boot, landfall, prepared};

const DRIVER: &str = "dt3155";
const UNBIND: &str = "/sys/bus/pci/drivers/dt3155/unbind";
/// The sound card.
const CLEAN: usize = 0;
/// The other one.
const FAULTY: usize = 1;
/// PCI address of the other one.
const FAULTY_ADDRESS: &str = "0000:02:00.0";
/// Time for a program that uses a card for some seconds, on a busy host.
const PROGRAM: Duration = Duration::from_secs(120);
const FRAME: usize = Standard::Hz50.bytes();

/// A guest with a sound card and one with that fault, both bound.
fn guest(fault: Option<Fault>, options: GuestOptions) -> Result<Guest<Booted>> {
    let card = |fault| Dt3155Options {
        fault,
        ..Dt3155Options::default()
    };
    guest_of([card(None), card(fault)], options)
}

/// A card to plug in.
fn plugged(options: Dt3155Options) -> Card {
    Card::new("dt3155", move || Dt3155::new(options.clone()))
}

/// A guest with these cards, both bound.
fn guest_of(cards: [Dt3155Options; 2], options: GuestOptions) -> Result<Guest<Booted>> {
    let guest = boot(GuestOptions {
        cards: cards.map(plugged).into(),
        witness: true,
        preload: vec![Module::named(WITNESS_MODULE)],
        archives: prepared().video.clone(),
        ..options
    })?;
    guest.load_stock(DRIVER, "")?;
    for card in [CLEAN, FAULTY] {
        guest.wait_for_path(&device(card), SHORT)?;
    }
    Ok(guest)
}

fn device(card: usize) -> String {
    format!("/dev/video{card}")
}

fn raw(card: usize) -> String {
    format!("/tmp/{card}.raw")
}

/// Streams frames of a card to a file, through four buffers.
fn stream(guest: &Guest<Booted>, card: usize, frames: usize) -> Result {
    stream_with(guest, card, frames, &[])
}

/// Likewise, with more options for v4l2-ctl.
fn stream_with(guest: &Guest<Booted>, card: usize, frames: usize, options: &[&str]) -> Result {
    let own = [
        "/usr/bin/v4l2-ctl".to_owned(),
        format!("--device={}", device(card)),
        "--stream-mmap=4".to_owned(),
        format!("--stream-count={frames}"),
        format!("--stream-to={}", raw(card)),
    ];
    let argv = own
        .iter()
        .map(String::as_str)
        .chain(options.iter().copied());
    let ran = guest.run(&argv.collect::<Vec<_>>(), PROGRAM)?;
    assert_eq!((ran.status, ran.timed_out), (0, false), "{ran:?}");
    Ok(())
}

/// The verdict on a card, from its journal alone.
fn verdict(guest: &Guest<Booted>, card: usize) -> Judgement {
    guest.sync_card(card);
    let journal = guest.journal(card).expect("a card");
    let platform = Platform {
        iommu: guest.options().iommu != Iommu::None,
        ..Platform::default()
    };
    judge(&journal, platform)
}

/// Asserts that nothing is said of a card, and everything was judged.
fn assert_silent(guest: &Guest<Booted>, card: usize) {
    let said = verdict(guest, card);
    assert!(said.is_clean() && said.hints.is_empty(), "{said:#?}");
    assert!(
        said.groups
            .iter()
            .any(|group| group.name == "access" && group.off.is_none())
    );
}

/// How many entries of a card's journal are so.
fn count(guest: &Guest<Booted>, card: usize, wanted: impl Fn(&Kind) -> bool) -> usize {
    let entries = guest.journal(card).expect("a card").entries_from(0);
    let wanted = entries.iter().filter(|entry| wanted(&entry.kind));
    wanted.count()
}

/// Waits until the fault has struck: no other access is as long as its.
fn wait_for_fault(guest: &Guest<Booted>) -> Result {
    let struck = |kind: &Kind| matches!(kind, Kind::Access { length: 64, .. });
    let end = Instant::now() + SHORT;
    while count(guest, FAULTY, struck) == 0 {
        assert!(Instant::now() < end, "the fault never struck");
        guest.ping()?;
    }
    Ok(())
}

/// Asserts that the fault is named, by one of these classes, and the sound twin is not.
fn assert_named(guest: &Guest<Booted>, classes: &[u8]) -> Violation {
    assert_silent(guest, CLEAN);
    let violations = verdict(guest, FAULTY).violations;
    let [violation] = violations.as_slice() else {
        panic!("one violation: {violations:#?}");
    };
    let named = violation
        .class
        .is_some_and(|class| classes.contains(&class.number()));
    assert!(named, "{classes:?}: {violation:#?}");
    violation.clone()
}

/// A hundred frames arrive whole and in order, every byte in its place; every access was to memory that the driver had
/// lent, and it took back all that it lent.
#[test]
fn a_hundred_frames_of_a_stock_driver_are_clean() -> Result {
    clean_frames(100, GuestOptions::default())
}

/// Likewise behind an IOMMU, where the card sees the IOMMU's addresses, just below 4 GiB.
#[test]
fn a_stock_driver_is_clean_behind_an_iommu() -> Result {
    clean_frames(
        20,
        GuestOptions {
            iommu: Iommu::Strict,
            ..GuestOptions::default()
        },
    )
}

/// Likewise where most memory lies above the 4 GiB that the card reaches.
#[test]
fn a_stock_driver_is_clean_with_memory_above_its_reach() -> Result {
    clean_frames(
        20,
        GuestOptions {
            memory: 384 << 20,
            low_memory: Some(128 << 20),
            ..GuestOptions::default()
        },
    )
}

fn clean_frames(frames: usize, options: GuestOptions) -> Result {
    let guest = guest(None, options)?;
    stream(&guest, CLEAN, frames)?;

    let mut last = None;
    for index in 0..frames {
        let at = (index * FRAME) as u64;
        let bytes = guest.read_file_at(&raw(CLEAN), at, FRAME as u32)?;
        let number = picture::frame_number(&bytes).expect("bytes");
        assert!(last < Some(number), "frame {number} after {last:?}");
        assert!(
            bytes == picture::picture(number, Standard::Hz50),
            "frame {number}, in the file number {index}, is not what the camera saw"
        );
        last = Some(number);
    }
    assert_eq!(
        guest.read_file_at(&raw(CLEAN), (frames * FRAME) as u64, 1)?,
        [0; 0]
    );

    guest.unload_module(DRIVER)?;
    assert_silent(&guest, CLEAN);
    // The verdict had something to judge by: each frame is 576 accesses.
    let call = |wanted| move |kind: &Kind| matches!(kind, Kind::Call(call) if call.call == wanted);
    let accesses = |kind: &Kind| {
        matches!(
            kind,
            Kind::Access {
                outcome: Outcome::Ok,
                ..
            }
        )
    };
    assert!(count(&guest, CLEAN, accesses) >= frames * 576);
    assert_eq!(count(&guest, CLEAN, call(Call::Alloc)), 4);
    assert_eq!(count(&guest, CLEAN, call(Call::Free)), 4);
    assert!(count(&guest, CLEAN, call(Call::Queue)) >= frames);
    assert!(count(&guest, CLEAN, call(Call::Done)) >= frames);
    Ok(guest.power_off()?)
}

/// One byte past the end of a frame's buffer: class 1.
#[test]
fn a_byte_too_far_is_named() -> Result {
    byte_too_far(Iommu::None)
}

/// Likewise where the IOMMU refuses it: the card tried.
#[test]
fn a_byte_too_far_is_named_behind_an_iommu() -> Result {
    byte_too_far(Iommu::Strict)
}

fn byte_too_far(iommu: Iommu) -> Result {
    let guest = guest(
        Some(Fault::Overrun),
        GuestOptions {
            iommu,
            ..GuestOptions::default()
        },
    )?;
    for card in [CLEAN, FAULTY] {
        stream(&guest, card, 5)?;
    }

    let violation = assert_named(&guest, &[1]);
    assert_eq!((violation.length, violation.accesses), (1, 1));
    let lend = violation.lend.expect("the buffer");
    assert_eq!((lend.length, lend.distance), (FRAME as u64, 0));
    Ok(guest.power_off()?)
}

/// A write into a buffer that the driver has given back since the stream was off: class 20 or 7.
#[test]
fn a_write_after_stream_off_is_named() -> Result {
    let guest = guest(Some(Fault::AfterStop), GuestOptions::default())?;
    for card in [CLEAN, FAULTY] {
        // Buffers that the stopped stream leaves alone for a while: the fault harms nobody else's memory.
        stream_with(
            &guest,
            card,
            5,
            &["--stream-sleep=count=3,sleep=2000,mode=2"],
        )?;
    }
    wait_for_fault(&guest)?;

    let violation = assert_named(&guest, &[20, 7]);
    assert_eq!(violation.length, 64);
    Ok(guest.power_off()?)
}

/// A write after the driver was unbound, which switches bus mastering off: class 22, or 7 where it is not.
#[test]
fn a_write_after_unbind_is_named() -> Result {
    let guest = guest(Some(Fault::AfterUnbind), GuestOptions::default())?;
    for card in [CLEAN, FAULTY] {
        stream(&guest, card, 5)?;
    }
    guest.write_file(UNBIND, FAULTY_ADDRESS)?;
    wait_for_fault(&guest)?;

    let violation = assert_named(&guest, &[22, 7]);
    assert_eq!(violation.length, 64);
    Ok(guest.power_off()?)
}

/// V4L2's own conformance test passes whole, and not one access of the card in all of it is amiss.
///
/// The test reads twice without waiting, right after the start, and demands the same answer both times. The first frame
/// comes so late that even on a busy host no such read finds one.
#[test]
fn v4l2_compliance_passes_under_the_witness() -> Result {
    let card = Dt3155Options {
        first: 10,
        ..Dt3155Options::default()
    };
    let guest = guest_of([card.clone(), card], GuestOptions::default())?;
    let device = device(CLEAN);
    let argv = ["/usr/bin/v4l2-compliance", "-d", &device, "-s10"];
    let ran = guest.run(&argv, PROGRAM)?;

    let total = ran
        .stdout
        .lines()
        .find(|line| line.starts_with("Total for"));
    assert_eq!(
        total,
        Some("Total for dt3155 device /dev/video0: 132, Succeeded: 132, Failed: 0, Warnings: 0"),
        "{ran:?}"
    );
    assert_silent(&guest, CLEAN);
    Ok(guest.power_off()?)
}

/// `landfall run` is the same job with a stock driver as with our own: each byte of each frame is compared, pictures are saved, and
/// the exit code is that of the verdict.
#[test]
fn run_streams_from_a_stock_driver_and_compares_every_byte() -> Result {
    prepared();
    let saved = tempfile::tempdir()?;
    let ran = landfall()
        .args(["run", "--card", "dt3155", "--frames", "3", "--save-frames"])
        .arg(saved.path())
        .output()?;
    let said = String::from_utf8_lossy(&ran.stdout);
    assert_eq!(ran.status.code(), Some(0), "{ran:?}");
    let told = format!(
        "3 frames of 768x576 GREY: {} bytes as the card sent them",
        3 * FRAME
    );
    assert!(
        said.contains(&told) && said.contains("0 violations"),
        "{said}"
    );
    for frame in 0..3 {
        let path = saved
            .path()
            .join(format!("capture1-frame00{frame}-768x576.png"));
        assert_eq!(std::fs::read(path)?.get(1..4), Some(&b"PNG"[..]));
    }
    Ok(())
}

/// The twins of that: a byte that is not what the card sent is named with its picture, a byte that is written beside the picture
/// by the verdict, and nothing is said of the card that does neither.
#[test]
fn a_stream_that_is_not_what_the_card_sent_is_told() -> Result {
    let guest = guest(Some(Fault::Overrun), GuestOptions::default())?;
    let plan = video::Plan {
        frames: 5,
        save: None,
    };
    for card in [CLEAN, FAULTY] {
        let streamed = video::stream(&guest, card, picture::sent, &plan)?;
        assert_eq!(streamed.wrong, [""; 0]);
        assert_eq!((streamed.right, streamed.bytes), (5, 5 * FRAME as u64));
    }
    assert_named(&guest, &[1]);

    let other: Camera = |bytes, line, lines| {
        let (number, mut sent) = picture::sent(bytes, line, lines)?;
        sent[1000] ^= 1;
        Some((number, sent))
    };
    let streamed = video::stream(&guest, CLEAN, other, &plan)?;
    assert_eq!(streamed.right, 0);
    assert_eq!(streamed.wrong.len(), 5, "{:?}", streamed.wrong);
    assert!(
        streamed.wrong[0].starts_with("frame 0: byte 1000 is 0x"),
        "{:?}",
        streamed.wrong
    );
    Ok(guest.power_off()?)
}
