// SPDX-License-Identifier: MIT OR Apache-2.0

//! A number that stands for what a journal says, apart from what differs from run to run: times, running numbers, and where memory
//! is, which counts by the order in which it comes.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use landfall_device::journal::{Entry, Kind};
use serde_json::Value;

/// Values from here on may be addresses.
const ADDRESS: u64 = 1 << 16;

/// The number that stands for these entries.
pub(super) fn digest(entries: &[Entry]) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut pages = HashMap::new();
    for entry in entries {
        // Names are told once a guest, and only one read is its first.
        if matches!(entry.kind, Kind::Symbol { .. } | Kind::FirstRead { .. }) {
            continue;
        }
        let mut value = serde_json::to_value(&entry.kind).unwrap_or_default();
        plain(&mut value, &mut pages);
        value.to_string().hash(&mut hasher);
    }
    hasher.finish()
}

fn plain(value: &mut Value, pages: &mut HashMap<u64, usize>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match name.as_str() {
                    "guest_ns" | "number" | "job" | "frame" | "cpu" | "caller"
                    | "register_write" | "list" | "bytes" => {
                        *value = Value::Null;
                    }
                    "address" | "phys" => rename(value, pages),
                    "value" if value.as_u64().is_some_and(|value| value >= ADDRESS) => {
                        rename(value, pages);
                    }
                    _ => plain(value, pages),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| plain(value, pages)),
        _ => {}
    }
}

fn rename(value: &mut Value, pages: &mut HashMap<u64, usize>) {
    if let Some(address) = value.as_u64() {
        let next = pages.len();
        let page = *pages.entry(address >> 12).or_insert(next);
        *value = format!("page {page} + {:#x}", address & 0xfff).into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_device::contract::{RegisterName, Role};
    use landfall_device::journal::{Bytes, Direction, Outcome};

    fn entry(sequence: u64, kind: Kind) -> Entry {
        Entry {
            sequence,
            time_ns: 17 * sequence,
            kind,
        }
    }

    fn access(sequence: u64, address: u64) -> Entry {
        entry(
            sequence,
            Kind::Access {
                direction: Direction::Write,
                address,
                length: 64,
                job: None,
                slot: None,
                role: Role::Payload,
                outcome: Outcome::Ok,
                bytes: Bytes::default(),
            },
        )
    }

    fn write(sequence: u64, value: u64) -> Entry {
        entry(
            sequence,
            Kind::Register {
                bar: 0,
                offset: 8,
                name: RegisterName::plain("BASE"),
                value,
                width: 4,
            },
        )
    }

    #[test]
    fn where_memory_is_and_when_does_not_count_and_all_else_does() {
        let first = [write(3, 0x7_0000), access(4, 0x7_0040)];
        let elsewhere = [write(9, 0x9_0000), access(10, 0x9_0040)];
        assert_eq!(digest(&first), digest(&elsewhere));
        for other in [
            [write(3, 0x7_0000), access(4, 0x8_0040)],
            [write(3, 0x7_0000), access(4, 0x7_0080)],
            [write(3, 2), access(4, 0x7_0040)],
            [access(4, 0x7_0040), write(3, 0x7_0000)],
        ] {
            assert_ne!(digest(&first), digest(&other), "{other:?}");
        }
    }
}
