//! What a packet costs among many: a random one of 10,000 pairs of SAs and 1,000,000 connections for every packet, beside
//! one of each.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::cast_possible_truncation, missing_docs)]
#![allow(clippy::print_stdout)]
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a benchmark looks at the clock")]

#[path = "../tests/offices/mod.rs"]
mod offices;

use std::time::{Duration, Instant};

use base::{Buffer, Random};
use crypto::Encryption;
use dataplane::{Outer, Output};
use offices::{Crowd, NOW};

/// Packets that come at once.
const BATCH: usize = 64;
const ROUNDS: usize = 4_000;
const LEN: usize = 64;

#[derive(Clone, Copy)]
struct Cost {
    seal: f64,
    open: f64,
}

fn main() {
    // Cargo tells a benchmark that it is one; everything else is a name that was asked for.
    if std::env::args().skip(1).any(|argument| !argument.starts_with("--") && !"crowd".contains(&*argument)) {
        return;
    }
    let algorithms = (Encryption::AesGcm16(256), None);
    let [one, many] = [(1, 1), (10_000, 1_000_000)].map(|(pairs, flows)| {
        let mut crowd = Crowd::new(algorithms, pairs, flows, LEN);
        let [single, batch] = [false, true].map(|batch| measure(&mut crowd, flows, batch));
        println!("{pairs} pairs of SAs, {flows} connections, {LEN} bytes, ns a packet:");
        println!("  one by one: sealed {:.0}, opened {:.0}", single.seal, single.open);
        println!("  in batches: sealed {:.0}, opened {:.0}", batch.seal, batch.open);
        [single, batch]
    });
    for (name, one, many) in [("one by one", one[0], many[0]), ("in batches", one[1], many[1])] {
        println!(
            "{name}: many cost {:.2} times one sealing, {:.2} opening",
            many.seal / one.seal,
            many.open / one.open
        );
    }
}

/// The median of many batches: other work on the machine is to be left out, and waiting for memory is not.
fn measure(crowd: &mut Crowd, flows: usize, batch: bool) -> Cost {
    let mut random = Random::numbered(7);
    let (mut seals, mut opens) = (Vec::new(), Vec::new());
    let mut buffers: Vec<Buffer> = (0..BATCH).map(|_| Buffer::with_capacity(2048)).collect();
    let mut out = Vec::with_capacity(2 * BATCH);
    for _ in 0..ROUNDS {
        for buffer in &mut buffers {
            buffer.clear();
            buffer.extend(&crowd.packet(random.below(flows as u64) as usize));
        }
        seals.push(timed(|| {
            if batch {
                crowd.sender.plain_batch(NOW, &mut buffers, &mut out);
            } else {
                buffers.drain(..).for_each(|buffer| crowd.sender.plain(NOW, buffer, &mut out));
            }
        }));
        let mut sealed: Vec<(Outer, u8, Buffer)> = out
            .drain(..)
            .map(|output| match output {
                Output::Outer { outer, ds, packet, .. } => (outer, ds, packet),
                other => panic!("not sealed: {other:?}"),
            })
            .collect();
        opens.push(timed(|| {
            if batch {
                crowd.receiver.esp_batch(NOW, &mut sealed, &mut out);
            } else {
                sealed.drain(..).for_each(|(outer, ds, packet)| crowd.receiver.esp(NOW, outer, ds, packet, &mut out));
            }
        }));
        buffers.extend(out.drain(..).map(|output| match output {
            Output::Plain { packet, .. } => packet,
            other => panic!("not opened: {other:?}"),
        }));
    }
    Cost { seal: median(seals), open: median(opens) }
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_nanos() as f64 / BATCH as f64
}
