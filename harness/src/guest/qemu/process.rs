// SPDX-License-Identifier: MIT OR Apache-2.0

//! The process of QEMU, which never outlives the harness.

use std::fs::File;
use std::io::{self, PipeWriter};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{self, Sender, SyncSender};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::Signal;

/// What a child may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// What we may.
    Kept,
    /// No more than that, whatever it executes.
    NoMore,
    /// Likewise, and it becomes another user. Then the kernel forgets whose death is to be its own (`prctl(2)`): a
    /// process beside it sees to that.
    GivenUp,
}

/// A running child that is killed and reaped on drop, and by the kernel if this process dies first.
#[derive(Debug)]
pub struct Process {
    child: Child,
    guardian: Option<Guardian>,
}

/// Kills a process group when this process is gone.
#[derive(Debug)]
struct Guardian {
    child: Child,
    /// Closes when this process ends, however it does.
    _alive: Option<PipeWriter>,
}

impl Guardian {
    fn of(group: u32) -> io::Result<Self> {
        let (theirs, ours) = io::pipe()?;
        let mut shell = Command::new("/bin/sh");
        shell
            .args(["-c", "read -r gone; kill -s KILL -- \"-$1\"", "guardian"])
            .arg(group.to_string())
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        Ok(Self {
            child: shell.spawn()?,
            _alive: Some(ours),
        })
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        // Before its pipe closes. Errors mean that it is gone, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts `command` with its output in `log`. Each of `inherited` is open in the child, under the
    /// number it has here, and closed here.
    ///
    /// # Errors
    /// What `fork` or `execve` gave.
    pub fn spawn(
        mut command: Command,
        inherited: Vec<OwnedFd>,
        log: &File,
        rights: Rights,
    ) -> io::Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log.try_clone()?)
            .process_group(0);
        let parent = nix::unistd::getpid();
        let prepare = move || {
            nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
            if rights != Rights::Kept {
                nix::sys::prctl::set_no_new_privs()?;
            }
            if nix::unistd::getppid() != parent {
                // The parent died before the line above: nobody would send the signal.
                return Err(io::Error::from(io::ErrorKind::BrokenPipe));
            }
            for fd in &inherited {
                fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
            }
            Ok(())
        };
        // SAFETY: the closure runs between fork and exec and makes only the system calls prctl, getppid and
        // fcntl, which are async-signal-safe; it allocates nothing.
        unsafe { command.pre_exec(prepare) };
        let mut process = Self {
            child: spawn_from_lasting_thread(command)?,
            guardian: None,
        };
        if rights == Rights::GivenUp {
            // Where there is no guardian, there is no process: it is killed on drop.
            process.guardian = Some(Guardian::of(process.id())?);
        }
        Ok(process)
    }

    /// Its process number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// What `waitpid` gave.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        let ended = self.child.try_wait()?;
        if ended.is_some() {
            // Its number may be another's from now on.
            self.guardian = None;
        }
        Ok(ended)
    }

    /// Waits until it ends, at most until `deadline`.
    ///
    /// # Errors
    /// What `waitpid` gave.
    pub fn wait_until(&mut self, deadline: Instant) -> io::Result<Option<ExitStatus>> {
        loop {
            if let Some(status) = self.ended()? {
                return Ok(Some(status));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Kills and reaps it; nothing if it ended already.
    pub fn kill(&mut self) {
        // Errors mean that it is gone, which is what is wanted.
        let _ = self.child.kill();
        // Until it is waited for, nobody else has its number, which the guardian knows.
        self.guardian = None;
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A command to start, and where the child goes.
type Job = (Command, SyncSender<io::Result<Child>>);

/// Starts a command from a thread that lives as long as this process.
///
/// The kernel sends the parent-death signal when the *thread* that forked ends, so a child started from a
/// test's thread would die with that thread although the guest was handed on.
fn spawn_from_lasting_thread(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Sender<Job>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, jobs) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, answer) in jobs {
                // The one who asked waits for it.
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (answer, child) = mpsc::sync_channel(1);
    let gone = |_| io::Error::other("the thread that starts processes is gone");
    spawner
        .send((command, answer))
        .map_err(|_| gone(mpsc::RecvError))?;
    child.recv().map_err(gone)?
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(10)
    }

    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it() {
        let log = tempfile::tempfile().unwrap();
        let (reader, writer) = io::pipe().unwrap();
        let script = format!(
            "cat /proc/self/fd/{} >/dev/null; exit 7",
            reader.as_raw_fd()
        );
        let mut child = std::thread::spawn(move || {
            Process::spawn(shell(&script), vec![reader.into()], &log, Rights::Kept).unwrap()
        })
        .join()
        .unwrap();

        drop(writer);
        let status = child.wait_until(soon()).unwrap().unwrap();

        assert_eq!(
            status.code(),
            Some(7),
            "killed when its thread ended: {status}"
        );
    }

    #[test]
    fn inherited_descriptors_keep_their_numbers() {
        let log = tempfile::tempfile().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        let number = writer.as_raw_fd();

        let mut child = Process::spawn(
            shell(&format!("echo hello >/proc/self/fd/{number}")),
            vec![writer.into()],
            &log,
            Rights::Kept,
        )
        .unwrap();
        let mut said = String::new();
        io::Read::read_to_string(&mut reader, &mut said).unwrap();

        assert_eq!(said, "hello\n");
        assert!(child.wait_until(soon()).unwrap().unwrap().success());
    }

    /// What `of` is told by the kernel about itself.
    fn status_of(rights: Rights) -> String {
        let log = tempfile::NamedTempFile::new().unwrap();
        let shell = shell("exec cat /proc/self/status");
        let mut child = Process::spawn(shell, Vec::new(), log.as_file(), rights).unwrap();
        child.wait_until(soon()).unwrap().unwrap();
        std::fs::read_to_string(log.path()).unwrap()
    }

    #[test]
    fn rights_are_kept_or_not() {
        assert!(status_of(Rights::Kept).contains("NoNewPrivs:\t0"));
        assert!(status_of(Rights::NoMore).contains("NoNewPrivs:\t1"));
        assert!(status_of(Rights::GivenUp).contains("NoNewPrivs:\t1"));
    }

    /// Who is killed cannot kill: the pipe of the guardian closes, and so does that of this guardian.
    #[test]
    fn a_guardian_kills_the_group_when_its_pipe_closes() {
        let log = tempfile::tempfile().unwrap();
        let mut child =
            Process::spawn(shell("sleep 600"), Vec::new(), &log, Rights::GivenUp).unwrap();
        let mut guardian = child.guardian.take().unwrap();

        guardian._alive = None;

        let ended = child.wait_until(soon()).unwrap().unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&ended),
            Some(9)
        );
        assert!(guardian.child.wait().unwrap().success());
    }

    #[test]
    fn dropping_kills() {
        let log = tempfile::tempfile().unwrap();
        let child =
            Process::spawn(shell("exec sleep 600"), Vec::new(), &log, Rights::Kept).unwrap();
        let id = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());

        drop(child);

        assert_eq!(
            nix::sys::signal::kill(id, None),
            Err(nix::errno::Errno::ESRCH)
        );
    }
}
