// SPDX-License-Identifier: MIT OR Apache-2.0

//! The main job: capture frames and prove where every byte landed.
//!
//! Three views of each transfer are compared. The driver's: what it lent, as the agent reports it. The
//! card's: its journal, judged by the ledger. The host's: guest memory, read through the file that guest and
//! card share; each byte of each frame, and all of the pool that was not lent. What they find is one list.

mod assemble;
mod capture;
pub(crate) mod frames;
mod impossible;
mod jobs;
mod leave;
mod look;
mod placement;
mod plan;
mod selftest;
mod session;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use landfall_device::ledger;
use landfall_guest::{Cancel, Prepared};

pub use capture::CapturePlan;
pub use impossible::Impossible;
pub use placement::{Place, Placed};
pub use plan::{FAULT_FRAME, Plan, Wishes};
pub use session::Session;

use crate::capture::Configure;
use crate::capture::Device;
use crate::run::frames::SaveError;
use crate::run::selftest::SelfTestFailed;
use landfall::bundle::BundleError;
use landfall::guest::accelerator::Choice;
use landfall::guest::memory::Ram;
use landfall::guest::memory::ReadError;
use landfall::guest::{Guest, GuestFailed, Loaded, Start, Started};
use landfall::judge::versions;
use landfall::report::schema::{Report, Timing};

/// The name of the violation that the guest did not survive.
pub const GUEST_FAILED: &str = "guest failed";

/// Something worth showing while the run goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A part began.
    Started(String),
    /// That part ended.
    Done {
        /// Which.
        step: String,
        /// How long it took.
        elapsed: Duration,
    },
    /// The ledger found something, while the guest runs. It may still grow; the report has it whole.
    Found(Box<ledger::Violation>),
}

/// A run came to no verdict.
#[derive(Debug, thiserror::Error)]
pub enum RunFailed {
    /// The guest failed, and nothing that the card did explains it.
    #[error(transparent)]
    Guest(#[from] GuestFailed),
    /// Card, guest and host do not share memory.
    #[error("the card's self-test failed")]
    SelfTest(#[from] SelfTestFailed),
    /// Guest memory could not be read where the driver says that a buffer lies.
    #[error("a buffer is not in guest memory")]
    Memory(#[from] ReadError),
    /// A frame could not be saved.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// Logs could not be kept.
    #[error("cannot keep the evidence")]
    Evidence(#[source] std::io::Error),
}

/// A run that came to a verdict.
#[derive(Debug)]
pub struct Outcome {
    /// All that is known.
    pub report: Report,
    /// Frames that were saved.
    pub saved: Vec<PathBuf>,
    /// Where logs and journals were left, if anywhere.
    pub evidence: Option<PathBuf>,
    /// Where the bundle was left, if the run was to leave one and failed; or why it could not be written.
    pub bundle: Result<Option<PathBuf>, BundleError>,
}

/// Does the main job.
///
/// `timings` are those of what came before, such as the set-up; they go into the report.
///
/// # Errors
/// If it comes to no verdict. A guest that dies of what its card did is a verdict, not an error. Of a guest that
/// died the bundle, if one was asked for, is in [`GuestFailed::bundle`].
pub fn run(
    plan: &Plan,
    prepared: &Prepared,
    choice: &Choice,
    timings: Vec<Timing>,
    cancel: &Cancel,
    on_event: &mut dyn FnMut(Event),
) -> Result<Outcome, RunFailed> {
    let watched = (cancel, on_event);
    run_unless(&leave::violations, plan, prepared, choice, timings, watched)
}

/// As [`run`], but what fails it is what `wrong` says of its report, in words.
pub(crate) fn run_unless(
    wrong: &dyn Fn(&Report) -> Option<String>,
    plan: &Plan,
    prepared: &Prepared,
    choice: &Choice,
    timings: Vec<Timing>,
    watched: (&Cancel, &mut dyn FnMut(Event)),
) -> Result<Outcome, RunFailed> {
    let mut traces = Traces::default();
    let done = watch(plan, prepared, choice, timings, watched, &mut traces);
    leave::leave(plan, traces, done, wrong)
}

/// What a run leaves behind for its bundle, however it ends.
#[derive(Default)]
struct Traces {
    session: Option<Session>,
    versions: BTreeMap<String, String>,
    logs: landfall::evidence::Logs,
}

/// Does the main job and keeps its traces.
fn watch(
    plan: &Plan,
    prepared: &Prepared,
    choice: &Choice,
    timings: Vec<Timing>,
    (cancel, on_event): (&Cancel, Tell<'_>),
    traces: &mut Traces,
) -> Result<Outcome, RunFailed> {
    let mut clock = Clock { timings, on_event };
    traces.versions = versions(prepared);
    let guest = Guest::configure(plan.guest.clone());
    let step = match (plan.guest.start, guest.needs_snapshot(prepared)) {
        (Start::Cold | Start::Stock, _) => "boot",
        (Start::Restored, true) => "first boot, for a snapshot",
        (Start::Restored, false) => "restore",
    };
    let guest = clock.time(step, || guest.boot_loaded(prepared, cancel))?;
    let started = guest.started();
    if started.waited() >= SHOWN {
        clock.add("of it, waiting for other guests (--jobs)", started.waited());
    }
    let watched = guest.watched();

    let neighbour = plan.neighbour.map(|at| take_page(&guest, at)).transpose()?;
    let card = Device::open(&guest, 0)?;
    traces.versions = versions_of(prepared, &guest);
    let session = traces.session.insert(Session::begin(&guest, &card)?);
    let mut saved = Vec::new();
    let mut failure = None;
    for capture in &plan.captures {
        let captured = session.timed_capture(capture, &guest, &card, &mut clock);
        if plan.bundle.is_some() {
            session.keep_pages(&guest.memory());
        }
        let done = captured.and_then(|()| match &plan.save_frames {
            Some(directory) => session.save(directory, &guest.memory(), &mut saved),
            None => Ok(()),
        });
        if let Err(failed) = done {
            failure = Some(failed);
            break;
        }
    }
    if failure.is_none() {
        failure = session.settle(&guest, &card).err();
    }
    session.tell(clock.on_event);
    if plan.bundle.is_some() {
        session.keep_pages(&guest.memory());
        let alive = failure.is_none() && session.has_findings();
        traces.logs = leave::logs(&guest, alive);
    }
    let ram: Vec<_> = guest.memory().ram().to_vec();
    let mut evidence = None;
    if plan.guest.evidence.keep && failure.is_none() {
        evidence = Some(guest.keep_evidence().map_err(RunFailed::Evidence)?);
    }
    drop((card, neighbour));
    let memory = guest.memory();
    if failure.is_none() {
        failure = clock
            .time("power off", || guest.power_off())
            .err()
            .map(RunFailed::from);
    }
    let died = match failure {
        Some(RunFailed::Guest(failed)) if failed.is_guests() => Some(failed),
        Some(other) => return Err(other),
        None => None,
    };
    let circumstances = Circumstances {
        plan,
        choice,
        timings: clock.timings,
        ram: &ram,
        watched,
        started,
        versions: traces.versions.clone(),
    };
    let report = session.assemble(circumstances, died, &memory)?;
    if plan.bundle.is_some() {
        session.keep_pages_of_judged(&memory);
    }
    Ok(Outcome {
        report,
        saved,
        evidence,
        bundle: Ok(None),
    })
}

/// What a report tells besides what the session saw.
struct Circumstances<'a> {
    plan: &'a Plan,
    choice: &'a Choice,
    timings: Vec<Timing>,
    ram: &'a [Ram],
    watched: Option<u64>,
    started: Started,
    versions: BTreeMap<String, String>,
}

/// Who is told of events.
type Tell<'a> = &'a mut dyn FnMut(Event);

/// A wait for other guests that is worth a line.
const SHOWN: Duration = Duration::from_millis(100);

/// Times the parts of a run.
struct Clock<'a> {
    timings: Vec<Timing>,
    on_event: Tell<'a>,
}

impl Clock<'_> {
    fn time<T>(&mut self, step: &str, work: impl FnOnce() -> T) -> T {
        self.time_telling(step, |_| work())
    }

    /// The same for work that has events of its own.
    fn time_telling<T>(&mut self, step: &str, work: impl FnOnce(Tell<'_>) -> T) -> T {
        (self.on_event)(Event::Started(step.to_owned()));
        let began = Instant::now();
        let result = work(self.on_event);
        self.add(step, began.elapsed());
        result
    }

    /// What took that long.
    fn add(&mut self, step: &str, elapsed: Duration) {
        let step = step.to_owned();
        self.timings.push(Timing {
            step: step.clone(),
            seconds: elapsed.as_secs_f64(),
        });
        (self.on_event)(Event::Done { step, elapsed });
    }
}

/// Has the second card take a page at a physical address, which it keeps as long as it is open.
fn take_page(guest: &Guest<Loaded>, at: u64) -> Result<Device<'_>, GuestFailed> {
    let card = Device::open(guest, 1)?;
    card.configure(&Configure {
        width: 64,
        height: 32,
        buffers: 1,
        at,
        ..Configure::default()
    })?;
    Ok(card)
}

/// What takes part in a run, once there is a guest.
fn versions_of(prepared: &Prepared, guest: &Guest<Loaded>) -> BTreeMap<String, String> {
    let mut versions = versions(prepared);
    versions.insert("kernel".to_owned(), guest.kernel_release());
    for module in [landfall::guest::POOL_MODULE, crate::capture::CAPTURE_MODULE] {
        let path = format!("/sys/module/{module}/version");
        let version = guest.read_text(&path).unwrap_or_default();
        let version = match version.trim() {
            "" => env!("CARGO_PKG_VERSION"),
            stated => stated,
        };
        versions.insert(module.to_owned(), version.to_owned());
    }
    versions
}
