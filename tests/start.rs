// SPDX-License-Identifier: MIT OR Apache-2.0

//! How guests come to life: from snapshots, cold, as the distribution boots; many at once.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use landfall::Cancel;
use landfall::guest::{Guest, GuestOptions, How, Iommu, Loaded, PoolOptions, Start, Transport};
use landfall_cards::capture::CaptureOptions;
use landfall_device::contract::InterruptKind;
use landfall_guest::{Claim, Prepared, SNAPSHOT_LIMIT, Snapshots};
use landfall_suite::capture::{self, Device};
use landfall_suite::run::CapturePlan;
use landfall_tests::{Result, SHORT, boot_loaded, capture_clean, prepared, with_capture_card};

const RESTORED: How = How::Restored { made: false };
const MIB: u64 = 1 << 20;
/// How far a guest's clock may be off; `date` shows whole seconds.
const TOLERANCE: Duration = Duration::from_secs(3);

const CLOCK_SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

/// Small enough that its snapshot is made and read in no time.
fn small() -> GuestOptions {
    GuestOptions {
        memory: 128 * MIB,
        pool: PoolOptions {
            size: 2 * MIB,
            ..PoolOptions::default()
        },
        ..with_capture_card()
    }
}

fn start(start: Start) -> GuestOptions {
    GuestOptions {
        start,
        ..with_capture_card()
    }
}

/// The same set-up with a place for snapshots that nobody else uses.
fn with_own_snapshots(directory: &Path) -> Prepared {
    Prepared {
        snapshots: Snapshots::new(directory, SNAPSHOT_LIMIT, "test"),
        ..prepared().clone()
    }
}

fn restore(options: GuestOptions, prepared: &Prepared) -> landfall::guest::Result<Guest<Loaded>> {
    Guest::configure(options).boot_loaded(prepared, &Cancel::default())
}

/// Captures on card 0, which must be clean, and powers off.
fn captures_clean(guest: Guest<Loaded>) -> Result {
    capture_clean(&guest, &Device::open(&guest, 0)?, &CapturePlan::default())?;
    Ok(guest.power_off()?)
}

/// A guest from a snapshot is the guest that boots cold: the same kernel, command line, modules and pool.
#[test]
fn a_restored_guest_is_the_one_that_boots_cold() -> Result {
    drop(boot_loaded(start(Start::Restored))?);
    let restored = boot_loaded(start(Start::Restored))?;
    let cold = boot_loaded(start(Start::Cold))?;

    assert_eq!(restored.started().how, RESTORED);
    assert!(matches!(cold.started().how, How::Cold { .. }));
    let words = |file| -> Result<Vec<String>> {
        let texts = [&restored, &cold].map(|guest| guest.read_text(file));
        Ok(texts.into_iter().collect::<landfall::guest::Result<_>>()?)
    };
    for file in [
        "/proc/cmdline",
        "/proc/version",
        "/proc/iomem",
        "/sys/kernel/debug/landfall_pool/regions",
    ] {
        let texts = words(file)?;
        assert_eq!(texts[0], texts[1], "{file}");
    }
    assert_eq!(restored.list("/sys/module")?, cold.list("/sys/module")?);
    assert_eq!(restored.read_text(CLOCK_SOURCE)?.trim(), "tsc");
    captures_clean(restored)?;
    captures_clean(cold)
}

/// The same with a copy of the two snapshots of [`small`], and when they were made: a boot less.
fn with_a_copy(directory: &Path) -> Result<(Prepared, SystemTime)> {
    let own = with_own_snapshots(directory);
    let began = SystemTime::now();
    drop(boot_loaded(small())?);
    let of_small = format!("\"memory\":{},", small().memory);
    let mut written = BTreeMap::new();
    for entry in fs::read_dir(prepared().cache.join("snapshots"))? {
        let entry = entry?;
        // The time of a snapshot is that of its last use. What is held is not removed, nor is it half made.
        let used = entry.metadata().and_then(|status| status.modified());
        if used.map_or(true, |used| used < began) {
            continue;
        }
        let name = entry.file_name().into_string().expect("a key");
        let shared = &prepared().snapshots;
        let Ok(Claim::Ready(held)) = shared.claim(&name, Duration::ZERO, &Cancel::default()) else {
            continue;
        };
        if !fs::read_to_string(held.file("manifest"))?.contains(&of_small) {
            continue;
        }
        let to = directory.join("snapshots").join(&name);
        fs::create_dir_all(&to)?;
        let mut made = SystemTime::UNIX_EPOCH;
        for file in fs::read_dir(entry.path())? {
            let file = file?;
            made = made.max(file.metadata()?.modified()?);
            fs::copy(file.path(), to.join(file.file_name()))?;
        }
        written.insert(to, made);
    }
    // Whoever shares the cache may have used guests of that size, too: theirs are not what this one comes from.
    let began = SystemTime::now();
    let guest = restore(small(), &own)?;
    assert_eq!(guest.started().how, RESTORED);
    guest.quit()?;
    for path in written.keys() {
        if path.metadata()?.modified()? < began {
            fs::remove_dir_all(path)?;
        }
    }
    written.retain(|path, _| path.exists());
    let made = written.into_values().max().ok_or("two snapshots")?;
    Ok((own, made))
}

/// What must differ between guests of one snapshot does, and each has the host's time, not the snapshot's.
#[test]
fn twins_differ_and_have_the_right_time() -> Result {
    let directory = tempfile::tempdir()?;
    let (prepared, made) = with_a_copy(directory.path())?;
    let mut twins = Vec::new();

    // Until the snapshot is old enough that a clock that was not set would show it.
    while twins.len() < 2 || made.elapsed()? < 2 * TOLERANCE {
        let guest = restore(small(), &prepared)?;
        assert_eq!(guest.started().how, RESTORED);
        let before = SystemTime::now();
        let clock = guest.run(&["/bin/busybox", "date", "+%s"], SHORT)?;
        let clock = SystemTime::UNIX_EPOCH + Duration::from_secs(clock.stdout.trim().parse()?);
        let right = before - TOLERANCE..SystemTime::now() + TOLERANCE;
        assert!(right.contains(&clock), "{clock:?} is not in {right:?}");
        twins.push((
            Device::open(&guest, 0)?.info()?.selftest_nonce,
            guest.read_file_at("/dev/urandom", 0, 16)?,
            guest.read_text("/proc/sys/kernel/random/boot_id")?,
        ));
        guest.power_off()?;
    }

    for (at, one) in twins.iter().enumerate() {
        for other in &twins[at + 1..] {
            assert_ne!(one.0, other.0, "the driver's nonce");
            assert_ne!(one.1, other.1, "random bytes");
            assert_ne!(one.2, other.2, "the boot's name");
        }
    }
    assert!(twins.len() > 1, "twins");
    Ok(())
}

/// A snapshot with a wrong byte, in memory or in the machine's state, its own or of the one that it is made of, is made
/// anew and never used.
#[test]
fn a_damaged_snapshot_is_made_anew() -> Result {
    let directory = tempfile::tempdir()?;
    let (prepared, _) = with_a_copy(directory.path())?;

    for (own, other) in [
        ("ram", None),
        ("ram", Some("state")),
        ("state", Some("ram")),
    ] {
        let mut both = snapshots(directory.path())?;
        let made_of = |path: &PathBuf| fs::read_to_string(path.join("manifest"));
        if !made_of(&both[0])?.contains("\"base\":{") {
            both.reverse();
        }
        damage(&both[0].join(own))?;
        if let Some(other) = other {
            damage(&both[1].join(other))?;
        }

        let guest = restore(small(), &prepared)?;

        let said = format!("{own}, {other:?}");
        assert_eq!(guest.started().how, How::Restored { made: true }, "{said}");
        captures_clean(guest)?;
        let again = restore(small(), &prepared)?;
        assert_eq!(
            again.started().how,
            RESTORED,
            "{said}: the new one is whole"
        );
        again.quit()?;
    }
    Ok(())
}

/// Flips a bit in the middle of a file.
fn damage(path: &Path) -> Result {
    let mut bytes = fs::read(path)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    Ok(fs::write(path, bytes)?)
}

/// The guest's, and the one that it is made of, which has no modules.
fn snapshots(cache: &Path) -> Result<[PathBuf; 2]> {
    let entries = fs::read_dir(cache.join("snapshots"))?;
    let paths: Vec<_> = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    Ok(paths.try_into().expect("two snapshots"))
}

/// Where QEMU has to move the memory itself, restored guests work as well.
#[test]
fn mapped_ram_restores_too() -> Result {
    let directory = tempfile::tempdir()?;
    let prepared = with_own_snapshots(directory.path());
    let options = GuestOptions {
        transport: Some(Transport::Mapped),
        ..small()
    };

    restore(options.clone(), &prepared)?.quit()?;
    for snapshot in snapshots(directory.path())? {
        assert!(!snapshot.join("ram").exists(), "the harness packed nothing");
    }
    let guest = restore(options, &prepared)?;

    assert_eq!(guest.started().how, RESTORED);
    captures_clean(guest)
}

/// Behind an IOMMU a restored guest maps and captures as one that booted.
#[test]
fn behind_an_iommu_a_restored_guest_captures() -> Result {
    let options = GuestOptions {
        iommu: Iommu::Strict,
        ..with_capture_card()
    };
    drop(boot_loaded(options.clone())?);
    let guest = boot_loaded(options)?;

    assert_eq!(guest.started().how, RESTORED);
    let card = Device::open(&guest, 0)?;
    capture_clean(&guest, &card, &CapturePlan::default())?;
    let lends = card.lends()?;
    assert!(
        lends.iter().any(|lend| lend.dma != lend.phys),
        "bus addresses are not physical ones: {lends:x?}"
    );
    drop(card);
    Ok(guest.power_off()?)
}

/// With arguments of the user's own for QEMU a guest boots cold by itself, and says why.
#[test]
fn what_a_snapshot_cannot_know_boots_cold_by_itself() -> Result {
    let guest = boot_loaded(GuestOptions {
        qemu_arguments: vec!["-name".into(), "mine".into()],
        ..with_capture_card()
    })?;

    match guest.started().how {
        How::Cold { why } => assert!(why.contains("arguments of your own"), "{why}"),
        how => panic!("{how:?}"),
    }
    captures_clean(guest)
}

/// A kernel that still runs on the clock of its early boot is not put into a snapshot: it would patch its code for the
/// other clock in the restored guest, which TCG does not bear when each CPU has a thread.
#[test]
fn a_kernel_whose_clock_does_not_settle_boots_cold() -> Result {
    let directory = tempfile::tempdir()?;
    let never_settles = GuestOptions {
        append: "initcall_blacklist=init_tsc_clocksource".to_owned(),
        ..small()
    };

    let guest = restore(never_settles, &with_own_snapshots(directory.path()))?;

    match guest.started().how {
        How::Cold { why } => assert!(why.contains("clock of its early boot"), "{why}"),
        how => panic!("{how:?}"),
    }
    assert_eq!(guest.read_text(CLOCK_SOURCE)?.trim(), "tsc-early");
    captures_clean(guest)
}

/// A cold boot finds every card in its place, whatever it interrupts with.
#[test]
fn a_cold_boot_finds_cards_of_every_kind() -> Result {
    let card = |interrupt| {
        capture::card(CaptureOptions {
            interrupt,
            ..CaptureOptions::default()
        })
    };
    let guest = boot_loaded(GuestOptions {
        cards: vec![card(InterruptKind::Msix), card(InterruptKind::Msix)],
        drivers: vec![capture::driver(InterruptKind::Msix, "")],
        ..start(Start::Cold)
    })?;

    for index in 0..2 {
        capture_clean(
            &guest,
            &Device::open(&guest, index)?,
            &CapturePlan::default(),
        )?;
    }
    Ok(guest.power_off()?)
}

/// As the distribution boots it, with none of the options that save time, all works the same.
#[test]
fn a_stock_boot_captures() -> Result {
    let guest = boot_loaded(start(Start::Stock))?;

    let words = guest.read_text("/proc/cmdline")?;
    let given: Vec<_> = words
        .split_whitespace()
        .filter(|word| !word.starts_with("reserve_mem="))
        .collect();
    assert_eq!(given, ["console=ttyS0"]);
    captures_clean(guest)
}

/// Four guests of one snapshot at once, each with a card of its own, disturb each other in nothing.
#[test]
fn many_guests_at_once_do_not_disturb_each_other() -> Result {
    drop(boot_loaded(small())?);
    let options = || GuestOptions {
        jobs: 4.try_into().ok(),
        ..small()
    };
    let one = || -> std::result::Result<(), String> {
        let guest = boot_loaded(options()).map_err(|failed| failed.to_string())?;
        captures_clean(guest).map_err(|failed| failed.to_string())
    };

    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let guests: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
        guests.into_iter().map(|guest| guest.join()).collect()
    });

    for outcome in outcomes {
        assert_eq!(outcome.expect("no panic"), Ok(()));
    }
    Ok(())
}

/// Used lazily, the IOMMU lets go of what was unmapped later than the driver unmapped it.
#[test]
fn a_lazy_iommu_is_lazy() -> Result {
    let options = GuestOptions {
        iommu: Iommu::Lazy,
        ..with_capture_card()
    };
    let guest = boot_loaded(options)?;

    let kind = guest.read_text("/sys/bus/pci/devices/0000:01:00.0/iommu_group/type")?;
    assert_eq!(kind.trim(), "DMA-FQ");
    let card = Device::open(&guest, 0)?;
    capture_clean(&guest, &card, &CapturePlan::default())?;
    Ok(())
}
