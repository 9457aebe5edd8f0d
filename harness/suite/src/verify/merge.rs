// SPDX-License-Identifier: MIT OR Apache-2.0

//! One list of violations out of what three views found.
//!
//! The journal says what the card did; memory says what came of it. Both are usually the same event, and are
//! then one violation with two views. What only one of them saw stays by itself.

use std::collections::BTreeMap;
use std::ops::Range;

use landfall_cards::capture::pattern::FrameSpec;
use landfall_device::ledger;

use super::{Difference, Differences, Found};
use landfall::debug_info::Lines;
use landfall::guest::Used;
use landfall::report::schema::{Nearest, Span, View, Violation};

/// A frame that a finding belongs to.
#[derive(Clone, Debug)]
pub struct FrameAt<'a> {
    /// Which capture, from 1.
    pub capture: usize,
    /// What it should look like.
    pub spec: &'a FrameSpec,
    /// Where it lies.
    pub range: Range<u64>,
}

/// The list, while it grows.
#[derive(Debug, Default)]
pub struct Findings {
    list: Vec<Violation>,
}

impl Findings {
    /// Begins with what the ledger found. `capture` tells which capture a journal entry belongs to,
    /// `shift` what to add to a bus address near a lend, which is given by its bus address, for the
    /// physical one: 0 without an IOMMU.
    pub fn from_ledger(
        violations: Vec<ledger::Violation>,
        capture: impl Fn(u64) -> Option<usize>,
        shift: impl Fn(u64) -> u64,
    ) -> Self {
        let convert =
            |violation: ledger::Violation| Violation::of_ledger(violation, &capture, &shift);
        Self {
            list: violations.into_iter().map(convert).collect(),
        }
    }

    /// Adds whose the memory is by now, by first address.
    pub fn owned(&mut self, owners: &BTreeMap<u64, String>) {
        for known in &mut self.list {
            known.owner = owners.get(&known.address).cloned();
        }
    }

    /// Adds where the driver's calls stand in its source.
    pub fn locate(&mut self, lines: &Lines) {
        self.list.iter_mut().for_each(|known| known.locate(lines));
    }

    /// Adds what memory shows of a frame.
    pub fn frame(&mut self, at: &FrameAt<'_>, differences: &Differences) {
        let Some(first) = differences.ranges.first() else {
            return;
        };
        let wrong = differences.bytes;
        let what = in_frame(first, at, differences);
        if let Some(known) = self.list.iter_mut().find(|known| same_frame(known, at)) {
            known.see(View::Memory);
            known.add(&format!(
                "in memory {wrong} bytes of the frame differ: {}",
                what.text
            ));
            return;
        }
        // What the card wrote where this frame lies, for whatever job.
        let all: u64 = differences.ranges.iter().map(|range| range.length).sum();
        let by_card = |known: &&mut Violation| {
            let there = |range: &Difference| {
                let end = known.address.saturating_add(known.length);
                known.address <= range.address && range.address + range.length <= end
            };
            all == wrong && differences.ranges.iter().all(there)
        };
        if let Some(known) = self.list.iter_mut().find(by_card) {
            known.see(View::Memory);
            known.add(&format!(
                "{wrong} bytes of frame {} are those",
                at.spec.sequence
            ));
            return;
        }
        let text = format!("{wrong} bytes of the frame differ: {}", what.text);
        self.list.push(Violation {
            class: what.class,
            address: first.address,
            length: first.length,
            frame: Some(at.spec.sequence),
            slot: Some(at.spec.slot.into()),
            views: vec![View::Memory],
            nearest: Some(nearest(&at.range, at.spec.slot, first)),
            ..bare(what.name, at.capture, &text)
        });
    }

    /// Adds what memory shows outside everything that was lent; `frames` are those in memory then.
    pub fn stray(
        &mut self,
        capture: usize,
        frames: &[FrameAt<'_>],
        earlier: &[Range<u64>],
        differences: &Differences,
    ) {
        for range in &differences.ranges {
            let end = range.address + range.length;
            let overlaps = |known: &Violation| {
                known.address < end
                    && range.address < known.address.saturating_add(known.length.max(1))
            };
            if let Some(known) = self.list.iter_mut().find(|known| overlaps(known)) {
                known.see(View::Memory);
                continue;
            }
            self.list.push(stray(capture, frames, earlier, range));
        }
    }

    /// Adds what the driver told, unless the same of that frame is known already.
    pub fn driver(&mut self, violation: Violation) {
        let same = |known: &&mut Violation| {
            known.capture == violation.capture
                && (known.frame, known.slot) == (violation.frame, violation.slot)
                && known.class.is_some()
        };
        match self.list.iter_mut().find(same) {
            Some(known) => {
                known.see(View::Driver);
                known.add(&violation.text);
            }
            None => self.list.push(violation),
        }
    }

    /// A frame never came: names the lost interrupt that explains it, or stands by itself.
    pub fn stalled(&mut self, capture: usize, text: &str) {
        let lost =
            |known: &&mut Violation| known.capture == Some(capture) && known.class == Some(43);
        if let Some(known) = self.list.iter_mut().find(lost) {
            known.see(View::Driver);
            known.add(text);
            return;
        }
        self.list.push(bare("no completion", capture, text));
    }

    /// Says of what lies in buffers of others whose they are.
    pub fn name_owners<'a>(&mut self, others: impl Iterator<Item = &'a Used>) {
        for used in others {
            let theirs = used.range();
            let hit = |known: &&mut Violation| {
                known.length > 0
                    && known.address < theirs.end
                    && theirs.start < known.address.saturating_add(known.length)
            };
            for known in self.list.iter_mut().filter(hit) {
                known.add(&format!("this is memory of {}", used.owner));
            }
        }
    }

    /// Adds something that is bound to nothing else.
    pub fn push(&mut self, violation: Violation) {
        self.list.push(violation);
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All that was found.
    pub fn finish(self) -> Vec<Violation> {
        self.list
    }
}

/// A violation that has neither place nor frame.
pub fn bare(name: &str, capture: usize, text: &str) -> Violation {
    Violation {
        class: None,
        name: name.to_owned(),
        address: 0,
        length: 0,
        frame: None,
        slot: None,
        capture: Some(capture),
        views: vec![View::Driver],
        nearest: None,
        register_write: None,
        driver_call: None,
        title: name.to_owned(),
        accesses: 0,
        owner: None,
        text: text.to_owned(),
    }
}

/// What memory alone says about a range.
struct Reading {
    class: Option<u8>,
    name: &'static str,
    text: String,
}

/// Reads the first wrong range of a frame.
fn in_frame(first: &Difference, at: &FrameAt<'_>, differences: &Differences) -> Reading {
    let offset = first.address - at.range.start;
    match first.found {
        Found::Canary => {
            let to_end =
                first.address + first.length == at.range.end && differences.ranges.len() == 1;
            let text = format!("from byte {offset} on the card wrote nothing");
            match to_end {
                true => Reading {
                    class: Some(56),
                    name: "short transfer",
                    text,
                },
                false => Reading {
                    class: None,
                    name: "bytes not written",
                    text,
                },
            }
        }
        Found::Frame(origin)
            if (origin.slot, origin.sequence) == (at.spec.slot, at.spec.sequence & 0xff_ffff) =>
        {
            Reading {
                class: Some(1),
                name: "overrun",
                text: format!(
                    "byte {offset} holds what belongs to byte {} of the same frame",
                    origin.offset
                ),
            }
        }
        Found::Frame(origin) => Reading {
            class: None,
            name: "bytes of another frame",
            text: format!(
                "byte {offset} holds byte {} of frame {} (slot {})",
                origin.offset, origin.sequence, origin.slot
            ),
        },
        Found::Zero => Reading {
            class: None,
            name: "wrong bytes",
            text: format!("zeros at byte {offset}"),
        },
        Found::Other => Reading {
            class: None,
            name: "wrong bytes",
            text: format!("from byte {offset} on"),
        },
    }
}

/// A range outside everything lent, of which the journal knows nothing.
///
/// If it was lent in an earlier capture, whoever had it then still writes to it.
fn stray(
    capture: usize,
    frames: &[FrameAt<'_>],
    earlier: &[Range<u64>],
    range: &Difference,
) -> Violation {
    let behind = frames.iter().find(|frame| frame.range.end == range.address);
    let near = frames
        .iter()
        .min_by_key(|frame| distance(&frame.range, range));
    let from = match range.found {
        Found::Frame(origin) => {
            format!(
                "byte {} of frame {} (slot {}) lies there",
                origin.offset, origin.sequence, origin.slot
            )
        }
        Found::Zero => "zeros lie there".to_owned(),
        Found::Canary | Found::Other => "it does not hold its canary".to_owned(),
    };
    let (frame, slot) = match range.found {
        Found::Frame(origin) => (Some(origin.sequence), Some(u32::from(origin.slot))),
        _ => behind.map_or((None, None), |at| {
            (Some(at.spec.sequence), Some(at.spec.slot.into()))
        }),
    };
    let before = earlier
        .iter()
        .any(|earlier| earlier.contains(&range.address));
    let (class, name, text) = match (behind, before, range.found) {
        (Some(_), ..) => (
            Some(1),
            "overrun",
            "memory that nobody was lent has changed",
        ),
        (None, true, Found::Other) => (
            Some(21),
            "freed while mapped",
            "a buffer that was given back has changed, and the card did not write there: somebody has it still mapped",
        ),
        (None, ..) => (
            None,
            "wild write",
            "memory that nobody was lent has changed",
        ),
    };
    Violation {
        class,
        name: name.to_owned(),
        address: range.address,
        length: range.length,
        frame,
        slot,
        capture: Some(capture),
        views: vec![View::Memory],
        nearest: near.map(|at| nearest(&at.range, at.spec.slot, range)),
        register_write: None,
        driver_call: None,
        title: name.to_owned(),
        accesses: 0,
        owner: None,
        text: format!("{text}: {from}"),
    }
}

fn same_frame(known: &Violation, at: &FrameAt<'_>) -> bool {
    known.capture == Some(at.capture)
        && known.slot == Some(at.spec.slot.into())
        && known.frame.is_none_or(|frame| frame == at.spec.sequence)
}

fn distance(range: &Range<u64>, difference: &Difference) -> u64 {
    let end = difference.address + difference.length;
    difference
        .address
        .saturating_sub(range.end)
        .max(range.start.saturating_sub(end))
}

fn nearest(range: &Range<u64>, slot: u8, difference: &Difference) -> Nearest {
    Nearest {
        label: format!("frame buffer {slot}"),
        lend: Span {
            address: range.start,
            length: range.end - range.start,
        },
        offset: i128::from(difference.address) - i128::from(range.start),
        distance: distance(range, difference),
        lent_by: None,
        taken_back_by: None,
    }
}

#[cfg(test)]
mod tests {
    use landfall_cards::capture::pattern::{Pattern, Pixel};
    use landfall_device::contract::JobId;

    use super::super::Origin;
    use super::*;

    const SPEC: FrameSpec = FrameSpec {
        pattern: Pattern::Test,
        pixel: Pixel::Grey,
        width: 64,
        height: 64,
        stride: 64,
        sequence: 2,
        slot: 2,
    };
    const AT: FrameAt<'static> = FrameAt {
        capture: 1,
        spec: &SPEC,
        range: 0x1000..0x2000,
    };

    fn differences(address: u64, length: u64, found: Found) -> Differences {
        let mut differences = Differences::new(None);
        differences.bytes = length;
        differences.ranges.push(Difference {
            address,
            length,
            offset: None,
            found,
        });
        differences
    }

    fn journal(class: u8, address: u64, length: u64) -> Findings {
        let violation = ledger::Violation {
            class: ledger::Class::of(class),
            name: "overrun".into(),
            address,
            length,
            accesses: 1,
            frame: Some(2),
            slot: Some(2),
            job: Some(JobId(2)),
            lend: None,
            register_write: None,
            call: None,
            instruction: None,
            sequence: 9,
            time_ns: 0,
            text: "the card wrote".to_owned(),
        };
        Findings::from_ledger(vec![violation], |_| Some(1), |_| 0)
    }

    fn only(findings: Findings) -> Violation {
        let mut list = findings.finish();
        assert_eq!(list.len(), 1, "{list:#?}");
        list.remove(0)
    }

    #[test]
    fn clean_views_give_no_violation() {
        let mut findings = Findings::from_ledger(Vec::new(), |_| None, |_| 0);
        findings.frame(&AT, &Differences::new(None));
        findings.stray(1, &[AT], &[], &Differences::new(None));
        assert!(findings.is_empty());
    }

    #[test]
    fn what_journal_and_memory_saw_is_one_violation() {
        let mut findings = journal(1, 0x2000, 1);
        findings.stray(1, &[AT], &[], &differences(0x2000, 1, Found::Other));

        let violation = only(findings);
        assert_eq!(violation.views, [View::Journal, View::Memory]);
        assert_eq!(violation.class, Some(1));
    }

    #[test]
    fn a_frames_missing_bytes_belong_to_what_the_card_did_instead() {
        let mut findings = journal(2, 0x7_0000, 0x1000);
        findings.frame(&AT, &differences(0x1000, 0x1000, Found::Canary));

        let violation = only(findings);
        assert_eq!((violation.class, violation.address), (Some(2), 0x7_0000));
        assert!(
            violation.text.contains("4096 bytes of the frame differ"),
            "{}",
            violation.text
        );
    }

    #[test]
    fn memory_alone_names_a_short_frame() {
        let mut findings = Findings::default();
        findings.frame(&AT, &differences(0x1800, 0x800, Found::Canary));

        let violation = only(findings);
        assert_eq!((violation.class, violation.frame), (Some(56), Some(2)));
        assert_eq!(violation.views, [View::Memory]);
    }

    #[test]
    fn memory_alone_names_an_overrun_and_a_wild_write() {
        let mut findings = Findings::default();
        findings.stray(1, &[AT], &[], &differences(0x2000, 8, Found::Other));
        let origin = Origin {
            slot: 7,
            sequence: 5,
            offset: 64,
        };
        findings.stray(
            1,
            &[AT],
            &[],
            &differences(0x9000, 64, Found::Frame(origin)),
        );

        let list = findings.finish();
        assert_eq!((list[0].class, list[0].frame), (Some(1), Some(2)));
        assert_eq!(
            (list[1].class, list[1].frame, list[1].slot),
            (None, Some(5), Some(7))
        );
        assert_eq!(list[1].nearest.as_ref().unwrap().distance, 0x7000);
    }

    #[test]
    fn what_was_lent_before_and_changed_is_still_mapped() {
        const EARLIER: Range<u64> = 0x9000..0xa000;
        let mut findings = Findings::default();
        findings.stray(
            1,
            &[AT],
            std::slice::from_ref(&EARLIER),
            &differences(0x9000, 8, Found::Other),
        );
        findings.stray(
            1,
            &[AT],
            std::slice::from_ref(&EARLIER),
            &differences(0xb000, 8, Found::Other),
        );

        let classes: Vec<_> = findings.finish().iter().map(|found| found.class).collect();
        assert_eq!(classes, [Some(21), None]);
    }

    #[test]
    fn bytes_of_another_frame_are_traced() {
        let mut findings = Findings::default();
        let origin = Origin {
            slot: 1,
            sequence: 1,
            offset: 16,
        };
        findings.frame(&AT, &differences(0x1010, 64, Found::Frame(origin)));

        let violation = only(findings);
        assert_eq!(violation.name, "bytes of another frame");
        assert!(
            violation.text.contains("byte 16 of frame 1"),
            "{}",
            violation.text
        );
    }

    #[test]
    fn a_stall_is_explained_by_a_lost_interrupt_or_stands_alone() {
        let mut explained = journal(43, 0x1000, 0);
        explained.stalled(1, "no frame came within 5 s");
        assert_eq!(only(explained).views, [View::Driver, View::Journal]);

        let mut alone = Findings::default();
        alone.stalled(1, "no frame came within 5 s");
        assert_eq!(only(alone).class, None);
    }
}
