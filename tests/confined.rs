// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a guest that breaks out of QEMU would have: an invariant each, looked at from outside of a guest that runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use landfall_guest::RunAs;
use landfall_tests::{Result, boot_loaded, with_capture_card};

/// What QEMU has open, by descriptor: where it leads, and its permissions.
fn open_files(process: u32) -> Result<Vec<(String, u32)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(format!("/proc/{process}/fd"))? {
        let path = entry?.path();
        // It may have been closed by now.
        if let (Ok(to), Ok(status)) = (fs::read_link(&path), fs::metadata(&path)) {
            let mode = status.permissions().mode() & 0o777;
            files.push((to.to_string_lossy().into_owned(), mode));
        }
    }
    Ok(files)
}

/// A field of `/proc/PID/status`, without its name.
fn status(process: u32, field: &str) -> Result<String> {
    let text = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    Ok(line
        .ok_or("no such field")?
        .trim_start_matches(':')
        .trim()
        .to_owned())
}

/// Sockets of the internet's protocols that a process has open.
fn of_the_internet(process: u32) -> Result<Vec<String>> {
    let tables = ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"];
    let read = |table: &&str| fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
    let tables: String = tables.iter().map(read).collect();
    let inodes: Vec<_> = tables
        .lines()
        .filter_map(|line| line.split_whitespace().nth(9))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    let open = open_files(process)?.into_iter().map(|(to, _)| to);
    Ok(open.filter(|to| inodes.contains(to)).collect())
}

#[test]
fn qemu_can_do_no_more_than_it_must() -> Result {
    let guest = boot_loaded(with_capture_card())?;
    let qemu = guest.qemu_id();

    assert_eq!(
        status(qemu, "NoNewPrivs")?,
        "1",
        "it gets no rights by executing anything"
    );
    assert_eq!(
        status(qemu, "Seccomp")?,
        "2",
        "its system calls are filtered"
    );
    if let RunAs::Nobody(user) = RunAs::of_this_process() {
        let user = user.to_string();
        for field in ["Uid", "Gid"] {
            let ids = status(qemu, field)?;
            assert!(
                ids.split_whitespace().all(|id| id == user),
                "{field}: {ids}"
            );
        }
        let groups = status(qemu, "Groups")?;
        assert!(
            groups.split_whitespace().all(|group| group == user),
            "{groups}"
        );
        for capabilities in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
            assert_eq!(
                status(qemu, capabilities)?,
                "0000000000000000",
                "{capabilities}"
            );
        }
    }
    Ok(guest.power_off()?)
}

#[test]
fn nobody_else_reaches_a_guest() -> Result {
    let guest = boot_loaded(with_capture_card())?;
    let files = open_files(guest.qemu_id())?;

    let memory: Vec<_> = files
        .iter()
        .filter(|(to, _)| to.starts_with("/memfd:landfall"))
        .collect();
    assert!(!memory.is_empty(), "{files:?}");
    for (file, mode) in memory {
        assert_eq!(*mode, 0o600, "{file}");
    }
    let log = files.iter().find(|(to, _)| to.ends_with("/qemu.log"));
    let directory = Path::new(&log.ok_or("QEMU has its log open")?.0)
        .parent()
        .map(PathBuf::from);
    let directory = directory.ok_or("it is in a directory")?;
    for directory in [directory.clone(), directory.join("cards")] {
        let mode = fs::metadata(&directory)?.permissions().mode() & 0o777;
        assert_eq!(mode, 0o700, "{directory:?}");
    }
    assert_eq!(of_the_internet(guest.qemu_id())?, [""; 0]);
    Ok(guest.power_off()?)
}

/// The check above can fail.
#[test]
fn a_socket_of_the_internets_would_be_seen() -> Result {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    let seen = !of_the_internet(std::process::id())?.is_empty();
    assert!(seen, "{listener:?}");
    Ok(())
}
