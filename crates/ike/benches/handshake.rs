//! IKEv2 handshakes with a pre-shared key in memory: both sides' work, from the first message to the first child SA.
#![allow(missing_docs, reason = "criterion's macros declare what they please")]

use base::Duration;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use crypto::Group;
use ike::pair::{A, pair};

fn handshake(criterion: &mut Criterion) {
    let mut bench = criterion.benchmark_group("handshake");
    bench.throughput(Throughput::Elements(1));
    for (name, group) in [("X25519", Group::Curve25519), ("P-256", Group::Ecp256), ("MODP 2048", Group::Modp2048)] {
        let mut seed = 0;
        bench.bench_function(name, |bencher| {
            bencher.iter(|| {
                seed += 1;
                let mut world = pair(seed, |a, b| (a.groups, b.groups) = (vec![group], vec![group]));
                world.connect(A);
                world.run(Duration::from_millis(50));
                assert_eq!(world.sides[A].installs, 1);
                world
            });
        });
    }
    bench.finish();
}

criterion_group!(benches, handshake);
criterion_main!(benches);
