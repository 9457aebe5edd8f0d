// SPDX-License-Identifier: MIT OR Apache-2.0

//! stub
use super::{Bundle, BundleError};
/// Tells.
///
/// # Errors
/// If.
pub fn story(_bundle: &Bundle, _name: &str) -> Result<String, BundleError> {
    Ok(String::new())
}
