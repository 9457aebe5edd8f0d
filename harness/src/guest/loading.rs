// SPDX-License-Identifier: MIT OR Apache-2.0

//! Modules into a guest, and cards.

use std::time::Duration;

use landfall_agent::protocol::{Reply, Request};
use landfall_device::serve::CardServer;

use super::failure::{GuestFailed, Result, What};
use super::machine::Machine;
use super::milliseconds;
use super::options::{CardKind, Module};
use crate::qemu::qmp;

/// How long a guest may take to find a card and bind it; it takes tenths of a second.
const BIND: Duration = Duration::from_secs(10);

impl Machine {
    /// Loads modules, in order.
    pub(super) fn load_modules(&mut self, modules: &[Module]) -> Result<()> {
        modules.iter().try_for_each(|module| {
            let Module { name, parameters } = module.clone();
            self.request(Request::LoadModule { name, parameters }, Duration::ZERO)
                .map(drop)
                .map_err(|failed| self.with_kernels_word(failed))
        })
    }

    /// Waits until each capture card has its device file.
    pub(super) fn wait_for_capture_cards(&mut self) -> Result<()> {
        let cards = self.options.cards.iter();
        let captures = cards.filter(|card| matches!(card, CardKind::Capture(_)));
        (0..captures.count()).try_for_each(|number| self.wait_for_capture_card(number))
    }

    fn wait_for_capture_card(&mut self, number: usize) -> Result<()> {
        self.wait_for_path(&format!("/dev/landfall-capture{number}"), BIND)
            .map_err(|failed| self.with_kernels_word(failed))
    }

    /// Plugs in all cards, one after the other, so that their numbers in the guest are those of their ports. With
    /// `bound`, the driver is there and each capture card is waited for until it has its device file.
    pub(super) fn plug_cards(&mut self, bound: bool) -> Result<()> {
        let mut captures = 0;
        for index in 0..self.cards.len() {
            self.plug_card(index)?;
            let capture = matches!(self.options.cards.get(index), Some(CardKind::Capture(_)));
            if bound && capture {
                self.wait_for_capture_card(captures)?;
                captures += 1;
            } else {
                // Each root port has the bus of its own number.
                let path = format!("/sys/bus/pci/devices/0000:{:02x}:00.0", index + 1);
                self.wait_for_path(&path, BIND)?;
            }
        }
        Ok(())
    }

    /// Serves one more card and plugs it into the next empty port.
    pub(super) fn add_card(&mut self, card: CardKind) -> Result<usize> {
        let index = self.cards.len();
        let server = CardServer::bind(&self.socket(index), card.function())
            .map_err(|source| GuestFailed::early(What::Card { index, source }))?;
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

    fn plug_card(&mut self, index: usize) -> Result<()> {
        let socket = self.socket(index);
        self.monitor(&qmp::Command::PlugCard { index, socket })
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
