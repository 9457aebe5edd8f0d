// SPDX-License-Identifier: MIT OR Apache-2.0

//! Running a program to its end, with a time limit.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use landfall_agent::protocol::{MAX_DATA, Reply};
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::reaper::Reaper;
use crate::{Outcome, console, failed, refused};

/// Most bytes kept of each output; the rest is read and dropped.
const KEPT: usize = MAX_DATA / 2;
/// How long to wait for the outputs' ends after the program itself has ended (a background child may hold them).
const GRACE: Duration = Duration::from_millis(500);

enum Ended {
    Program(i32),
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
}

/// Runs `argv` and gathers what it printed; kills its process group when the time is up.
pub(crate) fn run(argv: &[String], timeout_ms: u32, reaper: &Reaper) -> Outcome<Reply> {
    let operation = || format!("run {}", argv.join(" "));
    let (program, arguments) = argv
        .split_first()
        .ok_or_else(|| refused("run", Errno::EINVAL, "no program was given"))?;
    // Nothing that `posix_spawn` cannot do, such as another directory: the standard library would need a socket pair, which
    // the debug kernel has not.
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(console::ENVIRONMENT)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let (mut child, status) = reaper
        .spawn(&mut command)
        .map_err(|error| failed(operation(), error))?;

    let group = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    let (sender, ended) = channel();
    gather(child.stdout.take(), sender.clone(), Ended::Stdout);
    gather(child.stderr.take(), sender.clone(), Ended::Stderr);
    thread::spawn(move || {
        if let Ok(code) = status.recv() {
            let _ = sender.send(Ended::Program(code));
        }
    });

    let mut deadline = Instant::now() + Duration::from_millis(u64::from(timeout_ms));
    let (mut code, mut stdout, mut stderr, mut timed_out) = (None, None, None, false);
    while code.is_none() || stdout.is_none() || stderr.is_none() {
        match ended.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Ended::Program(ended)) => {
                code = Some(ended);
                deadline = Instant::now() + GRACE;
            }
            Ok(Ended::Stdout(bytes)) => stdout = Some(bytes),
            Ok(Ended::Stderr(bytes)) => stderr = Some(bytes),
            Err(RecvTimeoutError::Timeout) if code.is_none() && !timed_out => {
                timed_out = true;
                // The group may be gone already.
                let _ = killpg(group, Signal::SIGKILL);
                deadline = Instant::now() + GRACE;
            }
            Err(_) => break,
        }
    }
    Ok(Reply::Ran {
        status: code.unwrap_or(128 + Signal::SIGKILL as i32),
        stdout: stdout.unwrap_or_default(),
        stderr: stderr.unwrap_or_default(),
        timed_out,
    })
}

/// Reads a pipe to its end in a thread of its own.
fn gather(pipe: Option<impl Read + Send + 'static>, to: Sender<Ended>, what: fn(Vec<u8>) -> Ended) {
    thread::spawn(move || {
        let mut kept = Vec::new();
        if let Some(mut pipe) = pipe {
            let mut chunk = [0; 8192];
            while let Ok(length @ 1..) = pipe.read(&mut chunk) {
                let room = KEPT.saturating_sub(kept.len()).min(length);
                kept.extend_from_slice(chunk.get(..room).unwrap_or_default());
            }
        }
        let _ = to.send(what(kept));
    });
}
