//! The headers of a packet from anybody.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire::harness::packet(bytes));
