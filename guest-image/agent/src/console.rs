// SPDX-License-Identifier: MIT OR Apache-2.0

//! The console: words for a person, and the interactive shell.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::process::{Command, Stdio};

use crate::power;
use crate::reaper::Reaper;

/// What the kernel's command line asks of the agent.
pub(crate) struct Options {
    /// Start a shell on the console.
    pub(crate) shell: bool,
    /// Name of the console's device in `/dev`.
    pub(crate) console: String,
}

impl Options {
    /// Reads `/proc/cmdline`.
    pub(crate) fn from_command_line() -> Self {
        Self::parse(&fs::read_to_string("/proc/cmdline").unwrap_or_default())
    }

    fn parse(words: &str) -> Self {
        let value = |key: &str| {
            words
                .split_ascii_whitespace()
                .filter_map(|word| word.strip_prefix(key)?.strip_prefix('='))
                .next_back()
        };
        let console = value("landfall.console").unwrap_or("ttyS0");
        Self {
            shell: value("landfall.shell") == Some("1"),
            console: console.trim_start_matches("/dev/").to_owned(),
        }
    }
}

/// Prints a line on the console; a console that is not there is no reason to stop.
pub(crate) fn say(line: &str) {
    let console = OpenOptions::new().write(true).open("/dev/console");
    if let Ok(mut console) = console {
        let _ = writeln!(console, "{line}");
    }
}

/// Runs busybox's shell on the console, as a session of its own with job control, and powers off at its end.
pub(crate) fn shell(console: &str, reaper: &Reaper) {
    let path = format!("/dev/{console}");
    let open = || OpenOptions::new().read(true).write(true).open(&path);
    let ended = (|| -> std::io::Result<i32> {
        let mut command = Command::new("/bin/busybox");
        command
            .args(["setsid", "-c", "/bin/busybox", "sh", "-l"])
            .current_dir("/root")
            .env_clear()
            .envs(ENVIRONMENT)
            .stdin(Stdio::from(open()?))
            .stdout(Stdio::from(open()?))
            .stderr(Stdio::from(open()?));
        let (_child, status) = reaper.spawn(&mut command)?;
        status.recv().map_err(std::io::Error::other)
    })();
    if let Err(error) = ended {
        say(&format!("landfall-agent: shell on {path}: {error}"));
    }
    power::off();
}

/// Environment of every program that the agent starts.
pub(crate) const ENVIRONMENT: [(&str, &str); 4] = [
    ("PATH", "/bin:/sbin:/usr/bin:/usr/sbin"),
    ("HOME", "/root"),
    ("TERM", "vt100"),
    ("PS1", "landfall:\\w# "),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_word_on_the_command_line_wins() {
        let options = Options::parse(
            "quiet landfall.console=hvc0 landfall.shell=0 landfall.console=/dev/ttyS1 landfall.shell=1\n",
        );

        assert!(options.shell);
        assert_eq!(options.console, "ttyS1");
    }

    #[test]
    fn a_command_line_without_our_words_gives_the_defaults() {
        let options = Options::parse("console=ttyS0 landfall.shellx=1 landfall.consoles=no");

        assert!(!options.shell);
        assert_eq!(options.console, "ttyS0");
    }
}
