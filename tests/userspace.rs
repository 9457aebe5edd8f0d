// SPDX-License-Identifier: MIT OR Apache-2.0

//! User space of the guest takes buffers of the pool: maps them, shares them, and dies with them.

use landfall::guest::{
    Booted, Guest, GuestOptions, POOL_MODULE, PoolBuffer, PoolWanted, held_word,
};
use landfall_tests::errno::{EBUSY, EINVAL, ENOENT, ENOMEM, ENXIO};
use landfall_tests::{Result, assert_refused, boot, with_capture_card};

const PAGE: u64 = 4096;
/// `kill -9`, as a shell reports it.
const KILLED: i32 = 128 + 9;

/// A guest whose pool has 4 MiB from `alloc_contig_pages`.
fn guest() -> Result<Guest<Booted>> {
    let guest = boot(GuestOptions {
        cards: Vec::new(),
        spare_ports: 1,
        ..with_capture_card()
    })?;
    guest.load_module(POOL_MODULE, "source=contig pages=1024")?;
    Ok(guest)
}

fn pages(count: u64) -> PoolWanted {
    PoolWanted {
        bytes: count * PAGE,
        ..PoolWanted::default()
    }
}

/// Bytes that depend on their place.
fn pattern(length: usize) -> Vec<u8> {
    (0_u32..)
        .flat_map(|word| word.wrapping_mul(0x9e37_79b1).to_le_bytes())
        .take(length)
        .collect()
}

fn is_used(guest: &Guest<Booted>, phys: u64) -> Result<bool> {
    Ok(guest.used()?.iter().any(|used| used.base == phys))
}

/// How many entries of page tables, anywhere in the guest's memory, map the page at `phys` uncached (Intel SDM volume 3,
/// 4.5: bit 0 present, bit 4 PCD, bits 12 to 51 the address, bit 63 execute-disable). Of cached ones no number would
/// tell anything: page tables that were freed keep theirs.
fn uncached_entries(guest: &Guest<Booted>, phys: u64) -> Result<usize> {
    let all = guest.read_phys(0..GuestOptions::default().memory)?;
    let (words, _) = all.as_chunks::<8>();
    let entries = words.iter().map(|word| u64::from_le_bytes(*word));
    let is_one = |entry: &u64| entry & 0x800f_ffff_ffff_f011 == 1 << 63 | phys | 0x11;
    Ok(entries.filter(is_one).count())
}

/// What is written through a mapping, cached or not, lies at the physical address that the pool named, and what the
/// host writes there is read.
#[test]
fn a_mapping_is_the_buffer_cached_or_uncached() -> Result {
    let guest = guest()?;
    let pool = guest.pool()?;
    for uncached in [false, true] {
        let buffer = pool.allocate(&PoolWanted {
            uncached,
            ..pages(3)
        })?;
        assert_eq!(buffer.allocated, 3 * PAGE);
        let mapping = pool.map(buffer.handle)?;
        assert_eq!(mapping.bytes(), 3 * PAGE);
        let bytes = pattern(3 * 4096);

        mapping.write(0, &bytes)?;

        let there = guest.read_phys(buffer.phys..buffer.phys + 3 * PAGE)?;
        assert!(there == bytes, "uncached={uncached}: the host's view");
        guest.memory().write(buffer.phys + PAGE, &[0xa5; 16])?;
        assert_eq!(mapping.read(PAGE, 16)?, [0xa5; 16], "uncached={uncached}");
        let entries = uncached_entries(&guest, buffer.phys)?;
        match uncached {
            false => assert_eq!(entries, 0),
            // The kernel's own in the direct map, and the process's.
            true => assert!(entries >= 2, "{entries}"),
        }
        mapping.unmap()?;
        pool.free(buffer.handle)?;
    }
    assert_eq!(guest.used()?, []);
    drop(pool);
    Ok(guest.power_off()?)
}

/// A process that is killed with `kill -9` leaves nothing in the pool, whatever it had mapped; what another one has
/// stays.
#[test]
fn a_killed_process_gives_its_buffer_back() -> Result {
    let guest = guest()?;
    for uncached in [false, true] {
        let victim = guest.hold_pool_buffer(64 * PAGE, uncached)?;
        let other = guest.hold_pool_buffer(2 * PAGE, false)?;
        let (phys, others) = (victim.phys, other.phys);
        for index in [0, 1, 511, 64 * 512 - 1] {
            let at = phys + index * 8;
            let word = guest.read_phys(at..at + 8)?;
            assert_eq!(word, held_word(phys, index).to_le_bytes(), "word {index}");
        }
        assert!(is_used(&guest, phys)? && is_used(&guest, others)?);

        assert_eq!(victim.kill()?, KILLED);

        assert!(!is_used(&guest, phys)?, "uncached={uncached}");
        assert!(is_used(&guest, others)?, "the other process has its own");
        let word = guest.read_phys(others..others + 8)?;
        assert_eq!(word, held_word(others, 0).to_le_bytes());
        other.kill()?;
        assert_eq!(guest.used()?, []);
    }
    Ok(guest.power_off()?)
}

/// A dma-buf keeps its buffer when the file that took it is closed, and a mapping of it when it is closed itself; the
/// last of them gives it back.
#[test]
fn a_dma_buf_outlives_the_file_that_made_it() -> Result {
    let guest = guest()?;
    let pool = guest.pool()?;
    let buffer = pool.allocate(&pages(5))?;
    let shared = pool.export(buffer.handle)?;
    let bytes = pattern(5 * 4096);
    pool.map(buffer.handle)?.write(0, &bytes)?;

    pool.close()?;
    assert!(is_used(&guest, buffer.phys)?, "the dma-buf has it");
    let mapping = shared.map()?;
    assert_eq!(mapping.bytes(), 5 * PAGE);
    shared.close()?;
    assert!(is_used(&guest, buffer.phys)?, "the mapping has it");
    assert!(
        mapping.read(0, 5 * 4096)? == bytes,
        "what was written through the file"
    );

    mapping.unmap()?;
    assert_eq!(guest.used()?, [], "the last one gave it back");
    Ok(guest.power_off()?)
}

/// A handle is of its own file; one that was freed, or never was, is refused, and nothing else changes. A mapping
/// outlives its handle.
#[test]
fn handles_of_others_and_of_nobody_are_refused() -> Result {
    let guest = guest()?;
    let (ours, theirs) = (guest.pool()?, guest.pool()?);
    let PoolBuffer { handle, phys, .. } = ours.allocate(&pages(1))?;

    assert_refused(theirs.free(handle), ENOENT);
    assert_refused(theirs.export(handle), ENOENT);
    assert_refused(ours.free(handle + 1), ENOENT);
    assert_refused(ours.free(u32::MAX), ENOENT);
    assert!(is_used(&guest, phys)?, "a wrong free changes nothing");

    let mapping = ours.map(handle)?;
    ours.free(handle)?;
    assert_refused(ours.free(handle), ENOENT);
    assert_refused(ours.export(handle), ENOENT);
    assert!(is_used(&guest, phys)?, "mapped: still lent");
    assert_refused(mapping.write(PAGE - 4, [0; 8]), EINVAL);
    mapping.unmap()?;
    assert_eq!(guest.used()?, []);
    drop((ours, theirs));
    Ok(guest.power_off()?)
}

/// Requests that make no sense, and requests that nothing fits, are told apart; where a buffer is asked for at an
/// address it is there or nowhere.
#[test]
fn requests_are_kept_to_or_refused() -> Result {
    let guest = guest()?;
    let pool = guest.pool()?;
    let [region] = &guest.regions()?[..] else {
        panic!("one region")
    };

    let with = |change: &dyn Fn(&mut PoolWanted)| {
        let mut wanted = pages(2);
        change(&mut wanted);
        pool.allocate(&wanted)
    };
    assert_refused(with(&|wanted| wanted.bytes = 0), EINVAL);
    assert_refused(with(&|wanted| wanted.alignment = 3 * PAGE), EINVAL);
    assert_refused(with(&|wanted| wanted.boundary = 3), EINVAL);
    assert_refused(with(&|wanted| wanted.address_bits = 65), EINVAL);
    assert_refused(with(&|wanted| wanted.at = region.base + 1), EINVAL);
    assert_refused(with(&|wanted| wanted.bytes = region.bytes * 2), ENOMEM);
    assert_refused(with(&|wanted| wanted.address_bits = 20), ENOMEM);
    assert_refused(
        with(&|wanted| wanted.at = region.base + region.bytes),
        ENOMEM,
    );

    let at = region.base + 64 * PAGE;
    let placed = with(&|wanted| wanted.at = at)?;
    assert_eq!(placed.phys, at);
    assert_refused(with(&|wanted| wanted.at = at), ENOMEM);
    let aligned = with(&|wanted| wanted.alignment = 64 << 10)?;
    assert_eq!(aligned.phys % (64 << 10), 0);
    drop(pool);
    assert_eq!(guest.used()?, [], "closing the file gives all back");
    Ok(guest.power_off()?)
}

/// The smallest gap that fits is taken if asked for, else the lowest.
#[test]
fn best_fit_takes_the_smallest_gap_and_first_fit_the_lowest() -> Result {
    let guest = guest()?;
    let pool = guest.pool()?;
    let large = pool.allocate(&pages(40))?;
    let _between = pool.allocate(&pages(1))?;
    let small = pool.allocate(&pages(4))?;
    let _last = pool.allocate(&pages(1))?;
    pool.free(large.handle)?;
    pool.free(small.handle)?;

    let best = pool.allocate(&PoolWanted {
        best_fit: true,
        ..pages(4)
    })?;
    let first = pool.allocate(&pages(4))?;

    assert_eq!((best.phys, first.phys), (small.phys, large.phys));
    drop(pool);
    Ok(guest.power_off()?)
}

/// The pool grows and shrinks while buffers are lent, not under them, and the kernel has the memory again.
#[test]
fn the_pool_grows_and_shrinks_and_gives_memory_back() -> Result {
    let guest = guest()?;
    let pool = guest.pool()?;
    let own = pool.allocate(&pages(1024 - 2))?;
    assert_refused(pool.allocate(&pages(750)), ENOMEM);
    let before = free_pages(&guest)?;

    let grown = pool.grow("contig", 3000, 0)?;
    assert_eq!((grown.taken.pages, grown.taken.pieces), (3000, 1));
    let buffer = pool.allocate(&pages(750))?;
    let range = grown.taken.base..grown.taken.base + grown.taken.span;
    assert!(range.contains(&buffer.phys), "{buffer:x?} of {range:x?}");
    assert!(before - free_pages(&guest)? > 2500, "taken from the kernel");

    assert_refused(pool.shrink(grown.region), EBUSY);
    assert!(is_used(&guest, buffer.phys)?);
    pool.free(buffer.handle)?;
    assert!(pool.shrink(grown.region)?.returned);
    assert_refused(pool.shrink(grown.region), ENOENT);
    let after = free_pages(&guest)?;
    // Pages on the CPUs' own lists are free and not counted.
    assert!(
        before.abs_diff(after) < 1024,
        "{before} before, {after} after"
    );
    assert!(is_used(&guest, own.phys)?, "the other region is as it was");

    assert_refused(pool.grow("nowhere", 1, 0), EINVAL);
    assert_refused(pool.grow("buddy", 1025, 0), EINVAL);
    assert_refused(pool.grow("contig", 1 << 40, 0), ENOMEM);
    assert_eq!(guest.regions()?.len(), 1, "what failed left nothing");
    drop(pool);
    Ok(guest.power_off()?)
}

/// All files in debugfs say the same.
#[test]
fn the_pool_tells_the_same_in_all_its_files() -> Result {
    let guest = guest()?;
    let pool = guest.pool()?;
    let scattered = pool.grow("vmalloc", 64, 0)?;
    pool.allocate(&pages(7))?;
    pool.allocate(&pages(30))?;
    assert_refused(pool.allocate(&pages(100_000)), ENOMEM);

    let (json, counters) = (guest.pool_json()?, guest.pool_counters()?);
    let (regions, used) = (guest.regions()?, guest.used()?);
    let (free, holes) = (guest.free()?, guest.holes()?);

    let rows = |name: &str| json[name].as_array().expect("an array").clone();
    let sum = |name: &str, key: &str| {
        let numbers = rows(name)
            .into_iter()
            .map(|row| row[key].as_u64().expect("a number"));
        numbers.sum::<u64>()
    };
    assert_eq!(rows("regions").len(), regions.len());
    assert_eq!(
        sum("used", "allocated"),
        used.iter().map(|used| used.allocated).sum::<u64>()
    );
    assert_eq!(
        sum("free", "bytes"),
        free.iter().map(|free| free.bytes).sum::<u64>()
    );
    assert_eq!(
        sum("holes", "bytes"),
        holes.iter().map(|hole| hole.bytes).sum::<u64>()
    );
    assert_eq!(json["counters"]["allocations"], counters["allocations"]);
    assert_eq!(
        (counters["allocations"], counters["failed_allocations"]),
        (2, 1)
    );
    assert_eq!(used.len(), 2);
    let region = |id| {
        regions
            .iter()
            .find(|region| region.id == id)
            .expect("the region")
    };
    let vmalloc = region(scattered.region);
    assert_eq!(vmalloc.source, "vmalloc");
    assert_eq!(vmalloc.pages, 64);
    let of_holes = holes.iter().map(|hole| hole.bytes).sum::<u64>();
    assert_eq!(vmalloc.bytes - of_holes, 64 * PAGE, "span without holes");
    drop(pool);
    Ok(guest.power_off()?)
}

/// Without the module there is no such device.
#[test]
fn without_the_pool_there_is_no_device() -> Result {
    let guest = boot(GuestOptions {
        cards: Vec::new(),
        spare_ports: 1,
        ..with_capture_card()
    })?;
    match guest.pool() {
        Ok(_) => panic!("it opened"),
        Err(failed) => assert!(matches!(failed.errno(), Some(ENOENT | ENXIO)), "{failed}"),
    }
    Ok(guest.power_off()?)
}

/// Pages that nobody has.
fn free_pages(guest: &Guest<Booted>) -> Result<u64> {
    let meminfo = guest.read_text("/proc/meminfo")?;
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemFree:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kilobytes.ok_or("MemFree")?.trim().parse::<u64>()? / 4)
}
