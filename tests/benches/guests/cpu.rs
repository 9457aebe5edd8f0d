// SPDX-License-Identifier: MIT OR Apache-2.0

//! What it costs to watch the guest's CPUs: the same work beside itself without.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use landfall::guest::{Card, Driver};
use landfall::judge::{Leg, Trial};
use landfall::testing::packages;
use landfall_cards::nvme::Nvme;
use landfall_tests::Result;

use super::median;
use super::run::landfall;
use super::table::{Table, ratio, time};

/// Commands in flight to a disk.
const DEPTH: u32 = 32;

/// A whole command, which has to end well.
fn command(landfall: &Path, words: &[&str]) -> Result<Duration> {
    let mut command = Command::new(landfall);
    command.args(words).stdin(Stdio::null());
    let began = Instant::now();
    let output = command.output()?;
    let took = began.elapsed();
    match output.status.success() {
        true => Ok(took),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(format!("{command:?}: {said}").into())
        }
    }
}

/// How long fio verifies what it wrote to the nvme of the tests, by the guest's clock.
fn nvme(leg: Leg) -> Result<Duration> {
    let script = format!(
        "until [ -b /dev/nvme0n1 ]; do sleep 0.02; done; read before _ </proc/uptime; \
         fio --name=verify --filename=/dev/nvme0n1 --rw=randwrite --bs=4k --size=16M --iodepth={DEPTH} --ioengine=libaio \
         --direct=1 --verify=crc32c --verify_fatal=1 --minimal >&2 || exit 1; read after _ </proc/uptime; echo $before $after"
    );
    let trial = Trial::new().plug(Card::new("nvme", Nvme::default));
    let trial = trial
        .packages(&packages(&["fio"])?)
        .driver(Driver::stock("nvme"));
    let verdict = trial
        .run(["/bin/busybox", "sh", "-c", &script])
        .on([leg])
        .verdict()?;
    verdict.assert_clean();
    let ran = verdict.legs.first().and_then(|leg| leg.programs.first());
    let (_, ran) = ran.ok_or("a program that ran")?;
    let mut times = ran.stdout.split_whitespace().map(str::parse::<f64>);
    match (times.next(), times.next()) {
        (Some(Ok(before)), Some(Ok(after))) => Ok(Duration::from_secs_f64(after - before)),
        _ => Err(format!("no two times: {ran:?}").into()),
    }
}

pub(crate) fn measure() -> Result<Table> {
    let landfall = landfall()?;
    let of = |watched: bool, words: &'static [&'static str]| {
        let watch = watched.then_some("--watch-cpu");
        let words: Vec<_> = words.iter().copied().chain(watch).collect();
        command(&landfall, &words)
    };
    type Work<'a> = Box<dyn Fn(bool) -> Result<Duration> + 'a>;
    let works: [(&str, usize, Work<'_>); 3] = [
        (
            "`landfall run`",
            9,
            Box::new(|watched| of(watched, &["run", "--accel", "tcg"])),
        ),
        (
            "`landfall catalog run`",
            1,
            Box::new(|watched| of(watched, &["catalog", "run", "--accel", "tcg"])),
        ),
        (
            "nvme, fio with 32 in flight",
            3,
            Box::new(|watched| nvme(if watched { Leg::Cpu } else { Leg::Plain })),
        ),
    ];
    let mut table = Table::new(
        "Watching the guest's CPUs",
        "The same with `--watch-cpu` and without, in turn; medians. fio's by the guest's clock, the commands' from start to end.",
        &["what", "runs", "without", "watched", "of without"],
    );
    for (name, runs, work) in works {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..runs {
            for (watched, times) in [false, true].into_iter().zip(&mut times) {
                times.push(work(watched)?);
            }
        }
        let [without, watched] = times.map(|times| median(&times));
        table.row([
            name.to_owned(),
            runs.to_string(),
            time(without),
            time(watched),
            ratio(watched, without),
        ]);
    }
    Ok(table)
}
