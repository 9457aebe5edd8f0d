// SPDX-License-Identifier: MIT OR Apache-2.0

//! Arguments of what is made of the command line itself: `completions` and `man`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

/// How completions are put to use, for `--help`.
pub(super) const COMPLETIONS: &str = "\
Examples:
    landfall completions bash > ~/.local/share/bash-completion/completions/landfall
    landfall completions zsh > \"${fpath[1]}/_landfall\"
    landfall completions fish > ~/.config/fish/completions/landfall.fish";

/// How the manual is put to use, for `--help`.
pub(super) const MAN: &str = "\
Example:
    landfall man ~/.local/share/man/man1    # then: man landfall-exec";

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
