// SPDX-License-Identifier: MIT OR Apache-2.0

//! The gallery of correct drivers: small legal patterns of a driver and a card ([`PATTERNS`]), of which nothing may be
//! said on any platform; and a few that are done wrong ([`BUGS`]), of which something must be.
//!
//! Many patterns share a guest: the driver is loaded for one and unloaded, and then for the next. The card's journal is
//! one, and what is said is the pattern's in whose part of it it happened. A pattern that says nothing must have done
//! something: the card by its journal, and the driver by its own count of bytes that were right.

mod patterns;

use std::time::Instant;

use landfall_cards::ring::{Ring, RingOptions};
use landfall_device::ledger::{Class, Judgement, Violation};
use landfall_guest::{Cancel, Prepared};
use serde::Serialize;

pub use self::patterns::{BUGS, Bug, PATTERNS, Pattern};
use super::case::watching;
use super::jobs::{CatalogFailed, Event, Platforms, command_words};
use super::leave::leave;
use super::schema::VERSION;
use landfall::evidence::Trace;
use landfall::evidence::{Named, Observed};
use landfall::guest::{Booted, Card, Guest, GuestFailed};
use landfall::judge::Expected;
use landfall::judge::Leg;
use landfall::judge::versions;
use landfall::judge::{Death, Watch, count, named};

/// The driver.
const GALLERY: &str = "landfall_gallery";
/// Where it tells of itself.
const TOLD: &str = "/sys/module/landfall_gallery/parameters";

/// What to show.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which patterns.
    pub patterns: Vec<&'static Pattern>,
    /// On which platforms.
    pub legs: Vec<Leg>,
    /// How often.
    pub runs: u32,
    /// Each of them also on a card that declares nothing of its own work.
    pub mute: bool,
}

/// What came of the gallery.
#[derive(Clone, Debug, Serialize)]
pub struct Gallery {
    /// [`VERSION`].
    pub schema: u32,
    /// Each pattern, as often as it was shown.
    pub shown: Vec<Shown>,
    /// Guests that showed them, and what was said of one as a whole.
    pub guests: Vec<Shower>,
    /// Nothing was said, and each pattern did something.
    pub silent: bool,
    /// How long it took, seconds.
    pub seconds: f64,
}

/// A guest that showed patterns.
#[derive(Clone, Debug, Serialize)]
pub struct Shower {
    /// On which platform.
    pub leg: Leg,
    /// The card declared nothing.
    pub mute: bool,
    /// Patterns.
    pub patterns: usize,
    /// Why something was not judged.
    pub not_judged: Vec<String>,
    /// What the kernel said on its console.
    pub findings: Vec<String>,
    /// Calls that lend or take back, and that nobody hears.
    pub unheard: Vec<String>,
    /// Where its bundle was left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bundle: Option<std::path::PathBuf>,
}

/// A pattern, shown once.
#[derive(Clone, Debug, Serialize)]
pub struct Shown {
    /// Its name.
    pub pattern: &'static str,
    /// On which platform.
    pub leg: Leg,
    /// The card declared nothing.
    pub mute: bool,
    /// Which time, from 0.
    pub run: u32,
    /// What the driver says of itself.
    pub told: Told,
    /// Accesses of the card.
    pub accesses: u64,
    /// Calls of the driver that the witness told of.
    pub calls: u64,
    /// Jobs that the card completed, if it tells of any.
    pub completed: u64,
    /// What was said of it.
    pub violations: Vec<Named>,
    /// What was hinted at.
    pub hints: Vec<Named>,
    /// How the guest died, if it did.
    pub died: Option<String>,
    /// Nothing was said but what the pattern expects, and it did something.
    pub silent: bool,
}

/// What the driver says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Told {
    /// 0, or what went wrong first, as an errno.
    pub result: i64,
    /// Jobs with the right bytes.
    pub jobs: u64,
    /// Bytes that were right.
    pub bytes: u64,
    /// How often it was bound.
    pub bindings: u64,
}

/// A pattern's part of a guest's life.
#[derive(Debug)]
struct Part {
    told: Told,
    /// Entries of the journal.
    from: u64,
    to: u64,
    died: Option<String>,
}

/// A guest to be: the patterns that share its card.
#[derive(Clone, Debug)]
struct Share {
    leg: Leg,
    run: u32,
    mute: bool,
    patterns: Vec<&'static Pattern>,
}

impl Plan {
    /// The guests that it takes.
    fn shares(&self) -> Vec<Share> {
        let mut shares = Vec::new();
        let mutes = [false, true].into_iter().filter(|mute| !mute || self.mute);
        let cards: Vec<(bool, bool)> = mutes
            .flat_map(|mute| [(mute, false), (mute, true)])
            .collect();
        for run in 0..self.runs {
            for &leg in &self.legs {
                for &(mute, msi) in &cards {
                    let patterns = self.patterns.iter().copied();
                    let patterns: Vec<_> = patterns.filter(|one| one.msi == msi).collect();
                    if !patterns.is_empty() {
                        shares.push(Share {
                            leg,
                            run,
                            mute,
                            patterns,
                        });
                    }
                }
            }
        }
        shares
    }
}

/// Shows the gallery.
///
/// # Errors
/// If a guest fails where no driver or card can be the reason.
pub fn gallery(
    plan: &Plan,
    platforms: &Platforms<'_>,
    cancel: &Cancel,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<Gallery, CatalogFailed> {
    let began = Instant::now();
    let done = platforms.all(&plan.shares(), |share| {
        let mut all = Vec::new();
        let mut rest = share.patterns.as_slice();
        // A guest that died shows nothing more: the next ones get another.
        while !rest.is_empty() {
            let (shown, shower) = share.show(rest, platforms, cancel, on_event)?;
            rest = rest.get(shown.len()..).unwrap_or_default();
            all.push((shown, shower));
        }
        Ok(all)
    })?;
    let (shown, guests): (Vec<_>, Vec<_>) = done.into_iter().flatten().unzip();
    let shown: Vec<Shown> = shown.into_iter().flatten().collect();
    let said = |guest: &Shower| !guest.not_judged.is_empty() || !guest.findings.is_empty();
    Ok(Gallery {
        schema: VERSION,
        silent: shown.iter().all(|shown| shown.silent) && !guests.iter().any(said),
        shown,
        guests,
        seconds: began.elapsed().as_secs_f64(),
    })
}

impl Share {
    fn show(
        &self,
        patterns: &[&'static Pattern],
        platforms: &Platforms<'_>,
        cancel: &Cancel,
        on_event: &(dyn Fn(Event) + Sync),
    ) -> Result<(Vec<Shown>, Shower), CatalogFailed> {
        let began = Instant::now();
        let (leg, mute) = (self.leg, self.mute);
        let card = RingOptions {
            declares: !mute,
            ..patterns
                .first()
                .map_or_else(RingOptions::default, |first| first.card())
        };
        let loads: Vec<_> = patterns
            .iter()
            .map(|pattern| format!("pattern={}", pattern.name))
            .collect();
        let prepared = platforms.of(leg)?;
        let (observed, parts) = guest(leg, &card, &loads, prepared, platforms.watch_cpu, cancel)
            .map_err(|source| CatalogFailed::Gallery { leg, source })?;
        let judged = observed.trace.judged.clone();
        let unheard = judged.unheard.clone();
        let shown: Vec<_> = patterns
            .iter()
            .zip(&parts)
            .map(|(pattern, part)| self.shown(pattern, part, &judged, &observed.trace))
            .collect();
        let wrong = shown.iter().find(|shown| !shown.silent).map(Shown::says);
        let own = ["catalog", "gallery", "--legs", leg.name()].into_iter();
        let names = patterns.iter().map(|pattern| pattern.name);
        let expected = Expected {
            versions: versions(prepared),
            word: format!("gallery-{leg}-{}", self.run),
            what: format!("the gallery on {leg}"),
            command: command_words(prepared, own.chain(names)),
            scenario: None,
            wrong: &|observed| {
                let guest = observed.not_judged.first().cloned();
                let finding = observed
                    .findings
                    .first()
                    .map(|finding| finding.line.clone());
                wrong.clone().or(guest).or(finding)
            },
        };
        let observed = leave(platforms.bundles, &expected, Ok(observed))?;
        let quiet = shown.iter().filter(|shown| shown.silent).count();
        on_event(Event::Done {
            what: format!(
                "run {}, {leg}{}",
                self.run,
                if mute { ", mute" } else { "" }
            ),
            result: wrong.unwrap_or_else(|| format!("{quiet} patterns, silent")),
            elapsed: began.elapsed(),
        });
        let shower = Shower {
            leg,
            mute,
            patterns: shown.len(),
            not_judged: observed.not_judged,
            findings: observed
                .findings
                .into_iter()
                .map(|found| found.line)
                .collect(),
            unheard,
            bundle: observed.bundle,
        };
        Ok((shown, shower))
    }

    /// What was seen of a pattern.
    fn shown(
        &self,
        pattern: &'static Pattern,
        part: &Part,
        judged: &Judgement,
        trace: &Trace,
    ) -> Shown {
        let entries = trace
            .stream
            .as_ref()
            .map(|(_, journal)| journal.entries_from(part.from))
            .unwrap_or_default();
        let mine = entries.iter().take_while(|entry| entry.sequence < part.to);
        let counted = count(mine);
        let mut shown = Shown {
            pattern: pattern.name,
            leg: self.leg,
            mute: self.mute,
            run: self.run,
            told: part.told,
            accesses: counted.accesses,
            calls: counted.calls,
            completed: counted.frames,
            violations: said(&judged.violations, part),
            hints: said(&judged.hints, part),
            died: part.died.clone(),
            silent: false,
        };
        let hint = pattern.hint.map(Class::number);
        let told = shown.told.result == 0 && shown.told.jobs > 0;
        let worked = shown.accesses > 0 && shown.calls > 1 && (self.mute || shown.completed > 0);
        shown.silent = shown.violations.is_empty()
            && shown
                .hints
                .iter()
                .all(|named| hint.is_some() && named.class == hint)
            && shown.died.is_none()
            && told
            && worked;
        shown
    }
}

impl Shown {
    /// Why it was not silent, in words.
    pub fn says(&self) -> String {
        let mut said = self.violations.iter().chain(&self.hints);
        let what = match (&self.died, said.next()) {
            (Some(died), _) => died.clone(),
            (None, Some(named)) => format!("{}: {}", named.name, named.text),
            (None, None) => format!("the driver said {:?}", self.told),
        };
        format!("{}: {what}", self.pattern)
    }
}

/// What was said of a part of the journal.
fn said(all: &[Violation], part: &Part) -> Vec<Named> {
    let mine = |violation: &&Violation| (part.from..part.to).contains(&violation.sequence);
    let mine: Vec<_> = all.iter().filter(mine).cloned().collect();
    named(&mine)
}

/// Shows a bug, or its twin, in a guest of its own: all that was said.
///
/// # Errors
/// As [`gallery`].
pub fn show_bug(
    bug: &Bug,
    planted: bool,
    leg: Leg,
    platforms: &Platforms<'_>,
    cancel: &Cancel,
) -> Result<(Observed, Told), CatalogFailed> {
    let card = RingOptions {
        fault: bug.fault.filter(|_| planted),
        ..RingOptions::default()
    };
    let (with, without) = bug.parameters;
    let loads = [if planted { with } else { without }.to_owned()];
    let done = guest(
        leg,
        &card,
        &loads,
        platforms.of(leg)?,
        platforms.watch_cpu,
        cancel,
    );
    let (observed, parts) = done.map_err(|source| CatalogFailed::Gallery { leg, source })?;
    let told = parts.first().map(|part| part.told).unwrap_or_default();
    Ok((observed, told))
}

/// A guest in which the driver is loaded and unloaded with each of the parameters. What was seen of it as a whole, and a
/// part for each; fewer, if it died.
fn guest(
    leg: Leg,
    card: &RingOptions,
    loads: &[String],
    prepared: &Prepared,
    watch_cpu: bool,
    cancel: &Cancel,
) -> Result<(Observed, Vec<Part>), GuestFailed> {
    let made = card.clone();
    let card = Card::new("ring", move || Ring::new(made.clone()));
    let options = watching(leg.guest(prepared, vec![card]), watch_cpu, prepared);
    let guest = Guest::configure(options).boot(prepared, cancel)?;
    let journal = guest.journal(0).unwrap_or_default();
    let watch = Watch::begin(&guest, leg.platform(guest.memory().ram()));
    let mut parts: Vec<Part> = Vec::new();
    let mut death = None;
    for parameters in loads {
        let from = journal.len();
        let mut part = Part {
            told: Told::default(),
            from,
            to: from,
            died: None,
        };
        match drive(&guest, parameters) {
            Ok(told) => part.told = told,
            Err(failed) => {
                let ended = death.insert(Death::of(failed)?);
                part.died.clone_from(&ended.words);
            }
        }
        part.to = journal.len();
        parts.push(part);
        if death.is_some() {
            break;
        }
    }
    let [observed] = <[Observed; 1]>::try_from(watch.end(death.as_ref())).unwrap_or_default();
    // What the card did after all is the last one's.
    if let Some(last) = parts.last_mut() {
        last.to = journal.len();
    }
    Ok((observed, parts))
}

/// Loads the driver, which does what it does, and unloads it.
fn drive(guest: &Guest<Booted>, parameters: &str) -> Result<Told, GuestFailed> {
    guest.load_module(GALLERY, parameters)?;
    let number = |name: &str| -> Result<i64, GuestFailed> {
        let text = guest.read_text(&format!("{TOLD}/{name}"))?;
        Ok(text.trim().parse().unwrap_or(i64::MIN))
    };
    let count = |name| Ok(u64::try_from(number(name)?).unwrap_or_default());
    let told = Told {
        result: number("result")?,
        jobs: count("jobs")?,
        bytes: count("bytes")?,
        bindings: count("bindings")?,
    };
    guest.unload_module(GALLERY)?;
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The driver's own tables say which patterns there are: each is listed, and each that is listed is there.
    #[test]
    fn every_pattern_of_the_driver_is_listed_once() {
        let kmod = concat!(env!("CARGO_MANIFEST_DIR"), "/../../kmod/gallery");
        let mut found = Vec::new();
        for file in std::fs::read_dir(kmod).expect("the driver") {
            let path = file.expect("a file").path();
            if path.ends_with("bugs.c") {
                continue;
            }
            let text = std::fs::read_to_string(path).expect("text");
            let right = text.split("_bugs[] =").next().expect("a beginning");
            let names = right.split("{ .name = \"").skip(1);
            found.extend(names.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
        }
        let mut listed: Vec<_> = PATTERNS.iter().map(|one| one.name.to_owned()).collect();
        found.sort();
        listed.sort();
        assert_eq!(found, listed);
        listed.dedup();
        assert!(listed.len() == PATTERNS.len() && listed.len() >= 40);
    }

    /// A guest for each platform, time and card.
    #[test]
    fn patterns_that_need_the_same_card_share_a_guest() {
        let plan = Plan {
            patterns: PATTERNS.iter().collect(),
            legs: vec![Leg::Plain, Leg::Iommu],
            runs: 3,
            mute: true,
        };
        let shares = plan.shares();
        assert_eq!(shares.len(), 2 * 3 * 4);
        let shown: usize = shares.iter().map(|share| share.patterns.len()).sum();
        assert_eq!(shown, PATTERNS.len() * 2 * 3 * 2);
    }
}
