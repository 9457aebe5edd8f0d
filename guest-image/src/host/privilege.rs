// SPDX-License-Identifier: MIT OR Apache-2.0

//! What QEMU is kept from, so that a guest that breaks out of it has little.

use std::fs;

/// The user and group `nobody` of every distribution: what overflows is mapped to it (`/proc/sys/kernel/overflowuid`).
const NOBODY: u32 = 65534;
/// What root needs to run a process as somebody else, and to end it: `capabilities(7)`, by number.
const NEEDED: [(u32, &str); 5] = [
    (0, "CAP_CHOWN"),
    (1, "CAP_DAC_OVERRIDE"),
    (5, "CAP_KILL"),
    (6, "CAP_SETGID"),
    (7, "CAP_SETUID"),
];

/// As whom QEMU is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunAs {
    /// As this process does: it is an ordinary user's.
    Self_,
    /// As this user and group, which own nothing: this process is root's.
    Nobody(u32),
    /// As root, because of this.
    Root(String),
}

impl RunAs {
    /// What this process can do.
    pub fn of_this_process() -> Self {
        if !nix::unistd::geteuid().is_root() {
            return Self::Self_;
        }
        let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}"));
        let maps = ["uid_map", "gid_map"].map(|name| read(name).unwrap_or_default());
        match why_not(&read("status").unwrap_or_default(), &maps) {
            None => Self::Nobody(NOBODY),
            Some(why) => Self::Root(why),
        }
    }
}

/// Why root with this `status`, and these maps of users and groups, cannot run a process as nobody.
fn why_not(status: &str, maps: &[String]) -> Option<String> {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let has = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let lacks = |&&(bit, _): &&(u32, &str)| has.is_none_or(|has| has & (1 << bit) == 0);
    if let Some((_, name)) = NEEDED.iter().find(lacks) {
        return Some(format!("this root has no {name}"));
    }
    let unmapped = maps.iter().any(|map| !map.lines().any(maps_nobody));
    unmapped.then(|| format!("this user namespace has no user and group {NOBODY}"))
}

/// Whether a line of `uid_map` (first inside, first outside, how many) has nobody.
fn maps_nobody(line: &str) -> bool {
    let numbers: Vec<u64> = (line.split_ascii_whitespace())
        .filter_map(|word| word.parse().ok())
        .collect();
    match numbers.as_slice() {
        [first, _, count] => (*first..first.saturating_add(*count)).contains(&u64::from(NOBODY)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = "         0          0 4294967295\n";

    fn asked(capabilities: &str, map: &str) -> Option<String> {
        let status = format!("Name:\tx\nCapEff:\t{capabilities}\nCapBnd:\t0\n");
        why_not(&status, &[map.to_owned(), map.to_owned()])
    }

    #[test]
    fn root_of_a_host_or_of_a_container_can() {
        assert_eq!(asked("000001ffffffffff", ALL), None);
        // Docker's default.
        assert_eq!(asked("00000000a80425fb", ALL), None);
        assert_eq!(
            asked("000001ffffffffff", "0 1000 1\n1 100000 65536\n"),
            None
        );
    }

    #[test]
    fn whoever_cannot_is_told_why() {
        let without_setuid = asked("000001ffffffff7f", ALL).unwrap();
        assert!(without_setuid.contains("CAP_SETUID"), "{without_setuid}");
        assert!(
            asked("0000000000000000", ALL)
                .unwrap()
                .contains("CAP_CHOWN")
        );
        assert!(asked("not hex", ALL).is_some());
        // A user's namespace of one user: `unshare --map-root-user`.
        let alone = asked("000001ffffffffff", "         0       1000          1\n");
        assert!(alone.unwrap().contains("no user and group 65534"));
    }
}
