// SPDX-License-Identifier: MIT OR Apache-2.0

//! A guest whose card acts in an order that is told: its CPU waits for the card after each access to a device, by the plugin's
//! gate (`landfall_plugin::gate`), and its register writes are not posted.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use landfall_device::explore::{Log, Order};
use landfall_device::serve::{self, CardServer, NotExplorable};
use landfall_plugin::gate;

use super::failure::{GuestFailed, Result, What};
use super::machine::Machine;
use super::{Guest, Running};
use crate::guest::qemu::qmp::{Command, Message};

const _: () = assert!(gate::AFTER_ACCESS == serve::AFTER_ACCESS && gate::IDLE == serve::IDLE);

/// How long the CPU waits for an answer, and how long the card waits for QEMU: then there is no gate any more.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest line of the monitor that is read.
const LINE: u64 = 1 << 20;

/// Both ends of a gate, before there is a QEMU.
pub(super) struct Gate {
    card: UnixStream,
    monitor: UnixStream,
    theirs: [OwnedFd; 2],
}

impl Gate {
    pub(super) fn new() -> io::Result<Self> {
        let ((card, cpu), (monitor, qemu)) = (UnixStream::pair()?, UnixStream::pair()?);
        // Whoever waits has its limit with the socket: the plugin has no clock of its own.
        for stream in [&cpu, &monitor] {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
        }
        Ok(Self {
            card,
            monitor,
            theirs: [cpu.into(), qemu.into()],
        })
    }

    /// Tells the plugin of it, in the file that it shares.
    pub(super) fn tell(&self, file: &File) -> io::Result<()> {
        let [cpu, _] = &self.theirs;
        let socket = u64::try_from(cpu.as_raw_fd()).unwrap_or(0) + 1;
        file.write_all_at(&socket.to_le_bytes(), gate::SOCKET_AT as u64)
    }

    /// What goes on QEMU's command line: a monitor of the card's own, which answers when QEMU has dealt with all that came before.
    pub(super) fn arguments(&self) -> [String; 4] {
        let [_, qemu] = &self.theirs;
        let socket = format!("socket,id=gate,fd={}", qemu.as_raw_fd());
        [
            "-chardev".into(),
            socket,
            "-mon".into(),
            "chardev=gate,mode=control".into(),
        ]
    }

    /// Hands the card its ends, and gives what QEMU is to inherit.
    pub(super) fn open(self, card: &mut CardServer) -> std::result::Result<[OwnedFd; 2], What> {
        let mut settled = Settled {
            monitor: BufReader::new(self.monitor),
            greeted: false,
        };
        card.gate(self.card, move || settled.wait().is_ok())
            .map_err(|source| What::Card { index: 0, source })?;
        Ok(self.theirs)
    }
}

/// Asks QEMU's main loop something, so that it has ended what it was at.
struct Settled {
    monitor: BufReader<UnixStream>,
    greeted: bool,
}

impl Settled {
    fn wait(&mut self) -> io::Result<()> {
        if !self.greeted {
            self.hear(|message| matches!(message, Message::Greeting))?;
            self.ask(&Command::Capabilities)?;
            self.greeted = true;
        }
        self.ask(&Command::QueryStatus)
    }

    fn ask(&mut self, command: &Command) -> io::Result<()> {
        let line = command.line(0);
        self.monitor.get_mut().write_all(line.as_bytes())?;
        self.hear(|message| matches!(message, Message::Return { .. } | Message::Error { .. }))
    }

    fn hear(&mut self, wanted: impl Fn(&Message) -> bool) -> io::Result<()> {
        loop {
            let mut line = String::new();
            let read = (&mut self.monitor).take(LINE).read_line(&mut line)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if Message::parse(line.trim()).is_ok_and(|message| wanted(&message)) {
                return Ok(());
            }
        }
    }
}

impl Machine {
    fn gated(&mut self) -> Result<&CardServer> {
        let armed = self.cpu.as_ref().map(|shared| shared.word(gate::SOCKET_AT));
        match armed {
            Some(Ok(1..)) if !self.cards.is_empty() => {}
            Some(Err(source)) => return Err(self.cpu_failed(source)),
            _ => {
                return Err(GuestFailed::early(What::Options(
                    NotExplorable::NoGate.to_string(),
                )));
            }
        }
        match self.cards.first() {
            Some(card) => Ok(card),
            None => unreachable!("there is one"),
        }
    }

    fn arm(&mut self, armed: bool) -> Result<()> {
        let put = self
            .cpu
            .as_ref()
            .map(|shared| shared.put(gate::ARMED_AT, armed.into()));
        put.unwrap_or(Ok(()))
            .map_err(|source| self.cpu_failed(source))
    }
}

impl<Stage: Running> Guest<Stage> {
    /// From now on the guest's card acts in this order, until [`Guest::explored`]. Needs
    /// [`GuestOptions::explored`](super::GuestOptions::explored).
    ///
    /// # Errors
    /// If its model does not promise what that takes ([`NotExplorable`]), or the guest cannot.
    pub fn explore(&self, order: Order) -> Result<()> {
        let mut machine = self.machine();
        machine
            .gated()?
            .explore(order)
            .map_err(|why| GuestFailed::early(What::Options(why.to_string())))?;
        machine.arm(true)
    }

    /// Whether the next request but one comes at once: until the driver's first step for that, the card does nothing while the
    /// guest idles.
    pub fn at_once(&self, at_once: bool) {
        if let Some(card) = self.machine().cards.first() {
            card.hold(at_once);
        }
    }

    /// Waits until neither the card nor the guest has anything left to do. False: that was not within `limit`.
    pub fn rests(&self, limit: Duration) -> bool {
        self.machine()
            .cards
            .first()
            .is_none_or(|card| card.rest(limit))
    }

    /// From now on the card acts by itself again. Gives what came of the order.
    ///
    /// # Errors
    /// If the guest's CPU has waited for the card in vain, or QEMU for the file that is shared with it.
    pub fn explored(&self) -> Result<Log> {
        let mut machine = self.machine();
        machine.arm(false)?;
        let log = machine.gated()?.explored();
        Ok(log.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monitor_is_asked_until_it_answers_and_whatever_it_says_ends() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut settled = Settled {
            monitor: BufReader::new(ours),
            greeted: false,
        };
        let says = concat!(
            "{\"QMP\":{}}\n{\"event\":\"RESUME\"}\nnonsense\n{\"return\":{},\"id\":0}\n",
            "{\"event\":\"STOP\"}\n{\"return\":{\"status\":\"running\"},\"id\":0}\n"
        );
        theirs.write_all(says.as_bytes()).unwrap();
        settled.wait().unwrap();

        theirs.write_all(&[b'x'; 64]).unwrap();
        drop(theirs);
        assert!(settled.wait().is_err());
    }
}
