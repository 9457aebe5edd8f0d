// SPDX-License-Identifier: MIT OR Apache-2.0

//! A guest, by the stages of its life: [`Configured`], [`Booted`], [`Loaded`].
//!
//! ```no_run
//! # fn example(prepared: &landfall_guest::Prepared) -> landfall::guest::Result<()> {
//! use landfall::Cancel;
//! use landfall::guest::{Guest, GuestOptions};
//!
//! let guest = Guest::configure(GuestOptions::default()).boot(prepared, &Cancel::default())?;
//! guest.load_module("snd", "")?;
//! assert!(guest.read_text("/proc/modules")?.contains("snd"));
//! guest.power_off()
//! # }
//! ```
//!
//! Every method has a deadline, and fails at once if the kernel panics, QEMU ends or the run is cancelled.
//! A guest that failed is dead, and its logs are in [`GuestFailed::evidence`]; only a request that the guest
//! itself refused ([`What::Refused`]) leaves it alive. Dropping a guest, at any stage, ends all of it.

pub mod accelerator;
pub(crate) mod board;
mod bring;
mod budget;
mod card;
mod console;
pub mod console_findings;
pub mod cpu;
mod driver;
mod failure;
mod gate;
mod inbox;
mod link;
mod loading;
mod logs;
mod machine;
pub mod memory;
mod monitor;
mod options;
mod pool;
pub mod qemu;
mod region;
mod relay;
mod requests;
pub mod run_directory;
mod server;
mod snapshot;
mod sockets;
mod sources;
mod start;
mod started;
mod watch;

use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::Range;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use board::Board;
pub use bring::NotBrought;
pub use card::Card;
pub use driver::{Driver, DriverSource};
pub use failure::{GuestFailed, Result, What};
pub use landfall_agent::protocol::{Direction, GuestError, RegisterWrite, Timed};
use landfall_agent::protocol::{Reply, Request};
use landfall_device::dma::map::Mapping;
use landfall_device::journal::{Journal, Missing};
use landfall_device::serve::CardServer;
pub use landfall_guest::Choice;
use landfall_guest::{Cancel, ModuleFiles, Prepared};
pub use options::{
    Accelerator, Deadlines, EvidenceOptions, GuestOptions, Iommu, Module, Start, Transport,
};
pub use pool::{
    DmaBuf, GivenBack, Grown, Holder, HugePage, Measured, Pool, PoolBuffer, PoolMapping,
    PoolWanted, Taken, held_word,
};
pub use region::{Clusters, Free, Hole, Region, Used, Zone};
pub use requests::Ran;
pub use server::{NotMade, SOCKET, Server};
pub use sources::{Carveout, PoolOptions, PoolSource};
pub use sources::{FIRMWARE, MEM_UNIT};
pub use started::{How, Started};
pub use watch::Touched;

use crate::guest::memory::{GuestMemory, ReadError};
use crate::guest::qemu::qmp;
pub use logs::logs_in;
use machine::Machine;

/// Stage: options are chosen, nothing runs.
#[derive(Debug)]
pub struct Configured(Box<GuestOptions>);
/// Stage: the kernel is up and the agent answers.
#[derive(Debug)]
pub struct Booted(());
/// Stage: pool and drivers are loaded.
#[derive(Debug)]
pub struct Loaded(());

/// A stage in which the guest runs.
pub trait Running: sealed::Sealed {}
impl Running for Booted {}
impl Running for Loaded {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Booted {}
    impl Sealed for super::Loaded {}
}

/// A guest in one stage of its life.
#[derive(Debug)]
pub struct Guest<Stage> {
    machine: Option<RefCell<Machine>>,
    configured: Option<Configured>,
    stage: PhantomData<fn() -> Stage>,
}

impl Guest<Configured> {
    /// Chooses what the guest is to be.
    pub fn configure(options: GuestOptions) -> Self {
        Self {
            machine: None,
            configured: Some(Configured(Box::new(options))),
            stage: PhantomData,
        }
    }

    /// Brings it to life: from a snapshot, or by booting, as [`GuestOptions::start`] says. The kernel runs, the agent
    /// answers, and the cards are on the bus. `cancel` ends the guest at any later time, too.
    ///
    /// # Errors
    /// If it cannot be started, or the agent does not answer in time.
    pub fn boot(self, prepared: &Prepared, cancel: &Cancel) -> Result<Guest<Booted>> {
        let options = self.into_options(prepared);
        let preload = options.preload.clone();
        let machine = Machine::start(options, &preload, false, prepared, cancel)?;
        let cold = matches!(machine.started.how, How::Cold { .. });
        let guest = Guest::running(machine);
        if cold {
            guest.machine().load_modules(&preload)?;
        }
        Ok(guest)
    }

    /// Likewise, with pool and drivers loaded as the options ask for, and every card bound that has a device file then. From a
    /// snapshot this is faster than [`Guest::boot`] and [`Guest::load`]: there the modules are loaded already.
    ///
    /// # Errors
    /// As those two.
    pub fn boot_loaded(self, prepared: &Prepared, cancel: &Cancel) -> Result<Guest<Loaded>> {
        let options = self.into_options(prepared);
        let modules = options.modules();
        let machine = Machine::start(options, &modules, true, prepared, cancel)?;
        match &machine.started.how {
            How::Restored { .. } => Ok(Guest::running(machine)),
            How::Cold { .. } => Guest::running(machine).load(),
        }
    }

    /// Whether [`Guest::boot_loaded`] would have to make a snapshot first, which takes as long as a boot.
    pub fn needs_snapshot(&self, prepared: &Prepared) -> bool {
        let options = GuestOptions {
            board: Board::of_set_up(prepared),
            ..self.options().clone()
        };
        let recipe = snapshot::Recipe::new(&options, &options.modules(), prepared);
        recipe.is_ok_and(|recipe| !recipe.is_there(prepared))
    }

    fn options(&self) -> &GuestOptions {
        match &self.configured {
            Some(Configured(options)) => options,
            None => unreachable!("this stage is made only with options"),
        }
    }

    fn into_options(self, prepared: &Prepared) -> GuestOptions {
        match self.configured {
            Some(Configured(options)) => GuestOptions {
                board: Board::of_set_up(prepared),
                ..*options
            },
            None => unreachable!("this stage is made only with options"),
        }
    }
}

impl<Stage: Running> Guest<Stage> {
    fn running(machine: Machine) -> Self {
        Self {
            machine: Some(RefCell::new(machine)),
            configured: None,
            stage: PhantomData,
        }
    }
}

impl Guest<Booted> {
    /// Loads pool and drivers as the options ask for, and waits until every card has the device file that it has when
    /// it is bound.
    ///
    /// # Errors
    /// If a module does not load, or a card is not bound; the driver's self-test fails so.
    pub fn load(self) -> Result<Guest<Loaded>> {
        {
            let mut machine = self.machine();
            let modules = machine.options.modules();
            machine.load_modules(&modules)?;
            machine.wait_for_nodes()?;
        }
        Ok(self.loaded_by_hand())
    }

    /// The next stage, for a guest into which pool and drivers were loaded one by one, with
    /// [`Guest::load_module`]. A card that the driver refused has no device file; those behind it have lower numbers
    /// then than their places on the bus.
    pub fn loaded_by_hand(self) -> Guest<Loaded> {
        Guest {
            machine: self.machine,
            configured: None,
            stage: PhantomData,
        }
    }
}

/// The pool's module.
pub const POOL_MODULE: &str = "landfall_pool";
/// Where the pool lists its regions.
const REGIONS: &str = "/sys/kernel/debug/landfall_pool/regions";
/// The module that fragments memory.
pub const FRAGMENT_MODULE: &str = "landfall_fragment";
/// Whatever is written there: it goes through all memory once more, and takes what became free meanwhile.
pub const FRAGMENT_AGAIN: &str = "/sys/kernel/debug/landfall_fragment/again";
/// The module that tells what drivers lend.
pub const WITNESS_MODULE: &str = "landfall_witness";

/// Most bytes of a file in one reply.
#[expect(clippy::cast_possible_truncation, reason = "the constant is 2 MiB")]
const MAX_DATA: u32 = landfall_agent::protocol::MAX_DATA as u32;
/// Where the pool tells of itself.
const POOL_FILES: &str = "/sys/kernel/debug/landfall_pool";

/// What the pool tells of itself; it must be loaded.
impl<Stage: Running> Guest<Stage> {
    /// The pool's regions, as it states them.
    ///
    /// # Errors
    /// If the guest does, with `ENOENT` if the pool is not loaded, or what it states makes no sense.
    pub fn regions(&self) -> Result<Vec<Region>> {
        self.pool_file("regions", region::regions)
    }

    /// What the pool has given out, ascending.
    ///
    /// # Errors
    /// As [`Guest::regions`].
    pub fn used(&self) -> Result<Vec<Used>> {
        self.pool_file("used", region::used)
    }

    /// What the pool has not given out, by zone, in each ascending.
    ///
    /// # Errors
    /// As [`Guest::regions`].
    pub fn free(&self) -> Result<Vec<Free>> {
        self.pool_file("free", region::free)
    }

    /// What lies in the regions' spans and is not the pool's, ascending.
    ///
    /// # Errors
    /// As [`Guest::regions`].
    pub fn holes(&self) -> Result<Vec<Hole>> {
        self.pool_file("holes", region::holes)
    }

    /// What the pool counts, by name.
    ///
    /// # Errors
    /// As [`Guest::regions`].
    pub fn pool_counters(&self) -> Result<BTreeMap<String, u64>> {
        self.pool_file("counters", region::counters)
    }

    /// The last search of the source `cluster`; `None` if there was none.
    ///
    /// # Errors
    /// As [`Guest::regions`].
    pub fn clusters(&self) -> Result<Option<Clusters>> {
        self.pool_file("clusters", region::clusters)
    }

    /// All that the pool tells of itself, as one JSON object.
    ///
    /// # Errors
    /// As [`Guest::regions`].
    pub fn pool_json(&self) -> Result<serde_json::Value> {
        self.pool_file("json", |text| {
            serde_json::from_str(text).map_err(|error| format!("it says no JSON: {error}"))
        })
    }

    fn pool_file<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> std::result::Result<T, String>,
    ) -> Result<T> {
        let mut text = Vec::new();
        loop {
            // A scattered region has more holes than one reply holds.
            let path = format!("{POOL_FILES}/{name}");
            let more = self.read_file_at(&path, text.len() as u64, MAX_DATA)?;
            let last = more.len() < MAX_DATA as usize;
            text.extend(more);
            if last {
                break;
            }
        }
        parse(&String::from_utf8_lossy(&text)).map_err(protocol_error)
    }
}

fn protocol_error(detail: String) -> GuestFailed {
    GuestFailed::early(What::Protocol {
        who: "the pool",
        detail,
    })
}

impl<Stage: Running> Guest<Stage> {
    /// Guest memory, as the host sees it.
    pub fn memory(&self) -> Arc<GuestMemory> {
        Arc::clone(&self.machine().memory)
    }

    /// Reads guest physical memory, as the host sees it.
    ///
    /// # Errors
    /// If some of it is not RAM.
    pub fn read_phys(&self, range: Range<u64>) -> std::result::Result<Vec<u8>, ReadError> {
        self.machine().memory.read_range(range)
    }

    /// How many cards it has.
    pub fn cards(&self) -> usize {
        self.machine().cards.len()
    }

    /// A card's journal; it outlives guest and card. `None` if there is no such card.
    pub fn journal(&self, card: usize) -> Option<Journal> {
        self.machine().cards.get(card).map(CardServer::journal)
    }

    /// What a card's model lacks, as far as the driver asked for it so far: registers that it touched in vain, and what it
    /// waited for. `None` if there is no such card.
    pub fn missing(&self, card: usize) -> Option<Missing> {
        self.machine().cards.get(card).map(CardServer::missing)
    }

    /// Waits until the piece of work that a card has in hand is over, so that its journal ends with no half of
    /// it; and with what the guest's CPUs did so far, if that is told.
    pub fn sync_card(&self, card: usize) {
        let mut machine = self.machine();
        if let Some(card) = machine.cards.get(card) {
            card.sync();
        }
        // What cannot be read any more was told as far as it was.
        let _ = machine.drain_cpu(true);
    }

    /// The mappings that a card has now; empty if there is no such card.
    pub fn mappings(&self, card: usize) -> Vec<Mapping> {
        self.machine()
            .cards
            .get(card)
            .map(CardServer::mappings)
            .unwrap_or_default()
    }

    /// Ends a card's server as if it had died. QEMU and guest live on; the card reads as all ones.
    pub fn kill_card(&self, card: usize) {
        if let Some(card) = self.machine().cards.get(card) {
            card.sever();
        }
    }

    /// Plugs a card into the next empty root port and returns its index.
    ///
    /// # Errors
    /// If it cannot be served or QEMU refuses, as when there is no spare port.
    pub fn plug(&self, card: Card) -> Result<usize> {
        self.machine().add_card(card)
    }

    /// Unplugs a card and waits until the guest let it go. Never one with MSI-X: that would abort QEMU.
    ///
    /// # Errors
    /// If it has MSI-X, QEMU refuses, or the guest does not let it go.
    pub fn unplug(&self, index: usize) -> Result<()> {
        let mut machine = self.machine();
        let with_msix = |card: &Card| card.identity().is_ok_and(|card| card.msix.is_some());
        if machine.options.cards.get(index).is_some_and(with_msix) {
            let why = "a card with MSI-X cannot be unplugged: QEMU would abort";
            return Err(GuestFailed::early(What::Options(why.to_owned())));
        }
        machine.monitor(&qmp::Command::UnplugCard { index })?;
        let name = crate::guest::qemu::command::card(index);
        let limit = machine.options.deadlines.request;
        let gone = |event: &qmp::Event| matches!(event, qmp::Event::DeviceDeleted { device: Some(device) } if *device == name);
        machine.event("the card's removal", limit, gone).map(|_| ())
    }

    /// Does a command of QEMU's monitor.
    ///
    /// # Errors
    /// If QEMU refuses.
    pub fn monitor(&self, command: &qmp::Command) -> Result<serde_json::Value> {
        self.machine().monitor(command)
    }

    /// Waits for an event of QEMU's monitor, those that came before included.
    ///
    /// # Errors
    /// If it does not come within `limit`.
    pub fn wait_for_event(
        &self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&qmp::Event) -> bool,
    ) -> Result<qmp::Event> {
        self.machine().event(what, limit, wanted)
    }

    /// What the guest and QEMU have said so far, by the name of the log.
    pub fn logs(&self) -> Vec<(&'static str, String)> {
        self.machine().logs()
    }

    /// What the console has shown so far.
    pub fn console_log(&self) -> String {
        self.machine().console_log()
    }

    /// Hands over the interactive console, once, if [`GuestOptions::shell`] is set.
    pub fn take_console(&self) -> Option<UnixStream> {
        self.machine().take_console()
    }

    /// Kernel release, as the guest states it.
    pub fn kernel_release(&self) -> String {
        self.machine().hello.kernel.clone()
    }

    /// The files of the modules that it loads.
    pub fn module_files(&self) -> ModuleFiles {
        self.machine().modules.clone()
    }

    /// How it came to life, and what took how long.
    pub fn started(&self) -> Started {
        self.machine().started.clone()
    }

    /// Starts the interactive shell on the console, which [`GuestOptions::shell`] asks for.
    ///
    /// # Errors
    /// If the guest refuses.
    pub fn start_shell(&self) -> Result<()> {
        self.ask(Request::StartShell).map(drop)
    }

    /// Bytes that were watched from before QEMU started until the pool was loaded, and that nobody wrote to; `None` if
    /// nothing was to be watched. What was written to fails the start, with [`What::Touched`].
    pub fn watched(&self) -> Option<u64> {
        self.machine().watched
    }

    /// The options it was booted with; cards plugged in later are in them.
    pub fn options(&self) -> GuestOptions {
        self.machine().options.clone()
    }

    /// Whether that shell ends within `limit`.
    ///
    /// # Errors
    /// If the guest fails meanwhile, as by a panic, or is powered off.
    pub fn shell_ends(&self, limit: Duration) -> Result<bool> {
        self.machine().shell_ends(limit)
    }

    /// QEMU's process number.
    pub fn qemu_id(&self) -> u32 {
        self.machine().qemu_id()
    }

    /// Copies logs and journals to the evidence directory and returns its path.
    ///
    /// # Errors
    /// What the file system gave.
    pub fn keep_evidence(&self) -> std::io::Result<PathBuf> {
        self.machine().keep_evidence()
    }

    /// Powers the guest off and waits for QEMU's end; a guest that hangs fails here.
    ///
    /// # Errors
    /// If it does not end in time or well.
    pub fn power_off(self) -> Result<()> {
        self.machine().power_off()
    }

    /// Ends QEMU without asking the guest.
    ///
    /// # Errors
    /// If it does not end in time or well.
    pub fn quit(self) -> Result<()> {
        self.machine().quit()
    }

    /// Asks the agent.
    ///
    /// # Errors
    /// If the guest refuses, or is gone.
    pub fn ask(&self, request: impl Into<Request>) -> Result<Reply> {
        self.ask_within(request, Duration::ZERO)
    }

    /// Asks the agent something that may take `allow` by itself.
    ///
    /// # Errors
    /// As [`Guest::ask`].
    pub fn ask_within(&self, request: impl Into<Request>, allow: Duration) -> Result<Reply> {
        self.machine().request(request.into(), allow)
    }

    /// The machine, for one call: no method holds it while it calls another.
    fn machine(&self) -> RefMut<'_, Machine> {
        match &self.machine {
            Some(machine) => machine.borrow_mut(),
            None => unreachable!("a running stage is made only with a machine"),
        }
    }
}

/// The failure that an answer is of another kind than the question.
pub fn unexpected(reply: &Reply) -> GuestFailed {
    let detail = format!(
        "it answered {}",
        format!("{reply:?}").chars().take(80).collect::<String>()
    );
    GuestFailed::early(What::Protocol {
        who: "the agent",
        detail,
    })
}

/// A time as the agent is told it; one that is too long is the longest.
pub fn milliseconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
