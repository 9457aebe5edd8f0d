// SPDX-License-Identifier: MIT OR Apache-2.0

//! Frames as pictures that a person can look at.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

use landfall_cards::capture::pattern::{FrameSpec, Pixel};

/// A frame could not be saved.
#[derive(Debug, thiserror::Error)]
#[error("cannot save a frame to {}", path.display())]
pub struct SaveError {
    /// Where to.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// Converts a frame to 8-bit RGB, or to grey if it is; missing bytes become black.
///
/// YUYV is taken as BT.601, 16 to 235.
pub(super) fn pixels(bytes: &[u8], spec: &FrameSpec) -> Vec<u8> {
    let line = usize::try_from(spec.line_bytes()).unwrap_or(usize::MAX);
    let stride = usize::try_from(spec.stride).unwrap_or(usize::MAX).max(1);
    let mut out = Vec::new();
    for row in bytes
        .chunks(stride)
        .take(usize::try_from(spec.height).unwrap_or(0))
    {
        let row = row.get(..line).unwrap_or(row);
        match spec.pixel {
            Pixel::Grey | Pixel::Rgb24 => out.extend_from_slice(row),
            Pixel::Yuyv => {
                for pair in row.chunks_exact(4) {
                    if let [y0, u, y1, v] = *pair {
                        out.extend(rgb(y0, u, v));
                        out.extend(rgb(y1, u, v));
                    }
                }
            }
        }
    }
    out.resize(expected(spec), 0);
    out
}

/// Bytes of the picture.
fn expected(spec: &FrameSpec) -> usize {
    let samples = if spec.pixel == Pixel::Grey { 1 } else { 3 };
    usize::try_from(u64::from(spec.width) * u64::from(spec.height) * samples).unwrap_or(0)
}

/// One pixel, BT.601.
fn rgb(y: u8, u: u8, v: u8) -> [u8; 3] {
    let (y, u, v) = (i32::from(y) - 16, i32::from(u) - 128, i32::from(v) - 128);
    let byte = |value: i32| u8::try_from(((value + 128) >> 8).clamp(0, 255)).unwrap_or(0);
    [
        byte(298 * y + 409 * v),
        byte(298 * y - 100 * u - 208 * v),
        byte(298 * y + 516 * u),
    ]
}

/// Writes a frame as PNG into `directory`, named by capture and sequence number, and returns the path.
///
/// # Errors
/// See [`SaveError`].
pub(crate) fn save(
    directory: &Path,
    capture: usize,
    bytes: &[u8],
    spec: &FrameSpec,
) -> Result<PathBuf, SaveError> {
    let name = format!(
        "capture{capture}-frame{:03}-{}x{}.png",
        spec.sequence, spec.width, spec.height
    );
    let path = directory.join(name);
    let write = || {
        std::fs::create_dir_all(directory)?;
        let file = BufWriter::new(File::create(&path)?);
        let mut encoder = png::Encoder::new(file, spec.width, spec.height);
        encoder.set_color(match spec.pixel {
            Pixel::Grey => png::ColorType::Grayscale,
            Pixel::Yuyv | Pixel::Rgb24 => png::ColorType::Rgb,
        });
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Fast);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&pixels(bytes, spec))?;
        writer.finish()
    };
    match write() {
        Ok(()) => Ok(path),
        Err(error) => Err(SaveError {
            path,
            source: io::Error::other(error),
        }),
    }
}

#[cfg(test)]
mod tests {
    use landfall_cards::capture::pattern::Pattern;

    use super::*;

    fn spec(pixel: Pixel, stride: u32) -> FrameSpec {
        FrameSpec {
            pattern: Pattern::Bars,
            pixel,
            width: 4,
            height: 2,
            stride,
            sequence: 7,
            slot: 0,
        }
    }

    #[test]
    fn black_white_and_red_come_out_right() {
        assert_eq!(rgb(16, 128, 128), [0, 0, 0]);
        assert_eq!(rgb(235, 128, 128), [255, 255, 255]);
        let [red, green, blue] = rgb(81, 90, 240);
        assert!(red > 250 && green < 5 && blue < 5, "{red} {green} {blue}");
    }

    #[test]
    fn gaps_between_lines_are_left_out_and_missing_bytes_are_black() {
        let bytes = [1, 2, 3, 4, 99, 99, 5, 6];
        assert_eq!(
            pixels(&bytes, &spec(Pixel::Grey, 6)),
            [1, 2, 3, 4, 5, 6, 0, 0]
        );
    }

    #[test]
    fn a_saved_frame_is_a_png_of_its_size() {
        let directory = tempfile::tempdir().unwrap();
        let path = save(directory.path(), 1, &[128; 16], &spec(Pixel::Yuyv, 8)).unwrap();

        assert!(path.ends_with("capture1-frame007-4x2.png"), "{path:?}");
        let decoder = png::Decoder::new(std::io::BufReader::new(File::open(path).unwrap()));
        let info = decoder.read_info().unwrap();
        assert_eq!((info.info().width, info.info().height), (4, 2));
    }
}
