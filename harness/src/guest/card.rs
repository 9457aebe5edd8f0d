// SPDX-License-Identifier: MIT OR Apache-2.0

//! A card of a guest, before there is one.

use std::fmt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use landfall_device::contract::{Function, Identity};
use landfall_device::serve::{self as card, CardServer};

use super::failure::What;
use super::qemu::command::Room;
use super::server::{Made, NotMade, Server};

/// Bytes that are left behind a root port anyway, less what the machine adds to a card.
const LEFT: u64 = 1 << 20;

/// A card to plug in: any function, made anew for each guest.
#[derive(Clone)]
pub struct Card {
    name: String,
    node: Option<String>,
    direct: bool,
    make: Arc<Make>,
    /// What it is, once one was made.
    identity: Arc<OnceLock<Identity>>,
    /// One that was made to be asked that: for the next guest.
    made: Arc<Mutex<Option<Made>>>,
}

type Make = dyn Fn() -> Result<Made, NotMade> + Send + Sync;

impl Card {
    /// A card that people call `name`; `make` makes it, as after power-on.
    pub fn new<F: Function + 'static>(
        name: impl Into<String>,
        make: impl Fn() -> F + Send + Sync + 'static,
    ) -> Self {
        Self::boxed(name, move || Box::new(make()))
    }

    /// Likewise, of whatever type.
    pub fn boxed(
        name: impl Into<String>,
        make: impl Fn() -> Box<dyn Function> + Send + Sync + 'static,
    ) -> Self {
        Self::by(name.into(), Arc::new(move || Ok(Made::boxed(make()))))
    }

    /// Likewise, its model being another program.
    pub fn served(name: impl Into<String>, server: Server) -> Self {
        let direct = server.is_unjudged();
        Self {
            direct,
            ..Self::by(name.into(), Arc::new(move || server.make()))
        }
    }

    /// A card whose model is a server of vfio-user that listens at `path`; see [`Server::at`].
    pub fn socket(path: impl Into<PathBuf>) -> Self {
        let server = Server::at(path);
        Self::served(server.name(), server)
    }

    /// A card whose model is a server of vfio-user that is started; see [`Server::command`].
    pub fn command<W: Into<String>>(argv: impl IntoIterator<Item = W>) -> Self {
        let server = Server::command(argv);
        Self::served(server.name(), server)
    }

    fn by(name: String, make: Arc<Make>) -> Self {
        Self {
            name,
            node: None,
            direct: false,
            make,
            identity: Arc::default(),
            made: Arc::default(),
        }
    }

    /// Likewise, its driver making a file when it has bound a card: `node`, with a number behind it, which counts the
    /// guest's cards of that node from 0. Where the driver is loaded, each card is waited for until its file is there.
    #[must_use]
    pub fn with_node(self, node: impl Into<String>) -> Self {
        Self {
            node: Some(node.into()),
            ..self
        }
    }

    /// Whether QEMU reaches its model without us.
    pub(super) fn is_direct(&self) -> bool {
        self.direct
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The beginning of the path of its device file, if that is known.
    pub(crate) fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }

    /// What it is.
    pub(super) fn identity(&self) -> Result<&Identity, NotMade> {
        if let Some(identity) = self.identity.get() {
            return Ok(identity);
        }
        let made = self.made()?;
        let identity = self.identity.get_or_init(|| made.function.identity());
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
        Ok(identity)
    }

    /// What its BARs need behind a root port, where that is more than firmware leaves there by itself.
    pub(super) fn room(&self) -> Result<Room, NotMade> {
        let (mut memory, mut prefetchable) = (0u64, 0u64);
        for bar in &self.identity()?.bars {
            // A prefetchable window is one of 64 bits; a BAR of 32 cannot lie there.
            match bar.prefetchable && bar.wide {
                true => prefetchable = prefetchable.saturating_add(bar.size),
                false => memory = memory.saturating_add(bar.size),
            }
        }
        // The largest is aligned to itself, and the rest comes behind it; a mebibyte is what there is anyway.
        let room = |bytes: u64| match bytes {
            0..=LEFT => 0,
            bytes => bytes.checked_next_power_of_two().unwrap_or(0),
        };
        // Of what fits just so firmware makes a window at the top of the address space, in a range that it reserves itself, and
        // user space cannot map it; of twice as much it does not.
        Ok(Room {
            memory: room(memory),
            prefetchable: room(prefetchable).saturating_mul(2),
        })
    }

    fn made(&self) -> Result<Made, NotMade> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.take().map_or_else(|| (self.make)(), Ok)
    }

    /// Makes it and serves it at `socket`; it is number `index` of its guest.
    pub(super) fn serve(
        &self,
        socket: &Path,
        index: usize,
        options: card::Options,
    ) -> Result<CardServer, What> {
        let made = self
            .made()
            .map_err(|source| What::NoCard { index, source })?;
        let own = match made.direct {
            None => socket.to_owned(),
            Some(direct) => {
                let doing = "lead QEMU to the card's server";
                symlink(direct, socket).map_err(|source| What::Host { doing, source })?;
                socket.with_extension("unjudged")
            }
        };
        CardServer::bind_with(&own, made.function, options)
            .map_err(|source| What::Card { index, source })
    }
}

impl fmt::Debug for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Card").field(&self.name).finish()
    }
}
