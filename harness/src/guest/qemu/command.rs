// SPDX-License-Identifier: MIT OR Apache-2.0

//! The command line of QEMU.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use super::tuning;
use crate::guest::Iommu;
use crate::guest::board::Board;

/// What executes the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// The host's CPU.
    Kvm,
    /// QEMU's translator; works everywhere.
    Tcg,
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Kvm => "KVM",
            Self::Tcg => "TCG",
        })
    }
}

/// A machine to be described on the command line. Descriptors are numbers in QEMU's process.
#[derive(Clone, Debug)]
pub struct Machine {
    /// What it is.
    pub board: &'static Board,
    /// Executes the guest.
    pub engine: Engine,
    /// Bytes of guest memory.
    pub memory: u64,
    /// Most of it that lies below 4 GiB; `None`: as the machine has it.
    pub low_memory: Option<u64>,
    /// Virtual CPUs.
    pub cpus: u32,
    /// The memory file.
    pub memory_fd: RawFd,
    /// A connected socket for the monitor.
    pub qmp_fd: RawFd,
    /// A connected socket for the agent's port.
    pub agent_fd: RawFd,
    /// A connected socket for the serial console.
    pub console_fd: RawFd,
    /// The kernel, in a form that the board starts.
    pub kernel: PathBuf,
    /// Initial file system.
    pub initramfs: PathBuf,
    /// Appended to Landfall's own kernel command line.
    pub append: String,
    /// Sockets of cards to plug in at start, in order; card n is at root port n.
    pub cards: Vec<PathBuf>,
    /// Root ports left empty behind the cards'.
    pub spare_ports: usize,
    /// An IOMMU in front of the cards. The guest uses it strictly at first, unless the board can have it lazily at once.
    pub iommu: Iommu,
    /// Leaves out the options of [`tuning`] that only save time.
    pub stock: bool,
    /// Starts without memory or state, to be restored from a snapshot.
    pub incoming: bool,
    /// Under TCG one thread runs all virtual CPUs, in turns.
    pub in_turns: bool,
    /// What the firmware is to leave free behind each root port, from the first on; none: its default, a mebibyte or two.
    pub rooms: Vec<Room>,
    /// Appended to the command line.
    pub extra: Vec<OsString>,
}

/// Address space behind a root port, for a card that is plugged in later. Bytes; 0: the firmware's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Below 4 GiB, not prefetchable.
    pub memory: u64,
    /// Anywhere, prefetchable.
    pub prefetchable: u64,
}

impl Room {
    /// As options of the root port.
    fn options(self) -> String {
        let option = |name: &str, bytes: u64| match bytes {
            0 => String::new(),
            bytes => format!(",{name}={bytes}"),
        };
        option("mem-reserve", self.memory) + &option("pref64-reserve", self.prefetchable)
    }
}

/// What keeps QEMU from what it has no need of, so that a guest that breaks out of it has little: system calls that
/// start processes, get rights, or are obsolete, if it can do without them (`sandbox`); and being root, as whom it has
/// opened everything, if it is to become user and group `user`. That takes the calls that change the user, which
/// nobody but root has any use of.
pub fn confined(sandbox: bool, user: Option<u32>) -> Vec<OsString> {
    let mut out = Arguments::default();
    let calls = "on,obsolete=deny,spawn=deny,resourcecontrol=deny";
    match user {
        _ if !sandbox => {}
        None => drop(out.pair("-sandbox", format!("{calls},elevateprivileges=deny"))),
        Some(_) => drop(out.pair("-sandbox", calls)),
    }
    if let Some(user) = user {
        out.pair("-run-with", format!("user={user}:{user}"));
    }
    out.0
}

/// Name of the root port that card `index` sits in.
pub fn port(index: usize) -> String {
    format!("port{index}")
}

/// Name of card `index` as a QEMU device.
pub fn card(index: usize) -> String {
    format!("card{index}")
}

/// What `-device` or `device_add` take to plug card `index` in.
pub fn card_device(index: usize, socket: &Path) -> serde_json::Value {
    serde_json::json!({
        "driver": "vfio-user-pci",
        "id": card(index),
        "bus": port(index),
        "socket": { "type": "unix", "path": socket },
    })
}

impl Machine {
    /// The kernel's command line.
    pub fn kernel_command_line(&self) -> String {
        let board = self.board;
        let mut words = vec![
            format!("console={}", board.console),
            tuning::joined(board.needed, " "),
        ];
        if !self.stock {
            words.push(tuning::joined(tuning::KERNEL, " "));
            words.push(tuning::joined(board.saving.kernel, " "));
        }
        let lazily = board.iommu.lazily.filter(|_| self.iommu == Iommu::Lazy);
        if self.iommu.is_there() {
            words.push(lazily.unwrap_or(board.iommu.kernel).to_owned());
        }
        words.push(self.append.clone());
        words.retain(|words| !words.is_empty());
        words.join(" ")
    }

    /// How TCG runs the virtual CPUs.
    ///
    /// A booting kernel patches its own code while its other CPUs run it (jump labels, static calls). With a thread
    /// for each CPU, QEMU can keep the translation of a breakpoint that the kernel has taken out again meanwhile: now
    /// and then a guest dies of `Oops: int3`. So one thread runs all CPUs of a guest that
    /// boots, or of which a snapshot is made; a restored one has all that behind it, and each CPU gets a thread of its own.
    fn translator(&self) -> &'static str {
        match self.in_turns {
            true => "tcg,thread=single",
            false => "tcg,thread=multi",
        }
    }

    /// QEMU's arguments.
    pub fn arguments(&self) -> Vec<OsString> {
        let mut out = Arguments::default();
        let board = self.board;
        let mut machine = vec![board.machine.to_owned()];
        machine.push(tuning::joined(tuning::NEEDED_OF_MACHINE, ","));
        if !self.stock {
            let saving = board.saving.machine.iter();
            machine.extend(saving.map(|row| row.option.to_owned()));
        }
        if self.iommu.is_there() {
            machine.extend(board.iommu.machine.iter().map(|word| (*word).to_owned()));
        }
        if let Some(low) = self.low_memory {
            machine.push(format!("max-ram-below-4g={low}B"));
        }
        out.pair("-machine", machine.join(","));
        match self.engine {
            Engine::Kvm => out.pair("-accel", "kvm").pair("-cpu", "host"),
            Engine::Tcg => {
                let mut cpu = vec![if self.stock {
                    board.cpus.1
                } else {
                    board.cpus.0
                }];
                if !self.stock {
                    cpu.extend(board.saving.cpu.iter().map(|row| row.option));
                }
                out.pair("-accel", self.translator())
                    .pair("-cpu", cpu.join(","))
            }
        };
        out.pair("-smp", self.cpus.to_string());
        out.pair("-m", format!("{}B", self.memory));
        out.pair(
            "-object",
            format!(
                "memory-backend-file,id=m,size={},share=on,mem-path=/proc/self/fd/{}",
                self.memory, self.memory_fd
            ),
        );
        for needed in tuning::NEEDED.iter().chain(board.options) {
            out.0.extend(needed.option.split(' ').map(OsString::from));
        }
        out.pair("-chardev", format!("socket,id=qmp,fd={}", self.qmp_fd));
        out.pair("-qmp", "chardev:qmp");
        out.pair(
            "-chardev",
            format!("socket,id=console,fd={}", self.console_fd),
        );
        out.pair("-serial", "chardev:console");
        out.pair("-chardev", format!("socket,id=agent,fd={}", self.agent_fd));
        if self.iommu.is_there() {
            out.pair("-device", board.iommu.device);
        }
        out.pair("-device", "virtio-serial-pci,max_ports=2");
        let name = landfall_agent::protocol::PORT_NAME;
        out.pair(
            "-device",
            format!("virtserialport,chardev=agent,name={name}"),
        );
        out.pair("-kernel", &self.kernel)
            .pair("-initrd", &self.initramfs);
        out.pair("-append", self.kernel_command_line());
        for index in 0..self.cards.len() + self.spare_ports {
            let number = index + 1;
            out.pair(
                "-device",
                format!(
                    "pcie-root-port,id={},chassis={number},slot={number}{}",
                    port(index),
                    self.rooms.get(index).copied().unwrap_or_default().options()
                ),
            );
        }
        for (index, socket) in self.cards.iter().enumerate() {
            out.pair("-device", card_device(index, socket).to_string());
        }
        if self.incoming {
            out.pair("-incoming", "defer");
        }
        out.0.extend(self.extra.iter().cloned());
        out.0
    }
}

/// Collects arguments.
#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn pair(&mut self, name: &str, value: impl Into<OsString>) -> &mut Self {
        self.0.push(name.into());
        self.0.push(value.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            board: Default::default(),
            engine: Engine::Tcg,
            memory: 256 << 20,
            low_memory: None,
            cpus: 2,
            memory_fd: 3,
            qmp_fd: 4,
            agent_fd: 5,
            console_fd: 6,
            kernel: "vmlinux".into(),
            initramfs: "initramfs".into(),
            append: "reserve_mem=48M:4096:landfall".to_owned(),
            cards: vec!["/tmp/x/card0".into(), "/tmp/x/card1".into()],
            spare_ports: 1,
            iommu: Iommu::None,
            stock: false,
            incoming: false,
            in_turns: true,
            rooms: Vec::new(),
            extra: vec!["-S".into()],
        }
    }

    #[test]
    fn memory_is_shared_and_comes_from_the_inherited_file() {
        let line = machine().arguments().join(" ".as_ref());
        let line = line.to_string_lossy();

        assert!(line.contains("share=on,mem-path=/proc/self/fd/3"), "{line}");
        assert!(line.contains("memory-backend=m"), "{line}");
    }

    #[test]
    fn one_thread_boots_all_cpus_and_each_restored_one_has_its_own() {
        let restored = Machine {
            incoming: true,
            in_turns: false,
            ..machine()
        };

        for (machine, thread) in [(machine(), "thread=single"), (restored, "thread=multi")] {
            let line = machine.arguments().join(" ".as_ref());
            let line = line.to_string_lossy();
            assert!(line.contains(thread), "{line}");
        }
    }

    #[test]
    fn each_card_has_its_own_port_and_a_spare_one_stays_empty() {
        let line = machine().arguments().join(" ".as_ref());
        let line = line.to_string_lossy();

        assert_eq!(line.matches("pcie-root-port,id=").count(), 3);
        assert!(
            line.contains(r#""id":"card1""#) && line.contains(r#""bus":"port1""#),
            "{line}"
        );
        assert!(!line.contains(r#""bus":"port2""#), "{line}");
    }

    #[test]
    fn a_stock_boot_has_none_of_the_options_that_save_time() {
        let stock = Machine {
            stock: true,
            ..machine()
        };
        let line = stock.arguments().join(" ".as_ref());
        let line = line.to_string_lossy();

        let saving = &stock.board.saving;
        for row in [saving.machine, saving.cpu, saving.kernel, tuning::KERNEL].concat() {
            assert!(!line.contains(row.option), "{} is there", row.option);
        }
        assert_eq!(
            stock.kernel_command_line(),
            "console=ttyS0 reserve_mem=48M:4096:landfall"
        );
        for row in tuning::NEEDED.iter().chain(stock.board.options) {
            assert!(line.contains(row.option), "{} is not there", row.option);
        }
    }

    #[test]
    fn the_callers_own_options_come_last() {
        let machine = machine();

        assert!(
            machine
                .kernel_command_line()
                .ends_with("reserve_mem=48M:4096:landfall")
        );
        assert_eq!(
            machine.arguments().last().map(OsString::as_os_str),
            Some("-S".as_ref())
        );
    }
}
