// SPDX-License-Identifier: MIT OR Apache-2.0

//! The race in Debian's tw686x of `docs/findings.md`, as often as asked (20 times): all channels are stopped at once, behind
//! an IOMMU, and the verdict tells whether one was switched on again. No test: whether it happens is luck.
//!
//!     cargo run -p landfall-tests --example tw686x_race -- 50

#![expect(clippy::print_stdout, reason = "it tells what it found")]

use std::collections::BTreeSet;
use std::time::Duration;

use landfall::guest::{Card, GuestOptions, Iommu, WITNESS_MODULE};
use landfall::judge::judge;
use landfall_cards::tw686x::{Tw686x, Tw686xOptions};
use landfall_device::journal::{Journal, Kind};
use landfall_device::ledger::Platform;
use landfall_tests::{Result, SHORT, boot, prepared};

/// All channels stop with the same frame; then the guest waits for what comes after. One that was switched off while it ran
/// would wait for ever.
const STREAMS: &str = "n=0; s() { timeout 20 v4l2-ctl -d /dev/video$1 --set-fmt-video=width=360,height=240 --stream-mmap=16 --stream-count=3 >/dev/null 2>&1; }; \
    p=; for c in 0 1 2 3 4 5 6 7; do s $c & p=\"$p $!\"; done; for i in $p; do wait $i || n=1; done; sleep 0.3; exit $n";

fn main() -> Result {
    let times: u32 = std::env::args()
        .nth(1)
        .map_or(Ok(20), |word| word.parse())?;
    let guest = boot(GuestOptions {
        cards: vec![(Card::new("tw686x", || Tw686x::new(Tw686xOptions::default())))],
        witness: true,
        iommu: Iommu::Strict,
        memory: 512 << 20,
        ..GuestOptions::default()
    })?;
    guest.unpack(&prepared().video)?;
    guest.load_module(WITNESS_MODULE, "")?;
    guest.load_stock("tw686x", "dma_mode=contig")?;
    guest.wait_for_path("/dev/video7", SHORT)?;
    let platform = Platform {
        iommu: true,
        ..Platform::default()
    };
    let (mut struck, mut hung, mut known, mut done) = (0, 0, 0, 0);
    let mut shown = BTreeSet::new();
    while done < times {
        // A warning of the kernel's ends the guest, and is what the race comes to in a later stream: a channel that nobody
        // started takes buffers before `tw686x_start_streaming` does.
        let ran = guest.run(
            &["/bin/busybox", "sh", "-c", STREAMS],
            Duration::from_secs(120),
        );
        done += 1;
        hung += u32::from(ran.as_ref().is_ok_and(|ran| ran.status != 0));
        guest.sync_card(0);
        let journal = guest.journal(0).ok_or("a card")?;
        let judgement = judge(&journal, platform.clone());
        let new = judgement.violations.get(known..).unwrap_or_default();
        struck += u32::from(!new.is_empty());
        for violation in new {
            if shown.insert(violation.title()) {
                println!("time {done}: {}: {}", violation.title(), violation.text);
                println!("  {}", enabled(&journal, violation.sequence));
            }
        }
        known = judgement.violations.len();
        if let Err(failed) = ran {
            let line = failed.kernel_line.unwrap_or(failed.what.to_string());
            println!("time {done}: {line}");
            break;
        }
    }
    println!("{struck} of {done} times; a stream hung {hung} times");
    Ok(())
}

/// The last values of `DMA_CHANNEL_ENABLE` before an entry: what a stale one switched on again.
fn enabled(journal: &Journal, sequence: u64) -> String {
    let entries = journal.entries_from(0);
    let before = entries
        .iter()
        .rev()
        .filter(|entry| entry.sequence < sequence);
    let values = before.filter_map(|entry| match &entry.kind {
        Kind::Register { name, value, .. } if name.name == "DMA_CHANNEL_ENABLE" => {
            Some(format!("{value:#04x}"))
        }
        _ => None,
    });
    let mut values: Vec<_> = values.take(8).collect();
    values.reverse();
    format!("DMA_CHANNEL_ENABLE before: {}", values.join(", "))
}
