// SPDX-License-Identifier: MIT OR Apache-2.0

//! A card whose model is another program: a server of vfio-user in any language, as libvfio-user makes them, or a simulator.
//!
//! To the machine it is a [`Function`] like any other; behind it, this is a client of that protocol.
//!
//! ```text
//! QEMU -- vfio-user -- our server: registers, journal, witness -- Foreign -- vfio-user -- the server
//! ```
//!
//! It keeps the descriptors of the guest's memory to itself. So whenever the server wants memory it has to ask for it, by
//! a message, and what it asks for is an access of the card's as any: journalled, and judged. The server is given what it would
//! get from QEMU otherwise: reads and writes of its BARs; bus mastering, power state and interrupts as software sets them up;
//! resets. Its answer is waited for, and meanwhile what it asks for is carried out.
//!
//! All that comes from it is somebody else's word. A server that dies, is silent or breaks the protocol is a card that reads
//! as all-ones from there on, and is told as such ([`Declaration::Gone`]).

mod channel;
mod gone;
mod peer;
mod probe;
mod wires;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

pub(crate) use self::channel::{Channel, wait};
pub use self::gone::ForeignError;
use self::gone::{Asked, Gone};
use self::peer::{Answer, Peer, again};
use self::probe::{CONFIG, Probed};
use self::wires::Wires;
use crate::contract::{
    Access, Declaration, Device, Function, Host, Identity, InterruptKind, Next, Notice,
    RegisterName, Reset, STEP_BYTES, Setup, Vector,
};
use crate::wire::{Version, command};

/// How long a server may take to answer, unless it is said otherwise.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What runs a server, and is kept as long as the card.
pub trait Keeper: Send {
    /// What the server said last, if anybody heard it: told when it is gone.
    fn last_words(&mut self) -> Option<String>;
}

/// How to get along with a server.
pub struct Options {
    /// How long it may take to answer.
    pub patience: Duration,
    /// Names of its registers, by BAR and offset; the others are called by their offset.
    pub names: BTreeMap<(u8, u64), String>,
    /// What runs it.
    pub keeper: Option<Box<dyn Keeper>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            patience: PATIENCE,
            names: BTreeMap::new(),
            keeper: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("patience", &self.patience)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// A card whose model is a server of vfio-user.
#[derive(Debug)]
pub struct Foreign {
    /// `None`: it is gone.
    peer: Option<Peer>,
    wires: Wires,
    probed: Probed,
    options: Options,
    /// What the server was told of last.
    setup: Setup,
    /// Its line is asserted, as far as is known.
    line: bool,
    /// Interrupts that came, and that follow what it had asked for before.
    pending: Vec<Vector>,
    /// Why it is gone, until the machine was told.
    untold: Option<String>,
}

impl Foreign {
    /// Connects to a server that listens at `socket`, and asks what it is.
    ///
    /// # Errors
    /// See [`ForeignError`].
    pub fn connect(socket: &Path, options: Options) -> Result<Self, ForeignError> {
        let stream = UnixStream::connect(socket).map_err(|source| ForeignError::Connect {
            path: socket.to_owned(),
            source,
        })?;
        Self::over(stream, options)
    }

    /// The same over a connection that is there.
    ///
    /// # Errors
    /// See [`ForeignError`].
    pub fn over(stream: UnixStream, mut options: Options) -> Result<Self, ForeignError> {
        let made = Self::made(stream, options.patience);
        let (peer, probed, wires) = made.map_err(|error| match (error, &mut options.keeper) {
            (ForeignError::Gone(why), Some(keeper)) => {
                ForeignError::Gone(with_last_words(why, keeper.as_mut()))
            }
            (error, _) => error,
        })?;
        let mut card = Self {
            peer: Some(peer),
            wires,
            probed,
            options,
            setup: Setup::default(),
            line: false,
            pending: Vec::new(),
            untold: None,
        };
        card.connect_wires(None);
        Ok(card)
    }

    fn made(stream: UnixStream, patience: Duration) -> Result<(Peer, Probed, Wires), ForeignError> {
        let gone = |(gone, asked): (Gone, Asked)| {
            ForeignError::Gone(format!("{gone}, when it was asked for {asked}"))
        };
        let (mut peer, agreed) = Peer::new(stream, patience).map_err(gone)?;
        match agreed {
            Ok(Version {
                major: 0, minor: 1, ..
            }) => {}
            Ok(Version { major, minor, .. }) => return Err(ForeignError::Version { major, minor }),
            Err(errno) => {
                let what = Asked::Version.to_string();
                return Err(ForeignError::Refused { what, errno });
            }
        }
        let probed = probe::probe(&mut peer)?;
        let wires = Wires::new(peer.sockets()).map_err(ForeignError::System)?;
        Ok((peer, probed, wires))
    }

    /// What the card lacks of what the server has, a phrase each.
    pub fn left_out(&self) -> &[String] {
        &self.probed.left_out
    }

    /// Asks the server for something. `None`: it is gone, now or since long.
    fn ask<T>(
        &mut self,
        asked: Asked,
        ask: impl FnOnce(&mut Peer) -> Result<T, Gone>,
    ) -> Option<T> {
        let peer = self.peer.as_mut()?;
        match ask(peer) {
            Ok(answer) => Some(answer),
            Err(gone) => {
                let meanwhile = match peer.asked_meanwhile() {
                    0 => String::new(),
                    count => format!("; it asked for memory {count} times meanwhile"),
                };
                self.lose(format!("{gone}, when it was asked for {asked}{meanwhile}"));
                None
            }
        }
    }

    /// The server is gone.
    fn lose(&mut self, why: String) {
        self.peer = None;
        self.wires.clear();
        self.pending.clear();
        self.line = false;
        let why = match &mut self.options.keeper {
            Some(keeper) => with_last_words(why, keeper.as_mut()),
            None => why,
        };
        self.untold = Some(format!("the card's server is gone: {why}"));
    }

    /// Tells the machine of it, once.
    fn tell(&mut self, host: &mut dyn Host) {
        if let Some(why) = self.untold.take() {
            let why = Cow::Owned(why);
            host.declare_for(None, Declaration::Gone { why });
        }
    }

    /// Connects the interrupts that the machine uses now, and no others.
    fn connect_wires(&mut self, mut host: Option<&mut dyn Host>) {
        let kind = self
            .setup
            .messages
            .map_or(InterruptKind::Intx, |(kind, _)| kind);
        if self.wires.kind() == Some(kind) {
            return;
        }
        self.line = false;
        if let Some(old) = self.wires.kind() {
            self.wires.clear();
            let host = again(&mut host);
            self.ask(Asked::Connect { kind: old }, |peer| {
                peer.connect(old, &[], host)
            });
        }
        let vectors = self.probed.wired(kind);
        let Some(peer) = self.peer.as_mut().filter(|_| vectors > 0) else {
            return;
        };
        let connected = match self.wires.make(kind, vectors) {
            Ok(wires) => peer.connect(kind, wires, host),
            Err(error) => Err(Gone::Socket(error)),
        };
        let asked = Asked::Connect { kind };
        match connected {
            Ok(Ok(())) => {}
            Ok(Err(errno)) => self.lose(format!("it refuses {asked} (error {errno})")),
            Err(gone) => self.lose(format!("{gone}, when it was asked for {asked}")),
        }
    }

    /// Passes on what software set up.
    fn set_up(&mut self, setup: Setup, host: &mut dyn Host) {
        let before = std::mem::replace(&mut self.setup, setup);
        // What it asks for before it heard of this it may not have any more, and could not know: it is refused unsaid.
        let lent = setup.master && setup.power == 0;
        let mut host = lent.then_some(host);
        if (before.memory, before.master, before.line_off)
            != (setup.memory, setup.master, setup.line_off)
        {
            let bits = [(setup.memory, 1), (setup.master, 2), (setup.line_off, 10)];
            let command = bits.map(|(set, bit)| u16::from(set) << bit);
            let command = command.into_iter().sum::<u16>();
            self.write_config(4, command, again(&mut host));
        }
        if before.power != setup.power
            && let Some(at) = self.probed.places.power
        {
            self.write_config(u64::from(at) + 4, setup.power.into(), again(&mut host));
        }
        if before.messages != setup.messages {
            self.enable_messages(again(&mut host));
            self.connect_wires(host);
        }
    }

    /// Passes on which messages are enabled.
    fn enable_messages(&mut self, mut host: Option<&mut dyn Host>) {
        let used = self.setup.messages;
        let [msi, msix] = self.probed.controls;
        let vectors = |kind| {
            used.filter(|(used, _)| *used == kind)
                .map(|(_, given)| given)
        };
        let msi = match vectors(InterruptKind::Msi) {
            Some(given) => msi | 1 | (given.max(1).ilog2() as u16).min(5) << 4,
            None => msi,
        };
        let msix = match vectors(InterruptKind::Msix) {
            Some(_) => msix | 0x8000,
            None => msix,
        };
        let places = self.probed.places;
        for (place, control) in [(places.msi, msi), (places.msix, msix)] {
            if let Some(at) = place {
                self.write_config(u64::from(at) + 2, control, again(&mut host));
            }
        }
    }

    fn write_config(&mut self, offset: u64, value: u16, host: Option<&mut dyn Host>) {
        let asked = Asked::Write {
            region: CONFIG,
            offset,
            count: 2,
        };
        // A server need not have that register.
        self.ask(asked, |peer| {
            peer.write(CONFIG, offset, &value.to_le_bytes(), host)
        });
    }

    /// After an access to its registers: whether the line is asserted still only it knows, and interrupts that it sent before
    /// its answer come before that.
    fn look(&mut self, host: &mut dyn Host) {
        if std::mem::take(&mut self.line) {
            self.ask(Asked::Unmask, |peer| peer.unmask(Some(host)));
        }
        self.hear(host);
    }

    /// Does what the server asks for, as much as there is of it but for the rest of a long stream, and passes on its
    /// interrupts. An interrupt follows what was asked for before it: so it is taken first, and passed on last.
    fn hear(&mut self, host: &mut dyn Host) -> Next {
        self.pending.extend(self.wires.take());
        let more = match self.peer.as_mut().map(|peer| peer.serve(STEP_BYTES, host)) {
            Some(Ok(more)) => more,
            Some(Err(gone)) => {
                self.lose(gone.to_string());
                false
            }
            None => false,
        };
        if more {
            return Next::Again;
        }
        self.interrupt(host);
        self.tell(host);
        Next::Idle
    }

    /// Passes on the interrupts that came.
    fn interrupt(&mut self, host: &mut dyn Host) {
        for vector in std::mem::take(&mut self.pending) {
            self.line |= self.wires.kind() == Some(InterruptKind::Intx);
            host.raise(vector);
        }
    }

    /// Whether the server has those bytes.
    fn has(&self, access: Access) -> bool {
        let size = self.probed.bars.get(usize::from(access.bar));
        let end = access.offset.checked_add(access.width.bytes().into());
        size.is_some_and(|size| end.is_some_and(|end| end <= *size))
    }
}

fn with_last_words(why: String, keeper: &mut dyn Keeper) -> String {
    match keeper.last_words() {
        Some(words) => format!("{why}; it said last: {words}"),
        None => why,
    }
}

impl Device for Foreign {
    fn identity(&self) -> Identity {
        self.probed.identity.clone()
    }

    fn notice(&mut self, notice: Notice, host: &mut dyn Host) {
        if let Notice::Setup(setup) = notice {
            self.set_up(setup, host);
            self.tell(host);
        }
    }

    /// What it asked for before it knew of the reset is refused, and its interrupts from before are dropped.
    fn reset(&mut self, _kind: Reset) {
        if self.probed.resets {
            let reset = |peer: &mut Peer| -> Result<Answer, Gone> {
                let answer = peer.ask(command::RESET, &[], None)?;
                peer.refuse()?;
                Ok(answer)
            };
            if let Some(Err(errno)) = self.ask(Asked::Reset, reset) {
                self.lose(format!("it refuses {} (error {errno})", Asked::Reset));
            }
        }
        self.wires.take();
        self.pending.clear();
        self.line = false;
    }

    fn outside(&self) -> Option<BorrowedFd<'_>> {
        Some(self.wires.as_fd())
    }

    fn step(&mut self, host: &mut dyn Host) -> Next {
        self.hear(host)
    }

    fn line(&self) -> bool {
        self.line
    }
}

impl Function for Foreign {
    fn name(&self, access: Access) -> Option<RegisterName> {
        if !self.has(access) {
            return None;
        }
        let known = self.options.names.get(&(access.bar, access.offset));
        let name = known
            .cloned()
            .unwrap_or_else(|| format!("{:#x}", access.offset));
        Some(RegisterName {
            name: Cow::Owned(name),
            index: None,
        })
    }

    fn load(&mut self, access: Access, host: &mut dyn Host) -> u64 {
        let (region, offset) = (access.bar.into(), access.offset);
        let count = access.width.bytes().into();
        let asked = Asked::Read {
            region,
            offset,
            count,
        };
        let answer = self.ask(asked, |peer| peer.read(region, offset, count, Some(host)));
        self.look(host);
        // What it refuses to read, it does not decode.
        let mut bytes = [0xff; 8];
        if let Some(Ok(data)) = answer {
            for (byte, read) in bytes.iter_mut().zip(data) {
                *byte = read;
            }
        }
        u64::from_le_bytes(bytes)
    }

    fn store(&mut self, access: Access, value: u64, host: &mut dyn Host) {
        let (region, offset) = (access.bar.into(), access.offset);
        let count = access.width.bytes();
        let asked = Asked::Write {
            region,
            offset,
            count: count.into(),
        };
        let bytes = value.to_le_bytes();
        let data = bytes.get(..count.into()).unwrap_or_default();
        self.ask(asked, |peer| peer.write(region, offset, data, Some(host)));
        self.look(host);
    }
}

#[cfg(test)]
mod tests;
