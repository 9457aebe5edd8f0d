// SPDX-License-Identifier: MIT OR Apache-2.0

//! Other kernels than the usual one: the oldest series that there is, as Debian has it.

use landfall_tests::{Result, landfall, prepared};

/// The oldest series.
fn oldest() -> &'static str {
    prepared();
    landfall_guest::kernel_series()
        .into_iter()
        .next_back()
        .expect("there is one")
}

/// What a command for that kernel says, which ends with this code.
fn said(command: &str, words: &str, code: i32) -> Result<String> {
    let series = oldest();
    let ran = landfall()
        .args(command.split_ascii_whitespace())
        .args(["--kernel-series", series])
        .args(words.split_ascii_whitespace())
        .output()?;
    let told = String::from_utf8_lossy(&ran.stdout).into_owned();
    let told = told + &String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(code), "{told}");
    Ok(told)
}

/// Mapped, listed, allocated, bounced, behind an IOMMU, unmapped and not: all ways to hear of it have their class here. What
/// needs the pool is passed over with its reason.
#[test]
fn classes_are_named_and_their_twins_silent() -> Result {
    let told = said(
        "catalog run",
        "1 3 5 6 7 16 18 20 22 37 40 47 51 54 61 62 63",
        0,
    )?;
    assert!(
        told.contains("18 of 18 named") && told.contains("2 not run"),
        "{told}"
    );
    assert!(
        told.contains("there is no landfall_pool for Linux "),
        "{told}"
    );
    Ok(())
}

/// Nothing is said of what is right.
#[test]
fn correct_drivers_are_silent() -> Result {
    let patterns =
        "own two-cpus gather sg-table halves need-unmap lists-in-irq timer pool narrow rebind";
    let told = said("catalog gallery --legs plain,swiotlb", patterns, 0)?;
    assert!(told.contains("22 of 22 silent"), "{told}");
    Ok(())
}

/// A stock driver of that kernel's, and a module that is built for it.
#[test]
fn stock_drivers_and_modules_from_sources_are_judged() -> Result {
    let told = said(
        "exec --card dt3155 --legs plain,iommu,swiotlb",
        "-- dd if=/dev/video0 of=/dev/null bs=307200 count=3",
        0,
    )?;
    assert!(told.contains("exec: clean"), "{told}");

    let sources = tempfile::tempdir()?;
    std::fs::write(sources.path().join("Kbuild"), "obj-m := here.o\n")?;
    let source = "#include <linux/module.h>\n#include <generated/utsrelease.h>\n\
                  static int __init in(void) { pr_info(\"built for \" UTS_RELEASE \"\\n\"); return 0; }\n\
                  module_init(in);\nMODULE_DESCRIPTION(\"x\");\nMODULE_LICENSE(\"GPL\");\n";
    std::fs::write(sources.path().join("here.c"), source)?;
    let directory = sources.path().display();
    let told = said(
        "build-module",
        &format!("--output {directory} {directory}"),
        0,
    )?;
    assert!(told.contains(oldest()), "{told}");
    Ok(())
}

/// What cannot be done is said at once, with what can.
#[test]
fn what_needs_rust_says_so() -> Result {
    let told = said("run", "", 3)?;
    assert!(
        told.contains("there is no module landfall_pool for Linux "),
        "{told}"
    );
    assert!(told.contains("`exec`"), "{told}");
    Ok(())
}
