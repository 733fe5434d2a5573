//! Frames, packets and time for a gateway that owns its network card.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| link::harness::frames(bytes));
