// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the pool tells in debugfs: one line per region or buffer, of `key=value` words.

use std::ops::Range;

/// One region of the pool.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Region {
    /// Where its memory came from: a name of [`PoolSource`](super::PoolSource), or `hugetlb`.
    pub source: String,
    /// First physical address.
    pub base: u64,
    /// Bytes.
    pub bytes: u64,
    /// Pages before and after each buffer that nobody is lent.
    pub guard_pages: u64,
    /// Bytes not given out.
    pub free_bytes: u64,
}

impl Region {
    /// Its physical addresses.
    pub fn range(&self) -> Range<u64> {
        self.base..self.base.saturating_add(self.bytes)
    }
}

/// One buffer that the pool has given out.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Used {
    /// First physical address, guard pages not included.
    pub base: u64,
    /// Bytes asked for.
    pub bytes: u64,
    /// Bytes given: whole pages.
    pub allocated: u64,
    /// Who asked.
    pub owner: String,
}

impl Used {
    /// The physical addresses of its pages.
    pub fn range(&self) -> Range<u64> {
        self.base..self.base.saturating_add(self.allocated)
    }
}

/// Parses `regions`.
pub(super) fn regions(text: &str) -> Result<Vec<Region>, String> {
    lines(text, |line| {
        Some(Region {
            source: line.word("source")?.to_owned(),
            base: line.number("base")?,
            bytes: line.number("bytes")?,
            guard_pages: line.number("guard_pages")?,
            free_bytes: line.number("free_bytes")?,
        })
    })
}

/// Parses `used`.
pub(super) fn used(text: &str) -> Result<Vec<Used>, String> {
    lines(text, |line| {
        Some(Used {
            base: line.number("base")?,
            bytes: line.number("bytes")?,
            allocated: line.number("allocated")?,
            owner: line.word("owner")?.to_owned(),
        })
    })
}

struct Line<'a>(&'a str);

impl<'a> Line<'a> {
    fn word(&self, key: &str) -> Option<&'a str> {
        self.0
            .split_whitespace()
            .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    fn number(&self, key: &str) -> Option<u64> {
        let word = self.word(key)?;
        match word.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => word.parse().ok(),
        }
    }
}

fn lines<T>(text: &str, parse: impl Fn(&Line<'_>) -> Option<T>) -> Result<Vec<T>, String> {
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| parse(&Line(line)).ok_or_else(|| format!("it says {line:?}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_by_their_keys() {
        let text = "source=reserve base=0xc000000 bytes=50331648 guard_pages=1 free_bytes=4096 largest_free=4096\n";
        let parsed = regions(text).unwrap();
        assert_eq!(parsed[0].range(), 0xc00_0000..0xf00_0000);
        assert_eq!(parsed[0].guard_pages, 1);

        let text = "base=0xc001000 bytes=4147200 allocated=4149248 owner=0000:01:00.0\n";
        assert_eq!(used(text).unwrap()[0].owner, "0000:01:00.0");
        assert_eq!(used("\n").unwrap(), []);
    }

    #[test]
    fn a_line_that_lacks_a_key_is_quoted() {
        assert!(
            regions("source=reserve base=0xzz")
                .unwrap_err()
                .contains("0xzz")
        );
    }
}
