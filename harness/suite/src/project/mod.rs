// SPDX-License-Identifier: MIT OR Apache-2.0

//! Cards, drivers and programs of anybody's, as a command line or a file of a project names them.

mod file;
mod guests;
mod subject;

pub use file::{Expect, Project, ProjectError, TEMPLATE, Test, file};
pub use guests::Guests;
pub use subject::{CardChoice, NoSubject, Subject};
