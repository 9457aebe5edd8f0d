// SPDX-License-Identifier: MIT OR Apache-2.0

//! A clean archive goes through unchanged; every kind of wrong one is refused, named, and leaves nothing.

mod hostile;

use std::error::Error;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use flate2::read::GzDecoder;
use proptest::prelude::*;

use super::*;
use crate::event::{Event, Step};
use crate::host::cancel::Cancel;
use crate::image::embedded::{AGENT_SHA256, SOURCES_SHA256};
use crate::setup::error::SetupError;
use crate::setup::options::SetupOptions;
use crate::setup::plan::Plan;
use crate::setup::prepare;
use crate::setup::prune::prune;
use crate::setup::stamp::{Emulator, Stamp};
use crate::store::cache::Cache;
use crate::store::lock::Lock;

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

/// A directory with a finished set-up in `cache`, small but of the same make.
fn finished() -> Result<(tempfile::TempDir, SetupOptions)> {
    let directory = tempfile::tempdir()?;
    let options = SetupOptions::new(directory.path().join("cache"));
    let cache = Cache::new(&options.cache);
    cache.create()?;
    let entries = cache.entries();
    for (file, contents) in [
        ("qemu-1a/usr/lib64/ld-linux-x86-64.so.2", "loader"),
        ("qemu-1a/usr/bin/qemu-system-x86_64", "emulator"),
        ("qemu-1a/usr/bin/passwd", "setuid in Debian"),
        ("kernel-2b/vmlinux", "kernel"),
        ("kernel-2b/bzImage", "compressed kernel"),
        ("kernel-2b/modules/kernel/big.ko", "stock"),
        ("initramfs-3c/initramfs", "initramfs"),
        ("initramfs-3c/modules", "landfall_pool"),
        ("initramfs-3c/video-0", "v4l-utils"),
    ] {
        let path = entries.join(file);
        fs::create_dir_all(path.parent().ok_or("no parent")?)?;
        fs::write(path, contents)?;
    }
    let qemu = entries.join("qemu-1a");
    for (file, mode) in [("passwd", 0o4755), ("qemu-system-x86_64", 0o755)] {
        fs::set_permissions(
            qemu.join("usr/bin").join(file),
            PermissionsExt::from_mode(mode),
        )?;
    }
    symlink("usr/lib64", qemu.join("lib64"))?;
    symlink("../bin/qemu-system-x86_64", qemu.join("usr/lib64/near"))?;
    symlink("/etc/passwd", qemu.join("usr/outside"))?;
    let stamp = Stamp {
        architecture: "amd64".to_owned(),
        base_key: "base".to_owned(),
        emulator: Emulator::Entry("qemu-1a".to_owned()),
        vmlinux: PathBuf::from("kernel-2b/vmlinux"),
        bzimage: Some(PathBuf::from("kernel-2b/bzImage")),
        initramfs: PathBuf::from("initramfs-3c/initramfs"),
        entries: vec!["initramfs-3c".to_owned()],
        modules: vec!["landfall_pool".to_owned()],
        module_warnings: Vec::new(),
        lock: Lock {
            kmod_sha256: SOURCES_SHA256.to_owned(),
            agent_sha256: AGENT_SHA256.to_owned(),
            qemu_version: "11.1.3".to_owned(),
            ..Lock::default()
        },
        timings: Vec::new(),
        cache_size: 12,
    };
    stamp.save(&cache, &Plan::new(&options)?.key)?;
    Ok((directory, options))
}

/// The same with its archive.
fn exported() -> Result<(tempfile::TempDir, PathBuf)> {
    let (directory, options) = finished()?;
    let file = directory.path().join("setup.tar.gz");
    export(&options, &file, &Cancel::default(), &mut |_| {})?;
    Ok((directory, file))
}

/// Imports into a cache of its own.
fn import_into(cache: &Path, file: &Path) -> std::result::Result<Imported, SetupError> {
    let options = SetupOptions::new(cache);
    import(&options, file, &Cancel::default(), &mut |_| {})
}

/// What a cache has that any set-up could use; empty if an import left nothing.
fn usable(cache: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for directory in ["entries", "setups"] {
        if let Ok(listed) = fs::read_dir(cache.join(directory)) {
            for entry in listed {
                names.push(entry?.file_name().to_string_lossy().into_owned());
            }
        }
    }
    Ok(names)
}

/// Imports a file that must be refused, and gives why.
fn refusal(file: &Path) -> Result<ArchiveError> {
    let cache = tempfile::tempdir()?;
    let imported = import_into(cache.path(), file);
    assert_eq!(
        usable(cache.path())?,
        [""; 0],
        "something stayed of a refused archive"
    );
    match imported {
        Err(SetupError::Import { source, .. }) => Ok(source),
        other => Err(format!("not refused: {other:?}").into()),
    }
}

#[test]
fn a_set_up_that_travelled_is_warm_and_has_no_more_than_guests_need() -> Result {
    let (_directory, file) = exported()?;
    let other = tempfile::tempdir()?;
    let options = SetupOptions::new(other.path());

    let mut steps = Vec::new();
    let imported = import(
        &options,
        &file,
        &Cancel::default(),
        &mut |event| match event {
            Event::StepStarted { step, .. } | Event::StepDone { step, .. } => steps.push(step),
            _ => {}
        },
    )?;
    let prepared = prepare(&options, &Cancel::default(), &mut |event| {
        panic!("a warm set-up does nothing: {event:?}")
    })?;

    assert_eq!(steps, [Step::Import, Step::Import]);
    assert_eq!(imported.entries.len(), 3);
    assert!(prepared.warm && prepared.cache_size > 0);
    assert_eq!(fs::read_to_string(&prepared.vmlinux)?, "kernel");
    assert_eq!(fs::read_to_string(&prepared.initramfs)?, "initramfs");
    let stock = prepared.stock.ok_or("the kernel's own modules")?;
    assert_eq!(fs::read_to_string(stock.join("kernel/big.ko"))?, "stock");
    let [video] = &prepared.video[..] else {
        return Err("one archive for video devices".into());
    };
    assert_eq!(fs::read_to_string(video)?, "v4l-utils");
    assert_eq!(fs::read_to_string(&prepared.qemu.program)?, "loader");
    let names = usable(other.path())?;
    assert!(
        !names.iter().any(|name| name.starts_with("kernel-")),
        "{names:?}"
    );
    let qemu = other.path().join("entries/qemu-1a/usr");
    assert_eq!(fs::read_to_string(qemu.join("lib64/near"))?, "emulator");
    assert!(fs::symlink_metadata(qemu.join("outside")).is_err());
    for program in ["bin/passwd", "bin/qemu-system-x86_64"] {
        let mode = fs::metadata(qemu.join(program))?.permissions().mode();
        assert_eq!(mode & 0o7700, 0o700, "{program}");
    }
    Ok(())
}

#[test]
fn what_was_imported_is_kept_by_prune_and_exports_to_the_same_bytes() -> Result {
    let (directory, file) = exported()?;
    let other = tempfile::tempdir()?;
    import_into(other.path(), &file)?;
    let options = SetupOptions::new(other.path());

    let pruned = prune(&options)?;
    let again = directory.path().join("again.tar.gz");
    export(&options, &again, &Cancel::default(), &mut |_| {})?;

    assert_eq!(pruned.removed, ["logs"]);
    assert!(fs::read(again)? == fs::read(file)?, "the archives differ");
    Ok(())
}

#[test]
fn a_second_import_finds_the_first() -> Result {
    let (_directory, file) = exported()?;
    let other = tempfile::tempdir()?;
    import_into(other.path(), &file)?;

    assert!(import_into(other.path(), &file)?.was_there);
    Ok(())
}

#[test]
fn imports_at_once_share_the_lock_and_one_does_the_work() -> Result {
    let (_directory, file) = exported()?;
    let other = tempfile::tempdir()?;

    let imported = std::thread::scope(|scope| {
        let import = || import_into(other.path(), &file);
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(import)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join())
            .collect::<Vec<_>>()
    });

    let mut worked = 0;
    for imported in imported {
        let imported = imported.map_err(|_| "a thread panicked")??;
        worked += usize::from(!imported.was_there);
    }
    assert_eq!(worked, 1);
    Ok(())
}

#[test]
fn an_entry_that_is_there_is_left_alone() -> Result {
    let (_directory, file) = exported()?;
    let other = tempfile::tempdir()?;
    let loader = other
        .path()
        .join("entries/qemu-1a/usr/lib64/ld-linux-x86-64.so.2");
    fs::create_dir_all(loader.parent().ok_or("no parent")?)?;
    fs::write(&loader, "made here")?;

    let imported = import_into(other.path(), &file)?;

    assert_eq!(imported.kept, ["qemu-1a"]);
    assert_eq!(fs::read_to_string(loader)?, "made here");
    Ok(())
}

#[test]
fn an_entry_that_is_there_but_not_whole_stops_the_import() -> Result {
    let (_directory, file) = exported()?;
    let other = tempfile::tempdir()?;
    fs::create_dir_all(other.path().join("entries/qemu-1a"))?;

    let imported = import_into(other.path(), &file);

    assert!(
        matches!(imported, Err(SetupError::Cache { .. })),
        "{imported:?}"
    );
    assert_eq!(usable(other.path())?, ["qemu-1a"]);
    Ok(())
}

#[test]
fn parts_of_ones_own_do_not_travel() -> Result {
    let (directory, options) = finished()?;
    let module = directory.path().join("own.ko");
    fs::write(&module, "")?;
    let own = SetupOptions {
        modules: vec![module],
        ..options
    };
    let file = directory.path().join("setup.tar.gz");

    let outcome = export(&own, &file, &Cancel::default(), &mut |_| {}).map(|_| ());

    let Err(
        error @ SetupError::Export {
            source: ArchiveError::OwnParts,
            ..
        },
    ) = outcome
    else {
        return Err(format!("{outcome:?}").into());
    };
    assert!(error.hint().is_some_and(|hint| hint.contains("--module")));
    assert!(!file.exists());
    Ok(())
}

#[test]
fn an_export_that_fails_or_is_stopped_leaves_nothing() -> Result {
    let (directory, options) = finished()?;
    let cancel = Cancel::default();
    let out = directory.path().join("out");
    fs::create_dir(&out)?;

    let nowhere = export(&options, &out.join("no/file"), &cancel, &mut |_| {});
    assert!(matches!(
        nowhere,
        Err(SetupError::Export {
            source: ArchiveError::Write(_),
            ..
        })
    ));
    let stopped = export(&options, &out.join("file"), &cancel, &mut |event| {
        if matches!(event, Event::Bytes { .. }) {
            cancel.cancel();
        }
    });

    assert!(matches!(stopped, Err(SetupError::Cancelled)), "{stopped:?}");
    assert_eq!(fs::read_dir(out)?.count(), 0);
    Ok(())
}

#[test]
fn a_stopped_import_leaves_nothing() -> Result {
    let (_directory, file) = exported()?;
    let other = tempfile::tempdir()?;
    let cancel = Cancel::default();

    let options = SetupOptions::new(other.path());
    let stopped = import(&options, &file, &cancel, &mut |event| {
        if matches!(event, Event::Bytes { .. }) {
            cancel.cancel();
        }
    });

    assert!(matches!(stopped, Err(SetupError::Cancelled)), "{stopped:?}");
    assert_eq!(usable(other.path())?, [""; 0]);
    Ok(())
}

#[test]
fn a_file_cut_anywhere_is_refused() -> Result {
    let (directory, file) = exported()?;
    let whole = fs::read(&file)?;
    let cut = directory.path().join("cut");

    let places = (0..32).map(|part| whole.len() * part / 32);
    for length in places.chain(whole.len().saturating_sub(9)..whole.len()) {
        fs::write(&cut, whole.get(..length).ok_or("too long")?)?;
        let why = refusal(&cut)?;
        let named = matches!(why, ArchiveError::Damaged { .. } | ArchiveError::Foreign(_));
        assert!(named, "cut to {length}: {why:?}");
    }
    Ok(())
}

#[test]
fn a_file_with_something_behind_it_is_refused() -> Result {
    let (_directory, file) = exported()?;
    let mut longer = fs::read(&file)?;
    longer.push(0);
    fs::write(&file, longer)?;

    assert!(matches!(refusal(&file)?, ArchiveError::Damaged { .. }));
    Ok(())
}

/// What is in a gzip file, if its checksum is right.
fn unpacked(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut unpacked)?;
    Ok(unpacked)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_file_with_a_flipped_bit_is_refused_or_says_the_same(at in any::<prop::sample::Index>(), bit in 0_u32..8) {
        static CLEAN: LazyLock<Vec<u8>> = LazyLock::new(|| {
            let (_directory, file) = exported().expect("an archive");
            fs::read(file).expect("readable")
        });
        let (clean, mut bytes) = (CLEAN.as_slice(), CLEAN.clone());
        *at.get_mut(&mut bytes) ^= 1 << bit;
        let other = tempfile::tempdir().expect("a directory");
        let (file, cache) = (other.path().join("file"), other.path().join("cache"));
        fs::write(&file, &bytes).expect("writable");

        match import_into(&cache, &file) {
            Err(_) => prop_assert_eq!(usable(&cache).expect("readable"), [""; 0]),
            // A time in gzip's header, or a run of zeros that is copied from elsewhere in it.
            Ok(_) => prop_assert!(unpacked(&bytes).expect("taken") == unpacked(clean).expect("clean")),
        }
    }
}
