// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a PCI function looks like from outside: configuration space, BARs, interrupts. Pure.

pub mod bar;
pub mod config;
pub mod irq;
pub mod msi;
