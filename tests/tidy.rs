// SPDX-License-Identifier: MIT OR Apache-2.0

//! The repository's rules, as tests. They read files and boot nothing.

use std::{
    fs,
    path::{Path, PathBuf},
};

use landfall_tests as support;
use support::root;

/// Files of the repository below `under` whose name ends in one of `endings`; build output is passed over.
fn files(under: &str, endings: &[&str]) -> Vec<PathBuf> {
    fn walk(directory: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
        let mut entries: Vec<_> = fs::read_dir(directory)
            .unwrap_or_else(|error| panic!("{}: {error}", directory.display()))
            .map(|entry| entry.expect("a readable directory entry").path())
            .collect();
        entries.sort();
        for path in entries {
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            if path.is_dir() {
                if name != "target" && name != ".git" {
                    walk(&path, endings, found);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join(under), endings, &mut found);
    assert!(
        !found.is_empty(),
        "no {endings:?} below {under:?}: the check would check nothing"
    );
    found
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn short(path: &Path) -> String {
    path.strip_prefix(root())
        .expect("below the root")
        .display()
        .to_string()
}

/// Files for which `wrong` gives a reason, one line each.
fn offenders(files: &[PathBuf], wrong: impl Fn(&Path, &str) -> Option<String>) -> Vec<String> {
    files
        .iter()
        .filter_map(|path| wrong(path, &text(path)).map(|why| format!("{}: {why}", short(path))))
        .collect()
}

fn none(offenders: Vec<String>) {
    assert!(offenders.is_empty(), "{}", offenders.join("\n"));
}

fn licence_of(path: &Path) -> &'static str {
    let path = short(path);
    let shared_with_kernel = path.starts_with("kmod/") || path.ends_with("/regs.rs");
    if shared_with_kernel {
        "GPL-2.0-only OR MIT"
    } else {
        "MIT OR Apache-2.0"
    }
}

/// The first three lines of every source file name its licence, and the right one for where it is compiled.
#[test]
fn every_source_file_names_its_licence() {
    let sources = files("", &[".rs", ".c", ".h", "Kbuild", "Makefile", ".yml"]);

    none(offenders(&sources, |path, text| {
        let wanted = format!("SPDX-License-Identifier: {}", licence_of(path));
        let head: String = text.lines().take(3).collect::<Vec<_>>().join("\n");
        (!head.contains(&wanted)).then(|| format!("lacks `{wanted}`"))
    }));
}

/// Every file of guest tests is declared, so that it is compiled and run.
#[test]
fn no_test_file_is_forgotten() {
    let contents = text(&root().join("tests/main.rs"));

    let forgotten: Vec<_> = fs::read_dir(root().join("tests"))
        .expect("tests/ is readable")
        .map(|entry| entry.expect("a readable entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter_map(|path| {
            path.file_stem()
                .map(|stem| stem.to_string_lossy().into_owned())
        })
        .filter(|stem| stem != "main" && !contents.contains(&format!("mod {stem};")))
        .collect();
    assert!(
        forgotten.is_empty(),
        "not declared in tests/main.rs: {forgotten:?}"
    );
}

/// No file grows past what a reader takes in; past 600 lines there is a second subject in it.
#[test]
fn files_stay_small() {
    none(offenders(&files("", &[".rs", ".c", ".h"]), |_, text| {
        let lines = text.lines().count();
        (lines > 600).then(|| format!("{lines} lines"))
    }));
}

/// Tests wait for events, never for time, and none is switched off.
#[test]
fn tests_neither_sleep_nor_hide() {
    let sleeps = concat!("thread::", "sleep");
    let ignores = concat!("#[", "ignore");
    none(offenders(&files("tests", &[".rs"]), |_, text| {
        [sleeps, ignores]
            .iter()
            .find(|word| text.contains(*word))
            .map(|word| (*word).to_owned())
    }));
}

/// Nothing names a mirror, a registry or somebody's machine: the set-up asks the host for its own mirror.
#[test]
fn nothing_names_a_mirror_or_a_machine() {
    let names = [
        concat!("deb.", "debian.org"),
        concat!("archive.", "ubuntu.com"),
        concat!("static.", "crates.io"),
        concat!("/ro", "ot/"),
    ];
    none(offenders(
        &files("", &[".rs", ".toml", ".md", ".yml", ".c", ".h", "run"]),
        |_, text| {
            names
                .iter()
                .find(|name| text.contains(*name))
                .map(|name| (*name).to_owned())
        },
    ));
}

/// Every `landfall` command line in the documents is one that the command takes.
#[test]
fn documented_commands_exist() {
    let documents = files("", &[".md"]);
    let lines: Vec<String> = documents
        .iter()
        .flat_map(|path| text(path).lines().map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|line| line.trim().strip_prefix("landfall ").map(str::to_owned))
        .filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()))
        .collect();
    assert!(
        !lines.is_empty(),
        "the documents show no command: the check would check nothing"
    );

    let wrong: Vec<_> = lines
        .iter()
        .filter_map(|line| {
            let words: Vec<&str> = line
                .split('#')
                .next()
                .unwrap_or_default()
                .split_whitespace()
                .collect();
            let commands = match words[..] {
                ["catalog", of_it, ..] => vec!["catalog", of_it],
                _ => vec![words[0]],
            };
            let output = support::landfall()
                .args(commands)
                .arg("--help")
                .output()
                .expect("landfall runs");
            let help = String::from_utf8_lossy(&output.stdout);
            let unknown = words
                .iter()
                .filter(|word| word.starts_with("--"))
                .find(|word| !help.contains(word.split('=').next().unwrap_or(word)));
            match unknown {
                _ if !output.status.success() => Some(format!("landfall {line}: no such command")),
                Some(flag) => Some(format!("landfall {line}: no {flag} in its help")),
                None => None,
            }
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
