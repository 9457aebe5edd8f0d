// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is asked of a foreign server, and how it can fail.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::contract::{IdentityError, InterruptKind};
use crate::wire::ProtocolError;

/// How a foreign server came to be of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Gone {
    /// It closed the connection.
    #[error("it closed the connection")]
    Closed,
    /// It does not read what it is sent.
    #[error("it does not take what it is sent")]
    Deaf,
    /// It does not answer.
    #[error("no answer came within {} s", .waited.as_secs_f32())]
    Silent {
        /// How long was waited.
        waited: Duration,
    },
    /// It does not speak the protocol.
    #[error("it breaks the protocol: {0}")]
    Protocol(String),
    /// The system failed.
    #[error("the socket failed: {0}")]
    Socket(io::Error),
}

impl Gone {
    pub(crate) fn protocol(error: ProtocolError) -> Self {
        Self::Protocol(error.to_string())
    }
}

/// What is asked of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Version,
    Device,
    Region {
        index: u32,
    },
    Irq {
        index: u32,
    },
    Map,
    Read {
        region: u32,
        offset: u64,
        count: u32,
    },
    Write {
        region: u32,
        offset: u64,
        count: u32,
    },
    Connect {
        kind: InterruptKind,
    },
    Unmask,
    Reset,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |f: &mut fmt::Formatter<'_>, way, region, offset, count| {
            let bytes = if count == 1 { "byte" } else { "bytes" };
            match region {
                7 => write!(
                    f,
                    "a {way} of {count} {bytes} of configuration space at {offset:#x}"
                ),
                region => write!(
                    f,
                    "a {way} of {count} {bytes} of BAR {region} at {offset:#x}"
                ),
            }
        };
        match *self {
            Self::Version => f.write_str("the version of the protocol"),
            Self::Device => f.write_str("how many regions and interrupts there are"),
            Self::Region { index } => write!(f, "what region {index} is"),
            Self::Irq { index } => write!(f, "what interrupt {index} is"),
            Self::Map => f.write_str("memory without a descriptor"),
            Self::Read {
                region,
                offset,
                count,
            } => place(f, "read", region, offset, count),
            Self::Write {
                region,
                offset,
                count,
            } => place(f, "write", region, offset, count),
            Self::Connect { kind } => write!(f, "the wires of {kind}"),
            Self::Unmask => f.write_str("the unmasking of its line"),
            Self::Reset => f.write_str("a reset"),
        }
    }
}

/// Why a foreign card cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    /// Nobody listens there.
    #[error("cannot connect to the card's server at {}", .path.display())]
    Connect {
        /// The socket.
        path: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The server is of no use.
    #[error("the card's server is gone: {0}")]
    Gone(String),
    /// It refused to say something that must be known.
    #[error("the card's server refuses to tell {what} (error {errno})")]
    Refused {
        /// What.
        what: String,
        /// Its error number.
        errno: u32,
    },
    /// It speaks another version.
    #[error("the card's server speaks version {major}.{minor} of vfio-user, and not 0.1")]
    Version {
        /// The version's first part.
        major: u16,
        /// Its second.
        minor: u16,
    },
    /// It is no function of PCI.
    #[error("the card's server has no PCI function: {0}")]
    NotPci(String),
    /// It wants to map the guest's memory.
    #[error(
        "the card's server takes no memory without a descriptor (error {errno}): it would map the guest's memory and \
         access it unseen, so none of its accesses could be judged; it can be run unjudged"
    )]
    Insists {
        /// Its error number.
        errno: u32,
    },
    /// What it is, no card here can be.
    #[error("the card's server has a function that cannot be had")]
    Identity(#[from] IdentityError),
    /// The system has no descriptor left.
    #[error("no descriptors for the card's server")]
    System(#[source] io::Error),
}
