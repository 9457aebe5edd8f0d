// SPDX-License-Identifier: MIT OR Apache-2.0

//! The stream of a bundle: what a ledger is fed with, a line each, as anybody may have written it.
//!
//! It is refused with its line, or judged; judged once more it is judged the same, and the verdict survives its file.

use std::io::Cursor;

use landfall::bundle::{compare, judge};
use landfall_device::ledger::Judgement;

use crate::limit;
use crate::text::words;

/// Most bytes of memory for each byte of a stream, and what a ledger takes anyway.
const FOR_EACH: usize = 512;
const ANYWAY: usize = 8 << 20;

/// Judges a stream.
pub fn run(bytes: &[u8]) {
    let mut lines = 0;
    let most = ANYWAY + FOR_EACH * bytes.len();
    let judged = limit::within(most, || judge(Cursor::new(bytes), |line, _| lines = line));
    let judged = match judged {
        Ok(judged) => judged,
        Err(why) => return words(&why),
    };
    assert_eq!((judged.lines, judged.lines > 0), (lines, true));
    let again = judge(Cursor::new(bytes), |_, _| ()).expect("it was read before");
    assert_eq!(again, judged, "judged in two ways");
    let kept = serde_json::to_vec(&judged.said).expect("JSON");
    let kept: Judgement = serde_json::from_slice(&kept).expect("what was written");
    assert_eq!(kept, judged.said, "a verdict is another one in its file");
    assert!(compare(&kept, &again.said).is_same());
}
