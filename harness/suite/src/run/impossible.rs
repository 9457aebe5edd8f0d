// SPDX-License-Identifier: MIT OR Apache-2.0

//! What cannot be had.

/// Wishes that cannot be had together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Impossible {
    /// What cannot be had.
    pub what: String,
    /// What to ask for instead.
    pub hint: String,
}

impl Impossible {
    pub(super) fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            hint: hint.into(),
        }
    }
}
