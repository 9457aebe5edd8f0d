// SPDX-License-Identifier: MIT OR Apache-2.0

//! Where other people's code comes from, and under which terms. Reads what cargo knows; boots nothing. `deny.toml` says the
//! same to `cargo deny`, which knows advisories besides.

use std::path::{Path, PathBuf};
use std::process::Command;

use landfall_tests::{Result, root};
use serde::Deserialize;
use spdx::{Expression, LicenseReq, ParseMode};

/// Terms under which others' code may come in: they ask for no more than that their text stays.
const TERMS: [&str; 8] = [
    "MIT",
    "NCSA",
    "Apache-2.0",
    "BSD-3-Clause",
    "BSL-1.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    license: Option<String>,
    /// None: it is here.
    source: Option<String>,
}

fn packages(manifest: &Path) -> Result<Vec<Package>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--manifest-path",
        ])
        .arg(manifest)
        .output()?;
    assert!(output.status.success(), "{output:?}");
    Ok(serde_json::from_slice::<Metadata>(&output.stdout)?.packages)
}

fn is_free(terms: &str) -> bool {
    let allowed = |asked: &LicenseReq| {
        let id = asked.license.id();
        id.is_some_and(|id| TERMS.contains(&id.name)) && asked.addition.is_none()
    };
    Expression::parse_mode(terms, ParseMode::LAX).is_ok_and(|terms| terms.evaluate(allowed))
}

/// The workspaces of this repository that are built here.
fn workspaces() -> Result<Vec<PathBuf>> {
    let mut found = ["", "tests/fuzz"]
        .map(|at| root().join(at).join("Cargo.toml"))
        .to_vec();
    for entry in std::fs::read_dir(root().join("examples"))? {
        let manifest = entry?.path().join("Cargo.toml");
        if manifest.is_file() {
            found.push(manifest);
        }
    }
    Ok(found)
}

#[test]
fn what_others_wrote_comes_from_the_registry_and_is_free() -> Result {
    for workspace in workspaces()? {
        let packages = packages(&workspace)?;
        let others: Vec<_> = packages
            .iter()
            .filter(|package| package.source.is_some())
            .collect();
        assert!(
            others.len() > 10,
            "{workspace:?}: the check would check nothing"
        );
        for Package {
            name,
            license,
            source,
        } in others
        {
            assert_eq!(source.as_deref(), Some(REGISTRY), "{name}");
            let terms = license.as_deref().unwrap_or("no terms");
            assert!(is_free(terms), "{name}: {terms}");
        }
    }
    Ok(())
}

#[test]
fn the_check_of_terms_can_fail() {
    for free in [
        "MIT",
        "MIT/Apache-2.0",
        "GPL-2.0-only OR MIT",
        "(MIT OR Apache-2.0) AND Unicode-3.0",
    ] {
        assert!(is_free(free), "{free}");
    }
    for not in [
        "GPL-3.0-only",
        "MIT AND GPL-2.0-only",
        "",
        "no terms",
        "LicenseRef-own",
    ] {
        assert!(!is_free(not), "{not}");
    }
}

/// One list of terms, in two places.
#[test]
fn cargo_deny_is_told_the_same() -> Result {
    let text = std::fs::read_to_string(root().join("deny.toml"))?;
    for terms in TERMS {
        assert!(text.contains(&format!("\"{terms}\"")), "{terms}");
    }
    assert_eq!(
        text.lines()
            .filter(|line| line.starts_with("    \""))
            .count(),
        TERMS.len()
    );
    Ok(())
}
