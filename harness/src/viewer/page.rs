// SPDX-License-Identifier: MIT OR Apache-2.0

//! The page: one file of HTML with its style, its script and its data in it.
//!
//! Nothing of a run is markup: the packed data are digits of base64, the title is escaped, and whatever the script shows it
//! shows as text. The page's own policy forbids it the network.

use super::{Subject, shown};

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
/// In the order in which one needs the other.
const SCRIPTS: [&str; 6] = [
    include_str!("page/data.js"),
    include_str!("page/lanes.js"),
    include_str!("page/memory.js"),
    include_str!("page/detail.js"),
    include_str!("page/table.js"),
    include_str!("page/main.js"),
];

/// The page of a run whose data are `packed`.
pub(super) fn page(subject: &Subject<'_>, packed: &[u8]) -> String {
    let script = SCRIPTS.concat();
    let summary = escape(&shown(subject.summary));
    let command = escape(&shown(&subject.command.join(" ")));
    let data = base64(packed);
    let mut page = String::with_capacity(PAGE.len() + STYLE.len() + script.len() + data.len());
    let mut rest = PAGE;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        page.push_str(before);
        page.push_str(match name {
            "style" => STYLE,
            "script" => &script,
            "summary" => &summary,
            "command" => &command,
            "data" => &data,
            _ => "",
        });
        rest = after;
    }
    page.push_str(rest);
    page
}

/// A text in HTML.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// Digits for bytes, four for three.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |bits: u32| {
        DIGITS
            .get((bits & 63) as usize)
            .map_or('=', |digit| char::from(*digit))
    };
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |at: usize| three.get(at).copied().map_or(0, u32::from);
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        out.push(digit(bits >> 18));
        out.push(digit(bits >> 12));
        out.push(if three.len() > 1 {
            digit(bits >> 6)
        } else {
            '='
        });
        out.push(if three.len() > 2 { digit(bits) } else { '=' });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_its_standard() {
        for (bytes, digits) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), digits);
        }
        assert_eq!(base64(&[0xfb, 0xff]), "+/8=");
    }

    #[test]
    fn markup_is_text() {
        assert_eq!(escape("</script>'\"&"), "&lt;/script&gt;&#39;&quot;&amp;");
    }

    /// What ends the script would end it in the middle.
    #[test]
    fn no_part_of_the_page_ends_it_early() {
        for script in SCRIPTS {
            assert!(!script.contains("</"), "{script}");
        }
        assert!(!STYLE.contains("</"));
    }
}
