// SPDX-License-Identifier: MIT OR Apache-2.0

//! Writes archives as the kernel reads an initramfs: cpio, "new ASCII" format, uncompressed.
//!
//! The format is described in the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`.

use std::collections::BTreeSet;

const DIRECTORY: u32 = 0o040_755;
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
