// SPDX-License-Identifier: MIT OR Apache-2.0

//! The gate: where the guest's CPU waits after each access to a device, and when it has nothing to do, while the orders of a card's
//! actions are enumerated. Who answers is the card's server (`landfall-device`, `serve/gate.rs`), over a socket: a byte asks, a byte
//! answers. One CPU at a time asks.
//!
//! What of it stands in the shared file ([`crate::wire`]):
//!
//! | at | what | whose |
//! |---|---|---|
//! | [`SOCKET_AT`] | the socket's descriptor, and 1; 0: there is no gate | the harness's; the plugin writes 0 if nobody answers any more |
//! | [`ARMED_AT`] | not 0: it is to ask | the harness's |

/// See the table.
pub const SOCKET_AT: usize = 4080;
/// See the table.
pub const ARMED_AT: usize = 4088;

/// Of the flags ([`crate::wire::FLAGS_AT`]): the gate is all that is wanted, and accesses to memory are not looked at.
pub const ALONE: u64 = 1 << 8;

/// The CPU made an access to a device.
pub const AFTER_ACCESS: u8 = b'A';
/// It has nothing to do.
pub const IDLE: u8 = b'I';

const _: () = assert!(ARMED_AT + 8 <= crate::wire::OPEN_AT && crate::wire::SCATTERED & ALONE == 0);
