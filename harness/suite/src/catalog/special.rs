// SPDX-License-Identifier: MIT OR Apache-2.0

//! The classes that need the pool, user space or boot-time memory, and so no [`super::Case`].

use std::time::Duration;

use landfall_guest::{Cancel, Prepared};

use super::entries::Job;
use crate::capture::{self, Device};
use crate::run::{CapturePlan, RunFailed, Session};
use landfall::evidence::{Named, Observed};
use landfall::guest::{
    Board, Booted, Card, Carveout, Guest, GuestOptions, Loaded, POOL_MODULE, PoolOptions,
    PoolSource, What,
};
use landfall::judge::{Leg, Watch, count, named};
use landfall_cards::capture::CaptureOptions;
use landfall_cards::dt3155::Dt3155;

/// The module that stands for other people's drivers.
const POOL_USER: &str = "landfall_pool_user";
/// How long the guest may take to show its log.
const LOG: Duration = Duration::from_secs(10);
/// What the pool counts.
const COUNTERS: &str = "/sys/kernel/debug/landfall_pool/counters";
/// What the pool says of a wrong free.
const REFUSED: &str = "refused to free";
const MIB: u64 = 1 << 20;

impl Job {
    /// Runs it, planted or clean.
    ///
    /// # Errors
    /// If the guest fails where that is not what was planted.
    pub(super) fn run(
        self,
        planted: bool,
        prepared: &Prepared,
        cancel: &Cancel,
    ) -> Result<Observed, RunFailed> {
        match self {
            Self::WrongPage => captured(
                self.mutant(planted),
                prepared,
                cancel,
                |session, guest, card| {
                    session
                        .capture(&CapturePlan::default(), guest, card)
                        .map(drop)
                },
            ),
            Self::FreedWhileMapped => captured(
                self.mutant(planted),
                prepared,
                cancel,
                |session, guest, card| {
                    let plan = CapturePlan::default();
                    let mask = plan.width.div_ceil(8) * plan.height;
                    let clipped = CapturePlan {
                        clip: Some(vec![0xff; mask as usize]),
                        ..plan
                    };
                    session.capture(&clipped, guest, card)?;
                    card.hold_clip(3)?;
                    card.release()?;
                    capture::write_mappings(guest, "written by whoever has it mapped")?;
                    let few = CapturePlan {
                        frames: 1,
                        buffers: 1,
                        ..CapturePlan::default()
                    };
                    session.capture(&few, guest, card).map(drop)
                },
            ),
            Self::NotReserved => not_reserved(planted, prepared, cancel),
            Self::InteriorPointer => interior_pointer(planted, prepared, cancel),
            Self::ReadWhileQueued => read_while_queued(planted, prepared, cancel),
        }
    }

    /// A guest whose capture driver has the mutant of the class, if it is planted.
    fn mutant(self, planted: bool) -> GuestOptions {
        let number = match self {
            Self::WrongPage => 6,
            Self::NotReserved => 8,
            Self::FreedWhileMapped => 21,
            Self::InteriorPointer => 33,
            Self::ReadWhileQueued => 63,
        };
        let parameters = match planted {
            true => format!("mutant={number}"),
            false => String::new(),
        };
        let card = CaptureOptions::default();
        GuestOptions {
            drivers: vec![capture::driver(card.interrupt, &parameters)],
            witness: true,
            ..capture::guest(card)
        }
    }
}

/// Captures with the driver in Rust. The mutant is a parameter, so the driver is loaded after the restore: a snapshot
/// of each would be a snapshot too many.
fn captured(
    options: GuestOptions,
    prepared: &Prepared,
    cancel: &Cancel,
    work: impl FnOnce(&mut Session, &Guest<Loaded>, &Device<'_>) -> Result<(), RunFailed>,
) -> Result<Observed, RunFailed> {
    let guest = Guest::configure(options).boot(prepared, cancel)?.load()?;
    let card = Device::open(&guest, 0)?;
    let mut session = Session::begin(&guest, &card)?;
    work(&mut session, &guest, &card)?;
    finish(session, &guest, &card)
}

/// What was seen of a session.
pub(super) fn finish(
    session: Session,
    guest: &Guest<Loaded>,
    card: &Device<'_>,
) -> Result<Observed, RunFailed> {
    let (violations, trace) = session.finish_traced(guest, card)?;
    let entries = trace.entries();
    Ok(Observed {
        violations: violations.into_iter().map(Named::from).collect(),
        hints: named(&trace.judged.hints),
        not_judged: trace.judged.not_judged.clone(),
        struck: true,
        trace,
        ..count(&entries)
    })
}

/// A carve-out, which a boot option keeps from the kernel; or ordinary memory that nothing keeps.
fn not_reserved(
    planted: bool,
    prepared: &Prepared,
    cancel: &Cancel,
) -> Result<Observed, RunFailed> {
    let mut options = GuestOptions {
        board: Board::of_set_up(prepared),
        ..GuestOptions::default()
    };
    let start = options.ram().first().map_or(0, |ram| ram.phys);
    match planted {
        // Where no loader puts kernel, initial file system or device tree.
        true => {
            let free = [68 * MIB..128 * MIB, 144 * MIB..192 * MIB];
            let free = free.map(|range| start + range.start..start + range.end);
            options.watch.extend(free);
        }
        false => {
            options.pool = PoolOptions {
                source: PoolSource::Carveout,
                size: 16 * MIB,
                carveout: Carveout::Top,
                ..PoolOptions::default()
            };
        }
    }
    match Guest::configure(options).boot_loaded(prepared, cancel) {
        Ok(guest) => {
            let watched = guest.watched().unwrap_or(0);
            Ok(seen(Vec::new(), watched))
        }
        Err(failed) => match &*failed.what {
            What::Touched(touched) => {
                let mut observed = seen(vec![Named::of(8, touched.to_string())], 1);
                observed.trace.evidence = failed.evidence;
                Ok(observed)
            }
            _ => Err(failed.into()),
        },
    }
}

/// The pool lends a C driver two buffers, which gives them back rightly, or wrongly in every way.
fn interior_pointer(
    planted: bool,
    prepared: &Prepared,
    cancel: &Cancel,
) -> Result<Observed, RunFailed> {
    let options = GuestOptions {
        cards: Vec::new(),
        ..GuestOptions::default()
    };
    let guest: Guest<Booted> = Guest::configure(options).boot(prepared, cancel)?;
    guest.load_module(POOL_MODULE, "source=contig pages=4096")?;
    let parameters = match planted {
        true => "misuse=1 pages=16",
        false => "take=2 pages=16",
    };
    guest.load_module(POOL_USER, parameters)?;
    guest.unload_module(POOL_USER)?;
    let counters = guest.read_text(COUNTERS)?;
    let frees = counters.split_whitespace().filter_map(|word| {
        let (name, count) = word.split_once('=')?;
        name.ends_with("frees").then(|| count.parse::<u64>().ok())?
    });
    let log = guest.run(&["/bin/busybox", "dmesg"], LOG)?.stdout;
    let refused = log.lines().find(|line| line.contains(REFUSED));
    let violations = refused.map(|line| {
        let times = log.matches(REFUSED).count();
        Named::of(
            33,
            format!("the pool {REFUSED} {times} times, first: {}", line.trim()),
        )
    });
    Ok(seen(violations.into_iter().collect(), frees.sum()))
}

/// A program streams from the frame grabber, whose stock driver has all its buffers, and reads one before or after it hands that
/// back: at the end of the queue, three pictures before it is the card's turn to write it.
fn read_while_queued(
    planted: bool,
    prepared: &Prepared,
    cancel: &Cancel,
) -> Result<Observed, RunFailed> {
    const BUFFERS: u32 = 4;
    let card = Card::new("dt3155", Dt3155::default);
    let options = Leg::Cpu.guest(prepared, vec![card]);
    let guest = Guest::configure(options).boot(prepared, cancel)?;
    let watch = Watch::begin(&guest, Leg::Cpu.platform(guest.memory().ram()));
    guest.load_stock("dt3155", "")?;
    let device = Device::open(&guest, 0)?;
    device.configure(&capture::Configure {
        buffers: BUFFERS,
        ..capture::Configure::default()
    })?;
    for buffer in 0..BUFFERS {
        device.queue(buffer)?;
    }
    device.start()?;
    let done = device.wait(Duration::from_secs(10))?;
    let buffer = done.map_or(0, |done| done.index);
    if planted {
        device.queue(buffer)?;
    }
    device.read_frame(buffer, 0, 4096)?;
    device.stop()?;
    device.close()?;
    guest.unload_module("dt3155")?;
    let [observed] = <[Observed; 1]>::try_from(watch.end(None)).unwrap_or_default();
    Ok(observed)
}

/// What was seen where no card works: so many bytes or calls were looked at.
fn seen(violations: Vec<Named>, besides: u64) -> Observed {
    Observed {
        violations,
        besides,
        struck: true,
        ..Observed::default()
    }
}
