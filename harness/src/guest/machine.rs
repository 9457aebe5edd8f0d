// SPDX-License-Identifier: MIT OR Apache-2.0

//! A running guest: everything that has to be watched at the same time, and one place that waits.
//!
//! A thread each reads the console, the agent's port and the monitor ([`super::inbox`]). Whoever waits for an answer drains that inbox, and so meets a panic, a dead QEMU or a Ctrl-C at once,
//! whatever it is that was waited for.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;
use landfall_agent::protocol::{self, FromGuest, Hello, Reply, Request, ToGuest};
use landfall_device::serve::CardServer;
use landfall_guest::{Cancel, ModuleFiles, Prepared};

use super::POOL_MODULE;
use super::budget::{self, Budget, Place};
use super::console;
use super::cpu;
use super::failure::{GuestFailed, Result, What};
use super::inbox::{Heard, Inbox};
use super::logs::{CONSOLE_LOG, QEMU_LOG, logs_in, read_lossy, without_warnings};
use super::options::{GuestOptions, Module};
use super::snapshot::{NotRestored, Recipe};
use super::sockets::Sockets;
use super::start::{self, Launch};
use super::started::{Clock, Started, WAIT};
use crate::guest::memory::GuestMemory;
use crate::guest::qemu::process::Process;
use crate::guest::qemu::qmp::{self, Message};
use crate::guest::run_directory::RunDirectory;

/// How often a wait looks whether it was cancelled.
const TICK: Duration = Duration::from_millis(50);
/// How long a dying guest may go on printing before its log is read.
const LAST_WORDS: Duration = Duration::from_millis(700);
/// How long a QEMU may live on whose death is the better explanation.
const DYING: Duration = Duration::from_secs(3);
/// How long a QEMU that has closed a connection may take to end; it may have much memory to give back.
const ENDING: Duration = Duration::from_secs(10);
/// Most monitor events kept.
const MAX_EVENTS: usize = 1024;

/// Everything that belongs to one running guest. Dropping it kills and removes all of it.
pub(crate) struct Machine {
    // Order of dropping: QEMU first, then what it is connected to.
    pub(super) process: Process,
    pub(super) agent: UnixStream,
    pub(super) monitor: UnixStream,
    pub(super) console: Option<UnixStream>,
    pub(super) inbox: Inbox,
    pub(super) events: VecDeque<qmp::Event>,
    pub(crate) cards: Vec<CardServer>,
    pub(crate) memory: Arc<GuestMemory>,
    pub(crate) hello: Hello,
    pub(crate) started: Started,
    pub(crate) options: GuestOptions,
    pub(super) directory: RunDirectory,
    pub(super) sockets: Sockets,
    pub(super) cancel: Cancel,
    pub(super) next_id: u32,
    pub(super) failed: Option<Earlier>,
    /// If it fails now, something else is tried: no evidence is kept.
    pub(super) on_trial: bool,
    /// All that its kernel reports is for [`crate::guest::console_findings`] to judge: only a panic ends it.
    pub(super) reports: bool,
    pub(super) place: Option<Place>,
    /// What it loads.
    pub(super) modules: ModuleFiles,
    /// See [`super::Guest::watched`].
    pub(super) watched: Option<u64>,
    /// Directory of the kernel's own modules.
    pub(super) stock: Option<PathBuf>,
    /// Where the CPU's accesses are told.
    pub(super) cpu: Option<cpu::Shared>,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine")
            .field("qemu", &self.process.id())
            .field("directory", &self.directory.path())
            .finish_non_exhaustive()
    }
}

impl Machine {
    /// Brings a guest to life, its cards plugged in: from a snapshot with `preload` loaded already, or, if that
    /// cannot be, by booting, with none of them loaded. `bound`: they are all that binds a card, which is waited for.
    pub(crate) fn start(
        options: GuestOptions,
        preload: &[Module],
        bound: bool,
        prepared: &Prepared,
        cancel: &Cancel,
    ) -> Result<Self> {
        let started = Self::started(options, preload, bound, prepared, cancel);
        started.map_err(|failed| failed.or_damaged(prepared))
    }

    fn started(
        options: GuestOptions,
        preload: &[Module],
        bound: bool,
        prepared: &Prepared,
        cancel: &Cancel,
    ) -> Result<Self> {
        options
            .check()
            .and_then(|()| start::check(&options, prepared))
            .map_err(|why| GuestFailed::early(What::Options(why)))?;
        if options.watch_cpu || options.explored {
            cpu::can_watch(&options, prepared)
                .map_err(|why| GuestFailed::early(What::Options(why)))?;
        }
        let lacks = |module: &&Module| !prepared.modules.contains(&module.name);
        if let Some(module) = preload.iter().find(lacks) {
            return Err(GuestFailed::early(What::NoModule {
                module: module.name.clone(),
                kernel: prepared.kernel_release.clone(),
            }));
        }
        let mut clock = Clock::start();
        let budget = Budget::of_machine(options.jobs);
        let place = budget::take(&prepared.writable, budget, options.memory, cancel)
            .map_err(|error| GuestFailed::early(error.into()))?;
        clock.lap(WAIT);
        let restored = Recipe::new(&options, preload, prepared)
            .map_err(NotRestored::Cold)
            .and_then(|recipe| recipe.restore(&options, prepared, cancel, &mut clock));
        let mut machine = match restored {
            Ok(mut machine) => {
                if preload.iter().any(|module| module.name == POOL_MODULE) {
                    machine.watched_before();
                }
                machine.be_loud()?;
                machine.hear_cpu()?;
                machine.plug_cards(bound)?;
                machine.make_iommu_lazy()?;
                clock.lap("plug in cards");
                machine.started = clock.finish(None);
                machine
            }
            Err(NotRestored::Failed(failed)) => return Err(failed),
            Err(NotRestored::Cold(why)) if options.watch_cpu || options.explored => {
                let why = format!(
                    "the CPU's accesses are seen only in a guest that is restored, and this one is not: {why}"
                );
                return Err(GuestFailed::early(What::Options(why)));
            }
            Err(NotRestored::Cold(why)) => {
                let mut machine = Launch::cold(&options, prepared, cancel).boot(&mut clock)?;
                machine.be_loud()?;
                machine.make_iommu_lazy()?;
                machine.unpack(&options.archives)?;
                machine.started = clock.finish(Some(why));
                machine
            }
        };
        machine.place = Some(place);
        machine.stock.clone_from(&prepared.stock);
        Ok(machine)
    }

    /// Has the kernel say on its console what it says to its log, if the options ask for that.
    fn be_loud(&mut self) -> Result<()> {
        if !self.options.loud {
            return Ok(());
        }
        let write = Request::WriteFile {
            path: "/proc/sys/kernel/printk".to_owned(),
            offset: 0,
            data: b"7".to_vec(),
        };
        self.request(write, Duration::ZERO).map(drop)
    }

    /// Waits for the agent's first word after a boot.
    pub(super) fn wait_for_hello(&mut self) -> Result<()> {
        let limit = self.options.deadlines.boot;
        let hello = self.wait_for("the guest's agent", limit, |message| match message {
            Heard::Agent(FromGuest::Hello(hello)) => Some(hello),
            _ => None,
        })?;
        if hello.protocol != protocol::VERSION {
            let detail = format!(
                "it speaks version {}, not {}",
                hello.protocol,
                protocol::VERSION
            );
            return Err(self.fail(What::Protocol {
                who: "the agent",
                detail,
            }));
        }
        self.hello = hello;
        Ok(())
    }

    /// Sends a request to the agent and waits for its reply.
    pub(crate) fn request(&mut self, request: Request, allow: Duration) -> Result<Reply> {
        let waiting_for = format!("the agent's answer to {}", brief(&request));
        let id = self.tell_agent(request)?;
        let limit = self.options.deadlines.request + allow;
        let outcome = self.wait_for(&waiting_for, limit, |message| match message {
            Heard::Agent(FromGuest::Reply { id: of, outcome }) if of == id => Some(outcome),
            _ => None,
        })?;
        // The guest is alive and well: no evidence, and the guest can be asked on.
        outcome.map_err(|refused| GuestFailed::early(What::Refused(refused)))
    }

    /// Sends a request to the agent; gives its number.
    fn tell_agent(&mut self, request: Request) -> Result<u32> {
        self.check()?;
        let id = self.next_id;
        self.next_id += 1;
        match protocol::write_frame(&mut self.agent, &ToGuest { id, request }) {
            Ok(()) => Ok(id),
            Err(source) => Err(self.broken(What::Host {
                doing: "write to the agent",
                source,
            })),
        }
    }

    /// Asks the guest to power itself off, and waits until QEMU ended well and nothing was left unsaid.
    pub(crate) fn power_off(&mut self) -> Result<()> {
        // Its answer is not waited for: QEMU may be gone before it is read.
        self.tell_agent(Request::PowerOff)?;
        self.wait_for_end()
    }

    /// Waits until QEMU ended well; a fault that the guest told of before is a failure still.
    fn wait_for_end(&mut self) -> Result<()> {
        let limit = self.options.deadlines.power_off;
        let began = Instant::now();
        loop {
            let slice = (Instant::now() + TICK).min(began + limit);
            match self.process.wait_until(slice) {
                Ok(Some(status)) if status.success() => return self.hear_last_words(),
                Ok(Some(status)) => return Err(self.ended_with(status)),
                Ok(None) if self.cancel.is_cancelled() => return Err(self.fail(What::Interrupted)),
                Ok(None) if began.elapsed() < limit => {}
                Ok(None) => {
                    let waiting_for = "the guest's power-off".to_owned();
                    return Err(self.fail(What::TimedOut {
                        waiting_for,
                        waited: limit,
                    }));
                }
                Err(source) => {
                    return Err(self.fail(What::Host {
                        doing: "wait for QEMU",
                        source,
                    }));
                }
            }
        }
    }

    /// Whether what its kernel reported is its end.
    fn ends(&self, lines: &[String]) -> bool {
        let warns = |line: &String| line.starts_with("WARNING: ");
        !(self.reports || self.options.warnings && lines.first().is_some_and(warns))
    }

    /// Looks through what came before all connections closed for a fault of the guest.
    fn hear_last_words(&mut self) -> Result<()> {
        let until = Instant::now() + LAST_WORDS;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.inbox.next(left) {
                Ok(Heard::Fatal(line)) => return Err(self.fatal(line)),
                Ok(Heard::Agent(FromGuest::Event(protocol::Event::KernelFault { lines })))
                    if self.ends(&lines) =>
                {
                    return Err(self.fail(What::KernelFault { lines }));
                }
                Ok(Heard::NotLogged(source)) => return Err(self.not_logged(source)),
                Ok(_) if left.is_zero() => return Ok(()),
                Ok(_) => {}
                // Every thread that reads has ended, or is not worth waiting for.
                Err(_) => return Ok(()),
            }
        }
    }

    /// Ends QEMU through its monitor, without asking the guest.
    pub(crate) fn quit(&mut self) -> Result<()> {
        // Not answered for certain: QEMU may be gone before its answer is read.
        self.tell_monitor(&qmp::Command::Quit, None)?;
        self.wait_for_end()
    }

    /// Copies the logs to the evidence directory.
    pub(crate) fn keep_evidence(&self) -> io::Result<std::path::PathBuf> {
        for (index, card) in self.cards.iter().enumerate() {
            let mut file = io::BufWriter::new(File::create(
                self.directory.file(&format!("card{index}.jsonl")),
            )?);
            for entry in card.journal().entries_from(0) {
                serde_json::to_writer(&mut file, &entry)?;
                file.write_all(b"\n")?;
            }
            file.flush()?;
            let missing = card.missing();
            if !missing.is_empty() {
                let file = self.directory.file(&format!("card{index}-missing.txt"));
                std::fs::write(file, missing.to_string())?;
            }
        }
        self.directory
            .keep(self.options.evidence.directory.as_deref())
    }

    /// What the guest and QEMU have said so far, by the name of the log; those that are empty are left out.
    pub(crate) fn logs(&self) -> Vec<(&'static str, String)> {
        logs_in(self.directory.path())
    }

    /// What the console has shown so far.
    pub(crate) fn console_log(&self) -> String {
        read_lossy(&self.directory.file(CONSOLE_LOG))
    }

    /// The console's socket, if the options asked for a shell and nobody took it yet.
    pub(crate) fn take_console(&mut self) -> Option<UnixStream> {
        self.console.take()
    }

    /// Whether the shell that was started ends within `limit`.
    pub(crate) fn shell_ends(&mut self, limit: Duration) -> Result<bool> {
        self.check()?;
        let ended = self.hear(limit, |message| match message {
            Heard::Agent(FromGuest::Event(protocol::Event::ShellEnded)) => Some(()),
            _ => None,
        })?;
        Ok(ended.is_some())
    }

    /// QEMU's process number.
    pub(crate) fn qemu_id(&self) -> u32 {
        self.process.id()
    }

    /// Drains the inbox until `wanted` picks a message.
    pub(super) fn wait_for<T>(
        &mut self,
        waiting_for: &str,
        limit: Duration,
        wanted: impl FnMut(Heard) -> Option<T>,
    ) -> Result<T> {
        match self.hear(limit, wanted)? {
            Some(answer) => Ok(answer),
            None => {
                let waiting_for = waiting_for.to_owned();
                Err(self.fail(What::TimedOut {
                    waiting_for,
                    waited: limit,
                }))
            }
        }
    }

    /// Likewise; `None` if none came in time.
    fn hear<T>(
        &mut self,
        limit: Duration,
        mut wanted: impl FnMut(Heard) -> Option<T>,
    ) -> Result<Option<T>> {
        let deadline = Instant::now() + limit;
        loop {
            if self.cancel.is_cancelled() {
                return Err(self.fail(What::Interrupted));
            }
            if let Err(source) = self.drain_cpu(false) {
                return Err(self.cpu_failed(source));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.inbox.next(left.min(TICK)) {
                Ok(Heard::Fatal(line)) => return Err(self.fatal(line)),
                Ok(Heard::Agent(FromGuest::Event(protocol::Event::KernelFault { lines })))
                    if self.ends(&lines) =>
                {
                    return Err(self.fail(What::KernelFault { lines }));
                }
                Ok(Heard::AgentBroken(detail)) => {
                    return Err(self.broken(What::Protocol {
                        who: "the agent",
                        detail,
                    }));
                }
                Ok(Heard::NotLogged(source)) => return Err(self.not_logged(source)),
                Ok(Heard::MonitorClosed | Heard::ConsoleClosed) => return Err(self.unasked_end()),
                Ok(Heard::Monitor(Message::Event(event))) => {
                    self.remember(event.clone());
                    if let Some(answer) = wanted(Heard::Monitor(Message::Event(event))) {
                        self.events.pop_back();
                        return Ok(Some(answer));
                    }
                }
                Ok(message) => {
                    if let Some(answer) = wanted(message) {
                        return Ok(Some(answer));
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(self.unasked_end()),
            }
            // However much else is said.
            if left.is_zero() {
                return Ok(None);
            }
        }
    }

    fn remember(&mut self, event: qmp::Event) {
        if self.events.len() == MAX_EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    /// Refuses further use of a guest that failed.
    pub(super) fn check(&self) -> Result<()> {
        match &self.failed {
            Some(Earlier::Interrupted) => Err(GuestFailed::early(What::Interrupted)),
            Some(Earlier::Failed { what, hosts }) => Err(GuestFailed::early(What::Gone {
                earlier: what.clone(),
                hosts: *hosts,
            })),
            None => Ok(()),
        }
    }

    /// A connection to the guest or the monitor broke, which is told as `what`, unless QEMU is dying: that shows here
    /// first, and is the better thing to tell.
    pub(super) fn broken(&mut self, what: What) -> GuestFailed {
        match self.process.wait_until(Instant::now() + DYING) {
            Ok(None) => self.fail(what),
            _ => self.unasked_end(),
        }
    }

    /// The console's log takes no more, as on a full disk.
    fn not_logged(&mut self, source: io::Error) -> GuestFailed {
        let path = self.directory.file(CONSOLE_LOG);
        self.fail(What::Log { path, source })
    }

    /// QEMU closed a connection: it ended, or is about to. Its console tells why.
    fn unasked_end(&mut self) -> GuestFailed {
        let ended = self.process.wait_until(Instant::now() + ENDING);
        self.drain_last_words();
        let log = self.console_log();
        if let Some(line) = log
            .lines()
            .find(|line| line.contains("Kernel panic - not syncing"))
        {
            let line = line.trim().to_owned();
            return self.fail(What::Panicked { line });
        }
        match ended {
            Ok(Some(status)) => self.ended_with(status),
            Ok(None) => self.fail(What::Protocol {
                who: "QEMU",
                detail: "it closed its connection and lives on".to_owned(),
            }),
            Err(source) => self.fail(What::Host {
                doing: "wait for QEMU",
                source,
            }),
        }
    }

    fn ended_with(&mut self, status: ExitStatus) -> GuestFailed {
        let reason = self.events.iter().rev().find_map(|event| match event {
            qmp::Event::Shutdown { reason, .. } => Some(reason.clone()),
            _ => None,
        });
        self.fail(What::QemuEnded { status, reason })
    }

    /// The console told of a fault: lets the kernel finish what it has to say.
    fn fatal(&mut self, line: String) -> GuestFailed {
        self.drain_last_words();
        let log = self.console_log();
        match log
            .lines()
            .find(|line| line.contains("Kernel panic - not syncing"))
        {
            // An oops ends in a panic here; the line that was seen first says more.
            Some(_) => self.fail(What::Panicked { line }),
            None => self.fail(What::KernelFault { lines: vec![line] }),
        }
    }

    /// Hears what is still said until all connections are closed, or for a moment.
    fn drain_last_words(&mut self) {
        let until = Instant::now() + LAST_WORDS;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.inbox.next(left) {
                Err(_) => return,
                Ok(Heard::Monitor(Message::Event(event))) => self.remember(event),
                Ok(_) if left.is_zero() => return,
                Ok(_) => {}
            }
        }
    }

    /// Ends the guest and makes the failure, with its evidence.
    pub(super) fn fail(&mut self, what: What) -> GuestFailed {
        let interrupted = matches!(what, What::Interrupted);
        self.failed = Some(match interrupted {
            true => Earlier::Interrupted,
            false => Earlier::Failed {
                what: what.to_string(),
                hosts: what.is_hosts(),
            },
        });
        self.process.kill();
        let kernel_line = match &what {
            What::Panicked { line } => Some(line.clone()),
            What::KernelFault { lines } => lines.first().cloned(),
            What::Interrupted => None,
            What::QemuEnded { .. } => {
                let log = read_lossy(&self.directory.file(QEMU_LOG));
                let errors = without_warnings(&log);
                console::telling_line(&errors)
                    .or_else(|| console::telling_line(&self.console_log()))
            }
            _ => console::telling_line(&self.console_log()),
        };
        let wanted = !self.on_trial && (!interrupted || self.options.evidence.keep);
        let evidence = wanted.then(|| self.keep_evidence().ok()).flatten();
        GuestFailed {
            what: Box::new(what),
            kernel_line,
            evidence,
            bundle: None,
        }
    }
}

/// What ended a guest that is asked again: the same is to blame then, whoever passed over it the first time.
#[derive(Debug)]
pub(super) enum Earlier {
    Interrupted,
    Failed { what: String, hosts: bool },
}

/// A request without its bulk, for messages.
fn brief(request: &Request) -> String {
    let text = format!("{request:?}");
    match text.char_indices().nth(100) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}
