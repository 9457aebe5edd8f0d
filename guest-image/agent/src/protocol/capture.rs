// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a video driver is asked for, and answers.

use serde::{Deserialize, Serialize};

use super::Direction;

/// What can be asked of a video driver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CaptureRequest {
    /// Opens `/dev/video<card>`; needed before any other capture request for that card.
    Open {
        /// Index of the card.
        card: u8,
    },
    /// Closes it.
    Close {
        /// Index of the card.
        card: u8,
    },
    /// Has an open card do something.
    Command {
        /// Index of the card.
        card: u8,
        /// Which.
        command: CardCommand,
    },
    /// Maps a buffer (or its clip mask) and reads from it. Answers [`super::Reply::Data`].
    Read {
        /// Index of the card.
        card: u8,
        /// Which buffer.
        buffer: u32,
        /// The clip mask instead of the frame.
        clip: bool,
        /// First byte.
        offset: u64,
        /// Bytes; at most [`super::MAX_DATA`].
        length: u32,
    },
    /// Maps a buffer's clip mask and writes to it. Answers [`super::Reply::Done`].
    WriteClip {
        /// Index of the card.
        card: u8,
        /// Which buffer.
        buffer: u32,
        /// First byte.
        offset: u64,
        /// What to write.
        data: Vec<u8>,
    },
    /// Maps frames and hashes all lent bytes of each (XXH64, seed 0). Answers [`CaptureReply::Hashes`].
    Hash {
        /// Index of the card.
        card: u8,
        /// Which buffers.
        buffers: Vec<u32>,
    },
    /// Maps a frame, to read, or a clip mask, to read and write, and keeps it mapped, also over `Close`, until
    /// [`CaptureRequest::DropHeld`].
    Hold {
        /// Index of the card.
        card: u8,
        /// Which buffer.
        buffer: u32,
        /// Its clip mask rather than its frame.
        clip: bool,
    },
    /// Writes these bytes to the start of every clip mask that [`CaptureRequest::Hold`] holds, as a user would.
    WriteHeld {
        /// What to write.
        data: Vec<u8>,
    },
    /// Drops what [`CaptureRequest::Hold`] holds.
    DropHeld,
}

/// What it answers, where that is more than done, or bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CaptureReply {
    /// XXH64 with seed 0 of each buffer asked for, in that order.
    Hashes(Vec<u64>),
    /// See [`CardCommand::Info`].
    Info(CardInfo),
    /// See [`CardCommand::Configure`].
    Configured(Configured),
    /// See [`CardCommand::Buffer`].
    Buffer(BufferInfo),
    /// See [`CardCommand::Wait`].
    Completion(Completion),
    /// See [`CardCommand::Lends`].
    Lends(Vec<Lend>),
}

/// What a card is to do, by V4L2 or, where that has no word for it, by a call of `kmod/capture/uapi.rs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CardCommand {
    /// Our own driver. Answers [`CaptureReply::Info`].
    Info,
    /// Frees earlier buffers, sets what is captured and takes new ones. `EBUSY` while running, `EINVAL` for what the
    /// driver would adjust. Answers [`CaptureReply::Configured`].
    Configure(Configure),
    /// Our own driver. Answers [`CaptureReply::Buffer`].
    Buffer {
        /// Which.
        index: u32,
    },
    /// Gives a buffer to the card. `EINVAL` if it has it. Answers [`super::Reply::Done`].
    Queue {
        /// Which.
        index: u32,
    },
    /// Starts the stream. Answers [`super::Reply::Done`].
    Start,
    /// Stops it, and takes every buffer back. `ETIMEDOUT` if our own driver says that the card stayed busy and was
    /// reset, `EIO` if it does not answer. Answers [`super::Reply::Done`].
    Stop,
    /// Waits for the frame that was done first. `ETIMEDOUT` if none is. Answers [`CaptureReply::Completion`].
    Wait {
        /// How long at most, milliseconds.
        timeout_ms: u32,
    },
    /// Frees the buffers. `EBUSY` while running. Answers [`super::Reply::Done`].
    Release,
    /// Our own driver. Answers [`CaptureReply::Lends`].
    Lends,
}

/// What to capture. Clip masks, places, and what V4L2's calls would adjust, only our own driver takes. With neither format,
/// size, stride nor interval it is what the driver has set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Configure {
    /// `V4L2_PIX_FMT_*`; 0: the one that the driver likes.
    pub format: u32,
    /// Pixels.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// Bytes from line to line; 0: as the driver likes.
    pub stride: u32,
    /// Number of the test pattern.
    pub pattern: u32,
    /// Microseconds from frame to frame; 0: as the driver likes.
    pub interval_us: u32,
    /// How many, at least 1.
    pub buffers: u32,
    /// Every buffer is to have a clip mask.
    pub clip: bool,
    /// Physical address of buffer 0; 0: anywhere. See `Setup` in `uapi.rs`.
    pub at: u64,
    /// Bus address of buffer 0; 0: what it gets. Likewise.
    pub iova: u64,
}

/// What was configured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Configured {
    /// `V4L2_PIX_FMT_*`.
    pub format: u32,
    /// Pixels.
    pub width: u32,
    /// Lines.
    pub height: u32,
    /// Bytes from line to line.
    pub stride: u32,
    /// Bytes of a clip mask; 0: none.
    pub clip_size: u32,
    /// Bytes of a frame.
    pub frame_size: u64,
    /// How many buffers there are: as many as are wanted, or more if the driver does not begin with fewer.
    pub buffers: u32,
}

/// The driver's `Info`; see `uapi.rs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "the fields are those of uapi.rs, documented there"
)]
pub struct CardInfo {
    pub layout: u32,
    pub interrupt: u32,
    pub address_bits: u32,
    pub alignment: u32,
    pub boundary: u64,
    pub max_frame: u64,
    pub selftest_dma: u64,
    pub selftest_phys: u64,
    pub selftest_nonce: u64,
    pub interrupts: u64,
    pub pci_address: u32,
}

/// A buffer; see `Buffer` in `uapi.rs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "the fields are those of uapi.rs, documented there"
)]
pub struct BufferInfo {
    pub index: u32,
    pub queued: bool,
    pub dma: u64,
    pub phys: u64,
    pub length: u64,
    pub allocated: u64,
    pub clip_dma: u64,
    pub clip_phys: u64,
    pub clip_length: u64,
}

/// A frame that is done; see `Record` in `uapi.rs`, and of another driver `struct v4l2_buffer`, the result being 1 if it
/// has an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "the fields are those of uapi.rs, documented there"
)]
pub struct Completion {
    pub index: u32,
    pub result: u32,
    pub sequence: u32,
    pub bytes: u64,
    pub card_time_ns: u64,
    pub guest_time_ns: u64,
}

/// What a lend is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LendKind {
    /// A frame buffer.
    Frame,
    /// A clip mask.
    Clip,
    /// The self-test area.
    SelfTest,
}

/// One range that the driver mapped for the card; see `Lend` in `uapi.rs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "the fields are those of uapi.rs, documented there"
)]
pub struct Lend {
    pub kind: LendKind,
    pub index: u32,
    pub direction: Direction,
    pub queued: u32,
    pub dma: u64,
    pub phys: u64,
    pub length: u64,
}
