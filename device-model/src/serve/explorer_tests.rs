// SPDX-License-Identifier: MIT OR Apache-2.0

//! A card that writes two words when it is told to, and then interrupts.

use super::*;
use crate::contract::{Backing, Bar, Device, Host, Identity, RegisterName, Registers, Reset, Tag};
use crate::dma::map::Request;
use crate::serve::LocalCard;

const GO: u64 = 0;
const DONE: u64 = 4;
const BASE: u64 = 8;

#[derive(Debug, Default)]
struct Words {
    left: u32,
    done: u32,
    base: u32,
}

impl Device for Words {
    fn identity(&self) -> Identity {
        Identity {
            vendor: 0x1b36,
            device: 1,
            bars: vec![Bar::registers(0, 0x1000)],
            ..Identity::default()
        }
    }

    fn reset(&mut self, _kind: Reset) {
        *self = Self::default();
    }

    fn step(&mut self, host: &mut dyn Host) -> Next {
        match self.left {
            0 => return Next::Idle,
            1 => {
                self.done = 1;
                host.raise(Vector(0));
            }
            left => {
                let at = u64::from(self.base) + 8 * u64::from(3 - left);
                let _ = host.dma_write(at, &[7; 8], Tag::default());
            }
        }
        self.left -= 1;
        Next::Again
    }

    fn wants(&self) -> Option<bool> {
        Some(self.left > 0)
    }

    fn line(&self) -> bool {
        self.done != 0
    }
}

impl Registers for Words {
    fn register(&self, _bar: u8, offset: u64) -> Option<RegisterName> {
        match offset {
            GO => Some(RegisterName::plain("GO")),
            DONE => Some(RegisterName::plain("DONE")),
            BASE => Some(RegisterName::plain("BASE")),
            _ => None,
        }
    }

    fn read(&self, _bar: u8, offset: u64) -> u32 {
        match offset {
            GO => self.left,
            DONE => self.done,
            _ => self.base,
        }
    }

    fn write(&mut self, _bar: u8, offset: u64, value: u32, _host: &mut dyn Host) {
        match offset {
            GO => self.left = 3,
            DONE => self.done &= !value,
            _ => self.base = value,
        }
    }
}

/// Its driver, of five steps, and then it waits; gives the log and what the reads gave.
fn driven(order: &str) -> (Log, [u32; 2], LocalCard) {
    let mut card = LocalCard::new(Box::<Words>::default());
    let file = Backing::new(0x10_0000).and_then(|memory| memory.file().try_clone());
    let request = Request {
        iova: 0,
        length: 0x10_0000,
        file_offset: 0,
        readable: true,
        writable: true,
        file: Some(file.unwrap()),
    };
    card.map().add(request).unwrap();
    card.explore(order.parse().unwrap());
    card.write(0, BASE, 0x2_0000);
    card.write(0, GO, 1);
    let first = card.read(0, DONE);
    card.write(0, DONE, 1);
    let second = card.read(0, DONE);
    while !card.idle() {}
    (card.explored().unwrap(), [first, second], card)
}

fn did(log: &Log, number: u32) -> Vec<&str> {
    let point = log.step(number).unwrap();
    point.did.iter().map(|did| did.label.as_str()).collect()
}

#[test]
fn by_default_a_card_acts_when_the_guest_has_nothing_to_do() {
    let (log, read, _) = driven("default");

    assert_eq!(read, [0, 0]);
    let labels: Vec<_> = log
        .points
        .iter()
        .map(|point| point.label.as_str())
        .collect();
    let idle = "it has nothing to do";
    assert_eq!(
        labels,
        ["BASE", "GO = 0x1", "DONE", "DONE = 0x1", "DONE", idle]
    );
    let available: Vec<_> = log.points.iter().map(|point| point.available).collect();
    assert_eq!(available, [false, false, true, true, true, true]);
    let last = log.points.last().unwrap();
    let labels: Vec<_> = last.did.iter().map(|did| did.label.as_str()).collect();
    assert_eq!(labels, ["writes 8 bytes", "writes 8 bytes", "raises"]);
    assert_eq!(last.did[0].touched, [(0x2_0000, 8)]);
    assert_eq!((last.number, last.is_drivers()), (4, false));
}

#[test]
fn it_acts_where_the_order_says_and_the_driver_sees_it() {
    let (log, read, _) = driven("2:3");
    assert_eq!(read, [1, 0]);
    assert_eq!(did(&log, 2), ["writes 8 bytes", "writes 8 bytes", "raises"]);
    assert_eq!(log.carried_out(&"2:3".parse().unwrap()), Ok(()));
    let changed: Vec<_> = log
        .step(2)
        .unwrap()
        .did
        .iter()
        .map(|did| did.changed.len())
        .collect();
    // How many are left is a register; with the last, DONE is too.
    assert_eq!(changed, [1, 1, 2]);

    let (log, read, _) = driven("4:3");
    assert_eq!(read, [0, 1]);
    assert!(log.step(2).unwrap().did.is_empty());

    let (log, ..) = driven("2:9");
    assert_eq!(did(&log, 2).len(), 3);
    let why = log.carried_out(&"2:9".parse().unwrap()).unwrap_err();
    assert!(why.contains("did 3 times"), "{why}");
}

#[test]
fn a_write_that_is_held_back_arrives_with_the_next_read() {
    let (log, read, card) = driven("h1,2:1");
    // At the read nothing had arrived yet, so there was nothing to do.
    assert_eq!(did(&log, 2), [""; 0]);
    assert!(log.step(1).unwrap().held);
    assert_eq!(read, [0, 0]);
    let told: Vec<_> = (card.journal().entries_from(0).into_iter())
        .filter_map(|entry| entry.kind.declaration().map(|(what, _)| what.clone()))
        .collect();
    assert_eq!(
        told,
        [Declaration::Delayed, Declaration::Arrived { flushed: true }]
    );
    assert!(log.carried_out(&"h1".parse().unwrap()).is_ok());
    assert!(log.carried_out(&"h2".parse().unwrap()).is_err());
}

#[test]
fn a_poll_is_one_step_and_the_card_goes_on_meanwhile() {
    let mut card = LocalCard::new(Box::<Words>::default());
    card.explore(Order::default());
    card.write(0, GO, 1);
    let read: Vec<_> = (0..4).map(|_| card.read(0, DONE)).collect();
    let log = card.explored().unwrap();

    // The second read is answered before the card acts.
    assert_eq!(read, [0, 0, 1, 1]);
    assert_eq!(log.steps(), 2);
    assert_eq!(log.points.last().unwrap().what, What::Poll);
}

#[test]
fn time_is_the_cards_own_and_never_goes_back() {
    let mut card = LocalCard::new(Box::<Words>::default());
    card.explore(Order::default());
    let before = card.machine_clock();
    for _ in 0..1000 {
        card.write(0, BASE, 1);
    }
    assert_eq!(card.machine_clock() - before, 1000 * TICK);
    card.explored();
    card.explore(Order::default());
    assert!(card.machine_clock() >= before + 1000 * TICK);
}

#[test]
fn a_card_that_goes_away_ends_it() {
    let (log, ..) = driven("default");
    assert!(!log.cut);
    let mut card = LocalCard::new(Box::<Words>::default());
    card.explore(Order::default());
    card.unplug();
    let log = card.explored().unwrap();
    assert!(log.cut && log.carried_out(&Order::default()).is_err());
}
