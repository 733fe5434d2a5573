//! Packets in clear, as ESP, and as texts that a peer with the keys has sealed, into one gateway.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dataplane::harness::traffic(bytes));
