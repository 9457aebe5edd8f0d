// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the command ends with.

/// A documented exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ExitCode {
    /// Done; `run`: every byte landed where it should.
    Clean = 0,
    /// `run`, `exec`, `explore`, `shell`, `legs`: something landed where it should not, or not at all; `replay`: another verdict; `try`: not fixed; `test`: a test failed; `fuzz`: one that its
    /// scenario does not predict; `pool-exercise`: a difference.
    Violations = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// The set-up or the host failed; `doctor`: something is lacking.
    Host = 3,
    /// The guest failed: it did not boot, panicked, hung or refused; a driver did not build or load.
    Guest = 4,
    /// A file asked for, or the output, could not be written.
    Output = 5,
    /// Nothing wrong was found, and something was not judged.
    NotJudged = 6,
    /// `try`: what was wrong is not any more, and something else is.
    Another = 7,
    /// Interrupted by Ctrl-C or SIGTERM.
    Interrupted = 130,
}

/// The codes, for `--help`.
pub(crate) const HELP: &str = "\
Exit codes:
    0  done; run: every byte landed where it should
    1  run, exec, explore, shell, legs: violations; test: a test failed; catalog: a class not named, or a clean twin not silent; replay: another verdict; try: not fixed;
       fuzz: a wrong verdict; pool-exercise: allocator and model differ
    2  the command line makes no sense
    3  the set-up or the host failed; doctor: something is lacking
    4  the guest failed: it did not boot, panicked, hung or refused; a driver did not build or load
    5  a file asked for, or the output, could not be written
    6  not judged: nothing wrong was found, and something could not be looked at
    7  try: what was wrong is not any more, and something else is
  130  interrupted";

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_every_code() {
        use ExitCode::{
            Another, Clean, Guest, Host, Interrupted, NotJudged, Output, Usage, Violations,
        };
        let all = [
            Clean,
            Violations,
            Usage,
            Host,
            Guest,
            Output,
            NotJudged,
            Another,
            Interrupted,
        ];
        for code in all {
            let number = format!("{:>5}  ", code as u8);
            assert!(
                HELP.lines().any(|line| line.starts_with(&number)),
                "{code:?}"
            );
        }
    }
}
