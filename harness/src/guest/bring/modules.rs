// SPDX-License-Identifier: MIT OR Apache-2.0

//! Modules into a running guest: a file of the user's, or one of the kernel's own by its name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use landfall_guest::{ModuleInfo, StockModules, read_module};

use super::listed::Listed;
use super::{NotBrought, Result, What, not, unreadable};
use crate::guest::{Guest, Running};

/// Where modules that were brought are, below `/lib/modules/RELEASE`.
const PLACE: &str = "brought";
/// Longest way from a module to one that it needs.
const FURTHEST: usize = 64;
/// Parameters that the kernel gives every module.
const OF_EVERY_MODULE: [&str; 2] = ["dyndbg", "async_probe"];

impl<Stage: Running> Guest<Stage> {
    /// Loads a module of the user's, `X.ko`, perhaps compressed; gives its name. What it depends on comes from beside it,
    /// from the guest's image, or from the kernel's own modules.
    ///
    /// # Errors
    /// [`NotBrought`] if it is no module or another kernel's, is loaded already, has no such parameter, needs what is
    /// nowhere, or is refused by the guest's kernel; the guest goes on.
    pub fn load_file(&self, path: &Path, parameters: &str) -> Result<String> {
        let module = read(path)?;
        let (name, runs) = (module.info.name.clone(), self.kernel_release());
        for_kernel(path, &module.info, &runs)?;
        check_parameters(&module.info, parameters)?;
        if let Some(built_in) = self.has_loaded(&name)? {
            return Err(not(NotBrought::There { name, built_in }));
        }
        self.bring(&name, Some(module), path.parent())?;
        self.load_brought(&name, parameters)?;
        Ok(name)
    }

    /// Loads one of the kernel's own modules, with what it depends on. One that is loaded, or built into the kernel,
    /// counts as done if it is to have no parameters.
    ///
    /// # Errors
    /// [`NotBrought`] if there is no such module, it has no such parameter, or is loaded and cannot get them any more.
    pub fn load_stock(&self, name: &str, parameters: &str) -> Result<()> {
        let name = name.replace('-', "_");
        match self.has_loaded(&name)? {
            Some(_) if parameters.trim().is_empty() => return Ok(()),
            Some(built_in) => return Err(not(NotBrought::There { name, built_in })),
            None => {}
        }
        if !parameters.trim().is_empty()
            && let Some(module) = stock_module(self.stock()?.as_ref(), &name)?
        {
            check_parameters(&module.info, parameters)?;
        }
        self.bring(&name, None, None)?;
        self.load_brought(&name, parameters)
    }

    /// Puts one of the kernel's own modules, with what it depends on, where [`Guest::load_module`] and `modprobe` find it.
    ///
    /// # Errors
    /// [`NotBrought`] if there is no such module.
    pub fn bring_stock(&self, name: &str) -> Result<()> {
        self.bring(&name.replace('-', "_"), None, None)
    }

    /// The kernel's own modules, if the set-up has them.
    fn stock(&self) -> Result<Option<StockModules>> {
        let stock = self.machine().stock.clone();
        let below = |path: PathBuf| StockModules::below(&path).map_err(unreadable(&path));
        stock.map(below).transpose()
    }

    /// Whether a module is loaded; if so, whether it is built into the kernel.
    fn has_loaded(&self, name: &str) -> Result<Option<bool>> {
        let files = match self.list(&format!("/sys/module/{name}")) {
            Err(failed) if failed.errno().is_some() => return Ok(None),
            files => files?,
        };
        Ok(Some(!files.iter().any(|file| file == "initstate")))
    }

    fn load_brought(&self, name: &str, parameters: &str) -> Result<()> {
        self.load_module(name, parameters)
            .map_err(|failed| match *failed.what {
                What::Refused(error) => not(NotBrought::Kernel {
                    module: name.to_owned(),
                    runs: self.kernel_release(),
                    error,
                }),
                _ => failed,
            })
    }

    /// Puts a module, and what it depends on, into the guest, as far as its image has it not.
    fn bring(&self, name: &str, module: Option<Module>, beside: Option<&Path>) -> Result<()> {
        let runs = self.kernel_release();
        let directory = format!("/lib/modules/{runs}");
        let list = format!("{directory}/modules.dep");
        let mut bringing = Bringing {
            listed: Listed::read(&self.read_text(&list)?),
            runs,
            beside: beside.map(Path::to_owned),
            stock: self.stock()?,
            brought: BTreeMap::new(),
        };
        if let Some(module) = module {
            bringing.brought.insert(name.to_owned(), module);
        } else if bringing.listed.needs(name).is_some() {
            return Ok(());
        } else if bringing.module(name)?.is_none() {
            return Err(not(bringing.no_stock(name)));
        }
        let mut order = Vec::new();
        bringing.follow(name, name, FURTHEST, &mut order)?;
        let Bringing {
            mut listed,
            brought,
            ..
        } = bringing;
        for name in order.iter() {
            let Some(module) = brought.get(name) else {
                continue;
            };
            let file = format!("{PLACE}/{name}.ko");
            self.put_bytes(&module.bytes, &format!("{directory}/{file}"), 0o644)?;
            if let Some(file) = &module.file {
                self.machine().modules.bring(name, file);
            }
            let mut needs = Vec::new();
            for need in &module.info.depends {
                let further = listed.needs(need).unwrap_or_default();
                for name in further.into_iter().chain([need.clone()]) {
                    if !needs.contains(&name) {
                        needs.push(name);
                    }
                }
            }
            listed.enter(name, file, &needs);
        }
        self.put_bytes(listed.text().as_bytes(), &list, 0o644)
    }
}

/// A module on its way into a guest.
struct Module {
    bytes: Vec<u8>,
    info: ModuleInfo,
    /// The user's file; the kernel's own have none.
    file: Option<PathBuf>,
}

/// What is on its way, and where it comes from.
struct Bringing {
    listed: Listed,
    runs: String,
    beside: Option<PathBuf>,
    stock: Option<StockModules>,
    brought: BTreeMap<String, Module>,
}

impl Bringing {
    /// Appends a module behind all that it needs.
    fn follow(
        &mut self,
        name: &str,
        by: &str,
        further: usize,
        order: &mut Vec<String>,
    ) -> Result<()> {
        if order.iter().any(|other| other == name) {
            return Ok(());
        }
        let missing = || {
            not(NotBrought::Missing {
                module: by.to_owned(),
                needs: name.to_owned(),
            })
        };
        let further = further.checked_sub(1).ok_or_else(missing)?;
        let needs = match self.module(name)? {
            Some(module) => module.info.depends.clone(),
            None => self.listed.needs(name).ok_or_else(missing)?,
        };
        for need in needs {
            self.follow(&need, name, further, order)?;
        }
        order.push(name.to_owned());
        Ok(())
    }

    /// A module that is to be brought: from beside the user's file, or, if the guest has it not, the kernel's own.
    fn module(&mut self, name: &str) -> Result<Option<&Module>> {
        if !self.brought.contains_key(name) {
            let found = match self.beside(name)? {
                None if self.listed.needs(name).is_none() => {
                    stock_module(self.stock.as_ref(), name)?
                }
                beside => beside,
            };
            if let Some(module) = found {
                self.brought.insert(name.to_owned(), module);
            }
        }
        Ok(self.brought.get(name))
    }

    fn beside(&self, name: &str) -> Result<Option<Module>> {
        let Some(directory) = &self.beside else {
            return Ok(None);
        };
        let files = [name.to_owned(), name.replace('_', "-")];
        let files = files.map(|name| directory.join(format!("{name}.ko")));
        let Some(path) = files.iter().find(|path| path.is_file()) else {
            return Ok(None);
        };
        let module = read(path)?;
        for_kernel(path, &module.info, &self.runs)?;
        Ok((module.info.name == name).then_some(module))
    }

    /// Why there is no stock module of that name.
    fn no_stock(&self, name: &str) -> NotBrought {
        let why = match &self.stock {
            None => "this set-up's kernel has none: it was brought along, or is the debug kernel"
                .to_owned(),
            Some(stock) => {
                let near = stock.names().filter(|other| {
                    other.contains(name) || (other.len() > 3 && name.contains(*other))
                });
                let near: Vec<&str> = near.take(5).collect();
                match &*near {
                    [] => format!("Linux {} has none of that name", self.runs),
                    near => format!("Linux {} has {}", self.runs, near.join(", ")),
                }
            }
        };
        NotBrought::NotStock {
            name: name.to_owned(),
            why,
        }
    }
}

/// One of the kernel's own modules.
fn stock_module(stock: Option<&StockModules>, name: &str) -> Result<Option<Module>> {
    let path = PathBuf::from(format!("{name}.ko"));
    let bytes = match stock {
        Some(stock) => stock.read(name).map_err(unreadable(&path))?,
        None => None,
    };
    let of_kernel = |module| Module {
        file: None,
        ..module
    };
    let module = bytes.map(|bytes| parse(&path, bytes).map(of_kernel));
    module.transpose()
}

fn read(path: &Path) -> Result<Module> {
    parse(path, read_module(path).map_err(unreadable(path))?)
}

fn parse(path: &Path, bytes: Vec<u8>) -> Result<Module> {
    let info = ModuleInfo::read(&bytes).map_err(|source| {
        not(NotBrought::NotAModule {
            path: path.to_owned(),
            source,
        })
    })?;
    Ok(Module {
        bytes,
        info,
        file: Some(path.to_owned()),
    })
}

/// Refuses a module of another kernel. What must be alike besides the release, the kernel says itself.
fn for_kernel(path: &Path, info: &ModuleInfo, runs: &str) -> Result<()> {
    match info.release() == runs {
        true => Ok(()),
        false => Err(not(NotBrought::OtherKernel {
            path: path.to_owned(),
            wants: info.vermagic.clone(),
            runs: runs.to_owned(),
        })),
    }
}

/// Refuses a parameter that the module has not.
fn check_parameters(info: &ModuleInfo, given: &str) -> Result<()> {
    let known = |name: &str| {
        let same = |other: &str| other.replace('-', "_") == name.replace('-', "_");
        OF_EVERY_MODULE.iter().any(|other| same(other))
            || info.parameters.iter().any(|other| same(other))
    };
    match names(given).into_iter().find(|name| !known(name)) {
        None => Ok(()),
        Some(given) => Err(not(NotBrought::Parameter {
            module: info.name.clone(),
            given,
            parameters: info.parameters.clone(),
        })),
    }
}

/// The names in `name=value other="with spaces"`, as the kernel splits them.
fn names(given: &str) -> Vec<String> {
    let mut quoted = false;
    let words = given.split(|letter: char| {
        quoted ^= letter == '"';
        letter.is_ascii_whitespace() && !quoted
    });
    let name = |word: &str| {
        word.split('=')
            .next()
            .unwrap_or_default()
            .trim_matches('"')
            .to_owned()
    };
    words.filter(|word| !word.is_empty()).map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_that_the_module_has_not_is_refused() {
        let info = ModuleInfo {
            name: "x".to_owned(),
            parameters: vec!["rate".to_owned(), "dma_mode".to_owned()],
            ..ModuleInfo::default()
        };
        let refused =
            |given: &str| check_parameters(&info, given).map_err(|error| error.to_string());

        for good in [
            "",
            "rate=1 dma-mode=\"a b\"",
            "  rate=1",
            "dyndbg=+p rate=2",
        ] {
            assert_eq!(refused(good), Ok(()), "{good}");
        }
        assert_eq!(names("a=\"b c=d\" e"), ["a", "e"]);
        let said = "module x has no parameter rat; it has rate, dma_mode";
        assert_eq!(refused("dma_mode=sg rat=1"), Err(said.to_owned()));
    }

    #[test]
    fn a_module_of_another_kernel_is_told_what_it_wants_and_what_there_is() {
        let info = ModuleInfo {
            vermagic: "6.1.0-9-amd64 SMP preempt mod_unload modversions".to_owned(),
            ..ModuleInfo::default()
        };
        let path = Path::new("a/x.ko");

        assert!(for_kernel(path, &info, "6.1.0-9-amd64").is_ok());
        let said = for_kernel(path, &info, "7.3.4").map_err(|error| error.to_string());
        let expected = "a/x.ko was built for Linux 6.1.0-9-amd64 SMP preempt mod_unload modversions, and the guest runs \
            7.3.4: it has to be built for that";
        assert_eq!(said, Err(expected.to_owned()));
    }
}
