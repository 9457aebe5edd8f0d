// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;

fn sh(script: &str) -> Server {
    Server::command(["/bin/sh", "-c", script])
}

#[test]
fn a_server_that_ends_is_told_with_its_last_words() {
    let error = sh("echo loading; echo 'no such chip' >&2; exit 3")
        .make()
        .map(drop)
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
    let error = Server::command(["/nowhere/at all"])
        .make()
        .map(drop)
        .unwrap_err();
    assert!(matches!(error, NotMade::Start { .. }), "{error}");
    let none: [String; 0] = [];
    let error = Server::command(none).make().map(drop).unwrap_err();
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

#[test]
fn a_server_that_runs_unjudged_is_not_connected_to() {
    let script = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); \
                  s.accept(); sys.exit('somebody connected')";
    let server = Server::command(["python3", "-c", script]).unjudged();
    let mut made = server.make().expect("it listens");
    let socket = made.direct.take().expect("QEMU's way");
    assert!(listens(&socket));

    UnixStream::connect(&socket).expect("the first");

    drop(made);
    assert!(!listens(&socket), "it ended with its card");
}

/// What it started is known to be there, and to be gone, by the far end of a pipe.
#[test]
fn what_a_server_started_ends_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let script = format!("sleep 600 >{} & wait", path.display());
    let argv = ["/bin/sh", "-c", &script].map(str::to_owned);

    let running = Running::start(&argv).unwrap();
    let pipe = File::open(path).unwrap();
    let within = |limit: u16| {
        let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::from(limit)).unwrap()
    };
    assert_eq!(within(0), 0, "it lives");
    drop(running);

    assert_eq!(within(10_000), 1, "it is not gone within 10 s");
}
