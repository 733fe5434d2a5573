//! What a packet costs: sealed and opened by the whole packet path, beside its cipher alone.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::cast_possible_truncation, missing_docs)]

#[path = "../tests/offices/mod.rs"]
mod offices;

use std::hint::black_box;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use crypto::{Encryption, Integrity, Opener, Sealer};
use offices::offices;

const SIZES: [usize; 3] = [64, 512, 1400];

fn whole_path(c: &mut Criterion) {
    let gcm = (Encryption::AesGcm16(256), None);
    let cbc = (Encryption::AesCbc(256), Some(Integrity::HmacSha2_256_128));
    for (name, algorithms) in [("gcm", gcm), ("cbc-sha256", cbc)] {
        let mut group = c.benchmark_group(format!("seal/path-{name}"));
        for size in SIZES {
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(BenchmarkId::from_parameter(size), |b| {
                let (mut sender, _) = offices(algorithms, size);
                let mut buffer = base::Buffer::with_capacity(2048);
                // With the copy into the buffer, which every packet needs once.
                b.iter(|| buffer = black_box(sender.seal(std::mem::take(&mut buffer))));
            });
        }
        group.finish();
        let mut group = c.benchmark_group(format!("open/path-{name}"));
        for size in SIZES {
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(BenchmarkId::from_parameter(size), |b| {
                let (mut sender, mut receiver) = offices(algorithms, size);
                let sealed = || sender.seal(base::Buffer::with_capacity(2048));
                b.iter_batched(sealed, |packet| receiver.open(packet), BatchSize::LargeInput);
            });
        }
        group.finish();
    }
}

/// The cipher and the copy into the buffer, which every packet needs once.
fn bare_cipher(c: &mut Criterion) {
    let sealer = Sealer::new(Encryption::AesGcm16(256), None, &[1; 36], &[]).unwrap();
    let opener = Opener::new(Encryption::AesGcm16(256), None, &[1; 36], &[]).unwrap();
    let library = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[1; 32]).unwrap());
    let aad = [7; 12];
    for size in SIZES {
        let text_len = size + wire::esp::padding(size, 1) + 2;
        let mut group = c.benchmark_group("seal/bare");
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("crypto", size), |b| {
            let (mut text, mut icv) = (vec![0; text_len], [0; 16]);
            let plain = vec![0; text_len];
            b.iter(|| {
                text.copy_from_slice(black_box(&plain));
                sealer.seal(&[1; 8], &aad, &[], black_box(&mut text), &mut icv).unwrap();
            });
        });
        group.bench_function(BenchmarkId::new("aws-lc-rs", size), |b| {
            let mut text = vec![0; text_len];
            let plain = vec![0; text_len];
            b.iter(|| {
                text.copy_from_slice(black_box(&plain));
                let nonce = Nonce::assume_unique_for_key([1; 12]);
                library.seal_in_place_separate_tag(nonce, Aad::from(&aad), black_box(&mut text)).unwrap()
            });
        });
        group.finish();
        let mut group = c.benchmark_group("open/bare");
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::new("crypto", size), |b| {
            let (mut sealed, mut icv) = (vec![0; text_len], [0; 16]);
            sealer.seal(&[1; 8], &aad, &[], &mut sealed, &mut icv).unwrap();
            let mut text = sealed.clone();
            b.iter(|| {
                text.copy_from_slice(&sealed);
                opener.open(&[1; 8], &aad, &[], black_box(&mut text), &icv).unwrap();
            });
        });
        group.bench_function(BenchmarkId::new("aws-lc-rs", size), |b| {
            let mut sealed = vec![0; text_len];
            let nonce = || Nonce::assume_unique_for_key([1; 12]);
            let tag = library.seal_in_place_separate_tag(nonce(), Aad::from(&aad), &mut sealed).unwrap();
            let mut text = sealed.clone();
            b.iter(|| {
                text.copy_from_slice(&sealed);
                library
                    .open_in_place_separate_tag(nonce(), Aad::from(&aad), tag.as_ref(), black_box(&mut text))
                    .unwrap();
            });
        });
        group.finish();
    }
}

criterion_group!(benches, whole_path, bare_cipher);
criterion_main!(benches);
