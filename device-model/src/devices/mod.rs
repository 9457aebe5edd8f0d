// SPDX-License-Identifier: MIT OR Apache-2.0

//! The devices, and what they share.

pub mod capture;
pub mod dt3155;
#[cfg(test)]
pub(crate) mod fake;
pub mod poller;
pub mod template;

use crate::function::Function;
use crate::register::Description;

/// Every device in its default make, by name: what the conformance tests run over.
pub fn all() -> Vec<(&'static str, Box<dyn Function>)> {
    vec![
        (
            "capture",
            Box::new(capture::CaptureCard::new(capture::CaptureOptions::default())),
        ),
        (
            "dt3155",
            Box::new(dt3155::Dt3155::new(dt3155::Dt3155Options::default())),
        ),
        ("poller", Box::<poller::Poller>::default()),
        ("template", Box::<template::Scratch>::default()),
    ]
}

/// Finds the register at `offset` in a table.
pub(crate) fn lookup(table: &[Description], offset: u64) -> Option<crate::function::RegisterName> {
    let offset = usize::try_from(offset).ok()?;
    table.iter().find_map(|entry| {
        let index = entry.index(offset)?;
        Some(crate::function::RegisterName {
            name: entry.name.into(),
            index: entry.array.then_some(index),
        })
    })
}

/// A name that is not one of those a choice has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is no {what}; there are: {choices}")]
pub struct UnknownName {
    /// What was asked for.
    pub given: String,
    /// What kind of name it should be.
    pub what: &'static str,
    /// The names there are, separated by commas.
    pub choices: String,
}

/// Gives an enum without fields its names: `Display`, `FromStr` and `name`.
macro_rules! named {
    ($type:ident, $what:literal { $($variant:ident => $name:literal,)* }) => {
        impl $type {
            /// Its name on command lines and in reports.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::devices::UnknownName;

            fn from_str(given: &str) -> Result<Self, Self::Err> {
                match given {
                    $($name => Ok(Self::$variant),)*
                    _ => Err($crate::devices::UnknownName {
                        given: given.to_owned(),
                        what: $what,
                        choices: [$($name),*].join(", "),
                    }),
                }
            }
        }
    };
}

pub(crate) use named;
