// SPDX-License-Identifier: MIT OR Apache-2.0

//! Starting a guest: memory, cards, QEMU, and the threads that listen to it.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use landfall_agent::protocol::{Hello, Request};
use landfall_guest::{Cancel, Kernel, Prepared, RunAs};

use super::card::Card;
use super::cpu;
use super::failure::{GuestFailed, Result, What};
use super::gate::Gate;
use super::inbox::Inbox;
use super::logs::{CONSOLE_LOG, QEMU_LOG};
use super::machine::Machine;
use super::options::{GuestOptions, Start};
use super::relay::relay;
use super::sockets::Sockets;
use super::started::Clock;
use super::watch;
use crate::guest::memory::{GuestMemory, Ram};
use crate::guest::qemu::command::{Machine as Description, confined};
use crate::guest::qemu::process::{Process, Rights};
use crate::guest::qemu::tuning::{DEBUG_KERNEL, joined};
use crate::guest::run_directory::RunDirectory;

/// One way to start QEMU.
pub(super) struct Launch<'a> {
    options: &'a GuestOptions,
    prepared: &'a Prepared,
    cancel: &'a Cancel,
    /// For a guest that is restored: its memory. The cards are served, and plugged in later.
    incoming: Option<Arc<GuestMemory>>,
    /// One thread runs all CPUs.
    in_turns: bool,
}

impl<'a> Launch<'a> {
    /// A guest that boots.
    pub(super) fn cold(
        options: &'a GuestOptions,
        prepared: &'a Prepared,
        cancel: &'a Cancel,
    ) -> Self {
        Self {
            options,
            prepared,
            cancel,
            incoming: None,
            in_turns: true,
        }
    }

    /// A guest whose state comes from a snapshot, into this memory.
    pub(super) fn incoming(
        options: &'a GuestOptions,
        prepared: &'a Prepared,
        cancel: &'a Cancel,
        memory: Arc<GuestMemory>,
        in_turns: bool,
    ) -> Self {
        Self {
            incoming: Some(memory),
            in_turns,
            ..Self::cold(options, prepared, cancel)
        }
    }

    /// Starts QEMU and waits for the agent's first word.
    pub(super) fn boot(&self, clock: &mut Clock) -> Result<Machine> {
        let mut machine = self.start()?;
        clock.lap("start QEMU");
        machine.wait_for_hello()?;
        if machine.reports {
            machine.have_all_reported()?;
        }
        clock.lap("boot");
        Ok(machine)
    }

    /// Starts QEMU and waits until its monitor takes commands.
    pub(super) fn start(&self) -> Result<Machine> {
        let mut machine = self.spawn().map_err(GuestFailed::early)?;
        machine.greet_monitor()?;
        Ok(machine)
    }

    /// Memory of a guest that boots, with the canary wherever it is watched.
    fn fresh_memory(&self) -> std::result::Result<GuestMemory, What> {
        let memory = GuestMemory::new(self.options.ram()).map_err(What::Memory)?;
        let all = memory.ram().iter().map(Ram::range);
        let ranges: Vec<_> = match self.options.watch_from_boot {
            true => all.collect(),
            false => self.options.watched(),
        };
        for range in ranges {
            watch::fill(&memory, &range).map_err(|error| What::Host {
                doing: "fill the memory that is watched",
                source: error.source,
            })?;
        }
        Ok(memory)
    }

    /// Starts QEMU with everything that it is connected to.
    fn spawn(&self) -> std::result::Result<Machine, What> {
        let host = |doing| move |source| What::Host { doing, source };
        let (options, prepared) = (self.options, self.prepared);
        if self.cancel.is_cancelled() {
            return Err(What::Interrupted);
        }
        let directory = RunDirectory::new().map_err(host("make the run's directory"))?;
        let memory = match &self.incoming {
            Some(memory) => Arc::clone(memory),
            None => Arc::new(self.fresh_memory()?),
        };
        let run_as = run_as(options);
        let user = match run_as {
            RunAs::Nobody(user) => Some(user),
            RunAs::Self_ | RunAs::Root(_) => None,
        };
        let (sockets, sockets_open) = Sockets::new(&directory, user)
            .map_err(host("make the directory of the cards' sockets"))?;
        let mut cards = Vec::new();
        for (index, card) in options.cards.iter().enumerate() {
            let server = card.serve(&sockets.path(index), index, options.card_options(index))?;
            cards.push(server);
        }
        let pair = || UnixStream::pair().map_err(host("make a socket pair"));
        let ((monitor, theirs_qmp), (agent, theirs_agent), (console, theirs_console)) =
            (pair()?, pair()?, pair()?);
        let duplicate = std::os::fd::AsFd::as_fd(&*memory)
            .try_clone_to_owned()
            .map_err(host("duplicate the memory file"))?;
        let served = (0..cards.len()).map(|index| sockets.for_qemu(index));
        let (plugged, empty) = match &self.incoming {
            Some(_) => (Vec::new(), cards.len() + options.spare_ports),
            None => {
                let served: std::io::Result<_> = served.collect();
                let served = served.map_err(host("give QEMU the cards' sockets"))?;
                (served, options.spare_ports)
            }
        };
        let mut watches = (None, Vec::new(), Vec::new());
        // One that is restored to make another snapshot of is nobody's guest yet.
        let listens = options.watch_cpu || options.explored;
        if listens && self.incoming.is_some() && !self.in_turns {
            let made = cpu::Shared::new(options, &memory);
            let (shared, arguments, theirs) =
                made.map_err(host("make the file that the CPU's accesses are told in"))?;
            watches = (Some(shared), Vec::from(arguments), Vec::from(theirs));
        }
        if let ((Some(shared), arguments, theirs), Some(card), true) =
            (&mut watches, cards.first_mut(), options.explored)
        {
            let gate = Gate::new().map_err(host("make the sockets of the gate"))?;
            gate.tell(&shared.file)
                .map_err(host("tell the plugin of the gate"))?;
            arguments.extend(gate.arguments());
            theirs.extend(gate.open(card)?);
        }
        let (watches_cpu, plugin, plugins) = watches;
        let description = Description {
            memory_fd: duplicate.as_raw_fd(),
            qmp_fd: theirs_qmp.as_raw_fd(),
            agent_fd: theirs_agent.as_raw_fd(),
            console_fd: theirs_console.as_raw_fd(),
            cards: plugged,
            spare_ports: empty,
            incoming: self.incoming.is_some(),
            in_turns: self.in_turns,
            ..describe(options, prepared)
        };
        let mut qemu = Command::new(&prepared.qemu.program);
        qemu.args(&prepared.qemu.arguments)
            .args(confined(prepared.qemu.sandbox, user))
            .args(description.arguments())
            .args(plugin);
        fs::write(directory.file("command"), format!("{qemu:?}\n"))
            .map_err(host("write the command line to the run's directory"))?;
        let log = |name: &str| File::create(directory.file(name)).map_err(host("make a log file"));
        let mut inherited = vec![
            duplicate,
            theirs_qmp.into(),
            theirs_agent.into(),
            theirs_console.into(),
        ];
        inherited.extend(sockets_open);
        inherited.extend(plugins);
        let rights = match user {
            Some(_) => Rights::GivenUp,
            None => Rights::NoMore,
        };
        let process = Process::spawn(qemu, inherited, &log(QEMU_LOG)?, rights);
        let process = process.map_err(|source| What::Start {
            program: prepared.qemu.program.clone(),
            source,
        })?;

        let clone = |stream: &UnixStream| stream.try_clone().map_err(host("duplicate a socket"));
        let mut inbox = Inbox::default();
        inbox.monitor(clone(&monitor)?);
        inbox.agent(clone(&agent)?, options.deadlines.request);
        let mut own_console = None;
        if options.shell {
            own_console = Some(relay(console).map_err(host("read the console"))?);
        } else {
            inbox.console(console, log(CONSOLE_LOG)?);
        }
        for stream in [&agent, &monitor] {
            stream
                .set_write_timeout(Some(options.deadlines.monitor))
                .map_err(host("set a socket's time limit"))?;
        }
        Ok(Machine {
            process,
            agent,
            monitor,
            console: own_console,
            inbox,
            events: VecDeque::new(),
            cards,
            memory,
            hello: Hello {
                protocol: 0,
                kernel: String::new(),
                uptime_ns: 0,
            },
            started: Clock::start().finish(None),
            options: options.clone(),
            directory,
            sockets,
            cancel: self.cancel.clone(),
            next_id: 1,
            failed: None,
            on_trial: false,
            reports: prepared.kernel == Kernel::Debug,
            place: None,
            modules: prepared.module_files(),
            watched: None,
            stock: None,
            cpu: watches_cpu,
        })
    }
}

impl Machine {
    /// dma-debug reports one fault and then keeps quiet, unless it is told otherwise.
    fn have_all_reported(&mut self) -> Result<()> {
        let request = Request::WriteFile {
            path: "/sys/kernel/debug/dma-api/all_errors".to_owned(),
            offset: 0,
            data: b"1".to_vec(),
        };
        self.request(request, Duration::ZERO).map(drop)
    }
}

/// As whom the guest's QEMU runs.
fn run_as(options: &GuestOptions) -> RunAs {
    match RunAs::of_this_process() {
        RunAs::Nobody(_) if options.cards.iter().any(Card::is_direct) => {
            let why = "it reaches a card of another program's, which is not judged";
            RunAs::Root(why.to_owned())
        }
        run_as => run_as,
    }
}

/// Checks what only the whole machine shows.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn check(
    options: &GuestOptions,
    prepared: &Prepared,
) -> std::result::Result<(), String> {
    let without_cards = GuestOptions {
        cards: Vec::new(),
        ..options.clone()
    };
    let length = describe(&without_cards, prepared)
        .kernel_command_line()
        .len();
    let most = prepared.architecture.most_words;
    match length > most {
        true => Err(format!(
            "the kernel's command line would have {length} bytes, and it takes {most}; a part of it is from --append"
        )),
        false => Ok(()),
    }
}

/// The machine that a guest's options describe, without cards and connections.
pub(super) fn describe(options: &GuestOptions, prepared: &Prepared) -> Description {
    let stock = options.start == Start::Stock;
    let kernel = match &prepared.bzimage {
        Some(image) if stock => image,
        _ => &prepared.vmlinux,
    };
    Description {
        board: options.board,
        engine: options.engine,
        memory: options.memory,
        low_memory: options.low_memory,
        cpus: options.cpus,
        memory_fd: 0,
        qmp_fd: 0,
        agent_fd: 0,
        console_fd: 0,
        kernel: kernel.clone(),
        initramfs: prepared.initramfs.clone(),
        append: match prepared.kernel {
            Kernel::Stock => options.kernel_arguments(),
            Kernel::Debug => {
                let own = options.kernel_arguments();
                format!("{} {own}", joined(DEBUG_KERNEL, " "))
            }
        },
        cards: Vec::new(),
        spare_ports: options.spare_ports,
        iommu: options.iommu,
        stock,
        incoming: false,
        in_turns: true,
        // One that cannot be made is told where it is to be served.
        rooms: (options.cards.iter())
            .map(|card| card.room().unwrap_or_default())
            .collect(),
        extra: options.qemu_arguments.clone(),
    }
}
