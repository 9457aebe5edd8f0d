// SPDX-License-Identifier: MIT OR Apache-2.0

//! Runs that are killed at random moments: nothing of them is left, the right one is blamed, and the next run is clean.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::process::{Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use landfall_device::random::Random;
use landfall_tests::{Result, SHORT, children_of, landfall, prepared};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How many runs: `LANDFALL_KILLS`; a thousand take a quarter of an hour. `LANDFALL_SEED` gives others.
fn number(variable: &str, otherwise: u64) -> u64 {
    let asked = std::env::var(variable).ok();
    asked
        .and_then(|asked| asked.parse().ok())
        .unwrap_or(otherwise)
}

/// How long a run may take, beside others on a loaded machine.
const LONG: Duration = Duration::from_secs(300);

/// A cache of the campaign's own, which shares the set-up, and a place for temporary files.
struct Place {
    directory: tempfile::TempDir,
}

/// Who is to die of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Harness(Signal),
    Qemu,
    Server,
}

/// One that was started.
struct Run {
    process: u32,
    ended: mpsc::Receiver<io::Result<Output>>,
}

impl Run {
    fn ends_within(&self, limit: Duration) -> Result<Option<Output>> {
        match self.ended.recv_timeout(limit) {
            Ok(output) => Ok(Some(output?)),
            Err(_) => Ok(None),
        }
    }

    fn end(&self) -> Result<Output> {
        let output = self.ends_within(LONG)?;
        Ok(output.ok_or_else(|| format!("a run did not end within {} s", LONG.as_secs()))?)
    }
}

impl Place {
    fn new() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let (ours, theirs) = (directory.path().join("cache"), &prepared().cache);
        fs::create_dir(&ours)?;
        fs::create_dir(directory.path().join("tmp"))?;
        for shared in ["entries", "setups", "accelerator.json"] {
            if theirs.join(shared).exists() {
                symlink(theirs.join(shared), ours.join(shared))?;
            }
        }
        Ok(Self { directory })
    }

    fn cache(&self) -> std::path::PathBuf {
        self.directory.path().join("cache")
    }

    fn temporary(&self) -> std::path::PathBuf {
        self.directory.path().join("tmp")
    }

    fn start(&self, victim: Victim) -> Result<Run> {
        let mut command = landfall();
        match victim {
            Victim::Server => {
                let server = assert_cmd::cargo::cargo_bin("landfall-device");
                let server = format!("{} serve dt3155 --socket {{socket}}", server.display());
                command.args(["exec", "--unjudged", "--card-command", &server]);
                command.args(["--driver", "stock:dt3155", "--", "dd", "if=/dev/video0"]);
                command.args(["of=/dev/null", "bs=307200", "count=5"]);
            }
            Victim::Harness(_) | Victim::Qemu => {
                command.args(["run", "--frames", "2"]);
            }
        }
        let command = command
            .env("LANDFALL_CACHE", self.cache())
            .env("TMPDIR", self.temporary());
        let log = File::create(self.directory.path().join("unread"))?;
        let child = command.stdout(log).stderr(Stdio::piped()).spawn()?;
        let (process, (end, ended)) = (child.id(), mpsc::channel());
        // Who does not wait any more has failed.
        std::thread::spawn(move || end.send(child.wait_with_output()));
        Ok(Run { process, ended })
    }

    /// The processes that were started here, and theirs, dead ones that nobody has waited for left out.
    fn processes(&self) -> Result<BTreeSet<u32>> {
        let mark = format!("TMPDIR={}", self.temporary().display());
        let mut found = BTreeSet::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            let Ok(process) = entry.file_name().to_string_lossy().parse() else {
                continue;
            };
            // It may be gone by now, or another user's.
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            if environment
                .split(|&byte| byte == 0)
                .any(|word| word == mark.as_bytes())
            {
                found.insert(process);
            }
        }
        Ok(found)
    }

    /// Starts a run, kills its victim after some time, and gives what it said.
    fn killed(&self, victim: Victim, after: Duration) -> Result<(Victim, Output)> {
        let run = self.start(victim)?;
        if let Some(output) = run.ends_within(after)? {
            return Ok((victim, output));
        }
        let harness = Pid::from_raw(i32::try_from(run.process)?);
        let (victim, whom, with) = match victim {
            Victim::Harness(signal) => (victim, harness, signal),
            Victim::Qemu | Victim::Server => {
                let word = if victim == Victim::Qemu {
                    "qemu-system"
                } else {
                    "landfall-device"
                };
                match child_with(run.process, word)? {
                    Some(process) => (
                        victim,
                        Pid::from_raw(i32::try_from(process)?),
                        Signal::SIGKILL,
                    ),
                    // Not started yet, or ended.
                    None => (Victim::Harness(Signal::SIGKILL), harness, Signal::SIGKILL),
                }
            }
        };
        // Who has ended meanwhile cannot be killed.
        let _ = kill(whom, with);
        Ok((victim, run.end()?))
    }

    /// Nothing of what was killed lives on.
    fn no_process_is_left(&self, story: &str) -> Result {
        let until = Instant::now() + SHORT;
        loop {
            let left = self.processes()?;
            if left.is_empty() {
                return Ok(());
            }
            assert!(
                Instant::now() < until,
                "{story}: {left:?} live on: {}",
                names(&left)
            );
            std::thread::yield_now();
        }
    }

    /// The next run is clean, and clears what the killed left in the file system.
    fn the_next_is_clean(&self, with: Victim, story: &str) -> Result {
        let output = self.start(with)?.end()?;
        let clean = if with == Victim::Server { 6 } else { 0 };
        assert_eq!(output.status.code(), Some(clean), "{story}: {output:?}");
        for entry in fs::read_dir(self.temporary())? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // What a run that failed left for its user is his.
            let told = ["landfall-evidence-", "landfall-bundle-"];
            assert!(
                told.iter().any(|told| name.starts_with(told)),
                "{story}: {name} is left"
            );
            fs::remove_dir_all(entry.path())?;
        }
        let cache = self.cache();
        for half in fs::read_dir(cache.join("snapshots"))? {
            let half = half?.file_name().to_string_lossy().into_owned();
            assert!(!half.starts_with('.'), "{story}: {half} is left");
        }
        for place in fs::read_dir(cache.join("guests"))? {
            let place = place?.path();
            let free = File::open(&place)?.try_lock();
            assert!(free.is_ok(), "{story}: {place:?} is taken");
        }
        Ok(())
    }
}

/// A process that this one has started, with this word in its command line.
fn child_with(process: u32, word: &str) -> Result<Option<u32>> {
    // It may have ended by now.
    let children = children_of(process).unwrap_or_default();
    let line = |child: &u32| fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
    let has = |child: &u32| String::from_utf8_lossy(&line(child)).contains(word);
    Ok(children.into_iter().find(has))
}

fn names(processes: &BTreeSet<u32>) -> String {
    let lines = processes.iter().map(|process| {
        let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).replace('\0', " ")
    });
    lines.collect::<Vec<_>>().join("; ")
}

/// Whether that is how a run ends whose victim died, or that had ended before.
fn is_told(victim: Victim, output: &Output) -> bool {
    let said = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code();
    match victim {
        Victim::Harness(Signal::SIGKILL) => code.is_none() || code == Some(0),
        Victim::Harness(_) if died_early(victim, output) => true,
        Victim::Harness(_) => matches!(code, Some(0 | 130)),
        Victim::Qemu => code == Some(0) || (code == Some(4) && said.contains("QEMU ended unasked")),
        // The verdict on what was seen until then, or that there is none.
        Victim::Server => matches!(code, Some(0 | 3 | 4 | 6)) && !said.contains("panicked"),
    }
}

/// Whether a harness died of the very signal that it was sent before it could listen, and so before it did anything.
fn died_early(victim: Victim, output: &Output) -> bool {
    let quiet = output.stdout.is_empty() && output.stderr.is_empty();
    let by = output.status.signal();
    quiet && matches!(victim, Victim::Harness(signal) if by == Some(signal as i32))
}

fn draw(random: &mut Random) -> Victim {
    match random.below(5) {
        0 => Victim::Harness(Signal::SIGKILL),
        1 => Victim::Harness(Signal::SIGTERM),
        2 => Victim::Harness(Signal::SIGINT),
        3 => Victim::Qemu,
        _ => Victim::Server,
    }
}

#[test]
fn nothing_of_killed_runs_is_left() -> Result {
    let (runs, seed) = (number("LANDFALL_KILLS", 60), number("LANDFALL_SEED", 1));
    let mut random = Random::new(seed);
    let place = Place::new()?;
    let mut long = [Duration::ZERO; 2];
    let ours = Victim::Harness(Signal::SIGKILL);
    for cold in [true, false] {
        let began = Instant::now();
        place.the_next_is_clean(ours, "the first")?;
        long[usize::from(cold)] = began.elapsed();
    }
    place.the_next_is_clean(Victim::Server, "the first with a server")?;
    let (mut done, mut round, mut early) = (0, 0, 0);
    while done < runs {
        round += 1;
        let cold = random.one_in(12);
        let at_once = if random.one_in(8) { 6 } else { 1 };
        if cold {
            fs::remove_dir_all(place.cache().join("snapshots"))?;
        }
        let longest = u64::try_from(long[usize::from(cold)].as_millis())?;
        let victims: Vec<_> = (0..at_once)
            .map(|_| {
                (
                    draw(&mut random),
                    Duration::from_millis(random.below(longest + longest / 4)),
                )
            })
            .collect();
        let story = format!("seed {seed}, round {round}, cold: {cold}, {victims:?}");
        let ends: std::result::Result<Vec<_>, String> = std::thread::scope(|scope| {
            let killed = victims.iter().map(|&(victim, after)| {
                let place = &place;
                scope.spawn(move || place.killed(victim, after).map_err(|why| why.to_string()))
            });
            let killed: Vec<_> = killed.collect();
            killed
                .into_iter()
                .map(|one| one.join().expect("it does not panic"))
                .collect()
        });
        for (victim, output) in ends? {
            assert!(is_told(victim, &output), "{story}: {victim:?}: {output:?}");
            let sigkill = Victim::Harness(Signal::SIGKILL);
            early += u64::from(victim != sigkill && died_early(victim, &output));
        }
        place.no_process_is_left(&story)?;
        done += at_once;
        if round % 5 == 0 || done >= runs {
            place.the_next_is_clean(ours, &story)?;
        }
    }
    // One that listens to nothing would always die so.
    assert!(
        early <= runs / 20,
        "{early} of {runs} died before they listened"
    );
    Ok(())
}
