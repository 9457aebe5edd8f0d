// SPDX-License-Identifier: MIT OR Apache-2.0

//! What checking costs: 64 MiB of frames and of pool compared with what they must hold, beside a plain
//! comparison of two buffers of that size, in the same process.
//!
//! `cargo bench -p landfall --bench checking`; the number behind a name is of threads. Each frame is read, hashed
//! and compared, as in a run.

use std::hint::black_box;
use std::num::NonZero;
use std::ops::Range;
use std::thread;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use landfall::guest::memory::GuestMemory;
use landfall_cards::capture::pattern::{self, FrameSpec, Pattern, Pixel};
use landfall_reserve::canary;
use landfall_suite::verify::{Wanted, all};

const BYTES: u64 = 64 << 20;
const SIZE: &str = "64MiB";
const FRAMES: u64 = 8;
const THREADS: [usize; 2] = [1, 2];

/// Memory of 64 MiB that holds eight frames, and those.
fn frames(pattern: Pattern) -> (GuestMemory, Vec<Wanted<'static>>) {
    let memory = GuestMemory::flat(BYTES).expect("memory");
    let frames = (0..FRAMES).zip(0..).map(|(frame, slot)| {
        let spec = FrameSpec {
            pattern,
            pixel: Pixel::Yuyv,
            width: 2048,
            height: 2048,
            stride: 4096,
            sequence: 1000 + u32::from(slot),
            slot,
        };
        let phys = frame * spec.frame_bytes();
        let mut bytes = vec![0; (BYTES / FRAMES) as usize];
        pattern::fill(&mut bytes, 0, &spec);
        memory.write(phys, &bytes).expect("it is RAM");
        Wanted {
            phys,
            spec,
            clip: None,
        }
    });
    let frames = frames.collect();
    (memory, frames)
}

fn checking(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("checking");
    group.throughput(Throughput::Bytes(BYTES)).sample_size(20);
    for (name, pattern) in [("test-pattern", Pattern::Test), ("picture", Pattern::Bars)] {
        let (memory, wanted) = frames(pattern);
        for threads in THREADS {
            let id = BenchmarkId::new(format!("{name}/{SIZE}"), threads);
            group.bench_function(id, |bench| {
                bench.iter(|| compare(&memory, &wanted, &[], threads));
            });
        }
    }
    let memory = GuestMemory::flat(BYTES).expect("memory");
    let whole = 0..BYTES;
    let words: Vec<u8> = whole.clone().map(canary::byte).collect();
    memory.write(0, &words).expect("it is RAM");
    for threads in THREADS {
        let id = BenchmarkId::new(format!("canary/{SIZE}"), threads);
        group.bench_function(id, |bench| {
            bench.iter(|| compare(&memory, &[], std::slice::from_ref(&whole), threads));
        });
    }
}

fn compare(memory: &GuestMemory, frames: &[Wanted<'_>], pool: &[Range<u64>], threads: usize) {
    let threads = NonZero::new(threads).expect("not 0");
    let checks = all(memory, frames, pool, &[], threads).expect("it is RAM");
    let clean = checks
        .frames
        .iter()
        .map(|check| &check.differences)
        .chain(checks.pool.iter().map(|check| &check.differences))
        .all(|differences| differences.is_empty());
    assert!(black_box(clean), "the memory is as it should be");
}

fn memcmp(criterion: &mut Criterion) {
    let bytes: Vec<u8> = (0..BYTES).map(canary::byte).collect();
    let other = bytes.clone();
    let mut group = criterion.benchmark_group("memcmp");
    group.throughput(Throughput::Bytes(BYTES)).sample_size(20);
    for threads in THREADS {
        group.bench_function(BenchmarkId::new(SIZE, threads), |bench| {
            bench.iter(|| {
                let part = bytes.len() / threads;
                thread::scope(|scope| {
                    for (one, two) in bytes.chunks(part).zip(other.chunks(part)) {
                        scope.spawn(move || assert!(black_box(one) == black_box(two)));
                    }
                });
            });
        });
    }
}

criterion_group!(benches, memcmp, checking);
criterion_main!(benches);
