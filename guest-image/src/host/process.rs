// SPDX-License-Identifier: MIT OR Apache-2.0

//! Runs other programs: with a deadline, ended by the cancel flag, their words kept in a log.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::host::cancel::Cancel;

/// How often a running program, the cancel flag and the deadline are looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How many of the last lines of a failed program go into the error.
const LAST_LINES: usize = 12;
/// Most bytes of the log that are searched for them.
const TAIL: u64 = 64 << 10;

/// A program could not be run, or failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The cancel flag was set; the program was killed.
    #[error("cancelled")]
    Cancelled,
    /// It did not start.
    #[error("cannot run `{program}`")]
    NotStarted {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ended with an error.
    #[error("{0}: `{program}` ended with {status}", .run.what, program = .run.program)]
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// What was run.
        run: Box<FailedRun>,
    },
    /// It was killed because its time was up.
    #[error("{0}: `{program}` was still running after {seconds} s", .run.what, program = .run.program, seconds = .limit.as_secs())]
    TimedOut {
        /// The time it had.
        limit: Duration,
        /// What was run.
        run: Box<FailedRun>,
    },
}

/// A program that did not end well.
#[derive(Clone, Debug)]
pub struct FailedRun {
    /// What it was to do.
    pub what: String,
    /// The program.
    pub program: String,
    /// Its output.
    pub log: PathBuf,
    /// The end of its output; error lines alone if there were any.
    pub last_lines: Vec<String>,
}

/// Starts programs and waits for them. Clones share the flags.
#[derive(Clone, Debug)]
pub(crate) struct Runner {
    cancel: Cancel,
    failed: Arc<AtomicBool>,
    logs: PathBuf,
}

/// A program to run, and what is known of it.
pub(crate) struct Job<'a> {
    /// What it does, for the error: `fetching package indexes`.
    pub(crate) what: &'a str,
    /// Name of its log file, without directory and `.log`; several jobs may share one.
    pub(crate) log: &'a str,
    /// It is killed after this long.
    pub(crate) limit: Duration,
}

impl Runner {
    /// Logs go into `logs`, which must exist.
    pub(crate) fn new(cancel: &Cancel, logs: &Path) -> Self {
        Self {
            cancel: cancel.clone(),
            failed: Arc::default(),
            logs: logs.to_owned(),
        }
    }

    /// Whether to stop: the caller cancelled, or another thread of this set-up failed.
    pub(crate) fn stopped(&self) -> bool {
        self.cancel.is_cancelled() || self.failed.load(Ordering::SeqCst)
    }

    /// Ends what the other threads run.
    pub(crate) fn stop_others(&self) {
        self.failed.store(true, Ordering::SeqCst);
    }

    /// Runs to the end; standard output and error go to the log. `tick` is called while it runs.
    pub(crate) fn run(
        &self,
        command: &mut Command,
        job: &Job<'_>,
        tick: &mut dyn FnMut(),
    ) -> Result<(), CommandError> {
        let mut log = self.open(job, command)?;
        let started = position(&mut log);
        let to = |file: &File| file.try_clone().map_or_else(|_| Stdio::null(), Stdio::from);
        command
            .stdin(Stdio::null())
            .stdout(to(&log))
            .stderr(to(&log));
        self.wait(command, job, started, tick)
    }

    /// Runs to the end and gives what it wrote to standard output; standard error goes to the log.
    pub(crate) fn output(
        &self,
        command: &mut Command,
        job: &Job<'_>,
    ) -> Result<String, CommandError> {
        let mut log = self.open(job, command)?;
        let started = position(&mut log);
        let not_started = |source| CommandError::NotStarted {
            program: name(command.get_program()),
            source,
        };
        let mut out = tempfile::tempfile().map_err(not_started)?;
        let written = out.try_clone().map_err(not_started)?;
        command.stdin(Stdio::null()).stdout(written).stderr(log);
        self.wait(command, job, started, &mut || {})?;
        let mut bytes = Vec::new();
        out.seek(SeekFrom::Start(0))
            .and_then(|_| out.read_to_end(&mut bytes))
            .map_err(|source| CommandError::NotStarted {
                program: name(command.get_program()),
                source,
            })?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Where a job's log lies.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.logs.join(name).with_extension("log")
    }

    fn open(&self, job: &Job<'_>, command: &Command) -> Result<File, CommandError> {
        let path = self.log(job.log);
        (|| {
            let mut file = OpenOptions::new()
                .create(true)
                .read(true)
                .append(true)
                .open(&path)?;
            writeln!(file, "$ {command:?}")?;
            Ok(file)
        })()
        .map_err(|source| CommandError::NotStarted {
            program: name(command.get_program()),
            source,
        })
    }

    fn wait(
        &self,
        command: &mut Command,
        job: &Job<'_>,
        log_start: u64,
        tick: &mut dyn FnMut(),
    ) -> Result<(), CommandError> {
        let program = name(command.get_program());
        command.process_group(0);
        // SAFETY: between fork and exec only prctl is called, which is async-signal-safe and allocates nothing.
        unsafe {
            command.pre_exec(|| Ok(prctl::set_pdeathsig(Signal::SIGKILL)?));
        }
        let child = command.spawn().map_err(|source| CommandError::NotStarted {
            program: program.clone(),
            source,
        })?;
        let mut group = Group(child);
        let end = Instant::now() + job.limit;
        let log = self.log(job.log);
        let failed = || {
            Box::new(FailedRun {
                what: job.what.to_owned(),
                program: name(command.get_program()),
                last_lines: last_lines(&log, log_start),
                log: log.clone(),
            })
        };
        loop {
            match group.0.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => {
                    return Err(CommandError::Failed {
                        status,
                        run: failed(),
                    });
                }
                Ok(None) => {}
                Err(source) => return Err(CommandError::NotStarted { program, source }),
            }
            if self.stopped() {
                return Err(CommandError::Cancelled);
            }
            if Instant::now() >= end {
                return Err(CommandError::TimedOut {
                    limit: job.limit,
                    run: failed(),
                });
            }
            tick();
            thread::sleep(LOOK);
        }
    }
}

/// A child that leads a process group; dropped before its end, the whole group is killed and reaped.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        if let Ok(None) = self.0.try_wait() {
            if let Ok(group) = i32::try_from(self.0.id()) {
                let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
            }
            let _ = self.0.wait();
        }
    }
}

fn position(log: &mut File) -> u64 {
    log.seek(SeekFrom::End(0)).unwrap_or(0)
}

fn name(program: &OsStr) -> String {
    program.to_string_lossy().into_owned()
}

/// The lines that tell most of what was logged since `start`: those that speak of errors, else the last ones.
fn last_lines(log: &Path, start: u64) -> Vec<String> {
    let text = (|| {
        let mut file = File::open(log)?;
        let end = fs::metadata(log)?.len();
        file.seek(SeekFrom::Start(start.max(end.saturating_sub(TAIL))))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok::<_, io::Error>(String::from_utf8_lossy(&bytes).into_owned())
    })()
    .unwrap_or_default();
    telling(&text)
}

fn telling(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    let speaks = |line: &&&str| {
        line.starts_with("E: ")
            || line.contains("error:")
            || line.contains("error[")
            || line.contains("***")
    };
    let errors: Vec<&&str> = lines.iter().filter(speaks).take(LAST_LINES).collect();
    let chosen = if errors.is_empty() {
        lines
            .iter()
            .skip(lines.len().saturating_sub(LAST_LINES))
            .collect()
    } else {
        errors
    };
    chosen.into_iter().map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(limit: Duration) -> Job<'static> {
        Job {
            what: "testing",
            log: "test",
            limit,
        }
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_failure_names_the_log_and_the_line_that_tells_most() -> io::Result<()> {
        let logs = tempfile::tempdir()?;
        let runner = Runner::new(&Cancel::default(), logs.path());
        let mut command = shell("echo start; echo 'x.rs:1: error: broken'; echo done; exit 3");

        let result = runner.run(&mut command, &job(Duration::from_secs(10)), &mut || {});

        let Err(CommandError::Failed { status, run }) = result else {
            return Err(io::Error::other(format!("{result:?}")));
        };
        assert_eq!(status.code(), Some(3));
        assert_eq!(run.last_lines, ["x.rs:1: error: broken"]);
        assert!(fs::read_to_string(&run.log)?.contains("\nstart\n"));
        Ok(())
    }

    #[test]
    fn the_deadline_kills_the_program_and_its_children() -> io::Result<()> {
        let logs = tempfile::tempdir()?;
        let runner = Runner::new(&Cancel::default(), logs.path());
        let mut command = shell("sleep 1000 & wait");

        let started = Instant::now();
        let result = runner.run(&mut command, &job(Duration::from_millis(50)), &mut || {});

        assert!(
            matches!(result, Err(CommandError::TimedOut { .. })),
            "{result:?}"
        );
        assert!(started.elapsed() < Duration::from_secs(10));
        Ok(())
    }

    #[test]
    fn the_cancel_flag_ends_a_program() -> io::Result<()> {
        let logs = tempfile::tempdir()?;
        let cancel = Cancel::default();
        let runner = Runner::new(&cancel, logs.path());

        let result = runner.run(
            &mut shell("sleep 1000"),
            &job(Duration::from_secs(100)),
            &mut || {
                cancel.cancel();
            },
        );

        assert!(matches!(result, Err(CommandError::Cancelled)), "{result:?}");
        Ok(())
    }

    #[test]
    fn output_is_given_and_does_not_go_to_the_log() -> io::Result<()> {
        let logs = tempfile::tempdir()?;
        let runner = Runner::new(&Cancel::default(), logs.path());
        let mut command = shell("echo out; echo err >&2");

        let output = runner.output(&mut command, &job(Duration::from_secs(10)));

        assert_eq!(output.ok().as_deref(), Some("out\n"));
        let log = fs::read_to_string(runner.log("test"))?;
        assert!(log.ends_with("\nerr\n"), "{log}");
        Ok(())
    }
}
