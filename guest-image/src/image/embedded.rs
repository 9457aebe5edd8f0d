// SPDX-License-Identifier: MIT OR Apache-2.0

//! What the build script put into this library: the agent, the plugin, and the modules' sources.

use std::fs;
use std::io;
use std::path::Path;

use crate::architecture::Architecture;

/// The agent, a static program.
pub(crate) static AGENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/agent"));
/// SHA-256 of the agent, hex.
pub(crate) const AGENT_SHA256: &str = env!("LANDFALL_AGENT_SHA256");

/// The plugin for QEMU's translator, a shared library; see the package `landfall-plugin`.
pub static PLUGIN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/plugin"));

/// Path in the repository and contents of each file the agent is built from.
static AGENT_SOURCES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/agent_sources.rs"));
/// Each package that it may be made of: its name and version, its checksum, and itself.
static AGENT_PACKAGES: &[(&str, &str, &[u8])] =
    include!(concat!(env!("OUT_DIR"), "/agent_packages.rs"));
/// SHA-256 over all that, hex.
pub(crate) const AGENT_SOURCES_SHA256: &str = env!("LANDFALL_AGENT_SOURCES_SHA256");

/// What tells an architecture's agent from others, hex.
pub(crate) fn agent_sha256(architecture: &Architecture) -> &'static str {
    match architecture.has_agent() {
        true => AGENT_SHA256,
        false => AGENT_SOURCES_SHA256,
    }
}

/// Path in the repository and contents of each file the modules are built from.
static SOURCES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/sources.rs"));

/// One of these; nothing if there is none of that path.
pub(crate) fn source(path: &str) -> &'static [u8] {
    let found = SOURCES.iter().find(|(of, _)| *of == path);
    found.map_or(&[], |(_, bytes)| bytes)
}
/// SHA-256 over names and contents of those files, hex.
pub(crate) const SOURCES_SHA256: &str = env!("LANDFALL_SOURCES_SHA256");

/// Writes the sources below `directory`, in the places they have in the repository.
pub(crate) fn write_sources(directory: &Path) -> io::Result<()> {
    write(SOURCES, directory)
}

/// Likewise the agent's, with the packages as cargo takes them from a directory, packed, in `packages`.
pub(crate) fn write_agent_sources(directory: &Path) -> io::Result<()> {
    write(AGENT_SOURCES, directory)?;
    let packages = directory.join("packages");
    fs::create_dir_all(&packages)?;
    for (name, checksum, package) in AGENT_PACKAGES {
        fs::write(packages.join(format!("{name}.crate")), package)?;
        // cargo compares the checksum with the lock file's; of files it is to check none.
        let sums = format!("{{\"files\":{{}},\"package\":\"{checksum}\"}}");
        fs::write(packages.join(format!("{name}.json")), sums)?;
    }
    Ok(())
}

fn write(sources: &[(&str, &[u8])], directory: &Path) -> io::Result<()> {
    for (name, bytes) in sources {
        let path = directory.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sources_keep_their_places_and_mounts_resolve() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        write_sources(directory.path())?;

        assert!(directory.path().join("kmod/Kbuild").is_file());
        assert!(
            directory
                .path()
                .join("device-model/cards/src/capture/regs.rs")
                .is_file()
        );
        Ok(())
    }

    /// It needs no library beside those of the QEMU that loads it, whatever its age.
    #[test]
    fn the_plugin_needs_no_version_of_any_library() {
        let version = b"GLIBC_";

        assert!(PLUGIN.starts_with(b"\x7fELF"));
        assert!(!PLUGIN.windows(version.len()).any(|bytes| bytes == version));
    }

    #[test]
    fn the_agent_is_static() {
        // PT_INTERP of a dynamic program names its loader.
        let loader = b"/lib64/ld-linux";

        assert!(AGENT.starts_with(b"\x7fELF"));
        assert!(!AGENT.windows(loader.len()).any(|bytes| bytes == loader));
    }
}
