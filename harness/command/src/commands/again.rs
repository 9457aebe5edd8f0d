// SPDX-License-Identifier: MIT OR Apache-2.0

//! `landfall try`: a failed run again, with the driver changed.

use std::collections::BTreeSet;
use std::fmt;

use landfall::bundle::{self, Bundle, BundleError};
use landfall::evidence::Observed;
use landfall::guest::Driver;
use landfall::judge::{self, Verdict};
use landfall_guest::Cancel;
use serde::Serialize;

use super::replay::{list, name, parsed};
use super::{Done, command_line, exec};
use crate::cli::{Command, ExecArguments, PartArguments, TryArguments};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::output;
use crate::{report, tried};

/// What came of a changed driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Outcome {
    /// Nothing is wrong any more.
    Fixed,
    /// Something that was wrong still is.
    NotFixed,
    /// Something else is wrong.
    Another,
    /// Nothing wrong was seen, and not everything was judged.
    NotJudged,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fixed => "fixed",
            Self::NotFixed => "not fixed",
            Self::Another => "another violation",
            Self::NotJudged => "not judged",
        })
    }
}

impl Outcome {
    fn code(self) -> ExitCode {
        match self {
            Self::Fixed => ExitCode::Clean,
            Self::NotFixed => ExitCode::Violations,
            Self::Another => ExitCode::Another,
            Self::NotJudged => ExitCode::NotJudged,
        }
    }
}

/// What came of it, as data.
#[derive(Serialize)]
struct Json<'a> {
    /// Version of this format.
    format: u32,
    outcome: Outcome,
    /// What the bundle names.
    was: &'a BTreeSet<String>,
    /// What is named now.
    is: &'a BTreeSet<String>,
    /// All of it.
    verdict: tried::Json<'a>,
}

/// Does the run of a bundle with another driver.
pub(super) fn again(arguments: &TryArguments, cancel: &Cancel) -> Done {
    let path = &arguments.bundle;
    let refused = |error: BundleError| Failure::of_bundle(path, &error);
    let bundle = Bundle::open(path).map_err(refused)?;
    let recorded = bundle.run().map_err(refused)?;
    let mut wanted = recorded_exec(&recorded.command)?;
    let seen = bundle.observed().map_err(refused)?;
    let was = seen.as_ref().map(wrong).unwrap_or_default();
    if was.is_empty() {
        let what = format!(
            "its bundle names nothing that a driver could have mended; it says: {}",
            recorded.summary
        );
        return Err(Failure::foreign(bundle::printable(&what).trim_end())
            .hinting("`landfall exec` does it from the start, and judges"));
    }
    wanted.subject.drivers = changed(&wanted.subject.drivers, &arguments.drivers);
    let others = arguments.legs.iter();
    let others = others.filter(|leg| !wanted.legs.contains(leg));
    let others: Vec<_> = others.copied().collect();
    wanted.legs.extend(others);
    wanted.parts = parts(&arguments.parts, &wanted.parts)?;

    let place = exec::bundles(arguments.new_bundle.as_deref())?;
    let views = arguments.views.views();
    let verdict = exec::judged(&wanted, Some(&place), &views, cancel, |_| command_line())?;
    let is = all_wrong(&verdict);
    let outcome = outcome(&was, &is, came(&verdict));
    tried::programs(&verdict);
    tried::verdict(&verdict);
    tried::viewed(&views, &verdict);
    output::text(&bundle::printable(&told(outcome, &was, &is, &wanted)));
    if let Some(path) = &arguments.json {
        let json = Json {
            format: 1,
            outcome,
            was: &was,
            is: &is,
            verdict: tried::Json::from(&verdict),
        };
        report::write_json(path, &json)?;
    }
    Ok(outcome.code())
}

/// What a bundle says was done, if that was `exec` and nothing of it is a file, a program or a server of somebody's but the
/// driver, which is another now.
fn recorded_exec(command: &[String]) -> Result<ExecArguments, Failure> {
    if command.is_empty() {
        let what =
            "its bundle does not say how the run was done, as that of a test of a project does not";
        return Err(Failure::foreign(what).hinting("`landfall test` does it again"));
    }
    let exec = match parsed(command)?.command {
        Some(Command::Exec(exec)) => *exec,
        Some(Command::Explore(_)) => {
            return Err(Failure::foreign(
                "an order of one driver is none of a changed one: `landfall explore` looks for it anew",
            ));
        }
        Some(Command::Try(_)) => {
            return Err(Failure::foreign(
                "it is of a driver that was tried: take the bundle that this one was tried from",
            ));
        }
        None | Some(Command::Run(_) | Command::Legs(_) | Command::Catalog(_)) => {
            return Err(Failure::foreign(
                "the run had no driver of somebody's own that could be another: a driver is tried from a bundle of `exec`",
            ));
        }
        Some(_) => {
            return Err(Failure::foreign(
                "a driver is tried from a bundle of `exec`",
            ));
        }
    };
    let mut without = exec.clone();
    without.subject.drivers.clear();
    match without.is_of_ours() {
        true => Ok(exec),
        false => {
            let words = command.join(" ");
            let what = format!(
                "the run had a card, files or programs of somebody's own, which a bundle may not name; do it by hand, with the changed \
                 driver: landfall {words}"
            );
            Err(Failure::foreign(bundle::printable(&what).trim_end()))
        }
    }
}

/// The drivers to try. One in the place of one has its parameters, for those may be what makes the bug show.
fn changed(were: &[Driver], given: &[Driver]) -> Vec<Driver> {
    match (were, given) {
        ([was], [now]) if now.parameters.is_empty() => {
            vec![now.clone().with(was.parameters.clone())]
        }
        _ => given.to_vec(),
    }
}

/// What guests are made of: what is said here, and of the bundle only names of Debian's.
fn parts(mine: &PartArguments, recorded: &PartArguments) -> Result<PartArguments, Failure> {
    let brings = |parts: &PartArguments| {
        parts.qemu.is_some() || parts.kernel.is_some() || !parts.modules.is_empty()
    };
    if brings(recorded) && !brings(mine) {
        return Err(Failure::foreign(
            "the run had a QEMU, a kernel or modules of somebody's own, which a bundle may not name: say them here",
        ));
    }
    let mut parts = mine.clone();
    parts.arch = mine.arch.clone().or_else(|| recorded.arch.clone());
    if parts.kernel.is_none() && parts.kernel_series.is_none() {
        parts.kernel_series.clone_from(&recorded.kernel_series);
    }
    parts.marks |= recorded.marks;
    Ok(parts)
}

/// All that was seen to be wrong, by name: words, places and times are another guest's.
fn wrong(seen: &Observed) -> BTreeSet<String> {
    let named = seen.violations.iter();
    let named = named.map(|named| name(&named.name, named.class));
    let findings = seen.findings.iter();
    let findings = findings.map(|finding| format!("the kernel's report {:?}", finding.kind));
    let died = seen.died.iter().map(|_| "the guest died".to_owned());
    named.chain(findings).chain(died).collect()
}

/// Likewise, on all platforms.
fn all_wrong(verdict: &Verdict) -> BTreeSet<String> {
    let cards = verdict.legs.iter().flat_map(|leg| &leg.cards);
    cards.flat_map(|(_, seen)| wrong(seen)).collect()
}

/// The verdict in one word; where a platform was left out, nothing is known to be mended there.
fn came(verdict: &Verdict) -> judge::Outcome {
    let left_out = verdict.legs.iter().any(|leg| leg.skipped.is_some());
    match verdict.outcome() {
        judge::Outcome::Clean if left_out => judge::Outcome::NotJudged,
        came => came,
    }
}

/// What to call it. A program that fails is wrong without a name, and so never what a bundle named.
fn outcome(was: &BTreeSet<String>, is: &BTreeSet<String>, now: judge::Outcome) -> Outcome {
    match now {
        judge::Outcome::Clean => Outcome::Fixed,
        judge::Outcome::NotJudged => Outcome::NotJudged,
        judge::Outcome::Violations if was.is_disjoint(is) => Outcome::Another,
        judge::Outcome::Violations => Outcome::NotFixed,
    }
}

fn told(
    outcome: Outcome,
    was: &BTreeSet<String>,
    is: &BTreeSet<String>,
    wanted: &ExecArguments,
) -> String {
    let now = match (outcome, is.is_empty()) {
        (Outcome::Another, true) => "a program failed, or a platform's view".to_owned(),
        _ => list(is),
    };
    let drivers = wanted.subject.drivers.iter();
    let drivers = drivers.map(|driver| match driver.parameters.is_empty() {
        true => driver.to_string(),
        false => format!("{driver} {}", driver.parameters),
    });
    let drivers = drivers.collect::<Vec<_>>().join(", ");
    let legs = wanted.legs.iter().map(ToString::to_string);
    let legs = legs.collect::<Vec<_>>().join(", ");
    let once = match outcome {
        Outcome::Fixed => {
            " (once on each: a race may only have been lucky; `landfall explore` tries all orders)"
        }
        Outcome::NotJudged => " (nothing wrong was seen, and not everything could be looked at)",
        Outcome::NotFixed | Outcome::Another => "",
    };
    format!(
        "\nrecorded was: {}\nnow it is:    {now}\n{outcome}: {drivers} on {legs}{once}\n",
        list(was)
    )
}

#[cfg(test)]
mod tests {
    use landfall::judge::{Judged, Leg};

    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_is_named_again_is_not_fixed_and_what_is_not_known_is_not_fixed_either() {
        let (was, both) = (names(&["a"]), names(&["a", "b"]));
        let now = |is: &BTreeSet<String>, came| outcome(&was, is, came);
        let none = names(&[]);
        assert_eq!(now(&none, judge::Outcome::Clean), Outcome::Fixed);
        assert_eq!(now(&none, judge::Outcome::NotJudged), Outcome::NotJudged);
        assert_eq!(now(&was, judge::Outcome::Violations), Outcome::NotFixed);
        assert_eq!(now(&both, judge::Outcome::Violations), Outcome::NotFixed);
        let other = names(&["b"]);
        assert_eq!(now(&other, judge::Outcome::Violations), Outcome::Another);
        assert_eq!(now(&none, judge::Outcome::Violations), Outcome::Another);
    }

    #[test]
    fn where_a_platform_was_left_out_nothing_is_known_to_be_mended() {
        let judged = |leg, skipped: Option<&str>| Judged {
            leg,
            skipped: skipped.map(str::to_owned),
            cards: vec![(
                "card".to_owned(),
                Observed {
                    accesses: 1,
                    ..Observed::default()
                },
            )],
            programs: Vec::new(),
            looks: Vec::new(),
        };
        let verdict = |legs| Verdict {
            name: "t".to_owned(),
            legs,
        };
        let plain = || judged(Leg::Plain, None);
        assert_eq!(came(&verdict(vec![plain()])), judge::Outcome::Clean);
        let left = judged(Leg::Cpu, Some("there is no TCG"));
        assert_eq!(
            came(&verdict(vec![plain(), left])),
            judge::Outcome::NotJudged
        );
    }

    #[test]
    fn one_driver_in_the_place_of_one_has_its_parameters() {
        let was = [Driver::build("./old").with("early=1")];
        let new = Driver::build("./new");
        let with = |given: &[Driver]| changed(&was, given);
        assert_eq!(
            with(std::slice::from_ref(&new)),
            [new.clone().with("early=1")]
        );
        let own = new.clone().with("early=0");
        assert_eq!(with(std::slice::from_ref(&own)), [own]);
        let two = [new.clone(), Driver::stock("videodev")];
        assert_eq!(with(&two), two);
    }

    #[test]
    fn a_bundle_that_a_driver_cannot_be_tried_from_says_what_can_be_done() {
        for (line, says) in [
            ("run --fault overrun", "no driver of somebody's own"),
            ("--fault overrun", "no driver of somebody's own"),
            ("legs --bug 37", "no driver of somebody's own"),
            ("shell --card ring", "from a bundle of `exec`"),
            ("explore --card ring --order 1:1", "looks for it anew"),
            ("try b --driver ./d", "that this one was tried from"),
            (
                "exec --card-command ./card --driver ./d",
                "landfall exec --card-command ./card",
            ),
            (
                "exec --card ring --driver ./d -- ./my-test",
                "by hand, with the changed driver",
            ),
            ("exec --card ring --legs nowhere", "is not understood"),
        ] {
            let refused = recorded_exec(&words(line)).expect_err(line);
            assert!(refused.what.contains(says), "{line}: {}", refused.what);
            assert_eq!(refused.code, ExitCode::Usage, "{line}");
        }
        let nothing = recorded_exec(&[]).expect_err("nothing is said");
        assert!(nothing.what.contains("does not say"), "{}", nothing.what);
        let own = recorded_exec(&words("exec --card ring --driver ./d --legs=iommu -- true"));
        assert_eq!(own.expect("it is").program, ["true"]);
    }

    #[test]
    fn a_bundle_names_a_kernel_of_debians_and_never_a_file() {
        let parts_of = |line: &str| recorded_exec(&words(line)).expect(line).parts;
        let none = parts_of("exec --card ring --driver ./d");
        let older = parts_of("exec --card ring --driver ./d --kernel-series 6.12 --arch arm64");
        let own = parts_of("exec --card ring --driver ./d --kernel Image");
        let taken = parts(&none, &older).expect("names alone");
        assert_eq!(taken.kernel_series.as_deref(), Some("6.12"));
        assert_eq!(taken.arch.as_deref(), Some("arm64"));
        assert!(parts(&none, &own).is_err(), "a file of the bundle's");
        let mine = parts(&own, &older).expect("said here");
        assert_eq!((mine.kernel_series, mine.kernel), (None, own.kernel));
    }
}
