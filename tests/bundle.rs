// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a failing run leaves, and what can be done with it; a clean run leaves nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use landfall::bundle::Bundle;
use landfall_device::ledger::Class;
use landfall_tests::{Result, landfall, prepared};

/// Two small frames.
const SMALL: [&str; 6] = ["--width", "64", "--height", "32", "--frames", "2"];

/// The command, with what it leaves in `temporary`.
fn command(temporary: &Path, words: &[&str]) -> Result<Output> {
    prepared();
    let output = landfall()
        .args(words)
        .env("TMPDIR", temporary)
        .env("NO_COLOR", "1")
        .output()?;
    Ok(output)
}

fn text(output: &Output) -> String {
    let parts = [&output.stdout, &output.stderr].map(|part| String::from_utf8_lossy(part));
    parts.concat()
}

fn run(temporary: &Path, words: &[&str]) -> Result<Output> {
    command(
        temporary,
        &[&["run", "--accel", "tcg"], &SMALL[..], words].concat(),
    )
}

/// The one thing that is left there.
fn left(directory: &Path) -> Result<PathBuf> {
    let left: Vec<_> = fs::read_dir(directory)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    match left.as_slice() {
        [one] => Ok(one.clone()),
        other => Err(format!("not one thing is left: {other:?}").into()),
    }
}

/// A fault leaves a bundle, named in the run's last lines. From it the verdict is repeated without a guest, and the run
/// with one.
#[test]
fn a_fault_leaves_a_bundle_that_repeats_its_verdict() -> Result {
    let temporary = tempfile::tempdir()?;

    let ran = run(temporary.path(), &["--fault", "overrun"])?;

    assert_eq!(ran.status.code(), Some(1), "{}", text(&ran));
    let bundle = left(temporary.path())?;
    let name = bundle.to_str().ok_or("a path of text")?;
    assert!(
        text(&ran).contains(&format!("bundle: {name}\n")),
        "{}",
        text(&ran)
    );
    let pages = Bundle::open(&bundle)?.pages()?;
    assert!(!pages.is_empty(), "the pages around it are kept");

    let replayed = command(temporary.path(), &["replay", name])?;
    assert_eq!(replayed.status.code(), Some(0), "{}", text(&replayed));
    assert!(
        text(&replayed).contains("overrun (class 1)"),
        "{}",
        text(&replayed)
    );
    let told = command(temporary.path(), &["explain", name])?;
    assert!(
        text(&told).contains("<== VIOLATION 1: overrun"),
        "{}",
        text(&told)
    );
    let live = command(temporary.path(), &["replay", "--live", name])?;
    assert_eq!(live.status.code(), Some(0), "{}", text(&live));
    assert_eq!(left(temporary.path())?, bundle, "a replay leaves nothing");
    Ok(())
}

/// A run that is clean leaves what is to be looked at, where that is asked for, and no bundle; the bundle of one that fails has a
/// page by itself.
#[test]
fn a_page_and_a_trace_are_made_of_any_run_that_is_asked_for_them() -> Result {
    let temporary = tempfile::tempdir()?;
    let directory = tempfile::tempdir()?;
    let file = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let (page, trace, bundle) = (file("page.html"), file("trace"), file("bundle"));

    let clean = run(temporary.path(), &["--report", &page, "--perfetto", &trace])?;

    assert_eq!(clean.status.code(), Some(0), "{}", text(&clean));
    let shown = fs::read_to_string(&page)?;
    assert!(shown.contains("<h1 id=\"summary\">clean: 2 frames"));
    assert!(!shown.contains("page.html"), "who repeats it, writes none");
    assert!(fs::metadata(&trace)?.len() > 1000);
    assert_eq!(fs::read_dir(temporary.path())?.count(), 0, "no bundle");

    let failed = run(temporary.path(), &["--fault", "short", "--bundle", &bundle])?;
    assert_eq!(failed.status.code(), Some(1), "{}", text(&failed));
    let kept = Bundle::open(Path::new(&bundle))?.text("report.html")?;
    assert!(kept.is_some_and(|page| page.contains("short transfer")));
    Ok(())
}

/// As one file where that is asked for.
#[test]
fn a_bundle_can_be_one_file() -> Result {
    let temporary = tempfile::tempdir()?;
    let file = temporary.path().join("bundle.tar.zst");
    let name = file.to_str().ok_or("a path of text")?;

    let ran = run(temporary.path(), &["--fault", "short", "--bundle", name])?;

    assert_eq!(ran.status.code(), Some(1), "{}", text(&ran));
    assert_eq!(left(temporary.path())?, file);
    let said = Bundle::open(&file)?.judgement()?;
    assert_eq!(said.violations[0].class, Some(Class::ShortTransfer));
    Ok(())
}

/// Of a scenario whose verdict is not what it predicts, the smallest that still fails leaves a bundle, in the place of
/// those before it. One that is right leaves nothing.
#[test]
fn the_smallest_scenario_that_fails_leaves_a_bundle() -> Result {
    let temporary = tempfile::tempdir()?;
    let directory = tempfile::tempdir()?;
    let file = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
    let fuzz = |text: &str| {
        fs::write(file("played.toml"), text)?;
        let words = ["fuzz", "--accel", "tcg", "--play", &file("played.toml")];
        let outputs = ["--save", &file("saved.toml"), "--json", &file("found.json")];
        command(temporary.path(), &[&words[..], &outputs].concat())
    };

    let right = fuzz("[[fault]]\nwhat = \"overrun\"\nframe = 2\n")?;
    assert_eq!(right.status.code(), Some(0), "{}", text(&right));
    assert_eq!(fs::read_dir(temporary.path())?.count(), 0);

    // It strikes before the run looks, and so is named by nobody.
    let missed = "[[fault]]\nwhat = \"early-dma\"\n";
    let wrong = fuzz(&format!(
        "[[fault]]\nwhat = \"overrun\"\nframe = 2\n\n{missed}"
    ))?;

    assert_eq!(wrong.status.code(), Some(1), "{}", text(&wrong));
    let path = left(temporary.path())?;
    let name = path.to_str().ok_or("a path of text")?;
    assert!(
        text(&wrong).contains(&format!("bundle: {name}\n")),
        "{}",
        text(&wrong)
    );
    let found: serde_json::Value = serde_json::from_slice(&fs::read(file("found.json"))?)?;
    assert_eq!(found["failure"]["bundle"], name);
    let bundle = Bundle::open(&path)?;
    let played = bundle.text(landfall::bundle::SCENARIO)?;
    assert_eq!(played, Some(format!("seed = 0\n\n{missed}")));
    assert_eq!(played, Some(fs::read_to_string(file("saved.toml"))?));
    assert_eq!(
        bundle.run()?.summary,
        "`early-dma` struck, and nothing was named with class 23"
    );
    for words in [&["replay", name][..], &["replay", "--live", name]] {
        let again = command(temporary.path(), words)?;
        assert_eq!(again.status.code(), Some(0), "{}", text(&again));
    }
    Ok(())
}

/// The platform where something goes wrong leaves a bundle, the others none.
#[test]
fn a_platform_with_violations_leaves_a_bundle() -> Result {
    let temporary = tempfile::tempdir()?;
    let legs = ["legs", "--bug", "37", "--legs", "plain,swiotlb"];

    let ran = command(temporary.path(), &legs)?;

    assert_eq!(ran.status.code(), Some(1), "{}", text(&ran));
    let path = left(temporary.path())?;
    let name = path.to_str().ok_or("a path of text")?;
    assert!(name.contains("landfall-bundle-swiotlb-"), "{name}");
    assert!(
        text(&ran).contains(&format!("bundle: {name}\n")),
        "{}",
        text(&ran)
    );
    for words in [&["replay", name][..], &["replay", "--live", name]] {
        let again = command(temporary.path(), words)?;
        assert_eq!(again.status.code(), Some(0), "{}", text(&again));
        assert!(text(&again).contains("(class 37)"), "{}", text(&again));
    }
    Ok(())
}

/// The clean twin leaves nothing.
#[test]
fn a_clean_run_leaves_no_bundle() -> Result {
    let temporary = tempfile::tempdir()?;

    let ran = run(temporary.path(), &[])?;

    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran));
    assert!(!text(&ran).contains("bundle:"), "{}", text(&ran));
    assert_eq!(fs::read_dir(temporary.path())?.count(), 0);
    Ok(())
}

/// A guest that dies leaves a bundle too, with what it said to the last.
#[test]
fn a_guest_that_died_leaves_a_bundle_that_tells_how() -> Result {
    let temporary = tempfile::tempdir()?;
    let place = temporary.path().join("bundle");
    let name = place.to_str().ok_or("a path of text")?;

    // No such program: the kernel panics for want of a first process.
    let ran = run(
        temporary.path(),
        &["--append", "rdinit=/none", "--bundle", name],
    )?;

    assert_eq!(ran.status.code(), Some(4), "{}", text(&ran));
    assert!(
        text(&ran).contains(&format!("bundle: {name}\n")),
        "{}",
        text(&ran)
    );
    let told = command(temporary.path(), &["explain", name])?;
    assert!(
        text(&told).contains("The guest failed: the guest's kernel panicked"),
        "{}",
        text(&told)
    );
    Ok(())
}
