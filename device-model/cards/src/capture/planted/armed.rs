// SPDX-License-Identifier: MIT OR Apache-2.0

//! The planted faults of a card that is in use: which of them strike now.

use std::time::Duration;

use super::{ALWAYS, MILLION, Planted, Strikes};
use crate::capture::fault::{Fault, Moment};
use landfall_device::random::Random;

/// The faults of one card, and how far each has come. Outlives every reset of the card.
#[derive(Debug)]
pub(in crate::capture) struct Faults {
    armed: Vec<Armed>,
    random: Random,
    strikes: Strikes,
}

#[derive(Debug)]
struct Armed {
    planted: Planted,
    /// Strikes that are left.
    left: u32,
    /// Register writes that must come before it can strike.
    writes: u32,
}

/// An opportunity.
#[derive(Clone, Copy, Debug)]
pub(in crate::capture) struct Chance {
    /// The frame since `CONTROL.run` was set, if it is of one.
    pub(in crate::capture) frame: Option<u32>,
    /// Time since the card was powered.
    pub(in crate::capture) now: Duration,
}

/// A fault that was chosen to strike, and may not have yet.
#[derive(Clone, Copy, Debug)]
pub(in crate::capture) struct Strike {
    index: usize,
    pub(in crate::capture) what: Fault,
    /// Where in the frame, if somebody chose.
    pub(in crate::capture) byte: Option<u64>,
    /// It has struck.
    pub(in crate::capture) done: bool,
}

impl Faults {
    pub(in crate::capture) fn new(planted: &[Planted], seed: u64, strikes: Strikes) -> Self {
        strikes.clear();
        let armed = planted.iter().map(|planted| Armed {
            planted: *planted,
            left: planted.times,
            writes: planted.when.write.map_or(0, |write| write.nth),
        });
        Self {
            armed: armed.collect(),
            random: Random::new(seed),
            strikes,
        }
    }

    /// Counts a register write, at that offset of BAR 0.
    pub(in crate::capture) fn written(&mut self, offset: usize) {
        for armed in self.armed.iter_mut().filter(|armed| armed.writes > 0) {
            if let Some(write) = armed.planted.when.write
                && write.is_at(offset)
            {
                armed.writes -= 1;
            }
        }
    }

    /// Those that use this opportunity, of the ones that could; each counts as one of its `times`.
    pub(in crate::capture) fn choose(
        &mut self,
        chance: Chance,
        could: impl Fn(&Planted) -> bool,
    ) -> Vec<Strike> {
        let mut chosen = Vec::new();
        for (index, armed) in self.armed.iter_mut().enumerate() {
            let Planted { what, when, .. } = armed.planted;
            let of_frame = what.moment() == Moment::Frame;
            let frame = !of_frame || when.frame.is_none_or(|frame| chance.frame == Some(frame));
            let ready = armed.left > 0 && armed.is_ready(chance.now);
            if !(frame && ready && could(&armed.planted)) {
                continue;
            }
            let drawn = when
                .probability
                .is_none_or(|parts| self.random.below(u64::from(MILLION)) < u64::from(parts));
            if drawn {
                if armed.planted.times != ALWAYS {
                    armed.left -= 1;
                }
                chosen.push(Strike {
                    index,
                    what,
                    byte: when.byte,
                    done: false,
                });
            }
        }
        chosen
    }

    /// The first of those that use this opportunity; for opportunities that leave room for one.
    pub(in crate::capture) fn choose_one(
        &mut self,
        chance: Chance,
        could: impl Fn(&Planted) -> bool,
    ) -> Option<Strike> {
        let mut chosen = self.choose(chance, could);
        for spared in chosen.iter().skip(1) {
            self.spare(spared);
        }
        chosen.truncate(1);
        chosen.pop()
    }

    /// What is not a misbehaviour and holds now.
    pub(in crate::capture) fn holds<T>(
        &self,
        now: Duration,
        which: impl Fn(Fault) -> Option<T>,
    ) -> Option<(usize, T)> {
        let mut ready = self.armed.iter().enumerate();
        ready.find_map(|(index, armed)| {
            let found = which(armed.planted.what).filter(|_| armed.is_ready(now))?;
            Some((index, found))
        })
    }

    /// Notes that it struck.
    pub(in crate::capture) fn struck(&self, strike: &mut Strike) {
        if !std::mem::replace(&mut strike.done, true) {
            self.count(strike.index);
        }
    }

    /// Counts a strike of the fault with that index.
    pub(in crate::capture) fn count(&self, index: usize) {
        self.strikes.add(index);
    }

    /// Gives a strike back that came to nothing.
    pub(in crate::capture) fn spare(&mut self, strike: &Strike) {
        if let Some(armed) = self.armed.get_mut(strike.index)
            && !strike.done
            && armed.planted.times != ALWAYS
        {
            armed.left += 1;
        }
    }
}

impl Armed {
    fn is_ready(&self, now: Duration) -> bool {
        let after = Duration::from_micros(self.planted.when.after_us.unwrap_or(0));
        self.writes == 0 && now >= after
    }
}
