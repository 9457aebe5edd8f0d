// SPDX-License-Identifier: MIT OR Apache-2.0

//! A driver that nobody here wrote, the kernel's zr36067, built from its source as it is: its pictures lie in up to 1.7 MB of memory in
//! one piece. And a card that does wrong in four ways, each of which somebody names.
//!
//! In Linux 7.3 it has three bugs of its own (`docs/findings.md`). With dynamic debugging it cannot bind; so it is built without. It
//! starts its decoder twice, of which the kernel warns; and it cannot unbind. So each of these guests ends with an oops, and what is
//! looked at is looked at before.

use std::fmt::Write;
use std::time::Instant;

use landfall::guest::{Booted, Card, Driver, Guest};
use landfall::judge::{Judged, Leg, Trial};
use landfall::testing::packages;
use landfall_cards::zoran::{Fault, Zoran, ZoranOptions, picture};
use landfall_device::contract::{Declaration, JobId};
use landfall_device::journal::{Entry, Kind};
use landfall_device::ledger::Class;
use landfall_tests::{Result, SHORT, named, wait_for_late_write};

/// The driver wants nine buffers before it begins.
const BUFFERS: usize = 10;
const FRAMES: usize = 12;
/// What is streamed: pixels, lines, how V4L2 calls the format, and bytes of a line.
const STREAMS: [(u32, u32, &str, u32); 3] = [
    (768, 576, "YUYV", 2 * 768),
    (768, 576, "BGR4", 4 * 768),
    // One field is enough for it, and three bytes for a pixel.
    (384, 288, "BGR3", 3 * 384),
];

fn card(name: &'static str, fault: Option<Fault>) -> Card {
    Card::new(name, move || {
        Zoran::new(ZoranOptions {
            fault,
            ..ZoranOptions::default()
        })
    })
}

/// A guest's cards, the driver and what that needs before.
fn driven(cards: impl IntoIterator<Item = Card>) -> Result<Trial> {
    let trial = Trial::new().packages(&packages(&["v4l-utils"])?);
    let trial = cards.into_iter().fold(trial, Trial::plug);
    let usual = landfall_cards::usual("zoran").ok_or("a card of ours")?;
    let drivers = usual.drivers.iter().map(|driver| driver.parse::<Driver>());
    Ok(drivers
        .collect::<std::result::Result<Vec<_>, _>>()?
        .into_iter()
        .fold(trial, Trial::driver))
}

/// Streams by V4L2 to a file of its own; `then` goes on in the shell.
fn stream(trial: Trial, device: usize, stream: usize, then: &str) -> Trial {
    let (width, height, format, _) = STREAMS[stream];
    let script = format!(
        "v4l2-ctl -d /dev/video{device} --set-fmt-video=width={width},height={height},pixelformat={format} \
         --stream-mmap={BUFFERS} --stream-count={FRAMES} --stream-to=/tmp/{device}.{stream} >&2 {then}"
    );
    trial.run(["/bin/busybox", "sh", "-c", &script])
}

/// The card whose interrupt is lost: its user waits without end.
const LOST: usize = 2;
const KILL: &str = "killall v4l2-ctl; while pidof v4l2-ctl >/dev/null; do sleep 0.02; done";

/// Waits until that card has stored the picture of which nobody is told, and ends its user.
fn wait_for_hang(guest: &Guest<Booted>) -> landfall::guest::Result<Vec<String>> {
    let end = Instant::now() + SHORT;
    let stored = |entry: &Entry| {
        matches!(
            &entry.kind,
            Kind::Declared {
                what: Declaration::Done { job: JobId(2), .. },
                ..
            }
        )
    };
    let journal = guest.journal(LOST).unwrap_or_default();
    while !journal.entries_from(0).iter().any(stored) {
        if Instant::now() > end {
            return Ok(vec!["the picture never came".to_owned()]);
        }
        guest.ping()?;
    }
    guest.run(&["/bin/busybox", "sh", "-c", KILL], SHORT)?;
    Ok(Vec::new())
}

/// What of such a file is not the pictures that the card sent, whole and in their order.
fn compare(
    guest: &Guest<Booted>,
    device: usize,
    stream: usize,
) -> landfall::guest::Result<Vec<String>> {
    let (_, lines, format, line) = STREAMS[stream];
    let length = line * lines;
    let mut wrong = Vec::new();
    let mut last = None;
    for frame in 0..=FRAMES {
        let at = frame as u64 * u64::from(length);
        let bytes = guest.read_file_at(&format!("/tmp/{device}.{stream}"), at, length)?;
        if frame == FRAMES {
            wrong.extend((!bytes.is_empty()).then(|| format!("{format}: more than was sent")));
            continue;
        }
        let Some((number, sent)) = picture::sent(&bytes, line, lines) else {
            wrong.push(format!("{format}: {} bytes of frame {frame}", bytes.len()));
            break;
        };
        let differ = bytes.iter().zip(&sent).position(|(is, was)| is != was);
        wrong.extend(differ.map(|byte| format!("{format}: byte {byte} of frame {frame}")));
        wrong.extend((last >= Some(number)).then(|| format!("{format}: {number} after {last:?}")));
        last = Some(number);
    }
    Ok(wrong)
}

/// The driver's own bugs, and no others: that it was told to start what runs, and that it cannot unbind.
fn assert_ended_as_it_must(leg: &Judged) {
    let (_, seen) = &leg.cards[0];
    let mut said = String::new();
    for finding in &seen.findings {
        let _ = writeln!(said, "{}", finding.line);
    }
    let lines: Vec<&str> = said.lines().collect();
    let [warnings @ .., oops, panic] = lines.as_slice() else {
        panic!("{said}");
    };
    assert!(!warnings.is_empty(), "{said}");
    let double = |line: &&str| line.contains("v4l2-subdev.c") && line.contains("call_s_stream");
    assert!(warnings.iter().all(double), "{said}");
    assert!(oops.contains("NULL pointer dereference"), "{said}");
    assert!(panic.contains("Kernel panic"), "{said}");
    assert!(seen.died.is_some());
    let ran = leg.programs.iter();
    assert!(ran.clone().all(|(_, ran)| ran.status == 0), "{leg:#?}");
}

/// Every byte of each picture is the card's, in three formats; every access was to memory that the driver had lent.
#[test]
fn every_picture_arrives_in_one_piece_of_memory() -> Result {
    let mut trial = driven([card("zoran", None)])?;
    for number in 0..STREAMS.len() {
        trial = stream(trial, 0, number, "").look(move |guest| compare(guest, 0, number));
    }
    let verdict = trial.on([Leg::Plain, Leg::Iommu]).verdict()?;

    for leg in &verdict.legs {
        assert_ended_as_it_must(leg);
        assert_eq!(leg.looks, [""; 0]);
        let (_, seen) = &leg.cards[0];
        assert_eq!((&seen.violations[..], &seen.hints[..]), (&[][..], &[][..]));
        assert_eq!(seen.not_judged, [""; 0]);
        assert!(seen.frames as usize >= 3 * FRAMES, "{seen:?}");
        let accesses = FRAMES * (576 + 576 + 288);
        assert!(seen.accesses as usize >= accesses, "{seen:?}");
    }
    verdict.discard()?;
    Ok(())
}

/// A wrong bit its user sees, as he should, and Landfall cannot; the others Landfall names.
#[test]
fn a_card_that_does_wrong_is_named_by_landfall_or_by_its_user() -> Result {
    let cards = [
        card("corrupt", Some(Fault::Corrupt)),
        card("overrun", Some(Fault::Overrun)),
        card("lost", Some(Fault::LostInterrupt)),
        card("late", Some(Fault::AfterStop)),
    ];
    let count = cards.len();
    let trial = driven(cards)?;
    let trial = (0..count).fold(trial, |trial, device| {
        stream(trial, device, 0, if device == LOST { "&" } else { "" })
    });
    let trial = trial.look(wait_for_hang);
    let trial = trial.look(move |guest| wait_for_late_write(guest, count - 1, 64));
    let trial = [0, 1, 3].into_iter().fold(trial, |trial, device| {
        trial.look(move |guest| compare(guest, device, 0))
    });
    let verdict = trial.on([Leg::Iommu]).verdict()?;

    let leg = &verdict.legs[0];
    assert_ended_as_it_must(leg);
    // The last byte of the third picture's first line.
    assert_eq!(leg.looks, ["YUYV: byte 1535 of frame 2"]);
    let class = |class: Class| vec![Some(class.number())];
    let expected = [
        ("corrupt", vec![]),
        ("overrun", class(Class::Overrun)),
        ("lost", class(Class::LostInterrupt)),
        // The driver has taken bus mastering away by then.
        ("late", class(Class::LeftMastering)),
    ];
    assert_eq!(named(leg), expected, "{verdict}");
    verdict.discard()?;
    Ok(())
}
