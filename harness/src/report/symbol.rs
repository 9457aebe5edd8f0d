// SPDX-License-Identifier: MIT OR Apache-2.0

//! Names of functions, to be read.

use crate::debug_info::Lines;

/// What the witness calls a place in the guest's kernel, and where that stands in the driver's source.
pub fn located(name: &str, lines: &Lines) -> String {
    match lines.get(name) {
        Some(source) => format!("{}, {source}", symbol(name)),
        None => symbol(name),
    }
}

/// A symbol of the kernel: a mangled name of Rust's as the identifiers that it is made of, any other as it is. What
/// the witness left out of a long one is an ellipsis.
pub fn symbol(text: &str) -> String {
    let (name, rest) = text.split_at(text.find('+').unwrap_or(text.len()));
    let parts = name.strip_prefix("_R").map(identifiers).unwrap_or_default();
    match parts.len() < 2 {
        true => text.to_owned(),
        false => format!("{}{rest}", parts.join("::")),
    }
}

/// The identifiers of a mangled name (version 0 of the scheme): each has its length before it. What else has letters
/// is one letter, or ends with an underscore.
fn identifiers(mut name: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    while let Some(first) = name.chars().next() {
        let rest = name.get(first.len_utf8()..).unwrap_or_default();
        name = match first {
            's' | 'B' => {
                let end = rest.find('_').map_or(rest.len(), |at| at + 1);
                let gap = rest.find("..").unwrap_or(rest.len());
                rest.get(end.min(gap)..).unwrap_or_default()
            }
            '.' => {
                parts.push("…");
                rest.trim_start_matches('.')
            }
            '1'..='9' => {
                let digits =
                    name.len() - name.trim_start_matches(|c: char| c.is_ascii_digit()).len();
                let length: usize = name.get(..digits).and_then(|n| n.parse().ok()).unwrap_or(0);
                let from = name.get(digits..).unwrap_or_default();
                // Before a name that begins with a digit or an underscore.
                let from = from.strip_prefix('_').unwrap_or(from);
                let Some((part, rest)) = from.split_at_checked(length) else {
                    return Vec::new();
                };
                parts.push(part);
                rest
            }
            _ => rest,
        };
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::symbol;

    #[test]
    fn names_of_rust_are_read_and_others_left_alone() {
        for (mangled, read) in [
            (
                "_RNvNtCsbVCytLaUbOF_7capture6memory4lend+0x9f/0x840 [landfall_capture]",
                "capture::memory::lend+0x9f/0x840 [landfall_capture]",
            ),
            (
                "_RNvXsf_NtCsbVCytLaUbOF_7capture4fileNtB5_8OpenFileNtNtCsb5MLI..l10miscdevice10MiscDevice5ioctl+0x1/0x2",
                "capture::file::OpenFile::…::miscdevice::MiscDevice::ioctl+0x1/0x2",
            ),
            (
                "dt3155_buf_queue+0x12/0x34 [dt3155]",
                "dt3155_buf_queue+0x12/0x34 [dt3155]",
            ),
            ("_R99x", "_R99x"),
            ("_Rödx", "_Rödx"),
            ("", ""),
        ] {
            assert_eq!(symbol(mangled), read);
        }
    }
}
