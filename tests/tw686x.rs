// SPDX-License-Identifier: MIT OR Apache-2.0

//! A larger driver that nobody here wrote, Debian's own tw686x, in its three modes, with the witness as the only word on
//! what it lends. What is right in it is silent, and its bugs are named, each for what it is: `docs/findings.md`.

use std::time::{Duration, Instant};

use landfall::guest::{Booted, Card, Guest, GuestOptions, Iommu, Module, WITNESS_MODULE};
use landfall::judge::judge;
use landfall_cards::tw686x::{Fault, Tw686x, Tw686xOptions, picture};
use landfall_device::contract::{Declaration, QueueId};
use landfall_device::journal::{Call, Kind, Outcome};
use landfall_device::ledger::{Class, Judgement, Platform, Violation};
use landfall_tests::{Result, SHORT, boot, prepared};

const DRIVER: &str = "tw686x";
const UNBIND: &str = "/sys/bus/pci/drivers/tw686x/unbind";
/// PCI address of the first card.
const ADDRESS: &str = "0000:01:00.0";
const STATUS: &str = "/sys/kernel/debug/landfall_witness/status";
/// Time for a program that uses a card for some seconds, on a busy host.
const PROGRAM: Duration = Duration::from_secs(120);
/// A picture's bytes of a line, and lines; two bytes a pixel.
type Size = (usize, u32);
/// 720 by 480 pixels: how each channel begins.
const WHOLE: Size = (1440, 480);
/// 360 by 240.
const QUARTER: Size = (720, 240);
/// From one frame to the next: so long that a program has always given a buffer back before the queue is empty.
const PERIOD: Duration = Duration::from_millis(150);
/// Frames of a stream.
const FRAMES: usize = 2;
/// Bytes and number of the sound buffers that the driver keeps in its mode memcpy.
const SOUND: (u64, usize) = (4096, 16);

/// The driver's three modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Two buffers a channel for good, copied from.
    Memcpy,
    /// The buffers of the user.
    Contig,
    /// The pages of the user's buffers, by lists.
    Sg,
}

impl Mode {
    const fn parameters(self) -> &'static str {
        match self {
            Self::Memcpy => "dma_mode=memcpy",
            Self::Contig => "dma_mode=contig",
            Self::Sg => "dma_mode=sg",
        }
    }
}

/// A card.
fn card(fault: Option<Fault>, period: Duration) -> Card {
    Card::new("tw686x", move || {
        Tw686x::new(Tw686xOptions {
            fault,
            period: Some(period),
            ..Tw686xOptions::default()
        })
    })
}

/// A guest with these cards, and the witness.
fn guest(cards: Vec<Card>, options: GuestOptions) -> Result<Guest<Booted>> {
    let guest = boot(GuestOptions {
        cards,
        witness: true,
        preload: vec![Module::named(WITNESS_MODULE)],
        archives: prepared().video.clone(),
        ..options
    })?;
    Ok(guest)
}

/// Loads the driver, and waits for the last of its devices.
fn load(guest: &Guest<Booted>, mode: Mode) -> Result {
    guest.load_stock(DRIVER, mode.parameters())?;
    let last = 8 * guest.options().cards.len() - 1;
    Ok(guest.wait_for_path(&format!("/dev/video{last}"), SHORT)?)
}

/// A stream of a channel into a file, in words of the shell.
fn words(channel: usize, frames: usize, more: &str) -> String {
    format!(
        "/usr/bin/v4l2-ctl -d /dev/video{channel} --stream-mmap=24 --stream-count={frames} --stream-to=/tmp/{channel}.raw {more}"
    )
}

/// Has the shell do something; gives what it said.
fn shell(guest: &Guest<Booted>, script: &str) -> Result<String> {
    let ran = guest.run(&["/bin/busybox", "sh", "-c", script], PROGRAM)?;
    assert_eq!((ran.status, ran.timed_out), (0, false), "{script}: {ran:?}");
    Ok(ran.stderr)
}

/// Streams pictures of that size from a channel, and compares every byte. Beside it another channel streams from before its
/// first picture until after its last: two that start or stop at once may switch each other on or off, which is a bug of
/// the driver's.
fn stream(
    guest: &Guest<Booted>,
    mode: Mode,
    size: Size,
    channel: usize,
    beside: Option<usize>,
) -> Result {
    let (width, lines) = size;
    let frame = width * lines as usize;
    let format = format!("--set-fmt-video=width={},height={lines}", width / 2);
    let one = words(channel, FRAMES, &format);
    let script = match beside {
        None => one,
        Some(other) => {
            let endless = words(other, 0, &format);
            let has = |bytes| {
                format!("until [ $(wc -c </tmp/{other}.raw) -ge {bytes} ]; do usleep 20000; done")
            };
            let (first, enough) = (has(1), has(FRAMES * frame));
            format!(
                "rm -f /tmp/*.raw; : >/tmp/{other}.raw; {endless} & p=$!; {first}; {one}; s=$?; {enough}; kill $p; wait $p; exit $s"
            )
        }
    };
    let said = shell(guest, &script)?;
    for channel in [channel].into_iter().chain(beside) {
        let path = format!("/tmp/{channel}.raw");
        let mut last = None;
        for index in 0..FRAMES {
            let bytes = guest.read_file_at(&path, (index * frame) as u64, frame as u32)?;
            let Some((whose, number)) = picture::origin(&bytes) else {
                panic!("{mode:?}, channel {channel}: {index} frames; {said}");
            };
            assert_eq!(whose as usize, channel, "{mode:?}");
            assert!(last < Some(number), "{mode:?}: {number} after {last:?}");
            let stamp = picture::stamp(whose, number);
            let expected = picture::picture(stamp, width, lines, mode == Mode::Sg);
            assert!(bytes == expected, "{mode:?}, channel {channel}: {number}");
            last = Some(number);
        }
    }
    let behind = guest.read_file_at(&format!("/tmp/{channel}.raw"), (FRAMES * frame) as u64, 1)?;
    assert_eq!(behind, [0; 0], "{mode:?}");
    Ok(())
}

/// The verdict on a card, from its journal alone, with all that the guest has told by now: the witness's status is read
/// from the card, and the answer comes behind what was posted before.
fn verdict(guest: &Guest<Booted>, card: usize) -> Judgement {
    guest.read_text(STATUS).expect("a witness");
    guest.sync_card(card);
    let journal = guest.journal(card).expect("a card");
    let platform = Platform {
        iommu: guest.options().iommu != Iommu::None,
        ..Platform::default()
    };
    judge(&journal, platform)
}

/// What went wrong on a card of which all could be judged.
fn named(guest: &Guest<Booted>, card: usize) -> Vec<Violation> {
    let judgement = verdict(guest, card);
    assert_eq!(judgement.not_judged, [""; 0]);
    assert_eq!(judgement.hints, []);
    judgement.violations
}

/// How many entries of a card's journal are so.
fn count(guest: &Guest<Booted>, card: usize, wanted: impl Fn(&Kind) -> bool) -> usize {
    let entries = guest.journal(card).expect("a card").entries_from(0);
    entries.iter().filter(|entry| wanted(&entry.kind)).count()
}

/// Waits until a card's journal has so many entries of a kind.
fn wait_for(
    guest: &Guest<Booted>,
    card: usize,
    many: usize,
    wanted: impl Fn(&Kind) -> bool,
) -> Result {
    let end = Instant::now() + SHORT;
    while count(guest, card, &wanted) < many {
        assert!(Instant::now() < end, "what was waited for never came");
        guest.ping()?;
    }
    Ok(())
}

/// Whether a channel begins a job.
fn begun(kind: &Kind, channel: u16) -> bool {
    let begun = |(what, _): (&Declaration, _)| match what {
        Declaration::Begun { queue, .. } => *queue == QueueId(channel),
        _ => false,
    };
    kind.declaration().is_some_and(begun)
}

/// Class 53: the sound buffers, which the driver allocates in its mode memcpy and never frees.
fn assert_sound_is_left(violations: &[Violation]) {
    let [violation] = violations else {
        panic!("one violation: {violations:#?}");
    };
    assert_eq!(violation.class, Some(Class::Leak), "{violation:#?}");
    let (bytes, many) = SOUND;
    let left = format!("left {many} lends of {} bytes behind", bytes * many as u64);
    assert!(violation.text.contains(&left), "{violation:#?}");
    let title = violation.title();
    assert!(title.contains("tw686x_audio_init [tw686x]"), "{title}");
}

/// In all three modes, from one channel and from two at once, every byte is in its place, and sound comes; what the driver does is right,
/// but for the sound buffers of one mode, which it leaves behind. `alone`: what the one channel streams, if it does.
fn all_modes(alone: Option<Size>, options: GuestOptions) -> Result {
    let guest = guest(vec![card(None, PERIOD)], options)?;
    guest.load_stock("snd_pcm_oss", "")?;
    for mode in [Mode::Contig, Mode::Sg, Mode::Memcpy] {
        load(&guest, mode)?;
        guest.wait_for_path("/dev/dsp", SHORT)?;
        shell(&guest, "dd if=/dev/dsp of=/tmp/sound bs=1024 count=2")?;
        if let Some(size) = alone {
            stream(&guest, mode, size, 0, None)?;
        }
        stream(&guest, mode, QUARTER, 5, Some(0))?;
        guest.unload_module(DRIVER)?;
        match mode {
            Mode::Contig | Mode::Sg => assert_eq!(named(&guest, 0), [], "{mode:?}"),
            Mode::Memcpy => assert_sound_is_left(&named(&guest, 0)),
        }
    }

    // The verdict had something to judge by.
    let ok = |kind: &Kind| {
        matches!(
            kind,
            Kind::Access {
                outcome: Outcome::Ok,
                ..
            }
        )
    };
    assert!(count(&guest, 0, ok) >= 3 * 2 * FRAMES * 240);
    let call = |wanted| move |kind: &Kind| matches!(kind, Kind::Call(call) if call.call == wanted);
    // Two streams of 24 buffers in each of two modes; 16 sound buffers, 16 of pictures and 16 tables.
    assert!(count(&guest, 0, call(Call::Alloc)) >= 2 * 24 + 3 * 16);
    assert!(count(&guest, 0, call(Call::MapList)) >= 2 * 24);
    assert!(count(&guest, 0, call(Call::Done)) >= 3 * 2 * FRAMES);
    // The first sound channel.
    assert!(count(&guest, 0, |kind| begun(kind, 8)) >= 3);
    Ok(guest.power_off()?)
}

/// On plain memory.
#[test]
fn all_modes_are_right_but_for_the_sound_buffers() -> Result {
    all_modes(Some(WHOLE), GuestOptions::default())
}

/// Behind an IOMMU.
#[test]
fn all_modes_are_right_behind_an_iommu() -> Result {
    let options = GuestOptions {
        iommu: Iommu::Strict,
        ..GuestOptions::default()
    };
    all_modes(None, options)
}

/// Where every streaming mapping has a bounce buffer: that holds 256 KiB at most, of which vb2 knows nothing, and so it has
/// none for the pages of a whole picture.
#[test]
fn all_modes_are_right_with_bounce_buffers() -> Result {
    let options = GuestOptions {
        append: "swiotlb=force".to_owned(),
        memory: 512 << 20,
        ..GuestOptions::default()
    };
    all_modes(None, options)
}

/// Two cards that do wrong, with a correct driver: one byte behind a picture is class 1, a write after the channel was
/// stopped class 20. The driver's own buffers are there all the while: nobody is harmed.
#[test]
fn a_card_that_does_wrong_is_named() -> Result {
    let faults = [Some(Fault::Overrun), Some(Fault::AfterStop)];
    let cards = faults.map(|fault| card(fault, PERIOD)).into();
    let guest = guest(cards, GuestOptions::default())?;
    load(&guest, Mode::Memcpy)?;
    for channel in [0, 8] {
        shell(&guest, &words(channel, 3, ""))?;
    }
    let late = |kind: &Kind| matches!(kind, Kind::Access { length: 64, .. });
    wait_for(&guest, 1, 1, late)?;

    for (card, class, length) in [(0, Class::Overrun, 1), (1, Class::AfterStop, 64)] {
        let violations = named(&guest, card);
        let [violation] = violations.as_slice() else {
            panic!("one violation: {violations:#?}");
        };
        assert_eq!(violation.class, Some(class), "{violation:#?}");
        assert_eq!((violation.length, violation.accesses), (length, 1));
    }
    Ok(guest.power_off()?)
}

/// Unbinding while a channel streams: remove frees the two buffers under a card that still fills one. Behind an IOMMU,
/// which keeps the card from what is somebody else's by then. The frame takes seconds: remove always comes amid it.
#[test]
fn unbinding_while_it_streams_is_named() -> Result {
    let cards = vec![card(None, Duration::from_secs(3))];
    let options = GuestOptions {
        iommu: Iommu::Strict,
        ..GuestOptions::default()
    };
    let guest = guest(cards, options)?;
    load(&guest, Mode::Memcpy)?;
    shell(&guest, &format!("{} >/dev/null 2>&1 &", words(0, 9, "")))?;
    wait_for(&guest, 0, 1, |kind| begun(kind, 0))?;
    guest.write_file(UNBIND, ADDRESS)?;

    let violations = named(&guest, 0);
    let classes: Vec<_> = violations.iter().map(|one| one.class).collect();
    let expected = [Class::RemovedWhileRunning, Class::Leak].map(Some);
    assert_eq!(classes, expected, "{violations:#?}");
    let title = violations[0].title();
    assert!(title.contains("tw686x_memcpy_dma_free [tw686x]"), "{title}");
    assert_sound_is_left(&violations[1..]);
    Ok(guest.power_off()?)
}

/// A user who takes long: when no buffer is queued, the driver completes the last one, and leaves its address in the
/// card, which fills it again while its user reads.
#[test]
fn a_queue_that_runs_dry_is_named() -> Result {
    let guest = guest(vec![card(None, PERIOD)], GuestOptions::default())?;
    load(&guest, Mode::Contig)?;
    let stream = "/usr/bin/v4l2-ctl -d /dev/video0 --stream-mmap=3 --stream-count=2 --stream-sleep=count=1,sleep=1500,mode=1";
    shell(&guest, stream)?;

    let violations = named(&guest, 0);
    assert!(!violations.is_empty());
    for violation in &violations {
        assert_eq!(violation.class, Some(Class::StaleAddress), "{violation:#?}");
        let title = violation.title();
        assert!(title.contains("tw686x_video_irq [tw686x]"), "{title}");
    }
    Ok(guest.power_off()?)
}
