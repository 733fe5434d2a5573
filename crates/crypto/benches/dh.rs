//! What a Diffie-Hellman exchange costs per group: most of the price of an IKE SA.
#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![expect(clippy::expect_used, reason = "a bench that cannot run should stop")]

use base::Random;
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use crypto::Group;

fn groups(criterion: &mut Criterion) {
    let mut random = Random::numbered(1);
    let mut bench = criterion.benchmark_group("diffie-hellman");
    for &group in Group::ALL {
        let (ours, peer) = (group.generate(&mut random), group.generate(&mut random));
        bench.bench_function(BenchmarkId::new("generate", group), |bench| bench.iter(|| group.generate(&mut random)));
        bench.bench_function(BenchmarkId::new("agree", group), |bench| {
            bench.iter(|| ours.agree(peer.public()).expect("a good value"));
        });
    }
    bench.finish();
}

criterion_group!(benches, groups);
criterion_main!(benches);
