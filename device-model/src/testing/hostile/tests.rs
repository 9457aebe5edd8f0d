// SPDX-License-Identifier: MIT OR Apache-2.0

//! What each check is for: a card that is wrong in one way is told of, and one that is not, is not.

use std::sync::mpsc;

use super::*;
use crate::contract::{
    Bar, Declares, Device, DmaError, Host, Identity, Next, Notice, RegisterName, Registers, Reset,
    Tag, Vector,
};
use crate::dma::map::Request;
use crate::journal::Outcome;
use crate::ledger::Class;

/// How a card is wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Wrong {
    #[default]
    Not,
    /// It writes memory that it was never lent, past everything that would journal it.
    Beside,
    /// It keeps a register over a reset.
    Remembers,
    /// It interrupts without a cause, and has declared that it does not.
    Interrupts,
    Panics,
    /// It does not come back for seconds.
    Stalls,
    /// It does not end for seconds.
    Lingers,
    /// Not at all: it reaches for memory as soon as it has the bus.
    Hastens,
}

/// A card with one register.
#[derive(Default)]
pub(super) struct Plain {
    wrong: Wrong,
    value: u32,
    memory: Option<File>,
}

/// What cards that are late exceed.
const SHORT: Duration = Duration::from_millis(500);

/// Some seconds, in which nothing comes.
fn seconds() {
    let (_kept, never) = mpsc::channel::<()>();
    never.recv_timeout(6 * SHORT).unwrap_err();
}

impl Drop for Plain {
    fn drop(&mut self) {
        if self.wrong == Wrong::Lingers {
            seconds();
        }
    }
}

impl Device for Plain {
    fn identity(&self) -> Identity {
        Identity {
            vendor: 0x1b36,
            device: 0x4c7e,
            bars: vec![Bar::registers(0, 16)],
            ..Identity::default()
        }
    }

    fn declares(&self) -> Declares {
        Declares {
            interrupts: true,
            ..Declares::default()
        }
    }

    fn reset(&mut self, _kind: Reset) {
        if self.wrong != Wrong::Remembers {
            self.value = 0;
        }
    }

    fn step(&mut self, _host: &mut dyn Host) -> Next {
        Next::Idle
    }

    fn line(&self) -> bool {
        false
    }

    fn notice(&mut self, notice: Notice, host: &mut dyn Host) {
        if notice == Notice::BusMaster && self.wrong == Wrong::Hastens {
            let _ = host.dma_write(0, &[1], Tag::default());
        }
    }
}

impl Registers for Plain {
    fn register(&self, _bar: u8, offset: u64) -> Option<RegisterName> {
        (offset == 0).then(|| RegisterName::plain("PLAIN"))
    }

    fn read(&self, _bar: u8, _offset: u64) -> u32 {
        self.value
    }

    fn write(&mut self, _bar: u8, _offset: u64, value: u32, host: &mut dyn Host) {
        self.value = match self.wrong {
            Wrong::Remembers => self.value | value | 1,
            _ => value,
        };
        match (self.wrong, &self.memory) {
            (Wrong::Beside, Some(memory)) => {
                let at = u64::from(value) % memory::BYTES as u64;
                std::os::unix::fs::FileExt::write_all_at(memory, &[value as u8 | 1], at).unwrap();
            }
            (Wrong::Interrupts, _) => host.raise(Vector(0)),
            (Wrong::Panics, _) => panic!("as planted"),
            (Wrong::Stalls, _) => seconds(),
            _ => {}
        }
    }
}

/// Where cards are served.
pub(super) struct Bench {
    socket: std::path::PathBuf,
    _directory: tempfile::TempDir,
}

impl Bench {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("card");
        Self {
            socket,
            _directory: directory,
        }
    }

    pub(super) fn serve(&self, card: Box<dyn Function>) -> CardServer {
        CardServer::bind(&self.socket, card).unwrap()
    }

    pub(super) fn plan(&self, right: bool) -> Plan<'_> {
        Plan {
            socket: &self.socket,
            uses: &[],
            limit: LIMIT,
            ending: LIMIT,
            severs: !right,
            right,
        }
    }

    pub(super) fn guest<'a>(&self, plan: &'a Plan<'a>) -> Guest<'a> {
        let stores = [false, true].map(|shrinks| Store::new(shrinks).unwrap());
        Guest::new(plan, stores, Vec::new(), Vec::new(), Random::new(1)).unwrap()
    }

    /// What is said of a card that is wrong.
    fn said(&self, wrong: Wrong) -> Result<(), String> {
        let make = |memory: [&File; 2]| -> Box<dyn Function> {
            Box::new(Plain {
                wrong,
                value: 0,
                memory: memory[0].try_clone().ok(),
            })
        };
        // No other card is to meet it: on a busy machine it may be late, too.
        let mut plan = self.plan(true);
        match wrong {
            Wrong::Stalls => plan.limit = SHORT,
            Wrong::Lingers => plan.ending = SHORT,
            _ => {}
        }
        let mut tally = Tally::default();
        plan.epoch(&make, Random::new(2), false, &mut tally)
    }
}

#[test]
fn a_card_that_is_wrong_in_one_way_is_told_of() {
    let bench = Bench::new();
    assert_eq!(bench.said(Wrong::Not), Ok(()));
    for (wrong, why) in [
        (Wrong::Beside, "is not lent for writing"),
        (Wrong::Remembers, "on a new card"),
        (Wrong::Interrupts, "it has no cause"),
        (Wrong::Panics, "panicked: as planted"),
        (Wrong::Stalls, "is not answered within 500ms"),
        (Wrong::Lingers, "to end"),
    ] {
        let said = bench.said(wrong).expect_err(why);
        assert!(said.contains(why), "{wrong:?}: {said}");
    }
}

/// One write to configuration space may give a card the bus and take its power: it acts when both are told.
#[test]
fn a_card_acts_when_all_that_a_write_does_is_told() {
    let mut card = LocalCard::new(Box::new(Plain {
        wrong: Wrong::Hastens,
        value: 0,
        memory: None,
    }));
    // It has the bus already.
    card.write_config(4, &[2, 0]);
    let before = card.journal().len() as usize;
    let mut bytes = [0; 0x41];
    card.read_config(4, &mut bytes);
    bytes[0] |= 4;
    bytes[0x40] |= 3; // PMCSR
    card.write_config(4, &bytes);
    let entries = card.journal().entries_from(0);
    let kinds: Vec<_> = entries
        .iter()
        .skip(before)
        .map(|entry| &entry.kind)
        .collect();
    let refused = Outcome::Refused(DmaError::NotPowered);
    assert!(
        matches!(
            kinds[..],
            [
                Kind::BusMaster { on: true },
                Kind::PowerState { state: 3 },
                Kind::Access { outcome, .. },
            ] if *outcome == refused
        ),
        "{kinds:?}"
    );
}

/// Of a panic the journal tells, and the verdict does: before, the card was only silent from there on.
#[test]
fn a_model_that_panics_is_gone_and_nothing_is_clean() {
    let bench = Bench::new();
    let wrong = Wrong::Panics;
    let server = bench.serve(Box::new(Plain {
        wrong,
        value: 0,
        memory: None,
    }));
    let mut machine = machine::Machine::connect(&bench.socket, LIMIT, false).unwrap();
    machine.write(7, 4, &[6, 0], false).unwrap();
    let answer = machine.write(0, 0, &[1; 4], false);
    assert_eq!(answer, Ok(machine::Answer::Closed));
    let journal = server.journal();
    drop(server);
    let mut ledger = Ledger::new(Platform::default());
    let entries = journal.entries_from(0);
    entries.iter().for_each(|entry| ledger.entry(entry));
    let why = "the card's model panicked: as planted".to_owned();
    assert_eq!(ledger.finish().not_judged, [why]);
}

/// Violations of a card on its own, in a machine that lends it [`LENT`] and nothing else; and how often it moved bytes.
fn judged(tame: bool) -> (Vec<Option<Class>>, u64) {
    let card = Wild::new(3, Arc::default(), tame);
    let mut card = LocalCard::new(Box::new(card));
    let bench = Bench::new();
    let mut seen = Seen::new(&bench.plan(false));
    // What it asked for before there was memory is not looked at.
    seen.audit.skip(card.journal().take(usize::MAX).len());
    let file = Store::new(false).unwrap().file;
    let request = Request {
        iova: 0,
        length: memory::BYTES as u64,
        file_offset: 0,
        readable: true,
        writable: true,
        file: Some(file.try_clone().unwrap()),
    };
    // Below what is lent: what strays there is not stopped by anything.
    card.map().add(request).unwrap();
    let request = Request {
        iova: LENT.start,
        length: LENT.length,
        file_offset: 0,
        readable: true,
        writable: true,
        file: Some(file),
    };
    card.map().add(request).unwrap();
    seen.audit.lend(0, memory::BYTES as u64);
    seen.audit.lend(LENT.start, LENT.length);
    for at in 0..2000 {
        card.read(0, at % 64 * 4);
        card.write(0, at % 64 * 4, 7);
        card.step();
    }
    while seen.audit.next() < card.journal().len() {
        seen.look(card.journal(), false).unwrap();
    }
    let judgement = seen.ledger.finish();
    blames(&judgement, seen.audit.strays).unwrap();
    let classes = judgement.violations.iter().map(|found| found.class);
    (classes.collect(), seen.audit.moved)
}

#[test]
fn a_wild_card_is_blamed_and_a_tame_one_is_not() {
    let (classes, moved) = judged(true);
    assert_eq!((classes, moved > 1000), (vec![], true));
    let (classes, moved) = judged(false);
    assert!(classes.len() > 10 && moved > 100, "{classes:?}");
}

#[test]
fn a_stray_that_nobody_is_blamed_for_is_told() {
    blames(&Judgement::default(), 0).unwrap();
    blames(&Judgement::default(), 1).unwrap_err();
}

#[test]
fn entries_that_nobody_counted_are_told() {
    let bench = Bench::new();
    let journal = Journal::with_capacity(2);
    let mut seen = Seen::new(&bench.plan(true));
    for _ in 0..3 {
        journal.push(Kind::Connected);
    }
    seen.look(&journal, false).unwrap();
    seen.counted(&journal).unwrap();
    journal.push(Kind::Connected);
    seen.look(&journal, false).unwrap();
    seen.counted(&journal).unwrap();
    // Entries that are gone, and not because there was no room.
    journal.push(Kind::Connected);
    journal.take(1);
    assert!(
        seen.counted(&journal)
            .unwrap_err()
            .contains("lacks 2 entries")
    );
}
