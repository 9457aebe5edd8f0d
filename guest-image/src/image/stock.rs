// SPDX-License-Identifier: MIT OR Apache-2.0

//! The kernel's own modules, as its package brought them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use lzma_rust2::XzReader;

use super::initramfs::{self, LARGEST};
use super::modinfo::normal;
use super::zstd::Zstd;

/// Modules below a directory, by name.
#[derive(Clone, Debug)]
pub struct StockModules(BTreeMap<String, PathBuf>);

impl StockModules {
    /// Those below a directory, such as [`Prepared::stock`](crate::Prepared::stock).
    ///
    /// # Errors
    /// If a directory cannot be read.
    pub fn below(directory: &Path) -> io::Result<Self> {
        Ok(Self(initramfs::index(Some(directory))?))
    }

    /// The bytes of a module, uncompressed; `None` if there is none of that name.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.0
            .get(&normal(name))
            .map(|path| read_module(path))
            .transpose()
    }

    /// Names of all of them, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// Reads a module's file; one that is compressed (xz, zstd, gzip) is unpacked.
///
/// # Errors
/// If it cannot be read or does not unpack, or is larger than any module.
pub fn read_module(path: &Path) -> io::Result<Vec<u8>> {
    let bounded = |from: &mut dyn Read| {
        let mut bytes = Vec::new();
        match from.take(LARGEST + 1).read_to_end(&mut bytes)? as u64 {
            0..=LARGEST => Ok(bytes),
            _ => Err(io::Error::other("it is larger than any module")),
        }
    };
    let bytes = bounded(&mut File::open(path)?)?;
    match &*bytes {
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => bounded(&mut XzReader::new(&*bytes, true)),
        [0x1f, 0x8b, ..] => bounded(&mut GzDecoder::new(&*bytes)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => bounded(&mut Zstd::new(&*bytes)?),
        _ => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    #[test]
    fn a_module_is_found_by_either_way_to_write_its_name() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        fs::create_dir(directory.path().join("deep"))?;
        fs::write(directory.path().join("deep/snd-pcm.ko"), "pcm")?;
        fs::write(directory.path().join("modules.dep"), "")?;
        let stock = StockModules::below(directory.path())?;

        assert_eq!(stock.read("snd_pcm")?.as_deref(), Some(&b"pcm"[..]));
        assert_eq!(stock.read("snd-pcm")?.as_deref(), Some(&b"pcm"[..]));
        assert_eq!(stock.read("snd")?, None);
        assert_eq!(stock.names().collect::<Vec<_>>(), ["snd_pcm"]);
        assert!(StockModules::below(&directory.path().join("no")).is_err());
        Ok(())
    }

    #[test]
    fn what_is_packed_is_known_by_its_bytes_and_damage_is_an_error() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("x.ko");
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(b"module")?;
        let packed = encoder.finish()?;
        fs::write(&path, &packed)?;
        assert_eq!(read_module(&path)?, b"module");

        fs::write(&path, packed.get(..packed.len() - 9).unwrap_or_default())?;
        assert!(read_module(&path).is_err());
        fs::write(&path, b"\xfd7zXZ\0 no")?;
        assert!(read_module(&path).is_err());
        Ok(())
    }
}
