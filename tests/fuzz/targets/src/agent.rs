// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the harness and the guest's PID 1 say to each other, each as the other's bytes: a guest is hostile, and what it is
//! asked should at least not end it.
//!
//! The first byte says who reads, and whether the rest is a stream as it is or messages, of which each has its length first and
//! is read by itself.
//! What is understood is said again in the same words; nothing takes memory by the other's word.

use std::io::Cursor;

use landfall_agent::protocol::{FromGuest, MAX_FRAME, ToGuest, read_frame, write_frame};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bytes::Bytes;
use crate::limit;
use crate::text::words;

/// Most bytes of memory for each byte that came, besides the frame itself.
const FOR_EACH: usize = 64;

/// Reads a conversation.
pub fn run(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let how = bytes.u8();
    let read_one = |stream: &[u8]| match how & 1 {
        0 => read::<FromGuest>(stream),
        _ => read::<ToGuest>(stream),
    };
    if how & 2 == 0 {
        return read_one(bytes.0);
    }
    while !bytes.is_empty() {
        let message = bytes.long();
        let length = (message.len() as u32).to_le_bytes();
        read_one(&[&length[..], message].concat());
    }
}

fn read<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(stream: &[u8]) {
    let mut left = Cursor::new(stream);
    let most = MAX_FRAME + FOR_EACH * stream.len() + (64 << 10);
    loop {
        let before = left.position();
        let message = match limit::within(most, || read_frame::<T>(&mut left)) {
            Ok(Some(message)) => message,
            Ok(None) => return,
            Err(why) => return words(&why),
        };
        assert!(left.position() >= before + 4, "read from nothing");
        let mut again = Vec::new();
        write_frame(&mut again, &message).expect("what came goes back");
        let repeated = read_frame::<T>(&mut Cursor::new(&again)).expect("and is understood");
        assert_eq!(repeated.as_ref(), Some(&message));
    }
}
