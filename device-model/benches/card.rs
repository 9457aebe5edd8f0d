// SPDX-License-Identifier: MIT OR Apache-2.0

//! From the card into guest memory, beside plain copies of the same size: `cargo bench -p landfall-device`.
//!
//! What is measured of the card is all of it but the socket: the driver's register writes, limits, steps,
//! pattern, mappings, window, journal, and taking the slot back. One iteration is one frame on each card;
//! cards work at the same time, each into memory of its own. The ids:
//!
//! | group | what moves |
//! |---|---|
//! | `card-to-memory` | the test pattern, into memory that the card has written before |
//! | `memcpy` | a plain copy between two buffers of each thread, both used before |
//! | `card-to-unreached-memory` | into pages that the guest has touched, and this process never: a first frame |
//! | `card-to-hole` | into pages that nobody has touched |
//! | `memcpy-to-new-memory` | a plain copy into anonymous memory that nobody has touched |
//! | `picture-to-memory` | each pattern, 1920x1080, into memory that the card has written before |
//!
//! then `1-card` or `1-thread`, 2 or 4; then the size. `1080p` is 1920x1080 YUYV, 4,147,200 bytes. Sizes
//! that would take more than three quarters of the memory that the machine has left are left out, and said to be.
//! A card's rate is to be compared with the plain copy beside it: the two are measured one after the other.

mod support;

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group,
    criterion_main,
};
use landfall_cards::capture::pattern::Pattern;
use support::{Capture, Size, memory, spares, together};
use vm_memory::{Bytes, MmapRegion, VolatileMemory};

const HD: Size = Size::new("1080p", 1920, 1080);
const SIZES: [Size; 8] = [
    Size::new("4KiB", 64, 32),
    Size::new("64KiB", 256, 128),
    Size::new("1MiB", 1024, 512),
    HD,
    Size::new("16MiB", 4096, 2048),
    Size::new("64MiB", 8192, 4096),
    Size::new("256MiB", 16384, 8192),
    Size::new("2GiB", 32768, 32768),
];
/// Largest of the frames into memory that was not touched: there, all of it is made anew for each frame.
const LARGEST_NEW: u64 = 16 << 20;
const AT_ONCE: [usize; 3] = [1, 2, 4];

/// Opens a group for one size; it may be opened again for the next.
fn group<'a>(
    c: &'a mut Criterion,
    name: &str,
    size: Size,
    at_once: usize,
) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Bytes(size.bytes() * at_once as u64));
    group.warm_up_time(Duration::from_millis(60));
    group.measurement_time(Duration::from_millis(400));
    group.sample_size(if size.bytes() < 16 << 20 { 30 } else { 10 });
    group.sampling_mode(if size.bytes() < 1 << 20 {
        SamplingMode::Auto
    } else {
        SamplingMode::Flat
    });
    group
}

fn id(at_once: usize, what: &str, size: Size) -> BenchmarkId {
    let plural = if at_once == 1 { "" } else { "s" };
    BenchmarkId::new(format!("{at_once}-{what}{plural}"), size.name)
}

#[expect(clippy::print_stderr, reason = "a benchmark tells what it leaves out")]
fn touched(c: &mut Criterion) {
    for size in SIZES {
        for at_once in AT_ONCE {
            if !spares(size.bytes() * 2 * at_once as u64) {
                eprintln!(
                    "left out: {at_once} x {}, too large for this machine",
                    size.name
                );
                continue;
            }
            card(c, size, at_once);
            plain(c, size, at_once);
        }
    }
}

fn card(c: &mut Criterion, size: Size, at_once: usize) {
    let begin = |_| Capture::new(memory(size.bytes()), size, 0);
    let mut cards: Vec<Capture> = (0..at_once).map(begin).collect();
    together(&mut cards, Capture::frame);
    let mut group = group(c, "card-to-memory", size, at_once);
    group.bench_function(id(at_once, "card", size), |b| {
        b.iter_custom(|frames| {
            cards
                .iter_mut()
                .filter(|card| card.stale())
                .for_each(Capture::refresh);
            together(&mut cards, |card| (0..frames).for_each(|_| card.frame()))
        });
    });
}

fn plain(c: &mut Criterion, size: Size, at_once: usize) {
    let buffers = || (vec![0x5a_u8; size.bytes() as usize], Vec::new());
    let mut pairs: Vec<_> = std::iter::repeat_with(buffers).take(at_once).collect();
    together(&mut pairs, |(source, target)| target.clone_from(source));
    let mut group = group(c, "memcpy", size, at_once);
    group.bench_function(id(at_once, "thread", size), |b| {
        b.iter_custom(|copies| {
            together(&mut pairs, |(source, target)| {
                for _ in 0..copies {
                    target.copy_from_slice(black_box(source));
                    black_box(&mut *target);
                }
            })
        });
    });
}

fn untouched(c: &mut Criterion) {
    let sizes = SIZES
        .iter()
        .filter(|size| (64 << 10..=LARGEST_NEW).contains(&size.bytes()));
    for &size in sizes {
        for at_once in AT_ONCE {
            first_frames(c, "card-to-unreached-memory", size, at_once, |file| {
                let page = [0x5a; 4096];
                for at in (0..size.bytes()).step_by(page.len()) {
                    file.write_all_at(&page, at).expect("a page");
                }
            });
            first_frames(c, "card-to-hole", size, at_once, |file| {
                for length in [0, size.bytes()] {
                    rustix::fs::ftruncate(file, length).expect("emptied");
                }
            });
            first_copies(c, size, at_once);
        }
    }
}

/// One frame for each card that is new, and whose memory was prepared.
fn first_frames(
    c: &mut Criterion,
    name: &str,
    size: Size,
    at_once: usize,
    prepare: impl Fn(&File),
) {
    let files: Vec<File> = (0..at_once).map(|_| memory(size.bytes())).collect();
    let mut group = group(c, name, size, at_once);
    group.bench_function(id(at_once, "card", size), |b| {
        b.iter_custom(|frames| {
            let frame = |_| {
                files.iter().for_each(&prepare);
                let clone = |file: &File| file.try_clone().expect("another descriptor");
                let begin = |file| Capture::new(clone(file), size, 0);
                let mut cards: Vec<Capture> = files.iter().map(begin).collect();
                together(&mut cards, Capture::frame)
            };
            (0..frames).map(frame).sum()
        });
    });
}

fn first_copies(c: &mut Criterion, size: Size, at_once: usize) {
    let source = vec![0x5a_u8; size.bytes() as usize];
    let mut group = group(c, "memcpy-to-new-memory", size, at_once);
    group.bench_function(id(at_once, "thread", size), |b| {
        b.iter_custom(|copies| {
            let copy = |_| {
                let target = |_| MmapRegion::<()>::new(source.len()).expect("memory");
                let mut targets: Vec<_> = (0..at_once).map(target).collect();
                together(&mut targets, |target| {
                    let all = target.as_volatile_slice();
                    all.write_slice(black_box(&source), 0).expect("it fits");
                })
            };
            (0..copies).map(copy).sum()
        });
    });
}

fn pictures(c: &mut Criterion) {
    for pattern in Pattern::ALL {
        let mut cards = [Capture::new(
            memory(HD.bytes()),
            HD,
            pattern.number().into(),
        )];
        let mut group = group(c, "picture-to-memory", HD, 1);
        group.bench_function(BenchmarkId::new(pattern.name(), HD.name), |b| {
            b.iter_custom(|frames| {
                together(&mut cards, |card| (0..frames).for_each(|_| card.frame()))
            });
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().without_plots().nresamples(2000);
    targets = touched, untouched, pictures
}
criterion_main!(benches);
