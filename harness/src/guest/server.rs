// SPDX-License-Identifier: MIT OR Apache-2.0

//! Cards whose model is another program: a server of vfio-user, found at a socket or started for each guest.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use landfall_device::contract::{
    Declaration, Device, Function, Host, Identity, Next, RegisterName, Registers, Reset, UNCLAIMED,
};
use landfall_device::foreign::{Foreign, ForeignError, Keeper, Options, PATIENCE};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

use super::qemu::process::{Process, Rights};
use super::run_directory::RunDirectory;

/// What stands for the socket's path in a server's command line.
pub const SOCKET: &str = "{socket}";
/// How long a server may take until it listens.
const LISTENS: Duration = Duration::from_secs(20);
/// How often it is looked at meanwhile whether it has ended.
const TICK: Duration = Duration::from_millis(50);
/// How long a server at a socket is waited for while another guest of this process has it.
const OTHER: Duration = Duration::from_secs(300);
/// Of what a server said, the last lines that are told, and the most bytes that they are looked for in.
const LAST_LINES: usize = 5;
const TAIL: u64 = 4096;
/// Most bytes of a file of names.
const MOST_NAMES: u64 = 1 << 20;

/// Why a card's model was not made.
#[derive(Debug, thiserror::Error)]
pub enum NotMade {
    /// Its server is no card.
    #[error(transparent)]
    Foreign(#[from] ForeignError),
    /// Its server was not started.
    #[error("cannot start the card's server `{command}`")]
    Start {
        /// Its command line.
        command: String,
        /// Why not.
        source: io::Error,
    },
    /// Its server ended before it listened.
    #[error("the card's server `{command}` {how} before it listened at its socket{said}")]
    Ended {
        /// Its command line.
        command: String,
        /// How.
        how: String,
        /// What it said last, with a mark before it.
        said: String,
    },
    /// Its server does not listen.
    #[error("the card's server `{command}` did not listen at its socket within {} s{said}", .waited.as_secs())]
    NoSocket {
        /// Its command line.
        command: String,
        /// How long was waited.
        waited: Duration,
        /// What it said last, with a mark before it.
        said: String,
    },
    /// Another guest has its server.
    #[error(
        "the card's server at {} had another guest for {} s",
        .path.display(),
        .waited.as_secs()
    )]
    Busy {
        /// The socket.
        path: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// The names of its registers cannot be read.
    #[error("the names of registers in {}: {why}", .path.display())]
    Names {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// A server of vfio-user, in whatever language, which is a card's model: see [`landfall_device::foreign`].
///
/// ```
/// use landfall::guest::{Card, Server};
///
/// let server = Server::command(["python3", "card.py", "{socket}"]).registers("registers.toml");
/// let card = Card::served("my card", server);
/// assert_eq!(card.name(), "my card");
/// ```
#[derive(Clone, Debug)]
pub struct Server {
    from: From,
    names: Option<PathBuf>,
    patience: Duration,
    unjudged: bool,
}

#[derive(Clone, Debug)]
enum From {
    /// It listens there.
    Socket(PathBuf, Arc<Use>),
    /// It is started.
    Command(Vec<String>),
}

impl Server {
    /// One that listens at a socket already, and serves one machine after the other: guests wait for each other.
    pub fn at(socket: impl Into<PathBuf>) -> Self {
        Self::new(From::Socket(socket.into(), Arc::default()))
    }

    /// One that is started for each guest, and ended with it, with all that it started. Where the command line has
    /// [`SOCKET`], it gets the path of the socket at which it is to listen; otherwise as one argument more.
    pub fn command<W: Into<String>>(argv: impl IntoIterator<Item = W>) -> Self {
        Self::new(From::Command(argv.into_iter().map(Into::into).collect()))
    }

    fn new(from: From) -> Self {
        Self {
            from,
            names: None,
            patience: PATIENCE,
            unjudged: false,
        }
    }

    /// What its registers are called: a file of TOML with a table for each BAR, `[bar0]`, and in it a line for each register,
    /// `CONTROL = 0x14`. Those that are not in it are called by their offset.
    #[must_use]
    pub fn registers(self, file: impl Into<PathBuf>) -> Self {
        Self {
            names: Some(file.into()),
            ..self
        }
    }

    /// How long it may take to answer. A guest stands still meanwhile, and its kernel takes some ten seconds for a lockup.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Nothing of ours stands between QEMU and the server: it may map the guest's memory, which it then accesses unseen. There
    /// is neither journal nor witness, and no verdict but "not judged". What its BARs need must fit into a mebibyte.
    #[must_use]
    pub fn unjudged(self) -> Self {
        Self {
            unjudged: true,
            ..self
        }
    }

    /// Whether [`Server::unjudged`] was said.
    pub(super) fn is_unjudged(&self) -> bool {
        self.unjudged
    }

    /// What it is called if nobody says otherwise: what is started, or the socket.
    pub fn name(&self) -> String {
        let path = match &self.from {
            From::Socket(path, _) => Some(path.as_path()),
            From::Command(argv) => argv.first().map(Path::new),
        };
        let stem = path.and_then(Path::file_stem);
        stem.map_or_else(
            || "server".to_owned(),
            |stem| stem.to_string_lossy().into_owned(),
        )
    }

    /// Makes the card: starts the server, if it is to be started, and connects.
    pub(super) fn make(&self) -> Result<Made, NotMade> {
        match &self.from {
            From::Socket(path, used) => {
                let lease = Use::take(used, OTHER).ok_or_else(|| NotMade::Busy {
                    path: path.clone(),
                    waited: OTHER,
                })?;
                if self.unjudged {
                    return Ok(Made::unjudged(path.clone(), Box::new(lease)));
                }
                let options = self.options(Box::new(lease))?;
                Ok(self.judged(Foreign::connect(path, options)?))
            }
            From::Command(argv) => {
                let running = Running::start(argv)?;
                let socket = running.socket();
                if self.unjudged {
                    running.wait(|| Ok(listens(&socket).then_some(())))?;
                    return Ok(Made::unjudged(socket, Box::new(running)));
                }
                let stream = running.wait(|| match UnixStream::connect(&socket) {
                    Ok(stream) => Ok(Some(stream)),
                    // Between its socket's making and its listening it is refused.
                    Err(error) => match error.kind() {
                        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(None),
                        _ => Err(error),
                    },
                })?;
                let options = self.options(Box::new(running))?;
                Ok(self.judged(Foreign::over(stream, options)?))
            }
        }
    }

    fn options(&self, keeper: Box<dyn Keeper>) -> Result<Options, NotMade> {
        let names = match &self.names {
            Some(path) => names(path).map_err(|why| NotMade::Names {
                path: path.clone(),
                why,
            })?,
            None => BTreeMap::new(),
        };
        Ok(Options {
            patience: self.patience,
            names,
            keeper: Some(keeper),
        })
    }

    fn judged(&self, card: Foreign) -> Made {
        for what in card.left_out() {
            tracing::warn!(card = self.name(), "the card is without {what}");
        }
        Made::function(card)
    }
}

/// A card for one guest.
pub(super) struct Made {
    pub(super) function: Box<dyn Function>,
    /// Where QEMU connects to, if not to us.
    pub(super) direct: Option<PathBuf>,
}

impl Made {
    pub(super) fn function(function: impl Function + 'static) -> Self {
        Self::boxed(Box::new(function))
    }

    pub(super) fn boxed(function: Box<dyn Function>) -> Self {
        Self {
            function,
            direct: None,
        }
    }

    fn unjudged(socket: PathBuf, keeper: Box<dyn Keeper>) -> Self {
        Self {
            direct: Some(socket),
            ..Self::function(Unjudged {
                _keeper: keeper,
                told: false,
            })
        }
    }
}

/// Stands for a card that QEMU reaches without us, to say so in its journal.
struct Unjudged {
    _keeper: Box<dyn Keeper>,
    told: bool,
}

impl Device for Unjudged {
    fn identity(&self) -> Identity {
        Identity {
            vendor: 0x1b36,
            device: 0x4c00,
            ..Identity::default()
        }
    }

    fn reset(&mut self, _kind: Reset) {}

    fn step(&mut self, host: &mut dyn Host) -> Next {
        if !std::mem::replace(&mut self.told, true) {
            let why = "the card's server runs unjudged, as it was asked for: it reaches the guest's memory unseen";
            host.declare(Declaration::Gone { why: why.into() });
        }
        Next::Idle
    }

    fn line(&self) -> bool {
        false
    }
}

impl Registers for Unjudged {
    fn register(&self, _bar: u8, _offset: u64) -> Option<RegisterName> {
        None
    }

    fn read(&self, _bar: u8, _offset: u64) -> u32 {
        UNCLAIMED
    }

    fn write(&mut self, _bar: u8, _offset: u64, _value: u32, _host: &mut dyn Host) {}
}

/// Whether a server at a socket has a guest of ours.
#[derive(Debug, Default)]
struct Use {
    used: Mutex<bool>,
    free: Condvar,
}

/// A server at a socket, as long as it has this guest.
struct Lease(Arc<Use>);

impl Use {
    fn take(this: &Arc<Self>, limit: Duration) -> Option<Lease> {
        let used = this.used.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = this.free.wait_timeout_while(used, limit, |used| *used);
        let (mut used, _) = waited.unwrap_or_else(PoisonError::into_inner);
        (!std::mem::replace(&mut *used, true)).then(|| Lease(Arc::clone(this)))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        *self.0.used.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.0.free.notify_one();
    }
}

impl Keeper for Lease {
    fn last_words(&mut self) -> Option<String> {
        None
    }
}

/// A server that was started. Dropping it ends it, and all that it started.
struct Running {
    process: Process,
    directory: RunDirectory,
    command: String,
}

impl Running {
    const SOCKET: &str = "card.sock";
    const LOG: &str = "server.log";

    fn start(argv: &[String]) -> Result<Self, NotMade> {
        let failed = |source| NotMade::Start {
            command: argv.join(" "),
            source,
        };
        let directory = RunDirectory::new().map_err(failed)?;
        let socket = directory.file(Self::SOCKET).display().to_string();
        let mut words: Vec<_> = argv
            .iter()
            .map(|word| word.replace(SOCKET, &socket))
            .collect();
        if words == argv {
            words.push(socket);
        }
        let (program, arguments) = words
            .split_first()
            .ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        let mut command = Command::new(program);
        command.args(arguments);
        let log = File::create(directory.file(Self::LOG)).map_err(failed)?;
        let process = Process::spawn(command, Vec::new(), &log, Rights::Kept).map_err(failed)?;
        Ok(Self {
            process,
            directory,
            command: argv.join(" "),
        })
    }

    fn socket(&self) -> PathBuf {
        self.directory.file(Self::SOCKET)
    }

    /// Waits until `ready` gives something, which is asked whenever something came into the directory.
    fn wait<T>(&self, mut ready: impl FnMut() -> io::Result<Option<T>>) -> Result<T, NotMade> {
        let command = || self.command.clone();
        let failed = |source| NotMade::Start {
            command: command(),
            source,
        };
        let events = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
            .and_then(|events| {
                events.add_watch(self.directory.path(), AddWatchFlags::IN_CREATE)?;
                Ok(events)
            })
            .map_err(|errno| failed(errno.into()))?;
        let deadline = Instant::now() + LISTENS;
        loop {
            if let Some(ready) = ready().map_err(failed)? {
                return Ok(ready);
            }
            if let Some(how) = self.ended() {
                return Err(NotMade::Ended {
                    command: command(),
                    how,
                    said: self.said(),
                });
            }
            if Instant::now() >= deadline {
                return Err(NotMade::NoSocket {
                    command: command(),
                    waited: LISTENS,
                    said: self.said(),
                });
            }
            let tick = PollTimeout::try_from(TICK).unwrap_or(PollTimeout::ZERO);
            // An error is a tick that was none.
            let _ = poll(&mut [PollFd::new(events.as_fd(), PollFlags::POLLIN)], tick);
            let _ = events.read_events();
        }
    }

    /// How it ended, if it did; it is left for [`Drop`] to take away, so that its number is nobody else's.
    fn ended(&self) -> Option<String> {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match waitid(Id::Pid(self.pid()?), flags) {
            Ok(WaitStatus::Exited(_, status)) => Some(format!("ended with status {status}")),
            Ok(WaitStatus::Signaled(_, signal, _)) => Some(format!("was ended by {signal}")),
            _ => None,
        }
    }

    fn pid(&self) -> Option<Pid> {
        i32::try_from(self.process.id()).ok().map(Pid::from_raw)
    }

    fn said(&self) -> String {
        let lines = last_lines(&self.directory.file(Self::LOG));
        lines.map_or_else(String::new, |lines| format!("; it said last: {lines}"))
    }
}

impl Keeper for Running {
    fn last_words(&mut self) -> Option<String> {
        let said = last_lines(&self.directory.file(Self::LOG));
        match (self.ended(), said) {
            (Some(how), Some(said)) => Some(format!("{said} (it {how})")),
            (Some(how), None) => Some(format!("nothing (it {how})")),
            (None, said) => said,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It leads a group of its own. An error means that there is nobody in it.
        if let Some(pid) = self.pid() {
            let _ = killpg(pid, Signal::SIGKILL);
        }
        self.process.kill();
    }
}

/// Whether somebody listens at a socket, without connecting: a server may take the first connection for its only one.
fn listens(socket: &Path) -> bool {
    // Number, references, protocol, flags, type, state, inode, path; the flag says that it accepts.
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let socket = socket.to_string_lossy();
    table.lines().any(|line| {
        let mut fields = line.split_whitespace();
        fields.nth(3) == Some("00010000") && fields.nth(3) == Some(&*socket)
    })
}

/// The last lines of a log that say something.
fn last_lines(log: &Path) -> Option<String> {
    let mut file = File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))
        .ok()?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let last = lines.get(lines.len().saturating_sub(LAST_LINES)..)?;
    (!last.is_empty()).then(|| last.join(" | "))
}

/// Reads names of registers.
fn names(path: &Path) -> Result<BTreeMap<(u8, u64), String>, String> {
    let length = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > MOST_NAMES {
        return Err(format!(
            "it has {length} bytes, and {MOST_NAMES} are the most"
        ));
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    parse_names(&text)
}

fn parse_names(text: &str) -> Result<BTreeMap<(u8, u64), String>, String> {
    let tables: BTreeMap<String, BTreeMap<String, u64>> =
        toml::from_str(text).map_err(|error| error.to_string())?;
    let mut names = BTreeMap::new();
    for (table, registers) in tables {
        let bar = table.strip_prefix("bar").and_then(|bar| bar.parse().ok());
        let Some(bar) = bar.filter(|bar: &u8| *bar < 6) else {
            return Err(format!("there is no table [{table}], but [bar0] to [bar5]"));
        };
        for (name, offset) in registers {
            if let Some(other) = names.insert((bar, offset), name.clone()) {
                return Err(format!(
                    "{other} and {name} are both at {offset:#x} of BAR {bar}"
                ));
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
