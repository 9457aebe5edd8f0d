// SPDX-License-Identifier: MIT OR Apache-2.0

//! Debian's packages: found, checked and unpacked.

pub(crate) mod apt;
pub(crate) mod packages;
pub(crate) mod unpack;
