// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which entries a finished set-up consists of: small files, so that a warm run has little to read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::architecture::Architecture;
use crate::event::Step;
use crate::image::tree;
use crate::prepared::{Kernel, Prepared, Qemu};
use crate::qemu;
use crate::setup::parts::Parts;
use crate::store::cache::{Cache, write_whole};
use crate::store::hash::Key;
use crate::store::lock::{Lock, Package};
use crate::store::snapshots::{SNAPSHOT_LIMIT, Snapshots};

/// Name of the archives for guests that use video devices, beside the initramfs.
pub(crate) const VIDEO_ARCHIVE: &str = "video";
/// Name of the directory of a kernel's own modules, beside its images.
pub(crate) const STOCK: &str = "modules";
/// Kind of the entries that hold a kernel's images alone.
const VMLINUX: &str = "vmlinux";

/// Debian's part of a set-up: names of entries, and what they were made of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Base {
    pub(crate) series: String,
    pub(crate) release: String,
    pub(crate) rustc: String,
    pub(crate) packages: Vec<Package>,
    /// The kernel with its modules.
    pub(crate) kernel: Option<String>,
    pub(crate) toolchain: Option<String>,
    pub(crate) config: Option<String>,
    pub(crate) metadata: Option<String>,
    pub(crate) qemu: Option<String>,
    pub(crate) qemu_version: String,
    /// Busybox.
    pub(crate) guest: Option<String>,
    /// What the agent is built with, if it is not there.
    pub(crate) rust: Option<String>,
    /// v4l-utils.
    pub(crate) video: Option<String>,
}

impl Base {
    pub(crate) fn entries(&self) -> Vec<&String> {
        [
            &self.kernel,
            &self.toolchain,
            &self.config,
            &self.metadata,
            &self.qemu,
            &self.guest,
            &self.rust,
            &self.video,
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    pub(crate) fn load(cache: &Cache, key: &str) -> Option<Self> {
        let base: Self = load(&cache.setups().join(format!("base-{key}.json")))?;
        let there = |name: &&String| cache.entries().join(name.as_str()).is_dir();
        base.entries().iter().all(there).then_some(base)
    }

    pub(crate) fn save(&self, cache: &Cache, key: &str) -> io::Result<()> {
        save(&cache.setups().join(format!("base-{key}.json")), self)
    }
}

/// A whole set-up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    pub(crate) base_key: String,
    /// Name of what guests are.
    pub(crate) architecture: String,
    pub(crate) emulator: Emulator,
    /// Relative to the cache's entries; absolute if it was brought along.
    pub(crate) vmlinux: PathBuf,
    /// Likewise; the kernel before it was uncompressed, if there is one.
    pub(crate) bzimage: Option<PathBuf>,
    pub(crate) initramfs: PathBuf,
    /// Entries used, beyond those of the base; all of them if the set-up was imported, without a base.
    pub(crate) entries: Vec<String>,
    pub(crate) modules: Vec<String>,
    pub(crate) module_warnings: Vec<String>,
    pub(crate) lock: Lock,
    pub(crate) timings: Vec<(Step, Duration)>,
    pub(crate) cache_size: u64,
}

/// Where the emulator is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Emulator {
    /// In an entry.
    Entry(String),
    /// Brought along.
    Own {
        /// The file to execute.
        program: PathBuf,
        /// See [`Qemu::sandbox`].
        sandbox: bool,
    },
}

/// An entry of a set-up that travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Travelling {
    pub(crate) name: String,
    /// The files and directories it is made of.
    pub(crate) files: Vec<PathBuf>,
}

impl Stamp {
    /// The set-up of this key, if all of it is there.
    pub(crate) fn load(cache: &Cache, key: &str) -> Option<Self> {
        load(&Self::path(cache, key))
    }

    /// Names what a guest of this set-up boots, for snapshots of it.
    pub(crate) fn guest(&self) -> String {
        format!("{} {}", self.vmlinux.display(), self.initramfs.display())
    }

    pub(crate) fn save(&self, cache: &Cache, key: &str) -> io::Result<()> {
        write_whole(&Self::lock_file(cache, key), &json(&self.lock)?)?;
        save(&Self::path(cache, key), self)
    }

    pub(crate) fn path(cache: &Cache, key: &str) -> PathBuf {
        cache.setups().join(format!("setup-{key}.json"))
    }

    pub(crate) fn lock_file(cache: &Cache, key: &str) -> PathBuf {
        cache.setups().join(format!("lock-{key}.json"))
    }

    /// This set-up as it travels: without its base, and with the kernel's images and its own modules in an entry of their
    /// own. With it, its entries. `None` if a part was brought along or has gone.
    pub(crate) fn portable(&self, cache: &Cache) -> Option<(Self, Vec<Travelling>)> {
        let Emulator::Entry(emulator) = &self.emulator else {
            return None;
        };
        let name = |path: &Path| Some(path.iter().next()?.to_str()?.to_owned());
        let (kernel, initramfs) = (name(&self.vmlinux)?, name(&self.initramfs)?);
        if self.vmlinux.is_absolute() || self.initramfs.is_absolute() {
            return None;
        }
        let vmlinux = match kernel.starts_with(VMLINUX) {
            true => kernel,
            false => {
                cache
                    .entry(VMLINUX, &Key::new(VMLINUX).text(&kernel).finish())
                    .name
            }
        };
        let entries = cache.entries();
        let all_of = |entry: &str| -> Option<Vec<PathBuf>> {
            let files = fs::read_dir(entries.join(entry)).ok()?;
            let files: io::Result<Vec<_>> = files.map(|file| Ok(file?.path())).collect();
            let mut files = files.ok()?;
            files.sort();
            Some(files)
        };
        let images = [Some(&self.vmlinux), self.bzimage.as_ref()];
        let images = images.into_iter().flatten().map(|path| entries.join(path));
        let stock = entries.join(self.vmlinux.with_file_name(STOCK));
        let images = images.chain(Some(stock).filter(|path| path.is_dir()));
        let parts = [
            (emulator.clone(), all_of(emulator)?),
            (vmlinux.clone(), images.collect()),
            (initramfs.clone(), all_of(&initramfs)?),
        ];
        let sources = parts.map(|(name, files)| Travelling { name, files });
        let setup = Self {
            vmlinux: Path::new(&vmlinux).join(self.vmlinux.file_name()?),
            bzimage: match &self.bzimage {
                Some(image) => Some(Path::new(&vmlinux).join(image.file_name()?)),
                None => None,
            },
            entries: sources.iter().map(|entry| entry.name.clone()).collect(),
            cache_size: 0,
            ..self.clone()
        };
        let sources = sources.into();
        Some((setup, sources))
    }

    /// What the caller gets; `None` if a part of it has gone.
    pub(crate) fn prepared(&self, cache: &Cache, key: &str, warm: bool) -> Option<Prepared> {
        let entries = cache.entries();
        let architecture = Architecture::of(&self.architecture)?;
        let qemu = match &self.emulator {
            Emulator::Entry(name) => qemu::in_tree(&entries.join(name), architecture),
            Emulator::Own { program, sandbox } => Qemu {
                sandbox: *sandbox,
                ..qemu::own(program)
            },
        };
        let prepared = Prepared {
            architecture,
            kernel: Kernel::Stock,
            qemu: Qemu {
                version: self.lock.qemu_version.clone(),
                ..qemu
            },
            vmlinux: entries.join(&self.vmlinux),
            bzimage: self.bzimage.as_ref().map(|path| entries.join(path)),
            kernel_release: self.lock.kernel_release.clone(),
            initramfs: entries.join(&self.initramfs),
            video: tree::archives(
                entries.join(&self.initramfs).parent().unwrap_or(&entries),
                VIDEO_ARCHIVE,
            ),
            stock: Some(entries.join(self.vmlinux.with_file_name(STOCK)))
                .filter(|path| path.is_dir()),
            modules: self.modules.clone(),
            module_warnings: self.module_warnings.clone(),
            lock: self.lock.clone(),
            lock_file: Self::lock_file(cache, key),
            parts_file: Parts::path(cache, key),
            timings: if warm {
                Vec::new()
            } else {
                self.timings.clone()
            },
            cache_size: self.cache_size,
            warm,
            cache: cache.root().to_owned(),
            writable: cache.root().to_owned(),
            snapshots: Snapshots::new(cache.root(), SNAPSHOT_LIMIT, &self.guest()),
        };
        let there = [
            &prepared.qemu.program,
            &prepared.vmlinux,
            &prepared.initramfs,
            &prepared.lock_file,
        ]
        .into_iter()
        .all(|path| path.is_file());
        there.then_some(prepared)
    }
}

/// A file that is missing, or was written by another version, counts as not there.
pub(crate) fn load<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

pub(crate) fn save(path: &Path, value: &impl Serialize) -> io::Result<()> {
    write_whole(path, &json(value)?)
}

fn json(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finished(cache: &Cache) -> io::Result<Stamp> {
        cache.create()?;
        let qemu = cache.entries().join("qemu-1");
        for file in [
            "usr/lib64/ld-linux-x86-64.so.2",
            "../kernel-1/vmlinux",
            "../initramfs-1/initramfs",
        ] {
            let path = qemu.join(file);
            fs::create_dir_all(qemu.join("usr/lib64"))?;
            fs::create_dir_all(path.parent().unwrap_or(&path))?;
            fs::write(path, "")?;
        }
        Ok(Stamp {
            base_key: String::new(),
            architecture: "amd64".to_owned(),
            emulator: Emulator::Entry("qemu-1".to_owned()),
            vmlinux: PathBuf::from("kernel-1/vmlinux"),
            bzimage: None,
            initramfs: PathBuf::from("initramfs-1/initramfs"),
            entries: Vec::new(),
            modules: vec!["landfall_pool".to_owned()],
            module_warnings: Vec::new(),
            lock: Lock {
                qemu_version: "11.1.3".to_owned(),
                ..Lock::default()
            },
            timings: vec![(Step::Modules, Duration::from_secs(1))],
            cache_size: 1,
        })
    }

    #[test]
    fn a_finished_set_up_is_found_again() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let cache = Cache::new(directory.path());
        finished(&cache)?.save(&cache, "key")?;

        let prepared =
            Stamp::load(&cache, "key").and_then(|stamp| stamp.prepared(&cache, "key", true));

        let Some(prepared) = prepared else {
            return Err(io::Error::other("not found"));
        };
        assert!(prepared.warm && prepared.timings.is_empty());
        assert_eq!(prepared.vmlinux, cache.entries().join("kernel-1/vmlinux"));
        assert_eq!(prepared.qemu.version, "11.1.3");
        assert_eq!(Stamp::load(&cache, "other"), None);
        Ok(())
    }

    #[test]
    fn a_set_up_of_which_a_part_has_gone_is_not_used() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let cache = Cache::new(directory.path());
        let stamp = finished(&cache)?;
        stamp.save(&cache, "key")?;
        fs::remove_file(cache.entries().join("kernel-1/vmlinux"))?;

        assert_eq!(stamp.prepared(&cache, "key", true), None);
        Ok(())
    }
}
