// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the help of each command ends with: how it is used, and what it ends with.

use crate::exit_code;

/// Command lines of each command, for its help.
const EXAMPLES: [(&str, &[&str]); 19] = [
    (
        "run",
        &[
            "landfall run --frames 100 --report run.html",
            "landfall run --fault overrun",
        ],
    ),
    (
        "exec",
        &[
            "landfall exec --card dt3155 --legs plain,iommu -- v4l2-ctl --stream-mmap --stream-count 10",
            "landfall exec --card ring --driver ./driver",
        ],
    ),
    (
        "explore",
        &["landfall explore --card capture --driver image:landfall_capture"],
    ),
    (
        "test",
        &["landfall test --legs plain,cpu --junit results.xml"],
    ),
    ("init", &["landfall init"]),
    (
        "build-module",
        &["landfall build-module ./driver --output ."],
    ),
    (
        "explain",
        &[
            "landfall explain BUNDLE",
            "landfall explain BUNDLE --html page.html",
        ],
    ),
    (
        "replay",
        &["landfall replay BUNDLE", "landfall replay --live BUNDLE"],
    ),
    (
        "try",
        &["landfall try BUNDLE --driver ./driver --legs plain,swiotlb"],
    ),
    ("shell", &["landfall shell --card ring --driver ./driver"]),
    (
        "survey",
        &["landfall survey --method contig --json survey.json"],
    ),
    (
        "catalog",
        &["landfall catalog list", "landfall catalog run 37 49"],
    ),
    ("legs", &["landfall legs --bug 37 --legs plain,swiotlb"]),
    ("setup", &["landfall setup --prune"]),
    ("doctor", &["landfall doctor"]),
    ("fuzz", &["landfall fuzz --seed 1 --runs 20"]),
    (
        "pool-exercise",
        &["landfall pool-exercise --seed 7 --steps 10000 --show"],
    ),
    (
        "completions",
        &[
            "landfall completions bash > ~/.local/share/bash-completion/completions/landfall",
            "landfall completions zsh > \"${fpath[1]}/_landfall\"",
            "landfall completions fish > ~/.config/fish/completions/landfall.fish",
        ],
    ),
    (
        "man",
        &["landfall man ~/.local/share/man/man1    # then: man landfall-exec"],
    ),
];

/// Gives each command its examples, and to its long help the exit codes.
pub(super) fn given_to(mut told: clap::Command) -> clap::Command {
    for (name, lines) in EXAMPLES {
        let lines = lines.iter().map(|line| format!("\n    {line}"));
        let examples = format!("Examples:{}", lines.collect::<String>());
        told = told.mut_subcommand(name, |command| {
            command
                .after_long_help(format!("{examples}\n\n{}", exit_code::HELP))
                .after_help(format!("{examples}\n\nExit codes: --help"))
        });
    }
    told
}

#[cfg(test)]
mod tests {
    use crate::cli::Cli;

    use super::EXAMPLES;

    #[test]
    fn each_command_has_an_example_that_is_one_of_it_and_is_taken() {
        let told = Cli::told();
        let commands: Vec<_> = told
            .get_subcommands()
            .map(clap::Command::get_name)
            .collect();
        let named = EXAMPLES.map(|(name, _)| name);
        assert_eq!(commands, named, "each has one, in the same order");
        for (name, lines) in EXAMPLES {
            assert!(!lines.is_empty(), "{name}");
            for line in lines {
                let words = line
                    .split(' ')
                    .take_while(|word| !matches!(*word, ">" | "#"));
                let words = words.filter(|word| !word.is_empty());
                let matches = Cli::told().try_get_matches_from(words);
                let matches = matches.unwrap_or_else(|error| panic!("{line}: {error}"));
                assert_eq!(matches.subcommand_name(), Some(name), "{line}");
            }
        }
    }
}
