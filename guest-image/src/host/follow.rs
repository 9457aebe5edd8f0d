// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a command writes to its log, as it does.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Reads what is added to a log.
pub(crate) struct Follow {
    file: Option<File>,
    rest: String,
}

impl Follow {
    /// Begins at the log's present end.
    pub(crate) fn new(log: &Path) -> Self {
        let mut file = File::options()
            .create(true)
            .append(true)
            .read(true)
            .open(log)
            .ok();
        if let Some(file) = &mut file {
            let _ = file.seek(SeekFrom::End(0));
        }
        Self {
            file,
            rest: String::new(),
        }
    }

    /// Gives each whole line that was added.
    pub(crate) fn tell(&mut self, line: &mut dyn FnMut(&str)) {
        let mut bytes = Vec::new();
        if let Some(file) = &mut self.file {
            let _ = file.read_to_end(&mut bytes);
        }
        self.rest.push_str(&String::from_utf8_lossy(&bytes));
        while let Some((whole, rest)) = self.rest.split_once('\n') {
            line(whole);
            self.rest = rest.to_owned();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io};

    use super::*;

    #[test]
    fn only_whole_new_lines_are_told() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("log");
        fs::write(&path, "old\n")?;
        let mut follow = Follow::new(&path);
        let mut told = Vec::new();

        fs::write(&path, "old\nnew\nhal")?;
        follow.tell(&mut |line| told.push(line.to_owned()));
        assert_eq!(told, ["new"]);

        fs::write(&path, "old\nnew\nhalf\n")?;
        follow.tell(&mut |line| told.push(line.to_owned()));
        assert_eq!(told, ["new", "half"]);
        Ok(())
    }
}
