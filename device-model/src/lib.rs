// SPDX-License-Identifier: MIT OR Apache-2.0

//! The hardware: emulated PCI Express functions that really do DMA, and the record of what they did.
//!
//! A device is a [`contract::Function`]: accesses to registers in, one bounded piece of work at a time
//! out, with the machine lent to it call by call as a [`contract::Host`]; [`parts`] are what most are made of, and
//! [`testing`] is what tries them. [`serve::CardServer`] puts one
//! function behind a vfio-user socket, to which any QEMU of 10.1 or later connects. Every access to
//! memory passes [`dma`], which checks it against the current mappings and writes it to the
//! [`journal::Journal`]. [`ledger`] compares that journal with what a driver lent.
//!
//! Nothing here knows QEMU's command line, guests or kernels, and nothing here prints.

#![forbid(unsafe_code)]

pub mod contract;
pub mod dma;
pub mod explore;
pub mod foreign;
pub mod journal;
pub mod ledger;
pub mod parts;
pub mod pci;
pub mod random;
pub mod serve;
pub mod testing;
mod wire;
