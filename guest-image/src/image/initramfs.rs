// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the guest boots into: the agent as `/init`, busybox, the modules and what they depend on.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::image::cpio::Archive;
use crate::image::embedded;
use crate::image::stock;

/// Busybox's programs that get a name of their own in the guest.
const APPLETS: &str = "[ ash awk base64 basename cat chmod clear cmp cp cut date dd depmod devmem df diff dirname dmesg du echo \
    env expr false find free grep gunzip gzip head hexdump hostname id insmod kill killall less ln ls lsmod \
    md5sum mkdir mknod mktemp modinfo modprobe more mount mv nproc od pidof poweroff printf ps pwd \
    readlink reboot realpath rm rmdir rmmod sed seq sh sha256sum sleep sort stat strings stty sync tail tar tee \
    test time timeout top touch tr true umount uname uniq uptime vi watch wc which xargs xxd yes zcat";

/// The shell's start.
const PROFILE: &str = "export PS1='landfall:\\w# '\n\
    stty rows 40 columns 120 2>/dev/null\n\
    echo 'Landfall guest: cards in /sys/bus/pci/devices, modules by modprobe, pools in /sys/kernel/debug; exit ends.'\n";

/// What the agent's port needs of the kernel, which may have it as modules.
const PORT: [&str; 2] = ["virtio_pci", "virtio_console"];
/// The file that names to the agent the modules that it loads before it looks for its port, a line each.
const PORT_MODULES: &str = "etc/port-modules";

/// Changes whenever the archive's contents do by other means than what [`write`] is given.
pub(crate) const RECIPE: &str = "5";
/// Largest module, unpacked.
pub(crate) const LARGEST: u64 = 256 << 20;

/// The initramfs was not written.
#[derive(Debug, thiserror::Error)]
pub enum InitramfsError {
    /// A file cannot be read or written.
    #[error("{} cannot be used", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A module depends on one that is not there.
    #[error("module {module} needs {needs}, which is neither among the kernel's modules nor given")]
    Missing {
        /// The module.
        module: String,
        /// What it needs.
        needs: String,
    },
}

/// A static busybox of the host's, if it has one.
pub(crate) fn host_busybox() -> Option<PathBuf> {
    let path = crate::host::mirror::find_program("busybox")?;
    let bytes = fs::read(&path).ok()?;
    // A dynamic program names its loader in its first page.
    let loader = b"/ld-";
    let dynamic = bytes.iter().take(4096).copied().collect::<Vec<_>>();
    let dynamic = dynamic.windows(loader.len()).any(|window| window == loader);
    (!dynamic).then_some(path)
}

/// What goes into an initramfs.
pub(crate) struct Contents<'a> {
    /// `uname -r`.
    pub(crate) release: &'a str,
    /// Modules that are wanted.
    pub(crate) modules: &'a [PathBuf],
    /// The kernel's own, for what those depend on: a directory of `.ko` and `.ko.xz` files.
    pub(crate) stock: Option<&'a Path>,
    /// The agent, if it is not the one that this Landfall was built with.
    pub(crate) agent: Option<&'a Path>,
    /// Modules of the kernel's that are loaded first, as far as it has them.
    pub(crate) early: &'a [&'a str],
    /// A static busybox; without one the guest has no shell.
    pub(crate) busybox: Option<&'a Path>,
}

impl Contents<'_> {
    /// Modules that the agent loads first, whichever of them the kernel has.
    fn first(&self) -> impl Iterator<Item = &str> {
        self.early.iter().copied().chain(PORT)
    }
}

/// One module, on its way into the guest.
struct Module {
    /// Path below `/lib/modules/RELEASE`.
    place: String,
    bytes: Vec<u8>,
    depends: Vec<String>,
}

/// Writes the archive to `path`; gives the modules' names, sorted.
pub(crate) fn write(path: &Path, contents: &Contents<'_>) -> Result<Vec<String>, InitramfsError> {
    let modules = gather(contents)?;
    let mut archive = Archive::default();
    for directory in [
        "dev", "proc", "root", "run", "sys", "tmp", "etc", "sbin", "usr/bin", "usr/sbin",
    ] {
        archive.directory(directory);
    }
    archive.character_device("dev/console", 5, 1);
    archive.character_device("dev/null", 1, 3);
    match contents.agent {
        Some(agent) => archive.file("init", 0o755, &read(agent)?),
        None => archive.file("init", 0o755, embedded::AGENT),
    }
    archive.file("etc/profile", 0o644, PROFILE.as_bytes());
    let first = contents.first().filter(|name| modules.contains_key(*name));
    let first: String = first.map(|name| format!("{name}\n")).collect();
    archive.file(PORT_MODULES, 0o644, first.as_bytes());
    if let Some(busybox) = contents.busybox {
        archive.file("bin/busybox", 0o755, &read(busybox)?);
        for applet in APPLETS.split_ascii_whitespace() {
            archive.symlink(&format!("bin/{applet}"), "busybox");
        }
    }
    let directory = format!("lib/modules/{}", contents.release);
    for Module { place, bytes, .. } in modules.values() {
        archive.file(&format!("{directory}/{place}"), 0o644, bytes);
    }
    let list = dependencies(&modules);
    archive.file(&format!("{directory}/modules.dep"), 0o644, list.as_bytes());
    fs::write(path, archive.finish()).map_err(file(path))?;
    Ok(modules.into_keys().collect())
}

/// Reads the wanted modules and all they depend on.
fn gather(contents: &Contents<'_>) -> Result<BTreeMap<String, Module>, InitramfsError> {
    let mut modules = BTreeMap::new();
    let mut wanted: Vec<(String, Vec<String>)> = Vec::new();
    for path in contents.modules {
        let bytes = read_module(path)?;
        let name = name_of(path);
        let depends = depends(&bytes);
        wanted.push((name.clone(), depends.clone()));
        let place = format!("extra/{name}.ko");
        modules.insert(
            name,
            Module {
                place,
                bytes,
                depends,
            },
        );
    }
    let mut stock = index_of(contents.stock)?;
    for name in contents.first() {
        if stock.contains_key(name) {
            wanted.push((name.to_owned(), vec![name.to_owned()]));
        }
    }
    while let Some((module, needs)) = wanted.pop() {
        for name in needs {
            if modules.contains_key(&name) {
                continue;
            }
            let Some(path) = stock.remove(&name) else {
                return Err(InitramfsError::Missing {
                    module,
                    needs: name,
                });
            };
            let bytes = read_module(&path)?;
            let depends = depends(&bytes);
            wanted.push((name.clone(), depends.clone()));
            let place = format!("kernel/{name}.ko");
            modules.insert(
                name,
                Module {
                    place,
                    bytes,
                    depends,
                },
            );
        }
    }
    Ok(modules)
}

fn index_of(stock: Option<&Path>) -> Result<BTreeMap<String, PathBuf>, InitramfsError> {
    index(stock).map_err(file(stock.unwrap_or(Path::new(""))))
}

/// Paths of the modules below a directory, by name.
pub(crate) fn index(directory: Option<&Path>) -> io::Result<BTreeMap<String, PathBuf>> {
    let mut index = BTreeMap::new();
    let mut open: Vec<PathBuf> = directory.into_iter().map(Path::to_owned).collect();
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory)? {
            let path = entry?.path();
            let text = path.to_string_lossy();
            if path.is_dir() && !path.is_symlink() {
                open.push(path);
            } else if text.ends_with(".ko") || text.ends_with(".ko.xz") {
                index.insert(name_of(&path), path);
            }
        }
    }
    Ok(index)
}

/// `modules.dep`: each module's file, and those of what it needs, nearest first.
fn dependencies(modules: &BTreeMap<String, Module>) -> String {
    let mut lines = String::new();
    for module in modules.values() {
        let mut needs = Vec::new();
        follow(modules, module, modules.len(), &mut needs);
        lines.push_str(&module.place);
        lines.push(':');
        for place in needs {
            lines.push(' ');
            lines.push_str(place);
        }
        lines.push('\n');
    }
    lines
}

/// Appends what `module` needs, at most `depth` modules away; what several need moves behind the last of them.
fn follow<'a>(
    modules: &'a BTreeMap<String, Module>,
    module: &Module,
    depth: usize,
    needs: &mut Vec<&'a str>,
) {
    for need in module.depends.iter().filter_map(|name| modules.get(name)) {
        needs.retain(|place| *place != need.place);
        needs.push(&need.place);
        // The kernel's build refuses circles; the bound is for modules from elsewhere.
        if let Some(depth) = depth.checked_sub(1) {
            follow(modules, need, depth, needs);
        }
    }
}

/// The names in a module's `depends=`.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else {
        return Vec::new();
    };
    let rest = module.get(at + KEY.len()..).unwrap_or_default();
    let value: Vec<u8> = rest.iter().copied().take_while(|byte| *byte != 0).collect();
    String::from_utf8_lossy(&value)
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

/// A module's own name from its file's.
pub(crate) fn name_of(path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    file.split(".ko")
        .next()
        .unwrap_or_default()
        .replace('-', "_")
}

fn read_module(path: &Path) -> Result<Vec<u8>, InitramfsError> {
    stock::read_module(path).map_err(file(path))
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, InitramfsError> {
    fs::read(path).map_err(file(path))
}

pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> InitramfsError {
    let path = path.to_owned();
    move |source| InitramfsError::File { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(path: &Path, depends: &str) -> io::Result<()> {
        fs::write(
            path,
            format!("\x7fELF\0license=GPL\0depends={depends}\0name=x\0"),
        )
    }

    #[test]
    fn a_module_brings_what_it_depends_on_nearest_first() -> Result<(), Box<dyn std::error::Error>>
    {
        let directory = tempfile::tempdir()?;
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("stock"))?;
        module(&at("landfall_capture.ko"), "landfall_pool,near-one")?;
        module(&at("landfall_pool.ko"), "far_one")?;
        module(&at("stock/near_one.ko"), "far_one")?;
        module(&at("stock/far-one.ko"), "")?;

        let contents = Contents {
            release: "7.3.4",
            modules: &[at("landfall_capture.ko"), at("landfall_pool.ko")],
            stock: Some(&at("stock")),
            agent: None,
            early: &[],
            busybox: None,
        };
        let names = write(&at("initramfs"), &contents)?;

        assert_eq!(
            names,
            ["far_one", "landfall_capture", "landfall_pool", "near_one"]
        );
        let text = fs::read(at("initramfs"))?;
        let text = String::from_utf8_lossy(&text);
        let line = "extra/landfall_capture.ko: extra/landfall_pool.ko kernel/near_one.ko kernel/far_one.ko\n";
        assert!(text.contains(line));
        assert!(text.contains("lib/modules/7.3.4/kernel/far_one.ko\0"));
        Ok(())
    }

    #[test]
    fn what_the_port_needs_is_there_where_it_is_a_module() -> Result<(), Box<dyn std::error::Error>>
    {
        let directory = tempfile::tempdir()?;
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("stock"))?;
        let write = || {
            let contents = Contents {
                release: "6.1",
                modules: &[],
                stock: Some(&at("stock")),
                agent: None,
                early: &["an_iommu"],
                busybox: None,
            };
            write(&at("initramfs"), &contents)
        };
        assert_eq!(write()?, [""; 0], "all is in the kernel");
        module(&at("stock/virtio_pci.ko"), "virtio")?;
        module(&at("stock/virtio.ko"), "")?;
        assert_eq!(write()?, ["virtio", "virtio_pci"]);
        module(&at("stock/an_iommu.ko"), "")?;
        assert_eq!(write()?, ["an_iommu", "virtio", "virtio_pci"]);
        let text = fs::read(at("initramfs"))?;
        assert!(String::from_utf8_lossy(&text).contains("an_iommu\nvirtio_pci\n"));
        Ok(())
    }

    #[test]
    fn a_dependency_that_is_nowhere_is_named() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("mine.ko");
        module(&path, "absent")?;

        let contents = Contents {
            release: "7.3.4",
            modules: &[path],
            stock: None,
            agent: None,
            early: &[],
            busybox: None,
        };
        let written = write(&directory.path().join("initramfs"), &contents);

        assert!(matches!(written, Err(InitramfsError::Missing { needs, .. }) if needs == "absent"));
        Ok(())
    }
}
