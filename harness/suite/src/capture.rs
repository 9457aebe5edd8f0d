// SPDX-License-Identifier: MIT OR Apache-2.0

//! The capture card in a guest: how it is plugged in, its driver, and what that gives to user space.

use std::time::Duration;

use landfall_agent::protocol::Reply;
pub use landfall_agent::protocol::capture::{
    BufferInfo, CardInfo, Completion, Configure, Configured as Format, Lend, LendKind,
};
use landfall_agent::protocol::capture::{CaptureReply, CaptureRequest, CardCommand};

use landfall::guest::{
    Card, Guest, GuestOptions, Loaded, Module, Result, Running, milliseconds, unexpected,
};
use landfall_cards::capture::{CaptureCard, CaptureOptions};
use landfall_device::contract::InterruptKind;

/// `ETIMEDOUT` of the guest.
const TIMED_OUT: i32 = 110;

/// What the card is called.
pub const NAME: &str = "capture";
/// The capture driver's module.
pub const CAPTURE_MODULE: &str = "landfall_capture";
/// The device file of the first card, but for its number.
const NODE: &str = "/dev/video";

/// A card to plug in.
pub fn card(options: CaptureOptions) -> Card {
    Card::new(NAME, move || CaptureCard::new(options.clone())).with_node(NODE)
}

/// Its driver, which is to use interrupts of that kind; `parameters` are more of its parameters.
pub fn driver(interrupt: InterruptKind, parameters: &str) -> Module {
    let number = match interrupt {
        InterruptKind::Intx => 0,
        InterruptKind::Msi => 1,
        InterruptKind::Msix => 2,
    };
    let parameters = format!("interrupt={number} {parameters}");
    Module {
        name: CAPTURE_MODULE.to_owned(),
        parameters: parameters.trim().to_owned(),
    }
}

/// A guest with one card and its driver.
pub fn guest(options: CaptureOptions) -> GuestOptions {
    GuestOptions {
        drivers: vec![driver(options.interrupt, "")],
        cards: vec![card(options)],
        ..GuestOptions::default()
    }
}

/// An open video card; what only our own driver tells or takes says so. Dropping it closes the device file.
#[derive(Debug)]
pub struct Device<'guest, Stage: Running = Loaded> {
    guest: &'guest Guest<Stage>,
    index: u8,
    open: bool,
}

impl<'guest, Stage: Running> Device<'guest, Stage> {
    /// Opens `/dev/video<index>`; it is closed when the handle is dropped.
    ///
    /// # Errors
    /// If the guest refuses, with `EBUSY` while the agent has it open.
    pub fn open(guest: &'guest Guest<Stage>, index: u8) -> Result<Self> {
        guest.ask(CaptureRequest::Open { card: index })?;
        Ok(Self {
            guest,
            index,
            open: true,
        })
    }

    /// Its number: `/dev/videoN`.
    pub fn index(&self) -> u8 {
        self.index
    }

    /// What our own card and driver are.
    ///
    /// # Errors
    /// If the guest refuses.
    pub fn info(&self) -> Result<CardInfo> {
        match self.command(CardCommand::Info)? {
            Reply::Capture(CaptureReply::Info(info)) => Ok(info),
            other => Err(unexpected(&other)),
        }
    }

    /// Frees earlier buffers and takes new ones from the pool.
    ///
    /// # Errors
    /// If the guest refuses: `EBUSY` while running, or while another program has buffers; `ENOMEM`, `EINVAL`.
    pub fn configure(&self, configure: &Configure) -> Result<Format> {
        match self.command(CardCommand::Configure(configure.clone()))? {
            Reply::Capture(CaptureReply::Configured(configured)) => Ok(configured),
            other => Err(unexpected(&other)),
        }
    }

    /// Where a buffer of our own driver's lies.
    ///
    /// # Errors
    /// If the guest refuses.
    pub fn buffer(&self, index: u32) -> Result<BufferInfo> {
        match self.command(CardCommand::Buffer { index })? {
            Reply::Capture(CaptureReply::Buffer(buffer)) => Ok(buffer),
            other => Err(unexpected(&other)),
        }
    }

    /// Queues a buffer to the card.
    ///
    /// # Errors
    /// If the guest refuses: `EINVAL` if the card has it.
    pub fn queue(&self, index: u32) -> Result<()> {
        self.command(CardCommand::Queue { index }).map(|_| ())
    }

    /// Starts capturing.
    ///
    /// # Errors
    /// If the guest refuses.
    pub fn start(&self) -> Result<()> {
        self.command(CardCommand::Start).map(|_| ())
    }

    /// Stops capturing, waits until the card is idle and takes every buffer back.
    ///
    /// # Errors
    /// If the guest refuses: `ETIMEDOUT` if the card stays busy.
    pub fn stop(&self) -> Result<()> {
        self.command(CardCommand::Stop).map(|_| ())
    }

    /// Waits for the oldest completion; `None` if there was none within `limit`.
    ///
    /// # Errors
    /// If the guest refuses: `EINVAL` if it was not started, `EIO` if the card does not answer.
    pub fn wait(&self, limit: Duration) -> Result<Option<Completion>> {
        let command = CardCommand::Wait {
            timeout_ms: milliseconds(limit),
        };
        let request = CaptureRequest::Command {
            card: self.index,
            command,
        };
        match self.guest.ask_within(request, limit) {
            Ok(Reply::Capture(CaptureReply::Completion(completion))) => Ok(Some(completion)),
            Ok(other) => Err(unexpected(&other)),
            Err(failed) if failed.errno() == Some(TIMED_OUT) => Ok(None),
            Err(failed) => Err(failed),
        }
    }

    /// Frees the buffers.
    ///
    /// # Errors
    /// If the guest refuses: `EBUSY` while running.
    pub fn release(&self) -> Result<()> {
        self.command(CardCommand::Release).map(|_| ())
    }

    /// What our own driver has lent to the card.
    ///
    /// # Errors
    /// If the guest refuses.
    pub fn lends(&self) -> Result<Vec<Lend>> {
        match self.command(CardCommand::Lends)? {
            Reply::Capture(CaptureReply::Lends(lends)) => Ok(lends),
            other => Err(unexpected(&other)),
        }
    }

    /// Reads a part of a frame through the driver's mmap, as guest user space sees it.
    ///
    /// # Errors
    /// If the guest refuses.
    pub fn read_frame(&self, buffer: u32, offset: u64, length: u32) -> Result<Vec<u8>> {
        self.read(buffer, false, offset, length)
    }

    /// Reads a part of a clip mask.
    ///
    /// # Errors
    /// If the guest refuses.
    pub fn read_clip(&self, buffer: u32, offset: u64, length: u32) -> Result<Vec<u8>> {
        self.read(buffer, true, offset, length)
    }

    fn read(&self, buffer: u32, clip: bool, offset: u64, length: u32) -> Result<Vec<u8>> {
        let request = CaptureRequest::Read {
            card: self.index,
            buffer,
            clip,
            offset,
            length,
        };
        match self.guest.ask(request)? {
            Reply::Data(bytes) => Ok(bytes),
            other => Err(unexpected(&other)),
        }
    }

    /// Writes to a buffer's clip mask through the driver's mmap.
    ///
    /// # Errors
    /// If the guest refuses.
    pub fn write_clip(&self, buffer: u32, offset: u64, data: &[u8]) -> Result<()> {
        let data = data.to_vec();
        self.guest
            .ask(CaptureRequest::WriteClip {
                card: self.index,
                buffer,
                offset,
                data,
            })
            .map(|_| ())
    }

    /// XXH64 (seed 0) of each frame's lent bytes, as guest user space sees them.
    ///
    /// # Errors
    /// If the guest refuses.
    pub fn hashes(&self, buffers: &[u32]) -> Result<Vec<u64>> {
        match self.guest.ask(CaptureRequest::Hash {
            card: self.index,
            buffers: buffers.to_vec(),
        })? {
            Reply::Capture(CaptureReply::Hashes(hashes)) if hashes.len() == buffers.len() => {
                Ok(hashes)
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Maps a frame and keeps it mapped, also when the card is closed, until [`drop_mappings`].
    ///
    /// # Errors
    /// If the guest refuses.
    pub fn hold_mapping(&self, buffer: u32) -> Result<()> {
        self.hold(buffer, false)
    }

    /// Likewise its clip mask, which can be written ([`write_mappings`]).
    ///
    /// # Errors
    /// If the guest refuses.
    pub fn hold_clip(&self, buffer: u32) -> Result<()> {
        self.hold(buffer, true)
    }

    fn hold(&self, buffer: u32, clip: bool) -> Result<()> {
        self.guest
            .ask(CaptureRequest::Hold {
                card: self.index,
                buffer,
                clip,
            })
            .map(|_| ())
    }

    /// Closes the device file, which stops the card and frees its buffers.
    ///
    /// # Errors
    /// If the guest refuses.
    pub fn close(mut self) -> Result<()> {
        self.open = false;
        self.guest
            .ask(CaptureRequest::Close { card: self.index })
            .map(|_| ())
    }

    fn command(&self, command: CardCommand) -> Result<Reply> {
        self.guest.ask(CaptureRequest::Command {
            card: self.index,
            command,
        })
    }
}

/// Writes to the start of every clip mask that [`Device::hold_clip`] holds, as a user would who has it still mapped.
///
/// # Errors
/// If the guest refuses.
pub fn write_mappings(guest: &Guest<Loaded>, data: impl AsRef<[u8]>) -> Result<()> {
    let data = data.as_ref().to_vec();
    guest.ask(CaptureRequest::WriteHeld { data }).map(drop)
}

/// Drops what [`Device::hold_mapping`] and [`Device::hold_clip`] hold.
///
/// # Errors
/// If the guest refuses.
pub fn drop_mappings(guest: &Guest<Loaded>) -> Result<()> {
    guest.ask(CaptureRequest::DropHeld).map(drop)
}

impl<Stage: Running> Drop for Device<'_, Stage> {
    fn drop(&mut self) {
        if self.open && !std::thread::panicking() {
            // A guest that is gone has closed it too.
            let _ = self.guest.ask(CaptureRequest::Close { card: self.index });
        }
    }
}
