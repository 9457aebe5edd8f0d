// SPDX-License-Identifier: MIT OR Apache-2.0

//! A card with memory of its own. `1b36:4f32`, subsystem `1af4:0042`, one MSI vector. BAR 0, 64-bit: registers of 64 bits.
//! BAR 2, 64-bit, prefetchable: 1 MiB of memory, mapped. A write to `GO` sends the first 4 KiB of that memory to the bus
//! address written; `EVENTS` counts what was sent, and reading it clears it.

use landfall_device::contract::*;

const GO: u64 = 0x00;
const EVENTS: u64 = 0x08;
/// Bytes that are sent.
const SENT: usize = 4096;

/// The card. Clones share their memory: make one for each guest.
#[derive(Debug)]
pub struct Window {
    memory: Backing,
    go: Option<u64>,
    address: u64,
    events: u64,
    jobs: u64,
}

impl Window {
    /// The card, as after power-on.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            memory: Backing::new(1 << 20)?,
            go: None,
            address: 0,
            events: 0,
            jobs: 0,
        })
    }
}

impl Device for Window {
    fn identity(&self) -> Identity {
        Identity {
            vendor: 0x1b36,
            device: 0x4f32,
            subsystem: Some((0x1af4, 0x0042)),
            class: 0xff_00_00,
            bars: vec![
                Bar::registers(0, 0x1000).wide(),
                Bar::memory(2, &self.memory).wide().prefetchable().mapped(),
            ],
            ..Identity::default()
        }
        .interrupting(InterruptKind::Msi, 1)
    }

    fn declares(&self) -> Declares {
        Declares {
            jobs: true,
            interrupts: true,
            ..Declares::default()
        }
    }

    fn reset(&mut self, _kind: Reset) {
        self.memory.clear();
        (self.go, self.address, self.events) = (None, 0, 0);
    }

    fn step(&mut self, host: &mut dyn Host) -> Next {
        if host.may_master().is_err() {
            return Next::Idle;
        }
        let Some(address) = self.go.take() else {
            return Next::Idle;
        };
        let job = JobId(self.jobs);
        self.jobs += 1;
        host.declare(Declaration::begun(
            job,
            vec![Piece::write(address, SENT as u64)],
        ));
        let mut bytes = [0; SENT];
        self.memory.read(0, &mut bytes);
        let sent = host.dma_write(address, &bytes, Tag::job(job));
        self.events += 1;
        let owed = Some(Owed::now(Vector(0)));
        host.declare(match sent {
            Ok(()) => Declaration::done(job, SENT as u64, owed),
            Err(_) => Declaration::failed(job, "the bus refused it", owed),
        });
        host.raise(Vector(0));
        Next::Again
    }

    fn line(&self) -> bool {
        self.events > 0
    }
}

impl Function for Window {
    fn name(&self, access: Access) -> Option<RegisterName> {
        match (access.bar, access.register(Width::Eight)) {
            (0, GO) => Some(RegisterName::plain("GO")),
            (0, EVENTS) => Some(RegisterName::plain("EVENTS")),
            _ => None,
        }
    }

    fn load(&mut self, access: Access, _host: &mut dyn Host) -> u64 {
        match access.register(Width::Eight) {
            GO => access.lanes(GO).extract(self.address),
            _ => {
                let read = access.lanes(EVENTS).extract(self.events);
                self.events = 0;
                read
            }
        }
    }

    fn store(&mut self, access: Access, value: u64, _host: &mut dyn Host) {
        if access.register(Width::Eight) == GO {
            self.address = access.lanes(GO).insert(self.address, value);
            // Its last byte sets it going, however it is written.
            let ends = access.offset + u64::from(access.width.bytes()) == GO + 8;
            self.go = ends.then_some(self.address).or(self.go);
        }
    }
}
