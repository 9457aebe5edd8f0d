// SPDX-License-Identifier: MIT OR Apache-2.0

//! What happens when a part dies: the failure is named at once, and nothing is left behind.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use landfall::Cancel;
use landfall::guest::{EvidenceOptions, Guest, GuestOptions, What};
use landfall_suite::capture::Device;
use landfall_tests::errno::EIO;
use landfall_tests::{
    Result, SHORT, assert_refused, boot, boot_loaded, children_of, landfall, prepared,
    start_capture, with_capture_card,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The card's server dies in the middle of a frame: the driver notices, unbinds and unloads, and the guest
/// lives on.
#[test]
fn a_dead_card_server_does_not_take_the_guest_along() -> Result {
    let guest = boot_loaded(with_capture_card())?;
    let card = Device::open(&guest, 0)?;
    start_capture(&card)?;

    guest.kill_card(0);

    assert_refused(card.stop(), EIO);
    card.close()?;
    guest.unload_module("landfall_capture")?;
    assert_eq!(guest.used()?, [], "everything is back in the pool");
    Ok(guest.power_off()?)
}

/// A guest that panics is reported at once, with the kernel's own line and the evidence.
#[test]
fn a_guest_panic_is_reported_with_its_line_and_evidence() -> Result {
    let directory = tempfile::tempdir()?;
    let guest = boot(GuestOptions {
        evidence: EvidenceOptions {
            directory: Some(directory.path().join("evidence")),
            keep: false,
        },
        ..with_capture_card()
    })?;
    let began = Instant::now();

    guest.write_file("/proc/sys/kernel/sysrq", "1")?;
    let failed = guest
        .write_file("/proc/sysrq-trigger", "c")
        .expect_err("the guest is dead");

    assert!(
        matches!(
            *failed.what,
            What::Panicked { .. } | What::KernelFault { .. }
        ),
        "{failed}"
    );
    let line = failed.kernel_line.expect("a line");
    assert!(
        line.contains("panic") || line.contains("Oops") || line.contains("BUG"),
        "{line}"
    );
    let console = fs::read_to_string(failed.evidence.expect("evidence").join("console.log"))?;
    assert!(console.contains("sysrq triggered crash"), "{console}");
    assert!(began.elapsed() < SHORT, "at once");
    Ok(())
}

/// Ctrl-C in the middle of a boot: exit code 130, and no process, socket or directory is left.
#[test]
fn ctrl_c_leaves_nothing_behind() -> Result {
    prepared();
    let temporary = tempfile::tempdir()?;
    let mut running = landfall()
        .args(["run", "--accel", "tcg"])
        .env("TMPDIR", temporary.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    // Nobody reads on: that must not disturb it.
    drop(running.stderr.take());
    let children = wait_for_children(running.id())?;

    let pid = Pid::from_raw(i32::try_from(running.id())?);
    kill(pid, Signal::SIGINT)?;
    let status = running.wait()?;

    assert_eq!(status.code(), Some(130));
    for child in children {
        assert!(
            !fs::exists(format!("/proc/{child}"))?,
            "process {child} is left"
        );
    }
    let left: Vec<_> = fs::read_dir(temporary.path())?.collect();
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

/// Whoever asked first may have passed over it; the guest is not blamed for that later.
#[test]
fn a_guest_that_was_interrupted_says_so_however_often_it_is_asked() -> Result {
    let cancel = Cancel::default();
    let guest = Guest::configure(GuestOptions::default()).boot(prepared(), &cancel)?;

    cancel.cancel();

    for _ in 0..2 {
        let asked = guest.read_text("/proc/version");
        let failed = asked.err().ok_or("it answers")?;
        assert!(
            matches!(*failed.what, What::Interrupted) && !failed.is_guests(),
            "{failed}"
        );
    }
    Ok(())
}

/// A harness that is killed takes its guest with it, and the next run clears what it left.
#[test]
fn a_killed_harness_takes_its_guest_along() -> Result {
    prepared();
    let temporary = tempfile::tempdir()?;
    let mut running = landfall()
        .args(["run", "--accel", "tcg"])
        .env("TMPDIR", temporary.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let children = wait_for_children(running.id())?;

    running.kill()?;
    running.wait()?;

    let deadline = Instant::now() + SHORT;
    while children
        .iter()
        .any(|child| fs::exists(format!("/proc/{child}")).unwrap_or(true))
    {
        assert!(
            Instant::now() < deadline,
            "QEMU outlived its harness by {} s",
            SHORT.as_secs()
        );
        std::thread::yield_now();
    }
    Ok(())
}

/// Waits until a process has started others: QEMU.
fn wait_for_children(process: u32) -> Result<Vec<u32>> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let children = children_of(process)?;
        if !children.is_empty() {
            return Ok(children);
        }
        assert!(
            Instant::now() < deadline,
            "QEMU was not started within 60 s"
        );
        std::thread::yield_now();
    }
}

/// Where others can write too, what they put there holds nobody up; and where QEMU cannot be told of, nothing is put.
#[test]
fn a_directory_for_temporary_files_can_be_anything() -> Result {
    use std::os::unix::ffi::OsStrExt;

    prepared();
    let temporary = tempfile::tempdir()?;
    let odd = temporary
        .path()
        .join(std::ffi::OsStr::from_bytes(b"a,b\xff"));
    let shared = temporary.path().join("shared");
    fs::create_dir_all(&shared)?;
    fs::create_dir(&odd)?;
    let trap = shared.join("landfall-run.trap");
    nix::unistd::mkfifo(&trap, nix::sys::stat::Mode::S_IRWXU)?;
    for place in [&shared, &odd] {
        let ran = landfall()
            .args(["run", "--frames", "1"])
            .env("TMPDIR", place)
            .output()?;
        assert_eq!(ran.status.code(), Some(0), "{place:?}: {ran:?}");
    }
    assert!(trap.exists());
    Ok(())
}

/// A command line that the kernel would cut is refused before anything boots.
#[test]
fn a_command_line_that_is_too_long_is_refused_at_once() -> Result {
    prepared();
    let words = "x".repeat(2048);
    let temporary = tempfile::tempdir()?;
    let ran = landfall()
        .args(["run", "--append", &words])
        .env("TMPDIR", temporary.path())
        .output()?;
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(2), "{said}");
    assert!(said.contains("takes 2047"), "{said}");
    let left = fs::read_dir(temporary.path())?.count();
    assert_eq!(left, 0, "it is no failure of the guest's: {said}");
    Ok(())
}

/// A part of the set-up that was cut short, or is gone, is noticed before a guest can suffer from it, and made anew.
#[test]
fn a_damaged_part_of_the_set_up_heals() -> Result {
    let directory = tempfile::tempdir()?;
    let (cache, initramfs) = (directory.path(), &prepared().initramfs);
    // A cache like the usual one, with an initramfs of its own.
    let entries = &prepared().cache.join("entries");
    let own = initramfs.strip_prefix(entries)?;
    let own_entry = own.parent().ok_or("an entry")?;
    fs::create_dir(cache.join("entries"))?;
    let copy = |from: &Path, to: &Path| -> Result {
        let copied = Command::new("cp").arg("-a").arg(from).arg(to).status()?;
        assert!(copied.success(), "{from:?}");
        Ok(())
    };
    copy(&prepared().cache.join("setups"), cache)?;
    copy(&entries.join(own_entry), &cache.join("entries"))?;
    for entry in fs::read_dir(entries)? {
        let entry = entry?;
        if Path::new(&entry.file_name()) != own_entry {
            let link = cache.join("entries").join(entry.file_name());
            std::os::unix::fs::symlink(entry.path(), link)?;
        }
    }
    let setup = |words: &[&str]| -> Result<String> {
        let mut command = landfall();
        command.args(["setup", "--cache"]).arg(cache).args(words);
        let output = command.output()?;
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let healed = |said: &str| said.contains("initramfs is damaged or gone, and is made anew");
    let part = cache.join("entries").join(own);
    let whole = fs::read(&part)?;
    assert!(!healed(&setup(&[])?), "it is whole");

    fs::write(&part, &whole[..whole.len() / 2])?;
    assert!(healed(&setup(&[])?), "cut short");
    assert!(fs::read(&part)? == whole);

    fs::remove_file(&part)?;
    assert!(healed(&setup(&[])?), "gone");
    assert!(fs::read(&part)? == whole);

    // A bit, and the time as it was: only a checksum tells.
    let then = fs::metadata(&part)?.modified()?;
    let mut bytes = whole.clone();
    bytes[whole.len() / 2] ^= 1;
    fs::write(&part, bytes)?;
    fs::File::options()
        .append(true)
        .open(&part)?
        .set_modified(then)?;
    assert!(!healed(&setup(&[])?));
    assert!(healed(&setup(&["--verify"])?), "a bit");
    assert!(fs::read(&part)? == whole);
    assert!(!healed(&setup(&["--verify"])?), "it is whole");

    // Much of it, and the time as it was: no guest starts, and that is not the guest's fault.
    let then = fs::metadata(&part)?.modified()?;
    fs::write(&part, vec![0; whole.len()])?;
    fs::File::options()
        .append(true)
        .open(&part)?
        .set_modified(then)?;
    let ran = landfall()
        .args(["run", "--frames", "1", "--cache"])
        .arg(cache)
        .env("TMPDIR", directory.path())
        .output()?;
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(3), "{said}");
    assert!(said.contains("parts of the set-up are damaged"), "{said}");
    setup(&[])?;
    assert!(fs::read(&part)? == whole);
    Ok(())
}

/// What a script says that sees mounts of its own; `None`, and a word about it, where this user cannot have any.
fn with_own_mounts(script: &str) -> Result<Option<(Option<i32>, String)>> {
    let mut command = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--mount", "--propagation", "private", "sh", "-ec"]);
    let landfall = landfall();
    let output = command
        .arg(format!("{script}\nexec \"$@\" 2>&1"))
        .arg("sh")
        .arg(landfall.get_program())
        .args(["run", "--frames", "1"])
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let failed = String::from_utf8_lossy(&output.stderr);
    if !failed.is_empty() {
        let why = format!("skipped: no mounts of one's own here: {failed}");
        writeln!(std::io::stderr(), "{why}")?;
        return Ok(None);
    }
    Ok(Some((output.status.code(), said)))
}

/// A cache in an image of a container, say: what guests leave goes elsewhere, and the second one is restored.
#[test]
fn a_cache_that_cannot_be_written_is_used() -> Result {
    let cache = prepared().cache.display();
    let temporary = tempfile::tempdir()?;
    let script = format!(
        "mount --bind {cache} {cache}; mount -o remount,bind,ro {cache}; export TMPDIR={}; \
         \"$@\" >/dev/null",
        temporary.path().display()
    );
    let Some((code, said)) = with_own_mounts(&script)? else {
        return Ok(());
    };
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("restore "), "{said}");
    let left: Vec<_> = fs::read_dir(temporary.path())?.collect::<std::result::Result<_, _>>()?;
    let user = nix::unistd::geteuid();
    let names: Vec<_> = left.iter().map(fs::DirEntry::file_name).collect();
    assert!(
        matches!(&names[..], [one] if one.to_string_lossy().starts_with("landfall-")),
        "{names:?}, {user}"
    );
    Ok(())
}

/// A full disk is told as that, wherever it shows first, and nobody else is blamed.
#[test]
fn a_full_disk_is_blamed_itself() -> Result {
    prepared();
    let place = tempfile::tempdir()?;
    let place = place.path().display();
    // Room for nothing, for the run's directory, for a part of the console.
    for room in ["size=4k,nr_inodes=2", "size=8k", "size=16k"] {
        let script = format!(
            "mount -t tmpfs -o {room} tmpfs {place}; export TMPDIR={place}; set -- \"$@\" --cold --append ignore_loglevel"
        );
        let Some((code, said)) = with_own_mounts(&script)? else {
            return Ok(());
        };
        assert_eq!(code, Some(3), "{room}: {said}");
        assert!(said.contains("No space left on device"), "{room}: {said}");
    }
    Ok(())
}
