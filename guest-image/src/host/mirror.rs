// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where packages come from: the host's own Debian mirror, or the one the caller names.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::host::process::{CommandError, Job, Runner};

/// Keys that sign Debian's archive.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// What `apt-get indextargets` is asked to say of each index.
const FORMAT: &str = "$(ORIGIN)|$(LABEL)|$(RELEASE)|$(REPO_URI)";

/// There is no mirror to use.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The host has no apt.
    #[error("this host has no `{0}`, which fetches and unpacks Debian's packages")]
    NoApt(&'static str),
    /// The host's sources name no Debian mirror.
    #[error("this host ({host}) gets no packages from a Debian mirror")]
    NotDebian {
        /// What `/etc/os-release` calls it.
        host: String,
    },
    /// What the caller gave is no mirror's address.
    #[error("`{0}` is not the address of a mirror (http://, https://, file:/, mirror+… are)")]
    BadAddress(String),
    /// The keyring is not installed.
    #[error("{} is missing, so that packages could not be trusted", .0.display())]
    NoKeyring(PathBuf),
    /// The question could not be asked.
    #[error("the host's apt did not tell its sources")]
    Command(#[from] CommandError),
}

/// A mirror and the keys to check it with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirror {
    /// Base address, as in `sources.list`.
    pub(crate) uri: String,
    /// Keyring for `signed-by`.
    pub(crate) keyring: PathBuf,
    /// Words of the host's own configuration that fetching needs (proxies and the like), as apt.conf lines.
    pub(crate) settings: String,
}

/// Finds the mirror: the caller's, else the host's.
pub(crate) fn find(given: Option<&str>, runner: &Runner) -> Result<Mirror, MirrorError> {
    for program in ["apt-get", "dpkg-deb"] {
        if find_program(program).is_none() {
            return Err(MirrorError::NoApt(program));
        }
    }
    let uri = match given {
        Some(given) => check(given)?,
        None => ask_host(runner)?,
    };
    let keyring = PathBuf::from(KEYRING);
    if !keyring.is_file() {
        return Err(MirrorError::NoKeyring(keyring));
    }
    Ok(Mirror {
        uri,
        keyring,
        settings: fetch_settings(runner)?,
    })
}

fn ask_host(runner: &Runner) -> Result<String, MirrorError> {
    let mut ask = Command::new("apt-get");
    ask.args(["indextargets", "--format", FORMAT, "Created-By: Packages"]);
    let told = runner.output(&mut ask, &job("asking apt for the host's mirror"))?;
    let (id, host) = os_release();
    choose(&told, id == "debian").ok_or(MirrorError::NotDebian { host })
}

/// The first index of Debian's main archive. Hosts that never ran `apt-get update` know no origins; there,
/// if they are Debian, the first one that is not of the security archive.
fn choose(told: &str, is_debian: bool) -> Option<String> {
    let targets: Vec<Vec<&str>> = told
        .lines()
        .map(|line| line.split('|').collect::<Vec<_>>())
        .collect();
    let main = targets.iter().find_map(|target| match target.as_slice() {
        ["Debian", "Debian", _, uri] => Some(*uri),
        _ => None,
    });
    let guess = || {
        targets.iter().find_map(|target| match target.as_slice() {
            ["", "", release, uri] if is_debian && !release.contains("-security") => Some(*uri),
            _ => None,
        })
    };
    main.or_else(guess).map(str::to_owned)
}

fn check(given: &str) -> Result<String, MirrorError> {
    let known = given.split_once(':').is_some_and(|(scheme, rest)| {
        let plain = ["http", "https", "file", "mirror", "ftp"];
        let known =
            plain.contains(&scheme) || scheme.starts_with("mirror+") || scheme.starts_with("tor+");
        known && rest.starts_with('/')
    });
    if !known
        || given
            .contains(|letter: char| letter.is_whitespace() || letter.is_control() || letter == '[')
    {
        return Err(MirrorError::BadAddress(given.to_owned()));
    }
    Ok(given.to_owned())
}

/// The host's `Acquire::` settings; nothing else of its configuration is used (hooks above all are not).
fn fetch_settings(runner: &Runner) -> Result<String, MirrorError> {
    let mut ask = Command::new("apt-config");
    ask.args(["dump", "--no-empty", "--format", "%F \"%v\";%n", "Acquire"]);
    let told = runner.output(&mut ask, &job("asking apt for the host's proxies"))?;
    Ok(told
        .lines()
        .filter(|line| {
            [
                "Acquire::http",
                "Acquire::ftp",
                "Acquire::socks",
                "Acquire::tor",
                "Acquire::Check-",
            ]
            .iter()
            .any(|kept| line.starts_with(kept))
        })
        .fold(String::new(), |kept, line| kept + line + "\n"))
}

fn job(what: &'static str) -> Job<'static> {
    Job {
        what,
        log: "apt",
        limit: Duration::from_secs(60),
    }
}

/// `ID` and a name for people from `/etc/os-release`.
pub(crate) fn os_release() -> (String, String) {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .map(|value| value.trim_matches('"').to_owned())
    };
    let id = field("ID").unwrap_or_default();
    let name = field("PRETTY_NAME").unwrap_or_else(|| "an unknown system".to_owned());
    (id, name)
}

/// Where a program lies: in the directories of system programs, which an ordinary user's PATH may lack.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    ["/usr/bin", "/usr/sbin", "/bin", "/sbin", "/usr/local/bin"]
        .iter()
        .map(|directory| Path::new(directory).join(name))
        .find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_archive_is_chosen_and_not_security() {
        let told = "Debian|Debian-Security|bookworm-security|http://mirror.test/debian-security/\n\
            Docker|Docker CE|bookworm|https://other.test/\n\
            Debian|Debian|bookworm|http://mirror.test/debian/\n";

        assert_eq!(
            choose(told, true).as_deref(),
            Some("http://mirror.test/debian/")
        );
    }

    #[test]
    fn a_host_that_never_updated_is_believed_only_if_it_is_debian() {
        let told = "||stable-security|http://mirror.test/s/\n||stable|http://mirror.test/d/\n";

        assert_eq!(choose(told, true).as_deref(), Some("http://mirror.test/d/"));
        assert_eq!(choose(told, false), None);
    }

    #[test]
    fn ubuntu_has_no_debian_mirror() {
        let told = "Ubuntu|Ubuntu|noble|http://mirror.test/ubuntu/\n";

        assert_eq!(choose(told, false), None);
    }

    #[test]
    fn an_address_cannot_smuggle_words_into_the_sources() {
        assert!(check("http://mirror.test/debian").is_ok());
        assert!(check("mirror+file:/etc/mirrors").is_ok());
        for bad in [
            "mirror.test/debian",
            "http://x/ main [trusted=yes]",
            "cdrom:/x",
            "http://x\nfoo",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
