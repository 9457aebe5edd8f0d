// SPDX-License-Identifier: MIT OR Apache-2.0

//! For the tests of devices, also of those that are not in this tree.

pub mod conformance;
mod declarations;
mod host;
pub mod hostile;

pub use conformance::{Maker, conforms};
pub use declarations::check_declarations;
pub use host::{FakeHost, MOST_STEPS};
