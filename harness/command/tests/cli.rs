// SPDX-License-Identifier: MIT OR Apache-2.0

//! The command line, without booting anything.

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;

/// The command, away from the user's cache and colours.
fn landfall() -> (Command, tempfile::TempDir) {
    let cache = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("landfall"));
    command
        .env("LANDFALL_CACHE", cache.path())
        .env_remove("LANDFALL_MIRROR")
        .env("NO_COLOR", "1")
        .env("COLUMNS", "100");
    (command, cache)
}

fn help(arguments: &[&str]) -> String {
    let (mut command, _cache) = landfall();
    let output = command.args(arguments).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("help is text")
}

#[test]
fn help_documents_commands_and_exit_codes() {
    let help = help(&["--help"]);

    for command in [
        "run",
        "explain",
        "replay",
        "try",
        "shell",
        "exec",
        "explore",
        "test",
        "init",
        "build-module",
        "setup",
        "doctor",
        "pool-exercise",
        "completions",
        "man",
    ] {
        let line = format!("\n  {command} ");
        assert!(help.contains(&line), "{command} is not in:\n{help}");
    }
    for code in [
        "  0  done",
        "  1  run, exec, explore, shell, legs: violations",
        "  4  the guest failed",
        "130  interrupted",
    ] {
        assert!(help.contains(code), "{code} is not in:\n{help}");
    }
    // What `run` takes is told there, though it is taken here.
    assert!(!help.contains("--fault"), "{help}");
    assert!(help.lines().count() < 60, "more than a screen:\n{help}");
}

/// Who reads the exit code alone must not take for said what was not.
#[test]
fn what_cannot_be_said_shows_in_the_exit_code() {
    let full = || {
        std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .expect("it is everywhere")
    };
    let closed = || {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        writer
    };
    for arguments in [&["--help"][..], &["pool-exercise", "--steps", "10"]] {
        let with = |stdout: std::process::Stdio| {
            let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("landfall"));
            let output = command
                .args(arguments)
                .stdout(stdout)
                .output()
                .expect("it runs");
            (
                output.status.code(),
                String::from_utf8_lossy(&output.stderr).into_owned(),
            )
        };
        let (code, said) = with(full().into());
        assert_eq!(code, Some(5), "{arguments:?}: {said}");
        let (code, said) = with(closed().into());
        assert_eq!(code, Some(5), "{arguments:?}: {said}");
        let (code, said) = with(std::process::Stdio::null());
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
    }
    let mut command = std::process::Command::new(assert_cmd::cargo::cargo_bin("landfall"));
    let output = command
        .args(["pool-exercise", "--steps", "10"])
        .stdout(full())
        .output();
    let said = String::from_utf8_lossy(&output.expect("it runs").stderr).into_owned();
    assert!(
        said.contains("standard output") && said.contains("No space left"),
        "{said}"
    );
}

#[test]
fn run_documents_every_option() {
    insta::assert_snapshot!(help(&["run", "-h"]));
}

/// A card that sends no pictures is for `exec`, and what only our own card has is for no other.
#[test]
fn run_refuses_a_card_that_is_no_video_card_and_options_that_are_not_for_one() {
    let (mut command, _cache) = landfall();
    let assert = command.args(["run", "--card", "ioatdma"]).assert().code(2);
    assert
        .stderr(contains("ioatdma is no video card"))
        .stderr(contains("landfall exec --card ioatdma"));
    for (option, value) in [
        ("--fault", "overrun"),
        ("--place", "last-page"),
        ("--width", "64"),
    ] {
        let (mut command, _cache) = landfall();
        let assert = command
            .args(["--card", "dt3155", option, value])
            .assert()
            .code(2);
        assert.stderr(contains(format!("{option} is not for the card dt3155")));
    }
}

#[test]
fn shell_documents_every_option() {
    insta::assert_snapshot!(help(&["shell", "-h"]));
}

#[test]
fn exec_and_what_belongs_to_it_document_every_option() {
    let of = |command: &str| help(&[command, "-h"]);
    insta::assert_snapshot!(of("exec") + &of("test") + &of("init") + &of("build-module"));
}

#[test]
fn explore_documents_every_option_and_refuses_what_is_none_of_its_words() {
    insta::assert_snapshot!(help(&["explore", "-h"]));

    for (words, said) in [
        (["--scenario", "bind"], "end with `unbind`"),
        (
            ["--scenario", "bind, jump, unbind"],
            "no word of a scenario",
        ),
        (["--order", "36"], "no part of an order"),
        (["--order", "36:0"], "36:4"),
    ] {
        let (mut landfall, _cache) = landfall();
        let refused = landfall.args(["explore", "--card", "capture"]).args(words);
        refused.assert().code(2).stderr(contains(said));
    }
}

#[test]
fn a_project_begins_with_a_file_that_is_never_overwritten() {
    let (mut landfall, cache) = landfall();
    let file = cache.path().join("landfall.toml");
    landfall.arg("init").arg(cache.path()).assert().success();
    let written = std::fs::read(&file).expect("a file");

    let (mut again, _cache) = self::landfall();
    again
        .arg("init")
        .arg(cache.path())
        .assert()
        .code(5)
        .stderr(contains("landfall.toml"));
    assert_eq!(std::fs::read(&file).expect("a file"), written);
}

#[test]
fn a_project_that_makes_no_sense_is_told_before_anything_is_set_up() {
    let (mut landfall, cache) = landfall();
    let file = cache.path().join("p.toml");
    std::fs::write(&file, "cadrs = [\"ring\"]\n[[test]]\nname = \"a\"\n").expect("a file");
    let project = |command: &mut Command, file: &std::path::Path| {
        command.args(["test", "--project"]).arg(file).assert()
    };
    project(&mut landfall, &file)
        .code(2)
        .stderr(contains("there is no key `cadrs`; did you mean `cards`?"));

    let (mut landfall, _cache) = self::landfall();
    project(&mut landfall, &cache.path().join("none.toml"))
        .code(2)
        .stderr(contains("landfall init"));
}

#[test]
fn a_card_or_a_driver_that_cannot_be_is_a_wrong_command_line() {
    for (words, said) in [
        (
            &["exec", "--driver", "stock:dt3155"][..],
            "there is no card",
        ),
        (&["exec", "--card", "rign"], "[possible values: capture"),
        (
            &["exec", "--card", "ring", "--driver", "dt3155"],
            "stock:dt3155",
        ),
        (
            &["exec", "--card", "ring", "--file", "a"],
            "place in the guest",
        ),
        (
            &["exec", "--card", "ring", "--legs", "plian"],
            "choose one of plain",
        ),
    ] {
        let (mut landfall, _cache) = landfall();
        landfall.args(words).assert().code(2).stderr(contains(said));
    }
}

#[test]
fn setup_and_doctor_document_every_option() {
    insta::assert_snapshot!(help(&["setup", "-h"]) + &help(&["doctor", "-h"]));
}

#[test]
fn explain_and_replay_document_every_option() {
    insta::assert_snapshot!(help(&["explain", "-h"]) + &help(&["replay", "-h"]));
}

#[test]
fn try_documents_every_option() {
    insta::assert_snapshot!(help(&["try", "-h"]));
}

#[test]
fn what_is_no_bundle_is_neither_told_nor_replayed() {
    for command in [&["explain"][..], &["replay"], &["try", "--driver", "./d"]] {
        let (mut landfall, cache) = landfall();
        landfall
            .args(command)
            .arg(cache.path())
            .assert()
            .code(3)
            .stderr(contains("it is no bundle: its manifest.json is missing"));
    }
}

#[test]
fn a_place_that_holds_something_else_is_refused_before_anything_is_set_up() {
    let (mut command, cache) = landfall();
    std::fs::write(cache.path().join("file"), "precious").expect("writable");
    command
        .args(["run", "--bundle", "file"])
        .current_dir(cache.path())
        .assert()
        .code(2)
        .stderr(contains("file is there already, and is no bundle"));
}

#[test]
fn a_wrong_option_is_a_usage_error() {
    let (mut command, _cache) = landfall();
    command
        .arg("--no-such-option")
        .assert()
        .code(2)
        .stderr(contains("--no-such-option"));
}

#[test]
fn a_wrong_fault_lists_the_faults() {
    let (mut command, _cache) = landfall();
    command
        .args(["--fault", "explode"])
        .assert()
        .code(2)
        .stderr(contains(
            "overrun, shift, truncate32, after-stop, short, lost-irq",
        ));
}

/// What is wrong with a scenario is told with its line and the choices, before anything is set up.
#[test]
fn a_wrong_scenario_says_where_and_what_there_is() {
    let (mut command, cache) = landfall();
    let file = cache.path().join("wrong.toml");
    std::fs::write(&file, "seed = 1\n\n[[fault]]\nwhat = \"overun\"\n").expect("writable");
    command
        .args(["run", "--scenario"])
        .arg(&file)
        .assert()
        .code(2)
        .stderr(
            contains("wrong.toml is no scenario")
                .and(contains("line 4, column 8"))
                .and(contains(
                    "\"overun\" is no fault; there are: overrun, shift",
                )),
        );
    let (mut command, _cache) = landfall();
    command
        .args(["run", "--scenario", "/no/such/file"])
        .assert()
        .code(2)
        .stderr(contains("/no/such/file is no scenario"));
}

#[test]
fn a_scenario_and_a_fault_exclude_each_other() {
    let (mut command, _cache) = landfall();
    command
        .args(["--scenario", "file", "--fault", "short"])
        .assert()
        .code(2)
        .stderr(contains("cannot be used with"));
}

#[test]
fn fuzz_documents_every_option() {
    insta::assert_snapshot!(help(&["fuzz", "-h"]));
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_set_up() {
    let (mut command, cache) = landfall();
    command
        .args(["run", "--fault", "truncate32", "--memory", "256M"])
        .assert()
        .code(2)
        .stdout(predicate::str::is_empty())
        .stderr(
            "error: the fault truncate32 shows only if the pool lies above 4 GiB\n\n\
                 hint: leave --memory out, or give at least 3G\n",
        );
    let made = std::fs::read_dir(cache.path())
        .expect("it is there")
        .count();
    assert_eq!(made, 0, "something was set up");
}

#[test]
fn a_set_up_with_own_parts_is_not_exported() {
    let (mut command, cache) = landfall();
    let module = cache.path().join("own.ko");
    std::fs::write(&module, "").expect("writable");
    command
        .args(["setup", "--export", "setup.tar.gz", "--module"])
        .arg(&module)
        .current_dir(cache.path())
        .assert()
        .code(2)
        .stderr(contains("does not travel").and(contains("hint: leave out --qemu")));
    assert!(!cache.path().join("setup.tar.gz").exists());
}

#[test]
fn what_is_no_exported_set_up_is_not_imported() {
    let (mut command, cache) = landfall();
    let file = cache.path().join("setup.tar.gz");
    std::fs::write(&file, "something else").expect("writable");
    command
        .args(["setup", "--import"])
        .arg(&file)
        .assert()
        .code(3)
        .stderr(contains("setup.tar.gz cannot be imported").and(contains("no exported set-up")));
    assert!(
        !cache.path().join("setups").exists(),
        "something was set up"
    );
}

#[test]
fn a_set_up_is_imported_or_exported_and_not_both() {
    for other in [["--export", "file"].as_slice(), &["--refresh"]] {
        let (mut command, _cache) = landfall();
        command
            .args(["setup", "--import", "file"])
            .args(other)
            .assert()
            .code(2)
            .stderr(contains("cannot be used with"));
    }
}

#[test]
fn a_size_must_be_whole_pages_with_a_known_unit() {
    for (size, why) in [
        ("6X", "no unit"),
        ("1", "pages of 4096 bytes"),
        ("M", "no size"),
    ] {
        let (mut command, _cache) = landfall();
        command
            .args(["--memory", size])
            .assert()
            .code(2)
            .stderr(contains(why));
    }
}

#[test]
fn without_a_place_for_the_cache_it_says_how_to_name_one() {
    let (mut command, _cache) = landfall();
    command
        .env_remove("LANDFALL_CACHE")
        .env_remove("XDG_CACHE_HOME")
        .env_remove("HOME")
        .assert()
        .code(2)
        .stderr(contains("hint: name one with --cache DIR"));
}

#[test]
fn doctor_runs_on_any_machine() {
    let (mut command, _cache) = landfall();
    command
        .arg("doctor")
        .assert()
        .code(predicate::in_iter([0, 3]));
}

#[test]
fn pool_exercise_documents_every_option() {
    insta::assert_snapshot!(help(&["pool-exercise", "-h"]));
}

fn exercise(arguments: &[&str]) -> assert_cmd::assert::Assert {
    let (mut command, _cache) = landfall();
    command.arg("pool-exercise").args(arguments).assert()
}

fn stdout(assert: &assert_cmd::assert::Assert) -> String {
    String::from_utf8_lossy(&assert.get_output().stdout).into_owned()
}

/// S1.7: the used list, each buffer's physical address, pages and owner.
#[test]
fn pool_exercise_shows_what_is_lent() {
    let shown = exercise(&["--seed", "4", "--steps", "60", "--show"]).code(0);
    let again = exercise(&["--seed", "4", "--steps", "60", "--show"]).code(0);

    insta::assert_snapshot!(stdout(&shown));
    assert_eq!(
        stdout(&shown),
        stdout(&again),
        "the same seed, the same output"
    );
}

#[test]
fn pool_exercise_writes_a_report() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("exercise.json");
    let path = file.to_str().expect("a path of text");

    exercise(&["--steps", "200", "--fit", "best", "--json", path]).code(0);

    let text = std::fs::read(&file).expect("it was written");
    let report: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(
        (&report["steps"], &report["fit"]),
        (&200.into(), &"best".into())
    );
    assert_eq!(report["difference"], serde_json::Value::Null);
    assert!(report["used"][0]["owner"].is_string(), "{report}");
    exercise(&["--steps", "1", "--json", "/no/such/directory/file"])
        .code(5)
        .stderr(contains("cannot write"));
}

/// The negative control: a difference between allocator and model is told and ends with its own code.
#[test]
fn pool_exercise_tells_a_planted_difference() {
    let found = exercise(&["--seed", "4", "--steps", "60", "--fault-at", "40"]).code(1);

    insta::assert_snapshot!(stdout(&found));
}

#[test]
fn pool_exercise_refuses_an_unknown_fit() {
    exercise(&["--fit", "worst"])
        .code(2)
        .stderr(contains("there are: first, best"));
}
