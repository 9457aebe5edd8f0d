// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is made of the command line itself: completions and the manual.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn landfall(words: &[&str]) -> Output {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin("landfall"));
    command.args(words).output().expect("it runs")
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// The commands, as `--help` lists them.
fn commands() -> BTreeSet<String> {
    let help = text(&landfall(&["--help"]));
    let (_, listed) = help
        .split_once("\nCommands:\n")
        .expect("a list of commands");
    let listed = listed.lines().take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| {
        let name = line.strip_prefix("  ")?;
        name.starts_with(|first: char| first.is_ascii_lowercase())
            .then(|| name.split(' ').next().unwrap_or(name).to_owned())
    });
    names.filter(|name| name != "help").collect()
}

#[test]
fn every_shell_gets_every_command() {
    let commands = commands();
    assert!(commands.len() > 15, "{commands:?}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = text(&landfall(&["completions", shell]));
        for command in &commands {
            assert!(script.contains(command.as_str()), "{shell}: {command}");
        }
    }
    assert_eq!(landfall(&["completions", "tcl"]).status.code(), Some(2));
}

/// As bash does it when a key is pressed.
fn completed(words: &[&str]) -> BTreeSet<String> {
    let script = text(&landfall(&["completions", "bash"]));
    let last = words.len() - 1;
    let words: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
    let asked = format!(
        "{script}\nCOMP_WORDS=({})\nCOMP_CWORD={last}\n\
         _landfall landfall \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
        words.join(" ")
    );
    let mut bash = Command::new("bash");
    let ran = bash
        .args(["--norc", "-c", &asked])
        .output()
        .expect("bash is everywhere");
    text(&ran).lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_their_values() {
    let commands = commands();
    let first = completed(&["landfall", ""]);
    for command in &commands {
        assert!(first.contains(command), "{command} is not in {first:?}");
    }
    let one = |words: &[&str]| completed(words).into_iter().collect::<Vec<_>>();
    assert_eq!(one(&["landfall", "exp"]), ["explain", "explore"]);
    assert_eq!(one(&["landfall", "try", "--bun"]), ["--bundle"]);
    assert_eq!(
        one(&["landfall", "exec", "--card", "dt"]),
        ["dt3155"],
        "a card's name"
    );
}

fn pages(directory: &Path) -> BTreeSet<String> {
    let listed = fs::read_dir(directory).expect("it is there");
    let names = listed.map(|entry| entry.expect("an entry").file_name().into_string());
    names.map(|name| name.expect("a name of text")).collect()
}

#[test]
fn the_manual_has_a_page_for_each_command_with_options_and_exit_codes() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let directory = temporary.path().join("share/man1");
    let ran = landfall(&["man", directory.to_str().expect("a path of text")]);
    assert!(ran.status.success() && ran.stdout.is_empty(), "{ran:?}");

    let written = pages(&directory);
    assert!(written.contains("landfall.1"), "{written:?}");
    for command in commands() {
        let name = format!("landfall-{command}.1");
        assert!(written.contains(&name), "{name} is not in {written:?}");
    }
    assert!(written.contains("landfall-catalog-run.1"), "{written:?}");
    for name in &written {
        let page = fs::read_to_string(directory.join(name)).expect("a page");
        assert!(
            page.contains("\n.TH ") || page.starts_with(".TH "),
            "{name}"
        );
    }
    let tried = fs::read_to_string(directory.join("landfall-try.1")).expect("a page");
    for part in ["\\-\\-legs", "Exit codes:", "another"] {
        assert!(tried.contains(part), "{part} is not in:\n{tried}");
    }

    let file = temporary.path().join("file");
    fs::write(&file, "").expect("writable");
    let refused = landfall(&["man", file.to_str().expect("a path of text")]);
    assert_eq!(refused.status.code(), Some(5), "{refused:?}");
}
