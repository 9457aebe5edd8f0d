// SPDX-License-Identifier: MIT OR Apache-2.0

//! An order, and how it is written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// Most deviations of one order.
pub const MOST_PARTS: usize = 256;
/// Most steps of the card before one of the driver's.
pub const MOST_STEPS: u32 = 4096;
/// What the order without a deviation is called.
const DEFAULT: &str = "default";

/// Where the card acts before the driver's next step, by numbers of the driver's steps from 0.
///
/// As text: `36:4` lets the card act four times before step 36, `h12` holds the register write of step 12 back until the next read, or
/// until the guest has nothing to do; several are separated by commas; `default` is none of them.
///
/// ```
/// use landfall_device::explore::Order;
///
/// let order: Order = "h12,36:4".parse().unwrap();
/// assert_eq!((order.steps[&36], order.held.contains(&12)), (4, true));
/// assert_eq!(order.to_string(), "h12,36:4");
/// assert_eq!(Order::default().to_string(), "default");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Order {
    /// Before the driver's step of that number the card acts so often.
    pub steps: BTreeMap<u32, u32>,
    /// The register write of that step is on its way for a while.
    pub held: BTreeSet<u32>,
}

/// A text is no order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{part:?} is no part of an order: say 36:4 (the card acts 4 times before the driver's step 36), or h12 (the register write of \
         step 12 is held back); at most {MOST_PARTS} parts and {MOST_STEPS} times"
)]
pub struct BadOrder {
    /// The part that is none.
    pub part: String,
}

impl Order {
    /// How much of it differs from the default.
    pub fn deviations(&self) -> usize {
        self.steps.len() + self.held.len()
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.deviations() == 0 {
            return f.write_str(DEFAULT);
        }
        let held = self.held.iter().map(|at| format!("h{at}"));
        let steps = self.steps.iter().map(|(at, count)| format!("{at}:{count}"));
        f.write_str(&held.chain(steps).collect::<Vec<_>>().join(","))
    }
}

impl FromStr for Order {
    type Err = BadOrder;

    fn from_str(given: &str) -> Result<Self, BadOrder> {
        let mut order = Self::default();
        if given.trim() == DEFAULT {
            return Ok(order);
        }
        for part in given.split(',').map(str::trim) {
            let bad = || BadOrder {
                part: part.chars().take(40).collect(),
            };
            let new = match (part.strip_prefix('h'), part.split_once(':')) {
                (Some(at), _) => order.held.insert(at.parse().map_err(|_| bad())?),
                (None, Some((at, count))) => {
                    let count = count.parse().map_err(|_| bad())?;
                    let known = order.steps.insert(at.parse().map_err(|_| bad())?, count);
                    (1..=MOST_STEPS).contains(&count) && known.is_none()
                }
                (None, None) => false,
            };
            if !new || order.deviations() > MOST_PARTS {
                return Err(bad());
            }
        }
        Ok(order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_order_is_refused_with_its_part() {
        for (given, part) in [
            ("", ""),
            ("36", "36"),
            ("36:0", "36:0"),
            ("36:4097", "36:4097"),
            ("1:1,h", "h"),
            ("1:1,1:2", "1:2"),
            ("h1,h1", "h1"),
            ("-1:1", "-1:1"),
            ("4294967296:1", "4294967296:1"),
        ] {
            let part = part.to_owned();
            assert_eq!(given.parse::<Order>(), Err(BadOrder { part }), "{given}");
        }
        let many: Vec<_> = (0..=MOST_PARTS).map(|at| format!("{at}:1")).collect();
        assert!(many.join(",").parse::<Order>().is_err());
    }

    #[test]
    fn an_order_comes_back_as_it_was_written() {
        for text in ["default", "0:1", "h3", "h3,h9,0:4096,7:2"] {
            assert_eq!(text.parse::<Order>().unwrap().to_string(), text);
        }
    }
}
