// SPDX-License-Identifier: MIT OR Apache-2.0

//! Entries as columns of bytes, which pack well: the page's script reads them (`viewer/page/data.js`).

use super::Row;

/// How many columns there are.
pub(super) const COLUMNS: usize = 12;
/// Set in the first column if the entry has a job.
const HAS_JOB: u8 = 0x80;
/// Kinds of entries that have addresses and jobs of their own row.
const SORTS: usize = 32;

/// What is written of one kind of entry was last.
#[derive(Clone, Copy, Default)]
struct Last {
    address: u64,
    others: [u64; 3],
}

/// The columns, in this order: kind; time and number, both since the entry before; words; address, since the last of its kind;
/// length; job, since the last; three other numbers, the last two since those of its kind; how far back what it belongs to is,
/// and what led to it. All but the first are of varying length: seven bits a byte, the lowest first. What may fall has its sign
/// in the lowest bit.
pub(super) fn columns(rows: &[Row]) -> [Vec<u8>; COLUMNS] {
    let mut columns: [Vec<u8>; COLUMNS] = Default::default();
    let mut last = [Last::default(); SORTS];
    let (mut time, mut sequence, mut job) = (0, 0, 0);
    for (index, row) in (0..).zip(rows) {
        let numbers = &row.numbers;
        let sort = row.sort as u8;
        let Some(of_sort) = last.get_mut(usize::from(sort)) else {
            continue;
        };
        let [first, second, third] = numbers.others;
        let [_, last_second, last_third] = of_sort.others;
        let back = |to: Option<u32>| to.map_or(0, |to| u64::from(u32::saturating_sub(index, to)));
        let flag = if numbers.job.is_some() { HAS_JOB } else { 0 };
        let of_job = numbers.job.unwrap_or(job);
        let values = [
            row.time_ns.wrapping_sub(time),
            signed(row.sequence, sequence),
            row.text.into(),
            signed(numbers.address, of_sort.address),
            numbers.length,
            signed(of_job, job),
            first,
            signed(second, last_second),
            signed(third, last_third),
            back(row.linked.owner),
            back(row.linked.cause),
        ];
        let [kinds, others @ ..] = &mut columns;
        kinds.push(sort | flag);
        for (column, value) in others.iter_mut().zip(values) {
            varint(column, value);
        }
        (time, sequence, job) = (row.time_ns, row.sequence, of_job);
        *of_sort = Last {
            address: numbers.address,
            others: numbers.others,
        };
    }
    columns
}

/// The difference of two numbers, its sign in the lowest bit.
fn signed(now: u64, before: u64) -> u64 {
    let difference = now.wrapping_sub(before).cast_signed();
    (difference << 1 ^ difference >> 63).cast_unsigned()
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
pub(super) fn varint(out: &mut Vec<u8>, mut value: u64) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        match value {
            0 => return out.push(low & 0x7f),
            _ => out.push(low | 0x80),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Vec<u64> {
        let (mut values, mut value, mut shift) = (Vec::new(), 0, 0);
        for byte in bytes {
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                values.push(value);
                (value, shift) = (0, 0);
            }
        }
        values
    }

    #[test]
    fn numbers_come_back() {
        let values = [0, 1, 127, 128, 1 << 32, u64::MAX];
        let mut bytes = Vec::new();
        for value in values {
            varint(&mut bytes, value);
        }
        assert_eq!(read(&bytes), values);
        assert_eq!(bytes.len(), 1 + 1 + 1 + 2 + 5 + 10);
    }

    #[test]
    fn small_differences_are_small_either_way() {
        assert_eq!(signed(5, 5), 0);
        assert_eq!(signed(6, 5), 2);
        assert_eq!(signed(5, 6), 1);
        assert_eq!(signed(0, u64::MAX), 2);
        assert_eq!(signed(1 << 63, 0), u64::MAX);
    }
}
