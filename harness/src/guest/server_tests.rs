// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;

fn sh(script: &str) -> Server {
    Server::command(["/bin/sh", "-c", script])
}

#[test]
fn a_server_that_ends_is_told_with_its_last_words() {
    let error = sh("echo loading; echo 'no such chip' >&2; exit 3")
        .connect()
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("ended with status 3 before it listened"),
        "{text}"
    );
    assert!(text.ends_with("loading | no such chip"), "{text}");
}

#[test]
fn a_server_that_cannot_be_started_is_told() {
    let error = Server::command(["/nowhere/at all"]).connect().unwrap_err();
    assert!(matches!(error, NotMade::Start { .. }), "{error}");
    let none: [String; 0] = [];
    let error = Server::command(none).connect().unwrap_err();
    assert!(matches!(error, NotMade::Start { .. }), "{error}");
}

#[test]
fn names_of_registers_are_by_bar_and_offset() {
    let named = parse_names("[bar0]\nID = 0\nCONTROL = 0x14\n[bar2]\nID = 8\n").unwrap();
    assert_eq!(named.get(&(0, 0x14)).map(String::as_str), Some("CONTROL"));
    assert_eq!(named.get(&(2, 8)).map(String::as_str), Some("ID"));
    for (wrong, why) in [
        ("[bar6]\nA = 1", "no table [bar6]"),
        ("[regs]\nA = 1", "no table [regs]"),
        ("[bar0]\nA = 1\nB = 1", "A and B are both at 0x1"),
        ("[bar0]\nA = -1", "A"),
        ("A = 1", "A"),
    ] {
        let said = parse_names(wrong).unwrap_err();
        assert!(said.contains(why), "{wrong}: {said}");
    }
}

#[test]
fn a_server_at_a_socket_has_one_guest_at_a_time() {
    let used = Arc::<Use>::default();
    let first = Use::take(&used, Duration::ZERO).expect("free");
    assert!(Use::take(&used, Duration::ZERO).is_none());
    drop(first);
    assert!(Use::take(&used, Duration::ZERO).is_some());
}
