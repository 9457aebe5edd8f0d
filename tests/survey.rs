// SPDX-License-Identifier: MIT OR Apache-2.0

//! The survey: what it measures is physically sane, and what cannot be is reported so. And what it measures that no
//! other test captures into: huge pages.

use landfall::Cancel;
use landfall::guest::{GuestOptions, HugePage, POOL_MODULE};
use landfall_suite::capture::{self, CAPTURE_MODULE, Device};
use landfall_suite::run::CapturePlan;
use landfall_suite::survey::{self, Granularity, Line, Method, Options, Outcome};
use landfall_tests::errno::{EBUSY, ENOMEM};
use landfall_tests::{
    Result, SHORT, assert_refused, boot, capture_clean, landfall, prepared, with_capture_card,
};

const MIB: u64 = 1 << 20;

/// Where the card of that width wrote; empty if it could not.
fn written(line: &Line, bits: u8) -> Vec<u64> {
    let reach = line.reach.iter().find(|reach| reach.bits == bits);
    match &reach.expect("every width").outcome {
        Outcome::Written { addresses, bytes } => {
            assert_eq!(*bytes, 8 * 4096, "{bits} bits");
            addresses.clone()
        }
        Outcome::Wrong { violations } => panic!("{}: {violations:?}", line.method),
        Outcome::OutOfReach { .. } => Vec::new(),
    }
}

/// One piece or scattered, the limit, the steps, the waste, what a card reaches and what goes back: of ways whose
/// answers are known. What is scattered, cannot reach 24 bits, or is refused, is said to be.
#[test]
fn what_is_known_of_a_few_ways_is_measured() -> Result {
    let options = Options {
        fragment: Some(4),
        methods: vec![Method::Buddy, Method::Contig, Method::Vmalloc],
        ..Options::default()
    };

    let survey = survey::survey(&options, prepared(), &Cancel::default(), &|_| ())?;

    assert!(survey.is_clean());
    let [buddy, contig, vmalloc] = &survey.lines[..] else {
        panic!("three lines")
    };
    assert_eq!(buddy.fresh.largest.piece_bytes, 4 * MIB);
    assert_eq!(buddy.fresh.granularity, Granularity::PowerOfTwo);
    assert_eq!(
        buddy.fresh.given(750).map(|got| got.waste),
        Some(1024 - 750)
    );
    assert_eq!(
        buddy.fresh.given(2000),
        None,
        "more than a block is refused"
    );
    assert!((64 * MIB..256 * MIB).contains(&contig.fresh.largest.piece_bytes));
    assert_eq!(contig.fresh.granularity, Granularity::Multiple { pages: 1 });
    assert_eq!(contig.fresh.given(750).map(|got| got.waste), Some(0));
    assert!(buddy.fresh.contiguous && contig.fresh.contiguous);
    assert!(!vmalloc.fresh.contiguous, "{:?}", vmalloc.fresh.given);
    assert_eq!(vmalloc.fresh.given(1).map(|got| got.waste), Some(15));
    for line in &survey.lines {
        assert!(line.returned, "{}", line.method);
        let fragmented = line.fragmented.as_ref().ok_or("fragmented too")?;
        assert!(
            fragmented.largest.piece_bytes < line.fresh.largest.piece_bytes,
            "{}",
            line.method
        );
        for bits in [64, 36, 32] {
            assert_eq!(written(line, bits).len(), 8, "{} {bits}", line.method);
        }
        assert!(
            written(line, 24).iter().all(|at| at + 4096 <= 16 * MIB),
            "{}",
            line.method
        );
        let latency = line.fresh.latency(750).ok_or("a latency")?;
        assert!(latency.take.min_ns > 0 && latency.take.median_ns <= latency.take.p99_ns);
    }
    assert_eq!(written(buddy, 24).len(), 8);
    assert!(
        written(vmalloc, 24).is_empty(),
        "vmalloc takes no zone: out of reach, and said so"
    );
    Ok(())
}

/// The command prints a table and writes JSON, Markdown, SVG and PNG of the same survey.
#[test]
fn the_command_writes_what_it_measured_in_every_form() -> Result {
    let directory = tempfile::tempdir()?;
    let file = |name: &str| directory.path().join(name);
    let mut command = landfall();
    command.args(["survey", "--method", "exact"]);
    for (flag, name) in [
        ("--json", "json"),
        ("--svg", "svg"),
        ("--png", "png"),
        ("--markdown", "md"),
    ] {
        command.arg(flag).arg(file(name));
    }

    let output = command.output()?;

    let (table, told) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{told}");
    let row = table
        .lines()
        .find(|line| line.starts_with("exact "))
        .ok_or("a row")?;
    assert!(row.contains("4 MiB"), "{row}");
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(file("json"))?)?;
    assert_eq!(json["schema"], 1);
    let largest = &json["lines"][0]["fresh"]["largest"];
    assert_eq!(largest["piece_bytes"], 4 * MIB);
    assert!(std::fs::read_to_string(file("svg"))?.contains(">exact</text>"));
    assert!(std::fs::read_to_string(file("md"))?.contains("| `exact` |"));
    assert!(std::fs::read(file("png"))?.starts_with(b"\x89PNG"));
    Ok(())
}

/// Huge pages of a process become a region: a card captures into it, it is refused back while lent, and the kernel has
/// them again in the end.
#[test]
fn adopted_huge_pages_are_captured_into_and_go_back() -> Result {
    let guest = boot(GuestOptions {
        cards: Vec::new(),
        spare_ports: 1,
        ..with_capture_card()
    })?;
    guest.load_module(POOL_MODULE, "source=pages:1 guard_pages=1")?;
    let pool = guest.pool()?;
    assert_refused(pool.adopt(2 * MIB, HugePage::Mib2), ENOMEM);
    guest.write_file("/proc/sys/vm/nr_hugepages", "8")?;
    let grown = pool.adopt(8 * MIB, HugePage::Mib2)?;
    assert_eq!((grown.taken.pages, grown.taken.pieces), (2048, 1));
    assert_eq!(grown.taken.base % (2 * MIB), 0);

    guest.plug(capture::card(
        landfall_cards::capture::CaptureOptions::default(),
    ))?;
    guest.load_module(CAPTURE_MODULE, "interrupt=1")?;
    guest.wait_for_path("/dev/video0", SHORT)?;
    let guest = {
        drop(pool);
        guest.loaded_by_hand()
    };
    let card = Device::open(&guest, 0)?;
    capture_clean(&guest, &card, &CapturePlan::default())?;
    let range = grown.taken.base..grown.taken.base + grown.taken.span;
    assert!(range.contains(&card.buffer(0)?.phys));
    let pool = guest.pool()?;
    assert_refused(pool.shrink(grown.region), EBUSY);

    card.close()?;
    guest.unload_module(CAPTURE_MODULE)?;
    let free = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
    assert_eq!(guest.read_text(free)?.trim(), "4", "pinned");
    assert!(pool.shrink(grown.region)?.returned);
    assert_eq!(guest.read_text(free)?.trim(), "8");
    drop(pool);
    Ok(guest.power_off()?)
}
