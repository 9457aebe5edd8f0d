// SPDX-License-Identifier: MIT OR Apache-2.0

//! `landfall.toml`: what a project tries, and what it expects.

use std::path::PathBuf;
use std::time::Duration;

use landfall::guest::Driver;
use landfall::judge::{Leg, Outcome, Verdict};
use landfall_device::ledger::Class;
use serde::Deserialize;
use toml::{Table, Value};

use super::guests::Guests;
use super::subject::{CardChoice, Subject};

/// A file that works as it is: one of Landfall's cards, a driver of the guest's own kernel, and a program of Debian's.
pub const TEMPLATE: &str = include_str!("template.toml");

/// Longest file, bytes.
const LONGEST: usize = 1 << 20;
/// Most tests of a file.
const MOST: usize = 10_000;
/// Most bytes of what is said once for all tests, over all of them: each has it for itself.
const MOST_REPEATED: usize = 32 << 20;
/// What may be said once for all tests, and by each for itself.
const SUBJECT: [&str; 14] = [
    "cards",
    "card-sockets",
    "card-commands",
    "registers",
    "unjudged",
    "drivers",
    "packages",
    "selftests",
    "files",
    "legs",
    "architectures",
    "kernels",
    "run",
    "timeout",
];
/// What a test has besides.
const OF_TEST: [&str; 2] = ["name", "expect"];
/// What the file has besides.
const OF_FILE: [&str; 1] = ["test"];
/// How alike a word must be to be suggested, of 1.
const ALIKE: f64 = 0.75;

/// What a `landfall.toml` says.
#[derive(Clone, Debug, PartialEq)]
pub struct Project {
    /// Its tests, in their order.
    pub tests: Vec<Test>,
}

/// A test.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// Its name; no two have the same.
    pub name: String,
    /// What is tried.
    pub subject: Subject,
    /// On which guests.
    pub guests: Guests,
    /// What it is to come to.
    pub expect: Expect,
}

/// What a test is to come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Expect {
    /// Nothing goes wrong, and everything is judged.
    #[default]
    Clean,
    /// Just this bug is named, on every platform.
    Named(Class),
    /// Each of these is named, on every platform, whatever else is.
    Among(Vec<Class>),
}

/// A `landfall.toml` makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProjectError {
    /// It is no TOML, or a value is of another kind.
    #[error("{0}")]
    Toml(String),
    /// Nobody knows that key.
    #[error("{place}: there is no key `{key}`{}", suggestion.as_ref().map_or_else(
        || format!("; there are {}", known.join(", ")),
        |near| format!("; did you mean `{near}`?")
    ))]
    Key {
        /// In which part.
        place: String,
        /// The key.
        key: String,
        /// One that is much alike.
        suggestion: Option<String>,
        /// All that there are.
        known: Vec<String>,
    },
    /// A value makes no sense.
    #[error("{place}: `{key}`: {why}")]
    Value {
        /// In which part.
        place: String,
        /// The key.
        key: &'static str,
        /// Why not.
        why: String,
    },
    /// There is nothing to do.
    #[error("it has no test: a test begins with [[test]], and has a name")]
    NoTest,
    /// Larger than any such file.
    #[error("it is larger than any such file: {LONGEST} bytes and {MOST} tests are the most")]
    TooLarge,
    /// What is said once for all tests is long, and so are they.
    #[error(
        "what it says for all tests comes to more than {MOST_REPEATED} bytes in {tests} of them"
    )]
    Repeated {
        /// How many there are.
        tests: usize,
    },
}

/// What a part of the file says, as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Part {
    cards: Option<Vec<String>>,
    card_sockets: Option<Vec<PathBuf>>,
    card_commands: Option<Vec<String>>,
    registers: Option<PathBuf>,
    unjudged: Option<bool>,
    drivers: Option<Vec<String>>,
    packages: Option<Vec<String>>,
    selftests: Option<Vec<String>>,
    files: Option<Vec<String>>,
    legs: Option<Vec<String>>,
    architectures: Option<Vec<String>>,
    kernels: Option<Vec<String>>,
    run: Option<Program>,
    timeout: Option<u64>,
    name: Option<String>,
    expect: Option<Expected>,
}

/// A program: its words, or a line for the guest's shell.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Program {
    Line(String),
    Words(Vec<String>),
}

/// `clean`, a class, or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Expected {
    One(Said),
    Several(Vec<Said>),
}

/// A class by its number or its name.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Said {
    Number(u8),
    Name(String),
}

impl Project {
    /// Reads it.
    ///
    /// # Errors
    /// What makes no sense, in words.
    pub fn parse(text: &str) -> Result<Self, ProjectError> {
        if text.len() > LONGEST {
            return Err(ProjectError::TooLarge);
        }
        let toml = |error: toml::de::Error| ProjectError::Toml(error.to_string());
        let table: Table = toml::from_str(text).map_err(toml)?;
        let everywhere = "landfall.toml";
        check_keys(&table, everywhere, &[&SUBJECT, &OF_FILE])?;
        let tests = match table.get("test") {
            Some(Value::Array(tests)) => tests.as_slice(),
            Some(_) => {
                return Err(ProjectError::Value {
                    place: everywhere.to_owned(),
                    key: "test",
                    why: "a test begins with [[test]]".to_owned(),
                });
            }
            None => &[],
        };
        match tests.len() {
            0 => return Err(ProjectError::NoTest),
            1..=MOST => {}
            _ => return Err(ProjectError::TooLarge),
        }
        let part = |table: &Table, place: &str| -> Result<Part, ProjectError> {
            let read = Value::Table(table.clone()).try_into();
            read.map_err(|error: toml::de::Error| {
                let why = error.message().trim().to_owned();
                ProjectError::Toml(format!("{place}: {why}"))
            })
        };
        let mut common = table.clone();
        common.remove("test");
        let repeated = toml::to_string(&common).map_or(text.len(), |text| text.len());
        if repeated.saturating_mul(tests.len()) > MOST_REPEATED {
            let tests = tests.len();
            return Err(ProjectError::Repeated { tests });
        }
        let common = part(&common, everywhere)?;
        let mut project = Self { tests: Vec::new() };
        for (number, test) in tests.iter().enumerate() {
            let place = format!("test {}", number + 1);
            let Value::Table(test) = test else {
                return Err(ProjectError::Toml(format!("{place} is no table")));
            };
            check_keys(test, &place, &[&SUBJECT, &OF_TEST])?;
            for test in part(test, &place)?.tests(&common, &place)? {
                if project.tests.iter().any(|other| other.name == test.name) {
                    return Err(ProjectError::Value {
                        place,
                        key: "name",
                        why: format!("another test is called {:?}", test.name),
                    });
                }
                project.tests.push(test);
            }
        }
        Ok(project)
    }
}

fn check_keys(table: &Table, place: &str, known: &[&[&str]]) -> Result<(), ProjectError> {
    let known = || known.iter().copied().flatten().copied();
    let Some(key) = table.keys().find(|key| !known().any(|other| other == *key)) else {
        return Ok(());
    };
    let alike = |other: &str| strsim::jaro_winkler(key, other);
    let near = known().max_by(|one, other| alike(one).total_cmp(&alike(other)));
    Err(ProjectError::Key {
        place: place.to_owned(),
        key: key.clone(),
        suggestion: near.filter(|near| alike(near) > ALIKE).map(str::to_owned),
        known: known().map(str::to_owned).collect(),
    })
}

impl Part {
    /// The test that this part says, once for each kind of its guests.
    fn tests(self, common: &Self, place: &str) -> Result<Vec<Test>, ProjectError> {
        let own = |of: &dyn Fn(&Self) -> Option<Vec<String>>| {
            of(&self).or_else(|| of(common)).unwrap_or_default()
        };
        let architectures = own(&|part| part.architectures.clone());
        let kernels = own(&|part| part.kernels.clone());
        let guests = Guests::all(&architectures, &kernels);
        let guests = guests.map_err(|(key, why)| ProjectError::Value {
            place: place.to_owned(),
            key,
            why,
        })?;
        let test = self.test(common, place)?;
        let on = |guests: Guests| Test {
            name: test.name.clone() + &guests.suffix(),
            guests,
            ..test.clone()
        };
        Ok(guests.into_iter().map(on).collect())
    }

    /// The test that this part says, with what all of them have in common.
    fn test(self, common: &Self, place: &str) -> Result<Test, ProjectError> {
        let wrong = |key, why: String| ProjectError::Value {
            place: place.to_owned(),
            key,
            why,
        };
        let name = self.name.clone().unwrap_or_default();
        if name.trim().is_empty() || name.contains(char::is_control) {
            return Err(wrong("name", "each test has one, on one line".to_owned()));
        }
        let cards = match (&self.cards, &self.card_sockets, &self.card_commands) {
            (None, None, None) => common.all_cards(),
            _ => self.all_cards(),
        };
        fn said<T: Clone>(own: &Option<Vec<T>>, common: &Option<Vec<T>>) -> Vec<T> {
            own.clone().or_else(|| common.clone()).unwrap_or_default()
        }
        let drivers = said(&self.drivers, &common.drivers);
        let drivers = drivers.iter().map(|said| said.parse::<Driver>());
        let drivers: Result<_, _> = drivers.collect();
        let files = said(&self.files, &common.files);
        let files: Result<_, _> = files.iter().map(|said| file(said)).collect();
        let legs = said(&self.legs, &common.legs);
        let legs: Result<_, _> = legs.iter().map(|said| said.parse::<Leg>()).collect();
        let program = self.run.or_else(|| common.run.clone());
        let subject = Subject {
            cards,
            registers: self.registers.or_else(|| common.registers.clone()),
            unjudged: self.unjudged.or(common.unjudged).unwrap_or_default(),
            drivers: drivers.map_err(|why| wrong("drivers", why))?,
            packages: said(&self.packages, &common.packages),
            selftests: said(&self.selftests, &common.selftests),
            files: files.map_err(|why| wrong("files", why))?,
            program: match program {
                None => Vec::new(),
                Some(Program::Words(words)) => words,
                Some(Program::Line(line)) => vec!["/bin/sh".to_owned(), "-c".to_owned(), line],
            },
            legs: legs.map_err(|why| wrong("legs", why))?,
            patience: self.timeout.or(common.timeout).map(Duration::from_secs),
        };
        if subject.cards.is_empty() {
            let why =
                "a test has a card; card-commands and card-sockets name others than Landfall's";
            return Err(wrong("cards", why.to_owned()));
        }
        let expect = match self.expect {
            None => Expect::Clean,
            Some(expected) => expected.read().map_err(|why| wrong("expect", why))?,
        };
        Ok(Test {
            name,
            subject: subject.with_usual(),
            guests: Guests::default(),
            expect,
        })
    }

    fn all_cards(&self) -> Vec<CardChoice> {
        let named = self.cards.iter().flatten().cloned().map(CardChoice::Named);
        let sockets = self.card_sockets.iter().flatten().cloned();
        let commands = self.card_commands.iter().flatten().cloned();
        let sockets = sockets.map(CardChoice::Socket);
        named
            .chain(sockets)
            .chain(commands.map(CardChoice::Command))
            .collect()
    }
}

/// Reads `SRC:DST`: a file of the host's, and its place in the guest.
///
/// # Errors
/// If it is none, in words.
pub fn file(said: &str) -> Result<(PathBuf, String), String> {
    match said.rsplit_once(':') {
        Some((host, guest)) if !host.is_empty() && guest.starts_with('/') => {
            Ok((PathBuf::from(host), guest.to_owned()))
        }
        _ => Err(format!(
            "{said:?} is no file and its place in the guest, such as test.sh:/opt/test.sh"
        )),
    }
}

impl Expected {
    fn read(&self) -> Result<Expect, String> {
        match self {
            Self::One(Said::Name(name)) if name == "clean" => Ok(Expect::Clean),
            Self::One(said) => said.class().map(Expect::Named),
            Self::Several(said) => {
                let classes: Result<Vec<_>, _> = said.iter().map(Said::class).collect();
                match classes? {
                    classes if classes.is_empty() => Err("a list names a class".to_owned()),
                    classes => Ok(Expect::Among(classes)),
                }
            }
        }
    }
}

impl Said {
    fn class(&self) -> Result<Class, String> {
        let class = match self {
            Self::Name(name) => Class::ALL.into_iter().find(|class| class.name() == name),
            Self::Number(number) => Class::of(*number),
        };
        let what = match self {
            Self::Name(name) => format!("{name:?}"),
            Self::Number(number) => number.to_string(),
        };
        class.ok_or_else(|| {
            format!(
                "{what} is neither \"clean\" nor a class of bugs; `landfall catalog list` lists those, by number and name"
            )
        })
    }
}

impl Expect {
    /// Whether a verdict is what was expected; if not, why, in a line.
    ///
    /// # Errors
    /// So.
    pub fn check(&self, verdict: &Verdict) -> Result<(), String> {
        let wrong = || {
            let first = verdict.wrong().into_iter().next();
            first.unwrap_or_else(|| verdict.outcome().to_string())
        };
        match self {
            Self::Clean => match verdict.outcome() {
                Outcome::Clean => Ok(()),
                _ => Err(wrong()),
            },
            Self::Among(classes) => match classes.iter().find(|class| !verdict.names(**class)) {
                None => Ok(()),
                Some(class) => Err(format!(
                    "class {class} ({}) was expected among what is named: {}",
                    class.name(),
                    wrong()
                )),
            },
            Self::Named(class) => match verdict.is_named(*class) {
                true => Ok(()),
                false => Err(format!(
                    "class {class} ({}) was expected: {}",
                    class.name(),
                    wrong()
                )),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        Project::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn the_template_is_a_project() {
        let project = Project::parse(TEMPLATE).unwrap();
        assert!(!project.tests.is_empty());
    }

    #[test]
    fn what_a_test_says_comes_before_what_all_of_them_have() {
        let project = Project::parse(
            r#"
            cards = ["ring"]
            drivers = ["./driver rate=2"]
            selftests = ["vfio"]
            legs = ["plain", "iommu"]
            timeout = 9
            [[test]]
            name = "binds"
            [[test]]
            name = "is told"
            drivers = ["./driver early=1"]
            legs = ["swiotlb"]
            expect = 7
            run = ["./test", "-n", "3"]
            files = ["data/a:b.bin:/opt/b.bin"]
            [[test]]
            name = "in words"
            card-commands = ["python3 card.py"]
            expect = ["overrun", 7]
            run = "ls /sys | wc -l"
            "#,
        )
        .unwrap();
        let [binds, told, words] = &project.tests[..] else {
            panic!("{project:?}");
        };
        assert_eq!(
            binds.subject.drivers,
            [Driver::build("./driver").with("rate=2")]
        );
        assert_eq!(binds.subject.selftests, ["vfio"]);
        assert_eq!(binds.subject.legs, [Leg::Plain, Leg::Iommu]);
        assert_eq!(binds.subject.patience, Some(Duration::from_secs(9)));
        assert_eq!(binds.expect, Expect::Clean);
        assert_eq!(told.subject.legs, [Leg::Swiotlb]);
        assert_eq!(told.expect, Expect::Named(Class::StaleAddress));
        assert_eq!(told.subject.program, ["./test", "-n", "3"]);
        let place = (PathBuf::from("data/a:b.bin"), "/opt/b.bin".to_owned());
        assert_eq!(told.subject.files, [place]);
        assert_eq!(
            words.subject.cards,
            [CardChoice::Command("python3 card.py".to_owned())]
        );
        let both = vec![Class::Overrun, Class::StaleAddress];
        assert_eq!(words.expect, Expect::Among(both));
        assert_eq!(words.subject.program[..2], ["/bin/sh", "-c"]);
    }

    #[test]
    fn a_test_is_done_on_each_of_its_kernels() {
        let text = "cards = [\"ring\"]\nkernels = [\"7.3\", \"6.12\"]\n[[test]]\nname = \"a\"\n\
                    [[test]]\nname = \"b\"\nkernels = []\n";
        let project = Project::parse(text).unwrap();
        let told: Vec<_> = project
            .tests
            .iter()
            .map(|test| (test.name.as_str(), test.guests.kernel.as_deref()))
            .collect();
        assert_eq!(
            told,
            [
                ("a, Linux 7.3", Some("7.3")),
                ("a, Linux 6.12", Some("6.12")),
                ("b", None)
            ]
        );
    }

    #[test]
    fn a_key_that_nobody_knows_is_an_error_with_a_suggestion() {
        let said = wrong("cards = [\"ring\"]\ndrivres = [\"./d\"]\n[[test]]\nname = \"a\"\n");
        assert_eq!(
            said,
            "landfall.toml: there is no key `drivres`; did you mean `drivers`?"
        );
        let said = wrong("[[test]]\nname = \"a\"\nexcept = \"clean\"\n");
        assert!(
            said.contains("test 1") && said.contains("`expect`?"),
            "{said}"
        );
        let said = wrong("[[test]]\nname = \"a\"\nzzz = 1\n");
        assert!(said.contains("there are cards, "), "{said}");
    }

    #[test]
    fn what_makes_no_sense_is_told_with_its_place() {
        let test = |line: &str| {
            wrong(&format!(
                "cards = [\"ring\"]\n[[test]]\nname = \"a\"\n{line}"
            ))
        };
        assert!(test("legs = [\"plian\"]").contains("test 1: `legs`: choose one of plain"));
        assert!(
            test("kernels = [\"2.4\"]").contains("test 1: `kernels`: there is no series \"2.4\"")
        );
        assert!(test("kernels = [\"7.3\", \"7.3\"]").contains("said once"));
        assert!(test("expect = \"dirty\"").contains("neither \"clean\" nor a class"));
        assert!(test("expect = 250").contains("250"));
        assert!(test("expect = [7, \"dirty\"]").contains("neither"));
        assert!(test("expect = []").contains("names a class"));
        assert!(test("drivers = [\"dt3155\"]").contains("stock:dt3155"));
        assert!(test("files = [\"a\"]").contains("place in the guest"));
        assert!(test("timeout = \"long\"").contains("test 1"));
        assert!(test("[[test]]\nname = \"a\"").contains("another test"));
        assert!(test("[[test]]").contains("`name`"));
        let many: String = (0..2000).map(|n| format!("[[test]]\nname={n}\n")).collect();
        let many = many.replace("name=", "name=\"").replace("\n[[", "\"\n[[");
        let long = format!(
            "cards=[{}]\n{}\"",
            "\"ring\",".repeat(4000),
            many.trim_end()
        );
        assert!(wrong(&long).contains("in 2000 of them"), "{}", wrong(&long));
        assert!(wrong("").contains("no test"));
        assert!(wrong("test = 1").contains("[[test]]"));
        assert!(wrong("[[test]]\nname = \"a\"\n").contains("`cards`"));
        assert!(wrong("x = ").contains("line 1"), "{}", wrong("x = "));
    }
}
