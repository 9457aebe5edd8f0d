// SPDX-License-Identifier: MIT OR Apache-2.0

//! Starting a guest: memory, cards, QEMU, and the threads that listen to it.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use landfall_agent::protocol::{self, Hello};
use landfall_device::serve::CardServer;
use landfall_guest::{Cancel, Prepared};

use super::console;
use super::failure::What;
use super::machine::{CONSOLE_LOG, Inbox, Machine, QEMU_LOG, socket};
use super::options::GuestOptions;
use crate::evidence::RunDirectory;
use crate::memory::GuestMemory;
use crate::qemu::command::Machine as Description;
use crate::qemu::process::Process;
use crate::qemu::qmp::Message;

/// Starts QEMU with everything that it is connected to.
pub(super) fn start(
    options: GuestOptions,
    prepared: &Prepared,
    cancel: Cancel,
) -> std::result::Result<Machine, What> {
    let host = |doing| move |source| What::Host { doing, source };
    if cancel.is_cancelled() {
        return Err(What::Interrupted);
    }
    let directory = RunDirectory::new().map_err(host("make the run's directory"))?;
    let memory = GuestMemory::new(options.memory).map_err(What::Memory)?;
    let mut cards = Vec::new();
    for (index, card) in options.cards.iter().enumerate() {
        let server = CardServer::bind(&socket(&directory, index), card.function())
            .map_err(|source| What::Card { index, source })?;
        cards.push(server);
    }
    let pair = || UnixStream::pair().map_err(host("make a socket pair"));
    let ((monitor, theirs_qmp), (agent, theirs_agent), (console, theirs_console)) =
        (pair()?, pair()?, pair()?);
    let duplicate = std::os::fd::AsFd::as_fd(&memory)
        .try_clone_to_owned()
        .map_err(host("duplicate the memory file"))?;
    let description = Description {
        engine: options.engine,
        memory: options.memory,
        cpus: options.cpus,
        memory_fd: duplicate.as_raw_fd(),
        qmp_fd: theirs_qmp.as_raw_fd(),
        agent_fd: theirs_agent.as_raw_fd(),
        console_fd: theirs_console.as_raw_fd(),
        kernel: prepared.vmlinux.clone(),
        initramfs: prepared.initramfs.clone(),
        append: options.kernel_arguments(),
        cards: (0..cards.len())
            .map(|index| socket(&directory, index))
            .collect(),
        spare_ports: options.spare_ports,
        iommu: options.iommu,
        extra: options.qemu_arguments.clone(),
    };
    let mut qemu = Command::new(&prepared.qemu.program);
    qemu.args(&prepared.qemu.arguments)
        .args(description.arguments());
    fs::write(directory.file("command"), format!("{qemu:?}\n"))
        .map_err(host("write the command line to the run's directory"))?;
    let log = |name: &str| File::create(directory.file(name)).map_err(host("make a log file"));
    let inherited = vec![
        duplicate,
        theirs_qmp.into(),
        theirs_agent.into(),
        theirs_console.into(),
    ];
    let process =
        Process::spawn(qemu, inherited, &log(QEMU_LOG)?).map_err(|source| What::Start {
            program: prepared.qemu.program.clone(),
            source,
        })?;

    let clone = |stream: &UnixStream| stream.try_clone().map_err(host("duplicate a socket"));
    let (sender, inbox) = mpsc::channel();
    read_monitor(clone(&monitor)?, sender.clone());
    read_agent(clone(&agent)?, sender.clone());
    let mut own_console = None;
    if options.shell {
        own_console = Some(console);
    } else {
        watch_console(console, log(CONSOLE_LOG)?, sender);
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
        memory: Arc::new(memory),
        hello: Hello {
            protocol: 0,
            kernel: String::new(),
            uptime_ns: 0,
        },
        boot_time: Duration::ZERO,
        options,
        directory,
        cancel,
        next_id: 1,
        failed: None,
        ended: false,
    })
}

// The threads below end when QEMU's end of their socket closes, which its death sees to.

fn read_monitor(stream: UnixStream, inbox: Sender<Inbox>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { break };
            // What is no message is in no way an answer; the wait for one tells.
            if let Ok(message) = Message::parse(&line)
                && inbox.send(Inbox::Monitor(message)).is_err()
            {
                return;
            }
        }
        let _ = inbox.send(Inbox::MonitorClosed);
    });
}

fn read_agent(stream: UnixStream, inbox: Sender<Inbox>) {
    std::thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        loop {
            let message = match protocol::read_frame(&mut stream) {
                Ok(Some(message)) => Inbox::Agent(message),
                // The port closes with QEMU; the monitor's end tells.
                Ok(None) => return,
                Err(error) => {
                    let _ = inbox.send(Inbox::AgentBroken(error.to_string()));
                    return;
                }
            };
            if inbox.send(message).is_err() {
                return;
            }
        }
    });
}

fn watch_console(stream: UnixStream, log: File, inbox: Sender<Inbox>) {
    std::thread::spawn(move || {
        let found = |line: &str| {
            // A closed inbox means that nobody waits any more.
            let _ = inbox.send(Inbox::Fatal(line.to_owned()));
        };
        // A console that cannot be read or logged is one that is closed.
        let _ = console::watch(stream, log, found);
        let _ = inbox.send(Inbox::ConsoleClosed);
    });
}
