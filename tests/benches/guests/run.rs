// SPDX-License-Identifier: MIT OR Apache-2.0

//! `landfall run` as a user waits for it: from the command to its verdict.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use landfall_tests::Result;

use super::median;
use super::table::{Table, ratio, time};

/// The command of this tree, as a user builds it.
pub(crate) fn landfall() -> Result<std::path::PathBuf> {
    let cargo = std::env::var_os("CARGO").ok_or("run by cargo")?;
    let mut build = Command::new(cargo);
    build.args(["build", "--release", "--quiet", "--bin", "landfall"]);
    if !build
        .current_dir(landfall_tests::root())
        .status()?
        .success()
    {
        return Err("`landfall` does not build".into());
    }
    // This program lies in DIR/deps.
    let this = std::env::current_exe()?;
    let directory = this.parent().and_then(|deps| deps.parent());
    Ok(directory
        .ok_or("a program in a directory")?
        .join("landfall"))
}

struct Sample {
    total: Duration,
    verify: Duration,
}

fn sample(landfall: &std::path::Path, arguments: &[&str]) -> Result<Sample> {
    let json = tempfile::NamedTempFile::new()?;
    let mut command = Command::new(landfall);
    command.args(["run", "--accel", "tcg", "--json"]);
    command.arg(json.path()).args(arguments);
    let began = Instant::now();
    let output = command.stdin(Stdio::null()).output()?;
    let total = began.elapsed();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{command:?}: {said}").into());
    }
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(json.path())?)?;
    let timings = report["timings"].as_array().into_iter().flatten();
    let verify = timings.filter(|timing| {
        let step = timing["step"].as_str().unwrap_or_default();
        step.starts_with("verify")
    });
    let verify = verify.filter_map(|timing| timing["seconds"].as_f64()).sum();
    Ok(Sample {
        total,
        verify: Duration::from_secs_f64(verify),
    })
}

pub(crate) fn measure() -> Result<Table> {
    let landfall = landfall()?;
    let kinds: [(&str, &[&str], usize); 3] = [
        ("--stock-boot", &["--stock-boot"], 1),
        ("--cold", &["--cold"], 3),
        ("restored", &[], 9),
    ];
    let _makes_the_snapshot = sample(&landfall, &[])?;
    let mut samples: Vec<Vec<Sample>> = kinds.iter().map(|_| Vec::new()).collect();
    for round in 0..9 {
        for ((_, arguments, rounds), samples) in kinds.iter().zip(&mut samples) {
            if round < *rounds {
                samples.push(sample(&landfall, arguments)?);
            }
        }
    }
    let mut table = Table::new(
        "`landfall run`, from the command to its verdict",
        "The default: 8 frames of 1080p and one of 2160p, every byte compared. Medians of whole processes, in turn.",
        &["guest", "runs", "total", "of --cold", "comparing"],
    );
    let totals = |samples: &[Sample]| samples.iter().map(|s| s.total).collect::<Vec<_>>();
    let cold = median(&totals(&samples[1]));
    for ((name, ..), samples) in kinds.iter().zip(&samples) {
        let total = median(&totals(samples));
        let verify: Vec<_> = samples.iter().map(|sample| sample.verify).collect();
        table.row([
            (*name).to_owned(),
            samples.len().to_string(),
            time(total),
            ratio(total, cold),
            time(median(&verify)),
        ]);
    }
    Ok(table)
}
