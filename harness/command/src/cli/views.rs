// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is made of a run to be looked at, as `run`, `exec`, `test`, `explain` and `replay` are asked for it.

use std::path::PathBuf;

use clap::Args;
use landfall::bundle::Views;

/// What is made of a run to be looked at. Of several (platforms, cards, tests, bundles) each has a name of its own, with a word
/// more.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct ViewArguments {
    /// Show what happened, and all that is wrong with it, as one page for a browser
    #[arg(long, visible_alias = "html", value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Write what happened as a trace for Perfetto
    #[arg(long, value_name = "FILE")]
    perfetto: Option<PathBuf>,
}

impl ViewArguments {
    /// As the library takes them.
    pub(crate) fn views(&self) -> Views {
        Views {
            page: self.report.clone(),
            perfetto: self.perfetto.clone(),
        }
    }
}
