// SPDX-License-Identifier: MIT OR Apache-2.0

//! The vfio-user protocol: the one place that knows it, and the one user of the crate of that name.
//!
//! From the crate come the seam, `ServerBackend`, and the protocol's flags. The loop that reads the socket
//! is our own: the crate's cannot be ended from outside, which cutting a connection in mid-frame needs, and
//! it panics on, or loses step after, messages that no honest peer sends.

mod backend;
mod connection;

use std::os::unix::net::UnixStream;

use crate::serve::Shared;
pub(crate) use backend::EventWire;
pub(crate) use connection::ConnectionError;

/// Serves one connection until the peer closes it.
///
/// # Errors
/// See [`ConnectionError`]; the connection is of no use afterwards.
pub(crate) fn serve(stream: &UnixStream, shared: &Shared) -> Result<(), ConnectionError> {
    let mut backend = backend::Backend::new(shared);
    let regions = backend.regions().map_err(ConnectionError::Region)?;
    let irqs = backend.irqs();
    connection::run(stream, &mut backend, &regions, &irqs, shared.patience)
}
