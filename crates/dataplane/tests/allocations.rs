//! A packet of an established connection costs no allocation.

// The counter is this binary's allocator, for which the language asks `unsafe`; it passes everything on.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::cast_possible_truncation)]

mod offices;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use crypto::{Encryption, Integrity};
use offices::offices;

struct Counting;

thread_local! {
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator unchanged; counting allocates nothing, since the cell is initialised at
// compile time and has no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn counted(work: impl FnOnce()) -> usize {
    let before = COUNT.with(Cell::get);
    work();
    COUNT.with(Cell::get) - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(counted(|| drop(std::hint::black_box(Box::new(7)))), 1);
}

/// The cipher library is C: what it does with the system's allocator by itself is not seen here, its Rust side is.
#[test]
fn a_packet_of_an_established_connection_allocates_nothing() {
    let gcm = (Encryption::AesGcm16(256), None);
    let cbc = (Encryption::AesCbc(256), Some(Integrity::HmacSha2_256_128));
    for algorithms in [gcm, cbc] {
        let (mut sender, mut receiver) = offices(algorithms, 1400);
        let mut buffer = base::Buffer::with_capacity(2048);
        let allocations = counted(|| {
            for _ in 0..1_000 {
                buffer = receiver.open(sender.seal(std::mem::take(&mut buffer)));
            }
        });
        assert_eq!(allocations, 0, "{algorithms:?}");
    }
}
