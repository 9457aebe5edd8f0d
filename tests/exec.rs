// SPDX-License-Identifier: MIT OR Apache-2.0

//! Anybody's card, driver and program, from the command line to the exit code.

use std::io::Write;
use std::path::Path;
use std::process::{Output, Stdio};

use landfall_tests::{Result, landfall};

const OWN: &str = "image:landfall_gallery pattern=own";
const BUG: &str = "image:landfall_gallery bug=written-back";

/// Runs the command in that directory, where its temporary files go too.
fn run(directory: &Path, words: &[&str]) -> Result<Output> {
    let mut command = landfall();
    command.current_dir(directory).env("TMPDIR", directory);
    Ok(command.args(words).output()?)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

#[test]
fn a_driver_that_is_right_is_clean_and_its_programs_output_is_shown() -> Result {
    let directory = tempfile::tempdir()?;
    let program = ["--", "sh", "-c", "echo $((6 * 7))"];
    let words = ["exec", "--card", "ring", "--driver", OWN, "--json", "j"];

    let ran = run(directory.path(), &[&words[..], &program].concat())?;

    assert_eq!(code(&ran), 0, "{ran:?}");
    assert!(text(&ran).contains("42\n"), "{}", text(&ran));
    assert!(text(&ran).contains("exec: clean\n"), "{}", text(&ran));
    let json = std::fs::read_to_string(directory.path().join("j"))?;
    for word in ["\"stdout\": \"42\\n\"", "\"outcome\": \"clean\""] {
        assert!(json.contains(word), "{word}: {json}");
    }
    std::fs::remove_file(directory.path().join("j"))?;
    assert_eq!(std::fs::read_dir(directory.path())?.count(), 0);
    Ok(())
}

#[test]
fn a_bug_is_named_and_its_bundle_repeats_the_run() -> Result {
    let directory = tempfile::tempdir()?;
    let bundle = "b.tar.zst";
    let words = [
        "exec", "--card", "ring", "--driver", BUG, "--bundle", bundle,
    ];

    let ran = run(directory.path(), &words)?;

    assert_eq!(code(&ran), 1, "{ran:?}");
    assert!(text(&ran).contains("class 59"), "{}", text(&ran));
    let left = directory.path().join("b-exec-plain-ring.tar.zst");
    let again = run(
        directory.path(),
        &["replay", "--live", left.to_str().ok_or("text")?],
    )?;
    assert_eq!(code(&again), 0, "{again:?}");
    assert!(text(&again).contains("the same as recorded"), "{again:?}");
    Ok(())
}

#[test]
fn a_program_that_fails_and_one_that_is_not_there_are_told_apart() -> Result {
    let directory = tempfile::tempdir()?;
    let words = ["exec", "--card", "ring", "--driver", OWN, "--"];
    let with = |program: &[&str]| run(directory.path(), &[&words[..], program].concat());

    let fails = with(&["sh", "-c", "echo no >&2; exit 3"])?;
    assert_eq!(code(&fails), 1, "{fails:?}");
    assert!(text(&fails).contains("ended with 3: no"), "{fails:?}");

    let nowhere = with(&["no-such-program"])?;
    assert_eq!(code(&nowhere), 4, "{nowhere:?}");
    let said = String::from_utf8_lossy(&nowhere.stderr);
    assert!(
        said.contains("`no-such-program` did not run on plain"),
        "{said}"
    );
    assert!(said.contains("--package"), "{said}");
    Ok(())
}

#[test]
fn a_shell_ends_with_a_verdict() -> Result {
    let directory = tempfile::tempdir()?;
    let shell = |driver: &str, typed: &str| -> Result<Output> {
        let mut command = landfall();
        command
            .current_dir(directory.path())
            .env("TMPDIR", directory.path());
        command.args(["shell", "--card", "ring", "--driver", driver]);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = command.stderr(Stdio::piped()).spawn()?;
        let mut typing = shell.stdin.take().ok_or("a pipe")?;
        typing.write_all(typed.as_bytes())?;
        let ended = shell.wait_with_output()?;
        drop(typing);
        Ok(ended)
    };

    let right = shell(OWN, "echo $((6 * 7)); exit\n")?;
    assert_eq!(code(&right), 0, "{right:?}");
    assert!(text(&right).contains("42"), "{}", text(&right));
    assert!(text(&right).contains("shell: clean"), "{}", text(&right));

    let off = shell(OWN, "poweroff -f\n")?;
    assert_eq!(code(&off), 0, "{off:?}");

    let wrong = shell(BUG, "exit\n")?;
    assert_eq!(code(&wrong), 1, "{wrong:?}");
    assert!(text(&wrong).contains("class 59"), "{}", text(&wrong));
    Ok(())
}

#[test]
fn a_project_is_tested_and_told_to_people_and_machines() -> Result {
    let directory = tempfile::tempdir()?;
    let project = format!(
        "cards = [\"ring\"]\ndrivers = [\"{OWN}\"]\n\
         [[test]]\nname = \"right\"\nlegs = [\"plain\", \"swiotlb\"]\nrun = \"true\"\n\
         [[test]]\nname = \"wrong\"\ndrivers = [\"{BUG}\"]\nexpect = 59\n\
         [[test]]\nname = \"a surprise\"\ndrivers = [\"{BUG}\"]\n"
    );
    std::fs::write(directory.path().join("landfall.toml"), project)?;

    let ran = run(directory.path(), &["test", "--junit", "j.xml", "--github"])?;
    assert_eq!(code(&ran), 1, "{ran:?}");
    let told = text(&ran);
    for line in ["passed  right (", "passed  wrong (", "FAILED  a surprise ("] {
        assert!(told.contains(line), "{line}: {told}");
    }
    assert!(told.ends_with("2 of 3 passed\n"), "{told}");
    let annotations = told.lines().filter(|line| line.starts_with("::error "));
    let annotations: Vec<_> = annotations.collect();
    let [one] = annotations[..] else {
        panic!("one annotation: {told}");
    };
    assert!(
        one.starts_with("::error title=landfall%3A a surprise::"),
        "{one}"
    );
    let xml = std::fs::read_to_string(directory.path().join("j.xml"))?;
    assert!(
        xml.contains("tests=\"3\"") && xml.contains("failures=\"1\""),
        "{xml}"
    );

    let ran = run(directory.path(), &["test", "--ktap", "right", "wrong"])?;
    assert_eq!(code(&ran), 0, "{ran:?}");
    assert_eq!(text(&ran), "KTAP version 1\n1..2\nok 1 right\nok 2 wrong\n");
    Ok(())
}

#[test]
fn a_module_is_built_and_what_a_compiler_says_is_shown() -> Result {
    let directory = tempfile::tempdir()?;
    let source = directory.path().join("hello");
    std::fs::create_dir(&source)?;
    std::fs::write(source.join("Kbuild"), "obj-m := hello.o\n")?;
    let write = |body: &str| {
        let text = format!(
            "#include <linux/module.h>\nstatic int __init hello(void)\n{{\n{body}\n\treturn 0;\n}}\n\
             module_init(hello);\nMODULE_LICENSE(\"GPL\");\nMODULE_DESCRIPTION(\"hello\");\n"
        );
        std::fs::write(source.join("hello.c"), text)
    };
    write("\tint unused;")?;
    let built = run(
        directory.path(),
        &["build-module", "hello", "--output", "."],
    )?;
    assert_eq!(code(&built), 0, "{built:?}");
    let warned = String::from_utf8_lossy(&built.stderr);
    assert!(warned.contains("unused variable"), "{warned}");
    assert!(directory.path().join("hello.ko").is_file());
    assert!(directory.path().join("hello.ko.debug").is_file());

    // A run of the capture driver says nothing of it, and so refuses.
    let run_with = run(directory.path(), &["run", "--module", "hello.ko"])?;
    assert_eq!(code(&run_with), 2, "{run_with:?}");
    let said = String::from_utf8_lossy(&run_with.stderr);
    assert!(said.contains("landfall exec --driver hello.ko"), "{said}");

    write("\tno_such_function();")?;
    let refused = run(directory.path(), &["build-module", "hello"])?;
    assert_eq!(code(&refused), 4, "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        said.contains("hello.c:4") && said.contains("no_such_function"),
        "{said}"
    );
    Ok(())
}
