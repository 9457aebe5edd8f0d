// SPDX-License-Identifier: MIT OR Apache-2.0

//! The CPU's side of DMA: which of the guest's instructions touch memory that is a card's at that moment.
//!
//! A plugin for QEMU's translator (TCG) sees each load and store of the guest with its physical address, after it was made and
//! before the next instruction of that CPU. What is lent it hears from the witness in the guest: `landfall_witness` writes every
//! event to a page of its own memory, too (the echo, `kmod/include/landfall_witness.h`), and the plugin sees those stores
//! as any others. So each access is held against what was lent at that instruction, in whatever order the CPUs run.
//!
//! The plugin says only whose the bytes were. What is a violation is the ledger's to say (`landfall-device`, `ledger/rules/cpu.rs`):
//! a store does harm only if the card gets at those bytes before they change hands.
//!
//! | module | what it is |
//! |---|---|
//! | [`wire`] | the file that plugin and harness share: what was found, what to listen to |
//! | [`echo`] | an event, as the witness wrote it |
//! | [`gate`] | where the CPU waits, while the orders of a card's actions are enumerated |
//! | [`pages`] | what of each page the CPU must not do: the fast path |
//! | [`lend`] | a lend, and whose each of its bytes is |
//! | [`watch`] | all lends, and what was found |
//! | [`stamps`] | the file that says when the cards wrote what |
//! | [`barrier`] | which instructions put accesses in order |
//! | [`order`] | loads that nothing kept behind the one that found out |
//! | [`doorbell`] | stores that nothing kept before the write that tells the card |
//! | `qemu` | what QEMU calls; built as a library for it alone, without `std` |
//!
//! Everything but `qemu` is pure and runs anywhere.

#![no_std]

extern crate alloc;
#[cfg(any(test, not(feature = "qemu")))]
extern crate std;

pub mod barrier;
pub mod doorbell;
pub mod echo;
pub mod gate;
pub mod lend;
pub mod order;
pub mod pages;
#[cfg(feature = "qemu")]
mod qemu;
pub mod stamps;
pub mod watch;
pub mod wire;
