// SPDX-License-Identifier: MIT OR Apache-2.0

//! What guest tests share: plumbing only. Inputs and expectations stay in the tests.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use landfall::guest::accelerator::Choice;
use landfall::guest::qemu::command::Engine;
use landfall::guest::{Booted, Guest, GuestOptions, Loaded, Running, What};
use landfall::judge::Judged;
use landfall::report::schema::{Report, Violation};
use landfall::{Cancel, testing};
use landfall_cards::capture::CaptureOptions;
use landfall_device::journal::{Direction, Kind};
use landfall_guest::Prepared;
use landfall_suite::capture::{self, Device};
use landfall_suite::capture::{CardInfo, Configure};
use landfall_suite::run::{self, CapturePlan, RunFailed, Session, Wishes};

pub mod browser;
pub mod busy;
pub mod kselftest;

/// Long enough for anything that a healthy guest does at once.
pub const SHORT: Duration = Duration::from_secs(30);

/// Numbers of `errno` that tests expect.
pub mod errno {
    #![expect(missing_docs, reason = "the names are the kernel's")]
    pub const ENOENT: i32 = 2;
    pub const EIO: i32 = 5;
    pub const ENXIO: i32 = 6;
    pub const EWOULDBLOCK: i32 = 11;
    pub const ENOMEM: i32 = 12;
    pub const EBUSY: i32 = 16;
    pub const ENODEV: i32 = 19;
    pub const EINVAL: i32 = 22;
    pub const EOPNOTSUPP: i32 = 95;
}

/// Waits until a card writes so many bytes at once, as it does when nothing is to be written any more; says it if that never
/// comes.
///
/// # Errors
/// The guest is gone.
pub fn wait_for_late_write(
    guest: &Guest<Booted>,
    card: usize,
    bytes: u64,
) -> landfall::guest::Result<Vec<String>> {
    let end = Instant::now() + SHORT;
    let is_it = |kind: &Kind| matches!(kind, Kind::Access { direction: Direction::Write, length, .. } if *length == bytes);
    let wrote = || {
        let journal = guest.journal(card).map(|journal| journal.entries_from(0));
        let entries = journal.unwrap_or_default();
        entries.iter().any(|entry| is_it(&entry.kind))
    };
    while !wrote() {
        if Instant::now() > end {
            return Ok(vec!["the late write never came".to_owned()]);
        }
        guest.ping()?;
    }
    Ok(Vec::new())
}

/// What was named on a platform: each card, and the classes of its violations.
pub fn named(leg: &Judged) -> Vec<(&str, Vec<Option<u8>>)> {
    let cards = leg.cards.iter().map(|(name, seen)| {
        let classes = seen.violations.iter().map(|violation| violation.class);
        (name.as_str(), classes.collect())
    });
    cards.collect()
}

/// A guest with a capture card and its driver.
pub fn with_capture_card() -> GuestOptions {
    capture::guest(CaptureOptions::default())
}

/// Either kind of failure that a test can end with.
pub type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Everything a guest is made of; set up on first use, in the same cache as the command's.
///
/// # Panics
/// If it cannot be set up: no test can tell anything then.
pub fn prepared() -> &'static Prepared {
    testing::prepared().unwrap_or_else(|failed| panic!("{failed}"))
}

/// The same with the debug kernel, if that is there: it is too large to be built for a test. If it is not, this says so
/// on the terminal, and how to get it.
///
/// # Panics
/// If its modules cannot be built.
pub fn prepared_debug() -> Option<&'static Prepared> {
    let prepared = testing::prepared_debug().unwrap_or_else(|failed| panic!("{failed}"));
    if prepared.is_none() {
        let why = "skipped: there is no debug kernel; `landfall setup --debug-kernel` builds it in minutes";
        let _ = writeln!(std::io::stderr(), "{why}");
    }
    prepared
}

/// Brings a guest to life.
///
/// # Errors
/// If it does not come.
pub fn boot(options: GuestOptions) -> landfall::guest::Result<Guest<Booted>> {
    Guest::configure(budgeted(options)).boot(prepared(), &Cancel::default())
}

/// Brings a guest to life with pool and driver loaded.
///
/// # Errors
/// If it does not come, or they do not load.
pub fn boot_loaded(options: GuestOptions) -> landfall::guest::Result<Guest<Loaded>> {
    Guest::configure(budgeted(options)).boot_loaded(prepared(), &Cancel::default())
}

/// The options with as many guests at once as `LANDFALL_JOBS` says.
fn budgeted(options: GuestOptions) -> GuestOptions {
    GuestOptions {
        jobs: options.jobs.or_else(testing::most_guests),
        ..options
    }
}

/// Captures once on a card and gives everything that went wrong.
///
/// # Errors
/// If the guest fails.
pub fn violations(
    guest: &Guest<Loaded>,
    card: &Device<'_>,
    plan: &CapturePlan,
) -> std::result::Result<Vec<Violation>, RunFailed> {
    let mut session = Session::begin(guest, card)?;
    session.capture(plan, guest, card)?;
    session.finish(guest, card)
}

/// Captures once on a card that must be clean.
///
/// # Errors
/// If the guest fails.
///
/// # Panics
/// If anything went wrong.
pub fn capture_clean(
    guest: &Guest<Loaded>,
    card: &Device<'_>,
    plan: &CapturePlan,
) -> std::result::Result<(), RunFailed> {
    let violations = violations(guest, card, plan)?;
    assert_eq!(violations, [], "a clean capture of {plan:?}");
    Ok(())
}

/// The guest is executed by TCG.
pub fn tcg() -> Choice {
    Choice {
        engine: Engine::Tcg,
        reason: "the test says so".to_owned(),
        probed: false,
    }
}

/// `landfall run` with those wishes, under TCG: its report.
///
/// # Errors
/// If the wishes exclude each other, or the guest fails.
pub fn reported(wishes: Wishes) -> Result<Report> {
    reported_and_told(wishes, &mut |_| ())
}

/// The same, and what happens meanwhile is told.
///
/// # Errors
/// If it comes to no verdict.
pub fn reported_and_told(wishes: Wishes, on_event: &mut dyn FnMut(run::Event)) -> Result<Report> {
    let outcome = run::run(
        &wishes.plan()?,
        prepared(),
        &tcg(),
        Vec::new(),
        &Cancel::default(),
        on_event,
    )?;
    Ok(outcome.report)
}

/// Starts a capture of eight frames of 1080p, which takes the card some milliseconds.
///
/// # Errors
/// If the guest refuses.
pub fn start_capture(card: &Device<'_>) -> landfall::guest::Result<()> {
    card.configure(&Configure {
        width: 1920,
        height: 1080,
        buffers: 8,
        ..Configure::default()
    })?;
    for index in 0..8 {
        card.queue(index)?;
    }
    card.start()
}

/// The card's PCI address as sysfs writes it.
pub fn pci_address(info: &CardInfo) -> String {
    let (bus, device) = (info.pci_address >> 8 & 0xff, info.pci_address & 0xff);
    format!(
        "{:04x}:{bus:02x}:{:02x}.{}",
        info.pci_address >> 16,
        device >> 3,
        device & 7
    )
}

/// How many accesses a card made after the first journal entry that `is_mark` picks.
///
/// # Panics
/// If there is no such entry: the test would check nothing.
pub fn accesses_after(guest: &Guest<Loaded>, is_mark: impl Fn(&Kind) -> bool) -> usize {
    let entries = guest.journal(0).expect("a card").entries_from(0);
    let mark = entries
        .iter()
        .position(|entry| is_mark(&entry.kind))
        .expect("the journal has the mark");
    entries[mark..]
        .iter()
        .filter(|entry| matches!(entry.kind, Kind::Access { outcome, .. } if outcome.is_ok()))
        .count()
}

/// Asserts that a guest refused something, with which errno.
///
/// # Panics
/// If it did not.
pub fn assert_refused<T: std::fmt::Debug>(outcome: landfall::guest::Result<T>, errno: i32) {
    match outcome {
        Ok(done) => panic!("it was done ({done:?}), errno {errno} was expected"),
        Err(failed) => match &*failed.what {
            What::Refused(refused) => assert_eq!(refused.errno, errno, "{refused}"),
            other => panic!("the guest failed: {other}"),
        },
    }
}

/// The kernel's log so far.
///
/// # Errors
/// If the guest fails.
pub fn kernel_log<Stage: Running>(guest: &Guest<Stage>) -> landfall::guest::Result<String> {
    Ok(guest.run(&["/bin/busybox", "dmesg"], SHORT)?.stdout)
}

/// How many processes of the guest have that command line.
///
/// # Errors
/// If the guest fails.
pub fn processes<Stage: Running>(
    guest: &Guest<Stage>,
    argv: &[&str],
) -> landfall::guest::Result<usize> {
    let all = ["/bin/busybox", "sh", "-c", "cat /proc/[0-9]*/cmdline"];
    let wanted = argv.join("\0") + "\0";
    Ok(guest.run(&all, SHORT)?.stdout.matches(&wanted).count())
}

/// How far [`free_bytes`] may be off: the kernel keeps a huge page for the code of modules, or gives it back, when it
/// likes.
pub const NOISE: u64 = 3 << 20;

/// Free bytes of the guest, those that its CPUs keep at hand included.
///
/// # Errors
/// If the guest fails.
///
/// # Panics
/// If its kernel counts in another way than Linux 7.3 does.
pub fn free_bytes<Stage: Running>(guest: &Guest<Stage>) -> landfall::guest::Result<u64> {
    let info = guest.read_text("/proc/zoneinfo")?;
    let counts = info.lines().filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            ["pages", "free", count] | ["count:", count] => count.parse::<u64>().ok(),
            _ => None,
        }
    });
    let counts: Vec<_> = counts.collect();
    assert!(counts.len() > 2, "zones and CPUs: {info}");
    Ok(counts.iter().sum::<u64>() * 4096)
}

/// This repository. Tests that were built elsewhere and came as an archive are told where it is now.
///
/// # Panics
/// If the tests are in no directory of it.
pub fn root() -> PathBuf {
    let now = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let here = now.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")));
    let root = here.parent().expect("tests/ lies in the repository");
    root.to_owned()
}

/// The `landfall` command of this tree, built if it is not; of an archive of tests, the one in it.
///
/// # Panics
/// If it does not build, or the archive lacks it.
pub fn landfall() -> Command {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        if from_archive() {
            // Made with these tests, from the same sources: there is nothing to build, and perhaps nothing to build it from.
            return;
        }
        // `cargo test -p landfall-tests` builds no binary of another package, and an old one would lie.
        let cargo = std::env::var_os("CARGO").expect("run by cargo");
        let mut build = Command::new(cargo);
        // As `cargo test` does it, so that nothing is built twice: the binary comes with a test of its package.
        build.args([
            "test",
            "--workspace",
            "--no-run",
            "--quiet",
            "--test",
            "cli",
        ]);
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        assert!(
            build.status().expect("cargo runs").success(),
            "`landfall` builds"
        );
    });
    Command::new(assert_cmd::cargo::cargo_bin("landfall"))
}

/// Whether nextest unpacked this program from an archive: beside it then is what nextest wrote into that.
fn from_archive() -> bool {
    let this = std::env::current_exe().expect("the system knows this program");
    std::env::var_os("NEXTEST").is_some()
        && this
            .ancestors()
            .any(|directory| directory.join("nextest/binaries-metadata.json").is_file())
}

/// The processes that a process has started, from procfs.
///
/// # Errors
/// If it is gone.
pub fn children_of(process: u32) -> Result<Vec<u32>> {
    let mut children = Vec::new();
    for task in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let list = std::fs::read_to_string(task?.path().join("children")).unwrap_or_default();
        children.extend(
            list.split_whitespace()
                .filter_map(|word| word.parse::<u32>().ok()),
        );
    }
    Ok(children)
}
