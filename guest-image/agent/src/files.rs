// SPDX-License-Identifier: MIT OR Apache-2.0

//! Requests about files.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use landfall_agent::protocol::{MAX_DATA, Reply};
use nix::errno::Errno;

use crate::{Outcome, failed, refused};

/// How often a path that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Reads up to `max` bytes from `offset`, to the end of the file at most.
pub(crate) fn read(path: &str, offset: u64, max: u32) -> Outcome<Reply> {
    let max = (max as usize).min(MAX_DATA) as u64;
    let data = (|| {
        let mut file = File::open(path)?;
        if offset > 0 {
            file.seek(SeekFrom::Start(offset))?;
        }
        let mut data = Vec::new();
        file.take(max).read_to_end(&mut data)?;
        Ok::<_, std::io::Error>(data)
    })();
    data.map(Reply::Data)
        .map_err(|error| failed(format!("read {path}"), error))
}

/// Makes an empty file, and the directories that it is in. What had that path goes; a program that runs from it goes on.
pub(crate) fn make(path: &str, mode: u32) -> Outcome<Reply> {
    let made = (|| {
        if let Some(parent) = Path::new(path).parent() {
            fs::create_dir_all(parent)?;
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.set_permissions(fs::Permissions::from_mode(mode & 0o7777))
    })();
    made.map(|()| Reply::Done)
        .map_err(|error| failed(format!("make {path}"), error))
}

/// Writes `data` at `offset` in one `write`.
pub(crate) fn write(path: &str, offset: u64, data: &[u8]) -> Outcome<Reply> {
    let operation = || format!("write {path}");
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create(!Path::new(path).exists())
            .truncate(false)
            .open(path)?;
        if offset > 0 {
            file.seek(SeekFrom::Start(offset))?;
        }
        file.write(data)
    })();
    match written {
        Ok(length) if length == data.len() => Ok(Reply::Done),
        Ok(length) => {
            let message = format!("only {length} of {} bytes were taken", data.len());
            Err(refused(operation(), Errno::EIO, &message))
        }
        Err(error) => Err(failed(operation(), error)),
    }
}

/// Names in a directory, sorted.
pub(crate) fn list(path: &str) -> Outcome<Reply> {
    let names = fs::read_dir(path).and_then(|entries| {
        entries
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<Result<Vec<_>, std::io::Error>>()
    });
    let mut names = names.map_err(|error| failed(format!("list {path}"), error))?;
    names.sort();
    Ok(Reply::Names(names))
}

/// Waits until `path` exists.
pub(crate) fn wait_for(path: &str, timeout_ms: u32) -> Outcome<Reply> {
    let there = || fs::symlink_metadata(path).is_ok();
    wait_until(
        there,
        &format!("wait for {path}"),
        "is not there",
        timeout_ms,
    )
}

/// Waits while the file holds that text.
pub(crate) fn wait_while(path: &str, text: &str, timeout_ms: u32) -> Outcome<Reply> {
    let changed = || fs::read_to_string(path).map_or(true, |read| read.trim_end() != text);
    let operation = format!("wait for {path} to change");
    wait_until(changed, &operation, &format!("is still {text}"), timeout_ms)
}

fn wait_until(
    done: impl Fn() -> bool,
    operation: &str,
    not_yet: &str,
    timeout_ms: u32,
) -> Outcome<Reply> {
    let deadline = Instant::now() + Duration::from_millis(u64::from(timeout_ms));
    while !done() {
        if Instant::now() >= deadline {
            let message = format!("{not_yet} after {timeout_ms} ms");
            return Err(refused(operation, Errno::ETIMEDOUT, &message));
        }
        thread::sleep(LOOK);
    }
    Ok(Reply::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_past_the_end_gives_what_is_there() -> Outcome<()> {
        let path = std::env::temp_dir().join(format!("landfall-agent-{}", std::process::id()));
        let path = path.to_string_lossy().into_owned();
        write(&path, 0, b"0123456789")?;
        write(&path, 3, b"xy")?;

        let read = read(&path, 2, 100);
        let _ = fs::remove_file(&path);

        assert_eq!(read?, Reply::Data(b"2xy56789".to_vec()));
        Ok(())
    }

    #[test]
    fn a_file_is_made_anew_with_its_directories() -> Outcome<()> {
        let directory = std::env::temp_dir().join(format!("landfall-make-{}", std::process::id()));
        let path = directory.join("deep/file").to_string_lossy().into_owned();
        make(&path, 0o700)?;
        write(&path, 0, b"long contents")?;
        make(&path, 0o755)?;
        write(&path, 0, b"short")?;

        let read = read(&path, 0, 100);
        let mode = fs::metadata(&path).map(|status| status.permissions().mode() & 0o7777);
        let _ = fs::remove_dir_all(&directory);

        assert_eq!(read?, Reply::Data(b"short".to_vec()));
        assert_eq!(mode.ok(), Some(0o755));
        Ok(())
    }

    #[test]
    fn a_file_is_waited_for_while_it_holds_the_text_and_no_longer() -> Outcome<()> {
        let path = std::env::temp_dir().join(format!("landfall-wait-{}", std::process::id()));
        let path = path.to_string_lossy().into_owned();
        write(&path, 0, b"tsc-early\n")?;

        let held = wait_while(&path, "tsc-early", 1).map_err(|error| error.errno);
        let other = wait_while(&path, "tsc", 1);
        let _ = fs::remove_file(&path);

        assert_eq!(held, Err(Errno::ETIMEDOUT as i32));
        assert_eq!(other?, Reply::Done);
        assert_eq!(wait_while(&path, "tsc-early", 1)?, Reply::Done);
        Ok(())
    }

    #[test]
    fn a_missing_path_is_refused_with_its_errno() {
        let missing = read("/nowhere/at/all", 0, 1).map_err(|error| error.errno);
        let waited = wait_for("/nowhere/at/all", 1).map_err(|error| error.errno);

        assert_eq!(missing, Err(Errno::ENOENT as i32));
        assert_eq!(waited, Err(Errno::ETIMEDOUT as i32));
    }
}
