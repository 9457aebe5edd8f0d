// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is tried.

use std::path::{Path, PathBuf};
use std::time::Duration;

use landfall::guest::{Card, Driver, DriverSource, GuestOptions, PoolOptions, SOCKET, Server};
use landfall::judge::{Leg, Trial};
use landfall_guest::Packages;

/// A card, by what is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CardChoice {
    /// One of Landfall's.
    Named(String),
    /// Of a vfio-user server that listens there.
    Socket(PathBuf),
    /// Of a vfio-user server that this command line of the shell's starts.
    Command(String),
}

/// Cards, their drivers, and what programs in the guest need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// Cards, in the order of their ports.
    pub cards: Vec<CardChoice>,
    /// What the registers of a server's card are called: a file, for [`Server::registers`].
    pub registers: Option<PathBuf>,
    /// Servers may map the guest's memory, and nothing that they do is judged: [`Server::unjudged`].
    pub unjudged: bool,
    /// Drivers, in the order of their loading. None: what each card is usually tried with.
    pub drivers: Vec<Driver>,
    /// Debian packages.
    pub packages: Vec<String>,
    /// Selftests of the kernel's.
    pub selftests: Vec<String>,
    /// Files of the host's, and their places in the guest.
    pub files: Vec<(PathBuf, String)>,
    /// A program of the guest's, and its arguments; one that is a relative path is brought from the host. None: the drivers
    /// bind and unbind.
    pub program: Vec<String>,
    /// Platforms.
    pub legs: Vec<Leg>,
    /// How long the program may take; `None`: two minutes.
    pub patience: Option<Duration>,
}

/// There is nothing to try.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSubject {
    /// No card.
    #[error("there is no card: say which is to be in the guest")]
    NoCard,
    /// Not one of ours.
    #[error("there is no card {0}; there are {list}", list = landfall_cards::NAMES.join(", "))]
    UnknownCard(String),
}

impl Subject {
    /// Adds what its cards are usually tried with, where no driver is named.
    #[must_use]
    pub fn with_usual(mut self) -> Self {
        if self.drivers.is_empty() {
            let named = self.cards.iter().filter_map(|card| match card {
                CardChoice::Named(name) => landfall_cards::usual(name),
                CardChoice::Socket(_) | CardChoice::Command(_) => None,
            });
            for usual in named {
                for driver in usual.drivers {
                    let driver = driver.parse::<Driver>().ok();
                    let new = driver.filter(|driver| !self.drivers.contains(driver));
                    self.drivers.extend(new);
                }
                let named = |names: &[&str]| {
                    names
                        .iter()
                        .map(|name| (*name).to_owned())
                        .collect::<Vec<_>>()
                };
                self.packages.extend(named(usual.packages));
                self.selftests.extend(named(usual.selftests));
            }
        }
        self
    }

    /// Whether there is something to try.
    ///
    /// # Errors
    /// See [`NoSubject`].
    pub fn check(&self) -> Result<(), NoSubject> {
        if self.cards.is_empty() {
            return Err(NoSubject::NoCard);
        }
        self.cards.iter().try_for_each(CardChoice::check)
    }

    /// The trial of it. `machine` is what the guest is otherwise, `packages` what its packages and selftests came to, and paths
    /// are below `root`.
    ///
    /// # Errors
    /// See [`NoSubject`].
    pub fn trial(
        &self,
        name: &str,
        machine: GuestOptions,
        packages: &Packages,
        root: &Path,
    ) -> Result<Trial, NoSubject> {
        self.check()?;
        let mut trial = Trial::new().named(name).machine(machine).packages(packages);
        for card in &self.cards {
            trial = trial.plug(self.card(card, root)?);
        }
        // What the image has of drivers takes its buffers from the pool.
        let of_image = |driver: &Driver| matches!(driver.source, DriverSource::Image(_));
        if self.drivers.iter().any(of_image) {
            trial = trial.pool(PoolOptions::default());
        }
        for driver in &self.drivers {
            trial = trial.driver(driver.clone().below(root));
        }
        for (host, guest) in &self.files {
            trial = trial.file(root.join(host), guest.clone());
        }
        if let Some((program, arguments)) = self.program.split_first() {
            let (place, brought) = in_guest(program);
            if brought {
                trial = trial.file(root.join(program), place.clone());
            }
            trial = trial.run([&place].into_iter().chain(arguments).cloned());
        }
        if !self.legs.is_empty() {
            trial = trial.on(self.legs.iter().copied());
        }
        if let Some(patience) = self.patience {
            trial = trial.patience(patience);
        }
        Ok(trial)
    }
}

impl CardChoice {
    fn check(&self) -> Result<(), NoSubject> {
        match self {
            Self::Named(name) if landfall_cards::by_name(name).is_none() => {
                Err(NoSubject::UnknownCard(name.clone()))
            }
            _ => Ok(()),
        }
    }
}

impl Subject {
    /// A card; a server is looked for, and started, in `root`.
    fn card(&self, card: &CardChoice, root: &Path) -> Result<Card, NoSubject> {
        let (name, server) = match card {
            CardChoice::Named(name) => {
                return landfall_cards::by_name(name)
                    .map(|make| Card::boxed(name, make))
                    .ok_or_else(|| NoSubject::UnknownCard(name.clone()));
            }
            CardChoice::Socket(path) => {
                let server = Server::at(root.join(path));
                (server.name(), server)
            }
            CardChoice::Command(line) => {
                let line = match line.contains(SOCKET) {
                    true => line.clone(),
                    false => format!("{line} {SOCKET}"),
                };
                let place = match root.as_os_str().is_empty() {
                    true => ".".to_owned(),
                    false => root.display().to_string(),
                };
                let script = format!("cd \"$0\" && {line}");
                let server = Server::command(["/bin/sh", "-c", &script, &place]);
                (name_of(&line), server)
            }
        };
        let server = match &self.registers {
            Some(file) => server.registers(root.join(file)),
            None => server,
        };
        Ok(Card::served(
            name,
            match self.unjudged {
                true => server.unjudged(),
                false => server,
            },
        ))
    }
}

/// What to call the card of a server, by its command line: `card` for `python3 card.py {socket}`.
fn name_of(line: &str) -> String {
    let mut words = line.split_ascii_whitespace();
    let told = words.rfind(|word| !word.starts_with('-') && !word.contains(SOCKET));
    let last = told.unwrap_or("card");
    let stem = Path::new(last).file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// Where a program is in the guest, and whether it has to be brought there: what is a path and does not begin at the root
/// is the host's.
fn in_guest(program: &str) -> (String, bool) {
    match program.contains('/') && !program.starts_with('/') {
        true => {
            let name = program.rsplit('/').next().unwrap_or(program);
            (format!("/usr/local/bin/{name}"), true)
        }
        false => (program.to_owned(), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_comes_with_what_it_is_usually_tried_with_unless_a_driver_is_named() {
        let subject = Subject {
            cards: ["dt3155", "dt3155", "ring"]
                .map(|name| CardChoice::Named(name.to_owned()))
                .to_vec(),
            ..Subject::default()
        };
        let usual = subject.clone().with_usual();
        assert_eq!(usual.drivers, [Driver::stock("dt3155")]);
        assert!(usual.packages.contains(&"v4l-utils".to_owned()));

        let own = Subject {
            drivers: vec![Driver::build("./mine")],
            ..subject
        };
        assert_eq!(own.clone().with_usual(), own);
    }

    #[test]
    fn whatever_is_usual_can_be_read() {
        for name in landfall_cards::NAMES {
            if let Some(usual) = landfall_cards::usual(name) {
                let mut drivers = usual.drivers.iter();
                assert!(
                    drivers.all(|driver| driver.parse::<Driver>().is_ok()),
                    "{name}"
                );
            }
        }
    }

    #[test]
    fn a_servers_card_is_called_as_its_program() {
        assert_eq!(name_of("python3 card.py {socket}"), "card");
        assert_eq!(name_of("./build/gpio --socket={socket}"), "gpio");
        assert_eq!(name_of("{socket}"), "card");
    }

    #[test]
    fn a_relative_path_is_a_program_of_the_hosts() {
        assert_eq!(
            in_guest("./target/my-test"),
            ("/usr/local/bin/my-test".to_owned(), true)
        );
        assert_eq!(in_guest("v4l2-ctl"), ("v4l2-ctl".to_owned(), false));
        assert_eq!(in_guest("/bin/sh"), ("/bin/sh".to_owned(), false));
    }

    #[test]
    fn a_card_that_is_not_there_is_refused_with_those_that_are() {
        let subject = |name: &str| Subject {
            cards: vec![CardChoice::Named(name.to_owned())],
            ..Subject::default()
        };
        let trial = |subject: Subject| {
            let machine = GuestOptions::default();
            subject.trial("t", machine, &Packages::default(), Path::new("."))
        };
        assert!(trial(subject("ring")).is_ok());
        let said = trial(subject("rign")).map(drop).unwrap_err().to_string();
        assert!(said.contains("rign") && said.contains("ring"), "{said}");
        assert_eq!(trial(Subject::default()).map(drop), Err(NoSubject::NoCard));
    }
}
