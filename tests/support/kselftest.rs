// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a selftest of the kernel's says (the kernel's `Documentation/dev-tools/ktap.rst`).

use landfall::judge::Judged;

/// Tests that passed, those that failed, those that were skipped with the reason, and the totals.
#[derive(Debug, Default)]
pub struct Said<'a> {
    /// How many passed.
    pub passed: usize,
    /// Their names.
    pub failed: Vec<&'a str>,
    /// Names and reasons; where all are skipped at once, that has no name.
    pub skipped: Vec<(&'a str, &'a str)>,
    /// As the selftest counts them.
    pub totals: &'a str,
}

/// What a program of a trial's said, from 0.
///
/// # Panics
/// If it did not come to its end.
pub fn said(leg: &Judged, program: usize) -> Said<'_> {
    let (_, ran) = &leg.programs[program];
    let mut said = Said::default();
    for line in ran.stdout.lines() {
        let test = |rest: &'static str| {
            let (_, test) = line.strip_prefix(rest)?.split_once(' ')?;
            Some(test)
        };
        if let Some(totals) = line.strip_prefix("# Totals: ") {
            said.totals = totals;
        } else if let Some(why) = line.strip_prefix("1..0 # SKIP ") {
            said.skipped.push(("", why));
            said.totals = line;
        } else if let Some(test) = test("not ok ") {
            said.failed.push(test);
        } else if let Some(test) = test("ok ") {
            match test.split_once(" # SKIP ") {
                Some(skipped) => said.skipped.push(skipped),
                None => said.passed += 1,
            }
        }
    }
    assert!(!said.totals.is_empty(), "{}{}", ran.stdout, ran.stderr);
    said
}
