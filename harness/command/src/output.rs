// SPDX-License-Identifier: MIT OR Apache-2.0

//! Standard output, of which nothing is lost unseen.

use std::io::{self, Write, stdout};
use std::sync::OnceLock;

/// Why something could not be written, the first time.
static FAILED: OnceLock<io::Error> = OnceLock::new();

/// Writes to standard output.
pub(crate) fn text(text: &str) {
    let written = stdout().write_all(text.as_bytes());
    keep(written);
}

/// Why not everything that was said has been written, as on a full disk or to a reader that went away.
pub(crate) fn failed() -> Option<&'static io::Error> {
    keep(stdout().flush());
    FAILED.get()
}

fn keep(written: io::Result<()>) {
    if let Err(error) = written {
        // Only the first says anything.
        let _ = FAILED.set(error);
    }
}
