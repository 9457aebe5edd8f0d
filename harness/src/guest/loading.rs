// SPDX-License-Identifier: MIT OR Apache-2.0

//! Modules into a guest, and cards.

use std::ops::Range;
use std::time::{Duration, Instant};

use landfall_agent::protocol::{Reply, Request};

use super::Card;
use super::failure::{GuestFailed, Result, What};
use super::machine::Machine;
use super::options::{Iommu, Module};
use super::{milliseconds, protocol_error, region, unexpected, watch};
use crate::guest::memory::ReadError;
use crate::guest::qemu::qmp;

/// How long a guest may take to find a card and bind it; it takes tenths of a second, and took ten seconds on a host that had
/// much else to do.
const BIND: Duration = Duration::from_secs(30);
/// Where the kernel lists slots for hot-plug.
const SLOTS: &str = "/sys/bus/pci/slots";
/// What a slot's power indicator shows while its state changes.
const BLINKING: u8 = 2;

impl Machine {
    /// Loads modules, in order. Right before the pool, what is watched from boot is compared.
    pub(super) fn load_modules(&mut self, modules: &[Module]) -> Result<()> {
        modules.iter().try_for_each(|module| {
            let untouched = match module.name == super::POOL_MODULE {
                true => Some(self.look_at_watched()?),
                false => None,
            };
            let Module { name, parameters } = module.clone();
            self.request(Request::LoadModule { name, parameters }, Duration::ZERO)
                .map_err(|failed| self.with_kernels_word(failed))?;
            match untouched {
                Some(untouched) if self.options.watch_from_boot => {
                    self.regions_untouched(&untouched)
                }
                _ => Ok(()),
            }
        })
    }

    /// Compares what is watched and known; gives what else of RAM nobody wrote to, if the rest is watched too.
    fn look_at_watched(&mut self) -> Result<Vec<Range<u64>>> {
        for range in self.options.watched() {
            let found = watch::touched(&self.memory, &range).map_err(unreadable)?;
            if let Some(touched) = found {
                return Err(self.fail(What::Touched(touched)));
            }
        }
        self.watched_before();
        let mut untouched = Vec::new();
        if self.options.watch_from_boot {
            for ram in self.memory.ram() {
                untouched.extend(watch::untouched(&self.memory, &ram.range()).map_err(unreadable)?);
            }
        }
        Ok(untouched)
    }

    /// Enters what the options name as watched: it was compared, now or before the snapshot was made.
    pub(super) fn watched_before(&mut self) {
        let watched = self.options.watched();
        let bytes = watched.iter().map(|range| range.end - range.start);
        self.watched = (!watched.is_empty()).then(|| bytes.sum());
    }

    /// Compares the pool's regions, whose place is known only now, with what nobody had written to before.
    fn regions_untouched(&mut self, untouched: &[Range<u64>]) -> Result<()> {
        let request = Request::ReadFile {
            path: super::REGIONS.to_owned(),
            offset: 0,
            max: 1 << 16,
        };
        let regions = match self.request(request, Duration::ZERO)? {
            Reply::Data(text) => region::regions(&String::from_utf8_lossy(&text)),
            other => return Err(unexpected(&other)),
        };
        let mut bytes = 0;
        for region in regions.map_err(protocol_error)? {
            if let Some(touched) = watch::missing(untouched, &region.range()) {
                return Err(self.fail(What::Touched(touched)));
            }
            bytes += region.bytes;
        }
        self.watched = Some(bytes);
        Ok(())
    }

    /// Waits until each card that has a device file when it is bound has it.
    pub(super) fn wait_for_nodes(&mut self) -> Result<()> {
        (0..self.options.cards.len()).try_for_each(|index| self.wait_for_node(index).map(drop))
    }

    /// Waits for the device file of a card. False: it has none.
    fn wait_for_node(&mut self, index: usize) -> Result<bool> {
        let nodes = self.options.cards.iter().map(Card::node);
        let before: Vec<_> = nodes.take(index + 1).collect();
        let Some((Some(node), before)) = before.split_last() else {
            return Ok(false);
        };
        let number = before.iter().filter(|other| **other == Some(*node)).count();
        let path = format!("{node}{number}");
        self.wait_for_path(&path, BIND)
            .map_err(|failed| self.with_kernels_word(failed))?;
        Ok(true)
    }

    /// Plugs in all cards, one after the other, so that their numbers in the guest are those of their ports. With
    /// `bound`, the drivers are there and each card is waited for until it is bound, as far as that can be seen.
    pub(super) fn plug_cards(&mut self, bound: bool) -> Result<()> {
        for index in 0..self.cards.len() {
            self.plug_card(index)?;
            if !(bound && self.wait_for_node(index)?) {
                self.wait_for_path(&card_path(index), BIND)?;
                self.wait_for_hot_plug(index)?;
            }
        }
        Ok(())
    }

    /// Waits until the kernel is done with a card of which it has shown something: before, no driver can have it.
    fn wait_for_hot_plug(&mut self, index: usize) -> Result<()> {
        match self.options.board.drives_slots {
            true => self.wait_for_indicator(index),
            false => self.wait_for_slot(index),
        }
    }

    /// By PCIe's own means: the power indicator of the slot blinks until the kernel is done.
    fn wait_for_indicator(&mut self, index: usize) -> Result<()> {
        let port = Request::ReadFile {
            path: format!("{}/../config", card_path(index)),
            offset: 0,
            max: 256,
        };
        let began = Instant::now();
        loop {
            let config = match self.request(port.clone(), Duration::ZERO)? {
                Reply::Data(config) => config,
                other => return Err(unexpected(&other)),
            };
            match power_indicator(&config) {
                Some(BLINKING) if began.elapsed() < BIND => {}
                Some(BLINKING) => {
                    let port = index + 1;
                    return Err(self.fail(What::TimedOut {
                        waiting_for: format!("the kernel to be done with the card in port {port}"),
                        waited: BIND,
                    }));
                }
                _ => return Ok(()),
            }
        }
    }

    /// By ACPI: asking for power of its slot, which has it, waits for the lock that hot-plug holds, and does nothing.
    fn wait_for_slot(&mut self, index: usize) -> Result<()> {
        let list = Request::ListDirectory {
            path: SLOTS.to_owned(),
        };
        let slots = match self.request(list, Duration::ZERO)? {
            Reply::Names(slots) => slots,
            other => return Err(unexpected(&other)),
        };
        for slot in slots {
            let read = Request::ReadFile {
                path: format!("{SLOTS}/{slot}/address"),
                offset: 0,
                max: 64,
            };
            let address = match self.request(read, Duration::ZERO)? {
                Reply::Data(address) => address,
                other => return Err(unexpected(&other)),
            };
            if String::from_utf8_lossy(&address).trim() == slot_address(index) {
                let write = Request::WriteFile {
                    path: format!("{SLOTS}/{slot}/power"),
                    offset: 0,
                    data: b"1".to_vec(),
                };
                return self.request(write, Duration::ZERO).map(drop);
            }
        }
        Ok(())
    }

    /// Serves one more card and plugs it into the next empty port.
    pub(super) fn add_card(&mut self, card: Card) -> Result<usize> {
        let index = self.cards.len();
        let with = self.options.card_options(index);
        if card.is_direct() && !self.sockets.leads_elsewhere() {
            let why = "a card that is not judged is reached by QEMU itself, which has given up root's rights by now: it must be there from the start, or Landfall run as an ordinary user";
            return Err(GuestFailed::early(What::Options(why.to_owned())));
        }
        let server = card
            .serve(&self.sockets.path(index), index, with)
            .map_err(GuestFailed::early)?;
        if let Some(cpu) = self.cpu.as_ref().filter(|_| self.options.watch_cpu) {
            cpu.watch(index, &server);
        }
        self.cards.push(server);
        self.options.cards.push(card);
        match self.plug_card(index) {
            Ok(()) => Ok(index),
            Err(failed) => {
                self.cards.pop();
                self.options.cards.pop();
                Err(failed)
            }
        }
    }

    /// Has the guest use its IOMMU lazily for every card, if the options ask for that. Cards may be bound.
    pub(super) fn make_iommu_lazy(&mut self) -> Result<()> {
        if self.options.iommu != Iommu::Lazy || self.options.board.iommu.lazily.is_some() {
            return Ok(());
        }
        (0..self.cards.len()).try_for_each(|index| {
            let path = format!("{}/iommu_group/type", card_path(index));
            self.wait_for_path(&path, BIND)?;
            let write = Request::WriteFile {
                path,
                offset: 0,
                data: b"DMA-FQ".to_vec(),
            };
            self.request(write, Duration::ZERO).map(drop)
        })
    }

    fn plug_card(&mut self, index: usize) -> Result<()> {
        let socket = self.sockets.for_qemu(index).map_err(|source| {
            let doing = "give QEMU the card's socket";
            self.fail(What::Host { doing, source })
        })?;
        let synchronous = self.options.explored;
        self.monitor(&qmp::Command::PlugCard {
            index,
            socket,
            synchronous,
        })
        .map(drop)
    }

    fn wait_for_path(&mut self, path: &str, limit: Duration) -> Result<()> {
        let request = Request::WaitForPath {
            path: path.to_owned(),
            timeout_ms: milliseconds(limit),
        };
        self.request(request, limit).map(drop)
    }

    /// Adds the last line of the kernel's log that is Landfall's: it says why a module refused.
    fn with_kernels_word(&mut self, mut failed: GuestFailed) -> GuestFailed {
        if failed.errno().is_none() {
            return failed;
        }
        let limit = Duration::from_secs(5);
        let dmesg = Request::Run {
            argv: vec!["/bin/busybox".to_owned(), "dmesg".to_owned()],
            timeout_ms: milliseconds(limit),
        };
        if let Ok(Reply::Ran { stdout, .. }) = self.request(dmesg, limit) {
            let log = String::from_utf8_lossy(&stdout);
            let said = log.lines().rfind(|line| {
                line.contains("landfall")
                    && !line.contains("taints kernel")
                    && !line.contains("Command line")
            });
            failed.kernel_line = said.map(|line| line.trim().to_owned());
        }
        failed
    }
}

/// What the slot's power indicator shows, by a port's configuration space: its bits of the Slot Control register (PCI Express
/// Base Specification, 7.5.3.10). `None`: it is no port with a slot, or damaged.
fn power_indicator(config: &[u8]) -> Option<u8> {
    const PCI_EXPRESS: u8 = 0x10;
    const SLOT_CONTROL: usize = 0x18;
    let mut at = usize::from(*config.get(0x34)?);
    // As many as there is room for: a list that goes in a circle ends.
    for _ in 0..48 {
        let [id, next] = config.get(at..at + 2)? else {
            return None;
        };
        if *id == PCI_EXPRESS {
            return Some(config.get(at + SLOT_CONTROL + 1)? & 3);
        }
        at = usize::from(*next);
    }
    None
}

/// Where the guest has card `index`: each root port has the bus of its own number.
fn card_path(index: usize) -> String {
    format!("/sys/bus/pci/devices/{}.0", slot_address(index))
}

/// The slot that it is in.
fn slot_address(index: usize) -> String {
    format!("0000:{:02x}:00", index + 1)
}

/// Guest memory could not be read.
fn unreadable(error: ReadError) -> GuestFailed {
    GuestFailed::early(What::Host {
        doing: "read the memory that is watched",
        source: error.source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_indicator_is_found_along_the_list_and_no_list_is_followed_for_ever() {
        let mut config = vec![0; 256];
        config[0x34] = 0x40;
        config[0x40..0x42].copy_from_slice(&[0x05, 0x80]);
        config[0x80..0x82].copy_from_slice(&[0x10, 0]);
        for (control, shows) in [(0x02, BLINKING), (0x01, 1), (0xfc, 0)] {
            config[0x80 + 0x19] = control;
            assert_eq!(power_indicator(&config), Some(shows));
        }
        config[0x81] = 0x40;
        config[0x80] = 0x05;
        assert_eq!(power_indicator(&config), None, "a circle");
        config[0x34] = 0xff;
        assert_eq!(power_indicator(&config), None, "beyond the end");
        assert_eq!(power_indicator(&[]), None);
    }
}
