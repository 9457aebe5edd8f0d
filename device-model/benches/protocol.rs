// SPDX-License-Identifier: MIT OR Apache-2.0

//! What one access costs: to a register, and to memory through few and through very many mappings.
//!
//! | id | what |
//! |---|---|
//! | `register/read`, `register/write` | 4 bytes of BAR 0, a write's journal entry included |
//! | `map/4-bytes/N-mappings` | 4 bytes written to memory through N mappings of a page, scattered |
//! | `map/256-KiB/N-mappings` | a step's bytes through N adjacent mappings of a page, or through 1 |

#[expect(dead_code, reason = "shared with the other benchmark")]
mod support;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use landfall_device::contract::STEP_BYTES;
use landfall_device::dma::map::{MAX_MAPPINGS, Map, Request};
use landfall_device::journal::CAPACITY;
use support::{STRIDE, memory, plug};

const PAGE: u64 = 4096;

fn registers(c: &mut Criterion) {
    let mut group = c.benchmark_group("register");
    let file = memory(PAGE);
    let mut card = plug(&file);
    group.bench_function("read", |b| {
        b.iter(|| black_box(card.read(0, black_box(STRIDE))))
    });
    group.bench_function("write", |b| {
        b.iter_custom(|mut writes| {
            let mut time = Duration::ZERO;
            while writes > 0 {
                // A journal that is full would make it cheaper.
                let some = writes.min(CAPACITY as u64 / 2);
                let mut card = plug(&file);
                let began = Instant::now();
                (0..some).for_each(|n| card.write(0, STRIDE, black_box(n as u32)));
                time += began.elapsed();
                writes -= some;
            }
            time
        });
    });
    group.finish();
}

/// As many mappings, one after the other, of all of a file of so many pages.
fn map(mappings: usize, pages: u64) -> Map {
    let (map, file) = (Map::default(), memory(pages * PAGE));
    let length = pages / mappings as u64 * PAGE;
    for iova in (0..mappings as u64).map(|n| n * length) {
        let request = Request {
            iova,
            length,
            file_offset: iova,
            readable: true,
            writable: true,
            file: Some(file.try_clone().expect("another descriptor")),
        };
        map.add(request).expect("mapped");
    }
    map
}

fn lookups(c: &mut Criterion) {
    let mut group = c.benchmark_group("map");
    for mappings in [1, MAX_MAPPINGS] {
        let pages = MAX_MAPPINGS as u64;
        let map = map(mappings, pages);
        let name = format!("{mappings}-mapping{}", if mappings == 1 { "" } else { "s" });
        // As many pages as stay in the cache, far from each other: it is the look-up that is measured.
        let places: Vec<u64> = (0..64).map(|n| n * 40_503 % pages * PAGE).collect();
        let mut next = places.iter().cycle();
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("4-bytes", &name), |b| {
            b.iter(|| map.write(*next.next().expect("endless"), &[1, 2, 3, 4]));
        });
        let step = vec![0x5a; STEP_BYTES];
        group.throughput(Throughput::Bytes(STEP_BYTES as u64));
        group.bench_function(BenchmarkId::new("256-KiB", &name), |b| {
            b.iter(|| map.write(black_box(0), &step));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .without_plots()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30);
    targets = registers, lookups
}
criterion_main!(benches);
