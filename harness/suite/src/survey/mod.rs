// SPDX-License-Identifier: MIT OR Apache-2.0

//! Every way to get memory in the kernel, measured: how much in one piece, what it wastes, how long it takes, and
//! whether a card can write there.
//!
//! Each way has a guest of its own that nothing else has used; what has to be asked for at boot is searched for by
//! booting, with less each time, until the kernel comes up. Guests run side by side, as the machine's budget allows.

mod measure;
mod method;
mod page;
mod plot;

mod reach;
mod schema;

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use landfall_guest::parallel;
use landfall_guest::{Cancel, Prepared};

use landfall::report::drawing::{Anchor, Colour, Drawing, Face, Item};
pub use method::{Method, When};

pub use page::{page, table};
pub use plot::plot;
pub use schema::*;

use crate::run::RunFailed;
use landfall::guest::memory::Ram;
use landfall::guest::qemu::command::Engine;
use landfall::guest::{
    Board, Booted, FIRMWARE, FRAGMENT_AGAIN, FRAGMENT_MODULE, Guest, GuestFailed, GuestOptions,
    POOL_MODULE, PoolOptions, PoolSource, Running, Start, What,
};
use measure::Source;

const MIB: u64 = 1 << 20;
const PAGE: u64 = 4096;
/// What the kernel may be left with, from too little to enough, besides what it needs to count its pages: MiB.
const LEFT: [u64; 8] = [32, 40, 48, 56, 64, 80, 96, 128];
/// Of memory, so much is what it takes to count its pages.
const COUNTING: u64 = 64;
/// What must be available to a guest that has come up, so that it can be used.
const WORKING: u64 = 12 * MIB;
/// How long a guest with too little memory may take to say so.
const TRIAL: Duration = Duration::from_secs(60);
/// Huge pages that a guest is asked for at most: all of its memory.
const HUGE: u64 = 2 * MIB;
/// How many the kernel keeps.
const HUGE_PAGES: &str = "/proc/sys/vm/nr_hugepages";
/// Root ports for the cards.
const PORTS: usize = reach::BITS.len();

/// What is surveyed.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of memory of each guest.
    pub memory: u64,
    /// Also on guests without a free block of more than `2^fragment` pages.
    pub fragment: Option<u32>,
    /// Which ways.
    pub methods: Vec<Method>,
    /// What executes the guests.
    pub engine: Engine,
    /// Most guests at once; `None`: as many as the machine has CPUs.
    pub jobs: Option<NonZeroUsize>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            memory: 256 * MIB,
            fragment: None,
            methods: Method::ALL.to_vec(),
            engine: Engine::Tcg,
            jobs: None,
        }
    }
}

/// Something worth showing while the survey goes on. Ways are measured side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A way is being measured.
    Started(Method),
    /// That is done.
    Done {
        /// Which.
        method: Method,
        /// How long it took.
        elapsed: Duration,
    },
}

/// A survey came to nothing.
#[derive(Debug, thiserror::Error)]
#[error("the survey of `{method}` failed")]
pub struct SurveyFailed {
    /// Which way was measured.
    pub method: Method,
    /// Why.
    #[source]
    pub source: RunFailed,
}

type Failed = RunFailed;

/// Measures every way of `options`.
///
/// # Errors
/// If a guest fails; what a way cannot do is no error.
pub fn survey(
    options: &Options,
    prepared: &Prepared,
    cancel: &Cancel,
    on_event: &(dyn Fn(Event) + Sync),
) -> Result<Survey, SurveyFailed> {
    let began = Instant::now();
    let measured = parallel::all(&options.methods, options.jobs, |&method| {
        on_event(Event::Started(method));
        let began = Instant::now();
        let way = Way {
            options,
            prepared,
            cancel,
            method,
        };
        let line = way.line();
        let elapsed = began.elapsed();
        on_event(Event::Done { method, elapsed });
        line.map_err(|source| SurveyFailed { method, source })
    })?;
    let kernel = measured.last().map(|(_, kernel)| kernel.clone());
    let kernel = kernel.unwrap_or_default();
    let lines = measured.into_iter().map(|(line, _)| line).collect();
    Ok(Survey {
        schema: VERSION,
        memory: options.memory,
        kernel,
        qemu: prepared.qemu.version.clone(),
        accelerator: options.engine.to_string().to_lowercase(),
        fragment: options.fragment,
        lines,
        seconds: began.elapsed().as_secs_f64(),
    })
}

/// Parameters of the pool's module, with a source as its parameter `source` takes it.
fn pool_parameters(source: &str, carveout_base: u64) -> String {
    format!(
        "source={source} guard_pages=0 order={} carveout_base={carveout_base:#x}",
        method::ORDER
    )
}

/// One way, and what it is measured with.
struct Way<'a> {
    options: &'a Options,
    prepared: &'a Prepared,
    cancel: &'a Cancel,
    method: Method,
}

impl Way<'_> {
    fn line(&self) -> Result<(Line, String), Failed> {
        let method = self.method;
        let (guest, kept) = match method.when() {
            When::AnyTime => (
                self.boot(String::new(), Start::Restored)?,
                self.options.memory,
            ),
            When::Boot => self.largest_boot()?,
        };
        let kernel = guest.kernel_release();
        let (fresh, returned, copy) = self.measure(&guest, kept, None, |source| {
            Ok((source.state()?, source.returned()?, source.copy()?))
        })?;
        let mut fragmented = None;
        let fragment = self.options.fragment;
        if let (Some(order), When::Boot) = (fragment, method.when()) {
            // What was kept at boot is not on a fresh guest, or on another one, but on this.
            guest.unload_module(POOL_MODULE)?;
            fragmented = Some(self.measure(&guest, kept, Some(order), |source| source.state())?);
            guest.unload_module(POOL_MODULE)?;
            guest.unload_module(FRAGMENT_MODULE)?;
            self.load_pool(&guest, kept)?;
        }
        let (reach, guest) = reach::reach(guest, method, Method::carve_out(&self.ram(), kept))?;
        guest.quit()?;
        if let (Some(order), When::AnyTime) = (fragment, method.when()) {
            let guest = self.boot(String::new(), Start::Restored)?;
            fragmented = Some(self.measure(&guest, kept, Some(order), |source| source.state())?);
            guest.quit()?;
        }
        let boot_option =
            (method.when() == When::Boot).then(|| method.boot_option(&self.ram(), kept));
        let line = Line {
            method,
            call: method.call(),
            when: method.when(),
            freed_by: method.freed_by(),
            boot_option,
            returned,
            reach,
            copy,
            fresh,
            fragmented,
        };
        Ok((line, kernel))
    }

    /// Where its guests have their memory.
    fn ram(&self) -> Vec<Ram> {
        Board::of_set_up(self.prepared).ram(self.options.memory, None)
    }

    fn boot(&self, append: String, start: Start) -> Result<Guest<Booted>, GuestFailed> {
        let options = GuestOptions {
            memory: self.options.memory,
            cards: Vec::new(),
            spare_ports: PORTS,
            engine: self.options.engine,
            jobs: self.options.jobs,
            append,
            start,
            // No boot option of its own: what is asked for is in `append`.
            pool: PoolOptions {
                source: PoolSource::Contig,
                ..PoolOptions::default()
            },
            ..GuestOptions::default()
        };
        let options = match start {
            Start::Restored => options,
            _ => GuestOptions {
                deadlines: landfall::guest::Deadlines {
                    boot: TRIAL,
                    ..options.deadlines
                },
                ..options
            },
        };
        Guest::configure(options).boot(self.prepared, self.cancel)
    }

    /// Boots with as much kept as the guest can do without; gives how much that is.
    fn largest_boot(&self) -> Result<(Guest<Booted>, u64), GuestFailed> {
        let (memory, ram) = (self.options.memory, self.ram());
        let (mut last, mut tried) = (None, None);
        for left in LEFT {
            let left = left * MIB + FIRMWARE + memory / COUNTING;
            let kept = self.method.keepable(&ram, memory.saturating_sub(left));
            if kept == 0 {
                break;
            }
            if tried.replace(kept) == Some(kept) {
                continue;
            }
            let booted = self.boot(self.method.boot_option(&ram, kept), Start::Cold);
            let works = booted.and_then(|guest| Ok((self.works(&guest, kept)?, guest)));
            match works {
                Ok((true, guest)) => return Ok((guest, kept)),
                Ok((false, guest)) => guest.quit()?,
                Err(failed) if is_starved(&failed) => last = Some(failed),
                Err(failed) => return Err(failed),
            }
        }
        Err(last.unwrap_or_else(|| {
            let why = "the guest has too little memory to keep any of it";
            GuestFailed::early(What::Options(why.to_owned()))
        }))
    }

    /// Whether a guest has what it was to keep, and enough besides. The kernel comes up also where it could not keep as
    /// much, and kept nothing; and where it can do nothing else any more.
    fn works(&self, guest: &Guest<Booted>, kept: u64) -> Result<bool, GuestFailed> {
        let meminfo = guest.read_text("/proc/meminfo")?;
        let available = meminfo.lines().find_map(|line| {
            let kilobytes = line
                .strip_prefix("MemAvailable:")?
                .trim()
                .strip_suffix(" kB")?;
            kilobytes.parse::<u64>().ok()
        });
        if available.is_none_or(|kilobytes| kilobytes << 10 < WORKING) {
            return Ok(false);
        }
        self.load_pool(guest, kept)?;
        let source = self.method.source().unwrap_or_default();
        let asked = guest.pool()?.measure(source, 1, 0, 1);
        guest.unload_module(POOL_MODULE)?;
        Ok(measure::answer(asked)?.is_ok())
    }

    /// Loads the pool, with one page that does not matter, and measures on a guest. If `fragment` is given, memory is
    /// fragmented first.
    fn measure<T>(
        &self,
        guest: &Guest<Booted>,
        kept: u64,
        fragment: Option<u32>,
        work: impl FnOnce(&Source<'_, Booted>) -> Result<T, GuestFailed>,
    ) -> Result<T, GuestFailed> {
        if let Some(order) = fragment {
            guest.load_module(FRAGMENT_MODULE, &format!("order={order}"))?;
        }
        self.load_pool(guest, kept)?;
        if fragment.is_some() {
            // What loading has freed meanwhile, too.
            guest.write_file(FRAGMENT_AGAIN, "1")?;
        }
        if self.method == Method::Hugetlb {
            let wanted = (self.options.memory / HUGE).to_string();
            guest.write_file(HUGE_PAGES, wanted)?;
        }
        let pool = guest.pool()?;
        let measured = work(&Source {
            guest,
            pool: &pool,
            method: self.method,
            most_pages: kept / PAGE,
        })?;
        if self.method == Method::Hugetlb {
            // Not all of memory, now that the most is known.
            guest.write_file(HUGE_PAGES, reach::HUGE_PAGES.to_string())?;
        }
        Ok(measured)
    }

    fn load_pool<Stage: Running>(
        &self,
        guest: &Guest<Stage>,
        kept: u64,
    ) -> Result<(), GuestFailed> {
        let base = Method::carve_out(&self.ram(), kept);
        guest.load_module(POOL_MODULE, &pool_parameters("pages:1", base))
    }
}

/// Whether a guest did not come up because it has too little memory.
fn is_starved(failed: &GuestFailed) -> bool {
    matches!(
        &*failed.what,
        What::Panicked { .. }
            | What::KernelFault { .. }
            | What::QemuEnded { .. }
            | What::TimedOut { .. }
    )
}
