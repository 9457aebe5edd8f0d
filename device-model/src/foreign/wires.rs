// SPDX-License-Identifier: MIT OR Apache-2.0

//! The interrupts of a foreign server: an event descriptor for each, and one descriptor that tells of them and of its sockets.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};

use crate::contract::{InterruptKind, Vector};

/// Most vectors that are connected: of a larger table the first.
pub(super) const MOST: u16 = 256;
/// What a socket is known by; a vector by its number.
const SOCKET: u64 = u64::MAX;
/// Events that are taken at once.
const AT_ONCE: usize = 64;

/// What a server tells by.
#[derive(Debug)]
pub(super) struct Wires {
    all: OwnedFd,
    kind: Option<InterruptKind>,
    wires: Vec<OwnedFd>,
}

impl Wires {
    /// None yet, and sockets.
    pub(super) fn new<'a>(sockets: impl Iterator<Item = BorrowedFd<'a>>) -> io::Result<Self> {
        let all = epoll::create(CreateFlags::CLOEXEC)?;
        for socket in sockets {
            epoll::add(&all, socket, EventData::new_u64(SOCKET), EventFlags::IN)?;
        }
        Ok(Self {
            all,
            kind: None,
            wires: Vec::new(),
        })
    }

    /// Which kind is connected.
    pub(super) fn kind(&self) -> Option<InterruptKind> {
        self.kind
    }

    /// Takes all of them away.
    pub(super) fn clear(&mut self) {
        // A closed descriptor leaves by itself, unless the server has it still.
        for wire in self.wires.drain(..) {
            let _ = epoll::delete(&self.all, &wire);
        }
        self.kind = None;
    }

    /// Makes `vectors` of one kind, to be given to the server.
    pub(super) fn make(&mut self, kind: InterruptKind, vectors: u16) -> io::Result<&[OwnedFd]> {
        self.clear();
        for vector in 0..vectors.min(MOST) {
            let wire = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            let known = EventData::new_u64(vector.into());
            epoll::add(&self.all, &wire, known, EventFlags::IN)?;
            self.wires.push(wire);
        }
        self.kind = Some(kind);
        Ok(&self.wires)
    }

    /// Which of them were signalled since this was asked last, each once.
    pub(super) fn take(&self) -> Vec<Vector> {
        let mut found = Vec::new();
        let mut events = [const { std::mem::MaybeUninit::<Event>::uninit() }; AT_ONCE];
        // Each wire is emptied when it is found, so as many rounds as there are wires are enough.
        for _ in 0..=usize::from(MOST) / AT_ONCE {
            let now = Timespec::default();
            let Ok((came, _)) = epoll::wait(&self.all, &mut events, Some(&now)) else {
                break;
            };
            let full = came.len() == AT_ONCE;
            for event in came {
                let Ok(vector) = u16::try_from(event.data.u64()) else {
                    continue;
                };
                let wire = self.wires.get(usize::from(vector));
                let mut count = [0; 8];
                if wire.is_some_and(|wire| rustix::io::read(wire, &mut count).is_ok()) {
                    found.push(Vector(vector));
                }
            }
            if !full {
                break;
            }
        }
        found
    }
}

impl AsFd for Wires {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.all.as_fd()
    }
}
