// SPDX-License-Identifier: MIT OR Apache-2.0

//! `landfall.toml`, as anybody writes it: refused in words, or each of its tests has a name of its own and a card.

use std::collections::BTreeSet;

use landfall_suite::project::Project;

use crate::limit;
use crate::text::words;

/// Most bytes of memory for each byte of a file.
const FOR_EACH: usize = 1024;

/// Reads a project.
pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let most = (1 << 20) + FOR_EACH * text.len();
    let project = match limit::within(most, || Project::parse(&text)) {
        Ok(project) => project,
        Err(why) => return words(&why),
    };
    assert!(!project.tests.is_empty());
    let mut names = BTreeSet::new();
    for test in &project.tests {
        assert!(names.insert(&test.name) && !test.name.contains(char::is_control));
        assert!(!test.subject.cards.is_empty());
        if let Err(why) = test.subject.check() {
            words(&why);
        }
    }
}
