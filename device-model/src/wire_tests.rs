// SPDX-License-Identifier: MIT OR Apache-2.0

use proptest::prelude::*;

use super::*;

fn header(command: u16, size: u32, flags: u32) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[0] = 9;
    bytes[2..4].copy_from_slice(&command.to_le_bytes());
    bytes[4..8].copy_from_slice(&size.to_le_bytes());
    bytes[8..12].copy_from_slice(&flags.to_le_bytes());
    bytes
}

#[test]
fn header_says_how_much_follows_and_whether_to_answer() {
    let parsed = Header::parse(header(9, 32, 0)).expect("good");
    assert_eq!(
        (parsed.command, parsed.payload, parsed.wants_reply()),
        (9, 16, true)
    );
    assert!(
        !Header::parse(header(9, 32, 0x10))
            .expect("good")
            .wants_reply()
    );
    assert_eq!(
        Header::parse(header(9, 15, 0)),
        Err(ProtocolError::Size(15))
    );
    assert_eq!(
        Header::parse(header(9, u32::MAX, 0)),
        Err(ProtocolError::Size(u32::MAX))
    );
    assert_eq!(
        Header::parse(header(9, 16, 1)),
        Err(ProtocolError::NotACommand(1))
    );
}

#[test]
fn replies_carry_the_id_and_errors_are_never_0() {
    let parsed = Header::parse(header(4, 32, 0)).expect("good");
    let good = parsed.reply(Ok(&[7; 4]));
    assert_eq!(
        good,
        [9, 0, 4, 0, 20, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 7, 7, 7]
    );
    let bad = parsed.reply(Err(22));
    assert_eq!(bad, [9, 0, 4, 0, 16, 0, 0, 0, 0x21, 0, 0, 0, 22, 0, 0, 0]);
}

#[test]
fn write_must_bring_the_bytes_it_promises() {
    let mut payload = words(&[0x30, 0, 0, 4]);
    assert_eq!(Request::parse(10, &payload), Err(Misunderstood::Payload));
    payload.extend([1, 2, 3, 4]);
    let data = Cow::Borrowed(&[1, 2, 3, 4][..]);
    assert_eq!(
        Request::parse(10, &payload),
        Ok(Request::Write {
            region: 0,
            offset: 0x30,
            data
        })
    );
}

#[test]
fn read_of_more_than_was_promised_is_refused() {
    let payload = words(&[0, 0, 0, MAX_DATA as u32 + 1]);
    assert_eq!(Request::parse(9, &payload), Err(Misunderstood::Payload));
}

#[test]
fn version_reply_ends_with_its_nul() {
    let reply = version_reply(9);
    assert_eq!(reply[..4], [0, 0, 1, 0]);
    let text = reply[4..].strip_suffix(&[0]).expect("NUL");
    let json: serde_json::Value = serde_json::from_slice(text).expect("JSON");
    assert_eq!(json["capabilities"]["max_msg_fds"], 8);
}

proptest! {
    #[test]
    fn any_payload_is_taken_without_panic(command in 0u16..20, payload in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = Request::parse(command, &payload);
    }

    /// A payload cut short is never understood.
    #[test]
    fn short_payloads_are_refused(command in prop_oneof![1u16..=5, 7u16..=10], cut in 0usize..100) {
        let needed = [0, 4, 32, 24, 16, 12, 0, 12, 20, 16, 16][usize::from(command)];
        let payload = vec![0; cut % needed];
        prop_assert_eq!(Request::parse(command, &payload), Err(Misunderstood::Payload));
        prop_assert!(Request::parse(command, &vec![0; needed]).is_ok());
    }
}
