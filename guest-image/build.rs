// SPDX-License-Identifier: MIT OR Apache-2.0

//! Builds the agent as a static program, and the plugin for QEMU's translator; lists the kernel modules' sources, and the agent's
//! with the packages that it is made of: all are part of whatever links this library and nothing else has to be shipped beside it.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use sha2::{Digest, Sha256};

/// The target the guest runs; the agent is static, so the host's libraries do not matter.
const TARGET: &str = "x86_64-unknown-linux-gnu";

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let here =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("CARGO_MANIFEST_DIR is not set")?);
    let root = here.parent().ok_or("the package has no parent directory")?;

    let agent = fs::read(build_agent(&here, &out)?)?;
    println!(
        "cargo::rustc-env=LANDFALL_AGENT_SHA256={}",
        hex(&Sha256::digest(&agent))
    );
    fs::write(out.join("agent"), agent)?;
    fs::copy(build_plugin(&here, &out)?, out.join("plugin"))?;
    println!("cargo::rustc-env=LANDFALL_AGENT_TARGET={TARGET}");
    fs::write(out.join("sources.rs"), list_sources(root)?)?;
    let (sources, packages) = list_agent(root)?;
    fs::write(out.join("agent_sources.rs"), sources)?;
    fs::write(out.join("agent_packages.rs"), packages)?;
    println!("cargo::rerun-if-changed=build.rs");
    Ok(())
}

/// Builds the agent.
fn build_agent(here: &Path, out: &Path) -> Result<PathBuf, Box<dyn Error>> {
    for input in [
        "agent/src",
        "agent/Cargo.toml",
        "../Cargo.lock",
        "../Cargo.toml",
        "../kmod/capture/uapi.rs",
        "../kmod/pool/uapi.rs",
    ] {
        println!("cargo::rerun-if-changed={}", here.join(input).display());
    }
    let manifest = here.join("agent/Cargo.toml");
    let words = ["build", "--bin", "landfall-agent", "--target", TARGET];
    let flags = "-Ctarget-feature=+crt-static";
    let directory = build(&manifest, out, &words, TARGET, flags)?;
    Ok(directory.join("landfall-agent"))
}

/// Builds the plugin, which runs in this host's QEMU, without `std`: its panics end QEMU.
fn build_plugin(here: &Path, out: &Path) -> Result<PathBuf, Box<dyn Error>> {
    for input in ["plugin/src", "plugin/Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", here.join(input).display());
    }
    let manifest = here.join("plugin/Cargo.toml");
    let host = env::var("TARGET")?;
    let words = [
        "rustc",
        "--lib",
        "--crate-type",
        "cdylib",
        "--target",
        &host,
    ];
    let words = [words.as_slice(), &["--features", "qemu"]].concat();
    let directory = build(&manifest, out, &words, &host, "-Cpanic=abort")?;
    Ok(directory.join("liblandfall_plugin.so"))
}

/// Builds a package in a target directory of its own: the caller's is locked while a build script runs. Gives the directory of
/// what was made.
fn build(
    manifest: &Path,
    out: &Path,
    words: &[&str],
    target: &str,
    flags: &str,
) -> Result<PathBuf, Box<dyn Error>> {
    let made = out.join("agent-target");
    let mut cargo = Command::new(env::var_os("CARGO").ok_or("CARGO is not set")?);
    cargo
        .args(words)
        .arg("--release")
        .arg("--manifest-path")
        .arg(manifest)
        .arg("--target-dir")
        .arg(&made)
        .current_dir(manifest.parent().ok_or("a manifest has a directory")?)
        // The same bytes from every profile and every lint run of the caller, or the guest would be rebuilt.
        .env("CARGO_ENCODED_RUSTFLAGS", flags)
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("CARGO_BUILD_TARGET");
    if !cargo.status()?.success() {
        return Err(format!("{} did not build: {cargo:?}", manifest.display()).into());
    }
    Ok(made.join(target).join("release"))
}

/// Rust source of two tables, for targets that the agent is built for later: its files in this repository, and the packages that
/// it may be made of, as they came from their registry.
fn list_agent(root: &Path) -> Result<(String, String), Box<dyn Error>> {
    let mut files = BTreeSet::from(
        ["Cargo.toml", "Cargo.lock", "guest-image/agent/Cargo.toml"].map(|file| root.join(file)),
    );
    collect(&root.join("guest-image/agent/src"), &mut files)?;
    for file in files.clone() {
        files.extend(mounted(&file)?);
    }
    let mut hash = Sha256::new();
    let mut sources = String::from("&[\n");
    for file in &files {
        let bytes = fs::read(file)?;
        let name = file.strip_prefix(root)?;
        // Of the lock file only the packages' part matters, below.
        if !name.ends_with("Cargo.lock") {
            hash.update(format!("{} {}\n", bytes.len(), name.display()));
            hash.update(bytes);
        }
        writeln!(sources, "    ({name:?}, include_bytes!({file:?})),")?;
    }
    sources.push(']');
    let mut packages = String::from("&[\n");
    let caches = registries()?;
    for Locked {
        name,
        version,
        checksum,
    } in closure(
        &fs::read_to_string(root.join("Cargo.lock"))?,
        "landfall-agent",
    )? {
        let file = format!("{name}-{version}.crate");
        let there = caches
            .iter()
            .map(|cache| cache.join(&file))
            .find(|path| path.is_file());
        let Some(path) = there else {
            println!(
                "cargo::warning={file} is not among what cargo fetched: guests of other architectures need it"
            );
            continue;
        };
        hash.update(format!("{name} {version} {checksum}\n"));
        writeln!(
            packages,
            "    ({:?}, {checksum:?}, include_bytes!({path:?})),",
            format!("{name}-{version}")
        )?;
    }
    packages.push(']');
    println!(
        "cargo::rustc-env=LANDFALL_AGENT_SOURCES_SHA256={}",
        hex(&hash.finalize())
    );
    Ok((sources, packages))
}

/// Where cargo keeps packages as they came, a directory for each registry.
fn registries() -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let home = home.ok_or("neither CARGO_HOME nor HOME is set")?;
    let mut found = Vec::new();
    for entry in fs::read_dir(home.join("registry/cache"))
        .into_iter()
        .flatten()
    {
        found.push(entry?.path());
    }
    found.sort();
    Ok(found)
}

/// A package of a registry, in a lock file.
struct Locked {
    name: String,
    version: String,
    checksum: String,
}

/// The packages of registries that one of a lock file needs, directly or not, each once.
fn closure(lock: &str, of: &str) -> Result<Vec<Locked>, Box<dyn Error>> {
    let lock: toml::Table = lock.parse()?;
    let all = lock.get("package").and_then(toml::Value::as_array);
    let all = all.ok_or("the lock file has no packages")?;
    let text = |package: &toml::Value, key: &str| Some(package.get(key)?.as_str()?.to_owned());
    let (mut open, mut known) = (vec![of.to_owned()], BTreeSet::new());
    let mut found = Vec::new();
    while let Some(wanted) = open.pop() {
        // A name, with its version if there are several.
        let mut words = wanted.split(' ');
        let (name, version) = (words.next().unwrap_or_default().to_owned(), words.next());
        let package = all.iter().find(|package| {
            text(package, "name").as_deref() == Some(&name)
                && (version.is_none() || text(package, "version").as_deref() == version)
        });
        let package = package.ok_or_else(|| format!("the lock file has no {wanted}"))?;
        let version = text(package, "version").unwrap_or_default();
        if !known.insert((name.clone(), version.clone())) {
            continue;
        }
        let needs = package.get("dependencies").and_then(toml::Value::as_array);
        open.extend(
            needs
                .into_iter()
                .flatten()
                .filter_map(|need| Some(need.as_str()?.to_owned())),
        );
        if let Some(checksum) = text(package, "checksum") {
            found.push(Locked {
                name,
                version,
                checksum,
            });
        }
    }
    Ok(found)
}

/// Rust source of a table: each file the modules are built from, by its path in the repository.
fn list_sources(root: &Path) -> Result<String, Box<dyn Error>> {
    let kmod = root.join("kmod");
    println!("cargo::rerun-if-changed={}", kmod.display());
    let mut files = BTreeSet::new();
    collect(&kmod, &mut files)?;
    for file in files.clone() {
        files.extend(mounted(&file)?);
    }
    let mut table = String::from("&[\n");
    let mut hash = Sha256::new();
    for file in &files {
        let Ok(name) = file.strip_prefix(root) else {
            return Err(format!("{} is outside the repository", file.display()).into());
        };
        if !name.starts_with("kmod") {
            println!("cargo::rerun-if-changed={}", file.display());
        }
        let bytes = fs::read(file)?;
        hash.update(format!("{} {}\n", bytes.len(), name.display()));
        hash.update(bytes);
        writeln!(table, "    ({:?}, include_bytes!({:?})),", name, file)?;
    }
    table.push(']');
    println!(
        "cargo::rustc-env=LANDFALL_SOURCES_SHA256={}",
        hex(&hash.finalize())
    );
    Ok(table)
}

/// Sources below a directory.
fn collect(directory: &Path, files: &mut BTreeSet<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or(".");
        // Kbuild's own droppings, if someone built in the tree: hidden files and `x.mod.c`.
        if name.starts_with('.') || name.ends_with(".mod.c") || name == "target" {
            continue;
        }
        let source = matches!(
            path.extension().and_then(|end| end.to_str()),
            Some("rs" | "c" | "h" | "S")
        );
        if path.is_dir() {
            collect(&path, files)?;
        } else if source || matches!(name, "Kbuild" | "Makefile") {
            files.insert(path);
        }
    }
    Ok(())
}

/// Files outside `kmod` that a source mounts with `#[path = "…"]`.
fn mounted(file: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    if file.extension().is_none_or(|end| end != "rs") {
        return Ok(Vec::new());
    }
    let directory = file.parent().ok_or("a file has a directory")?;
    Ok(fs::read_to_string(file)?
        .lines()
        .filter_map(|line| line.trim().strip_prefix("#[path = \"")?.strip_suffix("\"]"))
        .map(|path| flat(&directory.join(path)))
        .filter(|path| path.is_file())
        .collect())
}

/// The path without `..`.
fn flat(path: &Path) -> PathBuf {
    let mut flat = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            flat.pop();
        } else {
            flat.push(part);
        }
    }
    flat
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}
