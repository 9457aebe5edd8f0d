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

#[test]
fn replies_are_told_from_commands_with_their_error() {
    let reply = Header::of_either(header(9, 32, 1)).expect("good");
    assert_eq!((reply.is_reply(), reply.refused()), (true, None));
    let mut bytes = header(9, 16, 0x21);
    bytes[12] = 14;
    let refused = Header::of_either(bytes).expect("good");
    assert_eq!((refused.is_reply(), refused.refused()), (true, Some(14)));
    let none = Header::of_either(header(9, 16, 2));
    assert_eq!(none, Err(ProtocolError::NoType(2)));
    let command = Header::command(9, 4, &[7; 4]);
    assert_eq!(
        command,
        [9, 0, 4, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 7, 7, 7]
    );
}

#[test]
fn a_servers_version_says_what_it_takes_or_nothing() {
    let version = |text: &str| Version::parse(&[&[0, 0, 1, 0], text.as_bytes()].concat());
    let plain = Version {
        major: 0,
        minor: 1,
        fds: 1,
        twin: None,
    };
    assert_eq!(version(""), Some(plain));
    assert_eq!(version("{}\0"), Some(plain));
    let said =
        r#"{"capabilities":{"max_msg_fds":8,"twin_socket":{"supported":true,"fd_index":2}}}"#;
    let full = Version {
        fds: 8,
        twin: Some(2),
        ..plain
    };
    assert_eq!(version(said), Some(full));
    let hostile = r#"{"capabilities":{"max_msg_fds":-1,"twin_socket":7}}"#;
    assert_eq!(version(hostile), Some(plain));
    assert_eq!(version("{"), None);
    assert_eq!(Version::parse(&[0, 0, 1]), None);
}

#[test]
fn an_access_to_memory_brings_what_it_promises_and_no_more() {
    let ask = |count: u64, data: &[u8]| [&9u64.to_le_bytes(), &count.to_le_bytes(), data].concat();
    let (read, write) = (command::DMA_READ, command::DMA_WRITE);
    let parsed = ask(2, &[5, 6]);
    let parsed = Dma::parse(write, &parsed).expect("good");
    assert_eq!(
        (parsed.address, parsed.count, parsed.data),
        (9, 2, &[5, 6][..])
    );
    assert!(Dma::parse(read, &ask(MAX_DATA as u64, &[])).is_some());
    for (number, wrong) in [
        (write, ask(3, &[5, 6])),
        (write, ask(1, &[5, 6])),
        (read, ask(2, &[5, 6])),
        (read, ask(MAX_DATA as u64 + 1, &[])),
        (read, ask(u64::MAX, &[])),
        (read, vec![0; 15]),
    ] {
        assert_eq!(Dma::parse(number, &wrong), None);
    }
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
