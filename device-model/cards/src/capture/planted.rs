// SPDX-License-Identifier: MIT OR Apache-2.0

//! When a fault strikes, and how often.

mod armed;

use std::sync::Arc;

use parking_lot::Mutex;

use super::fault::{Fault, Moment};
use super::regs;
pub(super) use armed::{Chance, Faults, Strike};
use landfall_device::contract::UnknownName;

/// Parts that a probability is given in: 1 is so many.
pub const MILLION: u32 = 1_000_000;
/// [`Planted::times`] of a fault that strikes at every opportunity.
pub const ALWAYS: u32 = u32::MAX;

/// A fault, when it strikes, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planted {
    /// What the card does.
    pub what: Fault,
    /// When.
    pub when: When,
    /// How often at most; not looked at for what is no misbehaviour, which stays once it has begun.
    pub times: u32,
}

/// When a fault strikes: at an opportunity at which all that is given holds. The opportunity is the fault's: a frame
/// that is begun, the card becoming idle, or a driver finding it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct When {
    /// In this frame since `CONTROL.run` was set, from 0. Only for faults whose opportunity is a frame. A frame that a
    /// paced card had to skip has a number too, and nothing strikes in it.
    pub frame: Option<u32>,
    /// At this byte of the frame, from 0; what was written before it is right. Only for faults that
    /// [take one](Fault::takes_byte), and beyond the frame's end it strikes at the end or not at all.
    pub byte: Option<u64>,
    /// From this register write on. [`Fault::Sever`] strikes right then, if no frame or byte is given.
    pub write: Option<NthWrite>,
    /// From this time on, microseconds since the card was powered.
    pub after_us: Option<u64>,
    /// With this probability, in [millionths](MILLION).
    pub probability: Option<u32>,
}

/// A write of a register by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NthWrite {
    /// Which register, as the data sheet names it.
    pub register: &'static str,
    /// Which element of an array; `None`: any.
    pub index: Option<usize>,
    /// Which write of it since the card was made, from 1.
    pub nth: u32,
}

impl NthWrite {
    /// The `nth` write of the register of that name, such as `QUEUE` or `SLOT_BASE_LO[2]`.
    ///
    /// # Errors
    /// If there is no such register.
    pub fn of(name: &str, nth: u32) -> Result<Self, UnknownName> {
        let (bare, index) = match name.strip_suffix(']').and_then(|rest| rest.split_once('[')) {
            Some((bare, index)) => (bare, index.parse::<usize>().ok()),
            None => (name, None),
        };
        let indexed = bare.len() != name.len();
        let found = regs::REGISTERS.iter().find(|entry| {
            let fits = index.is_some_and(|index| index < entry.count);
            entry.name == bare && (!indexed || entry.array && fits)
        });
        let entry = found.ok_or_else(|| UnknownName {
            given: name.to_owned(),
            what: "register",
            choices: regs::REGISTERS
                .iter()
                .map(|entry| entry.name)
                .collect::<Vec<_>>()
                .join(", "),
        })?;
        Ok(Self {
            register: entry.name,
            index,
            nth,
        })
    }

    /// Whether a write at that offset of BAR 0 is one of that register.
    fn is_at(&self, offset: usize) -> bool {
        regs::REGISTERS.iter().any(|entry| {
            let index = entry.index(offset);
            entry.name == self.register
                && index.is_some_and(|at| self.index.is_none_or(|wanted| wanted == at))
        })
    }

    /// Its name, such as `SLOT_BASE_LO[2]`.
    pub fn name(&self) -> String {
        match self.index {
            Some(index) => format!("{}[{index}]", self.register),
            None => self.register.to_owned(),
        }
    }
}

impl Planted {
    /// A fault as `--fault NAME@FRAME` plants it: each time that the frame comes, or for a fault that is of no frame at
    /// each opportunity.
    pub fn at(what: Fault, frame: u32) -> Self {
        let frame = (what.moment() == Moment::Frame).then_some(frame);
        Self {
            what,
            when: When {
                frame,
                ..When::default()
            },
            times: ALWAYS,
        }
    }

    /// A fault that strikes once, at its first opportunity.
    pub fn once(what: Fault) -> Self {
        Self {
            what,
            when: When::default(),
            times: 1,
        }
    }

    /// Says what of it makes no sense, if anything: a card made so would just never strike.
    ///
    /// # Errors
    /// With the reason, in words.
    pub fn check(&self) -> Result<(), String> {
        let (what, when) = (self.what, &self.when);
        let refuse = |wrong: bool, why: &str| match wrong {
            true => Err(format!("{what} {why}")),
            false => Ok(()),
        };
        let moment = what.moment();
        let of_frame = moment == Moment::Frame;
        let always = moment == Moment::Always;
        let parameter = match what {
            Fault::Truncate { bits } => !(12..=63).contains(&bits),
            Fault::Posted { delay_us } => !(1..=MILLION).contains(&delay_us),
            _ => false,
        };
        refuse(
            parameter,
            "takes `bits` from 12 to 63, or `delay_us` from 1 to 1000000",
        )?;
        refuse(when.frame.is_some() && !of_frame, "is of no frame")?;
        refuse(
            when.byte.is_some() && !what.takes_byte(),
            "strikes at no byte of one's choice",
        )?;
        refuse(
            always && (self.times != 1 || when.probability.is_some()),
            "stays once it has begun: `times` and `probability` are not for it",
        )?;
        refuse(self.times == 0, "would never strike with `times` 0")?;
        refuse(
            when.write.is_some_and(|write| write.nth == 0),
            "counts register writes from 1: `nth` is 0",
        )?;
        let odd = |parts: u32| parts == 0 || parts > MILLION;
        refuse(
            when.probability.is_some_and(odd),
            "takes a probability above 0 and at most 1",
        )
    }
}

/// The names of faults, separated by commas; `None`: there are none.
pub fn fault_names(faults: &[Planted]) -> Option<String> {
    let names: Vec<_> = faults.iter().map(|planted| planted.what.name()).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// How often each planted fault has struck, as the card itself counts it. Apart from the journal, so that what is
/// judged from the journal cannot know of it. Clones show the same; how a card is made does not depend on it.
#[derive(Clone, Debug, Default)]
pub struct Strikes(Arc<Mutex<Vec<u64>>>);

impl PartialEq for Strikes {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Strikes {}

impl Strikes {
    /// Of the fault with that index in [`super::CaptureOptions::faults`]. What is no misbehaviour counts each register
    /// write that it delayed, or each mask that it fetched.
    pub fn of(&self, index: usize) -> u64 {
        self.0.lock().get(index).copied().unwrap_or(0)
    }

    fn add(&self, index: usize) {
        let mut counts = self.0.lock();
        if counts.len() <= index {
            counts.resize(index + 1, 0);
        }
        if let Some(count) = counts.get_mut(index) {
            *count += 1;
        }
    }

    pub(super) fn clear(&self) {
        self.0.lock().clear();
    }
}
