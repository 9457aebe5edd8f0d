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
    let shared_with_kernel = path.starts_with("kmod/")
        || path.starts_with("examples/") && path.contains("/driver/")
        || path.ends_with("/regs.rs");
    if shared_with_kernel {
        "GPL-2.0-only OR MIT"
    } else {
        "MIT OR Apache-2.0"
    }
}

/// The first three lines of every source file name its licence, and the right one for where it is compiled.
#[test]
fn every_source_file_names_its_licence() {
    let endings = [
        ".rs", ".c", ".h", "Kbuild", "Makefile", ".yml", ".html", ".css", ".js",
    ];
    let sources = files("", &endings);

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
    let sources = files("", &[".rs", ".c", ".h", ".html", ".css", ".js"]);
    none(offenders(&sources, |path, text| {
        // What was recorded is nobody's to read.
        let recorded = short(path).contains("/bundles/");
        let lines = text.lines().count();
        (lines > 600 && !recorded).then(|| format!("{lines} lines"))
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
                .take_while(|word| *word != "--") // a program of the guest's
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

/// Who may import whom inside a package: folders and files on one level nothing of the levels behind it.
const LEVELS: [(&str, &[&str]); 5] = [
    (
        "device-model/src",
        &[
            "contract random",
            "journal pci wire",
            "dma explore foreign ledger parts",
            "serve",
            "testing",
        ],
    ),
    (
        "guest-image/src",
        &[
            "architecture event host",
            "store reporter",
            "prepared debian image",
            "qemu",
            "kernel",
            "setup",
            "archive",
        ],
    ),
    (
        "harness/src",
        &[
            "guest debug_info",
            "report",
            "evidence",
            "viewer",
            "bundle",
            "judge",
            "explore",
            "testing",
        ],
    ),
    (
        "harness/suite/src",
        &[
            "capture verify scenario exercise project",
            "run",
            "fuzz catalog survey video",
        ],
    ),
    (
        "harness/command/src",
        &[
            "exit_code output",
            "cli failure",
            "terminal report progress",
            "tried",
            "commands",
        ],
    ),
];

/// Imports against the levels that have a reason: a set-up's error names what may fail in any part of it.
const UPWARD: [&str; 1] = ["guest-image/src/setup/error.rs: archive"];

/// The map in ARCHITECTURE.md holds: nobody imports what lies above.
#[test]
fn nobody_imports_what_lies_above() {
    for (package, levels) in LEVELS {
        let level = |name: &str| {
            let found = levels
                .iter()
                .position(|level| level.split(' ').any(|known| known == name));
            found.ok_or_else(|| format!("{package}: {name} has no level"))
        };
        none(offenders(&files(package, &[".rs"]), |path, text| {
            let below = path.strip_prefix(root().join(package)).expect("below it");
            let own = below.components().next().expect("a name").as_os_str();
            let own = own.to_string_lossy().replace(".rs", "");
            let of_tests = short(path).contains("/tests") || short(path).ends_with("_tests.rs");
            if matches!(&*own, "lib" | "main") || of_tests {
                return None;
            }
            let own = match level(&own) {
                Ok(own) => own,
                Err(unknown) => return Some(unknown),
            };
            // What only tests import is no level.
            let (text, _) = text.split_once("\n#[cfg(test)]").unwrap_or((text, ""));
            let code = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            let names = code.flat_map(|line| line.split("crate::").skip(1));
            let mut names = names.map(|rest| {
                let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_');
                &rest[..end.unwrap_or(rest.len())]
            });
            let short = short(path);
            names.find_map(|name| {
                let above = level(name).is_ok_and(|other| other > own);
                let reason = UPWARD.contains(&format!("{short}: {name}").as_str());
                (above && !reason).then(|| format!("imports {name}, which lies above it"))
            })
        }));
    }
}

/// The library of the harness knows none of our cards, and the ledger neither clock nor thread nor server.
#[test]
fn the_general_half_knows_no_card_of_ours() {
    for manifest in ["harness/Cargo.toml", "guest-image/Cargo.toml"] {
        let text = text(&root().join(manifest));
        let (_, rest) = text.split_once("[dependencies]").expect("dependencies");
        let own = rest.split("\n[").next().expect("a section");
        assert!(!own.contains("landfall-cards"), "{manifest}");
        assert!(!own.contains("landfall-suite"), "{manifest}");
    }
    none(offenders(
        &files("device-model/src/ledger", &[".rs"]),
        |_, text| {
            let words = [
                "std::time::Instant",
                "std::thread",
                "crate::serve",
                "crate::pci",
            ];
            let found = words.into_iter().find(|word| text.contains(word));
            found.map(|word| format!("names {word}"))
        },
    ));
}

/// Every path that the documents name is there.
#[test]
fn documented_paths_exist() {
    let tops = [
        "device-model/",
        "kmod/",
        "guest-image/",
        "harness/",
        "tests/",
        "docs/",
        "examples/",
    ];
    none(offenders(&files("", &[".md"]), |_, text| {
        let words = text.split(|c: char| c.is_whitespace() || "`()[],;:*\"'<>".contains(c));
        let mut paths = words.filter(|word| tops.iter().any(|top| word.starts_with(top)));
        paths
            .find(|path| {
                let plain = path.trim_end_matches('.');
                !plain.contains(['{', 'N', '|', '=', '#'])
                    && !text.contains(&format!("{plain}.*"))
                    && !root().join(plain).exists()
            })
            .map(|path| format!("there is no {path}"))
    }));
}
