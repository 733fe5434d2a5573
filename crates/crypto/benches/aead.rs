//! What protecting a packet costs before anything of ESP is done: the figure that ESP is measured against.
#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![expect(clippy::expect_used, reason = "a bench that cannot run should stop")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use crypto::{Encryption, Integrity, Opener, Sealer};

const SUITES: [(&str, Encryption, Option<Integrity>); 7] = [
    ("AES-GCM-16-128", Encryption::AesGcm16(128), None),
    ("AES-GCM-16-256", Encryption::AesGcm16(256), None),
    ("AES-CBC-128 HMAC-SHA1-96", Encryption::AesCbc(128), Some(Integrity::HmacSha1_96)),
    ("AES-CBC-256 HMAC-SHA256-128", Encryption::AesCbc(256), Some(Integrity::HmacSha2_256_128)),
    ("AES-CBC-256 HMAC-SHA512-256", Encryption::AesCbc(256), Some(Integrity::HmacSha2_512_256)),
    ("NULL HMAC-SHA256-128", Encryption::Null, Some(Integrity::HmacSha2_256_128)),
    ("3DES-CBC HMAC-SHA1-96", Encryption::TripleDes, Some(Integrity::HmacSha1_96)),
];

fn packets(criterion: &mut Criterion) {
    for (name, encryption, integrity) in SUITES {
        let key = vec![0x5a; encryption.key_len() + encryption.salt_len()];
        // Triple DES refuses a key whose three parts are equal.
        let key: Vec<u8> = key.iter().zip(0u8..).map(|(byte, at)| byte ^ at).collect();
        let mac_key = vec![0xc3; integrity.map_or(0, Integrity::key_len)];
        let sealer = Sealer::new(encryption, integrity, &key, &mac_key).expect("lengths fit");
        let opener = Opener::new(encryption, integrity, &key, &mac_key).expect("lengths fit");
        let (iv, aad) = (vec![7; encryption.iv_len()], [1; 8]);

        for size in [64, 512, 1400] {
            let plain = vec![0x11; size / encryption.block_len() * encryption.block_len()];
            let mut group = criterion.benchmark_group(name);
            group.throughput(Throughput::Bytes(plain.len() as u64));

            let (mut text, mut icv) = (plain.clone(), vec![0; sealer.icv_len()]);
            group.bench_function(BenchmarkId::new("seal", size), |bench| {
                bench.iter(|| sealer.seal(&iv, &aad, &[], &mut text, &mut icv).expect("lengths fit"));
            });

            let mut sealed = plain;
            sealer.seal(&iv, &aad, &[], &mut sealed, &mut icv).expect("lengths fit");
            group.bench_function(BenchmarkId::new("open", size), |bench| {
                // Copying the packet in again is part of the figure: some 20 ns at 1400 bytes.
                bench.iter(|| {
                    text.copy_from_slice(&sealed);
                    opener.open(&iv, &aad, &[], &mut text, &icv).expect("sealed above");
                });
            });
        }
    }
}

criterion_group!(benches, packets);
criterion_main!(benches);
