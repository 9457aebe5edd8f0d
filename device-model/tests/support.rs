// SPDX-License-Identifier: MIT OR Apache-2.0

//! A machine that is a client on a socket, a memory file, and an event descriptor.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use landfall_device::contract::Function;
use landfall_device::journal::{Entry, Kind};
use landfall_device::serve::CardServer;
use rustix::fs::{MemfdFlags, SealFlags};
use vfio_user::Client;
use vmm_sys_util::eventfd::EventFd;

/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) struct Machine {
    pub(crate) client: Client,
    pub(crate) server: CardServer,
    pub(crate) memory: File,
    pub(crate) socket: PathBuf,
    _directory: tempfile::TempDir,
}

pub(crate) const CONFIG: u32 = 7;
pub(crate) const RAM: u64 = 32 << 20;
/// Bus address of the memory; above 4 GiB.
pub(crate) const BASE: u64 = 0x1_0000_0000;

/// Plugs a function into a machine with 32 MiB of memory, memory decoding and bus mastering on.
pub(crate) fn plug(function: Box<dyn Function>) -> Machine {
    let directory = tempfile::tempdir().expect("directory");
    let socket = directory.path().join("card.sock");
    let server = CardServer::bind(&socket, function).expect("served");
    let mut client = Client::new(&socket).expect("connected");
    let memory = memory(true);
    client
        .dma_map(0, BASE, RAM, memory.as_raw_fd())
        .expect("mapped");
    client.region_write(CONFIG, 4, &[6, 0]).expect("enabled");
    Machine {
        client,
        server,
        memory,
        socket,
        _directory: directory,
    }
}

/// Memory as QEMU makes it, or, not sealed, that can become shorter.
pub(crate) fn memory(sealed: bool) -> File {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = File::from(rustix::fs::memfd_create("memory", flags).expect("memory"));
    memory.set_len(RAM).expect("size");
    if sealed {
        rustix::fs::fcntl_add_seals(&memory, SealFlags::SHRINK).expect("sealed");
    }
    memory
}

impl Machine {
    pub(crate) fn get(&mut self, offset: u64) -> u32 {
        let mut bytes = [0; 4];
        self.client
            .region_read(0, offset, &mut bytes)
            .expect("read");
        u32::from_le_bytes(bytes)
    }

    pub(crate) fn set(&mut self, offset: u64, value: u32) {
        self.client
            .region_write(0, offset, &value.to_le_bytes())
            .expect("written");
    }

    pub(crate) fn wires(&mut self, index: u32) -> EventFd {
        let event = EventFd::new(libc::EFD_NONBLOCK).expect("event");
        self.client
            .set_irqs(index, 4 | 32, 0, 1, &[event.as_raw_fd()])
            .expect("connected");
        event
    }

    pub(crate) fn bytes(&self, offset: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.memory
            .read_exact_at(&mut bytes, offset)
            .expect("in the file");
        bytes
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.server.journal().entries_from(0)
    }

    /// Waits until the journal has what `wanted` looks for.
    pub(crate) fn wait(&self, wanted: impl Fn(&Kind) -> bool) {
        let began = Instant::now();
        while !self.entries().iter().any(|entry| wanted(&entry.kind)) {
            assert!(
                began.elapsed() < DEADLINE,
                "never came: {:#?}",
                self.entries()
            );
            std::thread::yield_now();
        }
    }
}

/// Waits for an event.
pub(crate) fn signalled(event: &EventFd) -> bool {
    let began = Instant::now();
    while began.elapsed() < DEADLINE {
        if event.read().is_ok() {
            return true;
        }
        std::thread::yield_now();
    }
    false
}
