// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the pool tells in debugfs: lines of `key=value` words, one thing a line.

use std::collections::BTreeMap;
use std::ops::Range;

/// Which of the kernel's zones memory lies in, by its last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Zone {
    /// Below 16 MiB.
    Dma,
    /// Below 4 GiB.
    Dma32,
    /// Any other.
    Normal,
}

/// One region of the pool.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Region {
    /// Its number.
    pub id: u32,
    /// Where its memory came from: a name of [`PoolSource`](super::PoolSource), or `hugetlb`.
    pub source: String,
    /// Which zone it lies in.
    pub zone: Zone,
    /// First physical address.
    pub base: u64,
    /// Bytes from there to its end, holes included.
    pub bytes: u64,
    /// Pages before and after each buffer that nobody is lent.
    pub guard_pages: u64,
    /// Bytes not given out.
    pub free_bytes: u64,
    /// Bytes of the largest piece of them.
    pub largest_free: u64,
    /// Pages without the holes.
    pub pages: u64,
    /// Pieces that are each in one piece physically.
    pub pieces: u64,
    /// Buffers given out of it.
    pub buffers: u64,
    /// Whether the kernel gets its memory back when the region goes.
    pub given_back: bool,
}

impl Region {
    /// Its physical addresses, holes included.
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
    /// Number of its region.
    pub region: u32,
}

/// A piece of a region that is free.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Free {
    /// Which zone it is listed in.
    pub zone: Zone,
    /// Number of its region.
    pub region: u32,
    /// First physical address.
    pub base: u64,
    /// Bytes.
    pub bytes: u64,
}

/// A piece in a region's span that is not the pool's.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Hole {
    /// Number of the region.
    pub region: u32,
    /// First physical address.
    pub base: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Hole {
    /// Its physical addresses.
    pub fn range(&self) -> Range<u64> {
        self.base..self.base.saturating_add(self.bytes)
    }
}

/// The last search of the source `cluster`, or the one that goes on.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Clusters {
    /// `running`, `found` or `failed`.
    pub search: String,
    /// Pages that were wanted in one piece.
    pub wanted_pages: u64,
    /// Pages that it took to look at, so far.
    pub touched_pages: u64,
    /// First physical address and bytes of each cluster.
    pub clusters: Vec<(u64, u64)>,
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
            id: line.small("id")?,
            source: line.word("source")?.to_owned(),
            zone: line.zone()?,
            base: line.number("base")?,
            bytes: line.number("bytes")?,
            guard_pages: line.number("guard_pages")?,
            free_bytes: line.number("free_bytes")?,
            largest_free: line.number("largest_free")?,
            pages: line.number("pages")?,
            pieces: line.number("pieces")?,
            buffers: line.number("buffers")?,
            given_back: match line.word("given_back")? {
                "yes" => true,
                "no" => false,
                _ => return None,
            },
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
            region: line.small("region")?,
        })
    })
}

/// Parses `free`.
pub(super) fn free(text: &str) -> Result<Vec<Free>, String> {
    lines(text, |line| {
        Some(Free {
            zone: line.zone()?,
            region: line.small("region")?,
            base: line.number("base")?,
            bytes: line.number("bytes")?,
        })
    })
}

/// Parses `holes`.
pub(super) fn holes(text: &str) -> Result<Vec<Hole>, String> {
    lines(text, |line| {
        Some(Hole {
            region: line.small("region")?,
            base: line.number("base")?,
            bytes: line.number("bytes")?,
        })
    })
}

/// Parses `clusters`; empty if there was no search.
pub(super) fn clusters(text: &str) -> Result<Option<Clusters>, String> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let (head, rest) = text.split_once('\n').unwrap_or((text, ""));
    let line = Line(head);
    let parsed = (|| {
        Some(Clusters {
            search: line.word("search")?.to_owned(),
            wanted_pages: line.number("wanted_pages")?,
            touched_pages: line.number("touched_pages")?,
            clusters: Vec::new(),
        })
    })();
    Ok(Some(Clusters {
        clusters: lines(rest, |line| {
            Some((line.number("base")?, line.number("bytes")?))
        })?,
        ..parsed.ok_or_else(|| format!("it says {head:?}"))?
    }))
}

/// Parses `counters`: every word is a number with a name.
pub(super) fn counters(text: &str) -> Result<BTreeMap<String, u64>, String> {
    text.split_whitespace()
        .map(|word| {
            let (name, number) = word.split_once('=')?;
            Some((name.to_owned(), number.parse().ok()?))
        })
        .collect::<Option<_>>()
        .ok_or_else(|| format!("it says {text:?}"))
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

    fn small(&self, key: &str) -> Option<u32> {
        self.number(key)?.try_into().ok()
    }

    fn zone(&self) -> Option<Zone> {
        match self.word("zone")? {
            "dma" => Some(Zone::Dma),
            "dma32" => Some(Zone::Dma32),
            "normal" => Some(Zone::Normal),
            _ => None,
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
        let text = "id=3 source=reserve zone=dma32 base=0xc000000 bytes=50331648 guard_pages=1 free_bytes=4096 \
            largest_free=4096 pages=12288 pieces=1 buffers=2 given_back=no\n";
        let parsed = regions(text).unwrap();
        assert_eq!(parsed[0].range(), 0xc00_0000..0xf00_0000);
        assert_eq!((parsed[0].id, parsed[0].guard_pages), (3, 1));
        assert_eq!((parsed[0].zone, parsed[0].given_back), (Zone::Dma32, false));

        let text = "base=0xc001000 bytes=4147200 allocated=4149248 owner=0000:01:00.0 region=3\n";
        assert_eq!(used(text).unwrap()[0].owner, "0000:01:00.0");
        assert_eq!(used("\n").unwrap(), []);

        let hole = &holes("region=0 base=0x2000 bytes=4096\n").unwrap()[0];
        assert_eq!(hole.range(), 0x2000..0x3000);
        let free = &free("zone=dma region=0 base=0x1000 bytes=4096\n").unwrap()[0];
        assert_eq!((free.zone, free.base), (Zone::Dma, 0x1000));
        assert_eq!(counters("a=1\nb=2 c=3\n").unwrap()["c"], 3);
    }

    #[test]
    fn a_search_is_a_line_and_its_clusters() {
        let text =
            "search=found wanted_pages=4096 touched_pages=4096\nbase=0x400000 bytes=16777216\n";
        let search = clusters(text).unwrap().unwrap();
        assert_eq!(
            (search.search.as_str(), search.wanted_pages),
            ("found", 4096)
        );
        assert_eq!(search.clusters, [(0x40_0000, 16 << 20)]);
        assert_eq!(clusters(""), Ok(None));
        assert!(clusters("search=found").is_err());
    }

    #[test]
    fn a_line_that_lacks_a_key_is_quoted() {
        assert!(
            regions("source=reserve base=0xzz")
                .unwrap_err()
                .contains("0xzz")
        );
        assert!(counters("a=x").unwrap_err().contains("a=x"));
        assert!(free("zone=high region=0 base=0 bytes=0").is_err());
    }
}
