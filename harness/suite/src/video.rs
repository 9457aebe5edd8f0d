// SPDX-License-Identifier: MIT OR Apache-2.0

//! A video card, whoever wrote its driver: pictures by V4L2, each byte compared with what the card sent.

use std::path::PathBuf;
use std::time::Duration;

use landfall::guest::{Guest, Result, Running};
use landfall_cards::Camera;
use landfall_cards::capture::pattern::{FrameSpec, Pattern, Pixel};

use crate::capture::{Configure, Device, Format};
use crate::run::frames::{SaveError, save};

/// Buffers of a stream.
const BUFFERS: u32 = 4;
/// How long a picture may take, on a busy host.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of the largest picture.
const MOST: u64 = 64 << 20;
/// Bytes that are read at once.
const PIECE: u64 = 1 << 20;
/// Pictures of which it is told what is wrong.
const TOLD: usize = 10;

/// What is to be streamed, in the size and format that the driver has set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Pictures.
    pub frames: u32,
    /// Where they are saved, as PNG.
    pub save: Option<PathBuf>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Streamed {
    /// Size and format, such as `768x576 GREY`.
    pub picture: String,
    /// Pictures of which each byte is what the card sent.
    pub right: u32,
    /// Bytes of them.
    pub bytes: u64,
    /// Where pictures were saved.
    pub saved: Vec<PathBuf>,
    /// Why they were not.
    pub not_saved: Option<SaveError>,
    /// What is wrong, a line each, of the first few pictures; empty: nothing.
    pub wrong: Vec<String>,
}

/// Streams from the first video device of the card at that port, counted from 0, whose driver is loaded. What is not as
/// `camera` says is told, not an error.
///
/// # Errors
/// If the guest refuses: `ENOENT` if the driver has made no video device.
pub fn stream<Stage: Running>(
    guest: &Guest<Stage>,
    port: usize,
    camera: Camera,
    plan: &Plan,
) -> Result<Streamed> {
    let device = Device::open(guest, node(guest, port)?)?;
    let format = device.configure(&Configure {
        buffers: BUFFERS,
        ..Configure::default()
    })?;
    let mut streamed = Streamed {
        picture: format!("{}x{} {}", format.width, format.height, name(format.format)),
        ..Streamed::default()
    };
    let lines = u64::from(format.stride).checked_mul(format.height.into());
    if lines != Some(format.frame_size) || format.frame_size > MOST {
        streamed.wrong.push(format!(
            "the driver's pictures of {} bytes are not {} lines of {}, up to {MOST} bytes",
            format.frame_size, format.height, format.stride
        ));
        return Ok(streamed);
    }
    for index in 0..format.buffers {
        device.queue(index)?;
    }
    device.start()?;
    let mut last = None;
    for index in 0..plan.frames {
        let Some(done) = device.wait(PATIENCE)? else {
            let seconds = PATIENCE.as_secs();
            let late = format!("frame {index} did not come within {seconds} s");
            streamed.wrong.push(late);
            break;
        };
        let bytes = whole(&device, done.index, format.frame_size)?;
        let told = match done.result {
            0 => compare(&bytes, &format, camera, last),
            _ => Err("the driver says that it has an error".to_owned()),
        };
        match told {
            Ok(number) => {
                last = Some(number);
                streamed.right += 1;
                streamed.bytes += format.frame_size;
            }
            Err(wrong) if streamed.wrong.len() < TOLD => {
                streamed.wrong.push(format!("frame {index}: {wrong}"));
            }
            Err(_) => {}
        }
        streamed.save(plan, &bytes, &format, index);
        device.queue(done.index)?;
    }
    device.stop()?;
    device.close()?;
    Ok(streamed)
}

impl Streamed {
    fn save(&mut self, plan: &Plan, bytes: &[u8], format: &Format, index: u32) {
        let (Some(directory), None) = (&plan.save, &self.not_saved) else {
            return;
        };
        let as_is = |pixel: &Pixel| pixel.fourcc() == format.format;
        let found = Pixel::ALL.into_iter().find(as_is);
        // UYVY is YUYV with its bytes in pairs the other way round.
        let turned = match (found, &format.format.to_le_bytes()) {
            (None, b"UYVY") => {
                let (pairs, _) = bytes.as_chunks::<2>();
                pairs.iter().flat_map(|[u, y]| [*y, *u]).collect()
            }
            _ => bytes.to_vec(),
        };
        let spec = FrameSpec {
            pattern: Pattern::Test,
            pixel: found.unwrap_or(Pixel::Yuyv),
            width: format.width,
            height: format.height,
            stride: format.stride,
            sequence: index,
            slot: 0,
        };
        match save(directory, 1, &turned, &spec) {
            Ok(path) => self.saved.push(path),
            Err(error) => self.not_saved = Some(error),
        }
    }
}

/// The number of the card's first video device.
fn node<Stage: Running>(guest: &Guest<Stage>, port: usize) -> Result<u8> {
    // Each root port has the bus of its own number.
    let devices = format!(
        "/sys/bus/pci/devices/0000:{:02x}:00.0/video4linux",
        port + 1
    );
    let number = |name: &String| name.strip_prefix("video")?.parse::<u8>().ok();
    let names = guest.list(&devices)?;
    Ok(names.iter().filter_map(number).min().unwrap_or(0))
}

/// All bytes of a buffer, as guest user space sees them.
fn whole<Stage: Running>(device: &Device<'_, Stage>, index: u32, length: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let at = bytes.len() as u64;
        let left = u32::try_from(length.saturating_sub(at).min(PIECE)).unwrap_or(0);
        if left == 0 {
            return Ok(bytes);
        }
        let read = device.read_frame(index, at, left)?;
        if read.is_empty() {
            return Ok(bytes);
        }
        bytes.extend(read);
    }
}

/// Compares a picture with what the card sent, which must be a later one than `last`; gives its number.
fn compare(
    bytes: &[u8],
    format: &Format,
    camera: Camera,
    last: Option<u32>,
) -> std::result::Result<u32, String> {
    let Some((number, sent)) = camera(bytes, format.stride, format.height) else {
        return Err("it is like no picture of the card's".to_owned());
    };
    if bytes.len() != sent.len() {
        return Err(format!(
            "it has {} bytes, and the card sent {}",
            bytes.len(),
            sent.len()
        ));
    }
    let pairs = (0u64..).zip(bytes.iter().zip(&sent));
    let mut differ = pairs.filter(|(_, (is, was))| is != was);
    if let Some((at, (is, was))) = differ.next() {
        let more = match differ.count() {
            0 => String::new(),
            more => format!(", and so are {more} more"),
        };
        return Err(format!(
            "byte {at} is {is:#04x}, and the card sent {was:#04x} in its picture {number}{more}"
        ));
    }
    match last {
        Some(last) if number <= last => {
            Err(format!("the card's picture {number} came after {last}"))
        }
        _ => Ok(number),
    }
}

/// A format by its letters.
fn name(fourcc: u32) -> String {
    let letters = fourcc.to_le_bytes();
    String::from_utf8_lossy(&letters).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use landfall_cards::dt3155::{Standard, picture};

    use super::*;

    const STANDARD: Standard = Standard::Hz60;

    fn format() -> Format {
        Format {
            format: Pixel::Grey.fourcc(),
            width: STANDARD.width(),
            height: STANDARD.height(),
            stride: STANDARD.width(),
            clip_size: 0,
            frame_size: STANDARD.bytes() as u64,
            buffers: BUFFERS,
        }
    }

    fn compared(bytes: &[u8], last: Option<u32>) -> std::result::Result<u32, String> {
        compare(bytes, &format(), picture::sent, last)
    }

    #[test]
    fn a_picture_is_right_to_the_byte_and_in_order() {
        let sent = picture::picture(7, STANDARD);
        assert_eq!(compared(&sent, None), Ok(7));
        assert_eq!(compared(&sent, Some(6)), Ok(7));
        for last in [7, 8] {
            let said = compared(&sent, Some(last)).unwrap_err();
            assert!(said.contains("picture 7 came after"), "{said}");
        }
    }

    #[test]
    fn any_byte_that_differs_is_named_with_how_many_more() {
        let sent = picture::picture(7, STANDARD);
        for at in [4, 1000, sent.len() - 1] {
            let mut wrong = sent.clone();
            wrong[at] ^= 1;
            let said = compared(&wrong, None).unwrap_err();
            assert!(said.starts_with(&format!("byte {at} is ")), "{said}");
            assert!(!said.contains("more"), "{said}");
        }
        let mut wrong = sent.clone();
        wrong[10..20].iter_mut().for_each(|byte| *byte ^= 1);
        let said = compared(&wrong, None).unwrap_err();
        assert!(
            said.starts_with("byte 10 ") && said.ends_with("so are 9 more"),
            "{said}"
        );
        let said = compared(&sent[..sent.len() - 1], None).unwrap_err();
        assert!(said.contains("bytes, and the card sent"), "{said}");
        assert!(compared(&[], None).is_err());
    }
}
