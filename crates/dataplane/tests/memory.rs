//! What connections and SAs cost in memory.

// The counter is this binary's allocator, for which the language asks `unsafe`; it passes everything on.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::cast_possible_truncation)]
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "it asks the kernel what the process takes, and says so"
)]

mod offices;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crypto::Encryption;
use offices::Crowd;

/// Bytes in use.
static BYTES: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size(), Relaxed);
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Memory of the whole process, bytes: the cipher library is C and does not ask the allocator above.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
}

/// One test, so that nothing else allocates meanwhile.
#[test]
fn a_connection_takes_less_than_256_bytes_and_a_pair_of_sas_less_than_4_kib() {
    const PAIRS: usize = 5_000;
    const FLOWS: usize = 100_000;
    let algorithms = (Encryption::AesGcm16(256), None);
    let before = resident();
    let crowd = Crowd::new(algorithms, PAIRS, 0, 64);
    // Both ends have them.
    let pair = (resident() - before) / 2 / PAIRS;
    assert!((500..4096).contains(&pair), "{pair} bytes for a pair of SAs");
    drop(crowd);
    let [few, many] = [0, FLOWS].map(|flows| {
        let before = BYTES.load(Relaxed);
        let crowd = Crowd::new(algorithms, 10, flows, 64);
        let used = BYTES.load(Relaxed) - before;
        drop(crowd);
        used
    });
    let flow = (many - few) / 2 / FLOWS;
    println!("{pair} bytes for a pair of SAs, {flow} for a connection");
    assert!((100..256).contains(&flow), "{flow} bytes for a connection");
}
