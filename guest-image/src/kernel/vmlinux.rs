// SPDX-License-Identifier: MIT OR Apache-2.0

//! The uncompressed kernel inside a bzImage. QEMU enters it directly (PVH), which saves seconds of a boot. One for arm64 is
//! flat and uncompressed as it comes.
//!
//! The set-up header and its fields are described in the kernel's `Documentation/arch/x86/boot.rst`, the flat image's in
//! `Documentation/arch/arm64/booting.rst`.

use std::io::{self, Read};

use flate2::read::GzDecoder;
use lzma_rust2::XzReader;

use crate::image::zstd::Zstd;

/// Where the header says how many sectors of 512 bytes come before the protected-mode code (0 means 4).
const SETUP_SECTORS: usize = 0x1f1;
/// `HdrS`.
const MAGIC: usize = 0x202;
/// Version of the boot protocol; 2.08 has the payload's place.
const VERSION: usize = 0x206;
/// Offset of the kernel's version string, less 0x200.
const KERNEL_VERSION: usize = 0x20e;
/// The payload's offset in the protected-mode code, and its length.
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

/// Most bytes a kernel may unpack to.
const LARGEST: u64 = 1 << 30;
/// Where a flat image for arm64 says what it is.
const ARM64_MAGIC: usize = 56;
/// `e_machine` of ELF files.
const X86_64: u16 = 62;
const AARCH64: u16 = 183;
/// What the kernel's version line begins with, in an uncompressed image.
const BANNER: &[u8] = b"Linux version ";

/// The file is no kernel that can be booted.
#[derive(Debug, thiserror::Error)]
pub enum VmlinuxError {
    /// Neither a bzImage nor an ELF file, nor a flat image.
    #[error("it is neither an x86 bzImage nor an uncompressed vmlinux, nor an arm64 Image")]
    Unknown,
    /// The header points outside the file, or the like.
    #[error("its set-up header is damaged: {0}")]
    Damaged(&'static str),
    /// The compression is not known here.
    #[error(
        "its payload is compressed in a way that is not known here (first bytes {0:02x?}); zstd, gzip and xz are"
    )]
    Compression(Vec<u8>),
    /// The payload does not unpack.
    #[error("its payload does not unpack")]
    Payload(#[source] io::Error),
    /// The payload is no kernel.
    #[error("what is in it is no 64-bit x86 ELF file")]
    NotElf,
    /// It does not say what it is.
    #[error("it does not tell its release")]
    NoRelease,
}

/// A kernel ready for QEMU.
pub(crate) struct Vmlinux {
    /// ELF image.
    pub(crate) image: Vec<u8>,
    /// `uname -r`.
    pub(crate) release: String,
    /// The file was a bzImage.
    pub(crate) compressed: bool,
    /// `e_machine` of the architecture's ELF files.
    pub(crate) machine: u16,
}

/// Reads a bzImage, a vmlinux, or a flat image.
pub(crate) fn read(file: Vec<u8>) -> Result<Vmlinux, VmlinuxError> {
    if bytes(&file, ARM64_MAGIC, 4) == Some(b"ARM\x64") {
        let release = banner(&file).ok_or(VmlinuxError::NoRelease)?;
        return Ok(Vmlinux {
            image: file,
            release,
            compressed: false,
            machine: AARCH64,
        });
    }
    if file.starts_with(b"\x7fELF") {
        let image = check(file)?;
        let release = banner(&image).ok_or(VmlinuxError::NoRelease)?;
        return Ok(Vmlinux {
            image,
            release,
            compressed: false,
            machine: X86_64,
        });
    }
    if bytes(&file, MAGIC, 4) != Some(b"HdrS") || number::<2>(&file, VERSION)? < 0x208 {
        return Err(VmlinuxError::Unknown);
    }
    let release =
        text(&file, number::<2>(&file, KERNEL_VERSION)? + 0x200).ok_or(VmlinuxError::NoRelease)?;
    let sectors = match number::<1>(&file, SETUP_SECTORS)? {
        0 => 4,
        sectors => sectors,
    };
    let start = (sectors + 1) * 512 + number::<4>(&file, PAYLOAD_OFFSET)?;
    let payload = bytes(&file, start, number::<4>(&file, PAYLOAD_LENGTH)?)
        .ok_or(VmlinuxError::Damaged("the payload lies outside the file"))?;
    let image = check(unpack(payload)?)?;
    Ok(Vmlinux {
        image,
        release,
        compressed: true,
        machine: X86_64,
    })
}

fn unpack(payload: &[u8]) -> Result<Vec<u8>, VmlinuxError> {
    let mut image = Vec::new();
    let unpacked = match payload {
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            Zstd::new(payload).and_then(|stream| stream.take(LARGEST).read_to_end(&mut image))
        }
        [0x1f, 0x8b, ..] => GzDecoder::new(payload)
            .take(LARGEST)
            .read_to_end(&mut image),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => XzReader::new(payload, false)
            .take(LARGEST)
            .read_to_end(&mut image),
        other => {
            let first = other.iter().take(6).copied().collect();
            return Err(VmlinuxError::Compression(first));
        }
    };
    unpacked.map_err(VmlinuxError::Payload)?;
    Ok(image)
}

/// Only a 64-bit little-endian x86 ELF file.
fn check(image: Vec<u8>) -> Result<Vec<u8>, VmlinuxError> {
    let known = image.starts_with(b"\x7fELF\x02\x01")
        && bytes(&image, 18, 2) == Some(&X86_64.to_le_bytes());
    if known {
        Ok(image)
    } else {
        Err(VmlinuxError::NotElf)
    }
}

/// The release in the version line of an uncompressed kernel.
fn banner(image: &[u8]) -> Option<String> {
    let at = image
        .windows(BANNER.len())
        .position(|window| window == BANNER)?;
    text(image, at + BANNER.len())
}

/// The word at `at`.
fn text(file: &[u8], at: usize) -> Option<String> {
    let rest = file.get(at..)?;
    let end = rest
        .iter()
        .take(128)
        .position(|byte| !byte.is_ascii_graphic())?;
    let word = String::from_utf8(rest.get(..end)?.to_vec()).ok()?;
    // It becomes the name of a directory.
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "+-._~".contains(letter);
    (word.starts_with(|letter: char| letter.is_ascii_digit()) && word.chars().all(plain))
        .then_some(word)
}

fn bytes(file: &[u8], at: usize, length: usize) -> Option<&[u8]> {
    file.get(at..at.checked_add(length)?)
}

fn number<const SIZE: usize>(file: &[u8], at: usize) -> Result<usize, VmlinuxError> {
    let bytes = bytes(file, at, SIZE).ok_or(VmlinuxError::Damaged("the file ends inside it"))?;
    Ok(bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn elf() -> Vec<u8> {
        let mut image = b"\x7fELF\x02\x01".to_vec();
        image.resize(64, 0);
        image[18] = 62;
        image.extend_from_slice(b"....Linux version 7.3.4+deb13-amd64 (a@b) #1");
        image
    }

    fn bz_image(payload: &[u8]) -> Vec<u8> {
        let mut file = vec![0; 1024];
        file[SETUP_SECTORS] = 1;
        file[MAGIC..MAGIC + 4].copy_from_slice(b"HdrS");
        file[VERSION..VERSION + 2].copy_from_slice(&0x20f_u16.to_le_bytes());
        file[KERNEL_VERSION..KERNEL_VERSION + 2].copy_from_slice(&0x100_u16.to_le_bytes());
        file[0x300..0x312].copy_from_slice(b"7.3.4+deb13-amd64 ");
        file[PAYLOAD_OFFSET..PAYLOAD_OFFSET + 4].copy_from_slice(&16_u32.to_le_bytes());
        let length = u32::try_from(payload.len()).unwrap_or(0);
        file[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&length.to_le_bytes());
        file.resize(1024 + 16, 0);
        file.extend_from_slice(payload);
        file
    }

    fn gzip(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes)?;
        encoder.finish()
    }

    #[test]
    fn the_payload_of_a_bz_image_is_unpacked() -> Result<(), Box<dyn std::error::Error>> {
        let kernel = read(bz_image(&gzip(&elf())?))?;

        assert_eq!(kernel.release, "7.3.4+deb13-amd64");
        assert_eq!(kernel.image, elf());
        Ok(())
    }

    #[test]
    fn an_uncompressed_kernel_tells_its_release() -> Result<(), VmlinuxError> {
        let kernel = read(elf())?;

        assert_eq!(kernel.release, "7.3.4+deb13-amd64");
        Ok(())
    }

    #[test]
    fn a_flat_image_is_one_of_another_machine() -> Result<(), VmlinuxError> {
        let mut image = vec![0; ARM64_MAGIC];
        image.extend_from_slice(b"ARM\x64....Linux version 7.3.4+deb13-arm64 (a@b) #1");

        let kernel = read(image.clone())?;
        assert_eq!(
            (&*kernel.release, kernel.machine),
            ("7.3.4+deb13-arm64", AARCH64)
        );
        assert_eq!(kernel.image, image);
        assert!(!kernel.compressed);
        image.truncate(ARM64_MAGIC + 4);
        assert!(matches!(read(image), Err(VmlinuxError::NoRelease)));
        Ok(())
    }

    #[test]
    fn damage_is_refused() -> io::Result<()> {
        let good = bz_image(&gzip(&elf())?);
        let outside = good.get(..1050).unwrap_or_default().to_vec();
        let unknown = bz_image(b"what is this");

        assert!(matches!(read(outside), Err(VmlinuxError::Damaged(_))));
        assert!(matches!(read(unknown), Err(VmlinuxError::Compression(_))));
        assert!(matches!(
            read(bz_image(&gzip(b"no ELF")?)),
            Err(VmlinuxError::NotElf)
        ));
        assert!(matches!(read(b"text".to_vec()), Err(VmlinuxError::Unknown)));
        assert!(matches!(read(vec![0; 4096]), Err(VmlinuxError::Unknown)));
        Ok(())
    }

    proptest::proptest! {
        /// Whatever a file holds, it is read or refused.
        #[test]
        fn no_header_makes_it_panic(
            header in proptest::collection::vec(proptest::num::u8::ANY, 0x1f0..0x400),
            magic in proptest::bool::ANY,
        ) {
            let mut file = header;
            if magic && file.len() > VERSION + 2 {
                file[MAGIC..MAGIC + 4].copy_from_slice(b"HdrS");
                file[VERSION] = 0x0f;
                file[VERSION + 1] = 2;
            }

            proptest::prop_assert!(read(file).is_err());
        }
    }
}
