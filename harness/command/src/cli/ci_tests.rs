// SPDX-License-Identifier: MIT OR Apache-2.0

//! What CI is given to run is what the command line takes.

use clap::Parser;

use super::{Cli, Command};

const ACTION: &str = include_str!("../../../../action.yml");
const GITLAB: &str = include_str!("../../../../docs/ci/landfall.gitlab-ci.yml");

/// The command lines of `landfall` in a file of YAML; a shell's words here are without blanks.
fn lines(yaml: &str) -> Vec<Vec<String>> {
    let lines = yaml.lines().filter_map(|line| {
        let line = line.trim().trim_start_matches("- ");
        line.strip_prefix("run: ")
            .unwrap_or(line)
            .strip_prefix("landfall ")
    });
    let word = |word: &str| word.replace('"', "");
    let words = |line: &str| line.split(' ').map(word).collect();
    lines.map(words).collect()
}

fn parsed(words: &[String]) -> Result<Cli, clap::Error> {
    let name = std::iter::once("landfall");
    // What stands for platforms is some.
    let words = words.iter().map(|word| match &**word {
        "$LEGS" => "plain,iommu",
        word => word,
    });
    Cli::try_parse_from(name.chain(words))
}

#[test]
fn the_commands_of_the_action_and_the_template_are_taken() {
    for (name, yaml) in [("action.yml", ACTION), ("GitLab's", GITLAB)] {
        let lines = lines(yaml);
        let mut tests = 0;
        for line in &lines {
            let cli = parsed(line).unwrap_or_else(|error| panic!("{name}: {line:?}: {error}"));
            tests += usize::from(matches!(cli.command, Some(Command::Test(_))));
        }
        assert!(lines.len() >= 3 && tests > 0, "{name}: {lines:?}");
    }
    assert!(parsed(&["test".to_owned(), "--ktpa".to_owned()]).is_err());
}

/// What a step hands on is what the action asks for, and it asks for nothing else.
#[test]
fn the_inputs_of_the_action_are_those_that_its_steps_use() {
    let (inputs, steps) = ACTION.split_once("\nruns:\n").expect("inputs and steps");
    let (_, inputs) = inputs.split_once("\ninputs:\n").expect("inputs");
    let named = |line: &str| {
        let name = line.strip_prefix("  ")?.strip_suffix(':')?;
        (!name.starts_with(' ')).then(|| name.to_owned())
    };
    let asked: Vec<_> = inputs.lines().filter_map(named).collect();
    assert!(asked.len() >= 3, "{asked:?}");
    for name in &asked {
        assert!(
            steps.contains(&format!("${{{{ inputs.{name} }}}}")),
            "{name}"
        );
    }
    for used in steps.split("inputs.").skip(1) {
        let name = used.split(' ').next().unwrap_or_default().to_owned();
        assert!(asked.contains(&name), "{name} is no input");
    }
}
