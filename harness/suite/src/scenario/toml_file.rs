// SPDX-License-Identifier: MIT OR Apache-2.0

//! Scenarios as TOML.

use std::fmt::Write as _;

use landfall_cards::capture::{Fault, MILLION, NthWrite, Planted, When};
use serde::{Deserialize, Deserializer, de};

use super::{MOST_FAULTS, Scenario};

/// A text is no scenario: where, why, and what could be instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ScenarioError(String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    fault: Vec<Entry>,
}

/// A `[[fault]]`, every word of it checked by itself.
struct Entry(Planted);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Words {
    #[serde(deserialize_with = "fault")]
    what: Fault,
    frame: Option<u32>,
    byte: Option<u64>,
    register: Option<String>,
    nth: Option<u32>,
    after_us: Option<u64>,
    probability: Option<f64>,
    #[serde(default = "once")]
    times: u32,
    bits: Option<u8>,
    delay_us: Option<u32>,
}

const fn once() -> u32 {
    1
}

fn fault<'de, D: Deserializer<'de>>(from: D) -> Result<Fault, D::Error> {
    let name = String::deserialize(from)?;
    name.parse().map_err(de::Error::custom)
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let words = Words::deserialize(from)?;
        words.planted().map(Self).map_err(de::Error::custom)
    }
}

impl Words {
    fn planted(self) -> Result<Planted, String> {
        let name = self.what.name();
        let mut what = self.what;
        let mut taken = (false, false);
        match &mut what {
            Fault::Truncate { bits } => {
                *bits = self.bits.unwrap_or(*bits);
                taken.0 = true;
            }
            Fault::Posted { delay_us } => {
                *delay_us = self.delay_us.unwrap_or(*delay_us);
                taken.1 = true;
            }
            _ => {}
        }
        if self.bits.is_some() && !taken.0 {
            return Err(format!("`bits` is of `truncate`, not of `{name}`"));
        }
        if self.delay_us.is_some() && !taken.1 {
            return Err(format!("`delay_us` is of `posted`, not of `{name}`"));
        }
        let write = match (self.register, self.nth) {
            (Some(register), nth) => {
                let write = NthWrite::of(&register, nth.unwrap_or(1));
                Some(write.map_err(|error| error.to_string())?)
            }
            (None, None) => None,
            (None, Some(_)) => return Err("`nth` counts writes of a `register`".to_owned()),
        };
        let planted = Planted {
            what,
            when: When {
                frame: self.frame,
                byte: self.byte,
                write,
                after_us: self.after_us,
                probability: self.probability.map(parts),
            },
            times: self.times,
        };
        planted.check()?;
        Ok(planted)
    }
}

/// A probability in millionths; what is none becomes one that is refused.
fn parts(probability: f64) -> u32 {
    let parts = (probability * f64::from(MILLION)).round();
    if (0.0..=f64::from(MILLION)).contains(&parts) {
        // CAST: a whole number in range.
        parts as u32
    } else {
        MILLION + 1
    }
}

pub(super) fn parse(text: &str) -> Result<Scenario, ScenarioError> {
    let refuse = |why: String| ScenarioError(why.trim_end().to_owned());
    let file: File = toml::from_str(text).map_err(|error| refuse(error.to_string()))?;
    if file.fault.len() > MOST_FAULTS {
        return Err(refuse(format!(
            "a scenario has at most {MOST_FAULTS} faults"
        )));
    }
    Ok(Scenario {
        seed: file.seed,
        faults: file.fault.into_iter().map(|entry| entry.0).collect(),
    })
}

pub(super) fn write(scenario: &Scenario) -> String {
    let mut text = format!("seed = {}\n", scenario.seed.min(i64::MAX as u64));
    for planted in &scenario.faults {
        let Planted { what, when, times } = planted;
        let _ = writeln!(text, "\n[[fault]]\nwhat = \"{what}\"");
        let mut word = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                let _ = writeln!(text, "{name} = {value}");
            }
        };
        match *what {
            Fault::Truncate { bits } => word("bits", Some(bits.to_string())),
            Fault::Posted { delay_us } => word("delay_us", Some(delay_us.to_string())),
            _ => {}
        }
        word("frame", when.frame.map(|frame| frame.to_string()));
        word("byte", when.byte.map(|byte| byte.to_string()));
        let write = when.write.as_ref();
        word("register", write.map(|write| format!("{:?}", write.name())));
        let nth = write.map(|write| write.nth).filter(|nth| *nth != 1);
        word("nth", nth.map(|nth| nth.to_string()));
        word("after_us", when.after_us.map(|time| time.to_string()));
        word("probability", when.probability.map(fraction));
        word("times", (*times != 1).then(|| times.to_string()));
    }
    text
}

/// Millionths as a fraction, exactly.
fn fraction(parts: u32) -> String {
    let (whole, rest) = (parts / MILLION, parts % MILLION);
    let text = format!("{whole}.{rest:06}");
    match text.trim_end_matches('0') {
        short if short.ends_with('.') => format!("{short}0"),
        short => short.to_owned(),
    }
}

#[cfg(test)]
mod tests;
