// SPDX-License-Identifier: MIT OR Apache-2.0

//! Arguments of what is made of the command line itself: `completions` and `man`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

#[derive(Args, Clone, Debug)]
pub(crate) struct CompletionsArguments {
    /// Which shell
    #[arg(value_name = "SHELL", value_enum)]
    pub(crate) shell: Shell,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct ManArguments {
    /// Where the pages go; made if it is not there
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
}
