// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the protocol's commands do to a card.

use std::fs::File;
use std::io;

use ::vfio_user::{DmaMapFlags, DmaUnmapFlags, IrqInfo, ServerBackend};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::connection::Region;
use crate::contract::{Contents, Identity, InterruptKind, MOST_MSIX};
use crate::dma::map::{Added, Request, UnmapError};
use crate::journal::{CAPACITY, Journal, Kind};
use crate::pci::config;
use crate::pci::irq::{Irqs, Wire};
use crate::serve::Shared;

/// Region that holds configuration space; 0 to 5 are BARs, 6 the ROM, 8 VGA.
const CONFIG_REGION: usize = 7;
/// Regions that must be described.
const REGIONS: usize = 9;
/// Most changes of mappings that one connection journals; a quarter of the journal. How many were more is told at its end.
const MAX_JOURNALLED: usize = CAPACITY / 4;
/// Most wires that one command connects.
const MAX_WIRES: u32 = MOST_MSIX as u32;

const SET_NONE: u32 = 1;
const SET_BOOL: u32 = 1 << 1;
const SET_EVENT: u32 = 1 << 2;
const SET_MASK: u32 = 1 << 3;
const SET_UNMASK: u32 = 1 << 4;
const SET_TRIGGER: u32 = 1 << 5;

const IRQ_EVENT: u32 = 1;
const IRQ_MASKABLE: u32 = 2;
const IRQ_AUTOMASKED: u32 = 4;
const IRQ_NO_RESIZE: u32 = 8;

/// An event descriptor of the machine.
#[derive(Debug)]
pub(crate) struct EventWire(File);

impl Wire for EventWire {
    fn signal(&self) {
        // A descriptor that cannot take the event now would block us: leave it, it is signalled already.
        let mut ready = [PollFd::new(&self.0, PollFlags::OUT)];
        let writable = poll(&mut ready, Some(&Timespec::default()));
        if writable.is_ok_and(|count| count > 0) {
            // Nobody is there to be told if the machine has closed its end.
            let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
        }
    }

    fn taken(&self) -> bool {
        // An event descriptor can be read until somebody has read it.
        let mut ready = [PollFd::new(&self.0, PollFlags::IN)];
        !poll(&mut ready, Some(&Timespec::default())).is_ok_and(|count| count > 0)
    }
}

/// One connection's view of a card.
pub(super) struct Backend<'a> {
    shared: &'a Shared,
    bars: [u64; 6],
    identity: Identity,
    /// Changes of mappings that were journalled.
    journalled: usize,
}

impl<'a> Backend<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        let (bars, identity) =
            shared.with_machine(|machine| (machine.bar_sizes(), machine.identity().clone()));
        Self {
            shared,
            bars,
            identity,
            journalled: 0,
        }
    }

    /// All nine regions.
    pub(super) fn regions(&self) -> io::Result<Vec<Region>> {
        let each = (0..REGIONS).map(|index| {
            let size = match index {
                CONFIG_REGION => config::SIZE as u64,
                _ => self.bars.get(index).copied().unwrap_or(0),
            };
            let mut bars = self.identity.bars.iter();
            let mapped = bars.find_map(|bar| match &bar.contents {
                Contents::Memory {
                    backing,
                    mapped: true,
                } if usize::from(bar.index) == index => Some(backing),
                _ => None,
            });
            let mapped = mapped.map(|backing| backing.file().try_clone());
            Ok(Region {
                size,
                mapped: mapped.transpose()?,
            })
        });
        each.collect()
    }

    /// All five interrupts: INTx, MSI, MSI-X, error, request.
    pub(super) fn irqs(&self) -> Vec<IrqInfo> {
        let count = |kind| Irqs::<EventWire>::vectors(&self.identity, kind);
        let line = IRQ_EVENT | IRQ_MASKABLE | IRQ_AUTOMASKED;
        let message = IRQ_EVENT | IRQ_NO_RESIZE;
        [
            (line, count(InterruptKind::Intx)),
            (message, count(InterruptKind::Msi)),
            (message, count(InterruptKind::Msix)),
            (IRQ_EVENT, 0),
            (IRQ_EVENT, 0),
        ]
        .into_iter()
        .zip(0..)
        .map(|((flags, count), index)| IrqInfo {
            index,
            flags,
            count,
        })
        .collect()
    }

    fn refuse(&self, what: String, error: io::ErrorKind) -> io::Error {
        self.shared.journal.push(Kind::Refused { what });
        io::Error::from(error)
    }
}

/// Journals a change of the mappings: of one connection the first [`MAX_JOURNALLED`], and then that there are
/// more.
fn journal_map(journal: &Journal, journalled: &mut usize, kind: Kind) {
    match *journalled {
        ..MAX_JOURNALLED => journal.push(kind),
        MAX_JOURNALLED => journal.push(Kind::Refused {
            what: "too many changes of mappings to journal; no more are told".to_owned(),
        }),
        _ => 0,
    };
    *journalled = journalled.saturating_add(1);
}

impl Drop for Backend<'_> {
    fn drop(&mut self) {
        if let Some(untold @ 1..) = self.journalled.checked_sub(MAX_JOURNALLED) {
            let what = format!("{untold} changes of mappings were not told");
            self.shared.journal.push(Kind::Refused { what });
        }
    }
}

impl ServerBackend for Backend<'_> {
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.shared.with_machine(|machine| match region {
            0..=5 => machine.read(region as u8, offset, data),
            7 => machine.read_config(offset, data),
            _ => data.fill(0xff),
        });
        Ok(())
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> io::Result<()> {
        match region {
            0..=5 => self.shared.write_bar(region as u8, offset, data),
            7 => self
                .shared
                .with_machine(|machine| machine.write_config(offset, data)),
            _ => {}
        }
        Ok(())
    }

    fn dma_map(
        &mut self,
        flags: DmaMapFlags,
        offset: u64,
        address: u64,
        size: u64,
        file: Option<File>,
    ) -> io::Result<()> {
        let request = Request {
            iova: address,
            length: size,
            file_offset: offset,
            readable: flags.contains(DmaMapFlags::READ),
            writable: flags.contains(DmaMapFlags::WRITE),
            file,
        };
        let journalled = &mut self.journalled;
        let tell = |added: Added| {
            let kind = Kind::BusMapped {
                address,
                length: size,
                readable: added.readable,
                writable: added.writable,
            };
            journal_map(&self.shared.journal, journalled, kind);
        };
        self.shared
            .map
            .add_and(request, tell)
            .map_err(|error| self.refuse(error.to_string(), io::ErrorKind::InvalidInput))
    }

    fn dma_unmap(&mut self, flags: DmaUnmapFlags, address: u64, size: u64) -> io::Result<()> {
        if flags.contains(DmaUnmapFlags::UNMAP_ALL) {
            let (address, length) = (0, u64::MAX);
            let kind = Kind::BusUnmapped { address, length };
            let (journal, journalled) = (&self.shared.journal, &mut self.journalled);
            self.shared
                .map
                .clear_and(|| journal_map(journal, journalled, kind));
            return Ok(());
        }
        let tell = |address, length| {
            let kind = Kind::BusUnmapped { address, length };
            journal_map(&self.shared.journal, &mut self.journalled, kind);
        };
        match self.shared.map.remove_and(address, size, tell) {
            // Machines clear whole ranges in which nothing may be; Linux's own VFIO takes that as done.
            Ok(_) | Err(UnmapError::Nothing { .. }) => Ok(()),
            Err(error) => Err(self.refuse(error.to_string(), io::ErrorKind::InvalidInput)),
        }
    }

    fn reset(&mut self) -> io::Result<()> {
        self.shared.with_machine(|machine| machine.reset_device());
        Ok(())
    }

    fn set_irqs(
        &mut self,
        index: u32,
        flags: u32,
        start: u32,
        count: u32,
        fds: Vec<File>,
    ) -> io::Result<()> {
        let kind = match index {
            0 => InterruptKind::Intx,
            1 => InterruptKind::Msi,
            2 => InterruptKind::Msix,
            // Error and request interrupts never come; whoever wants them may wait.
            3 | 4 => return Ok(()),
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        if flags & SET_BOOL != 0 || count > MAX_WIRES {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let line = kind == InterruptKind::Intx;
        self.shared.with_machine(|machine| {
            machine.with_irqs(|irqs| {
                if flags & SET_TRIGGER != 0 && flags & SET_EVENT != 0 {
                    let mut wires = fds.into_iter().map(EventWire);
                    let wires = (0..count).map(|_| wires.next()).collect();
                    irqs.connect(kind, start as usize, wires);
                } else if flags & SET_TRIGGER != 0 && flags & SET_NONE != 0 && count == 0 {
                    irqs.disconnect(kind);
                } else if flags & SET_TRIGGER != 0 {
                    for vector in start..start.saturating_add(count) {
                        irqs.trigger(kind, vector as usize);
                    }
                } else if flags & SET_MASK != 0 && line {
                    irqs.mask_line(true);
                } else if flags & SET_UNMASK != 0 && line {
                    irqs.mask_line(false);
                }
            });
        });
        Ok(())
    }
}
