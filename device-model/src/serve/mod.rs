// SPDX-License-Identifier: MIT OR Apache-2.0

//! Serves one function on a vfio-user socket.
//!
//! Two threads for each card: one takes what the machine asks over the socket, one lets the function do
//! its work; and a third where something comes to it from outside, which lets it read that, or where the orders of its actions are
//! enumerated, which answers the machine's processors. They share the function under one lock, which is handed over fairly between two pieces of
//! work. Lock order: machine, then mappings, then journal. The mappings are changed without the machine's
//! lock, and so wait for one piece of a transfer at most.

mod explorer;
mod gate;
mod local;
mod machine;
mod port;
mod unknown;
mod vfio_user;
mod witness;

use std::any::Any;
use std::borrow::Cow;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use self::vfio_user::EventWire;
use crate::contract::{Declaration, Function, IdentityError, Next};
use crate::dma::map::{Foretold, Map, Mapping};
use crate::journal::{self, Journal, Kind, Missing};
pub use gate::{AFTER_ACCESS, GO, IDLE, NotExplorable};
pub use local::LocalCard;
pub(crate) use machine::Machine;
pub use unknown::SPINNING;

/// How long dropping a server waits for its threads before it leaves them to end by themselves.
const JOIN_DEADLINE: Duration = Duration::from_secs(3);

/// What a card has beyond its function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// BAR 5 of a function that leaves it free is where the witness in the guest tells of the driver's calls.
    pub witness: bool,
    /// Which of its machine's cards it is, for that witness.
    pub place: u32,
    /// Most entries that its journal keeps.
    pub journal: usize,
    /// How long the machine's first message, and each from its first byte to its last, may be in coming. One that is not
    /// there by then ends the connection: the next may have the card.
    pub patience: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            witness: false,
            place: 0,
            journal: journal::CAPACITY,
            patience: Duration::from_secs(5),
        }
    }
}

/// Why a card could not be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// There can be no such card.
    #[error("there can be no such card")]
    Identity(#[from] IdentityError),
    /// Something is at the socket's path already.
    #[error("{} exists already", .path.display())]
    Exists {
        /// The path.
        path: PathBuf,
    },
    /// The socket could not be made.
    #[error("cannot listen on {}", .path.display())]
    Listen {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A thread could not be started.
    #[error("cannot start the card's threads")]
    Thread(#[source] io::Error),
}

/// What the threads of one card share.
pub(crate) struct Shared {
    machine: Mutex<Machine<EventWire>>,
    wake: Condvar,
    /// The mappings; not behind the machine's lock.
    pub(crate) map: Arc<Map>,
    /// The journal.
    pub(crate) journal: Journal,
    stop: AtomicBool,
    /// Closed when all is to end.
    going: Mutex<Option<PipeWriter>>,
    /// How long a message may be in coming.
    pub(crate) patience: Duration,
    connection: Mutex<Option<UnixStream>>,
    /// Where the machine's processors wait; see [`gate`].
    gate: Mutex<Option<UnixStream>>,
    /// Nothing is left for the card to do, while an order is carried out.
    rested: Condvar,
    running: Mutex<usize>,
    ended: Condvar,
}

impl Shared {
    /// Does something with the function and lets its worker look at it afterwards.
    pub(crate) fn with_machine<R>(&self, action: impl FnOnce(&mut Machine<EventWire>) -> R) -> R {
        let mut machine = self.machine.lock();
        let result = action(&mut machine);
        self.cut_if_severed(&mut machine);
        self.wake(&machine);
        MutexGuard::unlock_fair(machine);
        result
    }

    /// Writes to a BAR. The worker is not woken for what only the witness tells.
    pub(crate) fn write_bar(&self, bar: u8, offset: u64, from: &[u8]) {
        let mut machine = self.machine.lock();
        if machine.is_witness(bar.into()) {
            machine.tell(offset, from);
        } else {
            machine.write(bar, offset, from);
            self.cut_if_severed(&mut machine);
            self.wake(&machine);
        }
        MutexGuard::unlock_fair(machine);
    }

    /// Wakes the worker, unless it has nothing to say.
    fn wake(&self, machine: &Machine<EventWire>) {
        if !machine.is_explored() {
            self.wake.notify_one();
        }
    }

    /// Cuts the connection if the function asked for it.
    fn cut_if_severed(&self, machine: &mut Machine<EventWire>) {
        if machine.take_severed()
            && let Some(stream) = &*self.connection.lock()
        {
            // An error means that it is cut already.
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// The function panicked in one of the threads: it is gone, for the machine and in the journal.
    fn panicked(&self, panic: &(dyn Any + Send), listener: &UnixListener) {
        if self.stopped() {
            return;
        }
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let why = format!(
            "the card's model panicked: {}",
            text.unwrap_or("nobody knows why")
        );
        let why = Cow::Owned(why);
        self.journal.push(Kind::Declared {
            register_write: None,
            what: Declaration::Gone { why },
        });
        self.end(listener);
    }

    /// Makes every thread end: a transfer in hand stops after its current piece.
    fn end(&self, listener: &UnixListener) {
        self.stop.store(true, Ordering::Release);
        drop(self.going.lock().take());
        // Errors mean that they are closed already.
        let _ = rustix::net::shutdown(listener, rustix::net::Shutdown::Both);
        for stream in [&self.connection, &self.gate] {
            if let Some(stream) = stream.lock().take() {
                let _ = stream.shutdown(std::net::Shutdown::Both);
            }
        }
        // Under the lock: the worker is then either before its look at `stop` or asleep. One that is stuck in the function,
        // or in a peer's file, must not hold this up.
        let machine = self.machine.try_lock_for(JOIN_DEADLINE);
        self.wake.notify_all();
        drop(machine);
    }
}

/// One card on one socket. Connections are served one after the other: when a machine goes, the card is
/// as after power-on and takes the next. Dropping it ends everything and removes the socket.
pub struct CardServer {
    shared: Arc<Shared>,
    listener: Arc<UnixListener>,
    path: PathBuf,
    /// Device and inode of the socket's file.
    inode: Option<(u64, u64)>,
    threads: Vec<JoinHandle<()>>,
}

/// Device and inode of what is at `path`, if anything is.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

impl std::fmt::Debug for CardServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CardServer")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl CardServer {
    /// Serves `function` on a new socket; it is listening when this returns.
    ///
    /// # Errors
    /// See [`ServeError`]; nothing is left behind.
    pub fn bind(socket: &Path, function: Box<dyn Function>) -> Result<Self, ServeError> {
        Self::bind_with(socket, function, Options::default())
    }

    /// As [`CardServer::bind`], with options.
    ///
    /// # Errors
    /// See [`ServeError`]; nothing is left behind.
    pub fn bind_with(
        socket: &Path,
        function: Box<dyn Function>,
        options: Options,
    ) -> Result<Self, ServeError> {
        let path = socket.to_path_buf();
        let journal = Journal::with_capacity(options.journal);
        let map = Arc::new(Map::default());
        let machine = Machine::new(function, options, Arc::clone(&map), journal.clone())?;
        let outside = machine.outside().map_err(ServeError::Thread)?;
        let (gone, going) = io::pipe().map_err(ServeError::Thread)?;
        let listener = UnixListener::bind(&path).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => ServeError::Exists { path: path.clone() },
            _ => ServeError::Listen {
                path: path.clone(),
                source,
            },
        })?;
        let shared = Arc::new(Shared {
            machine: Mutex::new(machine),
            wake: Condvar::new(),
            map,
            journal,
            stop: AtomicBool::new(false),
            going: Mutex::new(Some(going)),
            patience: options.patience,
            connection: Mutex::new(None),
            gate: Mutex::new(None),
            rested: Condvar::new(),
            running: Mutex::new(0),
            ended: Condvar::new(),
        });
        let mut server = Self {
            shared,
            listener: Arc::new(listener),
            inode: identity(&path),
            path,
            threads: Vec::new(),
        };
        let listener = Arc::clone(&server.listener);
        server.spawn("card-socket", move |shared| accept(shared, &listener))?;
        server.spawn("card-work", work)?;
        if let Some(outside) = outside {
            server.spawn("card-outside", move |shared| hear(shared, &outside, &gone))?;
        }
        Ok(server)
    }

    /// The card's journal; it outlives the server.
    pub fn journal(&self) -> Journal {
        self.shared.journal.clone()
    }

    /// Waits until the piece of work that the card has in hand is over: what it did before this call, with
    /// its completion and its interrupt, is in the journal then. A journal read without it may end between
    /// the two. Waits for one step at most.
    pub fn sync(&self) {
        drop(self.shared.machine.lock());
    }

    /// Has somebody told what the card is about to write, and when it is about to interrupt; the first who asks is. To be called
    /// before a machine connects, or its first accesses are not told.
    pub fn foretell(&self, to: Arc<dyn Foretold>) {
        self.shared.map.foretell(to);
    }

    /// The mappings that the card has now.
    pub fn mappings(&self) -> Vec<Mapping> {
        self.shared.map.mappings()
    }

    /// What the card's model lacks, as far as the driver asked for it so far: what a model's author looks for.
    pub fn missing(&self) -> Missing {
        self.shared.machine.lock().missing()
    }

    /// Cuts the connection, as a dying server does, and serves no other. The card stops in the middle of
    /// what it does; its journal stays.
    pub fn sever(&self) {
        // Only what we made: somebody may have put another there since.
        if identity(&self.path) == self.inode {
            let _ = std::fs::remove_file(&self.path);
        }
        self.shared.end(&self.listener);
    }

    fn spawn(
        &mut self,
        name: &str,
        body: impl FnOnce(&Shared) + Send + 'static,
    ) -> Result<(), ServeError> {
        let (shared, listener) = (Arc::clone(&self.shared), Arc::clone(&self.listener));
        *self.shared.running.lock() += 1;
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let _ended = Ended(&shared);
                // The function may be anybody's. What it leaves half done is called no more, but to be reset.
                let done = catch_unwind(AssertUnwindSafe(|| body(&shared)));
                if let Err(panic) = done {
                    shared.panicked(panic.as_ref(), &listener);
                }
            });
        match thread {
            Ok(thread) => self.threads.push(thread),
            Err(error) => {
                *self.shared.running.lock() -= 1;
                return Err(ServeError::Thread(error));
            }
        }
        Ok(())
    }
}

/// Counts a thread out, also when it panics.
struct Ended<'a>(&'a Shared);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        *self.0.running.lock() -= 1;
        self.0.ended.notify_all();
    }
}

impl Drop for CardServer {
    fn drop(&mut self) {
        self.sever();
        let deadline = Instant::now() + JOIN_DEADLINE;
        let mut running = self.shared.running.lock();
        while *running > 0 {
            if self
                .shared
                .ended
                .wait_until(&mut running, deadline)
                .timed_out()
            {
                tracing::error!(path = %self.path.display(), "card's threads did not end in time");
                return;
            }
        }
        drop(running);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!(path = %self.path.display(), "a card's thread panicked");
            }
        }
    }
}

/// Lets the function work whenever it wants to.
fn work(shared: &Shared) {
    let mut machine = shared.machine.lock();
    while !shared.stopped() {
        if machine.is_explored() {
            shared.wake.wait(&mut machine);
            continue;
        }
        let next = machine.step();
        shared.cut_if_severed(&mut machine);
        match next {
            Next::Again => MutexGuard::bump(&mut machine),
            Next::Idle => shared.wake.wait(&mut machine),
            Next::At(time) => {
                let until = shared.journal.began() + time.min(Duration::from_secs(1 << 30));
                shared.wake.wait_until(&mut machine, until);
            }
        }
    }
}

/// Lets the function work whenever something came to it from outside.
fn hear(shared: &Shared, outside: &OwnedFd, gone: &PipeReader) {
    while !shared.stopped() {
        let mut both = [
            PollFd::new(outside, PollFlags::IN),
            PollFd::new(gone, PollFlags::IN),
        ];
        match poll(&mut both, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return, // no memory for it: nothing comes any more
        }
        let came = both.first().map_or(PollFlags::empty(), PollFd::revents);
        if came.contains(PollFlags::IN) && !shared.stopped() {
            let mut machine = shared.machine.lock();
            if machine.step() != Next::Idle {
                shared.wake.notify_one();
            }
            shared.cut_if_severed(&mut machine);
            MutexGuard::unlock_fair(machine);
        } else if !came.is_empty() {
            return; // closed, or nothing that can be waited for
        }
    }
}

/// Serves one connection after the other.
fn accept(shared: &Shared, listener: &UnixListener) {
    while !shared.stopped() {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => break, // shut down, or no way to go on
        };
        match stream.try_clone() {
            Ok(clone) => *shared.connection.lock() = Some(clone),
            Err(error) => {
                tracing::error!(%error, "cannot keep a handle on the connection");
                continue;
            }
        }
        if shared.stopped() {
            break;
        }
        shared.journal.push(Kind::Connected);
        if let Err(error) = vfio_user::serve(&stream, shared) {
            tracing::warn!(error = &error as &dyn std::error::Error, "connection ended");
            let what = match std::error::Error::source(&error) {
                Some(why) => format!("{error}: {why}"),
                None => error.to_string(),
            };
            shared.journal.push(Kind::Refused { what });
        }
        *shared.connection.lock() = None;
        shared.with_machine(Machine::unplug);
    }
}
