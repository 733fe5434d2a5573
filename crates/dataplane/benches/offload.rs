//! What cutting a super-packet and merging segments cost per segment of 1400 bytes, and how fast a checksum is.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation, missing_docs)]

use std::hint::black_box;

use base::{Buffer, Pool, SegmentKind, Segments};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dataplane::offload::{Merger, Segmenter, TrainMerger};
use wire::{checksum, ip, tcp};

/// Payload of a segment whose packet has 1400 bytes.
const SIZE: usize = 1360;
const COUNT: usize = 45;
/// What stands around a packet that was opened where it arrived: ESP header and vector before, trailer and ICV behind.
const AROUND: (usize, usize) = (16, 18);

fn large() -> (Vec<u8>, Segments) {
    let mut segment = vec![0x31; 20 + COUNT * SIZE];
    segment[12..14].copy_from_slice(&[0x50, tcp::ACK]);
    let (a, b) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
    let packet = wire::icmp::ip_packet(a, b, ip::TCP, &segment).unwrap();
    (packet, Segments { kind: SegmentKind::TcpV4, size: SIZE as u16, header_len: 40 })
}

fn segments() -> Vec<Vec<u8>> {
    let (packet, segments) = large();
    let header = ip::Header::parse(&packet).unwrap();
    let mut segmenter = Segmenter::new(&packet, &header, segments).unwrap();
    std::iter::from_fn(|| {
        let mut out = vec![0; segmenter.next_len()?];
        segmenter.write_next(&mut out)?;
        Some(out)
    })
    .collect()
}

fn sums(c: &mut Criterion) {
    let mut group = c.benchmark_group("checksum");
    for len in [20, 64, 1400, 65_000] {
        let bytes = vec![0xa5; len];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(BenchmarkId::from_parameter(len), |b| b.iter(|| checksum::of(black_box(&bytes))));
    }
    group.finish();
}

fn cut(c: &mut Criterion) {
    let mut group = c.benchmark_group("segment");
    group.throughput(Throughput::Elements(COUNT as u64));
    let (packet, segments) = large();
    let mut out = vec![0; 70_000];
    group.bench_function("one of 64 KiB", |b| {
        b.iter(|| {
            let header = ip::Header::parse(black_box(&packet)).unwrap();
            let mut segmenter = Segmenter::new(&packet, &header, segments).unwrap();
            let mut at = 0;
            while let Some(len) = segmenter.write_next(&mut out[at + AROUND.0..]) {
                at += AROUND.0 + len + AROUND.1;
            }
            black_box(at)
        });
    });
    group.bench_function("copy alone", |b| {
        b.iter(|| {
            let mut at = 0;
            for piece in black_box(&packet).chunks(SIZE) {
                let place = at + AROUND.0 + 40;
                out[place..place + piece.len()].copy_from_slice(piece);
                at = place + piece.len() + AROUND.1;
            }
            black_box(at)
        });
    });
    group.finish();
}

fn merge(c: &mut Criterion) {
    let mut group = c.benchmark_group("merge");
    group.throughput(Throughput::Elements(COUNT as u64));
    let segments = segments();
    let headers: Vec<_> = segments.iter().map(|segment| ip::Header::parse(segment).unwrap()).collect();
    let mut train = Vec::new();
    let mut places = Vec::new();
    for segment in &segments {
        train.extend(vec![0; AROUND.0]);
        places.push(train.len()..train.len() + segment.len());
        train.extend(segment);
        train.extend(vec![0; AROUND.1]);
    }
    let fresh = train.clone();
    group.bench_function("in a train", |b| {
        // With a copy of the train, which stands for its arrival.
        b.iter(|| {
            train.copy_from_slice(&fresh);
            let mut merger = TrainMerger::new();
            for (place, header) in places.iter().zip(&headers) {
                assert!(merger.push(&mut train, place.clone(), header).is_none());
            }
            merger.flush(&mut train).unwrap()
        });
    });
    group.bench_function("copy of the train alone", |b| {
        b.iter(|| train.copy_from_slice(black_box(&fresh)));
    });
    let mut pool = Pool::new(1 << 16, 64);
    let mut out = Vec::with_capacity(4);
    group.bench_function("in buffers", |b| {
        let setup = || segments.iter().map(|segment| Buffer::copy(segment)).collect::<Vec<_>>();
        b.iter_batched(
            setup,
            |buffers| {
                let mut merger = Merger::new();
                for (buffer, header) in buffers.into_iter().zip(&headers) {
                    merger.push(buffer, header, &mut pool, &mut out);
                }
                merger.flush(&mut out);
                assert_eq!(out.len(), 1);
                out.drain(..).for_each(|merged| pool.give(merged.packet));
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, sums, cut, merge);
criterion_main!(benches);
