// SPDX-License-Identifier: MIT OR Apache-2.0

//! What every device must do, and the card over a real socket.

mod card;
mod conformance;
mod generated;
mod hasty;
mod hostile;
mod peers;
mod protocol;
mod support;
