// SPDX-License-Identifier: MIT OR Apache-2.0

//! A sound driver that nobody here wrote, Debian's own snd-ad1889, with Debian's aplay and arecord: a ring in coherent memory that
//! the card reads or writes as time passes, with periods and a pointer. Every sample is compared; and a card does wrong in four ways,
//! each of which somebody names.

use std::fs;

use landfall::guest::{Card, Driver};
use landfall::judge::{Judged, Leg, Trial};
use landfall::testing::packages;
use landfall_cards::ad1889::{Ad1889, Ad1889Options, Fault, Speaker, recorded};
use landfall_device::ledger::Class;
use landfall_tests::{Result, named, wait_for_late_write};

/// Bytes of the ring, which is as long as what the driver allocated when it was bound, and of a sound, which goes round it.
const RING: usize = 128 << 10;
const SOUND: usize = 192 << 10;
/// Bytes of a period.
const PERIOD: usize = 16 << 10;

fn card(name: &'static str, fault: Option<Fault>, speaker: &Speaker) -> Card {
    let speaker = speaker.clone();
    Card::new(name, move || {
        Ad1889::new(Ad1889Options {
            speaker: speaker.clone(),
            fault,
            fault_period: 0,
        })
    })
}

fn driven(cards: impl IntoIterator<Item = Card>) -> Result<Trial> {
    let trial = Trial::new().packages(&packages(&["alsa-utils"])?);
    let trial = cards.into_iter().fold(trial, Trial::plug);
    Ok(trial.driver(Driver::stock("snd_ad1889")))
}

/// Has arecord record as much from a card, past everything that could change a sample, as `/got`.
fn record(card: usize, period: usize) -> String {
    format!(
        "arecord -q -D hw:{card} -t raw -f S16_LE -c 1 -r 48000 --period-size={} --buffer-size={} -s {} /got",
        period / 2,
        RING / 2,
        SOUND / 2
    )
}

/// Has aplay play `/sound` on a card, at a third of that speed.
fn play(card: usize) -> String {
    format!(
        "aplay -q -D hw:{card} -t raw -f S16_LE -c 2 -r 16000 --period-size={} --buffer-size={} /sound",
        PERIOD / 4,
        RING / 4
    )
}

/// How many bytes of `/got` are other ones than the card's.
const DIFFERS: &str = "cmp -l /got /recorded | wc -l";

fn shell(script: &str) -> [&str; 4] {
    ["/bin/busybox", "sh", "-c", script]
}

/// What a program wrote to its output and to its errors.
fn said(leg: &Judged, program: usize) -> (&str, &str) {
    let (_, ran) = &leg.programs[program];
    assert_eq!((ran.status, ran.timed_out), (0, false), "{ran:?}");
    (&ran.stdout, &ran.stderr)
}

/// Samples that depend on their place, and not as those do that the card records.
fn sound() -> Vec<u8> {
    let words = (0..SOUND as u32 / 4).map(|word| word.wrapping_mul(0x85eb_ca6b));
    words.flat_map(u32::to_le_bytes).collect()
}

fn expected() -> Vec<u8> {
    (0..SOUND as u64).map(recorded).collect()
}

/// Played and recorded at once, each sample arrives, and the programs have nothing to complain of.
#[test]
fn every_sample_arrives_on_three_platforms() -> Result {
    let files = tempfile::tempdir()?;
    let (played, recorded) = (files.path().join("sound"), files.path().join("recorded"));
    fs::write(&played, sound())?;
    fs::write(&recorded, expected())?;
    let script = format!(
        "{} & player=$!; {} && wait $player && {DIFFERS}",
        play(0),
        record(0, PERIOD)
    );
    for leg in [Leg::Plain, Leg::Iommu, Leg::Swiotlb] {
        let speaker = Speaker::default();
        let trial = driven([card("ad1889", None, &speaker)])?;
        let trial = trial.file(&played, "/sound").file(&recorded, "/recorded");
        let verdict = trial.run(shell(&script)).on([leg]).verdict()?;

        verdict.assert_clean();
        assert_eq!(said(&verdict.legs[0], 0), ("0\n", ""));
        let (_, seen) = &verdict.legs[0].cards[0];
        assert_eq!(seen.hints, []);
        assert_eq!(seen.refused, 0);
        let heard = speaker.heard();
        assert!(heard.starts_with(&sound()), "{leg}");
        // The driver stops the card in the last period's interrupt, having cleared that; so the next may be over by then, and
        // the one behind it waits with its last burst.
        assert!(heard.len() < SOUND + 2 * PERIOD, "{leg}: {}", heard.len());
    }
    Ok(())
}

/// Six cards under one driver: a wrong byte who listens hears, or compares, as he should, and Landfall cannot; the others Landfall
/// names, and a period that is not told, arecord, too. The one that is right is clean. Behind an IOMMU, which keeps what is late from
/// others' memory. The period is half of the ring: who misses one has lost what the next overwrites.
#[test]
fn a_card_that_does_wrong_is_named_by_landfall_or_by_its_user() -> Result {
    let files = tempfile::tempdir()?;
    let (played, recorded) = (files.path().join("sound"), files.path().join("recorded"));
    fs::write(&played, sound())?;
    fs::write(&recorded, expected())?;
    let (speaker, nobody) = (Speaker::default(), Speaker::default());
    let trial = driven([
        card("right", None, &nobody),
        card("corrupt", Some(Fault::Corrupt), &nobody),
        card("hoarse", Some(Fault::Corrupt), &speaker),
        card("overrun", Some(Fault::Overrun), &nobody),
        card("lost", Some(Fault::LostInterrupt), &nobody),
        card("late", Some(Fault::AfterStop), &nobody),
    ])?;
    let mut trial = trial.file(&played, "/sound").file(&recorded, "/recorded");
    for number in 0..6 {
        let script = match number {
            2 => play(number),
            _ => format!("{} && {DIFFERS}", record(number, RING / 2)),
        };
        trial = trial.run(shell(&script));
    }
    let trial = trial.look(|guest| wait_for_late_write(guest, 5, 64));
    let verdict = trial.on([Leg::Iommu]).verdict()?;

    let leg = &verdict.legs[0];
    for (number, differs) in [(0, "0\n"), (1, "1\n"), (3, "0\n"), (5, "0\n")] {
        assert_eq!(said(leg, number), (differs, ""), "{number}");
    }
    let heard = speaker.heard();
    let differ = heard
        .iter()
        .zip(sound())
        .filter(|(heard, sent)| **heard != *sent);
    assert_eq!(differ.count(), 1);
    let (_, complaint) = said(leg, 4);
    assert!(complaint.contains("overrun!!!"), "{complaint}");
    assert_eq!(leg.looks, [""; 0]);
    let class = |class: Class| vec![Some(class.number())];
    let expected = [
        ("right", vec![]),
        ("corrupt", vec![]),
        ("hoarse", vec![]),
        ("overrun", class(Class::Overrun)),
        ("lost", class(Class::LostInterrupt)),
        ("late", class(Class::AfterStop)),
    ];
    assert_eq!(named(leg), expected, "{verdict}");
    verdict.discard()?;
    Ok(())
}
