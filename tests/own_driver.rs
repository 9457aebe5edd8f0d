// SPDX-License-Identifier: MIT OR Apache-2.0

//! Anybody's driver comes into a guest: built from a directory, from a file, or the kernel's own by name; and programs.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use landfall::guest::{Booted, Guest, GuestOptions, NotBrought, What};
use landfall::{Cancel, testing};
use landfall_guest::{BuildFailed, Built, build_module};
use landfall_tests::{Result, SHORT, boot, kernel_log, prepared};

const KBUILD: &str = "obj-m := outside.o\n";
const SOURCE: &str = r#"// SPDX-License-Identifier: GPL-2.0
#include <linux/module.h>
#include "outside.h"

static int greeting = FIRST;
module_param(greeting, int, 0444);

static int __init outside_init(void)
{
	pr_info("outside says %d\n", greeting);
	return 0;
}

static void __exit outside_exit(void)
{
}

module_init(outside_init);
module_exit(outside_exit);
MODULE_DESCRIPTION("A module that nobody here knows");
MODULE_LICENSE("GPL");
"#;

/// A directory with a module that prints a number.
fn sources(main: &str) -> Result<tempfile::TempDir> {
    let directory = tempfile::tempdir()?;
    fs::write(directory.path().join("Kbuild"), KBUILD)?;
    fs::write(directory.path().join("outside.c"), main)?;
    fs::write(directory.path().join("outside.h"), "#define FIRST 1\n")?;
    Ok(directory)
}

fn build(directory: &Path) -> std::result::Result<Built, BuildFailed> {
    let options = testing::setup_options().expect("HOME or LANDFALL_CACHE is set");
    build_module(
        &options,
        prepared(),
        directory,
        &Cancel::default(),
        &mut |_| (),
    )
}

fn guest() -> landfall::guest::Result<Guest<Booted>> {
    boot(GuestOptions::default())
}

/// What the user is told, of which kind.
fn refusal<T: std::fmt::Debug>(outcome: landfall::guest::Result<T>) -> (NotBrought, String) {
    let failed = outcome.expect_err("it must be refused");
    let said = failed.to_string();
    match *failed.what {
        What::NotBrought(why) => (why, said),
        other => panic!("the guest failed: {other}"),
    }
}

#[test]
fn a_module_is_built_from_a_directory_loaded_and_unloaded() -> Result {
    let directory = sources(SOURCE)?;
    let built = build(directory.path())?;

    assert_eq!(built.name, "outside");
    assert_eq!(built.warnings, [""; 0]);
    let names = fs::read_dir(directory.path())?.map(|file| Ok(file?.file_name()));
    let mut names = names.collect::<Result<Vec<_>>>()?;
    names.sort();
    assert_eq!(
        names,
        ["Kbuild", "outside.c", "outside.h"],
        "nothing is written there"
    );
    let began = Instant::now();
    assert_eq!(build(directory.path())?, built);
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );

    let guest = guest()?;
    assert_eq!(guest.load_file(&built.ko, "greeting=4711")?, "outside");
    assert!(kernel_log(&guest)?.contains("outside says 4711"));
    guest.unload_module("outside")?;

    // Another header is another module.
    fs::write(directory.path().join("outside.h"), "#define FIRST 2\n")?;
    let other = build(directory.path())?;
    assert_ne!(other.ko, built.ko);
    guest.load_file(&other.ko, "")?;
    assert!(kernel_log(&guest)?.contains("outside says 2"));
    Ok(guest.power_off()?)
}

#[test]
fn what_the_compiler_warns_of_and_refuses_is_told_in_its_own_words() -> Result {
    let unused = SOURCE.replace("\treturn 0;", "\tint left;\n\n\treturn 0;");
    let directory = sources(&unused)?;
    let [warning] = &build(directory.path())?.warnings[..] else {
        panic!("one warning");
    };
    assert!(
        warning.starts_with("outside.c:11:13: warning: unused variable"),
        "{warning}"
    );

    let broken = sources(&SOURCE.replace("return 0;", "return zero;"))?;
    let said = build(broken.path())
        .expect_err("it does not compile")
        .to_string();
    assert!(
        said.contains("\noutside.c:11:16: error: 'zero' undeclared"),
        "{said}"
    );
    assert!(
        said.contains(&broken.path().display().to_string()),
        "{said}"
    );
    assert!(!said.contains("/work/") && !said.contains("make"), "{said}");

    let unlinked = SOURCE.replace("\treturn 0;", "\tnobody_has_this();\n\treturn 0;");
    let unlinked = sources(&format!("extern void nobody_has_this(void);\n{unlinked}"))?;
    let said = build(unlinked.path())
        .expect_err("a symbol is missing")
        .to_string();
    assert!(
        said.contains("nobody_has_this") && said.contains("undefined"),
        "{said}"
    );
    Ok(())
}

/// The file with some bytes changed, wherever they are.
fn changed(ko: &Path, from: &[u8], to: &[u8]) -> Result<tempfile::NamedTempFile> {
    let mut bytes = fs::read(ko)?;
    assert_eq!(from.len(), to.len());
    let mut found = false;
    for at in 0..bytes.len() - from.len() {
        if bytes[at..].starts_with(from) {
            bytes[at..at + to.len()].copy_from_slice(to);
            found = true;
        }
    }
    assert!(found, "{} has no such bytes", ko.display());
    let file = tempfile::Builder::new().suffix(".ko").tempfile()?;
    fs::write(file.path(), bytes)?;
    Ok(file)
}

#[test]
fn a_module_that_does_not_fit_is_refused_with_words_and_the_guest_goes_on() -> Result {
    let directory = sources(SOURCE)?;
    let ko = build(directory.path())?.ko;
    let guest = guest()?;
    let release = guest.kernel_release();

    let stale = format!("vermagic={release}").replace("7.", "6.");
    let other = changed(
        &ko,
        format!("vermagic={release}").as_bytes(),
        stale.as_bytes(),
    )?;
    let (why, said) = refusal(guest.load_file(other.path(), ""));
    assert!(matches!(why, NotBrought::OtherKernel { .. }), "{why:?}");
    for word in [
        &release,
        &release.replace("7.", "6."),
        "has to be built for that",
    ] {
        assert!(said.contains(word), "{said}");
    }

    // The release is right, what else must be alike is not: only the kernel knows.
    let other = changed(&ko, b" SMP preempt mod_unload", b" SMP preempt mod_onload")?;
    let (_, said) = refusal(guest.load_file(other.path(), ""));
    assert!(
        said.contains("version magic") && said.contains("mod_onload"),
        "{said}"
    );

    let unknown = changed(&ko, b"\0_printk\0", b"\0_prjntk\0")?;
    let (why, said) = refusal(guest.load_file(unknown.path(), ""));
    assert!(matches!(why, NotBrought::Kernel { .. }), "{why:?}");
    assert!(said.contains("Unknown symbol _prjntk"), "{said}");

    let (_, said) = refusal(guest.load_file(&ko, "greting=1"));
    assert!(
        said.contains("no parameter greting; it has greeting"),
        "{said}"
    );
    let (_, said) = refusal(guest.load_file(&directory.path().join("outside.c"), ""));
    assert!(
        said.contains("outside.c") && said.contains("no ELF file"),
        "{said}"
    );

    guest.load_file(&ko, "")?;
    let (why, said) = refusal(guest.load_file(&ko, ""));
    assert!(
        matches!(
            why,
            NotBrought::There {
                built_in: false,
                ..
            }
        ),
        "{why:?}"
    );
    assert!(said.contains("outside loaded already"), "{said}");
    Ok(guest.power_off()?)
}

#[test]
fn any_stock_module_is_loaded_by_name_with_what_it_depends_on() -> Result {
    let guest = guest()?;
    // No list names it; it needs a dozen others, with either way to write a name.
    guest.load_stock("saa7134-alsa", "index=3")?;

    let loaded = guest.read_text("/proc/modules")?;
    for name in ["saa7134_alsa", "saa7134", "videodev", "snd_pcm"] {
        let line = format!("{name} ");
        assert!(
            loaded.lines().any(|module| module.starts_with(&line)),
            "{name}: {loaded}"
        );
    }
    let given = guest.read_text("/sys/module/saa7134_alsa/parameters/index")?;
    assert!(given.starts_with("3,"), "{given}");

    guest.load_stock("saa7134", "")?;
    let (why, said) = refusal(guest.load_stock("saa7134", "latency=1"));
    assert!(
        matches!(
            why,
            NotBrought::There {
                built_in: false,
                ..
            }
        ),
        "{said}"
    );
    let (_, said) = refusal(guest.load_stock("tw686x", "dma_mod=sg"));
    assert!(
        said.contains("no parameter dma_mod; it has dma_mode, dma_interval"),
        "{said}"
    );
    let (why, said) = refusal(guest.load_stock("tw686", ""));
    assert!(matches!(why, NotBrought::NotStock { .. }), "{why:?}");
    assert!(said.contains("tw686x"), "{said}");
    Ok(guest.power_off()?)
}

#[test]
fn a_program_of_the_hosts_comes_with_its_libraries_or_it_is_said_what_is_missing() -> Result {
    let guest = guest()?;
    let host = Path::new("/usr/bin/printf");
    guest.put(host, "/opt/own/printf", 0o755)?;
    let ran = guest.run(&["/opt/own/printf", "%s %d", "own", "7"], SHORT)?;
    assert_eq!((ran.status, &*ran.stdout), (0, "own 7"), "{ran:?}");

    let other = changed(host, b"\0libc.so.6\0", b"\0libq.so.6\0")?;
    let (why, said) = refusal(guest.put(other.path(), "/opt/own/other", 0o755));
    assert!(matches!(why, NotBrought::Program { .. }), "{why:?}");
    assert!(said.contains("needs the library libq.so.6"), "{said}");

    let script = tempfile::NamedTempFile::new()?;
    fs::write(script.path(), "#!/usr/bin/python3\nprint(1)\n")?;
    let (_, said) = refusal(guest.put(script.path(), "/opt/own/script", 0o755));
    assert!(
        said.contains("a script for /usr/bin/python3, which the guest has not"),
        "{said}"
    );
    // As data it may be anything.
    guest.put(script.path(), "/opt/own/script", 0o644)?;
    fs::write(script.path(), "#!/bin/sh\necho shell $1\n")?;
    guest.put(script.path(), "/opt/own/script", 0o755)?;
    let ran = guest.run(&["/opt/own/script", "ran"], SHORT)?;
    assert_eq!((ran.status, &*ran.stdout), (0, "shell ran\n"), "{ran:?}");
    Ok(guest.power_off()?)
}
