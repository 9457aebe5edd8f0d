// SPDX-License-Identifier: MIT OR Apache-2.0

//! For tests: what guests are made of is set up on first use, in the same cache as the command's.
//!
//! ```no_run
//! use landfall::guest::Driver;
//! use landfall::judge::{Leg, Trial};
//! # use landfall_cards::template::Scratch as MyCard;
//!
//! # fn example() -> Result<(), landfall::judge::TrialFailed> {
//! let verdict = Trial::new()
//!     .card(MyCard::default()) // any Function, of any crate
//!     .driver(Driver::build("driver")) // a directory with a Kbuild; or .stock("tw686x"), .module("x.ko")
//!     .run(["/usr/bin/my-test", "--loop", "100"])
//!     .on([Leg::Plain, Leg::Iommu, Leg::Swiotlb])
//!     .verdict()?;
//! verdict.assert_clean(); // panics with the whole story
//! # Ok(())
//! # }
//! ```
//!
//! Alone of this library's modules, this one reads the environment (`LANDFALL_CACHE`, `LANDFALL_MIRROR`, `LANDFALL_JOBS`,
//! and where the home directory is), and tells on standard error what a set-up does: it stands for the command.

use std::io::Write;
use std::sync::OnceLock;

use landfall_guest::{Cancel, Event, Packages, Prepared, SetupOptions};

use crate::bundle::{Place, Views};
use crate::explore::{Explored, Order, Wanted, explore};
use crate::judge::{Context, Trial, TrialFailed, Verdict, causes};

/// What guests are made of; made on first use, which takes minutes and needs the host's package mirror.
///
/// # Errors
/// Why it cannot be made, with all causes.
pub fn prepared() -> Result<&'static Prepared, TrialFailed> {
    static PREPARED: OnceLock<Result<Prepared, String>> = OnceLock::new();
    let prepared = PREPARED.get_or_init(|| {
        let options = setup_options().ok_or("HOME or LANDFALL_CACHE must be set")?;
        landfall_guest::prepare(&options, &Cancel::default(), &mut tell)
            .map_err(|error| format!("{}; `landfall setup` says more", causes(&error)))
    });
    prepared
        .as_ref()
        .map_err(|why| TrialFailed::SetUp(why.clone()))
}

/// The same with the debug kernel, if that is there: it is too large to be built for a test.
///
/// # Errors
/// Why its modules cannot be built.
pub fn prepared_debug() -> Result<Option<&'static Prepared>, TrialFailed> {
    static PREPARED: OnceLock<Result<Option<Prepared>, String>> = OnceLock::new();
    let stock = prepared()?;
    let prepared = PREPARED.get_or_init(|| {
        let there = setup_options().filter(landfall_guest::debug_kernel_is_there);
        let Some(options) = there else {
            return Ok(None);
        };
        landfall_guest::prepare_debug(&options, stock, &Cancel::default(), &mut tell)
            .map(Some)
            .map_err(|error| {
                format!(
                    "{}; `landfall setup --debug-kernel` says more",
                    causes(&error)
                )
            })
    });
    let prepared = prepared
        .as_ref()
        .map_err(|why| TrialFailed::SetUp(why.clone()));
    prepared.map(Option::as_ref)
}

/// Packages of the distribution's, with all that they need, for [`Trial::packages`].
///
/// # Errors
/// As [`prepared`]; or one is not there.
pub fn packages(names: &[&str]) -> Result<Packages, TrialFailed> {
    let (setup, prepared) = (setup_options().unwrap_or_default(), prepared()?);
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    landfall_guest::packages(&setup, prepared, &names, &Cancel::default(), &mut tell)
        .map_err(|error| TrialFailed::SetUp(causes(&error)))
}

/// Selftests of the kernel's, such as `pci_endpoint`, for [`Trial::packages`]; built on first use, which takes minutes. Behind a
/// name, and a space, may be a variable for its make.
///
/// # Errors
/// Why they cannot be built, with all causes.
pub fn selftests(names: &[&str]) -> Result<Packages, TrialFailed> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let options = setup_options().unwrap_or_default();
    landfall_guest::selftests(&options, prepared()?, &names, &Cancel::default(), &mut tell)
        .map_err(|error| TrialFailed::SetUp(causes(&error)))
}

/// Most guests at once, if `LANDFALL_JOBS` says so.
pub fn most_guests() -> Option<std::num::NonZeroUsize> {
    std::env::var("LANDFALL_JOBS").ok()?.parse().ok()
}

/// What guests are set up with; `None`: the environment does not say where the cache is.
pub fn setup_options() -> Option<SetupOptions> {
    let cache = crate::default_cache(|name| std::env::var_os(name))?;
    Some(SetupOptions {
        elsewhere: Some(crate::guest::run_directory::elsewhere()),
        mirror: std::env::var("LANDFALL_MIRROR").ok(),
        ..SetupOptions::new(cache)
    })
}

/// To the terminal, not to the test's captured output: the first set-up takes minutes.
fn tell(event: Event) {
    if let Event::StepStarted {
        step,
        detail,
        index,
        of,
    } = event
    {
        let _ = writeln!(std::io::stderr(), "[{index}/{of}] {step}: {detail}");
    }
}

impl Trial {
    /// [`Trial::judge`] with what [`prepared`] gives. What is not clean leaves its bundle beside the system's temporary
    /// files, and the verdict tells its story.
    ///
    /// # Errors
    /// As those two.
    pub fn verdict(&self) -> Result<Verdict, TrialFailed> {
        let debug = prepared_debug()?;
        self.with(debug, |trial, context| trial.judge(context))
    }

    /// [`crate::explore::explore`] with what [`prepared`] gives.
    ///
    /// # Errors
    /// As those two.
    pub fn explore(&self, wanted: &Wanted) -> Result<Explored, TrialFailed> {
        let command = |order: &Order| vec![format!("order {order} of a test's")];
        self.with(None, |trial, context| {
            explore(trial, wanted, context, &command, &mut |_| ())
        })
    }

    fn with<R>(
        &self,
        debug: Option<&Prepared>,
        work: impl FnOnce(&Self, &Context<'_>) -> Result<R, TrialFailed>,
    ) -> Result<R, TrialFailed> {
        let setup = setup_options().unwrap_or_default();
        let context = Context {
            setup: &setup,
            prepared: prepared()?,
            debug,
            at_once: most_guests(),
            bundles: Some(&Place::Evidence),
            views: &Views::default(),
            cancel: &Cancel::default(),
        };
        work(&self.clone().guests(most_guests()), &context)
    }
}
