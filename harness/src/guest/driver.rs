// SPDX-License-Identifier: MIT OR Apache-2.0

//! A driver of a guest's card, before it is loaded.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use landfall_guest::{
    BuildFailed, Built, Cancel, Choice, Event, Prepared, SetupOptions, build_module, kernel_source,
    module_source,
};

/// A driver: where its module comes from, and its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    /// Where it comes from.
    pub source: DriverSource,
    /// Its parameters, as on insmod's command line.
    pub parameters: String,
}

/// Where a driver's module comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DriverSource {
    /// The guest's image has it, by that name.
    Image(String),
    /// The distribution's kernel has it, by that name.
    Stock(String),
    /// A file, `X.ko`, for the guest's kernel.
    File(PathBuf),
    /// A directory with a Kbuild or a Makefile, which is built for the guest's kernel.
    Directory(PathBuf),
    /// A package of the distribution's with a module's source, as for DKMS, which is built likewise.
    Package(String),
    /// A file of the kernel's source, such as `drivers/dma/dmatest.c`, that the distribution does not build, or a folder of it; built
    /// likewise.
    Kernel {
        /// Where it is in the source.
        path: PathBuf,
        /// What is chosen otherwise than for the kernel.
        choices: Vec<Choice>,
    },
}

impl Driver {
    fn new(source: DriverSource) -> Self {
        Self {
            source,
            parameters: String::new(),
        }
    }

    /// One that the guest's image has.
    pub fn image(name: impl Into<String>) -> Self {
        Self::new(DriverSource::Image(name.into()))
    }

    /// One of the distribution's own.
    pub fn stock(name: impl Into<String>) -> Self {
        Self::new(DriverSource::Stock(name.into()))
    }

    /// One from a file, `X.ko`.
    pub fn module(path: impl AsRef<Path>) -> Self {
        Self::new(DriverSource::File(path.as_ref().to_owned()))
    }

    /// One that is built from a directory with a Kbuild or a Makefile.
    pub fn build(directory: impl AsRef<Path>) -> Self {
        Self::new(DriverSource::Directory(directory.as_ref().to_owned()))
    }

    /// One that is built from the source in a package of the distribution's, such as one for DKMS.
    pub fn package(name: impl Into<String>) -> Self {
        Self::new(DriverSource::Package(name.into()))
    }

    /// One that is built from a file, or a folder, of the source of the guest's kernel; see [`kernel_source`].
    pub fn kernel(file: impl AsRef<Path>) -> Self {
        Self::new(DriverSource::Kernel {
            path: file.as_ref().to_owned(),
            choices: Vec::new(),
        })
    }

    /// The same where a symbol of the kernel's configuration is chosen otherwise for it. Of a driver that is not of the kernel's source
    /// nothing changes.
    #[must_use]
    pub fn choose(mut self, choice: Choice) -> Self {
        if let DriverSource::Kernel { choices, .. } = &mut self.source {
            choices.push(choice);
        }
        self
    }

    /// The same, its path below a directory unless that begins at the root.
    #[must_use]
    pub fn below(self, root: &Path) -> Self {
        let source = match self.source {
            DriverSource::File(path) => DriverSource::File(root.join(path)),
            DriverSource::Directory(path) => DriverSource::Directory(root.join(path)),
            other => other,
        };
        Self { source, ..self }
    }

    /// Builds it for the kernel of guests of `prepared`, if it is one that is built; see [`build_module`].
    ///
    /// # Errors
    /// See [`BuildFailed`].
    pub fn build_for(
        &self,
        setup: &SetupOptions,
        prepared: &Prepared,
        cancel: &Cancel,
        on_event: &mut dyn FnMut(Event),
    ) -> Result<Option<Built>, BuildFailed> {
        let fetched;
        let directory = match &self.source {
            DriverSource::Directory(directory) => directory,
            DriverSource::Package(name) => {
                fetched = module_source(setup, prepared, name, cancel, on_event)?;
                &fetched
            }
            DriverSource::Kernel { path, choices } => {
                fetched = kernel_source(setup, prepared, path, choices, cancel, on_event)?;
                &fetched
            }
            _ => return Ok(None),
        };
        build_module(setup, prepared, directory, cancel, on_event).map(Some)
    }

    /// The same with parameters, as on insmod's command line.
    #[must_use]
    pub fn with(self, parameters: impl Into<String>) -> Self {
        Self {
            parameters: parameters.into(),
            ..self
        }
    }
}

/// How a driver is said in words: `stock:NAME`, `image:NAME`, `package:NAME`, `kernel:FILE.c`, `kernel:FOLDER`, a path to an `X.ko`, or a path to a directory; behind it, its
/// parameters, and of one of the kernel's source what is chosen for it, `CONFIG_NAME=y`. A path has a `/` in it, or is `.`.
impl FromStr for Driver {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, String> {
        let given = given.trim();
        let (what, parameters) = given
            .split_once(char::is_whitespace)
            .map_or((given, ""), |(what, parameters)| (what, parameters.trim()));
        let named = |name: &str| match name {
            "" => Err(format!("{given:?} names no module")),
            name => Ok(name.to_owned()),
        };
        let driver = match what.split_once(':') {
            Some(("stock", name)) => Self::stock(named(name)?),
            Some(("image", name)) => Self::image(named(name)?),
            Some(("package", name)) => Self::package(named(name)?),
            Some(("kernel", file)) => return of_kernel(&named(file)?, parameters),
            _ if what.contains(".ko") => Self::module(what),
            _ if what.contains('/') || what == "." || what == ".." => Self::build(what),
            _ => {
                return Err(format!(
                    "{what:?} is no driver: say stock:{what} for one of the guest's kernel, ./{what} for a directory to \
                     build, or a path to an X.ko"
                ));
            }
        };
        Ok(driver.with(parameters))
    }
}

/// A driver of the kernel's source; of the words behind it those that choose a symbol are no parameters.
fn of_kernel(file: &str, words: &str) -> Result<Driver, String> {
    let words = words.split_whitespace();
    let (choices, parameters): (Vec<_>, Vec<_>) =
        words.partition(|word| word.starts_with("CONFIG_"));
    let driver = Driver::kernel(file).with(parameters.join(" "));
    let mut choices = choices.into_iter();
    choices.try_fold(driver, |driver, word| Ok(driver.choose(word.parse()?)))
}

/// What it was asked for by: a name or a path.
impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            DriverSource::Image(name) | DriverSource::Stock(name) | DriverSource::Package(name) => {
                f.write_str(name)
            }
            DriverSource::File(path)
            | DriverSource::Directory(path)
            | DriverSource::Kernel { path, .. } => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_is_said_in_words() {
        let parsed = |given: &str| given.parse::<Driver>();
        let rate = Driver::stock("tw686x").with("dma_mode=contig audio=0");
        assert_eq!(parsed("stock:tw686x  dma_mode=contig audio=0 "), Ok(rate));
        assert_eq!(parsed("build/x.ko"), Ok(Driver::module("build/x.ko")));
        assert_eq!(
            parsed("x.ko.xz a=1"),
            Ok(Driver::module("x.ko.xz").with("a=1"))
        );
        assert_eq!(parsed("."), Ok(Driver::build(".")));
        assert_eq!(parsed("./driver"), Ok(Driver::build("./driver")));
        assert_eq!(parsed("image:mine"), Ok(Driver::image("mine")));
        assert_eq!(parsed("package:x-dkms"), Ok(Driver::package("x-dkms")));
        assert_eq!(
            parsed("kernel:a/b.c x=1"),
            Ok(Driver::kernel("a/b.c").with("x=1"))
        );
        let choice: Choice = "CONFIG_A=n".parse().expect("a choice");
        assert_eq!(
            parsed("kernel:a/b CONFIG_A=n x=1"),
            Ok(Driver::kernel("a/b").with("x=1").choose(choice))
        );
        let wrong = parsed("kernel:a/b CONFIG_A").unwrap_err();
        assert!(wrong.contains("CONFIG_NAME=y"), "{wrong}");
        assert_eq!(
            parsed("stock:a CONFIG_A=n"),
            Ok(Driver::stock("a").with("CONFIG_A=n"))
        );
        let said = parsed("dt3155").unwrap_err();
        assert!(
            said.contains("stock:dt3155") && said.contains("./dt3155"),
            "{said}"
        );
        assert!(parsed("stock:").is_err() && parsed("").is_err());
    }
}
