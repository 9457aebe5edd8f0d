// SPDX-License-Identifier: MIT OR Apache-2.0

//! The one pipeline: a guest with cards, their drivers, programs that use them, and the verdict.

use std::fmt;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use landfall_device::contract::Function;
use landfall_guest::{BuildFailed, Built, Cancel, Packages, Prepared, SetupOptions, parallel};

use super::{Death, Expected, Judged, Leg, Verdict, Watch, leave, show, versions};
use crate::bundle::{BundleError, Place, Views};
use crate::evidence::Observed;
use crate::guest::{
    Board, Booted, Card, Driver, DriverSource, FRAGMENT_AGAIN, FRAGMENT_MODULE, Guest, GuestFailed,
    GuestOptions, PoolOptions, Ran, WITNESS_MODULE, What, cpu,
};

/// How long a program may take, on a busy host, unless the trial says otherwise.
const PROGRAM: Duration = Duration::from_secs(120);

/// Bytes of packages that any guest has room for.
const ROOM: u64 = 16 << 20;
/// What a guest's memory grows by: few sizes make few snapshots.
const UNIT: u64 = 128 << 20;

/// What is tried: cards, drivers and programs, on one platform or on several.
///
/// Drivers are loaded in their order, programs run one after the other, and the drivers are unloaded, the last first; the
/// witness hears all of it. Without a program the drivers bind and unbind.
#[derive(Clone)]
pub struct Trial {
    name: String,
    cards: Vec<Card>,
    drivers: Vec<Driver>,
    programs: Vec<Vec<String>>,
    looks: Vec<Look>,
    files: Vec<(PathBuf, String)>,
    pool: bool,
    legs: Vec<Leg>,
    patience: Duration,
    options: GuestOptions,
    command: Option<CommandLine>,
}

/// The words of a command line, for a platform.
type CommandLine = Arc<dyn Fn(Leg) -> Vec<String> + Send + Sync>;
/// A view of somebody's own.
type Look = Arc<dyn Fn(&Guest<Booted>) -> crate::guest::Result<Vec<String>> + Send + Sync>;

impl fmt::Debug for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trial")
            .field("name", &self.name)
            .field("cards", &self.cards)
            .field("drivers", &self.drivers)
            .field("programs", &self.programs)
            .field("looks", &self.looks.len())
            .field("legs", &self.legs)
            .finish_non_exhaustive()
    }
}

/// What trials are made with and where they leave what failed.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// How that was set up, for drivers that are built.
    pub setup: &'a SetupOptions,
    /// What guests are made of.
    pub prepared: &'a Prepared,
    /// The same with the debug kernel, if there is one.
    pub debug: Option<&'a Prepared>,
    /// Most guests of one trial at once; `None`: as many as there are CPUs.
    pub at_once: Option<NonZeroUsize>,
    /// Where bundles go; `None`: none is left.
    pub bundles: Option<&'a Place>,
    /// What else is made of each guest and card, whatever they gave.
    pub views: &'a Views,
    /// Ends it.
    pub cancel: &'a Cancel,
}

/// A trial came to no verdict. Its text has all causes.
#[derive(thiserror::Error)]
pub enum TrialFailed {
    /// What guests are made of is not there.
    #[error("the set-up failed: {0}")]
    SetUp(String),
    /// A guest failed where neither card nor driver can be the reason.
    #[error("the guest on {leg} failed: {}", causes(.source))]
    Guest {
        /// On which platform.
        leg: Leg,
        /// Why.
        source: GuestFailed,
    },
    /// A driver was not built.
    #[error("{0}")]
    Build(BuildFailed),
    /// A driver did not load.
    #[error("the driver {driver} did not load on {leg}: {}", causes(.source))]
    Driver {
        /// Which.
        driver: String,
        /// On which platform.
        leg: Leg,
        /// Why.
        source: GuestFailed,
    },
    /// A program could not be started.
    #[error("`{program}` did not run on {leg}: {}", causes(.source))]
    Program {
        /// Its command line.
        program: String,
        /// On which platform.
        leg: Leg,
        /// Why.
        source: GuestFailed,
    },
    /// A bundle could not be written.
    #[error("the bundle was not written: {}", causes(.0))]
    Bundle(BundleError),
}

impl fmt::Debug for TrialFailed {
    /// As [`fmt::Display`]: it is what a test shows that fails with it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An error with its causes, from the outermost in.
pub fn causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

impl Default for Trial {
    fn default() -> Self {
        Self::new()
    }
}

impl Trial {
    /// A trial without anything, on a platform with nothing between card and memory.
    pub fn new() -> Self {
        Self {
            name: "trial".to_owned(),
            cards: Vec::new(),
            drivers: Vec::new(),
            programs: Vec::new(),
            looks: Vec::new(),
            files: Vec::new(),
            pool: false,
            legs: vec![Leg::Plain],
            patience: PROGRAM,
            options: GuestOptions::default(),
            command: None,
        }
    }

    /// What it is called where it leaves something.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Plugs in a card, a clone in each guest.
    #[must_use]
    pub fn card<F: Function + Clone + Sync + 'static>(self, card: F) -> Self {
        let name = std::any::type_name::<F>();
        let short = name.rsplit("::").next().unwrap_or(name).to_lowercase();
        self.plug(Card::new(short, move || card.clone()))
    }

    /// Plugs in a card by its maker.
    #[must_use]
    pub fn plug(mut self, card: Card) -> Self {
        self.cards.push(card);
        self
    }

    /// Loads a driver.
    #[must_use]
    pub fn driver(mut self, driver: Driver) -> Self {
        self.drivers.push(driver);
        self
    }

    /// Runs a program of the guest's while the drivers are loaded. It is to end with status 0.
    #[must_use]
    pub fn run<W: Into<String>>(mut self, argv: impl IntoIterator<Item = W>) -> Self {
        self.programs
            .push(argv.into_iter().map(Into::into).collect());
        self
    }

    /// Looks at the guest when the programs have ended, while the drivers are still loaded: a view of one's own, such as bytes
    /// that a program left in a file against what the card sent. What it gives is wrong, a line each.
    #[must_use]
    pub fn look(
        mut self,
        look: impl Fn(&Guest<Booted>) -> crate::guest::Result<Vec<String>> + Send + Sync + 'static,
    ) -> Self {
        self.looks.push(Arc::new(look));
        self
    }

    /// How long each program may take.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// On which platforms.
    #[must_use]
    pub fn on(mut self, legs: impl IntoIterator<Item = Leg>) -> Self {
        self.legs = legs.into_iter().collect();
        self
    }

    /// Brings packages, or selftests of the kernel's, into the guest, from its start.
    #[must_use]
    pub fn packages(mut self, packages: &Packages) -> Self {
        self.options.archives.extend(packages.archives.clone());
        // Files are memory there, and at most half of it is for files.
        self.options.memory += match packages.unpacked {
            ..=ROOM => 0,
            more => (2 * more).next_multiple_of(UNIT),
        };
        self
    }

    /// Puts a file of the host's into the guest, before any driver is loaded; see [`Guest::put`]. What may be run here may be
    /// run there.
    #[must_use]
    pub fn file(mut self, host: impl Into<PathBuf>, guest: impl Into<String>) -> Self {
        self.files.push((host.into(), guest.into()));
        self
    }

    /// Loads the pool first, for drivers that take their buffers from there.
    #[must_use]
    pub fn pool(self, pool: PoolOptions) -> Self {
        let options = GuestOptions {
            pool,
            ..self.options
        };
        Self {
            pool: true,
            options,
            ..self
        }
    }

    /// What the guest is otherwise: its memory, its CPUs, its kernel's command line, more arguments for QEMU. To be said
    /// before what is brought into it.
    #[must_use]
    pub fn machine(mut self, options: GuestOptions) -> Self {
        self.options = options;
        self
    }

    /// The command line that does the same on a platform, without the program's name; bundles tell it.
    #[must_use]
    pub fn command(mut self, words: impl Fn(Leg) -> Vec<String> + Send + Sync + 'static) -> Self {
        self.command = Some(Arc::new(words));
        self
    }

    /// Most guests at once of all processes that use the same cache; `None`: as many as there are CPUs.
    #[must_use]
    pub fn guests(mut self, most: Option<NonZeroUsize>) -> Self {
        self.options.jobs = most;
        self
    }

    /// Runs it on each of its platforms, side by side, and judges.
    ///
    /// # Errors
    /// If it came to no verdict. A guest that died of its driver or card is a verdict.
    pub fn judge(&self, context: &Context<'_>) -> Result<Verdict, TrialFailed> {
        let legs = parallel::all(&self.legs, context.at_once, |&leg| {
            self.on_leg(leg, context)
        })?;
        Ok(Verdict {
            name: self.name.clone(),
            legs,
        })
    }

    fn on_leg(&self, leg: Leg, context: &Context<'_>) -> Result<Judged, TrialFailed> {
        let Some(prepared) = leg.prepared(context.prepared, context.debug) else {
            let why = match context.prepared.architecture.is_hosts() {
                true => "there is no debug kernel; `landfall setup --debug-kernel` builds it",
                false => "there is no debug kernel for guests of another architecture",
            };
            return Ok(Judged::skipped(leg, why));
        };
        let of_guest = |source| TrialFailed::Guest { leg, source };
        let built = self.built(prepared, context)?;
        let options = GuestOptions {
            warnings: true, // they count at the end
            ..self.guest_options(leg, prepared)
        };
        if leg == Leg::Cpu
            && let Err(why) = cpu::can_watch(&options, prepared)
        {
            return Ok(Judged::skipped(leg, &why));
        }
        let guest = self.bring_up(leg, options, prepared, context)?;
        let watch = Watch::begin(&guest, leg.platform(guest.memory().ram()));
        let mut came = Came::default();
        let death = match self.drive(&guest, leg, &built, &mut came) {
            Ok(()) => None,
            Err(Ended::Failed(failed)) => return Err(failed),
            // Somebody in it powered it off.
            Err(Ended::Guest(failed)) if failed.is_power_off() => Some(Death::default()),
            Err(Ended::Guest(failed)) => Some(Death::of(failed).map_err(of_guest)?),
        };
        let seen = watch.end(death.as_ref());
        let Came { programs, looks } = came;
        let wrong = programs
            .iter()
            .find_map(failed)
            .or_else(|| looks.first().cloned());
        let mut cards = Vec::new();
        for (card, observed) in self.cards.iter().zip(seen) {
            let says =
                |observed: &Observed| super::verdict::says(observed).or_else(|| wrong.clone());
            let command = self.command.as_ref();
            let expected = Expected {
                versions: versions(prepared),
                word: format!("{}-{leg}-{}", self.name, card.name()),
                what: format!("{} with {} on {leg}", self.name, card.name()),
                command: command.map_or_else(Vec::new, |words| words(leg)),
                scenario: None,
                wrong: &says,
            };
            let views = match self.legs.len() * self.cards.len() {
                1 => context.views.clone(),
                _ => context.views.of(&expected.word),
            };
            show(&views, &expected, &observed).map_err(TrialFailed::Bundle)?;
            let left = leave(context.bundles, &expected, observed);
            cards.push((card.name().to_owned(), left.map_err(TrialFailed::Bundle)?));
        }
        Ok(Judged {
            leg,
            skipped: None,
            cards,
            programs,
            looks,
        })
    }

    /// What its guest on a platform is.
    pub(crate) fn guest_options(&self, leg: Leg, prepared: &Prepared) -> GuestOptions {
        let mut options = leg.of(GuestOptions {
            board: Board::of_set_up(prepared),
            cards: self.cards.clone(),
            ..self.options.clone()
        });
        if self.pool {
            let pool = options.pool_module();
            options.preload.push(pool);
        }
        options
    }

    /// A guest with all in it but the drivers.
    pub(crate) fn bring_up(
        &self,
        leg: Leg,
        options: GuestOptions,
        prepared: &Prepared,
        context: &Context<'_>,
    ) -> Result<Guest<Booted>, TrialFailed> {
        let of_guest = |source| TrialFailed::Guest { leg, source };
        let guest = Guest::configure(options);
        let guest = guest.boot(prepared, context.cancel).map_err(of_guest)?;
        if let Some(order) = leg.fragment() {
            let order = format!("order={order}");
            guest
                .load_module(FRAGMENT_MODULE, &order)
                .map_err(of_guest)?;
        }
        guest.load_module(WITNESS_MODULE, "").map_err(of_guest)?;
        for (host, place) in &self.files {
            put(&guest, host, place).map_err(of_guest)?;
        }
        Ok(guest)
    }

    /// Builds the drivers that are to be built for the kernel of these guests.
    pub(crate) fn built(
        &self,
        prepared: &Prepared,
        context: &Context<'_>,
    ) -> Result<Vec<Option<Built>>, TrialFailed> {
        let (setup, cancel) = (context.setup, context.cancel);
        let build = |driver: &Driver| driver.build_for(setup, prepared, cancel, &mut |_| ());
        let built = self.drivers.iter().map(build).collect::<Result<_, _>>();
        built.map_err(TrialFailed::Build)
    }

    /// Loads the drivers; gives their modules' names.
    pub(crate) fn load(
        &self,
        guest: &Guest<Booted>,
        leg: Leg,
        built: &[Option<Built>],
    ) -> Result<Vec<String>, Ended> {
        let pairs = self.drivers.iter().zip(built);
        let loaded = pairs.map(|(driver, built)| {
            load(guest, driver, built.as_ref()).map_err(|source| match lives(&source) {
                true => Ended::Failed(TrialFailed::Driver {
                    driver: driver.to_string(),
                    leg,
                    source,
                }),
                false => Ended::Guest(source),
            })
        });
        loaded.collect()
    }

    /// Loads, runs, unloads.
    fn drive(
        &self,
        guest: &Guest<Booted>,
        leg: Leg,
        built: &[Option<Built>],
        came: &mut Came,
    ) -> Result<(), Ended> {
        let names = self.load(guest, leg, built)?;
        for argv in &self.programs {
            if leg.fragment().is_some() {
                guest
                    .write_file(FRAGMENT_AGAIN, "1")
                    .map_err(Ended::Guest)?;
            }
            let words: Vec<_> = argv.iter().map(String::as_str).collect();
            let program = argv.join(" ");
            let ran = guest.run(&words, self.patience);
            let ran = ran.map_err(|source| match lives(&source) {
                true => Ended::Failed(TrialFailed::Program {
                    program: program.clone(),
                    leg,
                    source,
                }),
                false => Ended::Guest(source),
            })?;
            came.programs.push((program, ran));
        }
        for look in &self.looks {
            came.looks.extend(look(guest).map_err(Ended::Guest)?);
        }
        for name in names.iter().rev() {
            guest.unload_module(name).map_err(Ended::Guest)?;
        }
        Ok(())
    }
}

/// Puts a file of the host's into the guest.
fn put(guest: &Guest<Booted>, host: &Path, place: &str) -> crate::guest::Result<()> {
    let runs = std::fs::metadata(host).is_ok_and(|status| status.mode() & 0o111 != 0);
    guest.put(host, place, if runs { 0o755 } else { 0o644 })
}

/// Loads a driver; gives its module's name.
fn load(
    guest: &Guest<Booted>,
    driver: &Driver,
    built: Option<&Built>,
) -> crate::guest::Result<String> {
    let parameters = &driver.parameters;
    match (&driver.source, built) {
        (DriverSource::Image(name), _) => {
            guest.load_module(name, parameters).map(|()| name.clone())
        }
        (DriverSource::Stock(name), _) => guest.load_stock(name, parameters).map(|()| name.clone()),
        (DriverSource::File(path), _) => guest.load_file(path, parameters),
        (
            DriverSource::Directory(_) | DriverSource::Package(_) | DriverSource::Kernel { .. },
            built,
        ) => {
            let ko = built.map_or(Path::new(""), |built| &built.ko);
            guest.load_file(ko, parameters)
        }
    }
}

/// Whether the guest goes on after that.
pub(crate) fn lives(failed: &GuestFailed) -> bool {
    matches!(*failed.what, What::Refused(_) | What::NotBrought(_))
}

/// What came of the work on a guest, as far as it went.
#[derive(Default)]
struct Came {
    programs: Vec<(String, Ran)>,
    looks: Vec<String>,
}

/// Why the work on a guest ended early.
pub(crate) enum Ended {
    /// The guest refused, or is gone.
    Guest(GuestFailed),
    /// The trial comes to nothing.
    Failed(TrialFailed),
}

/// What is wrong with how a program ended, in words.
pub(super) fn failed((program, ran): &(String, Ran)) -> Option<String> {
    let last = |text: &str| text.trim().lines().last().unwrap_or_default().to_owned();
    match (ran.timed_out, ran.status) {
        (true, _) => Some(format!("`{program}` did not end in time")),
        (false, 0) => None,
        (false, status) => Some(format!(
            "`{program}` ended with {status}: {}",
            last(&ran.stderr)
        )),
    }
}
