// SPDX-License-Identifier: MIT OR Apache-2.0

//! Writes a journal to standard output while it grows, by a thread that may be left behind: a reader may be slow, or sleep.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use landfall_device::journal::Journal;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Most entries that are written at once.
const MOST: usize = 1024;
/// How often to look whether there is more, nanoseconds.
const PACE: i64 = 50_000_000;

/// Who writes, as seen by who does not.
#[derive(Clone)]
pub(crate) struct Teller(Arc<Progress>);

struct Progress {
    journal: Journal,
    /// Nothing more is to come.
    last: AtomicBool,
    /// How many entries are written.
    told: AtomicU64,
}

impl Teller {
    /// Begins with a heading, and goes on until [`Teller::finish`]: `ended` is told what became of it.
    pub(crate) fn begin(
        journal: Journal,
        heading: String,
        ended: impl FnOnce(io::Result<()>) + Send + 'static,
    ) -> io::Result<Self> {
        let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let progress = Arc::new(Progress {
            journal,
            last: AtomicBool::new(false),
            told: AtomicU64::new(0),
        });
        let thread = Arc::clone(&progress);
        std::thread::Builder::new()
            .name("teller".to_owned())
            .spawn(move || ended(thread.tell(heading, out)))?;
        Ok(Self(progress))
    }

    /// What is there now is the last.
    pub(crate) fn finish(&self) {
        self.0.last.store(true, Ordering::Release);
    }

    /// How many entries are not written: dropped, or still waiting.
    pub(crate) fn untold(&self) -> u64 {
        let told = self.0.told.load(Ordering::Acquire);
        self.0.journal.len().saturating_sub(told)
    }
}

impl Progress {
    fn tell(&self, heading: String, mut out: File) -> io::Result<()> {
        let mut text = heading.into_bytes();
        loop {
            let last = self.last.load(Ordering::Acquire);
            let entries = self.journal.take(MOST);
            for entry in &entries {
                serde_json::to_writer(&mut text, entry)?;
                text.push(b'\n');
            }
            out.write_all(&text)?;
            text.clear();
            self.told.fetch_add(entries.len() as u64, Ordering::Release);
            match entries.len() {
                0 if last => return Ok(()),
                0 => pause(&out)?,
                _ => {}
            }
        }
    }
}

/// Waits a moment, or less if the reader goes.
fn pause(out: &File) -> io::Result<()> {
    let mut out = [PollFd::new(out, PollFlags::empty())];
    let pace = Timespec {
        tv_sec: 0,
        tv_nsec: PACE,
    };
    // A signal is no event of the output's.
    let _ = poll(&mut out, Some(&pace));
    let gone = PollFlags::ERR | PollFlags::HUP;
    match out.iter().any(|out| out.revents().intersects(gone)) {
        true => Err(io::ErrorKind::BrokenPipe.into()),
        false => Ok(()),
    }
}
