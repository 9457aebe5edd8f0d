// SPDX-License-Identifier: MIT OR Apache-2.0

//! A bundle as one file.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ruzstd::encoding::{CompressionLevel, compress};
use tar::{Builder, EntryType, Header};

use super::Manifest;
use super::manifest::NAME;
use super::place::parent;
use super::store::PREFIX;

/// Packs the files of a directory, the manifest first. The same files give the same bytes.
pub(super) fn pack(manifest: &Manifest, directory: &Path, to: &Path) -> io::Result<()> {
    let mut tar = Builder::new(BufWriter::new(tempfile::tempfile_in(directory)?));
    let names = manifest.files.iter().map(|file| file.name.as_str());
    for name in std::iter::once(NAME).chain(names) {
        let file = File::open(directory.join(name))?;
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(file.metadata()?.len());
        tar.append_data(&mut header, name, file)?;
    }
    let tar = tar.into_inner()?.into_inner();
    let mut tar = tar.map_err(|error| error.into_error())?;
    tar.rewind()?;
    let packed = tempfile::Builder::new()
        .prefix(&format!(".{PREFIX}"))
        .permissions(fs::Permissions::from_mode(0o666)) // less the umask, as of any file
        .tempfile_in(parent(to))?;
    let mut out = BufWriter::new(packed);
    let error = RefCell::new(None);
    let first = Quiet {
        inner: BufReader::new(tar),
        error: &error,
    };
    let second = Quiet {
        inner: &mut out,
        error: &error,
    };
    compress(first, second, CompressionLevel::Fastest);
    if let Some(error) = error.into_inner() {
        return Err(error);
    }
    let packed = out.into_inner().map_err(|error| error.into_error())?;
    packed.persist(to)?;
    Ok(())
}

/// Keeps the first error and tells of none: the compressor panics at one.
struct Quiet<'a, T> {
    inner: T,
    error: &'a RefCell<Option<io::Error>>,
}

impl<T> Quiet<'_, T> {
    fn keep<V>(&self, done: io::Result<V>, instead: V) -> V {
        done.unwrap_or_else(|error| {
            self.error.borrow_mut().get_or_insert(error);
            instead
        })
    }
}

impl<T: Read> Read for Quiet<'_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.error.borrow().is_some() {
            return Ok(0);
        }
        let done = self.inner.read(buffer);
        Ok(self.keep(done, 0))
    }
}

impl<T: Write> Write for Quiet<'_, T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let done = self.inner.write_all(bytes);
        self.keep(done, ());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let done = self.inner.flush();
        self.keep(done, ());
        Ok(())
    }
}
