// SPDX-License-Identifier: MIT OR Apache-2.0

//! The toolchain's tree, and the kernel's Rust metadata, which no package of Debian's carries.
//!
//! The metadata is built from the kernel's own source, with its own configuration and its own compiler. Only
//! metadata is needed, not the objects that the distribution's kernel already contains: a wrapper around
//! `rustc` leaves code generation out (`-Zno-codegen`), which halves the time; an empty object stands in.

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use crate::architecture::Architecture;
use crate::debian::apt::Chosen;
use crate::debian::unpack::{UnpackError, unpack};
use crate::host::follow::Follow;
use crate::host::namespace::Namespaces;
use crate::host::process::{CommandError, Job, Runner};
use crate::store::cache::remove;

/// Changes whenever the recipes below do, so that entries made by older ones are not used.
pub(crate) const RECIPE: &str = "3";

/// Time to unpack the source and build the metadata: 2 minutes on two cores.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// In a toolchain's tree: runs rustc; code of the kernel's own crates is not generated.
const RUSTC: &str = r#"#!/usr/bin/sh
object=
for word in "$@"; do
    case $word in --emit=obj=*) object=${word#--emit=obj=} ;; esac
done
case $object in
    rust/*.o) /usr/bin/rustc "$@" -Zno-codegen && cp /usr/lib/landfall/empty.o "$object" ;;
    *) exec /usr/bin/rustc "$@" ;;
esac
"#;

/// What of the source is needed to configure it and to build metadata and modules.
const PARTS: [&str; 22] = [
    "Makefile",
    "Kbuild",
    "Kconfig",
    "*/Kconfig*",
    "certs/*",
    "drivers/base/*.h",
    "include/*",
    "init/*",
    "kernel/*",
    "lib/*.h",
    "mm/*.h",
    "rust/*",
    "scripts/*",
    "security/*",
    "tools/Makefile",
    "tools/build/*",
    "tools/include/*",
    "tools/lib/*",
    "tools/objtool/*",
    "tools/scripts/*",
    "usr/*",
    "tools/bpf/resolve_btfids/*",
];

/// Words for `make` of any kernel; `CONFIG_DEBUG_INFO_BTF` is emptied for make alone (the C side keeps it, and with it
/// the layout of structures), because a tool it asks for is of no use without the kernel's own `vmlinux`.
const MAKE: &str = "make -C /work/source O=/work/build BINDGEN=bindgen CONFIG_DEBUG_INFO_BTF=";

/// Links and files that maintainer scripts would have made, and our own, in a toolchain's tree.
pub(crate) fn finish_toolchain(tree: &Path) -> io::Result<()> {
    symlink("gawk", tree.join("usr/bin/awk")).or_else(ignore_existing)?;
    symlink("dash", tree.join("usr/bin/sh")).or_else(ignore_existing)?;
    let own = tree.join("usr/lib/landfall");
    fs::create_dir_all(&own)?;
    fs::write(own.join("rustc"), RUSTC)?;
    fs::set_permissions(own.join("rustc"), fs::Permissions::from_mode(0o755))?;
    // Read by nobody while modules are built.
    for unused in [
        "usr/share/doc",
        "usr/share/man",
        "usr/share/locale",
        "usr/share/info",
    ] {
        let _ = remove(&tree.join(unused));
    }
    crate::host::namespace::prepare(tree)
}

fn ignore_existing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::AlreadyExists {
        Ok(())
    } else {
        Err(error)
    }
}

/// Compiles the object that stands in for those that are not generated.
pub(crate) fn compile_stand_in(
    tree: &Path,
    architecture: &Architecture,
    namespaces: &Namespaces,
    runner: &Runner,
) -> Result<(), CommandError> {
    let triple = architecture.triple;
    let script = format!("cd /work/modules; : > empty.c; {triple}-gcc-14 -c empty.c -o empty.o");
    namespaces
        .tree(tree)
        .lend(&tree.join("usr/lib/landfall"), "work/modules")
        .run(&script, runner, &job("compiling an empty file"), &mut || {})
}

/// What the metadata is made of.
pub(crate) struct Inputs<'a> {
    /// The toolchain's tree.
    pub(crate) toolchain: &'a Path,
    /// The kernel's entry.
    pub(crate) kernel: &'a Path,
    /// The package of its source, and where packages lie.
    pub(crate) source: &'a [Chosen],
    pub(crate) archives: &'a Path,
    /// `uname -r`.
    pub(crate) release: &'a str,
    pub(crate) architecture: &'a Architecture,
    pub(crate) namespaces: &'a Namespaces,
}

/// The metadata was not built.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    /// A file cannot be read or written.
    #[error("a file of the kernel's source or metadata cannot be used")]
    File(#[from] io::Error),
    /// The source's package did not unpack.
    #[error("the kernel's source did not unpack")]
    Unpack(#[from] UnpackError),
    /// A program failed.
    #[error("the kernel's Rust metadata did not build")]
    Command(#[from] CommandError),
    /// The configuration that came out is not the kernel's: types could have another layout, and modules that
    /// are built so would corrupt the guest. A tool that it asks for is missing in the toolchain.
    #[error("the kernel's configuration came out differently: {}", options.join(", "))]
    Configuration {
        /// The options that differ, as the kernel has them or `CONFIG_… new`.
        options: Vec<String>,
    },
}

/// Builds the metadata into `entry`, which gets `source` (the parts that modules need) and `build`.
pub(crate) fn build(
    entry: &Path,
    inputs: &Inputs<'_>,
    runner: &Runner,
    line: &mut dyn FnMut(&str),
) -> Result<(), MetadataError> {
    let (source, build, package) = (
        entry.join("source"),
        entry.join("build"),
        entry.join("package"),
    );
    for directory in [&source, &build, &package] {
        fs::create_dir(directory)?;
    }
    unpack(inputs.source, inputs.archives, &package, runner, &|_| {})?;
    inputs
        .namespaces
        .tree(inputs.toolchain)
        .lend(&source, "work/source")
        .show(&package, "work/modules")
        .run(
            &extract(&package, |top| parts(top, inputs.architecture))?,
            runner,
            &job("unpacking the kernel's source"),
            &mut || {},
        )?;
    remove(&package)?;

    let configuration = fs::read_to_string(inputs.kernel.join("config"))?;
    fs::write(build.join(".config"), &configuration)?;
    let script = format!(
        "have=$(rustc --version)\n\
         [ \"$have\" = '{}' ] || {{ echo \"error: the kernel was built with another compiler than $have\"; exit 1; }}\n\
         {MAKE} {} -j$(nproc) RUSTC=/usr/lib/landfall/rustc KERNELRELEASE='{}'",
        compiler(&configuration),
        inputs.architecture.make,
        inputs.release
    );
    let mut log = Follow::new(&runner.log(LOG));
    let mut make = |targets: &str| {
        inputs
            .namespaces
            .tree(inputs.toolchain)
            .show(&source, "work/source")
            .lend(&build, "work/build")
            .run(
                &format!("{script} {targets}"),
                runner,
                &job("building the kernel's Rust metadata"),
                &mut || log.tell(line),
            )
    };
    make("olddefconfig")?;
    let made = fs::read_to_string(build.join(".config"))?;
    let options = differing(&configuration, &made, inputs.architecture.harmless);
    if !options.is_empty() {
        return Err(MetadataError::Configuration { options });
    }
    make("prepare modules_prepare")?;
    fs::copy(
        inputs.kernel.join("Module.symvers"),
        build.join("Module.symvers"),
    )?;
    Ok(())
}

/// Options that change no type and no code: signatures, the distribution's salt, versions of tools, and `these`.
fn is_harmless(option: &str, these: &[&str]) -> bool {
    let name = option.trim_start_matches("# ");
    let harmless = [
        "CONFIG_BUILD_SALT",
        "CONFIG_MODULE_SIG_",
        "CONFIG_SYSTEM_TRUSTED_KEYS",
        "CONFIG_OPENSSL_",
    ];
    harmless.iter().any(|start| name.starts_with(start))
        || name.split(['=', ' ']).next().is_some_and(|name| {
            let of_tool = name.ends_with("_VERSION") || name.ends_with("_VERSION_TEXT");
            of_tool || these.contains(&name)
        })
}

/// Lines of one configuration that the other does not have, harmless ones left out.
fn differing(wanted: &str, got: &str, harmless: &[&str]) -> Vec<String> {
    fn options<'a>(text: &'a str, harmless: &[&str]) -> std::collections::BTreeSet<&'a str> {
        let is_option = |line: &&str| line.starts_with("CONFIG_") || line.starts_with("# CONFIG_");
        text.lines()
            .filter(is_option)
            .filter(|line| !is_harmless(line, harmless))
            .collect()
    }
    let (wanted, got) = (options(wanted, harmless), options(got, harmless));
    let lost = wanted.difference(&got).map(|line| (*line).to_owned());
    lost.chain(got.difference(&wanted).map(|line| format!("{line} (new)")))
        .collect()
}

/// What `rustc --version` says of the compiler that a kernel with this configuration was built with.
pub(crate) fn compiler(configuration: &str) -> &str {
    configuration
        .lines()
        .find_map(|line| {
            line.strip_prefix("CONFIG_RUSTC_VERSION_TEXT=")?
                .strip_prefix('"')?
                .strip_suffix('"')
        })
        .unwrap_or_default()
}

/// Words for `tar` that take [`PARTS`] of the source, and the architecture's.
fn parts(top: &str, architecture: &Architecture) -> String {
    let parts = PARTS.iter().chain(architecture.source);
    let parts: Vec<String> = parts.map(|part| format!("'{top}/{part}'")).collect();
    parts.join(" ")
}

/// The script that unpacks the source's archive, in its package at `work/modules`, to `work/source`: what the words say
/// that `parts` gives for the archive's topmost directory.
pub(crate) fn extract(package: &Path, parts: impl Fn(&str) -> String) -> io::Result<String> {
    let archive = fs::read_dir(package.join("usr/src"))?
        .filter_map(|file| file.ok()?.file_name().into_string().ok())
        .find(|name| name.starts_with("linux-source-") && name.ends_with(".tar.xz"))
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                "the source's package has no archive in it",
            )
        })?;
    let top = archive.trim_end_matches(".tar.xz");
    Ok(format!(
        "cd /work/source; tar --extract --strip-components=1 --use-compress-program='xz -T0' --wildcards \
         --no-same-owner --file '/work/modules/usr/src/{archive}' {}",
        parts(top)
    ))
}

const LOG: &str = "metadata";

fn job(what: &'static str) -> Job<'static> {
    Job {
        what,
        log: LOG,
        limit: LIMIT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_is_read_from_the_configuration() {
        let configuration =
            "CONFIG_RUST=y\nCONFIG_RUSTC_VERSION_TEXT=\"rustc 1.85.1 (4eb161250)\"\n";

        assert_eq!(compiler(configuration), "rustc 1.85.1 (4eb161250)");
        assert_eq!(compiler("CONFIG_RUST=y\n"), "");
    }

    #[test]
    fn a_configuration_that_lost_an_option_is_named_and_signatures_do_not_matter() {
        let kernel = "CONFIG_DEBUG_INFO_BTF=y\nCONFIG_PAHOLE_VERSION=130\n# CONFIG_MODULE_SIG_ALL is not set\n";
        let same = "CONFIG_DEBUG_INFO_BTF=y\nCONFIG_PAHOLE_VERSION=0\nCONFIG_MODULE_SIG_ALL=y\nCONFIG_BUILD_SALT=\"\"\n";
        assert_eq!(differing(kernel, same, &[]), [""; 0]);

        let lost = same.replace("CONFIG_DEBUG_INFO_BTF=y\n", "");
        assert_eq!(differing(kernel, &lost, &[]), ["CONFIG_DEBUG_INFO_BTF=y"]);
        assert_eq!(
            differing(kernel, &lost, &["CONFIG_DEBUG_INFO_BTF"]),
            [""; 0]
        );
    }
}
