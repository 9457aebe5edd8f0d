// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a guest and its QEMU say, from all their connections.
//!
//! A thread each reads one, and ends when QEMU's end of it closes, which QEMU's death sees to. Each has a bounded
//! channel of its own: one that says more than anybody hears is not read on, and keeps none of the others out.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Select, Sender, bounded};
use landfall_agent::protocol::{self, FromGuest};

use super::console;
use crate::guest::qemu::qmp::Message;

/// Most frames of the agent's that nobody has heard yet; each has 4 MiB at most.
const FRAMES: usize = 4;
/// Most messages of the monitor's.
const MESSAGES: usize = 1024;
/// Most faults told on the console; who hears of one has heard enough.
const FAULTS: usize = 16;
/// Longest line of the monitor's, bytes.
const MAX_LINE: u64 = 16 << 20;

/// What was heard.
#[derive(Debug)]
pub(super) enum Heard {
    /// The agent's word.
    Agent(FromGuest),
    /// What the agent sends is none, and why.
    AgentBroken(String),
    /// A line of the console that tells of a fault.
    Fatal(String),
    /// The monitor's word.
    Monitor(Message),
    MonitorClosed,
    ConsoleClosed,
    /// What the console shows cannot be written to its log.
    NotLogged(io::Error),
}

/// Everything that can be heard.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    open: Vec<Receiver<Heard>>,
}

impl Inbox {
    /// The next thing that is heard, from whomever.
    ///
    /// # Errors
    /// If nothing is within `limit`, or all connections are closed.
    pub(super) fn next(&mut self, limit: Duration) -> Result<Heard, RecvTimeoutError> {
        let until = Instant::now() + limit;
        while !self.open.is_empty() {
            let mut select = Select::new();
            for source in &self.open {
                select.recv(source);
            }
            let Ok(ready) = select.select_deadline(until) else {
                return Err(RecvTimeoutError::Timeout);
            };
            let index = ready.index();
            let Some(source) = self.open.get(index) else {
                unreachable!("one of those that were given")
            };
            match ready.recv(source) {
                Ok(heard) => return Ok(heard),
                Err(_) => drop(self.open.remove(index)),
            }
        }
        Err(RecvTimeoutError::Disconnected)
    }

    /// Hears the monitor.
    pub(super) fn monitor(&mut self, stream: UnixStream) {
        self.read(MESSAGES, |inbox| {
            let mut stream = BufReader::new(stream);
            while let Ok(Some(line)) = line(&mut stream) {
                // What is no message is in no way an answer; the wait for one tells.
                if let Ok(message) = Message::parse(&line)
                    && inbox.send(Heard::Monitor(message)).is_err()
                {
                    return;
                }
            }
            let _ = inbox.send(Heard::MonitorClosed);
        });
    }

    /// Hears the agent; a frame of which a part has come must be there whole within `limit`.
    pub(super) fn agent(&mut self, stream: UnixStream, limit: Duration) {
        self.read(FRAMES, move |inbox| {
            let mut stream = BufReader::new(Timed::new(stream));
            loop {
                let message = match frame(&mut stream, limit) {
                    Ok(Some(message)) => Heard::Agent(message),
                    // The port closes with QEMU; the monitor's end tells.
                    Ok(None) => return,
                    Err(error) => {
                        let _ = inbox.send(Heard::AgentBroken(error.to_string()));
                        return;
                    }
                };
                if inbox.send(message).is_err() {
                    return;
                }
            }
        });
    }

    /// Hears the console and writes it to `log`.
    pub(super) fn console(&mut self, stream: UnixStream, log: File) {
        self.read(FAULTS, |inbox| {
            let found = |line: &str| {
                // Full: one was told that nobody has heard yet. Closed: nobody waits any more.
                let _ = inbox.try_send(Heard::Fatal(line.to_owned()));
            };
            if let Err(error) = console::watch(stream, log, found) {
                let _ = inbox.send(Heard::NotLogged(error));
            }
            let _ = inbox.send(Heard::ConsoleClosed);
        });
    }

    fn read(&mut self, most: usize, thread: impl FnOnce(Sender<Heard>) + Send + 'static) {
        let (sender, receiver) = bounded(most);
        self.open.push(receiver);
        thread::spawn(move || thread(sender));
    }
}

/// A line, without its end; `None` at the end of the stream.
fn line(stream: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    stream.take(MAX_LINE).read_until(b'\n', &mut line)?;
    match line.pop() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(String::from_utf8_lossy(&line).into_owned())),
        Some(_) => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The agent's next word; `None` if it has closed its port.
fn frame(stream: &mut BufReader<Timed>, limit: Duration) -> io::Result<Option<FromGuest>> {
    stream.get_mut().until = None;
    match stream.fill_buf() {
        Ok([]) => return Ok(None),
        // So it closes if something that was sent to it was not read.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
        begun => drop(begun?),
    }
    stream.get_mut().until = Some(Instant::now() + limit);
    protocol::read_frame(stream).map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => {
            let limit = limit.as_secs();
            io::Error::other(format!("a frame that began did not end within {limit} s"))
        }
        _ => error,
    })
}

/// A stream that is read until a moment.
struct Timed {
    stream: UnixStream,
    until: Option<Instant>,
    /// How it is set, so that it is not set again for every piece.
    bounded: bool,
}

impl Timed {
    fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            until: None,
            bounded: false,
        }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self
            .until
            .map(|until| until.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if self.bounded || left.is_some() {
            self.stream.set_read_timeout(left)?;
            self.bounded = left.is_some();
        }
        match self.stream.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(io::ErrorKind::TimedOut.into())
            }
            read => read,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use landfall_agent::protocol::Event;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn agent(limit: Duration) -> (UnixStream, Inbox) {
        let (theirs, ours) = UnixStream::pair().unwrap();
        let mut inbox = Inbox::default();
        inbox.agent(ours, limit);
        (theirs, inbox)
    }

    /// Whoever sends without end is not read without end, and hides nobody else.
    #[test]
    fn a_flood_is_bounded_and_keeps_nobody_out() {
        let (mut flood, mut inbox) = agent(SOON);
        let (mut monitor, theirs) = UnixStream::pair().unwrap();
        inbox.monitor(theirs);
        flood
            .set_write_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        let event = FromGuest::Event(Event::KernelFault {
            lines: vec!["x".repeat(1 << 16)],
        });
        let mut sent = 0;
        while protocol::write_frame(&mut flood, &event).is_ok() {
            sent += 1;
            assert!(sent < 1000, "it takes everything");
        }
        monitor
            .write_all(b"{\"QMP\": {\"version\": {}, \"capabilities\": []}}\n")
            .unwrap();

        let mut heard = Vec::new();
        while !matches!(heard.last(), Some(Heard::Monitor(Message::Greeting))) {
            heard.push(inbox.next(SOON).unwrap());
        }
    }

    #[test]
    fn a_frame_that_is_announced_and_never_sent_is_told() {
        let (mut agent, mut inbox) = agent(Duration::from_millis(200));
        let event = FromGuest::Event(Event::ShellEnded);
        protocol::write_frame(&mut agent, &event).unwrap();
        assert!(matches!(inbox.next(SOON), Ok(Heard::Agent(_))));
        // Silence between frames is no offence, however long.
        let silent = inbox.next(Duration::from_millis(400));
        assert!(
            matches!(silent, Err(RecvTimeoutError::Timeout)),
            "{silent:?}"
        );

        agent.write_all(&[0, 0, 1, 0, 7]).unwrap();

        let Ok(Heard::AgentBroken(why)) = inbox.next(SOON) else {
            panic!("it was not told")
        };
        assert!(why.contains("did not end within"), "{why}");
    }

    #[test]
    fn when_all_are_closed_nothing_is_waited_for() {
        let (agent, mut inbox) = agent(SOON);
        drop(agent);
        let next = inbox.next(Duration::from_secs(600));
        assert!(
            matches!(next, Err(RecvTimeoutError::Disconnected)),
            "{next:?}"
        );
    }

    #[test]
    fn a_log_that_takes_nothing_is_told_as_that() {
        let (mut guest, ours) = UnixStream::pair().unwrap();
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut inbox = Inbox::default();
        inbox.console(ours, full);
        guest.write_all(b"hello\n").unwrap();

        match inbox.next(SOON) {
            Ok(Heard::NotLogged(error)) => {
                assert_eq!(error.kind(), io::ErrorKind::StorageFull);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_endless_line_is_none() {
        let endless = io::repeat(b'x');
        assert!(line(&mut BufReader::new(endless)).is_err());
        let mut two = BufReader::new(&b"one\ntwo\n"[..]);
        assert_eq!(line(&mut two).unwrap().as_deref(), Some("one"));
        assert_eq!(line(&mut two).unwrap().as_deref(), Some("two"));
        assert_eq!(line(&mut two).unwrap(), None);
    }
}
