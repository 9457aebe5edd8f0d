// SPDX-License-Identifier: MIT OR Apache-2.0

//! Writes archives as the kernel reads an initramfs, and finds a file in one: cpio, "new ASCII" format, uncompressed.
//!
//! The format is described in the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`.

use std::collections::BTreeSet;
use std::io::{self, BufReader, Read, Seek};

/// Bytes of a header.
const HEADER: usize = 110;
/// Most bytes of a name.
const LONGEST_NAME: u32 = 4096;
const DIRECTORY: u32 = 0o040_755;
const TYPE: u32 = 0o170_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_777;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// An archive being written. Owners are root and times are zero, so that equal contents are equal bytes.
#[derive(Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    inode: u32,
    directories: BTreeSet<String>,
}

impl Archive {
    /// Adds a directory and those above it, once each. Paths have no leading `/`.
    pub(crate) fn directory(&mut self, path: &str) {
        let ends = path
            .match_indices('/')
            .map(|(at, _)| at)
            .chain([path.len()]);
        for end in ends {
            let part = path.get(..end).unwrap_or(path);
            if !part.is_empty() && self.directories.insert(part.to_owned()) {
                self.entry(part, DIRECTORY, (0, 0), &[]);
            }
        }
    }

    /// Adds a file with these permissions, such as `0o755`.
    pub(crate) fn file(&mut self, path: &str, permissions: u32, contents: &[u8]) {
        self.parent(path);
        self.entry(path, FILE | permissions, (0, 0), contents);
    }

    /// Adds a symbolic link.
    pub(crate) fn symlink(&mut self, path: &str, target: &str) {
        self.parent(path);
        self.entry(path, SYMLINK, (0, 0), target.as_bytes());
    }

    /// Adds a character device.
    pub(crate) fn character_device(&mut self, path: &str, major: u32, minor: u32) {
        self.parent(path);
        self.entry(path, CHARACTER_DEVICE, (major, minor), &[]);
    }

    /// Its bytes so far.
    pub(crate) fn length(&self) -> usize {
        self.bytes.len()
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn parent(&mut self, path: &str) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent);
        }
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), contents: &[u8]) {
        self.inode += 1;
        let links = if mode == DIRECTORY { 2 } else { 1 };
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        let fields = [
            self.inode,
            mode,
            0, // owner
            0, // group
            links,
            0, // time
            length(contents.len()),
            0, // device the archive's file was on
            0,
            device.0,
            device.1,
            length(name.len() + 1),
            0, // checksum, unused
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// Reads the first file whose path is wanted; `None` if there is none. More than `limit` bytes are an error.
pub(crate) fn find(
    mut archive: BufReader<impl Read + Seek>,
    limit: u64,
    wanted: impl Fn(&str) -> bool,
) -> io::Result<Option<Vec<u8>>> {
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "the archive is damaged");
    let padding = |bytes: u64| bytes.next_multiple_of(4) - bytes;
    loop {
        let mut header = [0; HEADER];
        archive.read_exact(&mut header)?;
        let text = str::from_utf8(&header).map_err(|_| broken())?;
        let field = |number: usize| {
            let at = 6 + number * 8;
            let digits = text.get(at..at + 8).ok_or_else(broken)?;
            u32::from_str_radix(digits, 16).map_err(|_| broken())
        };
        let (mode, size, length) = (field(1)?, field(6)?, field(11)?);
        if !text.starts_with("070701") || length > LONGEST_NAME {
            return Err(broken());
        }
        let mut name = vec![0; length as usize];
        archive.read_exact(&mut name)?;
        let after_name = padding(HEADER as u64 + u64::from(length));
        archive.seek_relative(after_name.cast_signed())?;
        let name = name.strip_suffix(&[0]).unwrap_or(&name);
        if name == b"TRAILER!!!" {
            return Ok(None);
        }
        let size = u64::from(size);
        if mode & TYPE == FILE && str::from_utf8(name).is_ok_and(&wanted) {
            if size > limit {
                return Err(broken());
            }
            let mut bytes = Vec::new();
            let read = archive.take(size).read_to_end(&mut bytes)?;
            return match read as u64 == size {
                true => Ok(Some(bytes)),
                false => Err(broken()),
            };
        }
        archive.seek_relative((size + padding(size)).cast_signed())?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_brings_its_directories_once() {
        let mut archive = Archive::default();
        archive.file("a/b/one", 0o644, b"12345");
        archive.symlink("a/b/two", "one");
        let bytes = archive.finish();

        let text = String::from_utf8_lossy(&bytes);
        for name in ["a\0", "a/b\0", "a/b/one\0", "a/b/two\0", "TRAILER!!!\0"] {
            assert_eq!(text.matches(name).count(), 1, "{name}");
        }
        assert_eq!(text.matches("070701").count(), 5);
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn a_file_is_found_again_and_a_damaged_archive_is_an_error() -> io::Result<()> {
        let mut archive = Archive::default();
        archive.file("a/one", 0o644, b"1");
        archive.symlink("a/two", "one");
        archive.file("a/three", 0o644, b"12345");
        let bytes = archive.finish();
        let found = |bytes: &[u8], limit, name: &str| {
            find(BufReader::new(io::Cursor::new(bytes)), limit, |path| {
                path == name
            })
        };

        assert_eq!(found(&bytes, 5, "a/three")?.as_deref(), Some(&b"12345"[..]));
        assert_eq!(found(&bytes, 5, "a/one")?.as_deref(), Some(&b"1"[..]));
        assert_eq!(found(&bytes, 5, "a/two")?, None);
        assert!(found(&bytes, 4, "a/three").is_err());
        for end in 0..bytes.len() - 4 {
            let cut = found(bytes.get(..end).unwrap_or_default(), 5, "a/four");
            assert!(cut.is_err(), "{end}");
        }
        Ok(())
    }

    #[test]
    fn a_header_is_as_the_kernel_reads_it() {
        let mut archive = Archive::default();
        archive.character_device("console", 5, 1);
        let bytes = archive.finish();

        let header = concat!(
            "070701",
            "00000001",
            "00002180",
            "00000000",
            "00000000",
            "00000001",
            "00000000",
            "00000000",
            "00000000",
            "00000000",
            "00000005",
            "00000001",
            "00000008",
            "00000000",
            "console\0",
        );
        assert!(
            bytes.starts_with(header.as_bytes()),
            "{}",
            String::from_utf8_lossy(&bytes)
        );
    }
}
