// SPDX-License-Identifier: MIT OR Apache-2.0

//! Guests of another architecture than this host's: what is shown for the usual ones holds there, by TCG alone.

use landfall_tests::{Result, landfall, prepared};

/// The other architecture.
const OTHER: &str = "arm64";

/// What a command for such guests says, which ends with this code. Options come before what follows ` -- `.
fn said(command: &str, code: i32) -> Result<String> {
    // The set-up of the usual guests is made once for all tests, and not beside another one.
    prepared();
    let (own, program) = match command.split_once(" -- ") {
        Some((own, program)) => (own, Some(program)),
        None => (command, None),
    };
    let mut landfall = landfall();
    landfall.args(own.split_ascii_whitespace());
    landfall.args(["--arch", OTHER]);
    if let Some(program) = program {
        landfall.arg("--").args(program.split_ascii_whitespace());
    }
    let ran = landfall.output()?;
    let told = String::from_utf8_lossy(&ran.stdout).into_owned();
    let told = told + &String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(code), "{told}");
    Ok(told)
}

#[test]
fn frames_land_where_they_were_lent_and_an_overrun_is_named() -> Result {
    let clean = said("run", 0)?;
    assert!(clean.contains("verdict: clean: 9 frames"), "{clean}");
    let directory = tempfile::tempdir()?;
    let bundle = directory.path().join("bundle");
    let named = said(
        &format!("run --fault overrun --bundle {}", bundle.display()),
        1,
    )?;
    assert!(
        named.contains("verdict: 1 violation: overrun (class 1)"),
        "{named}"
    );
    // By the driver's own line: unwound and looked up on another machine than it ran on.
    assert!(named.contains("capture/memory.rs:"), "{named}");

    // Its stream is judged anew by anybody, without such a guest.
    let again = landfall().arg("replay").arg(&bundle).output()?;
    let again = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(again.contains("overrun"), "{again}");
    Ok(())
}

/// Where bus addresses are others, where memory is bounced, where it lies high, where a crash tells otherwise of itself.
#[test]
fn classes_are_named_and_their_twins_silent() -> Result {
    let told = said("catalog run 2 5 7 8 15 16 24 29 37 40 51 54 61 62 63", 0)?;
    assert!(told.contains("18 of 18 named"), "{told}");
    Ok(())
}

#[test]
fn correct_drivers_are_silent() -> Result {
    let told = said(
        "catalog gallery --legs plain,iommu,high own two-cpus gather halves lists-in-irq timer pool narrow rebind bidirectional",
        0,
    )?;
    assert!(told.contains("30 of 30 silent"), "{told}");
    Ok(())
}

#[test]
fn stock_drivers_are_judged_and_modules_are_built() -> Result {
    let told = said(
        "exec --card dt3155 --legs plain,iommu,swiotlb,high -- dd if=/dev/video0 of=/dev/null bs=307200 count=3",
        0,
    )?;
    assert!(told.contains("exec: clean"), "{told}");
    let told = said(
        "exec --card nvme --legs plain,iommu -- dd if=/dev/nvme0n1 of=/dev/null bs=65536 count=16",
        0,
    )?;
    assert!(told.contains("exec: clean"), "{told}");

    let sources = tempfile::tempdir()?;
    std::fs::write(sources.path().join("Kbuild"), "obj-m := here.o\n")?;
    let source = "#include <linux/module.h>\nstatic int __init in(void) { return 0; }\n\
                  module_init(in);\nMODULE_DESCRIPTION(\"x\");\nMODULE_LICENSE(\"GPL\");\n";
    std::fs::write(sources.path().join("here.c"), source)?;
    let directory = sources.path().display();
    let told = said(&format!("build-module --output {directory} {directory}"), 0)?;
    assert!(told.contains(OTHER), "{told}");

    // It is none for the usual guests.
    let module = sources.path().join("here.ko");
    let ran = landfall()
        .args(["exec", "--card", "dt3155", "--driver"])
        .arg(&module)
        .args(["--", "true"])
        .output()?;
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(3), "{told}");
    assert!(told.contains("was built for Linux "), "{told}");
    Ok(())
}

/// What cannot be had there is refused with the reason, and a program of the host's is not sent.
#[test]
fn what_cannot_be_had_is_refused_in_words() -> Result {
    for (command, code, why) in [
        ("run --place below-16m", 2, "`memmap=`"),
        ("run --address-bits 24", 2, "begins at 1024 MiB"),
        ("run --low-memory 128M", 2, "in one piece"),
        (
            "catalog run 1 --kernel-series 6.1",
            3,
            "no kernel series 6.1 for arm64",
        ),
        ("setup --debug-kernel", 3, "built for amd64 alone"),
        (
            "exec --card dt3155 --file /bin/true:/opt/program -- /opt/program",
            3,
            "a program for amd64",
        ),
    ] {
        let told = said(command, code)?;
        assert!(told.contains(why), "{command}: {told}");
    }
    Ok(())
}
