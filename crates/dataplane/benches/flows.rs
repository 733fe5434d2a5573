//! What it costs to find a flow among others, one by one and in batches, beside the standard library's table.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation, clippy::disallowed_types)]
#![allow(missing_docs)]

use std::collections::HashMap;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dataplane::index::{HashKey, Index, WORDS};

const BATCH: usize = 64;

/// As large as a flow may be with its share of the table.
#[derive(Clone)]
struct Flow {
    key: [u64; WORDS],
    packets: u64,
    _rest: [u64; 22],
}

fn key(number: usize) -> [u64; WORDS] {
    let number = number as u64;
    [0x0a01_0000_0a02_0000 + (number / 50_000), 0, 0, 0, (number % 50_000 + 1024) << 48 | 0x0050_0600_0000, 4]
}

/// Which flows packets belong to: any order that no prefetcher guesses.
fn numbers(flows: usize) -> Vec<usize> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % flows
    };
    (0..1 << 20).map(|_| next()).collect()
}

fn find(c: &mut Criterion) {
    let hash_key = HashKey::new(0x1234_5678_9abc_def0);
    let mut group = c.benchmark_group("hash");
    group.bench_function("flow key", |b| {
        let words = key(77);
        b.iter(|| hash_key.hash(black_box(&words)));
    });
    group.finish();
    for count in [1, 10_000, 1_000_000] {
        let numbers = numbers(count);
        let mut flows: Vec<Flow> =
            (0..count).map(|number| Flow { key: key(number), packets: 0, _rest: [0; 22] }).collect();
        let mut index = Index::new();
        let mut map = HashMap::new();
        for (flow, number) in flows.iter().zip(0..) {
            index.insert(hash_key.hash(&flow.key), number);
            map.insert(flow.key, number);
        }
        let mut group = c.benchmark_group("flows/find");
        // A batch of packets: each is looked up and counted in its flow.
        group.throughput(Throughput::Elements(BATCH as u64));
        let mut batches = numbers.chunks_exact(BATCH).cycle();
        group.bench_function(BenchmarkId::new("one by one", count), |b| {
            b.iter(|| {
                for number in batches.next().unwrap() {
                    let key = key(*number);
                    let found = index.find(hash_key.hash(&key), |slot| flows[slot as usize].key == key);
                    flows[found.unwrap() as usize].packets += 1;
                }
            });
        });
        let mut batches = numbers.chunks_exact(BATCH).cycle();
        group.bench_function(BenchmarkId::new("batches of 64", count), |b| {
            b.iter(|| {
                let mut hashes = [0; BATCH];
                let mut near = 0;
                let batch = batches.next().unwrap();
                for (number, hash) in batch.iter().zip(&mut hashes) {
                    *hash = hash_key.hash(&key(*number));
                }
                let likely = hashes.map(|hash| index.likely(hash));
                for slot in likely.into_iter().flatten() {
                    near ^= flows[slot as usize].key[0] ^ flows[slot as usize].packets;
                }
                black_box(near);
                for (number, hash) in batch.iter().zip(hashes) {
                    let key = key(*number);
                    let found = index.find(hash, |slot| flows[slot as usize].key == key);
                    flows[found.unwrap() as usize].packets += 1;
                }
            });
        });
        let mut batches = numbers.chunks_exact(BATCH).cycle();
        group.bench_function(BenchmarkId::new("std map", count), |b| {
            b.iter(|| {
                for number in batches.next().unwrap() {
                    flows[map[&key(*number)] as usize].packets += 1;
                }
            });
        });
        group.finish();
    }
}

criterion_group!(benches, find);
criterion_main!(benches);
