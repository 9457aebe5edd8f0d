// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the harness and the guest's PID 1 say to each other, over one virtio-serial port.
//!
//! A frame is its length (u32, little endian, at most [`MAX_FRAME`]) and then one postcard-encoded
//! [`ToGuest`] or [`FromGuest`]. The harness sends one request at a time; the agent answers each with
//! exactly one [`Reply`] and may send an [`Event`] at any time between.

pub mod capture;
pub mod pool;

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Version of this protocol; the agent states it in [`Hello`].
pub const VERSION: u32 = 9;
/// Name of the virtio-serial port that carries it.
pub const PORT_NAME: &str = "org.landfall.agent";
/// Largest frame in either direction, bytes, without the length.
pub const MAX_FRAME: usize = 4 << 20;
/// Most bytes of data (file, frame, output) in one reply.
pub const MAX_DATA: usize = 2 << 20;

/// Most times in one reply.
pub const MAX_TIMES: usize = 100_000;
/// Bytes of entropy that [`Request::Resume`] brings.
pub const ENTROPY: usize = 32;

/// A request, with the number its reply carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToGuest {
    /// Chosen by the harness; increases.
    pub id: u32,
    /// What to do.
    pub request: Request,
}

/// Everything the agent sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromGuest {
    /// First frame after boot (and after the port was opened again).
    Hello(Hello),
    /// Answer to the request of that number.
    Reply {
        /// Number of the request.
        id: u32,
        /// What came of it.
        outcome: Result<Reply, GuestError>,
    },
    /// Something happened in the guest.
    Event(Event),
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`] of the agent.
    pub protocol: u32,
    /// `uname -r`.
    pub kernel: String,
    /// Guest's `CLOCK_BOOTTIME`, nanoseconds.
    pub uptime_ns: u64,
}

/// What the harness can ask.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Answers [`Reply::Done`].
    Ping,
    /// The first request after the guest was restored from a snapshot: sets what must differ from other guests of
    /// that snapshot. Answers [`Reply::Hello`].
    Resume {
        /// The wall clock, nanoseconds since 1970 in UTC.
        unix_ns: u64,
        /// For the kernel's random number generator; never the same twice.
        entropy: [u8; ENTROPY],
    },
    /// Starts the interactive shell on the console, and sends [`Event::ShellEnded`] when it ends. Answers
    /// [`Reply::Done`].
    StartShell,
    /// Loads a module and what it depends on (`modules.dep` order), as modprobe does. `name` without `.ko`. If the kernel
    /// refuses, the message begins with what it logged meanwhile.
    LoadModule {
        /// Module name.
        name: String,
        /// Parameters, as on insmod's command line.
        parameters: String,
    },
    /// Unloads a module, as `rmmod`; `EWOULDBLOCK` if it is in use.
    UnloadModule {
        /// Module name.
        name: String,
    },
    /// Reads a file (sysfs and procfs too) from an offset. Answers [`Reply::Data`].
    ReadFile {
        /// Absolute path.
        path: String,
        /// First byte.
        offset: u64,
        /// Most bytes wanted; at most [`MAX_DATA`].
        max: u32,
    },
    /// Makes an empty file, and the directories that it is in, in place of what has that path. Answers [`Reply::Done`].
    MakeFile {
        /// Absolute path.
        path: String,
        /// Permissions, such as `0o755`.
        mode: u32,
    },
    /// Writes to a file that exists or is created, at an offset, in one `write`. Answers [`Reply::Done`].
    WriteFile {
        /// Absolute path.
        path: String,
        /// First byte.
        offset: u64,
        /// What to write.
        data: Vec<u8>,
    },
    /// Names in a directory, sorted. Answers [`Reply::Names`].
    ListDirectory {
        /// Absolute path.
        path: String,
    },
    /// Runs a program to its end. Answers [`Reply::Ran`].
    Run {
        /// Program and arguments.
        argv: Vec<String>,
        /// Killed (whole process group) after this many milliseconds.
        timeout_ms: u32,
    },
    /// Waits until a path exists. Answers [`Reply::Done`], or `ETIMEDOUT`.
    WaitForPath {
        /// Absolute path.
        path: String,
        /// How long at most, milliseconds.
        timeout_ms: u32,
    },
    /// Waits while a file (sysfs and procfs too) holds exactly this text, but for white space at its end. Answers
    /// [`Reply::Done`], also if there is no such file, or `ETIMEDOUT`.
    WaitWhile {
        /// Absolute path.
        path: String,
        /// What it must not hold any more.
        text: String,
        /// How long at most, milliseconds.
        timeout_ms: u32,
    },
    /// Asks something of a video driver.
    Capture(capture::CaptureRequest),
    /// Does something with a PCI function over and over, and takes the time of each. No driver may have claimed its
    /// BAR 0; for interrupts, `uio_pci_generic` must be bound to it. Answers [`Reply::Times`].
    Time {
        /// PCI address, such as `0000:01:00.0`.
        function: String,
        /// What to do.
        what: Timed,
        /// How often; at most [`MAX_TIMES`].
        count: u32,
    },
    /// Asks something of the pool.
    Pool(pool::PoolRequest),
    /// Syncs and powers off; the reply comes first.
    PowerOff,
}

impl From<capture::CaptureRequest> for Request {
    fn from(request: capture::CaptureRequest) -> Self {
        Self::Capture(request)
    }
}

/// A write to a 32-bit register of BAR 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterWrite {
    /// Bytes from the start of the BAR.
    pub offset: u32,
    /// What to write.
    pub value: u32,
}

/// What [`Request::Time`] takes the time of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Timed {
    /// A read of a register, from the instruction to its value.
    Read {
        /// Bytes from the start of the BAR.
        offset: u32,
    },
    /// A write, from one instruction to the next, in a row of 64.
    Write(RegisterWrite),
    /// An interrupt by its line, from the register write that causes it to user space that was woken by it.
    Interrupt {
        /// Causes it.
        trigger: RegisterWrite,
        /// Ends it.
        acknowledge: RegisterWrite,
    },
}

/// Which way a lend may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// The card writes.
    FromDevice,
    /// The card reads.
    ToDevice,
    /// Both.
    Both,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// Done, nothing to tell.
    Done,
    /// See [`Request::Resume`].
    Hello(Hello),
    /// Bytes of a file or buffer; shorter than asked for at the end.
    Data(Vec<u8>),
    /// Names.
    Names(Vec<String>),
    /// A program ended.
    Ran {
        /// Exit status; 128 + n if signal n ended it.
        status: i32,
        /// First [`MAX_DATA`]/2 bytes of its standard output.
        stdout: Vec<u8>,
        /// The same of its standard error.
        stderr: Vec<u8>,
        /// It was killed because its time was up.
        timed_out: bool,
    },
    /// See [`Request::Time`]; nanoseconds of the guest's clock.
    Times(Vec<u64>),
    /// See [`Request::Capture`].
    Capture(capture::CaptureReply),
    /// See [`Request::Pool`].
    Pool(pool::PoolReply),
}

/// Why a request failed in the guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{operation}: {message} (errno {errno})")]
pub struct GuestError {
    /// What was tried, with its object: `load module landfall_pool`.
    pub operation: String,
    /// The errno, positive; 0 if the kernel was not asked.
    pub errno: i32,
    /// `strerror` or the agent's own words.
    pub message: String,
}

/// Something happened in the guest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// The kernel logged an oops, a BUG, a WARNING or a lockup; the line and those after it.
    KernelFault {
        /// The kernel log lines.
        lines: Vec<String>,
    },
    /// The interactive shell ended.
    ShellEnded,
}

/// Reads one frame; `None` at a clean end of stream.
///
/// # Errors
/// `InvalidData` if the length is over [`MAX_FRAME`] or the bytes are no `T`; else what the stream gave.
pub fn read_frame<T: DeserializeOwned>(stream: &mut impl Read) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_FRAME {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("frame of {length} bytes, more than {MAX_FRAME}"),
        ));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    postcard::from_bytes(&body)
        .map(Some)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Writes one frame.
///
/// # Errors
/// `InvalidInput` if it is over [`MAX_FRAME`]; else what the stream gave.
pub fn write_frame<T: Serialize>(stream: &mut impl Write, message: &T) -> io::Result<()> {
    let body = postcard::to_stdvec(message)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    if body.len() > MAX_FRAME {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("frame of {} bytes, more than {MAX_FRAME}", body.len()),
        ));
    }
    let mut frame = Vec::with_capacity(4 + body.len());
    frame.extend_from_slice(&(body.len() as u32).to_le_bytes());
    frame.extend_from_slice(&body);
    stream.write_all(&frame)?;
    stream.flush()
}
