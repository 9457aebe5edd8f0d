// SPDX-License-Identifier: MIT OR Apache-2.0

//! Headers for drivers in C agree with the register tables that the models are made of.

use std::collections::BTreeMap;
use std::fs;

use landfall_tests::{Result, root};

/// What a header for drivers in C must define, by the register table; its arrays are counted by `index`.
fn wanted(table: &str, index: &str) -> Result<BTreeMap<String, String>> {
    let mut wanted = BTreeMap::new();
    let mut register = "";
    for line in table.lines().map(str::trim) {
        if let Some(constant) = line.strip_prefix("pub(crate) const ") {
            let (name, rest) = constant.split_once(": ").ok_or("a typed constant")?;
            let (_, value) = rest.split_once(" = ").ok_or("a value")?;
            let value = value.trim_end_matches(';').to_owned();
            wanted.insert(name.to_owned(), value);
        } else if let Some(head) = line.strip_prefix("pub(crate) ") {
            let Some((name, rest)) = head.split_once("(u32)") else {
                continue;
            };
            let (array, offset) = rest.split_once("@ ").ok_or("an offset")?;
            let offset = offset.trim_end_matches(" {");
            register = name;
            match array.split_once("stride = ") {
                None => wanted.insert(name.to_owned(), offset.to_owned()),
                Some((_, stride)) => {
                    let stride = stride.trim_end().trim_end_matches(']');
                    let value = format!("{offset} + {stride} * ({index})");
                    wanted.insert(format!("{name}({index})"), value)
                }
            };
        } else if let Some((bits, field)) = line.split_once(' ')
            && let Some((high, low)) = bits.split_once(':')
            && let Some((name, _)) = field.split_once(" => ")
            && (high, low) != ("31", "0")
        {
            let value = match high == low {
                true => format!("BIT({low})"),
                false => format!("GENMASK({high}, {low})"),
            };
            wanted.insert(format!("{register}_{}", name.to_uppercase()), value);
        }
    }
    Ok(wanted)
}

/// A header for drivers in C says what the card's register table says: each offset, field and constant, at least so many,
/// and nothing else.
fn agrees(card: &str, header: &str, prefix: &str, index: &str, least: usize) -> Result {
    let table = format!("device-model/cards/src/{card}/regs.rs");
    let table = fs::read_to_string(root().join(table))?;
    let header = fs::read_to_string(root().join("kmod/include").join(header))?;
    let mut found = BTreeMap::new();
    for line in header.lines() {
        let Some(definition) = line.strip_prefix(&format!("#define {prefix}_")) else {
            continue;
        };
        let (name, value) = definition.split_once(' ').ok_or("a value")?;
        let value = value.trim();
        let bare = value
            .strip_prefix('(')
            .and_then(|value| value.strip_suffix(')'));
        let bare = bare.unwrap_or(value).to_owned();
        assert_eq!(found.insert(name.to_owned(), bare), None, "{name}");
    }

    let wanted = wanted(&table, index)?;
    assert!(wanted.len() > least, "{wanted:?}");
    assert_eq!(found, wanted);
    Ok(())
}

#[test]
fn of_the_capture_card() -> Result {
    agrees("capture", "landfall_card.h", "CARD", "slot", 60)
}

#[test]
fn of_the_ring_card() -> Result {
    agrees("ring", "landfall_ring.h", "RING", "queue", 50)
}
