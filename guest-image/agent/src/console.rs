// SPDX-License-Identifier: MIT OR Apache-2.0

//! The console: words for a person, and the interactive shell.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::process::{Command, Stdio};

use crate::reaper::Reaper;

/// The word of the kernel's command line that names the shell's device.
const CONSOLE: &str = "landfall.console=";

/// Name of the shell's device in `/dev`, from the words of the kernel's command line.
fn device(words: &str) -> &str {
    let named = words
        .split_ascii_whitespace()
        .filter_map(|word| word.strip_prefix(CONSOLE))
        .next_back();
    named.unwrap_or("ttyS0").trim_start_matches("/dev/")
}

/// Prints a line on the console; a console that is not there is no reason to stop.
pub(crate) fn say(line: &str) {
    let console = OpenOptions::new().write(true).open("/dev/console");
    if let Ok(mut console) = console {
        let _ = writeln!(console, "{line}");
    }
}

/// A login shell, and its last words: at the end of whoever leads a session the kernel hangs its terminal up and throws
/// away what that has not sent (`disassociate_ctty`). `stty` waits for that before it sets anything.
const SESSION: &str = "/bin/busybox sh -l; status=$?; /bin/busybox stty echo; exit $status";

/// Runs busybox's shell on the console to its end, as a session of its own with job control.
pub(crate) fn shell(reaper: &Reaper) {
    let words = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let path = format!("/dev/{}", device(&words));
    let open = || OpenOptions::new().read(true).write(true).open(&path);
    let ended = (|| -> std::io::Result<i32> {
        let mut command = Command::new("/bin/busybox");
        command
            .args(["setsid", "-c", "/bin/busybox", "sh", "-c", SESSION])
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
}

/// Environment of every program that the agent starts.
pub(crate) const ENVIRONMENT: [(&str, &str); 4] = [
    ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/root"),
    ("TERM", "vt100"),
    ("PS1", "landfall:\\w# "),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_on_the_command_line_names_the_device() {
        let words =
            "quiet landfall.console=hvc0 landfall.console=/dev/ttyS1 landfall.consoles=no\n";

        assert_eq!(device(words), "ttyS1");
        assert_eq!(device("console=hvc0 quiet"), "ttyS0");
    }
}
